package ledgertest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/mission-authority/mas/ledger"
)

// Stops is an emergency-stop journal in memory.
type Stops struct {
	mu      sync.Mutex
	pending []ledger.Stop
}

// NewStops returns an empty journal.
func NewStops() *Stops { return new(Stops) }

// Stop records s.
func (j *Stops) Stop(ctx context.Context, s ledger.Stop) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = append(j.pending, s)
	return nil
}

// Stopped reports whether a pending stop covers the target.
func (j *Stops) Stopped(kind ledger.StopKind, id string) (ledger.Stop, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.pending {
		if s.Kind == ledger.StopAll || s.Kind == kind && s.ID == id {
			return s, true
		}
	}
	return ledger.Stop{}, false
}

// Pending lists stops not yet replayed, oldest first.
func (j *Stops) Pending() []ledger.Stop {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.pending)
}

// Replayed marks the oldest n pending stops as replayed.
func (j *Stops) Replayed(n int) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if n < 0 || n > len(j.pending) {
		return fmt.Errorf("ledgertest: %d stops replayed, %d pending", n, len(j.pending))
	}
	j.pending = slices.Clone(j.pending[n:])
	return nil
}
