package sequencer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"

	"github.com/mission-authority/mas/ledger"
	"golang.org/x/mod/sumdb/note"
)

// Codes of findings, beside those of the integrity latch. They are stable.
const (
	CodeEntryMissing   = "entry_missing"      // no entry at an index below the size
	CodeEntryInvalid   = "entry_invalid"      // an entry is not a Signed Statement
	CodeGenesisInvalid = "genesis_invalid"    // entry 0 does not begin this log
	CodeIndexMissing   = "index_missing"      // an index key of an entry is missing
	CodeExtraKey       = "extra_key"          // a key that nothing in the log implies
	CodeFrameInvalid   = "frame_invalid"      // a frame of the commit point is damaged or does not follow the one before
	CodeFrameMismatch  = "frame_mismatch"     // the queryable store has something else than the commit point
	CodeDifference     = "rebuilt_difference" // a row is not what the evidence implies
	CodeUnreadable     = "unreadable"         // the store answered a read with an error
)

// maxFindings is how many findings a Report lists; the others are counted.
const maxFindings = 1000

// FsckConfig is what Fsck works on: a store that nobody writes to.
type FsckConfig struct {
	Snapshot  ledger.Snapshot // of the queryable store
	Head      ledger.Head     // of the commit point
	Origin    string
	Verifiers []note.Verifier

	// Frames yields the batches of the commit point, oldest first and from the beginning. Nil if there are none to read:
	// then rows are held against their hash rows and feeds only.
	Frames iter.Seq2[*ledger.Batch, error]
	// Vault opens the bodies. Nil if it is not available: bodies are counted only, and Rows is not called.
	Vault ledger.Vault
	// Rows may be nil.
	Rows Rebuild
}

// Evidence is an entry with its body.
type Evidence struct {
	ledger.LoggedEntry
	Parsed *ledger.Statement
	Body   []byte // nil if it is not stored here, or Erased
	Erased bool
}

// A Rebuild derives rows from the evidence alone, in log order: it returns the value of each row by key, and which
// keys it speaks for. A stored row that it speaks for and does not return is a difference too.
type Rebuild func(evidence iter.Seq2[Evidence, error]) (rows map[string][]byte, speaksFor func(key string) bool, err error)

// A Finding is one thing that is wrong.
type Finding struct {
	Code   string
	Detail string
}

// A Report is what Fsck found and what it looked at.
type Report struct {
	Findings []Finding      // the first 1,000
	Counts   map[string]int // of all findings, by code

	Entries, Tiles, Groups, Rows, Bodies, Erased, Frames uint64
	Rebuilt                                              uint64 // rows that Rows returned
	Differences                                          uint64 // of stored rows and those that Rows returned
}

// Clean reports whether nothing was found.
func (r *Report) Clean() bool { return len(r.Counts) == 0 }

// Fsck reads everything in a store and holds it against everything else: entries against tiles, root and checkpoint;
// index, feed and commit keys against entries, in both directions; rows against hash rows; bodies against their
// digests; all of it against the frames of the commit point, whose heads are recomputed one by one, so that each
// checkpoint is consistent with the next; and rows against what the evidence implies. It writes nothing.
//
// Damage is reported, not returned: the error is that of ctx. It takes some 100 octets of memory a row if Frames is
// set, and what Rows needs.
func Fsck(ctx context.Context, cfg FsckConfig) (*Report, error) {
	f := &fsck{FsckConfig: cfg, ctx: ctx, report: &Report{Counts: map[string]int{}}}
	f.head()
	for _, pass := range []func(){f.entries, f.commitRows, f.extraKeys, f.bodies, f.rows, f.frames, f.rebuild} {
		if err := ctx.Err(); err != nil {
			return f.report, err
		}
		pass()
	}
	return f.report, ctx.Err()
}

// fsck is one run.
type fsck struct {
	FsckConfig
	ctx    context.Context
	report *Report
	edge   *ledger.Edge // after entries: of all entries; nil if one is missing
}

func (f *fsck) found(code, format string, args ...any) {
	if len(f.report.Findings) < maxFindings {
		f.report.Findings = append(f.report.Findings, Finding{code, fmt.Sprintf(format, args...)})
	}
	f.report.Counts[code]++
}

// get reads a key; an error other than absence is a finding, and then the key counts as absent.
func (f *fsck) get(key []byte) ([]byte, bool) {
	value, err := f.Snapshot.Get(key)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		f.found(CodeUnreadable, "key %q: %v", key, err)
	}
	return value, err == nil
}

// all yields the keys with a prefix until ctx ends; an error ends it and is a finding.
func (f *fsck) all(prefix byte) iter.Seq[ledger.KV] {
	return func(yield func(ledger.KV) bool) {
		for kv, err := range f.Snapshot.Iterate([]byte{prefix}, nil) {
			if err != nil {
				f.found(CodeUnreadable, "keys of kind %q: %v", prefix, err)
				return
			}
			if f.ctx.Err() != nil || !yield(kv) {
				return
			}
		}
	}
}

