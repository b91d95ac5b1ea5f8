package federation_test

import (
	"testing"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/federation/federationtest"
	"github.com/mission-authority/mas/mission"
)

func TestMinimise(t *testing.T) {
	w := newTwo(t)
	d := w.atA.Outbound()
	limit := mission.Amount{Amount: "100", Currency: "EUR"}
	gated := federationtest.Crossing([]string{federationtest.Write}, w.b.Issuer)
	gated.Gates = []string{"second-look"}
	gated.Constraints = &mission.Constraints{MaxAmount: &limit}
	onward := federationtest.Crossing([]string{federationtest.Read}, w.b.Issuer, "https://z.example")
	onward.Federation.Onward = []string{"https://d.example", w.a.Issuer, w.b.Issuer}
	elsewhere := federationtest.Crossing([]string{federationtest.Read}, w.b.Issuer)
	elsewhere.Resource = "https://hr.example/people"
	flat := federationtest.Crossing([]string{federationtest.Read}, w.b.Issuer)
	flat.Delegation = nil
	statusOnly := federationtest.Crossing([]string{"invoice.list"}, w.b.Issuer)
	statusOnly.Federation.Shapes = []string{mission.ShapeStatus}
	set := []mission.Entry{
		federationtest.Entry(federationtest.Read),                                   // no federation member
		federationtest.Crossing([]string{federationtest.Read}, "https://z.example"), // another peer
		elsewhere, flat, statusOnly, gated, onward,
	}
	got := federation.Minimise(set, d, mission.ShapeLocalMission)
	if len(got) != 2 {
		t.Fatalf("%d entries cross: %+v", len(got), got)
	}
	if c := got[0].Constraints; len(got[0].Gates) != 0 || c.RequiresActionApproval == nil || !*c.RequiresActionApproval ||
		*c.MaxAmount != limit || got[0].Federation != nil {
		t.Errorf("a gated entry crossed as %+v", got[0])
	}
	if gated.Constraints.RequiresActionApproval != nil {
		t.Error("the approved entry was changed")
	}
	if f := got[1].Federation; f == nil || len(f.Audiences) != 1 || f.Audiences[0] != "https://d.example" || f.Onward != nil {
		t.Errorf("onward crossed as %+v", f)
	}
	if got := federation.Minimise(set, d, mission.ShapeStatus); len(got) != 3 {
		t.Errorf("%d entries are visible in status", len(got))
	}
	closed := *d
	closed.Shapes = []string{mission.ShapeStatus}
	if got := federation.Minimise(set, &closed, mission.ShapeLocalMission); got != nil {
		t.Errorf("a shape that is not agreed crossed: %+v", got)
	}
	if got := federation.Minimise(set, nil, mission.ShapeStatus); got != nil {
		t.Errorf("crossed without a direction: %+v", got)
	}
}

func mintOf(w *two, proposed ...mission.Entry) *federation.Mint {
	x := federationtest.Annex(w.b, w.a, mission.Principal{Iss: w.b.Issuer, Sub: "approver"}, now)
	conveyed := []mission.Entry{federationtest.Entry(federationtest.Read, federationtest.Write)}
	return &federation.Mint{
		Origin: w.a.Issuer, Self: w.b.Issuer, Direction: w.atB.Inbound(), Mapping: &x.Mapping,
		Conveyed: conveyed, Live: conveyed, Subject: &x.Mapping.Inbound[0].From,
		Chain:    []federation.Hop{{Issuer: w.a.Issuer}},
		Proposed: proposed, Ceiling: x.Ceiling.Entries,
		Requested: now.Add(time.Hour), ConveyedUntil: now.Add(2 * time.Hour), CeilingUntil: now.Add(time.Minute),
	}
}

