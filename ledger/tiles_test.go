package ledger_test

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
)

// Audit rows: 9, 10.
func TestTilePaths(t *testing.T) {
	for path, want := range map[string]ledger.Tile{
		"tile/0/000":                               {Width: 256},
		"tile/0/x001/x234/067":                     {Index: 1_234_067, Width: 256},
		"tile/0/x001/x234/067.p/8":                 {Index: 1_234_067, Width: 8},
		"tile/63/999":                              {Level: 63, Index: 999, Width: 256},
		"tile/1/x001/000.p/255":                    {Level: 1, Index: 1000, Width: 255},
		"tile/entries/000":                         {Entries: true, Width: 256},
		"tile/entries/x273/437.p/112":              {Entries: true, Index: 273_437, Width: 112},
		"tile/0/x018/x446/x744/x073/x709/x551/615": {Index: math.MaxUint64, Width: 256},
	} {
		got, err := ledger.ParseTilePath(path)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
		if want.Path() != path {
			t.Errorf("%+v has path %s, want %s", want, want.Path(), path)
		}
		theirs := layout.TilePath(uint64(want.Level), want.Index, uint8(want.Width))
		if want.Entries {
			theirs = layout.EntriesPath(want.Index, uint8(want.Width))
		}
		if theirs != path {
			t.Errorf("%s: tessera has %s", path, theirs)
		}
	}
}

// Audit rows: 9, 10.
func TestNonCanonicalTilePathsAreRefused(t *testing.T) {
	for _, path := range []string{
		"", "tile", "tile/", "tile/0", "tile/0/", "/tile/0/000", "tile/0/000/", "tile//000",
		"tile/00/000", "tile/01/000", "tile/64/000", "tile/-1/000", "tile/+1/000", "tile/ 0/000", "tile/0x0/000",
		"tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/x000/000", "tile/0/x000/001", "tile/0/001/234", "tile/0/x001",
		"tile/0/x001/", "tile/0/x001/x234", "tile/0/X001/234", "tile/0/x1/234", "tile/0/x0001/234", "tile/0/x001//234",
		"tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/00", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/000.p",
		"tile/0/000.p/-1", "tile/0/000.p/1/", "tile/0/000.p/1.p/1", "tile/0/000p/1", "tile/0/.p/1",
		"tile/entries", "tile/entries/", "tile/entries/0", "tile/Entries/000", "tile/entries/0/000",
		"tile/0/x018/x446/x744/x073/x709/x551/616", "tile/0/x118/x446/x744/x073/x709/x551/615",
		"tile/0/x999/x999/x999/x999/x999/x999/x999/999", "tile/0/x/000", "tile/0/x00a/000", "tile/0/٠٠٠",
	} {
		if got, err := ledger.ParseTilePath(path); !errors.Is(err, ledger.ErrTilePath) {
			t.Errorf("%q: %+v, %v", path, got, err)
		}
	}
}

// A log of 70,000 entries has the tiles that the specification counts: 273 full and 112 hashes at level 0, 1 full and
// 17 at level 1, 1 at level 2.
//
// Audit rows: 11.
func TestTileCensus(t *testing.T) {
	const size = 70_000
	for _, c := range []struct {
		level int
		index uint64
		width int
	}{
		{0, 0, 256}, {0, 272, 256}, {0, 273, 112}, {0, 274, 0},
		{1, 0, 256}, {1, 1, 17}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}, {3, 0, 0}, {8, 0, 0}, {63, 0, 0},
		{0, math.MaxUint64, 0}, {0, 1 << 56, 0}, {7, 1 << 60, 0},
	} {
		if got := (ledger.Tile{Level: c.level, Index: c.index}).WidthAt(size); got != c.width {
			t.Errorf("tile %d/%d has %d hashes, want %d", c.level, c.index, got, c.width)
		}
	}
	tree := newTestTree(size)
	for level, want := range []int{112, 17, 1} {
		if got := len(tree.edge.Partial(level)); got != want {
			t.Errorf("partial tile at level %d has %d hashes, want %d", level, got, want)
		}
	}
	if len(tree.full) != 274 {
		t.Errorf("%d full tiles, want 274", len(tree.full))
	}
	for key, data := range tree.full {
		if len(data) != ledger.TileSize {
			t.Errorf("tile %v has %d octets", key, len(data))
		}
	}
}

