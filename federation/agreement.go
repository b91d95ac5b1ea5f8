package federation

import (
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// Limits of an Agreement.
const (
	MaxAgreement         = 32 << 10 // octets of a signed agreement
	MaxProjectionSeconds = 300      // life of any projection
	maxStaleSeconds      = 3600
	maxMissionSeconds    = 366 * 24 * 3600
	maxIssuer            = 512
	maxKeys              = 16
	maxContacts          = 8
	maxText              = 512
)

// ErrAgreement is wrapped by every refusal of an Agreement.
var ErrAgreement = errors.New("federation: unacceptable agreement")

// Roles of a party.
const (
	RoleOrigin   = "origin"   // conveys Missions of its own to the other party
	RoleReceiver = "receiver" // relies on Missions that the other party conveys
)

// Kinds of purpose disclosure, from least to most. They say what of a Mission's purpose a projection may carry.
const (
	DiscloseNone     = "none"
	DiscloseCategory = "category" // the purpose URI
	DiscloseSummary  = "summary"  // and one line for people
)

// ModeLinked is the only privacy mode of this version: Mission ids cross the border unchanged, subjects are pairwise.
const ModeLinked = "linked"

// An Agreement is what two domains agree on before the first Mission crosses. Its canonical JSON is the shared bytes
// that both governance keys sign; its digest names it everywhere. Both parties hold equal bytes, so Parties and
// Directions have one order.
type Agreement struct {
	ID         string         `json:"agreement_id"` // "agr_" and 32 base64url characters
	Version    uint64         `json:"version"`      // 1, then +1
	Previous   mission.Digest `json:"previous,omitempty"`
	Parties    []Party        `json:"parties"`    // two, ascending by issuer
	Directions []Direction    `json:"directions"` // one or two, ascending by from
	Freshness  Freshness      `json:"freshness"`
	Revocation Revocation     `json:"revocation"`
	Privacy    Privacy        `json:"privacy"`
	NotBefore  string         `json:"not_before"` // RFC 3339
	ExpiresAt  string         `json:"expires_at"` // RFC 3339
}

// A Party is one side: what it is called, the keys it signs with, its log, and whom to call.
type Party struct {
	Issuer        string      `json:"issuer"`
	Nonce         string      `json:"nonce"`          // at least 128 bits, base64url: neither side alone chose these bytes
	GovernanceKey mission.Raw `json:"governance_key"` // public JWK; its thumbprint is compared by people out of band
	IssuerKeys    []string    `json:"issuer_keys"`    // RFC 7638 thumbprints: status, projections, receipts, assertions
	EvidenceKeys  []string    `json:"evidence_keys"`  // RFC 9679 thumbprints, base64url: statements
	ReceiptKeys   []string    `json:"receipt_keys"`   // RFC 9679 thumbprints, base64url: COSE receipts
	Log           Log         `json:"log"`
	Roles         []string    `json:"roles"`    // of origin, receiver
	Contacts      []string    `json:"contacts"` // role addresses, never a person's
}

// Governance returns the governance key and its RFC 7638 thumbprint, which is the kid of its signatures.
func (p *Party) Governance() (crypto.PublicKey, string, error) {
	pub, _, err := jws.ParsePublicKey(p.GovernanceKey.Bytes())
	if err != nil {
		return nil, "", fmt.Errorf("governance_key: %w", err)
	}
	thumb, err := jws.Thumbprint(pub)
	if err != nil {
		return nil, "", fmt.Errorf("governance_key: %w", err)
	}
	return pub, thumb, nil
}

// Log names a party's log.
type Log struct {
	Origin  string `json:"origin"`
	VKey    string `json:"vkey"`    // signed-note verifier key of its checkpoints
	Genesis string `json:"genesis"` // entry id of index 0
}

// A Direction bounds what one party may convey to the other. What is not listed does not cross.
type Direction struct {
	From                 string      `json:"from"`
	To                   string      `json:"to"`
	Shapes               []string    `json:"shapes"`          // of status, projection, local_mission
	Resources            []string    `json:"resources"`       // prefix resources
	Actions              []string    `json:"actions"`         // names or families, as in an entry
	ConstraintKeys       []string    `json:"constraint_keys"` // constraints that the receiver promises to enforce
	Classes              []ClassRule `json:"classes"`         // actions of the restricted classes
	MaxProjectionSeconds int64       `json:"max_projection_seconds"`
	MaxMissionSeconds    int64       `json:"max_mission_seconds"` // life of a local Mission
}

// Freshness bounds what an answer about state is good for.
type Freshness struct {
	MaxStaleSeconds  int64 `json:"max_stale_seconds"`  // from sending a nonce to the end of reliance on its answer
	StatusTTLSeconds int64 `json:"status_ttl_seconds"` // from iat to fresh_until, at most
}

// Revocation publishes how long a revoked Mission may still be relied on (see Reliance).
type Revocation struct {
	BoundSeconds  int64 `json:"bound_seconds"`
	TokenSeconds  int64 `json:"token_seconds"`  // longest life of a token issued under a local Mission
	PermitSeconds int64 `json:"permit_seconds"` // longest life of a decision taken under it
}

// Privacy says what crosses beyond authority.
type Privacy struct {
	Mode                 string `json:"mode"`
	PurposeDisclosure    string `json:"purpose_disclosure"`
	ErasureNoticeSeconds int64  `json:"erasure_notice_seconds"` // time in which an erasure must be told to the other party
}

// NewAgreementID returns a fresh agreement id.
func NewAgreementID() string { return newName("agr_", 24) }

// NewNonce returns 192 random bits in base64url.
func NewNonce() string { return newName("", 24) }

func newName(prefix string, octets int) string {
	b := make([]byte, octets)
	rand.Read(b) // never fails
	return prefix + base64.RawURLEncoding.EncodeToString(b)
}

// Bytes returns the canonical JSON: the shared bytes.
func (a *Agreement) Bytes() ([]byte, error) { return mission.Marshal(a) }

// Ref names this version. The digest is the SHA-256 of the shared bytes.
func (a *Agreement) Ref() (mission.AgreementRef, error) {
	d, err := mission.ObjectDigest(a)
	if err != nil {
		return mission.AgreementRef{}, fmt.Errorf("%w: %w", ErrAgreement, err)
	}
	return mission.AgreementRef{ID: a.ID, Version: a.Version, Digest: d}, nil
}

// Party returns the side with this issuer.
func (a *Agreement) Party(issuer string) (*Party, bool) {
	for i := range a.Parties {
		if a.Parties[i].Issuer == issuer {
			return &a.Parties[i], true
		}
	}
	return nil, false
}

// Other returns the issuer that is not the given one.
func (a *Agreement) Other(issuer string) (string, bool) {
	if _, ok := a.Party(issuer); !ok {
		return "", false
	}
	if a.Parties[0].Issuer == issuer {
		return a.Parties[1].Issuer, true
	}
	return a.Parties[0].Issuer, true
}

// Direction returns the bounds of what from may convey to to; false if nothing may cross that way.
func (a *Agreement) Direction(from, to string) (*Direction, bool) {
	for i := range a.Directions {
		if a.Directions[i].From == from && a.Directions[i].To == to {
			return &a.Directions[i], true
		}
	}
	return nil, false
}

// Covers reports whether `at` lies in the life of the agreement: from not_before on, before expires_at.
func (a *Agreement) Covers(at time.Time) bool {
	from, err1 := mission.ParseTime(a.NotBefore)
	until, err2 := mission.ParseTime(a.ExpiresAt)
	return err1 == nil && err2 == nil && !at.Before(from) && at.Before(until)
}

// MaxStale is freshness.max_stale_seconds.
func (a *Agreement) MaxStale() time.Duration {
	return time.Duration(a.Freshness.MaxStaleSeconds) * time.Second
}

// ParseAgreement reads the shared document in any spelling. Errors wrap ErrAgreement.
func ParseAgreement(data []byte) (*Agreement, error) {
	if len(data) > MaxAgreement {
		return nil, fmt.Errorf("%w: %d octets", ErrAgreement, len(data))
	}
	var a Agreement
	if err := mission.Decode(data, &a); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAgreement, err)
	}
	return &a, nil
}

