package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mission-authority/mas/ledger"
)

// A Kind classes an Error without naming a transport.
type Kind uint8

// The kinds of Error. The zero Kind is an internal failure.
const (
	Internal     Kind = iota // a fault of ours; nothing about it is told
	Invalid                  // the request is malformed or asks for what cannot be
	Unauthorized             // the caller is not who it must be
	Forbidden                // the caller is known, may know about the thing, and may not do this
	NotFound                 // unknown or not visible: the two are indistinguishable
	Conflict                 // the state of the thing refuses
	RateLimited              // too many; see RetryAfter
	Unavailable              // a latch, a doubtful clock, an emergency stop, or no log: fail closed
)

// An Error is a refusal with a stable code. Its Description is constant text: it never carries content of a request.
type Error struct {
	Kind        Kind
	Code        string // stable wire code of the surface, e.g. "invalid_mission_intent", "stale_version"
	Description string
	Reason      string        // optional finer code or the name of the offending member; reveals no policy
	RetryAfter  time.Duration // with RateLimited and Unavailable
	Err         error         // cause, for the operator's log only
}

// Error implements error.
func (e *Error) Error() string {
	s := e.Code
	if e.Reason != "" {
		s += " (" + e.Reason + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// refusal makes an Error without a cause.
func refusal(kind Kind, code, description string) *Error {
	return &Error{Kind: kind, Code: code, Description: description}
}

// because returns e with a finer reason.
func (e *Error) because(reason string) *Error {
	out := *e
	out.Reason = reason
	return &out
}

// wrap returns e with a cause.
func (e *Error) wrap(err error) *Error {
	out := *e
	out.Err = err
	return &out
}

// The refusals that several surfaces share. They are copied before anything is added to them.
var (
	errNotFound    = refusal(NotFound, "not_found", "no such resource")
	errUnavailable = refusal(Unavailable, "unavailable", "the state cannot be established now")
	errCaller      = refusal(Unauthorized, "unauthorized", "the caller is not known with this key")
	errForbidden   = refusal(Forbidden, "access_denied", "the caller may not do this")
	errRequest     = refusal(Invalid, "invalid_request", "the request is malformed")
)

// unavailable classes an error of the log: everything that is not a decision of ours fails closed.
func unavailable(doing string, err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if errors.Is(err, ledger.ErrTooLarge) {
		return errRequest.because("too_large").wrap(fmt.Errorf("%s: %w", doing, err))
	}
	out := errUnavailable.wrap(fmt.Errorf("%s: %w", doing, err))
	out.RetryAfter = time.Second
	return out
}
