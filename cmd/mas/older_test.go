package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// olderParts are the parts of a store that are replaced by older versions of themselves, as a file system, a careless
// copy or a lost write would do it. The whole store is not among them: only a witness can tell that from the truth.
var olderParts = []string{"one table", "a table gone", "manifest", "tables", "tables, manifest", "view", "view, state",
	"write-ahead logs", "one value log", "state", "last segment", "journal", "body keys"}

// older makes the flips that are none: parts of the store are replaced by what they were at earlier moments.
func (c *corruption) older(n int) {
	rng := rand.New(rand.NewPCG(c.seed, 1))
	for range n {
		i := len(c.flips)
		part := olderParts[i%len(olderParts)]
		c.flips = append(c.flips, flip{N: i, Stratum: "older", File: part, Killed: rng.IntN(2) == 0,
			Older: c.h.Older[rng.IntN(len(c.h.Older))], Pick: rng.Uint64()})
	}
	c.outcomes = append(c.outcomes, make([]*outcome, n)...)
}

// replace puts older versions into the directory dir.
func (f flip) replace(dir string) error {
	rng := rand.New(rand.NewPCG(f.Pick, 0))
	now, then := filepath.Join(dir, "store"), filepath.Join(f.Older, "store")
	switch f.File {
	case "one table":
		return putBack(now, then, one(rng, then, "badger/*.sst"))
	case "a table gone":
		return putBack(now, "", one(rng, now, "badger/*.sst"))
	case "manifest":
		return putBack(now, then, []string{"badger/MANIFEST"})
	case "tables":
		return exchange(now, then, "badger/*.sst")
	case "tables, manifest":
		return exchange(now, then, "badger/*.sst", "badger/MANIFEST")
	case "view":
		return exchange(now, then, "badger/*")
	case "view, state":
		return exchange(now, then, "badger/*", "state")
	case "write-ahead logs":
		return exchange(now, then, "badger/*.mem")
	case "one value log":
		return putBack(now, then, one(rng, then, "badger/*.vlog"))
	case "state":
		return exchange(now, then, "state")
	case "last segment":
		segments := names(then, "journal/*.seg")
		return putBack(now, then, segments[len(segments)-1:])
	case "journal":
		return exchange(now, then, "journal/*")
	case "body keys":
		return exchange(now, then, "shred/keys")
	}
	return fmt.Errorf("unknown part %q", f.File)
}

// names lists the files that match below dir, relative to it.
func names(dir, pattern string) []string {
	paths, _ := filepath.Glob(filepath.Join(dir, pattern))
	for i, path := range paths {
		paths[i], _ = filepath.Rel(dir, path)
	}
	slices.Sort(paths)
	return paths
}

func one(rng *rand.Rand, dir, pattern string) []string {
	all := names(dir, pattern)
	if len(all) == 0 {
		return nil
	}
	i := rng.IntN(len(all))
	return all[i : i+1]
}

// putBack makes files of now what they are in then; without then they are removed.
func putBack(now, then string, files []string) error {
	for _, name := range files {
		if err := os.Remove(filepath.Join(now, name)); err != nil && !os.IsNotExist(err) {
			return err
		}
		if then == "" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(then, name))
		if err != nil {
			return err
		}
		if err := writeSparse(filepath.Join(now, name), data); err != nil {
			return err
		}
	}
	return nil
}

// exchange makes everything in now that matches what it is in then, and removes what is not there.
func exchange(now, then string, patterns ...string) error {
	for _, pattern := range patterns {
		if err := putBack(now, "", names(now, pattern)); err != nil {
			return err
		}
		if err := putBack(now, then, names(then, pattern)); err != nil {
			return err
		}
	}
	return nil
}

// reportOlder prints what became of the older versions.
func (c *corruption) reportOlder() {
	type counts struct{ swaps, start, read, healed, stale int }
	all := map[string]*counts{}
	for i, f := range c.flips {
		out := c.outcomes[i]
		if f.Stratum != "older" || out == nil {
			continue
		}
		for _, name := range []string{f.File, "all"} {
			if all[name] == nil {
				all[name] = new(counts)
			}
			y := all[name]
			y.swaps++
			y.stale += len(out.Wrong)
			switch {
			case out.Start != "":
				y.start++
			case out.Read != "":
				y.read++
			default:
				y.healed++
			}
		}
	}
	say(c.t, "corruption: %-17s %5s  %8s %8s %15s  %5s", "older versions", "swaps", "at start", "at read", "healed or same", "stale")
	for _, name := range append(slices.Clone(olderParts), "all") {
		if y := all[name]; y != nil {
			say(c.t, "corruption: %-17s %5d  %8d %8d %15d  %5d", name, y.swaps, y.start, y.read, y.healed, y.stale)
		}
	}
	if y := all["all"]; y != nil {
		say(c.t, "corruption: %d older versions of parts of the store, stale positive answers %d", y.swaps, y.stale)
	}
}
