package evidence

import "github.com/mission-authority/mas/mission"

// A Child is child evidence: that a mission was, or was not, created under another. It belongs to the parent's feed.
type Child struct {
	EvidenceID string     `json:"evidence_id"`
	Parent     MissionRef `json:"parent"`
	Child      struct {
		ID            mission.ID     `json:"id,omitempty"`
		Issuer        string         `json:"issuer"`
		AuthorityHash mission.Digest `json:"authority_hash,omitempty"`
	} `json:"child"`
	Actor        mission.Raw `json:"child_actor"`
	Attenuation  mission.Raw `json:"attenuation"`
	Fanout       mission.Raw `json:"fanout,omitempty"`
	CascadeMode  string      `json:"cascade_mode"`
	Decision     string      `json:"decision"`
	DenialReason string      `json:"denial_reason,omitempty"`
	CreatedAt    string      `json:"created_at"`

	Rest map[string]mission.Raw `json:",rest"`
}

// Decisions of Child.
const (
	Created = "created"
	Denied  = "denied"
)

// Validate checks the rules between members. Decode calls it.
func (c Child) Validate() error {
	return all(randomID(c.EvidenceID, "evidence_id"), oneOf(c.Decision, "decision", Created, Denied),
		must((c.Decision == Created) == (c.Child.ID != "" && c.Child.AuthorityHash != ""),
			"a child that was created has an id and an authority_hash, one that was denied has none"),
		must((c.Decision == Denied) == (c.DenialReason != ""), "denial_reason goes with denied"),
		must(c.Child.Issuer == c.Parent.Issuer, "parent and child have one issuer"),
		must(isObject(c.Actor) && isObject(c.Attenuation), "child_actor or attenuation is not an object"),
		objects("fanout", c.Fanout), text(c.CascadeMode, "cascade_mode"), at(c.CreatedAt, "created_at"),
		extensions(c.Rest))
}

func (c *Child) describe(f *Facts) { f.ID, f.At, f.Mission = c.EvidenceID, c.CreatedAt, c.Parent }

// Discovery is the evidence of one adjudication of an encountered resource.
type Discovery struct {
	EncounterID string         `json:"encounter_id"`
	Mission     MissionRef     `json:"mission"`
	Outcome     string         `json:"outcome"`
	Resource    mission.Raw    `json:"resource"`
	Declaration mission.Digest `json:"resource_declaration_digest,omitempty"`
	Classes     []string       `json:"sought_classes"`
	Ceiling     mission.Digest `json:"ceiling_entry_digest,omitempty"`
	Actor       string         `json:"actor"`
	Tainted     bool           `json:"tainted"`
	Adjudicated string         `json:"adjudicated_at"`
	Envelope    *Envelope      `json:"evidence_envelope,omitempty"`

	Rest map[string]mission.Raw `json:",rest"`
}

// Validate checks values. Decode calls it.
func (d Discovery) Validate() error {
	return all(randomID(d.EncounterID, "encounter_id"),
		oneOf(d.Outcome, "outcome", "bound", "routed_to_approval", "refused"),
		must(isObject(d.Resource), "resource is not an object"), noParameters(d.Resource),
		must(d.Ceiling == "" || d.Outcome == "bound", "ceiling_entry_digest goes with bound"),
		must(len(d.Classes) <= maxMembers, "sought_classes"), text(d.Actor, "actor"), at(d.Adjudicated, "adjudicated_at"),
		extensions(d.Rest))
}

func (d *Discovery) describe(f *Facts) {
	f.ID, f.At, f.Mission = d.EncounterID, d.Adjudicated, d.Mission
}

var (
	harnessEvents = []string{"resume_allowed", "resume_suppressed", "queue_suppressed", "cache_disabled",
		"subagent_stopped", "subagent_continued", "human_review_completed", "egress_downgraded", "egress_refused",
		"mission_superseded", "mission_state_stale"}
	harnessStates = []string{"active", "suspended", "revoked", "expired", "completed", "superseded", "cascaded", "unknown"}
)

