package authority

import (
	"context"
	"sync"
	"time"
)

// choresAtOnce bounds how many chores of one peer run at a time, so that a slow peer keeps nobody else waiting.
const choresAtOnce = 16

// chores is work that comes again: what an Authority does about its peers without being asked. It is memory only;
// after a restart the chores are made again from the rows.
type chores struct {
	mu      sync.Mutex
	all     map[string]*chore
	running map[string]int // per peer
	wake    chan struct{}
}

// A chore runs when its time has come, one run at a time.
type chore struct {
	peer string // issuer
	next time.Time
	busy bool
	run  func(context.Context) (pause time.Duration, again bool)
}

func newChores() *chores {
	return &chores{all: map[string]*chore{}, running: map[string]int{}, wake: make(chan struct{}, 1)}
}

// add adds a chore that is first due at an instant. One with this key that is there already stays.
func (c *chores) add(key, peer string, due time.Time, run func(context.Context) (time.Duration, bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all[key] == nil {
		c.all[key] = &chore{peer: peer, next: due, run: run}
	}
	c.signal()
}

func (c *chores) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// work runs chores until ctx ends, and returns when the last one has.
func (c *chores) work(ctx context.Context, now func() time.Time) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		due, pause := c.due(now())
		for key, x := range due {
			wg.Go(func() {
				pause, again := x.run(ctx)
				c.finish(key, x, now().Add(pause), again)
			})
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-c.wake:
			t.Stop()
		case <-t.C:
		}
	}
}

// due takes what is due and says how long until something else will be.
func (c *chores) due(now time.Time) (map[string]*chore, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	due, pause := map[string]*chore{}, idlePass
	for key, x := range c.all {
		switch {
		case x.busy || c.running[x.peer] >= choresAtOnce: // finish wakes the worker
		case now.Before(x.next):
			pause = min(pause, x.next.Sub(now))
		default:
			x.busy = true
			c.running[x.peer]++
			due[key] = x
		}
	}
	return due, pause
}

func (c *chores) finish(key string, x *chore, next time.Time, again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running[x.peer]--
	x.busy, x.next = false, next
	if !again {
		delete(c.all, key)
	}
	c.signal()
}

// backoff is the pause after n failures in a row: doubling from least, at most most, with up to a quarter less so that
// peers are not asked in step. jitter is in [0,1).
func backoff(n int, least, most time.Duration, jitter float64) time.Duration {
	pause := least
	for ; n > 1 && pause < most; n-- {
		pause *= 2
	}
	pause = min(pause, most)
	return pause - time.Duration(float64(pause)/4*jitter)
}
