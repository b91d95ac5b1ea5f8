package journal_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mission-authority/mas/ledger/journal"
	"github.com/mission-authority/mas/ledger/journal/journaltest"
)

const dir = "j"

var identity = sha256.Sum256([]byte("a.example/log/1"))

func options(disk journal.FS) journal.Options {
	return journal.Options{Identity: identity, SegmentSize: 8 << 10, Aside: "aside", FS: disk}
}

func mustOpen(t *testing.T, opt journal.Options) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir, opt)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

// payload is the content of frame n in all tests; sizes run from nothing over one sector to several.
func payload(n uint64) []byte {
	rng := rand.New(rand.NewPCG(n, 1))
	p := make([]byte, []int{0, 1, 300, 455, 456, 457, 967, 968, 2000}[rng.IntN(9)])
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	if n%5 == 0 {
		clear(p) // a payload of zeros must not look like free space
	}
	return p
}

func appendFrames(t *testing.T, j *journal.Journal, n int) {
	t.Helper()
	for range n {
		last, _ := j.Last()
		if seq, err := j.Append(payload(last + 1)); err != nil || seq != last+1 {
			t.Fatalf("Append = %d, %v, want %d", seq, err, last+1)
		}
	}
}

// checkFrames reads the whole journal and expects frames 1..n.
func checkFrames(t *testing.T, j *journal.Journal, n uint64) {
	t.Helper()
	want := uint64(1)
	for f, err := range j.Read(1) {
		if err != nil {
			t.Fatalf("Read at frame %d: %v", want, err)
		}
		if f.Seq != want || !bytes.Equal(f.Payload, payload(f.Seq)) {
			t.Fatalf("Read yields frame %d with %d octets in place of frame %d", f.Seq, len(f.Payload), want)
		}
		want++
	}
	if want != n+1 {
		t.Fatalf("Read ends after frame %d, want %d", want-1, n)
	}
	if seq, _ := j.Last(); seq != n {
		t.Fatalf("Last = %d, want %d", seq, n)
	}
}

func TestAppendAndReadBack(t *testing.T) {
	disk := journaltest.NewDisk()
	j := mustOpen(t, options(disk))
	checkFrames(t, j, 0)
	for n := uint64(0); n < 100; n += 10 {
		appendFrames(t, j, 10)
		if n%30 == 0 {
			if err := j.Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		checkFrames(t, j, n+10)
		if n%20 == 0 {
			j.Close()
			j = mustOpen(t, options(disk))
			if r := j.Recovery(); r != (journal.Recovery{}) {
				t.Fatalf("a clean start recovered something: %+v", r)
			}
		}
	}
	for f, err := range j.Read(57) {
		if err != nil || f.Seq != 57 {
			t.Fatalf("Read(57) starts with frame %d, %v", f.Seq, err)
		}
		break
	}
}

func TestPackKeepsEveryFrame(t *testing.T) {
	disk := journaltest.NewDisk()
	j := mustOpen(t, options(disk))
	appendFrames(t, j, 60)
	before := disk.Used()
	n, err := j.Pack(t.Context())
	if err != nil || n < 3 {
		t.Fatalf("Pack = %d, %v", n, err)
	}
	if after := disk.Used(); after >= before {
		t.Errorf("Pack freed nothing: %d octets before, %d after", before, after)
	}
	checkFrames(t, j, 60)
	appendFrames(t, j, 5)
	j.Close()
	j = mustOpen(t, options(disk))
	checkFrames(t, j, 65)
	if n, err := j.Pack(t.Context()); err != nil || n > 1 {
		t.Fatalf("second Pack = %d, %v", n, err)
	}
}

func TestPackStopsWithItsContext(t *testing.T) {
	j := mustOpen(t, options(journaltest.NewDisk()))
	appendFrames(t, j, 60)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := j.Pack(ctx); n != 0 || !errors.Is(err, context.Canceled) {
		t.Fatalf("Pack = %d, %v", n, err)
	}
	checkFrames(t, j, 60)
}

func TestAnotherLogIsRefused(t *testing.T) {
	disk := journaltest.NewDisk()
	j := mustOpen(t, options(disk))
	appendFrames(t, j, 1)
	j.Close()
	opt := options(disk)
	opt.Identity[0]++
	if _, err := journal.Open(dir, opt); !errors.Is(err, journal.ErrIdentity) {
		t.Fatalf("Open = %v, want ErrIdentity", err)
	}
}

func TestForeignFilesAreRefused(t *testing.T) {
	disk := journaltest.NewDisk()
	mustOpen(t, options(disk)).Close()
	disk.WriteFile(dir+"/notes.txt", []byte("hello"))
	if _, err := journal.Open(dir, options(disk)); err == nil || !strings.Contains(err.Error(), "notes.txt") {
		t.Fatalf("Open = %v", err)
	}
}

func TestTooLargeIsRefusedAndNothingIsWritten(t *testing.T) {
	j := mustOpen(t, options(journaltest.NewDisk()))
	if _, err := j.Append(make([]byte, j.MaxPayload()+1)); !errors.Is(err, journal.ErrTooLarge) {
		t.Fatalf("Append = %v, want ErrTooLarge", err)
	}
	if seq, err := j.Append(bytes.Repeat([]byte{7}, j.MaxPayload())); seq != 1 || err != nil {
		t.Fatalf("Append of the largest payload = %d, %v", seq, err)
	}
	if seq, err := j.Append([]byte("next")); seq != 2 || err != nil {
		t.Fatalf("Append after it = %d, %v", seq, err)
	}
}

func TestFullDiskRefusesAndRecovers(t *testing.T) {
	disk := journaltest.NewDisk()
	j := mustOpen(t, options(disk))
	appendFrames(t, j, 3)
	disk.SetCapacity(disk.Used())
	var err error
	for err == nil {
		last, _ := j.Last()
		_, err = j.Append(payload(last + 1))
	}
	if !errors.Is(err, journal.ErrNoSpace) || errors.Is(err, journal.ErrOutcomeUnknown) {
		t.Fatalf("Append on a full disk = %v, want ErrNoSpace", err)
	}
	last, _ := j.Last()
	checkFrames(t, j, last)
	disk.SetCapacity(0)
	appendFrames(t, j, 10)
	checkFrames(t, j, last+10)
}

func TestPreparedSegmentIsUsedOnAFullDisk(t *testing.T) {
	disk := journaltest.NewDisk()
	j := mustOpen(t, options(disk))
	if err := j.Prepare(t.Context()); err != nil || !j.Prepared() {
		t.Fatalf("Prepare: %v", err)
	}
	disk.SetCapacity(disk.Used())
	for j.Prepared() {
		appendFrames(t, j, 1)
	}
	last, _ := j.Last()
	checkFrames(t, j, last)
}

func TestClosedJournal(t *testing.T) {
	j := mustOpen(t, options(journaltest.NewDisk()))
	j.Close()
	if _, err := j.Append(nil); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("Append = %v", err)
	}
	if err := j.Prepare(t.Context()); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("Prepare = %v", err)
	}
}

