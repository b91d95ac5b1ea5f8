package badgerstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/durable"
	"github.com/mission-authority/mas/ledger/journal"
)

var (
	stepRestore = durable.Register("restore.complete", "a restored store has its name and is whole")
	stepClosed  = durable.Register("restore.closed", "a log that lost entries says so, and takes no more")
	stepLost    = durable.Register("shred.lost", "the places of keys that a restore did not bring back are marked")
)

// CodeHistoryLost: entries that others have seen are missing. The log is served as far as it goes and takes no more; a
// successor continues it. See Restore.
const CodeHistoryLost = "history_lost"

// closedName is the file that closes a log: a ledger.Predecessor with a lost range.
const closedName = "closed"

// A KnownHead is a head of the log that somebody has seen: its checkpoint was verified by the caller.
type KnownHead struct {
	ledger.Checkpoint
	Note []byte // the signed note
}

// RestoreOptions say what Restore works with. From, Into, LogKey and one of Heads and NothingNewer are required.
type RestoreOptions struct {
	From  string   // a backup of the log, or a directory with its journals: a follower's copy, a store
	Tails []string // more such directories: what they have beyond From is applied again
	Keys  string   // a backup of the keys, or a directory with shred/ in it; empty: the keys are gone
	// Erasures are directories with shred/ in them whose erasure journal is to be repeated: a store that survived.
	Erasures []string
	Into     string // new, or empty
	LogKey   string // signed-note verifier key of the log's checkpoints

	Heads        []KnownHead // all must be reached, or the log is closed
	NothingNewer bool        // somebody answers for it that nothing newer than what is found was ever seen
	LostKeys     bool        // go on although bodies cannot be opened any more
	ExpiredKeys  bool        // take a backup of keys that should have been destroyed
}

// Restored says what Restore made.
type Restored struct {
	Frames  uint64 // in the journal
	Applied uint64 // of them from tails
	Head    ledger.Head
	Stops   uint64             // frames of the emergency-stop journal
	Closed  *ledger.LostRange  // entries from Head.Size up to its size are gone; nil: none are known to be
	End     ledger.Predecessor // where the log ends, for a successor
	Lost    uint64             // bodies whose key is gone
	Erased  uint64             // erasures that were repeated
}

// Errors of Restore, for errors.Is.
var (
	// ErrHeadUnknown: nobody said which head the log had last.
	ErrHeadUnknown = errors.New("badgerstore: the last head of the log is not known")
	// ErrKeysLost: some bodies cannot be opened with the keys there are.
	ErrKeysLost = errors.New("badgerstore: keys of bodies are missing")
	// ErrExpired: the backup of the keys is past its age.
	ErrExpired = errors.New("badgerstore: the backup of the keys has expired")
)

// Restore makes a store of a backup, and of what journals have beyond it. It ends in one of two ways: with every head
// that is known reached, and then the log goes on; or with a log that says which entries are gone, is closed for ever
// and can be named by a successor. It never makes a log that is silently shorter: without a known head somebody has to
// answer for it (NothingNewer). A journal that tells another history than the rest is refused.
//
// Nothing is written but Into, which gets its name last; everything that was copied is read back and rehashed.
func Restore(ctx context.Context, opt Options, o RestoreOptions) (*Restored, error) {
	opt = opt.withDefaults()
	if len(o.Heads) == 0 && !o.NothingNewer {
		return nil, ErrHeadUnknown
	}
	if err := ensureEmpty(o.Into); err != nil {
		return nil, err
	}
	partial := o.Into + partialSuffix
	if err := os.RemoveAll(partial); err != nil {
		return nil, fmt.Errorf("badgerstore: restore: %w", err)
	}
	r := &restore{opt: opt, o: o, dir: partial, done: new(Restored)}
	if err := r.run(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(partial))
	}
	err := stepRestore.Do(func() error {
		if err := os.Remove(o.Into); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := opt.FS.SyncDir(partial); err != nil {
			return err
		}
		if err := opt.FS.Rename(partial, o.Into); err != nil {
			return err
		}
		return opt.FS.SyncDir(filepath.Dir(o.Into))
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("badgerstore: restore: %w", err), os.RemoveAll(partial))
	}
	return r.done, nil
}

func ensureEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s is not empty", dir)
	}
	if err != nil {
		return fmt.Errorf("badgerstore: restore: %w", err)
	}
	return nil
}

// restore is one run of Restore.
type restore struct {
	opt  Options
	o    RestoreOptions
	dir  string
	tree tree
	done *Restored
}

func (r *restore) run(ctx context.Context) error {
	if err := r.checkFrom(ctx); err != nil {
		return err
	}
	for _, part := range Parts() {
		if err := r.journal(ctx, part); err != nil {
			return fmt.Errorf("badgerstore: restore: %s: %w", part, err)
		}
	}
	if err := r.reach(ctx); err != nil {
		return fmt.Errorf("badgerstore: restore: %w", err)
	}
	if err := r.keys(); err != nil {
		return fmt.Errorf("badgerstore: restore: %w", err)
	}
	if err := r.view(); err != nil {
		return fmt.Errorf("badgerstore: restore: %w", err)
	}
	return r.close()
}

// checkFrom verifies From if it is a backup.
func (r *restore) checkFrom(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(r.o.From, ManifestName)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	m, err := VerifyBackup(ctx, r.o.From, r.opt)
	if err == nil && m.Kind != KindLog {
		err = fmt.Errorf("%w: it is a backup of %s", ErrBackup, m.Kind)
	}
	return err
}

// journal copies a journal from From and appends what the tails have beyond it.
func (r *restore) journal(ctx context.Context, part string) error {
	to := filepath.Join(r.dir, part)
	if _, err := journal.CopyTo(ctx, r.opt.FS, filepath.Join(r.o.From, part), r.opt.identity(part), to); err != nil {
		return err
	}
	o := journal.Options{Identity: r.opt.identity(part), SegmentSize: r.opt.SegmentSize, FS: r.opt.FS, Frame: stepFollow}
	if part == stopsDir {
		o.SegmentSize = stopsSegment
	}
	j, err := journal.Open(to, o)
	if err != nil {
		return err
	}
	for _, tail := range r.o.Tails {
		n, err := r.tail(ctx, j, filepath.Join(tail, part), part)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", tail, err), j.Close())
		}
		if part == journalDir {
			r.done.Applied += n
		}
	}
	if part == stopsDir {
		r.done.Stops, _ = j.Last()
	} else {
		r.done.Frames, _ = j.Last()
	}
	return j.Close()
}

// tail appends the frames that the journal in dir has beyond j. One that ends before j has none.
func (r *restore) tail(ctx context.Context, j *journal.Journal, dir, part string) (n uint64, err error) {
	seq, hash := j.Last()
	live, err := journal.OpenLive(r.opt.FS, dir, r.opt.identity(part), seq, hash)
	if errors.Is(err, journal.ErrRollback) {
		return 0, r.agrees(ctx, j, dir, part)
	}
	if err != nil {
		return 0, err
	}
	defer live.Close()
	for {
		frames, err := live.Poll(ctx, followOctets)
		if err != nil || len(frames) == 0 {
			return n, err
		}
		for _, f := range frames {
			if _, err := j.Append(f.Payload); err != nil {
				return n, err
			}
			if _, got := j.Last(); got != f.Hash {
				return n, journal.ErrFork
			}
			n++
		}
	}
}

// agrees makes sure that a journal shorter than j is an earlier state of it.
func (r *restore) agrees(ctx context.Context, j *journal.Journal, dir, part string) error {
	short, err := journal.Open(dir, journal.Options{Identity: r.opt.identity(part), ReadOnly: true, FS: r.opt.FS})
	if err != nil {
		return err
	}
	defer short.Close()
	seq, hash := short.Last()
	if seq == 0 {
		return nil
	}
	for f, err := range j.Read(seq) {
		if err == nil && f.Hash != hash {
			err = fmt.Errorf("%w: at frame %d", journal.ErrFork, seq)
		}
		return errors.Join(err, ctx.Err())
	}
	return nil
}

