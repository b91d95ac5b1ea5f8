package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/journal"
)

// CodeScrubMismatch: a scrub found that the view, or a key of a body, is not what the journal implies.
const CodeScrubMismatch = "scrub_mismatch"

// DefaultScrubRate is how many octets a scrub reads each second.
const DefaultScrubRate = 1 << 20

// scrubDelay is how long Run waits before its first pass: a start has better things to do.
const scrubDelay = time.Minute

// A Scrubber reads everything at rest again and again while the store is in use, slowly: every frame of the journal;
// for each, the entries, tiles, index keys, feed keys and bodies that the view must hold, byte for byte, and that each
// body opens or is erased; the last version of nothing but rows is left to the readers, who hold them against their
// hash rows; and every block of every table. What it finds closes the integrity latch.
type Scrubber struct {
	store *Store
	rate  int64
	every time.Duration

	started  time.Time
	finished atomic.Int64  // end of the last whole pass, Unix nanoseconds; 0: none
	cursor   atomic.Uint64 // frame that the pass has reached
	passes   atomic.Uint64
	findings atomic.Uint64
	debt     int64 // octets read and not yet waited for
}

// NewScrubber returns a Scrubber that reads at most rate octets a second and starts a pass every so often; 0 and 0 mean
// the default rate and a day.
func (s *Store) NewScrubber(rate int64, every time.Duration) *Scrubber {
	if rate <= 0 {
		rate = DefaultScrubRate
	}
	if every <= 0 {
		every = 24 * time.Hour
	}
	return &Scrubber{store: s, rate: rate, every: every, started: s.opt.Now()}
}

// Age is the time since a pass last found everything as it has to be, or since the start.
func (w *Scrubber) Age() time.Duration {
	since := w.started
	if n := w.finished.Load(); n != 0 {
		since = time.Unix(0, n)
	}
	return max(0, w.store.opt.Now().Sub(since))
}

// Cursor is the frame that the running pass has reached, Passes and Findings count.
func (w *Scrubber) Cursor() uint64   { return w.cursor.Load() }
func (w *Scrubber) Passes() uint64   { return w.passes.Load() }
func (w *Scrubber) Findings() uint64 { return w.findings.Load() }

// Run makes passes until ctx ends. After a finding it makes no more: the latch is closed, and a start rebuilds the
// view.
func (w *Scrubber) Run(ctx context.Context) error {
	if !sleep(ctx, min(w.every, scrubDelay)) {
		return nil
	}
	for {
		err := w.Pass(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ledger.ErrIntegrity) || errors.Is(err, journal.ErrCorrupt):
			w.store.log.Error("scrub found damage", "error", err)
			<-ctx.Done()
			return nil
		case err != nil:
			w.store.log.Warn("scrub failed; trying again", "error", err)
		}
		if !sleep(ctx, w.every) {
			return nil
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Pass reads everything once. An error that wraps ErrIntegrity says what is damaged; the latch is closed then.
func (w *Scrubber) Pass(ctx context.Context) error {
	w.cursor.Store(0)
	err := w.frames(ctx)
	if err == nil {
		err = w.tables(ctx)
	}
	if err != nil {
		return err
	}
	w.passes.Add(1)
	w.finished.Store(w.store.opt.Now().UnixNano())
	return nil
}

// found closes the latch and returns err.
func (w *Scrubber) found(code string, err error) error {
	w.findings.Add(1)
	s := w.store
	if code == CodeStoreDamaged {
		s.damaged(err)
		return err
	}
	s.latch(code, err)
	if code == CodeScrubMismatch {
		s.orderRebuild()
	}
	return err
}

// paid waits until n more octets may have been read.
func (w *Scrubber) paid(ctx context.Context, n int64) error {
	if w.debt += n; w.debt < w.rate/20 {
		return ctx.Err()
	}
	d := time.Duration(float64(w.debt) / float64(w.rate) * float64(time.Second))
	w.debt = 0
	if !sleep(ctx, d) {
		return ctx.Err()
	}
	return nil
}

// frames follows the journal from its beginning.
func (w *Scrubber) frames(ctx context.Context) error {
	s := w.store
	if s.journal == nil {
		return fmt.Errorf("badgerstore: scrub: %w: there is no journal to read", ledger.ErrUnavailable)
	}
	head := s.Head()
	edge := ledger.NewEdge()
	for b, err := range batches(s.journal, 1) {
		if err == nil && b.Head.Seq > head.Seq {
			break // not there when the pass began
		}
		if err == nil {
			err = extend(edge, b)
		}
		if err != nil {
			if errors.Is(err, ledger.ErrIntegrity) {
				return w.found(CodeJournalCorrupt, fmt.Errorf("badgerstore: scrub: %w", err))
			}
			return fmt.Errorf("badgerstore: scrub: %w", err)
		}
		n, err := w.batch(b)
		if err != nil {
			return err
		}
		w.cursor.Store(b.Head.Seq)
		if err := w.paid(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// batch holds the view against one frame.
func (w *Scrubber) batch(b *ledger.Batch) (octets int64, err error) {
	s := w.store
	snap, err := s.Snapshot()
	if err != nil {
		return 0, err
	}
	defer snap.Close()
	for _, kv := range b.KVs() {
		octets += int64(len(kv.Key) + 2*len(kv.Value))
		switch kv.Key[0] {
		case ledger.PrefixRow, ledger.PrefixRowHash, ledger.PrefixMeta: // later frames write them again
			continue
		}
		got, err := snap.Get(kv.Key)
		switch {
		case errors.Is(err, ledger.ErrUnavailable):
			return octets, err // closing
		case err != nil || !bytes.Equal(got, kv.Value):
			return octets, w.found(CodeScrubMismatch, fmt.Errorf(
				"badgerstore: scrub: frame %d, key of kind %q: the view has something else (%v): %w", b.Head.Seq, kv.Key[0], err,
				ledger.ErrIntegrity))
		}
	}
	for _, body := range b.Bodies {
		_, err := s.vault.Open(body.Digest, body.Sealed)
		if err != nil && errors.Is(err, ledger.ErrIntegrity) {
			return octets, w.found(CodeScrubMismatch, fmt.Errorf("badgerstore: scrub: frame %d: %w", b.Head.Seq, err))
		}
		octets += int64(len(body.Sealed))
	}
	return octets, nil
}

// tables verifies the blocks of the view's tables.
func (w *Scrubber) tables(ctx context.Context) error {
	s := w.store
	var tables []badger.TableInfo
	if err := s.begin(); err != nil {
		return err
	}
	err := s.read(func() error { tables = s.db.Tables(); return nil })
	s.end()
	if err != nil {
		return err
	}
	for _, t := range tables {
		if err := s.begin(); err != nil {
			return err
		}
		_, err := verifyTable(table.NewFilename(t.ID, s.path(badgerDir)))
		s.end()
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // compaction may have replaced it
			return w.found(CodeStoreDamaged, fmt.Errorf("badgerstore: scrub: table %s: %w: %w", filepath.Base(
				table.NewFilename(t.ID, "")), ledger.ErrIntegrity, err))
		}
		if err := w.paid(ctx, int64(t.OnDiskSize)); err != nil {
			return err
		}
	}
	return nil
}
