package mission

// A Disclosure is the Consent Disclosure: everything that was put before the approver, as data (core 5.4). One element
// of AuthoritySummary per entry of the set, in order. Text taken from a client is inert (see Inert).
type Disclosure struct {
	DisclosureID             string           `json:"disclosure_id"`
	SourceHashes             SourceHashes     `json:"source_hashes"`
	SubmissionProvenanceHash Digest           `json:"submission_provenance_hash,omitempty"`
	TemplateID               string           `json:"template_id"`
	TemplateVersion          string           `json:"template_version"`
	Locale                   string           `json:"locale"`
	MissionSummary           MissionSummary   `json:"mission_summary"`
	AuthoritySummary         []EntrySummary   `json:"authority_summary"`
	MaterialNotices          []Notice         `json:"material_notices"`
	Approver                 Party            `json:"approver"`
	Subject                  *Party           `json:"subject,omitempty"` // iff not the approver
	RequestingClient         RequestingClient `json:"requesting_client"`
	DisplayContext           DisplayContext   `json:"display_context"`
}

// SourceHashes bind the disclosure to what it discloses.
type SourceHashes struct {
	IntentHash    Digest `json:"intent_hash"`
	AuthorityHash Digest `json:"authority_hash"`
	ProposalHash  Digest `json:"proposal_hash,omitempty"`
}

// MissionSummary is the task as the client put it, with the bounds that will hold.
type MissionSummary struct {
	Goal               string           `json:"goal"`
	GoalLang           string           `json:"goal_lang,omitempty"`
	Purpose            string           `json:"purpose,omitempty"`
	Constraints        []string         `json:"constraints,omitempty"`
	SuccessCriteria    []string         `json:"success_criteria,omitempty"`
	ExpiresAt          string           `json:"expires_at"`
	RequestedExpiresAt string           `json:"requested_expires_at,omitempty"` // iff different
	SubjectDisplay     string           `json:"subject_display"`
	ApproverDisplay    string           `json:"approver_display"`
	AuthoritySource    string           `json:"authority_source"`
	Policy             *PolicyRef       `json:"policy,omitempty"`
	PolicyVersion      string           `json:"policy_version"`
	Controls           []ControlSummary `json:"controls,omitempty"`
	Narrowed           bool             `json:"narrowed"` // the set differs from what was proposed
}

// ControlSummary is one requested control and whether it is enforced here.
type ControlSummary struct {
	Control  string `json:"control"`
	Value    Raw    `json:"value"`
	Enforced bool   `json:"enforced"`
}

// EntrySummary is one entry of the set.
type EntrySummary struct {
	Resource      string              `json:"resource"`
	ResourceMatch string              `json:"resource_match,omitempty"`
	Actions       []string            `json:"actions"`
	Constraints   []ConstraintSummary `json:"constraints,omitempty"`
	Delegation    Raw                 `json:"delegation,omitempty"`
	Federation    Raw                 `json:"federation,omitempty"`
	Gates         []string            `json:"gates,omitempty"`
	Rendered      []string            `json:"rendered"` // sentences for people
}

// ConstraintSummary is one constraint with its value and a sentence.
type ConstraintSummary struct {
	Constraint string `json:"constraint"`
	Value      Raw    `json:"value"`
	Rendered   string `json:"rendered"`
}

// A Notice points out something an approver must not overlook.
type Notice struct {
	Condition string    `json:"condition"`
	AppliesTo AppliesTo `json:"applies_to"`
	Statement string    `json:"statement"`
}

// AppliesTo names the entry a notice is about.
type AppliesTo struct {
	Resource string `json:"resource"`
	Action   string `json:"action,omitempty"`
}

// A Party is a principal with the name shown for it.
type Party struct {
	Iss     string `json:"iss"`
	Sub     string `json:"sub"`
	Display string `json:"display,omitempty"`
}

// RequestingClient is the authenticated submitter.
type RequestingClient struct {
	ClientID string `json:"client_id"`
	Display  string `json:"display,omitempty"`
}

// DisplayContext says where and when the disclosure was rendered.
type DisplayContext struct {
	Channel    string `json:"channel"`
	RenderedAt string `json:"rendered_at"`
}

// DisclosureInput is what a disclosure is built from.
type DisclosureInput struct {
	ID              string // disclosure id
	Issuer          string
	Intent          *Intent
	Proposal        []Entry // nil iff none was submitted
	Set             []Entry // derived
	ExpiresAt       string  // effective
	Subject         Party
	Approver        Party
	Client          RequestingClient
	Source          AuthoritySource
	PolicyVersion   string
	Evidence        []EvidenceRecord
	EnforcedControl func(name string) bool // nil: none is enforced
	Notices         []Notice               // of the deployment, e.g. from its consequence classes
	Locale          string                 // "" means "en"
	Channel         string
	RenderedAt      string
}

// NewDisclosure builds the disclosure and its consent_rendering_hash.
func NewDisclosure(in DisclosureInput) (*Disclosure, Digest, error) { panic("not yet") }

// Hash is the consent_rendering_hash under the issuer iss.
func (d *Disclosure) Hash(iss string) (Digest, error) { return Envelope(TypConsentDisclosure, iss, d) }

// Covers returns nil if d discloses exactly the entries of set, element for element.
func (d *Disclosure) Covers(set []Entry) error { panic("not yet") }

// Inert makes text from a client harmless to show: control, bidirectional, zero-width and other invisible characters
// are replaced by their visible code point, e.g. "<U+202E>"; line feeds are kept.
func Inert(s string) string { panic("not yet") }
