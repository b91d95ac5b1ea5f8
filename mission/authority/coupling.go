package authority

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// errUnfollowed: the mission follows an upstream about which nothing may be relied on now. Whoever finds it commits the
// hold first, then decides again.
var errUnfollowed = errUnavailable.because(federation.ReasonUpstreamUnverified)

// RunCoupling does what the border asks for, until ctx ends: it brings agreements into force, asks for ceilings,
// decides local missions, has the origin acknowledge them, follows their upstreams within the agreed bound, and tells
// the origin when they are over. It returns nil when ctx ended. Call it once, after Recover.
func (a *Authority) RunCoupling(ctx context.Context) error {
	for _, p := range a.peers.all {
		a.keepAgreement(p)
	}
	a.chores.add("resume", "", a.clock.now(), a.untilDone("taking up local missions", a.resume))
	a.chores.add("ceilings", "", a.clock.now(), func(ctx context.Context) (time.Duration, bool) {
		a.try(ctx, "asking for ceilings", a.askCeilings)
		return idlePass, true
	})
	a.chores.work(ctx, a.clock.now)
	return nil
}

// untilDone is a chore that is tried again until it succeeds.
func (a *Authority) untilDone(what string, f func(context.Context) error) func(context.Context) (time.Duration, bool) {
	failures := 0
	return func(ctx context.Context) (time.Duration, bool) {
		err := f(ctx)
		if err == nil {
			return 0, false
		}
		failures++
		a.logger.ErrorContext(ctx, "work of the border failed and will be tried again", "work", what, "error", err)
		return backoff(failures, time.Second, idlePass, jitter()), true
	}
}

// localLookBack is how far back pending submissions of local missions are looked for: none lives as long as a
// projection and this.
const localLookBack = time.Hour

// resume takes up the local missions and submissions that the rows say are under way. What comes later is taken up by
// whoever commits it.
func (a *Authority) resume(ctx context.Context) error {
	r, err := a.read()
	if err != nil {
		return err
	}
	defer r.Close()
	waiting := join("queue", "") + "/"
	for row, err := range r.List(waiting, waiting+sortable(r.at.Add(-localLookBack))) {
		if err != nil {
			return unavailable("listing submissions", err)
		}
		if len(row.Value) == 0 {
			continue
		}
		id := mission.SubmissionID(row.Key[strings.LastIndexByte(row.Key, '/')+1:])
		if _, b, err := a.pendingLocal(id); err != nil {
			return err
		} else if b != nil && a.peers.byIssuer[b.Peer] != nil {
			a.mintSoon(a.peers.byIssuer[b.Peer], id)
		}
	}
	for row, err := range r.List(coupledPrefix, "") {
		if err != nil {
			return unavailable("listing local missions", err)
		}
		if len(row.Value) == 0 {
			continue
		}
		if err := a.takeUp(ctx, r, mission.ID(strings.TrimPrefix(row.Key, coupledPrefix))); err != nil {
			return err
		}
	}
	return nil
}

// takeUp has the worker look after a local mission. One whose peer is gone is held.
func (a *Authority) takeUp(ctx context.Context, r *reading, id mission.ID) error {
	var c couplingState
	if _, err := prove(r, couplingRow(id), &c); err != nil {
		return unavailable("reading a coupling", err)
	}
	p := a.peers.byIssuer[c.Peer]
	if p == nil {
		return a.hold(ctx, id, mission.HoldPeerEnded)
	}
	a.tendSoon(p, id)
	return nil
}

// keepAgreement has the worker bring the agreement with a peer into force and keep an eye on it.
func (a *Authority) keepAgreement(p *peer) {
	failures := 0
	a.chores.add("agreement/"+p.id, p.Peer.Issuer, a.clock.now(), func(ctx context.Context) (time.Duration, bool) {
		active, err := a.agree(ctx, p)
		switch {
		case err != nil:
			failures++
			a.logger.InfoContext(ctx, "agreement not active yet", "peer", p.Peer.Issuer, "error", err)
		case active:
			failures = 0
			return idlePass, true
		default:
			failures++
		}
		return backoff(failures, p.annex.Interval(), 10*time.Second, jitter()), true
	})
}

