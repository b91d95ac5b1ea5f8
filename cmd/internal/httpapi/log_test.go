package httpapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/verifier"
)

// fill commits n entries with bodies about two missions in turn, and returns their bodies; entry i+1 of the log commits
// to body i.
func (w *world) fill(n int) [][]byte {
	w.Helper()
	bodies := make([][]byte, n)
	for first := 0; first < n; first += 64 {
		var change ledger.Change
		for i := first; i < min(n, first+64); i++ {
			bodies[i] = fmt.Appendf(nil, "evidence number %d", i)
			change.Entries = append(change.Entries, w.log.Keys.WithBody(w, "msn_"+[]string{"even", "odd"}[i%2], bodies[i]))
		}
		w.log.MustCommit(w, change)
	}
	return bodies
}

// head fetches the checkpoint as anybody and verifies it.
func (w *world) head() ledger.Checkpoint {
	w.Helper()
	text := w.expect(w.get("", "/log/1/checkpoint"), http.StatusOK)
	cp, err := ledger.OpenCheckpoint(text, testOrigin, w.log.Keys.Verifier)
	if err != nil {
		w.Fatal(err)
	}
	return cp
}

// TestTiles rebuilds the root from what is served, hash by hash and entry by entry.
//
// Audit rows: 16, 20.
func TestTiles(t *testing.T) {
	w := newWorld(t)
	w.fill(300)
	cp := w.head()
	if cp.Size != 301 {
		t.Fatalf("size %d", cp.Size)
	}
	read := func(level int, index uint64, width int) ([]ledger.Hash, error) {
		path := "/log/1/" + ledger.Tile{Level: level, Index: index, Width: width}.Path()
		return ledger.ParseTile(w.expect(w.get("", path), http.StatusOK), width)
	}
	if root, err := ledger.RootAt(cp.Size, read); err != nil || root != cp.Root {
		t.Errorf("root of the served tiles %v, %v", root, err)
	}
	edge := ledger.NewEdge()
	for _, tile := range []ledger.Tile{{Entries: true, Width: 256}, {Entries: true, Index: 1, Width: 45}} {
		got := w.get("auditor", "/log/1/"+tile.Path())
		entries, err := ledger.ParseBundle(w.expect(got, http.StatusOK), tile.Width)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			edge.Append(ledger.HashLeaf(e))
		}
		if cache := got.Header().Get("Cache-Control"); !strings.HasPrefix(cache, "private") {
			t.Errorf("%s may be cached by others: %q", tile.Path(), cache)
		}
	}
	if edge.Root() != cp.Root {
		t.Error("the served entries hash to another root")
	}
}

// TestTilePathsRefused: paths that climb, overflow or are not canonical are not found, and cost nothing.
//
// Audit rows: 20, 149.
func TestTilePathsRefused(t *testing.T) {
	w := newWorld(t)
	w.fill(300)
	for _, path := range []string{
		"tile/0/..%2f..%2fcheckpoint", "tile/../checkpoint", "tile/0/%2e%2e/000", "tile/0/000.p/4294967297",
		"tile/0/000.p/999999999999999999999", "tile/0/x018/x446/x744/x073/x709/x551/615", "tile/63/x999/999",
		"tile/9223372036854775807/000",
		"tile/0/001.p/46", "tile/0/001", "tile/0/002", "tile/0/000.p/256", "tile/0/000.p/0", "tile/0/0", "tile/00/000",
		"tile/0/x000/001", "tile/1/000", "tile/64/000", "tile/0/000/", "tile/0/000.p", "tile/-1/000", "tile/data/000",
		"tile/0/000.p/1/x", "tile/0", "tile/0/..%2f000", "tile/2/000.p/1",
	} {
		if got := w.get("", "/log/1/"+path); got.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, got.Code)
		}
	}
	w.expect(w.get("", "/log/1/tile/0/000.p/17"), http.StatusOK) // part of a full tile
	w.expect(w.get("", "/log/1/tile/1/000.p/1"), http.StatusOK)
	w.expect(w.get("auditor", "/log/1/tile/entries/001"), http.StatusNotFound)
	w.expect(w.get("auditor", "/log/1/tile/entries/x018/x446/x744/x073/x709/x551/615"), http.StatusNotFound)
	w.expect(w.get("", "/log/1/tile/entries/000"), http.StatusUnauthorized)
}

