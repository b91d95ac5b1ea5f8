package ledger

import (
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
)

// A FeedMap is a Merkle map from subject to FeedSummary. It is a binary tree over the 256 bits of FeedMapKey:
//
//	empty subtree    32 zero octets
//	one subject      SHA-256(0x00 || key || SHA-256([subject, count, last, root])), at any depth
//	more than one    SHA-256(0x01 || subtree with next bit 0 || subtree with next bit 1)
//
// The root depends on the subjects and their feeds alone, not on the order of insertion. Where a subject would be
// follows from its key, so a path from the root shows what is there: the subject, another one, or nothing.
//
// The map lives in pages, so that an update reads and writes what it changes and no more. The page of a prefix holds up
// to 16 subjects that begin with it, or, if there are more, the count and hash of its 16 subtrees, which have pages of
// their own. A prefix is written in lower-case hexadecimal digits; that of the root is empty. It is not safe for
// concurrent use. After an error it must not be used.
type FeedMap struct {
	issuer string
	load   func(prefix string) ([]byte, error)
	pages  map[string]*feedPage
	dirty  map[string]bool // changed since the map was opened
	stale  map[string]bool // changed since the pages above them were brought up to date
}

const (
	pageLeaves   = 16
	pageChildren = 16
	maxPageSize  = MaxRowValue
	keyNibbles   = 2 * HashSize
)

// A feedPage has leaves or children.
type feedPage struct {
	leaves   []feedLeaf // sorted by key, at most pageLeaves
	children *[pageChildren]feedChild
}

type feedLeaf struct {
	FeedSummary
	peaks peaks
	key   Hash
	hash  Hash
}

type feedChild struct {
	count uint64 // of subjects
	hash  Hash
}

// NewFeedMap returns the map of the log of an issuer. load returns a stored page; it fails with ErrNotFound if there is
// none. Without load the map begins empty.
func NewFeedMap(issuer string, load func(prefix string) ([]byte, error)) *FeedMap {
	if load == nil {
		load = func(string) ([]byte, error) { return nil, ErrNotFound }
	}
	return &FeedMap{issuer: issuer, load: load, pages: map[string]*feedPage{}, dirty: map[string]bool{},
		stale: map[string]bool{}}
}

// page returns the page of a prefix; the root's page is made if there is none.
func (m *FeedMap) page(prefix string) (*feedPage, error) {
	if p, ok := m.pages[prefix]; ok {
		return p, nil
	}
	data, err := m.load(prefix)
	if errors.Is(err, ErrNotFound) && prefix == "" {
		p := new(feedPage)
		m.pages[prefix] = p
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: feed map page %q: %w", prefix, err)
	}
	p, err := m.parsePage(prefix, data)
	if err != nil {
		return nil, fmt.Errorf("ledger: feed map page %q: %w", prefix, errors.Join(ErrIntegrity, err))
	}
	m.pages[prefix] = p
	return p, nil
}

// find returns the page where a key belongs and its prefix.
func (m *FeedMap) find(key Hash) (*feedPage, string, error) {
	hex := key.String()
	for depth := 0; depth <= keyNibbles; depth++ {
		p, err := m.page(hex[:depth])
		if err != nil || p.children == nil {
			return p, hex[:depth], err
		}
		if next := hex[:depth+1]; p.children[hexDigit(hex[depth])].count == 0 && m.pages[next] == nil {
			m.pages[next] = new(feedPage) // not stored yet
		}
	}
	return nil, "", fmt.Errorf("ledger: feed map too deep: %w", ErrIntegrity)
}

func (p *feedPage) search(key Hash) (int, bool) {
	return slices.BinarySearchFunc(p.leaves, key, func(l feedLeaf, k Hash) int { return compareHash(l.key, k) })
}

func compareHash(a, b Hash) int { return slices.Compare(a[:], b[:]) }

// Add appends an entry to the feed of its subject. Entries come in index order.
func (m *FeedMap) Add(subject string, index uint64, leaf Hash) error {
	key := FeedMapKey(m.issuer, subject)
	p, prefix, err := m.find(key)
	if err != nil {
		return err
	}
	i, found := p.search(key)
	if !found {
		p.leaves = slices.Insert(p.leaves, i, feedLeaf{FeedSummary: FeedSummary{Subject: subject}, key: key})
	}
	l := &p.leaves[i]
	if l.Subject != subject || found && index <= l.Last {
		return fmt.Errorf("ledger: entry %d does not continue the feed of %.200q: %w", index, l.Subject, ErrIntegrity)
	}
	l.peaks = l.peaks.add(l.Count, leaf)
	l.Count++
	l.Last = index
	l.seal()
	m.touch(prefix)
	if len(p.leaves) > pageLeaves {
		m.split(prefix, p)
	}
	return nil
}

