package ledger

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Errors of the log. Callers branch on them with errors.Is.
var (
	// ErrConflict: a precondition of the Change no longer held; nothing was written. Re-read and decide again.
	ErrConflict = errors.New("ledger: precondition failed")
	// ErrNotFound: no such row, entry or body at this view.
	ErrNotFound = errors.New("ledger: not found")
	// ErrTooLarge: the Change exceeds a limit of the engine; it was refused whole, never split.
	ErrTooLarge = errors.New("ledger: change too large")
	// ErrIntegrity: stored data disagrees with itself or with the tree. The integrity latch is closed.
	ErrIntegrity = errors.New("ledger: integrity failure")
	// ErrUnavailable: the log takes no writes now (write latch, full queue, no space, shutting down); nothing was written
	// unless it wraps ErrOutcomeUnknown.
	ErrUnavailable = errors.New("ledger: unavailable")
	// ErrOutcomeUnknown: the durable step failed in a way that leaves open whether the Change will be there after
	// recovery. The engine is poisoned until restart.
	ErrOutcomeUnknown = errors.New("ledger: outcome unknown")
	// ErrFrozen: the log was closed by its last entry; another one continues it. It comes with ErrUnavailable.
	ErrFrozen = errors.New("ledger: log frozen")
	// ErrErased: the body existed and its key was destroyed.
	ErrErased = errors.New("ledger: body erased")
)

// A Change is one atomic, durable step: either all of it is committed or nothing.
type Change struct {
	Expect  []Precondition // evaluated in order, over the effects of earlier changes of the same group
	Put     []Record
	Entries []Entry
}

// An Entry is a Signed Statement to be appended, with the evidence it commits to.
type Entry struct {
	Statement []byte // canonical tagged COSE_Sign1, empty unprotected header (see Statement)
	Body      []byte // evidence octets whose SHA-256 is the statement's payload; nil if it is kept elsewhere. Sealed before it is stored.
}

// A Record is a row to be written with a Change.
type Record struct {
	Key   string // 1..1024 octets
	Value []byte // at most 1 MiB; empty marks a tombstone that later reads report as an existing, empty row
	// Add, when not zero, makes the row a counter: Value must be nil and the sequencer writes old+Add as 8 octets
	// big-endian. A counter never goes below zero: such a Change fails with ErrConflict.
	Add int64
	// JustifiedBy is the ordinal, in this Change's Entries, of the entry that proves the row, or NotJustified.
	JustifiedBy int
}

// NotJustified marks a Record that no entry of its Change proves (idempotency rows, counters).
const NotJustified = -1

// PreconditionKind enumerates what a Change may expect of the state it was decided on.
type PreconditionKind uint8

// The kinds of precondition.
const (
	ExpectVersion    PreconditionKind = iota + 1 // the row exists with exactly this version
	ExpectAbsent                                 // no such row
	ExpectNotAfter                               // the commit time is not after T
	ExpectCountBelow                             // the counter row (absent = 0) is below N
)

// A Precondition names something the caller read and relied on.
type Precondition struct {
	Kind PreconditionKind
	Key  string
	N    uint64
	T    time.Time
}

// Version expects the row to have version n (1 for a row written once).
func Version(key string, n uint64) Precondition {
	return Precondition{Kind: ExpectVersion, Key: key, N: n}
}

// Absent expects that no such row was ever written.
func Absent(key string) Precondition { return Precondition{Kind: ExpectAbsent, Key: key} }

// NotAfter expects the commit time to be at or before t. A deadline that must lie strictly in the future is
// NotAfter(deadline.Add(-1)).
func NotAfter(t time.Time) Precondition { return Precondition{Kind: ExpectNotAfter, T: t} }

// CountBelow expects the counter row to be smaller than max before this Change.
func CountBelow(key string, max uint64) Precondition {
	return Precondition{Kind: ExpectCountBelow, Key: key, N: max}
}

// Committed reports a committed Change.
type Committed struct {
	Seq      uint64 // number of the commit group
	Results  []Result
	TreeSize uint64    // size of the published tree that contains every entry of the Change
	At       time.Time // registration time of the group, UTC, milliseconds
}

// A Result says where one entry of a Change stands in the log.
type Result struct {
	EntryID   string // lowercase hex of the leaf hash
	Index     uint64
	Duplicate bool // an equal statement was already there (same bytes, or same issuer, kid, subject, type and digest)
}

// A Row is a stored record.
type Row struct {
	Key         string
	Version     uint64 // 1 at the first Put, then +1 with each
	Value       []byte
	JustifiedBy uint64 // index of the justifying entry; meaningful only if Justified
	Justified   bool
}

