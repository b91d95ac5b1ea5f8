package ledgertest

import (
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
)

// A Chain makes batches that follow each other, as the sequencer would hand them to a Store.
type Chain struct {
	Keys *Keys
	Head ledger.Head // what the next batch follows

	t    testing.TB
	edge *ledger.Edge
	at   time.Time
}

// NewChain starts a chain on an empty store with this head.
func NewChain(t testing.TB, head ledger.Head) *Chain {
	t.Helper()
	if head.Seq != 0 || head.Size != 0 {
		t.Fatalf("an empty store is at group %d, size %d", head.Seq, head.Size)
	}
	return &Chain{
		Keys: NewKeys(t, "log.a.example/log/1"), Head: head, t: t, edge: ledger.NewEdge(),
		at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

// Next returns the next batch and advances the chain. Its rows need no version: they get 1.
func (c *Chain) Next(rows []ledger.Row, bodies []ledger.SealedBody, entries ...ledger.Entry) *ledger.Batch {
	c.t.Helper()
	c.at = c.at.Add(time.Second)
	b := &ledger.Batch{First: c.edge.Size(), Rows: rows, Bodies: bodies}
	for i := range entries {
		st, err := ledger.ParseStatement(entries[i].Statement)
		if err != nil {
			c.t.Fatal(err)
		}
		e := ledger.BatchEntry{Raw: st.Raw, Leaf: st.Leaf(), Subject: st.Subject, Dedup: ledger.DedupKey(st)}
		b.Entries = append(b.Entries, e)
		b.Tiles = append(b.Tiles, c.edge.Append(e.Leaf)...)
	}
	for i := range rows {
		rows[i].Version = max(1, rows[i].Version)
	}
	b.Head = ledger.Head{Seq: c.Head.Seq + 1, Size: c.edge.Size(), Root: c.edge.Root(), Epoch: c.Head.Epoch, At: c.at}
	var err error
	b.Checkpoint, err = ledger.SignCheckpoint(
		ledger.Checkpoint{Origin: c.Keys.Origin, Size: b.Head.Size, Root: b.Head.Root}, c.Keys.Checkpoint)
	if err != nil {
		c.t.Fatal(err)
	}
	c.Head = b.Head
	return b
}
