package federation

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// A Partner is a Peer under an Agreement, seen from one side: the only thing that artifacts of that peer are checked
// with. It is immutable.
type Partner struct {
	Self      string // own issuer
	Peer      *Peer
	Agreement *Agreement
	Ref       mission.AgreementRef
	Signed    *SignedAgreement

	keys               *jws.KeySet
	evidence, receipts ledger.KeySet
}

// NewPartner binds a peer record to an agreement that both governance keys signed. It refuses an agreement between
// others, a governance key that is not the one people compared, and a peer record whose log is not the agreed one. Of
// the peer's keys only those remain that the agreement names: a key is rotated by the next version of the agreement,
// signed by both, and by nothing that the peer publishes.
func NewPartner(self string, p *Peer, s *SignedAgreement) (*Partner, error) {
	a := &s.Agreement
	if _, ok := a.Party(self); !ok || self == p.Issuer {
		return nil, fmt.Errorf("%w: this domain is not a party", ErrAgreement)
	}
	party, ok := a.Party(p.Issuer)
	if !ok {
		return nil, fmt.Errorf("%w: the peer is not a party", ErrAgreement)
	}
	if err := s.Verify(); err != nil {
		return nil, err
	}
	if _, thumb, err := party.Governance(); err != nil || thumb != p.GovernanceKey {
		return nil, fmt.Errorf("%w: the governance key is not the one in the peer record", ErrAgreement)
	}
	if party.Log != p.Log {
		return nil, fmt.Errorf("%w: the log is not the one in the peer record", ErrAgreement)
	}
	ref, err := a.Ref()
	if err != nil {
		return nil, err
	}
	out := &Partner{Self: self, Peer: p, Agreement: a, Ref: ref, Signed: s}
	if err := out.bindKeys(party); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAgreement, err)
	}
	return out, nil
}

// bindKeys keeps the keys of the record that the agreement names, under their thumbprints.
func (p *Partner) bindKeys(party *Party) error {
	issuer, evidence, receipts, err := p.Peer.keys()
	if err != nil {
		return err
	}
	agreed := map[string]crypto.PublicKey{}
	for _, kid := range issuer.KeyIDs() {
		pub, _, _ := issuer.Key(kid)
		if thumb, err := jws.Thumbprint(pub); err == nil && slices.Contains(party.IssuerKeys, thumb) {
			agreed[kid] = pub
		}
	}
	if len(agreed) == 0 {
		return fmt.Errorf("no issuer key of the peer record is agreed")
	}
	if p.keys, err = jws.NewKeySet(agreed); err != nil {
		return err
	}
	if p.evidence, err = agreedKeys(evidence, party.EvidenceKeys); err != nil {
		return fmt.Errorf("evidence keys: %w", err)
	}
	if p.receipts, err = agreedKeys(receipts, party.ReceiptKeys); err != nil {
		return fmt.Errorf("receipt keys: %w", err)
	}
	return nil
}

