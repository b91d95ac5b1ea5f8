package verifier

import (
	"time"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// StatusOptions are what the asker knew when it asked.
type StatusOptions struct {
	At        time.Time // the instant at which the answer is judged
	Audience  string    // own audience; the own id for a question about the state only
	Requester string    // own client id at the issuer
	Nonce     string    // as sent
	MissionID mission.ID
	// Reliance makes it a finding that an authentic answer is not active, or past its fresh_until: nothing may rely on it.
	// Without it that is what was verified, and noted.
	Reliance bool
}

// A StatusReport is the result of checking a status response.
type StatusReport struct {
	Verdict  mission.Verdict `json:"verdict"`
	Status   *mission.Status `json:"status,omitempty"` // if the response is authentic
	Findings Findings        `json:"findings"`
	Outcome  Outcome         `json:"outcome"`
}

// statusSkew is tolerated at iat and exp. Past fresh_until nothing is.
const statusSkew = 30 * time.Second

// VerifyStatus makes all checks of a signed status response as the answer to one question.
func VerifyStatus(compact string, trust *Trust, opts StatusOptions) *StatusReport {
	r := &StatusReport{Findings: Findings{}}
	defer func() { r.Outcome = r.Findings.Outcome() }()
	if token, err := jws.Parse(compact, jws.TypStatus); err == nil {
		if _, _, known := trust.Keys.Key(token.KeyID); !known {
			r.Verdict = mission.RejectSignature
			r.Findings.add(Audit, "issuer_key_unknown", "", "the trust document has no issuer key %.64q", token.KeyID)
			return r
		}
	}
	r.Status, r.Verdict = jws.CheckStatus(compact, trust.Keys, mission.StatusContext{
		At: opts.At, Issuer: trust.Issuer, Audience: opts.Audience, Requester: opts.Requester, Nonce: opts.Nonce,
		MissionID: opts.MissionID, Algs: []string{jws.ES256, jws.EdDSA}, Skew: statusSkew,
	})
	class := Note
	if opts.Reliance {
		class = Integrity
	}
	switch r.Verdict {
	case mission.Accept:
	case mission.NonActive:
		r.Findings.add(class, "status_non_active", "", "the issuer says that the mission is not active")
	case mission.Stale:
		r.Findings.add(class, "status_stale", "", "the answer is past its fresh_until: it says nothing about now")
	default:
		r.Findings.add(Integrity, "status_rejected", "", "the answer fails a check: %s", r.Verdict)
	}
	return r
}
