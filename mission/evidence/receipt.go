package evidence

import (
	"slices"

	"github.com/mission-authority/mas/mission"
)

// Kinds of mission receipt.
const (
	ReceiptDecision  = "decision"
	ReceiptExecution = "execution"
	ReceiptRefusal   = "refusal"
)

// receiptEvidence lists what a receipt of each kind refers to, in no order.
var receiptEvidence = map[string][]string{
	ReceiptDecision:  {ContentDecision},
	ReceiptExecution: {ContentDecision, ContentExecution},
	ReceiptRefusal:   {ContentRefusal},
}

// A Reference names an evidence record by type, digest, id and emitter.
type Reference struct {
	Type       string         `json:"type"`
	Digest     mission.Digest `json:"digest"`
	EvidenceID string         `json:"evidence_id"`
	Emitter    Emitter        `json:"emitter"`
}

// A Chain links receipts of one mission, issuer and stream. It is never a proof of completeness.
type Chain struct {
	Stream   string           `json:"stream"`
	Sequence uint64           `json:"sequence"`
	Previous []mission.Digest `json:"previous,omitempty"`
}

// A Receipt is a Mission Receipt: a signed manifest of decision, execution or refusal records, never a second source of
// truth (and not a receipt of a transparency log).
type Receipt struct {
	Kind     string      `json:"kind"`
	Mission  MissionRef  `json:"mission"`
	Emitter  Emitter     `json:"emitter"`
	Evidence []Reference `json:"evidence"`
	IssuedAt string      `json:"issued_at"`
	Outcome  string      `json:"outcome,omitempty"`
	Decision *struct {
		ID     string `json:"id"`
		Result string `json:"result"`
	} `json:"decision,omitempty"`
	Policy *struct {
		View    string `json:"pdp_policy_view"`
		Version string `json:"mission_policy_version,omitempty"`
	} `json:"policy,omitempty"`
	Executor mission.Raw `json:"executor,omitempty"`
	Target   *struct {
		Resource mission.Raw `json:"resource"`
		Audience string      `json:"audience"`
	} `json:"target,omitempty"`
	Profile    string      `json:"profile,omitempty"`
	Assertions mission.Raw `json:"issuer_assertions,omitempty"`
	Chain      *Chain      `json:"chain,omitempty"`
	Envelope   Envelope    `json:"evidence_envelope"`
}

// Validate checks what a receipt of this kind may claim. Decode calls it.
func (r Receipt) Validate() error {
	want, known := receiptEvidence[r.Kind]
	var have []string
	for _, e := range r.Evidence {
		have = append(have, e.Type)
	}
	slices.Sort(have)
	c := r.Chain
	return all(
		must(known, "kind has an unknown value"),
		must(slices.Equal(have, want), "the evidence is not the combination of this kind"),
		oneOf(r.Emitter.Role, "emitter.role", ReceiptIssuer), at(r.IssuedAt, "issued_at"),
		must((r.Outcome != "") == (r.Kind == ReceiptExecution), "outcome goes with kind execution"),
		must(r.Outcome == "" || oneOf(r.Outcome, "", Completed, Failed, Suppressed) == nil, "outcome has an unknown value"),
		must(r.Kind != ReceiptRefusal || r.Decision == nil && r.Policy == nil && r.Executor.IsZero(),
			"a refusal has no decision to copy from"),
		must(r.Assertions.IsZero() || r.Profile != "" && isObject(r.Assertions), "issuer_assertions need a profile"),
		objects("executor", r.Executor),
		must(c == nil || c.Stream != "" && len(c.Previous) <= maxMembers && (c.Sequence > 0 || len(c.Previous) == 0),
			"chain is malformed"))
}

func (r *Receipt) describe(f *Facts) {
	f.Mission, f.Emitter, f.At = r.Mission, r.Emitter, r.IssuedAt
}

// random: a receipt commits to records with random ids.
func (r *Receipt) random() bool { return true }
