package oracle

import (
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/domaintest"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/ledger"
)

// sizes at which the log is looked at on its way. At 1 there is nothing but the genesis statement.
var sizes = []int{255, 256, 257, 65_537, 70_000}

// TestLogIsAcceptedByOthers grows one log to 70,000 entries and has each implementation accept it over HTTP.
//
// Audit rows: 18, 52.
func TestLogIsAcceptedByOthers(t *testing.T) {
	dir, c := domaintest.Prepare(t, domain.DevCeiling, map[string]string{"limits.rate": "100000"})
	d := domaintest.Start(t, dir, c)
	r := &reader{client: d.Client(t, "auditor"), vkey: d.VKey, origin: c.LogOrigin()}

	size := int(r.checkpoint(t).N)
	heads := []tlog.Tree{r.treeAt(t, d, 1)}
	for _, want := range sizes {
		if got := d.Register(t, want-size); got != uint64(want) {
			t.Fatalf("the log has %d entries, want %d", got, want)
		}
		size = want
		head := r.checkpoint(t)
		if head.N != int64(want) {
			t.Fatalf("the checkpoint is of size %d, want %d", head.N, want)
		}
		r.checkTiles(t, head, heads[len(heads)-1])
		heads = append(heads, head)
	}
	r.checkRecords(t, heads[len(heads)-1])
	t.Run("tessera fsck", func(t *testing.T) { r.fsck(t) })
	t.Run("transmute cose", func(t *testing.T) { checkCOSE(t, d) })
}

// A reader reads the log over HTTP, entries with the auditor's credential.
type reader struct {
	client       *client.Client
	vkey, origin string
}

