package ledger

import (
	"crypto/sha256"
	"errors"
	"math/bits"
)

// A FeedSummary is what a FeedMap says about one feed.
type FeedSummary struct {
	Subject string
	Count   uint64 // entries, at least 1
	Last    uint64 // index of the last one
	Root    Hash   // RFC 6962 root over the leaf hashes of the entries, in index order
}

// appendSummary writes [subject, count, last, root].
func appendSummary(b []byte, s *FeedSummary) []byte {
	b = appendText(appendItemHead(b, cborArray, 4), s.Subject)
	b = appendItemHead(b, cborUint, s.Count)
	b = appendItemHead(b, cborUint, s.Last)
	return appendBytes(b, s.Root[:])
}

// summary reads what appendSummary wrote, behind the head of the array.
func (r *cborReader) summary() FeedSummary {
	s := FeedSummary{Subject: r.text(maxClaim)}
	s.Count = r.uint(^uint64(0))
	s.Last = r.uint(^uint64(0))
	s.Root = r.hash()
	if r.err == nil && (s.Count == 0 || s.Last < s.Count-1) {
		r.fail("feed of %d entries with the last at %d", s.Count, s.Last)
	}
	return s
}

func (s *FeedSummary) digest() Hash { return sha256.Sum256(appendSummary(make([]byte, 0, 256), s)) }

// feedKinds are the values of the first four bits of a map key: each kind of subject is one subtree of the map.
var feedKinds = map[SubjectKind]byte{
	SubjectMissions: 1, SubjectApprovals: 2, SubjectAgreements: 3, SubjectPeers: 4, SubjectPrincipals: 5,
	SubjectPolicy: 6, SubjectExports: 7, SubjectLog: 8,
}

// IsSubjectKind reports whether subjects of this kind have a subtree of their own.
func IsSubjectKind(kind SubjectKind) bool { return feedKinds[kind] != 0 }

// FeedMapKey is the place of a subject in the FeedMap of the log of an issuer: the SHA-256 of the subject with its
// first four bits replaced by the number of the subject's kind, 0 for what is no subject of ours. So all missions lie
// between the two keys that FeedKindRange returns.
func FeedMapKey(issuer, subject string) Hash {
	key := Hash(sha256.Sum256([]byte(subject)))
	kind, _, err := ParseSubject(issuer, subject)
	if err != nil {
		kind = ""
	}
	key[0] = key[0]&0x0f | feedKinds[kind]<<4
	return key
}

// FeedKindRange returns the first and the last key that a subject of the kind can have. The empty kind is that of
// subjects which are not ours.
func FeedKindRange(kind SubjectKind) (first, last Hash) {
	for i := range last {
		last[i] = 0xff
	}
	first[0], last[0] = feedKinds[kind]<<4, feedKinds[kind]<<4|0x0f
	return first, last
}

// ErrLastKey: no key comes after the last one.
var ErrLastKey = errors.New("ledger: no key after the last one")

// Next is the key behind a key.
func (h Hash) Next() (Hash, error) {
	for i := len(h) - 1; i >= 0; i-- {
		if h[i]++; h[i] != 0 {
			return h, nil
		}
	}
	return h, ErrLastKey
}

// peaks is the right edge of the tree over a feed: the roots of its perfect subtrees, largest first.
type peaks []Hash

// add appends a leaf to the feed that has count entries.
func (p peaks) add(count uint64, leaf Hash) peaks {
	for ; count&1 == 1; count >>= 1 {
		leaf = HashChildren(p[len(p)-1], leaf)
		p = p[:len(p)-1]
	}
	return append(p, leaf)
}

func (p peaks) root() Hash {
	root := p[len(p)-1]
	for i := len(p) - 2; i >= 0; i-- {
		root = HashChildren(p[i], root)
	}
	return root
}

// FeedRoot is the root over the leaf hashes of a feed, in index order.
func FeedRoot(leaves []Hash) Hash {
	if len(leaves) == 0 {
		return EmptyRoot
	}
	var p peaks
	for i, leaf := range leaves {
		p = p.add(uint64(i), leaf)
	}
	return p.root()
}

// FeedInclusionPath is the path, for VerifyInclusion, from entry number seq of a feed to its FeedRoot.
func FeedInclusionPath(leaves []Hash, seq uint64) []Hash {
	n := uint64(len(leaves))
	if seq >= n || n == 1 {
		return nil
	}
	split := uint64(1) << (bits.Len64(n-1) - 1)
	if seq < split {
		return append(FeedInclusionPath(leaves[:split], seq), FeedRoot(leaves[split:]))
	}
	return append(FeedInclusionPath(leaves[split:], seq-split), FeedRoot(leaves[:split]))
}
