package authority_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
)

// who may do what: the matrix of grants. Everybody else gets the one 404.
func TestLifecycleGrants(t *testing.T) {
	may := map[string][]mission.Operation{
		"operator":    {mission.OpRevoke, mission.OpSuspend, mission.OpResume, mission.OpComplete},
		"night-shift": {mission.OpRevoke, mission.OpSuspend, mission.OpComplete},
		"approver":    {mission.OpRevoke},
		"agent-1":     {mission.OpComplete},
		"agent-2":     nil, "daemon": nil, "other-approver": nil, "pep": nil, "stranger": nil, "admin": nil,
	}
	d := newDomain(t, parts{})
	refusals := map[string]bool{}
	for caller, operations := range may {
		for _, op := range []mission.Operation{mission.OpRevoke, mission.OpSuspend, mission.OpResume, mission.OpComplete} {
			id := d.approve(time.Hour)
			if op == mission.OpResume {
				d.mustMove("operator", id, mission.OpSuspend)
			}
			before := d.state(id)
			_, err := d.move(caller, id, op)
			allowed := strings.Contains(fmt.Sprint(operations), string(op))
			switch {
			case allowed && err != nil:
				t.Errorf("%s may not %s: %v", caller, op, err)
			case !allowed && err == nil:
				t.Errorf("%s may %s", caller, op)
			case !allowed:
				refusedAs(t, err, "not_found", "")
				refusals[describe(t, err)] = true
				if d.state(id) != before {
					t.Errorf("%s was refused %s, and it happened", caller, op)
				}
			}
		}
	}
	_, err := d.move("operator", "msn_"+strings.Repeat("A", 32), mission.OpRevoke)
	refusals[describe(t, err)] = true
	if len(refusals) != 1 {
		t.Errorf("refusals differ: %v", refusals)
	}
	d.sound()
}

func TestLifecycleRefusesMalformed(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.approve(time.Hour)
	until := mission.FormatTime(d.clock.now().Add(time.Minute))
	for name, c := range map[string]struct {
		op     mission.Operation
		edit   func(*authority.LifecycleRequest)
		reason string
	}{
		"no nonce":        {mission.OpRevoke, func(q *authority.LifecycleRequest) { q.Nonce = "" }, "nonce"},
		"long nonce":      {mission.OpRevoke, func(q *authority.LifecycleRequest) { q.Nonce = strings.Repeat("n", 256) }, "nonce"},
		"invisible nonce": {mission.OpRevoke, func(q *authority.LifecycleRequest) { q.Nonce = "a b" }, "nonce"},
		"discharge":       {"discharge", nil, "operation"},
		"expire":          {mission.OpExpire, nil, "operation"},
		"release":         {mission.OpRelease, nil, "operation"},
		"long reason":     {mission.OpRevoke, func(q *authority.LifecycleRequest) { q.Reason = strings.Repeat("é", 1025) }, "reason"},
		"no utf-8":        {mission.OpRevoke, func(q *authority.LifecycleRequest) { q.Reason = "\xff" }, "reason"},
		"revoke until":    {mission.OpRevoke, func(q *authority.LifecycleRequest) { q.SuspendUntil, q.OnExpiry = until, "resume" }, "suspend_until"},
		"until alone":     {mission.OpSuspend, func(q *authority.LifecycleRequest) { q.SuspendUntil = until }, "on_expiry"},
		"on_expiry alone": {mission.OpSuspend, func(q *authority.LifecycleRequest) { q.OnExpiry = "resume" }, "on_expiry"},
		"until the past": {mission.OpSuspend, func(q *authority.LifecycleRequest) {
			q.SuspendUntil, q.OnExpiry = mission.FormatTime(d.clock.now()), "resume"
		}, ""},
		"complete on expiry": {mission.OpSuspend, func(q *authority.LifecycleRequest) { q.SuspendUntil, q.OnExpiry = until, "complete" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			edits := []func(*authority.LifecycleRequest){}
			if c.edit != nil {
				edits = append(edits, c.edit)
			}
			_, err := d.move("operator", id, c.op, edits...)
			refusedAs(t, err, "invalid_request", c.reason)
		})
	}
	if st, _, err := d.status("agent-1", id, ""); err != nil || st.Mission.Version != 1 {
		t.Errorf("status %v, %v", st, err)
	}
}

func nonce(n string) func(*authority.LifecycleRequest) {
	return func(q *authority.LifecycleRequest) { q.Nonce = n }
}

