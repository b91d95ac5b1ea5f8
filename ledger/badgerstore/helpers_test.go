package badgerstore_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/journal"
	"github.com/mission-authority/mas/ledger/ledgertest"
)

// small are options for tests that do not look at syncs, which are left out: this machine does not lose power in them.
func small() badgerstore.Options {
	return badgerstore.Options{Root: [32]byte{1}, Origin: "a.example/log/1", FS: unsynced{journal.OS}}.Small()
}

type unsynced struct{ journal.FS }

func (unsynced) SyncDir(string) error { return nil }

func (u unsynced) OpenFile(name string, flag int) (journal.File, error) {
	f, err := u.FS.OpenFile(name, flag)
	return unsyncedFile{f}, err
}

type unsyncedFile struct{ journal.File }

func (unsyncedFile) Sync() error { return nil }

func mustOpen(t testing.TB, dir string, opt badgerstore.Options) *badgerstore.Store {
	t.Helper()
	s, err := badgerstore.Open(dir, opt)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustClose(t testing.TB, s *badgerstore.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// A writer makes and applies batches like those of a log of missions: one row changes with every batch, bodies are
// sealed.
type writer struct {
	t       testing.TB
	chain   *ledgertest.Chain
	refused *ledger.Batch // tried and refused: tried again next
	expect  ledger.Head   // what refused follows
}

func newWriter(t testing.TB, s *badgerstore.Store) *writer {
	return &writer{t: t, chain: ledgertest.NewChain(t, s.Head())}
}

// batch makes the n-th batch with some entries.
func (w *writer) batch(s *badgerstore.Store, entries int) *ledger.Batch {
	w.t.Helper()
	n := w.chain.Head.Seq + 1
	var list []ledger.Entry
	var bodies []ledger.SealedBody
	for i := range entries {
		body := fmt.Appendf(nil, "body %d of batch %d", i, n)
		list = append(list, w.chain.Keys.Entry(w.t, fmt.Sprintf("m%d", i%3), body))
		digest := ledger.Hash(sha256.Sum256(body))
		sealed, err := s.Vault().Seal(digest, body)
		if err != nil {
			w.t.Fatal(err)
		}
		bodies = append(bodies, ledger.SealedBody{Digest: digest, Sealed: sealed})
	}
	rows := []ledger.Row{
		{Key: "mission/m0/state", Version: n, Value: fmt.Appendf(nil, "state after batch %d", n)},
		{Key: fmt.Sprintf("mission/%d/record", n), Value: slices.Repeat([]byte{byte(n)}, 500)},
	}
	if entries > 0 {
		rows[0].Justified, rows[0].JustifiedBy = true, w.chain.Head.Size
	}
	return w.chain.Next(rows, bodies, list...)
}

// write applies n batches and waits until Badger has them, so that a copy of the files is one of a moment.
func (w *writer) write(s *badgerstore.Store, n int) {
	w.t.Helper()
	for range n {
		if err := w.try(s); err != nil {
			w.t.Fatalf("Apply: %v", err)
		}
	}
	if err := badgerstore.Settle(s); err != nil {
		w.t.Fatal(err)
	}
}

// try applies one batch, the one refused last time if there is one.
func (w *writer) try(s *badgerstore.Store) error {
	w.t.Helper()
	if w.refused == nil {
		w.expect = w.chain.Head
		w.refused = w.batch(s, 3)
	}
	epoch := s.Head().Epoch
	w.refused.Head.Epoch, w.expect.Epoch, w.chain.Head.Epoch = epoch, epoch, epoch
	err := s.Apply(w.t.Context(), w.refused, w.expect)
	if err == nil {
		w.refused = nil
	}
	return err
}

// reopen opens the store again and goes on where the chain is, under the new epoch.
func (w *writer) reopen(dir string, opt badgerstore.Options) *badgerstore.Store {
	w.t.Helper()
	s := mustOpen(w.t, dir, opt)
	w.follow(s)
	return s
}

func (w *writer) follow(s *badgerstore.Store) {
	w.t.Helper()
	h, want := s.Head(), w.chain.Head
	if w.refused != nil {
		want = w.expect
	}
	if h.Seq != want.Seq || h.Root != want.Root || h.Epoch <= want.Epoch {
		w.t.Fatalf("opened at frame %d of epoch %d, want frame %d of a later epoch than %d",
			h.Seq, h.Epoch, want.Seq, want.Epoch)
	}
	w.chain.Head.Epoch = h.Epoch
}

// model is what the view must hold, derived from the frames alone.
func model(s *badgerstore.Store) (map[string]string, error) {
	want := make(map[string]string)
	edge := ledger.NewEdge()
	for b, err := range s.Frames(1) {
		if err != nil {
			return nil, err
		}
		for i := range b.Entries {
			b.Tiles = append(b.Tiles, edge.Append(b.Entries[i].Leaf)...)
		}
		for _, kv := range b.KVs() {
			want[string(kv.Key)] = string(kv.Value)
		}
	}
	return want, nil
}

// compare reads everything and holds it against the journal. Errors that report damage are returned; a wrong answer is
// fatal.
func compare(t testing.TB, s *badgerstore.Store) error {
	t.Helper()
	want, err := model(s)
	if err != nil {
		return err
	}
	snap, err := s.Snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		got, err := snap.Get([]byte(key))
		switch {
		case errors.Is(err, ledger.ErrIntegrity):
			return err
		case err != nil:
			t.Fatalf("key %q: %v", key, err)
		case string(got) != want[key]:
			t.Fatalf("key %q has %d octets, want %d", key, len(got), len(want[key]))
		}
	}
	seen := 0
	for _, prefix := range []byte("edlftcrhbm") {
		for kv, err := range snap.Iterate([]byte{prefix}, nil) {
			if err != nil {
				return err
			}
			if v, ok := want[string(kv.Key)]; !ok || v != string(kv.Value) {
				t.Fatalf("iteration yields key %q with %d octets, want %d (%v)", kv.Key, len(kv.Value), len(v), ok)
			}
			seen++
		}
	}
	if seen != len(want) {
		t.Fatalf("iteration yields %d keys, want %d", seen, len(want))
	}
	return nil
}

func mustMatch(t testing.TB, s *badgerstore.Store) {
	t.Helper()
	if err := compare(t, s); err != nil {
		t.Fatalf("reading everything: %v", err)
	}
}

// openBodies opens every body of the store.
func openBodies(t testing.TB, s *badgerstore.Store) {
	t.Helper()
	for b, err := range s.Frames(1) {
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range b.Bodies {
			if _, err := s.Vault().Open(body.Digest, body.Sealed); err != nil {
				t.Fatalf("body of batch %d: %v", b.Head.Seq, err)
			}
		}
	}
}

// copyDir copies a directory tree of a store, without its ballast.
func copyDir(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, path)
		switch {
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case d.Name() == "ballast":
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// files lists the files below dir whose name ends in suffix.
func files(t testing.TB, dir, suffix string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, suffix) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// rowBatch is a batch that follows any head: rows, no entries.
func rowBatch(head ledger.Head) *ledger.Batch {
	next := head
	next.Seq++
	next.At = head.At.Add(time.Millisecond)
	return &ledger.Batch{Head: next, First: head.Size, Checkpoint: []byte("none"), Rows: []ledger.Row{
		{Key: "state", Version: next.Seq, Value: fmt.Appendf(nil, "state after batch %d", next.Seq)},
		{Key: fmt.Sprintf("record/%d", next.Seq), Version: 1, Value: slices.Repeat([]byte{byte(next.Seq)}, 700)},
	}}
}
