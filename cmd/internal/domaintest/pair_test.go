package domaintest_test

import (
	"bytes"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/domaintest"
	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/mission"
)

// TestBorderOverHTTP takes one mission across the border between two whole domains, and tries what must not work.
func TestBorderOverHTTP(t *testing.T) {
	p := domaintest.NewPair(t)
	ctx := t.Context()
	agent, holder := p.First.Client(t, "agent"), p.Second.Client(t, "agent")
	if _, err := agent.PostRaw(ctx, "/mas/submissions", "application/json", []byte(`{"intent":{"goal":"read invoices",
		"resources":["`+domaintest.Resource+`"],"expires_at":"`+mission.FormatTime(time.Now().Add(time.Hour))+`"},
		"authorization_details":[{"type":"mission_resource_access","resource":"`+domaintest.Resource+`",
		"actions":["invoices.read"],"delegation":{"max_depth":1},"federation":{"audiences":["`+p.Second.Issuer+`"],
		"shapes":["local_mission","projection","status"]}}]}`)); err != nil {
		t.Fatal(err)
	}
	id := p.First.Approve(t)
	if ceiling := p.Second.Approve(t); ceiling != "" {
		t.Fatalf("approving the ceiling made mission %s", ceiling)
	}

	introduce := func(request string) string {
		t.Helper()
		var resp *client.Response
		var err error
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) { // until the agreement is active
			resp, err = agent.Post(ctx, "/federation/v1/introductions", map[string]string{
				"request_id": request, "mission_id": string(id), "peer": p.Second.Issuer})
			if err == nil || time.Now().After(end) {
				break
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		var in federation.Introduction
		if err := resp.Decode(&in); err != nil {
			t.Fatal(err)
		}
		return in.Introduction
	}
	mint := func(request, introduction string, action string) mintAnswer {
		t.Helper()
		resp, err := holder.Post(ctx, "/federation/v1/local-missions", federation.MintRequest{
			CreationRequestID: request, LocalClient: holder.ClientID,
			Introduction: federation.IntroducedBy{Issuer: p.First.Issuer, MissionID: id, Introduction: introduction},
			Proposed: []mission.Entry{{Type: mission.TypeResourceAccess, Resource: domaintest.Resource,
				Actions: []string{action}}},
			ExpiresAt: mission.FormatTime(time.Now().Add(time.Minute))})
		if err != nil {
			return mintAnswer{Status: client.Code(err)}
		}
		return waitForMint(t, holder, resp)
	}
	introduction := introduce("one")
	minted := mint("mint-1", introduction, "invoices.read")
	if minted.Status != "approved" || minted.MissionID == "" {
		t.Fatalf("minting ended as %+v", minted)
	}
	if again := mint("mint-2", introduction, "invoices.read"); again.Status == "approved" {
		t.Error("an introduction was used twice")
	}
	if wider := mint("mint-3", introduce("two"), "invoices.delete"); wider.Status == "approved" {
		t.Error("a local mission has more than was conveyed and approved")
	}
	nothingForStrangers(t, p, id)
}

type mintAnswer struct {
	SubmissionID string     `json:"submission_id"`
	Status       string     `json:"status"`
	MissionID    mission.ID `json:"mission_id,omitempty"`
}

func waitForMint(t *testing.T, holder *client.Client, resp *client.Response) (answer mintAnswer) {
	t.Helper()
	if err := resp.Decode(&answer); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); answer.Status == "pending" && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
		resp, err := holder.Form(t.Context(), "/federation/v1/local-missions/status",
			url.Values{"submission": {answer.SubmissionID}})
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Decode(&answer); err != nil {
			t.Fatal(err)
		}
	}
	return answer
}

// nothingForStrangers: a peer role without a registry entry, an unknown mission and one that is not visible are one
// answer, byte for byte.
func nothingForStrangers(t *testing.T, p *domaintest.Pair, id mission.ID) {
	t.Helper()
	var bodies [][]byte
	for _, who := range []string{"peer", "pdp"} {
		stranger := p.First.Client(t, who)
		for _, m := range []string{string(id), "msn_" + string(bytes.Repeat([]byte("A"), 32))} {
			_, err := stranger.Form(t.Context(), "/mas/missions/status", url.Values{"mission_id": {m}, "nonce": {"n"}})
			e, ok := errors.AsType[*client.Error](err)
			if !ok || e.Status != 404 {
				t.Fatalf("%s asking for %s: %v", who, m, err)
			}
			bodies = append(bodies, e.Body)
		}
	}
	for _, b := range bodies[1:] {
		if !bytes.Equal(b, bodies[0]) {
			t.Errorf("answers differ: %s and %s", bodies[0], b)
		}
	}
}