// head holds the stored head and checkpoint against the head of the commit point.
func (f *fsck) head() {
	value, ok := f.get(ledger.HeadKey())
	if !ok {
		if f.Head.Seq != 0 {
			f.found(CodeHeadMissing, "the commit point is at group %d", f.Head.Seq)
		}
		return
	}
	h, checkpoint, err := ledger.ParseHead(value)
	if err != nil {
		f.found(CodeHeadMismatch, "%v", err)
		return
	}
	if h.Seq != f.Head.Seq || h.Size != f.Head.Size || h.Root != f.Head.Root {
		f.found(CodeHeadMismatch, "the store is at group %d of size %d, the commit point at %d of size %d", h.Seq, h.Size,
			f.Head.Seq, f.Head.Size)
	}
	f.checkpoint(h, checkpoint)
}

func (f *fsck) checkpoint(h ledger.Head, checkpoint []byte) {
	c, err := ledger.OpenCheckpoint(checkpoint, f.Origin, f.Verifiers...)
	if err != nil {
		f.found(CodeCheckpoint, "group %d: %v", h.Seq, err)
	} else if c.Size != h.Size || c.Root != h.Root {
		f.found(CodeCheckpoint, "group %d: the checkpoint is for size %d, the head for %d", h.Seq, c.Size, h.Size)
	}
}

// entries rehashes every entry against tiles and root and looks for its index keys.
func (f *fsck) entries() {
	f.edge = ledger.NewEdge()
	next := uint64(0)
	for kv := range f.all(ledger.PrefixEntry) {
		index, ok := indexOf(kv.Key)
		if !ok || index >= f.Head.Size {
			f.found(CodeExtraKey, "entry key %q", kv.Key)
			continue
		}
		for ; next < index; next++ {
			f.found(CodeEntryMissing, "entry %d", next)
			f.edge = nil // nothing behind it can be hashed
		}
		next++
		f.entry(index, kv.Value)
	}
	for ; next < f.Head.Size && f.ctx.Err() == nil; next++ {
		f.found(CodeEntryMissing, "entry %d", next)
		f.edge = nil
	}
	if f.edge != nil && f.ctx.Err() == nil && f.Head.Seq != 0 && f.edge.Root() != f.Head.Root {
		f.found(CodeRootMismatch, "the entries hash to %s, the head is %s", f.edge.Root(), f.Head.Root)
	}
}

// indexOf reads a key of a prefix and an index.
func indexOf(key []byte) (uint64, bool) {
	if len(key) != 9 {
		return 0, false
	}
	index, err := ledger.ParseIndex(key[1:])
	return index, err == nil
}

func (f *fsck) entry(index uint64, raw []byte) {
	f.report.Entries++
	leaf := ledger.HashLeaf(raw)
	if f.edge != nil {
		for _, t := range f.edge.Append(leaf) {
			f.report.Tiles++
			f.same(CodeTileMismatch, ledger.TileKey(t.Level, t.Index), t.Hashes)
		}
	}
	f.same(CodeIndexMismatch, ledger.LeafKey(leaf), ledger.MarshalIndex(index))
	st, err := ledger.ParseStatement(raw)
	if err != nil {
		f.found(CodeEntryInvalid, "entry %d: %v", index, err)
		return
	}
	f.same(CodeIndexMismatch, ledger.DedupKeyOf(ledger.DedupKey(st)), ledger.MarshalIndex(index))
	if marks, ok := f.get(ledger.FeedKey(st.Subject, index)); !ok {
		f.found(CodeIndexMissing, "feed key of entry %d", index)
	} else if len(marks)%ledger.FeedMarkSize != 0 {
		f.found(CodeIndexMismatch, "feed key of entry %d carries %d octets", index, len(marks))
	}
	if index == 0 {
		f.genesis(st)
	}
}

// same holds a stored value against what it has to be.
func (f *fsck) same(code string, key, want []byte) {
	switch got, ok := f.get(key); {
	case !ok && code == CodeIndexMismatch:
		f.found(CodeIndexMissing, "key %q", key)
	case !ok:
		f.found(code, "key %q is missing", key)
	case !bytes.Equal(got, want):
		f.found(code, "key %q", key)
	}
}

// genesis checks that entry 0 begins the log of this origin, as far as its body can be read.
func (f *fsck) genesis(st *ledger.Statement) {
	if st.ContentType != ledger.ContentTypeGenesis {
		f.found(CodeGenesisInvalid, "entry 0 is of type %s", st.ContentType)
		return
	}
	body, _, ok := f.body(st.Digest)
	if !ok || body == nil {
		return // a body that does not open is a finding of its own
	}
	if g, err := ledger.OpenGenesis(st.Raw, body); err != nil {
		f.found(CodeGenesisInvalid, "%v", err)
	} else if g.Origin != f.Origin {
		f.found(CodeGenesisInvalid, "entry 0 begins the log %q", g.Origin)
	}
}

