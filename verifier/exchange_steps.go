package verifier

import (
	"fmt"
	"slices"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/mission"
)

// agreement: both logs hold the same signed agreement, and each later step at one side cites the entry at the other
// that it stands on.
func (p *pair) agreement(fs *Findings) string {
	sides := []*sideCheck{p.x.origin, p.x.receiver}
	var events [2]map[string]fact[*federation.AgreementEvent]
	for i, s := range sides {
		events[i] = map[string]fact[*federation.AgreementEvent]{}
		for _, e := range s.facts.agreements {
			if e.value.Agreement == p.Agreement && e.from.Issuer == s.trust.Issuer {
				events[i][e.value.Event] = e
			}
		}
		for _, name := range []string{federation.EventSigned, federation.EventActivated, federation.EventConfirmed} {
			if _, ok := events[i][name]; !ok {
				fs.add(Audit, "agreement_event_missing", s.trust.Issuer, "the bundle has no entry that the agreement was %s", name)
			}
		}
	}
	if len(*fs) > 0 {
		return "the agreement cannot be followed in both logs"
	}
	for i, s := range sides {
		own, other := events[i], events[1-i]
		for _, step := range [][2]string{{federation.EventActivated, federation.EventSigned},
			{federation.EventConfirmed, federation.EventActivated}} {
			e, before, peer := own[step[0]], own[step[1]], other[step[1]]
			c := e.value.Cites
			if c == nil || c.Own != before.from.EntryID || c.Peer != peer.from.EntryID || c.PeerIndex != peer.from.position() {
				fs.add(Integrity, "agreement_citation", e.from.EntryID, "%s does not cite the entries that it stands on", step[0])
			}
			if e.from.position() <= before.from.position() {
				fs.add(Integrity, "agreement_order", e.from.EntryID, "%s was logged before %s", step[0], step[1])
			}
		}
		if first := p.firstUse(s); first != nil && first.position() < own[federation.EventConfirmed].from.position() {
			fs.add(Integrity, "agreement_unused", first.EntryID, "the agreement was used before it was in force")
		}
	}
	return fmt.Sprintf("%s version %d: signed, activated and confirmed in both logs, each citing the other", p.Agreement.ID,
		p.Agreement.Version)
}

// firstUse is the first entry of the pair that stands on the agreement.
func (p *pair) firstUse(s *sideCheck) *RecordReport {
	if s == p.x.receiver {
		return p.local.approvals[0].from
	}
	if issued := p.issued(); issued != nil {
		return issued.from
	}
	return nil
}

// issued is the origin's entry about the projection that the local mission stands on.
func (p *pair) issued() *fact[*projected] {
	return findFact(p.x.origin.facts.projected, func(e *projected) bool {
		return e.MissionID == p.u.ID && slices.ContainsFunc(p.u.Evidence, func(x mission.UpstreamEvidence) bool {
			return x.Digest == e.Projection && x.JTI == e.JTI
		})
	})
}

// projection: what the origin issued is, octet for octet, what the receiver wrote down and minted from.
func (p *pair) projection(fs *Findings) string {
	issued := p.issued()
	if issued == nil {
		fs.add(Audit, "projection_not_issued", p.Local, "the origin's bundle has no entry for the projection the mission stands on")
		return "the projection is not in the origin's bundle"
	}
	got := findFact(p.x.receiver.facts.received, func(e *received) bool { return e.Digest == issued.value.Projection })
	if got == nil {
		fs.add(Audit, "projection_not_received", p.Local, "the receiver's bundle has no entry for the projection")
		return "the projection is not in the receiver's bundle"
	}
	if issued.value.Peer != p.x.receiver.trust.Issuer || issued.value.Agreement != p.Agreement {
		fs.add(Integrity, "projection_mismatch", issued.from.EntryID, "the origin issued it to another peer or under another agreement")
	}
	if findFact(p.x.origin.facts.introductions, func(e *introduced) bool {
		return e.MissionID == p.u.ID && e.Peer == issued.value.Peer && e.Introduction == issued.value.Introduction
	}) == nil {
		fs.add(Audit, "introduction_missing", issued.from.EntryID, "the origin's bundle has no introduction for the projection")
	}
	return fmt.Sprintf("issued by the origin in %s, written down by the receiver in %s, same digest %s", place(issued.from),
		place(got.from), issued.value.Projection)
}

