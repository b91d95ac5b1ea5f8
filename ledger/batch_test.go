package ledger_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
)

// sampleBatches are batches of all shapes, in order.
func sampleBatches(t testing.TB) []*ledger.Batch {
	t.Helper()
	c := ledgertest.NewChain(t, ledger.Head{Root: ledger.EmptyRoot, Epoch: 3})
	body := []byte("evidence")
	rows := func() []ledger.Row {
		return []ledger.Row{
			{Key: "a", Version: 7, Value: []byte("value"), Justified: true, JustifiedBy: 1},
			{Key: "tombstone", Version: 2},
			{Key: string(bytes.Repeat([]byte("k"), ledger.MaxRowKey)), Value: make([]byte, 3000)},
		}
	}
	bodies := []ledger.SealedBody{{Digest: sha256.Sum256(body), Sealed: []byte("sealed")}}
	var many []ledger.Entry
	for i := range 300 {
		many = append(many, c.Keys.Entry(t, "m1", fmt.Appendf(nil, "%d", i)))
	}
	return []*ledger.Batch{
		c.Next(nil, nil),
		c.Next(rows(), bodies, c.Keys.Entry(t, "m1", body), c.Keys.Entry(t, "m2", body)),
		c.Next(rows(), nil),
		c.Next(nil, nil, many...),
	}
}

func TestBatchRoundTrip(t *testing.T) {
	for _, b := range sampleBatches(t) {
		data, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if cost := b.Cost(); len(data) > cost {
			t.Errorf("batch %d costs %d and has %d octets", b.Head.Seq, cost, len(data))
		}
		got, err := ledger.UnmarshalBatch(data)
		if err != nil {
			t.Fatal(err)
		}
		got.Tiles = b.Tiles
		if !sameBatch(got, b) {
			t.Errorf("batch %d reads back as another one", b.Head.Seq)
		}
		if !reflect.DeepEqual(got.KVs(), b.KVs()) {
			t.Errorf("batch %d leaves another view after it was read back", b.Head.Seq)
		}
	}
}

func sameBatch(a, b *ledger.Batch) bool {
	row := func(x, y ledger.Row) bool {
		return x.Key == y.Key && x.Version == y.Version && bytes.Equal(x.Value, y.Value) &&
			x.Justified == y.Justified && x.JustifiedBy == y.JustifiedBy
	}
	return a.Head == b.Head && a.First == b.First && bytes.Equal(a.Checkpoint, b.Checkpoint) &&
		slices.EqualFunc(a.Rows, b.Rows, row) && reflect.DeepEqual(a.Entries, b.Entries) ||
		len(a.Entries)+len(b.Entries) == 0 && slices.EqualFunc(a.Rows, b.Rows, row) && a.Head == b.Head
}

// TestCostBoundsTheView: what a batch puts into the view never exceeds its cost, keys counted with their overhead.
func TestCostBoundsTheView(t *testing.T) {
	for _, b := range sampleBatches(t) {
		size := 0
		for _, kv := range b.KVs() {
			size += len(kv.Key) + len(kv.Value) + ledger.KeyOverhead
		}
		if cost := b.Cost(); size > cost {
			t.Errorf("batch %d costs %d and takes %d", b.Head.Seq, cost, size)
		}
	}
}

func TestUnmarshalBatchRefusesDamage(t *testing.T) {
	for _, b := range sampleBatches(t)[:3] {
		data, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		for n := range data {
			if _, err := ledger.UnmarshalBatch(data[:n]); !errors.Is(err, ledger.ErrIntegrity) {
				t.Fatalf("batch %d cut to %d octets: %v", b.Head.Seq, n, err)
			}
		}
		if _, err := ledger.UnmarshalBatch(append(bytes.Clone(data), 0)); !errors.Is(err, ledger.ErrIntegrity) {
			t.Errorf("batch %d with an octet behind it: %v", b.Head.Seq, err)
		}
		data[0]++
		if _, err := ledger.UnmarshalBatch(data); !errors.Is(err, ledger.ErrIntegrity) {
			t.Errorf("batch %d in an unknown format: %v", b.Head.Seq, err)
		}
	}
}

