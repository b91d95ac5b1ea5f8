package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// ContentTypeGenesis is the media type of a genesis document.
const ContentTypeGenesis = "application/mas-genesis+cbor"

const (
	genesisFormat  = 1
	genesisHash    = "sha-256"
	maxGenesisSize = 64 << 10
	maxProducers   = 256
	maxTypes       = 128
	maxIssuer      = 512
	maxVKey        = 512
)

// AnyType in Producer.Types admits every content type.
const AnyType = "*"

// ErrGenesis is wrapped by every refusal of a genesis document or entry.
var ErrGenesis = errors.New("ledger: malformed genesis")

// ErrNotAdmitted: the registration policy does not admit the statement.
var ErrNotAdmitted = errors.New("ledger: statement not admitted")

// A Genesis is the evidence body of entry 0: what the log is, whom it trusts, and what it registers. The entry's
// statement commits to it, the body is public and never erased, so that anyone can decide the admission of every later
// entry again. Its encoding is a deterministic CBOR map with text keys:
//
//	{"hash": "sha-256", "format": 1, "issuer": text, "origin": text, "log_key": vkey,
//	 "producers": [+ {"key": COSE_Key, "types": [+ text], "issuer": text}], "receipt_keys": COSE_KeySet}
//
// The hash is fixed in format 1. Producers are sorted by key id, types alphabetically, both without repetition.
type Genesis struct {
	Format      uint64 // version of the formats of the log and its store: 1
	Origin      string // the log's name
	Issuer      string // who runs the log: iss of its receipts; subjects lie under it
	LogKey      string // signed-note verifier key of the checkpoints, named Origin
	ReceiptKeys KeySet // keys of the receipts
	Producers   []Producer
}

// A Producer is a rule of the registration policy: statements of this issuer, signed with this key, may have these
// content types.
type Producer struct {
	Issuer string // CWT iss of the statements
	Key    Key
	Types  []string // media types, or AnyType alone
}

// MarshalGenesis returns the canonical bytes of g. It sorts producers and types; g is not modified.
func MarshalGenesis(g *Genesis) ([]byte, error) {
	sorted := *g
	sorted.Producers = slices.Clone(g.Producers)
	for i := range sorted.Producers {
		p := &sorted.Producers[i]
		p.Types = slices.Sorted(slices.Values(p.Types))
		k, err := NewKey(p.Key.Public)
		if err != nil {
			return nil, fmt.Errorf("%w: producer: %w", ErrGenesis, err)
		}
		p.Key = k
	}
	slices.SortFunc(sorted.Producers, compareProducers)
	if err := sorted.check(); err != nil {
		return nil, err
	}
	keys, err := MarshalKeySet(g.ReceiptKeys)
	if err != nil {
		return nil, fmt.Errorf("%w: receipt keys: %w", ErrGenesis, err)
	}
	b := appendItemHead(nil, cborMap, 7)
	b = appendText(appendText(b, "hash"), genesisHash)
	b = appendItemHead(appendText(b, "format"), cborUint, g.Format)
	b = appendText(appendText(b, "issuer"), g.Issuer)
	b = appendText(appendText(b, "origin"), g.Origin)
	b = appendText(appendText(b, "log_key"), g.LogKey)
	b = appendItemHead(appendText(b, "producers"), cborArray, uint64(len(sorted.Producers)))
	for _, p := range sorted.Producers {
		b = appendItemHead(b, cborMap, 3)
		if b, err = appendKeyParams(appendText(b, "key"), p.Key.Public, p.Key.ID); err != nil {
			return nil, fmt.Errorf("%w: producer: %w", ErrGenesis, err)
		}
		b = appendItemHead(appendText(b, "types"), cborArray, uint64(len(p.Types)))
		for _, t := range p.Types {
			b = appendText(b, t)
		}
		b = appendText(appendText(b, "issuer"), p.Issuer)
	}
	b = append(appendText(b, "receipt_keys"), keys...)
	if len(b) > maxGenesisSize {
		return nil, fmt.Errorf("%w: %d octets: %w", ErrGenesis, len(b), ErrTooLarge)
	}
	return b, nil
}

func compareProducers(a, b Producer) int { return bytes.Compare(a.Key.ID, b.Key.ID) }

