package authority

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// Config is what an Authority is made of. Issuer, Log, the signers and Principals are required; zero durations mean
// the defaults named here.
type Config struct {
	Issuer     string        // issuer identifier: `iss` of everything signed
	Log        ledger.Log    // where every step is committed
	Heads      ledger.Heads  // how far it is published; nil: what is durable is
	Status     jws.Signer    // issuer key: status, consent evidence and every other JWS of the issuer
	Evidence   ledger.Signer // evidence key: Signed Statements
	Governance jws.Signer    // governance key: agreements
	Principals *Principals

	MaxStale           time.Duration // bound of fresh_until in every status; 60 s
	StatusTTL          time.Duration // life of a status response; 45 s, never more than MaxStale
	SubmissionLifetime time.Duration // how long a submission waits for its approver; 24 h, at most 30 days
	MaxLifetime        time.Duration // longest mission; 90 days
	PublishWait        time.Duration // how long what grants waits for its publication; 5 s

	// Attended demands that a person who decides has logged in. There is no login yet: an attended authority refuses
	// every decision with no_person_authentication. Unattended (dev and demo), an approver may authenticate with a key
	// file, and the evidence says dev-unattended.
	Attended bool

	Peers    []PeerConfig  // the peer registry: nobody else is a peer
	Upstream Upstream      // how peers are reached; required with Peers
	Receipts ledger.Signer // receipt key: proofs of entries that are handed to peers; required with Peers

	Now    func() time.Time // time.Now
	Logger *slog.Logger     // slog.DiscardHandler
}

// An Authority is the state owner of one issuer. Its methods are safe for concurrent use. It starts no goroutine: call
// Recover once the log takes commits, then Run.
type Authority struct {
	issuer     string
	base       string // issuer without one trailing slash: prefix of statement subjects
	log        ledger.Log
	heads      ledger.Heads
	status     jws.Signer
	evidence   ledger.Signer
	governance jws.Signer
	configured *Principals // to be adopted by Recover
	logger     *slog.Logger

	maxStale, statusTTL             time.Duration
	submissionLifetime, maxLifetime time.Duration
	publishWait                     time.Duration
	attended                        bool

	clock      *clock
	inForce    atomic.Pointer[inForce] // nil until Recover has adopted the principals
	recovered  atomic.Bool
	turns      serial // per mission or submission
	records    records
	answers    answers
	refused    refusals
	deadlines  deadlines
	peers      *peers
	upstream   Upstream
	receipts   ledger.Signer
	chores     *chores
	followed   followed
	contextKey [32]byte // authenticates review contexts; they do not outlive the process
}

// A Caller is an authenticated principal.
type Caller struct {
	*Principal
	Method string // how it authenticated, e.g. "private_key_jwt"
	KeyID  string // the key it authenticated with, if any
}

// New checks the configuration. It does no I/O.
func New(c Config) (*Authority, error) {
	switch {
	case c.Issuer == "" || len(c.Issuer) > 512 || !isVisible(c.Issuer, 512):
		return nil, errors.New("authority: issuer is not 1 to 512 visible ASCII characters")
	case c.Log == nil || c.Status == nil || c.Evidence == nil || c.Governance == nil || c.Principals == nil:
		return nil, errors.New("authority: log, signers and principals are required")
	}
	a := &Authority{
		issuer:             c.Issuer,
		base:               strings.TrimSuffix(c.Issuer, "/"),
		log:                c.Log,
		heads:              c.Heads,
		status:             c.Status,
		evidence:           c.Evidence,
		governance:         c.Governance,
		configured:         c.Principals,
		logger:             c.Logger,
		maxStale:           orDefault(c.MaxStale, time.Minute),
		statusTTL:          orDefault(c.StatusTTL, 45*time.Second),
		submissionLifetime: orDefault(c.SubmissionLifetime, 24*time.Hour),
		maxLifetime:        orDefault(c.MaxLifetime, 90*24*time.Hour),
		publishWait:        orDefault(c.PublishWait, 5*time.Second),
		attended:           c.Attended,
		upstream:           c.Upstream,
		receipts:           c.Receipts,
		chores:             newChores(),
	}
	if a.statusTTL < time.Second || a.statusTTL > a.maxStale || a.maxLifetime < time.Second ||
		a.submissionLifetime < time.Second || a.submissionLifetime > maxSubmissionLifetime {
		return nil, errors.New("authority: a duration is out of bounds, or the status outlives max_stale")
	}
	if len(c.Peers) > 0 && (c.Upstream == nil || c.Receipts == nil) {
		return nil, errors.New("authority: peers need a way to reach them and a receipt key")
	}
	var err error
	if a.peers, err = newPeers(c.Issuer, c.Peers); err != nil {
		return nil, err
	}
	if a.heads == nil {
		a.heads = ledger.DurableHeads(a.log)
	}
	if a.logger == nil {
		a.logger = slog.New(slog.DiscardHandler)
	}
	now := c.Now
	if now == nil {
		now = time.Now
	}
	a.clock = newClock(now)
	rand.Read(a.contextKey[:]) // never fails
	return a, nil
}

