package verifier

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// TrustFormat is the version of trust documents that this package reads and writes.
const TrustFormat = 1

// Limits of a trust document.
const (
	MaxTrustBytes = 256 << 10
	maxTrustKeys  = 64
	maxTrustPeers = 256
	maxAgreements = 1024
	maxKeyID      = 128
)

// ErrTrust reports a malformed trust document.
var ErrTrust = errors.New("verifier: malformed trust document")

// Trust is what an auditor relies on when checking the word of one issuer. It is the only source of trust of this
// package: get it from the issuer by a way you believe in, compare it with other copies, keep it.
type Trust struct {
	Anchor
	// Agreements are the digests of the federation agreements the auditor knows to be genuine.
	Agreements []mission.Digest
	// Peers are anchors of other domains whose artifacts occur in this issuer's evidence.
	Peers []Anchor
	// Producers register evidence of their own in this issuer's log.
	Producers []Producer
}

// An Anchor is one domain's names and public keys.
type Anchor struct {
	Issuer     string      // byte for byte as in records, statements and tokens
	Origin     string      // of the log
	VKey       string      // signed-note verifier key of the log's checkpoints
	Others     []LogKey    // further checkpoint keys: of an overlap, retired, compromised
	Keys       *jws.KeySet // status responses, projections, derivation receipts
	Governance *jws.KeySet // agreements; nil if unknown
	Receipts   KeyRing     // COSE receipts of the log
	Evidence   KeyRing     // COSE signed statements of the issuer
	// Heads are heads of the log that others saw. They are not part of the document.
	Heads []KnownHead
}

// A KeyRing holds COSE keys by key id, retired and compromised ones included.
type KeyRing []TrustedKey

// A TrustedKey is a public key and until when its signatures count.
type TrustedKey struct {
	KeyID  []byte           // kid of its statements or receipts; empty: the RFC 9679 thumbprint
	Public crypto.PublicKey // *ecdsa.PublicKey on P-256 or ed25519.PublicKey
	Status KeyStatus
	Until  time.Time // of retirement or compromise; zero for an active key
}

// KeyStatus says whether a key is in use.
type KeyStatus string

// The states of a key. What a retired key signed before Until stands. What a compromised key signed counts only if a
// proof by another key shows that it existed before Until.
const (
	KeyActive      KeyStatus = "active"
	KeyRetired     KeyStatus = "retired"
	KeyCompromised KeyStatus = "compromised"
)

// Find returns the key with this key id.
func (r KeyRing) Find(kid []byte) (TrustedKey, bool) {
	for _, k := range r {
		if own, err := k.kid(); err == nil && bytes.Equal(own, kid) {
			return k, true
		}
	}
	return TrustedKey{}, false
}

// kid is the key id of what the key signs.
func (k TrustedKey) kid() ([]byte, error) {
	if len(k.KeyID) > 0 {
		return k.KeyID, nil
	}
	return ledger.KeyThumbprint(k.Public)
}

// Agreement reports whether the trust document names this agreement.
func (t *Trust) Agreement(d mission.Digest) bool {
	for _, known := range t.Agreements {
		if known == d {
			return true
		}
	}
	return false
}

// Domain returns the anchor of an issuer: the document's own or a peer's.
func (t *Trust) Domain(issuer string) (*Anchor, bool) {
	if t.Issuer == issuer {
		return &t.Anchor, true
	}
	for i := range t.Peers {
		if t.Peers[i].Issuer == issuer {
			return &t.Peers[i], true
		}
	}
	return nil, false
}

// noteVerifier returns the verifier of the log's checkpoints.
func (a *Anchor) noteVerifier() (note.Verifier, error) {
	v, err := note.NewVerifier(a.VKey)
	if err != nil {
		return nil, fmt.Errorf("%w: vkey: %w", ErrTrust, err)
	}
	if v.Name() != a.Origin {
		return nil, fmt.Errorf("%w: vkey is named %q, the log %q", ErrTrust, v.Name(), a.Origin)
	}
	return v, nil
}

