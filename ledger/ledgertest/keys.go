package ledgertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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
	Producers   []ledger.Producer // besides the issuer, in the genesis document
}

// NewKeys makes keys for the log named origin.
func NewKeys(t testing.TB, origin string) *Keys {
	t.Helper()
	return newKeyFile(t, origin).keys(t, origin)
}

// NewProducer makes a fresh key and the rule under which it may register these types.
func NewProducer(t testing.TB, issuer string, types ...string) (ledger.Signer, ledger.Producer) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ledger.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ledger.NewKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer, ledger.Producer{Issuer: issuer, Key: key, Types: types}
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
		Producers: append([]ledger.Producer{{Issuer: k.Issuer, Key: evidence, Types: []string{ledger.AnyType}}}, k.Producers...),
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

// KeysIn returns the keys kept in the directory dir for the log named origin; the first call makes them. Several
// processes of one test have the same keys by it.
func KeysIn(t testing.TB, dir, origin string) *Keys {
	t.Helper()
	path := filepath.Join(dir, "ledgertest.keys")
	kept := new(keyFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		kept = newKeyFile(t, origin)
		if text, err = json.Marshal(kept); err == nil {
			err = os.WriteFile(path, text, 0o600)
		}
	} else if err == nil {
		err = json.Unmarshal(text, kept)
	}
	if err != nil {
		t.Fatal(err)
	}
	return kept.keys(t, origin)
}

// keyFile is how KeysIn keeps keys.
type keyFile struct {
	Signer, Verifier  string // of checkpoints, in the text form of signed notes
	Evidence, Receipt []byte // PKCS #8
}

func newKeyFile(t testing.TB, origin string) *keyFile {
	t.Helper()
	kept := new(keyFile)
	var err error
	if kept.Signer, kept.Verifier, err = note.GenerateKey(rand.Reader, origin); err != nil {
		t.Fatal(err)
	}
	for _, der := range []*[]byte{&kept.Evidence, &kept.Receipt} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if *der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
			t.Fatal(err)
		}
	}
	return kept
}

func (f *keyFile) keys(t testing.TB, origin string) *Keys {
	t.Helper()
	k := &Keys{Origin: origin, VKey: f.Verifier}
	host, _, _ := strings.Cut(origin, "/")
	k.Issuer = "https://" + host
	var err error
	if k.Checkpoint, err = note.NewSigner(f.Signer); err != nil {
		t.Fatal(err)
	}
	if k.Verifier, err = note.NewVerifier(f.Verifier); err != nil {
		t.Fatal(err)
	}
	k.Evidence, k.EvidenceKey = parseSigner(t, f.Evidence)
	k.Receipt, k.ReceiptKey = parseSigner(t, f.Receipt)
	return k
}

func parseSigner(t testing.TB, der []byte) (ledger.Signer, crypto.PublicKey) {
	t.Helper()
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ledger.NewSigner(key.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	return s, key.(crypto.Signer).Public()
}
