package model_test

import (
	"os"
	"testing"

	"github.com/mission-authority/mas/ledger/ledgertest/model"
)

// within are bounds that are explored whole.
func within(more int) []model.Bounds {
	return []model.Bounds{
		{Changes: 4 + more, Crashes: 3 + more},
		{Changes: 4, Crashes: 2 + more, Restores: 1 + more, WitnessCrashes: 1},
		{Changes: 4, Crashes: 2 + more, Restores: 1 + more, WitnessCrashes: 1 + more, FailClosed: true},
	}
}

// TestModel explores every state within small bounds: no promise is ever broken.
func TestModel(t *testing.T) {
	more := 0
	if os.Getenv("SOAK") != "" {
		more = 1
	}
	total := 0
	for _, b := range within(more) {
		x := model.Explore(b)
		t.Logf("model: %d changes, %d crashes, %d restores, %d crashes of the witness, fail-closed %t: %d states, %d actions, "+
			"at most %d deep", b.Changes, b.Crashes, b.Restores, b.WitnessCrashes, b.FailClosed, x.States, x.Actions, x.Deepest)
		if x.Broken != "" {
			t.Errorf("%s:\n%s", x.Broken, lines(x.Trace))
		}
		total += x.States
	}
	if total < 10_000 {
		t.Errorf("%d states are too few to mean anything", total)
	}
}

// TestModelFindsBugs: each known mistake breaks a promise within the same bounds.
func TestModelFindsBugs(t *testing.T) {
	found := 0
	for _, bug := range model.Bugs {
		broken := ""
		for _, b := range within(0) {
			b.Bug = bug
			x := model.Explore(b)
			if x.Broken != "" {
				broken = x.Broken
				t.Logf("model: %s: %s, after %d states:\n%s", bug, x.Broken, x.States, lines(x.Trace))
				break
			}
		}
		if broken == "" {
			t.Errorf("%s: not found", bug)
			continue
		}
		found++
	}
	t.Logf("model: %d of %d bugs found", found, len(model.Bugs))
}

func lines(trace []string) (out string) {
	for _, a := range trace {
		out += "    " + a + "\n"
	}
	return out
}

func TestHistory(t *testing.T) {
	h := model.History(0).Append(1).Append(2).Append(3)
	switch {
	case h.Len() != 3, h.String() != "[123]", h.Prefix(2).String() != "[12]", h.Prefix(0) != 0, h.Prefix(3) != h:
		t.Errorf("%s, %s, %s", h, h.Prefix(2), h.Prefix(0))
	case !h.Extends(h.Prefix(2)), !h.Extends(h), h.Prefix(2).Extends(h), h.Extends(model.History(0).Append(2)):
		t.Error("extends")
	case !h.Has(2), h.Has(4), !h.Extends(0):
		t.Error("has")
	}
}
