package federation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// Events of a derivation receipt.
const (
	EventMinted = "minted"
	EventEnded  = "ended"
)

// A DerivationReceipt tells the origin what was minted from its Mission, or that it has ended (typ
// mission-derivation-receipt+jwt). The origin counts it, logs it and answers with the transparent statement of its own
// entry; until then the local Mission is held.
type DerivationReceipt struct {
	Iss             string               `json:"iss"` // the domain that minted
	Aud             string               `json:"aud"` // the origin
	IssuedAt        int64                `json:"iat"`
	JTI             string               `json:"jti"`
	Event           string               `json:"event"`
	Upstream        mission.Reference    `json:"upstream"`
	UpstreamVersion uint64               `json:"upstream_version"` // last one seen
	ProjectionJTI   string               `json:"projection_jti"`
	LocalRef        string               `json:"local_ref"` // a handle for this peer, not the local id
	LocalEntry      string               `json:"local_entry"`
	EntriesDigest   mission.Digest       `json:"entries_digest"`   // of the local Authority Set
	UpstreamEntries []mission.Digest     `json:"upstream_entries"` // conveyed entries it stands on, each once
	ExpiresAt       string               `json:"expires_at"`
	Agreement       mission.AgreementRef `json:"agreement"`
	Checkpoint      string               `json:"checkpoint,omitempty"` // of the log that holds local_entry
}

// EntriesDigest commits to a local Authority Set under its issuer.
func EntriesDigest(iss string, set []mission.Entry) (mission.Digest, error) {
	return mission.Envelope(mission.TypDerivationEntries, iss, set)
}

// Sign returns the receipt as a compact JWS.
func (r *DerivationReceipt) Sign(ctx context.Context, s jws.Signer) (string, error) {
	if err := r.Validate(); err != nil {
		return "", fmt.Errorf("federation: derivation receipt: %w", err)
	}
	return signClaims(ctx, s, jws.TypDerivationReceipt, r)
}

// ParseDerivationReceipt reads the claims, without any check against keys or time.
func ParseDerivationReceipt(payload []byte) (*DerivationReceipt, error) {
	if len(payload) > MaxArtifact {
		return nil, fmt.Errorf("federation: derivation receipt of %d octets", len(payload))
	}
	var r DerivationReceipt
	if err := mission.Decode(payload, &r); err != nil {
		return nil, fmt.Errorf("federation: derivation receipt: %w", err)
	}
	return &r, nil
}

// Validate checks the claims alone. Decode calls it.
func (r *DerivationReceipt) Validate() error {
	if checkIssuer(r.Iss) != nil || checkIssuer(r.Aud) != nil || r.Iss == r.Aud || r.Upstream.Issuer != r.Aud {
		return errors.New("iss and aud are two issuers, and the upstream is of aud")
	}
	if r.IssuedAt < 0 || r.IssuedAt > mission.MaxInt || r.UpstreamVersion < 1 {
		return errors.New("iat or upstream_version is out of range")
	}
	if err := checkSet("event", []string{r.Event}, 1, 1, EventMinted, EventEnded); err != nil {
		return err
	}
	if err := r.Upstream.ID.Validate(); err != nil {
		return err
	}
	for name, s := range map[string]string{"jti": r.JTI, "projection_jti": r.ProjectionJTI, "local_ref": r.LocalRef} {
		if err := checkOpaque(name, s, 22, maxNonce); err != nil {
			return err
		}
	}
	if _, err := ledger.ParseEntryID(r.LocalEntry); err != nil {
		return err
	}
	if _, err := mission.ParseTime(r.ExpiresAt); err != nil {
		return err
	}
	if n := len(r.UpstreamEntries); n < 1 || n > mission.MaxEntries {
		return fmt.Errorf("%d upstream entries", n)
	}
	seen := map[mission.Digest]bool{}
	for _, d := range r.UpstreamEntries {
		if seen[d] {
			return errors.New("an upstream entry is named twice")
		}
		seen[d] = true
	}
	if len(r.Checkpoint) > maxCheckpoint {
		return errors.New("checkpoint is too large")
	}
	return nil
}

// OpenDerivationReceipt verifies a receipt of the peer: signature, addressing, agreement, time and, if there is one,
// the checkpoint. Whether it stands on a projection that was issued is the caller's to look up. checkpoint is nil if
// none was sent.
func (p *Partner) OpenDerivationReceipt(compact string, at time.Time) (r *DerivationReceipt,
	checkpoint *ledger.Checkpoint, err error) {
	token, err := p.Open(compact, jws.TypDerivationReceipt, CodeInvalidReceipt)
	if err != nil {
		return nil, nil, err
	}
	if r, err = ParseDerivationReceipt(token.Payload); err != nil {
		return nil, nil, refuse(CodeInvalidReceipt, ReasonMalformed, err)
	}
	switch {
	case r.Iss != p.Peer.Issuer:
		return nil, nil, refuse(CodeInvalidReceipt, ReasonIssuerMismatch, nil)
	case r.Aud != p.Self:
		return nil, nil, refuse(CodeInvalidReceipt, ReasonAudienceMismatch, nil)
	case r.Agreement.ID != p.Ref.ID || r.Event == EventMinted && r.Agreement != p.Ref:
		return nil, nil, refuse(CodeInvalidReceipt, ReasonAgreementMismatch, nil)
	case time.Unix(r.IssuedAt, 0).After(at.Add(ClockSkew)):
		return nil, nil, refuse(CodeInvalidReceipt, ReasonNotYet, nil)
	}
	if r.Checkpoint != "" {
		c, err := p.OpenCheckpoint([]byte(r.Checkpoint))
		if err != nil {
			return nil, nil, refuse(CodeInvalidReceipt, ReasonBadSignature, err)
		}
		checkpoint = &c
	}
	return r, checkpoint, nil
}
