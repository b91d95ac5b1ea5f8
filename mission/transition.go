package mission

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// MaxReason bounds the reason of a transition, in code points.
const MaxReason = 1024

// A TransitionRecord is the lifecycle transition object: the body of the evidence of one committed change after
// approval (audit 3.1, 3.2). Beyond the draft's members it carries everything the Standing row holds, so that the row
// can be rebuilt from the record and its transitions alone, and who caused it.
type TransitionRecord struct {
	MissionID      ID        `json:"mission_id"`
	Issuer         string    `json:"issuer"`
	State          State     `json:"state"`
	PriorState     State     `json:"prior_state"`
	Version        uint64    `json:"version"`
	TransitionedAt string    `json:"transitioned_at"`
	Operation      Operation `json:"operation"`
	SuspendUntil   string    `json:"suspend_until,omitempty"`
	OnExpiry       Operation `json:"on_expiry,omitempty"`
	Holds          []Hold    `json:"holds,omitempty"` // all that are set afterwards
	Successor      ID        `json:"successor,omitempty"`
	Actor          string    `json:"actor,omitempty"`  // principal id, or what acted without one ("clock", "coupling")
	Reason         string    `json:"reason,omitempty"` // untrusted text, at most MaxReason
	Cause          Digest    `json:"cause,omitempty"`  // the artifact that led to it, e.g. an upstream status
	Salt           string    `json:"salt"`             // at least 128 bits, base64url
}

// NewTransitionRecord describes the change from prior to next by op, with a fresh salt. Actor, Reason and Cause may be
// set afterwards.
func NewTransitionRecord(issuer string, prior, next Standing, op Operation) TransitionRecord {
	return TransitionRecord{
		MissionID:      next.MissionID,
		Issuer:         issuer,
		State:          next.State,
		PriorState:     prior.State,
		Version:        next.Version,
		TransitionedAt: next.ChangedAt,
		Operation:      op,
		SuspendUntil:   next.SuspendUntil,
		OnExpiry:       next.OnExpiry,
		Holds:          slices.Clone(next.Holds),
		Successor:      next.Successor,
		Salt:           NewSalt(),
	}
}

var errTransitionRecord = errors.New("mission: malformed transition object")

// Validate checks shapes. Decode calls it.
func (t TransitionRecord) Validate() error {
	salt, err := decodeBase64(t.Salt)
	switch {
	case err != nil || len(salt) < 16:
		return fmt.Errorf("%w: salt", errTransitionRecord)
	case t.Version < 2 || !isTime(t.TransitionedAt):
		return fmt.Errorf("%w: version or time", errTransitionRecord)
	case t.State == "" || t.PriorState == "" || t.Operation == "":
		return fmt.Errorf("%w: state", errTransitionRecord)
	case (t.SuspendUntil == "") != (t.OnExpiry == "") || t.SuspendUntil != "" && !isTime(t.SuspendUntil):
		return fmt.Errorf("%w: suspend_until", errTransitionRecord)
	case utf8.RuneCountInString(t.Reason) > MaxReason:
		return fmt.Errorf("%w: reason", errTransitionRecord)
	}
	return CheckIssuer(t.Issuer)
}

// ParseTransitionRecord reads and checks a transition object.
func ParseTransitionRecord(data []byte) (*TransitionRecord, error) {
	var t TransitionRecord
	if err := Decode(data, &t); err != nil {
		return nil, err
	}
	return &t, nil
}

// ErrReplay: a transition does not continue the Standing it is replayed on.
var ErrReplay = errors.New("mission: transition does not continue the history")

// Replay applies a logged transition to the Standing before it. The mission must be the same, the version the next one,
// the prior state the present one, and nothing may leave a terminal state; for the rest it repeats what was committed.
func Replay(prior Standing, t *TransitionRecord) (Standing, error) {
	if t.MissionID != prior.MissionID || t.Version != prior.Version+1 || t.PriorState != prior.State ||
		prior.State.Terminal() {
		return prior, fmt.Errorf("%w: version %d", ErrReplay, t.Version)
	}
	next := prior
	next.State = t.State
	next.Version = t.Version
	next.ChangedAt = t.TransitionedAt
	next.SuspendUntil, next.OnExpiry = t.SuspendUntil, t.OnExpiry
	next.Holds = slices.Clone(t.Holds)
	next.Successor = t.Successor
	return next, nil
}
