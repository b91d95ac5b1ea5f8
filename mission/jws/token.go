package jws

import (
	"context"
	"errors"

	"github.com/mission-authority/mas/mission"
)

// Algorithms.
const (
	ES256 = "ES256"
	EdDSA = "EdDSA"
)

// Errors. Callers branch on them with errors.Is.
var (
	// ErrEncoding: not a canonical compact JWS with the exact header.
	ErrEncoding = errors.New("jws: not a canonical compact JWS")
	// ErrTyp: another artifact.
	ErrTyp = errors.New("jws: wrong typ")
	// ErrAlg: an algorithm that is not accepted.
	ErrAlg = errors.New("jws: algorithm not accepted")
	// ErrSignature: unknown key or wrong signature.
	ErrSignature = errors.New("jws: signature does not verify")
)

// MaxCompact bounds a compact JWS, in octets.
const MaxCompact = 256 << 10

// A Signer holds one private key.
type Signer interface {
	KeyID() string
	Alg() string // ES256 or EdDSA
	// Sign returns the JWS signature over input: r||s of 64 octets for ES256, 64 octets for EdDSA.
	Sign(ctx context.Context, input []byte) ([]byte, error)
}

// A Token is a parsed compact JWS. Nothing in it may be believed before Verify returned nil.
type Token struct {
	Compact string
	Alg     string
	KeyID   string
	Typ     Typ
	Payload []byte
}

// Sign makes a compact JWS. The payload is signed as it is; hand in canonical JSON.
func Sign(ctx context.Context, s Signer, typ Typ, payload []byte) (string, error) { panic("not yet") }

// Parse reads a compact JWS of the given typ. Errors wrap ErrEncoding or ErrTyp.
func Parse(compact string, typ Typ) (*Token, error) { panic("not yet") }

// Verify checks the signature with the key of that id. algs are the accepted algorithms, all supported ones if none is
// given. Errors wrap ErrAlg or ErrSignature.
func (t *Token) Verify(keys *KeySet, algs ...string) error { panic("not yet") }

// Digest commits to the compact form.
func (t *Token) Digest() mission.Digest { return mission.RawDigest([]byte(t.Compact)) }

// Open is Parse and Verify.
func Open(compact string, typ Typ, keys *KeySet, algs ...string) (*Token, error) {
	t, err := Parse(compact, typ)
	if err != nil {
		return nil, err
	}
	if err := t.Verify(keys, algs...); err != nil {
		return nil, err
	}
	return t, nil
}

// CheckStatus makes all checks of a status response in the order of mission.Verdict.
func CheckStatus(compact string, keys *KeySet, c mission.StatusContext) (*mission.Status, mission.Verdict) {
	panic("not yet")
}
