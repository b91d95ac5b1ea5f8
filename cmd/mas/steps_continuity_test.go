package main

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/ledgertest"
)

// What the workload of backups, followers and restores makes below its directory.
const (
	madeBackup   = "backup"
	madeKeys     = "keys"
	madeCopy     = "copy"
	madeRestored = "restored"
	madeClosed   = "closed"
	madeKeyless  = "keyless"
)

// prepareContinuity leaves a store, an early backup of it, and a backup of its keys that has expired.
func prepareContinuity(t *testing.T, dir string, r *report) {
	w := mustWork(t, dir, r)
	w.commit()
	w.close()
	opt := stepStore()
	if _, err := badgerstore.Backup(t.Context(), stepPath(dir, "store"), stepPath(dir, "early"), opt); err != nil {
		t.Fatal(err)
	}
	opt.Now = func() time.Time { return time.Now().Add(-time.Hour) }
	if _, err := badgerstore.BackupKeys(t.Context(), stepPath(dir, "store"), stepPath(dir, madeKeys), time.Minute,
		opt); err != nil {
		t.Fatal(err)
	}
	w = mustWork(t, dir, r)
	for range 3 {
		w.commit()
	}
	w.stop("s1")
	w.close()
}

// stepHead is the head of the prepared log, as its journal has it.
func stepHead(t *testing.T, dir string) badgerstore.KnownHead {
	t.Helper()
	last := stepPath(dir, "head")
	if text, err := os.ReadFile(last); err == nil {
		return openHead(t, dir, text)
	}
	m, err := badgerstore.Backup(context.Background(), stepPath(dir, "store"), stepPath(t.TempDir(), "b"), stepStore())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(last, m.Checkpoint, 0o600); err != nil {
		t.Fatal(err)
	}
	return openHead(t, dir, m.Checkpoint)
}

func openHead(t *testing.T, dir string, text []byte) badgerstore.KnownHead {
	t.Helper()
	c, err := ledger.OpenCheckpoint(text, stepOrigin, ledgertest.KeysIn(t, dir, stepOrigin).Verifier)
	if err != nil {
		t.Fatal(err)
	}
	return badgerstore.KnownHead{Checkpoint: c, Note: text}
}

// continuity does everything once; what exists already is left. It reports what it made.
func continuity(t *testing.T, dir string, head badgerstore.KnownHead, r *report) {
	ctx, opt := context.Background(), stepStore()
	store := stepPath(dir, "store")
	done := func(name string, n uint64, err error) {
		if err != nil {
			r.saw("refused", err)
			return
		}
		r.say(fact{Kind: "made", Name: name, N: n})
	}
	if _, err := os.Stat(stepPath(dir, madeBackup)); errors.Is(err, os.ErrNotExist) {
		_, err := badgerstore.Backup(ctx, store, stepPath(dir, madeBackup), opt)
		done(madeBackup, 0, err)
	}
	_, err := badgerstore.BackupKeys(ctx, store, stepPath(dir, madeKeys), time.Hour, opt)
	done(madeKeys, 0, err)
	n, err := followOnce(ctx, store, stepPath(dir, madeCopy), opt)
	done(madeCopy, n, err)
	vkey := ledgertest.KeysIn(t, dir, stepOrigin).VKey
	for name, o := range map[string]badgerstore.RestoreOptions{
		madeRestored: {From: stepPath(dir, "early"), Tails: []string{store}, Keys: store},
		madeClosed:   {From: stepPath(dir, "early"), Keys: store},
		madeKeyless:  {From: store, LostKeys: true},
	} {
		o.Into, o.Heads, o.LogKey = stepPath(dir, name), []badgerstore.KnownHead{head}, vkey
		if _, err := os.Stat(o.Into); errors.Is(err, os.ErrNotExist) {
			_, err := badgerstore.Restore(ctx, opt, o)
			done(name, 0, err)
		}
	}
}

// followOnce brings a copy up to the store and returns its last frame.
func followOnce(ctx context.Context, store, to string, opt badgerstore.Options) (uint64, error) {
	f, err := badgerstore.OpenFollower(to, opt)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for _, part := range badgerstore.Parts() {
		src, err := f.Source(store, part)
		if err != nil {
			return 0, err
		}
		defer src.Close()
		for n := 1; n > 0; {
			if n, err = f.Step(ctx, part, src); err != nil {
				return 0, err
			}
		}
	}
	n, _ := f.Last(badgerstore.Parts()[0])
	return n, f.Upkeep(ctx)
}

func runContinuity(t *testing.T, dir string, r *report) { continuity(t, dir, stepHead(t, dir), r) }

// checkContinuity: what was reported is there, whole; the same again makes the rest; and both restored logs say what
// they have to.
func checkContinuity(t *testing.T, dir string, said []fact) {
	opt, head := stepStore(), stepHead(t, dir)
	for _, f := range said {
		if f.Kind != "made" {
			continue
		}
		switch f.Name {
		case madeCopy:
			if k, err := badgerstore.ReadKnown(stepPath(dir, madeCopy), opt); err != nil || k.Seq < f.N {
				t.Errorf("the copy is at frame %d, %d was reported: %v", k.Seq, f.N, err)
			}
		default:
			if _, err := os.Stat(stepPath(dir, f.Name)); err != nil {
				t.Errorf("%s was reported: %v", f.Name, err)
			}
		}
	}
	again := new(report)
	continuity(t, dir, head, again)
	for _, f := range again.kept {
		if f.Kind == "saw" {
			t.Errorf("the same again: %s", f.Text)
		}
	}
	if m, err := badgerstore.VerifyBackup(t.Context(), stepPath(dir, madeBackup), opt); err != nil || m.Size != head.Size {
		t.Errorf("backup: %+v, %v", m, err)
	}
	saved, _ := filepath.Glob(stepPath(dir, madeKeys, "keys-*"))
	for _, s := range saved {
		if m, err := badgerstore.VerifyBackup(t.Context(), s, opt); err != nil || !time.Now().Before(m.Expires) {
			t.Errorf("backup of keys: %+v, %v", m, err)
		}
	}
	for name, code := range map[string]string{
		madeRestored: "", madeKeyless: "", madeClosed: badgerstore.CodeHistoryLost,
	} {
		s, err := badgerstore.Open(stepPath(dir, name), opt)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		l := s.Health().Integrity
		switch {
		case code == "" && (l != nil || s.Head().Size != head.Size || s.Head().Root != head.Root):
			t.Errorf("%s: latch %+v, size %d of %d", name, l, s.Head().Size, head.Size)
		case code != "" && (l == nil || l.Code != code || s.Head().Size >= head.Size):
			t.Errorf("%s: latch %+v, size %d", name, l, s.Head().Size)
		}
		if sealed, err := s.Vault().Seal(ledger.Hash{}, nil); err != nil ||
			name == madeKeyless && binary.BigEndian.Uint64(sealed[1:]) < head.Size {
			t.Errorf("%s: a new key has the number of an old one: %v", name, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
