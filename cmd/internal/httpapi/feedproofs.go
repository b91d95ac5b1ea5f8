package httpapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/epoch"
	"github.com/mission-authority/mas/mission/authority"
)

// Proofs of what the log holds about a subject, and about all of them, as of the newest feed epoch.

// maxFeedLeaves is the longest feed in which the place of one entry is proven.
const maxFeedLeaves = 1 << 17

var (
	// errNoEpoch: the log is younger than a minute, or its newest epoch waits for witnesses.
	errNoEpoch = because(errUnavailable, "no_feed_epoch")
	// errEpochPassed: only the map of the newest epoch is kept.
	errEpochPassed = &authority.Error{Kind: authority.Conflict, Code: "epoch_passed",
		Description: "the population is served for the newest feed epoch only"}
	errFeedTooLong = &authority.Error{Kind: authority.Conflict, Code: "feed_too_long",
		Description: "the feed is too long to prove the place of one entry in it"}
)

// newestEpoch is the newest epoch that a view has published.
func newestEpoch(v ledger.View) (*epoch.Latest, error) {
	e, err := epoch.Newest(v)
	switch {
	case errors.Is(err, ledger.ErrNoEpoch), err == nil && e.Index >= v.Head().Size,
		errors.Is(err, ledger.ErrUnavailable): // there is one, and it is not published yet
		return nil, errNoEpoch
	case err != nil:
		return nil, logError(err)
	}
	return e, nil
}

// getFeedProof proves what the newest epoch says about a subject, base64url in the path: its feed, or that it has no
// entries. Both are 200: an answer never depends on what exists. With entry it also proves the place of that entry.
func (a *API) getFeedProof(c *call) (reply, error) {
	subject, err := base64.RawURLEncoding.Strict().DecodeString(c.param("sub"))
	if err != nil || len(subject) == 0 {
		return reply{}, errNotFound
	}
	q, err := query(c.req, "entry")
	if err != nil {
		return reply{}, err
	}
	v, err := a.view()
	if err != nil {
		return reply{}, err
	}
	defer v.Close()
	e, err := newestEpoch(v)
	if err != nil {
		return reply{}, err
	}
	p, summary, err := a.feedProof(v, e, string(subject))
	if err != nil {
		return reply{}, err
	}
	if err := a.anchorFeedProof(c.ctx, v, e, p); err != nil {
		return reply{}, err
	}
	if q.Has("entry") {
		if p.Entry, err = placeInFeed(v, summary, q.Get("entry")); err != nil {
			return reply{}, err
		}
	}
	return feedProofReply(p)
}

func feedProofReply(p *ledger.FeedProof) (reply, error) {
	raw, err := ledger.MarshalFeedProof(p)
	if err != nil {
		return reply{}, err
	}
	return reply{contentType: ledger.ContentTypeFeedProof, body: raw}, nil
}

// feedProof makes the proof for a subject and checks it the way a stranger would before it leaves. It is not anchored.
func (a *API) feedProof(v ledger.View, e *epoch.Latest, subject string) (*ledger.FeedProof, ledger.FeedSummary, error) {
	raw, err := epoch.Map(v, a.config.Issuer).Prove(subject)
	if err != nil {
		return nil, ledger.FeedSummary{}, logError(err)
	}
	m, err := ledger.OpenMapProof(raw, a.config.Issuer, e.MapRoot)
	if err != nil {
		return nil, ledger.FeedSummary{}, fmt.Errorf("own feed proof: %w", err)
	}
	summary, _, err := m.Lookup(subject)
	if err != nil {
		return nil, ledger.FeedSummary{}, fmt.Errorf("own feed proof: %w", err)
	}
	return &ledger.FeedProof{Map: raw, Subject: subject}, summary, nil
}

// anchorFeedProof adds the epoch, its statement with a receipt, and the checkpoint.
func (a *API) anchorFeedProof(ctx context.Context, v ledger.View, e *epoch.Latest, p *ledger.FeedProof) error {
	entry, err := v.Entry(e.Index)
	if err != nil {
		return logError(err)
	}
	s, err := ledger.ParseStatement(entry.Statement)
	if err != nil {
		return err
	}
	receipt, err := a.signReceipt(ctx, v, v.Head(), entry, s, nil)
	if err != nil {
		return err
	}
	p.Epoch, p.Checkpoint = e.Body, v.Checkpoint()
	p.Statement, err = ledger.AttachReceipts(entry.Statement, receipt)
	return err
}

// placeInFeed proves which entry of the covered feed an entry is.
func placeInFeed(v ledger.View, s ledger.FeedSummary, id string) (*ledger.FeedInclusion, error) {
	leaf, err := ledger.ParseEntryID(id)
	if err != nil {
		return nil, malformed("entry")
	}
	if s.Count > maxFeedLeaves {
		return nil, errFeedTooLong
	}
	var leaves []ledger.Hash
	at := -1
	if s.Count > 0 {
		for index, err := range v.Feed(s.Subject, -1) {
			if err != nil {
				return nil, logError(err)
			}
			if index > s.Last {
				break
			}
			e, err := v.Entry(index)
			if err != nil {
				return nil, logError(err)
			}
			leaves = append(leaves, ledger.HashLeaf(e.Statement))
			if leaves[len(leaves)-1] == leaf {
				at = len(leaves) - 1
			}
		}
	}
	if at < 0 {
		return nil, errNotFound
	}
	out := &ledger.FeedInclusion{Seq: uint64(at), Leaf: leaf, Path: ledger.FeedInclusionPath(leaves, uint64(at))}
	if err := out.Verify(s); err != nil {
		return nil, fmt.Errorf("own feed proof: %w", err)
	}
	return out, nil
}

