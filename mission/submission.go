package mission

import "time"

// MaxSubmission bounds the body of a submission, in octets; MaxEvidence its evidence entries.
const (
	MaxSubmission = 256 << 10
	MaxEvidence   = 16
)

// A Submission is what a client asks for: an Intent, optional evidence about it, optionally the authority it proposes,
// and optionally an idempotency key. It says nothing about who asks, who approves or for whom.
type Submission struct {
	Intent            *Intent
	Evidence          []Evidence // nil iff absent
	Proposal          []Entry    // nil iff `authorization_details` was absent
	CreationRequestID string     // "" iff absent; else 1 to 255 printable ASCII characters
}

// Evidence is one entry of `evidence`: a type and whatever that type's own schema owns. The core defines no types; an
// unsupported type refuses the whole submission.
type Evidence struct {
	Type string
	Raw  Raw // the whole entry
}

// ParseSubmission reads the body of a submission received at the instant `at`: shape only, nothing is verified and no
// policy applied. Every error is an *Invalid (core 1.3, 4.2).
func ParseSubmission(body []byte, at time.Time) (*Submission, error) { panic("not yet") }

// ProposalHash is the proposal_hash of a submitted proposal under the issuer iss.
func ProposalHash(iss string, proposal []Entry) (Digest, error) {
	return Envelope(TypProposedAuthority, iss, proposal)
}

// AuthorityHash is the authority_hash of an Authority Set under the issuer iss.
func AuthorityHash(iss string, set []Entry) (Digest, error) {
	return Envelope(TypAuthoritySet, iss, set)
}

// EntryDigest is the entry commitment of one entry as recorded, under the issuer iss.
func EntryDigest(iss string, e Entry) (Digest, error) { return Envelope(TypAuthorityEntry, iss, e) }
