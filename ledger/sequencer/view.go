package sequencer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"

	"github.com/mission-authority/mas/ledger"
)

// view implements ledger.View over one published state. It may be used by several goroutines until Close.
type view struct {
	log *Log
	*published
	closed     atomic.Bool
	lastCommit atomic.Pointer[ledger.CommitRow] // the one found last: entries are often read in order
}

func (v *view) Head() ledger.Head  { return v.head }
func (v *view) Checkpoint() []byte { return v.checkpoint }

func (v *view) Close() {
	if !v.closed.Swap(true) {
		v.release()
	}
}

// storeError passes on an error of the engine, and closes the integrity latch if it reports damage.
func (v *view) storeError(err error) error {
	if errors.Is(err, ledger.ErrIntegrity) {
		v.log.closeIntegrity(CodeStoreDamaged)
	}
	return fmt.Errorf("sequencer: reading the store: %w", err)
}

// get is the snapshot's Get with ErrNotFound turned into ok.
func (v *view) get(key []byte) (value []byte, ok bool, err error) {
	switch value, err = v.snapshot.Get(key); {
	case err == nil:
		return value, true, nil
	case errors.Is(err, ledger.ErrNotFound):
		return nil, false, nil
	default:
		return nil, false, v.storeError(err)
	}
}

// Get reads a row. Its Value must not be modified.
func (v *view) Get(key string) (ledger.Row, error) {
	row, _, err := v.row(key)
	return row, err
}

// row reads a row and its hash, held against the hash row and against what is remembered.
func (v *view) row(key string) (ledger.Row, ledger.Hash, error) {
	k := ledger.RowKey(key)
	value, hasRow, err := v.get(k)
	if err != nil {
		return ledger.Row{}, ledger.Hash{}, err
	}
	k[0] = ledger.PrefixRowHash
	sum, hasHash, err := v.get(k)
	if err != nil {
		return ledger.Row{}, ledger.Hash{}, err
	}
	if !hasRow && !hasHash {
		if s, seq, ok := v.log.rows.get(key); ok && seq <= v.head.Seq {
			return ledger.Row{}, ledger.Hash{}, v.log.damaged(CodeRowStale, "row %q is gone, it had version %d", key, s.version)
		}
		return ledger.Row{}, ledger.Hash{}, fmt.Errorf("sequencer: row %q: %w", key, ledger.ErrNotFound)
	}
	if hasRow != hasHash {
		return ledger.Row{}, ledger.Hash{}, v.log.damaged(CodeRowMismatch, "row %q: row %t, hash row %t", key, hasRow, hasHash)
	}
	return v.checkRow(key, value, sum)
}

// checkRow parses a stored row and holds it against its hash row and against what is remembered.
func (v *view) checkRow(key string, value, sum []byte) (ledger.Row, ledger.Hash, error) {
	row, err := ledger.ParseRow(key, value)
	if err != nil {
		return ledger.Row{}, ledger.Hash{}, v.log.damaged(CodeRowMismatch, "row %q: %v", key, err)
	}
	hash := ledger.RowHash(row)
	if !bytes.Equal(hash[:], sum) {
		return ledger.Row{}, ledger.Hash{}, v.log.damaged(CodeRowMismatch, "row %q, version %d", key, row.Version)
	}
	if s, seq, ok := v.log.rows.get(key); ok && seq <= v.head.Seq && s.hash != hash {
		return ledger.Row{}, ledger.Hash{}, v.log.damaged(CodeRowStale, "row %q has version %d, it had %d", key, row.Version,
			s.version)
	}
	return row, hash, nil
}

// state is what the writer has to know about a row: what is remembered, or what is stored.
func (v *view) state(key string) (rowState, error) {
	if s, _, ok := v.log.rows.get(key); ok {
		return s, nil
	}
	row, hash, err := v.row(key)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return rowState{counter: true}, nil
	case err != nil:
		return rowState{}, err
	}
	s := stateOf(row)
	s.hash = hash
	return s, nil
}

