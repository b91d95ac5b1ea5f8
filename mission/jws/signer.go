package jws

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"fmt"
	"math/big"
)

// A Signer holds one private key.
type Signer interface {
	KeyID() string
	Alg() string // ES256 or EdDSA
	// Sign returns the JWS signature over input: r||s of 64 octets for ES256, 64 octets for EdDSA.
	Sign(ctx context.Context, input []byte) ([]byte, error)
}

// A Key is a Signer over a crypto.Signer: a private key in memory, or one that a service keeps.
type Key struct {
	private crypto.Signer
	kid     string
	alg     string
}

// NewKey wraps an ECDSA P-256 or Ed25519 key; kid "" means its Thumbprint.
func NewKey(kid string, private crypto.Signer) (*Key, error) {
	alg, err := algorithm(private.Public())
	if err != nil {
		return nil, err
	}
	if kid == "" {
		if kid, err = Thumbprint(private.Public()); err != nil {
			return nil, err
		}
	}
	return &Key{private, kid, alg}, nil
}

// KeyID returns the key's id.
func (k *Key) KeyID() string { return k.kid }

// Alg returns the key's algorithm.
func (k *Key) Alg() string { return k.alg }

// Public returns the public key.
func (k *Key) Public() crypto.PublicKey { return k.private.Public() }

// Sign signs input.
func (k *Key) Sign(ctx context.Context, input []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if k.alg == EdDSA {
		return k.private.Sign(rand.Reader, input, crypto.Hash(0))
	}
	sum := sha256.Sum256(input)
	der, err := k.private.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return Concatenated(der)
}

// Concatenated turns an ASN.1 ECDSA signature over P-256 into r||s of 64 octets.
func Concatenated(der []byte) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(rest) != 0 || !isScalar(sig.R) || !isScalar(sig.S) {
		return nil, fmt.Errorf("%w: not an ECDSA signature", ErrSignature)
	}
	out := make([]byte, signatureSize)
	sig.R.FillBytes(out[:signatureSize/2])
	sig.S.FillBytes(out[signatureSize/2:])
	return out, nil
}

func isScalar(n *big.Int) bool { return n.Sign() > 0 && n.BitLen() <= 8*signatureSize/2 }
