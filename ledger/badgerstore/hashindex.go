package badgerstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/mission-authority/mas/ledger"
)

// Keys that are hashes have no order that a tree of sorted tables could use: each costs a random place in memory when
// it is written and is moved by every compaction. So the two hash indexes of the keyspace, dedup and leaf, are not kept
// under keys of their own in Badger. Those of the newest entries are in memory, and are made again from the entries at
// the next start; those of every indexRun entries before are written once, sorted, as a run that never changes:
//
//	x kind1 run4 block2 -> { hash16 offset4 }       sorted; the blocks of a run divide the hashes evenly
//	y kind1 run4        -> first8 count4 blocks4 filter
//
// kind is the prefix of the index. A hash is looked for in memory, and then in each run whose filter does not exclude
// it. The filters stay in memory, 20 bits an entry in all. A block that is missing is damage, and not an absent hash.
//
// Entries are never removed, so an index has no versions: a snapshot ignores what leads beyond its size. The value
// under y comes last. A run is believed only if a version below the first frame that a recovery applies again carries
// it.
const (
	prefixBlock = 'x'
	prefixRun   = 'y'

	indexRun     = 1 << 18 // entries of a run
	indexBlock   = 128     // hashes of a block, on average
	indexRecord  = 16 + 4
	indexParts   = 8 // transactions that the blocks of one index of a run are written in
	runHeader    = 8 + 4 + 4
	filterLine   = 64 // octets: a hash sets its bits within one line
	filterProbes = 6
)

// indexKinds are the prefixes of the indexes, with the bits that their filters have for an entry.
var indexKinds = [2]struct {
	prefix byte
	bits   int
}{{ledger.PrefixDedup, 12}, {ledger.PrefixLeaf, 8}}

// kindOf returns the place in indexKinds of a key of an index.
func kindOf(key []byte) (int, bool) {
	if len(key) == 1+16 {
		for i := range indexKinds {
			if key[0] == indexKinds[i].prefix {
				return i, true
			}
		}
	}
	return 0, false
}

// shortHash is the part of a hash that is in an index key.
type shortHash = [16]byte

// indexed is the index of one entry.
type indexed [len(indexKinds)]shortHash

func indexedOf(e *ledger.BatchEntry) indexed {
	return indexed{shortHash(e.Dedup[:16]), shortHash(e.Leaf[:16])}
}

// hashIndex is the part of the indexes that is in memory.
type hashIndex struct {
	perRun int

	mu    sync.RWMutex
	runs  []*run
	tails []*tail // oldest first; the last one grows
	next  uint64  // index of the next entry

	sealing *sealing // of tails[0]; owned by whoever writes to Badger
}

// tail is the index of entries that are in no run yet.
type tail struct {
	first  uint64
	count  int
	hashes [len(indexKinds)]map[shortHash]uint32
}

// run is what is in memory of a run.
type run struct {
	number  uint32
	first   uint64
	count   uint32
	blocks  uint32
	filters [len(indexKinds)][]byte
}

func newHashIndex(perRun int) *hashIndex { return &hashIndex{perRun: perRun} }

// add takes the entries of a frame.
func (x *hashIndex) add(first uint64, entries []indexed) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range entries {
		x.addOne(first+uint64(i), &entries[i])
	}
}

func (x *hashIndex) addOne(index uint64, e *indexed) {
	if index < x.next {
		return // applied again
	}
	x.next = index + 1
	if len(x.tails) == 0 || x.tails[len(x.tails)-1].count >= x.perRun {
		t := &tail{first: index}
		for k := range t.hashes {
			t.hashes[k] = make(map[shortHash]uint32, min(x.perRun, 1<<12))
		}
		x.tails = append(x.tails, t)
	}
	t := x.tails[len(x.tails)-1]
	for k := range t.hashes {
		t.hashes[k][e[k]] = uint32(index - t.first)
	}
	t.count++
}

