// Package verifiertest runs a real Mission Authority Service in memory and exports its evidence, for tests of what an
// auditor sees. It is imported by tests only.
package verifiertest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/mission/missiontest"
	"github.com/mission-authority/mas/verifier"
)

// What every Domain is called.
const (
	Issuer   = missiontest.Issuer
	Origin   = "mas.a.example/log/1"
	Resource = missiontest.Resource
)

// A Domain is an authority over a log in memory. Its principals are agent (a client), approver (the person it acts for)
// and operator.
type Domain struct {
	testing.TB
	*authority.Authority
	Ledger *ledgertest.Log
	At     time.Time // what its clock shows; set it to move time
}

// New starts a domain.
func New(t testing.TB) *Domain {
	t.Helper()
	d := &Domain{TB: t, At: missiontest.At}
	now := func() time.Time { return d.At }
	keys := ledgertest.NewKeys(t, Origin)
	d.Ledger = ledgertest.NewLog(t, ledgertest.Options{Keys: keys, Now: now})
	const owner = `"subject":{"iss":"https://id.a.example","sub":"owner"}`
	principals, err := authority.ParsePrincipals(fmt.Appendf(nil, `[%s,%s,%s]`,
		principal("agent", `"kind":"service","roles":["client"],`+owner+`,
			"authority_source":{"type":"user_delegated","id":"owner"},"ceiling":[{"type":"mission_resource_access",
			"resource":"`+Resource+`","actions":["invoices.read"],"delegation":{"max_depth":1}}]`),
		principal("approver", `"kind":"human","roles":["approver"],`+owner),
		principal("operator", `"kind":"service","roles":["operator","resume"]`)))
	d.must(err)
	d.Authority, err = authority.New(authority.Config{Issuer: Issuer, Log: d.Ledger, Status: missiontest.Key("issuer"),
		Evidence: keys.Evidence, Governance: missiontest.Key("governance"), Principals: principals, Now: now})
	d.must(err)
	d.must(d.Recover(t.Context()))
	return d
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
	member := func(answer []byte, err error, name string) string {
		d.Helper()
		d.must(err)
		var all map[string]any
		d.must(json.Unmarshal(answer, &all))
		s, _ := all[name].(string)
		return s
	}
	answer, err := d.Submit(d.Context(), d.As("agent"), fmt.Appendf(nil, `{"intent":{"goal":"Reconcile","resources":[%q],
		"expires_at":%q},"authorization_details":[{"type":"mission_resource_access","resource":%q,
		"actions":["invoices.read"]}]}`, Resource, mission.FormatTime(d.At.Add(time.Hour)), Resource))
	id := member(answer, err, "submission_id")
	d.At = d.At.Add(time.Second)
	review, err := d.Review(d.Context(), d.As("approver"), id)
	body := fmt.Appendf(nil, `{"context_id":%q,"consent_rendering_hash":%q,"decision":"approve"}`,
		member(review, err, "context_id"), member(review, nil, "consent_rendering_hash"))
	d.At = d.At.Add(time.Second)
	answer, err = d.Decide(d.Context(), d.As("approver"), id, body)
	return member(answer, err, "mission_id")
}

// Move asks the operator for a transition, a second later.
func (d *Domain) Move(id string, op mission.Operation, edits ...func(*authority.LifecycleRequest)) {
	d.Helper()
	d.At = d.At.Add(time.Second)
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
	raw, err := ledger.SignStatement(context.Background(), ledger.Claims{Issuer: Issuer, Subject: subject,
		IssuedAt: d.At.Unix(), ContentType: contentType, Digest: sha256.Sum256(body)}, d.Ledger.Keys.Evidence)
	d.must(err)
	d.Ledger.MustCommit(d, ledger.Change{Entries: []ledger.Entry{{Statement: raw, Body: body}}})
}

// Trust is the trust document of the domain.
func (d *Domain) Trust() *verifier.Trust {
	k := d.Ledger.Keys
	return &verifier.Trust{Anchor: verifier.Anchor{Issuer: Issuer, Origin: k.Origin, VKey: k.VKey,
		Keys: missiontest.Keys(missiontest.Key("issuer")), Governance: missiontest.Keys(missiontest.Key("governance")),
		Receipts: verifier.KeyRing{{Public: k.ReceiptKey, Status: verifier.KeyActive}},
		Evidence: verifier.KeyRing{{Public: k.EvidenceKey, Status: verifier.KeyActive}}}}
}

// MissionSubject is the feed of a mission.
func MissionSubject(id string) string { return Issuer + "/missions/" + id }
