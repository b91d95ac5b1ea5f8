package authority

import (
	"context"
	"errors"
	"fmt"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// inForce is the version of the principals that decisions are made under.
type inForce struct {
	*Principals
	row   uint64 // version of the principals row: a precondition of every decision that rests on it
	entry string // EntryID of the statement that logs it: cited by decisions
}

// principalsState is the principals row; the entry that justifies it is the one to cite.
type principalsState struct {
	Digest mission.Digest `json:"digest"`
}

// principalsChange is the evidence body of a change of the principals.
type principalsChange struct {
	Digest    mission.Digest `json:"digest"`
	Previous  mission.Digest `json:"previous,omitempty"`
	ChangedAt string         `json:"changed_at"`
	Document  mission.Raw    `json:"document"`
	Salt      string         `json:"salt"`
}

// Principals are the principals in force. Before Recover they are the configured ones: a server that could not write
// them down refuses everything, but who may stop a mission must still be able to authenticate.
func (a *Authority) Principals() *Principals {
	if f := a.inForce.Load(); f != nil {
		return f.Principals
	}
	return a.configured
}

// known is the caller as the principals have it: whoever authenticated against an older version has the grants of this
// one, and none if it is gone, or its key.
func (ps *Principals) known(c Caller) (Caller, error) {
	if c.Principal == nil {
		return c, errCaller
	}
	p, ok := ps.byID[c.ID]
	if !ok || p.ClientID != c.ClientID {
		return c, errCaller
	}
	if c.KeyID != "" {
		if _, _, ok := p.keys.Key(c.KeyID); !ok {
			return c, errCaller
		}
	}
	c.Principal = p
	return c, nil
}

// SetPrincipals puts another version of the principals in force. The change is logged before it takes effect; an equal
// document changes nothing.
func (a *Authority) SetPrincipals(ctx context.Context, ps *Principals) error {
	return a.setPrincipals(ctx, a.read, ps)
}

func (a *Authority) setPrincipals(ctx context.Context, open func() (*reading, error), ps *Principals) error {
	done, err := a.turns.take(ctx, principalsRow)
	if err != nil {
		return err
	}
	defer done()
	var f *inForce
	committed, err := a.commitOn(ctx, open, func(r *reading) (change *ledger.Change, err error) {
		f, change, err = a.adopt(ctx, r, ps)
		return change, err
	})
	if err != nil {
		return fmt.Errorf("authority: adopting principals: %w", err)
	}
	if len(committed.Results) > 0 {
		f.entry = committed.Results[0].EntryID
	}
	a.inForce.Store(f)
	return nil
}

// adopt decides whether ps is a change.
func (a *Authority) adopt(ctx context.Context, r *reading, ps *Principals) (*inForce, *ledger.Change, error) {
	var state principalsState
	row, err := prove(r, principalsRow, &state)
	expect := ledger.Version(principalsRow, row.Version)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		expect = ledger.Absent(principalsRow)
	case err != nil:
		return nil, nil, unavailable("reading the principals row", err)
	case state.Digest == ps.digest:
		e, err := r.Entry(row.JustifiedBy)
		if err != nil {
			return nil, nil, unavailable("reading the principals entry", err)
		}
		return &inForce{ps, row.Version, ledger.EntryID(ledger.HashLeaf(e.Statement))}, nil, nil
	}
	document, err := mission.ParseRaw(ps.canonical)
	if err != nil {
		return nil, nil, fmt.Errorf("principals: %w", err)
	}
	entry, err := a.entry(ctx, a.subject("principals", ""), mission.ContentPrincipals, r.at, principalsChange{
		Digest:    ps.digest,
		Previous:  state.Digest,
		ChangedAt: mission.FormatTime(r.at),
		Document:  document,
		Salt:      mission.NewSalt(),
	})
	if err != nil {
		return nil, nil, err
	}
	rec, err := put(principalsRow, principalsState{Digest: ps.digest}, 0)
	if err != nil {
		return nil, nil, err
	}
	return &inForce{Principals: ps, row: row.Version + 1}, &ledger.Change{
		Expect:  []ledger.Precondition{expect},
		Put:     []ledger.Record{rec},
		Entries: []ledger.Entry{entry},
	}, nil
}
