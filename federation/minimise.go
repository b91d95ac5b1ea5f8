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
// The conveyed form is that of mission.Convey: gates stay at home and become requires_action_approval; `federation`
// says what the receiver may do with the entry, and is absent if that is nothing. It never leads back here.
func Minimise(set []mission.Entry, d *Direction, shape string) []mission.Entry {
	if d == nil || !slices.Contains(d.Shapes, shape) {
		return nil
	}
	var out []mission.Entry
	for _, e := range mission.Convey(set, d.To, shape) {
		if e.Type != mission.TypeResourceAccess || e.Delegation == nil || e.Delegation.MaxDepth < 1 ||
			len(e.Delegation.Other) > 0 {
			continue
		}
		e.Federation = outward(e.Federation, d)
		if d.Admits(e) {
			out = append(out, e)
		}
	}
	return out
}

// outward drops the two parties from where a conveyed entry may go on to.
func outward(f *mission.Federation, d *Direction) *mission.Federation {
	if f == nil {
		return nil
	}
	var to []string
	for _, issuer := range f.Audiences {
		if issuer != d.From && issuer != d.To {
			to = append(to, issuer)
		}
	}
	if len(to) == 0 {
		return nil
	}
	return &mission.Federation{Audiences: to, Shapes: f.Shapes, MaxLocalMissions: f.MaxLocalMissions}
}

// Admits reports whether an entry lies inside the direction: its resource below one of the resources, its actions
// within the actions, its constraints among the keys that the receiver promised to enforce.
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