func TestTileContent(t *testing.T) {
	tree := newTestTree(40)
	data := ledger.MarshalTile(tree.leaves)
	if got, err := ledger.ParseTile(data, 40); err != nil || !slices.Equal(got, tree.leaves) {
		t.Errorf("%d hashes, %v", len(got), err)
	}
	for _, width := range []int{-1, 0, 39, 41, 256, 257} {
		if _, err := ledger.ParseTile(data, width); err == nil {
			t.Errorf("40 hashes accepted as %d", width)
		}
	}
	if _, err := ledger.ParseTile(data[1:], 40); err == nil {
		t.Error("hash of 31 octets accepted")
	}
}

func TestBundles(t *testing.T) {
	entries := [][]byte{[]byte("first"), {}, bytes.Repeat([]byte{7}, ledger.MaxEntrySize)}
	data, err := ledger.MarshalBundle(entries)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ledger.ParseBundle(data, 3)
	if err != nil || len(got) != 3 || !slices.EqualFunc(got, entries, bytes.Equal) {
		t.Fatalf("%d entries, %v", len(got), err)
	}
	var theirs api.EntryBundle
	if err := theirs.UnmarshalText(data); err != nil || !slices.EqualFunc(theirs.Entries, entries, bytes.Equal) {
		t.Errorf("tessera reads %d entries, %v", len(theirs.Entries), err)
	}
	for _, width := range []int{-1, 0, 2, 4, 257} {
		if _, err := ledger.ParseBundle(data, width); err == nil {
			t.Errorf("3 entries accepted as %d", width)
		}
	}
	for cut := 1; cut < 10; cut++ {
		if _, err := ledger.ParseBundle(data[:len(data)-cut], 3); err == nil {
			t.Errorf("bundle without its last %d octets accepted", cut)
		}
	}
	if _, err := ledger.ParseBundle(append(data, 0), 3); err == nil {
		t.Error("trailing octet accepted")
	}
	if _, err := ledger.MarshalBundle([][]byte{make([]byte, ledger.MaxEntrySize+1)}); !errors.Is(err, ledger.ErrTooLarge) {
		t.Errorf("entry above the limit: %v", err)
	}
	if _, err := ledger.MarshalBundle(nil); err == nil {
		t.Error("empty bundle accepted")
	}
	if _, err := ledger.MarshalBundle(make([][]byte, 257)); err == nil {
		t.Error("bundle of 257 entries accepted")
	}
}

func FuzzParseTilePath(f *testing.F) {
	for _, s := range []string{
		"tile/0/000", "tile/1/x001/x234/067.p/8", "tile/entries/000.p/4", "tile/63/x999/999", "tile/0/000.p/0",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		tile, err := ledger.ParseTilePath(path)
		if err != nil {
			if !errors.Is(err, ledger.ErrTilePath) {
				t.Errorf("%q: %v", path, err)
			}
			return
		}
		if tile.Path() != path {
			t.Errorf("%q parsed as %q", path, tile.Path())
		}
	})
}

func FuzzParseBundle(f *testing.F) {
	g, _ := readVectors(f)
	f.Add(unhex(f, g.Bundle), 4)
	f.Add([]byte{0, 0}, 1)
	f.Fuzz(func(t *testing.T, data []byte, width int) {
		entries, err := ledger.ParseBundle(data, width)
		if err != nil {
			return
		}
		if again, err := ledger.MarshalBundle(entries); err != nil || !bytes.Equal(again, data) {
			t.Errorf("bundle does not round-trip: %v", err)
		}
	})
}
