package evidence

import (
	"slices"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// Roles of producers: who a statement over a record must be by.
const (
	Issuer        = "issuer" // of the mission, or of the log for what is about no mission
	PDP           = "pdp"
	PEP           = "pep"
	Executor      = "executor"
	Harness       = "harness"
	Egress        = "egress"
	ReceiptIssuer = "receipt_issuer"
	Mediator      = "mediator" // that signed a work product binding
	Anyone        = "any"      // whoever produced what the record is about
)

// A Form says what the octets of a body are.
type Form uint8

// The forms.
const (
	Object Form = iota + 1 // canonical JSON object
	Token                  // compact JWS as issued
	CBOR                   // deterministic CBOR, read by package ledger
)

// String names the form.
func (f Form) String() string { return [...]string{"", "object", "token", "cbor"}[f] }

// A Type is one row of the catalogue.
type Type struct {
	ContentType string // claim 259 of the statement
	Schema      string // name in package schemas, "" for what is not JSON
	Form        Form
	Envelope    *EnvelopeRule // of an Object with a nested signature
	Typ         jws.Typ       // of a Token
	Producers   []string      // roles
	Subjects    []ledger.SubjectKind
	// Public bodies are needed to read the log itself: they are served to anybody and never erased.
	Public bool

	decode func([]byte) (record, error)
}

// Decoded reports whether Check decodes bodies of the type into Facts.Record.
func (t Type) Decoded() bool { return t.decode != nil }

// Types returns the catalogue, in the order of docs/formats.md.
func Types() []Type { return slices.Clone(catalogue) }

// Lookup returns the row of a content type.
func Lookup(contentType string) (Type, bool) {
	i := slices.IndexFunc(catalogue, func(t Type) bool { return t.ContentType == contentType })
	if i < 0 {
		return Type{}, false
	}
	return catalogue[i], true
}

// Content types of the drafts beside those in package mission.
const (
	ContentSecurityEvent  = "application/secevent+jwt"
	ContentDerivation     = "application/mission-derivation-record+json"
	ContentGovernance     = "application/mission-approval-governance+json"
	ContentDecision       = "application/mission-decision-evidence+json"
	ContentExecution      = "application/mission-execution-evidence+json"
	ContentRefusal        = "application/mission-refusal-record+json"
	ContentReceipt        = "application/mission-receipt+json"
	ContentMandate        = "application/mission-mandate+jwt"
	ContentMandateSD      = "application/mission-mandate+sd-jwt"
	ContentWorkProduct    = "application/mission-work-product-binding+jwt"
	ContentChild          = "application/mission-child-evidence+json"
	ContentDiscovery      = "application/mission-discovery-evidence+json"
	ContentHarness        = "application/mission-harness-evidence+json"
	ContentEgress         = "application/mission-egress-evidence+json"
	ContentContainment    = "application/mission-containment-evidence+json"
	ContentProtectedEvent = "application/mission-protected-event-receipt+json"
	ContentErasure        = "application/mission-erasure-record+json"
)

// Content types of our own.
const (
	ContentAccess = "application/mas-evidence-access+json"
	ContentExport = "application/mas-export+json"
	ContentHold   = "application/mas-legal-hold+json"
)

var (
	byIssuer = []string{Issuer}
	missions = []ledger.SubjectKind{ledger.SubjectMissions}
	either   = []ledger.SubjectKind{ledger.SubjectMissions, ledger.SubjectApprovals}
	erasable = []ledger.SubjectKind{ledger.SubjectMissions, ledger.SubjectApprovals, ledger.SubjectPeers,
		ledger.SubjectAgreements, ledger.SubjectExports, ledger.SubjectPrincipals, ledger.SubjectLog}
)

// runtime is the envelope of the records of an enforcement point (audit digest C1).
func runtime(contentType string) *EnvelopeRule {
	return &EnvelopeRule{Member: "evidence_envelope", Typ: jws.TypRuntimeEvidence, Content: contentType, Required: true}
}

// object makes a row whose body is decoded here.
func object[T any, R interface {
	*T
	record
}](contentType, schema string, env *EnvelopeRule, producers []string, subjects []ledger.SubjectKind) Type {
	return Type{ContentType: contentType, Schema: schema, Form: Object, Envelope: env, Producers: producers,
		Subjects: subjects, decode: func(body []byte) (record, error) {
			var v T
			if err := mission.Decode(body, &v); err != nil {
				return nil, err
			}
			return R(&v), nil
		}}
}

func token(contentType string, typ jws.Typ, producers []string, subjects []ledger.SubjectKind) Type {
	return Type{ContentType: contentType, Form: Token, Typ: typ, Producers: producers, Subjects: subjects}
}

// own makes a row of ours whose members the package that writes it owns.
func own(contentType, schema string, subjects ...ledger.SubjectKind) Type {
	return Type{ContentType: contentType, Schema: schema, Form: Object, Producers: byIssuer, Subjects: subjects}
}

// public makes a row of ours that is needed to read the log.
func public(contentType string) Type {
	return Type{ContentType: contentType, Form: CBOR, Producers: byIssuer,
		Subjects: []ledger.SubjectKind{ledger.SubjectPolicy, ledger.SubjectLog}, Public: true}
}

var catalogue = []Type{
	{ContentType: mission.ContentApprovalRecord, Schema: "mission-record", Form: Object, Producers: byIssuer,
		Subjects: missions, decode: decodeApproval},
	{ContentType: mission.ContentTransition, Schema: "lifecycle-transition", Form: Object, Producers: byIssuer,
		Subjects: missions, decode: decodeTransition},
	token(ContentSecurityEvent, jws.TypSecurityEvent, byIssuer, missions),
	object[Derivation](ContentDerivation, "derivation-record", nil, byIssuer, missions),
	{ContentType: mission.ContentConsentEvidence, Schema: "consent-evidence", Form: Object,
		Envelope:  &EnvelopeRule{Member: "evidence_envelope", Typ: jws.TypConsentEvidence},
		Producers: byIssuer, Subjects: either, decode: decodeConsent},
	object[Governance](ContentGovernance, "approval-governance",
		&EnvelopeRule{Member: "envelope", Typ: jws.TypApprovalGovernance, Content: ContentGovernance, Required: true},
		byIssuer, either),
	object[Decision](ContentDecision, "decision-evidence", runtime(ContentDecision), []string{PDP}, missions),
	object[Execution](ContentExecution, "execution-evidence", runtime(ContentExecution), []string{PEP, Executor}, missions),
	object[Refusal](ContentRefusal, "refusal-record", runtime(ContentRefusal), []string{PEP, PDP},
		[]ledger.SubjectKind{ledger.SubjectMissions, ledger.SubjectLog}),
	object[Receipt](ContentReceipt, "mission-receipt", runtime(ContentReceipt), []string{ReceiptIssuer}, missions),
	token(ContentMandate, jws.TypMandate, byIssuer, missions),
	token(ContentMandateSD, jws.TypMandateSD, byIssuer, missions),
	token(ContentWorkProduct, jws.TypWorkProduct, []string{Mediator}, missions),
	object[Child](ContentChild, "child-evidence", nil, byIssuer, missions),
	object[Discovery](ContentDiscovery, "discovery-evidence",
		&EnvelopeRule{Member: "evidence_envelope", Typ: jws.TypDiscovery}, byIssuer, missions),
	object[HarnessEvent](ContentHarness, "harness-evidence", nil, []string{Harness}, missions),
	object[EgressEvent](ContentEgress, "egress-evidence", nil, []string{Egress}, missions),
	object[Containment](ContentContainment, "containment-evidence", nil, byIssuer, missions),
	object[ProtectedEvent](ContentProtectedEvent, "protected-event-receipt", nil, byIssuer, missions),
	object[Erasure](ContentErasure, "erasure-record", nil, []string{Anyone}, erasable),

	object[Access](ContentAccess, "evidence-access", nil, byIssuer, nil),
	object[Hold](ContentHold, "legal-hold", nil, byIssuer, nil),
	own(ContentExport, "", ledger.SubjectExports),
	own(mission.ContentPrincipals, "", ledger.SubjectPrincipals),
	own(mission.ContentSubmission, "", ledger.SubjectApprovals, ledger.SubjectPeers),
	own("application/mas-submission-expired+json", "", ledger.SubjectApprovals),
	own(mission.ContentRefusal, "", ledger.SubjectLog),
	own(mission.ContentRefusalDigest, "", ledger.SubjectLog),
	own(mission.ContentEmergencyStop, "", ledger.SubjectLog, ledger.SubjectMissions, ledger.SubjectPeers),
	own("application/mas-clock-accepted+json", "", ledger.SubjectLog),
	own("application/mas-peer-record+json", "", ledger.SubjectPeers),
	own(mission.ContentAgreementEvent, "agreement-event", ledger.SubjectAgreements),
	own(mission.ContentPeerCeiling, "", ledger.SubjectPeers),
	own(mission.ContentPeerCheckpoint, "", ledger.SubjectPeers),
	own(mission.ContentIntroduction, "", ledger.SubjectMissions),
	own(mission.ContentProjectionIssued, "", ledger.SubjectMissions),
	own(mission.ContentProjectionReceived, ""),
	own(mission.ContentStatusServed, "", ledger.SubjectMissions),
	own(mission.ContentStatusObserved, ""),
	own(mission.ContentLocalMissionRefused, "", ledger.SubjectApprovals),
	own("application/mas-local-mission-minted+json", ""),
	own("application/mas-derivation-acknowledged+json", "", ledger.SubjectMissions),
	token(mission.ContentDerivationReceipt, jws.TypDerivationReceipt, byIssuer, nil),

	public(ledger.ContentTypeGenesis),
	public(ledger.ContentTypePolicy),
	public(ledger.ContentTypeAnchors),
	public("application/mas-key-succession+cbor"),
	public(ledger.ContentTypeFeedEpoch),
	public("application/mas-log-closed+cbor"),
}