// check applies the rules that MarshalGenesis and ParseGenesis share.
func (g *Genesis) check() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%w: %w", ErrGenesis, fmt.Errorf(format, args...))
	}
	if g.Format != genesisFormat {
		return fail("format %d is unknown", g.Format)
	}
	if err := CheckOrigin(g.Origin); err != nil {
		return fail("%w", err)
	}
	if err := checkText(g.Issuer, maxIssuer); err != nil {
		return fail("issuer: %w", err)
	}
	if v, err := note.NewVerifier(g.LogKey); err != nil || len(g.LogKey) > maxVKey || v.Name() != g.Origin {
		return fail("log key is not a verifier key named %q", g.Origin)
	}
	if len(g.Producers) == 0 || len(g.Producers) > maxProducers {
		return fail("%d producers", len(g.Producers))
	}
	for i, p := range g.Producers {
		if i > 0 && compareProducers(g.Producers[i-1], p) >= 0 {
			return fail("producers are not in the order of their keys, each once")
		}
		if err := checkText(p.Issuer, maxIssuer); err != nil {
			return fail("issuer of producer %d: %w", i, err)
		}
		if len(p.Types) == 0 || len(p.Types) > maxTypes {
			return fail("producer %d has %d types", i, len(p.Types))
		}
		for j, t := range p.Types {
			if j > 0 && p.Types[j-1] >= t {
				return fail("types of producer %d are not in order, each once", i)
			}
			if t == AnyType && len(p.Types) == 1 {
				continue
			}
			if err := CheckMediaType(t); err != nil {
				return fail("producer %d: %w", i, err)
			}
		}
	}
	return nil
}

// ParseGenesis is the strict inverse of MarshalGenesis.
func ParseGenesis(data []byte) (*Genesis, error) {
	if len(data) > maxGenesisSize {
		return nil, fmt.Errorf("%w: %d octets: %w", ErrGenesis, len(data), ErrTooLarge)
	}
	r := cborReader{rest: data}
	g := new(Genesis)
	r.container(cborMap, 7)
	r.name("hash")
	if h := r.text(16); r.err == nil && h != genesisHash {
		r.fail("hash %q", h)
	}
	r.name("format")
	g.Format = r.uint(^uint64(0))
	r.name("issuer")
	g.Issuer = r.text(maxIssuer)
	r.name("origin")
	g.Origin = r.text(maxOrigin)
	r.name("log_key")
	g.LogKey = r.text(maxVKey)
	r.name("producers")
	for range r.array(maxProducers) {
		g.Producers = append(g.Producers, r.producer())
	}
	r.name("receipt_keys")
	g.ReceiptKeys = r.keySet()
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGenesis, err)
	}
	if err := g.check(); err != nil {
		return nil, err
	}
	return g, nil
}

// name reads a map key that must be the given text.
func (r *cborReader) name(want string) {
	if got := r.text(32); r.err == nil && got != want {
		r.fail("member %q, want %q", got, want)
	}
}

func (r *cborReader) producer() Producer {
	var p Producer
	r.container(cborMap, 3)
	r.name("key")
	p.Key = r.coseKey()
	r.name("types")
	for range r.array(maxTypes) {
		p.Types = append(p.Types, r.text(maxMediaType))
	}
	r.name("issuer")
	p.Issuer = r.text(maxIssuer)
	return p
}

// Admit decides whether the log may register s: its subject lies under the log's issuer, its key and issuer belong to
// one producer, that producer may register its content type, and its signature verifies. The decision depends on
// nothing else. The error wraps ErrNotAdmitted.
func (g *Genesis) Admit(s *Statement) error {
	if !strings.HasPrefix(s.Subject, strings.TrimSuffix(g.Issuer, "/")+"/") {
		return fmt.Errorf("%w: subject %.200q is not under the issuer", ErrNotAdmitted, s.Subject)
	}
	i := slices.IndexFunc(g.Producers, func(p Producer) bool { return bytes.Equal(p.Key.ID, s.KeyID) })
	if i < 0 {
		return fmt.Errorf("%w: %w: %x", ErrNotAdmitted, ErrUnknownKey, s.KeyID)
	}
	p := g.Producers[i]
	if p.Issuer != s.Issuer {
		return fmt.Errorf("%w: key belongs to %.200q, statement is by %.200q", ErrNotAdmitted, p.Issuer, s.Issuer)
	}
	if !slices.Contains(p.Types, AnyType) && !slices.Contains(p.Types, s.ContentType) {
		return fmt.Errorf("%w: type %s from %.200q", ErrNotAdmitted, s.ContentType, s.Issuer)
	}
	if err := s.Verify(p.Key.Public); err != nil {
		return fmt.Errorf("%w: %w", ErrNotAdmitted, err)
	}
	return nil
}

// OpenGenesis parses entry 0 of a log with its body and checks that they belong together: the statement commits to the
// body, is by the log's issuer about the log, and is admitted by the policy in the body. That shows a consistent
// beginning, not whose log it is: compare origin, issuer and keys, or the entry id, with what is trusted.
func OpenGenesis(entry, body []byte) (*Genesis, error) {
	s, err := ParseStatement(entry)
	if err != nil {
		return nil, err
	}
	if s.ContentType != ContentTypeGenesis || s.Digest != sha256.Sum256(body) {
		return nil, fmt.Errorf("%w: the statement does not commit to this body", ErrGenesis)
	}
	g, err := ParseGenesis(body)
	if err != nil {
		return nil, err
	}
	if want, err := Subject(g.Issuer, SubjectLog, ""); err != nil || s.Subject != want || s.Issuer != g.Issuer {
		return nil, fmt.Errorf("%w: statement by %.200q about %.200q", ErrGenesis, s.Issuer, s.Subject)
	}
	if err := g.Admit(s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGenesis, err)
	}
	return g, nil
}
