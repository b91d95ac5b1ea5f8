// Package journal is an append-only file of frames: the commit point of the embedded engine.
//
// A frame is durable when Append returns, or its outcome is unknown and the journal takes no more frames until it is
// opened again. Frames are numbered from 1 and chained by SHA-256, so a journal either continues an earlier state of
// itself or is recognisably another one. They stand in preallocated segments and are written with one pwrite and one
// fdatasync.
//
// Open reads the last segment and decides what its end means. A frame that a crash cut short is removed; it was never
// acknowledged. It counts as cut short only if its checksum fails, nothing follows it, the caller does not know it as
// applied, and at least one whole sector of it was never written. Every other disagreement is damage: Open reports it
// and changes nothing. Damage in earlier segments is reported by Read and Verify when they get there.
//
// The journal does not interpret payloads, never deletes frames, and cannot see that it was replaced by an older copy
// of itself unless the caller says which frame it knows (Options.Applied).
package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/mission-authority/mas/ledger/durable"
)

// Sizes of a segment in octets.
const (
	DefaultSegmentSize = 64 << 20
	MinSegmentSize     = 4 << 10
	MaxSegmentSize     = 1 << 30
)

// Errors of the journal, for errors.Is.
var (
	// ErrOutcomeUnknown: writing or syncing the frame failed; it may or may not be there after the next Open.
	ErrOutcomeUnknown = errors.New("journal: outcome unknown")
	// ErrPoisoned: an earlier write or sync failed. Nothing was written by this call.
	ErrPoisoned = errors.New("journal: poisoned by an earlier failure")
	// ErrNoSpace: there is no next segment and no space to allocate one. Nothing was written.
	ErrNoSpace = errors.New("journal: no space for the next segment")
	// ErrTooLarge: the payload does not fit in a segment. Nothing was written.
	ErrTooLarge = errors.New("journal: payload too large")
	// ErrClosed: the journal is closed or was opened only for reading.
	ErrClosed = errors.New("journal: closed")
	// ErrCorrupt: stored frames disagree with their checksums, their chain or their segment. See CorruptError.
	ErrCorrupt = errors.New("journal: corrupt")
	// ErrRollback: the journal ends before a frame that was applied.
	ErrRollback = errors.New("journal: older than what was applied")
	// ErrFormat: a segment was written by a later version of this program. Nothing was changed.
	ErrFormat = errors.New("journal: unknown format")
	// ErrIdentity: the segments belong to another log.
	ErrIdentity = errors.New("journal: belongs to another log")
)

// A CorruptError says where a journal is damaged. It is an ErrCorrupt.
type CorruptError struct {
	Segment  string // file name
	Offset   int64  // of the damage in the segment, before compression
	LastGood uint64 // number of the last frame before it
	Reason   string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("journal: corrupt: segment %s at %d, after frame %d: %s", e.Segment, e.Offset, e.LastGood, e.Reason)
}

// Is reports whether target is ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Options of a journal.
type Options struct {
	Identity    [32]byte // of the log; segments of another one are refused
	SegmentSize int64    // of new segments, a multiple of 512; DefaultSegmentSize if 0
	Applied     uint64   // highest frame known to be applied: never cut, and missed if the journal ends before it
	Aside       string   // directory for a copy of a segment before Open changes its end; made if missing
	ReadOnly    bool     // change nothing; damage is reported by Read, and Append refuses
	FS          FS       // OS if nil

	Frame durable.Step // what appending a frame is; that of the commit groups if it is not set
}

// A Recovery says what Open changed.
type Recovery struct {
	Torn      uint64 // number of the frame that was cut short and removed; 0 if there was none
	Scratched int    // sectors of free space that held stray bits and were cleaned
	Aside     string // copy of the segment as it was found; empty if nothing was changed
}

// A Journal is safe for concurrent use; frames are appended one at a time.
type Journal struct {
	fs        FS
	dir       string
	opt       Options
	recovered Recovery
	damage    error // what Open would have refused; only if ReadOnly

	mu     sync.Mutex // guards what follows
	segs   []segment  // ascending; frames go to the last
	tail   File
	head   header // of the tail
	off    int64  // where the next frame goes
	seq    uint64 // of the last frame
	hash   Hash   // of the last frame
	failed error  // set once; then nothing is written any more
	closed bool
	buf    []byte

	aheadMu sync.Mutex // guards ahead and the allocation itself; taken after mu
	ahead   bool       // the next segment is allocated

	packMu sync.Mutex // serialises Pack; taken before mu
}

