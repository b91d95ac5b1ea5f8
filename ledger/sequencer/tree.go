package sequencer

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/mission-authority/mas/ledger"
)

// tile is a verified full tile with the nodes above its hashes, which are computed when they are first needed.
type tile struct {
	hashes [ledger.TileWidth]ledger.Hash
	above  atomic.Pointer[[ledger.TileWidth - 1]ledger.Hash]
}

// nodes returns the nodes above the hashes: 128 of height 1, 64 of height 2, up to the root of height 8.
func (t *tile) nodes() *[ledger.TileWidth - 1]ledger.Hash {
	if n := t.above.Load(); n != nil {
		return n
	}
	n := new([ledger.TileWidth - 1]ledger.Hash)
	for i := range ledger.TileWidth / 2 {
		n[i] = ledger.HashChildren(t.hashes[2*i], t.hashes[2*i+1])
	}
	for i := ledger.TileWidth / 2; i < len(n); i++ {
		below := 2 * (i - ledger.TileWidth/2)
		n[i] = ledger.HashChildren(n[below], n[below+1])
	}
	t.above.Store(n)
	return n
}

// node returns the node number i of a height, 0 to 8, within the tile.
func (t *tile) node(height int, i uint64) ledger.Hash {
	if height == 0 {
		return t.hashes[i]
	}
	return t.nodes()[ledger.TileWidth-2*ledger.TileWidth>>height+int(i)]
}

// root is the node that the tile's hashes lead to.
func (t *tile) root() ledger.Hash { return t.nodes()[ledger.TileWidth-2] }

// tiles holds verified full tiles: all of level 1 and above, which are few (25 MB at 10^8 entries), and those of
// level 0 that were completed or read last.
type tiles struct {
	level0 *recent[uint64, *tile]
	mu     sync.RWMutex
	upper  [8][]*tile // by level and index; [0] stays empty
}