func TestMarshalBatchRefusesWhatCannotBeRead(t *testing.T) {
	good := func() *ledger.Batch { return &ledger.Batch{Head: ledger.Head{Seq: 1, At: time.UnixMilli(1)}} }
	if _, err := good().Marshal(); err != nil {
		t.Fatal(err)
	}
	entries := func(raw []byte) []ledger.BatchEntry { return []ledger.BatchEntry{{Raw: raw}} }
	row := func(key string, version uint64, value []byte) []ledger.Row {
		return []ledger.Row{{Key: key, Version: version, Value: value}}
	}
	for name, spoil := range map[string]func(*ledger.Batch){
		"no number":        func(b *ledger.Batch) { b.Head.Seq = 0 },
		"size":             func(b *ledger.Batch) { b.Head.Size = 1 },
		"first":            func(b *ledger.Batch) { b.First, b.Entries = ^uint64(0), entries([]byte{1}) },
		"empty entry":      func(b *ledger.Batch) { b.Head.Size, b.Entries = 1, []ledger.BatchEntry{{}} },
		"large entry":      func(b *ledger.Batch) { b.Head.Size, b.Entries = 1, entries(make([]byte, 65536)) },
		"empty key":        func(b *ledger.Batch) { b.Rows = []ledger.Row{{Version: 1}} },
		"long key":         func(b *ledger.Batch) { b.Rows = row(string(make([]byte, 1025)), 1, nil) },
		"large value":      func(b *ledger.Batch) { b.Rows = row("k", 1, make([]byte, 1<<20+1)) },
		"version 0":        func(b *ledger.Batch) { b.Rows = []ledger.Row{{Key: "k"}} },
		"large body":       func(b *ledger.Batch) { b.Bodies = []ledger.SealedBody{{Sealed: make([]byte, 4<<20+1)}} },
		"large checkpoint": func(b *ledger.Batch) { b.Checkpoint = make([]byte, 64<<10+1) },
	} {
		b := good()
		spoil(b)
		if data, err := b.Marshal(); err == nil {
			_, uerr := ledger.UnmarshalBatch(data)
			t.Errorf("%s: encoded; reading it back: %v", name, uerr)
		}
	}
}

func TestRowHashCoversEverything(t *testing.T) {
	base := ledger.Row{Key: "ab", Version: 2, Value: []byte("cd"), Justified: true, JustifiedBy: 5}
	seen := map[ledger.Hash]string{ledger.RowHash(base): "base"}
	for name, change := range map[string]func(*ledger.Row){
		"key":           func(r *ledger.Row) { r.Key = "aB" },
		"version":       func(r *ledger.Row) { r.Version++ },
		"value":         func(r *ledger.Row) { r.Value = []byte("cD") },
		"justification": func(r *ledger.Row) { r.Justified, r.JustifiedBy = false, 0 },
		"index":         func(r *ledger.Row) { r.JustifiedBy++ },
		"boundary":      func(r *ledger.Row) { r.Key, r.Value = "a", append([]byte("b"), r.Value...) },
	} {
		r := base
		change(&r)
		h := ledger.RowHash(r)
		if other, ok := seen[h]; ok {
			t.Errorf("%s and %s have the same hash", name, other)
		}
		seen[h] = name
	}
}

func TestRowsAndCommitRowsRoundTrip(t *testing.T) {
	r := ledger.Row{Key: "k", Version: 9, Value: []byte("v"), Justified: true, JustifiedBy: 0}
	got, err := ledger.ParseRow("k", ledger.MarshalRow(r))
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("row: %+v, %v", got, err)
	}
	for _, bad := range [][]byte{nil, ledger.MarshalRow(r)[:16], ledger.MarshalRow(ledger.Row{Key: "k"})} {
		if _, err := ledger.ParseRow("k", bad); !errors.Is(err, ledger.ErrIntegrity) {
			t.Errorf("row of %d octets: %v", len(bad), err)
		}
	}
	c := ledger.CommitRow{First: 3, Count: 2, At: time.UnixMilli(77).UTC(), Seq: 9}
	if got, err := ledger.ParseCommitRow(3, c.Marshal()); err != nil || got != c {
		t.Errorf("commit row: %+v, %v", got, err)
	}
	if _, err := ledger.ParseCommitRow(3, ledger.CommitRow{}.Marshal()); !errors.Is(err, ledger.ErrIntegrity) {
		t.Errorf("commit row without entries: %v", err)
	}
}

// FuzzBatch: what UnmarshalBatch accepts has exactly one encoding, and its view can be computed.
func FuzzBatch(f *testing.F) {
	for _, b := range sampleBatches(f)[:3] {
		data, err := b.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ledger.UnmarshalBatch(data)
		if err != nil {
			if !errors.Is(err, ledger.ErrIntegrity) {
				t.Fatalf("%v is not an integrity error", err)
			}
			return
		}
		again, err := b.Marshal()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("encoded again it is another batch: %v", err)
		}
		b.KVs()
	})
}

// FuzzRow: a row value that parses has one encoding.
func FuzzRow(f *testing.F) {
	f.Add(ledger.MarshalRow(ledger.Row{Version: 1, Value: []byte("v")}))
	f.Add(ledger.MarshalRow(ledger.Row{Version: 1, Justified: true, JustifiedBy: 9}))
	f.Fuzz(func(t *testing.T, value []byte) {
		if r, err := ledger.ParseRow("k", value); err == nil && !bytes.Equal(ledger.MarshalRow(r), value) {
			t.Fatal("a row has two encodings")
		}
	})
}
