package verifier

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// A FeedReport says what a log is shown to hold about a subject, or about the subjects of a range, as of a feed epoch.
type FeedReport struct {
	Issuer  string       `json:"issuer"`
	Subject string       `json:"subject,omitempty"`
	Log     *HeadReport  `json:"log,omitempty"`     // the verified head
	Epoch   *EpochReport `json:"epoch,omitempty"`   // the verified epoch
	Present *bool        `json:"present,omitempty"` // whether the subject has entries below the covered size
	Feed    *FeedSize    `json:"feed,omitempty"`    // if it has
	Entry   *FeedPlace   `json:"entry,omitempty"`   // if the place of one entry is shown

	Completeness Completeness `json:"completeness,omitempty"` // of a listing or of a population
	AsOf         uint64       `json:"as_of,omitempty"`        // covered size, if complete
	Population   []FeedSize   `json:"population,omitempty"`   // in the order of the map
	Beyond       uint64       `json:"beyond,omitempty"`       // entries of a listing behind the covered size
	Findings     Findings     `json:"findings"`
	NotClaimed   []Claim      `json:"not_claimed"`
	Outcome      Outcome      `json:"outcome"`
}

// An EpochReport is a verified feed epoch.
type EpochReport struct {
	Number      uint64 `json:"number"`
	Index       uint64 `json:"index"`
	CoveredSize uint64 `json:"covered_size"`
	MapRoot     string `json:"map_root"`
	Subjects    uint64 `json:"subjects"`
	Missions    uint64 `json:"missions"`
}

// A FeedSize is what the map of an epoch says about a feed.
type FeedSize struct {
	Subject string `json:"subject"`
	Count   uint64 `json:"count"`
	Last    uint64 `json:"last_index"`
	Root    string `json:"feed_root"`
}

// A FeedPlace is the place of an entry in its feed.
type FeedPlace struct {
	EntryID string `json:"entry_id"`
	Seq     uint64 `json:"feed_seq"`
}

func feedSize(s ledger.FeedSummary) FeedSize {
	return FeedSize{s.Subject, s.Count, s.Last, s.Root.String()}
}

// VerifyFeedProof checks a feed proof of the log that trust is about (ledger.FeedProof): the epoch's place in the log,
// its signature, and the proof under its map root.
func VerifyFeedProof(data []byte, trust *Trust) *FeedReport {
	r := newFeedReport(trust)
	if p := r.proof(data, trust); p != nil {
		r.read(p, trust)
	}
	return r.conclude()
}

// VerifyAbsence is VerifyFeedProof for somebody who was told that the log has nothing about a subject: a feed that is
// there, or a proof of something else, is a finding.
func VerifyAbsence(data []byte, trust *Trust, subject string) *FeedReport {
	r := newFeedReport(trust)
	p := r.proof(data, trust)
	if p == nil {
		return r.conclude()
	}
	if p.Subject != subject {
		r.Findings.add(Integrity, "other_subject", "", "the proof is about %.200q", p.Subject)
		return r.conclude()
	}
	r.read(p, trust)
	if r.Present != nil && *r.Present {
		r.Findings.add(Integrity, "subject_present", subject, "the log has %d entries about it", r.Feed.Count)
	}
	return r.conclude()
}

