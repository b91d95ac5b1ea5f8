package verifier

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission/jws"
)

// A keyStory is a domain whose keys have a history that its governance key tells.
type keyStory struct {
	*domain
	governance signer
	status     ledger.KeyStatus
}

func newKeyStory(t *testing.T) *keyStory {
	t.Helper()
	d := newDomain(t, "https://a.example", "a.example/log/1")
	d.append("/log", "application/json", []byte("{}"), epoch) // a receipt needs two entries
	s := &keyStory{domain: d, governance: newSigner(t)}
	s.status = ledger.KeyStatus{Issuer: d.issuer, Origin: d.origin, Version: 2, MaxAge: 3600}
	s.record("governance", s.governance.public, ledger.KeyStateActive, time.Time{}, time.Time{})
	return s
}

// record adds a key to the status: ended and compromised are zero if they do not apply.
func (s *keyStory) record(role string, public crypto.PublicKey, state ledger.KeyState, ended, compromised time.Time) {
	s.t.Helper()
	k, err := ledger.NewKey(public)
	if err != nil {
		s.t.Fatal(err)
	}
	seconds := func(at time.Time) int64 {
		if at.IsZero() {
			return 0
		}
		return at.Unix()
	}
	s.status.Keys = append(s.status.Keys, ledger.KeyRecord{Role: role, Key: k, State: state, NotAfter: seconds(ended),
		CompromisedAt: seconds(compromised)})
}

// signed is the key status as it was served at an instant.
func (s *keyStory) signed(at time.Time, by ledger.Signer) []byte {
	s.t.Helper()
	document, err := ledger.MarshalKeyStatus(&s.status)
	if err != nil {
		s.t.Fatal(err)
	}
	data, err := ledger.SignKeyStatus(s.t.Context(), document, at, by)
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}

// document is the trust document with the governance key.
func (s *keyStory) document() *Trust {
	s.t.Helper()
	trust := s.trust()
	kid, err := jws.Thumbprint(s.governance.public)
	if err != nil {
		s.t.Fatal(err)
	}
	if trust.Governance, err = jws.NewKeySet(map[string]crypto.PublicKey{kid: s.governance.public}); err != nil {
		s.t.Fatal(err)
	}
	return trust
}

// told is the trust document after the key status of that instant.
func (s *keyStory) told(at time.Time) *Trust {
	s.t.Helper()
	trust := s.document()
	if _, err := trust.ApplyKeyStatus(s.signed(at, s.governance), at); err != nil {
		s.t.Fatal(err)
	}
	return trust
}

// judge verifies an entry and returns its verdict and findings.
func judge(t *testing.T, data []byte, trust *Trust, want Verdict, code string) {
	t.Helper()
	r := VerifyStatement(data, trust)
	if r.Verdict != want || code != "" && !r.Findings.Code(code) {
		t.Errorf("%s, want %s with %q: %v", r.Verdict, want, code, r.Findings)
	}
}

