// Package badgerstore is the embedded engine: a ledger.Store over a journal of our own and Badger.
//
// The journal is the commit point. Apply appends the encoded batch as one frame, synced. After that the batch's keys
// are written to Badger, in one transaction whose version is the number of the frame and which is not synced; until it
// is there, readers find it in memory (behind.go). Badger is a view of the journal that can be searched: a tail that it
// lost is replayed, and a Badger that is damaged or gone is rebuilt whole. Open compares the two. A journal that ends
// before what Badger holds, or that tells another history, is a rollback; one that is damaged cannot be trusted either:
// then the Store opens with its integrity latch closed, serves reads at Badger's head and applies nothing.
//
// What Badger does silently is not relied on. Its manifest, every block of its tables, its write-ahead logs and its
// newest value log are verified before it may open them (inspect.go); values are verified when they are read. An
// unreadable value or page is ErrIntegrity, never ErrNotFound, and makes the next Open rebuild. What remains is damage
// to a table that happens while the store is open: such a block answers "not found" or with an older version. Rows are
// kept under two prefixes, which lie in different blocks once a table has more than one, and in the feed of their
// entry, so that a reader who compares them sees most of it; Scrub and the next Open see the rest.
//
// A directory holds
//
//	LOCK      held while the store is open
//	state     epoch, and how far Badger's files are durable
//	journal/  the commit point
//	badger/   the view
//	shred/    keys of the sealed bodies, see Vault
//	stops/    the emergency-stop journal, see Stops
//	ballast   space that is given up when the disk is full
//	aside/    what recovery was about to change, as it was
//	closed    only in a log that lost entries: which ones, see Restore
//
// Full disk: a commit that would eat into the reserve is refused before anything is written. Badger writes through
// memory maps, and a first write to a hole in a file kills the process if the disk is full; so the files it is writing
// are filled as soon as they exist, and the ballast is given up before Badger has to make new ones. Reads need no
// space. Something else that fills the disk to the last octet within the moment in which Badger flushes a table can
// still kill the process; nothing acknowledged is lost then, and the ballast lets it start again.
package badgerstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/journal"
)

// Limits of one batch, where Badger and the segment size allow them.
const (
	maxBatchBytes   = 4 << 20
	maxBatchEntries = 4096
)

// Options of a Store. Sizes are in octets; 0 means the default.
type Options struct {
	Root   [32]byte // root key: seals the keys in shred/
	Origin string   // of the log: segments of another one are refused

	SegmentSize   int64         // of the journal: 64 MiB
	MemTableSize  int64         // of Badger, about three times in memory: 32 MiB. Bounds a batch at an eighth
	ValueLogSize  int64         // of one value log file of Badger: 64 MiB
	Reserve       int64         // commits stop when less than this would be free: 256 MiB
	Ballast       int64         // preallocated, given up on a full disk: what opening Badger takes, never less
	FlushInterval time.Duration // at most this long until Badger's files are durable, while Run runs: 30 s

	Known Known // a frame that a copy elsewhere has; the journal must have it too. Zero: none is known

	FS     journal.FS // of everything but Badger; the operating system's if nil
	Logger *slog.Logger
	Now    func() time.Time // time.Now if nil

	boot     func() [16]byte // bootID, but for tests
	indexRun int             // see hashindex.go
}

// Small returns options for demos and tests: a few megabytes of disk, and batches of at most some 900 KiB.
func (o Options) Small() Options {
	o.SegmentSize, o.MemTableSize, o.ValueLogSize = 4<<20, 8<<20, 4<<20
	o.Reserve = 32 << 20
	o.indexRun = 1 << 10
	return o
}

