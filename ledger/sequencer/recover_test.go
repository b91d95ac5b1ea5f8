package sequencer_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/sequencer"
	"golang.org/x/mod/sumdb/note"
)

// TestReopenAtSizes: the edge is rebuilt right at every kind of boundary, and the tree goes on from there.
func TestReopenAtSizes(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	var seen []ledger.Checkpoint
	for _, size := range []uint64{1, 2, 3, 255, 256, 257, 511, 512, 513, 1023, 1025} {
		fill(t, b, size)
		b.reopen(t)
		seen = append(seen, ledgertest.CheckLog(t, b, b.Keys.VKey, seen...))
		if got := seen[len(seen)-1].Size; got != size {
			t.Fatalf("size %d, want %d", got, size)
		}
	}
	if testing.Short() {
		return
	}
	for _, size := range []uint64{65_535, 65_536, 65_537} {
		fill(t, b, size)
		b.reopen(t)
		v := b.MustView(t)
		if h := b.Health(); h != (ledger.Health{}) || v.Head().Size != size {
			t.Fatalf("size %d, want %d, health %+v", v.Head().Size, size, h)
		}
		for _, e := range seen {
			if root, err := v.RootAt(e.Size); err != nil || root != e.Root {
				t.Fatalf("root at %d is %s: %v", e.Size, root, err)
			}
		}
	}
}

// TestOpenDamaged: what is wrong with a stored head, edge or commit row is noticed when the log opens. It opens
// latched: no commits, nothing proven; whatever still verifies is served.
//
// Audit rows: 83.
func TestOpenDamaged(t *testing.T) {
	const size = 600
	whole := newBench(t, ledgertest.Options{})
	for i := range size - 1 {
		whole.MustCommit(t, whole.step(t, "m1", fmt.Sprint(i)))
	}
	v := whole.MustView(t)
	h, checkpoint := v.Head(), v.Checkpoint()
	whole.Stop()
	reset := func(h ledger.Head, checkpoint []byte) []byte { return ledger.MarshalHead(h, checkpoint) }
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte)
		code   string
		tree   bool // the tree can still be read
	}{
		{"head missing", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) { m.Corrupt(ledger.HeadKey(), nil) },
			sequencer.CodeHeadMissing, false},
		{"head short", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			m.Corrupt(ledger.HeadKey(), []byte("head"))
		}, sequencer.CodeHeadMismatch, false},
		{"head of another size", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			h.Size--
			m.Corrupt(ledger.HeadKey(), reset(h, note))
		}, sequencer.CodeHeadMismatch, false},
		{"head of another time", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			h.At = h.At.Add(time.Hour)
			m.Corrupt(ledger.HeadKey(), reset(h, note))
		}, sequencer.CodeHeadMismatch, false},
		{"commit point ahead", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			h.Seq++
			m.SetHead(h)
		}, sequencer.CodeHeadMismatch, false},
		{"everything lost but rows", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			m.SetHead(ledger.Head{})
			m.Corrupt(ledger.HeadKey(), nil)
		}, sequencer.CodeHeadMissing, false},
		{"signature", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			m.Corrupt(ledger.HeadKey(), reset(h, flip(note, len(note)-20)))
		}, sequencer.CodeCheckpoint, false},
		{"root in both", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			h.Root[3] ^= 1
			m.Corrupt(ledger.HeadKey(), reset(h, note))
			m.SetHead(h)
		}, sequencer.CodeCheckpoint, false},
		{"no checkpoint", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			m.Corrupt(ledger.HeadKey(), reset(h, nil))
		}, sequencer.CodeCheckpoint, false},
		{"entry at the edge", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			m.Corrupt(ledger.EntryKey(size-1), flip(m.Raw(ledger.EntryKey(size-1)), 70))
		}, sequencer.CodeRootMismatch, false},
		{"entry at the edge missing", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			m.Corrupt(ledger.EntryKey(size-80), nil)
		}, sequencer.CodeRootMismatch, false},
		{"tile at the edge", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			m.Corrupt(ledger.TileKey(0, 1), flip(m.Raw(ledger.TileKey(0, 1)), 8191))
		}, sequencer.CodeRootMismatch, false},
		{"tile at the edge short", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			m.Corrupt(ledger.TileKey(0, 1), m.Raw(ledger.TileKey(0, 1))[:32])
		}, sequencer.CodeRootMismatch, false},
		{"tile at the edge missing", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			m.Corrupt(ledger.TileKey(0, 0), nil)
		}, sequencer.CodeRootMismatch, false},
		{"commit row missing", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			m.Corrupt(ledger.CommitKey(300), nil)
		}, sequencer.CodeCommitMismatch, true},
		{"first commit row missing", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			m.Corrupt(ledger.CommitKey(0), nil)
		}, sequencer.CodeCommitMismatch, true},
		{"last commit row missing", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			m.Corrupt(ledger.CommitKey(size-1), nil)
		}, sequencer.CodeCommitMismatch, true},
		{"commit row short", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			m.Corrupt(ledger.CommitKey(300), []byte("row"))
		}, sequencer.CodeCommitMismatch, true},
		{"commit row of another time", func(t *testing.T, m *ledgertest.Memory, h ledger.Head, note []byte) {
			row := ledger.CommitRow{First: 300, Count: 1, At: h.At.Add(time.Hour), Seq: 301}
			m.Corrupt(ledger.CommitKey(300), row.Marshal())
		}, sequencer.CodeCommitMismatch, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &bench{Log: whole.Log, memory: whole.memory.Fork()}
			c.damage(t, b.memory, h, checkpoint)
			b.open(t, ledgertest.Options{Keys: b.Keys, Vault: b.Vault})
			wantCode(t, b.Health().Integrity, c.code)
			_, err := b.Commit(t.Context(), put("k", nil))
			wantErr(t, err, ledger.ErrIntegrity)
			after := b.MustView(t)
			_, err = after.Proven(state("m1"))
			wantErr(t, err, ledger.ErrIntegrity)
			if row, err := after.Get(state("m1")); err != nil || string(row.Value) != fmt.Sprint(size-2) {
				t.Fatalf("the row is %q: %v", row.Value, err)
			}
			_, err = after.Inclusion(2, size)
			if c.tree && err != nil {
				t.Fatalf("the tree is whole: %v", err)
			} else if !c.tree && err == nil {
				t.Fatal("a tree that does not verify is served")
			}
			if again := b.memory.Raw(ledger.HeadKey()); c.name == "everything lost but rows" && again != nil {
				t.Fatal("a second history was begun")
			}
			if err := b.Stop(); !errors.Is(err, ledger.ErrIntegrity) {
				t.Fatalf("Run ended with %v", err)
			}
		})
	}
}

