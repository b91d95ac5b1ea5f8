package journal_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/mission-authority/mas/ledger/journal"
)

func TestOnTheRealFileSystem(t *testing.T) {
	home := filepath.Join(t.TempDir(), "journal")
	opt := journal.Options{Identity: identity, SegmentSize: 8 << 10}
	for n := uint64(0); n < 60; n += 20 {
		j, err := journal.Open(home, opt)
		if err != nil {
			t.Fatal(err)
		}
		appendFrames(t, j, 20)
		checkFrames(t, j, n+20)
		if err := j.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := j.Pack(t.Context()); err != nil {
			t.Fatal(err)
		}
		checkFrames(t, j, n+20)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(home)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory is %v, %v", info.Mode(), err)
	}
	free, err := journal.OS.Free(home)
	if err != nil || free == 0 {
		t.Errorf("Free = %d, %v", free, err)
	}
}

// BenchmarkAppend is one durable append of 300 octets; BenchmarkBareWrite is what the disk takes for the same octets.
func BenchmarkAppend(b *testing.B) {
	j, err := journal.Open(b.TempDir(), journal.Options{Identity: identity})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	p := make([]byte, 300)
	_, _ = rand.Read(p)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := j.Append(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBareWrite(b *testing.B) {
	const size = 64 << 20
	f, err := journal.OS.OpenFile(filepath.Join(b.TempDir(), "bare"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros, off); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 300)
	_, _ = rand.Read(p)
	off := int64(0)
	for b.Loop() {
		if _, err := f.WriteAt(p, off); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		off = (off + 300) % (size - 300)
	}
}
