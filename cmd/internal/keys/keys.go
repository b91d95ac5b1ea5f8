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
// A reference says where a key is: a PEM file, one version of a key in the Transit engine of HashiCorp Vault or
// OpenBao, or a key pair on a PKCS #11 token (build tag pkcs11). Any other scheme is refused before the signing
// library sees it, because that library runs a program named after a scheme it does not know. Files must be readable
// by their owner alone. Load fails if two roles share a key, and if any key does not verify what it signs. What a key
// outside of the process signs is verified with the published key before it leaves: a key that was replaced or
// rotated where it is kept stops signing, and signs nothing that nobody can verify.
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
	Signing    map[Role]string // a reference for each role: its first key; none for Witness: there is no such key
	Root       string          // file path of the vault's root key
	Passphrase []byte          // of all PEM files; nil: they are not encrypted
	Ring       *Ring           // what has become of the keys since; nil: nothing
}

// A Set is the keys of one server.
type Set struct {
	keys map[Role]*Key // that sign
	next map[Role]*Key // that are published and, for checkpoints, sign beside the others
	ring *Ring
	open func(*Entry) (*Key, error)
	root [RootSize]byte
}

// Key returns the key of a role; nil if it is Witness and there is none.
func (s *Set) Key(r Role) *Key { return s.keys[r] }

// Next returns the key that a role will have when its overlap ends, nil outside of an overlap.
func (s *Set) Next(r Role) *Key { return s.next[r] }

// Ring is the history of the keys.
func (s *Set) Ring() *Ring { return s.ring }

// Root returns the root key of the vault.
func (s *Set) Root() [RootSize]byte { return s.root }

