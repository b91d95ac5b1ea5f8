package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/verifier"
)

// Bounds of one bundle.
const (
	maxBundleEntries = 16_384
	maxBundleOctets  = 48 << 20 // of evidence bodies
)

const mediaZIP = "application/zip"

// errBundleTooLarge: the evidence does not fit one bundle. The log can be mirrored instead.
var errBundleTooLarge = &authority.Error{Kind: authority.Conflict, Code: "bundle_too_large",
	Description: "the evidence does not fit one bundle"}

// postBundle answers {query: {mission}} with the evidence of the mission as one container: every entry of its feed and
// of the feeds that its approval names, with receipts for one head and the bodies that they commit to.
func (a *API) postBundle(c *call) (reply, error) {
	var q struct {
		Query struct {
			Mission string `json:"mission"`
		} `json:"query"`
	}
	if err := decode(c.body, &q); err != nil {
		return reply{}, err
	}
	if _, err := mission.ParseMissionID(q.Query.Mission); err != nil {
		return reply{}, errNotFound
	}
	v, err := a.view()
	if err != nil {
		return reply{}, err
	}
	defer v.Close()
	b, err := a.newAssembly(v, q.Query.Mission, c)
	if err != nil {
		return reply{}, err
	}
	if err := b.collect(c.ctx); err != nil {
		return reply{}, err
	}
	body, err := b.out.Marshal()
	if err != nil {
		return reply{}, err
	}
	return reply{contentType: mediaZIP, body: body, header: http.Header{
		"Content-Disposition": {`attachment; filename="` + q.Query.Mission + `.mission-evidence.zip"`}}}, nil
}

// An assembly is a bundle in the making.
type assembly struct {
	api    *API
	view   ledger.View
	out    verifier.Bundle
	octets int
	has    map[uint64]bool
}

func (a *API) newAssembly(v ledger.View, id string, c *call) (*assembly, error) {
	subject, err := ledger.MissionSubject(a.config.Issuer, id)
	if err != nil {
		return nil, errNotFound
	}
	head := v.Head()
	return &assembly{api: a, view: v, has: make(map[uint64]bool), out: verifier.Bundle{
		CreatedAt:  c.at,
		Exporter:   a.config.Issuer,
		Query:      verifier.Query{Mission: id, Subjects: []string{subject}},
		Head:       ledger.Checkpoint{Origin: a.config.LogOrigin, Size: head.Size, Root: head.Root},
		Checkpoint: v.Checkpoint(),
		VKeys:      []string{a.config.Published.VKey},
		Hint:       a.keys.hint,
	}}, nil
}

// collect adds the mission's feed, then the feeds that its approval names, then the genesis of the log.
func (b *assembly) collect(ctx context.Context) error {
	rec, err := b.feed(ctx, b.out.Query.Subjects[0])
	if err != nil {
		return err
	}
	if len(b.has) == 0 {
		return errNotFound
	}
	if rec != nil {
		if err := b.related(ctx, ledger.SubjectApprovals, string(rec.ApprovalEventID)); err != nil {
			return err
		}
	}
	if rec != nil && rec.Upstream != nil {
		if err := b.related(ctx, ledger.SubjectAgreements, rec.Upstream.Agreement.ID); err != nil {
			return err
		}
	}
	genesis, err := b.view.Entry(0)
	if err != nil {
		return logError(err)
	}
	s, err := ledger.ParseStatement(genesis.Statement)
	if err != nil {
		return err
	}
	seq, size, err := feedPosition(b.view, s.Subject, 0)
	if err != nil {
		return err
	}
	_, err = b.entry(ctx, 0, seq, size)
	return err
}

// related adds a feed that the record names, if there is one.
func (b *assembly) related(ctx context.Context, kind ledger.SubjectKind, id string) error {
	subject, err := ledger.Subject(b.api.config.Issuer, kind, id)
	if err != nil {
		return err
	}
	before := len(b.has)
	if _, err := b.feed(ctx, subject); err != nil {
		return err
	}
	if len(b.has) > before {
		b.out.Query.Subjects = append(b.out.Query.Subjects, subject)
	}
	return nil
}

// feed adds every entry about a subject and returns the approved record if one of them commits to it.
func (b *assembly) feed(ctx context.Context, subject string) (rec *mission.Record, err error) {
	var indexes []uint64
	for index, err := range b.view.Feed(subject, -1) {
		if err != nil {
			return nil, logError(err)
		}
		if len(indexes) == maxBundleEntries {
			return nil, errBundleTooLarge
		}
		indexes = append(indexes, index)
	}
	for seq, index := range indexes {
		approved, err := b.entry(ctx, index, uint64(seq), uint64(len(indexes)))
		if err != nil {
			return nil, err
		}
		if approved != nil {
			rec = approved
		}
	}
	return rec, nil
}

// entry adds an entry, number seq of the size entries of its feed, with its receipt and, unless it was erased or is
// kept elsewhere, its body.
func (b *assembly) entry(ctx context.Context, index, seq, size uint64) (*mission.Record, error) {
	if b.has[index] {
		return nil, nil
	}
	if len(b.has) == maxBundleEntries {
		return nil, errBundleTooLarge
	}
	e, err := b.view.Entry(index)
	if err != nil {
		return nil, logError(err)
	}
	s, err := ledger.ParseStatement(e.Statement)
	if err != nil {
		return nil, err
	}
	receipt, err := b.api.signReceipt(ctx, b.view, e, s, seq, size)
	if err != nil {
		return nil, err
	}
	transparent, err := ledger.AttachReceipts(e.Statement, receipt)
	if err != nil {
		return nil, err
	}
	b.has[index] = true
	b.out.Entries = append(b.out.Entries, verifier.BundleEntry{Index: index, Transparent: transparent})
	body, err := b.view.Body(s.Digest)
	switch {
	case errors.Is(err, ledger.ErrErased), errors.Is(err, ledger.ErrNotFound):
		b.out.Gaps = append(b.out.Gaps, verifier.Gap{EntryID: ledger.EntryID(s.Leaf()), Reason: "unavailable"})
		return nil, nil
	case err != nil:
		return nil, logError(err)
	}
	if b.octets += len(body); b.octets > maxBundleOctets {
		return nil, errBundleTooLarge
	}
	b.out.Records = append(b.out.Records, verifier.BundleRecord{ContentType: s.ContentType, Body: body})
	if s.ContentType == mission.ContentApprovalRecord {
		return mission.ParseRecord(body)
	}
	return nil, nil
}
