package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/ledger"
)

const (
	soakWorkers = 8
	soakRate    = 200 // requests a second of all workers together
	soakMemory  = "512MiB"
	// soakLong is from when on the trend of the memory says something.
	soakLong = 10 * time.Minute
)

// The kinds of request of the soak, and how many of a hundred are of each.
var soakMix = []struct {
	name  string
	share int
	do    func(*soaker, context.Context) error
}{
	{"change", 25, (*soaker).change},
	{"status", 40, (*soaker).status},
	{"entry tile", 10, (*soaker).entryTile},
	{"hash tile", 10, (*soaker).hashTile},
	{"receipt", 15, (*soaker).receipt},
}

// TestSoak lets a server work under a mixed load for some seconds, or for SOAK_FOR (an hour under `make soak`), and
// shows that its memory stays flat and below its limit, what compaction of the store costs, and that fsck finds nothing
// afterwards.
//
// Audit rows: 154.
func TestSoak(t *testing.T) {
	long := soakTime(t)
	if long < time.Minute {
		t.Parallel()
	}
	s := newSoak(t)
	s.run(long)
	s.finish()
	s.report(long)
}

func soakTime(t *testing.T) time.Duration {
	text := os.Getenv("SOAK_FOR")
	if text == "" {
		return time.Duration(soak(3600, 4)) * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A soaking is one server under load.
type soaking struct {
	t           *testing.T
	dir         string
	program     string
	server      *server
	workers     []*soaker
	checkpoints *collector

	mu      sync.Mutex
	done    []soaked
	memory  []sample
	compact []time.Time // when tables of the store came or went
}

// soaked is one request.
type soaked struct {
	kind  int
	began time.Time
	took  time.Duration
}

// sample is the anonymous memory of the server at a time.
type sample struct {
	at    time.Time
	bytes int64
}

// A soaker makes one request after another.
type soaker struct {
	*writer
	all      *soaking
	auditor  *client.Client
	receipts int
}

func newSoak(t *testing.T) *soaking {
	s := &soaking{t: t, dir: t.TempDir(), program: program(t, "")}
	listen := lastingAddress(t)
	settings := fmt.Sprintf("listen: %s\nissuer: http://%[1]s\nlimits: {rate: 100000}\ntelemetry: {level: warn}\n", listen)
	if err := os.WriteFile(filepath.Join(s.dir, "config.yaml"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	s.server = launch(t, s.program, s.dir, listen, "env", "GOMEMLIMIT="+soakMemory)
	if err := s.server.ready(crashPatience); err != nil {
		t.Fatal(err)
	}
	with, writers := company(t, s.server, soakWorkers, rand.Uint64())
	for _, w := range writers {
		auditor := s.server.client("auditor")
		auditor.HTTP.Transport = with.approver.HTTP.Transport
		s.workers = append(s.workers, &soaker{writer: w, all: s, auditor: auditor})
	}
	dev := s.server.dev
	public := client.New(dev.Issuer, "", nil)
	public.HTTP.Transport = with.approver.HTTP.Transport
	s.checkpoints = &collector{server: public, origin: dev.LogOrigin, vkey: dev.LogVKey, path: s.log("/checkpoint")}
	if err := s.checkpoints.collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// log is a path below that of the log.
func (s *soaking) log(path string) string {
	origin := s.server.dev.LogOrigin
	return origin[strings.IndexByte(origin, '/'):] + path
}

// run loads the server for so long.
func (s *soaking) run(long time.Duration) {
	ctx, cancel := context.WithTimeout(s.t.Context(), long)
	defer cancel()
	var busy sync.WaitGroup
	for _, w := range s.workers {
		busy.Go(func() { w.work(ctx) })
	}
	every := func(d time.Duration, do func()) {
		busy.Go(func() {
			tick := time.NewTicker(d)
			defer tick.Stop()
			for {
				do()
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		})
	}
	every(max(200*time.Millisecond, long/1200), s.measure)
	every(100*time.Millisecond, s.watchTables(filepath.Join(s.dir, "store", "badger")))
	every(250*time.Millisecond, func() {
		if err := s.checkpoints.collect(s.t.Context()); err != nil {
			s.t.Error(err)
		}
	})
	busy.Wait()
}

// work makes requests at an even pace until ctx ends.
func (w *soaker) work(ctx context.Context) {
	tick := time.NewTicker(time.Second * soakWorkers / soakRate)
	defer tick.Stop()
	for {
		kind, n := 0, w.rng.IntN(100)
		for n >= soakMix[kind].share {
			n -= soakMix[kind].share
			kind++
		}
		began := time.Now()
		if err := soakMix[kind].do(w, w.all.t.Context()); err != nil {
			w.all.t.Errorf("%s: %s: %v", w.name, soakMix[kind].name, err)
			return
		}
		w.all.mu.Lock()
		w.all.done = append(w.all.done, soaked{kind, began, time.Since(began)})
		w.all.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *soaker) change(ctx context.Context) error { return w.step(ctx) }

// status asks for one mission and compares it with what was acknowledged.
func (w *soaker) status(ctx context.Context) error {
	if len(w.missions) == 0 {
		return w.step(ctx)
	}
	m := w.missions[w.rng.IntN(len(w.missions))]
	w.sent++
	return w.compare(ctx, m, fmt.Sprintf("%s-%d-%08x", w.name, w.sent, w.rng.Uint32()), new(settlement))
}

// tile is a random tile at level 0 of what is published.
func (w *soaker) tile(ctx context.Context) (t ledger.Tile, err error) {
	resp, err := w.all.checkpoints.server.Get(ctx, w.all.log("/checkpoint"))
	if err != nil {
		return t, err
	}
	c, err := ledger.OpenCheckpointBy(resp.Body, w.all.checkpoints.origin, w.all.checkpoints.vkey)
	if err != nil {
		return t, found("a checkpoint does not verify: %v", err)
	}
	t.Index = w.rng.Uint64N(c.Size) / ledger.TileWidth
	t.Width = t.WidthAt(c.Size)
	return t, nil
}

func (w *soaker) hashTile(ctx context.Context) error {
	t, err := w.tile(ctx)
	if err != nil {
		return err
	}
	resp, err := w.all.checkpoints.server.Get(ctx, w.all.log("/"+t.Path()))
	if err == nil && len(resp.Body) != t.Width*len(ledger.Hash{}) {
		err = found("tile %s has %d octets", t.Path(), len(resp.Body))
	}
	return err
}

// bundle reads a random bundle of entries.
func (w *soaker) bundle(ctx context.Context) ([][]byte, error) {
	t, err := w.tile(ctx)
	if err != nil {
		return nil, err
	}
	t.Entries = true
	resp, err := w.auditor.Get(ctx, w.all.log("/"+t.Path()))
	if err != nil {
		return nil, err
	}
	entries, err := ledger.ParseBundle(resp.Body, t.Width)
	if err != nil {
		return nil, found("bundle %s: %v", t.Path(), err)
	}
	return entries, nil
}

func (w *soaker) entryTile(ctx context.Context) error {
	_, err := w.bundle(ctx)
	return err
}

// receipt fetches a random entry with its receipt.
func (w *soaker) receipt(ctx context.Context) error {
	entries, err := w.bundle(ctx)
	if err != nil {
		return err
	}
	entry := entries[w.rng.IntN(len(entries))]
	resp, err := w.auditor.Get(ctx, "/entries/"+ledger.EntryID(ledger.HashLeaf(entry))+"/transparent")
	if err != nil {
		return err
	}
	statement, receipts, err := ledger.DetachReceipts(resp.Body)
	if err != nil || !bytes.Equal(statement, entry) || len(receipts) == 0 {
		return found("the transparent statement of an entry: %d receipts, %v", len(receipts), err)
	}
	w.receipts++
	return nil
}

// measure notes the server's anonymous memory.
func (s *soaking) measure() {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.server.cmd.Process.Pid))
	if err != nil {
		s.t.Error(err)
		return
	}
	for line := range strings.Lines(string(text)) {
		if kb, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kb), "kB")), 10, 64)
			if err != nil {
				s.t.Error(err)
			}
			s.memory = append(s.memory, sample{time.Now(), n << 10})
		}
	}
}

