package verifier

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"slices"
	"time"

	"github.com/mission-authority/mas/ledger"
)

// BundleOptions say what a bundle is held against.
type BundleOptions struct {
	// Mission is the id of the mission the bundle must be about. Empty: whichever its manifest names.
	Mission string
	// Mirror is a scanned mirror of the same log, if there is one: it shows what the feeds really hold.
	Mirror *Mirror
	// Within is the declared bound between an event and its registration (E9). Zero: not judged.
	Within time.Duration
	// LegacyTyp accepts runtime records whose signature has the record's own media type as typ (evidence.Claims).
	LegacyTyp bool
	// Policy says which witnesses must have cosigned the checkpoint, if there is one.
	Policy *ledger.WitnessPolicy
}

// VerifyBundle checks a bundle of the domain that trust is about: the container against its manifest, the checkpoint,
// every statement with its receipt and body, what each body says, the feeds, and the history of every mission in it.
func VerifyBundle(data []byte, trust *Trust, opts BundleOptions) *BundleReport {
	r := &BundleReport{Issuer: trust.Issuer, Completeness: NotAnchored, Records: []*RecordReport{}, Findings: Findings{}}
	r.NotClaimed = []Claim{notWitnessed, notRestored, notSeparate}
	c := &bundleCheck{BundleReport: r, trust: trust, opts: opts}
	c.run(data)
	if r.Export == nil {
		r.NotClaimed = append(r.NotClaimed, notSigned)
	}
	r.Outcome = r.All().Outcome()
	if r.Outcome == OK && r.Completeness != Complete {
		r.Outcome = Unverifiable
	}
	return r
}

// A bundleCheck is one run of VerifyBundle.
type bundleCheck struct {
	*BundleReport
	trust    *Trust
	opts     BundleOptions
	contents *contents
	head     ledger.Checkpoint
}

func (c *bundleCheck) run(data []byte) {
	c.contents = open(data, &c.Findings)
	if c.contents == nil || !c.checkHead() {
		return
	}
	c.checkQuery()
	c.checkManifest()
	used := map[ledger.Hash]bool{}
	for _, f := range c.contents.statements {
		c.Records = append(c.Records, c.record(f, used))
	}
	slices.SortFunc(c.Records, func(a, b *RecordReport) int { return cmp.Compare(a.position(), b.position()) })
	for digest, f := range c.contents.records {
		if !used[digest] {
			c.Findings.add(Integrity, "record_unreferenced", f.path, "no statement of the bundle commits to the record")
		}
	}
	numbers := feedNumbers{}
	for _, rec := range c.Records {
		numbers.saw(rec)
	}
	c.facts = c.collect()
	for _, rec := range c.Records {
		rec.Verdict = rec.concluded()
	}
	c.checkHistories()
	c.checkComplete()
}

// position orders records by the log; what has no proven index comes last.
func (r *RecordReport) position() uint64 {
	if r.Index == nil {
		return ^uint64(0)
	}
	return *r.Index
}

// checkHead verifies the checkpoint and holds the manifest against it.
func (c *bundleCheck) checkHead() bool {
	m := c.contents.manifest
	if c.contents.checkpoint == nil {
		c.Findings.add(Audit, "checkpoint_missing", pathCheckpoint, "the bundle has no checkpoint")
		return false
	}
	cp, fs := VerifyCheckpoint(c.contents.checkpoint, &c.trust.Anchor)
	c.Findings = append(c.Findings, fs...)
	if fs.Outcome() != OK {
		return false
	}
	c.head, c.Log, c.Completeness = cp, headReport(cp), Incomplete
	if m.Log.Origin != cp.Origin || uint64(m.Log.Size) != cp.Size || m.Log.Root != cp.Root.String() {
		c.Findings.add(Integrity, "manifest_head", pathManifest, "the manifest names another head than the checkpoint")
	}
	if m.Exporter != c.trust.Issuer {
		c.Findings.add(Audit, "exporter_unknown", pathManifest, "the bundle was exported by %.200q, not by %.200q",
			m.Exporter, c.trust.Issuer)
	}
	c.checkWitnesses()
	if c.opts.Mirror != nil {
		c.checkMirror()
	}
	return true
}

