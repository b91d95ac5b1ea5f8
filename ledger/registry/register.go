package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mission-authority/mas/ledger"
)

// An Item is one statement to be registered.
type Item struct {
	Statement []byte // as received: the unprotected header is stripped
	Body      []byte // the evidence it commits to, to be kept; nil if it is kept elsewhere
}

// A Result is what became of an Item. Either Err says why it was not registered, or the other members say where it
// stands.
type Result struct {
	EntryID   string // of the entry, or of what would have been it; empty if the statement is malformed
	Index     uint64
	Outcome   Outcome
	TreeSize  uint64    // a published tree that has the entry
	At        time.Time // when the log took the request's commit
	Err       error     // *Refusal
	statement *ledger.Statement
}

// A Request is a list of Items of one producer.
type Request struct {
	Producer string // who submits: whose rate is spent, and whose keys are meant
	Key      string // idempotency key, 1 to 255 octets; empty: none
	Items    []Item
}

// retries bounds how often a request is decided again because something came between.
const retries = 8

// Register decides every item of a request and registers those that are admitted in one commit. Results stand in the
// order of the items. The error is of the whole request, a *Refusal: then nothing was registered, unless its outcome is
// Failed. If the commit takes longer than Config.Wait the results are Promised: the entries will be there, or State
// says why not.
func (r *Registry) Register(ctx context.Context, q Request) ([]Result, error) {
	results, err := r.register(ctx, q)
	if err != nil {
		r.config.Observe(OutcomeOf(err), max(1, len(q.Items)))
		return nil, err
	}
	for i := range results {
		r.config.Observe(results[i].Outcome, 1)
	}
	return results, nil
}

func (r *Registry) register(ctx context.Context, q Request) ([]Result, error) {
	if n := len(q.Items); n == 0 || n > MaxBatch {
		return nil, &Refusal{Outcome: TooLarge, Err: fmt.Errorf("%d statements, at most %d", n, MaxBatch)}
	}
	now := r.config.Now()
	if wait := r.rates.take(q.Producer, len(q.Items), now); wait > 0 {
		return nil, &Refusal{Outcome: Limited, RetryAfter: wait, Err: errors.New("too many statements")}
	}
	items := make([]*item, len(q.Items))
	for i := range q.Items {
		items[i] = r.receive(q.Items[i])
	}
	x, ok := r.flights.begin(q.Producer, len(items), now)
	if !ok {
		return nil, &Refusal{Outcome: Overloaded, RetryAfter: time.Second, Err: errors.New("too much is waiting")}
	}
	go func() {
		results, err := r.decideAll(context.WithoutCancel(ctx), q, items)
		r.flights.end(x, results, err)
	}()
	timer := time.NewTimer(r.config.Wait)
	defer timer.Stop()
	select {
	case <-x.done:
	case <-timer.C:
		if results, ok := r.promise(x, items); ok {
			return results, nil
		}
		<-x.done
	}
	return x.results, x.err
}

// promise answers for a request that is still on its way.
func (r *Registry) promise(x *flight, items []*item) ([]Result, bool) {
	results, ids := make([]Result, len(items)), make([]string, len(items))
	for i, it := range items {
		if results[i] = it.refusal(); it.err == nil {
			results[i].Outcome, ids[i] = Promised, it.id
		}
	}
	return results, r.flights.promise(x, ids)
}

// A Promise is the state of an entry that a producer was promised.
type Promise struct {
	Producer string
	Pending  bool   // not known yet
	EntryID  string // where the commitment stands, if it is the entry of another signature
	Err      error  // why there is no such entry
}

// Promise returns the state of a promised entry. ok is false if there is nothing to say: it was not promised, or it is
// in the log, or its failure was forgotten.
func (r *Registry) Promise(entryID string) (p Promise, ok bool) {
	return r.flights.promiseOf(entryID, r.config.Now())
}

// An item is a received Item with what was derived from it.
type item struct {
	statement *ledger.Statement
	body      []byte
	id        string
	unique    string // row of its identity; empty if it has none
	err       *Refusal
}

func (it *item) refusal() Result {
	out := Result{EntryID: it.id, statement: it.statement}
	if it.err != nil {
		out.Outcome, out.Err = it.err.Outcome, it.err
	}
	return out
}

// receive does what depends on the item alone.
func (r *Registry) receive(in Item) *item {
	it := &item{body: in.Body}
	fail := func(o Outcome, err error) *item {
		it.err = &Refusal{Outcome: o, Err: err}
		return it
	}
	raw, err := ledger.Canonical(in.Statement)
	if errors.Is(err, ledger.ErrTooLarge) {
		return fail(TooLarge, err)
	}
	if err == nil {
		it.statement, err = ledger.ParseStatement(raw)
	}
	if err != nil {
		return fail(Malformed, err)
	}
	it.id = it.statement.Leaf().String()
	if in.Body == nil {
		return it
	}
	if len(in.Body) > MaxRecord {
		return fail(TooLarge, fmt.Errorf("body of %d octets: %w", len(in.Body), ledger.ErrTooLarge))
	}
	s := it.statement
	if sha256.Sum256(in.Body) != s.Digest {
		return fail(BadBody, errors.New("the statement does not commit to this body"))
	}
	facts, err := r.config.Check(s.ContentType, in.Body, s.Issuer, s.Subject)
	if err != nil {
		return fail(BadBody, err)
	}
	if facts.Unique != "" {
		sum := sha256.Sum256([]byte(facts.Unique))
		it.unique = "registry/unique/" + hex.EncodeToString(sum[:])
	}
	return it
}

