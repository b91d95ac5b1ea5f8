package authority

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// contentAcknowledged is the type of the evidence that an origin has logged a derivation receipt of this domain.
const contentAcknowledged = "application/mas-derivation-acknowledged+json"

// acknowledgedEvidence is the evidence body of an acknowledgement: the transparent statement of the origin's entry,
// which anybody can check against the origin's log.
type acknowledgedEvidence struct {
	MissionID   mission.ID     `json:"mission_id"`
	Event       string         `json:"event"`
	Receipt     mission.Digest `json:"receipt_digest"` // of the compact derivation receipt
	Transparent string         `json:"transparent_statement"`
	EntryID     string         `json:"peer_entry"`
	Index       uint64         `json:"peer_index"`
	TreeSize    uint64         `json:"peer_tree_size"`
	At          string         `json:"acknowledged_at"`
	Salt        string         `json:"salt"`
}

// errOrigin: the origin answered something that proves nothing.
var errOrigin = errors.New("authority: the origin's acknowledgement does not verify")

// outboxState is the row outbox/<mission>/<event>: the receipt as it is sent, the same octets until the origin has
// them.
type outboxState struct {
	Receipt string `json:"receipt"`
}

// acknowledge has the origin log that a local mission was minted, and releases the mission when that is proven. An
// origin that has no room for it ends the mission: it was never in force.
func (a *Authority) acknowledge(ctx context.Context, p *peer, id mission.ID) error {
	compact, err := a.outgoing(ctx, p, id, federation.EventMinted)
	if err != nil {
		return err
	}
	if err := a.awaitPublished(ctx); err != nil { // the receipt says that the mission was minted
		return err
	}
	entry, err := a.handOver(ctx, p, id, federation.EventMinted, compact)
	if r, ok := errors.AsType[*federation.PeerRefusal](err); ok && r.ErrorBody.Error == federation.CodeLimit {
		a.logger.WarnContext(ctx, "the origin allows no further local mission", "mission", string(id), "peer", p.Peer.Issuer)
		_, _, err := a.apply(ctx, id, mission.Transition{Operation: mission.OpRevoke},
			act{actor: actorCoupling, reason: federation.CodeLimit})
		return err
	}
	if err != nil {
		return err
	}
	_, _, err = a.apply(ctx, id, mission.Transition{Operation: mission.OpRelease, HoldReason: mission.HoldAwaitingReceipt},
		act{actor: actorCoupling, cause: mission.RawDigest([]byte(compact)), entries: []ledger.Entry{*entry},
			rows: []ledger.Record{tombstone(outboxRow(id, federation.EventMinted))}})
	return err
}

// tellEnded has the origin log that a local mission is over, and reports whether nothing is left to do. An origin that
// refuses to hear it is not asked again.
func (a *Authority) tellEnded(ctx context.Context, p *peer, id mission.ID) (settled bool, err error) {
	a.followed.forget(id)
	compact, err := a.outgoing(ctx, p, id, federation.EventEnded)
	if err != nil {
		return false, err
	}
	change := ledger.Change{Put: []ledger.Record{
		tombstone(outboxRow(id, federation.EventEnded)), tombstone(outboxRow(id, federation.EventMinted)),
		tombstone(coupledRow(id)),
	}}
	entry, err := a.handOver(ctx, p, id, federation.EventEnded, compact)
	if r, ok := errors.AsType[*federation.PeerRefusal](err); ok {
		a.logger.WarnContext(ctx, "the origin does not take the end of a local mission", "mission", string(id),
			"peer", p.Peer.Issuer, "status", r.Status)
	} else if err != nil {
		return false, err
	} else {
		change.Entries = []ledger.Entry{*entry}
	}
	if _, err := a.log.Commit(ctx, change); err != nil {
		return false, unavailable("settling a local mission", err)
	}
	return true, nil
}

