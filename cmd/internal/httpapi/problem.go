package httpapi

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
)

// A surface is a family of endpoints that speaks one language of errors.
type surface uint8

const (
	surfaceOurs       surface = iota // RFC 9457 application/problem+json with a stable code
	surfaceMission                   // {error, error_description, error_reason?, nonce?, retry_after?}: core 4.2, 4.3
	surfaceFederation                // {error, error_description, mission_denial_reason?, nonce?, retry_after?}: fed 1.4
	surfaceCOSE                      // RFC 9290 concise problem details in CBOR
)

// problemType starts the type URI of a problem; its code follows.
const problemType = "urn:mission-authority:problem:"

// The refusals that this package makes itself. Descriptions are constant: an error never quotes a request.
var (
	errUnauthorized = &authority.Error{Kind: authority.Unauthorized, Code: "unauthorized",
		Description: "the caller is not authenticated"}
	errNotFound = &authority.Error{Kind: authority.NotFound, Code: "not_found",
		Description: "no such resource"}
	errMethod = &authority.Error{Kind: authority.Invalid, Code: "method_not_allowed",
		Description: "the resource has no such method"}
	errTooLarge = &authority.Error{Kind: authority.Invalid, Code: "body_too_large",
		Description: "the request body is too large"}
	errMediaType = &authority.Error{Kind: authority.Invalid, Code: "unsupported_media_type",
		Description: "the request body has another media type"}
	errMalformed = &authority.Error{Kind: authority.Invalid, Code: "invalid_request",
		Description: "the request is malformed"}
	errRate = &authority.Error{Kind: authority.RateLimited, Code: "rate_limited",
		Description: "too many requests"}
	errStarting = &authority.Error{Kind: authority.Unavailable, Code: "unavailable", Reason: "starting",
		Description: "the state cannot be established now", RetryAfter: time.Second}
	errUnavailable = &authority.Error{Kind: authority.Unavailable, Code: "unavailable",
		Description: "the state cannot be established now", RetryAfter: time.Second}
	errNotAcceptable = &authority.Error{Kind: authority.Invalid, Code: "not_acceptable",
		Description: "the resource has no such representation"}
)

// because returns e with a finer reason.
func because(e *authority.Error, reason string) *authority.Error {
	out := *e
	out.Reason = reason
	return &out
}

// statuses are the codes whose HTTP status is not that of their kind.
var statuses = map[string]int{
	"method_not_allowed":     http.StatusMethodNotAllowed,
	"body_too_large":         http.StatusRequestEntityTooLarge,
	"unsupported_media_type": http.StatusUnsupportedMediaType,
	"not_acceptable":         http.StatusNotAcceptable,
	"authority_unsupported":  http.StatusUnprocessableEntity,
	"evidence_erased":        http.StatusGone,
	"log_frozen":             http.StatusMethodNotAllowed,
}

var kindStatus = map[authority.Kind]int{
	authority.Internal:     http.StatusInternalServerError,
	authority.Invalid:      http.StatusBadRequest,
	authority.Unauthorized: http.StatusUnauthorized,
	authority.Forbidden:    http.StatusForbidden,
	authority.NotFound:     http.StatusNotFound,
	authority.Conflict:     http.StatusConflict,
	authority.RateLimited:  http.StatusTooManyRequests,
	authority.Unavailable:  http.StatusServiceUnavailable,
}

// bodyErrors are the bodies of the surfaces' JSON errors.
type (
	missionProblem struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Reason      string `json:"error_reason,omitempty"`
		Nonce       string `json:"nonce,omitempty"`
		RetryAfter  int64  `json:"retry_after,omitempty"`
	}
	federationProblem struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Reason      string `json:"mission_denial_reason,omitempty"`
		Nonce       string `json:"nonce,omitempty"`
		RetryAfter  int64  `json:"retry_after,omitempty"`
	}
	ourProblem struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int64  `json:"status"`
		Code   string `json:"code"`
		Reason string `json:"reason,omitempty"`
		ID     string `json:"id,omitempty"` // of a failure of ours, also in the log
		Record string `json:"erasure_entry_id,omitempty"`
	}
)

