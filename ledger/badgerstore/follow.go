package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/durable"
	"github.com/mission-authority/mas/ledger/journal"
)

var stepFollow = durable.Register("follow.frame", "a frame of the log is in its copy on another volume or host")

// A FrameSource yields the frames of a journal after one it was opened at, oldest first: at most about max octets, and
// none if there are no new ones. Each is durable where it comes from.
type FrameSource interface {
	Poll(ctx context.Context, max int) ([]journal.Frame, error)
	Close()
}

// A Follower keeps a copy of a log's journals in a directory of its own, to which it adds frame after frame. The copy
// is what Restore takes; a frame is in it, synced, when Progress says so. A source that tells another history than the
// copy is refused, and so is one that ends before it: neither changes the copy.
type Follower struct {
	opt    Options
	dir    string
	lock   *lockFile
	copies map[string]*journal.Journal
}

// Parts are the journals that a Follower copies: the stops last, so that one that was replayed meanwhile is in the log.
func Parts() []string { return []string{journalDir, stopsDir} }

// followOctets bounds what one Step of a Follower reads at once.
const followOctets = 8 << 20

// OpenFollower opens the copy in dir, which it makes if there is none. ErrLocked if another one has it.
func OpenFollower(dir string, opt Options) (f *Follower, err error) {
	opt = opt.withDefaults()
	f = &Follower{opt: opt, dir: dir, copies: make(map[string]*journal.Journal)}
	if err := opt.FS.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("badgerstore: follow: %w", err)
	}
	if f.lock, err = acquireLock(filepath.Join(dir, "LOCK")); err != nil {
		return nil, err
	}
	for _, part := range Parts() {
		o := journal.Options{
			Identity: opt.identity(part), SegmentSize: opt.SegmentSize, FS: opt.FS, Frame: stepFollow,
			Aside: filepath.Join(dir, "aside"),
		}
		if part == stopsDir {
			o.SegmentSize = stopsSegment
		}
		if f.copies[part], err = journal.Open(filepath.Join(dir, part), o); err != nil {
			return nil, errors.Join(fmt.Errorf("badgerstore: follow: %w", err), f.Close())
		}
	}
	return f, nil
}

// Last returns the number and the hash of the last frame of a part in the copy.
func (f *Follower) Last(part string) (uint64, [32]byte) { return f.copies[part].Last() }

// Source reads a part of the store in dir on this machine, which may be in use, from where the copy ends.
func (f *Follower) Source(dir, part string) (FrameSource, error) {
	seq, hash := f.Last(part)
	live, err := journal.OpenLive(f.opt.FS, filepath.Join(dir, part), f.opt.identity(part), seq, hash)
	if err != nil {
		return nil, fmt.Errorf("badgerstore: follow: %w", err)
	}
	return live, nil
}

// Step copies what a source has, and returns how many frames that were. It returns 0 when the copy has caught up.
// journal.ErrFork: the source tells another history.
func (f *Follower) Step(ctx context.Context, part string, from FrameSource) (n int, err error) {
	frames, err := from.Poll(ctx, followOctets)
	if err != nil {
		return 0, fmt.Errorf("badgerstore: follow: %w", err)
	}
	to := f.copies[part]
	for _, frame := range frames {
		last, hash := to.Last()
		if frame.Seq != last+1 || journal.Chain(hash, frame.Seq, frame.Payload) != frame.Hash {
			return n, fmt.Errorf("badgerstore: follow: %w: frame %d of %s does not follow frame %d of the copy",
				journal.ErrFork, frame.Seq, part, last)
		}
		if part == journalDir {
			if b, err := ledger.UnmarshalBatch(frame.Payload); err != nil || b.Head.Seq != frame.Seq {
				return n, fmt.Errorf("badgerstore: follow: frame %d holds no batch of that number: %w", frame.Seq, ledger.ErrIntegrity)
			}
		}
		if _, err := to.Append(frame.Payload); err != nil {
			return n, fmt.Errorf("badgerstore: follow: %w", err)
		}
		n++
	}
	return n, nil
}

// Upkeep compresses sealed segments of the copy and allocates the next one ahead.
func (f *Follower) Upkeep(ctx context.Context) error {
	j := f.copies[journalDir]
	if err := j.Prepare(ctx); err != nil {
		return fmt.Errorf("badgerstore: follow: %w", err)
	}
	if _, err := j.Pack(ctx); err != nil {
		return fmt.Errorf("badgerstore: follow: %w", err)
	}
	return nil
}

// Close closes the copy. Frames are durable already.
func (f *Follower) Close() error {
	var errs []error
	for _, j := range f.copies {
		if j != nil {
			errs = append(errs, j.Close())
		}
	}
	if f.lock != nil {
		errs = append(errs, f.lock.release())
	}
	return errors.Join(errs...)
}

// A Known frame is one that somebody outside of the store has seen: a copy on another volume. A store whose journal
// ends before it was rolled back; one that has another frame in its place was forked.
type Known struct {
	Seq  uint64
	Hash [32]byte
}

// ReadKnown reads the last frame of the copy in dir that a Follower keeps, which may be at work.
func ReadKnown(dir string, opt Options) (k Known, err error) {
	opt = opt.withDefaults()
	j, err := journal.Open(filepath.Join(dir, journalDir), journal.Options{
		Identity: opt.identity(journalDir), ReadOnly: true, FS: opt.FS,
	})
	if err != nil {
		return k, fmt.Errorf("badgerstore: known frame: %w", err)
	}
	defer j.Close()
	k.Seq, k.Hash = j.Last()
	return k, nil
}