// Proven reads a row and proves its justification, see the package comment. Its Value must not be modified. A row that
// no entry justifies is refused with ErrNotJustified.
func (v *view) Proven(key string) (ledger.Row, error) {
	if err := v.log.latched(); err != nil {
		return ledger.Row{}, err
	}
	row, hash, err := v.row(key)
	if err != nil {
		return ledger.Row{}, err
	}
	if !row.Justified {
		return ledger.Row{}, fmt.Errorf("sequencer: row %q: %w", key, ErrNotJustified)
	}
	known, seq, ok := v.log.rows.get(key)
	ok = ok && seq <= v.head.Seq // then it has this hash, or row would have failed
	if ok && known.proven {
		return row, nil
	}
	if err := v.prove(row, ok); err != nil {
		return ledger.Row{}, err
	}
	v.log.rows.saw(key, v.head.Seq, func(s rowState, ok bool) (rowState, bool) {
		if !ok {
			s = stateOf(row)
			s.hash = hash
		}
		same := s.hash == hash
		s.proven = same
		return s, same
	})
	return row, nil
}

// ErrNotJustified: Proven was asked for a row that no entry proves.
var ErrNotJustified = errors.New("sequencer: row is not justified by an entry")

// prove rehashes the entry that justifies row into the tree. Unless the row is known to be the newest, it also looks
// for a later entry of the same feed that justified another version.
func (v *view) prove(row ledger.Row, newest bool) error {
	if row.JustifiedBy >= v.head.Size {
		return v.log.damaged(CodeRowMismatch, "row %q is justified by entry %d of %d", row.Key, row.JustifiedBy, v.head.Size)
	}
	raw, err := v.entry(row.JustifiedBy)
	if err != nil || newest {
		return err
	}
	st, err := ledger.ParseStatement(raw)
	if err != nil {
		return v.log.damaged(CodeEntryMismatch, "entry %d: %v", row.JustifiedBy, err)
	}
	replaced, err := v.replaced(row.Key, st.Subject, row.JustifiedBy)
	if err == nil && replaced {
		return v.log.damaged(CodeRowStale, "row %q, version %d of entry %d, was replaced by a later entry", row.Key,
			row.Version, row.JustifiedBy)
	}
	return err
}

// replaced reports whether an entry of the feed above index carries the mark of the row.
func (v *view) replaced(key, subject string, index uint64) (bool, error) {
	mark := ledger.FeedMark(key)
	for kv, err := range v.snapshot.Iterate(ledger.FeedPrefix(subject), ledger.FeedKey(subject, index+1)) {
		if err != nil {
			return false, v.storeError(err)
		}
		if hasMark(kv.Value, mark) {
			return true, nil
		}
	}
	return false, nil
}

// hasMark reports whether mark is among the marks of a feed key.
func hasMark(marks []byte, mark [ledger.FeedMarkSize]byte) bool {
	want := binary.BigEndian.Uint64(mark[:])
	for ; len(marks) >= ledger.FeedMarkSize; marks = marks[ledger.FeedMarkSize:] {
		if binary.BigEndian.Uint64(marks) == want {
			return true
		}
	}
	return false
}

// List yields the rows whose key starts with prefix and is greater than after, in key order, each held against its hash
// row. It walks rows and hash rows side by side, so a row or a hash row that is missing is noticed.
func (v *view) List(prefix, after string) iter.Seq2[ledger.Row, error] {
	return func(yield func(ledger.Row, error) bool) {
		sums, stop := iter.Pull2(v.snapshot.Iterate(listRange(ledger.PrefixRowHash, prefix, after)))
		defer stop()
		fail := func(err error) { yield(ledger.Row{}, err) }
		for kv, err := range v.snapshot.Iterate(listRange(ledger.PrefixRow, prefix, after)) {
			if err != nil {
				fail(v.storeError(err))
				return
			}
			key := string(kv.Key[1:])
			sum, err, ok := sums()
			if err != nil {
				fail(v.storeError(err))
				return
			}
			if !ok || string(sum.Key[1:]) != key {
				fail(v.log.damaged(CodeRowMismatch, "row %q or a hash row before it stands alone", key))
				return
			}
			row, _, err := v.checkRow(key, bytes.Clone(kv.Value), sum.Value)
			if !yield(row, err) || err != nil {
				return
			}
		}
		if sum, err, ok := sums(); err != nil {
			fail(v.storeError(err))
		} else if ok {
			fail(v.log.damaged(CodeRowMismatch, "hash row %q stands alone", sum.Key[1:]))
		}
	}
}

// listRange is what List iterates over under one of the two prefixes of a row.
func listRange(kind byte, prefix, after string) (p, start []byte) {
	p = append([]byte{kind}, prefix...)
	if after < prefix {
		return p, nil
	}
	if !strings.HasPrefix(after, prefix) {
		// Greater than everything with the prefix: start behind it.
		return p, append([]byte{kind}, after...)
	}
	return p, append(append([]byte{kind}, after...), 0)
}
