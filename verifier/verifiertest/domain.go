// Package verifiertest runs real Mission Authority Services in memory and exports their evidence, for tests of what an
// auditor sees. It is imported by tests only.
package verifiertest

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/mission-authority/mas/federation/federationtest"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/mission/missiontest"
	"github.com/mission-authority/mas/verifier"
)

// What the Domain of New is called.
const (
	Issuer   = "https://mas.a.example"
	Origin   = "mas.a.example/log/main"
	Resource = missiontest.Resource
)

// A Domain is an authority over a log in memory. Its principals are agent (a client), approver (the person it acts for)
// and operator.
type Domain struct {
	testing.TB
	*authority.Authority
	Issuer string
	Ledger *ledgertest.Log
	At     time.Time // what its clock shows; set it to move time

	side *federationtest.Domain
	now  func() time.Time
	saw  func(schema string, body []byte) []byte // is shown the documents that cross a surface
}

func unseen(_ string, body []byte) []byte { return body }

// New starts a domain with a clock that stands still until At is set.
func New(t testing.TB) *Domain {
	t.Helper()
	d := &Domain{TB: t, At: missiontest.At, saw: unseen}
	d.now = func() time.Time { return d.At }
	d.side = federationtest.New(t, "mas.a.example", d.now)
	d.Issuer, d.Ledger = d.side.Issuer, d.side.Log
	entry := mission.Entry{Type: mission.TypeResourceAccess, Resource: Resource, Actions: []string{"invoices.read"}}
	d.open(authority.Config{}, people(t, d.Issuer, entry))
	return d
}

// open makes and recovers the authority.
func (d *Domain) open(c authority.Config, principals string) {
	d.Helper()
	ps, err := authority.ParsePrincipals([]byte("[" + principals + "]"))
	d.must(err)
	c.Issuer, c.Log, c.Principals, c.Now = d.Issuer, d.Ledger, ps, d.now
	c.Status, c.Governance, c.Evidence, c.Receipts = d.side.Key, d.side.Governance, d.Ledger.Keys.Evidence, d.Ledger.Keys.Receipt
	d.Authority, err = authority.New(c)
	d.must(err)
	d.must(d.Recover(d.Context()))
}

// people are the local principals: an agent that may ask for the entry, its approver, and an operator.
func people(t testing.TB, issuer string, ceiling mission.Entry) string {
	t.Helper()
	owner := fmt.Sprintf(`"subject":{"iss":%q,"sub":"approver"}`, issuer)
	return principal("agent", `"kind":"service","roles":["client"],`+owner+`,"authority_source":{"type":"user_delegated",
		"id":"owner"},"ceiling":`+string(federationtest.RawOf(t, []mission.Entry{ceiling}).Bytes())) + "," +
		principal("approver", `"kind":"human","roles":["approver"],`+owner) + "," +
		principal("operator", `"kind":"service","roles":["operator","resume"]`)
}