// VerifyPopulation checks the pages of a population, in order: each against the same epoch, and that together they
// leave out nothing of a kind of subject ("missions"), or, if kind is empty, of the map.
func VerifyPopulation(pages [][]byte, trust *Trust, kind ledger.SubjectKind) *FeedReport {
	r := newFeedReport(trust)
	r.Completeness = NotAnchored
	first, last := ledger.FeedKindRange(kind)
	if kind == "" {
		last = ledger.Hash(bytes.Repeat([]byte{0xff}, ledger.HashSize))
	}
	var epoch *EpochReport
	next, end := first, false
	for i, data := range pages {
		p := r.proof(data, trust)
		if p == nil {
			return r.conclude()
		}
		where := fmt.Sprintf("page %d", i+1)
		switch {
		case p.Subject != "":
			r.Findings.add(Integrity, "not_a_population", where, "the proof is about one subject")
		case epoch != nil && *epoch != *r.Epoch:
			r.Findings.add(Audit, "population_moved", where, "the pages are of different epochs")
		case end || p.First != next:
			r.Findings.add(Audit, "population_gap", where, "the page does not begin where the one before ended")
		default:
			r.read(p, trust)
		}
		epoch = r.Epoch
		var err error
		next, err = p.Last.Next()
		end = err != nil || p.Last == last
	}
	if r.Completeness = Incomplete; !end {
		r.Findings.add(Audit, "population_gap", "", "the pages do not reach the end of the range")
	} else if len(r.Findings) == 0 {
		r.Completeness, r.AsOf = Complete, r.Epoch.CoveredSize
		r.checkPopulation(kind)
	}
	return r.conclude()
}

// checkPopulation compares a whole population with the number in the epoch.
func (r *FeedReport) checkPopulation(kind ledger.SubjectKind) {
	want, known := r.Epoch.Subjects, kind == ""
	if kind == ledger.SubjectMissions {
		want, known = r.Epoch.Missions, true
	}
	if known && want != uint64(len(r.Population)) {
		r.Findings.add(Integrity, "population_count", "", "the epoch counts %d, its map has %d", want, len(r.Population))
	}
}

func newFeedReport(trust *Trust) *FeedReport {
	return &FeedReport{Issuer: trust.Issuer, Findings: Findings{}, NotClaimed: LogClaims()}
}

func (r *FeedReport) conclude() *FeedReport {
	r.Outcome = r.Findings.Outcome()
	return r
}

// proof verifies everything of a feed proof but what it says. It returns nil if something is wrong.
func (r *FeedReport) proof(data []byte, trust *Trust) *ledger.FeedProof {
	p, err := ledger.ParseFeedProof(data)
	if err != nil {
		r.Findings.add(Integrity, "feed_proof_malformed", "", "not a feed proof in its one encoding")
		return nil
	}
	head, fs := VerifyCheckpoint(p.Checkpoint, &trust.Anchor)
	if r.Findings = append(r.Findings, fs...); fs.Outcome() != OK {
		return nil
	}
	r.Log = headReport(head)
	e := &RecordReport{}
	raw, receipts, err := ledger.DetachReceipts(p.Statement)
	if err != nil || len(receipts) != 1 || !e.parse(raw) {
		r.Findings.add(Integrity, "statement_malformed", "", "not a transparent statement with one receipt")
		return nil
	}
	e.checkReceipt(receipts[0], trust)
	e.checkSignature(trust)
	e.checkHead(head, trust)
	epoch := e.epoch(p.Epoch, trust)
	r.Findings = append(r.Findings, e.Findings...)
	if epoch == nil || r.Findings.Outcome() != OK {
		return nil
	}
	r.Epoch = epochReport(epoch, e.receipt.Index)
	return p
}

func epochReport(e *ledger.FeedEpoch, index uint64) *EpochReport {
	return &EpochReport{e.Number, index, e.CoveredSize, e.MapRoot.String(), e.Subjects, e.Missions}
}

// checkHead holds a proven receipt against a head of the log that trust is about.
func (r *RecordReport) checkHead(head ledger.Checkpoint, trust *Trust) {
	if !r.proven {
		return
	}
	switch {
	case r.receipt.Issuer != trust.Issuer:
		r.Findings.add(Integrity, "receipt_log", r.EntryID, "the receipt is by the log of %.200q", r.receipt.Issuer)
	case r.receipt.Size != head.Size:
		r.Findings.add(Integrity, "receipt_head", r.EntryID, "the receipt is for size %d, the checkpoint for size %d",
			r.receipt.Size, head.Size)
	case r.root != head.Root:
		r.Findings.add(Integrity, "log_forked", r.EntryID,
			"receipt and checkpoint have different roots for size %d: the log signed two trees", head.Size)
	}
}

