package authority

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// A PeerConfig is one peer as the administrator's directory describes it: the peer record, the agreement with both
// governance signatures, and the local annex. All three are required; an administrator who wants less of a peer says so
// in them.
type PeerConfig struct {
	Record *federation.Peer
	Signed *federation.SignedAgreement
	Annex  *federation.Annex
}

// Upstream is how an Authority reaches its peers; package peering implements it over HTTP. Answers are artifacts as
// they were received: the Authority stores and verifies them. Errors are *federation.PeerRefusal for an unsigned
// refusal by the peer, and anything else for silence. Implementations bound the time of each call and are safe for
// concurrent use.
type Upstream interface {
	// Status asks for the signed status of a Mission of the peer, with this domain as the audience.
	Status(ctx context.Context, p *federation.Partner, id mission.ID, nonce string) (compact string, err error)
	// Project asks for a projection: body is a federation.ProjectionRequest.
	Project(ctx context.Context, p *federation.Partner, body []byte) (compact string, err error)
	// Receive hands over a derivation receipt and returns the transparent statement of the peer's entry.
	Receive(ctx context.Context, p *federation.Partner, compact string) (transparent []byte, err error)
	// Agree exchanges events of the agreement: body and answer are a federation.AgreementExchange.
	Agree(ctx context.Context, p *federation.Partner, body []byte) (answer []byte, err error)
	// Checkpoint fetches the newest checkpoint of the peer's log.
	Checkpoint(ctx context.Context, p *federation.Partner) ([]byte, error)
	// Consistency fetches the path that proves the peer's tree of size from to be a prefix of that of size to.
	Consistency(ctx context.Context, p *federation.Partner, from, to uint64) ([]ledger.Hash, error)
}

// contentPeerRecord is the type of the evidence that the peer registry changed.
const contentPeerRecord = "application/mas-peer-record+json"

// A peer is one entry of the registry. It is immutable.
type peer struct {
	*federation.Partner
	annex  *federation.Annex
	id     string         // in statement subjects and rows: an issuer has characters that neither takes
	record mission.Digest // of the configured record and agreement
}

// peers is the registry by issuer and by the client id that a peer authenticates with.
type peers struct {
	byIssuer map[string]*peer
	byClient map[string]*peer
	all      []*peer // ascending by issuer
}

// peerID names a peer where an issuer may not stand: 128 bits of the issuer's SHA-256 in hex.
func peerID(issuer string) string {
	sum := sha256.Sum256([]byte(issuer))
	return hex.EncodeToString(sum[:16])
}

// newPeers binds every record to its agreement. An unacceptable one is an error: a peer is trusted whole or not at all.
func newPeers(self string, configs []PeerConfig) (*peers, error) {
	ps := &peers{byIssuer: map[string]*peer{}, byClient: map[string]*peer{}}
	for _, c := range configs {
		if c.Record == nil || c.Signed == nil || c.Annex == nil {
			return nil, errors.New("authority: a peer has a record, a signed agreement and an annex")
		}
		if c.Annex.Issuer != c.Record.Issuer {
			return nil, fmt.Errorf("authority: peer %.80q: the annex is about another", c.Record.Issuer)
		}
		partner, err := federation.NewPartner(self, c.Record, c.Signed)
		if err != nil {
			return nil, fmt.Errorf("authority: peer %.80q: %w", c.Record.Issuer, err)
		}
		if limit := longestPoll(partner.Agreement); c.Annex.Interval() > limit {
			return nil, fmt.Errorf("authority: peer %.80q: poll_milliseconds is above %d, what the agreed freshness allows",
				c.Record.Issuer, limit.Milliseconds())
		}
		digest, err := mission.ObjectDigest(struct {
			Agreement mission.AgreementRef `json:"agreement"`
			Record    *federation.Peer     `json:"record"`
		}{partner.Ref, c.Record})
		if err != nil {
			return nil, fmt.Errorf("authority: peer %.80q: %w", c.Record.Issuer, err)
		}
		p := &peer{Partner: partner, annex: c.Annex, id: peerID(c.Record.Issuer), record: digest}
		if ps.byIssuer[c.Record.Issuer] != nil || ps.byClient[c.Record.ClientID] != nil {
			return nil, fmt.Errorf("authority: peer %.80q is not unique", c.Record.Issuer)
		}
		ps.byIssuer[c.Record.Issuer], ps.byClient[c.Record.ClientID] = p, p
		ps.all = append(ps.all, p)
	}
	slices.SortFunc(ps.all, func(x, y *peer) int {
		if x.Peer.Issuer < y.Peer.Issuer {
			return -1
		}
		return 1
	})
	return ps, nil
}

