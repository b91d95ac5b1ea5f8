// Package keys loads the keys of one server and turns them into the signers that the formats ask for.
//
// A server has a signing key for each kind of statement it makes, so that a signature of one kind can never be taken
// for another, and the root key of its evidence vault:
//
//	checkpoint  Ed25519  signed-note checkpoints of the log
//	receipts    ES256    COSE receipts
//	issuer      ES256    status and every other JWS of the issuer
//	evidence    ES256    statements about the issuer's evidence
//	governance  ES256    federation agreements
//	witness     Ed25519  cosignatures of other logs' checkpoints; a server without it is nobody's witness
//	root        32 octets that seal the vault's record keys
//
// Signing goes through sigstore signers, so that a key in a KMS is another signer and not another code path. References
// are file paths today: anything that looks like a URI is refused before the signing library sees it, because that
// library runs a program named after an unknown scheme. Files must be readable by their owner alone. Load fails if two
// roles share a key, and if any key does not verify what it signs.
package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/mission-authority/mas/ledger"
	"github.com/sigstore/sigstore/pkg/signature"
)

// A Role is what a key is for.
type Role string

// The roles of signing keys.
const (
	Checkpoint Role = "checkpoint"
	Receipts   Role = "receipts"
	Issuer     Role = "issuer"
	Evidence   Role = "evidence"
	Governance Role = "governance"
	Witness    Role = "witness" // the one role that may have no key
)

// Roles lists the roles of signing keys in a fixed order.
func Roles() []Role { return []Role{Checkpoint, Receipts, Issuer, Evidence, Governance, Witness} }

// algorithm is the one algorithm a role's key is used with.
func (r Role) algorithm() ledger.Algorithm {
	if r == Checkpoint || r == Witness {
		return ledger.AlgEdDSA
	}
	return ledger.AlgES256
}

// Refs say where the keys are.
type Refs struct {
	Signing    map[Role]string // a file path for each role; none for Witness: there is no such key
	Root       string          // file path of the vault's root key
	Passphrase []byte          // of all PEM files; nil: they are not encrypted
}

// A Set is the keys of one server.
type Set struct {
	keys map[Role]*Key
	root [RootSize]byte
}

// Key returns the key of a role; nil if it is Witness and there is none.
func (s *Set) Key(r Role) *Key { return s.keys[r] }

// Root returns the root key of the vault.
func (s *Set) Root() [RootSize]byte { return s.root }

// Load reads every key and checks that the set can be used.
func Load(refs Refs) (*Set, error) {
	s := &Set{keys: make(map[Role]*Key)}
	for _, role := range Roles() {
		if role == Witness && refs.Signing[role] == "" {
			continue
		}
		path, err := filePath(refs.Signing[role])
		if err != nil {
			return nil, fmt.Errorf("keys: %s: %w", role, err)
		}
		k, err := loadSigning(role, path, refs.Passphrase)
		if err != nil {
			return nil, fmt.Errorf("keys: %s: %w", role, err)
		}
		s.keys[role] = k
	}
	path, err := filePath(refs.Root)
	if err != nil {
		return nil, fmt.Errorf("keys: root: %w", err)
	}
	if s.root, err = loadRoot(path); err != nil {
		return nil, fmt.Errorf("keys: root: %w", err)
	}
	return s, s.check()
}

// check refuses a set in which two roles share a key or a key does not work.
func (s *Set) check() error {
	var seen []*Key
	for _, role := range Roles() {
		k := s.keys[role]
		if k == nil {
			continue
		}
		if slices.ContainsFunc(seen, func(o *Key) bool { return bytes.Equal(o.thumbprint, k.thumbprint) }) {
			return fmt.Errorf("keys: %s: the key is also used for another role", role)
		}
		seen = append(seen, k)
		if err := k.selfTest(); err != nil {
			return fmt.Errorf("keys: %s: %w", role, err)
		}
	}
	return nil
}

// uriScheme matches what is not a file path.
var uriScheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)

// errScheme: only files hold keys in this version.
var errScheme = errors.New("a key reference must be a file path")

// filePath admits references to files and nothing else.
func filePath(ref string) (string, error) {
	if ref == "" {
		return "", errors.New("no key reference")
	}
	if uriScheme.MatchString(ref) {
		return "", errScheme
	}
	return ref, nil
}

// A Key is one signing key in its role. Its methods are safe for concurrent use.
type Key struct {
	role       Role
	signer     signature.Signer
	public     crypto.PublicKey // *ecdsa.PublicKey on P-256, or ed25519.PublicKey
	thumbprint []byte           // RFC 9679
}

// newKey checks that a private key fits its role.
func newKey(role Role, private crypto.PrivateKey) (*Key, error) {
	var public crypto.PublicKey
	switch k := private.(type) {
	case *ecdsa.PrivateKey:
		if role.algorithm() != ledger.AlgES256 || k.Curve != elliptic.P256() {
			return nil, errors.New("want an Ed25519 key for checkpoints and cosignatures, and a P-256 key for everything else")
		}
		public = k.Public()
	case ed25519.PrivateKey:
		if role.algorithm() != ledger.AlgEdDSA {
			return nil, errors.New("want a P-256 key")
		}
		public = k.Public()
	default:
		return nil, fmt.Errorf("unsupported key type %T", private)
	}
	signer, err := signature.LoadSigner(private, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("loading the signer: %w", err)
	}
	thumbprint, err := ledger.KeyThumbprint(public)
	if err != nil {
		return nil, err
	}
	return &Key{role: role, signer: signer, public: public, thumbprint: thumbprint}, nil
}

// Public returns the public key.
func (k *Key) Public() crypto.PublicKey { return k.public }

// sign returns the signature of message in the form that JOSE and COSE share: r || s, 64 octets, or raw Ed25519.
func (k *Key) sign(_ context.Context, message []byte) ([]byte, error) {
	sig, err := k.signer.SignMessage(bytes.NewReader(message))
	if err != nil {
		return nil, fmt.Errorf("keys: signing with the %s key: %w", k.role, err)
	}
	if k.role.algorithm() == ledger.AlgES256 {
		return fixedFromDER(sig)
	}
	return sig, nil
}

// selfTest signs and verifies one message, so that a key that cannot do its work stops the start and not a commit.
func (k *Key) selfTest() error {
	message := []byte("self-test of a signing key")
	sig, err := k.sign(context.Background(), message)
	if err != nil {
		return err
	}
	ok := false
	switch pub := k.public.(type) {
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(message)
		ok = verifyFixed(pub, digest[:], sig)
	case ed25519.PublicKey:
		ok = ed25519.Verify(pub, message, sig)
	}
	if !ok {
		return errors.New("the key does not verify what it signs")
	}
	return nil
}
