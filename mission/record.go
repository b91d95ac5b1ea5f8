package mission

// Values of ApprovalBasis.Type.
const (
	BasisDirect         = "direct"
	BasisTemplate       = "template"
	BasisPolicyDrawdown = "policy_drawdown"
)

// Values of AuthoritySource.Type.
const (
	SourceUserDelegated  = "user_delegated"
	SourceServiceOwned   = "service_owned"
	SourceOrganizational = "organizational"
)

// A Record is the approved Mission: immutable, without its state (that is a Standing). Its canonical form is the body
// of the approval evidence (core 1.10, audit 3.1).
type Record struct {
	ID                   ID               `json:"id"`
	Issuer               string           `json:"issuer"`
	Intent               *Intent          `json:"intent"`
	ProposedAuthority    []Entry          `json:"proposed_authority,omitempty"` // iff a proposal was submitted
	AuthoritySet         []Entry          `json:"authority_set"`
	AuthorityHash        Digest           `json:"authority_hash"`
	IntentHash           Digest           `json:"intent_hash"`
	ProposalHash         Digest           `json:"proposal_hash,omitempty"`
	ConsentRenderingHash Digest           `json:"consent_rendering_hash,omitempty"`
	SubmissionEvidence   []EvidenceRecord `json:"submission_evidence,omitempty"`
	Subject              Principal        `json:"subject"`
	Approver             Principal        `json:"approver"`
	ApprovalBasis        ApprovalBasis    `json:"approval_basis"`
	AuthoritySource      AuthoritySource  `json:"authority_source"`
	ClientID             string           `json:"client_id"`
	PolicyVersion        string           `json:"policy_version"`
	ApprovalEventID      EventID          `json:"approval_event_id"`
	CreatedAt            string           `json:"created_at"`
	ExpiresAt            string           `json:"expires_at"` // effective expiry
	Upstream             *Upstream        `json:"upstream,omitempty"`
}

// An EvidenceRecord is what the issuer verified of one evidence entry.
type EvidenceRecord struct {
	Type         string `json:"type"`
	ArtifactHash Digest `json:"artifact_hash"`
	VerifiedAt   string `json:"verified_at"`
	Facts        Raw    `json:"facts"`
}

// ApprovalBasis says on whose consent the Mission stands. ConsentPrincipal equals the record's Approver.
type ApprovalBasis struct {
	Type             string     `json:"type"`
	ConsentPrincipal Principal  `json:"consent_principal"`
	Activation       Activation `json:"activation"`
	ActivationActor  Principal  `json:"activation_actor"`
	RootCommitment   Digest     `json:"root_commitment"`
	ApprovedAt       string     `json:"approved_at,omitempty"` // required for standing consent, absent for direct
}

// Activation is shaped by the basis type: direct {approval_event_id}; policy_drawdown {policy_id?, version?,
// activation_event_id}; template {template_id, template_version, template_hash, dispatch_event_id}.
type Activation struct {
	ApprovalEventID   EventID `json:"approval_event_id,omitempty"`
	PolicyID          string  `json:"policy_id,omitempty"`
	Version           string  `json:"version,omitempty"`
	ActivationEventID EventID `json:"activation_event_id,omitempty"`
	TemplateID        string  `json:"template_id,omitempty"`
	TemplateVersion   string  `json:"template_version,omitempty"`
	TemplateHash      Digest  `json:"template_hash,omitempty"`
	DispatchEventID   EventID `json:"dispatch_event_id,omitempty"`
}

// AuthoritySource says whose authority is delegated. Policy is present iff the type is organizational.
type AuthoritySource struct {
	Type   string     `json:"type"`
	Policy *PolicyRef `json:"policy,omitempty"`
}

// A PolicyRef names one version of a policy.
type PolicyRef struct {
	ID      string `json:"id"`
	Version string `json:"version"`
	Digest  Digest `json:"digest"`
}

// Upstream links a local Mission to the foreign Mission it was minted from (core 1.11 item 11, federation 1.3). It is
// evidence and a coupling, never a `parent`.
type Upstream struct {
	Issuer        string             `json:"issuer"`
	ID            ID                 `json:"id"`
	AuthorityHash Digest             `json:"authority_hash"`
	VersionAtMint uint64             `json:"version_at_mint"`
	ExpiresAt     string             `json:"expires_at"`
	Agreement     AgreementRef       `json:"agreement"`
	Evidence      []UpstreamEvidence `json:"evidence"`
	Justification []Justification    `json:"entry_justification"`
	Mapping       MappingRef         `json:"mapping"`
	Coupling      Coupling           `json:"coupling"`
}

// An AgreementRef names one version of a federation agreement.
type AgreementRef struct {
	ID      string `json:"id"`
	Version uint64 `json:"version"`
	Digest  Digest `json:"digest"`
}

// UpstreamEvidence is an artifact the mint was decided on.
type UpstreamEvidence struct {
	Type   string `json:"type"` // JWS typ
	Digest Digest `json:"digest"`
	JTI    string `json:"jti,omitempty"`
}

// A Justification says which conveyed entry contains a local entry.
type Justification struct {
	LocalEntry    Digest `json:"local_entry_digest"`
	UpstreamEntry Digest `json:"upstream_entry_digest"`
}

// A MappingRef names the principal mapping that was applied, without its content.
type MappingRef struct {
	PolicyID   string `json:"policy_id"`
	Version    string `json:"version"`
	ResultHash Digest `json:"result_hash"`
}

// Coupling is how the local Mission follows its upstream.
type Coupling struct {
	Mode            string `json:"mode"` // "cascade"
	MaxStaleSeconds int64  `json:"max_stale_seconds"`
}

// ParseRecord reads a Record from its canonical form (or any other spelling of it) and checks it: shapes, times, and
// that the three anchors recompute.
func ParseRecord(data []byte) (*Record, error) { panic("not yet") }

// Bytes returns the canonical form: the body of the approval evidence.
func (r *Record) Bytes() ([]byte, error) { return Marshal(r) }

// Commitment is the approval-record digest: SHA-256 of the canonical form without state.
func (r *Record) Commitment() (Digest, error) { return ObjectDigest(r) }
