package sequencer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/sequencer"
	"golang.org/x/mod/sumdb/note"
)

func TestCommitAndReadBack(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	var seen []ledger.Checkpoint
	for i := range 600 {
		id := fmt.Sprintf("m%d", i%7)
		done := b.MustCommit(t, b.step(t, id, fmt.Sprint(i)))
		if want := uint64(i + 1); done.Results[0].Index != want || done.TreeSize != want+1 || done.Seq != want+1 {
			t.Fatalf("entry %d is at %d in size %d, group %d", i, done.Results[0].Index, done.TreeSize, done.Seq)
		}
		if i%97 == 0 || i >= 253 && i <= 257 {
			seen = append(seen, ledgertest.CheckLog(t, b, b.Keys.VKey, seen...))
		}
	}
	ledgertest.CheckLog(t, b, b.Keys.VKey, seen...)
	wantRow(t, b, state("m4"), "599", 86)
	b.reopen(t)
	ledgertest.CheckLog(t, b, b.Keys.VKey, seen...)
	if h := b.Health(); h != (ledger.Health{}) {
		t.Fatalf("health %+v", h)
	}
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	_, err := b.View()
	wantErr(t, err, ledger.ErrUnavailable)
	_, err = b.Commit(t.Context(), put("k", nil))
	wantErr(t, err, ledger.ErrUnavailable)
}

// TestPreconditionsHold: each kind, met and not met, against rows that stand in the store.
func TestPreconditionsHold(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	b := newBench(t, ledgertest.Options{Now: func() time.Time { return now }})
	b.MustCommit(t, put("twice", []byte("1")))
	b.MustCommit(t, put("twice", []byte("2")))
	b.MustCommit(t, put("tombstone", nil))
	b.MustCommit(t, add("three", 3))
	b.reopenAt(t, now)
	for _, c := range []struct {
		name string
		p    ledger.Precondition
		ok   bool
	}{
		{"version", ledger.Version("twice", 2), true},
		{"older version", ledger.Version("twice", 1), false},
		{"newer version", ledger.Version("twice", 3), false},
		{"version of no row", ledger.Version("none", 1), false},
		{"version 0 of no row", ledger.Version("none", 0), false},
		{"absent", ledger.Absent("none"), true},
		{"absent but there", ledger.Absent("twice"), false},
		{"absent but a tombstone", ledger.Absent("tombstone"), false},
		{"not after, before it", ledger.NotAfter(now.Add(time.Millisecond)), true},
		{"not after, at it", ledger.NotAfter(now), true},
		{"not after, a nanosecond late", ledger.NotAfter(now.Add(-1)), false},
		{"not after, never", ledger.NotAfter(time.Time{}), false},
		{"below", ledger.CountBelow("three", 4), true},
		{"not below", ledger.CountBelow("three", 3), false},
		{"no counter is zero", ledger.CountBelow("none", 1), true},
		{"zero is not below zero", ledger.CountBelow("none", 0), false},
		{"a row is no counter", ledger.CountBelow("twice", 100), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := "written by " + c.name
			_, err := b.Commit(t.Context(), put(key, []byte("x"), c.p))
			v := b.MustView(t)
			if c.ok {
				if err != nil {
					t.Fatal(err)
				}
				wantRow(t, b, key, "x", 1)
				return
			}
			wantErr(t, err, ledger.ErrConflict)
			_, err = v.Get(key)
			wantErr(t, err, ledger.ErrNotFound)
		})
	}
	// All must hold, not any.
	_, err := b.Commit(t.Context(), put("k", nil, ledger.Absent("none"), ledger.Absent("twice"), ledger.Absent("none")))
	wantErr(t, err, ledger.ErrConflict)
}

func (b *bench) reopenAt(t testing.TB, now time.Time) {
	t.Helper()
	b.Stop()
	b.open(t, ledgertest.Options{Keys: b.Keys, Vault: b.Vault, Now: func() time.Time { return now }})
}

