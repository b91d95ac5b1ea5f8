package mission

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ErrRefuse: a value is malformed or a type has no rule, so nothing can be said about containment. Treat it as false.
var ErrRefuse = errors.New("mission: not comparable")

// ErrNotSubset: some candidate entry is inside no single reference entry.
var ErrNotSubset = errors.New("mission: not a subset")

// Subset reports whether cand is no broader than ref (core 1.7). It is conservative: true is returned only for what the
// rules decide. The error wraps ErrRefuse.
func Subset(cand, ref Entry) (bool, error) {
	for _, e := range []Entry{cand, ref} {
		if err := e.check(); err != nil {
			return false, fmt.Errorf("%w: %w", ErrRefuse, err)
		}
	}
	return cand.within(ref), nil
}

// SubsetOfSet returns nil if every candidate entry is inside some single entry of ref; else an error that wraps
// ErrNotSubset or ErrRefuse.
func SubsetOfSet(cand, ref []Entry) error {
	_, err := Justify(cand, ref)
	return err
}

// Justify returns for every candidate entry the index of the first entry of ref that contains it, or the error of
// SubsetOfSet.
func Justify(cand, ref []Entry) ([]int, error) {
	for _, set := range [][]Entry{cand, ref} {
		for i, e := range set {
			if err := e.check(); err != nil {
				return nil, fmt.Errorf("%w: entry %d: %w", ErrRefuse, i, err)
			}
		}
	}
	by := make([]int, len(cand))
	for i, c := range cand {
		if by[i] = slices.IndexFunc(ref, c.within); by[i] < 0 {
			return nil, fmt.Errorf("%w: entry %d", ErrNotSubset, i)
		}
	}
	return by, nil
}

// within is the rule itself, for entries that were checked.
func (e Entry) within(ref Entry) bool {
	return e.resourceWithin(ref) &&
		actionsWithin(e.Actions, ref.Actions) &&
		e.Constraints.within(ref.Constraints) &&
		e.Delegation.within(ref.Delegation) &&
		e.Federation.within(ref.Federation) &&
		membersWithin(ref.Gates, e.Gates) // a narrower entry keeps all gates
}

func (e Entry) resourceWithin(ref Entry) bool {
	if ref.ResourceMatch == MatchPrefix {
		return PrefixContains(ref.Resource, e.Resource)
	}
	return e.ResourceMatch != MatchPrefix && e.Resource == ref.Resource
}

func actionsWithin(c, r []string) bool {
	return !slices.ContainsFunc(c, func(a string) bool { return !actionWithin(a, r) })
}

// actionWithin: the action itself, or a family whose name it continues after a dot. A family is never inside a literal,
// and the bare name is not inside its family.
func actionWithin(a string, ref []string) bool {
	return slices.ContainsFunc(ref, func(r string) bool {
		if a == r {
			return true
		}
		name, family := strings.CutSuffix(r, "*") // name ends in its dot
		bare := strings.TrimSuffix(a, ".*")
		return family && len(bare) > len(name) && strings.HasPrefix(bare, name)
	})
}

// within: delegation may be dropped, never introduced or widened.
func (d *Delegation) within(r *Delegation) bool {
	if d == nil || r == nil {
		return d == nil
	}
	return d.MaxDepth <= r.MaxDepth && sameOther(d.Other, r.Other) &&
		inside(d.AllowedDelegates, r.AllowedDelegates, matchersWithin)
}

func sameOther(a, b map[string]Raw) bool { return maps.EqualFunc(a, b, Raw.Equal) }

func matchersWithin(c, r []Matcher) bool {
	return !slices.ContainsFunc(c, func(m Matcher) bool { return !slices.ContainsFunc(r, m.equal) })
}

// within: crossing the border may be dropped, never introduced or widened.
func (f *Federation) within(r *Federation) bool {
	if f == nil || r == nil {
		return f == nil
	}
	return membersWithin(f.Audiences, r.Audiences) && membersWithin(f.Shapes, r.Shapes) &&
		membersWithin(f.Onward, r.Onward) && f.LocalMissions() <= r.LocalMissions()
}
