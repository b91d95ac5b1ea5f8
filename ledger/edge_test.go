package ledger_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
)

func TestHashesAgreeWithMerkleAndTlog(t *testing.T) {
	h := rfc6962.DefaultHasher
	if !bytes.Equal(ledger.EmptyRoot[:], h.EmptyRoot()) {
		t.Errorf("empty root %s", ledger.EmptyRoot)
	}
	for _, n := range []int{0, 1, 31, 32, 54, 55, 56, 63, 64, 65, 119, 300, 4096, ledger.MaxEntrySize} {
		entry := bytes.Repeat([]byte{byte(n)}, n)
		leaf := ledger.HashLeaf(entry)
		if !bytes.Equal(leaf[:], h.HashLeaf(entry)) || tlog.RecordHash(entry) != tlog.Hash(leaf) {
			t.Errorf("leaf of %d octets: %s", n, leaf)
		}
		right := testLeaf(uint64(n))
		node := ledger.HashChildren(leaf, right)
		if !bytes.Equal(node[:], h.HashChildren(leaf[:], right[:])) ||
			tlog.NodeHash(tlog.Hash(leaf), tlog.Hash(right)) != tlog.Hash(node) {
			t.Errorf("node: %s", node)
		}
	}
}

// The tree of the Certificate Transparency reference implementation.
//
// Audit rows: 1.
func TestReferenceRoots(t *testing.T) {
	leaves := []string{"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"}
	e := ledger.NewEdge()
	for size, want := range []string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	} {
		if size > 0 {
			e.Append(ledger.HashLeaf(unhex(t, leaves[size-1])))
		}
		if got := e.Root().String(); got != want {
			t.Errorf("root of %d leaves: %s, want %s", size, got, want)
		}
	}
}

