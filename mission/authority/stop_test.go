package authority_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
)

// While the log cannot be written, a revocation goes to the journal, is in force at once, and reaches the log with the
// next start, once.
func TestRevocationWithoutLog(t *testing.T) {
	for _, fault := range []ledgertest.Fault{ledgertest.NotApplied, ledgertest.Applied} {
		t.Run(fault.String(), func(t *testing.T) {
			m := ledgertest.NewMemory()
			store := ledgertest.NewFaultStore(m.Open())
			d := newDomain(t, parts{store: store})
			id, other := d.approve(time.Hour), d.approve(time.Hour)
			store.Inject(1, fault)
			revoke := authority.LifecycleRequest{MissionID: id, Operation: mission.OpRevoke, Nonce: "n", Reason: "now"}
			for range 2 {
				answer, err := d.Lifecycle(t.Context(), d.as("approver"), revoke)
				if err != nil || !answer.Stopped || answer.Token != "" {
					t.Fatalf("revocation: %+v, %v", answer, err)
				}
			}
			if n := len(d.stops.Pending()); n != 1 {
				t.Errorf("%d stops are pending", n)
			}
			_, _, err := d.status("agent-1", id, "")
			refusedAs(t, err, "unavailable", "emergency_stop")
			if s := d.state(other); s != mission.Active {
				t.Errorf("another mission is %s", s)
			}
			// Who may not revoke may not stop, and nothing else goes to the journal.
			for caller, op := range map[string]mission.Operation{"agent-2": mission.OpRevoke, "pep": mission.OpRevoke, "operator": mission.OpSuspend} {
				_, err := d.move(caller, other, op)
				if err == nil || len(d.stops.Pending()) != 1 {
					t.Errorf("%s: %s: %v, %d pending", caller, op, err, len(d.stops.Pending()))
				}
			}

			_ = d.log.Stop()
			d = startDomain(t, parts{store: m.Open(), vault: d.log.Vault, keys: d.log.Keys, stops: d.stops, clock: d.clock})
			_, err = d.Lifecycle(t.Context(), d.as("operator"), authority.LifecycleRequest{MissionID: other, Operation: mission.OpRevoke, Nonce: "early"})
			if err != nil {
				t.Errorf("a revocation before the start has finished: %v", err)
			}
			if err := d.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := len(d.stops.Pending()); n != 0 {
				t.Errorf("%d stops are still pending", n)
			}
			for _, id := range []string{id, other} {
				if s := d.state(id); s != mission.Revoked {
					t.Errorf("after the start: %s", s)
				}
			}
			revocations := 0
			for _, tr := range d.transitions() {
				if tr.Operation != mission.OpRevoke {
					t.Errorf("transition %+v", tr)
				}
				if string(tr.MissionID) == id {
					revocations++
					if fault == ledgertest.NotApplied && (tr.Actor != "approver" || tr.Reason != "now") {
						t.Errorf("transition %+v", tr)
					}
				}
			}
			if revocations != 1 {
				t.Errorf("revoked %d times", revocations)
			}
			if n := len(of(d.entries(), mission.ContentEmergencyStop)); n != 2 {
				t.Errorf("%d stops are logged", n)
			}
			d.sound()
		})
	}
}

// With the integrity latch closed nothing can be read; an operator can still stop.
func TestRevocationWithoutIntegrity(t *testing.T) {
	m := ledgertest.NewMemory()
	d := newDomain(t, parts{store: m.Open()})
	id := d.approve(time.Hour)
	m.Corrupt(ledger.RowHashKey("mission/"+id+"/state"), make([]byte, 32))
	d = d.reopenDamaged(m)
	if _, _, err := d.status("agent-1", id, ""); err == nil {
		t.Fatal("a status was signed")
	}
	answer, err := d.Lifecycle(t.Context(), d.as("operator"), authority.LifecycleRequest{MissionID: id, Operation: mission.OpRevoke, Nonce: "n"})
	if err != nil || !answer.Stopped {
		t.Errorf("an operator's revocation: %+v, %v", answer, err)
	}
	if len(d.stops.Pending()) != 1 {
		t.Error("nothing is pending")
	}
	if _, err := d.move("agent-2", id, mission.OpRevoke); err == nil || len(d.stops.Pending()) != 1 {
		t.Errorf("an agent's revocation: %v", err)
	}
}

// reopenDamaged starts another process over a store that was changed behind the log's back.
func (d *domain) reopenDamaged(m *ledgertest.Memory) *domain {
	d.Helper()
	_ = d.log.Stop()
	next := startDomain(d.TB, parts{store: m.Open(), vault: d.log.Vault, keys: d.log.Keys, stops: d.stops, clock: d.clock})
	if err := next.Recover(d.ctx()); err != nil {
		d.Logf("recover: %v", err)
	}
	return next
}