// A HarnessEvent is harness evidence: a decision of an execution environment to go on with work or not. The draft gives
// it neither emitter nor salt: the id must be random, or mas_salt be there (audit digest C5).
type HarnessEvent struct {
	EventID     string         `json:"event_id"`
	EventType   string         `json:"event_type"`
	Mission     MissionRef     `json:"mission"`
	SessionID   string         `json:"session_id,omitempty"`
	WorkItem    string         `json:"work_item,omitempty"`
	Actor       mission.Raw    `json:"actor,omitempty"`
	State       string         `json:"state"`
	Prior       string         `json:"prior_harness_state,omitempty"`
	Resulting   string         `json:"resulting_harness_state,omitempty"`
	StateSource string         `json:"state_source"`
	Freshness   mission.Raw    `json:"freshness,omitempty"`
	Decision    string         `json:"decision"`
	Reason      string         `json:"reason"`
	Review      mission.Raw    `json:"review,omitempty"`
	Termination string         `json:"termination_outcome,omitempty"`
	Taint       mission.Raw    `json:"taint,omitempty"`
	Egress      mission.Raw    `json:"egress,omitempty"`
	Statement   mission.Digest `json:"scope_statement_digest,omitempty"`
	OccurredAt  string         `json:"occurred_at"`
	Salt        string         `json:"mas_salt,omitempty"`

	Rest map[string]mission.Raw `json:",rest"`
}

// Validate checks the rules between members. Decode calls it.
func (h HarnessEvent) Validate() error {
	return all(text(h.EventID, "event_id"), oneOf(h.EventType, "event_type", harnessEvents...),
		oneOf(h.State, "state", harnessStates...), text(h.StateSource, "state_source"),
		oneOf(h.Decision, "decision", "continue", "suppress", "pause", "terminate", "handoff"), text(h.Reason, "reason"),
		must(h.Termination == "" || oneOf(h.Termination, "", "acknowledged", "timed_out", "unknown") == nil,
			"termination_outcome has an unknown value"),
		must(h.EventType != "egress_refused" || isObject(h.Egress), "egress_refused has egress"),
		objects("a member", h.Freshness, h.Review, h.Taint, h.Egress), at(h.OccurredAt, "occurred_at"),
		noParameters(h.Taint, h.Egress, h.Review), must(h.Salt == "" || isSalt(h.Salt), "mas_salt has less than 128 bits"),
		extensions(h.Rest))
}

func (h *HarnessEvent) random() bool { return isRandom(h.EventID) || h.Salt != "" }

func (h *HarnessEvent) describe(f *Facts) { f.ID, f.At, f.Mission = h.EventID, h.OccurredAt, h.Mission }

// An EgressEvent is egress evidence: that a gate let something out or refused to. The draft gives it neither id nor
// salt, so that it could be guessed: mas_evidence_id and mas_salt are required (audit digest C4).
type EgressEvent struct {
	Mission      MissionRef     `json:"mission"`
	ChannelClass string         `json:"channel_class"`
	Destination  string         `json:"destination"`
	Outcome      string         `json:"outcome"`
	Refusal      string         `json:"refusal_reason,omitempty"`
	Emitter      Emitter        `json:"emitter"`
	Statement    mission.Digest `json:"scope_statement_digest,omitempty"`
	OccurredAt   string         `json:"occurred_at"`
	EvidenceID   string         `json:"mas_evidence_id,omitempty"`
	Salt         string         `json:"mas_salt,omitempty"`

	Rest map[string]mission.Raw `json:",rest"`
}

