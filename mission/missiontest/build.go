package missiontest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"time"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// The domain that the built values belong to, and a peer domain.
const (
	Issuer     = "https://mas.a.example"
	PeerIssuer = "https://mas.b.example"
	Resource   = "https://erp.a.example"
	Client     = "agent-1"
)

// At is the instant at which the built values were approved; they expire a day later.
var At = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// Approver is the principal that approves, and the subject.
var Approver = mission.Principal{Iss: "https://id.a.example", Sub: "approver"}

// Intent returns a valid Intent on Resource.
func Intent(edits ...func(*mission.Intent)) *mission.Intent {
	in := &mission.Intent{
		Goal:      "Reconcile the invoices of the third quarter",
		Resources: []string{Resource},
		ExpiresAt: mission.FormatTime(At.Add(24 * time.Hour)),
	}
	for _, edit := range edits {
		edit(in)
	}
	return in
}

// Entry returns a valid entry on Resource that allows invoices.read and does not leave the domain.
func Entry(edits ...func(*mission.Entry)) mission.Entry {
	e := mission.Entry{
		Type:     mission.TypeResourceAccess,
		Resource: Resource,
		Actions:  []string{"invoices.read"},
	}
	for _, edit := range edits {
		edit(&e)
	}
	return e
}

// Crossing is an edit of Entry: it may cross to the peer in every shape.
func Crossing(e *mission.Entry) {
	e.Federation = &mission.Federation{
		Audiences: []string{PeerIssuer},
		Shapes:    []string{mission.ShapeStatus, mission.ShapeProjection, mission.ShapeLocalMission},
	}
}

// Record returns a valid, sealed record of a Mission approved at At by Approver for itself. Its id is always the same.
func Record(edits ...func(*mission.Record)) *mission.Record {
	r := &mission.Record{
		ID:              "msn_8RfX2Lqv9TqMv4z7sA2bN1k0YpEdHc9-",
		Issuer:          Issuer,
		Intent:          Intent(),
		AuthoritySet:    []mission.Entry{Entry(Crossing)},
		Subject:         Approver,
		Approver:        Approver,
		AuthoritySource: mission.AuthoritySource{Type: mission.SourceUserDelegated},
		ClientID:        Client,
		PolicyVersion:   "principals:1",
		ApprovalEventID: "evt_2Yt7Qv9LqMv4z7sA2bN1k0YpEdHc9RfX",
		CreatedAt:       mission.FormatTime(At),
		ExpiresAt:       mission.FormatTime(At.Add(24 * time.Hour)),
	}
	for _, edit := range edits {
		edit(r)
	}
	must(r.Seal())
	if r.ApprovalBasis.Type == "" {
		r.ApprovalBasis = mission.ApprovalBasis{
			Type:             mission.BasisDirect,
			ConsentPrincipal: r.Approver,
			Activation:       mission.Activation{ApprovalEventID: r.ApprovalEventID},
			ActivationActor:  r.Approver,
			RootCommitment:   r.AuthorityHash,
		}
	}
	must(r.Validate())
	must(r.Verify())
	return r
}

// Upstream is an edit of Record: it was minted from a Mission of the peer.
func Upstream(r *mission.Record) {
	local, err := mission.EntryDigest(r.Issuer, r.AuthoritySet[0])
	must(err)
	some := mission.RawDigest([]byte("upstream"))
	r.Upstream = &mission.Upstream{
		Issuer:        PeerIssuer,
		ID:            "msn_2Yt7Qv9LqMv4z7sA2bN1k0YpEdHc9RfX",
		AuthorityHash: some,
		VersionAtMint: 1,
		ExpiresAt:     mission.FormatTime(At.Add(48 * time.Hour)),
		Agreement:     mission.AgreementRef{ID: "a-b", Version: 1, Digest: some},
		Evidence:      []mission.UpstreamEvidence{{Type: string(jws.TypProjection), Digest: some, JTI: "jti-1"}},
		Justification: []mission.Justification{{LocalEntry: local, UpstreamEntry: some}},
		Mapping:       mission.MappingRef{PolicyID: "map", Version: "1", ResultHash: some},
		Coupling:      mission.Coupling{Mode: mission.CouplingCascade, MaxStaleSeconds: 5},
	}
}

// Active returns a record and its standing right after approval.
func Active(edits ...func(*mission.Record)) (*mission.Record, mission.Standing) {
	r := Record(edits...)
	return r, mission.Begin(r)
}

// Key returns the Ed25519 key that belongs to name: the same for the same name. Its kid is its thumbprint.
func Key(name string) *jws.Key {
	seed := sha256.Sum256([]byte(name))
	k, err := jws.NewKey("", ed25519.NewKeyFromSeed(bytes.Clone(seed[:])))
	must(err)
	return k
}

// Keys returns the public keys as a set.
func Keys(keys ...*jws.Key) *jws.KeySet {
	var list []mission.Raw
	for _, k := range keys {
		text, err := jws.MarshalPublicKey(k.KeyID(), k.Public())
		must(err)
		raw, err := mission.ParseRaw(text)
		must(err)
		list = append(list, raw)
	}
	text, err := mission.Marshal(map[string]any{"keys": list})
	must(err)
	set, err := jws.ParseKeySet(text)
	must(err)
	return set
}

// Ptr returns a pointer to v.
func Ptr[T any](v T) *T { return &v }

// must stops a test that built something impossible.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
