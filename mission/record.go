package mission

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

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

// CouplingCascade is the only Coupling.Mode: what ends upstream ends here.
const CouplingCascade = "cascade"

// Coupling is how the local Mission follows its upstream.
type Coupling struct {
	Mode            string `json:"mode"` // CouplingCascade
	MaxStaleSeconds int64  `json:"max_stale_seconds"`
}

// ParseRecord reads a Record from its canonical form (or any other spelling of it) and checks it: shapes, times, and
// that the anchors recompute (Verify).
func ParseRecord(data []byte) (*Record, error) {
	var r Record
	if err := Decode(data, &r); err != nil {
		return nil, err
	}
	return &r, r.Verify()
}

// Bytes returns the canonical form: the body of the approval evidence.
func (r *Record) Bytes() ([]byte, error) { return Marshal(r) }

// Commitment is the approval-record digest: SHA-256 of the canonical form without state (audit 3.1).
func (r *Record) Commitment() (Digest, error) { return ObjectDigest(r) }

// Expires returns the effective expiry.
func (r *Record) Expires() time.Time { return instant(r.ExpiresAt) }

// ErrRecord: the record contradicts itself.
var ErrRecord = errors.New("mission: unacceptable record")

func recordError(what string) error { return fmt.Errorf("%w: %s", ErrRecord, what) }

// Seal computes the anchors of r from its content.
func (r *Record) Seal() error {
	if r.Intent == nil {
		return recordError("intent")
	}
	var err error
	if r.IntentHash, err = r.Intent.Hash(r.Issuer); err != nil {
		return err
	}
	if r.AuthorityHash, err = AuthorityHash(r.Issuer, r.AuthoritySet); err != nil {
		return err
	}
	r.ProposalHash = ""
	if len(r.ProposedAuthority) > 0 {
		r.ProposalHash, err = ProposalHash(r.Issuer, r.ProposedAuthority)
	}
	return err
}

// Verify recomputes the anchors and checks that the authority stays on the intent's resources and inside the proposal.
// Shapes are Validate's.
func (r *Record) Verify() error {
	sealed := *r
	if err := sealed.Seal(); err != nil {
		return err
	}
	if sealed.IntentHash != r.IntentHash || sealed.AuthorityHash != r.AuthorityHash ||
		sealed.ProposalHash != r.ProposalHash {
		return recordError("an anchor does not recompute")
	}
	for _, e := range r.AuthoritySet {
		if !slices.Contains(r.Intent.Resources, e.Resource) {
			return recordError("authority outside the intent's resources")
		}
	}
	if len(r.ProposedAuthority) > 0 && SubsetOfSet(r.AuthoritySet, r.ProposedAuthority) != nil {
		return recordError("authority outside the proposal")
	}
	return nil
}

// Validate checks the shape of the record: times in order, one approver, members present exactly when they must be.
// Decode calls it.
func (r *Record) Validate() error {
	created, errC := ParseIssuerTime(r.CreatedAt)
	expires, errE := ParseIssuerTime(r.ExpiresAt)
	switch {
	case r.Intent == nil:
		return recordError("intent")
	case CheckIssuer(r.Issuer) != nil:
		return recordError("issuer")
	case errC != nil || errE != nil:
		return recordError("times")
	case !created.Before(expires) || expires.After(r.Intent.Requested()):
		return recordError("expires_at")
	case checkCount(r.AuthoritySet) != nil || len(r.ProposedAuthority) > MaxEntries:
		return recordError("number of entries")
	case (len(r.ProposedAuthority) > 0) != (r.ProposalHash != ""):
		return recordError("proposal_hash")
	case r.ClientID == "" || r.PolicyVersion == "":
		return recordError("client_id or policy_version")
	case r.ApprovalBasis.ConsentPrincipal != r.Approver:
		return recordError("consent_principal")
	case (r.AuthoritySource.Policy != nil) != (r.AuthoritySource.Type == SourceOrganizational):
		return recordError("authority_source.policy")
	}
	return r.checkBasis()
}

// checkBasis checks the approval basis against its type.
func (r *Record) checkBasis() error {
	b := r.ApprovalBasis
	ok := false
	switch b.Type {
	case BasisDirect:
		ok = b.Activation == Activation{ApprovalEventID: r.ApprovalEventID} && b.ActivationActor == b.ConsentPrincipal &&
			b.RootCommitment == r.AuthorityHash && b.ApprovedAt == ""
	case BasisPolicyDrawdown:
		ok = b.Activation.ActivationEventID != "" && isTime(b.ApprovedAt)
	case BasisTemplate:
		ok = b.Activation.DispatchEventID != "" && b.Activation.TemplateHash == b.RootCommitment && isTime(b.ApprovedAt)
	}
	if !ok {
		return recordError("approval_basis")
	}
	return nil
}

// Validate accepts the three kinds of source. Decode calls it.
func (s AuthoritySource) Validate() error {
	switch s.Type {
	case SourceUserDelegated, SourceServiceOwned, SourceOrganizational:
		return nil
	}
	return recordError("authority_source.type")
}

// Validate checks the link. Decode calls it.
func (u *Upstream) Validate() error {
	switch {
	case CheckIssuer(u.Issuer) != nil:
		return recordError("upstream.issuer")
	case u.VersionAtMint == 0 || !isTime(u.ExpiresAt):
		return recordError("upstream.version_at_mint or expires_at")
	case len(u.Evidence) == 0 || len(u.Justification) == 0:
		return recordError("upstream.evidence")
	case u.Coupling.Mode != CouplingCascade || u.Coupling.MaxStaleSeconds < 1:
		return recordError("upstream.coupling")
	}
	return nil
}
