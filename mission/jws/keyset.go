package jws

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"
	"fmt"
	"maps"
	"slices"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/mission-authority/mas/mission"
)

// ErrKey: a key or key set is malformed, carries private members, or is of no supported kind.
var ErrKey = errors.New("jws: unacceptable key")

// MaxKeys bounds a key set.
const MaxKeys = 64

// A KeySet is an immutable set of public keys by id. The nil set is empty.
type KeySet struct{ keys map[string]key }

type key struct {
	public crypto.PublicKey // *ecdsa.PublicKey on P-256, or ed25519.PublicKey
	alg    string
}

// jwk is what is looked at in a JSON Web Key; everything else is ignored.
type jwk struct {
	Kty string       `json:"kty"`
	Crv string       `json:"crv,omitempty"`
	X   string       `json:"x,omitempty"`
	Y   string       `json:"y,omitempty"`
	Kid string       `json:"kid,omitempty"`
	Alg string       `json:"alg,omitempty"`
	Use string       `json:"use,omitempty"`
	Ops *[]string    `json:"key_ops,omitempty"`
	D   *mission.Raw `json:"d,omitempty"` // the private members, of any kind of key
	K   *mission.Raw `json:"k,omitempty"`
	P   *mission.Raw `json:"p,omitempty"`
	Q   *mission.Raw `json:"q,omitempty"`
	DP  *mission.Raw `json:"dp,omitempty"`
	DQ  *mission.Raw `json:"dq,omitempty"`
	QI  *mission.Raw `json:"qi,omitempty"`
	Oth *mission.Raw `json:"oth,omitempty"`
	Prv *mission.Raw `json:"priv,omitempty"`
}

func (k *jwk) private() bool {
	for _, m := range []*mission.Raw{k.D, k.K, k.P, k.Q, k.DP, k.DQ, k.QI, k.Oth, k.Prv} {
		if m != nil {
			return true
		}
	}
	return false
}

// ParseKeySet reads a JWK Set of public keys: EC P-256 and OKP Ed25519 for signatures, with distinct non-empty kids.
// Keys of other kinds or uses are skipped; private members, duplicate kids and malformed keys refuse the whole set.
func ParseKeySet(data []byte) (*KeySet, error) {
	var form struct {
		Keys []mission.Raw `json:"keys"`
	}
	if err := mission.DecodeOpen(data, &form); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	if len(form.Keys) > MaxKeys {
		return nil, fmt.Errorf("%w: more than %d keys", ErrKey, MaxKeys)
	}
	s := &KeySet{keys: map[string]key{}}
	for i, raw := range form.Keys {
		k, kid, err := parseKey(raw.Bytes())
		if errors.Is(err, errOtherKey) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		if _, twice := s.keys[kid]; twice || kid == "" {
			return nil, fmt.Errorf("%w: key %d has no kid of its own", ErrKey, i)
		}
		s.keys[kid] = k
	}
	return s, nil
}

// ParsePublicKey reads one public JWK and returns the key and its id ("" if it has none).
func ParsePublicKey(data []byte) (crypto.PublicKey, string, error) {
	k, kid, err := parseKey(data)
	return k.public, kid, err
}

// errOtherKey: a well-formed key of a kind or for a use that is not ours.
var errOtherKey = fmt.Errorf("%w: kind not supported", ErrKey)

func parseKey(data []byte) (key, string, error) {
	var k jwk
	if err := mission.DecodeOpen(data, &k); err != nil {
		return key{}, "", fmt.Errorf("%w: %w", ErrKey, err)
	}
	if k.private() {
		return key{}, "", fmt.Errorf("%w: private members", ErrKey)
	}
	alg := ""
	switch {
	case k.Kty == "EC" && k.Crv == "P-256":
		alg = ES256
	case k.Kty == "OKP" && k.Crv == "Ed25519":
		alg = EdDSA
	default:
		return key{}, "", errOtherKey
	}
	if k.Use != "" && k.Use != "sig" || k.Ops != nil && !slices.Contains(*k.Ops, "verify") {
		return key{}, "", errOtherKey
	}
	if k.Alg != "" && k.Alg != alg || len(k.Kid) > maxKeyID {
		return key{}, "", fmt.Errorf("%w: alg or kid", ErrKey)
	}
	public, err := k.public(alg)
	return key{public, alg}, k.Kid, err
}

