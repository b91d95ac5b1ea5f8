package authority_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
)

// held runs f while the log is held up: f decides on what was there before, and what meanwhile does comes first.
func (d *domain) held(store *ledgertest.FaultStore, f, meanwhile func()) {
	d.Helper()
	hold := store.Hold(false)
	var wg sync.WaitGroup
	wg.Go(func() { d.submitAs("agent-2", d.submission(24*time.Hour)) })
	<-hold.Entered
	wg.Go(f)
	synctest.Wait()
	meanwhile()
	hold.Release()
	wg.Wait()
}

// What was decided while it was true is not committed once it is not.
func TestDecidedTooLate(t *testing.T) {
	inTime := func(t *testing.T, test func(t *testing.T, d *domain, store *ledgertest.FaultStore)) {
		synctest.Test(t, func(t *testing.T) {
			store := ledgertest.NewFaultStore(ledgertest.NewStore())
			d := newDomain(t, parts{store: store, config: func(c *authority.Config) {
				c.SubmissionLifetime = 10 * time.Minute
			}})
			test(t, d, store)
			d.sound()
			if err := d.log.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("the mission would be over", func(t *testing.T) {
		inTime(t, func(t *testing.T, d *domain, store *ledgertest.FaultStore) {
			id := d.submit(time.Minute)
			s := d.review(id)
			d.held(store, func() {
				_, err := d.decide(id, s, "approve")
				refusedAs(t, err, "submission_expired", "")
			}, func() { d.clock.advance(time.Minute) })
			if n := len(of(d.entries(), mission.ContentApprovalRecord)); n != 0 {
				t.Errorf("%d missions", n)
			}
		})
	})
	t.Run("the mission would be over before the submission", func(t *testing.T) {
		inTime(t, func(t *testing.T, d *domain, store *ledgertest.FaultStore) {
			d.config.MaxLifetime = time.Minute
			a, err := authority.New(d.config)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
			d.Authority = a
			id := d.submit(time.Hour)
			s := d.review(id)
			d.held(store, func() {
				_, err := d.decide(id, s, "approve")
				refusedAs(t, err, "submission_expired", "expires_at")
			}, func() { d.clock.advance(time.Minute) })
		})
	})
	t.Run("the submission is over", func(t *testing.T) {
		inTime(t, func(t *testing.T, d *domain, store *ledgertest.FaultStore) {
			id := d.submit(time.Hour)
			s := d.review(id)
			d.held(store, func() {
				_, err := d.decide(id, s, "approve")
				refusedAs(t, err, "submission_expired", "")
			}, func() { d.clock.advance(10 * time.Minute) })
		})
	})
	t.Run("the mission expires before it is resumed", func(t *testing.T) {
		inTime(t, func(t *testing.T, d *domain, store *ledgertest.FaultStore) {
			id := d.approve(time.Minute)
			d.mustMove("operator", id, mission.OpSuspend)
			d.held(store, func() {
				_, err := d.move("operator", id, mission.OpResume)
				refusedAs(t, err, "conflict", "")
			}, func() { d.clock.advance(time.Minute) })
			if s := d.state(id); s != mission.Expired {
				t.Errorf("in the end: %s", s)
			}
		})
	})
	t.Run("a revocation is not too late", func(t *testing.T) {
		inTime(t, func(t *testing.T, d *domain, store *ledgertest.FaultStore) {
			id := d.approve(time.Minute)
			d.held(store, func() {
				answer, err := d.Lifecycle(t.Context(), d.as("operator"), authority.LifecycleRequest{
					MissionID: id, Operation: mission.OpRevoke, Nonce: "n",
				})
				if err != nil || answer.Stopped {
					t.Errorf("%+v, %v", answer, err)
				}
			}, func() { d.clock.advance(time.Minute) })
			if s := d.state(id); s != mission.Revoked {
				t.Errorf("in the end: %s", s)
			}
		})
	})
	t.Run("the approver has lost its role", func(t *testing.T) {
		inTime(t, func(t *testing.T, d *domain, store *ledgertest.FaultStore) {
			id := d.submit(time.Hour)
			s := d.review(id)
			text := strings.Replace(principalsJSON(), `"kind":"human","roles":["approver"]`, `"kind":"human","roles":["auditor"]`, 1)
			d.held(store, func() { d.setPrincipals(text) }, func() {})
			caller := d.config.Principals.All()[3]
			_, err := d.Decide(t.Context(), authority.Caller{Principal: caller}, id, decisionBody(s, "approve"))
			refusedAs(t, err, "not_found", "")
		})
	})
	t.Run("the ceiling is narrowed first", func(t *testing.T) {
		inTime(t, func(t *testing.T, d *domain, store *ledgertest.FaultStore) {
			id := d.submit(time.Hour)
			s := d.review(id)
			text := strings.Replace(principalsJSON(), `"actions":["invoices.*","reports.read"]`, `"actions":["reports.read"]`, 1)
			d.held(store, func() { d.setPrincipals(text) }, func() {
				go func() {
					_, err := d.decide(id, s, "approve")
					refusedAs(t, err, "invalid_authority", "")
				}()
				synctest.Wait()
			})
			synctest.Wait()
			if n := len(of(d.entries(), mission.ContentApprovalRecord)); n != 0 {
				t.Errorf("%d missions", n)
			}
		})
	})
}

// Two authorities over one log know nothing of each other: what keeps them apart is in the Changes.
func TestTwoAuthorities(t *testing.T) {
	d := newDomain(t, parts{config: func(c *authority.Config) { c.Status = ecKey(t) }}) // no two signatures are equal
	d.issuer = d.config.Status.(*jws.Key)
	other, err := authority.New(d.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	both := []*authority.Authority{d.Authority, other}
	id := d.approve(time.Hour)
	var wg sync.WaitGroup
	tokens := make([]string, 60)
	for i := range tokens {
		wg.Go(func() {
			// Each request is made twice, of both.
			n := i / 2
			answer, err := both[i%2].Lifecycle(t.Context(), d.as("operator"), authority.LifecycleRequest{
				MissionID: id, Operation: mission.OpSuspend, Nonce: fmt.Sprint(n), OnExpiry: mission.OpResume,
				SuspendUntil: mission.FormatTime(d.clock.now().Add(time.Duration(n+1) * time.Second)),
			})
			if err != nil {
				t.Error(err)
			}
			tokens[i] = answer.Token
		})
	}
	wg.Wait()
	for i := 0; i < len(tokens); i += 2 {
		if tokens[i] != tokens[i+1] {
			t.Errorf("request %d was answered in two ways", i/2)
		}
	}
	for i, tr := range d.transitions() {
		if tr.Version != uint64(i+2) {
			t.Errorf("transition %d has version %d", i, tr.Version)
		}
	}
	if n := len(d.transitions()); n != len(tokens)/2 {
		t.Errorf("%d transitions of %d requests", n, len(tokens)/2)
	}
	revoked := make([]string, 32)
	d.mustMove("operator", id, mission.OpRevoke)
	for i := range revoked { // requests that change nothing
		wg.Go(func() {
			answer, err := both[i%2].Lifecycle(t.Context(), d.as("operator"), authority.LifecycleRequest{
				MissionID: id, Operation: mission.OpRevoke, Nonce: fmt.Sprint("again-", i/2),
			})
			if err != nil {
				t.Error(err)
			}
			revoked[i] = answer.Token
		})
	}
	wg.Wait()
	for i := 0; i < len(revoked); i += 2 {
		if revoked[i] != revoked[i+1] {
			t.Errorf("idle request %d was answered in two ways", i/2)
		}
	}
	d.sound()
}