// watchTables notes when tables come and go, which is what flushing and compacting do.
func (s *soaking) watchTables(dir string) func() {
	var before []string
	return func() {
		now, err := filepath.Glob(filepath.Join(dir, "*.sst"))
		if err != nil {
			s.t.Error(err)
		}
		if !slices.Equal(before, now) {
			s.compact = append(s.compact, time.Now())
		}
		before = now
	}
}

// finish compares what was acknowledged, stops the server in order, and has fsck read everything.
func (s *soaking) finish() {
	t := s.t
	for _, w := range s.workers {
		if _, err := w.settle(t.Context(), soak(500, 20)); err != nil {
			t.Error(err)
		}
	}
	if err := s.server.stop(); err != nil {
		t.Errorf("stopping: %v\n%s", err, s.server.log)
	}
	began := time.Now()
	out, err := exec.Command(s.program, "fsck", "--dir", s.dir).CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "clean\n") {
		t.Errorf("fsck: %v\n%s", err, out)
	}
	say(t, "soak: fsck of %d entries clean in %v", s.checkpoints.last.Size, time.Since(began).Round(time.Millisecond))
}

// report prints what was measured.
func (s *soaking) report(long time.Duration) {
	t := s.t
	quiet, compacting := make([][]time.Duration, len(soakMix)), make([][]time.Duration, len(soakMix))
	for _, d := range s.done {
		into := quiet
		if s.compacting(d.began) {
			into = compacting
		}
		into[d.kind] = append(into[d.kind], d.took)
	}
	missions, receipts := 0, 0
	for _, w := range s.workers {
		missions, receipts = missions+len(w.missions), receipts+w.receipts
	}
	say(t, "soak: %v, %d requests (%.0f/s), %d missions, %d entries, %d receipts, %d checkpoints consistent, failures %d",
		long, len(s.done), float64(len(s.done))/long.Seconds(), missions, s.checkpoints.last.Size, receipts,
		s.checkpoints.consistent, failures(t))
	say(t, "soak: %-10s %8s %9s %9s   %8s %9s %9s (tables changed %d times)", "", "quiet", "p50", "p99", "compact.", "p50", "p99",
		len(s.compact))
	for i, m := range soakMix {
		say(t, "soak: %-10s %8d %9v %9v   %8d %9v %9v", m.name, len(quiet[i]), quantile(quiet[i], 50), quantile(quiet[i], 99),
			len(compacting[i]), quantile(compacting[i], 50), quantile(compacting[i], 99))
	}
	s.reportMemory(long)
}

