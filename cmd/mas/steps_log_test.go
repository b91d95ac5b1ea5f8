package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/journal"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/sequencer"
)

const stepOrigin = "log.a.example/log/1"

// stepStore are the options of the stores that are broken: small files, so that a few commits roll them.
func stepStore() badgerstore.Options {
	o := badgerstore.Options{Root: [32]byte{1}, Origin: stepOrigin}.Small()
	o.SegmentSize, o.MemTableSize, o.ValueLogSize, o.Reserve = 256<<10, 2<<20, 1<<20, 4<<20
	return o
}

// A logWork drives one opening of a store and its log.
type logWork struct {
	t     *testing.T
	dir   string
	r     *report
	store *badgerstore.Store
	log   *ledgertest.Log
	made  int
}

// openWork opens store and log. If they do not open it says so and returns nil.
func openWork(t *testing.T, dir string, r *report, opt badgerstore.Options) *logWork {
	w := &logWork{t: t, dir: dir, r: r}
	var err error
	if w.store, err = badgerstore.Open(stepPath(dir, "store"), opt); err != nil {
		r.saw("does not start", err)
		return nil
	}
	w.log, err = ledgertest.OpenLog(t, ledgertest.Options{
		Store: w.store, Keys: ledgertest.KeysIn(t, dir, stepOrigin), Vault: w.store.Vault(), Stops: w.store.Stops(),
	})
	if err != nil {
		r.saw("does not start", err)
		_ = w.store.Close()
		return nil
	}
	return w
}

// mustWork is openWork where nothing is broken yet.
func mustWork(t *testing.T, dir string, r *report) *logWork {
	t.Helper()
	w := openWork(t, dir, r, stepStore())
	if w == nil {
		t.Fatalf("it does not open: %s", r.kept[0].Text)
	}
	return w
}

// commit commits one mission with its evidence.
func (w *logWork) commit() {
	w.made++
	id := fmt.Sprintf("m%d-%d-%08x", time.Now().UnixNano(), w.made, rand.Uint32())
	body := append([]byte(id+"\n"), make([]byte, 40000)...)
	digest := sha256.Sum256(body)
	done, err := w.log.Commit(context.Background(), ledger.Change{
		Expect:  []ledger.Precondition{ledger.Absent(stepRow(id))},
		Put:     []ledger.Record{{Key: stepRow(id), Value: []byte(id), JustifiedBy: 0}},
		Entries: []ledger.Entry{w.log.Keys.WithBody(w.t, id, body)},
	})
	if err != nil {
		w.failed(err)
		return
	}
	w.r.say(fact{Kind: "entry", Name: id, N: done.Results[0].Index, Text: digest[:]})
	v, err := w.log.View()
	if err != nil {
		w.failed(err)
		return
	}
	defer v.Close()
	w.r.say(fact{Kind: "checkpoint", Text: v.Checkpoint()})
}

func stepRow(id string) string { return "mission/" + id + "/state" }

// failed reports how a refusal shows.
func (w *logWork) failed(err error) {
	h := w.log.Health()
	switch {
	case h.Integrity != nil:
		w.r.saw("integrity latch", err)
	case h.Write != nil && h.Write.Code != sequencer.CodeStoreUnavailable:
		w.r.saw("write latch", err)
	case errors.Is(err, ledger.ErrUnavailable):
		w.r.saw("refused", err)
	default:
		w.r.saw("failed", err)
	}
}

// stop orders an emergency stop.
func (w *logWork) stop(id string) {
	w.r.say(fact{Kind: "try", Name: "stop " + id})
	err := w.store.Stops().Stop(context.Background(), ledger.Stop{Kind: ledger.StopMission, ID: id, Actor: "operator"})
	if _, ok := w.store.Stops().Stopped(ledger.StopMission, id); !ok {
		w.t.Errorf("the stop of %s is not in force: %v", id, err)
	}
	if err != nil {
		w.r.saw("refused, in force", err)
		return
	}
	w.r.say(fact{Kind: "stop", Name: id})
}

// replayed marks the oldest stop as replayed.
func (w *logWork) replayed() {
	pending := w.store.Stops().Pending()
	if len(pending) == 0 {
		return
	}
	w.r.say(fact{Kind: "try", Name: "replayed " + pending[0].ID})
	if err := w.store.Stops().Replayed(1); err != nil {
		w.r.saw("refused", err)
		return
	}
	w.r.say(fact{Kind: "replayed", Name: pending[0].ID})
}

