package httpapi

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/mission/missiontest"
	"github.com/mission-authority/mas/verifier"
)

// newRealWorld is newWorld with the real state owner behind the surface.
func newRealWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	a, err := authority.New(authority.Config{
		Issuer: testIssuer, Log: w.log, Status: w.issuer, Evidence: w.log.Keys.Evidence,
		Governance: missiontest.Key("governance"), Principals: principalsDocument(t), Now: w.clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := w.api.configForTest()
	c.Missions, c.Directory = a, a
	if w.api, err = New(c); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(2 * time.Second)
	return w
}

// into decodes a JSON answer.
func (w *world) into(body []byte, dst any) {
	w.Helper()
	if err := mission.DecodeOpen(body, dst); err != nil {
		w.Fatalf("%v in %s", err, body)
	}
}

// approve submits a mission as the client and approves it as the approver.
func (w *world) approve() mission.ID {
	w.Helper()
	intent := missiontest.Intent(func(i *mission.Intent) { i.ExpiresAt = mission.FormatTime(w.clock.Now().Add(time.Hour)) })
	body, err := mission.Marshal(map[string]any{"intent": intent, "authorization_details": []mission.Entry{missiontest.Entry()}})
	if err != nil {
		w.Fatal(err)
	}
	var pending struct {
		ID     string `json:"submission_id"`
		Status string `json:"status"`
	}
	w.into(w.expect(w.post("client", "/mas/submissions", mediaJSON, string(body)), http.StatusAccepted), &pending)
	if pending.Status != "pending" {
		w.Fatalf("the submission is %q", pending.Status)
	}
	if queue := string(w.expect(w.get("approver", "/mas/review"), http.StatusOK)); !strings.Contains(queue, pending.ID) {
		w.Errorf("the queue lacks the submission: %s", queue)
	}
	var review struct {
		ContextID string         `json:"context_id"`
		Hash      mission.Digest `json:"consent_rendering_hash"`
	}
	w.into(w.expect(w.get("approver", "/mas/review/"+pending.ID), http.StatusOK), &review)
	decision, err := mission.Marshal(map[string]any{"context_id": review.ContextID,
		"consent_rendering_hash": review.Hash, "decision": "approve"})
	if err != nil {
		w.Fatal(err)
	}
	w.expect(w.post("approver", "/mas/review/"+pending.ID+"/decision", mediaJSON, string(decision)), http.StatusOK)
	var approved struct {
		Status    string     `json:"status"`
		MissionID mission.ID `json:"mission_id"`
	}
	w.into(w.expect(w.postForm("client", "/mas/submissions/status", url.Values{"submission": {pending.ID}}), 200), &approved)
	if approved.Status != "approved" {
		w.Fatalf("the submission is %q", approved.Status)
	}
	return approved.MissionID
}

// state asks for the signed status of a mission and makes every check of a consumer.
func (w *world) state(role string, id mission.ID, audience string) (*mission.Status, mission.Verdict) {
	w.Helper()
	fields := url.Values{"mission_id": {string(id)}, "nonce": {"nonce-1"}}
	want := role
	if audience != "" {
		fields.Set("audience", audience)
		want = audience
	}
	token := w.expect(w.postForm(role, "/mas/missions/status", fields), http.StatusOK)
	return jws.CheckStatus(string(token), w.api.config.Published.Issuer, mission.StatusContext{
		At: w.clock.Now(), Issuer: testIssuer, Audience: want, Requester: role, Nonce: "nonce-1", MissionID: id,
		Algs: []string{jws.ES256, jws.EdDSA},
	})
}

// move runs a lifecycle operation.
func (w *world) move(role string, id mission.ID, op mission.Operation, status int) {
	w.Helper()
	w.moves++
	w.expect(w.postForm(role, "/mas/missions/lifecycle", url.Values{"mission_id": {string(id)}, "operation": {string(op)},
		"nonce": {strconv.Itoa(w.moves)}}), status)
}

// TestMissionOverHTTP takes a mission from submission to revocation over the surface and verifies what is left of it
// the auditor's way.
func TestMissionOverHTTP(t *testing.T) {
	w := newRealWorld(t)
	id := w.approve()

	st, verdict := w.state("pep", id, missiontest.Resource)
	if verdict != mission.Accept || st.Mission.State != mission.Active || st.AuthorizationDetails.IsZero() {
		t.Fatalf("%s %+v", verdict, st)
	}
	if st, verdict := w.state("client", id, ""); verdict != mission.Accept || !st.AuthorizationDetails.IsZero() {
		t.Errorf("state only: %s %+v", verdict, st)
	}

	w.move("operator", id, mission.OpSuspend, http.StatusOK)
	if _, verdict := w.state("client", id, ""); verdict != mission.NonActive {
		t.Errorf("suspended: %s", verdict)
	}
	w.move("client", id, mission.OpResume, http.StatusNotFound)
	w.move("operator", id, mission.OpResume, http.StatusOK)
	w.move("approver", id, mission.OpRevoke, http.StatusOK)
	if st, verdict := w.state("pep", id, missiontest.Resource); verdict != mission.NonActive || st.Mission.State != mission.Revoked {
		t.Errorf("revoked: %s %+v", verdict, st)
	}
	w.move("operator", id, mission.OpSuspend, http.StatusConflict)

	w.checkBundle(id)
	ledgertest.CheckLog(t, w.log, w.log.Keys.VKey)
}

// checkBundle fetches the evidence of a mission as the auditor and verifies it with nothing but the trust document.
func (w *world) checkBundle(id mission.ID) {
	w.Helper()
	got := w.post("auditor", "/v1/bundles", mediaJSON, `{"query":{"mission":"`+string(id)+`"}}`)
	data := w.expect(got, http.StatusOK)
	if got.Header().Get("Content-Type") != mediaZIP {
		w.Errorf("Content-Type %q", got.Header().Get("Content-Type"))
	}
	r := verifier.VerifyBundle(data, w.trust(), verifier.BundleOptions{Mission: string(id)})
	if r.Outcome != verifier.OK || r.Completeness != verifier.Complete {
		w.Errorf("outcome %v, %v: %+v", r.Outcome, r.Completeness, r.All())
	}
	if len(r.Missions) != 1 || r.Missions[0].State != mission.Revoked || r.Missions[0].Version != 4 {
		w.Errorf("history %+v", r.Missions)
	}
}

// TestUnknownAndInvisibleMissions: over the real state owner too, the two are one answer.
//
// Audit rows: 148.
func TestUnknownAndInvisibleMissions(t *testing.T) {
	w := newRealWorld(t)
	id := w.approve()
	ask := func(role string, id mission.ID) string {
		return response(w.postForm(role, "/mas/missions/status", url.Values{"mission_id": {string(id)}, "nonce": {"n"}}))
	}
	invisible, unknown, malformed := ask("peer", id), ask("peer", mission.NewMissionID()), ask("peer", "x y")
	if !strings.HasPrefix(invisible, "Not Found") || invisible != unknown || invisible != malformed {
		t.Errorf("invisible:\n%s\nunknown:\n%s\nmalformed:\n%s", invisible, unknown, malformed)
	}
	w.expect(w.post("auditor", "/v1/bundles", mediaJSON, `{"query":{"mission":"`+string(mission.NewMissionID())+`"}}`), 404)
}

// TestRefusalsAreEvidence: the refusal of a known caller by the surface itself stands in the log.
func TestRefusalsAreEvidence(t *testing.T) {
	w := newRealWorld(t)
	before := w.log.MustView(t).Head().Size
	w.expect(w.get("client", "/v1/feeds/YQ"), http.StatusNotFound)
	w.expect(w.get("", "/v1/feeds/YQ"), http.StatusUnauthorized)
	v := w.log.MustView(t)
	if got := v.Head().Size; got != before+1 {
		t.Fatalf("%d entries were added", got-before)
	}
	e, err := v.Entry(before)
	if err != nil {
		t.Fatal(err)
	}
	r := verifier.VerifyStatement(e.Statement, w.trust())
	if r.ContentType != mission.ContentRefusal {
		t.Errorf("logged %s", r.ContentType)
	}
}

// The state owner is what the surface asks for.
var (
	_ Missions   = (*authority.Authority)(nil)
	_ Federation = (*authority.Authority)(nil)
	_ Directory  = (*authority.Authority)(nil)
)
