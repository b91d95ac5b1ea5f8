package mission

import (
	"errors"
	"time"
)

// ErrTime: the text is not an acceptable RFC 3339 date-time.
var ErrTime = errors.New("mission: malformed date-time")

// IssuerTime is the one form of times this issuer makes: UTC, whole seconds.
const IssuerTime = "2006-01-02T15:04:05Z"

// FormatTime spells t as "YYYY-MM-DDTHH:MM:SSZ", dropping fractions of a second.
func FormatTime(t time.Time) string { return t.UTC().Format(IssuerTime) }

// ParseTime reads an RFC 3339 date-time. Stricter than time.Parse: upper-case T and Z, two digits everywhere, a full
// stop before 1 to 9 digits of fraction, no second 60, offsets up to 23:59.
func ParseTime(s string) (time.Time, error) {
	if !isDateTime(s) {
		return time.Time{}, ErrTime
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, ErrTime
	}
	return t.UTC(), nil
}

// ParseIssuerTime reads the one form that FormatTime makes.
func ParseIssuerTime(s string) (time.Time, error) {
	if len(s) != len(IssuerTime) || s[len(s)-1] != 'Z' {
		return time.Time{}, ErrTime
	}
	return ParseTime(s)
}

// isDateTime checks the shape that time.Parse is too lax about; field ranges are left to it except for offsets.
func isDateTime(s string) bool {
	const shape = "dddd-dd-ddTdd:dd:dd"
	if len(s) < len(shape)+1 || !matchShape(s[:len(shape)], shape) {
		return false
	}
	rest := s[len(shape):]
	if rest[0] == '.' {
		n := 1
		for n < len(rest) && isDigit(rest[n]) {
			n++
		}
		if n == 1 || n > 10 {
			return false
		}
		rest = rest[n:]
	}
	if rest == "Z" {
		return true
	}
	return len(rest) == 6 && (rest[0] == '+' || rest[0] == '-') && matchShape(rest[1:], "dd:dd") &&
		rest[1:3] <= "23" && rest[4:6] <= "59"
}

func matchShape(s, shape string) bool {
	for i := range len(shape) {
		if shape[i] == 'd' && !isDigit(s[i]) || shape[i] != 'd' && s[i] != shape[i] {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
