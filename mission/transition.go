package mission

// A TransitionRecord is the lifecycle transition object: the body of the evidence of one committed change after
// approval (audit 3.1). Beyond the draft's members it carries what the Standing row holds, so that the row can be
// rebuilt from the record and its transitions alone.
type TransitionRecord struct {
	MissionID      ID        `json:"mission_id"`
	Issuer         string    `json:"issuer"`
	State          State     `json:"state"`
	PriorState     State     `json:"prior_state,omitempty"`
	Version        uint64    `json:"version"`
	TransitionedAt string    `json:"transitioned_at"`
	Operation      Operation `json:"operation"`
	SuspendUntil   string    `json:"suspend_until,omitempty"`
	OnExpiry       Operation `json:"on_expiry,omitempty"`
	Holds          []Hold    `json:"holds,omitempty"`
	Successor      ID        `json:"successor,omitempty"`
	Actor          string    `json:"actor,omitempty"`  // principal id, or "clock", "coupling"
	Reason         string    `json:"reason,omitempty"` // untrusted text, at most 1024 code points
	Cause          Digest    `json:"cause,omitempty"`  // artifact that led to it, e.g. an upstream status
	Salt           string    `json:"salt"`             // at least 128 bits, base64url
}

// NewTransitionRecord describes the change from prior to next by op. Actor, Reason and Cause may be set afterwards.
func NewTransitionRecord(issuer string, prior, next Standing, op Operation, salt string) TransitionRecord {
	panic("not yet")
}

// ParseTransitionRecord reads and checks a transition object.
func ParseTransitionRecord(data []byte) (*TransitionRecord, error) { panic("not yet") }

// Replay applies a logged transition to the Standing before it, without judging whether it was legal: the version must
// be the next one, the mission and the prior state the same.
func Replay(prior Standing, t *TransitionRecord) (Standing, error) { panic("not yet") }
