package federation

import (
	"errors"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// Codes of the federation surfaces: the member `error` of a refusal on the wire.
const (
	CodeInvalidRequest         = "invalid_request"
	CodeInvalidProjection      = "invalid_projection"
	CodeInvalidReceipt         = "invalid_receipt"
	CodeInvalidAgreement       = "invalid_agreement"
	CodeInvalidTarget          = "invalid_target"
	CodePrincipalMappingFailed = "principal_mapping_failed"
	CodeUnauthorized           = "unauthorized"
	CodeAccessDenied           = "access_denied"
	CodeNotFound               = "not_found"
	CodeConflict               = "conflict"
	CodeLimit                  = "limit"
	CodeMissionInactive        = "mission_inactive"
	CodeAuthorityUnsupported   = "authority_unsupported"
	CodeRateLimited            = "rate_limited"
	CodeUnavailable            = "unavailable"
)

// Reasons: finer codes for the own log and, where docs/federation-profile.md says so, for the member
// `mission_denial_reason`. Reasons of invalid_projection never leave the receiver.
const (
	ReasonTooLarge            = "too_large"
	ReasonEncoding            = "encoding"
	ReasonWrongTyp            = "wrong_typ"
	ReasonUntrustedIssuer     = "untrusted_issuer"
	ReasonBadAlgorithm        = "bad_algorithm"
	ReasonBadSignature        = "bad_signature"
	ReasonMalformed           = "malformed"
	ReasonIssuerMismatch      = "issuer_mismatch"
	ReasonAudienceMismatch    = "audience_mismatch"
	ReasonAgreementMismatch   = "agreement_mismatch"
	ReasonAgreementInactive   = "agreement_inactive"
	ReasonNotYet              = "issued_in_the_future"
	ReasonExpired             = "expired"
	ReasonLifetimeExceeded    = "lifetime_exceeded"
	ReasonHolderMismatch      = "pop_failed"
	ReasonNonceMismatch       = "nonce_mismatch"
	ReasonMissionMismatch     = "mission_mismatch"
	ReasonMustUnderstand      = "must_understand"
	ReasonOutsideAgreement    = "outside_agreement"
	ReasonCommitmentMismatch  = "commitment_mismatch"
	ReasonChain               = "chain"
	ReasonOwnIssuerInChain    = "own_issuer_in_chain"
	ReasonReplayed            = "replayed"
	ReasonStaleVersion        = "stale_version"
	ReasonNotStrictSubset     = "not_strict_subset"
	ReasonNotInCeiling        = "not_in_ceiling"
	ReasonNoCeiling           = "no_ceiling"
	ReasonCeilingExpired      = "ceiling_expired"
	ReasonRestrictedClass     = "restricted_class"
	ReasonFanoutExceeded      = "fanout_exceeded"
	ReasonRateExceeded        = "rate_exceeded"
	ReasonUpstreamUnverified  = "upstream_unverified"
	ReasonIdempotencyMismatch = "idempotency_mismatch"
	ReasonPurposeNotAllowed   = "purpose_not_allowed"
	ReasonUnknownEntry        = "unknown_entry"
	ReasonEquivocation        = "equivocation"
)

// A Refusal says why something was not accepted: the code for the wire and a finer reason.
type Refusal struct {
	Code   string
	Reason string // "" if there is nothing finer to say
	Err    error  // cause, for the own log; it may describe but never quotes what was received
}

func (r *Refusal) Error() string {
	s := "federation: " + r.Code
	if r.Reason != "" {
		s += " (" + r.Reason + ")"
	}
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// refuse makes a Refusal.
func refuse(code, reason string, cause error) *Refusal {
	return &Refusal{Code: code, Reason: reason, Err: cause}
}

// ErrUnreachable: a peer did not answer in time, or answered with a transport failure, 429 or 5xx. It says nothing
// about the Mission: silence.
var ErrUnreachable = errors.New("federation: peer unreachable")

// An ErrorBody is the JSON body of a refusal on the wire.
type ErrorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	Reason      string `json:"mission_denial_reason,omitempty"`
	Nonce       string `json:"nonce,omitempty"`
}

// ParseErrorBody reads the body of a peer's refusal. It is unsigned: use it to explain, never to conclude anything
// about a Mission. A body that is not one gives the zero ErrorBody.
func ParseErrorBody(data []byte) ErrorBody {
	var b ErrorBody
	if len(data) > 4<<10 || mission.DecodeOpen(data, &b) != nil ||
		len(b.Error) > 64 || !isVisible(b.Error) || len(b.Reason) > 64 || b.Reason != "" && !isVisible(b.Reason) {
		return ErrorBody{}
	}
	b.Description = "" // a peer's prose is not shown to anyone
	return b
}

// A PeerRefusal is an unsigned refusal by a peer: its HTTP status and what the body says.
type PeerRefusal struct {
	Status int
	ErrorBody
}

func (r *PeerRefusal) Error() string {
	s := "federation: refused by the peer"
	if r.ErrorBody.Error != "" {
		s += ": " + r.ErrorBody.Error
	}
	return s
}

// jwsReason classes an error of package jws.
func jwsReason(err error) string {
	switch {
	case errors.Is(err, jws.ErrTyp):
		return ReasonWrongTyp
	case errors.Is(err, jws.ErrAlg):
		return ReasonBadAlgorithm
	case errors.Is(err, jws.ErrSignature):
		return ReasonBadSignature
	}
	return ReasonEncoding
}
