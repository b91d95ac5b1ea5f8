package jws

import (
	"crypto"
	"errors"
)

// ErrKey: a key or key set is malformed, carries private members, or is of no supported kind.
var ErrKey = errors.New("jws: unacceptable key")

// A KeySet is a set of public keys by id. The nil set is empty.
type KeySet struct{ keys map[string]key }

type key struct {
	public crypto.PublicKey // *ecdsa.PublicKey on P-256 or ed25519.PublicKey
	alg    string
}

// ParseKeySet reads a JWK Set of public keys: EC P-256 and OKP Ed25519 with distinct non-empty kids. Keys of other
// kinds are skipped; private members, duplicate kids and malformed keys refuse the whole set.
func ParseKeySet(data []byte) (*KeySet, error) { panic("not yet") }

// ParsePublicKey reads one public JWK and returns the key and its id ("" if it has none).
func ParsePublicKey(data []byte) (crypto.PublicKey, string, error) { panic("not yet") }

// NewKeySet makes a set of one key per id.
func NewKeySet(keys map[string]crypto.PublicKey) (*KeySet, error) { panic("not yet") }

// MarshalPublicKey returns the canonical JWK of a public key with kid, alg and use.
func MarshalPublicKey(kid string, pub crypto.PublicKey) ([]byte, error) { panic("not yet") }

// Marshal returns the canonical JWK Set.
func (s *KeySet) Marshal() ([]byte, error) { panic("not yet") }

// Key returns the key with this id.
func (s *KeySet) Key(kid string) (pub crypto.PublicKey, alg string, ok bool) {
	if s == nil {
		return nil, "", false
	}
	k, ok := s.keys[kid]
	return k.public, k.alg, ok
}

// KeyIDs returns the ids in order.
func (s *KeySet) KeyIDs() []string { panic("not yet") }

// Thumbprint is the RFC 7638 thumbprint (SHA-256, base64url) of a public key: the kid that Local keys use.
func Thumbprint(pub crypto.PublicKey) (string, error) { panic("not yet") }