// seal computes what follows from the entries of the feed.
func (l *feedLeaf) seal() {
	l.Root = l.peaks.root()
	l.hash = leafOfMap(l.key, l.digest())
}

// leafOfMap is the hash of a subtree with one subject.
func leafOfMap(key, value Hash) Hash {
	return HashLeaf(append(append(make([]byte, 0, 2*HashSize), key[:]...), value[:]...))
}

// split makes a page with too many subjects into one with subtrees.
func (m *FeedMap) split(prefix string, p *feedPage) {
	leaves := p.leaves
	p.leaves, p.children = nil, new([pageChildren]feedChild)
	for len(leaves) > 0 {
		digit := leaves[0].key.String()[len(prefix)]
		n := 1
		for n < len(leaves) && leaves[n].key.String()[len(prefix)] == digit {
			n++
		}
		child, at := &feedPage{leaves: slices.Clone(leaves[:n])}, prefix+string(digit)
		m.pages[at] = child
		m.touch(at)
		leaves = leaves[n:]
		if n > pageLeaves {
			m.split(at, child)
		}
	}
}

func (m *FeedMap) touch(prefix string) { m.dirty[prefix], m.stale[prefix] = true, true }

// settle brings counts and hashes of all pages above a changed one up to date.
func (m *FeedMap) settle() error {
	todo := slices.Collect(maps.Keys(m.stale))
	for depth := keyNibbles; depth > 0; depth-- {
		for _, prefix := range todo {
			if len(prefix) != depth {
				continue
			}
			parent, err := m.page(prefix[:depth-1])
			if err != nil {
				return err
			}
			parent.children[hexDigit(prefix[depth-1])] = m.pages[prefix].total(4 * depth)
			if above := prefix[:depth-1]; !m.stale[above] {
				m.touch(above)
				todo = append(todo, above)
			}
		}
	}
	clear(m.stale)
	return nil
}

// total is the count and hash of the subtree of a page, whose prefix has depth bits.
func (p *feedPage) total(depth int) feedChild {
	if p.children != nil {
		return combine(p.children[:])
	}
	return feedChild{count: uint64(len(p.leaves)), hash: hashLeaves(p.leaves, depth)}
}

// combine is the subtree over 1, 2, 4, 8 or 16 subtrees.
func combine(list []feedChild) feedChild {
	if len(list) == 1 {
		return list[0]
	}
	l, r := combine(list[:len(list)/2]), combine(list[len(list)/2:])
	switch {
	case l.count == 0 && r.count <= 1:
		return r
	case r.count == 0 && l.count <= 1:
		return l
	}
	return feedChild{l.count + r.count, HashChildren(l.hash, r.hash)}
}

// hashLeaves is the hash of the subtree at depth bits of these leaves, sorted by key.
func hashLeaves(leaves []feedLeaf, depth int) Hash {
	switch len(leaves) {
	case 0:
		return Hash{}
	case 1:
		return leaves[0].hash
	}
	n := splitLeaves(leaves, depth)
	return HashChildren(hashLeaves(leaves[:n], depth+1), hashLeaves(leaves[n:], depth+1))
}

// splitLeaves returns how many of the leaves have a 0 at the bit.
func splitLeaves(leaves []feedLeaf, bit int) int {
	n, _ := slices.BinarySearchFunc(leaves, byte(1), func(l feedLeaf, one byte) int { return int(bitOf(l.key, bit)) - int(one) })
	return n
}

func bitOf(key Hash, bit int) byte { return key[bit/8] >> (7 - bit%8) & 1 }

// Root returns the root of the map.
func (m *FeedMap) Root() (Hash, error) {
	total, err := m.total()
	return total.hash, err
}

func (m *FeedMap) total() (feedChild, error) {
	if err := m.settle(); err != nil {
		return feedChild{}, err
	}
	p, err := m.page("")
	if err != nil {
		return feedChild{}, err
	}
	return p.total(0), nil
}

// Population counts the subjects of the map and those of them that are about missions.
func (m *FeedMap) Population() (subjects, missions uint64, err error) {
	total, err := m.total()
	if err != nil {
		return 0, 0, err
	}
	p := m.pages[""]
	if p.children != nil {
		return total.count, p.children[feedKinds[SubjectMissions]].count, nil
	}
	for i := range p.leaves {
		if p.leaves[i].key[0]>>4 == feedKinds[SubjectMissions] {
			missions++
		}
	}
	return total.count, missions, nil
}

