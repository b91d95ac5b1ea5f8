package httpapi

import (
	"net/url"
	"strconv"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/verifier"
)

// Proofs about the published tree, for anybody: they hold hashes and sizes, no subjects. Receipts name subjects and are
// for auditors (entries.go).

const mediaProof = "text/plain"

// maxIndex bounds sizes and indexes in requests to what JSON numbers carry exactly.
const maxIndex = mission.MaxInt

// An inclusionProof is the JSON form of an inclusion proof; hashes are lower-case hex.
type inclusionProof struct {
	Origin     string   `json:"origin"`
	TreeSize   uint64   `json:"tree_size"`
	LeafIndex  uint64   `json:"leaf_index"`
	LeafHash   string   `json:"leaf_hash"`
	Path       []string `json:"inclusion_path"`
	RootHash   string   `json:"root_hash"`
	Checkpoint string   `json:"checkpoint,omitempty"` // if the proof is about the published size
}

// getInclusion proves that an entry, named by leaf_hash or index, is in the tree of tree_size (default: published).
// With Accept: text/plain the proof is a tlog-proof, which is always about the published size.
func (a *API) getInclusion(c *call) (reply, error) {
	q, err := query(c.req, "leaf_hash", "index", "tree_size")
	if err != nil {
		return reply{}, err
	}
	v, err := a.view()
	if err != nil {
		return reply{}, err
	}
	defer v.Close()
	head := v.Head()
	size, err := number(q, "tree_size", head.Size)
	if err != nil || size > head.Size {
		return reply{}, malformed("tree_size")
	}
	index, err := indexOf(v, q)
	if err != nil {
		return reply{}, err
	}
	if index >= size {
		return reply{}, errNotFound
	}
	e, err := v.Entry(index)
	if err != nil {
		return reply{}, logError(err)
	}
	path, err := v.Inclusion(index, size)
	if err != nil {
		return reply{}, logError(err)
	}
	if accepts(c.req, mediaProof) {
		if size != head.Size {
			return reply{}, malformed("tree_size")
		}
		text, err := ledger.TLogProof{Index: index, Path: path, Checkpoint: v.Checkpoint()}.Marshal()
		if err != nil {
			return reply{}, err
		}
		return reply{contentType: mediaNote, body: text}, nil
	}
	root, err := v.RootAt(size)
	if err != nil {
		return reply{}, logError(err)
	}
	out := inclusionProof{Origin: a.config.LogOrigin, TreeSize: size, LeafIndex: index,
		LeafHash: ledger.HashLeaf(e.Statement).String(), Path: hexes(path), RootHash: root.String()}
	if size == head.Size {
		out.Checkpoint = string(v.Checkpoint())
	}
	return reply{contentType: mediaJSON, body: a.json(out)}, nil
}

// getConsistency proves that the tree of size from is a prefix of the tree of size to (default: published).
func (a *API) getConsistency(c *call) (reply, error) {
	q, err := query(c.req, "from", "to")
	if err != nil {
		return reply{}, err
	}
	v, err := a.view()
	if err != nil {
		return reply{}, err
	}
	defer v.Close()
	head := v.Head()
	from, err := number(q, "from", 0)
	if err != nil || from == 0 {
		return reply{}, malformed("from")
	}
	to, err := number(q, "to", head.Size)
	if err != nil || to > head.Size || from > to {
		return reply{}, malformed("to")
	}
	path, err := v.Consistency(from, to)
	if err != nil {
		return reply{}, logError(err)
	}
	heads := [2]ledger.Checkpoint{{Origin: a.config.LogOrigin, Size: from}, {Origin: a.config.LogOrigin, Size: to}}
	for i := range heads {
		if heads[i].Root, err = v.RootAt(heads[i].Size); err != nil {
			return reply{}, logError(err)
		}
	}
	out := verifier.NewConsistencyProof(heads[0], heads[1], path)
	if to == head.Size {
		out.Checkpoint = string(v.Checkpoint())
	}
	return reply{contentType: mediaJSON, body: a.json(out)}, nil
}

// number reads an optional decimal in its one spelling.
func number(q url.Values, name string, absent uint64) (uint64, error) {
	if !q.Has(name) {
		return absent, nil
	}
	n, err := strconv.ParseUint(q.Get(name), 10, 64)
	if err != nil || n > maxIndex || strconv.FormatUint(n, 10) != q.Get(name) {
		return 0, malformed(name)
	}
	return n, nil
}

// indexOf finds the entry that exactly one of leaf_hash and index names.
func indexOf(v ledger.View, q url.Values) (uint64, error) {
	if q.Has("leaf_hash") == q.Has("index") {
		return 0, malformed("leaf_hash")
	}
	if q.Has("index") {
		return number(q, "index", 0)
	}
	if _, err := ledger.ParseEntryID(q.Get("leaf_hash")); err != nil {
		return 0, malformed("leaf_hash")
	}
	index, err := v.Lookup(q.Get("leaf_hash"))
	if err != nil {
		return 0, logError(err)
	}
	return index, nil
}

func hexes(path []ledger.Hash) []string {
	out := make([]string, len(path))
	for i, h := range path {
		out[i] = h.String()
	}
	return out
}
