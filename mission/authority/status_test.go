package authority_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
)

// Who may read what. Unknown, not granted and not visible are one answer.
func TestStatusGrants(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.approve(time.Hour)
	const erp = "https://erp.a.example"
	may := map[[2]string]bool{
		{"agent-1", ""}: true, {"approver", ""}: true, {"operator", ""}: true, {"night-shift", ""}: true,
		{"pep", ""}: true, {"pep", erp}: true,
	}
	told := map[string]bool{}
	for _, caller := range []string{"agent-1", "agent-2", "daemon", "approver", "other-approver", "operator", "night-shift", "pep", "stranger", "admin"} {
		for _, audience := range []string{"", erp, "https://other.a.example", "https://erp.a.example/invoices"} {
			st, verdict, err := d.status(caller, id, audience)
			if !may[[2]string{caller, audience}] {
				refusedAs(t, err, "not_found", "")
				told[describe(t, err)] = true
				continue
			}
			if err != nil || verdict != mission.Accept {
				t.Errorf("%s asks for %q: %v, %v", caller, audience, verdict, err)
				continue
			}
			if st.AuthorizationDetails.IsZero() != (audience == "") {
				t.Errorf("%s asks for %q and is told %s", caller, audience, st.AuthorizationDetails.Bytes())
			}
		}
	}
	for _, unknown := range []string{"msn_" + strings.Repeat("A", 32), "", "x", "msn_\x00", strings.Repeat("a", 5000)} {
		_, _, err := d.status("pep", unknown, erp)
		refusedAs(t, err, "not_found", "")
		told[describe(t, err)] = true
	}
	if len(told) != 1 {
		t.Errorf("refusals differ: %v", told)
	}
	d.sound()
}

