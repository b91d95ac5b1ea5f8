package authority_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
)

// Whatever fails at whichever commit of a mission's life: after a restart each step was made whole or not at all, what
// was answered is there, and asking again brings the mission to its end.
func TestFaultAtEachCommit(t *testing.T) {
	for _, fault := range ledgertest.Faults {
		for n := 1; n <= 5; n++ {
			t.Run(fmt.Sprintf("%s at commit %d", fault, n), func(t *testing.T) {
				m := ledgertest.NewMemory()
				store := ledgertest.NewFaultStore(m.Open())
				d := newDomain(t, parts{store: store})
				l := &life{domain: d}
				store.Inject(n, fault)
				failed := false
				for range 6 {
					if err := l.live(t); err != nil {
						failed = true
						if fault != ledgertest.Refuse {
							_ = l.log.Stop()
							next := startDomain(t, parts{store: m.Open(), vault: l.log.Vault, keys: l.log.Keys, stops: l.stops, clock: l.clock})
							if err := next.Recover(t.Context()); err != nil {
								t.Fatal(err)
							}
							l.domain = next
						}
						continue
					}
					break
				}
				if !failed {
					t.Error("nothing failed")
				}
				if s := l.state(l.id); s != mission.Revoked {
					t.Errorf("in the end: %s", s)
				}
				all := l.entries()
				for contentType, want := range map[string]int{
					mission.ContentSubmission: 1, mission.ContentApprovalRecord: 1, mission.ContentConsentEvidence: 1, mission.ContentTransition: 3,
				} {
					if got := len(of(all, contentType)); got != want {
						t.Errorf("%d entries of %s, want %d", got, contentType, want)
					}
				}
				l.sound()
			})
		}
	}
}

// A life of one mission. Each step is asked for again until it is answered, as a client would.
type life struct {
	*domain
	submission, id string
	tokens         map[string]string
}

func (l *life) live(t *testing.T) error {
	if l.tokens == nil {
		l.tokens = map[string]string{}
	}
	answer, err := l.Submit(t.Context(), l.as("agent-1"), l.domain.submission(time.Hour, `"creation_request_id":"life"`))
	if err != nil {
		return err
	}
	l.submission = member(t, answer, "submission_id")
	if err := l.approved(t); err != nil {
		return err
	}
	for _, op := range []mission.Operation{mission.OpSuspend, mission.OpResume, mission.OpRevoke} {
		answer, err := l.Lifecycle(t.Context(), l.as("operator"), authority.LifecycleRequest{
			MissionID: l.id, Operation: op, Nonce: string(op),
		})
		if err != nil {
			return err
		}
		if answer.Stopped {
			return errors.New("stopped")
		}
		if before, ok := l.tokens[string(op)]; ok && before != answer.Token {
			t.Errorf("%s was answered twice, differently", op)
		}
		l.tokens[string(op)] = answer.Token
	}
	return nil
}

// approved approves the submission unless that was done.
func (l *life) approved(t *testing.T) error {
	poll, err := l.Poll(t.Context(), l.as("agent-1"), l.submission)
	if err != nil {
		return err
	}
	if member(t, poll, "status") == "pending" {
		answer, err := l.Review(t.Context(), l.as("approver"), l.submission)
		if err != nil {
			return err
		}
		s := shown{member(t, answer, "context_id"), member(t, answer, "consent_rendering_hash")}
		if poll, err = l.decide(l.submission, s, "approve"); err != nil {
			return err
		}
	}
	l.id = member(t, poll, "mission_id")
	return nil
}
