package ledger_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
)

// A chain is a log of statements with the admission after each.
type chain struct {
	t  *testing.T
	at *ledger.Admission
}

func newChain(t *testing.T) *chain {
	t.Helper()
	body := mustMarshalGenesis(t, testGenesis(t))
	entry := mustSign(t, ledger.Claims{Issuer: testIssuer, Subject: testIssuer + "/log",
		ContentType: ledger.ContentTypeGenesis, Digest: sha256.Sum256(body)}, newSigner(t, p256Key(t, 4)))
	at, err := ledger.NewAdmission(entry, body)
	if err != nil {
		t.Fatal(err)
	}
	return &chain{t, at}
}

// next decides a statement of this body; an admitted one takes the chain further.
func (c *chain) next(issuer string, signer ledger.Signer, subject, contentType string, body []byte) error {
	c.t.Helper()
	s, err := ledger.ParseStatement(mustSign(c.t, ledger.Claims{
		Issuer: issuer, Subject: testIssuer + subject, ContentType: contentType, Digest: sha256.Sum256(body)}, signer))
	if err != nil {
		c.t.Fatal(err)
	}
	after, err := c.at.Next(s, body)
	if err != nil {
		if !errors.Is(err, ledger.ErrNotAdmitted) || after != nil {
			c.t.Fatalf("%+v, %v", after, err)
		}
		return err
	}
	c.at = after
	return nil
}

// policy registers a successor of the policy in force.
func (c *chain) policy(signer ledger.Signer, change func(*ledger.Policy)) error {
	c.t.Helper()
	number, digest := c.at.PolicyInForce()
	p := testPolicy(c.t, digest)
	p.Number = number + 1
	change(p)
	return c.next(testIssuer, signer, "/policy", ledger.ContentTypePolicy, mustMarshalPolicy(c.t, p))
}

func (c *chain) anchors(signer ledger.Signer, change func(*ledger.TrustAnchors)) error {
	c.t.Helper()
	number, digest := c.at.AnchorsInForce()
	a := testAnchors(c.t, digest)
	a.Number = number + 1
	change(a)
	return c.next(testIssuer, signer, "/policy", ledger.ContentTypeAnchors, mustMarshalAnchors(c.t, a))
}

func same[T any](*T) {}

