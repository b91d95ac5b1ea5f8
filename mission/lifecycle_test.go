package mission_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/missiontest"
	"pgregory.net/rapid"
)

var (
	states = []mission.State{
		mission.Active, mission.Suspended, mission.Revoked, mission.Expired, mission.Completed, mission.Superseded,
		mission.Cascaded,
	}
	operations = []mission.Operation{
		mission.OpRevoke, mission.OpSuspend, mission.OpResume, mission.OpComplete, mission.OpExpire, mission.OpCascade,
		mission.OpSupersede, mission.OpHold, mission.OpRelease,
	}
)

// standing is a Mission in the given state, version 4, that expires a day after At.
func standing(state mission.State, edits ...func(*mission.Standing)) mission.Standing {
	s := mission.Begin(missiontest.Record())
	s.State, s.Version = state, 4
	if state == mission.Superseded {
		s.Successor = "msn_next"
	}
	for _, edit := range edits {
		edit(&s)
	}
	return s
}

func transition(op mission.Operation) mission.Transition {
	t := mission.Transition{Operation: op}
	switch op {
	case mission.OpHold, mission.OpRelease:
		t.HoldReason = mission.HoldOperator
	case mission.OpSupersede:
		t.Successor = "msn_next"
	}
	return t
}

// The transition table, in full: what each operation does from each state, before and at the instant of expiry.
func TestTransitionTable(t *testing.T) {
	const changed, unchanged, illegal, due = "changed", "unchanged", "illegal", "due"
	open := map[mission.Operation]string{
		mission.OpRevoke: changed, mission.OpComplete: changed, mission.OpCascade: changed, mission.OpHold: changed,
		mission.OpRelease: unchanged, mission.OpExpire: illegal,
	}
	want := func(s mission.State, op mission.Operation) string {
		switch {
		case s == mission.Active && (op == mission.OpSuspend || op == mission.OpSupersede):
			return changed
		case s == mission.Suspended && op == mission.OpSuspend:
			return unchanged
		case s == mission.Suspended && op == mission.OpResume:
			return changed
		case s == mission.Active || s == mission.Suspended:
			if w, ok := open[op]; ok {
				return w
			}
			return illegal
		case target[op] == s && op != mission.OpSupersede:
			return unchanged
		}
		return illegal
	}
	before := missiontest.At.Add(time.Hour)
	expiry := missiontest.At.Add(24 * time.Hour)
	for _, s := range states {
		for _, op := range operations {
			t.Run(fmt.Sprintf("%s %s", s, op), func(t *testing.T) {
				check(t, standing(s), transition(op), before, want(s, op))
				wantExpired := want(s, op)
				if !s.Terminal() {
					wantExpired = due
					if op == mission.OpExpire {
						wantExpired = changed
					}
				}
				check(t, standing(s), transition(op), expiry, wantExpired)
			})
		}
	}
}

var target = map[mission.Operation]mission.State{
	mission.OpRevoke: mission.Revoked, mission.OpSuspend: mission.Suspended, mission.OpResume: mission.Active,
	mission.OpComplete: mission.Completed, mission.OpExpire: mission.Expired, mission.OpCascade: mission.Cascaded,
	mission.OpSupersede: mission.Superseded,
}

func check(t *testing.T, cur mission.Standing, op mission.Transition, at time.Time, want string) {
	t.Helper()
	next, outcome, err := mission.Next(cur, op, at)
	got := string(outcome)
	switch {
	case errors.Is(err, mission.ErrIllegal):
		got = "illegal"
	case errors.Is(err, mission.ErrDue):
		got = "due"
	case err != nil:
		got = err.Error()
	}
	if got != want {
		t.Fatalf("at %s: %s, want %s", at, got, want)
	}
	if want != "changed" {
		if !reflect.DeepEqual(next, cur) {
			t.Errorf("the standing changed to %+v", next)
		}
		return
	}
	if next.Version != cur.Version+1 || next.ChangedAt != mission.FormatTime(at) {
		t.Errorf("version %d at %s", next.Version, next.ChangedAt)
	}
	if state, moves := target[op.Operation]; moves && next.State != state {
		t.Errorf("state %s, want %s", next.State, state)
	}
	if next.State.Terminal() && (len(next.Holds) > 0 || next.SuspendUntil != "" || next.OnExpiry != "") {
		t.Errorf("a terminal standing keeps %+v", next)
	}
}

