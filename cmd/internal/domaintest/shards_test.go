package domaintest_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/domaintest"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/schemas"
)

func freeze(t *testing.T, d *domaintest.Domain, who, successor, reason string) (int, string) {
	t.Helper()
	resp, err := d.Client(t, who).Post(t.Context(), "/v1/log/freeze", map[string]string{
		"successor": successor, "reason": reason})
	if refused, ok := errors.AsType[*client.Error](err); ok {
		return refused.Status, client.Code(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		Status string `json:"status"`
	}
	if err := resp.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return resp.Status, out.Status
}

// public reads something that anybody may read.
func public(t *testing.T, address string) []byte {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s %v", address, resp.Status, body, err)
	}
	return body
}

func openCheckpoint(t *testing.T, text []byte, origin, vkey string) ledger.Checkpoint {
	t.Helper()
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ledger.OpenCheckpoint(text, origin, v)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type shardRow struct {
	Origin      string `json:"origin"`
	Status      string `json:"status"`
	Successor   string `json:"successor,omitempty"`
	Predecessor string `json:"predecessor,omitempty"`
	MinIndex    int64  `json:"min_index"`
	FinalSize   uint64 `json:"final_size,omitempty"`
	FinalRoot   string `json:"final_root,omitempty"`
}

// TestFreezeAndSucceed freezes the log of a running domain on the word of two administrators, lets a new shard continue
// it, and follows a feed through both as an auditor does: in order, each entry proven in the tree of its shard, and the
// second shard's genesis bound to the end of the first.
//
// Audit rows: 103, 104, 105, 106.
func TestFreezeAndSucceed(t *testing.T) {
	dir, c := domaintest.Prepare(t, domain.DevCeiling, nil)
	d := domaintest.Start(t, dir, c)
	d.Register(t, 5)
	old, next := c.LogOrigin(), c.ShardOrigin("2027h1")

	for _, step := range []struct {
		who, successor, reason string
		status                 int
		want                   string
	}{
		{"admin", old, "end of the half-year", 400, "invalid_request"},
		{"operator", next, "end of the half-year", 404, "not_found"},
		{"admin", next, "end of the half-year", 202, "awaiting_second_administrator"},
		{"admin", next, "end of the half-year", 202, "awaiting_second_administrator"},
		{"admin-2", next, "another reason", 202, "awaiting_second_administrator"},
		{"admin", next, "end of the half-year", 202, "awaiting_second_administrator"},
		{"admin-2", next, "end of the half-year", 200, "frozen"},
		{"admin", next, "end of the half-year", 405, "log_frozen"},
	} {
		if status, got := freeze(t, d, step.who, step.successor, step.reason); status != step.status || got != step.want {
			t.Fatalf("%+v: %d %s", step, status, got)
		}
	}
	entry := ledger.Entry{Statement: []byte{}, Body: nil}
	if _, err := d.Log.Commit(t.Context(), ledger.Change{Entries: []ledger.Entry{entry}}); !errors.Is(err, ledger.ErrFrozen) {
		t.Errorf("a frozen log takes an entry: %v", err)
	}
	final := public(t, d.Issuer+"/log/main/checkpoint")
	end := openCheckpoint(t, final, old, d.VKey)
	oldKey := d.VKey
	if ready, err := http.Get(d.Issuer + "/readyz"); err != nil {
		t.Error(err)
	} else {
		body, _ := io.ReadAll(ready.Body)
		ready.Body.Close()
		if !strings.Contains(string(body), "write:log_frozen") {
			t.Errorf("readiness: %s", body)
		}
	}
	if err := d.Stop(); !errors.Is(err, domain.ErrLatched) {
		t.Errorf("stopping a frozen log: %v", err)
	}

	c.Log.FrozenDir = filepath.Join(dir, "frozen")
	if err := os.MkdirAll(c.Log.FrozenDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.Store.Dir, filepath.Join(c.Log.FrozenDir, "main")); err != nil {
		t.Fatal(err)
	}
	c.Log.Shard = "2027h2"
	if _, err := domain.Open(context.Background(), domain.Options{Config: c}); !errors.Is(err, ledger.ErrSuccession) {
		t.Errorf("another successor than the one named: %v", err)
	}
	if err := os.RemoveAll(c.Store.Dir); err != nil {
		t.Fatal(err)
	}
	c.Log.Shard = "2027h1"
	for round := range 2 { // the second time the log exists already
		d = domaintest.Start(t, dir, c)
		if round == 0 {
			d.Register(t, 3)
			if err := d.Stop(); err != nil {
				t.Fatal(err)
			}
		}
	}

	body := public(t, d.Issuer+"/v1/shards")
	if err := schemas.Validate("shards", body); err != nil {
		t.Errorf("GET /v1/shards: %v", err)
	}
	var list struct {
		Shards []shardRow `json:"shards"`
	}
	if err := mission.DecodeOpen(body, &list); err != nil || len(list.Shards) != 2 {
		t.Fatalf("%s %v", body, err)
	}
	first, second := list.Shards[0], list.Shards[1]
	if first.Status != "frozen" || first.FinalSize != end.Size || first.FinalRoot != end.Root.String() ||
		first.Successor != next || second.Status != "active" || second.Predecessor != old || first.Origin != old ||
		second.Origin != next || first.MinIndex != 0 || second.MinIndex != 0 {
		t.Errorf("%+v", list.Shards)
	}
	if again := public(t, d.Issuer+"/log/main/checkpoint"); string(again) != string(final) {
		t.Error("the final checkpoint of the frozen shard changed")
	}
	newest := openCheckpoint(t, public(t, d.Issuer+"/log/2027h1/checkpoint"), next, d.VKey)

	auditor := d.Client(t, "auditor")
	subject := url.PathEscape(base64.RawURLEncoding.EncodeToString([]byte(d.Issuer + "/exports/load")))
	var seen []string
	for _, s := range []struct {
		base string
		head ledger.Checkpoint
	}{{"/v1/shards/main", end}, {"/v1", newest}} {
		resp, err := auditor.Get(t.Context(), s.base+"/feeds/"+subject)
		if err != nil {
			t.Fatal(err)
		}
		var feed struct {
			Items []struct {
				LeafIndex uint64 `json:"leaf_index"`
				EntryID   string `json:"entry_id"`
			} `json:"items"`
		}
		if err := resp.Decode(&feed); err != nil {
			t.Fatal(err)
		}
		for _, item := range feed.Items {
			seen = append(seen, item.EntryID)
			var proof struct {
				Path []string `json:"inclusion_path"`
				Size uint64   `json:"tree_size"`
			}
			text := public(t, fmt.Sprintf("%s%s/proofs/inclusion?index=%d&tree_size=%d", d.Issuer, s.base, item.LeafIndex,
				s.head.Size))
			if err := mission.DecodeOpen(text, &proof); err != nil {
				t.Fatal(err)
			}
			leaf, err := ledger.ParseEntryID(item.EntryID)
			if err != nil {
				t.Fatal(err)
			}
			var path []ledger.Hash
			for _, h := range proof.Path {
				path = append(path, mustHash(t, h))
			}
			if err := ledger.VerifyInclusion(leaf, item.LeafIndex, s.head.Size, path, s.head.Root); err != nil {
				t.Errorf("entry %d of %s: %v", item.LeafIndex, s.head.Origin, err)
			}
		}
	}
	if len(seen) != 8 || len(slices.Compact(slices.Sorted(slices.Values(seen)))) != 8 {
		t.Errorf("the feed has %d entries over both shards, want 5 and 3", len(seen))
	}

	v, err := d.Log.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	g := genesisOf(t, v)
	if err := g.Continues(end); err != nil || g.Predecessor.LogKey != oldKey {
		t.Errorf("the genesis of the second shard: %v", err)
	}
	later := end
	later.Size++
	if err := g.Continues(later); err == nil {
		t.Error("the genesis continues any log")
	}
}

func mustHash(t *testing.T, text string) ledger.Hash {
	t.Helper()
	if h, err := ledger.ParseEntryID(text); err == nil {
		return h
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != ledger.HashSize {
		t.Fatalf("hash %q: %v", text, err)
	}
	return ledger.Hash(b)
}

func genesisOf(t *testing.T, v ledger.View) *ledger.Genesis {
	t.Helper()
	e, err := v.Entry(0)
	if err != nil {
		t.Fatal(err)
	}
	st, err := ledger.ParseStatement(e.Statement)
	if err != nil {
		t.Fatal(err)
	}
	body, err := v.Body(st.Digest)
	if err != nil {
		t.Fatal(err)
	}
	g, err := ledger.OpenGenesis(e.Statement, body)
	if err != nil {
		t.Fatal(err)
	}
	return g
}
