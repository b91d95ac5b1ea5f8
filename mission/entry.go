package mission

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// TypeResourceAccess is the only type of Authority Set entry with rules for subset and meet.
const TypeResourceAccess = "mission_resource_access"

// Values of Entry.ResourceMatch.
const (
	MatchExact  = "exact" // the default, also when the member is absent
	MatchPrefix = "prefix"
)

// Shapes in which an entry may cross to a peer domain (Federation.Shapes).
const (
	ShapeStatus       = "status"
	ShapeProjection   = "projection"
	ShapeLocalMission = "local_mission"
)

// Limits of an Authority Set.
const (
	MaxEntries       = 64
	MaxActions       = 64 // per entry
	MaxConstraints   = 32 // per entry
	MaxDelegation    = 8  // delegation.max_depth
	MaxDelegates     = 64 // delegation.allowed_delegates
	MaxAudiences     = 64 // federation.audiences and onward
	MaxLocalMissions = 1024
	MaxGates         = 16 // per entry
)

// An Entry is one element of an Authority Set, a proposal or a ceiling. Entries on the same resource are alternatives;
// their constraints do not combine. The members hold exactly what was received, so that Marshal gives its canonical
// bytes again; treat an Entry as immutable.
type Entry struct {
	Type          string       `json:"type"`
	Resource      string       `json:"resource"`
	ResourceMatch string       `json:"resource_match,omitempty"`
	Actions       []string     `json:"actions"`
	Constraints   *Constraints `json:"constraints,omitempty"`
	Delegation    *Delegation  `json:"delegation,omitempty"`
	Federation    *Federation  `json:"federation,omitempty"`
	Gates         []string     `json:"gates,omitempty"` // stages that must be open; a narrower entry keeps all
}

// looseEntry decodes without the closed vocabulary of Entry.Validate.
type looseEntry Entry

// Delegation says how far and to whom an entry may be passed on inside the domain; absent means not at all.
type Delegation struct {
	MaxDepth         int64          `json:"max_depth"`
	AllowedDelegates *[]Matcher     `json:"allowed_delegates,omitempty"` // nil: policy decides
	Other            map[string]Raw `json:",rest"`                       // companions without a rule: unchanged or refused
}

// A Matcher names a delegate by exactly one of its members.
type Matcher struct {
	Sub        *string `json:"sub,omitempty"`
	SubProfile *string `json:"sub_profile,omitempty"`
}

// Federation says to which peer domains an entry may cross, and how; absent means never. It is covered by
// authority_hash and narrowed like Delegation.
type Federation struct {
	Audiences        []string `json:"audiences"`                    // issuers of peer domains
	Shapes           []string `json:"shapes"`                       // of ShapeStatus, ShapeProjection, ShapeLocalMission
	MaxLocalMissions *int64   `json:"max_local_missions,omitempty"` // nil: 1
	Onward           []string `json:"onward,omitempty"`             // issuers a peer may convey it to; none if absent
}

// LocalMissions is max_local_missions with its default.
func (f *Federation) LocalMissions() int64 {
	if f.MaxLocalMissions == nil {
		return 1
	}
	return *f.MaxLocalMissions
}

var (
	errEntryType         = errors.New("type without a rule")
	errMatch             = errors.New("resource_match is neither exact nor prefix")
	errActions           = errors.New("malformed action")
	errDelegation        = errors.New("malformed delegation")
	errUnknownDelegation = errors.New("delegation member without a rule")
	errFederation        = errors.New("malformed federation")
	errGates             = errors.New("malformed gate")
	errLimit             = errors.New("limit exceeded")
	errEmptySet          = errors.New("no entries")
)

// ParseEntries reads an array of 1 to MaxEntries entries under the closed schema: another type, an unknown member, an
// unknown constraint, a malformed value or an exceeded limit refuses the whole array.
func ParseEntries(data []byte) ([]Entry, error) {
	var set []Entry
	if err := Decode(data, &set); err != nil {
		return nil, err
	}
	return set, checkCount(set)
}

func checkCount(set []Entry) error {
	if len(set) == 0 {
		return &JSONError{Reason: JSONInvalidValue, Offset: -1, Err: errEmptySet}
	}
	if len(set) > MaxEntries {
		return &JSONError{Reason: JSONInvalidValue, Offset: -1, Err: errLimit}
	}
	return nil
}

// ParseEntry reads one entry that may carry constraint keys and delegation members without a rule here; they are kept
// (Constraints.Other, Delegation.Other), and what carries them is inside nothing that lacks them and contains nothing.
func ParseEntry(data []byte) (Entry, error) {
	var e looseEntry
	if err := Decode(data, &e); err != nil {
		return Entry{}, err
	}
	return Entry(e), Entry(e).check()
}

