package authority

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// The states of an agreement here.
const (
	agreementSigned    = "signed"    // both governance signatures are in our log
	agreementActivated = "activated" // and the peer's `signed` was proven to be in its log
	agreementActive    = "active"    // and its `activated` too: Missions may cross
	agreementEnded     = "ended"     // by either side, at once
)

// agreementState is the row agreement/<agreement id>: a function of our events.
type agreementState struct {
	Agreement mission.AgreementRef `json:"agreement"`
	Peer      string               `json:"peer"`
	Status    string               `json:"status"`
	Entries   []string             `json:"entries"` // entry ids of our events of this version, oldest first
	PeerEntry string               `json:"peer_entry,omitempty"`
}

// next is the row after one of our events; entry is the id of its log entry.
func (s agreementState) next(e *federation.AgreementEvent, entry, self string) (agreementState, error) {
	switch e.Event {
	case federation.EventSigned:
		peer, ok := e.Signed.Agreement.Other(self)
		newer := s.Status == "" || s.Agreement.Version+1 == e.Agreement.Version &&
			e.Signed.Agreement.Previous == s.Agreement.Digest
		if !ok || !newer {
			return s, errors.New("not the next version of the agreement")
		}
		return agreementState{Agreement: e.Agreement, Peer: peer, Status: agreementSigned, Entries: []string{entry}}, nil
	case federation.EventActivated, federation.EventConfirmed:
		from, to := agreementSigned, agreementActivated
		if e.Event == federation.EventConfirmed {
			from, to = agreementActivated, agreementActive
		}
		if s.Agreement != e.Agreement || s.Status != from || e.Cites.Own != s.Entries[len(s.Entries)-1] {
			return s, fmt.Errorf("%s does not follow %s", e.Event, s.Status)
		}
		s.Status, s.PeerEntry = to, e.Cites.Peer
	case federation.EventTerminated:
		if s.Agreement != e.Agreement || s.Status == agreementEnded || s.Status == "" {
			return s, errors.New("nothing to end")
		}
		s.Status = agreementEnded
	}
	s.Entries = append(append([]string(nil), s.Entries...), entry)
	return s, nil
}

// Agree takes a peer's events of the agreement, each with the proof that it is in the peer's log, does the next step
// here if they allow it, and returns this side's events (docs/federation-profile.md, "Agreement"). Body and answer are
// a federation.AgreementExchange. The same exchange again returns the same events. Errors: invalid_request,
// invalid_agreement, not_found, unavailable.
func (a *Authority) Agree(ctx context.Context, c Caller, body []byte) (answer []byte, err error) {
	defer a.noteCrossing(ctx, c, "agreement", "", &err)
	p, err := a.callingPeer(c)
	if err != nil {
		return nil, err
	}
	x, err := federation.ParseAgreementExchange(body)
	if err != nil {
		return nil, err
	}
	if err := a.absorb(ctx, p, x); err != nil {
		return nil, err
	}
	return a.ownEvents(ctx, p)
}

// agree does everything about the agreement with a peer that does not need the peer, then asks the peer until the
// agreement is active. It reports whether it is.
func (a *Authority) agree(ctx context.Context, p *peer) (active bool, err error) {
	state, err := a.announce(ctx, p)
	if err != nil || state.Status == agreementActive || p.Peer.Status != federation.PeerActive {
		return err == nil && state.Status == agreementActive, err
	}
	if state.Status == agreementEnded {
		return false, nil
	}
	for range 2 { // `signed` for `signed`, then `activated` for `activated`
		body, err := a.ownEvents(ctx, p)
		if err != nil {
			return false, err
		}
		answer, err := a.upstream.Agree(ctx, p.Partner, body)
		if err != nil {
			return false, err
		}
		x, err := federation.ParseAgreementExchange(answer)
		if err != nil {
			return false, err
		}
		if err := a.absorb(ctx, p, x); err != nil {
			return false, err
		}
	}
	state, _, err = a.agreement(p)
	return state.Status == agreementActive, err
}

