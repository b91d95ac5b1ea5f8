package authority

import (
	"context"
	"sync"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// maxStep is how far the wall clock may move against the monotonic clock before it is doubted.
const maxStep = 5 * time.Minute

// A clock is the authority's view of time and of whether to believe it. While it is in doubt no positive time-bound
// assertion is made; stopping, and signing heads, go on.
type clock struct {
	now     func() time.Time
	elapsed func(from, to time.Time) time.Duration // monotonic if both readings are; tests step it
	started time.Time

	mu       sync.Mutex
	base     time.Time // a believed reading, with its monotonic part when now gives one
	accepted time.Time // last recorded time that an operator overruled
}

func newClock(now func() time.Time) *clock {
	at := now()
	return &clock{now: now, elapsed: func(from, to time.Time) time.Duration { return to.Sub(from) }, started: at, base: at}
}

// read returns the time and whether it is in doubt: it stepped more than maxStep against the monotonic clock since it
// was last believed, or it is before recorded, the last time the log wrote down. In doubt the time returned is the
// earliest it may be, so that no deadline is served too soon.
func (c *clock) read(recorded time.Time) (at time.Time, doubt bool) {
	at = c.now()
	c.mu.Lock()
	base, accepted := c.base, c.accepted
	c.mu.Unlock()
	steady := base.Round(0).Add(c.elapsed(base, at))
	at = at.Round(0)
	step := at.Sub(steady)
	behind := at.Before(recorded.Add(-time.Millisecond)) && recorded.After(accepted)
	doubt = step > maxStep || step < -maxStep || behind
	if doubt && steady.Before(at) {
		at = steady
	}
	return at.UTC(), doubt
}

// accept believes the present reading, although the log wrote down a later time.
func (c *clock) accept(recorded time.Time) {
	at := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base, c.accepted = at, recorded
}

// ClockInDoubt reports whether positive time-bound assertions are refused because the clock is not believed.
func (a *Authority) ClockInDoubt() bool {
	v, err := a.log.View()
	if err != nil {
		return false
	}
	defer v.Close()
	_, doubt := a.clock.read(v.Head().At)
	return doubt
}

// contentClockAccepted is the type of the evidence that an operator believed the clock.
const contentClockAccepted = "application/mas-clock-accepted+json"

// clockEvidence says who believed which time, and what was in doubt about it.
type clockEvidence struct {
	Actor      string `json:"actor"`
	AcceptedAt string `json:"accepted_at"` // by the clock in doubt
	Steady     string `json:"steady"`      // what the monotonic clock says since the last believed reading
	Recorded   string `json:"recorded"`    // last time the log wrote down
	Salt       string `json:"salt"`
}

// AcceptClock ends the doubt about the clock on an operator's word. The word is an entry of the log before it counts.
func (a *Authority) AcceptClock(ctx context.Context, c Caller) (err error) {
	defer a.note(ctx, c, "accept_clock", "", &err)
	if c, err = a.Principals().known(c); err != nil {
		return err
	}
	if !c.Has(RoleOperator) {
		return errForbidden
	}
	done, err := a.commit(ctx, func(r *reading) (*ledger.Change, error) {
		now := a.clock.now()
		e, err := a.entry(ctx, a.subject("log", ""), contentClockAccepted, now, clockEvidence{
			Actor:      c.ID,
			AcceptedAt: mission.FormatTime(now),
			Steady:     mission.FormatTime(r.at),
			Recorded:   mission.FormatTime(r.Head().At),
			Salt:       mission.NewSalt(),
		})
		return &ledger.Change{Entries: []ledger.Entry{e}}, err
	})
	if err != nil {
		return err
	}
	a.clock.accept(done.At)
	if l, ok := a.log.(interface{ AcceptClock() }); ok {
		l.AcceptClock()
	}
	return nil
}
