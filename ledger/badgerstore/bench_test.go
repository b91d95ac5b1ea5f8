package badgerstore_test

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
)

// BenchmarkApply applies batches of n entries of 300 octets: journal, sync, Badger. One operation is one batch.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("entries=%d", n), func(b *testing.B) {
			s, err := badgerstore.Open(b.TempDir(), badgerstore.Options{Origin: "bench"})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			edge := ledger.NewEdge()
			head := s.Head()
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				batch := benchBatch(edge, head, n)
				b.StartTimer()
				if err := s.Apply(b.Context(), batch, head); err != nil {
					b.Fatal(err)
				}
				head = batch.Head
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// benchBatch makes a batch of random entries, as the sequencer would hand it over. The entries are not statements:
// applying does not parse them.
func benchBatch(edge *ledger.Edge, head ledger.Head, n int) *ledger.Batch {
	batch := &ledger.Batch{First: edge.Size(), Checkpoint: make([]byte, 200)}
	for i := range n {
		raw := make([]byte, 300)
		_, _ = rand.Read(raw)
		e := ledger.BatchEntry{Raw: raw, Leaf: ledger.HashLeaf(raw), Subject: fmt.Sprintf("s%d", i%100)}
		_, _ = rand.Read(e.Dedup[:])
		batch.Entries = append(batch.Entries, e)
		batch.Tiles = append(batch.Tiles, edge.Append(e.Leaf)...)
	}
	batch.Head = ledger.Head{Seq: head.Seq + 1, Size: edge.Size(), Root: edge.Root(), Epoch: head.Epoch,
		At: time.UnixMilli(int64(head.Seq))}
	return batch
}
