package mission

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

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

type submissionForm struct {
	Intent               *Intent `json:"intent"`
	Evidence             Raw     `json:"evidence,omitempty"`
	AuthorizationDetails Raw     `json:"authorization_details,omitempty"`
	CreationRequestID    string  `json:"creation_request_id,omitempty"`
}

var (
	errTooLarge  = errors.New("body too large")
	errEvidence  = errors.New("evidence is not a list of objects with a type")
	errRequestID = errors.New("not 1 to 255 printable ASCII characters")
)

// ParseSubmission reads the body of a submission received at the instant `at`: shape only, nothing is verified and no
// policy applied. Members that belong to a capability that is not offered (predecessor, parent, child_actor) are
// unknown members. Every error is an *Invalid (core 1.3, 4.2).
func ParseSubmission(body []byte, at time.Time) (*Submission, error) {
	if len(body) > MaxSubmission {
		return nil, &Invalid{Code: InvalidIntent, Err: errTooLarge}
	}
	var form submissionForm
	if err := Decode(body, &form); err != nil {
		inv := invalid(InvalidIntent, err)
		inv.Member = strings.TrimPrefix(inv.Member, "intent.")
		return nil, inv
	}
	if err := form.Intent.accept(at); err != nil {
		return nil, err
	}
	if form.CreationRequestID != "" && !IsRequestID(form.CreationRequestID) {
		return nil, &Invalid{Code: InvalidIntent, Member: "creation_request_id", Err: errRequestID}
	}
	s := &Submission{Intent: form.Intent, CreationRequestID: form.CreationRequestID}
	var err error
	if !form.Evidence.IsZero() {
		if s.Evidence, err = parseEvidence(form.Evidence); err != nil {
			return nil, &Invalid{Code: InvalidEvidence, Member: "evidence", Err: err}
		}
	}
	if !form.AuthorizationDetails.IsZero() {
		if s.Proposal, err = ParseEntries(form.AuthorizationDetails.Bytes()); err != nil {
			inv := invalid(InvalidAuthority, err)
			if inv.Member == "" || inv.Member[0] == '[' {
				inv.Member = "authorization_details" + inv.Member
			}
			return nil, inv
		}
		if err := checkProposal(s.Intent, s.Proposal); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func parseEvidence(raw Raw) ([]Evidence, error) {
	var items []Raw
	if err := raw.Decode(&items); err != nil {
		return nil, err
	}
	if len(items) == 0 || len(items) > MaxEvidence {
		return nil, errEvidence
	}
	list := make([]Evidence, len(items))
	for i, item := range items {
		v, err := parse(item.Bytes())
		if err != nil {
			return nil, err
		}
		typ, ok := v.get("type").text()
		if !ok || !isShort(typ) {
			return nil, within("["+strconv.Itoa(i)+"]", memberError("type", errEvidence))
		}
		list[i] = Evidence{Type: typ, Raw: item}
	}
	return list, nil
}

// IsRequestID reports whether s may serve as an idempotency key: 1 to 255 printable ASCII characters.
func IsRequestID(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

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

// ArtifactHash is the commitment to an evidence entry as it was presented.
func (e Evidence) ArtifactHash(iss string) (Digest, error) {
	return Envelope(TypIntentEvidence, iss, e.Raw)
}
