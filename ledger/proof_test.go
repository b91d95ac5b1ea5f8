package ledger_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
)

// testLeaf is the leaf hash of test entry i.
func testLeaf(i uint64) ledger.Hash {
	return ledger.HashLeaf(binary.BigEndian.AppendUint64([]byte("entry "), i))
}

// naiveRoot is MTH of RFC 6962 2.1, as the definition has it.
func naiveRoot(leaves []ledger.Hash) ledger.Hash {
	switch n := len(leaves); n {
	case 0:
		return ledger.EmptyRoot
	case 1:
		return leaves[0]
	default:
		k := 1 << (bits.Len(uint(n-1)) - 1)
		return ledger.HashChildren(naiveRoot(leaves[:k]), naiveRoot(leaves[k:]))
	}
}

// testTree holds every tile of a tree of test leaves.
type testTree struct {
	edge   *ledger.Edge
	leaves []ledger.Hash
	full   map[[2]uint64][]byte
}

func newTestTree(size uint64) *testTree {
	t := &testTree{edge: ledger.NewEdge(), full: map[[2]uint64][]byte{}}
	t.grow(size)
	return t
}

func (t *testTree) grow(size uint64) {
	for i := t.edge.Size(); i < size; i++ {
		leaf := testLeaf(i)
		t.leaves = append(t.leaves, leaf)
		for _, f := range t.edge.Append(leaf) {
			t.full[[2]uint64{uint64(f.Level), f.Index}] = f.Hashes
		}
	}
}

// tile implements ledger.TileReader over full tiles and the edge.
func (t *testTree) tile(level int, index uint64, width int) ([]ledger.Hash, error) {
	if data, ok := t.full[[2]uint64{uint64(level), index}]; ok {
		hashes, err := ledger.ParseTile(data, ledger.TileWidth)
		return hashes[:width], err
	}
	p := t.edge.Partial(level)
	if want := t.edge.Size() >> (8 * (level + 1)); index != want || len(p) < width {
		return nil, errors.New("no such tile")
	}
	return p[:width], nil
}

func (t *testTree) fullTile(level int, index uint64) ([]byte, error) {
	if data, ok := t.full[[2]uint64{uint64(level), index}]; ok {
		return data, nil
	}
	return nil, ledger.ErrNotFound
}

func (t *testTree) leaf(index uint64) (ledger.Hash, error) { return t.leaves[index], nil }

func slices32(path []ledger.Hash) [][]byte {
	out := make([][]byte, len(path))
	for i := range path {
		out[i] = path[i][:]
	}
	return out
}

// flipBits calls f with every single-bit flip of h.
func flipBits(h *ledger.Hash, f func()) {
	for i := range len(h) * 8 {
		h[i/8] ^= 1 << (i % 8)
		f()
		h[i/8] ^= 1 << (i % 8)
	}
}

// Audit rows: 4, 6.
func TestInclusionOfEveryIndexAndSize(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine: the run without the race detector has it")
	}
	const largest = 300
	tree := newTestTree(largest)
	for size := uint64(1); size <= largest; size++ {
		root := naiveRoot(tree.leaves[:size])
		if got, err := ledger.RootAt(size, tree.tile); err != nil || got != root {
			t.Fatalf("RootAt(%d) = %s, %v", size, got, err)
		}
		for index := range size {
			path, err := ledger.InclusionPath(index, size, tree.tile)
			if err != nil {
				t.Fatal(err)
			}
			leaf := tree.leaves[index]
			if err := ledger.VerifyInclusion(leaf, index, size, path, root); err != nil {
				t.Fatalf("%d@%d: %v", index, size, err)
			}
			if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, size, leaf[:], slices32(path), root[:]); err != nil {
				t.Fatalf("%d@%d: merkle: %v", index, size, err)
			}
			// A wrong index is refused. A wrong size may give the same computation: it is the checkpoint that binds a root
			// to its size. merkle agrees.
			for _, wrong := range [][2]uint64{
				{index + 1, size}, {index - 1, size}, {index, size + 1}, {index, size - 1}, {index, 0},
			} {
				ours := ledger.VerifyInclusion(leaf, wrong[0], wrong[1], path, root)
				if ours == nil && wrong[1] == size {
					t.Fatalf("%d@%d accepted at index %d", index, size, wrong[0])
				}
				if size > 64 {
					continue
				}
				theirs := proof.VerifyInclusion(rfc6962.DefaultHasher, wrong[0], wrong[1], leaf[:], slices32(path), root[:])
				if (ours == nil) != (theirs == nil) {
					t.Fatalf("%d@%d as %v: %v, merkle %v", index, size, wrong, ours, theirs)
				}
			}
			for i := range path {
				bit := (index*7 + size*13 + uint64(i)) % 256
				path[i][bit/8] ^= 1 << (bit % 8)
				if ledger.VerifyInclusion(leaf, index, size, path, root) == nil {
					t.Fatalf("%d@%d: flipped bit %d of hash %d accepted", index, size, bit, i)
				}
				path[i][bit/8] ^= 1 << (bit % 8)
			}
			for _, wrong := range [][]ledger.Hash{append(path[:len(path):len(path)], leaf), path[:max(len(path)-1, 0)]} {
				if len(wrong) == len(path) {
					continue
				}
				if err := ledger.VerifyInclusion(leaf, index, size, wrong, root); !errors.Is(err, ledger.ErrProof) {
					t.Fatalf("%d@%d with a path of %d hashes: %v", index, size, len(wrong), err)
				}
			}
		}
	}
}

