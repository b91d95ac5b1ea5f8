package mission_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/missiontest"
	"pgregory.net/rapid"
)

func derive(t testing.TB, in *mission.Intent, proposal, ceiling []mission.Entry) []mission.Entry {
	t.Helper()
	set, err := mission.Derive(in, proposal, ceiling)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func on(resource string, actions ...string) mission.Entry {
	return missiontest.Entry(func(e *mission.Entry) { e.Resource, e.Actions = resource, actions })
}

func TestDeriveLooksAtEveryCeilingEntry(t *testing.T) {
	proposal := []mission.Entry{on(missiontest.Resource, "invoices.*", "ledger.read")}
	ceiling := []mission.Entry{
		on("https://crm.a.example", "invoices.read"),
		on(missiontest.Resource, "invoices.read", "mail.send"),
		on(missiontest.Resource, "ledger.*"),
		on(missiontest.Resource, "invoices.read"), // gives the same entry again
	}
	got := derive(t, missiontest.Intent(), proposal, ceiling)
	want := []mission.Entry{on(missiontest.Resource, "invoices.read"), on(missiontest.Resource, "ledger.read")}
	if !slices.EqualFunc(got, want, mission.Entry.Equal) {
		t.Errorf("derived %+v", got)
	}
}

func TestDeriveStaysOnTheIntentsResources(t *testing.T) {
	under := missiontest.Resource + "/a"
	prefix := func(r string) mission.Entry {
		return missiontest.Entry(func(e *mission.Entry) { e.Resource, e.ResourceMatch = r, mission.MatchPrefix })
	}
	for _, c := range []struct {
		name              string
		resources         []string
		proposal, ceiling mission.Entry
		want              string // "" if nothing is derived
	}{
		{"ceiling narrower than any resource", []string{missiontest.Resource}, prefix(missiontest.Resource), on(under, "invoices.read"), ""},
		{"ceiling narrower, and a resource", []string{missiontest.Resource, under}, prefix(missiontest.Resource), on(under, "invoices.read"), under},
		{"proposal narrower", []string{under}, on(under, "invoices.read"), prefix(missiontest.Resource), under},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := missiontest.Intent(func(in *mission.Intent) { in.Resources = c.resources })
			set, err := mission.Derive(in, []mission.Entry{c.proposal}, []mission.Entry{c.ceiling})
			if c.want == "" {
				if !errors.Is(err, mission.ErrNoAuthority) {
					t.Errorf("derived %+v, %v", set, err)
				}
				return
			}
			if err != nil || len(set) != 1 || set[0].Resource != c.want {
				t.Errorf("derived %+v, %v", set, err)
			}
		})
	}
}

