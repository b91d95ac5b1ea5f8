package ledger

import (
	"errors"
	"fmt"
)

// ContentTypeFeedProof is the media type of a FeedProof.
const ContentTypeFeedProof = "application/mas-feed-proof+cbor"

const maxFeedProofSize = MaxMapProof + 256<<10

// ErrFeedProof is wrapped by every refusal of a feed proof.
var ErrFeedProof = errors.New("ledger: malformed feed proof")

// A FeedProof is a MapProof with all that is needed to check it against the key of the log: what the log says about one
// subject, or about all subjects of a range of keys, as of a feed epoch. It is a deterministic CBOR map:
//
//	{"map": bytes, "epoch": bytes, "statement": bytes, "checkpoint": bytes, ...}
//
// with exactly one of these before and between them, in the order of the encoding:
//
//	"range": [first, last]                                    a part of the population
//	"subject": text                                           one subject, present or absent
//	"subject": text and "inclusion": [seq, leaf, [* hash]]    and one entry of its feed
type FeedProof struct {
	Map        []byte // MapProof under the epoch's root
	Epoch      []byte // FeedEpoch
	Statement  []byte // transparent statement of the epoch: its log entry with a receipt
	Checkpoint []byte // signed note of the tree that the receipt is about

	Subject     string         // empty for a range
	Entry       *FeedInclusion // may be nil
	First, Last Hash           // keys, of a range
}

// A FeedInclusion says that a leaf is entry number Seq of a feed. Path is for VerifyInclusion with the feed's root.
type FeedInclusion struct {
	Seq  uint64
	Leaf Hash
	Path []Hash
}

// Verify checks that the entry is in the feed.
func (f *FeedInclusion) Verify(s FeedSummary) error {
	return VerifyInclusion(f.Leaf, f.Seq, s.Count, f.Path, s.Root)
}

// MarshalFeedProof returns the canonical bytes of p.
func MarshalFeedProof(p *FeedProof) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	pairs := uint64(5)
	if p.Entry != nil {
		pairs++
	}
	b := appendItemHead(nil, cborMap, pairs)
	b = appendBytes(appendText(b, "map"), p.Map)
	b = appendBytes(appendText(b, "epoch"), p.Epoch)
	if p.Subject == "" {
		b = appendItemHead(appendText(b, "range"), cborArray, 2)
		b = appendBytes(appendBytes(b, p.First[:]), p.Last[:])
	} else {
		b = appendText(appendText(b, "subject"), p.Subject)
	}
	if e := p.Entry; e != nil {
		b = appendItemHead(appendItemHead(appendText(b, "inclusion"), cborArray, 3), cborUint, e.Seq)
		b = appendItemHead(appendBytes(b, e.Leaf[:]), cborArray, uint64(len(e.Path)))
		for i := range e.Path {
			b = appendBytes(b, e.Path[i][:])
		}
	}
	b = appendBytes(appendText(b, "statement"), p.Statement)
	return appendBytes(appendText(b, "checkpoint"), p.Checkpoint), nil
}

// ParseFeedProof is the strict inverse of MarshalFeedProof. The parts are not looked into.
func ParseFeedProof(data []byte) (*FeedProof, error) {
	if len(data) > maxFeedProofSize {
		return nil, fmt.Errorf("%w: %d octets: %w", ErrFeedProof, len(data), ErrTooLarge)
	}
	r := cborReader{rest: data}
	p := new(FeedProof)
	pairs := r.mapOf(6)
	r.name("map")
	p.Map = r.bytes(MaxMapProof)
	r.name("epoch")
	p.Epoch = r.bytes(maxFeedEpochSize)
	switch name := r.text(32); name {
	case "range":
		r.container(cborArray, 2)
		p.First, p.Last = r.hash(), r.hash()
	case "subject":
		p.Subject = r.text(maxClaim)
	default:
		r.fail("member %q", name)
	}
	if r.err == nil && pairs == 6 {
		r.name("inclusion")
		p.Entry = r.inclusion()
	}
	r.name("statement")
	p.Statement = r.bytes(MaxStatementSize + MaxReceiptSize)
	r.name("checkpoint")
	p.Checkpoint = r.bytes(maxCheckpoint)
	if r.err == nil && pairs < 5 {
		r.fail("%d members", pairs)
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFeedProof, err)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	return p, nil
}

func (r *cborReader) inclusion() *FeedInclusion {
	e := new(FeedInclusion)
	r.container(cborArray, 3)
	e.Seq, e.Leaf = r.uint(^uint64(0)), r.hash()
	for range r.array(MaxPath) {
		e.Path = append(e.Path, r.hash())
	}
	return e
}

func (p *FeedProof) check() error {
	if p.Subject == "" {
		if p.Entry != nil || compareHash(p.First, p.Last) > 0 {
			return fmt.Errorf("%w: range", ErrFeedProof)
		}
		return nil
	}
	if err := checkText(p.Subject, maxClaim); err != nil {
		return fmt.Errorf("%w: subject: %w", ErrFeedProof, err)
	}
	if p.First != (Hash{}) || p.Last != (Hash{}) {
		return fmt.Errorf("%w: subject and range", ErrFeedProof)
	}
	return nil
}