// checkMirror holds the head of the bundle against a copy of the log.
func (c *bundleCheck) checkMirror() {
	m := c.opts.Mirror
	if m.Checkpoint.Size < c.head.Size {
		c.Findings.add(Audit, "mirror_older", "", "the mirror ends at size %d, before the bundle", m.Checkpoint.Size)
		return
	}
	switch err := m.Extends(c.head.Size, c.head.Root); {
	case err == nil:
	case !errors.Is(err, ledger.ErrProof):
		c.Findings.add(Audit, "mirror_unreadable", "", "the mirror does not show whether it extends the bundle's head")
	default:
		c.Findings.add(Integrity, "log_forked", "", "the mirror does not extend the bundle's head of size %d", c.head.Size)
	}
}

func (c *bundleCheck) checkQuery() {
	q := c.contents.manifest.Query
	c.Mission = q.Mission
	if c.opts.Mission != "" && q.Mission != c.opts.Mission {
		c.Findings.add(Audit, "other_mission", pathManifest, "the bundle is about %.200q, not about %.200q", q.Mission,
			c.opts.Mission)
	}
	if q.Mission == "" || c.contents.manifest.Exporter != c.trust.Issuer {
		return
	}
	subject, err := ledger.MissionSubject(c.trust.Issuer, q.Mission)
	if err != nil || !slices.Contains(q.Subjects, subject) {
		c.Findings.add(Integrity, "manifest_query", pathManifest, "the query does not cover the mission it names")
	}
}

// record checks one statement with its receipt and its body.
func (c *bundleCheck) record(f file, used map[ledger.Hash]bool) *RecordReport {
	r := &RecordReport{Path: f.path}
	raw, receipts, err := ledger.DetachReceipts(f.data)
	if err != nil {
		r.Findings.add(Integrity, "statement_malformed", f.path, "not a transparent statement in its one encoding")
		return r
	}
	if !r.parse(raw) {
		return r
	}
	if len(receipts) != 1 {
		r.Findings.add(Integrity, "receipt_count", r.EntryID, "a statement of a bundle has one receipt, not %d", len(receipts))
		return r
	}
	r.checkReceipt(receipts[0], c.trust)
	r.checkSignature(c.trust)
	c.checkPlace(r)
	used[r.statement.Digest] = true
	c.checkBody(r)
	return r
}

// checkPlace holds a proven receipt against the head of the bundle and the name of the file.
func (c *bundleCheck) checkPlace(r *RecordReport) {
	if !r.proven {
		return
	}
	switch {
	case r.receipt.Issuer != c.trust.Issuer:
		r.Findings.add(Integrity, "receipt_log", r.EntryID, "the receipt is by the log of %.200q", r.receipt.Issuer)
	case r.receipt.Size != c.head.Size:
		r.Findings.add(Integrity, "receipt_head", r.EntryID, "the receipt is for size %d, the bundle for size %d",
			r.receipt.Size, c.head.Size)
	case r.root != c.head.Root:
		r.Findings.add(Integrity, "log_forked", r.EntryID,
			"receipt and checkpoint have different roots for size %d: the log signed two trees", c.head.Size)
	}
	if r.Path != statementPath(r.receipt.Index, r.statement.Leaf()) {
		r.Findings.add(Integrity, "file_misplaced", r.Path, "the file is not named by its index and entry id")
	}
}

// checkBody finds the body a statement commits to.
func (c *bundleCheck) checkBody(r *RecordReport) {
	digest := r.statement.Digest
	f, ok := c.contents.records[digest]
	switch {
	case ok && sha256.Sum256(f.data) != digest:
		r.Findings.add(Integrity, "record_digest", f.path, "the record is not what the statement commits to")
	case ok:
		r.body = f.data
	case slices.ContainsFunc(c.contents.manifest.Erased, func(e Erasure) bool { return e.EntryID == r.EntryID }):
		r.erased = true // explained when the erasure record has been read
	case slices.ContainsFunc(c.contents.manifest.Gaps, func(g Gap) bool { return g.EntryID == r.EntryID }):
		r.Findings.add(Audit, "evidence_withheld", r.EntryID, "the exporter left the body out")
	default:
		r.Findings.add(Audit, "evidence_missing", r.EntryID, "the body is not in the bundle")
	}
}

// concluded is the verdict on a record of a bundle.
func (r *RecordReport) concluded() Verdict {
	v := verdictOf(r.Findings)
	switch {
	case v == Verified && r.erased:
		return ErasedExplained
	case v == Verified && r.ignored:
		return IgnoredType
	}
	return v
}

