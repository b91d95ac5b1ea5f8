package badgerstore_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/durable"
	"github.com/mission-authority/mas/ledger/journal"
)

// Checkpoints of a ledgertest.Chain are of this log.
const chainOrigin = "log.a.example/log/1"

// ofChain are options for a store whose origin is that of its checkpoints.
func ofChain() badgerstore.Options {
	opt := small()
	opt.Origin = chainOrigin
	return opt
}

// head is the head after a batch, as somebody outside saw it.
func (w *writer) head(t testing.TB) badgerstore.KnownHead {
	t.Helper()
	c := ledger.Checkpoint{Origin: chainOrigin, Size: w.chain.Head.Size, Root: w.chain.Head.Root}
	text, err := ledger.SignCheckpoint(c, w.chain.Keys.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	return badgerstore.KnownHead{Checkpoint: c, Note: text}
}

func mustBackup(t testing.TB, dir string, opt badgerstore.Options) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "backup")
	if _, err := badgerstore.Backup(t.Context(), dir, out, opt); err != nil {
		t.Fatal(err)
	}
	return out
}

// follow copies what the store in dir has to the copy in to, until nothing is new.
func follow(t testing.TB, dir, to string, opt badgerstore.Options) error {
	t.Helper()
	f, err := badgerstore.OpenFollower(to, opt)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, part := range badgerstore.Parts() {
		src, err := f.Source(dir, part)
		if err != nil {
			return err
		}
		defer src.Close()
		for {
			n, err := f.Step(t.Context(), part, src)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
		}
	}
	return f.Upkeep(t.Context())
}

