package badgerstore_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/journal"
)

const killedDir = "BADGERSTORE_TEST_KILLED_DIR"

func killOptions() badgerstore.Options {
	opt := small()
	opt.FS = journal.OS
	opt.SegmentSize, opt.MemTableSize, opt.ValueLogSize = 128<<10, 2<<20, 1<<20
	return opt
}

// TestKill is a process that writes until it is killed, again and again. What it acknowledged is there.
func TestKill(t *testing.T) {
	if dir := os.Getenv(killedDir); dir != "" {
		writeUntilKilled(t, dir)
		return
	}
	dir := t.TempDir()
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	acked := uint64(0)
	for round := range rounds {
		acked = max(acked, runAndKill(t, dir, 10+40*round))
		c := image(t, dir) // the next round recovers the directory itself
		s := mustOpen(t, c, killOptions())
		if last := s.Head().Seq; last < acked {
			t.Fatalf("round %d: frame %d is the last, frame %d was acknowledged", round, last, acked)
		}
		if latch := s.Health().Integrity; latch != nil {
			t.Fatalf("round %d: latch %s", round, latch.Code)
		}
		mustMatch(t, s)
		openBodies(t, s)
		mustClose(t, s)
		os.RemoveAll(c)
	}
	t.Logf("%d frames acknowledged in %d lives", acked, rounds)
}

// runAndKill starts the process, lets it acknowledge some frames, kills it and returns the last one acknowledged.
func runAndKill(t *testing.T, dir string, frames int) (last uint64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), killedDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timeout := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer timeout.Stop()
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); {
		text, ok := strings.CutPrefix(lines.Text(), "acknowledged ")
		if !ok {
			continue
		}
		if last, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
		if n++; n == frames {
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait()
	if last == 0 {
		t.Fatal("the process acknowledged nothing")
	}
	return last
}

// writeUntilKilled goes on where the store is. A life cannot continue another one's chain, so each entry is its own
// batch without entries: rows only.
func writeUntilKilled(t *testing.T, dir string) {
	s, err := badgerstore.Open(dir, killOptions())
	if err != nil {
		t.Fatal(err)
	}
	go s.Run(t.Context())
	for {
		expect := s.Head()
		b := rowBatch(expect)
		if err := s.Apply(t.Context(), b, expect); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("acknowledged %d\n", b.Head.Seq)
	}
}
