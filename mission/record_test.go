package mission_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/missiontest"
)

func TestRecordOfTheDrafts(t *testing.T) {
	for _, c := range vectors(t, "canonical.json") {
		if c.Name != "ours.audit.approval_record_digest" {
			continue
		}
		r, err := mission.ParseRecord(c.Input.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		var want mission.Digest
		if err := c.Expected.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Commitment(); err != nil || got != want {
			t.Errorf("commitment %s, want %s (%v)", got, want, err)
		}
		return
	}
	t.Fatal("the vector is gone")
}

func TestRecordRoundTrip(t *testing.T) {
	for _, r := range []*mission.Record{
		missiontest.Record(),
		missiontest.Record(missiontest.Upstream),
		missiontest.Record(func(r *mission.Record) {
			r.AuthoritySet = []mission.Entry{fullEntry()}
			r.ProposedAuthority = []mission.Entry{fullEntry()}
			r.ConsentRenderingHash = mission.RawDigest(nil)
			r.SubmissionEvidence = []mission.EvidenceRecord{{
				Type: "urn:example:ticket", ArtifactHash: mission.RawDigest(nil), VerifiedAt: r.CreatedAt, Facts: raw(`{"a":null}`)}}
			r.AuthoritySource = mission.AuthoritySource{Type: mission.SourceOrganizational,
				Policy: &mission.PolicyRef{ID: "p", Version: "1", Digest: mission.RawDigest(nil)}}
		}),
		missiontest.Record(func(r *mission.Record) {
			r.ApprovalBasis = mission.ApprovalBasis{
				Type:             mission.BasisPolicyDrawdown,
				ConsentPrincipal: r.Approver,
				Activation:       mission.Activation{PolicyID: "ceiling", Version: "1", ActivationEventID: "evt_1"},
				ActivationActor:  mission.Principal{Iss: r.Issuer, Sub: "agent-1"},
				RootCommitment:   mission.RawDigest(nil),
				ApprovedAt:       r.CreatedAt,
			}
		}),
	} {
		text, err := r.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := mission.ParseRecord(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !reflect.DeepEqual(parsed, r) {
			t.Errorf("parsed %+v\nwant   %+v", parsed, r)
		}
		again, err := parsed.Bytes()
		canonical, _ := mission.Canonical(text)
		if err != nil || !bytes.Equal(again, text) || !bytes.Equal(canonical, text) {
			t.Errorf("again %s (%v)", again, err)
		}
	}
}

func TestRecordRefuses(t *testing.T) {
	other := mission.RawDigest([]byte("other"))
	for _, c := range []struct {
		name string
		edit func(*mission.Record) // after sealing
	}{
		{"intent_hash of something else", func(r *mission.Record) { r.IntentHash = other }},
		{"authority_hash of something else", func(r *mission.Record) { r.AuthorityHash, r.ApprovalBasis.RootCommitment = other, other }},
		{"intent changed", func(r *mission.Record) { r.Intent.Goal += "!" }},
		{"authority changed", func(r *mission.Record) { r.AuthoritySet = []mission.Entry{missiontest.Entry()} }},
		{"another issuer", func(r *mission.Record) { r.Issuer = missiontest.PeerIssuer }},
		{"issuer that is no URL", func(r *mission.Record) { r.Issuer = "mas" }},
		{"proposal without its hash", func(r *mission.Record) { r.ProposedAuthority = r.AuthoritySet }},
		{"hash without its proposal", func(r *mission.Record) { r.ProposalHash = other }},
		{"no authority", func(r *mission.Record) { r.AuthoritySet = nil }},
		{"expires when it is created", func(r *mission.Record) { r.ExpiresAt = r.CreatedAt }},
		{"expires after what was requested", func(r *mission.Record) { r.ExpiresAt = "2027-01-01T00:00:00Z" }},
		{"time with a fraction", func(r *mission.Record) { r.CreatedAt = "2026-12-01T12:00:00.5Z" }},
		{"time with an offset", func(r *mission.Record) { r.ExpiresAt = "2026-12-02T12:00:00+00:00" }},
		{"another consent principal", func(r *mission.Record) { r.ApprovalBasis.ConsentPrincipal.Sub = "someone" }},
		{"another approver", func(r *mission.Record) { r.Approver.Sub = "someone" }},
		{"approver without a subject", func(r *mission.Record) { r.Approver.Sub = "" }},
		{"direct by another actor", func(r *mission.Record) { r.ApprovalBasis.ActivationActor.Sub = "agent-1" }},
		{"direct with another root", func(r *mission.Record) { r.ApprovalBasis.RootCommitment = other }},
		{"direct with a date", func(r *mission.Record) { r.ApprovalBasis.ApprovedAt = r.CreatedAt }},
		{"direct for another event", func(r *mission.Record) { r.ApprovalBasis.Activation.ApprovalEventID = "evt_other" }},
		{"drawdown without a date", func(r *mission.Record) {
			r.ApprovalBasis.Type = mission.BasisPolicyDrawdown
			r.ApprovalBasis.Activation = mission.Activation{ActivationEventID: "evt_1"}
		}},
		{"drawdown without an event", func(r *mission.Record) {
			r.ApprovalBasis.Type, r.ApprovalBasis.ApprovedAt = mission.BasisPolicyDrawdown, r.CreatedAt
			r.ApprovalBasis.Activation = mission.Activation{PolicyID: "p"}
		}},
		{"unknown basis", func(r *mission.Record) { r.ApprovalBasis.Type = "inferred" }},
		{"organizational without a policy", func(r *mission.Record) { r.AuthoritySource.Type = mission.SourceOrganizational }},
		{"policy that is not organizational", func(r *mission.Record) {
			r.AuthoritySource.Policy = &mission.PolicyRef{ID: "p", Version: "1", Digest: other}
		}},
		{"unknown source", func(r *mission.Record) { r.AuthoritySource.Type = "agent" }},
		{"no client", func(r *mission.Record) { r.ClientID = "" }},
		{"no policy version", func(r *mission.Record) { r.PolicyVersion = "" }},
		{"coupling without a bound", func(r *mission.Record) {
			missiontest.Upstream(r)
			r.Upstream.Coupling.MaxStaleSeconds = 0
		}},
		{"unknown coupling", func(r *mission.Record) {
			missiontest.Upstream(r)
			r.Upstream.Coupling.Mode = "none"
		}},
		{"upstream without evidence", func(r *mission.Record) {
			missiontest.Upstream(r)
			r.Upstream.Evidence = nil
		}},
		{"upstream without a version", func(r *mission.Record) {
			missiontest.Upstream(r)
			r.Upstream.VersionAtMint = 0
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := missiontest.Record()
			c.edit(r)
			text, err := r.Bytes()
			if err != nil {
				return // cannot even be written
			}
			if _, err := mission.ParseRecord(text); err == nil {
				t.Errorf("accepted %s", text)
			}
		})
	}
}

// What Validate refuses on its own, with every anchor in order.
func TestRecordShapes(t *testing.T) {
	template := func(r *mission.Record) {
		r.ApprovalBasis.Type, r.ApprovalBasis.ApprovedAt = mission.BasisTemplate, r.CreatedAt
		r.ApprovalBasis.RootCommitment = mission.RawDigest([]byte("template"))
		r.ApprovalBasis.Activation = mission.Activation{
			TemplateID: "t", TemplateVersion: "1", TemplateHash: r.ApprovalBasis.RootCommitment, DispatchEventID: "evt_1",
		}
	}
	for _, c := range []struct {
		name string
		edit func(*mission.Record)
		ok   bool
	}{
		{"as built", func(r *mission.Record) {}, true},
		{"64 entries", func(r *mission.Record) { r.AuthoritySet = slices.Repeat(r.AuthoritySet, 64) }, true},
		{"65 entries", func(r *mission.Record) { r.AuthoritySet = slices.Repeat(r.AuthoritySet, 65) }, false},
		{"no entries", func(r *mission.Record) { r.AuthoritySet = nil }, false},
		{"64 proposed", func(r *mission.Record) { r.ProposedAuthority = slices.Repeat(r.AuthoritySet, 64) }, true},
		{"65 proposed", func(r *mission.Record) { r.ProposedAuthority = slices.Repeat(r.AuthoritySet, 65) }, false},
		{"issuer that is no URL", func(r *mission.Record) { r.Issuer = "mas" }, false},
		{"template", template, true},
		{"template without a dispatch", func(r *mission.Record) {
			template(r)
			r.ApprovalBasis.Activation.DispatchEventID = ""
		}, false},
		{"template with another root", func(r *mission.Record) {
			template(r)
			r.ApprovalBasis.Activation.TemplateHash = mission.RawDigest([]byte("other"))
		}, false},
		{"template without a date", func(r *mission.Record) {
			template(r)
			r.ApprovalBasis.ApprovedAt = ""
		}, false},
	} {
		r := missiontest.Record()
		c.edit(r)
		if err := r.Seal(); err != nil {
			t.Fatal(err)
		}
		if r.ApprovalBasis.Type == mission.BasisDirect {
			r.ApprovalBasis.RootCommitment = r.AuthorityHash
		}
		if err := r.Validate(); (err == nil) != c.ok || err != nil && !errors.Is(err, mission.ErrRecord) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	r := missiontest.Record()
	r.ProposalHash = r.AuthorityHash
	if r.Validate() == nil {
		t.Error("a proposal_hash without a proposal")
	}
	for name, r := range map[string]*mission.Record{"empty": {}, "without an intent": {ID: "msn_1", Issuer: missiontest.Issuer}} {
		if r.Validate() == nil || r.Verify() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	up := missiontest.Record(missiontest.Upstream).Upstream
	up.Coupling.MaxStaleSeconds = 1
	if err := up.Validate(); err != nil {
		t.Errorf("a second of coupling: %v", err)
	}
	up.Issuer = "b"
	if up.Validate() == nil {
		t.Error("an upstream issuer that is no URL")
	}
}

func TestRecordStaysInsideItsProposal(t *testing.T) {
	build := func(edit func(r *mission.Record)) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = p.(error)
			}
		}()
		missiontest.Record(edit)
		return nil
	}
	wider := missiontest.Entry(func(e *mission.Entry) { e.Actions = []string{"invoices.*"} })
	if err := build(func(r *mission.Record) {
		r.ProposedAuthority, r.AuthoritySet = []mission.Entry{missiontest.Entry()}, []mission.Entry{wider}
	}); !errors.Is(err, mission.ErrRecord) {
		t.Errorf("authority beyond the proposal: %v", err)
	}
	if err := build(func(r *mission.Record) {
		r.AuthoritySet = []mission.Entry{missiontest.Entry(func(e *mission.Entry) { e.Resource = "https://crm.a.example" })}
	}); !errors.Is(err, mission.ErrRecord) {
		t.Errorf("authority beyond the intent: %v", err)
	}
}

func TestRecordIsClosed(t *testing.T) {
	text, err := missiontest.Record().Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, edit := range []func(string) string{
		func(s string) string { return strings.Replace(s, `"client_id"`, `"x":1,"client_id"`, 1) },
		func(s string) string { return strings.Replace(s, `"client_id"`, `"Client_id"`, 1) },
		func(s string) string {
			return strings.Replace(s, `{"approval_basis"`, `{"state":"active","approval_basis"`, 1)
		},
		func(s string) string { return s + "\n{}" },
	} {
		changed := edit(string(text))
		if changed == string(text) {
			t.Fatal("nothing was changed")
		}
		if _, err := mission.ParseRecord([]byte(changed)); err == nil {
			t.Errorf("accepted %s", changed)
		}
	}
}

func TestTransitionRecordRefuses(t *testing.T) {
	at := missiontest.At
	next, _, err := mission.Next(standing(mission.Active), transition(mission.OpRevoke), at)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		edit func(*mission.TransitionRecord)
		ok   bool
	}{
		{"as made", func(t *mission.TransitionRecord) {}, true},
		{"with who and why", func(t *mission.TransitionRecord) {
			t.Actor, t.Reason, t.Cause = "operator", strings.Repeat("é", 1024), mission.RawDigest(nil)
		}, true},
		{"long reason", func(t *mission.TransitionRecord) { t.Reason = strings.Repeat("x", 1025) }, false},
		{"short salt", func(t *mission.TransitionRecord) { t.Salt = "AAAAAAAAAAAAAAAAAAAA" }, false},
		{"no salt", func(t *mission.TransitionRecord) { t.Salt = "" }, false},
		{"first version", func(t *mission.TransitionRecord) { t.Version = 1 }, false},
		{"no state", func(t *mission.TransitionRecord) { t.State = "" }, false},
		{"no operation", func(t *mission.TransitionRecord) { t.Operation = "" }, false},
		{"malformed time", func(t *mission.TransitionRecord) { t.TransitionedAt = "now" }, false},
		{"deadline without its end", func(t *mission.TransitionRecord) { t.SuspendUntil = mission.FormatTime(at) }, false},
		{"no issuer", func(t *mission.TransitionRecord) { t.Issuer = "" }, false},
		{"no mission", func(t *mission.TransitionRecord) { t.MissionID = "" }, false},
	} {
		tr := mission.NewTransitionRecord(missiontest.Issuer, standing(mission.Active), next, mission.OpRevoke)
		c.edit(&tr)
		body, err := mission.Marshal(tr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mission.ParseTransitionRecord(body); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	for _, c := range vectors(f, "canonical.json") {
		f.Add(c.Input.Bytes())
	}
	if text, err := recordBytes(); err == nil {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := mission.ParseRecord(data)
		if err != nil {
			return
		}
		text, err := r.Bytes()
		want, _ := mission.Canonical(data)
		if err != nil || !bytes.Equal(text, want) {
			t.Fatalf("got  %s (%v)\nwant %s", text, err, want)
		}
		cur := mission.Begin(r)
		if state, _ := mission.Effective(r, cur, r.Expires()); state != mission.Expired {
			t.Fatalf("%s at its expiry", state)
		}
	})
}

func FuzzTransitionRecord(f *testing.F) {
	next, _, _ := mission.Next(standing(mission.Active), transition(mission.OpHold), missiontest.At)
	seed, _ := mission.Marshal(mission.NewTransitionRecord(missiontest.Issuer, standing(mission.Active), next, mission.OpHold))
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		tr, err := mission.ParseTransitionRecord(data)
		if err != nil {
			return
		}
		text, err := mission.Marshal(tr)
		want, _ := mission.Canonical(data)
		if err != nil || !bytes.Equal(text, want) {
			t.Fatalf("got  %s (%v)\nwant %s", text, err, want)
		}
		prior := standing(tr.PriorState, func(s *mission.Standing) { s.MissionID, s.Version = tr.MissionID, tr.Version-1 })
		if _, err := mission.Replay(prior, tr); (err != nil) != tr.PriorState.Terminal() {
			t.Fatal(err)
		}
	})
}
