package ledger

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
)

// ErrProof: a path does not prove what it was given for.
var ErrProof = errors.New("ledger: proof does not verify")

// MaxPath is the most hashes an inclusion or consistency path can have.
const MaxPath = 64

// VerifyInclusion checks that leaf is entry number index of the tree of the given size and root (RFC 9162 2.1.3.2). It
// does not allocate unless it fails.
func VerifyInclusion(leaf Hash, index, size uint64, path []Hash, root Hash) error {
	got, err := RootFromInclusion(leaf, index, size, path)
	if err != nil {
		return err
	}
	if got != root {
		return fmt.Errorf("%w: path leads to another root", ErrProof)
	}
	return nil
}

// RootFromInclusion returns the root that an inclusion path leads to. It refuses an index outside the tree and a path
// of the wrong length.
func RootFromInclusion(leaf Hash, index, size uint64, path []Hash) (Hash, error) {
	if index >= size {
		return Hash{}, fmt.Errorf("%w: index %d in a tree of size %d", ErrProof, index, size)
	}
	inner, border := pathShape(index, size)
	if len(path) != inner+border {
		return Hash{}, fmt.Errorf("%w: path of %d hashes, want %d", ErrProof, len(path), inner+border)
	}
	root := leaf
	for i := range inner {
		root = hashSibling(root, path[i], index>>i&1 == 1)
	}
	for i := inner; i < len(path); i++ {
		root = HashChildren(path[i], root)
	}
	return root, nil
}

// VerifyConsistency checks that the tree of size from and root rootFrom is a prefix of the tree of size to and root
// rootTo (RFC 9162 2.1.4.2). Sizes satisfy 1 <= from <= to: the empty tree is a prefix of everything and proves
// nothing, so it is refused. The path between equal sizes is empty. It does not allocate unless it fails.
func VerifyConsistency(from, to uint64, path []Hash, rootFrom, rootTo Hash) error {
	switch {
	case from == 0 || from > to:
		return fmt.Errorf("%w: sizes %d and %d", ErrProof, from, to)
	case from == to && len(path) > 0:
		return fmt.Errorf("%w: path of %d hashes between equal sizes", ErrProof, len(path))
	case from == to && rootFrom != rootTo:
		return fmt.Errorf("%w: two roots for one size", ErrProof)
	case from == to:
		return nil
	}
	// The path starts at the largest perfect subtree that ends at from; if that is the whole old tree, its root is known
	// and left out.
	inner, border := pathShape(from-1, to)
	shift := bits.TrailingZeros64(from)
	inner -= shift
	want := inner + border
	seed := rootFrom
	if from != 1<<shift {
		want++
	}
	if len(path) != want {
		return fmt.Errorf("%w: path of %d hashes, want %d", ErrProof, len(path), want)
	}
	if from != 1<<shift {
		seed, path = path[0], path[1:]
	}
	index := (from - 1) >> shift
	oldRoot, newRoot := seed, seed
	for i := range inner {
		right := index>>i&1 == 1
		if right {
			oldRoot = HashChildren(path[i], oldRoot)
		}
		newRoot = hashSibling(newRoot, path[i], right)
	}
	for i := inner; i < len(path); i++ {
		oldRoot = HashChildren(path[i], oldRoot)
		newRoot = HashChildren(path[i], newRoot)
	}
	if oldRoot != rootFrom || newRoot != rootTo {
		return fmt.Errorf("%w: path leads to other roots", ErrProof)
	}
	return nil
}

// hashSibling hashes node with its sibling; right says that node is the right child.
func hashSibling(node, sibling Hash, right bool) Hash {
	if right {
		return HashChildren(sibling, node)
	}
	return HashChildren(node, sibling)
}

// pathShape returns the two parts of an inclusion path: inner siblings up to where the paths to index and to the last
// leaf meet, then left siblings along the border.
func pathShape(index, size uint64) (inner, border int) {
	inner = bits.Len64(index ^ (size - 1))
	return inner, bits.OnesCount64(index >> inner)
}

// A TileReader returns the first width hashes of a hash tile. The functions of this file ask for each tile at the width
// it has in the tree they work on, so that a reader can map the request to a tile path. The result is not modified.
type TileReader func(level int, index uint64, width int) ([]Hash, error)

// InclusionPath returns the path for VerifyInclusion, leaf-sibling first. It requires index < size.
func InclusionPath(index, size uint64, tiles TileReader) ([]Hash, error) {
	if index >= size {
		return nil, fmt.Errorf("ledger: no inclusion path for index %d in a tree of size %d", index, size)
	}
	nodes, err := proof.Inclusion(index, size)
	if err != nil {
		return nil, fmt.Errorf("ledger: inclusion path: %w", err)
	}
	return readPath(nodes, size, tiles)
}

