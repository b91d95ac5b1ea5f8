package ledgertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"golang.org/x/mod/sumdb/note"
)

// ContentType is the media type of statements made by Keys.
const ContentType = "application/octet-stream"

// Keys are the fresh keys of one log and what names it.
type Keys struct {
	Origin      string
	Issuer      string
	Checkpoint  note.Signer
	Verifier    note.Verifier // of Checkpoint
	VKey        string        // text form of Verifier
	Evidence    ledger.Signer // ES256
	EvidenceKey crypto.PublicKey
	Receipt     ledger.Signer // ES256
	ReceiptKey  crypto.PublicKey
}

// NewKeys makes keys for the log named origin.
func NewKeys(t testing.TB, origin string) *Keys {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	k := &Keys{Origin: origin, VKey: vkey}
	host, _, _ := strings.Cut(origin, "/")
	k.Issuer = "https://" + host
	if k.Checkpoint, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	if k.Verifier, err = note.NewVerifier(vkey); err != nil {
		t.Fatal(err)
	}
	k.Evidence, k.EvidenceKey = newSigner(t)
	k.Receipt, k.ReceiptKey = newSigner(t)
	return k
}

func newSigner(t testing.TB) (ledger.Signer, crypto.PublicKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ledger.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s, key.Public()
}

// Subject returns the subject of the feed with this mission id.
func (k *Keys) Subject(t testing.TB, id string) string {
	t.Helper()
	s, err := ledger.MissionSubject(k.Issuer, id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Entry states that body is evidence of the mission with this id. The body is not part of the Entry: see WithBody.
func (k *Keys) Entry(t testing.TB, id string, body []byte) ledger.Entry {
	t.Helper()
	return k.sign(t, ledger.Claims{
		Issuer: k.Issuer, Subject: k.Subject(t, id), ContentType: ContentType, Digest: sha256.Sum256(body),
	})
}

// WithBody is Entry with the body to be sealed.
func (k *Keys) WithBody(t testing.TB, id string, body []byte) ledger.Entry {
	t.Helper()
	e := k.Entry(t, id, body)
	e.Body = body
	return e
}

func (k *Keys) sign(t testing.TB, c ledger.Claims) ledger.Entry {
	t.Helper()
	raw, err := ledger.SignStatement(t.Context(), c, k.Evidence)
	if err != nil {
		t.Fatal(err)
	}
	return ledger.Entry{Statement: raw}
}

// Genesis is entry 0 of the log: it names its keys and admits every type signed by Evidence.
func (k *Keys) Genesis(t testing.TB) *ledger.Entry {
	t.Helper()
	receipt, err := ledger.NewKey(k.ReceiptKey)
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := ledger.NewKey(k.EvidenceKey)
	if err != nil {
		t.Fatal(err)
	}
	body, err := ledger.MarshalGenesis(&ledger.Genesis{
		Format: 1, Origin: k.Origin, Issuer: k.Issuer, LogKey: k.VKey, ReceiptKeys: ledger.KeySet{receipt},
		Producers: []ledger.Producer{{Issuer: k.Issuer, Key: evidence, Types: []string{ledger.AnyType}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	subject, err := ledger.Subject(k.Issuer, ledger.SubjectLog, "")
	if err != nil {
		t.Fatal(err)
	}
	e := k.sign(t, ledger.Claims{
		Issuer: k.Issuer, Subject: subject, ContentType: ledger.ContentTypeGenesis, Digest: sha256.Sum256(body),
	})
	e.Body = body
	return &e
}
