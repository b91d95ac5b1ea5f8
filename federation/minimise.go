package federation

import (
	"slices"

	"github.com/mission-authority/mas/mission"
)

// Minimise returns what of an Effective Authority Set may cross in this direction and shape, in the form in which it
// crosses. An entry crosses only if all of this holds:
//
//   - its type has rules, and its `federation` member names the receiver and the shape;
//   - it may be delegated: crossing the border is one step of delegation;
//   - its resource, actions and constraint keys lie inside the direction of the agreement.
//
// The conveyed form has type, resource, resource_match, actions, constraints and delegation. Gates stay at home: a gated
// entry is conveyed with requires_action_approval. `federation` becomes what the receiver may do with it: the issuers of
// onward are its audiences; without onward it is absent.
func Minimise(set []mission.Entry, d *Direction, shape string) []mission.Entry {
	if d == nil || !slices.Contains(d.Shapes, shape) {
		return nil
	}
	var out []mission.Entry
	for _, e := range mission.ForPeer(set, d.To, shape) {
		if c, ok := conveyed(e, d); ok {
			out = append(out, c)
		}
	}
	return out
}

func conveyed(e mission.Entry, d *Direction) (mission.Entry, bool) {
	if e.Type != mission.TypeResourceAccess || e.Delegation == nil || e.Delegation.MaxDepth < 1 ||
		len(e.Delegation.Other) > 0 {
		return mission.Entry{}, false
	}
	out := mission.Entry{
		Type:          e.Type,
		Resource:      e.Resource,
		ResourceMatch: e.ResourceMatch,
		Actions:       e.Actions,
		Constraints:   e.Constraints,
		Delegation:    e.Delegation,
		Federation:    onward(e.Federation, d),
	}
	if len(e.Gates) > 0 {
		var c mission.Constraints
		if e.Constraints != nil {
			c = *e.Constraints
		}
		c.RequiresActionApproval = new(true)
		out.Constraints = &c
	}
	return out, d.Admits(out)
}

// onward is the `federation` member of a conveyed entry: where the receiver may convey it to, never back and never to
// itself.
func onward(f *mission.Federation, d *Direction) *mission.Federation {
	var to []string
	for _, issuer := range f.Onward {
		if issuer != d.From && issuer != d.To {
			to = append(to, issuer)
		}
	}
	if len(to) == 0 {
		return nil
	}
	return &mission.Federation{Audiences: to, Shapes: f.Shapes, MaxLocalMissions: f.MaxLocalMissions}
}

// Admits reports whether an entry lies inside the direction: its resource below one of the resources, its actions within
// the actions, its constraints among the keys that the receiver promised to enforce.
func (d *Direction) Admits(e mission.Entry) bool {
	for _, key := range constraintKeys(e.Constraints) {
		if !slices.Contains(d.ConstraintKeys, key) {
			return false
		}
	}
	bare := mission.Entry{Type: e.Type, Resource: e.Resource, ResourceMatch: e.ResourceMatch, Actions: e.Actions}
	return slices.ContainsFunc(d.Resources, func(r string) bool {
		inside, err := mission.Subset(bare, mission.Entry{
			Type: mission.TypeResourceAccess, Resource: r, ResourceMatch: mission.MatchPrefix, Actions: d.Actions,
		})
		return inside && err == nil
	})
}

// constraintKeys lists the constraints that are present.
func constraintKeys(c *mission.Constraints) []string {
	if c == nil {
		return nil
	}
	var keys []string
	for _, k := range []struct {
		name    string
		present bool
	}{
		{"max_amount", c.MaxAmount != nil},
		{"resource_issued_after", c.ResourceIssuedAfter != nil},
		{"resource_issued_before", c.ResourceIssuedBefore != nil},
		{"tenant", c.Tenant != nil},
		{"recipient_domain", c.RecipientDomain != nil},
		{"time_window", c.TimeWindow != nil},
		{"data_classification", c.DataClassification != nil},
		{"allowed_tools", c.AllowedTools != nil},
		{"requires_action_approval", c.RequiresActionApproval != nil},
		{"terminal_when", c.TerminalWhen != nil},
	} {
		if k.present {
			keys = append(keys, k.name)
		}
	}
	for k := range c.Other {
		keys = append(keys, k)
	}
	return keys
}