// announce logs `signed`, or `ended` when the administrator has ended the peer. It needs nobody else.
func (a *Authority) announce(ctx context.Context, p *peer) (agreementState, error) {
	_, err := a.commit(ctx, func(r *reading) (*ledger.Change, error) {
		state, row, err := a.agreementAt(r, p)
		switch {
		case err != nil:
			return nil, err
		case p.Peer.Status == federation.PeerEnded && state.Agreement == p.Ref && state.Status != agreementEnded:
			return a.event(ctx, p, state, row, federation.AgreementEvent{Event: federation.EventTerminated,
				Reason: "administrator"}, r)
		case p.Peer.Status == federation.PeerEnded || state.Agreement == p.Ref:
			return nil, nil
		}
		return a.event(ctx, p, state, row, federation.AgreementEvent{Event: federation.EventSigned, Signed: p.Signed}, r)
	})
	if err != nil {
		return agreementState{}, err
	}
	state, _, err := a.agreement(p)
	return state, err
}

// absorb verifies what the peer says about the agreement and does every step that it allows.
func (a *Authority) absorb(ctx context.Context, p *peer, x *federation.AgreementExchange) error {
	events, _, err := p.OpenExchange(x)
	if err != nil {
		return err
	}
	if p.Peer.Status == federation.PeerEnded {
		return nil // our `ended` is the answer to everything
	}
	if _, err := a.announce(ctx, p); err != nil {
		return err
	}
	done, err := a.turns.take(ctx, headRow(p))
	if err != nil {
		return err
	}
	defer done()
	head, err := a.sight(ctx, p, occasionAgreement, []byte(x.Checkpoint))
	if err != nil {
		return err
	}
	for _, e := range events {
		if err := a.advance(ctx, p, e, x.Checkpoint, &head); err != nil {
			return err
		}
	}
	return nil
}

// advance does the step that one event of the peer allows, if it is the next one here. The peer's head is written down
// with the first step that rests on it.
func (a *Authority) advance(ctx context.Context, p *peer, e federation.PeerEvent, checkpoint string, head **sighting) error {
	steps := map[string]struct{ from, event string }{
		federation.EventSigned:    {agreementSigned, federation.EventActivated},
		federation.EventActivated: {agreementActivated, federation.EventConfirmed},
	}
	_, err := a.commit(ctx, func(r *reading) (*ledger.Change, error) {
		state, row, err := a.agreementAt(r, p)
		if err != nil || state.Agreement != p.Ref || state.Status == agreementEnded {
			return nil, err
		}
		own := federation.AgreementEvent{Event: federation.EventTerminated, Reason: "peer_ended"}
		if e.Event != federation.EventTerminated {
			step, ok := steps[e.Event]
			if !ok || state.Status != step.from {
				return nil, nil
			}
			own = federation.AgreementEvent{Event: step.event, Cites: &federation.Cited{
				Own: state.Entries[len(state.Entries)-1], Peer: e.EntryID, PeerIndex: e.Index, PeerSize: e.TreeSize,
				Checkpoint: checkpoint,
			}}
		}
		change, err := a.event(ctx, p, state, row, own, r)
		if err != nil {
			return nil, err
		}
		return change, (*head).add(ctx, a, p, change)
	})
	if err == nil {
		*head = nil
	}
	return err
}

// event makes the Change of one of our events.
func (a *Authority) event(ctx context.Context, p *peer, state agreementState, row ledger.Row,
	e federation.AgreementEvent, r *reading) (*ledger.Change, error) {
	e.Issuer, e.Agreement, e.At = a.issuer, p.Ref, mission.FormatTime(r.at)
	entry, err := a.entry(ctx, a.agreementSubject(p), mission.ContentAgreementEvent, r.at, e)
	if err != nil {
		return nil, err
	}
	next, err := state.next(&e, ledger.EntryID(ledger.HashLeaf(entry.Statement)), a.issuer)
	if err != nil {
		return nil, refused(federation.CodeInvalidAgreement, federation.ReasonAgreementMismatch, err)
	}
	rec, err := put(agreementRow(p.Ref.ID), next, 0)
	if err != nil {
		return nil, err
	}
	expect := ledger.Absent(rec.Key)
	if row.Version > 0 {
		expect = ledger.Version(rec.Key, row.Version)
	}
	return &ledger.Change{
		Expect: []ledger.Precondition{expect}, Put: []ledger.Record{rec}, Entries: []ledger.Entry{entry},
	}, nil
}

func (a *Authority) agreementSubject(p *peer) string { return a.subject("agreements", p.Ref.ID) }

// agreement reads the row of the agreement with a peer; the zero state if there is none.
func (a *Authority) agreement(p *peer) (agreementState, ledger.Row, error) {
	r, err := a.read()
	if err != nil {
		return agreementState{}, ledger.Row{}, err
	}
	defer r.Close()
	return a.agreementAt(r, p)
}

