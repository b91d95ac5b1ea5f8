package mission_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/missiontest"
	"pgregory.net/rapid"
)

func subset(t testing.TB, cand, ref mission.Entry) bool {
	t.Helper()
	ok, err := mission.Subset(cand, ref)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	return ok
}

func constrained(c mission.Constraints) mission.Entry {
	return missiontest.Entry(func(e *mission.Entry) { e.Constraints = &c })
}

// constraintCases has, per key, a value and one that is strictly narrower.
var constraintCases = []struct {
	key           string
	wide, narrow  mission.Constraints
	incomparables []mission.Constraints // with wide
}{
	{
		key:           "MaxAmount",
		wide:          mission.Constraints{MaxAmount: &mission.Amount{Amount: "1000.00", Currency: "USD"}},
		narrow:        mission.Constraints{MaxAmount: &mission.Amount{Amount: "500", Currency: "USD"}},
		incomparables: []mission.Constraints{{MaxAmount: &mission.Amount{Amount: "500", Currency: "EUR"}}},
	},
	{
		key:    "ResourceIssuedAfter",
		wide:   mission.Constraints{ResourceIssuedAfter: ptr("2026-07-01T00:00:00Z")},
		narrow: mission.Constraints{ResourceIssuedAfter: ptr("2026-07-01T00:00:01Z")},
	},
	{
		key:    "ResourceIssuedBefore",
		wide:   mission.Constraints{ResourceIssuedBefore: ptr("2026-07-01T00:00:00Z")},
		narrow: mission.Constraints{ResourceIssuedBefore: ptr("2026-07-01T00:00:00+00:01")},
	},
	{
		key:           "Tenant",
		wide:          mission.Constraints{},
		narrow:        mission.Constraints{Tenant: ptr("t1")},
		incomparables: nil,
	},
	{
		key:           "RecipientDomain",
		wide:          mission.Constraints{RecipientDomain: ptr("Example.com")},
		narrow:        mission.Constraints{RecipientDomain: ptr("mail.example.COM")},
		incomparables: []mission.Constraints{{RecipientDomain: ptr("notexample.com")}, {RecipientDomain: ptr("example.com.evil.test")}},
	},
	{
		key:    "TimeWindow",
		wide:   mission.Constraints{TimeWindow: &mission.TimeWindow{NotBefore: ptr("2026-07-01T00:00:00Z")}},
		narrow: mission.Constraints{TimeWindow: &mission.TimeWindow{NotBefore: ptr("2026-07-01T00:00:00Z"), NotAfter: ptr("2026-08-01T00:00:00Z")}},
		incomparables: []mission.Constraints{
			{TimeWindow: &mission.TimeWindow{NotAfter: ptr("2026-06-30T00:00:00Z")}},
		},
	},
	{
		key:           "DataClassification",
		wide:          mission.Constraints{DataClassification: &[]string{"internal", "public"}},
		narrow:        mission.Constraints{DataClassification: &[]string{"public"}},
		incomparables: []mission.Constraints{{DataClassification: &[]string{"Public"}}},
	},
	{
		key:           "AllowedTools",
		wide:          mission.Constraints{AllowedTools: &[]string{"reader", "writer"}},
		narrow:        mission.Constraints{AllowedTools: &[]string{"reader"}},
		incomparables: []mission.Constraints{{AllowedTools: &[]string{"shell"}}},
	},
	{
		key:    "RequiresActionApproval",
		wide:   mission.Constraints{RequiresActionApproval: ptr(false)},
		narrow: mission.Constraints{RequiresActionApproval: ptr(true)},
	},
	{
		key:    "TerminalWhen",
		wide:   mission.Constraints{TerminalWhen: []mission.Condition{{EventType: "closed"}}},
		narrow: mission.Constraints{TerminalWhen: []mission.Condition{{EventType: "closed"}, {EventType: "closed", DischargePolicy: ptr("p")}}},
	},
}

