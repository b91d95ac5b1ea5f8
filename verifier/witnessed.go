package verifier

import (
	"slices"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// VerifyWitnessed holds a checkpoint that VerifyCheckpoint has accepted against a tlog-policy: it must be signed by a
// log of the policy too, every line by a witness that the policy names must verify, and they must be enough. Too few
// are no sign of a fault, so the checkpoint is unverifiable and not wrong.
func VerifyWitnessed(text []byte, policy *ledger.WitnessPolicy) (ledger.Witnessed, Findings) {
	var fs Findings
	w, err := policy.Open(text)
	switch {
	case err != nil:
		fs.add(Integrity, "cosignature", "", "the checkpoint does not verify under the policy")
	case !w.Quorum:
		fs.add(Audit, "quorum_missing", w.Origin, "the %d witnesses that cosigned the checkpoint are not enough for the policy",
			len(w.Cosignatures))
	}
	return w, fs
}

// Witnessed leaves out of claims what a quorum of witnesses makes good: that the log showed others the same tree, and
// that it was not set back behind this head.
func Witnessed(claims []Claim) []Claim {
	return slices.DeleteFunc(slices.Clone(claims), func(c Claim) bool { return c == notWitnessed || c == notRestored })
}

// checkWitnesses holds the checkpoint of the bundle against the policy, if there is one.
func (c *bundleCheck) checkWitnesses() {
	if c.opts.Policy == nil {
		return
	}
	w, fs := VerifyWitnessed(c.contents.checkpoint, c.opts.Policy)
	c.Findings = append(c.Findings, fs...)
	if fs.Outcome() == OK && !c.opts.Policy.None() {
		c.NotClaimed = Witnessed(c.NotClaimed)
		c.WitnessedAt = mission.FormatTime(w.At)
	}
}
