package evidence

import (
	"errors"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// A Provenance is the policy-free attribution of a work product: exactly these members.
type Provenance struct {
	MissionID    mission.ID `json:"mission_id"`
	DeploymentID string     `json:"deployment_id"`
	Producer     string     `json:"producer"`
	CreatedAt    string     `json:"created_at"`
	Parent       string     `json:"parent_artifact,omitempty"`
}

// Validate checks values. Decode calls it.
func (p Provenance) Validate() error {
	return all(text(p.DeploymentID, "deployment_id"), text(p.Producer, "producer"), at(p.CreatedAt, "created_at"))
}

// typProvenance is the envelope type of a Provenance.
const typProvenance mission.Typ = "mission-work-product-provenance"

// Digest commits to p under the issuer of the binding.
func (p *Provenance) Digest(iss string) (mission.Digest, error) {
	return mission.Envelope(typProvenance, iss, p)
}

// A WorkProduct is the payload of a work product binding: what an artifact's attribution is, signed by the mediator
// that attached it.
type WorkProduct struct {
	Iss        string         `json:"iss"`
	Mediator   Emitter        `json:"mediator"`
	Artifact   mission.Digest `json:"artifact_digest"`
	Provenance mission.Digest `json:"provenance_digest"`
	IssuedAt   int64          `json:"iat,omitempty"`

	Rest map[string]mission.Raw `json:",rest"`
}

// Validate checks values. Decode calls it.
func (w WorkProduct) Validate() error {
	return all(text(w.Iss, "iss"), oneOf(w.Mediator.Role, "mediator.role", Harness, Issuer))
}

// Covers reports what keeps the binding from attributing the artifact: nil if it does. The signature is not its matter.
func (w *WorkProduct) Covers(p *Provenance, artifact []byte) error {
	if w.Mediator.ID == p.Producer {
		return errors.New("the mediator is the producer: it vouches for itself")
	}
	if mission.RawDigest(artifact) != w.Artifact {
		return errors.New("the artifact is another")
	}
	if d, err := p.Digest(w.Iss); err != nil || d != w.Provenance {
		return errors.New("the provenance is another")
	}
	return nil
}

// tokenClaims are the claims of the other tokens that a rule here needs.
type tokenClaims struct {
	Iss     string      `json:"iss"`
	Mission *MissionRef `json:"mission,omitempty"`
	SubID   *struct {
		Format string `json:"format"`
		ID     string `json:"id,omitempty"`
	} `json:"sub_id,omitempty"`
	Upstream *struct {
		ID     mission.ID `json:"id"`
		Issuer string     `json:"issuer"`
	} `json:"upstream,omitempty"`
}

// readToken reads a compact JWS of the type.
func (f *Facts) readToken(body []byte) error {
	t, err := jws.Parse(string(body), f.Type.Typ)
	if err != nil {
		return err
	}
	f.Envelope = t
	if f.Type.Typ == jws.TypWorkProduct {
		var w WorkProduct
		if err := mission.Decode(t.Payload, &w); err != nil {
			return errors.New(reason(err))
		}
		f.Record = &w
		f.Emitter = Emitter{w.Iss, Mediator}
		return nil
	}
	var c tokenClaims
	if err := mission.DecodeOpen(t.Payload, &c); err != nil {
		return errors.New(reason(err))
	}
	switch {
	case f.Type.Typ == jws.TypDerivationReceipt: // by a peer: its own fields are checked by package federation
	case c.Mission != nil:
		f.Mission = *c.Mission
		if c.Iss != c.Mission.Issuer {
			return errors.New("iss is not the mission's issuer")
		}
	case f.Type.Typ == jws.TypSecurityEvent && c.SubID != nil && c.SubID.Format == "opaque":
		f.Mission = MissionRef{ID: mission.ID(c.SubID.ID), Issuer: c.Iss}
		if err := f.Mission.ID.Validate(); err != nil {
			return errors.New("sub_id is no mission id")
		}
	default:
		return errors.New("no mission")
	}
	return nil
}
