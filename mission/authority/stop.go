package authority

import (
	"context"
	"errors"
	"fmt"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// stopEvidence is the evidence that an emergency stop was ordered while the log could not be written.
type stopEvidence struct {
	Kind       ledger.StopKind `json:"kind"`
	ID         string          `json:"id,omitempty"`
	Actor      string          `json:"actor"`
	Reason     string          `json:"reason,omitempty"`
	OrderedAt  string          `json:"ordered_at"`
	ReplayedAt string          `json:"replayed_at"`
	Salt       string          `json:"salt"`
}

// replayStops takes the pending emergency stops into the log, oldest first. A stop stays in force in the journal until
// its effect is committed, and replaying one twice changes nothing: a stopped mission is revoked, a stop of everything
// or of a peer suspends each mission it covers, to be resumed one by one.
func (a *Authority) replayStops(ctx context.Context) error {
	stops := a.log.Stops()
	for _, s := range stops.Pending() {
		if err := a.replayStop(ctx, s); err != nil {
			return fmt.Errorf("authority: replaying an emergency stop: %w", err)
		}
		if err := stops.Replayed(1); err != nil {
			return fmt.Errorf("authority: emergency stop replayed but not marked: %w", err)
		}
		a.logger.WarnContext(ctx, "emergency stop replayed into the log", "kind", string(s.Kind), "id", s.ID, "actor", s.Actor)
	}
	return nil
}

func (a *Authority) replayStop(ctx context.Context, s ledger.Stop) error {
	if s.Kind == ledger.StopMission {
		return a.stopOne(ctx, s, mission.ID(s.ID), mission.OpRevoke)
	}
	covers := func(*mission.Record) bool { return true }
	if s.Kind == ledger.StopPeer {
		covers = func(rec *mission.Record) bool { return rec.Upstream != nil && rec.Upstream.Issuer == s.ID }
	}
	for after := ""; ; {
		ids, last, err := a.standing(after, covers)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := a.stopOne(ctx, s, id, mission.OpSuspend); err != nil {
				return err
			}
		}
		if last == "" {
			break
		}
		after = last
	}
	return a.logStop(ctx, s)
}

// stopOne applies a stop to one mission. One that is already over, or unknown to this log, needs no stopping, but that
// the stop was ordered is still written down.
func (a *Authority) stopOne(ctx context.Context, s ledger.Stop, id mission.ID, op mission.Operation) error {
	var more []ledger.Entry
	if s.Kind == ledger.StopMission {
		e, err := a.stopEntry(ctx, s, a.missionSubject(id))
		if err != nil {
			return err
		}
		more = append(more, e)
	}
	_, changed, err := a.apply(ctx, id, mission.Transition{Operation: op}, act{actor: s.Actor, reason: s.Reason, entries: more})
	e, ok := errors.AsType[*Error](err)
	over := errors.Is(err, ledger.ErrNotFound) || ok && e.Kind == Conflict
	if err != nil && !over {
		return err
	}
	if !changed && s.Kind == ledger.StopMission {
		return a.logStop(ctx, s)
	}
	return nil
}

// logStop writes down that a stop was ordered, apart from any mission.
func (a *Authority) logStop(ctx context.Context, s ledger.Stop) error {
	e, err := a.stopEntry(ctx, s, a.subject("log", ""))
	if err != nil {
		return err
	}
	if _, err := a.log.Commit(ctx, ledger.Change{Entries: []ledger.Entry{e}}); err != nil {
		return unavailable("logging an emergency stop", err)
	}
	return nil
}

func (a *Authority) stopEntry(ctx context.Context, s ledger.Stop, subject string) (ledger.Entry, error) {
	at := a.clock.now()
	return a.entry(ctx, subject, mission.ContentEmergencyStop, at, stopEvidence{
		Kind:       s.Kind,
		ID:         s.ID,
		Actor:      s.Actor,
		Reason:     s.Reason,
		OrderedAt:  mission.FormatTime(s.At),
		ReplayedAt: mission.FormatTime(at),
		Salt:       mission.NewSalt(),
	})
}

// page bounds how many rows are looked at under one view.
const page = 256

// standing lists missions after a key that are not over and covered, a page at a time; last is "" at the end.
func (a *Authority) standing(after string, covers func(*mission.Record) bool) (ids []mission.ID, last string, err error) {
	r, err := a.open()
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	n := 0
	for row, err := range r.List(missionPrefix, after) {
		if err != nil {
			return nil, "", unavailable("listing missions", err)
		}
		if n++; n > page {
			return ids, last, nil
		}
		last = row.Key
		if !isStateRow(row.Key) {
			continue
		}
		var cur mission.Standing
		if err := decodeRow(row, &cur); err != nil {
			return nil, "", unavailable("listing missions", err)
		}
		if cur.State.Terminal() {
			continue
		}
		rec, err := a.record(r, cur.MissionID)
		if err != nil {
			return nil, "", err
		}
		if covers(rec) {
			ids = append(ids, cur.MissionID)
		}
	}
	return ids, "", nil
}
