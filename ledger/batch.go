package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// The encoding of a batch is what a frame of the commit point holds. Integers are big-endian and of fixed width, every
// string carries its length, and each batch has exactly one encoding:
//
//	version1 = 1
//	seq8 size8 root32 epoch8 at8 (ms)              the head after the batch
//	first8
//	count4 { length2 entry }                       entries
//	count4 { length2 key version8 justified1 index8 length4 value }   rows
//	count4 { digest32 length4 sealed }             sealed bodies
//	length4 checkpoint
const batchVersion = 1

const (
	batchFixed    = 1 + headSize + 8 + 4 + 4 + 4 + 4
	maxEntry      = 65535 // the length prefix of an entry bundle (tlog-tiles) has two octets
	maxCheckpoint = 64 << 10
	maxSealed     = 4 << 20
)

// KeyOverhead is what Cost counts for each key beside its octets, so that a limit in octets also bounds the number of
// keys.
const KeyOverhead = 96

// Cost is counted in octets of keys and values of the queryable store plus KeyOverhead per key: BatchCost for the
// batch and EntryCost, RowCost and BodyCost for its parts. Limits.Bytes bounds the sum, so a sequencer can fill a
// group without encoding it.
const (
	// BatchCost covers the head, the commit row and the tiles of higher levels that one batch can complete.
	BatchCost = 2*KeyOverhead + 9*(tileSize+10+KeyOverhead)
	// tileCost is an entry's share of its level 0 tile.
	tileCost = (tileSize+10+KeyOverhead)/256 + 1
	tileSize = 8192
)

// EntryCost is the cost of an entry of n octets with its index keys.
func EntryCost(n int) int {
	const keys = (1 + 8) + (1 + truncated + 8) + (1 + truncated + 8) + (1 + truncated + 8)
	return n + keys + 4*KeyOverhead + tileCost
}

// RowCost is the cost of a row, its hash row and its mark in a feed.
func RowCost(key string, value []byte) int {
	return 2*(1+len(key)) + rowHeader + len(value) + 32 + FeedMarkSize + 2*KeyOverhead
}

// BodyCost is the cost of a sealed body of n octets.
func BodyCost(n int) int { return 1 + 32 + n + KeyOverhead }

// Cost is the cost of the whole batch.
func (b *Batch) Cost() int {
	cost := BatchCost + len(b.Checkpoint)
	for i := range b.Entries {
		cost += EntryCost(len(b.Entries[i].Raw))
	}
	for i := range b.Rows {
		cost += RowCost(b.Rows[i].Key, b.Rows[i].Value)
	}
	for i := range b.Bodies {
		cost += BodyCost(len(b.Bodies[i].Sealed))
	}
	return cost
}

// Marshal encodes the batch without what is derived: no tiles, no leaf hashes, no subjects. It refuses a batch that
// UnmarshalBatch would refuse for its shape; it does not parse the statements.
func (b *Batch) Marshal() ([]byte, error) { return b.AppendMarshal(nil) }

// AppendMarshal appends what Marshal returns to out.
func (b *Batch) AppendMarshal(out []byte) ([]byte, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	out = slices.Grow(out, b.marshaledSize())
	out = appendHead(append(out, batchVersion), b.Head)
	out = binary.BigEndian.AppendUint64(out, b.First)
	out = binary.BigEndian.AppendUint32(out, uint32(len(b.Entries)))
	for i := range b.Entries {
		raw := b.Entries[i].Raw
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(raw))), raw...)
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(b.Rows)))
	for i := range b.Rows {
		r := b.Rows[i]
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(r.Key))), r.Key...)
		out = appendRowHeader(out, r)
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(r.Value))), r.Value...)
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(b.Bodies)))
	for i := range b.Bodies {
		out = append(out, b.Bodies[i].Digest[:]...)
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(b.Bodies[i].Sealed))), b.Bodies[i].Sealed...)
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(b.Checkpoint)))
	return append(out, b.Checkpoint...), nil
}

