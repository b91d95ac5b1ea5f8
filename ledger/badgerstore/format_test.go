package badgerstore_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/mission-authority/mas/ledger/badgerstore"
)

// setFormat writes another format version into both sectors of the state file.
func setFormat(t *testing.T, dir string, version uint32) {
	t.Helper()
	const sector, sum = 512, 76 // where the checksum stands
	path := filepath.Join(dir, "state")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(b); at += sector {
		s := b[at : at+sector]
		if s[0] == 0 {
			continue
		}
		binary.BigEndian.PutUint32(s[8:], version)
		binary.BigEndian.PutUint32(s[sum:], crc32.Checksum(s[:sum], crc32.MakeTable(crc32.Castagnoli)))
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFormats: a view of an older format is rebuilt from the journal; a newer one is refused and left as it is.
func TestFormats(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small())
	w := newWriter(t, s)
	w.write(s, 20)
	mustClose(t, s)

	setFormat(t, dir, 1)
	s = w.reopen(dir, small())
	if r := s.Recovery(); r.Rebuilt == "" || r.Replayed != 20 {
		t.Errorf("recovery of an older format: %+v", r)
	}
	mustMatch(t, s)
	mustClose(t, s)

	setFormat(t, dir, 3)
	before := image(t, dir)
	if s, err := badgerstore.Open(dir, small()); !errors.Is(err, badgerstore.ErrFormat) {
		t.Fatalf("a newer format opens: %v", err)
	} else if s != nil {
		t.Fatal("a store and an error")
	}
	for _, name := range []string{"state", "badger/MANIFEST"} {
		was, _ := os.ReadFile(filepath.Join(before, name))
		is, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(was) != string(is) {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
	setFormat(t, dir, 2)
	mustMatch(t, w.reopen(dir, small()))
}
