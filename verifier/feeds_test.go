package verifier

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
)

// cover logs a feed epoch over the whole log, but for the entries that hide names.
func (d *domain) cover(number, previous uint64, hide func(index uint64) bool) uint64 {
	d.t.Helper()
	m := ledger.NewFeedMap(d.issuer, nil)
	for i, raw := range d.entries {
		s, err := ledger.ParseStatement(raw)
		if err != nil {
			d.t.Fatal(err)
		}
		if hide == nil || !hide(uint64(i)) {
			if err := m.Add(s.Subject, uint64(i), s.Leaf()); err != nil {
				d.t.Fatal(err)
			}
		}
	}
	cp, _ := d.head(d.size())
	e := &ledger.FeedEpoch{Origin: d.origin, Number: number, Previous: previous, CoveredSize: cp.Size, CoveredRoot: cp.Root}
	var err error
	if e.MapRoot, err = m.Root(); err != nil {
		d.t.Fatal(err)
	}
	if e.Subjects, e.Missions, err = m.Population(); err != nil {
		d.t.Fatal(err)
	}
	body, err := ledger.MarshalFeedEpoch(e)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.append("/log", ledger.ContentTypeFeedEpoch, body, epoch.Add(time.Hour))
}

// withEpochs is a mirror with the bodies of the epochs.
func (d *domain) withEpochs() map[string][]byte {
	files := d.mirror()
	for i, raw := range d.entries {
		s, err := ledger.ParseStatement(raw)
		if err != nil {
			d.t.Fatal(err)
		}
		if s.ContentType == ledger.ContentTypeFeedEpoch {
			files[EpochPath(uint64(i))] = d.bodies[s.Digest].data
		}
	}
	return files
}

// TestVerifyLogComputesEpochs: whoever has the entries computes every epoch again, and so finds a log that leaves an
// entry or a mission out of its map, or tells another story about itself.
//
// Audit rows: 135.
func TestVerifyLogComputesEpochs(t *testing.T) {
	opts := LogOptions{Epochs: true}
	for name, tc := range map[string]struct {
		log func(d *domain)
		bad bool
	}{
		"honest": {log: func(d *domain) { d.cover(2, d.cover(1, 0, nil), nil) }},
		"an entry left out": {bad: true, log: func(d *domain) {
			d.cover(1, 0, func(i uint64) bool { return i == 20 })
		}},
		"a mission left out": {bad: true, log: func(d *domain) {
			feed := d.feeds[d.issuer+"/missions/m2"]
			d.cover(1, 0, func(i uint64) bool {
				for _, index := range feed {
					if index == i {
						return true
					}
				}
				return false
			})
		}},
		"a number left out":      {bad: true, log: func(d *domain) { d.cover(3, d.cover(1, 0, nil), nil) }},
		"another epoch before":   {bad: true, log: func(d *domain) { d.cover(2, d.cover(1, 0, nil)-1, nil) }},
		"not a body of an epoch": {bad: true, log: func(d *domain) { d.append("/log", ledger.ContentTypeFeedEpoch, []byte("x"), epoch) }},
	} {
		d := grown(t, 40)
		tc.log(d)
		r := VerifyLog(source(d.withEpochs()), d.trust(), opts)
		if r.Findings.Code("epoch_wrong") != tc.bad {
			t.Errorf("%s: %v", name, r.Findings)
		}
		if !tc.bad && (r.Epochs != 2 || r.Findings.Outcome() != OK) {
			t.Errorf("%s: %d epochs, %v", name, r.Epochs, r.Findings)
		}
	}
	d := grown(t, 40)
	d.cover(2, d.cover(1, 0, nil), nil)
	r := VerifyLog(source(d.mirror()), d.trust(), opts)
	if r.Findings.Outcome() != OK || !r.Findings.Code("epochs_unread") || r.Epochs != 0 {
		t.Errorf("without bodies: %d epochs, %v", r.Epochs, r.Findings)
	}
	files := d.withEpochs()
	for path := range files {
		if strings.HasPrefix(path, "feed-epochs/") {
			delete(files, path)
			break
		}
	}
	if r := VerifyLog(source(files), d.trust(), opts); r.Findings.Outcome() != OK || r.Epochs != 1 {
		t.Errorf("with one body: %d epochs, %v", r.Epochs, r.Findings)
	}
}

