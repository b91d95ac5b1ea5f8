package authority_test

import (
	"testing"
	"time"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
)

func TestClockBehindTheLog(t *testing.T) {
	d := newDomain(t, parts{})
	id, over := d.approve(time.Hour), d.approve(time.Hour)
	waiting := d.submit(time.Hour)
	d.mustMove("operator", over, mission.OpSuspend)
	s := d.review(waiting)
	d.clock.advance(-10 * time.Second)

	_, _, err := d.status("agent-1", id, "")
	refusedAs(t, err, "unavailable", "clock_doubt")
	_, err = d.decide(waiting, s, "approve")
	if err == nil {
		t.Error("a mission was approved")
	}
	_, err = d.move("operator", over, mission.OpResume)
	refusedAs(t, err, "unavailable", "clock_doubt")

	// What is not positive goes on.
	if st, _, err := d.status("agent-1", over, ""); err != nil || st.Mission.State != mission.Suspended {
		t.Errorf("status %+v, %v", st, err)
	}
	if st := d.mustMove("approver", id, mission.OpRevoke); st.Mission.State != mission.Revoked {
		t.Errorf("revoked: %+v", st)
	}

	// It passes, or an operator accepts the clock in the log.
	_, err = d.move("agent-1", over, mission.OpRevoke)
	refusedAs(t, err, "not_found", "")
	if err := d.AcceptClock(t.Context(), d.as("agent-1")); err == nil {
		t.Error("an agent accepted the clock")
	}
	if err := d.AcceptClock(t.Context(), d.as("operator")); err != nil {
		t.Fatal(err)
	}
	if n := len(of(d.entries(), "application/mas-clock-accepted+json")); n != 1 {
		t.Errorf("%d acceptances are logged", n)
	}
	d.mustMove("operator", over, mission.OpSuspend, func(q *authority.LifecycleRequest) {
		q.SuspendUntil, q.OnExpiry = mission.FormatTime(d.clock.now().Add(time.Minute)), mission.OpResume
	})
	if st, _, err := d.status("agent-1", over, ""); err != nil || st.Mission.State != mission.Suspended {
		t.Errorf("status %+v, %v", st, err)
	}
	d.sound()
}

func TestClockDoubtPasses(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.approve(time.Hour)
	d.clock.advance(-10 * time.Second)
	_, _, err := d.status("agent-1", id, "")
	refusedAs(t, err, "unavailable", "clock_doubt")
	d.clock.advance(10 * time.Second)
	if s := d.state(id); s != mission.Active {
		t.Errorf("after the doubt: %s", s)
	}
}

// A step forward serves no deadline: what it ended would be over for good.
func TestClockStepsForward(t *testing.T) {
	d := newDomain(t, parts{})
	id, other := d.approve(time.Hour), d.approve(time.Hour)
	d.clock.advance(4 * time.Minute)
	d.StepClock(4 * time.Minute)
	if s := d.state(id); s != mission.Active {
		t.Errorf("after a small step: %s", s)
	}
	d.clock.advance(2 * time.Hour)
	d.StepClock(2*time.Hour + 4*time.Minute)
	_, _, err := d.status("agent-1", id, "")
	refusedAs(t, err, "unavailable", "clock_doubt")
	if _, err := d.Lifecycle(t.Context(), d.as("approver"), authority.LifecycleRequest{
		MissionID: other, Operation: mission.OpRevoke, Nonce: "n",
	}); err != nil {
		t.Errorf("revoking in doubt: %v", err)
	}
	if tr := d.transitions(); len(tr) != 1 || tr[0].Operation != mission.OpRevoke || string(tr[0].MissionID) != other {
		t.Errorf("transitions %+v", tr)
	}

	// The step is undone, but the log wrote the wrong time down: only an operator can say that the clock is right again.
	d.clock.advance(-2 * time.Hour)
	d.StepClock(4 * time.Minute)
	_, _, err = d.status("agent-1", id, "")
	refusedAs(t, err, "unavailable", "clock_doubt")
	if err := d.AcceptClock(t.Context(), d.as("operator")); err != nil {
		t.Fatal(err)
	}
	if s := d.state(id); s != mission.Active {
		t.Errorf("after the clock was accepted: %s", s)
	}
	d.sound()
}