// TestBackupOfALiveStore takes a backup of a store while it is written to, and restores it: alone, and with what the
// journal has beyond it, up to the last head that anyone has seen. The view that is built from the journal has the same
// indexes, octet for octet.
//
// Audit rows: 86.
func TestBackupOfALiveStore(t *testing.T) {
	dir, opt := t.TempDir(), ofChain()
	opt.SegmentSize = 1 << 20
	s := mustOpen(t, dir, opt)
	w := newWriter(t, s)
	w.write(s, 100)
	if err := s.Stops().Stop(t.Context(), ledger.Stop{Kind: ledger.StopMission, ID: "m1", Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	at := w.head(t)
	backup := mustBackup(t, dir, opt)
	m, err := badgerstore.VerifyBackup(t.Context(), backup, opt)
	if err != nil || m.Size != at.Size || m.Root != at.Root || m.Frames != 100 || m.Stops != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
	for _, f := range m.Files {
		if filepath.Dir(f.Path) == "shred" {
			t.Fatalf("the backup of the log holds %s", f.Path)
		}
	}
	w.write(s, 300) // over several segments, some of them compressed
	if _, err := badgerstore.JournalOf(s).Pack(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.write(s, 5)

	restore := func(o badgerstore.RestoreOptions) (*badgerstore.Restored, string, error) {
		o.From, o.Into = backup, filepath.Join(t.TempDir(), "store")
		o.LogKey = w.chain.Keys.VKey
		r, err := badgerstore.Restore(t.Context(), opt, o)
		return r, o.Into, err
	}
	r, into, err := restore(badgerstore.RestoreOptions{
		Heads: []badgerstore.KnownHead{at, w.head(t)}, Tails: []string{dir}, Keys: dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Closed != nil || r.Head.Size != w.chain.Head.Size || r.Applied != 305 || r.Stops != 1 || r.Lost != 0 {
		t.Errorf("%+v", r)
	}
	again := mustOpen(t, into, opt)
	mustMatch(t, again)
	openBodies(t, again)
	if want, got := shown(t, s), shown(t, again); len(want) < 1000 || !maps.Equal(want, got) {
		t.Errorf("the rebuilt view has %d keys, the original %d, and they differ", len(got), len(want))
	}
	if again.Head().Root != w.chain.Head.Root || again.Health() != (ledger.Health{}) || len(again.Stops().Pending()) != 1 {
		t.Errorf("restored to %+v, %+v, %d stops", again.Head(), again.Health(), len(again.Stops().Pending()))
	}
	mustClose(t, again)

	// Without the tail, and a known head that is not reached, the log is closed: it says what is gone.
	r, into, err = restore(badgerstore.RestoreOptions{Heads: []badgerstore.KnownHead{w.head(t), at}, Keys: dir})
	if err != nil {
		t.Fatal(err)
	}
	if r.Closed == nil || r.Closed.Size != w.chain.Head.Size || r.Head.Size != at.Size {
		t.Fatalf("%+v", r)
	}
	closed := mustOpen(t, into, opt)
	if l := closed.Health().Integrity; l == nil || l.Code != badgerstore.CodeHistoryLost {
		t.Errorf("latch %+v", l)
	}
	if err := closed.Apply(t.Context(), rowBatch(closed.Head()), closed.Head()); !errors.Is(err, ledger.ErrIntegrity) {
		t.Errorf("a closed log takes a batch: %v", err)
	}
	mustMatch(t, closed)
	text, err := ledger.MarshalPredecessor(&r.End)
	if err != nil {
		t.Fatal(err)
	}
	if end, err := ledger.ParsePredecessor(text); err != nil || end.Lost.Size != w.chain.Head.Size || end.Size != at.Size {
		t.Errorf("%+v, %v", end, err)
	}

	for name, c := range map[string]struct {
		o    badgerstore.RestoreOptions
		want error
	}{
		"no head is known":     {badgerstore.RestoreOptions{Keys: dir}, badgerstore.ErrHeadUnknown},
		"no keys":              {badgerstore.RestoreOptions{NothingNewer: true}, badgerstore.ErrKeysLost},
		"a head that is not":   {badgerstore.RestoreOptions{Heads: []badgerstore.KnownHead{otherRoot(at)}, Keys: dir}, journal.ErrFork},
		"a head between":       {badgerstore.RestoreOptions{Heads: []badgerstore.KnownHead{otherSize(at)}, Keys: dir}, journal.ErrFork},
		"a head of another":    {badgerstore.RestoreOptions{Heads: []badgerstore.KnownHead{otherLog(at)}, Keys: dir}, ledger.ErrConflict},
		"a tail that is none":  {badgerstore.RestoreOptions{NothingNewer: true, Tails: []string{t.TempDir()}}, os.ErrNotExist},
		"a directory with one": {badgerstore.RestoreOptions{NothingNewer: true, Keys: t.TempDir()}, os.ErrNotExist},
	} {
		if r, into, err := restore(c.o); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", name, r, err)
		} else if _, err := os.Stat(into); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something was made: %v", name, err)
		}
	}
	r, _, err = restore(badgerstore.RestoreOptions{NothingNewer: true, LostKeys: true})
	if err != nil || r.Lost != 300 {
		t.Errorf("without keys: %+v, %v", r, err)
	}
}

// shown are all keys and values that a store shows, but for the head, which carries the epoch.
func shown(t *testing.T, s *badgerstore.Store) map[string]string {
	t.Helper()
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	all := make(map[string]string)
	for _, prefix := range []byte("edlftcrhb") {
		for kv, err := range snap.Iterate([]byte{prefix}, nil) {
			if err != nil {
				t.Fatal(err)
			}
			all[string(kv.Key)] = string(kv.Value)
		}
	}
	return all
}

func otherRoot(h badgerstore.KnownHead) badgerstore.KnownHead { h.Root[0] ^= 1; return h }
func otherSize(h badgerstore.KnownHead) badgerstore.KnownHead { h.Size--; return h }
func otherLog(h badgerstore.KnownHead) badgerstore.KnownHead {
	h.Origin = "b.example/log/1"
	return h
}

// TestBackupIsWholeOrNotThere damages backups: each octet of the manifest, each file; and has making one fail.
func TestBackupIsWholeOrNotThere(t *testing.T) {
	dir, opt := t.TempDir(), ofChain()
	s := mustOpen(t, dir, opt)
	w := newWriter(t, s)
	w.write(s, 3)
	backup := mustBackup(t, dir, opt)
	manifest := filepath.Join(backup, badgerstore.ManifestName)
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	broken := func(what string) {
		t.Helper()
		if _, err := badgerstore.VerifyBackup(t.Context(), backup, opt); !errors.Is(err, badgerstore.ErrBackup) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := 0; i < len(text); i += 7 {
		bad := bytes.Clone(text)
		bad[i] ^= 0x20
		if err := os.WriteFile(manifest, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		broken("manifest")
	}
	if err := os.Remove(manifest); err != nil {
		t.Fatal(err)
	}
	broken("no manifest")
	if err := os.WriteFile(manifest, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range files(t, backup, "") {
		if path == manifest {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/3] ^= 4
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		broken(path)
		data[len(data)/3] ^= 4
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	extra := filepath.Join(backup, "journal", "extra")
	if err := os.WriteFile(extra, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broken("one more file")
	if err := os.Remove(extra); err != nil {
		t.Fatal(err)
	}
	if _, err := badgerstore.VerifyBackup(t.Context(), backup, opt); err != nil {
		t.Error(err)
	}

	if _, err := badgerstore.Backup(t.Context(), dir, backup, opt); err == nil {
		t.Error("a backup was overwritten")
	}
	out := filepath.Join(t.TempDir(), "b")
	// What a killed one left is in nobody's way.
	if err := os.MkdirAll(filepath.Join(out+".partial", "journal", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := badgerstore.Backup(cancelled, dir, out, opt); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a cancelled backup is there: %v", err)
	}
	if _, err := badgerstore.Backup(t.Context(), dir, out, opt); err != nil {
		t.Errorf("after a killed one: %v", err)
	}
	other := opt
	other.Origin = "b.example/log/1"
	if _, err := badgerstore.VerifyBackup(t.Context(), out, other); !errors.Is(err, badgerstore.ErrBackup) {
		t.Errorf("of another log: %v", err)
	}
}

// breakStep has a durable step fail, with or without being carried out.
func breakStep(name string, apply bool) (restore func()) {
	return durable.Intercept(func(step string, run func() error) error {
		if step != name {
			return run()
		}
		var err error
		if apply {
			err = run()
		}
		return errors.Join(err, errors.New("broken by the test"))
	})
}

// TestContinuityFaults breaks each durable step of backup, follower and restore: the same again works, and nothing
// half-made passes for whole.
func TestContinuityFaults(t *testing.T) {
	dir, opt := t.TempDir(), ofChain()
	s := mustOpen(t, dir, opt)
	w := newWriter(t, s)
	w.write(s, 5)
	early := mustBackup(t, dir, opt)
	w.write(s, 5)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	opt.Now = func() time.Time { return now }
	for _, apply := range []bool{false, true} {
		for step, run := range map[string]func(base string) error{
			"backup.complete": func(base string) error {
				_, err := badgerstore.Backup(t.Context(), dir, filepath.Join(base, "b"), opt)
				return err
			},
			"backup.expire": func(base string) error {
				if _, err := badgerstore.BackupKeys(t.Context(), dir, base, time.Minute, opt); err != nil {
					return err
				}
				now = now.Add(time.Hour)
				_, err := badgerstore.BackupKeys(t.Context(), dir, base, time.Minute, opt)
				return err
			},
			"follow.frame": func(base string) error { return follow(t, dir, base, opt) },
			"restore.complete": func(base string) error {
				_, err := badgerstore.Restore(t.Context(), opt, badgerstore.RestoreOptions{
					From: dir, Into: filepath.Join(base, "s"), Keys: dir, Heads: []badgerstore.KnownHead{w.head(t)},
				})
				return err
			},
			"restore.closed": func(base string) error {
				_, err := badgerstore.Restore(t.Context(), opt, badgerstore.RestoreOptions{From: early, Keys: dir,
					Into: filepath.Join(base, "s"), Heads: []badgerstore.KnownHead{w.head(t)}, LogKey: w.chain.Keys.VKey})
				return err
			},
			"shred.lost": func(base string) error {
				_, err := badgerstore.Restore(t.Context(), opt, badgerstore.RestoreOptions{
					From: dir, Into: filepath.Join(base, "s"), NothingNewer: true, LostKeys: true,
				})
				return err
			},
		} {
			base := t.TempDir()
			restore := breakStep(step, apply)
			err := run(base)
			restore()
			if err == nil {
				t.Fatalf("%s: its failure is not reported", step)
			}
			now = now.Add(time.Hour)
			partial, _ := filepath.Glob(filepath.Join(base, "*.partial"))
			if len(partial) != 0 {
				t.Errorf("%s: %v is left", step, partial)
			}
			// It is there whole, if the failure came after, or it can be made again.
			whole, _ := filepath.Glob(filepath.Join(base, "[bs]"))
			if len(whole) == 0 {
				if err := run(base); err != nil {
					t.Errorf("%s: again: %v", step, err)
				}
			} else if !apply {
				t.Errorf("%s: it is there without the step", step)
			}
		}
	}
}

// TestFollow follows a store over several openings of both, and restores the copy.
//
// Audit rows: 79, 80, 81.
func TestFollow(t *testing.T) {
	dir, copied, opt := t.TempDir(), filepath.Join(t.TempDir(), "copy"), ofChain()
	opt.SegmentSize = 1 << 20
	s := mustOpen(t, dir, opt)
	w := newWriter(t, s)
	var older string
	for i := range 6 {
		w.write(s, 60)
		if i == 3 {
			mustClose(t, s)
			older = image(t, dir)
			s = w.reopen(dir, opt)
		}
		if i%2 == 0 {
			continue
		}
		if err := follow(t, dir, copied, opt); err != nil {
			t.Fatal(err)
		}
		k, err := badgerstore.ReadKnown(copied, opt)
		if err != nil || k.Seq != w.chain.Head.Seq {
			t.Fatalf("the copy is at frame %d of %d, %v", k.Seq, w.chain.Head.Seq, err)
		}
	}
	known, err := badgerstore.ReadKnown(copied, opt)
	if err != nil {
		t.Fatal(err)
	}

	// The copy on another volume is an anchor: equal and behind are fine, ahead is a rollback, different is a fork.
	w.write(s, 1)
	mustClose(t, s)
	anchored := opt
	anchored.Known = known
	s = w.reopen(dir, anchored)
	if s.Health().Integrity != nil {
		t.Errorf("a copy that is behind: %+v", s.Health())
	}
	rolled := mustLatch(t, older, anchored, badgerstore.CodeJournalRollback, w.at(240), 240)
	mustClose(t, rolled)
	if err := follow(t, older, copied, opt); !errors.Is(err, journal.ErrRollback) {
		t.Errorf("following a store that was rolled back: %v", err)
	}
	// The rolled back store goes on by itself, for want of an anchor: then it is another history.
	fork := mustOpen(t, older, opt)
	for fork.Head().Seq < known.Seq+3 {
		if err := fork.Apply(t.Context(), rowBatch(fork.Head()), fork.Head()); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, fork)
	if err := follow(t, older, copied, opt); !errors.Is(err, journal.ErrFork) {
		t.Errorf("following a fork: %v", err)
	}
	forked := mustOpen(t, older, anchored)
	if l := forked.Health().Integrity; l == nil || l.Code != badgerstore.CodeJournalFork {
		t.Errorf("a store beside its copy's history: %+v", l)
	}
	mustClose(t, forked)
	if again, err := badgerstore.ReadKnown(copied, opt); err != nil || again != known {
		t.Errorf("the copy changed: %+v, %v", again, err)
	}

	// Another log is not measured by this one's anchor.
	other := small()
	other.Origin = "b.example/log/2"
	if _, err := badgerstore.ReadKnown(copied, other); !errors.Is(err, journal.ErrIdentity) {
		t.Errorf("the anchor of another log: %v", err)
	}
	second := mustOpen(t, t.TempDir(), other)
	if second.Health() != (ledger.Health{}) || second.Head().Size != 0 {
		t.Errorf("a second log: %+v", second.Health())
	}

	// The copy is what a lost store is restored from.
	into := filepath.Join(t.TempDir(), "store")
	r, err := badgerstore.Restore(t.Context(), opt, badgerstore.RestoreOptions{
		From: copied, Tails: []string{dir}, Keys: dir, Into: into, Heads: []badgerstore.KnownHead{w.head(t)},
	})
	if err != nil || r.Applied != 1 || r.Closed != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	mustMatch(t, mustOpen(t, into, opt))
}

// at is the writer as it was after n batches, for what looks at its head only.
func (w *writer) at(uint64) *writer {
	c := *w.chain
	return &writer{t: w.t, chain: &c}
}

// TestFollowFullDisk: a copy whose volume is full stays as it was and goes on when there is space again.
func TestFollowFullDisk(t *testing.T) {
	dir, copied, opt := t.TempDir(), filepath.Join(t.TempDir(), "copy"), ofChain()
	s := mustOpen(t, dir, opt)
	w := newWriter(t, s)
	w.write(s, 10)
	full := opt
	full.FS = fullFS{opt.FS}
	if err := follow(t, dir, copied, full); !errors.Is(err, journal.ErrNoSpace) {
		t.Fatalf("a full volume: %v", err)
	}
	if err := follow(t, dir, copied, opt); err != nil {
		t.Fatal(err)
	}
	if k, err := badgerstore.ReadKnown(copied, opt); err != nil || k.Seq != 10 {
		t.Fatalf("%+v, %v", k, err)
	}
	if _, err := badgerstore.Backup(t.Context(), dir, filepath.Join(t.TempDir(), "b"), full); !journal.IsNoSpace(err) {
		t.Errorf("a backup to a full volume: %v", err)
	}
}

// TestErasedStaysErased: what is erased after the keys were backed up is erased again after a restore, and a backup of
// the keys is destroyed at its age.
func TestErasedStaysErased(t *testing.T) {
	dir, keys, opt := t.TempDir(), t.TempDir(), ofChain()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	opt.Now = func() time.Time { return now }
	s := mustOpen(t, dir, opt)
	w := newWriter(t, s)
	w.write(s, 4)
	if _, err := badgerstore.BackupKeys(t.Context(), dir, keys, 24*time.Hour, opt); err != nil {
		t.Fatal(err)
	}
	saved := filepath.Join(keys, "keys-20260101T000000.000000Z")
	log := mustBackup(t, dir, opt)
	var victim ledger.SealedBody
	for b, err := range s.Frames(2) {
		if err != nil {
			t.Fatal(err)
		}
		victim = b.Bodies[1]
		break
	}
	if err := s.Vault().Erase(victim.Digest, victim.Sealed); err != nil {
		t.Fatal(err)
	}
	into := func(name string, o badgerstore.RestoreOptions) (*badgerstore.Restored, *badgerstore.Store, error) {
		o.From, o.Into, o.Heads = log, filepath.Join(t.TempDir(), name), []badgerstore.KnownHead{w.head(t)}
		r, err := badgerstore.Restore(t.Context(), opt, o)
		if err != nil {
			return r, nil, err
		}
		return r, mustOpen(t, o.Into, opt), nil
	}
	r, again, err := into("repeated", badgerstore.RestoreOptions{Keys: saved, Erasures: []string{dir}})
	if err != nil || r.Erased != 1 || r.Lost != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := again.Vault().Open(victim.Digest, victim.Sealed); !errors.Is(err, ledger.ErrErased) {
		t.Errorf("the erased body after a restore: %v", err)
	}
	// With no keys at all, new bodies must not get the places of old or erased ones.
	r, again, err = into("lost", badgerstore.RestoreOptions{LostKeys: true, Erasures: []string{dir}})
	if err != nil || r.Lost != 11 {
		t.Fatalf("%+v, %v", r, err)
	}
	for range 3 {
		sealed, err := again.Vault().Seal(ledger.Hash{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for b, err := range again.Frames(1) {
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(b.Bodies, func(o ledger.SealedBody) bool { return bytes.Equal(o.Sealed[:9], sealed[:9]) }) {
				t.Fatal("a new body has the number of an old key")
			}
		}
	}

	now = now.Add(25 * time.Hour)
	if _, _, err := into("expired", badgerstore.RestoreOptions{Keys: saved}); !errors.Is(err, badgerstore.ErrExpired) {
		t.Errorf("an expired backup of keys: %v", err)
	}
	if _, _, err := into("anyway", badgerstore.RestoreOptions{Keys: saved, ExpiredKeys: true}); err != nil {
		t.Errorf("taken all the same: %v", err)
	}
	if _, err := badgerstore.BackupKeys(t.Context(), dir, keys, 24*time.Hour, opt); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(saved); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the expired backup is still there: %v", err)
	}
	if m, err := badgerstore.VerifyBackup(t.Context(), filepath.Join(keys, "keys-20260102T010000.000000Z"), opt); err != nil ||
		m.Kind != badgerstore.KindKeys {
		t.Errorf("%+v, %v", m, err)
	}
}

// fullFS has no space for new segments.
type fullFS struct{ journal.FS }

func (f fullFS) OpenFile(name string, flag int) (journal.File, error) {
	file, err := f.FS.OpenFile(name, flag)
	return fullFile{file}, err
}

type fullFile struct{ journal.File }

func (fullFile) Allocate(int64) error { return syscall.ENOSPC }

func FuzzParseManifest(f *testing.F) {
	dir, opt := f.TempDir(), ofChain()
	s := mustOpen(f, dir, opt)
	newWriter(f, s).write(s, 2)
	out := filepath.Join(f.TempDir(), "b")
	for _, make := range []func() (*badgerstore.Manifest, error){
		func() (*badgerstore.Manifest, error) { return badgerstore.Backup(f.Context(), dir, out, opt) },
		func() (*badgerstore.Manifest, error) {
			return badgerstore.BackupKeys(f.Context(), dir, out+"k", time.Hour, opt)
		},
	} {
		m, err := make()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.Marshal())
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := badgerstore.ParseManifest(text)
		if err == nil && !bytes.Equal(m.Marshal(), text) {
			t.Fatal("two encodings of one manifest")
		}
	})
}
