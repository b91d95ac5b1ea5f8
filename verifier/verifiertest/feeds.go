package verifiertest

import (
	"crypto/sha256"
	"encoding/base64"
	"log/slog"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/epoch"
	"github.com/mission-authority/mas/mission"
)

// Cover commits a feed epoch.
func (d *Domain) Cover() {
	d.Helper()
	w, err := epoch.New(epoch.Config{Issuer: d.Issuer, Origin: d.Ledger.Keys.Origin, Log: d.Ledger,
		Evidence: d.Ledger.Keys.Evidence, Now: d.now, Logger: slog.New(slog.DiscardHandler)})
	d.must(err)
	d.must(w.Cover(d.Context()))
}

// FeedProof proves what the newest epoch says about a subject.
func (d *Domain) FeedProof(subject string) []byte {
	d.Helper()
	v := d.Ledger.MustView(d)
	raw, err := epoch.Map(v, d.Issuer).Prove(subject)
	d.must(err)
	return d.anchored(v, &ledger.FeedProof{Map: raw, Subject: subject})
}

// Population proves the population of missions in pages.
func (d *Domain) Population(limit int) (pages [][]byte) {
	d.Helper()
	v := d.Ledger.MustView(d)
	first, last := ledger.FeedKindRange(ledger.SubjectMissions)
	for {
		raw, shown, err := epoch.Map(v, d.Issuer).ProveRange(first, last, limit)
		d.must(err)
		pages = append(pages, d.anchored(v, &ledger.FeedProof{Map: raw, First: first, Last: shown}))
		if shown == last {
			return pages
		}
		first, err = shown.Next()
		d.must(err)
	}
}

// anchored adds the newest epoch to a proof.
func (d *Domain) anchored(v ledger.View, p *ledger.FeedProof) []byte {
	d.Helper()
	e, err := epoch.Newest(v)
	d.must(err)
	s, body := d.entry(v, e.Index)
	p.Epoch, p.Checkpoint = body, v.Checkpoint()
	feed := d.feed(v, s.Subject)
	p.Statement = d.transparent(v, s, e.Index, uint64(len(feed)-1), uint64(len(feed)))
	out, err := ledger.MarshalFeedProof(p)
	d.must(err)
	return out
}

// Listing is what the service lists about a subject.
func (d *Domain) Listing(subject string) []byte {
	d.Helper()
	v := d.Ledger.MustView(d)
	items := []map[string]any{}
	for seq, index := range d.feed(v, subject) {
		s, _ := d.entry(v, index)
		items = append(items, map[string]any{"feed_seq": int64(seq), "leaf_index": int64(index),
			"entry_id": ledger.EntryID(s.Leaf())})
	}
	out, err := mission.Marshal(map[string]any{"sub": subject, "items": items,
		"epoch_proof": base64.RawURLEncoding.EncodeToString(d.FeedProof(subject))})
	d.must(err)
	return out
}

// Signed logs a statement of the domain about a body and returns it with its receipt.
func (d *Domain) Signed(subject, contentType string, body []byte) []byte {
	d.Helper()
	raw, err := ledger.SignStatement(d.Context(), ledger.Claims{Issuer: d.Issuer, Subject: subject, ContentType: contentType,
		Digest: sha256.Sum256(body)}, d.Ledger.Keys.Evidence)
	d.must(err)
	done := d.Ledger.MustCommit(d, ledger.Change{Entries: []ledger.Entry{{Statement: raw, Body: body}}})
	return d.Transparent(done.Results[0].Index)
}
