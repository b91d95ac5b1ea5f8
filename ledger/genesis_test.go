package ledger_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/mission-authority/mas/ledger"
	"golang.org/x/mod/sumdb/note"
)

const testIssuer = "https://as.example"

// testGenesis is a log with two producers: the issuer's evidence key for any type, a decision point for one.
func testGenesis(t testing.TB) *ledger.Genesis {
	t.Helper()
	vkey, err := note.NewEd25519VerifierKey(testOrigin, seedKey(1).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return &ledger.Genesis{
		Format: 1, Origin: testOrigin, Issuer: testIssuer, LogKey: vkey,
		ReceiptKeys: ledger.KeySet{mustKey(t, p256Key(t, 3).Public())},
		Producers: []ledger.Producer{
			{Issuer: testIssuer, Key: mustKey(t, p256Key(t, 4).Public()), Types: []string{ledger.AnyType}},
			{Issuer: "https://pdp.example", Key: mustKey(t, p256Key(t, 5).Public()), Types: []string{
				"application/mission-decision-evidence+json", "application/mission-refusal-record+json"}},
		},
	}
}

func mustMarshalGenesis(t testing.TB, g *ledger.Genesis) []byte {
	t.Helper()
	data, err := ledger.MarshalGenesis(g)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestGenesisRoundTrip(t *testing.T) {
	g := testGenesis(t)
	data := mustMarshalGenesis(t, g)
	got, err := ledger.ParseGenesis(data)
	if err != nil {
		t.Fatal(err)
	}
	if got.Format != 1 || got.Origin != g.Origin || got.Issuer != g.Issuer || got.LogKey != g.LogKey {
		t.Errorf("%+v", got)
	}
	if len(got.ReceiptKeys) != 1 || !bytes.Equal(got.ReceiptKeys[0].ID, g.ReceiptKeys[0].ID) || len(got.Producers) != 2 {
		t.Errorf("%+v", got)
	}
	// The order in which a caller lists things does not matter, and the caller's lists stay as they are.
	slices.Reverse(g.Producers)
	slices.Reverse(g.Producers[0].Types)
	before := fmt.Sprint(g)
	if again := mustMarshalGenesis(t, g); !bytes.Equal(again, data) {
		t.Error("another order gives other bytes")
	}
	if fmt.Sprint(g) != before {
		t.Error("marshalling changed its argument")
	}
	// It is a CBOR map that any decoder reads, in the encoding RFC 8949 4.2.1 prescribes.
	var plain map[string]any
	if err := cbor.Unmarshal(data, &plain); err != nil || plain["issuer"] != testIssuer || plain["hash"] != "sha-256" {
		t.Errorf("%v, %v", plain, err)
	}
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	if det, err := mode.Marshal(plain); err != nil || !bytes.Equal(det, data) {
		t.Errorf("not core deterministic: %v", err)
	}
}

func TestGenesisLimits(t *testing.T) {
	for name, change := range map[string]func(*ledger.Genesis){
		"format 0":               func(g *ledger.Genesis) { g.Format = 0 },
		"format 2":               func(g *ledger.Genesis) { g.Format = 2 },
		"no origin":              func(g *ledger.Genesis) { g.Origin = "" },
		"another log's key":      func(g *ledger.Genesis) { g.Origin = "other.example" },
		"no log key":             func(g *ledger.Genesis) { g.LogKey = "" },
		"odd log key":            func(g *ledger.Genesis) { g.LogKey += "x" },
		"no issuer":              func(g *ledger.Genesis) { g.Issuer = "" },
		"long issuer":            func(g *ledger.Genesis) { g.Issuer = strings.Repeat("a", 513) },
		"no receipt key":         func(g *ledger.Genesis) { g.ReceiptKeys = nil },
		"no producer":            func(g *ledger.Genesis) { g.Producers = nil },
		"257 producers":          func(g *ledger.Genesis) { g.Producers = slices.Repeat(g.Producers[:1], 257) },
		"a producer's key twice": func(g *ledger.Genesis) { g.Producers[0].Key = g.Producers[1].Key },
		"producer, no issuer":    func(g *ledger.Genesis) { g.Producers[0].Issuer = "" },
		"producer, no key":       func(g *ledger.Genesis) { g.Producers[0].Key = ledger.Key{} },
		"producer, no type":      func(g *ledger.Genesis) { g.Producers[0].Types = nil },
		"129 types": func(g *ledger.Genesis) {
			g.Producers[0].Types = nil
			for i := range 129 {
				g.Producers[0].Types = append(g.Producers[0].Types, fmt.Sprintf("application/t%d", i))
			}
		},
		"a type twice":     func(g *ledger.Genesis) { g.Producers[0].Types = []string{"a/b", "a/b"} },
		"any type and one": func(g *ledger.Genesis) { g.Producers[0].Types = []string{"*", "a/b"} },
		"odd type":         func(g *ledger.Genesis) { g.Producers[0].Types = []string{"application/*"} },
	} {
		g := testGenesis(t)
		change(g)
		if _, err := ledger.MarshalGenesis(g); !errors.Is(err, ledger.ErrGenesis) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOtherGenesisDocumentsAreRefused(t *testing.T) {
	good := mustMarshalGenesis(t, testGenesis(t))
	replace := func(from, to string) []byte { return bytes.Replace(good, []byte(from), []byte(to), 1) }
	for name, data := range map[string][]byte{
		"nothing":        nil,
		"trailing octet": append(bytes.Clone(good), 0),
		"hash":           replace("sha-256", "sha-257"),
		"format 2":       replace("format\x01", "format\x02"),
		"long number":    replace("format\x01", "format\x18\x01"),
		"member name":    replace("issuer", "issueR"),
		"JSON":           []byte(`{"hash":"sha-256"}`),
		"types out of order": replace("\x82\x78\x2aapplication/mission-decision-evidence+json\x78\x27application/mission-refusal-record+json",
			"\x82\x78\x27application/mission-refusal-record+json\x78\x2aapplication/mission-decision-evidence+json"),
	} {
		if bytes.Equal(data, good) {
			t.Fatalf("%s: the case is the good document", name)
		}
		if _, err := ledger.ParseGenesis(data); !errors.Is(err, ledger.ErrGenesis) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for cut := range good {
		if _, err := ledger.ParseGenesis(good[:cut]); !errors.Is(err, ledger.ErrGenesis) {
			t.Errorf("first %d octets: %v", cut, err)
		}
	}
	if _, err := ledger.ParseGenesis(make([]byte, 1<<20)); !errors.Is(err, ledger.ErrTooLarge) {
		t.Errorf("oversize: %v", err)
	}
}

func TestAdmission(t *testing.T) {
	g := testGenesis(t)
	issuer, pdp := newSigner(t, p256Key(t, 4)), newSigner(t, p256Key(t, 5))
	base := validClaims()
	decision := base
	decision.Issuer, decision.ContentType = "https://pdp.example", "application/mission-decision-evidence+json"
	with := func(c ledger.Claims, change func(*ledger.Claims)) ledger.Claims {
		change(&c)
		return c
	}
	for name, c := range map[string]struct {
		claims ledger.Claims
		signer ledger.Signer
		admit  bool
	}{
		"the issuer's approval":      {base, issuer, true},
		"a decision":                 {decision, pdp, true},
		"an approval by the PDP":     {with(decision, func(c *ledger.Claims) { c.ContentType = base.ContentType }), pdp, false},
		"the PDP as the issuer":      {base, pdp, false},
		"the issuer as the PDP":      {decision, issuer, false},
		"an unknown key":             {base, newSigner(t, p256Key(t, 9)), false},
		"a subject of another":       {with(base, func(c *ledger.Claims) { c.Subject = "https://as.example.evil/missions/m" }), issuer, false},
		"a subject beside the path":  {with(base, func(c *ledger.Claims) { c.Subject = "https://as.example" }), issuer, false},
		"the kid of another, forged": {base, oddSigner{kid: issuer.KeyID(), alg: ledger.AlgES256, sig: bytes.Repeat([]byte{1}, 64)}, false},
	} {
		s, err := ledger.ParseStatement(mustSign(t, c.claims, c.signer))
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Admit(s); (err == nil) != c.admit || err != nil && !errors.Is(err, ledger.ErrNotAdmitted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOpenGenesis(t *testing.T) {
	g := testGenesis(t)
	body := mustMarshalGenesis(t, g)
	signer := newSigner(t, p256Key(t, 4))
	claims := ledger.Claims{Issuer: testIssuer, Subject: testIssuer + "/log", ContentType: ledger.ContentTypeGenesis, Digest: sha256.Sum256(body)}
	got, err := ledger.OpenGenesis(mustSign(t, claims, signer), body)
	if err != nil || got.Origin != g.Origin {
		t.Fatalf("%+v, %v", got, err)
	}
	// Bodies of the same log under another policy: without the issuer's key, and with two keys for every type.
	other, open := testGenesis(t), testGenesis(t)
	other.Producers = other.Producers[1:]
	otherBody := mustMarshalGenesis(t, other)
	open.Producers[1].Types = []string{ledger.AnyType}
	openBody := mustMarshalGenesis(t, open)
	for name, c := range map[string]struct {
		change func(*ledger.Claims)
		signer ledger.Signer
		body   []byte
	}{
		"another body":    {func(*ledger.Claims) {}, signer, openBody},
		"another type":    {func(c *ledger.Claims) { c.ContentType = "application/cbor" }, signer, body},
		"another subject": {func(c *ledger.Claims) { c.Subject = testIssuer + "/policy" }, signer, body},
		"another issuer":  {func(c *ledger.Claims) { c.Issuer = "https://pdp.example" }, newSigner(t, p256Key(t, 5)), body},
		"another producer": {func(c *ledger.Claims) {
			c.Issuer, c.Digest = "https://pdp.example", sha256.Sum256(openBody)
		}, newSigner(t, p256Key(t, 5)), openBody},
		"a key it does not name":         {func(*ledger.Claims) {}, newSigner(t, p256Key(t, 9)), body},
		"a key it does not admit":        {func(*ledger.Claims) {}, newSigner(t, p256Key(t, 5)), body},
		"a policy that excludes its key": {func(c *ledger.Claims) { c.Digest = sha256.Sum256(otherBody) }, signer, otherBody},
		"a body that is no genesis":      {func(c *ledger.Claims) { c.Digest = sha256.Sum256(nil) }, signer, nil},
	} {
		claims := claims
		c.change(&claims)
		if _, err := ledger.OpenGenesis(mustSign(t, claims, c.signer), c.body); !errors.Is(err, ledger.ErrGenesis) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ledger.OpenGenesis([]byte("entry"), body); err == nil {
		t.Error("no statement")
	}
}

// A subject is the issuer without one trailing slash, the kind and an id that needs no escaping.
//
// Audit rows: 35.
func TestSubjects(t *testing.T) {
	for want, c := range map[string]struct {
		issuer string
		kind   ledger.SubjectKind
		id     string
	}{
		"https://as.example/missions/msn_a-Z0": {"https://as.example", ledger.SubjectMissions, "msn_a-Z0"},
		"https://as.example/x/missions/m":      {"https://as.example/x/", ledger.SubjectMissions, "m"},
		"https://as.example//missions/m":       {"https://as.example//", ledger.SubjectMissions, "m"},
		"https://as.example/policy":            {"https://as.example", ledger.SubjectPolicy, ""},
		"https://as.example/principals":        {"https://as.example", ledger.SubjectPrincipals, ""},
		"https://as.example/log":               {"https://as.example", ledger.SubjectLog, ""},
		"https://as.example/peers/b.example":   {"https://as.example", ledger.SubjectPeers, "b.example"},
		"https://as.example/agreements/agr_1":  {"https://as.example", ledger.SubjectAgreements, "agr_1"},
		"https://as.example/approvals/evt_1":   {"https://as.example", ledger.SubjectApprovals, "evt_1"},
		"https://as.example/exports/e":         {"https://as.example", ledger.SubjectExports, "e"},
	} {
		got, err := ledger.Subject(c.issuer, c.kind, c.id)
		if err != nil || got != want {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
		kind, id, err := ledger.ParseSubject(c.issuer, want)
		if err != nil || kind != c.kind || id != c.id {
			t.Errorf("%s: %q %q, %v", want, kind, id, err)
		}
	}
	for _, id := range []string{"", "a/b", "a b", "a%2fb", "a.b", "..", "é", "a\n", strings.Repeat("a", 257)} {
		if got, err := ledger.MissionSubject(testIssuer, id); !errors.Is(err, ledger.ErrSubject) {
			t.Errorf("mission %q: %q, %v", id, got, err)
		}
	}
	for _, c := range [][3]string{
		{testIssuer, "policy", "x"}, {testIssuer, "peers", ""}, {testIssuer, "peers", ".."}, {testIssuer, "other", "x"},
		{testIssuer, "", ""}, {"", "policy", ""}, {"a\nb", "policy", ""},
	} {
		if got, err := ledger.Subject(c[0], ledger.SubjectKind(c[1]), c[2]); !errors.Is(err, ledger.ErrSubject) {
			t.Errorf("%q: %q, %v", c, got, err)
		}
	}
	for _, s := range []string{
		"", testIssuer, testIssuer + "/", testIssuer + "/missions", testIssuer + "/missions/", testIssuer + "/missions/a/b",
		testIssuer + "/policy/", testIssuer + "//policy", "https://as.example.evil/missions/a", "http://as.example/missions/a",
	} {
		if kind, id, err := ledger.ParseSubject(testIssuer, s); !errors.Is(err, ledger.ErrSubject) {
			t.Errorf("%q: %q %q, %v", s, kind, id, err)
		}
	}
}

func FuzzParseGenesis(f *testing.F) {
	f.Add(mustMarshalGenesis(f, testGenesis(f)))
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := ledger.ParseGenesis(data)
		if err != nil {
			return
		}
		if again, err := ledger.MarshalGenesis(g); err != nil || !bytes.Equal(again, data) {
			t.Errorf("accepted %x, canonical is %x, %v", data, again, err)
		}
	})
}
