package sequencer

import (
	"errors"
	"fmt"

	"github.com/mission-authority/mas/ledger"
	"golang.org/x/mod/sumdb/note"
)

// recheckedEntries is how far back Open walks the commit rows.
const recheckedEntries = 1 << 16

// recover reads the stored head, holds the tree against it and publishes it. Damage closes the integrity latch; an
// error is for what is not damage.
func (l *Log) recover() error {
	snapshot, err := l.store.Snapshot()
	if err != nil {
		return err
	}
	l.publish(newPublished(ledger.Head{Root: ledger.EmptyRoot, Epoch: l.last.Epoch}, nil, ledger.NewEdge(), snapshot))
	v := l.current.Load().reader(l)
	if l.last.Seq == 0 {
		return v.recheckEmpty()
	}
	next := newPublished(l.last, nil, nil, nil)
	if next.checkpoint, err = v.storedCheckpoint(l.last); err != nil {
		return latchedOr(l, err)
	}
	// The head is good: from here on it is served, whatever verifies below it.
	if next.snapshot, err = l.store.Snapshot(); err != nil {
		return err
	}
	next.edge, err = v.loadEdge(l.last)
	l.publish(next)
	if err == nil {
		v = next.reader(l)
		err = v.loadTiles()
	}
	if err == nil {
		err = v.recheckCommitRows()
	}
	if err == nil {
		err = v.recheckFrozen()
	}
	if err != nil {
		return latchedOr(l, err)
	}
	if behind := l.last.At.Sub(l.now()); behind > 0 {
		l.log.Warn("clock is behind the last registration time", "behind", behind.String())
	}
	return nil
}

// latchedOr swallows an error that has closed the integrity latch.
func latchedOr(l *Log, err error) error {
	if errors.Is(err, ledger.ErrIntegrity) && l.latched() != nil {
		return nil
	}
	return err
}

// recheckEmpty makes sure that a store without a head has nothing else either: a head that was lost must not start a
// second history.
func (v *view) recheckEmpty() error {
	for _, prefix := range []byte{ledger.PrefixMeta, ledger.PrefixEntry, ledger.PrefixCommit, ledger.PrefixRow} {
		for _, err := range v.snapshot.Iterate([]byte{prefix}, nil) {
			if err == nil {
				err = v.log.damaged(CodeHeadMissing, "keys of kind %q without a head", prefix)
			}
			return latchedOr(v.log, err)
		}
	}
	return nil
}

// storedCheckpoint returns the checkpoint of head h after verifying it. The head in the queryable store must be h but
// for the epoch, which is fresh.
func (v *view) storedCheckpoint(h ledger.Head) ([]byte, error) {
	l := v.log
	value, ok, err := v.get(ledger.HeadKey())
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, l.damaged(CodeHeadMissing, "the queryable store has no head, the commit point is at %d", h.Seq)
	}
	stored, checkpoint, err := ledger.ParseHead(value)
	if err != nil {
		return nil, l.damaged(CodeHeadMismatch, "%v", err)
	}
	if stored.Seq != h.Seq || stored.Size != h.Size || stored.Root != h.Root || !stored.At.Equal(h.At) {
		return nil, l.damaged(CodeHeadMismatch, "the queryable store is at %d, the commit point at %d", stored.Seq, h.Seq)
	}
	c, err := ledger.OpenCheckpoint(checkpoint, l.origin, l.verifiers...)
	if unverified := (*note.UnverifiedNoteError)(nil); errors.As(err, &unverified) {
		return nil, fmt.Errorf("the checkpoint is not signed by this log's key: %w", err)
	}
	if err != nil {
		return nil, l.damaged(CodeCheckpoint, "%v", err)
	}
	if c.Size != h.Size || c.Root != h.Root {
		return nil, l.damaged(CodeCheckpoint, "the checkpoint is for size %d, the head for %d", c.Size, h.Size)
	}
	return checkpoint, nil
}

// loadEdge rebuilds the right edge and holds it against the root of h.
func (v *view) loadEdge(h ledger.Head) (*ledger.Edge, error) {
	edge, err := ledger.LoadEdge(h.Size,
		func(level int, index uint64) ([]byte, error) { return v.snapshot.Get(ledger.TileKey(level, index)) },
		func(index uint64) (ledger.Hash, error) {
			raw, err := v.snapshot.Get(ledger.EntryKey(index))
			if err != nil {
				return ledger.Hash{}, err
			}
			return ledger.HashLeaf(raw), nil
		})
	if errors.Is(err, ledger.ErrNotFound) || errors.Is(err, ledger.ErrIntegrity) {
		return nil, v.log.damaged(CodeRootMismatch, "loading the edge of size %d: %v", h.Size, err)
	}
	if err != nil {
		return nil, err
	}
	if root := edge.Root(); root != h.Root {
		return nil, v.log.damaged(CodeRootMismatch, "size %d hashes to %s, the signed root is %s", h.Size, root, h.Root)
	}
	return edge, nil
}

// loadTiles reads all full tiles of level 1 and above, from the top down, so that each is held against one that has
// been verified.
func (v *view) loadTiles() error {
	for level := len(v.log.tiles.upper) - 1; level >= 1; level-- {
		for index := range fullTiles(v.head.Size, level) {
			if _, err := v.hashes(level, index); err != nil {
				return err
			}
		}
	}
	return nil
}

// recheckCommitRows walks the commit rows of the newest entries: they must follow each other without a gap up to the
// head. A table that was lost by the engine takes some of them with it.
func (v *view) recheckCommitRows() error {
	if v.head.Size == 0 {
		return nil
	}
	last, err := v.commitRow(v.head.Size - min(v.head.Size, recheckedEntries))
	if err != nil {
		return err
	}
	for kv, err := range v.snapshot.Iterate([]byte{ledger.PrefixCommit}, ledger.CommitKey(last.First+1)) {
		if err != nil {
			return v.storeError(err)
		}
		row, err := parseCommit(kv)
		if err != nil {
			return v.log.damaged(CodeCommitMismatch, "%v", err)
		}
		if row.First != last.First+last.Count || row.Seq <= last.Seq || row.At.Before(last.At) {
			return v.log.damaged(CodeCommitMismatch, "the group at entry %d does not follow that at %d", row.First, last.First)
		}
		last = row
	}
	if last.First+last.Count != v.head.Size || last.Seq > v.head.Seq || last.At.After(v.head.At) {
		return v.log.damaged(CodeCommitMismatch, "the last group begins at entry %d, the size is %d", last.First, v.head.Size)
	}
	return nil
}
