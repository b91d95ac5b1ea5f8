package ledger

import (
	"errors"
	"fmt"
	"slices"
)

// ErrNotShown: a proof verifies but does not say anything about what was asked.
var ErrNotShown = errors.New("ledger: the proof does not cover it")

const (
	// MaxMapProof is the largest MapProof in octets.
	MaxMapProof = 8 << 20
	mapBits     = 8 * HashSize
)

// A MapProof is a verified part of a FeedMap: the tree with the subtrees that do not matter replaced by their hashes.
// It is encoded as an array of the nodes in pre-order:
//
//	null                           an empty subtree
//	hash                           a hidden subtree
//	0                              an inner node; its two subtrees follow
//	[key, hash]                    one subject, of which only the key is shown
//	[subject, count, last, root]   one subject
type MapProof struct {
	issuer string
	root   *mapNode
}

// A mapNode is a node of a proof. Kinds exclude each other.
type mapNode struct {
	hash        Hash
	kind        byte
	left, right *mapNode // of an inner node
	key         Hash     // of a subject
	summary     FeedSummary
}

// The kinds of node in a proof.
const (
	nodeEmpty byte = iota
	nodeHidden
	nodeInner
	nodeSealed
	nodeOpen
)

// OpenMapProof reads a proof and verifies that it is part of the map with the given root, of the log of an issuer. The
// error wraps ErrProof if it is not.
func OpenMapProof(raw []byte, issuer string, root Hash) (*MapProof, error) {
	if len(raw) > MaxMapProof {
		return nil, fmt.Errorf("ledger: map proof of %d octets: %w", len(raw), ErrTooLarge)
	}
	r := cborReader{rest: raw}
	d := mapReader{cborReader: &r, issuer: issuer, left: r.array(MaxMapProof)}
	p := &MapProof{issuer: issuer, root: d.node(Hash{}, 0)}
	if d.left != 0 {
		r.fail("%d nodes after the end", d.left)
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("ledger: map proof: %w: %w", ErrProof, err)
	}
	if p.root.hash != root {
		return nil, fmt.Errorf("ledger: map proof: %w: it leads to another root", ErrProof)
	}
	return p, nil
}

// A mapReader reads nodes.
type mapReader struct {
	*cborReader
	issuer string
	left   int // nodes to come
}

// node reads the subtree at the first depth bits of prefix. It never returns nil.
func (d *mapReader) node(prefix Hash, depth int) *mapNode {
	n := new(mapNode)
	if d.left == 0 {
		d.fail("the tree is cut off")
	}
	if d.err != nil {
		return n
	}
	d.left--
	switch d.major() {
	case cborBytes:
		n.kind, n.hash = nodeHidden, d.hash()
		if n.hash == (Hash{}) {
			d.fail("hidden empty subtree")
		}
	case cborUint:
		d.label(0)
		if depth == mapBits {
			d.fail("the tree is too deep")
			return n
		}
		n.kind, n.left = nodeInner, d.node(prefix, depth+1)
		n.right = d.node(withBit(prefix, depth), depth+1)
		n.hash = HashChildren(n.left.hash, n.right.hash)
		if n.left.lonely() && n.right.lonely() && (n.left.kind == nodeEmpty || n.right.kind == nodeEmpty) {
			d.fail("inner node above fewer than two subjects")
		}
	case cborArray:
		d.subject(n)
		if d.err == nil && !samePrefix(n.key, prefix, depth) {
			d.fail("a subject is not in its place")
		}
	default:
		d.literal(cborNull)
	}
	return n
}

// lonely reports whether a subtree is known to have at most one subject.
func (n *mapNode) lonely() bool { return n.kind != nodeInner && n.kind != nodeHidden }

func (d *mapReader) subject(n *mapNode) {
	switch d.array(4) {
	case 2:
		n.kind, n.key = nodeSealed, d.hash()
		n.hash = leafOfMap(n.key, d.hash())
	case 4:
		n.kind, n.summary = nodeOpen, d.summary()
		n.key = FeedMapKey(d.issuer, n.summary.Subject)
		n.hash = leafOfMap(n.key, n.summary.digest())
	default:
		d.fail("a subject has two or four parts")
	}
}

func withBit(prefix Hash, bit int) Hash {
	prefix[bit/8] |= 0x80 >> (bit % 8)
	return prefix
}

// samePrefix reports whether two keys agree in their first bits.
func samePrefix(a, b Hash, bits int) bool {
	whole := bits / 8
	return slices.Equal(a[:whole], b[:whole]) && (bits%8 == 0 || (a[whole]^b[whole])>>(8-bits%8) == 0)
}

