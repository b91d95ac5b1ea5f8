package model_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/sequencer"
)

const randomOrigin = "log.a.example/log/1"

// TestRandomOperations does ten thousand random things to a log: it adds, adds again, stops, kills, restarts, cuts the
// power, breaks the disk, sets the clock, loses the witness, rotates the key and freezes it. After each, the log is
// what a list in memory says; and every so often an auditor reads all of it.
//
// Audit rows: 153.
func TestRandomOperations(t *testing.T) {
	steps := 10_000
	if testing.Short() {
		steps = 1000
	}
	seed := rand.Uint64()
	if text := os.Getenv("MODEL_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d", seed)
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 0)), clock: ledgertest.NewClock(t), done: map[string]int{}}
	w.begin()
	for i := range steps {
		op := w.choose()
		op.do(w)
		w.done[op.name]++
		w.compare(op.name)
		if i%500 == 499 {
			w.audit()
		}
		if t.Failed() {
			t.Fatalf("at step %d, %s, seed %d", i, op.name, seed)
		}
	}
	w.audit()
	w.log.Stop()
	t.Logf("model: %d random steps: %v; %d logs, %d entries in the last", steps, w.done, w.logs, len(w.entries))
	for _, op := range operations {
		if w.done[op.name] == 0 && !testing.Short() { // a thousand steps may miss the rarest
			t.Errorf("nothing was done of %q", op.name)
		}
	}
}

type operation struct {
	name  string
	share int
	do    func(*world)
}

var operations = []operation{
	{"add", 500, (*world).add},
	{"add again", 60, (*world).addAgain},
	{"move", 200, (*world).move},
	{"refused move", 40, (*world).refusedMove},
	{"ask the witness", 60, (*world).askWitness},
	{"lose the witness", 10, func(w *world) { w.away = !w.away }},
	{"restart", 20, (*world).restart},
	{"kill", 20, (*world).kill},
	{"power cut", 10, (*world).powerCut},
	{"disk error", 30, (*world).diskError},
	{"set the clock", 20, (*world).setClock},
	{"rotate the key", 6, (*world).rotate},
	{"freeze", 2, (*world).freeze},
}

// world is a log, the list that it is held against, and what surrounds it.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	clock *ledgertest.Clock
	done  map[string]int
	logs  int

	keys    *ledgertest.Keys
	retired []note.Verifier
	vault   *ledgertest.Vault
	memory  *ledgertest.Memory
	fault   *ledgertest.FaultStore
	log     *ledgertest.Log

	// The list: what the log must be.
	entries  []ledger.Hash     // leaves, from the genesis on
	versions map[string]uint64 // of the missions
	names    []string
	earlier  []ledger.Checkpoint
	next     int

	away    bool // the witness cannot be reached
	witness ledger.Checkpoint
}

func (w *world) choose() operation {
	total := 0
	for _, op := range operations {
		total += op.share
	}
	n := w.rng.IntN(total)
	for _, op := range operations {
		if n -= op.share; n < 0 {
			return op
		}
	}
	panic("unreachable")
}

// begin starts an empty log.
func (w *world) begin() {
	w.logs++
	w.keys, w.retired, w.vault = ledgertest.NewKeys(w.t, randomOrigin), nil, ledgertest.NewVault()
	w.memory = ledgertest.NewMemory()
	w.entries, w.versions, w.names, w.earlier = nil, map[string]uint64{}, nil, nil
	w.witness = ledger.Checkpoint{}
	w.open()
	v := w.view()
	defer v.Close()
	e, err := v.Entry(0)
	if err != nil {
		w.t.Fatal(err)
	}
	w.entries = []ledger.Hash{ledger.HashLeaf(e.Statement)}
}

func (w *world) open() {
	w.t.Helper()
	w.fault = ledgertest.NewFaultStore(w.memory.Open())
	w.log = ledgertest.NewLog(w.t, ledgertest.Options{
		Store: w.fault, Keys: w.keys, Retired: w.retired, Vault: w.vault, Now: w.clock.Now})
}

func (w *world) restart() {
	w.t.Helper()
	_ = w.log.Stop()
	w.open()
}

