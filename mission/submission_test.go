package mission_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/missiontest"
)

const (
	goodIntent = `{"goal":"Reconcile","resources":["https://erp.a.example"],"expires_at":"2026-12-02T12:00:00Z"}`
	goodEntry  = `{"type":"mission_resource_access","resource":"https://erp.a.example","actions":["invoices.read"]}`
)

// with adds or replaces a member of goodIntent.
func with(name, value string) string {
	in := strings.TrimPrefix(goodIntent, "{")
	for _, m := range []string{`"goal":"Reconcile",`, `"resources":["https://erp.a.example"],`, `,"expires_at":"2026-12-02T12:00:00Z"`} {
		if strings.Contains(m, `"`+name+`"`) {
			in = strings.Replace(in, m, "", 1)
		}
	}
	if value == "" {
		return "{" + in
	}
	return `{"` + name + `":` + value + "," + in
}

func many(n int, element string) string {
	return "[" + strings.TrimSuffix(strings.Repeat(element+",", n), ",") + "]"
}

func TestParseIntent(t *testing.T) {
	quoted := func(s string) string { return `"` + s + `"` }
	for _, c := range []struct {
		name, text string
		member     string // "" if accepted
	}{
		{"plain", goodIntent, ""},
		{"goal of 4096 code points", with("goal", quoted(strings.Repeat("é", 4096))), ""},
		{"goal of 4097 code points", with("goal", quoted(strings.Repeat("é", 4097))), "goal"},
		{"goal empty", with("goal", `""`), "goal"},
		{"goal missing", with("goal", ""), "goal"},
		{"goal not a string", with("goal", `1`), "goal"},
		{"goal miscased", with("Goal", `"x"`), "Goal"},
		{"language", with("goal_lang", `"de-CH-1996"`), ""},
		{"language of private use", with("goal_lang", `"x-mine"`), ""},
		{"language ill-formed", with("goal_lang", `"de_CH"`), "goal_lang"},
		{"language too long", with("goal_lang", `"abcdefghi"`), "goal_lang"},
		{"resources missing", with("resources", ""), "resources"},
		{"resources empty", with("resources", `[]`), "resources"},
		{"resources repeated", with("resources", `["https://a.example","https://a.example"]`), "resources"},
		{"resource relative", with("resources", `["/a"]`), "resources"},
		{"resource of mail", with("resources", `["mailto:a@a.example"]`), "resources"},
		{"resource with a fragment", with("resources", `["https://a.example#x"]`), "resources"},
		{"65 resources", with("resources", many(65, `"https://a.example"`)), "resources"},
		{"constraints", with("constraints", `["only in daytime"]`), ""},
		{"constraints empty", with("constraints", `[]`), "constraints"},
		{"constraints not strings", with("constraints", `[{"max_amount":1}]`), "constraints[0]"},
		{"criteria with an empty one", with("success_criteria", `[""]`), "success_criteria"},
		{"purpose", with("purpose", `"urn:example:close"`), ""},
		{"purpose not a URI", with("purpose", `"close"`), "purpose"},
		{"purpose too long", with("purpose", `"urn:`+strings.Repeat("x", 1024)+`"`), "purpose"},
		{"expiry missing", with("expires_at", ""), "expires_at"},
		{"expiry a year", with("expires_at", `"2026"`), "expires_at"},
		{"expiry past", with("expires_at", `"2026-12-01T11:59:59Z"`), "expires_at"},
		{"expiry now", with("expires_at", `"2026-12-01T12:00:00Z"`), "expires_at"},
		{"expiry a moment ahead", with("expires_at", `"2026-12-01T12:00:00.000000001Z"`), ""},
		{"controls", with("controls", `{"acr":"urn:mfa","max_derivations":1,"agent_deployment":"d","example.com/x":{"y":null}}`), ""},
		{"controls of no derivations", with("controls", `{"max_derivations":0}`), "controls.max_derivations"},
		{"controls of fewer than none", with("controls", `{"max_derivations":-1}`), "controls"},
		{"controls of half a derivation", with("controls", `{"max_derivations":1.5}`), "controls.max_derivations"},
		{"controls of text", with("controls", `{"max_derivations":"1"}`), "controls.max_derivations"},
		{"acr not a string", with("controls", `{"acr":1}`), "controls.acr"},
		{"control with a common name", with("controls", `{"budget":1}`), "controls"},
		{"unknown member", with("authority_set", `[]`), "authority_set"},
		{"prototype", with("__proto__", `{"controls":{}}`), "__proto__"},
		{"null", `null`, "-"},
		{"duplicate", `{"goal":"a",` + goodIntent[1:], "goal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, err := mission.ParseIntent([]byte(c.text), missiontest.At)
			if c.member == "" {
				if err != nil {
					t.Fatal(err)
				}
				again, err := mission.Marshal(in)
				want, _ := mission.Canonical([]byte(c.text))
				if err != nil || string(again) != string(want) {
					t.Errorf("recorded as %s (%v)", again, err)
				}
				return
			}
			var inv *mission.Invalid
			if !errors.As(err, &inv) || inv.Code != mission.InvalidIntent {
				t.Fatalf("got %v", err)
			}
			if inv.Member != c.member && c.member != "-" {
				t.Errorf("member %q, want %q", inv.Member, c.member)
			}
		})
	}
	large := with("constraints", many(20, quoted(strings.Repeat("x", 4000))))
	if _, err := mission.ParseIntent([]byte(large), missiontest.At); err == nil {
		t.Error("accepted an intent of 80,000 octets")
	}
}