// Lookup returns what the map says about a subject: its feed, or, with ok false, that it has no entries. The error
// wraps ErrNotShown if the proof was not made for the subject.
func (p *MapProof) Lookup(subject string) (s FeedSummary, ok bool, err error) {
	key := FeedMapKey(p.issuer, subject)
	n := p.root
	for depth := 0; n.kind == nodeInner; depth++ {
		if bitOf(key, depth) == 0 {
			n = n.left
		} else {
			n = n.right
		}
	}
	switch {
	case n.kind == nodeOpen && n.summary.Subject == subject:
		return n.summary, true, nil
	case n.kind == nodeHidden, n.kind == nodeSealed && n.key == key:
		return FeedSummary{}, false, fmt.Errorf("%w: %.200q", ErrNotShown, subject)
	}
	return FeedSummary{}, false, nil
}

// Range returns every subject of the map whose key lies between first and last, in the order of their keys. The error
// wraps ErrNotShown if the proof hides a part of the range.
func (p *MapProof) Range(first, last Hash) ([]FeedSummary, error) {
	var out []FeedSummary
	err := p.root.collect(keyRange{first, last}, Hash{}, 0, &out)
	return out, err
}

func (n *mapNode) collect(want keyRange, prefix Hash, depth int, out *[]FeedSummary) error {
	if !want.meets(prefix, depth) {
		return nil
	}
	switch n.kind {
	case nodeInner:
		if err := n.left.collect(want, prefix, depth+1, out); err != nil {
			return err
		}
		return n.right.collect(want, withBit(prefix, depth), depth+1, out)
	case nodeOpen:
		if want.has(n.key) {
			*out = append(*out, n.summary)
		}
	case nodeHidden:
		return fmt.Errorf("%w: keys from %s", ErrNotShown, prefix)
	case nodeSealed:
		if want.has(n.key) {
			return fmt.Errorf("%w: key %s", ErrNotShown, n.key)
		}
	}
	return nil
}

// A keySet is what a proof is made about.
type keySet interface {
	meets(prefix Hash, depth int) bool // has keys that begin with the first depth bits of prefix
	has(key Hash) bool
}

// A keyRange is the keys from first to last.
type keyRange struct{ first, last Hash }

func (k keyRange) meets(prefix Hash, depth int) bool {
	end := prefix
	for bit := depth; bit < mapBits; bit++ {
		if bit%8 == 0 {
			end[bit/8] = 0xff
			bit += 7
			continue
		}
		end[bit/8] |= 0x80 >> (bit % 8)
	}
	return compareHash(prefix, k.last) <= 0 && compareHash(end, k.first) >= 0
}

func (k keyRange) has(key Hash) bool {
	return compareHash(k.first, key) <= 0 && compareHash(key, k.last) <= 0
}

// A keyList is single keys, sorted.
type keyList []Hash

func (k keyList) meets(prefix Hash, depth int) bool {
	i, _ := slices.BinarySearchFunc(k, prefix, compareHash)
	return i < len(k) && samePrefix(k[i], prefix, depth)
}

func (k keyList) has(key Hash) bool {
	_, ok := slices.BinarySearchFunc(k, key, compareHash)
	return ok
}

// Prove returns the proof of what the map says about each of the subjects: see MapProof.Lookup.
func (m *FeedMap) Prove(subjects ...string) ([]byte, error) {
	keys := make(keyList, 0, len(subjects))
	for _, s := range subjects {
		keys = append(keys, FeedMapKey(m.issuer, s))
	}
	slices.SortFunc(keys, compareHash)
	return m.prove(keys)
}

// ProveRange returns a proof for MapProof.Range of the keys from first on: all up to last, or as many as limit allows.
// shown is the last key of the range that is shown.
func (m *FeedMap) ProveRange(first, last Hash, limit int) (raw []byte, shown Hash, err error) {
	if err := m.settle(); err != nil {
		return nil, Hash{}, err
	}
	// One key more than the limit says whether the range goes on.
	keys, err := m.keys("", keyRange{first, last}, Hash{}, limit+1, nil)
	if err != nil {
		return nil, Hash{}, err
	}
	if len(keys) > limit {
		last = keys[limit-1]
	}
	raw, err = m.prove(keyRange{first, last})
	return raw, last, err
}

