package evidence

import (
	"slices"

	"github.com/mission-authority/mas/mission"
)

// Action classes. The last three are high-consequence: a permit is used once, and every permit has an outcome.
var (
	classes = []string{"consequential_read", "consequential_write", "irreversible_action", "external_commitment",
		"privileged_administration"}
	highConsequence = classes[2:]
)

// HighConsequence reports whether an action class is one in which a permit is good for one use.
func HighConsequence(class string) bool { return slices.Contains(highConsequence, class) }

// Decisions.
const (
	Permit = "permit"
	Deny   = "deny"
)

// A DecidedMission is the mission of a Decision, with the view of it that was evaluated.
type DecidedMission struct {
	ID            mission.ID     `json:"id"`
	Issuer        string         `json:"issuer"`
	AuthorityHash mission.Digest `json:"authority_hash"`
	PolicyView    string         `json:"policy_view_id"`
	IntentHash    mission.Digest `json:"intent_hash,omitempty"`
	PolicyVersion string         `json:"policy_version,omitempty"`
	Rendering     mission.Digest `json:"consent_rendering_hash,omitempty"`
}

// Conditions bound what a permit is good for.
type Conditions struct {
	ValidUntil string                 `json:"valid_until"`
	UseLimit   uint64                 `json:"use_limit,omitempty"`
	Rest       map[string]mission.Raw `json:",rest"`
}

// A Decision is decision evidence: what a PDP evaluated, not that anything happened.
type Decision struct {
	EvidenceID        string         `json:"evidence_id"`
	EvaluationID      string         `json:"evaluation_id"`
	Mission           DecidedMission `json:"mission"`
	Subject           mission.Raw    `json:"subject"`
	Resource          mission.Raw    `json:"resource"`
	Action            Action         `json:"action"`
	Audience          string         `json:"audience"`
	StateVersion      *uint64        `json:"mission_state_version,omitempty"`
	ActionClass       string         `json:"action_class"`
	ClassSource       string         `json:"class_source"`
	Actor             mission.Raw    `json:"actor,omitempty"`
	Credential        mission.Raw    `json:"credential,omitempty"`
	ParameterDigest   mission.Digest `json:"parameter_digest,omitempty"`
	RequestDigest     mission.Digest `json:"evaluation_request_digest,omitempty"`
	Obligations       []mission.Raw  `json:"obligations,omitempty"`
	Conditions        *Conditions    `json:"conditions,omitempty"`
	Compensates       string         `json:"compensates_evaluation_id,omitempty"`
	Decision          string         `json:"decision"`
	Constraints       []string       `json:"contributing_constraints,omitempty"`
	Sequence          uint64         `json:"sequence"`
	Emitter           Emitter        `json:"emitter"`
	DenialReason      string         `json:"denial_reason,omitempty"`
	EvaluatedAt       string         `json:"evaluated_at"`
	AuthorizingEntry  mission.Raw    `json:"authorizing_entry,omitempty"`
	EntryDigest       mission.Digest `json:"entry_digest,omitempty"`
	Envelope          Envelope       `json:"evidence_envelope"`
	Taint             mission.Raw    `json:"taint,omitempty"`
	MissionHistory    []mission.Raw  `json:"mission_history,omitempty"`
	CapabilitySource  mission.Raw    `json:"capability_source,omitempty"`
	HopReference      mission.Raw    `json:"hop_reference,omitempty"`
	PrincipalMapping  mission.Raw    `json:"principal_mapping,omitempty"`
	Metering          []mission.Raw  `json:"metering,omitempty"`
	PriorEvaluationID string         `json:"prior_evaluation_id,omitempty"`

	Rest map[string]mission.Raw `json:",rest"`
}