// longestPoll is how long the next question may wait without the answer before it running out: half of max_stale, and a
// second less than status_ttl, for fresh_until has whole seconds. An agreement that leaves no time is unusable.
func longestPoll(a *federation.Agreement) time.Duration {
	return min(a.MaxStale()/2, time.Duration(a.Freshness.StatusTTLSeconds-1)*time.Second)
}

// callingPeer finds the registry entry of a caller. A principal with the role alone is no peer.
func (a *Authority) callingPeer(c Caller) (*peer, error) {
	c, err := a.Principals().known(c)
	if err != nil {
		return nil, err
	}
	if !c.Has(RolePeer) || c.ClientID == "" {
		return nil, errNotFound
	}
	p := a.peers.byClient[c.ClientID]
	if p == nil {
		return nil, errNotFound
	}
	return p, nil
}

func (a *Authority) peerSubject(p *peer) string { return a.subject("peers", p.id) }

// peerState is the row peer/<peer id>: what the registry says about a peer.
type peerState struct {
	Issuer string         `json:"issuer"`
	Record mission.Digest `json:"record"`
	Status string         `json:"status"`          // as in the record, or removed
	Annex  mission.Digest `json:"annex,omitempty"` // commitment to the annex under Salt
	Salt   string         `json:"salt"`
}

// peerRemoved is the status of a peer that is no longer configured.
const peerRemoved = "removed"

// peerChange is the evidence body of a change of the registry. The annex stays private: its salted digest commits to
// it.
type peerChange struct {
	Issuer    string                `json:"issuer"` // of the peer
	Record    mission.Digest        `json:"record_digest"`
	Document  *federation.Peer      `json:"record,omitempty"`
	Agreement *mission.AgreementRef `json:"agreement,omitempty"`
	Annex     mission.Digest        `json:"annex_commitment,omitempty"` // {salt, annex} in canonical form
	Status    string                `json:"status"`
	Previous  mission.Digest        `json:"previous,omitempty"`
	ChangedAt string                `json:"changed_at"`
	Salt      string                `json:"salt"`
}

func (c *peerChange) state() peerState {
	return peerState{Issuer: c.Issuer, Record: c.Record, Status: c.Status, Annex: c.Annex, Salt: c.Salt}
}

// commitAnnex commits to what a side decides alone; the zero Digest for no annex.
func commitAnnex(annex *federation.Annex, salt string) (mission.Digest, error) {
	if annex == nil {
		return "", nil
	}
	d, err := mission.ObjectDigest(map[string]any{"annex": annex, "salt": salt})
	if err != nil {
		return "", fmt.Errorf("annex: %w", err)
	}
	return d, nil
}

// adoptPeers writes down what changed in the registry since the last start, peers that are gone included. Nothing of a
// peer is used before its record is in the log.
func (a *Authority) adoptPeers(ctx context.Context) error {
	for _, p := range a.peers.all {
		change := peerChange{Issuer: p.Peer.Issuer, Record: p.record, Document: p.Peer, Agreement: &p.Ref,
			Status: p.Peer.Status}
		if err := a.adoptPeer(ctx, p.id, change, p.annex); err != nil {
			return fmt.Errorf("authority: adopting a peer: %w", err)
		}
	}
	gone, err := a.gonePeers()
	if err != nil {
		return err
	}
	for _, s := range gone {
		change := peerChange{Issuer: s.Issuer, Record: s.Record, Status: peerRemoved}
		if err := a.adoptPeer(ctx, peerID(s.Issuer), change, nil); err != nil {
			return fmt.Errorf("authority: removing a peer: %w", err)
		}
	}
	return nil
}

