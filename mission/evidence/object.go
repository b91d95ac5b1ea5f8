package evidence

import (
	"encoding/base64"
	"strings"

	"github.com/mission-authority/mas/mission"
)

// FormatJWS is the only format of an Envelope.
const FormatJWS = "jws-compact"

// An Envelope carries the signature over the canonical form of every other member.
type Envelope struct {
	Format string `json:"format"`
	Value  string `json:"value"`
}

// An Emitter is the component that made and signed a record.
type Emitter struct {
	ID   string `json:"id"`
	Role string `json:"role"`
}

// Validate bounds the id. Decode calls it.
func (e Emitter) Validate() error { return text(e.ID, "emitter.id") }

// A MissionRef names a mission and what was approved. In decision evidence it also names the view that was evaluated.
type MissionRef struct {
	ID            mission.ID     `json:"id"`
	Issuer        string         `json:"issuer"`
	AuthorityHash mission.Digest `json:"authority_hash,omitempty"`
}

// Validate checks the issuer. Decode calls it.
func (m MissionRef) Validate() error { return mission.CheckIssuer(m.Issuer) }

// Limits of text in a record, in octets.
const (
	maxText    = 2048
	maxMembers = 64
	minSalt    = 16
)

// text refuses what is empty or too long.
func text(s, name string) error {
	if s == "" || len(s) > maxText {
		return violation(name + " is empty or too long")
	}
	return nil
}

// all returns the first error.
func all(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// must is a rule between members.
func must(ok bool, rule string) error {
	if !ok {
		return violation(rule)
	}
	return nil
}

func at(s, name string) error {
	if _, err := mission.ParseTime(s); err != nil {
		return violation(name + " is not a date-time")
	}
	return nil
}

func oneOf(s, name string, values ...string) error {
	for _, v := range values {
		if s == v {
			return nil
		}
	}
	return violation(name + " has an unknown value")
}

// isToken is 1*64( ALPHA / DIGIT / "-" / "_" ).
func isToken(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// isRandom reports whether an id can hold 128 random bits: after a prefix of lower-case letters and an underscore, at
// least 22 characters, at least 8 of them distinct. Randomness itself cannot be seen; a counter or a name can.
func isRandom(id string) bool {
	if !isToken(id) {
		return false
	}
	if prefix, rest, ok := strings.Cut(id, "_"); ok && len(prefix) <= 8 && strings.ToLower(prefix) == prefix {
		id = rest
	}
	distinct := map[byte]bool{}
	for i := range len(id) {
		distinct[id[i]] = true
	}
	return len(id) >= 22 && len(distinct) >= 8
}

func randomID(id, name string) error {
	return must(isRandom(id), name+" has less than 128 random bits")
}

// isSalt reports whether s is base64url of at least 16 octets.
func isSalt(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) >= minSalt && len(s) <= 255 && !strings.ContainsAny(s, "\r\n")
}

func saltOf(s string) error { return must(isSalt(s), "salt has less than 128 bits") }

// extensions accepts members of other names only if these cannot collide with a draft's, and never parameters.
func extensions(rest map[string]mission.Raw) error {
	if len(rest) > maxMembers {
		return violation("too many members")
	}
	for name, value := range rest {
		if !strings.ContainsAny(name, ".:/") && !strings.HasPrefix(name, "mas_") {
			return violation("a member has an uncoordinated name")
		}
		if err := noParameters(value); err != nil {
			return err
		}
	}
	return nil
}

// noParameters refuses a member named parameters at any depth: a record holds the digest of what an action was called
// with, never that itself.
func noParameters(values ...mission.Raw) error {
	for _, v := range values {
		if v.IsZero() {
			continue
		}
		var any any
		if err := v.Decode(&any); err != nil {
			return err
		}
		if hasParameters(any) {
			return violation("a record holds no parameters")
		}
	}
	return nil
}

func hasParameters(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			if strings.EqualFold(name, "parameters") || hasParameters(inner) {
				return true
			}
		}
	case []any:
		for _, inner := range v {
			if hasParameters(inner) {
				return true
			}
		}
	}
	return false
}

// isObject reports whether a member is a JSON object.
func isObject(v mission.Raw) bool { return len(v.Bytes()) > 1 && v.Bytes()[0] == '{' }

func objects(name string, values ...mission.Raw) error {
	for _, v := range values {
		if !v.IsZero() && !isObject(v) {
			return violation(name + " is not an object")
		}
	}
	return nil
}

// An Action names what was asked for. It is closed: whatever else a request carried stays with the request.
type Action struct {
	Name  string `json:"name,omitempty"`
	ID    string `json:"id,omitempty"`
	Type  string `json:"type,omitempty"`
	Class string `json:"class,omitempty"`
}

// Validate asks for a name or an id. Decode calls it.
func (a Action) Validate() error {
	return must(a.Name != "" || a.ID != "", "action has neither name nor id")
}

// collisionResistant reports whether a name is in a namespace that somebody controls.
func collisionResistant(s string) bool {
	for _, c := range []byte(s) {
		if c == '.' || c == ':' || c == '/' {
			return len(s) <= maxText
		}
	}
	return false
}
