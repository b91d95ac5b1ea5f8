package sequencer

import (
	"bytes"
	"crypto/sha256"
	"iter"
	"time"

	"github.com/mission-authority/mas/ledger"
)

// times returns a function from index to registration time, to be asked in ascending order, and one that ends it.
func (f *fsck) times() (at func(index uint64) time.Time, stop func()) {
	var row, next ledger.CommitRow
	rows, stop := iter.Pull(f.all(ledger.PrefixCommit))
	more := true
	return func(index uint64) time.Time {
		for more && next.First <= index {
			row = next
			var kv ledger.KV
			if kv, more = rows(); more {
				if parsed, err := parseCommit(kv); err == nil {
					next = parsed
				}
			}
		}
		return row.At
	}, stop
}

// rows holds each row against its hash row and its justification. Without frames it also looks for newer versions in
// the feed; with frames the last version is known.
func (f *fsck) rows() {
	sums, stop := iter.Pull(f.all(ledger.PrefixRowHash))
	defer stop()
	sum, more := sums()
	for kv := range f.all(ledger.PrefixRow) {
		for more && bytes.Compare(sum.Key[1:], kv.Key[1:]) < 0 {
			f.found(CodeRowMismatch, "hash row %q without a row", sum.Key[1:])
			sum, more = sums()
		}
		f.report.Rows++
		if !more || !bytes.Equal(sum.Key[1:], kv.Key[1:]) {
			f.found(CodeRowMismatch, "row %q without a hash row", kv.Key[1:])
			continue
		}
		f.row(string(kv.Key[1:]), kv.Value, sum.Value)
		sum, more = sums()
	}
	for ; more; sum, more = sums() {
		f.found(CodeRowMismatch, "hash row %q without a row", sum.Key[1:])
	}
}

func (f *fsck) row(key string, value, sum []byte) {
	row, err := ledger.ParseRow(key, value)
	if err != nil {
		f.found(CodeRowMismatch, "row %q: %v", key, err)
		return
	}
	if hash := ledger.RowHash(row); !bytes.Equal(hash[:], sum) {
		f.found(CodeRowMismatch, "row %q, version %d", key, row.Version)
		return
	}
	switch {
	case !row.Justified:
	case row.JustifiedBy >= f.Head.Size:
		f.found(CodeRowMismatch, "row %q is justified by entry %d of %d", key, row.JustifiedBy, f.Head.Size)
	case f.Frames == nil:
		f.replaced(row)
	}
}

// replaced looks for an entry that justified a newer version of row.
func (f *fsck) replaced(row ledger.Row) {
	raw, ok := f.get(ledger.EntryKey(row.JustifiedBy))
	if !ok {
		return // reported before
	}
	st, err := ledger.ParseStatement(raw)
	if err != nil {
		return // reported before
	}
	prefix, mark := ledger.FeedPrefix(st.Subject), ledger.FeedMark(row.Key)
	for kv, err := range f.Snapshot.Iterate(prefix, ledger.FeedKey(st.Subject, row.JustifiedBy+1)) {
		if err != nil {
			f.found(CodeUnreadable, "feed of entry %d: %v", row.JustifiedBy, err)
			return
		}
		if hasMark(kv.Value, mark) {
			f.found(CodeRowStale, "row %q, version %d of entry %d, was replaced by a later entry", row.Key, row.Version,
				row.JustifiedBy)
			return
		}
	}
}

// replay is the commit point read from the beginning: what the queryable store has to hold.
type replay struct {
	head ledger.Head
	edge *ledger.Edge
	rows map[ledger.Hash]rowState // by the SHA-256 of the key
}

// frames replays the commit point and holds the queryable store against it.
func (f *fsck) frames() {
	if f.Frames == nil {
		return
	}
	r := &replay{edge: ledger.NewEdge(), rows: make(map[ledger.Hash]rowState)}
	for batch, err := range f.Frames {
		if err != nil {
			f.found(CodeFrameInvalid, "after group %d: %v", r.head.Seq, err)
			return // what follows is unknown
		}
		if f.ctx.Err() != nil || !f.frame(r, batch) {
			return
		}
		f.report.Frames++
	}
	if r.head.Seq != f.Head.Seq || r.head.Size != f.Head.Size || r.head.Root != f.Head.Root && r.head.Seq != 0 {
		f.found(CodeFrameInvalid, "the frames end at group %d of size %d, the head is %d of size %d", r.head.Seq, r.head.Size,
			f.Head.Seq, f.Head.Size)
	}
	f.replayedRows(r)
}

// frame replays one batch; false ends the replay, because the batch does not follow the one before.
func (f *fsck) frame(r *replay, b *ledger.Batch) bool {
	if b.Head.Seq != r.head.Seq+1 || b.First != r.head.Size || b.Head.Epoch < r.head.Epoch || b.Head.At.Before(r.head.At) {
		f.found(CodeFrameInvalid, "group %d at entry %d does not follow group %d of size %d", b.Head.Seq, b.First, r.head.Seq,
			r.head.Size)
		return false
	}
	for i := range b.Entries {
		b.Tiles = append(b.Tiles, r.edge.Append(b.Entries[i].Leaf)...)
	}
	if root := r.edge.Root(); root != b.Head.Root {
		f.found(CodeFrameInvalid, "group %d hashes to %s, its head is %s", b.Head.Seq, root, b.Head.Root)
		return false
	}
	f.checkpoint(b.Head, b.Checkpoint)
	for i := range b.Rows {
		row := &b.Rows[i]
		id := keyHash(row.Key)
		if old := r.rows[id]; row.Version <= old.version {
			f.found(CodeFrameInvalid, "group %d writes version %d of row %q over %d", b.Head.Seq, row.Version, row.Key, old.version)
		}
		r.rows[id] = rowState{version: row.Version, hash: ledger.RowHash(*row)}
	}
	for _, kv := range b.KVs() {
		switch kv.Key[0] {
		case ledger.PrefixRow, ledger.PrefixRowHash, ledger.PrefixMeta: // only the last version is stored
		default:
			f.same(CodeFrameMismatch, kv.Key, kv.Value)
		}
	}
	r.head = b.Head
	return true
}

// replayedRows compares the stored rows with their last version in the commit point.
func (f *fsck) replayedRows(r *replay) {
	for kv := range f.all(ledger.PrefixRow) {
		key := string(kv.Key[1:])
		id := keyHash(key)
		want, ok := r.rows[id]
		delete(r.rows, id)
		row, err := ledger.ParseRow(key, kv.Value)
		switch {
		case !ok:
			f.found(CodeExtraKey, "no group wrote row %q", key)
		case err != nil: // reported before
		case row.Version < want.version:
			f.found(CodeRowStale, "row %q has version %d, the commit point has %d", key, row.Version, want.version)
		case ledger.RowHash(row) != want.hash:
			f.found(CodeFrameMismatch, "row %q, version %d", key, row.Version)
		}
	}
	if n := len(r.rows); n > 0 && f.ctx.Err() == nil {
		f.found(CodeFrameMismatch, "%d rows of the commit point are missing", n)
	}
}

func keyHash(key string) ledger.Hash { return sha256.Sum256([]byte(key)) }
