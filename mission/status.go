package mission

import (
	"errors"
	"fmt"
	"time"
)

// A Status is the payload of a signed status response (core 4.3, federation 2).
type Status struct {
	Iss                  string        `json:"iss"`
	Aud                  string        `json:"aud"` // the audience asked for, or the requester if none
	Sub                  string        `json:"sub"` // the requester
	Nonce                string        `json:"nonce"`
	IssuedAt             int64         `json:"iat"`
	ExpiresAt            int64         `json:"exp"`
	Mission              StatusMission `json:"mission"`
	AuthorizationDetails Raw           `json:"authorization_details,omitempty"` // zero in a state-only answer; see Entries
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

// Entries reads the authority of the answer: see ParseConveyed. A state-only answer has none.
func (s *Status) Entries() (known []Entry, dropped int, err error) {
	if s.AuthorizationDetails.IsZero() {
		return nil, 0, nil
	}
	return ParseConveyed(s.AuthorizationDetails.Bytes())
}

// A StatusRequest is who asks for what, and how long the answer may live.
type StatusRequest struct {
	Requester string // authenticated id of the requester
	Audience  string // "" for a state-only answer
	Peer      string // issuer of the peer domain that asks; "" for a client of this domain
	Nonce     string
	TTL       time.Duration // life of the signed answer, in whole seconds
	MaxStale  time.Duration // how long it may be relied on
	NotAfter  time.Time     // it may not be relied on past this instant (coupling); the zero time is no bound
}

var (
	errNotFresh = errors.New("mission: nothing may be relied on any more")
	errRequest  = errors.New("mission: malformed status request")
)

// NewStatus builds the report of a Mission at `at` from the one effective state and the one effective set. fresh_until
// is the earliest of at+MaxStale, NotAfter and the Mission's expiry, in whole seconds rounded down. The authority of an
// answer to a peer is what Convey lets cross in any shape; that of another is ForAudience's. Errors: ErrDue if the
// clock demands a transition first, so that no state is signed that was not committed; an error without a name for an
// active Mission that nobody could rely on any more.
func NewStatus(rec *Record, cur Standing, req StatusRequest, at time.Time) (*Status, error) {
	if req.Requester == "" || req.Nonce == "" || req.TTL < time.Second || req.MaxStale < time.Second {
		return nil, errRequest
	}
	if _, due := Due(cur, at); due {
		return nil, ErrDue
	}
	state, hold := Effective(rec, cur, at)
	if state == "" {
		return nil, recordError("standing of another mission")
	}
	fresh := at.Add(req.MaxStale)
	for _, bound := range []time.Time{req.NotAfter, rec.Expires()} {
		if !bound.IsZero() && bound.Before(fresh) && state == Active {
			fresh = bound
		}
	}
	if state == Active && !fresh.After(at) {
		return nil, errNotFresh
	}
	s := &Status{
		Iss:       rec.Issuer,
		Aud:       req.Audience,
		Sub:       req.Requester,
		Nonce:     req.Nonce,
		IssuedAt:  at.Unix(),
		ExpiresAt: at.Add(req.TTL).Unix(),
		Mission: StatusMission{
			ID:                 rec.ID,
			Issuer:             rec.Issuer,
			AuthorityHash:      rec.AuthorityHash,
			State:              state,
			Version:            cur.Version,
			ExpiresAt:          rec.ExpiresAt,
			FreshUntil:         FormatTime(fresh),
			SuspendUntil:       cur.SuspendUntil,
			OnExpiry:           cur.OnExpiry,
			Hold:               hold,
			Successor:          cur.Successor,
			ContainmentVersion: cur.ContainmentVersion,
		},
	}
	if req.Audience == "" {
		s.Aud = req.Requester
		return s, nil
	}
	set := EffectiveSet(rec, cur, at)
	if req.Peer != "" {
		set = Convey(set, req.Peer)
	} else {
		set = ForAudience(set, req.Audience)
	}
	var err error
	s.AuthorizationDetails, err = RawOf(set)
	return s, err
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
	RejectMission   Verdict = "reject:mission.id" // also if mission.issuer is not iss
	RejectIat       Verdict = "reject:iat"
	RejectExp       Verdict = "reject:exp"
	RejectPayload   Verdict = "reject:payload" // an answer to the question, but not a status response
	NonActive       Verdict = "non-active"
	Stale           Verdict = "stale"
	Accept          Verdict = "accept"
)

// Authentic reports whether the response is a genuine answer to the question, whatever it says.
func (v Verdict) Authentic() bool { return v == Accept || v == NonActive || v == Stale }

// A StatusContext is what the asker knows and trusts. No member may be empty except the tolerances.
type StatusContext struct {
	At             time.Time
	Issuer         string
	Audience       string // own audience; the own id for a state-only question
	Requester      string // own client id at the issuer
	Nonce          string // as sent
	MissionID      ID
	Algs           []string      // accepted algorithms
	Skew           time.Duration // tolerated at iat and exp, at most MaxSkew
	FreshTolerance time.Duration // tolerated past fresh_until, for active only; 0 for everything that relies on it
}

// MaxSkew bounds every tolerance (core 4.3).
const MaxSkew = 30 * time.Second

// CheckStatus makes the checks after the signature, in the order of the Verdicts. The Status is returned when the
// verdict is Authentic. jws.CheckStatus makes all of them.
func CheckStatus(payload []byte, c StatusContext) (*Status, Verdict) {
	v, err := parse(payload)
	if err != nil || v.kind != kindObject {
		return nil, RejectPayload
	}
	if verdict := v.checkClaims(c); verdict != Accept {
		return nil, verdict
	}
	var s Status
	if err := v.decodeInto(&s, true); err != nil {
		return nil, RejectPayload
	}
	if s.Mission.State != Active {
		return &s, NonActive
	}
	if over(c.At.Sub(instant(s.Mission.FreshUntil)), c.FreshTolerance) {
		return &s, Stale
	}
	return &s, Accept
}

// checkClaims makes the checks from iss to exp on the claims as they came.
func (v *value) checkClaims(c StatusContext) Verdict {
	mission := v.get("mission")
	if mission == nil {
		mission = &value{}
	}
	is := func(claim *value, want string) bool {
		got, ok := claim.text()
		return ok && want != "" && got == want
	}
	iat, hasIat := v.get("iat").integer()
	exp, hasExp := v.get("exp").integer()
	switch {
	case !is(v.get("iss"), c.Issuer):
		return RejectIss
	case !is(v.get("aud"), c.Audience):
		return RejectAud
	case !is(v.get("sub"), c.Requester):
		return RejectSub
	case !is(v.get("nonce"), c.Nonce):
		return RejectNonce
	case !is(mission.get("id"), string(c.MissionID)), !is(mission.get("issuer"), c.Issuer):
		return RejectMission
	case !hasIat || time.Unix(iat, 0).Sub(c.At.Truncate(time.Second)) > min(c.Skew, MaxSkew):
		return RejectIat
	case !hasExp || over(c.At.Truncate(time.Second).Sub(time.Unix(exp, 0)), c.Skew):
		return RejectExp
	}
	return Accept
}

// over reports whether a deadline is over, this long after it: from its instant on, or later than the tolerance (at
// most MaxSkew) if there is one.
func over(past, tolerance time.Duration) bool {
	if tolerance <= 0 {
		return past >= 0
	}
	return past > min(tolerance, MaxSkew)
}

// Validate checks the times. Decode calls it.
func (m StatusMission) Validate() error {
	if !isTime(m.ExpiresAt) || !isTime(m.FreshUntil) || m.Version == 0 {
		return fmt.Errorf("mission: malformed report: %w", ErrTime)
	}
	return nil
}

// Fresh reports whether a cached report is usable this long past its fresh_until: not at all, except for active up to
// MaxSkew and never more than maxStale.
func Fresh(state State, past, maxStale time.Duration) bool {
	if past <= 0 {
		return true
	}
	return state == Active && past <= min(MaxSkew, maxStale)
}
