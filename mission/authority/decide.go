package authority

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// The decisions.
const (
	decisionApprove = "approve"
	decisionDeny    = "deny"
)

// A decisionRequest is the body of POST /mas/review/{submission_id}/decision. It says nothing about who decides.
type decisionRequest struct {
	ContextID            string         `json:"context_id"`
	ConsentRenderingHash mission.Digest `json:"consent_rendering_hash"`
	Decision             string         `json:"decision"` // approve or deny
	Reason               string         `json:"reason,omitempty"`
}

var errContext = refusal(Conflict, "context_changed", "what was shown is not what would be decided; review again")

// Decide takes the approver's decision on exactly what was shown to it (core 5.1). The seven steps, in order, and what
// each refuses with:
//
//	1 the approver is authenticated as it must be   not_found, no_person_authentication, acr_not_satisfied
//	2 the approver may decide for the subject       access_denied (approver_not_subject)
//	3 the client's authority source still holds     access_denied (client, authority_source), invalid_authority
//	4 the mission would not be over                 submission_expired
//	5 what was rendered is what would be decided    context_changed
//	6 and so are its anchors                        context_changed
//	7 the record is created, if nothing moved       already_decided, or decided again
//
// An approval creates the mission active at version 1, in the same commit as the approval record, the signed consent
// evidence and the end of the submission. A denial leaves signed consent evidence. The same decision again returns the
// same answer, the poll body.
func (a *Authority) Decide(ctx context.Context, c Caller, id string, body []byte) (answer []byte, err error) {
	defer a.note(ctx, c, "decide", id, &err)
	if c, err = a.Principals().known(c); err != nil {
		return nil, err
	}
	var q decisionRequest
	if err := mission.Decode(body, &q); err != nil {
		return nil, errRequest.wrap(err)
	}
	if q.Decision != decisionApprove && q.Decision != decisionDeny {
		return nil, errRequest.because("decision")
	}
	if utf8.RuneCountInString(q.Reason) > maxReason {
		return nil, errRequest.because("reason")
	}
	done, err := a.turns.take(ctx, sequenceRow(c.ID)) // decisions of one approver are numbered
	if err != nil {
		return nil, err
	}
	defer done()
	if _, err := a.commit(ctx, func(r *reading) (*ledger.Change, error) {
		return a.decide(ctx, r, c, mission.SubmissionID(id), &q)
	}); err != nil {
		return nil, err
	}
	if q.Decision == decisionApprove {
		if err := a.awaitPublished(ctx); err != nil {
			return nil, err
		}
	}
	r, err := a.read()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	s, err := a.reviewable(r, c, mission.SubmissionID(id))
	if err != nil {
		return nil, err
	}
	return a.submissionAnswer(r, s)
}

// decide makes the Change of a decision at one view; nil if it was made before.
func (a *Authority) decide(ctx context.Context, r *reading, c Caller, id mission.SubmissionID, q *decisionRequest) (
	*ledger.Change, error) {
	s, err := a.reviewable(r, c, id)
	if err != nil {
		return nil, err
	}
	if s.repeats(q) {
		return nil, nil
	}
	if err := s.pending(r); err != nil {
		return nil, err
	}
	if a.attended { // step 1: there is no login for people yet
		return nil, refusal(Forbidden, "no_person_authentication", "a person must log in to decide")
	}
	v, err := a.quoted(r, s, c, q)
	if err != nil {
		return nil, err
	}
	if q.Decision == decisionDeny {
		return a.deny(ctx, r, c, s, v, q)
	}
	if controls := v.body.Intent.Controls; controls != nil && controls.ACR != "" { // a key file satisfies no acr
		return nil, refusal(Forbidden, "acr_not_satisfied", "the authentication is weaker than the mission asks for")
	}
	return a.approve(ctx, r, c, s, v)
}

// repeats reports whether the submission was decided so, on this context, before.
func (s *submitted) repeats(q *decisionRequest) bool {
	if s.outcome == nil || s.outcome.ContextID == "" || s.outcome.ContextID != q.ContextID {
		return false
	}
	return s.outcome.Status == submissionApproved && q.Decision == decisionApprove ||
		s.outcome.Status == submissionDenied && q.Decision == decisionDeny
}

