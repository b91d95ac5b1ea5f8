package verifier

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/schemas"
)

// fullTrust is a trust document with everything in it.
func fullTrust(t testing.TB) *Trust {
	t.Helper()
	a := newDomain(t, "https://a.example", "a.example/log/1")
	b := newDomain(t, "https://b.example", "b.example/log/1")
	trust := a.trust()
	trust.Agreements = []mission.Digest{mission.RawDigest([]byte("agreement"))}
	trust.Peers = []Anchor{b.trust().Anchor}
	retired := a.ring(newSigner(t))[0]
	retired.Status, retired.Until = KeyRetired, epoch.Add(time.Hour)
	named := a.ring(newSigner(t))[0]
	named.KeyID = []byte("ts-1")
	trust.Receipts = append(trust.Receipts, retired, named)
	trust.Producers = []Producer{{Issuer: "https://pdp.a.example", Types: []string{"application/x+json"}, Keys: trust.Keys,
		Evidence: a.ring(newSigner(t))}}
	return trust
}

func TestTrustRoundTrip(t *testing.T) {
	want := fullTrust(t)
	text, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := schemas.Validate("trust", text); err != nil {
		t.Errorf("schema: %v", err)
	}
	got, err := ParseTrust(text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := got.Marshal()
	if err != nil || string(again) != string(text) {
		t.Errorf("second writing differs: %v\n%s\n%s", err, text, again)
	}
	if !reflect.DeepEqual(got.Receipts, want.Receipts) || got.Issuer != want.Issuer || got.VKey != want.VKey {
		t.Error("read document differs")
	}
	if _, ok := got.Receipts.Find([]byte("ts-1")); !ok {
		t.Error("a key under a name of its own is not found")
	}
	if d, ok := got.Domain("https://b.example"); !ok || d.Origin != "b.example/log/1" {
		t.Error("the peer is not found")
	}
	if _, ok := got.Domain("https://b.example/"); ok {
		t.Error("issuers are compared octet by octet")
	}
	if !got.Agreement(want.Agreements[0]) || got.Agreement(mission.RawDigest(nil)) {
		t.Error("agreements")
	}
}

// Each example of the schema package is judged as its directory says.
func TestTrustExamples(t *testing.T) {
	for _, kind := range []string{"valid", "invalid"} {
		files, err := filepath.Glob("../schemas/testdata/" + kind + "/trust.*.json")
		if err != nil || len(files) == 0 {
			t.Fatalf("no examples: %v", err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ParseTrust(text); (err == nil) != (kind == "valid") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestTrustRefuses(t *testing.T) {
	text, err := fullTrust(t).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	other := newDomain(t, "https://c.example", "c.example/log/1")
	change := func(f func(doc map[string]any)) string {
		var doc map[string]any
		if err := json.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		f(doc)
		out, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	first := func(doc map[string]any, ring string) map[string]any {
		return doc[ring].([]any)[0].(map[string]any)
	}
	cases := map[string]string{
		"unknown member":    change(func(d map[string]any) { d["note"] = 1 }),
		"format":            change(func(d map[string]any) { d["format"] = 2 }),
		"no issuer":         change(func(d map[string]any) { d["issuer"] = "" }),
		"missing member":    change(func(d map[string]any) { delete(d, "jwks") }),
		"vkey of other log": change(func(d map[string]any) { d["log"].(map[string]any)["vkey"] = other.vkey }),
		"origin":            change(func(d map[string]any) { d["log"].(map[string]any)["origin"] = "a b" }),
		"key twice": change(func(d map[string]any) {
			d["evidence_keys"] = append(d["evidence_keys"].([]any), first(d, "evidence_keys"))
		}),
		"foreign kid":        change(func(d map[string]any) { first(d, "evidence_keys")["jwk"].(map[string]any)["kid"] = "other" }),
		"private key":        change(func(d map[string]any) { first(d, "evidence_keys")["jwk"].(map[string]any)["d"] = "AAAA" }),
		"status":             change(func(d map[string]any) { first(d, "receipt_keys")["status"] = "fine" }),
		"active until":       change(func(d map[string]any) { first(d, "receipt_keys")["until"] = "2026-01-01T00:00:00Z" }),
		"retired for ever":   change(func(d map[string]any) { first(d, "receipt_keys")["status"] = "retired" }),
		"peer is the issuer": change(func(d map[string]any) { d["peers"].([]any)[0].(map[string]any)["issuer"] = d["issuer"] }),
		"peer twice": change(func(d map[string]any) {
			d["peers"] = append(d["peers"].([]any), maps.Clone(d["peers"].([]any)[0].(map[string]any)))
		}),
		"producer is the issuer": change(func(d map[string]any) { first(d, "producers")["issuer"] = d["issuer"] }),
		"producer is a peer":     change(func(d map[string]any) { first(d, "producers")["issuer"] = "https://b.example" }),
		"producer of nothing":    change(func(d map[string]any) { first(d, "producers")["types"] = []any{} }),
		"producer without keys":  change(func(d map[string]any) { delete(first(d, "producers"), "jwks") }),
		"producer twice": change(func(d map[string]any) {
			d["producers"] = append(d["producers"].([]any), maps.Clone(first(d, "producers")))
		}),
		"digest":    change(func(d map[string]any) { d["agreements"] = []any{"sha-256:short"} }),
		"too large": string(text) + strings.Repeat(" ", MaxTrustBytes),
		"empty":     "",
	}
	for name, doc := range cases {
		if _, err := ParseTrust([]byte(doc)); !errors.Is(err, ErrTrust) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func FuzzParseTrust(f *testing.F) {
	files, err := filepath.Glob("../schemas/testdata/*/trust.*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	text, err := fullTrust(f).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, data []byte) {
		trust, err := ParseTrust(data)
		if err != nil {
			return
		}
		if err := schemas.Validate("trust", data); err != nil {
			t.Fatalf("accepted but not valid: %v", err)
		}
		out, err := trust.Marshal()
		if err != nil {
			t.Fatalf("accepted but not writable: %v", err)
		}
		if _, err := ParseTrust(out); err != nil {
			t.Fatalf("written but not readable: %v", err)
		}
	})
}