func TestEveryConstraintHasACase(t *testing.T) {
	fields := reflect.TypeFor[mission.Constraints]()
	var keys []string
	for i := range fields.NumField() {
		if name := fields.Field(i).Name; name != "Other" {
			keys = append(keys, name)
		}
	}
	var cases []string
	for _, c := range constraintCases {
		cases = append(cases, c.key)
	}
	if !slices.Equal(keys, cases) {
		t.Errorf("cases for %v, constraints are %v", cases, keys)
	}
}

func TestSubsetOfEveryConstraint(t *testing.T) {
	for _, c := range constraintCases {
		t.Run(c.key, func(t *testing.T) {
			free, wide, narrow := missiontest.Entry(), constrained(c.wide), constrained(c.narrow)
			if !subset(t, narrow, wide) || !subset(t, wide, wide) || !subset(t, narrow, narrow) {
				t.Error("a narrower or equal value is refused")
			}
			if subset(t, wide, narrow) {
				t.Error("a broader value is accepted")
			}
			if !subset(t, narrow, free) {
				t.Error("an additional constraint is refused")
			}
			if subset(t, free, narrow) {
				t.Error("a dropped constraint is accepted")
			}
			for _, other := range c.incomparables {
				if subset(t, constrained(other), wide) || subset(t, wide, constrained(other)) {
					t.Error("a value that cannot be compared is accepted")
				}
			}
		})
	}
}

func TestMeetKeepsEveryConstraint(t *testing.T) {
	for _, c := range constraintCases {
		t.Run(c.key, func(t *testing.T) {
			free, wide, narrow := missiontest.Entry(), constrained(c.wide), constrained(c.narrow)
			for _, pair := range [][2]mission.Entry{
				{narrow, free}, {free, narrow}, {narrow, wide}, {wide, narrow}, {narrow, narrow},
			} {
				m, ok := mission.Meet(pair[0], pair[1])
				if !ok {
					t.Fatal("no meet")
				}
				if !subset(t, m, narrow) || !subset(t, narrow, m) {
					t.Errorf("the meet is %+v", m.Constraints)
				}
			}
			for _, other := range c.incomparables {
				if m, ok := mission.Meet(constrained(other), wide); ok {
					t.Errorf("a meet of what has none: %+v", m.Constraints)
				}
			}
		})
	}
}

func TestMeetNeverTakesAnotherCurrency(t *testing.T) {
	p := constrained(mission.Constraints{MaxAmount: &mission.Amount{Amount: "500", Currency: "EUR"}})
	c := constrained(mission.Constraints{MaxAmount: &mission.Amount{Amount: "1000", Currency: "USD"}})
	if m, ok := mission.Meet(p, c); ok {
		t.Errorf("met in %+v", m.Constraints.MaxAmount)
	}
}

