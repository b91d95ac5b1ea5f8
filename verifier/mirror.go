package verifier

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/mission-authority/mas/ledger"
)

// A Source returns a file of a mirror by its path below the log's prefix: "checkpoint", "tile/0/000",
// "tile/entries/x001/234.p/5". A file that the mirror does not have is an error that wraps fs.ErrNotExist.
type Source func(path string) ([]byte, error)

// A Mirror is a copy of a log that was found to be consistent with its checkpoint.
type Mirror struct {
	Checkpoint ledger.Checkpoint
	// Scanned says that every entry below Checkpoint.Size was present and is in the tree: the feeds are ground truth.
	Scanned bool
	feeds   map[string][]FeedEntry
	tiles   ledger.TileReader
}

// A FeedEntry is an entry of a feed.
type FeedEntry struct {
	Index uint64
	Leaf  ledger.Hash
}

// Feed returns the entries of a subject in index order. ok is false if the subject was not asked for, or the entries
// were not there to be scanned.
func (m *Mirror) Feed(subject string) (entries []FeedEntry, ok bool) {
	if !m.Scanned {
		return nil, false
	}
	entries, ok = m.feeds[subject]
	return entries, ok
}

// Extends checks that the mirrored tree extends the tree of an earlier (or equal) head. The error wraps
// ledger.ErrProof if it does not.
func (m *Mirror) Extends(size uint64, root ledger.Hash) error {
	if size > m.Checkpoint.Size {
		return fmt.Errorf("verifier: the mirror ends at size %d, before %d", m.Checkpoint.Size, size)
	}
	path, err := ledger.ConsistencyPath(size, m.Checkpoint.Size, m.tiles)
	if err != nil {
		return fmt.Errorf("verifier: reading the mirror: %w", err)
	}
	return ledger.VerifyConsistency(size, m.Checkpoint.Size, path, root, m.Checkpoint.Root)
}

// A LogReport is the result of checking a mirror.
type LogReport struct {
	Origin     string      `json:"origin"`
	Size       uint64      `json:"size"`
	Root       ledger.Hash `json:"-"`
	Scanned    uint64      `json:"entries_rehashed"`
	Signatures uint64      `json:"signatures_verified"`
	Unknown    uint64      `json:"unknown_signers"`
	Epochs     uint64      `json:"feed_epochs_computed"` // feed epochs that were computed again and are the log's
	// Admission is what the log's own registration policy says; nil if it was not asked for.
	Admission *AdmissionReport `json:"admission,omitempty"`
	Findings  Findings         `json:"findings"`
	Mirror    *Mirror          `json:"-"` // nil if the checkpoint or the tree is wrong
}

// LogOptions say how far to check a mirror.
type LogOptions struct {
	Subjects   []string // feeds to collect
	Signatures bool     // also verify the signature of every statement by a known issuer
	Epochs     bool     // also compute every feed epoch again; needs some 400 octets of memory a subject
	// Admission decides for every entry again whether the log had to take it. The mirror must have the policy documents
	// (PolicyPath) and the entries.
	Admission bool
}

// EpochPath is where a mirror keeps the body of the feed epoch that is the entry at an index.
func EpochPath(index uint64) string { return fmt.Sprintf("feed-epochs/%d", index) }

// VerifyLog rehashes a mirror of a log from its entries, or from its level 0 tiles where the entries are not there,
// and compares every tile and the root with its signed checkpoint.
func VerifyLog(source Source, trust *Trust, opts LogOptions) *LogReport {
	r := &LogReport{Origin: trust.Origin}
	text, err := source("checkpoint")
	if err != nil {
		r.Findings.add(Audit, "checkpoint_missing", "checkpoint", "the mirror has no checkpoint")
		return r
	}
	cp, fs := VerifyCheckpoint(text, &trust.Anchor)
	r.Findings = append(r.Findings, fs...)
	if fs.Outcome() != OK {
		return r
	}
	r.Size, r.Root = cp.Size, cp.Root
	s := scan{source: source, trust: trust, opts: opts, report: r, edge: ledger.NewEdge(), feeds: map[string][]FeedEntry{}}
	for _, subject := range opts.Subjects {
		s.feeds[subject] = nil
	}
	if opts.Epochs {
		if s.audit, err = ledger.NewFeedAudit(trust.Issuer, trust.Origin); err != nil {
			r.Findings.add(Audit, "issuer_unusable", "", "no subjects can lie under the issuer")
		}
	}
	if opts.Admission {
		r.Admission = new(AdmissionReport)
		s.replay = &replay{source: source, trust: trust, report: r}
	}
	if !s.run(cp.Size) {
		return r
	}
	if got := s.edge.Root(); got != cp.Root {
		r.Findings.add(Integrity, "root_mismatch", "checkpoint", "the entries hash to root %s, the checkpoint says %s",
			got, cp.Root)
		return r
	}
	r.Mirror = &Mirror{Checkpoint: cp, Scanned: r.Scanned == cp.Size, feeds: s.feeds, tiles: s.readTile}
	return r
}

// A scan walks a mirror once, from entry 0 to the end.
type scan struct {
	source Source
	trust  *Trust
	opts   LogOptions
	report *LogReport
	edge   *ledger.Edge
	feeds  map[string][]FeedEntry
	audit  *ledger.FeedAudit // nil if epochs are not computed
	unread uint64            // epochs whose body the mirror does not have
	replay *replay           // nil: admission was not asked for
}

