package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mission-authority/mas/ledger"
)

const (
	maxProposals = 16
	proposalLife = time.Hour
)

// Errors of ordering. Callers branch on them with errors.Is.
var (
	// ErrNoProposal: no proposal has this id; it may have been forgotten at a restart or after an hour.
	ErrNoProposal = errors.New("registry: no such proposal")
	// ErrSameAdmin: whoever proposed a change cannot confirm it.
	ErrSameAdmin = errors.New("registry: the proposal needs another administrator")
	// ErrStale: another document is in force than the one the proposal follows.
	ErrStale = errors.New("registry: the policy changed since the proposal")
	// ErrEdit: the change is not one that can be made.
	ErrEdit = errors.New("registry: not a change of the policy")
	// ErrProposals: too many proposals are open.
	ErrProposals = errors.New("registry: too many proposals")
)

// An Edit changes the policy, or replaces the trust anchors: one of the two.
type Edit struct {
	Add    []ledger.Producer // a producer with a key that is there takes its place
	Remove [][]byte          // kids of producers
	// Anchors are the keys of the log from then on; its Order is ignored.
	Anchors *ledger.TrustAnchors
}

// A Proposal is a document that one administrator has ordered and another must confirm. It is memory only: nothing
// comes of it until then.
type Proposal struct {
	ID      string
	By      string // principal id
	Until   time.Time
	Policy  *ledger.Policy       // the whole document, but for the second administrator
	Anchors *ledger.TrustAnchors // or this one
}

// orders are the open proposals.
type orders struct {
	mu   sync.Mutex
	open map[string]Proposal
}

func newOrders() *orders { return &orders{open: map[string]Proposal{}} }

// Propose makes the document that an edit leads to from the policy in force.
func (r *Registry) Propose(admin string, e Edit) (Proposal, error) {
	p := Proposal{ID: rand.Text(), By: admin, Until: r.config.Now().Add(proposalLife)}
	a := r.Admission()
	var err error
	switch edits := len(e.Add) + len(e.Remove); {
	case e.Anchors != nil && edits == 0:
		p.Anchors, err = r.proposeAnchors(a, admin, e.Anchors)
	case e.Anchors == nil && edits > 0:
		p.Policy, err = proposePolicy(a, admin, e)
	default:
		err = errors.New("neither producers nor trust anchors, or both")
	}
	if err != nil {
		return Proposal{}, fmt.Errorf("%w: %w", ErrEdit, err)
	}
	// The document must be one that the second administrator can order.
	if _, _, err := p.document(another(admin)); err != nil {
		return Proposal{}, fmt.Errorf("%w: %w", ErrEdit, err)
	}
	return p, r.orders.add(p, r.config.Now())
}

// another is a principal id that is not admin.
func another(admin string) string {
	if admin == "a" {
		return "b"
	}
	return "a"
}

func proposePolicy(a *ledger.Admission, admin string, e Edit) (*ledger.Policy, error) {
	number, digest := a.PolicyInForce()
	p := &ledger.Policy{Order: ledger.Order{Issuer: a.Genesis().Issuer, Number: number + 1, Previous: digest}}
	p.OrderedBy[0] = admin
	p.Producers = slices.Clone(a.Producers())
	remove := func(kid []byte) bool {
		before := len(p.Producers)
		p.Producers = slices.DeleteFunc(p.Producers, func(q ledger.Producer) bool { return bytes.Equal(q.Key.ID, kid) })
		return len(p.Producers) < before
	}
	for _, kid := range e.Remove {
		if !remove(kid) {
			return nil, fmt.Errorf("no producer has the key %x", kid)
		}
	}
	for _, add := range e.Add {
		remove(add.Key.ID)
		p.Producers = append(p.Producers, add)
	}
	return p, nil
}

// proposeAnchors refuses documents under which this server could not go on.
func (r *Registry) proposeAnchors(a *ledger.Admission, admin string, t *ledger.TrustAnchors) (*ledger.TrustAnchors, error) {
	if _, ok := t.EvidenceKeys.Find(r.config.Evidence.KeyID()); !ok {
		return nil, errors.New("the evidence key that this server signs with is not among them")
	}
	number, digest := a.AnchorsInForce()
	out := *t
	out.Order = ledger.Order{Issuer: a.Genesis().Issuer, Number: number + 1, Previous: digest}
	out.OrderedBy[0] = admin
	return &out, nil
}