func (b *Batch) marshaledSize() int {
	n := batchFixed + len(b.Checkpoint)
	for i := range b.Entries {
		n += 2 + len(b.Entries[i].Raw)
	}
	for i := range b.Rows {
		n += 2 + len(b.Rows[i].Key) + rowHeader + 4 + len(b.Rows[i].Value)
	}
	for i := range b.Bodies {
		n += 32 + 4 + len(b.Bodies[i].Sealed)
	}
	return n
}

// check holds the batch to what its encoding can carry.
func (b *Batch) check() error {
	count := uint64(len(b.Entries))
	switch {
	case b.Head.Seq == 0:
		return fmt.Errorf("ledger: batch without a number: %w", ErrIntegrity)
	case b.First > math.MaxUint64-count || b.First+count != b.Head.Size:
		return fmt.Errorf("ledger: batch %d: entries %d+%d do not end at size %d: %w",
			b.Head.Seq, b.First, count, b.Head.Size, ErrIntegrity)
	case len(b.Checkpoint) > maxCheckpoint:
		return fmt.Errorf("ledger: batch %d: checkpoint of %d octets: %w", b.Head.Seq, len(b.Checkpoint), ErrTooLarge)
	case uint64(len(b.Rows)) > math.MaxUint32 || uint64(len(b.Bodies)) > math.MaxUint32 || count > math.MaxUint32:
		return fmt.Errorf("ledger: batch %d: %w", b.Head.Seq, ErrTooLarge)
	}
	for i := range b.Entries {
		if n := len(b.Entries[i].Raw); n == 0 || n > maxEntry {
			return fmt.Errorf("ledger: batch %d: entry of %d octets: %w", b.Head.Seq, n, ErrTooLarge)
		}
	}
	for i := range b.Rows {
		if err := b.Rows[i].check(); err != nil {
			return fmt.Errorf("ledger: batch %d: %w", b.Head.Seq, err)
		}
	}
	for i := range b.Bodies {
		if n := len(b.Bodies[i].Sealed); n > maxSealed {
			return fmt.Errorf("ledger: batch %d: sealed body of %d octets: %w", b.Head.Seq, n, ErrTooLarge)
		}
	}
	return nil
}

func (r *Row) check() error {
	switch {
	case len(r.Key) == 0 || len(r.Key) > MaxRowKey:
		return fmt.Errorf("row key of %d octets: %w", len(r.Key), ErrTooLarge)
	case len(r.Value) > MaxRowValue:
		return fmt.Errorf("row value of %d octets: %w", len(r.Value), ErrTooLarge)
	case r.Version == 0:
		return fmt.Errorf("row without a version: %w", ErrIntegrity)
	}
	return nil
}

// UnmarshalBatch reads an encoding made by Marshal and derives leaf hashes, subjects and dedup keys by parsing the
// statements. Tiles stay nil: Edge makes them from the leaves. The batch aliases data. Every error wraps ErrIntegrity:
// a commit point never holds anything else.
func UnmarshalBatch(data []byte) (*Batch, error) {
	d := batchDecoder{rest: data}
	b := d.batch()
	switch {
	case d.err != nil:
		return nil, d.err
	case len(d.rest) != 0:
		return nil, fmt.Errorf("ledger: batch with %d octets behind its end: %w", len(d.rest), ErrIntegrity)
	}
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("ledger: stored batch: %w: %w", ErrIntegrity, err)
	}
	if err := b.derive(); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Batch) derive() error {
	for i := range b.Entries {
		e := &b.Entries[i]
		st, err := ParseStatement(e.Raw)
		if err != nil {
			return fmt.Errorf("ledger: entry %d of batch %d: %w: %w", b.First+uint64(i), b.Head.Seq, ErrIntegrity, err)
		}
		e.Leaf, e.Subject, e.Dedup = HashLeaf(e.Raw), st.Subject, DedupKey(st)
	}
	return nil
}

