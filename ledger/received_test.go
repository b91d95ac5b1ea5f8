package ledger_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"

	"github.com/mission-authority/mas/ledger"
)

// resign returns a COSE_Sign1 with these protected octets, signed by key b, as another implementation may write it.
func resign(t *testing.T, protected []byte, header, payload any) []byte {
	t.Helper()
	key := newSigner(t, p256Key(t, 4))
	digest, _ := payload.([]byte)
	tbs, err := cbor.Marshal([]any{"Signature1", protected, []byte{}, digest})
	if err != nil {
		t.Fatal(err)
	}
	sig, err := key.Sign(context.Background(), tbs)
	if err != nil {
		t.Fatal(err)
	}
	return statementParts{tag: 18, protected: protected, header: header, payload: payload, signature: sig}.encode(t)
}

// protectedOf writes a protected header with the labels in the given order; a nil value leaves one out.
func protectedOf(t *testing.T, order []int64, change func(map[int64]any)) []byte {
	t.Helper()
	c := validClaims()
	header := map[int64]any{
		1: -7, 4: newSigner(t, p256Key(t, 4)).KeyID(), 15: map[int]any{1: c.Issuer, 2: c.Subject}, 258: -16, 259: c.ContentType,
	}
	change(header)
	b := []byte{0xa0}
	for _, label := range order {
		value, ok := header[label]
		if !ok {
			continue
		}
		b[0]++
		for _, item := range []any{label, value} {
			encoded, err := cbor.Marshal(item)
			if err != nil {
				t.Fatal(err)
			}
			b = append(b, encoded...)
		}
	}
	return b
}

var labels = []int64{1, 2, 3, 4, 15, 16, 258, 259, 260}

// The statement that another implementation of COSE makes is one of ours, with every label that must be there.
//
// Audit rows: 29.
func TestEveryLabelIsNeeded(t *testing.T) {
	digest := bytes.Repeat([]byte{7}, 32)
	full := resign(t, protectedOf(t, labels, func(map[int64]any) {}), map[int]any{}, digest)
	s, err := ledger.ParseStatement(full)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(p256Key(t, 4).Public()); err != nil {
		t.Error(err)
	}
	for _, label := range []int64{1, 4, 15, 258, 259} {
		protected := protectedOf(t, labels, func(h map[int64]any) { delete(h, label) })
		if _, err := ledger.Canonical(resign(t, protected, map[int]any{}, digest)); err == nil {
			t.Errorf("without label %d: accepted", label)
		}
	}
	for claim, claims := range map[string]any{"iss": map[int]any{2: "s"}, "sub": map[int]any{1: "i"}, "both": map[int]any{6: 1}} {
		protected := protectedOf(t, labels, func(h map[int64]any) { h[15] = claims })
		if _, err := ledger.Canonical(resign(t, protected, map[int]any{}, digest)); err == nil {
			t.Errorf("without %s: accepted", claim)
		}
	}
	for hash, alg := range map[string]any{"SHA-512": -44, "a name": "sha-256"} {
		protected := protectedOf(t, labels, func(h map[int64]any) { h[258] = alg })
		if _, err := ledger.Canonical(resign(t, protected, map[int]any{}, digest)); err == nil {
			t.Errorf("hashed with %s: accepted", hash)
		}
	}
}

// What must be signed may not stand where nothing signs it, label 3 stands nowhere, and the digest is in the statement.
//
// Audit rows: 30.
func TestNothingOfTheEnvelopeIsUnprotected(t *testing.T) {
	digest := bytes.Repeat([]byte{7}, 32)
	good := protectedOf(t, labels, func(map[int64]any) {})
	for _, label := range labels {
		for _, value := range []any{-16, "a/b", []byte{1}} {
			if _, err := ledger.Canonical(resign(t, good, map[int64]any{label: value}, digest)); err == nil {
				t.Errorf("label %d unprotected: accepted", label)
			}
		}
	}
	for _, label := range []int64{2, 3, 260} {
		protected := protectedOf(t, labels, func(h map[int64]any) { h[label] = "a/b" })
		if _, err := ledger.Canonical(resign(t, protected, map[int]any{}, digest)); err == nil {
			t.Errorf("label %d protected: accepted", label)
		}
	}
	if _, err := ledger.Canonical(resign(t, good, map[int]any{}, nil)); !errors.Is(err, ledger.ErrNoPayload) {
		t.Errorf("detached payload: %v", err)
	}
	for _, n := range []int{0, 31, 33, 64} {
		if _, err := ledger.Canonical(resign(t, good, map[int]any{}, make([]byte, n))); err == nil {
			t.Errorf("payload of %d: accepted", n)
		}
	}
}

