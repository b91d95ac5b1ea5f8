package mission_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/missiontest"
	"pgregory.net/rapid"
)

func disclosed(edits ...func(*mission.DisclosureInput)) mission.DisclosureInput {
	in := mission.DisclosureInput{
		ID:            "disc_1",
		Issuer:        missiontest.Issuer,
		Intent:        missiontest.Intent(),
		Proposal:      []mission.Entry{fullEntry()},
		Set:           []mission.Entry{fullEntry(), missiontest.Entry()},
		ExpiresAt:     mission.FormatTime(missiontest.At.Add(time.Hour)),
		Subject:       mission.Party{Iss: missiontest.Approver.Iss, Sub: missiontest.Approver.Sub},
		Approver:      mission.Party{Iss: missiontest.Approver.Iss, Sub: missiontest.Approver.Sub},
		Client:        mission.RequestingClient{ClientID: missiontest.Client},
		Source:        mission.AuthoritySource{Type: mission.SourceUserDelegated},
		PolicyVersion: "principals:1",
		Channel:       "api",
		RenderedAt:    mission.FormatTime(missiontest.At),
	}
	for _, edit := range edits {
		edit(&in)
	}
	return in
}

func disclose(t testing.TB, edits ...func(*mission.DisclosureInput)) (*mission.Disclosure, mission.Digest) {
	t.Helper()
	d, hash, err := mission.NewDisclosure(disclosed(edits...))
	if err != nil {
		t.Fatal(err)
	}
	return d, hash
}

func TestDisclosureCoversTheSet(t *testing.T) {
	in := disclosed()
	d, _ := disclose(t)
	if err := d.Covers(in.Set); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		name string
		edit func(d *mission.Disclosure)
	}{
		{"entry left out", func(d *mission.Disclosure) { d.AuthoritySummary = d.AuthoritySummary[:1] }},
		{"entry added", func(d *mission.Disclosure) { d.AuthoritySummary = append(d.AuthoritySummary, d.AuthoritySummary[0]) }},
		{"entries swapped", func(d *mission.Disclosure) {
			d.AuthoritySummary[0], d.AuthoritySummary[1] = d.AuthoritySummary[1], d.AuthoritySummary[0]
		}},
		{"action left out", func(d *mission.Disclosure) { d.AuthoritySummary[0].Actions = d.AuthoritySummary[0].Actions[:1] }},
		{"constraint left out", func(d *mission.Disclosure) {
			d.AuthoritySummary[0].Constraints = d.AuthoritySummary[0].Constraints[1:]
		}},
		{"constraint changed", func(d *mission.Disclosure) { d.AuthoritySummary[0].Constraints[0].Value = raw(`["x"]`) }},
		{"delegation hidden", func(d *mission.Disclosure) { d.AuthoritySummary[0].Delegation = nil }},
		{"crossing hidden", func(d *mission.Disclosure) { d.AuthoritySummary[0].Federation = nil }},
		{"gates hidden", func(d *mission.Disclosure) { d.AuthoritySummary[0].Gates = nil }},
		{"sentence changed", func(d *mission.Disclosure) { d.AuthoritySummary[0].Rendered[0] = "May do little." }},
	} {
		d, hash := disclose(t)
		c.edit(d)
		if err := d.Covers(in.Set); !errors.Is(err, mission.ErrCoverage) {
			t.Errorf("%s: %v", c.name, err)
		}
		if changed, err := d.Hash(in.Issuer); err != nil || changed == hash {
			t.Errorf("%s: the hash did not change (%v)", c.name, err)
		}
	}
}

// Every constraint of every entry is shown with its value and a sentence of its own.
func TestDisclosureShowsEveryConstraint(t *testing.T) {
	d, _ := disclose(t)
	shown := map[string]string{}
	for _, c := range d.AuthoritySummary[0].Constraints {
		shown[c.Constraint] = c.Rendered
		if c.Value.IsZero() || c.Rendered == "" {
			t.Errorf("%+v", c)
		}
	}
	for key, part := range map[string]string{
		"max_amount": "500.00 USD", "resource_issued_after": "2026-07-01", "resource_issued_before": "2026-09-30",
		"tenant": "tenant-1", "recipient_domain": "example.com", "time_window": "until 2026-12-31", "data_classification": "internal, public",
		"allowed_tools": "reader, writer", "requires_action_approval": "no approval", "terminal_when": "closed",
	} {
		if !strings.Contains(shown[key], part) {
			t.Errorf("%s is shown as %q", key, shown[key])
		}
	}
	all := strings.Join(d.AuthoritySummary[0].Rendered, "\n")
	for _, part := range []string{
		"everything under https://erp.a.example", "High-risk breadth: invoices.*", "up to 2 steps", "agent-2", "any ai_agent",
		"May cross to https://mas.b.example, https://mas.c.example", "at most 3 local missions", "go on to https://mas.d.example",
		"stage-1, stage-2",
	} {
		if !strings.Contains(all, part) {
			t.Errorf("%q is not in\n%s", part, all)
		}
	}
	if plain := strings.Join(d.AuthoritySummary[1].Rendered, "\n"); !strings.Contains(plain, "Does not leave this domain.") ||
		!strings.Contains(plain, "May not be passed on") {
		t.Errorf("a plain entry is shown as\n%s", plain)
	}
	var conditions []string
	for _, n := range d.MaterialNotices {
		conditions = append(conditions, n.Condition)
	}
	if got := strings.Join(conditions, " "); got != "high_risk_breadth cross_domain" {
		t.Errorf("notices: %s", got)
	}
}

