package badgerstore

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/journal"
)

// The key file shred/keys is a header sector and slots of 64 octets, one per body:
//
//	header  "masshred", version4, file id16, zeros sealed under the root key60, zeros
//	slot    state1 (0xA5 live, 0xEE erased, 0x10 lost), AES-256-GCM nonce12, sealed key48, zeros
//
// A slot's key is sealed under the root key, with the file id and the slot's number as additional data, so that slots
// cannot be exchanged. Keys are made in chunks that are synced before the first of them is used; each opening starts a
// new chunk, so a key that was handed out and whose body was not committed is never handed out again.
//
// Erasing overwrites a slot. That is as good as the disk: a device that remaps what it overwrites, and every backup of
// the file, keep the sealed key until they are reused, which is why backups of shred/ need a maximum age of their own.
const (
	shredVersion = 1
	shredSlot    = 64
	slotLive     = 0xA5
	slotErased   = 0xEE
	keySize      = 32
	nonceSize    = 12
	tagSize      = 16
	sealedKey    = nonceSize + keySize + tagSize

	firstChunk = 256
	lastChunk  = 4096

	sealedVersion = 1
	sealedHeader  = 1 + 8 + nonceSize
)

var shredMagic = [8]byte{'m', 'a', 's', 's', 'h', 'r', 'e', 'd'}

// ErrRootKey: the keys in shred/ are sealed under another root key.
var ErrRootKey = errors.New("badgerstore: the root key does not open the key file")

// A Vault seals evidence bodies, each under a key of its own: AES-256-GCM with the body's digest and the key's number
// as additional data. It is safe for concurrent use.
type Vault struct {
	fs   journal.FS
	dir  string
	root cipher.AEAD
	id   [16]byte

	mu       sync.Mutex // guards what follows
	keys     journal.File
	erasures journal.File
	slots    uint64   // in the file; the next chunk goes behind them
	fresh    [][]byte // keys that are durable and unused, the last one in the file first
	chunk    int
	erased   int64 // end of the erasure journal
	closed   bool
}

var _ ledger.Vault = (*Vault)(nil)

func openVault(fsys journal.FS, dir string, root [32]byte) (*Vault, error) {
	aead, err := newAEAD(root[:])
	if err != nil {
		return nil, err
	}
	v := &Vault{fs: fsys, dir: dir, root: aead, chunk: firstChunk}
	if err := v.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("badgerstore: shred: %w", err), v.close())
	}
	return v, nil
}

func (v *Vault) start() error {
	if err := v.fs.MkdirAll(v.dir); err != nil {
		return err
	}
	path := filepath.Join(v.dir, "keys")
	f, err := v.fs.OpenFile(path, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		if err = stepKeyFile.Do(func() error { return v.create(path) }); err == nil {
			f, err = v.fs.OpenFile(path, os.O_RDWR)
		}
	}
	if err != nil {
		return err
	}
	v.keys = f
	if err := v.readHeader(); err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	v.slots = uint64(size-stateSector+shredSlot-1) / shredSlot // a slot cut short was never used
	return v.openErasures()
}

// create makes the key file under another name first: it is there whole or not at all.
func (v *Vault) create(path string) error {
	var id [16]byte
	_, _ = rand.Read(id[:])
	b := append([]byte{}, shredMagic[:]...)
	b = binary.BigEndian.AppendUint32(b, shredVersion)
	b = append(b, id[:]...)
	b = append(b, v.sealKey(make([]byte, keySize), headerAAD(id))...)
	b = append(b, make([]byte, stateSector-len(b))...)
	temp := path + ".tmp"
	f, err := v.fs.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := v.fs.Rename(temp, path); err != nil {
		return err
	}
	return v.fs.SyncDir(v.dir)
}

func (v *Vault) readHeader() error {
	b := make([]byte, stateSector)
	if _, err := v.keys.ReadAt(b, 0); err != nil {
		return fmt.Errorf("header: %w: %w", ledger.ErrIntegrity, err)
	}
	if [8]byte(b) != shredMagic {
		return fmt.Errorf("not a key file: %w", ledger.ErrIntegrity)
	}
	if n := binary.BigEndian.Uint32(b[8:]); n != shredVersion {
		return fmt.Errorf("key file format %d is unknown", n)
	}
	v.id = [16]byte(b[12:28])
	if _, err := v.openKey(b[28:28+sealedKey], headerAAD(v.id)); err != nil {
		return ErrRootKey
	}
	return nil
}

func headerAAD(id [16]byte) []byte { return append([]byte("mas shred header v1\n"), id[:]...) }

func slotAAD(id [16]byte, slot uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte("mas shred slot v1\n"), id[:]...), slot)
}

func bodyAAD(digest ledger.Hash, slot uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte("mas body v1\n"), digest[:]...), slot)
}

func (v *Vault) sealKey(key, aad []byte) []byte {
	nonce := make([]byte, nonceSize, sealedKey)
	_, _ = rand.Read(nonce)
	return v.root.Seal(nonce, nonce, key, aad)
}