func (p *Proposal) number() uint64 {
	if p.Policy != nil {
		return p.Policy.Number
	}
	return p.Anchors.Number
}

// document is the document of p as ordered by its proposer and a second administrator.
func (p *Proposal) document(second string) (contentType string, body []byte, err error) {
	if p.Policy != nil {
		doc := *p.Policy
		doc.OrderedBy[1] = second
		body, err = ledger.MarshalPolicy(&doc)
		return ledger.ContentTypePolicy, body, err
	}
	doc := *p.Anchors
	doc.OrderedBy[1] = second
	body, err = ledger.MarshalTrustAnchors(&doc)
	return ledger.ContentTypeAnchors, body, err
}

func (o *orders) add(p Proposal, now time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, old := range o.open {
		if !now.Before(old.Until) {
			delete(o.open, id)
		}
	}
	if len(o.open) >= maxProposals {
		return ErrProposals
	}
	o.open[p.ID] = p
	return nil
}

func (o *orders) get(id string, now time.Time) (Proposal, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p, ok := o.open[id]
	if !ok || !now.Before(p.Until) {
		return Proposal{}, ErrNoProposal
	}
	return p, nil
}

func (o *orders) remove(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.open, id)
}

// Proposals are the open proposals, in no order.
func (r *Registry) Proposals() []Proposal {
	now := r.config.Now()
	r.orders.mu.Lock()
	defer r.orders.mu.Unlock()
	var open []Proposal
	for _, p := range r.orders.open {
		if now.Before(p.Until) {
			open = append(open, p)
		}
	}
	return open
}

// Confirm registers a proposed document, which must have the given number, as ordered by its proposer and by admin, who
// must be another. From the next entry on it is in force.
func (r *Registry) Confirm(ctx context.Context, admin, id string, number uint64) (Result, error) {
	p, err := r.orders.get(id, r.config.Now())
	if err != nil {
		return Result{}, err
	}
	switch {
	case p.By == admin:
		return Result{}, ErrSameAdmin
	case p.number() != number:
		return Result{}, fmt.Errorf("%w: number %d, proposed is %d", ErrStale, number, p.number())
	}
	contentType, body, err := p.document(admin)
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrEdit, err)
	}
	out, err := r.govern(ctx, contentType, body)
	if err == nil {
		r.orders.remove(id)
	}
	return out, err
}

// govern registers a policy document signed by the issuer.
func (r *Registry) govern(ctx context.Context, contentType string, body []byte) (Result, error) {
	before := r.policy.Load()
	issuer := before.Genesis().Issuer
	subject, err := ledger.Subject(issuer, ledger.SubjectPolicy, "")
	if err != nil {
		return Result{}, err
	}
	raw, err := ledger.SignStatement(ctx, ledger.Claims{Issuer: issuer, Subject: subject, IssuedAt: r.config.Now().Unix(),
		ContentType: contentType, Digest: sha256.Sum256(body)}, r.config.Evidence)
	if err != nil {
		return Result{}, fmt.Errorf("registry: signing a policy: %w", err)
	}
	s, err := ledger.ParseStatement(raw)
	if err != nil {
		return Result{}, err
	}
	if _, err := before.Next(s, body); err != nil {
		if reload := r.reload(); reload != nil {
			return Result{}, reload
		}
		return Result{}, fmt.Errorf("%w: %w", ErrStale, err)
	}
	committed, err := r.config.Log.Commit(ctx, ledger.Change{
		Expect:  []ledger.Precondition{before.fence()},
		Put:     []ledger.Record{{Key: policyRow, Value: s.Digest[:], JustifiedBy: 0}},
		Entries: []ledger.Entry{{Statement: raw, Body: body}},
	})
	if reload := r.reload(); reload != nil {
		return Result{}, reload
	}
	if errors.Is(err, ledger.ErrConflict) {
		return Result{}, fmt.Errorf("%w: %w", ErrStale, err)
	}
	if err != nil {
		return Result{}, refused(err)
	}
	out := Result{EntryID: s.Leaf().String()}
	out.settle(committed, committed.Results[0])
	return out, nil
}