// ConsistencyPath returns the path for VerifyConsistency. It requires 1 <= from <= to.
func ConsistencyPath(from, to uint64, tiles TileReader) ([]Hash, error) {
	if from == 0 || from > to {
		return nil, fmt.Errorf("ledger: no consistency path between sizes %d and %d", from, to)
	}
	nodes, err := proof.Consistency(from, to)
	if err != nil {
		return nil, fmt.Errorf("ledger: consistency path: %w", err)
	}
	return readPath(nodes, to, tiles)
}

// RootAt returns the root of the first size leaves.
func RootAt(size uint64, tiles TileReader) (Hash, error) {
	if size == 0 {
		return EmptyRoot, nil
	}
	t := tileCache{size: size, read: tiles}
	var root Hash
	for rest := size; rest != 0; rest &= rest - 1 {
		height := bits.TrailingZeros64(rest)
		peak, err := t.node(compact.NewNodeID(uint(height), rest>>height-1))
		if err != nil {
			return Hash{}, err
		}
		if rest == size {
			root = peak
		} else {
			root = HashChildren(peak, root)
		}
	}
	return root, nil
}

// A NodeReader returns the root of the perfect subtree number index of 2^height leaves, all of which are in the tree.
type NodeReader func(height int, index uint64) (Hash, error)

// InclusionFromNodes is InclusionPath for whoever has the nodes at hand. It requires index < size.
func InclusionFromNodes(index, size uint64, node NodeReader) ([]Hash, error) {
	if index >= size {
		return nil, fmt.Errorf("ledger: no inclusion path for index %d in a tree of size %d", index, size)
	}
	inner, border := pathShape(index, size)
	path := make([]Hash, 0, inner+border)
	for i := range inner {
		sibling := index>>i ^ 1
		var h Hash
		var err error
		if i == inner-1 { // here the paths to index and to the last leaf meet: the right side may be incomplete
			h, err = foldNodes(sibling<<i, size, node)
		} else {
			h, err = node(i, sibling)
		}
		if err != nil {
			return nil, err
		}
		path = append(path, h)
	}
	for i := inner; len(path) < inner+border; i++ {
		if index>>i&1 == 1 {
			h, err := node(i, index>>i-1)
			if err != nil {
				return nil, err
			}
			path = append(path, h)
		}
	}
	return path, nil
}

// RootFromNodes returns the root of the first size leaves.
func RootFromNodes(size uint64, node NodeReader) (Hash, error) {
	if size == 0 {
		return EmptyRoot, nil
	}
	return foldNodes(0, size, node)
}

// foldNodes hashes together the perfect subtrees that cover the leaves from first up to size. There is one at least,
// and first is a multiple of the size of the largest.
func foldNodes(first, size uint64, node NodeReader) (Hash, error) {
	var root Hash
	for rest := size - first; rest != 0; rest &= rest - 1 {
		height := bits.TrailingZeros64(rest)
		peak, err := node(height, (first+rest)>>height-1)
		switch {
		case err != nil:
			return Hash{}, err
		case rest == size-first:
			root = peak
		default:
			root = HashChildren(peak, root)
		}
	}
	return root, nil
}

// readPath fetches the nodes of a path and hashes together those that stand for one incomplete subtree.
func readPath(nodes proof.Nodes, size uint64, tiles TileReader) ([]Hash, error) {
	t := tileCache{size: size, read: tiles}
	_, begin, end := nodes.Ephem()
	path := make([]Hash, 0, len(nodes.IDs))
	for i, id := range nodes.IDs {
		h, err := t.node(id)
		if err != nil {
			return nil, err
		}
		if begin < i && i < end {
			last := &path[len(path)-1]
			*last = HashChildren(h, *last)
			continue
		}
		path = append(path, h)
	}
	return path, nil
}

// tileCache reads nodes out of tiles and keeps the last tile: the nodes of a path come tile by tile.
type tileCache struct {
	size uint64
	read TileReader
	last Tile
	data []Hash
}

// node returns the root of a perfect subtree. A node of height h is the root of 2^(h mod 8) hashes of a tile at level
// h div 8.
func (c *tileCache) node(id compact.NodeID) (Hash, error) {
	level, within := int(id.Level)/tileHeight, int(id.Level)%tileHeight
	first := id.Index << within
	t := Tile{Level: level, Index: first / TileWidth}
	t.Width = t.WidthAt(c.size)
	begin, end := int(first%TileWidth), int(first%TileWidth)+1<<within
	if end > t.Width {
		return Hash{}, fmt.Errorf("ledger: node %d/%d is not in the tree of size %d", id.Level, id.Index, c.size)
	}
	if c.data == nil || t != c.last {
		data, err := c.read(t.Level, t.Index, t.Width)
		if err != nil {
			return Hash{}, fmt.Errorf("ledger: tile %s: %w", t.Path(), err)
		}
		if len(data) != t.Width {
			return Hash{}, fmt.Errorf("ledger: tile %s has %d hashes: %w", t.Path(), len(data), ErrIntegrity)
		}
		c.last, c.data = t, data
	}
	return hashPerfect(c.data[begin:end]), nil
}