// refuse turns an error into the reply of a surface. It is the only place where errors become HTTP. An error that is
// not an *authority.Error is a failure of ours: the caller learns an id, and the log what happened.
func (a *API) refuse(s surface, err error, nonce string) reply {
	if errors.Is(err, ledger.ErrFrozen) && (s == surfaceOurs || s == surfaceCOSE) {
		err = errFrozen
	}
	e, ok := errors.AsType[*authority.Error](err)
	if r, crossing := errors.AsType[*federation.Refusal](err); !ok && crossing {
		e, ok = crossed(r), true
	}
	id := ""
	if !ok || e.Kind == authority.Internal {
		id = incidentID()
		a.log.Error("request failed", slog.String("incident", id), slog.Any("error", err))
		e = &authority.Error{Code: "server_error", Description: "the server failed"}
	}
	status := kindStatus[e.Kind]
	if special, ok := statuses[e.Code]; ok && (s == surfaceOurs || s == surfaceCOSE || special == http.StatusUnprocessableEntity) {
		status = special
	}
	r := reply{status: status, header: http.Header{"Cache-Control": {"no-store"}}, code: e.Code}
	seconds := int64(math.Ceil(e.RetryAfter.Seconds()))
	if seconds > 0 {
		r.header.Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	if status == http.StatusUnauthorized {
		r.header.Set("WWW-Authenticate", "Bearer")
	}
	var body any
	switch s {
	case surfaceMission:
		body = missionProblem{wireCode(e), e.Description, e.Reason, nonce, seconds}
	case surfaceFederation:
		body = federationProblem{wireCode(e), e.Description, e.Reason, nonce, seconds}
	case surfaceCOSE:
		r.contentType = "application/concise-problem-details+cbor"
		r.body = conciseProblem(e)
		return r
	default:
		r.contentType = "application/problem+json"
		r.body = a.json(ourProblem{problemType + e.Code, e.Description, int64(status), e.Code, e.Reason, id, ""})
		return r
	}
	r.contentType = "application/json"
	r.body = a.json(body)
	return r
}

// crossed is a refusal of package federation as one of the authority. Why a projection was not believed is for our own
// log: the wire learns the code alone.
func crossed(r *federation.Refusal) *authority.Error {
	kinds := map[string]authority.Kind{
		federation.CodeUnauthorized:    authority.Unauthorized,
		federation.CodeAccessDenied:    authority.Forbidden,
		federation.CodeNotFound:        authority.NotFound,
		federation.CodeConflict:        authority.Conflict,
		federation.CodeLimit:           authority.Conflict,
		federation.CodeMissionInactive: authority.Conflict,
		federation.CodeRateLimited:     authority.RateLimited,
		federation.CodeUnavailable:     authority.Unavailable,
	}
	kind, ok := kinds[r.Code]
	if !ok {
		kind = authority.Invalid
	}
	e := &authority.Error{Kind: kind, Code: r.Code, Description: "the exchange was refused", Reason: r.Reason, Err: r.Err}
	switch r.Code {
	case federation.CodeInvalidProjection, federation.CodeInvalidReceipt, federation.CodeNotFound:
		e.Reason = ""
	}
	return e
}

// wireCode is the code on surfaces whose vocabulary is closed: what is ours alone is an invalid request there.
func wireCode(e *authority.Error) string {
	switch e.Code {
	case errTooLarge.Code, errMediaType.Code, errMethod.Code, errNotAcceptable.Code:
		return "invalid_request"
	}
	return e.Code
}

// json marshals a reply of ours; it cannot fail for the types it is used with.
func (a *API) json(v any) []byte {
	b, err := mission.Marshal(v)
	if err != nil {
		a.log.Error("reply not encodable", slog.Any("error", err))
		return []byte("{}")
	}
	return b
}

// conciseTitles are the titles that SCRAPI fixes for its problems.
var conciseTitles = map[string]string{
	"not_found":       "Not Found",
	"invalid_request": "Malformed request",
	"rate_limited":    "Too Many Requests",
	"rejected":        "Rejected",

	"bad_signature_algorithm": "Bad Signature Algorithm",
	"payload_missing":         "Payload Missing",
}

// conciseProblem encodes {-1: title, -2: detail} (RFC 9290 2).
func conciseProblem(e *authority.Error) []byte {
	title, ok := conciseTitles[e.Code]
	if !ok {
		title = e.Code
	}
	b := []byte{0xa2, 0x20}
	b = appendCBORText(b, title)
	b = append(b, 0x21)
	return appendCBORText(b, e.Description)
}

// appendCBORText appends a text string of fewer than 256 octets in its shortest form.
func appendCBORText(b []byte, s string) []byte {
	s = s[:min(len(s), 255)]
	if len(s) < 24 {
		return append(append(b, 0x60|byte(len(s))), s...)
	}
	return append(append(b, 0x78, byte(len(s))), s...)
}

func incidentID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
