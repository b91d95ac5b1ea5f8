package badgerstore

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/mission-authority/mas/ledger/journal"
)

// The state file says how far Badger can be trusted. It has two sectors that are written in turn, so a crash leaves the
// older one; losing both costs a full replay of the journal and nothing else.
//
// Its version is that of the whole view. Format 2 holds the entries of a frame in one value (packed.go); in format 1
// each had a key of its own. An older view is rebuilt from the journal, whose format has not changed; a newer one is
// refused.
const (
	stateName    = "state"
	stateSector  = 512
	stateVersion = 2
	stateUsed    = 8 + 4 + 5*8 + 4 + 4 + 16 + 4
)

var stateMagic = [8]byte{'m', 'a', 's', 's', 't', 'a', 't', 'e'}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// state is what one sector holds.
type state struct {
	turn     uint64   // the sector with the greater one counts
	epoch    uint64   // of this opening
	mark     uint64   // frames up to here are durable in Badger's files
	since    uint64   // first frame that this opening writes to Badger
	replay   uint64   // recovery from this frame on is not finished; 0: it is
	attempts uint32   // openings of Badger that did not come back
	clean    bool     // closed in order
	rebuild  bool     // Badger was found damaged: rebuild it at the next start
	boot     [16]byte // the running system when mark was set
	older    bool     // of a format before this one, see stateVersion; not stored
}

// ErrFormat: the store was written by a newer program. Nothing was changed.
var ErrFormat = errors.New("badgerstore: unknown format")

func (s state) marshal() []byte {
	b := make([]byte, 0, stateSector)
	b = append(b, stateMagic[:]...)
	b = binary.BigEndian.AppendUint32(b, stateVersion)
	for _, v := range []uint64{s.turn, s.epoch, s.mark, s.since, s.replay} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = binary.BigEndian.AppendUint32(b, s.attempts)
	b = append(b, flag(s.clean), flag(s.rebuild), 0, 0)
	b = append(b, s.boot[:]...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:stateSector]
}

func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}

func parseState(sector []byte) (state, error) {
	if [8]byte(sector) != stateMagic {
		return state{}, errors.New("not a state sector")
	}
	if crc32.Checksum(sector[:stateUsed-4], castagnoli) != binary.BigEndian.Uint32(sector[stateUsed-4:]) {
		return state{}, errors.New("checksum of the state sector fails")
	}
	version := binary.BigEndian.Uint32(sector[8:])
	if version == 0 || version > stateVersion {
		return state{}, fmt.Errorf("%w: store format %d, this program knows formats up to %d", ErrFormat, version, stateVersion)
	}
	return state{
		older:    version < stateVersion,
		turn:     binary.BigEndian.Uint64(sector[12:]),
		epoch:    binary.BigEndian.Uint64(sector[20:]),
		mark:     binary.BigEndian.Uint64(sector[28:]),
		since:    binary.BigEndian.Uint64(sector[36:]),
		replay:   binary.BigEndian.Uint64(sector[44:]),
		attempts: binary.BigEndian.Uint32(sector[52:]),
		clean:    sector[56] == 1,
		rebuild:  sector[57] == 1,
		boot:     [16]byte(sector[60:76]),
	}, nil
}

// A stateFile is the open state file and what it holds.
type stateFile struct {
	file journal.File
	state
}

// openState opens the state file in dir and reads it. A sector that is neither valid nor blank is damage: what it said
// is not known, so the state then asks for a full replay.
func openState(fsys journal.FS, dir string) (*stateFile, error) {
	f, err := fsys.OpenFile(filepath.Join(dir, stateName), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	s := &stateFile{file: f}
	if err := s.read(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, stepStateFile.Do(func() error { return fsys.SyncDir(dir) })
}

func (s *stateFile) read() error {
	buf := make([]byte, 2*stateSector)
	if err := s.file.Allocate(int64(len(buf))); err != nil {
		return err
	}
	if _, err := s.file.ReadAt(buf, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	damaged := false
	for i := range 2 {
		sector := buf[i*stateSector : (i+1)*stateSector]
		if isZero(sector) {
			continue
		}
		got, err := parseState(sector)
		switch {
		case errors.Is(err, ErrFormat):
			return err
		case err != nil:
			damaged = true
		case got.turn >= s.turn:
			s.state = got
		}
	}
	if damaged {
		s.clean, s.mark, s.replay = false, 0, 1
	}
	return nil
}

// write makes next durable in the sector that is not the current one.
func (s *stateFile) write(next state) error {
	next.turn, next.older = s.turn+1, false
	err := stepState.Do(func() error {
		if _, err := s.file.WriteAt(next.marshal(), int64(next.turn%2)*stateSector); err != nil {
			return err
		}
		return s.file.Sync()
	})
	if err != nil {
		return fmt.Errorf("badgerstore: state: %w", err)
	}
	s.state = next
	return nil
}

// bootID names the running system: as long as it is the same, what was written is in its caches, synced or not. Where
// the system does not say, every opening counts as the first after a loss of power.
func bootID() (id [16]byte) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(b) == 0 {
		_, _ = rand.Read(id[:])
		return id
	}
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}

func isZero(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