// The newest registered policy decides: what the genesis document or an older policy says no longer counts, a producer
// that is left out is gone, and an entry that was admitted before stays admitted where it stands.
//
// Audit rows: 39.
func TestNewestPolicyApplies(t *testing.T) {
	c := newChain(t)
	issuer, pdp, harness := newSigner(t, p256Key(t, 4)), newSigner(t, p256Key(t, 5)), newSigner(t, seedKey(6))
	decide := func(contentType string) error { return c.next(pdpIssuer, pdp, "/missions/m", contentType, []byte("x")) }
	act := func(subject string) error {
		return c.next("https://harness.example", harness, subject, "application/mission-harness-evidence+json", []byte("h"))
	}
	if err := errors.Join(decide(decisionType), decide(refusalType)); err != nil {
		t.Errorf("what the genesis document allows: %v", err)
	}
	if err := act("/missions/msn_1"); !errors.Is(err, ledger.ErrNoProducer) || !errors.Is(err, ledger.ErrUnknownKey) {
		t.Errorf("a producer the policy does not have: %v", err)
	}
	before := c.at

	if err := c.policy(issuer, same); err != nil {
		t.Fatal(err)
	}
	if n, _ := c.at.PolicyInForce(); n != 1 || len(c.at.Producers()) != 2 {
		t.Errorf("number %d with %d producers", n, len(c.at.Producers()))
	}
	if err := errors.Join(decide(decisionType), act("/missions/msn_1"), act("/approvals/evt_1")); err != nil {
		t.Errorf("what the policy allows: %v", err)
	}
	for name, err := range map[string]error{
		"a type it took away":      decide(refusalType),
		"an approval":              decide("application/mission-approval-record+json"),
		"a mission beside it":      act("/missions/msn_2"),
		"a subject of the issuer":  act("/principals"),
		"no subject of the issuer": act("/missions/msn_1/x"),
	} {
		if !errors.Is(err, ledger.ErrNotYourType) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.policy(issuer, func(p *ledger.Policy) { p.Producers = p.Producers[1:] }); err != nil {
		t.Fatal(err)
	}
	if err := decide(decisionType); !errors.Is(err, ledger.ErrNoProducer) {
		t.Errorf("a producer that was removed: %v", err)
	}
	if err := c.policy(issuer, func(p *ledger.Policy) { p.Producers = nil }); err != nil {
		t.Errorf("a policy without producers: %v", err)
	}
	c.at = before
	if err := decide(refusalType); err != nil {
		t.Errorf("at the earlier position: %v", err)
	}
}

// Whoever is not the issuer changes no policy, and the issuer only by the successor of the one in force.
func TestPolicySuccession(t *testing.T) {
	c := newChain(t)
	issuer, pdp := newSigner(t, p256Key(t, 4)), newSigner(t, p256Key(t, 5))
	_, genesis := c.at.PolicyInForce()
	good := mustMarshalPolicy(t, testPolicy(t, genesis))
	for name, err := range map[string]error{
		"by a producer":       c.next(pdpIssuer, pdp, "/policy", ledger.ContentTypePolicy, good),
		"as the issuer":       c.next(testIssuer, pdp, "/policy", ledger.ContentTypePolicy, good),
		"by nobody":           c.next(testIssuer, newSigner(t, p256Key(t, 9)), "/policy", ledger.ContentTypePolicy, good),
		"another subject":     c.next(testIssuer, issuer, "/log", ledger.ContentTypePolicy, good),
		"a mission":           c.next(testIssuer, issuer, "/missions/m", ledger.ContentTypePolicy, good),
		"anchors as a policy": c.next(testIssuer, issuer, "/policy", ledger.ContentTypeAnchors, good),
		"no document":         c.next(testIssuer, issuer, "/policy", ledger.ContentTypePolicy, []byte("policy")),
		"another log's":       c.policy(issuer, func(p *ledger.Policy) { p.Issuer = "https://other.example" }),
		"a number left out":   c.policy(issuer, func(p *ledger.Policy) { p.Number = 2 }),
		"another previous":    c.policy(issuer, func(p *ledger.Policy) { p.Previous[0] ^= 1 }),
		"the issuer's key": c.policy(issuer, func(p *ledger.Policy) {
			p.Producers[0].Key = mustKey(t, p256Key(t, 4).Public())
		}),
		"a receipt key": c.policy(issuer, func(p *ledger.Policy) { p.Producers[0].Key = mustKey(t, p256Key(t, 3).Public()) }),
	} {
		if err == nil {
			t.Errorf("%s: admitted", name)
		}
	}
	if n, digest := c.at.PolicyInForce(); n != 0 || digest != genesis {
		t.Fatalf("number %d, %s", n, digest)
	}
	if err := c.policy(issuer, same); err != nil {
		t.Fatal(err)
	}
	if err := c.next(testIssuer, issuer, "/policy", ledger.ContentTypePolicy, good); err == nil {
		t.Error("the same policy again: admitted")
	}
	s, err := ledger.ParseStatement(mustSign(t, ledger.Claims{Issuer: testIssuer, Subject: testIssuer + "/policy",
		ContentType: ledger.ContentTypePolicy, Digest: ledger.Hash{1}}, issuer))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.at.Next(s, nil); !errors.Is(err, ledger.ErrNoBody) || !errors.Is(err, ledger.ErrNotAdmitted) {
		t.Errorf("without the body: %v", err)
	}
	if _, err := c.at.Next(s, []byte("another body")); !errors.Is(err, ledger.ErrPolicy) {
		t.Errorf("with another body: %v", err)
	}
	if err := c.at.Admit(s); err != nil {
		t.Errorf("its signer may register policies: %v", err)
	}
}

// Keys of the log come and go by registered statements, and hold from the next entry on.
//
// Audit rows: 43.
func TestTrustAnchorsChangeByStatement(t *testing.T) {
	c := newChain(t)
	before, after := newSigner(t, p256Key(t, 4)), newSigner(t, p256Key(t, 8))
	state := func(signer ledger.Signer) error {
		return c.next(testIssuer, signer, "/missions/m", "application/mission-approval-record+json", []byte("r"))
	}
	if keys := c.at.Anchors(); len(keys.EvidenceKeys) != 1 || len(keys.ReceiptKeys) != 1 || keys.Number != 0 {
		t.Errorf("anchors of the genesis document: %+v", keys)
	}
	if state(before) != nil || state(after) == nil {
		t.Error("the genesis document names one key")
	}
	for name, err := range map[string]error{
		"by a key it adds":        c.anchors(after, same),
		"by a producer":           c.anchors(newSigner(t, p256Key(t, 5)), same),
		"a log key of another":    c.anchors(before, func(a *ledger.TrustAnchors) { a.LogKeys = []string{otherVKey(t)} }),
		"a key of a producer":     c.anchors(before, func(a *ledger.TrustAnchors) { a.EvidenceKeys = ledger.KeySet{mustKey(t, p256Key(t, 5).Public())} }),
		"a receipt key of theirs": c.anchors(before, func(a *ledger.TrustAnchors) { a.ReceiptKeys = ledger.KeySet{mustKey(t, p256Key(t, 5).Public())} }),
		"a number left out":       c.anchors(before, func(a *ledger.TrustAnchors) { a.Number++ }),
	} {
		if err == nil {
			t.Errorf("%s: admitted", name)
		}
	}
	if err := c.anchors(before, func(a *ledger.TrustAnchors) {
		a.EvidenceKeys = append(a.EvidenceKeys, mustKey(t, p256Key(t, 4).Public()))
	}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(state(before), state(after)); err != nil {
		t.Errorf("overlap: %v", err)
	}
	if err := c.anchors(after, same); err != nil {
		t.Fatal(err)
	}
	if state(before) == nil || state(after) != nil {
		t.Error("the key that was removed still registers")
	}
	if n, _ := c.at.AnchorsInForce(); n != 2 || len(c.at.Anchors().ReceiptKeys) != 2 {
		t.Errorf("number %d, %+v", n, c.at.Anchors())
	}
	// The two successions are independent.
	if err := c.policy(after, same); err != nil {
		t.Errorf("a policy under the new key: %v", err)
	}
}

// What the issuer alone may say stays the issuer's, even if a genesis document lets a producer say anything.
func TestOwnTypesAreTheIssuers(t *testing.T) {
	g := testGenesis(t)
	g.Producers[1].Types = []string{ledger.AnyType}
	for contentType, admit := range map[string]bool{
		"application/vnd.example+json": true, "application/mas-principals+json": false, ledger.ContentTypePolicy: false,
		ledger.ContentTypeGenesis: false,
	} {
		s, err := ledger.ParseStatement(mustSign(t, ledger.Claims{Issuer: pdpIssuer, Subject: testIssuer + "/missions/m",
			ContentType: contentType, Digest: ledger.Hash{1}}, newSigner(t, p256Key(t, 5))))
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Admit(s); (err == nil) != admit {
			t.Errorf("%s: %v", contentType, err)
		}
	}
}

// otherVKey is a checkpoint key of another log.
func otherVKey(t *testing.T) string {
	t.Helper()
	vkey, err := note.NewEd25519VerifierKey("other.example/log", seedKey(1).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}
