package verifier

import (
	"fmt"
	"slices"
	"time"

	"github.com/mission-authority/mas/mission"
)

// A Side is what one of two domains gave to the auditor.
type Side struct {
	Bundle []byte
	Trust  *Trust
	Mirror *Mirror // of its log, if there is one
}

// An ExchangeReport is the result of holding the logs of two domains against each other: what one conveyed, and what
// the other made of it.
type ExchangeReport struct {
	Origin     *BundleReport `json:"origin"`
	Receiver   *BundleReport `json:"receiver"`
	Pairs      []PairReport  `json:"pairs"`
	Findings   Findings      `json:"findings"`
	NotClaimed []Claim       `json:"not_claimed"`
	Outcome    Outcome       `json:"outcome"`
}

// A PairReport is about one local mission and the mission it was minted from.
type PairReport struct {
	Upstream  string               `json:"upstream"`
	Local     string               `json:"local"`
	Agreement mission.AgreementRef `json:"agreement"`
	Steps     []Step               `json:"steps"`
}

// A Step is one part of the story with its verdict.
type Step struct {
	Name     string   `json:"step"`
	Verdict  Verdict  `json:"verdict"`
	Text     string   `json:"text"`
	Findings Findings `json:"findings,omitempty"`
}

// All returns every finding of both bundles and of the story.
func (r *ExchangeReport) All() Findings {
	all := append(append(Findings{}, r.Origin.All()...), r.Receiver.All()...)
	all = append(all, r.Findings...)
	for _, p := range r.Pairs {
		for _, s := range p.Steps {
			all = append(all, s.Findings...)
		}
	}
	return all
}

// VerifyExchange checks both bundles and then the story that they tell together. proofs are consistency proofs of
// either log; they and the mirrors show that heads which one side logged of the other's log are heads of that log.
func VerifyExchange(origin, receiver Side, proofs []*ConsistencyProof) *ExchangeReport {
	r := &ExchangeReport{Pairs: []PairReport{}, Findings: Findings{}}
	x := &exchangeCheck{ExchangeReport: r, proofs: proofs}
	x.origin = x.side(origin, receiver.Trust)
	x.receiver = x.side(receiver, origin.Trust)
	r.Origin, r.Receiver = x.origin.BundleReport, x.receiver.BundleReport
	r.NotClaimed = claimsOf(r.Origin.NotClaimed, r.Receiver.NotClaimed)
	if x.origin.facts != nil && x.receiver.facts != nil {
		x.pairs()
	}
	r.Outcome = r.All().Outcome()
	if r.Outcome == OK && (r.Origin.Outcome != OK || r.Receiver.Outcome != OK) {
		r.Outcome = Unverifiable
	}
	return r
}

// claimsOf merges two lists in order.
func claimsOf(a, b []Claim) []Claim {
	out := slices.Clone(a)
	for _, c := range b {
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// An exchangeCheck is one run of VerifyExchange.
type exchangeCheck struct {
	*ExchangeReport
	origin, receiver *sideCheck
	proofs           []*ConsistencyProof
}

// A sideCheck is one side with its verified facts.
type sideCheck struct {
	*BundleReport
	trust  *Trust
	mirror *Mirror
	proofs []*ConsistencyProof // of the bundle
}

// side verifies one bundle. What the other side's trust document says of the other side counts here too.
func (x *exchangeCheck) side(s Side, other *Trust) *sideCheck {
	trust := *s.Trust
	known, ok := trust.Domain(other.Issuer)
	switch {
	case !ok:
		trust.Peers = append(slices.Clone(trust.Peers), other.Anchor)
	case known.Origin != other.Origin || !known.KnowsLogKey(other.VKey) && !other.KnowsLogKey(known.VKey):
		x.Findings.add(Audit, "trust_disagrees", other.Issuer, "the two trust documents name different logs of %.200q", other.Issuer)
	}
	out := &sideCheck{BundleReport: VerifyBundle(s.Bundle, &trust, BundleOptions{Mirror: s.Mirror}), trust: &trust, mirror: s.Mirror}
	if c := open(s.Bundle, &Findings{}); c != nil {
		for _, f := range c.proofs {
			if p, err := ParseConsistencyProof(f.data); err == nil {
				out.proofs = append(out.proofs, p)
			}
		}
	}
	return out
}

// pairs finds the local missions that were minted from the origin's and tells the story of each.
func (x *exchangeCheck) pairs() {
	for _, id := range x.receiver.facts.order {
		s := x.receiver.facts.missions[id]
		if len(s.approvals) == 0 {
			continue
		}
		rec := s.approvals[0].value
		if rec.Upstream == nil || rec.Upstream.Issuer != x.origin.trust.Issuer {
			continue
		}
		p := &pair{x: x, local: s, rec: rec, u: rec.Upstream}
		p.Upstream, p.Local, p.Agreement = string(rec.Upstream.ID), string(rec.ID), rec.Upstream.Agreement
		if p.upstream = x.origin.facts.missions[rec.Upstream.ID]; p.upstream == nil || len(p.upstream.approvals) == 0 {
			x.Findings.add(Audit, "upstream_missing", p.Upstream, "the origin's bundle is not about the mission this one was minted from")
			continue
		}
		p.tell()
		x.Pairs = append(x.Pairs, p.PairReport)
	}
	if len(x.Pairs) == 0 && len(x.Findings) == 0 {
		x.Findings.add(Audit, "no_exchange", "", "the receiver's bundle has no mission that was minted from the origin's")
	}
}

// A pair is one local mission with its upstream.
type pair struct {
	PairReport
	x               *exchangeCheck
	local, upstream *story
	rec             *mission.Record
	u               *mission.Upstream
}

// tell makes every step of the story.
func (p *pair) tell() {
	for _, s := range []struct {
		name string
		run  func(*Findings) string
	}{
		{"agreement", p.agreement}, {"projection", p.projection}, {"mint", p.mint}, {"acknowledgement", p.acknowledgement},
		{"heads", p.heads}, {"end", p.end},
	} {
		var fs Findings
		text := s.run(&fs)
		p.Steps = append(p.Steps, Step{Name: s.name, Verdict: verdictOf(fs), Text: text, Findings: fs})
	}
}

// place names an entry for people.
func place(r *RecordReport) string {
	if r == nil || r.Index == nil {
		return "an entry without place"
	}
	return fmt.Sprintf("entry %d", *r.Index)
}

// registered is when a log says that it registered an entry.
func (r *RecordReport) registeredAt() (time.Time, bool) {
	if r.receipt == nil || !r.proven {
		return time.Time{}, false
	}
	return time.Unix(r.receipt.IssuedAt, 0), true
}
