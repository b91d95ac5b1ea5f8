package verifier

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
)

// smallBundle is a bundle of a log with a few entries.
func smallBundle(t testing.TB) (*domain, *Bundle) {
	t.Helper()
	d := grown(t, 5)
	cp, text := d.head(d.size())
	b := &Bundle{CreatedAt: epoch, Exporter: d.issuer, Query: Query{Subjects: []string{d.issuer + "/missions/m1", d.issuer + "/log"}},
		Head: cp, Checkpoint: text, VKeys: []string{d.vkey}}
	for i := range d.size() {
		b.Entries = append(b.Entries, BundleEntry{i, d.transparent(i)})
		s, err := ledger.ParseStatement(d.entries[i])
		if err != nil {
			t.Fatal(err)
		}
		b.Records = append(b.Records, BundleRecord{s.ContentType, d.bodies[s.Digest].data})
	}
	path, err := ledger.ConsistencyPath(3, 5, d.tiles)
	if err != nil {
		t.Fatal(err)
	}
	from, _ := d.head(3)
	b.Proofs = []ConsistencyProof{NewConsistencyProof(from, cp, path)}
	return d, b
}

func TestBundleIsDeterministic(t *testing.T) {
	_, b := smallBundle(t)
	want, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for i, j := 0, len(b.Entries)-1; i < j; i, j = i+1, j-1 {
		b.Entries[i], b.Entries[j] = b.Entries[j], b.Entries[i]
		b.Records[i], b.Records[j] = b.Records[j], b.Records[i]
	}
	b.Query.Subjects[0], b.Query.Subjects[1] = b.Query.Subjects[1], b.Query.Subjects[0]
	b.Records = append(b.Records, b.Records[0]) // two statements may commit to one body
	got, err := b.Marshal()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("another order gives other octets: %v", err)
	}
	r := VerifyBundle(want, mustTrust(t, b), BundleOptions{})
	if r.Completeness == NotAnchored {
		t.Errorf("findings %v", r.All())
	}
}

// mustTrust is a trust document that knows nothing but the log's key.
func mustTrust(t testing.TB, b *Bundle) *Trust {
	t.Helper()
	return &Trust{Anchor: Anchor{Issuer: b.Exporter, Origin: b.Head.Origin, VKey: b.VKeys[0]}}
}

// Audit rows: 108.
func TestUnknownTypesAreIgnored(t *testing.T) {
	d, b := smallBundle(t)
	data, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	r := VerifyBundle(data, d.trust(), BundleOptions{})
	if r.Outcome != OK || r.Completeness != Complete {
		t.Fatalf("%s, %s: %v", r.Outcome, r.Completeness, r.All())
	}
	ignored := 0
	for _, rec := range r.Records {
		if rec.Verdict == IgnoredType {
			ignored++
		}
	}
	if ignored != 4 {
		t.Errorf("%d records are ignored, want all but the genesis", ignored)
	}
}

func TestBundleThatCannotBeWritten(t *testing.T) {
	for name, edit := range map[string]func(*Bundle){
		"no receipt":    func(b *Bundle) { b.Entries[0].Transparent = b.Entries[0].Transparent[:40] },
		"empty head":    func(b *Bundle) { b.Head.Size = 0 },
		"no exporter":   func(b *Bundle) { b.Exporter = "" },
		"two of a path": func(b *Bundle) { b.Proofs = append(b.Proofs, ConsistencyProof{From: 3, To: 5}) },
		"twice a feed":  func(b *Bundle) { b.Query.Subjects = append(b.Query.Subjects, b.Query.Subjects[0]) },
		"gap":           func(b *Bundle) { b.Gaps = []Gap{{EntryID: "x", Reason: "withheld"}} },
		"gap reason":    func(b *Bundle) { b.Gaps = []Gap{{EntryID: strings.Repeat("0", 64), Reason: "lost"}} },
	} {
		_, b := smallBundle(t)
		edit(b)
		if _, err := b.Marshal(); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

func TestFeedNumbers(t *testing.T) {
	d, b := smallBundle(t)
	trust := d.trust()
	for name, tc := range map[string]struct {
		edit func(*Bundle)
		code string
	}{
		"first entry missing": {func(b *Bundle) { b.Entries = b.Entries[2:] }, "feed_gap"},
		"last entry missing":  {func(b *Bundle) { b.Entries = b.Entries[:4] }, "feed_gap"},
	} {
		c := *b
		c.Query.Subjects = []string{d.issuer + "/missions/m1"}
		tc.edit(&c)
		c.Records = nil
		for _, e := range c.Entries {
			raw, _, err := ledger.DetachReceipts(e.Transparent)
			if err != nil {
				t.Fatal(err)
			}
			s, err := ledger.ParseStatement(raw)
			if err != nil {
				t.Fatal(err)
			}
			c.Records = append(c.Records, BundleRecord{s.ContentType, d.bodies[s.Digest].data})
		}
		data, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if r := VerifyBundle(data, trust, BundleOptions{}); !r.All().Code(tc.code) || r.Completeness != Incomplete {
			t.Errorf("%s: %s, %v", name, r.Completeness, r.All())
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	_, b := smallBundle(f)
	data, err := b.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	files, err := Unpack(data)
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		if file.Path == pathManifest {
			f.Add(file.Data)
		}
	}
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			return
		}
		again, err := mission.Marshal(m)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("read but not written again: %v", err)
		}
	})
}

func FuzzParseConsistencyProof(f *testing.F) {
	_, b := smallBundle(f)
	text, err := mission.Marshal(b.Proofs[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParseConsistencyProof(data)
		if err != nil {
			return
		}
		if _, err := p.Hashes(); err != nil {
			t.Fatalf("accepted: %v", err)
		}
	})
}

// FuzzRecord feeds any body to the rules of any content type.
func FuzzRecord(f *testing.F) {
	d := newDomain(f, "https://a.example", "a.example/log/1")
	types := []string{mission.ContentApprovalRecord, mission.ContentTransition, mission.ContentConsentEvidence,
		mission.ContentSubmission, mission.ContentPrincipals, mission.ContentAgreementEvent, mission.ContentIntroduction,
		mission.ContentProjectionIssued, mission.ContentStatusServed, mission.ContentDerivationReceipt,
		mission.ContentPeerCheckpoint, mission.ContentPeerCeiling, mission.ContentProjectionReceived,
		mission.ContentStatusObserved, contentMinted, contentAcknowledged, contentPeerRecord, evidence.ContentErasure,
		ledger.ContentTypeGenesis, mission.ContentRefusal, evidence.ContentDecision, evidence.ContentReceipt}
	for i := range types {
		f.Add(uint(i), []byte(`{"mission_id":"m1","issuer":"https://a.example","disclosure":{},"intent":{}}`))
		f.Add(uint(i), []byte(`{}`))
	}
	s, err := ledger.ParseStatement(d.entries[0])
	if err != nil {
		f.Fatal(err)
	}
	trust := d.trust()
	f.Fuzz(func(t *testing.T, kind uint, body []byte) {
		typ := types[kind%uint(len(types))]
		r := &RecordReport{Issuer: d.issuer, Subject: d.issuer + "/missions/m1", ContentType: typ, statement: s, body: body, authentic: true, proven: true}
		c := &bundleCheck{BundleReport: &BundleReport{Records: []*RecordReport{r}}, trust: trust,
			contents: &contents{manifest: &Manifest{}}}
		c.facts = c.collect()
		c.checkHistories()
		if r.ignored {
			t.Fatalf("%s has no rules", typ)
		}
	})
}