// run appends every leaf to the edge. It returns false if it could not go on.
func (s *scan) run(size uint64) bool {
	var missing uint64
	for first := uint64(0); first < size; first += ledger.TileWidth {
		width := int(min(size-first, ledger.TileWidth))
		leaves, here, ok := s.leaves(first, width)
		if !ok {
			return false
		}
		if !here {
			missing += uint64(width)
			s.audit = nil // what the feeds hold is unknown
		}
		for _, leaf := range leaves {
			for _, full := range s.edge.Append(leaf) {
				s.compare(ledger.Tile{Level: full.Level, Index: full.Index, Width: ledger.TileWidth}, full.Hashes)
			}
		}
	}
	for level := range s.edge.Levels() {
		if p := s.edge.Partial(level); len(p) > 0 {
			t := ledger.Tile{Level: level, Index: size >> (8 * level) / ledger.TileWidth, Width: len(p)}
			s.compare(t, ledger.MarshalTile(p))
		}
	}
	s.concludeEpochs()
	if missing > 0 {
		if r := s.report.Admission; r != nil {
			r.Undecided = size - r.Admitted - r.NotAdmitted
		}
		s.report.Findings.add(Audit, "entries_absent", "tile/entries",
			"%d of %d entries are not in the mirror; their leaf hashes are the log's word", missing, size)
	}
	return true
}

// leaves returns the leaf hashes of one bundle: computed from its entries if the mirror has them, else read from the
// level 0 tile.
func (s *scan) leaves(first uint64, width int) (leaves []ledger.Hash, entries, ok bool) {
	fs := &s.report.Findings
	bundle := ledger.Tile{Entries: true, Index: first / ledger.TileWidth, Width: width}
	data, err := s.source(bundle.Path())
	switch {
	case err == nil:
		list, err := ledger.ParseBundle(data, width)
		if err != nil {
			fs.add(Integrity, "bundle_malformed", bundle.Path(), "not an entry bundle of %d entries", width)
			return nil, false, false
		}
		for i, entry := range list {
			leaf := ledger.HashLeaf(entry)
			leaves = append(leaves, leaf)
			s.entry(first+uint64(i), leaf, entry)
		}
		return leaves, true, true
	case !isMissing(err):
		fs.add(Audit, "mirror_unreadable", bundle.Path(), "the file cannot be read")
		return nil, false, false
	}
	leaves, err = s.readTile(0, first/ledger.TileWidth, width)
	if err != nil {
		fs.add(Audit, "tile_missing", ledger.Tile{Index: first / ledger.TileWidth, Width: width}.Path(),
			"neither the entries nor their hashes are in the mirror")
		return nil, false, false
	}
	return leaves, false, true
}

// entry looks at one entry whose leaf hash has just been computed.
func (s *scan) entry(index uint64, leaf ledger.Hash, raw []byte) {
	r := s.report
	r.Scanned++
	st, err := ledger.ParseStatement(raw)
	if err != nil {
		r.Findings.add(Integrity, "statement_malformed", fmt.Sprintf("entry %d", index), "not a signed statement")
		return
	}
	if list, wanted := s.feeds[st.Subject]; wanted {
		s.feeds[st.Subject] = append(list, FeedEntry{index, leaf})
	}
	s.epoch(index, leaf, st)
	if index == 0 && st.ContentType != ledger.ContentTypeGenesis {
		r.Findings.add(Note, "genesis_missing", "entry 0", "the log does not begin with a genesis statement of ours")
	}
	admitted := s.replay != nil && s.replay.next(index, st)
	if !s.opts.Signatures {
		return
	}
	ring, _ := s.trust.statementKeys(st.Issuer)
	key, ok := ring.Find(st.KeyID)
	if !ok {
		r.Unknown++
		return
	}
	// A key id that is a thumbprint names one key: the replay has verified the signature under it.
	if admitted && len(key.KeyID) == 0 {
		r.Signatures++
		return
	}
	if err := st.Verify(key.Public); err != nil {
		r.Findings.add(Integrity, "statement_signature", fmt.Sprintf("entry %d", index),
			"the statement's signature does not verify")
		return
	}
	r.Signatures++
}

// epoch shows an entry to the audit of the feed epochs.
func (s *scan) epoch(index uint64, leaf ledger.Hash, st *ledger.Statement) {
	if s.audit == nil {
		return
	}
	var body []byte
	if s.audit.IsEpoch(st) {
		var err error
		if body, err = s.source(EpochPath(index)); err != nil {
			s.unread++
			body = nil
		}
	}
	if err := s.audit.Add(st, leaf, body); err != nil {
		s.report.Findings.add(Integrity, "epoch_wrong", fmt.Sprintf("entry %d", index),
			"the feed epoch is not what the entries before it give: %v", err)
	}
}

func (s *scan) concludeEpochs() {
	if s.audit == nil {
		return
	}
	s.report.Epochs, _, _ = s.audit.Epochs()
	if s.unread > 0 {
		s.report.Findings.add(Note, "epochs_unread", "feed-epochs", "%d feed epochs are not in the mirror and were passed over",
			s.unread)
	}
}

// compare checks a tile of the mirror against the one that the leaves give. A mirror need not have every tile.
func (s *scan) compare(t ledger.Tile, want []byte) {
	got, err := s.source(t.Path())
	switch {
	case err != nil && !isMissing(err):
		s.report.Findings.add(Audit, "mirror_unreadable", t.Path(), "the file cannot be read")
	case err == nil && !bytes.Equal(got, want):
		s.report.Findings.add(Integrity, "tile_mismatch", t.Path(), "the tile is not what the entries hash to")
	}
}

func (s *scan) readTile(level int, index uint64, width int) ([]ledger.Hash, error) {
	data, err := s.source(ledger.Tile{Level: level, Index: index, Width: width}.Path())
	if err != nil {
		return nil, err
	}
	return ledger.ParseTile(data, width)
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