// maxSubmissionLifetime bounds how far back a queue is looked at.
const maxSubmissionLifetime = 30 * 24 * time.Hour

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// Issuer is the issuer identifier.
func (a *Authority) Issuer() string { return a.issuer }

// A reading is one consistent view and the instant it is judged at. Close it.
type reading struct {
	ledger.View
	at     time.Time // UTC; in doubt the earliest it may be
	doubt  bool      // the clock is not to be believed
	health ledger.Health
}

// read opens a view for a decision. It fails closed while the integrity latch is closed or the start is unfinished.
func (a *Authority) read() (*reading, error) {
	if !a.recovered.Load() {
		return nil, errUnavailable.because("starting")
	}
	return a.open()
}

// open is read during the start.
func (a *Authority) open() (*reading, error) { return a.openOn(a.log.View) }

func (a *Authority) openOn(view func() (ledger.View, error)) (*reading, error) {
	health := a.log.Health()
	if l := health.Integrity; l != nil {
		return nil, errUnavailable.because("integrity").wrap(fmt.Errorf("integrity latch: %s", l.Code))
	}
	v, err := view()
	if err != nil {
		return nil, unavailable("opening a view", err)
	}
	at, doubt := a.clock.read(v.Head().At)
	return &reading{v, at, doubt, health}, nil
}

// certain refuses while the clock is in doubt.
func (r *reading) certain() error {
	if r.doubt {
		return errUnavailable.because("clock_doubt")
	}
	return nil
}

// attempts bounds how often a decision is made again after a conflict.
const attempts = 16

// commit submits what decide returns until it holds: decide reads, decides and signs; on a conflict it is called again
// with a fresh reading. A nil Change means that there is nothing to commit.
func (a *Authority) commit(ctx context.Context, decide decision) (ledger.Committed, error) {
	return a.commitOn(ctx, a.read, decide)
}

// A decision turns a reading into what is to be committed.
type decision func(*reading) (*ledger.Change, error)

func (a *Authority) commitOn(ctx context.Context, open func() (*reading, error), d decision) (ledger.Committed, error) {
	var last error
	for range attempts {
		c, err := a.commitOnce(ctx, open, d)
		if !errors.Is(err, ledger.ErrConflict) {
			return c, err
		}
		last = err
	}
	return ledger.Committed{}, unavailable("committing", last)
}

func (a *Authority) commitOnce(ctx context.Context, open func() (*reading, error), d decision) (ledger.Committed, error) {
	r, err := open()
	if err != nil {
		return ledger.Committed{}, err
	}
	defer r.Close()
	change, err := d(r)
	if err != nil || change == nil {
		return ledger.Committed{}, err
	}
	done, err := a.log.Commit(ctx, *change)
	if err != nil && !errors.Is(err, ledger.ErrConflict) {
		return done, unavailable("committing", err)
	}
	return done, err
}

// load reads a row of canonical JSON into *dst. The error wraps ledger.ErrNotFound if there is none.
func load(v ledger.View, key string, dst any) (ledger.Row, error) {
	row, err := v.Get(key)
	if err != nil {
		return row, err
	}
	return row, decodeRow(row, dst)
}

// prove is load under the positive-read rule.
func prove(v ledger.View, key string, dst any) (ledger.Row, error) {
	row, err := v.Proven(key)
	if err != nil {
		return row, err
	}
	return row, decodeRow(row, dst)
}

func decodeRow(row ledger.Row, dst any) error {
	if err := mission.Decode(row.Value, dst); err != nil {
		return fmt.Errorf("row %.80q: %w: %w", row.Key, ledger.ErrIntegrity, err)
	}
	return nil
}

// put makes a Record of canonical JSON.
func put(key string, value any, justifiedBy int) (ledger.Record, error) {
	b, err := mission.Marshal(value)
	if err != nil {
		return ledger.Record{}, fmt.Errorf("row %.80q: %w", key, err)
	}
	return ledger.Record{Key: key, Value: b, JustifiedBy: justifiedBy}, nil
}

// tombstone makes a Record that empties a row of an index.
func tombstone(key string) ledger.Record {
	return ledger.Record{Key: key, Value: []byte{}, JustifiedBy: ledger.NotJustified}
}
