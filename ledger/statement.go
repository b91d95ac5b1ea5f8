package ledger

import (
	"context"
	"crypto"
	"crypto/sha256"
	"fmt"
	"strings"
)

// MaxStatementSize is the largest Signed Statement in octets: it must fit an entry bundle.
const MaxStatementSize = MaxEntrySize

// Claims are what a Signed Statement says: this issuer states, about this subject, that an evidence body of this media
// type with this digest exists.
type Claims struct {
	Issuer      string // CWT iss, 1..8192 octets
	Subject     string // CWT sub, 1..8192 octets; its entries form a feed
	IssuedAt    int64  // CWT iat, seconds since the epoch; 0 if absent
	ContentType string // media type of the evidence body, lowercase, without parameters
	Digest      Hash   // SHA-256 of the evidence body
}

// A Statement is a parsed Signed Statement (RFC 9943) in the hash-envelope form of RFC 9995:
//
//	18([<<{1: alg, 4: kid, 15: {1: iss, 2: sub, ? 6: iat}, 258: -16, 259: content type}>>, {}, digest, signature])
//
// The protected header is closed: no other label is accepted, which keeps out 2 (crit), 3 (content type of the digest)
// and 260 (payload location, which would leak).
type Statement struct {
	Raw []byte // the canonical bytes: the log entry
	Claims
	Algorithm Algorithm
	KeyID     []byte

	protected, signature []byte
}

// SignStatement returns the canonical bytes of a Signed Statement.
func SignStatement(ctx context.Context, c Claims, s Signer) ([]byte, error) {
	protected, err := appendStatementHeader(make([]byte, 0, 160+len(c.Issuer)+len(c.Subject)), c, s)
	if err != nil {
		return nil, fmt.Errorf("ledger: statement: %w", err)
	}
	sig, err := signCOSE(ctx, protected, c.Digest[:], s)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(protected)+112)
	b = appendStatement(b, protected, c.Digest, sig)
	if len(b) > MaxStatementSize {
		return nil, fmt.Errorf("ledger: statement of %d octets: %w", len(b), ErrTooLarge)
	}
	return b, nil
}

func appendStatement(b, protected []byte, digest Hash, sig []byte) []byte {
	b = appendItemHead(b, cborTag, sign1Tag)
	b = appendItemHead(b, cborArray, 4)
	b = appendBytes(b, protected)
	b = appendItemHead(b, cborMap, 0)
	b = appendBytes(b, digest[:])
	return appendBytes(b, sig)
}

func appendStatementHeader(b []byte, c Claims, s Signer) ([]byte, error) {
	if err := checkAlgorithm(s.Algorithm()); err != nil {
		return nil, err
	}
	if err := checkClaims(&c); err != nil {
		return nil, err
	}
	kid := s.KeyID()
	if len(kid) == 0 || len(kid) > maxKeyID {
		return nil, fmt.Errorf("kid of %d octets", len(kid))
	}
	b = appendItemHead(b, cborMap, 5)
	b = appendInt(appendInt(b, coseAlg), int64(s.Algorithm()))
	b = appendBytes(appendInt(b, coseKID), kid)
	b = appendInt(b, coseCWTClaims)
	pairs := uint64(2)
	if c.IssuedAt != 0 {
		pairs++
	}
	b = appendItemHead(b, cborMap, pairs)
	b = appendText(appendInt(b, cwtIssuer), c.Issuer)
	b = appendText(appendInt(b, cwtSubject), c.Subject)
	if c.IssuedAt != 0 {
		b = appendInt(appendInt(b, cwtIssuedAt), c.IssuedAt)
	}
	b = appendInt(appendInt(b, coseHashAlg), hashAlgSHA256)
	b = appendText(appendInt(b, coseContentType), c.ContentType)
	return b, nil
}