// TestPreconditionsSeeTheGroup: a change is judged over the effects of those before it in its own group.
func TestPreconditionsSeeTheGroup(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	b.MustCommit(t, put("k", []byte("1")))
	got := b.together(t,
		put("k", []byte("2"), ledger.Version("k", 1)),
		put("k", []byte("lost"), ledger.Version("k", 1)), // the one before it was first
		put("k", []byte("3"), ledger.Version("k", 2)),    // sees it
		put("new", []byte("a"), ledger.Absent("new")),
		put("new", []byte("lost"), ledger.Absent("new")),
		put("new", []byte("b"), ledger.Version("new", 1)),
		add("n", 2, ledger.CountBelow("n", 2)),
		add("n", 1, ledger.CountBelow("n", 2)),
		add("n", -2),
		add("n", 1, ledger.CountBelow("n", 1)),
		add("n", -2), // below zero
	)
	for i, ok := range []bool{true, false, true, true, false, true, true, false, true, true, false} {
		if ok != (got[i].err == nil) || !ok && !errors.Is(got[i].err, ledger.ErrConflict) {
			t.Errorf("change %d: %v, should succeed: %t", i, got[i].err, ok)
		}
		if ok && got[i].Seq != got[0].Seq {
			t.Errorf("change %d is in group %d, the first in %d", i, got[i].Seq, got[0].Seq)
		}
	}
	wantRow(t, b, "k", "3", 3)
	wantRow(t, b, "new", "b", 2)
	wantRow(t, b, "n", "\x00\x00\x00\x00\x00\x00\x00\x01", 3)
	ledgertest.CheckLog(t, b, b.Keys.VKey)
}

// TestRefusedChangeLeavesNothing: what a refused change would have written is invisible to the rest of its group.
func TestRefusedChangeLeavesNothing(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	b.MustCommit(t, put("taken", nil))
	entry := b.Keys.WithBody(t, "m1", []byte("body"))
	refused := ledger.Change{
		Expect: []ledger.Precondition{ledger.Absent("taken")},
		Put: []ledger.Record{
			{Key: "a", Value: []byte("refused"), JustifiedBy: 0},
			{Key: "n", Add: 5, JustifiedBy: ledger.NotJustified}},
		Entries: []ledger.Entry{entry},
	}
	underflow := ledger.Change{ // the second row fails, the first must not stay
		Put: []ledger.Record{
			{Key: "b", Value: []byte("refused"), JustifiedBy: 0},
			{Key: "n", Add: -1, JustifiedBy: ledger.NotJustified}},
		Entries: []ledger.Entry{entry},
	}
	after := ledger.Change{
		Expect:  []ledger.Precondition{ledger.Absent("a"), ledger.Absent("b"), ledger.CountBelow("n", 1)},
		Put:     []ledger.Record{{Key: "c", Value: []byte("ok"), JustifiedBy: 0}},
		Entries: []ledger.Entry{entry},
	}
	got := b.together(t, refused, underflow, after)
	wantErr(t, got[0].err, ledger.ErrConflict)
	wantErr(t, got[1].err, ledger.ErrConflict)
	if got[2].err != nil || got[2].Results[0].Duplicate || got[2].Results[0].Index != 1 {
		t.Fatalf("%+v %v", got[2].Results, got[2].err)
	}
	ledgertest.CheckLog(t, b, b.Keys.VKey)
}

