package ledger

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

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

// ErrGenesis is wrapped by every refusal of a genesis document or entry.
var ErrGenesis = errors.New("ledger: malformed genesis")

// A Genesis is the evidence body of entry 0: what the log is, whom it trusts, and what it registers. The entry's
// statement commits to it, the body is public and never erased, so that anyone can decide the admission of every later
// entry again. Its encoding is a deterministic CBOR map with text keys:
//
//	{"hash": "sha-256", "format": 1, "issuer": text, "origin": text, "log_key": vkey,
//	 "producers": [+ {"key": COSE_Key, "types": [+ text], "issuer": text}],
//	 ? "predecessor": Predecessor, "receipt_keys": COSE_KeySet}
//
// The hash is fixed in format 1. Producers are sorted by key id, types alphabetically, both without repetition.
type Genesis struct {
	Format      uint64 // version of the formats of the log and its store: 1
	Origin      string // the log's name
	Issuer      string // who runs the log: iss of its receipts; subjects lie under it
	LogKey      string // signed-note verifier key of the checkpoints, named Origin
	ReceiptKeys KeySet // keys of the receipts
	Producers   []Producer
	Predecessor *Predecessor // the log that this one continues; nil if it is the first
}

// MarshalGenesis returns the canonical bytes of g. It sorts producers and types; g is not modified.
func MarshalGenesis(g *Genesis) ([]byte, error) {
	sorted := *g
	var err error
	if sorted.Producers, err = sortProducers(g.Producers); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGenesis, err)
	}
	if err := sorted.check(); err != nil {
		return nil, err
	}
	keys, err := MarshalKeySet(g.ReceiptKeys)
	if err != nil {
		return nil, fmt.Errorf("%w: receipt keys: %w", ErrGenesis, err)
	}
	pairs := uint64(7)
	if g.Predecessor != nil {
		pairs++
	}
	b := appendItemHead(nil, cborMap, pairs)
	b = appendText(appendText(b, "hash"), genesisHash)
	b = appendItemHead(appendText(b, "format"), cborUint, g.Format)
	b = appendText(appendText(b, "issuer"), g.Issuer)
	b = appendText(appendText(b, "origin"), g.Origin)
	b = appendText(appendText(b, "log_key"), g.LogKey)
	b = appendItemHead(appendText(b, "producers"), cborArray, uint64(len(sorted.Producers)))
	for _, p := range sorted.Producers {
		if b, err = appendProducer(b, p); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrGenesis, err)
		}
	}
	if g.Predecessor != nil {
		b = appendPredecessor(appendText(b, "predecessor"), g.Predecessor)
	}
	b = append(appendText(b, "receipt_keys"), keys...)
	if len(b) > maxGenesisSize {
		return nil, fmt.Errorf("%w: %d octets: %w", ErrGenesis, len(b), ErrTooLarge)
	}
	return b, nil
}

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
	if p := g.Predecessor; p != nil {
		if err := p.check(); err != nil {
			return fail("%w", err)
		}
		if p.Origin == g.Origin {
			return fail("a log does not continue itself")
		}
	}
	if len(g.Producers) == 0 {
		return fail("no producer")
	}
	if slices.ContainsFunc(g.Producers, func(p Producer) bool { return len(p.Subjects) > 0 }) {
		return fail("a producer has subjects")
	}
	if err := checkProducers(g.Producers); err != nil {
		return fail("%w", err)
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
	pairs := r.mapOf(8)
	if r.err == nil && pairs != 7 && pairs != 8 {
		r.fail("%d members", pairs)
	}
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
	if pairs == 8 {
		r.name("predecessor")
		g.Predecessor = r.predecessor()
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

// Admit decides whether the log registers s right after its genesis entry: what Admission says there. The error wraps
// ErrNotAdmitted.
func (g *Genesis) Admit(s *Statement) error {
	a, err := g.admission()
	if err != nil {
		return err
	}
	return a.Admit(s)
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
