package verifier

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission/jws"
)

// epoch is the instant at which fixtures begin.
var epoch = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// A domain is one issuer with its keys and a log in memory.
type domain struct {
	t          testing.TB
	issuer     string
	origin     string
	checkpoint note.Signer
	vkey       string
	receipts   signer
	evidence   signer
	keys       map[string]*jws.Key // "status", "governance"
	leaves     []ledger.Hash
	entries    [][]byte
	times      []time.Time
	bodies     map[ledger.Hash]body
	feeds      map[string][]uint64
}

type body struct {
	contentType string
	data        []byte
}

// A signer is a ledger.Signer with its public key.
type signer struct {
	ledger.Signer
	public crypto.PublicKey
}

func newSigner(t testing.TB) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ledger.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer{s, key.Public()}
}

// newDomain makes a domain whose log holds its genesis statement.
func newDomain(t testing.TB, issuer, origin string) *domain {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	d := &domain{t: t, issuer: issuer, origin: origin, checkpoint: s, vkey: vkey, receipts: newSigner(t),
		evidence: newSigner(t), keys: map[string]*jws.Key{}, bodies: map[ledger.Hash]body{}, feeds: map[string][]uint64{}}
	for _, name := range []string{"status", "governance"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if d.keys[name], err = jws.NewKey("", key); err != nil {
			t.Fatal(err)
		}
	}
	producer, err := ledger.NewKey(d.evidence.public)
	if err != nil {
		t.Fatal(err)
	}
	receiptKey, err := ledger.NewKey(d.receipts.public)
	if err != nil {
		t.Fatal(err)
	}
	genesis, err := ledger.MarshalGenesis(&ledger.Genesis{Format: 1, Origin: origin, Issuer: issuer, LogKey: vkey,
		ReceiptKeys: ledger.KeySet{receiptKey},
		Producers:   []ledger.Producer{{Issuer: issuer, Key: producer, Types: []string{ledger.AnyType}}}})
	if err != nil {
		t.Fatal(err)
	}
	d.append("/log", ledger.ContentTypeGenesis, genesis, epoch)
	return d
}

// append logs a body under a subject below the issuer and returns the index of the entry.
func (d *domain) append(path, contentType string, data []byte, at time.Time) uint64 {
	d.t.Helper()
	raw, err := ledger.SignStatement(context.Background(), ledger.Claims{Issuer: d.issuer, Subject: d.issuer + path,
		IssuedAt: at.Unix(), ContentType: contentType, Digest: sha256.Sum256(data)}, d.evidence)
	if err != nil {
		d.t.Fatal(err)
	}
	d.bodies[sha256.Sum256(data)] = body{contentType, data}
	return d.appendStatement(raw, at)
}

func (d *domain) appendStatement(raw []byte, at time.Time) uint64 {
	d.t.Helper()
	s, err := ledger.ParseStatement(raw)
	if err != nil {
		d.t.Fatal(err)
	}
	index := uint64(len(d.entries))
	d.entries = append(d.entries, raw)
	d.leaves = append(d.leaves, s.Leaf())
	d.times = append(d.times, at)
	d.feeds[s.Subject] = append(d.feeds[s.Subject], index)
	return index
}

func (d *domain) size() uint64 { return uint64(len(d.leaves)) }

// tiles reads the hash tiles of the present tree.
func (d *domain) tiles(level int, index uint64, width int) ([]ledger.Hash, error) {
	edge := ledger.NewEdge()
	for _, l := range d.leaves {
		for _, full := range edge.Append(l) {
			if full.Level == level && full.Index == index {
				return ledger.ParseTile(full.Hashes, width)
			}
		}
	}
	if p := edge.Partial(level); len(p) == width {
		return p, nil
	}
	return nil, fmt.Errorf("tile %d/%d: %w", level, index, fs.ErrNotExist)
}

// head returns the head of the first size entries, signed.
func (d *domain) head(size uint64) (ledger.Checkpoint, []byte) {
	d.t.Helper()
	edge := ledger.NewEdge()
	for _, l := range d.leaves[:size] {
		edge.Append(l)
	}
	cp := ledger.Checkpoint{Origin: d.origin, Size: size, Root: edge.Root()}
	text, err := ledger.SignCheckpoint(cp, d.checkpoint)
	if err != nil {
		d.t.Fatal(err)
	}
	return cp, text
}

// transparent returns entry index with its receipt for the present tree.
func (d *domain) transparent(index uint64) []byte {
	d.t.Helper()
	out, err := ledger.AttachReceipts(d.entries[index], d.receipt(index))
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

func (d *domain) receipt(index uint64) []byte {
	d.t.Helper()
	s, err := ledger.ParseStatement(d.entries[index])
	if err != nil {
		d.t.Fatal(err)
	}
	path, err := ledger.InclusionPath(index, d.size(), d.tiles)
	if err != nil {
		d.t.Fatal(err)
	}
	feed := d.feeds[s.Subject]
	var seq uint64
	for feed[seq] != index {
		seq++
	}
	cp, _ := d.head(d.size())
	raw, err := ledger.SignReceipt(context.Background(), ledger.ReceiptClaims{Issuer: d.issuer, Subject: s.Subject,
		IssuedAt: d.times[index].Unix(), FeedSeq: &seq, FeedSize: new(uint64(len(feed)))},
		ledger.Inclusion{Size: d.size(), Index: index, Path: path}, cp.Root, d.receipts)
	if err != nil {
		d.t.Fatal(err)
	}
	return raw
}

// trust is the trust document of the domain alone.
func (d *domain) trust() *Trust {
	d.t.Helper()
	set := func(name string) *jws.KeySet {
		k := d.keys[name]
		s, err := jws.NewKeySet(map[string]crypto.PublicKey{k.KeyID(): k.Public()})
		if err != nil {
			d.t.Fatal(err)
		}
		return s
	}
	return &Trust{Anchor: Anchor{Issuer: d.issuer, Origin: d.origin, VKey: d.vkey, Keys: set("status"),
		Governance: set("governance"), Receipts: d.ring(d.receipts), Evidence: d.ring(d.evidence)}}
}

func (d *domain) ring(s signer) KeyRing { return KeyRing{{Public: s.public, Status: KeyActive}} }

// mirror is a copy of the log as a client would fetch it.
func (d *domain) mirror() map[string][]byte {
	d.t.Helper()
	_, cp := d.head(d.size())
	files := map[string][]byte{"checkpoint": cp}
	edge := ledger.NewEdge()
	for _, l := range d.leaves {
		for _, full := range edge.Append(l) {
			files[ledger.Tile{Level: full.Level, Index: full.Index, Width: ledger.TileWidth}.Path()] = full.Hashes
		}
	}
	for level := range edge.Levels() {
		if p := edge.Partial(level); len(p) > 0 {
			index := d.size() >> (8 * level) / ledger.TileWidth
			files[ledger.Tile{Level: level, Index: index, Width: len(p)}.Path()] = ledger.MarshalTile(p)
		}
	}
	for first := 0; first < len(d.entries); first += ledger.TileWidth {
		list := d.entries[first:min(len(d.entries), first+ledger.TileWidth)]
		data, err := ledger.MarshalBundle(list)
		if err != nil {
			d.t.Fatal(err)
		}
		t := ledger.Tile{Entries: true, Index: uint64(first / ledger.TileWidth), Width: len(list)}
		files[t.Path()] = data
	}
	return files
}

func source(files map[string][]byte) Source {
	return func(path string) ([]byte, error) {
		data, ok := files[path]
		if !ok {
			return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		}
		return data, nil
	}
}
