package ledgertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/mission-authority/mas/ledger"
)

// Memory is an engine in memory, and what survives a restart of it: Open gives a Store over what was applied so far, as
// reopening a directory does. Opening again fences the stores that were opened before.
//
// It is MVCC like the real engines: a Snapshot is one pointer and never changes.
type Memory struct {
	mu      sync.Mutex
	applied state
	synced  state // what PowerFail leaves; equal to applied unless syncing is off
	unsync  bool
	epoch   uint64
	limits  ledger.Limits
}

// state is one consistent state of the engine.
type state struct {
	head   ledger.Head
	rows   *tree
	frames *frameList
}

// frameList is the commit point: encoded batches, newest first.
type frameList struct {
	data   []byte
	before *frameList
}

// NewMemory returns an empty engine with the limits of the embedded one.
func NewMemory() *Memory {
	return &Memory{limits: ledger.Limits{Bytes: 4 << 20, Entries: 4096}}
}

// NewStore returns an empty in-memory Store.
func NewStore() ledger.Store { return NewMemory().Open() }

// Limit sets the limits that stores of m report and enforce.
func (m *Memory) Limit(l ledger.Limits) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limits = l
}

// Open returns a Store over the current state. Its epoch is one above that of the last opening.
func (m *Memory) Open() ledger.Store {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	head := m.applied.head
	head.Epoch = m.epoch
	return &memoryStore{memory: m, head: head}
}

// Fork returns an engine with the same content that goes its own way.
func (m *Memory) Fork() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{applied: m.applied, synced: m.synced, unsync: m.unsync, epoch: m.epoch, limits: m.limits}
}

// SetSync turns durability off and on again. While it is off, Apply answers although PowerFail would lose the batch:
// the bug that an engine must not have, for tests of the harness that looks for it.
func (m *Memory) SetSync(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unsync = !on
	if on {
		m.synced = m.applied
	}
}

// PowerFail drops what was not synced and fences every open Store.
func (m *Memory) PowerFail() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied = m.synced
	m.epoch++
}

// Frames yields the batches of the commit point, oldest first.
func (m *Memory) Frames() iter.Seq2[*ledger.Batch, error] {
	m.mu.Lock()
	last := m.applied.frames
	m.mu.Unlock()
	var frames [][]byte
	for f := last; f != nil; f = f.before {
		frames = append(frames, f.data)
	}
	return func(yield func(*ledger.Batch, error) bool) {
		for _, f := range slices.Backward(frames) {
			b, err := ledger.UnmarshalBatch(bytes.Clone(f))
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// Corrupt overwrites the value of a raw key behind the back of every store, or removes the key if value is nil. Open
// snapshots keep what they saw.
func (m *Memory) Corrupt(key, value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied.rows = m.applied.rows.edit()
	if value == nil {
		m.applied.rows.remove(string(key))
	} else {
		m.applied.rows.put(string(key), bytes.Clone(value))
	}
	m.synced = m.applied
}

// Raw returns the value of a raw key, nil if there is none.
func (m *Memory) Raw(key []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, _ := m.applied.rows.get(string(key))
	return v
}

// SetHead overwrites the head that the next Open reports, as a commit point with another history would.
func (m *Memory) SetHead(h ledger.Head) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.applied.head = h
	m.synced = m.applied
}

var errClosed = errors.New("ledgertest: store is closed")

// memoryStore is one opening of a Memory.
type memoryStore struct {
	memory *Memory
	head   ledger.Head // guarded by memory.mu, like everything below
	closed bool
}

func (s *memoryStore) Head() ledger.Head {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	return s.head
}

func (s *memoryStore) Limits() ledger.Limits {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	return s.memory.limits
}

func (s *memoryStore) Close() error {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	s.closed = true
	return nil
}

func (s *memoryStore) Snapshot() (ledger.Snapshot, error) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	return snapshot{s.memory.applied.rows}, nil
}

func (s *memoryStore) Apply(ctx context.Context, b *ledger.Batch, expect ledger.Head) error {
	frame, err := b.Marshal()
	if err != nil {
		return err
	}
	m := s.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := s.check(ctx, b, expect); err != nil {
		return err
	}
	rows := m.applied.rows.edit()
	for _, kv := range b.KVs() {
		rows.put(string(kv.Key), bytes.Clone(kv.Value))
	}
	m.applied = state{head: b.Head, rows: rows, frames: &frameList{data: frame, before: m.applied.frames}}
	if !m.unsync {
		m.synced = m.applied
	}
	s.head = b.Head
	return nil
}

// check refuses what an engine must refuse before it writes anything.
func (s *memoryStore) check(ctx context.Context, b *ledger.Batch, expect ledger.Head) error {
	switch m := s.memory; {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.closed:
		return errClosed
	case s.head.Epoch != m.epoch:
		return fmt.Errorf("ledgertest: store opened again since epoch %d", s.head.Epoch)
	case expect.Seq != s.head.Seq || expect.Size != s.head.Size || expect.Root != s.head.Root || expect.Epoch != s.head.Epoch:
		return fmt.Errorf("ledgertest: head is %d, expected %d", s.head.Seq, expect.Seq)
	case b.Head.Seq != expect.Seq+1 || b.First != expect.Size || b.Head.Epoch != expect.Epoch:
		return fmt.Errorf("ledgertest: batch %d does not follow head %d", b.Head.Seq, expect.Seq)
	case b.Cost() > m.limits.Bytes || len(b.Entries) > m.limits.Entries:
		return fmt.Errorf("ledgertest: batch of %d: %w", b.Cost(), ledger.ErrTooLarge)
	}
	return nil
}

// snapshot is a state as readers see it.
type snapshot struct{ rows *tree }

func (s snapshot) Get(key []byte) ([]byte, error) {
	v, ok := s.rows.get(string(key))
	if !ok {
		return nil, ledger.ErrNotFound
	}
	return v, nil
}

func (s snapshot) Iterate(prefix, start []byte) iter.Seq2[ledger.KV, error] {
	from := string(max(string(prefix), string(start)))
	return func(yield func(ledger.KV, error) bool) {
		s.rows.walk(from, func(key string, value []byte) bool {
			return len(key) >= len(prefix) && key[:len(prefix)] == string(prefix) &&
				yield(ledger.KV{Key: []byte(key), Value: value}, nil)
		})
	}
}

func (s snapshot) Close() {}