// A stop of everything suspends everything that stands, and approves nothing meanwhile.
func TestStopAll(t *testing.T) {
	d := newDomain(t, parts{})
	var standing []string
	for range 150 {
		standing = append(standing, d.approve(time.Hour))
	}
	over := d.approve(time.Hour)
	d.mustMove("operator", over, mission.OpRevoke)
	held := d.approve(time.Hour)
	d.mustMove("operator", held, mission.OpSuspend)
	waiting := d.submit(time.Hour)
	s := d.review(waiting)
	if err := d.stops.Stop(t.Context(), ledger.Stop{Kind: ledger.StopAll, Actor: "operator", Reason: "fire", At: d.clock.now()}); err != nil {
		t.Fatal(err)
	}
	_, err := d.decide(waiting, s, "approve")
	refusedAs(t, err, "unavailable", "emergency_stop")
	_, err = d.move("operator", held, mission.OpResume)
	refusedAs(t, err, "unavailable", "emergency_stop")

	d = d.reopen(parts{})
	if err := d.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, id := range append(standing, held) {
		if s := d.state(id); s != mission.Suspended {
			t.Fatalf("a mission is %s", s)
		}
	}
	if s := d.state(over); s != mission.Revoked {
		t.Errorf("a mission that was over is %s", s)
	}
	d.mustMove("operator", standing[7], mission.OpResume)
	if s := d.state(standing[7]); s != mission.Active {
		t.Errorf("resumed: %s", s)
	}
	if n := len(of(d.entries(), mission.ContentEmergencyStop)); n != 1 {
		t.Errorf("%d stops are logged", n)
	}
	d.sound()
}

// A stop for a mission that this log does not know is written down and does not block the start.
func TestStopOfUnknown(t *testing.T) {
	d := newDomain(t, parts{})
	unknown := "msn_" + strings.Repeat("A", 32)
	for _, s := range []ledger.Stop{
		{Kind: ledger.StopMission, ID: unknown, Actor: "operator"},
		{Kind: ledger.StopPeer, ID: "https://mas.b.example", Actor: "operator"},
	} {
		if err := d.stops.Stop(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	d = d.reopen(parts{})
	if err := d.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(of(d.entries(), mission.ContentEmergencyStop)); n != 2 || len(d.stops.Pending()) != 0 {
		t.Errorf("%d stops are logged, %d pending", n, len(d.stops.Pending()))
	}
	d.sound()
}

// A journal that cannot be written either: the caller is told that nothing happened.
func TestStopsFail(t *testing.T) {
	store := ledgertest.NewFaultStore(ledgertest.NewStore())
	d := newDomain(t, parts{store: store})
	id := d.approve(time.Hour)
	store.Inject(1, ledgertest.NotApplied)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := d.Submit(ctx, d.as("agent-1"), d.submission(time.Hour)); err == nil {
		t.Fatal("the log was written")
	}
	cancel()
	answer, err := d.Lifecycle(ctx, d.as("operator"), authority.LifecycleRequest{MissionID: id, Operation: mission.OpRevoke, Nonce: "n"})
	if err == nil || answer.Stopped || len(d.stops.Pending()) != 0 {
		t.Errorf("%+v, %v", answer, err)
	}
}

func TestRefusalsAreEvidence(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.approve(time.Hour)
	for range 10 {
		_, _, err := d.status("stranger", id, "")
		refusedAs(t, err, "not_found", "")
	}
	for range 3 {
		_, err := d.Submit(t.Context(), d.as("agent-1"), d.submission(time.Hour, `"secret":"Reconcile"`))
		refusedAs(t, err, "invalid_mission_intent", "secret")
	}
	forbidden := &authority.Error{Kind: authority.Forbidden, Code: "access_denied"}
	d.Refused(t.Context(), d.as("pep"), "submit", "not an id!", forbidden)
	d.Refused(t.Context(), authority.Caller{}, "submit", "", forbidden)
	d.Refused(t.Context(), d.as("pep"), "submit", "", errors.New("no refusal"))

	refusals := of(d.entries(), mission.ContentRefusal)
	counts := map[string]int{}
	for _, e := range refusals {
		var r struct {
			Principal string `json:"principal"`
			Code      string `json:"code"`
			Target    string `json:"target,omitempty"`
		}
		if err := mission.DecodeOpen(e.Body, &r); err != nil {
			t.Fatal(err)
		}
		counts[r.Principal+" "+r.Code]++
		if r.Target != "" && r.Target != id || strings.Contains(string(e.Body), "Reconcile") {
			t.Errorf("refusal %s", e.Body)
		}
	}
	if counts["stranger not_found"] != 4 || counts["agent-1 invalid_mission_intent"] != 3 || counts["pep access_denied"] != 1 || len(counts) != 3 {
		t.Errorf("refusals %v", counts)
	}

	// The end of Run writes what was only counted, without a reason and a target.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Run(ctx); err != nil {
		t.Fatal(err)
	}
	digests := of(d.entries(), mission.ContentRefusalDigest)
	if len(digests) != 1 || !strings.Contains(string(digests[0].Body),
		`"counts":[{"code":"not_found","count":6,"operation":"status","principal":"stranger"}]`) {
		t.Errorf("digests %v", digests)
	}
	if err := d.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(of(d.entries(), mission.ContentRefusalDigest)); n != 1 {
		t.Errorf("%d digests after a minute without refusals", n)
	}
	d.sound()
}
