package sequencer_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/sequencer"
)

// flip returns value with one bit changed.
func flip(value []byte, at int) []byte {
	out := bytes.Clone(value)
	out[at%len(out)] ^= 4
	return out
}

// TestRowAgreesWithItsHash: a row that disagrees with its hash row, or stands without it, is not answered, not
// overwritten, and closes the latch.
func TestRowAgreesWithItsHash(t *testing.T) {
	row, sum := ledger.RowKey(state("m1")), ledger.RowHashKey(state("m1"))
	for name, damage := range map[string]func(m *ledgertest.Memory){
		"value":    func(m *ledgertest.Memory) { v := m.Raw(row); m.Corrupt(row, flip(v, len(v)-1)) },
		"version":  func(m *ledgertest.Memory) { m.Corrupt(row, flip(m.Raw(row), 7)) },
		"flag":     func(m *ledgertest.Memory) { m.Corrupt(row, flip(m.Raw(row), 8)) },
		"index":    func(m *ledgertest.Memory) { m.Corrupt(row, flip(m.Raw(row), 16)) },
		"short":    func(m *ledgertest.Memory) { m.Corrupt(row, m.Raw(row)[:16]) },
		"hash":     func(m *ledgertest.Memory) { m.Corrupt(sum, flip(m.Raw(sum), 31)) },
		"no row":   func(m *ledgertest.Memory) { m.Corrupt(row, nil) },
		"no hash":  func(m *ledgertest.Memory) { m.Corrupt(sum, nil) },
		"of other": func(m *ledgertest.Memory) { m.Corrupt(row, m.Raw(ledger.RowKey(state("m2")))) },
		"both of other": func(m *ledgertest.Memory) {
			m.Corrupt(row, m.Raw(ledger.RowKey(state("m2"))))
			m.Corrupt(sum, m.Raw(ledger.RowHashKey(state("m2"))))
		},
	} {
		for _, read := range []string{"get", "proven", "list", "commit"} {
			t.Run(name+"/"+read, func(t *testing.T) {
				b := newBench(t, ledgertest.Options{})
				b.MustCommit(t, b.step(t, "m1", "active"))
				b.MustCommit(t, b.step(t, "m2", "revoked"))
				damage(b.memory)
				b.reopen(t)
				v := b.MustView(t)
				var err error
				switch read {
				case "get":
					_, err = v.Get(state("m1"))
				case "proven":
					_, err = v.Proven(state("m1"))
				case "list":
					for _, e := range v.List("mission/", "") {
						err = errors.Join(err, e)
					}
				case "commit":
					_, err = b.Commit(t.Context(), b.step(t, "m1", "revoked"))
				}
				wantErr(t, err, ledger.ErrIntegrity)
				wantCode(t, b.Health().Integrity, sequencer.CodeRowMismatch)
			})
		}
	}
}

// TestListNoticesLoneRows: a row or hash row that stands alone is noticed wherever it stands in the list.
func TestListNoticesLoneRows(t *testing.T) {
	for _, key := range []string{"a/1", "a/2", "a/3"} {
		for _, kind := range []func(string) []byte{ledger.RowKey, ledger.RowHashKey} {
			b := newBench(t, ledgertest.Options{})
			for _, k := range []string{"a/1", "a/2", "a/3", "b"} {
				b.MustCommit(t, put(k, []byte(k)))
			}
			b.memory.Corrupt(kind(key), nil)
			b.reopen(t)
			var err error
			for _, e := range b.MustView(t).List("a/", "") {
				err = errors.Join(err, e)
			}
			if !errors.Is(err, ledger.ErrIntegrity) {
				t.Errorf("%q is missing: %v", kind(key), err)
			}
		}
	}
}

