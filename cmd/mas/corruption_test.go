package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/mission/jws"
)

const (
	// damageDead: one flip of so many of a stratum hits what is not live, where it has that.
	damageDead = 5
	// damageProcess: one flip of so many is also shown to the real program as a process.
	damageProcess = 10
	// damageJob names the file that tells a child process of this test which flips to make.
	damageJob = "MAS_TEST_DAMAGE_JOB"
)

// A flip is one bit of one file.
type flip struct {
	N       int
	Stratum string
	Killed  bool // of the directory as a kill leaves it, else after an orderly stop
	File    string
	Offset  int64
	Bit     int
	Live    bool

	Older string // directory of an earlier moment: instead of a flip, File is the part that is replaced from there
	Pick  uint64
}

func (f flip) String() string {
	if f.Older != "" {
		return fmt.Sprintf("swap %d: %s of %s (killed %t)", f.N, f.File, filepath.Base(f.Older), f.Killed)
	}
	return fmt.Sprintf("flip %d: %s, bit %d of octet %d of %s (live %t, killed %t)", f.N, f.Stratum, f.Bit, f.Offset,
		f.File, f.Live, f.Killed)
}

// apply flips the bit in the directory dir.
func (f flip) apply(dir string) error {
	if f.Older != "" {
		return f.replace(dir)
	}
	path := filepath.Join(dir, f.File)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[f.Offset] ^= 1 << f.Bit
	return writeSparse(path, data)
}

// An outcome is what became of one flip: what was noticed when, and the answers that were wrong.
type outcome struct {
	N                 int
	Start, Read, Fsck string   // how it was detected; at most one is set
	Dead              bool     // live by its position, but proven to mean the same
	Wrong             []string // answers that are not the truth
	Asked             int
	Crashed           string // the process ended
	Failed            string // of the harness itself
}

// TestCorruption flips single bits in copies of a directory with a real history, starts the server over each, and asks
// it for everything. Flips in live data must be noticed, by the start, by the first read of what was hit, or by fsck;
// and whatever is answered must be true. Then it does the same with older versions of parts of the store in the place
// of the newest: no stale answer may be given.
//
// Audit rows: 78.
func TestCorruption(t *testing.T) {
	n := soak(2000, 30)
	h := makeHistory(t, 80)
	c := &corruption{t: t, h: h, seed: rand.Uint64()}
	t.Logf("seed %d", c.seed)
	c.choose(n)
	c.older(soak(520, len(olderParts)))
	c.baseline()
	c.control()
	if t.Failed() {
		return
	}
	c.run()
	c.processes()
	c.report()
}

type corruption struct {
	t        *testing.T
	h        *history
	seed     uint64
	flips    []flip
	outcomes []*outcome
	served   int // flips shown to the real program
}

// choose spreads n flips over the strata.
func (c *corruption) choose(n int) {
	rng := rand.New(rand.NewPCG(c.seed, 0))
	grounds := map[bool]map[string]*ground{}
	for killed, dir := range map[bool]string{false: c.h.Clean, true: c.h.Killed} {
		var err error
		if grounds[killed], err = survey(dir, c.h.Origin); err != nil {
			c.t.Fatal(err)
		}
	}
	for i := range n {
		f := flip{N: i, Stratum: strata[i%len(strata)], Bit: rng.IntN(8), Live: (i/len(strata)+1)%damageDead != 0}
		f.Killed = f.Stratum == "wal" || rng.IntN(2) == 0 // an orderly stop leaves nothing in the write-ahead log
		g := grounds[f.Killed][f.Stratum]
		if len(g.live) == 0 {
			c.t.Fatalf("nothing is live in %s (killed %t)", f.Stratum, f.Killed)
		}
		from := g.live
		if f.Live = f.Live || len(g.dead) == 0; !f.Live {
			from = g.dead
		}
		f.File, f.Offset = pick(rng, from)
		c.flips = append(c.flips, f)
	}
	c.outcomes = make([]*outcome, n)
}

// baseline shows that without damage everything is answered, truly, and nothing is noticed.
func (c *corruption) baseline() {
	for _, killed := range []bool{false, true} {
		out := c.h.try(c.t.Context(), flip{N: -1, Killed: killed}, c.t.TempDir())
		if out.Failed != "" || out.Start != "" || out.Read != "" || len(out.Wrong) > 0 {
			c.t.Errorf("without damage (killed %t): %+v", killed, *out)
		}
		dir := c.t.TempDir()
		if err := copyDirectory(dir, c.h.directory(killed)); err != nil {
			c.t.Fatal(err)
		}
		if found, err := fsckDamaged(c.t.Context(), dir); err != nil || found != "" {
			c.t.Errorf("fsck without damage (killed %t): %s, %v", killed, found, err)
		}
	}
}