// epoch reads the feed epoch that the statement commits to.
func (r *RecordReport) epoch(body []byte, trust *Trust) *ledger.FeedEpoch {
	e, err := ledger.OpenFeedEpoch(r.statement, body, trust.Issuer)
	switch {
	case err != nil:
		r.Findings.add(Integrity, "epoch_malformed", r.EntryID, "the statement is not that of the feed epoch")
		return nil
	case e.Origin != trust.Origin:
		r.Findings.add(Integrity, "epoch_log", r.EntryID, "the epoch is of the log %.200q", e.Origin)
		return nil
	case r.proven && e.CoveredSize > r.receipt.Index:
		r.Findings.add(Integrity, "epoch_ahead", r.EntryID, "the epoch, entry %d, covers %d entries", r.receipt.Index,
			e.CoveredSize)
		return nil
	}
	return e
}

// read verifies what the proof says under the verified epoch.
func (r *FeedReport) read(p *ledger.FeedProof, trust *Trust) {
	root, err := ledger.ParseEntryID(r.Epoch.MapRoot)
	if err != nil {
		return
	}
	m, err := ledger.OpenMapProof(p.Map, trust.Issuer, root)
	if err != nil {
		r.Findings.add(Integrity, "map_proof_invalid", "", "the proof is not of the epoch's map")
		return
	}
	if p.Subject == "" {
		list, err := m.Range(p.First, p.Last)
		if err != nil {
			r.Findings.add(Integrity, "population_hidden", "", "the page hides subjects of its range")
			return
		}
		for _, s := range list {
			r.Population = append(r.Population, feedSize(s))
		}
		return
	}
	r.Subject = p.Subject
	s, present, err := m.Lookup(p.Subject)
	if err != nil {
		r.Findings.add(Integrity, "map_proof_other", p.Subject, "the proof says nothing about the subject")
		return
	}
	r.Present = &present
	if present {
		r.Feed = new(feedSize(s))
	}
	if p.Entry == nil {
		return
	}
	if !present || p.Entry.Verify(s) != nil {
		r.Findings.add(Integrity, "feed_inclusion_invalid", p.Subject, "the entry is not shown to be in the feed")
		return
	}
	r.Entry = &FeedPlace{ledger.EntryID(p.Entry.Leaf), p.Entry.Seq}
}

// A feedListing is the answer of /v1/feeds/{sub}, all pages in one.
type feedListing struct {
	Subject    string        `json:"sub"`
	EpochProof string        `json:"epoch_proof,omitempty"`
	Items      []listedEntry `json:"items"`
	Next       *uint64       `json:"next,omitempty"`
}

type listedEntry struct {
	Seq       uint64 `json:"feed_seq"`
	LeafIndex uint64 `json:"leaf_index"`
	EntryID   string `json:"entry_id"`
}

var errListing = errors.New("verifier: not a feed listing")

