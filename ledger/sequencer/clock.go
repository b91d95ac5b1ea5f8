package sequencer

import (
	"sync"
	"time"
)

// A clock times groups. It holds the wall clock against the monotonic one: a time that jumps ahead must not get into
// the log, because registration times never go back and everything with a deadline would wait for it.
type clock struct {
	now func() time.Time

	mu       sync.Mutex
	base     time.Time // last reading that was believed, with its monotonic part when now gives one
	accepted time.Time // last registration time that was overruled
}

// A reading is what a clock says of one group.
type reading struct {
	registered time.Time     // what the group is registered at: not before the group before it
	judged     time.Time     // what its deadlines are judged by
	doubt      time.Duration // by how much the clock is off, if that is more than ClockTolerance: no deadline is judged
}

// read reads the clock for a group that follows one registered at last.
func (c *clock) read(last time.Time) reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	at := now.Round(0).UTC().Truncate(time.Millisecond)
	steady := c.base.Round(0).Add(now.Sub(c.base))
	var r reading
	if ahead := at.Sub(steady); ahead > ClockTolerance {
		at, r.doubt = steady.UTC().Truncate(time.Millisecond), ahead
	} else if ahead >= -ClockTolerance {
		c.base = now
	}
	r.registered, r.judged = at, at
	if behind := last.Sub(at); behind > 0 {
		r.registered = last
		switch {
		case behind <= ClockTolerance:
			r.judged = last
		case last.After(c.accepted):
			r.doubt = max(r.doubt, behind)
		}
	}
	return r
}

// accept believes the present reading, although it jumped or the log wrote down a later time.
func (c *clock) accept(last time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base, c.accepted = c.now(), last
}

// AcceptClock makes the log believe its clock again, after it jumped ahead or although groups are registered later than
// it says; those that follow are then registered at the same time until the clock has passed it. Whoever calls it has
// logged who decided so.
func (l *Log) AcceptClock() {
	if p := l.current.Load(); p != nil {
		l.clock.accept(p.head.At)
	}
}