// Whatever stands in the unprotected header, receipts of this or another log included, the entry is the same.
//
// Audit rows: 31.
func TestUnprotectedHeaderDoesNotCount(t *testing.T) {
	g, _ := readVectors(t)
	transparent := unhex(t, g.Transparent)
	logged, receipts, err := ledger.DetachReceipts(transparent)
	if err != nil || len(receipts) == 0 {
		t.Fatal(err)
	}
	got, err := ledger.Canonical(transparent)
	if err != nil || !bytes.Equal(got, logged) {
		t.Fatalf("a transparent statement: %v", err)
	}
	if again, err := ledger.Canonical(got); err != nil || !bytes.Equal(again, got) {
		t.Errorf("a second time: %v", err)
	}
	var tag cbor.RawTag
	var parts []cbor.RawMessage
	if err := errors.Join(cbor.Unmarshal(logged, &tag), cbor.Unmarshal(tag.Content, &parts)); err != nil {
		t.Fatal(err)
	}
	for name, header := range map[string]string{
		"nothing":      "a0",
		"a chain":      "a11821" + "8241014102",
		"text label":   "a1" + "6178" + "f5",
		"nested":       "a1" + "1863" + "a1" + "01" + "83" + "f6" + "fa3f800000" + "f820",
		"tag":          "a1" + "1863" + "c11a6553f100",
		"two labels":   "a2" + "1863" + "01" + "1864" + "3863",
		"empty values": "a3" + "1863" + "80" + "1864" + "a0" + "1865" + "40",
	} {
		received := slices.Concat([]byte{0xd2, 0x84}, parts[0], unhex(t, header), parts[2], parts[3])
		if got, err := ledger.Canonical(received); err != nil || !bytes.Equal(got, logged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, header := range map[string]string{
		"a label twice":       "a2" + "186301" + "186302",
		"a text label twice":  "a2" + "617801" + "617802",
		"an odd label":        "a1" + "4101" + "01",
		"an indefinite map":   "bf" + "186301" + "ff",
		"an indefinite value": "a1" + "1863" + "9f01ff",
		"a long head":         "a1" + "1863" + "1801",
		"a long label":        "a1" + "190063" + "01",
		"deep nesting":        "a1" + "1863" + strings.Repeat("81", 8) + "01",
		"a value missing":     "a1" + "1863",
		"a simple value of 1": "a1" + "1863" + "f801",
		"a break":             "a1" + "1863" + "ff",
		"a huge array":        "a1" + "1863" + "9b00000000ffffffff",
		"65 labels":           "b841" + strings.Repeat("186301", 65),
		"no map":              "80",
	} {
		received := slices.Concat([]byte{0xd2, 0x84}, parts[0], unhex(t, header), parts[2], parts[3])
		if _, err := ledger.Canonical(received); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := ledger.Canonical(make([]byte, ledger.MaxReceivedSize+1)); !errors.Is(err, ledger.ErrTooLarge) {
		t.Errorf("oversize: %v", err)
	}
}

// A protected header in another order than ours is kept as it was signed, and the signature holds.
//
// Audit rows: 32.
func TestProtectedHeaderIsKeptVerbatim(t *testing.T) {
	digest := bytes.Repeat([]byte{7}, 32)
	canonical := protectedOf(t, labels, func(map[int64]any) {})
	for name, order := range map[string][]int64{
		"reversed": {259, 258, 15, 4, 1}, "claims first": {15, 1, 4, 258, 259}, "with typ": {1, 4, 15, 258, 259, 16},
	} {
		protected := protectedOf(t, order, func(h map[int64]any) { h[16] = ledger.TypeStatement })
		if bytes.Equal(protected, canonical) {
			t.Fatalf("%s: the case is the canonical header", name)
		}
		raw, err := ledger.Canonical(resign(t, protected, map[int]any{394: []any{}}, digest))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		s, err := ledger.ParseStatement(raw)
		if err != nil || !bytes.Contains(raw, protected) || s.Claims.ContentType != validClaims().ContentType {
			t.Errorf("%s: %+v, %v", name, s, err)
			continue
		}
		if err := s.Verify(p256Key(t, 4).Public()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var msg cose.Sign1Message
		verifier, err := cose.NewVerifier(cose.AlgorithmES256, p256Key(t, 4).Public())
		if err := errors.Join(err, msg.UnmarshalCBOR(raw)); err != nil {
			t.Fatal(err)
		}
		if err := msg.Verify(nil, verifier); err != nil {
			t.Errorf("%s, read by another implementation: %v", name, err)
		}
	}
}

// There is one encoding around the protected header, and one of every item in it.
//
// Audit rows: 33.
func TestReceivedStatementsAreDefinite(t *testing.T) {
	good := resign(t, protectedOf(t, labels, func(map[int64]any) {}), map[int]any{}, bytes.Repeat([]byte{7}, 32))
	if _, err := ledger.Canonical(good); err != nil {
		t.Fatal(err)
	}
	protected := protectedOf(t, labels, func(map[int64]any) {})
	wrap := func(p []byte) []byte { return resign(t, p, map[int]any{}, bytes.Repeat([]byte{7}, 32)) }
	for name, raw := range map[string][]byte{
		"untagged":             good[1:],
		"a trailing octet":     append(bytes.Clone(good), 0),
		"a long tag":           append([]byte{0xd8, 18}, good[1:]...),
		"a long array head":    append([]byte{0xd2, 0x98, 4}, good[2:]...),
		"an indefinite array":  append(append([]byte{0xd2, 0x9f}, good[2:]...), 0xff),
		"an indefinite header": wrap(append(append([]byte{0xbf}, protected[1:]...), 0xff)),
		"a long bstr head":     append([]byte{0xd2, 0x84, 0x59, 0, good[3]}, good[4:]...),
		"a label twice":        wrap(append(append([]byte{protected[0] + 1}, protected[1:]...), 0x01, 0x26)),
		"octets after the map": wrap(append(bytes.Clone(protected), 0)),
		"nothing":              nil,
	} {
		if _, err := ledger.Canonical(raw); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if good[2] != 0x58 {
		t.Fatalf("the head of the protected header is %x", good[2])
	}
}

// Only the two algorithms are allowed, each with its own type of key.
//
// Audit rows: 34.
func TestOtherAlgorithmsAreRefused(t *testing.T) {
	for _, alg := range []any{-35, -36, -37, -39, -257, -19, -9, 5, 0, "ES256"} {
		protected := protectedOf(t, labels, func(h map[int64]any) { h[1] = alg })
		_, err := ledger.Canonical(resign(t, protected, map[int]any{}, bytes.Repeat([]byte{7}, 32)))
		if _, number := alg.(int); err == nil || number && !errors.Is(err, ledger.ErrAlgorithm) {
			t.Errorf("algorithm %v: %v", alg, err)
		}
	}
	protected := protectedOf(t, labels, func(h map[int64]any) { h[1] = -8 })
	s, err := ledger.ParseStatement(resign(t, protected, map[int]any{}, bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(p256Key(t, 4).Public()); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("EdDSA with a P-256 key: %v", err)
	}
}

func FuzzCanonical(f *testing.F) {
	g, _ := readVectors(f)
	f.Add(unhex(f, g.Transparent))
	f.Add(mustSign(f, validClaims(), newSigner(f, p256Key(f, 4))))
	f.Fuzz(func(t *testing.T, received []byte) {
		raw, err := ledger.Canonical(received)
		if err != nil {
			return
		}
		s, err := ledger.ParseStatement(raw)
		if err != nil || len(raw) > len(received) {
			t.Errorf("made %x of %x: %v", raw, received, err)
			return
		}
		if again, err := ledger.Canonical(raw); err != nil || !bytes.Equal(again, raw) || s.Leaf() != ledger.HashLeaf(raw) {
			t.Errorf("%x is not canonical: %v", raw, err)
		}
	})
}
