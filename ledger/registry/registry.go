package registry

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/mission-authority/mas/ledger"
)

// Bounds of a Registry.
const (
	MaxBatch   = 256     // statements of one request
	MaxRecord  = 1 << 20 // octets of one evidence body
	MaxWaiting = 8192    // statements on their way to the log
	keyLife    = 24 * time.Hour
)

// Facts are what the content of evidence says that the log must know.
type Facts struct {
	// Unique names something that only one record may be about, such as an execution id with its producer. Empty:
	// nothing.
	Unique string
}

// Config is what a Registry is made of. All fields are required unless they say otherwise.
type Config struct {
	Log      ledger.Log
	Evidence ledger.Signer // the issuer's key, which signs policies
	// Check decides whether a body is what its content type says. nil: bodies are not looked into.
	Check func(contentType string, body []byte, issuer, subject string) (Facts, error)
	// Published waits until readers see the tree of the given size. nil: what is committed is published.
	Published func(ctx context.Context, size uint64) error
	Rate      int           // statements a second and producer; twice as many at once, at least a whole batch
	Wait      time.Duration // how long a caller waits for its entry before it is promised one
	Now       func() time.Time
	Observe   func(o Outcome, n int) // counts statements by outcome; may be nil
}

// An Outcome is what became of a statement.
type Outcome string

// The outcomes.
const (
	Registered  Outcome = "registered"
	Repeated    Outcome = "repeated"    // the same statement was there
	Recommitted Outcome = "recommitted" // the same commitment under another signature was there
	Promised    Outcome = "promised"    // accepted, not yet published
	Replayed    Outcome = "replayed"    // answered from an earlier request with the same idempotency key
	Malformed   Outcome = "malformed"   // not a statement
	Rejected    Outcome = "rejected"    // the policy does not admit it
	BadBody     Outcome = "bad_body"    // the body is not what the statement commits to, or not of its type
	Contested   Outcome = "contested"   // another record has its id
	Misused     Outcome = "key_reused"  // the idempotency key belongs to another request
	Limited     Outcome = "limited"     // too many from this producer
	TooLarge    Outcome = "too_large"   // of the statement, the body or the batch
	Overloaded  Outcome = "overloaded"  // too much is waiting, or the log takes no writes
	Failed      Outcome = "failed"      // the log failed; what became of it is unknown
)

// Outcomes are all outcomes, for metrics.
var Outcomes = []Outcome{Registered, Repeated, Recommitted, Promised, Replayed, Malformed, Rejected, BadBody, Contested,
	Misused, Limited, TooLarge, Overloaded, Failed}

// A Refusal says why a statement was not registered.
type Refusal struct {
	Outcome    Outcome
	RetryAfter time.Duration // if trying again may help
	Err        error
}

func (r *Refusal) Error() string { return fmt.Sprintf("registry: %s: %v", r.Outcome, r.Err) }
func (r *Refusal) Unwrap() error { return r.Err }

// OutcomeOf is the outcome that an error of this package stands for.
func OutcomeOf(err error) Outcome {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Outcome
	}
	return Failed
}

// A Registry registers statements in one log. It is safe for concurrent use. Make one with New, call Run to end well.
type Registry struct {
	config  Config
	policy  atomic.Pointer[policy]
	rates   rates
	flights *flights
	orders  *orders
}

// A policy is the admission in force and the row that fences it.
type policy struct {
	*ledger.Admission
	documents []Document
	version   uint64 // of the policy row; 0 before there is one
}

// policyRow changes with every policy and trust-anchor entry, so that a commit notices one that came between.
const policyRow = "registry/policy"

// fence expects that the policy in force is still p.
func (p *policy) fence() ledger.Precondition {
	if p.version == 0 {
		return ledger.Absent(policyRow)
	}
	return ledger.Version(policyRow, p.version)
}

// New reads the policy in force from the log. It fails if the log does not begin with a genesis entry of ours, or if a
// policy body cannot be read.
func New(c Config) (*Registry, error) {
	if c.Log == nil || c.Evidence == nil || c.Rate <= 0 || c.Wait <= 0 || c.Now == nil {
		return nil, errors.New("registry: incomplete configuration")
	}
	if c.Check == nil {
		c.Check = func(string, []byte, string, string) (Facts, error) { return Facts{}, nil }
	}
	if c.Published == nil {
		c.Published = func(context.Context, uint64) error { return nil }
	}
	if c.Observe == nil {
		c.Observe = func(Outcome, int) {}
	}
	r := &Registry{config: c, rates: newRates(c.Rate), flights: newFlights(), orders: newOrders()}
	return r, r.reload()
}