func (v *Vault) openKey(sealed, aad []byte) ([]byte, error) {
	return v.root.Open(nil, sealed[:nonceSize], sealed[nonceSize:], aad)
}

// Seal seals body under a key that nothing else is sealed under. ErrUnavailable if no key can be made durable.
func (v *Vault) Seal(digest ledger.Hash, body []byte) ([]byte, error) {
	slot, key, err := v.take()
	if err != nil {
		return nil, err
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, sealedHeader, sealedHeader+len(body)+tagSize)
	sealed[0] = sealedVersion
	binary.BigEndian.PutUint64(sealed[1:], slot)
	nonce := sealed[9:sealedHeader]
	_, _ = rand.Read(nonce)
	return aead.Seal(sealed, nonce, body, bodyAAD(digest, slot)), nil
}

// take hands out the next key, making a chunk of them first if there is none left.
func (v *Vault) take() (slot uint64, key []byte, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return 0, nil, errClosed()
	}
	if len(v.fresh) == 0 {
		if err := v.grow(); err != nil {
			return 0, nil, fmt.Errorf("badgerstore: shred: %w: %w", ledger.ErrUnavailable, err)
		}
	}
	n := len(v.fresh)
	key, v.fresh = v.fresh[n-1], v.fresh[:n-1]
	return v.slots - uint64(n), key, nil
}

// grow appends a chunk of fresh keys and syncs it. After a failure the next one goes elsewhere.
func (v *Vault) grow() error {
	from := v.slots
	v.slots += uint64(v.chunk)
	buf := make([]byte, v.chunk*shredSlot)
	fresh := make([][]byte, v.chunk)
	for i := range fresh {
		key := make([]byte, keySize)
		_, _ = rand.Read(key)
		slot := buf[i*shredSlot:]
		slot[0] = slotLive
		copy(slot[1:], v.sealKey(key, slotAAD(v.id, from+uint64(i))))
		fresh[len(fresh)-1-i] = key
	}
	err := stepKeys.Do(func() error {
		if _, err := v.keys.WriteAt(buf, slotOffset(from)); err != nil {
			return err
		}
		return v.keys.Sync()
	})
	if err != nil {
		return err
	}
	v.fresh = fresh
	v.chunk = min(2*v.chunk, lastChunk)
	return nil
}

func slotOffset(slot uint64) int64 { return stateSector + int64(slot)*shredSlot }

// Open returns the body. ErrErased if its key was destroyed, ErrNotFound if a restore did not bring it back,
// ErrIntegrity if key or body do not authenticate.
func (v *Vault) Open(digest ledger.Hash, sealed []byte) ([]byte, error) {
	slot, err := sealedSlot(sealed)
	if err != nil {
		return nil, err
	}
	key, err := v.key(slot)
	if err != nil {
		return nil, err
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	body, err := aead.Open(nil, sealed[9:sealedHeader], sealed[sealedHeader:], bodyAAD(digest, slot))
	if err != nil || sha256.Sum256(body) != digest {
		return nil, fmt.Errorf("badgerstore: a sealed body does not authenticate: %w", ledger.ErrIntegrity)
	}
	return body, nil
}

func sealedSlot(sealed []byte) (uint64, error) {
	if len(sealed) < sealedHeader+tagSize || sealed[0] != sealedVersion {
		return 0, fmt.Errorf("badgerstore: malformed sealed body: %w", ledger.ErrIntegrity)
	}
	return binary.BigEndian.Uint64(sealed[1:]), nil
}

// key reads the key in a slot.
func (v *Vault) key(slot uint64) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, errClosed()
	}
	if slot >= v.slots {
		return nil, fmt.Errorf("badgerstore: there is no key %d: %w", slot, ledger.ErrIntegrity)
	}
	b := make([]byte, shredSlot)
	if _, err := v.keys.ReadAt(b, slotOffset(slot)); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("badgerstore: shred: %w: %w", ledger.ErrUnavailable, err)
	}
	if isErased(b) {
		return nil, fmt.Errorf("badgerstore: key %d: %w", slot, ledger.ErrErased)
	}
	if isLost(b) {
		return nil, fmt.Errorf("badgerstore: key %d was not brought back by a restore: %w", slot, ledger.ErrNotFound)
	}
	key, err := v.openKey(b[1:1+sealedKey], slotAAD(v.id, slot))
	if err != nil || b[0] != slotLive {
		return nil, fmt.Errorf("badgerstore: key %d is damaged: %w", slot, ledger.ErrIntegrity)
	}
	return key, nil
}

func isErased(slot []byte) bool { return slot[0] == slotErased && isZero(slot[1:]) }

func (v *Vault) close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	var errs []error
	for _, f := range []journal.File{v.keys, v.erasures} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	for _, key := range v.fresh {
		clear(key)
	}
	v.keys, v.erasures, v.fresh = nil, nil, nil
	return errors.Join(errs...)
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// erasedSlot is what a slot holds after erasure.
func erasedSlot() []byte { return append([]byte{slotErased}, bytes.Repeat([]byte{0}, shredSlot-1)...) }