// checkComplete decides whether every feed that the bundle means to hold is there to its end.
func (c *bundleCheck) checkComplete() {
	subjects := c.contents.manifest.Query.Subjects
	if len(subjects) == 0 {
		c.Findings.add(Audit, "no_feeds", pathManifest, "the bundle does not claim to hold any feed")
		return
	}
	complete, scanned := true, c.opts.Mirror != nil
	proof := c.openFeeds()
	for _, subject := range subjects {
		ok, byScan := c.checkFeed(subject, proof)
		complete = complete && ok
		scanned = scanned && byScan
	}
	missing := func(f Finding) bool { return f.Class == Audit }
	if !complete || slices.ContainsFunc(c.All(), missing) {
		return
	}
	switch {
	case scanned:
		c.Completeness, c.AsOf, c.By = Complete, c.head.Size, "scan"
	case proof != nil:
		c.Completeness, c.AsOf, c.By = Complete, c.Epoch.CoveredSize, "epoch"
	default:
		c.Completeness, c.AsOf, c.By = Complete, c.head.Size, "log"
	}
}

// checkFeed holds the entries of one subject against what the receipts say about the feed, against the feed epoch, if
// the bundle has a proof under it, and against the mirror, if there is one.
func (c *bundleCheck) checkFeed(subject string, proof *ledger.MapProof) (complete, scanned bool) {
	var have []*RecordReport
	for _, r := range c.Records {
		if r.proven && r.Subject == subject {
			have = append(have, r)
		}
	}
	if c.opts.Mirror != nil {
		if feed, ok := c.opts.Mirror.Feed(subject); ok {
			return c.checkScan(subject, have, feed), true
		}
		c.Findings.add(Audit, "feed_not_scanned", subject, "the mirror was not scanned for this feed")
		return false, false
	}
	for i, r := range have {
		seq, size := r.receipt.FeedSeq, r.receipt.FeedSize
		switch {
		case seq == nil:
			c.Findings.add(Audit, "feed_unnumbered", r.EntryID, "the receipt does not number the entry in its feed")
			return false, false
		case *seq < uint64(i):
			c.Findings.add(Integrity, "feed_contradiction", r.EntryID,
				"the receipt says that the entry is number %d of its feed; at least %d come before it", *seq, i)
			return false, false
		case *seq > uint64(i):
			c.Findings.add(Audit, "feed_gap", subject, "entries %d to %d of the feed are not in the bundle", i, *seq-1)
			return false, false
		case size == nil:
			c.Findings.add(Audit, "feed_end_unproven", subject, "the receipts do not say where the feed ends")
			return false, false
		case *size < uint64(len(have)):
			c.Findings.add(Integrity, "feed_contradiction", r.EntryID,
				"the receipt says that the feed has %d entries; the bundle proves %d", *size, len(have))
			return false, false
		case *size > uint64(len(have)):
			c.Findings.add(Audit, "feed_gap", subject, "the feed has %d entries, the bundle has %d", *size, len(have))
			return false, false
		}
	}
	if proof != nil {
		return c.checkCovered(subject, have, proof), false
	}
	if len(have) == 0 {
		c.Findings.add(Audit, "feed_end_unproven", subject, "nothing shows that the feed is empty")
		return false, false
	}
	return true, false
}

// checkScan compares the entries of a feed with what a scan of the log found, up to the head of the bundle.
func (c *bundleCheck) checkScan(subject string, have []*RecordReport, feed []FeedEntry) bool {
	feed = slices.DeleteFunc(slices.Clone(feed), func(e FeedEntry) bool { return e.Index >= c.head.Size })
	want := map[uint64]ledger.Hash{}
	for _, e := range feed {
		want[e.Index] = e.Leaf
	}
	for _, r := range have {
		if leaf, ok := want[r.receipt.Index]; !ok || leaf != r.statement.Leaf() {
			c.Findings.add(Integrity, "feed_mismatch", r.EntryID, "the log has another entry at index %d", r.receipt.Index)
			return false
		}
		delete(want, r.receipt.Index)
	}
	if len(want) > 0 {
		c.Findings.add(Audit, "feed_gap", subject, "%d of %d entries of the feed are not in the bundle", len(want), len(feed))
		return false
	}
	return true
}
