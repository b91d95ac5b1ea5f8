package ledger_test

import (
	"context"
	"testing"

	"github.com/mission-authority/mas/ledger"
)

func TestReceiptFeedSize(t *testing.T) {
	statement := mustSign(t, validClaims(), newSigner(t, p256Key(t, 4)))
	signer := newSigner(t, p256Key(t, 3))
	seq, size := uint64(4), uint64(5)
	c := validReceiptClaims()
	c.FeedSeq, c.FeedSize = &seq, &size
	raw, _ := receiptFor(t, statement, 9, c, signer)
	r, err := ledger.ParseReceipt(raw)
	if err != nil {
		t.Fatal(err)
	}
	if r.FeedSeq == nil || *r.FeedSeq != seq || r.FeedSize == nil || *r.FeedSize != size {
		t.Errorf("feed %v of %v, want 4 of 5", r.FeedSeq, r.FeedSize)
	}
	for name, c := range map[string]ledger.ReceiptClaims{
		"size without seq":      {FeedSize: &size},
		"size not above seq":    {FeedSeq: &size, FeedSize: &size},
		"size smaller than seq": {FeedSeq: &size, FeedSize: &seq},
	} {
		v := validReceiptClaims()
		v.FeedSeq, v.FeedSize = c.FeedSeq, c.FeedSize
		_, err := ledger.SignReceipt(context.Background(), v,
			ledger.Inclusion{Size: 2, Index: 0, Path: []ledger.Hash{testLeaf(1)}}, testLeaf(2), signer)
		if err == nil {
			t.Errorf("%s was signed", name)
		}
	}
}
