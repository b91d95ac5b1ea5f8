package mission

import "time"

// A Status is the payload of a signed status response (core 4.3, federation 2).
type Status struct {
	Iss                  string        `json:"iss"`
	Aud                  string        `json:"aud"` // the audience asked for, or the requester if none
	Sub                  string        `json:"sub"` // the requester
	Nonce                string        `json:"nonce"`
	IssuedAt             int64         `json:"iat"`
	ExpiresAt            int64         `json:"exp"`
	Mission              StatusMission `json:"mission"`
	AuthorizationDetails Raw           `json:"authorization_details,omitempty"` // zero in a state-only answer; see ParseConveyed
	Agreement            *AgreementRef `json:"agreement,omitempty"`             // in answers to peers
}

// StatusMission is the report itself.
type StatusMission struct {
	ID                 ID          `json:"id"`
	Issuer             string      `json:"issuer"`
	AuthorityHash      Digest      `json:"authority_hash"`
	State              State       `json:"state"`
	Version            uint64      `json:"version"`
	ExpiresAt          string      `json:"expires_at"`
	FreshUntil         string      `json:"fresh_until"`
	SuspendUntil       string      `json:"suspend_until,omitempty"`
	OnExpiry           Operation   `json:"on_expiry,omitempty"`
	Hold               *Hold       `json:"hold,omitempty"`
	Successor          ID          `json:"successor,omitempty"`
	StatusList         *StatusList `json:"status_list,omitempty"`
	ContainmentVersion uint64      `json:"containment_version,omitempty"`
}

// StatusList points into a Token Status List.
type StatusList struct {
	Index uint64 `json:"idx"`
	URI   string `json:"uri"`
}

// A StatusRequest is who asks for what.
type StatusRequest struct {
	Requester string // authenticated id of the requester
	Audience  string // "" for a state-only answer
	Peer      string // issuer of the peer domain that asks, "" for a client of this domain; set Audience to it as well
	Nonce     string
}

// NewStatus builds the report of a Mission at `at`, from the one effective state and the one effective set. It lives
// ttl (at least a second) and is fresh until at+maxStale, never past notAfter if that is not zero.
func NewStatus(rec *Record, cur Standing, req StatusRequest, at time.Time, ttl, maxStale time.Duration, notAfter time.Time) (*Status, error) {
	panic("not yet")
}

// A Verdict is what a check of a status response came to: "accept", "non-active", "stale", or "reject:" and the check
// that failed.
type Verdict string

// The verdicts, in the order of the checks; the first failure wins.
const (
	RejectEncoding  Verdict = "reject:encoding" // not a canonical compact JWS
	RejectTyp       Verdict = "reject:typ"
	RejectAlg       Verdict = "reject:alg"
	RejectSignature Verdict = "reject:signature"
	RejectIss       Verdict = "reject:iss"
	RejectAud       Verdict = "reject:aud"
	RejectSub       Verdict = "reject:sub"
	RejectNonce     Verdict = "reject:nonce"
	RejectMission   Verdict = "reject:mission.id"
	RejectIat       Verdict = "reject:iat"
	RejectExp       Verdict = "reject:exp"
	RejectPayload   Verdict = "reject:payload" // authentic, but not a status response
	NonActive       Verdict = "non-active"
	Stale           Verdict = "stale"
	Accept          Verdict = "accept"
)

// Authentic reports whether the response is a genuine answer to the question, whatever it says.
func (v Verdict) Authentic() bool { return v == Accept || v == NonActive || v == Stale }

// A StatusContext is what the asker knows and trusts.
type StatusContext struct {
	At             time.Time
	Issuer         string
	Audience       string // own audience; the own id for a state-only question
	Requester      string // own client id at the issuer
	Nonce          string // as sent
	MissionID      ID
	Algs           []string      // accepted algorithms
	Skew           time.Duration // tolerated at iat and exp
	FreshTolerance time.Duration // tolerated past fresh_until, for active only; 0 for everything that relies on it
}

// CheckStatus makes the checks after the signature, in order. The Status is returned when the verdict is Authentic.
// jws.CheckStatus makes all of them.
func CheckStatus(payload []byte, c StatusContext) (*Status, Verdict) { panic("not yet") }

// Fresh reports whether a cached report is usable past its fresh_until: not at all, except for active up to 30 s and
// never more than maxStale.
func Fresh(state State, past, maxStale time.Duration) bool { panic("not yet") }
