package ledger

import (
	"context"
	"iter"
)

// Store is what an engine implements and nothing more. Sequencing, tree, publishing and recovery live in
// ledger/sequencer and exist once for all engines.
//
// Keys of a Store are raw; Keyspace (keyspace.go) says who owns which prefix.
type Store interface {
	// Head is the durable head after recovery, or after the last successful Apply. The zero Head with a fresh Epoch is an
	// empty store.
	Head() Head
	// Snapshot opens a consistent view of everything applied. Close it.
	Snapshot() (Snapshot, error)
	// Apply makes b durable in one atomic step, if the store's head is expect. An error that wraps ErrOutcomeUnknown
	// poisons the store: every later Apply fails until it is reopened. Any other error means: nothing was written.
	Apply(ctx context.Context, b *Batch, expect Head) error
	// Limits are the caps of one Batch; a Change that exceeds them is refused whole.
	Limits() Limits
	Close() error
}

// Snapshot reads one consistent state of a Store.
type Snapshot interface {
	// Get returns the value of key, or ErrNotFound. The result must not be modified.
	Get(key []byte) ([]byte, error)
	// Iterate yields keys with the prefix in order, starting at the first key >= start (nil: at the prefix).
	Iterate(prefix, start []byte) iter.Seq2[KV, error]
	Close()
}

// KV is a raw key and value.
type KV struct{ Key, Value []byte }

// Limits bound one Batch.
type Limits struct {
	Bytes   int // of keys and values
	Entries int
}

// A Batch is one commit group: what an engine writes atomically. The engine stores the encoded batch without Tiles in
// its commit point, and KVs() in its queryable store.
type Batch struct {
	Head       Head // after this batch; Head.Seq is previous + 1
	First      uint64
	Entries    []BatchEntry
	Rows       []Row
	Bodies     []SealedBody
	Checkpoint []byte // signed note for Head; nil only if no checkpoint exists yet
	Tiles      []FullTile
}

// A BatchEntry is an entry with what is derived from it (not part of the encoding).
type BatchEntry struct {
	Raw     []byte
	Leaf    Hash
	Subject string
	Dedup   Hash // see DedupKey
}

// A SealedBody is a vault row.
type SealedBody struct {
	Digest Hash
	Sealed []byte
}