// TestCompression: an entry bundle is the same octets whether it travels compressed or not, and a cache can tell the
// two apart.
//
// Audit rows: 17.
func TestCompression(t *testing.T) {
	w := newWorld(t)
	w.fill(300)
	get := func(path, encoding string) ([]byte, http.Header) {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", w.bearer("auditor", http.MethodGet, path))
		if encoding != "" {
			r.Header.Set("Accept-Encoding", encoding)
		}
		got := w.do(r)
		return w.expect(got, http.StatusOK), got.Header()
	}
	const path = "/log/1/tile/entries/000"
	plain, header := get(path, "")
	for encoding, want := range map[string]bool{
		"gzip": true, "br, GZIP;q=0.5": true, "gzip;q=1.000": true, "identity": false, "gzip;q=0": false,
		"gzip;q=0.000, br": false, "*": false, "x-gzip": false,
	} {
		body, got := get(path, encoding)
		if is := got.Get("Content-Encoding") == "gzip"; is != want {
			t.Errorf("%q: compressed %v", encoding, is)
			continue
		}
		if want {
			r, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if len(body) >= len(plain) || got.Get("ETag") == header.Get("ETag") {
				t.Errorf("%q: %d octets with the tag of the plain form", encoding, len(body))
			}
			if body, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(body, plain) || got.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: other octets, or no Vary", encoding)
		}
	}
	if _, got := get("/log/1/tile/0/000", "gzip"); got.Get("Content-Encoding") != "" {
		t.Error("hashes were compressed")
	}
}

// Audit rows: 16.
func TestEntityTags(t *testing.T) {
	w := newWorld(t)
	w.fill(3)
	for _, path := range []string{"/log/1/tile/0/000.p/4", "/log/1/checkpoint", "/.well-known/jwks.json",
		"/.well-known/mission-authority-server", "/.well-known/scitt-keys"} {
		first := w.get("", path)
		w.expect(first, http.StatusOK)
		tag := first.Header().Get("ETag")
		for field, want := range map[string]int{tag: 304, `"x", ` + tag: 304, "*": 304, `"x"`: 200, "": 200} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set("If-None-Match", field)
			got := w.do(r)
			if got.Code != want || want == 304 && got.Body.Len() > 0 {
				t.Errorf("%s with %q: %d, %d octets", path, field, got.Code, got.Body.Len())
			}
		}
		if cache := first.Header().Get("Cache-Control"); !strings.HasPrefix(cache, "public, max-age=") {
			t.Errorf("%s: Cache-Control %q", path, cache)
		}
	}
}

// trust is what an auditor got by other means.
func (w *world) trust() *verifier.Trust {
	w.Helper()
	return &verifier.Trust{Anchor: verifier.Anchor{
		Issuer: testIssuer, Origin: testOrigin, VKey: w.log.Keys.VKey, Keys: w.api.config.Published.Issuer,
		Receipts: verifier.KeyRing{{Public: w.log.Keys.ReceiptKey, Status: verifier.KeyActive}},
		Evidence: verifier.KeyRing{{Public: w.log.Keys.EvidenceKey, Status: verifier.KeyActive}},
	}}
}

// TestEntries verifies every form of every entry the auditor's way.
func TestEntries(t *testing.T) {
	w := newWorld(t)
	bodies := w.fill(5)
	v := w.log.MustView(t)
	cp := w.head()
	for i := range bodies {
		e, err := v.Entry(uint64(i + 1))
		if err != nil {
			t.Fatal(err)
		}
		path := "/entries/" + ledger.EntryID(ledger.HashLeaf(e.Statement))
		statement := w.expect(w.get("auditor", path+"/statement"), http.StatusOK)
		got := w.get("auditor", path)
		receipt := w.expect(got, http.StatusOK)
		if got.Header().Get("Content-Type") != mediaCOSE || got.Header().Get("Location") != path {
			t.Errorf("headers %v", got.Header())
		}
		if r := verifier.VerifyReceipt(receipt, statement, w.trust()); r.Verdict != verifier.Verified {
			t.Errorf("receipt %d: %v", i, r.Findings)
		}
		transparent := w.expect(w.get("auditor", path+"/transparent"), http.StatusOK)
		if r := verifier.VerifyStatement(transparent, w.trust()); r.Verdict != verifier.Verified {
			t.Errorf("transparent statement %d: %v", i, r.Findings)
		}
		parsed, err := ledger.ParseReceipt(receipt)
		if err != nil {
			t.Fatal(err)
		}
		if parsed.Size != cp.Size || *parsed.FeedSeq != uint64(i/2) || *parsed.FeedSize != uint64(3-i%2) {
			t.Errorf("receipt %d: size %d, number %d of %d", i, parsed.Size, *parsed.FeedSeq, *parsed.FeedSize)
		}
	}
	w.expect(w.get("auditor", "/entries/"+strings.Repeat("A", 64)), http.StatusNotFound)
}

