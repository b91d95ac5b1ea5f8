package verifier

import (
	"context"
	"slices"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/mission/missiontest"
)

// verdicts lists the verdicts on records of a content type.
func verdicts(r *BundleReport, contentType string) []Verdict {
	var out []Verdict
	for _, rec := range r.Records {
		if rec.ContentType == contentType {
			out = append(out, rec.Verdict)
		}
	}
	return out
}

// What an auditor says about a record depends on what went wrong: a thing that is wrong is never called missing, and a
// thing that is missing is never called wrong.
//
// Audit rows: 36, 112, 115, 123, 124, 130.
func TestTaxonomy(t *testing.T) {
	for _, tc := range []struct {
		name    string
		story   func(*scene)
		verdict Verdict
		outcome Outcome
	}{
		{"good", func(s *scene) { s.decide(members{"action_class": "consequential_read"}) }, Verified, Unverifiable},
		{"a deviation is good evidence", func(s *scene) {
			s.decide(members{"decision": "deny", "denial_reason": "x",
				"conditions": nil, "entry_digest": nil})
			s.execute(nil)
		}, Verified, Wrong},
		{"body withheld", func(s *scene) {
			s.decide(members{"action_class": "consequential_read"})
			s.withheld = append(s.withheld, s.size()-1)
		}, AuditFailure, Unverifiable},
		{"body erased", func(s *scene) {
			s.decide(members{"action_class": "consequential_read"})
			s.erase(s.size()-1, "", s.size()-1)
		}, ErasedExplained, Unverifiable},
		{"emitter's key unknown", func(s *scene) {
			s.producers["pdp"].key = missiontest.Key("unheard of")
			s.decide(members{"action_class": "consequential_read"})
		}, AuditFailure, Unverifiable},
		{"signed by another emitter", func(s *scene) {
			s.producers["pdp"].key = keyOf{missiontest.Key("pep"), missiontest.Key("pdp").KeyID()}
			s.decide(members{"action_class": "consequential_read"})
		}, IntegrityFailure, Wrong},
		{"key of another scope", func(s *scene) {
			s.producers["pdp"].scope = []string{"https://mail.a.example"}
			s.decide(members{"action_class": "consequential_read"})
		}, IntegrityFailure, Wrong},
		{"type of another producer", func(s *scene) {
			s.producers["pdp"].types = []string{evidence.ContentRefusal}
			s.decide(members{"action_class": "consequential_read"})
		}, IntegrityFailure, Wrong},
		{"producer of any type", func(s *scene) {
			s.producers["pdp"].types = []string{ledger.AnyType}
			s.decide(members{"action_class": "consequential_read"})
		}, Verified, Unverifiable},
		{"statement of another issuer", func(s *scene) {
			b := s.sealed("pdp", evidence.ContentDecision, s.decision(members{"action_class": "consequential_read"}))
			s.producers["receipts"].types = []string{evidence.ContentDecision}
			s.log("receipts", evidence.ContentDecision, b)
		}, IntegrityFailure, Wrong},
		{"outer object changed", func(s *scene) {
			b := s.sealed("pdp", evidence.ContentDecision, s.decision(members{"action_class": "consequential_read"}))
			var m map[string]mission.Raw
			if err := mission.Decode(b, &m); err != nil {
				s.t.Fatal(err)
			}
			m["audience"], _ = mission.RawOf("https://mail.a.example")
			s.log("pdp", evidence.ContentDecision, marshal(s.t, m))
		}, IntegrityFailure, Wrong},
		{"envelope stripped", func(s *scene) {
			s.log("pdp", evidence.ContentDecision, marshal(s.t, s.decision(members{"action_class": "consequential_read"})))
		}, IntegrityFailure, Wrong},
		{"about another mission", func(s *scene) {
			s.decide(members{"action_class": "consequential_read", "mission": map[string]any{"id": "msn_other", "issuer": s.issuer,
				"authority_hash": string(s.rec.AuthorityHash), "policy_view_id": "v"}})
		}, IntegrityFailure, Wrong},
	} {
		s := newScene(t)
		tc.story(s)
		r := s.report(BundleOptions{})
		got := verdicts(r, evidence.ContentDecision)
		if len(got) != 1 || got[0] != tc.verdict || r.Outcome != tc.outcome {
			t.Errorf("%s: %v %s, want %s %s\n%v", tc.name, got, r.Outcome, tc.verdict, tc.outcome, r.All())
		}
	}
}

