package federation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// Limits of artifacts.
const (
	MaxArtifact   = 16 << 10 // octets of a compact JWS
	maxCheckpoint = 4 << 10
	maxNonce      = 255
	maxRequestID  = 255
)

// ClockSkew is tolerated where a peer's clock says when something was issued. Nothing is tolerated where a peer or this
// domain says until when something may be relied on.
const ClockSkew = 30 * time.Second

// TypProjectedAuthority is the envelope type of authority_commitment.
const TypProjectedAuthority mission.Typ = "mission-projection-authority"

// A Projection is the minimal signed view of an active Mission for one peer and one holder (typ
// mission-projection+jwt). The claim set is closed. It is evidence of authority for at most 300 seconds and grants
// nothing by itself. The names `handle` in `mission`, and `mode`, are reserved.
type Projection struct {
	Iss                  string               `json:"iss"`
	Aud                  string               `json:"aud"` // the peer's issuer, one string
	IssuedAt             int64                `json:"iat"`
	ExpiresAt            int64                `json:"exp"`
	JTI                  string               `json:"jti"`             // single use
	ClientID             string               `json:"client_id"`       // the holder's id at the receiver
	Confirmation         Confirmation         `json:"cnf"`             // the holder's key
	Nonce                string               `json:"nonce,omitempty"` // in answers
	Mission              ProjectedMission     `json:"mission"`
	Purpose              *Purpose             `json:"purpose,omitempty"`
	AuthorizationDetails mission.Raw          `json:"authorization_details"` // entries in their conveyed form
	Subject              *mission.Principal   `json:"subject,omitempty"`     // pseudonym for this peer
	Agreement            mission.AgreementRef `json:"agreement"`
	Delegation           []Hop                `json:"delegation"` // from the human root to this Mission
	AuthorityCommitment  mission.Digest       `json:"authority_commitment"`
	AuthoritySalt        string               `json:"authority_salt"`
	MustUnderstand       []string             `json:"must_understand,omitempty"` // no name is known in this version
}

// A Confirmation names the key that must be proven to use an artifact: exactly one member.
type Confirmation struct {
	JKT string `json:"jkt,omitempty"`      // RFC 7638 thumbprint
	X5T string `json:"x5t#S256,omitempty"` // of a certificate
}

// A ProjectedMission is the reference and the state at issue.
type ProjectedMission struct {
	ID                 mission.ID     `json:"id"`
	Issuer             string         `json:"issuer"`
	AuthorityHash      mission.Digest `json:"authority_hash"`
	State              mission.State  `json:"state"` // active
	Version            uint64         `json:"version"`
	ContainmentVersion uint64         `json:"containment_version"`
	ExpiresAt          string         `json:"expires_at"`
	FreshUntil         string         `json:"fresh_until"`
}

// authorityValue is what authority_commitment commits to, in the envelope of the issuer.
type authorityValue struct {
	Salt    string      `json:"salt"`
	Aud     string      `json:"aud"`
	Entries mission.Raw `json:"entries"`
}

// CommitAuthority returns the authority_commitment over conveyed entries. Unlike authority_hash, a receiver can
// recompute it from what it got.
func CommitAuthority(iss, aud, salt string, entries mission.Raw) (mission.Digest, error) {
	return mission.Envelope(TypProjectedAuthority, iss, authorityValue{Salt: salt, Aud: aud, Entries: entries})
}

// Sign returns the projection as a compact JWS. It fills authority_salt and authority_commitment, and refuses to sign
// what a receiver following the profile would not accept.
func (p *Projection) Sign(ctx context.Context, s jws.Signer) (string, error) {
	p.AuthoritySalt = mission.NewSalt()
	var err error
	if p.AuthorityCommitment, err = CommitAuthority(p.Iss, p.Aud, p.AuthoritySalt, p.AuthorizationDetails); err != nil {
		return "", fmt.Errorf("federation: projection: %w", err)
	}
	if err := p.Validate(); err != nil {
		return "", fmt.Errorf("federation: projection: %w", err)
	}
	return signClaims(ctx, s, jws.TypProjection, p)
}

