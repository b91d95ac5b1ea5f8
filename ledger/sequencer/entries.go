package sequencer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/mission-authority/mas/ledger"
)

// Entry reads an entry of the view. Its Statement must not be modified.
func (v *view) Entry(index uint64) (ledger.LoggedEntry, error) {
	raw, err := v.entry(index)
	if err != nil {
		return ledger.LoggedEntry{}, err
	}
	row, err := v.commitRow(index)
	if err != nil {
		return ledger.LoggedEntry{}, err
	}
	return ledger.LoggedEntry{Index: index, Statement: raw, At: row.At}, nil
}

// entry reads the octets of an entry and holds them against its leaf in the tree.
func (v *view) entry(index uint64) ([]byte, error) {
	leaf, err := v.leaf(index)
	if err != nil {
		return nil, err
	}
	raw, ok, err := v.get(ledger.EntryKey(index))
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, v.log.damaged(CodeEntryMismatch, "entry %d is missing", index)
	case ledger.HashLeaf(raw) != leaf:
		return nil, v.log.damaged(CodeEntryMismatch, "entry %d does not hash to its leaf", index)
	}
	return raw, nil
}

// commitRow finds the commit row of the group that an entry of the view came with: the last one at or below it. It
// looks back in growing steps, because most groups are small.
func (v *view) commitRow(index uint64) (ledger.CommitRow, error) {
	if row := v.lastCommit.Load(); row != nil && index >= row.First && index-row.First < row.Count {
		return *row, nil
	}
	for back := uint64(1); ; back = min(2*back, index+1) {
		var row ledger.CommitRow
		for kv, err := range v.snapshot.Iterate([]byte{ledger.PrefixCommit}, ledger.CommitKey(index+1-back)) {
			if err != nil {
				return row, v.storeError(err)
			}
			next, err := parseCommit(kv)
			if err != nil {
				return row, v.log.damaged(CodeCommitMismatch, "before entry %d: %v", index, err)
			}
			if next.First > index {
				break
			}
			row = next
		}
		switch {
		case row.Count > 0 && index-row.First < row.Count:
			v.lastCommit.Store(&row)
			return row, nil
		case row.Count > 0 || back > index:
			return row, v.log.damaged(CodeCommitMismatch, "no commit row covers entry %d", index)
		}
	}
}

func parseCommit(kv ledger.KV) (ledger.CommitRow, error) {
	first, err := ledger.ParseCommitKey(kv.Key)
	if err != nil {
		return ledger.CommitRow{}, err
	}
	return ledger.ParseCommitRow(first, kv.Value)
}

// Lookup finds the index of an entry by its EntryID.
func (v *view) Lookup(entryID string) (uint64, error) {
	leaf, err := ledger.ParseEntryID(entryID)
	if err != nil {
		return 0, fmt.Errorf("sequencer: %w: %w", ledger.ErrNotFound, err)
	}
	index, ok, err := v.indexed(ledger.LeafKey(leaf))
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, fmt.Errorf("sequencer: entry %s: %w", entryID, ledger.ErrNotFound)
	}
	stored, err := v.leaf(index)
	if err != nil {
		return 0, err
	}
	if stored == leaf {
		return index, nil
	}
	if bytes.Equal(ledger.LeafKey(stored), ledger.LeafKey(leaf)) {
		return 0, fmt.Errorf("sequencer: entry %s: %w", entryID, ledger.ErrNotFound) // another leaf with the same key
	}
	return 0, v.log.damaged(CodeIndexMismatch, "leaf index of entry %d", index)
}

// indexed reads an index key. The index it returns is in the view.
func (v *view) indexed(key []byte) (index uint64, ok bool, err error) {
	value, ok, err := v.get(key)
	if err != nil || !ok {
		return 0, false, err
	}
	index, err = ledger.ParseIndex(value)
	if err == nil && index >= v.head.Size {
		err = fmt.Errorf("entry %d of %d", index, v.head.Size)
	}
	if err != nil {
		return 0, false, v.log.damaged(CodeIndexMismatch, "index key of kind %q: %v", key[0], err)
	}
	return index, true, nil
}

