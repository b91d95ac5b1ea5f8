package httpapi

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
)

// Limits of a client assertion.
const (
	maxAssertion     = 4 << 10 // octets of the compact form
	maxAssertionLife = 60      // seconds from iat to exp
	maxJTI           = 255     // octets
)

// assertionType is the one value of client_assertion_type (RFC 7523 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionClaims are the claims of a client assertion that are looked at. Others are ignored, as RFC 7523 wants.
type assertionClaims struct {
	Iss string `json:"iss"`
	Sub string `json:"sub"`
	Aud string `json:"aud"` // a single string: our issuer identifier
	JTI string `json:"jti"`
	IAT int64  `json:"iat"`
	EXP int64  `json:"exp"`
	HTM string `json:"htm,omitempty"` // with Bearer: the method …
	HTU string `json:"htu,omitempty"` // … and the URL, without query, that the assertion is for
}

// methodPrivateKeyJWT is how a caller authenticated, as evidence records it.
const methodPrivateKeyJWT = "private_key_jwt"

// Reasons why a caller is not who it claims to be. They label a metric and a log line and are never told to the caller.
const (
	authMissing   = "missing"        // no proof at all
	authTwo       = "two_proofs"     // more than one proof on one request
	authMalformed = "malformed"      // not a client assertion
	authUnknown   = "unknown_caller" // no such client
	authSignature = "signature"      // unknown key or wrong signature
	authClaims    = "claims"         // iss, sub, aud or jti
	authBinding   = "binding"        // htm or htu
	authTime      = "time"           // not yet valid, expired, too long, or from before the start
	authReplayed  = "replayed"       // used before
	authFull      = "memory_full"    // too many assertions in a minute
)

var authReasons = []string{authMissing, authTwo, authMalformed, authUnknown, authSignature, authClaims, authBinding,
	authTime, authReplayed, authFull}

// authFailure is why authentication failed.
type authFailure string

func (f authFailure) Error() string { return "authentication failed: " + string(f) }

// An authenticator checks private_key_jwt (RFC 7523) the way docs/decisions/0006 says: the audience is the issuer
// identifier, an assertion lives at most a minute and works once, and one that was issued at or before the start of
// this process, or in the future, is refused, so that used assertions need no disk.
type authenticator struct {
	issuer string
	start  time.Time
	now    func() time.Time
	people Directory
	used   *assertionMemory
}

// A Directory knows who may authenticate; *authority.Authority is one. It is asked once for each request, so that a new
// version of the principals is in force at once; nil means that nobody can be known yet.
type Directory interface {
	Principals() *authority.Principals
}

// proofs counts the proofs of identity on a request: an Authorization header, a client assertion, a DPoP proof, a
// client certificate. More than one is refused, whatever they say.
func proofs(r *http.Request, form url.Values) int {
	n := len(r.Header.Values("Authorization")) + len(r.Header.Values("DPoP"))
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		n++
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		n++
	}
	return n
}

// fromForm authenticates a form request by its client_assertion.
func (a *authenticator) fromForm(r *http.Request, form url.Values) (*authority.Caller, error) {
	switch n := proofs(r, form); {
	case n == 0:
		return nil, authFailure(authMissing)
	case n > 1:
		return nil, authFailure(authTwo)
	case form.Get("client_assertion_type") != assertionType:
		return nil, authFailure(authMalformed)
	}
	caller, err := a.check(form.Get("client_assertion"), r, false)
	if err == nil && form.Has("client_id") && form.Get("client_id") != caller.ClientID {
		return nil, authFailure(authClaims)
	}
	return caller, err
}

// fromHeader authenticates any other request by the assertion in its Authorization header.
func (a *authenticator) fromHeader(r *http.Request) (*authority.Caller, error) {
	switch n := proofs(r, nil); {
	case n == 0:
		return nil, authFailure(authMissing)
	case n > 1:
		return nil, authFailure(authTwo)
	}
	scheme, compact, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return nil, authFailure(authMalformed)
	}
	return a.check(compact, r, true)
}

// check verifies an assertion and consumes its jti. bound requires htm and htu; where they are present they must match
// in any case.
func (a *authenticator) check(compact string, r *http.Request, bound bool) (*authority.Caller, error) {
	if compact == "" || len(compact) > maxAssertion {
		return nil, authFailure(authMalformed)
	}
	token, err := jws.Parse(compact, jws.TypClientAuthentication)
	if err != nil {
		return nil, authFailure(authMalformed)
	}
	var claims assertionClaims
	if err := mission.DecodeOpen(token.Payload, &claims); err != nil {
		return nil, authFailure(authMalformed)
	}
	caller := a.find(claims.Iss)
	if caller == nil {
		return nil, authFailure(authUnknown)
	}
	if err := token.Verify(caller.Keys()); err != nil {
		return nil, authFailure(authSignature)
	}
	now := a.now()
	switch {
	case claims.Sub != claims.Iss || claims.Aud != a.issuer || !validJTI(claims.JTI):
		return nil, authFailure(authClaims)
	case !a.boundTo(claims, r, bound):
		return nil, authFailure(authBinding)
	case !a.timely(claims, now):
		return nil, authFailure(authTime)
	}
	switch a.used.use(claims.Iss, claims.JTI, claims.EXP, now.Unix()) {
	case usedBefore:
		return nil, authFailure(authReplayed)
	case memoryFull:
		return nil, authFailure(authFull)
	}
	return &authority.Caller{Principal: caller, Method: methodPrivateKeyJWT, KeyID: token.KeyID}, nil
}

// find returns the principal that authenticates as a client, or nil.
func (a *authenticator) find(clientID string) *authority.Principal {
	all := a.people.Principals()
	if all == nil {
		return nil
	}
	p, ok := all.ByClient(clientID)
	if !ok || p.Keys() == nil {
		return nil
	}
	return p
}

// boundTo reports whether the assertion is for this request.
func (a *authenticator) boundTo(claims assertionClaims, r *http.Request, required bool) bool {
	if !required && claims.HTM == "" && claims.HTU == "" {
		return true
	}
	return claims.HTM == r.Method && claims.HTU == origin(a.issuer)+r.URL.EscapedPath()
}

// timely reports whether the assertion was issued after the start of this process and not after now, has not expired
// and lives at most a minute.
func (a *authenticator) timely(claims assertionClaims, now time.Time) bool {
	return claims.IAT > a.start.Unix() && claims.IAT <= now.Unix() &&
		claims.EXP > now.Unix() && claims.EXP > claims.IAT && claims.EXP-claims.IAT <= maxAssertionLife
}

// origin is the scheme and authority of an issuer identifier.
func origin(issuer string) string {
	scheme, rest, _ := strings.Cut(issuer, "://")
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host
}

// validJTI accepts 1 to 255 visible ASCII characters.
func validJTI(s string) bool {
	if s == "" || len(s) > maxJTI {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// authReason is the reason of a failed authentication, for metrics.
func authReason(err error) string {
	if f, ok := errors.AsType[authFailure](err); ok {
		return string(f)
	}
	return "other"
}
