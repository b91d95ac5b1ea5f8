package badgerstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/journal"
)

// TestFilledToTheLastOctet fills a real file system under an open store: nothing acknowledged is lost, reads go on, a
// start on the full disk works, and commits go on when there is space again.
func TestFilledToTheLastOctet(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=192m"); err != nil {
		t.Skipf("no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	home := filepath.Join(dir, "store")
	opt := small()
	opt.SegmentSize = 1 << 20
	s := mustOpen(t, home, opt)
	w := newWriter(t, s)
	w.write(s, 100)
	filler := filepath.Join(dir, "filler")
	fill(t, filler)

	for range 3 {
		if err := w.try(s); !errors.Is(err, ledger.ErrUnavailable) || errors.Is(err, ledger.ErrOutcomeUnknown) {
			t.Fatalf("Apply on a full disk = %v, want ErrUnavailable", err)
		}
		fill(t, filler) // the ballast was given up: take that too
	}
	mustMatch(t, s)
	openBodies(t, s)
	for range 20 {
		stop := ledger.Stop{Kind: ledger.StopMission, ID: "m0", Actor: "approver", Reason: "the disk is full"}
		if err := s.Stops().Stop(t.Context(), stop); err != nil {
			t.Fatalf("an emergency stop on a full disk: %v", err)
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	w.write(s, 100)
	mustMatch(t, s)

	// Fill it while the store is closed, ballast in place.
	mustClose(t, s)
	s = w.reopen(home, opt)
	mustClose(t, s)
	fill(t, filler)
	s = w.reopen(home, opt)
	mustMatch(t, s)
	if n := len(s.Stops().Pending()); n != 20 {
		t.Errorf("%d stops pending, want 20", n)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	w.write(s, 10)
	mustMatch(t, s)
}

// fill writes to path until the file system has no octet left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if n, err := f.Write(make([]byte, size)); err != nil && n == 0 {
			if !journal.IsNoSpace(err) {
				t.Fatal(err)
			}
			size /= 2
		}
	}
}
