package badgerstore_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/ledgertest"
)

func TestStore(t *testing.T) {
	ledgertest.TestStore(t, func(t *testing.T) ledgertest.Place {
		dir := t.TempDir()
		return func() (ledger.Store, error) { return badgerstore.Open(dir, small()) }
	})
}

// TestTwoOpeners: a directory has one owner; whoever else opens it is refused.
//
// Audit rows: 73.
func TestTwoOpeners(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small())
	if _, err := badgerstore.Open(dir, small()); !errors.Is(err, badgerstore.ErrLocked) {
		t.Fatalf("second Open = %v, want ErrLocked", err)
	}
	if _, err := badgerstore.Check(t.Context(), dir, small()); !errors.Is(err, badgerstore.ErrLocked) {
		t.Fatalf("Check of an open store = %v, want ErrLocked", err)
	}
	mustClose(t, s)
	mustClose(t, mustOpen(t, dir, small()))
}

func TestAnotherOriginOrRootKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small())
	newWriter(t, s).write(s, 2)
	mustClose(t, s)
	other := small()
	other.Origin = "b.example/log/1"
	if _, err := badgerstore.Open(dir, other); err == nil {
		t.Error("a store opens under another origin")
	}
	other = small()
	other.Root[0]++
	if _, err := badgerstore.Open(dir, other); !errors.Is(err, badgerstore.ErrRootKey) {
		t.Errorf("Open with another root key = %v, want ErrRootKey", err)
	}
	mustMatch(t, mustOpen(t, dir, small()))
}

// TestEverythingStays writes enough for several memtables, value logs and segments, with upkeep running beside it.
func TestEverythingStays(t *testing.T) {
	dir := t.TempDir()
	opt := small()
	opt.SegmentSize, opt.MemTableSize, opt.ValueLogSize = 256<<10, 2<<20, 1<<20
	s := mustOpen(t, dir, opt)
	w := newWriter(t, s)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		w.write(s, 500)
		mustMatch(t, s)
		if err := s.Scrub(t.Context()); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
		found, err := badgerstore.Check(t.Context(), dir, opt)
		if err != nil || len(found) > 0 {
			t.Fatalf("Check = %v, %v", found, err)
		}
		s = w.reopen(dir, opt)
		mustMatch(t, s)
		if r := s.Recovery(); r != (badgerstore.Recovery{}) {
			t.Fatalf("a clean start recovered something: %+v", r)
		}
	}
	openBodies(t, s)
	if n := len(files(t, filepath.Join(dir, "journal"), ".zst")); n == 0 {
		t.Error("no sealed segment was compressed")
	}
	if n := len(files(t, filepath.Join(dir, "badger"), ".sst")); n == 0 {
		t.Error("no table was written: the test is too small")
	}
}

// TestSnapshotsOutliveCompaction keeps a snapshot open while its versions are overwritten, flushed and compacted.
func TestSnapshotsOutliveCompaction(t *testing.T) {
	opt := small()
	opt.MemTableSize, opt.ValueLogSize = 2<<20, 1<<20
	s := mustOpen(t, t.TempDir(), opt)
	w := newWriter(t, s)
	w.write(s, 10)
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	w.write(s, 1500)
	raw, err := snap.Get(ledger.RowKey("mission/m0/state"))
	if err != nil {
		t.Fatal(err)
	}
	if row, err := ledger.ParseRow("mission/m0/state", raw); err != nil || row.Version != 10 {
		t.Fatalf("the snapshot of frame 10 shows version %d, %v", row.Version, err)
	}
}

func TestCloseWaitsForReaders(t *testing.T) {
	s := mustOpen(t, t.TempDir(), small())
	newWriter(t, s).write(s, 20)
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	var failed error
	for _, err := range snap.Iterate([]byte{ledger.PrefixEntry}, nil) {
		if err != nil {
			failed = err
			break
		}
		if closed != nil {
			c := closed
			go func() { c <- s.Close() }()
			select {
			case <-c:
				t.Fatal("Close does not wait for an iteration")
			case <-time.After(20 * time.Millisecond):
			}
			defer func() {
				if err := <-c; err != nil {
					t.Error(err)
				}
			}()
			closed = nil
		}
	}
	if !errors.Is(failed, ledger.ErrUnavailable) {
		t.Errorf("an iteration goes on in a closing store: %v", failed)
	}
	if _, err := snap.Get(ledger.HeadKey()); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("Get on a closed store = %v", err)
	}
	snap.Close()
	if _, err := s.Snapshot(); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("Snapshot of a closed store = %v", err)
	}
}

// TestOpenCopy reads a copy of a closed store; the original keeps every octet.
func TestOpenCopy(t *testing.T) {
	dir, scratch := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	s := mustOpen(t, dir, small())
	w := newWriter(t, s)
	w.write(s, 30)
	mustClose(t, s)
	before := contents(t, dir)
	c, err := badgerstore.OpenCopy(dir, scratch, small())
	if err != nil {
		t.Fatal(err)
	}
	mustMatch(t, c)
	openBodies(t, c)
	mustClose(t, c)
	after := contents(t, dir)
	for name, data := range before {
		if after[name] != data {
			t.Errorf("%s has changed", name)
		}
	}
	mustMatch(t, w.reopen(dir, small()))
}

func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, path := range files(t, dir, "") {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[path] = string(data)
	}
	return all
}

// TestEpochSurvivesLossOfState: the epoch grows even if the state file is gone.
func TestEpochSurvivesLossOfState(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small())
	w := newWriter(t, s)
	for range 5 {
		mustClose(t, s)
		s = w.reopen(dir, small())
	}
	w.write(s, 3)
	mustClose(t, s)
	if err := os.Remove(filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	s = w.reopen(dir, small())
	mustMatch(t, s)
	w.write(s, 3)
	mustMatch(t, s)
}

// TestStateSectors damages each of the two sectors: the store opens and shows everything.
func TestStateSectors(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small())
	w := newWriter(t, s)
	w.write(s, 5)
	mustClose(t, s)
	path := filepath.Join(dir, "state")
	for i := range 40 {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[i%2*512+rand.IntN(80)] ^= 1 << rand.IntN(8)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s = w.reopen(dir, small())
		if i%10 == 0 {
			mustMatch(t, s)
			w.write(s, 1)
		}
		mustClose(t, s)
	}
}