// The JSON form. schemas/trust.schema.json describes it.
type (
	trustJSON struct {
		Format     int64            `json:"format"`
		Issuer     string           `json:"issuer"`
		Log        logJSON          `json:"log"`
		Keys       mission.Raw      `json:"jwks"`
		Governance mission.Raw      `json:"governance_keys,omitempty"`
		Receipts   []keyJSON        `json:"receipt_keys"`
		Evidence   []keyJSON        `json:"evidence_keys"`
		Agreements []mission.Digest `json:"agreements"`
		Peers      []anchorJSON     `json:"peers,omitempty"`
		Producers  []producerJSON   `json:"producers,omitempty"`
	}
	anchorJSON struct {
		Issuer     string      `json:"issuer"`
		Log        logJSON     `json:"log"`
		Keys       mission.Raw `json:"jwks"`
		Governance mission.Raw `json:"governance_keys,omitempty"`
		Receipts   []keyJSON   `json:"receipt_keys"`
		Evidence   []keyJSON   `json:"evidence_keys"`
	}
	logJSON struct {
		Origin string       `json:"origin"`
		VKey   string       `json:"vkey"`
		Others []logKeyJSON `json:"others,omitempty"`
	}
	logKeyJSON struct {
		VKey   string    `json:"vkey"`
		Status KeyStatus `json:"status"`
		Until  string    `json:"until,omitempty"`
	}
	keyJSON struct {
		Key    mission.Raw `json:"jwk"`
		KeyID  []byte      `json:"kid,omitempty"` // only if it is not the thumbprint
		Status KeyStatus   `json:"status"`
		Until  string      `json:"until,omitempty"`
	}
)

// ParseTrust reads a trust document. Anything it does not understand refuses the whole document: an auditor's anchors
// must not be half read.
func ParseTrust(data []byte) (*Trust, error) {
	if len(data) > MaxTrustBytes {
		return nil, fmt.Errorf("%w: %d octets", ErrTrust, len(data))
	}
	var j trustJSON
	if err := mission.Decode(data, &j); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTrust, err)
	}
	if j.Format != TrustFormat {
		return nil, fmt.Errorf("%w: format %d", ErrTrust, j.Format)
	}
	if len(j.Agreements) > maxAgreements || len(j.Peers) > maxTrustPeers {
		return nil, fmt.Errorf("%w: too many agreements or peers", ErrTrust)
	}
	own, err := anchorJSON{j.Issuer, j.Log, j.Keys, j.Governance, j.Receipts, j.Evidence}.anchor()
	if err != nil {
		return nil, err
	}
	t := &Trust{Anchor: own, Agreements: j.Agreements}
	for _, p := range j.Peers {
		if _, dup := t.Domain(p.Issuer); dup {
			return nil, fmt.Errorf("%w: issuer %q twice", ErrTrust, p.Issuer)
		}
		peer, err := p.anchor()
		if err != nil {
			return nil, err
		}
		t.Peers = append(t.Peers, peer)
	}
	return t, t.parseProducers(j.Producers)
}

func (j anchorJSON) anchor() (Anchor, error) {
	a := Anchor{Issuer: j.Issuer, Origin: j.Log.Origin, VKey: j.Log.VKey}
	if err := mission.CheckIssuer(j.Issuer); err != nil {
		return Anchor{}, fmt.Errorf("%w: issuer: %w", ErrTrust, err)
	}
	if err := ledger.CheckOrigin(a.Origin); err != nil {
		return Anchor{}, fmt.Errorf("%w: %w", ErrTrust, err)
	}
	var err error
	if a.Others, err = parseLogKeys(j.Log.Others); err != nil {
		return Anchor{}, fmt.Errorf("%w: log: %w", ErrTrust, err)
	}
	if _, _, err := a.logKeys(); err != nil {
		return Anchor{}, err
	}
	if a.Keys, err = jws.ParseKeySet(j.Keys.Bytes()); err != nil {
		return Anchor{}, fmt.Errorf("%w: jwks: %w", ErrTrust, err)
	}
	if !j.Governance.IsZero() {
		if a.Governance, err = jws.ParseKeySet(j.Governance.Bytes()); err != nil {
			return Anchor{}, fmt.Errorf("%w: governance_keys: %w", ErrTrust, err)
		}
	}
	if a.Receipts, err = parseRing(j.Receipts); err != nil {
		return Anchor{}, fmt.Errorf("%w: receipt_keys: %w", ErrTrust, err)
	}
	if a.Evidence, err = parseRing(j.Evidence); err != nil {
		return Anchor{}, fmt.Errorf("%w: evidence_keys: %w", ErrTrust, err)
	}
	return a, nil
}

func parseRing(list []keyJSON) (KeyRing, error) {
	if len(list) > maxTrustKeys {
		return nil, fmt.Errorf("%d keys", len(list))
	}
	var ring KeyRing
	for i, j := range list {
		k, kid, err := j.key()
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i, err)
		}
		if _, dup := ring.Find(kid); dup {
			return nil, fmt.Errorf("key %d has the key id of an earlier one", i)
		}
		ring = append(ring, k)
	}
	return ring, nil
}