// Validate checks the rules between members. Decode calls it.
func (a *Agreement) Validate() error {
	if err := a.validateHead(); err != nil {
		return err
	}
	if len(a.Parties) != 2 || a.Parties[0].Issuer >= a.Parties[1].Issuer {
		return errors.New("parties are two, ascending by issuer")
	}
	if a.Parties[0].Nonce == a.Parties[1].Nonce {
		return errors.New("the nonces are equal")
	}
	if err := a.validateKeys(); err != nil {
		return err
	}
	if n := len(a.Directions); n < 1 || n > 2 || n == 2 && a.Directions[0].From >= a.Directions[1].From {
		return errors.New("directions are one or two, ascending by from")
	}
	for _, d := range a.Directions {
		from, ok1 := a.Party(d.From)
		to, ok2 := a.Party(d.To)
		if !ok1 || !ok2 || d.From == d.To {
			return errors.New("a direction joins the two parties")
		}
		if !slices.Contains(from.Roles, RoleOrigin) || !slices.Contains(to.Roles, RoleReceiver) {
			return errors.New("a direction goes from an origin to a receiver")
		}
	}
	if bound := a.Reliance(mission.ShapeLocalMission, 1); a.Revocation.BoundSeconds < int64(bound/time.Second) {
		return fmt.Errorf("revocation.bound_seconds is below %d, what freshness, tokens and permits add up to",
			int64(bound/time.Second))
	}
	return nil
}

