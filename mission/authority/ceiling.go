package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// A ceiling is the standing approval under which local missions are drawn down from one peer's. A person of this
// domain approved it on a rendering of its entries and terms, on the ordinary review surface; the signature under an
// agreement is no such approval.

// ceilingEvidence is the evidence body of a ceiling that a person approved.
type ceilingEvidence struct {
	Peer            string                      `json:"peer"`
	Terms           *federation.CeilingProposal `json:"terms"`
	AuthorityHash   mission.Digest              `json:"authority_hash"` // of the entries as rendered and approved
	Approved        []mission.Entry             `json:"approved"`
	Approver        mission.Principal           `json:"approver"`
	SubmissionID    mission.SubmissionID        `json:"submission_id"`
	ApprovalEventID mission.EventID             `json:"approval_event_id"`
	Rendering       mission.Digest              `json:"consent_rendering_hash"`
	ApprovedAt      string                      `json:"approved_at"`
	Until           string                      `json:"until"`
}

// ceilingState is the row ceiling/<peer id>.
type ceilingState struct {
	Peer  string         `json:"peer"`
	Body  mission.Digest `json:"body"` // SHA-256 of the evidence body
	Until string         `json:"until"`
}

// askedState is the row asked/<peer id>: what a person was last asked to approve.
type askedState struct {
	Terms        mission.Digest       `json:"terms"`
	SubmissionID mission.SubmissionID `json:"submission_id"`
}

// askCeilings puts every configured ceiling that nobody was asked about yet before its approver. Changed terms are
// asked about again; until they are approved, the ceiling that was approved before goes on.
func (a *Authority) askCeilings(ctx context.Context) error {
	for _, p := range a.peers.all {
		if p.annex.Ceiling == nil || p.Peer.Status != federation.PeerActive {
			continue
		}
		if err := a.askCeiling(ctx, p); err != nil {
			return fmt.Errorf("authority: asking for a ceiling: %w", err)
		}
	}
	return nil
}

func (a *Authority) askCeiling(ctx context.Context, p *peer) error {
	terms, err := mission.ObjectDigest(p.annex.Ceiling)
	if err != nil {
		return err
	}
	_, err = a.commit(ctx, func(r *reading) (*ledger.Change, error) {
		var before askedState
		row, err := load(r, askedRow(p), &before)
		expect := ledger.Absent(askedRow(p))
		switch {
		case err == nil:
			expired, err := a.unanswered(r, before)
			if err != nil || before.Terms == terms && !expired {
				return nil, err
			}
			expect = ledger.Version(row.Key, row.Version)
		case !errors.Is(err, ledger.ErrNotFound):
			return nil, unavailable("reading a ceiling", err)
		}
		b, err := a.ceilingSubmission(r, p)
		if b == nil || err != nil {
			return nil, err
		}
		change, err := a.enqueue(ctx, b)
		if err != nil {
			return nil, err
		}
		asked, err := put(askedRow(p), askedState{terms, b.SubmissionID}, ledger.NotJustified)
		if err != nil {
			return nil, err
		}
		change.Expect = append(change.Expect, expect, ledger.Version(principalsRow, a.inForce.Load().row))
		change.Put = append(change.Put, asked)
		return change, nil
	})
	return err
}

// unanswered reports whether nobody decided in time what was asked.
func (a *Authority) unanswered(r *reading, asked askedState) (bool, error) {
	s, err := a.submission(r, asked.SubmissionID)
	if err != nil {
		return false, err
	}
	return s.status(r.at) == submissionExpired, nil
}

