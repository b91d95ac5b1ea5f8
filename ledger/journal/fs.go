package journal

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// FS is the little of a file system that durable files need. The methods promise what their names say and nothing
// more: a name created, renamed or removed is durable only after SyncDir, contents only after File.Sync.
type FS interface {
	// OpenFile opens name with os.O_* flags; a file it creates is readable by its owner only.
	OpenFile(name string, flag int) (File, error)
	// ReadDir returns the names in dir, sorted; a missing directory is an error.
	ReadDir(dir string) ([]string, error)
	// MkdirAll makes dir and its parents.
	MkdirAll(dir string) error
	Rename(from, to string) error
	Remove(name string) error
	SyncDir(dir string) error
	// Free is the number of octets that can still be written under dir.
	Free(dir string) (uint64, error)
}

// File is an open file of an FS.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes contents and size durable.
	Sync() error
	// Allocate reserves space for the first size octets and grows the file to size if it is shorter.
	Allocate(size int64) error
	Size() (int64, error)
}

// OS is the file system of the operating system.
var OS FS = osFS{}

type osFS struct{}

func (osFS) OpenFile(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) ReadDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (osFS) MkdirAll(dir string) error    { return os.MkdirAll(dir, 0o700) }
func (osFS) Rename(from, to string) error { return os.Rename(from, to) }
func (osFS) Remove(name string) error     { return os.Remove(name) }

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type osFile struct{ *os.File }

func (f osFile) Sync() error {
	if !Durable {
		return nil
	}
	return f.sync()
}

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// IsNoSpace reports whether err says that the disk is full.
func IsNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// copyFile copies the file from to the new file to, and makes contents and name durable.
func copyFile(fsys FS, from, to string) (err error) {
	src, err := fsys.OpenFile(from, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer src.Close()
	size, err := src.Size()
	if err != nil {
		return err
	}
	dst, err := fsys.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	buf := make([]byte, min(size, 1<<20))
	for off := int64(0); off < size; off += int64(len(buf)) {
		chunk := buf[:min(int64(len(buf)), size-off)]
		if _, err := src.ReadAt(chunk, off); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if isZero(chunk) && off+int64(len(chunk)) < size {
			continue // leave a hole
		}
		if _, err := dst.WriteAt(chunk, off); err != nil {
			return err
		}
	}
	if err := dst.Sync(); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(to))
}
