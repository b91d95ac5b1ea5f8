package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/mission-authority/mas/ledger"
)

// loadIndex reads the runs whose versions are below frame, drops the others, and makes the index of the entries from
// there up to size. Badger must hold these.
func (s *Store) loadIndex(frame, size uint64) error {
	x := newHashIndex(s.opt.indexRun)
	if err := s.loadRuns(x, frame, size); err != nil {
		return err
	}
	if err := s.indexEntries(x, size); err != nil {
		return err
	}
	s.index = x
	return nil
}

// loadRuns reads runs until one is missing, is not below frame, or leads beyond size.
func (s *Store) loadRuns(x *hashIndex, frame, size uint64) error {
	for {
		r := &run{number: uint32(len(x.runs))}
		whole := true
		for kind := range indexKinds {
			value, version, err := s.getVersion(runKey(kind, r.number), math.MaxUint64)
			if errors.Is(err, ledger.ErrNotFound) || err == nil && (version >= frame || len(value) == 0) {
				whole = false
				break
			}
			if err == nil {
				err = r.parse(kind, value)
			}
			if err == nil && r.first != x.next {
				err = fmt.Errorf("badgerstore: index run %d begins at %d, not %d: %w", r.number, r.first, x.next, ledger.ErrIntegrity)
			}
			if err != nil {
				return err
			}
		}
		if !whole || r.first+uint64(r.count) > size {
			return nil
		}
		x.runs = append(x.runs, r)
		x.next = r.first + uint64(r.count)
	}
}

// forgetRuns blanks what is left of runs that loadRuns did not believe, so that the next start does not either.
func (s *Store) forgetRuns(seq uint64) error {
	for number := uint32(len(s.index.runs)); ; number++ {
		found := false
		for kind := range indexKinds {
			key := runKey(kind, number)
			value, err := s.get(key, math.MaxUint64)
			if errors.Is(err, ledger.ErrNotFound) || err == nil && len(value) == 0 {
				continue
			}
			found = true
			txn := s.db.NewTransactionAt(seq, true)
			if err := txn.Set(key, nil); err != nil {
				txn.Discard()
				return fmt.Errorf("badgerstore: index: %w", err)
			}
			if err := txn.CommitAt(seq, nil); err != nil {
				return fmt.Errorf("badgerstore: index: %w", err)
			}
		}
		if !found {
			return nil
		}
	}
}