func (a *Authority) adoptPeer(ctx context.Context, id string, change peerChange, annex *federation.Annex) error {
	_, err := a.commitOn(ctx, a.open, func(r *reading) (*ledger.Change, error) {
		var before peerState
		key := peerRow(id)
		expect := ledger.Absent(key)
		change := change
		row, err := prove(r, key, &before)
		switch {
		case err == nil:
			expect = ledger.Version(key, row.Version)
			change.Salt = before.Salt
		case errors.Is(err, ledger.ErrNotFound):
			change.Salt = mission.NewSalt()
		default:
			return nil, unavailable("reading a peer row", err)
		}
		if change.Annex, err = commitAnnex(annex, change.Salt); err != nil || before == change.state() {
			return nil, err
		}
		change.Previous, change.ChangedAt, change.Salt = before.Record, mission.FormatTime(r.at), mission.NewSalt()
		if change.Annex, err = commitAnnex(annex, change.Salt); err != nil {
			return nil, err
		}
		entry, err := a.entry(ctx, a.subject("peers", id), contentPeerRecord, r.at, change)
		if err != nil {
			return nil, err
		}
		rec, err := put(key, change.state(), 0)
		if err != nil {
			return nil, err
		}
		return &ledger.Change{
			Expect: []ledger.Precondition{expect}, Put: []ledger.Record{rec}, Entries: []ledger.Entry{entry},
		}, nil
	})
	return err
}

// gonePeers lists peers that the log knows and the configuration does not.
func (a *Authority) gonePeers() ([]peerState, error) {
	r, err := a.open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var gone []peerState
	for row, err := range r.List(peerPrefix, "") {
		if err != nil {
			return nil, unavailable("listing peers", err)
		}
		var s peerState
		if err := decodeRow(row, &s); err != nil {
			return nil, unavailable("listing peers", err)
		}
		if a.peers.byIssuer[s.Issuer] == nil && s.Status != peerRemoved {
			gone = append(gone, s)
		}
	}
	return gone, nil
}

// notOverBefore is the precondition that a Change is committed before a deadline, which is not itself in time.
func notOverBefore(deadline time.Time) ledger.Precondition { return ledger.NotAfter(deadline.Add(-1)) }

// crossing turns a refusal of package federation into one of the authority.
func crossing(err error) error {
	r, ok := errors.AsType[*federation.Refusal](err)
	if !ok {
		return err
	}
	kind := Invalid
	switch r.Code {
	case federation.CodeUnauthorized:
		kind = Unauthorized
	case federation.CodeAccessDenied:
		kind = Forbidden
	case federation.CodeNotFound:
		kind = NotFound
	case federation.CodeConflict, federation.CodeLimit, federation.CodeMissionInactive:
		kind = Conflict
	case federation.CodeRateLimited:
		kind = RateLimited
	case federation.CodeUnavailable:
		kind = Unavailable
	}
	return refusal(kind, r.Code, "the exchange was refused").because(r.Reason).wrap(r.Err)
}

// refused refuses an exchange with a code and reason of package federation.
func refused(code, reason string, cause error) error {
	return crossing(&federation.Refusal{Code: code, Reason: reason, Err: cause})
}

// noteCrossing is note for surfaces of the border: the log gets the reason; where the reason would help somebody who
// forges, the wire gets the code alone.
func (a *Authority) noteCrossing(ctx context.Context, c Caller, operation, target string, err *error) {
	*err = crossing(*err)
	a.note(ctx, c, operation, target, err)
	e, ok := errors.AsType[*Error](*err)
	if !ok {
		return
	}
	switch e.Code {
	case federation.CodeInvalidProjection, federation.CodeInvalidReceipt, federation.CodeInvalidAgreement,
		federation.CodeNotFound:
		*err = e.because("")
	}
}
