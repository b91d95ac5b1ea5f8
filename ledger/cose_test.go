package ledger_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"github.com/mission-authority/mas/ledger"
)

// p256Key is the P-256 key whose private scalar is 32 times b.
func p256Key(t testing.TB, b byte) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), slices.Repeat([]byte{b}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newSigner(t testing.TB, key crypto.Signer) ledger.Signer {
	t.Helper()
	s, err := ledger.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSignersOfBothAlgorithms(t *testing.T) {
	for _, key := range []crypto.Signer{p256Key(t, 1), seedKey(1)} {
		s := newSigner(t, key)
		sig, err := s.Sign(t.Context(), []byte("message"))
		if err != nil || len(sig) != ledger.SignatureSize {
			t.Errorf("%d: signature of %d octets, %v", s.Algorithm(), len(sig), err)
		}
		if thumb, err := ledger.KeyThumbprint(key.Public()); err != nil || !slices.Equal(thumb, s.KeyID()) {
			t.Errorf("%d: kid %x, thumbprint %x, %v", s.Algorithm(), s.KeyID(), thumb, err)
		}
	}
}

func TestUnsupportedKeysAreRefused(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.NewSigner(p384); err == nil {
		t.Error("P-384 accepted")
	}
	raw := mustSign(t, validClaims(), newSigner(t, p256Key(t, 1)))
	s, err := ledger.ParseStatement(raw)
	if err != nil {
		t.Fatal(err)
	}
	for name, pub := range map[string]crypto.PublicKey{
		"P-384": p384.Public(), "nil": nil, "short Ed25519": ed25519.PublicKey{1}, "nil P-256": (*ecdsa.PublicKey)(nil),
		"string": "key", "Ed25519 for ES256": seedKey(1).Public(),
	} {
		if s.Verify(pub) == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

// oddSigner returns what it is told to.
type oddSigner struct {
	kid []byte
	alg ledger.Algorithm
	sig []byte
	err error
}

func (s oddSigner) KeyID() []byte                                { return s.kid }
func (s oddSigner) Algorithm() ledger.Algorithm                  { return s.alg }
func (s oddSigner) Sign(context.Context, []byte) ([]byte, error) { return s.sig, s.err }

func TestOddSignersAreRefused(t *testing.T) {
	down := errors.New("key service down")
	good := oddSigner{kid: []byte("k"), alg: ledger.AlgEdDSA, sig: make([]byte, 64)}
	if _, err := ledger.SignStatement(t.Context(), validClaims(), good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*oddSigner){
		"no kid":          func(s *oddSigner) { s.kid = nil },
		"long kid":        func(s *oddSigner) { s.kid = make([]byte, 129) },
		"algorithm":       func(s *oddSigner) { s.alg = -37 },
		"short signature": func(s *oddSigner) { s.sig = s.sig[1:] },
		"DER signature":   func(s *oddSigner) { s.sig = make([]byte, 71) },
		"error":           func(s *oddSigner) { s.err = down },
	} {
		s := good
		change(&s)
		_, err := ledger.SignStatement(t.Context(), validClaims(), s)
		if err == nil || s.err != nil && !errors.Is(err, down) {
			t.Errorf("%s: statement: %v", name, err)
		}
		if _, err := ledger.SignReceipt(t.Context(), validReceiptClaims(), twoLeaves(0), ledger.Hash{}, s); err == nil {
			t.Errorf("%s: receipt signed", name)
		}
	}
}

func validClaims() ledger.Claims {
	return ledger.Claims{
		Issuer: "https://as.example", Subject: "https://as.example/missions/msn_1",
		ContentType: "application/mission-approval-record+json", Digest: sha256.Sum256([]byte("body")),
	}
}

func mustSign(t testing.TB, c ledger.Claims, s ledger.Signer) []byte {
	t.Helper()
	raw, err := ledger.SignStatement(context.Background(), c, s)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
