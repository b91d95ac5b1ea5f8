package authority

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// maxReason bounds the reason of a lifecycle request or decision, in code points.
const maxReason = 1024

// A LifecycleRequest asks for one transition. The members are as received; nothing is trusted.
type LifecycleRequest struct {
	MissionID       string            `json:"mission_id"`
	Operation       mission.Operation `json:"operation"` // revoke, suspend, resume or complete
	Reason          string            `json:"reason,omitempty"`
	SuspendUntil    string            `json:"suspend_until,omitempty"`
	OnExpiry        mission.Operation `json:"on_expiry,omitempty"`
	Nonce           string            `json:"nonce"`
	ExpectedVersion *uint64           `json:"expected_version,omitempty"`
}

// A LifecycleAnswer says what became of a request.
type LifecycleAnswer struct {
	// Token is a signed status response without entries, for the caller. A replay of the same request returns the same
	// octets.
	Token string
	// Stopped: the log could not be written; the revocation is durable in the emergency-stop journal, in force here,
	// and goes to the log when it can be written again. There is no Token.
	Stopped bool
	// Pending: the transition is durable and in force, and not published yet.
	Pending bool
}

// nonceState is the row nonce/<client>/<mission>/<nonce>.
type nonceState struct {
	Fingerprint mission.Digest `json:"fingerprint"`
	Answer      string         `json:"answer"`
}

// Lifecycle moves a mission (core 4.4). The transition, its evidence and the stored answer are one commit. Errors:
// invalid_request, also for another request under the same nonce; not_found, also for what the caller may not see or
// do; conflict; stale_version; unavailable.
func (a *Authority) Lifecycle(ctx context.Context, c Caller, q LifecycleRequest) (answer LifecycleAnswer, err error) {
	defer a.note(ctx, c, "lifecycle", q.MissionID, &err)
	if c, err = a.Principals().known(c); err != nil {
		return LifecycleAnswer{}, err
	}
	if err := q.check(); err != nil {
		return LifecycleAnswer{}, err
	}
	var token string
	err = a.inTurn(ctx, mission.ID(q.MissionID), func() error {
		return a.afterDeadlines(ctx, mission.ID(q.MissionID), func() error {
			_, err := a.commit(ctx, func(r *reading) (change *ledger.Change, err error) {
				token, change, err = a.move(ctx, r, c, q)
				return change, err
			})
			return err
		})
	})
	if q.Operation == mission.OpRevoke && needsStop(err) {
		return a.stopMission(ctx, c, q, err)
	}
	if err == nil && q.Operation == mission.OpResume {
		err = a.awaitPublished(ctx)
	}
	if err != nil {
		return LifecycleAnswer{}, err
	}
	return LifecycleAnswer{Token: token, Pending: a.pending()}, nil
}

// check refuses what is malformed before anything is read.
func (q *LifecycleRequest) check() error {
	switch q.Operation {
	case mission.OpRevoke, mission.OpSuspend, mission.OpResume, mission.OpComplete:
	default:
		return errRequest.because("operation")
	}
	switch {
	case !isVisible(q.Nonce, maxNonce):
		return errRequest.because("nonce")
	case !utf8.ValidString(q.Reason) || utf8.RuneCountInString(q.Reason) > maxReason:
		return errRequest.because("reason")
	case q.Operation != mission.OpSuspend && q.SuspendUntil != "":
		return errRequest.because("suspend_until")
	case (q.SuspendUntil == "") != (q.OnExpiry == ""):
		return errRequest.because("on_expiry")
	}
	return nil
}

