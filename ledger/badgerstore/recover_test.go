package badgerstore_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mission-authority/mas/ledger/badgerstore"
)

// image copies the directory of an open store as a kill would leave it.
func image(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	copyDir(t, dir, to)
	return to
}

// TestKilled opens images of a store taken while it was open, at several times.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	opt := small()
	opt.MemTableSize, opt.ValueLogSize = 2<<20, 1<<20
	s := mustOpen(t, dir, opt)
	w := newWriter(t, s)
	for _, n := range []int{0, 1, 7, 300, 400} {
		w.write(s, n)
		c := mustOpen(t, image(t, dir), opt)
		if c.Head().Seq != w.chain.Head.Seq {
			t.Fatalf("killed at frame %d: opened at frame %d", w.chain.Head.Seq, c.Head().Seq)
		}
		if r := c.Recovery(); !r.Unclean || r.Rebuilt != "" || r.Replayed > 0 {
			t.Errorf("killed at frame %d: %+v", w.chain.Head.Seq, r)
		}
		mustMatch(t, c)
		openBodies(t, c)
		mustClose(t, c)
	}
}

// TestKilledWhileALogWasMade: a log that has a name and no size yet is no damage.
func TestKilledWhileALogWasMade(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small())
	w := newWriter(t, s)
	w.write(s, 50)
	for suffix, name := range map[string]string{".vlog": "000077.vlog", ".mem": "00077.mem"} {
		t.Run(suffix, func(t *testing.T) {
			killed := image(t, dir)
			if err := os.WriteFile(filepath.Join(killed, "badger", name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if found, err := badgerstore.Check(t.Context(), killed, small()); err != nil || len(found) > 0 {
				t.Errorf("Check: %v, %v", found, err)
			}
			c := mustOpen(t, killed, small())
			if r := c.Recovery(); c.Head().Seq != 50 || r.Rebuilt != "" {
				t.Errorf("opened at frame %d: %+v", c.Head().Seq, r)
			}
			mustMatch(t, c)
			openBodies(t, c)
		})
	}
}

// TestViewIsRebuiltOrCaughtUp takes Badger away, whole or in part, or puts an older one in its place: the journal has
// everything.
func TestViewIsRebuiltOrCaughtUp(t *testing.T) {
	remove := func(pattern string) func(*testing.T, string, string) {
		return func(t *testing.T, dir, _ string) {
			paths, err := filepath.Glob(filepath.Join(dir, "badger", pattern))
			if err != nil || len(paths) == 0 {
				t.Fatalf("nothing matches %s: %v", pattern, err)
			}
			for _, path := range paths {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, c := range []struct {
		name    string
		rebuilt bool
		damage  func(t *testing.T, dir, older string)
	}{
		{"whole directory gone", false, func(t *testing.T, dir, _ string) {
			if err := os.RemoveAll(filepath.Join(dir, "badger")); err != nil {
				t.Fatal(err)
			}
		}},
		{"older copy of the directory", false, func(t *testing.T, dir, older string) {
			if err := os.RemoveAll(filepath.Join(dir, "badger")); err != nil {
				t.Fatal(err)
			}
			copyDir(t, filepath.Join(older, "badger"), filepath.Join(dir, "badger"))
		}},
		{"no manifest", true, remove("MANIFEST")},
		{"empty manifest", true, func(t *testing.T, dir, _ string) { truncate(t, filepath.Join(dir, "badger/MANIFEST"), 0) }},
		{"manifest cut short", true, func(t *testing.T, dir, _ string) {
			truncate(t, filepath.Join(dir, "badger/MANIFEST"), -3)
		}},
		{"a table gone", true, remove("*.sst")},
		{"write-ahead logs gone", false, remove("*.mem")},
		{"discard file gone", false, remove("DISCARD")},
		{"key registry damaged", true, func(t *testing.T, dir, _ string) {
			truncate(t, filepath.Join(dir, "badger/KEYREGISTRY"), 7)
		}},
		{"state gone", false, func(t *testing.T, dir, _ string) {
			if err := os.Remove(filepath.Join(dir, "state")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			opt := small()
			opt.MemTableSize, opt.ValueLogSize = 2<<20, 1<<20
			s := mustOpen(t, dir, opt)
			w := newWriter(t, s)
			w.write(s, 200)
			mustClose(t, s)
			s = w.reopen(dir, opt)
			w.write(s, 10)
			older := image(t, dir)
			w.write(s, 100)
			killed := image(t, dir)
			c.damage(t, killed, older)
			s = w.reopen(killed, opt)
			if r := s.Recovery(); (r.Rebuilt != "") != c.rebuilt {
				t.Errorf("rebuilt: %q, %d frames replayed", r.Rebuilt, r.Replayed)
			}
			mustMatch(t, s)
			w.write(s, 10)
			mustClose(t, s)
			mustMatch(t, w.reopen(killed, opt))
		})
	}
}

func truncate(t testing.TB, path string, size int64) {
	t.Helper()
	if size < 0 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

// loseValues keeps of the value logs in lost what was there when synced was copied.
func loseValues(t *testing.T, lost, synced string) {
	t.Helper()
	for _, path := range files(t, filepath.Join(lost, "badger"), ".vlog") {
		was, err := os.ReadFile(strings.Replace(path, lost, synced, 1))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		now, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		clear(now[copy(now, was):])
		if len(was) == 0 {
			copy(now, make([]byte, 20)) // the header was written when the file was made
		}
		if err := os.WriteFile(path, now, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPowerLoss keeps what was synced of the value logs and everything of the rest: keys without their values. A
// restart of the system is what tells the store.
func TestPowerLoss(t *testing.T) {
	dir := t.TempDir()
	opt := small()
	opt.MemTableSize, opt.ValueLogSize = 2<<20, 1<<20
	s := mustOpen(t, dir, opt.Rebooted(1))
	w := newWriter(t, s)
	w.write(s, 100)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	synced := image(t, dir)
	w.write(s, 200)
	lost := image(t, dir)
	loseValues(t, lost, synced)
	again := image(t, lost)

	s = w.reopen(lost, opt.Rebooted(2))
	if r := s.Recovery(); r.Replayed != 200 || r.Rebuilt != "" {
		t.Errorf("recovery: %+v, want 200 frames replayed", r)
	}
	mustMatch(t, s)
	w.write(s, 5)
	mustClose(t, s)
	mustMatch(t, w.reopen(lost, opt.Rebooted(2)))

	// Without the restart the store believes the caches. Then it must find out when it reads.
	s = mustOpen(t, again, opt.Rebooted(1))
	if err := compare(t, s); err == nil && s.Recovery().Replayed == 0 && s.Recovery().Rebuilt == "" {
		t.Fatal("values are gone and nobody noticed")
	}
	if s.Recovery().Replayed == 0 && s.Health().Integrity == nil {
		t.Fatal("values are gone and the latch is open")
	}
}

// TestInterruptedRecoveryIsTakenUp: what a recovery was about to do is done by the next start, even if Badger looks
// good by then.
func TestInterruptedRecoveryIsTakenUp(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small())
	w := newWriter(t, s)
	w.write(s, 50)
	killed := image(t, dir)
	path := files(t, filepath.Join(killed, "badger"), ".mem")[0]
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[5000] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s = w.reopen(killed, small())
	if r := s.Recovery(); r.Replayed != 50 {
		t.Fatalf("recovery: %+v, want 50 frames replayed", r)
	}
	mustMatch(t, s)
	mustClose(t, s)
	mustMatch(t, w.reopen(killed, small()))
}

// TestRepeatedFailureToOpenRebuilds: openings that did not come back end in a new view.
func TestRepeatedFailureToOpenRebuilds(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small())
	w := newWriter(t, s)
	w.write(s, 20)
	mustClose(t, s)
	badgerstore.SetAttempts(t, dir, 3)
	s = w.reopen(dir, small())
	if s.Recovery().Rebuilt == "" {
		t.Error("not rebuilt")
	}
	mustMatch(t, s)
	mustClose(t, s)
	s = w.reopen(dir, small())
	if r := s.Recovery(); r.Rebuilt != "" {
		t.Errorf("rebuilt again: %q", r.Rebuilt)
	}
	if n := len(files(t, filepath.Join(dir, "aside"), "MANIFEST")); n != 1 {
		t.Errorf("%d replaced views are kept aside, want 1", n)
	}
}

// TestSmallerMemtable opens what a kill left with a smaller memtable than it was written under.
func TestSmallerMemtable(t *testing.T) {
	dir := t.TempDir()
	opt := small()
	s := mustOpen(t, dir, opt)
	w := newWriter(t, s)
	w.write(s, 1200)
	killed := image(t, dir)
	opt.MemTableSize = 1 << 20
	s = w.reopen(killed, opt)
	if r := s.Recovery(); r.Replayed != 1200 {
		t.Errorf("recovery: %+v, want 1200 frames replayed: the test is too small", r)
	}
	mustMatch(t, s)
}

// TestRunsOfAReplayAreNoFrames: a rebuild writes the runs of its indexes at the version of the last frame, before the
// frames in between. A kill after that leaves a log in which no frame is missing.
func TestRunsOfAReplayAreNoFrames(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small())
	w := newWriter(t, s)
	w.write(s, 900)
	mustClose(t, s)
	if err := os.RemoveAll(filepath.Join(dir, "badger")); err != nil {
		t.Fatal(err)
	}
	s = w.reopen(dir, small())
	if s.Recovery().Replayed != 900 {
		t.Fatalf("recovery: %+v", s.Recovery())
	}
	w.write(s, 1)
	killed := image(t, dir)
	found, err := badgerstore.Check(t.Context(), killed, small())
	if err != nil || len(found) > 0 {
		t.Errorf("after a kill: %v, %v", found, err)
	}
}

// TestKillWhileValuesAreCopied: Badger copies the values of a frame into its value log before it logs their keys, and
// the processor not from the first octet to the last. What a kill leaves behind the last frame is no damage.
func TestKillWhileValuesAreCopied(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, small())
	w := newWriter(t, s)
	w.write(s, 50)
	killed := image(t, dir)
	logs, err := filepath.Glob(filepath.Join(killed, "badger", "*.vlog"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("%d value logs, %v", len(logs), err)
	}
	slices.Sort(logs)
	newest := logs[len(logs)-1]
	data, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(data, "\x00"))
	copy(data[end+32:], bytes.Repeat([]byte{0x5a}, 700)) // the first octets were to come last
	if err := os.WriteFile(newest, data, 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := badgerstore.Check(t.Context(), killed, small())
	if err != nil || len(found) > 0 {
		t.Errorf("after a kill: %v, %v", found, err)
	}
	mustClose(t, w.reopen(killed, small()))
}