func (a *Agreement) validateHead() error {
	if !isName(a.ID, "agr_", 32) {
		return errors.New("agreement_id is not agr_ and 32 base64url characters")
	}
	if a.Version < 1 || a.Version > mission.MaxInt || (a.Version == 1) != (a.Previous == "") {
		return errors.New("version is at least 1, and previous is there from 2 on")
	}
	from, err := mission.ParseTime(a.NotBefore)
	if err != nil {
		return fmt.Errorf("not_before: %w", err)
	}
	until, err := mission.ParseTime(a.ExpiresAt)
	if err != nil {
		return fmt.Errorf("expires_at: %w", err)
	}
	if !from.Before(until) {
		return errors.New("not_before is before expires_at")
	}
	return nil
}

// validateKeys refuses a key that stands for two purposes or two parties: what one key signed can then never pass for
// something else.
func (a *Agreement) validateKeys() error {
	seen := map[string]bool{}
	for i := range a.Parties {
		p := &a.Parties[i]
		_, governance, err := p.Governance()
		if err != nil {
			return err
		}
		for _, kid := range slices.Concat([]string{governance}, p.IssuerKeys, p.EvidenceKeys, p.ReceiptKeys) {
			if seen[kid] {
				return errors.New("a key is named twice")
			}
			seen[kid] = true
		}
		if seen[p.Log.VKey] {
			return errors.New("a log key is named twice")
		}
		seen[p.Log.VKey] = true
	}
	if a.Parties[0].Log.Origin == a.Parties[1].Log.Origin || a.Parties[0].Log.Genesis == a.Parties[1].Log.Genesis {
		return errors.New("the parties name one log")
	}
	return nil
}

// Validate checks one party. Decode calls it.
func (p *Party) Validate() error {
	if err := checkIssuer(p.Issuer); err != nil {
		return err
	}
	if err := checkOpaque("nonce", p.Nonce, 22, 255); err != nil {
		return err
	}
	for _, keys := range [][]string{p.IssuerKeys, p.EvidenceKeys, p.ReceiptKeys} {
		if len(keys) == 0 || len(keys) > maxKeys {
			return fmt.Errorf("%d keys for one purpose", len(keys))
		}
		for _, k := range keys {
			if !isName(k, "", 43) {
				return errors.New("a key thumbprint is not 43 base64url characters")
			}
		}
	}
	if err := ledger.CheckOrigin(p.Log.Origin); err != nil {
		return err
	}
	if name, _, ok := strings.Cut(p.Log.VKey, "+"); !ok || name != p.Log.Origin || len(p.Log.VKey) > maxText {
		return errors.New("log.vkey does not name log.origin")
	}
	if _, err := ledger.ParseEntryID(p.Log.Genesis); err != nil {
		return fmt.Errorf("log.genesis: %w", err)
	}
	if err := checkSet("roles", p.Roles, 1, 2, RoleOrigin, RoleReceiver); err != nil {
		return err
	}
	return checkTexts("contacts", p.Contacts, 1, maxContacts)
}