func TestSubsetOfTheOtherMembers(t *testing.T) {
	edit := func(f func(e *mission.Entry)) mission.Entry { return missiontest.Entry(missiontest.Crossing, f) }
	base := missiontest.Entry(missiontest.Crossing)
	for _, c := range []struct {
		name        string
		wide        mission.Entry
		narrow      mission.Entry
		alsoReverse bool
	}{
		{"federation dropped", base, missiontest.Entry(), false},
		{"audience dropped",
			edit(func(e *mission.Entry) { e.Federation.Audiences = []string{"https://x.example", "https://y.example"} }),
			edit(func(e *mission.Entry) { e.Federation.Audiences = []string{"https://y.example"} }), false},
		{"shape dropped", base, edit(func(e *mission.Entry) { e.Federation.Shapes = []string{mission.ShapeStatus} }), false},
		{"fewer local missions",
			edit(func(e *mission.Entry) { e.Federation.MaxLocalMissions = ptr(int64(2)) }), base, false},
		{"local missions default to one",
			base, edit(func(e *mission.Entry) { e.Federation.MaxLocalMissions = ptr(int64(1)) }), true},
		{"onward dropped",
			edit(func(e *mission.Entry) { e.Federation.Onward = []string{"https://x.example"} }), base, false},
		{"gate added", base, edit(func(e *mission.Entry) { e.Gates = []string{"stage-1"} }), false},
		{"gates in another order",
			edit(func(e *mission.Entry) { e.Gates = []string{"a", "b"} }),
			edit(func(e *mission.Entry) { e.Gates = []string{"b", "a"} }), true},
		{"delegation dropped", edit(func(e *mission.Entry) { e.Delegation = &mission.Delegation{MaxDepth: 1} }), base, false},
		{"depth reduced",
			edit(func(e *mission.Entry) { e.Delegation = &mission.Delegation{MaxDepth: 2} }),
			edit(func(e *mission.Entry) { e.Delegation = &mission.Delegation{MaxDepth: 1} }), false},
		{"delegates named",
			edit(func(e *mission.Entry) { e.Delegation = &mission.Delegation{MaxDepth: 1} }),
			edit(func(e *mission.Entry) {
				e.Delegation = &mission.Delegation{MaxDepth: 1, AllowedDelegates: &[]mission.Matcher{{Sub: ptr("a")}}}
			}), false},
		{"a subject is no profile",
			edit(func(e *mission.Entry) {
				e.Delegation = &mission.Delegation{MaxDepth: 1, AllowedDelegates: &[]mission.Matcher{{Sub: ptr("a")}, {SubProfile: ptr("a")}}}
			}),
			edit(func(e *mission.Entry) {
				e.Delegation = &mission.Delegation{MaxDepth: 1, AllowedDelegates: &[]mission.Matcher{{Sub: ptr("a")}}}
			}), false},
		{"family to literal",
			edit(func(e *mission.Entry) { e.Actions = []string{"invoices.*"} }), base, false},
		{"exact named", base, edit(func(e *mission.Entry) { e.ResourceMatch = mission.MatchExact }), true},
		{"prefix to exact", edit(func(e *mission.Entry) { e.ResourceMatch = mission.MatchPrefix }), base, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !subset(t, c.narrow, c.wide) {
				t.Error("the narrower entry is refused")
			}
			if got := subset(t, c.wide, c.narrow); got != c.alsoReverse {
				t.Errorf("the broader entry: %v", got)
			}
			m, ok := mission.Meet(c.wide, c.narrow)
			if !ok || !subset(t, m, c.narrow) || !subset(t, c.narrow, m) {
				t.Errorf("the meet is %+v (%v)", m, ok)
			}
		})
	}
}

func TestActionFamiliesEndAtDots(t *testing.T) {
	for _, c := range []struct {
		cand, ref string
		want      bool
	}{
		{"invoices.read", "invoices.*", true},
		{"invoices.q3.read", "invoices.*", true},
		{"invoices.q3.*", "invoices.*", true},
		{"invoices.*", "invoices.*", true},
		{"invoices", "invoices.*", false},
		{"invoices.", "invoices.*", false},
		{"invoicesx.read", "invoices.*", false},
		{"invoices.*", "invoices.q3.*", false},
		{"invoices.*", "invoices", false},
		{"invoices.*", "invoices.read", false},
		{"Invoices.read", "invoices.*", false},
	} {
		with := func(a string) mission.Entry {
			return missiontest.Entry(func(e *mission.Entry) { e.Actions = []string{a} })
		}
		if got := subset(t, with(c.cand), with(c.ref)); got != c.want {
			t.Errorf("%s in %s: %v", c.cand, c.ref, got)
		}
	}
}

