package custody

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
)

const maxReason = 500

// A holdState is the row hold/<id>: the body of the entry that set or released the hold, and the feed it stands in.
type holdState struct {
	Hold evidence.Hold `json:"hold"`
	Feed string        `json:"feed"`
}

// scope is what the hold keeps: a subject or the digest of a body.
func (h *holdState) scope() string {
	if h.Hold.Digest != "" {
		return string(h.Hold.Digest)
	}
	return h.Hold.Subject
}

// held reports whether a scope is under a hold.
func (c *Custody) held(v ledger.View, scope string) (bool, error) {
	r, err := v.Get(heldRow(scope))
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case len(r.Value) != 8:
		return false, fmt.Errorf("custody: counter of holds of %d octets: %w", len(r.Value), ledger.ErrIntegrity)
	}
	return [8]byte(r.Value) != [8]byte{}, nil
}

// Place puts everything about a mission, or the body of one entry, under a hold. Exactly one of missionID and entryID
// is given. The error wraps ledger.ErrNotFound if there is nothing of that name in the log.
func (c *Custody) Place(ctx context.Context, missionID, entryID, reason, by string) (evidence.Hold, error) {
	if (missionID == "") == (entryID == "") || !text(reason, maxReason) || !text(by, 128) {
		return evidence.Hold{}, fmt.Errorf("scope, reason or principal: %w", ErrInvalid)
	}
	var h holdState
	id := "hold_" + strings.TrimPrefix(string(mission.NewEventID()), "evt_")
	err := retry(func() error {
		v, err := c.Log.View()
		if err != nil {
			return err
		}
		defer v.Close()
		h.Hold = evidence.Hold{ID: id, Action: evidence.HoldSet, Reason: reason, By: by}
		if missionID != "" {
			h.Feed, err = c.missionFeed(v, missionID)
			h.Hold.Subject = h.Feed
		} else {
			var t *target
			if t, err = c.find(v, entryID); err == nil {
				h.Feed, h.Hold.Digest = t.statement.Subject, mission.DigestOf(t.statement.Digest)
			}
		}
		if err != nil {
			return err
		}
		return c.log(ctx, &h, ledger.Absent(holdRow(id)), 1)
	})
	return h.Hold, err
}

// missionFeed is the subject of a mission that has entries.
func (c *Custody) missionFeed(v ledger.View, id string) (string, error) {
	subject, err := ledger.MissionSubject(c.Issuer, id)
	if err != nil {
		return "", fmt.Errorf("custody: %w", ledger.ErrNotFound)
	}
	for _, err := range v.Feed(subject, -1) {
		return subject, err
	}
	return "", fmt.Errorf("custody: %w", ledger.ErrNotFound)
}

// Release ends a hold. Releasing what is released changes nothing.
func (c *Custody) Release(ctx context.Context, id, reason, by string) (evidence.Hold, error) {
	if !text(reason, maxReason) || !text(by, 128) {
		return evidence.Hold{}, fmt.Errorf("reason or principal: %w", ErrInvalid)
	}
	var h holdState
	err := retry(func() error {
		v, err := c.Log.View()
		if err != nil {
			return err
		}
		defer v.Close()
		r, err := get(v, holdRow(id), &h)
		if err != nil || h.Hold.Action == evidence.HoldRelease {
			return err
		}
		h.Hold.Action, h.Hold.Reason, h.Hold.By = evidence.HoldRelease, reason, by
		return c.log(ctx, &h, ledger.Version(r.Key, r.Version), -1)
	})
	return h.Hold, err
}

// log commits a hold as it is now.
func (c *Custody) log(ctx context.Context, h *holdState, expect ledger.Precondition, add int64) error {
	at := c.Now()
	h.Hold.At, h.Hold.Salt = mission.FormatTime(at), mission.NewSalt()
	if err := h.Hold.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	entry, err := c.evidence(ctx, h.Feed, evidence.ContentHold, at, h.Hold)
	if err != nil {
		return err
	}
	put, err := row(holdRow(h.Hold.ID), h, 0)
	if err != nil {
		return err
	}
	_, err = c.Log.Commit(ctx, ledger.Change{
		Expect:  []ledger.Precondition{expect},
		Put:     []ledger.Record{put, {Key: heldRow(h.scope()), Add: add, JustifiedBy: ledger.NotJustified}},
		Entries: []ledger.Entry{entry},
	})
	return err
}

// Holds lists the holds by id, released ones too, after the given id.
func (c *Custody) Holds(after string, limit int) ([]evidence.Hold, error) {
	v, err := c.Log.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	start := ""
	if after != "" {
		start = holdRow(after)
	}
	out := []evidence.Hold{}
	for r, err := range v.List(holdPrefix, start) {
		if err != nil {
			return nil, err
		}
		if len(out) == limit {
			break
		}
		var h holdState
		if err := mission.Decode(r.Value, &h); err != nil {
			return nil, fmt.Errorf("custody: row %q: %w: %w", r.Key, ledger.ErrIntegrity, err)
		}
		out = append(out, h.Hold)
	}
	return out, nil
}
