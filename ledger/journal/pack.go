package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

const packWindow = 4 << 20

// Pack compresses the sealed segments, oldest first, and removes each original when its compressed copy is durable and
// has been read back whole. It returns how many it did. Frames stay readable all the time.
func (j *Journal) Pack(ctx context.Context) (int, error) {
	j.packMu.Lock()
	defer j.packMu.Unlock()
	for n := 0; ; n++ {
		seg, end, ok := j.nextToPack()
		if !ok {
			return n, nil
		}
		if err := ctx.Err(); err != nil {
			return n, err
		}
		if err := j.pack(ctx, seg, end); err != nil {
			return n, fmt.Errorf("journal: pack %s: %w", seg.name(), err)
		}
		j.mu.Lock()
		segs := make([]segment, len(j.segs)) // readers hold the old slice
		copy(segs, j.segs)
		for i := range segs {
			segs[i].packed = segs[i].packed || segs[i].first == seg.first
		}
		j.segs = segs
		j.mu.Unlock()
		if err := j.removeRaw(seg); err != nil {
			return n + 1, fmt.Errorf("journal: pack %s: %w", seg.name(), err)
		}
	}
}

// nextToPack returns the oldest sealed segment that is not compressed and the number of its last frame.
func (j *Journal) nextToPack() (seg segment, end uint64, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed || j.opt.ReadOnly {
		return segment{}, 0, false
	}
	for i := range len(j.segs) - 1 {
		if !j.segs[i].packed {
			return j.segs[i], j.segs[i+1].first - 1, true
		}
	}
	return segment{}, 0, false
}

func (j *Journal) pack(ctx context.Context, seg segment, end uint64) error {
	packed := segment{first: seg.first, packed: true}
	if err := stepPack.Do(func() error { return j.publishPacked(ctx, seg, packed, end) }); err != nil {
		return err
	}
	want, err := j.endHash(ctx, seg, end)
	if err != nil {
		return err
	}
	got, err := j.endHash(ctx, packed, end)
	if err == nil && got != want {
		err = errors.New("the compressed copy differs")
	}
	if err != nil {
		return errors.Join(err, j.fs.Remove(j.path(packed.name())))
	}
	return nil
}

// publishPacked makes the compressed copy durable under its name.
func (j *Journal) publishPacked(ctx context.Context, seg, packed segment, end uint64) error {
	temp := j.path(packed.name() + tempSuffix)
	if err := j.writePacked(ctx, seg, end, temp); err != nil {
		return errors.Join(err, ignoreMissing(j.fs.Remove(temp)))
	}
	if err := j.fs.Rename(temp, j.path(packed.name())); err != nil {
		return err
	}
	return j.fs.SyncDir(j.dir)
}

// endHash verifies the frames of seg up to number end and returns the hash of that one.
func (j *Journal) endHash(ctx context.Context, seg segment, end uint64) (hash Hash, err error) {
	hash, _ = j.readSegment(seg, seg.first, end, func(_ Frame, failed error) bool {
		if err = failed; err == nil {
			err = ctx.Err()
		}
		return err == nil
	})
	return hash, err
}

// writePacked streams the header and the frames of seg, without the free space behind them, to the file temp.
func (j *Journal) writePacked(ctx context.Context, seg segment, end uint64, temp string) (err error) {
	r, err := j.openSegment(seg)
	if err != nil {
		return err
	}
	defer r.close()
	f, err := j.fs.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	enc, err := zstd.NewWriter(&offsetWriter{f: f}, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(packWindow))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, enc.Close()) }()
	if _, err := enc.Write(r.head.marshal()); err != nil {
		return err
	}
	var copied bytes.Buffer
	d := frameReader{
		r: io.TeeReader(r, &copied), limit: payloadLimit(r.head.size), seq: r.head.first - 1, hash: r.head.prev,
	}
	for d.seq < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := d.next(); err != nil {
			return err
		}
		if _, err := enc.Write(copied.Bytes()); err != nil {
			return err
		}
		copied.Reset()
	}
	if err := enc.Close(); err != nil {
		return err
	}
	return f.Sync()
}

func (j *Journal) removeRaw(seg segment) error {
	return stepDrop.Do(func() error {
		if err := j.fs.Remove(j.path(seg.name())); err != nil {
			return err
		}
		return j.fs.SyncDir(j.dir)
	})
}

// An offsetWriter writes to a File from its start.
type offsetWriter struct {
	f   File
	off int64
}

func (w *offsetWriter) Write(p []byte) (int, error) {
	n, err := w.f.WriteAt(p, w.off)
	w.off += int64(n)
	return n, err
}