// move decides a request at one view: who may, whether it was answered before, whether it is legal, and what follows.
func (a *Authority) move(ctx context.Context, r *reading, c Caller, q LifecycleRequest) (string, *ledger.Change, error) {
	h, err := a.visible(r, q.MissionID, func(rec *mission.Record) bool { return c.mayOperate(q.Operation, rec) })
	if err != nil {
		return "", nil, err
	}
	fingerprint, err := mission.ObjectDigest(q)
	if err != nil {
		return "", nil, errRequest.wrap(err)
	}
	key := nonceRow(c.name(), h.rec.ID, q.Nonce)
	var before nonceState
	switch _, err := load(r, key, &before); {
	case err == nil && before.Fingerprint == fingerprint:
		return before.Answer, nil, nil
	case err == nil:
		return "", nil, errRequest.because("nonce_reused")
	case !errors.Is(err, ledger.ErrNotFound):
		return "", nil, unavailable("reading a nonce", err)
	}
	if q.Operation == mission.OpResume {
		if err := a.mayAssert(r, h.rec); err != nil {
			return "", nil, err
		}
	}
	change, next, err := a.transition(ctx, h, q.transition(), act{actor: c.ID, reason: q.Reason}, r.at)
	if err != nil {
		return "", nil, err
	}
	if change == nil { // the mission is already where it should go
		change = &ledger.Change{Expect: []ledger.Precondition{ledger.Version(h.row.Key, h.row.Version)}}
	}
	p, err := a.decideStatus(r, &held{rec: h.rec, cur: next}, mission.StatusRequest{Requester: c.name()})
	if err != nil {
		return "", nil, err
	}
	token, err := a.sign(ctx, p.with(q.Nonce))
	if err != nil {
		return "", nil, err
	}
	stored, err := put(key, nonceState{fingerprint, token}, ledger.NotJustified)
	if err != nil {
		return "", nil, err
	}
	change.Expect = append(change.Expect, ledger.Absent(key))
	change.Put = append(change.Put, stored)
	if q.Operation == mission.OpResume {
		until, err := nextDeadline(next)
		if err != nil {
			return "", nil, err
		}
		change.Expect = append(change.Expect, ledger.NotAfter(until.Add(-1)))
	}
	return token, change, nil
}

func (q *LifecycleRequest) transition() mission.Transition {
	return mission.Transition{
		Operation:       q.Operation,
		ExpectedVersion: q.ExpectedVersion,
		SuspendUntil:    q.SuspendUntil,
		OnExpiry:        q.OnExpiry,
	}
}

// mayAssert refuses what would let somebody rely on a mission: in doubt of the clock, and under an emergency stop.
func (a *Authority) mayAssert(r *reading, rec *mission.Record) error {
	if err := r.certain(); err != nil {
		return err
	}
	if a.stoppedNow(rec) {
		return errUnavailable.because("emergency_stop")
	}
	return nil
}

// needsStop reports whether a revocation failed because of the log and not because of the request.
func needsStop(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Kind == Unavailable
}

// stopMission puts a revocation into the emergency-stop journal, after the log refused it because of cause.
func (a *Authority) stopMission(ctx context.Context, c Caller, q LifecycleRequest, cause error) (LifecycleAnswer, error) {
	id := mission.ID(q.MissionID)
	if !a.mayStop(c, id) {
		return LifecycleAnswer{}, cause
	}
	if _, already := a.log.Stops().Stopped(ledger.StopMission, string(id)); already {
		return LifecycleAnswer{Stopped: true}, nil
	}
	err := a.log.Stops().Stop(ctx, ledger.Stop{
		Kind: ledger.StopMission, ID: string(id), Actor: c.ID, Reason: q.Reason, At: a.clock.now().UTC(),
	})
	if err != nil {
		return LifecycleAnswer{}, errors.Join(cause, fmt.Errorf("emergency stop: %w", err))
	}
	a.logger.WarnContext(ctx, "revocation went to the emergency-stop journal", "mission", string(id), "actor", c.ID)
	return LifecycleAnswer{Stopped: true}, nil
}

// mayStop decides who may stop a mission whose rows may be unreadable: who may revoke it, if its record can be read,
// else an operator.
func (a *Authority) mayStop(c Caller, id mission.ID) bool {
	if id.Validate() != nil {
		return false
	}
	if rec := a.records.get(id); rec != nil {
		return c.mayOperate(mission.OpRevoke, rec)
	}
	if v, err := a.log.View(); err == nil {
		defer v.Close()
		rec, err := a.record(v, id)
		if err == nil {
			return c.mayOperate(mission.OpRevoke, rec)
		}
		if errors.Is(err, ledger.ErrNotFound) {
			return false
		}
	}
	return c.Has(RoleOperator)
}
