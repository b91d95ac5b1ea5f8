package mission

import (
	"errors"
	"time"
)

// ErrRefuse: a value is malformed or a type has no rule, so nothing can be said about containment. Treat it as false.
var ErrRefuse = errors.New("mission: not comparable")

// ErrNotSubset: some candidate entry is inside no single reference entry.
var ErrNotSubset = errors.New("mission: not a subset")

// ErrNoAuthority: nothing of the proposal survives the ceiling.
var ErrNoAuthority = errors.New("mission: no authority can be derived")

// Subset reports whether cand is no broader than ref (core 1.7). It is conservative: true is returned only for what the
// rules decide. The error wraps ErrRefuse.
func Subset(cand, ref Entry) (bool, error) { panic("not yet") }

// SubsetOfSet returns nil if every candidate entry is inside some single entry of ref; else an error that wraps
// ErrNotSubset or ErrRefuse.
func SubsetOfSet(cand, ref []Entry) error { panic("not yet") }

// Justify returns for every candidate entry the index of the first entry of ref that contains it, or the error of
// SubsetOfSet.
func Justify(cand, ref []Entry) ([]int, error) { panic("not yet") }

// PrefixContains reports whether the prefix resource base contains uri (core 1.7). Both are normalised for the
// comparison only.
func PrefixContains(base, uri string) bool { panic("not yet") }

// Meet returns the widest entry that is inside both p and c, spelt as in p where both agree; false if there is none.
func Meet(p, c Entry) (Entry, bool) { panic("not yet") }

// Derive narrows a proposal to a ceiling: the meets of every proposed entry with every ceiling entry, in that order,
// without duplicates, on resources of the intent only. The intent's prose plays no part. Errors: ErrNoAuthority, an
// *Invalid with code InvalidAuthority for a proposal outside the intent, ErrRefuse for a malformed entry.
func Derive(intent *Intent, proposal, ceiling []Entry) ([]Entry, error) { panic("not yet") }

// ForAudience returns the entries of set for one resource server of this domain: those whose resource is the audience
// itself or lies under it (PrefixContains).
func ForAudience(set []Entry, audience string) []Entry { panic("not yet") }

// ForPeer returns the entries of set that may cross to the peer issuer in the given shape: those whose federation
// member names both. Resources play no part.
func ForPeer(set []Entry, issuer, shape string) []Entry { panic("not yet") }

// EffectiveSet is the Effective Authority Set at an instant: the approved entries minus discharged and contained ones,
// and nothing at all unless Effective says Active without a hold. Every report, projection, grant and decision uses it.
func EffectiveSet(rec *Record, cur Standing, at time.Time) []Entry { panic("not yet") }