// Validate checks the rules between members. Decode calls it.
func (e EgressEvent) Validate() error {
	return all(text(e.ChannelClass, "channel_class"), text(e.Destination, "destination"),
		oneOf(e.Outcome, "outcome", "permitted", "refused"),
		must((e.Outcome == "refused") == (e.Refusal != ""), "refusal_reason goes with refused"),
		oneOf(e.Emitter.Role, "emitter.role", Egress), at(e.OccurredAt, "occurred_at"),
		must(e.Salt == "" || isSalt(e.Salt), "mas_salt has less than 128 bits"), extensions(e.Rest))
}

func (e *EgressEvent) random() bool { return isRandom(e.EvidenceID) && e.Salt != "" }

func (e *EgressEvent) describe(f *Facts) {
	f.ID, f.Emitter, f.At, f.Mission = e.EvidenceID, e.Emitter, e.OccurredAt, e.Mission
}

// An Event is a protected event as it was reported.
type Event struct {
	Type       string `json:"type"`
	Source     string `json:"source"`
	ObservedAt string `json:"observed_at"`
	EventID    string `json:"event_id"`
}

// Validate checks values. Decode calls it.
func (e Event) Validate() error {
	return all(text(e.Type, "event.type"), text(e.Source, "event.source"), at(e.ObservedAt, "event.observed_at"),
		text(e.EventID, "event.event_id"))
}

// A Containment is containment evidence: what an event removed from a mission's effective authority.
type Containment struct {
	EvidenceID string     `json:"evidence_id"`
	Mission    MissionRef `json:"mission"`
	Event      Event      `json:"event"`
	Policy     string     `json:"policy"`
	Prior      uint64     `json:"prior_version"`
	New        uint64     `json:"new_version"`
	PriorOver  uint64     `json:"prior_containment_version"`
	NewOver    uint64     `json:"new_containment_version"`
	Removed    []struct {
		Resource string   `json:"resource"`
		Actions  []string `json:"actions,omitempty"`
	} `json:"removed"`
	CreatedAt string `json:"created_at"`

	Rest map[string]mission.Raw `json:",rest"`
}

// Validate checks the rules between members. Decode calls it.
func (c Containment) Validate() error {
	return all(randomID(c.EvidenceID, "evidence_id"), text(c.Policy, "policy"),
		must(c.Mission.AuthorityHash != "", "mission has no authority_hash"),
		must(c.New == c.Prior+1 && c.NewOver == c.PriorOver+1, "a containment is one step of both versions"),
		must(len(c.Removed) > 0, "removed is empty"), at(c.CreatedAt, "created_at"), extensions(c.Rest))
}

func (c *Containment) describe(f *Facts) {
	f.ID, f.At, f.Mission = c.EvidenceID, c.CreatedAt, c.Mission
}

// A ProtectedEvent is the receipt for a protected event, applied or rejected.
type ProtectedEvent struct {
	ReceiptID string     `json:"receipt_id"`
	Mission   MissionRef `json:"mission"`
	Event     Event      `json:"event"`
	Outcome   string     `json:"outcome"`
	Policy    string     `json:"policy,omitempty"`
	Rejection string     `json:"rejection_reason,omitempty"`
	Emitter   Emitter    `json:"emitter"`
	CreatedAt string     `json:"created_at"`

	Rest map[string]mission.Raw `json:",rest"`
}

// Validate checks the rules between members. Decode calls it.
func (p ProtectedEvent) Validate() error {
	return all(randomID(p.ReceiptID, "receipt_id"), oneOf(p.Outcome, "outcome", "applied", "rejected"),
		must((p.Outcome == "applied") == (p.Policy != ""), "policy goes with applied"),
		must((p.Outcome == "rejected") == (p.Rejection != ""), "rejection_reason goes with rejected"),
		must(p.Mission.AuthorityHash != "", "mission has no authority_hash"),
		oneOf(p.Emitter.Role, "emitter.role", Issuer), at(p.CreatedAt, "created_at"), extensions(p.Rest))
}

func (p *ProtectedEvent) describe(f *Facts) {
	f.ID, f.Emitter, f.At, f.Mission = p.ReceiptID, p.Emitter, p.CreatedAt, p.Mission
}