// ParseConveyed reads an array of entries made by a peer. An entry of a type, with a member or with a constraint that
// has no rule here is dropped and counted; a malformed text or value is an error.
func ParseConveyed(data []byte) (known []Entry, dropped int, err error) {
	v, err := parse(data)
	if err != nil {
		return nil, 0, err
	}
	if v.kind != kindArray || len(v.members) > MaxEntries {
		return nil, 0, wrongType()
	}
	for i := range v.members {
		e, understood, err := v.members[i].conveyed()
		if err != nil {
			return nil, 0, within("["+strconv.Itoa(i)+"]", err)
		}
		if !understood {
			dropped++
			continue
		}
		known = append(known, e)
	}
	return known, dropped, nil
}

func (v *value) conveyed() (e Entry, understood bool, err error) {
	typ, ok := v.get("type").text()
	if !ok {
		return Entry{}, false, wrongType()
	}
	if typ != TypeResourceAccess {
		return Entry{}, false, nil
	}
	var loose looseEntry
	if err := v.decodeInto(&loose, false); err != nil {
		var je *JSONError
		if errors.As(err, &je) && je.Reason == JSONUnknownMember {
			return Entry{}, false, nil
		}
		return Entry{}, false, err
	}
	if err := Entry(loose).check(); err != nil {
		return Entry{}, false, invalidValue(err)
	}
	return Entry(loose), Entry(loose).vocabulary() == nil, nil
}

// Validate checks e against the closed schema and all limits. Decode calls it.
func (e Entry) Validate() error {
	if err := e.check(); err != nil {
		return err
	}
	return e.vocabulary()
}

// vocabulary refuses constraints and delegation members without a rule.
func (e Entry) vocabulary() error {
	if e.Constraints != nil && len(e.Constraints.Other) > 0 {
		return errUnknownConstraint
	}
	if e.Delegation != nil && len(e.Delegation.Other) > 0 {
		return errUnknownDelegation
	}
	return nil
}

// check says whether e is well formed and within the limits. Keys without a rule are not looked into.
func (e Entry) check() error {
	if e.Type != TypeResourceAccess {
		return errEntryType
	}
	switch e.ResourceMatch {
	case "", MatchExact:
		if err := checkResource(e.Resource); err != nil {
			return fmt.Errorf("resource: %w", err)
		}
	case MatchPrefix:
		if err := checkPrefixResource(e.Resource); err != nil {
			return fmt.Errorf("resource: %w", err)
		}
	default:
		return errMatch
	}
	if len(e.Actions) == 0 || len(e.Actions) > MaxActions || !allOf(e.Actions, isAction) {
		return errActions
	}
	if err := e.Constraints.check(); err != nil {
		return err
	}
	if !e.Delegation.ok() {
		return errDelegation
	}
	if !e.Federation.ok() {
		return errFederation
	}
	if len(e.Gates) > MaxGates || !allOf(e.Gates, isGate) || repeats(e.Gates) {
		return errGates
	}
	return nil
}

func allOf(list []string, ok func(string) bool) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !ok(s) })
}

func repeats(list []string) bool {
	for i, s := range list {
		if slices.Contains(list[:i], s) {
			return true
		}
	}
	return false
}

func isGate(s string) bool { return isName(s, 64) }

// isAction accepts a literal, or a family: a literal followed by ".*".
func isAction(s string) bool { return isName(strings.TrimSuffix(s, ".*"), 256) }

// IsFamily reports whether an action stands for every action under a name ("invoices.*").
func IsFamily(action string) bool { return strings.HasSuffix(action, ".*") }

func (d *Delegation) ok() bool {
	if d == nil {
		return true
	}
	if d.MaxDepth < 0 || d.MaxDepth > MaxDelegation {
		return false
	}
	return d.AllowedDelegates == nil || len(*d.AllowedDelegates) <= MaxDelegates &&
		!slices.ContainsFunc(*d.AllowedDelegates, func(m Matcher) bool { return !m.ok() })
}

func (m Matcher) ok() bool {
	return (m.Sub == nil) != (m.SubProfile == nil) && optional(m.Sub, isShort) && optional(m.SubProfile, isShort)
}

func (m Matcher) equal(o Matcher) bool {
	return equal(m.Sub, o.Sub) && equal(m.SubProfile, o.SubProfile)
}

func (f *Federation) ok() bool {
	if f == nil {
		return true
	}
	isIssuer := func(s string) bool { return CheckIssuer(s) == nil }
	return len(f.Audiences) > 0 && len(f.Audiences) <= MaxAudiences && allOf(f.Audiences, isIssuer) &&
		len(f.Shapes) > 0 && allOf(f.Shapes, isShape) &&
		!repeats(f.Audiences) && !repeats(f.Shapes) && !repeats(f.Onward) &&
		f.LocalMissions() >= 0 && f.LocalMissions() <= MaxLocalMissions &&
		len(f.Onward) <= MaxAudiences && allOf(f.Onward, isIssuer)
}

func isShape(s string) bool {
	return s == ShapeStatus || s == ShapeProjection || s == ShapeLocalMission
}

// Equal reports whether both entries have the same canonical form.
func (e Entry) Equal(o Entry) bool {
	a, errA := Marshal(e)
	b, errB := Marshal(o)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
