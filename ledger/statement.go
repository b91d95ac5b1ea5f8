package ledger

import (
	"context"
	"crypto"
	"crypto/sha256"
	"fmt"
	"slices"
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
//	18([<<{1: alg, 4: kid, 15: {1: iss, 2: sub, ? 6: iat}, ? 16: typ, 258: -16, 259: content type}>>, {}, digest,
//	  signature])
//
// The protected header is closed: no other label is accepted, which keeps out 2 (crit), 3 (content type of the digest)
// and 260 (payload location, which would leak). The typ, if there is one, is TypeStatement. The header of a statement
// that somebody else made may have its labels in another order: it is kept octet for octet, as it was signed.
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

// ParseStatement parses the bytes of a log entry. It refuses every other encoding around the protected header, any
// unprotected header, unknown header labels, indefinite lengths, heads that are not shortest, and more than
// MaxStatementSize octets. The error wraps ErrAlgorithm or ErrNoPayload if that is what is wrong. The result aliases
// raw. The signature is not checked: use Verify.
func ParseStatement(raw []byte) (*Statement, error) {
	if len(raw) > MaxStatementSize {
		return nil, fmt.Errorf("ledger: statement of %d octets: %w", len(raw), ErrTooLarge)
	}
	s := &Statement{Raw: raw}
	r := cborReader{rest: raw}
	s.protected = r.sign1(MaxStatementSize)
	r.container(cborMap, 0)
	s.Digest = r.digest()
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

// TypeStatement is the media type of a Signed Statement (RFC 9943).
const TypeStatement = "application/scitt-statement+cose"

// statementLabels are the labels of the protected header; all but coseTyp must be there.
var statementLabels = [...]int64{coseAlg, coseKID, coseCWTClaims, coseHashAlg, coseContentType, coseTyp}

func (s *Statement) parseHeader() error {
	r := cborReader{rest: s.protected}
	const required = 1<<(len(statementLabels)-1) - 1
	seen := 0
	for range r.mapOf(len(statementLabels)) {
		label := r.int()
		i := slices.Index(statementLabels[:], label)
		if r.err == nil && (i < 0 || seen&(1<<i) != 0) {
			r.fail("label %d is unknown or repeated", label)
		}
		if r.err != nil {
			break
		}
		seen |= 1 << i
		switch label {
		case coseAlg:
			s.Algorithm = r.algorithm()
		case coseKID:
			s.KeyID = r.keyID()
		case coseCWTClaims:
			s.parseClaims(&r)
		case coseHashAlg:
			r.label(hashAlgSHA256)
		case coseContentType:
			s.ContentType = r.text(maxMediaType)
		case coseTyp:
			if typ := r.text(maxMediaType); r.err == nil && typ != TypeStatement {
				r.fail("typ %.80q", typ)
			}
		}
	}
	if r.err == nil && seen&required != required {
		r.fail("a label is missing")
	}
	return r.end()
}

// parseClaims reads the CWT claims iss, sub and, if it is there, iat, each once.
func (s *Statement) parseClaims(r *cborReader) {
	seen := 0
	for range r.mapOf(3) {
		label := r.int()
		if r.err != nil || label < 0 || label > cwtIssuedAt || seen&(1<<label) != 0 {
			r.fail("claim %d is repeated or out of range", label)
			return
		}
		seen |= 1 << label
		switch label {
		case cwtIssuer:
			s.Issuer = r.text(maxClaim)
		case cwtSubject:
			s.Subject = r.text(maxClaim)
		case cwtIssuedAt:
			if s.IssuedAt = int64(r.uint(maxTime)); s.IssuedAt == 0 {
				r.fail("iat 0")
			}
		default:
			r.fail("claim %d", label)
		}
	}
	if required := 1<<cwtIssuer | 1<<cwtSubject; seen&required != required {
		r.fail("iss or sub is missing")
	}
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
