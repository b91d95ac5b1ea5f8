//go:build !linux

package journal

import "math"

func (f osFile) sync() error { return f.File.Sync() }

// Allocate grows the file; where the system has no fallocate the zeros written later reserve the space.
func (f osFile) Allocate(size int64) error {
	if have, err := f.Size(); err != nil || have >= size {
		return err
	}
	return f.Truncate(size)
}

// Free is not known here.
func (osFS) Free(string) (uint64, error) { return math.MaxUint64, nil }
