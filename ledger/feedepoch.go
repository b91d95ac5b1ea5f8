package ledger

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// ContentTypeFeedEpoch is the media type of a feed epoch.
const ContentTypeFeedEpoch = "application/mas-feed-epoch+cbor"

// FeedMapV1 names the map function of this package: see FeedMap.
const FeedMapV1 = "sub-v1"

const maxFeedEpochSize = 1 << 10

// ErrFeedEpoch is wrapped by every refusal of a feed epoch.
var ErrFeedEpoch = errors.New("ledger: malformed feed epoch")

// A FeedEpoch is the evidence body of a log entry that commits to all feeds at once: MapRoot is the root of the FeedMap
// over the first CoveredSize entries. Whoever has these entries can compute it again. Its subject is <issuer>/log. The
// encoding is a deterministic CBOR map with text keys:
//
//	{"map": "sub-v1", "epoch": uint, "origin": text, "map_root": hash, "missions": uint, "previous": uint,
//	 "subjects": uint, "covered_root": hash, "covered_size": uint}
type FeedEpoch struct {
	Origin      string // name of the log
	Number      uint64 // 1 for the first epoch of the log, then +1 with each
	CoveredSize uint64 // entries that the map covers: all below this index; at least 1
	CoveredRoot Hash   // root of the log's tree of CoveredSize entries
	MapRoot     Hash
	Subjects    uint64 // feeds in the map
	Missions    uint64 // those of them that are about missions of the log's issuer
	Previous    uint64 // index of the entry of the epoch before; 0, which is the genesis, for the first
}

// MarshalFeedEpoch returns the canonical bytes of e.
func MarshalFeedEpoch(e *FeedEpoch) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	b := appendItemHead(make([]byte, 0, 256), cborMap, 9)
	b = appendText(appendText(b, "map"), FeedMapV1)
	b = appendItemHead(appendText(b, "epoch"), cborUint, e.Number)
	b = appendText(appendText(b, "origin"), e.Origin)
	b = appendBytes(appendText(b, "map_root"), e.MapRoot[:])
	b = appendItemHead(appendText(b, "missions"), cborUint, e.Missions)
	b = appendItemHead(appendText(b, "previous"), cborUint, e.Previous)
	b = appendItemHead(appendText(b, "subjects"), cborUint, e.Subjects)
	b = appendBytes(appendText(b, "covered_root"), e.CoveredRoot[:])
	return appendItemHead(appendText(b, "covered_size"), cborUint, e.CoveredSize), nil
}

// ParseFeedEpoch is the strict inverse of MarshalFeedEpoch.
func ParseFeedEpoch(data []byte) (*FeedEpoch, error) {
	if len(data) > maxFeedEpochSize {
		return nil, fmt.Errorf("%w: %d octets: %w", ErrFeedEpoch, len(data), ErrTooLarge)
	}
	r := cborReader{rest: data}
	e := new(FeedEpoch)
	r.container(cborMap, 9)
	r.name("map")
	if v := r.text(32); r.err == nil && v != FeedMapV1 {
		r.fail("map function %q", v)
	}
	r.name("epoch")
	e.Number = r.uint(^uint64(0))
	r.name("origin")
	e.Origin = r.text(maxOrigin)
	r.name("map_root")
	e.MapRoot = r.hash()
	r.name("missions")
	e.Missions = r.uint(^uint64(0))
	r.name("previous")
	e.Previous = r.uint(^uint64(0))
	r.name("subjects")
	e.Subjects = r.uint(^uint64(0))
	r.name("covered_root")
	e.CoveredRoot = r.hash()
	r.name("covered_size")
	e.CoveredSize = r.uint(^uint64(0))
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFeedEpoch, err)
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	return e, nil
}

// check applies the rules that need nothing but the epoch itself.
func (e *FeedEpoch) check() error {
	if err := CheckOrigin(e.Origin); err != nil {
		return fmt.Errorf("%w: %w", ErrFeedEpoch, err)
	}
	switch {
	case e.Number == 0 || (e.Number == 1) != (e.Previous == 0):
		return fmt.Errorf("%w: epoch %d after entry %d", ErrFeedEpoch, e.Number, e.Previous)
	case e.Subjects == 0 || e.Subjects > e.CoveredSize || e.Missions > e.Subjects:
		return fmt.Errorf("%w: %d missions of %d subjects in %d entries", ErrFeedEpoch, e.Missions, e.Subjects, e.CoveredSize)
	}
	return nil
}

// OpenFeedEpoch reads the epoch that a statement of the log's issuer commits to. The statement's signature is not
// checked here.
func OpenFeedEpoch(s *Statement, body []byte, issuer string) (*FeedEpoch, error) {
	subject, err := Subject(issuer, SubjectLog, "")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFeedEpoch, err)
	}
	if s.Issuer != issuer || s.Subject != subject || s.ContentType != ContentTypeFeedEpoch {
		return nil, fmt.Errorf("%w: a %s of %.200q about %.200q", ErrFeedEpoch, s.ContentType, s.Issuer, s.Subject)
	}
	if sha256.Sum256(body) != s.Digest {
		return nil, fmt.Errorf("%w: the statement commits to another body", ErrFeedEpoch)
	}
	return ParseFeedEpoch(body)
}
