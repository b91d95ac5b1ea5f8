package mission

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
)

// Typ names the kind of object an envelope commits to (core 2.1). The prefix "mission-" is reserved to the drafts.
type Typ string

// Envelope types.
const (
	TypIntent               Typ = "mission-intent"
	TypProposedAuthority    Typ = "mission-proposed-authority"
	TypAuthoritySet         Typ = "mission-authority-set"
	TypAuthorityEntry       Typ = "mission-authority-entry"
	TypIntentEvidence       Typ = "mission-intent-evidence"
	TypSubmissionProvenance Typ = "mission-submission-provenance"
	TypConsentDisclosure    Typ = "mission-consent-disclosure"
	TypDerivationEntries    Typ = "mission-derivation-entries"
	TypCreationFingerprint  Typ = "mission-creation-fingerprint"
)

// Digest is a commitment in its only accepted spelling: "sha-256:" and 43 base64url characters without padding.
type Digest string

const digestPrefix = "sha-256:"

// ErrDigest: the text is not a digest in the accepted spelling.
var ErrDigest = errors.New("mission: malformed digest")

var rawURL = base64.RawURLEncoding.Strict()

// ParseDigest accepts exactly "sha-256:" and the canonical base64url of 32 octets; unknown prefixes, padding and
// non-zero trailing bits are refused.
func ParseDigest(s string) (Digest, error) {
	if err := Digest(s).Validate(); err != nil {
		return "", err
	}
	return Digest(s), nil
}

// Validate reports ErrDigest unless d is in the accepted spelling.
func (d Digest) Validate() error {
	var sum [sha256.Size]byte
	if len(d) != len(digestPrefix)+43 || d[:len(digestPrefix)] != digestPrefix {
		return ErrDigest
	}
	for _, c := range []byte(d[len(digestPrefix):]) { // the decoder would skip CR and LF
		if !isIDByte(c) {
			return ErrDigest
		}
	}
	if n, err := rawURL.Decode(sum[:], []byte(d[len(digestPrefix):])); err != nil || n != sha256.Size {
		return ErrDigest
	}
	return nil
}

// Bytes returns the 32 octets, or zeros if d was never validated and is malformed.
func (d Digest) Bytes() [32]byte {
	var sum [sha256.Size]byte
	if d.Validate() == nil {
		rawURL.Decode(sum[:], []byte(d[len(digestPrefix):]))
	}
	return sum
}

// RawDigest commits to exact octets.
func RawDigest(data []byte) Digest { return DigestOf(sha256.Sum256(data)) }

// DigestOf spells a SHA-256 value.
func DigestOf(sum [32]byte) Digest {
	return Digest(digestPrefix + base64.RawURLEncoding.EncodeToString(sum[:]))
}

// ObjectDigest commits to the canonical form of v (anything Marshal accepts; a Raw is used as it is).
func ObjectDigest(v any) (Digest, error) {
	b, err := Marshal(v)
	if err != nil {
		return "", err
	}
	return RawDigest(b), nil
}

// Envelope commits to value under a type and an issuer: the digest of the canonical form of {typ, iss, value}. An
// object of one issuer or type can so never pass for that of another (core 2.1).
func Envelope(typ Typ, iss string, value any) (Digest, error) {
	b, err := Marshal(struct {
		Iss   string `json:"iss"`
		Typ   Typ    `json:"typ"`
		Value any    `json:"value"`
	}{iss, typ, value})
	if err != nil {
		return "", fmt.Errorf("mission: envelope %s: %w", typ, err)
	}
	return RawDigest(b), nil
}