// Admission is the policy in force.
func (r *Registry) Admission() *ledger.Admission { return r.policy.Load().Admission }

// Policy is the policy in force and the documents it rests on, in log order. The list must not be modified.
func (r *Registry) Policy() (*ledger.Admission, []Document) {
	p := r.policy.Load()
	return p.Admission, p.documents
}

// reload reads the policy in force from the newest view.
func (r *Registry) reload() error {
	v, err := r.config.Log.View()
	if err != nil {
		return fmt.Errorf("registry: reading the policy: %w", err)
	}
	defer v.Close()
	a, documents, err := Governed(v)
	if err != nil {
		return err
	}
	p := &policy{Admission: a, documents: documents}
	row, err := v.Get(policyRow)
	if err == nil {
		p.version = row.Version
	} else if !errors.Is(err, ledger.ErrNotFound) {
		return fmt.Errorf("registry: reading the policy row: %w", err)
	}
	for {
		old := r.policy.Load()
		if old != nil && old.version > p.version || r.policy.CompareAndSwap(old, p) {
			return nil
		}
	}
}

// A Document is a public body that the admission rests on.
type Document struct {
	ContentType string
	Number      uint64
	Digest      ledger.Hash
	EntryID     string
	Index       uint64
}

// Governed reads the genesis entry and the policy entries of a view and returns the admission in force there with the
// documents it rests on, in log order. Entries that are not admitted are passed over, as every replay does.
func Governed(v ledger.View) (*ledger.Admission, []Document, error) {
	genesis, s, body, err := publicBody(v, 0)
	if err != nil {
		return nil, nil, err
	}
	a, err := ledger.NewAdmission(genesis, body)
	if err != nil {
		return nil, nil, fmt.Errorf("registry: %w: %w", ledger.ErrIntegrity, err)
	}
	documents := []Document{{ContentType: s.ContentType, Digest: s.Digest, EntryID: s.Leaf().String()}}
	subject, err := ledger.Subject(a.Genesis().Issuer, ledger.SubjectPolicy, "")
	if err != nil {
		return nil, nil, err
	}
	for index, err := range v.Feed(subject, -1) {
		if err != nil {
			return nil, nil, fmt.Errorf("registry: reading the policies: %w", err)
		}
		_, s, body, err := publicBody(v, index)
		if err != nil {
			return nil, nil, err
		}
		next, err := a.Next(s, body)
		if err != nil || !ledger.Governs(s.ContentType) {
			continue
		}
		a = next
		d := Document{ContentType: s.ContentType, Digest: s.Digest, EntryID: s.Leaf().String(), Index: index}
		d.Number, _ = a.PolicyInForce()
		if s.ContentType == ledger.ContentTypeAnchors {
			d.Number, _ = a.AnchorsInForce()
		}
		documents = append(documents, d)
	}
	return a, documents, nil
}

// publicBody reads an entry, with its body if that is one that the admission rests on.
func publicBody(v ledger.View, index uint64) (entry []byte, s *ledger.Statement, body []byte, err error) {
	e, err := v.Entry(index)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("registry: entry %d: %w", index, err)
	}
	if s, err = ledger.ParseStatement(e.Statement); err != nil {
		return nil, nil, nil, fmt.Errorf("registry: entry %d: %w: %w", index, ledger.ErrIntegrity, err)
	}
	if index == 0 || ledger.Governs(s.ContentType) {
		if body, err = v.Body(s.Digest); err != nil {
			return nil, nil, nil, fmt.Errorf("registry: the policy of entry %d: %w", index, err)
		}
	}
	return e.Statement, s, body, nil
}

// Run waits until ctx ends and then until every registration that was promised has its outcome. The log must still run.
func (r *Registry) Run(ctx context.Context) error {
	<-ctx.Done()
	r.flights.idle.Wait()
	return nil
}

// Backlog is how many statements are on their way to the log, and Lag how long the oldest of them has been.
func (r *Registry) Backlog() int { return r.flights.count() }

// Lag is zero if nothing waits.
func (r *Registry) Lag() time.Duration { return r.flights.oldest(r.config.Now()) }

// Late reports whether something has waited longer than callers are kept waiting: the condition of an alert.
func (r *Registry) Late() bool { return r.Lag() > r.config.Wait }
