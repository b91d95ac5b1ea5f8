package mission

import (
	"errors"
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

// The operations. Supersede belongs to expansion and has no wire form.
const (
	OpRevoke   Operation = "revoke"
	OpSuspend  Operation = "suspend"
	OpResume   Operation = "resume"
	OpComplete Operation = "complete"
	OpExpire   Operation = "expire"
	OpCascade  Operation = "cascade"
	OpHold     Operation = "hold"
	OpRelease  Operation = "release"
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

// A Hold stops reliance without touching the state. Several may be set, at most one per reason; on the wire the oldest
// is shown and the state reads suspended.
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
	OnExpiry           Operation `json:"on_expiry,omitempty"` // resume or revoke, iff SuspendUntil
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
	for _, h := range s.Holds {
		if h.Reason == reason {
			return true
		}
	}
	return false
}

// A Transition is one requested change.
type Transition struct {
	Operation       Operation
	ExpectedVersion *uint64   // nil: any
	SuspendUntil    string    // suspend only; then OnExpiry is required
	OnExpiry        Operation // resume or revoke
	HoldReason      string    // hold and release only
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
	// ErrDue: the clock has already moved this Mission; commit the transition that Due returns first, then decide again.
	ErrDue = errors.New("mission: a due transition comes first")
)

// Begin is the Standing of a newly approved Mission: active, version 1. A Record with an upstream begins held with
// HoldAwaitingReceipt.
func Begin(rec *Record) Standing { panic("not yet") }

// Due returns the transition that the clock alone demands at `at`: expire from the instant of expires_at on, else what
// on_expiry says from the instant of suspend_until on.
func Due(cur Standing, at time.Time) (Transition, bool) { panic("not yet") }

// Next applies one transition at the instant `at` and returns the new Standing (version + 1) or, with Unchanged, cur
// itself. Errors wrap ErrIllegal, ErrStaleVersion, ErrTransition or ErrDue.
func Next(cur Standing, op Transition, at time.Time) (next Standing, outcome Outcome, err error) {
	panic("not yet")
}

// Effective is the state that may be reported and relied on at `at`: expiry first, then the suspend deadline, then
// holds (a held Mission is Suspended). A Standing that does not belong to the Record, or with a malformed time, is
// never Active.
func Effective(rec *Record, cur Standing, at time.Time) (State, *Hold) { panic("not yet") }
