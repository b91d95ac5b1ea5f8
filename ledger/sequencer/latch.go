package sequencer

import (
	"cmp"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/mission-authority/mas/ledger"
)

// Reason codes of the latches. They are stable: operators and tests match on them.
const (
	// Integrity.
	CodeHeadMissing    = "head_missing"       // the store has data but no head
	CodeHeadMismatch   = "head_mismatch"      // the commit point and the queryable store disagree about the head
	CodeCheckpoint     = "checkpoint_invalid" // the stored checkpoint does not verify or names another tree
	CodeRootMismatch   = "root_mismatch"      // the stored right edge does not hash to the signed root
	CodeTileMismatch   = "tile_mismatch"      // a full tile is missing or does not hash to its node
	CodeEntryMismatch  = "entry_mismatch"     // an entry is missing or does not hash to its leaf
	CodeCommitMismatch = "commit_row_mismatch"
	CodeIndexMismatch  = "index_mismatch"    // an index leads to an entry that it does not belong to
	CodeRowMismatch    = "row_hash_mismatch" // a row and its hash row disagree, or one is missing
	CodeRowStale       = "row_stale"         // an older version of a row is back
	CodeBodyMismatch   = "body_mismatch"     // a sealed body does not authenticate
	CodeStoreDamaged   = "store_damaged"     // the engine itself reported damage

	// Write.
	CodeSyncFailed       = "sync_failed"       // the durable step ended with an unknown outcome
	CodePublishFailed    = "publish_failed"    // a durable group could not be read back
	CodeStoreUnavailable = "store_unavailable" // the store refuses groups, for want of space for example; see Health
)

// latch closes once and stays closed until restart.
type latch struct{ closed atomic.Pointer[ledger.Latch] }

func (l *latch) state() *ledger.Latch { return l.closed.Load() }

// health is what an engine with latches of its own reports beside ledger.Store. They count as the log's.
type health interface{ Health() ledger.Health }

// Health reports the latches of the log and of its store. The write latch with CodeStoreUnavailable says since when the
// store has refused every group without writing it; unlike all others it opens again, with the first group that is
// written.
func (l *Log) Health() ledger.Health {
	var h ledger.Health
	if l.health != nil {
		h = l.health.Health()
	}
	h.Integrity = cmp.Or(l.integrity.state(), h.Integrity)
	h.Write = cmp.Or(l.write.state(), h.Write, l.refusing.Load())
	return h
}

func (l *Log) close(which *latch, message, code string) {
	if which.closed.CompareAndSwap(nil, &ledger.Latch{Code: code, Since: l.now()}) {
		l.log.Error(message, slog.String("code", code))
	}
}

func (l *Log) closeIntegrity(code string) { l.close(&l.integrity, "integrity latch closed", code) }
func (l *Log) closeWrite(code string)     { l.close(&l.write, "write latch closed", code) }

// damaged closes the integrity latch and returns an error that wraps ErrIntegrity and says what was found.
func (l *Log) damaged(code, format string, args ...any) error {
	l.closeIntegrity(code)
	return fmt.Errorf("sequencer: %s: %s: %w", code, fmt.Sprintf(format, args...), ledger.ErrIntegrity)
}

// latched returns an error that wraps ErrIntegrity if the integrity latch is closed.
func (l *Log) latched() error {
	c := l.integrity.state()
	if c == nil && l.health != nil {
		c = l.health.Health().Integrity
	}
	if c != nil {
		return fmt.Errorf("sequencer: integrity latch is closed (%s): %w", c.Code, ledger.ErrIntegrity)
	}
	return nil
}

// takesWrites returns why the log takes no writes now, if it takes none.
func (l *Log) takesWrites() error {
	if err := l.latched(); err != nil {
		return err
	}
	c := l.write.state()
	if c == nil && l.health != nil {
		c = l.health.Health().Write
	}
	if c != nil && c.Code == CodeLogFrozen {
		return fmt.Errorf("sequencer: %w: %w", ErrFrozen, ledger.ErrUnavailable)
	}
	if c != nil {
		return fmt.Errorf("sequencer: write latch is closed (%s): %w", c.Code, ledger.ErrUnavailable)
	}
	return nil
}

// refused remembers since when the store refuses groups; written forgets it.
func (l *Log) refused(err error) {
	if l.refusing.CompareAndSwap(nil, &ledger.Latch{Code: CodeStoreUnavailable, Since: l.now()}) {
		l.log.Error("the store refuses groups", slog.Any("error", err))
	}
}

func (l *Log) written() {
	if l.refusing.Load() != nil {
		l.refusing.Store(nil)
		l.log.Info("the store takes groups again")
	}
}

// CloseIntegrity closes the integrity latch for a reason that was found outside of the store, such as a witness that
// has seen more of this log than there is.
func (l *Log) CloseIntegrity(code string) { l.closeIntegrity(code) }
