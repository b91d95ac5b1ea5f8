package authority

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// contextLifetime is how long a rendering may be decided on.
const contextLifetime = time.Hour

// A review is everything an approver's decision rests on, computed anew for every rendering and every decision from the
// submission and the principals in force. Two computations for the same instant of rendering agree unless something
// changed, and a changed review has another context id.
type review struct {
	body       *submissionBody
	policy     *inForce
	approver   *Principal
	set        []mission.Entry // derived
	source     mission.AuthoritySource
	expires    time.Time // effective
	disclosure *mission.Disclosure
	rendering  mission.Digest // consent_rendering_hash
	contextID  string
}

// reviewAnswer is the body of GET /mas/review/{submission_id}.
type reviewAnswer struct {
	SubmissionID         mission.SubmissionID `json:"submission_id"`
	Kind                 string               `json:"kind"`
	ContextID            string               `json:"context_id"`
	Rendering            *mission.Disclosure  `json:"rendering"`
	IntentHash           mission.Digest       `json:"intent_hash"`
	AuthorityHash        mission.Digest       `json:"authority_hash"`
	ProposalHash         mission.Digest       `json:"proposal_hash,omitempty"`
	ConsentRenderingHash mission.Digest       `json:"consent_rendering_hash"`
	PolicyVersion        string               `json:"policy_version"`
	EffectiveExpiresAt   string               `json:"effective_expires_at"`
	ExpiresAt            string               `json:"expires_at"`
}