// VerifyFeed checks the listing of a whole feed, the answer of /v1/feeds/{sub} with all pages joined, against the epoch
// proof in it and, if there is one, a scanned mirror: entries in log order and numbered without gap, and no other ones
// below the covered size. Entries behind it are counted as Beyond.
func VerifyFeed(listing []byte, trust *Trust, mirror *Mirror) (*FeedReport, error) {
	var f feedListing
	if err := mission.DecodeOpen(listing, &f); err != nil {
		return nil, fmt.Errorf("%w: %w", errListing, err)
	}
	r := newFeedReport(trust)
	r.Subject, r.Completeness = f.Subject, NotAnchored
	leaves := r.items(&f)
	if f.EpochProof == "" {
		r.Findings.add(Audit, "feed_unproven", f.Subject, "the listing has no epoch proof")
		return r.conclude(), nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(f.EpochProof)
	if err != nil {
		return nil, fmt.Errorf("%w: epoch_proof", errListing)
	}
	p := r.proof(raw, trust)
	if p == nil {
		return r.conclude(), nil
	}
	if p.Subject != f.Subject {
		r.Findings.add(Integrity, "other_subject", f.Subject, "the epoch proof is about another subject")
		return r.conclude(), nil
	}
	r.read(p, trust)
	if r.Completeness = Incomplete; len(r.Findings) == 0 {
		r.covered(&f, leaves)
	}
	if mirror != nil {
		r.scanned(&f, leaves, mirror)
	}
	if len(r.Findings) == 0 {
		r.Completeness, r.AsOf = Complete, r.Epoch.CoveredSize
	}
	return r.conclude(), nil
}

// items checks the order of a listing.
func (r *FeedReport) items(f *feedListing) []ledger.Hash {
	if f.Next != nil {
		r.Findings.add(Audit, "feed_gap", f.Subject, "the listing goes on after entry %d", *f.Next)
	}
	leaves := make([]ledger.Hash, 0, len(f.Items))
	for i, item := range f.Items {
		leaf, err := ledger.ParseEntryID(item.EntryID)
		if err != nil {
			r.Findings.add(Integrity, "feed_malformed", f.Subject, "entry id of item %d", i)
		}
		leaves = append(leaves, leaf)
		switch {
		case item.Seq != uint64(i):
			r.Findings.add(Audit, "feed_gap", f.Subject, "item %d is entry number %d", i, item.Seq)
		case i > 0 && item.LeafIndex <= f.Items[i-1].LeafIndex:
			r.Findings.add(Integrity, "feed_order", f.Subject, "entry %d is listed behind entry %d", item.LeafIndex,
				f.Items[i-1].LeafIndex)
		}
	}
	return leaves
}

// covered holds the entries below the covered size against the verified feed.
func (r *FeedReport) covered(f *feedListing, leaves []ledger.Hash) {
	n := slices.IndexFunc(f.Items, func(e listedEntry) bool { return e.LeafIndex >= r.Epoch.CoveredSize })
	if n < 0 {
		n = len(f.Items)
	}
	r.Beyond = uint64(len(f.Items) - n)
	var count uint64
	root := ledger.EmptyRoot.String()
	if r.Feed != nil {
		count, root = r.Feed.Count, r.Feed.Root
	}
	switch {
	case uint64(n) < count:
		r.Findings.add(Integrity, "feed_cut", f.Subject, "the feed has %d entries below size %d, the listing has %d", count,
			r.Epoch.CoveredSize, n)
	case uint64(n) > count || ledger.FeedRoot(leaves[:n]).String() != root:
		r.Findings.add(Integrity, "feed_mismatch", f.Subject, "the listing has other entries than the feed")
	}
}

// scanned holds the listing against a scan of the log.
func (r *FeedReport) scanned(f *feedListing, leaves []ledger.Hash, m *Mirror) {
	feed, ok := m.Feed(f.Subject)
	if !ok {
		r.Findings.add(Audit, "feed_not_scanned", f.Subject, "the mirror was not scanned for this feed")
		return
	}
	for i, e := range feed {
		if i >= len(leaves) || leaves[i] != e.Leaf || f.Items[i].LeafIndex != e.Index {
			r.Findings.add(Integrity, "feed_mismatch", f.Subject, "entry %d of the log is not number %d of the listing", e.Index, i)
			return
		}
	}
}

// FeedSubject returns the subject that a listing says it is about, unchecked.
func FeedSubject(listing []byte) (string, error) {
	var f feedListing
	if err := mission.DecodeOpen(listing, &f); err != nil {
		return "", fmt.Errorf("%w: %w", errListing, err)
	}
	return f.Subject, nil
}
