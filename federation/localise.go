package federation

import (
	"fmt"
	"slices"
	"time"

	"github.com/mission-authority/mas/mission"
)

// A Mint is everything that is known when a local Mission is about to be made of a conveyed one.
type Mint struct {
	Origin    string // issuer of the conveyed Mission
	Self      string
	Direction *Direction
	Mapping   *Mapping

	Conveyed []mission.Entry    // of the projection
	Live     []mission.Entry    // of the live status: what the origin can still follow up
	Subject  *mission.Principal // as the origin names it
	Chain    []Hop

	Proposed []mission.Entry // by the local client
	Ceiling  []mission.Entry // approved by a person of this domain

	Requested     time.Time // expiry asked for
	ConveyedUntil time.Time // the conveyed Mission's expiry
	CeilingUntil  time.Time // draw-down ends then; a Mission drawn down before may live on
}

// Local is what a local Mission may be.
type Local struct {
	Entries       []mission.Entry
	Justification []mission.Justification // local entry -> the first conveyed entry that contains it
	Charged       []mission.Digest        // conveyed entries the Mission stands on, each once
	Subject       mission.Principal
	Mapping       mission.MappingRef
	ExpiresAt     time.Time
}

// Localise decides what a local Mission may be. Every rule narrows:
//
//   - a chain that contains this domain is refused;
//   - every proposed entry lies inside some single conveyed entry as it may be held here (see Held), inside some single
//     entry that the live status still shows, and inside some single entry of the ceiling;
//   - no entry is gated, needs approval of single actions or may fall into a restricted class: a standing approval
//     never stands for a person there;
//   - the subject maps to exactly one principal of this domain;
//   - the expiry is the earliest of the requested one, the conveyed Mission's and the agreed longest life.
//
// Errors are *Refusal.
func (m *Mint) Localise(at time.Time) (*Local, error) {
	if reason, err := checkChain(m.Chain, m.Origin, m.Self); err != nil {
		return nil, refuse(CodeInvalidProjection, reason, err)
	}
	if m.Direction == nil || !slices.Contains(m.Direction.Shapes, mission.ShapeLocalMission) {
		return nil, refuse(CodeInvalidTarget, ReasonOutsideAgreement, nil)
	}
	out := &Local{Entries: m.Proposed}
	if err := m.justify(out); err != nil {
		return nil, err
	}
	if err := m.drawDown(at); err != nil {
		return nil, err
	}
	if err := m.mapSubject(out); err != nil {
		return nil, err
	}
	out.ExpiresAt = earliest(m.Requested, m.ConveyedUntil,
		at.Add(time.Duration(m.Direction.MaxMissionSeconds)*time.Second)).Truncate(time.Second)
	if !at.Before(out.ExpiresAt) {
		return nil, refuse(CodeInvalidRequest, ReasonExpired, nil)
	}
	return out, nil
}

// justify holds the proposal against what was conveyed and what is live.
func (m *Mint) justify(out *Local) error {
	held := m.Held(m.Conveyed)
	index, err := mission.Justify(m.Proposed, held)
	if err != nil {
		return refuse(CodeInvalidRequest, ReasonNotStrictSubset, err)
	}
	if err := mission.SubsetOfSet(m.Proposed, m.Held(m.Live)); err != nil {
		return refuse(CodeInvalidRequest, ReasonNotStrictSubset, fmt.Errorf("live status: %w", err))
	}
	for i, e := range m.Proposed {
		local, err := mission.EntryDigest(m.Self, e)
		if err != nil {
			return refuse(CodeInvalidRequest, ReasonMalformed, err)
		}
		upstream, err := mission.EntryDigest(m.Origin, m.Conveyed[index[i]])
		if err != nil {
			return refuse(CodeInvalidRequest, ReasonMalformed, err)
		}
		out.Justification = append(out.Justification, mission.Justification{LocalEntry: local, UpstreamEntry: upstream})
		if !slices.Contains(out.Charged, upstream) {
			out.Charged = append(out.Charged, upstream)
		}
	}
	return nil
}

// drawDown holds the proposal against the standing approval.
func (m *Mint) drawDown(at time.Time) error {
	if len(m.Ceiling) == 0 {
		return refuse(CodeAccessDenied, ReasonNoCeiling, nil)
	}
	if !at.Before(m.CeilingUntil) {
		return refuse(CodeAccessDenied, ReasonCeilingExpired, nil)
	}
	if err := mission.SubsetOfSet(m.Proposed, m.Ceiling); err != nil {
		return refuse(CodeAccessDenied, ReasonNotInCeiling, err)
	}
	for _, e := range m.Proposed {
		if err := m.Direction.Drawable(e); err != nil {
			return refuse(CodeAccessDenied, ReasonRestrictedClass, err)
		}
	}
	return nil
}

// mapSubject names the subject in this domain.
func (m *Mint) mapSubject(out *Local) error {
	if m.Subject == nil {
		return refuse(CodePrincipalMappingFailed, "", nil)
	}
	local, ok := m.Mapping.Local(*m.Subject)
	if !ok {
		return refuse(CodePrincipalMappingFailed, "", nil)
	}
	result, err := mission.ObjectDigest(MappedPair{From: *m.Subject, To: local})
	if err != nil {
		return refuse(CodePrincipalMappingFailed, "", err)
	}
	out.Subject = local
	out.Mapping = mission.MappingRef{PolicyID: m.Mapping.PolicyID, Version: m.Mapping.Version, ResultHash: result}
	return nil
}

// Held returns conveyed entries as this domain may hold them, element for element: delegation depth continues, so one
// step is used up by the border, and with the last step delegation ends. Matchers that name a subject of the origin
// match nobody here unless the mapping says who that is; a list that loses all its matchers ends delegation too.
func (m *Mint) Held(entries []mission.Entry) []mission.Entry {
	out := slices.Clone(entries)
	for i, e := range out {
		out[i].Delegation = m.heldDelegation(e.Delegation)
	}
	return out
}

func (m *Mint) heldDelegation(d *mission.Delegation) *mission.Delegation {
	if d == nil || d.MaxDepth <= 1 || len(d.Other) > 0 {
		return nil
	}
	held := &mission.Delegation{MaxDepth: d.MaxDepth - 1}
	if d.AllowedDelegates == nil {
		return held
	}
	var matchers []mission.Matcher
	for _, want := range *d.AllowedDelegates {
		if want.Sub == nil {
			matchers = append(matchers, want)
		} else if p, ok := m.Mapping.Local(mission.Principal{Iss: m.Origin, Sub: *want.Sub}); ok {
			matchers = append(matchers, mission.Matcher{Sub: &p.Sub})
		}
	}
	if len(matchers) == 0 {
		return nil
	}
	held.AllowedDelegates = &matchers
	return held
}

func earliest(first time.Time, rest ...time.Time) time.Time {
	for _, t := range rest {
		if t.Before(first) {
			first = t
		}
	}
	return first
}