// tendSoon has the worker look after a local mission: two chores, so that a question that hangs never delays the hold.
// The first question comes at once; the hold can wait, for whoever reads the mission before commits it.
func (a *Authority) tendSoon(p *peer, id mission.ID) {
	t := &tending{a: a, p: p, id: id}
	a.chores.add("tend/"+string(id), p.Peer.Issuer, a.clock.now(), t.run)
	a.chores.add("bound/"+string(id), "", a.clock.now().Add(p.Agreement.MaxStale()/2), t.watch)
}

// A tending looks after one local mission.
type tending struct {
	a        *Authority
	p        *peer
	id       mission.ID
	failures int
}

// run takes one look at the upstream and does what has to be done about the mission. It ends when the mission is over
// and the origin knows.
func (t *tending) run(ctx context.Context) (pause time.Duration, again bool) {
	settled, err := t.a.tend(ctx, t.p, t.id)
	if err == nil {
		t.failures = 0
		interval := t.p.annex.Interval()
		return interval - time.Duration(float64(interval)/8*jitter()), !settled
	}
	t.failures++
	t.a.logger.InfoContext(ctx, "local mission not tended", "mission", string(t.id), "error", err)
	return backoff(t.failures, t.p.annex.Interval()/2, t.p.Agreement.MaxStale()/4, jitter()), true
}

// watch holds the mission when what is known about its upstream may no longer be relied on.
func (t *tending) watch(ctx context.Context) (pause time.Duration, again bool) {
	until, ok := t.a.followed.until(t.id)
	if now := t.a.clock.now(); ok && now.Before(until) {
		return until.Sub(now), true
	}
	standing, err := t.a.standingOf(t.id)
	if err == nil && standing.State.Terminal() {
		return 0, false
	}
	if err == nil {
		err = t.a.holdUnverified(ctx, t.id)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		t.a.logger.WarnContext(ctx, "holding a local mission failed and will be tried again", "mission", string(t.id),
			"error", err)
	}
	return t.p.Agreement.MaxStale() / 2, true
}

func (a *Authority) standingOf(id mission.ID) (mission.Standing, error) {
	r, err := a.open()
	if err != nil {
		return mission.Standing{}, err
	}
	defer r.Close()
	h, err := a.mission(r, id)
	if err != nil {
		return mission.Standing{}, err
	}
	return h.cur, nil
}

// tend does what has to be done about a local mission now, and reports whether nothing is left to do.
func (a *Authority) tend(ctx context.Context, p *peer, id mission.ID) (settled bool, err error) {
	if err := a.settle(ctx, id); err != nil {
		return false, err
	}
	standing, err := a.standingOf(id)
	if err != nil {
		return false, err
	}
	if !standing.State.Terminal() {
		if err := a.lookAgain(ctx, p, id); err != nil {
			return false, err
		}
		if standing, err = a.standingOf(id); err != nil {
			return false, err
		}
	}
	switch {
	case standing.State.Terminal():
		return a.tellEnded(ctx, p, id)
	case standing.HeldFor(mission.HoldAwaitingReceipt):
		return false, a.acknowledge(ctx, p, id)
	}
	return false, nil
}

// lookAgain takes one look at the upstream and applies what it shows.
func (a *Authority) lookAgain(ctx context.Context, p *peer, id mission.ID) error {
	if err := a.stillAgreed(p); err != nil {
		if e, ok := errors.AsType[*Error](err); ok && e.Kind == NotFound {
			return a.hold(ctx, id, mission.HoldPeerEnded)
		}
		return err
	}
	c, err := a.couplingOf(id)
	if err != nil {
		return err
	}
	look, err := a.lookAt(ctx, p, c.Upstream)
	obs := federation.Observation{Kind: federation.Silent, Usable: a.followed.usable(id, a.clock.now())}
	if refusal, ok := errors.AsType[*federation.PeerRefusal](err); ok {
		a.logger.WarnContext(ctx, "the upstream of a local mission was refused", "mission", string(id), "status", refusal.Status)
		obs.Kind = federation.Refused
	} else if err == nil {
		obs = look.observation(look.usable(p, a.clock.now()))
	}
	if applied := a.observe(ctx, p, id, c, look, obs); applied != nil || err != nil && obs.Kind == federation.Silent {
		return errors.Join(applied, err)
	}
	if obs.Kind == federation.Answered {
		a.followed.note(id, look, a.clock.now())
	}
	return nil
}

