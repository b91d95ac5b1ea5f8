package ledger_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/mission-authority/mas/ledger"
)

const (
	pdpIssuer    = "https://pdp.example"
	decisionType = "application/mission-decision-evidence+json"
	refusalType  = "application/mission-refusal-record+json"
)

// testPolicy is the first policy after the genesis document of testGenesis: the decision point loses a type, a
// harness joins.
func testPolicy(t testing.TB, previous ledger.Hash) *ledger.Policy {
	t.Helper()
	return &ledger.Policy{
		Order: ledger.Order{Issuer: testIssuer, Number: 1, Previous: previous, OrderedBy: [2]string{"admin-1", "admin-2"}},
		Producers: []ledger.Producer{
			{Issuer: pdpIssuer, Key: mustKey(t, p256Key(t, 5).Public()), Types: []string{decisionType}},
			{Issuer: "https://harness.example", Key: mustKey(t, seedKey(6).Public()),
				Types: []string{"application/mission-harness-evidence+json"}, Subjects: []string{"approvals", "missions/msn_1"}},
		},
	}
}

// testAnchors replace the issuer's evidence key and add a receipt key.
func testAnchors(t testing.TB, previous ledger.Hash) *ledger.TrustAnchors {
	t.Helper()
	return &ledger.TrustAnchors{
		Order:        ledger.Order{Issuer: testIssuer, Number: 1, Previous: previous, OrderedBy: [2]string{"admin-1", "admin-2"}},
		LogKeys:      []string{testGenesis(t).LogKey},
		ReceiptKeys:  ledger.KeySet{mustKey(t, p256Key(t, 3).Public()), mustKey(t, p256Key(t, 7).Public())},
		EvidenceKeys: ledger.KeySet{mustKey(t, p256Key(t, 8).Public())},
	}
}

