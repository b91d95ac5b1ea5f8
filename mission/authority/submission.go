package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// The kinds of submission: what an approver decides.
const (
	submissionMission = "mission"      // a client's mission
	submissionCeiling = "peer_ceiling" // a ceiling under which local missions may be drawn down for a peer
)

// The states of a submission (core 3.7).
const (
	submissionPending  = "pending"
	submissionApproved = "approved"
	submissionDenied   = "denied"
	submissionExpired  = "expired"
)

// contentSubmissionExpired is the type of the evidence that nobody decided a submission in time.
const contentSubmissionExpired = "application/mas-submission-expired+json"

// A submissionBody is the evidence of a submission: what was asked, by whom, and who may decide it. Its feed is that of
// its approval event. What a client wrote is here and in no row.
type submissionBody struct {
	SubmissionID    mission.SubmissionID `json:"submission_id"`
	Kind            string               `json:"kind"`
	Issuer          string               `json:"issuer"`
	ApprovalEventID mission.EventID      `json:"approval_event_id"`
	ClientID        string               `json:"client_id,omitempty"` // absent if no client asks: a peer_ceiling
	Client          string               `json:"client,omitempty"`    // principal id
	Approver        string               `json:"approver"`            // principal id
	Subject         mission.Principal    `json:"subject"`
	Intent          *mission.Intent      `json:"intent"`
	Proposal        []mission.Entry      `json:"authorization_details,omitempty"`
	IntentHash      mission.Digest       `json:"intent_hash"`
	ProposalHash    mission.Digest       `json:"proposal_hash,omitempty"`
	Ceiling         mission.Raw          `json:"ceiling,omitempty"` // of a peer_ceiling: its terms
	Peer            string               `json:"peer,omitempty"`    // of a peer_ceiling or local_mission: issuer
	Local           mission.Raw          `json:"local,omitempty"`   // of a local_mission: what it stands on
	PolicyVersion   string               `json:"policy_version"`    // digest of the principals in force
	PolicyEntry     string               `json:"policy_entry"`      // the log entry of that digest
	CreatedAt       string               `json:"created_at"`
	ExpiresAt       string               `json:"expires_at"`
}

// submissionState is the row submission/<id>: a function of the body, without text of the client.
type submissionState struct {
	SubmissionID    mission.SubmissionID `json:"submission_id"`
	Kind            string               `json:"kind"`
	ApprovalEventID mission.EventID      `json:"approval_event_id"`
	ClientID        string               `json:"client_id,omitempty"`
	Approver        string               `json:"approver"`
	IntentHash      mission.Digest       `json:"intent_hash"`
	CreatedAt       string               `json:"created_at"`
	ExpiresAt       string               `json:"expires_at"`
	Body            mission.Digest       `json:"body"` // SHA-256 of the evidence body
}

// outcomeState is the row outcome/<submission id>, written once.
type outcomeState struct {
	SubmissionID mission.SubmissionID `json:"submission_id"`
	Status       string               `json:"status"`               // approved, denied or expired
	MissionID    mission.ID           `json:"mission_id,omitempty"` // of an approved mission
	ContextID    string               `json:"context_id,omitempty"` // what the decision quoted
	ResolvedAt   string               `json:"resolved_at"`
}

// submissionExpiry is the evidence that nobody decided a submission in time.
type submissionExpiry struct {
	SubmissionID    mission.SubmissionID `json:"submission_id"`
	ApprovalEventID mission.EventID      `json:"approval_event_id"`
	ExpiredAt       string               `json:"expired_at"`
	Salt            string               `json:"salt"`
}

// outcome is the outcome row that the evidence proves.
func (x submissionExpiry) outcome() outcomeState {
	return outcomeState{SubmissionID: x.SubmissionID, Status: submissionExpired, ResolvedAt: x.ExpiredAt}
}

// state is the row of a body with this digest.
func (b *submissionBody) state(digest mission.Digest) submissionState {
	return submissionState{
		SubmissionID:    b.SubmissionID,
		Kind:            b.Kind,
		ApprovalEventID: b.ApprovalEventID,
		ClientID:        b.ClientID,
		Approver:        b.Approver,
		IntentHash:      b.IntentHash,
		CreatedAt:       b.CreatedAt,
		ExpiresAt:       b.ExpiresAt,
		Body:            digest,
	}
}

// A submitted is one submission as a decision sees it.
type submitted struct {
	submissionState
	outcome *outcomeState // nil while it is pending
	row     ledger.Row    // of the outcome
	expires time.Time
}

