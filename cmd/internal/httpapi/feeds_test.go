package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/schemas"
	"github.com/mission-authority/mas/verifier"
)

// cover commits a feed epoch.
func (w *world) cover() {
	w.Helper()
	if err := w.api.config.Epochs.Cover(w.Context()); err != nil {
		w.Fatal(err)
	}
}

func feedPath(subject string) string {
	return "/v1/feeds/" + base64.RawURLEncoding.EncodeToString([]byte(subject))
}

// listing fetches all pages of a feed and joins them.
func (w *world) listing(subject string, limit int) *feed {
	w.Helper()
	var all *feed
	for query := fmt.Sprintf("?limit=%d", limit); ; {
		body := w.expect(w.get("auditor", feedPath(subject)+query), http.StatusOK)
		if err := schemas.Validate("feed", body); err != nil {
			w.Fatal(err)
		}
		var f feed
		if err := mission.Decode(body, &f); err != nil {
			w.Fatal(err)
		}
		if all == nil {
			all = &f
		} else {
			all.Items = append(all.Items, f.Items...)
		}
		if all.Next = f.Next; f.Next == nil {
			return all
		}
		query = fmt.Sprintf("?limit=%d&after_seq=%d", limit, *f.Next)
	}
}

func (w *world) judge(f *feed) *verifier.FeedReport {
	w.Helper()
	text, err := mission.Marshal(f)
	if err != nil {
		w.Fatal(err)
	}
	r, err := verifier.VerifyFeed(text, w.trust(), nil)
	if err != nil {
		w.Fatal(err)
	}
	return r
}

// TestFeedEqualsScan: a listing has the entries of the feed in log order, numbered without gap, exactly those that a
// scan of the whole log finds; those below the covered size are the ones that the feed epoch proves. A listing that
// leaves one out is found wrong by the verifier.
//
// Audit rows: 134, 135.
func TestFeedEqualsScan(t *testing.T) {
	w := newWorld(t)
	w.fill(25)
	w.cover()
	w.fill(31) // the first 25 are duplicates
	subject := w.log.Keys.Subject(t, "msn_even")
	f := w.listing(subject, 5)
	v := w.log.MustView(t)
	var scanned []uint64
	for index := range v.Head().Size {
		e, err := v.Entry(index)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ledger.ParseStatement(e.Statement)
		if err != nil {
			t.Fatal(err)
		}
		if s.Subject == subject {
			scanned = append(scanned, index)
		}
	}
	var listed []uint64
	for i, item := range f.Items {
		listed = append(listed, item.LeafIndex)
		if item.Seq != uint64(i) {
			t.Errorf("item %d has number %d", i, item.Seq)
		}
	}
	if !slices.Equal(listed, scanned) || !slices.IsSorted(listed) || len(listed) != 16 {
		t.Errorf("listed %v, scanned %v", listed, scanned)
	}
	r := w.judge(f)
	if r.Outcome != verifier.OK || r.Completeness != verifier.Complete || r.AsOf != 26 || r.Beyond != 3 || r.Feed.Count != 13 {
		t.Errorf("%+v, findings %v", r, r.Findings)
	}
	for i := range 13 {
		cut := *f
		cut.Items = slices.Delete(slices.Clone(f.Items), i, i+1)
		for j := range cut.Items {
			cut.Items[j].Seq = uint64(j) // a server that lies does not leave a gap
		}
		if r := w.judge(&cut); r.Outcome != verifier.Wrong || !r.Findings.Code("feed_cut") {
			t.Errorf("without entry %d: %s, %v", i, r.Outcome, r.Findings)
		}
	}
	other := *f
	other.Items = slices.Clone(f.Items)
	other.Items[4].EntryID = strings.Repeat("ab", 32)
	if r := w.judge(&other); !r.Findings.Code("feed_mismatch") {
		t.Errorf("another entry: %v", r.Findings)
	}
}

