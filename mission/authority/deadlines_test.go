package authority_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
)

// inBubble runs a domain whose worker runs, with the bubble's clock. The function returned ends both.
func inBubble(t *testing.T, p parts) (*domain, func()) {
	t.Helper()
	p.now = time.Now
	p.clock = &clock{}
	d := newDomain(t, p)
	d.clock = nil
	return d, d.work()
}

// work runs the worker until the function returned is called.
func (d *domain) work() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	return func() {
		d.Helper()
		cancel()
		if err := <-ended; err != nil {
			d.Error(err)
		}
		if err := d.log.Stop(); err != nil {
			d.Error(err)
		}
	}
}

// Deadlines come without anybody asking, when they come, in the order they come.
func TestWorkerServesDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, end := inBubble(t, parts{config: func(c *authority.Config) { c.SubmissionLifetime = 90 * time.Second }})
		d.clock = &clock{at: time.Now()}
		long, short := d.approve(2*time.Hour), d.approve(10*time.Minute)
		waiting := d.submit(time.Hour)
		d.mustMove("operator", long, mission.OpSuspend, func(q *authority.LifecycleRequest) {
			q.SuspendUntil, q.OnExpiry = mission.FormatTime(time.Now().Add(time.Minute)), mission.OpResume
		})
		start := time.Now()
		check := func(after time.Duration, version uint64, submission string, transitions int) {
			t.Helper()
			time.Sleep(time.Until(start.Add(after)))
			synctest.Wait()
			d.clock.at = time.Now()
			tr := d.transitions()
			if len(tr) != transitions || transitions > 0 && tr[transitions-1].TransitionedAt != mission.FormatTime(time.Now()) {
				t.Errorf("after %v: transitions %+v", after, tr)
			}
			expired := len(of(d.entries(), "application/mas-submission-expired+json"))
			if (submission == "expired") != (expired == 1) {
				t.Errorf("after %v: %d submissions expired", after, expired)
			}
		}
		check(0, 2, "pending", 1)
		check(time.Minute, 3, "pending", 2)
		time.Sleep(29*time.Second + 999*time.Millisecond)
		synctest.Wait()
		if n := len(of(d.entries(), "application/mas-submission-expired+json")); n != 0 {
			t.Error("a submission expired too soon")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if n := len(of(d.entries(), "application/mas-submission-expired+json")); n != 1 {
			t.Error("a submission did not expire")
		}
		check(10*time.Minute, 0, "expired", 3)
		check(2*time.Hour, 0, "expired", 4)
		for id, want := range map[string]mission.State{long: mission.Expired, short: mission.Expired} {
			if s := d.state(id); s != want {
				t.Errorf("in the end: %s", s)
			}
		}
		if poll, err := d.Poll(t.Context(), d.as("agent-1"), waiting); err != nil || member(t, poll, "status") != "expired" {
			t.Errorf("poll: %s, %v", poll, err)
		}
		if live := d.due(); live != 0 {
			t.Errorf("%d deadlines are left", live)
		}
		d.sound()
		end()
	})
}

// due counts due rows that were not served.
func (d *domain) due() int {
	d.Helper()
	v, err := d.log.View()
	if err != nil {
		d.Fatal(err)
	}
	defer v.Close()
	n := 0
	for row, err := range v.List("due/", "") {
		if err != nil {
			d.Fatal(err)
		}
		if len(row.Value) > 0 {
			n++
		}
	}
	return n
}

// What fell due while nobody ran is served at the next start; so is what was interrupted.
func TestWorkerCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := ledgertest.NewFaultStore(ledgertest.NewStore())
		d, end := inBubble(t, parts{store: store})
		d.clock = &clock{at: time.Now()}
		const n = 300 // more than one pass
		for i := range n {
			d.approve(time.Duration(i%7+1) * time.Minute)
		}
		end()
		time.Sleep(time.Hour)
		d.clock.at = time.Now()
		d = startDomain(t, parts{store: store, vault: d.log.Vault, keys: d.log.Keys, stops: d.stops, clock: d.clock, now: time.Now})
		if err := d.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		store.Inject(3, ledgertest.Refuse) // one group is refused and tried again
		end = d.work()
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		if tr := d.transitions(); len(tr) != n {
			t.Errorf("%d of %d expired", len(tr), n)
		}
		if live := d.due(); live != 0 {
			t.Errorf("%d deadlines are left", live)
		}
		d.sound()
		end()
	})
}
