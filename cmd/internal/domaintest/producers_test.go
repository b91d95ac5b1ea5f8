package domaintest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/domaintest"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/verifier"
)

// An enforcer is an enforcement point outside the domain: it signs records and registers them.
type enforcer struct {
	t       *testing.T
	c       *client.Client
	key     jws.Signer // of its records
	issuer  string
	signer  ledger.Signer // of its statements
	subject string
}

// register seals a record, commits to it and submits both.
func (e *enforcer) register(contentType string, members map[string]any) error {
	e.t.Helper()
	payload, err := mission.Marshal(members)
	if err != nil {
		e.t.Fatal(err)
	}
	token, err := jws.SignContent(e.t.Context(), e.key, jws.TypRuntimeEvidence, contentType, payload)
	if err != nil {
		e.t.Fatal(err)
	}
	members["evidence_envelope"] = evidence.Envelope{Format: evidence.FormatJWS, Value: token}
	record, err := mission.Marshal(members)
	if err != nil {
		e.t.Fatal(err)
	}
	statement, err := ledger.SignStatement(e.t.Context(), ledger.Claims{Issuer: e.issuer, Subject: e.subject,
		ContentType: contentType, Digest: sha256.Sum256(record)}, e.signer)
	if err != nil {
		e.t.Fatal(err)
	}
	_, err = e.c.Post(e.t.Context(), "/v1/evidence", map[string]string{
		"statement": base64.RawURLEncoding.EncodeToString(statement),
		"record":    base64.RawURLEncoding.EncodeToString(record)})
	return err
}

// TestEnforcementIsAudited lets an enforcement point register what it decided and what was done, and an auditor find in
// the bundle that one action was done with other parameters than were permitted.
//
// Audit rows: 107, 115.
func TestEnforcementIsAudited(t *testing.T) {
	dir, c := domaintest.Prepare(t, domain.DevCeiling, nil)
	d := domaintest.Start(t, dir, c)
	id := endedMission(t, d)
	credential := d.Dev.Clients["producer"]
	private, err := credential.Statement.JWK.Private()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := credential.Statement.Signer()
	if err != nil {
		t.Fatal(err)
	}
	key, err := credential.JWK.Signer()
	if err != nil {
		t.Fatal(err)
	}
	e := &enforcer{t: t, c: d.Client(t, "producer"), key: key, issuer: credential.Statement.Issuer, signer: signer,
		subject: d.Issuer + "/missions/" + string(id)}
	rec := approvalOf(t, fetchBundle(t, d, id))
	now, permitted, other := mission.FormatTime(time.Now()), mission.RawDigest([]byte("a")), mission.RawDigest([]byte("b"))
	decision := func(evaluation string, sequence int) map[string]any {
		return map[string]any{"evidence_id": "evd_" + evaluation, "evaluation_id": "dec_" + evaluation,
			"mission": map[string]any{"id": string(id), "issuer": d.Issuer, "authority_hash": string(rec.AuthorityHash),
				"policy_view_id": "view-1"},
			"subject": map[string]any{"id": "owner"}, "resource": map[string]any{"id": "invoice-1"},
			"action": map[string]any{"name": "invoices.read"}, "parameter_digest": string(permitted),
			"audience": "https://api.example.com", "action_class": "irreversible_action", "class_source": "default",
			"conditions": map[string]any{"valid_until": now, "use_limit": 1}, "decision": "permit", "sequence": sequence,
			"emitter": map[string]any{"id": e.issuer, "role": "pdp"}, "evaluated_at": now, "entry_digest": string(permitted)}
	}
	execution := func(evaluation string, sequence int, effective mission.Digest) map[string]any {
		return map[string]any{"execution_id": "exe_" + evaluation, "evaluation_id": "dec_" + evaluation,
			"mission_id": string(id), "audience": "https://api.example.com", "authorized_parameter_digest": string(permitted),
			"effective_parameter_digest": string(effective), "outcome": "completed", "outcome_at": now, "sequence": sequence,
			"emitter": map[string]any{"id": e.issuer, "role": "pep"}}
	}
	const first, second = "8K2nP4qV9rL3tY6sB1zN0eF7jB", "9HtV3wN6xQ1rB8mP5kS2eL7jY4zA"
	for i, evaluation := range []string{first, second} {
		if err := e.register(evidence.ContentDecision, decision(evaluation, i)); err != nil {
			t.Fatal(err)
		}
		if err := e.register(evidence.ContentExecution, execution(evaluation, i, []mission.Digest{permitted, other}[i])); err != nil {
			t.Fatal(err)
		}
	}
	for name, bad := range map[string]map[string]any{
		"a permit for two uses": decision("7HtV3wN6xQ1rB8mP5kS2eL7jY4zA", 2),
		"another emitter":       decision("6HtV3wN6xQ1rB8mP5kS2eL7jY4zA", 2),
		"another mission":       decision("5HtV3wN6xQ1rB8mP5kS2eL7jY4zA", 2),
		"an id that is taken":   decision(first, 2),
	} {
		switch name {
		case "a permit for two uses":
			bad["conditions"] = map[string]any{"valid_until": now, "use_limit": 2}
		case "another emitter":
			bad["emitter"] = map[string]any{"id": "https://pdp.example.com", "role": "pdp"}
		case "another mission":
			bad["mission"].(map[string]any)["id"] = "msn_other"
		}
		if err := e.register(evidence.ContentDecision, bad); client.Code(err) != "invalid_evidence" &&
			client.Code(err) != "evidence_conflict" {
			t.Errorf("%s: %v", name, err)
		}
	}
	anchor, err := domain.Anchor(c)
	if err != nil {
		t.Fatal(err)
	}
	text, err := mission.Marshal(map[string]any{"keys": []client.JWK{credential.JWK.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := jws.ParseKeySet(text)
	if err != nil {
		t.Fatal(err)
	}
	bundle := fetchBundle(t, d, id)
	trust := &verifier.Trust{Anchor: anchor, Producers: []verifier.Producer{{Issuer: e.issuer, Keys: keys,
		Types:    []string{evidence.ContentDecision, evidence.ContentExecution},
		Evidence: verifier.KeyRing{{Public: private.Public(), Status: verifier.KeyActive}}}}}
	r := verifier.VerifyBundle(bundle, trust, verifier.BundleOptions{Mission: string(id)})
	verified := 0
	for _, rec := range r.Records {
		if slices.Contains(trust.Producers[0].Types, rec.ContentType) && rec.Verdict == verifier.Verified {
			verified++
		}
	}
	if verified != 4 || r.Outcome != verifier.Wrong || r.Completeness != verifier.Complete || r.All().Has(verifier.Integrity) {
		t.Errorf("%d verified, %s, %s: %v", verified, r.Outcome, r.Completeness, r.All())
	}
	deviations := slices.DeleteFunc(r.All(), func(f verifier.Finding) bool { return f.Class != verifier.Deviation })
	if len(deviations) != 1 || deviations[0].Code != "unauthorized_execution" {
		t.Errorf("%v", r.All())
	}
	trust.Producers = nil
	if r := verifier.VerifyBundle(bundle, trust, verifier.BundleOptions{}); r.Outcome != verifier.Unverifiable {
		t.Errorf("without the producer's keys: %s, %v", r.Outcome, r.All())
	}
}

// approvalOf reads the record of the mission of a bundle.
func approvalOf(t *testing.T, bundle []byte) *mission.Record {
	t.Helper()
	files, err := verifier.Unpack(bundle)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if rec, err := mission.ParseRecord(f.Data); err == nil {
			return rec
		}
	}
	t.Fatal("no approval")
	return nil
}