func principal(id, members string) string {
	key := missiontest.Key(id)
	jwk, err := jws.MarshalPublicKey(key.KeyID(), key.Public())
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"id":%q,"client_id":%q,"jwks":{"keys":[%s]},%s}`, id, id, jwk, members)
}

func (d *Domain) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// As returns a principal as an authenticated caller.
func (d *Domain) As(id string) authority.Caller {
	d.Helper()
	p, ok := d.Principals().ByID(id)
	if !ok {
		d.Fatalf("no principal %s", id)
	}
	return authority.Caller{Principal: p, Method: "private_key_jwt", KeyID: p.Keys().KeyIDs()[0]}
}

// Approve proposes and approves a mission that lives an hour, and returns its id.
func (d *Domain) Approve() string {
	d.Helper()
	return d.propose(Resource, mission.Entry{Type: mission.TypeResourceAccess, Resource: Resource,
		Actions: []string{"invoices.read"}})
}

func (d *Domain) propose(resource string, entry mission.Entry) string {
	d.Helper()
	answer, err := d.Submit(d.Context(), d.As("agent"), d.saw("submission", fmt.Appendf(nil, `{"intent":{"goal":"Reconcile",
		"resources":[%q],"expires_at":%q},"authorization_details":%s}`, resource,
		mission.FormatTime(d.now().Add(time.Hour)), federationtest.RawOf(d, []mission.Entry{entry}).Bytes())))
	d.must(err)
	d.saw("submission-answer", answer)
	d.pass()
	return d.decide(d.member(answer, "submission_id"))
}

// decide reviews and approves a submission and returns the mission's id, if one was created.
func (d *Domain) decide(submission string) string {
	d.Helper()
	review, err := d.Review(d.Context(), d.As("approver"), submission)
	d.must(err)
	d.saw("review", review)
	d.pass()
	answer, err := d.Decide(d.Context(), d.As("approver"), submission, d.saw("decision", fmt.Appendf(nil,
		`{"context_id":%q,"consent_rendering_hash":%q,"decision":"approve"}`, d.member(review, "context_id"),
		d.member(review, "consent_rendering_hash"))))
	d.must(err)
	d.saw("submission-answer", answer)
	return d.member(answer, "mission_id")
}

// pass lets a second pass where the clock stands still.
func (d *Domain) pass() { d.At = d.At.Add(time.Second) }

// member is a string member of a JSON answer, "" if there is none.
func (d *Domain) member(answer []byte, name string) string {
	d.Helper()
	var all map[string]any
	d.must(json.Unmarshal(answer, &all))
	s, _ := all[name].(string)
	return s
}

// Move asks the operator for a transition, a second later.
func (d *Domain) Move(id string, op mission.Operation, edits ...func(*authority.LifecycleRequest)) {
	d.Helper()
	d.pass()
	q := authority.LifecycleRequest{MissionID: id, Operation: op, Nonce: mission.NewSalt(), Reason: "because"}
	for _, edit := range edits {
		edit(&q)
	}
	_, err := d.Lifecycle(d.Context(), d.As("operator"), q)
	d.must(err)
}

// Ask asks for the status as the agent, so that deadlines are served, and returns the signed answer and its nonce.
func (d *Domain) Ask(id string) (token, nonce string) {
	d.Helper()
	nonce = mission.NewSalt()
	token, err := d.Status(d.Context(), d.As("agent"), authority.StatusQuery{MissionID: id, Nonce: nonce})
	d.must(err)
	return token, nonce
}

// Write commits evidence in the issuer's name that the state owner would never write.
func (d *Domain) Write(subject, contentType string, value any) {
	d.Helper()
	body, err := mission.Marshal(value)
	d.must(err)
	raw, err := ledger.SignStatement(context.Background(), ledger.Claims{Issuer: d.Issuer, Subject: subject,
		IssuedAt: d.now().Unix(), ContentType: contentType, Digest: sha256.Sum256(body)}, d.Ledger.Keys.Evidence)
	d.must(err)
	d.Ledger.MustCommit(d, ledger.Change{Entries: []ledger.Entry{{Statement: raw, Body: body}}})
}

// Trust is the trust document of the domain.
func (d *Domain) Trust() *verifier.Trust {
	d.Helper()
	set := func(k *jws.Key) *jws.KeySet {
		s, err := jws.NewKeySet(map[string]crypto.PublicKey{k.KeyID(): k.Public()})
		d.must(err)
		return s
	}
	k := d.Ledger.Keys
	return &verifier.Trust{Anchor: verifier.Anchor{Issuer: d.Issuer, Origin: k.Origin, VKey: k.VKey,
		Keys: set(d.side.Key), Governance: set(d.side.Governance),
		Receipts: verifier.KeyRing{{Public: k.ReceiptKey, Status: verifier.KeyActive}},
		Evidence: verifier.KeyRing{{Public: k.EvidenceKey, Status: verifier.KeyActive}}}}
}

// MissionSubject is the feed of a mission of the Domain of New.
func MissionSubject(id string) string { return Issuer + "/missions/" + id }
