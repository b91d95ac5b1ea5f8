package verifier

import (
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// ProjectionOptions say what else a projection is held against.
type ProjectionOptions struct {
	Audience string    // the issuer it must be for; "": whichever it names
	At       time.Time // an instant at which it must be usable; zero: its life is reported, not judged
}

// A ProjectionReport is the result of checking a projection.
type ProjectionReport struct {
	Projection *federation.Projection `json:"projection,omitempty"` // if it is authentic
	Digest     mission.Digest         `json:"digest,omitempty"`     // of the compact form
	NotBefore  string                 `json:"not_before,omitempty"`
	NotAfter   string                 `json:"not_after,omitempty"`
	Findings   Findings               `json:"findings"`
	Outcome    Outcome                `json:"outcome"`
}

// VerifyProjection checks a signed projection by the keys of the domain that issued it: signature, closed claims,
// issuer, lifetime, commitment, chain and state. Single use, possession of the holder's key and the live status are not
// visible in the artifact and not judged.
func VerifyProjection(compact string, trust *Trust, opts ProjectionOptions) *ProjectionReport {
	r := &ProjectionReport{Findings: Findings{}}
	defer func() { r.Outcome = r.Findings.Outcome() }()
	p := r.open(compact, trust)
	if p == nil {
		return r
	}
	r.NotBefore = mission.FormatTime(time.Unix(p.IssuedAt, 0))
	r.NotAfter = mission.FormatTime(time.Unix(p.ExpiresAt, 0))
	fs := &r.Findings
	if p.Iss != p.Mission.Issuer {
		fs.add(Integrity, "projection_issuer", p.JTI, "the projection is not by the mission's issuer")
	}
	if opts.Audience != "" && p.Aud != opts.Audience {
		fs.add(Integrity, "projection_audience", p.JTI, "the projection is for %.200q", p.Aud)
	}
	if p.ExpiresAt-p.IssuedAt > federation.MaxProjectionSeconds {
		fs.add(Integrity, "projection_lifetime", p.JTI, "the projection lives longer than %d seconds",
			federation.MaxProjectionSeconds)
	}
	if !opts.At.IsZero() && (opts.At.Add(federation.ClockSkew).Unix() < p.IssuedAt || opts.At.Unix() >= p.ExpiresAt) {
		fs.add(Integrity, "projection_expired", p.JTI, "the projection is not usable at %s", mission.FormatTime(opts.At))
	}
	if p.Mission.State != mission.Active {
		fs.add(Integrity, "projection_state", p.JTI, "the projected mission is not active")
	}
	if last := p.Delegation[len(p.Delegation)-1]; last.Issuer != p.Iss {
		fs.add(Integrity, "projection_chain", p.JTI, "the chain does not end with the issuer")
	}
	want, err := federation.CommitAuthority(p.Iss, p.Aud, p.AuthoritySalt, p.AuthorizationDetails)
	if err != nil || want != p.AuthorityCommitment {
		fs.add(Integrity, "projection_commitment", p.JTI, "the authority commitment does not recompute")
	}
	if _, dropped, err := mission.ParseConveyed(p.AuthorizationDetails.Bytes()); err != nil {
		fs.add(Integrity, "projection_entries", p.JTI, "the entries cannot be read")
	} else if dropped > 0 {
		fs.add(Note, "projection_entries_unknown", p.JTI, "%d entries have no rules here and convey nothing", dropped)
	}
	if !trust.Agreement(p.Agreement.Digest) {
		fs.add(Note, "agreement_unlisted", p.JTI, "the trust document does not list the agreement %s", p.Agreement.Digest)
	}
	return r
}

// open checks form and signature.
func (r *ProjectionReport) open(compact string, trust *Trust) *federation.Projection {
	token, err := jws.Parse(compact, jws.TypProjection)
	if err != nil {
		r.Findings.add(Integrity, "projection_malformed", "", "not a projection in its one encoding")
		return nil
	}
	r.Digest = token.Digest()
	p, err := federation.ParseProjection(token.Payload)
	if err != nil {
		r.Findings.add(Integrity, "projection_malformed", "", "the claims are not those of a projection")
		return nil
	}
	domain, ok := trust.Domain(p.Iss)
	if !ok {
		r.Findings.add(Audit, "issuer_unknown", p.JTI, "the trust document does not know the issuer %.200q", p.Iss)
		return nil
	}
	if _, _, known := domain.Keys.Key(token.KeyID); !known {
		r.Findings.add(Audit, "issuer_key_unknown", p.JTI, "the trust document has no issuer key %.64q", token.KeyID)
		return nil
	}
	if err := token.Verify(domain.Keys); err != nil {
		r.Findings.add(Integrity, "projection_signature", p.JTI, "the projection's signature does not verify")
		return nil
	}
	r.Projection = p
	return p
}
