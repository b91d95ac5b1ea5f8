package authority_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/missiontest"
)

func TestSubmitRefuses(t *testing.T) {
	d := newDomain(t, parts{})
	intent := d.intentJSON(time.Hour)
	controls := func(c string) string { return strings.Replace(intent, `"goal"`, `"controls":`+c+`,"goal"`, 1) }
	for name, c := range map[string]struct{ body, code, reason string }{
		"bare intent":         {intent, "invalid_mission_intent", "expires_at"},
		"unknown member":      {`{"intent":` + intent + `,"approver":"approver"}`, "invalid_mission_intent", "approver"},
		"parent":              {`{"intent":` + intent + `,"parent":"msn_x"}`, "invalid_mission_intent", "parent"},
		"no proposal":         {`{"intent":` + intent + `}`, "invalid_authority", "authorization_details"},
		"evidence":            {`{"intent":` + intent + `,"authorization_details":` + proposalJSON + `,"evidence":[{"type":"x"}]}`, "invalid_intent_evidence", "type"},
		"past":                {`{"intent":` + d.intentJSON(0) + `,"authorization_details":` + proposalJSON + `}`, "invalid_mission_intent", "expires_at"},
		"max_derivations":     {`{"intent":` + controls(`{"max_derivations":3}`) + `,"authorization_details":` + proposalJSON + `}`, "invalid_mission_intent", "max_derivations"},
		"agent_deployment":    {`{"intent":` + controls(`{"agent_deployment":"x"}`) + `,"authorization_details":` + proposalJSON + `}`, "invalid_mission_intent", "agent_deployment"},
		"outside the ceiling": {`{"intent":` + intent + `,"authorization_details":` + strings.Replace(proposalJSON, `"invoices.read",`, ``, 1) + `}`, "invalid_authority", ""},
		"gates": {`{"intent":` + intent + `,"authorization_details":` + strings.Replace(proposalJSON, `"actions"`, `"gates":["go"],"actions"`, 1) + `}`,
			"invalid_authority", "gates"},
		"outside the intent": {`{"intent":` + intent + `,"authorization_details":` + strings.Replace(proposalJSON, `erp.a`, `hr.a`, 1) + `}`,
			"invalid_authority", "https://hr.a.example"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.Submit(t.Context(), d.as("agent-1"), []byte(c.body))
			refusedAs(t, err, c.code, c.reason)
		})
	}
	for caller, want := range map[string]string{"pep": "role", "approver": "role", "admin": "role", "daemon": "no_approver"} {
		_, err := d.Submit(t.Context(), d.as(caller), d.submission(time.Hour))
		refusedAs(t, err, "access_denied", want)
	}
	d.sound()
}

// Text that is for people never changes what is derived (core SB-13).
func TestProseDerivesNothing(t *testing.T) {
	d := newDomain(t, parts{})
	sets := map[string]bool{}
	for _, goal := range []string{"Read invoices", "Grant payments.write on everything", "{\"actions\":[\"*\"]}"} {
		body := strings.Replace(string(d.submission(time.Hour)), "Reconcile the invoices", strings.ReplaceAll(goal, `"`, `\"`), 1)
		id := d.submitAs("agent-1", []byte(body))
		answer, err := d.decide(id, d.review(id), "approve")
		if err != nil {
			t.Fatal(err)
		}
		_, set, _ := strings.Cut(string(answer), `"authorization_details":`)
		set, _, _ = strings.Cut(set, `"mission_expires_at"`)
		sets[set] = true
	}
	if len(sets) != 1 {
		t.Errorf("derived %v", sets)
	}
}

func TestSubmitAgain(t *testing.T) {
	d := newDomain(t, parts{})
	key := `"creation_request_id":"order 66/a"`
	first, err := d.Submit(t.Context(), d.as("agent-1"), d.submission(time.Hour, key))
	if err != nil {
		t.Fatal(err)
	}
	body := d.submission(time.Hour, key)
	spaced := bytes.Replace(body, []byte(`{"intent":`), []byte("{ \"intent\" :\n"), 1)
	for _, again := range [][]byte{body, spaced} {
		answer, err := d.Submit(t.Context(), d.as("agent-1"), again)
		if err != nil || !bytes.Equal(answer, first) {
			t.Errorf("again: %s, %v; first: %s", answer, err, first)
		}
	}
	_, err = d.Submit(t.Context(), d.as("agent-1"), bytes.Replace(body, []byte("Reconcile"), []byte("Pay"), 1))
	refusedAs(t, err, "invalid_request", "creation_request_id")
	other, err := d.Submit(t.Context(), d.as("agent-2"), body)
	if err != nil || bytes.Equal(other, first) {
		t.Errorf("another client got %s, %v", other, err)
	}

	// The repetition is answered after the restart, after the decision, and after the requested expiry.
	id := member(t, first, "submission_id")
	if _, err := d.decide(id, d.review(id), "deny"); err != nil {
		t.Fatal(err)
	}
	d = d.reopen(parts{})
	if err := d.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.clock.advance(2 * time.Hour)
	answer, err := d.Submit(t.Context(), d.as("agent-1"), body)
	if err != nil || !bytes.Equal(answer, first) {
		t.Errorf("after the restart: %s, %v", answer, err)
	}
	if n := len(of(d.entries(), mission.ContentSubmission)); n != 2 {
		t.Errorf("%d submissions are logged", n)
	}
	d.sound()
}