// erase erases the body of the entry at index, if it is there.
func (w *logWork) erase(index uint64) {
	v, err := w.log.View()
	if err != nil {
		return
	}
	defer v.Close()
	e, err := v.Entry(index)
	if err != nil {
		return
	}
	st, err := ledger.ParseStatement(e.Statement)
	if err != nil {
		w.t.Error(err)
		return
	}
	snap, err := w.store.Snapshot()
	if err != nil {
		return
	}
	defer snap.Close()
	sealed, err := snap.Get(ledger.BodyKey(st.Digest))
	if err != nil {
		return
	}
	w.r.say(fact{Kind: "try", Name: "erase", N: index})
	if err := w.store.Vault().Erase(st.Digest, sealed); err != nil {
		w.r.saw("refused", err)
		return
	}
	w.r.say(fact{Kind: "erased", N: index})
}

// upkeep lets the store compress its sealed segments.
func (w *logWork) upkeep() {
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.store.Run(ctx)
	}()
	for ctx.Err() == nil {
		raw, _ := filepath.Glob(stepPath(w.dir, "store", "journal", "*.seg"))
		next, _ := filepath.Glob(stepPath(w.dir, "store", "journal", "next"))
		if len(raw) <= 1 && len(next) == 1 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	<-ended
}

func (w *logWork) close() {
	_ = w.log.Stop()
	if err := w.store.Close(); err != nil {
		w.r.saw("unclean end", err)
	}
}

// work is a little of everything.
func (w *logWork) work() {
	for range 10 {
		w.commit()
	}
	w.stop("s1")
	w.stop("s2")
	w.replayed()
	w.erase(2)
	if err := w.store.Flush(); err != nil {
		w.r.saw("refused", err)
	}
	for range 6 {
		w.commit()
	}
	w.upkeep()
	w.commit()
	w.stop("s3")
}

func runLog(t *testing.T, dir string, r *report) {
	w := openWork(t, dir, r, stepStore())
	if w == nil {
		return
	}
	w.work()
	w.close()
}

// lowFS reports a full disk when told to.
type lowFS struct {
	journal.FS
	low atomic.Bool
}

func (f *lowFS) Free(dir string) (uint64, error) {
	if f.low.Load() {
		return 1 << 20, nil
	}
	return f.FS.Free(dir)
}

func runLogOnFullDisk(t *testing.T, dir string, r *report) {
	disk := &lowFS{FS: journal.OS}
	opt := stepStore()
	opt.FS = disk
	w := openWork(t, dir, r, opt)
	if w == nil {
		return
	}
	w.commit()
	disk.low.Store(true)
	_, err := w.log.Commit(context.Background(), ledger.Change{
		Put: []ledger.Record{{Key: "n", Add: 1, JustifiedBy: ledger.NotJustified}}})
	if err == nil {
		t.Error("a commit was taken although the disk is full")
	}
	disk.low.Store(false)
	w.commit()
	w.close()
}

func prepareLog(t *testing.T, dir string, r *report) {
	w := mustWork(t, dir, r)
	w.work()
	w.close()
}

// prepareKilled leaves the directory as a kill does.
func prepareKilled(t *testing.T, dir string, r *report) {
	live := t.TempDir()
	w := mustWork(t, live, r)
	w.work()
	if err := copyDirectory(dir, live); err != nil {
		t.Fatal(err)
	}
	w.close()
}

// prepareTorn leaves the directory as a kill does that also left stray bits behind the journal and half an entry in the
// write-ahead log of the view.
func prepareTorn(t *testing.T, dir string, r *report) {
	prepareKilled(t, dir, r)
	patch(t, last(t, stepPath(dir, "store", "journal", "*.seg")), -200, []byte{0x10})
	wal := last(t, stepPath(dir, "store", "badger", "*.mem"))
	data, err := os.ReadFile(wal)
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(data, "\x00"))
	patch(t, wal, int64(end+1), []byte{64, 0, 30, 200, 1, 0, 'x', 'y'})
}

// prepareDamaged leaves a view that cannot be opened.
func prepareDamaged(t *testing.T, dir string, r *report) {
	prepareLog(t, dir, r)
	patch(t, stepPath(dir, "store", "badger", "MANIFEST"), 3, []byte("damage"))
}

// prepareOlderKeys restores the key file from before an erasure.
func prepareOlderKeys(t *testing.T, dir string, r *report) {
	w := mustWork(t, dir, r)
	w.commit()
	w.commit()
	path := stepPath(dir, "store", "shred", "keys")
	older, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w.erase(1)
	w.close()
	if err := os.WriteFile(path, older, 0o600); err != nil {
		t.Fatal(err)
	}
}

// last returns the last file that matches.
func last(t *testing.T, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	return slices.Max(paths)
}

// patch overwrites part of a file; a negative offset counts from its end.
func patch(t *testing.T, path string, off int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if off < 0 {
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		off += info.Size()
	}
	if _, err := f.WriteAt(data, off); err != nil {
		t.Fatal(err)
	}
}

