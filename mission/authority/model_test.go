package authority_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
)

// A model is one mission as core 3 describes it, written down a second time and as plainly as possible.
type model struct {
	id          string
	state       mission.State
	version     uint64
	expires     time.Time
	until       time.Time // zero: no deadline
	then        mission.Operation
	transitions int
}

func (m *model) over() bool { return m.state != mission.Active && m.state != mission.Suspended }

func (m *model) become(s mission.State) {
	m.state, m.until, m.then = s, time.Time{}, ""
	m.version++
	m.transitions++
}

// ends is what the clock ends for good.
func (m *model) ends(now time.Time) {
	switch {
	case m.over():
	case !now.Before(m.expires):
		m.become(mission.Expired)
	case !m.until.IsZero() && !now.Before(m.until) && m.then == mission.OpRevoke:
		m.become(mission.Revoked)
	}
}

// look is what somebody who asks finds.
func (m *model) look(now time.Time) mission.State {
	m.ends(now)
	if !m.over() && !m.until.IsZero() && !now.Before(m.until) {
		m.become(mission.Active)
	}
	return m.state
}

// move is what a request of an operator comes to: "" or the code of its refusal.
func (m *model) move(now time.Time, op mission.Operation, until time.Time, then mission.Operation, expected *uint64) string {
	if op == mission.OpSuspend && !until.IsZero() && !until.After(now) {
		return "invalid_request"
	}
	// A revocation that is asked for once its deadline has come is that very transition: it need not come twice.
	if own := op == mission.OpRevoke && m.then == mission.OpRevoke && now.Before(m.expires); !own {
		m.ends(now)
	}
	if expected != nil && *expected != m.version {
		return "stale_version"
	}
	switch op {
	case mission.OpRevoke, mission.OpComplete:
		target := map[mission.Operation]mission.State{mission.OpRevoke: mission.Revoked, mission.OpComplete: mission.Completed}[op]
		if m.over() && m.state != target {
			return "conflict"
		}
		if !m.over() {
			m.become(target)
		}
	case mission.OpSuspend:
		if m.over() {
			return "conflict"
		}
		if m.state == mission.Active || !m.until.Equal(until) || m.then != then {
			m.become(mission.Suspended)
			m.until, m.then = until, then
		}
	case mission.OpResume:
		if m.state != mission.Suspended {
			return "conflict"
		}
		m.become(mission.Active)
	}
	return ""
}

// Random histories of several missions, with restarts and time, against the model; afterwards every row is rebuilt from
// the log, and every version is in the evidence.
func TestLifecycleAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := newDomain(t, parts{})
		defer func() { _ = d.log.Stop() }()
		var models []*model
		var asked []struct {
			q     authority.LifecycleRequest
			token string
		}
		steps := rapid.IntRange(5, 40).Draw(rt, "steps")
		for range steps {
			now := d.clock.now()
			kind := rapid.IntRange(0, 11).Draw(rt, "kind")
			if len(models) == 0 {
				kind = 0
			}
			switch kind {
			case 0:
				life := time.Duration(rapid.IntRange(1, 300).Draw(rt, "life")) * time.Second
				models = append(models, &model{id: d.approve(life), state: mission.Active, version: 1, expires: now.Add(life)})
			case 1, 2:
				d.clock.advance(time.Duration(rapid.IntRange(1, 90).Draw(rt, "pass")) * time.Second)
			case 3:
				m := rapid.SampledFrom(models).Draw(rt, "mission")
				if got, want := d.state(m.id), m.look(now); got != want {
					rt.Fatalf("the mission is %s, want %s", got, want)
				}
			case 4:
				d = d.reopen(parts{})
				if err := d.Recover(t.Context()); err != nil {
					rt.Fatal(err)
				}
			case 5:
				if len(asked) == 0 {
					continue
				}
				before := rapid.SampledFrom(asked).Draw(rt, "repeated")
				answer, err := d.Lifecycle(t.Context(), d.as("operator"), before.q)
				if err != nil || answer.Token != before.token {
					rt.Fatalf("a repetition was answered otherwise: %v", err)
				}
			default:
				m := rapid.SampledFrom(models).Draw(rt, "mission")
				q := authority.LifecycleRequest{
					MissionID: m.id,
					Operation: rapid.SampledFrom([]mission.Operation{mission.OpSuspend, mission.OpSuspend, mission.OpSuspend,
						mission.OpResume, mission.OpResume, mission.OpRevoke, mission.OpComplete}).Draw(rt, "op"),
					Nonce: mission.NewSalt(),
				}
				var until time.Time
				if q.Operation == mission.OpSuspend && rapid.Bool().Draw(rt, "deadline") {
					until = now.Add(time.Duration(rapid.IntRange(0, 60).Draw(rt, "until")) * time.Second)
					q.SuspendUntil = mission.FormatTime(until)
					q.OnExpiry = rapid.SampledFrom([]mission.Operation{mission.OpResume, mission.OpRevoke}).Draw(rt, "then")
				}
				if rapid.IntRange(0, 3).Draw(rt, "expecting") == 0 {
					v := m.version - uint64(rapid.IntRange(0, 1).Draw(rt, "stale"))
					q.ExpectedVersion = &v
				}
				want := m.move(now, q.Operation, until, q.OnExpiry, q.ExpectedVersion)
				answer, err := d.Lifecycle(t.Context(), d.as("operator"), q)
				if code(err) != want {
					rt.Fatalf("%+v: got %v, want %q", q, err, want)
				}
				if err != nil {
					continue
				}
				st, _ := d.checkStatus(answer.Token, "operator", m.id, "", q.Nonce)
				if st.Mission.State != m.state || st.Mission.Version != m.version {
					rt.Fatalf("%+v: got %s at version %d, want %s at %d", q, st.Mission.State, st.Mission.Version, m.state, m.version)
				}
				asked = append(asked, struct {
					q     authority.LifecycleRequest
					token string
				}{q, answer.Token})
			}
		}
		transitions := 0
		for _, m := range models {
			if got, want := d.state(m.id), m.look(d.clock.now()); got != want {
				rt.Fatalf("in the end a mission is %s, want %s", got, want)
			}
			transitions += m.transitions
		}
		if n := len(d.transitions()); n != transitions {
			rt.Fatalf("%d transitions in the log, want %d", n, transitions)
		}
		d.sound()
	})
}

// code is the code of a refusal, "" for none.
func code(err error) string {
	if e, ok := errors.AsType[*authority.Error](err); ok {
		return e.Code
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
