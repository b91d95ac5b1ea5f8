package ledger

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
)

// Algorithm is a COSE algorithm identifier. Each belongs to one key type.
type Algorithm int64

// The algorithms of statements and receipts (RFC 9053).
const (
	AlgES256 Algorithm = -7 // ECDSA with SHA-256, P-256 keys only
	AlgEdDSA Algorithm = -8 // Ed25519 keys only
)

// SignatureSize is the size in octets of a signature of either algorithm in COSE form.
const SignatureSize = 64

// ErrSignature: a well-formed object was not signed by the key it was checked with.
var ErrSignature = errors.New("ledger: signature does not verify")

// ErrUnknownKey: the kid of an object names none of the trusted keys. Nothing is known about the signature.
var ErrUnknownKey = errors.New("ledger: unknown key")

// errKeyType: neither an Ed25519 nor a valid P-256 public key.
var errKeyType = errors.New("ledger: unsupported public key")

// A Signer signs COSE objects with one key.
type Signer interface {
	// KeyID is the kid of the key's signatures: its RFC 9679 thumbprint (KeyThumbprint).
	KeyID() []byte
	Algorithm() Algorithm
	// Sign returns the signature of message in COSE form, 64 octets: r || s for ES256, the raw signature for EdDSA.
	// The message is not hashed yet.
	Sign(ctx context.Context, message []byte) ([]byte, error)
}

// NewSigner returns a Signer over a private key: *ecdsa.PrivateKey on P-256, ed25519.PrivateKey, or another
// crypto.Signer whose public key is of one of these types.
func NewSigner(key crypto.Signer) (Signer, error) {
	alg, err := algorithmOf(key.Public())
	if err != nil {
		return nil, err
	}
	kid, err := KeyThumbprint(key.Public())
	if err != nil {
		return nil, err
	}
	return &keySigner{key: key, alg: alg, kid: kid}, nil
}

type keySigner struct {
	key crypto.Signer
	alg Algorithm
	kid []byte
}

func (s *keySigner) KeyID() []byte        { return s.kid }
func (s *keySigner) Algorithm() Algorithm { return s.alg }

func (s *keySigner) Sign(_ context.Context, message []byte) ([]byte, error) {
	if s.alg == AlgEdDSA {
		return s.key.Sign(nil, message, crypto.Hash(0))
	}
	digest := sha256.Sum256(message)
	der, err := s.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return ecdsaFromDER(der)
}

// ecdsaFromDER converts an ASN.1 ECDSA signature to r || s.
func ecdsaFromDER(der []byte) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(rest) > 0 || sig.R.Sign() <= 0 || sig.S.Sign() <= 0 ||
		sig.R.BitLen() > 256 || sig.S.BitLen() > 256 {
		return nil, errors.New("ledger: malformed ECDSA signature from the key")
	}
	out := make([]byte, SignatureSize)
	sig.R.FillBytes(out[:32])
	sig.S.FillBytes(out[32:])
	return out, nil
}

// algorithmOf returns the one algorithm a public key may be used with.
func algorithmOf(pub crypto.PublicKey) (Algorithm, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k == nil || k.Curve != elliptic.P256() {
			return 0, errKeyType
		}
		return AlgES256, nil
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return 0, errKeyType
		}
		return AlgEdDSA, nil
	}
	return 0, errKeyType
}

// appendSigStructure writes the Sig_structure of a COSE_Sign1 with empty external_aad (RFC 9052 4.4): what is signed.
func appendSigStructure(b, protected, payload []byte) []byte {
	b = appendItemHead(b, cborArray, 4)
	b = appendText(b, "Signature1")
	b = appendBytes(b, protected)
	b = appendBytes(b, nil)
	return appendBytes(b, payload)
}

// signCOSE returns the signature over the Sig_structure of protected and payload.
func signCOSE(ctx context.Context, protected, payload []byte, s Signer) ([]byte, error) {
	tbs := appendSigStructure(make([]byte, 0, len(protected)+len(payload)+24), protected, payload)
	sig, err := s.Sign(ctx, tbs)
	if err != nil {
		return nil, fmt.Errorf("ledger: sign: %w", err)
	}
	if len(sig) != SignatureSize {
		return nil, fmt.Errorf("ledger: sign: signature of %d octets, want %d", len(sig), SignatureSize)
	}
	return sig, nil
}

// verifyCOSE checks a signature over the Sig_structure of protected and payload. The algorithm of the object must be
// the one that belongs to the key.
func verifyCOSE(alg Algorithm, pub crypto.PublicKey, protected, payload, sig []byte) error {
	want, err := algorithmOf(pub)
	if err != nil {
		return err
	}
	if alg != want || len(sig) != SignatureSize {
		return fmt.Errorf("%w: algorithm %d with a key for %d", ErrSignature, alg, want)
	}
	return verifyMessage(pub, appendSigStructure(make([]byte, 0, len(protected)+len(payload)+24), protected, payload), sig)
}

// verifyMessage checks a signature in the form that a Signer makes.
func verifyMessage(pub crypto.PublicKey, message, sig []byte) error {
	ok := false
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if len(sig) == SignatureSize {
			digest := sha256.Sum256(message)
			ok = ecdsa.Verify(k, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
		}
	case ed25519.PublicKey:
		ok = ed25519.Verify(k, message, sig)
	}
	if !ok {
		return ErrSignature
	}
	return nil
}

// COSE and CWT labels.
const (
	coseAlg         = 1
	coseKID         = 4
	coseCWTClaims   = 15
	coseTyp         = 16
	coseHashAlg     = 258 // RFC 9995 payload-hash-alg
	coseContentType = 259 // RFC 9995 preimage content type
	coseReceipts    = 394 // RFC 9942
	coseVDS         = 395
	coseVDP         = 396

	cwtIssuer   = 1
	cwtSubject  = 2
	cwtIssuedAt = 6
	cwtFeedSeq  = -65537 // private use: see ReceiptClaims.FeedSeq
	cwtFeedSize = -65538 // private use: see ReceiptClaims.FeedSize

	hashAlgSHA256 = -16

	sign1Tag = 18
)

// Limits of what a COSE header may carry.
const (
	maxKeyID = 128
	maxClaim = 8192      // iss and sub, octets
	maxTime  = 1<<53 - 1 // iat, seconds since the epoch
)

// checkAlgorithm and readAlgorithm admit the two known algorithms only.
func checkAlgorithm(a Algorithm) error {
	if a != AlgES256 && a != AlgEdDSA {
		return fmt.Errorf("%w: %d", ErrAlgorithm, a)
	}
	return nil
}

func (r *cborReader) algorithm() Algorithm {
	a := Algorithm(r.int())
	if err := checkAlgorithm(a); r.err == nil && err != nil {
		r.refuse(err)
	}
	return a
}

// keyID reads a kid of 1 to maxKeyID octets.
func (r *cborReader) keyID() []byte {
	kid := r.bytes(maxKeyID)
	if r.err == nil && len(kid) == 0 {
		r.fail("empty kid")
	}
	return kid
}

// sign1 reads a tagged COSE_Sign1 up to its protected header; the caller reads the other three elements.
func (r *cborReader) sign1(limit int) (protected []byte) {
	r.literal(cborTag<<5 | sign1Tag)
	r.container(cborArray, 4)
	return r.bytes(limit)
}

// signature reads the last element of a COSE_Sign1.
func (r *cborReader) signature() []byte {
	sig := r.bytes(SignatureSize)
	if r.err == nil && len(sig) != SignatureSize {
		r.fail("signature of %d octets", len(sig))
	}
	return sig
}