// keys appends the keys of a range below a page until there are limit of them.
func (m *FeedMap) keys(prefix string, want keyRange, at Hash, limit int, out []Hash) ([]Hash, error) {
	p, err := m.page(prefix)
	if err != nil {
		return nil, err
	}
	for i := range p.leaves {
		if want.has(p.leaves[i].key) && len(out) < limit {
			out = append(out, p.leaves[i].key)
		}
	}
	if p.children == nil {
		return out, nil
	}
	depth := 4 * len(prefix)
	for i := range p.children {
		at := withDigit(at, len(prefix), byte(i))
		if p.children[i].count == 0 || len(out) >= limit || !want.meets(at, depth+4) {
			continue
		}
		if out, err = m.keys(prefix+hexDigits[i:i+1], want, at, limit, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

const hexDigits = "0123456789abcdef"

func withDigit(prefix Hash, at int, digit byte) Hash {
	prefix[at/2] |= digit << (4 * (1 - at%2))
	return prefix
}

func (m *FeedMap) prove(keys keySet) ([]byte, error) {
	if err := m.settle(); err != nil {
		return nil, err
	}
	w := mapWriter{m: m, keys: keys}
	if err := w.page("", Hash{}); err != nil {
		return nil, err
	}
	out := append(appendItemHead(nil, cborArray, uint64(w.nodes)), w.out...)
	if len(out) > MaxMapProof {
		return nil, fmt.Errorf("ledger: map proof of %d octets: %w", len(out), ErrTooLarge)
	}
	return out, nil
}

// A mapWriter writes the nodes of a proof.
type mapWriter struct {
	m     *FeedMap
	keys  keySet
	out   []byte
	nodes int
}

// page writes the subtree of a page.
func (w *mapWriter) page(prefix string, at Hash) error {
	p, err := w.m.page(prefix)
	if err != nil {
		return err
	}
	if p.children != nil {
		return w.children(p.children[:], prefix, at, 4*len(prefix))
	}
	w.leaves(p.leaves, at, 4*len(prefix))
	return nil
}

// children writes the subtree over 1, 2, 4, 8 or 16 pages.
func (w *mapWriter) children(list []feedChild, prefix string, at Hash, depth int) error {
	total := combine(list)
	switch {
	case total.count == 0:
		w.add(append(w.out, cborNull))
	case !w.keys.meets(at, depth):
		w.add(appendBytes(w.out, total.hash[:]))
	case total.count == 1:
		return w.only(list, prefix, at)
	case len(list) == 1:
		return w.page(prefix+hexDigits[digitAt(at, len(prefix)):][:1], at)
	default:
		w.add(appendItemHead(w.out, cborUint, 0))
		half := len(list) / 2
		if err := w.children(list[:half], prefix, at, depth+1); err != nil {
			return err
		}
		return w.children(list[half:], prefix, withBit(at, depth), depth+1)
	}
	return nil
}

// only writes the one subject below some pages, which stands for the whole subtree.
func (w *mapWriter) only(list []feedChild, prefix string, at Hash) error {
	i := slices.IndexFunc(list, func(c feedChild) bool { return c.count == 1 })
	digit := digitAt(at, len(prefix)) + i
	p, err := w.m.page(prefix + hexDigits[digit:digit+1])
	if err != nil {
		return err
	}
	if len(p.leaves) != 1 {
		return fmt.Errorf("ledger: feed map page %q: %w", prefix, ErrIntegrity)
	}
	w.leaf(&p.leaves[0])
	return nil
}

func digitAt(at Hash, i int) int { return int(at[i/2]>>(4*(1-i%2))) & 0x0f }

// leaves writes the subtree at depth bits of some subjects.
func (w *mapWriter) leaves(leaves []feedLeaf, at Hash, depth int) {
	switch {
	case len(leaves) == 0:
		w.add(append(w.out, cborNull))
	case !w.keys.meets(at, depth):
		hash := hashLeaves(leaves, depth)
		w.add(appendBytes(w.out, hash[:]))
	case len(leaves) == 1:
		w.leaf(&leaves[0])
	default:
		w.add(appendItemHead(w.out, cborUint, 0))
		n := splitLeaves(leaves, depth)
		w.leaves(leaves[:n], at, depth+1)
		w.leaves(leaves[n:], withBit(at, depth), depth+1)
	}
}

// leaf writes a subject: openly if it was asked for, by its key if it stands where another one would be.
func (w *mapWriter) leaf(l *feedLeaf) {
	if w.keys.has(l.key) {
		w.add(appendSummary(w.out, &l.FeedSummary))
		return
	}
	value := l.digest()
	w.add(appendBytes(appendBytes(appendItemHead(w.out, cborArray, 2), l.key[:]), value[:]))
}

func (w *mapWriter) add(out []byte) {
	w.out = out
	w.nodes++
}
