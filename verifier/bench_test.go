package verifier_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"math/big"
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/verifier"
	"github.com/mission-authority/mas/verifier/verifiertest"
)

// longBundle is the evidence of a mission that was suspended and resumed n times.
func longBundle(b *testing.B, n int) (*verifiertest.Domain, []byte) {
	b.Helper()
	d := verifiertest.New(b)
	id := d.Approve()
	for range n {
		d.Move(id, mission.OpSuspend)
		d.Move(id, mission.OpResume)
	}
	return d, d.Bundle(id)
}

// BenchmarkBundle is offline verification (P15). Compare with BenchmarkBundleBare, which does the same signatures and
// hashes and nothing else.
func BenchmarkBundle(b *testing.B) {
	d, data := longBundle(b, 150)
	trust := d.Trust()
	records := 0
	b.ReportAllocs()
	for b.Loop() {
		r := verifier.VerifyBundle(data, trust, verifier.BundleOptions{})
		if r.Outcome != verifier.OK {
			b.Fatal(r.All())
		}
		records = len(r.Records)
	}
	b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkBundleBare verifies as many P-256 signatures as the statements and receipts of the same bundle have, and
// hashes as many octets: each file once for the manifest, each body once for its statement, each leaf and each path.
func BenchmarkBundleBare(b *testing.B) {
	d, data := longBundle(b, 150)
	files, err := verifier.Unpack(data)
	if err != nil {
		b.Fatal(err)
	}
	var paths [][]ledger.Hash
	var statements [][]byte
	for _, f := range files {
		raw, receipts, err := ledger.DetachReceipts(f.Data)
		if err != nil {
			continue
		}
		r, err := ledger.ParseReceipt(receipts[0])
		if err != nil {
			b.Fatal(err)
		}
		paths, statements = append(paths, r.Path), append(statements, raw)
	}
	pub, ok := d.Ledger.Keys.EvidenceKey.(*ecdsa.PublicKey)
	if !ok {
		b.Fatal("not a P-256 key")
	}
	digest := sha256.Sum256(data)
	var half = new(big.Int).SetBytes(digest[:16])
	b.ReportAllocs()
	for b.Loop() {
		for i, path := range paths {
			leaf := ledger.HashLeaf(statements[i])
			for _, h := range path {
				leaf = ledger.HashChildren(h, leaf)
			}
			for range 2 { // a signature that does not verify costs the same
				ecdsa.Verify(pub, leaf[:], half, half)
			}
		}
		for _, f := range files {
			sha256.Sum256(f.Data)
			if len(f.Path) > 8 && f.Path[:8] == "records/" {
				sha256.Sum256(f.Data)
			}
		}
	}
	b.ReportMetric(float64(len(paths))*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
