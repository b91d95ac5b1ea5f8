package sequencer_test

import (
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/journal"
	"github.com/mission-authority/mas/ledger/ledgertest"
)

// countingFS counts what is done to the frames of the journal.
type countingFS struct {
	journal.FS
	syncs, writes, octets atomic.Int64
}

func (c *countingFS) OpenFile(name string, flag int) (journal.File, error) {
	f, err := c.FS.OpenFile(name, flag)
	if err != nil || !strings.HasPrefix(filepath.Base(filepath.Dir(name)), "journal") {
		return f, err
	}
	return &countingFile{f, c}, nil
}

type countingFile struct {
	journal.File
	counts *countingFS
}

func (f *countingFile) Sync() error {
	f.counts.syncs.Add(1)
	return f.File.Sync()
}

func (f *countingFile) WriteAt(b []byte, off int64) (int, error) {
	f.counts.writes.Add(1)
	f.counts.octets.Add(int64(len(b)))
	return f.File.WriteAt(b, off)
}

// appends returns n changes of one mission each, an entry and the row that it justifies.
func appends(t testing.TB, keys *ledgertest.Keys, from, n int) []ledger.Change {
	t.Helper()
	changes := make([]ledger.Change, n)
	for i := range changes {
		id := fmt.Sprintf("msn_%032d", (from+i)%7)
		changes[i] = ledger.Change{
			Put:     []ledger.Record{{Key: state(id), Value: make([]byte, 120), JustifiedBy: 0}},
			Entries: []ledger.Entry{keys.Entry(t, id, fmt.Appendf(nil, "%d", from+i))},
		}
	}
	return changes
}