// signClaims signs the canonical JSON of claims and bounds the artifact.
func signClaims(ctx context.Context, s jws.Signer, typ jws.Typ, claims any) (string, error) {
	payload, err := mission.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("federation: %s: %w", typ, err)
	}
	compact, err := jws.Sign(ctx, s, typ, payload)
	if err != nil {
		return "", fmt.Errorf("federation: %s: %w", typ, err)
	}
	if len(compact) > MaxArtifact {
		return "", fmt.Errorf("federation: %s of %d octets is above %d", typ, len(compact), MaxArtifact)
	}
	return compact, nil
}

// ParseProjection reads the claims of a projection, without any check against keys, time or state.
func ParseProjection(payload []byte) (*Projection, error) {
	if len(payload) > MaxArtifact {
		return nil, fmt.Errorf("federation: projection of %d octets", len(payload))
	}
	var p Projection
	if err := mission.Decode(payload, &p); err != nil {
		return nil, fmt.Errorf("federation: projection: %w", err)
	}
	return &p, nil
}

// Validate checks the claims alone. Decode calls it.
func (p *Projection) Validate() error {
	if checkIssuer(p.Iss) != nil || checkIssuer(p.Aud) != nil || p.Iss == p.Aud {
		return errors.New("iss and aud are two issuers")
	}
	if p.IssuedAt < 0 || p.ExpiresAt <= p.IssuedAt || p.ExpiresAt > mission.MaxInt {
		return errors.New("exp is after iat")
	}
	if err := checkOpaque("jti", p.JTI, 22, maxNonce); err != nil {
		return err
	}
	if err := checkVisible("client_id", p.ClientID, 128); err != nil {
		return err
	}
	if p.Nonce != "" {
		if err := checkVisible("nonce", p.Nonce, maxNonce); err != nil {
			return err
		}
	}
	if len(p.AuthorizationDetails.Bytes()) < 2 || p.AuthorizationDetails.Bytes()[0] != '[' {
		return errors.New("authorization_details is not an array")
	}
	if len(p.Delegation) < 1 || len(p.Delegation) > MaxHops {
		return fmt.Errorf("delegation has %d hops", len(p.Delegation))
	}
	if err := checkOpaque("authority_salt", p.AuthoritySalt, 22, 128); err != nil {
		return err
	}
	return checkTexts("must_understand", p.MustUnderstand, 0, 16)
}

// Validate accepts exactly one thumbprint. Decode calls it.
func (c *Confirmation) Validate() error {
	if (c.JKT == "") == (c.X5T == "") || !isName(c.JKT+c.X5T, "", 43) {
		return errors.New("cnf is exactly one thumbprint")
	}
	return nil
}

// Validate checks the reference. Decode calls it.
func (m *ProjectedMission) Validate() error {
	if err := checkIssuer(m.Issuer); err != nil {
		return err
	}
	if m.Version < 1 {
		return errors.New("version is at least 1")
	}
	for _, s := range []string{m.ExpiresAt, m.FreshUntil} {
		if _, err := mission.ParseTime(s); err != nil {
			return err
		}
	}
	return nil
}

// A Holder is who uses a projection, as this domain authenticated it.
type Holder struct {
	ClientID string
	JKT      string // RFC 7638 thumbprint of the key it proved
}

// A Received projection passed every check that needs no memory: replay and the live status are the caller's.
type Received struct {
	Projection
	Entries []mission.Entry // known ones, in the order received
	Dropped int             // entries of unknown type, action or constraint
	Digest  mission.Digest  // of the compact form
}

