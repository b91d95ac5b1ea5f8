package mission_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/missiontest"
)

func numbered(n int, format string) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(format, i))
	}
	return list
}

// Every limit of an entry: the largest value is accepted, the next one refused.
func TestLimitsOfAnEntry(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	within := func(f func(c *mission.Constraints, n int)) func(e *mission.Entry, n int) {
		return func(e *mission.Entry, n int) {
			e.Constraints = &mission.Constraints{}
			f(e.Constraints, n)
		}
	}
	label := func(n int) string { return x(n) + ".example" }
	for _, c := range []struct {
		name string
		most int
		set  func(e *mission.Entry, n int)
	}{
		{"resource", mission.MaxResourceURI, func(e *mission.Entry, n int) { e.Resource = "https://a/" + x(n-10) }},
		{"actions", mission.MaxActions, func(e *mission.Entry, n int) { e.Actions = numbered(n, "a%d") }},
		{"action", 256, func(e *mission.Entry, n int) { e.Actions = []string{x(n)} }},
		{"gates", mission.MaxGates, func(e *mission.Entry, n int) { e.Gates = numbered(n, "g%d") }},
		{"gate", 64, func(e *mission.Entry, n int) { e.Gates = []string{x(n)} }},
		{"depth", mission.MaxDelegation, func(e *mission.Entry, n int) { e.Delegation = &mission.Delegation{MaxDepth: int64(n)} }},
		{"delegates", mission.MaxDelegates, func(e *mission.Entry, n int) {
			e.Delegation = &mission.Delegation{AllowedDelegates: ptr(slices.Repeat([]mission.Matcher{{Sub: ptr("a")}}, n))}
		}},
		{"delegate", 256, func(e *mission.Entry, n int) {
			e.Delegation = &mission.Delegation{AllowedDelegates: &[]mission.Matcher{{SubProfile: ptr(x(n))}}}
		}},
		{"audiences", mission.MaxAudiences, func(e *mission.Entry, n int) {
			missiontest.Crossing(e)
			e.Federation.Audiences = numbered(n, "https://p%d.example")
		}},
		{"audience", 512, func(e *mission.Entry, n int) {
			missiontest.Crossing(e)
			e.Federation.Audiences = []string{"https://p/" + x(n-10)}
		}},
		{"onward", mission.MaxAudiences, func(e *mission.Entry, n int) {
			missiontest.Crossing(e)
			e.Federation.Onward = numbered(n, "https://p%d.example")
		}},
		{"local missions", mission.MaxLocalMissions, func(e *mission.Entry, n int) {
			missiontest.Crossing(e)
			e.Federation.MaxLocalMissions = ptr(int64(n))
		}},
		{"amount", 128, within(func(c *mission.Constraints, n int) {
			c.MaxAmount = &mission.Amount{Amount: strings.Repeat("1", n), Currency: "USD"}
		})},
		{"places", 18, within(func(c *mission.Constraints, n int) {
			c.MaxAmount = &mission.Amount{Amount: "0." + strings.Repeat("1", n), Currency: "USD"}
		})},
		{"tenant", 256, within(func(c *mission.Constraints, n int) { c.Tenant = ptr(x(n)) })},
		{"label", 63, within(func(c *mission.Constraints, n int) { c.RecipientDomain = ptr(label(n)) })},
		{"domain", 253, within(func(c *mission.Constraints, n int) {
			c.RecipientDomain = ptr(strings.Repeat("a.", 100) + x(n-200))
		})},
		{"classes", 256, within(func(c *mission.Constraints, n int) { c.DataClassification = ptr(numbered(n, "c%d")) })},
		{"class", 256, within(func(c *mission.Constraints, n int) { c.DataClassification = &[]string{x(n)} })},
		{"tools", 256, within(func(c *mission.Constraints, n int) { c.AllowedTools = ptr(numbered(n, "t%d")) })},
		{"tool", 256, within(func(c *mission.Constraints, n int) { c.AllowedTools = &[]string{x(n)} })},
		{"conditions", 256, within(func(c *mission.Constraints, n int) {
			for _, s := range numbered(n, "e%d") {
				c.TerminalWhen = append(c.TerminalWhen, mission.Condition{EventType: s})
			}
		})},
		{"event type", 256, within(func(c *mission.Constraints, n int) { c.TerminalWhen = []mission.Condition{{EventType: x(n)}} })},
		{"discharge policy", 64, within(func(c *mission.Constraints, n int) {
			c.TerminalWhen = []mission.Condition{{EventType: "e", DischargePolicy: ptr(x(n))}}
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, n := range []int{c.most, c.most + 1} {
				e := missiontest.Entry(func(e *mission.Entry) { c.set(e, n) })
				if err := e.Validate(); (err == nil) != (n == c.most) {
					t.Errorf("%d: %v", n, err)
				}
			}
		})
	}
}

func TestConstraintsWithoutARuleAreCounted(t *testing.T) {
	for n, want := range map[int]bool{22: true, 23: false} {
		var members []string
		for i := range n {
			members = append(members, fmt.Sprintf(`"x%d":1`, i))
		}
		text := strings.Replace(goodEntry, "{", `{"constraints":{`+strings.Join(members, ",")+`},`, 1)
		if _, err := mission.ParseEntry([]byte(text)); (err == nil) != want {
			t.Errorf("%d: %v", n, err)
		}
	}
}

func TestDomainsAndTimesAreWellFormed(t *testing.T) {
	for s, want := range map[string]bool{
		"com": true, "a-b.example": true, "EXAMPLE.com": true, "1.example": true,
		"": false, ".": false, ".example": false, "example.": false, "a..example": false, "-a.example": false,
		"a-.example": false, "_dmarc.example": false, "a_b.example": false, "a b.example": false, "*.example": false,
		"\u00e4.example": false, "a/b": false, "a:80": false, strings.Repeat("x", 64) + ".-": false,
	} {
		e := constrained(mission.Constraints{RecipientDomain: ptr(s)})
		if got := e.Validate() == nil; got != want {
			t.Errorf("domain %q: %v", s, got)
		}
	}
	bad := "2026-07-01"
	for name, c := range map[string]mission.Constraints{
		"after":          {ResourceIssuedAfter: &bad},
		"before":         {ResourceIssuedBefore: &bad},
		"window from":    {TimeWindow: &mission.TimeWindow{NotBefore: &bad}},
		"window to":      {TimeWindow: &mission.TimeWindow{NotAfter: &bad}},
		"window half":    {TimeWindow: &mission.TimeWindow{NotBefore: ptr("2026-07-01T00:00:00Z"), NotAfter: &bad}},
		"empty class":    {DataClassification: &[]string{""}},
		"empty tool":     {AllowedTools: &[]string{"a", ""}},
		"empty event":    {TerminalWhen: []mission.Condition{{}}},
		"empty policy":   {TerminalWhen: []mission.Condition{{EventType: "e", DischargePolicy: ptr("")}}},
		"empty currency": {MaxAmount: &mission.Amount{Amount: "1"}},
		"long currency":  {MaxAmount: &mission.Amount{Amount: "1", Currency: "USDT"}},
	} {
		if constrained(c).Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	instant := "2026-07-01T00:00:00Z"
	if err := constrained(mission.Constraints{TimeWindow: &mission.TimeWindow{NotBefore: &instant, NotAfter: &instant}}).Validate(); err != nil {
		t.Errorf("a window of one instant: %v", err)
	}
}
