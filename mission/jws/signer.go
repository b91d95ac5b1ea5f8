package jws

import (
	"context"
	"crypto"
)

// A Key signs with a private key in memory. It is for development, demonstration and tests.
type Key struct {
	private crypto.Signer
	kid     string
	alg     string
}

// NewKey wraps an ECDSA P-256 or Ed25519 private key; kid "" means its thumbprint.
func NewKey(kid string, private crypto.Signer) (*Key, error) { panic("not yet") }

// KeyID returns the key's id.
func (k *Key) KeyID() string { return k.kid }

// Alg returns the key's algorithm.
func (k *Key) Alg() string { return k.alg }

// Public returns the public key.
func (k *Key) Public() crypto.PublicKey { return k.private.Public() }

// Sign signs input.
func (k *Key) Sign(ctx context.Context, input []byte) ([]byte, error) { panic("not yet") }
