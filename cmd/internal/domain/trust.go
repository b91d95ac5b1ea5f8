package domain

import (
	"github.com/mission-authority/mas/cmd/internal/config"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/verifier"
)

// Anchor is what an auditor needs to know about a domain: its names and public keys, taken from the domain's own key
// files and not from what its server says.
func Anchor(c *config.Config) (a verifier.Anchor, err error) {
	set, err := loadKeys(c)
	if err != nil {
		return a, err
	}
	a = verifier.Anchor{Issuer: c.Issuer, Origin: c.LogOrigin()}
	if _, a.VKey, err = set.Key(keys.Checkpoint).Note(a.Origin); err != nil {
		return a, err
	}
	if a.Keys, err = set.Key(keys.Issuer).PublicJWKS(); err != nil {
		return a, err
	}
	if a.Governance, err = set.Key(keys.Governance).PublicJWKS(); err != nil {
		return a, err
	}
	for role, ring := range map[keys.Role]*verifier.KeyRing{keys.Receipts: &a.Receipts, keys.Evidence: &a.Evidence} {
		*ring = verifier.KeyRing{{Public: set.Key(role).Public(), Status: verifier.KeyActive}}
	}
	return a, nil
}
