package ledgertest

import (
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	formats "github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

// Bounds up to which CheckLog tries all indexes and sizes; above them it takes evenly spread ones.
const (
	allProofs = 300
	allSizes  = 64
)

// CheckLog reads everything the published view of log offers, as an auditor with the verifier key vkey would, and fails
// the test at the first thing that is wrong: the checkpoint, every entry and its leaf, the root, tiles, inclusion and
// consistency proofs, times, lookups, feeds, rows with their justification, and bodies. Earlier checkpoints of the same
// log must be consistent with this one. It returns the checkpoint of the view.
func CheckLog(t testing.TB, log ledger.Log, vkey string, earlier ...ledger.Checkpoint) ledger.Checkpoint {
	t.Helper()
	view, err := log.View()
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	defer view.Close()
	a := &audit{TB: t, view: view, size: view.Head().Size, feeds: map[string][]uint64{}}
	c := a.checkpoint(vkey)
	a.entries()
	a.tiles()
	a.proofs()
	a.consistency(c, earlier)
	a.feedsMatch()
	a.rows()
	return c
}

// audit is one pass over a view.
type audit struct {
	testing.TB
	view   ledger.View
	size   uint64
	hashes [][]byte
	roots  [][]byte // roots[i] is that of the first i entries
	feeds  map[string][]uint64
}

func (a *audit) check(err error, what string, args ...any) {
	a.Helper()
	if err != nil {
		a.Fatalf(what+": %v", append(args, err)...)
	}
}

func (a *audit) checkpoint(vkey string) ledger.Checkpoint {
	a.Helper()
	verifier, err := note.NewVerifier(vkey)
	a.check(err, "verifier key")
	c, rest, _, err := formats.ParseCheckpoint(a.view.Checkpoint(), verifier.Name(), verifier)
	a.check(err, "checkpoint")
	head := a.view.Head()
	if len(rest) > 0 || c.Size != head.Size || ledger.Hash(c.Hash) != head.Root {
		a.Fatalf("checkpoint is for size %d, the head is %d", c.Size, head.Size)
	}
	return ledger.Checkpoint{Origin: c.Origin, Size: c.Size, Root: ledger.Hash(c.Hash)}
}

// entries reads every entry, builds the tree with the library and compares the root.
func (a *audit) entries() {
	a.Helper()
	tree := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	a.roots = append(a.roots, rfc6962.DefaultHasher.EmptyRoot())
	var last time.Time
	for i := range a.size {
		e, err := a.view.Entry(i)
		a.check(err, "entry %d", i)
		if e.Index != i || e.At.Before(last) || e.At.After(a.view.Head().At) {
			a.Fatalf("entry %d calls itself %d, registered at %v after %v", i, e.Index, e.At, last)
		}
		last = e.At
		st, err := ledger.ParseStatement(e.Statement)
		a.check(err, "statement %d", i)
		leaf := rfc6962.DefaultHasher.HashLeaf(e.Statement)
		a.hashes = append(a.hashes, leaf)
		a.check(tree.Append(leaf, nil), "tree")
		root, err := tree.GetRootHash(nil)
		a.check(err, "tree")
		a.roots = append(a.roots, root)
		a.feeds[st.Subject] = append(a.feeds[st.Subject], i)
		at, err := a.view.Lookup(ledger.EntryID(ledger.Hash(leaf)))
		if err != nil || at != i {
			a.Fatalf("entry %d is found at %d: %v", i, at, err)
		}
		a.body(i, st)
	}
	if root := ledger.Hash(a.roots[a.size]); root != a.view.Head().Root {
		a.Fatalf("the entries hash to %s, the head is %s", root, a.view.Head().Root)
	}
	if _, err := a.view.Entry(a.size); !errors.Is(err, ledger.ErrNotFound) {
		a.Fatalf("entry beyond the head: %v", err)
	}
}

func (a *audit) body(i uint64, st *ledger.Statement) {
	a.Helper()
	body, err := a.view.Body(st.Digest)
	if errors.Is(err, ledger.ErrNotFound) || errors.Is(err, ledger.ErrErased) {
		return
	}
	a.check(err, "body of entry %d", i)
	if sha256.Sum256(body) != st.Digest {
		a.Fatalf("body of entry %d is another one", i)
	}
}

// tiles compares every tile at every level with the library's nodes.
func (a *audit) tiles() {
	a.Helper()
	nodes := a.hashes
	for level := 0; len(nodes) > 0; level++ {
		var above [][]byte
		for index := 0; index*ledger.TileWidth < len(nodes); index++ {
			want := nodes[index*ledger.TileWidth : min((index+1)*ledger.TileWidth, len(nodes))]
			got, err := a.view.Tile(level, uint64(index), len(want))
			a.check(err, "tile %d/%d", level, index)
			if !slices.EqualFunc(got, want, func(g ledger.Hash, w []byte) bool { return g == ledger.Hash(w) }) {
				a.Fatalf("tile %d/%d has other hashes", level, index)
			}
			if len(want) < ledger.TileWidth {
				if _, err := a.view.Tile(level, uint64(index), len(want)+1); !errors.Is(err, ledger.ErrNotFound) {
					a.Fatalf("tile %d/%d beyond the head: %v", level, index, err)
				}
				break
			}
			tree := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
			for _, h := range want {
				a.check(tree.Append(h, nil), "tree")
			}
			root, err := tree.GetRootHash(nil)
			a.check(err, "tree")
			above = append(above, root)
		}
		nodes = above
	}
}

// spread yields 0..n-1, or about limit of them including both ends.
func spread(n uint64, limit uint64) []uint64 {
	step := max(1, n/limit)
	var out []uint64
	for i := uint64(0); i < n; i += step {
		out = append(out, i)
	}
	if n > 0 && out[len(out)-1] != n-1 {
		out = append(out, n-1)
	}
	return out
}

func (a *audit) proofs() {
	a.Helper()
	for _, i := range spread(a.size, allProofs) {
		path, err := a.view.Inclusion(i, a.size)
		a.check(err, "inclusion of %d", i)
		a.check(proof.VerifyInclusion(rfc6962.DefaultHasher, i, a.size, a.hashes[i], flatten(path), a.roots[a.size]),
			"inclusion of %d", i)
	}
	for _, s := range spread(a.size+1, allSizes) {
		root, err := a.view.RootAt(s)
		if err != nil || root != ledger.Hash(a.roots[s]) {
			a.Fatalf("root at %d is %s: %v", s, root, err)
		}
		if s == 0 {
			continue
		}
		path, err := a.view.Consistency(s, a.size)
		a.check(err, "consistency of %d", s)
		a.check(proof.VerifyConsistency(rfc6962.DefaultHasher, s, a.size, flatten(path), a.roots[s], a.roots[a.size]),
			"consistency of %d", s)
		path, err = a.view.Inclusion(s/2, s)
		a.check(err, "inclusion of %d in %d", s/2, s)
		a.check(proof.VerifyInclusion(rfc6962.DefaultHasher, s/2, s, a.hashes[s/2], flatten(path), a.roots[s]),
			"inclusion of %d in %d", s/2, s)
	}
}

func flatten(path []ledger.Hash) [][]byte {
	out := make([][]byte, len(path))
	for i := range path {
		out[i] = path[i][:]
	}
	return out
}

func (a *audit) consistency(c ledger.Checkpoint, earlier []ledger.Checkpoint) {
	a.Helper()
	for _, e := range earlier {
		if e.Origin != c.Origin || e.Size > c.Size || ledger.Hash(a.roots[e.Size]) != e.Root {
			a.Fatalf("checkpoint of size %d is not consistent with that of size %d", e.Size, c.Size)
		}
	}
}

func (a *audit) feedsMatch() {
	a.Helper()
	for subject, want := range a.feeds {
		var got []uint64
		for i, err := range a.view.Feed(subject, -1) {
			a.check(err, "feed of %s", subject)
			got = append(got, i)
		}
		if !slices.Equal(got, want) {
			a.Fatalf("feed of %s is %v, a scan finds %v", subject, got, want)
		}
		for i, err := range a.view.Feed(subject, int64(want[0])) {
			a.check(err, "feed of %s", subject)
			if i <= want[0] {
				a.Fatalf("feed of %s above %d yields %d", subject, want[0], i)
			}
			break
		}
	}
}

func (a *audit) rows() {
	a.Helper()
	for row, err := range a.view.List("", "") {
		a.check(err, "list")
		read := a.view.Get
		if row.Justified {
			read = a.view.Proven
		}
		again, err := read(row.Key)
		a.check(err, "row %q", row.Key)
		if ledger.RowHash(again) != ledger.RowHash(row) {
			a.Fatalf("row %q is listed as version %d and read as version %d", row.Key, row.Version, again.Version)
		}
	}
}
