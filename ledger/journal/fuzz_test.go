package journal_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/mission-authority/mas/ledger/journal"
	"github.com/mission-authority/mas/ledger/journal/journaltest"
)

// FuzzSegment opens whatever the last segment holds. Open refuses it and leaves it alone, or it takes it; then every
// frame reads back, the next one can be appended, and a second Open finds the same.
func FuzzSegment(f *testing.F) {
	disk := journaltest.NewDisk()
	opt := options(disk)
	opt.SegmentSize = journal.MinSegmentSize
	j, err := journal.Open(dir, opt)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(disk.ReadFile(segName), uint64(0))
	for _, p := range [][]byte{nil, []byte("a"), bytes.Repeat([]byte("b"), 600), bytes.Repeat([]byte{0}, 1200)} {
		if _, err := j.Append(p); err != nil {
			f.Fatal(err)
		}
		f.Add(disk.ReadFile(segName), uint64(1))
	}
	whole := disk.ReadFile(segName)
	for _, at := range []int{0, 40, sector, sector + 8, sector + 60, 3 * sector, 4 * sector, 7 * sector} {
		cut := bytes.Clone(whole)
		clear(cut[at:min(at+sector, len(cut))])
		f.Add(cut, uint64(2))
	}
	f.Add(whole[:3*sector], uint64(0))
	f.Fuzz(func(t *testing.T, seg []byte, applied uint64) {
		if len(seg) > journal.MinSegmentSize {
			return
		}
		j, disk, err := reopen(seg, applied)
		if err != nil {
			if !bytes.Equal(disk.ReadFile(segName), seg) {
				t.Fatal("Open refused and changed the segment")
			}
			return
		}
		last, _ := j.Last()
		if last < applied {
			t.Fatalf("Open accepts an end at frame %d, frame %d was applied", last, applied)
		}
		if err := j.Verify(t.Context(), 1); err != nil {
			t.Fatalf("Open accepts what Verify refuses: %v", err)
		}
		if seq, err := j.Append([]byte("next")); err != nil || seq != last+1 {
			t.Fatalf("Append = %d, %v after frame %d", seq, err, last)
		}
		j.Close()
		j, err = journal.Open(dir, options(disk))
		if err != nil {
			t.Fatalf("second Open: %v", err)
		}
		if again, _ := j.Last(); again != last+1 || j.Recovery() != (journal.Recovery{}) {
			t.Fatalf("second Open ends at frame %d, %+v", again, j.Recovery())
		}
		j.Close()
	})
}

// FuzzPacked reads whatever stands in place of a compressed segment: the frames come out as they were, or not at all.
func FuzzPacked(f *testing.F) {
	disk := journaltest.NewDisk()
	j, err := journal.Open(dir, options(disk))
	if err != nil {
		f.Fatal(err)
	}
	for n := uint64(1); n <= 20; n++ {
		if _, err := j.Append(payload(n)); err != nil {
			f.Fatal(err)
		}
	}
	if n, err := j.Pack(f.Context()); n == 0 || err != nil {
		f.Fatal(n, err)
	}
	packed := disk.ReadFile(segName + ".zst")
	f.Add(packed)
	f.Add(packed[:len(packed)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		disk.WriteFile(segName+".zst", data)
		want := uint64(1)
		for frame, err := range j.Read(1) {
			if err != nil {
				if !errors.Is(err, journal.ErrCorrupt) {
					t.Fatalf("Read = %v, want ErrCorrupt", err)
				}
				return
			}
			if frame.Seq != want || !bytes.Equal(frame.Payload, payload(want)) {
				t.Fatalf("frame %d reads wrong", want)
			}
			want++
		}
		if want != 21 {
			t.Fatalf("Read ends after frame %d without an error", want-1)
		}
	})
}
