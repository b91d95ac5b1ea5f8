package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/epoch"
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
// of the feeds that it names (its approval, the standing approval it draws on, the agreements and peers it crossed to
// or came from), with receipts for one head and the bodies that they commit to.
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
	if err := a.config.Epochs.Cover(c.ctx); err != nil { // then the bundle is complete as of an older epoch
		a.log.Warn("export without a new feed epoch", slog.Any("error", err))
	}
	v, err := a.evidenceView(c.ctx, q.Query.Mission)
	if err != nil {
		return reply{}, err
	}
	defer v.Close()
	b, err := a.newAssembly(v, q.Query.Mission)
	if err != nil {
		return reply{}, err
	}
	if err := b.collect(c.ctx); err != nil {
		return reply{}, err
	}
	body, err := b.out.MarshalSigned(func(manifest []byte) ([]byte, error) { return a.logExport(c.ctx, manifest) })
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
	named  []feedName              // feeds that bodies of the mission's feed name
	cited  map[mission.Digest]bool // principals that decisions cite
}

// A feedName is a feed of this issuer.
type feedName struct {
	kind ledger.SubjectKind
	id   string
}

func (a *API) newAssembly(v ledger.View, id string) (*assembly, error) {
	subject, err := ledger.MissionSubject(a.config.Issuer, id)
	if err != nil {
		return nil, errNotFound
	}
	head := v.Head()
	return &assembly{api: a, view: v, has: make(map[uint64]bool), cited: make(map[mission.Digest]bool), out: verifier.Bundle{
		CreatedAt:  head.At, // of the newest entry: the same query of the same size is the same bundle
		Exporter:   a.config.Issuer,
		Query:      verifier.Query{Mission: id, Subjects: []string{subject}},
		Head:       ledger.Checkpoint{Origin: a.config.LogOrigin, Size: head.Size, Root: head.Root},
		Checkpoint: v.Checkpoint(),
		VKeys:      []string{a.config.Published.VKey},
		Hint:       a.keys.hint,
	}}, nil
}

// collect adds the mission's feed, then the feeds that it names, then the genesis of the log.
func (b *assembly) collect(ctx context.Context) error {
	if err := b.feed(ctx, b.out.Query.Subjects[0], b.names); err != nil {
		return err
	}
	if len(b.has) == 0 {
		return errNotFound
	}
	for _, f := range b.named {
		if err := b.related(ctx, f); err != nil {
			return err
		}
	}
	if err := b.principals(ctx); err != nil {
		return err
	}
	if err := b.epoch(ctx); err != nil {
		return err
	}
	return b.entry(ctx, 0, nil, nil) // the genesis
}

// epoch adds the newest feed epoch and what it says about every feed of the query.
func (b *assembly) epoch(ctx context.Context) error {
	e, err := newestEpoch(b.view)
	if errors.Is(err, errNoEpoch) {
		return nil
	}
	if err != nil {
		return err
	}
	if b.out.Feeds, err = epoch.Map(b.view, b.api.config.Issuer).Prove(b.out.Query.Subjects...); err != nil {
		return logError(err)
	}
	if _, err := ledger.OpenMapProof(b.out.Feeds, b.api.config.Issuer, e.MapRoot); err != nil {
		return fmt.Errorf("own feed proof: %w", err)
	}
	return b.entry(ctx, e.Index, nil, nil)
}