// Audit rows: 4.
func TestInclusionRefusesEveryFlippedBit(t *testing.T) {
	tree := newTestTree(300)
	for size := uint64(1); size <= 300; size++ {
		if size > 20 && size%61 > 1 && size&(size-1) != 0 {
			continue
		}
		root := naiveRoot(tree.leaves[:size])
		// All indexes of small trees, and the shapes at both ends of some larger ones.
		for index := range size {
			if size > 20 && index > 0 && index+2 < size && index != size/2 {
				continue
			}
			path, err := ledger.InclusionPath(index, size, tree.tile)
			if err != nil {
				t.Fatal(err)
			}
			leaf := tree.leaves[index]
			refused := func() {
				if ledger.VerifyInclusion(leaf, index, size, path, root) == nil {
					t.Fatalf("%d@%d: flipped bit accepted", index, size)
				}
			}
			flipBits(&leaf, refused)
			flipBits(&root, refused)
			for i := range path {
				flipBits(&path[i], refused)
			}
		}
	}
}

// Audit rows: 5.
func TestConsistencyOfEveryPair(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine: the run without the race detector has it")
	}
	const largest = 300
	tree := newTestTree(largest)
	roots := make([]ledger.Hash, largest+1)
	for size := range roots {
		roots[size] = naiveRoot(tree.leaves[:size])
	}
	for to := uint64(1); to <= largest; to++ {
		for from := uint64(1); from <= to; from++ {
			path, err := ledger.ConsistencyPath(from, to, tree.tile)
			if err != nil {
				t.Fatal(err)
			}
			if err := ledger.VerifyConsistency(from, to, path, roots[from], roots[to]); err != nil {
				t.Fatalf("%d-%d: %v", from, to, err)
			}
			err = proof.VerifyConsistency(rfc6962.DefaultHasher, from, to, slices32(path), roots[from][:], roots[to][:])
			if err != nil {
				t.Fatalf("%d-%d: merkle: %v", from, to, err)
			}
			refuse := func(what string, path []ledger.Hash, a, b ledger.Hash) {
				t.Helper()
				if err := ledger.VerifyConsistency(from, to, path, a, b); !errors.Is(err, ledger.ErrProof) {
					t.Fatalf("%d-%d with %s: %v", from, to, what, err)
				}
			}
			refuse("a longer path", append(path[:len(path):len(path)], roots[1]), roots[from], roots[to])
			refuse("another old root", path, roots[from-1], roots[to])
			refuse("another new root", path, roots[from], roots[to-1])
			if from == to {
				continue
			}
			refuse("a shorter path", path[1:], roots[from], roots[to])
			refuse("roots swapped", path, roots[to], roots[from])
			if last := len(path) - 1; last > 0 {
				path[0], path[last] = path[last], path[0]
				refuse("a permuted path", path, roots[from], roots[to])
				path[0], path[last] = path[last], path[0]
			}
			for i := range path {
				bit := (from*7 + to*13 + uint64(i)) % 256
				path[i][bit/8] ^= 1 << (bit % 8)
				refuse("a flipped bit", path, roots[from], roots[to])
				path[i][bit/8] ^= 1 << (bit % 8)
			}
		}
	}
	if err := ledger.VerifyConsistency(0, 5, nil, ledger.EmptyRoot, roots[5]); !errors.Is(err, ledger.ErrProof) {
		t.Errorf("from the empty tree: %v", err)
	}
	if err := ledger.VerifyConsistency(0, 5, nil, roots[5], roots[5]); !errors.Is(err, ledger.ErrProof) {
		t.Errorf("from size 0 with the root of size 5: %v", err)
	}
	if err := ledger.VerifyConsistency(6, 5, nil, roots[6], roots[5]); !errors.Is(err, ledger.ErrProof) {
		t.Errorf("backwards: %v", err)
	}
}

