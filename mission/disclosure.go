package mission

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// The template of the disclosures made here. Any change of the words or members below is a new version.
const (
	DisclosureTemplate        = "mas-consent"
	DisclosureTemplateVersion = "1"
)

// A Disclosure is the Consent Disclosure: everything that was put before the approver, as data (core 5.4). There is one
// element of AuthoritySummary per entry of the set, in order. Prose that a client wrote is inert (see Inert), and so is
// every sentence made here; the values of constraints and the delegation are exact data, to be escaped by who shows
// them.
type Disclosure struct {
	DisclosureID             string           `json:"disclosure_id"`
	SourceHashes             SourceHashes     `json:"source_hashes"`
	SubmissionProvenanceHash Digest           `json:"submission_provenance_hash,omitempty"`
	TemplateID               string           `json:"template_id"`
	TemplateVersion          string           `json:"template_version"`
	Locale                   string           `json:"locale"`
	MissionSummary           MissionSummary   `json:"mission_summary"`
	AuthoritySummary         []EntrySummary   `json:"authority_summary"`
	MaterialNotices          []Notice         `json:"material_notices"`
	Approver                 Party            `json:"approver"`
	Subject                  *Party           `json:"subject,omitempty"` // iff not the approver
	RequestingClient         RequestingClient `json:"requesting_client"`
	DisplayContext           DisplayContext   `json:"display_context"`
}

// SourceHashes bind the disclosure to what it discloses.
type SourceHashes struct {
	IntentHash    Digest `json:"intent_hash"`
	AuthorityHash Digest `json:"authority_hash"`
	ProposalHash  Digest `json:"proposal_hash,omitempty"`
}

// MissionSummary is the task in the client's words, with the bounds that will hold.
type MissionSummary struct {
	Goal               string           `json:"goal"`
	GoalLang           string           `json:"goal_lang,omitempty"`
	Purpose            string           `json:"purpose,omitempty"`
	Constraints        []string         `json:"constraints,omitempty"`
	SuccessCriteria    []string         `json:"success_criteria,omitempty"`
	ExpiresAt          string           `json:"expires_at"`
	RequestedExpiresAt string           `json:"requested_expires_at,omitempty"` // iff another instant
	SubjectDisplay     string           `json:"subject_display"`
	ApproverDisplay    string           `json:"approver_display"`
	AuthoritySource    string           `json:"authority_source"`
	Policy             *PolicyRef       `json:"policy,omitempty"`
	PolicyVersion      string           `json:"policy_version"`
	Controls           []ControlSummary `json:"controls,omitempty"`
	Narrowed           bool             `json:"narrowed"` // the set is not what was proposed
}

// ControlSummary is one requested control and whether it is enforced here.
type ControlSummary struct {
	Control  string `json:"control"`
	Value    string `json:"value"` // canonical JSON, inert
	Enforced bool   `json:"enforced"`
}

// EntrySummary is one entry of the set: its members, and sentences for people.
type EntrySummary struct {
	Resource      string              `json:"resource"`
	ResourceMatch string              `json:"resource_match,omitempty"`
	Actions       []string            `json:"actions"`
	Constraints   []ConstraintSummary `json:"constraints,omitempty"`
	Delegation    *Delegation         `json:"delegation,omitempty"`
	Federation    *Federation         `json:"federation,omitempty"`
	Gates         []string            `json:"gates,omitempty"`
	Rendered      []string            `json:"rendered"`
}

// ConstraintSummary is one constraint with its value and a sentence.
type ConstraintSummary struct {
	Constraint string `json:"constraint"`
	Value      Raw    `json:"value"`
	Rendered   string `json:"rendered"`
}

// A Notice points out something an approver must not overlook.
type Notice struct {
	Condition string    `json:"condition"`
	AppliesTo AppliesTo `json:"applies_to"`
	Statement string    `json:"statement"`
}

// AppliesTo names the entry a notice is about.
type AppliesTo struct {
	Resource string `json:"resource"`
	Action   string `json:"action,omitempty"`
}

