package verifier

import (
	"cmp"
	"errors"
	"slices"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
)

// checkHistories judges the history of every mission whose feed the bundle means to hold: exactly one approval (E1), a
// legal and gapless sequence of transitions in log order (E2), and the approver's consent to exactly what was approved
// (E8). The other expected-set rules are checkExpected's.
func (c *bundleCheck) checkHistories() {
	if q := c.contents.manifest.Query; q.Mission != "" {
		if _, ok := c.facts.missions[mission.ID(q.Mission)]; !ok && !c.approvalErased(mission.ID(q.Mission)) {
			c.Findings.add(Audit, "approval_missing", q.Mission, "the bundle has no readable approval of the mission")
		}
	}
	for _, id := range c.facts.order {
		c.Missions = append(c.Missions, c.history(c.facts.missions[id]))
	}
	if slices.ContainsFunc(c.Missions, func(m MissionReport) bool { return m.Approval == unattended }) {
		c.NotClaimed = append(c.NotClaimed, notAttended)
	}
	if slices.ContainsFunc(c.Missions, func(m MissionReport) bool { return m.Approval != "" && !m.Entitled }) {
		c.NotClaimed = append(c.NotClaimed, notEntitled)
	}
}

// A story is what the bundle holds about one mission, in log order.
type story struct {
	approvals   []fact[*mission.Record]
	transitions []fact[*mission.TransitionRecord]
	consents    []fact[*consent]
	evidence    []fact[evidence.Facts] // of the catalogue
}

// history replays one mission.
func (c *bundleCheck) history(s *story) MissionReport {
	if len(s.approvals) == 0 {
		return c.orphaned(s)
	}
	first := s.approvals[0]
	rec := first.value
	m := MissionReport{
		ID: string(rec.ID), Issuer: rec.Issuer, CreatedAt: rec.CreatedAt, ExpiresAt: rec.ExpiresAt,
		Subject: rec.Subject, Approver: rec.Approver, Client: rec.ClientID, Basis: rec.ApprovalBasis.Type,
		ApprovedHash: Anchors{rec.IntentHash, rec.ProposalHash, rec.AuthorityHash, rec.ConsentRenderingHash},
	}
	if rec.Upstream != nil {
		m.Upstream = rec.Upstream.Issuer + " " + string(rec.Upstream.ID)
	}
	for _, again := range s.approvals[1:] {
		m.Findings.add(Integrity, "approved_twice", again.from.EntryID, "the mission %s has two approval events", rec.ID)
	}
	cur := mission.Begin(rec)
	last := first.from.position()
	for _, t := range s.transitions {
		next, ok := c.step(&m, cur, t)
		if !ok {
			break
		}
		if t.from.position() < last {
			m.Findings.add(Integrity, "history_order", t.from.EntryID,
				"version %d was logged before the version it follows", t.value.Version)
		}
		cur, last = next, t.from.position()
	}
	m.State, m.Version = cur.State, cur.Version
	if cur.State.Terminal() {
		m.EndedAt = cur.ChangedAt
	}
	for _, h := range cur.Holds {
		m.Held = append(m.Held, h.Reason)
	}
	m.Approval = c.checkConsent(&m, rec, s)
	c.checkLocal(&m, rec, s)
	c.checkProjected(&m, rec)
	c.checkDerived(&m, rec)
	c.checkExpected(&m, rec, s)
	return m
}

// approvalErased reports whether the approval of a mission was erased, and a verified record says so. Who approved what
// cannot be shown any more; that is not a finding.
func (c *bundleCheck) approvalErased(id mission.ID) bool {
	subject, err := ledger.MissionSubject(c.trust.Issuer, string(id))
	return err == nil && slices.ContainsFunc(c.Records, func(r *RecordReport) bool {
		return r.erased && r.ContentType == mission.ContentApprovalRecord && r.Subject == subject
	})
}

