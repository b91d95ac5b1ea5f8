package ledger_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/mission-authority/mas/ledger"
)

func feedProofs() map[string]*ledger.FeedProof {
	parts := ledger.FeedProof{Map: []byte{1}, Epoch: []byte{2}, Statement: []byte{3}, Checkpoint: []byte{4}}
	subject, entry, page := parts, parts, parts
	subject.Subject = mapIssuer + "/missions/msn_a"
	entry.Subject = subject.Subject
	entry.Entry = &ledger.FeedInclusion{Seq: 2, Leaf: testLeaf(1), Path: []ledger.Hash{testLeaf(2), testLeaf(3)}}
	page.First, page.Last = ledger.FeedKindRange(ledger.SubjectMissions)
	return map[string]*ledger.FeedProof{"subject": &subject, "entry": &entry, "range": &page}
}

func TestFeedProofStrict(t *testing.T) {
	for name, p := range feedProofs() {
		raw, err := ledger.MarshalFeedProof(p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ledger.ParseFeedProof(raw)
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Fatalf("%s: %+v, %v", name, got, err)
		}
		for i := range raw {
			bad := append(bytes.Clone(raw[:i]), raw[i+1:]...)
			if _, err := ledger.ParseFeedProof(bad); !errors.Is(err, ledger.ErrFeedProof) {
				t.Fatalf("%s: octet %d left out: %v", name, i, err)
			}
		}
	}
	page, subject := *feedProofs()["range"], *feedProofs()["subject"]
	page.First, page.Last = page.Last, page.First
	subject.Last = testLeaf(1)
	for name, p := range map[string]*ledger.FeedProof{"range backwards": &page, "subject and range": &subject} {
		if _, err := ledger.MarshalFeedProof(p); !errors.Is(err, ledger.ErrFeedProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzFeedProof(f *testing.F) {
	for _, p := range feedProofs() {
		raw, err := ledger.MarshalFeedProof(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := ledger.ParseFeedProof(raw)
		if err != nil {
			return
		}
		again, err := ledger.MarshalFeedProof(p)
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("two encodings: %v", err)
		}
	})
}
