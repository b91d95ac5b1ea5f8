package federation

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mission-authority/mas/mission"
)

// MaxHops bounds a delegation chain.
const MaxHops = 8

// TypHop is the envelope type of a hop's commitment.
const TypHop mission.Typ = "mission-projection-hop"

// A Hop is one approval on the way from the human root to the conveyed Mission. It names no one: who approved is behind
// a commitment that is salted for each peer, so that two peers cannot join what they hold, and that the issuer can open
// to an auditor.
type Hop struct {
	Issuer     string         `json:"issuer"`
	Commitment mission.Digest `json:"commitment"`
	Basis      string         `json:"basis"`       // approval_basis.type
	ApprovedOn string         `json:"approved_on"` // day, YYYY-MM-DD, UTC: an instant would join records
}

// HopOpening is the value of a hop's commitment: the digest of {typ: "mission-projection-hop", iss, value: HopOpening}.
type HopOpening struct {
	Salt      string         `json:"salt"`
	Audience  string         `json:"aud"`
	Committed mission.Digest `json:"committed"` // of an own hop the approval record; of a received one its commitment there
}

// NewHop commits to an approval record for one peer. approvedAt is the instant of the human approval the Mission
// stands on.
func NewHop(rec *mission.Record, audience, salt string) (Hop, error) {
	committed, err := rec.Commitment()
	if err != nil {
		return Hop{}, fmt.Errorf("federation: hop: %w", err)
	}
	approved := rec.ApprovalBasis.ApprovedAt
	if approved == "" {
		approved = rec.CreatedAt
	}
	at, err := mission.ParseTime(approved)
	if err != nil {
		return Hop{}, fmt.Errorf("federation: hop: %w", err)
	}
	return commitHop(Hop{Issuer: rec.Issuer, Basis: rec.ApprovalBasis.Type, ApprovedOn: mission.FormatTime(at)[:10]},
		HopOpening{Salt: salt, Audience: audience, Committed: committed})
}

// Recommit makes a received hop ready for another peer: the commitment of the former becomes what the new one commits
// to, under this issuer's salt.
func (h Hop) Recommit(audience, salt string) (Hop, error) {
	return commitHop(h, HopOpening{Salt: salt, Audience: audience, Committed: h.Commitment})
}

func commitHop(h Hop, value HopOpening) (Hop, error) {
	d, err := mission.Envelope(TypHop, h.Issuer, value)
	if err != nil {
		return Hop{}, fmt.Errorf("federation: hop: %w", err)
	}
	h.Commitment = d
	return h, nil
}

// Validate checks one hop. Decode calls it.
func (h *Hop) Validate() error {
	if err := checkIssuer(h.Issuer); err != nil {
		return err
	}
	if err := checkVisible("basis", h.Basis, 64); err != nil {
		return err
	}
	if len(h.ApprovedOn) != len("2006-01-02") {
		return errors.New("approved_on is not a day")
	}
	if _, err := mission.ParseTime(h.ApprovedOn + "T00:00:00Z"); err != nil {
		return errors.New("approved_on is not a day")
	}
	return nil
}

// checkChain refuses a chain that does not end with the issuer that sent it, or that comes from the receiver: authority
// never returns wider than it left.
func checkChain(chain []Hop, issuer, self string) (reason string, err error) {
	if len(chain) == 0 || len(chain) > MaxHops || chain[len(chain)-1].Issuer != issuer {
		return ReasonChain, errors.New("the chain does not end with the issuer")
	}
	seen := make([]string, 0, len(chain))
	for _, h := range chain {
		if h.Issuer == self {
			return ReasonOwnIssuerInChain, errors.New("the chain contains this domain")
		}
		if slices.Contains(seen, h.Issuer) {
			return ReasonChain, errors.New("the chain is a loop")
		}
		seen = append(seen, h.Issuer)
	}
	return "", nil
}
