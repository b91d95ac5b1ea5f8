package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/mission-authority/mas/ledger"
)

// Snapshot opens a view of everything applied.
func (s *Store) Snapshot() (ledger.Snapshot, error) {
	if s.closing.Load() {
		return nil, errClosed()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[s.head.Seq]++
	v := &snapshot{store: s, seq: s.head.Seq, size: s.head.Size}
	if s.behind.applied.Load() < v.seq {
		v.layers = s.behind.pending() // all of them: none above the head is added without mu
	}
	return v, nil
}

func errClosed() error { return fmt.Errorf("badgerstore: closed: %w", ledger.ErrUnavailable) }

// snapshot shows the frames up to seq. It is safe for concurrent use.
type snapshot struct {
	store  *Store
	seq    uint64
	size   uint64   // of the tree
	layers []*layer // what Badger lacked when the snapshot was opened, and maybe newer ones
	once   sync.Once
}

func (v *snapshot) Close() {
	v.once.Do(func() {
		s := v.store
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.open[v.seq]--; s.open[v.seq] == 0 {
			delete(s.open, v.seq)
		}
	})
}

// above returns the layers of the view that Badger may not hold yet.
func (v *snapshot) above() []*layer {
	if len(v.layers) == 0 || v.store.behind.applied.Load() >= v.seq {
		return nil
	}
	n := len(v.layers)
	for n > 0 && v.layers[n-1].seq > v.seq {
		n--
	}
	return v.layers[:n]
}

// Get returns the value of key. It tells a value that is damaged, with ErrIntegrity, from one that is absent; of a
// damaged table block, whose keys look absent, see the package comment.
func (v *snapshot) Get(key []byte) ([]byte, error) {
	if err := v.store.begin(); err != nil {
		return nil, err
	}
	defer v.store.end()
	for _, l := range slices.Backward(v.above()) {
		if i, ok := l.find(key); ok {
			return l.kvs[i].Value, nil
		}
	}
	value, err := v.stored(key)
	if errors.Is(err, ledger.ErrIntegrity) {
		v.store.damaged(err)
	}
	return value, err
}

// stored reads what Badger holds, or what is kept in its stead.
func (v *snapshot) stored(key []byte) ([]byte, error) {
	if len(key) == 9 && key[0] == ledger.PrefixEntry {
		return v.store.entry(binary.BigEndian.Uint64(key[1:]), v.seq)
	}
	if kind, ok := kindOf(key); ok {
		index, err := v.store.lookup(kind, shortHash(key[1:]), v.size)
		if err != nil {
			return nil, err
		}
		return ledger.MarshalIndex(index), nil
	}
	return v.store.get(key, v.seq)
}

// Iterate yields keys with the prefix in order, from start on.
func (v *snapshot) Iterate(prefix, start []byte) iter.Seq2[ledger.KV, error] {
	return func(yield func(ledger.KV, error) bool) {
		s := v.store
		if err := s.begin(); err != nil {
			yield(ledger.KV{}, err)
			return
		}
		defer s.end()
		over := overlaid(v.above(), prefix, start)
		stored, done, err := v.within(prefix, start)
		if err != nil {
			s.damaged(err)
			yield(ledger.KV{}, err)
			return
		}
		defer done()
		for kv, err := range merged(over, stored) {
			if err != nil {
				s.damaged(err)
			}
			if !yield(kv, err) || err != nil {
				return
			}
			if s.closing.Load() {
				yield(ledger.KV{}, errClosed())
				return
			}
		}
	}
}

// within is stored for the keys of a prefix. The caller calls done when it has read enough.
func (v *snapshot) within(prefix, start []byte) (stored iter.Seq2[ledger.KV, error], done func(), err error) {
	for kind := range indexKinds {
		if len(prefix) > 0 && prefix[0] == indexKinds[kind].prefix {
			return v.store.indexKeys(kind, prefix, start, v.size), func() {}, nil
		}
	}
	it, err := v.store.iterate(v.seq, prefix, start)
	return it.all(), it.close, err
}

// overlaid returns what layers hold of a prefix from start on, the newest value of each key, in key order.
func overlaid(layers []*layer, prefix, start []byte) []ledger.KV {
	var over []ledger.KV
	for _, l := range slices.Backward(layers) {
		over = append(over, l.within(prefix, start)...)
	}
	compare := func(a, b ledger.KV) int { return bytes.Compare(a.Key, b.Key) }
	slices.SortStableFunc(over, compare) // of equal keys the newest comes first
	return slices.CompactFunc(over, func(a, b ledger.KV) bool { return bytes.Equal(a.Key, b.Key) })
}

// merged yields both in key order; of equal keys that of over.
func merged(over []ledger.KV, stored iter.Seq2[ledger.KV, error]) iter.Seq2[ledger.KV, error] {
	return func(yield func(ledger.KV, error) bool) {
		for kv, err := range stored {
			if err != nil {
				yield(ledger.KV{}, err)
				return
			}
			for len(over) > 0 && bytes.Compare(over[0].Key, kv.Key) < 0 {
				if !yield(over[0], nil) {
					return
				}
				over = over[1:]
			}
			if len(over) > 0 && bytes.Equal(over[0].Key, kv.Key) {
				kv, over = over[0], over[1:]
			}
			if !yield(kv, nil) {
				return
			}
		}
		for _, kv := range over {
			if !yield(kv, nil) {
				return
			}
		}
	}
}

// begin and end bracket a read, so that Close does not take the memory maps from under it.
func (s *Store) begin() error {
	s.readers.Add(1)
	if s.closing.Load() {
		s.readers.Add(-1)
		return errClosed()
	}
	return nil
}

func (s *Store) end() { s.readers.Add(-1) }

// damaged closes the integrity latch and has the view rebuilt at the next start.
func (s *Store) damaged(err error) {
	if s.damage.Load() != nil {
		return
	}
	s.latch(CodeStoreDamaged, err)
	s.orderRebuild()
}

// orderRebuild has the view rebuilt at the next start.
func (s *Store) orderRebuild() {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	if s.state == nil || s.state.rebuild {
		return
	}
	next := s.state.state
	next.rebuild = true
	if err := s.state.write(next); err != nil {
		s.log.Error("ordering a rebuild failed", "error", err)
	}
}

// read runs fn, which reads from Badger, and turns a panic in it into ErrIntegrity.
func (s *Store) read(fn func() error) error {
	panicked := true
	err := guard("reading", func() error {
		err := fn()
		panicked = false
		return err
	})
	if panicked {
		s.panicked.Store(true)
		return fmt.Errorf("badgerstore: %w: %w", ledger.ErrIntegrity, err)
	}
	return err
}

// get reads the newest version of key at or below seq.
func (s *Store) get(key []byte, seq uint64) ([]byte, error) {
	value, _, err := s.getVersion(key, seq)
	return value, err
}

func (s *Store) getVersion(key []byte, seq uint64) (value []byte, version uint64, err error) {
	err = s.read(func() error {
		txn := s.db.NewTransactionAt(seq, false)
		defer txn.Discard()
		item, err := txn.Get(key)
		if err != nil {
			return readError(err)
		}
		value, err = itemValue(item)
		version = item.Version()
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return value, version, nil
}

func readError(err error) error {
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return ledger.ErrNotFound
	case errors.Is(err, badger.ErrDBClosed):
		return errClosed()
	}
	return fmt.Errorf("badgerstore: %w: %w", ledger.ErrIntegrity, err)
}

// itemValue copies a value out. Badger answers with an empty one when it cannot read what its pointer points at.
func itemValue(item *badger.Item) ([]byte, error) {
	value, err := item.ValueCopy(nil)
	if err != nil {
		return nil, fmt.Errorf("badgerstore: value: %w: %w", ledger.ErrIntegrity, err)
	}
	if len(value) == 0 && item.ValueSize() != 0 {
		return nil, fmt.Errorf("badgerstore: a value cannot be read: %w", ledger.ErrIntegrity)
	}
	return value, nil
}

// entry reads the entry at index out of the value that holds it.
func (s *Store) entry(index, seq uint64) (raw []byte, err error) {
	it, err := s.iterate(seq, []byte{ledger.PrefixEntry}, ledger.EntryKey(index))
	if err != nil {
		return nil, err
	}
	defer it.close()
	err = s.read(func() error {
		if !it.it.ValidForPrefix(it.within) {
			return ledger.ErrNotFound
		}
		item := it.it.Item()
		return item.Value(func(value []byte) error {
			if len(value) == 0 { // what Badger says of a value that it cannot read
				return fmt.Errorf("badgerstore: the value of entry %d cannot be read: %w", index, ledger.ErrIntegrity)
			}
			raw, err = oneOf(ledger.KV{Key: item.Key(), Value: value}, index)
			return err
		})
	})
	if err != nil && !errors.Is(err, ledger.ErrNotFound) && !errors.Is(err, ledger.ErrIntegrity) {
		err = readError(err)
	}
	return raw, err
}

// An iterator steps through one prefix as Badger holds it.
type iterator struct {
	store  *Store
	txn    *badger.Txn
	it     *badger.Iterator
	prefix []byte // of the keys that are asked for
	within []byte // of the keys that may hold them
	start  []byte
	begun  bool
}

// iterate steps through a prefix from start on. A prefix of entries is stepped through from the value on that holds the
// one at start, see packed.
func (s *Store) iterate(seq uint64, prefix, start []byte) (*iterator, error) {
	if bytes.Compare(start, prefix) < 0 {
		start = prefix
	}
	it := &iterator{store: s, prefix: bytes.Clone(prefix), start: bytes.Clone(start), within: bytes.Clone(prefix)}
	if len(prefix) > 1 && prefix[0] == ledger.PrefixEntry {
		it.within = it.within[:1]
	}
	err := s.read(func() error {
		it.txn = s.db.NewTransactionAt(seq, false)
		// Values are not prefetched: Badger does that in goroutines, where a panic could not be caught.
		it.it = it.txn.NewIterator(badger.IteratorOptions{Prefix: it.within})
		it.it.Seek(start)
		return nil
	})
	return it, err
}

// next returns the next key of Badger.
func (it *iterator) next() (kv ledger.KV, ok bool, err error) {
	err = it.store.read(func() error {
		if it.begun {
			it.it.Next()
		}
		it.begun = true
		if ok = it.it.ValidForPrefix(it.within); !ok {
			return nil
		}
		item := it.it.Item()
		value, err := itemValue(item)
		kv = ledger.KV{Key: item.KeyCopy(nil), Value: value}
		return err
	})
	return kv, ok, err
}

// all yields the keys of the view: Badger's own, and entries one by one.
func (it *iterator) all() iter.Seq2[ledger.KV, error] {
	return func(yield func(ledger.KV, error) bool) {
		for {
			kv, ok, err := it.next()
			switch {
			case err != nil:
				yield(ledger.KV{}, err)
				return
			case !ok:
				return
			case kv.Key[0] != ledger.PrefixEntry:
				if !yield(kv, nil) {
					return
				}
				continue
			}
			if more := it.unpack(kv, yield); !more {
				return
			}
		}
	}
}

// unpack yields the entries in a value that lie in the range.
func (it *iterator) unpack(kv ledger.KV, yield func(ledger.KV, error) bool) bool {
	p, err := parsePacked(kv)
	if err != nil {
		yield(ledger.KV{}, err)
		return false
	}
	for i, raw := range p.entries {
		key := ledger.EntryKey(p.first + uint64(i))
		switch {
		case bytes.Compare(key, it.start) < 0:
		case !bytes.HasPrefix(key, it.prefix):
			return false
		case !yield(ledger.KV{Key: key, Value: raw}, nil):
			return false
		}
	}
	return true
}

func (it *iterator) close() {
	_ = it.store.read(func() error {
		it.it.Close()
		it.txn.Discard()
		return nil
	})
}
