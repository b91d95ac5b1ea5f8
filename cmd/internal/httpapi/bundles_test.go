package httpapi

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/missiontest"
	"github.com/mission-authority/mas/verifier"
)

// about commits an entry about a subject.
func (w *world) about(kind ledger.SubjectKind, id, contentType string, body any) {
	w.Helper()
	subject, err := ledger.Subject(testIssuer, kind, id)
	if err != nil {
		w.Fatal(err)
	}
	text, err := mission.Marshal(body)
	if err != nil {
		w.Fatal(err)
	}
	raw, err := ledger.SignStatement(w.Context(), ledger.Claims{Issuer: testIssuer, Subject: subject,
		ContentType: contentType, Digest: sha256.Sum256(text)}, w.log.Keys.Evidence)
	if err != nil {
		w.Fatal(err)
	}
	w.log.MustCommit(w, ledger.Change{Entries: []ledger.Entry{{Statement: raw, Body: text}}})
}

// TestBundleFollowsTheBorder: a bundle holds the feeds that the mission names, whole, and no others.
func TestBundleFollowsTheBorder(t *testing.T) {
	w := newWorld(t)
	id := mission.NewMissionID()
	peer := authority.PeerID(missiontest.PeerIssuer)
	agreement := mission.AgreementRef{ID: "agr_1", Version: 1, Digest: mission.RawDigest([]byte("agreement"))}
	w.about(ledger.SubjectMissions, string(id), mission.ContentProjectionIssued,
		map[string]any{"mission_id": id, "peer": missiontest.PeerIssuer, "agreement": agreement})
	w.about(ledger.SubjectAgreements, "agr_1", ledgerOctets, map[string]any{"n": 1})
	w.about(ledger.SubjectAgreements, "agr_1", ledgerOctets, map[string]any{"n": 2})
	w.about(ledger.SubjectAgreements, "agr_2", ledgerOctets, map[string]any{"n": 3})
	w.about(ledger.SubjectPeers, peer, ledgerOctets, map[string]any{"n": 4})
	w.about(ledger.SubjectMissions, string(mission.NewMissionID()), ledgerOctets, map[string]any{"n": 5})

	data := w.expect(w.post("auditor", "/v1/bundles", mediaJSON, `{"query":{"mission":"`+string(id)+`"}}`), http.StatusOK)
	files, err := verifier.Unpack(data)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(files, func(f verifier.File) bool { return f.Path == "manifest.json" })
	m, err := verifier.ParseManifest(files[i].Data)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{testIssuer + "/agreements/agr_1", testIssuer + "/missions/" + string(id), testIssuer + "/peers/" + peer}
	if !slices.Equal(m.Query.Subjects, want) {
		t.Errorf("feeds %v, want %v", m.Query.Subjects, want)
	}
	if m.Counts.Statements != 6 { // one, two, one, the feed epoch and the genesis
		t.Errorf("%d statements", m.Counts.Statements)
	}
	again := w.expect(w.post("auditor", "/v1/bundles", mediaJSON, `{"query":{"mission":"`+string(id)+`"}}`), http.StatusOK)
	if _, err := verifier.Unpack(again); err != nil {
		t.Error(err)
	}
}

// ledgerOctets is a content type that nobody reads.
const ledgerOctets = "application/octet-stream"