// TestFaults breaks every operation in every way, once each, restarts in every way, and expects that every acknowledged
// frame is there, at most the one of unknown outcome besides, and that the journal goes on.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine: the run without the race detector has it")
	}
	for _, fault := range journaltest.Faults {
		for _, keep := range journaltest.AllSurvivors {
			t.Run(fmt.Sprintf("%v, %v", fault, keep), func(t *testing.T) {
				for at := 1; ; at++ {
					if done := runFault(t, at, fault, keep); done {
						break
					}
				}
			})
		}
	}
}

// runFault reports whether the script ended before its at-th operation.
func runFault(t *testing.T, at int, fault journaltest.Fault, keep journaltest.Survivors) bool {
	t.Helper()
	disk := journaltest.NewDisk()
	disk.FailAt(at, fault)
	var acked, tried uint64
	j, err := journal.Open(dir, options(disk))
	if err == nil {
		acked, tried = script(t, j)
		j.Close()
	}
	done := disk.Count() < at
	rng := rand.New(rand.NewPCG(uint64(at), uint64(fault)))
	for range 2 { // and a second, quiet restart: what was found once stays
		disk = disk.Restart(keep, rng)
		opt := options(disk)
		opt.Applied = acked
		j, err := journal.Open(dir, opt)
		if err != nil {
			t.Fatalf("operation %d: %d frames acknowledged: Open: %v", at, acked, err)
		}
		last, _ := j.Last()
		if last < acked || last > max(acked, tried) {
			t.Fatalf("operation %d: frame %d is the last, acknowledged %d, tried %d", at, last, acked, tried)
		}
		checkFrames(t, j, last)
		appendFrames(t, j, 3)
		acked, tried = last+3, last+3
		j.Close()
	}
	return done
}

// script appends until something fails, and returns the last frame acknowledged and the last one tried.
func script(t *testing.T, j *journal.Journal) (acked, tried uint64) {
	t.Helper()
	for n := uint64(1); n <= 24; n++ {
		if n == 4 {
			_ = j.Prepare(t.Context())
		}
		if n == 20 {
			_, _ = j.Pack(t.Context())
		}
		seq, err := j.Append(payload(n))
		switch {
		case err == nil && seq == n:
			acked, tried = n, n
		case err == nil:
			t.Fatalf("Append = %d, want %d", seq, n)
		case errors.Is(err, journal.ErrOutcomeUnknown):
			tried = n
			if _, err := j.Append(payload(n)); !errors.Is(err, journal.ErrPoisoned) {
				t.Fatalf("Append after an unknown outcome = %v, want ErrPoisoned", err)
			}
			for _, err := range j.Read(1) {
				if !errors.Is(err, journal.ErrPoisoned) {
					t.Fatalf("Read through a poisoned journal = %v", err)
				}
			}
			return acked, tried
		case errors.Is(err, journaltest.ErrInjected):
			n-- // refused before anything was written: the same frame again
			if errors.Is(err, journal.ErrPoisoned) {
				return acked, tried
			}
		default:
			return acked, tried
		}
	}
	return acked, tried
}

// TestAFrameSeenAfterAFailedSyncIsMadeDurable: the system shows the frame of a failed sync but never writes it. Once
// Open has shown it to its caller it must survive the next loss of power.
func TestAFrameSeenAfterAFailedSyncIsMadeDurable(t *testing.T) {
	disk := journaltest.NewDisk()
	j := mustOpen(t, options(disk))
	appendFrames(t, j, 2)
	disk.Inject(func(_ int, op journaltest.Op, _ string) journaltest.Fault {
		if op == journaltest.Sync {
			return journaltest.ErrorBefore
		}
		return journaltest.None
	})
	if _, err := j.Append(payload(3)); !errors.Is(err, journal.ErrOutcomeUnknown) {
		t.Fatalf("Append = %v, want ErrOutcomeUnknown", err)
	}
	disk = disk.Restart(journaltest.Killed, nil)
	j = mustOpen(t, options(disk))
	checkFrames(t, j, 3)
	disk = disk.Restart(journaltest.KeepNone, nil)
	j = mustOpen(t, options(disk))
	checkFrames(t, j, 3)
}
