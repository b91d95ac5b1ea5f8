package authority

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// A look is an authentic status response of a peer.
type look struct {
	compact  string
	digest   mission.Digest
	status   *mission.Status
	verdict  mission.Verdict
	entries  []mission.Entry // understood ones
	sent     time.Time       // when the question was sent, by this clock
	fresh    time.Time       // fresh_until
	maxStale time.Duration
}

// usable reports whether the answer may be relied on at an instant.
func (l *look) usable(p *peer, at time.Time) bool {
	return federation.Usable(l.fresh, l.sent, l.maxStale, at) && l.verdict != mission.Stale
}

func (l *look) observation(usable bool) federation.Observation {
	return federation.Observation{Kind: federation.Answered, Status: l.status, Artifact: l.digest, Usable: usable}
}

// lookAt asks a peer for the status of one of its missions. An answer that is not authentic is silence: it says
// nothing.
func (a *Authority) lookAt(ctx context.Context, p *peer, id mission.ID) (*look, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Agreement.MaxStale()/2)
	defer cancel()
	nonce := federation.NewNonce()
	sent := a.clock.now()
	compact, err := a.upstream.Status(ctx, p.Partner, id, nonce)
	if err != nil {
		return nil, err
	}
	status, verdict := p.CheckStatus(compact, id, nonce, a.clock.now())
	if !verdict.Authentic() {
		return nil, fmt.Errorf("%w: status %s", federation.ErrUnreachable, verdict)
	}
	l := &look{compact: compact, digest: mission.RawDigest([]byte(compact)), status: status, verdict: verdict, sent: sent,
		maxStale: p.Agreement.MaxStale()}
	if l.fresh, err = mission.ParseTime(status.Mission.FreshUntil); err != nil {
		return nil, fmt.Errorf("%w: fresh_until", federation.ErrUnreachable)
	}
	if l.entries, _, err = status.Entries(); err != nil {
		return nil, fmt.Errorf("%w: authorization_details: %w", federation.ErrUnreachable, err)
	}
	return l, nil
}

// lookLive is lookAt for a mint: the answer must be active, fresh and under the agreement, else the refusal says what
// it means for the client.
func (a *Authority) lookLive(ctx context.Context, p *peer, id mission.ID) (*look, error) {
	l, err := a.lookAt(ctx, p, id)
	switch {
	case err != nil:
		return nil, refusedByPeer(err)
	case l.status.Mission.State != mission.Active:
		return nil, refused(federation.CodeMissionInactive, "", nil)
	case !l.usable(p, a.clock.now()), l.status.Agreement == nil, *l.status.Agreement != p.Ref:
		return nil, errUnavailable.because(federation.ReasonUpstreamUnverified)
	}
	return l, nil
}

// observedEvidence is the evidence body of what was seen of an upstream: the artifact itself, and what is believed
// since.
type observedEvidence struct {
	MissionID  mission.ID        `json:"mission_id"` // the local one
	Upstream   mission.Reference `json:"upstream"`
	Verdict    string            `json:"verdict"`
	Contradict bool              `json:"contradiction,omitempty"` // it cannot be true together with Seen
	Response   string            `json:"response"`                // the compact JWS as received
	Digest     mission.Digest    `json:"response_digest"`
	Seen       federation.Seen   `json:"seen"` // afterwards
	ObservedAt string            `json:"observed_at"`
	Salt       string            `json:"salt"`
}

func newObserved(rec *mission.Record, p *peer, l *look, seen federation.Seen, effect federation.Effect, at time.Time) observedEvidence {
	return observedEvidence{
		MissionID: rec.ID, Upstream: mission.Reference{ID: rec.Upstream.ID, Issuer: p.Peer.Issuer},
		Verdict: effect.Verdict(), Contradict: effect.Alarm, Response: l.compact, Digest: l.digest, Seen: seen,
		ObservedAt: mission.FormatTime(at), Salt: mission.NewSalt(),
	}
}

// link is what the coupling table needs to know of a local mission.
func (a *Authority) link(p *peer, rec *mission.Record, c *couplingState) federation.Link {
	return federation.Link{
		Upstream: rec.Upstream, Entries: rec.AuthoritySet, Ref: p.Ref,
		Mint: &federation.Mint{Origin: p.Peer.Issuer, Self: a.issuer, Mapping: &p.annex.Mapping},
	}
}