// TestCounterLimit: 64 writers compete for 10 places.
func TestCounterLimit(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 64 {
		wg.Go(func() {
			c := add("places", 1, ledger.CountBelow("places", 10))
			c.Put = append(c.Put, ledger.Record{Key: fmt.Sprintf("winner/%d", i), JustifiedBy: ledger.NotJustified})
			_, err := b.Commit(t.Context(), c)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case !errors.Is(err, ledger.ErrConflict):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 10 {
		t.Fatalf("%d winners of 10 places", won)
	}
	wantRow(t, b, "places", "\x00\x00\x00\x00\x00\x00\x00\x0a", 10)
	n := 0
	for _, err := range b.MustView(t).List("winner/", "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 10 {
		t.Fatalf("%d winners are recorded", n)
	}
	_, err := b.Commit(t.Context(), add("places", -11))
	wantErr(t, err, ledger.ErrConflict)
	b.MustCommit(t, add("places", -10))
	_, err = b.Commit(t.Context(), add("places", math.MinInt64))
	wantErr(t, err, ledger.ErrConflict)
	b.MustCommit(t, add("places", math.MaxInt64))
	_, err = b.Commit(t.Context(), add("places", 1))
	wantErr(t, err, ledger.ErrConflict)
}

// TestDuplicatesAreExact: one statement has one place, whether it comes again in the same change, in the same group,
// later, signed again, or after a restart.
func TestDuplicatesAreExact(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	e := b.Keys.Entry(t, "m1", []byte("evidence"))
	again := b.Keys.Entry(t, "m1", []byte("evidence")) // ECDSA signatures differ
	other := b.Keys.Entry(t, "m1", []byte("other evidence"))
	if bytes.Equal(e.Statement, again.Statement) {
		t.Fatal("the statement was signed with the same signature")
	}
	both := func(es ...ledger.Entry) ledger.Change { return ledger.Change{Entries: es} }
	got := b.together(t, both(e, again, other), both(again), both(other, e))
	id := ledger.EntryID(ledger.HashLeaf(e.Statement))
	want := func(r ledger.Result, index uint64, duplicate bool) {
		t.Helper()
		if r.Index != index || r.Duplicate != duplicate || index == 1 && r.EntryID != id {
			t.Fatalf("result %+v, want index %d, duplicate %t, id %s", r, index, duplicate, id)
		}
	}
	for _, a := range got {
		if a.err != nil || a.TreeSize != 3 {
			t.Fatalf("%+v %v", a.Committed, a.err)
		}
	}
	want(got[0].Results[0], 1, false)
	want(got[0].Results[1], 1, true)
	want(got[0].Results[2], 2, false)
	want(got[1].Results[0], 1, true)
	want(got[2].Results[0], 2, true)
	want(got[2].Results[1], 1, true)

	want(b.MustCommit(t, both(again)).Results[0], 1, true)
	b.reopen(t)
	before := b.fault.Applies()
	done := b.MustCommit(t, both(again))
	want(done.Results[0], 1, true)
	if b.fault.Applies() != before || done.TreeSize != 3 {
		t.Fatalf("a known statement was written again: %+v", done)
	}
	// A duplicate justifies a row as the first one would.
	b.MustCommit(t, ledger.Change{Put: []ledger.Record{{Key: "k", JustifiedBy: 0}}, Entries: []ledger.Entry{again}})
	if row, err := b.MustView(t).Proven("k"); err != nil || row.JustifiedBy != 1 {
		t.Fatalf("%+v %v", row, err)
	}
	ledgertest.CheckLog(t, b, b.Keys.VKey)
}

// TestDuplicateOfTheGroupBefore: a change that was prepared while its duplicate was being written finds it.
func TestDuplicateOfTheGroupBefore(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	hold := b.fault.Hold(false)
	first := b.start(t, b.step(t, "m1", "active"))
	<-hold.Entered
	second := b.start(t, ledger.Change{Entries: []ledger.Entry{b.Keys.WithBody(t, "m1", []byte("m1 active"))}})
	third := b.start(t, put(state("m1"), nil, ledger.Absent(state("m1"))))
	b.awaitWaiting(t, 2)
	hold.Release()
	if a := <-first; a.err != nil || a.Results[0].Duplicate {
		t.Fatalf("%+v %v", a.Results, a.err)
	}
	if a := <-second; a.err != nil || !a.Results[0].Duplicate || a.Results[0].Index != 1 {
		t.Fatalf("%+v %v", a.Results, a.err)
	}
	wantErr(t, (<-third).err, ledger.ErrConflict)
	ledgertest.CheckLog(t, b, b.Keys.VKey)
}

// TestOldEvidenceJustifiesNothingNew: an entry that was there before the row's last justified version cannot justify
// the next one; every read would take the row for stale.
func TestOldEvidenceJustifiesNothingNew(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	first, second := b.step(t, "m1", "active"), b.step(t, "m1", "suspended")
	b.MustCommit(t, first)
	b.MustCommit(t, first) // the same evidence again: a second version, same justification
	got := b.together(t, second, first)
	if got[0].err != nil {
		t.Fatal(got[0].err)
	}
	wantErr(t, got[1].err, ledger.ErrConflict)
	_, err := b.Commit(t.Context(), first)
	wantErr(t, err, ledger.ErrConflict)
	b.MustCommit(t, put(state("m1"), []byte("unjustified")))
	_, err = b.Commit(t.Context(), first)
	wantErr(t, err, ledger.ErrConflict)
	b.MustCommit(t, second)
	b.reopen(t)
	if row, err := b.MustView(t).Proven(state("m1")); err != nil || string(row.Value) != "suspended" {
		t.Fatalf("%q %v", row.Value, err)
	}
	ledgertest.CheckLog(t, b, b.Keys.VKey)
}

// TestDuplicatesUnderLoad registers the same 20 statements from 50 goroutines.
//
// Audit rows: 74.
func TestDuplicatesUnderLoad(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	var entries []ledger.Entry
	for i := range 20 {
		entries = append(entries, b.Keys.Entry(t, "m1", []byte{byte(i)}))
	}
	var mu sync.Mutex
	places, fresh := map[int]uint64{}, 0
	var wg sync.WaitGroup
	for g := range 50 {
		wg.Go(func() {
			for i := range entries {
				i := (i + g) % len(entries)
				done, err := b.Commit(t.Context(), ledger.Change{Entries: entries[i : i+1]})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if at, ok := places[i]; ok && at != done.Results[0].Index {
					t.Errorf("statement %d is at %d and at %d", i, at, done.Results[0].Index)
				}
				places[i] = done.Results[0].Index
				if !done.Results[0].Duplicate {
					fresh++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if fresh != 20 || b.MustView(t).Head().Size != 21 {
		t.Fatalf("20 statements were new %d times, size %d", fresh, b.MustView(t).Head().Size)
	}
	ledgertest.CheckLog(t, b, b.Keys.VKey)
}

// TestBodiesAreSealedOnce: a second sealed copy of a body would survive the erasure of the first.
func TestBodiesAreSealedOnce(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	body := []byte("evidence of two missions")
	digest := ledger.Hash(sha(body))
	got := b.together(t,
		ledger.Change{Entries: []ledger.Entry{b.Keys.WithBody(t, "m1", body), b.Keys.WithBody(t, "m3", body)}},
		ledger.Change{Entries: []ledger.Entry{b.Keys.WithBody(t, "m2", body)}})
	for _, a := range got {
		if a.err != nil || a.Results[0].Duplicate {
			t.Fatalf("%+v %v", a.Results, a.err)
		}
	}
	sealed := b.memory.Raw(ledger.BodyKey(digest))
	b.MustCommit(t, ledger.Change{Entries: []ledger.Entry{b.Keys.WithBody(t, "m4", body)}})
	if !bytes.Equal(sealed, b.memory.Raw(ledger.BodyKey(digest))) {
		t.Fatal("the body was sealed again")
	}
	stored := 0
	for frame, err := range b.memory.Frames() {
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range frame.Bodies {
			if s.Digest == digest {
				stored++
			}
		}
	}
	if stored != 1 {
		t.Fatalf("%d sealed copies in the commit point", stored)
	}
	b.Vault.(*ledgertest.Vault).Erase(sealed)
	b.MustCommit(t, ledger.Change{Entries: []ledger.Entry{b.Keys.WithBody(t, "m5", body)}})
	_, err := b.MustView(t).Body(digest)
	wantErr(t, err, ledger.ErrErased)
}

func TestInvalidChanges(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	e := b.Keys.Entry(t, "m1", []byte("evidence"))
	truncated := ledger.Entry{Statement: e.Statement[:len(e.Statement)-1]}
	wrongBody := e
	wrongBody.Body = []byte("other evidence")
	record := func(r ledger.Record) ledger.Change { return ledger.Change{Put: []ledger.Record{r}} }
	for name, c := range map[string]ledger.Change{
		"nothing":                 {},
		"only preconditions":      {Expect: []ledger.Precondition{ledger.Absent("k")}},
		"unknown precondition":    put("k", nil, ledger.Precondition{Kind: 9}),
		"precondition of no kind": put("k", nil, ledger.Precondition{}),
		"precondition of no key":  put("k", nil, ledger.Absent("")),
		"no key":                  put("", nil),
		"long key":                put(string(make([]byte, 1025)), nil),
		"counter with value":      record(ledger.Record{Key: "k", Value: []byte("1"), Add: 1, JustifiedBy: ledger.NotJustified}),
		"justified by nothing":    record(ledger.Record{Key: "k", JustifiedBy: 0}),
		"justified by less":       record(ledger.Record{Key: "k", JustifiedBy: -2}),
		"row put twice": {Put: []ledger.Record{
			{Key: "k", JustifiedBy: ledger.NotJustified}, {Key: "k", JustifiedBy: ledger.NotJustified}}},
		"broken statement":   {Entries: []ledger.Entry{e, truncated}},
		"no statement":       {Entries: []ledger.Entry{{}}},
		"another body":       {Entries: []ledger.Entry{wrongBody}},
		"justified by later": {Put: []ledger.Record{{Key: "k", JustifiedBy: 1}}, Entries: []ledger.Entry{e}},
	} {
		before := b.fault.Applies()
		if _, err := b.Commit(t.Context(), c); !errors.Is(err, sequencer.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if b.fault.Applies() != before {
			t.Errorf("%s reached the store", name)
		}
	}
	many := ledger.Change{}
	for i := range 40 { // enough rows for the map behind the scan
		many.Put = append(many.Put, ledger.Record{Key: fmt.Sprint(i % 39), JustifiedBy: ledger.NotJustified})
	}
	_, err := b.Commit(t.Context(), many)
	wantErr(t, err, sequencer.ErrInvalid)
	many.Put = many.Put[:39]
	many.Expect = []ledger.Precondition{ledger.Absent("38"), ledger.Absent("other")}
	b.MustCommit(t, many)
	_, err = b.Commit(t.Context(), many)
	wantErr(t, err, ledger.ErrConflict)
	if h := b.Health(); h != (ledger.Health{}) {
		t.Fatalf("health %+v", h)
	}
}

// TestTooLargeIsRefusedWhole: what does not fit one group is not split, and uses up no vault key.
//
// Audit rows: 64.
func TestTooLargeIsRefusedWhole(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	limits := b.fault.Limits()
	before := b.Vault.(*ledgertest.Vault).Sealed()
	refused := func(c ledger.Change) {
		t.Helper()
		_, err := b.Commit(t.Context(), c)
		wantErr(t, err, ledger.ErrTooLarge)
		if b.fault.Applies() != 1 || b.Vault.(*ledgertest.Vault).Sealed() != before {
			t.Fatal("it was sealed or written")
		}
	}
	refused(put("k", make([]byte, ledger.MaxRowValue+1)))
	var rows ledger.Change
	for i := range limits.Bytes / ledger.MaxRowValue {
		rows.Put = append(rows.Put, ledger.Record{
			Key: fmt.Sprint(i), Value: make([]byte, ledger.MaxRowValue), JustifiedBy: ledger.NotJustified})
	}
	refused(rows)
	refused(ledger.Change{Entries: []ledger.Entry{b.Keys.WithBody(t, "m1", make([]byte, limits.Bytes))}})
	entries := make([]ledger.Entry, limits.Entries+1)
	for i := range entries {
		entries[i] = b.Keys.Entry(t, "m1", []byte("x"))
		if i > 0 {
			entries[i] = entries[0]
		}
	}
	refused(ledger.Change{Entries: entries})
	rows.Put = rows.Put[1:]
	b.MustCommit(t, rows) // three of four fit
}

// TestGroupsStayWithinLimits: what waits is cut into groups that the store takes, in order.
//
// Audit rows: 64.
func TestGroupsStayWithinLimits(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	b.memory.Limit(ledger.Limits{Bytes: 1 << 20, Entries: 7})
	b.reopen(t)
	hold := b.fault.Hold(false)
	first := b.start(t, put("first", nil))
	<-hold.Entered
	var waiting []<-chan answer
	for i := range 20 {
		c := ledger.Change{Entries: []ledger.Entry{b.Keys.Entry(t, "m1", []byte{byte(i), 0}), b.Keys.Entry(t, "m1", []byte{byte(i), 1})}}
		if i%2 == 1 {
			c = put(fmt.Sprintf("big/%d", i), make([]byte, 300<<10))
		}
		waiting = append(waiting, b.start(t, c))
		b.awaitWaiting(t, i+1)
	}
	hold.Release()
	last := (<-first).Seq
	for i, w := range waiting {
		a := <-w
		if a.err != nil {
			t.Fatalf("change %d: %v", i, a.err)
		}
		if a.Seq < last {
			t.Fatalf("change %d is in group %d, the one before in %d", i, a.Seq, last)
		}
		last = a.Seq
		if i%2 == 0 && a.Results[0].Index != uint64(i)+1 {
			t.Fatalf("change %d begins at %d", i, a.Results[0].Index)
		}
	}
	if n := b.fault.Applies(); n < 4 || n > 12 {
		t.Fatalf("%d groups", n)
	}
	ledgertest.CheckLog(t, b, b.Keys.VKey)
}

// TestRowOnlyChange: a change without entries leaves tree and checkpoint alone.
func TestRowOnlyChange(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	b.MustCommit(t, b.step(t, "m1", "active"))
	before := b.MustView(t)
	done := b.MustCommit(t, put("nonce/1", []byte("answer")))
	after := b.MustView(t)
	if done.TreeSize != 2 || done.Results != nil || done.Seq != before.Head().Seq+1 || after.Head().Seq != done.Seq {
		t.Fatalf("%+v", done)
	}
	if !bytes.Equal(before.Checkpoint(), after.Checkpoint()) || before.Head().Root != after.Head().Root {
		t.Fatal("the checkpoint was signed again")
	}
	b.reopen(t)
	wantRow(t, b, "nonce/1", "answer", 1)
	b.MustCommit(t, b.step(t, "m1", "revoked"))
	ledgertest.CheckLog(t, b, b.Keys.VKey)
}

func TestCounterValue(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	for range 3 {
		b.MustCommit(t, add("n", 5))
	}
	b.MustCommit(t, add("n", -4))
	row, err := b.MustView(t).Get("n")
	if err != nil || binary.BigEndian.Uint64(row.Value) != 11 || row.Version != 4 {
		t.Fatalf("%+v %v", row, err)
	}
	b.MustCommit(t, put("n", nil)) // a tombstone is no counter
	_, err = b.Commit(t.Context(), add("n", 1))
	wantErr(t, err, ledger.ErrConflict)
}

// TestCancelledWhileQueued: the context counts until the writer takes the change, and not after.
func TestCancelledWhileQueued(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	hold := b.fault.Hold(false)
	ctx, cancel := context.WithCancel(t.Context())
	taken := make(chan answer, 1)
	go func() {
		done, err := b.Commit(ctx, put("taken", []byte("v")))
		taken <- answer{done, err}
	}()
	<-hold.Entered
	queued := make(chan error, 1)
	go func() {
		_, err := b.Commit(ctx, put("queued", []byte("v")))
		queued <- err
	}()
	b.awaitWaiting(t, 1)
	cancel()
	if err := <-queued; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	select {
	case a := <-taken:
		t.Fatalf("answered before the store: %v", a.err)
	case <-time.After(20 * time.Millisecond):
	}
	hold.Release()
	if a := <-taken; a.err != nil {
		t.Fatal(a.err)
	}
	b.MustCommit(t, put("other", nil))
	wantRow(t, b, "taken", "v", 1)
	_, err := b.MustView(t).Get("queued")
	wantErr(t, err, ledger.ErrNotFound)
	_, err = b.Commit(ctx, put("late", nil))
	wantErr(t, err, context.Canceled)
}

// TestShutdownDrains: what waits when the writer is told to stop is committed.
//
// Audit rows: 72.
func TestShutdownDrains(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	hold := b.fault.Hold(false)
	first := b.start(t, put("first", nil))
	<-hold.Entered
	var waiting []<-chan answer
	for i := range 10 {
		waiting = append(waiting, b.start(t, put(fmt.Sprint(i), nil)))
		b.awaitWaiting(t, i+1)
	}
	stopped := make(chan error)
	go func() { stopped <- b.Stop() }()
	hold.Release()
	for _, w := range append(waiting, first) {
		if a := <-w; a.err != nil {
			t.Fatal(a.err)
		}
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	b.open(t, ledgertest.Options{Keys: b.Keys, Vault: b.Vault})
	for i := range 10 {
		wantRow(t, b, fmt.Sprint(i), "", 1)
	}
	b.MustCommit(t, put("running", nil))
	if err := b.Run(t.Context()); err == nil {
		t.Fatal("Run ran twice")
	}
}

// TestQueueIsBounded: a full queue refuses at once and takes again when it has drained.
//
// Audit rows: 69.
func TestQueueIsBounded(t *testing.T) {
	b := newBench(t, ledgertest.Options{})
	hold := b.fault.Hold(false)
	first := b.start(t, put("first", nil))
	<-hold.Entered
	const size = 81
	var waiting []<-chan answer
	for i := range size { // 800 KiB each: the bound in octets comes first
		waiting = append(waiting, b.start(t, put(fmt.Sprint(i), make([]byte, 800<<10))))
		b.awaitWaiting(t, i+1)
	}
	_, err := b.Commit(t.Context(), put("one more", make([]byte, 1<<20)))
	_, err2 := b.Commit(t.Context(), put("one more", make([]byte, 1<<20)))
	wantErr(t, errors.Join(err, err2), ledger.ErrUnavailable)
	if errors.Is(err, ledger.ErrOutcomeUnknown) {
		t.Fatal("a refusal before the queue leaves nothing open")
	}
	hold.Release()
	for _, w := range append(waiting, first) {
		if a := <-w; a.err != nil {
			t.Fatal(a.err)
		}
	}
	b.MustCommit(t, put("one more", nil))
}

// TestLongWait: a change that waited so long that what was written meanwhile is no longer in memory is judged by the
// store, not by what its caller saw.
func TestLongWait(t *testing.T) {
	keys := ledgertest.NewKeys(t, "log.a.example/log/1")
	memory := ledgertest.NewMemory()
	memory.Limit(ledger.Limits{Bytes: 800 << 10, Entries: 10}) // one of the changes below to a group
	store := ledgertest.NewFaultStore(memory.Open())
	cfg := sequencer.Config{
		Store: store, Vault: ledgertest.NewVault(), Origin: keys.Origin, Checkpoint: keys.Checkpoint,
		Verifiers: []note.Verifier{keys.Verifier}, Genesis: keys.Genesis(t), Now: time.Now,
	}
	sequencer.Remember(&cfg, 1)
	log, err := sequencer.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- log.Run(ctx) }()
	b := &bench{Log: &ledgertest.Log{Log: log, Keys: keys, Store: store}, memory: memory, fault: store}
	b.MustCommit(t, put("k", nil))

	large := func(key string, c ledger.Change) ledger.Change {
		c.Put = append(c.Put, ledger.Record{Key: key, Value: make([]byte, 500<<10), JustifiedBy: ledger.NotJustified})
		return c
	}
	body := func(i int) ledger.Entry { return keys.WithBody(t, "m1", []byte{byte(i)}) }
	changes := []ledger.Change{large("b", put("k", nil, ledger.Version("k", 1)))}
	changes[0].Entries = []ledger.Entry{body(0)}
	for i := 1; i < 6; i++ {
		c := large(fmt.Sprint(i), put(fmt.Sprint("other", i), nil))
		c.Entries = []ledger.Entry{body(i)}
		changes = append(changes, c)
	}
	stale := large("x", put("k", nil, ledger.Version("k", 1)))
	again := large("y", put("l", nil))
	again.Entries = []ledger.Entry{keys.WithBody(t, "m1", []byte{0}), keys.WithBody(t, "m2", []byte{0})}
	hold := store.Hold(false)
	first := b.start(t, put("first", nil))
	<-hold.Entered
	var waiting []<-chan answer
	for i, c := range append(changes, stale, again) {
		waiting = append(waiting, b.start(t, c))
		b.awaitWaiting(t, i+1)
	}
	hold.Release()
	<-first
	var answers []answer
	for _, w := range waiting {
		answers = append(answers, <-w)
	}
	for i, a := range answers[:6] {
		if a.err != nil {
			t.Fatalf("change %d: %v", i, a.err)
		}
	}
	wantErr(t, answers[6].err, ledger.ErrConflict)
	if a := answers[7]; a.err != nil || !a.Results[0].Duplicate || a.Results[0].Index != 1 || a.Results[1].Duplicate {
		t.Fatalf("%+v %v", a.Results, a.err)
	}
	sealed := 0
	for frame, err := range memory.Frames() {
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range frame.Bodies {
			if s.Digest == sha([]byte{0}) {
				sealed++
			}
		}
	}
	if sealed != 1 {
		t.Fatalf("%d sealed copies of one body", sealed)
	}
	ledgertest.CheckLog(t, log, keys.VKey)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	log.Close()
}
