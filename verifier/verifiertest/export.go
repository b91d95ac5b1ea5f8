package verifiertest

import (
	"fmt"
	"io/fs"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/epoch"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/verifier"
)

// History reads the record and the present standing of a mission from the log.
func (d *Domain) History(id string) (*mission.Record, mission.Standing) {
	d.Helper()
	v := d.Ledger.MustView(d)
	var rec *mission.Record
	var cur mission.Standing
	for _, index := range d.feed(v, d.subject(id)) {
		s, body := d.entry(v, index)
		var err error
		switch s.ContentType {
		case mission.ContentApprovalRecord:
			rec, err = mission.ParseRecord(body)
			d.must(err)
			cur = mission.Begin(rec)
		case mission.ContentTransition:
			t, err := mission.ParseTransitionRecord(body)
			d.must(err)
			cur, err = mission.Replay(cur, t)
			d.must(err)
		}
	}
	return rec, cur
}

// Feeds are the feeds that tell everything about a mission: its own, its approval event's and the principals'.
func (d *Domain) Feeds(id string) []string {
	d.Helper()
	v := d.Ledger.MustView(d)
	for _, index := range d.feed(v, d.subject(id)) {
		if s, body := d.entry(v, index); s.ContentType == mission.ContentApprovalRecord {
			rec, err := mission.ParseRecord(body)
			d.must(err)
			return []string{d.subject(id), d.Issuer + "/approvals/" + string(rec.ApprovalEventID), d.Issuer + "/principals"}
		}
	}
	d.Fatal("no approval")
	return nil
}

// Bundle exports the feeds of a mission and the genesis of the log.
func (d *Domain) Bundle(id string) []byte {
	d.Helper()
	return d.Export(id, d.Feeds(id))
}

// Export writes a bundle of feeds.
func (d *Domain) Export(id string, subjects []string) []byte {
	d.Helper()
	v := d.Ledger.MustView(d)
	head := v.Head()
	b := verifier.Bundle{CreatedAt: d.now(), Exporter: d.Issuer, Query: verifier.Query{Mission: id, Subjects: subjects},
		Head:       ledger.Checkpoint{Origin: d.Ledger.Keys.Origin, Size: head.Size, Root: head.Root},
		Checkpoint: v.Checkpoint(), VKeys: []string{d.Ledger.Keys.VKey}}
	var err error
	b.Hint, err = d.Trust().Marshal()
	d.must(err)
	if _, err := epoch.Newest(v); err == nil {
		b.Feeds, err = epoch.Map(v, d.Issuer).Prove(subjects...)
		d.must(err)
	}
	for _, subject := range append([]string{d.Issuer + "/log"}, subjects...) {
		feed := d.feed(v, subject)
		for seq, index := range feed {
			s, body := d.entry(v, index)
			b.Entries = append(b.Entries, verifier.BundleEntry{Index: index,
				Transparent: d.transparent(v, s, index, uint64(seq), uint64(len(feed)))})
			b.Records = append(b.Records, verifier.BundleRecord{ContentType: s.ContentType, Body: body})
		}
	}
	data, err := b.Marshal()
	d.must(err)
	return data
}

// Transparent returns an entry with its receipt for the present tree.
func (d *Domain) Transparent(index uint64) []byte {
	d.Helper()
	v := d.Ledger.MustView(d)
	s, _ := d.entry(v, index)
	feed := d.feed(v, s.Subject)
	seq := uint64(0)
	for feed[seq] != index {
		seq++
	}
	return d.transparent(v, s, index, seq, uint64(len(feed)))
}

// SignedHead returns the checkpoint of the first size entries.
func (d *Domain) SignedHead(size uint64) []byte {
	d.Helper()
	root, err := d.Ledger.MustView(d).RootAt(size)
	d.must(err)
	text, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: d.Ledger.Keys.Origin, Size: size, Root: root},
		d.Ledger.Keys.Checkpoint)
	d.must(err)
	return text
}

// Mirror is a copy of the log as a client would fetch it, by path.
func (d *Domain) Mirror() map[string][]byte {
	d.Helper()
	v := d.Ledger.MustView(d)
	size := v.Head().Size
	files := map[string][]byte{"checkpoint": v.Checkpoint()}
	for level := range ledger.MaxTileLevel {
		for t := (ledger.Tile{Level: level}); t.WidthAt(size) > 0; t.Index++ {
			t.Width = t.WidthAt(size)
			hashes, err := v.Tile(level, t.Index, t.Width)
			d.must(err)
			files[t.Path()] = ledger.MarshalTile(hashes)
			if level > 0 {
				continue
			}
			var entries [][]byte
			for i := range t.Width {
				e, err := v.Entry(t.Index*ledger.TileWidth + uint64(i))
				d.must(err)
				entries = append(entries, e.Statement)
			}
			for i, raw := range entries {
				s, err := ledger.ParseStatement(raw)
				d.must(err)
				if index := t.Index*ledger.TileWidth + uint64(i); s.ContentType == ledger.ContentTypeFeedEpoch {
					_, files[verifier.EpochPath(index)] = d.entry(v, index)
				}
			}
			bundle, err := ledger.MarshalBundle(entries)
			d.must(err)
			t.Entries = true
			files[t.Path()] = bundle
			t.Entries = false
		}
	}
	return files
}

func (d *Domain) feed(v ledger.View, subject string) []uint64 {
	d.Helper()
	var feed []uint64
	for index, err := range v.Feed(subject, -1) {
		d.must(err)
		feed = append(feed, index)
	}
	return feed
}

func (d *Domain) entry(v ledger.View, index uint64) (*ledger.Statement, []byte) {
	d.Helper()
	e, err := v.Entry(index)
	d.must(err)
	s, err := ledger.ParseStatement(e.Statement)
	d.must(err)
	body, err := v.Body(s.Digest)
	d.must(err)
	return s, body
}

func (d *Domain) transparent(v ledger.View, s *ledger.Statement, index, seq, size uint64) []byte {
	d.Helper()
	head := v.Head()
	path, err := v.Inclusion(index, head.Size)
	d.must(err)
	e, err := v.Entry(index)
	d.must(err)
	receipt, err := ledger.SignReceipt(d.Context(), ledger.ReceiptClaims{Issuer: d.Issuer, Subject: s.Subject,
		IssuedAt: e.At.Unix(), FeedSeq: &seq, FeedSize: &size},
		ledger.Inclusion{Size: head.Size, Index: index, Path: path}, head.Root, d.Ledger.Keys.Receipt)
	d.must(err)
	out, err := ledger.AttachReceipts(s.Raw, receipt)
	d.must(err)
	return out
}

func (d *Domain) subject(id string) string { return d.Issuer + "/missions/" + id }

// Source serves the files of a mirror.
func Source(files map[string][]byte) verifier.Source {
	return func(path string) ([]byte, error) {
		data, ok := files[path]
		if !ok {
			return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		}
		return data, nil
	}
}
