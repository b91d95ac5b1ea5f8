package verifier

import (
	"slices"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
)

// checkReceipts holds every Mission Receipt against the records it refers to.
func (c *bundleCheck) checkReceipts(m *MissionReport, s *story) {
	for _, r := range of[*evidence.Receipt](s.evidence) {
		for _, f := range VerifyMissionReceipt(r.value, c.resolve) {
			f.Where = r.from.EntryID
			m.Findings = append(m.Findings, f)
		}
	}
}

// resolve finds a record of the bundle that may be relied on.
func (c *bundleCheck) resolve(d mission.Digest) (evidence.Facts, bool) {
	for _, s := range c.facts.missions {
		for _, e := range s.evidence {
			if e.value.Digest == d && e.from.Findings.Outcome() == OK {
				return e.value, true
			}
		}
	}
	return evidence.Facts{}, false
}

// VerifyMissionReceipt makes the checks of a Mission Receipt that follow the one of its own signature: it resolves
// every reference to a verified record, joins the records with each other, compares what was copied, and follows the
// chain. A receipt with any finding must not be relied on.
func VerifyMissionReceipt(r *evidence.Receipt, resolve func(mission.Digest) (evidence.Facts, bool)) Findings {
	c := &receiptCheck{Receipt: r, resolve: resolve}
	if err := r.Validate(); err != nil {
		c.fail("receipt_kind", "the receipt is not what its kind asks for")
		return c.findings
	}
	for _, ref := range r.Evidence {
		c.reference(ref)
	}
	if len(c.findings) == 0 {
		c.join()
	}
	if len(c.findings) == 0 {
		c.copies()
	}
	c.chain()
	return c.findings
}

type receiptCheck struct {
	*evidence.Receipt
	resolve   func(mission.Digest) (evidence.Facts, bool)
	findings  Findings
	decision  *evidence.Decision
	execution *evidence.Execution
	refusal   *evidence.Refusal
}

func (c *receiptCheck) fail(code, text string) { c.findings.add(Integrity, code, "", "%s", text) }

// reference resolves one record and compares what the receipt says of it.
func (c *receiptCheck) reference(ref evidence.Reference) {
	f, ok := c.resolve(ref.Digest)
	if !ok {
		c.findings.add(Audit, "receipt_unresolved", "", "a record that the receipt refers to is not there")
		return
	}
	if f.Type.ContentType != ref.Type || f.ID != ref.EvidenceID || f.Emitter != ref.Emitter {
		c.fail("receipt_reference", "a record is not of the type, id and emitter that the receipt says")
		return
	}
	switch v := f.Record.(type) {
	case *evidence.Decision:
		c.decision = v
	case *evidence.Execution:
		c.execution = v
	case *evidence.Refusal:
		c.refusal = v
	}
}

// join holds the records against the receipt's mission and against each other.
func (c *receiptCheck) join() {
	d, e, r := c.decision, c.execution, c.refusal
	same := func(m evidence.MissionRef) bool { return m.ID == c.Mission.ID && m.Issuer == c.Mission.Issuer }
	switch {
	case r != nil && r.Mission == nil:
		c.fail("receipt_join", "a refusal without a verified mission has no receipt")
	case r != nil && !same(*r.Mission),
		d != nil && !same(evidence.MissionRef{ID: d.Mission.ID, Issuer: d.Mission.Issuer}),
		e != nil && e.MissionID != c.Mission.ID:
		c.fail("receipt_join", "a record is about another mission")
	case c.Mission.AuthorityHash != "" && d != nil && d.Mission.AuthorityHash != c.Mission.AuthorityHash:
		c.fail("receipt_join", "the decision was on another authority")
	case e == nil:
	case e.EvaluationID != d.EvaluationID:
		c.fail("receipt_join", "decision and execution are of different evaluations")
	case d.Decision != evidence.Permit:
		c.fail("receipt_join", "what was executed had been denied")
	case e.Audience != d.Audience || e.Authorized != d.ParameterDigest:
		c.fail("receipt_join", "decision and execution are about different actions")
	case e.Outcome != c.Outcome:
		c.fail("receipt_join", "the outcome is another")
	}
}

// copies compares every optional member with the record it projects.
func (c *receiptCheck) copies() {
	d := c.decision
	bad := func(differs bool, member string) {
		if differs {
			c.fail("receipt_copy", "the member "+member+" differs from the record it was copied from")
		}
	}
	if c.Decision != nil {
		bad(d == nil || c.Decision.ID != d.EvidenceID || c.Decision.Result != d.Decision, "decision")
	}
	if c.Policy != nil {
		bad(d == nil || c.Policy.View != d.Mission.PolicyView || c.Policy.Version != d.Mission.PolicyVersion, "policy")
	}
	if !c.Executor.IsZero() {
		bad(d == nil || !c.Executor.Equal(d.Actor), "executor")
	}
	if t := c.Target; t != nil {
		switch {
		case d != nil:
			bad(!t.Resource.Equal(d.Resource) || t.Audience != d.Audience, "target")
		case c.refusal != nil:
			bad(!t.Resource.Equal(c.refusal.Resource) || t.Audience != c.refusal.Audience, "target")
		}
	}
}

// chain follows the links to earlier receipts: linkage and growing numbers, never completeness.
func (c *receiptCheck) chain() {
	if c.Chain == nil {
		return
	}
	for i, d := range c.Chain.Previous {
		f, ok := c.resolve(d)
		if !ok {
			c.findings.add(Audit, "receipt_unresolved", "", "an earlier receipt of the chain is not there")
			continue
		}
		p, ok := f.Record.(*evidence.Receipt)
		if !ok || p.Chain == nil || p.Mission != c.Mission || p.Emitter != c.Emitter || p.Chain.Stream != c.Chain.Stream ||
			p.Chain.Sequence >= c.Chain.Sequence || slices.Contains(c.Chain.Previous[:i], d) {
			c.fail("receipt_chain", "the receipt does not continue the chain it names")
		}
	}
}
