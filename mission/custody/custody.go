package custody

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// Errors of the package, beside those of the log.
var (
	// ErrPublic: the body is public and never erased.
	ErrPublic = errors.New("custody: the body is public")
	// ErrInUse: the service still works with the body.
	ErrInUse = errors.New("custody: the body is in use")
	// ErrHeld: the body is under a legal hold.
	ErrHeld = errors.New("custody: the body is under a hold")
	// ErrProducer: the evidence is of another producer, who did not register an erasure record for it.
	ErrProducer = errors.New("custody: evidence of another producer")
	// ErrInvalid: the order is malformed.
	ErrInvalid = errors.New("custody: malformed order")
)

// An Eraser destroys the key of a stored body, durably and for good. Erasing what is erased is no error. The error
// wraps ledger.ErrNotFound if no body of that digest is stored.
type Eraser interface {
	EraseBody(digest ledger.Hash) error
}

// Missions is what the state owner knows.
type Missions interface {
	// Ended says whether, and since when, the service is done with a subject of this issuer, given its kind and id. What
	// it does not know has not ended.
	Ended(v ledger.View, kind ledger.SubjectKind, id string) (since time.Time, ended bool, err error)
	// Forget drops what is kept in memory about a subject.
	Forget(kind ledger.SubjectKind, id string)
}

// Config is what a Custody is made of. Everything is required except where noted.
type Config struct {
	Issuer    string
	Log       ledger.Log
	Vault     Eraser
	Evidence  ledger.Signer
	Missions  Missions
	Retention *Retention // nil: nothing is erased because of its age
	Now       func() time.Time
	Logger    *slog.Logger
}

// Custody is the keeper of evidence bodies. It is safe for concurrent use.
type Custody struct {
	Config
	mu    sync.Mutex
	reads map[access]struct{} // of the hour
	hour  time.Time
}

// New checks the configuration. It does no I/O.
func New(c Config) (*Custody, error) {
	if c.Issuer == "" || c.Log == nil || c.Vault == nil || c.Evidence == nil || c.Missions == nil || c.Now == nil ||
		c.Logger == nil {
		return nil, errors.New("custody: incomplete configuration")
	}
	return &Custody{Config: c, reads: make(map[access]struct{})}, nil
}

// The rows of this package.
//
//	erasure/<digest>      the erasure of a body: Erasure, justified by its record
//	held/<scope>          counter of the holds on a subject or on the body of a digest
//	hold/<id>             the hold as it was set or released
//	retention             digest of the retention policy in force, justified by the entry that logs it
const (
	erasurePrefix = "erasure/"
	holdPrefix    = "hold/"
	retentionRow  = "retention"
)

func erasureRow(digest ledger.Hash) string { return erasurePrefix + digest.String() }
func heldRow(scope string) string          { return "held/" + url.PathEscape(scope) }
func holdRow(id string) string             { return holdPrefix + id }

// A target is one logged entry whose body is spoken of.
type target struct {
	entryID   string
	index     uint64
	statement *ledger.Statement
	kind      ledger.SubjectKind
	id        string
}

// find reads the statement of an entry. The error wraps ledger.ErrNotFound for every id that is none.
func (c *Custody) find(v ledger.View, entryID string) (*target, error) {
	if _, err := ledger.ParseEntryID(entryID); err != nil {
		return nil, fmt.Errorf("custody: %w", ledger.ErrNotFound)
	}
	index, err := v.Lookup(entryID)
	if err != nil {
		return nil, err
	}
	return c.at(v, index)
}

func (c *Custody) at(v ledger.View, index uint64) (*target, error) {
	e, err := v.Entry(index)
	if err != nil {
		return nil, err
	}
	s, err := ledger.ParseStatement(e.Statement)
	if err != nil {
		return nil, fmt.Errorf("custody: entry %d: %w: %w", index, ledger.ErrIntegrity, err)
	}
	t := &target{entryID: ledger.EntryID(s.Leaf()), index: index, statement: s}
	if t.kind, t.id, err = ledger.ParseSubject(c.Issuer, s.Subject); err != nil {
		return nil, fmt.Errorf("custody: entry %d: %w", index, err)
	}
	return t, nil
}

// evidence makes a logged document: its canonical form is the body, a statement of the issuer commits to it.
func (c *Custody) evidence(ctx context.Context, subject, contentType string, at time.Time, doc any) (ledger.Entry, error) {
	body, err := mission.Marshal(doc)
	if err != nil {
		return ledger.Entry{}, fmt.Errorf("custody: %s: %w", contentType, err)
	}
	raw, err := ledger.SignStatement(ctx, ledger.Claims{Issuer: c.Issuer, Subject: subject, IssuedAt: at.Unix(),
		ContentType: contentType, Digest: sha256.Sum256(body)}, c.Evidence)
	if err != nil {
		return ledger.Entry{}, fmt.Errorf("custody: %s: %w: %w", contentType, ledger.ErrUnavailable, err)
	}
	return ledger.Entry{Statement: raw, Body: body}, nil
}

// row is a Record of canonical JSON, justified by the entry at the ordinal by.
func row(key string, value any, by int) (ledger.Record, error) {
	b, err := mission.Marshal(value)
	if err != nil {
		return ledger.Record{}, fmt.Errorf("custody: row %q: %w", key, err)
	}
	return ledger.Record{Key: key, Value: b, JustifiedBy: by}, nil
}

// get reads a row of this package under the positive-read rule.
func get(v ledger.View, key string, dst any) (ledger.Row, error) {
	r, err := v.Proven(key)
	if err != nil {
		return r, err
	}
	if err := mission.Decode(r.Value, dst); err != nil {
		return r, fmt.Errorf("custody: row %q: %w: %w", key, ledger.ErrIntegrity, err)
	}
	return r, nil
}

// attempts is how often an order is decided again after a conflict.
const attempts = 4

// retry runs decide until it does not end in a conflict.
func retry(decide func() error) error {
	var err error
	for range attempts {
		if err = decide(); !errors.Is(err, ledger.ErrConflict) {
			return err
		}
	}
	return err
}

// text reports whether s may stand in a logged order: 1 to max characters without control characters.
func text(s string, max int) bool {
	return s != "" && len(s) <= max && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
