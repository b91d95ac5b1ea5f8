package evidence

import (
	"slices"

	"github.com/mission-authority/mas/mission"
)

// approvalRecord is the mission record at creation: state excluded, every other recorded member included.
type approvalRecord struct{ value *mission.Record }

func (a *approvalRecord) describe(f *Facts) {
	r := a.value
	f.Record = r
	f.ID, f.At = string(r.ApprovalEventID), r.CreatedAt
	f.Mission = MissionRef{r.ID, r.Issuer, r.AuthorityHash}
}

func decodeApproval(body []byte) (record, error) {
	r, err := mission.ParseRecord(body)
	if err != nil {
		return nil, err
	}
	return &approvalRecord{value: r}, nil
}

var states = []mission.State{mission.Active, mission.Suspended, mission.Revoked, mission.Expired, mission.Completed,
	mission.Superseded, mission.Cascaded}

// transition holds the members of the draft.
type transition struct {
	MissionID      mission.ID    `json:"mission_id"`
	Issuer         string        `json:"issuer"`
	State          mission.State `json:"state"`
	PriorState     mission.State `json:"prior_state,omitempty"`
	TransitionedAt string        `json:"transitioned_at"`
	Salt           string        `json:"salt"`
}

// A Transition is a lifecycle transition object: the members of the draft, and those with which this service makes it
// complete (mission.TransitionRecord), which are then checked by its rules.
type Transition struct {
	transition

	Full *mission.TransitionRecord // nil if the object has only the draft's members
}

func decodeTransition(body []byte) (record, error) {
	var members map[string]mission.Raw
	if err := mission.Decode(body, &members); err != nil {
		return nil, err
	}
	t := &Transition{}
	if _, ours := members["version"]; ours {
		full, err := mission.ParseTransitionRecord(body)
		if err != nil {
			return nil, err
		}
		t.Full = full
		t.transition = transition{full.MissionID, full.Issuer, full.State, full.PriorState, full.TransitionedAt, full.Salt}
	} else if err := mission.Decode(body, &t.transition); err != nil {
		return nil, err
	}
	return t, all(mission.CheckIssuer(t.Issuer), must(slices.Contains(states, t.State), "state has an unknown value"),
		must(t.PriorState == "" || slices.Contains(states, t.PriorState), "prior_state has an unknown value"),
		at(t.TransitionedAt, "transitioned_at"), saltOf(t.Salt))
}

func (t *Transition) describe(f *Facts) {
	f.At, f.Mission = t.TransitionedAt, MissionRef{ID: t.MissionID, Issuer: t.Issuer}
}

// Kinds of Derivation.TokenDigest.
const (
	TokenJWS = "jws" // of the compact serialization
	TokenJTI = "jti" // of the token's id
)

// A Derivation is a derivation record: that a credential was made under a mission.
type Derivation struct {
	MissionID mission.ID     `json:"mission_id"`
	Issuer    string         `json:"issuer"`
	Token     mission.Digest `json:"token_digest"`
	TokenKind string         `json:"token_digest_kind"`
	Aud       string         `json:"aud"`
	Entries   mission.Digest `json:"entries_digest"`
	IssuedAt  string         `json:"issued_at"`
	Actor     mission.Raw    `json:"actor,omitempty"`
	Mapping   mission.Raw    `json:"principal_mapping,omitempty"`

	Rest map[string]mission.Raw `json:",rest"`
}

// Validate checks values. Decode calls it.
func (d Derivation) Validate() error {
	return all(mission.CheckIssuer(d.Issuer), oneOf(d.TokenKind, "token_digest_kind", TokenJWS, TokenJTI),
		text(d.Aud, "aud"), at(d.IssuedAt, "issued_at"), extensions(d.Rest))
}

// EntriesDigest is the commitment to derived entries under their issuer.
func EntriesDigest(issuer string, entries []mission.Entry) (mission.Digest, error) {
	return mission.Envelope(mission.TypDerivationEntries, issuer, entries)
}

func (d *Derivation) describe(f *Facts) {
	f.At, f.Mission = d.IssuedAt, MissionRef{ID: d.MissionID, Issuer: d.Issuer}
}

// Decisions of Consent.
const (
	Approved = "approved"
	Declined = "declined"
	Narrowed = "narrowed"
)

// Consent is consent evidence: that a person was shown a disclosure and decided. Members that no rule here needs are
// left alone.
type Consent struct {
	EvidenceID string `json:"evidence_id"`
	Mission    struct {
		ID            mission.ID     `json:"id,omitempty"`
		Issuer        string         `json:"issuer"`
		IntentHash    mission.Digest `json:"intent_hash"`
		AuthorityHash mission.Digest `json:"authority_hash"`
		ProposalHash  mission.Digest `json:"proposal_hash,omitempty"`
		Rendering     mission.Digest `json:"consent_rendering_hash,omitempty"`
	} `json:"mission"`
	Approver          mission.Principal `json:"approver"`
	Decision          string            `json:"decision"`
	ApprovedAt        string            `json:"approved_at,omitempty"`
	DeclinedAt        string            `json:"declined_at,omitempty"`
	NarrowedAt        string            `json:"narrowed_at,omitempty"`
	Disclosure        mission.Raw       `json:"disclosure"`
	Sequence          uint64            `json:"sequence"`
	RefusedDimensions mission.Raw       `json:"refused_dimensions,omitempty"`
	Governance        mission.Digest    `json:"approval_governance_digest,omitempty"`
	ApprovalEventID   string            `json:"approval_event_id,omitempty"`
}