func TestList(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	keys := []string{"a", "a/1", "a/2", "a/2\x00", "a/3", "a0", "b", "\xff"}
	for _, k := range keys {
		b.MustCommit(t, put(k, []byte(k)))
	}
	for _, c := range []struct{ prefix, after, want string }{
		{"", "", "a a/1 a/2 a/2\x00 a/3 a0 b \xff"},
		{"a/", "", "a/1 a/2 a/2\x00 a/3"},
		{"a/", "a/", "a/1 a/2 a/2\x00 a/3"},
		{"a/", "a", "a/1 a/2 a/2\x00 a/3"},
		{"a/", "a/1", "a/2 a/2\x00 a/3"},
		{"a/", "a/2", "a/2\x00 a/3"},
		{"a/", "a/2\x00", "a/3"},
		{"a/", "a/15", "a/2 a/2\x00 a/3"},
		{"a/", "a/3", ""},
		{"a/", "b", ""},
		{"c", "", ""},
		{"\xff", "", "\xff"},
	} {
		var got []string
		for row, err := range b.MustView(t).List(c.prefix, c.after) {
			if err != nil {
				t.Fatal(err)
			}
			if string(row.Value) != row.Key {
				t.Errorf("row %q holds %q", row.Key, row.Value)
			}
			got = append(got, row.Key)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("prefix %q after %q: %q, want %q", c.prefix, c.after, got, c.want)
		}
	}
	for row, err := range b.MustView(t).List("a", "") { // a reader may stop
		if row.Key != "a" || err != nil {
			t.Fatal(row, err)
		}
		break
	}
}

// old is a version of a row as the engine held it.
type old struct{ row, sum []byte }

func (b *bench) remember(key string) old {
	return old{b.memory.Raw(ledger.RowKey(key)), b.memory.Raw(ledger.RowHashKey(key))}
}

// bringBack puts an old version of a row and of its hash row back, as an older table would.
func (b *bench) bringBack(key string, o old) {
	b.memory.Corrupt(ledger.RowKey(key), o.row)
	b.memory.Corrupt(ledger.RowHashKey(key), o.sum)
}

// TestStaleRowOfThisProcess: an old version that comes back while the process remembers the newer one is refused by
// every read, justified or not; so is a row that has gone. The writer goes on from what it remembers.
func TestStaleRowOfThisProcess(t *testing.T) {
	for name, read := range map[string]func(b *bench, key string) error{
		"get":    func(b *bench, key string) error { _, err := b.view(t).Get(key); return err },
		"proven": func(b *bench, key string) error { _, err := b.view(t).Proven(key); return err },
		"list": func(b *bench, key string) (err error) {
			for _, e := range b.view(t).List(key, "") {
				err = errors.Join(err, e)
			}
			return err
		},
	} {
		for _, gone := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/gone=%t", name, gone), func(t *testing.T) {
				b := newBench(t, ledgertest.Options{})
				b.MustCommit(t, b.step(t, "m1", "active"))
				b.MustCommit(t, add("n", 1))
				m1, n := b.remember(state("m1")), b.remember("n")
				if gone {
					m1, n = old{}, old{}
				}
				b.MustCommit(t, b.step(t, "m1", "revoked"))
				b.MustCommit(t, add("n", 1))
				b.bringBack(state("m1"), m1)
				b.bringBack("n", n)
				b.MustCommit(t, put("unrelated", nil)) // published over the old rows
				_, err := b.Commit(t.Context(), b.step(t, "m1", "active", ledger.Version(state("m1"), 1)))
				wantErr(t, err, ledger.ErrConflict)
				if gone && name == "list" {
					return // a list has no way to miss a row and its hash row
				}
				key := state("m1")
				if name != "proven" {
					key = "n"
				}
				wantErr(t, read(b, key), ledger.ErrIntegrity)
				wantCode(t, b.Health().Integrity, sequencer.CodeRowStale)
				wantErr(t, read(b, state("m1")), ledger.ErrIntegrity)
			})
		}
	}
}

func (b *bench) view(t testing.TB) ledger.View { return b.MustView(t) }

// TestStaleRowFoundInItsFeed: after a restart nothing is remembered; then the feed says that a later entry replaced
// the row.
func TestStaleRowFoundInItsFeed(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	b.MustCommit(t, b.step(t, "m1", "active"))
	stale := b.remember(state("m1"))
	b.MustCommit(t, b.step(t, "m2", "active"))
	b.MustCommit(t, b.step(t, "m1", "revoked"))
	b.MustCommit(t, ledger.Change{Entries: []ledger.Entry{b.Keys.Entry(t, "m1", []byte("a later entry that changes no row"))}})
	b.reopen(t)
	if row, err := b.MustView(t).Proven(state("m1")); err != nil || string(row.Value) != "revoked" {
		t.Fatalf("%q %v", row.Value, err)
	}
	b.bringBack(state("m1"), stale)
	b.reopen(t)
	row, err := b.MustView(t).Proven(state("m1"))
	if err == nil {
		t.Fatalf("the row is served as %q", row.Value)
	}
	wantErr(t, err, ledger.ErrIntegrity)
	wantCode(t, b.Health().Integrity, sequencer.CodeRowStale)
}

