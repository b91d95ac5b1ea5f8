package verifier

import (
	"cmp"
	"slices"
	"time"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
)

// checkExpected holds what is there against what should be: an omission shows only against an expectation. The rules of
// audit 5.3 are spread over the package: E1, E2 and E8 are checkHistories', E10 is explainErasures'.
func (c *bundleCheck) checkExpected(m *MissionReport, rec *mission.Record, s *story) {
	c.checkSequences(m, s)
	c.checkExecutions(m, s)
	c.checkDerivations(m, rec, s)
	c.checkChildren(m, s)
	c.checkReceipts(m, s)
	c.checkLag(m, rec, s)
}

// checkSequences: the records of one emitter about one mission are numbered without a gap, from 0 or 1 (E3).
func (c *bundleCheck) checkSequences(m *MissionReport, s *story) {
	byEmitter := map[evidence.Emitter][]fact[evidence.Facts]{}
	var order []evidence.Emitter
	for _, e := range s.evidence {
		if e.value.Sequence == nil {
			continue
		}
		if byEmitter[e.value.Emitter] == nil {
			order = append(order, e.value.Emitter)
		}
		byEmitter[e.value.Emitter] = append(byEmitter[e.value.Emitter], e)
	}
	for _, emitter := range order {
		list := byEmitter[emitter]
		slices.SortStableFunc(list, func(a, b fact[evidence.Facts]) int { return cmp.Compare(*a.value.Sequence, *b.value.Sequence) })
		next := min(*list[0].value.Sequence, 1)
		for _, e := range list {
			n := *e.value.Sequence
			switch {
			case n > next:
				m.Findings.add(Audit, "sequence_gap", e.from.EntryID, "numbers %d to %d of the emitter %.200q are missing", next,
					n-1, emitter.ID)
			case n < next:
				m.Findings.add(Integrity, "sequence_repeated", e.from.EntryID, "the emitter %.200q used number %d twice",
					emitter.ID, n)
			}
			next = n + 1
		}
	}
}

// checkExecutions: every high-consequence permit has exactly one outcome (E4), and every outcome belongs to a permit
// for the same thing (E5). A record of what should not have happened is good evidence of a deviation.
func (c *bundleCheck) checkExecutions(m *MissionReport, s *story) {
	decisions := map[string]fact[*evidence.Decision]{}
	for _, d := range of[*evidence.Decision](s.evidence) {
		if other, twice := decisions[d.value.EvaluationID]; twice {
			m.Findings.add(Integrity, "decided_twice", d.from.EntryID, "two decisions of one evaluation, the other is %s",
				other.from.EntryID)
			continue
		}
		decisions[d.value.EvaluationID] = d
	}
	outcomes := map[string]fact[*evidence.Execution]{}
	for _, e := range of[*evidence.Execution](s.evidence) {
		if other, twice := outcomes[e.value.EvaluationID]; twice {
			m.Findings.add(Integrity, "executed_twice", e.from.EntryID, "two outcomes of one permit, the other is %s",
				other.from.EntryID)
			continue
		}
		outcomes[e.value.EvaluationID] = e
		if e.value.Unauthorized() {
			m.Findings.add(Deviation, "unauthorized_execution", e.from.EntryID,
				"the action was executed with other parameters than were permitted")
		}
		d, ok := decisions[e.value.EvaluationID]
		if !ok {
			m.Findings.add(Audit, "decision_missing", e.from.EntryID, "no decision of the bundle permits what was executed")
			continue
		}
		c.checkExecution(m, d, e)
	}
	for _, d := range of[*evidence.Decision](s.evidence) {
		if d.value.Decision != evidence.Permit || !evidence.HighConsequence(d.value.ActionClass) {
			continue
		}
		if _, done := outcomes[d.value.EvaluationID]; done {
			continue
		}
		if until, err := mission.ParseTime(d.value.Conditions.ValidUntil); err == nil && c.latest().Before(until) {
			m.Findings.add(Note, "execution_pending", d.from.EntryID, "the permit was still valid when the bundle was made")
			continue
		}
		m.Findings.add(Audit, "execution_undetermined", d.from.EntryID, "what became of the permit is not in the bundle")
	}
}

// latest is the newest registration time that a verified receipt of the bundle shows.
func (c *bundleCheck) latest() time.Time {
	var last int64
	for _, r := range c.Records {
		if r.proven {
			last = max(last, r.receipt.IssuedAt)
		}
	}
	return time.Unix(last, 0)
}