// mint: the local mission names its upstream as the origin's own record does, and stands on entries that were conveyed.
func (p *pair) mint(fs *Findings) string {
	up := p.upstream.approvals[0].value
	approval := p.local.approvals[0].from
	if up.AuthorityHash != p.u.AuthorityHash || up.ExpiresAt != p.u.ExpiresAt || up.ID != p.u.ID || up.Issuer != p.u.Issuer {
		fs.add(Integrity, "upstream_mismatch", approval.EntryID, "the origin approved another mission than the local one names")
	}
	if issued := p.issued(); issued != nil {
		for _, j := range p.u.Justification {
			conveyed := func(e struct {
				Conveyed mission.Digest `json:"conveyed"`
				Source   mission.Digest `json:"source"`
				Max      int64          `json:"max_local_missions"`
			}) bool {
				return e.Conveyed == j.UpstreamEntry
			}
			if !slices.ContainsFunc(issued.value.Entries, conveyed) {
				fs.add(Integrity, "justification_unknown", approval.EntryID, "an entry stands on one that the origin did not convey")
			}
		}
		if p.u.VersionAtMint < issued.value.Version {
			fs.add(Integrity, "version_at_mint", approval.EntryID, "the mission was minted at a version before the projection's")
		}
	}
	return fmt.Sprintf("%s minted in the receiver's %s from %s at version %d, under a ceiling that a person approved", p.Local,
		place(approval), p.Upstream, p.u.VersionAtMint)
}

// acknowledgement: the receiver told the origin what it minted, and the origin's log holds exactly that.
func (p *pair) acknowledgement(fs *Findings) string {
	approval := p.local.approvals[0].from
	sent := findFact(p.x.receiver.facts.sent, func(e *federation.DerivationReceipt) bool {
		return e.Event == federation.EventMinted && e.LocalEntry == approval.EntryID
	})
	if sent == nil {
		fs.add(Audit, "receipt_not_sent", p.Local, "the receiver's bundle has no derivation receipt for the mint")
		return "no derivation receipt in the receiver's bundle"
	}
	digest := mission.DigestOf(sent.from.statement.Digest)
	var logged *RecordReport
	for _, d := range p.x.origin.facts.derivations {
		if mission.DigestOf(d.from.statement.Digest) == digest {
			logged = d.from
		}
	}
	if logged == nil {
		fs.add(Audit, "receipt_not_logged", p.Local, "the origin's bundle has no entry for the derivation receipt")
		return "the derivation receipt is not in the origin's bundle"
	}
	want, err := federation.EntriesDigest(p.rec.Issuer, p.rec.AuthoritySet)
	if err != nil || sent.value.EntriesDigest != want || sent.value.Upstream.ID != p.u.ID || sent.value.Agreement != p.Agreement {
		fs.add(Integrity, "receipt_mismatch", sent.from.EntryID, "the derivation receipt says something else than the local mission")
	}
	ack := findFact(p.x.receiver.facts.acknowledged, func(e *acknowledged) bool { return e.Receipt == digest })
	switch {
	case ack == nil:
		fs.add(Audit, "acknowledgement_missing", p.Local, "the receiver's bundle has no acknowledgement by the origin")
	case ack.value.EntryID != logged.EntryID || ack.value.Index != logged.position():
		fs.add(Integrity, "acknowledgement_mismatch", ack.from.EntryID, "the origin acknowledged another entry than it logged")
	}
	return fmt.Sprintf("receipted by the origin in %s", place(logged))
}

