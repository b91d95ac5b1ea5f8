package ledger

import (
	"errors"
	"fmt"
	"math/bits"
)

// A FullTile is a tile that has just received its last hash and will never change.
type FullTile struct {
	Level  int
	Index  uint64
	Hashes []byte // TileWidth hashes, 8192 octets: the content served at its tile path
}

// An Edge is the right edge of the tree: what is needed to append a leaf and to compute the root, and every hash that
// is not yet in a full tile. It is not safe for concurrent use; hand out a Clone.
//
// Appending costs one node hash on average, the root one node hash per set bit of the size.
type Edge struct {
	size uint64
	// peaks[h] is the root of the perfect subtree of 2^h leaves at the right edge, valid if bit h of size is set.
	peaks [64]Hash
	// partial[l] holds the 0..255 hashes of the partial tile at level l. Elements below len are never rewritten, so
	// slices of it may be shared.
	partial [][]Hash
}

// NewEdge returns the edge of the empty tree.
func NewEdge() *Edge { return &Edge{} }

// Size returns the number of leaves.
func (e *Edge) Size() uint64 { return e.size }

// Append adds a leaf and returns the tiles it completed, lowest level first; most of the time there are none.
func (e *Edge) Append(leaf Hash) []FullTile {
	var completed []FullTile
	node, height := leaf, 0
	for ; ; height++ {
		if height%tileHeight == 0 {
			if t, full := e.appendToTile(height/tileHeight, node); full {
				completed = append(completed, t)
			}
		}
		if e.size>>height&1 == 0 {
			break
		}
		node = HashChildren(e.peaks[height], node)
	}
	e.peaks[height] = node
	e.size++
	return completed
}

// appendToTile adds a hash to the partial tile of a level and reports whether that filled the tile, which it then
// replaces with an empty one.
func (e *Edge) appendToTile(level int, h Hash) (FullTile, bool) {
	if level == len(e.partial) {
		e.partial = append(e.partial, nil)
	}
	p := e.partial[level]
	if len(p) == cap(p) {
		grown := make([]Hash, len(p), TileWidth)
		copy(grown, p)
		p = grown
	}
	p = append(p, h)
	if len(p) < TileWidth {
		e.partial[level] = p
		return FullTile{}, false
	}
	e.partial[level] = nil
	// The leaf being appended is number e.size; it closes the tile that covers it.
	index := e.size >> (tileHeight * (level + 1))
	return FullTile{Level: level, Index: index, Hashes: MarshalTile(p)}, true
}

// Root returns the Merkle tree hash of all leaves.
func (e *Edge) Root() Hash {
	if e.size == 0 {
		return EmptyRoot
	}
	height := bits.TrailingZeros64(e.size)
	root := e.peaks[height]
	for rest := e.size &^ (1 << height); rest != 0; rest &= rest - 1 {
		root = HashChildren(e.peaks[bits.TrailingZeros64(rest)], root)
	}
	return root
}

// Partial returns the hashes of the partial tile at level, 0 to 255 of them, empty if the level has none. The slice
// must not be modified; it stays as it is when the edge grows.
func (e *Edge) Partial(level int) []Hash {
	if level < 0 || level >= len(e.partial) {
		return nil
	}
	p := e.partial[level]
	return p[:len(p):len(p)]
}

// Node returns the root of the perfect subtree number index of 2^height leaves, if its hashes are in the partial tile
// of their level; ErrNotFound if not.
func (e *Edge) Node(height int, index uint64) (Hash, error) {
	if e.size>>height&1 == 1 && index == e.size>>height-1 {
		return e.peaks[height], nil // the nodes of most paths and of every root
	}
	level, within := height/tileHeight, height%tileHeight
	hashes := e.Partial(level)
	first := index << within
	full := e.size >> (tileHeight * level) / TileWidth * TileWidth // hashes of the level that are in full tiles
	if first < full || first+1<<within > full+uint64(len(hashes)) {
		return Hash{}, fmt.Errorf("ledger: node %d/%d is not at the edge of size %d: %w", height, index, e.size, ErrNotFound)
	}
	return hashPerfect(hashes[first-full : first-full+1<<within]), nil
}

// Levels returns the number of tile levels that hold at least one hash, in full tiles or in the partial one.
func (e *Edge) Levels() int { return len(e.partial) }

// Clone returns an independent copy. It shares hashes and copies a partial tile only when the clone grows.
func (e *Edge) Clone() *Edge {
	c := &Edge{size: e.size, peaks: e.peaks, partial: make([][]Hash, len(e.partial))}
	for l := range e.partial {
		c.partial[l] = e.Partial(l)
	}
	return c
}

// LoadEdge rebuilds the edge of a tree of the given size from stored data: fullTile returns the 8192 octets of a full
// tile, leaf the leaf hash of an entry. It reads at most 255 leaves, the entries after the last full tile, and at most
// 255 full tiles a level.
//
// Nothing proves the data here: compare Root with the recorded head before use.
func LoadEdge(size uint64, fullTile func(level int, index uint64) ([]byte, error),
	leaf func(index uint64) (Hash, error)) (*Edge, error) {
	e := &Edge{size: size}
	for level := 0; ; level++ {
		nodes := size >> (tileHeight * level) // complete nodes at the bottom of this tile level
		if nodes == 0 {
			return e, nil
		}
		width := nodes % TileWidth
		p := make([]Hash, 0, TileWidth)
		for i := nodes - width; i < nodes; i++ {
			h, err := loadNode(level, i, fullTile, leaf)
			if err != nil {
				return nil, err
			}
			p = append(p, h)
		}
		e.partial = append(e.partial, p)
		for rest := p; len(rest) > 0; {
			b := bits.Len(uint(len(rest))) - 1
			e.peaks[tileHeight*level+b] = hashPerfect(rest[:1<<b])
			rest = rest[1<<b:]
		}
	}
}

// loadNode returns the hash number index of a tile level: a leaf, or the root of a full tile one level below.
func loadNode(level int, index uint64, fullTile func(int, uint64) ([]byte, error),
	leaf func(uint64) (Hash, error)) (Hash, error) {
	if level == 0 {
		h, err := leaf(index)
		if err != nil {
			return Hash{}, fmt.Errorf("ledger: leaf %d: %w", index, err)
		}
		return h, nil
	}
	data, err := fullTile(level-1, index)
	if err != nil {
		return Hash{}, fmt.Errorf("ledger: tile %d/%d: %w", level-1, index, err)
	}
	hashes, err := ParseTile(data, TileWidth)
	if err != nil {
		return Hash{}, fmt.Errorf("ledger: tile %d/%d: %w", level-1, index, errors.Join(ErrIntegrity, err))
	}
	return hashPerfect(hashes), nil
}