func TestLocalise(t *testing.T) {
	w := newTwo(t)
	m := mintOf(w, federationtest.Held(federationtest.Read), federationtest.Held(federationtest.Write))
	got, err := m.Localise(now)
	if err != nil {
		t.Fatal(err)
	}
	if got.Subject != (mission.Principal{Iss: w.b.Issuer, Sub: "partner-desk"}) || !got.ExpiresAt.Equal(now.Add(time.Hour)) {
		t.Errorf("local %+v", got)
	}
	if len(got.Justification) != 2 || len(got.Charged) != 1 || got.Justification[1].UpstreamEntry != got.Charged[0] {
		t.Errorf("two local entries stand on one conveyed entry: %+v", got)
	}
	if want, _ := mission.EntryDigest(w.a.Issuer, m.Conveyed[0]); got.Charged[0] != want {
		t.Errorf("charged %s, want %s", got.Charged[0], want)
	}
	m.Requested = now.Add(100 * time.Hour)
	m.ConveyedUntil = now.Add(100 * time.Hour)
	if got, err = m.Localise(now); err != nil || !got.ExpiresAt.Equal(now.Add(8*time.Hour)) {
		t.Errorf("the agreed longest life bounds: %v %v", got, err)
	}
}

// TestLocaliseRefuses: everything that would make local authority wider than what was conveyed, or than what a person
// of this domain approved.
func TestLocaliseRefuses(t *testing.T) {
	w := newTwo(t)
	truth := true
	wider := federationtest.Held("invoice.*")
	deep := federationtest.Held(federationtest.Read)
	deep.Delegation.MaxDepth = 2
	prefix := federationtest.Held(federationtest.Read)
	prefix.ResourceMatch = mission.MatchPrefix
	onward := federationtest.Held(federationtest.Read)
	onward.Federation = &mission.Federation{Audiences: []string{"https://d.example"}, Shapes: []string{mission.ShapeStatus}}
	gated := federationtest.Held(federationtest.Read)
	gated.Gates = []string{"later"}
	single := federationtest.Held(federationtest.Read)
	single.Constraints = &mission.Constraints{RequiresActionApproval: &truth}
	read := federationtest.Held(federationtest.Read)
	for _, tc := range []struct {
		name     string
		proposed mission.Entry
		change   func(*federation.Mint)
		code     string
		reason   string
	}{
		{"wider action", wider, nil, federation.CodeInvalidRequest, federation.ReasonNotStrictSubset},
		{"depth starts again", deep, nil, federation.CodeInvalidRequest, federation.ReasonNotStrictSubset},
		{"wider resource", prefix, nil, federation.CodeInvalidRequest, federation.ReasonNotStrictSubset},
		{"onward not conveyed", onward, nil, federation.CodeInvalidRequest, federation.ReasonNotStrictSubset},
		{"dropped constraint", read, func(m *federation.Mint) {
			tenant := "t-1"
			m.Conveyed[0].Constraints = &mission.Constraints{Tenant: &tenant}
		}, federation.CodeInvalidRequest, federation.ReasonNotStrictSubset},
		{"narrowed since", read, func(m *federation.Mint) {
			m.Live = []mission.Entry{federationtest.Entry(federationtest.Write)}
		}, federation.CodeInvalidRequest, federation.ReasonNotStrictSubset},
		{"nothing live", read, func(m *federation.Mint) { m.Live = nil },
			federation.CodeInvalidRequest, federation.ReasonNotStrictSubset},
		{"outside the ceiling", read, func(m *federation.Mint) {
			m.Ceiling = []mission.Entry{federationtest.Entry("invoice.list")}
		}, federation.CodeAccessDenied, federation.ReasonNotInCeiling},
		{"no ceiling", read, func(m *federation.Mint) { m.Ceiling = nil },
			federation.CodeAccessDenied, federation.ReasonNoCeiling},
		{"ceiling over, at the instant", read, func(m *federation.Mint) { m.CeilingUntil = now },
			federation.CodeAccessDenied, federation.ReasonCeilingExpired},
		{"gated", gated, nil, federation.CodeAccessDenied, federation.ReasonRestrictedClass},
		{"single actions need approval", single, nil, federation.CodeAccessDenied, federation.ReasonRestrictedClass},
		{"irreversible", federationtest.Held("invoice.delete"), func(m *federation.Mint) {
			m.Conveyed = []mission.Entry{federationtest.Entry("invoice.delete")}
			m.Live = m.Conveyed
		}, federation.CodeAccessDenied, federation.ReasonRestrictedClass},
		{"family with an irreversible member", federationtest.Held("invoice.*"), func(m *federation.Mint) {
			m.Conveyed = []mission.Entry{federationtest.Entry("invoice.*")}
			m.Live, m.Ceiling = m.Conveyed, m.Conveyed
		}, federation.CodeAccessDenied, federation.ReasonRestrictedClass},
		{"administration, whatever is agreed", federationtest.Held("admin.users"), func(m *federation.Mint) {
			m.Conveyed = []mission.Entry{federationtest.Entry("admin.users")}
			m.Live, m.Ceiling = m.Conveyed, m.Conveyed
		}, federation.CodeAccessDenied, federation.ReasonRestrictedClass},
		{"nobody is named", read, func(m *federation.Mint) { m.Subject = nil }, federation.CodePrincipalMappingFailed, ""},
		{"unmapped", read, func(m *federation.Mint) {
			m.Subject = &mission.Principal{Iss: w.a.Issuer, Sub: "somebody-else"}
		}, federation.CodePrincipalMappingFailed, ""},
		{"same name, other issuer", read, func(m *federation.Mint) {
			m.Subject = &mission.Principal{Iss: "https://c.example", Sub: "pairwise-1"}
		}, federation.CodePrincipalMappingFailed, ""},
		{"own authority comes back", read, func(m *federation.Mint) {
			m.Chain = []federation.Hop{{Issuer: w.b.Issuer}, {Issuer: w.a.Issuer}}
		}, federation.CodeInvalidProjection, federation.ReasonOwnIssuerInChain},
		{"shape not agreed", read, func(m *federation.Mint) {
			d := *m.Direction
			d.Shapes = []string{mission.ShapeStatus, mission.ShapeProjection}
			m.Direction = &d
		}, federation.CodeInvalidTarget, federation.ReasonOutsideAgreement},
		{"already over", read, func(m *federation.Mint) { m.Requested = now },
			federation.CodeInvalidRequest, federation.ReasonExpired},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := mintOf(w, tc.proposed)
			if tc.change != nil {
				tc.change(m)
			}
			got, err := m.Localise(now)
			if code, reason := refusalOf(err); code != tc.code || reason != tc.reason {
				t.Errorf("got %+v, %v, want %s (%s)", got, err, tc.code, tc.reason)
			}
		})
	}
}

