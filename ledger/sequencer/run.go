package sequencer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mission-authority/mas/ledger"
)

// Run is the writer. It commits what waits until ctx ends, then what still waits, and returns: nil, or an error that
// names the latch that is closed. It is called once.
func (l *Log) Run(ctx context.Context) error {
	if !l.queue.start() {
		return errors.New("sequencer: Run was called before")
	}
	var taken []*pending
	defer func() {
		// Empty unless something below panicked: then nobody knows what was written of the group.
		for _, p := range taken {
			p.answer(outcome{err: fmt.Errorf("sequencer: the writer died: %w: %w", ledger.ErrUnavailable,
				ledger.ErrOutcomeUnknown)})
		}
		for _, p := range l.queue.close() {
			p.answer(outcome{err: fmt.Errorf("sequencer: the writer stopped: %w", ledger.ErrUnavailable)})
		}
	}()
	for {
		if taken = l.queue.take(ctx, l.limits); taken == nil {
			break
		}
		l.commitGroup(context.WithoutCancel(ctx), taken)
	}
	return l.takesWrites()
}

// answer gives p its outcome; only the first counts.
func (p *pending) answer(o outcome) {
	select {
	case p.done <- o:
	default:
	}
}

// commitGroup makes one group of the given Changes durable, publishes it and answers them.
func (l *Log) commitGroup(ctx context.Context, taken []*pending) {
	if err := l.takesWrites(); err != nil {
		for _, p := range taken {
			p.answer(outcome{err: err})
		}
		return
	}
	base := l.current.Load()
	if base == nil {
		for _, p := range taken {
			p.answer(outcome{err: fmt.Errorf("sequencer: the log is closed: %w", ledger.ErrUnavailable)})
		}
		return
	}
	g := l.newGroup(base, taken)
	outcomes := make([]outcome, len(taken))
	for i, p := range taken {
		outcomes[i].places, outcomes[i].err = g.add(p)
	}
	head, err := l.commit(ctx, g)
	for i, p := range taken {
		switch {
		case outcomes[i].err != nil: // refused before anything was written, whatever became of the group
		case err != nil:
			outcomes[i] = outcome{err: err}
		default:
			outcomes[i].head = head
		}
		p.answer(outcomes[i])
	}
}

// commit makes g durable and publishes it. An error wraps ErrUnavailable, and ErrOutcomeUnknown unless nothing was
// written.
func (l *Log) commit(ctx context.Context, g *group) (ledger.Head, error) {
	if g.empty() {
		return g.base.head, nil
	}
	next, tiles, err := l.extend(g)
	if err != nil {
		return ledger.Head{}, fmt.Errorf("sequencer: group %d: %w: %w", l.last.Seq+1, ledger.ErrUnavailable, err)
	}
	batch := &ledger.Batch{
		Head: next.head, First: g.base.head.Size, Entries: g.entries, Rows: g.rows, Bodies: g.bodies,
		Checkpoint: next.checkpoint, Tiles: tiles,
	}
	began := time.Now()
	if err := l.store.Apply(ctx, batch, l.last); err != nil {
		l.failed(err)
		return ledger.Head{}, fmt.Errorf("sequencer: group %d: %w: %w", next.head.Seq, ledger.ErrUnavailable, err)
	}
	if l.applied != nil {
		l.applied(time.Since(began))
	}
	l.written()
	l.last = next.head
	if next.snapshot, err = l.store.Snapshot(); err != nil {
		l.closeWrite(CodePublishFailed)
		return ledger.Head{}, fmt.Errorf("sequencer: group %d is durable but cannot be read: %w: %w: %w", next.head.Seq,
			ledger.ErrUnavailable, ledger.ErrOutcomeUnknown, err)
	}
	l.remember(g, next.head.Seq)
	l.tiles.add(tiles)
	l.publish(next)
	if g.freezes {
		l.closeWrite(CodeLogFrozen)
	}
	return next.head, nil
}

// extend computes the state after g, without its snapshot, and the tiles that g completes. The edge of the base is left
// alone: a group that fails leaves no trace.
func (l *Log) extend(g *group) (*published, []ledger.FullTile, error) {
	head := ledger.Head{Seq: l.last.Seq + 1, Size: g.size(), Root: g.base.head.Root, Epoch: l.last.Epoch, At: g.at}
	next := newPublished(head, g.base.checkpoint, g.base.edge, nil)
	if len(g.entries) == 0 {
		return next, nil, nil
	}
	next.edge = g.base.edge.Clone()
	var tiles []ledger.FullTile
	for i := range g.entries {
		tiles = append(tiles, next.edge.Append(g.entries[i].Leaf)...)
	}
	next.head.Root = next.edge.Root()
	var err error
	next.checkpoint, err = ledger.SignCheckpoint(
		ledger.Checkpoint{Origin: l.origin, Size: head.Size, Root: next.head.Root}, l.signers...)
	return next, tiles, err
}

// failed draws the consequences of an Apply that failed.
func (l *Log) failed(err error) {
	switch {
	case errors.Is(err, ledger.ErrOutcomeUnknown):
		l.closeWrite(CodeSyncFailed)
	case errors.Is(err, ledger.ErrIntegrity):
		l.closeIntegrity(CodeStoreDamaged)
	default:
		l.refused(err)
	}
}

// remember keeps what g wrote in mind. It comes before g is published: who sees g finds it remembered.
func (l *Log) remember(g *group, seq uint64) {
	for i := range g.rows {
		l.rows.wrote(g.rows[i].Key, g.states[i], seq)
	}
	for dedup, at := range g.byDedup {
		l.dedups.wrote(dedup, at, seq)
	}
	for digest := range g.sealed {
		l.bodies.wrote(digest, struct{}{}, seq)
	}
}