func checkClaims(c *Claims) error {
	if err := checkText(c.Issuer, maxClaim); err != nil {
		return fmt.Errorf("iss: %w", err)
	}
	if err := checkText(c.Subject, maxClaim); err != nil {
		return fmt.Errorf("sub: %w", err)
	}
	if err := CheckMediaType(c.ContentType); err != nil {
		return err
	}
	if c.IssuedAt < 0 || c.IssuedAt > maxTime {
		return fmt.Errorf("iat %d out of range", c.IssuedAt)
	}
	if c.Digest == (Hash{}) {
		return fmt.Errorf("no digest")
	}
	return nil
}

// ParseStatement parses the canonical bytes of a Signed Statement. It refuses every other encoding of the same
// statement, any unprotected header, unknown header labels and more than MaxStatementSize octets. The result aliases
// raw. The signature is not checked: use Verify.
func ParseStatement(raw []byte) (*Statement, error) {
	if len(raw) > MaxStatementSize {
		return nil, fmt.Errorf("ledger: statement of %d octets: %w", len(raw), ErrTooLarge)
	}
	s := &Statement{Raw: raw}
	r := cborReader{rest: raw}
	s.protected = r.sign1(MaxStatementSize)
	r.container(cborMap, 0)
	s.Digest = r.hash()
	s.signature = r.signature()
	err := r.end()
	if err == nil {
		err = s.parseHeader()
	}
	if err == nil {
		err = checkClaims(&s.Claims)
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: statement: %w", err)
	}
	return s, nil
}

func (s *Statement) parseHeader() error {
	r := cborReader{rest: s.protected}
	r.container(cborMap, 5)
	r.label(coseAlg)
	s.Algorithm = r.algorithm()
	r.label(coseKID)
	s.KeyID = r.keyID()
	r.label(coseCWTClaims)
	pairs := r.mapOf(3)
	r.label(cwtIssuer)
	s.Issuer = r.text(maxClaim)
	r.label(cwtSubject)
	s.Subject = r.text(maxClaim)
	switch pairs {
	case 2:
	case 3:
		r.label(cwtIssuedAt)
		if s.IssuedAt = int64(r.uint(maxTime)); s.IssuedAt == 0 {
			r.fail("iat 0")
		}
	default:
		r.fail("%d CWT claims", pairs)
	}
	r.label(coseHashAlg)
	r.label(hashAlgSHA256)
	r.label(coseContentType)
	s.ContentType = r.text(maxMediaType)
	return r.end()
}

// Verify checks the signature with the key that the caller trusts for s.Issuer and s.KeyID. The error wraps
// ErrSignature if the key did not sign s, or if s names another algorithm than the key's.
func (s *Statement) Verify(pub crypto.PublicKey) error {
	return verifyCOSE(s.Algorithm, pub, s.protected, s.Digest[:], s.signature)
}

// Leaf returns the leaf hash of s.
func (s *Statement) Leaf() Hash { return HashLeaf(s.Raw) }

// DedupKey identifies what s states, apart from its signature and time: the SHA-256 over the deterministic CBOR array
// [iss, kid, sub, content type, digest]. Two statements with the same key are the same entry.
func DedupKey(s *Statement) Hash {
	b := make([]byte, 0, 512)
	b = appendItemHead(b, cborArray, 5)
	b = appendText(b, s.Issuer)
	b = appendBytes(b, s.KeyID)
	b = appendText(b, s.Subject)
	b = appendText(b, s.ContentType)
	b = appendBytes(b, s.Digest[:])
	return sha256.Sum256(b)
}

const maxMediaType = 255

// CheckMediaType accepts a media type (RFC 6838) in lowercase and without parameters: one type, one spelling.
func CheckMediaType(s string) error {
	typ, subtype, ok := strings.Cut(s, "/")
	if !ok || len(s) > maxMediaType || !isRestrictedName(typ) || !isRestrictedName(subtype) {
		return fmt.Errorf("ledger: %.80q is not a lowercase media type", s)
	}
	return nil
}

func isRestrictedName(s string) bool {
	if s == "" || len(s) > 127 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
		case i > 0 && strings.IndexByte("!#$&-^_.+", c) >= 0:
		default:
			return false
		}
	}
	return true
}
