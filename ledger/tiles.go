package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Sizes of tlog-tiles (https://c2sp.org/tlog-tiles).
const (
	TileWidth     = 256                  // hashes of a full tile, entries of a full bundle
	TileSize      = TileWidth * HashSize // octets of a full hash tile
	MaxTileLevel  = 63
	MaxEntrySize  = 65_535 // octets of an entry: its length is a uint16 in a bundle
	MaxBundleSize = TileWidth * (2 + MaxEntrySize)

	tileHeight = 8 // tree levels spanned by a tile
)

// ErrTilePath is returned for a string that is not the one canonical path of a tile; a server answers it with 404.
var ErrTilePath = errors.New("ledger: not a tile path")

// A Tile names a hash tile or an entry bundle.
type Tile struct {
	Entries bool   // an entry bundle; Level is 0
	Level   int    // 0..63
	Index   uint64 // number of the tile at its level
	Width   int    // 1..256; less than TileWidth is a partial tile
}

// Path returns the path below the log's prefix: tile/<L>/<N>[.p/<W>] or tile/entries/<N>[.p/<W>].
func (t Tile) Path() string {
	b := make([]byte, 0, 48)
	b = append(b, "tile/"...)
	if t.Entries {
		b = append(b, "entries"...)
	} else {
		b = strconv.AppendInt(b, int64(t.Level), 10)
	}
	b = append(b, '/')
	b = appendTileIndex(b, t.Index)
	if t.Width < TileWidth {
		b = append(b, ".p/"...)
		b = strconv.AppendInt(b, int64(t.Width), 10)
	}
	return string(b)
}

// appendTileIndex writes N in groups of three digits, all but the last prefixed with x: 1234067 is x001/x234/067.
func appendTileIndex(b []byte, n uint64) []byte {
	if n >= 1000 {
		b = appendTileGroups(b, n/1000)
	}
	return append(b, byte('0'+n/100%10), byte('0'+n/10%10), byte('0'+n%10))
}

func appendTileGroups(b []byte, n uint64) []byte {
	if n >= 1000 {
		b = appendTileGroups(b, n/1000)
	}
	return append(b, 'x', byte('0'+n/100%10), byte('0'+n/10%10), byte('0'+n%10), '/')
}

// ParseTilePath is the inverse of Path. It accepts a path only in the form Path writes; the error wraps ErrTilePath.
func ParseTilePath(path string) (Tile, error) {
	const longest = len("tile/entries/") + len("x018/x446/x744/x073/x709/x551/615") + len(".p/255")
	bad := func(why string) (Tile, error) { return Tile{}, fmt.Errorf("%w: %s", ErrTilePath, why) }
	if len(path) > longest {
		return bad("too long")
	}
	rest, ok := strings.CutPrefix(path, "tile/")
	if !ok {
		return bad("prefix")
	}
	level, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return bad("no index")
	}
	t := Tile{Width: TileWidth}
	if level == "entries" {
		t.Entries = true
	} else {
		l, err := parseDecimal(level, MaxTileLevel)
		if err != nil {
			return bad("level")
		}
		t.Level = int(l)
	}
	index, width, partial := strings.Cut(rest, ".p/")
	if partial {
		w, err := parseDecimal(width, TileWidth-1)
		if err != nil || w == 0 {
			return bad("width")
		}
		t.Width = int(w)
	}
	n, err := parseDecimal(joinTileIndex(index), ^uint64(0))
	if err != nil {
		return bad("index")
	}
	t.Index = n
	if t.Path() != path {
		return bad("not canonical")
	}
	return t, nil
}

// joinTileIndex drops the grouping and the leading zeros of an index. It does not validate: ParseTilePath compares the
// canonical form.
func joinTileIndex(s string) string {
	s = strings.TrimLeft(strings.NewReplacer("x", "", "/", "").Replace(s), "0")
	if s == "" {
		return "0"
	}
	return s
}

// parseDecimal parses a decimal without sign and without leading zeros that is at most limit.
func parseDecimal(s string, limit uint64) (uint64, error) {
	if s == "" || len(s) > 1 && s[0] == '0' || s[0] < '0' || s[0] > '9' {
		return 0, errors.New("not a canonical decimal")
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > limit {
		return 0, errors.New("not a canonical decimal")
	}
	return n, nil
}

// WidthAt returns the number of hashes or entries the tile has in a tree of the given size: 0 if it does not exist yet,
// TileWidth if it is full.
func (t Tile) WidthAt(size uint64) int {
	if t.Level >= 8 {
		return 0 // a node at this height would cover 2^64 leaves
	}
	nodes := size >> (tileHeight * t.Level)
	first := t.Index << tileHeight
	if t.Index > nodes>>tileHeight || nodes <= first {
		return 0
	}
	return int(min(nodes-first, TileWidth))
}

// MarshalTile returns the content of a hash tile, 32 octets a hash.
func MarshalTile(hashes []Hash) []byte {
	b := make([]byte, 0, len(hashes)*HashSize)
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return b
}

// ParseTile returns the hashes of a tile that must hold exactly width of them.
func ParseTile(data []byte, width int) ([]Hash, error) {
	if width < 1 || width > TileWidth || len(data) != width*HashSize {
		return nil, fmt.Errorf("ledger: hash tile of %d octets, want %d hashes", len(data), width)
	}
	hashes := make([]Hash, width)
	for i := range hashes {
		hashes[i] = Hash(data[i*HashSize:])
	}
	return hashes, nil
}

// MarshalBundle returns an entry bundle: for each entry its length as a big-endian uint16 and its octets. It takes 1 to
// 256 entries of at most MaxEntrySize.
func MarshalBundle(entries [][]byte) ([]byte, error) {
	if len(entries) < 1 || len(entries) > TileWidth {
		return nil, fmt.Errorf("ledger: entry bundle of %d entries", len(entries))
	}
	size := 0
	for i, e := range entries {
		if len(e) > MaxEntrySize {
			return nil, fmt.Errorf("ledger: entry %d of the bundle has %d octets: %w", i, len(e), ErrTooLarge)
		}
		size += 2 + len(e)
	}
	b := make([]byte, 0, size)
	for _, e := range entries {
		b = binary.BigEndian.AppendUint16(b, uint16(len(e)))
		b = append(b, e...)
	}
	return b, nil
}

// ParseBundle returns the entries of a bundle that must hold exactly width of them. They alias data.
func ParseBundle(data []byte, width int) ([][]byte, error) {
	if width < 1 || width > TileWidth {
		return nil, fmt.Errorf("ledger: entry bundle of width %d", width)
	}
	entries := make([][]byte, width)
	for i := range entries {
		if len(data) < 2 {
			return nil, fmt.Errorf("ledger: entry bundle ends before entry %d of %d", i, width)
		}
		n := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+n {
			return nil, fmt.Errorf("ledger: entry bundle ends inside entry %d of %d", i, width)
		}
		entries[i] = data[2 : 2+n : 2+n]
		data = data[2+n:]
	}
	if len(data) > 0 {
		return nil, fmt.Errorf("ledger: %d octets after entry bundle of width %d", len(data), width)
	}
	return entries, nil
}