// TestOpenWithAnotherKey: the wrong name or key is the operator's mistake, not damage.
func TestOpenWithAnotherKey(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	b.Stop()
	other := ledgertest.NewKeys(t, b.Keys.Origin)
	if _, err := ledgertest.OpenLog(t, ledgertest.Options{Store: b.memory.Open(), Keys: other}); err == nil {
		t.Fatal("opened with another key")
	}
	renamed := ledgertest.NewKeys(t, "log.b.example/log/1")
	if _, err := ledgertest.OpenLog(t, ledgertest.Options{Store: b.memory.Open(), Keys: renamed}); err == nil {
		t.Fatal("opened under another name")
	}
	// A key that was rotated away still verifies what it signed.
	rotated := *other
	open := func() (*sequencer.Log, error) {
		return sequencer.Open(t.Context(), sequencer.Config{
			Store: b.memory.Open(), Origin: rotated.Origin, Checkpoint: rotated.Checkpoint,
			Verifiers: []note.Verifier{rotated.Verifier, b.Keys.Verifier}, Now: time.Now,
		})
	}
	log, err := open()
	if err != nil {
		t.Fatal(err)
	}
	log.Close()
	if h := log.Health(); h != (ledger.Health{}) {
		t.Fatalf("health %+v", h)
	}
}

func TestOpenIncomplete(t *testing.T) {
	keys := ledgertest.NewKeys(t, "log.a.example/log/1")
	whole := func() sequencer.Config {
		return sequencer.Config{
			Store: ledgertest.NewStore(), Vault: ledgertest.NewVault(), Origin: keys.Origin, Checkpoint: keys.Checkpoint,
			Verifiers: []note.Verifier{keys.Verifier}, Genesis: keys.Genesis(t), Now: time.Now,
		}
	}
	small := ledgertest.NewMemory()
	small.Limit(ledger.Limits{Bytes: ledger.BatchCost, Entries: 1})
	other := ledgertest.NewKeys(t, keys.Origin)
	for name, change := range map[string]func(*sequencer.Config){
		"no store":            func(c *sequencer.Config) { c.Store = nil },
		"no signer":           func(c *sequencer.Config) { c.Checkpoint = nil },
		"no clock":            func(c *sequencer.Config) { c.Now = nil },
		"no verifier":         func(c *sequencer.Config) { c.Verifiers = nil },
		"verifier of another": func(c *sequencer.Config) { c.Verifiers = []note.Verifier{other.Verifier} },
		"other origin":        func(c *sequencer.Config) { c.Origin = "elsewhere" },
		"no genesis":          func(c *sequencer.Config) { c.Genesis = nil },
		"broken genesis":      func(c *sequencer.Config) { c.Genesis = &ledger.Entry{Statement: []byte("x")} },
		"no vault for it":     func(c *sequencer.Config) { c.Vault = nil },
		"no room":             func(c *sequencer.Config) { c.Store = small.Open() },
		"store without room": func(c *sequencer.Config) {
			f := ledgertest.NewFaultStore(ledgertest.NewStore())
			f.Inject(1, ledgertest.Refuse)
			c.Store = f
		},
	} {
		cfg := whole()
		change(&cfg)
		if log, err := sequencer.Open(t.Context(), cfg); err == nil {
			log.Close()
			t.Errorf("%s: opened", name)
		}
	}
	log, err := sequencer.Open(t.Context(), whole())
	if err != nil {
		t.Fatal(err)
	}
	log.Close()
}

