package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/mission-authority/mas/ledger"
)

// Fault is what goes wrong in an Apply.
type Fault uint8

// The faults: the four cells of a fault table, and an engine that merely refuses.
const (
	Refuse      Fault = iota + 1 // an error, nothing written; the next Apply works
	NotApplied                   // ErrOutcomeUnknown, nothing written; poisoned
	Applied                      // ErrOutcomeUnknown, written; poisoned
	CrashBefore                  // the process dies before the engine writes
	CrashAfter                   // the process dies after the engine has written, before it can answer
)

// Faults lists them all.
var Faults = []Fault{Refuse, NotApplied, Applied, CrashBefore, CrashAfter}

// String names the fault.
func (f Fault) String() string {
	return [...]string{"none", "refuse", "not applied", "applied", "crash before", "crash after"}[f]
}

// Writes reports whether the batch is there afterwards.
func (f Fault) Writes() bool { return f == Applied || f == CrashAfter }

// Fatal reports whether the store is unusable afterwards, until it is opened again.
func (f Fault) Fatal() bool { return f != Refuse }

// ErrFault is wrapped by every error of a FaultStore.
var ErrFault = errors.New("ledgertest: injected fault")

// A Crash is the value that a FaultStore panics with where the process would die.
type Crash struct{}

// FaultStore is a Store that fails at a chosen Apply, or holds one up.
type FaultStore struct {
	ledger.Store

	mu        sync.Mutex
	countdown int
	fault     Fault
	dead      bool
	applies   int
	hold      *Hold
}

// NewFaultStore wraps s. Without orders it is transparent.
func NewFaultStore(s ledger.Store) *FaultStore { return &FaultStore{Store: s} }

// Health is that of the wrapped store, if it has one.
func (f *FaultStore) Health() ledger.Health {
	if s, ok := f.Store.(interface{ Health() ledger.Health }); ok {
		return s.Health()
	}
	return ledger.Health{}
}

// Inject orders a fault at the n-th Apply from now, counting from 1.
func (f *FaultStore) Inject(n int, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.countdown, f.fault = n, fault
}

// Applies returns how often Apply was called.
func (f *FaultStore) Applies() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applies
}

// A Hold keeps one Apply from finishing.
type Hold struct {
	Entered chan struct{} // closed when the Apply is held
	release chan struct{}
	once    sync.Once
	after   bool
}

// Release lets the Apply go on.
func (h *Hold) Release() { h.once.Do(func() { close(h.release) }) }

// Hold makes the next Apply wait: before it writes, or, with after set, when readers of the engine could see the batch
// but the engine has not yet said that it is durable.
func (f *FaultStore) Hold(after bool) *Hold {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hold = &Hold{Entered: make(chan struct{}), release: make(chan struct{}), after: after}
	return f.hold
}

// Apply follows the orders.
func (f *FaultStore) Apply(ctx context.Context, b *ledger.Batch, expect ledger.Head) error {
	fault, hold, err := f.next()
	if err != nil {
		return err
	}
	if hold != nil && !hold.after {
		close(hold.Entered)
		<-hold.release
	}
	switch fault {
	case Refuse:
		return fmt.Errorf("%w: refused", ErrFault)
	case NotApplied:
		return fmt.Errorf("%w: %w", ErrFault, ledger.ErrOutcomeUnknown)
	case CrashBefore:
		panic(Crash{})
	}
	if err := f.Store.Apply(ctx, b, expect); err != nil {
		return err
	}
	if hold != nil && hold.after {
		close(hold.Entered)
		<-hold.release
	}
	switch fault {
	case Applied:
		return fmt.Errorf("%w: %w", ErrFault, ledger.ErrOutcomeUnknown)
	case CrashAfter:
		panic(Crash{})
	}
	return nil
}

// next takes the orders for one Apply.
func (f *FaultStore) next() (fault Fault, hold *Hold, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applies++
	if f.dead {
		return 0, nil, fmt.Errorf("%w: the store is poisoned", ErrFault)
	}
	if f.countdown > 0 {
		if f.countdown--; f.countdown == 0 {
			fault = f.fault
			f.dead = fault.Fatal()
		}
	}
	hold, f.hold = f.hold, nil
	return fault, hold, nil
}