func TestParseSubmission(t *testing.T) {
	envelope := func(more string) string { return `{"intent":` + goodIntent + more + `}` }
	for _, c := range []struct {
		name, text   string
		code, member string
	}{
		{"intent alone", envelope(``), "", ""},
		{"everything", envelope(`,"evidence":[{"type":"urn:x","y":null}],"authorization_details":[` + goodEntry + `],"creation_request_id":"a b"`), "", ""},
		{"bare intent", goodIntent, mission.InvalidIntent, "expires_at"},
		{"not JSON", `{`, mission.InvalidIntent, "-"},
		{"list", `[]`, mission.InvalidIntent, "-"},
		{"unknown member", envelope(`,"approver":{}`), mission.InvalidIntent, "approver"},
		{"predecessor", envelope(`,"predecessor":"msn_1"`), mission.InvalidIntent, "predecessor"},
		{"parent", envelope(`,"parent":"msn_1"`), mission.InvalidIntent, "parent"},
		{"unknown member of the intent", `{"intent":` + with("x", `1`) + `}`, mission.InvalidIntent, "x"},
		{"bad goal", `{"intent":` + with("goal", `1`) + `}`, mission.InvalidIntent, "goal"},
		{"past", `{"intent":` + with("expires_at", `"2020-01-01T00:00:00Z"`) + `}`, mission.InvalidIntent, "expires_at"},
		{"request id empty", envelope(`,"creation_request_id":""`), mission.InvalidIntent, "creation_request_id"},
		{"request id of 256", envelope(`,"creation_request_id":"` + strings.Repeat("x", 256) + `"`), mission.InvalidIntent, "creation_request_id"},
		{"request id not ASCII", envelope(`,"creation_request_id":"é"`), mission.InvalidIntent, "creation_request_id"},
		{"evidence empty", envelope(`,"evidence":[]`), mission.InvalidEvidence, "evidence"},
		{"evidence null", envelope(`,"evidence":null`), mission.InvalidEvidence, "evidence"},
		{"evidence without a type", envelope(`,"evidence":[{"x":1}]`), mission.InvalidEvidence, "evidence"},
		{"evidence of text", envelope(`,"evidence":["x"]`), mission.InvalidEvidence, "evidence"},
		{"17 pieces of evidence", envelope(`,"evidence":` + many(17, `{"type":"x"}`)), mission.InvalidEvidence, "evidence"},
		{"proposal empty", envelope(`,"authorization_details":[]`), mission.InvalidAuthority, "authorization_details"},
		{"proposal null", envelope(`,"authorization_details":null`), mission.InvalidAuthority, "authorization_details"},
		{"proposal of another type", envelope(`,"authorization_details":[{"type":"payment"}]`), mission.InvalidAuthority, "-"},
		{"proposal with an unknown member", envelope(`,"authorization_details":[` + strings.Replace(goodEntry, `{`, `{"locations":[],`, 1) + `]`), mission.InvalidAuthority, "locations"},
		{"proposal with an unknown constraint", envelope(`,"authorization_details":[` + strings.Replace(goodEntry, `{`, `{"constraints":{"x":1},`, 1) + `]`), mission.InvalidAuthority, "authorization_details[0]"},
		{"proposal with a malformed decimal", envelope(`,"authorization_details":[` + strings.Replace(goodEntry, `{`, `{"constraints":{"max_amount":{"amount":"1,0","currency":"USD"}},`, 1) + `]`), mission.InvalidAuthority, "authorization_details[0]"},
		{"proposal outside the intent", envelope(`,"authorization_details":[` + strings.Replace(goodEntry, "erp", "crm", 1) + `]`), mission.InvalidAuthority, "https://crm.a.example"},
		{"too large", `{"intent":` + goodIntent + strings.Repeat(" ", mission.MaxSubmission) + `}`, mission.InvalidIntent, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := mission.ParseSubmission([]byte(c.text), missiontest.At)
			if c.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				if s.Intent == nil || (s.Proposal != nil) != strings.Contains(c.text, "authorization_details") {
					t.Errorf("parsed %+v", s)
				}
				return
			}
			var inv *mission.Invalid
			if !errors.As(err, &inv) || inv.Code != c.code || inv.Member != c.member && c.member != "-" {
				t.Errorf("got %+v, want %s of %q", inv, c.code, c.member)
			}
		})
	}
}