func (a *Authority) agreementAt(r *reading, p *peer) (state agreementState, row ledger.Row, err error) {
	row, err = prove(r, agreementRow(p.Ref.ID), &state)
	if errors.Is(err, ledger.ErrNotFound) {
		return agreementState{}, ledger.Row{}, nil
	}
	if err != nil {
		return state, row, unavailable("reading an agreement", err)
	}
	return state, row, nil
}

// agreed refuses unless the agreement with a peer is active at this view and instant, the peer is neither paused nor
// ended and its log was not caught. It returns the precondition that the agreement is still so when a Change that
// rests on it is committed.
func (a *Authority) agreed(r *reading, p *peer) (ledger.Precondition, error) {
	state, row, err := a.agreementAt(r, p)
	if err != nil {
		return ledger.Precondition{}, err
	}
	var head headState
	if _, err := prove(r, headRow(p), &head); err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return ledger.Precondition{}, unavailable("reading a head", err)
	}
	if state.Status != agreementActive || state.Agreement != p.Ref || p.Peer.Status != federation.PeerActive ||
		!p.Agreement.Covers(r.at) || head.Forked {
		return ledger.Precondition{}, errNotFound.because(federation.ReasonAgreementInactive)
	}
	if _, stopped := a.log.Stops().Stopped(ledger.StopPeer, p.Peer.Issuer); stopped {
		return ledger.Precondition{}, errUnavailable.because("emergency_stop")
	}
	return ledger.Version(row.Key, row.Version), nil
}

// ownEvents is the exchange that shows this side's events with their proofs.
func (a *Authority) ownEvents(ctx context.Context, p *peer) ([]byte, error) {
	if err := a.awaitPublished(ctx); err != nil {
		return nil, err
	}
	r, err := a.readPublished()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	state, _, err := a.agreementAt(r, p)
	if err != nil {
		return nil, err
	}
	if state.Agreement != p.Ref {
		return nil, errNotFound.because(federation.ReasonAgreementMismatch)
	}
	x := federation.AgreementExchange{Agreement: p.Ref, Checkpoint: string(r.Checkpoint())}
	for _, id := range state.Entries {
		proven, err := a.provenEvent(ctx, r, id)
		if err != nil {
			return nil, err
		}
		x.Events = append(x.Events, *proven)
	}
	out, err := mission.Marshal(x)
	if err != nil {
		return nil, fmt.Errorf("authority: agreement: %w", err)
	}
	return out, nil
}

func (a *Authority) provenEvent(ctx context.Context, r *reading, entryID string) (*federation.ProvenEvent, error) {
	index, err := r.Lookup(entryID)
	if err != nil {
		return nil, unavailable("reading an agreement event", err)
	}
	transparent, body, err := a.transparent(ctx, r, index)
	if err != nil {
		return nil, err
	}
	raw, err := mission.ParseRaw(body)
	if err != nil {
		return nil, unavailable("reading an agreement event", errors.Join(ledger.ErrIntegrity, err))
	}
	return &federation.ProvenEvent{Body: raw, Statement: base64.RawURLEncoding.EncodeToString(transparent)}, nil
}

// transparent returns an entry of this log with a receipt that proves it to be in the published tree, and its body.
func (a *Authority) transparent(ctx context.Context, r *reading, index uint64) (transparent, body []byte, err error) {
	entry, err := r.Entry(index)
	if err != nil {
		return nil, nil, unavailable("reading an entry", err)
	}
	s, err := ledger.ParseStatement(entry.Statement)
	if err != nil {
		return nil, nil, unavailable("reading an entry", errors.Join(ledger.ErrIntegrity, err))
	}
	if body, err = r.Body(s.Digest); err != nil {
		return nil, nil, unavailable("reading a body", err)
	}
	head := r.Head()
	path, err := r.Inclusion(index, head.Size)
	if err != nil {
		return nil, nil, unavailable("proving an entry", err)
	}
	receipt, err := ledger.SignReceipt(ctx, ledger.ReceiptClaims{
		Issuer: a.issuer, Subject: s.Subject, IssuedAt: entry.At.Unix(),
	}, ledger.Inclusion{Size: head.Size, Index: index, Path: path}, head.Root, a.receipts)
	if err != nil {
		return nil, nil, errUnavailable.because("signing").wrap(fmt.Errorf("receipt: %w", err))
	}
	if transparent, err = ledger.AttachReceipts(entry.Statement, receipt); err != nil {
		return nil, nil, fmt.Errorf("authority: receipt: %w", err)
	}
	return transparent, body, nil
}
