package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/mission-authority/mas/ledger"
)

// Snapshot opens a view of everything applied.
func (s *Store) Snapshot() (ledger.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, errClosed()
	}
	s.open[s.head.Seq]++
	return &snapshot{store: s, seq: s.head.Seq}, nil
}

func errClosed() error { return fmt.Errorf("badgerstore: closed: %w", ledger.ErrUnavailable) }

// snapshot shows the frames up to seq. It is safe for concurrent use.
type snapshot struct {
	store *Store
	seq   uint64
	once  sync.Once
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

// Get returns the value of key. It tells a value that is damaged, with ErrIntegrity, from one that is absent; of a
// damaged table block, whose keys look absent, see the package comment.
func (v *snapshot) Get(key []byte) ([]byte, error) {
	if err := v.store.begin(); err != nil {
		return nil, err
	}
	defer v.store.end()
	value, err := v.store.get(key, v.seq)
	if errors.Is(err, ledger.ErrIntegrity) {
		v.store.damaged(err)
	}
	return value, err
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
		it, err := s.iterate(v.seq, prefix, start)
		if err != nil {
			s.damaged(err)
			yield(ledger.KV{}, err)
			return
		}
		defer it.close()
		for {
			kv, ok, err := it.next()
			if err != nil {
				s.damaged(err)
			}
			if err == nil && !ok || !yield(kv, err) || err != nil {
				return
			}
			if s.isClosing() {
				yield(ledger.KV{}, errClosed())
				return
			}
		}
	}
}

// begin and end bracket a read, so that Close does not take the memory maps from under it.
func (s *Store) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return errClosed()
	}
	s.readers++
	return nil
}

func (s *Store) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readers--; s.readers == 0 {
		s.idle.Broadcast()
	}
}

func (s *Store) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// damaged closes the integrity latch and has the view rebuilt at the next start.
func (s *Store) damaged(err error) {
	if s.damage.Load() != nil {
		return
	}
	s.latch(CodeStoreDamaged, err)
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
func (s *Store) get(key []byte, seq uint64) (value []byte, err error) {
	err = s.read(func() error {
		txn := s.db.NewTransactionAt(seq, false)
		defer txn.Discard()
		item, err := txn.Get(key)
		if err != nil {
			return readError(err)
		}
		value, err = itemValue(item)
		return err
	})
	if err != nil {
		return nil, err
	}
	return value, nil
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

// An iterator steps through one prefix.
type iterator struct {
	store  *Store
	txn    *badger.Txn
	it     *badger.Iterator
	prefix []byte
	begun  bool
}

func (s *Store) iterate(seq uint64, prefix, start []byte) (*iterator, error) {
	it := &iterator{store: s, prefix: bytes.Clone(prefix)}
	if bytes.Compare(start, prefix) < 0 {
		start = prefix
	}
	err := s.read(func() error {
		it.txn = s.db.NewTransactionAt(seq, false)
		// Values are not prefetched: Badger does that in goroutines, where a panic could not be caught.
		it.it = it.txn.NewIterator(badger.IteratorOptions{Prefix: it.prefix})
		it.it.Seek(start)
		return nil
	})
	return it, err
}

func (it *iterator) next() (kv ledger.KV, ok bool, err error) {
	err = it.store.read(func() error {
		if it.begun {
			it.it.Next()
		}
		it.begun = true
		if ok = it.it.ValidForPrefix(it.prefix); !ok {
			return nil
		}
		item := it.it.Item()
		value, err := itemValue(item)
		kv = ledger.KV{Key: item.KeyCopy(nil), Value: value}
		return err
	})
	return kv, ok, err
}

func (it *iterator) close() {
	_ = it.store.read(func() error {
		it.it.Close()
		it.txn.Discard()
		return nil
	})
}