// Validate checks the rules between members. Decode calls it.
func (d Decision) Validate() error {
	err := all(
		randomID(d.EvidenceID, "evidence_id"), randomID(d.EvaluationID, "evaluation_id"),
		mission.CheckIssuer(d.Mission.Issuer), text(d.Mission.PolicyView, "policy_view_id"), text(d.Audience, "audience"),
		oneOf(d.ActionClass, "action_class", classes...),
		oneOf(d.ClassSource, "class_source", "default", "resource_floor", "deployment"),
		oneOf(d.Decision, "decision", Permit, Deny), oneOf(d.Emitter.Role, "emitter.role", PDP),
		at(d.EvaluatedAt, "evaluated_at"),
		must((d.ParameterDigest == "") != (d.RequestDigest == ""),
			"one of parameter_digest and evaluation_request_digest, not both"),
		must(isObject(d.Subject) && isObject(d.Resource), "subject or resource is not an object"),
		objects("a member", d.Actor, d.Credential, d.AuthorizingEntry, d.Taint, d.CapabilitySource, d.HopReference,
			d.PrincipalMapping),
		noParameters(d.Subject, d.Resource, d.Actor, d.Credential, d.Taint, d.CapabilitySource),
		noParameters(d.Obligations...), extensions(d.Rest))
	if err != nil {
		return err
	}
	if d.Decision == Deny {
		return all(text(d.DenialReason, "denial_reason"), must(d.Conditions == nil, "a denial has no conditions"))
	}
	c := d.Conditions
	return all(
		must(d.DenialReason == "", "a permit has no denial_reason"),
		must(c != nil, "a permit has conditions"),
		must(!d.AuthorizingEntry.IsZero() || d.EntryDigest != "", "a permit names the authorizing entry"),
		must(c == nil || !HighConsequence(d.ActionClass) || c.UseLimit == 1, "a high-consequence permit has use_limit 1"),
		must(c == nil || at(c.ValidUntil, "") == nil, "conditions.valid_until is not a date-time"),
		must(c == nil || extensions(c.Rest) == nil, "conditions have an uncoordinated member"))
}

func (d *Decision) describe(f *Facts) {
	f.ID, f.Emitter, f.At, f.Sequence = d.EvidenceID, d.Emitter, d.EvaluatedAt, &d.Sequence
	f.Mission = MissionRef{d.Mission.ID, d.Mission.Issuer, d.Mission.AuthorityHash}
}

// Outcomes of a permitted action.
const (
	Completed  = "completed"
	Failed     = "failed"
	Suppressed = "suppressed"
)

var executionErrors = []string{"parameter_mismatch", "permit_expired", "permit_consumed", "obligation_unfulfilled",
	"kill_switch"}

// An ObligationOutcome says what became of one obligation of a decision.
type ObligationOutcome struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Outcome string `json:"outcome"`
	Error   string `json:"error,omitempty"`
}

// Validate checks the outcome. Decode calls it.
func (o ObligationOutcome) Validate() error {
	return all(text(o.ID, "obligation id"), oneOf(o.Outcome, "obligation outcome", "fulfilled", "failed", "unsupported"))
}

// An Execution is execution evidence: the one final outcome of a permit.
type Execution struct {
	ExecutionID  string              `json:"execution_id"`
	EvaluationID string              `json:"evaluation_id"`
	MissionID    mission.ID          `json:"mission_id"`
	Audience     string              `json:"audience"`
	Authorized   mission.Digest      `json:"authorized_parameter_digest,omitempty"`
	Effective    mission.Digest      `json:"effective_parameter_digest,omitempty"`
	Outcome      string              `json:"outcome"`
	OutcomeAt    string              `json:"outcome_at"`
	Error        string              `json:"error,omitempty"`
	Obligations  []ObligationOutcome `json:"obligation_outcomes,omitempty"`
	Sequence     uint64              `json:"sequence"`
	Emitter      Emitter             `json:"emitter"`
	HopReference mission.Raw         `json:"hop_reference,omitempty"`
	AttemptedAt  string              `json:"attempted_at,omitempty"`
	CompletedAt  string              `json:"completed_at,omitempty"`
	Result       map[string]any      `json:"result_summary,omitempty"`
	Duration     mission.Raw         `json:"measured_duration,omitempty"`
	Metering     []mission.Raw       `json:"metering,omitempty"`
	Envelope     Envelope            `json:"evidence_envelope"`

	Rest map[string]mission.Raw `json:",rest"`
}