// TestProvenRemembersReaders: what a reader has proven is held against later reads too, and costs no second proof.
func TestProvenRemembersReaders(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	b.MustCommit(t, b.step(t, "m1", "active"))
	stale := b.remember(state("m1"))
	b.MustCommit(t, b.step(t, "m1", "revoked"))
	b.reopen(t)
	if _, err := b.MustView(t).Proven(state("m1")); err != nil {
		t.Fatal(err)
	}
	b.corrupt(t, ledger.EntryKey(2), []byte("gone")) // read and proven before
	if _, err := b.MustView(t).Proven(state("m1")); err != nil {
		t.Fatal(err)
	}
	b.bringBack(state("m1"), stale)
	b.MustCommit(t, put("unrelated", nil))
	_, err := b.MustView(t).Get(state("m1"))
	wantErr(t, err, ledger.ErrIntegrity)
	wantCode(t, b.Health().Integrity, sequencer.CodeRowStale)
}

// TestOldViewsAreNotStale: a view from before a write shows the row as it was then, and proving it there teaches later
// views nothing wrong.
func TestOldViewsAreNotStale(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	b.MustCommit(t, b.step(t, "m1", "active"))
	b.MustCommit(t, put("x", nil))
	b.reopen(t)
	before := b.MustView(t)
	b.MustCommit(t, b.step(t, "m1", "revoked"))
	for range 2 {
		if row, err := before.Proven(state("m1")); err != nil || string(row.Value) != "active" {
			t.Fatalf("%q %v", row.Value, err)
		}
		if row, err := b.MustView(t).Proven(state("m1")); err != nil || string(row.Value) != "revoked" {
			t.Fatalf("%q %v", row.Value, err)
		}
	}
	if h := before.Head(); h.Size != 2 || b.MustView(t).Head().Size != 3 {
		t.Fatalf("the view moved to size %d", h.Size)
	}
	if _, err := before.Entry(2); !errors.Is(err, ledger.ErrNotFound) {
		t.Fatalf("the view reads an entry of the future: %v", err)
	}
	if n := count(t, before.Feed(b.Keys.Subject(t, "m1"), -1)); n != 1 {
		t.Fatalf("the feed of the view has %d entries", n)
	}
	if h := b.Health(); h != (ledger.Health{}) {
		t.Fatalf("health %+v", h)
	}
}

func count(t testing.TB, seq func(func(uint64, error) bool)) (n int) {
	t.Helper()
	for _, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// TestProvenNeedsItsEntry: the positive-read rule. A row whose justifying entry is not what the tree says is not
// proven, although row and hash row agree.
func TestProvenNeedsItsEntry(t *testing.T) {
	for name, damage := range map[string]func(b *bench){
		"entry flipped": func(b *bench) { k := ledger.EntryKey(1); b.memory.Corrupt(k, flip(b.memory.Raw(k), 50)) },
		"entry missing": func(b *bench) { b.memory.Corrupt(ledger.EntryKey(1), nil) },
		"other entry":   func(b *bench) { b.memory.Corrupt(ledger.EntryKey(1), b.memory.Raw(ledger.EntryKey(2))) },
		"beyond the tree": func(b *bench) {
			row := ledger.Row{Key: state("m1"), Version: 1, Value: []byte("active"), Justified: true, JustifiedBy: 1 << 40}
			sum := ledger.RowHash(row)
			b.memory.Corrupt(ledger.RowKey(row.Key), ledger.MarshalRow(row))
			b.memory.Corrupt(ledger.RowHashKey(row.Key), sum[:])
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, ledgertest.Options{})
			b.MustCommit(t, b.step(t, "m1", "active"))
			b.MustCommit(t, b.step(t, "m2", "active"))
			fill(t, b, 300) // entry 1 leaves the edge, so that only its tile knows its leaf
			damage(b)
			b.reopen(t)
			v := b.MustView(t)
			if _, err := v.Get(state("m1")); err != nil {
				t.Fatal(err)
			}
			_, err := v.Proven(state("m1"))
			wantErr(t, err, ledger.ErrIntegrity)
			if b.Health().Integrity == nil {
				t.Fatal("the latch is open")
			}
			_, err = v.Proven(state("m2"))
			wantErr(t, err, ledger.ErrIntegrity) // nothing positive any more
			_, err = b.Commit(t.Context(), b.step(t, "m2", "more"))
			wantErr(t, err, ledger.ErrIntegrity)
			if _, err := v.Entry(7); err != nil { // static reads go on
				t.Fatal(err)
			}
			if _, err := v.Inclusion(7, v.Head().Size); err != nil {
				t.Fatal(err)
			}
			b.Stop()
			if err := b.Run(t.Context()); err == nil {
				t.Fatal("Run ran twice")
			}
		})
	}
}