// At the instant of expires_at a Mission is over, a nanosecond before it is not.
func TestAtTheInstantOfExpiryAMissionIsNotActive(t *testing.T) {
	rec, cur := missiontest.Active()
	expiry := rec.Expires()
	for _, c := range []struct {
		at   time.Time
		want mission.State
	}{
		{expiry.Add(-time.Nanosecond), mission.Active},
		{expiry, mission.Expired},
		{expiry.Add(time.Nanosecond), mission.Expired},
	} {
		state, _ := mission.Effective(rec, cur, c.at)
		if state != c.want {
			t.Errorf("at %s: %s", c.at, state)
		}
		if set := mission.EffectiveSet(rec, cur, c.at); (len(set) > 0) != (c.want == mission.Active) {
			t.Errorf("at %s: %d effective entries", c.at, len(set))
		}
		if _, due := mission.Due(cur, c.at); due != (c.want == mission.Expired) {
			t.Errorf("at %s: due %v", c.at, due)
		}
	}
}

func TestSuspendWithADeadline(t *testing.T) {
	at := missiontest.At.Add(time.Minute)
	until := at.Add(time.Hour)
	rec, cur := missiontest.Active()
	for _, c := range []struct {
		onExpiry mission.Operation
		after    mission.State
	}{{mission.OpResume, mission.Active}, {mission.OpRevoke, mission.Revoked}} {
		s, _, err := mission.Next(cur, mission.Transition{Operation: mission.OpSuspend, SuspendUntil: mission.FormatTime(until), OnExpiry: c.onExpiry}, at)
		if err != nil {
			t.Fatal(err)
		}
		for instant, want := range map[time.Time]mission.State{
			until.Add(-time.Nanosecond): mission.Suspended, until: c.after, until.Add(time.Hour): c.after,
			rec.Expires(): mission.Expired,
		} {
			if state, _ := mission.Effective(rec, s, instant); state != want {
				t.Errorf("on_expiry %s at %s: %s, want %s", c.onExpiry, instant, state, want)
			}
		}
		due, ok := mission.Due(s, until)
		if !ok || due.Operation != c.onExpiry {
			t.Errorf("due %+v, %v", due, ok)
		}
		if next, _, err := mission.Next(s, due, until); err != nil || next.State != c.after || next.SuspendUntil != "" {
			t.Errorf("%+v, %v", next, err)
		}
		if _, _, err := mission.Next(s, transition(mission.OpComplete), until); errors.Is(err, mission.ErrDue) != (c.onExpiry == mission.OpRevoke) {
			t.Errorf("complete after a deadline of %s: %v", c.onExpiry, err)
		}
		if next, _, err := mission.Next(s, transition(mission.OpRevoke), until); err != nil || next.State != mission.Revoked {
			t.Errorf("revoke after a deadline of %s: %v", c.onExpiry, err)
		}
	}
}

func TestSuspendingAgainChangesOnlyTheDeadline(t *testing.T) {
	at := missiontest.At.Add(time.Minute)
	until := mission.FormatTime(at.Add(time.Hour))
	s := standing(mission.Suspended, func(s *mission.Standing) { s.SuspendUntil, s.OnExpiry = until, mission.OpResume })
	for _, c := range []struct {
		name  string
		op    mission.Transition
		wants string
	}{
		{"same", mission.Transition{Operation: mission.OpSuspend, SuspendUntil: until, OnExpiry: mission.OpResume}, "unchanged"},
		{"other end", mission.Transition{Operation: mission.OpSuspend, SuspendUntil: until, OnExpiry: mission.OpRevoke}, "changed"},
		{"later", mission.Transition{Operation: mission.OpSuspend, SuspendUntil: mission.FormatTime(at.Add(2 * time.Hour)), OnExpiry: mission.OpResume}, "changed"},
		{"no deadline", mission.Transition{Operation: mission.OpSuspend}, "changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			check(t, s, c.op, at, c.wants)
			if next, _, _ := mission.Next(s, c.op, at); next.SuspendUntil != c.op.SuspendUntil || next.OnExpiry != c.op.OnExpiry {
				t.Errorf("%+v", next)
			}
		})
	}
}