// Open opens the journal in dir, which it makes if there is none. It returns a *CorruptError, ErrRollback or
// ErrIdentity without having changed anything.
func Open(dir string, opt Options) (*Journal, error) {
	if opt.FS == nil {
		opt.FS = OS
	}
	if opt.SegmentSize == 0 {
		opt.SegmentSize = DefaultSegmentSize
	}
	if opt.SegmentSize < MinSegmentSize || opt.SegmentSize > MaxSegmentSize || opt.SegmentSize%sectorSize != 0 {
		return nil, fmt.Errorf("journal: segments of %d octets are not supported", opt.SegmentSize)
	}
	j := &Journal{fs: opt.FS, dir: dir, opt: opt}
	if err := j.open(); err != nil {
		if j.tail != nil {
			err = errors.Join(err, j.tail.Close())
		}
		return nil, err
	}
	return j, nil
}

func (j *Journal) open() error {
	if !j.opt.ReadOnly {
		if err := j.fs.MkdirAll(j.dir); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
	}
	segs, ahead, litter, err := listSegments(j.fs, j.dir)
	if err != nil {
		return err
	}
	j.segs, j.ahead = segs, ahead
	if len(segs) == 0 {
		return j.create(litter)
	}
	if err := j.checkHeaders(); err != nil {
		return err
	}
	if err := j.openTail(); err != nil {
		return err
	}
	if j.opt.ReadOnly {
		return nil
	}
	if err := j.clean(litter); err != nil {
		return err
	}
	return j.checkAhead()
}

// create starts an empty journal.
func (j *Journal) create(litter []string) error {
	if j.opt.Applied > 0 {
		return fmt.Errorf("%w: it is empty, frame %d was applied", ErrRollback, j.opt.Applied)
	}
	if j.opt.ReadOnly {
		return nil
	}
	if err := j.clean(litter); err != nil {
		return err
	}
	if err := j.checkAhead(); err != nil {
		return err
	}
	j.hash = j.opt.Identity
	if err := j.ensureAhead(); err != nil {
		return err
	}
	return j.publish()
}

// clean removes what an interrupted allocation or compression left behind.
func (j *Journal) clean(litter []string) error {
	for _, name := range litter {
		if err := j.fs.Remove(j.path(name)); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
	}
	return nil
}

// checkAhead makes the segment allocated ahead blank again if a crash interrupted its publication, and drops one of
// another size.
func (j *Journal) checkAhead() error {
	if !j.ahead {
		return nil
	}
	f, err := j.fs.OpenFile(j.path(aheadName), os.O_RDWR)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if size != j.opt.SegmentSize {
		j.ahead = false
		return j.clean([]string{aheadName})
	}
	err = stepBlank.Do(func() error {
		if _, err := f.WriteAt(make([]byte, sectorSize), 0); err != nil {
			return err
		}
		return f.Sync()
	})
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

func (j *Journal) path(name string) string { return filepath.Join(j.dir, name) }

// Append writes payload as the next frame and returns its number when it is durable. On ErrOutcomeUnknown the journal
// is poisoned; after any other error nothing was written.
func (j *Journal) Append(payload []byte) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.writable(); err != nil {
		return 0, err
	}
	if len(payload) > payloadLimit(j.opt.SegmentSize) {
		return 0, fmt.Errorf("%w: %d octets", ErrTooLarge, len(payload))
	}
	if j.off+frameSectors(len(payload))*sectorSize > j.head.size {
		if err := j.roll(); err != nil {
			return 0, err
		}
	}
	j.buf = appendFrame(j.buf[:0], j.seq+1, j.hash, payload)
	if err := j.opt.frame().Do(j.write); err != nil {
		return 0, j.poison(err)
	}
	j.off += int64(len(j.buf))
	j.seq, j.hash = j.seq+1, chainHash(j.hash, j.seq+1, payload)
	return j.seq, nil
}

