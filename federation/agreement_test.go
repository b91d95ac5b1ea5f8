package federation_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/federation/federationtest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// now is when these tests play; the logs run on the real clock, which nothing here compares with.
var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// two is a pair of domains with a signed agreement: a conveys, b receives.
type two struct {
	a, b   *federationtest.Domain
	terms  *federation.Agreement
	signed *federation.SignedAgreement
	atB    *federation.Partner // how b sees a
	atA    *federation.Partner // how a sees b
}

func newTwo(t testing.TB, change ...func(*federation.Agreement)) *two {
	t.Helper()
	w := &two{a: federationtest.New(t, "a.example", nil), b: federationtest.New(t, "b.example", nil)}
	w.terms = federationtest.Terms(t, now, w.a, w.b)
	for _, f := range change {
		f(w.terms)
	}
	w.signed = federationtest.Sign(t, w.terms, w.a, w.b)
	w.atB = federationtest.PartnerOf(t, w.b, w.a, w.signed)
	w.atA = federationtest.PartnerOf(t, w.a, w.b, w.signed)
	return w
}

func refusalOf(err error) (code, reason string) {
	if r, ok := errors.AsType[*federation.Refusal](err); ok {
		return r.Code, r.Reason
	}
	return "", ""
}

func TestAgreementRoundTrip(t *testing.T) {
	w := newTwo(t)
	text, err := w.signed.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	again, err := federation.ParseSigned(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Verify(); err != nil {
		t.Fatal(err)
	}
	ref, err := again.Agreement.Ref()
	if err != nil {
		t.Fatal(err)
	}
	if ref != w.atB.Ref || w.atA.Ref != w.atB.Ref {
		t.Errorf("both sides must name the agreement alike: %v %v %v", ref, w.atA.Ref, w.atB.Ref)
	}
	if other, ok := w.terms.Other(w.a.Issuer); !ok || other != w.b.Issuer {
		t.Errorf("Other = %q, %v", other, ok)
	}
	if w.terms.Covers(now.Add(24*time.Hour)) || !w.terms.Covers(now) || w.terms.Covers(now.Add(-2*time.Hour)) {
		t.Error("an agreement covers not_before until before expires_at")
	}
}

// TestAgreementRules breaks one rule at a time; the digest of nothing that is refused can come into force.
func TestAgreementRules(t *testing.T) {
	w := newTwo(t)
	for name, change := range map[string]func(*federation.Agreement){
		"id":                    func(a *federation.Agreement) { a.ID = "agr_short" },
		"version zero":          func(a *federation.Agreement) { a.Version = 0 },
		"first with previous":   func(a *federation.Agreement) { a.Previous = mission.RawDigest(nil) },
		"second without":        func(a *federation.Agreement) { a.Version = 2 },
		"parties out of order":  func(a *federation.Agreement) { slices.Reverse(a.Parties) },
		"one party":             func(a *federation.Agreement) { a.Parties = a.Parties[:1] },
		"equal nonces":          func(a *federation.Agreement) { a.Parties[1].Nonce = a.Parties[0].Nonce },
		"short nonce":           func(a *federation.Agreement) { a.Parties[0].Nonce = "abc" },
		"shared key":            func(a *federation.Agreement) { a.Parties[1].IssuerKeys = a.Parties[0].IssuerKeys },
		"one key two purposes":  func(a *federation.Agreement) { a.Parties[0].ReceiptKeys = a.Parties[0].EvidenceKeys },
		"same log":              func(a *federation.Agreement) { a.Parties[1].Log = a.Parties[0].Log },
		"vkey of another log":   func(a *federation.Agreement) { a.Parties[0].Log.Origin = "c.example/log/main" },
		"no direction":          func(a *federation.Agreement) { a.Directions = nil },
		"direction twice":       func(a *federation.Agreement) { a.Directions[1] = a.Directions[0] },
		"direction to a third":  func(a *federation.Agreement) { a.Directions[0].To = "https://c.example" },
		"role missing":          func(a *federation.Agreement) { a.Parties[0].Roles = []string{federation.RoleReceiver} },
		"unknown shape":         func(a *federation.Agreement) { a.Directions[0].Shapes = []string{"everything"} },
		"mint without status":   func(a *federation.Agreement) { a.Directions[0].Shapes = []string{mission.ShapeLocalMission} },
		"resource not a URI":    func(a *federation.Agreement) { a.Directions[0].Resources = []string{"invoices"} },
		"no actions":            func(a *federation.Agreement) { a.Directions[0].Actions = nil },
		"long projection":       func(a *federation.Agreement) { a.Directions[0].MaxProjectionSeconds = 301 },
		"no stale bound":        func(a *federation.Agreement) { a.Freshness.MaxStaleSeconds = 0 },
		"ttl above stale bound": func(a *federation.Agreement) { a.Freshness.StatusTTLSeconds = 6 },
		"bound below formula":   func(a *federation.Agreement) { a.Revocation.TokenSeconds = 1 },
		"pairwise":              func(a *federation.Agreement) { a.Privacy.Mode = "pairwise" },
		"no erasure duty":       func(a *federation.Agreement) { a.Privacy.ErasureNoticeSeconds = 0 },
		"ends before it begins": func(a *federation.Agreement) { a.ExpiresAt = a.NotBefore },
		"unknown class":         func(a *federation.Agreement) { a.Directions[0].Classes[0].Class = "harmless" },
		"person as contact":     func(a *federation.Agreement) { a.Parties[0].Contacts = nil },
		"issuer with query":     func(a *federation.Agreement) { a.Parties[0].Issuer = "https://a.example?x" },
	} {
		t.Run(name, func(t *testing.T) {
			text, err := w.terms.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			a, err := federation.ParseAgreement(text)
			if err != nil {
				t.Fatal(err)
			}
			change(a)
			if text, err = a.Bytes(); err != nil {
				t.Fatal(err)
			}
			if _, err := federation.ParseAgreement(text); !errors.Is(err, federation.ErrAgreement) {
				t.Errorf("accepted: %v", err)
			}
		})
	}
}

func TestAgreementIsClosed(t *testing.T) {
	w := newTwo(t)
	text, err := w.terms.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"unknown member":   strings.Replace(string(text), `{"agreement_id"`, `{"aaa":1,"agreement_id"`, 1),
		"duplicate member": strings.Replace(string(text), `{"agreement_id"`, `{"version":1,"agreement_id"`, 1),
		"other case":       strings.Replace(string(text), `"privacy"`, `"Privacy"`, 1),
		"trailing data":    string(text) + "{}",
		"too large":        string(text) + strings.Repeat(" ", federation.MaxAgreement),
	} {
		if bad == string(text) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := federation.ParseAgreement([]byte(bad)); !errors.Is(err, federation.ErrAgreement) {
			t.Errorf("%s: accepted: %v", name, err)
		}
	}
}

