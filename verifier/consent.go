package verifier

import (
	"errors"
	"slices"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
	"github.com/mission-authority/mas/mission/jws"
)

// unattended is how an approval is recorded that a key file authenticated, with no person at a login.
const unattended = "dev-unattended"

// approvalErased stands where the way of an approval would, if the approval was erased.
const approvalErased = "erased"

// A consent is consent evidence (core 5.4): that a person was shown a disclosure and decided. Members that are not
// needed for a verdict are left alone.
type consent struct {
	EvidenceID string `json:"evidence_id"`
	Mission    struct {
		ID                   mission.ID     `json:"id,omitempty"`
		Issuer               string         `json:"issuer"`
		IntentHash           mission.Digest `json:"intent_hash"`
		AuthorityHash        mission.Digest `json:"authority_hash"`
		ProposalHash         mission.Digest `json:"proposal_hash,omitempty"`
		ConsentRenderingHash mission.Digest `json:"consent_rendering_hash,omitempty"`
	} `json:"mission"`
	Approver       mission.Principal   `json:"approver"`
	Decision       string              `json:"decision"`
	ApprovedAt     string              `json:"approved_at,omitempty"`
	Disclosure     *mission.Disclosure `json:"disclosure"`
	Sequence       uint64              `json:"sequence"`
	Authentication struct {
		Method     string `json:"method"`
		Attendance string `json:"attendance,omitempty"`
	} `json:"authentication_context"`
	PolicyVersion    mission.Digest  `json:"approval_policy_version,omitempty"` // digest of the principals in force
	SubmissionDigest mission.Digest  `json:"submission_digest,omitempty"`
	ApprovalEventID  mission.EventID `json:"approval_event_id"`
	Envelope         struct {
		Format string `json:"format"`
		Value  string `json:"value"`
	} `json:"evidence_envelope"`
}

// decided is what consent evidence with this decision says of itself.
const decisionApproved = "approved"

func (c *consent) mission() mission.ID { return c.Mission.ID }

// readConsent checks consent evidence: that the signed envelope says the same as the object around it, by a trusted key
// of the issuer, and that the disclosure is the one that the rendering hash commits to.
func (c *bundleCheck) readConsent(f *facts, r *RecordReport) error {
	if _, err := evidence.Check(r.ContentType, r.body, evidence.Claims{Issuer: r.Issuer, Subject: r.Subject}); err != nil {
		return contentError(err.Error())
	}
	var e consent
	if err := mission.DecodeOpen(r.body, &e); err != nil {
		return err
	}
	if e.Mission.Issuer != r.Issuer {
		return contentError("the evidence is of another issuer than the statement")
	}
	if err := c.checkEnvelope(r, &e); err != nil {
		return err
	}
	if hash, err := e.Disclosure.Hash(e.Mission.Issuer); err != nil || hash != e.Mission.ConsentRenderingHash {
		return contentError("the disclosure is not the one that was presented")
	}
	h := e.Disclosure.SourceHashes
	if h.IntentHash != e.Mission.IntentHash || h.AuthorityHash != e.Mission.AuthorityHash ||
		h.ProposalHash != e.Mission.ProposalHash {
		return contentError("the disclosure discloses something else than what was decided")
	}
	f.consents = append(f.consents, fact[*consent]{r, &e})
	if e.Mission.ID == "" {
		return about(r, ledger.SubjectApprovals, string(e.ApprovalEventID))
	}
	s := f.story(e.Mission.ID)
	s.consents = append(s.consents, fact[*consent]{r, &e})
	return nil
}

// checkEnvelope verifies the JWS over the canonical form of all other members (audit 3.3).
func (c *bundleCheck) checkEnvelope(r *RecordReport, e *consent) error {
	if e.Envelope.Format != "jws-compact" {
		return contentError("the envelope has an unknown format")
	}
	token, err := jws.Parse(e.Envelope.Value, jws.TypConsentEvidence)
	if err != nil {
		return contentError("the envelope is not a JWS of consent evidence")
	}
	var members map[string]mission.Raw
	if err := mission.Decode(r.body, &members); err != nil {
		return err
	}
	delete(members, "evidence_envelope")
	outer, err := mission.Marshal(members)
	if err != nil {
		return err
	}
	if !slices.Equal(outer, token.Payload) {
		return contentError("the envelope signs something else than what is around it")
	}
	keys, ok := c.issuerKeys(r.Issuer)
	if _, _, known := keys.Key(token.KeyID); !ok || !known {
		r.Findings.add(Audit, "issuer_key_unknown", r.EntryID, "the trust document has no issuer key %.64q", token.KeyID)
		return nil
	}
	if err := token.Verify(keys); err != nil {
		return contentError("the envelope's signature does not verify")
	}
	return nil
}

// checkConsent holds the approval of a mission against the approver's consent (E8). It returns how the approver
// authenticated, "" if that is not shown.
func (c *bundleCheck) checkConsent(m *MissionReport, rec *mission.Record, s *story) string {
	where := s.approvals[0].from.EntryID
	if rec.ApprovalBasis.Type != mission.BasisDirect {
		return "" // a standing consent was given earlier, to something else than this mission
	}
	i := slices.IndexFunc(s.consents, func(f fact[*consent]) bool { return f.value.Decision == decisionApproved })
	if i < 0 {
		m.Findings.add(Audit, "consent_missing", where, "the bundle has no consent evidence for the approval")
		return ""
	}
	e := s.consents[i]
	if err := e.value.covers(rec); err != nil {
		m.Findings.add(Integrity, "consent_mismatch", e.from.EntryID, "%s", err.Error())
	}
	c.checkSubmission(m, rec, e.value)
	m.approved = s.approvals[0].from.position()
	c.checkEntitled(m, rec, e.value)
	for _, other := range s.consents[i+1:] {
		if other.value.Decision == decisionApproved {
			m.Findings.add(Integrity, "consent_twice", other.from.EntryID, "there are two consents to one approval")
		}
	}
	return e.value.how()
}

// how says how the approver authenticated.
func (c *consent) how() string {
	if a := c.Authentication.Attendance; a != "" {
		return a
	}
	return c.Authentication.Method
}

// covers reports how a consent differs from the record it should stand for.
func (c *consent) covers(rec *mission.Record) error {
	h := c.Mission
	switch {
	case h.IntentHash != rec.IntentHash || h.AuthorityHash != rec.AuthorityHash || h.ProposalHash != rec.ProposalHash:
		return errors.New("the consent is to other anchors than the record's")
	case h.ConsentRenderingHash != rec.ConsentRenderingHash:
		return errors.New("the record names another disclosure than the consent")
	case c.Approver != rec.Approver || c.ApprovalEventID != rec.ApprovalEventID:
		return errors.New("the consent is by another approver or for another approval event")
	case c.ApprovedAt != rec.CreatedAt:
		return errors.New("the consent is of another instant than the record")
	case c.Disclosure.Covers(rec.AuthoritySet) != nil:
		return errors.New("the disclosure did not show every entry of the approved authority")
	}
	return nil
}
