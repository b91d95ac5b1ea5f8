package ledger_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/mission-authority/mas/ledger"
	"github.com/veraison/go-cose"
)

func TestStatementRoundTrip(t *testing.T) {
	for _, key := range []crypto.Signer{p256Key(t, 4), seedKey(4)} {
		for _, iat := range []int64{0, 1, 1_800_000_000, 1<<53 - 1} {
			c := validClaims()
			c.IssuedAt = iat
			signer := newSigner(t, key)
			raw := mustSign(t, c, signer)
			s, err := ledger.ParseStatement(raw)
			if err != nil {
				t.Fatal(err)
			}
			if s.Claims != c || !bytes.Equal(s.KeyID, signer.KeyID()) || s.Algorithm != signer.Algorithm() || !bytes.Equal(s.Raw, raw) {
				t.Errorf("parsed %+v, want %+v", s, c)
			}
			if err := s.Verify(key.Public()); err != nil {
				t.Error(err)
			}
			if err := s.Verify(p256Key(t, 9).Public()); !errors.Is(err, ledger.ErrSignature) {
				t.Errorf("another key: %v", err)
			}
			if s.Leaf() != ledger.HashLeaf(raw) {
				t.Error("leaf is not the hash of the bytes")
			}
		}
	}
}

// An independent COSE implementation reads the statement and verifies it.
func TestStatementReadByGoCOSE(t *testing.T) {
	key := p256Key(t, 4)
	c := validClaims()
	c.IssuedAt = 1_800_000_000
	var msg cose.Sign1Message
	if err := msg.UnmarshalCBOR(mustSign(t, c, newSigner(t, key))); err != nil {
		t.Fatal(err)
	}
	v, err := cose.NewVerifier(cose.AlgorithmES256, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := msg.Verify(nil, v); err != nil {
		t.Error(err)
	}
	claims, ok := msg.Headers.Protected[int64(15)].(map[any]any)
	if !ok || claims[int64(1)] != c.Issuer || claims[int64(2)] != c.Subject || claims[int64(6)] != c.IssuedAt {
		t.Errorf("CWT claims %v", msg.Headers.Protected[int64(15)])
	}
	if msg.Headers.Protected[int64(258)] != int64(-16) || msg.Headers.Protected[int64(259)] != c.ContentType {
		t.Errorf("hash envelope %v", msg.Headers.Protected)
	}
	if len(msg.Headers.Unprotected) != 0 || !bytes.Equal(msg.Payload, c.Digest[:]) {
		t.Errorf("payload %x, unprotected %v", msg.Payload, msg.Headers.Unprotected)
	}
}

func TestSignStatementRefusesBadClaims(t *testing.T) {
	signer := newSigner(t, seedKey(4))
	for name, change := range map[string]func(*ledger.Claims){
		"no issuer":          func(c *ledger.Claims) { c.Issuer = "" },
		"no subject":         func(c *ledger.Claims) { c.Subject = "" },
		"long issuer":        func(c *ledger.Claims) { c.Issuer = strings.Repeat("a", 8193) },
		"long subject":       func(c *ledger.Claims) { c.Subject = strings.Repeat("a", 8193) },
		"subject not UTF-8":  func(c *ledger.Claims) { c.Subject = "\xff" },
		"control character":  func(c *ledger.Claims) { c.Subject = "a\nb" },
		"delete character":   func(c *ledger.Claims) { c.Subject = "a\x7fb" },
		"negative iat":       func(c *ledger.Claims) { c.IssuedAt = -1 },
		"iat beyond 2^53-1":  func(c *ledger.Claims) { c.IssuedAt = 1 << 53 },
		"no digest":          func(c *ledger.Claims) { c.Digest = ledger.Hash{} },
		"no type":            func(c *ledger.Claims) { c.ContentType = "" },
		"type without slash": func(c *ledger.Claims) { c.ContentType = "application" },
		"type in uppercase":  func(c *ledger.Claims) { c.ContentType = "application/JSON" },
		"type parameters":    func(c *ledger.Claims) { c.ContentType = "application/json; charset=utf-8" },
		"empty subtype":      func(c *ledger.Claims) { c.ContentType = "application/" },
		"odd first letter":   func(c *ledger.Claims) { c.ContentType = "application/+json" },
		"long type":          func(c *ledger.Claims) { c.ContentType = "a/" + strings.Repeat("b", 128) },
	} {
		c := validClaims()
		change(&c)
		if _, err := ledger.SignStatement(t.Context(), c, signer); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

// statementParts are the elements of a statement as CBOR values, to be encoded in other ways.
type statementParts struct {
	tag       uint64
	protected []byte
	header    any
	payload   any
	signature any
	extra     []any
}

func (p statementParts) encode(t *testing.T) []byte {
	t.Helper()
	b, err := cbor.Marshal(cbor.Tag{Number: p.tag, Content: append([]any{p.protected, p.header, p.payload, p.signature}, p.extra...)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Audit rows: 15.
func TestOtherStatementsAreRefused(t *testing.T) {
	protectedHex := "a5" + "0127" + "04416b" + "0fa2" + "0161" + "69" + "0261" + "73" + "1901022f" + "19010363" + "612f62"
	protected := unhex(t, protectedHex)
	valid := statementParts{tag: 18, protected: protected, header: map[int]any{}, payload: bytes.Repeat([]byte{1}, 32), signature: make([]byte, 64)}
	raw := valid.encode(t)
	s, err := ledger.ParseStatement(raw)
	if err != nil || s.Issuer != "i" || s.Subject != "s" || s.ContentType != "a/b" || string(s.KeyID) != "k" {
		t.Fatalf("the base of the cases does not parse: %+v, %v", s, err)
	}
	// In the protected header.
	for name, h := range map[string]string{
		"label 2":              "a6" + "0127" + "028101" + protectedHex[6:],
		"label 3":              "a6" + "0127" + "0318ff" + protectedHex[6:],
		"label 260":            "a6" + protectedHex[2:] + "1901046161",
		"label 260 for 259":    strings.Replace(protectedHex, "190103", "190104", 1),
		"no kid":               "a4" + "0127" + strings.TrimPrefix(protectedHex[6:], "04416b"),
		"empty kid":            strings.Replace(protectedHex, "04416b", "0440", 1),
		"text kid":             strings.Replace(protectedHex, "04416b", "04616b", 1),
		"kid above 128 octets": strings.Replace(protectedHex, "04416b", "045881"+strings.Repeat("00", 129), 1),
		"algorithm ES384":      strings.Replace(protectedHex, "0127", "013822", 1),
		"algorithm as text":    strings.Replace(protectedHex, "0127", "016127", 1),
		"algorithm 7":          strings.Replace(protectedHex, "0127", "0107", 1),
		"duplicate label":      "a6" + "01270127" + protectedHex[6:],
		"another typ":          "a6" + protectedHex[2:26] + "10" + "63612f62" + protectedHex[26:],
		"typ as number":        "a6" + protectedHex[2:26] + "101901" + "15" + protectedHex[26:],
		"seven labels":         "a7" + protectedHex[2:] + "0000" + "0101",
		"no claims":            strings.Replace(protectedHex, "0fa2016169026173", "0fa0", 1),
		"no sub":               strings.Replace(protectedHex, "0fa2016169026173", "0fa1016169", 1),
		"empty iss":            strings.Replace(protectedHex, "016169", "0160", 1),
		"iss as bytes":         strings.Replace(protectedHex, "016169", "014169", 1),
		"iss not UTF-8":        strings.Replace(protectedHex, "016169", "0161ff", 1),
		"other claim":          strings.Replace(protectedHex, "0fa2016169026173", "0fa3016169026173"+"0301", 1),
		"iat 0":                strings.Replace(protectedHex, "0fa2016169026173", "0fa3016169026173"+"0600", 1),
		"iat negative":         strings.Replace(protectedHex, "0fa2016169026173", "0fa3016169026173"+"0620", 1),
		"iat a float":          strings.Replace(protectedHex, "0fa2016169026173", "0fa3016169026173"+"06fb41da27e400000000", 1),
		"iat 2^53":             strings.Replace(protectedHex, "0fa2016169026173", "0fa3016169026173"+"061b0020000000000000", 1),
		"iat twice":            strings.Replace(protectedHex, "0fa2016169026173", "0fa4016169026173"+"06010601", 1),
		"hash SHA-384":         strings.Replace(protectedHex, "1901022f", "190102382a", 1),
		"no hash algorithm":    "a4" + strings.Replace(protectedHex[2:], "1901022f", "", 1),
		"type as number":       strings.Replace(protectedHex, "19010363612f62", "190103183c", 1),
		"type in uppercase":    strings.Replace(protectedHex, "63612f62", "63412f62", 1),
		"long form of 258":     strings.Replace(protectedHex, "190102", "1a00000102", 1),
		"long form of 1":       strings.Replace(protectedHex, "0127", "180127", 1),
		"long form of -8":      strings.Replace(protectedHex, "0127", "013807", 1),
		"long head of 23":      strings.Replace(protectedHex, "04416b", "045817"+strings.Repeat("00", 23), 1),
		"long string head":     strings.Replace(protectedHex, "016169", "01780169", 1),
		"indefinite map":       "bf" + protectedHex[2:] + "ff",
		"indefinite string":    strings.Replace(protectedHex, "016169", "017f6169ff", 1),
		"trailing octet":       protectedHex + "00",
		"cut short":            protectedHex[:len(protectedHex)-2],
		"empty":                "",
		"an array":             "85" + protectedHex[2:],
	} {
		p := valid
		p.protected = unhex(t, h)
		if _, err := ledger.ParseStatement(p.encode(t)); err == nil {
			t.Errorf("header with %s accepted", name)
		}
	}
	// Around it.
	for name, change := range map[string]func(*statementParts){
		"tag 98":              func(p *statementParts) { p.tag = 98 },
		"tag 17":              func(p *statementParts) { p.tag = 17 },
		"259 unprotected":     func(p *statementParts) { p.header = map[int]any{259: "a/b"} },
		"kid unprotected":     func(p *statementParts) { p.header = map[int]any{4: []byte("k")} },
		"receipt unprotected": func(p *statementParts) { p.header = map[int]any{394: []any{}} },
		"header not a map":    func(p *statementParts) { p.header = []any{} },
		"detached payload":    func(p *statementParts) { p.payload = nil },
		"payload of 31":       func(p *statementParts) { p.payload = make([]byte, 31) },
		"payload of 33":       func(p *statementParts) { p.payload = make([]byte, 33) },
		"payload of zeros":    func(p *statementParts) { p.payload = make([]byte, 32) },
		"text payload":        func(p *statementParts) { p.payload = strings.Repeat("a", 32) },
		"signature of 63":     func(p *statementParts) { p.signature = make([]byte, 63) },
		"signature of 65":     func(p *statementParts) { p.signature = make([]byte, 65) },
		"no signature":        func(p *statementParts) { p.signature = nil },
		"fifth element":       func(p *statementParts) { p.extra = []any{0} },
	} {
		p := valid
		change(&p)
		if _, err := ledger.ParseStatement(p.encode(t)); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
	for name, raw := range map[string][]byte{
		"untagged":          raw[1:],
		"long tag":          append([]byte{0xd8, 18}, raw[1:]...),
		"long array head":   append([]byte{0xd2, 0x98, 4}, raw[2:]...),
		"indefinite array":  append(append([]byte{0xd2, 0x9f}, raw[2:]...), 0xff),
		"trailing octet":    append(bytes.Clone(raw), 0),
		"two statements":    append(bytes.Clone(raw), raw...),
		"tagged twice":      append([]byte{0xd2}, raw...),
		"CWT tag around it": append([]byte{0xd8, 61}, raw...),
		"nothing":           nil,
	} {
		if _, err := ledger.ParseStatement(raw); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
	for cut := range raw {
		if _, err := ledger.ParseStatement(raw[:cut]); err == nil {
			t.Errorf("first %d octets accepted", cut)
		}
	}
	if _, err := ledger.ParseStatement(make([]byte, ledger.MaxStatementSize+1)); !errors.Is(err, ledger.ErrTooLarge) {
		t.Errorf("oversize: %v", err)
	}
}

// Whatever single octet changes, the statement is refused or does not verify.
func TestEveryChangedOctetIsNoticed(t *testing.T) {
	key := p256Key(t, 4)
	c := validClaims()
	c.IssuedAt = 1_800_000_000
	raw := mustSign(t, c, newSigner(t, key))
	for i := range raw {
		for _, delta := range []byte{0x01, 0x80, 0x20} {
			changed := bytes.Clone(raw)
			changed[i] ^= delta
			s, err := ledger.ParseStatement(changed)
			if err != nil {
				continue
			}
			if err := s.Verify(key.Public()); !errors.Is(err, ledger.ErrSignature) {
				t.Fatalf("octet %d changed by %02x: %v", i, delta, err)
			}
		}
	}
}

// relabelled signs with one key under the name of the other algorithm.
type relabelled struct {
	ledger.Signer
	alg ledger.Algorithm
}

func (r relabelled) Algorithm() ledger.Algorithm { return r.alg }

// The algorithm a statement names must be that of the key, even where the signature would verify.
func TestAlgorithmIsPinnedToTheKey(t *testing.T) {
	for alg, key := range map[ledger.Algorithm]crypto.Signer{ledger.AlgEdDSA: p256Key(t, 4), ledger.AlgES256: seedKey(4)} {
		s, err := ledger.ParseStatement(mustSign(t, validClaims(), relabelled{newSigner(t, key), alg}))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(key.Public()); !errors.Is(err, ledger.ErrSignature) {
			t.Errorf("algorithm %d with a key for the other: %v", alg, err)
		}
	}
}

func TestDedupKeyIgnoresSignatureAndTime(t *testing.T) {
	signer := newSigner(t, p256Key(t, 4))
	parse := func(c ledger.Claims, s ledger.Signer) ledger.Hash {
		st, err := ledger.ParseStatement(mustSign(t, c, s))
		if err != nil {
			t.Fatal(err)
		}
		return ledger.DedupKey(st)
	}
	base := validClaims()
	later := base
	later.IssuedAt = 1_800_000_000
	want := parse(base, signer)
	if got := parse(base, signer); got != want {
		t.Error("another signature over the same claims is not a duplicate")
	}
	if got := parse(later, signer); got != want {
		t.Error("another time is not a duplicate")
	}
	for name, change := range map[string]func(*ledger.Claims){
		"issuer":  func(c *ledger.Claims) { c.Issuer += "x" },
		"subject": func(c *ledger.Claims) { c.Subject += "x" },
		"type":    func(c *ledger.Claims) { c.ContentType += "x" },
		"digest":  func(c *ledger.Claims) { c.Digest[0]++ },
		// The boundary between two members moves.
		"boundary": func(c *ledger.Claims) { c.Issuer, c.Subject = c.Issuer+c.Subject[:1], c.Subject[1:] },
	} {
		c := base
		change(&c)
		if parse(c, signer) == want {
			t.Errorf("another %s is a duplicate", name)
		}
	}
	if parse(base, newSigner(t, p256Key(t, 5))) == want {
		t.Error("another key is a duplicate")
	}
}

// canonicalHeader is the protected header of a statement without typ, as another decoder reads it and writes it.
func canonicalHeader(t *testing.T, raw []byte) []byte {
	t.Helper()
	strict, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	var tag cbor.RawTag
	var parts []cbor.RawMessage
	var protected []byte
	var header map[int64]any
	if err := errors.Join(strict.Unmarshal(raw, &tag), strict.Unmarshal(tag.Content, &parts)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(strict.Unmarshal(parts[0], &protected), strict.Unmarshal(protected, &header)); err != nil {
		t.Fatal(err)
	}
	delete(header, 16)
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	b, err := mode.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzParseStatement(f *testing.F) {
	g, _ := readVectors(f)
	for _, s := range g.Statements {
		f.Add(unhex(f, s.CBOR))
	}
	f.Add(mustSign(f, validClaims(), newSigner(f, p256Key(f, 4))))
	f.Add(unhex(f, g.Transparent))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := ledger.ParseStatement(raw)
		if err != nil {
			return
		}
		// What is accepted is what signing the same claims writes, up to the order of the labels, the typ, and the
		// signature at the end.
		sig := raw[len(raw)-ledger.SignatureSize:]
		again := mustSign(t, s.Claims, oddSigner{kid: s.KeyID, alg: s.Algorithm, sig: sig})
		if got := canonicalHeader(t, raw); !bytes.Equal(canonicalHeader(t, again), got) {
			t.Errorf("accepted %x, canonical is %x", raw, again)
		}
		transparentMustRoundTrip(t, raw, s)
	})
}

func BenchmarkSignStatement(b *testing.B) {
	c := validClaims()
	signer := newSigner(b, p256Key(b, 4))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ledger.SignStatement(b.Context(), c, signer); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareSignature is what SignStatement cannot avoid.
func BenchmarkBareSignature(b *testing.B) {
	key := p256Key(b, 4)
	digest := sha256.Sum256(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseStatement(b *testing.B) {
	raw := mustSign(b, validClaims(), newSigner(b, p256Key(b, 4)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ledger.ParseStatement(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyStatement(b *testing.B) {
	key := p256Key(b, 4)
	s, err := ledger.ParseStatement(mustSign(b, validClaims(), newSigner(b, key)))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Verify(key.Public()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDedupKey(b *testing.B) {
	s, err := ledger.ParseStatement(mustSign(b, validClaims(), newSigner(b, p256Key(b, 4))))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		ledger.DedupKey(s)
	}
}
