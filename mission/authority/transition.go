package authority

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// Actors of transitions that no principal ordered.
const (
	actorClock    = "clock"
	actorCoupling = "coupling"
)

// An act says on whose account a transition happens. Only the evidence keeps it.
type act struct {
	actor   string // principal id, or one of the actors above
	reason  string // untrusted text
	cause   mission.Digest
	entries []ledger.Entry  // further evidence of the same step; ordinal 0 is the transition
	rows    []ledger.Record // further rows of the same step
	expect  []ledger.Precondition
}

// transition decides one transition of h. A nil Change means that nothing changes.
func (a *Authority) transition(ctx context.Context, h *held, op mission.Transition, by act, at time.Time) (
	*ledger.Change, mission.Standing, error) {
	next, outcome, err := mission.Next(h.cur, op, at)
	if err != nil {
		return nil, h.cur, transitionError(err)
	}
	if outcome == mission.Unchanged {
		return nil, h.cur, nil
	}
	t := mission.NewTransitionRecord(a.issuer, h.cur, next, op.Operation)
	t.Actor, t.Reason, t.Cause = by.actor, by.reason, by.cause
	entry, err := a.entry(ctx, a.missionSubject(h.rec.ID), mission.ContentTransition, at, t)
	if err != nil {
		return nil, h.cur, err
	}
	state, err := put(stateRow(h.rec.ID), next, 0)
	if err != nil {
		return nil, h.cur, err
	}
	change := &ledger.Change{
		Expect:  append([]ledger.Precondition{ledger.Version(state.Key, h.row.Version)}, by.expect...),
		Put:     append([]ledger.Record{state}, by.rows...),
		Entries: append([]ledger.Entry{entry}, by.entries...),
	}
	return change, next, a.reschedule(change, h.cur, next)
}

// reschedule keeps the due rows in step with a transition.
func (a *Authority) reschedule(change *ledger.Change, cur, next mission.Standing) error {
	before, err := deadlinesOf(cur)
	if err != nil {
		return err
	}
	after, err := deadlinesOf(next)
	if err != nil {
		return err
	}
	id := string(next.MissionID)
	for _, t := range before {
		if !slices.ContainsFunc(after, t.Equal) {
			change.Put = append(change.Put, tombstone(dueRow(t, dueMission, id)))
		}
	}
	for _, t := range after {
		if !slices.ContainsFunc(before, t.Equal) {
			change.Put = append(change.Put, a.dueAt(t, dueMission, id))
		}
	}
	return nil
}

// deadlinesOf lists the instants at which the clock moves a mission, without repetition.
func deadlinesOf(cur mission.Standing) ([]time.Time, error) {
	if cur.State.Terminal() {
		return nil, nil
	}
	var all []time.Time
	for _, s := range []string{cur.ExpiresAt, cur.SuspendUntil} {
		if s == "" {
			continue
		}
		t, err := mission.ParseTime(s)
		if err != nil {
			return nil, unavailable("reading a deadline", errors.Join(ledger.ErrIntegrity, err))
		}
		if !slices.ContainsFunc(all, t.Equal) {
			all = append(all, t)
		}
	}
	return all, nil
}

// nextDeadline is the first instant at which the clock moves a mission; the zero time if it never does.
func nextDeadline(cur mission.Standing) (time.Time, error) {
	all, err := deadlinesOf(cur)
	if err != nil || len(all) == 0 {
		return time.Time{}, err
	}
	return slices.MinFunc(all, time.Time.Compare), nil
}

// transitionError spells an error of mission.Next for the wire (core 4.3).
func transitionError(err error) error {
	switch {
	case errors.Is(err, mission.ErrStaleVersion):
		return refusal(Conflict, "stale_version", "the mission has another version").wrap(err)
	case errors.Is(err, mission.ErrIllegal):
		return refusal(Conflict, "conflict", "the operation is not legal in the mission's state").wrap(err)
	case errors.Is(err, mission.ErrTransition):
		return errRequest.wrap(err)
	}
	return err
}

// apply commits one transition of a mission on somebody's account, deadlines first. It is how the clock, emergency
// stops and upstreams move missions; requests of principals go through Lifecycle. It reports whether anything changed;
// if not, nothing of the act was committed.
func (a *Authority) apply(ctx context.Context, id mission.ID, op mission.Transition, by act) (
	out mission.Standing, changed bool, err error) {
	err = a.inTurn(ctx, id, func() error {
		return a.afterDeadlines(ctx, id, func() error {
			_, err := a.commitOn(ctx, a.open, func(r *reading) (change *ledger.Change, err error) {
				h, err := a.mission(r, id)
				if err != nil {
					return nil, err
				}
				change, out, err = a.transition(ctx, h, op, by, r.at)
				changed = change != nil
				return change, err
			})
			return err
		})
	})
	return out, changed && err == nil, err
}

// settle commits what the clock has already decided about a mission, so that whatever is said next is in the log.
func (a *Authority) settle(ctx context.Context, id mission.ID) error {
	return a.inTurn(ctx, id, func() error { return a.serveDeadline(ctx, id) })
}

// afterDeadlines runs f, and serves a deadline and runs it again whenever f finds that one comes first. The caller has
// the mission's turn.
func (a *Authority) afterDeadlines(ctx context.Context, id mission.ID, f func() error) error {
	err := f()
	for range 2 { // a suspend deadline may be followed by expiry
		if !errors.Is(err, mission.ErrDue) {
			break
		}
		if err := a.serveDeadline(ctx, id); err != nil {
			return err
		}
		err = f()
	}
	return err
}

func (a *Authority) serveDeadline(ctx context.Context, id mission.ID) error {
	_, err := a.commitOn(ctx, a.open, func(r *reading) (*ledger.Change, error) {
		h, err := a.mission(r, id)
		if err != nil {
			return nil, err
		}
		op, due := mission.Due(h.cur, r.at)
		if !due {
			return nil, nil
		}
		change, _, err := a.transition(ctx, h, op, act{actor: actorClock}, r.at)
		return change, err
	})
	return err
}

// inTurn runs f when it is its turn to change the mission.
func (a *Authority) inTurn(ctx context.Context, id mission.ID, f func() error) error {
	done, err := a.turns.take(ctx, string(id))
	if err != nil {
		return err
	}
	defer done()
	return f()
}