// principals adds the versions of the principals that decisions cite: who was entitled to them.
func (b *assembly) principals(ctx context.Context) error {
	subject, err := ledger.Subject(b.api.config.Issuer, ledger.SubjectPrincipals, "")
	if err != nil || len(b.cited) == 0 {
		return err
	}
	for index, err := range b.view.Feed(subject, -1) {
		if err != nil {
			return logError(err)
		}
		e, err := b.view.Entry(index)
		if err != nil {
			return logError(err)
		}
		s, err := ledger.ParseStatement(e.Statement)
		if err != nil {
			return err
		}
		body, err := b.view.Body(s.Digest)
		if err != nil || s.ContentType != mission.ContentPrincipals {
			continue // a body that is gone is not what a decision can be checked against
		}
		var version struct {
			Digest mission.Digest `json:"digest"`
		}
		if err := mission.DecodeOpen(body, &version); err != nil {
			return err
		}
		if !b.cited[version.Digest] {
			continue
		}
		if err := b.entry(ctx, index, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// related adds a feed if it has entries.
func (b *assembly) related(ctx context.Context, f feedName) error {
	subject, err := ledger.Subject(b.api.config.Issuer, f.kind, f.id)
	if err != nil {
		return err
	}
	if slices.Contains(b.out.Query.Subjects, subject) {
		return nil
	}
	before := len(b.has)
	if err := b.feed(ctx, subject, nil); err != nil {
		return err
	}
	if len(b.has) > before {
		b.out.Query.Subjects = append(b.out.Query.Subjects, subject)
	}
	return nil
}

// names collects the feeds that a body of the mission's feed names.
func (b *assembly) names(contentType string, body []byte) error {
	switch contentType {
	case mission.ContentApprovalRecord:
		rec, err := mission.ParseRecord(body)
		if err != nil {
			return err
		}
		b.named = append(b.named, feedName{ledger.SubjectApprovals, string(rec.ApprovalEventID)})
		b.cited[mission.Digest(rec.PolicyVersion)] = true
		if rec.Upstream != nil {
			b.named = append(b.named, crossing(rec.Upstream.Issuer, rec.Upstream.Agreement.ID)...)
		}
		if rec.ApprovalBasis.Type == mission.BasisPolicyDrawdown { // the policy's version is its approval event
			b.named = append(b.named, feedName{ledger.SubjectApprovals, rec.ApprovalBasis.Activation.Version})
		}
	case mission.ContentConsentEvidence:
		var consent struct {
			Policy mission.Digest `json:"approval_policy_version"`
		}
		if err := mission.DecodeOpen(body, &consent); err != nil {
			return err
		}
		b.cited[consent.Policy] = true
	case mission.ContentProjectionIssued:
		var issued struct {
			Peer      string               `json:"peer"`
			Agreement mission.AgreementRef `json:"agreement"`
		}
		if err := mission.DecodeOpen(body, &issued); err != nil {
			return err
		}
		b.named = append(b.named, crossing(issued.Peer, issued.Agreement.ID)...)
	}
	return nil
}

// crossing names the feeds about a peer and an agreement with it.
func crossing(peer, agreement string) []feedName {
	return []feedName{{ledger.SubjectAgreements, agreement}, {ledger.SubjectPeers, authority.PeerID(peer)}}
}

// feed adds every entry about a subject and shows their bodies to read, if it is not nil.
func (b *assembly) feed(ctx context.Context, subject string, read func(contentType string, body []byte) error) error {
	var indexes []uint64
	for index, err := range b.view.Feed(subject, -1) {
		if err != nil {
			return logError(err)
		}
		if len(indexes) == maxBundleEntries {
			return errBundleTooLarge
		}
		indexes = append(indexes, index)
	}
	for seq, index := range indexes {
		if err := b.entry(ctx, index, &feedPlace{uint64(seq), uint64(len(indexes))}, read); err != nil {
			return err
		}
	}
	return nil
}

// entry adds an entry with its receipt, which gives its place in its feed if there is one, and, unless it was erased or
// is kept elsewhere, its body.
func (b *assembly) entry(ctx context.Context, index uint64, place *feedPlace, read func(string, []byte) error) error {
	if b.has[index] {
		return nil
	}
	if len(b.has) == maxBundleEntries {
		return errBundleTooLarge
	}
	e, err := b.view.Entry(index)
	if err != nil {
		return logError(err)
	}
	s, err := ledger.ParseStatement(e.Statement)
	if err != nil {
		return err
	}
	receipt, err := b.api.signReceipt(ctx, b.view, b.view.Head(), e, s, place)
	if err != nil {
		return err
	}
	transparent, err := ledger.AttachReceipts(e.Statement, receipt)
	if err != nil {
		return err
	}
	b.has[index] = true
	b.out.Entries = append(b.out.Entries, verifier.BundleEntry{Index: index, Transparent: transparent})
	body, err := b.view.Body(s.Digest)
	switch {
	case errors.Is(err, ledger.ErrErased) && b.explained(s):
		return nil
	case errors.Is(err, ledger.ErrErased), errors.Is(err, ledger.ErrNotFound):
		b.out.Gaps = append(b.out.Gaps, verifier.Gap{EntryID: ledger.EntryID(s.Leaf()), Reason: "unavailable"})
		return nil
	case err != nil:
		return logError(err)
	}
	if b.octets += len(body); b.octets > maxBundleOctets {
		return errBundleTooLarge
	}
	b.out.Records = append(b.out.Records, verifier.BundleRecord{ContentType: s.ContentType, Body: body})
	if read == nil {
		return nil
	}
	return read(s.ContentType, body)
}

// explained names the erasure record of an erased body, if the log has one: it is in the same feed.
func (b *assembly) explained(s *ledger.Statement) bool {
	if b.api.config.Custody == nil {
		return false
	}
	e, ok, err := b.api.config.Custody.Erased(b.view, s.Digest)
	if err != nil || !ok {
		return false
	}
	b.out.Erased = append(b.out.Erased, verifier.Erasure{EntryID: ledger.EntryID(s.Leaf()), Record: e.Record})
	return true
}