// checkExecution holds an outcome against its decision.
func (c *bundleCheck) checkExecution(m *MissionReport, d fact[*evidence.Decision], e fact[*evidence.Execution]) {
	where := e.from.EntryID
	switch {
	case d.value.Audience != e.value.Audience:
		m.Findings.add(Integrity, "execution_mismatch", where, "the outcome is of another audience than the decision")
	case d.value.ParameterDigest != e.value.Authorized:
		m.Findings.add(Integrity, "execution_mismatch", where,
			"the outcome says that other parameters were permitted than the decision does")
	case d.value.Decision != evidence.Permit && e.value.Outcome != evidence.Suppressed:
		m.Findings.add(Deviation, "unauthorized_execution", where, "the action was executed although it was denied")
	}
	if len(d.value.Obligations) > len(e.value.Obligations) {
		m.Findings.add(Audit, "obligation_outcome_missing", where, "the outcome is silent about obligations of the decision")
	}
}

// checkDerivations: where derivations are recorded, an audience is not used before a credential for it was made, and a
// credential is for an audience of the approved authority (E6).
func (c *bundleCheck) checkDerivations(m *MissionReport, rec *mission.Record, s *story) {
	derived := map[string]time.Time{}
	for _, d := range of[*evidence.Derivation](s.evidence) {
		if len(mission.ForAudience(rec.AuthoritySet, d.value.Aud)) == 0 {
			m.Findings.add(Deviation, "derivation_audience", d.from.EntryID,
				"a credential was made for an audience that was not approved")
		}
		at, err := mission.ParseTime(d.value.IssuedAt)
		if first, ok := derived[d.value.Aud]; err == nil && (!ok || at.Before(first)) {
			derived[d.value.Aud] = at
		}
	}
	if len(derived) == 0 {
		return // the deployment records none
	}
	for _, d := range of[*evidence.Decision](s.evidence) {
		at, err := mission.ParseTime(d.value.EvaluatedAt)
		first, ok := derived[d.value.Audience]
		if d.value.Decision == evidence.Permit && (err != nil || !ok || at.Before(first)) {
			m.Findings.add(Audit, "derivation_missing", d.from.EntryID,
				"the mission was used at an audience before any credential for it was recorded")
		}
	}
}

// checkChildren: child evidence and the child's approval agree, and a child does not outlive its parent (E7). The feed
// of a child is another bundle's unless this one holds it.
func (c *bundleCheck) checkChildren(m *MissionReport, s *story) {
	for _, e := range of[*evidence.Child](s.evidence) {
		if e.value.Decision != evidence.Created {
			continue
		}
		child, ok := c.facts.missions[e.value.Child.ID]
		if !ok || len(child.approvals) == 0 {
			m.Findings.add(Note, "child_elsewhere", e.from.EntryID, "the child %s is not in the bundle", e.value.Child.ID)
			continue
		}
		rec := child.approvals[0].value
		if rec.AuthorityHash != e.value.Child.AuthorityHash || rec.Issuer != e.value.Child.Issuer {
			m.Findings.add(Integrity, "child_mismatch", e.from.EntryID, "the child was approved with another authority")
		}
		cur := mission.Begin(rec)
		for _, t := range child.transitions {
			if next, err := mission.Replay(cur, t.value); err == nil {
				cur = next
			}
		}
		if m.State.Terminal() && !cur.State.Terminal() {
			m.Findings.add(Deviation, "cascade_missing", e.from.EntryID, "the mission ended and its child %s did not",
				e.value.Child.ID)
		}
	}
}

// checkLag: evidence is registered soon after what it is about, and never before (E9).
func (c *bundleCheck) checkLag(m *MissionReport, rec *mission.Record, s *story) {
	if c.opts.Within == 0 {
		return
	}
	judge := func(r *RecordReport, at string) {
		event, err := mission.ParseTime(at)
		if err != nil || !r.proven {
			return
		}
		switch lag := time.Unix(r.receipt.IssuedAt, 0).Sub(event); {
		case lag > c.opts.Within:
			m.Findings.add(Audit, "registered_late", r.EntryID, "registered %s after it happened, at most %s is declared", lag,
				c.opts.Within)
		case lag < -mission.MaxSkew:
			m.Findings.add(Audit, "registered_early", r.EntryID, "registered %s before it happened", -lag)
		}
	}
	judge(s.approvals[0].from, rec.CreatedAt)
	for _, t := range s.transitions {
		judge(t.from, t.value.TransitionedAt)
	}
	for _, e := range s.evidence {
		judge(e.from, e.value.At)
	}
}
