package verifier

import (
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// Completeness says whether a bundle holds everything it means to hold.
type Completeness string

// The degrees of completeness.
const (
	// Complete: every feed of the bundle is there up to AsOf, with its bodies or an explanation.
	Complete Completeness = "complete_as_of"
	// Incomplete: something is missing, or that nothing is missing is not shown.
	Incomplete Completeness = "incomplete"
	// NotAnchored: no trusted checkpoint, so nothing can be said.
	NotAnchored Completeness = "unverifiable"
)

// A BundleReport is the result of checking a bundle.
type BundleReport struct {
	Issuer       string          `json:"issuer"`
	Mission      string          `json:"mission,omitempty"`
	Log          *HeadReport     `json:"log,omitempty"` // the verified head
	Completeness Completeness    `json:"completeness"`
	AsOf         uint64          `json:"as_of,omitempty"`  // tree size, if complete
	By           string          `json:"by,omitempty"`     // what shows that no feed goes on: "scan", "epoch" or "log"
	Epoch        *EpochReport    `json:"epoch,omitempty"`  // the feed epoch of the bundle, if it has a proof under it
	Export       *RecordReport   `json:"export,omitempty"` // the logged statement of the manifest, if it holds
	Records      []*RecordReport `json:"records"`          // in log order
	Missions     []MissionReport `json:"missions,omitempty"`
	Findings     Findings        `json:"findings"` // about the bundle as a whole
	NotClaimed   []Claim         `json:"not_claimed"`
	WitnessedAt  string          `json:"witnessed_at,omitempty"` // when a quorum of the policy had cosigned the head
	Outcome      Outcome         `json:"outcome"`

	facts *facts
}

// A HeadReport is a verified head of a log.
type HeadReport struct {
	Origin string `json:"origin"`
	Size   uint64 `json:"size"`
	Root   string `json:"root"`
}

func headReport(c ledger.Checkpoint) *HeadReport {
	return &HeadReport{c.Origin, c.Size, c.Root.String()}
}

// All returns every finding: of the bundle, of its records and of its missions.
func (r *BundleReport) All() Findings {
	all := append(Findings{}, r.Findings...)
	for _, rec := range r.Records {
		all = append(all, rec.Findings...)
	}
	for _, m := range r.Missions {
		all = append(all, m.Findings...)
	}
	return all
}

// A MissionReport says what the evidence shows about one mission.
type MissionReport struct {
	ID           string            `json:"id"`
	Issuer       string            `json:"issuer"`
	State        mission.State     `json:"state"` // after the last transition of the bundle
	Version      uint64            `json:"version"`
	Held         []string          `json:"held,omitempty"` // reasons of holds
	CreatedAt    string            `json:"created_at"`
	EndedAt      string            `json:"ended_at,omitempty"`
	ExpiresAt    string            `json:"expires_at"`
	Subject      mission.Principal `json:"subject"`
	Approver     mission.Principal `json:"approver"`
	Client       string            `json:"client_id"`
	Basis        string            `json:"approval_basis"`
	Approval     string            `json:"approval_authentication,omitempty"` // how the approver authenticated
	Entitled     bool              `json:"approver_entitled,omitempty"`       // by the principals that the approval cites
	ApprovedHash Anchors           `json:"anchors"`
	Upstream     string            `json:"upstream,omitempty"` // issuer and id of the foreign mission it follows
	Findings     Findings          `json:"findings,omitempty"`

	approved uint64 // index of the approval
}

// Anchors are the commitments of a mission under the names people use.
type Anchors struct {
	Intent     mission.Digest `json:"approved_intent"`
	Proposal   mission.Digest `json:"proposed_authority,omitempty"`
	Authority  mission.Digest `json:"approved_authority"`
	Disclosure mission.Digest `json:"presented_disclosure,omitempty"`
}
