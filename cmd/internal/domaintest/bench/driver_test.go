package main

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestSummarise(t *testing.T) {
	var all []time.Duration
	for i := 100; i > 0; i-- {
		all = append(all, time.Duration(i)*time.Millisecond)
	}
	m := summarise(all, 2*time.Second, 0.5)
	if m.PerSecond != 50 || m.Count != 100 || m.P50 != 51 || m.P99 != 100 || m.Max != 100 || m.CPU != 0.5 {
		t.Errorf("summary %+v", m)
	}
	if m := summarise(nil, time.Second, 0); m.Count != 0 || m.P99 != 0 {
		t.Errorf("summary of nothing %+v", m)
	}
}

func TestMedian(t *testing.T) {
	s := series{{PerSecond: 3}, {PerSecond: 1}, {PerSecond: 2}, {PerSecond: 9}, {PerSecond: 8}}
	if median, low, high := s.of(rate); median != 3 || low != 1 || high != 9 {
		t.Errorf("median %v, low %v, high %v", median, low, high)
	}
}

func TestMachineBusyGrows(t *testing.T) {
	before := machineBusy()
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
	}
	if d := machineBusy() - before; d < 50*time.Millisecond {
		t.Errorf("a busy tenth of a second counts %s", d)
	}
}

func TestLoad(t *testing.T) {
	s := setup{Writers: 2, Length: 50 * time.Millisecond}
	m, err := load(t.Context(), s, func(context.Context, int, int) error {
		time.Sleep(time.Millisecond)
		return nil
	})
	if err != nil || m.Count == 0 || m.P50 < 1 {
		t.Errorf("measured %+v: %v", m, err)
	}
	broken := errors.New("broken")
	if _, err := load(t.Context(), s, func(context.Context, int, int) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

func TestStatementsDiffer(t *testing.T) {
	tmpl, err := newTemplate()
	if err != nil {
		t.Fatal(err)
	}
	a, b := tmpl.about(1), tmpl.about(10_001)
	if len(a) != len(b) || len(a) < entrySize || string(a) == string(b) {
		t.Errorf("statements of %d and %d octets", len(a), len(b))
	}
}
