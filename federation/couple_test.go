package federation_test

import (
	"slices"
	"testing"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/federation/federationtest"
	"github.com/mission-authority/mas/mission"
)

// upstream is a Mission of a that b depends on, and what b remembers of it.
type upstream struct {
	t    *testing.T
	link federation.Link
	seen federation.Seen
	n    int
}

func newUpstream(t *testing.T, w *two) *upstream {
	return &upstream{t: t, link: federation.Link{
		Upstream: &mission.Upstream{Issuer: w.a.Issuer, ID: mission.NewMissionID(), VersionAtMint: 2,
			AuthorityHash: mission.RawDigest([]byte("authority")), ExpiresAt: mission.FormatTime(now.Add(time.Hour))},
		Entries: []mission.Entry{federationtest.Held(federationtest.Read)},
		Mint:    mintOf(w),
		Ref:     w.atB.Ref,
	}}
}

// answer is an authentic answer with this version and state, still containing the local authority.
func (u *upstream) answer(version uint64, state mission.State) *mission.Status {
	s := &mission.Status{
		Mission: mission.StatusMission{ID: u.link.Upstream.ID, Issuer: u.link.Upstream.Issuer,
			AuthorityHash: u.link.Upstream.AuthorityHash, State: state, Version: version,
			ExpiresAt: u.link.Upstream.ExpiresAt, FreshUntil: "2026-11-21T12:00:05Z"},
		Agreement: &u.link.Ref,
	}
	if state == mission.Active {
		s.AuthorizationDetails = federationtest.RawOf(u.t, []mission.Entry{federationtest.Entry(federationtest.Read)})
	}
	return s
}

// sees applies an observation and reports the effect.
func (u *upstream) sees(kind federation.ObservationKind, s *mission.Status, usable bool) federation.Effect {
	u.t.Helper()
	u.n++
	seen, effect, err := federation.Couple(u.seen, u.link, federation.Observation{
		Kind: kind, Status: s, Usable: usable, Artifact: mission.RawDigest([]byte{byte(u.n)}),
	})
	if err != nil {
		u.t.Fatal(err)
	}
	u.seen = seen
	return effect
}

func (u *upstream) answers(s *mission.Status) federation.Effect {
	u.t.Helper()
	return u.sees(federation.Answered, s, true)
}

// check compares holds, ends and alarms; releases are every other coupling reason when something positive or final is
// known, and none otherwise.
func (u *upstream) check(what string, got federation.Effect, ended, alarm, releases bool, add ...string) {
	u.t.Helper()
	if got.Ended != ended || got.Alarm != alarm || !slices.Equal(got.Add, add) || (len(got.Release) > 0) != releases {
		u.t.Errorf("%s: %+v, want ended=%v alarm=%v add=%v releases=%v", what, got, ended, alarm, add, releases)
	}
	for _, r := range got.Add {
		if slices.Contains(got.Release, r) {
			u.t.Errorf("%s: %s is both set and released", what, r)
		}
	}
	if slices.Contains(got.Release, mission.HoldUpstreamEquivocation) {
		u.t.Errorf("%s: an observation released an equivocation", what)
	}
}

func TestCouplingTable(t *testing.T) {
	w := newTwo(t)
	u := newUpstream(t, w)
	u.check("first answer", u.answers(u.answer(2, mission.Active)), false, false, true)
	u.check("silence within the bound", u.sees(federation.Silent, nil, true), false, false, false)
	u.check("silence past the bound", u.sees(federation.Silent, nil, false), false, false, false,
		mission.HoldUpstreamUnverified)
	u.check("404 after 200", u.sees(federation.Refused, nil, true), false, false, false, mission.HoldUpstreamRefused)
	u.check("back", u.answers(u.answer(2, mission.Active)), false, false, true)
	u.check("suspended", u.answers(u.answer(3, mission.Suspended)), false, false, true, mission.HoldUpstreamSuspended)
	u.check("silence keeps the hold", u.sees(federation.Silent, nil, true), false, false, false)
	u.check("resumed", u.answers(u.answer(4, mission.Active)), false, false, true)
	u.check("late answer", u.sees(federation.Answered, u.answer(4, mission.Active), false), false, false, false,
		mission.HoldUpstreamUnverified)
	u.check("late but not active", u.sees(federation.Answered, u.answer(5, mission.Suspended), false), false, false, false,
		mission.HoldUpstreamSuspended)
	u.check("unknown state", u.answers(u.answer(6, "paused")), false, false, true, mission.HoldUpstreamUnverified)
	u.check("state in another case", u.answers(u.answer(7, "Active")), false, false, true, mission.HoldUpstreamUnverified)

	narrowed := u.answer(8, mission.Active)
	narrowed.Mission.ContainmentVersion = 1
	narrowed.AuthorizationDetails = federationtest.RawOf(t, []mission.Entry{federationtest.Entry(federationtest.Write)})
	u.check("narrowed", u.answers(narrowed), false, false, true, mission.HoldUpstreamNarrowed)
	stateOnly := u.answer(9, mission.Active)
	stateOnly.AuthorizationDetails = mission.Raw{}
	u.check("no entries", u.answers(stateOnly), false, false, true, mission.HoldUpstreamNarrowed)
	other := u.answer(10, mission.Active)
	ref := u.link.Ref
	ref.Version++
	other.Agreement = &ref
	u.check("another agreement", u.answers(other), false, false, true, mission.HoldUpstreamUnverified)
	none := u.answer(11, mission.Active)
	none.Agreement = nil
	u.check("no agreement", u.answers(none), false, false, true, mission.HoldUpstreamUnverified)
	u.check("inside again", u.answers(u.answer(12, mission.Active)), false, false, true)
	for _, state := range []mission.State{mission.Revoked, mission.Expired, mission.Completed, mission.Superseded,
		mission.Cascaded} {
		before := u.seen
		u.check("terminal "+string(state), u.answers(u.answer(13, state)), true, false, false)
		u.seen = before
	}
}

