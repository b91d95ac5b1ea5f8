package httpapi

import (
	"encoding/base64"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// A feed is a page of the entries about one subject.
type feed struct {
	Subject     string     `json:"sub"`
	CoveredSize uint64     `json:"covered_size"` // the tree that the page is complete for
	Items       []feedItem `json:"items"`
	Next        *uint64    `json:"next,omitempty"` // after_seq of the next page, if there is one
}

// A feedItem is one entry of a feed.
type feedItem struct {
	Seq           uint64         `json:"feed_seq"`
	LeafIndex     uint64         `json:"leaf_index"`
	EntryID       string         `json:"entry_id"`
	Issuer        string         `json:"iss"`
	ContentType   string         `json:"content_type"`
	PayloadDigest mission.Digest `json:"payload_digest"`
	RegisteredAt  string         `json:"registered_at"`
}

// Sizes of a page.
const (
	defaultPage = 100
	maxPage     = 1000
)

// getFeed lists the entries about a subject, base64url in the path, in log order. A subject without entries is an empty
// feed: that nothing was logged about it is an answer.
func (a *API) getFeed(c *call) (reply, error) {
	subject, err := base64.RawURLEncoding.Strict().DecodeString(c.param("sub"))
	if err != nil || len(subject) == 0 {
		return reply{}, errNotFound
	}
	q, err := query(c.req, "after_seq", "limit")
	if err != nil {
		return reply{}, err
	}
	limit, err := number(q, "limit", defaultPage)
	if err != nil || limit == 0 || limit > maxPage {
		return reply{}, malformed("limit")
	}
	after, err := number(q, "after_seq", 0)
	if err != nil {
		return reply{}, err
	}
	first := uint64(0)
	if q.Has("after_seq") {
		first = after + 1
	}
	v, err := a.view()
	if err != nil {
		return reply{}, err
	}
	defer v.Close()
	out := feed{Subject: string(subject), CoveredSize: v.Head().Size, Items: []feedItem{}}
	if err := out.fill(v, first, limit); err != nil {
		return reply{}, err
	}
	return reply{contentType: mediaJSON, body: a.json(out)}, nil
}

// fill reads the entries from number first on, at most limit of them.
func (f *feed) fill(v ledger.View, first, limit uint64) error {
	seq := uint64(0)
	for index, err := range v.Feed(f.Subject, -1) {
		if err != nil {
			return logError(err)
		}
		if seq >= first {
			if uint64(len(f.Items)) == limit {
				last := f.Items[limit-1].Seq
				f.Next = &last
				return nil
			}
			item, err := itemOf(v, index, seq)
			if err != nil {
				return err
			}
			f.Items = append(f.Items, item)
		}
		seq++
	}
	return nil
}

func itemOf(v ledger.View, index, seq uint64) (feedItem, error) {
	e, err := v.Entry(index)
	if err != nil {
		return feedItem{}, logError(err)
	}
	s, err := ledger.ParseStatement(e.Statement)
	if err != nil {
		return feedItem{}, err
	}
	return feedItem{Seq: seq, LeafIndex: index, EntryID: ledger.EntryID(s.Leaf()), Issuer: s.Issuer,
		ContentType: s.ContentType, PayloadDigest: mission.DigestOf(s.Digest),
		RegisteredAt: e.At.UTC().Format("2006-01-02T15:04:05.000Z")}, nil
}
