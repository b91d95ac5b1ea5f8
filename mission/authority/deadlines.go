package authority

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// deadlines is what the worker remembers between two passes. It is only a hint: after a restart it starts from the
// beginning of the index.
type deadlines struct {
	mu   sync.Mutex
	from string        // every due row at or below this key is served
	next time.Time     // when the first due row that is not served comes, if the worker sleeps on it
	wake chan struct{} // closed when an earlier one was written
}

// dueAt makes the due row of a deadline and tells the worker.
func (a *Authority) dueAt(at time.Time, kind, id string) ledger.Record {
	key := dueRow(at, kind, id)
	a.deadlines.mu.Lock()
	defer a.deadlines.mu.Unlock()
	if key <= a.deadlines.from { // before what was served: the clock went back
		a.deadlines.from = ""
	}
	if a.deadlines.wake != nil && at.Before(a.deadlines.next) {
		close(a.deadlines.wake)
		a.deadlines.wake = nil
	}
	return ledger.Record{Key: key, Value: []byte("{}"), JustifiedBy: ledger.NotJustified}
}

// A pass serves at most maxPass deadlines under one view, parallelServes at a time, so that they share commits.
const (
	maxPass        = 256
	parallelServes = 16
	idlePass       = time.Minute // longest sleep: a commit that failed, or a clock that moved, is looked at again
)

// serveDeadlines commits expiries and suspend deadlines when they come, until ctx ends. What it misses is not wrong:
// whoever reads a mission past its deadline commits the transition first.
func (a *Authority) serveDeadlines(ctx context.Context) {
	for {
		pause := idlePass
		a.try(ctx, "serving deadlines", func(ctx context.Context) (err error) {
			pause, err = a.serveDue(ctx)
			return err
		})
		wake := a.sleepUntil(pause)
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-wake:
			t.Stop()
		case <-t.C:
		}
	}
}

func (a *Authority) sleepUntil(pause time.Duration) <-chan struct{} {
	a.deadlines.mu.Lock()
	defer a.deadlines.mu.Unlock()
	a.deadlines.next = a.clock.now().Add(pause)
	a.deadlines.wake = make(chan struct{})
	return a.deadlines.wake
}

// serveDue serves what is due and returns how long nothing else will be.
func (a *Authority) serveDue(ctx context.Context) (time.Duration, error) {
	for {
		due, pause, err := a.dueNow()
		if err != nil || len(due) == 0 {
			return pause, err
		}
		if err := a.serveAll(ctx, due); err != nil {
			return idlePass / 12, err
		}
	}
}

// dueNow lists due rows whose instant has come, at most maxPass, and how long until the next.
func (a *Authority) dueNow() (due []string, pause time.Duration, err error) {
	r, err := a.open()
	if err != nil {
		return nil, idlePass, err
	}
	defer r.Close()
	a.deadlines.mu.Lock()
	from := a.deadlines.from
	a.deadlines.mu.Unlock()
	served := from
	pause = idlePass
	for row, err := range r.List(duePrefix, from) {
		if err != nil {
			return nil, idlePass, fmt.Errorf("listing deadlines: %w", err)
		}
		if len(row.Value) == 0 {
			if len(due) == 0 {
				served = row.Key
			}
			continue
		}
		at, _, _, err := parseDue(row.Key)
		if err != nil {
			return nil, idlePass, err
		}
		if at.After(r.at) {
			pause = min(idlePass, at.Sub(r.at))
			break
		}
		if due = append(due, row.Key); len(due) == maxPass {
			break
		}
	}
	a.deadlines.mu.Lock()
	defer a.deadlines.mu.Unlock()
	if a.deadlines.from == from {
		a.deadlines.from = served
	}
	return due, pause, nil
}

// serveAll serves due rows, several at a time.
func (a *Authority) serveAll(ctx context.Context, due []string) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	slots := make(chan struct{}, parallelServes)
	for _, key := range due {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := a.serve(ctx, key); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	if len(errs) > 0 {
		return fmt.Errorf("%d of %d deadlines not served: %w", len(errs), len(due), errs[0])
	}
	return nil
}

// serve serves one due row: it settles what the row names and empties the row.
func (a *Authority) serve(ctx context.Context, key string) error {
	_, kind, id, err := parseDue(key)
	if err != nil {
		return err
	}
	switch kind {
	case dueMission:
		err = a.settle(ctx, mission.ID(id))
	case dueSubmission:
		err = a.expireSubmission(ctx, mission.SubmissionID(id))
	default:
		err = fmt.Errorf("authority: due row of unknown kind")
	}
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return err
	}
	_, err = a.commitOn(ctx, a.open, func(r *reading) (*ledger.Change, error) {
		row, err := r.Get(key)
		if err != nil || len(row.Value) == 0 {
			return nil, err
		}
		return &ledger.Change{
			Expect: []ledger.Precondition{ledger.Version(key, row.Version)},
			Put:    []ledger.Record{tombstone(key)},
		}, nil
	})
	return err
}
