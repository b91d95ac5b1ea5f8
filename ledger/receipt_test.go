package ledger_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/mission-authority/mas/ledger"
	"github.com/veraison/go-cose"
)

func validReceiptClaims() ledger.ReceiptClaims {
	return ledger.ReceiptClaims{Issuer: "https://as.example", Subject: validClaims().Subject, IssuedAt: 1_800_000_000}
}

// twoLeaves is the inclusion of one of the leaves testLeaf(0) and testLeaf(1) in their tree.
func twoLeaves(index uint64) ledger.Inclusion {
	return ledger.Inclusion{Size: 2, Index: index, Path: []ledger.Hash{testLeaf(1 - index)}}
}

// receiptFor appends a statement to a log of n test leaves and returns the receipt of the statement.
func receiptFor(t testing.TB, statement []byte, n uint64, c ledger.ReceiptClaims, s ledger.Signer) ([]byte, ledger.Hash) {
	t.Helper()
	tree := newTestTree(n)
	tree.leaves = append(tree.leaves, ledger.HashLeaf(statement))
	tree.edge.Append(ledger.HashLeaf(statement))
	path, err := ledger.InclusionPath(n, n+1, tree.tile)
	if err != nil {
		t.Fatal(err)
	}
	root := tree.edge.Root()
	raw, err := ledger.SignReceipt(context.Background(), c, ledger.Inclusion{Size: n + 1, Index: n, Path: path}, root, s)
	if err != nil {
		t.Fatal(err)
	}
	return raw, root
}

