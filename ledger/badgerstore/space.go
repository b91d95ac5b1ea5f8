package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/journal"
)

const (
	ballastName = "ballast"
	badgerDir   = "badger"
)

// space keeps commits off the last of the disk and Badger's files free of holes.
type space struct {
	opt Options
	dir string

	mu      sync.Mutex
	ballast bool   // the ballast file is there
	mem     uint64 // number of the newest write-ahead log that is filled
	vlog    uint64 // number of the newest value log that is filled
	holes   bool   // filling failed: Badger must not write
}

func newSpace(opt Options, dir string) *space { return &space{opt: opt, dir: dir} }

func (s *space) ballastPath() string { return filepath.Join(s.dir, ballastName) }

// start gives up the ballast if the disk is full, so that what follows has room, and makes it if there is none yet.
func (s *space) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.opt.FS.OpenFile(s.ballastPath(), os.O_RDWR)
	switch {
	case err == nil:
		size, err := f.Size()
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("badgerstore: ballast: %w", err)
		}
		s.ballast = size >= s.opt.Ballast
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("badgerstore: ballast: %w", err)
	}
	_, err = s.balance()
	return err
}

// watch gives up the ballast when space is short and takes it back when there is plenty. It reports whether space is
// short.
func (s *space) watch() (low bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.balance()
}

func (s *space) balance() (low bool, err error) {
	free, err := s.opt.FS.Free(s.dir)
	if err != nil {
		return false, fmt.Errorf("badgerstore: free space: %w", err)
	}
	switch {
	case s.ballast && int64(free) < s.opt.Reserve/2:
		return true, s.drop()
	case !s.ballast && int64(free) >= 2*s.opt.Reserve+s.opt.Ballast:
		return false, s.take()
	}
	return int64(free) < s.needed(0), nil
}

func (s *space) drop() error {
	err := stepDrop.Do(func() error {
		if err := s.opt.FS.Remove(s.ballastPath()); err != nil {
			return err
		}
		s.ballast = false
		return s.opt.FS.SyncDir(s.dir)
	})
	if err != nil {
		return fmt.Errorf("badgerstore: ballast: %w", err)
	}
	return nil
}

func (s *space) take() error {
	f, err := s.opt.FS.OpenFile(s.ballastPath(), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return fmt.Errorf("badgerstore: ballast: %w", err)
	}
	err = stepBallast.Do(func() error { return f.Allocate(s.opt.Ballast) })
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("badgerstore: ballast: %w", err), s.opt.FS.Remove(s.ballastPath()))
	}
	s.ballast = true
	return nil
}

// needed is how much must be free for a commit that takes n octets of new files: the reserve, and the ballast as long
// as it is given up.
func (s *space) needed(n int64) int64 {
	need := s.opt.Reserve + n
	if !s.ballast {
		need += s.opt.Ballast
	}
	return need
}

// Space reports how many octets are free and how many of them commits leave alone.
func (s *Store) Space() (free, reserve uint64, err error) {
	if free, err = s.opt.FS.Free(s.dir); err != nil {
		return 0, 0, fmt.Errorf("badgerstore: free space: %w", err)
	}
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	return free, uint64(s.space.needed(0)), nil
}

// admit refuses a commit that would eat into the reserve, with ErrUnavailable. n is the size of files it has to make.
func (s *space) admit(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	free, err := s.opt.FS.Free(s.dir)
	if err != nil {
		return fmt.Errorf("badgerstore: free space: %w: %w", ledger.ErrUnavailable, err)
	}
	if need := s.needed(n); int64(free) < need {
		_, err := s.balance()
		return errors.Join(fmt.Errorf("badgerstore: %d octets free, %d needed: %w", free, need, ledger.ErrUnavailable), err)
	}
	if s.holes {
		if err := s.fill(); err != nil {
			return fmt.Errorf("badgerstore: %w: %w", ledger.ErrUnavailable, err)
		}
	}
	return nil
}

// errNoRoom: Badger cannot be opened or closed, for want of space.
var errNoRoom = errors.New("no room")

// makeRoom makes sure that Badger can write a table from each of its memtables, giving up the ballast if it must.
func (s *space) makeRoom() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		free, err := s.opt.FS.Free(s.dir)
		if err != nil {
			return err
		}
		switch need := s.opt.openNeed(); {
		case int64(free) >= need:
			return nil
		case !s.ballast:
			return fmt.Errorf("%w: %d octets free, %d needed", errNoRoom, free, need)
		}
		if err := s.drop(); err != nil {
			return err
		}
	}
}

// openNeed is what opening or closing Badger may write: new logs, and a table for each memtable.
func (o Options) openNeed() int64 {
	return o.memFill() + o.valueFill() + int64(numMemtables+1)*o.MemTableSize
}

// memFill and valueFill are how far Badger writes a log before it starts the next one: its size and one transaction.
func (o Options) memFill() int64   { return o.MemTableSize + 2*o.batchBytes() }
func (o Options) valueFill() int64 { return o.ValueLogSize + 2*o.batchBytes() }

// opened fills the logs of a Badger that was just opened.
func (s *space) opened() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mem, s.vlog = 0, 0
	names, err := os.ReadDir(filepath.Join(s.dir, badgerDir))
	if err != nil {
		return err
	}
	var mem, vlog uint64
	for _, e := range names {
		var n uint64
		switch {
		case filepath.Ext(e.Name()) == ".mem" && scanNumber(e.Name(), &n):
			mem = max(mem, n)
		case filepath.Ext(e.Name()) == ".vlog" && scanNumber(e.Name(), &n):
			vlog = max(vlog, n)
		}
	}
	s.mem, s.vlog = mem-min(mem, 1), vlog-min(vlog, 1)
	if err := allocate(filepath.Join(s.dir, badgerDir, "DISCARD"), 1<<20); err != nil {
		return err
	}
	return s.fill()
}

// written fills logs that Badger has just started.
func (s *space) written() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.fill() // remembered in holes: the next commit tries again
}

func (s *space) fill() error {
	s.holes = true
	for {
		path := filepath.Join(s.dir, badgerDir, fmt.Sprintf("%05d.mem", s.mem+1))
		if err := allocate(path, s.opt.memFill()); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return err
		}
		s.mem++
	}
	for {
		path := filepath.Join(s.dir, badgerDir, fmt.Sprintf("%06d.vlog", s.vlog+1))
		if err := allocate(path, s.opt.valueFill()); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return err
		}
		s.vlog++
	}
	s.holes = false
	return nil
}

func scanNumber(name string, n *uint64) bool {
	_, err := fmt.Sscanf(name, "%d", n)
	return err == nil
}

// allocate reserves the first size octets of an existing file of the operating system.
func allocate(path string, size int64) error {
	f, err := journal.OS.OpenFile(path, os.O_RDWR)
	if err != nil {
		return err
	}
	have, err := f.Size()
	if err == nil {
		err = f.Allocate(min(size, have)) // never longer than Badger made it
	}
	return errors.Join(err, f.Close())
}
