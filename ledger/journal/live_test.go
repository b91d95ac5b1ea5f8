package journal_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/mission-authority/mas/ledger/journal"
)

// liveOptions are those of a journal in real files: a Live reads what another process writes.
func liveOptions() journal.Options {
	return journal.Options{Identity: identity, SegmentSize: 8 << 10}
}

func openAt(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir, liveOptions())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

func poll(t *testing.T, l *journal.Live) []journal.Frame {
	t.Helper()
	frames, err := l.Poll(t.Context(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return frames
}

// TestLive follows a journal while it grows over many segments, some of which are compressed in between.
func TestLive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "j")
	j := openAt(t, dir)
	l, err := journal.OpenLive(nil, dir, identity, 0, journal.Hash{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { l.Close() }()
	want := uint64(0)
	for round := range 30 {
		appendFrames(t, j, round%7)
		if round%5 == 4 {
			if _, err := j.Pack(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if round%6 == 5 { // a reader that starts again goes on where it was
			seq, hash := l.Last()
			l.Close()
			if l, err = journal.OpenLive(nil, dir, identity, seq, hash); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range poll(t, l) {
			if want++; f.Seq != want || string(f.Payload) != string(payload(want)) {
				t.Fatalf("frame %d with %d octets in the place of frame %d", f.Seq, len(f.Payload), want)
			}
		}
		if last, hash := j.Last(); want != last {
			t.Fatalf("round %d: read up to %d of %d", round, want, last)
		} else if _, got := l.Last(); last > 0 && got != hash {
			t.Fatal("another hash than the journal's")
		}
	}
}

// TestLiveTorn: a frame that is not there whole is not yielded, and is when it is.
func TestLiveTorn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "j")
	j := openAt(t, dir)
	appendFrames(t, j, 3)
	name := filepath.Join(dir, "00000000000000000001.seg")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	appendFrames(t, j, 1)
	grown, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for i := range grown {
		if grown[i] != whole[i] {
			last = i
		}
	}
	torn := append([]byte{}, grown...)
	torn[last] ^= 1
	if err := os.WriteFile(name, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := journal.OpenLive(nil, dir, identity, 0, journal.Hash{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := poll(t, l); len(got) != 3 {
		t.Fatalf("%d frames, want 3", len(got))
	}
	if err := os.WriteFile(name, grown, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := poll(t, l); len(got) != 1 || got[0].Seq != 4 {
		t.Fatalf("%d frames after the write was finished, want frame 4", len(got))
	}
}

// TestLiveRefuses: a journal that ends before what is known, tells another history or belongs to another log is not
// read on.
func TestLiveRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "j")
	j := openAt(t, dir)
	appendFrames(t, j, 40)
	for _, c := range []struct {
		name     string
		identity [32]byte
		seq      uint64
		want     error
	}{
		{"rollback in the last segment", identity, 41, journal.ErrRollback},
		{"rollback by far", identity, 4000, journal.ErrRollback},
		{"fork", identity, 40, journal.ErrFork},
		{"fork in a sealed segment", identity, 2, journal.ErrFork},
		{"another log", [32]byte{1}, 0, journal.ErrIdentity},
	} {
		if _, err := journal.OpenLive(nil, dir, c.identity, c.seq, journal.Hash{7}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// Damage in a sealed segment is damage, not the end.
	seal := filepath.Join(dir, "00000000000000000001.seg")
	b, err := os.ReadFile(seal)
	if err != nil {
		t.Fatal(err)
	}
	b[600] ^= 1
	if err := os.WriteFile(seal, b, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := journal.OpenLive(nil, dir, identity, 0, journal.Hash{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if frames, err := l.Poll(t.Context(), 1<<20); !errors.Is(err, journal.ErrCorrupt) {
		t.Fatalf("%d frames, %v, want corruption", len(frames), err)
	}
}

// TestCopyTo copies a journal that is open: the copy is a journal with the same frames, and goes on from there.
func TestCopyTo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "j")
	j := openAt(t, dir)
	for n := range 5 {
		appendFrames(t, j, 10*n)
		if n == 3 {
			if _, err := j.Pack(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		to := filepath.Join(t.TempDir(), "copy")
		c, err := journal.CopyTo(t.Context(), nil, dir, identity, to)
		if err != nil {
			t.Fatal(err)
		}
		if last, hash := j.Last(); c.Seq != last || c.Hash != hash {
			t.Fatalf("copied up to frame %d, the last is %d", c.Seq, last)
		}
		copied := openAt(t, to)
		checkFrames(t, copied, c.Seq)
		appendFrames(t, copied, 3)
		checkFrames(t, copied, c.Seq+3)
	}
	if _, err := journal.CopyTo(t.Context(), nil, dir, [32]byte{9}, filepath.Join(t.TempDir(), "x")); !errors.Is(err,
		journal.ErrIdentity) {
		t.Errorf("another log: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := journal.CopyTo(cancelled, nil, dir, identity, filepath.Join(t.TempDir(), "y")); !errors.Is(err,
		context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
