package journal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// openTail reads the last segment, judges its end and repairs it if a crash cut the last frame short.
func (j *Journal) openTail() error {
	seg := j.segs[len(j.segs)-1]
	if seg.packed {
		return j.corrupt(seg, 0, "the last segment is a sealed one")
	}
	flag := os.O_RDWR
	if j.opt.ReadOnly {
		flag = os.O_RDONLY
	}
	f, err := j.fs.OpenFile(j.path(seg.name()), flag)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.tail = f
	if size, err := f.Size(); err != nil {
		return fmt.Errorf("journal: %w", err)
	} else if size != j.head.size {
		return j.corrupt(seg, size, fmt.Sprintf("the segment has %d octets, not %d", size, j.head.size))
	}
	last, err := j.scan()
	if err != nil {
		return err
	}
	err = j.judge()
	if err == nil && j.seq < j.opt.Applied {
		err = fmt.Errorf("%w: it ends at frame %d, frame %d was applied", ErrRollback, j.seq, j.opt.Applied)
	}
	switch {
	case j.opt.ReadOnly:
		j.damage = err
		return nil
	case err != nil:
		return err
	}
	if err := j.repair(); err != nil {
		return err
	}
	return j.rewrite(last)
}

// scan reads the frames of the tail up to the first place that holds none and returns where the last one starts.
func (j *Journal) scan() (last int64, err error) {
	section := io.NewSectionReader(j.tail, sectorSize, j.head.size-sectorSize)
	d := frameReader{
		r:     bufio.NewReaderSize(section, int(min(1<<20, j.head.size))),
		limit: payloadLimit(j.head.size),
		seq:   j.head.first - 1,
		hash:  j.head.prev,
	}
	for {
		start := sectorSize + d.off
		_, err := d.next()
		j.seq, j.hash, j.off = d.seq, d.hash, sectorSize+d.off
		var bad *badFrame
		switch {
		case err == nil:
			last = start
		case err == errEnd || errors.As(err, &bad):
			return last, nil
		default:
			return 0, fmt.Errorf("journal: %w", err)
		}
	}
}

// freeSpace is what the sectors behind the last good frame hold.
type freeSpace struct {
	marked    bool  // the first sector is written
	written   int64 // offset behind the last written sector; where the frames end if there is none
	scratched []int64
	frame     bool // a later sector is the start of a frame
}

// judge decides what stands behind the last good frame: nothing, a torn frame, or damage. It implements the rule of the
// package comment to the letter.
func (j *Journal) judge() error {
	found, err := j.survey()
	if err != nil {
		return err
	}
	j.recovered.Scratched = len(found.scratched)
	if found.written == j.off {
		return nil
	}
	seg := j.segs[len(j.segs)-1]
	if found.frame {
		return j.corrupt(seg, j.off, "a frame follows one that cannot be read")
	}
	end := found.written
	if found.marked {
		if end, err = j.tornHead(found); err != nil {
			return err
		}
	}
	if blank, err := j.anyBlank(j.off, end); err != nil {
		return err
	} else if !blank {
		return j.corrupt(seg, j.off, "every sector of the last frame was written, but it cannot be read")
	}
	if j.opt.Applied > j.seq {
		return j.corrupt(seg, j.off, fmt.Sprintf("frame %d was applied and cannot be read", j.seq+1))
	}
	j.recovered.Torn = j.seq + 1
	return nil
}

// tornHead returns the end of a frame whose first sector was written.
func (j *Journal) tornHead(found freeSpace) (int64, error) {
	seg := j.segs[len(j.segs)-1]
	sector := make([]byte, sectorSize)
	if _, err := j.tail.ReadAt(sector, j.off); err != nil {
		return 0, fmt.Errorf("journal: %w", err)
	}
	h, err := parseHead(sector)
	if err != nil {
		return 0, j.corrupt(seg, j.off, err.Error())
	}
	if h.seq != j.seq+1 || h.prev != j.hash {
		return 0, j.corrupt(seg, j.off, "the last frame does not continue the chain")
	}
	end := j.off + frameSectors(h.length)*sectorSize
	if end < found.written || end > j.head.size {
		return 0, j.corrupt(seg, j.off, "something is written behind the last frame")
	}
	return end, nil
}