// TestFirstEntryHasNoReceipt: a tree of one entry proves nothing yet.
func TestFirstEntryHasNoReceipt(t *testing.T) {
	w := newWorld(t)
	e, err := w.log.MustView(t).Entry(0)
	if err != nil {
		t.Fatal(err)
	}
	got := w.get("auditor", "/entries/"+ledger.EntryID(ledger.HashLeaf(e.Statement)))
	w.expect(got, http.StatusServiceUnavailable)
	if got.Header().Get("Retry-After") == "" || got.Header().Get("Content-Type") != "application/concise-problem-details+cbor" {
		t.Errorf("headers %v", got.Header())
	}
}

// The receipt keys are a COSE key set, and each is found by its kid in base64url or hexadecimal.
//
// Audit rows: 59.
func TestReceiptKeys(t *testing.T) {
	w := newWorld(t)
	set, err := ledger.ParseKeySet(w.expect(w.get("", "/.well-known/scitt-keys"), http.StatusOK))
	if err != nil || len(set) != 1 {
		t.Fatalf("%d keys, %v", len(set), err)
	}
	kid := set[0].ID
	for _, name := range []string{base64.RawURLEncoding.EncodeToString(kid), hex.EncodeToString(kid)} {
		key := w.expect(w.get("", "/.well-known/scitt-keys/"+name), http.StatusOK)
		if again, err := ledger.ParseKeySet(append([]byte{0x81}, key...)); err != nil || len(again) != 1 {
			t.Errorf("%s: not a COSE_Key: %v", name, err)
		}
	}
	for _, name := range []string{"x", strings.Repeat("0", 64), hex.EncodeToString(kid) + "00"} {
		w.expect(w.get("", "/.well-known/scitt-keys/"+name), http.StatusNotFound)
	}
}

func TestInclusionProofs(t *testing.T) {
	w := newWorld(t)
	w.fill(20)
	v := w.log.MustView(t)
	cp := w.head()
	for index := range uint64(21) {
		e, err := v.Entry(index)
		if err != nil {
			t.Fatal(err)
		}
		leaf := ledger.HashLeaf(e.Statement)
		for _, q := range []string{fmt.Sprintf("index=%d", index), "leaf_hash=" + leaf.String()} {
			var p inclusionProof
			if err := mission.Decode(w.expect(w.get("", "/v1/proofs/inclusion?"+q), http.StatusOK), &p); err != nil {
				t.Fatal(err)
			}
			if p.RootHash != cp.Root.String() || p.LeafHash != leaf.String() || p.Checkpoint == "" {
				t.Errorf("%s: %+v", q, p)
			}
			if err := ledger.VerifyInclusion(leaf, p.LeafIndex, p.TreeSize, parseHexes(t, p.Path), cp.Root); err != nil {
				t.Errorf("%s: %v", q, err)
			}
		}
		r := httptest.NewRequest(http.MethodGet, fmt.Sprintf("/v1/proofs/inclusion?index=%d", index), nil)
		r.Header.Set("Accept", "text/plain")
		p, err := ledger.ParseTLogProof(w.expect(w.do(r), http.StatusOK))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Verify(leaf, testOrigin, w.log.Keys.Verifier); err != nil {
			t.Errorf("tlog-proof %d: %v", index, err)
		}
	}
	var old inclusionProof
	if err := mission.Decode(w.expect(w.get("", "/v1/proofs/inclusion?index=3&tree_size=7"), 200), &old); err != nil {
		t.Fatal(err)
	}
	root, err := v.RootAt(7)
	if err != nil || old.RootHash != root.String() || old.Checkpoint != "" {
		t.Errorf("proof at size 7: %+v, %v", old, err)
	}
	for q, want := range map[string]int{
		"": 400, "index=1&leaf_hash=" + strings.Repeat("0", 64): 400, "index=x": 400, "index=01": 400, "index=21": 404,
		"index=3&tree_size=3": 404, "index=1&tree_size=22": 400, "leaf_hash=x": 400, "index=1&index=1": 400,
		"index=1&x=1": 400, "leaf_hash=" + strings.Repeat("0", 64): 404, "index=18446744073709551616": 400,
		"index=1;tree_size=2": 400, "index=1&tree_size=": 400,
	} {
		if got := w.get("", "/v1/proofs/inclusion?"+q); got.Code != want {
			t.Errorf("%q: %d, want %d", q, got.Code, want)
		}
	}
}

