package mission

import (
	"errors"
	"strings"
)

// Errors of URIs.
var (
	ErrURI       = errors.New("mission: not an acceptable absolute URI")
	errURIPrefix = errors.New("mission: a prefix resource carries no query and no trailing slash")
)

// A uri is an absolute URI taken apart (RFC 3986), not normalised.
type uri struct {
	scheme   string
	hasHost  bool // an authority was present
	userinfo bool
	host     string // with port
	path     string
	query    bool
	fragment bool
}

// splitURI takes an absolute URI apart; false if it has no scheme or holds an octet that RFC 3986 does not allow.
func splitURI(s string) (uri, bool) {
	var u uri
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || !isScheme(scheme) || rest == "" || !isURIText(rest) {
		return u, false
	}
	u.scheme = scheme
	rest, _, u.fragment = strings.Cut(rest, "#")
	rest, _, u.query = strings.Cut(rest, "?")
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		u.hasHost = true
		if i := strings.IndexByte(after, '/'); i >= 0 {
			u.host, u.path = after[:i], after[i:]
		} else {
			u.host = after
		}
		if i := strings.LastIndexByte(u.host, '@'); i >= 0 {
			u.userinfo, u.host = true, u.host[i+1:]
		}
	} else {
		u.path = rest
	}
	return u, !strings.ContainsAny(u.path, "[]") && (!u.hasHost || isHost(u.host))
}

func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if !('a' <= c && c <= 'z' || i > 0 && (isDigit(s[i]) || strings.IndexByte("+-.", s[i]) >= 0)) {
			return false
		}
	}
	return s != ""
}

// isURIText allows the characters of RFC 3986 with complete percent-encodings, and one fragment mark.
func isURIText(s string) bool {
	hash := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case isIDByte(c) || strings.IndexByte(".~:/?[]@!$&'()*+,;=", c) >= 0:
		case c == '#' && !hash:
			hash = true
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			i += 2
		default:
			return false
		}
	}
	return true
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// isHost accepts a registered name, an IPv4 address or a bracketed IPv6 address, each with an optional port. Percent
// encodings in a host are refused.
func isHost(s string) bool {
	name, port := s, ""
	if strings.HasPrefix(s, "[") {
		i := strings.IndexByte(s, ']')
		if i < 2 {
			return false
		}
		for _, c := range []byte(s[1:i]) {
			if !isHex(c) && c != ':' && c != '.' {
				return false
			}
		}
		name, port = s[:i+1], s[i+1:]
		if port != "" && port[0] != ':' {
			return false
		}
		port = strings.TrimPrefix(port, ":")
	} else {
		name, port, _ = strings.Cut(s, ":")
		for _, c := range []byte(name) {
			if !isIDByte(c) && c != '.' {
				return false
			}
		}
	}
	for _, c := range []byte(port) {
		if !isDigit(c) {
			return false
		}
	}
	return name != "" && len(port) <= 5
}

// checkResource accepts scheme://host… without user information and fragment.
func checkResource(s string) error {
	u, ok := splitURI(s)
	if !ok || len(s) > MaxResourceURI || !u.hasHost || u.userinfo || u.fragment {
		return ErrURI
	}
	return nil
}

// checkPrefixResource accepts a resource that may stand for everything under it.
func checkPrefixResource(s string) error {
	if err := checkResource(s); err != nil {
		return err
	}
	if u, _ := splitURI(s); u.query || len(u.path) > 1 && strings.HasSuffix(u.path, "/") {
		return errURIPrefix
	}
	return nil
}

// CheckIssuer accepts an issuer identifier: an http or https URL in ASCII of at most 512 octets, without user
// information, query and fragment. Which schemes a deployment allows is its own question.
func CheckIssuer(s string) error {
	u, ok := splitURI(s)
	if !ok || len(s) > 512 || !u.hasHost || u.userinfo || u.query || u.fragment {
		return ErrURI
	}
	if u.scheme != "https" && u.scheme != "http" {
		return ErrURI
	}
	return nil
}

// PrefixContains reports whether the prefix resource base contains uri (core 1.7): same scheme and authority, and a
// path that equals base's or continues it after a slash. Both are normalised for the comparison only: case of scheme
// and host, default port, percent-encoding of unreserved characters, dot segments; %2F stays encoded and // stays
// double. Other schemes than http and https are compared byte by byte.
func PrefixContains(base, uri string) bool {
	b, ok := normalizeURI(base)
	if !ok || b.query {
		return false
	}
	u, ok := normalizeURI(uri)
	if !ok || b.scheme != u.scheme || b.host != u.host {
		return false
	}
	if b.scheme != "https" && b.scheme != "http" {
		return base == uri
	}
	rest, ok := strings.CutPrefix(u.path, b.path)
	return ok && (rest == "" || rest[0] == '/' || b.path == "/")
}

func normalizeURI(s string) (uri, bool) {
	u, ok := splitURI(s)
	if !ok || !u.hasHost || u.userinfo || u.fragment {
		return u, false
	}
	u.scheme, u.host = strings.ToLower(u.scheme), strings.ToLower(u.host)
	i := strings.LastIndexByte(u.host, ':')
	if i > strings.LastIndexByte(u.host, ']') {
		switch port := u.host[i+1:]; {
		case port == "", port == "443" && u.scheme == "https", port == "80" && u.scheme == "http":
			u.host = u.host[:i]
		}
	}
	u.path = removeDotSegments(normalizePercent(u.path))
	return u, true
}

// normalizePercent decodes percent-encoded unreserved characters and spells the other encodings in upper case.
func normalizePercent(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		c := unhex(s[i+1])<<4 | unhex(s[i+2])
		if isIDByte(c) || c == '.' || c == '~' {
			b = append(b, c)
		} else {
			b = append(b, '%', upper(s[i+1]), upper(s[i+2]))
		}
		i += 2
	}
	return string(b)
}

func unhex(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

func upper(c byte) byte {
	if isDigit(c) {
		return c
	}
	return c &^ 0x20
}

// removeDotSegments is RFC 3986 5.2.4 for an absolute path; the empty path is "/".
func removeDotSegments(path string) string {
	if !strings.Contains(path, "/.") {
		if path == "" {
			return "/"
		}
		return path
	}
	var out []string
	segments := strings.Split(path[1:], "/")
	for i, seg := range segments {
		last := i == len(segments)-1
		switch seg {
		case ".":
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, seg)
			continue
		}
		if last {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}
