package federation

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// MaxPeer bounds a peer record and an annex, in octets.
const MaxPeer = 64 << 10

// ErrPeer is wrapped by every refusal of a Peer record or an Annex.
var ErrPeer = errors.New("federation: unacceptable peer record")

// What an administrator wants of a peer.
const (
	PeerActive = "active"
	PeerPaused = "paused" // nothing crosses until it is active again
	PeerEnded  = "ended"  // the agreement is over; only another one brings the peer back
)

// A Peer is one record of the peer registry, the only root of trust in another domain: what the administrator entered
// after people compared the governance key. Its keys count only as far as the Agreement names them (see NewPartner).
type Peer struct {
	Issuer        string      `json:"issuer"`
	Status        string      `json:"status"`         // active, paused, ended
	ClientID      string      `json:"client_id"`      // the peer's id here: a principal with the role peer
	OwnClientID   string      `json:"own_client_id"`  // this domain's id at the peer
	GovernanceKey string      `json:"governance_key"` // RFC 7638 thumbprint, as compared by people
	JWKS          mission.Raw `json:"jwks"`           // public keys of the issuer
	EvidenceKeys  string      `json:"evidence_keys"`  // COSE Key Set, base64url
	ReceiptKeys   string      `json:"receipt_keys"`   // COSE Key Set, base64url
	Log           Log         `json:"log"`
	Hosts         []string    `json:"hosts"`                             // host or host:port that may be contacted, nothing else
	AllowPrivate  bool        `json:"allow_private_addresses,omitempty"` // else only global unicast addresses
}

// ParsePeer reads a peer record. Errors wrap ErrPeer.
func ParsePeer(data []byte) (*Peer, error) {
	if len(data) > MaxPeer {
		return nil, fmt.Errorf("%w: %d octets", ErrPeer, len(data))
	}
	var p Peer
	if err := mission.Decode(data, &p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPeer, err)
	}
	return &p, nil
}

// Bytes returns the canonical JSON.
func (p *Peer) Bytes() ([]byte, error) { return mission.Marshal(p) }

// Validate checks the record. Decode calls it.
func (p *Peer) Validate() error {
	if err := checkIssuer(p.Issuer); err != nil {
		return err
	}
	if err := checkSet("status", []string{p.Status}, 1, 1, PeerActive, PeerPaused, PeerEnded); err != nil {
		return err
	}
	for name, id := range map[string]string{"client_id": p.ClientID, "own_client_id": p.OwnClientID} {
		if err := checkVisible(name, id, 128); err != nil {
			return err
		}
	}
	if !isName(p.GovernanceKey, "", 43) {
		return errors.New("governance_key is not a thumbprint")
	}
	if _, _, _, err := p.keys(); err != nil {
		return err
	}
	if err := ledger.CheckOrigin(p.Log.Origin); err != nil {
		return err
	}
	if err := checkTexts("hosts", p.Hosts, 1, maxContacts); err != nil {
		return err
	}
	for _, h := range p.Hosts {
		if strings.ContainsAny(h, "/@?#\\%") || strings.ToLower(h) != h {
			return errors.New("a host is a lower-case name or address with an optional port")
		}
	}
	return nil
}

// keys decodes the key members.
func (p *Peer) keys() (issuer *jws.KeySet, evidence, receipts ledger.KeySet, err error) {
	if issuer, err = jws.ParseKeySet(p.JWKS.Bytes()); err != nil {
		return nil, nil, nil, fmt.Errorf("jwks: %w", err)
	}
	if evidence, err = coseKeys(p.EvidenceKeys); err != nil {
		return nil, nil, nil, fmt.Errorf("evidence_keys: %w", err)
	}
	if receipts, err = coseKeys(p.ReceiptKeys); err != nil {
		return nil, nil, nil, fmt.Errorf("receipt_keys: %w", err)
	}
	return issuer, evidence, receipts, nil
}

func coseKeys(s string) (ledger.KeySet, error) {
	b, err := decodeBase64URL(s)
	if err != nil {
		return nil, err
	}
	return ledger.ParseKeySet(b)
}

var rawURL = base64.RawURLEncoding.Strict()

// decodeBase64URL accepts canonical base64url without padding.
func decodeBase64URL(s string) ([]byte, error) {
	if !isBase64URL(s) { // the decoder would skip CR and LF
		return nil, errors.New("not base64url")
	}
	return rawURL.DecodeString(s)
}

// EncodeKeys spells a COSE Key Set for a peer record.
func EncodeKeys(keys ledger.KeySet) (string, error) {
	b, err := ledger.MarshalKeySet(keys)
	if err != nil {
		return "", fmt.Errorf("federation: encode keys: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}