func failures(t *testing.T) int {
	if t.Failed() {
		return 1
	}
	return 0
}

// compacting reports whether tables changed right before or after at.
func (s *soaking) compacting(at time.Time) bool {
	i, _ := slices.BinarySearchFunc(s.compact, at.Add(-500*time.Millisecond), time.Time.Compare)
	return i < len(s.compact) && s.compact[i].Before(at.Add(time.Second))
}

func quantile(d []time.Duration, percent int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)].Round(10 * time.Microsecond)
}

// reportMemory prints the memory by quarters and its trend, and fails if a long run grew.
func (s *soaking) reportMemory(long time.Duration) {
	n := len(s.memory)
	if n < 4 {
		s.t.Fatalf("%d samples of the memory", n)
	}
	var quarter [4]float64
	most := int64(0)
	for q := range quarter {
		part := s.memory[q*n/4 : (q+1)*n/4]
		for _, m := range part {
			quarter[q] += float64(m.bytes) / float64(len(part)) / (1 << 20)
			most = max(most, m.bytes)
		}
	}
	slope := ""
	if long >= soakLong {
		slope = fmt.Sprintf(", slope after the first quarter %+.1f MiB/h", trend(s.memory[n/4:]))
	}
	say(s.t, "soak: RssAnon by quarters %.0f, %.0f, %.0f, %.0f MiB, most %d MiB of GOMEMLIMIT %s%s", quarter[0], quarter[1],
		quarter[2], quarter[3], most>>20, soakMemory, slope)
	if most>>20 > 512 {
		s.t.Errorf("the server used %d MiB", most>>20)
	}
	if long >= soakLong && quarter[3] > 1.25*quarter[1]+16 {
		s.t.Errorf("the memory grew from %.0f to %.0f MiB", quarter[1], quarter[3])
	}
}

// trend is the slope of the line through the samples, in MiB an hour.
func trend(samples []sample) float64 {
	var sx, sy, sxx, sxy float64
	for _, m := range samples {
		x, y := m.at.Sub(samples[0].at).Hours(), float64(m.bytes)/(1<<20)
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	n := float64(len(samples))
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}