// handOver sends a receipt and makes the evidence that the origin has logged it.
func (a *Authority) handOver(ctx context.Context, p *peer, id mission.ID, event, compact string) (*ledger.Entry, error) {
	transparent, err := a.upstream.Receive(ctx, p.Partner, compact)
	if err != nil {
		return nil, err
	}
	c, err := a.couplingOf(id)
	if err != nil {
		return nil, err
	}
	subject, err := ledger.MissionSubject(p.Peer.Issuer, string(c.Upstream))
	if err != nil {
		return nil, fmt.Errorf("authority: acknowledgement: %w", err)
	}
	ack, err := p.OpenTransparent(transparent, subject, mission.ContentDerivationReceipt, []byte(compact))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOrigin, err)
	}
	at := a.clock.now()
	entry, err := a.entry(ctx, a.missionSubject(id), contentAcknowledged, at, acknowledgedEvidence{
		MissionID: id, Event: event, Receipt: mission.RawDigest([]byte(compact)),
		Transparent: base64.RawURLEncoding.EncodeToString(transparent), EntryID: ack.EntryID, Index: ack.Index,
		TreeSize: ack.TreeSize, At: mission.FormatTime(at), Salt: mission.NewSalt(),
	})
	return &entry, err
}

// outgoing is the derivation receipt of an event: made once, logged, and sent as the same octets until the origin has
// it. The end of a mission frees its place under the ceiling.
func (a *Authority) outgoing(ctx context.Context, p *peer, id mission.ID, event string) (compact string, err error) {
	_, err = a.commit(ctx, func(r *reading) (*ledger.Change, error) {
		var before outboxState
		key := outboxRow(id, event)
		switch row, err := r.Get(key); {
		case err == nil && len(row.Value) > 0:
			if err := decodeRow(row, &before); err != nil {
				return nil, unavailable("reading an outbox", err)
			}
			compact = before.Receipt
			return nil, nil
		case err == nil:
			return nil, fmt.Errorf("authority: %s was acknowledged before", event)
		case !errors.Is(err, ledger.ErrNotFound):
			return nil, unavailable("reading an outbox", err)
		}
		receipt, err := a.newReceipt(r, p, id, event)
		if err != nil {
			return nil, err
		}
		if compact, err = receipt.Sign(ctx, a.status); err != nil {
			return nil, errUnavailable.because("signing").wrap(err)
		}
		entry, err := a.entryOf(ctx, a.missionSubject(id), mission.ContentDerivationReceipt, r.at, []byte(compact))
		if err != nil {
			return nil, err
		}
		rec, err := put(key, outboxState{compact}, 0)
		if err != nil {
			return nil, err
		}
		change := &ledger.Change{Expect: []ledger.Precondition{ledger.Absent(key)}, Put: []ledger.Record{rec},
			Entries: []ledger.Entry{entry}}
		if event == federation.EventEnded {
			change.Put = append(change.Put, ledger.Record{Key: drawnRow(p), Add: -1, JustifiedBy: ledger.NotJustified})
		}
		return change, nil
	})
	return compact, err
}

// newReceipt says what was minted, or what is over.
func (a *Authority) newReceipt(r *reading, p *peer, id mission.ID, event string) (*federation.DerivationReceipt, error) {
	h, err := a.mission(r, id)
	if err != nil {
		return nil, err
	}
	var c couplingState
	var seen federation.Seen
	if _, err := prove(r, couplingRow(id), &c); err != nil {
		return nil, unavailable("reading a coupling", err)
	}
	if _, err := prove(r, seenRow(id), &seen); err != nil {
		return nil, unavailable("reading a coupling", err)
	}
	record, err := r.Proven(recordRow(id))
	if err != nil {
		return nil, unavailable("reading a record row", err)
	}
	at := record.JustifiedBy
	if event == federation.EventEnded {
		at = h.row.JustifiedBy
	}
	entry, err := r.Entry(at)
	if err != nil {
		return nil, unavailable("reading an entry", err)
	}
	checkpoint, err := a.publishedCheckpoint()
	if err != nil {
		return nil, err
	}
	digest, err := federation.EntriesDigest(a.issuer, h.rec.AuthoritySet)
	if err != nil {
		return nil, fmt.Errorf("authority: derivation receipt: %w", err)
	}
	return &federation.DerivationReceipt{
		Iss: a.issuer, Aud: p.Peer.Issuer, IssuedAt: r.at.Unix(), JTI: federation.NewNonce(), Event: event,
		Upstream:        mission.Reference{ID: c.Upstream, Issuer: p.Peer.Issuer},
		UpstreamVersion: seen.Version, ProjectionJTI: c.ProjectionJTI, LocalRef: c.LocalRef,
		LocalEntry: ledger.EntryID(ledger.HashLeaf(entry.Statement)), EntriesDigest: digest, UpstreamEntries: c.Charged,
		ExpiresAt: h.rec.ExpiresAt, Agreement: c.Agreement, Checkpoint: checkpoint,
	}, nil
}