// duplicate finds the entry with this dedup key.
func (v *view) duplicate(dedup ledger.Hash) (place, bool, error) {
	index, ok, err := v.indexed(ledger.DedupKeyOf(dedup))
	if err != nil || !ok {
		return place{}, false, err
	}
	raw, err := v.entry(index)
	if err != nil {
		return place{}, false, err
	}
	st, err := ledger.ParseStatement(raw)
	if err != nil {
		return place{}, false, v.log.damaged(CodeEntryMismatch, "entry %d: %v", index, err)
	}
	switch stored := ledger.DedupKey(st); {
	case stored == dedup:
		return place{index: index, leaf: ledger.HashLeaf(raw), duplicate: true}, true, nil
	case bytes.Equal(ledger.DedupKeyOf(stored), ledger.DedupKeyOf(dedup)):
		// Two statements with the same truncated key: storing the second would hide the first.
		return place{}, false, fmt.Errorf("sequencer: the dedup key is taken by entry %d: %w", index, ledger.ErrConflict)
	default:
		return place{}, false, v.log.damaged(CodeIndexMismatch, "dedup index of entry %d", index)
	}
}

// hasBody reports whether a body with this digest is stored, erased or not.
func (v *view) hasBody(digest ledger.Hash) (bool, error) {
	_, ok, err := v.get(ledger.BodyKey(digest))
	return ok, err
}

// Feed yields the indexes of the entries with this subject above after. Each entry is read, because two subjects may
// share a feed key.
func (v *view) Feed(subject string, after int64) iter.Seq2[uint64, error] {
	return func(yield func(uint64, error) bool) {
		from := ledger.FeedPrefix(subject)
		if after >= 0 {
			from = binary.BigEndian.AppendUint64(from, uint64(after)+1)
		}
		for kv, err := range v.snapshot.Iterate(ledger.FeedPrefix(subject), from) {
			if err != nil {
				yield(0, v.storeError(err))
				return
			}
			index, ours, err := v.feedEntry(kv.Key, subject)
			if err != nil {
				yield(0, err)
				return
			}
			if ours && !yield(index, nil) {
				return
			}
		}
	}
}

// feedEntry reads the entry a feed key leads to and reports whether it has the subject.
func (v *view) feedEntry(key []byte, subject string) (uint64, bool, error) {
	index, err := ledger.ParseFeedKey(key)
	if err != nil || index >= v.head.Size {
		return 0, false, v.log.damaged(CodeIndexMismatch, "feed key to entry %d: %v", index, err)
	}
	raw, err := v.entry(index)
	if err != nil {
		return 0, false, err
	}
	st, err := ledger.ParseStatement(raw)
	if err != nil {
		return 0, false, v.log.damaged(CodeEntryMismatch, "entry %d: %v", index, err)
	}
	if st.Subject != subject && !bytes.Equal(ledger.FeedPrefix(st.Subject), ledger.FeedPrefix(subject)) {
		return 0, false, v.log.damaged(CodeIndexMismatch, "feed key to entry %d", index)
	}
	return index, st.Subject == subject, nil
}

// Body opens an evidence body. The vault holds it against the digest.
func (v *view) Body(digest ledger.Hash) ([]byte, error) {
	sealed, ok, err := v.get(ledger.BodyKey(digest))
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, fmt.Errorf("sequencer: body %s: %w", digest, ledger.ErrNotFound)
	case v.log.vault == nil:
		return nil, fmt.Errorf("sequencer: body %s is sealed and there is no vault: %w", digest, ledger.ErrUnavailable)
	}
	body, err := v.log.vault.Open(digest, sealed)
	if errors.Is(err, ledger.ErrIntegrity) {
		v.log.closeIntegrity(CodeBodyMismatch)
	}
	if err != nil {
		return nil, fmt.Errorf("sequencer: opening body %s: %w", digest, err)
	}
	return body, nil
}
