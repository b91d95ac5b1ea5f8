package verifier

import (
	"slices"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// A submission is the evidence of what a client asked for. Members that are not needed for a verdict are left alone.
type submission struct {
	Issuer          string          `json:"issuer"`
	Kind            string          `json:"kind"`
	ApprovalEventID mission.EventID `json:"approval_event_id"`
	Intent          *mission.Intent `json:"intent"`
	Proposal        []mission.Entry `json:"authorization_details,omitempty"`
	IntentHash      mission.Digest  `json:"intent_hash"`
	ProposalHash    mission.Digest  `json:"proposal_hash,omitempty"`
}

// readSubmission checks that the anchors of a submission recompute.
func (c *bundleCheck) readSubmission(f *facts, r *RecordReport) error {
	if err := canonical(r.body); err != nil {
		return err
	}
	var s submission
	if err := mission.DecodeOpen(r.body, &s); err != nil {
		return err
	}
	if s.Issuer != r.Issuer {
		return contentError("the submission is to another issuer than the statement's")
	}
	if err := about(r, ledger.SubjectApprovals, string(s.ApprovalEventID)); err != nil {
		return err
	}
	if h, err := s.Intent.Hash(s.Issuer); err != nil || h != s.IntentHash {
		return contentError("intent_hash does not recompute")
	}
	if len(s.Proposal) > 0 || s.ProposalHash != "" {
		if h, err := mission.ProposalHash(s.Issuer, s.Proposal); err != nil || h != s.ProposalHash {
			return contentError("proposal_hash does not recompute")
		}
	}
	f.submissions = append(f.submissions, fact[*submission]{r, &s})
	return nil
}

// checkSubmission holds the submission that a consent cites, if it is there, against what was approved.
func (c *bundleCheck) checkSubmission(m *MissionReport, rec *mission.Record, e *consent) {
	i := slices.IndexFunc(c.facts.submissions, func(s fact[*submission]) bool {
		return mission.DigestOf(s.from.statement.Digest) == e.SubmissionDigest
	})
	if i < 0 {
		return // the consent commits to it; whether it is needed is for the reader to say
	}
	s := c.facts.submissions[i]
	if s.value.IntentHash != rec.IntentHash || s.value.ProposalHash != rec.ProposalHash ||
		s.value.ApprovalEventID != rec.ApprovalEventID {
		m.Findings.add(Integrity, "submission_mismatch", s.from.EntryID, "another submission was approved than was made")
	}
}

// A principalsChange is the evidence of a new version of the principals document.
type principalsChange struct {
	Digest   mission.Digest `json:"digest"`
	Document mission.Raw    `json:"document"`
}

// readPrincipals checks that the digest that decisions cite is that of the document.
func (c *bundleCheck) readPrincipals(f *facts, r *RecordReport) error {
	if err := canonical(r.body); err != nil {
		return err
	}
	var p principalsChange
	if err := mission.DecodeOpen(r.body, &p); err != nil {
		return err
	}
	if mission.RawDigest(p.Document.Bytes()) != p.Digest {
		return contentError("the digest is not that of the document")
	}
	if err := about(r, ledger.SubjectPrincipals, ""); err != nil {
		return err
	}
	f.principals = append(f.principals, fact[*principalsChange]{r, &p})
	return nil
}

// checkEntitled holds the approver against the principals that the decision cites: they must let exactly this person
// decide for the subject. If the bundle does not have them, nothing is claimed.
func (c *bundleCheck) checkEntitled(m *MissionReport, rec *mission.Record, e *consent) {
	i := slices.IndexFunc(c.facts.principals, func(f fact[*principalsChange]) bool {
		return f.value.Digest == e.PolicyVersion && f.from.position() < m.approved
	})
	if i < 0 {
		return
	}
	p := c.facts.principals[i]
	var list []struct {
		Kind    string             `json:"kind"`
		Roles   []string           `json:"roles"`
		Subject *mission.Principal `json:"subject,omitempty"`
	}
	if err := mission.DecodeOpen(p.value.Document.Bytes(), &list); err != nil {
		p.from.Findings.add(Integrity, "record_content", p.from.EntryID, "the principals cannot be read")
		return
	}
	for _, one := range list {
		if one.Kind == "human" && slices.Contains(one.Roles, "approver") && one.Subject != nil &&
			*one.Subject == rec.Approver {
			m.Entitled = true
			return
		}
	}
	m.Findings.add(Integrity, "approver_not_entitled", p.from.EntryID,
		"the principals that the decision cites have no approver %.200q", rec.Approver.Sub)
}

// plainTypes are records whose canonical JSON says all there is: nothing else in a bundle follows from them.
var plainTypes = []string{
	mission.ContentRefusal, mission.ContentRefusalDigest, mission.ContentEmergencyStop,
	mission.ContentLocalMissionRefused, "application/mas-submission-expired+json", "application/mas-clock-accepted+json",
}

// readPlain checks a record of a plain type.
func (c *bundleCheck) readPlain(r *RecordReport) error { return canonical(r.body) }
