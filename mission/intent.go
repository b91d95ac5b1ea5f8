package mission

import (
	"errors"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of a Mission Intent.
const (
	MaxIntent        = 64 << 10 // octets of the canonical form
	MaxGoal          = 4096     // code points
	MaxResources     = 64
	MaxProse         = 64 // elements of constraints and of success_criteria, MaxGoal code points each
	MaxResourceURI   = 2048
	MaxPurposeURI    = 1024
	MaxControlsExtra = 16
)

// An Intent is the client's request in its own words: what for, on which resources, until when. It is recorded
// verbatim and committed by intent_hash. Its prose (Goal, Constraints, SuccessCriteria) is for people and never
// changes what is derived (core 1.2).
type Intent struct {
	Goal            string    `json:"goal"`
	GoalLang        string    `json:"goal_lang,omitempty"` // BCP 47, display only
	Resources       []string  `json:"resources"`           // absolute URIs: every `resource` an entry may use
	Constraints     []string  `json:"constraints,omitempty"`
	SuccessCriteria []string  `json:"success_criteria,omitempty"`
	Purpose         string    `json:"purpose,omitempty"` // opaque URI
	ExpiresAt       string    `json:"expires_at"`        // RFC 3339 as the client spelt it: the requested ceiling
	Controls        *Controls `json:"controls,omitempty"`
}

// Controls are bounds the client asks for. The object is open: other members are kept in Extensions, need a
// collision-resistant name (one with a dot, a colon or a slash) and must be shown as not enforced.
type Controls struct {
	ACR             string         `json:"acr,omitempty"`             // authentication context the approval must satisfy
	MaxDerivations  int64          `json:"max_derivations,omitempty"` // at least 1; 0 only if absent
	AgentDeployment string         `json:"agent_deployment,omitempty"`
	Extensions      map[string]Raw `json:",rest"`
}

// ParseIntent reads a Mission Intent received at the instant `at`: its expiry must lie after it. Every error is an
// *Invalid with code InvalidIntent.
func ParseIntent(data []byte, at time.Time) (*Intent, error) {
	var in Intent
	if err := Decode(data, &in); err != nil {
		return nil, invalid(InvalidIntent, err)
	}
	if err := in.accept(at); err != nil {
		return nil, err
	}
	return &in, nil
}

// accept makes the checks of a newly received Intent that a recorded one need not pass again.
func (in *Intent) accept(at time.Time) error {
	text, err := Marshal(in)
	if err != nil {
		return invalid(InvalidIntent, err)
	}
	if len(text) > MaxIntent {
		return &Invalid{Code: InvalidIntent, Member: "intent", Err: errLimit}
	}
	if !in.Requested().After(at) {
		return &Invalid{Code: InvalidIntent, Member: "expires_at", Err: errPast}
	}
	return nil
}

// Requested returns the requested expiry.
func (in *Intent) Requested() time.Time { return instant(in.ExpiresAt) }

// Hash is the intent_hash under the issuer iss.
func (in *Intent) Hash(iss string) (Digest, error) { return Envelope(TypIntent, iss, in) }

var (
	errPast     = errors.New("not in the future")
	errText     = errors.New("empty or too long")
	errLang     = errors.New("not a language tag")
	errRepeated = errors.New("repeated")
	errPurpose  = errors.New("not an absolute URI")
	errControl  = errors.New("malformed control")
)

// languageTag is the well-formed langtag or private use of RFC 5646 2.1, without the grandfathered tags.
var languageTag = regexp.MustCompile(`^(?i:(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})(?:-[a-z]{4})?` +
	`(?:-(?:[a-z]{2}|[0-9]{3}))?(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(?:-[0-9a-wyz](?:-[a-z0-9]{2,8})+)*` +
	`(?:-x(?:-[a-z0-9]{1,8})+)?|x(?:-[a-z0-9]{1,8})+)$`)

// Validate checks shapes and limits, not that the expiry lies ahead. Decode calls it.
func (in *Intent) Validate() error {
	switch {
	case !isProse(in.Goal):
		return memberError("goal", errText)
	case in.GoalLang != "" && (len(in.GoalLang) > 64 || !languageTag.MatchString(in.GoalLang)):
		return memberError("goal_lang", errLang)
	case len(in.Resources) == 0 || len(in.Resources) > MaxResources:
		return memberError("resources", errLimit)
	case repeats(in.Resources):
		return memberError("resources", errRepeated)
	case len(in.Constraints) > MaxProse || !allOf(in.Constraints, isProse):
		return memberError("constraints", errText)
	case len(in.SuccessCriteria) > MaxProse || !allOf(in.SuccessCriteria, isProse):
		return memberError("success_criteria", errText)
	case in.Purpose != "" && !isPurpose(in.Purpose):
		return memberError("purpose", errPurpose)
	case !isTime(in.ExpiresAt):
		return memberError("expires_at", ErrTime)
	}
	for _, r := range in.Resources {
		if err := checkResource(r); err != nil {
			return memberError("resources", err)
		}
	}
	if in.Controls != nil && !in.Controls.ok() {
		return memberError("controls", errControl)
	}
	return nil
}

func memberError(name string, err error) error {
	return &JSONError{Reason: JSONInvalidValue, Offset: -1, Path: name, Member: name, Err: err}
}

func isProse(s string) bool { return s != "" && utf8.RuneCountInString(s) <= MaxGoal }

func isPurpose(s string) bool {
	_, ok := splitURI(s)
	return ok && len(s) <= MaxPurposeURI
}

func (c *Controls) ok() bool {
	if c.MaxDerivations < 0 || len(c.ACR) > 256 || len(c.AgentDeployment) > 256 ||
		len(c.Extensions) > MaxControlsExtra {
		return false
	}
	for name := range c.Extensions {
		if len(name) > 256 || !strings.ContainsAny(name, ".:/") {
			return false
		}
	}
	return true
}
