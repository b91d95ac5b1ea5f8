package federation_test

import (
	"testing"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/federation/federationtest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/schemas"
)

// TestSchemas: what this package writes matches the published schema of its document.
func TestSchemas(t *testing.T) {
	w := newTwo(t)
	annex := federationtest.Annex(w.b, w.a, mission.Principal{Iss: w.b.Issuer, Sub: "approver"}, now)
	projection := w.a.Projection(t, w.atB.Ref, w.b.Issuer, holder, nonce, now, federationtest.Entry(federationtest.Read))
	projection.Purpose = &federation.Purpose{Category: "urn:example:purpose", Summary: "one line"}
	body, transparent := signedEvent(t, w)
	for name, doc := range map[string]any{
		"federation-agreement":          w.terms,
		"federation-signed-agreement":   w.signed,
		"federation-peer":               w.a.Record(t, w.b),
		"federation-annex":              annex,
		"federation-agreement-event":    federationtest.Raw(t, body),
		"federation-agreement-exchange": exchangeOf(t, w, body, transparent),
		"projection":                    projection,
		"derivation-receipt":            receiptOf(w),
		"introduction-request": federation.IntroductionRequest{RequestID: "r-1", MissionID: mission.NewMissionID(),
			Peer: w.b.Issuer},
		"introduction": federation.Introduction{Introduction: federation.NewIntroduction(), ExpiresAt: w.terms.ExpiresAt},
		"projection-request": federation.ProjectionRequest{
			RequestID: "r-1", Mission: mission.Reference{ID: mission.NewMissionID(), Issuer: w.a.Issuer},
			Audience: w.b.Issuer, Nonce: federation.NewNonce(), ClientID: holder.ClientID,
			Confirmation: federation.Confirmation{JKT: holder.JKT}, Introduction: federation.NewIntroduction(),
			Agreement: w.atB.Ref, Shape: mission.ShapeLocalMission,
		},
		"local-mission-request": federation.MintRequest{
			CreationRequestID: "r-1",
			Introduction: federation.IntroducedBy{Issuer: w.a.Issuer, MissionID: mission.NewMissionID(),
				Introduction: federation.NewIntroduction()},
			Proposed: []mission.Entry{federationtest.Held(federationtest.Read)}, LocalClient: "agent-b",
			ExpiresAt: w.terms.ExpiresAt, PurposeSummary: "reconcile invoices",
		},
	} {
		text, err := mission.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if err := schemas.Validate(name, text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
