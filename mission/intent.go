package mission

import "time"

// Limits of a Mission Intent.
const (
	MaxIntent       = 64 << 10 // octets of the canonical form
	MaxGoal         = 4096     // code points
	MaxResources    = 64
	MaxProse        = 64 // elements of constraints and of success_criteria, MaxGoal code points each
	MaxResourceURI  = 2048
	MaxPurposeURI   = 1024
	MaxControlNames = 16
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

// Controls are bounds the client asks for. The object is open: unknown members are kept in Extensions, need a
// collision-resistant name (one with a dot, a colon or a slash) and must be shown as not enforced.
type Controls struct {
	ACR             string // authentication context the approval must satisfy
	MaxDerivations  int64  // 0: absent; else at least 1
	AgentDeployment string
	Extensions      map[string]Raw
}

// ParseIntent reads a Mission Intent received at the instant `at`. Every error is an *Invalid with code
// InvalidIntent.
func ParseIntent(data []byte, at time.Time) (*Intent, error) { panic("not yet") }

// Requested returns the requested expiry.
func (in *Intent) Requested() time.Time { panic("not yet") }

// Hash is the intent_hash under the issuer iss.
func (in *Intent) Hash(iss string) (Digest, error) { return Envelope(TypIntent, iss, in) }