func TestProvenNeedsAJustification(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	b.MustCommit(t, put("nonce", []byte("x")))
	_, err := b.MustView(t).Proven("nonce")
	wantErr(t, err, sequencer.ErrNotJustified)
	_, err = b.MustView(t).Proven("none")
	wantErr(t, err, ledger.ErrNotFound)
	if h := b.Health(); h != (ledger.Health{}) {
		t.Fatalf("health %+v", h)
	}
}

// TestDamageInTheLog: each kind of key below the rows, damaged, is noticed by the read that needs it.
func TestDamageInTheLog(t *testing.T) {
	subject := func(b *bench) string { return b.Keys.Subject(t, "m2") }
	leafKey := func(b *bench, i uint64) []byte {
		return ledger.LeafKey(ledger.HashLeaf(b.memory.Raw(ledger.EntryKey(i))))
	}
	id := func(b *bench, i uint64) string {
		return ledger.EntryID(ledger.HashLeaf(b.memory.Raw(ledger.EntryKey(i))))
	}
	again := func(b *bench, i uint64) error {
		raw := b.memory.Raw(ledger.EntryKey(i))
		_, err := b.Commit(t.Context(), ledger.Change{Entries: []ledger.Entry{{Statement: raw}}})
		return err
	}
	dedupKey := func(b *bench, i uint64) []byte {
		st, err := ledger.ParseStatement(b.memory.Raw(ledger.EntryKey(i)))
		if err != nil {
			t.Fatal(err)
		}
		return ledger.DedupKeyOf(ledger.DedupKey(st))
	}
	whole := newBench(t, ledgertest.Options{})
	for i := range 299 {
		whole.MustCommit(t, whole.step(t, "m2", fmt.Sprint(i)))
	}
	whole.Stop()
	for _, c := range []struct {
		name   string
		damage func(b *bench) // after which the log is opened again
		read   func(b *bench, v ledger.View) error
		code   string
	}{
		{"tile flipped", func(b *bench) { k := ledger.TileKey(0, 0); b.memory.Corrupt(k, flip(b.memory.Raw(k), 100)) },
			func(b *bench, v ledger.View) error { _, err := v.Tile(0, 0, 256); return err }, sequencer.CodeRootMismatch},
		{"entry flipped", func(b *bench) { k := ledger.EntryKey(9); b.memory.Corrupt(k, flip(b.memory.Raw(k), 60)) },
			func(b *bench, v ledger.View) error { _, err := v.Entry(9); return err }, sequencer.CodeEntryMismatch},
		{"entry missing", func(b *bench) { b.memory.Corrupt(ledger.EntryKey(9), nil) },
			func(b *bench, v ledger.View) error { _, err := v.Entry(9); return err }, sequencer.CodeEntryMismatch},
		{"entry missing, feed", func(b *bench) { b.memory.Corrupt(ledger.EntryKey(9), nil) },
			func(b *bench, v ledger.View) error { return drain(v.Feed(subject(b), -1)) }, sequencer.CodeEntryMismatch},
		{"leaf index elsewhere", func(b *bench) { b.memory.Corrupt(leafKey(b, 9), ledger.MarshalIndex(8)) },
			func(b *bench, v ledger.View) error { _, err := v.Lookup(id(b, 9)); return err }, sequencer.CodeIndexMismatch},
		{"leaf index beyond", func(b *bench) { b.memory.Corrupt(leafKey(b, 9), ledger.MarshalIndex(1<<40)) },
			func(b *bench, v ledger.View) error { _, err := v.Lookup(id(b, 9)); return err }, sequencer.CodeIndexMismatch},
		{"leaf index short", func(b *bench) { b.memory.Corrupt(leafKey(b, 9), []byte{9}) },
			func(b *bench, v ledger.View) error { _, err := v.Lookup(id(b, 9)); return err }, sequencer.CodeIndexMismatch},
		{"dedup index elsewhere", func(b *bench) { b.memory.Corrupt(dedupKey(b, 9), ledger.MarshalIndex(8)) },
			func(b *bench, v ledger.View) error { return again(b, 9) }, sequencer.CodeIndexMismatch},
		{"feed of another", func(b *bench) { b.memory.Corrupt(ledger.FeedKey(subject(b), 0), []byte{}) },
			func(b *bench, v ledger.View) error { return drain(v.Feed(subject(b), -1)) }, sequencer.CodeIndexMismatch},
		{"feed beyond", func(b *bench) { b.memory.Corrupt(ledger.FeedKey(subject(b), 1<<40), []byte{}) },
			func(b *bench, v ledger.View) error { return drain(v.Feed(subject(b), -1)) }, sequencer.CodeIndexMismatch},
		{"body flipped", func(b *bench) {
			k := ledger.BodyKey(sha([]byte("m2 7")))
			b.memory.Corrupt(k, flip(b.memory.Raw(k), 12))
		},
			func(b *bench, v ledger.View) error { _, err := v.Body(sha([]byte("m2 7"))); return err }, sequencer.CodeBodyMismatch},
		{"body of another", func(b *bench) {
			b.memory.Corrupt(ledger.BodyKey(sha([]byte("m2 7"))), b.memory.Raw(ledger.BodyKey(sha([]byte("m2 8")))))
		},
			func(b *bench, v ledger.View) error { _, err := v.Body(sha([]byte("m2 7"))); return err }, sequencer.CodeBodyMismatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &bench{Log: whole.Log, memory: whole.memory.Fork()}
			c.damage(b)
			b.open(t, ledgertest.Options{Keys: whole.Keys, Vault: whole.Vault})
			wantErr(t, c.read(b, b.MustView(t)), ledger.ErrIntegrity)
			wantCode(t, b.Health().Integrity, c.code)
		})
	}
}

