package verifier_test

import (
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

// These tests verify, the auditor's way, what the state owner really writes.

const liveResource = "https://erp.a.example"

// A live domain is an authority over a log in memory.
type live struct {
	*testing.T
	*authority.Authority
	log *ledgertest.Log
	at  time.Time
}

func newLive(t *testing.T) *live {
	t.Helper()
	d := &live{T: t, at: missiontest.At}
	now := func() time.Time { return d.at }
	keys := ledgertest.NewKeys(t, "mas.a.example/log/1")
	d.log = ledgertest.NewLog(t, ledgertest.Options{Keys: keys, Now: now})
	entry := fmt.Sprintf(`{"type":"mission_resource_access","resource":%q,"actions":["invoices.read"],
		"delegation":{"max_depth":1}}`, liveResource)
	principals, err := authority.ParsePrincipals(fmt.Appendf(nil, `[%s,%s,%s]`,
		livePrincipal("agent", `"kind":"service","roles":["client"],"subject":{"iss":"https://id.a.example","sub":"owner"},
			"authority_source":{"type":"user_delegated","id":"owner"},"ceiling":[`+entry+`]`),
		livePrincipal("approver", `"kind":"human","roles":["approver"],"subject":{"iss":"https://id.a.example","sub":"owner"}`),
		livePrincipal("operator", `"kind":"service","roles":["operator","resume"]`)))
	if err != nil {
		t.Fatal(err)
	}
	d.Authority, err = authority.New(authority.Config{Issuer: missiontest.Issuer, Log: d.log, Status: missiontest.Key("issuer"),
		Evidence: keys.Evidence, Governance: missiontest.Key("governance"), Principals: principals, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

func livePrincipal(id, members string) string {
	key := missiontest.Key(id)
	jwk, err := jws.MarshalPublicKey(key.KeyID(), key.Public())
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"id":%q,"client_id":%q,"jwks":{"keys":[%s]},%s}`, id, id, jwk, members)
}

func (d *live) as(id string) authority.Caller {
	d.Helper()
	p, ok := d.Principals().ByID(id)
	if !ok {
		d.Fatalf("no principal %s", id)
	}
	return authority.Caller{Principal: p, Method: "private_key_jwt", KeyID: p.Keys().KeyIDs()[0]}
}

// must returns a member of a JSON answer.
func (d *live) must(name string) func(answer []byte, err error) string {
	return func(answer []byte, err error) string {
		d.Helper()
		if err != nil {
			d.Fatal(err)
		}
		var all map[string]any
		if err := json.Unmarshal(answer, &all); err != nil {
			d.Fatal(err)
		}
		s, ok := all[name].(string)
		if !ok {
			d.Fatalf("no %s in the answer", name)
		}
		return s
	}
}

// approve proposes and approves a mission.
func (d *live) approve() string {
	d.Helper()
	id := d.must("submission_id")(d.Submit(d.Context(), d.as("agent"), fmt.Appendf(nil, `{"intent":{
		"goal":"Reconcile","resources":[%q],"expires_at":%q},"authorization_details":[{"type":"mission_resource_access",
		"resource":%q,"actions":["invoices.read"]}]}`, liveResource, mission.FormatTime(d.at.Add(time.Hour)), liveResource)))
	d.at = d.at.Add(time.Second)
	review, err := d.Review(d.Context(), d.as("approver"), id)
	d.at = d.at.Add(time.Second)
	return d.must("mission_id")(d.Decide(d.Context(), d.as("approver"), id, fmt.Appendf(nil,
		`{"context_id":%q,"consent_rendering_hash":%q,"decision":"approve"}`, d.must("context_id")(review, err),
		d.must("consent_rendering_hash")(review, err))))
}

func (d *live) move(id string, op mission.Operation, edit ...func(*authority.LifecycleRequest)) {
	d.Helper()
	d.at = d.at.Add(time.Second)
	q := authority.LifecycleRequest{MissionID: id, Operation: op, Nonce: mission.NewSalt(), Reason: "because"}
	for _, f := range edit {
		f(&q)
	}
	if _, err := d.Lifecycle(d.Context(), d.as("operator"), q); err != nil {
		d.Fatal(err)
	}
}

// trust is the trust document of the domain.
func (d *live) trust() *verifier.Trust {
	k := d.log.Keys
	return &verifier.Trust{Anchor: verifier.Anchor{Issuer: missiontest.Issuer, Origin: k.Origin, VKey: k.VKey,
		Keys: missiontest.Keys(missiontest.Key("issuer")), Governance: missiontest.Keys(missiontest.Key("governance")),
		Receipts: verifier.KeyRing{{Public: k.ReceiptKey, Status: verifier.KeyActive}},
		Evidence: verifier.KeyRing{{Public: k.EvidenceKey, Status: verifier.KeyActive}}}}
}

// bundle exports the feeds of the given subjects, and the genesis.
func (d *live) bundle(id string, subjects ...string) []byte {
	d.Helper()
	v := d.log.MustView(d)
	head := v.Head()
	b := verifier.Bundle{CreatedAt: d.at, Exporter: missiontest.Issuer, Query: verifier.Query{Mission: id, Subjects: subjects},
		Head:       ledger.Checkpoint{Origin: d.log.Keys.Origin, Size: head.Size, Root: head.Root},
		Checkpoint: v.Checkpoint(), VKeys: []string{d.log.Keys.VKey}}
	for _, subject := range append([]string{missiontest.Issuer + "/log"}, subjects...) {
		var feed []uint64
		for index, err := range v.Feed(subject, -1) {
			if err != nil {
				d.Fatal(err)
			}
			feed = append(feed, index)
		}
		for seq, index := range feed {
			d.export(&b, v, index, uint64(seq), uint64(len(feed)))
		}
	}
	data, err := b.Marshal()
	if err != nil {
		d.Fatal(err)
	}
	return data
}

func (d *live) export(b *verifier.Bundle, v ledger.View, index, seq, size uint64) {
	d.Helper()
	e, err := v.Entry(index)
	if err != nil {
		d.Fatal(err)
	}
	s, err := ledger.ParseStatement(e.Statement)
	if err != nil {
		d.Fatal(err)
	}
	path, err := v.Inclusion(index, b.Head.Size)
	if err != nil {
		d.Fatal(err)
	}
	receipt, err := ledger.SignReceipt(d.Context(), ledger.ReceiptClaims{Issuer: missiontest.Issuer, Subject: s.Subject,
		IssuedAt: e.At.Unix(), FeedSeq: &seq, FeedSize: &size},
		ledger.Inclusion{Size: b.Head.Size, Index: index, Path: path}, b.Head.Root, d.log.Keys.Receipt)
	if err != nil {
		d.Fatal(err)
	}
	transparent, err := ledger.AttachReceipts(e.Statement, receipt)
	if err != nil {
		d.Fatal(err)
	}
	b.Entries = append(b.Entries, verifier.BundleEntry{Index: index, Transparent: transparent})
	body, err := v.Body(s.Digest)
	if err != nil {
		d.Fatal(err)
	}
	b.Records = append(b.Records, verifier.BundleRecord{ContentType: s.ContentType, Body: body})
}

func TestLiveMission(t *testing.T) {
	d := newLive(t)
	id := d.approve()
	other := d.approve()
	d.move(id, mission.OpSuspend, func(q *authority.LifecycleRequest) {
		q.SuspendUntil, q.OnExpiry = mission.FormatTime(d.at.Add(time.Minute)), mission.OpResume
	})
	d.move(id, mission.OpResume)
	d.move(other, mission.OpComplete)
	d.move(id, mission.OpSuspend)
	d.move(id, mission.OpRevoke)
	subject := missiontest.Issuer + "/missions/" + id
	r := verifier.VerifyBundle(d.bundle(id, subject), d.trust(), verifier.BundleOptions{Mission: id})
	for _, f := range r.All() {
		t.Errorf("%s %s", f.Class, f)
	}
	for _, rec := range r.Records {
		if rec.Verdict != verifier.Verified {
			t.Errorf("entry %d (%s): %s", *rec.Index, rec.ContentType, rec.Verdict)
		}
	}
	if r.Outcome != verifier.OK || r.Completeness != verifier.Complete || r.By != "log" {
		t.Errorf("outcome %s, %s by %q", r.Outcome, r.Completeness, r.By)
	}
	if len(r.Missions) != 1 {
		t.Fatalf("%d missions", len(r.Missions))
	}
	m := r.Missions[0]
	if m.ID != id || m.State != mission.Revoked || m.Version != 5 || m.Approval != "dev-unattended" {
		t.Errorf("mission %+v", m)
	}
	unattended := false
	for _, c := range r.NotClaimed {
		unattended = unattended || c.Code == "dev-unattended"
	}
	if !unattended {
		t.Error("dev-unattended is not said")
	}
}
