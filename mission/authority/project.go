package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// projectionState is the row projection/<jti>: what a projection conveyed, and from which approved entries, so that a
// derivation receipt can be held against it.
type projectionState struct {
	MissionID mission.ID      `json:"mission_id"`
	Peer      string          `json:"peer"` // issuer
	Shape     string          `json:"shape"`
	Entries   []conveyedEntry `json:"entries"`
}

// A conveyedEntry is one entry as conveyed and as approved, by digest, and how many local missions may stand on it.
type conveyedEntry struct {
	Conveyed mission.Digest `json:"conveyed"` // entry commitment of the conveyed form
	Source   mission.Digest `json:"source"`   // entry commitment of the approved entry
	Max      int64          `json:"max_local_missions"`
}

// projectionEvidence is the evidence body of a projection. It commits to the artifact, and opens the commitments in it.
type projectionEvidence struct {
	MissionID          mission.ID              `json:"mission_id"`
	Version            uint64                  `json:"version"`
	ContainmentVersion uint64                  `json:"containment_version"`
	Peer               string                  `json:"peer"`
	Agreement          mission.AgreementRef    `json:"agreement"`
	Shape              string                  `json:"shape"`
	JTI                string                  `json:"jti"`
	Projection         mission.Digest          `json:"projection_digest"` // of the compact JWS
	ClientID           string                  `json:"client_id"`
	Confirmation       federation.Confirmation `json:"cnf"`
	Entries            []conveyedEntry         `json:"entries"`
	Purpose            *federation.Purpose     `json:"purpose,omitempty"`
	Hops               []openedHop             `json:"delegation"`
	Introduction       mission.Digest          `json:"introduction_digest"`
	IssuedAt           string                  `json:"issued_at"`
	ExpiresAt          string                  `json:"expires_at"`
	Salt               string                  `json:"salt"`
}

// An openedHop is a hop as conveyed with the salt that opens its commitment.
type openedHop struct {
	Hop  federation.Hop `json:"hop"`
	Salt string         `json:"salt"`
}

func (e *projectionEvidence) state() projectionState {
	return projectionState{e.MissionID, e.Peer, e.Shape, e.Entries}
}

// Project answers a peer that holds an introduction with a signed projection (typ mission-projection+jwt): the minimal
// view of one active mission, for one holder at the peer, for at most the agreed seconds. Body:
// federation.ProjectionRequest. The introduction is used up in the commit that logs the projection. The same request
// again returns the same octets while the mission stands where it stood, else conflict. Errors: invalid_request;
// not_found, also for an introduction that is unknown, used, over, for another peer or another mission;
// invalid_target; mission_inactive; conflict; unavailable.
func (a *Authority) Project(ctx context.Context, c Caller, body []byte) (compact string, err error) {
	target := ""
	defer func() { a.noteCrossing(ctx, c, "projection", target, &err) }()
	p, err := a.callingPeer(c)
	if err != nil {
		return "", err
	}
	q, err := federation.ParseProjectionRequest(body)
	if err != nil {
		return "", err
	}
	target = string(q.Mission.ID)
	if q.Audience != p.Peer.Issuer || q.Mission.Issuer != a.issuer {
		return "", errNotFound
	}
	fingerprint, err := mission.ObjectDigest(q)
	if err != nil {
		return "", errRequest.wrap(err)
	}
	_, err = a.afterSettling(ctx, q.Mission.ID, func() (ledger.Committed, error) {
		return a.commit(ctx, func(r *reading) (change *ledger.Change, err error) {
			compact, change, err = a.project(ctx, r, p, q, fingerprint)
			return change, err
		})
	})
	if err == nil {
		err = a.awaitPublished(ctx)
	}
	if err != nil {
		return "", err
	}
	return compact, nil
}

