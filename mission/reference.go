package mission

import (
	"errors"
	"strings"
)

// A Reference selects a Mission. It is correlation, never authority.
type Reference struct {
	ID     ID     `json:"id"`
	Issuer string `json:"issuer"`
}

// ErrReference: the Mission-Reference field is malformed.
var ErrReference = errors.New("mission: malformed Mission-Reference")

// Limits of a Reference, in octets.
const (
	maxReferenceID     = 256
	maxReferenceIssuer = 512
)

// ParseReference reads the lines of the HTTP field Mission-Reference: one line, one RFC 8941 Dictionary of exactly `id`
// (1 to 256 octets) and `issuer` (1 to 512) as Strings, in any order, without parameters, duplicates or others (core
// 4.8). What it names need not exist.
func ParseReference(lines []string) (Reference, error) {
	if len(lines) != 1 {
		return Reference{}, ErrReference
	}
	found := map[string]string{}
	rest := strings.Trim(lines[0], " ")
	for {
		key, value, after, ok := cutStringMember(rest)
		if _, twice := found[key]; !ok || twice || key != "id" && key != "issuer" {
			return Reference{}, ErrReference
		}
		found[key] = value
		if after = strings.TrimLeft(after, " \t"); after == "" {
			break
		}
		if after[0] != ',' {
			return Reference{}, ErrReference
		}
		rest = strings.TrimLeft(after[1:], " \t")
	}
	id, issuer := found["id"], found["issuer"]
	if id == "" || len(id) > maxReferenceID || issuer == "" || len(issuer) > maxReferenceIssuer {
		return Reference{}, ErrReference
	}
	return Reference{ID: ID(id), Issuer: issuer}, nil
}

// cutStringMember reads key="value" from the front of s.
func cutStringMember(s string) (key, value, rest string, ok bool) {
	key, s, ok = strings.Cut(s, `="`)
	if !ok {
		return "", "", "", false
	}
	var b []byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return key, string(b), s[i+1:], true
		case c == '\\':
			i++
			if i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", "", "", false
			}
			b = append(b, s[i])
		case c < 0x20 || c > 0x7e:
			return "", "", "", false
		default:
			b = append(b, c)
		}
	}
	return "", "", "", false
}

// String spells the field's value.
func (r Reference) String() string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	return `id="` + escape.Replace(string(r.ID)) + `", issuer="` + escape.Replace(r.Issuer) + `"`
}
