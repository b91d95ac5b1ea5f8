package main

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func init() { subjects["raw"] = appendRaw }

// frameSize is what our journal writes for one entry of entrySize: the entry, its row, the signed checkpoint and the
// frame. The raw file gets as many bytes, so that the comparison is about the work and not the amount.
const frameSize = 1024

// appendRaw is the floor of a durable append: one writer, pwrite into a preallocated file, one fdatasync.
func appendRaw(ctx context.Context, s setup) (measured, error) {
	f, err := os.Create(filepath.Join(s.Dir, "raw"))
	if err != nil {
		return measured{}, err
	}
	defer f.Close()
	const size = 64 << 20
	if _, err := f.Write(make([]byte, size)); err != nil {
		return measured{}, err
	}
	if err := f.Sync(); err != nil {
		return measured{}, err
	}
	frame := make([]byte, frameSize)
	rand.Read(frame)
	at := int64(0)
	s.Writers = 1
	return load(ctx, s, func(context.Context, int, int) error {
		if _, err := f.WriteAt(frame, at); err != nil {
			return err
		}
		at = (at + frameSize) % (size - frameSize)
		return unix.Fdatasync(int(f.Fd()))
	})
}
