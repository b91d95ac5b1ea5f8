package verifier

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
)

// grown is a domain whose log has n entries over a few subjects.
func grown(t testing.TB, n int) *domain {
	t.Helper()
	d := newDomain(t, "https://a.example", "a.example/log/1")
	for i := len(d.entries); i < n; i++ {
		d.append(fmt.Sprintf("/missions/m%d", i%3), "application/x-test+json", fmt.Appendf(nil, `{"n":%d}`, i),
			epoch.Add(time.Duration(i)*time.Second))
	}
	return d
}

func TestVerifyLog(t *testing.T) {
	for _, n := range []int{1, 2, 255, 256, 257, 600} {
		d := grown(t, n)
		subject := d.issuer + "/missions/m1"
		r := VerifyLog(source(d.mirror()), d.trust(), LogOptions{Subjects: []string{subject}, Signatures: true})
		if r.Findings.Outcome() != OK || r.Mirror == nil {
			t.Fatalf("size %d: %v", n, r.Findings)
		}
		if r.Size != uint64(n) || r.Scanned != uint64(n) || r.Signatures != uint64(n) || r.Unknown != 0 {
			t.Errorf("size %d: report %+v", n, r)
		}
		feed, ok := r.Mirror.Feed(subject)
		if !ok || len(feed) != len(d.feeds[subject]) {
			t.Errorf("size %d: feed of %d entries, want %d", n, len(feed), len(d.feeds[subject]))
		}
		if _, ok := r.Mirror.Feed("https://a.example/missions/other"); ok {
			t.Error("a feed that was not collected is reported")
		}
		for _, size := range []uint64{1, uint64(n+1) / 2, uint64(n)} {
			cp, _ := d.head(size)
			if err := r.Mirror.Extends(size, cp.Root); err != nil {
				t.Errorf("size %d does not extend %d: %v", n, size, err)
			}
			cp.Root[0] ^= 1
			if err := r.Mirror.Extends(size, cp.Root); err == nil {
				t.Errorf("size %d extends a forged head of size %d", n, size)
			}
		}
		if err := r.Mirror.Extends(uint64(n)+1, ledger.Hash{}); err == nil {
			t.Error("the mirror extends a later head")
		}
	}
}

func TestVerifyLogFindsEveryDamage(t *testing.T) {
	d := grown(t, 300)
	good := d.mirror()
	codes := map[string]string{
		"checkpoint": "log_key_unknown|checkpoint_signature|checkpoint_malformed",
		"tile/0":     "tile_mismatch", "tile/1": "tile_mismatch",
		"tile/entries": "bundle_malformed|root_mismatch",
	}
	flips := 0
	for path, data := range good {
		for at := 0; at < len(data); at += 1 + len(data)/40 {
			files := maps.Clone(good)
			files[path] = bytes.Clone(data)
			files[path][at] ^= 0x10
			r := VerifyLog(source(files), d.trust(), LogOptions{})
			if r.Findings.Outcome() == OK {
				t.Fatalf("%s: flip of octet %d is not found", path, at)
			}
			for prefix, want := range codes {
				if strings.HasPrefix(path, prefix) && !anyCode(r.Findings, want) {
					t.Fatalf("%s: flip of octet %d gives %v, want one of %s", path, at, r.Findings, want)
				}
			}
			flips++
		}
	}
	t.Logf("%d flips", flips)
}

func anyCode(fs Findings, codes string) bool {
	for code := range strings.SplitSeq(codes, "|") {
		if fs.Code(code) {
			return true
		}
	}
	return false
}

func TestVerifyLogWithoutEntries(t *testing.T) {
	d := grown(t, 300)
	files := d.mirror()
	for path := range files {
		if strings.HasPrefix(path, "tile/entries") {
			delete(files, path)
		}
	}
	r := VerifyLog(source(files), d.trust(), LogOptions{Subjects: []string{d.issuer + "/missions/m1"}})
	if r.Findings.Outcome() != Unverifiable || !r.Findings.Code("entries_absent") || r.Mirror == nil {
		t.Fatalf("report %+v", r)
	}
	if _, ok := r.Mirror.Feed(d.issuer + "/missions/m1"); ok {
		t.Error("a feed is claimed without entries")
	}
	cp, _ := d.head(100)
	if err := r.Mirror.Extends(100, cp.Root); err != nil {
		t.Errorf("hash tiles suffice for consistency: %v", err)
	}
	delete(files, "tile/0/000")
	if r := VerifyLog(source(files), d.trust(), LogOptions{}); !r.Findings.Code("tile_missing") || r.Mirror != nil {
		t.Errorf("without leaves: %v", r.Findings)
	}
	if r := VerifyLog(source(nil), d.trust(), LogOptions{}); !r.Findings.Code("checkpoint_missing") {
		t.Errorf("empty mirror: %v", r.Findings)
	}
}

func TestVerifyLogForeignSigner(t *testing.T) {
	d := grown(t, 5)
	files := d.mirror()
	trust := d.trust()
	trust.Evidence = d.ring(newSigner(t))
	r := VerifyLog(source(files), trust, LogOptions{Signatures: true})
	if r.Unknown != 5 || r.Signatures != 0 {
		t.Errorf("report %+v", r)
	}
	// The right key id with another key is a forged statement, not an unknown signer.
	own := d.ring(newSigner(t))
	own[0].KeyID = d.evidence.KeyID()
	trust.Evidence = own
	r = VerifyLog(source(files), trust, LogOptions{Signatures: true})
	if !r.Findings.Code("statement_signature") || r.Findings.Outcome() != Wrong {
		t.Errorf("findings %v", r.Findings)
	}
}

func BenchmarkVerifyLog(b *testing.B) {
	d := grown(b, 2000)
	files := source(d.mirror())
	trust := d.trust()
	b.ReportAllocs()
	for b.Loop() {
		if r := VerifyLog(files, trust, LogOptions{}); r.Mirror == nil {
			b.Fatal(r.Findings)
		}
	}
	b.ReportMetric(2000*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