func (a *Authority) couplingOf(id mission.ID) (*couplingState, error) {
	r, err := a.read()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var c couplingState
	if _, err := prove(r, couplingRow(id), &c); err != nil {
		return nil, unavailable("reading a coupling", err)
	}
	return &c, nil
}

// followed remembers, for each local mission, the last authentic answer about its upstream. It is memory: after a
// restart nothing is fresh.
type followed struct {
	mu sync.RWMutex
	m  map[mission.ID]freshness
}

type freshness struct {
	sent     time.Time // when the question was sent, with its monotonic part
	fresh    time.Time // fresh_until of the answer
	maxStale time.Duration
}

func (f *followed) note(id mission.ID, l *look, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m == nil {
		f.m = map[mission.ID]freshness{}
	}
	if before, ok := f.m[id]; ok && l.sent.Before(before.sent) {
		return // an answer that was overtaken
	}
	f.m[id] = freshness{l.sent, l.fresh, l.maxStale}
}

// usable reports whether the last answer may be relied on now.
func (f *followed) usable(id mission.ID, now time.Time) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	x, ok := f.m[id]
	return ok && federation.Usable(x.fresh, x.sent, x.maxStale, now)
}

// until is the instant from which the last answer may not be relied on.
func (f *followed) until(id mission.ID) (time.Time, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	x, ok := f.m[id]
	if !ok {
		return time.Time{}, false
	}
	return federation.HoldAt(x.fresh, x.sent, x.maxStale), true
}

func (f *followed) forget(id mission.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.m, id)
}

// mayFollow refuses with errUnfollowed to say anything positive about a mission whose upstream is not known to be fine
// now.
func (a *Authority) mayFollow(h *held) error {
	if h.rec.Upstream == nil || h.cur.State != mission.Active || len(h.cur.Holds) > 0 {
		return nil
	}
	if !a.followed.usable(h.rec.ID, a.clock.now()) {
		return errUnfollowed
	}
	return nil
}

// followedUntil is the instant past which nothing positive may be said about a mission that follows an upstream, unless
// there is news; follows is false for a mission of this domain's own.
func (a *Authority) followedUntil(rec *mission.Record) (until time.Time, follows bool) {
	if rec.Upstream == nil {
		return time.Time{}, false
	}
	until, _ = a.followed.until(rec.ID)
	return until.Round(0), true
}

// holdUnverified commits the hold that the silence of an upstream brings, if it is still silent.
func (a *Authority) holdUnverified(ctx context.Context, id mission.ID) error {
	return a.holdIf(ctx, id, mission.HoldUpstreamUnverified, func(h *held) bool {
		return !a.followed.usable(id, a.clock.now())
	})
}

// hold commits a hold.
func (a *Authority) hold(ctx context.Context, id mission.ID, reason string) error {
	return a.holdIf(ctx, id, reason, func(*held) bool { return true })
}

func (a *Authority) holdIf(ctx context.Context, id mission.ID, reason string, still func(*held) bool) error {
	err := a.inTurn(ctx, id, func() error {
		return a.afterDeadlines(ctx, id, func() error {
			_, err := a.commitOn(ctx, a.open, func(r *reading) (*ledger.Change, error) {
				h, err := a.mission(r, id)
				if err != nil || h.cur.State.Terminal() || !still(h) {
					return nil, err
				}
				change, _, err := a.transition(ctx, h, mission.Transition{Operation: mission.OpHold, HoldReason: reason},
					act{actor: actorCoupling}, r.at)
				return change, err
			})
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("holding a local mission: %w", err)
	}
	return nil
}
