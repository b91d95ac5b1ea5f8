package mission_test

import (
	"errors"
	"testing"
	"time"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/missiontest"
)

func request(edits ...func(*mission.StatusRequest)) mission.StatusRequest {
	r := mission.StatusRequest{
		Requester: "peer-b",
		Audience:  missiontest.PeerIssuer,
		Peer:      missiontest.PeerIssuer,
		Nonce:     "nonce-1",
		TTL:       time.Minute,
		MaxStale:  5 * time.Second,
	}
	for _, edit := range edits {
		edit(&r)
	}
	return r
}

func asking(at time.Time, edits ...func(*mission.StatusContext)) mission.StatusContext {
	c := mission.StatusContext{
		At:             at,
		Issuer:         missiontest.Issuer,
		Audience:       missiontest.PeerIssuer,
		Requester:      "peer-b",
		Nonce:          "nonce-1",
		MissionID:      missiontest.Record().ID,
		Skew:           mission.MaxSkew,
		FreshTolerance: mission.MaxSkew,
	}
	for _, edit := range edits {
		edit(&c)
	}
	return c
}

func payload(t testing.TB, s *mission.Status) []byte {
	t.Helper()
	b, err := mission.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func report(t testing.TB, rec *mission.Record, cur mission.Standing, at time.Time, edits ...func(*mission.StatusRequest)) *mission.Status {
	t.Helper()
	s, err := mission.NewStatus(rec, cur, request(edits...), at)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStatusOfEveryState(t *testing.T) {
	at := missiontest.At.Add(time.Minute)
	rec := missiontest.Record()
	for _, state := range states {
		s := report(t, rec, standing(state), at)
		got, verdict := mission.CheckStatus(payload(t, s), asking(at))
		want := mission.NonActive
		if state == mission.Active {
			want = mission.Accept
		}
		if verdict != want || got == nil || got.Mission.State != state || got.Mission.Version != 4 {
			t.Errorf("%s: %s, %+v", state, verdict, got)
			continue
		}
		known, dropped, err := got.Entries()
		if err != nil || dropped != 0 || (len(known) == 1) != (state == mission.Active) {
			t.Errorf("%s: %d entries, %d dropped, %v", state, len(known), dropped, err)
		}
	}
	held := standing(mission.Active, func(s *mission.Standing) {
		s.Holds = []mission.Hold{{Reason: "operator", Since: mission.FormatTime(at)}}
	})
	s := report(t, rec, held, at)
	if s.Mission.State != mission.Suspended || s.Mission.Hold == nil || s.Mission.Hold.Reason != "operator" {
		t.Errorf("held: %+v", s.Mission)
	}
}

// A state that the clock has changed is not reported before it is committed.
func TestStatusWaitsForTheClock(t *testing.T) {
	rec, cur := missiontest.Active()
	if s, err := mission.NewStatus(rec, cur, request(), rec.Expires()); !errors.Is(err, mission.ErrDue) {
		t.Errorf("%+v, %v", s, err)
	}
	suspended := standing(mission.Suspended, func(s *mission.Standing) {
		s.SuspendUntil, s.OnExpiry = mission.FormatTime(missiontest.At.Add(time.Hour)), mission.OpResume
	})
	if s, err := mission.NewStatus(rec, suspended, request(), missiontest.At.Add(time.Hour)); !errors.Is(err, mission.ErrDue) {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := mission.NewStatus(rec, standing(mission.Active, func(s *mission.Standing) { s.MissionID = "msn_other" }), request(), missiontest.At); err == nil {
		t.Errorf("%+v", s)
	}
}

func TestFreshUntilHasThreeBounds(t *testing.T) {
	rec, cur := missiontest.Active()
	at := missiontest.At.Add(time.Minute + 900*time.Millisecond)
	for _, c := range []struct {
		name string
		at   time.Time
		edit func(*mission.StatusRequest)
		want time.Time // zero if refused
	}{
		{"max stale, rounded down", at, func(r *mission.StatusRequest) {}, missiontest.At.Add(65 * time.Second)},
		{"coupling", at, func(r *mission.StatusRequest) { r.NotAfter = at.Add(2100 * time.Millisecond) }, missiontest.At.Add(63 * time.Second)},
		{"coupling that is later", at, func(r *mission.StatusRequest) { r.NotAfter = at.Add(time.Hour) }, missiontest.At.Add(65 * time.Second)},
		{"coupling that is over", at, func(r *mission.StatusRequest) { r.NotAfter = at }, time.Time{}},
		{"expiry", rec.Expires().Add(-time.Second), func(r *mission.StatusRequest) {}, rec.Expires()},
	} {
		s, err := mission.NewStatus(rec, cur, request(c.edit), c.at)
		if (err != nil) != c.want.IsZero() || err == nil && s.Mission.FreshUntil != mission.FormatTime(c.want) {
			t.Errorf("%s: %+v, %v", c.name, s, err)
		}
	}
}

func TestStatusShowsOnlyTheAudience(t *testing.T) {
	at := missiontest.At.Add(time.Minute)
	crossing := missiontest.Entry(missiontest.Crossing)
	home := missiontest.Entry(func(e *mission.Entry) { e.Actions = []string{"ledger.read"} })
	rec, cur := missiontest.Active(func(r *mission.Record) { r.AuthoritySet = []mission.Entry{crossing, home} })
	for _, c := range []struct {
		name string
		edit func(*mission.StatusRequest)
		aud  string
		want int // -1: none given
	}{
		{"peer", func(r *mission.StatusRequest) {}, missiontest.PeerIssuer, 1},
		{"another peer", func(r *mission.StatusRequest) { r.Peer = "https://mas.c.example" }, missiontest.PeerIssuer, 0},
		{"resource server", func(r *mission.StatusRequest) { r.Peer, r.Audience = "", missiontest.Resource }, missiontest.Resource, 2},
		{"another resource server", func(r *mission.StatusRequest) { r.Peer, r.Audience = "", "https://crm.a.example" }, "https://crm.a.example", 0},
		{"state only", func(r *mission.StatusRequest) { r.Peer, r.Audience = "", "" }, "peer-b", -1},
	} {
		s := report(t, rec, cur, at, c.edit)
		known, _, err := s.Entries()
		if err != nil || s.Aud != c.aud || s.Sub != "peer-b" {
			t.Errorf("%s: aud %s, sub %s, %v", c.name, s.Aud, s.Sub, err)
		}
		if len(known) != max(c.want, 0) || s.AuthorizationDetails.IsZero() != (c.want < 0) {
			t.Errorf("%s: %s", c.name, s.AuthorizationDetails.Bytes())
		}
	}
}

func TestNewStatusRefuses(t *testing.T) {
	rec, cur := missiontest.Active()
	shortest := func(r *mission.StatusRequest) { r.TTL, r.MaxStale = time.Second, time.Second }
	if _, err := mission.NewStatus(rec, cur, request(shortest), missiontest.At); err != nil {
		t.Errorf("a second of life: %v", err)
	}
	for name, edit := range map[string]func(*mission.StatusRequest){
		"no requester": func(r *mission.StatusRequest) { r.Requester = "" },
		"no nonce":     func(r *mission.StatusRequest) { r.Nonce = "" },
		"no life":      func(r *mission.StatusRequest) { r.TTL = 0 },
		"no bound":     func(r *mission.StatusRequest) { r.MaxStale = 0 },
	} {
		if s, err := mission.NewStatus(rec, cur, request(edit), missiontest.At); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// Every check of the claims fails on its own, also when the claim is absent or of another type, and in the order that
// is written down.
func TestCheckStatusClaimByClaim(t *testing.T) {
	at := missiontest.At.Add(time.Minute)
	rec, cur := missiontest.Active()
	good := payload(t, report(t, rec, cur, at))
	edit := func(path []string, v any) []byte {
		var doc map[string]any
		if err := mission.Decode(good, &doc); err != nil {
			t.Fatal(err)
		}
		m := doc
		for _, p := range path[:len(path)-1] {
			m = m[p].(map[string]any)
		}
		last := path[len(path)-1]
		if v == nil {
			delete(m, last)
		} else {
			m[last] = v
		}
		b, err := mission.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	iat := float64(at.Unix())
	for _, c := range []struct {
		name    string
		payload []byte
		want    mission.Verdict
	}{
		{"as made", good, mission.Accept},
		{"extended by the issuer", edit([]string{"mission", "new"}, "x"), mission.Accept},
		{"iss", edit([]string{"iss"}, missiontest.PeerIssuer), mission.RejectIss},
		{"iss with a slash", edit([]string{"iss"}, missiontest.Issuer+"/"), mission.RejectIss},
		{"no iss", edit([]string{"iss"}, nil), mission.RejectIss},
		{"aud", edit([]string{"aud"}, "https://mas.c.example"), mission.RejectAud},
		{"no aud", edit([]string{"aud"}, nil), mission.RejectAud},
		{"list of aud", edit([]string{"aud"}, []any{missiontest.PeerIssuer}), mission.RejectAud},
		{"sub", edit([]string{"sub"}, "peer-c"), mission.RejectSub},
		{"no sub", edit([]string{"sub"}, nil), mission.RejectSub},
		{"nonce", edit([]string{"nonce"}, "nonce-2"), mission.RejectNonce},
		{"no nonce", edit([]string{"nonce"}, nil), mission.RejectNonce},
		{"mission.id", edit([]string{"mission", "id"}, "msn_other"), mission.RejectMission},
		{"mission.issuer", edit([]string{"mission", "issuer"}, missiontest.PeerIssuer), mission.RejectMission},
		{"no mission", edit([]string{"mission"}, nil), mission.RejectMission},
		{"mission of text", edit([]string{"mission"}, "x"), mission.RejectMission},
		{"iat 30 s ahead", edit([]string{"iat"}, iat+30), mission.Accept},
		{"iat 31 s ahead", edit([]string{"iat"}, iat+31), mission.RejectIat},
		{"iat of text", edit([]string{"iat"}, "1"), mission.RejectIat},
		{"iat with a fraction", edit([]string{"iat"}, iat+0.5), mission.RejectIat},
		{"no iat", edit([]string{"iat"}, nil), mission.RejectIat},
		{"exp 30 s past", edit([]string{"exp"}, iat-30), mission.Accept},
		{"exp 31 s past", edit([]string{"exp"}, iat-31), mission.RejectExp},
		{"no exp", edit([]string{"exp"}, nil), mission.RejectExp},
		{"state in another case", edit([]string{"mission", "state"}, "ACTIVE"), mission.NonActive},
		{"unknown state", edit([]string{"mission", "state"}, "dormant"), mission.NonActive},
		{"no state", edit([]string{"mission", "state"}, nil), mission.RejectPayload},
		{"no version", edit([]string{"mission", "version"}, nil), mission.RejectPayload},
		{"version 0", edit([]string{"mission", "version"}, 0.0), mission.RejectPayload},
		{"malformed fresh_until", edit([]string{"mission", "fresh_until"}, "soon"), mission.RejectPayload},
		{"malformed authority_hash", edit([]string{"mission", "authority_hash"}, "sha-256:x"), mission.RejectPayload},
		{"miscased claim beside", edit([]string{"mission", "State"}, "active"), mission.RejectPayload},
		{"fresh_until 30 s past", edit([]string{"mission", "fresh_until"}, mission.FormatTime(at.Add(-30*time.Second))), mission.Accept},
		{"fresh_until 31 s past", edit([]string{"mission", "fresh_until"}, mission.FormatTime(at.Add(-31*time.Second))), mission.Stale},
		{"not JSON", []byte("x"), mission.RejectPayload},
		{"list", []byte("[]"), mission.RejectPayload},
		{"duplicate claim", []byte(`{"iss":"a","iss":"a"}`), mission.RejectPayload},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, verdict := mission.CheckStatus(c.payload, asking(at))
			if verdict != c.want {
				t.Errorf("%s, want %s", verdict, c.want)
			}
			if (s != nil) != verdict.Authentic() {
				t.Errorf("status %+v for %s", s, verdict)
			}
		})
	}
}

// What relies on a report has no tolerance: at the instant of fresh_until and of exp it is over.
func TestWithoutToleranceAReportEndsOnTime(t *testing.T) {
	at := missiontest.At.Add(time.Minute)
	rec, cur := missiontest.Active()
	s := report(t, rec, cur, at, func(r *mission.StatusRequest) { r.TTL = 10 * time.Second })
	strict := func(c *mission.StatusContext) { c.Skew, c.FreshTolerance = 0, 0 }
	for after, want := range map[time.Duration]mission.Verdict{
		-time.Second:                     mission.RejectIat,
		0:                                mission.Accept,
		5*time.Second - time.Nanosecond:  mission.Accept,
		5 * time.Second:                  mission.Stale,
		10*time.Second - time.Nanosecond: mission.Stale,
		10 * time.Second:                 mission.RejectExp,
	} {
		if _, verdict := mission.CheckStatus(payload(t, s), asking(at.Add(after), strict)); verdict != want {
			t.Errorf("after %s: %s, want %s", after, verdict, want)
		}
	}
	generous := func(c *mission.StatusContext) { c.Skew, c.FreshTolerance = time.Hour, time.Hour }
	if _, verdict := mission.CheckStatus(payload(t, s), asking(at.Add(36*time.Second), generous)); verdict != mission.Stale {
		t.Errorf("tolerances are not bounded: %s", verdict)
	}
}

// Whoever asks must know what it asked: an empty expectation accepts nothing.
func TestCheckStatusNeedsEveryExpectation(t *testing.T) {
	at := missiontest.At.Add(time.Minute)
	rec, cur := missiontest.Active()
	good := payload(t, report(t, rec, cur, at))
	for want, edit := range map[mission.Verdict]func(*mission.StatusContext){
		mission.RejectIss:     func(c *mission.StatusContext) { c.Issuer = "" },
		mission.RejectAud:     func(c *mission.StatusContext) { c.Audience = "" },
		mission.RejectSub:     func(c *mission.StatusContext) { c.Requester = "" },
		mission.RejectNonce:   func(c *mission.StatusContext) { c.Nonce = "" },
		mission.RejectMission: func(c *mission.StatusContext) { c.MissionID = "" },
	} {
		if _, verdict := mission.CheckStatus(good, asking(at, edit)); verdict != want {
			t.Errorf("%s, want %s", verdict, want)
		}
	}
}

func TestFresh(t *testing.T) {
	for _, c := range []struct {
		state          mission.State
		past, maxStale time.Duration
		want           bool
	}{
		{mission.Active, -time.Second, time.Minute, true},
		{mission.Active, 30 * time.Second, time.Minute, true},
		{mission.Active, 30*time.Second + 1, time.Minute, false},
		{mission.Active, 6 * time.Second, 5 * time.Second, false},
		{mission.Active, 1, 0, false},
		{mission.Suspended, 0, time.Minute, true},
		{mission.Suspended, 1, time.Minute, false},
		{"unknown", 1, time.Minute, false},
	} {
		if got := mission.Fresh(c.state, c.past, c.maxStale); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func FuzzStatus(f *testing.F) {
	at := missiontest.At.Add(time.Minute)
	rec, cur := missiontest.Active()
	f.Add(payload(f, report(f, rec, cur, at)))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, verdict := mission.CheckStatus(data, asking(at))
		if (s != nil) != verdict.Authentic() {
			t.Fatalf("%s with %+v", verdict, s)
		}
		if verdict == mission.Accept && (s.Mission.State != mission.Active || s.Sub != "peer-b" || s.Nonce != "nonce-1") {
			t.Fatalf("accepted %+v", s)
		}
	})
}