func TestEvidenceIsCommittedAsPresented(t *testing.T) {
	for _, c := range vectors(t, "canonical.json") {
		if c.Name != "ours.core.submission_evidence.artifact_hash" {
			continue
		}
		var in struct {
			Iss   string      `json:"iss"`
			Typ   mission.Typ `json:"typ"`
			Value mission.Raw `json:"value"`
		}
		if err := c.Input.Decode(&in); err != nil {
			t.Fatal(err)
		}
		body := `{"intent":` + goodIntent + `,"evidence":[` + string(in.Value.Bytes()) + `]}`
		s, err := mission.ParseSubmission([]byte(body), missiontest.At)
		if err != nil {
			t.Fatal(err)
		}
		var want mission.Digest
		if err := c.Expected.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Evidence[0].ArtifactHash(in.Iss); err != nil || got != want {
			t.Errorf("%s, want %s (%v)", got, want, err)
		}
		return
	}
	t.Fatal("the vector is gone")
}

func FuzzSubmission(f *testing.F) {
	f.Add([]byte(`{"intent":` + goodIntent + `,"evidence":[{"type":"urn:x"}],"authorization_details":[` + goodEntry + `],"creation_request_id":"r"}`))
	f.Add([]byte(`{"intent":` + with("controls", `{"acr":"x","a.b":1}`) + `}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := mission.ParseSubmission(data, missiontest.At)
		if err != nil {
			var inv *mission.Invalid
			if !errors.As(err, &inv) || inv.Code == "" {
				t.Fatalf("an error without a code: %v", err)
			}
			return
		}
		text, err := mission.Marshal(s.Intent)
		if err != nil {
			t.Fatal(err)
		}
		again, err := mission.ParseIntent(text, missiontest.At)
		if err != nil || !again.Requested().After(missiontest.At.Add(-time.Nanosecond)) {
			t.Fatalf("the recorded intent is refused: %v", err)
		}
		if s.Proposal == nil {
			return
		}
		set, err := mission.Derive(s.Intent, s.Proposal, s.Proposal)
		if err != nil && !errors.Is(err, mission.ErrNoAuthority) {
			return // more entries than fit
		}
		if err := mission.SubsetOfSet(set, s.Proposal); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzEntries(f *testing.F) {
	for _, c := range vectors(f, "authority.json") {
		var in struct {
			Candidate mission.Raw `json:"candidate"`
			Reference mission.Raw `json:"reference"`
		}
		if c.Input.Decode(&in) == nil {
			f.Add(in.Candidate.Bytes(), in.Reference.Bytes())
		}
	}
	if full, err := mission.Marshal(fullEntry()); err == nil {
		f.Add(full, full)
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		a, err := mission.ParseEntry(one)
		if err != nil {
			return
		}
		text, err := mission.Marshal(a)
		want, _ := mission.Canonical(one)
		if err != nil || string(text) != string(want) {
			t.Fatalf("got  %s (%v)\nwant %s", text, err, want)
		}
		b, err := mission.ParseEntry(two)
		if err != nil {
			return
		}
		inside, err := mission.Subset(a, b)
		if err != nil {
			t.Fatalf("parsed, but not comparable: %v", err)
		}
		m, ok := mission.Meet(a, b)
		if !ok {
			return
		}
		for _, above := range []mission.Entry{a, b} {
			if in, err := mission.Subset(m, above); !in || err != nil {
				t.Fatalf("the meet is not inside: %v", err)
			}
		}
		if in, _ := mission.Subset(a, m); inside && !in && a.Validate() == nil && !emptied(a) {
			t.Fatal("a is inside b, but not inside their meet")
		}
	})
}

// emptied reports whether e has a list that is empty already, which a meet leaves out altogether.
func emptied(e mission.Entry) bool {
	return e.Delegation != nil && e.Delegation.AllowedDelegates != nil && len(*e.Delegation.AllowedDelegates) == 0
}

func FuzzConveyed(f *testing.F) {
	f.Add([]byte(`[` + goodEntry + `,{"type":"payment"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		known, _, err := mission.ParseConveyed(data)
		if err != nil {
			return
		}
		for _, e := range known {
			if err := e.Validate(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
