package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/tessera/client"

	"github.com/mission-authority/mas/ledger"
)

func init() {
	subjects["proofs"] = proofs
}

const (
	provenEntries = 1_000_000 // of the log that proofs are made of
	cachedTiles   = 8192      // full tiles of level 0 that both sides remember at most
)

// proofs makes inclusion proofs of random entries of one log, first by the log and then by Tessera's ProofBuilder over
// the same tiles with a cache of as many, then receipts, then bare signatures and verifications. One reader: the
// ProofBuilder is not made for more.
func proofs(ctx context.Context, s setup) (measured, error) {
	l, err := openLog(ctx, s.Dir)
	if err != nil {
		return measured{}, err
	}
	m, err := l.proofs(ctx, s)
	return m, errors.Join(err, l.stop())
}

func (l *benchLog) proofs(ctx context.Context, s setup) (measured, error) {
	if err := l.append(ctx, provenEntries); err != nil {
		return measured{}, err
	}
	v, err := l.View()
	if err != nil {
		return measured{}, err
	}
	defer v.Close()
	size := v.Head().Size
	tiles := &tileCache{view: v, size: size, old: map[uint64][]byte{}, young: map[uint64][]byte{}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return measured{}, err
	}
	signer, err := ledger.NewSigner(key)
	if err != nil {
		return measured{}, err
	}
	any := func() uint64 { return mrand.Uint64N(size) }
	x := map[string]float64{}
	for _, c := range []struct {
		name string
		op   func() error
	}{
		{"proof", func() error { _, err := v.Inclusion(any(), size); return err }},
		{"builder", func() error {
			b, err := client.NewProofBuilder(ctx, size, tiles.fetch) // made for one request
			if err == nil {
				_, err = b.InclusionProof(ctx, any())
			}
			return err
		}},
		{"receipt", func() error { return receipt(ctx, v, any(), signer, key) }},
		{"bare", func() error {
			digest := sha256.Sum256(binaryOf(any()))
			sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
			if err == nil && !ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) {
				err = errors.New("a bare signature does not verify")
			}
			return err
		}},
	} {
		if x[c.name], err = repeat(s.Length/2, c.op); err != nil {
			return measured{}, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return measured{PerSecond: x["proof"], Extra: x}, nil
}

// append appends n entries with 256 writers.
func (l *benchLog) append(ctx context.Context, n int) error {
	t, err := newTemplate()
	if err != nil {
		return err
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, 256)
	for range cap(errs) {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				if _, err := l.Commit(ctx, t.change(i)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// repeat calls op for some time, after a tenth of that to warm up, and returns its rate.
func repeat(length time.Duration, op func() error) (float64, error) {
	for end := time.Now().Add(length / 10); time.Now().Before(end); {
		if err := op(); err != nil {
			return 0, err
		}
	}
	n, began := 0, time.Now()
	for time.Since(began) < length {
		for range 16 {
			if err := op(); err != nil {
				return 0, err
			}
		}
		n += 16
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

func binaryOf(n uint64) []byte { return []byte(strconv.FormatUint(n, 10)) }

// receipt makes a receipt as the server does: proof, signature, and a check of its own before it leaves.
func receipt(ctx context.Context, v ledger.View, index uint64, s ledger.Signer, key *ecdsa.PrivateKey) error {
	head := v.Head()
	path, err := v.Inclusion(index, head.Size)
	if err != nil {
		return err
	}
	e, err := v.Entry(index)
	if err != nil {
		return err
	}
	claims := ledger.ReceiptClaims{Issuer: issuer, Subject: subjectOf(0), IssuedAt: e.At.Unix()}
	proven := ledger.Inclusion{Size: head.Size, Index: index, Path: path}
	raw, err := ledger.SignReceipt(ctx, claims, proven, head.Root, s)
	if err != nil {
		return err
	}
	r, err := ledger.ParseReceipt(raw)
	if err != nil {
		return err
	}
	root, err := r.Verify(ledger.HashLeaf(e.Statement), &key.PublicKey)
	if err == nil && root != head.Root {
		err = errors.New("a receipt leads to another root")
	}
	return err
}

// tileCache gives a ProofBuilder the tiles of a view: full tiles of level 0 from a cache of two generations, as the
// log's own is, those above from a map that holds all of them, as the log does.
type tileCache struct {
	view       ledger.View
	size       uint64
	old, young map[uint64][]byte
	upper      map[[2]uint64][]byte
}

func (c *tileCache) fetch(_ context.Context, level, index uint64, partial uint8) ([]byte, error) {
	t := ledger.Tile{Level: int(level), Index: index, Width: ledger.TileWidth}
	if partial > 0 {
		t.Width = int(partial)
	}
	if level > 0 || partial > 0 {
		at := [2]uint64{level, index}
		if c.upper == nil {
			c.upper = map[[2]uint64][]byte{}
		}
		if b, ok := c.upper[at]; ok {
			return b, nil
		}
		b, err := c.read(t)
		c.upper[at] = b
		return b, err
	}
	if b, ok := c.young[index]; ok {
		return b, nil
	}
	b, ok := c.old[index]
	if !ok {
		var err error
		if b, err = c.read(t); err != nil {
			return nil, err
		}
	}
	if len(c.young) >= cachedTiles/2 {
		c.old, c.young = c.young, make(map[uint64][]byte, cachedTiles/2)
	}
	c.young[index] = b
	return b, nil
}

func (c *tileCache) read(t ledger.Tile) ([]byte, error) {
	hashes, err := c.view.Tile(t.Level, t.Index, t.Width)
	if err != nil {
		return nil, err
	}
	return ledger.MarshalTile(hashes), nil
}

// proofs is P8.
func (d *driver) proofs(ctx context.Context) error {
	header(fmt.Sprintf("P8: proofs of random entries of %d, one reader, %d tiles of level 0 remembered on both sides",
		provenEntries, cachedTiles))
	var all series
	noisy := 0
	for range 3 {
		m, others, err := d.once(ctx, as("proofs"))
		if err != nil {
			return err
		}
		if others > noise {
			noisy++
		}
		all = append(all, m)
	}
	pick := func(name string) series {
		var s series
		for _, m := range all {
			s = append(s, measured{PerSecond: m.Extra[name]})
		}
		return s
	}
	row("P8 inclusion proof beside ProofBuilder", ">= 20x", pick("proof"), pick("builder"), rate, "/s", noisy)
	row("P8 receipt, checked, beside bare sign and verify", ">= 0.60x", pick("receipt"), pick("bare"), rate, "/s", noisy)
	return nil
}

// published is P2: appends beside Tessera's, both acknowledged when a published checkpoint covers the entry.
func (d *driver) published(ctx context.Context) error {
	header("P2: append beside Tessera POSIX awaiting its published checkpoint (100 ms at least); never the headline")
	for _, c := range []struct {
		writers int
		target  string
	}{{256, ">= 20x"}, {1024, ">= 10x"}} {
		w := strconv.Itoa(c.writers)
		ours, theirs, noisy, err := d.compare(ctx, as("append", "-writers", w),
			as("tessera-published", "-writers", w, "-age", "5ms"))
		if err != nil {
			return err
		}
		row("P2 appends, "+w+" writers", c.target, ours, theirs, rate, "/s", noisy)
	}
	return nil
}
