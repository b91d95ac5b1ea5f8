package sequencer_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/sequencer"
	"golang.org/x/mod/sumdb/note"
)

// checked is a store of 600 entries in groups of different kinds, stopped.
func checked(t testing.TB) *bench {
	t.Helper()
	b := newBench(t, ledgertest.Options{})
	for i := range 560 {
		b.MustCommit(t, b.step(t, fmt.Sprintf("m%d", i%4), fmt.Sprint(i)))
		if i%100 == 0 {
			b.MustCommit(t, add("n", 1))
		}
	}
	fill(t, b, 600)
	b.Stop()
	return b
}

// config is for checking what the memory holds now.
func (b *bench) config(t testing.TB) sequencer.FsckConfig {
	t.Helper()
	store := b.memory.Open()
	snapshot, err := store.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return sequencer.FsckConfig{
		Snapshot: snapshot, Head: store.Head(), Origin: b.Keys.Origin, Verifiers: []note.Verifier{b.Keys.Verifier},
		Frames: b.memory.Frames(), Vault: b.Vault, Rows: states,
	}
}

// states derives the state rows from the evidence: the body of the last entry of a feed says "<id> <state>".
func states(evidence iter.Seq2[sequencer.Evidence, error]) (map[string][]byte, func(string) bool, error) {
	rows := map[string][]byte{}
	next := uint64(0)
	for e, err := range evidence {
		if err != nil {
			return nil, nil, err
		}
		if e.Index != next || e.At.IsZero() {
			return nil, nil, fmt.Errorf("entry %d, want %d", e.Index, next)
		}
		next++
		if id, value, ok := strings.Cut(string(e.Body), " "); ok && e.Parsed.ContentType == ledgertest.ContentType {
			rows[state(id)] = []byte(value)
		}
	}
	return rows, func(key string) bool { return strings.HasPrefix(key, "mission/") }, nil
}