// public builds the key: coordinates in canonical base64url and of the exact size; the library checks the point.
func (k *jwk) public(alg string) (crypto.PublicKey, error) {
	for _, c := range []string{k.X, k.Y}[:coordinates(alg)] {
		if b, err := decodeCanonical(c); err != nil || len(b) != 32 {
			return nil, fmt.Errorf("%w: coordinate", ErrKey)
		}
	}
	text, err := mission.Marshal(jwk{Kty: k.Kty, Crv: k.Crv, X: k.X, Y: k.Y})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	var parsed jose.JSONWebKey
	if err := parsed.UnmarshalJSON(text); err != nil || !parsed.Valid() {
		return nil, fmt.Errorf("%w: not a point", ErrKey)
	}
	return parsed.Key, nil
}

func coordinates(alg string) int {
	if alg == ES256 {
		return 2
	}
	return 1
}

// algorithm returns the algorithm of a supported public key.
func algorithm(public crypto.PublicKey) (string, error) {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k != nil && k.Curve == elliptic.P256() {
			return ES256, nil
		}
	case ed25519.PublicKey:
		if len(k) == ed25519.PublicKeySize {
			return EdDSA, nil
		}
	}
	return "", errOtherKey
}

// NewKeySet makes a set of public keys by id.
func NewKeySet(keys map[string]crypto.PublicKey) (*KeySet, error) {
	s := &KeySet{keys: map[string]key{}}
	for kid, public := range keys {
		alg, err := algorithm(public)
		if err != nil {
			return nil, err
		}
		if kid == "" || len(kid) > maxKeyID || len(keys) > MaxKeys {
			return nil, fmt.Errorf("%w: kid", ErrKey)
		}
		s.keys[kid] = key{public, alg}
	}
	return s, nil
}

// With returns a set that has one key more, or, if present is false, lacks it. s is not modified.
func (s *KeySet) With(kid string, public crypto.PublicKey, present bool) (*KeySet, error) {
	keys := make(map[string]crypto.PublicKey)
	for _, id := range s.KeyIDs() {
		if own, _, ok := s.Key(id); ok {
			keys[id] = own
		}
	}
	if present {
		keys[kid] = public
	} else {
		delete(keys, kid)
	}
	return NewKeySet(keys)
}

// MarshalPublicKey returns the canonical JWK of a public key, with alg and use, and with kid unless it is "".
func MarshalPublicKey(kid string, public crypto.PublicKey) ([]byte, error) {
	k, err := describe(kid, public)
	if err != nil {
		return nil, err
	}
	return mission.Marshal(k)
}

func describe(kid string, public crypto.PublicKey) (jwk, error) {
	alg, err := algorithm(public)
	if err != nil {
		return jwk{}, err
	}
	text, err := (&jose.JSONWebKey{Key: public}).MarshalJSON()
	if err != nil {
		return jwk{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	var k jwk
	if err := mission.DecodeOpen(text, &k); err != nil {
		return jwk{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	k.Kid, k.Alg, k.Use = kid, alg, "sig"
	return k, nil
}

// Marshal returns the canonical JWK Set, in the order of the ids.
func (s *KeySet) Marshal() ([]byte, error) {
	list := []jwk{}
	for _, kid := range s.KeyIDs() {
		k, err := describe(kid, s.keys[kid].public)
		if err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return mission.Marshal(map[string]any{"keys": list})
}

// Key returns the key with this id.
func (s *KeySet) Key(kid string) (public crypto.PublicKey, alg string, ok bool) {
	if s == nil {
		return nil, "", false
	}
	k, ok := s.keys[kid]
	return k.public, k.alg, ok
}

// KeyIDs returns the ids in order.
func (s *KeySet) KeyIDs() []string {
	if s == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(s.keys))
}

// Thumbprint is the RFC 7638 thumbprint of a public key: SHA-256, base64url. It is the kid of keys made here.
func Thumbprint(public crypto.PublicKey) (string, error) {
	if _, err := algorithm(public); err != nil {
		return "", err
	}
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrKey, err)
	}
	return b64.EncodeToString(sum), nil
}

// SameKey reports whether two public keys are equal.
func SameKey(a, b crypto.PublicKey) bool {
	x, errX := MarshalPublicKey("", a)
	y, errY := MarshalPublicKey("", b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