// TestGovernanceSignatures: both parties must have signed these very bytes with the keys that people compared.
func TestGovernanceSignatures(t *testing.T) {
	w := newTwo(t)
	mallory := federationtest.NewKey(t)
	ref := w.atB.Ref
	forged := func(key *jws.Key, typ jws.Typ, iss string, r mission.AgreementRef) string {
		return federationtest.Compact(t, key, typ, map[string]any{"iss": iss, "agreement": r})
	}
	otherRef := ref
	otherRef.Digest = mission.RawDigest([]byte("other bytes"))
	first, second := w.signed.Signatures[0], w.signed.Signatures[1]
	for name, signatures := range map[string][]string{
		"none":            {},
		"one":             {first},
		"the same twice":  {first, first},
		"other key":       {first, forged(mallory, jws.TypAgreement, w.b.Issuer, ref)},
		"other typ":       {first, forged(w.b.Governance, jws.TypProjection, w.b.Issuer, ref)},
		"other issuer":    {first, forged(w.b.Governance, jws.TypAgreement, w.a.Issuer, ref)},
		"other bytes":     {first, forged(w.b.Governance, jws.TypAgreement, w.b.Issuer, otherRef)},
		"issuer key":      {first, forged(w.b.Key, jws.TypAgreement, w.b.Issuer, ref)},
		"trailing octets": {first, second + "\n"},
	} {
		s := &federation.SignedAgreement{Agreement: *w.terms, Signatures: signatures}
		if err := s.Verify(); !errors.Is(err, federation.ErrAgreement) {
			t.Errorf("%s: verified: %v", name, err)
		}
	}
	if _, err := federation.SignAgreement(t.Context(), w.terms, w.a.Issuer, mallory); !errors.Is(err, federation.ErrAgreement) {
		t.Errorf("signed with a key that the agreement does not name: %v", err)
	}
	changed := *w.signed
	changed.Agreement.Freshness.MaxStaleSeconds = 4
	changed.Agreement.Freshness.StatusTTLSeconds = 4
	if err := changed.Verify(); !errors.Is(err, federation.ErrAgreement) {
		t.Errorf("changed bytes verified: %v", err)
	}
}

// TestPartnerPins: what the peer record says must be what was agreed, and a key that the agreement does not name is no
// key of the peer, whoever publishes it.
func TestPartnerPins(t *testing.T) {
	w := newTwo(t)
	c := federationtest.New(t, "c.example", nil)
	for name, change := range map[string]func(*federation.Peer){
		"another issuer":      func(p *federation.Peer) { p.Issuer = c.Issuer },
		"own issuer":          func(p *federation.Peer) { p.Issuer = w.b.Issuer },
		"governance key":      func(p *federation.Peer) { p.GovernanceKey = c.Governance.KeyID() },
		"log":                 func(p *federation.Peer) { p.Log = c.Record(t, w.b).Log },
		"unagreed keys":       func(p *federation.Peer) { p.JWKS = c.Record(t, w.b).JWKS },
		"unagreed evidence":   func(p *federation.Peer) { p.EvidenceKeys = c.Record(t, w.b).EvidenceKeys },
		"unagreed receipts":   func(p *federation.Peer) { p.ReceiptKeys = c.Record(t, w.b).ReceiptKeys },
		"receipt as evidence": func(p *federation.Peer) { p.EvidenceKeys = p.ReceiptKeys },
	} {
		p := w.a.Record(t, w.b)
		change(p)
		if _, err := federation.NewPartner(w.b.Issuer, p, w.signed); !errors.Is(err, federation.ErrAgreement) {
			t.Errorf("%s: bound: %v", name, err)
		}
	}
	if _, err := federation.NewPartner(c.Issuer, w.a.Record(t, c), w.signed); !errors.Is(err, federation.ErrAgreement) {
		t.Errorf("an agreement of others bound: %v", err)
	}
}