// TestFeedProofs: a subject that is there and one that is not are answered alike, and both answers are proofs; what an
// auditor may not see is the one 404.
//
// Audit rows: 135, 148.
func TestFeedProofs(t *testing.T) {
	w := newWorld(t)
	w.fill(9)
	here, nowhere := w.log.Keys.Subject(t, "msn_even"), w.log.Keys.Subject(t, "msn_nobody")
	w.expect(w.get("auditor", feedPath(here)+"/proof"), http.StatusServiceUnavailable) // no epoch yet
	w.cover()
	for subject, present := range map[string]bool{here: true, nowhere: false} {
		got := w.get("auditor", feedPath(subject)+"/proof")
		raw := w.expect(got, http.StatusOK)
		if got.Header().Get("Content-Type") != ledger.ContentTypeFeedProof {
			t.Errorf("media type %q", got.Header().Get("Content-Type"))
		}
		r := verifier.VerifyFeedProof(raw, w.trust())
		if r.Outcome != verifier.OK || r.Present == nil || *r.Present != present || r.Epoch.CoveredSize != 10 {
			t.Errorf("%s: %+v, %v", subject, r, r.Findings)
		}
		absent := verifier.VerifyAbsence(raw, w.trust(), subject)
		if (absent.Outcome == verifier.OK) == present || absent.Findings.Code("subject_present") != present {
			t.Errorf("%s: absence %s, %v", subject, absent.Outcome, absent.Findings)
		}
		if r := verifier.VerifyAbsence(raw, w.trust(), subject+"x"); r.Outcome != verifier.Wrong {
			t.Errorf("a proof about another subject: %s", r.Outcome)
		}
		for i := 0; i < len(raw); i += 7 {
			bad := slices.Clone(raw)
			bad[i] ^= 0x10
			// A proof that another subject is absent may be true as well; it is not taken for one about this subject.
			if r := verifier.VerifyFeedProof(bad, w.trust()); r.Outcome == verifier.OK && r.Subject == subject {
				t.Fatalf("octet %d of %d changed: %+v", i, len(raw), r)
			}
		}
	}
	item := w.listing(here, 100).Items[2]
	r := verifier.VerifyFeedProof(w.expect(w.get("auditor", feedPath(here)+"/proof?entry="+item.EntryID), 200), w.trust())
	if r.Outcome != verifier.OK || r.Entry == nil || r.Entry.Seq != 2 || r.Entry.EntryID != item.EntryID {
		t.Errorf("place of an entry: %+v, %v", r.Entry, r.Findings)
	}
	missing := w.expect(w.get("auditor", feedPath(here)+"/proof?entry="+strings.Repeat("0", 64)), http.StatusNotFound)
	ungranted := w.expect(w.get("client", feedPath(here)+"/proof"), http.StatusNotFound)
	if string(missing) != string(ungranted) {
		t.Errorf("%s and %s", missing, ungranted)
	}
	w.expect(w.get("auditor", feedPath(here)+"/proof?entry=x"), http.StatusBadRequest)
	w.expect(w.get("auditor", feedPath(here)+"/proof?x=1"), http.StatusBadRequest)
}

// TestFeedEpochs: each epoch is served by its number with its signed statement and a receipt.
func TestFeedEpochs(t *testing.T) {
	w := newWorld(t)
	w.expect(w.get("auditor", "/v1/feed-epochs/1"), http.StatusNotFound)
	w.fill(9)
	w.cover()
	w.fill(20)
	w.cover()
	for name, number := range map[string]uint64{"1": 1, "2": 2, "latest": 2} {
		body := w.expect(w.get("auditor", "/v1/feed-epochs/"+name), http.StatusOK)
		if err := schemas.Validate("feed-epoch", body); err != nil {
			t.Error(err)
		}
		var e feedEpoch
		if err := mission.Decode(body, &e); err != nil {
			t.Fatal(err)
		}
		statement, err := base64.RawURLEncoding.DecodeString(e.Statement)
		if err != nil {
			t.Fatal(err)
		}
		r := verifier.VerifyStatement(statement, w.trust())
		if e.Number != number || r.Verdict != verifier.Verified || *r.Index != e.LeafIndex || r.EntryID != e.EntryID {
			t.Errorf("epoch %s: %+v, %v", name, e, r.Findings)
		}
	}
	for _, name := range []string{"0", "3", "01", "x", "-1"} {
		w.expect(w.get("auditor", "/v1/feed-epochs/"+name), http.StatusNotFound)
	}
}

// TestPopulation: the pages of the population are each checkable, and together complete: a page that is left out, and a
// mission that is hidden on a page, are found.
//
// Audit rows: 135.
func TestPopulation(t *testing.T) {
	w := newWorld(t)
	var change ledger.Change
	for i := range 40 {
		change.Entries = append(change.Entries, w.log.Keys.Entry(t, fmt.Sprintf("msn_%d", i), []byte("x")))
	}
	w.log.MustCommit(t, change)
	w.cover()
	pages := w.pages("/v1/feed-epochs/1/population?limit=7")
	r := verifier.VerifyPopulation(pages, w.trust(), ledger.SubjectMissions)
	if r.Outcome != verifier.OK || r.Completeness != verifier.Complete || r.AsOf != 41 || len(r.Population) != 40 || len(pages) != 6 {
		t.Errorf("%d pages: %s %s, %d missions, %v", len(pages), r.Outcome, r.Completeness, len(r.Population), r.Findings)
	}
	for i := range pages {
		cut := slices.Delete(slices.Clone(pages), i, i+1)
		if r := verifier.VerifyPopulation(cut, w.trust(), ledger.SubjectMissions); r.Outcome == verifier.OK || r.Completeness == verifier.Complete {
			t.Errorf("without page %d: %s", i, r.Outcome)
		}
	}
	// A server that wants to hide a mission can only hide the subtree, and then the page shows less than its range.
	p, err := ledger.ParseFeedProof(pages[2])
	if err != nil {
		t.Fatal(err)
	}
	narrow, err := ledger.ParseFeedProof(pages[1])
	if err != nil {
		t.Fatal(err)
	}
	p.Map = narrow.Map
	forged, err := ledger.MarshalFeedProof(p)
	if err != nil {
		t.Fatal(err)
	}
	hidden := slices.Clone(pages)
	hidden[2] = forged
	if r := verifier.VerifyPopulation(hidden, w.trust(), ledger.SubjectMissions); !r.Findings.Code("population_hidden") {
		t.Errorf("a page that hides missions: %v", r.Findings)
	}
	all := verifier.VerifyPopulation(w.pages("/v1/feed-epochs/latest/population?kind=all"), w.trust(), "")
	if all.Outcome != verifier.OK || len(all.Population) != 41 {
		t.Errorf("all: %d, %v", len(all.Population), all.Findings)
	}
	w.fill(1)
	w.cover()
	w.expect(w.get("auditor", "/v1/feed-epochs/1/population"), http.StatusConflict)
	for q, want := range map[string]int{"?limit=0": 400, "?limit=1001": 400, "?kind=x": 400, "?after=x": 400,
		"?after=" + strings.Repeat("f", 64): 400, "?kind=agreements": 200} {
		if got := w.get("auditor", "/v1/feed-epochs/latest/population"+q); got.Code != want {
			t.Errorf("%s: %d", q, got.Code)
		}
	}
}

