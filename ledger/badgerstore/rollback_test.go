package badgerstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
)

// replaceDir puts the directory part of the store from in the place of that of the store dir.
func replaceDir(t *testing.T, dir, from, part string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(dir, part)); err != nil {
		t.Fatal(err)
	}
	copyDir(t, filepath.Join(from, part), filepath.Join(dir, part))
}

// mustLatch opens a store that must come up with this latch closed, read at frame seq, and take nothing.
func mustLatch(
	t *testing.T, dir string, opt badgerstore.Options, code string, w *writer, seq uint64,
) *badgerstore.Store {
	t.Helper()
	s := mustOpen(t, dir, opt)
	latch := s.Health().Integrity
	if latch == nil || latch.Code != code {
		t.Fatalf("latch is %+v, want %s", latch, code)
	}
	if s.Head().Seq != seq {
		t.Errorf("head is frame %d, want %d", s.Head().Seq, seq)
	}
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	if raw, err := snap.Get(ledger.RowKey("mission/m0/state")); err != nil {
		t.Errorf("reading behind the latch: %v", err)
	} else if row, err := ledger.ParseRow("mission/m0/state", raw); err != nil || row.Version != seq {
		t.Errorf("the row has version %d, %v, want %d", row.Version, err, seq)
	}
	before := w.chain.Head
	if err := s.Apply(t.Context(), w.batch(s, 1), s.Head()); !errors.Is(err, ledger.ErrIntegrity) {
		t.Errorf("Apply behind the latch = %v, want ErrIntegrity", err)
	}
	w.chain.Head = before
	if err := s.Stops().Stop(t.Context(), ledger.Stop{Kind: ledger.StopAll, Actor: "operator"}); err != nil {
		t.Errorf("an emergency stop behind the latch: %v", err)
	}
	return s
}

func TestRollback(t *testing.T) {
	for _, closed := range []bool{true, false} {
		dir := t.TempDir()
		s := mustOpen(t, dir, small())
		w := newWriter(t, s)
		w.write(s, 10)
		older := image(t, dir)
		w.write(s, 10)
		image := func() string {
			if closed {
				mustClose(t, s)
				closed = false
			}
			return image(t, dir)
		}

		// Badger alone: healed.
		c := image()
		replaceDir(t, c, older, "badger")
		h := mustOpen(t, c, small())
		if h.Head().Seq != 20 || h.Health().Integrity != nil || h.Recovery().Replayed != 10 {
			t.Errorf("older Badger: frame %d, %+v, %+v", h.Head().Seq, h.Health(), h.Recovery())
		}
		mustMatch(t, h)
		mustClose(t, h)

		// The journal alone, and again at the next start.
		c = image()
		replaceDir(t, c, older, "journal")
		for range 2 {
			mustClose(t, mustLatch(t, c, small(), badgerstore.CodeJournalRollback, w, 20))
		}
		if found, err := badgerstore.Check(t.Context(), c, small()); err != nil || len(found) == 0 {
			t.Errorf("Check of a rolled back journal = %v, %v", found, err)
		}

		// The journal gone.
		c = image()
		if err := os.RemoveAll(filepath.Join(c, "journal")); err != nil {
			t.Fatal(err)
		}
		mustClose(t, mustLatch(t, c, small(), badgerstore.CodeJournalRollback, w, 20))

		// Both, with the state that knows better. The frames of a store that was killed may only be in Badger.
		c = image()
		replaceDir(t, c, older, "journal")
		replaceDir(t, c, older, "badger")
		b, err := badgerstore.Open(c, small())
		if err != nil {
			t.Fatal(err)
		}
		if latch := b.Health().Integrity; latch == nil && b.Head().Seq != 10 {
			t.Errorf("older journal and Badger: frame %d, %+v", b.Head().Seq, b.Health())
		}
		mustClose(t, b)

		// The whole directory: nobody can tell from inside.
		mustMatch(t, mustOpen(t, older, small()))
	}
}

// TestStateKnowsTheMark: after an orderly end the state file alone gives a rollback of both others away.
func TestStateKnowsTheMark(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small())
	w := newWriter(t, s)
	w.write(s, 10)
	older := image(t, dir)
	w.write(s, 10)
	mustClose(t, s)
	replaceDir(t, dir, older, "journal")
	replaceDir(t, dir, older, "badger")
	mustLatch(t, dir, small(), badgerstore.CodeJournalRollback, w, 10)
}

// TestFork swaps the journal for one of another history of the same length.
func TestFork(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	s, o := mustOpen(t, dir, small()), mustOpen(t, other, small())
	w, ow := newWriter(t, s), newWriter(t, o)
	w.write(s, 5)
	ow.write(o, 6)
	mustClose(t, s)
	mustClose(t, o)
	replaceDir(t, dir, other, "journal")
	mustLatch(t, dir, small(), badgerstore.CodeJournalFork, w, 5)
}

// TestCorruptJournal damages an acknowledged frame: the tail is judged at the start, and the view below serves.
//
// Audit rows: 82.
func TestCorruptJournal(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small())
	w := newWriter(t, s)
	w.write(s, 10)
	mustClose(t, s)
	path := filepath.Join(dir, "journal", "00000000000000000001.seg")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[512+100] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s = mustLatch(t, dir, small(), badgerstore.CodeJournalCorrupt, w, 10)
	for _, err := range s.Frames(1) {
		if !errors.Is(err, ledger.ErrIntegrity) {
			t.Errorf("Frames = %v, want ErrIntegrity", err)
		}
	}
	mustClose(t, s)

	if err := os.RemoveAll(filepath.Join(dir, "badger")); err != nil {
		t.Fatal(err)
	}
	if s, err := badgerstore.Open(dir, small()); err == nil {
		t.Errorf("a store with a corrupt journal and no view opens at frame %d", s.Head().Seq)
	} else if !errors.Is(err, ledger.ErrIntegrity) {
		t.Errorf("Open = %v, want ErrIntegrity", err)
	}
}
