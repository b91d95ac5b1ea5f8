package verifier

import (
	"encoding/hex"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// A RecordReport says what was found about one piece of evidence: a signed statement, its receipt and, in a bundle, the
// body it commits to.
type RecordReport struct {
	Path        string   `json:"path,omitempty"` // in the bundle
	EntryID     string   `json:"entry_id,omitempty"`
	Index       *uint64  `json:"index,omitempty"` // in the log, if a receipt shows it
	Issuer      string   `json:"issuer,omitempty"`
	Subject     string   `json:"subject,omitempty"`
	ContentType string   `json:"content_type,omitempty"`
	Digest      string   `json:"digest,omitempty"` // of the body
	Verdict     Verdict  `json:"verdict"`
	Times       []Bound  `json:"times,omitempty"`
	Findings    Findings `json:"findings,omitempty"`

	statement *ledger.Statement
	receipt   *ledger.Receipt
	root      ledger.Hash // that the receipt leads to
	proven    bool        // the receipt verified
	shown     time.Time   // by when the statement existed, as no compromised key says; zero: unknown
	authentic bool        // the statement's signature verified, by a key that could sign then
	body      []byte      // that the statement commits to; nil if it is not there
	erased    bool        // the exporter says that the body was erased
	ignored   bool        // the content type has no rules here
}

// A Bound is a time with the one who vouches for it. Who vouches matters: an issuer can write any time into what it
// signs, a log any time into its receipts; only an independent log limits what both can claim.
type Bound struct {
	Kind BoundKind `json:"bound"`
	At   string    `json:"at"`
	By   string    `json:"asserted_by"`
}

// BoundKind says what a Bound limits.
type BoundKind string

// The kinds of bound.
const (
	Stated    BoundKind = "stated"     // when the issuer says it happened
	NotAfter  BoundKind = "not_after"  // it existed by then
	NotBefore BoundKind = "not_before" // it did not exist before then
)

func (r *RecordReport) bound(kind BoundKind, at time.Time, by string) {
	r.Times = append(r.Times, Bound{kind, mission.FormatTime(at), by})
}

func (r *RecordReport) conclude() { r.Verdict = verdictOf(r.Findings) }

// VerifyStatement checks a signed statement with as many receipts as it carries, by the keys of the domains that trust
// names. A statement without receipt is verified as to its signature only.
func VerifyStatement(data []byte, trust *Trust) *RecordReport {
	r := &RecordReport{}
	defer r.conclude()
	raw, receipts := data, [][]byte(nil)
	if statement, attached, err := ledger.DetachReceipts(data); err == nil {
		raw, receipts = statement, attached
	}
	if !r.parse(raw) {
		return r
	}
	var seen []proven
	for _, receipt := range receipts {
		r.proven = false
		if r.checkReceipt(receipt, trust); r.proven {
			seen = append(seen, proven{r.receipt, r.root})
		}
	}
	r.compare(seen)
	r.checkSignature(trust)
	return r
}

// A proven is a receipt that verified, with the root that it leads to.
type proven struct {
	*ledger.Receipt
	root ledger.Hash
}

// compare looks for contradictions between receipts of one statement. Logs differ in index and size; one log has one
// place for an entry, and one root for a size.
func (r *RecordReport) compare(seen []proven) {
	for i, a := range seen {
		for _, b := range seen[i+1:] {
			switch {
			case a.Issuer != b.Issuer:
			case a.Size == b.Size && a.root != b.root:
				r.Findings.add(Integrity, "log_forked", r.EntryID,
					"the log of %.200q signed two roots for size %d: it shows different trees", a.Issuer, a.Size)
			case a.Index != b.Index || differ(a.FeedSeq, b.FeedSeq):
				r.Findings.add(Integrity, "receipt_equivocation", r.EntryID,
					"the log of %.200q gives the entry two places, %d and %d", a.Issuer, a.Index, b.Index)
			}
		}
	}
	if len(seen) > 0 {
		r.proven = true
	}
}

// differ reports whether both numbers are there and not equal.
func differ(a, b *uint64) bool { return a != nil && b != nil && *a != *b }

// feedNumbers remembers which entry a log called number n of a feed.
type feedNumbers map[feedNumber]*RecordReport

type feedNumber struct {
	log, subject string
	seq          uint64
}

// saw reports a second entry with the number of another one: a log that numbers two entries alike shows different feeds
// to different readers.
func (n feedNumbers) saw(r *RecordReport) {
	if !r.proven || r.receipt.FeedSeq == nil {
		return
	}
	key := feedNumber{r.receipt.Issuer, r.receipt.Subject, *r.receipt.FeedSeq}
	first, ok := n[key]
	if !ok {
		n[key] = r
		return
	}
	if first.EntryID != r.EntryID {
		r.Findings.add(Integrity, "feed_equivocation", r.EntryID,
			"the log of %.200q gave number %d of the feed to the entry %s too", key.log, key.seq, first.EntryID)
	}
}

// CompareReceipts checks transparent statements against each other: no two entries may have the same number in one feed
// of one log. The findings are added to the reports; the result is the reports' own.
func CompareReceipts(reports ...*RecordReport) Findings {
	numbers := feedNumbers{}
	var out Findings
	for _, r := range reports {
		before := len(r.Findings)
		numbers.saw(r)
		out = append(out, r.Findings[before:]...)
		r.conclude()
	}
	return out
}

// VerifyReceipt checks a detached receipt against the statement it was issued for. The statement's own signature is not
// checked.
func VerifyReceipt(receipt, statement []byte, trust *Trust) *RecordReport {
	r := &RecordReport{}
	defer r.conclude()
	if bare, _, err := ledger.DetachReceipts(statement); err == nil {
		statement = bare
	}
	if r.parse(statement) {
		r.checkReceipt(receipt, trust)
	}
	return r
}

func (r *RecordReport) parse(raw []byte) bool {
	s, err := ledger.ParseStatement(raw)
	if err != nil {
		r.Findings.add(Integrity, "statement_malformed", r.Path, "not a signed statement in its one encoding")
		return false
	}
	r.statement = s
	r.EntryID = s.Leaf().String()
	r.Issuer, r.Subject, r.ContentType, r.Digest = s.Issuer, s.Subject, s.ContentType, s.Digest.String()
	if s.IssuedAt > 0 {
		r.bound(Stated, time.Unix(s.IssuedAt, 0), s.Issuer)
	}
	return true
}

// checkSignature checks the statement's signature and whether its key could still sign then. Receipts come first: they
// say when "then" was.
func (r *RecordReport) checkSignature(trust *Trust) {
	s, fs := r.statement, &r.Findings
	ring, ok := trust.statementKeys(s.Issuer)
	if !ok {
		fs.add(Audit, "issuer_unknown", r.EntryID, "the trust document does not know the issuer %.200q", s.Issuer)
		return
	}
	key, ok := ring.Find(s.KeyID)
	if !ok {
		fs.add(Audit, "evidence_key_unknown", r.EntryID, "the trust document has no evidence key %s of this issuer",
			hex.EncodeToString(s.KeyID))
		return
	}
	if err := s.Verify(key.Public); err != nil {
		fs.add(Integrity, "statement_signature", r.EntryID, "the statement's signature does not verify")
		return
	}
	if key.Status == KeyActive {
		r.authentic = true
		return
	}
	by, shown := r.registered()
	switch {
	case key.Status == KeyCompromised && !key.Until.After(unknownBoundary):
		fs.add(Audit, "key_compromised_unbounded", r.EntryID,
			"the key was compromised, and nobody knows since when: nothing that it signed counts")
	case !shown:
		fs.add(Audit, "key_"+string(key.Status)+"_untimed", r.EntryID,
			"the key was %s on %s and no receipt shows that the statement is older", key.Status, mission.FormatTime(key.Until))
	case by.Before(key.Until):
		r.authentic = true
		fs.add(Note, "key_"+string(key.Status)+"_later", r.EntryID,
			"the key was %s on %s, after the statement had been registered", key.Status, mission.FormatTime(key.Until))
	default:
		fs.add(Integrity, "key_"+string(key.Status), r.EntryID,
			"the statement was registered on %s by a key that had been %s on %s", mission.FormatTime(by), key.Status,
			mission.FormatTime(key.Until))
	}
}

// registered returns when the statement is known to have existed by: the earliest time that a proof says which no
// compromised key authenticates.
func (r *RecordReport) registered() (time.Time, bool) { return r.shown, !r.shown.IsZero() }

// existed remembers a time by which the statement is known to have existed.
func (r *RecordReport) existed(at time.Time) {
	if r.shown.IsZero() || at.Before(r.shown) {
		r.shown = at
	}
}

// checkReceipt checks one receipt against the parsed statement.
func (r *RecordReport) checkReceipt(raw []byte, trust *Trust) {
	fs := &r.Findings
	receipt, err := ledger.ParseReceipt(raw)
	if err != nil {
		fs.add(Integrity, "receipt_malformed", r.EntryID, "not a receipt of inclusion in its one encoding")
		return
	}
	domain, ok := trust.Domain(receipt.Issuer)
	if !ok {
		fs.add(Audit, "receipt_issuer_unknown", r.EntryID, "the trust document does not know the log of %.200q",
			receipt.Issuer)
		return
	}
	if receipt.Subject != r.statement.Subject {
		fs.add(Integrity, "receipt_subject", r.EntryID, "the receipt is about another subject than the statement")
		return
	}
	key, ok := domain.Receipts.Find(receipt.KeyID)
	if !ok {
		fs.add(Audit, "receipt_key_unknown", r.EntryID, "the trust document has no receipt key %s of this log",
			hex.EncodeToString(receipt.KeyID))
		return
	}
	root, err := receipt.Verify(r.statement.Leaf(), key.Public)
	if err != nil {
		fs.add(Integrity, "receipt_invalid", r.EntryID, "the receipt does not prove that the statement is in the log")
		return
	}
	head, anchored := domain.known(receipt.Size, root)
	switch key.Status {
	case KeyActive:
	case KeyCompromised:
		if anchored {
			fs.add(Note, "receipt_key_compromised_anchored", r.EntryID,
				"the receipt's key is compromised; it leads to the head that %s saw on %s", head.By, mission.FormatTime(head.At))
			break
		}
		fs.add(Audit, "receipt_key_compromised", r.EntryID,
			"the receipt's key was compromised on %s: its time and its word prove nothing", mission.FormatTime(key.Until))
	case KeyRetired:
		fs.add(Note, "receipt_key_retired", r.EntryID, "the receipt's key was retired on %s", mission.FormatTime(key.Until))
	}
	r.receipt, r.root, r.proven = receipt, root, true
	r.Index = &receipt.Index
	if anchored {
		r.existed(head.At)
		r.bound(NotAfter, head.At, head.By)
	}
	if key.Status == KeyCompromised {
		return
	}
	r.existed(time.Unix(receipt.IssuedAt, 0))
	r.bound(NotAfter, time.Unix(receipt.IssuedAt, 0), "log of "+receipt.Issuer)
}