// indexEntries makes the index of the entries that are in no run.
func (s *Store) indexEntries(x *hashIndex, size uint64) error {
	if x.next >= size {
		return nil
	}
	from := x.next
	all := make([]indexed, size-from)
	work := make(chan packed, 2*runtime.GOMAXPROCS(0))
	errs := make(chan error, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for range cap(errs) {
		wg.Go(func() {
			var failed error
			for p := range work {
				if failed == nil {
					failed = p.index(all, from)
				}
			}
			errs <- failed
		})
	}
	err := s.eachPacked(from, size, func(p packed) { work <- p })
	close(work)
	wg.Wait()
	for range cap(errs) {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		return err
	}
	x.add(from, all)
	return nil
}

// index derives the index of the entries of p that all has a place for.
func (p packed) index(all []indexed, from uint64) error {
	for i, raw := range p.entries {
		at := p.first + uint64(i)
		if at < from || at-from >= uint64(len(all)) {
			continue
		}
		st, err := ledger.ParseStatement(raw)
		if err != nil {
			return fmt.Errorf("badgerstore: entry %d: %w: %w", at, ledger.ErrIntegrity, err)
		}
		all[at-from] = indexedOf(&ledger.BatchEntry{Leaf: ledger.HashLeaf(raw), Dedup: ledger.DedupKey(st)})
	}
	return nil
}

// eachPacked reads the entries from one index up to another, all of which must be there.
func (s *Store) eachPacked(from, to uint64, use func(packed)) error {
	it, err := s.iterate(s.db.MaxVersion(), []byte{ledger.PrefixEntry}, ledger.EntryKey(from))
	if err != nil {
		return err
	}
	defer it.close()
	for next := from; next < to; {
		kv, ok, err := it.next()
		if err != nil {
			return err
		}
		var p packed
		if ok {
			if p, err = parsePacked(kv); err != nil {
				return err
			}
		}
		if !ok || p.first > next {
			return fmt.Errorf("badgerstore: entry %d is missing: %w", next, ledger.ErrIntegrity)
		}
		next = p.first + uint64(len(p.entries))
		use(p)
	}
	return nil
}

// indexKeys yields the keys of an index that lead below size, in order.
func (s *Store) indexKeys(kind int, prefix, start []byte, size uint64) iter.Seq2[ledger.KV, error] {
	return func(yield func(ledger.KV, error) bool) {
		s.index.mu.RLock()
		runs, tails := s.index.runs, slices.Clone(s.index.tails)
		var recent []byte
		for _, t := range tails {
			recent = appendRecords(recent, t.hashes[kind], t.first)
		}
		s.index.mu.RUnlock()
		const parts = 1 << 8 // read by the first octet of the hash
		byFirst := make([][]byte, parts)
		for at := 0; at < len(recent); at += longRecord {
			byFirst[recent[at]] = append(byFirst[recent[at]], recent[at:at+longRecord]...)
		}
		for n := range parts {
			if last := []byte{indexKinds[kind].prefix, byte(n), 0xff}; len(start) > 1 && bytes.Compare(last[:2], start[:2]) < 0 {
				continue
			}
			records := byFirst[n]
			for _, r := range runs {
				var err error
				if records, err = s.appendPart(records, kind, r, byte(n)); err != nil {
					yield(ledger.KV{}, err)
					return
				}
			}
			if !yieldRecords(records, indexKinds[kind].prefix, prefix, start, size, yield) {
				return
			}
		}
	}
}

// longRecord is a hash and an index, in memory.
const longRecord = 16 + 8

func appendRecords(dst []byte, hashes map[shortHash]uint32, first uint64) []byte {
	for h, at := range hashes {
		dst = binary.BigEndian.AppendUint64(append(dst, h[:]...), first+uint64(at))
	}
	return dst
}

// appendPart appends what a run holds of the hashes with this first octet.
func (s *Store) appendPart(dst []byte, kind int, r *run, octet byte) ([]byte, error) {
	low, high := shortHash{octet}, shortHash{octet}
	for i := range high[1:] {
		high[1+i] = 0xff
	}
	for n := r.blockOf(low); n <= r.blockOf(high); n++ {
		block, err := s.block(kind, r, n)
		if err != nil {
			return nil, err
		}
		for ; len(block) > 0; block = block[indexRecord:] {
			if block[0] == octet {
				dst = append(dst, block[:16]...)
				dst = binary.BigEndian.AppendUint64(dst, r.first+uint64(binary.BigEndian.Uint32(block[16:])))
			}
		}
	}
	return dst, nil
}

// yieldRecords sorts records and yields them as keys of the index.
func yieldRecords(
	records []byte, kind byte, prefix, start []byte, size uint64, yield func(ledger.KV, error) bool,
) bool {
	sorted := slices.Collect(slices.Chunk(records, longRecord))
	slices.SortFunc(sorted, func(a, b []byte) int { return bytes.Compare(a, b) })
	for _, rec := range sorted {
		if binary.BigEndian.Uint64(rec[16:]) >= size {
			continue
		}
		key := append([]byte{kind}, rec[:16]...)
		if bytes.Compare(key, start) < 0 || !bytes.HasPrefix(key, prefix) {
			continue
		}
		if !yield(ledger.KV{Key: key, Value: bytes.Clone(rec[16:])}, nil) {
			return false
		}
	}
	return true
}