func TestSubmissionsPendingAreBounded(t *testing.T) {
	d := newDomain(t, parts{})
	var ids []string
	for range 20 {
		ids = append(ids, d.submit(time.Hour))
	}
	_, err := d.Submit(t.Context(), d.as("agent-1"), d.submission(time.Hour))
	refusedAs(t, err, "rate_limited", "pending")
	d.submitAs("agent-2", d.submission(time.Hour))

	if _, err := d.decide(ids[3], d.review(ids[3]), "deny"); err != nil {
		t.Fatal(err)
	}
	ids = append(ids, d.submit(time.Hour))
	_, err = d.Submit(t.Context(), d.as("agent-1"), d.submission(time.Hour))
	refusedAs(t, err, "rate_limited", "pending")

	// Expiry, too, makes room.
	d.clock.advance(time.Hour)
	for _, id := range ids[4:8] {
		if poll, err := d.Poll(t.Context(), d.as("agent-1"), id); err != nil || member(t, poll, "status") != "expired" {
			t.Fatalf("poll: %s, %v", poll, err)
		}
	}
	for range 4 {
		d.submit(time.Hour)
	}
	_, err = d.Submit(t.Context(), d.as("agent-1"), d.submission(time.Hour))
	refusedAs(t, err, "rate_limited", "pending")
	d.sound()
}

func TestPollTellsOnlyTheSubmitter(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.submit(time.Hour)
	var told []string
	for caller, ids := range map[string][]string{
		"agent-2":  {id, "sub_" + strings.Repeat("A", 32), "", "sub_\x00"},
		"approver": {id}, "admin": {id}, "operator": {id},
	} {
		for _, id := range ids {
			_, err := d.Poll(t.Context(), d.as(caller), id)
			refusedAs(t, err, "not_found", "")
			told = append(told, describe(t, err))
		}
	}
	for _, text := range told {
		if text != told[0] {
			t.Errorf("%q and %q differ", text, told[0])
		}
	}
}

// describe is everything that a surface could tell about a refusal.
func describe(t *testing.T, err error) string {
	t.Helper()
	e, ok := errors.AsType[*authority.Error](err)
	if !ok {
		t.Fatalf("not a refusal: %v", err)
	}
	return fmt.Sprintf("%d %s %s %s %s %v", e.Kind, e.Code, e.Description, e.Reason, e.RetryAfter, e.Err)
}

func TestSubmissionExpires(t *testing.T) {
	d := newDomain(t, parts{config: func(c *authority.Config) { c.SubmissionLifetime = 10 * time.Minute }})
	id := d.submit(time.Hour)
	shown := d.review(id)
	d.clock.advance(10 * time.Minute)
	_, err := d.decide(id, shown, "approve")
	refusedAs(t, err, "submission_expired", "")
	_, err = d.Review(t.Context(), d.as("approver"), id)
	refusedAs(t, err, "submission_expired", "")
	for range 2 {
		poll, err := d.Poll(t.Context(), d.as("agent-1"), id)
		if err != nil || string(poll) != `{"status":"expired","submission_id":"`+id+`"}` {
			t.Fatalf("poll: %s, %v", poll, err)
		}
	}
	if n := len(of(d.entries(), "application/mas-submission-expired+json")); n != 1 {
		t.Errorf("%d expiries are logged", n)
	}
	d.sound()
}

// What a client writes is in the vault and in no row.
func TestRowsHoldNoText(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.submit(time.Hour)
	if _, err := d.decide(id, d.review(id), "approve"); err != nil {
		t.Fatal(err)
	}
	denied := d.submit(time.Hour)
	s := d.review(denied)
	_, err := d.Decide(t.Context(), d.as("approver"), denied, bytes.Replace(decisionBody(s, "deny"), []byte(`{`),
		[]byte(`{"reason":"too broad for me",`), 1))
	if err != nil {
		t.Fatal(err)
	}
	v := d.log.MustView(t)
	rows := 0
	for row, err := range v.List("", "") {
		if err != nil {
			t.Fatal(err)
		}
		rows++
		for _, text := range []string{"Reconcile", "too broad"} {
			if bytes.Contains(row.Value, []byte(text)) || strings.Contains(row.Key, text) {
				t.Errorf("row %s holds %q", row.Key, text)
			}
		}
	}
	if rows < 10 {
		t.Errorf("only %d rows were read", rows)
	}
}

// A subject of this package is a subject of package ledger.
func TestSubjects(t *testing.T) {
	d := newDomain(t, parts{})
	d.approve(time.Hour)
	_, err := d.Poll(t.Context(), d.as("agent-1"), "nothing")
	refusedAs(t, err, "not_found", "")
	kinds := map[ledger.SubjectKind]int{}
	for _, e := range d.entries() {
		kind, _, err := ledger.ParseSubject(missiontest.Issuer, e.Statement.Subject)
		if err != nil {
			t.Errorf("entry %d: %v", e.Index, err)
		}
		kinds[kind]++
	}
	if kinds[ledger.SubjectMissions] != 2 || kinds[ledger.SubjectApprovals] != 1 || kinds[ledger.SubjectPrincipals] != 1 ||
		kinds[ledger.SubjectLog] != 2 {
		t.Errorf("kinds %v", kinds)
	}
}