// control shows that wrong answers would be noticed: against a history that is not the true one, answers are wrong.
func (c *corruption) control() {
	other := *c.h
	other.Missions, other.Entries = slices.Clone(c.h.Missions), slices.Clone(c.h.Entries)
	other.Missions[0].Version++
	other.Entries[1].Body = nil
	other.Entries[1].Leaf[0] ^= 1
	out := other.try(c.t.Context(), flip{N: -1}, c.t.TempDir())
	if len(out.Wrong) != 3 { // the status, the head, the entry
		c.t.Errorf("held against another history, these answers are wrong: %q", out.Wrong)
	}
}

func (h *history) directory(killed bool) string {
	if killed {
		return h.Killed
	}
	return h.Clean
}

// run makes the flips in two child processes, so that damage that ends the process is an outcome like others.
func (c *corruption) run() {
	var busy sync.WaitGroup
	for part := range 2 {
		var mine []flip
		for i, f := range c.flips {
			if i%2 == part {
				mine = append(mine, f)
			}
		}
		busy.Go(func() {
			for len(mine) > 0 && c.t.Context().Err() == nil {
				done, err := c.child(mine)
				for _, out := range done {
					c.outcomes[out.N] = out
				}
				mine = mine[len(done):]
				if err != nil && len(mine) > 0 {
					c.outcomes[mine[0].N] = &outcome{N: mine[0].N, Crashed: err.Error()}
					mine = mine[1:]
				}
			}
		})
	}
	busy.Wait()
}

// A job is what a child process does.
type job struct {
	History *history
	Flips   []flip
	Scratch string
}

// child makes flips in a child process until all are done or it ends. It returns the outcomes in order.
func (c *corruption) child(flips []flip) ([]*outcome, error) {
	scratch, err := os.MkdirTemp(c.t.TempDir(), "child-")
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(job{c.h, flips, scratch})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(scratch, "job.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(c.t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), damageJob+"="+path)
	var said bytes.Buffer
	cmd.Stderr = &said
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var done []*outcome
	in := bufio.NewScanner(lines)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		out := new(outcome)
		if err := json.Unmarshal(in.Bytes(), out); err != nil {
			break
		}
		done = append(done, out)
	}
	if err := cmd.Wait(); err != nil {
		return done, fmt.Errorf("%w: %.2000s", err, said.String())
	}
	return done, errors.Join(in.Err(), os.RemoveAll(scratch))
}