// observe applies one observation to a local mission. Each change of what is believed is one commit of a transition
// with the artifact that led to it; an observation that changes nothing is not written down. When the upstream is
// over, the peer's checkpoint is written down with the cascade if it can be had.
func (a *Authority) observe(ctx context.Context, p *peer, id mission.ID, c *couplingState, l *look, obs federation.Observation) error {
	var head *sighting
	if obs.Kind == federation.Answered && obs.Status.Mission.State.Terminal() {
		done, err := a.turns.take(ctx, headRow(p))
		if err != nil {
			return err
		}
		defer done()
		head = a.headOfEnded(ctx, p)
	}
	return a.inTurn(ctx, id, func() error {
		return a.afterDeadlines(ctx, id, func() error {
			for more := true; more; {
				if _, err := a.commitOn(ctx, a.open, func(r *reading) (change *ledger.Change, err error) {
					change, more, err = a.believe(ctx, r, p, id, c, l, obs, head)
					return change, err
				}); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// headOfEnded fetches the peer's checkpoint on the occasion of an end. Ending is never blocked: without it, it is noted
// that it could not be had.
func (a *Authority) headOfEnded(ctx context.Context, p *peer) *sighting {
	text, err := a.upstream.Checkpoint(ctx, p.Partner)
	var head *sighting
	if err == nil {
		head, err = a.sight(ctx, p, occasionRevoke, text)
	}
	if err != nil {
		a.logger.WarnContext(ctx, "the checkpoint of a peer could not be had when its mission ended", "peer", p.Peer.Issuer,
			"error", err)
		return nil
	}
	return head
}

// believe decides the next step of an observation at one view; more reports that there is another one.
func (a *Authority) believe(ctx context.Context, r *reading, p *peer, id mission.ID, c *couplingState, l *look,
	obs federation.Observation, head *sighting) (change *ledger.Change, more bool, err error) {
	h, err := a.mission(r, id)
	if err != nil || h.cur.State.Terminal() {
		return nil, false, err
	}
	var before federation.Seen
	row, err := prove(r, seenRow(id), &before)
	if err != nil {
		return nil, false, unavailable("reading a coupling", err)
	}
	seen, effect, err := federation.Couple(before, a.link(p, h.rec, c), obs)
	if err != nil {
		return nil, false, err
	}
	if obs.Kind == federation.Answered { // the agreement is active, or nobody would have asked
		effect.Release = append(effect.Release, mission.HoldPeerEnded)
	}
	steps := pending(h.cur, effect)
	by := act{actor: actorCoupling}
	if effect.New || seen != before {
		entry, err := a.entry(ctx, a.missionSubject(id), mission.ContentStatusObserved, r.at,
			newObserved(h.rec, p, l, seen, effect, r.at))
		if err != nil {
			return nil, false, err
		}
		by.entries = append(by.entries, entry)
	}
	if l != nil {
		by.cause = l.digest
	}
	if effect.Alarm {
		a.logger.ErrorContext(ctx, "the upstream of a local mission contradicts itself", "mission", string(id),
			"peer", p.Peer.Issuer)
	}
	if len(steps) == 0 && len(by.entries) == 0 {
		return nil, false, nil
	}
	change = &ledger.Change{Expect: []ledger.Precondition{ledger.Version(h.row.Key, h.row.Version)}, Entries: by.entries}
	if len(steps) > 0 {
		if change, _, err = a.transition(ctx, h, steps[0], by, r.at); err != nil || change == nil {
			return nil, false, err
		}
	}
	if len(by.entries) > 0 {
		rec, err := put(seenRow(id), seen, len(change.Entries)-1)
		if err != nil {
			return nil, false, err
		}
		change.Expect = append(change.Expect, ledger.Version(row.Key, row.Version))
		change.Put = append(change.Put, rec)
	}
	if effect.Ended {
		if err := head.add(ctx, a, p, change); err != nil {
			return nil, false, err
		}
	}
	return change, len(steps) > 1, nil
}

// pending are the transitions that an effect asks for and that are not there yet, stopping ones first.
func pending(cur mission.Standing, effect federation.Effect) []mission.Transition {
	if effect.Ended {
		return []mission.Transition{{Operation: mission.OpCascade}}
	}
	var steps []mission.Transition
	for _, reason := range effect.Add {
		if !cur.HeldFor(reason) {
			steps = append(steps, mission.Transition{Operation: mission.OpHold, HoldReason: reason})
		}
	}
	for _, reason := range effect.Release {
		if cur.HeldFor(reason) && !slices.Contains(effect.Add, reason) {
			steps = append(steps, mission.Transition{Operation: mission.OpRelease, HoldReason: reason})
		}
	}
	return steps
}
