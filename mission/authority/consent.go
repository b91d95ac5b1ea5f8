package authority

import (
	"context"
	"errors"
	"fmt"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// The decisions of consent evidence (core 5.4).
const (
	consentApproved = "approved"
	consentDeclined = "declined"
)

// attendance of a decision that no person logged in for: the approver's key file signed the request.
const devUnattended = "dev-unattended"

// A consentEvidence says that a person was shown a disclosure and decided (core 5.4). It is signed by the issuer: the
// envelope is a JWS over the canonical form of all other members. What a decision rests on is cited: the principals in
// force by digest and log entry, the submission, and the context that was quoted.
type consentEvidence struct {
	EvidenceID            mission.EventID       `json:"evidence_id"`
	Mission               consentMission        `json:"mission"`
	Approver              mission.Principal     `json:"approver"`
	Subject               mission.Principal     `json:"subject"`
	Client                *consentClient        `json:"client,omitempty"`
	Decision              string                `json:"decision"`
	ApprovedAt            string                `json:"approved_at,omitempty"`
	DeclinedAt            string                `json:"declined_at,omitempty"`
	DeclineReason         string                `json:"decline_reason,omitempty"` // untrusted text
	Disclosure            *mission.Disclosure   `json:"disclosure"`
	Sequence              uint64                `json:"sequence"` // of this approver's decisions, from 1
	AuthenticationContext consentAuthentication `json:"authentication_context"`
	ApprovalPolicyVersion string                `json:"approval_policy_version"` // digest of the principals in force
	PolicyEntry           string                `json:"policy_entry"`            // the log entry of that digest
	SubmissionID          mission.SubmissionID  `json:"submission_id"`
	SubmissionDigest      mission.Digest        `json:"submission_digest"`
	Kind                  string                `json:"kind"`
	ApprovalEventID       mission.EventID       `json:"approval_event_id"`
	ContextID             string                `json:"context_id"`
	Envelope              *consentEnvelope      `json:"evidence_envelope,omitempty"`
}

type consentMission struct {
	ID                   mission.ID     `json:"id,omitempty"` // only if a mission was approved
	Issuer               string         `json:"issuer"`
	IntentHash           mission.Digest `json:"intent_hash"`
	AuthorityHash        mission.Digest `json:"authority_hash"`
	ProposalHash         mission.Digest `json:"proposal_hash,omitempty"`
	ConsentRenderingHash mission.Digest `json:"consent_rendering_hash"`
}

type consentClient struct {
	ClientID string `json:"client_id"`
}

type consentAuthentication struct {
	Method     string `json:"method"`
	KeyID      string `json:"key_id,omitempty"`
	Attendance string `json:"attendance"` // dev-unattended: with a key file, not by a person's login
}

type consentEnvelope struct {
	Format string `json:"format"` // jws-compact
	Value  string `json:"value"`
}

// outcome is the outcome row that the evidence proves.
func (e *consentEvidence) outcome() outcomeState {
	o := outcomeState{SubmissionID: e.SubmissionID, MissionID: e.Mission.ID, ContextID: e.ContextID}
	if e.Decision == consentApproved {
		o.Status, o.ResolvedAt = submissionApproved, e.ApprovedAt
	} else {
		o.Status, o.ResolvedAt = submissionDenied, e.DeclinedAt
	}
	return o
}

// step is one number of a counter: the row to write, and what must hold for it to be the next.
type step struct {
	number uint64
	expect ledger.Precondition
	put    ledger.Record
}

// nextStep reads a counter that is written once per number, so that its version is its value.
func nextStep(r *reading, key string) (step, error) {
	s := step{number: 1, expect: ledger.Absent(key), put: ledger.Record{Key: key, Add: 1, JustifiedBy: ledger.NotJustified}}
	row, err := r.Get(key)
	if errors.Is(err, ledger.ErrNotFound) {
		return s, nil
	}
	if err != nil {
		return s, unavailable("reading a counter", err)
	}
	s.number, s.expect = row.Version+1, ledger.Version(key, row.Version)
	return s, nil
}

// A verdict is what an approver decided.
type verdict struct {
	decision string     // approved or declined
	mission  mission.ID // the mission that an approval creates
	reason   string     // of a denial: untrusted text
}

// consent makes the signed evidence of a verdict on v, and the step of the approver's sequence that goes with it.
func (a *Authority) consent(ctx context.Context, r *reading, c Caller, s *submitted, v *review, d verdict) (
	*consentEvidence, step, error) {
	next, err := nextStep(r, sequenceRow(c.ID))
	if err != nil {
		return nil, next, err
	}
	e := &consentEvidence{
		EvidenceID: mission.NewEventID(),
		Mission: consentMission{
			ID:                   d.mission,
			Issuer:               a.issuer,
			IntentHash:           v.disclosure.SourceHashes.IntentHash,
			AuthorityHash:        v.disclosure.SourceHashes.AuthorityHash,
			ProposalHash:         v.disclosure.SourceHashes.ProposalHash,
			ConsentRenderingHash: v.rendering,
		},
		Approver:              *v.approver.Subject,
		Subject:               v.body.Subject,
		Decision:              d.decision,
		DeclineReason:         d.reason,
		Disclosure:            v.disclosure,
		Sequence:              next.number,
		AuthenticationContext: consentAuthentication{Method: c.Method, KeyID: c.KeyID, Attendance: devUnattended},
		ApprovalPolicyVersion: string(v.policy.digest),
		PolicyEntry:           v.policy.entry,
		SubmissionID:          s.SubmissionID,
		SubmissionDigest:      s.Body,
		Kind:                  s.Kind,
		ApprovalEventID:       s.ApprovalEventID,
		ContextID:             v.contextID,
	}
	if s.ClientID != "" {
		e.Client = &consentClient{s.ClientID}
	}
	if d.decision == consentApproved {
		e.ApprovedAt = mission.FormatTime(r.at)
	} else {
		e.DeclinedAt = mission.FormatTime(r.at)
	}
	payload, err := mission.Marshal(e)
	if err != nil {
		return nil, next, fmt.Errorf("authority: consent evidence: %w", err)
	}
	token, err := jws.Sign(ctx, a.status, jws.TypConsentEvidence, payload)
	if err != nil {
		return nil, next, errUnavailable.because("signing").wrap(fmt.Errorf("consent evidence: %w", err))
	}
	e.Envelope = &consentEnvelope{Format: "jws-compact", Value: token}
	return e, next, nil
}
