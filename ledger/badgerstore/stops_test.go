package badgerstore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/journal/journaltest"
)

func openStops(t *testing.T, disk *journaltest.Disk) *badgerstore.Stops {
	t.Helper()
	s, err := badgerstore.OpenStops(disk, "s/stops")
	if err != nil {
		t.Fatalf("opening the emergency-stop journal: %v", err)
	}
	return s
}

func stop(i int) ledger.Stop {
	return ledger.Stop{
		Kind: ledger.StopMission, ID: fmt.Sprintf("msn_%d", i), Actor: "approver", Reason: "agent misbehaves",
		At: time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC),
	}
}

func TestStops(t *testing.T) {
	disk := journaltest.NewDisk()
	s := openStops(t, disk)
	var want []ledger.Stop
	reopened := func() {
		t.Helper()
		for range 2 {
			if got := s.Pending(); !slices.Equal(got, want) {
				t.Fatalf("pending %v, want %v", got, want)
			}
			s.Close()
			s = openStops(t, disk)
		}
	}
	for i := range 10 {
		if err := s.Stop(t.Context(), stop(i)); err != nil {
			t.Fatal(err)
		}
		want = append(want, stop(i))
	}
	reopened()
	if got, ok := s.Stopped(ledger.StopMission, "msn_3"); !ok || got != stop(3) {
		t.Errorf("Stopped = %v, %v", got, ok)
	}
	if _, ok := s.Stopped(ledger.StopPeer, "msn_3"); ok {
		t.Error("a mission's stop covers a peer")
	}
	if _, ok := s.Stopped(ledger.StopMission, "msn_10"); ok {
		t.Error("a stop covers another mission")
	}
	if err := s.Replayed(4); err != nil {
		t.Fatal(err)
	}
	want = want[4:]
	reopened()
	if _, ok := s.Stopped(ledger.StopMission, "msn_3"); ok {
		t.Error("a replayed stop is still in force")
	}
	if err := s.Replayed(7); err == nil {
		t.Error("more stops can be replayed than are pending")
	}
	all := ledger.Stop{Kind: ledger.StopAll, Actor: "operator", At: time.Unix(5, 0).UTC()}
	if err := s.Stop(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	want = append(want, all)
	reopened()
	if got, ok := s.Stopped(ledger.StopPeer, "https://b.example"); !ok || got != all {
		t.Errorf("a stop of everything covers no peer: %v, %v", got, ok)
	}
}

func TestStopsRefuseNonsense(t *testing.T) {
	s := openStops(t, journaltest.NewDisk())
	for _, bad := range []ledger.Stop{
		{}, {Kind: "project", ID: "x"}, {Kind: ledger.StopMission}, {Kind: ledger.StopAll, ID: "x"},
		{Kind: ledger.StopPeer, ID: strings.Repeat("x", 5000)},
		{Kind: ledger.StopPeer, ID: "x", Reason: strings.Repeat("x", 5000)},
	} {
		if err := s.Stop(t.Context(), bad); err == nil {
			t.Errorf("taken: %.80v", bad)
		}
	}
	if got := s.Pending(); len(got) != 0 {
		t.Errorf("pending %v", got)
	}
}

// TestStopsOnAFullDisk: the two segments are there from the start and hold a thousand stops and more.
func TestStopsOnAFullDisk(t *testing.T) {
	disk := journaltest.NewDisk()
	s := openStops(t, disk)
	disk.SetCapacity(disk.Used())
	for i := range 1000 {
		if err := s.Stop(t.Context(), stop(i)); err != nil {
			t.Fatalf("stop %d: %v", i, err)
		}
	}
	s.Close()
	if got := openStops(t, disk).Pending(); len(got) != 1000 {
		t.Errorf("%d stops pending", len(got))
	}
}

// TestStopsFaults breaks every operation in every way: no acknowledged stop is lost, none is forgotten before it was
// replayed, and one that was not acknowledged is in force all the same until the next start.
func TestStopsFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine: the run without the race detector has it")
	}
	total := 0
	run := func(at int, fault journaltest.Fault, keep journaltest.Survivors) {
		disk := journaltest.NewDisk()
		disk.FailAt(at, fault)
		acked, tried := 0, 0
		name := fmt.Sprintf("operation %d, %v, %v", at, fault, keep)
		if s, err := badgerstore.OpenStops(disk, "s/stops"); err == nil {
			for i := range 6 {
				tried++
				if err := s.Stop(t.Context(), stop(i)); err == nil {
					acked++
				}
				if _, ok := s.Stopped(ledger.StopMission, stop(i).ID); !ok {
					t.Fatalf("%s: stop %d is not in force", name, i)
				}
			}
			s.Close()
		}
		total = max(total, disk.Count())
		disk = disk.Restart(keep, rand.New(rand.NewPCG(uint64(at), 5)))
		got := openStops(t, disk).Pending()
		if len(got) < acked || len(got) > tried {
			t.Fatalf("%s: %d stops pending, %d acknowledged, %d tried", name, len(got), acked, tried)
		}
		for i, s := range got {
			if i > 0 && !s.At.After(got[i-1].At) {
				t.Fatalf("%s: stops are repeated or out of order: %v", name, got)
			}
		}
	}
	run(0, journaltest.None, journaltest.KeepNone)
	for _, fault := range journaltest.Faults {
		for _, keep := range journaltest.AllSurvivors {
			for at := 1; at <= total; at++ {
				run(at, fault, keep)
			}
		}
	}
}

// TestOneFailedSyncIsNotTheEnd: a stop whose sync failed is written again.
func TestOneFailedSyncIsNotTheEnd(t *testing.T) {
	disk := journaltest.NewDisk()
	s := openStops(t, disk)
	disk.FailAt(2, journaltest.ErrorBefore)
	if err := s.Stop(t.Context(), stop(1)); err != nil {
		t.Fatalf("Stop = %v", err)
	}
	disk = disk.Restart(journaltest.KeepNone, nil)
	if got := openStops(t, disk).Pending(); len(got) != 1 {
		t.Errorf("pending %v", got)
	}
}

func TestDamagedStopsAreNotIgnored(t *testing.T) {
	disk := journaltest.NewDisk()
	s := openStops(t, disk)
	for i := range 3 {
		if err := s.Stop(t.Context(), stop(i)); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	for _, name := range disk.Names() {
		if data := disk.ReadFile(name); strings.HasSuffix(name, ".seg") {
			data[3*512-400] ^= 1
			disk.WriteFile(name, data)
		}
	}
	if _, err := badgerstore.OpenStops(disk, "s/stops"); !errors.Is(err, ledger.ErrIntegrity) {
		t.Errorf("opening a damaged emergency-stop journal = %v, want ErrIntegrity", err)
	}
}