// batchDecoder takes fields off the front of rest; after an error it yields zeros.
type batchDecoder struct {
	rest []byte
	err  error
}

func (d *batchDecoder) batch() *Batch {
	if v := d.take(1); d.err == nil && v[0] != batchVersion {
		d.err = fmt.Errorf("ledger: batch format %d is unknown: %w", v[0], ErrIntegrity)
	}
	b := new(Batch)
	if head := d.take(headSize); d.err == nil {
		b.Head = parseHead(head)
	}
	b.First = d.uint64()
	b.Entries = make([]BatchEntry, d.count(2))
	for i := range b.Entries {
		b.Entries[i].Raw = d.take(int(d.uint16()))
	}
	b.Rows = make([]Row, d.count(2+rowHeader+4))
	for i := range b.Rows {
		b.Rows[i] = d.row()
	}
	b.Bodies = make([]SealedBody, d.count(32+4))
	for i := range b.Bodies {
		copy(b.Bodies[i].Digest[:], d.take(32))
		b.Bodies[i].Sealed = d.take(int(d.uint32()))
	}
	if n := int(d.uint32()); n > 0 {
		b.Checkpoint = d.take(n)
	}
	return b
}

func (d *batchDecoder) row() Row {
	r := Row{Key: string(d.take(int(d.uint16()))), Version: d.uint64()}
	flag := d.take(1)
	r.JustifiedBy = d.uint64()
	r.Value = d.take(int(d.uint32()))
	if d.err != nil {
		return Row{}
	}
	r.Justified = flag[0] == 1
	if flag[0] > 1 || !r.Justified && r.JustifiedBy != 0 {
		d.err = fmt.Errorf("ledger: malformed row in a batch: %w", ErrIntegrity)
	}
	return r
}

// count reads a count of items of at least size octets each, so that no allocation exceeds the input.
func (d *batchDecoder) count(size int) int {
	n := int(d.uint32())
	if d.err == nil && n > len(d.rest)/size {
		d.err = fmt.Errorf("ledger: batch counts %d items in %d octets: %w", n, len(d.rest), ErrIntegrity)
	}
	if d.err != nil {
		return 0
	}
	return n
}

func (d *batchDecoder) take(n int) []byte {
	if d.err == nil && n > len(d.rest) {
		d.err = fmt.Errorf("ledger: batch ends %d octets early: %w", n-len(d.rest), ErrIntegrity)
	}
	if d.err != nil {
		return nil
	}
	v := d.rest[:n:n]
	d.rest = d.rest[n:]
	return v
}