func (r *reader) get(ctx context.Context, path string) ([]byte, error) {
	resp, err := r.client.Get(ctx, "/log/main/"+path)
	if err != nil {
		if e, ok := err.(*client.Error); ok && e.Status == http.StatusNotFound {
			return nil, fmt.Errorf("%s: %w", path, os.ErrNotExist)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return resp.Body, nil
}

// checkpoint opens the signed head with x/mod's note and reads its three lines.
func (r *reader) checkpoint(t *testing.T) tlog.Tree {
	t.Helper()
	text, err := r.get(t.Context(), "checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(r.vkey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(n.Text, "\n")
	if len(lines) != 4 || lines[0] != r.origin {
		t.Fatalf("checkpoint text %q", n.Text)
	}
	var tree tlog.Tree
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		t.Fatal(err)
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		t.Fatalf("root %q: %v", lines[2], err)
	}
	copy(tree.Hash[:], root)
	return tree
}

// treeAt takes a smaller tree from the log's own view.
func (r *reader) treeAt(t *testing.T, d *domaintest.Domain, size uint64) tlog.Tree {
	t.Helper()
	v, err := d.Log.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	root, err := v.RootAt(size)
	if err != nil {
		t.Fatal(err)
	}
	return tlog.Tree{N: int64(size), Hash: tlog.Hash(root)}
}

// Height, ReadTiles and SaveTiles make a reader a tlog.TileReader: tiles of 256 hashes, checked by tlog against the
// head.
func (r *reader) Height() int { return 8 }

func (r *reader) SaveTiles([]tlog.Tile, [][]byte) {}

func (r *reader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range tiles {
		p := uint8(tile.W % 256)
		data, err := r.ReadTile(context.Background(), uint64(tile.L), uint64(tile.N), p)
		if err != nil {
			return nil, err
		}
		out = append(out, data)
	}
	return out, nil
}

// checkTiles recomputes the root from tiles, and proves that the tree before is a prefix.
func (r *reader) checkTiles(t *testing.T, head, before tlog.Tree) {
	t.Helper()
	hashes := tlog.TileHashReader(head, r)
	root, err := tlog.TreeHash(head.N, hashes)
	if err != nil || root != head.Hash {
		t.Fatalf("size %d: root from tiles %v, signed %v: %v", head.N, root, head.Hash, err)
	}
	proof, err := tlog.ProveTree(head.N, before.N, hashes)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckTree(proof, head.N, head.Hash, before.N, before.Hash); err != nil {
		t.Fatalf("size %d does not extend size %d: %v", head.N, before.N, err)
	}
}

// checkRecords proves some entries, read from bundles, in the tree.
func (r *reader) checkRecords(t *testing.T, head tlog.Tree) {
	t.Helper()
	hashes := tlog.TileHashReader(head, r)
	for _, index := range []int64{0, 1, 254, 255, 256, 65_535, 65_536, head.N - 1} {
		bundle, err := r.ReadEntryBundle(t.Context(), uint64(index)/256, layout.PartialTileSize(0, uint64(index)/256, uint64(head.N)))
		if err != nil {
			t.Fatal(err)
		}
		var b api.EntryBundle
		if err := b.UnmarshalText(bundle); err != nil {
			t.Fatal(err)
		}
		proof, err := tlog.ProveRecord(head.N, index, hashes)
		if err != nil {
			t.Fatal(err)
		}
		leaf := tlog.RecordHash(b.Entries[index%256])
		if err := tlog.CheckRecord(proof, head.N, head.Hash, index, leaf); err != nil {
			t.Fatalf("record %d: %v", index, err)
		}
		leaf[0] ^= 1
		if tlog.CheckRecord(proof, head.N, head.Hash, index, leaf) == nil {
			t.Fatalf("record %d: a flipped hash is accepted", index)
		}
	}
}

// ReadCheckpoint, ReadTile and ReadEntryBundle make a reader an fsck.Fetcher.
func (r *reader) ReadCheckpoint(ctx context.Context) ([]byte, error) { return r.get(ctx, "checkpoint") }

func (r *reader) ReadTile(ctx context.Context, level, index uint64, p uint8) ([]byte, error) {
	return r.get(ctx, layout.TilePath(level, index, p))
}

func (r *reader) ReadEntryBundle(ctx context.Context, index uint64, p uint8) ([]byte, error) {
	return r.get(ctx, layout.EntriesPath(index, p))
}

func (r *reader) fsck(t *testing.T) {
	verifier, err := note.NewVerifier(r.vkey)
	if err != nil {
		t.Fatal(err)
	}
	hashes := func(bundle []byte) ([][]byte, error) {
		var b api.EntryBundle
		if err := b.UnmarshalText(bundle); err != nil {
			return nil, err
		}
		var out [][]byte
		for _, e := range b.Entries {
			h := tlog.RecordHash(e)
			out = append(out, h[:])
		}
		return out, nil
	}
	// The library deadlocks on a mismatch with one worker, and on an error of the fetcher: hence N and the timeout.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- fsck.New(r.origin, verifier, r, hashes, fsck.Opts{N: 4}).Check(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-ctx.Done():
		t.Fatal("fsck did not end")
	}
}

// checkCOSE has a COSE implementation in another language verify a transparent statement of the log, and refuse each of
// several copies with one flipped byte.
func checkCOSE(t *testing.T, d *domaintest.Domain) {
	node := cosePackage(t)
	auditor := d.Client(t, "auditor")
	resp, err := auditor.Get(t.Context(), "/v1/feeds/"+
		base64.RawURLEncoding.EncodeToString([]byte(d.Issuer+"/exports/load"))+"?"+url.Values{"limit": {"1"}}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	var feed struct {
		Items []struct {
			EntryID string `json:"entry_id"`
		} `json:"items"`
	}
	if err := resp.Decode(&feed); err != nil || len(feed.Items) != 1 {
		t.Fatalf("feed: %v", err)
	}
	own, err := auditor.Get(t.Context(), "/entries/"+feed.Items[0].EntryID+"/transparent")
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "keys.json")
	writeKeys(t, keyFile, d)
	verify := func(statement []byte) (ok bool, registered string) {
		file := filepath.Join(t.TempDir(), "statement.cose")
		if err := os.WriteFile(file, statement, 0o600); err != nil {
			t.Fatal(err)
		}
		out, _ := exec.Command("node", filepath.Join(node, "verify.mjs"), file, keyFile).Output()
		var answer struct {
			OK         bool   `json:"ok"`
			Registered string `json:"registered"`
		}
		if err := json.Unmarshal(out, &answer); err != nil {
			t.Fatalf("the verifier said %q: %v", out, err)
		}
		return answer.OK, answer.Registered
	}
	for _, statement := range [][]byte{own.Body, registerOutside(t, d)} {
		ok, registered := verify(statement)
		if !ok {
			t.Fatal("the transparent statement was refused")
		}
		raw, _, err := ledger.DetachReceipts(statement)
		if err != nil || hex.EncodeToString(raw) != registered {
			t.Fatalf("the registered bytes differ: %v", err)
		}
		for _, at := range []int{len(statement) - 1, len(statement) / 2, len(statement) / 3, 40} {
			flipped := append([]byte(nil), statement...)
			flipped[at] ^= 1
			if ok, _ := verify(flipped); ok {
				t.Errorf("a statement with byte %d flipped was accepted", at)
			}
		}
	}
}

// registerOutside has the local producer register a statement by SCRAPI and returns it with its receipt.
func registerOutside(t *testing.T, d *domaintest.Domain) []byte {
	t.Helper()
	key := d.Dev.Clients["producer"].Statement
	signer, err := key.Signer()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := ledger.SignStatement(t.Context(), ledger.Claims{Issuer: key.Issuer, Subject: d.Issuer + "/missions/msn_1",
		ContentType: "application/mission-harness-evidence+json", Digest: ledger.HashLeaf([]byte("record"))}, signer)
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.Client(t, "producer").PostRaw(t.Context(), "/entries", "application/cose", raw)
	if err != nil {
		t.Fatal(err)
	}
	transparent, err := ledger.AttachReceipts(raw, got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return transparent
}

// cosePackage returns a copy of the npm package with its dependencies, or skips.
func cosePackage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("cose")); err != nil {
		t.Fatal(err)
	}
	install := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		if os.Getenv("REQUIRE_ALL") != "" {
			t.Fatalf("npm ci: %v\n%s", err, out)
		}
		t.Skipf("MISSING node and npm with @transmute/cose: %v", err)
	}
	return dir
}

// writeKeys writes the issuer's evidence key and the receipt key as the verifier wants them.
func writeKeys(t *testing.T, path string, d *domaintest.Domain) {
	t.Helper()
	type jwk struct {
		Kty string `json:"kty"`
		Crv string `json:"crv"`
		Alg string `json:"alg"`
		X   string `json:"x"`
		Y   string `json:"y"`
	}
	type key struct {
		Kid string `json:"kid"`
		JWK jwk    `json:"jwk"`
	}
	producer, err := d.Dev.Clients["producer"].Statement.JWK.Private()
	if err != nil {
		t.Fatal(err)
	}
	var all []key
	for _, public := range []*ecdsa.PublicKey{d.Keys.Key(keys.Evidence).Public().(*ecdsa.PublicKey),
		d.Keys.Key(keys.Receipts).Public().(*ecdsa.PublicKey), &producer.PublicKey} {
		kid, err := ledger.KeyThumbprint(public)
		if err != nil {
			t.Fatal(err)
		}
		point, err := public.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, key{hex.EncodeToString(kid), jwk{"EC", "P-256", "ES256",
			base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:])}})
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
