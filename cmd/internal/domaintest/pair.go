package domaintest

import (
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/mission"
)

// Resource is what missions of a pair are about; it may cross from the first domain to the second.
const Resource = "https://invoices.example"

// A Pair is two federated domains. The first may convey missions to the second.
type Pair struct{ First, Second *Domain }

// NewPair starts two domains that have agreed on each other.
func NewPair(t testing.TB) *Pair {
	t.Helper()
	sides := PreparePair(t)
	return &Pair{First: Start(t, sides[0].Dir, sides[0].Config), Second: Start(t, sides[1].Dir, sides[1].Config)}
}

// PreparePair makes the directories of two domains that have agreed on each other, without starting them.
func PreparePair(t testing.TB) [2]domain.Side {
	t.Helper()
	dir2, c2 := Prepare(t, domain.DevCeiling, nil)
	dir1, c1 := Prepare(t, `[{"type":"mission_resource_access","resource":"`+Resource+`","actions":["invoices.*"],
		"delegation":{"max_depth":2},"federation":{"audiences":["`+c2.Issuer+`"],
		"shapes":["local_mission","projection","status"]}}]`, nil)
	owner := func(issuer string) mission.Principal { return mission.Principal{Iss: issuer, Sub: "owner"} }
	pseudonym := mission.Principal{Iss: c1.Issuer, Sub: "pairwise-1"}
	now := time.Now()
	sides := [2]domain.Side{
		{Name: "first", Dir: dir1, Config: c1, Annex: federation.Annex{
			Mapping: federation.Mapping{PolicyID: "names", Version: "1", Inbound: []federation.MappedPair{},
				Outbound: []federation.MappedPair{{From: owner(c1.Issuer), To: pseudonym}}},
			Purposes: []string{}, Disclosure: federation.DiscloseNone, Poll: 500}},
		{Name: "second", Dir: dir2, Config: c2, Annex: federation.Annex{
			Mapping: federation.Mapping{PolicyID: "names", Version: "1", Outbound: []federation.MappedPair{},
				Inbound: []federation.MappedPair{{From: pseudonym, To: owner(c2.Issuer)}}},
			Purposes: []string{}, Disclosure: federation.DiscloseNone, Poll: 500,
			Ceiling: &federation.CeilingProposal{
				Approver: owner(c2.Issuer),
				Entries: []mission.Entry{{Type: mission.TypeResourceAccess, Resource: Resource,
					Actions: []string{"invoices.read"}, Delegation: &mission.Delegation{MaxDepth: 1}}},
				ExpiresAt: mission.FormatTime(now.Add(time.Hour)), MaxAgeSeconds: 3600, MaxActive: 10, MaxPerHour: 100}}},
	}
	_, err := domain.Federate(t.Context(), sides[0], sides[1], federation.Agreement{
		ID: federation.NewAgreementID(), Version: 1,
		Directions: []federation.Direction{{From: c1.Issuer, To: c2.Issuer,
			Shapes:    []string{mission.ShapeLocalMission, mission.ShapeProjection, mission.ShapeStatus},
			Resources: []string{Resource}, Actions: []string{"invoices.*"}, ConstraintKeys: []string{"max_amount"},
			Classes: []federation.ClassRule{}, MaxProjectionSeconds: 120, MaxMissionSeconds: 3600}},
		Freshness:  federation.Freshness{MaxStaleSeconds: 3, StatusTTLSeconds: 2},
		Revocation: federation.Revocation{BoundSeconds: 5, TokenSeconds: 1, PermitSeconds: 1},
		Privacy: federation.Privacy{Mode: federation.ModeLinked, PurposeDisclosure: federation.DiscloseNone,
			ErasureNoticeSeconds: 3600},
		NotBefore: mission.FormatTime(now.Add(-time.Minute)), ExpiresAt: mission.FormatTime(now.Add(time.Hour)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return sides
}

// Approve approves the one submission that waits for the domain's approver and returns the mission, if it makes one.
func (d *Domain) Approve(t testing.TB) mission.ID {
	t.Helper()
	approver := d.Client(t, "approver")
	var queue struct {
		Submissions []struct {
			ID string `json:"submission_id"`
		} `json:"submissions"`
	}
	for end := time.Now().Add(15 * time.Second); len(queue.Submissions) == 0; time.Sleep(50 * time.Millisecond) {
		resp, err := approver.Get(t.Context(), "/mas/review")
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Decode(&queue); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatal("nothing to review")
		}
	}
	path := "/mas/review/" + queue.Submissions[0].ID
	resp, err := approver.Get(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	var shown struct {
		ContextID string         `json:"context_id"`
		Rendering mission.Digest `json:"consent_rendering_hash"`
	}
	if err := resp.Decode(&shown); err != nil {
		t.Fatal(err)
	}
	if resp, err = approver.Post(t.Context(), path+"/decision", map[string]string{"context_id": shown.ContextID,
		"consent_rendering_hash": string(shown.Rendering), "decision": "approve"}); err != nil {
		t.Fatal(err)
	}
	var decided struct {
		MissionID mission.ID `json:"mission_id,omitempty"`
	}
	if err := resp.Decode(&decided); err != nil {
		t.Fatal(err)
	}
	return decided.MissionID
}