// Transitions and approvals are the issuer's alone.
//
// Audit rows: 36.
func TestIssuerTypesAreTheIssuers(t *testing.T) {
	s := newScene(t)
	s.producers["pdp"].types = append(s.producers["pdp"].types, mission.ContentTransition, evidence.ContentDerivation)
	next, _, err := mission.Next(mission.Begin(s.rec), mission.Transition{Operation: mission.OpRevoke}, s.at)
	if err != nil {
		t.Fatal(err)
	}
	s.log("pdp", mission.ContentTransition,
		marshal(t, mission.NewTransitionRecord(s.issuer, mission.Begin(s.rec), next, mission.OpRevoke)))
	s.log("pdp", evidence.ContentDerivation, marshal(t, s.derivation(missiontest.Resource)))
	r := s.report(BundleOptions{})
	got := append(verdicts(r, mission.ContentTransition), verdicts(r, evidence.ContentDerivation)...)
	if !slices.Equal(got, []Verdict{IntegrityFailure, IntegrityFailure}) || r.Missions[0].State != mission.Active {
		t.Errorf("%v, %v", got, r.All())
	}
}

// A refusal happened before any decision: nothing joins it to one, and without a mission it becomes no receipt.
//
// Audit rows: 116.
func TestRefusalsStandAlone(t *testing.T) {
	s := newScene(t)
	refusal := members{"refusal_id": "ref_3VtM9kQ2xN7rB4sL8eP1jY5wZc", "audience": missiontest.Resource,
		"action": map[string]any{"name": "invoices.read"}, "parameter_digest": string(digestA), "decision": "deny",
		"denial_reason": "pdp_unreachable", "evaluated_at": s.now(), "sequence": 1, "mission": s.ref(),
		"emitter": map[string]any{"id": "pep.a.example", "role": "pep"}}
	s.decide(members{"action_class": "consequential_read"})
	s.execute(members{"sequence": 0})
	s.log("pep", evidence.ContentRefusal, s.sealed("pep", evidence.ContentRefusal, refusal))
	missing := refusal.with(members{"refusal_id": "ref_9NcT4wQ1xM6rB3sK7eV0jY2wLz", "denial_reason": "mission_context_missing",
		"mission": nil, "sequence": nil, "emitter": map[string]any{"id": "pdp.a.example", "role": "pdp"}})
	s.subjects = append(s.subjects, s.issuer+"/log")
	b := s.sealed("pdp", evidence.ContentRefusal, missing)
	s.logOn(s.issuer+"/log", "pdp", evidence.ContentRefusal, b)
	r := s.report(BundleOptions{})
	expect(t, "refusals", r)
	if got := verdicts(r, evidence.ContentRefusal); !slices.Equal(got, []Verdict{Verified, Verified}) {
		t.Errorf("verdicts %v: %v", got, r.All())
	}
	s.log("pep", evidence.ContentRefusal, s.sealed("pep", evidence.ContentRefusal, refusal.with(members{
		"refusal_id": "ref_joinedM9kQ2xN7rB4sL8eP1j", "evaluation_id": evaluation, "sequence": 2})))
	if got := verdicts(s.report(BundleOptions{}), evidence.ContentRefusal); !slices.Contains(got, IntegrityFailure) {
		t.Errorf("a refusal with an evaluation: %v", got)
	}
	facts, err := evidence.Check(evidence.ContentRefusal, b, evidence.Claims{Issuer: "https://pdp.a.example", Subject: s.issuer + "/log"})
	if err != nil {
		t.Fatal(err)
	}
	receipt := &evidence.Receipt{Kind: evidence.ReceiptRefusal, Mission: s.ref(), IssuedAt: s.now(),
		Emitter: evidence.Emitter{ID: "receipts.a.example", Role: evidence.ReceiptIssuer},
		Evidence: []evidence.Reference{{Type: evidence.ContentRefusal, Digest: facts.Digest, EvidenceID: facts.ID,
			Emitter: facts.Emitter}}}
	fs := VerifyMissionReceipt(receipt, func(d mission.Digest) (evidence.Facts, bool) { return facts, d == facts.Digest })
	if !fs.Code("receipt_join") {
		t.Errorf("a refusal without mission became a receipt: %v", fs)
	}
}

