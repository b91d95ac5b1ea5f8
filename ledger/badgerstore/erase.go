package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/mission-authority/mas/ledger"
)

// The erasure journal shred/erasures has a record of 64 octets for each erasure, written before the slot is
// overwritten:
//
//	"eras", number of the slot8, digest of the body32, crc32c4, zeros
//
// It is replayed at every start, so an erasure that a crash interrupted is finished, and a key file restored from a
// backup loses again what was erased since.
const (
	erasureRecord = 64
	erasureUsed   = 4 + 8 + 32 + 4
)

var erasureMagic = [4]byte{'e', 'r', 'a', 's'}

// EraseBody destroys the key of the stored body with this digest, see Vault.Erase. The error wraps ledger.ErrNotFound
// if there is none. The sealed body stays.
func (s *Store) EraseBody(digest ledger.Hash) error {
	snapshot, err := s.Snapshot()
	if err != nil {
		return err
	}
	defer snapshot.Close()
	sealed, err := snapshot.Get(ledger.BodyKey(digest))
	if err != nil {
		return err
	}
	return s.vault.Erase(digest, sealed)
}

// Erase destroys the key of a sealed body, so that neither it nor any copy of it can be opened again. The erasure is
// durable when Erase returns nil. The body must open, or be erased already: Erase does not destroy a key on a mere
// number. A key that is gone is left alone: its erasure is in the journal, or was before the journal was lost.
func (v *Vault) Erase(digest ledger.Hash, sealed []byte) error {
	if _, err := v.Open(digest, sealed); err != nil {
		if errors.Is(err, ledger.ErrErased) {
			return nil
		}
		return err
	}
	slot, err := sealedSlot(sealed)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return errClosed()
	}
	if err := v.recordErasure(slot, digest); err != nil {
		return fmt.Errorf("badgerstore: erasure journal: %w: %w", ledger.ErrUnavailable, err)
	}
	if err := v.overwrite(slot); err != nil {
		return fmt.Errorf("badgerstore: erasing: %w: %w", ledger.ErrOutcomeUnknown, err)
	}
	return nil
}

func (v *Vault) recordErasure(slot uint64, digest ledger.Hash) error {
	b := append([]byte{}, erasureMagic[:]...)
	b = binary.BigEndian.AppendUint64(b, slot)
	b = append(b, digest[:]...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	err := stepErasure.Do(func() error {
		if _, err := v.erasures.WriteAt(append(b, make([]byte, erasureRecord-len(b))...), v.erased); err != nil {
			return err
		}
		return v.erasures.Sync()
	})
	if err != nil {
		return err
	}
	v.erased += erasureRecord
	return nil
}

func (v *Vault) overwrite(slot uint64) error {
	return stepErase.Do(func() error {
		if _, err := v.keys.WriteAt(erasedSlot(), slotOffset(slot)); err != nil {
			return err
		}
		return v.keys.Sync()
	})
}

// openErasures opens the erasure journal and carries out what is in it and was not done.
func (v *Vault) openErasures() (err error) {
	path := filepath.Join(v.dir, "erasures")
	if v.erasures, err = v.fs.OpenFile(path, os.O_RDWR|os.O_CREATE); err != nil {
		return err
	}
	if err := stepErasures.Do(func() error { return v.fs.SyncDir(v.dir) }); err != nil {
		return err
	}
	size, err := v.erasures.Size()
	if err != nil {
		return err
	}
	var again []uint64
	b, slotNow := make([]byte, erasureRecord), make([]byte, shredSlot)
	for ; v.erased < size; v.erased += erasureRecord {
		if _, err := v.erasures.ReadAt(b, v.erased); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		slot, ok := parseErasure(b)
		switch {
		case !ok && v.erased+erasureRecord >= size: // cut short by a crash: it was not acknowledged
			return v.eraseAgain(again)
		case !ok:
			return fmt.Errorf("erasure journal is damaged at %d: %w", v.erased, ledger.ErrIntegrity)
		case slot >= v.slots: // the key file is older than this erasure: the slot is not there
			continue
		}
		if _, err := v.keys.ReadAt(slotNow, slotOffset(slot)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if isErased(slotNow) {
			continue
		}
		again = append(again, slot)
	}
	return v.eraseAgain(again)
}

// eraseAgain overwrites slots whose erasure is recorded.
func (v *Vault) eraseAgain(slots []uint64) error {
	if len(slots) == 0 {
		return nil
	}
	return stepEraseMore.Do(func() error {
		for _, slot := range slots {
			if _, err := v.keys.WriteAt(erasedSlot(), slotOffset(slot)); err != nil {
				return err
			}
		}
		return v.keys.Sync()
	})
}

func parseErasure(b []byte) (slot uint64, ok bool) {
	if [4]byte(b) != erasureMagic || !isZero(b[erasureUsed:]) ||
		crc32.Checksum(b[:erasureUsed-4], castagnoli) != binary.BigEndian.Uint32(b[erasureUsed-4:]) {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[4:]), true
}
