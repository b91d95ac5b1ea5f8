package mission_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/mission"
	"pgregory.net/rapid"
)

func TestParseDigest(t *testing.T) {
	good := string(mission.RawDigest([]byte("x")))
	if d, err := mission.ParseDigest(good); err != nil || mission.DigestOf(d.Bytes()) != d {
		t.Errorf("%s: %v", good, err)
	}
	body := strings.TrimPrefix(good, "sha-256:")
	for _, bad := range []string{
		"", "sha-256:", body, "sha256:" + body, "SHA-256:" + body, "sha-512:" + body, good + "=", good + "A",
		good[:len(good)-1], good[:len(good)-2] + "\n" + good[len(good)-1:], good + "\n", " " + good,
		good[:len(good)-1] + "+", good[:len(good)-1] + nextLetter(good[len(good)-1]),
	} {
		if d, err := mission.ParseDigest(bad); err == nil {
			t.Errorf("accepted %q as %s", bad, d)
		}
	}
	if mission.Digest("sha-256:x").Bytes() != [32]byte{} {
		t.Error("octets of a malformed digest")
	}
}

// nextLetter changes the lowest bit of a base64url digit: a stray bit where the last digit carries only four.
func nextLetter(c byte) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(digits[strings.IndexByte(digits, c)^1])
}

// A digest of one type or issuer never passes for that of another, even over the same value.
func TestEnvelopesAreSeparated(t *testing.T) {
	typs := []mission.Typ{
		mission.TypIntent, mission.TypProposedAuthority, mission.TypAuthoritySet, mission.TypAuthorityEntry,
		mission.TypIntentEvidence, mission.TypSubmissionProvenance, mission.TypConsentDisclosure,
		mission.TypDerivationEntries, mission.TypCreationFingerprint,
	}
	value := raw(`[{"a":1}]`)
	seen := map[mission.Digest]string{}
	object, err := mission.ObjectDigest(value)
	if err != nil {
		t.Fatal(err)
	}
	seen[object] = "bare object"
	for _, typ := range typs {
		for _, iss := range []string{"https://mas.a.example", "https://mas.a.example/"} {
			d, err := mission.Envelope(typ, iss, value)
			if err != nil {
				t.Fatal(err)
			}
			name := string(typ) + " of " + iss
			if other, twice := seen[d]; twice {
				t.Errorf("%s and %s are the same", name, other)
			}
			seen[d] = name
		}
	}
}