// reach rehashes the log and looks for the heads that are known.
func (r *restore) reach(ctx context.Context) (err error) {
	heads := slices.Clone(r.o.Heads)
	slices.SortFunc(heads, func(a, b KnownHead) int { return int(int64(a.Size) - int64(b.Size)) })
	for _, h := range heads {
		if h.Origin != r.opt.Origin {
			return fmt.Errorf("a head is of %q: %w", h.Origin, ledger.ErrConflict)
		}
	}
	next := 0
	at := func(edge *ledger.Edge) error {
		for ; next < len(heads) && heads[next].Size <= edge.Size(); next++ {
			if heads[next].Size != edge.Size() || heads[next].Root != edge.Root() {
				return fmt.Errorf("%w: it does not lead through the known head of size %d", journal.ErrFork, heads[next].Size)
			}
		}
		return nil
	}
	if next < len(heads) && heads[0].Size == 0 {
		next++
	}
	if r.tree, err = readTree(ctx, r.opt, r.dir, at); err != nil {
		return err
	}
	r.done.Head = r.tree.head
	r.done.End = ledger.Predecessor{
		Origin: r.opt.Origin, LogKey: r.o.LogKey, Size: r.tree.head.Size, Root: r.tree.head.Root,
		Checkpoint: r.tree.checkpoint,
	}
	if next < len(heads) {
		last := heads[len(heads)-1]
		r.done.Closed = &ledger.LostRange{Size: last.Size, Root: last.Root, Checkpoint: last.Note}
		r.done.End.Lost = r.done.Closed
	}
	return nil
}

// keys brings back the key file, repeats the erasures, and marks the places of keys that are gone, so that they are not
// given to other bodies.
func (r *restore) keys() error {
	shred := filepath.Join(r.dir, shredDir)
	if err := r.opt.FS.MkdirAll(shred); err != nil {
		return err
	}
	if r.o.Keys != "" {
		if err := r.checkKeys(); err != nil {
			return err
		}
		if err := copyKeys(r.opt, filepath.Join(r.o.Keys, shredDir), shred); err != nil {
			return err
		}
	}
	for _, dir := range r.o.Erasures {
		if err := r.erasures(filepath.Join(dir, shredDir, "erasures"), shred); err != nil {
			return err
		}
	}
	v, err := openVault(r.opt.FS, shred, r.opt.Root)
	if err != nil {
		return err
	}
	err = v.markLost(r.tree.slots)
	r.done.Erased = uint64(v.erased / erasureRecord)
	if err = errors.Join(err, v.close()); err != nil {
		return err
	}
	return nil
}

// checkKeys verifies a backup of keys and its age.
func (r *restore) checkKeys() error {
	if _, err := os.Stat(filepath.Join(r.o.Keys, ManifestName)); errors.Is(err, fs.ErrNotExist) {
		return nil // the shred/ of a store
	}
	m, err := VerifyBackup(context.Background(), r.o.Keys, r.opt)
	switch {
	case err != nil:
		return err
	case m.Kind != KindKeys:
		return fmt.Errorf("%w: it is a backup of the %s", ErrBackup, m.Kind)
	case !r.opt.Now().Before(m.Expires) && !r.o.ExpiredKeys:
		return fmt.Errorf("%w: on %s", ErrExpired, m.Expires.Format(time.RFC3339))
	}
	return nil
}

// erasures adds the records of an erasure journal to the one in shred.
func (r *restore) erasures(from, shred string) error {
	more, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	path := filepath.Join(shred, "erasures")
	have, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	have = have[:len(have)/erasureRecord*erasureRecord]
	for ; len(more) >= erasureRecord; more = more[erasureRecord:] {
		if _, ok := parseErasure(more[:erasureRecord]); !ok {
			if len(more) < 2*erasureRecord {
				break // cut short by a crash
			}
			return fmt.Errorf("the erasure journal %s is damaged: %w", from, ledger.ErrIntegrity)
		}
		have = append(have, more[:erasureRecord]...)
	}
	return writeWhole(r.opt.FS, path, have)
}

