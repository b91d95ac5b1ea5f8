package mission

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// State is where a Mission stands. Every value other than Active, known or not, is non-active.
type State string

// The states. All but Active and Suspended are terminal.
const (
	Active     State = "active"
	Suspended  State = "suspended"
	Revoked    State = "revoked"
	Expired    State = "expired"
	Completed  State = "completed"
	Superseded State = "superseded"
	Cascaded   State = "cascaded"
)

// Terminal reports whether s is one of the known terminal states.
func (s State) Terminal() bool {
	switch s {
	case Revoked, Expired, Completed, Superseded, Cascaded:
		return true
	}
	return false
}

// Operation is what a Transition does.
type Operation string

// The operations. Clients may ask for the first four; the others are the clock's, the cascade's and the coupling's.
const (
	OpRevoke    Operation = "revoke"
	OpSuspend   Operation = "suspend"
	OpResume    Operation = "resume"
	OpComplete  Operation = "complete"
	OpExpire    Operation = "expire"
	OpCascade   Operation = "cascade"
	OpSupersede Operation = "supersede"
	OpHold      Operation = "hold"
	OpRelease   Operation = "release"
)

// Reasons of a Hold.
const (
	HoldAwaitingReceipt      = "awaiting_receipt"      // a new local Mission whose origin has not acknowledged it
	HoldUpstreamUnverified   = "upstream_unverified"   // no fresh verified status of the upstream
	HoldUpstreamSuspended    = "upstream_suspended"    // the upstream is suspended or held
	HoldUpstreamNarrowed     = "upstream_narrowed"     // the upstream no longer contains the local authority
	HoldUpstreamEquivocation = "upstream_equivocation" // the upstream contradicted itself
	HoldUpstreamRefused      = "upstream_refused"      // the upstream answered 401 or 404
	HoldPeerEnded            = "peer_ended"            // the agreement is paused or over
	HoldOperator             = "operator"
)

// A Hold stops reliance without touching the state. Several may be set, at most one per reason, and each is released
// on its own; on the wire the oldest is shown and the state reads suspended.
type Hold struct {
	Reason string `json:"reason"`
	Since  string `json:"since"`
}

// A Standing is the small versioned row beside a Record: everything about a Mission that changes.
type Standing struct {
	MissionID          ID        `json:"mission_id"`
	State              State     `json:"state"`
	Version            uint64    `json:"version"` // approval = 1, then +1 with every committed change
	ExpiresAt          string    `json:"expires_at"`
	ChangedAt          string    `json:"changed_at"`
	SuspendUntil       string    `json:"suspend_until,omitempty"`
	OnExpiry           Operation `json:"on_expiry,omitempty"` // OpResume or OpRevoke, iff SuspendUntil
	Holds              []Hold    `json:"holds,omitempty"`     // oldest first
	Successor          ID        `json:"successor,omitempty"` // iff superseded
	Discharged         []Latch   `json:"discharged,omitempty"`
	Contained          []Digest  `json:"contained,omitempty"` // digests of entries that are contained whole
	ContainmentVersion uint64    `json:"containment_version,omitempty"`
}

// A Latch records that a terminal_when condition of an entry was discharged. It is never undone.
type Latch struct {
	Entry     Digest `json:"entry_digest"`
	Condition Digest `json:"condition_digest"`
}

// Hold returns the oldest hold, or nil.
func (s Standing) Hold() *Hold {
	if len(s.Holds) == 0 {
		return nil
	}
	h := s.Holds[0]
	return &h
}

// HeldFor reports whether a hold with this reason is set.
func (s Standing) HeldFor(reason string) bool {
	return slices.ContainsFunc(s.Holds, func(h Hold) bool { return h.Reason == reason })
}

// A Transition is one requested change.
type Transition struct {
	Operation       Operation
	ExpectedVersion *uint64   // nil: any
	SuspendUntil    string    // suspend only, RFC 3339 in the future; then OnExpiry is required
	OnExpiry        Operation // OpResume or OpRevoke
	HoldReason      string    // hold and release only
	Successor       ID        // supersede only
}

// target is the state a transition leads to; "" if it leaves the state alone.
func (t Transition) target() State {
	switch t.Operation {
	case OpRevoke:
		return Revoked
	case OpSuspend:
		return Suspended
	case OpResume:
		return Active
	case OpComplete:
		return Completed
	case OpExpire:
		return Expired
	case OpCascade:
		return Cascaded
	case OpSupersede:
		return Superseded
	}
	return ""
}

// Outcome says what Next did.
type Outcome string

// The outcomes. Unchanged is an idempotent success: nothing is to be committed.
const (
	Changed   Outcome = "changed"
	Unchanged Outcome = "unchanged"
)

// Errors of Next.
var (
	// ErrIllegal: the operation is not legal from the current state (409 conflict).
	ErrIllegal = errors.New("mission: illegal transition")
	// ErrStaleVersion: ExpectedVersion is not the current version (409 stale_version).
	ErrStaleVersion = errors.New("mission: stale version")
	// ErrTransition: the operation is malformed (400 invalid_request).
	ErrTransition = errors.New("mission: malformed transition")
	// ErrDue: the clock has already ended this Mission; commit the transition that Due returns first, then decide again.
	ErrDue = errors.New("mission: a due transition comes first")
)

// Begin is the Standing of a newly approved Mission: active, version 1. A Record with an upstream begins held with
// HoldAwaitingReceipt.
func Begin(rec *Record) Standing {
	s := Standing{
		MissionID: rec.ID,
		State:     Active,
		Version:   1,
		ExpiresAt: rec.ExpiresAt,
		ChangedAt: rec.CreatedAt,
	}
	if rec.Upstream != nil {
		s.Holds = []Hold{{Reason: HoldAwaitingReceipt, Since: rec.CreatedAt}}
	}
	return s
}

