package badgerstore

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/journal"
)

const (
	numMemtables = 2
	// maxAttempts openings of Badger in a row that did not come back, and it is rebuilt: it may be killing the process.
	maxAttempts = 3
	// valueThreshold is the size from which on a value is kept outside the tables: entries are, most rows are not.
	valueThreshold = 256
)

// badgerOptions: unsynced, because the journal is the commit point; no conflict detection, because there is one
// writer; larger values outside the tables, so that compaction does not rewrite them. No compression: keys are mostly
// hashes, and without it block checksums can be verified from outside, blocks need no cache, and memory stays small.
func (s *Store) badgerOptions() badger.Options {
	return badger.DefaultOptions(s.path(badgerDir)).
		WithSyncWrites(false).
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		WithMemTableSize(s.opt.MemTableSize).
		WithNumMemtables(numMemtables).
		WithValueThreshold(valueThreshold).
		WithValueLogFileSize(s.opt.ValueLogSize).
		WithVerifyValueChecksum(true).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithNumCompactors(2).
		WithMetricsEnabled(false).
		WithBypassLockGuard(true). // LOCK is ours
		WithLogger(logger{s.log})
}

// recover opens journal and Badger and makes Badger show what the journal says.
func (s *Store) recover() error {
	if err := s.space.makeRoom(); err != nil {
		return fmt.Errorf("badgerstore: no space to open: %w: %w", ledger.ErrUnavailable, err)
	}
	found, err := inspect(s.path(badgerDir), s.opt.MemTableSize)
	if err != nil {
		return err
	}
	was := s.state.state
	s.recovery.Unclean = !was.clean && was.turn > 0
	s.journal, err = journal.Open(s.path("journal"), journal.Options{
		Identity:    s.opt.identity("journal"),
		SegmentSize: s.opt.SegmentSize,
		Applied:     max(found.applied, was.mark, s.opt.Known.Seq),
		Aside:       s.path("aside"),
		FS:          s.opt.FS,
	})
	switch {
	case errors.Is(err, journal.ErrRollback):
		return s.openLatched(found, CodeJournalRollback, err)
	case errors.Is(err, journal.ErrCorrupt):
		return s.openLatched(found, CodeJournalCorrupt, err)
	case err != nil:
		return fmt.Errorf("badgerstore: %w", err)
	}
	s.recovery.Journal = s.journal.Recovery()
	if r := s.recovery.Journal; r.Aside != "" {
		s.recovery.Aside = s.path("aside")
		s.log.Warn("the end of the journal was repaired", slog.Uint64("torn_frame", r.Torn),
			slog.Int("scratched_sectors", r.Scratched))
	}
	if err := s.checkKnown(); err != nil {
		return s.openLatched(found, CodeJournalFork, err)
	}
	return s.openWith(found, was)
}

// checkKnown holds the journal against the frame that somebody else has.
func (s *Store) checkKnown() error {
	k := s.opt.Known
	if k.Seq == 0 {
		return nil
	}
	for f, err := range s.journal.Read(k.Seq) {
		if err != nil {
			return fmt.Errorf("badgerstore: %w: %w", ledger.ErrIntegrity, err)
		}
		if f.Hash == k.Hash {
			return nil
		}
		break
	}
	return errors.Join(fmt.Errorf("badgerstore: frame %d is not the one that a copy has: %w", k.Seq, ledger.ErrIntegrity),
		s.dropJournal())
}

// dropJournal closes the journal without an epoch.
func (s *Store) dropJournal() error {
	err := s.journal.Close()
	s.journal = nil
	return err
}

