package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission/jws"
	"golang.org/x/mod/sumdb/note"
)

// COSE returns the key as a signer of statements or receipts, with its RFC 9679 thumbprint as kid.
func (k *Key) COSE() ledger.Signer { return coseSigner{k} }

type coseSigner struct{ key *Key }

func (s coseSigner) KeyID() []byte               { return s.key.thumbprint }
func (s coseSigner) Algorithm() ledger.Algorithm { return s.key.role.algorithm() }
func (s coseSigner) Sign(ctx context.Context, message []byte) ([]byte, error) {
	return s.key.sign(ctx, message)
}

// JOSE returns the key as a signer of compact JWS, with its RFC 7638 thumbprint as kid.
func (k *Key) JOSE() (jws.Signer, error) {
	alg := jws.ES256
	if k.role.algorithm() == ledger.AlgEdDSA {
		alg = jws.EdDSA
	}
	kid, err := jws.Thumbprint(k.public)
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", k.role, err)
	}
	return joseSigner{key: k, kid: kid, alg: alg}, nil
}

type joseSigner struct {
	key      *Key
	kid, alg string
}

func (s joseSigner) KeyID() string { return s.kid }
func (s joseSigner) Alg() string   { return s.alg }
func (s joseSigner) Sign(ctx context.Context, input []byte) ([]byte, error) {
	return s.key.sign(ctx, input)
}

// PublicJWKS is the public key as a JWK Set of one, as JOSE names it.
func (k *Key) PublicJWKS() (*jws.KeySet, error) {
	kid, err := jws.Thumbprint(k.public)
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", k.role, err)
	}
	return jws.NewKeySet(map[string]crypto.PublicKey{kid: k.public})
}

// PublicCOSE is the public key as a COSE Key Set of one.
func (k *Key) PublicCOSE() ledger.KeySet {
	return ledger.KeySet{{ID: k.thumbprint, Algorithm: k.role.algorithm(), Public: k.public}}
}

// StatementJWKS is the public key as a JWK Set of one whose kid is the one that statements carry: the RFC 9679
// thumbprint, in base64url.
func (k *Key) StatementJWKS() (*jws.KeySet, error) {
	kid := base64.RawURLEncoding.EncodeToString(k.thumbprint)
	return jws.NewKeySet(map[string]crypto.PublicKey{kid: k.public})
}

// Note returns the checkpoint key as the signed-note signer named origin, and its verifier key: the vkey that others
// configure.
func (k *Key) Note(origin string) (note.Signer, string, error) {
	public, ok := k.public.(ed25519.PublicKey)
	if !ok || k.role != Checkpoint {
		return nil, "", fmt.Errorf("keys: the %s key does not sign checkpoints", k.role)
	}
	if err := ledger.CheckOrigin(origin); err != nil {
		return nil, "", fmt.Errorf("keys: %w", err)
	}
	vkey, err := note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		return nil, "", fmt.Errorf("keys: %w", err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, "", fmt.Errorf("keys: %w", err)
	}
	return noteSigner{key: k, name: origin, hash: verifier.KeyHash()}, vkey, nil
}

type noteSigner struct {
	key  *Key
	name string
	hash uint32
}

func (s noteSigner) Name() string    { return s.name }
func (s noteSigner) KeyHash() uint32 { return s.hash }
func (s noteSigner) Sign(message []byte) ([]byte, error) {
	return s.key.sign(context.Background(), message)
}

// Cosigner returns the witness key as a signer for ledger.NewCosigner, and the verifier key of the witness named name.
func (k *Key) Cosigner(name string) (crypto.Signer, string, error) {
	public, ok := k.public.(ed25519.PublicKey)
	if !ok || k.role != Witness {
		return nil, "", fmt.Errorf("keys: the %s key does not sign cosignatures", k.role)
	}
	vkey, err := ledger.CosignatureVKey(name, public)
	if err != nil {
		return nil, "", fmt.Errorf("keys: %w", err)
	}
	return cosigner{k}, vkey, nil
}

// cosigner is an Ed25519 key as crypto.Signer: it signs messages, not digests.
type cosigner struct{ key *Key }

func (s cosigner) Public() crypto.PublicKey { return s.key.public }

func (s cosigner) Sign(_ io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != 0 {
		return nil, errors.New("keys: cosignatures are over messages, not digests")
	}
	return s.key.sign(context.Background(), message)
}

// fixedFromDER converts an ASN.1 ECDSA signature over P-256 to r || s, 64 octets.
func fixedFromDER(der []byte) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(rest) > 0 {
		return nil, errors.New("keys: malformed ECDSA signature")
	}
	if sig.R.Sign() <= 0 || sig.S.Sign() <= 0 || sig.R.BitLen() > 256 || sig.S.BitLen() > 256 {
		return nil, errors.New("keys: ECDSA signature out of range")
	}
	out := make([]byte, 64)
	sig.R.FillBytes(out[:32])
	sig.S.FillBytes(out[32:])
	return out, nil
}

// verifyFixed checks a signature in the form r || s.
func verifyFixed(public *ecdsa.PublicKey, digest, sig []byte) bool {
	return len(sig) == 64 &&
		ecdsa.Verify(public, digest, new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
}
