package verifier

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission/jws"
)

// ErrKeyStatus reports a key status that the trust document gives no reason to believe, or that is out of date.
var ErrKeyStatus = errors.New("verifier: unusable key status")

// A LogKey is a checkpoint key that a log has beside the one that its anchor is named by.
type LogKey struct {
	VKey   string
	Status KeyStatus
	Until  time.Time // of retirement or compromise; zero for an active key
}

// A KnownHead is a head of a log that its own keys need not vouch for: a witness or a peer saw it by At.
type KnownHead struct {
	Size uint64
	Root ledger.Hash
	At   time.Time
	By   string
}

// ApplyKeyStatus brings the document's own anchor up to date with what its issuer says of its keys at an instant: new
// keys are added, others retired or marked as compromised. One of the governance keys that the document trusts must
// have signed the status, and not longer ago than it counts (ledger.ErrStale). A key that the document calls
// compromised stays so. It returns the status.
func (t *Trust) ApplyKeyStatus(data []byte, at time.Time) (*ledger.SignedKeyStatus, error) {
	if t.Governance == nil {
		return nil, fmt.Errorf("%w: the trust document has no governance key", ErrKeyStatus)
	}
	var governance ledger.KeySet
	for _, kid := range t.Governance.KeyIDs() {
		public, _, _ := t.Governance.Key(kid)
		k, err := ledger.NewKey(public)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKeyStatus, err)
		}
		governance = append(governance, k)
	}
	s, err := ledger.OpenKeyStatus(data, t.Issuer, governance)
	if err == nil {
		err = s.Current(at)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyStatus, err)
	}
	if s.Origin != t.Origin {
		return nil, fmt.Errorf("%w: it is about the log %q", ErrKeyStatus, s.Origin)
	}
	updated := t.Anchor
	updated.Others = slices.Clone(t.Others)
	updated.Receipts, updated.Evidence = slices.Clone(t.Receipts), slices.Clone(t.Evidence)
	for _, k := range s.Keys {
		if k.State == ledger.KeyStateCompromised && string(k.Key.ID) == string(s.KeyID) {
			return nil, fmt.Errorf("%w: the key that signed it is compromised", ErrKeyStatus)
		}
		if err := updated.apply(&k); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKeyStatus, err)
		}
	}
	t.Anchor = updated
	return s, nil
}

// unknownBoundary stands for the boundary of a compromise that nobody knows: nothing is older.
var unknownBoundary = time.Unix(0, 0).UTC()

// until is from when on a key does not count.
func until(k *ledger.KeyRecord) time.Time {
	switch {
	case k.State == ledger.KeyStateActive:
		return time.Time{}
	case k.State == ledger.KeyStateRetired:
		return time.Unix(k.NotAfter, 0).UTC()
	case k.CompromisedAt == 0:
		return unknownBoundary
	}
	return time.Unix(k.CompromisedAt, 0).UTC()
}

// apply takes one key over.
func (a *Anchor) apply(k *ledger.KeyRecord) error {
	switch k.Role {
	case "checkpoint":
		public, ok := k.Key.Public.(ed25519.PublicKey)
		if !ok {
			return errors.New("a checkpoint key that is not Ed25519")
		}
		vkey, err := note.NewEd25519VerifierKey(a.Origin, public)
		if err != nil {
			return err
		}
		a.applyLogKey(LogKey{VKey: vkey, Status: KeyStatus(k.State), Until: until(k)})
		return nil
	case "receipts":
		return a.Receipts.apply(k)
	case "evidence":
		return a.Evidence.apply(k)
	case "issuer":
		return applyJWK(&a.Keys, k)
	case "governance":
		return applyJWK(&a.Governance, k)
	}
	return nil // a role without keys in trust documents
}

// applyLogKey takes a checkpoint key over. The key that the anchor is named by stays its name as long as it is active;
// then an active one takes its place.
func (a *Anchor) applyLogKey(k LogKey) {
	i := slices.IndexFunc(a.Others, func(o LogKey) bool { return o.VKey == k.VKey })
	switch {
	case i >= 0 && a.Others[i].Status == KeyCompromised && k.Status != KeyCompromised:
	case i >= 0:
		a.Others[i] = k
	case k.VKey != a.VKey || k.Status != KeyActive:
		a.Others = append(a.Others, k)
	}
	named := slices.IndexFunc(a.Others, func(o LogKey) bool { return o.VKey == a.VKey })
	active := slices.IndexFunc(a.Others, func(o LogKey) bool { return o.Status == KeyActive })
	if named >= 0 && active >= 0 {
		a.VKey = a.Others[active].VKey
		a.Others = slices.Delete(a.Others, active, active+1)
	}
}

