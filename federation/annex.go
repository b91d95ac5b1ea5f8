package federation

import (
	"errors"
	"fmt"
	"time"

	"github.com/mission-authority/mas/mission"
)

// An Annex is what one side decides alone about one peer: how principals are named across the border, what a person is
// asked to approve as a ceiling, how often to look. It never leaves the domain; its salted digest is logged.
type Annex struct {
	Issuer     string           `json:"issuer"` // of the peer
	Mapping    Mapping          `json:"mapping"`
	Purposes   []string         `json:"purposes"`           // purpose URIs that may be minted on
	Disclosure string           `json:"purpose_disclosure"` // what this side discloses, at most what is agreed
	Poll       int64            `json:"poll_milliseconds"`  // between two questions about one upstream
	Ceiling    *CeilingProposal `json:"ceiling,omitempty"`  // absent: no local Mission is drawn down
}

// A Mapping names principals across the border under a policy and version. Both directions are injective: two persons
// never become one, and one never two.
type Mapping struct {
	PolicyID string       `json:"policy_id"`
	Version  string       `json:"version"`
	Inbound  []MappedPair `json:"inbound"`  // from: as the peer names it; to: a principal of this domain
	Outbound []MappedPair `json:"outbound"` // from: a principal of this domain; to: its pseudonym for this peer
}

// A MappedPair maps one principal.
type MappedPair struct {
	From mission.Principal `json:"from"`
	To   mission.Principal `json:"to"`
}

// A CeilingProposal is what a person of this domain is asked to approve: the most that local Missions may be drawn down
// from this peer's. It has no effect before that person has approved its rendering.
type CeilingProposal struct {
	Approver      mission.Principal `json:"approver"`
	Entries       []mission.Entry   `json:"entries"`
	ExpiresAt     string            `json:"expires_at"`          // RFC 3339: no draw-down from then on
	MaxAgeSeconds int64             `json:"max_age_seconds"`     // nor this long after the approval
	MaxActive     int64             `json:"max_active_missions"` // local Missions of this ceiling that are not terminal
	MaxPerHour    int64             `json:"max_missions_per_hour"`
}

// ParseAnnex reads a local annex. Errors wrap ErrPeer.
func ParseAnnex(data []byte) (*Annex, error) {
	if len(data) > MaxPeer {
		return nil, fmt.Errorf("%w: annex of %d octets", ErrPeer, len(data))
	}
	var a Annex
	if err := mission.Decode(data, &a); err != nil {
		return nil, fmt.Errorf("%w: annex: %w", ErrPeer, err)
	}
	return &a, nil
}

// Bytes returns the canonical JSON.
func (a *Annex) Bytes() ([]byte, error) { return mission.Marshal(a) }

// Interval is the time between two questions about one upstream.
func (a *Annex) Interval() time.Duration { return time.Duration(a.Poll) * time.Millisecond }

// Validate checks the annex. Decode calls it.
func (a *Annex) Validate() error {
	if err := checkIssuer(a.Issuer); err != nil {
		return err
	}
	if err := checkTexts("purposes", a.Purposes, 0, mission.MaxResources); err != nil {
		return err
	}
	if disclosureRank(a.Disclosure) < 0 {
		return errors.New("purpose_disclosure is not none, category or summary")
	}
	if a.Poll < 100 || a.Poll > maxStaleSeconds*1000 {
		return fmt.Errorf("poll_milliseconds is not 100 to %d", maxStaleSeconds*1000)
	}
	return nil
}

// Validate checks that the table is injective. Decode calls it.
func (m *Mapping) Validate() error {
	if err := checkVisible("policy_id", m.PolicyID, 128); err != nil {
		return err
	}
	if err := checkVisible("version", m.Version, 128); err != nil {
		return err
	}
	for _, table := range [][]MappedPair{m.Inbound, m.Outbound} {
		from, to := map[mission.Principal]bool{}, map[mission.Principal]bool{}
		for _, pair := range table {
			if from[pair.From] || to[pair.To] {
				return errors.New("the mapping is not injective")
			}
			from[pair.From], to[pair.To] = true, true
		}
	}
	return nil
}

// Local returns the principal of this domain that the peer's principal maps to.
func (m *Mapping) Local(p mission.Principal) (mission.Principal, bool) { return lookup(m.Inbound, p) }

// Pseudonym returns how a principal of this domain is named to the peer.
func (m *Mapping) Pseudonym(p mission.Principal) (mission.Principal, bool) {
	return lookup(m.Outbound, p)
}

func lookup(table []MappedPair, p mission.Principal) (mission.Principal, bool) {
	for _, pair := range table {
		if pair.From == p {
			return pair.To, true
		}
	}
	return mission.Principal{}, false
}

// Validate checks the bounds. Decode calls it.
func (c *CeilingProposal) Validate() error {
	if len(c.Entries) == 0 || len(c.Entries) > mission.MaxEntries {
		return fmt.Errorf("%d ceiling entries", len(c.Entries))
	}
	if _, err := mission.ParseTime(c.ExpiresAt); err != nil {
		return fmt.Errorf("expires_at: %w", err)
	}
	if c.MaxAgeSeconds < 1 || c.MaxAgeSeconds > maxMissionSeconds {
		return errors.New("max_age_seconds is out of range")
	}
	if c.MaxActive < 1 || c.MaxActive > 1_000_000 || c.MaxPerHour < 1 || c.MaxPerHour > 1_000_000 {
		return errors.New("a count is not 1 to 1000000")
	}
	return nil
}

// Until is the instant from which nothing is drawn down any more, for a ceiling approved at `approved`.
func (c *CeilingProposal) Until(approved time.Time) (time.Time, error) {
	until, err := mission.ParseTime(c.ExpiresAt)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: ceiling: %w", ErrPeer, err)
	}
	if aged := approved.Add(time.Duration(c.MaxAgeSeconds) * time.Second); aged.Before(until) {
		return aged, nil
	}
	return until, nil
}