// A Party is a principal with the name shown for it.
type Party struct {
	Iss     string `json:"iss"`
	Sub     string `json:"sub"`
	Display string `json:"display,omitempty"`
}

func (p Party) shown() string {
	if p.Display == "" {
		return Inert(p.Sub + " at " + p.Iss)
	}
	return Inert(p.Display + " (" + p.Sub + " at " + p.Iss + ")")
}

// RequestingClient is the authenticated submitter.
type RequestingClient struct {
	ClientID string `json:"client_id"`
	Display  string `json:"display,omitempty"`
}

// DisplayContext says where and when the disclosure was rendered.
type DisplayContext struct {
	Channel    string `json:"channel"`
	RenderedAt string `json:"rendered_at"`
}

// DisclosureInput is what a disclosure is built from.
type DisclosureInput struct {
	ID              string // of the disclosure
	Issuer          string
	Intent          *Intent
	Proposal        []Entry // nil iff none was submitted
	Set             []Entry // derived
	ExpiresAt       string  // effective
	Subject         Party
	Approver        Party
	Client          RequestingClient
	Source          AuthoritySource
	PolicyVersion   string
	Evidence        []EvidenceRecord
	EnforcedControl func(name string) bool // nil: none is enforced
	Notices         []Notice               // of the deployment, e.g. from its consequence classes
	Channel         string
	RenderedAt      string
}

// NewDisclosure builds the disclosure and its consent_rendering_hash.
func NewDisclosure(in DisclosureInput) (*Disclosure, Digest, error) {
	d := &Disclosure{
		DisclosureID:     in.ID,
		TemplateID:       DisclosureTemplate,
		TemplateVersion:  DisclosureTemplateVersion,
		Locale:           "en",
		AuthoritySummary: []EntrySummary{},
		MaterialNotices:  []Notice{},
		Approver:         in.Approver,
		RequestingClient: in.Client,
		DisplayContext:   DisplayContext{Channel: in.Channel, RenderedAt: in.RenderedAt},
	}
	if in.Subject.Iss != in.Approver.Iss || in.Subject.Sub != in.Approver.Sub {
		d.Subject = &in.Subject
	}
	if err := d.bind(in); err != nil {
		return nil, "", err
	}
	if err := d.summarize(in); err != nil {
		return nil, "", err
	}
	for _, e := range in.Set {
		s, err := summarizeEntry(e)
		if err != nil {
			return nil, "", err
		}
		d.AuthoritySummary = append(d.AuthoritySummary, s)
		d.MaterialNotices = append(d.MaterialNotices, e.notices()...)
	}
	d.MaterialNotices = append(d.MaterialNotices, in.Notices...)
	hash, err := d.Hash(in.Issuer)
	return d, hash, err
}

// Hash is the consent_rendering_hash under the issuer iss.
func (d *Disclosure) Hash(iss string) (Digest, error) { return Envelope(TypConsentDisclosure, iss, d) }

// bind computes the hashes of what is disclosed.
func (d *Disclosure) bind(in DisclosureInput) error {
	var err error
	if d.SourceHashes.IntentHash, err = in.Intent.Hash(in.Issuer); err != nil {
		return err
	}
	if d.SourceHashes.AuthorityHash, err = AuthorityHash(in.Issuer, in.Set); err != nil {
		return err
	}
	if len(in.Proposal) > 0 {
		if d.SourceHashes.ProposalHash, err = ProposalHash(in.Issuer, in.Proposal); err != nil {
			return err
		}
	}
	if len(in.Evidence) > 0 {
		d.SubmissionProvenanceHash, err = Envelope(TypSubmissionProvenance, in.Issuer, in.Evidence)
	}
	return err
}

