package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/mission"
)

// prepare makes two directories with keys and principals, and an agreement that both governance keys signed.
func (s *story) prepare(ctx context.Context) error {
	sides := make([]domain.Side, 2)
	for i, name := range []string{"first", "second"} {
		listen, err := freeAddress()
		if err != nil {
			return err
		}
		a := &actor{name: name, dir: filepath.Join(s.dir, name), listen: listen, issuer: "http://" + listen,
			seen: map[string]int{}}
		c, err := devConfig(a.dir, listen, "")
		if err != nil {
			return err
		}
		sides[i] = domain.Side{Name: name, Dir: a.dir, Config: c}
		if name == "first" {
			s.first = a
		} else {
			s.second = a
		}
	}
	if err := domain.InitDev(s.first.dir, s.first.issuer, s.originCeiling()); err != nil {
		return err
	}
	if err := domain.InitDev(s.second.dir, s.second.issuer, domain.DevCeiling); err != nil {
		return err
	}
	if err := domain.SetAudiences(s.second.dir, "pep", invoices); err != nil {
		return err
	}
	s.annexes(sides)
	signed, err := domain.Federate(ctx, sides[0], sides[1], s.terms())
	if err != nil {
		return fmt.Errorf("preparing the federation: %w", err)
	}
	ref, err := signed.Agreement.Ref()
	if err != nil {
		return err
	}
	s.say("governance", "both keys signed agreement %s version %d, %s", ref.ID, ref.Version, ref.Digest)
	s.say("governance", "agreed bound from revoke to last reliance: %s", bound)
	return nil
}

// originCeiling is what the first domain lets its agent ask for: invoices may cross to the second domain, the ledger
// not.
func (s *story) originCeiling() string {
	return `[{"type":"mission_resource_access","resource":"` + invoices + `","actions":["invoices.*"],
	"constraints":{"max_amount":{"amount":"5000.00","currency":"EUR"}},"delegation":{"max_depth":2},
	"federation":{"audiences":["` + s.second.issuer + `"],"shapes":["local_mission","projection","status"]}},
	{"type":"mission_resource_access","resource":"` + ledgers + `","actions":["postings.read"]}]`
}

// terms are what both sides agree on, but for the parties.
func (s *story) terms() federation.Agreement {
	now := time.Now().UTC()
	return federation.Agreement{
		ID: federation.NewAgreementID(), Version: 1,
		Directions: []federation.Direction{{
			From: s.first.issuer, To: s.second.issuer,
			Shapes:    []string{mission.ShapeLocalMission, mission.ShapeProjection, mission.ShapeStatus},
			Resources: []string{invoices}, Actions: []string{"invoices.*"}, ConstraintKeys: []string{"max_amount"},
			Classes: []federation.ClassRule{}, MaxProjectionSeconds: 120, MaxMissionSeconds: 24 * 3600,
		}},
		Freshness:  federation.Freshness{MaxStaleSeconds: 3, StatusTTLSeconds: 2},
		Revocation: federation.Revocation{BoundSeconds: int64(bound / time.Second), TokenSeconds: 1, PermitSeconds: 1},
		Privacy: federation.Privacy{Mode: federation.ModeLinked, PurposeDisclosure: federation.DiscloseSummary,
			ErasureNoticeSeconds: 24 * 3600},
		NotBefore: mission.FormatTime(now.Add(-time.Minute)), ExpiresAt: mission.FormatTime(now.AddDate(1, 0, 0)),
	}
}

// annexes are what each side decides alone: names across the border, and what the second asks its approver to allow.
func (s *story) annexes(sides []domain.Side) {
	owner := func(issuer string) mission.Principal { return mission.Principal{Iss: issuer, Sub: "owner"} }
	pseudonym := mission.Principal{Iss: s.first.issuer, Sub: "pairwise-4d1c"}
	mapping := func(in, out []federation.MappedPair) federation.Mapping {
		return federation.Mapping{PolicyID: "principals", Version: "1", Inbound: in, Outbound: out}
	}
	sides[0].Annex = federation.Annex{
		Mapping:  mapping([]federation.MappedPair{}, []federation.MappedPair{{From: owner(s.first.issuer), To: pseudonym}}),
		Purposes: []string{}, Disclosure: federation.DiscloseSummary, Poll: 1000,
	}
	sides[1].Annex = federation.Annex{
		Mapping:  mapping([]federation.MappedPair{{From: pseudonym, To: owner(s.second.issuer)}}, []federation.MappedPair{}),
		Purposes: []string{}, Disclosure: federation.DiscloseNone, Poll: 500,
		Ceiling: &federation.CeilingProposal{
			Approver: owner(s.second.issuer),
			Entries: []mission.Entry{{Type: mission.TypeResourceAccess, Resource: invoices,
				Actions:    []string{"invoices.read", "invoices.match"},
				Delegation: &mission.Delegation{MaxDepth: 1}}},
			ExpiresAt:     mission.FormatTime(time.Now().Add(24 * time.Hour)),
			MaxAgeSeconds: 24 * 3600, MaxActive: 10, MaxPerHour: 100,
		},
	}
}

// freeAddress finds a loopback port that is free now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