// TestCostOfACommit counts what one commit costs on the disk: one write and one sync of the journal, of hardly more
// octets than what it holds, whether the view has caught up or not. Nothing here depends on the speed of the machine.
//
// Audit rows: 66.
func TestCostOfACommit(t *testing.T) {
	fs := &countingFS{FS: journal.OS}
	opt := badgerstore.Options{Origin: "log.a.example/log/1", FS: fs}.Small()
	opt.SegmentSize = 64 << 20 // a frame that begins a segment costs more, once
	store, err := badgerstore.Open(t.TempDir(), opt)
	if err != nil {
		t.Fatal(err)
	}
	log := ledgertest.NewLog(t, ledgertest.Options{Store: store})
	t.Cleanup(func() {
		if err := log.Stop(); err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	const n = 300
	changes := appends(t, log.Keys, 0, n)
	held := 0
	for _, c := range changes {
		held += len(c.Entries[0].Statement) + len(c.Put[0].Key) + len(c.Put[0].Value)
	}
	syncs, writes, octets := fs.syncs.Load(), fs.writes.Load(), fs.octets.Load()
	for _, c := range changes {
		log.MustCommit(t, c)
	}
	syncs, writes, octets = fs.syncs.Load()-syncs, fs.writes.Load()-writes, fs.octets.Load()-octets
	t.Logf("%d commits: %d syncs, %d writes, %d octets of frames for %d octets", n, syncs, writes, octets, held)
	if syncs != n || writes != n {
		t.Errorf("%d commits took %d writes and %d syncs", n, writes, syncs)
	}
	const overhead = 512 + 512 // head, checkpoint and lengths of a frame, and what is left of its last sector
	if limit := int64(held + n*overhead); octets > limit {
		t.Errorf("frames of %d octets, at most %d", octets, limit)
	}
}

// TestAllocationsOfAnAppend bounds what an append allocates in all goroutines, over both engines.
func TestAllocationsOfAnAppend(t *testing.T) {
	const runs, most = 400, 260
	for _, engine := range []struct {
		name string
		open func() ledger.Store
	}{
		{"memory", ledgertest.NewStore},
		{"badger", func() ledger.Store {
			s, err := badgerstore.Open(t.TempDir(), badgerstore.Options{Origin: "log.a.example/log/1"}.Small())
			if err != nil {
				t.Fatal(err)
			}
			return s
		}},
	} {
		t.Run(engine.name, func(t *testing.T) {
			store := engine.open()
			log := ledgertest.NewLog(t, ledgertest.Options{Store: store})
			changes, next := appends(t, log.Keys, 0, runs+1), 0 // one more: AllocsPerRun warms up
			got := testing.AllocsPerRun(runs, func() {
				log.MustCommit(t, changes[next])
				next++
			})
			t.Logf("%.0f allocations an append, one at a time", got)
			if got > most {
				t.Errorf("%.0f allocations an append, at most %d", got, most)
			}
			if err := log.Stop(); err != nil {
				t.Error(err)
			}
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// readCounter counts what is read from a store.
type readCounter struct {
	ledger.Store
	gets, iterations, keys atomic.Int64
}

func (c *readCounter) Snapshot() (ledger.Snapshot, error) {
	s, err := c.Store.Snapshot()
	return countedSnapshot{s, c}, err
}

type countedSnapshot struct {
	ledger.Snapshot
	counts *readCounter
}

func (s countedSnapshot) Get(key []byte) ([]byte, error) {
	s.counts.gets.Add(1)
	return s.Snapshot.Get(key)
}

func (s countedSnapshot) Iterate(prefix, start []byte) iter.Seq2[ledger.KV, error] {
	s.counts.iterations.Add(1)
	return func(yield func(ledger.KV, error) bool) {
		for kv, err := range s.Snapshot.Iterate(prefix, start) {
			s.counts.keys.Add(1)
			if !yield(kv, err) {
				return
			}
		}
	}
}

// TestCommitsStayFlat: a commit reads no more from the store of a large log than from that of a small one: one look for
// a duplicate of each entry, and none for rows that were written before.
func TestCommitsStayFlat(t *testing.T) {
	counted := &readCounter{Store: ledgertest.NewStore()}
	log := ledgertest.NewLog(t, ledgertest.Options{Store: counted})
	const n = 50
	cost := func(from int) [3]int64 {
		changes := appends(t, log.Keys, from, n)
		before := [3]int64{counted.gets.Load(), counted.iterations.Load(), counted.keys.Load()}
		for _, c := range changes {
			log.MustCommit(t, c)
		}
		return [3]int64{
			counted.gets.Load() - before[0], counted.iterations.Load() - before[1], counted.keys.Load() - before[2],
		}
	}
	cost(0) // each row is looked for once
	small := cost(n)
	for from := 2 * n; from < 3000; from += 200 {
		var entries []ledger.Entry
		for _, c := range appends(t, log.Keys, from, 200) {
			entries = append(entries, c.Entries...)
		}
		log.MustCommit(t, ledger.Change{Entries: entries})
	}
	large := cost(4000)
	t.Logf("%d commits at %d entries and at 3,000: gets, iterations and keys %v and %v", n, n, small, large)
	if small != large || large[0] > n || large[1] != 0 {
		t.Errorf("reads of %d commits: %v in a small log, %v in a large one", n, small, large)
	}
}

// TestOrderOfArrival: entries get the next indexes in the order in which their changes arrived, without a gap, and
// refused changes and duplicates take none.
//
// Audit rows: 65.
func TestOrderOfArrival(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	b.MustCommit(t, put("x", nil))
	var changes []ledger.Change
	for i, c := range appends(t, b.Keys, 0, 12) {
		switch i {
		case 3, 7: // an earlier one again: a duplicate
			c = changes[i-3]
		case 5: // refused
			c.Expect = []ledger.Precondition{ledger.Absent("x")}
		}
		changes = append(changes, c)
	}
	next := b.MustView(t).Head().Size
	for i, a := range b.together(t, changes...) {
		switch {
		case i == 5:
			wantErr(t, a.err, ledger.ErrConflict)
		case a.err != nil:
			t.Fatal(a.err)
		case a.Results[0].Duplicate != (i == 3 || i == 7):
			t.Errorf("change %d: %+v", i, a.Results[0])
		case !a.Results[0].Duplicate:
			if a.Results[0].Index != next {
				t.Errorf("change %d is entry %d, want %d", i, a.Results[0].Index, next)
			}
			next++
		}
	}
	if size := b.MustView(t).Head().Size; size != next {
		t.Errorf("size %d, want %d", size, next)
	}
}

// TestTilesAgreeWithWhatCameBefore: a partial tile is the prefix of what it becomes, and the entries of a bundle hash
// to the tile of level 0 beside it.
//
// Audit rows: 12, 14.
func TestTilesAgreeWithWhatCameBefore(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	var before []ledger.Hash
	for _, size := range []uint64{1, 2, 40, 200, 255, 256, 300, 511, 512, 513} {
		fill(t, b, size)
		v := b.MustView(t)
		var all []ledger.Hash
		for index := uint64(0); index<<8 < size; index++ {
			tile := ledger.Tile{Index: index, Width: ledger.TileWidth}
			width := tile.WidthAt(size)
			hashes, err := v.Tile(0, index, width)
			if err != nil {
				t.Fatal(err)
			}
			var raws [][]byte
			for i := range width {
				e, err := v.Entry(index<<8 + uint64(i))
				if err != nil {
					t.Fatal(err)
				}
				raws = append(raws, e.Statement)
			}
			data, err := ledger.MarshalBundle(raws)
			if err != nil {
				t.Fatal(err)
			}
			bundle, err := ledger.ParseBundle(data, width)
			if err != nil {
				t.Fatal(err)
			}
			for i := range bundle {
				if ledger.HashLeaf(bundle[i]) != hashes[i] {
					t.Fatalf("entry %d of bundle %d does not hash to its tile at size %d", i, index, size)
				}
			}
			all = append(all, hashes...)
		}
		if !slices.Equal(all[:len(before)], before) || uint64(len(all)) != size {
			t.Fatalf("the tiles of %d entries do not begin with those of %d", size, len(before))
		}
		before = slices.Clone(all)
	}
}
