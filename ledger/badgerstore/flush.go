package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
)

// Badger's own Sync covers the logs it is writing, not those it has just left. Flush syncs the files themselves.

// Flush waits until Badger holds every frame, makes its files durable and records the frame they cover, from which a
// start after a loss of power replays.
func (s *Store) Flush() error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	if s.db == nil || s.journal == nil {
		return errClosed()
	}
	if err := s.behind.settle(); err != nil {
		return fmt.Errorf("badgerstore: flush: %w", err)
	}
	return s.flush()
}

// flushIfDue flushes when a segment's worth of frames was applied since the last time, or some time has passed.
func (s *Store) flushIfDue() error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	due := s.grown >= s.opt.SegmentSize || s.grown > 0 && s.opt.Now().Sub(s.flushed) >= s.opt.FlushInterval
	if !due || s.db == nil || s.journal == nil || s.noFlush {
		return nil
	}
	return s.flush()
}

// flush is Flush; the caller holds applyMu or nobody else has the store.
func (s *Store) flush() error {
	if s.noFlush {
		return errors.New("badgerstore: an earlier sync failed; what it lost cannot be synced any more")
	}
	seq := s.behind.applied.Load()
	if err := stepFlush.Do(func() error { return syncLogs(s.path(badgerDir)) }); err != nil {
		s.noFlush = true
		return fmt.Errorf("badgerstore: flush: %w", err)
	}
	next := s.state.state
	next.mark, next.replay, next.boot = seq, 0, s.opt.boot()
	if err := s.state.write(next); err != nil {
		return err
	}
	s.grown, s.flushed = 0, s.opt.Now()
	return nil
}

// syncLogs syncs the logs in dir and dir itself. Tables are synced by Badger before it removes the log they come from.
func syncLogs(dir string) error {
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range names {
		if ext := filepath.Ext(e.Name()); ext != ".mem" && ext != ".vlog" {
			continue
		}
		if err := syncFile(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return syncFile(dir)
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Scrub verifies everything at rest while the store is in use: every frame of the journal, and every block of every
// table of Badger. Damage to a table closes the integrity latch and has the view rebuilt at the next start.
func (s *Store) Scrub(ctx context.Context) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	if s.journal != nil {
		if err := s.journal.Verify(ctx, 1); err != nil {
			return fmt.Errorf("badgerstore: scrub: %w", err)
		}
	}
	var tables []badger.TableInfo
	if err := s.read(func() error { tables = s.db.Tables(); return nil }); err != nil {
		return err
	}
	for _, t := range tables {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := verifyTable(table.NewFilename(t.ID, s.path(badgerDir)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // compaction may have replaced it
			err = fmt.Errorf("badgerstore: scrub: table %d: %w", t.ID, err)
			s.damaged(err)
			return err
		}
	}
	return nil
}
