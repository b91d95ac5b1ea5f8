package sequencer

import (
	"fmt"
	"sync/atomic"

	"github.com/mission-authority/mas/ledger"
)

// published is the state of the log after one group. It never changes; views share it and the last one to go closes the
// snapshot.
type published struct {
	head       ledger.Head
	checkpoint []byte
	edge       *ledger.Edge // nil if the stored edge does not hash to the root
	snapshot   ledger.Snapshot
	users      atomic.Int64 // views, and one for being the current state
}

func newPublished(h ledger.Head, checkpoint []byte, edge *ledger.Edge, s ledger.Snapshot) *published {
	p := &published{head: h, checkpoint: checkpoint, edge: edge, snapshot: s}
	p.users.Store(1)
	return p
}

// acquire reports false if the last user has gone already.
func (p *published) acquire() bool {
	for {
		n := p.users.Load()
		if n == 0 {
			return false
		}
		if p.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (p *published) release() {
	if p.users.Add(-1) == 0 {
		p.snapshot.Close()
	}
}

// publish makes p what new views see.
func (l *Log) publish(p *published) {
	if old := l.current.Swap(p); old != nil {
		old.release()
	}
}

// View opens a view of the last published group. It fails with ErrUnavailable after Close.
func (l *Log) View() (ledger.View, error) { return l.view() }

func (l *Log) view() (*view, error) {
	for {
		p := l.current.Load()
		if p == nil {
			return nil, fmt.Errorf("sequencer: the log is closed: %w", ledger.ErrUnavailable)
		}
		if p.acquire() {
			return &view{log: l, published: p}, nil
		}
	}
}

// reader reads p without being counted as a user: for the writer, while p is current.
func (p *published) reader(l *Log) *view { return &view{log: l, published: p} }