// ceilingSubmission is the review item: the entries are its proposal, the other terms stand in its intent, so that the
// rendering that is hashed and approved shows them all. Nil if the terms are over or the approver is nobody here.
func (a *Authority) ceilingSubmission(r *reading, p *peer) (*submissionBody, error) {
	c := p.annex.Ceiling
	f := a.inForce.Load()
	approver, ok := f.person(c.Approver)
	until, err := mission.ParseTime(c.ExpiresAt)
	if err != nil {
		return nil, fmt.Errorf("ceiling: %w", err)
	}
	if !ok || !approver.mayApprove(c.Approver) || !r.at.Before(until) {
		a.logger.Warn("a configured ceiling is over or has no approver", "peer", p.Peer.Issuer)
		return nil, nil
	}
	terms, err := mission.RawOf(c)
	if err != nil {
		return nil, fmt.Errorf("ceiling: %w", err)
	}
	expires := r.at.Add(a.submissionLifetime)
	if until.Before(expires) {
		expires = until
	}
	expires = expires.Truncate(time.Second)
	b := &submissionBody{
		SubmissionID:    mission.NewSubmissionID(),
		Kind:            submissionCeiling,
		Issuer:          a.issuer,
		ApprovalEventID: mission.NewEventID(),
		Approver:        approver.ID,
		Subject:         c.Approver,
		Intent:          ceilingIntent(p.Peer.Issuer, c),
		Proposal:        c.Entries,
		Ceiling:         terms,
		Peer:            p.Peer.Issuer,
		PolicyVersion:   string(f.digest),
		PolicyEntry:     f.entry,
		CreatedAt:       mission.FormatTime(r.at),
		ExpiresAt:       mission.FormatTime(expires),
	}
	if b.IntentHash, err = b.Intent.Hash(a.issuer); err != nil {
		return nil, fmt.Errorf("ceiling: %w", err)
	}
	if b.ProposalHash, err = mission.ProposalHash(a.issuer, b.Proposal); err != nil {
		return nil, fmt.Errorf("ceiling: %w", err)
	}
	return b, nil
}

// ceilingIntent says in words what the terms mean.
func ceilingIntent(peer string, c *federation.CeilingProposal) *mission.Intent {
	in := &mission.Intent{
		Goal: "Standing approval: local missions may be drawn down, without asking again, from active missions of the " +
			"peer domain " + peer,
		Constraints: []string{
			fmt.Sprintf("At most %d such missions at a time, and %d in an hour.", c.MaxActive, c.MaxPerHour),
			fmt.Sprintf("This approval counts for %d seconds.", c.MaxAgeSeconds),
			"Never for irreversible actions, external commitments, privileged administration, gated entries, or entries " +
				"that need approval of each action.",
			"Each such mission stays inside what the peer conveyed, and ends when the peer's mission ends.",
		},
		ExpiresAt: c.ExpiresAt,
	}
	for _, e := range c.Entries {
		if !slices.Contains(in.Resources, e.Resource) {
			in.Resources = append(in.Resources, e.Resource)
		}
	}
	return in
}

// approveCeiling is the approval of a ceiling: the consent evidence ends the submission, the ceiling is in force from
// the same commit on.
func (a *Authority) approveCeiling(ctx context.Context, r *reading, c Caller, s *submitted, v *review) (*ledger.Change, error) {
	p := a.peers.byIssuer[v.body.Peer]
	if p == nil {
		return nil, errForbidden.because("peer")
	}
	var terms federation.CeilingProposal
	if err := v.body.Ceiling.Decode(&terms); err != nil {
		return nil, unavailable("reading a ceiling", errors.Join(ledger.ErrIntegrity, err))
	}
	until, err := terms.Until(r.at)
	if err != nil {
		return nil, unavailable("reading a ceiling", errors.Join(ledger.ErrIntegrity, err))
	}
	if v.expires.Before(until) { // what was rendered as the effective end
		until = v.expires
	}
	e, sequence, err := a.consent(ctx, r, c, s, v, verdict{decision: consentApproved})
	if err != nil {
		return nil, err
	}
	consent, err := a.entry(ctx, a.approvalSubject(s.ApprovalEventID), mission.ContentConsentEvidence, r.at, e)
	if err != nil {
		return nil, err
	}
	body := ceilingEvidence{
		Peer: v.body.Peer, Terms: &terms, AuthorityHash: v.disclosure.SourceHashes.AuthorityHash, Approved: v.set,
		Approver: *v.approver.Subject, SubmissionID: s.SubmissionID, ApprovalEventID: s.ApprovalEventID,
		Rendering: v.rendering, ApprovedAt: mission.FormatTime(r.at), Until: mission.FormatTime(until),
	}
	entry, err := a.entry(ctx, a.peerSubject(p), mission.ContentPeerCeiling, r.at, body)
	if err != nil {
		return nil, err
	}
	row, err := put(ceilingRow(p), body.state(mission.RawDigest(entry.Body)), 1)
	if err != nil {
		return nil, err
	}
	change := &ledger.Change{
		Expect: []ledger.Precondition{sequence.expect, ledger.Version(principalsRow, v.policy.row),
			notOverBefore(s.expires), notOverBefore(until)},
		Put:     []ledger.Record{sequence.put, row},
		Entries: []ledger.Entry{consent, entry},
	}
	return change, s.resolve(change, e.outcome(), 0)
}

