package badgerstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/journal/journaltest"
)

// TestFaults breaks operations on the disk in every way, restarts in every way, and expects every acknowledged batch,
// at most the one of unknown outcome besides, every body of an acknowledged batch, and every acknowledged stop. Badger
// stands on the real file system and is closed in order: its own losses are the business of other tests.
func TestFaults(t *testing.T) {
	total := 0
	runFaults(t, &faultRun{disk: journaltest.NewDisk(), count: &total})
	step := max(1, total/4)
	if testing.Short() {
		step = total / 3
	}
	for f, fault := range journaltest.Faults {
		for k, keep := range journaltest.AllSurvivors {
			t.Run(fmt.Sprintf("%v, %v", fault, keep), func(t *testing.T) {
				for at := 1 + (4*f+k)*step/20; at <= total; at += step {
					disk := journaltest.NewDisk()
					disk.FailAt(at, fault)
					runFaults(t, &faultRun{disk: disk, at: at, keep: keep})
				}
			})
		}
	}
}

type faultRun struct {
	disk  *journaltest.Disk
	at    int
	keep  journaltest.Survivors
	count *int // of operations, if nothing fails

	acked  uint64 // last batch acknowledged
	tried  uint64 // last batch whose outcome is unknown, or acked
	stops  int    // acknowledged
	wanted int    // tried
}

func runFaults(t *testing.T, r *faultRun) {
	t.Helper()
	dir := t.TempDir()
	opt := small()
	opt.SegmentSize, opt.FS = 32<<10, r.disk
	s, err := badgerstore.Open(dir, opt)
	if err == nil {
		w := newWriter(t, s)
		r.script(t, s, w)
		_ = s.Close()
	}
	if r.count != nil {
		*r.count = r.disk.Count()
	}
	rng := rand.New(rand.NewPCG(uint64(r.at), 7))
	for range 2 {
		r.disk = r.disk.Restart(r.keep, rng)
		opt.FS = r.disk
		s, err := badgerstore.Open(dir, opt)
		if err != nil {
			t.Fatalf("operation %d: Open: %v", r.at, err)
		}
		r.check(t, s)
		if err := s.Close(); err != nil {
			t.Fatalf("operation %d: Close: %v", r.at, err)
		}
	}
}

// script applies batches and orders stops until the store refuses to go on.
func (r *faultRun) script(t *testing.T, s *badgerstore.Store, w *writer) {
	for i := range 8 {
		if i == 5 {
			_ = s.Flush()
		}
		r.wanted++
		if err := s.Stops().Stop(context.Background(), ledger.Stop{Kind: ledger.StopAll, Actor: "operator"}); err == nil {
			r.stops++
		}
		digest := ledger.Hash{}
		if _, err := s.Vault().Seal(digest, nil); err != nil {
			continue // no key: no batch
		}
		expect := w.chain.Head
		b := w.batch(s, 2)
		switch err := s.Apply(context.Background(), b, expect); {
		case err == nil:
			r.acked, r.tried = b.Head.Seq, b.Head.Seq
		case errors.Is(err, ledger.ErrOutcomeUnknown):
			r.tried = b.Head.Seq
			if err := s.Apply(context.Background(), b, expect); err == nil || errors.Is(err, ledger.ErrOutcomeUnknown) {
				t.Fatalf("operation %d: Apply after an unknown outcome = %v", r.at, err)
			}
			if s.Health().Write == nil {
				t.Fatalf("operation %d: an unknown outcome leaves the write latch open", r.at)
			}
			return
		default:
			if s.Head().Seq != r.acked {
				t.Fatalf("operation %d: %v, but the head moved", r.at, err)
			}
			return
		}
	}
}

func (r *faultRun) check(t *testing.T, s *badgerstore.Store) {
	t.Helper()
	if latch := s.Health().Integrity; latch != nil {
		t.Fatalf("operation %d: latch %s", r.at, latch.Code)
	}
	head := s.Head()
	if head.Seq < r.acked || head.Seq > r.tried {
		t.Fatalf("operation %d: frame %d is the last, acknowledged %d, tried %d", r.at, head.Seq, r.acked, r.tried)
	}
	mustMatch(t, s)
	openBodies(t, s)
	if n := len(s.Stops().Pending()); n < r.stops || n > r.wanted {
		t.Fatalf("operation %d: %d stops pending, %d acknowledged, %d tried", r.at, n, r.stops, r.wanted)
	}
	r.acked, r.tried, r.stops, r.wanted = head.Seq, head.Seq, len(s.Stops().Pending()), len(s.Stops().Pending())
}

// TestFailedApplyOfADurableFrame: the frame is durable and acknowledged, Badger fails. The batch stays readable, the
// store takes no more, and after the next start the batch is there.
func TestFailedApplyOfADurableFrame(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small())
	w := newWriter(t, s)
	w.write(s, 3)
	badgerstore.BlockBadger(s)
	b := w.batch(s, 1)
	expect := s.Head()
	if err := s.Apply(t.Context(), b, expect); err != nil {
		t.Fatalf("Apply = %v: the frame is durable", err)
	}
	if err := badgerstore.Settle(s); err == nil {
		t.Error("writing to a blocked Badger succeeds")
	}
	for s.Health().Write == nil {
		time.Sleep(time.Millisecond)
	}
	if s.Head().Seq != 4 {
		t.Errorf("the head is frame %d", s.Head().Seq)
	}
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range b.KVs() {
		if got, err := snap.Get(kv.Key); err != nil || !bytes.Equal(got, kv.Value) {
			t.Fatalf("key %q of an acknowledged batch: %d octets, %v", kv.Key, len(got), err)
		}
	}
	snap.Close()
	next := w.batch(s, 1)
	err = s.Apply(t.Context(), next, b.Head)
	if !errors.Is(err, ledger.ErrUnavailable) || errors.Is(err, ledger.ErrOutcomeUnknown) {
		t.Errorf("the next Apply = %v, want ErrUnavailable alone", err)
	}
	_ = s.Close()
	w.chain.Head = b.Head
	s = w.reopen(dir, small())
	if s.Recovery().Replayed != 1 {
		t.Errorf("recovery: %+v", s.Recovery())
	}
	mustMatch(t, s)
}
