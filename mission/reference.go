package mission

import "errors"

// A Reference selects a Mission. It is correlation, never authority.
type Reference struct {
	ID     ID     `json:"id"`
	Issuer string `json:"issuer"`
}

// ErrReference: the Mission-Reference field is malformed.
var ErrReference = errors.New("mission: malformed Mission-Reference")

// ParseReference reads the lines of the HTTP field Mission-Reference: one Dictionary of exactly `id` and `issuer`
// Strings, without parameters, duplicates or others (core 4.8).
func ParseReference(lines []string) (Reference, error) { panic("not yet") }

// String spells the field's value.
func (r Reference) String() string { panic("not yet") }