// apply takes a key over. One that is known as compromised is never believed again, and a boundary only moves back.
func (r *KeyRing) apply(k *ledger.KeyRecord) error {
	fresh := TrustedKey{Public: k.Key.Public, Status: KeyStatus(k.State), Until: until(k)}
	for i := range *r {
		own := &(*r)[i]
		if id, err := ledger.KeyThumbprint(own.Public); err != nil || string(id) != string(k.Key.ID) {
			continue
		}
		fresh.KeyID = own.KeyID
		if own.Status == KeyCompromised && (fresh.Status != KeyCompromised || fresh.Until.After(own.Until)) {
			return nil
		}
		*own = fresh
		return nil
	}
	if len(*r) >= maxTrustKeys {
		return errors.New("too many keys")
	}
	*r = append(*r, fresh)
	return nil
}

// applyJWK takes over a key whose tokens carry no status: a compromised one is not believed at all.
func applyJWK(set **jws.KeySet, k *ledger.KeyRecord) error {
	kid, err := jws.Thumbprint(k.Key.Public)
	if err != nil {
		return err
	}
	keys, err := (*set).With(kid, k.Key.Public, k.State != ledger.KeyStateCompromised)
	if err != nil {
		return err
	}
	*set = keys
	return nil
}

// logKeys returns the verifiers of the log's checkpoints: those whose word counts, and those that are compromised.
func (a *Anchor) logKeys() (good, compromised []note.Verifier, err error) {
	named, err := a.noteVerifier()
	if err != nil {
		return nil, nil, err
	}
	withdrawn := false
	for _, o := range a.Others {
		v, err := note.NewVerifier(o.VKey)
		if err != nil || v.Name() != a.Origin {
			return nil, nil, fmt.Errorf("%w: a further vkey", ErrTrust)
		}
		withdrawn = withdrawn || o.VKey == a.VKey && o.Status == KeyCompromised
		switch {
		case o.Status == KeyCompromised:
			compromised = append(compromised, v)
		case o.VKey != a.VKey:
			good = append(good, v)
		}
	}
	if !withdrawn {
		good = append(good, named)
	}
	return good, compromised, nil
}

// KnowsLogKey reports whether a key was ever one of the log's.
func (a *Anchor) KnowsLogKey(vkey string) bool {
	return vkey == a.VKey || slices.ContainsFunc(a.Others, func(o LogKey) bool { return o.VKey == vkey })
}

// AddCosigned makes the head of a cosigned checkpoint of the document's log one that its own keys need not vouch for. A
// witness must be among witnesses, given as verifier keys.
func (t *Trust) AddCosigned(text []byte, witnesses []string) (KnownHead, error) {
	good, compromised, err := t.logKeys()
	if err != nil {
		return KnownHead{}, err
	}
	var known []note.Verifier
	for _, vkey := range witnesses {
		v, err := ledger.NewCosignatureVerifier(vkey)
		if err != nil {
			return KnownHead{}, fmt.Errorf("%w: witness: %w", ErrTrust, err)
		}
		known = append(known, v)
	}
	head, cosigned, err := ledger.OpenCosigned(text, t.Origin, append(good, compromised...), known)
	if err != nil {
		return KnownHead{}, err
	}
	if len(cosigned) == 0 {
		return KnownHead{}, errors.New("verifier: none of these witnesses cosigned the checkpoint")
	}
	first := slices.MinFunc(cosigned, func(a, b ledger.Cosignature) int { return a.At.Compare(b.At) })
	k := KnownHead{Size: head.Size, Root: head.Root, At: first.At, By: "witness " + first.Name}
	t.Heads = append(t.Heads, k)
	return k, nil
}

// known finds a head that somebody else saw.
func (a *Anchor) known(size uint64, root ledger.Hash) (KnownHead, bool) {
	i := slices.IndexFunc(a.Heads, func(h KnownHead) bool { return h.Size == size && h.Root == root })
	if i < 0 {
		return KnownHead{}, false
	}
	return a.Heads[i], true
}
