// Package federationtest makes domains for tests: keys, a log, agreements, and every artifact of the border, well
// formed or not. A Domain signs whatever it is told to, so it serves as an honest peer and as a hostile one. It holds
// no Missions; two whole authorities stand in the tests of package authority and in cmd/internal/domaintest.
package federationtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// Resource is where the entries of these tests live, and Read and Write are their actions.
const (
	Resource = "https://erp.example/invoices"
	Read     = "invoice.read"
	Write    = "invoice.pay"
)

// A Domain is one side of an agreement, with all its private keys.
type Domain struct {
	Issuer     string
	Key        *jws.Key // status, projections, receipts, assertions
	Governance *jws.Key
	Log        *ledgertest.Log
}

// New makes a domain with a running log in memory. host names it and its log, e.g. "a.example".
func New(t testing.TB, host string, now func() time.Time) *Domain {
	t.Helper()
	log := ledgertest.NewLog(t, ledgertest.Options{Keys: ledgertest.NewKeys(t, host+"/log/main"), Now: now})
	return &Domain{Issuer: log.Keys.Issuer, Key: NewKey(t), Governance: NewKey(t), Log: log}
}

// NewKey makes an ES256 key whose id is its thumbprint.
func NewKey(t testing.TB) *jws.Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jws.NewKey("", private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Host is the issuer without its scheme.
func (d *Domain) Host() string { return strings.TrimPrefix(d.Issuer, "https://") }

// ClientID is the id under which other domains know this one.
func (d *Domain) ClientID() string { return "mas-" + strings.ReplaceAll(d.Host(), ".", "-") }

// Party is the domain's side of an agreement.
func (d *Domain) Party(t testing.TB) federation.Party {
	t.Helper()
	return federation.Party{
		Issuer:        d.Issuer,
		Nonce:         federation.NewNonce(),
		GovernanceKey: JWK(t, d.Governance),
		IssuerKeys:    []string{d.Key.KeyID()},
		EvidenceKeys:  []string{thumbprint(t, d.Log.Keys.EvidenceKey)},
		ReceiptKeys:   []string{thumbprint(t, d.Log.Keys.ReceiptKey)},
		Log:           d.log(t),
		Roles:         []string{federation.RoleOrigin, federation.RoleReceiver},
		Contacts:      []string{"mailto:federation@" + d.Host()},
	}
}

func (d *Domain) log(t testing.TB) federation.Log {
	genesis, err := d.Log.MustView(t).Entry(0)
	if err != nil {
		t.Fatal(err)
	}
	return federation.Log{Origin: d.Log.Keys.Origin, VKey: d.Log.Keys.VKey,
		Genesis: ledger.EntryID(ledger.HashLeaf(genesis.Statement))}
}

// Record is the peer record that self holds about d.
func (d *Domain) Record(t testing.TB, self *Domain) *federation.Peer {
	t.Helper()
	keys, err := jws.NewKeySet(map[string]crypto.PublicKey{d.Key.KeyID(): d.Key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	set, err := keys.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return &federation.Peer{
		Issuer:        d.Issuer,
		Status:        federation.PeerActive,
		ClientID:      d.ClientID(),
		OwnClientID:   self.ClientID(),
		GovernanceKey: d.Governance.KeyID(),
		JWKS:          Raw(t, set),
		EvidenceKeys:  coseKey(t, d.Log.Keys.EvidenceKey),
		ReceiptKeys:   coseKey(t, d.Log.Keys.ReceiptKey),
		Log:           d.log(t),
		Hosts:         []string{d.Host()},
	}
}

// Terms is an agreement between two domains that allows everything these tests do, in both directions, until a day
// after from. It is not signed.
func Terms(t testing.TB, from time.Time, x, y *Domain) *federation.Agreement {
	t.Helper()
	if x.Issuer > y.Issuer {
		x, y = y, x
	}
	direction := func(from, to *Domain) federation.Direction {
		return federation.Direction{
			From: from.Issuer, To: to.Issuer,
			Shapes:    []string{mission.ShapeStatus, mission.ShapeProjection, mission.ShapeLocalMission},
			Resources: []string{"https://erp.example/"},
			Actions:   []string{"invoice.*", "admin.*"},
			ConstraintKeys: []string{"max_amount", "recipient_domain", "requires_action_approval", "tenant",
				"time_window"},
			Classes:              []federation.ClassRule{{Class: federation.ClassIrreversible, Actions: []string{"invoice.delete"}}},
			MaxProjectionSeconds: 120,
			MaxMissionSeconds:    8 * 3600,
		}
	}
	return &federation.Agreement{
		ID:         federation.NewAgreementID(),
		Version:    1,
		Parties:    []federation.Party{x.Party(t), y.Party(t)},
		Directions: []federation.Direction{direction(x, y), direction(y, x)},
		Freshness:  federation.Freshness{MaxStaleSeconds: 5, StatusTTLSeconds: 5},
		Revocation: federation.Revocation{BoundSeconds: 5},
		Privacy: federation.Privacy{Mode: federation.ModeLinked, PurposeDisclosure: federation.DiscloseSummary,
			ErasureNoticeSeconds: 86400},
		NotBefore: mission.FormatTime(from.Add(-time.Hour)),
		ExpiresAt: mission.FormatTime(from.Add(24 * time.Hour)),
	}
}

// Sign collects both governance signatures.
func Sign(t testing.TB, a *federation.Agreement, domains ...*Domain) *federation.SignedAgreement {
	t.Helper()
	out := &federation.SignedAgreement{Agreement: *a}
	for _, d := range domains {
		s, err := federation.SignAgreement(t.Context(), a, d.Issuer, d.Governance)
		if err != nil {
			t.Fatal(err)
		}
		out.Signatures = append(out.Signatures, s)
	}
	return out
}

// PartnerOf is how self sees d under a signed agreement.
func PartnerOf(t testing.TB, self, d *Domain, s *federation.SignedAgreement) *federation.Partner {
	t.Helper()
	p, err := federation.NewPartner(self.Issuer, d.Record(t, self), s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Annex is what a domain decides alone about a peer: subjects are mapped both ways, a ceiling is proposed.
func Annex(self, peer *Domain, approver mission.Principal, from time.Time) *federation.Annex {
	return &federation.Annex{
		Issuer: peer.Issuer,
		Mapping: federation.Mapping{
			PolicyID: "subjects", Version: "1",
			Inbound: []federation.MappedPair{{
				From: mission.Principal{Iss: peer.Issuer, Sub: "pairwise-1"},
				To:   mission.Principal{Iss: self.Issuer, Sub: "partner-desk"},
			}},
			Outbound: []federation.MappedPair{{
				From: approver,
				To:   mission.Principal{Iss: self.Issuer, Sub: "pairwise-1"},
			}},
		},
		Purposes:   []string{},
		Disclosure: federation.DiscloseSummary,
		Poll:       1000,
		Ceiling: &federation.CeilingProposal{
			Approver:      approver,
			Entries:       []mission.Entry{Entry(Read, Write, "invoice.delete")},
			ExpiresAt:     mission.FormatTime(from.Add(12 * time.Hour)),
			MaxAgeSeconds: 12 * 3600,
			MaxActive:     3,
			MaxPerHour:    10,
		},
	}
}

// Entry is an entry on Resource with these actions, delegable twice.
func Entry(actions ...string) mission.Entry {
	return mission.Entry{Type: mission.TypeResourceAccess, Resource: Resource, Actions: actions,
		Delegation: &mission.Delegation{MaxDepth: 2}}
}

// Crossing is Entry that may cross to these peers in every shape.
func Crossing(actions []string, peers ...string) mission.Entry {
	e := Entry(actions...)
	e.Federation = &mission.Federation{Audiences: peers,
		Shapes: []string{mission.ShapeStatus, mission.ShapeProjection, mission.ShapeLocalMission}}
	return e
}

// Held is Entry as a receiver may hold it: one step of delegation is used up.
func Held(actions ...string) mission.Entry {
	e := Entry(actions...)
	e.Delegation = &mission.Delegation{MaxDepth: 1}
	return e
}

// JWK is the public key of a signer as a JSON value.
func JWK(t testing.TB, k *jws.Key) mission.Raw {
	t.Helper()
	b, err := jws.MarshalPublicKey(k.KeyID(), k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return Raw(t, b)
}

// Raw is a JSON text as a value.
func Raw(t testing.TB, text []byte) mission.Raw {
	t.Helper()
	r, err := mission.ParseRaw(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// RawOf is a value as a JSON value.
func RawOf(t testing.TB, v any) mission.Raw {
	t.Helper()
	r, err := mission.RawOf(v)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func thumbprint(t testing.TB, pub crypto.PublicKey) string {
	b, err := ledger.KeyThumbprint(pub)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func coseKey(t testing.TB, pub crypto.PublicKey) string {
	k, err := ledger.NewKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	s, err := federation.EncodeKeys(ledger.KeySet{k})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Digest is the SHA-256 of a body as a statement commits to it.
func Digest(body []byte) ledger.Hash { return sha256.Sum256(body) }