func TestPeerAndAnnexRules(t *testing.T) {
	w := newTwo(t)
	approver := mission.Principal{Iss: w.b.Issuer, Sub: "approver"}
	for name, change := range map[string]func(*federation.Peer){
		"status":           func(p *federation.Peer) { p.Status = "friendly" },
		"host with path":   func(p *federation.Peer) { p.Hosts = []string{"a.example/x"} },
		"host with user":   func(p *federation.Peer) { p.Hosts = []string{"x@a.example"} },
		"upper case host":  func(p *federation.Peer) { p.Hosts = []string{"A.example"} },
		"no hosts":         func(p *federation.Peer) { p.Hosts = []string{} },
		"private key":      func(p *federation.Peer) { p.JWKS = federationtest.Raw(t, []byte(`{"keys":[{"kty":"oct","k":"AA"}]}`)) },
		"evidence garbage": func(p *federation.Peer) { p.EvidenceKeys = "AAAA" },
		"client id":        func(p *federation.Peer) { p.ClientID = "two words" },
	} {
		p := w.a.Record(t, w.b)
		change(p)
		text, err := p.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := federation.ParsePeer(text); !errors.Is(err, federation.ErrPeer) {
			t.Errorf("peer: %s: accepted: %v", name, err)
		}
	}
	for name, change := range map[string]func(*federation.Annex){
		"two from one": func(x *federation.Annex) {
			x.Mapping.Inbound = append(x.Mapping.Inbound, federation.MappedPair{From: x.Mapping.Inbound[0].From, To: approver})
		},
		"one from two": func(x *federation.Annex) {
			x.Mapping.Inbound = append(x.Mapping.Inbound, federation.MappedPair{From: approver, To: x.Mapping.Inbound[0].To})
		},
		"poll":          func(x *federation.Annex) { x.Poll = 1 },
		"no age":        func(x *federation.Annex) { x.Ceiling.MaxAgeSeconds = 0 },
		"no entries":    func(x *federation.Annex) { x.Ceiling.Entries = []mission.Entry{} },
		"no bound":      func(x *federation.Annex) { x.Ceiling.MaxActive = 0 },
		"wrong expiry":  func(x *federation.Annex) { x.Ceiling.ExpiresAt = "tomorrow" },
		"disclosure":    func(x *federation.Annex) { x.Disclosure = "all" },
		"not an issuer": func(x *federation.Annex) { x.Issuer = "a.example" },
	} {
		x := federationtest.Annex(w.b, w.a, approver, now)
		change(x)
		text, err := x.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := federation.ParseAnnex(text); !errors.Is(err, federation.ErrPeer) {
			t.Errorf("annex: %s: accepted: %v", name, err)
		}
	}
	x := federationtest.Annex(w.b, w.a, approver, now)
	text, err := x.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := federation.ParseAnnex(text); err != nil {
		t.Fatal(err)
	}
	until, err := x.Ceiling.Until(now)
	if err != nil || !until.Equal(now.Add(12*time.Hour)) {
		t.Errorf("Until = %v, %v", until, err)
	}
	x.Ceiling.MaxAgeSeconds = 60
	if until, err = x.Ceiling.Until(now); err != nil || !until.Equal(now.Add(time.Minute)) {
		t.Errorf("an old approval ends the ceiling: Until = %v, %v", until, err)
	}
}

// TestPublishedFormula pins the formula with figures that a reader can add up.
func TestPublishedFormula(t *testing.T) {
	w := newTwo(t, func(a *federation.Agreement) {
		a.Freshness = federation.Freshness{MaxStaleSeconds: 20, StatusTTLSeconds: 10}
		a.Revocation = federation.Revocation{TokenSeconds: 60, PermitSeconds: 15, BoundSeconds: 95}
	})
	for _, c := range []struct {
		shape string
		hops  int
		want  time.Duration
	}{
		{mission.ShapeStatus, 1, 95 * time.Second},
		{mission.ShapeLocalMission, 1, 95 * time.Second},
		{mission.ShapeLocalMission, 2, 115 * time.Second},
		{mission.ShapeProjection, 1, 195 * time.Second},
	} {
		if got := w.terms.Reliance(c.shape, c.hops); got != c.want {
			t.Errorf("Reliance(%s, %d) = %v, want %v", c.shape, c.hops, got, c.want)
		}
	}
}