// submission reads a submission. The error wraps ledger.ErrNotFound if there is none.
func (a *Authority) submission(r *reading, id mission.SubmissionID) (*submitted, error) {
	s := &submitted{}
	if _, err := prove(r, submissionRow(id), &s.submissionState); err != nil {
		if errors.Is(err, ledger.ErrNotFound) {
			if _, err := r.Proven(principalsRow); err != nil { // the work of finding one
				return nil, unavailable("reading a row", err)
			}
			return nil, fmt.Errorf("submission: %w", ledger.ErrNotFound)
		}
		return nil, unavailable("reading a submission", err)
	}
	var outcome outcomeState
	switch row, err := prove(r, outcomeRow(id), &outcome); {
	case err == nil:
		s.outcome, s.row = &outcome, row
	case !errors.Is(err, ledger.ErrNotFound):
		return nil, unavailable("reading an outcome", err)
	}
	var err error
	if s.expires, err = mission.ParseTime(s.ExpiresAt); err != nil {
		return nil, unavailable("reading a submission", errors.Join(ledger.ErrIntegrity, err))
	}
	return s, nil
}

// body reads what was submitted.
func (s *submitted) body(r *reading) (*submissionBody, error) {
	text, err := r.Body(s.Body.Bytes())
	if err != nil {
		return nil, unavailable("reading a submission", err)
	}
	b := &submissionBody{}
	if err := mission.Decode(text, b); err != nil {
		return nil, unavailable("reading a submission", errors.Join(ledger.ErrIntegrity, err))
	}
	return b, nil
}

// status is where the submission stands at an instant.
func (s *submitted) status(at time.Time) string {
	switch {
	case s.outcome != nil:
		return s.outcome.Status
	case !at.Before(s.expires):
		return submissionExpired
	}
	return submissionPending
}

// enqueue makes the Change that puts a submission before its approver.
func (a *Authority) enqueue(ctx context.Context, b *submissionBody) (*ledger.Change, error) {
	created, err := mission.ParseTime(b.CreatedAt)
	if err != nil {
		return nil, fmt.Errorf("submission: %w", err)
	}
	expires, err := mission.ParseTime(b.ExpiresAt)
	if err != nil {
		return nil, fmt.Errorf("submission: %w", err)
	}
	entry, err := a.entry(ctx, a.approvalSubject(b.ApprovalEventID), mission.ContentSubmission, created, b)
	if err != nil {
		return nil, err
	}
	state, err := put(submissionRow(b.SubmissionID), b.state(mission.RawDigest(entry.Body)), 0)
	if err != nil {
		return nil, err
	}
	queued := ledger.Record{
		Key:         queueRow(b.Approver, created, b.SubmissionID),
		Value:       []byte("{}"),
		JustifiedBy: ledger.NotJustified,
	}
	return &ledger.Change{
		Expect: []ledger.Precondition{ledger.Absent(state.Key)},
		Put: []ledger.Record{
			state,
			queued,
			{Key: pendingRow(b.ClientID, b.Approver), Add: 1, JustifiedBy: ledger.NotJustified},
			a.dueAt(expires, dueSubmission, string(b.SubmissionID)),
		},
		Entries: []ledger.Entry{entry},
	}, nil
}

// resolve adds to a Change what ends a submission: its outcome, justified by the entry at this ordinal, and the rows
// that waited for it.
func (s *submitted) resolve(change *ledger.Change, outcome outcomeState, by int) error {
	created, err := mission.ParseTime(s.CreatedAt)
	if err != nil {
		return unavailable("reading a submission", errors.Join(ledger.ErrIntegrity, err))
	}
	row, err := put(outcomeRow(s.SubmissionID), outcome, by)
	if err != nil {
		return err
	}
	change.Expect = append(change.Expect, ledger.Absent(row.Key))
	change.Put = append(change.Put,
		row,
		tombstone(queueRow(s.Approver, created, s.SubmissionID)),
		tombstone(dueRow(s.expires, dueSubmission, string(s.SubmissionID))),
		ledger.Record{Key: pendingRow(s.ClientID, s.Approver), Add: -1, JustifiedBy: ledger.NotJustified},
	)
	return nil
}

// expireSubmission commits that nobody decided a submission in time, if that is so.
func (a *Authority) expireSubmission(ctx context.Context, id mission.SubmissionID) error {
	done, err := a.turns.take(ctx, string(id))
	if err != nil {
		return err
	}
	defer done()
	_, err = a.commitOn(ctx, a.open, func(r *reading) (*ledger.Change, error) {
		s, err := a.submission(r, id)
		if err != nil || s.outcome != nil || s.status(r.at) != submissionExpired {
			return nil, err
		}
		x := submissionExpiry{
			SubmissionID:    id,
			ApprovalEventID: s.ApprovalEventID,
			ExpiredAt:       mission.FormatTime(r.at),
			Salt:            mission.NewSalt(),
		}
		entry, err := a.entry(ctx, a.approvalSubject(s.ApprovalEventID), contentSubmissionExpired, r.at, x)
		if err != nil {
			return nil, err
		}
		change := &ledger.Change{Entries: []ledger.Entry{entry}}
		return change, s.resolve(change, x.outcome(), 0)
	})
	return err
}