func TestIdentifiers(t *testing.T) {
	id := mission.NewMissionID()
	if got, err := mission.ParseMissionID(string(id)); err != nil || got != id || len(id) != 36 {
		t.Errorf("%s: %v", id, err)
	}
	if id == mission.NewMissionID() {
		t.Error("two ids are the same")
	}
	if _, err := mission.ParseSubmissionID(string(mission.NewSubmissionID())); err != nil {
		t.Error(err)
	}
	if _, err := mission.ParseEventID(string(mission.NewEventID())); err != nil {
		t.Error(err)
	}
	body := string(id)[4:]
	for _, bad := range []string{"", body, "sub_" + body, "MSN_" + body, "msn_" + body + "A", "msn_" + body[1:], "msn_" + body[1:] + "/", "msn_" + body[1:] + "\n"} {
		if _, err := mission.ParseMissionID(bad); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
	for s, want := range map[string]bool{"a": true, "msn_-9": true, "": false, "a b": false, "a/b": false, strings.Repeat("x", 257): false} {
		if got := mission.ID(s).Validate() == nil; got != want {
			t.Errorf("id %q: %v", s, got)
		}
	}
}

func TestParseTime(t *testing.T) {
	for s, want := range map[string]string{
		"2026-07-01T00:00:00Z":             "2026-07-01T00:00:00Z",
		"2026-07-01T02:00:00.999999999Z":   "2026-07-01T02:00:00Z",
		"2026-07-01T23:30:00-23:59":        "2026-07-02T23:29:00Z",
		"2026-07-01T01:00:00-00:00":        "2026-07-01T01:00:00Z",
		"2024-02-29T00:00:00Z":             "2024-02-29T00:00:00Z",
		"2026-02-29T00:00:00Z":             "",
		"2026-13-01T00:00:00Z":             "",
		"2026-07-01T24:00:00Z":             "",
		"2026-07-01T00:60:00Z":             "",
		"2026-07-01T00:00:60Z":             "",
		"2026-07-01T00:00:00,5Z":           "",
		"2026-07-01T00:00:00.Z":            "",
		"2026-07-01T00:00:00.1234567890Z":  "",
		"2026-07-01T1:00:00Z":              "",
		"2026-07-01t00:00:00Z":             "",
		"2026-07-01T00:00:00z":             "",
		"2026-07-01 00:00:00Z":             "",
		"2026-07-01T00:00:00+24:00":        "",
		"2026-07-01T00:00:00+00:60":        "",
		"2026-07-01T00:00:00+0000":         "",
		"2026-07-01T00:00:00":              "",
		"2026-07-01T00:00:00Z ":            "",
		"2026-07-01T00:00:00Z\n":           "",
		"+2026-07-01T00:00:00Z":            "",
		"":                                 "",
		"\u0662026-07-01T00:00:00Z":        "",
		"2026-07-01T00:00:00.5+01:00:00":   "",
		"2026-07-01T00:00:00.5":            "",
		"10000-07-01T00:00:00Z":            "",
		"2026-07-01T00:00:00.000000000000": "",
	} {
		got, err := mission.ParseTime(s)
		if (err == nil) != (want != "") || err == nil && mission.FormatTime(got) != want {
			t.Errorf("%q: %s, %v", s, got, err)
		}
	}
	for s, want := range map[string]bool{
		"2026-07-01T00:00:00Z": true, "2026-07-01T00:00:00.5Z": false, "2026-07-01T00:00:00+00:00": false, "": false,
	} {
		if _, err := mission.ParseIssuerTime(s); (err == nil) != want {
			t.Errorf("issuer time %q: %v", s, err)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	f.Add("2026-07-01T00:00:00Z")
	f.Add("2026-07-01T00:00:00.5+01:00")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := mission.ParseTime(s)
		if err != nil {
			return
		}
		want, err := time.Parse(time.RFC3339Nano, s)
		if err != nil || !got.Equal(want) {
			t.Fatalf("%q is %s, want %s (%v)", s, got, want, err)
		}
	})
}

func TestReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		printable := func(most int) *rapid.Generator[string] {
			return rapid.StringOfN(rapid.RuneFrom([]rune(`aZ09_- "\,;=/:`)), 1, most, most)
		}
		want := mission.Reference{ID: mission.ID(printable(256).Draw(t, "id")), Issuer: printable(512).Draw(t, "issuer")}
		got, err := mission.ParseReference([]string{want.String()})
		if err != nil || got != want {
			t.Fatalf("%q: %+v, %v", want.String(), got, err)
		}
	})
	for _, bad := range [][]string{
		nil, {}, {""}, {`id="a"`}, {`id="a", issuer="b"`, `id="a", issuer="b"`}, {`id="a", issuer="b",`},
		{`id="a" issuer="b"`}, {`id="a", issuer="b"; x=1`}, {`id="a", issuer=b`}, {`id="a", issuer=("b")`},
		{`id="a", issuer="b", id="a"`}, {`ID="a", issuer="b"`}, {`id="", issuer="b"`}, {`id="a", issuer=""`},
		{`id="a\x", issuer="b"`}, {`id="a, issuer="b"`}, {"id=\"a\t\", issuer=\"b\""}, {`id="é", issuer="b"`},
		{`id="a", issuer="b", state="active"`}, {`id="a",, issuer="b"`}, {`, id="a", issuer="b"`},
		{`id="a", issuer="` + strings.Repeat("x", 513) + `"`}, {`id =  "a", issuer="b"`},
	} {
		if got, err := mission.ParseReference(bad); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func FuzzReference(f *testing.F) {
	for _, c := range vectors(f, "authority.json") {
		var in struct {
			Value string   `json:"value,omitempty"`
			Lines []string `json:"lines,omitempty"`
		}
		if c.Input.Decode(&in) == nil {
			f.Add(strings.Join(append(in.Lines, in.Value), ""))
		}
	}
	f.Fuzz(func(t *testing.T, line string) {
		ref, err := mission.ParseReference([]string{line})
		if err != nil {
			return
		}
		if again, err := mission.ParseReference([]string{ref.String()}); err != nil || again != ref {
			t.Fatalf("%q: %+v then %+v (%v)", line, ref, again, err)
		}
	})
}