// TestLatchOfTheStore: an engine that opened with its own latch closed closes that of the log.
func TestLatchOfTheStore(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	b.MustCommit(t, b.step(t, "m1", "active"))
	b.Stop()
	latched := &latchedStore{Store: b.memory.Open()}
	log := ledgertest.NewLog(t, ledgertest.Options{Store: latched, Keys: b.Keys, Vault: b.Vault})
	log.MustCommit(t, put("k", nil))
	latched.health = ledger.Health{Integrity: &ledger.Latch{Code: "journal_rollback", Since: start}}
	wantCode(t, log.Health().Integrity, "journal_rollback")
	_, err := log.Commit(t.Context(), put("k", nil))
	wantErr(t, err, ledger.ErrIntegrity)
	_, err = log.MustView(t).Proven(state("m1"))
	wantErr(t, err, ledger.ErrIntegrity)
	latched.health = ledger.Health{Write: &ledger.Latch{Code: "commit_failed", Since: start}}
	wantCode(t, log.Health().Write, "commit_failed")
	_, err = log.Commit(t.Context(), put("k", nil))
	wantErr(t, err, ledger.ErrUnavailable)
	if row, err := log.MustView(t).Proven(state("m1")); err != nil || string(row.Value) != "active" {
		t.Fatalf("reads stop at the write latch: %q %v", row.Value, err)
	}
}

type latchedStore struct {
	ledger.Store
	health ledger.Health
}

func (s *latchedStore) Health() ledger.Health { return s.health }

// TestLogsNoContents: what the log writes about damage names keys and codes, never values.
func TestLogsNoContents(t *testing.T) {
	var out strings.Builder
	b := newBench(t, ledgertest.Options{Log: slog.New(slog.NewTextHandler(&out, nil))})
	b.MustCommit(t, b.step(t, "m1", "a secret value"))
	key := ledger.RowKey(state("m1"))
	b.corrupt(t, key, flip(b.memory.Raw(key), 3))
	if _, err := b.MustView(t).Get(state("m1")); err == nil {
		t.Fatal("no damage noticed")
	}
	b.Stop()
	if !strings.Contains(out.String(), sequencer.CodeRowMismatch) || strings.Contains(out.String(), "secret") {
		t.Fatalf("log: %s", out.String())
	}
}

// TestOverBadger: the whole path over the embedded engine, through restarts.
func TestOverBadger(t *testing.T) {
	dir := t.TempDir()
	var seen []ledger.Checkpoint
	var keys *ledgertest.Keys
	for round := range 3 {
		store, err := badgerstore.Open(dir, badgerstore.Options{Origin: "log.a.example/log/1"}.Small())
		if err != nil {
			t.Fatal(err)
		}
		log := ledgertest.NewLog(t, ledgertest.Options{Store: store, Keys: keys, Vault: store.Vault(), Stops: store.Stops()})
		keys = log.Keys
		for i := range 150 {
			id := fmt.Sprintf("m%d", i%5)
			log.MustCommit(t, ledger.Change{
				Put:     []ledger.Record{{Key: state(id), Value: fmt.Append(nil, round, i), JustifiedBy: 0}},
				Entries: []ledger.Entry{keys.WithBody(t, id, fmt.Append(nil, "body ", round, i))},
			})
		}
		seen = append(seen, ledgertest.CheckLog(t, log, keys.VKey, seen...))
		snapshot, err := store.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		report, err := sequencer.Fsck(t.Context(), sequencer.FsckConfig{
			Snapshot: snapshot, Head: store.Head(), Origin: keys.Origin, Verifiers: []note.Verifier{keys.Verifier},
			Frames: store.Frames(1), Vault: store.Vault(),
		})
		if err != nil || !report.Clean() {
			t.Fatalf("%+v %v", report.Findings, err)
		}
		snapshot.Close()
		if err := log.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
