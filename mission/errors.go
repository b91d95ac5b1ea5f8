package mission

import (
	"errors"
	"strconv"
)

// Reasons of a JSONError.
const (
	JSONSyntax          = "syntax"           // not one JSON text
	JSONTooLarge        = "too_large"        // more octets than allowed
	JSONTooDeep         = "too_deep"         // nested deeper than MaxDepth
	JSONDuplicateMember = "duplicate_member" // equal names after unescaping
	JSONBadString       = "bad_string"       // invalid UTF-8, lone surrogate or noncharacter
	JSONBadNumber       = "bad_number"       // not finite, or beyond 2^53-1
	JSONUnknownMember   = "unknown_member"   // not in a closed schema, or spelt in another case
	JSONMissingMember   = "missing_member"   // required and absent
	JSONWrongType       = "wrong_type"       // another JSON type, null, or not an exact integer
	JSONInvalidValue    = "invalid_value"    // refused by the rules of its type
)

// A JSONError says what is wrong with a JSON text and where. Its message names members of the schema only and never
// quotes the text.
type JSONError struct {
	Reason string // one of the constants above
	Path   string // members and indexes from the root down to the object or value, "" for the root
	Member string // the member at fault as spelt in the text, if it is 1 to 64 printable ASCII characters; else ""
	Offset int    // octets read when it was found; -1 if not known
	Err    error  // what a Validate method said, or nil
}

// ErrJSON is what every JSONError is.
var ErrJSON = errors.New("mission: unacceptable JSON")

func (e *JSONError) Error() string {
	s := "mission: json: " + e.Reason
	if e.Path != "" {
		s += " at " + e.Path
	}
	if e.Offset >= 0 {
		s += " (offset " + strconv.Itoa(e.Offset) + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is makes every JSONError an ErrJSON.
func (e *JSONError) Is(target error) bool { return target == ErrJSON }

// Unwrap returns what a Validate method said.
func (e *JSONError) Unwrap() error { return e.Err }

// Codes of an Invalid (core 4.2); they are error codes on the wire.
const (
	InvalidIntent    = "invalid_mission_intent"
	InvalidAuthority = "invalid_authority"
	InvalidEvidence  = "invalid_intent_evidence"
)

// An Invalid is the refusal of a submission: the code for the wire and the member at fault.
type Invalid struct {
	Code   string // one of the constants above
	Member string // the offending member, or the `resources` entry; "" if none can be named
	Err    error
}

func (e *Invalid) Error() string { return "mission: " + e.Code + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Invalid) Unwrap() error { return e.Err }

// invalid wraps err as a refusal, taking the member at fault from a JSONError if it names one.
func invalid(code string, err error) *Invalid {
	var inv *Invalid
	if errors.As(err, &inv) {
		return inv
	}
	member := ""
	var je *JSONError
	if errors.As(err, &je) {
		member = je.Member
		if member == "" {
			member = je.Path
		}
	}
	return &Invalid{Code: code, Member: member, Err: err}
}
