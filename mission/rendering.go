package mission

import (
	"fmt"
	"strings"
)

// summarizeEntry puts one entry into words. Every member that bounds or widens it is shown as data and as a sentence.
func summarizeEntry(e Entry) (EntrySummary, error) {
	s := EntrySummary{
		Resource:      e.Resource,
		ResourceMatch: e.ResourceMatch,
		Actions:       e.Actions,
		Delegation:    e.Delegation,
		Federation:    e.Federation,
		Gates:         e.Gates,
		Rendered:      e.sentences(),
	}
	if e.Constraints == nil {
		return s, nil
	}
	members, err := membersOf(e.Constraints)
	if err != nil {
		return s, err
	}
	for _, m := range members {
		s.Constraints = append(s.Constraints, ConstraintSummary{
			Constraint: m.name,
			Value:      Raw{m.appendCanonical(nil)},
			Rendered:   e.Constraints.sentence(m),
		})
	}
	return s, nil
}

func (e Entry) sentences() []string {
	where := e.Resource
	if e.ResourceMatch == MatchPrefix {
		where = "everything under " + e.Resource
	}
	list := []string{fmt.Sprintf("May do %s on %s.", strings.Join(e.Actions, ", "), where)}
	for _, a := range e.Actions {
		if IsFamily(a) {
			list = append(list, fmt.Sprintf("High-risk breadth: %s stands for every action whose name begins with %s",
				a, strings.TrimSuffix(a, "*")))
		}
	}
	list = append(list, e.Delegation.sentence(), e.Federation.sentence())
	if len(e.Gates) > 0 {
		list = append(list, "Only while these stages are open: "+strings.Join(e.Gates, ", ")+".")
	}
	return list
}

func (d *Delegation) sentence() string {
	if d == nil {
		return "May not be passed on to others."
	}
	s := fmt.Sprintf("May be passed on to others, up to %d steps", d.MaxDepth)
	if d.AllowedDelegates == nil {
		return s + ", to whom policy allows."
	}
	var names []string
	for _, m := range *d.AllowedDelegates {
		if m.Sub != nil {
			names = append(names, Inert(*m.Sub))
		} else {
			names = append(names, "any "+Inert(*m.SubProfile))
		}
	}
	if len(names) == 0 {
		return s + ", to no one."
	}
	return s + ", only to " + strings.Join(names, ", ") + "."
}

func (f *Federation) sentence() string {
	if f == nil {
		return "Does not leave this domain."
	}
	s := fmt.Sprintf("May cross to %s as %s, with at most %d local missions there.",
		strings.Join(f.Audiences, ", "), strings.Join(f.Shapes, ", "), f.LocalMissions())
	if len(f.Onward) > 0 {
		s += " From there it may go on to " + strings.Join(f.Onward, ", ") + "."
	}
	return s
}

// sentence puts one constraint into words.
func (c *Constraints) sentence(m member) string {
	switch m.name {
	case "max_amount":
		return fmt.Sprintf("At most %s %s each time.", c.MaxAmount.Amount, c.MaxAmount.Currency)
	case "resource_issued_after":
		return "Only items issued at or after " + *c.ResourceIssuedAfter + "."
	case "resource_issued_before":
		return "Only items issued at or before " + *c.ResourceIssuedBefore + "."
	case "tenant":
		return "Only in tenant " + Inert(*c.Tenant) + "."
	case "recipient_domain":
		return "Only to recipients in " + *c.RecipientDomain + " and its subdomains."
	case "time_window":
		return c.TimeWindow.sentence()
	case "data_classification":
		return "Only data classified as " + listed(*c.DataClassification) + "."
	case "allowed_tools":
		return "Only with the tools " + listed(*c.AllowedTools) + "."
	case "requires_action_approval":
		if *c.RequiresActionApproval {
			return "Every action needs its own approval."
		}
		return "Actions need no approval of their own."
	case "terminal_when":
		var events []string
		for _, t := range c.TerminalWhen {
			events = append(events, t.EventType)
		}
		return "Ends when one of these happens: " + listed(events) + "."
	}
	return Inert(m.name) + ": " + Inert(string(m.appendCanonical(nil)))
}

func (w *TimeWindow) sentence() string {
	var parts []string
	if w.NotBefore != nil {
		parts = append(parts, "from "+*w.NotBefore)
	}
	if w.NotAfter != nil {
		parts = append(parts, "until "+*w.NotAfter)
	}
	return "Only " + strings.Join(parts, " ") + "."
}

func listed(list []string) string {
	if len(list) == 0 {
		return "(none)"
	}
	return strings.Join(inertAll(list), ", ")
}

// notices points out what an approver must not overlook in an entry, whatever the deployment's own classes say.
func (e Entry) notices() []Notice {
	var list []Notice
	for _, a := range e.Actions {
		if IsFamily(a) {
			list = append(list, Notice{
				Condition: "high_risk_breadth",
				AppliesTo: AppliesTo{Resource: e.Resource, Action: a},
				Statement: "This allows actions that exist today and any added later under this name.",
			})
		}
	}
	if e.Federation != nil {
		list = append(list, Notice{
			Condition: "cross_domain",
			AppliesTo: AppliesTo{Resource: e.Resource},
			Statement: "This authority leaves the domain. What a peer has already received can outlive a revocation " +
				"until it expires there.",
		})
	}
	return list
}