// reached reports whether the instant spelt s has come at `at`. A malformed time has: what ends then, is over.
func reached(s string, at time.Time) bool {
	t, err := ParseTime(s)
	return err != nil || !at.Before(t)
}

// Due returns the transition that the clock alone demands at `at`: expire from the instant of expires_at on, else what
// on_expiry says from the instant of suspend_until on.
func Due(cur Standing, at time.Time) (Transition, bool) {
	switch {
	case cur.State.Terminal():
		return Transition{}, false
	case reached(cur.ExpiresAt, at):
		return Transition{Operation: OpExpire}, true
	case cur.State == Suspended && isTime(cur.SuspendUntil) && reached(cur.SuspendUntil, at):
		if cur.OnExpiry == OpResume {
			return Transition{Operation: OpResume}, true
		}
		return Transition{Operation: OpRevoke}, true
	}
	return Transition{}, false
}

// Next applies one transition at the instant `at` and returns the new Standing (version + 1) or, with Unchanged, cur
// itself. Errors wrap ErrTransition, ErrDue, ErrStaleVersion or ErrIllegal, looked for in this order.
//
//	operation  legal from                leads to    on a Mission already there
//	revoke     active, suspended         revoked     unchanged
//	suspend    active, suspended         suspended   unchanged, or changed if its deadline differs
//	resume     suspended                 active      illegal
//	complete   active, suspended         completed   unchanged
//	expire     active, suspended, once   expired     unchanged
//	           expires_at has come
//	cascade    active, suspended         cascaded    unchanged
//	supersede  active                    superseded  illegal
//	hold       active, suspended         + a hold    unchanged if held for that reason
//	release    active, suspended         - a hold    unchanged if not held for that reason
func Next(cur Standing, op Transition, at time.Time) (next Standing, outcome Outcome, err error) {
	if err := op.check(at); err != nil {
		return cur, Unchanged, err
	}
	if due, ok := Due(cur, at); ok && due.target().Terminal() && due.Operation != op.Operation {
		return cur, Unchanged, fmt.Errorf("%w: %s", ErrDue, due.Operation)
	}
	if op.ExpectedVersion != nil && *op.ExpectedVersion != cur.Version {
		return cur, Unchanged, ErrStaleVersion
	}
	if same, legal := cur.admits(op, at); !legal {
		return cur, Unchanged, fmt.Errorf("%w: %s from %s", ErrIllegal, op.Operation, cur.State)
	} else if same {
		return cur, Unchanged, nil
	}
	next = cur.after(op, at)
	next.Version++
	next.ChangedAt = FormatTime(at)
	return next, Changed, nil
}

// check says whether the transition is well formed, whatever it is applied to.
func (t Transition) check(at time.Time) error {
	deadline := t.SuspendUntil != ""
	switch {
	case t.target() == "" && t.Operation != OpHold && t.Operation != OpRelease:
		return fmt.Errorf("%w: operation", ErrTransition)
	case (deadline || t.OnExpiry != "") && t.Operation != OpSuspend:
		return fmt.Errorf("%w: suspend_until", ErrTransition)
	case deadline != (t.OnExpiry != "") || deadline && t.OnExpiry != OpResume && t.OnExpiry != OpRevoke:
		return fmt.Errorf("%w: on_expiry", ErrTransition)
	case deadline && reached(t.SuspendUntil, at):
		return fmt.Errorf("%w: suspend_until", ErrTransition)
	case (t.HoldReason != "") != (t.Operation == OpHold || t.Operation == OpRelease),
		t.HoldReason != "" && !isName(t.HoldReason, 64):
		return fmt.Errorf("%w: hold reason", ErrTransition)
	case (t.Successor != "") != (t.Operation == OpSupersede):
		return fmt.Errorf("%w: successor", ErrTransition)
	}
	return nil
}

// admits looks up the table of Next: whether op is legal from here, and whether it would change nothing.
func (s Standing) admits(op Transition, at time.Time) (same, legal bool) {
	open := s.State == Active || s.State == Suspended
	switch op.Operation {
	case OpSuspend:
		return s.State == Suspended && s.SuspendUntil == op.SuspendUntil && s.OnExpiry == op.OnExpiry, open
	case OpResume:
		return false, s.State == Suspended
	case OpSupersede:
		return false, s.State == Active
	case OpHold:
		return s.HeldFor(op.HoldReason), open
	case OpRelease:
		return !s.HeldFor(op.HoldReason), open
	case OpExpire:
		return s.State == Expired, s.State == Expired || open && reached(s.ExpiresAt, at)
	}
	same = s.State == op.target()
	return same, same || open
}

// after is the Standing that a legal, changing op leaves, before its version and time are set.
func (s Standing) after(op Transition, at time.Time) Standing {
	s.Holds = slices.Clone(s.Holds)
	switch op.Operation {
	case OpHold:
		s.Holds = append(s.Holds, Hold{Reason: op.HoldReason, Since: FormatTime(at)})
		return s
	case OpRelease:
		s.Holds = slices.DeleteFunc(s.Holds, func(h Hold) bool { return h.Reason == op.HoldReason })
		if len(s.Holds) == 0 {
			s.Holds = nil
		}
		return s
	}
	s.State = op.target()
	s.SuspendUntil, s.OnExpiry, s.Successor = op.SuspendUntil, op.OnExpiry, op.Successor
	if s.State.Terminal() {
		s.Holds = nil
	}
	return s
}