// Validate checks one direction. Decode calls it.
func (d *Direction) Validate() error {
	if err := checkSet("shapes", d.Shapes, 1, 3,
		mission.ShapeStatus, mission.ShapeProjection, mission.ShapeLocalMission); err != nil {
		return err
	}
	if slices.Contains(d.Shapes, mission.ShapeLocalMission) && !slices.Contains(d.Shapes, mission.ShapeStatus) {
		return errors.New("local_mission needs status: a local Mission follows its upstream")
	}
	for _, r := range d.Resources {
		probe := mission.Entry{Type: mission.TypeResourceAccess, Resource: r,
			ResourceMatch: mission.MatchPrefix, Actions: d.Actions}
		if err := probe.Validate(); err != nil {
			return fmt.Errorf("resources or actions: %w", err)
		}
	}
	if len(d.Resources) == 0 || len(d.Resources) > mission.MaxResources {
		return fmt.Errorf("%d resources", len(d.Resources))
	}
	if err := checkTexts("constraint_keys", d.ConstraintKeys, 0, mission.MaxConstraints); err != nil {
		return err
	}
	if len(d.Classes) > mission.MaxActions {
		return fmt.Errorf("%d class rules", len(d.Classes))
	}
	if d.MaxProjectionSeconds < 1 || d.MaxProjectionSeconds > MaxProjectionSeconds {
		return fmt.Errorf("max_projection_seconds is not 1 to %d", MaxProjectionSeconds)
	}
	if d.MaxMissionSeconds < 1 || d.MaxMissionSeconds > maxMissionSeconds {
		return fmt.Errorf("max_mission_seconds is not 1 to %d", maxMissionSeconds)
	}
	return nil
}

// Validate checks the freshness bounds. Decode calls it.
func (f *Freshness) Validate() error {
	if f.MaxStaleSeconds < 1 || f.MaxStaleSeconds > maxStaleSeconds {
		return fmt.Errorf("max_stale_seconds is not 1 to %d", maxStaleSeconds)
	}
	if f.StatusTTLSeconds < 1 || f.StatusTTLSeconds > f.MaxStaleSeconds {
		return errors.New("status_ttl_seconds is not 1 to max_stale_seconds")
	}
	return nil
}

// Validate checks the revocation bounds. Decode calls it.
func (r *Revocation) Validate() error {
	for _, s := range []int64{r.BoundSeconds - 1, r.TokenSeconds, r.PermitSeconds} {
		if s < 0 || s >= maxMissionSeconds {
			return errors.New("a bound is out of range")
		}
	}
	return nil
}

// Validate checks the privacy members. Decode calls it.
func (p *Privacy) Validate() error {
	if p.Mode != ModeLinked {
		return fmt.Errorf("mode is not %s", ModeLinked)
	}
	if disclosureRank(p.PurposeDisclosure) < 0 {
		return errors.New("purpose_disclosure is not none, category or summary")
	}
	if p.ErasureNoticeSeconds < 1 || p.ErasureNoticeSeconds > maxMissionSeconds {
		return errors.New("erasure_notice_seconds is out of range")
	}
	return nil
}

// disclosureRank orders purpose disclosures; -1 for an unknown one.
func disclosureRank(s string) int {
	return slices.Index([]string{DiscloseNone, DiscloseCategory, DiscloseSummary}, s)
}

// LeastDisclosure returns the most restrictive of several disclosures; an unknown one discloses nothing.
func LeastDisclosure(all ...string) string {
	least := 2
	for _, s := range all {
		least = min(least, max(disclosureRank(s), 0))
	}
	return []string{DiscloseNone, DiscloseCategory, DiscloseSummary}[least]
}
