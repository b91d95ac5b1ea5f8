package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cookieFile has two host-only https cookies for one host: the case in which the parser's own jar forgets that the
// first one is for https, and for this host alone.
const cookieFile = "# Netscape HTTP Cookie File\n" +
	"mas.example\tFALSE\t/\tTRUE\t0\tfirst\tone\n" +
	"mas.example\tFALSE\t/\tTRUE\t0\tsecond\ttwo\n" +
	".mas.example\tTRUE\t/\tTRUE\t0\twide\tthree\n"

func writeJar(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cookies.txt")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func parse(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestCookiesStayAtTheirOrigin: one origin gets the cookies, and nothing else does.
func TestCookiesStayAtTheirOrigin(t *testing.T) {
	jar, err := loadCookies(writeJar(t, cookieFile, 0o600), parse(t, "https://mas.example"))
	if err != nil {
		t.Fatal(err)
	}
	if got := jar.Cookies(parse(t, "https://mas.example/mas/review")); len(got) != 3 {
		t.Errorf("the origin gets %d cookies", len(got))
	}
	for _, elsewhere := range []string{"http://mas.example/", "https://sub.mas.example/", "https://mas.example:8443/",
		"https://other.example/", "http://127.0.0.1/"} {
		if got := jar.Cookies(parse(t, elsewhere)); len(got) != 0 {
			t.Errorf("%s gets %v", elsewhere, got)
		}
	}
	jar.SetCookies(parse(t, "https://mas.example/"), []*http.Cookie{{Name: "planted", Value: "x"}})
	if got := jar.Cookies(parse(t, "https://mas.example/")); len(got) != 3 {
		t.Errorf("a server planted a cookie: %v", got)
	}
}

func TestCookieFilesRefused(t *testing.T) {
	secure := parse(t, "https://mas.example")
	for name, tc := range map[string]struct {
		path   string
		origin *url.URL
	}{
		"readable by others": {writeJar(t, cookieFile, 0o644), secure},
		"missing":            {filepath.Join(t.TempDir(), "none"), secure},
		"a directory":        {t.TempDir(), secure},
		"plain http":         {writeJar(t, cookieFile, 0o600), parse(t, "http://mas.example")},
		"malformed":          {writeJar(t, "mas.example\tFALSE\t/\thunter2\t0\ta\tb\n", 0o600), secure},
		"too large":          {writeJar(t, strings.Repeat("#\n", maxInput), 0o600), secure},
	} {
		_, err := loadCookies(tc.path, tc.origin)
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error quotes the file: %v", name, err)
		}
	}
}

// TestCookiesPassTheProxy: a request through --cookie-jar carries the cookies, and a redirect to another origin does
// not.
func TestCookiesPassTheProxy(t *testing.T) {
	var other, own []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		other = append(other, r.Header.Get("Cookie"))
	}))
	defer elsewhere.Close()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		own = append(own, r.Header.Get("Cookie"))
		http.Redirect(w, r, elsewhere.URL, http.StatusFound)
	}))
	defer proxy.Close()
	jar := writeJar(t, "127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tvalue\n", 0o600)
	s := &session{server: proxy.URL, cookieJar: jar, output: "json", stdout: new(strings.Builder), stderr: new(strings.Builder)}
	c, err := s.anonymous()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "/healthz"); err == nil {
		t.Error("a redirect was followed")
	}
	if len(own) != 1 || own[0] != "session=value" || len(other) != 0 {
		t.Errorf("the proxy saw %q, the other origin %q", own, other)
	}
}