// orphaned reports transitions of a mission whose approval is not there.
func (c *bundleCheck) orphaned(s *story) MissionReport {
	m := MissionReport{Issuer: c.trust.Issuer}
	if len(s.transitions) > 0 {
		t := s.transitions[0]
		m.ID = string(t.value.MissionID)
		if c.approvalErased(t.value.MissionID) {
			last := s.transitions[len(s.transitions)-1].value
			m.Approval, m.State, m.Version = approvalErased, last.State, last.Version
			return m
		}
		m.Findings.add(Audit, "approval_missing", m.ID, "there are transitions of the mission but no approval")
	} else if len(s.consents) > 0 {
		m.ID = string(s.consents[0].value.mission())
		m.Findings.add(Audit, "approval_missing", m.ID, "there is a consent to the mission but no approval")
	} else if len(s.evidence) > 0 {
		m.ID = string(s.evidence[0].value.Mission.ID)
		m.Findings.add(Audit, "approval_missing", m.ID, "there is evidence of the mission but no approval")
	}
	return m
}

// step applies one logged transition if it continues the history and was legal at its time.
func (c *bundleCheck) step(m *MissionReport, cur mission.Standing, t fact[*mission.TransitionRecord]) (mission.Standing, bool) {
	where, v := t.from.EntryID, t.value
	switch {
	case v.Version <= cur.Version:
		m.Findings.add(Integrity, "version_repeated", where, "version %d of the mission %s is there twice", v.Version, v.MissionID)
		return cur, false
	case v.Version > cur.Version+1:
		m.Findings.add(Audit, "version_gap", where, "versions %d to %d of the mission %s are missing", cur.Version+1,
			v.Version-1, v.MissionID)
		return cur, false
	}
	next, err := mission.Replay(cur, v)
	if err != nil {
		m.Findings.add(Integrity, "transition_illegal", where, "version %d does not continue the history", v.Version)
		return cur, false
	}
	at, err := mission.ParseTime(v.TransitionedAt)
	if err != nil || v.TransitionedAt < cur.ChangedAt {
		m.Findings.add(Integrity, "transition_time", where, "version %d is dated before the version it follows", v.Version)
		return cur, false
	}
	want, outcome, err := mission.Next(cur, requested(cur, v), at)
	switch {
	case errors.Is(err, mission.ErrDue):
		m.Findings.add(Integrity, "deadline_ignored", where, "at version %d a deadline had passed and was not served first", v.Version)
	case err != nil || outcome != mission.Changed:
		m.Findings.add(Integrity, "transition_illegal", where, "%s was not legal from %s", v.Operation, cur.State)
	case !sameStanding(want, next):
		m.Findings.add(Integrity, "transition_effect", where, "%s does not lead to what version %d says", v.Operation, v.Version)
	}
	return next, true
}

// requested is the transition that the record says was asked for.
func requested(cur mission.Standing, t *mission.TransitionRecord) mission.Transition {
	op := mission.Transition{Operation: t.Operation}
	switch t.Operation {
	case mission.OpSuspend:
		op.SuspendUntil, op.OnExpiry = t.SuspendUntil, t.OnExpiry
	case mission.OpSupersede:
		op.Successor = t.Successor
	case mission.OpHold:
		op.HoldReason = onlyIn(t.Holds, cur.Holds)
	case mission.OpRelease:
		op.HoldReason = onlyIn(cur.Holds, t.Holds)
	}
	return op
}

// onlyIn is the reason of the first hold of a that is not in b.
func onlyIn(a, b []mission.Hold) string {
	for _, h := range a {
		if !slices.ContainsFunc(b, func(other mission.Hold) bool { return other.Reason == h.Reason }) {
			return h.Reason
		}
	}
	return ""
}

// sameStanding compares what a transition says and what the rules make of it.
func sameStanding(a, b mission.Standing) bool {
	return a.State == b.State && a.Version == b.Version && a.SuspendUntil == b.SuspendUntil && a.OnExpiry == b.OnExpiry &&
		a.Successor == b.Successor && a.ChangedAt == b.ChangedAt && slices.Equal(a.Holds, b.Holds)
}

// sortStory puts everything into the order in which it is judged: transitions by version, then by place in the log.
func (s *story) sort() {
	slices.SortStableFunc(s.transitions, func(a, b fact[*mission.TransitionRecord]) int {
		return cmp.Or(cmp.Compare(a.value.Version, b.value.Version), cmp.Compare(a.from.position(), b.from.position()))
	})
}