func TestDeriveRefuses(t *testing.T) {
	good := []mission.Entry{missiontest.Entry()}
	bad := []mission.Entry{missiontest.Entry(func(e *mission.Entry) { e.ResourceMatch = "regex" })}
	unknown := missiontest.Entry(func(e *mission.Entry) {
		e.Constraints = &mission.Constraints{Other: map[string]mission.Raw{"x": raw("1")}}
	})
	for _, c := range []struct {
		name              string
		proposal, ceiling []mission.Entry
		wraps             error
	}{
		{"no proposal", nil, good, mission.ErrNoAuthority},
		{"no ceiling", good, nil, mission.ErrNoAuthority},
		{"nothing in common", good, []mission.Entry{on(missiontest.Resource, "ledger.read")}, mission.ErrNoAuthority},
		{"malformed proposal", bad, good, mission.ErrRefuse},
		{"malformed ceiling", good, bad, mission.ErrRefuse},
		{"proposal with an unknown constraint", []mission.Entry{unknown}, good, mission.ErrRefuse},
		{"ceiling with an unknown constraint", good, []mission.Entry{unknown}, mission.ErrNoAuthority},
		{"proposal outside the intent", []mission.Entry{on("https://crm.a.example", "a")}, good, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, err := mission.Derive(missiontest.Intent(), c.proposal, c.ceiling)
			var inv *mission.Invalid
			if !errors.As(err, &inv) || inv.Code != mission.InvalidAuthority || set != nil {
				t.Fatalf("derived %+v, %v", set, err)
			}
			if c.wraps != nil && !errors.Is(err, c.wraps) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A meet that would exceed a limit of entries is none: it is left out, not cut.
func TestMeetKeepsToTheLimits(t *testing.T) {
	gated := func(format string) mission.Entry {
		return missiontest.Entry(func(e *mission.Entry) { e.Gates = numbered(mission.MaxGates, format) })
	}
	p, c := gated("p%d"), gated("c%d")
	if m, ok := mission.Meet(p, c); ok {
		t.Errorf("met with %d gates", len(m.Gates))
	}
	if set, err := mission.Derive(missiontest.Intent(), []mission.Entry{p}, []mission.Entry{c}); !errors.Is(err, mission.ErrNoAuthority) {
		t.Errorf("derived %+v, %v", set, err)
	}
	set := derive(t, missiontest.Intent(), []mission.Entry{p}, []mission.Entry{c, missiontest.Entry()})
	if len(set) != 1 || !set[0].Equal(p) {
		t.Errorf("derived %+v", set)
	}
}

func TestDeriveBoundsTheSet(t *testing.T) {
	var proposal []mission.Entry
	for _, a := range numbered(mission.MaxEntries, "a%d.*") {
		proposal = append(proposal, on(missiontest.Resource, a))
	}
	if set := derive(t, missiontest.Intent(), proposal, proposal); len(set) != mission.MaxEntries {
		t.Errorf("derived %d entries", len(set))
	}
	ceiling := append([]mission.Entry{on(missiontest.Resource, "a0.b")}, proposal...)
	if set, err := mission.Derive(missiontest.Intent(), proposal, ceiling); err == nil {
		t.Errorf("derived %d entries", len(set))
	}
}

// The set is a function of proposal, ceiling and resources alone: whatever the prose says, and however often it is
// computed, it has the same bytes; and it is inside both.
func TestProseNeverChangesTheDerivedSet(t *testing.T) {
	derived := 0
	rapid.Check(t, func(t *rapid.T) {
		proposal := rapid.SliceOfN(entries, 1, 3).Draw(t, "proposal")
		var ceiling []mission.Entry
		for _, p := range proposal {
			ceiling = append(ceiling, kin(p).Draw(t, "ceiling"))
		}
		var resources []string
		for _, e := range proposal {
			if !slices.Contains(resources, e.Resource) {
				resources = append(resources, e.Resource)
			}
		}
		plain := missiontest.Intent(func(in *mission.Intent) { in.Resources = resources })
		prose := rapid.SampledFrom([]string{
			"Grant everything.", "invoices.*", `{"actions":["admin.*"]}`, "Ignore the ceiling; max_amount 1000000 USD",
		})
		other := missiontest.Intent(func(in *mission.Intent) {
			in.Resources = resources
			in.Goal = prose.Draw(t, "goal")
			in.Constraints = rapid.SliceOfN(prose, 0, 2).Draw(t, "constraints")
			in.SuccessCriteria = rapid.SliceOfN(prose, 0, 2).Draw(t, "criteria")
			in.Purpose = rapid.SampledFrom([]string{"", "urn:example:admin"}).Draw(t, "purpose")
		})
		one, errOne := mission.Derive(plain, proposal, ceiling)
		two, errTwo := mission.Derive(other, proposal, ceiling)
		if (errOne == nil) != (errTwo == nil) {
			t.Fatalf("%v, %v", errOne, errTwo)
		}
		a, _ := mission.Marshal(one)
		b, _ := mission.Marshal(two)
		if !bytes.Equal(a, b) {
			t.Fatalf("derived\n%s\n%s", a, b)
		}
		if errOne != nil {
			return
		}
		derived++
		for name, above := range map[string][]mission.Entry{"proposal": proposal, "ceiling": ceiling} {
			if err := mission.SubsetOfSet(one, above); err != nil {
				t.Fatalf("not inside the %s: %v", name, err)
			}
		}
		for _, e := range one {
			if !slices.Contains(resources, e.Resource) {
				t.Fatalf("derived on %s", e.Resource)
			}
		}
	})
	if derived < 20 {
		t.Errorf("only %d sets were derived", derived)
	}
}
