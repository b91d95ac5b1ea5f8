package journaltest

import (
	"io"
	"io/fs"
	"syscall"
)

type file struct {
	disk     *Disk
	node     *node
	name     string
	readOnly bool
	closed   bool
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.usable(); err != nil {
		return 0, err
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.usable(); err != nil {
		return 0, err
	}
	if f.readOnly {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: fs.ErrPermission}
	}
	n := 0
	err := f.disk.do(Write, f.name, func(whole bool) error {
		if !whole {
			p = p[:len(p)/2/sectorSize*sectorSize]
		}
		if err := f.reserve(off + int64(len(p))); err != nil {
			return err
		}
		n = copy(f.node.data[off:], p)
		f.touch(off, off+int64(len(p)))
		return nil
	})
	return n, err
}

// reserve grows the file to size, if the disk has room for that.
func (f *file) reserve(size int64) error {
	more := size - int64(len(f.node.data))
	if more <= 0 {
		return nil
	}
	if f.disk.capacity > 0 && f.disk.used()+more > f.disk.capacity {
		return &fs.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
	}
	old := int64(len(f.node.data))
	f.node.data = grow(f.node.data, size)
	f.touch(old, size)
	return nil
}

func (f *file) touch(from, to int64) {
	for off := from / sectorSize * sectorSize; off < to; off += sectorSize {
		f.node.dirty[off] = true
		delete(f.node.lost, off)
	}
}

func (f *file) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.usable(); err != nil {
		return err
	}
	n := f.node
	done := false
	err := f.disk.do(Sync, f.name, func(bool) error {
		done = true
		if len(n.durable) > len(n.data) {
			n.durable = n.durable[:len(n.data)]
		}
		n.durable = grow(n.durable, int64(len(n.data)))
		for off := range n.dirty {
			end := min(off+sectorSize, int64(len(n.data)))
			copy(n.durable[off:end], n.data[off:end])
		}
		n.dirty = map[int64]bool{}
		return nil
	})
	if !done && !f.disk.crashed {
		for off := range n.dirty {
			n.lost[off] = true
		}
		n.dirty = map[int64]bool{}
	}
	return err
}

func (f *file) Allocate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.usable(); err != nil {
		return err
	}
	return f.disk.do(Allocate, f.name, func(bool) error { return f.reserve(size) })
}

func (f *file) Size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return int64(len(f.node.data)), f.usable()
}

func (f *file) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.closed = true
	return nil
}

func (f *file) usable() error {
	if f.closed {
		return fs.ErrClosed
	}
	if f.disk.crashed {
		return ErrCrashed
	}
	return nil
}