// OpenProjection makes the checks of a projection in their order; the first that fails is the refusal. nonce is the
// one sent when the projection was asked for, "" for one that was presented.
//
//	size, encoding, typ, alg and key, signature, closed claims, must_understand, iss, aud, agreement, time and lifetime,
//	holder, nonce, chain, commitment, entries, state
//
// Consume jti only after this, in the same commit as the effect.
func (p *Partner) OpenProjection(compact string, h Holder, nonce string, at time.Time) (*Received, error) {
	token, err := p.Open(compact, jws.TypProjection, CodeInvalidProjection)
	if err != nil {
		return nil, err
	}
	claims, err := ParseProjection(token.Payload)
	if err != nil {
		return nil, refuse(CodeInvalidProjection, ReasonMalformed, err)
	}
	out := &Received{Projection: *claims, Digest: token.Digest()}
	if err := p.checkAddress(claims); err != nil {
		return nil, err
	}
	if err := p.checkTimes(claims, at); err != nil {
		return nil, err
	}
	if claims.ClientID != h.ClientID || claims.Confirmation.JKT == "" || claims.Confirmation.JKT != h.JKT {
		return nil, refuse(CodeInvalidProjection, ReasonHolderMismatch, nil)
	}
	if claims.Nonce != nonce {
		return nil, refuse(CodeInvalidProjection, ReasonNonceMismatch, nil)
	}
	if reason, err := checkChain(claims.Delegation, p.Peer.Issuer, p.Self); err != nil {
		return nil, refuse(CodeInvalidProjection, reason, err)
	}
	want, err := CommitAuthority(claims.Iss, claims.Aud, claims.AuthoritySalt, claims.AuthorizationDetails)
	if err != nil || want != claims.AuthorityCommitment {
		return nil, refuse(CodeInvalidProjection, ReasonCommitmentMismatch, err)
	}
	if out.Entries, out.Dropped, err = p.conveyedEntries(claims.AuthorizationDetails); err != nil {
		return nil, err
	}
	if claims.Mission.State != mission.Active {
		return nil, refuse(CodeMissionInactive, "", nil)
	}
	return out, nil
}

// checkAddress: is it from this peer, for this domain, under this agreement, in words that are understood?
func (p *Partner) checkAddress(c *Projection) error {
	switch {
	case len(c.MustUnderstand) > 0:
		return refuse(CodeInvalidProjection, ReasonMustUnderstand, nil)
	case c.Iss != p.Peer.Issuer || c.Mission.Issuer != c.Iss:
		return refuse(CodeInvalidProjection, ReasonIssuerMismatch, nil)
	case c.Aud != p.Self:
		return refuse(CodeInvalidProjection, ReasonAudienceMismatch, nil)
	case c.Agreement != p.Ref:
		return refuse(CodeInvalidProjection, ReasonAgreementMismatch, nil)
	}
	return nil
}

// checkTimes: issued by now, not over, and no longer than agreed, counted from its own iat and from the own clock.
func (p *Partner) checkTimes(c *Projection, at time.Time) error {
	d := p.Inbound()
	if d == nil || !slices.Contains(d.Shapes, mission.ShapeProjection) || !p.Agreement.Covers(at) {
		return refuse(CodeInvalidProjection, ReasonAgreementInactive, nil)
	}
	iat, exp := time.Unix(c.IssuedAt, 0), time.Unix(c.ExpiresAt, 0)
	life := time.Duration(min(d.MaxProjectionSeconds, MaxProjectionSeconds)) * time.Second
	until, err1 := mission.ParseTime(c.Mission.ExpiresAt)
	fresh, err2 := mission.ParseTime(c.Mission.FreshUntil)
	switch {
	case err1 != nil || err2 != nil:
		return refuse(CodeInvalidProjection, ReasonMalformed, errors.Join(err1, err2))
	case iat.After(at.Add(ClockSkew)):
		return refuse(CodeInvalidProjection, ReasonNotYet, nil)
	case !at.Before(exp) || !at.Before(fresh):
		return refuse(CodeInvalidProjection, ReasonExpired, nil)
	case exp.Sub(iat) > life || exp.After(at.Add(life+ClockSkew)) || exp.After(until):
		return refuse(CodeInvalidProjection, ReasonLifetimeExceeded, nil)
	}
	return nil
}

// conveyedEntries reads the entries of a peer: what has no rule here is dropped, what the agreement does not admit
// refuses the artifact, for an honest origin would not have sent it.
func (p *Partner) conveyedEntries(raw mission.Raw) ([]mission.Entry, int, error) {
	entries, dropped, err := mission.ParseConveyed(raw.Bytes())
	if err != nil {
		return nil, 0, refuse(CodeInvalidProjection, ReasonMalformed, err)
	}
	if len(entries) == 0 {
		return nil, 0, refuse(CodeAuthorityUnsupported, "", nil)
	}
	for _, e := range entries {
		if len(e.Gates) > 0 || e.Delegation == nil || e.Delegation.MaxDepth < 1 || !p.Inbound().Admits(e) {
			return nil, 0, refuse(CodeInvalidTarget, ReasonOutsideAgreement, nil)
		}
	}
	return entries, dropped, nil
}
