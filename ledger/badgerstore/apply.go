package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/journal"
)

// Apply makes b durable as one frame of the journal and then visible. Badger gets it later, see behind; if Badger is
// too far behind, Apply waits. Errors besides ErrOutcomeUnknown say that nothing was written: ErrConflict if expect is
// not the head, ErrTooLarge, ErrUnavailable for want of space or after a failure, ErrIntegrity behind a closed latch,
// or the error of ctx, which is not looked at any more once something is written.
func (s *Store) Apply(ctx context.Context, b *ledger.Batch, expect ledger.Head) error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	if err := s.applicable(ctx, b, expect); err != nil {
		return err
	}
	if err := s.behind.wait(ctx); err != nil {
		return err
	}
	payload, err := b.AppendMarshal(s.payload[:0])
	if err != nil {
		return err
	}
	s.payload = payload
	l := newLayer(b)
	if int64(l.size) > s.db.MaxBatchSize() || int64(len(l.kvs)) > s.db.MaxBatchCount() {
		return fmt.Errorf("badgerstore: batch %d: %w", b.Head.Seq, ledger.ErrTooLarge)
	}
	if err := s.admit(len(payload)); err != nil {
		return err
	}
	if err := s.commit(payload); err != nil {
		return err
	}
	s.behind.add(l)
	s.mu.Lock()
	s.head = b.Head
	s.mu.Unlock()
	s.grown += int64(len(payload))
	return nil
}

// applicable checks everything about b that does not need the disk.
func (s *Store) applicable(ctx context.Context, b *ledger.Batch, expect ledger.Head) error {
	s.mu.Lock()
	head := s.head
	s.mu.Unlock()
	failed, damage := s.failed.Load(), s.damage.Load()
	switch {
	case s.closing.Load():
		return fmt.Errorf("badgerstore: closed: %w", ledger.ErrUnavailable)
	case ctx.Err() != nil:
		return ctx.Err()
	case damage != nil:
		return fmt.Errorf("badgerstore: %s: %w", damage.Code, ledger.ErrIntegrity)
	case failed != nil:
		return fmt.Errorf("badgerstore: %s: %w", failed.Code, ledger.ErrUnavailable)
	case !sameHead(head, expect):
		return fmt.Errorf("badgerstore: the head is frame %d of epoch %d, not %d of %d: %w",
			head.Seq, head.Epoch, expect.Seq, expect.Epoch, ledger.ErrConflict)
	case b.Head.Seq != head.Seq+1 || b.First != head.Size || b.Head.Epoch != head.Epoch:
		return fmt.Errorf("badgerstore: batch %d at entry %d of epoch %d does not follow: %w",
			b.Head.Seq, b.First, b.Head.Epoch, ledger.ErrConflict)
	case len(b.Entries) > maxBatchEntries || int64(b.Cost()) > s.opt.batchBytes():
		return fmt.Errorf("badgerstore: batch of %d entries and cost %d: %w", len(b.Entries), b.Cost(), ledger.ErrTooLarge)
	}
	return nil
}

// admit makes sure that there is space for a frame of n octets and what Badger makes of it.
func (s *Store) admit(n int) error {
	var segment int64
	if !s.journal.Room(n) && !s.journal.Prepared() {
		segment = s.opt.SegmentSize
	}
	return s.space.admit(segment)
}

// commit appends the frame.
func (s *Store) commit(payload []byte) error {
	_, err := s.journal.Append(payload)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, journal.ErrOutcomeUnknown):
		return s.fail("committing failed", fmt.Errorf("badgerstore: %w: %w", ledger.ErrOutcomeUnknown, err))
	case errors.Is(err, journal.ErrTooLarge):
		return fmt.Errorf("badgerstore: %w: %w", ledger.ErrTooLarge, err)
	case errors.Is(err, journal.ErrPoisoned):
		return s.fail("committing failed", fmt.Errorf("badgerstore: %w: %w", ledger.ErrUnavailable, err))
	}
	return fmt.Errorf("badgerstore: %w: %w", ledger.ErrUnavailable, err)
}

// fail closes the write latch: until the next Open nobody knows what journal and Badger hold above the head.
func (s *Store) fail(message string, err error) error {
	s.failed.Store(&ledger.Latch{Code: CodeCommitFailed, Since: s.opt.Now().UTC()})
	s.log.Error(message, slog.Any("error", err))
	return err
}

// setDiscard lets Badger drop versions that no snapshot can see. The caller holds mu.
func (s *Store) setDiscard() {
	oldest := s.behind.applied.Load()
	for seq := range s.open {
		oldest = min(oldest, seq)
	}
	s.db.SetDiscardTs(oldest)
}
