package mission

import "errors"

// A Principal is a person, service or organisation as its identity issuer names it.
type Principal struct {
	Iss string `json:"iss"`
	Sub string `json:"sub"`
}

// ErrPrincipal: a principal without issuer or subject, or with one that is too long.
var ErrPrincipal = errors.New("mission: malformed principal")

// Validate accepts non-empty issuer and subject of at most 512 octets each.
func (p Principal) Validate() error {
	if p.Iss == "" || p.Sub == "" || len(p.Iss) > 512 || len(p.Sub) > 512 {
		return ErrPrincipal
	}
	return nil
}