// decideAll decides and commits until nothing comes between.
func (r *Registry) decideAll(ctx context.Context, q Request, items []*item) ([]Result, error) {
	for range retries {
		results, err := r.decide(ctx, q, items)
		switch {
		case !errors.Is(err, ledger.ErrConflict):
			return results, refused(err)
		case r.reload() != nil:
			return nil, refused(fmt.Errorf("%w: the policy cannot be read", ledger.ErrUnavailable))
		}
	}
	return nil, &Refusal{Outcome: Overloaded, RetryAfter: time.Second, Err: ledger.ErrConflict}
}

// refused classes an error of the log.
func refused(err error) error {
	if err == nil {
		return nil
	}
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r
	}
	out := &Refusal{Outcome: Failed, Err: err}
	switch {
	case errors.Is(err, ledger.ErrOutcomeUnknown), errors.Is(err, ledger.ErrIntegrity):
		out.RetryAfter = 30 * time.Second
	case errors.Is(err, ledger.ErrTooLarge):
		out.Outcome = TooLarge
	case errors.Is(err, ledger.ErrUnavailable):
		out.Outcome, out.RetryAfter = Overloaded, time.Second
	}
	return out
}

// decide decides every item by the policy in force and commits those that are admitted. ErrConflict: decide again.
func (r *Registry) decide(ctx context.Context, q Request, items []*item) ([]Result, error) {
	policy := r.policy.Load()
	v, err := r.config.Log.View()
	if err != nil {
		return nil, err
	}
	defer func() {
		if v != nil {
			v.Close()
		}
	}()
	stored, err := r.recall(v, q, items)
	if err != nil || stored.results != nil {
		return stored.results, err
	}
	results := make([]Result, len(items))
	change := ledger.Change{Expect: []ledger.Precondition{policy.fence()}}
	var at []int // items of the change
	for i, it := range items {
		decided, err := r.admit(v, policy, &change, *it, len(at))
		if err != nil {
			return nil, err
		}
		if results[i] = decided.refusal(); decided.err == nil {
			at = append(at, i)
		}
	}
	v.Close()
	v = nil
	if len(at) == 0 {
		return results, nil
	}
	if len(at) == len(items) && q.Key != "" {
		stored.put(&change, items, r.config.Now())
	}
	committed, err := r.config.Log.Commit(ctx, change)
	if err != nil {
		return nil, err
	}
	if err := r.config.Published(ctx, committed.TreeSize); err != nil {
		return nil, fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
	}
	for k, i := range at {
		results[i].settle(committed, committed.Results[k])
	}
	return results, nil
}

// settle says where an entry stands.
func (out *Result) settle(c ledger.Committed, at ledger.Result) {
	out.Index, out.TreeSize, out.At, out.Outcome = at.Index, c.TreeSize, c.At, Registered
	switch {
	case at.Duplicate && at.EntryID == out.EntryID:
		out.Outcome = Repeated
	case at.Duplicate:
		out.Outcome = Recommitted
	}
	out.EntryID = at.EntryID
}

// admit decides one item and adds it to the change as entry number n.
func (r *Registry) admit(v ledger.View, p *policy, change *ledger.Change, it item, n int) (*item, error) {
	if it.err != nil {
		return &it, nil
	}
	err := p.Admit(it.statement)
	if err == nil && ledger.Governs(it.statement.ContentType) {
		err = fmt.Errorf("%w: policies are ordered by two administrators", ledger.ErrNotAdmitted)
	}
	if err != nil {
		it.err = &Refusal{Outcome: Rejected, Err: err}
		return &it, nil
	}
	if it.unique != "" {
		if err := it.claim(v, change, n); err != nil {
			return &it, err
		}
	}
	if it.err == nil {
		change.Entries = append(change.Entries, ledger.Entry{Statement: it.statement.Raw, Body: it.body})
	}
	return &it, nil
}

// claim takes the identity of the item's record, unless another record has it.
func (it *item) claim(v ledger.View, change *ledger.Change, n int) error {
	digest := it.statement.Digest
	contested := &Refusal{Outcome: Contested, Err: errors.New("another record has this id")}
	for _, put := range change.Put {
		if put.Key == it.unique {
			if !slices.Equal(put.Value, digest[:]) {
				it.err = contested
			}
			return nil
		}
	}
	row, err := v.Get(it.unique)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		change.Expect = append(change.Expect, ledger.Absent(it.unique))
		change.Put = append(change.Put, ledger.Record{Key: it.unique, Value: digest[:], JustifiedBy: n})
		return nil
	case err != nil:
		return err
	case !slices.Equal(row.Value, digest[:]):
		it.err = contested
	}
	return nil
}