// TestEquivocation: answers that cannot all be true hold the Mission, raise one alarm and keep what was seen first; no
// later answer takes that back.
func TestEquivocation(t *testing.T) {
	w := newTwo(t)
	for name, second := range map[string]func(*upstream) *mission.Status{
		"stale version": func(u *upstream) *mission.Status { return u.answer(2, mission.Active) },
		"same version, other state": func(u *upstream) *mission.Status {
			return u.answer(3, mission.Suspended)
		},
		"same version, other entries": func(u *upstream) *mission.Status {
			s := u.answer(3, mission.Active)
			s.AuthorizationDetails = federationtest.RawOf(t, []mission.Entry{federationtest.Entry("invoice.*")})
			return s
		},
		"another authority hash": func(u *upstream) *mission.Status {
			s := u.answer(4, mission.Active)
			s.Mission.AuthorityHash = mission.RawDigest([]byte("another"))
			return s
		},
		"another expiry": func(u *upstream) *mission.Status {
			s := u.answer(4, mission.Active)
			s.Mission.ExpiresAt = mission.FormatTime(now.Add(9 * time.Hour))
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, w)
			u.check("first", u.answers(u.answer(3, mission.Active)), false, false, true)
			first := u.seen
			got := u.answers(second(u))
			u.check("contradiction", got, false, true, false, mission.HoldUpstreamEquivocation)
			if !got.New {
				t.Error("the second artifact is not kept")
			}
			first.Equivocated = true
			if u.seen != first {
				t.Errorf("remembers %+v, want %+v", u.seen, first)
			}
			u.check("again", u.answers(second(u)), false, false, false, mission.HoldUpstreamEquivocation)
			u.check("later active", u.answers(u.answer(5, mission.Active)), false, false, true,
				mission.HoldUpstreamEquivocation)
			u.check("later terminal", u.answers(u.answer(6, mission.Revoked)), true, false, false)
		})
	}
	u := newUpstream(t, w)
	u.check("before the mint", u.answers(u.answer(1, mission.Active)), false, true, false, mission.HoldUpstreamEquivocation)

	u = newUpstream(t, w)
	u.check("terminal", u.answers(u.answer(3, mission.Revoked)), true, false, false)
	u.check("terminal, then active", u.answers(u.answer(4, mission.Active)), false, true, false,
		mission.HoldUpstreamEquivocation)
}

// TestSameAnswerTwice: fresh_until moves on with every answer and is no contradiction.
func TestSameAnswerTwice(t *testing.T) {
	u := newUpstream(t, newTwo(t))
	u.answers(u.answer(2, mission.Active))
	first := u.seen
	later := u.answer(2, mission.Active)
	later.Mission.FreshUntil = "2026-11-21T12:00:09Z"
	got := u.answers(later)
	u.check("again", got, false, false, true)
	if got.New || u.seen != first {
		t.Errorf("an unchanged upstream was written down again: %+v, %+v", got, u.seen)
	}
}

func TestHoldAt(t *testing.T) {
	sent := now
	for _, tc := range []struct {
		fresh time.Duration
		want  time.Duration
	}{{3 * time.Second, 3 * time.Second}, {5 * time.Second, 5 * time.Second}, {time.Hour, 5 * time.Second}} {
		if got := federation.HoldAt(now.Add(tc.fresh), sent, 5*time.Second); !got.Equal(now.Add(tc.want)) {
			t.Errorf("HoldAt(+%v) = %v, want +%v", tc.fresh, got.Sub(now), tc.want)
		}
		last := now.Add(tc.want)
		if federation.Usable(now.Add(tc.fresh), sent, 5*time.Second, last) {
			t.Errorf("usable at the instant of the hold (+%v)", tc.fresh)
		}
		if !federation.Usable(now.Add(tc.fresh), sent, 5*time.Second, last.Add(-1)) {
			t.Errorf("not usable just before the hold (+%v)", tc.fresh)
		}
	}
	if federation.Usable(now.Add(time.Hour), sent, 5*time.Second, now.Add(-time.Second)) {
		t.Error("usable before it was asked for")
	}
}