// TestCompromisedEvidenceKey: what a compromised key signed counts if a receipt under a good key shows that it is older
// than the compromise; its own word about its age never does, and without a boundary nothing does.
//
// Audit rows: 99.
func TestCompromisedEvidenceKey(t *testing.T) {
	boundary := epoch.Add(time.Hour)
	s := newKeyStory(t)
	before := s.append("/missions/msn_1", "application/json", []byte("before"), boundary.Add(-time.Minute))
	// Made after the compromise; the statement says that it is a day old.
	raw, err := ledger.SignStatement(t.Context(), ledger.Claims{Issuer: s.issuer, Subject: s.issuer + "/missions/msn_1",
		IssuedAt: boundary.Add(-24 * time.Hour).Unix(), ContentType: "application/json",
		Digest: ledger.HashLeaf([]byte("after"))}, s.evidence)
	if err != nil {
		t.Fatal(err)
	}
	after := s.appendStatement(raw, boundary.Add(time.Minute))
	s.record("evidence", s.evidence.public, ledger.KeyStateCompromised, boundary.Add(time.Hour), boundary)
	trust := s.told(boundary.Add(2 * time.Hour))

	judge(t, s.transparent(before), trust, Verified, "key_compromised_later")
	judge(t, s.transparent(after), trust, IntegrityFailure, "key_compromised")
	judge(t, s.entries[before], trust, AuditFailure, "key_compromised_untimed")
	judge(t, raw, trust, AuditFailure, "key_compromised_untimed")

	// Nobody knows since when.
	s.status.Keys[1].CompromisedAt = 0
	unbounded := s.told(boundary.Add(2 * time.Hour))
	judge(t, s.transparent(before), unbounded, AuditFailure, "key_compromised_unbounded")
	text, err := unbounded.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseTrust(text)
	if err != nil {
		t.Fatal(err)
	}
	judge(t, s.transparent(before), again, AuditFailure, "key_compromised_unbounded")

	// Who has learned of a compromise does not unlearn it from another status, and a boundary never moves forward.
	s.status.Keys[1].CompromisedAt = boundary.Add(30 * time.Minute).Unix()
	if _, err := again.ApplyKeyStatus(s.signed(boundary.Add(3*time.Hour), s.governance), boundary.Add(3*time.Hour)); err != nil {
		t.Fatal(err)
	}
	judge(t, s.transparent(before), again, AuditFailure, "key_compromised_unbounded")
	s.status.Keys[1] = ledger.KeyRecord{Role: "evidence", Key: s.status.Keys[1].Key, State: ledger.KeyStateActive}
	if _, err := trust.ApplyKeyStatus(s.signed(boundary.Add(3*time.Hour), s.governance), boundary.Add(3*time.Hour)); err != nil {
		t.Fatal(err)
	}
	judge(t, s.transparent(after), trust, IntegrityFailure, "key_compromised")
}

// witness makes a witness and its verifier key.
func witness(t *testing.T, at time.Time) (note.Signer, string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cosigner, err := ledger.NewCosigner("w.example", private, at)
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := ledger.CosignatureVKey("w.example", public)
	if err != nil {
		t.Fatal(err)
	}
	return cosigner, vkey
}

// TestCompromisedProofNeedsAnotherAnchor: a receipt and a checkpoint under compromised keys prove nothing by
// themselves; a head that a witness saw before makes both count, from that time on.
//
// Audit rows: 100.
func TestCompromisedProofNeedsAnotherAnchor(t *testing.T) {
	boundary := epoch.Add(time.Hour)
	s := newKeyStory(t)
	index := s.append("/missions/msn_1", "application/json", []byte("before"), boundary.Add(-time.Minute))
	public := publicOfVKey(t, s.vkey)
	s.record("evidence", s.evidence.public, ledger.KeyStateCompromised, boundary.Add(time.Hour), boundary)
	s.record("receipts", s.receipts.public, ledger.KeyStateCompromised, boundary.Add(time.Hour), boundary)
	s.record("checkpoint", public, ledger.KeyStateCompromised, boundary.Add(time.Hour), boundary)
	_, head := s.head(s.size())

	trust := s.told(boundary.Add(2 * time.Hour))
	judge(t, s.transparent(index), trust, AuditFailure, "receipt_key_compromised")
	if _, fs := VerifyCheckpoint(head, &trust.Anchor); fs.Outcome() != Unverifiable || !fs.Code("log_key_compromised") {
		t.Errorf("checkpoint by a compromised key: %v", fs)
	}

	for _, tc := range []struct {
		name string
		at   time.Time
		want Verdict
		code string
	}{
		{"seen before", boundary.Add(-time.Second), Verified, "receipt_key_compromised_anchored"},
		{"seen after", boundary.Add(time.Second), IntegrityFailure, "key_compromised"},
	} {
		trust := s.told(boundary.Add(2 * time.Hour))
		cosigner, vkey := witness(t, tc.at)
		cosigned, err := ledger.Cosign(head, cosigner)
		if err != nil {
			t.Fatal(err)
		}
		_, stranger := witness(t, tc.at)
		if _, err := trust.AddCosigned(cosigned, []string{stranger}); err == nil {
			t.Errorf("%s: a stranger's cosignature counts", tc.name)
		}
		if _, err := trust.AddCosigned(head, []string{vkey}); err == nil {
			t.Errorf("%s: a head without cosignature counts", tc.name)
		}
		known, err := trust.AddCosigned(cosigned, []string{vkey})
		if err != nil || !known.At.Equal(tc.at) {
			t.Fatalf("%s: %+v, %v", tc.name, known, err)
		}
		judge(t, s.transparent(index), trust, tc.want, tc.code)
		if _, fs := VerifyCheckpoint(head, &trust.Anchor); fs.Outcome() != OK || !fs.Code("log_key_compromised_anchored") {
			t.Errorf("%s: checkpoint: %v", tc.name, fs)
		}
	}

	// A head of another tree, seen by the same witness, does not help.
	s.append("/missions/msn_1", "application/json", []byte("more"), boundary)
	_, other := s.head(s.size() - 2)
	cosigner, vkey := witness(t, boundary.Add(-time.Second))
	cosigned, err := ledger.Cosign(other, cosigner)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trust.AddCosigned(cosigned, []string{vkey}); err != nil {
		t.Fatal(err)
	}
	judge(t, s.transparent(index), trust, AuditFailure, "receipt_key_compromised")
}