// get returns a full tile if it is in memory.
func (t *tiles) get(level int, index uint64) *tile {
	if level == 0 {
		return t.level0.use(index)
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if index < uint64(len(t.upper[level])) {
		return t.upper[level][index]
	}
	return nil
}

// put keeps a verified tile. Tiles of level 1 and above come in order; another is not kept.
func (t *tiles) put(level int, index uint64, hashes *tile) {
	if level == 0 {
		t.level0.wrote(index, hashes, 0)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if index == uint64(len(t.upper[level])) {
		t.upper[level] = append(t.upper[level], hashes)
	}
}

// add keeps tiles that the edge has just completed.
func (t *tiles) add(completed []ledger.FullTile) {
	for _, c := range completed {
		hashes, err := parseTile(c.Hashes)
		if err != nil {
			panic(err) // the edge makes full tiles
		}
		t.put(c.Level, c.Index, hashes)
	}
}

func parseTile(data []byte) (*tile, error) {
	if len(data) != ledger.TileSize {
		return nil, fmt.Errorf("full tile of %d octets", len(data))
	}
	t := new(tile)
	for i := range t.hashes {
		t.hashes[i] = ledger.Hash(data[i*ledger.HashSize:])
	}
	return t, nil
}

// fullTiles is the number of full tiles at a level of a tree.
func fullTiles(size uint64, level int) uint64 {
	return size >> (8 * (level + 1))
}

// hashes returns the verified hashes of a tile as wide as it is in the view, nil if it does not exist there.
func (v *view) hashes(level int, index uint64) ([]ledger.Hash, error) {
	if v.edge == nil {
		return nil, v.log.latched() // it was closed for that reason
	}
	switch full := fullTiles(v.head.Size, level); {
	case index > full:
		return nil, nil
	case index == full:
		return v.edge.Partial(level), nil
	}
	t, err := v.full(level, index)
	if err != nil {
		return nil, err
	}
	return t.hashes[:], nil
}

// full returns a full tile of the view.
func (v *view) full(level int, index uint64) (*tile, error) {
	if t := v.log.tiles.get(level, index); t != nil {
		return t, nil
	}
	t, err := v.loadTile(level, index)
	if err == nil {
		v.log.tiles.put(level, index, t)
	}
	return t, err
}

// node returns the root of a perfect subtree of the view.
func (v *view) node(height int, index uint64) (ledger.Hash, error) {
	if v.edge == nil {
		return ledger.Hash{}, v.log.latched()
	}
	const tileHeight = 8
	level, within := height/tileHeight, height%tileHeight
	number, i := index>>(tileHeight-within), index&(1<<(tileHeight-within)-1)
	if number < fullTiles(v.head.Size, level) {
		t, err := v.full(level, number)
		if err != nil {
			return ledger.Hash{}, err
		}
		return t.node(within, i), nil
	}
	return v.edge.Node(height, index)
}

// loadTile reads a full tile and holds it against its node one level up.
func (v *view) loadTile(level int, index uint64) (*tile, error) {
	data, ok, err := v.get(ledger.TileKey(level, index))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, v.log.damaged(CodeTileMismatch, "tile %d/%d is missing", level, index)
	}
	t, err := parseTile(data)
	if err != nil {
		return nil, v.log.damaged(CodeTileMismatch, "tile %d/%d: %v", level, index, err)
	}
	above, err := v.hashes(level+1, index/ledger.TileWidth)
	if err != nil {
		return nil, err
	}
	if i := index % ledger.TileWidth; i >= uint64(len(above)) || t.root() != above[i] {
		return nil, v.log.damaged(CodeTileMismatch, "tile %d/%d does not hash to its node", level, index)
	}
	return t, nil
}

// leaf returns the leaf hash of an entry; ErrNotFound beyond the view.
func (v *view) leaf(index uint64) (ledger.Hash, error) {
	if index >= v.head.Size {
		return ledger.Hash{}, fmt.Errorf("sequencer: entry %d of %d: %w", index, v.head.Size, ledger.ErrNotFound)
	}
	hashes, err := v.hashes(0, index/ledger.TileWidth)
	if err != nil {
		return ledger.Hash{}, err
	}
	return hashes[index%ledger.TileWidth], nil
}

// Tile returns the first width hashes of a tile; ErrNotFound if the tree at Head has no tile of this width there. The
// result must not be modified.
func (v *view) Tile(level int, index uint64, width int) ([]ledger.Hash, error) {
	t := ledger.Tile{Level: level, Index: index, Width: width}
	if level < 0 || level > ledger.MaxTileLevel || width < 1 || width > t.WidthAt(v.head.Size) {
		return nil, fmt.Errorf("sequencer: tile %d/%d of width %d: %w", level, index, width, ledger.ErrNotFound)
	}
	hashes, err := v.hashes(level, index)
	if err != nil {
		return nil, err
	}
	return hashes[:width:width], nil
}

// RootAt returns the root of the first size entries; ErrNotFound beyond the view.
func (v *view) RootAt(size uint64) (ledger.Hash, error) {
	switch {
	case size > v.head.Size:
		return ledger.Hash{}, fmt.Errorf("sequencer: size %d of %d: %w", size, v.head.Size, ledger.ErrNotFound)
	case size == v.head.Size:
		return v.head.Root, nil
	}
	return ledger.RootFromNodes(size, v.node)
}

// Inclusion returns the path from entry index to the root of the first size entries, verified.
func (v *view) Inclusion(index, size uint64) ([]ledger.Hash, error) {
	if index >= size || size > v.head.Size {
		return nil, fmt.Errorf("sequencer: entry %d in size %d of %d: %w", index, size, v.head.Size, ledger.ErrNotFound)
	}
	path, err := ledger.InclusionFromNodes(index, size, v.node)
	if err != nil {
		return nil, err
	}
	leaf, err := v.leaf(index)
	if err != nil {
		return nil, err
	}
	root, err := v.RootAt(size)
	if err != nil {
		return nil, err
	}
	if err := ledger.VerifyInclusion(leaf, index, size, path, root); err != nil {
		return nil, v.log.damaged(CodeTileMismatch, "inclusion of %d in %d: %v", index, size, err)
	}
	return path, nil
}

// Consistency returns the path between the roots of the first from and to entries, verified; 1 <= from <= to.
func (v *view) Consistency(from, to uint64) ([]ledger.Hash, error) {
	if from < 1 || from > to || to > v.head.Size {
		return nil, fmt.Errorf("sequencer: sizes %d and %d of %d: %w", from, to, v.head.Size, ledger.ErrNotFound)
	}
	path, err := ledger.ConsistencyPath(from, to, v.Tile)
	if err != nil {
		return nil, err
	}
	rootFrom, err := v.RootAt(from)
	if err != nil {
		return nil, err
	}
	rootTo, err := v.RootAt(to)
	if err != nil {
		return nil, err
	}
	if err := ledger.VerifyConsistency(from, to, path, rootFrom, rootTo); err != nil {
		return nil, v.log.damaged(CodeTileMismatch, "consistency of %d and %d: %v", from, to, err)
	}
	return path, nil
}