// Load reads every key and checks that the set can be used. Without a ring it makes the first one.
func Load(refs Refs) (*Set, error) {
	s := &Set{keys: make(map[Role]*Key), next: make(map[Role]*Key), ring: refs.Ring}
	s.open = func(e *Entry) (*Key, error) {
		ref := e.Ref
		if ref == "" {
			ref = refs.Signing[e.Role]
		}
		return openKey(e.Role, ref, refs.Passphrase, e.Public)
	}
	var err error
	for _, role := range Roles() {
		if role == Witness && refs.Signing[role] == "" && !s.ring.moved(role) {
			continue
		}
		if err = s.load(role, refs); err != nil {
			return nil, fmt.Errorf("keys: %s: %w", role, err)
		}
	}
	path, err := filePath(refs.Root)
	if err != nil {
		return nil, fmt.Errorf("keys: root: %w", err)
	}
	if s.root, err = loadRoot(path, refs.Passphrase); err != nil {
		return nil, fmt.Errorf("keys: root: %w", err)
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	s.ring = s.ring.with(s.keys)
	return s, nil
}

// load opens the key of a role and the next one. The first key of a role is where the configuration says.
func (s *Set) load(role Role, refs Refs) (err error) {
	active := refs.Ring.find(role, Active)
	if active == nil {
		s.keys[role], err = s.open(&Entry{Role: role})
		return err
	}
	if s.keys[role], err = s.open(active); err != nil {
		return err
	}
	if next := refs.Ring.find(role, Next); next != nil {
		if s.next[role], err = s.open(next); err != nil {
			return fmt.Errorf("next key: %w", err)
		}
	}
	return nil
}

// check refuses a set in which two roles share a key or a key does not work.
func (s *Set) check() error {
	var seen []*Key
	for _, role := range Roles() {
		for _, k := range []*Key{s.keys[role], s.next[role]} {
			if k == nil {
				continue
			}
			if slices.ContainsFunc(seen, func(o *Key) bool { return bytes.Equal(o.thumbprint, k.thumbprint) }) {
				return fmt.Errorf("keys: %s: the key is also used for another role", role)
			}
			seen = append(seen, k)
		}
	}
	return nil
}

// A Key is one signing key in its role. Its methods are safe for concurrent use.
type Key struct {
	role       Role
	local      signature.Signer // a key in memory; nil if remote is set
	remote     *remoteKey       // a key that is kept elsewhere
	public     crypto.PublicKey // *ecdsa.PublicKey on P-256, or ed25519.PublicKey
	thumbprint []byte           // RFC 9679
}

// openKey opens the key that a reference names. want is the public key it must have; nil: whichever it has.
func openKey(role Role, text string, passphrase []byte, want crypto.PublicKey) (*Key, error) {
	ref, err := parseReference(text)
	if err != nil {
		return nil, err
	}
	k := &Key{role: role}
	var remote remoteSigner
	switch {
	case ref.vault != nil:
		remote, k.public, err = openVault(role, ref.vault)
		// The provider tells the newest public key, whatever version signs. The ring remembers that of our version.
		if err == nil && want != nil && sameType(k.public, want) {
			k.public = want
		}
	case ref.token != nil:
		remote, k.public, err = openToken(role, ref.token)
	default:
		k.local, k.public, err = loadSigning(ref.path, passphrase)
	}
	if err != nil {
		return nil, err
	}
	if remote != nil {
		k.remote = newRemoteKey(remote)
	}
	if err := k.fits(want); err != nil {
		return nil, err
	}
	if k.thumbprint, err = ledger.KeyThumbprint(k.public); err != nil {
		return nil, err
	}
	if err := k.selfTest(); err != nil {
		if ref.vault != nil && want == nil && errors.Is(err, errOtherKey) {
			err = fmt.Errorf("version %d is not the newest version of the key: %w", ref.vault.version, err)
		}
		return nil, err
	}
	return k, nil
}

func sameType(a, b crypto.PublicKey) bool { return fmt.Sprintf("%T", a) == fmt.Sprintf("%T", b) }

// fits checks that the public key is of the kind that the role asks for, and the wanted one.
func (k *Key) fits(want crypto.PublicKey) error {
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		if k.role.algorithm() != ledger.AlgES256 || public.Curve != elliptic.P256() {
			return errors.New("want an Ed25519 key for checkpoints and cosignatures, and a P-256 key for everything else")
		}
	case ed25519.PublicKey:
		if k.role.algorithm() != ledger.AlgEdDSA {
			return errors.New("want a P-256 key")
		}
	default:
		return fmt.Errorf("unsupported key type %T", k.public)
	}
	if same, ok := k.public.(interface{ Equal(crypto.PublicKey) bool }); want != nil && (!ok || !same.Equal(want)) {
		return errors.New("the reference leads to another key than the key ring has: keys are changed with mas keys rotate")
	}
	return nil
}

// Public returns the public key.
func (k *Key) Public() crypto.PublicKey { return k.public }

// sign returns the signature of message in the form that JOSE and COSE share: r || s, 64 octets, or raw Ed25519. A
// signature that was made elsewhere is verified before it is returned.
func (k *Key) sign(ctx context.Context, message []byte) (sig []byte, err error) {
	if k.remote == nil {
		sig, err = k.local.SignMessage(bytes.NewReader(message))
		if err == nil && k.role.algorithm() == ledger.AlgES256 {
			sig, err = fixedFromDER(sig)
		}
	} else if sig, err = k.remote.sign(ctx, message); err == nil && !k.verify(message, sig) {
		err = errOtherKey
	}
	if err != nil {
		return nil, fmt.Errorf("keys: signing with the %s key: %w", k.role, err)
	}
	return sig, nil
}

// verify checks a signature with the public key.
func (k *Key) verify(message, sig []byte) bool {
	switch pub := k.public.(type) {
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(message)
		return verifyFixed(pub, digest[:], sig)
	case ed25519.PublicKey:
		return ed25519.Verify(pub, message, sig)
	}
	return false
}

// selfTest signs and verifies one message, so that a key that cannot do its work stops the start and not a commit.
func (k *Key) selfTest() error {
	message := []byte("self-test of a signing key")
	sig, err := k.sign(context.Background(), message)
	if err != nil {
		return err
	}
	if !k.verify(message, sig) {
		return errors.New("the key does not verify what it signs")
	}
	return nil
}