func decodeConsent(body []byte) (record, error) {
	c := &Consent{}
	if err := mission.DecodeOpen(body, c); err != nil {
		return nil, err
	}
	when := map[string]string{Approved: c.ApprovedAt, Declined: c.DeclinedAt, Narrowed: c.NarrowedAt}
	stamp, known := when[c.Decision]
	delete(when, c.Decision)
	for _, other := range when {
		if other != "" {
			return nil, violation("a time of another decision")
		}
	}
	return c, all(
		randomID(c.EvidenceID, "evidence_id"), mission.CheckIssuer(c.Mission.Issuer),
		must(known, "decision has an unknown value"), at(stamp, "the decision's time"),
		must(c.Decision == Approved || c.Mission.ID == "", "what was not approved has no mission id"),
		must(c.Mission.ID != "" || c.ApprovalEventID != "" || c.Decision != Approved, "an approval names what it created"),
		must((c.Decision == Narrowed) == isObject(c.RefusedDimensions), "refused_dimensions go with narrowed"),
		must(isObject(c.Disclosure), "disclosure is not an object"))
}

func (c *Consent) describe(f *Facts) {
	f.ID, f.At = c.EvidenceID, max(c.ApprovedAt, c.DeclinedAt, c.NarrowedAt)
	f.Mission = MissionRef{c.Mission.ID, c.Mission.Issuer, c.Mission.AuthorityHash}
}

func (c *Consent) approval() string { return c.ApprovalEventID }

// Governance is an approval governance record: how several assertions led to one approval.
type Governance struct {
	ApprovalEventID string `json:"approval_event_id"`
	Mission         struct {
		Issuer        string         `json:"issuer"`
		IntentHash    mission.Digest `json:"intent_hash"`
		AuthorityHash mission.Digest `json:"authority_hash"`
	} `json:"mission"`
	Policy struct {
		ID      string         `json:"id"`
		Version string         `json:"version"`
		Digest  mission.Digest `json:"digest"`
	} `json:"approval_policy"`
	Assertions []Assertion `json:"assertions"`
	Evaluation struct {
		Decision     string   `json:"decision"`
		EvaluatedAt  string   `json:"evaluated_at"`
		Contributing []string `json:"contributing"`
	} `json:"evaluation"`
	Envelope Envelope `json:"envelope"`
}

// An Assertion is one principal's word on an approval.
type Assertion struct {
	ID        string            `json:"assertion_id"`
	Principal mission.Principal `json:"principal"`
	Kind      string            `json:"kind"`
	Decision  string            `json:"decision"`
	DecidedAt string            `json:"decided_at"`
	Authority mission.Raw       `json:"authority"`
	Reason    string            `json:"reason,omitempty"`
}

// Validate checks values. Decode calls it.
func (a Assertion) Validate() error {
	return all(text(a.ID, "assertion_id"), oneOf(a.Kind, "kind", "human", "service", "policy"),
		oneOf(a.Decision, "decision", "approve", "deny"), at(a.DecidedAt, "decided_at"))
}

// Validate checks that the evaluation rests on assertions of the record. Decode calls it.
func (g Governance) Validate() error {
	approves := map[string]bool{}
	for _, a := range g.Assertions {
		if _, twice := approves[a.ID]; twice {
			return violation("two assertions have one id")
		}
		approves[a.ID] = a.Decision == "approve"
	}
	for _, id := range g.Evaluation.Contributing {
		if !approves[id] {
			return violation("a contributing assertion does not approve")
		}
	}
	return all(text(g.ApprovalEventID, "approval_event_id"), mission.CheckIssuer(g.Mission.Issuer),
		must(len(g.Assertions) > 0 && len(g.Assertions) <= maxMembers, "assertions"),
		must(len(g.Evaluation.Contributing) > 0, "contributing is empty"),
		oneOf(g.Evaluation.Decision, "evaluation.decision", Approved), at(g.Evaluation.EvaluatedAt, "evaluated_at"))
}

func (g *Governance) describe(f *Facts) {
	f.ID, f.At = g.ApprovalEventID, g.Evaluation.EvaluatedAt
	f.Mission = MissionRef{Issuer: g.Mission.Issuer, AuthorityHash: g.Mission.AuthorityHash}
}

func (g *Governance) approval() string { return g.ApprovalEventID }
