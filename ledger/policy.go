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

// Media types of the documents that change what a log registers. Their statements are by the log's issuer about
// <issuer>/policy.
const (
	ContentTypePolicy  = "application/mas-registration-policy+cbor"
	ContentTypeAnchors = "application/mas-trust-anchors+cbor"
)

const (
	policyFormat  = 1
	maxPolicySize = 64 << 10
	maxLogKeys    = 8
	maxSubjects   = 64
	maxOrderer    = 128
)

// ownTypes is the prefix of the media types that only the log's issuer registers, whatever a policy says.
const ownTypes = "application/mas-"

// ErrPolicy is wrapped by every refusal of a policy or trust-anchor document.
var ErrPolicy = errors.New("ledger: malformed policy")

// PublicBody reports whether bodies of a media type are public: served by digest to anybody and never erased, because
// without them the log itself cannot be read: who was admitted, by which keys, what its epochs and its end were.
func PublicBody(contentType string) bool {
	switch contentType {
	case ContentTypeGenesis, ContentTypeFeedEpoch,
		"application/mas-key-succession+cbor", "application/mas-log-closed+cbor":
		return true
	}
	return Governs(contentType)
}

// Governs reports whether statements of a media type change the admission of later ones.
func Governs(contentType string) bool {
	return contentType == ContentTypePolicy || contentType == ContentTypeAnchors
}

// An Order is the head of a Policy or of TrustAnchors: its place in the succession and who ordered it.
type Order struct {
	Issuer string // of the log
	// Number is 1 for the first document of its kind, then one more with each: the genesis document is number 0.
	Number   uint64
	Previous Hash // SHA-256 of the document of its kind that was in force before; of the genesis document for number 1
	// OrderedBy are the ids of the two administrators who ordered it, sorted. The log cannot know that they were
	// administrators: the issuer's signature says so.
	OrderedBy [2]string
}

// A Policy names the producers besides the issuer, completely. Its encoding is a deterministic CBOR map with text keys:
//
//	{"format": 1, "issuer": text, "number": uint, "previous": bstr .size 32,
//	 "producers": [* {"key": COSE_Key, "types": [+ text], "issuer": text, ? "subjects": [+ text]}],
//	 "ordered_by": [text, text]}
//
// Producers are sorted by key id; types, subjects and ordered_by alphabetically; all without repetition.
type Policy struct {
	Order
	Producers []Producer
}

// TrustAnchors names the keys of the log itself, completely. Its encoding is a deterministic CBOR map with text keys:
//
//	{"format": 1, "issuer": text, "number": uint, "log_keys": [+ vkey], "previous": bstr .size 32,
//	 "ordered_by": [text, text], "receipt_keys": COSE_KeySet, "evidence_keys": COSE_KeySet}
//
// log_keys are sorted; the keys of a set are sorted by kid; no key signs both evidence and receipts.
type TrustAnchors struct {
	Order
	LogKeys      []string // signed-note verifier keys that sign checkpoints from here on
	ReceiptKeys  KeySet   // keys that sign receipts from here on
	EvidenceKeys KeySet   // keys with which the issuer registers statements from here on, of any type
}

// MarshalPolicy returns the canonical bytes of p. It sorts what is sorted; p is not modified.
func MarshalPolicy(p *Policy) ([]byte, error) {
	sorted := *p
	var err error
	if sorted.Producers, err = sortProducers(p.Producers); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	slices.Sort(sorted.OrderedBy[:])
	if err := sorted.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	b := sorted.appendHead(nil, 6)
	b = appendBytes(appendText(b, "previous"), p.Previous[:])
	b = appendItemHead(appendText(b, "producers"), cborArray, uint64(len(sorted.Producers)))
	for _, producer := range sorted.Producers {
		if b, err = appendProducer(b, producer); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
		}
	}
	return sorted.finish(sorted.appendOrderedBy(b))
}

