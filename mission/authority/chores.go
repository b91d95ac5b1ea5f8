package authority

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// choresAtOnce bounds how many chores of one peer run at a time, so that a slow peer keeps nobody else waiting.
const choresAtOnce = 16

// chores is work that comes again: what an Authority does about its peers without being asked. It is memory only; after
// a restart the chores are made again from the rows.
type chores struct {
	mu      sync.Mutex
	keys    map[string]bool
	queue   choreQueue          // those that wait for their time
	running map[string]int      // per peer
	waiting map[string][]*chore // per peer: due, but too many of that peer are running
	wake    chan struct{}
}

// A chore runs when its time has come, one run at a time.
type chore struct {
	key  string
	peer string // issuer
	next time.Time
	run  func(context.Context) (pause time.Duration, again bool)
}

// choreQueue is a heap by time.
type choreQueue []*chore

func (q choreQueue) Len() int           { return len(q) }
func (q choreQueue) Less(i, j int) bool { return q[i].next.Before(q[j].next) }
func (q choreQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *choreQueue) Push(x any)        { *q = append(*q, x.(*chore)) }
func (q *choreQueue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return x
}

func newChores() *chores {
	return &chores{keys: map[string]bool{}, running: map[string]int{}, waiting: map[string][]*chore{},
		wake: make(chan struct{}, 1)}
}

// add adds a chore that is first due at an instant. One with this key that is there already stays.
func (c *chores) add(key, peer string, due time.Time, run func(context.Context) (time.Duration, bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys[key] {
		return
	}
	c.keys[key] = true
	heap.Push(&c.queue, &chore{key: key, peer: peer, next: due, run: run})
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
		for _, x := range due {
			wg.Go(func() {
				pause, again := x.run(ctx)
				c.finish(x, now().Add(pause), again)
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

// due takes what is to run now and says how long until something else will be due.
func (c *chores) due(now time.Time) (due []*chore, pause time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) > 0 && !now.Before(c.queue[0].next) {
		x := heap.Pop(&c.queue).(*chore)
		c.waiting[x.peer] = append(c.waiting[x.peer], x)
	}
	for peer, list := range c.waiting {
		n := min(len(list), choresAtOnce-c.running[peer])
		due = append(due, list[:n]...)
		c.running[peer] += n
		if c.waiting[peer] = list[n:]; len(c.waiting[peer]) == 0 {
			delete(c.waiting, peer)
		}
	}
	if len(c.queue) == 0 {
		return due, idlePass
	}
	return due, min(idlePass, c.queue[0].next.Sub(now))
}

func (c *chores) finish(x *chore, next time.Time, again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running[x.peer]--; c.running[x.peer] == 0 {
		delete(c.running, x.peer)
	}
	if again {
		x.next = next
		heap.Push(&c.queue, x)
	} else {
		delete(c.keys, x.key)
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