// Audit rows: 6.
func TestPathsOutsideTheTreeAreRefused(t *testing.T) {
	tree := newTestTree(10)
	if _, err := ledger.InclusionPath(10, 10, tree.tile); err == nil {
		t.Error("index = size")
	}
	if _, err := ledger.InclusionPath(0, 0, tree.tile); err == nil {
		t.Error("empty tree")
	}
	if _, err := ledger.ConsistencyPath(0, 10, tree.tile); err == nil {
		t.Error("from 0")
	}
	if _, err := ledger.ConsistencyPath(11, 10, tree.tile); err == nil {
		t.Error("backwards")
	}
	if _, err := ledger.InclusionPath(3, 11, tree.tile); err == nil {
		t.Error("a tree larger than the tiles")
	}
	short := func(int, uint64, int) ([]ledger.Hash, error) { return nil, nil }
	if _, err := ledger.RootAt(10, short); !errors.Is(err, ledger.ErrIntegrity) {
		t.Errorf("short tile: %v", err)
	}
	if root, err := ledger.RootAt(0, short); err != nil || root != ledger.EmptyRoot {
		t.Errorf("RootAt(0) = %s, %v", root, err)
	}
}

// Paths across tile levels, where nodes come out of tiles of level 1 and 2.
func TestPathsOfALargeTree(t *testing.T) {
	const size = 65_536 + 256 + 3
	tree := newTestTree(size)
	root := tree.edge.Root()
	if got, err := ledger.RootAt(size, tree.tile); err != nil || got != root {
		t.Fatalf("RootAt = %s, %v, want %s", got, err, root)
	}
	for _, index := range []uint64{0, 1, 255, 256, 40_000, 65_535, 65_536, 65_791, 65_792, size - 1} {
		path, err := ledger.InclusionPath(index, size, tree.tile)
		if err != nil {
			t.Fatal(err)
		}
		if err := ledger.VerifyInclusion(tree.leaves[index], index, size, path, root); err != nil {
			t.Errorf("%d: %v", index, err)
		}
		p := make(tlog.RecordProof, len(path))
		for i := range path {
			p[i] = tlog.Hash(path[i])
		}
		if err := tlog.CheckRecord(p, size, tlog.Hash(root), int64(index), tlog.Hash(tree.leaves[index])); err != nil {
			t.Errorf("%d: tlog: %v", index, err)
		}
	}
	for _, from := range []uint64{1, 255, 256, 257, 65_535, 65_536, 65_537, size - 1, size} {
		old, err := ledger.RootAt(from, tree.tile)
		if err != nil {
			t.Fatal(err)
		}
		path, err := ledger.ConsistencyPath(from, size, tree.tile)
		if err != nil {
			t.Fatal(err)
		}
		if err := ledger.VerifyConsistency(from, size, path, old, root); err != nil {
			t.Errorf("from %d: %v", from, err)
		}
		p := make(tlog.TreeProof, len(path))
		for i := range path {
			p[i] = tlog.Hash(path[i])
		}
		if err := tlog.CheckTree(p, size, tlog.Hash(root), int64(from), tlog.Hash(old)); err != nil {
			t.Errorf("from %d: tlog: %v", from, err)
		}
	}
}

