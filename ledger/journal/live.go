package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// A Live reads the frames of a journal that another process may be writing, or that nobody writes. It holds no lock
// and changes nothing. What it yields is on the disk: it syncs the file it reads from first, because a frame whose
// write is seen may not be durable yet. A frame that is being written, or was cut short, is not yielded; the next Poll
// looks again.
//
// It is not safe for concurrent use.
type Live struct {
	fs       FS
	dir      string
	identity [32]byte
	seq      uint64 // of the last frame yielded
	hash     Hash
	file     File // nil until a segment is open
	head     header
	off      int64
	packed   *segmentReader // in place of file for a compressed segment
	frames   *frameReader   // over packed
}

const liveBuffer = 8 << 10

// ErrFork: the journal has another frame in the place of one that is known.
var ErrFork = errors.New("journal: another history than the one that is known")

// OpenLive reads the journal in dir from the frame after number seq on, which must have the given hash; 0 and the
// identity for all. ErrFork if the journal has another frame there, ErrRollback if it ends before it.
func OpenLive(fsys FS, dir string, identity [32]byte, seq uint64, hash Hash) (*Live, error) {
	if fsys == nil {
		fsys = OS
	}
	if seq == 0 {
		hash = identity
	}
	l := &Live{fs: fsys, dir: dir, identity: identity, seq: seq, hash: hash}
	if err := l.position(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Last returns the number and the hash of the last frame yielded.
func (l *Live) Last() (uint64, Hash) { return l.seq, l.hash }

// Close closes what is open.
func (l *Live) Close() {
	if l.file != nil {
		_ = l.file.Close()
	}
	if l.packed != nil {
		l.packed.close()
	}
	l.file, l.packed, l.frames = nil, nil, nil
}

// position opens the segment that holds, or will hold, the next frame, and stands before it.
func (l *Live) position() error {
	segs, _, _, err := listSegments(l.fs, l.dir)
	if err != nil {
		return err
	}
	seg, found := segment{}, false
	for _, s := range segs {
		if s.first <= l.seq+1 && (s.first > seg.first || !found) {
			seg, found = s, true
		}
	}
	if !found {
		if len(segs) == 0 && l.seq == 0 {
			return nil // nothing was written yet
		}
		return fmt.Errorf("%w: there is no segment with frame %d", ErrRollback, l.seq+1)
	}
	return l.open(seg)
}

// open opens seg and skips the frames that are known.
func (l *Live) open(seg segment) error {
	l.Close()
	j := Journal{fs: l.fs, dir: l.dir}
	r, err := j.openSegment(seg)
	if err != nil {
		return err
	}
	if r.head.identity != l.identity {
		r.close()
		return fmt.Errorf("%w: segment %s", ErrIdentity, seg.name())
	}
	if r.head.first != seg.first {
		r.close()
		return &CorruptError{seg.name(), 0, l.seq, fmt.Sprintf("the segment starts with frame %d", r.head.first)}
	}
	d := &frameReader{r: r, limit: payloadLimit(r.head.size), seq: r.head.first - 1, hash: r.head.prev}
	for d.seq < l.seq {
		if _, err := d.next(); err != nil {
			seq := d.seq
			r.close()
			if bad := (*badFrame)(nil); err == errEnd || errors.As(err, &bad) {
				return fmt.Errorf("%w: it ends at frame %d, frame %d is known", ErrRollback, seq, l.seq)
			}
			return fmt.Errorf("journal: segment %s: %w", seg.name(), err)
		}
	}
	if d.hash != l.hash {
		r.close()
		return fmt.Errorf("%w: at frame %d", ErrFork, l.seq)
	}
	l.head = r.head
	if r.zstd != nil {
		l.packed, l.frames = r, d
		return nil
	}
	l.file, l.off = r.file, sectorSize+d.off
	return nil
}

// Poll returns the next frames, at most max octets of payload and at least one frame if there is one. None and no error
// means that nothing new is on the disk yet.
func (l *Live) Poll(ctx context.Context, max int) (frames []Frame, err error) {
	if l.file == nil && l.packed == nil {
		if err := l.position(); err != nil || l.file == nil && l.packed == nil {
			return nil, err
		}
	}
	for size := 0; size < max && ctx.Err() == nil; {
		f, err := l.next()
		if err == errEnd {
			moved, err := l.advance()
			if err != nil {
				return nil, err
			}
			if moved {
				continue
			}
			break
		}
		if err != nil {
			return nil, err
		}
		frames, size = append(frames, f), size+len(f.Payload)+sectorSize
		l.seq, l.hash = f.Seq, f.Hash
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(frames) > 0 && l.file != nil {
		if err := l.file.Sync(); err != nil {
			return nil, fmt.Errorf("journal: syncing what was read: %w", err)
		}
	}
	return frames, nil
}

// next reads the frame after the last one. errEnd: it is not there whole.
func (l *Live) next() (Frame, error) {
	if l.frames != nil {
		f, err := l.frames.next()
		if bad := (*badFrame)(nil); errors.As(err, &bad) {
			return f, &CorruptError{segment{l.head.first, true}.name(), sectorSize + l.frames.off, l.seq, err.Error()}
		}
		return f, err
	}
	if l.off >= l.head.size {
		return Frame{}, errEnd
	}
	d := frameReader{
		r:     bufio.NewReaderSize(io.NewSectionReader(l.file, l.off, l.head.size-l.off), liveBuffer),
		limit: payloadLimit(l.head.size), seq: l.seq, hash: l.hash,
	}
	f, err := d.next()
	if bad := (*badFrame)(nil); errors.As(err, &bad) {
		return f, errEnd // being written, cut short, or damaged: advance tells when another segment follows
	}
	l.off += d.off
	return f, err
}

// advance goes to the segment that starts with the next frame, if there is one. A segment that is followed by another
// one is sealed: then a frame that is missing in it is damage.
func (l *Live) advance() (moved bool, err error) {
	segs, _, _, err := listSegments(l.fs, l.dir)
	if err != nil {
		return false, err
	}
	later := false
	for _, s := range segs {
		if s.first == l.seq+1 && s.first != l.head.first {
			if l.file != nil { // before it is left: what was read of it has to be on the disk
				if err := l.file.Sync(); err != nil {
					return false, fmt.Errorf("journal: syncing what was read: %w", err)
				}
			}
			return true, l.open(s)
		}
		later = later || s.first > l.seq+1
	}
	if later { // it may have been written and sealed since the look before
		if f, err := l.peek(); err == nil && f {
			return true, nil
		}
		return false, &CorruptError{segment{first: l.head.first}.name(), l.off, l.seq, "frames are missing"}
	}
	return false, nil
}

// peek reports whether the next frame has appeared.
func (l *Live) peek() (bool, error) {
	if l.file == nil {
		return false, nil
	}
	off := l.off
	defer func() { l.off = off }()
	_, err := l.next()
	return err == nil, err
}

// A Copied says what CopyTo copied.
type Copied struct {
	Seq   uint64 // of the last frame
	Hash  Hash   // of the last frame
	Files []string
}

// CopyTo copies the journal in dir, which another process may be writing, to the new directory to, frame by frame
// verified, up to the last frame that is on the disk now. Compressed segments stay compressed. The copy is complete and
// durable when CopyTo returns, and is a journal that Open opens.
func CopyTo(ctx context.Context, fsys FS, dir string, identity [32]byte, to string) (c Copied, err error) {
	if fsys == nil {
		fsys = OS
	}
	if err := fsys.MkdirAll(to); err != nil {
		return c, fmt.Errorf("journal: %w", err)
	}
	segs, _, _, err := listSegments(fsys, dir)
	if err != nil {
		return c, err
	}
	c.Hash = identity
	src := Journal{fs: fsys, dir: dir}
	for i, seg := range segs {
		end := ^uint64(0)
		if i+1 < len(segs) {
			end = segs[i+1].first - 1
		}
		name, err := src.copySegment(ctx, seg, identity, end, to, &c)
		if err != nil {
			return c, err
		}
		c.Files = append(c.Files, name)
	}
	if err := fsys.SyncDir(to); err != nil {
		return c, fmt.Errorf("journal: %w", err)
	}
	return c, nil
}

// copySegment copies the header and the frames up to number end of one segment.
func (j *Journal) copySegment(ctx context.Context, seg segment, identity [32]byte, end uint64, to string, c *Copied) (
	name string, err error) {
	r, err := j.openSegment(seg)
	if err != nil {
		return "", err
	}
	defer r.close()
	switch {
	case r.head.identity != identity:
		return "", fmt.Errorf("%w: segment %s", ErrIdentity, seg.name())
	case r.head.first != seg.first || r.head.first != c.Seq+1 || r.head.prev != c.Hash:
		return "", &CorruptError{seg.name(), 0, c.Seq, "it does not continue the segment before"}
	}
	d := frameReader{r: r, limit: payloadLimit(r.head.size), seq: c.Seq, hash: c.Hash}
	for d.seq < end {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		_, err := d.next()
		if bad := (*badFrame)(nil); err == errEnd || errors.As(err, &bad) {
			if end != ^uint64(0) {
				return "", &CorruptError{seg.name(), sectorSize + d.off, d.seq, "frames are missing"}
			}
			break
		}
		if err != nil {
			return "", fmt.Errorf("journal: segment %s: %w", seg.name(), err)
		}
	}
	c.Seq, c.Hash = d.seq, d.hash
	if r.zstd != nil {
		name = segment{seg.first, true}.name()
		size, err := r.file.Size()
		if err != nil {
			return "", err
		}
		return name, copyRange(j.fs, r.file, j.pathIn(to, name), size, size)
	}
	if err := r.file.Sync(); err != nil { // what was read may not be on the disk yet
		return "", fmt.Errorf("journal: syncing what was read: %w", err)
	}
	name = segment{first: seg.first}.name()
	return name, copyRange(j.fs, r.file, j.pathIn(to, name), sectorSize+d.off, r.head.size)
}

func (j *Journal) pathIn(dir, name string) string { return (&Journal{dir: dir}).path(name) }

// copyRange makes a new file with the first n octets of src, and zeros up to size.
func copyRange(fsys FS, src File, to string, n, size int64) (err error) {
	dst, err := fsys.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if err := dst.Allocate(size); err != nil {
		return err
	}
	buf := make([]byte, min(max(n, 1), 1<<20))
	for off := int64(0); off < n; off += int64(len(buf)) {
		chunk := buf[:min(int64(len(buf)), n-off)]
		if _, err := src.ReadAt(chunk, off); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, err := dst.WriteAt(chunk, off); err != nil {
			return err
		}
	}
	return dst.Sync()
}

// Chain is the hash of the frame number seq with this payload after one with the hash prev; before the first frame
// stands the identity of the log.
func Chain(prev Hash, seq uint64, payload []byte) Hash { return chainHash(prev, seq, payload) }