func (a *Authority) project(ctx context.Context, r *reading, p *peer, q *federation.ProjectionRequest,
	fingerprint mission.Digest) (string, *ledger.Change, error) {
	active, err := a.agreed(r, p)
	if err != nil {
		return "", nil, err
	}
	if q.Agreement != p.Ref {
		return "", nil, refused(federation.CodeConflict, federation.ReasonAgreementMismatch, nil)
	}
	key := join("projected", p.id, q.RequestID)
	if before, err := a.answered(r, key, fingerprint); err != nil || before != "" {
		return before, nil, err
	}
	introduced, row, err := a.introduced(r, p, q)
	if err != nil {
		return "", nil, err
	}
	h, err := a.mission(r, introduced.MissionID)
	if err != nil {
		return "", nil, err
	}
	entries, err := a.conveyable(r, h, p, q.Shape)
	if err != nil {
		return "", nil, err
	}
	claims, evidence, err := a.newProjection(r, p, h, q, entries)
	if err != nil {
		return "", nil, err
	}
	compact, err := claims.Sign(ctx, a.status)
	if err != nil {
		return "", nil, errUnavailable.because("signing").wrap(err)
	}
	evidence.Projection = mission.RawDigest([]byte(compact))
	entry, err := a.entry(ctx, a.missionSubject(h.rec.ID), mission.ContentProjectionIssued, r.at, evidence)
	if err != nil {
		return "", nil, err
	}
	introduced.Used = true
	used, err1 := put(row.Key, introduced, 0)
	stored, err2 := h.store(key, fingerprint, compact)
	issued, err3 := put(projectionRow(claims.JTI), evidence.state(), 0)
	return compact, &ledger.Change{
		Expect: []ledger.Precondition{active, ledger.Version(row.Key, row.Version), ledger.Absent(key),
			ledger.Version(h.row.Key, h.row.Version), notOverBefore(time.Unix(claims.ExpiresAt, 0))},
		Put:     []ledger.Record{used, stored, issued},
		Entries: []ledger.Entry{entry},
	}, errors.Join(err1, err2, err3)
}

// introduced finds the introduction that a request quotes. Whatever is wrong with it, the peer learns nothing.
func (a *Authority) introduced(r *reading, p *peer, q *federation.ProjectionRequest) (introductionState, ledger.Row, error) {
	var s introductionState
	row, err := prove(r, introductionRow(mission.RawDigest([]byte(q.Introduction))), &s)
	if errors.Is(err, ledger.ErrNotFound) {
		return s, row, errNotFound
	}
	if err != nil {
		return s, row, unavailable("reading an introduction", err)
	}
	until, err := mission.ParseTime(s.ExpiresAt)
	if err != nil {
		return s, row, unavailable("reading an introduction", errors.Join(ledger.ErrIntegrity, err))
	}
	switch {
	case s.Peer != p.Peer.Issuer || s.MissionID != q.Mission.ID:
		return s, row, errNotFound.because(federation.ReasonMissionMismatch)
	case s.Used:
		return s, row, errNotFound.because(federation.ReasonReplayed)
	case !r.at.Before(until):
		return s, row, errNotFound.because(federation.ReasonExpired)
	}
	return s, row, nil
}

// newProjection builds the claims and the evidence of a projection.
func (a *Authority) newProjection(r *reading, p *peer, h *held, q *federation.ProjectionRequest, entries []mission.Entry) (
	*federation.Projection, *projectionEvidence, error) {
	conveyed, err := a.sources(r, h, p, q.Shape, entries)
	if err != nil {
		return nil, nil, err
	}
	details, err := mission.RawOf(entries)
	if err != nil {
		return nil, nil, fmt.Errorf("authority: projection: %w", err)
	}
	hops, opened, err := a.conveyedChain(r, h.rec, p)
	if err != nil {
		return nil, nil, err
	}
	fresh := a.freshUntil(r, h, p)
	expires := r.at.Add(time.Duration(p.Outbound().MaxProjectionSeconds) * time.Second)
	if h.rec.Expires().Before(expires) {
		expires = h.rec.Expires()
	}
	level := federation.LeastDisclosure(q.Disclosure, p.annex.Disclosure, p.Agreement.Privacy.PurposeDisclosure)
	claims := &federation.Projection{
		Iss: a.issuer, Aud: p.Peer.Issuer, IssuedAt: r.at.Unix(), ExpiresAt: expires.Unix(), JTI: federation.NewNonce(),
		ClientID: q.ClientID, Confirmation: q.Confirmation, Nonce: q.Nonce,
		Mission: federation.ProjectedMission{
			ID: h.rec.ID, Issuer: a.issuer, AuthorityHash: h.rec.AuthorityHash, State: mission.Active,
			Version: h.cur.Version, ContainmentVersion: h.cur.ContainmentVersion, ExpiresAt: h.rec.ExpiresAt,
			FreshUntil: mission.FormatTime(fresh),
		},
		Purpose:              federation.Disclosed(level, h.rec.Intent.Purpose, ""),
		AuthorizationDetails: details,
		Agreement:            p.Ref,
		Delegation:           hops,
	}
	if pseudonym, ok := p.annex.Mapping.Pseudonym(h.rec.Subject); ok {
		claims.Subject = &pseudonym
	}
	return claims, &projectionEvidence{
		MissionID: h.rec.ID, Version: h.cur.Version, ContainmentVersion: h.cur.ContainmentVersion, Peer: p.Peer.Issuer,
		Agreement: p.Ref, Shape: q.Shape, JTI: claims.JTI, ClientID: q.ClientID, Confirmation: q.Confirmation,
		Entries: conveyed, Purpose: claims.Purpose, Hops: opened,
		Introduction: mission.RawDigest([]byte(q.Introduction)), IssuedAt: mission.FormatTime(r.at),
		ExpiresAt: mission.FormatTime(expires), Salt: mission.NewSalt(),
	}, nil
}

