package keys

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"

	"github.com/mission-authority/mas/ledger"
)

// A Change is an order about keys.
type Change struct {
	Issuer, Origin string
	At             int64     // seconds since the epoch
	By             [2]string // ids of the two administrators
}

// changed starts the next version of a ring.
func (r *Ring) changed(c Change) *Ring {
	next := &Ring{Version: r.Version + 1, Entries: slices.Clone(r.Entries), OrderedBy: c.By,
		Statements: slices.Clone(r.Statements)}
	slices.Sort(next.OrderedBy[:])
	return next
}

// finish adds documents and the new key status.
func (r *Ring) finish(c Change, documents ...Document) (*Ring, error) {
	status, err := r.KeyStatus(c.Issuer, c.Origin)
	if err != nil {
		return nil, err
	}
	r.Statements = append(append(r.Statements, documents...), Document{ledger.ContentTypeKeyStatus, status})
	if n := len(r.Statements) - maxStatements; n > 0 {
		r.Statements = slices.Delete(r.Statements, 0, n) // the log has had them since many starts
	}
	return r, r.check()
}

// succession makes the document in which the new key, and in a rotation the old one, sign.
func (c Change) succession(ctx context.Context, reason string, old crypto.PublicKey, by, new *Key) (Document, error) {
	s := &ledger.Succession{Issuer: c.Issuer, Origin: c.Origin, Role: string(new.role), Old: ledger.Key{Public: old},
		New: ledger.Key{Public: new.public}, Reason: reason, Effective: c.At, By: c.By}
	slices.Sort(s.By[:])
	var signer ledger.Signer
	if by != nil {
		signer = by.COSE()
	}
	body, err := ledger.SignSuccession(ctx, s, signer, new.COSE())
	return Document{ledger.ContentTypeSuccession, body}, err
}

// Rotate begins an overlap: key, which ref leads to, will take the place of the role's active key. set is the keys of
// the ring as Load gives them.
func (s *Set) Rotate(ctx context.Context, c Change, role Role, key *Key, ref string) (*Ring, error) {
	if s.ring.find(role, Next) != nil {
		return nil, fmt.Errorf("keys: %s: an overlap has begun already: end it with mas keys retire", role)
	}
	if err := s.ring.fresh(key); err != nil {
		return nil, err
	}
	active := s.keys[role]
	document, err := c.succession(ctx, ledger.SuccessionRotation, active.public, active, key)
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", role, err)
	}
	next := s.ring.changed(c)
	next.Entries = append(next.Entries, Entry{Role: role, Ref: ref, Public: key.public, Status: Next, NotBefore: c.At})
	return next.finish(c, document)
}

// fresh refuses a key that the ring knows already, in whatever role.
func (r *Ring) fresh(k *Key) error {
	if _, known := r.Find(k.thumbprint); known {
		return fmt.Errorf("keys: %s: the new key has been in use before", k.role)
	}
	return nil
}

// Retire ends an overlap: the next key of the role takes the place of the active one.
func (r *Ring) Retire(c Change, role Role) (*Ring, error) {
	next := r.changed(c)
	old, new := next.find(role, Active), next.find(role, Next)
	if old == nil || new == nil {
		return nil, fmt.Errorf("keys: %s: there is no overlap to end: begin one with mas keys rotate", role)
	}
	old.Status, old.NotAfter = Retired, c.At
	new.Status = Active
	return next.finish(c)
}

// Compromise withdraws the key with this thumbprint: from boundary on (0: nobody knows since when) somebody else may
// have signed with it. If it is the active key of its role, the next one takes its place at once, or else
// replacement, which ref leads to. A boundary that is known already only moves back.
func (r *Ring) Compromise(ctx context.Context, c Change, kid []byte, boundary int64, replacement *Key, ref string) (*Ring,
	error) {
	next := r.changed(c)
	e, ok := next.Find(kid)
	switch {
	case !ok:
		return nil, fmt.Errorf("keys: the ring has no key %x", kid)
	case boundary < 0 || boundary > c.At:
		return nil, errors.New("keys: the compromise lies in the future")
	case e.Status == Compromised && e.CompromisedAt != 0 && boundary > e.CompromisedAt:
		return nil, errors.New("keys: the boundary of a compromise only moves back")
	}
	role, was, public := e.Role, e.Status, e.Public
	if was == Compromised && e.CompromisedAt == 0 && boundary != 0 {
		return nil, errors.New("keys: nobody knew since when the key is compromised: a boundary now would trust it again")
	}
	e.Status, e.CompromisedAt = Compromised, boundary
	if e.NotAfter == 0 {
		e.NotAfter = max(c.At, e.NotBefore)
	}
	if was == Active {
		return r.replace(ctx, next, c, ledger.SuccessionCompromise, role, public, replacement, ref)
	}
	if replacement != nil {
		return nil, fmt.Errorf("keys: %s: the key does not sign, so nothing replaces it", role)
	}
	return next.finish(c)
}

// Lose retires the active key of a role, which nobody can use any more. The next one takes its place at once, or else
// replacement, which ref leads to.
func (r *Ring) Lose(ctx context.Context, c Change, role Role, replacement *Key, ref string) (*Ring, error) {
	next := r.changed(c)
	e := next.find(role, Active)
	if e == nil {
		return nil, fmt.Errorf("keys: the ring has no %s key", role)
	}
	e.Status, e.NotAfter = Retired, max(c.At, e.NotBefore)
	return r.replace(ctx, next, c, ledger.SuccessionLoss, role, e.Public, replacement, ref)
}

// replace completes next, in which the active key of a role has just been taken away.
func (r *Ring) replace(ctx context.Context, next *Ring, c Change, reason string, role Role, old crypto.PublicKey,
	replacement *Key, ref string) (*Ring, error) {
	if successor := next.find(role, Next); successor != nil {
		if replacement != nil {
			return nil, fmt.Errorf("keys: %s: the next key of the overlap replaces it", role)
		}
		successor.Status = Active
		return next.finish(c)
	}
	if replacement == nil {
		return nil, fmt.Errorf("keys: %s: the key signs, so a new one must replace it", role)
	}
	if err := r.fresh(replacement); err != nil {
		return nil, err
	}
	document, err := c.succession(ctx, reason, old, nil, replacement)
	if err != nil {
		return nil, fmt.Errorf("keys: %s: %w", role, err)
	}
	next.Entries = append(next.Entries,
		Entry{Role: role, Ref: ref, Public: replacement.public, Status: Active, NotBefore: c.At})
	return next.finish(c, document)
}

// Current returns the active key of a role and, in an overlap, the next one.
func (r *Ring) Current(role Role) (active, next *Entry) {
	return r.find(role, Active), r.find(role, Next)
}

// Replaceable returns the role of the key with this thumbprint, and whether withdrawing it needs a new key.
func (r *Ring) Replaceable(kid []byte) (role Role, needed bool, err error) {
	e, ok := r.Find(kid)
	if !ok {
		return "", false, fmt.Errorf("keys: the ring has no key %x", kid)
	}
	return e.Role, e.Status == Active && r.find(e.Role, Next) == nil, nil
}
