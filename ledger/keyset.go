package ledger

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
)

// Labels and values of COSE_Key (RFC 9052 7, RFC 9053 7).
const (
	keyType = 1
	keyKID  = 2
	keyAlg  = 3
	keyCrv  = -1
	keyX    = -2
	keyY    = -3

	ktyOKP     = 1
	ktyEC2     = 2
	crvP256    = 1
	crvEd25519 = 6
)

const (
	maxKeys       = 64
	maxKeySetSize = 16 << 10
	coordSize     = 32
)

// A Key is a public key with what follows from it. Make it with NewKey.
type Key struct {
	ID        []byte // kid: the thumbprint, 32 octets
	Algorithm Algorithm
	Public    crypto.PublicKey // *ecdsa.PublicKey on P-256, or ed25519.PublicKey
}

// A KeySet is a list of distinct public keys.
type KeySet []Key

// NewKey returns the Key of a P-256 or Ed25519 public key.
func NewKey(pub crypto.PublicKey) (Key, error) {
	alg, err := algorithmOf(pub)
	if err != nil {
		return Key{}, err
	}
	kid, err := KeyThumbprint(pub)
	if err != nil {
		return Key{}, err
	}
	return Key{ID: kid, Algorithm: alg, Public: pub}, nil
}

// Find returns the key with the given kid.
func (s KeySet) Find(kid []byte) (Key, bool) {
	for _, k := range s {
		if bytes.Equal(k.ID, kid) {
			return k, true
		}
	}
	return Key{}, false
}

// KeyThumbprint returns the RFC 9679 thumbprint of a public key: the SHA-256 over the deterministic CBOR of its
// required COSE_Key parameters, 32 octets. It is the kid of statements and receipts.
func KeyThumbprint(pub crypto.PublicKey) ([]byte, error) {
	b, err := appendKeyParams(make([]byte, 0, 80), pub, nil)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	return sum[:], nil
}

// appendKeyParams writes a COSE_Key: the required parameters alone if kid is nil, else with kid and alg.
func appendKeyParams(b []byte, pub crypto.PublicKey, kid []byte) ([]byte, error) {
	alg, err := algorithmOf(pub)
	if err != nil {
		return nil, err
	}
	pairs, kty := uint64(3), int64(ktyOKP)
	if alg == AlgES256 {
		pairs, kty = 4, ktyEC2
	}
	if kid != nil {
		pairs += 2
	}
	b = appendItemHead(b, cborMap, pairs)
	b = appendInt(appendInt(b, keyType), kty)
	if kid != nil {
		b = appendBytes(appendInt(b, keyKID), kid)
		b = appendInt(appendInt(b, keyAlg), int64(alg))
	}
	if k, ok := pub.(ed25519.PublicKey); ok {
		b = appendInt(appendInt(b, keyCrv), crvEd25519)
		return appendBytes(appendInt(b, keyX), k), nil
	}
	point, err := pub.(*ecdsa.PublicKey).Bytes() // 0x04 || x || y
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKeyType, err)
	}
	b = appendInt(appendInt(b, keyCrv), crvP256)
	b = appendBytes(appendInt(b, keyX), point[1:1+coordSize])
	return appendBytes(appendInt(b, keyY), point[1+coordSize:]), nil
}

// MarshalKeySet returns a COSE_KeySet (RFC 9052 7) of 1 to 64 distinct keys, in the given order, each as
// {1: kty, 2: kid, 3: alg, -1: crv, -2: x, ? -3: y}.
func MarshalKeySet(keys KeySet) ([]byte, error) {
	if len(keys) == 0 || len(keys) > maxKeys {
		return nil, fmt.Errorf("ledger: key set of %d keys", len(keys))
	}
	b := appendItemHead(nil, cborArray, uint64(len(keys)))
	var seen KeySet
	for _, k := range keys {
		k, err := NewKey(k.Public)
		if err != nil {
			return nil, err
		}
		if _, dup := seen.Find(k.ID); dup {
			return nil, errors.New("ledger: key set names a key twice")
		}
		seen = append(seen, k)
		if b, err = appendKeyParams(b, k.Public, k.ID); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// ParseKeySet is the strict inverse of MarshalKeySet. It refuses private parameters, compressed points, points off the
// curve, and a kid that is not the key's thumbprint.
func ParseKeySet(data []byte) (KeySet, error) {
	if len(data) > maxKeySetSize {
		return nil, fmt.Errorf("ledger: key set of %d octets: %w", len(data), ErrTooLarge)
	}
	r := cborReader{rest: data}
	keys := r.keySet()
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("ledger: key set: %w", err)
	}
	return keys, nil
}

// keySet reads a COSE_KeySet of distinct keys.
func (r *cborReader) keySet() KeySet {
	n := r.array(maxKeys)
	if r.err == nil && n == 0 {
		r.fail("empty key set")
	}
	var keys KeySet
	for range n {
		k := r.coseKey()
		if r.err != nil {
			return nil
		}
		if _, dup := keys.Find(k.ID); dup {
			r.fail("key named twice")
			return nil
		}
		keys = append(keys, k)
	}
	return keys
}

// coseKey reads one COSE_Key in the form appendKeyParams writes and checks its kid.
func (r *cborReader) coseKey() Key {
	pairs := r.mapOf(6)
	r.label(keyType)
	kty := r.int()
	r.label(keyKID)
	kid := r.bytes(HashSize)
	r.label(keyAlg)
	alg := r.algorithm()
	r.label(keyCrv)
	crv := r.int()
	r.label(keyX)
	x := r.bytes(coordSize)
	var pub crypto.PublicKey
	switch {
	case r.err != nil:
	case kty == ktyOKP && alg == AlgEdDSA && crv == crvEd25519 && pairs == 5 && len(x) == coordSize:
		pub = ed25519.PublicKey(bytes.Clone(x))
	case kty == ktyEC2 && alg == AlgES256 && crv == crvP256 && pairs == 6 && len(x) == coordSize:
		r.label(keyY)
		y := r.bytes(coordSize)
		pub = r.p256(x, y)
	default:
		r.fail("unsupported key")
	}
	if r.err != nil {
		return Key{}
	}
	k, err := NewKey(pub)
	if err != nil || !bytes.Equal(kid, k.ID) {
		r.fail("kid is not the thumbprint of the key")
		return Key{}
	}
	return k
}

// p256 returns the public key of an affine point that must lie on the curve.
func (r *cborReader) p256(x, y []byte) crypto.PublicKey {
	if r.err != nil {
		return nil
	}
	point := append(append([]byte{0x04}, x...), y...)
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		r.fail("point is not on the curve")
		return nil
	}
	return pub
}