// ParsePolicy is the strict inverse of MarshalPolicy.
func ParsePolicy(data []byte) (*Policy, error) {
	if len(data) > maxPolicySize {
		return nil, fmt.Errorf("%w: %d octets: %w", ErrPolicy, len(data), ErrTooLarge)
	}
	r := cborReader{rest: data}
	p := new(Policy)
	r.orderHead(&p.Order, 6)
	r.name("previous")
	p.Previous = r.hash()
	r.name("producers")
	for range r.array(maxProducers) {
		p.Producers = append(p.Producers, r.producer())
	}
	r.orderedBy(&p.Order)
	err := r.end()
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	return p, nil
}

// MarshalTrustAnchors returns the canonical bytes of t. It sorts what is sorted; t is not modified.
func MarshalTrustAnchors(t *TrustAnchors) ([]byte, error) {
	sorted := *t
	sorted.LogKeys = slices.Sorted(slices.Values(t.LogKeys))
	slices.Sort(sorted.OrderedBy[:])
	for _, keys := range []*KeySet{&sorted.ReceiptKeys, &sorted.EvidenceKeys} {
		var err error
		if *keys, err = sortKeys(*keys); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
		}
	}
	if err := sorted.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	b := sorted.appendHead(nil, 8)
	b = appendItemHead(appendText(b, "log_keys"), cborArray, uint64(len(sorted.LogKeys)))
	for _, k := range sorted.LogKeys {
		b = appendText(b, k)
	}
	b = appendBytes(appendText(b, "previous"), t.Previous[:])
	b = sorted.appendOrderedBy(b)
	for _, set := range []struct {
		name string
		keys KeySet
	}{{"receipt_keys", sorted.ReceiptKeys}, {"evidence_keys", sorted.EvidenceKeys}} {
		encoded, err := MarshalKeySet(set.keys)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrPolicy, set.name, err)
		}
		b = append(appendText(b, set.name), encoded...)
	}
	return sorted.finish(b)
}

// ParseTrustAnchors is the strict inverse of MarshalTrustAnchors.
func ParseTrustAnchors(data []byte) (*TrustAnchors, error) {
	if len(data) > maxPolicySize {
		return nil, fmt.Errorf("%w: %d octets: %w", ErrPolicy, len(data), ErrTooLarge)
	}
	r := cborReader{rest: data}
	t := new(TrustAnchors)
	r.orderHead(&t.Order, 8)
	r.name("log_keys")
	for range r.array(maxLogKeys) {
		t.LogKeys = append(t.LogKeys, r.text(maxVKey))
	}
	r.name("previous")
	t.Previous = r.hash()
	r.orderedBy(&t.Order)
	r.name("receipt_keys")
	t.ReceiptKeys = r.keySet()
	r.name("evidence_keys")
	t.EvidenceKeys = r.keySet()
	err := r.end()
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	return t, nil
}

// appendHead writes the head of the map and the members that come first in both documents.
func (o *Order) appendHead(b []byte, pairs uint64) []byte {
	b = appendItemHead(b, cborMap, pairs)
	b = appendItemHead(appendText(b, "format"), cborUint, policyFormat)
	b = appendText(appendText(b, "issuer"), o.Issuer)
	return appendItemHead(appendText(b, "number"), cborUint, o.Number)
}

func (o *Order) appendOrderedBy(b []byte) []byte {
	b = appendItemHead(appendText(b, "ordered_by"), cborArray, uint64(len(o.OrderedBy)))
	for _, id := range o.OrderedBy {
		b = appendText(b, id)
	}
	return b
}

func (*Order) finish(b []byte) ([]byte, error) {
	if len(b) > maxPolicySize {
		return nil, fmt.Errorf("%w: %d octets: %w", ErrPolicy, len(b), ErrTooLarge)
	}
	return b, nil
}

func (r *cborReader) orderHead(o *Order, pairs int) {
	r.container(cborMap, pairs)
	r.name("format")
	if f := r.uint(^uint64(0)); r.err == nil && f != policyFormat {
		r.fail("format %d is unknown", f)
	}
	r.name("issuer")
	o.Issuer = r.text(maxIssuer)
	r.name("number")
	o.Number = r.uint(maxTime)
}