func (e *ceilingEvidence) state(body mission.Digest) ceilingState {
	return ceilingState{Peer: e.Peer, Body: body, Until: e.Until}
}

// An approvedCeiling is the ceiling in force for a peer.
type approvedCeiling struct {
	ceilingEvidence
	digest mission.Digest // of the evidence body
	until  time.Time
	row    ledger.Row
}

// ceiling reads the ceiling in force for a peer; nil if a person has approved none.
func (a *Authority) ceiling(r *reading, p *peer) (*approvedCeiling, error) {
	var state ceilingState
	row, err := prove(r, ceilingRow(p), &state)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable("reading a ceiling", err)
	}
	text, err := r.Body(state.Body.Bytes())
	if err != nil {
		return nil, unavailable("reading a ceiling", err)
	}
	c := &approvedCeiling{digest: state.Body, row: row}
	if err := mission.Decode(text, &c.ceilingEvidence); err != nil {
		return nil, unavailable("reading a ceiling", errors.Join(ledger.ErrIntegrity, err))
	}
	if c.until, err = mission.ParseTime(c.Until); err != nil || c.Peer != p.Peer.Issuer {
		return nil, unavailable("reading a ceiling", errors.Join(ledger.ErrIntegrity, err))
	}
	return c, nil
}

// admitUnder holds one more local mission against the ceiling: whoever approved it may still approve, and there is
// room. It returns what makes that hold when the mission is committed.
func (a *Authority) admitUnder(c *approvedCeiling, r *reading, p *peer) (expect []ledger.Precondition, rows []ledger.Record, err error) {
	hour := int(r.at.Unix() / 3600)
	f := a.inForce.Load()
	if approver, ok := f.person(c.Approver); !ok || !approver.mayApprove(c.Approver) {
		return nil, nil, refused(federation.CodeAccessDenied, federation.ReasonNoCeiling, nil)
	}
	for _, k := range []struct {
		key    string
		max    int64
		reason string
	}{
		{drawnRow(p), c.Terms.MaxActive, federation.ReasonFanoutExceeded},
		{hourRow(p, hour), c.Terms.MaxPerHour, federation.ReasonRateExceeded},
	} {
		n, err := counter(r, k.key)
		if err != nil {
			return nil, nil, err
		}
		if n >= uint64(k.max) {
			return nil, nil, refused(federation.CodeAccessDenied, k.reason, nil)
		}
		expect = append(expect, ledger.CountBelow(k.key, uint64(k.max)))
		rows = append(rows, ledger.Record{Key: k.key, Add: 1, JustifiedBy: ledger.NotJustified})
	}
	return append(expect, ledger.Version(c.row.Key, c.row.Version), ledger.Version(principalsRow, f.row),
		notOverBefore(c.until)), rows, nil
}
