package badgerstore_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
)

// damageImages returns two images of one store, closed in order and killed, and options to open them.
func damageImages(t *testing.T) (closed, killed string, w *writer, opt badgerstore.Options) {
	t.Helper()
	dir := t.TempDir()
	opt = small()
	opt.SegmentSize, opt.MemTableSize, opt.ValueLogSize = 256<<10, 2<<20, 1<<20
	s := mustOpen(t, dir, opt)
	w = newWriter(t, s)
	for range 2 {
		w.write(s, 80)
		mustClose(t, s)
		s = w.reopen(dir, opt)
	}
	w.write(s, 40)
	stop := ledger.Stop{Kind: ledger.StopMission, ID: "m1", Actor: "approver", At: time.Unix(1, 0)}
	if err := s.Stops().Stop(t.Context(), stop); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := s.Run(ctx); err != nil { // compresses the sealed segments
		t.Fatal(err)
	}
	killed = image(t, dir)
	mustClose(t, s)
	return dir, killed, w, opt
}

// TestFlippedBits flips single bits everywhere. Whatever happens, nothing that is read differs from what was written:
// the damage is healed at the start, refused there, reported by the read that meets it, or was in octets that mean
// nothing.
func TestFlippedBits(t *testing.T) {
	closed, killed, w, opt := damageImages(t)
	flips := 6
	if testing.Short() {
		flips = 2
	}
	for _, c := range []struct {
		name, image, suffix string
	}{
		{"write-ahead log", killed, ".mem"},
		{"value log", killed, ".vlog"},
		{"value log, closed", closed, ".vlog"},
		{"table", closed, ".sst"},
		{"table, killed", killed, ".sst"},
		{"manifest", closed, "MANIFEST"},
		{"key registry", closed, "KEYREGISTRY"},
		{"journal tail", closed, ".seg"},
		{"sealed segment", closed, ".zst"},
		{"state", closed, "/state"},
		{"keys", closed, "/keys"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var start, read, check, silent int
			for i := range flips {
				rng := rand.New(rand.NewPCG(uint64(i), uint64(len(c.name))))
				dir := image(t, c.image)
				where := flip(t, dir, c.suffix, rng)
				found, err := badgerstore.Check(t.Context(), dir, opt)
				if err != nil {
					t.Fatal(err)
				}
				atStart, atRead := answers(t, w, dir, opt)
				switch {
				case atStart:
					start++
				case atRead:
					read++
				case len(found) > 0:
					check++
				default:
					silent++
				}
				if (atStart || atRead) && len(found) == 0 && c.image == closed { // a killed one may end in the middle of an entry
					t.Errorf("%s: noticed when used, but Check found nothing", where)
				}
				os.RemoveAll(dir)
			}
			t.Logf("noticed at start %d, at first read %d, by Check only %d, without meaning %d", start, read, check, silent)
		})
	}
}

// flip flips a random bit of a random file with this suffix, in the part that is not zeros, and returns where.
func flip(t *testing.T, dir, suffix string, rng *rand.Rand) string {
	t.Helper()
	var paths []string
	for _, path := range files(t, dir, suffix) {
		if !strings.Contains(path, "/stops/") && !strings.Contains(path, "/aside/") {
			paths = append(paths, path)
		}
	}
	path := paths[rng.IntN(len(paths))]
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	used := len(strings.TrimRight(string(data), "\x00"))
	if used == 0 {
		used = len(data)
	}
	at := rng.IntN(used)
	data[at] ^= 1 << rng.IntN(8)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// answers opens the store and reads everything. A wrong answer is fatal.
func answers(t *testing.T, w *writer, dir string, opt badgerstore.Options) (atStart, atRead bool) {
	t.Helper()
	s, err := badgerstore.Open(dir, opt)
	if err != nil {
		return true, false
	}
	defer s.Close()
	r := s.Recovery()
	atStart = s.Health().Integrity != nil || r.Replayed > 0 || r.Rebuilt != "" || r.Journal.Torn > 0
	if s.Health().Integrity == nil && s.Head().Seq != w.chain.Head.Seq {
		t.Fatalf("opened at frame %d, want %d", s.Head().Seq, w.chain.Head.Seq)
	}
	err = compare(t, s)
	for b, ferr := range s.Frames(1) {
		if err = errors.Join(err, ferr); ferr != nil {
			break
		}
		for _, body := range b.Bodies {
			if _, verr := s.Vault().Open(body.Digest, body.Sealed); verr != nil {
				err = errors.Join(err, verr)
			}
		}
	}
	if err != nil && !errors.Is(err, ledger.ErrIntegrity) {
		t.Fatalf("reading: %v", err)
	}
	return atStart, err != nil
}

// TestDamageOrdersARebuild: a value that cannot be read closes the latch now and is healed by the next start.
func TestDamageOrdersARebuild(t *testing.T) {
	dir := t.TempDir()
	opt := small()
	opt.MemTableSize, opt.ValueLogSize = 2<<20, 1<<20
	s := mustOpen(t, dir, opt)
	w := newWriter(t, s)
	w.write(s, 50)
	mustClose(t, s)
	s = w.reopen(dir, opt) // the damage must not be in the newest value log: that one is verified at the start
	w.write(s, 5)
	mustClose(t, s)
	path := files(t, filepath.Join(dir, "badger"), ".vlog")[0]
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[bytes.Index(data, bytes.Repeat([]byte{30}, 400))] ^= 1 // the record of batch 30
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s = w.reopen(dir, opt)
	if err := compare(t, s); !errors.Is(err, ledger.ErrIntegrity) {
		t.Fatalf("reading everything = %v, want ErrIntegrity", err)
	}
	latch := s.Health().Integrity
	if latch == nil || latch.Code != badgerstore.CodeStoreDamaged {
		t.Fatalf("latch is %+v", latch)
	}
	expect := w.chain.Head
	if err := s.Apply(t.Context(), w.batch(s, 1), expect); !errors.Is(err, ledger.ErrIntegrity) {
		t.Fatalf("Apply behind the latch = %v", err)
	}
	w.chain.Head = expect
	mustClose(t, s)
	s = w.reopen(dir, opt)
	if s.Recovery().Rebuilt == "" {
		t.Error("not rebuilt")
	}
	mustMatch(t, s)
}

// TestPageThatCannotBeRead takes a page away from under a memory map, as a disk does that cannot read it: the read
// fails, the process does not, and the store is left to the next start.
func TestPageThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small())
	w := newWriter(t, s)
	w.write(s, 20)
	mustClose(t, s)
	s = w.reopen(dir, small())
	path := files(t, filepath.Join(dir, "badger"), ".vlog")[0]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	truncate(t, path, 0)
	if err := compare(t, s); !errors.Is(err, ledger.ErrIntegrity) {
		t.Fatalf("reading everything = %v, want ErrIntegrity", err)
	}
	if s.Health().Integrity == nil {
		t.Error("the latch is open")
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	killed := image(t, dir)
	s = w.reopen(killed, small())
	if s.Recovery().Rebuilt == "" {
		t.Error("not rebuilt")
	}
	mustMatch(t, s)
}
