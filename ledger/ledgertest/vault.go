package ledgertest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/mission-authority/mas/ledger"
)

// Vault is a ledger.Vault in memory: AES-256-GCM under one key per body, numbered in the order of sealing.
type Vault struct {
	mu   sync.Mutex
	keys [][]byte
}

// NewVault returns an empty vault.
func NewVault() *Vault { return new(Vault) }

const slotSize = 8 // octets before the ciphertext: the number of the key

// Seal takes a fresh key.
func (v *Vault) Seal(digest ledger.Hash, body []byte) ([]byte, error) {
	key := make([]byte, 32)
	rand.Read(key)
	v.mu.Lock()
	slot := uint64(len(v.keys))
	v.keys = append(v.keys, key)
	v.mu.Unlock()
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	sealed := binary.BigEndian.AppendUint64(nil, slot)
	return aead.Seal(sealed, make([]byte, aead.NonceSize()), body, digest[:]), nil // the key is used once
}

// Open is the inverse of Seal.
func (v *Vault) Open(digest ledger.Hash, sealed []byte) ([]byte, error) {
	if len(sealed) < slotSize {
		return nil, fmt.Errorf("ledgertest: sealed body of %d octets: %w", len(sealed), ledger.ErrIntegrity)
	}
	slot := binary.BigEndian.Uint64(sealed)
	v.mu.Lock()
	var key []byte
	known := slot < uint64(len(v.keys))
	if known {
		key = v.keys[slot]
	}
	v.mu.Unlock()
	switch {
	case !known:
		return nil, fmt.Errorf("ledgertest: no key %d: %w", slot, ledger.ErrIntegrity)
	case key == nil:
		return nil, fmt.Errorf("ledgertest: key %d: %w", slot, ledger.ErrErased)
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	body, err := aead.Open(nil, make([]byte, aead.NonceSize()), sealed[slotSize:], digest[:])
	if err != nil || sha256.Sum256(body) != digest {
		return nil, fmt.Errorf("ledgertest: sealed body does not authenticate: %w", ledger.ErrIntegrity)
	}
	return body, nil
}

// Erase destroys the key of a sealed body.
func (v *Vault) Erase(sealed []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys[binary.BigEndian.Uint64(sealed)] = nil
}

// EraseBody destroys the key of the stored body with this digest.
func (l *Log) EraseBody(digest ledger.Hash) error {
	snapshot, err := l.Store.Snapshot()
	if err != nil {
		return err
	}
	defer snapshot.Close()
	sealed, err := snapshot.Get(ledger.BodyKey(digest))
	if err != nil {
		return err
	}
	l.Vault.(*Vault).Erase(sealed)
	return nil
}

// Sealed returns how many keys were used.
func (v *Vault) Sealed() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.keys)
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