// checkLog opens store and log again and holds them against what was reported: as it finds them, after they went on,
// and under `make soak` once more after they were closed in order.
func checkLog(t *testing.T, dir string, said []fact) {
	for round := range soak(2, 1) {
		var r report
		w := openWork(t, dir, &r, stepStore())
		if w == nil {
			t.Fatalf("it does not open again: %s", r.kept[0].Text)
		}
		if h := w.log.Health(); h != (ledger.Health{}) {
			t.Fatalf("health %+v", h)
		}
		w.audit(said)
		w.commit()
		w.stop(fmt.Sprintf("after-%d", round))
		said = append(said, r.kept...)
		w.audit(said)
		w.fsck()
		if err := w.log.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := w.store.Close(); err != nil {
			t.Fatal(err)
		}
		for _, f := range r.kept {
			if f.Kind == "saw" {
				t.Fatalf("after it opened again: %s: %s", f.Name, f.Text)
			}
		}
		damage, err := badgerstore.Check(t.Context(), stepPath(dir, "store"), stepStore())
		if err != nil || len(damage) > 0 {
			t.Fatalf("on the disk: %v, %v", damage, err)
		}
	}
}

// audit holds the log against what was reported.
func (w *logWork) audit(said []fact) {
	t := w.t
	t.Helper()
	tried, erased := map[uint64]bool{}, map[uint64]bool{}
	var stops, replayed, maybe []string
	var earlier []ledger.Checkpoint
	for _, f := range said {
		switch f.Kind {
		case "checkpoint":
			c, err := ledger.OpenCheckpoint(f.Text, stepOrigin, w.log.Keys.Verifier)
			if err != nil {
				t.Fatal(err)
			}
			earlier = append(earlier, c)
		case "try":
			if id, ok := strings.CutPrefix(f.Name, "replayed "); ok {
				maybe = append(maybe, id)
			} else if f.Name == "erase" {
				tried[f.N] = true
			}
		case "erased":
			erased[f.N] = true
		case "stop":
			stops = append(stops, f.Name)
		case "replayed":
			replayed = append(replayed, f.Name)
		}
	}
	ledgertest.CheckLog(t, w.log, w.log.Keys.VKey, earlier...)
	v, err := w.log.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, f := range said {
		if f.Kind == "entry" {
			w.auditEntry(v, f, tried[f.N], erased[f.N])
		}
	}
	var pending []string
	for _, s := range w.store.Stops().Pending() {
		pending = append(pending, s.ID)
	}
	for id, want := range counts(stops) {
		most, least := want-counts(replayed)[id], want-counts(maybe)[id]
		if have := counts(pending)[id]; have < least {
			t.Errorf("stop %s: %d pending, %d acknowledged, %d replayed", id, have, want, want-most)
		}
	}
}

func counts(list []string) map[string]int {
	out := map[string]int{}
	for _, s := range list {
		out[s]++
	}
	return out
}

// auditEntry looks for one acknowledged entry, its row and its body.
func (w *logWork) auditEntry(v ledger.View, f fact, tried, erased bool) {
	t := w.t
	t.Helper()
	e, err := v.Entry(f.N)
	if err != nil {
		t.Fatalf("entry %d of %s: %v", f.N, f.Name, err)
	}
	digest := ledger.Hash(f.Text)
	if st, err := ledger.ParseStatement(e.Statement); err != nil || st.Digest != digest {
		t.Fatalf("entry %d is not that of %s: %v", f.N, f.Name, err)
	}
	if row, err := v.Proven(stepRow(f.Name)); err != nil || string(row.Value) != f.Name || row.JustifiedBy != f.N {
		t.Fatalf("the row of %s: %+v, %v", f.Name, row, err)
	}
	body, err := v.Body(digest)
	switch {
	case errors.Is(err, ledger.ErrErased) && tried:
	case erased:
		t.Fatalf("the erased body of %s opens: %v", f.Name, err)
	case err != nil || sha256.Sum256(body) != digest:
		t.Fatalf("the body of %s: %v", f.Name, err)
	}
}

// fsck reads everything in the store.
func (w *logWork) fsck() {
	w.t.Helper()
	snap, err := w.store.Snapshot()
	if err != nil {
		w.t.Fatal(err)
	}
	defer snap.Close()
	found, err := sequencer.Fsck(w.t.Context(), sequencer.FsckConfig{
		Snapshot: snap, Head: w.store.Head(), Origin: stepOrigin, Verifiers: []note.Verifier{w.log.Keys.Verifier},
		Frames: w.store.Frames(1), Vault: w.store.Vault(),
	})
	if err != nil || !found.Clean() {
		w.t.Fatalf("fsck: %v, %+v", err, found)
	}
}
