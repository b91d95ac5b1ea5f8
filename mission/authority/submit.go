package authority

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// maxPending bounds how many submissions of one client wait for one approver.
const maxPending = 20

// creationState is the row creation/<client>/<creation_request_id>.
type creationState struct {
	Fingerprint mission.Digest `json:"fingerprint"`
	Answer      mission.Raw    `json:"answer"`
}

// submissionAnswer is the body of 202, and of a poll.
type submissionAnswer struct {
	SubmissionID     mission.SubmissionID `json:"submission_id"`
	Status           string               `json:"status"`
	ExpiresAt        string               `json:"expires_at,omitempty"` // 202 only
	MissionID        mission.ID           `json:"mission_id,omitempty"`
	MissionExpiresAt string               `json:"mission_expires_at,omitempty"`
	Authorization    []mission.Entry      `json:"authorization_details,omitempty"` // as approved
}

// Submit takes a client's submission (core 4.2): an Intent and the authority it proposes. Nothing is granted; who
// decides, and for whom the client acts, comes from the principals in force and never from the request. It returns the
// body of 202: {submission_id, status, expires_at}. With a creation_request_id, the same request again returns the same
// octets. Errors: invalid_mission_intent, invalid_authority, invalid_intent_evidence; invalid_request for another
// request under the same creation_request_id; access_denied; rate_limited; unavailable.
func (a *Authority) Submit(ctx context.Context, c Caller, body []byte) (answer []byte, err error) {
	defer a.note(ctx, c, "submit", "", &err)
	if c, err = a.Principals().known(c); err != nil {
		return nil, err
	}
	if !c.Has(RoleClient) {
		return nil, errForbidden.because("role")
	}
	// The requested expiry is checked below: a repetition of an accepted request is answered even after it.
	q, err := mission.ParseSubmission(body, time.Time{})
	if err != nil {
		return nil, submissionError(err)
	}
	fingerprint, err := a.fingerprint(c, q)
	if err != nil {
		return nil, err
	}
	_, err = a.commit(ctx, func(r *reading) (change *ledger.Change, err error) {
		answer, change, err = a.accept(ctx, r, c, q, fingerprint)
		return change, err
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// fingerprint commits to everything that makes two submissions the same request (core 2.2).
func (a *Authority) fingerprint(c Caller, q *mission.Submission) (mission.Digest, error) {
	evidence := make([]mission.Raw, len(q.Evidence))
	for i, e := range q.Evidence {
		evidence[i] = e.Raw
	}
	return mission.Envelope(mission.TypCreationFingerprint, a.issuer, struct {
		Op       string          `json:"op"`
		Iss      string          `json:"iss"`
		Client   string          `json:"client"`
		Intent   *mission.Intent `json:"intent"`
		Evidence []mission.Raw   `json:"evidence,omitempty"`
		Proposal []mission.Entry `json:"proposal,omitempty"`
	}{"submission", a.issuer, c.name(), q.Intent, evidence, q.Proposal})
}

// accept decides a submission at one view.
func (a *Authority) accept(ctx context.Context, r *reading, c Caller, q *mission.Submission, fingerprint mission.Digest) (
	[]byte, *ledger.Change, error) {
	creation := creationRow(c.name(), q.CreationRequestID)
	if q.CreationRequestID != "" {
		var before creationState
		switch _, err := load(r, creation, &before); {
		case err == nil && before.Fingerprint == fingerprint:
			return before.Answer.Bytes(), nil, nil
		case err == nil:
			return nil, nil, errRequest.because("creation_request_id")
		case !errors.Is(err, ledger.ErrNotFound):
			return nil, nil, unavailable("reading a creation request", err)
		}
	}
	f := a.inForce.Load()
	c, err := f.known(c) // what follows rests on one version of the principals, which the Change names
	if err != nil {
		return nil, nil, err
	}
	if !c.Has(RoleClient) || c.Subject == nil || c.AuthoritySource == nil {
		return nil, nil, errForbidden.because("role")
	}
	if err := a.admissible(q, r.at); err != nil {
		return nil, nil, err
	}
	if _, err := derive(q.Intent, q.Proposal, c.ceiling); err != nil {
		return nil, nil, err
	}
	approver, ok := f.person(*c.Subject)
	if !ok || !approver.mayApprove(*c.Subject) {
		return nil, nil, errForbidden.because("no_approver")
	}
	if err := belowPending(r, c.ClientID, approver.ID); err != nil {
		return nil, nil, err
	}
	b, err := a.newSubmission(r, c, q, f, approver)
	if err != nil {
		return nil, nil, err
	}
	change, err := a.enqueue(ctx, b)
	if err != nil {
		return nil, nil, err
	}
	answer, err := mission.Marshal(submissionAnswer{
		SubmissionID: b.SubmissionID,
		Status:       submissionPending,
		ExpiresAt:    b.ExpiresAt,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("authority: submission: %w", err)
	}
	change.Expect = append(change.Expect,
		ledger.Version(principalsRow, f.row),
		ledger.CountBelow(pendingRow(b.ClientID, b.Approver), maxPending))
	if q.CreationRequestID == "" {
		return answer, change, nil
	}
	stored, err := mission.ParseRaw(answer)
	if err != nil {
		return nil, nil, fmt.Errorf("authority: submission: %w", err)
	}
	row, err := put(creation, creationState{fingerprint, stored}, ledger.NotJustified)
	if err != nil {
		return nil, nil, err
	}
	change.Expect = append(change.Expect, ledger.Absent(creation))
	change.Put = append(change.Put, row)
	return answer, change, nil
}

// newSubmission writes down what was asked, and until when it may be decided.
func (a *Authority) newSubmission(r *reading, c Caller, q *mission.Submission, f *inForce, approver *Principal) (
	*submissionBody, error) {
	expires := r.at.Add(a.submissionLifetime)
	if requested := q.Intent.Requested(); requested.Before(expires) {
		expires = requested
	}
	b := &submissionBody{
		SubmissionID:    mission.NewSubmissionID(),
		Kind:            submissionMission,
		Issuer:          a.issuer,
		ApprovalEventID: mission.NewEventID(),
		ClientID:        c.ClientID,
		Client:          c.ID,
		Approver:        approver.ID,
		Subject:         *c.Subject,
		Intent:          q.Intent,
		Proposal:        q.Proposal,
		PolicyVersion:   string(f.digest),
		PolicyEntry:     f.entry,
		CreatedAt:       mission.FormatTime(r.at),
		ExpiresAt:       mission.FormatTime(expires),
	}
	var err error
	if b.IntentHash, err = q.Intent.Hash(a.issuer); err != nil {
		return nil, fmt.Errorf("authority: submission: %w", err)
	}
	if b.ProposalHash, err = mission.ProposalHash(a.issuer, q.Proposal); err != nil {
		return nil, fmt.Errorf("authority: submission: %w", err)
	}
	return b, nil
}

// admissible refuses what this authority cannot promise to hold: evidence of types it does not know, an intent that is
// over, and controls and stages that nothing here enforces.
func (a *Authority) admissible(q *mission.Submission, at time.Time) error {
	if len(q.Evidence) > 0 {
		return refusal(Invalid, mission.InvalidEvidence, "no type of evidence is supported").because("type")
	}
	if !q.Intent.Requested().After(at.Truncate(time.Second)) {
		return errIntent.because("expires_at")
	}
	if controls := q.Intent.Controls; controls != nil {
		if controls.MaxDerivations != 0 {
			return errIntent.because("max_derivations")
		}
		if controls.AgentDeployment != "" {
			return errIntent.because("agent_deployment")
		}
	}
	if q.Proposal == nil {
		return errAuthority.because("authorization_details")
	}
	return nil
}

// The refusals of a submission.
var (
	errIntent    = refusal(Invalid, mission.InvalidIntent, "the intent is not acceptable")
	errAuthority = refusal(Invalid, mission.InvalidAuthority, "no authority can be derived from the proposal")
)

// derive narrows a proposal to a ceiling. Stages are refused: nothing here opens one.
func derive(intent *mission.Intent, proposal, ceiling []mission.Entry) ([]mission.Entry, error) {
	set, err := mission.Derive(intent, proposal, ceiling)
	if err != nil {
		return nil, submissionError(err)
	}
	for _, e := range set {
		if len(e.Gates) > 0 {
			return nil, errAuthority.because("gates")
		}
	}
	return set, nil
}

// submissionError spells an error of package mission for the wire.
func submissionError(err error) error {
	if inv, ok := errors.AsType[*mission.Invalid](err); ok {
		switch inv.Code {
		case mission.InvalidAuthority:
			return errAuthority.because(inv.Member).wrap(err)
		case mission.InvalidEvidence:
			return refusal(Invalid, mission.InvalidEvidence, "the evidence is not acceptable").because(inv.Member).wrap(err)
		}
		return errIntent.because(inv.Member).wrap(err)
	}
	if errors.Is(err, mission.ErrNoAuthority) || errors.Is(err, mission.ErrRefuse) || errors.Is(err, mission.ErrNotSubset) {
		return errAuthority.wrap(err)
	}
	return err
}

// belowPending refuses a client that already has maxPending submissions waiting for the approver.
func belowPending(r *reading, client, approver string) error {
	n, err := counter(r, pendingRow(client, approver))
	if err != nil {
		return err
	}
	if n >= maxPending {
		e := refusal(RateLimited, "rate_limited", "too many submissions wait for their approver").because("pending")
		e.RetryAfter = time.Minute
		return e
	}
	return nil
}

// counter reads a counter row; absent is zero.
func counter(r *reading, key string) (uint64, error) {
	row, err := r.Get(key)
	if errors.Is(err, ledger.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, unavailable("reading a counter", err)
	}
	if len(row.Value) != 8 {
		return 0, unavailable("reading a counter", fmt.Errorf("counter of %d octets: %w", len(row.Value), ledger.ErrIntegrity))
	}
	return binary.BigEndian.Uint64(row.Value), nil
}

// Poll tells the submitting client where its submission stands: {submission_id, status}, and for an approved one
// mission_id, mission_expires_at and authorization_details. Errors: not_found, also for the submission of somebody
// else; unavailable.
func (a *Authority) Poll(ctx context.Context, c Caller, id string) (answer []byte, err error) {
	defer a.note(ctx, c, "poll", id, &err)
	if c, err = a.Principals().known(c); err != nil {
		return nil, err
	}
	for range attempts {
		answer, err := a.poll(c, mission.SubmissionID(id))
		if !errors.Is(err, mission.ErrDue) {
			return answer, err
		}
		if err := a.expireSubmission(ctx, mission.SubmissionID(id)); err != nil {
			return nil, err
		}
	}
	return nil, errUnavailable.because("deadlines")
}

// poll returns mission.ErrDue if the submission's end must be committed first.
func (a *Authority) poll(c Caller, id mission.SubmissionID) ([]byte, error) {
	r, err := a.read()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	s, err := a.submission(r, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, errNotFound
	}
	if err != nil {
		return nil, err
	}
	if !c.Has(RoleClient) || s.Kind == submissionCeiling || s.ClientID == "" || s.ClientID != c.ClientID {
		return nil, errNotFound
	}
	if s.outcome == nil && s.status(r.at) == submissionExpired {
		return nil, mission.ErrDue
	}
	return a.submissionAnswer(r, s)
}

// submissionAnswer is the poll body of a submission. An approval is told when it is published.
func (a *Authority) submissionAnswer(r *reading, s *submitted) ([]byte, error) {
	out := submissionAnswer{SubmissionID: s.SubmissionID, Status: s.status(r.at)}
	if out.Status == submissionApproved && !a.published(s.row) {
		out.Status, out.ExpiresAt = submissionPending, s.ExpiresAt
	} else if s.outcome != nil && s.outcome.MissionID != "" {
		rec, err := a.record(r, s.outcome.MissionID)
		if errors.Is(err, ledger.ErrNotFound) { // erased since
			return nil, errNotFound
		}
		if err != nil {
			return nil, unavailable("reading an approved mission", err)
		}
		out.MissionID, out.MissionExpiresAt, out.Authorization = rec.ID, rec.ExpiresAt, rec.AuthoritySet
	}
	b, err := mission.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("authority: submission: %w", err)
	}
	return b, nil
}