// quoted computes the review again and holds it against what the decision quotes.
func (a *Authority) quoted(r *reading, s *submitted, c Caller, q *decisionRequest) (*review, error) {
	rendered, ok := renderedAt(q.ContextID)
	if !ok || rendered.After(r.at) || r.at.Sub(rendered) > contextLifetime {
		return nil, errContext
	}
	v, err := a.review(r, s, c, rendered)
	if err != nil {
		return nil, err
	}
	same := subtle.ConstantTimeCompare([]byte(v.contextID), []byte(q.ContextID)) == 1
	if !same || v.rendering != q.ConsentRenderingHash {
		return nil, errContext
	}
	return v, nil
}

// deny leaves the evidence of a refusal, on the feed of the approval event.
func (a *Authority) deny(ctx context.Context, r *reading, c Caller, s *submitted, v *review, q *decisionRequest) (
	*ledger.Change, error) {
	e, sequence, err := a.consent(ctx, r, c, s, v, verdict{decision: consentDeclined, reason: q.Reason})
	if err != nil {
		return nil, err
	}
	entry, err := a.entry(ctx, a.approvalSubject(s.ApprovalEventID), mission.ContentConsentEvidence, r.at, e)
	if err != nil {
		return nil, err
	}
	change := &ledger.Change{
		Expect:  []ledger.Precondition{sequence.expect},
		Put:     []ledger.Record{sequence.put},
		Entries: []ledger.Entry{entry},
	}
	return change, s.resolve(change, e.outcome(), 0)
}

// approve is step 7: it creates what was approved, together with its evidence.
func (a *Authority) approve(ctx context.Context, r *reading, c Caller, s *submitted, v *review) (*ledger.Change, error) {
	if err := r.certain(); err != nil {
		return nil, err
	}
	if _, all := a.log.Stops().Stopped(ledger.StopMission, ""); all {
		return nil, errUnavailable.because("emergency_stop")
	}
	switch s.Kind {
	case submissionMission:
		return a.approveMission(ctx, r, c, s, v)
	case submissionCeiling:
		return a.approveCeiling(ctx, r, c, s, v)
	}
	return nil, errForbidden.because("kind")
}

func (a *Authority) approveMission(ctx context.Context, r *reading, c Caller, s *submitted, v *review) (
	*ledger.Change, error) {
	rec := a.newRecord(v, r.at)
	if err := errors.Join(rec.Validate(), rec.Verify()); err != nil {
		return nil, fmt.Errorf("authority: approving: %w", err)
	}
	e, sequence, err := a.consent(ctx, r, c, s, v, verdict{decision: consentApproved, mission: rec.ID})
	if err != nil {
		return nil, err
	}
	expect, rows, err := a.creation(rec, 0)
	if err != nil {
		return nil, err
	}
	subject := a.missionSubject(rec.ID)
	approval, err := a.entry(ctx, subject, mission.ContentApprovalRecord, r.at, rec)
	if err != nil {
		return nil, err
	}
	consent, err := a.entry(ctx, subject, mission.ContentConsentEvidence, r.at, e)
	if err != nil {
		return nil, err
	}
	change := &ledger.Change{
		Expect: append(expect,
			sequence.expect,
			ledger.Version(principalsRow, v.policy.row),
			ledger.NotAfter(s.expires.Add(-time.Nanosecond))),
		Put:     append(rows, sequence.put),
		Entries: []ledger.Entry{approval, consent},
	}
	return change, s.resolve(change, e.outcome(), 1)
}

// newRecord is the mission as approved.
func (a *Authority) newRecord(v *review, at time.Time) *mission.Record {
	b := v.body
	return &mission.Record{
		ID:                   mission.NewMissionID(),
		Issuer:               a.issuer,
		Intent:               b.Intent,
		ProposedAuthority:    b.Proposal,
		AuthoritySet:         v.set,
		AuthorityHash:        v.disclosure.SourceHashes.AuthorityHash,
		IntentHash:           v.disclosure.SourceHashes.IntentHash,
		ProposalHash:         v.disclosure.SourceHashes.ProposalHash,
		ConsentRenderingHash: v.rendering,
		Subject:              b.Subject,
		Approver:             *v.approver.Subject,
		ApprovalBasis: mission.ApprovalBasis{
			Type:             mission.BasisDirect,
			ConsentPrincipal: *v.approver.Subject,
			Activation:       mission.Activation{ApprovalEventID: b.ApprovalEventID},
			ActivationActor:  *v.approver.Subject,
			RootCommitment:   v.disclosure.SourceHashes.AuthorityHash,
		},
		AuthoritySource: v.source,
		ClientID:        b.ClientID,
		PolicyVersion:   string(v.policy.digest),
		ApprovalEventID: b.ApprovalEventID,
		CreatedAt:       mission.FormatTime(at),
		ExpiresAt:       mission.FormatTime(v.expires),
	}
}
