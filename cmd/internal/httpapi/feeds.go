package httpapi

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// Epochs commits feed epochs; package epoch implements it.
type Epochs interface {
	// Cover returns when a feed epoch covers every entry that was published before the call.
	Cover(ctx context.Context) error
}

// feedRoutes are for auditors.
func (a *API) feedRoutes() []route {
	base := a.base() + "/v1"
	return []route{
		{method: http.MethodGet, path: base + "/feeds/:sub", roles: auditors, run: a.getFeed},
		{method: http.MethodGet, path: base + "/feeds/:sub/proof", roles: auditors, run: a.getFeedProof},
		{method: http.MethodGet, path: base + "/feed-epochs/:n", roles: auditors, run: a.getFeedEpoch},
		{method: http.MethodGet, path: base + "/feed-epochs/:n/population", roles: auditors, run: a.getPopulation},
	}
}

// A feed is a page of the entries about one subject. Those below CoveredSize are Count, and hash to FeedRoot, as the
// feed epoch proves; those above are listed and not covered yet.
type feed struct {
	Subject     string     `json:"sub"`
	TreeSize    uint64     `json:"tree_size"`    // of the log that the page is about
	CoveredSize uint64     `json:"covered_size"` // by the newest feed epoch; 0 before the first
	Count       uint64     `json:"count"`        // entries below CoveredSize
	FeedRoot    string     `json:"feed_root,omitempty"`
	Epoch       uint64     `json:"epoch,omitempty"`       // number of the feed epoch
	EpochProof  string     `json:"epoch_proof,omitempty"` // on the first page: ledger.FeedProof, base64url
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
	out := feed{Subject: string(subject), TreeSize: v.Head().Size, Items: []feedItem{}}
	if err := a.describeFeed(c.ctx, v, &out, first == 0); err != nil {
		return reply{}, err
	}
	if err := out.fill(v, first, limit); err != nil {
		return reply{}, err
	}
	return reply{contentType: mediaJSON, body: a.json(out)}, nil
}

// describeFeed adds what the newest epoch says about the feed.
func (a *API) describeFeed(ctx context.Context, v ledger.View, f *feed, prove bool) error {
	e, err := newestEpoch(v)
	if errors.Is(err, errNoEpoch) {
		return nil
	}
	if err != nil {
		return err
	}
	p, summary, err := a.feedProof(v, e, f.Subject)
	if err != nil {
		return err
	}
	f.CoveredSize, f.Epoch, f.Count = e.CoveredSize, e.Number, summary.Count
	if summary.Count > 0 {
		f.FeedRoot = summary.Root.String()
	}
	if prove {
		if err := a.anchorFeedProof(ctx, v, e, p); err != nil {
			return err
		}
		raw, err := ledger.MarshalFeedProof(p)
		if err != nil {
			return err
		}
		f.EpochProof = base64.RawURLEncoding.EncodeToString(raw)
	}
	return nil
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