func TestVerificationDoesNotAllocate(t *testing.T) {
	tree := newTestTree(300)
	root := tree.edge.Root()
	old := naiveRoot(tree.leaves[:77])
	in, err1 := ledger.InclusionPath(123, 300, tree.tile)
	con, err2 := ledger.ConsistencyPath(77, 300, tree.tile)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	allocs := testing.AllocsPerRun(100, func() {
		if ledger.VerifyInclusion(tree.leaves[123], 123, 300, in, root) != nil ||
			ledger.VerifyConsistency(77, 300, con, old, root) != nil {
			t.Fatal("proof refused")
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// hashes decodes hex hashes of a vector; ok is false if one is not 32 octets long.
func hashes(t *testing.T, list []string) (out []ledger.Hash, ok bool) {
	t.Helper()
	for _, s := range list {
		b := unhex(t, s)
		if len(b) != ledger.HashSize {
			return nil, false
		}
		out = append(out, ledger.Hash(b))
	}
	return out, true
}

func TestProofVectors(t *testing.T) {
	_, cases := readVectors(t)
	ran := map[string]int{}
	for _, c := range cases {
		var in struct {
			Leaves []string `json:"leaf_inputs_hex"`
			Leaf   string   `json:"leaf_input_hex"`
			Index  uint64   `json:"index"`
			Size   uint64   `json:"size"`
			Size1  uint64   `json:"size1"`
			Size2  uint64   `json:"size2"`
			Path   []string `json:"path_hex"`
			Root   string   `json:"root_hex"`
			Root1  string   `json:"root1_hex"`
			Root2  string   `json:"root2_hex"`
		}
		if c.Kind != "inclusion" && c.Kind != "consistency" && c.Kind != "rfc6962-root" {
			continue
		}
		ran[c.Kind]++
		var want string
		if err := errors.Join(json.Unmarshal(c.Input, &in), json.Unmarshal(c.Expected, &want)); err != nil {
			t.Fatal(err)
		}
		got := "reject"
		path, ok := hashes(t, in.Path)
		switch c.Kind {
		case "rfc6962-root":
			e := ledger.NewEdge()
			for _, l := range in.Leaves {
				e.Append(ledger.HashLeaf(unhex(t, l)))
			}
			got = e.Root().String()
		case "inclusion":
			leaf := ledger.HashLeaf(unhex(t, in.Leaf))
			if ok && ledger.VerifyInclusion(leaf, in.Index, in.Size, path, unhash(t, in.Root)) == nil {
				got = "accept"
			}
		case "consistency":
			if ok && ledger.VerifyConsistency(in.Size1, in.Size2, path, unhash(t, in.Root1), unhash(t, in.Root2)) == nil {
				got = "accept"
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", c.Name, got, want)
		}
	}
	if ran["inclusion"] < 38 || ran["consistency"] < 9 || ran["rfc6962-root"] < 5 {
		t.Errorf("ran %v", ran)
	}
}

// TestPathsFromNodes: paths and roots made from nodes are those made from tiles, for every index and size.
func TestPathsFromNodes(t *testing.T) {
	const most = 600
	var leaves []ledger.Hash
	edges := []*ledger.Edge{ledger.NewEdge()}
	for i := range most {
		leaves = append(leaves, ledger.HashLeaf(fmt.Appendf(nil, "%d", i)))
		e := edges[i].Clone()
		e.Append(leaves[i])
		edges = append(edges, e)
	}
	node := func(height int, index uint64) (ledger.Hash, error) { // the root of the leaves below
		level := slices.Clone(leaves[index<<height : (index+1)<<height])
		for len(level) > 1 {
			for i := range len(level) / 2 {
				level[i] = ledger.HashChildren(level[2*i], level[2*i+1])
			}
			level = level[:len(level)/2]
		}
		return level[0], nil
	}
	for size := uint64(1); size <= most; size += 1 + size/50 {
		want := edges[size].Root()
		if root, err := ledger.RootFromNodes(size, node); err != nil || root != want {
			t.Fatalf("root at %d is %s, want %s: %v", size, root, want, err)
		}
		for index := uint64(0); index < size; index += 1 + size/40 {
			path, err := ledger.InclusionFromNodes(index, size, node)
			if err != nil {
				t.Fatal(err)
			}
			if err := ledger.VerifyInclusion(leaves[index], index, size, path, want); err != nil {
				t.Fatalf("%d in %d: %v", index, size, err)
			}
		}
		for height := range 8 { // the edge knows the nodes of its partial tile, and only those
			for index := size / 256 * 256 >> height; index<<height < size; index++ {
				got, err := edges[size].Node(height, index)
				if whole := (index+1)<<height <= size; !whole {
					if err == nil {
						t.Fatalf("the edge of %d has node %d/%d", size, height, index)
					}
					continue
				}
				if want, _ := node(height, index); err != nil || got != want {
					t.Fatalf("node %d/%d of the edge of %d: %v", height, index, size, err)
				}
			}
		}
		if size >= 256 {
			if _, err := edges[size].Node(0, 0); err == nil {
				t.Fatalf("the edge of %d has a node of a full tile", size)
			}
		}
	}
	if _, err := ledger.InclusionFromNodes(3, 3, node); err == nil {
		t.Error("a path for an index outside the tree")
	}
	broken := errors.New("broken")
	fail := func(int, uint64) (ledger.Hash, error) { return ledger.Hash{}, broken }
	if _, err := ledger.InclusionFromNodes(1, 3, fail); !errors.Is(err, broken) {
		t.Errorf("error of a node: %v", err)
	}
	if _, err := ledger.RootFromNodes(3, fail); !errors.Is(err, broken) {
		t.Errorf("error of a node: %v", err)
	}
}
