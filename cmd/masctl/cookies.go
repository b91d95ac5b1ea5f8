package main

import (
	"net/http"
	"net/url"

	"github.com/ssgelm/cookiejarparser"
)

// A guardedJar gives cookies of a file to one origin and nobody else. The parser's own jar is not enough: it sends
// host-only cookies to sub-domains and forgets that a cookie is for https when a file has two for one host. Cookies
// that a server sets are dropped: the file belongs to whoever signed on.
type guardedJar struct {
	scheme, host string
	inner        http.CookieJar
}

// loadCookies reads a Netscape cookie file for the service at origin. Errors never quote the file.
func loadCookies(path string, origin *url.URL) (*guardedJar, error) {
	if _, err := readPrivate(path); err != nil {
		return nil, usage("cookie jar: %w", err)
	}
	if !safeOrigin(origin) {
		return nil, usage("cookie jar: %s is not https", origin.Host)
	}
	inner, err := cookiejarparser.LoadCookieJarFile(path)
	if err != nil {
		return nil, usage("cookie jar %s is malformed", path)
	}
	return &guardedJar{scheme: origin.Scheme, host: origin.Host, inner: inner}, nil
}

// Cookies implements http.CookieJar.
func (j *guardedJar) Cookies(u *url.URL) []*http.Cookie {
	if u.Scheme != j.scheme || u.Host != j.host {
		return nil
	}
	return j.inner.Cookies(u)
}

// SetCookies implements http.CookieJar.
func (j *guardedJar) SetCookies(*url.URL, []*http.Cookie) {}