func fsck(t testing.TB, cfg sequencer.FsckConfig) *sequencer.Report {
	t.Helper()
	report, err := sequencer.Fsck(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestFsckClean(t *testing.T) {
	b := checked(t)
	r := fsck(t, b.config(t))
	if !r.Clean() || r.Entries != 600 || r.Tiles != 2 || r.Rows != 5 || r.Bodies != 561 || r.Frames != 568 || r.Groups != 562 ||
		r.Rebuilt != 4 || r.Differences != 0 || r.Erased != 0 {
		t.Fatalf("%+v", r)
	}
	// Without commit point and vault it says less, and nothing wrong.
	cfg := b.config(t)
	cfg.Frames, cfg.Vault = nil, nil
	if r := fsck(t, cfg); !r.Clean() || r.Frames != 0 || r.Rebuilt != 0 {
		t.Fatalf("%+v", r)
	}
	// An erased body is no damage.
	b.Vault.(*ledgertest.Vault).Erase(b.memory.Raw(ledger.BodyKey(sha([]byte("m0 0")))))
	if r := fsck(t, b.config(t)); !r.Clean() || r.Erased != 1 {
		t.Fatalf("%+v", r)
	}
	// Neither is an empty store.
	empty := sequencer.FsckConfig{Origin: b.Keys.Origin, Frames: ledgertest.NewMemory().Frames()}
	empty.Snapshot, _ = ledgertest.NewStore().Snapshot()
	if r := fsck(t, empty); !r.Clean() {
		t.Fatalf("%+v", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sequencer.Fsck(ctx, b.config(t)); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// TestFsckFinds: each kind of damage is found under its code, with the commit point at hand and, where that is
// possible, without it.
//
// Audit rows: 84.
func TestFsckFinds(t *testing.T) {
	b := checked(t)
	whole := b.memory
	defer func() { b.memory = whole }()
	raw := func(i uint64) []byte { return whole.Raw(ledger.EntryKey(i)) }
	parsed := func(i uint64) *ledger.Statement {
		st, err := ledger.ParseStatement(raw(i))
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	replace := func(key []byte, change func([]byte) []byte) func() {
		return func() { b.memory.Corrupt(key, change(b.memory.Raw(key))) }
	}
	flipAt := func(at int) func([]byte) []byte { return func(v []byte) []byte { return flip(v, at) } }
	set := func(v []byte) func([]byte) []byte { return func([]byte) []byte { return v } }
	gone := set(nil)
	row := ledger.RowKey(state("m1"))
	stale := func() { // the version before the last, with its hash row
		var last, before ledger.Row
		for frame, err := range b.memory.Frames() {
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range frame.Rows {
				if r.Key == state("m1") {
					last, before = r, last
				}
			}
		}
		sum := ledger.RowHash(before)
		b.memory.Corrupt(row, ledger.MarshalRow(before))
		b.memory.Corrupt(ledger.RowHashKey(state("m1")), sum[:])
		_ = last
	}
	forged := func() { // a row that nobody wrote, with the right hash
		r := ledger.Row{Key: state("m9"), Version: 1, Value: []byte("active"), Justified: true, JustifiedBy: 7}
		sum := ledger.RowHash(r)
		b.memory.Corrupt(ledger.RowKey(r.Key), ledger.MarshalRow(r))
		b.memory.Corrupt(ledger.RowHashKey(r.Key), sum[:])
	}
	const both, frames, vault = "both", "frames", "vault" // what is needed to notice
	for _, c := range []struct {
		name   string
		damage func()
		code   string
		needs  string
	}{
		{"entry flipped", replace(ledger.EntryKey(300), flipAt(40)), sequencer.CodeRootMismatch, both},
		{"signature of an entry flipped", replace(ledger.EntryKey(300), flipAt(len(raw(300))-3)), sequencer.CodeFrameMismatch, frames},
		{"entry truncated", replace(ledger.EntryKey(300), func(v []byte) []byte { return v[:20] }), sequencer.CodeEntryInvalid, both},
		{"entry missing", replace(ledger.EntryKey(300), gone), sequencer.CodeEntryMissing, both},
		{"last entry missing", replace(ledger.EntryKey(599), gone), sequencer.CodeEntryMissing, both},
		{"entry beyond", replace(ledger.EntryKey(600), set(raw(3))), sequencer.CodeExtraKey, both},
		{"entry key malformed", replace([]byte("e?"), set(raw(3))), sequencer.CodeExtraKey, both},
		{"genesis replaced", replace(ledger.EntryKey(0), set(raw(3))), sequencer.CodeGenesisInvalid, both},
		{"tile flipped", replace(ledger.TileKey(0, 1), flipAt(5000)), sequencer.CodeTileMismatch, both},
		{"tile missing", replace(ledger.TileKey(0, 0), gone), sequencer.CodeTileMismatch, both},
		{"tile beyond", replace(ledger.TileKey(0, 2), set(whole.Raw(ledger.TileKey(0, 0)))), sequencer.CodeExtraKey, both},
		{"dedup missing", replace(ledger.DedupKeyOf(ledger.DedupKey(parsed(9))), gone), sequencer.CodeIndexMissing, both},
		{"dedup elsewhere", replace(ledger.DedupKeyOf(ledger.DedupKey(parsed(9))), flipAt(7)), sequencer.CodeIndexMismatch, both},
		{"dedup of nothing", replace(ledger.DedupKeyOf(ledger.Hash{9}), set(ledger.MarshalIndex(3))), sequencer.CodeExtraKey, both},
		{"leaf missing", replace(ledger.LeafKey(parsed(9).Leaf()), gone), sequencer.CodeIndexMissing, both},
		{"leaf elsewhere", replace(ledger.LeafKey(parsed(9).Leaf()), flipAt(7)), sequencer.CodeIndexMismatch, both},
		{"leaf of nothing", replace(ledger.LeafKey(ledger.Hash{9}), set(ledger.MarshalIndex(3))), sequencer.CodeExtraKey, both},
		{"feed key missing", replace(ledger.FeedKey(parsed(9).Subject, 9), gone), sequencer.CodeIndexMissing, both},
		{"feed key of nothing", replace(ledger.FeedKey("x", 9), set([]byte{})), sequencer.CodeExtraKey, both},
		{"mark cut", replace(ledger.FeedKey(parsed(9).Subject, 9), set([]byte("odd"))), sequencer.CodeIndexMismatch, both},
		{"mark lost", replace(ledger.FeedKey(parsed(9).Subject, 9), set([]byte{})), sequencer.CodeFrameMismatch, frames},
		{"commit row missing", replace(ledger.CommitKey(9), gone), sequencer.CodeCommitMismatch, both},
		{"commit row malformed", replace(ledger.CommitKey(9), set([]byte("x"))), sequencer.CodeCommitMismatch, both},
		{"last commit row missing", replace(ledger.CommitKey(561), gone), sequencer.CodeCommitMismatch, both},
		{"row flipped", replace(row, flipAt(18)), sequencer.CodeRowMismatch, both},
		{"row malformed", replace(row, set([]byte("x"))), sequencer.CodeRowMismatch, both},
		{"row missing", replace(row, gone), sequencer.CodeRowMismatch, both},
		{"hash row missing", replace(ledger.RowHashKey(state("m1")), gone), sequencer.CodeRowMismatch, both},
		{"last hash row missing", replace(ledger.RowHashKey("n"), gone), sequencer.CodeRowMismatch, both},
		{"row and hash row missing", func() { replace(row, gone)(); replace(ledger.RowHashKey(state("m1")), gone)() },
			sequencer.CodeFrameMismatch, frames},
		{"older row is back", stale, sequencer.CodeRowStale, both},
		{"older row is back, evidence", stale, sequencer.CodeDifference, vault},
		{"forged row", forged, sequencer.CodeExtraKey, frames},
		{"forged row, evidence", forged, sequencer.CodeDifference, vault},
		{"body flipped", replace(ledger.BodyKey(sha([]byte("m1 1"))), flipAt(12)), sequencer.CodeBodyMismatch, vault},
		{"body key malformed", replace([]byte("bodyless"), set([]byte("x"))), sequencer.CodeExtraKey, both},
		{"body missing", replace(ledger.BodyKey(sha([]byte("m1 1"))), gone), sequencer.CodeFrameMismatch, frames},
		{"head missing", replace(ledger.HeadKey(), gone), sequencer.CodeHeadMissing, both},
		{"head malformed", replace(ledger.HeadKey(), set([]byte("x"))), sequencer.CodeHeadMismatch, both},
		{"head of another root", replace(ledger.HeadKey(), flipAt(20)), sequencer.CodeHeadMismatch, both},
		{"checkpoint flipped", replace(ledger.HeadKey(), func(v []byte) []byte { return flip(v, len(v)-9) }), sequencer.CodeCheckpoint, both},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.memory = whole.Fork()
			c.damage()
			for _, with := range []string{frames, vault, both} {
				cfg := b.config(t)
				if with != frames {
					cfg.Frames = nil
				}
				if with != vault {
					cfg.Vault = nil
				}
				if c.needs != with && c.needs != both {
					continue
				}
				if r := fsck(t, cfg); r.Counts[c.code] == 0 {
					t.Errorf("with %s: no %s in %+v", with, c.code, r.Counts)
				}
			}
		})
	}
}

// TestFsckDamagedFrames: a commit point that ends early, skips, repeats or tells another history.
func TestFsckDamagedFrames(t *testing.T) {
	b := checked(t)
	other := checked(t)
	all := func(m *ledgertest.Memory) (frames []*ledger.Batch) {
		for f, err := range m.Frames() {
			if err != nil {
				t.Fatal(err)
			}
			frames = append(frames, f)
		}
		return frames
	}
	change := func(i int, change func(f *ledger.Batch)) []*ledger.Batch {
		frames := all(b.memory)
		change(frames[i])
		return frames
	}
	frames := all(b.memory)
	for _, c := range []struct {
		name   string
		frames []*ledger.Batch
		code   string
	}{
		{"ends early", frames[:100], sequencer.CodeFrameInvalid},
		{"none", nil, sequencer.CodeFrameInvalid},
		{"begins late", frames[1:], sequencer.CodeFrameInvalid},
		{"skips one", slices.Delete(all(b.memory), 50, 51), sequencer.CodeFrameInvalid},
		{"repeats one", slices.Insert(all(b.memory), 50, frames[49]), sequencer.CodeFrameInvalid},
		{"of another log", all(other.memory), sequencer.CodeFrameMismatch},
		{"forks", append(frames[:50:50], all(other.memory)[50:]...), sequencer.CodeFrameInvalid},
		{"time goes back", change(50, func(f *ledger.Batch) { f.Head.At = f.Head.At.Add(-1e12) }), sequencer.CodeFrameInvalid},
		{"epoch goes back", change(50, func(f *ledger.Batch) { f.Head.Epoch = 0 }), sequencer.CodeFrameInvalid},
		{"another root", change(50, func(f *ledger.Batch) { f.Head.Root[0]++ }), sequencer.CodeFrameInvalid},
		{"older checkpoint", change(50, func(f *ledger.Batch) { f.Checkpoint = frames[49].Checkpoint }), sequencer.CodeCheckpoint},
		{"no checkpoint", change(50, func(f *ledger.Batch) { f.Checkpoint = nil }), sequencer.CodeCheckpoint},
		{"older row version", change(50, func(f *ledger.Batch) { f.Rows[0].Version = 1 }), sequencer.CodeFrameInvalid},
		{"another row", change(567, func(f *ledger.Batch) {
			f.Rows = append(f.Rows, ledger.Row{Key: state("m1"), Version: 1000, Value: []byte("revoked")})
		}), sequencer.CodeRowStale},
	} {
		cfg := b.config(t)
		cfg.Frames = func(yield func(*ledger.Batch, error) bool) {
			for _, f := range c.frames {
				f.Tiles = nil
				if !yield(f, nil) {
					return
				}
			}
		}
		if r := fsck(t, cfg); r.Counts[c.code] == 0 {
			t.Errorf("%s: no %s in %+v", c.name, c.code, r.Counts)
		}
	}
	cfg := b.config(t)
	cfg.Frames = func(yield func(*ledger.Batch, error) bool) {
		_ = yield(frames[0], nil) && yield(nil, errors.New("the disk"))
	}
	if r := fsck(t, cfg); r.Counts[sequencer.CodeFrameInvalid] == 0 {
		t.Errorf("an unreadable frame is no finding: %+v", r.Counts)
	}
}

// TestFsckAnything flips, cuts, swaps and drops values all over the store: whatever it is, something is found, and
// nothing panics. The log itself, opened over the same damage, does not panic either.
func TestFsckAnything(t *testing.T) {
	b := checked(t)
	whole := b.memory
	var keys [][]byte
	snapshot, err := whole.Open().Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []byte("edlftcrhbm") {
		for kv := range snapshot.Iterate([]byte{prefix}, nil) {
			keys = append(keys, kv.Key)
		}
	}
	const seed = 1
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range 40 {
		b.memory = whole.Fork()
		key := keys[random.IntN(len(keys))]
		value := whole.Raw(key)
		var to []byte
		switch how := random.IntN(4); {
		case how == 0 && len(value) > 0:
			to = flip(value, random.IntN(len(value)))
		case how == 1 && len(value) > 0:
			to = value[:random.IntN(len(value))]
		case how == 2:
			to = whole.Raw(keys[random.IntN(len(keys))])
		}
		if to != nil && string(to) == string(value) {
			continue
		}
		b.memory.Corrupt(key, to)
		if r := fsck(t, b.config(t)); r.Clean() {
			t.Errorf("round %d: key %q changed from %x to %x, nothing found", round, key, value, to)
		}
		b.open(t, ledgertest.Options{Keys: b.Keys, Vault: b.Vault})
		v := b.MustView(t)
		for i := range v.Head().Size {
			if e, err := v.Entry(i); err == nil && string(e.Statement) != string(whole.Raw(ledger.EntryKey(i))) {
				t.Errorf("round %d: entry %d is answered with other octets", round, i)
			} else if err == nil && i%7 == 0 {
				_, _ = v.Lookup(ledger.EntryID(ledger.HashLeaf(e.Statement)))
				_, _ = v.Inclusion(i, v.Head().Size)
			}
		}
		for id := range 4 {
			row, err := v.Proven(state(fmt.Sprintf("m%d", id)))
			if want := fmt.Sprint(556 + id); err == nil && string(row.Value) != want {
				t.Errorf("round %d: row of m%d is proven to be %q, it is %q", round, id, row.Value, want)
			}
		}
		b.Stop()
	}
}
