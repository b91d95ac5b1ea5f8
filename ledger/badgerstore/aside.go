package badgerstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mission-authority/mas/ledger/journal"
)

// How many copies stay in aside/: of the logs that a start was about to change, and of a whole Badger that was
// replaced.
const (
	keptLogs   = 2
	keptBadger = 1

	asideLogs   = "logs-"
	asideBadger = "badger-"
)

// setAside copies what Badger is about to change: its manifest, its write-ahead logs and its newest value log. For
// want of space it goes without: what they hold is in the journal too.
func (s *Store) setAside() error {
	names, err := os.ReadDir(s.path(badgerDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("badgerstore: aside: %w", err)
	}
	if err := s.pruneAside(asideLogs, keptLogs-1); err != nil {
		return err
	}
	err = stepAside.Do(func() error {
		return s.copyLogs(names, s.path("aside", fmt.Sprintf("%s%020d", asideLogs, s.state.turn)))
	})
	if err != nil {
		return fmt.Errorf("badgerstore: aside: %w", err)
	}
	return nil
}

// copyLogs copies what matters of Badger's files to dir.
func (s *Store) copyLogs(names []os.DirEntry, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	newest := ""
	for _, e := range names {
		if filepath.Ext(e.Name()) == ".vlog" {
			newest = max(newest, e.Name())
		}
	}
	for _, e := range names {
		if n := e.Name(); n != newest && n != "MANIFEST" && filepath.Ext(n) != ".mem" {
			continue
		}
		err := copyFile(s.path(badgerDir, e.Name()), filepath.Join(dir, e.Name()))
		if journal.IsNoSpace(err) {
			s.log.Warn("no space to set logs aside", slog.Any("error", err))
			return os.RemoveAll(dir)
		}
		if err != nil {
			return err
		}
	}
	s.recovery.Aside = s.path("aside")
	return nil
}

// replaceBadger moves Badger's directory aside.
func (s *Store) replaceBadger() error {
	if err := s.pruneAside(asideBadger, keptBadger-1); err != nil {
		return err
	}
	if err := os.MkdirAll(s.path("aside"), 0o700); err != nil {
		return fmt.Errorf("badgerstore: aside: %w", err)
	}
	err := stepReplace.Do(func() error {
		err := os.Rename(s.path(badgerDir), s.path("aside", fmt.Sprintf("%s%020d", asideBadger, s.state.turn)))
		if err != nil {
			return err
		}
		return errors.Join(syncFile(s.dir), syncFile(s.path("aside")))
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("badgerstore: aside: %w", err)
	}
	s.recovery.Aside = s.path("aside")
	return nil
}

// pruneAside removes all but the newest keep entries of aside/ with the prefix.
func (s *Store) pruneAside(prefix string, keep int) error {
	entries, err := os.ReadDir(s.path("aside"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("badgerstore: aside: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for _, name := range names[:max(0, len(names)-keep)] {
		if err := os.RemoveAll(s.path("aside", name)); err != nil {
			return fmt.Errorf("badgerstore: aside: %w", err)
		}
	}
	return nil
}

// cutLogs cuts logs where they stop being readable, as Badger would do, but without letting it read what stands there:
// it allocates whatever a damaged length says.
func cutLogs(trims []trim) error {
	for _, t := range trims {
		err := stepCut.Do(func() error {
			if t.size == 0 {
				return os.Remove(t.path)
			}
			return os.Truncate(t.path, t.size)
		})
		if err != nil {
			return fmt.Errorf("badgerstore: cutting a log: %w", err)
		}
	}
	return nil
}

// copyFile copies a file to a new one, sharing its blocks where the file system can and leaving holes where it has
// none.
func copyFile(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if clone(dst, src) == nil {
		return nil
	}
	buf := make([]byte, 256<<10)
	for off := int64(0); ; {
		n, err := io.ReadFull(src, buf)
		if n > 0 && !isZero(buf[:n]) {
			if _, err := dst.WriteAt(buf[:n], off); err != nil {
				return err
			}
		}
		off += int64(n)
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return dst.Truncate(off)
		case err != nil:
			return err
		}
	}
}
