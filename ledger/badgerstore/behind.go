package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"

	"github.com/mission-authority/mas/ledger"
)

// Bounds of what the journal may hold and Badger not yet. Beyond them Apply waits.
const (
	maxBehind      = 256
	maxBehindBytes = 8 << 20
)

// A layer is what one frame leaves in the view. It never changes: snapshots share it.
type layer struct {
	seq     uint64
	kvs     []ledger.KV // in key order
	entries ledger.KV   // the entries of kvs as Badger holds them; no key if there are none
	first   uint64      // index of the first entry
	indexes []indexed   // of each entry
	size    int         // octets
}

// newLayer copies what b leaves in the view: b is the caller's again when Apply returns.
func newLayer(b *ledger.Batch) *layer {
	l := &layer{seq: b.Head.Seq, kvs: b.KVs(), first: b.First, indexes: make([]indexed, len(b.Entries))}
	var off int
	if len(b.Entries) > 0 {
		l.entries = packEntries(b)
		off = packedHead
	}
	for i := range b.Entries {
		l.indexes[i] = indexedOf(&b.Entries[i])
	}
	for i := range l.kvs {
		kv := &l.kvs[i]
		switch kv.Key[0] {
		case ledger.PrefixEntry:
			off += 2
			kv.Value = l.entries.Value[off : off+len(kv.Value) : off+len(kv.Value)]
			off += len(kv.Value)
		case ledger.PrefixBody, ledger.PrefixTile:
			kv.Value = bytes.Clone(kv.Value)
		}
		l.size += len(kv.Key) + len(kv.Value) + ledger.KeyOverhead
	}
	return l
}

// find returns the place of the first key that is not less than key.
func (l *layer) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(l.kvs, key, func(kv ledger.KV, key []byte) int { return bytes.Compare(kv.Key, key) })
}

// within returns the keys with the prefix from start on.
func (l *layer) within(prefix, start []byte) []ledger.KV {
	if bytes.Compare(start, prefix) < 0 {
		start = prefix
	}
	i, _ := l.find(start)
	n := i
	for n < len(l.kvs) && bytes.HasPrefix(l.kvs[n].Key, prefix) {
		n++
	}
	return l.kvs[i:n]
}

// transaction puts the layer into a transaction, which refuses it if it is too large.
func (l *layer) transaction(db *badger.DB) (*badger.Txn, error) {
	txn := db.NewTransactionAt(l.seq, true)
	put := func(kv ledger.KV) error {
		err := txn.SetEntry(badger.NewEntry(kv.Key, kv.Value))
		if errors.Is(err, badger.ErrTxnTooBig) {
			err = ledger.ErrTooLarge
		}
		if err != nil {
			txn.Discard()
			return fmt.Errorf("badgerstore: batch %d: %w", l.seq, err)
		}
		return nil
	}
	if l.entries.Key != nil {
		if err := put(l.entries); err != nil {
			return nil, err
		}
	}
	for i := range l.kvs {
		switch l.kvs[i].Key[0] {
		case ledger.PrefixEntry, ledger.PrefixDedup, ledger.PrefixLeaf: // see packed.go and hashindex.go
			continue
		}
		if err := put(l.kvs[i]); err != nil {
			return nil, err
		}
	}
	return txn, nil
}

// behind holds the frames that are durable in the journal and not yet in Badger. Readers find them here. They are
// written to Badger in order, each in a transaction of its own, while the next ones are committed.
type behind struct {
	mu      sync.Mutex
	changed *sync.Cond
	layers  []*layer // ascending; a slice once seen is never written to
	bytes   int
	stopped bool
	failed  error         // writing to Badger failed: nothing is written any more
	done    chan struct{} // closed when write has returned; nil before it runs
	applied atomic.Uint64 // frames up to here are in Badger
	hold    sync.Mutex    // held while writing: tests stop it here
}

func newBehind() *behind {
	b := &behind{}
	b.changed = sync.NewCond(&b.mu)
	return b
}

// wait returns when there is room for another layer, or ctx ends.
func (b *behind) wait(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.full() {
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.changed.Broadcast()
	})
	defer stop()
	for b.full() && b.failed == nil && ctx.Err() == nil {
		b.changed.Wait()
	}
	if b.failed != nil {
		return fmt.Errorf("badgerstore: %w: %w", ledger.ErrUnavailable, b.failed)
	}
	return ctx.Err()
}

func (b *behind) full() bool { return len(b.layers) >= maxBehind || b.bytes >= maxBehindBytes }

// add takes a layer that is durable in the journal.
func (b *behind) add(l *layer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.layers = append(b.layers[:len(b.layers):len(b.layers)], l)
	b.bytes += l.size
	b.changed.Broadcast()
}

// pending returns the layers that Badger lacks.
func (b *behind) pending() []*layer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.layers
}

// next waits for layers; nil when there are none left and stop was called.
func (b *behind) next() []*layer {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.layers) == 0 && !b.stopped {
		b.changed.Wait()
	}
	return b.layers
}

// wrote drops layers that are in Badger now.
func (b *behind) wrote(done []*layer) {
	b.applied.Store(done[len(done)-1].seq)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.layers = slices.Clone(b.layers[len(done):])
	for _, l := range done {
		b.bytes -= l.size
	}
	b.changed.Broadcast()
}

// fail ends writing. The layers stay where readers find them.
func (b *behind) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed = err
	b.changed.Broadcast()
}

// write writes layers to Badger until stop is called and nothing is left, or writing fails.
func (s *Store) write() {
	defer close(s.behind.done)
	for {
		layers := s.behind.next()
		if len(layers) == 0 {
			return
		}
		if err := stepApply.Do(func() error { return s.writeLayers(layers) }); err != nil {
			s.behind.fail(err)
			s.fail("applying a durable frame failed", fmt.Errorf("badgerstore: %w", err))
			return
		}
		s.behind.wrote(layers)
		s.mu.Lock()
		s.setDiscard()
		s.mu.Unlock()
		s.space.written()
	}
}

// writeLayers commits layers in order and waits until all are in Badger.
func (s *Store) writeLayers(layers []*layer) error {
	s.behind.hold.Lock()
	defer s.behind.hold.Unlock()
	w := replayWriter{db: s.db}
	for _, l := range layers {
		if err := w.write(l); err != nil {
			return errors.Join(err, w.wait())
		}
	}
	if err := w.wait(); err != nil {
		return err
	}
	for _, l := range layers {
		s.index.add(l.first, l.indexes)
	}
	return s.seal(layers[len(layers)-1].seq)
}

// drain waits until everything is in Badger and ends the writing.
func (b *behind) drain() {
	b.mu.Lock()
	b.stopped = true
	b.changed.Broadcast()
	done := b.done
	b.mu.Unlock()
	if done != nil {
		<-done
	}
}

// settle waits until Badger has caught up with the journal, or writing failed.
func (b *behind) settle() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.layers) > 0 && b.failed == nil {
		b.changed.Wait()
	}
	return b.failed
}