func TestMalformedEntriesAreRefused(t *testing.T) {
	good := missiontest.Entry()
	for _, c := range []struct {
		name string
		edit func(e *mission.Entry)
	}{
		{"type", func(e *mission.Entry) { e.Type = "account_information" }},
		{"no type", func(e *mission.Entry) { e.Type = "" }},
		{"resource_match", func(e *mission.Entry) { e.ResourceMatch = "regex" }},
		{"relative resource", func(e *mission.Entry) { e.Resource = "/a" }},
		{"resource without a host", func(e *mission.Entry) { e.Resource = "mailto:a@b.example" }},
		{"resource with a fragment", func(e *mission.Entry) { e.Resource += "#x" }},
		{"resource with a user", func(e *mission.Entry) { e.Resource = "https://a@erp.a.example" }},
		{"prefix with a query", func(e *mission.Entry) { e.ResourceMatch, e.Resource = "prefix", e.Resource+"/a?b" }},
		{"prefix with a final slash", func(e *mission.Entry) { e.ResourceMatch, e.Resource = "prefix", e.Resource+"/a/" }},
		{"no actions", func(e *mission.Entry) { e.Actions = nil }},
		{"empty action", func(e *mission.Entry) { e.Actions = []string{""} }},
		{"star action", func(e *mission.Entry) { e.Actions = []string{"*"} }},
		{"family of nothing", func(e *mission.Entry) { e.Actions = []string{".*"} }},
		{"family of a family", func(e *mission.Entry) { e.Actions = []string{"a.*.*"} }},
		{"action with a space", func(e *mission.Entry) { e.Actions = []string{"a b"} }},
		{"too many actions", func(e *mission.Entry) { e.Actions = slices.Repeat([]string{"a"}, 65) }},
		{"negative depth", func(e *mission.Entry) { e.Delegation = &mission.Delegation{MaxDepth: -1} }},
		{"too deep", func(e *mission.Entry) { e.Delegation = &mission.Delegation{MaxDepth: 9} }},
		{"matcher of nothing", func(e *mission.Entry) {
			e.Delegation = &mission.Delegation{AllowedDelegates: &[]mission.Matcher{{}}}
		}},
		{"matcher of both", func(e *mission.Entry) {
			e.Delegation = &mission.Delegation{AllowedDelegates: &[]mission.Matcher{{Sub: ptr("a"), SubProfile: ptr("b")}}}
		}},
		{"no audience", func(e *mission.Entry) { e.Federation = &mission.Federation{Shapes: []string{"status"}} }},
		{"no shape", func(e *mission.Entry) { e.Federation = &mission.Federation{Audiences: []string{"https://b.example"}} }},
		{"unknown shape", func(e *mission.Entry) {
			e.Federation = &mission.Federation{Audiences: []string{"https://b.example"}, Shapes: []string{"push"}}
		}},
		{"audience that is no issuer", func(e *mission.Entry) {
			e.Federation = &mission.Federation{Audiences: []string{"b.example"}, Shapes: []string{"status"}}
		}},
		{"negative local missions", func(e *mission.Entry) {
			missiontest.Crossing(e)
			e.Federation.MaxLocalMissions = ptr(int64(-1))
		}},
		{"repeated gate", func(e *mission.Entry) { e.Gates = []string{"a", "a"} }},
		{"malformed gate", func(e *mission.Entry) { e.Gates = []string{"a b"} }},
		{"amount", func(e *mission.Entry) {
			e.Constraints = &mission.Constraints{MaxAmount: &mission.Amount{Amount: "-1", Currency: "USD"}}
		}},
		{"currency", func(e *mission.Entry) {
			e.Constraints = &mission.Constraints{MaxAmount: &mission.Amount{Amount: "1", Currency: "usd"}}
		}},
		{"date", func(e *mission.Entry) { e.Constraints = &mission.Constraints{ResourceIssuedAfter: ptr("2026-07-01")} }},
		{"window without bounds", func(e *mission.Entry) { e.Constraints = &mission.Constraints{TimeWindow: &mission.TimeWindow{}} }},
		{"window upside down", func(e *mission.Entry) {
			e.Constraints = &mission.Constraints{TimeWindow: &mission.TimeWindow{
				NotBefore: ptr("2026-07-02T00:00:00Z"), NotAfter: ptr("2026-07-01T00:00:00Z")}}
		}},
		{"domain", func(e *mission.Entry) { e.Constraints = &mission.Constraints{RecipientDomain: ptr("example.com.")} }},
		{"empty tenant", func(e *mission.Entry) { e.Constraints = &mission.Constraints{Tenant: ptr("")} }},
		{"repeated condition", func(e *mission.Entry) {
			e.Constraints = &mission.Constraints{TerminalWhen: []mission.Condition{
				{EventType: "a", DischargePolicy: ptr("p")}, {EventType: "a", DischargePolicy: ptr("p")}}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := missiontest.Entry(c.edit)
			if bad.Validate() == nil {
				t.Error("Validate accepts it")
			}
			for _, pair := range [][2]mission.Entry{{bad, good}, {good, bad}, {bad, bad}} {
				if ok, err := mission.Subset(pair[0], pair[1]); ok || !errors.Is(err, mission.ErrRefuse) {
					t.Errorf("Subset: %v, %v", ok, err)
				}
				if _, ok := mission.Meet(pair[0], pair[1]); ok {
					t.Error("there is a meet")
				}
			}
		})
	}
}

func TestUnknownVocabularyIsNeverInside(t *testing.T) {
	for _, c := range []struct{ name, text string }{
		{"constraint", `{"type":"mission_resource_access","resource":"https://erp.a.example","actions":["a"],"constraints":{"x_private":1}}`},
		{"delegation", `{"type":"mission_resource_access","resource":"https://erp.a.example","actions":["a"],"delegation":{"max_depth":1,"x":1}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := mission.ParseEntry([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			plain := missiontest.Entry(func(e *mission.Entry) { e.Actions = []string{"a"} })
			if subset(t, plain, e) && c.name == "constraint" {
				t.Error("an entry without it is inside")
			}
			if c.name == "constraint" && subset(t, e, e) {
				t.Error("inside itself without a rule")
			}
			if _, ok := mission.Meet(e, e); ok && c.name == "constraint" {
				t.Error("it has a meet")
			}
			if _, err := mission.ParseEntries([]byte("[" + c.text + "]")); err == nil {
				t.Error("ParseEntries accepts it")
			}
			known, dropped, err := mission.ParseConveyed([]byte("[" + c.text + "]"))
			if len(known) != 0 || dropped != 1 || err != nil {
				t.Errorf("conveyed: %d known, %d dropped, %v", len(known), dropped, err)
			}
			got, err := mission.Marshal(e)
			want, _ := mission.Canonical([]byte(c.text))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("not carried unchanged: %s, %v", got, err)
			}
		})
	}
}

func TestParseConveyed(t *testing.T) {
	good := `{"type":"mission_resource_access","resource":"https://erp.a.example","actions":["a"]}`
	for _, c := range []struct {
		name, text     string
		known, dropped int
		fails          bool
	}{
		{"all known", `[` + good + `,` + good + `]`, 2, 0, false},
		{"none", `[]`, 0, 0, false},
		{"another type", `[{"type":"payment","x":1},` + good + `]`, 1, 1, false},
		{"unknown member", `[` + strings.Replace(good, `"type"`, `"x":1,"type"`, 1) + `]`, 0, 1, false},
		{"malformed value", `[` + strings.Replace(good, `["a"]`, `[]`, 1) + `]`, 0, 0, true},
		{"missing member", `[{"type":"mission_resource_access"}]`, 0, 0, true},
		{"no type", `[{}]`, 0, 0, true},
		{"no list", good, 0, 0, true},
		{"too many", `[` + strings.Repeat(good+",", 64) + good + `]`, 0, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			known, dropped, err := mission.ParseConveyed([]byte(c.text))
			if len(known) != c.known || dropped != c.dropped || (err != nil) != c.fails {
				t.Errorf("%d known, %d dropped, %v", len(known), dropped, err)
			}
		})
	}
}

func TestParseEntriesBounds(t *testing.T) {
	good := `{"type":"mission_resource_access","resource":"https://erp.a.example","actions":["a"]}`
	for n, accept := range map[int]bool{0: false, 1: true, 64: true, 65: false} {
		text := "[" + strings.TrimSuffix(strings.Repeat(good+",", n), ",") + "]"
		if set, err := mission.ParseEntries([]byte(text)); (err == nil) != accept || accept && len(set) != n {
			t.Errorf("%d entries: %v", n, err)
		}
	}
}

func TestJustifyTakesTheFirst(t *testing.T) {
	a := missiontest.Entry()
	b := missiontest.Entry(func(e *mission.Entry) { e.Actions = []string{"invoices.*"} })
	c := missiontest.Entry(func(e *mission.Entry) { e.Actions = []string{"ledger.read"} })
	if by, err := mission.Justify([]mission.Entry{a, a}, []mission.Entry{c, b, a}); err != nil || !slices.Equal(by, []int{1, 1}) {
		t.Errorf("justified by %v, %v", by, err)
	}
	if err := mission.SubsetOfSet([]mission.Entry{a, c}, []mission.Entry{b}); !errors.Is(err, mission.ErrNotSubset) {
		t.Errorf("got %v", err)
	}
	// Two reference entries together justify nothing.
	both := missiontest.Entry(func(e *mission.Entry) { e.Actions = []string{"invoices.read", "ledger.read"} })
	if err := mission.SubsetOfSet([]mission.Entry{both}, []mission.Entry{a, c}); !errors.Is(err, mission.ErrNotSubset) {
		t.Errorf("got %v", err)
	}
	if err := mission.SubsetOfSet(nil, nil); err != nil {
		t.Errorf("nothing is not inside nothing: %v", err)
	}
}

func TestSubsetIsReflexive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := entries.Draw(t, "entry")
		if ok, err := mission.Subset(e, e); !ok || err != nil {
			t.Fatalf("%v, %v", ok, err)
		}
	})
}

func TestSubsetIsTransitive(t *testing.T) {
	chains := 0
	rapid.Check(t, func(t *rapid.T) {
		c := entries.Draw(t, "c")
		b, ok := mission.Meet(kin(c).Draw(t, "b"), c)
		if !ok {
			return
		}
		a, ok := mission.Meet(kin(b).Draw(t, "a"), b)
		if !ok {
			return
		}
		other := kin(b).Draw(t, "other")
		for _, x := range []mission.Entry{a, other} {
			inB, _ := mission.Subset(x, b)
			inC, _ := mission.Subset(x, c)
			if inB {
				chains++
			}
			if inB && !inC {
				t.Fatalf("a is inside b and b inside c, but a is not inside c")
			}
		}
	})
	if chains < 20 {
		t.Errorf("only %d chains were drawn", chains)
	}
}

func TestMeetIsTheWidestBelowBoth(t *testing.T) {
	met, witnessed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p := entries.Draw(t, "p")
		c := kin(p).Draw(t, "c")
		m, ok := mission.Meet(p, c)
		near := p
		if ok {
			near = m
		}
		x := kin(near).Draw(t, "x")
		inP, _ := mission.Subset(x, p)
		inC, _ := mission.Subset(x, c)
		if !ok {
			if inP && inC {
				t.Fatal("there is an entry below both, but no meet")
			}
			return
		}
		met++
		for _, above := range []mission.Entry{p, c} {
			if in, err := mission.Subset(m, above); !in || err != nil {
				t.Fatalf("the meet is not inside: %v", err)
			}
		}
		if inP && inC {
			witnessed++
			if in, _ := mission.Subset(x, m); !in {
				t.Fatalf("x is inside both but not inside the meet\nx %+v\nm %+v", x, m)
			}
		}
	})
	if met < 20 || witnessed < 5 {
		t.Errorf("only %d meets and %d witnesses were drawn", met, witnessed)
	}
}

func BenchmarkSubset(b *testing.B) {
	wide := fullEntry()
	narrow := fullEntry()
	narrow.Actions = []string{"invoices.q3.read"}
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := mission.Subset(narrow, wide); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