func (o Options) withDefaults() Options {
	set := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	set(&o.SegmentSize, journal.DefaultSegmentSize)
	set(&o.MemTableSize, 32<<20)
	set(&o.ValueLogSize, 64<<20)
	set(&o.Reserve, 256<<20)
	o.Ballast = max(o.Ballast, o.openNeed())
	if o.indexRun == 0 {
		o.indexRun = indexRun
	}
	if o.FlushInterval == 0 {
		o.FlushInterval = 30 * time.Second
	}
	if o.FS == nil {
		o.FS = journal.OS
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.boot == nil {
		o.boot = bootID
	}
	return o
}

// identity names the log in journal segments.
func (o Options) identity(what string) [32]byte {
	return sha256.Sum256([]byte("mas " + what + " v1\n" + o.Origin))
}

// Codes of the integrity latch of a Store.
const (
	CodeJournalRollback = "journal_rollback" // the journal ends before a frame that was applied
	CodeJournalCorrupt  = "journal_corrupt"  // frames cannot be read
	CodeJournalFork     = "journal_fork"     // journal and Badger tell different histories
	CodeStoreDamaged    = "store_damaged"    // a value that must be there could not be read
)

// Codes of the write latch of a Store.
const (
	CodeCommitFailed = "commit_failed" // writing or syncing a frame, or applying it, failed
)

// A Recovery says what Open found and did.
type Recovery struct {
	Journal  journal.Recovery
	Unclean  bool   // the store was not closed in order
	Replayed uint64 // frames applied from the journal
	Rebuilt  string // why Badger was rebuilt from nothing; empty if it was not
	Aside    string // copies of what was changed or replaced; empty if there are none
}

// A Store is safe for concurrent use; batches are applied one at a time.
type Store struct {
	dir      string
	opt      Options
	log      *slog.Logger
	recovery Recovery
	lock     *lockFile
	journal  *journal.Journal // nil if the store opened with its integrity latch closed
	db       *badger.DB
	space    *space
	vault    *Vault
	stops    *Stops
	damage   atomic.Pointer[ledger.Latch] // integrity latch, see Health
	failed   atomic.Pointer[ledger.Latch] // write latch, see Health
	panicked atomic.Bool                  // a panic in Badger was caught: it may hold locks for ever

	behind  *behind      // what Badger does not hold yet
	index   *hashIndex   // from recovery on
	closing atomic.Bool  // no reads and writes begin any more
	readers atomic.Int64 // reads in progress

	applyMu sync.Mutex // serialises Apply, Flush and the end of Close; guards what follows
	state   *stateFile
	payload []byte    // of the last frame, for its space
	grown   int64     // octets of frames since the last flush
	flushed time.Time // last flush
	noFlush bool      // a sync of Badger's files failed: they cannot become durable any more

	mu   sync.Mutex // guards what follows; taken after applyMu
	head ledger.Head
	open map[uint64]int // snapshots by the frame they show
}

var _ ledger.Store = (*Store)(nil)

// Open opens the store in dir, makes it if there is none, and recovers. ErrLocked if another process has it.
func Open(dir string, opt Options) (*Store, error) {
	s := &Store{dir: dir, opt: opt.withDefaults(), open: make(map[uint64]int), behind: newBehind()}
	s.log = s.opt.Logger.With(slog.String("component", "badgerstore"))
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// start opens the parts in order; stop closes what is open.
func (s *Store) start() (err error) {
	if err := s.opt.FS.MkdirAll(s.dir); err != nil {
		return fmt.Errorf("badgerstore: %w", err)
	}
	if s.lock, err = acquireLock(s.path("LOCK")); err != nil {
		return err
	}
	if !journal.Durable {
		s.log.Error("built without sync (tag mas_nosync): acknowledged changes may be lost")
	}
	s.space = newSpace(s.opt, s.dir)
	if err := s.space.start(); err != nil {
		return err
	}
	if s.state, err = openState(s.opt.FS, s.dir); err != nil {
		return fmt.Errorf("badgerstore: state: %w", err)
	}
	if err := s.recover(); err != nil {
		return err
	}
	if err := s.checkClosed(); err != nil {
		return err
	}
	if s.vault, err = openVault(s.opt.FS, s.path("shred"), s.opt.Root); err != nil {
		return err
	}
	if s.stops, err = openStops(s.opt.FS, s.path("stops"), s.opt.identity("stops")); err != nil {
		return err
	}
	s.behind.applied.Store(s.head.Seq)
	if s.journal != nil {
		s.behind.done = make(chan struct{})
		go s.write() // Close ends it
	}
	return nil
}

// Head returns the head of the last batch applied, with the epoch of this opening.
func (s *Store) Head() ledger.Head {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head
}

// Limits returns the caps of one batch.
func (s *Store) Limits() ledger.Limits {
	return ledger.Limits{Bytes: int(s.opt.batchBytes()), Entries: maxBatchEntries}
}

func (o Options) batchBytes() int64 {
	limit := min(maxBatchBytes, o.MemTableSize/8)
	payload := (o.SegmentSize - 2*512) / 512 * 511
	return min(limit, payload)
}

// Vault seals bodies under keys in shred/.
func (s *Store) Vault() *Vault { return s.vault }

// Stops is the emergency-stop journal in stops/.
func (s *Store) Stops() *Stops { return s.stops }

// Recovery reports what Open did.
func (s *Store) Recovery() Recovery { return s.recovery }

// Health reports the latches of the store. Integrity: nothing is applied any more, reads answer as far as they verify.
// Write: a batch was left with unknown outcome.
func (s *Store) Health() ledger.Health {
	return ledger.Health{Integrity: s.damage.Load(), Write: s.failed.Load()}
}

// latch closes the integrity latch.
func (s *Store) latch(code string, err error) {
	l := &ledger.Latch{Code: code, Since: s.opt.Now().UTC()}
	if s.damage.CompareAndSwap(nil, l) {
		s.log.Error("integrity latch closed", slog.String("code", code), slog.Any("error", err))
	}
}

// Close waits for reads in progress, makes everything durable and closes the store. Snapshots answer with errors
// afterwards.
func (s *Store) Close() error {
	if s.closing.Swap(true) {
		return nil
	}
	for s.readers.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	return s.stop()
}

// stop closes what is open. The caller holds applyMu, or nobody else has the store.
func (s *Store) stop() error {
	var errs []error
	abandoned := false
	s.behind.drain()
	if s.db != nil {
		err := s.closeBadger()
		abandoned = errors.Is(err, errAbandoned)
		errs = append(errs, err)
	}
	if s.journal != nil {
		errs = append(errs, s.journal.Close())
	}
	if s.stops != nil {
		errs = append(errs, s.stops.close())
	}
	if s.vault != nil {
		errs = append(errs, s.vault.close())
	}
	if s.state != nil {
		errs = append(errs, s.state.file.Close())
	}
	if s.lock != nil && !abandoned { // a Badger that could not be closed still writes: nobody else may open
		errs = append(errs, s.lock.release())
	}
	s.db, s.journal, s.stops, s.vault, s.state, s.lock = nil, nil, nil, nil, nil, nil
	return errors.Join(errs...)
}

// errAbandoned: Badger could not be closed, because it would wait forever for space or for a lock lost in a panic.
var errAbandoned = errors.New("badgerstore: left open, to be recovered at the next start")

// closeBadger flushes and closes Badger and records that everything in it is durable.
func (s *Store) closeBadger() error {
	if s.panicked.Load() {
		return fmt.Errorf("%w: it panicked", errAbandoned)
	}
	if err := s.space.makeRoom(); errors.Is(err, errNoRoom) {
		return fmt.Errorf("%w: %w", errAbandoned, err)
	}
	last := s.head.Seq
	if err := stepClose.Do(s.db.Close); err != nil {
		return fmt.Errorf("badgerstore: close: %w", err)
	}
	if s.journal == nil || s.failed.Load() != nil || s.noFlush || s.state.replay != 0 {
		return nil
	}
	next := s.state.state
	next.clean, next.mark, next.boot = true, last, s.opt.boot()
	return s.state.write(next)
}

// Run does what need not hold up a commit, until ctx ends: it allocates the next segment of the journal, compresses
// sealed ones, makes Badger's files durable from time to time, and watches the free space. A store works without it,
// with longer commits now and then and a longer recovery.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := s.maintain(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("store upkeep failed", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Store) maintain(ctx context.Context) error {
	low, err := s.space.watch()
	if err != nil || low || s.journal == nil {
		return err
	}
	if err := s.journal.Prepare(ctx); err != nil {
		return err
	}
	if err := s.flushIfDue(); err != nil {
		return err
	}
	_, err = s.journal.Pack(ctx)
	return err
}
