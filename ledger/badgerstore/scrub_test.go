package badgerstore_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
)

// TestScrub reads a store in use again and again; damage to the journal, to a body's key or to the view closes the
// integrity latch, with a code that says which.
func TestScrub(t *testing.T) {
	for _, c := range []struct {
		name, code string
		damage     func(t *testing.T, dir string)
	}{
		{"sound", "", func(*testing.T, string) {}},
		{"journal", badgerstore.CodeJournalCorrupt, func(t *testing.T, dir string) {
			flipBit(t, filepath.Join(dir, "journal", "00000000000000000001.seg"), 700)
		}},
		{"key of a body", badgerstore.CodeScrubMismatch, func(t *testing.T, dir string) {
			flipBit(t, filepath.Join(dir, "shred", "keys"), 512+20)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			opt := small()
			opt.Now = func() time.Time { return now }
			s := mustOpen(t, dir, opt)
			w := newWriter(t, s)
			w.write(s, 20)
			scrub := s.NewScrubber(1<<30, time.Hour)
			if err := scrub.Pass(t.Context()); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Hour)
			if scrub.Age() != time.Hour || scrub.Passes() != 1 || scrub.Cursor() != 20 {
				t.Errorf("age %v, %d passes, at frame %d", scrub.Age(), scrub.Passes(), scrub.Cursor())
			}
			w.write(s, 5)
			c.damage(t, dir)
			err := scrub.Pass(t.Context())
			l := s.Health().Integrity
			if c.code == "" {
				if err != nil || l != nil || scrub.Age() != 0 || scrub.Cursor() != 25 {
					t.Errorf("%v, %+v, age %v", err, l, scrub.Age())
				}
				return
			}
			if !errors.Is(err, ledger.ErrIntegrity) || l == nil || l.Code != c.code || scrub.Findings() != 1 ||
				scrub.Age() != time.Hour {
				t.Errorf("%v, latch %+v, %d findings, age %v", err, l, scrub.Findings(), scrub.Age())
			}
		})
	}
}

// TestScrubEnds: a scrub that is told to end does, in the middle of a pass that would take long.
func TestScrubEnds(t *testing.T) {
	s := mustOpen(t, t.TempDir(), small())
	newWriter(t, s).write(s, 20)
	ctx, cancel := context.WithCancel(t.Context())
	scrub := s.NewScrubber(1, time.Hour)
	ended := make(chan error, 1)
	go func() { ended <- scrub.Run(ctx) }()
	cancel()
	if err := <-ended; err != nil || scrub.Passes() != 0 {
		t.Errorf("%v, %d passes", err, scrub.Passes())
	}
}

func flipBit(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// TestSalvage takes the whole beginning of a damaged journal out into a new directory, from which a closed log is made
// that says what is gone. The damaged store stays as it is.
func TestSalvage(t *testing.T) {
	dir, opt := t.TempDir(), ofChain()
	opt.SegmentSize = 1 << 20
	s := mustOpen(t, dir, opt)
	w := newWriter(t, s)
	w.write(s, 50)
	early := w.head(t)
	w.write(s, 250)
	mustClose(t, s)
	segments := files(t, filepath.Join(dir, "journal"), ".seg")
	flipBit(t, segments[0], 400_000)
	before := map[string][]byte{}
	for _, path := range files(t, dir, "") {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		before[path] = data
	}
	to := filepath.Join(t.TempDir(), "salvaged")
	out, err := badgerstore.Salvage(t.Context(), dir, to, opt)
	if err != nil {
		t.Fatal(err)
	}
	if out.Frames < 50 || out.Frames >= 300 || len(out.Left) != 1 || out.Left[0].Part != "journal" {
		t.Fatalf("%+v", out)
	}
	for path, data := range before {
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, data) {
			t.Errorf("%s was changed: %v", path, err)
		}
	}
	into := filepath.Join(t.TempDir(), "store")
	r, err := badgerstore.Restore(t.Context(), opt, badgerstore.RestoreOptions{
		From: to, Into: into, Keys: dir, LogKey: w.chain.Keys.VKey,
		Heads: []badgerstore.KnownHead{early, w.head(t)},
	})
	if err != nil || r.Closed == nil || r.Frames != out.Frames || r.Head.Root != out.Head.Root {
		t.Fatalf("%+v, %v", r, err)
	}
	mustMatch(t, mustOpen(t, into, opt))
	if _, err := badgerstore.Salvage(t.Context(), dir, into, opt); err == nil {
		t.Error("salvaged into a directory that is in use")
	}
}

// TestScrubOrdersARebuild: a view that differs from the journal is rebuilt at the next start.
func TestScrubOrdersARebuild(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small())
	newWriter(t, s).write(s, 20)
	flipBit(t, filepath.Join(dir, "shred", "keys"), 512+20)
	if err := s.NewScrubber(1<<30, time.Hour).Pass(t.Context()); !errors.Is(err, ledger.ErrIntegrity) {
		t.Fatal(err)
	}
	mustClose(t, s)
	again := mustOpen(t, dir, small())
	if again.Recovery().Rebuilt == "" {
		t.Error("the view was not rebuilt")
	}
	mustMatch(t, again)
}
