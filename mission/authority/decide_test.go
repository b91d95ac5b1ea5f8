package authority_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/mission/missiontest"
)

// The seven steps of the approval event, each with what it refuses (core 5.1).
func TestApprovalSteps(t *testing.T) {
	t.Run("1 who is not the approver sees nothing", func(t *testing.T) {
		d := newDomain(t, parts{})
		id := d.submit(time.Hour)
		s := d.review(id)
		for _, caller := range []string{"other-approver", "agent-1", "admin", "operator"} {
			_, err := d.Decide(t.Context(), d.as(caller), id, decisionBody(s, "approve"))
			refusedAs(t, err, "not_found", "")
			_, err = d.Review(t.Context(), d.as(caller), id)
			refusedAs(t, err, "not_found", "")
		}
		_, err := d.Decide(t.Context(), d.as("approver"), "sub_"+strings.Repeat("A", 32), decisionBody(s, "approve"))
		refusedAs(t, err, "not_found", "")
		d.undecided(id)
	})
	t.Run("1 an attended authority has no login yet", func(t *testing.T) {
		d := newDomain(t, parts{config: func(c *authority.Config) { c.Attended = true }})
		id := d.submit(time.Hour)
		s := d.review(id)
		for _, decision := range []string{"approve", "deny"} {
			_, err := d.decide(id, s, decision)
			refusedAs(t, err, "no_person_authentication", "")
		}
		d.undecided(id)
	})
	t.Run("1 the authentication satisfies no acr", func(t *testing.T) {
		d := newDomain(t, parts{})
		id := d.submitAs("agent-1", bytes.Replace(d.submission(time.Hour), []byte(`{"goal"`),
			[]byte(`{"controls":{"acr":"urn:example:strong"},"goal"`), 1))
		_, err := d.decide(id, d.review(id), "approve")
		refusedAs(t, err, "acr_not_satisfied", "")
		d.undecided(id)
	})
	for name, c := range map[string]struct{ old, new, code, reason string }{
		"2 the approver is no longer the subject": {
			`"roles":["approver"],"subject":{"iss":"https://id.a.example","sub":"approver"}`,
			`"roles":["approver"],"subject":{"iss":"https://id.a.example","sub":"somebody"}`,
			"access_denied", "approver_not_subject"},
		"2 the approver may not decide for the subject": {
			`"roles":["approver"],"subject":{"iss":"https://id.a.example","sub":"approver"}`,
			`"roles":["approver"],"subject":{"iss":"https://id.a.example","sub":"approver"},"approves":[{"class":"none"}]`,
			"access_denied", "approver_not_subject"},
		"3 the client is gone":          {`"client_id":"agent-1"`, `"client_id":"agent-9"`, "access_denied", "client"},
		"3 the client acts for another": {delegated("approver"), delegated("other"), "access_denied", "authority_source"},
		"3 the ceiling no longer holds it": {`"actions":["invoices.*","reports.read"]`, `"actions":["reports.read"]`,
			"invalid_authority", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDomain(t, parts{})
			id := d.submit(time.Hour)
			s := d.review(id)
			changed := strings.Replace(principalsJSON(), c.old, c.new, 1)
			if name == "2 the approver is no longer the subject" {
				changed = strings.Replace(changed, `"roles":["client"],`+delegated("approver"), `"roles":["client"],`+delegated("somebody"), 2)
			}
			d.setPrincipals(changed)
			_, err := d.decide(id, s, "approve")
			refusedAs(t, err, c.code, c.reason)
			_, err = d.Review(t.Context(), d.as("approver"), id)
			refusedAs(t, err, c.code, c.reason)
			d.undecided(id)
		})
	}
	t.Run("4 the mission would be over", func(t *testing.T) {
		d := newDomain(t, parts{})
		id := d.submit(time.Minute)
		s := d.review(id)
		d.clock.advance(time.Minute)
		_, err := d.decide(id, s, "approve")
		refusedAs(t, err, "submission_expired", "")
	})
	t.Run("5 and 6 something else was shown", func(t *testing.T) {
		d := newDomain(t, parts{})
		id, other := d.submit(time.Hour), d.submit(2*time.Hour)
		s, o := d.review(id), d.review(other)
		d.clock.advance(time.Second)
		later := d.review(id)
		for _, quoted := range []shown{
			o, {s.context, o.hash}, {o.context, s.hash}, {s.context, later.hash}, {later.context, s.hash}, {"", s.hash},
			{s.context[:len(s.context)-1] + "x", s.hash}, {"ctx_" + strings.Repeat("A", 54), s.hash},
			{s.context + "A", s.hash},
		} {
			_, err := d.decide(id, quoted, "approve")
			refusedAs(t, err, "context_changed", "")
			_, err = d.decide(id, quoted, "deny")
			refusedAs(t, err, "context_changed", "")
		}
		d.undecided(id)
		if _, err := d.decide(id, later, "approve"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("7 decided is decided", func(t *testing.T) {
		d := newDomain(t, parts{})
		id := d.submit(time.Hour)
		s := d.review(id)
		first, err := d.decide(id, s, "approve")
		if err != nil {
			t.Fatal(err)
		}
		again, err := d.decide(id, s, "approve")
		if err != nil || !bytes.Equal(again, first) {
			t.Errorf("again: %s, %v", again, err)
		}
		_, err = d.decide(id, s, "deny")
		refusedAs(t, err, "already_decided", "")
		_, err = d.Review(t.Context(), d.as("approver"), id)
		refusedAs(t, err, "already_decided", "")
		if n := len(of(d.entries(), mission.ContentApprovalRecord)); n != 1 {
			t.Errorf("%d missions", n)
		}
		d.sound()
	})
}

// undecided fails the test unless the submission is pending and nothing was decided.
func (d *domain) undecided(id string) {
	d.Helper()
	poll, err := d.Poll(d.ctx(), d.as("agent-1"), id)
	if e := of(d.entries(), mission.ContentApprovalRecord); len(e) != 0 {
		d.Errorf("%d missions were approved", len(e))
	}
	if e := of(d.entries(), mission.ContentConsentEvidence); len(e) != 0 {
		d.Errorf("%d decisions were recorded", len(e))
	}
	if err == nil && member(d.TB, poll, "status") != "pending" {
		d.Errorf("poll: %s", poll)
	}
	d.sound()
}

func (d *domain) setPrincipals(text string) {
	d.Helper()
	ps, err := authority.ParsePrincipals([]byte(text))
	if err != nil {
		d.Fatal(err)
	}
	if err := d.SetPrincipals(d.ctx(), ps); err != nil {
		d.Fatal(err)
	}
}

// Whatever changes between rendering and decision needs a new look (core T4).
func TestContextChanges(t *testing.T) {
	changes := map[string]func(d *domain) *domain{
		"a ceiling is narrowed": func(d *domain) *domain {
			d.setPrincipals(strings.Replace(principalsJSON(), `"tenant":"acme"`, `"tenant":"acme","allowed_tools":["erp"]`, 1))
			return d
		},
		"somebody else's ceiling is changed": func(d *domain) *domain {
			text := principalsJSON()
			i := strings.LastIndex(text, `"reports.read"`)
			d.setPrincipals(text[:i] + `"reports.list"` + text[i+len(`"reports.read"`):])
			return d
		},
		"the server restarts": func(d *domain) *domain {
			d = d.reopen(parts{})
			if err := d.Recover(d.ctx()); err != nil {
				d.Fatal(err)
			}
			return d
		},
		"an hour passes": func(d *domain) *domain {
			d.clock.advance(time.Hour + time.Second)
			return d
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			d := newDomain(t, parts{})
			id := d.submit(5 * time.Hour)
			s := d.review(id)
			d = change(d)
			for _, decision := range []string{"approve", "deny"} {
				_, err := d.decide(id, s, decision)
				refusedAs(t, err, "context_changed", "")
			}
			if _, err := d.decide(id, d.review(id), "approve"); err != nil {
				t.Error(err)
			}
			d.sound()
		})
	}
}

// Of decisions that meet, one is made.
func TestDecisionsMeet(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.submit(time.Hour)
	s := d.review(id)
	var wg sync.WaitGroup
	results := make([]error, 16)
	for i := range results {
		wg.Go(func() { _, results[i] = d.decide(id, s, []string{"approve", "deny"}[i%2]) })
	}
	wg.Wait()
	kinds := map[bool]int{}
	for _, err := range results {
		kinds[err == nil]++
		if err != nil {
			refusedAs(t, err, "already_decided", "")
		}
	}
	if kinds[true] != 8 {
		t.Errorf("%d decisions were told that they were made", kinds[true])
	}
	if n := len(of(d.entries(), mission.ContentConsentEvidence)); n != 1 {
		t.Errorf("%d decisions are recorded", n)
	}
	d.sound()
}

// Many decisions of one approver at once are all made, and numbered without a gap.
func TestManyDecisions(t *testing.T) {
	d := newDomain(t, parts{})
	const n = 40
	var wg sync.WaitGroup
	for i := range n {
		id := d.submitAs([]string{"agent-1", "agent-2"}[i%2], d.submission(time.Hour))
		s := d.review(id)
		wg.Go(func() {
			if _, err := d.decide(id, s, []string{"approve", "deny", "approve"}[i%3]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	numbers := map[uint64]bool{}
	for _, e := range of(d.entries(), mission.ContentConsentEvidence) {
		var c consent
		if err := mission.DecodeOpen(e.Body, &c); err != nil {
			t.Fatal(err)
		}
		numbers[c.Sequence] = true
	}
	for i := range uint64(n) {
		if !numbers[i+1] {
			t.Errorf("no decision %d", i+1)
		}
	}
	d.sound()
}

// consent is what a test reads of consent evidence.
type consent struct {
	Mission struct {
		ID                   string `json:"id,omitempty"`
		AuthorityHash        string `json:"authority_hash"`
		ConsentRenderingHash string `json:"consent_rendering_hash"`
	} `json:"mission"`
	Decision              string              `json:"decision"`
	DeclineReason         string              `json:"decline_reason,omitempty"`
	Disclosure            *mission.Disclosure `json:"disclosure"`
	Sequence              uint64              `json:"sequence"`
	AuthenticationContext struct {
		Attendance string `json:"attendance"`
	} `json:"authentication_context"`
	ApprovalPolicyVersion string `json:"approval_policy_version"`
	PolicyEntry           string `json:"policy_entry"`
	Envelope              struct {
		Value string `json:"value"`
	} `json:"evidence_envelope"`
}

func TestConsentEvidence(t *testing.T) {
	d := newDomain(t, parts{})
	mid := d.approve(time.Hour)
	denied := d.submit(time.Hour)
	body := bytes.Replace(decisionBody(d.review(denied), "deny"), []byte("{"), []byte(`{"reason":"not now",`), 1)
	if _, err := d.Decide(t.Context(), d.as("approver"), denied, body); err != nil {
		t.Fatal(err)
	}
	all := d.entries()
	evidence := of(all, mission.ContentConsentEvidence)
	if len(evidence) != 2 {
		t.Fatalf("%d consents", len(evidence))
	}
	policy := of(all, mission.ContentPrincipals)[0]
	for i, e := range evidence {
		var c consent
		if err := mission.DecodeOpen(e.Body, &c); err != nil {
			t.Fatal(err)
		}
		// The envelope signs the canonical form of everything else.
		token, err := jws.Open(c.Envelope.Value, jws.TypConsentEvidence, missiontest.Keys(d.issuer))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := bytes.Cut(e.Body, []byte(`,"evidence_envelope":{`))
		_, rest, _ = bytes.Cut(rest, []byte(`}`))
		inner, _, _ := bytes.Cut(e.Body, []byte(`,"evidence_envelope":{`))
		if !bytes.Equal(append(bytes.Clone(inner), rest...), token.Payload) {
			t.Errorf("consent %d: the envelope signs something else", i)
		}
		hash, err := c.Disclosure.Hash(missiontest.Issuer)
		if err != nil || string(hash) != c.Mission.ConsentRenderingHash {
			t.Errorf("consent %d: rendering %s, %v", i, hash, err)
		}
		if c.AuthenticationContext.Attendance != "dev-unattended" || c.Sequence != uint64(i+1) {
			t.Errorf("consent %d: %+v", i, c)
		}
		if c.PolicyEntry != ledger.EntryID(policy.Statement.Leaf()) || c.ApprovalPolicyVersion != string(d.Principals().Digest()) {
			t.Errorf("consent %d cites %s, %s", i, c.PolicyEntry, c.ApprovalPolicyVersion)
		}
		kind, id, err := ledger.ParseSubject(missiontest.Issuer, e.Statement.Subject)
		switch {
		case err != nil:
			t.Error(err)
		case i == 0 && (c.Decision != "approved" || c.Mission.ID != mid || kind != ledger.SubjectMissions || id != mid):
			t.Errorf("approval: %+v on %s", c, e.Statement.Subject)
		case i == 1 && (c.Decision != "declined" || c.Mission.ID != "" || kind != ledger.SubjectApprovals || c.DeclineReason != "not now"):
			t.Errorf("denial: %+v on %s", c, e.Statement.Subject)
		}
	}
	rec, err := mission.ParseRecord(of(all, mission.ContentApprovalRecord)[0].Body)
	if err != nil {
		t.Fatal(err)
	}
	var c consent
	if err := mission.DecodeOpen(evidence[0].Body, &c); err != nil {
		t.Fatal(err)
	}
	if err := c.Disclosure.Covers(rec.AuthoritySet); err != nil || string(rec.ConsentRenderingHash) != c.Mission.ConsentRenderingHash {
		t.Errorf("the record is not what was disclosed: %v", err)
	}
	if rec.Approver != missiontest.Approver || rec.Subject != missiontest.Approver || rec.ClientID != "agent-1" ||
		rec.ApprovalBasis.Type != mission.BasisDirect || rec.ApprovalBasis.ApprovedAt != "" {
		t.Errorf("record %+v", rec)
	}
	d.sound()
}

// The rendering shows client text inert and points out look-alikes and what nobody here observes.
func TestRenderingIsInert(t *testing.T) {
	d := newDomain(t, parts{})
	body := strings.Replace(string(d.submission(time.Hour)), "Reconcile the invoices",
		"Pay\\u202Eevil\\u001b[31m <script>alert(1)</script> p\u0430ypal", 1)
	body = strings.Replace(body, `"tenant":"acme"}`, `"tenant":"acme","terminal_when":[{"event_type":"done"}]}`, 1)
	id := d.submitAs("agent-1", []byte(body))
	answer, err := d.Review(t.Context(), d.as("approver"), id)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsAny(answer, "\u202e\x1b") || !bytes.Contains(answer, []byte("<U+202E>")) || !bytes.Contains(answer, []byte("<U+001B>")) {
		t.Errorf("not inert: %s", answer)
	}
	for _, notice := range []string{"client_text_mixes_scripts", "terminal_when_not_observed"} {
		if !bytes.Contains(answer, []byte(notice)) {
			t.Errorf("no notice %s in %s", notice, answer)
		}
	}
	if err := mission.CheckStrict(answer); err != nil {
		t.Error(err)
	}
}

func TestEffectiveExpiry(t *testing.T) {
	d := newDomain(t, parts{config: func(c *authority.Config) { c.MaxLifetime = 30 * time.Minute }})
	at := d.clock.now()
	id := d.submit(time.Hour)
	d.clock.advance(time.Minute)
	answer, err := d.Review(t.Context(), d.as("approver"), id)
	if err != nil {
		t.Fatal(err)
	}
	want := mission.FormatTime(at.Add(31 * time.Minute))
	if got := member(t, answer, "effective_expires_at"); got != want {
		t.Errorf("rendered %s, want %s", got, want)
	}
	if !bytes.Contains(answer, []byte(`"requested_expires_at":"`+mission.FormatTime(at.Add(time.Hour))+`"`)) {
		t.Errorf("the requested expiry is not shown: %s", answer)
	}
	d.clock.advance(time.Minute)
	s := shown{member(t, answer, "context_id"), member(t, answer, "consent_rendering_hash")}
	if answer, err = d.decide(id, s, "approve"); err != nil || member(t, answer, "mission_expires_at") != want {
		t.Errorf("approved %s, %v", answer, err)
	}
}

func TestQueue(t *testing.T) {
	d := newDomain(t, parts{})
	var want []string
	for range 5 {
		want = append(want, d.submit(time.Hour))
		d.clock.advance(time.Second)
	}
	if _, err := d.decide(want[1], d.review(want[1]), "deny"); err != nil {
		t.Fatal(err)
	}
	want = append(want[:1], want[2:]...)
	answer, err := d.Queue(t.Context(), d.as("approver"))
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range want {
		_, rest, ok := strings.Cut(string(answer), fmt.Sprintf("%q", id))
		if !ok {
			t.Fatalf("submission %d is not in its place in %s", i, answer)
		}
		answer = []byte(rest)
	}
	if other, err := d.Queue(t.Context(), d.as("other-approver")); err != nil || string(other) != `{"submissions":[]}` {
		t.Errorf("another approver's queue: %s, %v", other, err)
	}
	_, err = d.Queue(t.Context(), d.as("agent-1"))
	refusedAs(t, err, "access_denied", "role")
	d.clock.advance(time.Hour)
	if late, err := d.Queue(t.Context(), d.as("approver")); err != nil || string(late) != `{"submissions":[]}` {
		t.Errorf("after they expired: %s, %v", late, err)
	}
}

func TestDecisionBody(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.submit(time.Hour)
	good := string(decisionBody(d.review(id), "approve"))
	for name, body := range map[string]string{
		"empty": ``, "list": `[]`,
		"approver":  strings.Replace(good, "{", `{"approver":"approver",`, 1),
		"subject":   strings.Replace(good, "{", `{"subject":{"iss":"i","sub":"s"},`, 1),
		"twice":     strings.Replace(good, "{", `{"decision":"deny",`, 1),
		"maybe":     strings.Replace(good, `"approve"`, `"narrow"`, 1),
		"no digest": strings.Replace(good, "sha-256:", "sha-512:", 1),
		"long":      strings.Replace(good, "{", `{"reason":"`+strings.Repeat("é", 1025)+`",`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.Decide(t.Context(), d.as("approver"), id, []byte(body))
			if err == nil || !strings.HasPrefix(err.Error(), "invalid_request") {
				t.Errorf("got %v", err)
			}
		})
	}
	d.undecided(id)
}
