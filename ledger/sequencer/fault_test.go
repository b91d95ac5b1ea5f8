package sequencer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/sequencer"
	"golang.org/x/mod/sumdb/note"
)

// TestAnswerFollowsSync: while the engine has not said that a group is durable, nobody is answered and no view shows
// it, even where readers of the engine could see it already.
//
// Audit rows: 66.
func TestAnswerFollowsSync(t *testing.T) {
	for _, written := range []bool{false, true} {
		t.Run(fmt.Sprintf("written=%t", written), func(t *testing.T) {
			b := newBench(t, ledgertest.Options{})
			b.MustCommit(t, b.step(t, "m1", "active"))
			queue := b.fault.Hold(false)
			first := b.start(t, put("first", nil))
			<-queue.Entered
			pending := b.start(t, b.step(t, "m1", "revoked"))
			b.awaitWaiting(t, 1)
			conflict := b.start(t, put(state("m1"), nil, ledger.Version(state("m1"), 1)))
			b.awaitWaiting(t, 2)
			hold := b.fault.Hold(written)
			queue.Release()
			if a := <-first; a.err != nil {
				t.Fatal(a.err)
			}
			<-hold.Entered
			before := b.MustView(t).Head()
			for range 20 {
				select {
				case a := <-pending:
					t.Fatalf("acknowledged before the sync: %+v %v", a.Committed, a.err)
				case a := <-conflict:
					t.Fatalf("refused before what it conflicts with can be read: %v", a.err)
				case <-time.After(time.Millisecond):
				}
				if h := b.MustView(t).Head(); h != before {
					t.Fatalf("group %d is published before the sync", h.Seq)
				}
				wantRow(t, b, state("m1"), "active", 1)
			}
			hold.Release()
			if a := <-pending; a.err != nil || a.TreeSize != 3 {
				t.Fatalf("%+v %v", a.Committed, a.err)
			}
			wantErr(t, (<-conflict).err, ledger.ErrConflict)
			wantRow(t, b, state("m1"), "revoked", 2)
		})
	}
}

// powerFailRounds commits from 8 writers, pulls the plug in the middle of it, restarts, and returns how many
// acknowledged changes are gone.
func powerFailRounds(t *testing.T, rounds int, synced bool) (lost int) {
	b := newBench(t, ledgertest.Options{})
	b.memory.SetSync(synced)
	for round := range rounds {
		var mu sync.Mutex
		acknowledged := map[string]ledger.Committed{}
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 1000 {
					id := fmt.Sprintf("r%d-w%d-%d", round, w, i)
					done, err := b.Commit(t.Context(), b.step(t, id, "active"))
					if err != nil {
						return // the power is out
					}
					mu.Lock()
					acknowledged[id] = done
					mu.Unlock()
				}
			})
		}
		for enough := false; !enough; time.Sleep(time.Millisecond) {
			mu.Lock()
			enough = len(acknowledged) >= 50
			mu.Unlock()
		}
		b.memory.PowerFail()
		wg.Wait()
		b.reopen(t)
		v := b.MustView(t)
		for id, done := range acknowledged {
			row, err := v.Proven(state(id))
			entry, err2 := v.Entry(done.Results[0].Index)
			if err != nil || err2 != nil || string(row.Value) != "active" ||
				ledger.EntryID(ledger.HashLeaf(entry.Statement)) != done.Results[0].EntryID {
				lost++
			}
		}
	}
	return lost
}

// TestPowerFailure: nothing acknowledged is lost; and the same harness over an engine that answers without having
// synced reports losses.
func TestPowerFailure(t *testing.T) {
	if lost := powerFailRounds(t, 5, true); lost != 0 {
		t.Errorf("%d acknowledged changes are lost", lost)
	}
	if lost := powerFailRounds(t, 2, false); lost == 0 {
		t.Error("an engine that does not sync loses nothing: the harness sees nothing")
	}
}

// engine is a place to open stores in, for tests over several engines.
type engine struct {
	name  string
	fresh func(t *testing.T) ledgertest.Place
}

var engines = []engine{
	{"memory", func(*testing.T) ledgertest.Place {
		m := ledgertest.NewMemory()
		return func() (ledger.Store, error) { return m.Open(), nil }
	}},
	{"badger", func(t *testing.T) ledgertest.Place {
		dir, opened := t.TempDir(), 0
		return func() (ledger.Store, error) {
			opened++
			if opened > 1 { // the process that died still has the old directory: recover a copy of what it left
				next := t.TempDir()
				if err := os.CopyFS(next, os.DirFS(dir)); err != nil {
					return nil, err
				}
				dir = next
			}
			s, err := badgerstore.Open(filepath.Clean(dir), badgerstore.Options{Origin: "log.a.example/log/1"}.Small())
			if err != nil {
				return nil, err
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("closing the store: %v", err)
				}
			})
			return s, nil
		}
	}},
}