func TestMalformedTransitions(t *testing.T) {
	at := missiontest.At.Add(time.Minute)
	later := mission.FormatTime(at.Add(time.Hour))
	for _, c := range []struct {
		name string
		op   mission.Transition
	}{
		{"no operation", mission.Transition{}},
		{"unknown operation", mission.Transition{Operation: "discharge"}},
		{"deadline without its end", mission.Transition{Operation: mission.OpSuspend, SuspendUntil: later}},
		{"end without its deadline", mission.Transition{Operation: mission.OpSuspend, OnExpiry: mission.OpResume}},
		{"end of another kind", mission.Transition{Operation: mission.OpSuspend, SuspendUntil: later, OnExpiry: mission.OpComplete}},
		{"deadline of a revocation", mission.Transition{Operation: mission.OpRevoke, SuspendUntil: later, OnExpiry: mission.OpResume}},
		{"deadline now", mission.Transition{Operation: mission.OpSuspend, SuspendUntil: mission.FormatTime(at), OnExpiry: mission.OpResume}},
		{"malformed deadline", mission.Transition{Operation: mission.OpSuspend, SuspendUntil: "tomorrow", OnExpiry: mission.OpResume}},
		{"hold without a reason", mission.Transition{Operation: mission.OpHold}},
		{"hold for prose", mission.Transition{Operation: mission.OpHold, HoldReason: "because I say so"}},
		{"release without a reason", mission.Transition{Operation: mission.OpRelease}},
		{"reason of a revocation", mission.Transition{Operation: mission.OpRevoke, HoldReason: mission.HoldOperator}},
		{"supersede without a successor", mission.Transition{Operation: mission.OpSupersede}},
		{"successor of a completion", mission.Transition{Operation: mission.OpComplete, Successor: "msn_next"}},
	} {
		if _, outcome, err := mission.Next(standing(mission.Active), c.op, at); !errors.Is(err, mission.ErrTransition) || outcome != mission.Unchanged {
			t.Errorf("%s: %s, %v", c.name, outcome, err)
		}
	}
}