// recent looks for a hash among those in memory. If it is not there, it returns the runs to look in.
func (x *hashIndex) recent(kind int, h shortHash) (index uint64, ok bool, candidates []*run) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, t := range slices.Backward(x.tails) {
		if at, ok := t.hashes[kind][h]; ok {
			return t.first + uint64(at), true, nil
		}
	}
	for _, r := range slices.Backward(x.runs) {
		if mayHold(r.filters[kind], h) {
			candidates = append(candidates, r)
		}
	}
	return 0, false, candidates
}

// lookup finds the index that a hash leads to, below size.
func (s *Store) lookup(kind int, h shortHash, size uint64) (uint64, error) {
	index, ok, candidates := s.index.recent(kind, h)
	for _, r := range candidates {
		block, err := s.block(kind, r, r.blockOf(h))
		if err != nil {
			return 0, err
		}
		if index, ok = findRecord(block, h, r.first); ok {
			break
		}
	}
	if !ok || index >= size {
		return 0, ledger.ErrNotFound
	}
	return index, nil
}

// block reads a block of a run. One that is missing is damage.
func (s *Store) block(kind int, r *run, n uint32) ([]byte, error) {
	block, err := s.get(blockKey(kind, r.number, n), math.MaxUint64)
	if err == nil && len(block)%indexRecord == 0 {
		return block, nil
	}
	return nil, fmt.Errorf("badgerstore: block %d of index %c/%d: %w: %v", n, indexKinds[kind].prefix, r.number,
		ledger.ErrIntegrity, err)
}

func blockKey(kind int, number, block uint32) []byte {
	k := binary.BigEndian.AppendUint32([]byte{prefixBlock, indexKinds[kind].prefix}, number)
	return binary.BigEndian.AppendUint16(k, uint16(block))
}

func runKey(kind int, number uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixRun, indexKinds[kind].prefix}, number)
}

// blockOf says which block of the run holds a hash.
func (r *run) blockOf(h shortHash) uint32 { return part(h, r.blocks) }

// part divides the hashes evenly into n.
func part(h shortHash, n uint32) uint32 {
	hi, _ := bits.Mul64(binary.BigEndian.Uint64(h[:]), uint64(n))
	return uint32(hi)
}

