package ledger_test

import (
	"context"
	"testing"

	"github.com/fxamacker/cbor/v2"

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

// TestReceiptShape reads a receipt with an independent CBOR decoder: the protected header has exactly alg, kid, the
// verifiable data structure and the claims, the unprotected one exactly one inclusion proof, and there is no payload.
//
// Audit rows: 45.
func TestReceiptShape(t *testing.T) {
	statement := mustSign(t, validClaims(), newSigner(t, p256Key(t, 4)))
	seq, size := uint64(4), uint64(5)
	for want, edit := range map[int]func(*ledger.ReceiptClaims){
		3: func(*ledger.ReceiptClaims) {},
		4: func(c *ledger.ReceiptClaims) { c.FeedSeq = &seq },
		5: func(c *ledger.ReceiptClaims) { c.FeedSeq, c.FeedSize = &seq, &size },
	} {
		c := validReceiptClaims()
		edit(&c)
		raw, _ := receiptFor(t, statement, 9, c, newSigner(t, p256Key(t, 3)))
		var msg struct {
			_           struct{} `cbor:",toarray"`
			Protected   []byte
			Unprotected map[int64]map[int64][][]byte
			Payload     []byte
			Signature   []byte
		}
		var tag cbor.RawTag
		if err := cbor.Unmarshal(raw, &tag); err != nil || tag.Number != 18 {
			t.Fatalf("tag %d, %v", tag.Number, err)
		}
		if err := cbor.Unmarshal(tag.Content, &msg); err != nil {
			t.Fatal(err)
		}
		var header map[int64]cbor.RawMessage
		if err := cbor.Unmarshal(msg.Protected, &header); err != nil {
			t.Fatal(err)
		}
		var claims map[int64]any
		if err := cbor.Unmarshal(header[15], &claims); err != nil {
			t.Fatal(err)
		}
		if len(header) != 4 || header[1] == nil || header[4] == nil || string(header[395]) != "\x01" {
			t.Errorf("protected header %v", header)
		}
		if len(claims) != want || claims[1] == nil || claims[2] == nil || claims[6] == nil {
			t.Errorf("claims %v, want %d", claims, want)
		}
		if len(msg.Unprotected) != 1 || len(msg.Unprotected[396]) != 1 || len(msg.Unprotected[396][-1]) != 1 {
			t.Errorf("unprotected header %v", msg.Unprotected)
		}
		if msg.Payload != nil || len(msg.Signature) != 64 {
			t.Errorf("payload %x, signature of %d octets", msg.Payload, len(msg.Signature))
		}
	}
}
