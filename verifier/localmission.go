package verifier

import (
	"encoding/base64"
	"slices"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// Media types of evidence about local missions that have no constant elsewhere.
const (
	contentMinted       = "application/mas-local-mission-minted+json"
	contentAcknowledged = "application/mas-derivation-acknowledged+json"
)

// A received projection: written down as it came, before anybody looked at it. It may be anything.
type received struct {
	Peer     string         `json:"peer"`
	Artifact string         `json:"artifact"`
	Digest   mission.Digest `json:"artifact_digest"`
}

// A minted local mission: on what it stands.
type minted struct {
	MissionID       mission.ID      `json:"mission_id"`
	ApprovalEventID mission.EventID `json:"approval_event_id"`
	Ceiling         mission.Digest  `json:"ceiling_digest"`
	Coupling        struct {
		Peer          string               `json:"peer"`
		Upstream      mission.ID           `json:"upstream"`
		Agreement     mission.AgreementRef `json:"agreement"`
		ProjectionJTI string               `json:"projection_jti"`
		LocalRef      string               `json:"local_ref"`
		Charged       []mission.Digest     `json:"upstream_entries"`
	} `json:"coupling"`
}

// An observed status of an upstream: the artifact as received.
type observed struct {
	observedBody
	status *mission.Status
}

type observedBody struct {
	MissionID mission.ID        `json:"mission_id"`
	Upstream  mission.Reference `json:"upstream"`
	Response  string            `json:"response"`
	Digest    mission.Digest    `json:"response_digest"`
}

// An acknowledged derivation receipt: the origin's own transparent statement about it.
type acknowledged struct {
	MissionID   mission.ID     `json:"mission_id"`
	Event       string         `json:"event"`
	Receipt     mission.Digest `json:"receipt_digest"`
	Transparent string         `json:"transparent_statement"`
	EntryID     string         `json:"peer_entry"`
	Index       uint64         `json:"peer_index"`
	TreeSize    uint64         `json:"peer_tree_size"`
}

func (c *bundleCheck) readReceived(f *facts, r *RecordReport) error {
	var e received
	if err := readOpen(r, &e); err != nil {
		return err
	}
	if mission.RawDigest([]byte(e.Artifact)) != e.Digest {
		raw, err := base64.RawURLEncoding.DecodeString(e.Artifact)
		if err != nil || mission.RawDigest(raw) != e.Digest {
			return contentError("the digest is not that of the artifact")
		}
	}
	f.received = append(f.received, fact[*received]{r, &e})
	return ofKind(r, ledger.SubjectPeers)
}

func (c *bundleCheck) readMinted(f *facts, r *RecordReport) error {
	var e minted
	if err := readOpen(r, &e); err != nil {
		return err
	}
	f.minted = append(f.minted, fact[*minted]{r, &e})
	return about(r, ledger.SubjectMissions, string(e.MissionID))
}

func (c *bundleCheck) readObserved(f *facts, r *RecordReport) error {
	var e observed
	if err := readOpen(r, &e.observedBody); err != nil {
		return err
	}
	if mission.RawDigest([]byte(e.Response)) != e.Digest {
		return contentError("the digest is not that of the response")
	}
	token, err := jws.Parse(e.Response, jws.TypStatus)
	if err != nil {
		return contentError("the response is not a status response in its one encoding")
	}
	var s mission.Status
	if err := mission.Decode(token.Payload, &s); err != nil {
		return err
	}
	if s.Iss != e.Upstream.Issuer || s.Mission.Issuer != s.Iss || s.Mission.ID != e.Upstream.ID {
		return contentError("the response is about another mission than the upstream")
	}
	e.status = &s
	f.observed = append(f.observed, fact[*observed]{r, &e})
	if err := about(r, ledger.SubjectMissions, string(e.MissionID)); err != nil {
		return err
	}
	return c.checkToken(r, token, s.Iss)
}

// readAcknowledged checks the origin's transparent statement by the origin's keys, if the origin is known.
func (c *bundleCheck) readAcknowledged(f *facts, r *RecordReport) error {
	var e acknowledged
	if err := readOpen(r, &e); err != nil {
		return err
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(e.Transparent)
	if err != nil {
		return contentError("the transparent statement is not base64url")
	}
	f.acknowledged = append(f.acknowledged, fact[*acknowledged]{r, &e})
	if err := about(r, ledger.SubjectMissions, string(e.MissionID)); err != nil {
		return err
	}
	s := VerifyStatement(raw, c.trust)
	switch {
	case s.statement == nil:
		return contentError("the acknowledgement is not a transparent statement")
	case s.EntryID != e.EntryID || s.ContentType != mission.ContentDerivationReceipt ||
		mission.DigestOf(s.statement.Digest) != e.Receipt:
		return contentError("the acknowledgement is of something else than the receipt")
	}
	if _, known := c.trust.Domain(s.Issuer); !known {
		r.Findings.add(Note, "peer_unknown", r.EntryID, "the trust document does not know %.200q; its receipt is not checked",
			s.Issuer)
		return nil
	}
	if !s.proven || s.receipt.Index != e.Index || s.receipt.Size != e.TreeSize {
		return contentError("the origin's receipt does not prove what is said")
	}
	if s.Findings.Outcome() != OK {
		return contentError("the origin's statement does not verify")
	}
	return nil
}

// checkLocal holds a local mission against everything it says it stands on.
func (c *bundleCheck) checkLocal(m *MissionReport, rec *mission.Record, s *story) {
	if rec.Upstream == nil {
		return
	}
	where := s.approvals[0].from.EntryID
	if expires, upstream := rec.ExpiresAt, rec.Upstream.ExpiresAt; !notAfter(expires, upstream) {
		m.Findings.add(Integrity, "local_expiry", where, "the local mission outlives its upstream")
	}
	mint := findFact(c.facts.minted, func(e *minted) bool { return e.MissionID == rec.ID })
	if mint == nil {
		m.Findings.add(Audit, "mint_missing", where, "the bundle does not have the evidence of the mint")
	} else if err := mint.value.covers(rec); err != nil {
		m.Findings.add(Integrity, "mint_mismatch", mint.from.EntryID, "%s", err.Error())
	}
	c.checkConveyed(m, rec, where)
	c.checkMintStatus(m, rec, where)
	c.checkCeiling(m, rec, where)
	c.checkCauses(m, rec, s)
}

// covers reports how the evidence of a mint differs from the record it created.
func (e *minted) covers(rec *mission.Record) error {
	u, k := rec.Upstream, e.Coupling
	switch {
	case k.Peer != u.Issuer || k.Upstream != u.ID || k.Agreement != u.Agreement:
		return contentError("the mission was minted from another upstream than its record says")
	case e.ApprovalEventID != rec.ApprovalEventID || e.Ceiling != rec.ApprovalBasis.RootCommitment:
		return contentError("the mission was minted under another approval than its record says")
	case !slices.ContainsFunc(u.Evidence, func(x mission.UpstreamEvidence) bool { return x.JTI == k.ProjectionJTI }):
		return contentError("the mission was minted from another projection than its record says")
	}
	for _, j := range u.Justification {
		if !slices.Contains(k.Charged, j.UpstreamEntry) {
			return contentError("an entry is justified by one that the origin is not told about")
		}
	}
	return nil
}

// checkConveyed finds the projection that a local mission was minted from, verifies it, and holds every local entry
// against the conveyed one that is said to contain it.
func (c *bundleCheck) checkConveyed(m *MissionReport, rec *mission.Record, where string) {
	u := rec.Upstream
	got := findFact(c.facts.received, func(e *received) bool {
		return slices.ContainsFunc(u.Evidence, func(x mission.UpstreamEvidence) bool {
			return x.Type == string(jws.TypProjection) && x.Digest == e.Digest
		})
	})
	if got == nil {
		m.Findings.add(Audit, "projection_missing", where, "the bundle does not have the projection the mission stands on")
		return
	}
	report := VerifyProjection(got.value.Artifact, c.trust, ProjectionOptions{Audience: rec.Issuer})
	if _, known := c.trust.Domain(u.Issuer); !known {
		m.Findings.add(Note, "peer_unknown", got.from.EntryID, "the trust document does not know %.200q; the projection is not checked",
			u.Issuer)
		return
	}
	m.Findings = append(m.Findings, report.Findings...)
	p := report.Projection
	if p == nil {
		return
	}
	switch {
	case p.Mission.ID != u.ID || p.Mission.AuthorityHash != u.AuthorityHash || p.Mission.ExpiresAt != u.ExpiresAt ||
		p.Agreement != u.Agreement:
		m.Findings.add(Integrity, "projection_mismatch", got.from.EntryID, "the projection is of another mission than the upstream")
	case p.ClientID != rec.ClientID:
		m.Findings.add(Integrity, "projection_holder", got.from.EntryID, "the projection was for another client than the mission's")
	}
	entries, _, err := mission.ParseConveyed(p.AuthorizationDetails.Bytes())
	if err != nil {
		return // VerifyProjection said so
	}
	if !justified(rec, entries) {
		m.Findings.add(Integrity, "local_wider", got.from.EntryID, "the local authority is not inside what was conveyed as justified")
	}
}

// justified reports whether every local entry lies inside the conveyed entry that its justification names. Delegation
// is compared by depth alone: who may be a delegate here is a matter of the mapping, which stays at home.
func justified(rec *mission.Record, conveyed []mission.Entry) bool {
	if len(rec.Upstream.Justification) != len(rec.AuthoritySet) {
		return false
	}
	for i, j := range rec.Upstream.Justification {
		local := rec.AuthoritySet[i]
		if d, err := mission.EntryDigest(rec.Issuer, local); err != nil || d != j.LocalEntry {
			return false
		}
		k := slices.IndexFunc(conveyed, func(e mission.Entry) bool {
			d, err := mission.EntryDigest(rec.Upstream.Issuer, e)
			return err == nil && d == j.UpstreamEntry
		})
		if k < 0 || !within(local, conveyed[k]) {
			return false
		}
	}
	return true
}

// within compares a local entry with a conveyed one. Crossing the border uses up one step of delegation.
func within(local, conveyed mission.Entry) bool {
	if d := local.Delegation; d != nil && (conveyed.Delegation == nil || d.MaxDepth > conveyed.Delegation.MaxDepth-1) {
		return false
	}
	local.Delegation, conveyed.Delegation = nil, nil
	inside, err := mission.Subset(local, conveyed)
	return inside && err == nil
}

// checkMintStatus finds the live status that the mint was decided on: active, of the version the record names.
func (c *bundleCheck) checkMintStatus(m *MissionReport, rec *mission.Record, where string) {
	u := rec.Upstream
	i := slices.IndexFunc(u.Evidence, func(x mission.UpstreamEvidence) bool { return x.Type == string(jws.TypStatus) })
	if i < 0 {
		m.Findings.add(Integrity, "mint_unverified", where, "the mission was minted without a live status")
		return
	}
	seen := findFact(c.facts.observed, func(e *observed) bool { return e.MissionID == rec.ID && e.Digest == u.Evidence[i].Digest })
	if seen == nil {
		m.Findings.add(Audit, "status_missing", where, "the bundle does not have the status the mint was decided on")
		return
	}
	s := seen.value.status.Mission
	if s.ID != u.ID || s.AuthorityHash != u.AuthorityHash || s.State != mission.Active || s.Version != u.VersionAtMint {
		m.Findings.add(Integrity, "status_mismatch", seen.from.EntryID, "the status the mint was decided on says something else")
	}
}

// checkCeiling finds the standing approval and how the person behind it authenticated.
func (c *bundleCheck) checkCeiling(m *MissionReport, rec *mission.Record, where string) {
	root := rec.ApprovalBasis.RootCommitment
	i := slices.IndexFunc(c.facts.ceilings, func(f fact[*ceiling]) bool { return mission.DigestOf(f.from.statement.Digest) == root })
	if i < 0 {
		m.Findings.add(Audit, "ceiling_missing", where, "the bundle does not have the ceiling that a person approved")
		return
	}
	found := c.facts.ceilings[i]
	switch e := found.value; {
	case e.Peer != rec.Upstream.Issuer || e.Approver != rec.Approver || e.ApprovedAt != rec.ApprovalBasis.ApprovedAt:
		m.Findings.add(Integrity, "ceiling_mismatch", found.from.EntryID, "the ceiling is for another peer or by another approver")
	case mission.SubsetOfSet(rec.AuthoritySet, e.Approved) != nil:
		m.Findings.add(Integrity, "ceiling_exceeded", found.from.EntryID, "the local authority is not inside the ceiling")
	case !notAfter(rec.CreatedAt, e.Until):
		m.Findings.add(Integrity, "ceiling_over", found.from.EntryID, "the mission was drawn down after the ceiling had ended")
	}
	given := findFact(c.facts.consents, func(e *consent) bool {
		return e.ApprovalEventID == found.value.ApprovalEventID && e.Decision == decisionApproved
	})
	if given == nil {
		m.Findings.add(Audit, "consent_missing", found.from.EntryID, "the bundle has no consent evidence for the ceiling")
		return
	}
	if given.value.Mission.AuthorityHash != found.value.AuthorityHash || given.value.Approver != found.value.Approver ||
		given.value.Mission.ConsentRenderingHash != found.value.Rendering ||
		given.value.Disclosure.Covers(found.value.Approved) != nil {
		m.Findings.add(Integrity, "consent_mismatch", given.from.EntryID, "the consent is to another ceiling")
	}
	m.Approval = given.value.how()
}

// checkCauses holds the transitions that the coupling made against the artifacts they name: the mission is released
// from waiting only by the origin's acknowledgement, and cascades only when a status says that the upstream has
// ended.
func (c *bundleCheck) checkCauses(m *MissionReport, rec *mission.Record, s *story) {
	awaiting := true
	for _, t := range s.transitions {
		v, where := t.value, t.from.EntryID
		still := slices.ContainsFunc(v.Holds, isAwaiting)
		if awaiting && !still && !v.State.Terminal() && findFact(c.facts.acknowledged, func(e *acknowledged) bool {
			return e.MissionID == rec.ID && e.Receipt == v.Cause && e.Event == federation.EventMinted
		}) == nil {
			m.Findings.add(Audit, "receipt_missing", where, "the bundle does not have the acknowledgement that released the mission")
		}
		awaiting = still
		if v.Operation != mission.OpCascade {
			continue
		}
		seen := findFact(c.facts.observed, func(e *observed) bool { return e.MissionID == rec.ID && e.Digest == v.Cause })
		if seen == nil {
			m.Findings.add(Audit, "cause_missing", where, "the bundle does not have the status that ended the mission")
		} else if !seen.value.status.Mission.State.Terminal() {
			m.Findings.add(Integrity, "cause_mismatch", where, "the mission cascaded although its upstream had not ended")
		}
	}
}

func isAwaiting(h mission.Hold) bool { return h.Reason == mission.HoldAwaitingReceipt }

// findFact returns the first fact that satisfies f, or nil.
func findFact[T any](list []fact[T], f func(T) bool) *fact[T] {
	for i := range list {
		if f(list[i].value) {
			return &list[i]
		}
	}
	return nil
}

// notAfter reports whether the instant a is not after b; a malformed one is.
func notAfter(a, b string) bool {
	x, err1 := mission.ParseTime(a)
	y, err2 := mission.ParseTime(b)
	return err1 == nil && err2 == nil && !x.After(y)
}

// outgoing reports whether a derivation receipt is one that this domain sent.
func outgoing(r *RecordReport, e *federation.DerivationReceipt) bool { return e.Iss == r.Issuer }
