package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/durable"
)

// Codes with which a Publisher closes the integrity latch of the log.
const (
	CodeRollback = "witness_rollback" // a witness has seen more of this log than there is
	CodeFork     = "witness_fork"     // a witness has seen another tree of this log
)

// Events that a Publisher and a Server count.
const (
	EventCosigned  = "cosigned"  // a witness cosigned a head of this log
	EventFailed    = "failed"    // a witness did not answer, or not with a cosignature
	EventConflict  = "conflict"  // a witness had cosigned another size than was thought
	EventAhead     = "ahead"     // a witness says that it has seen more of this log than there is
	EventPersisted = "persisted" // a cosigned head was written to the journal
	EventUnwritten = "unwritten" // a journal took no record
)

// Events lists every event of a Publisher.
func Events() []string {
	return []string{EventCosigned, EventFailed, EventConflict, EventAhead, EventPersisted, EventUnwritten}
}

// A Log is what a Publisher watches: the log, and its integrity latch.
type Log interface {
	ledger.Log
	CloseIntegrity(code string)
}

// Config is what a Publisher is made of.
type Config struct {
	Log       Log
	Origin    string
	Verifiers []note.Verifier // of the log's own checkpoints

	// Policy names the witnesses and says how many are enough. Nil, or a policy that needs none: everything durable is
	// published and nothing is witnessed.
	Policy *ledger.WitnessPolicy
	// FailClosed publishes nothing that the policy's witnesses have not cosigned.
	FailClosed bool
	Dir        string // of the journal of cosignatures

	Interval  time.Duration // between two rounds; 1 s
	Refresh   time.Duration // age at which the cosignatures of an idle log are renewed; 60 s
	Timeout   time.Duration // of one exchange; 5 s
	Tolerance time.Duration // how far the clock of a witness may be ahead; 5 min
	Loopback  bool          // witnesses on loopback addresses may speak plain HTTP

	Now    func() time.Time // time.Now
	Logger *slog.Logger
	Event  func(name string) // counts what happens; may be nil
}

// A Publisher has the heads of a log cosigned and says how far it is published. It implements ledger.Heads and is safe
// for concurrent use. Call Run once.
type Publisher struct {
	c       Config
	client  *http.Client
	opened  time.Time
	members []*member
	journal *journal

	current atomic.Pointer[Cosigned]
	ahead   atomic.Pointer[string]
	wake    chan struct{} // somebody waits for a publication

	mu       sync.Mutex     // of what follows, and of the journal
	changed  chan struct{}  // closed when current changes
	claims   map[int]uint64 // sizes beyond the log that witnesses say they have seen
	evidence []record       // heads that convict this log
}

// Cosigned is a head with the cosignatures that the policy asks for.
type Cosigned struct {
	ledger.Witnessed
	Note  []byte
	since time.Time // of its publication by this process; zero before
}

// Covers reports whether the head has the first size entries; nil has none.
func (c *Cosigned) Covers(size uint64) bool { return c != nil && c.Size >= size }

// stepCosignature registers the journal's durable step.
var stepCosignature = durable.Register("witness.cosignature", "a head of this log and its cosignatures are kept")

// Kinds of records of the journal of cosignatures.
const (
	kindHead     = "cosigned" // a checkpoint with a quorum
	kindEvidence = "evidence" // a checkpoint of this log that a witness showed and that the log does not continue
)