// pages follows the pages of a population.
func (w *world) pages(path string) (pages [][]byte) {
	w.Helper()
	for path != "" {
		got := w.get("auditor", path)
		pages = append(pages, w.expect(got, http.StatusOK))
		next, rel, _ := strings.Cut(got.Header().Get("Link"), ">")
		if path = strings.TrimPrefix(next, "<"); path != "" && rel != `; rel="next"` {
			w.Fatalf("link %q", got.Header().Get("Link"))
		}
	}
	return pages
}

// TestEnumerationIsPublished: the metadata says how entries are found, in which order, and what shows that none is
// missing, with endpoints that exist.
//
// Audit rows: 138.
func TestEnumerationIsPublished(t *testing.T) {
	w := newWorld(t)
	body := w.expect(w.get("", "/.well-known/mission-authority-server"), http.StatusOK)
	if err := schemas.Validate("metadata", body); err != nil {
		t.Error(err)
	}
	var m struct {
		Enumeration map[string]any `json:"mission_log_enumeration"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	subject := base64.RawURLEncoding.EncodeToString([]byte(testIssuer + "/missions/msn_x"))
	w.fill(1)
	w.cover()
	fill := strings.NewReplacer("{base64url_subject}", subject, "{epoch}", "latest", "{tile}", "000.p/3", testIssuer, "")
	checked := 0
	for name, value := range m.Enumeration {
		if text, ok := value.(string); ok && strings.HasSuffix(name, "_endpoint") {
			checked++
			w.expect(w.get("auditor", fill.Replace(text)), http.StatusOK)
		}
	}
	if checked != 5 || m.Enumeration["order"] != "leaf_index" || m.Enumeration["map"] != ledger.FeedMapV1 {
		t.Errorf("%d endpoints, %v", checked, m.Enumeration)
	}
}

// TestReceiptIsRefreshed: a receipt fetched again at a later size is about the same index, with the subject of the
// statement, and the older one still verifies; with the statement of another subject neither does.
//
// Audit rows: 46, 53.
func TestReceiptIsRefreshed(t *testing.T) {
	w := newWorld(t)
	w.fill(6)
	entry := w.listing(w.log.Keys.Subject(t, "msn_even"), 10).Items[1]
	other := w.listing(w.log.Keys.Subject(t, "msn_odd"), 10).Items[1]
	statement := w.expect(w.get("auditor", "/entries/"+entry.EntryID+"/statement"), http.StatusOK)
	foreign := w.expect(w.get("auditor", "/entries/"+other.EntryID+"/statement"), http.StatusOK)
	var sizes []uint64
	var receipts [][]byte
	for _, n := range []int{9, 70, 300} {
		w.fill(n)
		receipts = append(receipts, w.expect(w.get("auditor", "/entries/"+entry.EntryID), http.StatusOK))
	}
	for _, raw := range receipts {
		r, err := ledger.ParseReceipt(raw)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ledger.ParseStatement(statement)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, r.Size)
		if r.Index != entry.LeafIndex || r.Subject != s.Subject || *r.FeedSeq != entry.Seq {
			t.Errorf("receipt for size %d: index %d, subject %s, number %d", r.Size, r.Index, r.Subject, *r.FeedSeq)
		}
		if got := verifier.VerifyReceipt(raw, statement, w.trust()); got.Verdict != verifier.Verified {
			t.Errorf("receipt for size %d: %s, %v", r.Size, got.Verdict, got.Findings)
		}
		if got := verifier.VerifyReceipt(raw, foreign, w.trust()); !got.Findings.Code("receipt_subject") {
			t.Errorf("with another statement: %v", got.Findings)
		}
	}
	if !slices.IsSorted(sizes) || sizes[0] == sizes[2] {
		t.Errorf("sizes %v", sizes)
	}
}
