package badgerstore

import (
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/journal"
)

// errBase: what a replay builds on cannot be read from Badger.
var errBase = errors.New("badgerstore: the view below the replayed frames is damaged")

// inFlight is how many replayed transactions may wait for Badger.
const inFlight = 32

// Frames yields the batches of the journal from frame number from on, oldest first, verified. It works with a closed
// integrity latch too and then ends with the damage.
func (s *Store) Frames(from uint64) iter.Seq2[*ledger.Batch, error] {
	return func(yield func(*ledger.Batch, error) bool) {
		j := s.journal
		if j == nil {
			var err error
			j, err = journal.Open(s.path("journal"), journal.Options{
				Identity: s.opt.identity("journal"), SegmentSize: s.opt.SegmentSize, ReadOnly: true, FS: s.opt.FS,
				Applied: s.Head().Seq,
			})
			if err != nil {
				yield(nil, fmt.Errorf("badgerstore: %w: %w", ledger.ErrIntegrity, err))
				return
			}
			defer j.Close()
		}
		for b, err := range batches(j, from) {
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// batches decodes the frames of j.
func batches(j *journal.Journal, from uint64) iter.Seq2[*ledger.Batch, error] {
	return func(yield func(*ledger.Batch, error) bool) {
		for f, err := range j.Read(from) {
			if err != nil {
				if errors.Is(err, journal.ErrCorrupt) || errors.Is(err, journal.ErrRollback) {
					err = fmt.Errorf("badgerstore: %w: %w", ledger.ErrIntegrity, err)
				}
				yield(nil, err)
				return
			}
			b, err := ledger.UnmarshalBatch(f.Payload)
			if err == nil && b.Head.Seq != f.Seq {
				err = fmt.Errorf("badgerstore: frame %d holds batch %d: %w", f.Seq, b.Head.Seq, ledger.ErrIntegrity)
			}
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// frame reads one batch of the journal.
func (s *Store) frame(seq uint64) (*ledger.Batch, error) {
	for b, err := range batches(s.journal, seq) {
		return b, err
	}
	return nil, fmt.Errorf("badgerstore: no frame %d: %w", seq, ledger.ErrIntegrity)
}

// replay applies the frames from number from to last, the last one, to Badger. Each must extend the tree to the root it
// says. Runs of the indexes are written at version last, so that what an earlier attempt wrote does not hide them.
func (s *Store) replay(from, last uint64) error {
	edge, err := s.base(from)
	if err != nil {
		return err
	}
	if err := s.loadIndex(from, edge.Size()); err != nil {
		return fmt.Errorf("%w: %w", errBase, err)
	}
	w := replayWriter{db: s.db}
	head := s.head
	for b, err := range batches(s.journal, from) {
		if err != nil {
			return errors.Join(err, w.wait())
		}
		if err := extend(edge, b); err != nil {
			return errors.Join(err, w.wait())
		}
		if err := s.space.makeRoom(); err != nil {
			return errors.Join(fmt.Errorf("badgerstore: no space to replay: %w: %w", ledger.ErrUnavailable, err), w.wait())
		}
		l := newLayer(b)
		if err := w.write(l); err != nil {
			return errors.Join(err, w.wait())
		}
		s.index.add(l.first, l.indexes)
		if err := s.seal(last); err != nil {
			return errors.Join(err, w.wait())
		}
		s.space.written()
		head = b.Head
		s.recovery.Replayed++
	}
	if err := w.wait(); err != nil {
		return err
	}
	s.head = head
	return s.forgetRuns(last)
}

// base loads the edge of the tree below frame from, out of Badger.
func (s *Store) base(from uint64) (*ledger.Edge, error) {
	if from == 1 {
		return ledger.NewEdge(), nil
	}
	before, err := s.frame(from - 1)
	if err != nil {
		return nil, err
	}
	seq := s.db.MaxVersion()
	edge, err := ledger.LoadEdge(before.Head.Size,
		func(level int, index uint64) ([]byte, error) { return s.get(ledger.TileKey(level, index), seq) },
		func(index uint64) (ledger.Hash, error) {
			raw, err := s.entry(index, seq)
			return ledger.HashLeaf(raw), err
		})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBase, err)
	}
	if edge.Root() != before.Head.Root {
		return nil, fmt.Errorf("%w: another root at size %d", errBase, before.Head.Size)
	}
	return edge, nil
}

// extend adds the entries of b to the tree and gives b its tiles.
func extend(edge *ledger.Edge, b *ledger.Batch) error {
	if b.First != edge.Size() {
		return fmt.Errorf("badgerstore: batch %d starts at entry %d, the tree has %d: %w",
			b.Head.Seq, b.First, edge.Size(), ledger.ErrIntegrity)
	}
	for i := range b.Entries {
		b.Tiles = append(b.Tiles, edge.Append(b.Entries[i].Leaf)...)
	}
	if edge.Root() != b.Head.Root {
		return fmt.Errorf("badgerstore: batch %d does not lead to its root: %w", b.Head.Seq, ledger.ErrIntegrity)
	}
	return nil
}

// A replayWriter commits layers to Badger, some at a time, in order.
type replayWriter struct {
	db      *badger.DB
	pending sync.WaitGroup
	slots   chan struct{}
	mu      sync.Mutex
	failed  error
}

func (w *replayWriter) write(l *layer) error {
	txn, err := l.transaction(w.db)
	if err != nil {
		return err
	}
	if w.slots == nil {
		w.slots = make(chan struct{}, inFlight)
	}
	w.slots <- struct{}{}
	w.pending.Add(1)
	err = txn.CommitAt(l.seq, func(err error) {
		if err != nil {
			w.mu.Lock()
			w.failed = errors.Join(w.failed, fmt.Errorf("badgerstore: batch %d: %w", l.seq, err))
			w.mu.Unlock()
		}
		<-w.slots
		w.pending.Done()
	})
	if err != nil { // then nobody calls back
		<-w.slots
		w.pending.Done()
	}
	return err
}

func (w *replayWriter) wait() error {
	w.pending.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}
