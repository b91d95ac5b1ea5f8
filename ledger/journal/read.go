package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"

	"github.com/klauspost/compress/zstd"
)

// checkHeaders reads the header of every segment: all belong to this log, follow each other without a gap, and start
// where their names say. It leaves the header of the last one in j.head.
func (j *Journal) checkHeaders() error {
	var prevFirst uint64
	for i, seg := range j.segs {
		h, err := j.readHeader(seg)
		if err != nil {
			return err
		}
		if j.opt.ReadOnly && j.opt.Identity == [32]byte{} {
			j.opt.Identity = h.identity
		}
		switch {
		case h.identity != j.opt.Identity:
			return fmt.Errorf("%w: segment %s", ErrIdentity, seg.name())
		case h.first != seg.first:
			return j.corrupt(seg, 0, fmt.Sprintf("the segment starts with frame %d", h.first))
		case h.prevFirst != prevFirst:
			return j.corrupt(seg, 0, fmt.Sprintf("the segment that starts with frame %d is missing", h.prevFirst))
		case i == 0 && (h.first != 1 || h.prev != j.opt.Identity):
			return j.corrupt(seg, 0, "the first segment is missing")
		}
		prevFirst, j.head = h.first, h
	}
	return nil
}

func (j *Journal) readHeader(seg segment) (header, error) {
	r, err := j.openSegment(seg)
	if err != nil {
		return header{}, err
	}
	defer r.close()
	return r.head, nil
}

// Read yields the frames from number from on, verified: each segment is read from its start, and its end must be what
// the next one continues. It yields frames that were durable when it was called. A *CorruptError is the last thing it
// yields.
func (j *Journal) Read(from uint64) iter.Seq2[Frame, error] {
	return func(yield func(Frame, error) bool) {
		j.mu.Lock()
		segs, last, hash, failed := j.segs, j.seq, j.hash, j.failed
		j.mu.Unlock()
		if failed != nil {
			yield(Frame{}, fmt.Errorf("%w: %w", ErrPoisoned, failed))
			return
		}
		for i, seg := range segs {
			end := last
			if i+1 < len(segs) {
				end = segs[i+1].first - 1
			}
			if end < from {
				continue
			}
			got, ok := j.readSegment(seg, from, end, yield)
			if !ok {
				return
			}
			want := hash
			if i+1 < len(segs) {
				next, err := j.readHeader(segs[i+1])
				if err != nil {
					yield(Frame{}, err)
					return
				}
				want = next.prev
			}
			if got != want {
				yield(Frame{}, &CorruptError{seg.name(), 0, end, "the next segment does not continue this one"})
				return
			}
		}
		if j.damage != nil {
			yield(Frame{}, j.damage)
		}
	}
}

// readSegment yields the frames from..end of seg and returns the hash of frame end, or false if it was stopped.
func (j *Journal) readSegment(seg segment, from, end uint64, yield func(Frame, error) bool) (Hash, bool) {
	r, err := j.openSegment(seg)
	if err != nil {
		yield(Frame{}, err)
		return Hash{}, false
	}
	defer r.close()
	d := frameReader{r: r, limit: payloadLimit(r.head.size), seq: r.head.first - 1, hash: r.head.prev}
	for d.seq < end {
		frame, err := d.next()
		if err != nil {
			var bad *badFrame
			switch {
			case err == errEnd:
				err = &badFrame{"frames are missing"}
				fallthrough
			case errors.As(err, &bad), errors.Is(err, zstd.ErrMagicMismatch), seg.packed:
				err = &CorruptError{seg.name(), sectorSize + d.off, d.seq, err.Error()}
			default:
				err = fmt.Errorf("journal: segment %s: %w", seg.name(), err)
			}
			yield(Frame{}, err)
			return Hash{}, false
		}
		if frame.Seq >= from && !yield(frame, nil) {
			return Hash{}, false
		}
	}
	return d.hash, true
}

// A segmentReader streams a segment, decompressed, after its header.
type segmentReader struct {
	io.Reader
	head header
	file File
	zstd *zstd.Decoder
}

func (r *segmentReader) close() {
	if r.zstd != nil {
		r.zstd.Close()
	}
	_ = r.file.Close()
}

func (j *Journal) openSegment(seg segment) (*segmentReader, error) {
	f, err := j.fs.OpenFile(j.path(seg.name()), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) && !seg.packed { // compressed since the caller looked
		seg.packed = true
		f, err = j.fs.OpenFile(j.path(seg.name()), os.O_RDONLY)
	}
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	r := &segmentReader{file: f}
	if err := r.start(seg); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *segmentReader) start(seg segment) error {
	size, err := r.file.Size()
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	var src io.Reader = io.NewSectionReader(r.file, 0, size)
	if seg.packed {
		r.zstd, err = zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(packWindow))
		if err != nil {
			return &CorruptError{Segment: seg.name(), LastGood: seg.first - 1, Reason: err.Error()}
		}
		src = r.zstd
	}
	r.Reader = bufio.NewReaderSize(io.LimitReader(src, MaxSegmentSize), int(min(1<<18, max(size, sectorSize))))
	sector := make([]byte, sectorSize)
	if _, err := io.ReadFull(r, sector); err != nil {
		return &CorruptError{Segment: seg.name(), LastGood: seg.first - 1, Reason: "segment header: " + err.Error()}
	}
	if r.head, err = parseHeader(sector); errors.Is(err, ErrFormat) {
		return fmt.Errorf("segment %s: %w", seg.name(), err)
	} else if err != nil {
		return &CorruptError{Segment: seg.name(), LastGood: seg.first - 1, Reason: err.Error()}
	}
	return nil
}

// Verify reads every frame from number from on and returns the first damage it meets.
func (j *Journal) Verify(ctx context.Context, from uint64) error {
	for _, err := range j.Read(from) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