func (w *world) view() ledger.View {
	w.t.Helper()
	v, err := w.log.View()
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// change makes the next version of a mission.
func (w *world) change(name string) ledger.Change {
	version := w.versions[name]
	expect := ledger.Absent("mission/" + name)
	if version > 0 {
		expect = ledger.Version("mission/"+name, version)
	}
	w.next++
	return ledger.Change{
		Expect:  []ledger.Precondition{expect},
		Put:     []ledger.Record{{Key: "mission/" + name, Value: fmt.Append(nil, version+1), JustifiedBy: 0}},
		Entries: []ledger.Entry{w.keys.WithBody(w.t, name, fmt.Append(nil, w.next))},
	}
}

// applied notes in the list that a change is there.
func (w *world) applied(name string, c ledger.Change) {
	if w.versions[name] == 0 {
		w.names = append(w.names, name)
	}
	w.versions[name]++
	w.entries = append(w.entries, ledger.HashLeaf(c.Entries[0].Statement))
}

func (w *world) commit(name string, c ledger.Change) {
	w.t.Helper()
	done, err := w.log.Commit(w.t.Context(), c)
	if err != nil {
		w.t.Errorf("%s: %v", name, err)
		return
	}
	w.applied(name, c)
	if r := done.Results[0]; r.Index != uint64(len(w.entries)-1) || r.Duplicate || done.TreeSize != uint64(len(w.entries)) {
		w.t.Errorf("%s: %+v, want index %d", name, done, len(w.entries)-1)
	}
}

func (w *world) add() {
	name := fmt.Sprintf("m%d", w.next)
	w.commit(name, w.change(name))
}

// some is the name of some mission.
func (w *world) some() string {
	if len(w.names) == 0 {
		w.add()
	}
	return w.names[w.rng.IntN(len(w.names))]
}

func (w *world) move() {
	name := w.some()
	w.commit(name, w.change(name))
}

// refusedMove expects another version than there is.
func (w *world) refusedMove() {
	name := w.some()
	c := w.change(name)
	c.Expect[0].N += 1 + w.rng.Uint64N(3)
	if _, err := w.log.Commit(w.t.Context(), c); !errors.Is(err, ledger.ErrConflict) {
		w.t.Errorf("a move of a version that is not there: %v", err)
	}
}

// addAgain registers a statement that is there.
func (w *world) addAgain() {
	i := w.rng.IntN(len(w.entries))
	v := w.view()
	e, err := v.Entry(uint64(i))
	v.Close()
	if err != nil {
		w.t.Fatal(err)
	}
	done, err := w.log.Commit(w.t.Context(), ledger.Change{Entries: []ledger.Entry{{Statement: e.Statement}}})
	if err != nil || !done.Results[0].Duplicate || done.Results[0].Index != uint64(i) {
		w.t.Errorf("entry %d again: %+v, %v", i, done, err)
	}
}

// broken commits under a fault, starts again, and notes what became of it.
func (w *world) broken(f ledgertest.Fault) {
	w.t.Helper()
	name := w.some()
	c := w.change(name)
	w.fault.Inject(1, f)
	_, err := w.log.Commit(w.t.Context(), c)
	if !errors.Is(err, ledger.ErrUnavailable) {
		w.t.Errorf("a commit with %q: %v", f, err)
	}
	if f.Writes() {
		w.applied(name, c)
	}
	if !f.Fatal() {
		return
	}
	l := w.log.Health().Write // one of a store that merely refused opens with the next group
	latched := l != nil && l.Code != sequencer.CodeStoreUnavailable
	if died := f == ledgertest.CrashBefore || f == ledgertest.CrashAfter; latched == died {
		w.t.Errorf("after %q the write latch is closed: %t", f, latched)
	}
	w.restart()
}

func (w *world) kill() {
	w.broken([]ledgertest.Fault{ledgertest.CrashBefore, ledgertest.CrashAfter}[w.rng.IntN(2)])
}

func (w *world) diskError() {
	w.broken([]ledgertest.Fault{ledgertest.Refuse, ledgertest.NotApplied, ledgertest.Applied}[w.rng.IntN(3)])
}

func (w *world) powerCut() {
	c := w.change(w.some()) // which may have to add one first
	w.memory.PowerFail()
	if _, err := w.log.Commit(w.t.Context(), c); err == nil {
		w.t.Error("a commit after the power was cut")
	}
	w.restart()
}

// setClock sets the clock far ahead or back: deadlines wait, everything else goes on. Then it is right again.
func (w *world) setClock() {
	const far = 10 * 365 * 24 * time.Hour
	by := far
	if w.rng.IntN(2) == 0 {
		by = -far
	}
	soon := time.Now().Add(time.Hour)
	w.clock.Step(by)
	late := w.change(w.some())
	late.Expect = append(late.Expect, ledger.NotAfter(soon))
	if _, err := w.log.Commit(w.t.Context(), late); !errors.Is(err, ledger.ErrUnavailable) {
		w.t.Errorf("a deadline was judged by a clock that is %v off: %v", by, err)
	}
	w.move() // stopping needs no clock
	w.clock.Step(0)
	name := w.some()
	c := w.change(name)
	c.Expect = append(c.Expect, ledger.NotAfter(soon))
	w.commit(name, c)
}

// rotate starts the log with a new key; the old one is retired.
func (w *world) rotate() {
	w.retired = append(w.retired, w.keys.Verifier)
	fresh := ledgertest.NewKeys(w.t, randomOrigin)
	w.keys.Checkpoint, w.keys.Verifier, w.keys.VKey = fresh.Checkpoint, fresh.Verifier, fresh.VKey
	w.restart()
	w.move() // from here on the head is signed with it
}

// freeze closes the log for good, and begins another one.
func (w *world) freeze() {
	body, err := ledger.MarshalLogClosed(&ledger.LogClosed{
		Actors: []string{"admin", "admin-2"}, Reason: "end of the half-year", Successor: "log.a.example/log/2"})
	if err != nil {
		w.t.Fatal(err)
	}
	subject, err := ledger.Subject(w.keys.Issuer, ledger.SubjectLog, "")
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := ledger.SignStatement(w.t.Context(), ledger.Claims{Issuer: w.keys.Issuer, Subject: subject,
		ContentType: ledger.ContentTypeLogClosed, Digest: sha256.Sum256(body)}, w.keys.Evidence)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.log.Freeze(w.t.Context(), ledger.Entry{Statement: raw, Body: body}); err != nil {
		w.t.Fatal(err)
	}
	w.entries = append(w.entries, ledger.HashLeaf(raw))
	for range 2 {
		if _, err := w.log.Commit(w.t.Context(), w.change("late")); !errors.Is(err, ledger.ErrFrozen) {
			w.t.Errorf("a commit to a frozen log: %v", err)
		}
		w.compare("freeze")
		w.restart()
	}
	w.audit()
	_ = w.log.Stop()
	w.begin()
}

// askWitness shows the published head to a witness, which demands that it extends the one before, from whenever that
// was.
func (w *world) askWitness() {
	if w.away {
		return
	}
	v := w.view()
	defer v.Close()
	head := ledger.Checkpoint{Origin: randomOrigin, Size: v.Head().Size, Root: v.Head().Root}
	if w.witness.Size > 0 {
		path, err := v.Consistency(w.witness.Size, head.Size)
		if err == nil {
			err = ledger.VerifyConsistency(w.witness.Size, head.Size, path, w.witness.Root, head.Root)
		}
		if err != nil {
			w.t.Errorf("the witness at %d refuses the head of %d: %v", w.witness.Size, head.Size, err)
		}
	}
	w.witness = head
}

// compare holds the log against the list: its size and root, some entry, and some mission.
func (w *world) compare(after string) {
	w.t.Helper()
	v := w.view()
	defer v.Close()
	if n := int(v.Head().Size); n != len(w.entries) {
		w.t.Fatalf("after %q the log has %d entries, want %d", after, n, len(w.entries))
	}
	if len(w.entries) > 0 {
		i := w.rng.IntN(len(w.entries))
		if e, err := v.Entry(uint64(i)); err != nil || ledger.HashLeaf(e.Statement) != w.entries[i] {
			w.t.Errorf("after %q entry %d is another one: %v", after, i, err)
		}
	}
	if len(w.names) > 0 {
		name := w.names[w.rng.IntN(len(w.names))]
		row, err := v.Proven("mission/" + name)
		if err != nil || row.Version != w.versions[name] || string(row.Value) != fmt.Sprint(w.versions[name]) {
			w.t.Errorf("after %q mission %s is %+v, %v; want version %d", after, name, row, err, w.versions[name])
		}
	}
}

// audit has an auditor read everything, and holds the root against that of the list.
func (w *world) audit() {
	w.t.Helper()
	w.earlier = append(w.earlier, ledgertest.CheckLog(w.t, w.log, w.keys.VKey, w.earlier...))
	edge := ledger.NewEdge()
	for _, leaf := range w.entries {
		edge.Append(leaf)
	}
	if root := w.earlier[len(w.earlier)-1].Root; edge.Root() != root {
		w.t.Errorf("the log hashes to %s, the list to %s", root, edge.Root())
	}
}
