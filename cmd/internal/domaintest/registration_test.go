package domaintest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/domaintest"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/registry"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
	"github.com/mission-authority/mas/verifier"
)

// harnessRecord is evidence of a harness about a mission.
func harnessRecord(t *testing.T, d *domaintest.Domain, id mission.ID, event string) []byte {
	t.Helper()
	text, err := mission.Marshal(map[string]any{
		"event_id": event, "event_type": "resume_suppressed", "session_id": "session-1", "decision": "suppress",
		"state": "revoked", "state_source": "signal", "reason": "mission_not_active", "occurred_at": "2026-11-02T02:00:05Z",
		"mission": map[string]string{"id": string(id), "issuer": d.Issuer,
			"authority_hash": "sha-256:vUCCfjGulit9u0qJ0Z6pQSNerZtXMqRlfJNCr4PzLro"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// register has the local producer register a record and returns the transparent statement.
func register(t *testing.T, d *domaintest.Domain, id mission.ID, record []byte) ([]byte, error) {
	t.Helper()
	key := d.Dev.Clients["producer"].Statement
	signer, err := key.Signer()
	if err != nil {
		t.Fatal(err)
	}
	subject, err := ledger.MissionSubject(d.Issuer, string(id))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := ledger.SignStatement(t.Context(), ledger.Claims{Issuer: key.Issuer, Subject: subject, IssuedAt: time.Now().Unix(),
		ContentType: evidence.ContentHarness, Digest: sha256.Sum256(record)}, signer)
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.Client(t, "producer").Post(t.Context(), "/v1/evidence", map[string]string{
		"statement": base64.RawURLEncoding.EncodeToString(raw), "record": base64.RawURLEncoding.EncodeToString(record)})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Receipt string `json:"receipt"`
	}
	if err := got.Decode(&answer); err != nil {
		t.Fatal(err)
	}
	receipt, err := base64.RawURLEncoding.DecodeString(answer.Receipt)
	if err != nil {
		t.Fatal(err)
	}
	transparent, err := ledger.AttachReceipts(raw, receipt)
	if err != nil {
		t.Fatal(err)
	}
	return transparent, nil
}

// producerTrust is what an auditor knows about a domain and its local producer.
func producerTrust(t *testing.T, d *domaintest.Domain) *verifier.Trust {
	t.Helper()
	anchor, err := domain.Anchor(d.Config)
	if err != nil {
		t.Fatal(err)
	}
	key := d.Dev.Clients["producer"].Statement
	private, err := key.JWK.Private()
	if err != nil {
		t.Fatal(err)
	}
	return &verifier.Trust{Anchor: anchor, Producers: []verifier.Producer{{Issuer: key.Issuer,
		Types: []string{evidence.ContentHarness}, Evidence: verifier.KeyRing{{Public: private.Public(), Status: verifier.KeyActive}}}}}
}

// A component of its own registers a record about a mission of the domain. Its receipt verifies offline, the mission's
// bundle with the foreign record is whole, the authority's rows are what they were, and two administrators take the
// producer's right away, which outlives a restart and is found again by fsck's replay.
func TestProducerOnAMissionsFeed(t *testing.T) {
	dir, c := domaintest.Prepare(t, domain.DevCeiling, nil)
	d := domaintest.Start(t, dir, c)
	id := endedMission(t, d)
	const event = "hrn_7pQ4mN9s2VtX8kR5bL1wZc"
	transparent, err := register(t, d, id, harnessRecord(t, d, id, event))
	if err != nil {
		t.Fatal(err)
	}
	trust := producerTrust(t, d)
	if r := verifier.VerifyStatement(transparent, trust); r.Findings.Outcome() != verifier.OK || r.Index == nil {
		t.Errorf("the registered statement: %+v", r.Findings)
	}
	other := *trust
	other.Producers = nil
	if r := verifier.VerifyStatement(transparent, &other); r.Findings.Outcome() != verifier.Unverifiable {
		t.Errorf("to an auditor who does not know the producer: %+v", r.Findings)
	}
	bundle := verifier.VerifyBundle(fetchBundle(t, d, id), trust, verifier.BundleOptions{Mission: string(id)})
	if bundle.Outcome != verifier.OK {
		t.Errorf("the bundle: %v, %+v", bundle.Outcome, bundle.All())
	}

	if _, err := register(t, d, id, []byte(`{}`)); client.Code(err) != "invalid_evidence" {
		t.Errorf("a record that is none: %v", err)
	}
	changed := []byte(strings.Replace(string(harnessRecord(t, d, id, event)), `"session-1"`, `"session-2"`, 1))
	if _, err := register(t, d, id, changed); client.Code(err) != "evidence_conflict" {
		t.Errorf("another record of the same event: %v", err)
	}

	key := d.Dev.Clients["producer"].Statement
	private, err := key.JWK.Private()
	if err != nil {
		t.Fatal(err)
	}
	kid, err := ledger.KeyThumbprint(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	p, err := d.Registry.Propose("admin", registry.Edit{Remove: [][]byte{kid}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Client(t, "admin-2").Post(t.Context(), "/v1/registration-policy/proposals/"+p.ID+"/confirmation",
		map[string]int{"number": 1}); err != nil {
		t.Fatal(err)
	}
	later := harnessRecord(t, d, id, "hrn_8pQ4mN9s2VtX8kR5bL1wZd")
	if _, err := register(t, d, id, later); client.Code(err) != "rejected" {
		t.Errorf("after the removal: %v", err)
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	d = domaintest.Start(t, dir, c)
	if _, err := register(t, d, id, later); client.Code(err) != "rejected" {
		t.Errorf("after a restart: %v", err)
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	found, err := domain.Fsck(t.Context(), c)
	if err != nil || !found.Clean() || found.Admission.Policy != 1 || found.Admission.Admitted != found.Store.Entries {
		t.Errorf("fsck: %+v, %v", found, err)
	}
}