// TestCrashTable: each fault at each of the first groups, over each engine. Afterwards a fresh log opens over what is
// left: everything acknowledged is there, the group of the fault is there whole or not at all, and the log goes on.
func TestCrashTable(t *testing.T) {
	for _, e := range engines {
		for _, fault := range ledgertest.Faults {
			for _, at := range []int{1, 2, 4} {
				t.Run(fmt.Sprintf("%s/%s/group %d", e.name, fault, at), func(t *testing.T) { crash(t, e, fault, at) })
			}
		}
	}
}

func crash(t *testing.T, e engine, fault ledgertest.Fault, at int) {
	place := e.fresh(t)
	open := func(keys *ledgertest.Keys, vault ledger.Vault) (*ledgertest.Log, *ledgertest.FaultStore) {
		store, err := place()
		if err != nil {
			t.Fatal(err)
		}
		f := ledgertest.NewFaultStore(store)
		return ledgertest.NewLog(t, ledgertest.Options{Store: f, Keys: keys, Vault: vault}), f
	}
	log, store := open(nil, nil)
	first := ledgertest.CheckLog(t, log, log.Keys.VKey)
	store.Inject(at, fault)
	steps := func(i int) ledger.Change {
		id := fmt.Sprintf("m%d", i)
		return ledger.Change{
			Expect:  []ledger.Precondition{ledger.Absent(state(id))},
			Put:     []ledger.Record{{Key: state(id), Value: []byte("active"), JustifiedBy: 0}, {Key: "n", Add: 1, JustifiedBy: ledger.NotJustified}},
			Entries: []ledger.Entry{log.Keys.WithBody(t, id, []byte("approval of "+id))},
		}
	}
	for i := 1; i < at; i++ {
		log.MustCommit(t, steps(i))
	}
	seen := ledgertest.CheckLog(t, log, log.Keys.VKey, first)
	_, err := log.Commit(t.Context(), steps(at))
	wantErr(t, err, ledger.ErrUnavailable)
	if errors.Is(err, ledger.ErrOutcomeUnknown) != fault.Fatal() {
		t.Fatalf("the outcome of %q is %v", fault, err)
	}
	// What was published before goes on being served, unchanged.
	if again := ledgertest.CheckLog(t, log, log.Keys.VKey, first); again != seen {
		t.Fatalf("the published head moved from %d to %d", seen.Size, again.Size)
	}
	if fault == ledgertest.Refuse {
		log.MustCommit(t, steps(at)) // the tree is as if nothing had been tried
		log.MustCommit(t, steps(at+1))
		ledgertest.CheckLog(t, log, log.Keys.VKey, seen)
		return
	}
	_, err = log.Commit(t.Context(), steps(at))
	wantErr(t, err, ledger.ErrUnavailable)
	if errors.Is(err, ledger.ErrOutcomeUnknown) {
		t.Fatalf("a change that was refused at the latch leaves nothing open: %v", err)
	}
	switch fault {
	case ledgertest.NotApplied, ledgertest.Applied:
		wantCode(t, log.Health().Write, sequencer.CodeSyncFailed)
		if err := log.Stop(); !errors.Is(err, ledger.ErrUnavailable) {
			t.Fatalf("Run ended with %v behind a closed latch", err)
		}
	default:
		if !log.Crashed() {
			t.Fatal("the writer lives")
		}
	}

	reopened, _ := open(log.Keys, log.Vault)
	recovered := ledgertest.CheckLog(t, reopened, log.Keys.VKey, first, seen)
	there := uint64(at)
	if fault.Writes() {
		there++
	}
	if recovered.Size != there {
		t.Fatalf("size %d after recovery, want %d", recovered.Size, there)
	}
	if there > 1 {
		wantRow(t, reopened, "n", string([]byte{0, 0, 0, 0, 0, 0, 0, byte(there - 1)}), there-1)
	}
	_, err = reopened.Commit(t.Context(), steps(at))
	if fault.Writes() {
		wantErr(t, err, ledger.ErrConflict)
	} else if err != nil {
		t.Fatal(err)
	}
	reopened.MustCommit(t, steps(at+1))
	ledgertest.CheckLog(t, reopened, log.Keys.VKey, first, seen, recovered)
	if h := reopened.Health(); h != (ledger.Health{}) {
		t.Fatalf("health %+v", h)
	}
}