func drain(seq func(func(uint64, error) bool)) (err error) {
	for _, e := range seq {
		err = errors.Join(err, e)
	}
	return err
}

// TestTileDamagedLater: a level 0 tile away from the edge is read when it is needed and held against its node then.
//
// Audit rows: 8.
func TestTileDamagedLater(t *testing.T) {
	if testing.Short() {
		t.Skip("needs 65,537 entries")
	}
	b := newBench(t, ledgertest.Options{})
	fill(t, b, 1<<16+300)
	key := ledger.TileKey(0, 17)
	b.memory.Corrupt(key, flip(b.memory.Raw(key), 4000))
	b.reopen(t)
	v := b.MustView(t)
	if _, err := v.Entry(18 << 8); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Inclusion(1<<16+1, v.Head().Size); err != nil {
		t.Fatal(err)
	}
	if h := b.Health(); h != (ledger.Health{}) {
		t.Fatalf("health %+v before the tile was needed", h)
	}
	_, err := v.Tile(0, 17, 256)
	wantErr(t, err, ledger.ErrIntegrity)
	_, err = v.Inclusion(17<<8+3, v.Head().Size)
	wantErr(t, err, ledger.ErrIntegrity)
	wantCode(t, b.Health().Integrity, sequencer.CodeTileMismatch)

	b.memory.Corrupt(key, nil)
	upper := ledger.TileKey(1, 0)
	b.memory.Corrupt(upper, flip(b.memory.Raw(upper), 4000))
	b.reopen(t) // level 1 is held against the root at once
	wantCode(t, b.Health().Integrity, sequencer.CodeRootMismatch)
	_, err = b.MustView(t).Entry(3)
	wantErr(t, err, ledger.ErrIntegrity)
}

// fill appends entries until the log has the size. Only the first is signed: the sequencer takes the callers' word for
// signatures, and 65,537 of them would take a while.
func fill(t testing.TB, b *bench, size uint64) {
	t.Helper()
	model := b.Keys.Entry(t, "m1", []byte("model")).Statement
	digest := sha([]byte("model"))
	at := bytes.Index(model, digest[:])
	for n := b.MustView(t).Head().Size; n < size; {
		entries := make([]ledger.Entry, min(2048, size-n))
		for i := range entries {
			digest := sha(fmt.Appendf(nil, "%d", n+uint64(i)))
			entries[i].Statement = bytes.Clone(model)
			copy(entries[i].Statement[at:], digest[:])
		}
		n += uint64(len(entries))
		b.MustCommit(t, ledger.Change{Entries: entries})
	}
}

