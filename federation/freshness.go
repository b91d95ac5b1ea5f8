package federation

import (
	"time"

	"github.com/mission-authority/mas/mission"
)

// HoldAt is the instant from which a Mission that depends on an answer is held: the earlier of the answer's fresh_until
// and the time its nonce was sent plus the agreed max_stale. There is no tolerance.
//
// sent is the local time of sending, so that a peer whose clock is ahead cannot stretch the bound.
func HoldAt(freshUntil, sent time.Time, maxStale time.Duration) time.Time {
	if limit := sent.Add(maxStale); limit.Before(freshUntil) {
		return limit
	}
	return freshUntil
}

// Usable reports whether an answer may still be relied on at `at`, that is before HoldAt. The age of the nonce is
// measured on the monotonic clock when both times carry a reading of it: a wall clock set back makes nothing fresh.
func Usable(freshUntil, sent time.Time, maxStale time.Duration, at time.Time) bool {
	age := at.Sub(sent)
	return age >= 0 && age < maxStale && at.Round(0).Before(freshUntil)
}

// RevokeToLastReliance is the published formula: from the commit of a revocation to the last instant at which somebody
// may still rely on the Mission, at worst. Each hop holds what it knows for its own max_stale at most; a token issued
// at the last instant lives on, and so does a decision taken with it at its own last instant.
//
//	sum of max_stale over the hops + life of a token + life of a permit
func RevokeToLastReliance(maxStale []time.Duration, token, permit time.Duration) time.Duration {
	total := token + permit
	for _, s := range maxStale {
		total += s
	}
	return total
}

// Reliance is RevokeToLastReliance for this agreement and one shape over a number of equal hops. A projection that is
// relied on alone counts with its longest life instead of max_stale.
func (a *Agreement) Reliance(shape string, hops int) time.Duration {
	stale := a.MaxStale()
	if shape == mission.ShapeProjection {
		stale = 0
		for _, d := range a.Directions {
			stale = max(stale, time.Duration(d.MaxProjectionSeconds)*time.Second)
		}
	}
	all := make([]time.Duration, hops)
	for i := range all {
		all[i] = stale
	}
	return RevokeToLastReliance(all, time.Duration(a.Revocation.TokenSeconds)*time.Second,
		time.Duration(a.Revocation.PermitSeconds)*time.Second)
}
