package ledger_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"golang.org/x/mod/sumdb/note"
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

// goldenTree is the tree of the four golden statements.
func goldenTree(t *testing.T, g golden) *testTree {
	t.Helper()
	tree := newTestTree(0)
	for _, s := range g.Statements {
		leaf := ledger.HashLeaf(unhex(t, s.CBOR))
		tree.leaves = append(tree.leaves, leaf)
		tree.edge.Append(leaf)
	}
	return tree
}

// Audit rows: 7.
func TestGoldenTree(t *testing.T) {
	g, _ := readVectors(t)
	tree := goldenTree(t, g)
	for size, want := range g.Roots {
		if got, err := ledger.RootAt(uint64(size), tree.tile); err != nil || got.String() != want {
			t.Errorf("root at %d: %s, %v", size, got, err)
		}
	}
	if got := hex.EncodeToString(ledger.MarshalTile(tree.edge.Partial(0))); got != g.Tile {
		t.Errorf("tile %s", got)
	}
	var entries [][]byte
	for _, s := range g.Statements {
		entries = append(entries, unhex(t, s.CBOR))
	}
	bundle, err := ledger.MarshalBundle(entries)
	if err != nil || hex.EncodeToString(bundle) != g.Bundle {
		t.Errorf("bundle %x, %v", bundle, err)
	}
	inclusion, err := ledger.InclusionPath(1, 4, tree.tile)
	if err != nil || hexPath(inclusion) != strings.Join(g.Inclusion, " ") {
		t.Errorf("inclusion path %s, %v", hexPath(inclusion), err)
	}
	consistency, err := ledger.ConsistencyPath(2, 4, tree.tile)
	if err != nil || hexPath(consistency) != strings.Join(g.Consistency, " ") {
		t.Errorf("consistency path %s, %v", hexPath(consistency), err)
	}
}

func hexPath(path []ledger.Hash) string {
	s := make([]string, len(path))
	for i := range path {
		s[i] = path[i].String()
	}
	return strings.Join(s, " ")
}

// Audit rows: 7.
func TestGoldenNotes(t *testing.T) {
	g, _ := readVectors(t)
	tree := goldenTree(t, g)
	signer, verifier := noteKeys(t, g.Origin, seedKey(1))
	checkpoint, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: g.Origin, Size: 4, Root: tree.edge.Root()}, signer)
	if err != nil || string(checkpoint) != g.Checkpoint {
		t.Errorf("checkpoint %s, %v", checkpoint, err)
	}
	witness, err := ledger.NewCosigner("witness.example/w1", seedKey(2), time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	cosigned, err := ledger.Cosign(checkpoint, witness)
	if err != nil || string(cosigned) != g.Cosigned {
		t.Errorf("cosigned checkpoint %s, %v", cosigned, err)
	}
	path, err := ledger.ConsistencyPath(2, 4, tree.tile)
	if err != nil {
		t.Fatal(err)
	}
	request, err := ledger.AddCheckpoint{Old: 2, Path: path, Checkpoint: checkpoint}.Marshal()
	if err != nil || string(request) != g.AddCheckpoint {
		t.Errorf("add-checkpoint %s, %v", request, err)
	}
	if path, err = ledger.InclusionPath(1, 4, tree.tile); err != nil {
		t.Fatal(err)
	}
	proof, err := ledger.TLogProof{Index: 1, Path: path, Checkpoint: cosigned}.Marshal()
	if err != nil || string(proof) != g.Proof {
		t.Errorf("tlog-proof %s, %v", proof, err)
	}
	p, err := ledger.ParseTLogProof([]byte(g.Proof))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Verify(tree.leaves[1], g.Origin, verifier); err != nil {
		t.Error(err)
	}
	wv, err := ledger.NewCosignatureVerifier(g.Witness)
	if err != nil {
		t.Fatal(err)
	}
	_, found, err := ledger.OpenCosigned([]byte(g.Cosigned), g.Origin, []note.Verifier{verifier}, []note.Verifier{wv})
	if err != nil || len(found) != 1 || found[0].At.Unix() != 1_800_000_000 {
		t.Errorf("cosignatures %v, %v", found, err)
	}
}

