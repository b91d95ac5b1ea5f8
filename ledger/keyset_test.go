package ledger_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/mission-authority/mas/ledger"
	"github.com/veraison/go-cose"
)

// The example of RFC 9679 6.
//
// Audit rows: 97.
func TestThumbprintExample(t *testing.T) {
	x := unhex(t, "65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d")
	y := unhex(t, "1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c")
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ledger.KeyThumbprint(pub)
	if want := "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec"; err != nil || hex.EncodeToString(got) != want {
		t.Errorf("%x, %v, want %s", got, err, want)
	}
}

func mustKey(t testing.TB, pub crypto.PublicKey) ledger.Key {
	t.Helper()
	k, err := ledger.NewKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeySetRoundTrip(t *testing.T) {
	keys := ledger.KeySet{mustKey(t, p256Key(t, 1).Public()), mustKey(t, seedKey(1).Public()), mustKey(t, p256Key(t, 2).Public())}
	data, err := ledger.MarshalKeySet(keys)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ledger.ParseKeySet(data)
	if err != nil || len(got) != len(keys) {
		t.Fatalf("%d keys, %v", len(got), err)
	}
	var theirs []cose.Key
	if err := cbor.Unmarshal(data, &theirs); err != nil {
		t.Fatalf("go-cose: %v", err)
	}
	for i, k := range got {
		if !bytes.Equal(k.ID, keys[i].ID) || k.Algorithm != keys[i].Algorithm || !k.Public.(interface{ Equal(crypto.PublicKey) bool }).Equal(keys[i].Public) {
			t.Errorf("key %d: %+v", i, k)
		}
		pub, err := theirs[i].PublicKey()
		if err != nil || !k.Public.(interface{ Equal(crypto.PublicKey) bool }).Equal(pub) || !bytes.Equal(theirs[i].ID, k.ID) {
			t.Errorf("key %d: go-cose reads %v, %v", i, pub, err)
		}
		if found, ok := got.Find(keys[i].ID); !ok || !bytes.Equal(found.ID, k.ID) {
			t.Errorf("key %d is not found", i)
		}
	}
	if _, ok := got.Find(nil); ok {
		t.Error("found a key without kid")
	}
	for name, bad := range map[string]ledger.KeySet{
		"no keys":     nil,
		"a key twice": {keys[0], keys[1], keys[0]},
		"a zero key":  {{}},
		"65 keys":     slices.Repeat(ledger.KeySet{keys[0]}, 65),
	} {
		if _, err := ledger.MarshalKeySet(bad); err == nil {
			t.Errorf("%s: marshalled", name)
		}
	}
	if _, err := ledger.NewKey(ed25519.PublicKey{1}); err == nil {
		t.Error("short key accepted")
	}
}

func TestOtherKeySetsAreRefused(t *testing.T) {
	ec, ok := p256Key(t, 1).Public().(*ecdsa.PublicKey)
	if !ok {
		t.Fatal("not a P-256 key")
	}
	point, err := ec.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	x, y := point[1:33], point[33:]
	ed := []byte(seedKey(1).Public().(ed25519.PublicKey))
	ecID, edID := mustKey(t, ec).ID, mustKey(t, seedKey(1).Public()).ID
	ec2 := func() map[any]any { return map[any]any{1: 2, 2: ecID, 3: -7, -1: 1, -2: x, -3: y} }
	okp := func() map[any]any { return map[any]any{1: 1, 2: edID, 3: -8, -1: 6, -2: ed} }
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	encode := func(v any) []byte {
		b, err := mode.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if _, err := ledger.ParseKeySet(encode([]any{ec2(), okp()})); err != nil {
		t.Fatalf("the base of the cases does not parse: %v", err)
	}
	change := func(k map[any]any, label, value any) map[any]any {
		if value == nil {
			delete(k, label)
		} else {
			k[label] = value
		}
		return k
	}
	off := bytes.Clone(y)
	off[31] ^= 1
	for name, k := range map[string]any{
		"private scalar":     change(ec2(), -4, x),
		"private seed":       change(okp(), -4, ed),
		"no kid":             change(ec2(), 2, nil),
		"kid of another key": change(ec2(), 2, edID),
		"short kid":          change(ec2(), 2, ecID[:31]),
		"no algorithm":       change(ec2(), 3, nil),
		"EdDSA on P-256":     change(ec2(), 3, -8),
		"ES256 on Ed25519":   change(okp(), 3, -7),
		"ES384":              change(ec2(), 3, -35),
		"curve P-384":        change(ec2(), -1, 2),
		"curve X25519":       change(okp(), -1, 4),
		"compressed point":   change(ec2(), -3, true),
		"point off curve":    change(ec2(), -3, off),
		"short x":            change(ec2(), -2, x[1:]),
		"long x":             change(okp(), -2, append(bytes.Clone(ed), 0)),
		"no y":               change(ec2(), -3, nil),
		"y on Ed25519":       change(okp(), -3, y),
		"symmetric key":      map[any]any{1: 4, 2: ecID, 3: -7, -1: x},
		"key operations":     change(ec2(), 4, []int{2}),
		"not a map":          1,
	} {
		if _, err := ledger.ParseKeySet(encode([]any{k})); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	good := encode([]any{ec2()})
	for name, data := range map[string][]byte{
		"nothing":          nil,
		"no keys":          encode([]any{}),
		"a key, no set":    encode(ec2()),
		"a key twice":      encode([]any{okp(), ec2(), okp()}),
		"trailing octet":   append(bytes.Clone(good), 0),
		"indefinite array": append(append([]byte{0x9f}, good[1:]...), 0xff),
	} {
		if _, err := ledger.ParseKeySet(data); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for cut := range good {
		if _, err := ledger.ParseKeySet(good[:cut]); err == nil {
			t.Errorf("first %d octets accepted", cut)
		}
	}
	if _, err := ledger.ParseKeySet(make([]byte, 1<<20)); !errors.Is(err, ledger.ErrTooLarge) {
		t.Errorf("oversize: %v", err)
	}
}

func FuzzParseKeySet(f *testing.F) {
	data, err := ledger.MarshalKeySet(ledger.KeySet{mustKey(f, p256Key(f, 1).Public()), mustKey(f, seedKey(1).Public())})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := ledger.ParseKeySet(data)
		if err != nil {
			return
		}
		if again, err := ledger.MarshalKeySet(keys); err != nil || !bytes.Equal(again, data) {
			t.Errorf("accepted %x, canonical is %x, %v", data, again, err)
		}
	})
}
