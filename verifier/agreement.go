package verifier

import (
	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/mission/jws"
)

// VerifyAgreement checks a federation agreement: both governance signatures over the shared document, and that every
// party the trust document knows is described with the names and keys that are trusted.
func VerifyAgreement(s *federation.SignedAgreement, trust *Trust) Findings {
	var fs Findings
	if err := s.Verify(); err != nil {
		fs.add(Integrity, "agreement_signature", s.Agreement.ID, "the agreement does not carry both parties' signatures")
		return fs
	}
	known := 0
	for i := range s.Agreement.Parties {
		p := &s.Agreement.Parties[i]
		domain, ok := trust.Domain(p.Issuer)
		if !ok {
			continue
		}
		known++
		fs = append(fs, checkParty(p, domain)...)
	}
	ref, err := s.Agreement.Ref()
	switch {
	case err != nil:
		fs.add(Integrity, "agreement_malformed", s.Agreement.ID, "the agreement has no canonical form")
	case known == 0:
		fs.add(Audit, "parties_unknown", s.Agreement.ID, "the trust document knows neither party")
	case !trust.Agreement(ref.Digest):
		fs.add(Note, "agreement_unlisted", s.Agreement.ID, "the trust document does not list the agreement %s", ref.Digest)
	}
	return fs
}

// checkParty holds one party against what is trusted of it.
func checkParty(p *federation.Party, domain *Anchor) Findings {
	var fs Findings
	if p.Log.Origin != domain.Origin || !domain.KnowsLogKey(p.Log.VKey) {
		fs.add(Integrity, "agreement_log", p.Issuer, "the agreement names another log than the trusted one")
	}
	if domain.Governance == nil {
		fs.add(Audit, "governance_key_unknown", p.Issuer, "the trust document has no governance key of the party")
		return fs
	}
	_, thumb, err := p.Governance()
	if err != nil || !holdsThumbprint(domain.Governance, thumb) {
		fs.add(Integrity, "agreement_key", p.Issuer, "the agreement names another governance key than the trusted ones")
	}
	return fs
}

// holdsThumbprint reports whether a key of the set has this RFC 7638 thumbprint.
func holdsThumbprint(set *jws.KeySet, thumbprint string) bool {
	for _, kid := range set.KeyIDs() {
		pub, _, ok := set.Key(kid)
		if !ok {
			continue
		}
		if t, err := jws.Thumbprint(pub); err == nil && t == thumbprint {
			return true
		}
	}
	return false
}
