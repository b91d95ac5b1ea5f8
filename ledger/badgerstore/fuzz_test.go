package badgerstore_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/journal/journaltest"
)

// badgerFiles returns the files of a small Badger with this suffix, without the zeros behind their contents.
func badgerFiles(f *testing.F, suffix string, closed bool) (contents [][]byte) {
	f.Helper()
	dir := f.TempDir()
	s := mustOpen(f, dir, small())
	newWriter(f, s).write(s, 4)
	if !closed {
		dir = image(f, dir)
	} else {
		mustClose(f, s)
	}
	for _, path := range files(f, filepath.Join(dir, "badger"), suffix) {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if suffix != ".sst" {
			data = bytes.TrimRight(data, "\x00")
		}
		contents = append(contents, data)
	}
	return contents
}

// FuzzWAL reads whatever stands in a write-ahead log: it stays within it and cuts only behind whole transactions.
func FuzzWAL(f *testing.F) {
	for _, data := range badgerFiles(f, ".mem", false) {
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	f.Add(make([]byte, 20))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 20 {
			return
		}
		first, last, end, _ := badgerstore.ScanWAL(data)
		if end < 20 || end > int64(len(data)) || first > last || (end == 20) != (first == 0) {
			t.Fatalf("frames %d to %d end at %d of %d", first, last, end, len(data))
		}
		f2, l2, e2, clean := badgerstore.ScanWAL(data[:end])
		if f2 != first || l2 != last || e2 != end || !clean {
			t.Fatalf("cut at its end it holds frames %d to %d, before %d to %d", f2, l2, first, last)
		}
	})
}

// FuzzTable verifies whatever stands in a table file: damage is an error, never a panic.
func FuzzTable(f *testing.F) {
	tables := badgerFiles(f, ".sst", true)
	for _, data := range tables {
		f.Add(data)
		f.Add(data[:len(data)-1])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "000001.sst")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = badgerstore.VerifyTable(path)
	})
}

// FuzzSealedBody opens whatever stands in place of a sealed body: it is the body, or an error.
func FuzzSealedBody(f *testing.F) {
	v, err := badgerstore.OpenVault(journaltest.NewDisk(), shred, rootKey)
	if err != nil {
		f.Fatal(err)
	}
	body, digest := bodyOf(1)
	sealed, err := v.Seal(digest, body)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:20])
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := v.Open(digest, data)
		if err == nil && sha256.Sum256(got) != digest {
			t.Fatal("another body was opened")
		}
		if err != nil && !errors.Is(err, ledger.ErrIntegrity) {
			t.Fatalf("Open = %v, want ErrIntegrity", err)
		}
	})
}

// FuzzStopFrame parses whatever stands in a frame of the emergency-stop journal.
func FuzzStopFrame(f *testing.F) {
	disk := journaltest.NewDisk()
	s, err := badgerstore.OpenStops(disk, "s/stops")
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(s.Stop(f.Context(), stop(1)), s.Replayed(1)); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{2, 0, 0, 0, 1})
	f.Add(badgerstore.StopFrame(stop(1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, replayed, err := badgerstore.ParseStopFrame(data)
		switch {
		case err != nil && !errors.Is(err, ledger.ErrIntegrity):
			t.Fatalf("%v is not an integrity error", err)
		case err == nil && replayed == 0 && !bytes.Equal(badgerstore.StopFrame(got), data):
			t.Fatal("a stop has two encodings")
		}
	})
}