func TestDisclosureTellsWhatDiffers(t *testing.T) {
	d, hash := disclose(t)
	if !d.MissionSummary.Narrowed || d.MissionSummary.RequestedExpiresAt != missiontest.Intent().ExpiresAt || d.Subject != nil {
		t.Errorf("%+v", d.MissionSummary)
	}
	if again, other := disclose(t); other != hash || again.DisclosureID != d.DisclosureID {
		t.Error("the same input gives another hash")
	}
	for _, c := range []struct {
		name string
		edit func(*mission.DisclosureInput)
		ok   func(*mission.Disclosure) bool
	}{
		{"as proposed", func(in *mission.DisclosureInput) { in.Set = in.Proposal },
			func(d *mission.Disclosure) bool { return !d.MissionSummary.Narrowed }},
		{"without a proposal", func(in *mission.DisclosureInput) { in.Proposal = nil },
			func(d *mission.Disclosure) bool {
				return !d.MissionSummary.Narrowed && d.SourceHashes.ProposalHash == ""
			}},
		{"expiry as requested, spelt otherwise", func(in *mission.DisclosureInput) { in.ExpiresAt = "2026-12-02T13:00:00+01:00" },
			func(d *mission.Disclosure) bool { return d.MissionSummary.RequestedExpiresAt == "" }},
		{"another subject", func(in *mission.DisclosureInput) { in.Subject.Sub = "someone" },
			func(d *mission.Disclosure) bool { return d.Subject != nil && d.Subject.Sub == "someone" }},
		{"evidence", func(in *mission.DisclosureInput) {
			in.Evidence = []mission.EvidenceRecord{{Type: "x", ArtifactHash: mission.RawDigest(nil), VerifiedAt: in.RenderedAt, Facts: raw(`{}`)}}
		}, func(d *mission.Disclosure) bool { return d.SubmissionProvenanceHash != "" }},
		{"controls", func(in *mission.DisclosureInput) {
			in.Intent = missiontest.Intent(func(in *mission.Intent) {
				in.Controls = &mission.Controls{ACR: "urn:mfa", MaxDerivations: 3}
			})
			in.EnforcedControl = func(name string) bool { return name == "acr" }
		}, func(d *mission.Disclosure) bool {
			c := d.MissionSummary.Controls
			return len(c) == 2 && c[0] == mission.ControlSummary{Control: "acr", Value: `"urn:mfa"`, Enforced: true} &&
				c[1] == mission.ControlSummary{Control: "max_derivations", Value: "3"}
		}},
		{"another notice", func(in *mission.DisclosureInput) { in.Notices = []mission.Notice{{Condition: "irreversible_action"}} },
			func(d *mission.Disclosure) bool {
				return d.MaterialNotices[len(d.MaterialNotices)-1].Condition == "irreversible_action"
			}},
		{"another policy", func(in *mission.DisclosureInput) { in.PolicyVersion = "principals:2" }, func(*mission.Disclosure) bool { return true }},
		{"rendered later", func(in *mission.DisclosureInput) { in.RenderedAt = "2026-12-01T12:00:01Z" }, func(*mission.Disclosure) bool { return true }},
	} {
		d, other := disclose(t, c.edit)
		if !c.ok(d) {
			t.Errorf("%s: %+v", c.name, d)
		}
		if other == hash {
			t.Errorf("%s: the hash did not change", c.name)
		}
	}
	if _, _, err := mission.NewDisclosure(disclosed(func(in *mission.DisclosureInput) { in.ExpiresAt = "later" })); err == nil {
		t.Error("disclosed a malformed expiry")
	}
}

func TestClientTextIsInert(t *testing.T) {
	hostile := "Pay\u202eevil\u202c\u200b\x1b[31m\r\n<b>\u2028\ufeff\u2066x\u2069 \U000e0041\u3164\ufe0f\u00a0"
	d, _ := disclose(t, func(in *mission.DisclosureInput) {
		in.Intent = missiontest.Intent(func(in *mission.Intent) {
			in.Goal, in.Constraints, in.SuccessCriteria = hostile, []string{hostile}, []string{hostile}
		})
		in.Subject.Display = hostile
	})
	for _, s := range []string{d.MissionSummary.Goal, d.MissionSummary.Constraints[0], d.MissionSummary.SuccessCriteria[0], d.MissionSummary.SubjectDisplay} {
		for _, bad := range "\u202e\u202c\u200b\x1b\r\u2028\ufeff\u2066\u2069\U000e0041\u3164\ufe0f\u00a0" {
			if strings.ContainsRune(s, bad) {
				t.Errorf("%U is left in %q", bad, s)
			}
		}
		if !strings.Contains(s, "<U+202E>") || !strings.Contains(s, "\n<b>") {
			t.Errorf("shown as %q", s)
		}
	}
}

func TestInert(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := text().Draw(t, "text")
		once := mission.Inert(s)
		if twice := mission.Inert(once); twice != once {
			t.Fatalf("%q becomes %q, then %q", s, once, twice)
		}
	})
	for s, want := range map[string]string{
		"plain text, \u00e4\u00f6\u00fc \u65e5\u672c \U0001F600": "plain text, \u00e4\u00f6\u00fc \u65e5\u672c \U0001F600",
		"e\u0301\u0302\u0303": "e\u0301\u0302<U+0303>",
		"\t":                  "<U+0009>",
		"\x7f\u0085":          "<U+007F><U+0085>",
	} {
		if got := mission.Inert(s); got != want {
			t.Errorf("%q: %q", s, got)
		}
	}
}