func (r *cborReader) orderedBy(o *Order) {
	r.name("ordered_by")
	r.container(cborArray, len(o.OrderedBy))
	for i := range o.OrderedBy {
		o.OrderedBy[i] = r.text(maxOrderer)
	}
}

func (o *Order) check() error {
	if err := checkText(o.Issuer, maxIssuer); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if o.Number == 0 || o.Number > maxTime {
		return fmt.Errorf("number %d", o.Number)
	}
	if o.Previous == (Hash{}) {
		return errors.New("no previous document")
	}
	for _, id := range o.OrderedBy {
		if err := checkText(id, maxOrderer); err != nil {
			return fmt.Errorf("ordered_by: %w", err)
		}
	}
	if o.OrderedBy[0] >= o.OrderedBy[1] {
		return errors.New("ordered_by is not two administrators in order")
	}
	return nil
}

// check applies the rules that MarshalPolicy and ParsePolicy share.
func (p *Policy) check() error {
	if err := p.Order.check(); err != nil {
		return err
	}
	if err := checkProducers(p.Producers); err != nil {
		return err
	}
	for i, producer := range p.Producers {
		if sameIssuer(producer.Issuer, p.Issuer) {
			return fmt.Errorf("producer %d has the issuer of the log, whose keys are trust anchors", i)
		}
		for _, t := range producer.Types {
			if t == AnyType || strings.HasPrefix(t, ownTypes) {
				return fmt.Errorf("producer %d may not have type %s", i, t)
			}
		}
	}
	return nil
}

// check applies the rules that MarshalTrustAnchors and ParseTrustAnchors share.
func (t *TrustAnchors) check() error {
	if err := t.Order.check(); err != nil {
		return err
	}
	if len(t.LogKeys) == 0 || len(t.LogKeys) > maxLogKeys {
		return fmt.Errorf("%d log keys", len(t.LogKeys))
	}
	for i, k := range t.LogKeys {
		if i > 0 && t.LogKeys[i-1] >= k {
			return errors.New("log keys are not in order, each once")
		}
		if _, err := note.NewVerifier(k); err != nil || len(k) > maxVKey {
			return fmt.Errorf("log key %d is not a verifier key", i)
		}
	}
	for _, keys := range []KeySet{t.ReceiptKeys, t.EvidenceKeys} {
		if len(keys) == 0 || len(keys) > maxKeys {
			return fmt.Errorf("key set of %d keys", len(keys))
		}
		if !slices.IsSortedFunc(keys, compareKeys) {
			return errors.New("keys are not in order")
		}
	}
	for _, k := range t.EvidenceKeys {
		if _, both := t.ReceiptKeys.Find(k.ID); both {
			return errors.New("a key signs both evidence and receipts")
		}
	}
	return nil
}

func compareKeys(a, b Key) int { return bytes.Compare(a.ID, b.ID) }

func sortKeys(keys KeySet) (KeySet, error) {
	sorted := make(KeySet, 0, len(keys))
	for _, k := range keys {
		k, err := NewKey(k.Public)
		if err != nil {
			return nil, err
		}
		sorted = append(sorted, k)
	}
	slices.SortFunc(sorted, compareKeys)
	return sorted, nil
}

// sameIssuer compares two issuer identifiers as subjects do: one trailing slash does not count.
func sameIssuer(a, b string) bool { return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/") }

// digestOf is the SHA-256 of a document.
func digestOf(body []byte) Hash { return sha256.Sum256(body) }

// checkNames checks that the log keys carry the name of the log.
func (t *TrustAnchors) checkNames(origin string) error {
	for _, k := range t.LogKeys {
		if v, err := note.NewVerifier(k); err != nil || v.Name() != origin {
			return fmt.Errorf("%w: a log key is not named %q", ErrPolicy, origin)
		}
	}
	return nil
}