// Get returns what the map says about a subject; ok is false if the subject has no entries.
func (m *FeedMap) Get(subject string) (s FeedSummary, ok bool, err error) {
	key := FeedMapKey(m.issuer, subject)
	p, _, err := m.find(key)
	if err != nil {
		return FeedSummary{}, false, err
	}
	i, found := p.search(key)
	if !found {
		return FeedSummary{}, false, nil
	}
	return p.leaves[i].FeedSummary, true, nil
}

// A FeedPage is an encoded page of a FeedMap.
type FeedPage struct {
	Prefix string
	Data   []byte
}

// Changed returns the pages that were changed since the map was opened, by prefix.
func (m *FeedMap) Changed() ([]FeedPage, error) {
	if err := m.settle(); err != nil {
		return nil, err
	}
	out := make([]FeedPage, 0, len(m.dirty))
	for _, prefix := range slices.Sorted(maps.Keys(m.dirty)) {
		data := m.pages[prefix].marshal()
		if len(data) > maxPageSize {
			return nil, fmt.Errorf("ledger: feed map page %q of %d octets: %w", prefix, len(data), ErrTooLarge)
		}
		out = append(out, FeedPage{prefix, data})
	}
	return out, nil
}

// marshal writes [0, [* [subject, count, last, [+ peak]]]] or [1, [16 [count, hash]]].
func (p *feedPage) marshal() []byte {
	b := appendItemHead(nil, cborArray, 2)
	if p.children != nil {
		b = appendItemHead(appendItemHead(b, cborUint, 1), cborArray, pageChildren)
		for i := range p.children {
			b = appendItemHead(appendItemHead(b, cborArray, 2), cborUint, p.children[i].count)
			b = appendBytes(b, p.children[i].hash[:])
		}
		return b
	}
	b = appendItemHead(appendItemHead(b, cborUint, 0), cborArray, uint64(len(p.leaves)))
	for i := range p.leaves {
		l := &p.leaves[i]
		b = appendText(appendItemHead(b, cborArray, 4), l.Subject)
		b = appendItemHead(appendItemHead(b, cborUint, l.Count), cborUint, l.Last)
		b = appendItemHead(b, cborArray, uint64(len(l.peaks)))
		for j := range l.peaks {
			b = appendBytes(b, l.peaks[j][:])
		}
	}
	return b
}

// parsePage is the strict inverse of marshal.
func (m *FeedMap) parsePage(prefix string, data []byte) (*feedPage, error) {
	if len(data) > maxPageSize {
		return nil, ErrTooLarge
	}
	r := cborReader{rest: data}
	p := new(feedPage)
	r.container(cborArray, 2)
	if r.uint(1) == 1 {
		p.children = new([pageChildren]feedChild)
		r.container(cborArray, pageChildren)
		for i := range p.children {
			r.container(cborArray, 2)
			p.children[i] = feedChild{r.uint(^uint64(0)), r.hash()}
			if r.err == nil && (p.children[i].count == 0) != (p.children[i].hash == Hash{}) {
				r.fail("subtree of %d subjects", p.children[i].count)
			}
		}
		return p, r.end()
	}
	n := r.array(pageLeaves)
	for i := range n {
		l := r.leaf(m.issuer)
		if r.err == nil && (i > 0 && compareHash(p.leaves[i-1].key, l.key) >= 0 || !strings.HasPrefix(l.key.String(), prefix)) {
			r.fail("subject %d is not in its place", i)
		}
		if r.err != nil {
			break
		}
		p.leaves = append(p.leaves, l)
	}
	return p, r.end()
}

func (r *cborReader) leaf(issuer string) feedLeaf {
	var l feedLeaf
	r.container(cborArray, 4)
	l.Subject = r.text(maxClaim)
	l.Count, l.Last = r.uint(^uint64(0)), r.uint(^uint64(0))
	n := r.array(64)
	for range n {
		l.peaks = append(l.peaks, r.hash())
	}
	if r.err == nil && (l.Count == 0 || l.Last < l.Count-1 || n != bits.OnesCount64(l.Count)) {
		r.fail("feed of %d entries with the last at %d and %d peaks", l.Count, l.Last, n)
	}
	if r.err == nil {
		l.key = FeedMapKey(issuer, l.Subject)
		l.seal()
	}
	return l
}