// damageChild is the child process: it writes one outcome a line.
func damageChild(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var j job
	if err := json.Unmarshal(text, &j); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	out := json.NewEncoder(os.Stdout)
	for _, f := range j.Flips {
		if err := out.Encode(j.History.try(context.Background(), f, j.Scratch)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return 0
}

// try flips a bit in a copy, starts a server over it in this process and asks it for everything; then, if nothing was
// noticed, has fsck look at another copy. A flip with a negative number is none.
func (h *history) try(ctx context.Context, f flip, scratch string) *outcome {
	out := &outcome{N: f.N}
	fail := func(err error) *outcome {
		out.Failed = err.Error()
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	dir, err := h.damaged(f, scratch)
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	if err := h.start(ctx, dir, out); err != nil {
		return fail(err)
	}
	if !f.Live || out.Start != "" || out.Read != "" {
		return out
	}
	again, err := h.damaged(f, scratch)
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(again)
	if sameMeaning(h.directory(f.Killed), again, f.File, h.Origin) {
		out.Dead = true
		return out
	}
	if out.Fsck, err = fsckDamaged(ctx, again); err != nil {
		return fail(err)
	}
	return out
}

// damaged copies the directory and flips the bit in the copy.
func (h *history) damaged(f flip, scratch string) (string, error) {
	dir, err := os.MkdirTemp(scratch, "data-")
	if err == nil {
		err = copyDirectory(dir, h.directory(f.Killed))
	}
	if err == nil && f.N >= 0 {
		err = f.apply(dir)
	}
	return dir, err
}

// start opens the directory as a server does, but for the listener, and asks.
func (h *history) start(ctx context.Context, dir string, out *outcome) (err error) {
	said := new(warner)
	o, err := historyOptions(dir, said.logger())
	if err != nil {
		return err
	}
	d, err := domain.Open(ctx, o)
	if err != nil {
		out.Start = "refused: " + err.Error()
		return nil
	}
	logCtx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- d.Log.Run(logCtx) }()
	recovery := d.Authority.Recover(ctx)
	out.Start = said.take()
	if recovery != nil && out.Start == "" {
		out.Start = "recovery: " + recovery.Error()
	}
	a, err := h.ask(ctx, d)
	if err == nil {
		out.Wrong, out.Asked = a.Wrong, a.Asked
		if out.Start == "" {
			out.Read = said.take()
			if out.Read == "" && len(a.Refused) > 0 {
				out.Read = a.Refused[0]
			}
		}
	}
	stop()
	<-ended
	_ = d.Close() // damage that shows when it closes is not what is asked here
	return err
}

// fsckDamaged returns what fsck finds in a directory that nobody else has.
func fsckDamaged(ctx context.Context, dir string) (string, error) {
	o, err := historyOptions(dir, nil)
	if err != nil {
		return "", err
	}
	found, err := domain.Fsck(ctx, o.Config)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return "cannot be read: " + err.Error(), nil
	case found.Clean():
		return "", nil
	}
	return fmt.Sprintf("%v %v %v", found.Notes, found.Store.Findings, found.Derived.Differences), nil
}

// processes shows some of the flips to the real program, over HTTP.
func (c *corruption) processes() {
	for _, f := range c.flips {
		if f.Older != "" || (f.N+f.N/len(strata))%damageProcess != int(c.seed%damageProcess) { // all strata in turn
			continue
		}
		dir, err := c.h.damaged(f, c.t.TempDir())
		if err != nil {
			c.t.Fatal(err)
		}
		c.served++
		s := launch(c.t, program(c.t, ""), dir, c.h.Listen)
		if err := s.ready(crashPatience); err == nil {
			c.outcomes[f.N].Wrong = append(c.outcomes[f.N].Wrong, c.askProcess(s)...)
		} else if !errors.Is(err, errEnded) {
			c.t.Errorf("%s: %v", f, err)
		} else if code := s.cmd.ProcessState.ExitCode(); code == 0 || code == 2 || bytes.Contains(s.log.Bytes(), []byte("goroutine ")) {
			c.t.Errorf("%s: the program ended with %d: %.2000s", f, code, s.log)
		}
		s.kill()
		if err := os.RemoveAll(dir); err != nil {
			c.t.Fatal(err)
		}
	}
}

// askProcess asks for every mission over HTTP.
func (c *corruption) askProcess(s *server) []string {
	keys, err := jws.ParseKeySet([]byte(c.h.Keys))
	if err != nil {
		c.t.Fatal(err)
	}
	agents := map[string]*client.Client{"agent": s.client("agent"), "child": s.client("child")}
	a := new(answers)
	for i, m := range c.h.Missions {
		nonce := "process-" + strconv.Itoa(i)
		resp, err := agents[m.Agent].Form(c.t.Context(), "/mas/missions/status",
			url.Values{"mission_id": {string(m.ID)}, "nonce": {nonce}})
		switch {
		case err == nil:
			c.h.judge(a, m, keys, string(resp.Body), nonce)
		case client.Code(err) == "not_found":
			a.wrong("mission %s is not there", m.ID)
		}
	}
	return a.Wrong
}

// tally counts outcomes.
type tally struct{ flips, live, start, read, fsck, dead, wrong, asked int }

func (y *tally) add(f flip, out *outcome) {
	y.flips++
	y.asked += out.Asked
	y.wrong += len(out.Wrong)
	switch {
	case !f.Live || out.Dead:
		y.dead++
		return
	case out.Start != "":
		y.start++
	case out.Read != "":
		y.read++
	case out.Fsck != "":
		y.fsck++
	}
	y.live++
}

// report prints the counts and fails for everything that must not be.
func (c *corruption) report() {
	counts := map[string]*tally{"all": {}}
	for i, f := range c.flips {
		out := c.outcomes[i]
		if out == nil {
			c.t.Errorf("%s: not made", f)
			continue
		}
		if counts[f.Stratum] == nil {
			counts[f.Stratum] = new(tally)
		}
		counts[f.Stratum].add(f, out)
		if f.Older == "" {
			counts["all"].add(f, out)
		}
		switch {
		case out.Failed != "":
			c.t.Errorf("%s: %s", f, out.Failed)
		case out.Crashed != "":
			c.t.Errorf("%s: the process ended: %s", f, out.Crashed)
		case len(out.Wrong) > 0:
			c.t.Errorf("%s: wrong answers: %.2000q (start %q, read %q)", f, out.Wrong, out.Start, out.Read)
		case f.Live && !out.Dead && out.Start == "" && out.Read == "" && out.Fsck == "":
			c.t.Errorf("%s: nobody noticed", f)
		}
	}
	say(c.t, "corruption: %-11s %5s %5s  %8s %8s %8s  %5s  %5s", "stratum", "flips", "live", "at start", "at read", "by fsck",
		"dead", "wrong")
	for _, name := range append(slices.Clone(strata), "all") {
		y := counts[name]
		say(c.t, "corruption: %-11s %5d %5d  %8d %8d %8d  %5d  %5d", name, y.flips, y.live, y.start, y.read, y.fsck, y.dead,
			y.wrong)
	}
	c.reportOlder()
	all := counts["all"]
	say(c.t, "corruption: %d missions, %d entries; %d questions after the flips; %d flips also served by a process; "+
		"wrong answers: %d", len(c.h.Missions), len(c.h.Entries), all.asked, c.served, all.wrong)
	if all.live*10 < all.flips*8 {
		c.t.Errorf("only %d of %d flips were in live data", all.live, all.flips)
	}
}