func publicOfVKey(t *testing.T, vkey string) ed25519.PublicKey {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(strings.SplitN(vkey, "+", 3)[2])
	if err != nil || len(raw) != 33 {
		t.Fatalf("%q: %v", vkey, err)
	}
	return ed25519.PublicKey(raw[1:])
}

// TestApplyKeyStatus: a status counts if a trusted governance key signed it, and for as long as it says; it brings new
// keys of every role, and an overlap of the log.
//
// Audit rows: 101.
func TestApplyKeyStatus(t *testing.T) {
	s := newKeyStory(t)
	at := epoch.Add(time.Hour)
	fresh, next := newSigner(t), newSigner(t)
	_, nextLog, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.record("checkpoint", publicOfVKey(t, s.vkey), ledger.KeyStateRetired, at, time.Time{})
	s.record("checkpoint", nextLog.Public(), ledger.KeyStateActive, time.Time{}, time.Time{})
	s.record("receipts", fresh.public, ledger.KeyStateActive, time.Time{}, time.Time{})
	s.record("issuer", next.public, ledger.KeyStateActive, time.Time{}, time.Time{})
	s.record("witness", newSigner(t).public, ledger.KeyStateActive, time.Time{}, time.Time{})
	data := s.signed(at, s.governance)

	trust := s.document()
	for name, tc := range map[string]struct {
		data []byte
		at   time.Time
		want error
	}{
		"stale":           {data, at.Add(time.Hour + time.Second), ledger.ErrStale},
		"of the future":   {data, at.Add(-time.Hour), ledger.ErrStale},
		"by a stranger":   {s.signed(at, newSigner(t)), at, ledger.ErrUnknownKey},
		"by another role": {s.signed(at, s.evidence), at, ledger.ErrUnknownKey},
		"not a status":    {[]byte("x"), at, ledger.ErrKeyStatus},
	} {
		if _, err := trust.ApplyKeyStatus(tc.data, tc.at); !errors.Is(err, tc.want) || !errors.Is(err, ErrKeyStatus) {
			t.Errorf("%s: %v", name, err)
		}
	}
	old := trust.VKey
	_, head := s.head(s.size())
	if _, err := trust.ApplyKeyStatus(data, at.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if trust.VKey == old || !trust.KnowsLogKey(old) || len(trust.Others) != 1 || trust.Others[0].Status != KeyRetired {
		t.Errorf("the log's keys: %q and %+v", trust.VKey, trust.Others)
	}
	if _, fs := VerifyCheckpoint(head, &trust.Anchor); fs.Outcome() != OK {
		t.Errorf("a checkpoint by the retired key: %v", fs)
	}
	signer, err := note.NewEd25519VerifierKey(s.origin, nextLog.Public().(ed25519.PublicKey))
	if err != nil || signer != trust.VKey {
		t.Errorf("the log is named by %q: %v", trust.VKey, err)
	}
	kid, err := jws.Thumbprint(next.public)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok := trust.Keys.Key(kid); !ok || len(trust.Receipts) != 2 {
		t.Error("new keys are missing")
	}
	text, err := trust.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseTrust(text)
	if err != nil || !again.KnowsLogKey(old) {
		t.Errorf("the updated document: %v", err)
	}

	// A status whose own key is compromised says nothing.
	s.status.Keys[0].State, s.status.Keys[0].NotAfter = ledger.KeyStateCompromised, at.Unix()
	if _, err := trust.ApplyKeyStatus(s.signed(at, s.governance), at); !errors.Is(err, ErrKeyStatus) {
		t.Errorf("signed by the key that it calls compromised: %v", err)
	}
}
