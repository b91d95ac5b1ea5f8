package federation_test

import (
	"testing"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/federation/federationtest"
	"github.com/mission-authority/mas/mission"
)

// fuzz feeds a parser and asserts that what it accepts has one canonical form, which it accepts again as the same
// value.
func fuzz[T any](f *testing.F, parse func([]byte) (*T, error), seeds ...any) {
	for _, s := range seeds {
		text, err := mission.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		if _, err := parse(text); err != nil {
			f.Fatalf("a seed is refused: %v", err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"iss":"https://a.example","iss":"https://b.example"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := parse(data)
		if err != nil {
			return
		}
		once, err := mission.Marshal(v)
		if err != nil {
			t.Fatalf("accepted what has no canonical form: %v", err)
		}
		again, err := parse(once)
		if err != nil {
			t.Fatalf("the canonical form is refused: %v", err)
		}
		twice, err := mission.Marshal(again)
		if err != nil || string(twice) != string(once) {
			t.Fatalf("the canonical form changed: %s, %s, %v", once, twice, err)
		}
	})
}

func FuzzAgreement(f *testing.F) {
	w := newTwo(f)
	fuzz(f, federation.ParseSigned, w.signed)
}

func FuzzPeer(f *testing.F) {
	w := newTwo(f)
	fuzz(f, federation.ParsePeer, w.a.Record(f, w.b), w.b.Record(f, w.a))
}

func FuzzAnnex(f *testing.F) {
	w := newTwo(f)
	x := federationtest.Annex(w.b, w.a, mission.Principal{Iss: w.b.Issuer, Sub: "approver"}, now)
	bare := *x
	bare.Ceiling = nil
	fuzz(f, federation.ParseAnnex, x, &bare)
}

func FuzzProjection(f *testing.F) {
	w := newTwo(f)
	p := w.a.Projection(f, w.atB.Ref, w.b.Issuer, holder, nonce, now, federationtest.Entry(federationtest.Read))
	full := *p
	full.Purpose = &federation.Purpose{Category: "urn:example:purpose", Summary: "one line"}
	full.MustUnderstand = []string{"x"}
	fuzz(f, federation.ParseProjection, p, &full)
}

func FuzzDerivationReceipt(f *testing.F) {
	w := newTwo(f)
	r := receiptOf(w)
	r.Checkpoint = w.b.Checkpoint(f)
	fuzz(f, federation.ParseDerivationReceipt, receiptOf(w), r)
}

func FuzzMintRequest(f *testing.F) {
	fuzz(f, federation.ParseMintRequest, federation.MintRequest{
		CreationRequestID: "r-1",
		Introduction: federation.IntroducedBy{Issuer: "https://a.example", MissionID: mission.NewMissionID(),
			Introduction: federation.NewIntroduction()},
		Proposed:    []mission.Entry{federationtest.Held(federationtest.Read)},
		LocalClient: "agent-b", ExpiresAt: "2026-11-21T13:00:00Z", PurposeSummary: "reconcile invoices",
	})
}

func FuzzProjectionRequest(f *testing.F) {
	fuzz(f, federation.ParseProjectionRequest, federation.ProjectionRequest{
		RequestID: "r-1", Mission: mission.Reference{ID: mission.NewMissionID(), Issuer: "https://a.example"},
		Audience: "https://b.example", Nonce: federation.NewNonce(), ClientID: holder.ClientID,
		Confirmation: federation.Confirmation{JKT: holder.JKT}, Introduction: federation.NewIntroduction(),
		Agreement: mission.AgreementRef{ID: federation.NewAgreementID(), Version: 1, Digest: mission.RawDigest(nil)},
		Shape:     mission.ShapeLocalMission,
	})
}

func FuzzAgreementExchange(f *testing.F) {
	fuzz(f, federation.ParseAgreementExchange, federation.AgreementExchange{
		Agreement:  mission.AgreementRef{ID: federation.NewAgreementID(), Version: 1, Digest: mission.RawDigest(nil)},
		Events:     []federation.ProvenEvent{{Body: federationtest.Raw(f, []byte(`{"event":"signed"}`)), Statement: "AAAA"}},
		Checkpoint: "a.example/log/main\n1\n",
	})
}