// A feedEpoch is the answer of /v1/feed-epochs/{n}.
type feedEpoch struct {
	Origin      string `json:"origin"`
	Number      uint64 `json:"epoch"`
	LeafIndex   uint64 `json:"leaf_index"`
	EntryID     string `json:"entry_id"`
	Map         string `json:"map"`
	CoveredSize uint64 `json:"covered_size"`
	CoveredRoot string `json:"covered_root"`
	MapRoot     string `json:"map_root"`
	Subjects    uint64 `json:"subjects"`
	Missions    uint64 `json:"missions"`
	Previous    uint64 `json:"previous,omitempty"` // leaf index of the epoch before
	Body        string `json:"body"`               // ledger.FeedEpoch, base64url
	Statement   string `json:"statement"`          // transparent statement, base64url
}

// getFeedEpoch serves an epoch by its number, or the latest.
func (a *API) getFeedEpoch(c *call) (reply, error) {
	v, err := a.view()
	if err != nil {
		return reply{}, err
	}
	defer v.Close()
	e, err := epochNamed(v, c.param("n"))
	if err != nil {
		return reply{}, err
	}
	var p ledger.FeedProof
	if err := a.anchorFeedProof(c.ctx, v, e, &p); err != nil {
		return reply{}, err
	}
	statement, _, err := ledger.DetachReceipts(p.Statement)
	if err != nil {
		return reply{}, err
	}
	return reply{contentType: mediaJSON, body: a.json(feedEpoch{
		Origin: e.Origin, Number: e.Number, LeafIndex: e.Index, EntryID: ledger.EntryID(ledger.HashLeaf(statement)),
		Map: ledger.FeedMapV1, CoveredSize: e.CoveredSize, CoveredRoot: e.CoveredRoot.String(), MapRoot: e.MapRoot.String(),
		Subjects: e.Subjects, Missions: e.Missions, Previous: e.Previous,
		Body: base64.RawURLEncoding.EncodeToString(p.Epoch), Statement: base64.RawURLEncoding.EncodeToString(p.Statement),
	})}, nil
}

const latest = "latest"

// epochNamed finds an epoch by its number in decimal or as the latest.
func epochNamed(v ledger.View, name string) (*epoch.Latest, error) {
	if name == latest {
		return newestEpoch(v)
	}
	n, err := strconv.ParseUint(name, 10, 64)
	if err != nil || strconv.FormatUint(n, 10) != name {
		return nil, errNotFound
	}
	e, err := epoch.At(v, n)
	if err != nil {
		return nil, logError(err)
	}
	if e.Index >= v.Head().Size {
		return nil, errNotFound
	}
	return e, nil
}

// anyKind asks for the population of the whole map.
const anyKind = "all"

// getPopulation proves a page of the population of a kind of subject (missions unless kind says otherwise), from the
// key behind after on. The page is complete for the range of keys that it names; the next one begins behind its end.
func (a *API) getPopulation(c *call) (reply, error) {
	q, err := query(c.req, "kind", "after", "limit")
	if err != nil {
		return reply{}, err
	}
	limit, err := number(q, "limit", defaultPage)
	if err != nil || limit == 0 || limit > maxPage {
		return reply{}, malformed("limit")
	}
	first, last := ledger.FeedKindRange(ledger.SubjectMissions)
	if q.Has("kind") {
		if first, last, err = kindRange(q.Get("kind")); err != nil {
			return reply{}, err
		}
	}
	if q.Has("after") {
		after, err := ledger.ParseEntryID(q.Get("after"))
		if err != nil {
			return reply{}, malformed("after")
		}
		if first, err = after.Next(); err != nil || bytes.Compare(first[:], last[:]) > 0 {
			return reply{}, malformed("after")
		}
	}
	v, err := a.view()
	if err != nil {
		return reply{}, err
	}
	defer v.Close()
	e, err := epochNamed(v, c.param("n"))
	if err != nil {
		return reply{}, err
	}
	if newest, err := newestEpoch(v); err != nil || newest.Number != e.Number {
		return reply{}, errors.Join(err, errEpochPassed)
	}
	p := &ledger.FeedProof{First: first}
	if p.Map, p.Last, err = epoch.Map(v, a.config.Issuer).ProveRange(first, last, int(limit)); err != nil {
		return reply{}, logError(err)
	}
	if m, err := ledger.OpenMapProof(p.Map, a.config.Issuer, e.MapRoot); err != nil {
		return reply{}, fmt.Errorf("own population proof: %w", err)
	} else if _, err := m.Range(p.First, p.Last); err != nil {
		return reply{}, fmt.Errorf("own population proof: %w", err)
	}
	if err := a.anchorFeedProof(c.ctx, v, e, p); err != nil {
		return reply{}, err
	}
	out, err := feedProofReply(p)
	if err == nil && p.Last != last {
		out.header = http.Header{"Link": {fmt.Sprintf("<%s/v1/feed-epochs/%d/population?%s>; rel=\"next\"", a.base(), e.Number,
			nextPage(q.Get("kind"), p.Last, limit))}}
	}
	return out, err
}

func nextPage(kind string, after ledger.Hash, limit uint64) string {
	out := fmt.Sprintf("after=%s&limit=%d", after, limit)
	if kind != "" {
		out = "kind=" + kind + "&" + out
	}
	return out
}

// kindRange is the range of keys of a kind of subject, or of all.
func kindRange(kind string) (first, last ledger.Hash, err error) {
	if kind == anyKind {
		_, last = ledger.FeedKindRange("")
		last[0] = 0xff
		return first, last, nil
	}
	if !ledger.IsSubjectKind(ledger.SubjectKind(kind)) {
		return first, last, malformed("kind")
	}
	first, last = ledger.FeedKindRange(ledger.SubjectKind(kind))
	return first, last, nil
}