// A receipt is worth what the records it refers to are worth, and says what they say.
//
// Audit rows: 127.
func TestMissionReceipts(t *testing.T) {
	for _, tc := range []struct {
		name  string
		edits func(s *scene, r *evidence.Receipt)
		codes []string
	}{
		{"good", func(*scene, *evidence.Receipt) {}, nil},
		{"unresolved", func(_ *scene, r *evidence.Receipt) { r.Evidence[1].Digest = digestB }, []string{"receipt_unresolved"}},
		{"another id", func(_ *scene, r *evidence.Receipt) { r.Evidence[0].EvidenceID = "evd_other" }, []string{"receipt_reference"}},
		{"another emitter", func(_ *scene, r *evidence.Receipt) { r.Evidence[0].Emitter.ID = "x" }, []string{"receipt_reference"}},
		{"swapped", func(_ *scene, r *evidence.Receipt) {
			r.Evidence[0].Digest, r.Evidence[1].Digest = r.Evidence[1].Digest, r.Evidence[0].Digest
		}, []string{"receipt_reference"}},
		{"another outcome", func(_ *scene, r *evidence.Receipt) { r.Outcome = evidence.Failed }, []string{"receipt_join"}},
		{"another authority", func(_ *scene, r *evidence.Receipt) { r.Mission.AuthorityHash = digestB }, []string{"receipt_join"}},
		{"copied decision", func(_ *scene, r *evidence.Receipt) { r.Decision.Result = evidence.Deny }, []string{"receipt_copy"}},
		{"copied policy", func(_ *scene, r *evidence.Receipt) { r.Policy.View = "view-2" }, []string{"receipt_copy"}},
		{"copied executor", func(s *scene, r *evidence.Receipt) { r.Executor, _ = mission.ParseRaw([]byte(`{"sub":"x"}`)) },
			[]string{"receipt_copy"}},
		{"copied audience", func(_ *scene, r *evidence.Receipt) { r.Target.Audience = "https://x.example" }, []string{"receipt_copy"}},
		{"chained", func(s *scene, r *evidence.Receipt) { s.chain(r, 1, 2) }, nil},
		{"chained backwards", func(s *scene, r *evidence.Receipt) { s.chain(r, 2, 2) }, []string{"receipt_chain"}},
		{"chained to another stream", func(s *scene, r *evidence.Receipt) {
			s.chain(r, 1, 2)
			r.Chain.Stream = "b"
		}, []string{"receipt_chain"}},
		{"chained to nothing", func(_ *scene, r *evidence.Receipt) {
			r.Chain = &evidence.Chain{Stream: "a", Sequence: 2, Previous: []mission.Digest{digestB}}
		}, []string{"receipt_unresolved"}},
	} {
		s := newScene(t)
		r := s.receipt()
		tc.edits(s, r)
		s.logReceipt(r)
		expect(t, tc.name, s.report(BundleOptions{}), tc.codes...)
	}
	for name, edit := range map[string]func(*evidence.Receipt){
		"kind of fewer records":  func(r *evidence.Receipt) { r.Kind, r.Outcome = evidence.ReceiptDecision, "" },
		"kind of another record": func(r *evidence.Receipt) { r.Kind, r.Outcome = evidence.ReceiptRefusal, "" },
		"unknown type":           func(r *evidence.Receipt) { r.Evidence[1].Type = "application/x+json" },
		"one record":             func(r *evidence.Receipt) { r.Evidence = r.Evidence[:1] },
		"no outcome":             func(r *evidence.Receipt) { r.Outcome = "" },
	} {
		s := newScene(t)
		r := s.receipt()
		edit(r)
		if fs := VerifyMissionReceipt(r, nil); fs.Outcome() != Wrong {
			t.Errorf("%s: %v", name, fs)
		}
		s.logReceipt(r)
		if got := verdicts(s.report(BundleOptions{}), evidence.ContentReceipt); !slices.Equal(got, []Verdict{IntegrityFailure}) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// receipt logs a decision with its execution and returns the receipt for both.
func (s *scene) receipt() *evidence.Receipt {
	s.t.Helper()
	d := s.decide(members{"actor": map[string]any{"client_id": "agent-1"}})
	e := s.execute(nil)
	r := &evidence.Receipt{Kind: evidence.ReceiptExecution, Mission: s.ref(), IssuedAt: s.now(), Outcome: evidence.Completed,
		Emitter: evidence.Emitter{ID: "receipts.a.example", Role: evidence.ReceiptIssuer},
		Evidence: []evidence.Reference{
			{Type: evidence.ContentDecision, Digest: mission.RawDigest(d), EvidenceID: "evd_9Nq3TmR6xL2vP8kY4sD1eB7jH0wC5uA",
				Emitter: evidence.Emitter{ID: "pdp.a.example", Role: "pdp"}},
			{Type: evidence.ContentExecution, Digest: mission.RawDigest(e), EvidenceID: "exe_4r9SqLm8tY2pXkV3nR0eF7jB1zN6cQ5w",
				Emitter: evidence.Emitter{ID: "pep.a.example", Role: "pep"}}}}
	text := `{"decision":{"id":"evd_9Nq3TmR6xL2vP8kY4sD1eB7jH0wC5uA","result":"permit"},"policy":{"pdp_policy_view":"view-1"},
		"executor":{"client_id":"agent-1"},"target":{"resource":{"id":"je-1"},"audience":"` + missiontest.Resource + `"}}`
	var copies evidence.Receipt
	if err := mission.DecodeOpen([]byte(`{"kind":"execution","mission":{"id":"m","issuer":"https://a.example"},
		"emitter":{"id":"a","role":"receipt_issuer"},"evidence":`+string(marshal(s.t, r.Evidence))+`,"issued_at":"`+s.now()+`",
		"outcome":"completed","evidence_envelope":{"format":"a","value":"b"},`+text[1:]), &copies); err != nil {
		s.t.Fatal(err)
	}
	r.Decision, r.Policy, r.Executor, r.Target = copies.Decision, copies.Policy, copies.Executor, copies.Target
	return r
}

// logReceipt signs and logs a receipt.
func (s *scene) logReceipt(r *evidence.Receipt) []byte {
	s.t.Helper()
	var m map[string]any
	if err := mission.Decode(marshal(s.t, r), &m); err != nil {
		s.t.Fatal(err)
	}
	delete(m, "evidence_envelope")
	b := s.sealed("receipts", evidence.ContentReceipt, m)
	s.log("receipts", evidence.ContentReceipt, b)
	return b
}

// chain logs an earlier receipt with one number and makes r follow it with another.
func (s *scene) chain(r *evidence.Receipt, before, number uint64) {
	s.t.Helper()
	first := *r
	first.Chain = &evidence.Chain{Stream: "a", Sequence: before}
	b := s.logReceipt(&first)
	r.Chain = &evidence.Chain{Stream: "a", Sequence: number, Previous: []mission.Digest{mission.RawDigest(b)}}
}

// keyOf signs with a key under another's name.
type keyOf struct {
	*jws.Key
	name string
}

func (k keyOf) KeyID() string { return k.name }

// Audit rows: 126.
func TestWorkProductBindings(t *testing.T) {
	s := newScene(t)
	trust := s.trusted()
	artifact := []byte("the report")
	provenance := evidence.Provenance{MissionID: s.rec.ID, DeploymentID: "d-1", Producer: "agent-1", CreatedAt: s.now()}
	digest, err := provenance.Digest(s.issuer)
	if err != nil {
		t.Fatal(err)
	}
	bind := func(mediator string, key jws.Signer) []byte {
		t.Helper()
		token, err := jws.Sign(context.Background(), key, jws.TypWorkProduct, marshal(t, evidence.WorkProduct{Iss: s.issuer,
			Mediator: evidence.Emitter{ID: mediator, Role: evidence.Harness}, Artifact: mission.RawDigest(artifact), Provenance: digest}))
		if err != nil {
			t.Fatal(err)
		}
		return []byte(token)
	}
	key := s.keys["status"]
	for _, tc := range []struct {
		name                 string
		binding, prov, bytes []byte
		outcome              Outcome
	}{
		{"good", bind("harness-1", key), marshal(t, provenance), artifact, OK},
		{"self-made", bind("agent-1", key), marshal(t, provenance), artifact, Wrong},
		{"another artifact", bind("harness-1", key), marshal(t, provenance), []byte("x"), Wrong},
		{"another provenance", bind("harness-1", key), marshal(t, evidence.Provenance{MissionID: "m", DeploymentID: "d",
			Producer: "agent-1", CreatedAt: s.now()}), artifact, Wrong},
		{"provenance with more", bind("harness-1", key), []byte(`{"permission":"all"}`), artifact, Wrong},
		{"unknown key", bind("harness-1", missiontest.Key("x")), marshal(t, provenance), artifact, Unverifiable},
		{"not a binding", []byte("e30.e30.e30"), marshal(t, provenance), artifact, Wrong},
	} {
		if _, _, fs := VerifyWorkProduct(tc.binding, tc.prov, tc.bytes, trust); fs.Outcome() != tc.outcome {
			t.Errorf("%s: %v, want %s", tc.name, fs, tc.outcome)
		}
	}
	s.log("", evidence.ContentWorkProduct, bind("harness-1", key))
	r := s.report(BundleOptions{})
	expect(t, "registered", r)
	if got := verdicts(r, evidence.ContentWorkProduct); !slices.Equal(got, []Verdict{Verified}) {
		t.Errorf("%v", got)
	}
}
