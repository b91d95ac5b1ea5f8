package verifier_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/verifier"
)

// TestWitnessedCheckpoint: a quorum takes two claims from what is not claimed; too few witnesses leave the checkpoint
// unverifiable, a wrong line is an integrity failure.
func TestWitnessedCheckpoint(t *testing.T) {
	keys := ledgertest.NewKeys(t, "log.a.example/log/1")
	witness := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	vkey, err := ledger.CosignatureVKey("witness.example/w", witness.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	policy, err := ledger.ParseWitnessPolicy([]byte("log " + keys.VKey + "\nwitness w " + vkey + "\nquorum w\n"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: keys.Origin, Root: ledger.EmptyRoot}, keys.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ledger.NewCosigner("witness.example/w", witness, time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	cosigned, err := ledger.Cosign(text, signer)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: keys.Origin, Size: 1, Root: ledger.Hash{1}}, keys.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	moved := append(bytes.Clone(other), cosigned[len(text):]...)
	for name, c := range map[string]struct {
		text []byte
		want verifier.Outcome
	}{"quorum": {cosigned, verifier.OK}, "none": {text, verifier.Unverifiable}, "wrong": {moved, verifier.Wrong}} {
		w, fs := verifier.VerifyWitnessed(c.text, policy)
		if fs.Outcome() != c.want || (c.want == verifier.OK) != w.Quorum {
			t.Errorf("%s: %v %+v", name, fs, w)
		}
	}
	if before, after := verifier.LogClaims(), verifier.Witnessed(verifier.LogClaims()); len(before)-len(after) != 2 {
		t.Errorf("not claimed without and with a quorum: %v, %v", before, after)
	}
}