// findRecord looks for a hash in a block.
func findRecord(block []byte, h shortHash, first uint64) (uint64, bool) {
	lo, hi := 0, len(block)/indexRecord
	for lo < hi {
		mid := (lo + hi) / 2
		at := block[mid*indexRecord:]
		switch c := bytes.Compare(at[:16], h[:]); {
		case c == 0:
			return first + uint64(binary.BigEndian.Uint32(at[16:])), true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return 0, false
}

// A filter says of a hash that it is not among those that were added, or that it may be.
func newFilter(entries, bitsEach int) []byte {
	lines := (entries*bitsEach + 8*filterLine - 1) / (8 * filterLine)
	return make([]byte, filterLine*max(lines, 1))
}

// probes returns the line of a hash and the bits that it sets there.
func probes(filter []byte, h shortHash) (line []byte, at uint64) {
	mixed := binary.LittleEndian.Uint64(h[:]) * 0x9e3779b97f4a7c15 // the blocks of a run use the high bits
	n, _ := bits.Mul64(mixed, uint64(len(filter)/filterLine))
	return filter[n*filterLine : (n+1)*filterLine], binary.LittleEndian.Uint64(h[8:])
}

func addTo(filter []byte, h shortHash) {
	line, at := probes(filter, h)
	for range filterProbes {
		line[at>>3&(filterLine-1)] |= 1 << (at & 7)
		at >>= 9
	}
}

func mayHold(filter []byte, h shortHash) bool {
	line, at := probes(filter, h)
	for range filterProbes {
		if line[at>>3&(filterLine-1)]&(1<<(at&7)) == 0 {
			return false
		}
		at >>= 9
	}
	return true
}

// sealing is a run that is being written.
type sealing struct {
	tail    *tail
	run     *run
	kind    int
	part    int
	records []byte // of kind, sorted
}

// seal writes the next part of a run at version seq, if there is one to be written. It is called between frames, so
// that a run is written a little at a time, and before seq counts as applied.
func (s *Store) seal(seq uint64) error {
	x := s.index
	if x.sealing == nil {
		x.mu.RLock()
		if len(x.tails) > 1 {
			t := x.tails[0]
			x.sealing = &sealing{tail: t, run: &run{
				number: uint32(len(x.runs)), first: t.first, count: uint32(t.count), blocks: uint32(t.count/indexBlock) + 1,
			}}
		}
		x.mu.RUnlock()
		if x.sealing == nil {
			return nil
		}
	}
	w := x.sealing
	if w.records == nil {
		w.sort()
		return nil
	}
	if err := s.sealPart(w, seq); err != nil {
		return err
	}
	if w.part++; w.part == indexParts {
		w.kind, w.part, w.records = w.kind+1, 0, nil
	}
	if w.kind == len(indexKinds) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.runs = append(x.runs[:len(x.runs):len(x.runs)], w.run)
		x.tails = slices.Clone(x.tails[1:])
		x.sealing = nil
	}
	return nil
}

// sort makes the records and the filter of one index. The tail that is sealed does not grow any more.
func (w *sealing) sort() {
	hashes := w.tail.hashes[w.kind]
	keys := make([]shortHash, 0, len(hashes))
	filter := newFilter(len(hashes), indexKinds[w.kind].bits)
	for h := range hashes {
		keys = append(keys, h)
		addTo(filter, h)
	}
	slices.SortFunc(keys, func(a, b shortHash) int { return bytes.Compare(a[:], b[:]) })
	w.records = make([]byte, 0, len(keys)*indexRecord+1)
	for _, h := range keys {
		w.records = binary.BigEndian.AppendUint32(append(w.records, h[:]...), hashes[h])
	}
	w.run.filters[w.kind] = filter
}

// sealPart writes some of the blocks, and after all of them the run.
func (s *Store) sealPart(w *sealing, seq uint64) error {
	txn := s.db.NewTransactionAt(seq, true)
	defer txn.Discard()
	put := func(key, value []byte) error { return txn.SetEntry(badger.NewEntry(key, value)) }
	from := w.run.blocks * uint32(w.part) / indexParts
	to := w.run.blocks * uint32(w.part+1) / indexParts
	for n := from; n < to; n++ {
		size := 0
		for size < len(w.records) && w.run.blockOf(shortHash(w.records[size:])) == n {
			size += indexRecord
		}
		if err := put(blockKey(w.kind, w.run.number, n), w.records[:size:size]); err != nil {
			return fmt.Errorf("badgerstore: index: %w", err)
		}
		w.records = w.records[size:]
	}
	if w.part == indexParts-1 {
		if err := put(runKey(w.kind, w.run.number), w.run.marshal(w.kind)); err != nil {
			return fmt.Errorf("badgerstore: index: %w", err)
		}
	}
	if err := txn.CommitAt(seq, nil); err != nil {
		return fmt.Errorf("badgerstore: index: %w", err)
	}
	return nil
}

func (r *run) marshal(kind int) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, runHeader+len(r.filters[kind])), r.first)
	b = binary.BigEndian.AppendUint32(b, r.count)
	b = binary.BigEndian.AppendUint32(b, r.blocks)
	return append(b, r.filters[kind]...)
}

// parseRun reads one kind of a run into r.
func (r *run) parse(kind int, value []byte) error {
	if len(value) < runHeader+filterLine || (len(value)-runHeader)%filterLine != 0 {
		return fmt.Errorf("badgerstore: index run %d of %d octets: %w", r.number, len(value), ledger.ErrIntegrity)
	}
	next := run{
		number: r.number, first: binary.BigEndian.Uint64(value), filters: r.filters,
		count: binary.BigEndian.Uint32(value[8:]), blocks: binary.BigEndian.Uint32(value[12:]),
	}
	next.filters[kind] = value[runHeader:]
	if next.count == 0 || next.blocks == 0 || next.blocks > math.MaxUint16+1 || r.filters[0] != nil && kind == 1 &&
		(next.first != r.first || next.count != r.count || next.blocks != r.blocks) {
		return fmt.Errorf("badgerstore: index run %d makes no sense: %w", r.number, ledger.ErrIntegrity)
	}
	*r = next
	return nil
}