// openLatched opens Badger as it is, for reading only: the journal cannot be continued.
func (s *Store) openLatched(found *inspection, code string, cause error) error {
	if found.damage != "" || found.empty {
		return fmt.Errorf("badgerstore: Badger cannot be read either (%s): %w: %w", found.damage, ledger.ErrIntegrity, cause)
	}
	if err := s.setAside(); err != nil {
		return err
	}
	if err := cutLogs(found.trims); err != nil {
		return err
	}
	err := s.openBadger()
	if err == nil {
		s.head, err = s.readHead()
	}
	if err == nil {
		err = s.loadIndex(math.MaxUint64, s.head.Size)
	}
	if err != nil {
		return fmt.Errorf("badgerstore: %w: %w: %w", ledger.ErrIntegrity, cause, err)
	}
	if err := s.newEpoch(); err != nil {
		return err
	}
	s.latch(code, cause)
	return nil
}

// openWith opens Badger and replays, or rebuilds, what it lacks.
func (s *Store) openWith(found *inspection, was state) error {
	last, _ := s.journal.Last()
	reason := found.damage
	switch {
	case reason != "":
	case was.older:
		reason = "it is of an older format"
	case was.rebuild:
		reason = "damage was found while it was open"
	case was.attempts >= maxAttempts:
		reason = fmt.Sprintf("%d openings in a row did not come back", was.attempts)
	}
	if reason != "" {
		return s.rebuild(reason)
	}
	from := found.replayFrom(was, s.opt.boot())
	if found.suspect || found.vlogCut {
		s.log.Warn("a log of the view is damaged or cut short; replaying from the journal", slog.Uint64("from", from))
	}
	if err := s.announce(from, from <= last); err != nil {
		return err
	}
	if s.recovery.Unclean || len(found.trims) > 0 {
		if err := s.setAside(); err != nil {
			return err
		}
	}
	if err := cutLogs(found.trims); err != nil {
		return err
	}
	if err := s.openBadger(); err != nil {
		return s.rebuild(err.Error())
	}
	err := s.catchUp(from)
	if errors.Is(err, errBase) {
		if err := s.db.Close(); err != nil {
			return fmt.Errorf("badgerstore: close: %w", err)
		}
		s.db = nil
		return s.rebuild(err.Error())
	}
	return err
}

// replayFrom returns the first frame to apply again: the least of
//   - the one after the last that Badger holds whole,
//   - the one an unfinished recovery started from,
//   - if the system was restarted, the one after the last whose files were synced: later ones may have lost values
//     although their keys are there,
//   - if a log does not read clean to its end, whatever Badger will lose when it cuts it there.
func (in *inspection) replayFrom(was state, boot [16]byte) uint64 {
	from := in.applied + 1
	if was.replay != 0 {
		from = min(from, was.replay)
	}
	if was.boot != boot {
		from = min(from, was.mark+1)
	}
	if in.suspect {
		from = min(from, in.flushed+1, max(was.since, 1))
	}
	if in.vlogCut {
		lost := in.cut
		if lost == 0 {
			lost = max(was.since, 1)
		}
		from = min(from, lost)
	}
	return from
}

// announce records, before Badger is touched, that it is being opened and, if frames are to be applied again, from
// where: a crash in between must not make the next start believe what this one did not.
func (s *Store) announce(from uint64, replay bool) error {
	next := s.state.state
	next.attempts++
	next.clean, next.since = false, from
	if replay {
		next.replay = from
	}
	return s.state.write(next)
}

// rebuild moves Badger's directory aside and fills a new one from the journal.
func (s *Store) rebuild(reason string) error {
	s.log.Warn("rebuilding the view from the journal", slog.String("reason", reason))
	s.recovery.Rebuilt = reason
	next := s.state.state
	next.rebuild, next.attempts, next.mark = false, 0, 0
	next.clean, next.since, next.replay = false, 1, 1
	if err := s.state.write(next); err != nil {
		return err
	}
	if err := s.replaceBadger(); err != nil {
		return err
	}
	if err := s.openBadger(); err != nil {
		return fmt.Errorf("badgerstore: opening a new Badger: %w", err)
	}
	return s.catchUp(1)
}