func (d *batchDecoder) uint16() uint16 {
	if v := d.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (d *batchDecoder) uint32() uint32 {
	if v := d.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (d *batchDecoder) uint64() uint64 {
	if v := d.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// KVs is everything the queryable store holds of the batch, see the keyspace, in key order. Entries must carry their
// derived fields and Tiles every tile the batch completes. Keys are fresh; values may alias the batch.
func (b *Batch) KVs() []KV {
	w := kvWriter{
		kvs: make([]KV, 0, 4*len(b.Entries)+2*len(b.Rows)+len(b.Bodies)+len(b.Tiles)+2),
		buf: make([]byte, 0, b.kvOctets()),
	}
	w.each(len(b.Bodies), func(i int) {
		w.put(append(append(w.buf, PrefixBody), b.Bodies[i].Digest[:]...), b.Bodies[i].Sealed)
	})
	if n := uint64(len(b.Entries)); n > 0 {
		row := CommitRow{First: b.First, Count: n, At: b.Head.At, Seq: b.Head.Seq}
		w.put(binary.BigEndian.AppendUint64(append(w.buf, PrefixCommit), b.First), row.Marshal())
	}
	b.index(&w, PrefixDedup, func(e *BatchEntry) *Hash { return &e.Dedup })
	for i := range b.Entries {
		w.put(binary.BigEndian.AppendUint64(append(w.buf, PrefixEntry), b.First+uint64(i)), b.Entries[i].Raw)
	}
	b.feed(&w)
	w.each(len(b.Rows), func(i int) {
		sum := RowHash(b.Rows[i])
		value := w.value(sum[:])
		w.put(append(append(w.buf, PrefixRowHash), b.Rows[i].Key...), value)
	})
	b.index(&w, PrefixLeaf, func(e *BatchEntry) *Hash { return &e.Leaf })
	w.put(append(append(w.buf, PrefixMeta), headName...), MarshalHead(b.Head, b.Checkpoint))
	w.each(len(b.Rows), func(i int) {
		r := b.Rows[i]
		start := len(w.buf)
		w.buf = append(appendRowHeader(w.buf, r), r.Value...)
		value := w.buf[start:len(w.buf):len(w.buf)]
		w.put(append(append(w.buf, PrefixRow), r.Key...), value)
	})
	w.each(len(b.Tiles), func(i int) {
		t := &b.Tiles[i]
		w.put(binary.BigEndian.AppendUint64(append(w.buf, PrefixTile, byte(t.Level)), t.Index), t.Hashes)
	})
	return w.kvs
}

// kvOctets is at most what KVs writes that is not in the batch already.
func (b *Batch) kvOctets() int {
	n := 64 + 33*len(b.Bodies) + 10*len(b.Tiles) + len(b.Entries)*(9+2*(1+truncated+8)+1+truncated+8)
	for i := range b.Rows {
		n += 2*(1+len(b.Rows[i].Key)) + HashSize + rowHeader + len(b.Rows[i].Value) + FeedMarkSize
	}
	return n
}

// index writes a truncated index key for each entry.
func (b *Batch) index(w *kvWriter, prefix byte, of func(*BatchEntry) *Hash) {
	w.each(len(b.Entries), func(i int) {
		at := len(w.buf)
		w.buf = binary.BigEndian.AppendUint64(w.buf, b.First+uint64(i))
		value := w.buf[at:len(w.buf):len(w.buf)]
		w.put(append(append(w.buf, prefix), of(&b.Entries[i])[:truncated]...), value)
	})
}

// feed writes the feed key of each entry with the marks of the rows that it justifies. A row that an entry of an
// earlier batch justifies leaves no mark: that feed key is written and stays as it is.
func (b *Batch) feed(w *kvWriter) {
	marks := make([][]byte, len(b.Entries))
	for i := range b.Rows {
		if r := &b.Rows[i]; r.Justified && r.JustifiedBy >= b.First && r.JustifiedBy < b.Head.Size {
			mark, m := FeedMark(r.Key), &marks[r.JustifiedBy-b.First]
			if *m == nil {
				*m = w.value(mark[:])
			} else {
				*m = append(*m, mark[:]...) // its capacity is its length: this moves it
			}
		}
	}
	w.each(len(b.Entries), func(i int) {
		sum := sha256.Sum256([]byte(b.Entries[i].Subject))
		key := append(append(w.buf, PrefixFeed), sum[:truncated]...)
		w.put(binary.BigEndian.AppendUint64(key, b.First+uint64(i)), marks[i])
	})
}

// kvWriter collects keys and values. Keys stand in buf, one behind the other.
type kvWriter struct {
	kvs []KV
	buf []byte
}

// put adds the key that was appended to buf, which becomes buf.
func (w *kvWriter) put(buf, value []byte) {
	w.kvs = append(w.kvs, KV{buf[len(w.buf):len(buf):len(buf)], value})
	w.buf = buf
}

// value copies a value into buf.
func (w *kvWriter) value(v []byte) []byte {
	at := len(w.buf)
	w.buf = append(w.buf, v...)
	return w.buf[at:len(w.buf):len(w.buf)]
}

// each calls put for 0..n-1 and sorts what that added.
func (w *kvWriter) each(n int, put func(i int)) {
	from := len(w.kvs)
	for i := range n {
		put(i)
	}
	slices.SortFunc(w.kvs[from:], func(a, b KV) int { return bytes.Compare(a.Key, b.Key) })
}
