//go:build pkcs11

package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"sync"

	"github.com/miekg/pkcs11"

	"github.com/mission-authority/mas/ledger"
)

// Values of PKCS #11 3.0 that the binding does not name.
const (
	ckmEDDSA     = 0x1057
	ckkECEdwards = 0x40
)

// tokenSessions is how many idle sessions are kept for each key.
const tokenSessions = 4

// modules are the loaded libraries. Each is initialized once in the life of the process.
var modules struct {
	sync.Mutex
	loaded map[string]*pkcs11.Ctx
}

func openModule(path string) (*pkcs11.Ctx, error) {
	modules.Lock()
	defer modules.Unlock()
	if m := modules.loaded[path]; m != nil {
		return m, nil
	}
	m := pkcs11.New(path)
	if m == nil {
		return nil, fmt.Errorf("%s cannot be loaded", path)
	}
	if err := m.Initialize(); err != nil && !errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		m.Destroy()
		return nil, fmt.Errorf("initializing %s: %w", path, err)
	}
	if modules.loaded == nil {
		modules.loaded = make(map[string]*pkcs11.Ctx)
	}
	modules.loaded[path] = m
	return m, nil
}

// A tokenKey signs with a private key that never leaves its token.
type tokenKey struct {
	module    *pkcs11.Ctx
	slot      uint
	pin       string
	ref       *tokenReference
	algorithm ledger.Algorithm
	idle      chan tokenSession
}

// A tokenSession is a session that has logged in and found the private key.
type tokenSession struct {
	handle pkcs11.SessionHandle
	key    pkcs11.ObjectHandle
}

// openToken finds the key pair that ref names and returns its signer and public key.
func openToken(role Role, ref *tokenReference) (remoteSigner, crypto.PublicKey, error) {
	pin, err := ReadPassphrase(ref.pinSource)
	if err != nil {
		return nil, nil, err
	}
	module, err := openModule(ref.module)
	if err != nil {
		return nil, nil, err
	}
	k := &tokenKey{module: module, pin: string(pin), ref: ref, algorithm: role.algorithm(),
		idle: make(chan tokenSession, tokenSessions)}
	if k.slot, err = k.findSlot(); err != nil {
		return nil, nil, err
	}
	s, err := k.open()
	if err != nil {
		return nil, nil, err
	}
	public, err := k.public(s)
	if err != nil {
		return nil, nil, errors.Join(err, module.CloseSession(s.handle))
	}
	k.release(s)
	return k, public, nil
}

// findSlot finds the one token with the label and serial number of the reference.
func (k *tokenKey) findSlot() (uint, error) {
	slots, err := k.module.GetSlotList(true)
	if err != nil {
		return 0, fmt.Errorf("listing tokens: %w", err)
	}
	var found []uint
	for _, slot := range slots {
		info, err := k.module.GetTokenInfo(slot)
		if err != nil {
			continue
		}
		if (k.ref.token == "" || info.Label == k.ref.token) && (k.ref.serial == "" || info.SerialNumber == k.ref.serial) {
			found = append(found, slot)
		}
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("%d tokens are as the reference says, want one", len(found))
	}
	return found[0], nil
}

// open begins a session, logs in and finds the private key.
func (k *tokenKey) open() (s tokenSession, err error) {
	if s.handle, err = k.module.OpenSession(k.slot, pkcs11.CKF_SERIAL_SESSION); err != nil {
		return s, fmt.Errorf("opening a session: %w", err)
	}
	err = k.module.Login(s.handle, pkcs11.CKU_USER, k.pin)
	if err == nil || errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN)) {
		s.key, err = k.find(s.handle, pkcs11.CKO_PRIVATE_KEY)
	}
	if err != nil {
		return s, errors.Join(err, k.module.CloseSession(s.handle))
	}
	return s, nil
}

// find finds the one object of a class that the reference names.
func (k *tokenKey) find(session pkcs11.SessionHandle, class uint) (pkcs11.ObjectHandle, error) {
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class)}
	if k.ref.object != "" {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_LABEL, k.ref.object))
	}
	if k.ref.id != nil {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, k.ref.id))
	}
	if err := k.module.FindObjectsInit(session, template); err != nil {
		return 0, fmt.Errorf("looking for the key: %w", err)
	}
	found, _, err := k.module.FindObjects(session, 2)
	if err = errors.Join(err, k.module.FindObjectsFinal(session)); err != nil {
		return 0, fmt.Errorf("looking for the key: %w", err)
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("the token has %d such keys or more, want one", len(found))
	}
	return found[0], nil
}

// public reads the public key of the pair.
func (k *tokenKey) public(s tokenSession) (crypto.PublicKey, error) {
	object, err := k.find(s.handle, pkcs11.CKO_PUBLIC_KEY)
	if err != nil {
		return nil, err
	}
	attributes, err := k.module.GetAttributeValue(s.handle, object, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, nil), pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, nil),
		pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil)})
	if err != nil || len(attributes) != 3 {
		return nil, fmt.Errorf("reading the public key: not a key on an elliptic curve: %w", err)
	}
	kind := uint(0)
	for i, b := range attributes[0].Value {
		kind |= uint(b) << (8 * i)
	}
	point := attributes[2].Value
	var inner []byte
	if rest, err := asn1.Unmarshal(point, &inner); err == nil && len(rest) == 0 {
		point = inner
	}
	p256, err := asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7})
	if err != nil {
		return nil, err
	}
	switch {
	case kind == pkcs11.CKK_EC && bytes.Equal(attributes[1].Value, p256):
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	case kind == ckkECEdwards && len(point) == ed25519.PublicKeySize:
		return ed25519.PublicKey(point), nil
	}
	return nil, fmt.Errorf("unsupported key type %#x or curve", kind)
}

// sign signs in an idle session, or a fresh one. A session can have died with the token's power: then once more.
func (k *tokenKey) sign(message []byte) ([]byte, error) {
	select {
	case s := <-k.idle:
		if sig, err := k.signIn(s, message); err == nil {
			return sig, nil
		}
	default:
	}
	s, err := k.open()
	if err != nil {
		return nil, err
	}
	return k.signIn(s, message)
}

func (k *tokenKey) signIn(s tokenSession, message []byte) ([]byte, error) {
	mechanism, input := uint(ckmEDDSA), message
	if k.algorithm == ledger.AlgES256 {
		digest := sha256.Sum256(message)
		mechanism, input = pkcs11.CKM_ECDSA, digest[:]
	}
	err := k.module.SignInit(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, s.key)
	var sig []byte
	if err == nil {
		sig, err = k.module.Sign(s.handle, input)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("signing on the token: %w", err), k.module.CloseSession(s.handle))
	}
	k.release(s)
	return sig, nil // r || s, or raw Ed25519
}

// release keeps a session for the next signature, or closes it if there are enough.
func (k *tokenKey) release(s tokenSession) {
	select {
	case k.idle <- s:
	default:
		_ = k.module.CloseSession(s.handle) // the signature is made; a session that does not close is the token's matter
	}
}
