package verifier

import (
	"github.com/mission-authority/mas/ledger"
)

// readEpoch reads a feed epoch of the log and remembers the newest one.
func (c *bundleCheck) readEpoch(f *facts, r *RecordReport) error {
	e := r.epoch(r.body, c.trust)
	if e == nil {
		return nil // epoch has reported why
	}
	if f.epoch == nil || f.epoch.from.position() < r.position() {
		f.epoch = &fact[*ledger.FeedEpoch]{r, e}
	}
	return nil
}

// openFeeds verifies the proof of the bundle under its newest feed epoch. Nil if there is none, or none that holds.
func (c *bundleCheck) openFeeds() *ledger.MapProof {
	if c.contents.feeds == nil {
		return nil
	}
	e := c.facts.epoch
	if e == nil {
		c.Findings.add(Audit, "epoch_missing", pathFeeds, "the bundle has no verified feed epoch for its proof")
		return nil
	}
	p, err := ledger.OpenMapProof(c.contents.feeds, c.trust.Issuer, e.value.MapRoot)
	if err != nil {
		c.Findings.add(Integrity, "map_proof_invalid", pathFeeds, "the proof is not of the epoch's map")
		return nil
	}
	c.Epoch = epochReport(e.value, e.from.position())
	return p
}

// checkCovered holds the entries of a subject below the covered size against what the epoch says about its feed.
func (c *bundleCheck) checkCovered(subject string, have []*RecordReport, proof *ledger.MapProof) bool {
	s, _, err := proof.Lookup(subject)
	if err != nil {
		c.Findings.add(Audit, "feed_end_unproven", subject, "the feed proof says nothing about the feed")
		return false
	}
	var leaves []ledger.Hash
	for _, r := range have {
		if r.receipt.Index < c.Epoch.CoveredSize {
			leaves = append(leaves, r.statement.Leaf())
		}
	}
	switch n := uint64(len(leaves)); {
	case n < s.Count:
		c.Findings.add(Audit, "feed_gap", subject, "the feed has %d entries below size %d, the bundle has %d", s.Count,
			c.Epoch.CoveredSize, n)
		return false
	case n > s.Count || n > 0 && ledger.FeedRoot(leaves) != s.Root:
		c.Findings.add(Integrity, "epoch_contradiction", subject,
			"the bundle proves entries of the feed that the feed epoch leaves out")
		return false
	}
	return true
}