// Open reads the journal of cosignatures. Heads in it that the log does not continue close the integrity latch.
func Open(c Config) (*Publisher, error) {
	if c.Log == nil || c.Origin == "" || c.Logger == nil || len(c.Verifiers) == 0 {
		return nil, errors.New("witness: incomplete configuration")
	}
	if c.Policy != nil && c.Policy.None() {
		c.Policy = nil
	}
	if c.FailClosed && c.Policy == nil {
		return nil, errors.New("witness: publishing only what is witnessed needs a policy with a quorum")
	}
	c.Interval = orDefault(c.Interval, time.Second)
	c.Refresh = orDefault(c.Refresh, time.Minute)
	c.Timeout = orDefault(c.Timeout, 5*time.Second)
	c.Tolerance = orDefault(c.Tolerance, 5*time.Minute)
	if c.Now == nil {
		c.Now = time.Now
	}
	p := &Publisher{c: c, client: newHTTPClient(c.Timeout), changed: make(chan struct{}), wake: make(chan struct{}, 1),
		claims: map[int]uint64{}}
	p.opened = c.Now()
	if c.Policy == nil {
		return p, nil
	}
	if len(c.Policy.LogVerifiers(c.Origin)) == 0 {
		return nil, fmt.Errorf("witness: the policy does not name this log, %s", c.Origin)
	}
	for i, w := range c.Policy.Witnesses {
		if err := CheckURL(w.URL, c.Loopback); err != nil {
			return nil, fmt.Errorf("witness %s: %w", w.Name, err)
		}
		p.members = append(p.members, &member{index: i, PolicyWitness: w, client: p.client})
	}
	return p, p.openJournal()
}

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// openJournal finds the newest head that satisfies the policy and holds it against the log.
func (p *Publisher) openJournal() error {
	var newest *Cosigned
	var err error
	p.journal, err = openJournal(filepath.Join(p.c.Dir, "cosignatures"), stepCosignature, func(r record) error {
		if r.kind == kindEvidence {
			p.evidence = append(p.evidence, r)
			return nil
		}
		if r.kind != kindHead {
			return fmt.Errorf("a record of kind %.40q", r.kind)
		}
		w, err := p.c.Policy.Open([]byte(r.text))
		if err != nil || !w.Quorum || w.Origin != p.c.Origin {
			return nil // by an earlier policy
		}
		if newest == nil || w.Size >= newest.Size {
			newest = &Cosigned{Witnessed: w, Note: []byte(r.text)}
		}
		return nil
	})
	if err != nil || newest == nil {
		return err
	}
	if err := p.holds(newest.Checkpoint); err != nil {
		return err
	}
	p.current.Store(newest)
	for _, m := range p.members {
		m.restore(newest.Witnessed)
	}
	return nil
}

// holds closes the integrity latch if the log does not continue a head that it has signed before.
func (p *Publisher) holds(c ledger.Checkpoint) error {
	v, err := p.c.Log.View()
	if err != nil {
		return err
	}
	defer v.Close()
	if c.Size > v.Head().Size {
		p.c.Log.CloseIntegrity(CodeRollback)
		return nil
	}
	root, err := v.RootAt(c.Size)
	if err == nil && root != c.Root {
		p.c.Log.CloseIntegrity(CodeFork)
	}
	if errors.Is(err, ledger.ErrIntegrity) { // the latch is closed already
		err = nil
	}
	return err
}

// Close closes the journal.
func (p *Publisher) Close() error {
	p.client.CloseIdleConnections()
	if p.journal == nil {
		return nil
	}
	return p.journal.close()
}

// View implements ledger.Heads.
func (p *Publisher) View() (ledger.View, error) {
	v, err := p.c.Log.View()
	if err != nil {
		return nil, err
	}
	c := p.current.Load()
	switch head := v.Head(); {
	case c != nil && c.Size == head.Size && c.Root == head.Root, c != nil && p.c.FailClosed && c.Size < head.Size:
		return ledger.Clamp(v, c.Checkpoint, c.Note), nil
	case p.c.FailClosed: // nothing yet, or a head that this log does not have
		return ledger.Clamp(v, ledger.Checkpoint{Origin: p.c.Origin, Root: ledger.EmptyRoot}, nil), nil
	}
	return v, nil
}

// Witnessed implements ledger.Heads.
func (p *Publisher) Witnessed() (ledger.View, error) {
	c := p.current.Load()
	if c == nil {
		return nil, fmt.Errorf("witness: no head is witnessed: %w", ledger.ErrNotFound)
	}
	v, err := p.c.Log.View()
	if err != nil {
		return nil, err
	}
	if c.Size > v.Head().Size {
		v.Close()
		return nil, fmt.Errorf("witness: the witnessed head is beyond the log: %w", ledger.ErrIntegrity)
	}
	return ledger.Clamp(v, c.Checkpoint, c.Note), nil
}

