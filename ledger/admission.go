package ledger

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNotAdmitted: the registration policy does not admit the statement.
var ErrNotAdmitted = errors.New("ledger: statement not admitted")

// Causes within ErrNotAdmitted that callers tell apart.
var (
	// ErrNoProducer: the key is neither the issuer's nor a producer's.
	ErrNoProducer = errors.New("ledger: no producer has this key")
	// ErrNotYourType: the producer may not register this content type, or not about this subject.
	ErrNotYourType = errors.New("ledger: the producer may not register this")
	// ErrNoBody: the statement changes the policy and its body was not given. What follows it cannot be decided.
	ErrNoBody = errors.New("ledger: the body of a policy statement is missing")
)

// An Admission says what a log registers at one position: it begins with the genesis document, and Next takes it past
// one entry. It is a function of the entries before the position and of the public bodies among them (PublicBody), so
// that the server, fsck and every auditor decide alike. An Admission is immutable.
//
// A statement is admitted if its subject lies under the log's issuer and one of these holds:
//
//   - it is by the issuer, under one of the issuer's evidence keys. If it is a Policy or TrustAnchors, it is also about
//     <issuer>/policy, and its document is the successor of the one in force: number one higher, naming the other's
//     digest, sharing no key with the other document;
//   - it is by a producer of the policy in force, under that producer's key, of one of its types, and about a subject
//     that its rule allows. A type that begins with application/mas- is the issuer's, whatever the policy says.
//
// A Policy replaces all producers but the issuer; TrustAnchors replace the issuer's evidence keys. Both hold from the
// next entry on. One that is not admitted changes nothing.
type Admission struct {
	genesis  *Genesis
	base     string     // issuer without a trailing slash, and a slash
	policyAt string     // subject of policy statements
	own      []Producer // the issuer's keys
	others   []Producer
	policy   inForce
	anchors  inForce
	keys     TrustAnchors // number 0: as in the genesis document
}

// inForce is the newest document of one kind.
type inForce struct {
	number uint64
	digest Hash
}

// NewAdmission opens entry 0 of a log with its body (OpenGenesis) and returns the admission of entry 1.
func NewAdmission(entry, body []byte) (*Admission, error) {
	g, err := OpenGenesis(entry, body)
	if err != nil {
		return nil, err
	}
	a, err := g.admission()
	if err != nil {
		return nil, err
	}
	first := inForce{digest: digestOf(body)}
	a.policy, a.anchors = first, first
	return a, nil
}

// admission is what g admits.
func (g *Genesis) admission() (*Admission, error) {
	subject, err := Subject(g.Issuer, SubjectPolicy, "")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGenesis, err)
	}
	a := &Admission{genesis: g, base: strings.TrimSuffix(g.Issuer, "/") + "/", policyAt: subject}
	a.keys = TrustAnchors{Order: Order{Issuer: g.Issuer}, LogKeys: []string{g.LogKey}, ReceiptKeys: g.ReceiptKeys}
	for _, p := range g.Producers {
		if p.Issuer == g.Issuer {
			a.own = append(a.own, p)
			a.keys.EvidenceKeys = append(a.keys.EvidenceKeys, p.Key)
		} else {
			a.others = append(a.others, p)
		}
	}
	return a, nil
}

// Genesis is the genesis document of the log.
func (a *Admission) Genesis() *Genesis { return a.genesis }

// Producers are those besides the issuer, in the order of their keys. The list must not be modified.
func (a *Admission) Producers() []Producer { return a.others }

// Anchors are the keys of the log that are in force. Their Order is zero but for the issuer before the first
// TrustAnchors. The lists must not be modified.
func (a *Admission) Anchors() TrustAnchors { return a.keys }

// PolicyInForce is the number and digest of the newest registration policy; the genesis document is number 0.
func (a *Admission) PolicyInForce() (number uint64, digest Hash) {
	return a.policy.number, a.policy.digest
}

// AnchorsInForce is the number and digest of the newest trust anchors; the genesis document is number 0.
func (a *Admission) AnchorsInForce() (number uint64, digest Hash) {
	return a.anchors.number, a.anchors.digest
}