func TestHashingDoesNotAllocate(t *testing.T) {
	entry := make([]byte, 3000)
	var sum ledger.Hash
	allocs := testing.AllocsPerRun(100, func() { sum = ledger.HashChildren(ledger.HashLeaf(entry), sum) })
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestEntryID(t *testing.T) {
	leaf := testLeaf(1)
	id := ledger.EntryID(leaf)
	if got, err := ledger.ParseEntryID(id); err != nil || got != leaf {
		t.Errorf("%s: %v, %v", id, got, err)
	}
	for _, bad := range []string{"", id[1:], id + "0", "G" + id[1:], " " + id[1:], "A" + id[1:]} {
		if _, err := ledger.ParseEntryID(bad); !errors.Is(err, ledger.ErrEntryID) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestRootGrowsAsRecomputed: the root that grows leaf by leaf is the one computed from all leaves, at every size, and
// that of nothing is the hash of nothing.
//
// Audit rows: 2, 3.
func TestRootGrowsAsRecomputed(t *testing.T) {
	const largest = 2000
	e := ledger.NewEdge()
	if e.Root() != ledger.EmptyRoot || e.Size() != 0 {
		t.Errorf("empty edge: %s, size %d", e.Root(), e.Size())
	}
	rf := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	ref := rf.NewEmptyRange(0)
	var leaves []ledger.Hash
	for i := range uint64(largest) {
		leaf := testLeaf(i)
		leaves = append(leaves, leaf)
		e.Append(leaf)
		if err := ref.Append(leaf[:], nil); err != nil {
			t.Fatal(err)
		}
		want, err := ref.GetRootHash(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Root(); !bytes.Equal(got[:], want) || got != naiveRoot(leaves) {
			t.Fatalf("root at %d: %s", i+1, got)
		}
		if e.Size() != i+1 {
			t.Fatalf("size %d after %d leaves", e.Size(), i+1)
		}
	}
}

// Every tile agrees with the definition of tlog-tiles: hash n of a tile at level l is the root of 256^l leaves.
func TestTilesOfTheEdge(t *testing.T) {
	tree := newTestTree(0)
	for _, size := range []uint64{1, 255, 256, 257, 511, 512, 600} {
		tree.grow(size)
		if got := tree.edge.Partial(0); !slices.Equal(got, tree.leaves[size/256*256:]) {
			t.Errorf("size %d: %d hashes in the partial tile", size, len(got))
		}
		full, err := ledger.ParseTile(tree.full[[2]uint64{0, 0}], ledger.TileWidth)
		if size >= 256 && (err != nil || !slices.Equal(full, tree.leaves[:256])) {
			t.Errorf("size %d: first tile: %v", size, err)
		}
		var above []ledger.Hash
		for i := range size / 256 {
			above = append(above, naiveRoot(tree.leaves[i*256:(i+1)*256]))
		}
		if got := tree.edge.Partial(1); !slices.Equal(got, above) {
			t.Errorf("size %d: level 1 has %d hashes, want %d", size, len(got), len(above))
		}
	}
	if tree.edge.Partial(-1) != nil || tree.edge.Partial(9) != nil {
		t.Error("hashes at levels that do not exist")
	}
}

func TestLoadedEdgeEqualsAppendedEdge(t *testing.T) {
	tree := newTestTree(0)
	for _, size := range []uint64{
		0, 1, 2, 254, 255, 256, 257, 1023, 65_279, 65_280, 65_281, 65_535, 65_536, 65_537, 65_793,
	} {
		tree.grow(size)
		loaded, err := ledger.LoadEdge(size, tree.fullTile, tree.leaf)
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if loaded.Size() != size || loaded.Root() != tree.edge.Root() {
			t.Fatalf("size %d: loaded root %s, want %s", size, loaded.Root(), tree.edge.Root())
		}
		if loaded.Levels() != tree.edge.Levels() {
			t.Errorf("size %d: %d levels, want %d", size, loaded.Levels(), tree.edge.Levels())
		}
		for level := range tree.edge.Levels() {
			if !slices.Equal(loaded.Partial(level), tree.edge.Partial(level)) {
				t.Errorf("size %d: partial tile at level %d differs", size, level)
			}
		}
		// Both grow alike.
		grown := tree.edge.Clone()
		for i := range uint64(300) {
			a, b := loaded.Append(testLeaf(i)), grown.Append(testLeaf(i))
			if fmt.Sprint(a) != fmt.Sprint(b) {
				t.Fatalf("size %d: completed tiles differ after %d more leaves", size, i+1)
			}
		}
		if loaded.Root() != grown.Root() {
			t.Errorf("size %d: roots differ after growth", size)
		}
	}
}

func TestLoadEdgeReportsDamage(t *testing.T) {
	tree := newTestTree(513)
	broken := errors.New("broken")
	_, err := ledger.LoadEdge(513, tree.fullTile, func(uint64) (ledger.Hash, error) { return ledger.Hash{}, broken })
	if !errors.Is(err, broken) {
		t.Errorf("leaf: %v", err)
	}
	_, err = ledger.LoadEdge(513, func(int, uint64) ([]byte, error) { return nil, broken }, tree.leaf)
	if !errors.Is(err, broken) {
		t.Errorf("tile: %v", err)
	}
	short := func(int, uint64) ([]byte, error) { return make([]byte, ledger.TileSize-1), nil }
	if _, err = ledger.LoadEdge(513, short, tree.leaf); !errors.Is(err, ledger.ErrIntegrity) {
		t.Errorf("short tile: %v", err)
	}
	flipped := func(level int, index uint64) ([]byte, error) {
		data, err := tree.fullTile(level, index)
		data = bytes.Clone(data)
		data[17] ^= 1
		return data, err
	}
	if e, err := ledger.LoadEdge(513, flipped, tree.leaf); err != nil || e.Root() == tree.edge.Root() {
		t.Errorf("flipped bit: same root, %v", err)
	}
}

func TestClonesDoNotDisturbEachOther(t *testing.T) {
	for _, size := range []uint64{0, 1, 100, 255, 256, 511, 700} {
		tree := newTestTree(size)
		base := tree.edge
		view := base.Partial(0)
		before := slices.Clone(view)
		copies := []*ledger.Edge{base, base.Clone(), base.Clone()}
		leaves := [][]ledger.Hash{slices.Clone(tree.leaves), slices.Clone(tree.leaves), slices.Clone(tree.leaves)}
		for i := range uint64(300) {
			var completed [3][]ledger.FullTile
			for j, e := range copies {
				leaf := testLeaf(1000*uint64(j+1) + i)
				leaves[j] = append(leaves[j], leaf)
				completed[j] = e.Append(leaf)
			}
			for j, e := range copies {
				n := len(leaves[j])
				if !slices.Equal(e.Partial(0), leaves[j][n/256*256:]) {
					t.Fatalf("size %d: copy %d: partial tile is not its own after %d leaves", size, j, i+1)
				}
				if len(completed[j]) > 0 && !bytes.Equal(completed[j][0].Hashes, ledger.MarshalTile(leaves[j][n-256:])) {
					t.Fatalf("size %d: copy %d: full tile is not its own after %d leaves", size, j, i+1)
				}
			}
		}
		if !slices.Equal(view, before) {
			t.Errorf("size %d: a view changed", size)
		}
		for j, e := range copies {
			if e.Root() != naiveRoot(leaves[j]) {
				t.Errorf("size %d: copy %d has another tree", size, j)
			}
		}
	}
}

func BenchmarkHashLeaf(b *testing.B) {
	entry := make([]byte, 300)
	b.ReportAllocs()
	for b.Loop() {
		ledger.HashLeaf(entry)
	}
}

func BenchmarkHashChildren(b *testing.B) {
	var l, r ledger.Hash
	b.ReportAllocs()
	for b.Loop() {
		l = ledger.HashChildren(l, r)
	}
}

func BenchmarkEdgeAppend(b *testing.B) {
	e := ledger.NewEdge()
	leaf := testLeaf(0)
	b.ReportAllocs()
	for b.Loop() {
		e.Append(leaf)
	}
}

func BenchmarkEdgeRoot(b *testing.B) {
	e := newTestTree(65_535).edge
	b.ReportAllocs()
	for b.Loop() {
		e.Root()
	}
}

func BenchmarkVerifyInclusion(b *testing.B) {
	tree := newTestTree(65_793)
	path, err := ledger.InclusionPath(40_000, 65_793, tree.tile)
	if err != nil {
		b.Fatal(err)
	}
	leaf, root := tree.leaves[40_000], tree.edge.Root()
	b.ReportAllocs()
	for b.Loop() {
		if err := ledger.VerifyInclusion(leaf, 40_000, 65_793, path, root); err != nil {
			b.Fatal(err)
		}
	}
}