// The same request under the same nonce is answered with the same octets, also after a restart and whatever happened
// since; another one is refused.
func TestNonceReplay(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.approve(time.Hour)
	ask := func(caller string, q authority.LifecycleRequest) (string, error) {
		answer, err := d.Lifecycle(t.Context(), d.as(caller), q)
		return answer.Token, err
	}
	suspend := authority.LifecycleRequest{MissionID: id, Operation: mission.OpSuspend, Nonce: `a"b\c/../%2F`, Reason: "pause"}
	first, err := ask("operator", suspend)
	if err != nil {
		t.Fatal(err)
	}
	idle := authority.LifecycleRequest{MissionID: id, Operation: mission.OpSuspend, Nonce: "idle"}
	unchanged, err := ask("operator", idle)
	if err != nil {
		t.Fatal(err)
	}
	if st, _ := d.checkStatus(first, "operator", id, "", suspend.Nonce); st.Mission.Version != 2 {
		t.Errorf("version %d", st.Mission.Version)
	}
	d.mustMove("operator", id, mission.OpResume)
	d.clock.advance(30 * time.Second)

	check := func() {
		t.Helper()
		for _, c := range []struct {
			q    authority.LifecycleRequest
			want string
		}{{suspend, first}, {idle, unchanged}} {
			if again, err := ask("operator", c.q); err != nil || again != c.want {
				t.Errorf("again: %v, the same octets: %v", err, again == c.want)
			}
		}
		for _, edit := range []func(*authority.LifecycleRequest){
			func(q *authority.LifecycleRequest) { q.Reason = "" },
			func(q *authority.LifecycleRequest) { q.Operation = mission.OpRevoke },
			func(q *authority.LifecycleRequest) { q.ExpectedVersion = new(uint64) },
		} {
			other := suspend
			edit(&other)
			_, err := ask("operator", other)
			refusedAs(t, err, "invalid_request", "nonce_reused")
		}
	}
	check()
	d = d.reopen(parts{})
	if err := d.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	check()
	if st := d.mustMove("night-shift", id, mission.OpSuspend, nonce(suspend.Nonce)); st.Mission.Version != 4 {
		t.Errorf("another caller's request under the nonce led to version %d", st.Mission.Version)
	}
	if n := len(of(d.entries(), mission.ContentTransition)); n != 3 {
		t.Errorf("%d transitions", n)
	}
	d.sound()
}

// Equal requests that meet are one change with one answer.
func TestEqualRequestsMeet(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.approve(time.Hour)
	q := authority.LifecycleRequest{MissionID: id, Operation: mission.OpRevoke, Nonce: "same"}
	var wg sync.WaitGroup
	tokens := make([]string, 16)
	for i := range tokens {
		wg.Go(func() {
			answer, err := d.Lifecycle(t.Context(), d.as("operator"), q)
			if err != nil {
				t.Error(err)
			}
			tokens[i] = answer.Token
		})
	}
	wg.Wait()
	for _, token := range tokens {
		if token != tokens[0] {
			t.Error("answers differ")
		}
	}
	if n := len(of(d.entries(), mission.ContentTransition)); n != 1 {
		t.Errorf("%d transitions", n)
	}
}

func expect(version uint64) func(*authority.LifecycleRequest) {
	return func(q *authority.LifecycleRequest) { q.ExpectedVersion = &version }
}

func TestExpectedVersion(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.approve(time.Hour)
	for _, version := range []uint64{0, 2, 1 << 40} {
		_, err := d.move("operator", id, mission.OpSuspend, expect(version))
		refusedAs(t, err, "stale_version", "")
	}
	d.mustMove("operator", id, mission.OpSuspend, expect(1))
	_, err := d.move("operator", id, mission.OpResume, expect(1))
	refusedAs(t, err, "stale_version", "")
	d.mustMove("operator", id, mission.OpResume, expect(2))
	_, err = d.move("operator", id, mission.OpResume)
	refusedAs(t, err, "conflict", "")
	d.mustMove("operator", id, mission.OpRevoke)
	for _, op := range []mission.Operation{mission.OpSuspend, mission.OpResume, mission.OpComplete} {
		_, err = d.move("operator", id, op)
		refusedAs(t, err, "conflict", "")
	}
	if st := d.mustMove("operator", id, mission.OpRevoke); st.Mission.Version != 4 {
		t.Errorf("revoking twice led to version %d", st.Mission.Version)
	}
}

// Reason and acting party are in the evidence and nowhere else.
func TestReasonIsEvidence(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.approve(time.Hour)
	answer, err := d.Lifecycle(t.Context(), d.as("operator"), authority.LifecycleRequest{
		MissionID: id, Operation: mission.OpRevoke, Nonce: "n", Reason: "the invoice was a forgery",
	})
	if err != nil {
		t.Fatal(err)
	}
	e := of(d.entries(), mission.ContentTransition)[0]
	tr, err := mission.ParseTransitionRecord(e.Body)
	if err != nil || tr.Reason != "the invoice was a forgery" || tr.Actor != "operator" || tr.PriorState != mission.Active ||
		tr.State != mission.Revoked || tr.Version != 2 || len(tr.Salt) < 22 {
		t.Errorf("transition %+v, %v", tr, err)
	}
	v := d.log.MustView(t)
	for row, err := range v.List("", "") {
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(row.Value, []byte("forgery")) {
			t.Errorf("row %s holds the reason", row.Key)
		}
	}
	for _, e := range d.entries() {
		if bytes.Contains(e.Statement.Raw, []byte("forgery")) {
			t.Errorf("entry %d holds the reason", e.Index)
		}
	}
	if strings.Contains(answer.Token, "forgery") {
		t.Error("the answer holds the reason")
	}
}