// A LoggedEntry is an entry of the log.
type LoggedEntry struct {
	Index     uint64
	Statement []byte
	At        time.Time // registration time asserted by the log
}

// Head is the state of the tree that a writer extends. Epoch fences a second writer: it grows with every opening.
type Head struct {
	Seq   uint64 // number of the last commit group; 0 before the first
	Size  uint64
	Root  Hash
	Epoch uint64
	At    time.Time // registration time of the last group
}

// Log is what services use: one writer, many readers.
type Log interface {
	// Commit submits a Change and returns when it is durable and published. Errors: ErrConflict, ErrTooLarge,
	// ErrUnavailable, ErrIntegrity, ErrOutcomeUnknown, or the context's error while the Change was still queued.
	Commit(ctx context.Context, c Change) (Committed, error)
	// View opens a consistent view of the last published group. Close it.
	View() (View, error)
	// Health reports the latches.
	Health() Health
	// Stops is the emergency-stop journal.
	Stops() Stops
}

// View is a consistent read-only view. Reads detect damage: ErrIntegrity closes the integrity latch of the Log.
type View interface {
	Head() Head
	Checkpoint() []byte // signed note of Head, as published
	// Get reads a row and its hash row; both must agree. ErrNotFound only if both are absent.
	Get(key string) (Row, error)
	// Proven is Get plus the positive-read rule: the justifying entry is read, rehashed and proven to be in the tree.
	// Use it before signing anything that grants or asserts.
	Proven(key string) (Row, error)
	// List yields the rows whose key starts with prefix and is greater than after, in key order.
	List(prefix, after string) iter.Seq2[Row, error]
	// Entry reads an entry below Head().Size; its bytes are rehashed against the tree.
	Entry(index uint64) (LoggedEntry, error)
	// Lookup finds the index of an entry by EntryID.
	Lookup(entryID string) (uint64, error)
	// Feed yields the indexes of the entries with this subject, ascending, starting above after (pass -1 for all).
	Feed(subject string, after int64) iter.Seq2[uint64, error]
	// Body opens a sealed evidence body by its SHA-256. ErrErased after erasure.
	Body(digest Hash) ([]byte, error)
	// Tile returns the first width hashes of a tile, or width entries' hashes at level 0 (tlog-tiles); for any tile of the
	// tree at Head().Size.
	Tile(level int, index uint64, width int) ([]Hash, error)
	// Inclusion and Consistency return RFC 6962 audit paths (leaf-sibling first), verified before they are returned.
	Inclusion(index, size uint64) ([]Hash, error)
	Consistency(from, to uint64) ([]Hash, error)
	// RootAt returns the root of the first size entries.
	RootAt(size uint64) (Hash, error)
	Close()
}

// Health is what the latches say. The zero value is healthy.
type Health struct {
	Integrity *Latch // closed by rollback, fork, corruption: nothing positive may be signed
	Write     *Latch // closed by disk or sync failures: no commits; no status past Since + max_stale
}

// A Latch is closed until restart, but for the write latch with the code "store_unavailable" (no space, nothing was
// written): that one opens with the next group that can be written.
type Latch struct {
	Code  string // stable reason code, e.g. "row_hash_mismatch", "sync_failed", "no_space"
	Since time.Time
}

// Stops is the emergency-stop journal: a small preallocated file apart from the log, written when the log cannot be,
// consulted before anything positive is signed, and replayed into the log after recovery.
type Stops interface {
	// Stop records s; it is durable when Stop returns nil.
	Stop(ctx context.Context, s Stop) error
	// Stopped reports whether a pending stop covers the target (a stop of kind "all" covers everything).
	Stopped(kind StopKind, id string) (Stop, bool)
	// Pending lists stops not yet replayed, oldest first.
	Pending() []Stop
	// Replayed marks the oldest n pending stops as replayed into the log.
	Replayed(n int) error
}

// StopKind says what a Stop covers.
type StopKind string

// The kinds of stop.
const (
	StopMission StopKind = "mission"
	StopPeer    StopKind = "peer"
	StopAll     StopKind = "all"
)

// A Stop is one emergency stop.
type Stop struct {
	Kind   StopKind  `json:"kind"`
	ID     string    `json:"id,omitempty"` // mission id or peer issuer; empty for "all"
	Actor  string    `json:"actor"`        // principal id that ordered it
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Vault seals evidence bodies under per-record keys that live outside the store.
type Vault interface {
	// Seal takes the next per-record key, already durable, and returns the sealed body.
	Seal(digest Hash, body []byte) ([]byte, error)
	// Open returns the body, ErrErased if its key was destroyed, ErrIntegrity if it does not authenticate or rehash.
	Open(digest Hash, sealed []byte) ([]byte, error)
}