func TestExpectedVersion(t *testing.T) {
	at := missiontest.At.Add(time.Minute)
	cur := standing(mission.Revoked)
	for version, want := range map[uint64]error{4: nil, 3: mission.ErrStaleVersion, 5: mission.ErrStaleVersion} {
		op := mission.Transition{Operation: mission.OpRevoke, ExpectedVersion: &version}
		if _, _, err := mission.Next(cur, op, at); !errors.Is(err, want) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// Every hold stops reliance until it is released on its own.
func TestHoldsAreReleasedOneByOne(t *testing.T) {
	at := missiontest.At.Add(time.Minute)
	rec, cur := missiontest.Active(missiontest.Upstream)
	apply := func(op mission.Operation, reason string, want mission.Outcome) {
		t.Helper()
		next, outcome, err := mission.Next(cur, mission.Transition{Operation: op, HoldReason: reason}, at)
		if err != nil || outcome != want {
			t.Fatalf("%s %s: %s, %v", op, reason, outcome, err)
		}
		cur = next
	}
	expect := func(want mission.State, reason string) {
		t.Helper()
		state, hold := mission.Effective(rec, cur, at)
		if state != want || (hold == nil) != (reason == "") || hold != nil && hold.Reason != reason {
			t.Fatalf("%s, %+v", state, hold)
		}
		if set := mission.EffectiveSet(rec, cur, at); (len(set) > 0) != (want == mission.Active) {
			t.Fatalf("%d effective entries while %s", len(set), want)
		}
	}
	expect(mission.Suspended, mission.HoldAwaitingReceipt)
	apply(mission.OpHold, mission.HoldUpstreamUnverified, mission.Changed)
	apply(mission.OpHold, mission.HoldUpstreamUnverified, mission.Unchanged)
	apply(mission.OpRelease, mission.HoldAwaitingReceipt, mission.Changed)
	expect(mission.Suspended, mission.HoldUpstreamUnverified)
	apply(mission.OpRelease, mission.HoldAwaitingReceipt, mission.Unchanged)
	apply(mission.OpRelease, mission.HoldUpstreamUnverified, mission.Changed)
	expect(mission.Active, "")
	if cur.Version != 4 || cur.Holds != nil {
		t.Errorf("%+v", cur)
	}
	apply(mission.OpHold, mission.HoldUpstreamSuspended, mission.Changed)
	if _, _, err := mission.Next(cur, transition(mission.OpResume), at); !errors.Is(err, mission.ErrIllegal) {
		t.Errorf("resume lifted a hold: %v", err)
	}
	suspended, _, err := mission.Next(cur, transition(mission.OpSuspend), at)
	if err != nil || !suspended.HeldFor(mission.HoldUpstreamSuspended) {
		t.Fatalf("%+v, %v", suspended, err)
	}
	resumed, _, err := mission.Next(suspended, transition(mission.OpResume), at)
	if err != nil || !resumed.HeldFor(mission.HoldUpstreamSuspended) {
		t.Fatalf("resume lifted a hold: %+v, %v", resumed, err)
	}
}

func TestNextDoesNotTouchTheStandingItWasGiven(t *testing.T) {
	at := missiontest.At.Add(time.Minute)
	cur := standing(mission.Active, func(s *mission.Standing) {
		s.Holds = []mission.Hold{{Reason: "a", Since: mission.FormatTime(at)}, {Reason: "b", Since: mission.FormatTime(at)}}
	})
	for _, op := range []mission.Transition{
		{Operation: mission.OpRelease, HoldReason: "a"}, {Operation: mission.OpHold, HoldReason: "c"}, {Operation: mission.OpRevoke},
	} {
		if _, _, err := mission.Next(cur, op, at); err != nil {
			t.Fatal(err)
		}
		if len(cur.Holds) != 2 || cur.Holds[0].Reason != "a" || cur.Holds[1].Reason != "b" {
			t.Fatalf("%s changed %+v", op.Operation, cur.Holds)
		}
	}
}

func TestEffectiveFailsClosed(t *testing.T) {
	at := missiontest.At.Add(time.Minute)
	rec, _ := missiontest.Active()
	for _, c := range []struct {
		name string
		edit func(*mission.Standing)
	}{
		{"standing of another mission", func(s *mission.Standing) { s.MissionID = "msn_other" }},
		{"no version", func(s *mission.Standing) { s.Version = 0 }},
		{"no state", func(s *mission.Standing) { s.State = "" }},
		{"unknown state", func(s *mission.Standing) { s.State = "Active" }},
		{"malformed expiry", func(s *mission.Standing) { s.ExpiresAt = "never" }},
		{"no expiry", func(s *mission.Standing) { s.ExpiresAt = "" }},
		{"earlier expiry than the record's", func(s *mission.Standing) { s.ExpiresAt = mission.FormatTime(at) }},
		{"malformed deadline", func(s *mission.Standing) {
			s.State, s.SuspendUntil, s.OnExpiry = mission.Suspended, "soon", mission.OpResume
		}},
		{"unknown end of a deadline", func(s *mission.Standing) {
			s.State, s.SuspendUntil, s.OnExpiry = mission.Suspended, mission.FormatTime(at), "activate"
		}},
		{"held", func(s *mission.Standing) { s.Holds = []mission.Hold{{Reason: "x"}} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := standing(mission.Active, c.edit)
			if state, _ := mission.Effective(rec, s, at); state == mission.Active {
				t.Error("active")
			}
			if set := mission.EffectiveSet(rec, s, at); len(set) != 0 {
				t.Errorf("%d entries", len(set))
			}
		})
	}
	late := missiontest.Record(func(r *mission.Record) { r.ExpiresAt = mission.FormatTime(at.Add(time.Second)) })
	longer := standing(mission.Active)
	if state, _ := mission.Effective(late, longer, at.Add(time.Second)); state != mission.Expired {
		t.Errorf("later expiry than the record's: %s", state)
	}
	if state, _ := mission.Effective(nil, longer, at); state == mission.Active {
		t.Error("active without a record")
	}
}

func TestEffectiveSetWithoutDischargedAndContained(t *testing.T) {
	at := missiontest.At.Add(time.Minute)
	ended := missiontest.Entry(func(e *mission.Entry) {
		e.Actions = []string{"ledger.write"}
		e.Constraints = &mission.Constraints{TerminalWhen: []mission.Condition{{EventType: "closed"}}}
	})
	contained := missiontest.Entry(func(e *mission.Entry) { e.Actions = []string{"mail.send"} })
	left := missiontest.Entry()
	rec, cur := missiontest.Active(func(r *mission.Record) { r.AuthoritySet = []mission.Entry{ended, contained, left, contained} })
	digest := func(e mission.Entry) mission.Digest {
		d, err := mission.EntryDigest(rec.Issuer, e)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if got := mission.EffectiveSet(rec, cur, at); len(got) != 4 {
		t.Fatalf("%d entries before", len(got))
	}
	discharge := func(s *mission.Standing) {
		s.Discharged = []mission.Latch{{Entry: digest(ended), Condition: ended.Constraints.TerminalWhen[0].Digest()}}
	}
	contain := func(s *mission.Standing) { s.Contained = []mission.Digest{digest(contained)} }
	for name, c := range map[string]struct {
		edits []func(*mission.Standing)
		left  []mission.Entry
	}{
		"discharged": {[]func(*mission.Standing){discharge}, []mission.Entry{contained, left, contained}},
		"contained":  {[]func(*mission.Standing){contain}, []mission.Entry{ended, left}},
		"both":       {[]func(*mission.Standing){discharge, contain}, []mission.Entry{left}},
	} {
		s := cur
		for _, edit := range c.edits {
			edit(&s)
		}
		if got := mission.EffectiveSet(rec, s, at); !slices.EqualFunc(got, c.left, mission.Entry.Equal) {
			t.Errorf("%s: left %+v", name, got)
		}
	}
}

func TestForAudienceAndForPeerAreSeparate(t *testing.T) {
	peer := missiontest.PeerIssuer
	crossing := missiontest.Entry(missiontest.Crossing)
	onPeer := missiontest.Entry(func(e *mission.Entry) { e.Resource = peer + "/api" })
	byStatus := missiontest.Entry(missiontest.Crossing, func(e *mission.Entry) { e.Federation.Shapes = []string{mission.ShapeStatus} })
	set := []mission.Entry{crossing, onPeer, byStatus}
	same := func(got, want []mission.Entry) bool {
		a, _ := mission.Marshal(got)
		b, _ := mission.Marshal(want)
		return string(a) == string(b)
	}
	if got := mission.ForPeer(set, peer); !same(got, []mission.Entry{crossing, byStatus}) {
		t.Errorf("for the peer: %+v", got)
	}
	if got := mission.ForPeer(set, peer, mission.ShapeProjection, mission.ShapeLocalMission); !same(got, []mission.Entry{crossing}) {
		t.Errorf("for the peer by projection: %+v", got)
	}
	if got := mission.ForPeer(set, "https://mas.c.example"); len(got) != 0 {
		t.Errorf("for another peer: %+v", got)
	}
	if got := mission.ForAudience(set, peer); !same(got, []mission.Entry{onPeer}) {
		t.Errorf("for the resource server: %+v", got)
	}
	if got := mission.ForAudience(set, missiontest.Resource); !same(got, []mission.Entry{crossing, byStatus}) {
		t.Errorf("for the resource server: %+v", got)
	}
	for _, other := range []string{"", "https://erp.a.example.evil.test", missiontest.Resource + "/a", "https://erp"} {
		if got := mission.ForAudience(set, other); len(got) != 0 {
			t.Errorf("for %q: %+v", other, got)
		}
	}
}

func TestConveyTellsAPeerOnlyItsOwn(t *testing.T) {
	full := fullEntry()
	before, _ := mission.Marshal(full)
	got := mission.Convey([]mission.Entry{full}, missiontest.PeerIssuer)
	if len(got) != 1 {
		t.Fatalf("%d entries", len(got))
	}
	e := got[0]
	if f := e.Federation; f == nil || !reflect.DeepEqual(f.Audiences, full.Federation.Onward) || len(f.Onward) != 0 {
		t.Errorf("federation %+v", f)
	}
	if len(e.Gates) != 0 || e.Constraints.RequiresActionApproval == nil || !*e.Constraints.RequiresActionApproval {
		t.Errorf("a gated entry crosses as %+v", e)
	}
	if e.Validate() != nil {
		t.Error("what crosses is malformed")
	}
	if after, _ := mission.Marshal(full); string(after) != string(before) {
		t.Error("the approved entry changed")
	}
	kept := full
	kept.Gates, kept.Federation = nil, nil
	alone := e
	alone.Federation = nil
	if in, err := mission.Subset(alone, kept); !in || err != nil {
		t.Errorf("crossing dropped a constraint: %+v (%v)", e.Constraints, err)
	}
	bare := missiontest.Entry(missiontest.Crossing)
	got = mission.Convey([]mission.Entry{bare}, missiontest.PeerIssuer)
	if !got[0].Equal(missiontest.Entry()) {
		t.Errorf("a plain entry crosses as %+v", got[0])
	}
	gated := missiontest.Entry(missiontest.Crossing, func(e *mission.Entry) { e.Gates = []string{"stage-1"} })
	if c := mission.Convey([]mission.Entry{gated}, missiontest.PeerIssuer)[0].Constraints; c == nil || !*c.RequiresActionApproval {
		t.Errorf("a gated entry without constraints crosses with %+v", c)
	}
	// A local entry of the peer that would go on to a domain nobody approved is not inside what was conveyed.
	onward := e
	onward.Federation = &mission.Federation{Audiences: []string{"https://mas.e.example"}, Shapes: []string{mission.ShapeStatus}}
	if in, _ := mission.Subset(onward, e); in {
		t.Error("passed on to a domain that was not approved")
	}
}

// Whatever happens, versions grow by one, nothing leaves a terminal state, and the evidence of the transitions rebuilds
// the very same standing.
func TestReplayRebuildsTheStanding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec, cur := missiontest.Active()
		if rapid.Bool().Draw(t, "local") {
			rec, cur = missiontest.Active(missiontest.Upstream)
		}
		rebuilt := mission.Begin(rec)
		at := missiontest.At
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			at = at.Add(time.Duration(rapid.IntRange(1, 4*3600).Draw(t, "seconds")) * time.Second)
			op := transition(rapid.SampledFrom(operations).Draw(t, "operation"))
			if op.Operation == mission.OpSuspend && rapid.Bool().Draw(t, "deadline") {
				op.SuspendUntil = mission.FormatTime(at.Add(time.Hour))
				op.OnExpiry = rapid.SampledFrom([]mission.Operation{mission.OpResume, mission.OpRevoke}).Draw(t, "on expiry")
			}
			if op.HoldReason != "" {
				op.HoldReason = rapid.SampledFrom([]string{mission.HoldAwaitingReceipt, mission.HoldOperator}).Draw(t, "reason")
			}
			if due, ok := mission.Due(cur, at); ok {
				op = due
			}
			next, outcome, err := mission.Next(cur, op, at)
			if err != nil || outcome == mission.Unchanged {
				if !reflect.DeepEqual(next, cur) {
					t.Fatalf("%v, %s: %+v", err, outcome, next)
				}
				continue
			}
			if cur.State.Terminal() || next.Version != cur.Version+1 {
				t.Fatalf("from %s version %d to %s version %d", cur.State, cur.Version, next.State, next.Version)
			}
			rebuilt = throughEvidence(t, rec, rebuilt, mission.NewTransitionRecord(rec.Issuer, cur, next, op.Operation))
			if !reflect.DeepEqual(rebuilt, next) {
				t.Fatalf("rebuilt %+v\nwant    %+v", rebuilt, next)
			}
			cur = next
		}
	})
}