// Deadlines are committed before anything is said, by whoever looks first.
func TestDeadlinesAreCommittedFirst(t *testing.T) {
	until := func(d *domain, after time.Duration, then mission.Operation) func(*authority.LifecycleRequest) {
		return func(q *authority.LifecycleRequest) {
			q.SuspendUntil, q.OnExpiry = mission.FormatTime(d.clock.now().Add(after)), then
		}
	}
	t.Run("expiry", func(t *testing.T) {
		d := newDomain(t, parts{})
		id := d.approve(time.Hour)
		d.clock.advance(time.Hour - time.Second)
		if s := d.state(id); s != mission.Active {
			t.Errorf("a second before expiry: %s", s)
		}
		d.clock.advance(time.Second)
		_, err := d.move("operator", id, mission.OpSuspend)
		refusedAs(t, err, "conflict", "")
		st, _, err := d.status("agent-1", id, "")
		if err != nil || st.Mission.State != mission.Expired || st.Mission.Version != 2 {
			t.Errorf("at expiry: %+v, %v", st, err)
		}
		tr := d.transitions()
		if len(tr) != 1 || tr[0].Operation != mission.OpExpire || tr[0].Actor != "clock" {
			t.Errorf("transitions %+v", tr)
		}
		d.sound()
	})
	t.Run("resume", func(t *testing.T) {
		d := newDomain(t, parts{})
		id := d.approve(time.Hour)
		d.mustMove("operator", id, mission.OpSuspend, until(d, time.Minute, mission.OpResume))
		d.clock.advance(time.Minute)
		if st, _, err := d.status("pep", id, "https://erp.a.example"); err != nil || st.Mission.State != mission.Active || st.Mission.Version != 3 {
			t.Errorf("at the deadline: %+v, %v", st, err)
		}
		d.sound()
	})
	t.Run("revoke", func(t *testing.T) {
		d := newDomain(t, parts{})
		id := d.approve(time.Hour)
		d.mustMove("operator", id, mission.OpSuspend, until(d, time.Minute, mission.OpResume))
		d.mustMove("operator", id, mission.OpSuspend, until(d, 2*time.Minute, mission.OpRevoke))
		d.clock.advance(time.Minute)
		if s := d.state(id); s != mission.Suspended {
			t.Errorf("at the deadline that was replaced: %s", s)
		}
		d.clock.advance(time.Minute)
		_, err := d.move("operator", id, mission.OpResume)
		refusedAs(t, err, "conflict", "")
		if s := d.state(id); s != mission.Revoked {
			t.Errorf("at the deadline: %s", s)
		}
		d.sound()
	})
	t.Run("expiry before resume", func(t *testing.T) {
		d := newDomain(t, parts{})
		id := d.approve(time.Hour)
		d.mustMove("operator", id, mission.OpSuspend, until(d, time.Hour, mission.OpResume))
		d.clock.advance(2 * time.Hour)
		if s := d.state(id); s != mission.Expired {
			t.Errorf("after both: %s", s)
		}
		d.sound()
	})
}

// transitions are all transitions of the log.
func (d *domain) transitions() []*mission.TransitionRecord {
	d.Helper()
	var all []*mission.TransitionRecord
	for _, e := range of(d.entries(), mission.ContentTransition) {
		tr, err := mission.ParseTransitionRecord(e.Body)
		if err != nil {
			d.Fatal(err)
		}
		all = append(all, tr)
	}
	return all
}

// A hundred callers move one mission at once: versions grow by one and every one is in the evidence (core LC-09).
func TestVersionsUnderConcurrency(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.approve(time.Hour)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		seen = map[uint64]mission.State{1: mission.Active}
		last uint64
	)
	for i := range 100 {
		wg.Go(func() {
			op := []mission.Operation{mission.OpSuspend, mission.OpResume}[i%2]
			if i == 99 {
				op = mission.OpRevoke
			}
			q := authority.LifecycleRequest{MissionID: id, Operation: op, Nonce: fmt.Sprint(i)}
			answer, err := d.Lifecycle(t.Context(), d.as("operator"), q)
			if e, ok := errors.AsType[*authority.Error](err); ok && e.Code == "conflict" {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			st, _ := d.checkStatus(answer.Token, "operator", id, "", q.Nonce)
			mu.Lock()
			defer mu.Unlock()
			if state, ok := seen[st.Mission.Version]; ok && state != st.Mission.State {
				t.Errorf("version %d is %s and %s", st.Mission.Version, state, st.Mission.State)
			}
			seen[st.Mission.Version] = st.Mission.State
			last = max(last, st.Mission.Version)
		})
	}
	wg.Wait()
	tr := d.transitions()
	if uint64(len(tr)) != last-1 {
		t.Errorf("%d transitions lead to version %d", len(tr), last)
	}
	for i, tr := range tr {
		if tr.Version != uint64(i+2) {
			t.Errorf("transition %d has version %d", i, tr.Version)
		}
		if state, ok := seen[tr.Version]; ok && state != tr.State {
			t.Errorf("version %d was answered as %s and logged as %s", tr.Version, state, tr.State)
		}
	}
	if d.state(id) != mission.Revoked {
		t.Error("the revocation was lost")
	}
	d.sound()
}