// Validate checks the rules between members. A parameter deviation is evidence, not an error: see Unauthorized.
func (e Execution) Validate() error {
	err := all(
		randomID(e.ExecutionID, "execution_id"), randomID(e.EvaluationID, "evaluation_id"), text(e.Audience, "audience"),
		oneOf(e.Outcome, "outcome", Completed, Failed, Suppressed), oneOf(e.Emitter.Role, "emitter.role", PEP, Executor),
		at(e.OutcomeAt, "outcome_at"),
		must(e.AttemptedAt == "" || at(e.AttemptedAt, "") == nil, "attempted_at is not a date-time"),
		must(e.CompletedAt == "" || at(e.CompletedAt, "") == nil, "completed_at is not a date-time"),
		must((e.Authorized == "") == (e.Effective == ""), "authorized and effective digest come together"),
		must((e.Error == "") == (e.Outcome == Completed), "error goes with an outcome that is not completed"),
		must(e.Outcome != Suppressed || e.Authorized == e.Effective || e.Error == "parameter_mismatch",
			"a suppressed deviation has the error parameter_mismatch"),
		objects("hop_reference", e.HopReference), extensions(e.Rest))
	if err != nil {
		return err
	}
	if e.Error != "" && !slices.Contains(executionErrors, e.Error) && !collisionResistant(e.Error) {
		return violation("error has an uncoordinated value")
	}
	for _, v := range e.Result { // counts and names, never content
		switch v := v.(type) {
		case float64, bool:
		case string:
			if len(v) > 64 {
				return violation("result_summary holds content")
			}
		default:
			return violation("result_summary holds content")
		}
	}
	return nil
}

// Unauthorized reports whether something was executed, or tried, with other parameters than the permit was for.
func (e *Execution) Unauthorized() bool {
	return e.Authorized != e.Effective && e.Outcome != Suppressed
}

func (e *Execution) describe(f *Facts) {
	f.ID, f.Emitter, f.At, f.Sequence = e.ExecutionID, e.Emitter, e.OutcomeAt, &e.Sequence
	f.Mission = MissionRef{ID: e.MissionID}
}

// MissionContextMissing is the one reason for which a PDP refuses before deciding.
const MissionContextMissing = "mission_context_missing"

var pepRefusals = []string{"token_invalid", "mission_claim_missing", "mission_reference_conflict", "channel_failure",
	"pdp_unreachable", "state_unavailable"}

// A Refusal is a refusal record: that an attempt was refused before any decision. One record per attempt.
type Refusal struct {
	RefusalID        string         `json:"refusal_id"`
	Audience         string         `json:"audience"`
	Action           Action         `json:"action"`
	Resource         mission.Raw    `json:"resource,omitempty"`
	Decision         string         `json:"decision"`
	DenialReason     string         `json:"denial_reason"`
	EvaluatedAt      string         `json:"evaluated_at"`
	ParameterDigest  mission.Digest `json:"parameter_digest,omitempty"`
	RequestDigest    mission.Digest `json:"evaluation_request_digest,omitempty"`
	Mission          *MissionRef    `json:"mission,omitempty"`
	Subject          mission.Raw    `json:"subject,omitempty"`
	Actor            mission.Raw    `json:"actor,omitempty"`
	Credential       mission.Raw    `json:"credential,omitempty"`
	Sequence         *uint64        `json:"sequence,omitempty"`
	Emitter          Emitter        `json:"emitter"`
	HopReference     mission.Raw    `json:"hop_reference,omitempty"`
	PrincipalMapping mission.Raw    `json:"principal_mapping,omitempty"`
	Envelope         Envelope       `json:"evidence_envelope"`

	Rest map[string]mission.Raw `json:",rest"`
}

// Validate checks the rules between members. Decode calls it.
func (r Refusal) Validate() error {
	reasons := pepRefusals
	if r.Emitter.Role == PDP {
		reasons = []string{MissionContextMissing}
	}
	return all(
		randomID(r.RefusalID, "refusal_id"), text(r.Audience, "audience"),
		oneOf(r.Decision, "decision", Deny), oneOf(r.Emitter.Role, "emitter.role", PEP, PDP),
		oneOf(r.DenialReason, "denial_reason", reasons...), at(r.EvaluatedAt, "evaluated_at"),
		must((r.ParameterDigest == "") != (r.RequestDigest == ""),
			"one of parameter_digest and evaluation_request_digest, not both"),
		must((r.Mission == nil) == (r.Sequence == nil), "sequence goes with a verified mission"),
		objects("a member", r.Resource, r.Subject, r.Actor, r.Credential, r.HopReference, r.PrincipalMapping),
		noParameters(r.Resource, r.Subject, r.Actor, r.Credential), extensions(r.Rest))
}

func (r *Refusal) describe(f *Facts) {
	f.ID, f.Emitter, f.At, f.Sequence = r.RefusalID, r.Emitter, r.EvaluatedAt, r.Sequence
	if r.Mission != nil {
		f.Mission = *r.Mission
	}
}