// number is the transparent statement of an entry whose receipt calls it number seq of its feed.
func (d *domain) number(index, seq uint64) []byte {
	d.t.Helper()
	s, err := ledger.ParseStatement(d.entries[index])
	if err != nil {
		d.t.Fatal(err)
	}
	path, err := ledger.InclusionPath(index, d.size(), d.tiles)
	if err != nil {
		d.t.Fatal(err)
	}
	cp, _ := d.head(d.size())
	receipt, err := ledger.SignReceipt(d.t.Context(), ledger.ReceiptClaims{Issuer: d.issuer, Subject: s.Subject,
		IssuedAt: d.times[index].Unix(), FeedSeq: &seq}, ledger.Inclusion{Size: cp.Size, Index: index, Path: path}, cp.Root,
		d.receipts)
	if err != nil {
		d.t.Fatal(err)
	}
	out, err := ledger.AttachReceipts(d.entries[index], receipt)
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// TestEquivocatingFeedNumbers: two receipts of one log that give two entries the same number in one feed contradict
// each other, in a bundle and beside each other.
//
// Audit rows: 136.
func TestEquivocatingFeedNumbers(t *testing.T) {
	d := grown(t, 12)
	feed := d.feeds[d.issuer+"/missions/m1"]
	judge := func(numbers ...uint64) (Findings, *BundleReport) {
		var reports []*RecordReport
		cp, text := d.head(d.size())
		b := Bundle{CreatedAt: epoch, Exporter: d.issuer, Query: Query{Subjects: []string{d.issuer + "/missions/m1"}},
			Head: cp, Checkpoint: text, VKeys: []string{d.vkey}}
		for i, seq := range numbers {
			transparent := d.number(feed[i], seq)
			reports = append(reports, VerifyStatement(transparent, d.trust()))
			if v := reports[i].Verdict; v != Verified {
				t.Fatalf("entry %d alone: %s, %v", i, v, reports[i].Findings)
			}
			b.Entries = append(b.Entries, BundleEntry{Index: feed[i], Transparent: transparent})
		}
		data, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return CompareReceipts(reports...), VerifyBundle(data, d.trust(), BundleOptions{})
	}
	if fs, r := judge(0, 1, 2); len(fs) != 0 || r.All().Code("feed_equivocation") {
		t.Errorf("honest numbers: %v, %v", fs, r.All())
	}
	fs, r := judge(0, 1, 1)
	if !fs.Code("feed_equivocation") || !fs.Has(Integrity) {
		t.Errorf("two entries with one number: %v", fs)
	}
	if r.Outcome != Wrong || !r.All().Code("feed_equivocation") {
		t.Errorf("in a bundle: %s, %v", r.Outcome, r.All())
	}
}

// TestSeveralReceipts: receipts of two services on one statement both verify; receipts of one service that contradict
// each other are reported.
//
// Audit rows: 54.
func TestSeveralReceipts(t *testing.T) {
	a, b := grown(t, 9), newDomain(t, "https://b.example", "b.example/log/1")
	const index = 5
	raw := a.entries[index]
	foreign := b.appendStatement(raw, epoch)
	trust := a.trust()
	trust.Peers = []Anchor{b.trust().Anchor}
	both, err := ledger.AttachReceipts(raw, a.receipt(index), b.receipt(foreign))
	if err != nil {
		t.Fatal(err)
	}
	if r := VerifyStatement(both, trust); r.Verdict != Verified || len(r.Times) < 2 {
		t.Errorf("two services: %s, %v", r.Verdict, r.Findings)
	}
	damaged := b.receipt(foreign)
	damaged[len(damaged)-1] ^= 1
	one, err := ledger.AttachReceipts(raw, a.receipt(index), damaged)
	if err != nil {
		t.Fatal(err)
	}
	if r := VerifyStatement(one, trust); r.Verdict != IntegrityFailure {
		t.Errorf("one of two does not verify: %s, %v", r.Verdict, r.Findings)
	}
	// The same log with the same keys shows somebody else another tree of the same size.
	fork := *a
	fork.leaves = append([]ledger.Hash(nil), a.leaves...)
	fork.leaves[0] = sha256.Sum256([]byte("another entry"))
	for name, tc := range map[string]struct {
		second []byte
		code   string
	}{
		"two trees":  {fork.receipt(index), "log_forked"},
		"two places": {moved(t, a, index), "receipt_equivocation"},
	} {
		data, err := ledger.AttachReceipts(raw, a.receipt(index), tc.second)
		if err != nil {
			t.Fatal(err)
		}
		if r := VerifyStatement(data, trust); r.Verdict != IntegrityFailure || !r.Findings.Code(tc.code) {
			t.Errorf("%s: %s, %v", name, r.Verdict, r.Findings)
		}
	}
}

// moved is a receipt by the same log for the same statement at another place, in a later tree.
func moved(t *testing.T, d *domain, index uint64) []byte {
	t.Helper()
	later := *d
	later.leaves = append([]ledger.Hash(nil), d.leaves...)
	later.entries = append([][]byte(nil), d.entries...)
	later.times = append([]time.Time(nil), d.times...)
	later.feeds = map[string][]uint64{}
	again := later.appendStatement(d.entries[index], epoch)
	if again == index {
		t.Fatal(fmt.Sprint("not moved from ", index))
	}
	return later.receipt(again)
}
