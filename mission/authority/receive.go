package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// derivedState is the row derived/<peer>/<projection jti>: the receipt that stands on a projection. A projection
// carries one local mission, which is minted once and ends once.
type derivedState struct {
	LocalRef string            `json:"local_ref"`
	Entries  map[string]string `json:"entries"` // event to the entry id that logs its receipt
	Receipts map[string]string `json:"receipts"`
}

// Receive takes a peer's derivation receipt about a mission of this domain, a compact JWS: it counts a mint against
// max_local_missions of every approved entry it stands on, logs the receipt as it was received, and returns the
// transparent statement of that entry. The same receipt again returns the proof again. Errors: invalid_receipt;
// not_found for a projection that was not issued to this peer; mission_inactive; limit, when an approved entry already
// carries as many local missions as its approver allowed; conflict for a second receipt on one projection; unavailable.
func (a *Authority) Receive(ctx context.Context, c Caller, compact string) (transparent []byte, err error) {
	target := ""
	defer func() { a.noteCrossing(ctx, c, "receipt", target, &err) }()
	p, err := a.callingPeer(c)
	if err != nil {
		return nil, err
	}
	receipt, checkpoint, err := p.OpenDerivationReceipt(compact, a.clock.now())
	if err != nil {
		return nil, err
	}
	target = string(receipt.Upstream.ID)
	done, err := a.turns.take(ctx, headRow(p))
	if err != nil {
		return nil, err
	}
	defer done()
	var head *sighting
	if checkpoint != nil {
		occasion := occasionMint
		if receipt.Event == federation.EventEnded {
			occasion = occasionRevoke
		}
		if head, err = a.sight(ctx, p, occasion, []byte(receipt.Checkpoint)); err != nil {
			return nil, err
		}
	}
	var entryID string
	_, err = a.afterSettling(ctx, receipt.Upstream.ID, func() (ledger.Committed, error) {
		return a.commit(ctx, func(r *reading) (change *ledger.Change, err error) {
			entryID, change, err = a.receive(ctx, r, p, receipt, compact, head)
			return change, err
		})
	})
	if err != nil {
		return nil, err
	}
	if err := a.awaitPublished(ctx); err != nil {
		return nil, err
	}
	r, err := a.readPublished()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	index, err := r.Lookup(entryID)
	if err != nil {
		return nil, unavailable("reading a receipt", err)
	}
	transparent, _, err = a.transparent(ctx, r, index)
	return transparent, err
}

// receive decides a receipt at one view. A nil Change means that it was received before.
func (a *Authority) receive(ctx context.Context, r *reading, p *peer, receipt *federation.DerivationReceipt, compact string,
	head *sighting) (string, *ledger.Change, error) {
	issued, err := a.issued(r, p, receipt)
	if err != nil {
		return "", nil, err
	}
	key := derivedRow(p, receipt.ProjectionJTI)
	derived := derivedState{Entries: map[string]string{}, Receipts: map[string]string{}}
	row, err := load(r, key, &derived)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return "", nil, unavailable("reading a receipt", err)
	}
	if before, ok := derived.Receipts[receipt.Event]; ok {
		if before == string(mission.RawDigest([]byte(compact))) {
			return derived.Entries[receipt.Event], nil, nil
		}
		return "", nil, refused(federation.CodeConflict, federation.ReasonReplayed, nil)
	}
	h, err := a.mission(r, issued.MissionID)
	if err != nil {
		return "", nil, err
	}
	change := &ledger.Change{Expect: []ledger.Precondition{ledger.Absent(key)}}
	if row.Version > 0 {
		change.Expect[0] = ledger.Version(key, row.Version)
	}
	if receipt.Event == federation.EventMinted {
		err = a.admitMint(r, p, h, issued, receipt, change)
	} else if derived.LocalRef != receipt.LocalRef {
		err = refused(federation.CodeNotFound, federation.ReasonMissionMismatch, nil)
	}
	if err != nil {
		return "", nil, err
	}
	entry, err := a.entryOf(ctx, a.missionSubject(issued.MissionID), mission.ContentDerivationReceipt, r.at, []byte(compact))
	if err != nil {
		return "", nil, err
	}
	change.Entries = append(change.Entries, entry)
	id := ledger.EntryID(ledger.HashLeaf(entry.Statement))
	derived.LocalRef = receipt.LocalRef
	derived.Entries[receipt.Event], derived.Receipts[receipt.Event] = id, string(mission.RawDigest([]byte(compact)))
	rec, err := put(key, derived, 0)
	if err != nil {
		return "", nil, err
	}
	change.Put = append(change.Put, rec)
	return id, change, head.add(ctx, a, p, change)
}

// issued finds the projection that a receipt stands on: one that was issued to this peer, about this mission, conveying
// every entry that the receipt names.
func (a *Authority) issued(r *reading, p *peer, receipt *federation.DerivationReceipt) (*projectionState, error) {
	var s projectionState
	if _, err := prove(r, projectionRow(receipt.ProjectionJTI), &s); err != nil {
		if errors.Is(err, ledger.ErrNotFound) {
			return nil, errNotFound.because(federation.ReasonUnknownEntry)
		}
		return nil, unavailable("reading a projection", err)
	}
	if s.Peer != p.Peer.Issuer || s.MissionID != receipt.Upstream.ID || s.Shape != mission.ShapeLocalMission {
		return nil, errNotFound.because(federation.ReasonMissionMismatch)
	}
	for _, d := range receipt.UpstreamEntries {
		if !slices.ContainsFunc(s.Entries, func(e conveyedEntry) bool { return e.Conveyed == d }) {
			return nil, errNotFound.because(federation.ReasonUnknownEntry)
		}
	}
	return &s, nil
}

// admitMint counts a mint: the mission must be active, the agreement too, and no approved entry may carry more local
// missions than its approver allowed.
func (a *Authority) admitMint(r *reading, p *peer, h *held, issued *projectionState, receipt *federation.DerivationReceipt,
	change *ledger.Change) error {
	active, err := a.agreed(r, p)
	if err != nil {
		return err
	}
	if state, _ := mission.Effective(h.rec, h.cur, r.at); state != mission.Active {
		return refused(federation.CodeMissionInactive, "", nil)
	}
	if err := a.mayAssert(r, h.rec); err != nil {
		return err
	}
	if err := a.mayFollow(h); err != nil {
		return err
	}
	until, err := mission.ParseTime(receipt.ExpiresAt)
	if err != nil || until.After(h.rec.Expires()) {
		return refused(federation.CodeInvalidReceipt, federation.ReasonLifetimeExceeded, err)
	}
	change.Expect = append(change.Expect, active, ledger.Version(h.row.Key, h.row.Version))
	var counted []mission.Digest
	for _, e := range issued.Entries {
		if !slices.Contains(receipt.UpstreamEntries, e.Conveyed) || slices.Contains(counted, e.Source) {
			continue
		}
		counted = append(counted, e.Source)
		key := derivationsRow(h.rec.ID, e.Source)
		n, err := counter(r, key)
		if err != nil {
			return err
		}
		if e.Max < 1 || n >= uint64(e.Max) {
			return refused(federation.CodeLimit, federation.ReasonFanoutExceeded,
				fmt.Errorf("%d local missions on an entry", n))
		}
		change.Expect = append(change.Expect, ledger.CountBelow(key, uint64(e.Max)))
		change.Put = append(change.Put, ledger.Record{Key: key, Add: 1, JustifiedBy: ledger.NotJustified})
	}
	return nil
}
