package custody

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// ContentHold is the media type of the evidence of a legal hold.
const ContentHold = "application/mas-legal-hold+json"

const maxReason = 500

// A Hold keeps the bodies of one mission, or the body of one entry, from being erased. It is the body of the entries
// that place and release it, and the row hold/<id>.
type Hold struct {
	ID        string `json:"hold_id"` // hold_ and 32 base64url characters
	Subject   string `json:"subject,omitempty"`
	Entry     string `json:"entry,omitempty"` // instead of Subject: an entry id
	State     string `json:"state"`           // placed or released
	Reason    string `json:"reason"`          // 1 to 500 characters
	OrderedBy string `json:"ordered_by"`
	At        string `json:"at"`
	Salt      string `json:"salt"`
}

// The states of a hold.
const (
	HoldPlaced   = "placed"
	HoldReleased = "released"
)

func (h *Hold) scope() string {
	if h.Entry != "" {
		return h.Entry
	}
	return h.Subject
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

// Place puts a mission, or an entry, under a hold. Exactly one of missionID and entryID is given. The error wraps
// ledger.ErrNotFound if there is nothing of that name in the log.
func (c *Custody) Place(ctx context.Context, missionID, entryID, reason, by string) (Hold, error) {
	if (missionID == "") == (entryID == "") || !text(reason, maxReason) || !text(by, 128) {
		return Hold{}, fmt.Errorf("scope, reason or principal: %w", ErrInvalid)
	}
	h := Hold{ID: "hold_" + strings.TrimPrefix(string(mission.NewEventID()), "evt_"), Entry: entryID, State: HoldPlaced,
		Reason: reason, OrderedBy: by}
	err := retry(func() error {
		v, err := c.Log.View()
		if err != nil {
			return err
		}
		defer v.Close()
		feed := ""
		if missionID != "" {
			feed, err = c.missionFeed(v, missionID)
			h.Subject = feed
		} else {
			var t *target
			if t, err = c.find(v, entryID); err == nil {
				feed = t.statement.Subject
			}
		}
		if err != nil {
			return err
		}
		return c.log(ctx, &h, feed, ledger.Absent(holdRow(h.ID)), 1)
	})
	return h, err
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
func (c *Custody) Release(ctx context.Context, id, reason, by string) (h Hold, err error) {
	if !text(reason, maxReason) || !text(by, 128) {
		return Hold{}, fmt.Errorf("reason or principal: %w", ErrInvalid)
	}
	err = retry(func() error {
		v, err := c.Log.View()
		if err != nil {
			return err
		}
		defer v.Close()
		h = Hold{}
		r, err := get(v, holdRow(id), &h)
		if err != nil || h.State == HoldReleased {
			return err
		}
		feed := h.Subject
		if h.Entry != "" {
			t, err := c.find(v, h.Entry)
			if err != nil {
				return err
			}
			feed = t.statement.Subject
		}
		h.State, h.Reason, h.OrderedBy = HoldReleased, reason, by
		return c.log(ctx, &h, feed, ledger.Version(r.Key, r.Version), -1)
	})
	return h, err
}

// log commits a hold as it is now.
func (c *Custody) log(ctx context.Context, h *Hold, feed string, expect ledger.Precondition, add int64) error {
	at := c.Now()
	h.At, h.Salt = mission.FormatTime(at), mission.NewSalt()
	entry, err := c.evidence(ctx, feed, ContentHold, at, h)
	if err != nil {
		return err
	}
	put, err := row(holdRow(h.ID), h, 0)
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
func (c *Custody) Holds(after string, limit int) ([]Hold, error) {
	v, err := c.Log.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	start := ""
	if after != "" {
		start = holdRow(after)
	}
	out := []Hold{}
	for r, err := range v.List(holdPrefix, start) {
		if err != nil {
			return nil, err
		}
		if len(out) == limit {
			break
		}
		var h Hold
		if err := mission.Decode(r.Value, &h); err != nil {
			return nil, fmt.Errorf("custody: row %q: %w: %w", r.Key, ledger.ErrIntegrity, err)
		}
		out = append(out, h)
	}
	return out, nil
}
