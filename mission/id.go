package mission

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
)

// Identifiers are opaque: 24 random octets (192 bits) in base64url behind a prefix, never derived from content and
// never reused. Possession of one grants nothing.
type (
	// ID names a Mission. Together with its issuer it is the canonical key everywhere.
	ID string
	// SubmissionID names a submission.
	SubmissionID string
	// EventID names an approval event or another event made by the issuer.
	EventID string
)

// ErrID: the text is not an identifier of the expected kind.
var ErrID = errors.New("mission: malformed identifier")

const idRandom = 24

func newID(prefix string) string {
	var b [idRandom]byte
	rand.Read(b[:]) // never fails
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// NewMissionID returns a fresh Mission id: "msn_" and 32 base64url characters.
func NewMissionID() ID { return ID(newID("msn_")) }

// NewSubmissionID returns a fresh submission id: "sub_" and 32 base64url characters.
func NewSubmissionID() SubmissionID { return SubmissionID(newID("sub_")) }

// NewEventID returns a fresh event id: "evt_" and 32 base64url characters.
func NewEventID() EventID { return EventID(newID("evt_")) }

// NewSalt returns 128 random bits in base64url, for objects that are enumerable without it.
func NewSalt() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func parseOwn(s, prefix string) error {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok || len(rest) != 4*idRandom/3 || !isIDText(rest) {
		return ErrID
	}
	return nil
}

// ParseMissionID accepts the ids that NewMissionID makes. Ids of other issuers are checked by ID.Validate.
func ParseMissionID(s string) (ID, error) { return ID(s), parseOwn(s, "msn_") }

// ParseSubmissionID accepts the ids that NewSubmissionID makes.
func ParseSubmissionID(s string) (SubmissionID, error) { return SubmissionID(s), parseOwn(s, "sub_") }

// ParseEventID accepts the ids that NewEventID makes.
func ParseEventID(s string) (EventID, error) { return EventID(s), parseOwn(s, "evt_") }

// Validate accepts the Mission id of any issuer: 1 to 256 characters of [A-Za-z0-9_-] (core 1.12).
func (id ID) Validate() error {
	if len(id) == 0 || len(id) > 256 || !isIDText(string(id)) {
		return ErrID
	}
	return nil
}

// Validate accepts 1 to 128 characters of [A-Za-z0-9_-].
func (id SubmissionID) Validate() error {
	if len(id) == 0 || len(id) > 128 || !isIDText(string(id)) {
		return ErrID
	}
	return nil
}

// Validate accepts 1 to 128 characters of [A-Za-z0-9_.:-].
func (id EventID) Validate() error {
	if !isName(string(id), 128) {
		return ErrID
	}
	return nil
}

func isIDByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

func isIDText(s string) bool {
	for i := range len(s) {
		if !isIDByte(s[i]) {
			return false
		}
	}
	return true
}

// isName reports whether s is 1 to limit characters of [A-Za-z0-9_.:-].
func isName(s string, limit int) bool {
	if len(s) == 0 || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isIDByte(c) && c != '.' && c != ':' {
			return false
		}
	}
	return true
}
