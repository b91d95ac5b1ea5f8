package sequencer_test

import (
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
)

const tenYears = 10 * 365 * 24 * time.Hour

// TestClockTenYearsAhead: a clock that jumps ahead does not get into the log, deadlines are not judged by it, and
// everything is well when it is right again.
func TestClockTenYearsAhead(t *testing.T) {
	c := ledgertest.NewClock(t)
	b := newBench(t, ledgertest.Options{Now: c.Now})
	soon := time.Now().Add(time.Hour)
	b.MustCommit(t, put("k", nil, ledger.NotAfter(soon)))
	c.Step(tenYears)
	_, err := b.Commit(t.Context(), put("k", nil, ledger.NotAfter(soon)))
	wantErr(t, err, ledger.ErrUnavailable)
	stop := b.MustCommit(t, b.step(t, "m1", "stopped"))
	if ahead := time.Until(stop.At); ahead > time.Minute {
		t.Fatalf("registered %v ahead", ahead)
	}
	c.Step(0)
	b.MustCommit(t, put("k", nil, ledger.NotAfter(soon)))
	_, err = b.Commit(t.Context(), put("k", nil, ledger.NotAfter(time.Now().Add(-time.Second))))
	wantErr(t, err, ledger.ErrConflict)
	ledgertest.CheckLog(t, b, b.Keys.VKey)
}

// TestStartedTenYearsAhead: a log that was opened under a wrong clock has times that cannot be taken back. When the
// clock is right, deadlines wait until somebody accepts it, and are then judged by it.
func TestStartedTenYearsAhead(t *testing.T) {
	c := ledgertest.NewClock(t)
	c.Step(tenYears)
	b := newBench(t, ledgertest.Options{Now: c.Now})
	wrong := b.MustCommit(t, b.step(t, "m1", "active"))
	c.Step(0)
	b.Stop()
	b.open(t, ledgertest.Options{Keys: b.Keys, Vault: b.Vault, Now: c.Now})
	soon := time.Now().Add(time.Hour)
	_, err := b.Commit(t.Context(), put("k", nil, ledger.NotAfter(soon)))
	wantErr(t, err, ledger.ErrUnavailable)
	b.AcceptClock()
	done := b.MustCommit(t, put("k", nil, ledger.NotAfter(soon)))
	if !done.At.Equal(wrong.At) {
		t.Fatalf("registered at %v after %v", done.At, wrong.At)
	}
	_, err = b.Commit(t.Context(), put("k", nil, ledger.NotAfter(time.Now().Add(-time.Second))))
	wantErr(t, err, ledger.ErrConflict)
	ledgertest.CheckLog(t, b, b.Keys.VKey)
}

// TestAcceptedJump: a jump that is accepted is the time.
func TestAcceptedJump(t *testing.T) {
	c := ledgertest.NewClock(t)
	b := newBench(t, ledgertest.Options{Now: c.Now})
	c.Step(time.Hour)
	later := time.Now().Add(90 * time.Minute)
	_, err := b.Commit(t.Context(), put("k", nil, ledger.NotAfter(later)))
	wantErr(t, err, ledger.ErrUnavailable)
	b.AcceptClock()
	done := b.MustCommit(t, put("k", nil, ledger.NotAfter(later)))
	if time.Until(done.At) < 50*time.Minute {
		t.Fatalf("registered at %v", done.At)
	}
}
