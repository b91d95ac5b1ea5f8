package main

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/journal"
)

// Strata of a data directory, in the order in which they are reported.
var strata = []string{"journal", "wal", "tables", "value log", "manifest", "body keys", "key files"}

// An extent is a run of octets of one file that something is read from, or that nothing is.
type extent struct {
	file     string // relative to the directory
	from, to int64
}

// A ground is where bits of one stratum may be flipped.
type ground struct{ live, dead []extent }

func (g *ground) add(live bool, file string, from, to int64) {
	if from >= to {
		return
	}
	if e := (extent{file, from, to}); live {
		g.live = append(g.live, e)
	} else {
		g.dead = append(g.dead, e)
	}
}

// pick chooses a position: three times of four any octet is as likely as another, else any extent is, so that headers
// and other small parts are hit too.
func pick(rng *rand.Rand, in []extent) (file string, offset int64) {
	e := in[rng.IntN(len(in))]
	if rng.IntN(4) != 0 {
		total := int64(0)
		for _, e := range in {
			total += e.to - e.from
		}
		at := rng.Int64N(total)
		for _, e = range in {
			if at < e.to-e.from {
				break
			}
			at -= e.to - e.from
		}
	}
	return e.file, e.from + rng.Int64N(e.to-e.from)
}

// survey reads the formats of the files in dir and says which octets are live. It parses them on its own: the program
// under test has no say in what counts.
func survey(dir, origin string) (map[string]*ground, error) {
	s := &surveyor{dir: dir, grounds: map[string]*ground{}}
	for _, name := range strata {
		s.grounds[name] = new(ground)
	}
	for _, part := range []struct {
		pattern string
		read    func(file string, data []byte) error
	}{
		{"store/journal/*", s.segment},
		{"store/badger/*.mem", s.log("wal")},
		{"store/badger/*.vlog", s.log("value log")},
		{"store/badger/*.sst", s.whole("tables")},
		{"store/badger/MANIFEST", s.whole("manifest")},
		{"store/badger/KEYREGISTRY", s.registry},
		{"keys/*", s.whole("key files")},
	} {
		files, err := filepath.Glob(filepath.Join(dir, part.pattern))
		if err != nil {
			return nil, err
		}
		slices.Sort(files)
		for _, path := range files {
			data, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			file, err := filepath.Rel(dir, path)
			if err != nil {
				return nil, err
			}
			if err := part.read(file, data); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return s.grounds, s.shred(origin)
}

type surveyor struct {
	dir     string
	grounds map[string]*ground
}

// whole: every octet counts.
func (s *surveyor) whole(stratum string) func(string, []byte) error {
	return func(file string, data []byte) error {
		s.grounds[stratum].add(true, file, 0, int64(len(data)))
		return nil
	}
}

// segment: the header and the frames of a raw segment count, and all of a compressed one; preallocated space does not.
func (s *surveyor) segment(file string, data []byte) error {
	g, size := s.grounds["journal"], int64(len(data))
	switch {
	case strings.HasSuffix(file, ".zst"):
		g.add(true, file, 0, size)
		return nil
	case filepath.Base(file) == "next":
		g.add(false, file, 0, size)
		return nil
	}
	const sector, head = 512, 56
	g.add(true, file, 0, 104)
	off := int64(sector)
	for off < size && string(data[off:off+4]) == "\xf5frm" {
		length := int64(binary.BigEndian.Uint32(data[off+4:]))
		sectors, end := int64(1), off+head+length
		if rest := length - (sector - head); rest > 0 {
			sectors += (rest + sector - 2) / (sector - 1)
			end = off + head + length + sectors - 1 // each further sector begins with a mark
		}
		g.add(true, file, off, end)
		off += sectors * sector
	}
	g.add(false, file, off, size)
	return nil
}

// log: of Badger's logs the key number in the header and the entries count; the start value of an encryption that is
// not used does not, nor what follows the last entry.
func (s *surveyor) log(stratum string) func(string, []byte) error {
	return func(file string, data []byte) error {
		g, off := s.grounds[stratum], 20
		for {
			n := entryLength(data[off:])
			if n == 0 {
				break
			}
			off += n
		}
		if off > 20 { // the header of a log without entries says nothing
			g.add(true, file, 0, 8)
			g.add(true, file, 20, int64(off))
		}
		g.add(false, file, 8, 20)
		g.add(false, file, int64(off), int64(len(data)))
		return nil
	}
}

// entryLength is the length of the log entry at the start of b; 0 if there is none.
func entryLength(b []byte) int {
	if len(b) < 2 || b[0] == 0 && b[1] == 0 && (len(b) < 3 || b[2] == 0) {
		return 0
	}
	at, n := 2, 0
	for i := range 3 {
		v, used := binary.Uvarint(b[min(at, len(b)):])
		if used <= 0 {
			return 0
		}
		at += used
		if i < 2 {
			n += int(v)
		}
	}
	end := at + n
	if n < 0 || end+4 > len(b) ||
		crc32.Checksum(b[:end], crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(b[end:]) {
		return 0
	}
	return end + 4
}

// registry: Badger's list of encryption keys is a start value that is not used and a text that must be there.
func (s *surveyor) registry(file string, data []byte) error {
	s.grounds["manifest"].add(false, file, 0, 16)
	s.grounds["manifest"].add(true, file, 16, int64(len(data)))
	return nil
}

// shred: the header and the keys of bodies that were committed count; other slots do not, nor the fill behind a key.
func (s *surveyor) shred(origin string) error {
	g := s.grounds["body keys"]
	const file, header, slot, key = "store/shred/keys", 512, 64, 61
	info, err := os.Stat(filepath.Join(s.dir, file))
	if err != nil {
		return err
	}
	used, err := usedSlots(s.dir, origin)
	if err != nil {
		return err
	}
	g.add(true, file, 0, 88)
	g.add(false, file, 88, header)
	for n := range (info.Size() - header) / slot {
		at := header + n*slot
		g.add(used[uint64(n)], file, at, at+key)
		g.add(false, file, at+key, at+slot)
	}
	return nil
}

// usedSlots reads from the journal which keys seal a body.
func usedSlots(dir, origin string) (map[uint64]bool, error) {
	used := map[uint64]bool{}
	err := frames(dir, origin, func(f journal.Frame) error {
		b, err := ledger.UnmarshalBatch(f.Payload)
		if err != nil {
			return err
		}
		for _, kv := range b.KVs() {
			if kv.Key[0] == ledger.PrefixBody && len(kv.Value) > 9 {
				used[binary.BigEndian.Uint64(kv.Value[1:])] = true
			}
		}
		return nil
	})
	if err == nil && len(used) == 0 {
		err = errors.New("no bodies in the journal")
	}
	return used, err
}

// frames reads the journal in dir without changing it.
func frames(dir, origin string, visit func(journal.Frame) error) error {
	j, err := journal.Open(filepath.Join(dir, "store", "journal"), journal.Options{
		Identity: sha256.Sum256([]byte("mas journal v1\n" + origin)), ReadOnly: true})
	if err != nil {
		return err
	}
	defer j.Close()
	for f, err := range j.Read(1) {
		if err != nil {
			return err
		}
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

// sameMeaning proves that a flip in live data changed nothing that is read: the key file holds the same key, or the
// compressed segment the same frames.
func sameMeaning(dir, flipped, file, origin string) bool {
	switch {
	case strings.HasPrefix(file, "keys/"):
		a, errA := keys.Load(keys.RefsIn(filepath.Join(dir, "keys")))
		b, errB := keys.Load(keys.RefsIn(filepath.Join(flipped, "keys")))
		if errA != nil || errB != nil || a.Root() != b.Root() {
			return false
		}
		for _, role := range keys.Roles() {
			x, errX := ledger.KeyThumbprint(a.Key(role).Public())
			y, errY := ledger.KeyThumbprint(b.Key(role).Public())
			if errX != nil || errY != nil || string(x) != string(y) {
				return false
			}
		}
		return true
	case strings.HasSuffix(file, ".zst"):
		last := func(dir string) (hash journal.Hash, err error) {
			err = frames(dir, origin, func(f journal.Frame) error { hash = f.Hash; return nil })
			return hash, err
		}
		a, errA := last(dir)
		b, errB := last(flipped)
		return errA == nil && errB == nil && a == b
	}
	return false
}
