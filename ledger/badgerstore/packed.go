package badgerstore

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/mission-authority/mas/ledger"
)

// Badger does not hold entries under keys of their own but those of a frame in one value, under the key of the last of
// them:
//
//	count4 { length2 entry }
//
// The first key at or above that of an entry leads to the value that holds it. One key a frame keeps Badger's work for
// an entry small, and lets values be read and written in the order of the log.
const packedHead = 4

// packEntries encodes the entries of a batch that has some.
func packEntries(b *ledger.Batch) ledger.KV {
	n := packedHead
	for i := range b.Entries {
		n += 2 + len(b.Entries[i].Raw)
	}
	v := binary.BigEndian.AppendUint32(make([]byte, 0, n), uint32(len(b.Entries)))
	for i := range b.Entries {
		raw := b.Entries[i].Raw
		v = append(binary.BigEndian.AppendUint16(v, uint16(len(raw))), raw...)
	}
	return ledger.KV{Key: ledger.EntryKey(b.First + uint64(len(b.Entries)) - 1), Value: v}
}

// packed is a decoded value of entries.
type packed struct {
	first   uint64
	entries [][]byte // they alias the value
}

// parsePacked reads what packEntries wrote.
func parsePacked(kv ledger.KV) (packed, error) {
	bad := func(what string) (packed, error) {
		return packed{}, fmt.Errorf("badgerstore: entries %x: %s: %w", kv.Key, what, ledger.ErrIntegrity)
	}
	if len(kv.Key) != 9 || len(kv.Value) < packedHead {
		return bad("too short")
	}
	last, v := binary.BigEndian.Uint64(kv.Key[1:]), kv.Value[packedHead:]
	n := uint64(binary.BigEndian.Uint32(kv.Value))
	if n == 0 || n-1 > last || n > uint64(len(v))/2 {
		return bad("count makes no sense")
	}
	p := packed{first: last + 1 - n, entries: make([][]byte, n)}
	for i := range p.entries {
		if len(v) < 2 {
			return bad("ends early")
		}
		size := 2 + int(binary.BigEndian.Uint16(v))
		if size == 2 || size > len(v) {
			return bad("ends early")
		}
		p.entries[i], v = v[2:size:size], v[size:]
	}
	if len(v) > 0 {
		return bad("longer than its entries")
	}
	return p, nil
}

// oneOf returns a copy of one entry out of a value, ErrNotFound if the value does not hold it.
func oneOf(kv ledger.KV, index uint64) ([]byte, error) {
	p, err := parsePacked(kv)
	if err != nil {
		return nil, err
	}
	raw, err := p.get(index)
	return bytes.Clone(raw), err
}

// get returns an entry, ErrNotFound if the value does not hold it.
func (p *packed) get(index uint64) ([]byte, error) {
	if index < p.first || index-p.first >= uint64(len(p.entries)) {
		return nil, ledger.ErrNotFound
	}
	return p.entries[index-p.first], nil
}
