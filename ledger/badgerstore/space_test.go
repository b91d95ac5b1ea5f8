package badgerstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/journal"
)

// scarce is a file system that says how much is free. The ballast counts.
type scarce struct {
	journal.FS
	free    *atomic.Int64
	ballast int64
	dir     string
}

func (f scarce) Free(string) (uint64, error) {
	free := f.free.Load()
	if _, err := os.Stat(filepath.Join(f.dir, "ballast")); err != nil {
		free += f.ballast
	}
	return uint64(max(0, free)), nil
}

func TestReserve(t *testing.T) {
	dir := t.TempDir()
	var free atomic.Int64
	free.Store(1 << 40)
	opt := small()
	opt.Ballast = 64 << 20
	opt.FS = scarce{unsynced{journal.OS}, &free, opt.Ballast, dir}
	s := mustOpen(t, dir, opt)
	ballast := filepath.Join(dir, "ballast")
	if info, err := os.Stat(ballast); err != nil || info.Size() != opt.Ballast {
		t.Fatalf("ballast: %v, %v", info, err)
	}
	w := newWriter(t, s)
	w.write(s, 5)

	refused := func(what string) {
		t.Helper()
		err := w.try(s)
		if !errors.Is(err, ledger.ErrUnavailable) || errors.Is(err, ledger.ErrOutcomeUnknown) {
			t.Fatalf("%s: Apply = %v, want ErrUnavailable", what, err)
		}
		if s.Health().Write != nil {
			t.Fatalf("%s: a refusal poisons", what)
		}
	}
	free.Store(opt.Reserve - 1)
	refused("just below the reserve")
	if _, err := os.Stat(ballast); err != nil {
		t.Error("the ballast is given up too early")
	}
	free.Store(0)
	refused("full")
	if _, err := os.Stat(ballast); err == nil {
		t.Error("the ballast is kept on a full disk")
	}
	refused("full, with the octets of the ballast free")
	mustMatch(t, s)
	if err := s.Stops().Stop(t.Context(), ledger.Stop{Kind: ledger.StopAll, Actor: "operator"}); err != nil {
		t.Errorf("an emergency stop on a full disk: %v", err)
	}
	mustClose(t, s)

	s = w.reopen(dir, opt) // on the full disk
	mustMatch(t, s)
	refused("full after a start")
	free.Store(1 << 40)
	w.write(s, 3)
	mustClose(t, s)
	s = w.reopen(dir, opt)
	if _, err := os.Stat(ballast); err != nil {
		t.Error("the ballast is not taken back")
	}
	mustMatch(t, s)
}
