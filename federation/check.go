package federation

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// checkIssuer accepts an issuer identifier: an absolute http or https URL of at most 512 visible ASCII characters
// without user, query or fragment. Issuers are compared octet by octet; whether http is acceptable is the client's
// rule, not the format's.
func checkIssuer(s string) error {
	if len(s) > maxIssuer || !isVisible(s) {
		return errors.New("an issuer is not 1 to 512 visible ASCII characters")
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" ||
		u.ForceQuery || strings.Contains(s, "#") {
		return errors.New("an issuer is not an http or https URL without user, query and fragment")
	}
	return nil
}

// isVisible reports whether s is not empty and all visible ASCII.
func isVisible(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// isName reports whether s is the prefix and n base64url characters.
func isName(s, prefix string, n int) bool {
	rest, ok := strings.CutPrefix(s, prefix)
	return ok && len(rest) == n && isBase64URL(rest)
}

func isBase64URL(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// checkOpaque accepts least to most base64url characters.
func checkOpaque(name, s string, least, most int) error {
	if len(s) < least || len(s) > most || !isBase64URL(s) {
		return fmt.Errorf("%s is not %d to %d base64url characters", name, least, most)
	}
	return nil
}

// checkVisible accepts 1 to most visible ASCII characters.
func checkVisible(name, s string, most int) error {
	if len(s) > most || !isVisible(s) {
		return fmt.Errorf("%s is not 1 to %d visible ASCII characters", name, most)
	}
	return nil
}

// checkTexts accepts least to most distinct strings of 1 to 512 visible ASCII characters.
func checkTexts(name string, list []string, least, most int) error {
	if len(list) < least || len(list) > most {
		return fmt.Errorf("%s has %d elements, not %d to %d", name, len(list), least, most)
	}
	for i, s := range list {
		if len(s) > maxText || !isVisible(s) || slices.Contains(list[:i], s) {
			return fmt.Errorf("%s: an element is repeated or not 1 to %d visible ASCII characters", name, maxText)
		}
	}
	return nil
}

// checkSet accepts least to most distinct strings out of the allowed ones.
func checkSet(name string, list []string, least, most int, allowed ...string) error {
	if len(list) < least || len(list) > most {
		return fmt.Errorf("%s has %d elements, not %d to %d", name, len(list), least, most)
	}
	for i, s := range list {
		if !slices.Contains(allowed, s) || slices.Contains(list[:i], s) {
			return fmt.Errorf("%s: an element is repeated or not one of %s", name, strings.Join(allowed, ", "))
		}
	}
	return nil
}
