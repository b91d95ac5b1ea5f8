package badgerstore

import (
	"errors"
	"fmt"
	"os"
)

// ErrLocked: another process has the store open.
var ErrLocked = errors.New("badgerstore: in use by another process")

// lockFile is a file locked for this process. The lock ends with the process.
type lockFile struct{ file *os.File }

func acquireLock(path string) (*lockFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("badgerstore: %w", err)
	}
	if err := flock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrLocked, err), f.Close())
	}
	return &lockFile{f}, nil
}

func (l *lockFile) release() error { return l.file.Close() }
