package ledger_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/mission-authority/mas/ledger"
)

const vectorFile = "../verifier/testdata/vectors/ledger.json"

// golden is the golden log of the vectors: its bytes are fixed and must be reproduced.
type golden struct {
	Origin     string `json:"origin"`
	LogVKey    string `json:"log_vkey"`
	Witness    string `json:"witness_vkey"`
	Statements []struct {
		Name   string `json:"name"`
		CBOR   string `json:"statement_cbor_hex"`
		Digest string `json:"preimage_sha256"`
		Leaf   string `json:"leaf_hash_hex"`
		Pub    string `json:"issuer_ed25519_pub_hex"`
	} `json:"statements"`
	Roots              []string `json:"roots_hex"`
	Tile               string   `json:"tile_0_000.p_4_hex"`
	Bundle             string   `json:"entry_bundle_tile_entries_000.p_4_hex"`
	Checkpoint         string   `json:"checkpoint"`
	Cosigned           string   `json:"cosigned_checkpoint"`
	Inclusion          []string `json:"inclusion_path_idx1_size4_hex"`
	Consistency        []string `json:"consistency_path_2_4_hex"`
	ReceiptInclusion   string   `json:"receipt_inclusion_cbor_hex"`
	ReceiptConsistency string   `json:"receipt_consistency_cbor_hex"`
	Transparent        string   `json:"transparent_statement_cbor_hex"`
	Proof              string   `json:"tlog_proof"`
	AddCheckpoint      string   `json:"witness_add_checkpoint_request_old2"`
	ReceiptPub         string   `json:"ts_cose_ed25519_pub_hex"`
}

// vector is one case of the vectors.
type vector struct {
	Name     string          `json:"name"`
	Kind     string          `json:"kind"`
	Input    json.RawMessage `json:"input"`
	Expected json.RawMessage `json:"expected"`
}

func readVectors(t testing.TB) (golden, []vector) {
	t.Helper()
	data, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Golden golden   `json:"golden"`
		Cases  []vector `json:"cases"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return file.Golden, file.Cases
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unhash(t testing.TB, s string) ledger.Hash {
	t.Helper()
	b := unhex(t, s)
	if len(b) != ledger.HashSize {
		t.Fatalf("hash of %d octets", len(b))
	}
	return ledger.Hash(b)
}

// seedKey is the Ed25519 key whose seed is 32 times b, as the golden log uses them: 1 log, 2 witness, 3 receipts,
// 4 issuer, 5 decision point.
func seedKey(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

// goldenSigner signs with a golden key under the kid it has in the golden log, which is not a thumbprint.
type goldenSigner struct {
	kid string
	key ed25519.PrivateKey
}

func (s goldenSigner) KeyID() []byte               { return []byte(s.kid) }
func (s goldenSigner) Algorithm() ledger.Algorithm { return ledger.AlgEdDSA }
func (s goldenSigner) Sign(_ context.Context, message []byte) ([]byte, error) {
	return ed25519.Sign(s.key, message), nil
}

func TestGoldenStatements(t *testing.T) {
	g, _ := readVectors(t)
	keys := []byte{3, 4, 4, 5}
	for i, want := range g.Statements {
		raw := unhex(t, want.CBOR)
		s, err := ledger.ParseStatement(raw)
		if err != nil {
			t.Fatalf("%s: %v", want.Name, err)
		}
		if s.Leaf().String() != want.Leaf || s.Digest.String() != want.Digest {
			t.Errorf("%s: leaf %s, digest %s", want.Name, s.Leaf(), s.Digest)
		}
		if err := s.Verify(ed25519.PublicKey(unhex(t, want.Pub))); err != nil {
			t.Errorf("%s: %v", want.Name, err)
		}
		if err := s.Verify(seedKey(9).Public()); !errors.Is(err, ledger.ErrSignature) {
			t.Errorf("%s: another key: %v", want.Name, err)
		}
		again, err := ledger.SignStatement(t.Context(), s.Claims, goldenSigner{string(s.KeyID), seedKey(keys[i])})
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("%s: signing again gives %x, %v", want.Name, again, err)
		}
	}
}