func TestStatusNonce(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.approve(time.Hour)
	for _, n := range []string{"x", `"`, `\`, `","sub":"somebody`, `"nonce":"-"`, strings.Repeat("~", 255)} {
		for range 2 { // decided, then from memory
			token, err := d.Status(t.Context(), d.as("pep"), authority.StatusQuery{MissionID: id, Audience: "https://erp.a.example", Nonce: n})
			if err != nil {
				t.Fatal(err)
			}
			d.checkStatus(token, "pep", id, "https://erp.a.example", n)
			parsed, err := jws.Parse(token, jws.TypStatus)
			if err != nil {
				t.Fatal(err)
			}
			if canonical, err := mission.Canonical(parsed.Payload); err != nil || string(canonical) != string(parsed.Payload) {
				t.Errorf("nonce %q: not canonical: %s", n, parsed.Payload)
			}
		}
	}
	for _, n := range []string{"", " ", "a b", "ä", "\x7f", strings.Repeat("n", 256)} {
		_, err := d.Status(t.Context(), d.as("pep"), authority.StatusQuery{MissionID: id, Nonce: n})
		refusedAs(t, err, "invalid_request", "nonce")
	}
}

func TestStatusFreshness(t *testing.T) {
	d := newDomain(t, parts{config: func(c *authority.Config) { c.MaxStale, c.StatusTTL = 90*time.Second, 20*time.Second }})
	id := d.approve(time.Hour)
	now := d.clock.now()
	st, _, err := d.status("agent-1", id, "")
	if err != nil || st.IssuedAt != now.Unix() || st.ExpiresAt != now.Unix()+20 || st.Mission.FreshUntil != mission.FormatTime(now.Add(90*time.Second)) {
		t.Errorf("status %+v, %v", st, err)
	}
	d.clock.advance(time.Hour - 10*time.Second)
	st, _, err = d.status("agent-1", id, "")
	if err != nil || st.Mission.FreshUntil != st.Mission.ExpiresAt {
		t.Errorf("near expiry %+v, %v", st, err)
	}
}

// What is remembered for the rest of a second never outlives a change: of the mission, of the principals, of the hour.
func TestRememberedAnswersDie(t *testing.T) {
	const erp = "https://erp.a.example"
	t.Run("a transition in the same second", func(t *testing.T) {
		d := newDomain(t, parts{})
		id, other := d.approve(time.Hour), d.approve(time.Hour)
		for version := uint64(1); version < 20; version += 2 {
			for range 2 {
				if st, verdict, err := d.status("pep", id, erp); err != nil || verdict != mission.Accept || st.Mission.Version != version {
					t.Fatalf("version %d: %v, %v, %v", version, st, verdict, err)
				}
				d.mustMove("operator", other, mission.OpSuspend)
			}
			d.mustMove("operator", id, mission.OpSuspend)
			if st, verdict, err := d.status("pep", id, erp); err != nil || verdict != mission.NonActive || st.Mission.Version != version+1 ||
				string(st.AuthorizationDetails.Bytes()) != "[]" {
				t.Fatalf("suspended at %d: %v, %v, %v", version, st, verdict, err)
			}
			d.mustMove("operator", id, mission.OpResume)
		}
	})
	t.Run("a deadline within the second", func(t *testing.T) {
		d := newDomain(t, parts{})
		d.clock.advance(700 * time.Millisecond)
		id := d.approve(time.Hour)
		d.mustMove("operator", id, mission.OpSuspend, func(q *authority.LifecycleRequest) {
			q.SuspendUntil, q.OnExpiry = d.clock.now().Add(200*time.Millisecond).Format(time.RFC3339Nano), mission.OpRevoke
		})
		for range 2 {
			if s := d.state(id); s != mission.Suspended {
				t.Fatalf("before the deadline: %s", s)
			}
		}
		d.clock.advance(200 * time.Millisecond)
		if s := d.state(id); s != mission.Revoked {
			t.Errorf("at the deadline: %s", s)
		}
	})
	t.Run("a grant that was taken away", func(t *testing.T) {
		d := newDomain(t, parts{})
		id := d.approve(time.Hour)
		old := d.as("pep")
		if _, _, err := d.status("pep", id, erp); err != nil {
			t.Fatal(err)
		}
		d.setPrincipals(strings.Replace(principalsJSON(), `"roles":["pep"],"audiences":["https://erp.a.example"]`, `"roles":["pep"]`, 1))
		for _, c := range []authority.Caller{old, d.as("pep")} {
			_, err := d.Status(t.Context(), c, authority.StatusQuery{MissionID: id, Audience: erp, Nonce: "n"})
			refusedAs(t, err, "not_found", "")
		}
		d.setPrincipals(strings.Replace(principalsJSON(), `"client_id":"pep"`, `"client_id":"pep-2"`, 1))
		_, err := d.Status(t.Context(), old, authority.StatusQuery{MissionID: id, Audience: erp, Nonce: "n"})
		refusedAs(t, err, "unauthorized", "")
		old.KeyID = "another"
		d.setPrincipals(principalsJSON())
		_, err = d.Status(t.Context(), old, authority.StatusQuery{MissionID: id, Audience: erp, Nonce: "n"})
		refusedAs(t, err, "unauthorized", "")
		_, err = d.Status(t.Context(), authority.Caller{}, authority.StatusQuery{MissionID: id, Audience: erp, Nonce: "n"})
		refusedAs(t, err, "unauthorized", "")
	})
	t.Run("an emergency stop", func(t *testing.T) {
		d := newDomain(t, parts{})
		id := d.approve(time.Hour)
		if _, _, err := d.status("pep", id, erp); err != nil {
			t.Fatal(err)
		}
		if err := d.stops.Stop(t.Context(), ledger.Stop{Kind: ledger.StopAll, Actor: "operator"}); err != nil {
			t.Fatal(err)
		}
		_, _, err := d.status("pep", id, erp)
		refusedAs(t, err, "unavailable", "emergency_stop")
	})
}

// Before Recover nothing is said.
func TestStartingIsUnavailable(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.approve(time.Hour)
	d = d.reopen(parts{})
	_, _, err := d.status("agent-1", id, "")
	refusedAs(t, err, "unavailable", "starting")
	_, err = d.Submit(t.Context(), d.as("agent-1"), d.submission(time.Hour))
	refusedAs(t, err, "unavailable", "starting")
	if err := d.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := d.state(id); s != mission.Active {
		t.Errorf("after the start: %s", s)
	}
}

// Damage closes the integrity latch, and then nothing is signed, not even that something is over.
func TestIntegrityLatch(t *testing.T) {
	for name, damage := range map[string]func(m *ledgertest.Memory, key []byte){
		"state row": func(m *ledgertest.Memory, key []byte) {
			value := m.Raw(key)
			m.Corrupt(key, []byte(strings.Replace(string(value), "suspended", "active", 1)))
		},
		"row hash": func(m *ledgertest.Memory, key []byte) {
			m.Corrupt(append([]byte{ledger.PrefixRowHash}, key[1:]...), make([]byte, 32))
		},
		"row gone": func(m *ledgertest.Memory, key []byte) { m.Corrupt(key, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			m := ledgertest.NewMemory()
			d := newDomain(t, parts{store: m.Open()})
			id := d.approve(time.Hour)
			d.mustMove("operator", id, mission.OpSuspend)
			damage(m, ledger.RowKey("mission/"+id+"/state"))
			d.submit(time.Hour) // the next group is read from what is stored now
			for i := range 2 {
				_, _, err := d.status("agent-1", id, "")
				if err == nil {
					t.Fatalf("question %d was answered", i)
				}
			}
			if d.log.Health().Integrity == nil {
				t.Error("the latch is open")
			}
			_, err := d.Submit(t.Context(), d.as("agent-1"), d.submission(time.Hour))
			refusedAs(t, err, "unavailable", "integrity")
		})
	}
}

// Once the log takes no writes, statuses are signed until the last one signed before could be relied on, no later.
func TestWriteLatch(t *testing.T) {
	m := ledgertest.NewFaultStore(ledgertest.NewStore())
	d := newDomain(t, parts{store: m, config: func(c *authority.Config) { c.MaxStale, c.StatusTTL = time.Minute, 10*time.Second }})
	id := d.approve(time.Hour)
	m.Inject(1, ledgertest.NotApplied)
	_, err := d.Submit(t.Context(), d.as("agent-1"), d.submission(time.Hour))
	refusedAs(t, err, "unavailable", "")
	latched := d.clock.now()
	if d.log.Health().Write == nil {
		t.Fatal("the latch is open")
	}
	for passed := time.Duration(0); passed < 2*time.Minute; passed += 7 * time.Second {
		st, verdict, err := d.status("agent-1", id, "")
		if d.clock.now().Before(latched.Add(time.Minute)) {
			if err != nil || verdict != mission.Accept || st.Mission.FreshUntil != mission.FormatTime(latched.Add(time.Minute)) {
				t.Errorf("after %v: %+v, %v, %v", passed, st, verdict, err)
			}
		} else {
			refusedAs(t, err, "unavailable", "write")
		}
		d.clock.advance(7 * time.Second)
	}
}

func TestStatusOfUnsignedStates(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.approve(time.Hour)
	for i, c := range []struct {
		op   mission.Operation
		want mission.State
	}{{mission.OpSuspend, mission.Suspended}, {mission.OpResume, mission.Active}, {mission.OpComplete, mission.Completed}} {
		st := d.mustMove("operator", id, c.op)
		if st.Mission.State != c.want || st.Mission.Version != uint64(i+2) || st.Sub != "operator" || st.Aud != "operator" {
			t.Errorf("%s: %+v", c.op, st)
		}
	}
	if got := fmt.Sprint(d.state(id)); got != "completed" {
		t.Errorf("in the end: %s", got)
	}
}

// counted is a log that counts the rows that were found and proven.
type counted struct {
	ledger.Log
	proven atomic.Int64
}

func (l *counted) View() (ledger.View, error) {
	v, err := l.Log.View()
	return &countedView{v, l}, err
}

type countedView struct {
	ledger.View
	log *counted
}

func (v *countedView) Proven(key string) (ledger.Row, error) {
	row, err := v.View.Proven(key)
	if err == nil {
		v.log.proven.Add(1)
	}
	return row, err
}

// Finding out that there is no such mission takes the work of finding one that the caller may not see.
func TestNotFoundIsTheSameWork(t *testing.T) {
	var log *counted
	d := newDomain(t, parts{config: func(c *authority.Config) {
		log = &counted{Log: c.Log}
		c.Log = log
	}})
	id, sub := d.approve(time.Hour), d.submit(time.Hour)
	work := func(f func() error) int64 {
		before := log.proven.Load()
		refusedAs(t, f(), "not_found", "")
		return log.proven.Load() - before
	}
	for name, ask := range map[string]func(mission, submission string) error{
		"status": func(id, _ string) error {
			_, _, err := d.status("stranger", id, "")
			return err
		},
		"lifecycle": func(id, _ string) error {
			_, err := d.move("stranger", id, mission.OpRevoke)
			return err
		},
		"poll": func(_, id string) error {
			_, err := d.Poll(t.Context(), d.as("agent-2"), id)
			return err
		},
		"review": func(_, id string) error {
			_, err := d.Review(t.Context(), d.as("other-approver"), id)
			return err
		},
	} {
		unknown := work(func() error { return ask("msn_"+strings.Repeat("A", 32), "sub_"+strings.Repeat("A", 32)) })
		hidden := work(func() error { return ask(id, sub) })
		if unknown != hidden || unknown == 0 {
			t.Errorf("%s: %d rows proven for the unknown, %d for the hidden", name, unknown, hidden)
		}
	}
}