func (j keyJSON) key() (k TrustedKey, kid []byte, err error) {
	pub, name, err := jws.ParsePublicKey(j.Key.Bytes())
	if err != nil {
		return k, nil, err
	}
	if len(j.KeyID) > maxKeyID {
		return k, nil, fmt.Errorf("kid of %d octets", len(j.KeyID))
	}
	k = TrustedKey{KeyID: j.KeyID, Public: pub, Status: j.Status}
	if kid, err = k.kid(); err != nil {
		return k, nil, err
	}
	if name != "" && name != base64.RawURLEncoding.EncodeToString(kid) {
		return k, nil, errors.New("the JWK names another kid than its statements carry")
	}
	k.Until, err = parseUntil(j.Status, j.Until)
	return k, kid, err
}

// parseUntil reads the end of a key that has one.
func parseUntil(status KeyStatus, text string) (until time.Time, err error) {
	switch status {
	case KeyActive:
		if text != "" {
			return until, errors.New("an active key has no until")
		}
	case KeyRetired, KeyCompromised:
		if until, err = mission.ParseTime(text); err != nil || !isIssuerTime(text) {
			return until, errors.New("until is not YYYY-MM-DDTHH:MM:SSZ")
		}
	default:
		return until, fmt.Errorf("status %.20q", status)
	}
	return until, nil
}

func parseLogKeys(list []logKeyJSON) ([]LogKey, error) {
	if len(list) > maxTrustKeys {
		return nil, fmt.Errorf("%d further keys", len(list))
	}
	var keys []LogKey
	for i, j := range list {
		at, err := parseUntil(j.Status, j.Until)
		if err != nil {
			return nil, fmt.Errorf("further key %d: %w", i, err)
		}
		if slices.ContainsFunc(keys, func(k LogKey) bool { return k.VKey == j.VKey }) {
			return nil, fmt.Errorf("further key %d is there twice", i)
		}
		keys = append(keys, LogKey{VKey: j.VKey, Status: j.Status, Until: at})
	}
	return keys, nil
}

// Marshal returns the trust document in canonical JSON.
func (t *Trust) Marshal() ([]byte, error) {
	own, err := t.Anchor.json()
	if err != nil {
		return nil, err
	}
	j := trustJSON{TrustFormat, own.Issuer, own.Log, own.Keys, own.Governance, own.Receipts, own.Evidence, t.Agreements, nil, nil}
	if j.Agreements == nil {
		j.Agreements = []mission.Digest{}
	}
	for i := range t.Peers {
		p, err := t.Peers[i].json()
		if err != nil {
			return nil, err
		}
		j.Peers = append(j.Peers, p)
	}
	for i := range t.Producers {
		p, err := t.Producers[i].json()
		if err != nil {
			return nil, err
		}
		j.Producers = append(j.Producers, p)
	}
	out, err := mission.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("verifier: writing trust document: %w", err)
	}
	if _, err := ParseTrust(out); err != nil {
		return nil, err
	}
	return out, nil
}

func (a *Anchor) json() (anchorJSON, error) {
	j := anchorJSON{Issuer: a.Issuer, Log: logJSON{Origin: a.Origin, VKey: a.VKey}}
	for _, o := range a.Others {
		k := logKeyJSON{VKey: o.VKey, Status: o.Status}
		if o.Status != KeyActive {
			k.Until = mission.FormatTime(o.Until)
		}
		j.Log.Others = append(j.Log.Others, k)
	}
	var err error
	if j.Keys, err = keySetJSON(a.Keys); err != nil {
		return j, err
	}
	if a.Governance != nil {
		if j.Governance, err = keySetJSON(a.Governance); err != nil {
			return j, err
		}
	}
	if j.Receipts, err = a.Receipts.json(); err != nil {
		return j, err
	}
	j.Evidence, err = a.Evidence.json()
	return j, err
}

func keySetJSON(set *jws.KeySet) (mission.Raw, error) {
	if set == nil {
		set = &jws.KeySet{}
	}
	b, err := set.Marshal()
	if err != nil {
		return mission.Raw{}, fmt.Errorf("verifier: writing key set: %w", err)
	}
	return mission.ParseRaw(b)
}

func (r KeyRing) json() ([]keyJSON, error) {
	list := make([]keyJSON, 0, len(r))
	for _, k := range r {
		kid, err := k.kid()
		if err != nil {
			return nil, fmt.Errorf("verifier: writing key: %w", err)
		}
		b, err := jws.MarshalPublicKey(base64.RawURLEncoding.EncodeToString(kid), k.Public)
		if err != nil {
			return nil, fmt.Errorf("verifier: writing key: %w", err)
		}
		j := keyJSON{KeyID: k.KeyID, Status: k.Status}
		if j.Key, err = mission.ParseRaw(b); err != nil {
			return nil, fmt.Errorf("verifier: writing key: %w", err)
		}
		if k.Status != KeyActive {
			j.Until = mission.FormatTime(k.Until)
		}
		list = append(list, j)
	}
	return list, nil
}
