package mission_test

import (
	"slices"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/missiontest"
	"pgregory.net/rapid"
)

func recordBytes() ([]byte, error) {
	return missiontest.Record(func(r *mission.Record) {
		r.AuthoritySet = []mission.Entry{fullEntry(), missiontest.Entry(missiontest.Crossing), missiontest.Entry()}
		r.ProposedAuthority = r.AuthoritySet
	}, missiontest.Upstream).Bytes()
}

// fullEntry has every member and every constraint.
func fullEntry() mission.Entry {
	return missiontest.Entry(func(e *mission.Entry) {
		e.ResourceMatch = mission.MatchPrefix
		e.Actions = []string{"invoices.*", "ledger.read"}
		e.Constraints = &mission.Constraints{
			MaxAmount:              &mission.Amount{Amount: "500.00", Currency: "USD"},
			ResourceIssuedAfter:    ptr("2026-07-01T00:00:00Z"),
			ResourceIssuedBefore:   ptr("2026-09-30T23:59:59Z"),
			Tenant:                 ptr("tenant-1"),
			RecipientDomain:        ptr("example.com"),
			TimeWindow:             &mission.TimeWindow{NotBefore: ptr("2026-12-01T00:00:00Z"), NotAfter: ptr("2026-12-31T00:00:00Z")},
			DataClassification:     &[]string{"internal", "public"},
			AllowedTools:           &[]string{"reader", "writer"},
			RequiresActionApproval: ptr(false),
			TerminalWhen:           []mission.Condition{{EventType: "closed", DischargePolicy: ptr("close-1")}},
		}
		e.Delegation = &mission.Delegation{MaxDepth: 2, AllowedDelegates: &[]mission.Matcher{{Sub: ptr("agent-2")}, {SubProfile: ptr("ai_agent")}}}
		e.Federation = &mission.Federation{
			Audiences:        []string{missiontest.PeerIssuer, "https://mas.c.example"},
			Shapes:           []string{mission.ShapeStatus, mission.ShapeLocalMission},
			MaxLocalMissions: ptr(int64(3)),
			Onward:           []string{"https://mas.d.example"},
		}
		e.Gates = []string{"stage-1", "stage-2"}
	})
}

func ptr[T any](v T) *T { return &v }

func maybe[T any](g *rapid.Generator[T]) *rapid.Generator[*T] {
	return rapid.Custom(func(t *rapid.T) *T {
		if !rapid.Bool().Draw(t, "present") {
			return nil
		}
		v := g.Draw(t, "value")
		return &v
	})
}

// some draws a part of the choices, in their order.
func some(least int, choices ...string) *rapid.Generator[[]string] {
	return rapid.Custom(func(t *rapid.T) []string {
		var list []string
		for _, c := range choices {
			if rapid.Bool().Draw(t, c) {
				list = append(list, c)
			}
		}
		if len(list) < least {
			return slices.Clone(choices[:least])
		}
		return list
	})
}