// view opens the store, which builds its view from the journal, and counts the bodies that do not open.
func (r *restore) view() (err error) {
	s, err := Open(r.dir, r.opt)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if l := s.Health().Integrity; l != nil {
		return fmt.Errorf("the restored store is damaged: %s: %w", l.Code, ledger.ErrIntegrity)
	}
	head := s.Head()
	if head.Seq != r.tree.head.Seq || head.Size != r.tree.head.Size || head.Root != r.tree.head.Root {
		return fmt.Errorf("the restored store is at frame %d, its journal at %d: %w", head.Seq, r.tree.head.Seq,
			ledger.ErrIntegrity)
	}
	for b, err := range s.Frames(1) {
		if err != nil {
			return err
		}
		for _, body := range b.Bodies {
			switch _, err := s.vault.Open(body.Digest, body.Sealed); {
			case errors.Is(err, ledger.ErrNotFound):
				r.done.Lost++
			case err != nil && !errors.Is(err, ledger.ErrErased):
				return fmt.Errorf("a body of frame %d: %w", b.Head.Seq, err)
			}
		}
	}
	if r.done.Lost > 0 && !r.o.LostKeys {
		return fmt.Errorf("%w: of %d bodies of %d", ErrKeysLost, r.done.Lost, r.tree.bodies)
	}
	return nil
}

// close marks a log that lost entries.
func (r *restore) close() error {
	if r.done.Closed == nil {
		return nil
	}
	text, err := ledger.MarshalPredecessor(&r.done.End)
	if err != nil {
		return fmt.Errorf("badgerstore: restore: %w", err)
	}
	return stepClosed.Do(func() error { return writeWhole(r.opt.FS, filepath.Join(r.dir, closedName), text) })
}

// checkClosed closes the integrity latch of a log that lost entries.
func (s *Store) checkClosed() error {
	end, err := readClosed(s.dir)
	if err != nil || end == nil {
		return err
	}
	s.latch(CodeHistoryLost, fmt.Errorf("entries %d to %d were published and are gone", end.Size, end.Lost.Size))
	return nil
}

// Closed returns where the log ends and what of it is gone, if a restore found that entries are; else nil.
func (s *Store) Closed() (*ledger.Predecessor, error) { return readClosed(s.dir) }

// readClosed reads what a restore wrote about entries that are gone; nil if there is nothing.
func readClosed(dir string) (*ledger.Predecessor, error) {
	text, err := os.ReadFile(filepath.Join(dir, closedName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("badgerstore: %w", err)
	}
	end, err := ledger.ParsePredecessor(text)
	if err == nil && end.Lost == nil {
		err = ledger.ErrSuccession
	}
	if err != nil {
		return nil, fmt.Errorf("badgerstore: the file %q is damaged: %w: %w", closedName, ledger.ErrIntegrity, err)
	}
	return end, nil
}

// slotLost marks the place of a key that a restore did not bring back.
const slotLost = 0x10

func isLost(slot []byte) bool { return slot[0] == slotLost && isZero(slot[1:]) }

// markLost makes places for all keys below number n, and below those that an erasure names, that are not in the file.
func (v *Vault) markLost(n uint64) error {
	b := make([]byte, erasureRecord)
	for off := int64(0); off < v.erased; off += erasureRecord {
		if _, err := v.erasures.ReadAt(b, off); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		n = max(n, binary.BigEndian.Uint64(b[4:])+1)
	}
	if n <= v.slots {
		return nil
	}
	lost := make([]byte, (n-v.slots)*shredSlot)
	for i := 0; i < len(lost); i += shredSlot {
		lost[i] = slotLost
	}
	err := stepLost.Do(func() error {
		if _, err := v.keys.WriteAt(lost, slotOffset(v.slots)); err != nil {
			return err
		}
		return v.keys.Sync()
	})
	if err == nil {
		v.slots = n
	}
	return err
}