func agreedKeys(keys ledger.KeySet, thumbprints []string) (ledger.KeySet, error) {
	var out ledger.KeySet
	for _, k := range keys {
		thumb, err := ledger.KeyThumbprint(k.Public)
		if err != nil {
			return nil, err
		}
		if slices.Contains(thumbprints, base64.RawURLEncoding.EncodeToString(thumb)) {
			out = append(out, k)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("none of the peer record is agreed")
	}
	return out, nil
}

// Inbound is what the peer may convey to this domain; Outbound what this domain may convey to the peer. Nil: nothing.
func (p *Partner) Inbound() *Direction {
	d, _ := p.Agreement.Direction(p.Peer.Issuer, p.Self)
	return d
}

// Outbound is what this domain may convey to the peer; nil if nothing.
func (p *Partner) Outbound() *Direction {
	d, _ := p.Agreement.Direction(p.Self, p.Peer.Issuer)
	return d
}

// Open parses a compact JWS of the peer and verifies its signature with an agreed key. The refusal has the given code.
func (p *Partner) Open(compact string, typ jws.Typ, code string) (*jws.Token, error) {
	if len(compact) > MaxArtifact {
		return nil, refuse(code, ReasonTooLarge, nil)
	}
	token, err := jws.Parse(compact, typ)
	if err != nil {
		return nil, refuse(code, jwsReason(err), err)
	}
	if err := token.Verify(p.keys, jws.ES256, jws.EdDSA); err != nil {
		return nil, refuse(code, jwsReason(err), err)
	}
	return token, nil
}

// CheckStatus makes all checks of a status response by the peer about one Mission, as the answer to a question by this
// domain. fresh_until has no tolerance.
func (p *Partner) CheckStatus(compact string, id mission.ID, nonce string, at time.Time) (*mission.Status,
	mission.Verdict) {
	if len(compact) > MaxArtifact {
		return nil, mission.RejectEncoding
	}
	return jws.CheckStatus(compact, p.keys, mission.StatusContext{
		At:        at,
		Issuer:    p.Peer.Issuer,
		Audience:  p.Self,
		Requester: p.Peer.OwnClientID,
		Nonce:     nonce,
		MissionID: id,
		Algs:      []string{jws.ES256, jws.EdDSA},
		Skew:      ClockSkew,
	})
}

// OpenCheckpoint verifies a checkpoint of the peer's log.
func (p *Partner) OpenCheckpoint(text []byte) (ledger.Checkpoint, error) {
	if len(text) > maxCheckpoint {
		return ledger.Checkpoint{}, fmt.Errorf("federation: checkpoint of %d octets", len(text))
	}
	c, err := ledger.OpenCheckpointBy(text, p.Peer.Log.Origin, p.Peer.Log.VKey)
	if err != nil {
		return ledger.Checkpoint{}, fmt.Errorf("federation: checkpoint of the peer: %w", err)
	}
	return c, nil
}

// An Acknowledgement is a statement of the peer that stands in the peer's log.
type Acknowledgement struct {
	EntryID  string
	Index    uint64
	TreeSize uint64
	Root     ledger.Hash
}

// OpenTransparent verifies a transparent statement of the peer: that it is a statement by an agreed evidence key about
// this subject, of this media type, over exactly this body, and that a receipt by an agreed receipt key proves it to be
// in the peer's log. A receipt of another entry cannot stand in: it is checked against the leaf of this statement.
func (p *Partner) OpenTransparent(transparent []byte, subject, contentType string, body []byte) (*Acknowledgement,
	error) {
	raw, receipts, err := ledger.DetachReceipts(transparent)
	if err != nil {
		return nil, refuse(CodeInvalidReceipt, ReasonMalformed, err)
	}
	st, err := ledger.ParseStatement(raw)
	if err != nil {
		return nil, refuse(CodeInvalidReceipt, ReasonMalformed, err)
	}
	key, ok := p.evidence.Find(st.KeyID)
	if !ok {
		return nil, refuse(CodeInvalidReceipt, ReasonBadSignature, fmt.Errorf("statement by an unknown key"))
	}
	if err := st.Verify(key.Public); err != nil {
		return nil, refuse(CodeInvalidReceipt, ReasonBadSignature, err)
	}
	digest := mission.RawDigest(body).Bytes()
	if st.Issuer != p.Peer.Issuer || st.Subject != subject || st.ContentType != contentType ||
		!bytes.Equal(st.Digest[:], digest[:]) {
		return nil, refuse(CodeInvalidReceipt, ReasonUnknownEntry, fmt.Errorf("the statement is about something else"))
	}
	for _, r := range receipts {
		if ack, err := p.openReceipt(r, st); err == nil {
			return ack, nil
		}
	}
	return nil, refuse(CodeInvalidReceipt, ReasonBadSignature, fmt.Errorf("no receipt verifies"))
}

func (p *Partner) openReceipt(raw []byte, st *ledger.Statement) (*Acknowledgement, error) {
	r, err := ledger.ParseReceipt(raw)
	if err != nil {
		return nil, err
	}
	root, err := r.VerifyStatement(st, p.Peer.Issuer, p.receipts)
	if err != nil {
		return nil, err
	}
	return &Acknowledgement{EntryID: ledger.EntryID(st.Leaf()), Index: r.Index, TreeSize: r.Size, Root: root}, nil
}