func (d *Disclosure) summarize(in DisclosureInput) error {
	m := MissionSummary{
		Goal:            Inert(in.Intent.Goal),
		GoalLang:        in.Intent.GoalLang,
		Purpose:         in.Intent.Purpose,
		Constraints:     inertAll(in.Intent.Constraints),
		SuccessCriteria: inertAll(in.Intent.SuccessCriteria),
		ExpiresAt:       in.ExpiresAt,
		SubjectDisplay:  in.Subject.shown(),
		ApproverDisplay: in.Approver.shown(),
		AuthoritySource: in.Source.Type,
		Policy:          in.Source.Policy,
		PolicyVersion:   in.PolicyVersion,
		Narrowed:        len(in.Proposal) > 0 && !slices.EqualFunc(in.Proposal, in.Set, Entry.Equal),
	}
	effective, err := ParseTime(in.ExpiresAt)
	if err != nil {
		return err
	}
	if !effective.Equal(in.Intent.Requested()) {
		m.RequestedExpiresAt = in.Intent.ExpiresAt
	}
	if in.Intent.Controls != nil {
		if m.Controls, err = summarizeControls(in.Intent.Controls, in.EnforcedControl); err != nil {
			return err
		}
	}
	d.MissionSummary = m
	return nil
}

func summarizeControls(c *Controls, enforced func(string) bool) ([]ControlSummary, error) {
	members, err := membersOf(c)
	if err != nil {
		return nil, err
	}
	var list []ControlSummary
	for _, m := range members {
		list = append(list, ControlSummary{
			Control:  Inert(m.name),
			Value:    Inert(string(m.appendCanonical(nil))),
			Enforced: enforced != nil && enforced(m.name),
		})
	}
	return list, nil
}

// membersOf returns the members of v's JSON object in canonical order.
func membersOf(v any) ([]member, error) {
	text, err := Marshal(v)
	if err != nil {
		return nil, err
	}
	parsed, err := parse(text)
	if err != nil {
		return nil, err
	}
	return parsed.members, nil
}

// ErrCoverage: a disclosure does not disclose exactly the authority it should.
var ErrCoverage = errors.New("mission: the disclosure does not cover the authority")

// Covers returns nil if d discloses exactly the entries of set, element for element and in order.
func (d *Disclosure) Covers(set []Entry) error {
	if len(set) != len(d.AuthoritySummary) {
		return fmt.Errorf("%w: %d of %d entries", ErrCoverage, len(d.AuthoritySummary), len(set))
	}
	for i, e := range set {
		want, err := summarizeEntry(e)
		if err != nil {
			return err
		}
		a, errA := Marshal(want)
		b, errB := Marshal(d.AuthoritySummary[i])
		if errA != nil || errB != nil || string(a) != string(b) {
			return fmt.Errorf("%w: entry %d", ErrCoverage, i)
		}
	}
	return nil
}

// Inert makes text from a client harmless to show: control, format (bidirectional, zero-width), private-use and other
// invisible characters, separators other than the space, and combining characters that pile up are replaced by their
// visible code point, e.g. "<U+202E>". Line feeds are kept. Markup is not interpreted here: whoever shows the text
// escapes it for its medium.
func Inert(s string) string {
	var b strings.Builder
	marks := 0
	for _, r := range s {
		if unicode.Is(unicode.M, r) {
			marks++
		} else {
			marks = 0
		}
		if r == '\n' || r == ' ' || unicode.IsGraphic(r) && !unicode.Is(unicode.Z, r) && !isInvisible(r) && marks <= 2 {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, "<U+%04X>", r)
	}
	return b.String()
}

// isInvisible lists graphic characters that show nothing.
func isInvisible(r rune) bool {
	switch {
	case r == 0x115F, r == 0x1160, r == 0x3164, r == 0xFFA0, r == 0x2800, r == 0x034F, r == 0x17B4, r == 0x17B5:
		return true // Hangul fillers, blank Braille, joiner, Khmer inherent vowels
	case 0xFE00 <= r && r <= 0xFE0F, 0xE0100 <= r && r <= 0xE01EF, 0x180B <= r && r <= 0x180F:
		return true // variation selectors
	}
	return false
}

func inertAll(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, Inert(s))
	}
	return out
}