// Next decides whether the log registers s at this position and returns the admission of the next one: a itself, but
// after a Policy or TrustAnchors. body is needed for these two and ignored for others. The error wraps ErrNotAdmitted,
// and ErrNoBody if the body of one of these two is nil.
func (a *Admission) Next(s *Statement, body []byte) (*Admission, error) {
	if err := a.Admit(s); err != nil {
		return nil, err
	}
	if !Governs(s.ContentType) {
		return a, nil
	}
	if body == nil {
		return nil, fmt.Errorf("%w: %w: %s", ErrNotAdmitted, ErrNoBody, s.Digest)
	}
	next, err := a.follow(s, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotAdmitted, err)
	}
	return next, nil
}

// Admit is Next without the body: of a Policy or TrustAnchors it decides only whether its signer may register one.
func (a *Admission) Admit(s *Statement) error {
	p, err := a.signer(s)
	if err == nil {
		err = s.Verify(p.Key.Public)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotAdmitted, err)
	}
	return nil
}

// signer finds the rule that s falls under. Signatures are not checked.
func (a *Admission) signer(s *Statement) (*Producer, error) {
	if !strings.HasPrefix(s.Subject, a.base) {
		return nil, fmt.Errorf("subject %.200q is not under the issuer", s.Subject)
	}
	p, own := find(a.own, s.KeyID), true
	if p == nil {
		p, own = find(a.others, s.KeyID), false
	}
	switch {
	case p == nil:
		return nil, fmt.Errorf("%w: %w: %x", ErrNoProducer, ErrUnknownKey, s.KeyID)
	case p.Issuer != s.Issuer:
		return nil, fmt.Errorf("%w: key belongs to %.200q, statement is by %.200q", ErrNoProducer, p.Issuer, s.Issuer)
	case !p.allowsType(s.ContentType):
		return nil, fmt.Errorf("%w: type %s from %.200q", ErrNotYourType, s.ContentType, s.Issuer)
	case own && Governs(s.ContentType) && s.Subject != a.policyAt:
		return nil, fmt.Errorf("%w: policy about %.200q", ErrNotYourType, s.Subject)
	case own:
	case strings.HasPrefix(s.ContentType, ownTypes):
		return nil, fmt.Errorf("%w: type %s is the issuer's", ErrNotYourType, s.ContentType)
	case !p.allowsSubject(a.genesis.Issuer, s.Subject):
		return nil, fmt.Errorf("%w: subject %.200q from %.200q", ErrNotYourType, s.Subject, s.Issuer)
	}
	return p, nil
}

func find(producers []Producer, kid []byte) *Producer {
	i := slices.IndexFunc(producers, func(p Producer) bool { return string(p.Key.ID) == string(kid) })
	if i < 0 {
		return nil
	}
	return &producers[i]
}

// follow returns the admission after a policy statement that was admitted.
func (a *Admission) follow(s *Statement, body []byte) (*Admission, error) {
	digest := digestOf(body)
	if digest != s.Digest {
		return nil, fmt.Errorf("%w: the statement does not commit to this body", ErrPolicy)
	}
	next := *a
	if s.ContentType == ContentTypePolicy {
		p, err := ParsePolicy(body)
		if err != nil {
			return nil, err
		}
		if err := a.succeeds(p.Order, a.policy); err != nil {
			return nil, err
		}
		next.policy, next.others = inForce{p.Number, digest}, p.Producers
	} else {
		t, err := ParseTrustAnchors(body)
		if err != nil {
			return nil, err
		}
		if err := a.succeeds(t.Order, a.anchors); err != nil {
			return nil, err
		}
		if err := t.checkNames(a.genesis.Origin); err != nil {
			return nil, err
		}
		next.anchors, next.keys, next.own = inForce{t.Number, digest}, *t, nil
		for _, k := range t.EvidenceKeys {
			next.own = append(next.own, Producer{Issuer: a.genesis.Issuer, Key: k, Types: []string{AnyType}})
		}
	}
	for _, p := range next.others {
		if _, receipts := next.keys.ReceiptKeys.Find(p.Key.ID); receipts || find(next.own, p.Key.ID) != nil {
			return nil, fmt.Errorf("%w: the key of a producer is a key of the log", ErrPolicy)
		}
	}
	return &next, nil
}

// succeeds checks the place of a document in its succession.
func (a *Admission) succeeds(o Order, last inForce) error {
	switch {
	case o.Issuer != a.genesis.Issuer:
		return fmt.Errorf("%w: issuer %.200q", ErrPolicy, o.Issuer)
	case o.Number != last.number+1 || o.Previous != last.digest:
		return fmt.Errorf("%w: number %d after %s, in force is number %d, %s", ErrPolicy, o.Number, o.Previous,
			last.number, last.digest)
	}
	return nil
}
