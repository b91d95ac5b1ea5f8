package verifier

import (
	"slices"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// Evidence of what crossed the border to or from a peer domain. The bodies are the state owner's; here only the members
// that a verdict needs are read.

const contentPeerRecord = "application/mas-peer-record+json"

// An introduced mission: its client was given a secret for one peer.
type introduced struct {
	MissionID    mission.ID     `json:"mission_id"`
	Peer         string         `json:"peer"`
	Introduction mission.Digest `json:"introduction_digest"`
	Version      uint64         `json:"version"`
}

// A projected mission: a projection was signed for one peer.
type projected struct {
	MissionID    mission.ID           `json:"mission_id"`
	Version      uint64               `json:"version"`
	Peer         string               `json:"peer"`
	Agreement    mission.AgreementRef `json:"agreement"`
	JTI          string               `json:"jti"`
	Projection   mission.Digest       `json:"projection_digest"`
	Introduction mission.Digest       `json:"introduction_digest"`
	Entries      []struct {
		Conveyed mission.Digest `json:"conveyed"`
		Source   mission.Digest `json:"source"`
		Max      int64          `json:"max_local_missions"`
	} `json:"entries"`
	Hops []struct {
		Hop  federation.Hop `json:"hop"`
		Salt string         `json:"salt"`
	} `json:"delegation"`
}

// A served status: a peer was told where a mission stands.
type served struct {
	MissionID mission.ID    `json:"mission_id"`
	Peer      string        `json:"peer"`
	Version   uint64        `json:"version"`
	State     mission.State `json:"state"`
}

// A peerHead is a head of a peer's log as this domain wrote it down.
type peerHead struct {
	peerHeadBody
	head     ledger.Checkpoint // verified
	verified bool
}

type peerHeadBody struct {
	Issuer     string   `json:"issuer"` // of the peer
	Occasion   string   `json:"occasion"`
	Origin     string   `json:"origin"`
	Size       uint64   `json:"size"`
	Root       string   `json:"root"`
	Checkpoint string   `json:"checkpoint"`
	Previous   string   `json:"previous_checkpoint,omitempty"`
	Path       []string `json:"consistency_path,omitempty"`
	Forked     bool     `json:"forked,omitempty"`
}

// A ceiling is a standing approval by a person of this domain for drawing down missions from a peer.
type ceiling struct {
	Peer            string            `json:"peer"`
	AuthorityHash   mission.Digest    `json:"authority_hash"`
	Approved        []mission.Entry   `json:"approved"`
	Approver        mission.Principal `json:"approver"`
	ApprovalEventID mission.EventID   `json:"approval_event_id"`
	Rendering       mission.Digest    `json:"consent_rendering_hash"`
	ApprovedAt      string            `json:"approved_at"`
	Until           string            `json:"until"`
}

// readOpen decodes the members of a canonical body that a verdict needs.
func readOpen(r *RecordReport, dst any) error {
	if err := canonical(r.body); err != nil {
		return err
	}
	return mission.DecodeOpen(r.body, dst)
}

// ofKind refuses a statement whose subject is not of this kind.
func ofKind(r *RecordReport, kind ledger.SubjectKind) error {
	if got, _, err := ledger.ParseSubject(r.Issuer, r.Subject); err != nil || got != kind {
		return contentError("the body is about something else than the statement")
	}
	return nil
}

func (c *bundleCheck) readIntroduction(f *facts, r *RecordReport) error {
	var e introduced
	if err := readOpen(r, &e); err != nil {
		return err
	}
	f.introductions = append(f.introductions, fact[*introduced]{r, &e})
	return about(r, ledger.SubjectMissions, string(e.MissionID))
}

func (c *bundleCheck) readProjected(f *facts, r *RecordReport) error {
	var e projected
	if err := readOpen(r, &e); err != nil {
		return err
	}
	f.projected = append(f.projected, fact[*projected]{r, &e})
	return about(r, ledger.SubjectMissions, string(e.MissionID))
}

func (c *bundleCheck) readServed(f *facts, r *RecordReport) error {
	var e served
	if err := readOpen(r, &e); err != nil {
		return err
	}
	return about(r, ledger.SubjectMissions, string(e.MissionID))
}

func (c *bundleCheck) readPeerRecord(r *RecordReport) error {
	if err := canonical(r.body); err != nil {
		return err
	}
	return ofKind(r, ledger.SubjectPeers)
}

// readDerivation reads a derivation receipt, which is logged as the peer sent it.
func (c *bundleCheck) readDerivation(f *facts, r *RecordReport) error {
	token, err := jws.Parse(string(r.body), jws.TypDerivationReceipt)
	if err != nil {
		return contentError("not a derivation receipt in its one encoding")
	}
	e, err := federation.ParseDerivationReceipt(token.Payload)
	if err != nil {
		return err
	}
	switch {
	case outgoing(r, e):
		f.sent = append(f.sent, fact[*federation.DerivationReceipt]{r, e})
		if err := ofKind(r, ledger.SubjectMissions); err != nil {
			return err
		}
	case e.Aud == r.Issuer:
		f.derivations = append(f.derivations, fact[*federation.DerivationReceipt]{r, e})
		if err := about(r, ledger.SubjectMissions, string(e.Upstream.ID)); err != nil {
			return err
		}
	default:
		return contentError("the derivation receipt is between other domains")
	}
	return c.checkToken(r, token, e.Iss)
}

// checkToken verifies what a peer signed and this domain logged. Without the peer's keys it stays this domain's word.
func (c *bundleCheck) checkToken(r *RecordReport, token *jws.Token, issuer string) error {
	keys, ok := c.issuerKeys(issuer)
	if !ok {
		r.Findings.add(Note, "peer_unknown", r.EntryID, "the trust document does not know %.200q; what it signed is not checked",
			issuer)
		return nil
	}
	if _, _, known := keys.Key(token.KeyID); !known {
		r.Findings.add(Audit, "issuer_key_unknown", r.EntryID, "the trust document has no key %.64q of %.200q", token.KeyID,
			issuer)
		return nil
	}
	if err := token.Verify(keys); err != nil {
		return contentError("what the peer is said to have signed does not verify")
	}
	return nil
}

// readPeerHead checks a peer's head: its note, if the peer is known, and the proof that it continues the one before.
func (c *bundleCheck) readPeerHead(f *facts, r *RecordReport) error {
	e := &peerHead{}
	if err := readOpen(r, &e.peerHeadBody); err != nil {
		return err
	}
	if err := ofKind(r, ledger.SubjectPeers); err != nil {
		return err
	}
	f.heads = append(f.heads, fact[*peerHead]{r, e})
	domain, ok := c.trust.Domain(e.Issuer)
	if !ok {
		r.Findings.add(Note, "peer_unknown", r.EntryID, "the trust document does not know %.200q; its head is not checked",
			e.Issuer)
		return nil
	}
	head, fs := VerifyCheckpoint([]byte(e.Checkpoint), domain)
	if fs.Outcome() != OK {
		r.Findings = append(r.Findings, fs...)
		return nil
	}
	if head.Origin != e.Origin || head.Size != e.Size || head.Root.String() != e.Root {
		return contentError("the head is not the one that the note signs")
	}
	e.head, e.verified = head, true
	if e.Previous == "" {
		return nil
	}
	before, fs := VerifyCheckpoint([]byte(e.Previous), domain)
	if fs.Outcome() != OK {
		r.Findings = append(r.Findings, fs...)
		return nil
	}
	path, err := parseHashes(e.Path)
	if err != nil {
		return contentError("the consistency path is malformed")
	}
	older, newer := before, head
	if older.Size > newer.Size {
		older, newer = newer, older
	}
	switch err := ledger.VerifyConsistency(older.Size, newer.Size, path, older.Root, newer.Root); {
	case err != nil && !e.Forked:
		return contentError("the proof does not show that one head continues the other")
	case e.Forked:
		r.Findings.add(Integrity, "peer_forked", r.EntryID, "two heads of the log of %.200q contradict each other", e.Issuer)
	}
	return nil
}

// readCeiling checks that the approved entries are the ones the hash commits to.
func (c *bundleCheck) readCeiling(f *facts, r *RecordReport) error {
	var e ceiling
	if err := readOpen(r, &e); err != nil {
		return err
	}
	if h, err := mission.AuthorityHash(r.Issuer, e.Approved); err != nil || h != e.AuthorityHash {
		return contentError("authority_hash does not recompute")
	}
	f.ceilings = append(f.ceilings, fact[*ceiling]{r, &e})
	return ofKind(r, ledger.SubjectPeers)
}

// checkProjected holds what was projected against the approved record: each conveyed entry comes from an approved one
// that names the peer, and the commitments of the chain open to the approval.
func (c *bundleCheck) checkProjected(m *MissionReport, rec *mission.Record) {
	for _, p := range c.facts.projected {
		if p.value.MissionID != rec.ID || p.from.Issuer != rec.Issuer {
			continue
		}
		for _, e := range p.value.Entries {
			i := slices.IndexFunc(rec.AuthoritySet, func(a mission.Entry) bool {
				d, err := mission.EntryDigest(rec.Issuer, a)
				return err == nil && d == e.Source
			})
			switch {
			case i < 0:
				m.Findings.add(Integrity, "projection_source", p.from.EntryID, "a conveyed entry comes from none that was approved")
			case rec.AuthoritySet[i].Federation == nil ||
				!slices.Contains(rec.AuthoritySet[i].Federation.Audiences, p.value.Peer):
				m.Findings.add(Integrity, "projection_unapproved", p.from.EntryID,
					"an entry crossed to %.200q, which its approver did not see", p.value.Peer)
			case rec.AuthoritySet[i].Federation.LocalMissions() != e.Max:
				m.Findings.add(Integrity, "projection_limit", p.from.EntryID, "the limit of local missions is not the approved one")
			}
		}
		c.checkHops(m, rec, p)
	}
}

// checkHops opens the commitment to this approval at the end of a chain.
func (c *bundleCheck) checkHops(m *MissionReport, rec *mission.Record, p fact[*projected]) {
	if len(p.value.Hops) == 0 {
		m.Findings.add(Integrity, "projection_chain", p.from.EntryID, "the projection has no chain")
		return
	}
	last := p.value.Hops[len(p.value.Hops)-1]
	if want, err := federation.NewHop(rec, p.value.Peer, last.Salt); err != nil || want != last.Hop {
		m.Findings.add(Integrity, "projection_chain", p.from.EntryID, "the chain does not end with this approval")
	}
}

// checkDerived holds the receipts for local missions against the projections and the approved limits.
func (c *bundleCheck) checkDerived(m *MissionReport, rec *mission.Record) {
	count := map[mission.Digest]int64{}
	for _, d := range c.facts.derivations {
		if d.value.Upstream.ID != rec.ID || d.value.Event != federation.EventMinted {
			continue
		}
		i := slices.IndexFunc(c.facts.projected, func(p fact[*projected]) bool {
			return p.value.JTI == d.value.ProjectionJTI && p.value.Peer == d.value.Iss && p.value.MissionID == rec.ID
		})
		if i < 0 {
			m.Findings.add(Audit, "derivation_unprojected", d.from.EntryID,
				"a local mission was receipted; the projection it stands on is not in the bundle")
			continue
		}
		var counted []mission.Digest
		for _, e := range c.facts.projected[i].value.Entries {
			if !slices.Contains(d.value.UpstreamEntries, e.Conveyed) || slices.Contains(counted, e.Source) {
				continue
			}
			counted = append(counted, e.Source)
			if count[e.Source]++; count[e.Source] > e.Max {
				m.Findings.add(Integrity, "derivation_limit", d.from.EntryID,
					"more local missions stand on an entry than its approver allowed")
			}
		}
	}
}
