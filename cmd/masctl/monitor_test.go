package main

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
)

// TestMonitor shows a monitor one log after another, as one that is honest, idle, set back or forked would look.
//
// Audit rows: 151.
func TestMonitor(t *testing.T) {
	keys := ledgertest.NewKeys(t, "log.a.example/log/1")
	began := time.Unix(1_800_000_000, 0)
	witness := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	vkey, err := ledger.CosignatureVKey("witness.example/w", witness.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	policy, err := ledger.ParseWitnessPolicy([]byte("log " + keys.VKey + "\nwitness w " + vkey + "\nquorum w\n"))
	if err != nil {
		t.Fatal(err)
	}
	grow := func(l *ledgertest.Log, salt string, n int) {
		for i := range n {
			l.MustCommit(t, ledger.Change{Entries: []ledger.Entry{keys.Entry(t, "msn_x", fmt.Append(nil, salt, i))}})
		}
	}
	head := func(l *ledgertest.Log, at ...time.Time) []byte {
		text := l.MustView(t).Checkpoint()
		for _, t1 := range at {
			s, err := ledger.NewCosigner("witness.example/w", witness, t1)
			if err != nil {
				t.Fatal(err)
			}
			if text, err = ledger.Cosign(text, s); err != nil {
				t.Fatal(err)
			}
		}
		return text
	}
	log, fork := ledgertest.NewLog(t, ledgertest.Options{Keys: keys}), ledgertest.NewLog(t, ledgertest.Options{Keys: keys})
	grow(log, "a", 300)
	grow(fork, "b", 300)
	clock := began
	m := &monitor{policy: policy, state: filepath.Join(t.TempDir(), "state"), stall: time.Hour, age: time.Minute,
		now: func() time.Time { return clock }}
	expect := func(what string, l *ledgertest.Log, text []byte, code int, says string) {
		t.Helper()
		line, err := m.judge(text, l.MustView(t).Tile)
		got := exitOK
		if err != nil {
			got = exitCode(err)
		}
		if got != code || err != nil && !strings.Contains(err.Error(), says) || code == exitOK && !strings.Contains(line, says) {
			t.Errorf("%s: exit %d, %q, %v", what, got, line, err)
		}
	}
	expect("first look", log, head(log, clock), exitOK, "size 301")
	if info, err := os.Stat(m.state); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("state file %v, %v", info, err)
	}
	grow(log, "c", 20)
	clock = clock.Add(time.Minute)
	expect("growth", log, head(log, clock), exitOK, "quorum true")
	expect("no quorum", log, head(log), exitIncomplete, "not a quorum")
	clock = clock.Add(10 * time.Minute)
	expect("an old cosignature", log, head(log, clock.Add(-2*time.Minute)), exitIncomplete, "old")
	clock = clock.Add(time.Hour)
	expect("no growth", log, head(log, clock), exitIncomplete, "not grown")
	grow(log, "d", 1)
	expect("growth again", log, head(log, clock), exitOK, "size 322")

	damaged, err := note.Sign(&note.Note{Text: ledger.Checkpoint{Origin: keys.Origin, Size: 400}.Text()}, wrong{keys.Checkpoint})
	if err != nil {
		t.Fatal(err)
	}
	expect("a wrong signature", log, damaged, exitFinding, "does not verify")
	expect("tiles of another tree", fork, func() []byte { grow(log, "e", 1); return head(log, clock) }(), exitIncomplete, "tiles")
	expect("set back", fork, head(fork, clock), exitFinding, "set back")
	grow(fork, "f", 21)
	expect("another root", fork, head(fork, clock), exitFinding, "two roots")
	grow(fork, "g", 100)
	expect("a fork", fork, head(fork, clock), exitFinding, "does not continue")
	expect("a fork again", fork, head(fork, clock), exitFinding, "does not continue")
	kept, err := filepath.Glob(m.state + ".evidence-*")
	if err != nil || len(kept) != 3 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	text, err := os.ReadFile(kept[2])
	if err != nil || !bytes.Contains(text, head(fork, clock)) || bytes.Count(text, []byte(keys.Origin+"\n")) != 2 {
		t.Errorf("kept %s, %v", text, err)
	}
	expect("the log goes on", log, head(log, clock), exitOK, "size 323")
	if err := os.WriteFile(m.state, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect("a damaged state file", log, head(log, clock), exitUsage, "state")
}

// wrong signs with the right name and one bit wrong.
type wrong struct{ note.Signer }

func (w wrong) Sign(message []byte) ([]byte, error) {
	sig, err := w.Signer.Sign(message)
	if err == nil {
		sig[0] ^= 1
	}
	return sig, err
}