// survey looks at every sector behind the last good frame.
func (j *Journal) survey() (freeSpace, error) {
	found := freeSpace{written: j.off}
	err := j.sectors(j.off, j.head.size, func(off int64, sector []byte) {
		switch {
		case isZero(sector):
		case isBlank(sector):
			found.scratched = append(found.scratched, off)
		default:
			found.written = off + sectorSize
			if off == j.off {
				found.marked = true
			} else if sector[0] == markHead {
				found.frame = true
			}
		}
	})
	return found, err
}

func (j *Journal) anyBlank(from, to int64) (bool, error) {
	any := false
	err := j.sectors(from, to, func(_ int64, sector []byte) { any = any || isBlank(sector) })
	return any, err
}

func (j *Journal) sectors(from, to int64, visit func(off int64, sector []byte)) error {
	buf := make([]byte, min(1<<20, to-from))
	for off := from; off < to; {
		chunk := buf[:min(int64(len(buf)), to-off)]
		if _, err := j.tail.ReadAt(chunk, off); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("journal: %w", err)
		}
		for ; len(chunk) > 0; chunk = chunk[sectorSize:] {
			visit(off, chunk[:sectorSize])
			off += sectorSize
		}
	}
	return nil
}

// repair makes everything behind the last good frame zeros again, after the segment was copied aside.
func (j *Journal) repair() error {
	if j.recovered.Torn == 0 && j.recovered.Scratched == 0 {
		return nil
	}
	name := j.segs[len(j.segs)-1].name()
	if j.opt.Aside != "" {
		j.recovered.Aside = filepath.Join(j.opt.Aside, fmt.Sprintf("%s.before-%d", name, j.seq+1))
		err := stepAside.Do(func() error {
			if err := j.fs.MkdirAll(j.opt.Aside); err != nil {
				return err
			}
			return copyFile(j.fs, j.path(name), j.recovered.Aside)
		})
		if err != nil {
			return fmt.Errorf("journal: copy aside: %w", err)
		}
	}
	var dirty []int64
	err := j.sectors(j.off, j.head.size, func(off int64, sector []byte) {
		if !isZero(sector) {
			dirty = append(dirty, off)
		}
	})
	if err != nil {
		return err
	}
	if err := stepRepair.Do(func() error { return j.blank(dirty) }); err != nil {
		return fmt.Errorf("journal: repair: %w", err)
	}
	return nil
}

// blank makes the sectors at these offsets zeros, in any order: what a crash leaves of a torn frame is a torn frame.
func (j *Journal) blank(dirty []int64) error {
	zeros := make([]byte, sectorSize)
	for _, off := range dirty {
		if _, err := j.tail.WriteAt(zeros, off); err != nil {
			return err
		}
	}
	return j.tail.Sync()
}

// rewrite writes the last frame, or the header if there is none yet, once more as it was read. After a failed sync the
// system may hold a frame in memory, call it clean, and never write it; writing it again makes the sync mean something.
func (j *Journal) rewrite(last int64) error {
	buf := make([]byte, j.off-last)
	if _, err := j.tail.ReadAt(buf, last); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("journal: %w", err)
	}
	err := stepRewrite.Do(func() error {
		if _, err := j.tail.WriteAt(buf, last); err != nil {
			return err
		}
		if err := j.tail.Sync(); err != nil {
			return err
		}
		return j.fs.SyncDir(j.dir)
	})
	if err != nil {
		return fmt.Errorf("journal: rewriting the last frame: %w", err)
	}
	return nil
}

func (j *Journal) corrupt(seg segment, off int64, reason string) error {
	return &CorruptError{Segment: seg.name(), Offset: off, LastGood: j.seq, Reason: reason}
}
