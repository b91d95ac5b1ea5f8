package sequencer

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/mission-authority/mas/ledger"
)

// Bounds of what may wait. Beyond them a Commit is refused at once: a queue that is this long is not getting shorter.
const (
	maxWaiting      = 4096     // changes
	maxWaitingBytes = 64 << 20 // of their cost
)

// queue holds the Changes that wait for the writer, oldest first.
type queue struct {
	mu      sync.Mutex
	waiting []*pending
	bytes   int
	closed  bool
	running bool
	arrived chan struct{} // holds one token while the writer has not yet looked at what arrived
}

func (q *queue) init() { q.arrived = make(chan struct{}, 1) }

// put adds p, or says why it cannot wait.
func (q *queue) put(p *pending) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return fmt.Errorf("sequencer: the log is shutting down: %w", ledger.ErrUnavailable)
	case len(q.waiting) >= maxWaiting || q.bytes+p.cost > maxWaitingBytes:
		return fmt.Errorf("sequencer: %d changes are waiting: %w", len(q.waiting), ledger.ErrUnavailable)
	}
	q.waiting = append(q.waiting, p)
	q.bytes += p.cost
	select {
	case q.arrived <- struct{}{}:
	default:
	}
	return nil
}

// withdraw takes p out of the queue and reports false if the writer has it already.
func (q *queue) withdraw(p *pending) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.taken {
		return false
	}
	p.withdrawn = true
	return true
}

// take waits until something waits and returns as much of it as fits into one group, in order. It returns nil when
// ctx has ended and nothing waits any more; from then on put refuses.
func (q *queue) take(ctx context.Context, limits ledger.Limits) []*pending {
	for {
		runtime.Gosched() // lets the callers that were just answered come back before the next group is cut
		if group := q.fill(limits, ctx.Err() != nil); len(group) > 0 {
			return group
		} else if ctx.Err() != nil {
			return nil
		}
		select {
		case <-q.arrived:
		case <-ctx.Done():
		}
	}
}

// fill cuts a group off the front of the queue. Withdrawn changes are dropped on the way.
func (q *queue) fill(limits ledger.Limits, closing bool) []*pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = q.closed || closing
	var group []*pending
	n, cost, entries := 0, 0, 0
	for ; n < len(q.waiting); n++ {
		p := q.waiting[n]
		if !p.withdrawn {
			cost += p.cost
			entries += len(p.entries)
			if cost > limits.Bytes || entries > limits.Entries {
				break // never the first one: prepare has refused what does not fit alone
			}
			p.taken = true
			group = append(group, p)
		}
		q.bytes -= p.cost
		q.waiting[n] = nil
	}
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	return group
}

// Waiting returns how many Changes wait for the writer.
func (l *Log) Waiting() int {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	return len(l.queue.waiting)
}

// start marks the writer as running; there is one.
func (q *queue) start() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := !q.running
	q.running = true
	return first
}

// close makes put refuse and returns what still waits.
func (q *queue) close() []*pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	left := q.waiting
	q.waiting, q.bytes, q.closed = nil, 0, true
	for _, p := range left {
		p.taken = true
	}
	return left
}
