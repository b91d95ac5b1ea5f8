package badgerstore_test

import (
	"bytes"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
)

// FuzzPacked: what is read of a value of entries is what would be written, and nothing else is read.
func FuzzPacked(f *testing.F) {
	value := badgerstore.PackEntries(&ledger.Batch{First: 3, Entries: []ledger.BatchEntry{
		{Raw: []byte("one")}, {Raw: []byte("two")},
	}}).Value
	f.Add(uint64(4), value)
	f.Add(uint64(0), value)
	f.Add(uint64(4), append(bytes.Clone(value), 0))
	f.Add(uint64(4), value[:len(value)-1])
	f.Add(uint64(9), []byte{0, 0, 0, 1, 0, 0})
	f.Add(uint64(9), []byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, last uint64, value []byte) {
		first, entries, err := badgerstore.ParsePacked(ledger.KV{Key: ledger.EntryKey(last), Value: value})
		if err != nil {
			return
		}
		b := &ledger.Batch{First: first}
		for _, raw := range entries {
			b.Entries = append(b.Entries, ledger.BatchEntry{Raw: raw})
		}
		kv := badgerstore.PackEntries(b)
		if !bytes.Equal(kv.Key, ledger.EntryKey(last)) || !bytes.Equal(kv.Value, value) {
			t.Fatalf("%d entries from %d do not lead back to key %d", len(entries), first, last)
		}
	})
}

// TestReadersFindWhatBadgerLacks reads while Badger is kept from writing: everything is found in memory, in order, with
// what Badger holds below it, and an older snapshot does not see it.
func TestReadersFindWhatBadgerLacks(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small())
	w := newWriter(t, s)
	w.write(s, 10)
	old, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	count := func(snap ledger.Snapshot, prefix byte) (n int) {
		last := []byte{}
		for kv, err := range snap.Iterate([]byte{prefix}, nil) {
			if err != nil || bytes.Compare(kv.Key, last) <= 0 {
				t.Fatalf("key %q after %q: %v", kv.Key, last, err)
			}
			last = kv.Key
			n++
		}
		return n
	}
	entries, rows := count(old, ledger.PrefixEntry), count(old, ledger.PrefixRow)

	release := badgerstore.HoldBadger(s)
	for range 7 {
		if err := w.try(s); err != nil {
			t.Fatal(err)
		}
	}
	for pass := range 2 {
		if err := compare(t, s); err != nil {
			t.Fatal(err)
		}
		if e, r := count(old, ledger.PrefixEntry), count(old, ledger.PrefixRow); e != entries || r != rows {
			t.Errorf("pass %d: an older snapshot yields %d entries and %d rows, had %d and %d", pass, e, r, entries, rows)
		}
		snap, err := s.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		for _, from := range []uint64{0, 7, 29, 30, 31, 50} { // entries on both sides, and where they meet
			next := from
			for kv, err := range snap.Iterate([]byte{ledger.PrefixEntry}, ledger.EntryKey(from)) {
				if err != nil || !bytes.Equal(kv.Key, ledger.EntryKey(next)) {
					t.Fatalf("from %d: key %q, want entry %d: %v", from, kv.Key, next, err)
				}
				next++
			}
			if next != s.Head().Size {
				t.Errorf("from %d: the entries end at %d of %d", from, next, s.Head().Size)
			}
		}
		snap.Close()
		if pass == 0 {
			release()
			if err := badgerstore.Settle(s); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestBadgerIsNeverFarBehind: commits wait when Badger lacks too much, and go on when it has caught up.
//
// Audit rows: 69.
func TestBadgerIsNeverFarBehind(t *testing.T) {
	s := mustOpen(t, t.TempDir(), small())
	w := newWriter(t, s)
	w.write(s, 1)
	release := badgerstore.HoldBadger(s)
	done := make(chan error)
	const more = badgerstore.MaxBehind + 50
	go func() {
		for range more {
			if err := w.try(s); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for badgerstore.Behind(s) < badgerstore.MaxBehind {
		select {
		case err := <-done:
			t.Fatalf("%d frames were committed over a Badger that does nothing: %v", more, err)
		default:
		}
	}
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	mustMatch(t, s)
}
