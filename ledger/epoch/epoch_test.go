package epoch_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/epoch"
	"github.com/mission-authority/mas/ledger/ledgertest"
)

const origin = "log.a.example/log/1"

// A bench is a log with a worker.
type bench struct {
	*ledgertest.Log
	memory *ledgertest.Memory
	fault  *ledgertest.FaultStore
	worker *epoch.Worker
	n      int // entries made
}

func newBench(t testing.TB) *bench {
	b := &bench{memory: ledgertest.NewMemory()}
	b.open(t, ledgertest.Options{Keys: ledgertest.NewKeys(t, origin)})
	return b
}

func (b *bench) open(t testing.TB, o ledgertest.Options) {
	t.Helper()
	b.fault = ledgertest.NewFaultStore(b.memory.Open())
	o.Store = b.fault
	b.Log = ledgertest.NewLog(t, o)
	b.worker = b.newWorker(t, b.Log)
}

func (b *bench) newWorker(t testing.TB, log ledger.Log) *epoch.Worker {
	t.Helper()
	w, err := epoch.New(epoch.Config{Issuer: b.Keys.Issuer, Origin: origin, Log: log, Evidence: b.Keys.Evidence,
		Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// add commits n entries about missions out of so many.
func (b *bench) add(t testing.TB, n, missions int) {
	t.Helper()
	for n > 0 {
		var c ledger.Change
		for range min(n, 200) {
			b.n++
			c.Entries = append(c.Entries, b.Keys.Entry(t, fmt.Sprintf("m%d", b.n*7919%missions), fmt.Append(nil, b.n)))
		}
		n -= len(c.Entries)
		b.MustCommit(t, c)
	}
}

func (b *bench) cover(t testing.TB) {
	t.Helper()
	if err := b.worker.Cover(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// check computes everything again.
func (b *bench) check(t testing.TB) *epoch.Report {
	t.Helper()
	r, err := epoch.Check(t.Context(), b.MustView(t), b.Keys.Issuer, origin)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (b *bench) clean(t testing.TB) *epoch.Report {
	t.Helper()
	r := b.check(t)
	if len(r.Findings) > 0 {
		t.Fatalf("findings: %q", r.Findings)
	}
	return r
}

func newest(t testing.TB, v ledger.View) *epoch.Latest {
	t.Helper()
	e, err := epoch.Newest(v)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestCoverCommitsWhatTheEntriesImply: epochs over a growing log, across restarts, are what anybody computes from the
// entries, and their map answers for every subject.
func TestCoverCommitsWhatTheEntriesImply(t *testing.T) {
	b := newBench(t)
	if _, err := epoch.Newest(b.MustView(t)); !errors.Is(err, ledger.ErrNoEpoch) {
		t.Fatalf("a log without epochs: %v", err)
	}
	for round := range 6 {
		b.add(t, 150, 400)
		b.cover(t)
		if round == 3 {
			b.Stop()
			b.open(t, ledgertest.Options{Keys: b.Keys, Vault: b.Vault})
		}
	}
	if r := b.clean(t); r.Epochs != 6 || r.Pages < 20 {
		t.Errorf("%d epochs, %d pages", r.Epochs, r.Pages)
	}
	v := b.MustView(t)
	e := newest(t, v)
	if e.Number != 6 || e.CoveredSize != v.Head().Size-1 || e.Index != v.Head().Size-1 {
		t.Errorf("epoch %d at %d covers %d of %d", e.Number, e.Index, e.CoveredSize, v.Head().Size)
	}
	if root, err := v.RootAt(e.CoveredSize); err != nil || root != e.CoveredRoot {
		t.Errorf("covered root %s, %v", root, err)
	}
	feeds := epoch.Map(v, b.Keys.Issuer)
	for i := range 400 {
		subject := b.Keys.Subject(t, fmt.Sprintf("m%d", i))
		var leaves []ledger.Hash
		for index, err := range v.Feed(subject, -1) {
			if err != nil {
				t.Fatal(err)
			}
			logged, err := v.Entry(index)
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, ledger.HashLeaf(logged.Statement))
		}
		got, ok, err := feeds.Get(subject)
		if err != nil || ok != (len(leaves) > 0) || ok && (got.Root != ledger.FeedRoot(leaves) || got.Count != uint64(len(leaves))) {
			t.Fatalf("%s: %+v, %t, %v; %d entries", subject, got, ok, err, len(leaves))
		}
	}
	for n := uint64(1); n <= 6; n++ {
		if got, err := epoch.At(v, n); err != nil || got.Number != n {
			t.Errorf("epoch %d: %v, %v", n, got, err)
		}
	}
	if _, err := epoch.At(v, 7); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("epoch 7: %v", err)
	}
}

// TestIdleLogDoesNotGrow: with nothing but epochs behind the last one there is no further one, however often the worker
// looks.
func TestIdleLogDoesNotGrow(t *testing.T) {
	b := newBench(t)
	b.add(t, 10, 3)
	b.cover(t)
	size := b.MustView(t).Head().Size
	for range 5 {
		b.cover(t)
	}
	if got := b.MustView(t).Head().Size; got != size {
		t.Errorf("an idle log grew from %d to %d", size, got)
	}
	b.add(t, 1, 3)
	b.cover(t)
	if got := b.MustView(t).Head().Size; got != size+2 {
		t.Errorf("one more entry: size %d after %d", got, size)
	}
	b.clean(t)
}

// TestRunCoversOnceAnInterval uses the fake clock of synctest.
func TestRunCoversOnceAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.add(t, 5, 5)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.worker.Run(ctx) }()
		numbers := func() uint64 {
			e, err := epoch.Newest(b.MustView(t))
			if errors.Is(err, ledger.ErrNoEpoch) {
				return 0
			}
			if err != nil {
				t.Fatal(err)
			}
			return e.Number
		}
		time.Sleep(epoch.Interval - time.Second)
		synctest.Wait()
		if n := numbers(); n != 0 {
			t.Errorf("epoch %d before the first interval", n)
		}
		time.Sleep(10 * epoch.Interval)
		synctest.Wait()
		if n := numbers(); n != 1 {
			t.Errorf("%d epochs for one growth", n)
		}
		b.add(t, 1, 5)
		time.Sleep(2 * epoch.Interval)
		synctest.Wait()
		if n := numbers(); n != 2 {
			t.Errorf("%d epochs for two growths", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		b.Stop()
	})
}

// TestManySubjectsMakeSeveralEpochs: a Change has bounds, and each epoch stays within them.
func TestManySubjectsMakeSeveralEpochs(t *testing.T) {
	b := newBench(t)
	b.add(t, 1300, 1300)
	b.cover(t)
	if e := newest(t, b.MustView(t)); e.Number != 3 || e.Missions != 1300 {
		t.Errorf("epoch %d with %d missions", e.Number, e.Missions)
	}
	b.clean(t)
}

// TestFaults: whatever happens to the step that makes an epoch durable, it is there whole or not at all, and the next
// one follows what is there.
func TestFaults(t *testing.T) {
	for _, fault := range ledgertest.Faults {
		t.Run(fault.String(), func(t *testing.T) {
			b := newBench(t)
			b.add(t, 40, 20)
			b.cover(t)
			b.add(t, 40, 50)
			b.fault.Inject(1, fault)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if fault == ledgertest.CrashBefore || fault == ledgertest.CrashAfter {
				crashed := b.Crashed // of this log, not of the one opened after it
				go func() {
					crashed()
					cancel() // nobody will answer
				}()
			}
			if err := b.worker.Cover(ctx); err == nil {
				t.Fatal("the fault was not noticed")
			}
			b.Stop()
			b.open(t, ledgertest.Options{Keys: b.Keys, Vault: b.Vault})
			want := uint64(1)
			if fault.Writes() {
				want = 2
			}
			if e := newest(t, b.MustView(t)); e.Number != want {
				t.Errorf("epoch %d after the fault, want %d", e.Number, want)
			}
			b.clean(t)
			b.cover(t)
			if e := newest(t, b.MustView(t)); e.Number != 2 {
				t.Errorf("epoch %d, want 2", e.Number)
			}
			b.clean(t)
		})
	}
}

// A meter counts what an epoch costs.
type meter struct {
	ledger.Log
	entries, rows, octets int
}

type meteredView struct {
	ledger.View
	m *meter
}

func (m *meter) View() (ledger.View, error) {
	v, err := m.Log.View()
	return meteredView{v, m}, err
}

func (v meteredView) Entry(index uint64) (ledger.LoggedEntry, error) {
	v.m.entries++
	return v.View.Entry(index)
}

func (m *meter) Commit(ctx context.Context, c ledger.Change) (ledger.Committed, error) {
	m.rows += len(c.Put)
	for _, r := range c.Put {
		m.octets += len(r.Value)
	}
	return m.Log.Commit(ctx, c)
}

// TestCostIsFlat: an epoch over one new entry reads and writes the same in a log of 100 subjects as in one of 6,000,
// but for the depth of the tree.
func TestCostIsFlat(t *testing.T) {
	b := newBench(t)
	cost := func() *meter {
		b.cover(t)
		b.add(t, 1, 1<<30) // the next epoch also covers the several that it took to get here
		b.cover(t)
		m := &meter{Log: b.Log}
		w := b.newWorker(t, m)
		b.add(t, 1, 1<<30)
		if err := w.Cover(t.Context()); err != nil {
			t.Fatal(err)
		}
		return m
	}
	b.add(t, 100, 1<<30)
	small := cost()
	b.add(t, 6000, 1<<30)
	large := cost()
	t.Logf("one entry: %d entries, %d rows, %d octets; after 6,000 more: %d, %d, %d", small.entries, small.rows,
		small.octets, large.entries, large.rows, large.octets)
	if large.entries > small.entries || large.rows > small.rows+4 || large.octets > 2*small.octets+4096 {
		t.Error("the cost of an epoch grows with the log")
	}
}

// TestCheckFindsWhatAServerHides: an epoch whose map leaves out an entry or a mission, and pages that are not those of
// the map, are found by computing them again.
//
// Audit rows: 135.
func TestCheckFindsWhatAServerHides(t *testing.T) {
	for name, hide := range map[string]func(subject string, index uint64) bool{
		"an entry":  func(_ string, index uint64) bool { return index == 17 },
		"a mission": func(subject string, _ uint64) bool { return strings.HasSuffix(subject, "/m3") },
	} {
		b := newBench(t)
		b.add(t, 40, 10)
		b.forge(t, hide)
		if r := b.check(t); len(r.Findings) == 0 || !strings.Contains(r.Findings[0], "has the map") {
			t.Errorf("%s is hidden: %q", name, r.Findings)
		}
	}
	b := newBench(t)
	b.add(t, 40, 10)
	b.cover(t)
	b.MustCommit(t, ledger.Change{Put: []ledger.Record{{Key: "feedmap/page/", Value: []byte("x"), JustifiedBy: ledger.NotJustified}}})
	if r := b.check(t); len(r.Findings) == 0 {
		t.Error("a changed page is not found")
	}
}

// forge commits an epoch over a map without what is hidden.
func (b *bench) forge(t testing.TB, hide func(subject string, index uint64) bool) {
	t.Helper()
	v := b.MustView(t)
	m := ledger.NewFeedMap(b.Keys.Issuer, nil)
	for index := range v.Head().Size {
		e, err := v.Entry(index)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ledger.ParseStatement(e.Statement)
		if err != nil {
			t.Fatal(err)
		}
		if !hide(s.Subject, index) {
			if err := m.Add(s.Subject, index, s.Leaf()); err != nil {
				t.Fatal(err)
			}
		}
	}
	e := &ledger.FeedEpoch{Origin: origin, Number: 1, CoveredSize: v.Head().Size, CoveredRoot: v.Head().Root}
	var err error
	if e.MapRoot, err = m.Root(); err != nil {
		t.Fatal(err)
	}
	if e.Subjects, e.Missions, err = m.Population(); err != nil {
		t.Fatal(err)
	}
	body, err := ledger.MarshalFeedEpoch(e)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := ledger.SignStatement(t.Context(), ledger.Claims{Issuer: b.Keys.Issuer, Subject: b.Keys.Issuer + "/log",
		ContentType: ledger.ContentTypeFeedEpoch, Digest: sha256.Sum256(body)}, b.Keys.Evidence)
	if err != nil {
		t.Fatal(err)
	}
	b.MustCommit(t, ledger.Change{Entries: []ledger.Entry{{Statement: raw, Body: body}}})
}
