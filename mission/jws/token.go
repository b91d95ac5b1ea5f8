package jws

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/mission-authority/mas/mission"
)

// Algorithms.
const (
	ES256 = "ES256"
	EdDSA = "EdDSA"
)

var supported = []string{ES256, EdDSA}

// Errors. Callers branch on them with errors.Is.
var (
	// ErrEncoding: not a canonical compact JWS with the exact header.
	ErrEncoding = errors.New("jws: not a canonical compact JWS")
	// ErrTyp: another artifact.
	ErrTyp = errors.New("jws: wrong typ")
	// ErrAlg: an algorithm that is not accepted.
	ErrAlg = errors.New("jws: algorithm not accepted")
	// ErrSignature: unknown key or wrong signature.
	ErrSignature = errors.New("jws: signature does not verify")
)

// Limits, in octets.
const (
	MaxCompact = 256 << 10 // of a compact JWS
	maxHeader  = 1 << 10   // of its encoded header
	maxKeyID   = 256
)

const signatureSize = 64 // of both algorithms

// A Token is a parsed compact JWS. Nothing in it may be believed before Verify returned nil.
type Token struct {
	Compact string
	Alg     string
	KeyID   string
	Typ     Typ
	Content string // cty: media type of the payload, where the typ does not say it
	Payload []byte
}

type header struct {
	Alg string `json:"alg"`
	Cty string `json:"cty,omitempty"`
	Kid string `json:"kid"`
	Typ Typ    `json:"typ"`
}

var b64 = base64.RawURLEncoding.Strict()

// Sign makes a compact JWS over payload as it is; hand in canonical JSON.
func Sign(ctx context.Context, s Signer, typ Typ, payload []byte) (string, error) {
	return SignContent(ctx, s, typ, "", payload)
}

// SignContent is Sign for an artifact whose header also names the media type of the payload.
func SignContent(ctx context.Context, s Signer, typ Typ, content string, payload []byte) (string, error) {
	head, err := mission.Marshal(header{Alg: s.Alg(), Cty: content, Kid: s.KeyID(), Typ: typ})
	if err != nil {
		return "", err
	}
	if !slices.Contains(supported, s.Alg()) || s.KeyID() == "" || len(s.KeyID()) > maxKeyID || typ == "" {
		return "", fmt.Errorf("%w: signer", ErrAlg)
	}
	size := b64.EncodedLen(len(head)) + b64.EncodedLen(len(payload)) + b64.EncodedLen(signatureSize) + 2
	if size > MaxCompact {
		return "", fmt.Errorf("%w: too large", ErrEncoding)
	}
	out := make([]byte, 0, size)
	out = append(b64.AppendEncode(out, head), '.')
	out = b64.AppendEncode(out, payload)
	sig, err := s.Sign(ctx, out)
	if err != nil {
		return "", fmt.Errorf("jws: sign %s: %w", typ, err)
	}
	if len(sig) != signatureSize {
		return "", fmt.Errorf("%w: signature of %d octets", ErrSignature, len(sig))
	}
	return string(b64.AppendEncode(append(out, '.'), sig)), nil
}

// Parse reads a compact JWS of the given typ. It looks, in this order, at the encoding of the header, typ, alg, and the
// exactness of everything else. Errors wrap ErrEncoding, ErrTyp or ErrAlg.
func Parse(compact string, typ Typ) (*Token, error) { return ParseContent(compact, typ, "") }

// ParseContent is Parse for an artifact whose header also has exactly this cty; another one is ErrTyp.
func ParseContent(compact string, typ Typ, content string) (*Token, error) {
	head, rest, ok := strings.Cut(compact, ".")
	body, sig, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || len(compact) > MaxCompact || len(head) > maxHeader {
		return nil, ErrEncoding
	}
	h, exact, err := parseHeader(head)
	if err != nil {
		return nil, err
	}
	if h.Typ != typ || content != "" && h.Cty != content {
		return nil, ErrTyp
	}
	if !slices.Contains(supported, h.Alg) {
		return nil, ErrAlg
	}
	payload, errBody := decodeCanonical(body)
	signature, errSig := decodeCanonical(sig)
	if !exact || h.Cty != content || h.Kid == "" || len(h.Kid) > maxKeyID || errBody != nil || errSig != nil ||
		len(signature) != signatureSize {
		return nil, ErrEncoding
	}
	return &Token{Compact: compact, Alg: h.Alg, KeyID: h.Kid, Typ: h.Typ, Content: h.Cty, Payload: payload}, nil
}

// parseHeader reads a protected header; exact says whether it has exactly the members alg, kid and typ, perhaps cty.
func parseHeader(s string) (h header, exact bool, err error) {
	text, err := decodeCanonical(s)
	if err != nil {
		return h, false, err
	}
	if mission.Decode(text, &h) == nil {
		return h, true, nil
	}
	var loose struct {
		Alg string `json:"alg,omitempty"`
		Typ Typ    `json:"typ,omitempty"`
	}
	if mission.DecodeOpen(text, &loose) != nil {
		return h, false, ErrEncoding
	}
	return header{Alg: loose.Alg, Typ: loose.Typ}, false, nil
}

// decodeCanonical accepts base64url without padding, line breaks or stray bits: the only spelling of its octets.
func decodeCanonical(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, ErrEncoding
	}
	out, err := b64.DecodeString(s)
	if err != nil {
		return nil, ErrEncoding
	}
	return out, nil
}

// Verify checks the signature with the key of that id. algs are the accepted algorithms, all supported ones if none is
// given. Errors wrap ErrAlg or ErrSignature.
func (t *Token) Verify(keys *KeySet, algs ...string) error {
	if !slices.Contains(supported, t.Alg) || len(algs) > 0 && !slices.Contains(algs, t.Alg) {
		return ErrAlg
	}
	public, alg, ok := keys.Key(t.KeyID)
	if !ok || alg != t.Alg {
		return fmt.Errorf("%w: no such key", ErrSignature)
	}
	object, err := jose.ParseSignedCompact(t.Compact, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err != nil {
		return ErrSignature
	}
	payload, err := object.Verify(public)
	if err != nil || string(payload) != string(t.Payload) {
		return ErrSignature
	}
	return nil
}

// Digest commits to the compact form.
func (t *Token) Digest() mission.Digest { return mission.RawDigest([]byte(t.Compact)) }

// Open is Parse and Verify.
func Open(compact string, typ Typ, keys *KeySet, algs ...string) (*Token, error) {
	t, err := Parse(compact, typ)
	if err != nil {
		return nil, err
	}
	if err := t.Verify(keys, algs...); err != nil {
		return nil, err
	}
	return t, nil
}
