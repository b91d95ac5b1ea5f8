package authority_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/mission/missiontest"
)

// A domain is one authority over a real log in memory, with a clock that the test moves.
type domain struct {
	testing.TB
	*authority.Authority
	config authority.Config
	log    *ledgertest.Log
	stops  *ledgertest.Stops
	issuer *jws.Key
	clock  *clock
}

// clock is a settable time.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// parts of a domain that a test may choose.
type parts struct {
	store      ledger.Store
	vault      ledger.Vault
	keys       *ledgertest.Keys
	stops      *ledgertest.Stops
	clock      *clock
	now        func() time.Time // instead of clock
	principals string
	config     func(*authority.Config)
}

const origin = "mas.a.example/log/1"

// newDomain starts a domain; Recover has been called.
func newDomain(t testing.TB, p parts) *domain {
	t.Helper()
	d := startDomain(t, p)
	if err := d.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// startDomain is newDomain before Recover.
func startDomain(t testing.TB, p parts) *domain {
	t.Helper()
	if p.clock == nil {
		p.clock = &clock{at: missiontest.At}
	}
	if p.now == nil {
		p.now = p.clock.now
	}
	if p.stops == nil {
		p.stops = ledgertest.NewStops()
	}
	if p.keys == nil {
		p.keys = ledgertest.NewKeys(t, origin)
	}
	if p.principals == "" {
		p.principals = principalsJSON()
	}
	log := ledgertest.NewLog(t, ledgertest.Options{
		Store: p.store, Vault: p.vault, Keys: p.keys, Stops: p.stops, Now: p.now,
	})
	ps, err := authority.ParsePrincipals([]byte(p.principals))
	if err != nil {
		t.Fatal(err)
	}
	issuer := missiontest.Key("issuer")
	c := authority.Config{
		Issuer:     missiontest.Issuer,
		Log:        log,
		Status:     issuer,
		Evidence:   p.keys.Evidence,
		Governance: missiontest.Key("governance"),
		Principals: ps,
		Now:        p.now,
	}
	if p.config != nil {
		p.config(&c)
	}
	a, err := authority.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return &domain{TB: t, Authority: a, config: c, log: log, stops: p.stops, issuer: issuer, clock: p.clock}
}

// reopen stops the log and starts another process over the same store.
func (d *domain) reopen(p parts) *domain {
	d.Helper()
	if err := d.log.Stop(); err != nil {
		d.Fatal(err)
	}
	p.store, p.vault, p.keys, p.stops, p.clock = d.log.Store, d.log.Vault, d.log.Keys, d.stops, d.clock
	return startDomain(d.TB, p)
}

// ceilingJSON is what agent-1 may not exceed.
const ceilingJSON = `[{"type":"mission_resource_access","resource":"https://erp.a.example","resource_match":"prefix",
	"actions":["invoices.*","reports.read"],"constraints":{"tenant":"acme"},
	"delegation":{"max_depth":2}}]`

const proposalJSON = `[{"type":"mission_resource_access","resource":"https://erp.a.example",
	"actions":["invoices.read","payments.write"],"constraints":{"tenant":"acme"}}]`

// principalsJSON is a domain's principals: two agents of the same person, its approver, another approver, an operator
// that may resume and one that may not, relying parties, and a client nobody approves for.
func principalsJSON() string {
	return `[` + strings.Join([]string{
		principal("agent-1", `"kind":"service","roles":["client"],`+delegated("approver")+`,"ceiling":`+ceilingJSON),
		principal("agent-2", `"kind":"service","roles":["client"],`+delegated("approver")+`,"ceiling":`+ceilingJSON),
		principal("daemon", `"kind":"service","roles":["client"],"subject":{"iss":"https://id.a.example","sub":"svc"},
			"authority_source":{"type":"service_owned","id":"owner"},"ceiling":`+ceilingJSON),
		principal("approver", `"kind":"human","roles":["approver"],"subject":{"iss":"https://id.a.example","sub":"approver"}`),
		principal("other-approver", `"kind":"human","roles":["approver"],"subject":{"iss":"https://id.a.example","sub":"other"}`),
		principal("operator", `"kind":"service","roles":["operator","resume"]`),
		principal("night-shift", `"kind":"service","roles":["operator"]`),
		principal("pep", `"kind":"service","roles":["pep"],"audiences":["https://erp.a.example"]`),
		principal("stranger", `"kind":"service","roles":["pep"],"audiences":["https://other.a.example"]`),
		principal("admin", `"kind":"service","roles":["admin"]`),
	}, ",") + `]`
}

func delegated(sub string) string {
	return fmt.Sprintf(`"subject":{"iss":"https://id.a.example","sub":%q},"authority_source":{"type":"user_delegated","id":"owner"}`, sub)
}

// principal is one element of principals.json with a key of its own.
func principal(id, members string) string {
	key := missiontest.Key(id)
	jwk, err := jws.MarshalPublicKey(key.KeyID(), key.Public())
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"id":%q,"client_id":%q,"jwks":{"keys":[%s]},%s}`, id, id, jwk, members)
}

// as returns a principal as an authenticated caller.
func (d *domain) as(id string) authority.Caller {
	d.Helper()
	p, ok := d.Principals().ByID(id)
	if !ok {
		d.Fatalf("no principal %s", id)
	}
	return authority.Caller{Principal: p, Method: "private_key_jwt", KeyID: p.Keys().KeyIDs()[0]}
}

// intentJSON is an intent that is over after d.
func (d *domain) intentJSON(life time.Duration) string {
	return fmt.Sprintf(`{"goal":"Reconcile the invoices","resources":["https://erp.a.example"],"expires_at":%q}`,
		mission.FormatTime(d.clock.now().Add(life)))
}

// submission is the body of a submission; life is that of the mission.
func (d *domain) submission(life time.Duration, members ...string) []byte {
	return fmt.Appendf(nil, `{"intent":%s,"authorization_details":%s%s}`, d.intentJSON(life), proposalJSON,
		strings.Join(append([]string{""}, members...), ","))
}

// submit submits as agent-1 and returns the submission's id.
func (d *domain) submit(life time.Duration) string {
	d.Helper()
	return d.submitAs("agent-1", d.submission(life))
}

func (d *domain) submitAs(client string, body []byte) string {
	d.Helper()
	answer, err := d.Submit(d.ctx(), d.as(client), body)
	if err != nil {
		d.Fatal(err)
	}
	return member(d.TB, answer, "submission_id")
}

// approve submits and approves a mission and returns its id.
func (d *domain) approve(life time.Duration) string {
	d.Helper()
	id := d.submit(life)
	answer, err := d.decide(id, d.review(id), "approve")
	if err != nil {
		d.Fatal(err)
	}
	return member(d.TB, answer, "mission_id")
}

// shown is what an approver quotes.
type shown struct{ context, hash string }

func (d *domain) review(id string) shown {
	d.Helper()
	answer, err := d.Review(d.ctx(), d.as("approver"), id)
	if err != nil {
		d.Fatal(err)
	}
	return shown{member(d.TB, answer, "context_id"), member(d.TB, answer, "consent_rendering_hash")}
}

func (d *domain) decide(id string, s shown, decision string) ([]byte, error) {
	return d.Decide(d.ctx(), d.as("approver"), id, decisionBody(s, decision))
}

func decisionBody(s shown, decision string) []byte {
	return fmt.Appendf(nil, `{"context_id":%q,"consent_rendering_hash":%q,"decision":%q}`, s.context, s.hash, decision)
}

// status asks as a caller and checks the answer as the caller must.
func (d *domain) status(caller, id, audience string) (*mission.Status, mission.Verdict, error) {
	d.Helper()
	nonce := mission.NewSalt()
	token, err := d.Status(d.ctx(), d.as(caller), authority.StatusQuery{MissionID: id, Audience: audience, Nonce: nonce})
	if err != nil {
		return nil, "", err
	}
	st, verdict := d.checkStatus(token, caller, id, audience, nonce)
	return st, verdict, nil
}

// checkStatus makes the consumer's checks of a status response.
func (d *domain) checkStatus(token, caller, id, audience, nonce string) (*mission.Status, mission.Verdict) {
	d.Helper()
	if audience == "" {
		audience = caller
	}
	st, verdict := jws.CheckStatus(token, missiontest.Keys(d.issuer), mission.StatusContext{
		At: d.clock.now(), Issuer: missiontest.Issuer, Audience: audience, Requester: caller, Nonce: nonce,
		MissionID: mission.ID(id), Algs: []string{jws.EdDSA, jws.ES256},
	})
	if !verdict.Authentic() {
		d.Fatalf("the answer is %s", verdict)
	}
	return st, verdict
}

// state is the state that the mission's client is told.
func (d *domain) state(id string) mission.State {
	d.Helper()
	st, _, err := d.status("agent-1", id, "")
	if err != nil {
		d.Fatal(err)
	}
	return st.Mission.State
}

// move asks for a transition and checks the signed answer.
func (d *domain) move(caller, id string, op mission.Operation, edits ...func(*authority.LifecycleRequest)) (*mission.Status, error) {
	d.Helper()
	q := authority.LifecycleRequest{MissionID: id, Operation: op, Nonce: mission.NewSalt()}
	for _, edit := range edits {
		edit(&q)
	}
	answer, err := d.Lifecycle(d.ctx(), d.as(caller), q)
	if err != nil {
		return nil, err
	}
	if answer.Stopped {
		d.Fatal("the request went to the emergency-stop journal")
	}
	st, _ := d.checkStatus(answer.Token, caller, id, "", q.Nonce)
	return st, nil
}

func (d *domain) mustMove(caller, id string, op mission.Operation, edits ...func(*authority.LifecycleRequest)) *mission.Status {
	d.Helper()
	st, err := d.move(caller, id, op, edits...)
	if err != nil {
		d.Fatal(err)
	}
	return st
}

func (d *domain) ctx() context.Context { return d.TB.Context() }

// sound reads the whole log as an auditor and rebuilds every row from it.
func (d *domain) sound() authority.Report {
	d.Helper()
	ledgertest.CheckLog(d.TB, d.log, d.log.Keys.VKey)
	d.signatures()
	v, err := d.log.View()
	if err != nil {
		d.Fatal(err)
	}
	defer v.Close()
	report, err := authority.Check(d.ctx(), v, missiontest.Issuer)
	if err != nil {
		d.Fatal(err)
	}
	if len(report.Differences) > 0 {
		d.Fatalf("rows differ from the evidence: %v", report.Differences)
	}
	return report
}

// signatures verifies every statement with the evidence key.
func (d *domain) signatures() {
	d.Helper()
	for _, e := range d.entries() {
		if err := e.Statement.Verify(d.log.Keys.EvidenceKey); err != nil {
			d.Fatalf("entry %d: %v", e.Index, err)
		}
	}
}

// entries are all entries of the log with their bodies.
func (d *domain) entries() []authority.Evidence {
	d.Helper()
	v, err := d.log.View()
	if err != nil {
		d.Fatal(err)
	}
	defer v.Close()
	var all []authority.Evidence
	for i := range v.Head().Size {
		e, err := v.Entry(i)
		if err != nil {
			d.Fatal(err)
		}
		s, err := ledger.ParseStatement(e.Statement)
		if err != nil {
			d.Fatal(err)
		}
		body, err := v.Body(s.Digest)
		if err != nil && !errors.Is(err, ledger.ErrErased) {
			d.Fatal(err)
		}
		all = append(all, authority.Evidence{Index: i, Statement: s, Body: body})
	}
	return all
}

// of selects entries of a type.
func of(all []authority.Evidence, contentType string) []authority.Evidence {
	var some []authority.Evidence
	for _, e := range all {
		if e.Statement.ContentType == contentType {
			some = append(some, e)
		}
	}
	return some
}

// member reads one string member of an answer.
func member(t testing.TB, answer []byte, name string) string {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal(answer, &all); err != nil {
		t.Fatal(err)
	}
	s, ok := all[name].(string)
	if !ok {
		t.Fatalf("no %s in %s", name, answer)
	}
	return s
}

// refusedAs fails the test unless err is a refusal with this code and reason.
func refusedAs(t testing.TB, err error, code, reason string) {
	t.Helper()
	e, ok := errors.AsType[*authority.Error](err)
	if !ok || e.Code != code || e.Reason != reason {
		t.Fatalf("got %v, want a refusal %s (%s)", err, code, reason)
	}
}
