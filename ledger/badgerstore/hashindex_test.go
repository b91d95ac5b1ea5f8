package badgerstore_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
)

// TestIndexRuns: what the hash indexes answer is the same whether an entry is in memory or in a run, after a clean
// stop, a kill, a replay and a rebuild, and runs are not written twice.
func TestIndexRuns(t *testing.T) {
	dir := t.TempDir()
	opt := small().IndexRun(64)
	s := mustOpen(t, dir, opt)
	w := newWriter(t, s)
	w.write(s, 150) // 450 entries
	if n := badgerstore.IndexRuns(s); n < 1 {
		t.Fatalf("%d runs over 450 entries", n)
	}
	mustMatch(t, s)
	killed := image(t, dir)
	w.write(s, 250)
	runs := badgerstore.IndexRuns(s)
	mustMatch(t, s)
	mustClose(t, s)

	s = w.reopen(dir, opt)
	if n := badgerstore.IndexRuns(s); n != runs {
		t.Errorf("%d runs after a clean stop, had %d", n, runs)
	}
	mustMatch(t, s)
	w.write(s, 50)
	mustMatch(t, s)
	mustClose(t, s)

	// A journal that goes on after the view: the tail is replayed, runs are taken over.
	replaceDir(t, killed, dir, "journal")
	h := mustOpen(t, killed, opt)
	if r := h.Recovery(); r.Replayed == 0 || r.Rebuilt != "" {
		t.Errorf("recovery: %+v", r)
	}
	if n := badgerstore.IndexRuns(h); n < 1 {
		t.Errorf("%d runs after a replay", n)
	}
	mustMatch(t, h)
	mustClose(t, h)
	mustMatch(t, mustOpen(t, killed, opt))

	// Another size of runs from here on.
	s = w.reopen(dir, small().IndexRun(1000))
	w.write(s, 20)
	mustMatch(t, s)
	mustClose(t, s)
	setFormat(t, dir, 1) // rebuilds
	mustMatch(t, w.reopen(dir, small().IndexRun(100)))
}

// TestIndexRunsAfterALossOfPower: runs that were written after the last flush lost their blocks, although their keys
// are there. They are not believed after the system was restarted, not at a later start either, and are made again.
func TestIndexRunsAfterALossOfPower(t *testing.T) {
	dir := t.TempDir()
	opt := small().IndexRun(32)
	s := mustOpen(t, dir, opt.Rebooted(1))
	w := newWriter(t, s)
	w.write(s, 60)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	synced := image(t, dir)
	before := badgerstore.IndexRuns(s)
	w.write(s, 100)
	if n := badgerstore.IndexRuns(s); n <= before {
		t.Fatalf("no run was written after the flush: %d", n)
	}
	lost := image(t, dir)
	loseValues(t, lost, synced)
	for boot := byte(2); boot < 5; boot++ {
		s = mustOpen(t, lost, opt.Rebooted(boot))
		if r := s.Recovery(); r.Rebuilt != "" || boot == 2 && r.Replayed != 100 {
			t.Errorf("recovery: %+v", r)
		}
		mustMatch(t, s)
		lost = image(t, lost)
	}
}

// TestIndexBlockMissing: a block that the engine lost is damage, not an absent hash.
func TestIndexBlockMissing(t *testing.T) {
	dir := t.TempDir()
	opt := small().IndexRun(32)
	s := mustOpen(t, dir, opt)
	w := newWriter(t, s)
	w.write(s, 100)
	var key []byte
	for b, err := range s.Frames(2) {
		if err != nil {
			t.Fatal(err)
		}
		key = ledger.DedupKeyOf(b.Entries[0].Dedup)
		break
	}
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	if value, err := snap.Get(key); err != nil || binary.BigEndian.Uint64(value) != 3 {
		t.Fatalf("entry 3 is found at %x: %v", value, err)
	}
	badgerstore.DropIndexBlock(t, s, key)
	if _, err := snap.Get(key); !errors.Is(err, ledger.ErrIntegrity) {
		t.Fatalf("a hash whose block is missing: %v", err)
	}
	if s.Health().Integrity == nil {
		t.Error("the latch is open")
	}
	snap.Close()
	mustClose(t, s)
	s = w.reopen(dir, opt)
	if s.Recovery().Rebuilt == "" {
		t.Errorf("recovery: %+v", s.Recovery())
	}
	mustMatch(t, s)
}

// TestFilter: a filter never denies a hash that was added, and seldom lets another one pass.
func TestFilter(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	hash := func() (h [16]byte) {
		binary.BigEndian.PutUint64(h[:], rng.Uint64())
		binary.BigEndian.PutUint64(h[8:], rng.Uint64())
		return h
	}
	const n = 50_000
	for bits, limit := range map[int]int{12: n / 100, 8: n / 20} {
		f := badgerstore.NewFilter(n, bits)
		var added [][16]byte
		for range n {
			h := hash()
			f.Add(h)
			added = append(added, h)
		}
		for _, h := range added {
			if !f.MayHold(h) {
				t.Fatalf("%d bits: a hash that was added is denied", bits)
			}
		}
		passed := 0
		for range n {
			if f.MayHold(hash()) {
				passed++
			}
		}
		t.Logf("%d bits: %d of %d others pass", bits, passed, n)
		if passed > limit {
			t.Errorf("%d bits: %d of %d others pass, at most %d", bits, passed, n, limit)
		}
	}
}