// write writes the frame in buf and syncs it.
func (j *Journal) write() error {
	if _, err := j.tail.WriteAt(j.buf, j.off); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := j.tail.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

func (j *Journal) writable() error {
	switch {
	case j.closed || j.tail == nil || j.opt.ReadOnly:
		return ErrClosed
	case j.failed != nil:
		return fmt.Errorf("%w: %w", ErrPoisoned, j.failed)
	}
	return nil
}

// poison ends writing: after a failed write or sync nobody knows what the disk holds, and a second sync may succeed
// without having written anything.
func (j *Journal) poison(err error) error {
	j.failed = fmt.Errorf("frame %d: %w", j.seq+1, err)
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, j.failed)
}

// roll makes the segment allocated ahead the tail. No frame is being written yet, so no outcome is unknown; but a
// failure between the header and the name's durability still ends writing.
func (j *Journal) roll() error {
	if err := j.ensureAhead(); err != nil {
		return err
	}
	old := j.tail
	if err := j.publish(); err != nil {
		j.failed = err
		return fmt.Errorf("%w: %w", ErrPoisoned, err)
	}
	_ = old.Close() // everything in it is synced
	return nil
}

// publish gives the segment allocated ahead its header and its name. The caller holds mu.
func (j *Journal) publish() error {
	j.aheadMu.Lock()
	defer j.aheadMu.Unlock()
	h := header{size: j.opt.SegmentSize, identity: j.opt.Identity, first: j.seq + 1, prev: j.hash}
	if len(j.segs) > 0 {
		h.prevFirst = j.segs[len(j.segs)-1].first
	}
	f, err := j.fs.OpenFile(j.path(aheadName), os.O_RDWR)
	if err != nil {
		return fmt.Errorf("journal: next segment: %w", err)
	}
	seg := segment{first: h.first}
	if err := stepSegment.Do(func() error { return j.publishAs(f, h, seg.name()) }); err != nil {
		return errors.Join(err, f.Close())
	}
	j.ahead = false
	j.segs = append(j.segs[:len(j.segs):len(j.segs)], seg)
	j.tail, j.head, j.off = f, h, sectorSize
	return nil
}

func (j *Journal) publishAs(f File, h header, name string) error {
	if _, err := f.WriteAt(h.marshal(), 0); err != nil {
		return fmt.Errorf("journal: header of %s: %w", name, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("journal: header of %s: %w", name, err)
	}
	if err := j.fs.Rename(j.path(aheadName), j.path(name)); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := j.fs.SyncDir(j.dir); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// Prepare allocates the next segment if that was not done yet. Call it from time to time, off the path of Append:
// without it Append allocates the segment itself when it needs it.
func (j *Journal) Prepare(ctx context.Context) error {
	j.mu.Lock()
	err := j.writable()
	j.mu.Unlock()
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return j.ensureAhead()
}

// Prepared reports whether the next segment is allocated.
func (j *Journal) Prepared() bool {
	j.aheadMu.Lock()
	defer j.aheadMu.Unlock()
	return j.ahead
}

func (j *Journal) ensureAhead() error {
	j.aheadMu.Lock()
	defer j.aheadMu.Unlock()
	if j.ahead {
		return nil
	}
	err := stepAhead.Do(j.allocateAhead)
	switch {
	case IsNoSpace(err):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case err != nil:
		return fmt.Errorf("journal: next segment: %w", err)
	}
	j.ahead = true
	return nil
}

func (j *Journal) allocateAhead() error {
	temp := j.path(aheadName + tempSuffix)
	if err := allocate(j.fs, temp, j.opt.SegmentSize); err != nil {
		return err
	}
	if err := j.fs.Rename(temp, j.path(aheadName)); err != nil {
		return err
	}
	return j.fs.SyncDir(j.dir)
}

// Room reports whether a payload of n octets goes into the current segment.
func (j *Journal) Room(n int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.tail != nil && j.off+frameSectors(n)*sectorSize <= j.head.size
}

// MaxPayload is the largest payload Append takes.
func (j *Journal) MaxPayload() int { return payloadLimit(j.opt.SegmentSize) }

// Last returns the number and hash of the last durable frame; number 0 if there is none.
func (j *Journal) Last() (uint64, Hash) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.seq, j.hash
}

// Recovery reports what Open changed.
func (j *Journal) Recovery() Recovery { return j.recovered }

// Close closes the journal. Frames are durable already.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed || j.tail == nil {
		j.closed = true
		return nil
	}
	j.closed = true
	return j.tail.Close()
}