func TestReceiptRoundTrip(t *testing.T) {
	statement := mustSign(t, validClaims(), newSigner(t, p256Key(t, 4)))
	s, err := ledger.ParseStatement(statement)
	if err != nil {
		t.Fatal(err)
	}
	seq, big := uint64(0), uint64(math.MaxUint64)
	for _, key := range []crypto.Signer{p256Key(t, 3), seedKey(3)} {
		for _, feedSeq := range []*uint64{nil, &seq, &big} {
			c := validReceiptClaims()
			c.FeedSeq = feedSeq
			signer := newSigner(t, key)
			raw, root := receiptFor(t, statement, 300, c, signer)
			r, err := ledger.ParseReceipt(raw)
			if err != nil {
				t.Fatal(err)
			}
			if (r.FeedSeq == nil) != (feedSeq == nil) || feedSeq != nil && *r.FeedSeq != *feedSeq {
				t.Errorf("feed seq %v, want %v", r.FeedSeq, feedSeq)
			}
			if r.Issuer != c.Issuer || r.Subject != c.Subject || r.IssuedAt != c.IssuedAt || r.Size != 301 || r.Index != 300 {
				t.Errorf("parsed %+v", r)
			}
			if !bytes.Equal(r.KeyID, signer.KeyID()) || r.Algorithm != signer.Algorithm() || !bytes.Equal(r.Raw, raw) {
				t.Errorf("parsed %+v", r)
			}
			if got, err := r.Verify(s.Leaf(), key.Public()); err != nil || got != root {
				t.Errorf("root %s, %v, want %s", got, err, root)
			}
			trusted, err := ledger.NewKey(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			keys := ledger.KeySet{trusted}
			if got, err := r.VerifyStatement(s, c.Issuer, keys); err != nil || got != root {
				t.Errorf("VerifyStatement: root %s, %v", got, err)
			}
			if _, err := r.VerifyStatement(s, c.Issuer+"/", keys); !errors.Is(err, ledger.ErrProof) {
				t.Errorf("another issuer: %v", err)
			}
			if _, err := r.VerifyStatement(s, c.Issuer, nil); !errors.Is(err, ledger.ErrUnknownKey) {
				t.Errorf("unknown key: %v", err)
			}
			other := *s
			other.Subject += "x"
			if _, err := r.VerifyStatement(&other, c.Issuer, keys); !errors.Is(err, ledger.ErrProof) {
				t.Errorf("another subject: %v", err)
			}
			if _, err := r.Verify(testLeaf(0), key.Public()); !errors.Is(err, ledger.ErrSignature) {
				t.Errorf("another leaf: %v", err)
			}
			if _, err := r.Verify(s.Leaf(), p256Key(t, 9).Public()); !errors.Is(err, ledger.ErrSignature) {
				t.Errorf("another key: %v", err)
			}
		}
	}
}

// TestReceiptsThatAreNotSigned: no receipt of inclusion in a tree of fewer than two entries or without a path, none of
// consistency but between a tree and a larger one.
//
// Audit rows: 47, 50.
func TestReceiptsThatAreNotSigned(t *testing.T) {
	signer := newSigner(t, seedKey(3))
	path := []ledger.Hash{testLeaf(1)}
	for name, in := range map[string]ledger.Inclusion{
		"empty tree":       {},
		"tree of size 1":   {Size: 1},
		"index = size":     {Size: 2, Index: 2, Path: path},
		"no path":          {Size: 2, Index: 0},
		"path too long":    {Size: 2, Index: 0, Path: append(path, path...)},
		"path of size 256": {Size: 256, Index: 3, Path: path},
	} {
		if _, err := ledger.SignReceipt(t.Context(), validReceiptClaims(), in, ledger.Hash{}, signer); err == nil {
			t.Errorf("inclusion, %s: signed", name)
		}
	}
	for name, con := range map[string]ledger.Consistency{
		"from 0":      {From: 0, To: 2, Path: path},
		"equal sizes": {From: 2, To: 2, Path: path},
		"backwards":   {From: 3, To: 2, Path: path},
		"no path":     {From: 1, To: 2},
	} {
		if _, err := ledger.SignConsistencyReceipt(t.Context(), validReceiptClaims(), con, ledger.Hash{}, signer); err == nil {
			t.Errorf("consistency, %s: signed", name)
		}
	}
	for name, change := range map[string]func(*ledger.ReceiptClaims){
		"no issuer":  func(c *ledger.ReceiptClaims) { c.Issuer = "" },
		"no subject": func(c *ledger.ReceiptClaims) { c.Subject = "" },
		"no time":    func(c *ledger.ReceiptClaims) { c.IssuedAt = 0 },
		"odd time":   func(c *ledger.ReceiptClaims) { c.IssuedAt = 1 << 53 },
	} {
		c := validReceiptClaims()
		change(&c)
		if _, err := ledger.SignReceipt(t.Context(), c, twoLeaves(0), ledger.Hash{}, signer); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

// receiptValue is a receipt as CBOR values, to be encoded in other ways.
type receiptValue struct {
	protected   string // hex
	unprotected any
	payload     any
	signature   []byte
}

func (v receiptValue) encode(t *testing.T) []byte {
	t.Helper()
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	b, err := mode.Marshal(cbor.Tag{Number: 18, Content: []any{unhex(t, v.protected), v.unprotected, v.payload, v.signature}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func cborBytes(t *testing.T, v any) []byte {
	t.Helper()
	b, err := cbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Audit rows: 48, 49.
func TestOtherReceiptsAreRefused(t *testing.T) {
	const claims = "0fa3" + "016169" + "026173" + "0601"
	const header = "a4" + "0127" + "04416b" + claims + "19018b01"
	hash := testLeaf(0)
	proof := cborBytes(t, []any{2, 0, [][]byte{hash[:]}})
	vdp := func(label any, proofs ...any) any { return map[int]any{396: map[any]any{label: proofs}} }
	valid := receiptValue{protected: header, unprotected: vdp(-1, proof), signature: make([]byte, 64)}
	if r, err := ledger.ParseReceipt(valid.encode(t)); err != nil || r.Issuer != "i" || r.Size != 2 || r.IssuedAt != 1 {
		t.Fatalf("the base of the cases does not parse: %+v, %v", r, err)
	}
	bad := map[string]receiptValue{}
	with := func(name string, change func(*receiptValue)) {
		v := valid
		change(&v)
		bad[name] = v
	}
	for name, h := range map[string]string{
		"vds 2":              strings.Replace(header, "19018b01", "19018b02", 1),
		"no vds":             "a3" + strings.TrimSuffix(header[2:], "19018b01"),
		"old label -111":     strings.Replace(header, "19018b01", "386e01", 1),
		"no iat":             strings.Replace(header, claims, "0fa2"+"016169"+"026173", 1),
		"iat 0":              strings.Replace(header, "0601", "0600", 1),
		"no claims":          "a3" + strings.Replace(header[2:], claims, "", 1),
		"no sub":             strings.Replace(header, claims, "0fa2"+"016169"+"0601", 1),
		"fourth claim":       strings.Replace(header, claims, "0fa4"+claims[4:]+"0701", 1),
		"negative feed seq":  strings.Replace(header, claims, "0fa4"+claims[4:]+"3a0001000020", 1),
		"fifth claim":        strings.Replace(header, claims, "0fa5"+claims[4:]+"07013a0001000001", 1),
		"fifth label":        "a5" + header[2:] + "19018c01",
		"algorithm ES512":    strings.Replace(header, "0127", "013823", 1),
		"no kid":             "a3" + strings.Replace(header[2:], "04416b", "", 1),
		"trailing octet":     header + "00",
		"labels out of turn": "a4" + "04416b" + "0127" + claims + "19018b01",
	} {
		with(name, func(v *receiptValue) { v.protected = h })
	}
	for name, u := range map[string]any{
		"no proof":             map[int]any{},
		"old label -222":       map[int]any{-222: map[int]any{-1: []any{proof}}},
		"no proofs":            vdp(-1),
		"two proofs":           vdp(-1, proof, proof),
		"both kinds of proof":  map[int]any{396: map[int]any{-1: []any{proof}, -2: []any{proof}}},
		"consistency proof":    vdp(-2, proof),
		"another label":        map[int]any{396: map[int]any{-1: []any{proof}}, 4: []byte("k")},
		"proof as an array":    vdp(-1, []any{2, 0, [][]byte{hash[:]}}),
		"size 1":               vdp(-1, cborBytes(t, []any{1, 0, [][]byte{hash[:]}})),
		"size 0":               vdp(-1, cborBytes(t, []any{0, 0, [][]byte{hash[:]}})),
		"index = size":         vdp(-1, cborBytes(t, []any{2, 2, [][]byte{hash[:]}})),
		"negative index":       vdp(-1, cborBytes(t, []any{2, -1, [][]byte{hash[:]}})),
		"empty path":           vdp(-1, cborBytes(t, []any{2, 0, [][]byte{}})),
		"long path":            vdp(-1, cborBytes(t, []any{2, 0, [][]byte{hash[:], hash[:]}})),
		"hash of 31":           vdp(-1, cborBytes(t, []any{2, 0, [][]byte{hash[1:]}})),
		"hash of 33":           vdp(-1, cborBytes(t, []any{2, 0, [][]byte{append(hash[:], 0)}})),
		"hash as text":         vdp(-1, cborBytes(t, []any{2, 0, []any{strings.Repeat("a", 32)}})),
		"fourth proof element": vdp(-1, cborBytes(t, []any{2, 0, [][]byte{hash[:]}, 0})),
		"octet after proof":    vdp(-1, append(bytes.Clone(proof), 0)),
	} {
		with(name, func(v *receiptValue) { v.unprotected = u })
	}
	root := ledger.HashChildren(testLeaf(0), testLeaf(1))
	with("attached payload", func(v *receiptValue) { v.payload = root[:] })
	with("empty payload", func(v *receiptValue) { v.payload = []byte{} })
	with("short signature", func(v *receiptValue) { v.signature = make([]byte, 63) })
	for name, v := range bad {
		if _, err := ledger.ParseReceipt(v.encode(t)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	raw := valid.encode(t)
	for cut := range raw {
		if _, err := ledger.ParseReceipt(raw[:cut]); err == nil {
			t.Errorf("first %d octets accepted", cut)
		}
	}
	if _, err := ledger.ParseReceipt(append(raw, 0)); err == nil {
		t.Error("trailing octet accepted")
	}
	if _, err := ledger.ParseReceipt(make([]byte, ledger.MaxReceiptSize+1)); !errors.Is(err, ledger.ErrTooLarge) {
		t.Errorf("oversize: %v", err)
	}
}

// TestConsistencyReceipt: the signature is over the newer root, and the path leads from the older one to it.
//
// Audit rows: 50.
func TestConsistencyReceipt(t *testing.T) {
	key := p256Key(t, 3)
	tree := newTestTree(20)
	old, err := ledger.RootAt(11, tree.tile)
	if err != nil {
		t.Fatal(err)
	}
	path, err := ledger.ConsistencyPath(11, 20, tree.tile)
	if err != nil {
		t.Fatal(err)
	}
	root := tree.edge.Root()
	con := ledger.Consistency{From: 11, To: 20, Path: path}
	raw, err := ledger.SignConsistencyReceipt(t.Context(), validReceiptClaims(), con, root, newSigner(t, key))
	if err != nil {
		t.Fatal(err)
	}
	r, err := ledger.ParseConsistencyReceipt(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(old, root, key.Public()); err != nil {
		t.Error(err)
	}
	if err := r.Verify(root, old, key.Public()); !errors.Is(err, ledger.ErrProof) {
		t.Errorf("roots swapped: %v", err)
	}
	if err := r.Verify(old, root, p256Key(t, 9).Public()); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("another key: %v", err)
	}
	if _, err := ledger.ParseReceipt(raw); err == nil {
		t.Error("read as a receipt of inclusion")
	}
	inclusion, _ := receiptFor(t, []byte("entry"), 4, validReceiptClaims(), newSigner(t, key))
	if _, err := ledger.ParseConsistencyReceipt(inclusion); err == nil {
		t.Error("receipt of inclusion read as one of consistency")
	}
}

// transparentMustRoundTrip attaches a receipt to an accepted statement and takes it off again.
func transparentMustRoundTrip(t *testing.T, raw []byte, s *ledger.Statement) {
	t.Helper()
	c := validReceiptClaims()
	c.Subject = s.Subject
	receipt, err := ledger.SignReceipt(context.Background(), c, twoLeaves(0), ledger.Hash{}, oddSigner{kid: []byte("k"), alg: ledger.AlgES256, sig: make([]byte, 64)})
	if err != nil {
		t.Fatal(err)
	}
	transparent, err := ledger.AttachReceipts(raw, receipt, receipt)
	if err != nil {
		t.Fatal(err)
	}
	statement, receipts, err := ledger.DetachReceipts(transparent)
	if err != nil || !bytes.Equal(statement, raw) || len(receipts) != 2 || !bytes.Equal(receipts[1], receipt) {
		t.Fatalf("detached %x and %d receipts, %v", statement, len(receipts), err)
	}
}

// TestTransparentStatements: receipts are written as byte strings under label 394, and read as those or as items.
//
// Audit rows: 51.
func TestTransparentStatements(t *testing.T) {
	issuer, service := p256Key(t, 4), p256Key(t, 3)
	statement := mustSign(t, validClaims(), newSigner(t, issuer))
	r1, _ := receiptFor(t, statement, 7, validReceiptClaims(), newSigner(t, service))
	r2, _ := receiptFor(t, statement, 70, validReceiptClaims(), newSigner(t, seedKey(3)))
	transparent, err := ledger.AttachReceipts(statement, r1, r2)
	if err != nil {
		t.Fatal(err)
	}
	got, receipts, err := ledger.DetachReceipts(transparent)
	if err != nil || !bytes.Equal(got, statement) || len(receipts) != 2 || !bytes.Equal(receipts[0], r1) || !bytes.Equal(receipts[1], r2) {
		t.Fatalf("detached %d receipts, %v", len(receipts), err)
	}

	// go-cose sees the receipts where RFC 9942 puts them, and the issuer's signature still verifies.
	var msg cose.Sign1Message
	if err := msg.UnmarshalCBOR(transparent); err != nil {
		t.Fatal(err)
	}
	list, ok := msg.Headers.Unprotected[int64(394)].([]any)
	if !ok || len(list) != 2 || !bytes.Equal(list[0].([]byte), r1) {
		t.Errorf("label 394 holds %v", msg.Headers.Unprotected)
	}
	v, err := cose.NewVerifier(cose.AlgorithmES256, issuer.Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := msg.Verify(nil, v); err != nil {
		t.Error(err)
	}

	// Receipts that stand there as items, as the RFC 9943 grammar has it, are accepted, mixed with byte strings too.
	embed := func(receipts ...any) []byte {
		head := statement[:len(statement)-1-34-66] // up to the empty map
		b := append(bytes.Clone(head), cborBytes(t, map[int]any{394: receipts})...)
		return append(b, statement[len(head)+1:]...)
	}
	mixed := embed(cbor.RawMessage(r1), r2)
	got, receipts, err = ledger.DetachReceipts(mixed)
	if err != nil || !bytes.Equal(got, statement) || len(receipts) != 2 || !bytes.Equal(receipts[0], r1) || !bytes.Equal(receipts[1], r2) {
		t.Errorf("embedded: %d receipts, %v", len(receipts), err)
	}

	many := make([]any, 17)
	for i := range many {
		many[i] = r1
	}
	for name, raw := range map[string][]byte{
		"bare statement":     statement,
		"no receipts":        embed([]any{}...),
		"null receipts":      embed(),
		"17 receipts":        embed(many...),
		"text receipt":       embed("receipt"),
		"a null receipt":     embed(nil),
		"an empty receipt":   embed([]byte{}),
		"statement for one":  embed(cbor.RawMessage(statement)),
		"truncated receipt":  embed(r1[:len(r1)-1]),
		"nested in an array": embed([]any{r1}),
		"trailing octet":     append(bytes.Clone(transparent), 0),
		"nothing":            nil,
	} {
		if _, _, err := ledger.DetachReceipts(raw); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, _, err := ledger.DetachReceipts(make([]byte, ledger.MaxTransparentSize+1)); !errors.Is(err, ledger.ErrTooLarge) {
		t.Errorf("oversize: %v", err)
	}

	other := validReceiptClaims()
	other.Subject += "x"
	foreign, _ := receiptFor(t, statement, 7, other, newSigner(t, service))
	for name, attach := range map[string]func() ([]byte, error){
		"no receipt":       func() ([]byte, error) { return ledger.AttachReceipts(statement) },
		"other subject":    func() ([]byte, error) { return ledger.AttachReceipts(statement, foreign) },
		"not a receipt":    func() ([]byte, error) { return ledger.AttachReceipts(statement, statement) },
		"not a statement":  func() ([]byte, error) { return ledger.AttachReceipts(r1, r1) },
		"already attached": func() ([]byte, error) { return ledger.AttachReceipts(transparent, r1) },
	} {
		if _, err := attach(); err == nil {
			t.Errorf("%s: attached", name)
		}
	}
}

func FuzzParseReceipt(f *testing.F) {
	g, _ := readVectors(f)
	f.Add(unhex(f, g.ReceiptInclusion))
	f.Add(unhex(f, g.ReceiptConsistency))
	raw, _ := receiptFor(f, []byte("entry"), 9, validReceiptClaims(), newSigner(f, p256Key(f, 3)))
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < ledger.SignatureSize {
			return
		}
		odd := oddSigner{sig: raw[len(raw)-ledger.SignatureSize:]}
		if r, err := ledger.ParseReceipt(raw); err == nil {
			odd.kid, odd.alg = r.KeyID, r.Algorithm
			again, err := ledger.SignReceipt(context.Background(), r.ReceiptClaims, r.Inclusion, ledger.Hash{}, odd)
			if err != nil || !bytes.Equal(again, raw) {
				t.Errorf("accepted %x, canonical is %x, %v", raw, again, err)
			}
		}
		if r, err := ledger.ParseConsistencyReceipt(raw); err == nil {
			odd.kid, odd.alg = r.KeyID, r.Algorithm
			again, err := ledger.SignConsistencyReceipt(context.Background(), r.ReceiptClaims, r.Consistency, ledger.Hash{}, odd)
			if err != nil || !bytes.Equal(again, raw) {
				t.Errorf("accepted %x, canonical is %x, %v", raw, again, err)
			}
		}
	})
}

func FuzzDetachReceipts(f *testing.F) {
	g, _ := readVectors(f)
	f.Add(unhex(f, g.Transparent))
	f.Fuzz(func(t *testing.T, raw []byte) {
		statement, receipts, err := ledger.DetachReceipts(raw)
		if err != nil {
			return
		}
		if _, err := ledger.ParseStatement(statement); err != nil || len(receipts) == 0 {
			t.Errorf("detached %d receipts, %v", len(receipts), err)
		}
		for _, r := range receipts {
			if _, err := ledger.ParseReceipt(r); err != nil {
				t.Error(err)
			}
		}
	})
}

func BenchmarkSignReceipt(b *testing.B) {
	tree := newTestTree(65_793)
	path, err := ledger.InclusionPath(40_000, 65_793, tree.tile)
	if err != nil {
		b.Fatal(err)
	}
	in := ledger.Inclusion{Size: 65_793, Index: 40_000, Path: path}
	signer, root := newSigner(b, p256Key(b, 3)), tree.edge.Root()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ledger.SignReceipt(b.Context(), validReceiptClaims(), in, root, signer); err != nil {
			b.Fatal(err)
		}
	}
}