func mustMarshalPolicy(t testing.TB, p *ledger.Policy) []byte {
	t.Helper()
	data, err := ledger.MarshalPolicy(p)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func mustMarshalAnchors(t testing.TB, a *ledger.TrustAnchors) []byte {
	t.Helper()
	data, err := ledger.MarshalTrustAnchors(a)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Both documents have one encoding, which any decoder of deterministic CBOR reads, and these bytes.
func TestPolicyDocumentsAreFixed(t *testing.T) {
	previous := sha256.Sum256(mustMarshalGenesis(t, testGenesis(t)))
	p, a := testPolicy(t, previous), testAnchors(t, previous)
	for _, c := range []struct {
		name   string
		data   []byte
		size   int
		sha256 string
	}{
		{"policy", mustMarshalPolicy(t, p), goldenPolicySize, goldenPolicy},
		{"trust anchors", mustMarshalAnchors(t, a), goldenAnchorsSize, goldenAnchors},
	} {
		sum := sha256.Sum256(c.data)
		if len(c.data) != c.size || hex.EncodeToString(sum[:]) != c.sha256 {
			t.Errorf("%s: %d octets with digest %x", c.name, len(c.data), sum)
		}
		var plain map[string]any
		if err := cbor.Unmarshal(c.data, &plain); err != nil || plain["issuer"] != testIssuer {
			t.Errorf("%s: %v, %v", c.name, plain, err)
		}
		mode, err := cbor.CoreDetEncOptions().EncMode()
		if err != nil {
			t.Fatal(err)
		}
		if det, err := mode.Marshal(plain); err != nil || !bytes.Equal(det, c.data) {
			t.Errorf("%s is not core deterministic: %v", c.name, err)
		}
	}

	gotPolicy, err := ledger.ParsePolicy(mustMarshalPolicy(t, p))
	if err != nil || gotPolicy.Order != p.Order || len(gotPolicy.Producers) != 2 {
		t.Fatalf("%+v, %v", gotPolicy, err)
	}
	gotAnchors, err := ledger.ParseTrustAnchors(mustMarshalAnchors(t, a))
	if err != nil || gotAnchors.Order != a.Order || len(gotAnchors.ReceiptKeys) != 2 {
		t.Fatalf("%+v, %v", gotAnchors, err)
	}
	// The order in which a caller lists things does not matter, and the caller's lists stay as they are.
	before := mustMarshalPolicy(t, p)
	slices.Reverse(p.Producers)
	slices.Reverse(p.OrderedBy[:])
	shown := fmt.Sprint(p)
	if !bytes.Equal(mustMarshalPolicy(t, p), before) || fmt.Sprint(p) != shown {
		t.Error("another order of the producers gives other bytes, or marshalling changed its argument")
	}
}

// The sizes and digests of the documents of this file. Other bytes are another format.
const (
	goldenPolicySize  = 518
	goldenPolicy      = "93ba679ee7f79c99e09a0a5d9bed5de55093bfc920fd624ac208449982867b14"
	goldenAnchorsSize = 568
	goldenAnchors     = "692a689c0680944aaf36e0f30701083200084f7e2002aa95031329fbf62fca15"
)

func TestPolicyLimits(t *testing.T) {
	previous := ledger.Hash{1}
	for name, change := range map[string]func(*ledger.Policy){
		"no issuer":          func(p *ledger.Policy) { p.Issuer = "" },
		"number 0":           func(p *ledger.Policy) { p.Number = 0 },
		"huge number":        func(p *ledger.Policy) { p.Number = 1 << 53 },
		"no previous":        func(p *ledger.Policy) { p.Previous = ledger.Hash{} },
		"one administrator":  func(p *ledger.Policy) { p.OrderedBy[1] = p.OrderedBy[0] },
		"nobody":             func(p *ledger.Policy) { p.OrderedBy = [2]string{} },
		"long administrator": func(p *ledger.Policy) { p.OrderedBy[1] = strings.Repeat("z", 129) },
		"257 producers":      func(p *ledger.Policy) { p.Producers = slices.Repeat(p.Producers[:1], 257) },
		"a key twice":        func(p *ledger.Policy) { p.Producers[0].Key = p.Producers[1].Key },
		"no key":             func(p *ledger.Policy) { p.Producers[0].Key = ledger.Key{} },
		"no type":            func(p *ledger.Policy) { p.Producers[0].Types = nil },
		"any type":           func(p *ledger.Policy) { p.Producers[0].Types = []string{ledger.AnyType} },
		"a type of ours":     func(p *ledger.Policy) { p.Producers[0].Types = []string{ledger.ContentTypePolicy} },
		"a type twice":       func(p *ledger.Policy) { p.Producers[0].Types = []string{decisionType, decisionType} },
		"the log's issuer":   func(p *ledger.Policy) { p.Producers[0].Issuer = testIssuer },
		"with a slash":       func(p *ledger.Policy) { p.Producers[0].Issuer = testIssuer + "/" },
		"the principals":     func(p *ledger.Policy) { p.Producers[0].Subjects = []string{"principals"} },
		"the policy":         func(p *ledger.Policy) { p.Producers[0].Subjects = []string{"policy/x"} },
		"an unknown kind":    func(p *ledger.Policy) { p.Producers[0].Subjects = []string{"others"} },
		"an empty id":        func(p *ledger.Policy) { p.Producers[0].Subjects = []string{"missions/"} },
		"a subject twice":    func(p *ledger.Policy) { p.Producers[0].Subjects = []string{"missions", "missions"} },
		"65 subjects": func(p *ledger.Policy) {
			for i := range 65 {
				p.Producers[0].Subjects = append(p.Producers[0].Subjects, fmt.Sprintf("missions/%d", i))
			}
		},
	} {
		p := testPolicy(t, previous)
		change(p)
		if _, err := ledger.MarshalPolicy(p); !errors.Is(err, ledger.ErrPolicy) {
			t.Errorf("policy, %s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*ledger.TrustAnchors){
		"number 0":                     func(a *ledger.TrustAnchors) { a.Number = 0 },
		"no log key":                   func(a *ledger.TrustAnchors) { a.LogKeys = nil },
		"odd log key":                  func(a *ledger.TrustAnchors) { a.LogKeys[0] += "x" },
		"a log key twice":              func(a *ledger.TrustAnchors) { a.LogKeys = append(a.LogKeys, a.LogKeys[0]) },
		"no receipt key":               func(a *ledger.TrustAnchors) { a.ReceiptKeys = nil },
		"no evidence key":              func(a *ledger.TrustAnchors) { a.EvidenceKeys = nil },
		"a key twice":                  func(a *ledger.TrustAnchors) { a.EvidenceKeys = slices.Repeat(a.EvidenceKeys, 2) },
		"one key for two purposes":     func(a *ledger.TrustAnchors) { a.EvidenceKeys = a.ReceiptKeys[:1] },
		"a key that signs nothing":     func(a *ledger.TrustAnchors) { a.EvidenceKeys = ledger.KeySet{{}} },
		"the same administrator twice": func(a *ledger.TrustAnchors) { a.OrderedBy[0] = "admin-2" },
	} {
		a := testAnchors(t, previous)
		change(a)
		if _, err := ledger.MarshalTrustAnchors(a); !errors.Is(err, ledger.ErrPolicy) {
			t.Errorf("trust anchors, %s: %v", name, err)
		}
	}
}

func TestOtherPolicyDocumentsAreRefused(t *testing.T) {
	policy := mustMarshalPolicy(t, testPolicy(t, ledger.Hash{1}))
	anchors := mustMarshalAnchors(t, testAnchors(t, ledger.Hash{1}))
	parsePolicy := func(b []byte) error { _, err := ledger.ParsePolicy(b); return err }
	parseAnchors := func(b []byte) error { _, err := ledger.ParseTrustAnchors(b); return err }
	for name, c := range map[string]struct {
		good, from, to string
		parse          func([]byte) error
	}{
		"format 2":            {string(policy), "format\x01", "format\x02", parsePolicy},
		"long number":         {string(policy), "number\x01", "number\x18\x01", parsePolicy},
		"member name":         {string(policy), "producers", "producerS", parsePolicy},
		"administrator order": {string(policy), "admin-1", "admin-3", parsePolicy},
		"private key":         {string(policy), "types", "typeS", parsePolicy},
		"subject order":       {string(policy), "approvals", "npprovals", parsePolicy},
		"anchors, format":     {string(anchors), "format\x01", "format\x00", parseAnchors},
		"anchors, log key":    {string(anchors), testOrigin, strings.Repeat("x", len(testOrigin)), parseAnchors},
		"anchors as policy":   {string(anchors), "x", "x", parsePolicy},
		"policy as anchors":   {string(policy), "x", "x", parseAnchors},
	} {
		data := strings.Replace(c.good, c.from, c.to, 1)
		if data == c.good && c.from != c.to {
			t.Fatalf("%s: the case is the good document", name)
		}
		if err := c.parse([]byte(data)); !errors.Is(err, ledger.ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for cut := range policy {
		if err := parsePolicy(policy[:cut]); !errors.Is(err, ledger.ErrPolicy) {
			t.Errorf("policy, first %d octets: %v", cut, err)
		}
	}
	for cut := range anchors {
		if err := parseAnchors(anchors[:cut]); !errors.Is(err, ledger.ErrPolicy) {
			t.Errorf("anchors, first %d octets: %v", cut, err)
		}
	}
	for _, parse := range []func([]byte) error{parsePolicy, parseAnchors} {
		if err := parse(make([]byte, 1<<20)); !errors.Is(err, ledger.ErrTooLarge) {
			t.Errorf("oversize: %v", err)
		}
	}
}

func TestPublicBodies(t *testing.T) {
	for contentType, public := range map[string]bool{
		ledger.ContentTypeGenesis: true, ledger.ContentTypePolicy: true, ledger.ContentTypeAnchors: true,
		ledger.ContentTypeFeedEpoch: true, "application/mas-key-succession+cbor": true, "application/mas-log-closed+cbor": true,
		decisionType: false, "application/mas-principals+json": false, "": false,
	} {
		if ledger.PublicBody(contentType) != public {
			t.Errorf("%s: %v", contentType, !public)
		}
	}
	if ledger.Governs(ledger.ContentTypeGenesis) || !ledger.Governs(ledger.ContentTypeAnchors) {
		t.Error("what changes the policy")
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add(mustMarshalPolicy(f, testPolicy(f, ledger.Hash{1})))
	f.Add(mustMarshalAnchors(f, testAnchors(f, ledger.Hash{1})))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, err := ledger.ParsePolicy(data); err == nil {
			if again, err := ledger.MarshalPolicy(p); err != nil || !bytes.Equal(again, data) {
				t.Errorf("accepted %x, canonical is %x, %v", data, again, err)
			}
		}
		if a, err := ledger.ParseTrustAnchors(data); err == nil {
			if again, err := ledger.MarshalTrustAnchors(a); err != nil || !bytes.Equal(again, data) {
				t.Errorf("accepted %x, canonical is %x, %v", data, again, err)
			}
		}
	})
}