// sources pairs every conveyed entry with the approved entry it comes from. Minimise keeps the order and only drops, so
// each approved entry is tried alone.
func (a *Authority) sources(r *reading, h *held, p *peer, shape string, entries []mission.Entry) ([]conveyedEntry, error) {
	var out []conveyedEntry
	for _, e := range mission.EffectiveSet(h.rec, h.cur, r.at) {
		crossed := federation.Minimise([]mission.Entry{e}, p.Outbound(), shape)
		if len(crossed) == 0 {
			continue
		}
		conveyed, err1 := mission.EntryDigest(a.issuer, crossed[0])
		source, err2 := mission.EntryDigest(a.issuer, e)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("authority: projection: %w", err)
		}
		out = append(out, conveyedEntry{conveyed, source, e.Federation.LocalMissions()})
	}
	if len(out) != len(entries) {
		return nil, errors.New("authority: projection: an entry has no source")
	}
	return out, nil
}

// conveyedChain is the chain of approvals for a peer: what was received with an upstream mission, committed to again,
// and this domain's own approval at the end.
func (a *Authority) conveyedChain(r *reading, rec *mission.Record, p *peer) ([]federation.Hop, []openedHop, error) {
	received, err := a.chain(r, rec)
	if err != nil {
		return nil, nil, err
	}
	var hops []federation.Hop
	var opened []openedHop
	add := func(salt string, hop federation.Hop, err error) error {
		hops, opened = append(hops, hop), append(opened, openedHop{Hop: hop, Salt: salt})
		return err
	}
	for _, hop := range received {
		salt := mission.NewSalt()
		again, err := hop.Recommit(p.Peer.Issuer, salt)
		if err := add(salt, again, err); err != nil {
			return nil, nil, err
		}
	}
	salt := mission.NewSalt()
	own, err := federation.NewHop(rec, p.Peer.Issuer, salt)
	if err := add(salt, own, err); err != nil {
		return nil, nil, err
	}
	if len(hops) > federation.MaxHops {
		return nil, nil, refused(federation.CodeInvalidTarget, federation.ReasonChain, nil)
	}
	return hops, opened, nil
}

// freshUntil is how long an answer about an active mission may be relied on by a peer.
func (a *Authority) freshUntil(r *reading, h *held, p *peer) time.Time {
	fresh := r.at.Add(min(a.maxStale, a.peerStale(p)))
	if h.rec.Expires().Before(fresh) {
		fresh = h.rec.Expires()
	}
	if until, follows := a.followedUntil(h.rec); follows && until.Before(fresh) {
		fresh = until
	}
	return fresh
}

// peerStale is the agreed bound of fresh_until.
func (a *Authority) peerStale(p *peer) time.Duration {
	return time.Duration(p.Agreement.Freshness.StatusTTLSeconds) * time.Second
}
