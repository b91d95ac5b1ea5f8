package sequencer_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
)

func TestCommitAndCheck(t *testing.T) {
	log := ledgertest.NewLog(t, ledgertest.Options{})
	var seen []ledger.Checkpoint
	for i := range 600 {
		id := fmt.Sprintf("m%d", i%7)
		done := log.MustCommit(t, ledger.Change{
			Put:     []ledger.Record{{Key: "mission/" + id + "/state", Value: []byte{byte(i)}, JustifiedBy: 0}},
			Entries: []ledger.Entry{log.Keys.WithBody(t, id, fmt.Appendf(nil, "body %d", i))},
		})
		if want := uint64(i + 1); done.Results[0].Index != want || done.TreeSize != want+1 {
			t.Fatalf("entry %d is at %d in %d", i, done.Results[0].Index, done.TreeSize)
		}
		if i%97 == 0 {
			seen = append(seen, ledgertest.CheckLog(t, log, log.Keys.VKey, seen...))
		}
	}
	ledgertest.CheckLog(t, log, log.Keys.VKey, seen...)
	if err := log.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := log.View(); !errors.Is(err, ledger.ErrUnavailable) {
		t.Fatalf("view of a closed log: %v", err)
	}
}