// Published implements ledger.Heads.
func (p *Publisher) Published(size uint64) bool {
	if !p.c.FailClosed {
		return true
	}
	return p.current.Load().Covers(size)
}

// Await implements ledger.Heads.
func (p *Publisher) Await(ctx context.Context, size uint64) error {
	return p.await(ctx, func() bool { return p.Published(size) })
}

// AwaitWitnessed returns nil once a head of at least this size is witnessed, or the error of ctx.
func (p *Publisher) AwaitWitnessed(ctx context.Context, size uint64) error {
	return p.await(ctx, func() bool { return p.current.Load().Covers(size) })
}

func (p *Publisher) await(ctx context.Context, done func() bool) error {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if done() {
			return nil
		}
		select {
		case p.wake <- struct{}{}:
		default:
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A State says how far a log is published and witnessed.
type State struct {
	FailClosed bool
	Durable    uint64
	Published  uint64
	Witnessed  uint64
	At         time.Time // when a quorum had cosigned the witnessed head
	Ahead      string    // a witness that says it has seen more than there is
	Stalled    bool      // nothing newer has been witnessed for a while, although there is
}

// Policy names the publishing policy.
func (s State) Policy() string {
	if s.FailClosed {
		return "fail_closed"
	}
	return "fail_open"
}

// stalled is how long a head may wait for its quorum before it is told.
const stalled = 30 * time.Second

// State looks at the heads.
func (p *Publisher) State() (State, error) {
	v, err := p.c.Log.View()
	if err != nil {
		return State{}, err
	}
	defer v.Close()
	s := State{FailClosed: p.c.FailClosed, Durable: v.Head().Size, Ahead: p.Ahead()}
	since := p.opened
	if c := p.current.Load(); c != nil {
		s.Witnessed, s.At = c.Size, c.At
		if c.since.After(since) {
			since = c.since
		}
	}
	if s.Published = s.Durable; p.c.FailClosed {
		s.Published = min(s.Witnessed, s.Durable)
	}
	s.Stalled = p.c.Policy != nil && s.Witnessed < s.Durable && p.c.Now().Sub(since) > max(stalled, 3*p.c.Interval)
	return s, nil
}

// FailClosed reports the publishing policy.
func (p *Publisher) FailClosed() bool { return p.c.FailClosed }

// Witnesses lists the witnesses of the policy.
func (p *Publisher) Witnesses() []ledger.PolicyWitness {
	if p.c.Policy == nil {
		return nil
	}
	return p.c.Policy.Witnesses
}

// Current is the newest head with a quorum, nil if there is none.
func (p *Publisher) Current() *Cosigned { return p.current.Load() }

// Claimed reports whether the log claims to be witnessed at all.
func (p *Publisher) Claimed() bool { return p.c.Policy != nil }

// Ahead names a witness that says it has seen more of this log than there is; "" if none does.
func (p *Publisher) Ahead() string {
	if s := p.ahead.Load(); s != nil {
		return *s
	}
	return ""
}

// publish makes a head with a quorum durable and then the one that is shown.
func (p *Publisher) publish(w ledger.Witnessed, note []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := record{kindHead, string(note)}
	write := func() error { return p.journal.append(r) }
	if p.journal.full() {
		write = func() error { return p.journal.compact(append(slices.Clone(p.evidence), r)) }
	}
	if err := write(); err != nil {
		p.event(EventUnwritten)
		return err
	}
	p.event(EventPersisted)
	p.current.Store(&Cosigned{Witnessed: w, Note: note, since: p.c.Now()})
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

// keep writes evidence down once.
func (p *Publisher) keep(text []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := record{kindEvidence, string(text)}
	if slices.Contains(p.evidence, r) {
		return nil
	}
	p.evidence = append(p.evidence, r)
	return p.journal.append(r)
}

func (p *Publisher) event(name string) {
	if p.c.Event != nil {
		p.c.Event(name)
	}
}