// TestHeld: what arrives may be passed on one step less, and names of the origin mean nothing here unless mapped.
func TestHeld(t *testing.T) {
	w := newTwo(t)
	m := mintOf(w)
	profile, mapped, stranger := "https://example/profile/agent", "pairwise-1", "agent-7"
	list := func(ms ...mission.Matcher) *[]mission.Matcher { return &ms }
	for _, tc := range []struct {
		name string
		in   *mission.Delegation
		want *mission.Delegation
	}{
		{"none", nil, nil},
		{"last step", &mission.Delegation{MaxDepth: 1}, nil},
		{"two steps", &mission.Delegation{MaxDepth: 2}, &mission.Delegation{MaxDepth: 1}},
		{"profile stays", &mission.Delegation{MaxDepth: 2, AllowedDelegates: list(mission.Matcher{SubProfile: &profile})},
			&mission.Delegation{MaxDepth: 1, AllowedDelegates: list(mission.Matcher{SubProfile: &profile})}},
		{"only a stranger", &mission.Delegation{MaxDepth: 2, AllowedDelegates: list(mission.Matcher{Sub: &stranger})}, nil},
		{"a mapped one and a stranger", &mission.Delegation{MaxDepth: 3, AllowedDelegates: list(
			mission.Matcher{Sub: &stranger}, mission.Matcher{Sub: &mapped})},
			&mission.Delegation{MaxDepth: 2, AllowedDelegates: list(mission.Matcher{Sub: new("partner-desk")})}},
		{"unknown companion", &mission.Delegation{MaxDepth: 2,
			Other: map[string]mission.Raw{"children": federationtest.Raw(t, []byte("{}"))}}, nil},
	} {
		e := federationtest.Entry(federationtest.Read)
		e.Delegation = tc.in
		got := m.Held([]mission.Entry{e})[0]
		want := e
		want.Delegation = tc.want
		if g, w := federationtest.RawOf(t, got), federationtest.RawOf(t, want); string(g.Bytes()) != string(w.Bytes()) {
			t.Errorf("%s: held %s, want %s", tc.name, g.Bytes(), w.Bytes())
		}
	}
}