// Review renders a pending submission for its approver: the Consent Disclosure, the anchors, and the context id that a
// decision must quote. Errors: not_found, also for a submission somebody else decides; already_decided,
// submission_expired; invalid_authority if nothing can be derived any more; unavailable.
func (a *Authority) Review(ctx context.Context, c Caller, id string) (answer []byte, err error) {
	defer a.note(ctx, c, "review", id, &err)
	if c, err = a.Principals().known(c); err != nil {
		return nil, err
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
	if err := s.pending(r); err != nil {
		return nil, err
	}
	v, err := a.review(r, s, c, r.at.Truncate(time.Second))
	if err != nil {
		return nil, err
	}
	answer, err = mission.Marshal(reviewAnswer{
		SubmissionID:         s.SubmissionID,
		Kind:                 s.Kind,
		ContextID:            v.contextID,
		Rendering:            v.disclosure,
		IntentHash:           v.disclosure.SourceHashes.IntentHash,
		AuthorityHash:        v.disclosure.SourceHashes.AuthorityHash,
		ProposalHash:         v.disclosure.SourceHashes.ProposalHash,
		ConsentRenderingHash: v.rendering,
		PolicyVersion:        string(v.policy.digest),
		EffectiveExpiresAt:   mission.FormatTime(v.expires),
		ExpiresAt:            s.ExpiresAt,
	})
	if err != nil {
		return nil, fmt.Errorf("authority: review: %w", err)
	}
	return answer, nil
}

// reviewable finds a submission that the caller decides. Unknown and not visible are one error.
func (a *Authority) reviewable(r *reading, c Caller, id mission.SubmissionID) (*submitted, error) {
	s, err := a.submission(r, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, errNotFound
	}
	if err != nil {
		return nil, err
	}
	if !c.Has(RoleApprover) || c.Kind != KindHuman || s.Approver != c.ID {
		return nil, errNotFound
	}
	return s, nil
}

// pending refuses what is decided or too late.
func (s *submitted) pending(r *reading) error {
	switch {
	case s.outcome != nil && s.outcome.Status != submissionExpired:
		return refusal(Conflict, "already_decided", "the submission was decided")
	case s.status(r.at) == submissionExpired:
		return refusal(Conflict, "submission_expired", "the submission was not decided in time")
	}
	return nil
}

// review computes what the caller decides, as rendered at an instant of whole seconds: steps 2 to 6 of the approval
// event (core 5.1).
func (a *Authority) review(r *reading, s *submitted, c Caller, rendered time.Time) (*review, error) {
	b, err := s.body(r)
	if err != nil {
		return nil, err
	}
	f := a.inForce.Load()
	if c, err = f.known(c); err != nil { // step 1 was made with an older version
		return nil, err
	}
	v := &review{body: b, policy: f, approver: c.Principal}
	if !c.mayApprove(b.Subject) { // step 2
		return nil, errForbidden.because("approver_not_subject")
	}
	ceiling := b.Proposal
	if s.Kind == submissionMission { // step 3
		client, ok := f.ByClient(b.ClientID)
		if !ok || client.ID != b.Client || !client.Has(RoleClient) {
			return nil, errForbidden.because("client")
		}
		if client.Subject == nil || *client.Subject != b.Subject || client.AuthoritySource == nil {
			return nil, errForbidden.because("authority_source")
		}
		ceiling, v.source.Type = client.ceiling, client.AuthoritySource.Type
	} else {
		v.source.Type = mission.SourceUserDelegated
	}
	if v.set, err = derive(b.Intent, b.Proposal, ceiling); err != nil {
		return nil, err
	}
	v.expires = rendered.Add(a.maxLifetime) // step 4
	if requested := b.Intent.Requested(); requested.Before(v.expires) {
		v.expires = requested.Truncate(time.Second)
	}
	if !v.expires.After(r.at) {
		return nil, refusal(Conflict, "submission_expired", "the mission would be over").because("expires_at")
	}
	if err := a.render(v, rendered); err != nil { // steps 5 and 6
		return nil, err
	}
	v.contextID, err = a.contextOf(v, s, rendered)
	return v, err
}

// render builds the disclosure and the anchors of a review.
func (a *Authority) render(v *review, rendered time.Time) error {
	b := v.body
	party := mission.Party{Iss: b.Subject.Iss, Sub: b.Subject.Sub, Display: v.approver.ID}
	var err error
	v.disclosure, v.rendering, err = mission.NewDisclosure(mission.DisclosureInput{
		ID:            disclosureID(b.ApprovalEventID, rendered),
		Issuer:        a.issuer,
		Intent:        b.Intent,
		Proposal:      b.Proposal,
		Set:           v.set,
		ExpiresAt:     mission.FormatTime(v.expires),
		Subject:       party,
		Approver:      party,
		Client:        mission.RequestingClient{ClientID: b.ClientID, Display: b.Client},
		Source:        v.source,
		PolicyVersion: string(v.policy.digest),
		Notices:       notices(b.Intent, v.set),
		Channel:       "review-api",
		RenderedAt:    mission.FormatTime(rendered),
	})
	if err != nil {
		return fmt.Errorf("authority: rendering: %w", err)
	}
	if err := v.disclosure.Covers(v.set); err != nil {
		return fmt.Errorf("authority: rendering: %w", err)
	}
	if v.disclosure.SourceHashes.IntentHash != b.IntentHash {
		return unavailable("rendering", fmt.Errorf("intent of another submission: %w", ledger.ErrIntegrity))
	}
	return nil
}

// disclosureID names the rendering of one event at one second.
func disclosureID(event mission.EventID, rendered time.Time) string {
	sum := sha256.Sum256([]byte(string(event) + " " + mission.FormatTime(rendered)))
	return "dsc_" + base64.RawURLEncoding.EncodeToString(sum[:24])
}

// notices points out what this issuer will not hold for the approver.
func notices(intent *mission.Intent, set []mission.Entry) []mission.Notice {
	var all []mission.Notice
	for _, text := range append([]string{intent.Goal}, append(intent.Constraints, intent.SuccessCriteria...)...) {
		if mixedScripts(text) {
			all = append(all, mission.Notice{
				Condition: "client_text_mixes_scripts",
				AppliesTo: mission.AppliesTo{Resource: set[0].Resource},
				Statement: "The client's text mixes alphabets whose letters look alike. Read it with care.",
			})
			break
		}
	}
	for _, e := range set {
		if e.Constraints != nil && e.Constraints.TerminalWhen != nil {
			all = append(all, mission.Notice{
				Condition: "terminal_when_not_observed",
				AppliesTo: mission.AppliesTo{Resource: e.Resource},
				Statement: "This issuer receives no reports of the events that are to end this entry.",
			})
		}
	}
	return all
}

// mixedScripts reports whether a word of text has letters of more than one of the scripts whose letters look alike.
func mixedScripts(text string) bool {
	scripts := []*unicode.RangeTable{unicode.Latin, unicode.Cyrillic, unicode.Greek}
	for word := range strings.FieldsSeq(text) {
		seen := 0
		for _, script := range scripts {
			if strings.ContainsFunc(word, func(r rune) bool { return unicode.Is(script, r) }) {
				seen++
			}
		}
		if seen > 1 {
			return true
		}
	}
	return false
}

// contextFacts is everything a decision is bound to beside the instant of rendering.
type contextFacts struct {
	Submission mission.Digest       `json:"submission"` // evidence body
	Approver   string               `json:"approver"`
	Policy     mission.Digest       `json:"policy"`
	Entry      string               `json:"entry"`
	Anchors    mission.SourceHashes `json:"anchors"`
	Rendering  mission.Digest       `json:"rendering"`
	Expires    string               `json:"expires"`
	Source     string               `json:"source"`
}

const contextPrefix = "ctx_"

// contextOf makes the id of a review: the instant of rendering, and a MAC over it and everything the decision is bound
// to, under a key that does not outlive the process. Nothing is stored: to decide is to compute the review again and to
// compare.
func (a *Authority) contextOf(v *review, s *submitted, rendered time.Time) (string, error) {
	facts, err := mission.Marshal(contextFacts{
		Submission: s.Body,
		Approver:   v.approver.ID,
		Policy:     v.policy.digest,
		Entry:      v.policy.entry,
		Anchors:    v.disclosure.SourceHashes,
		Rendering:  v.rendering,
		Expires:    mission.FormatTime(v.expires),
		Source:     v.source.Type,
	})
	if err != nil {
		return "", fmt.Errorf("authority: review context: %w", err)
	}
	instant := binary.BigEndian.AppendUint64(nil, uint64(rendered.Unix()))
	mac := hmac.New(sha256.New, a.contextKey[:])
	mac.Write(instant)
	mac.Write(facts)
	return contextPrefix + base64.RawURLEncoding.EncodeToString(mac.Sum(instant)), nil
}

// renderedAt reads the instant out of a context id. It is believed only once the whole id was computed again.
func renderedAt(contextID string) (time.Time, bool) {
	text, ok := strings.CutPrefix(contextID, contextPrefix)
	if !ok {
		return time.Time{}, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != 8+sha256.Size {
		return time.Time{}, false
	}
	return time.Unix(int64(binary.BigEndian.Uint64(raw)), 0).UTC(), true
}

// A queued is one element of an approver's queue.
type queued struct {
	SubmissionID mission.SubmissionID `json:"submission_id"`
	Kind         string               `json:"kind"`
	ClientID     string               `json:"client_id,omitempty"`
	IntentHash   mission.Digest       `json:"intent_hash"`
	CreatedAt    string               `json:"created_at"`
	ExpiresAt    string               `json:"expires_at"`
}

// maxQueue bounds the answer to one look at the queue.
const maxQueue = 100

// Queue lists what waits for the caller's decision, oldest first, at most maxQueue: {submissions: [...]}. For callers
// who approve nothing it is empty.
func (a *Authority) Queue(ctx context.Context, c Caller) (answer []byte, err error) {
	defer a.note(ctx, c, "queue", "", &err)
	if c, err = a.Principals().known(c); err != nil {
		return nil, err
	}
	if !c.Has(RoleApprover) {
		return nil, errForbidden.because("role")
	}
	r, err := a.read()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	out := struct {
		Submissions []queued `json:"submissions"`
	}{[]queued{}}
	// Nothing older than a submission's life can still wait.
	prefix := join("queue", c.ID) + "/"
	after := prefix + sortable(r.at.Add(-maxSubmissionLifetime-time.Minute))
	for row, err := range r.List(prefix, after) {
		if err != nil {
			return nil, unavailable("listing a queue", err)
		}
		if len(row.Value) == 0 {
			continue
		}
		s, err := a.submission(r, mission.SubmissionID(row.Key[strings.LastIndexByte(row.Key, '/')+1:]))
		if err != nil {
			return nil, unavailable("listing a queue", err)
		}
		if s.status(r.at) != submissionPending {
			continue
		}
		out.Submissions = append(out.Submissions, queued{
			SubmissionID: s.SubmissionID,
			Kind:         s.Kind,
			ClientID:     s.ClientID,
			IntentHash:   s.IntentHash,
			CreatedAt:    s.CreatedAt,
			ExpiresAt:    s.ExpiresAt,
		})
		if len(out.Submissions) == maxQueue {
			break
		}
	}
	if answer, err = mission.Marshal(out); err != nil {
		return nil, fmt.Errorf("authority: queue: %w", err)
	}
	return answer, nil
}