func parseHexes(t *testing.T, list []string) []ledger.Hash {
	t.Helper()
	out := make([]ledger.Hash, len(list))
	for i, s := range list {
		h, err := ledger.ParseEntryID(s)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = h
	}
	return out
}

func TestConsistencyProofs(t *testing.T) {
	w := newWorld(t)
	w.fill(40)
	v := w.log.MustView(t)
	for from := uint64(1); from <= 41; from += 5 {
		for to := from; to <= 41; to += 4 {
			body := w.expect(w.get("", fmt.Sprintf("/v1/proofs/consistency?from=%d&to=%d", from, to)), http.StatusOK)
			p, err := verifier.ParseConsistencyProof(body)
			if err != nil {
				t.Fatal(err)
			}
			rootFrom, err := v.RootAt(from)
			if err != nil {
				t.Fatal(err)
			}
			rootTo, err := v.RootAt(to)
			if err != nil {
				t.Fatal(err)
			}
			if p.RootFrom != rootFrom.String() || p.RootTo != rootTo.String() || p.Origin != testOrigin {
				t.Errorf("%d to %d: %+v", from, to, p)
			}
			path, err := p.Hashes()
			if err != nil {
				t.Fatal(err)
			}
			if err := ledger.VerifyConsistency(from, to, path, rootFrom, rootTo); err != nil {
				t.Errorf("%d to %d: %v", from, to, err)
			}
		}
	}
	for q, want := range map[string]int{"": 400, "from=0": 400, "from=42": 400, "from=5&to=4": 400, "from=1&to=42": 400,
		"from=1": 200, "to=5": 400, "from=1&to=x": 400} {
		if got := w.get("", "/v1/proofs/consistency?"+q); got.Code != want {
			t.Errorf("%q: %d, want %d", q, got.Code, want)
		}
	}
}

func TestFeeds(t *testing.T) {
	w := newWorld(t)
	w.fill(25)
	path := "/v1/feeds/" + base64.RawURLEncoding.EncodeToString([]byte(w.log.Keys.Subject(t, "msn_even")))
	var seen []uint64
	query := "?limit=5"
	for page := 0; ; page++ {
		var f feed
		if err := mission.Decode(w.expect(w.get("auditor", path+query), http.StatusOK), &f); err != nil {
			t.Fatal(err)
		}
		if f.TreeSize != 26 || f.CoveredSize != 0 {
			t.Errorf("covers %d of %d", f.CoveredSize, f.TreeSize)
		}
		for _, item := range f.Items {
			if item.Seq != uint64(len(seen)) || item.LeafIndex != 2*item.Seq+1 || item.Issuer != testIssuer {
				t.Errorf("item %+v", item)
			}
			seen = append(seen, item.LeafIndex)
		}
		if f.Next == nil {
			break
		}
		query = fmt.Sprintf("?limit=5&after_seq=%d", *f.Next)
		if page > 5 {
			t.Fatal("the feed does not end")
		}
	}
	if len(seen) != 13 {
		t.Errorf("%d items", len(seen))
	}
	empty := string(w.expect(w.get("auditor", "/v1/feeds/"+base64.RawURLEncoding.EncodeToString([]byte("nothing"))), 200))
	if !strings.Contains(empty, `"items":[]`) {
		t.Errorf("an empty feed answers %s", empty)
	}
	for q, want := range map[string]int{"?limit=0": 400, "?limit=1001": 400, "?after_seq=x": 400, "?y=1": 400, "?after_seq=99": 200} {
		if got := w.get("auditor", path+q); got.Code != want {
			t.Errorf("%s: %d", q, got.Code)
		}
	}
	w.expect(w.get("auditor", "/v1/feeds/YQ=="), http.StatusNotFound)
}

