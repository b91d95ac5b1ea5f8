package federation

import (
	"context"
	"crypto"
	"errors"
	"fmt"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// A SignedAgreement is an Agreement with the governance signatures collected so far: the file that both sides place in
// their configuration, and what a `signed` event carries.
type SignedAgreement struct {
	Agreement  Agreement `json:"agreement"`
	Signatures []string  `json:"signatures"` // compact JWS, at most one for each party, in any order
}

// governanceClaims are what a governance key signs: who signs, and which bytes.
type governanceClaims struct {
	Iss       string               `json:"iss"`
	Agreement mission.AgreementRef `json:"agreement"`
}

// SignAgreement makes the governance signature of one party. The signer's key must be the one the agreement names for
// this issuer.
func SignAgreement(ctx context.Context, a *Agreement, issuer string, s jws.Signer) (string, error) {
	if err := a.Validate(); err != nil {
		return "", fmt.Errorf("%w: %w", ErrAgreement, err)
	}
	party, ok := a.Party(issuer)
	if !ok {
		return "", fmt.Errorf("%w: not a party", ErrAgreement)
	}
	if _, kid, err := party.Governance(); err != nil || kid != s.KeyID() {
		return "", fmt.Errorf("%w: not the governance key of this party", ErrAgreement)
	}
	ref, err := a.Ref()
	if err != nil {
		return "", err
	}
	payload, err := mission.Marshal(governanceClaims{Iss: issuer, Agreement: ref})
	if err != nil {
		return "", fmt.Errorf("federation: sign agreement: %w", err)
	}
	compact, err := jws.Sign(ctx, s, jws.TypAgreement, payload)
	if err != nil {
		return "", fmt.Errorf("federation: sign agreement: %w", err)
	}
	return compact, nil
}

// ParseSigned reads an agreement with its signatures. It does not verify them. Errors wrap ErrAgreement.
func ParseSigned(data []byte) (*SignedAgreement, error) {
	if len(data) > MaxAgreement {
		return nil, fmt.Errorf("%w: %d octets", ErrAgreement, len(data))
	}
	var s SignedAgreement
	if err := mission.Decode(data, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAgreement, err)
	}
	return &s, nil
}

// Bytes returns the canonical JSON.
func (s *SignedAgreement) Bytes() ([]byte, error) { return mission.Marshal(s) }

// Validate bounds the signatures. Decode calls it.
func (s *SignedAgreement) Validate() error {
	if len(s.Signatures) > 2 {
		return errors.New("more than two signatures")
	}
	for _, c := range s.Signatures {
		if len(c) == 0 || len(c) > MaxArtifact {
			return errors.New("a signature is empty or too large")
		}
	}
	return nil
}

// Verify checks that both parties signed these bytes, each with the governance key that the agreement names for it. It
// proves consent of those keys; whether they are the right ones is what people compared. Errors wrap ErrAgreement.
func (s *SignedAgreement) Verify() error {
	ref, err := s.Agreement.Ref()
	if err != nil {
		return err
	}
	for i := range s.Agreement.Parties {
		if err := s.verifyParty(&s.Agreement.Parties[i], ref); err != nil {
			return fmt.Errorf("%w: party %d: %w", ErrAgreement, i, err)
		}
	}
	return nil
}

func (s *SignedAgreement) verifyParty(p *Party, ref mission.AgreementRef) error {
	pub, kid, err := p.Governance()
	if err != nil {
		return err
	}
	keys, err := jws.NewKeySet(map[string]crypto.PublicKey{kid: pub})
	if err != nil {
		return err
	}
	for _, compact := range s.Signatures {
		token, err := jws.Open(compact, jws.TypAgreement, keys)
		if err != nil {
			continue // the other party's, or a forgery: either way not this party's
		}
		var claims governanceClaims
		if err := mission.Decode(token.Payload, &claims); err != nil {
			return err
		}
		if claims.Iss != p.Issuer || claims.Agreement != ref {
			return errors.New("the signature is for another issuer or other bytes")
		}
		return nil
	}
	return errors.New("no signature")
}
