package mission

import (
	"slices"
	"time"
)

// Effective is the state that may be reported and relied on at `at`: expiry first, then the suspend deadline, then
// holds (a held Mission is Suspended). A Standing that does not belong to the Record, or with a malformed time, is
// never Active.
func Effective(rec *Record, cur Standing, at time.Time) (State, *Hold) {
	if rec == nil || rec.ID != cur.MissionID || cur.Version == 0 {
		return "", nil
	}
	if cur.State.Terminal() {
		return cur.State, nil
	}
	if reached(rec.ExpiresAt, at) {
		return Expired, nil
	}
	state := cur.State
	if due, ok := Due(cur, at); ok {
		state = due.target()
	}
	if state == Active && len(cur.Holds) > 0 {
		state = Suspended
	}
	if state == Suspended {
		return state, cur.Hold()
	}
	return state, nil
}

// EffectiveSet is the Effective Authority Set at an instant: the approved entries minus discharged and contained ones,
// and nothing at all unless Effective says Active. Every report, projection, grant and decision uses it.
func EffectiveSet(rec *Record, cur Standing, at time.Time) []Entry {
	if state, _ := Effective(rec, cur, at); state != Active {
		return nil
	}
	if len(cur.Discharged) == 0 && len(cur.Contained) == 0 {
		return slices.Clone(rec.AuthoritySet)
	}
	var set []Entry
	for _, e := range rec.AuthoritySet {
		d, err := EntryDigest(rec.Issuer, e)
		if err == nil && !cur.removed(d) {
			set = append(set, e)
		}
	}
	return set
}

// removed reports whether a discharge or containment took the entries with this digest out of the set. Entries with
// equal canonical form stand or fall together.
func (s Standing) removed(d Digest) bool {
	return slices.Contains(s.Contained, d) ||
		slices.ContainsFunc(s.Discharged, func(l Latch) bool { return l.Entry == d })
}

// ForAudience returns the entries of set for one resource server of this domain: those whose resource is the audience
// itself, byte for byte, or lies under it (PrefixContains). A peer domain is no such audience: see ForPeer.
func ForAudience(set []Entry, audience string) []Entry {
	var own []Entry
	for _, e := range set {
		if e.Resource == audience || PrefixContains(audience, e.Resource) {
			own = append(own, e)
		}
	}
	return own
}

// ForPeer returns the entries of set that may cross to the peer with this issuer in one of the given shapes (any, if
// none is given): those whose federation member names both. Resources play no part. The entries are as approved; what
// leaves the domain is Convey's.
func ForPeer(set []Entry, issuer string, shapes ...string) []Entry {
	var crossing []Entry
	for _, e := range set {
		f := e.Federation
		if f == nil || !slices.Contains(f.Audiences, issuer) || e.Validate() != nil {
			continue
		}
		if len(shapes) == 0 || slices.ContainsFunc(shapes, func(s string) bool { return slices.Contains(f.Shapes, s) }) {
			crossing = append(crossing, e)
		}
	}
	return crossing
}

// Convey is ForPeer in the form that leaves the domain. The federation member is replaced by what the peer may pass on:
// none, or the onward issuers as audiences; so no peer learns of another, and a local entry that is a Subset of the
// conveyed one goes no further than was approved. Gates do not cross: a gated entry requires action approval instead,
// which fails closed.
func Convey(set []Entry, issuer string, shapes ...string) []Entry {
	crossing := ForPeer(set, issuer, shapes...)
	for i, e := range crossing {
		if f := e.Federation; len(f.Onward) > 0 {
			e.Federation = &Federation{Audiences: f.Onward, Shapes: f.Shapes, MaxLocalMissions: f.MaxLocalMissions}
		} else {
			e.Federation = nil
		}
		if len(e.Gates) > 0 {
			e = e.requiringApproval()
		}
		crossing[i] = e
	}
	return crossing
}

// requiringApproval replaces the gates of e by requires_action_approval.
func (e Entry) requiringApproval() Entry {
	var c Constraints
	if e.Constraints != nil {
		c = *e.Constraints
	}
	required := true
	c.RequiresActionApproval = &required
	e.Constraints, e.Gates = &c, nil
	return e
}
