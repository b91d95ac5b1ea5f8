package mission_test

import (
	"testing"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/missiontest"
)

func TestPrefixContains(t *testing.T) {
	const base = "https://api.example/orders"
	for _, c := range []struct {
		base, uri string
		want      bool
	}{
		{base, "https://api.example/orders", true},
		{base, "https://api.example/orders/", true},
		{base, "https://api.example/orders/1", true},
		{base, "https://api.example/orders//1", true},
		{base, "https://api.example/orders/1?x=/../../admin", true}, // a query has no path
		{base, "https://api.example./orders", false},
		{base, "https://api.example/ordersx", false},
		{base, "https://api.example/orders-old/1", false},
		{base, "https://api.example/Orders", false},
		{base, "https://api.example/", false},
		{base, "https://api.example//orders", false},
		{base, "https://api.example/orders/../admin", false},
		{base, "https://api.example/orders/..", false},
		{base, "https://api.example/orders/%2e%2e/admin", false},
		{base, "https://api.example/orders/.%2E/admin", false},
		{base, "https://api.example/orders/..%2fadmin", true}, // one segment that holds an encoded slash
		{base, "https://api.example/orders/./1", true},
		{base, "https://api.example/x/../orders/1", true},
		{base, "https://api.example/../../orders", true},
		{base, "https://api.example/orders%2F1", false},
		{base, "https://api.example/%6frders/1", true},
		{base, "https://api.example/%6Frders/1", true},
		{base, "https://api.example/orders/%zz", false},
		{base, "https://api.example/orders/%2", false},
		{base, "https://api.example/orders/a b", false},
		{base, "https://api.example/orders\\1", false},
		{base, "https://api.example/orders/é", false},
		{base, "https://api.example/orders#x", false},
		{base, "https://API.Example:443/orders/1", true},
		{base, "https://api.example:/orders/1", true},
		{base, "https://api.example:0443/orders/1", false},
		{base, "https://api.example:80/orders/1", false},
		{base, "http://api.example:443/orders/1", false},
		{base, "https://user@api.example/orders", false},
		{base, "https://@api.example/orders", false},
		{base, "https://:443/orders", false},
		{"1ttps://api.example", "1ttps://api.example", false},
		{"+https://api.example", "+https://api.example", false},
		{"https://api.example", "https://", false},
		{base, "https://api.example@evil.test/orders", false},
		{base, "https://evil.test/https://api.example/orders", false},
		{base, "//api.example/orders", false},
		{base, "https:/api.example/orders", false},
		{base, "", false},
		{"", "https://api.example/orders", false},
		{"https://api.example", "https://api.example/x", true},
		{"https://api.example/", "https://api.example", true},
		{"https://api.example?x", "https://api.example/x", false},
		{"http://api.example:80", "http://api.example/x", true},
		{"https://[2001:DB8::1]/a", "https://[2001:db8::1]:443/a/b", true},
		{"https://[2001:db8::1", "https://[2001:db8::1/a", false},
		{"ftp://files.example/a", "ftp://files.example/a", true},
		{"ftp://files.example/a", "ftp://files.example/a/b", false},
		{"urn:example:a", "urn:example:a", false},
	} {
		if got := mission.PrefixContains(c.base, c.uri); got != c.want {
			t.Errorf("%s contains %s: %v", c.base, c.uri, got)
		}
	}
}

func TestCheckIssuer(t *testing.T) {
	for s, want := range map[string]bool{
		"https://mas.example":          true,
		"https://mas.example/tenant":   true,
		"http://127.0.0.1:8420":        true,
		"https://mas.example?x":        false,
		"https://mas.example#x":        false,
		"https://user:pw@mas.example":  false,
		"https://@mas.example":         false,
		"://mas.example":               false,
		"https:":                       false,
		"ftp://mas.example":            false,
		"mas.example":                  false,
		"https://":                     false,
		"https://m\u00e4s.example":     false,
		"https://mas.example/a b":      false,
		"https://mas.example:99999999": false,
		"":                             false,
	} {
		if got := mission.CheckIssuer(s) == nil; got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func FuzzPrefixContains(f *testing.F) {
	for _, c := range vectors(f, "authority.json") {
		var in struct {
			Base string `json:"base"`
			URI  string `json:"uri"`
		}
		if c.Kind == "prefix" && c.Input.Decode(&in) == nil {
			f.Add(in.Base, in.URI)
		}
	}
	f.Add("https://a.example/b", "https://a.example/b/%2e%2e/c")
	f.Fuzz(func(t *testing.T, base, uri string) {
		if !mission.PrefixContains(base, uri) {
			return
		}
		if !mission.PrefixContains(base, base) || !mission.PrefixContains(uri, uri) && !hasQuery(uri) {
			t.Fatalf("%q contains %q but not itself", base, uri)
		}
	})
}

func hasQuery(s string) bool {
	for i := range len(s) {
		if s[i] == '?' {
			return true
		}
	}
	return false
}

func TestSchemesOfResources(t *testing.T) {
	for s, want := range map[string]bool{
		"https": true, "a": true, "z": true, "A": true, "Z": true, "a1": true, "a+b-c.d": true, "abcxyz0189": true,
		"": false, "1a": false, "+a": false, "-a": false, ".a": false, "a_b": false, "a~b": false, "a b": false,
		"\u00e4": false, "a\u00e4": false, "[a": false, "`a": false, "{a": false, "@a": false,
	} {
		e := missiontest.Entry(func(e *mission.Entry) { e.Resource = s + "://host.example/a" })
		if got := e.Validate() == nil; got != want {
			t.Errorf("scheme %q: %v", s, got)
		}
	}
}
