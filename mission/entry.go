package mission

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
	MaxEntries     = 64
	MaxActions     = 64 // per entry
	MaxConstraints = 32 // per entry
	MaxDepthOfUse  = 8  // delegation.max_depth
	MaxMatchers    = 64 // delegation.allowed_delegates
	MaxAudiences   = 64 // federation.audiences and onward
	MaxGates       = 16 // per entry
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

// Constraints are the Common Constraints (core 1.6). A nil pointer or slice is an absent key.
type Constraints struct {
	MaxAmount              *Amount
	ResourceIssuedAfter    string // RFC 3339
	ResourceIssuedBefore   string // RFC 3339
	Tenant                 *string
	RecipientDomain        string
	TimeWindow             *TimeWindow
	DataClassification     *[]string
	AllowedTools           *[]string
	RequiresActionApproval *bool // false binds nothing
	TerminalWhen           []Condition
	Other                  map[string]Raw // keys without a rule: never inside anything, never derived
}

// An Amount is an exact decimal in one currency.
type Amount struct {
	Amount   string `json:"amount"`   // [0-9]+(.[0-9]{1,18})?
	Currency string `json:"currency"` // ISO 4217
}

// A TimeWindow has at least one bound; an absent bound is unbounded.
type TimeWindow struct {
	NotBefore string `json:"not_before,omitempty"`
	NotAfter  string `json:"not_after,omitempty"`
}

// A Condition ends the use of an entry when its event is discharged.
type Condition struct {
	EventType       string `json:"event_type"`
	DischargePolicy string `json:"discharge_policy,omitempty"`
}

// Delegation says how far and to whom an entry may be passed on inside the domain; absent means not at all.
type Delegation struct {
	MaxDepth         int64
	AllowedDelegates *[]Matcher     // nil: policy decides
	Other            map[string]Raw // companion members: carried unchanged, never changed or dropped alone
}

// A Matcher names a delegate by exactly one of its members.
type Matcher struct {
	Sub        string `json:"sub,omitempty"`
	SubProfile string `json:"sub_profile,omitempty"`
}

// Federation says to which peer domains an entry may cross, and how; absent means never (design: federation).
type Federation struct {
	Audiences        []string `json:"audiences"` // issuers of peer domains
	Shapes           []string `json:"shapes"`
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

// ParseEntries reads an array of 1 to MaxEntries entries under the closed schema: another type, an unknown member, an
// unknown constraint, a malformed value or an exceeded limit refuses the whole array.
func ParseEntries(data []byte) ([]Entry, error) { panic("not yet") }

// ParseEntry reads one entry that may carry constraint keys and delegation members without a rule here; they are kept
// (Constraints.Other, Delegation.Other) and make it broader than nothing and narrower than nothing.
func ParseEntry(data []byte) (Entry, error) { panic("not yet") }

// ParseConveyed reads an array of entries made by a peer. An entry of an unknown type, or with a member, action or
// constraint that has no rule here, is dropped and counted; a malformed text is an error.
func ParseConveyed(data []byte) (known []Entry, dropped int, err error) { panic("not yet") }

// Validate checks e against the closed schema and all limits. Decode calls it.
func (e Entry) Validate() error { panic("not yet") }