func throughEvidence(t *rapid.T, rec *mission.Record, prior mission.Standing, tr mission.TransitionRecord) mission.Standing {
	body, err := mission.Marshal(tr)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := mission.ParseTransitionRecord(body)
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	next, err := mission.Replay(prior, parsed)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestReplayRefusesAnotherHistory(t *testing.T) {
	at := missiontest.At.Add(time.Minute)
	rec, cur := missiontest.Active()
	next, _, err := mission.Next(cur, transition(mission.OpSuspend), at)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		edit func(*mission.TransitionRecord)
	}{
		{"another mission", func(t *mission.TransitionRecord) { t.MissionID = "msn_other" }},
		{"version skipped", func(t *mission.TransitionRecord) { t.Version++ }},
		{"version repeated", func(t *mission.TransitionRecord) { t.Version-- }},
		{"another prior state", func(t *mission.TransitionRecord) { t.PriorState = mission.Suspended }},
	} {
		tr := mission.NewTransitionRecord(rec.Issuer, cur, next, mission.OpSuspend)
		c.edit(&tr)
		if got, err := mission.Replay(cur, &tr); !errors.Is(err, mission.ErrReplay) || !reflect.DeepEqual(got, cur) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	over := standing(mission.Revoked)
	revived := mission.NewTransitionRecord(rec.Issuer, over, standing(mission.Active, func(s *mission.Standing) { s.Version = 5 }), mission.OpResume)
	if _, err := mission.Replay(over, &revived); !errors.Is(err, mission.ErrReplay) {
		t.Errorf("a terminal state was left: %v", err)
	}
}
