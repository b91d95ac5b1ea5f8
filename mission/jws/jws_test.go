package jws_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/mission/missiontest"
)

func ecKey(t testing.TB, kid string) *jws.Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := jws.NewKey(kid, private)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func keys(t testing.TB) []*jws.Key { return []*jws.Key{missiontest.Key("one"), ecKey(t, "")} }

func sign(t testing.TB, k jws.Signer, typ jws.Typ, payload string) string {
	t.Helper()
	compact, err := jws.Sign(context.Background(), k, typ, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

func TestSignAndOpen(t *testing.T) {
	for _, k := range keys(t) {
		t.Run(k.Alg(), func(t *testing.T) {
			for range 50 { // ECDSA signatures differ in length before they are padded
				compact := sign(t, k, jws.TypProjection, `{"a":1}`)
				token, err := jws.Open(compact, jws.TypProjection, missiontest.Keys(k), k.Alg())
				if err != nil {
					t.Fatal(err)
				}
				if string(token.Payload) != `{"a":1}` || token.KeyID != k.KeyID() || token.Digest() != mission.RawDigest([]byte(compact)) {
					t.Fatalf("%+v", token)
				}
			}
		})
	}
}

// The library that others use agrees, in both directions.
func TestAgreesWithTheLibrary(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := jws.NewKey("k", private)
	if err != nil {
		t.Fatal(err)
	}
	object, err := jose.ParseSignedCompact(sign(t, ours, jws.TypStatus, "{}"), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := object.Verify(private.Public()); err != nil {
		t.Error(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: "k"}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(jws.TypStatus)))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jws.Open(compact, jws.TypStatus, missiontest.Keys(ours)); err != nil {
		t.Error(err)
	}
}

// No artifact passes for another: every typ against every other.
func TestTypMatrix(t *testing.T) {
	k := missiontest.Key("one")
	set := missiontest.Keys(k)
	for _, made := range jws.Types {
		compact := sign(t, k, made, "{}")
		for _, wanted := range jws.Types {
			_, err := jws.Open(compact, wanted, set)
			if made == wanted && err != nil || made != wanted && !errors.Is(err, jws.ErrTyp) {
				t.Errorf("%s taken for %s: %v", made, wanted, err)
			}
		}
	}
	seen := map[jws.Typ]bool{}
	for _, typ := range jws.Types {
		if seen[typ] || typ.ContentType() != "application/"+strings.TrimPrefix(string(typ), "application/") {
			t.Errorf("%s", typ)
		}
		seen[typ] = true
	}
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// signRaw signs any header and payload with the right key, as a careless issuer might.
func signRaw(t testing.TB, k *jws.Key, head, payload string) string {
	t.Helper()
	input := b64(head) + "." + b64(payload)
	sig, err := k.Sign(context.Background(), []byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestHeadersAreExact(t *testing.T) {
	k := missiontest.Key("one")
	typ := `"typ":"mission-projection+jwt"`
	kid := fmt.Sprintf(`"kid":%q`, k.KeyID())
	for _, c := range []struct {
		name, head string
		want       error
	}{
		{"as made", `{"alg":"EdDSA",` + kid + `,` + typ + `}`, nil},
		{"in another order", `{` + typ + `,` + kid + `,"alg":"EdDSA"}`, nil},
		{"no typ", `{"alg":"EdDSA",` + kid + `}`, jws.ErrTyp},
		{"typ in another case", `{"alg":"EdDSA",` + kid + `,"typ":"Mission-Projection+JWT"}`, jws.ErrTyp},
		{"typ with the full media type", `{"alg":"EdDSA",` + kid + `,"typ":"application/mission-projection+jwt"}`, jws.ErrTyp},
		{"alg none", `{"alg":"none",` + kid + `,` + typ + `}`, jws.ErrAlg},
		{"alg of a shared secret", `{"alg":"HS256",` + kid + `,` + typ + `}`, jws.ErrAlg},
		{"alg RS256", `{"alg":"RS256",` + kid + `,` + typ + `}`, jws.ErrAlg},
		{"alg in another case", `{"alg":"eddsa",` + kid + `,` + typ + `}`, jws.ErrAlg},
		{"alg of another key", `{"alg":"ES256",` + kid + `,` + typ + `}`, jws.ErrSignature},
		{"no alg", `{` + kid + `,` + typ + `}`, jws.ErrAlg},
		{"no kid", `{"alg":"EdDSA",` + typ + `}`, jws.ErrEncoding},
		{"empty kid", `{"alg":"EdDSA","kid":"",` + typ + `}`, jws.ErrEncoding},
		{"unknown kid", `{"alg":"EdDSA","kid":"x",` + typ + `}`, jws.ErrSignature},
		{"jku", `{"alg":"EdDSA",` + kid + `,` + typ + `,"jku":"https://evil.test"}`, jws.ErrEncoding},
		{"jwk", `{"alg":"EdDSA",` + kid + `,` + typ + `,"jwk":{}}`, jws.ErrEncoding},
		{"x5c", `{"alg":"EdDSA",` + kid + `,` + typ + `,"x5c":[]}`, jws.ErrEncoding},
		{"crit", `{"alg":"EdDSA","crit":["b64"],"b64":false,` + kid + `,` + typ + `}`, jws.ErrEncoding},
		{"cty", `{"alg":"EdDSA",` + kid + `,` + typ + `,"cty":"x"}`, jws.ErrEncoding},
		{"duplicate alg", `{"alg":"EdDSA","alg":"EdDSA",` + kid + `,` + typ + `}`, jws.ErrEncoding},
		{"miscased member", `{"ALG":"EdDSA",` + kid + `,` + typ + `}`, jws.ErrEncoding},
		{"list", `[]`, jws.ErrEncoding},
		{"not JSON", `x`, jws.ErrEncoding},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := jws.Open(signRaw(t, k, c.head, "{}"), jws.TypProjection, missiontest.Keys(k))
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestEncodingIsCanonical(t *testing.T) {
	k := missiontest.Key("one")
	good := sign(t, k, jws.TypProjection, `{"a":12}`)
	parts := strings.Split(good, ".")
	stray := func(s string) string { // the same octets, with a stray bit in the last digit
		const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		return s[:len(s)-1] + string(digits[strings.IndexByte(digits, s[len(s)-1])^1])
	}
	for name, compact := range map[string]string{
		"empty":                    "",
		"two parts":                parts[0] + "." + parts[1],
		"four parts":               good + ".",
		"five parts":               good + ".a.b",
		"line feed at the end":     good + "\n",
		"line feed inside":         parts[0] + "." + parts[1][:4] + "\n" + parts[1][4:] + "." + parts[2],
		"carriage return inside":   parts[0] + "." + parts[1] + "." + parts[2][:8] + "\r" + parts[2][8:],
		"space in front":           " " + good,
		"padding":                  good + "==",
		"stray bits in the body":   parts[0] + "." + stray(parts[1]) + "." + parts[2],
		"stray bits at the end":    parts[0] + "." + parts[1] + "." + stray(parts[2]),
		"standard alphabet":        parts[0] + "." + parts[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(parts[2]) + "+",
		"short signature":          parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 63)),
		"long signature":           parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 65)),
		"no signature":             parts[0] + "." + parts[1] + ".",
		"JSON serialization":       `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"too large":                parts[0] + "." + strings.Repeat("A", jws.MaxCompact) + "." + parts[2],
		"header too large":         b64(`{"alg":"EdDSA","kid":"`+strings.Repeat("k", 2000)+`","typ":"mission-projection+jwt"}`) + "." + parts[1] + "." + parts[2],
		"not base64 in the header": "!" + good,
	} {
		if token, err := jws.Parse(compact, jws.TypProjection); !errors.Is(err, jws.ErrEncoding) {
			t.Errorf("%s: %+v, %v", name, token, err)
		}
	}
}

func TestSignaturesAreChecked(t *testing.T) {
	for _, k := range keys(t) {
		t.Run(k.Alg(), func(t *testing.T) {
			good := sign(t, k, jws.TypProjection, `{"a":1}`)
			set := missiontest.Keys(k)
			parts := strings.Split(good, ".")
			flip := func(i int) string {
				raw, _ := base64.RawURLEncoding.DecodeString(parts[2])
				raw[i] ^= 1
				return parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(raw)
			}
			other := missiontest.Key("two")
			if k.Alg() == jws.ES256 {
				other = ecKey(t, "")
			}
			impostor, err := jws.NewKeySet(map[string]crypto.PublicKey{k.KeyID(): other.Public()})
			if err != nil {
				t.Fatal(err)
			}
			for name, c := range map[string]struct {
				compact string
				set     *jws.KeySet
			}{
				"first octet":      {flip(0), set},
				"last octet":       {flip(63), set},
				"another payload":  {parts[0] + "." + b64(`{"a":2}`) + "." + parts[2], set},
				"zero signature":   {parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)), set},
				"another key":      {good, missiontest.Keys(other)},
				"key of that name": {good, impostor},
				"no keys":          {good, nil},
			} {
				if _, err := jws.Open(c.compact, jws.TypProjection, c.set); !errors.Is(err, jws.ErrSignature) {
					t.Errorf("%s: %v", name, err)
				}
			}
			token, err := jws.Open(good, jws.TypProjection, set)
			if err != nil {
				t.Fatal(err)
			}
			if err := token.Verify(set, "PS256"); !errors.Is(err, jws.ErrAlg) {
				t.Errorf("algorithm that is not accepted: %v", err)
			}
			token.Payload = []byte(`{"a":3}`)
			if err := token.Verify(set); !errors.Is(err, jws.ErrSignature) {
				t.Errorf("payload that was not signed: %v", err)
			}
		})
	}
}

type brokenSigner struct {
	jws.Signer
	sig []byte
	err error
}

func (b brokenSigner) Sign(context.Context, []byte) ([]byte, error) { return b.sig, b.err }

type renamedSigner struct {
	jws.Signer
	alg, kid string
}

func (r renamedSigner) Alg() string   { return r.alg }
func (r renamedSigner) KeyID() string { return r.kid }

func TestSignRefuses(t *testing.T) {
	k := missiontest.Key("one")
	failure := errors.New("key is away")
	for name, c := range map[string]struct {
		s       jws.Signer
		typ     jws.Typ
		payload []byte
		want    error
	}{
		"failing key":      {brokenSigner{k, nil, failure}, jws.TypStatus, nil, failure},
		"short signature":  {brokenSigner{k, make([]byte, 63), nil}, jws.TypStatus, nil, jws.ErrSignature},
		"unknown alg":      {renamedSigner{k, "none", "k"}, jws.TypStatus, nil, jws.ErrAlg},
		"no kid":           {renamedSigner{k, jws.EdDSA, ""}, jws.TypStatus, nil, jws.ErrAlg},
		"no typ":           {k, "", nil, jws.ErrAlg},
		"too much payload": {k, jws.TypStatus, make([]byte, jws.MaxCompact), jws.ErrEncoding},
	} {
		if compact, err := jws.Sign(context.Background(), c.s, c.typ, c.payload); !errors.Is(err, c.want) || compact != "" {
			t.Errorf("%s: %q, %v", name, compact, err)
		}
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := jws.Sign(cancelled, k, jws.TypStatus, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// The largest that is allowed is signed and opened, the next is neither.
func TestLimits(t *testing.T) {
	k := missiontest.Key("one")
	for n, want := range map[int]bool{256: true, 257: false} {
		named := renamedSigner{k, jws.EdDSA, strings.Repeat("k", n)}
		compact, err := jws.Sign(context.Background(), named, jws.TypStatus, []byte("{}"))
		if (err == nil) != want {
			t.Errorf("kid of %d: %v", n, err)
		}
		if !want {
			compact = signRaw(t, k, `{"alg":"EdDSA","kid":"`+named.kid+`","typ":"`+string(jws.TypStatus)+`"}`, "{}")
		}
		if _, err := jws.Parse(compact, jws.TypStatus); (err == nil) != want {
			t.Errorf("kid of %d: %v", n, err)
		}
		_, err = jws.NewKeySet(map[string]crypto.PublicKey{named.kid: k.Public()})
		_, errParse := jws.ParseKeySet([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + edX + `","kid":"` + named.kid + `"}]}`))
		if (err == nil) != want || (errParse == nil) != want {
			t.Errorf("kid of %d: %v, %v", n, err, errParse)
		}
	}
	empty := sign(t, k, jws.TypStatus, "")
	room := (jws.MaxCompact - len(empty)) / 4 * 3
	full := sign(t, k, jws.TypStatus, strings.Repeat("x", room))
	if _, err := jws.Open(full, jws.TypStatus, missiontest.Keys(k)); err != nil || len(full) > jws.MaxCompact {
		t.Errorf("%d octets: %v", len(full), err)
	}
	if _, err := jws.Sign(context.Background(), k, jws.TypStatus, make([]byte, room+3)); !errors.Is(err, jws.ErrEncoding) {
		t.Errorf("beyond the limit: %v", err)
	}
	for n, want := range map[int]bool{jws.MaxKeys: true, jws.MaxKeys + 1: false} {
		many := map[string]crypto.PublicKey{}
		for i := range n {
			many[fmt.Sprint(i)] = k.Public()
		}
		if _, err := jws.NewKeySet(many); (err == nil) != want {
			t.Errorf("%d keys: %v", n, err)
		}
		text := `{"keys":[` + strings.TrimSuffix(strings.Repeat(`{"kty":"RSA"},`, n), ",") + `]}`
		if _, err := jws.ParseKeySet([]byte(text)); (err == nil) != want {
			t.Errorf("%d keys: %v", n, err)
		}
	}
}

func TestConcatenated(t *testing.T) {
	for name, der := range map[string]string{
		"empty":     "",
		"truncated": "\x30\x06\x02\x01\x01\x02\x01",
		"negative":  "\x30\x06\x02\x01\xff\x02\x01\x01",
		"trailing":  "\x30\x06\x02\x01\x01\x02\x01\x01\x00",
		"too long":  "\x30\x27\x02\x22\x01" + strings.Repeat("\x00", 33) + "\x02\x01\x01",
	} {
		if out, err := jws.Concatenated([]byte(der)); err == nil {
			t.Errorf("%s: %x", name, out)
		}
	}
	out, err := jws.Concatenated([]byte("\x30\x06\x02\x01\x01\x02\x01\x02"))
	if err != nil || len(out) != 64 || out[31] != 1 || out[63] != 2 {
		t.Errorf("%x, %v", out, err)
	}
}

const (
	edX = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" // RFC 8037 A.2
	ecX = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU" // RFC 7515 A.3
	ecY = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
)

func TestParseKeySet(t *testing.T) {
	ed := `"kty":"OKP","crv":"Ed25519","x":"` + edX + `"`
	ec := `"kty":"EC","crv":"P-256","x":"` + ecX + `","y":"` + ecY + `"`
	for _, c := range []struct {
		name, text string
		kids       string // joined; "-" if refused
	}{
		{"both kinds", `{"keys":[{"kid":"b",` + ed + `},{"kid":"a",` + ec + `,"alg":"ES256","use":"sig"}]}`, "a b"},
		{"none", `{"keys":[]}`, ""},
		{"extended", `{"keys":[{"kid":"a",` + ed + `,"x5t":"x","key_ops":["verify"]}],"other":1}`, "a"},
		{"other kinds are skipped", `{"keys":[{"kty":"RSA","kid":"r","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-384","kid":"p","x":"a","y":"b"},{"kid":"a",` + ed + `}]}`, "a"},
		{"other curves are skipped", `{"keys":[{"kty":"OKP","crv":"X25519","kid":"x","x":"` + edX + `"},{"kty":"EC","crv":"Ed25519","kid":"y","x":"` + edX + `"}]}`, ""},
		{"encryption keys are skipped", `{"keys":[{"kid":"a",` + ec + `,"use":"enc"},{"kid":"b",` + ec + `,"key_ops":["deriveKey"]}]}`, ""},
		{"private EC", `{"keys":[{"kid":"a",` + ec + `,"d":"AAAA"}]}`, "-"},
		{"private Ed25519", `{"keys":[{"kid":"a",` + ed + `,"d":"AAAA"}]}`, "-"},
		{"private RSA", `{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB","d":"AAAA"}]}`, "-"},
		{"private prime", `{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB","p":"AAAA"}]}`, "-"},
		{"shared secret", `{"keys":[{"kty":"oct","kid":"a","k":"AAAA"}]}`, "-"},
		{"private member of nothing", `{"keys":[{"kid":"a",` + ec + `,"d":null}]}`, "-"},
		{"no kid", `{"keys":[{` + ed + `}]}`, "-"},
		{"repeated kid", `{"keys":[{"kid":"a",` + ed + `},{"kid":"a",` + ec + `}]}`, "-"},
		{"alg of another kind", `{"keys":[{"kid":"a",` + ed + `,"alg":"ES256"}]}`, "-"},
		{"point off the curve", `{"keys":[{"kid":"a","kty":"EC","crv":"P-256","x":"` + ecX + `","y":"` + ecX + `"}]}`, "-"},
		{"no y", `{"keys":[{"kid":"a","kty":"EC","crv":"P-256","x":"` + ecX + `"}]}`, "-"},
		{"short x", `{"keys":[{"kid":"a","kty":"OKP","crv":"Ed25519","x":"AAAA"}]}`, "-"},
		{"padded x", `{"keys":[{"kid":"a","kty":"OKP","crv":"Ed25519","x":"` + edX + `="}]}`, "-"},
		{"duplicate member", `{"keys":[{"kid":"a","kid":"a",` + ed + `}]}`, "-"},
		{"miscased member", `{"keys":[{"kid":"a","KID":"b",` + ed + `}]}`, "-"},
		{"no keys", `{}`, "-"},
		{"one key", `{"kid":"a",` + ed + `}`, "-"},
		{"too many", `{"keys":[` + strings.Repeat(`{"kty":"RSA"},`, 64) + `{"kty":"RSA"}]}`, "-"},
		{"not JSON", `x`, "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, err := jws.ParseKeySet([]byte(c.text))
			if c.kids == "-" {
				if !errors.Is(err, jws.ErrKey) {
					t.Errorf("%v, %v", set.KeyIDs(), err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(set.KeyIDs(), " "); got != c.kids {
				t.Errorf("got %q", got)
			}
			text, err := set.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			again, err := jws.ParseKeySet(text)
			if err != nil || strings.Join(again.KeyIDs(), " ") != c.kids {
				t.Errorf("again %v, %v", again.KeyIDs(), err)
			}
			for _, kid := range set.KeyIDs() {
				one, _, _ := set.Key(kid)
				two, _, _ := again.Key(kid)
				if !jws.SameKey(one, two) {
					t.Errorf("%s changed", kid)
				}
			}
		})
	}
}

func TestThumbprints(t *testing.T) {
	public, kid, err := jws.ParsePublicKey([]byte(`{"kty":"OKP","crv":"Ed25519","x":"` + edX + `"}`))
	if err != nil || kid != "" {
		t.Fatal(kid, err)
	}
	if got, err := jws.Thumbprint(public); err != nil || got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" { // RFC 8037 A.3
		t.Errorf("%s, %v", got, err)
	}
	if k := missiontest.Key("one"); k.KeyID() == "" || k.KeyID() == missiontest.Key("two").KeyID() {
		t.Error("kids are not thumbprints")
	}
}

func TestKeysOfOtherKinds(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jws.NewKey("k", p384); !errors.Is(err, jws.ErrKey) {
		t.Errorf("P-384 key: %v", err)
	}
	for name, public := range map[string]crypto.PublicKey{
		"P-384": p384.Public(), "short": ed25519.PublicKey("x"), "none": nil, "nil": (*ecdsa.PublicKey)(nil),
	} {
		if _, err := jws.NewKeySet(map[string]crypto.PublicKey{"k": public}); !errors.Is(err, jws.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := jws.Thumbprint(public); !errors.Is(err, jws.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := jws.NewKeySet(map[string]crypto.PublicKey{"": missiontest.Key("one").Public()}); !errors.Is(err, jws.ErrKey) {
		t.Errorf("no kid: %v", err)
	}
	if jws.SameKey(missiontest.Key("one").Public(), missiontest.Key("two").Public()) || jws.SameKey(nil, nil) {
		t.Error("different keys are the same")
	}
}

// The checks of a status response from the outside in, the first failure wins.
func TestCheckStatus(t *testing.T) {
	at := missiontest.At.Add(time.Minute)
	rec, cur := missiontest.Active()
	status, err := mission.NewStatus(rec, cur, mission.StatusRequest{
		Requester: "peer-b", Audience: missiontest.PeerIssuer, Peer: missiontest.PeerIssuer, Nonce: "n",
		TTL: time.Minute, MaxStale: time.Minute,
	}, at)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := mission.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	k := missiontest.Key("status")
	good := sign(t, k, jws.TypStatus, string(payload))
	context := mission.StatusContext{
		At: at, Issuer: missiontest.Issuer, Audience: missiontest.PeerIssuer, Requester: "peer-b", Nonce: "n",
		MissionID: rec.ID, Algs: []string{jws.EdDSA},
	}
	for _, c := range []struct {
		name    string
		compact string
		set     *jws.KeySet
		edit    func(*mission.StatusContext)
		want    mission.Verdict
	}{
		{"as made", good, missiontest.Keys(k), nil, mission.Accept},
		{"another typ, and wrong in everything else", sign(t, missiontest.Key("x"), jws.TypMandate, "{}"), nil, nil, mission.RejectTyp},
		{"alg none", b64(`{"alg":"none","typ":"mission-status-response+jwt"}`) + "." + b64(string(payload)) + ".", missiontest.Keys(k), nil, mission.RejectAlg},
		{"alg that is not accepted", good, missiontest.Keys(k), func(c *mission.StatusContext) { c.Algs = []string{jws.ES256} }, mission.RejectAlg},
		{"no alg is accepted", good, missiontest.Keys(k), func(c *mission.StatusContext) { c.Algs = nil }, mission.RejectAlg},
		{"another key", good, missiontest.Keys(missiontest.Key("x")), nil, mission.RejectSignature},
		{"wrong in sub and later", good, missiontest.Keys(k), func(c *mission.StatusContext) { c.Requester, c.Nonce, c.MissionID = "x", "x", "x" }, mission.RejectSub},
		{"line feed", good + "\n", missiontest.Keys(k), nil, mission.RejectEncoding},
		{"not a JWS", "x", missiontest.Keys(k), nil, mission.RejectEncoding},
		{"claims that are no JSON", sign(t, k, jws.TypStatus, "x"), missiontest.Keys(k), nil, mission.RejectPayload},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := context
			if c.edit != nil {
				c.edit(&ctx)
			}
			s, verdict := jws.CheckStatus(c.compact, c.set, ctx)
			if verdict != c.want || (s != nil) != verdict.Authentic() {
				t.Errorf("%s, want %s", verdict, c.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	k := missiontest.Key("one")
	set := missiontest.Keys(k)
	good := sign(f, k, jws.TypProjection, `{"a":1}`)
	f.Add(good)
	for _, c := range vectors(f) {
		var in struct {
			JWS string `json:"jws,omitempty"`
		}
		if mission.DecodeOpen(c.Input.Bytes(), &in) == nil {
			f.Add(in.JWS)
		}
	}
	f.Fuzz(func(t *testing.T, compact string) {
		for _, typ := range jws.Types {
			token, err := jws.Parse(compact, typ)
			if err != nil {
				continue
			}
			parts := strings.Split(compact, ".")
			if len(parts) != 3 || base64.RawURLEncoding.EncodeToString(token.Payload) != parts[1] {
				t.Fatalf("%q has another spelling", compact)
			}
			if token.Verify(set) == nil && compact != good {
				t.Fatalf("%q verifies", compact)
			}
		}
	})
}

func FuzzParseKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kid":"a","kty":"OKP","crv":"Ed25519","x":"` + edX + `"}]}`))
	f.Add([]byte(`{"keys":[{"kid":"a","kty":"EC","crv":"P-256","x":"` + ecX + `","y":"` + ecY + `"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := jws.ParseKeySet(data)
		if err != nil {
			return
		}
		text, err := set.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := jws.ParseKeySet(text); err != nil || len(again.KeyIDs()) != len(set.KeyIDs()) {
			t.Fatalf("%s: %v", text, err)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	for _, k := range keys(b) {
		b.Run(k.Alg(), func(b *testing.B) {
			compact := sign(b, k, jws.TypProjection, `{"a":1}`)
			set := missiontest.Keys(k)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := jws.Open(compact, jws.TypProjection, set); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The media type in a header is part of what is accepted: neither may it differ, nor be there unasked.
func TestContentIsExact(t *testing.T) {
	k := missiontest.Key("one")
	made, err := jws.SignContent(t.Context(), k, jws.TypRuntimeEvidence, "application/a+json", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.ParseContent(made, jws.TypRuntimeEvidence, "application/a+json")
	if err != nil || token.Content != "application/a+json" || token.Verify(missiontest.Keys(k)) != nil {
		t.Fatalf("%+v, %v", token, err)
	}
	for _, tc := range []struct {
		typ     jws.Typ
		content string
		want    error
	}{
		{jws.TypRuntimeEvidence, "application/b+json", jws.ErrTyp},
		{jws.TypApprovalGovernance, "application/a+json", jws.ErrTyp},
		{jws.TypRuntimeEvidence, "", jws.ErrEncoding},
	} {
		if _, err := jws.ParseContent(made, tc.typ, tc.content); !errors.Is(err, tc.want) {
			t.Errorf("%s %s: %v, want %v", tc.typ, tc.content, err, tc.want)
		}
	}
	plain := sign(t, k, jws.TypRuntimeEvidence, "{}")
	if _, err := jws.ParseContent(plain, jws.TypRuntimeEvidence, "application/a+json"); !errors.Is(err, jws.ErrTyp) {
		t.Errorf("without cty: %v", err)
	}
}