func TestEvidence(t *testing.T) {
	w := newWorld(t)
	bodies := w.fill(2)
	digest := mission.RawDigest(bodies[0])
	got := w.get("auditor", "/v1/evidence/"+string(digest))
	if body := w.expect(got, http.StatusOK); string(body) != string(bodies[0]) {
		t.Errorf("got %q", body)
	}
	if got.Header().Get("ETag") != `"`+string(digest)+`"` || got.Header().Get("Content-Type") != mediaOctets ||
		got.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", got.Header())
	}
	v := w.log.MustView(t)
	entryID := func(index uint64) string {
		e, err := v.Entry(index)
		if err != nil {
			t.Fatal(err)
		}
		return ledger.EntryID(ledger.HashLeaf(e.Statement))
	}
	w.expect(w.get("auditor", "/v1/evidence/"+string(digest)+"?entry_id="+entryID(1)), http.StatusOK)
	w.expect(w.get("auditor", "/v1/evidence/"+string(digest)+"?entry_id="+entryID(2)), http.StatusNotFound)
	w.expect(w.get("auditor", "/v1/evidence/"+string(digest)+"?entry_id=x"), http.StatusNotFound)
	w.expect(w.get("auditor", "/v1/evidence/"+string(mission.DigestOf(sha256.Sum256(nil)))), http.StatusNotFound)
	w.expect(w.get("auditor", "/v1/evidence/sha-512:x"), http.StatusNotFound)
}

func TestMetadata(t *testing.T) {
	w := newWorld(t)
	var m map[string]mission.Raw
	if err := mission.Decode(w.expect(w.get("", "/.well-known/mission-authority-server"), http.StatusOK), &m); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"issuer":                                      `"https://log.a.example"`,
		"mission_submission_endpoint":                 `"https://log.a.example/mas/submissions"`,
		"mission_status_endpoint":                     `"https://log.a.example/mas/missions/status"`,
		"mission_lifecycle_endpoint":                  `"https://log.a.example/mas/missions/lifecycle"`,
		"jwks_uri":                                    `"https://log.a.example/.well-known/jwks.json"`,
		"mission_auth_methods_supported":              `["private_key_jwt"]`,
		"mission_status_signing_alg_values_supported": `["ES256"]`,
		"mission_max_stale_seconds":                   `60`,
		"mission_federation_versions":                 `["1"]`,
		"mission_log_origin":                          `"log.a.example/log/1"`,
		"mission_log_checkpoint_endpoint":             `"https://log.a.example/log/1/checkpoint"`,
		"mission_log_claims_not_made":                 `["non_equivocation","rollback_of_the_whole_directory","independent_time"]`,
	} {
		if got := string(m[name].Bytes()); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	none := w.api.configForTest()
	none.Peers = nil
	var err error
	if w.api, err = New(none); err != nil {
		t.Fatal(err)
	}
	if body := string(w.expect(w.get("", "/.well-known/mission-authority-server"), 200)); strings.Contains(body, "federation") {
		t.Error("a service without peers advertises federation")
	}
	w.expect(w.get("", "/.well-known/oauth-protected-resource/mas/missions/status"), 200)
	got := w.do(httptest.NewRequest(http.MethodPost, "/federation/v1/projections", nil))
	w.expect(got, http.StatusNotFound)
}

// TestIssuerWithPath: the path of the issuer prefixes everything; well-known paths are inserted before it.
func TestIssuerWithPath(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Issuer += "/tenant" })
	for _, path := range []string{"/.well-known/mission-authority-server/tenant", "/.well-known/jwks.json/tenant",
		"/tenant/log/1/checkpoint", "/healthz"} {
		w.expect(w.get("", path), http.StatusOK)
	}
	w.expect(w.get("", "/log/1/checkpoint"), http.StatusNotFound)
	body := string(w.expect(w.get("", "/.well-known/mission-authority-server/tenant"), 200))
	if !strings.Contains(body, `"https://log.a.example/tenant/mas/submissions"`) ||
		!strings.Contains(body, `"https://log.a.example/.well-known/jwks.json/tenant"`) {
		t.Errorf("metadata %s", body)
	}
}