// TestGroupRollback: several changes of a group that the store refuses all fail, and the next group starts where the
// refused one did, in tree, rows, counters and duplicates.
func TestGroupRollback(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	b.MustCommit(t, put("k", []byte("1")))
	before := b.MustView(t).Head()
	b.fault.Inject(2, ledgertest.Refuse) // the group after the one that holds the queue up
	e := b.Keys.WithBody(t, "m1", []byte("evidence"))
	got := b.together(t,
		ledger.Change{Put: []ledger.Record{{Key: "k", Value: []byte("2"), JustifiedBy: 0}}, Entries: []ledger.Entry{e}},
		add("n", 7),
		put("k", nil, ledger.Version("k", 1)))
	for _, a := range got[:2] {
		wantErr(t, a.err, ledger.ErrUnavailable)
		wantErr(t, a.err, ledgertest.ErrFault)
		if errors.Is(a.err, ledger.ErrOutcomeUnknown) {
			t.Fatal(a.err)
		}
	}
	wantErr(t, got[2].err, ledger.ErrConflict)
	wantCode(t, b.Health().Write, sequencer.CodeStoreUnavailable)
	after := b.MustView(t).Head()
	if after.Size != before.Size || after.Root != before.Root || after.Seq != before.Seq+1 {
		t.Fatalf("head %+v after %+v", after, before)
	}
	done := b.MustCommit(t, ledger.Change{
		Expect:  []ledger.Precondition{ledger.Version("k", 1), ledger.CountBelow("n", 1)},
		Put:     []ledger.Record{{Key: "k", Value: []byte("2"), JustifiedBy: 0}, {Key: "n", Add: 1, JustifiedBy: ledger.NotJustified}},
		Entries: []ledger.Entry{e},
	})
	if done.Results[0].Index != before.Size || done.Results[0].Duplicate || done.Seq != after.Seq+1 {
		t.Fatalf("%+v", done)
	}
	if b.Health().Write != nil {
		t.Fatal("the store takes groups again, the latch is closed")
	}
	ledgertest.CheckLog(t, b, b.Keys.VKey)
	b.reopen(t)
	ledgertest.CheckLog(t, b, b.Keys.VKey)
}

// TestLinearizable: 64 writers increment one row by reading its version and expecting it. No increment is lost, no
// version is seen twice, and each writer's views never go back.
func TestLinearizable(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	b.MustCommit(t, put("x", []byte{0, 0}))
	const writers, each = 64, 5
	var mu sync.Mutex
	versions := map[uint64]bool{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			var last uint64
			for done := 0; done < each; {
				v, err := b.View()
				if err != nil {
					t.Error(err)
					return
				}
				row, err := v.Get("x")
				seq := v.Head().Seq
				v.Close()
				if err != nil || seq < last {
					t.Errorf("group %d after %d: %v", seq, last, err)
					return
				}
				n := uint16(row.Value[0])<<8 | uint16(row.Value[1])
				if uint64(n) != row.Version-1 {
					t.Errorf("version %d holds %d", row.Version, n)
				}
				n++
				c := put("x", []byte{byte(n >> 8), byte(n)}, ledger.Version("x", row.Version))
				c.Put = append(c.Put, ledger.Record{Key: fmt.Sprintf("own/%d", w), Add: 1, JustifiedBy: ledger.NotJustified})
				committed, err := b.Commit(t.Context(), c)
				if errors.Is(err, ledger.ErrConflict) {
					continue
				} else if err != nil {
					t.Error(err)
					return
				}
				last = committed.Seq
				done++
				mu.Lock()
				if versions[row.Version] {
					t.Errorf("two writers replaced version %d", row.Version)
				}
				versions[row.Version] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	const total = writers * each
	wantRow(t, b, "x", string([]byte{total >> 8, total & 0xff}), total+1)
	for w := range writers {
		wantRow(t, b, fmt.Sprintf("own/%d", w), "\x00\x00\x00\x00\x00\x00\x00\x05", each)
	}
	ledgertest.CheckLog(t, b, b.Keys.VKey)
}

// TestTimesNeverGoBack: registration times are monotonic whatever the clock does, and deadlines are not judged by a
// clock that is in doubt.
//
// Audit rows: 24.
func TestTimesNeverGoBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var step time.Duration // what somebody did to the clock
		now := func() time.Time { return time.Now().Add(step) }
		b := newBench(t, ledgertest.Options{Now: now})
		time.Sleep(time.Hour)
		first := b.MustCommit(t, b.step(t, "m1", "1"))
		if !first.At.Equal(time.Now().Truncate(time.Millisecond)) || first.At.Location() != time.UTC {
			t.Fatalf("registered at %v, it is %v", first.At, time.Now())
		}
		step = -time.Minute // within tolerance
		second := b.MustCommit(t, put("k", nil, ledger.NotAfter(first.At)))
		if !second.At.Equal(first.At) {
			t.Fatalf("registered at %v after %v", second.At, first.At)
		}
		// The time of the group counts, not that of the clock.
		_, err := b.Commit(t.Context(), put("k", nil, ledger.NotAfter(first.At.Add(-time.Second))))
		wantErr(t, err, ledger.ErrConflict)
		step = -sequencer.ClockTolerance - time.Second
		_, err = b.Commit(t.Context(), put("k", nil, ledger.NotAfter(first.At.Add(time.Hour))))
		wantErr(t, err, ledger.ErrUnavailable)
		third := b.MustCommit(t, b.step(t, "m1", "stopped")) // stopping needs no clock
		if !third.At.Equal(first.At) {
			t.Fatalf("registered at %v", third.At)
		}
		b.Stop()
		b.open(t, ledgertest.Options{Keys: b.Keys, Vault: b.Vault, Now: now})
		fourth := b.MustCommit(t, put("k", nil))
		if !fourth.At.Equal(first.At) {
			t.Fatalf("registered at %v after a restart", fourth.At)
		}
		time.Sleep(2 * sequencer.ClockTolerance)
		fifth := b.MustCommit(t, put("k", nil, ledger.NotAfter(first.At.Add(time.Hour))))
		if !fifth.At.After(first.At) {
			t.Fatalf("registered at %v", fifth.At)
		}
		ledgertest.CheckLog(t, b, b.Keys.VKey)
		b.Stop()
	})
}