// end: when the origin's mission has ended, the receiver stopped relying on it within the agreed bound, on the word
// of a status that the origin signed after the end.
func (p *pair) end(fs *Findings) string {
	ended := p.upstream.terminal()
	if ended == nil {
		return "the origin's mission has not ended"
	}
	stop, relied := p.local.stopped()
	switch {
	case !relied:
		return fmt.Sprintf("%s at the origin; the receiver's mission was never in force", ended.value.State)
	case ended.value.Operation == mission.OpExpire && notAfter(p.rec.ExpiresAt, p.u.ExpiresAt):
		return "expired at the origin; the receiver's mission does not outlive it"
	case stop == nil:
		fs.add(Audit, "end_not_seen", p.Local, "the origin's mission ended; the receiver's bundle does not show that it stopped")
		return "the end has not reached the receiver's bundle"
	}
	p.checkCascade(fs, ended)
	ta, okA := ended.from.registeredAt()
	tb, okB := stop.from.registeredAt()
	bound, ok := p.bound()
	if !okA || !okB || !ok {
		fs.add(Audit, "end_untimed", p.Local, "the bundles do not show when the mission ended, or what was agreed")
		return "the times of the end are not shown"
	}
	delay := max(tb.Sub(ta), 0)
	if delay > bound {
		fs.add(Integrity, "bound_exceeded", stop.from.EntryID, "the receiver stopped %s after the end; %s are agreed", delay, bound)
	}
	return fmt.Sprintf("%s at the origin in %s on %s; the receiver stopped in %s on %s, %s later (agreed: %s; times are each log's word)",
		ended.value.State, place(ended.from), mission.FormatTime(ta), place(stop.from), mission.FormatTime(tb), delay, bound)
}

// checkCascade holds the end that the receiver acted on against the one that the origin logged.
func (p *pair) checkCascade(fs *Findings, ended *fact[*mission.TransitionRecord]) {
	cascade := p.local.terminal()
	if cascade == nil || cascade.value.Operation != mission.OpCascade {
		return
	}
	seen := findFact(p.x.receiver.facts.observed, func(e *observed) bool { return e.Digest == cascade.value.Cause })
	if seen == nil {
		return // the receiver's own verdict says so
	}
	if s := seen.value.status.Mission; s.Version != ended.value.Version || s.State != ended.value.State {
		fs.add(Integrity, "end_mismatch", cascade.from.EntryID, "the receiver cascaded on another end than the origin logged")
	}
}

// bound is the agreed time from an end to the last reliance on it.
func (p *pair) bound() (time.Duration, bool) {
	for _, s := range []*sideCheck{p.x.origin, p.x.receiver} {
		for _, e := range s.facts.agreements {
			if e.value.Agreement == p.Agreement && e.value.Signed != nil {
				return time.Duration(e.value.Signed.Agreement.Revocation.BoundSeconds) * time.Second, true
			}
		}
	}
	return 0, false
}

// terminal is the transition that ended the mission; nil if it has not ended.
func (s *story) terminal() *fact[*mission.TransitionRecord] {
	for i := range s.transitions {
		if s.transitions[i].value.State.Terminal() {
			return &s.transitions[i]
		}
	}
	return nil
}

// stopped is the transition from which on the mission was never active again, nil if it is active; relied reports
// whether it ever was.
func (s *story) stopped() (stop *fact[*mission.TransitionRecord], relied bool) {
	if len(s.approvals) > 0 {
		relied = len(mission.Begin(s.approvals[0].value).Holds) == 0
	}
	for i := range s.transitions {
		t := s.transitions[i].value
		switch active := t.State == mission.Active && len(t.Holds) == 0; {
		case active:
			stop, relied = nil, true
		case stop == nil:
			stop = &s.transitions[i]
		}
	}
	return stop, relied
}
