package registry

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/mission-authority/mas/ledger"
)

// A memory is what the log remembers of an idempotency key: the request that used it and the entries it led to.
type memory struct {
	key     string // of the row
	expect  ledger.Precondition
	request ledger.Hash
	results []Result // of the earlier request, if it is the same one and not a day old
}

// Layout of a memory row: time in milliseconds, digest of the request, then the leaf hash of each entry.
const memoryHead = 8 + ledger.HashSize

// requestDigest is over everything of a request but who sends it.
func requestDigest(items []*item) ledger.Hash {
	h := sha256.New()
	for _, it := range items {
		if it.statement != nil {
			h.Write(it.statement.Raw)
		}
		if it.body == nil {
			h.Write([]byte{0})
			continue
		}
		sum := sha256.Sum256(it.body)
		h.Write(append([]byte{1}, sum[:]...))
	}
	return ledger.Hash(h.Sum(nil))
}

// recall looks an idempotency key up. A key that was used for another request in the last day is refused.
func (r *Registry) recall(v ledger.View, q Request, items []*item) (memory, error) {
	if q.Key == "" {
		return memory{}, nil
	}
	if len(q.Key) > 255 {
		return memory{}, &Refusal{Outcome: Malformed, Err: errors.New("idempotency key")}
	}
	sum := sha256.Sum256(append(append([]byte(q.Producer), 0), q.Key...))
	m := memory{key: "registry/key/" + hex.EncodeToString(sum[:16]), request: requestDigest(items)}
	row, err := v.Get(m.key)
	if errors.Is(err, ledger.ErrNotFound) {
		m.expect = ledger.Absent(m.key)
		return m, nil
	}
	if err != nil {
		return m, err
	}
	m.expect = ledger.Version(m.key, row.Version)
	if len(row.Value) < memoryHead || (len(row.Value)-memoryHead)%ledger.HashSize != 0 {
		return m, fmt.Errorf("registry: row of an idempotency key: %w", ledger.ErrIntegrity)
	}
	used := time.UnixMilli(int64(binary.BigEndian.Uint64(row.Value)))
	if age := r.config.Now().Sub(used); age >= keyLife {
		return m, nil
	}
	if ledger.Hash(row.Value[8:memoryHead]) != m.request {
		return m, &Refusal{Outcome: Misused, Err: errors.New("the idempotency key belongs to another request")}
	}
	m.results, err = replay(v, row.Value[memoryHead:])
	return m, err
}

// replay says where the entries of an earlier request stand.
func replay(v ledger.View, leaves []byte) ([]Result, error) {
	results := make([]Result, 0, len(leaves)/ledger.HashSize)
	for ; len(leaves) > 0; leaves = leaves[ledger.HashSize:] {
		id := ledger.EntryID(ledger.Hash(leaves[:ledger.HashSize]))
		index, err := v.Lookup(id)
		if errors.Is(err, ledger.ErrNotFound) {
			return nil, nil // it led to an entry of another signature: decide again, with the same end
		}
		if err != nil {
			return nil, err
		}
		e, err := v.Entry(index)
		if err != nil {
			return nil, err
		}
		results = append(results, Result{EntryID: id, Index: index, Outcome: Replayed, TreeSize: v.Head().Size, At: e.At})
	}
	return results, nil
}

// put remembers the request in the change that commits it.
func (m *memory) put(change *ledger.Change, items []*item, now time.Time) {
	value := binary.BigEndian.AppendUint64(make([]byte, 0, memoryHead+len(items)*ledger.HashSize), uint64(now.UnixMilli()))
	value = append(value, m.request[:]...)
	for _, it := range items {
		leaf := it.statement.Leaf()
		value = append(value, leaf[:]...)
	}
	change.Expect = append(change.Expect, m.expect)
	change.Put = append(change.Put, ledger.Record{Key: m.key, Value: value, JustifiedBy: ledger.NotJustified})
}
