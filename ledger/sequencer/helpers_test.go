package sequencer_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
)

// bench is a running log over a memory engine whose every layer a test can reach.
type bench struct {
	*ledgertest.Log
	memory *ledgertest.Memory
	fault  *ledgertest.FaultStore
}

func newBench(t testing.TB, o ledgertest.Options) *bench {
	t.Helper()
	b := &bench{memory: ledgertest.NewMemory()}
	b.open(t, o)
	return b
}

// open opens the log over what the memory holds.
func (b *bench) open(t testing.TB, o ledgertest.Options) {
	t.Helper()
	b.fault = ledgertest.NewFaultStore(b.memory.Open())
	o.Store = b.fault
	b.Log = ledgertest.NewLog(t, o)
}

// reopen restarts the log with the same keys and vault.
func (b *bench) reopen(t testing.TB) {
	t.Helper()
	b.Stop()
	b.open(t, ledgertest.Options{Keys: b.Keys, Vault: b.Vault})
}

// corrupt changes a raw key behind the back of the log, and has the log publish a group so that its views see it.
func (b *bench) corrupt(t testing.TB, key, value []byte) {
	t.Helper()
	b.memory.Corrupt(key, value)
	b.MustCommit(t, put("unrelated", nil))
}

type answer struct {
	ledger.Committed
	err error
}

// together commits the changes in this order in one group, and returns the answers.
func (b *bench) together(t *testing.T, changes ...ledger.Change) []answer {
	t.Helper()
	hold := b.fault.Hold(false)
	first := b.start(t, put("first", nil))
	<-hold.Entered
	waiting := make([]<-chan answer, len(changes))
	for i, c := range changes {
		waiting[i] = b.start(t, c)
		b.awaitWaiting(t, i+1)
	}
	before := b.fault.Applies()
	hold.Release()
	if a := <-first; a.err != nil {
		t.Fatal(a.err)
	}
	answers := make([]answer, len(changes))
	for i := range waiting {
		answers[i] = <-waiting[i]
	}
	if n := b.fault.Applies() - before; n > 1 {
		t.Fatalf("the changes came in %d groups", n)
	}
	return answers
}

// start commits c in the background.
func (b *bench) start(t testing.TB, c ledger.Change) <-chan answer {
	out := make(chan answer, 1)
	go func() {
		done, err := b.Commit(context.WithoutCancel(t.Context()), c)
		out <- answer{done, err}
	}()
	return out
}

func (b *bench) awaitWaiting(t testing.TB, n int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); b.Waiting() != n; time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d changes wait, want %d", b.Waiting(), n)
		}
	}
}

// put is a Change that writes one row, expecting what is given.
func put(key string, value []byte, expect ...ledger.Precondition) ledger.Change {
	return ledger.Change{Expect: expect, Put: []ledger.Record{{Key: key, Value: value, JustifiedBy: ledger.NotJustified}}}
}

// add is a Change that adds to a counter.
func add(key string, n int64, expect ...ledger.Precondition) ledger.Change {
	return ledger.Change{Expect: expect, Put: []ledger.Record{{Key: key, Add: n, JustifiedBy: ledger.NotJustified}}}
}

// step is a Change of a mission: its state row, justified by a new entry.
func (b *bench) step(t testing.TB, id string, value string, expect ...ledger.Precondition) ledger.Change {
	t.Helper()
	return ledger.Change{
		Expect:  expect,
		Put:     []ledger.Record{{Key: state(id), Value: []byte(value), JustifiedBy: 0}},
		Entries: []ledger.Entry{b.Keys.WithBody(t, id, fmt.Appendf(nil, "%s %s", id, value))},
	}
}

func state(id string) string { return "mission/" + id + "/state" }

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func wantRow(t testing.TB, log ledger.Log, key, value string, version uint64) {
	t.Helper()
	v, err := log.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	row, err := v.Get(key)
	if err != nil || string(row.Value) != value || row.Version != version {
		t.Fatalf("row %q is %q, version %d, %v; want %q, version %d", key, row.Value, row.Version, err, value, version)
	}
}

func wantCode(t testing.TB, latch *ledger.Latch, code string) {
	t.Helper()
	if latch == nil {
		t.Fatalf("latch is open, want %s", code)
	}
	if latch.Code != code {
		t.Fatalf("latch says %s, want %s", latch.Code, code)
	}
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func clock(now *time.Time) func() time.Time { return func() time.Time { return *now } }

func sha(b []byte) [32]byte { return sha256.Sum256(b) }

func sortDurations(d []time.Duration) { slices.Sort(d) }