// commitRows walks the commit rows: they cover the entries without gap or overlap, and neither numbers nor times go
// back.
func (f *fsck) commitRows() {
	var last ledger.CommitRow
	for kv := range f.all(ledger.PrefixCommit) {
		row, err := parseCommit(kv)
		if err != nil {
			f.found(CodeCommitMismatch, "%v", err)
			continue
		}
		f.report.Groups++
		if row.First != last.First+last.Count || row.Seq <= last.Seq || row.At.Before(last.At) {
			f.found(CodeCommitMismatch, "the group at entry %d does not follow that at %d", row.First, last.First)
		}
		last = row
	}
	if f.ctx.Err() == nil && last.First+last.Count != f.Head.Size {
		f.found(CodeCommitMismatch, "the groups end at %d, the size is %d", last.First+last.Count, f.Head.Size)
	}
}

// extraKeys counts the keys that entries imply. Those that must be there were looked for; more than those are too many.
func (f *fsck) extraKeys() {
	tiles := uint64(0)
	for level := range 7 {
		tiles += fullTiles(f.Head.Size, level)
	}
	for prefix, want := range map[byte]uint64{
		ledger.PrefixDedup: f.Head.Size, ledger.PrefixLeaf: f.Head.Size, ledger.PrefixFeed: f.Head.Size,
		ledger.PrefixTile: tiles,
	} {
		n := uint64(0)
		for range f.all(prefix) {
			n++
		}
		if n > want {
			f.found(CodeExtraKey, "%d keys of kind %q, at most %d belong to entries", n, prefix, want)
		}
	}
}

// bodies opens every sealed body.
func (f *fsck) bodies() {
	for kv := range f.all(ledger.PrefixBody) {
		if len(kv.Key) != 1+ledger.HashSize {
			f.found(CodeExtraKey, "body key %q", kv.Key)
			continue
		}
		f.report.Bodies++
		if f.Vault == nil {
			continue
		}
		switch _, err := f.Vault.Open(ledger.Hash(kv.Key[1:]), kv.Value); {
		case errors.Is(err, ledger.ErrErased):
			f.report.Erased++
		case err != nil:
			f.found(CodeBodyMismatch, "body %x: %v", kv.Key[1:], err)
		}
	}
}

// body returns an opened body: nil if it is not stored or erased; ok is false if it is there and does not open.
func (f *fsck) body(digest ledger.Hash) (body []byte, erased, ok bool) {
	sealed, stored := f.get(ledger.BodyKey(digest))
	if !stored || f.Vault == nil {
		return nil, false, true
	}
	body, err := f.Vault.Open(digest, sealed)
	if errors.Is(err, ledger.ErrErased) {
		return nil, true, true
	}
	return body, false, err == nil
}

// rebuild has the rows derived from the evidence and compares them with the stored ones.
func (f *fsck) rebuild() {
	if f.Rows == nil || f.Vault == nil {
		return
	}
	want, speaksFor, err := f.Rows(f.evidence())
	if err != nil {
		f.found(CodeDifference, "rows cannot be derived: %v", err)
		f.report.Differences++
		return
	}
	f.report.Rebuilt = uint64(len(want))
	missing := maps.Clone(want)
	differs := func(key, how string) {
		f.report.Differences++
		f.found(CodeDifference, "row %q %s", key, how)
	}
	for kv := range f.all(ledger.PrefixRow) {
		key := string(kv.Key[1:])
		value, ok := want[key]
		delete(missing, key)
		row, err := ledger.ParseRow(key, kv.Value)
		switch {
		case !ok && speaksFor(key):
			differs(key, "is not implied by any evidence")
		case ok && (err != nil || !bytes.Equal(row.Value, value)):
			differs(key, "is not what the evidence implies")
		}
	}
	for key := range missing {
		differs(key, "is missing")
	}
}

// evidence yields the entries with their bodies, in log order. Damage has been reported before; it is an error here.
func (f *fsck) evidence() iter.Seq2[Evidence, error] {
	return func(yield func(Evidence, error) bool) {
		at, stop := f.times()
		defer stop()
		for kv := range f.all(ledger.PrefixEntry) {
			index, _ := indexOf(kv.Key)
			raw := bytes.Clone(kv.Value)
			st, err := ledger.ParseStatement(raw)
			if err != nil {
				yield(Evidence{}, fmt.Errorf("entry %d: %w: %w", index, ledger.ErrIntegrity, err))
				return
			}
			body, erased, ok := f.body(st.Digest)
			if !ok {
				yield(Evidence{}, fmt.Errorf("body of entry %d: %w", index, ledger.ErrIntegrity))
				return
			}
			e := Evidence{Parsed: st, Body: body, Erased: erased}
			e.LoggedEntry = ledger.LoggedEntry{Index: index, Statement: raw, At: at(index)}
			if !yield(e, nil) {
				return
			}
		}
		if err := f.ctx.Err(); err != nil {
			yield(Evidence{}, err)
		}
	}
}
