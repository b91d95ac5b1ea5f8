package ledger

import (
	"context"
	"crypto"
	"errors"
	"fmt"
)

// ContentTypeSuccession is the media type of a key succession: the log registers one for every key that replaces
// another, about <issuer>/log.
const ContentTypeSuccession = "application/mas-key-succession+cbor"

const (
	successionFormat  = 1
	maxSuccessionSize = 4 << 10
	successionContext = "mas key succession 1\n" // begins what the keys sign: no other thing they sign begins so
)

// ErrKeySuccession is wrapped by every refusal of a key succession.
var ErrKeySuccession = errors.New("ledger: malformed key succession")

// The reasons of a succession.
const (
	SuccessionRotation   = "rotation"   // the old key agrees: it signs
	SuccessionCompromise = "compromise" // the old key's word is worth nothing: it does not sign
	SuccessionLoss       = "loss"       // the old key cannot sign any more
)

// A Succession says that a key takes the place of another one in a role. The new key signs it, which shows that
// whoever announces it holds it; in a rotation the old key signs it too. Its encoding is a deterministic CBOR map
// with text keys:
//
//	{"by": [text, text], "new": COSE_Key, "old": COSE_Key, "role": text, "format": 1, "issuer": text, "origin": text,
//	 "reason": text, "effective": uint, "new_proof": bstr .size 64, ? "old_proof": bstr .size 64}
//
// A proof is the signature, as r || s or raw Ed25519, over the text "mas key succession 1", a line feed, and the map
// without proofs.
type Succession struct {
	Issuer    string
	Origin    string // of the log
	Role      string // what the keys sign
	Old, New  Key
	Reason    string
	Effective int64     // when the new key was announced, seconds since the epoch
	By        [2]string // ids of the two administrators who ordered it, sorted
}

// SignSuccession returns the canonical bytes of s with the proofs of both keys. old is nil exactly if the reason is
// not a rotation.
func SignSuccession(ctx context.Context, s *Succession, old, new Signer) ([]byte, error) {
	if (old == nil) == (s.Reason == SuccessionRotation) {
		return nil, fmt.Errorf("%w: the old key signs a rotation and nothing else", ErrKeySuccession)
	}
	message, err := s.append([]byte(successionContext), 9)
	if err != nil {
		return nil, err
	}
	pairs := uint64(10)
	if old != nil {
		pairs++
	}
	b, err := s.append(nil, pairs)
	if err != nil {
		return nil, err
	}
	proof, err := new.Sign(ctx, message)
	if err != nil {
		return nil, fmt.Errorf("ledger: key succession: new key: %w", err)
	}
	b = appendBytes(appendText(b, "new_proof"), proof)
	if old != nil {
		if proof, err = old.Sign(ctx, message); err != nil {
			return nil, fmt.Errorf("ledger: key succession: old key: %w", err)
		}
		b = appendBytes(appendText(b, "old_proof"), proof)
	}
	if _, err := ParseSuccession(b); err != nil {
		return nil, err
	}
	return b, nil
}

// append writes everything but the proofs into a map of so many pairs.
func (s *Succession) append(b []byte, pairs uint64) (_ []byte, err error) {
	b = appendItemHead(appendText(appendItemHead(b, cborMap, pairs), "by"), cborArray, uint64(len(s.By)))
	for _, id := range s.By {
		b = appendText(b, id)
	}
	for _, k := range []struct {
		name   string
		public crypto.PublicKey
	}{{"new", s.New.Public}, {"old", s.Old.Public}} {
		key, err := NewKey(k.public)
		if err != nil {
			return nil, fmt.Errorf("%w: %s key: %w", ErrKeySuccession, k.name, err)
		}
		if b, err = appendKeyParams(appendText(b, k.name), key.Public, key.ID); err != nil {
			return nil, fmt.Errorf("%w: %s key: %w", ErrKeySuccession, k.name, err)
		}
	}
	b = appendText(appendText(b, "role"), s.Role)
	b = appendItemHead(appendText(b, "format"), cborUint, successionFormat)
	b = appendText(appendText(b, "issuer"), s.Issuer)
	b = appendText(appendText(b, "origin"), s.Origin)
	b = appendText(appendText(b, "reason"), s.Reason)
	return appendInt(appendText(b, "effective"), s.Effective), nil
}

// ParseSuccession reads a key succession and verifies its proofs. That shows that the keys in it agree, not that the
// old one was a key of the log: the log's earlier keys say that.
func ParseSuccession(data []byte) (*Succession, error) {
	if len(data) > maxSuccessionSize {
		return nil, fmt.Errorf("%w: %d octets: %w", ErrKeySuccession, len(data), ErrTooLarge)
	}
	r := cborReader{rest: data}
	s := new(Succession)
	pairs := r.mapOf(11)
	r.name("by")
	r.container(cborArray, len(s.By))
	for i := range s.By {
		s.By[i] = r.text(maxOrderer)
	}
	r.name("new")
	s.New = r.coseKey()
	r.name("old")
	s.Old = r.coseKey()
	r.name("role")
	s.Role = r.text(maxKeyRole)
	r.name("format")
	if f := r.uint(^uint64(0)); r.err == nil && f != successionFormat {
		r.fail("format %d is unknown", f)
	}
	r.name("issuer")
	s.Issuer = r.text(maxIssuer)
	r.name("origin")
	s.Origin = r.text(maxOrigin)
	r.name("reason")
	s.Reason = r.text(16)
	r.name("effective")
	s.Effective = int64(r.uint(maxTime))
	r.name("new_proof")
	proofs := map[string][]byte{"new": r.bytes(64)}
	if pairs == 11 {
		r.name("old_proof")
		proofs["old"] = r.bytes(64)
	}
	err := r.end()
	if err == nil && pairs < 10 {
		err = fmt.Errorf("%d members", pairs)
	}
	if err == nil {
		err = s.check(proofs)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeySuccession, err)
	}
	return s, nil
}

// check applies the rules of the document and verifies its proofs.
func (s *Succession) check(proofs map[string][]byte) error {
	if err := checkText(s.Issuer, maxIssuer); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if err := CheckOrigin(s.Origin); err != nil {
		return err
	}
	if !isRestrictedName(s.Role) || s.Effective == 0 {
		return fmt.Errorf("role %.40q, effective %d", s.Role, s.Effective)
	}
	for _, id := range s.By {
		if err := checkText(id, maxOrderer); err != nil {
			return fmt.Errorf("by: %w", err)
		}
	}
	if s.By[0] >= s.By[1] {
		return errors.New("by is not two administrators in order")
	}
	if s.Old.Algorithm != s.New.Algorithm || string(s.Old.ID) == string(s.New.ID) {
		return errors.New("the new key is the old one, or of another kind")
	}
	_, byOld := proofs["old"]
	switch s.Reason {
	case SuccessionRotation, SuccessionCompromise, SuccessionLoss:
		if byOld != (s.Reason == SuccessionRotation) {
			return errors.New("the old key signs a rotation and nothing else")
		}
	default:
		return fmt.Errorf("reason %.20q", s.Reason)
	}
	message, err := s.append([]byte(successionContext), 9)
	if err != nil {
		return err
	}
	for name, proof := range proofs {
		key := s.New
		if name == "old" {
			key = s.Old
		}
		if err := verifyMessage(key.Public, message, proof); err != nil {
			return fmt.Errorf("%s proof: %w", name, err)
		}
	}
	return nil
}