// TestSignerFails: a checkpoint that cannot be signed fails the group before anything is written.
func TestSignerFails(t *testing.T) {
	keys := ledgertest.NewKeys(t, "log.a.example/log/1")
	signer := &flakySigner{Signer: keys.Checkpoint}
	keys.Checkpoint = signer
	b := newBench(t, ledgertest.Options{Keys: keys})
	applies := b.fault.Applies()
	signer.broken = true
	_, err := b.Commit(t.Context(), b.step(t, "m1", "1"))
	wantErr(t, err, ledger.ErrUnavailable)
	if b.fault.Applies() != applies || errors.Is(err, ledger.ErrOutcomeUnknown) {
		t.Fatalf("%v after %d writes", err, b.fault.Applies()-applies)
	}
	b.MustCommit(t, put("k", nil)) // needs no signature
	signer.broken = false
	b.MustCommit(t, b.step(t, "m1", "1"))
	ledgertest.CheckLog(t, b, keys.VKey)
}

type flakySigner struct {
	note.Signer
	broken bool
}

func (s *flakySigner) Sign(msg []byte) ([]byte, error) {
	if s.broken {
		return nil, errors.New("the key is away")
	}
	return s.Signer.Sign(msg)
}

// TestCommitWaitsForRun: without a writer a Commit waits, and gives up with its context.
func TestCommitWaitsForRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := ledgertest.NewKeys(t, "log.a.example/log/1")
		log, err := sequencer.Open(t.Context(), sequencer.Config{
			Store: ledgertest.NewStore(), Vault: ledgertest.NewVault(), Origin: keys.Origin, Checkpoint: keys.Checkpoint,
			Verifiers: []note.Verifier{keys.Verifier}, Genesis: keys.Genesis(t), Now: time.Now,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		_, err = log.Commit(ctx, put("k", nil))
		wantErr(t, err, context.DeadlineExceeded)
		if waited := time.Since(began); waited != time.Minute {
			t.Fatalf("waited %v", waited)
		}
		left := make(chan error, 1)
		go func() {
			_, err := log.Commit(t.Context(), put("k", nil))
			left <- err
		}()
		synctest.Wait()
		run, stop := context.WithCancel(t.Context())
		stop() // told to stop before it began: what waits is committed nevertheless
		if err := log.Run(run); err != nil {
			t.Fatal(err)
		}
		if err := <-left; err != nil {
			t.Fatal(err)
		}
		log.Close()
	})
}