// openBadger opens Badger. It must have been inspected.
func (s *Store) openBadger() error {
	if err := os.MkdirAll(s.path(badgerDir), 0o700); err != nil {
		return fmt.Errorf("badgerstore: %w", err)
	}
	// Only the garbage collection of value logs, which never runs here, reads it, and no checksum protects it.
	if err := os.Remove(s.path(badgerDir, "DISCARD")); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("badgerstore: %w", err)
	}
	err := guard("badger", func() (err error) {
		s.db, err = badger.OpenManaged(s.badgerOptions())
		return err
	})
	if err != nil {
		s.db = nil
		return err
	}
	if err := s.space.opened(); err != nil && !journal.IsNoSpace(err) {
		return fmt.Errorf("badgerstore: %w", err)
	}
	if s.state.attempts == 0 {
		return nil
	}
	next := s.state.state
	next.attempts = 0
	return s.state.write(next)
}

// readHead returns the head that Badger holds.
func (s *Store) readHead() (ledger.Head, error) {
	seq := s.db.MaxVersion()
	if seq == 0 {
		return ledger.Head{Root: ledger.EmptyRoot}, nil
	}
	value, err := s.get(ledger.HeadKey(), seq)
	if err != nil {
		return ledger.Head{}, fmt.Errorf("badgerstore: head at frame %d: %w", seq, err)
	}
	head, _, err := ledger.ParseHead(value)
	if err != nil {
		return ledger.Head{}, err
	}
	if head.Seq != seq {
		return ledger.Head{}, fmt.Errorf("badgerstore: head is of frame %d, Badger at %d: %w",
			head.Seq, seq, ledger.ErrIntegrity)
	}
	return head, nil
}

// catchUp holds Badger against the journal, applies the frames from number from on, makes them durable if that repaired
// something, and starts the epoch.
func (s *Store) catchUp(from uint64) error {
	last, _ := s.journal.Last()
	var err error
	s.head, err = s.readHead()
	switch {
	case err == nil:
		if code, err := s.checkHistory(); err != nil {
			s.latch(code, err)
			return s.leaveJournal()
		}
	case from > last: // nothing will be written over what cannot be read
		return fmt.Errorf("%w: %w", errBase, err)
	}
	if from <= last {
		err := s.replay(from, last)
		if errors.Is(err, journal.ErrCorrupt) && s.recovery.Rebuilt == "" {
			s.latch(CodeJournalCorrupt, err)
			return s.leaveJournal()
		}
		if err != nil {
			return err
		}
	} else if err := s.loadIndex(from, s.head.Size); err != nil {
		return fmt.Errorf("%w: %w", errBase, err)
	}
	if err := s.newEpoch(); err != nil {
		return err
	}
	if s.state.replay == 0 && s.state.boot == s.opt.boot() {
		return nil
	}
	return s.flush()
}

// leaveJournal goes on without the journal, behind a closed latch.
func (s *Store) leaveJournal() error {
	return errors.Join(s.dropJournal(), s.loadIndex(math.MaxUint64, s.head.Size), s.newEpoch())
}

// checkHistory holds Badger's head against the frame of the same number.
func (s *Store) checkHistory() (code string, err error) {
	if s.head.Seq == 0 {
		return "", nil
	}
	b, err := s.frame(s.head.Seq)
	switch {
	case err != nil:
		return CodeJournalCorrupt, err
	case !sameHead(b.Head, s.head):
		return CodeJournalFork, fmt.Errorf("badgerstore: frame %d and Badger disagree: %w", s.head.Seq, ledger.ErrIntegrity)
	}
	return "", nil
}

// newEpoch starts the epoch of this opening, durably, before anyone sees it.
func (s *Store) newEpoch() error {
	next := s.state.state
	next.epoch = max(next.epoch, s.head.Epoch) + 1
	next.clean = false
	if err := s.state.write(next); err != nil {
		return err
	}
	s.head.Epoch = next.epoch
	s.db.SetDiscardTs(s.head.Seq)
	return nil
}

func sameHead(a, b ledger.Head) bool {
	return a.Seq == b.Seq && a.Size == b.Size && a.Root == b.Root && a.Epoch == b.Epoch && a.At.Equal(b.At)
}