var (
	instants = rapid.SampledFrom([]string{
		"2026-07-01T00:00:00Z", "2026-07-01T02:00:00+02:00", "2026-08-01T00:00:00Z", "2026-08-01T00:00:00.5Z",
		"2026-09-01T00:00:00Z",
	})
	amounts = rapid.Custom(func(t *rapid.T) mission.Amount {
		return mission.Amount{
			Amount:   rapid.SampledFrom([]string{"1", "1.00", "10", "9.99", "010.000000000000000001"}).Draw(t, "amount"),
			Currency: rapid.SampledFrom([]string{"USD", "EUR"}).Draw(t, "currency"),
		}
	})
	windows = rapid.Custom(func(t *rapid.T) mission.TimeWindow {
		w := mission.TimeWindow{NotBefore: maybe(instants).Draw(t, "not_before"), NotAfter: maybe(instants).Draw(t, "not_after")}
		if w.NotBefore == nil && w.NotAfter == nil {
			w.NotBefore = ptr("2026-07-01T00:00:00Z")
		}
		if w.NotBefore != nil && w.NotAfter != nil {
			from, _ := mission.ParseTime(*w.NotBefore)
			to, _ := mission.ParseTime(*w.NotAfter)
			if to.Before(from) {
				w.NotBefore, w.NotAfter = w.NotAfter, w.NotBefore
			}
		}
		return w
	})
	conditions = rapid.Custom(func(t *rapid.T) []mission.Condition {
		var list []mission.Condition
		for _, event := range some(0, "closed", "paid").Draw(t, "events") {
			list = append(list, mission.Condition{EventType: event, DischargePolicy: maybe(rapid.SampledFrom([]string{"p", "q"})).Draw(t, "policy")})
		}
		return list
	})
	constraints = rapid.Custom(func(t *rapid.T) mission.Constraints {
		return mission.Constraints{
			MaxAmount:              maybe(amounts).Draw(t, "max_amount"),
			ResourceIssuedAfter:    maybe(instants).Draw(t, "after"),
			ResourceIssuedBefore:   maybe(instants).Draw(t, "before"),
			Tenant:                 maybe(rapid.SampledFrom([]string{"t1", "t2"})).Draw(t, "tenant"),
			RecipientDomain:        maybe(rapid.SampledFrom([]string{"example.com", "Mail.example.com", "example.org"})).Draw(t, "domain"),
			TimeWindow:             maybe(windows).Draw(t, "window"),
			DataClassification:     maybe(some(1, "internal", "public")).Draw(t, "classes"),
			AllowedTools:           maybe(some(1, "reader", "writer")).Draw(t, "tools"),
			RequiresActionApproval: maybe(rapid.Bool()).Draw(t, "approval"),
			TerminalWhen:           conditions.Draw(t, "terminal"),
		}
	})
	delegations = rapid.Custom(func(t *rapid.T) mission.Delegation {
		d := mission.Delegation{MaxDepth: rapid.Int64Range(0, 3).Draw(t, "depth")}
		if names := maybe(some(1, "agent-2", "agent-3")).Draw(t, "delegates"); names != nil {
			list := []mission.Matcher{}
			for _, n := range *names {
				list = append(list, mission.Matcher{Sub: ptr(n)})
			}
			d.AllowedDelegates = &list
		}
		return d
	})
	federations = rapid.Custom(func(t *rapid.T) mission.Federation {
		return mission.Federation{
			Audiences:        some(1, "https://mas.b.example", "https://mas.c.example").Draw(t, "audiences"),
			Shapes:           some(1, mission.ShapeStatus, mission.ShapeProjection, mission.ShapeLocalMission).Draw(t, "shapes"),
			MaxLocalMissions: maybe(rapid.Int64Range(0, 3)).Draw(t, "max"),
			Onward:           some(0, "https://mas.d.example", "https://mas.e.example").Draw(t, "onward"),
		}
	})
	entries = rapid.Custom(func(t *rapid.T) mission.Entry {
		e := mission.Entry{
			Type: mission.TypeResourceAccess,
			Resource: rapid.SampledFrom([]string{
				"https://erp.a.example", "https://erp.a.example/a", "https://ERP.a.example/a", "https://erp.a.example/a/b",
			}).Draw(t, "resource"),
			ResourceMatch: rapid.SampledFrom([]string{"", "exact", "prefix"}).Draw(t, "match"),
			Actions:       some(1, "invoices.read", "invoices.*", "invoices.q3.*", "invoices.q3.export", "ledger.read").Draw(t, "actions"),
			Constraints:   maybe(constraints).Draw(t, "constraints"),
			Delegation:    maybe(delegations).Draw(t, "delegation"),
			Federation:    maybe(federations).Draw(t, "federation"),
			Gates:         some(0, "stage-1", "stage-2").Draw(t, "gates"),
		}
		return e
	})
	// kin draws an entry that has much in common with e: often the same, with some members replaced.
	kin = func(e mission.Entry) *rapid.Generator[mission.Entry] {
		return rapid.Custom(func(t *rapid.T) mission.Entry {
			o := entries.Draw(t, "other")
			k := e
			if rapid.IntRange(0, 4).Draw(t, "resource too") == 0 {
				k.Resource, k.ResourceMatch = o.Resource, o.ResourceMatch
			}
			if rapid.IntRange(0, 2).Draw(t, "actions too") == 0 {
				k.Actions = o.Actions
			}
			if rapid.IntRange(0, 2).Draw(t, "delegation too") == 0 {
				k.Delegation = o.Delegation
			}
			if rapid.IntRange(0, 2).Draw(t, "federation too") == 0 {
				k.Federation = o.Federation
			}
			if rapid.IntRange(0, 2).Draw(t, "gates too") == 0 {
				k.Gates = o.Gates
			}
			if rapid.IntRange(0, 2).Draw(t, "constraints too") == 0 {
				k.Constraints = o.Constraints
			} else if e.Constraints != nil && o.Constraints != nil {
				c := *e.Constraints
				switch rapid.IntRange(0, 9).Draw(t, "which") {
				case 0:
					c.MaxAmount = o.Constraints.MaxAmount
				case 1:
					c.ResourceIssuedAfter = o.Constraints.ResourceIssuedAfter
				case 2:
					c.ResourceIssuedBefore = o.Constraints.ResourceIssuedBefore
				case 3:
					c.Tenant = o.Constraints.Tenant
				case 4:
					c.RecipientDomain = o.Constraints.RecipientDomain
				case 5:
					c.TimeWindow = o.Constraints.TimeWindow
				case 6:
					c.DataClassification = o.Constraints.DataClassification
				case 7:
					c.AllowedTools = o.Constraints.AllowedTools
				case 8:
					c.RequiresActionApproval = o.Constraints.RequiresActionApproval
				case 9:
					c.TerminalWhen = o.Constraints.TerminalWhen
				}
				k.Constraints = &c
			}
			return k
		})
	}
)
