package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mission-authority/mas/ledger/journal"
	"github.com/mission-authority/mas/ledger/journal/journaltest"
)

const (
	sector  = 512
	segName = dir + "/00000000000000000001.seg"
	frames  = 3
)

// torn builds a journal of three one-sector frames with a fourth one of six sectors behind them, and returns the
// segment and the fourth frame's offset.
func torn(t *testing.T) (seg []byte, off int) {
	t.Helper()
	disk := journaltest.NewDisk()
	j := mustOpen(t, options(disk))
	for range frames {
		if _, err := j.Append([]byte("short")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := j.Append(bytes.Repeat([]byte("long "), 550)); err != nil {
		t.Fatal(err)
	}
	j.Close()
	return disk.ReadFile(segName), (1 + frames) * sector
}

// reopen opens a journal whose only segment is seg.
func reopen(seg []byte, applied uint64) (*journal.Journal, *journaltest.Disk, error) {
	disk := journaltest.NewDisk()
	_ = disk.MkdirAll(dir)
	disk.WriteFile(segName, seg)
	opt := options(disk)
	opt.Applied = applied
	j, err := journal.Open(dir, opt)
	return j, disk, err
}

// TestTornTail is the matrix of the torn-tail rule: every subset of the sectors of the last frame never written, with
// and without the frame known as applied, with and without something behind it.
//
// Audit rows: 82.
func TestTornTail(t *testing.T) {
	seg, off := torn(t)
	const sectors = 6
	for missing := range 1 << sectors {
		for _, applied := range []uint64{0, frames, frames + 1} {
			for _, behind := range []string{"", "a sector", "a frame"} {
				got := bytes.Clone(seg)
				for i := range sectors {
					if missing>>i&1 == 1 {
						clear(got[off+i*sector : off+(i+1)*sector])
					}
				}
				next := off + sectors*sector
				switch behind {
				case "a sector":
					copy(got[next+sector:], bytes.Repeat([]byte{0x5F, 1}, sector/2))
				case "a frame":
					copy(got[next:], seg[sector:2*sector])
				}
				name := fmt.Sprintf("missing %06b, applied %d, behind %q", missing, applied, behind)
				checkTorn(t, name, got, missing == 0, missing == 1<<sectors-1, missing&1 == 1, applied, behind)
			}
		}
	}
}

func checkTorn(t *testing.T, name string, seg []byte, whole, gone, headless bool, applied uint64, behind string) {
	t.Helper()
	j, disk, err := reopen(seg, applied)
	var want error
	switch {
	case behind == "a frame":
		want = journal.ErrCorrupt
	case behind == "a sector" && !headless && !whole:
		want = journal.ErrCorrupt
	case whole:
	case gone && behind == "" && applied > frames:
		want = journal.ErrRollback
	case applied > frames:
		want = journal.ErrCorrupt
	}
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Fatalf("%s: Open = %v, want %v", name, err, want)
	}
	if err != nil {
		if !bytes.Equal(disk.ReadFile(segName), seg) {
			t.Fatalf("%s: Open refused and changed the segment", name)
		}
		return
	}
	defer j.Close()
	r := j.Recovery()
	last, _ := j.Last()
	switch {
	case whole && behind == "" && last == frames+1 && r == (journal.Recovery{}):
	case whole && behind != "" && last == frames+1 && r.Torn == frames+2: // the piece is one of the next frame
	case gone && behind == "" && last == frames && r == (journal.Recovery{}):
	case !whole && last == frames && r.Torn == frames+1 && bytes.Equal(disk.ReadFile(r.Aside), seg):
	default:
		t.Fatalf("%s: last frame %d, recovery %+v", name, last, r)
	}
	if seq, err := j.Append([]byte("more")); err != nil || seq != last+1 {
		t.Fatalf("%s: Append = %d, %v", name, seq, err)
	}
}

// TestFlippedBits flips one bit in every octet of a segment. Damage in what was written is reported whatever it hits;
// damage in space that was never written changes nothing.
func TestFlippedBits(t *testing.T) {
	seg, off := torn(t)
	used := off + 6*sector
	for i := range seg {
		for bit := range 8 {
			if i >= used+2*sector && (i%61 != 0 || bit != i%8) {
				continue // free space is all alike
			}
			if i < used && bit != i%8 && i%sector >= 60 {
				continue
			}
			got := bytes.Clone(seg)
			got[i] ^= 1 << bit
			j, disk, err := reopen(got, 0)
			if i < used {
				if !errors.Is(err, journal.ErrCorrupt) && !errors.Is(err, journal.ErrIdentity) && err == nil {
					t.Fatalf("bit %d of octet %d flipped: Open succeeds", bit, i)
				}
				if !bytes.Equal(disk.ReadFile(segName), got) {
					t.Fatalf("bit %d of octet %d flipped: Open refused and changed the segment", bit, i)
				}
				continue
			}
			if err != nil {
				t.Fatalf("bit %d of octet %d in free space flipped: %v", bit, i, err)
			}
			if last, _ := j.Last(); last != frames+1 || j.Recovery().Scratched != 1 {
				t.Fatalf("bit %d of octet %d in free space flipped: last %d, %+v", bit, i, last, j.Recovery())
			}
			if !bytes.Equal(disk.ReadFile(segName), seg) {
				t.Fatalf("bit %d of octet %d in free space flipped: not repaired", bit, i)
			}
			j.Close()
		}
	}
}

// TestDamageInSealedSegments flips bits in segments that Open does not read whole: Verify finds each, raw or
// compressed.
//
// Audit rows: 82.
func TestDamageInSealedSegments(t *testing.T) {
	disk := journaltest.NewDisk()
	j := mustOpen(t, options(disk))
	appendFrames(t, j, 40)
	raw := disk.ReadFile(segName)
	if err := j.Verify(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(raw, "\x00")) // the rest is free space
	for i := 0; i < used; i += 7 {
		bad := bytes.Clone(raw)
		bad[i] ^= 0x10
		disk.WriteFile(segName, bad)
		if err := j.Verify(t.Context(), 1); !errors.Is(err, journal.ErrCorrupt) {
			t.Fatalf("octet %d of a sealed segment: Verify = %v", i, err)
		}
	}
	disk.WriteFile(segName, raw)
	if _, err := j.Pack(t.Context()); err != nil {
		t.Fatal(err)
	}
	packed := disk.ReadFile(segName + ".zst")
	for i := 0; i < len(packed); i += 7 {
		bad := bytes.Clone(packed)
		bad[i] ^= 0x10
		disk.WriteFile(segName+".zst", bad)
		if err := j.Verify(t.Context(), 1); !errors.Is(err, journal.ErrCorrupt) {
			// Some bits of a zstd frame carry nothing; then every frame must come out right.
			if err != nil {
				t.Fatalf("octet %d of a compressed segment: Verify = %v", i, err)
			}
			checkFrames(t, j, 40)
		}
	}
}

// TestMissingSegments removes each segment in turn: Open or, for the last one, the applied frame tells.
func TestMissingSegments(t *testing.T) {
	disk := journaltest.NewDisk()
	j := mustOpen(t, options(disk))
	appendFrames(t, j, 60)
	last, _ := j.Last()
	j.Close()
	var segs []string
	for _, name := range disk.Names() {
		if strings.HasSuffix(name, ".seg") {
			segs = append(segs, name)
		}
	}
	if len(segs) < 4 {
		t.Fatalf("only %d segments", len(segs))
	}
	for i, name := range segs {
		twin := journaltest.NewDisk()
		_ = twin.MkdirAll(dir)
		for _, n := range disk.Names() {
			if n != name {
				twin.WriteFile(n, disk.ReadFile(n))
			}
		}
		opt := options(twin)
		opt.Applied = last
		_, err := journal.Open(dir, opt)
		want := journal.ErrCorrupt
		if i == len(segs)-1 {
			want = journal.ErrRollback
		}
		if !errors.Is(err, want) {
			t.Errorf("without segment %d of %d: Open = %v, want %v", i+1, len(segs), err, want)
		}
	}
	empty := options(journaltest.NewDisk())
	empty.Applied = last
	if _, err := journal.Open(dir, empty); !errors.Is(err, journal.ErrRollback) {
		t.Errorf("without any segment: Open = %v, want ErrRollback", err)
	}
}

// TestReadOnlyChangesNothing opens a journal with a torn tail for reading.
func TestReadOnlyChangesNothing(t *testing.T) {
	seg, off := torn(t)
	clear(seg[off+sector : off+2*sector])
	for _, applied := range []uint64{0, frames + 1} {
		disk := journaltest.NewDisk()
		_ = disk.MkdirAll(dir)
		disk.WriteFile(segName, seg)
		j, err := journal.Open(dir, journal.Options{ReadOnly: true, Applied: applied, FS: disk})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, ferr := range j.Read(1) {
			if err = ferr; err == nil {
				n++
			}
		}
		if n != frames || (err != nil) != (applied > frames) {
			t.Errorf("applied %d: read %d frames, then %v", applied, n, err)
		}
		if _, err := j.Append(nil); !errors.Is(err, journal.ErrClosed) {
			t.Errorf("Append = %v", err)
		}
		if !bytes.Equal(disk.ReadFile(segName), seg) || len(disk.Names()) != 1 {
			t.Errorf("reading changed the journal: %v", disk.Names())
		}
		j.Close()
	}
}
