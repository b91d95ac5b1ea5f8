package mission

import (
	"errors"
	"fmt"
	"slices"
)

// ErrNoAuthority: nothing of the proposal survives the ceiling.
var ErrNoAuthority = errors.New("mission: no authority can be derived")

var (
	errOutsideIntent = errors.New("resource is not among the intent's")
	errPostcondition = errors.New("mission: a meet is not inside both of its arguments")
)

// Meet returns the widest entry that is inside both p and c, spelt as in p where both agree; false if there is none or
// either has parts without a rule. A list that would be left empty is no entry (constraints, actions), no delegation or
// no crossing at all.
func Meet(p, c Entry) (Entry, bool) {
	if p.check() != nil || c.check() != nil {
		return Entry{}, false
	}
	m, ok := p.meet(c)
	return m, ok && m.check() == nil && m.within(p) && m.within(c)
}

// Derive narrows a proposal to a ceiling: the meets of every proposed entry with every ceiling entry, in that order,
// without duplicates, on resources of the intent only. The intent's prose plays no part. Errors are *Invalid with code
// InvalidAuthority; they wrap ErrNoAuthority if nothing is left, and ErrRefuse for a malformed entry.
func Derive(intent *Intent, proposal, ceiling []Entry) ([]Entry, error) {
	if err := checkProposal(intent, proposal); err != nil {
		return nil, err
	}
	for i, c := range ceiling {
		if err := c.check(); err != nil {
			return nil, noAuthority(fmt.Errorf("%w: ceiling entry %d: %w", ErrRefuse, i, err), "")
		}
	}
	var set []Entry
	for _, p := range proposal {
		for _, c := range ceiling {
			m, ok := p.meet(c)
			if !ok || m.check() != nil || !slices.Contains(intent.Resources, m.Resource) {
				continue
			}
			if !m.within(p) || !m.within(c) {
				return nil, noAuthority(errPostcondition, "")
			}
			if !slices.ContainsFunc(set, m.Equal) {
				set = append(set, m)
			}
		}
	}
	if len(set) == 0 {
		return nil, noAuthority(ErrNoAuthority, "")
	}
	if len(set) > MaxEntries {
		return nil, noAuthority(errLimit, "")
	}
	return set, nil
}

func noAuthority(err error, member string) error {
	return &Invalid{Code: InvalidAuthority, Member: member, Err: err}
}

// checkProposal: a proposal was submitted, is well formed and stays on the intent's resources.
func checkProposal(intent *Intent, proposal []Entry) error {
	if len(proposal) == 0 {
		return noAuthority(ErrNoAuthority, "authorization_details")
	}
	for i, p := range proposal {
		if err := p.Validate(); err != nil {
			return noAuthority(fmt.Errorf("%w: proposed entry %d: %w", ErrRefuse, i, err), "authorization_details")
		}
		if !slices.Contains(intent.Resources, p.Resource) {
			return noAuthority(errOutsideIntent, printable(p.Resource))
		}
	}
	return nil
}

// meet is the rule itself, for entries that were checked.
func (p Entry) meet(c Entry) (Entry, bool) {
	m := p
	switch {
	case p.resourceWithin(c):
	case c.resourceWithin(p):
		m.Resource, m.ResourceMatch = c.Resource, c.ResourceMatch
	default:
		return Entry{}, false
	}
	ok := false
	if m.Constraints, ok = p.Constraints.meet(c.Constraints); !ok {
		return Entry{}, false
	}
	m.Actions = meetActions(p.Actions, c.Actions)
	m.Delegation = p.Delegation.meet(c.Delegation)
	m.Federation = p.Federation.meet(c.Federation)
	m.Gates = union(p.Gates, c.Gates)
	return m, len(m.Actions) > 0
}

// meetActions: what of p is inside c, in p's order, then what of c is inside p.
func meetActions(p, c []string) []string {
	var both []string
	for _, a := range p {
		if actionWithin(a, c) && !slices.Contains(both, a) {
			both = append(both, a)
		}
	}
	for _, a := range c {
		if actionWithin(a, p) && !slices.Contains(both, a) {
			both = append(both, a)
		}
	}
	return both
}

func union(p, c []string) []string {
	all := slices.Clone(p)
	for _, s := range c {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// meet returns nil (not delegable) unless both delegate to someone in common.
func (d *Delegation) meet(c *Delegation) *Delegation {
	if d == nil || c == nil || !sameOther(d.Other, c.Other) {
		return nil
	}
	ok := true
	m := &Delegation{
		MaxDepth:         min(d.MaxDepth, c.MaxDepth),
		AllowedDelegates: meetKey(&ok, d.AllowedDelegates, c.AllowedDelegates, commonMatchers),
		Other:            d.Other,
	}
	if !ok {
		return nil
	}
	return m
}

func commonMatchers(p, c []Matcher) ([]Matcher, bool) {
	var both []Matcher
	for _, m := range p {
		if slices.ContainsFunc(c, m.equal) {
			both = append(both, m)
		}
	}
	return both, len(both) > 0
}

// meet returns nil (does not cross) unless both name an audience and a shape in common.
func (f *Federation) meet(c *Federation) *Federation {
	if f == nil || c == nil {
		return nil
	}
	audiences, okA := commonMembers(f.Audiences, c.Audiences)
	shapes, okS := commonMembers(f.Shapes, c.Shapes)
	if !okA || !okS {
		return nil
	}
	m := &Federation{Audiences: audiences, Shapes: shapes, MaxLocalMissions: f.MaxLocalMissions}
	if c.LocalMissions() < f.LocalMissions() {
		most := c.LocalMissions()
		m.MaxLocalMissions = &most
	}
	m.Onward, _ = commonMembers(f.Onward, c.Onward)
	return m
}