// Audit rows: 7.
func TestGoldenReceipts(t *testing.T) {
	g, _ := readVectors(t)
	tree := goldenTree(t, g)
	service, pub := goldenSigner{"ts-1", seedKey(3)}, ed25519.PublicKey(unhex(t, g.ReceiptPub))

	r, err := ledger.ParseReceipt(unhex(t, g.ReceiptInclusion))
	if err != nil {
		t.Fatal(err)
	}
	root, err := r.Verify(tree.leaves[1], pub)
	if err != nil || root != tree.edge.Root() {
		t.Errorf("root %s, %v", root, err)
	}
	raw, err := ledger.SignReceipt(t.Context(), r.ReceiptClaims, r.Inclusion, root, service)
	if err != nil || hex.EncodeToString(raw) != g.ReceiptInclusion {
		t.Errorf("receipt %x, %v", raw, err)
	}

	c, err := ledger.ParseConsistencyReceipt(unhex(t, g.ReceiptConsistency))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Verify(unhash(t, g.Roots[2]), root, pub); err != nil {
		t.Error(err)
	}
	raw, err = ledger.SignConsistencyReceipt(t.Context(), c.ReceiptClaims, c.Consistency, root, service)
	if err != nil || hex.EncodeToString(raw) != g.ReceiptConsistency {
		t.Errorf("consistency receipt %x, %v", raw, err)
	}

	transparent, err := ledger.AttachReceipts(unhex(t, g.Statements[1].CBOR), r.Raw)
	if err != nil || hex.EncodeToString(transparent) != g.Transparent {
		t.Errorf("transparent statement %x, %v", transparent, err)
	}
	statement, receipts, err := ledger.DetachReceipts(unhex(t, g.Transparent))
	if err != nil || hex.EncodeToString(statement) != g.Statements[1].CBOR || len(receipts) != 1 ||
		hex.EncodeToString(receipts[0]) != g.ReceiptInclusion {
		t.Errorf("detached %x and %d receipts, %v", statement, len(receipts), err)
	}
}

func TestSignedVectors(t *testing.T) {
	_, cases := readVectors(t)
	ran := map[string]int{}
	for _, c := range cases {
		var in struct {
			Statement string `json:"statement_hex"`
			IssuerPub string `json:"issuer_ed25519_pub_hex"`
			Receipt   string `json:"receipt_hex"`
			LogPub    string `json:"ts_ed25519_pub_hex"`
			Leaf      string `json:"leaf_hash_hex"`
			Text      string `json:"text"`
			VKey      string `json:"vkey"`
			Origin    string `json:"origin"`
		}
		if err := json.Unmarshal(c.Input, &in); err != nil {
			t.Fatal(err)
		}
		got := `"reject"`
		switch c.Kind {
		case "cose-statement":
			s, err := ledger.ParseStatement(unhex(t, in.Statement))
			if err == nil && s.Verify(ed25519.PublicKey(unhex(t, in.IssuerPub))) == nil {
				got = fmt.Sprintf(`{"leaf_hash_hex":%q}`, s.Leaf())
			}
		case "cose-receipt":
			r, err := ledger.ParseReceipt(unhex(t, in.Receipt))
			if err != nil {
				break
			}
			if _, err := r.Verify(unhash(t, in.Leaf), ed25519.PublicKey(unhex(t, in.LogPub))); err == nil {
				got = `"accept"`
			}
		case "note":
			v, err := note.NewVerifier(in.VKey)
			if err != nil {
				t.Fatal(err)
			}
			if cp, err := ledger.OpenCheckpoint([]byte(in.Text), in.Origin, v); err == nil {
				got = fmt.Sprintf(`{"size":%d,"root_hex":%q}`, cp.Size, cp.Root)
			}
		case "tlog-proof":
			v, err := note.NewVerifier(in.VKey)
			if err != nil {
				t.Fatal(err)
			}
			p, err := ledger.ParseTLogProof([]byte(in.Text))
			if err != nil {
				break
			}
			if _, err := p.Verify(unhash(t, in.Leaf), in.Origin, v); err == nil {
				got = `"accept"`
			}
		default:
			continue
		}
		ran[c.Kind]++
		var want bytes.Buffer
		if err := json.Compact(&want, c.Expected); err != nil {
			t.Fatal(err)
		}
		if got != want.String() {
			t.Errorf("%s: %s, want %s", c.Name, got, want.String())
		}
	}
	if ran["cose-statement"] < 7 || ran["cose-receipt"] < 1 || ran["note"] < 5 || ran["tlog-proof"] < 1 {
		t.Errorf("ran %v", ran)
	}
}