// TestReadsBeyondTheView: sizes, indexes and tiles that the view does not have are ErrNotFound, never a panic.
//
// Audit rows: 13.
func TestReadsBeyondTheView(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	fill(t, b, 300)
	v := b.MustView(t)
	for name, read := range map[string]func() error{
		"entry":             func() error { _, err := v.Entry(300); return err },
		"last entry":        func() error { _, err := v.Entry(^uint64(0)); return err },
		"root":              func() error { _, err := v.RootAt(301); return err },
		"inclusion":         func() error { _, err := v.Inclusion(300, 300); return err },
		"inclusion size":    func() error { _, err := v.Inclusion(3, 301); return err },
		"inclusion of none": func() error { _, err := v.Inclusion(0, 0); return err },
		"consistency":       func() error { _, err := v.Consistency(3, 301); return err },
		"consistency of 0":  func() error { _, err := v.Consistency(0, 3); return err },
		"consistency back":  func() error { _, err := v.Consistency(4, 3); return err },
		"tile width 0":      func() error { _, err := v.Tile(0, 0, 0); return err },
		"tile width 257":    func() error { _, err := v.Tile(0, 0, 257); return err },
		"partial too wide":  func() error { _, err := v.Tile(0, 1, 45); return err },
		"tile beyond":       func() error { _, err := v.Tile(0, 2, 1); return err },
		"tile far beyond":   func() error { _, err := v.Tile(0, ^uint64(0), 1); return err },
		"level beyond":      func() error { _, err := v.Tile(2, 0, 1); return err },
		"level 63":          func() error { _, err := v.Tile(63, 0, 1); return err },
		"level 64":          func() error { _, err := v.Tile(64, 0, 1); return err },
		"negative level":    func() error { _, err := v.Tile(-1, 0, 1); return err },
		"lookup":            func() error { _, err := v.Lookup(ledger.EntryID(ledger.Hash{1})); return err },
		"lookup of no id":   func() error { _, err := v.Lookup("../etc"); return err },
		"row":               func() error { _, err := v.Get("none"); return err },
		"row of no key":     func() error { _, err := v.Get(""); return err },
		"body":              func() error { _, err := v.Body(ledger.Hash{1}); return err },
	} {
		if err := read(); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := count(t, v.Feed("https://nobody.example", -1)); n != 0 {
		t.Errorf("the feed of nobody has %d entries", n)
	}
	if n := count(t, v.Feed(b.Keys.Subject(t, "m1"), 1<<62)); n != 0 {
		t.Errorf("the feed beyond the head has %d entries", n)
	}
	if h := b.Health(); h != (ledger.Health{}) {
		t.Fatalf("health %+v", h)
	}
}

// TestRegistrationTimes: each entry has the time of its group, however large the groups around it are.
func TestRegistrationTimes(t *testing.T) {
	now := start
	b := newBench(t, ledgertest.Options{Now: clock(&now)})
	var want []int64
	want = append(want, b.MustView(t).Head().At.UnixMilli())
	for i, n := range []int{1, 1, 5, 1, 300, 1, 1, 64, 2, 1, 1, 1, 1} {
		now = now.Add(1e6 * 7)
		entries := make([]ledger.Entry, n)
		for j := range entries {
			entries[j] = b.Keys.Entry(t, "m1", fmt.Appendf(nil, "%d/%d", i, j))
		}
		done := b.MustCommit(t, ledger.Change{Entries: entries})
		for range entries {
			want = append(want, done.At.UnixMilli())
		}
		b.MustCommit(t, put("row only", nil))
	}
	order := slices.Repeat([]int{0}, len(want))
	for i := range order {
		order[i] = i
	}
	for range 2 { // forwards, then backwards, in one view
		v := b.MustView(t)
		for _, i := range order {
			e, err := v.Entry(uint64(i))
			if err != nil || e.At.UnixMilli() != want[i] {
				t.Fatalf("entry %d was registered at %v, want %d: %v", i, e.At.UnixMilli(), want[i], err)
			}
		}
		slices.Reverse(order)
	}
}

// TestViewsOutliveTheLog: an open view of a closed log still reads.
func TestViewsOutliveTheLog(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	b.MustCommit(t, b.step(t, "m1", "active"))
	v, err := b.View()
	if err != nil {
		t.Fatal(err)
	}
	b.Stop()
	if row, err := v.Proven(state("m1")); err != nil || string(row.Value) != "active" {
		t.Fatalf("%q %v", row.Value, err)
	}
	v.Close()
	v.Close()
}
