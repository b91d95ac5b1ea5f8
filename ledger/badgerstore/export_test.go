package badgerstore

import (
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/journal"
)

// Rebooted returns options under which the system counts as restarted since any other n.
func (o Options) Rebooted(n byte) Options {
	o.boot = func() [16]byte { return [16]byte{n} }
	return o
}

// ParseStopFrame and StopFrame are the codec of the emergency-stop journal.
var (
	ParseStopFrame = parseStopFrame
	StopFrame      = stopFrame
)

// ScanWAL reads the octets of a write-ahead log.
func ScanWAL(b []byte) (first, last uint64, end int64, clean bool) {
	w := scanWAL(b)
	return w.first, w.last, w.end, w.clean
}

// VerifyTable verifies a table file.
var VerifyTable = verifyTable

// SetAttempts makes the state file say that n openings of Badger in a row did not come back.
func SetAttempts(t testing.TB, dir string, n uint32) {
	t.Helper()
	s, err := openState(journal.OS, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.file.Close()
	next := s.state
	next.attempts = n
	if err := s.write(next); err != nil {
		t.Fatal(err)
	}
}

// Settle waits until Badger has caught up with the journal.
func Settle(s *Store) error { return s.behind.settle() }

// BlockBadger makes every following transaction of Badger fail.
func BlockBadger(s *Store) {
	if err := s.db.Close(); err != nil {
		panic(err)
	}
}

// OpenVault and OpenStops open the parts alone.
var OpenVault = openVault

// Close closes a vault that was opened alone.
func (v *Vault) Close() error { return v.close() }

// OpenStops opens an emergency-stop journal alone.
func OpenStops(fsys journal.FS, dir string) (*Stops, error) { return openStops(fsys, dir, [32]byte{4}) }

// Close closes an emergency-stop journal that was opened alone.
func (s *Stops) Close() error { return s.close() }

// PackEntries and ParsePacked are the codec of the entries of a frame.
var PackEntries = packEntries

// ParsePacked reads what PackEntries wrote.
func ParsePacked(kv ledger.KV) (first uint64, entries [][]byte, err error) {
	p, err := parsePacked(kv)
	return p.first, p.entries, err
}

// MaxBehind is how many frames Badger may lack.
const MaxBehind = maxBehind

// Behind is how many frames Badger lacks.
func Behind(s *Store) int { return len(s.behind.pending()) }

// HoldBadger keeps frames from being written to Badger until release is called.
func HoldBadger(s *Store) (release func()) {
	s.behind.hold.Lock()
	return s.behind.hold.Unlock
}

// JournalOf is the journal of a store.
func JournalOf(s *Store) *journal.Journal { return s.journal }

// IndexRun returns options under which a run of the hash indexes has n entries.
func (o Options) IndexRun(n int) Options {
	o.indexRun = n
	return o
}

// IndexRuns is how many runs the hash indexes have.
func IndexRuns(s *Store) int {
	s.index.mu.RLock()
	defer s.index.mu.RUnlock()
	return len(s.index.runs)
}

// DropIndexBlock removes what a run of the dedup index has under the hash in key.
func DropIndexBlock(t testing.TB, s *Store, key []byte) {
	t.Helper()
	for _, r := range s.index.runs {
		txn := s.db.NewTransactionAt(s.head.Seq, true)
		if err := txn.Delete(blockKey(0, r.number, r.blockOf(shortHash(key[1:])))); err != nil {
			t.Fatal(err)
		}
		if err := txn.CommitAt(s.head.Seq, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// Filter is the filter of the hash indexes.
type Filter []byte

// NewFilter returns a filter for so many hashes with so many bits each.
func NewFilter(entries, bits int) Filter { return newFilter(entries, bits) }

// Add adds a hash, and MayHold says whether it may have been added.
func (f Filter) Add(h [16]byte)          { addTo(f, h) }
func (f Filter) MayHold(h [16]byte) bool { return mayHold(f, h) }
