package authority

import (
	"sync"
	"time"
)

// maxStep is how far the wall clock may move against the monotonic clock before it is doubted.
const maxStep = 5 * time.Minute

// A clock is the authority's view of time and of whether to believe it. While it is in doubt no positive time-bound
// assertion is made and no deadline is served; stopping and signing heads go on.
type clock struct {
	now func() time.Time

	mu   sync.Mutex
	base time.Time // a believed reading, with its monotonic part when now gives one
}

func newClock(now func() time.Time) *clock { return &clock{now: now, base: now()} }

// read returns the time and whether it is in doubt: it stepped more than maxStep against the monotonic clock since it
// was last believed, or it is before recorded, the last time the log wrote down.
func (c *clock) read(recorded time.Time) (at time.Time, doubt bool) {
	at = c.now()
	c.mu.Lock()
	base := c.base
	c.mu.Unlock()
	step := at.Round(0).Sub(base.Round(0)) - at.Sub(base)
	return at.Round(0).UTC(), step > maxStep || step < -maxStep || at.Before(recorded.Truncate(time.Millisecond))
}

// accept believes the present reading.
func (c *clock) accept() {
	at := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base = at
}
