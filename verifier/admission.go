package verifier

import (
	"errors"
	"fmt"

	"github.com/mission-authority/mas/ledger"
)

// PolicyPath is where a mirror keeps the document with this digest that the admission of entries rests on.
func PolicyPath(digest ledger.Hash) string { return "policy/" + digest.String() }

// maxNotAdmitted bounds the findings about entries that the policy does not admit; the count goes on.
const maxNotAdmitted = 100

// An AdmissionReport says what the log's own registration policy has to say about its entries: the same decision that
// the log took, derived again from the entries and the policy documents alone.
type AdmissionReport struct {
	Admitted    uint64 `json:"entries_admitted"`
	NotAdmitted uint64 `json:"entries_not_admitted"`
	Undecided   uint64 `json:"entries_undecided"` // after a policy document that is not in the mirror
	Policy      uint64 `json:"policy_number"`     // in force at the end
	Anchors     uint64 `json:"trust_anchors_number"`
}

// replay decides the admission of entries one after the other.
type replay struct {
	source Source
	trust  *Trust
	report *LogReport
	at     *ledger.Admission // nil: nothing can be decided
}

// next decides one entry. admitted says that its signature was verified, too, under the key that it names.
func (p *replay) next(index uint64, s *ledger.Statement) (admitted bool) {
	out := p.report.Admission
	if index > 0 && p.at == nil {
		out.Undecided++
		return false
	}
	var body []byte
	if index == 0 || ledger.Governs(s.ContentType) {
		var err error
		if body, err = p.source(PolicyPath(s.Digest)); err != nil {
			p.report.Findings.add(Audit, "policy_missing", fmt.Sprintf("entry %d", index),
				"the policy document is not in the mirror: nothing is decided from here on")
			p.at = nil
			out.Undecided++
			return false
		}
	}
	next, err := p.decide(index, s, body)
	if err != nil {
		if out.NotAdmitted++; out.NotAdmitted <= maxNotAdmitted {
			p.report.Findings.add(Integrity, "not_admitted", fmt.Sprintf("entry %d", index),
				"the registration policy in force there does not admit it: %s", whyNot(err))
		}
		return false
	}
	p.at = next
	out.Admitted++
	out.Policy, _ = next.PolicyInForce()
	out.Anchors, _ = next.AnchorsInForce()
	return true
}

func (p *replay) decide(index uint64, s *ledger.Statement, body []byte) (*ledger.Admission, error) {
	if index > 0 {
		return p.at.Next(s, body)
	}
	a, err := ledger.NewAdmission(s.Raw, body)
	if err != nil {
		return nil, err
	}
	if g := a.Genesis(); g.Origin != p.trust.Origin || g.Issuer != p.trust.Issuer {
		return nil, contentError("the genesis document is another log's")
	}
	return a, nil
}

// whyNot describes a refusal without quoting the entry.
func whyNot(err error) string {
	var content contentError
	switch {
	case errors.As(err, &content):
		return string(content)
	case errors.Is(err, ledger.ErrNoProducer):
		return "no producer has its key"
	case errors.Is(err, ledger.ErrNotYourType):
		return "its producer may not register this type, or not about this subject"
	case errors.Is(err, ledger.ErrSignature):
		return "its signature does not verify"
	case errors.Is(err, ledger.ErrPolicy):
		return "its document is not the successor of the one in force"
	case errors.Is(err, ledger.ErrGenesis):
		return "it is not a genesis entry with this document"
	}
	return "its subject is not under the issuer"
}
