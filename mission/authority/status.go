package authority

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// maxNonce bounds a nonce, which is 1 to maxNonce visible ASCII characters (core 1.12).
const maxNonce = 255

// A StatusQuery asks where a mission stands. The members are as received.
type StatusQuery struct {
	MissionID string
	Audience  string // "" for the state only
	Nonce     string
}

// Status answers with a signed status response, a compact JWS of type mission-status-response+jwt (core 4.3). It
// asserts nothing that is not in the log: a mission that the clock has moved is moved there first. Errors:
// invalid_request; not_found, also for what the caller may not see; unavailable.
func (a *Authority) Status(ctx context.Context, c Caller, q StatusQuery) (token string, err error) {
	defer a.note(ctx, c, "status", q.MissionID, &err)
	if c, err = a.Principals().known(c); err != nil {
		return "", err
	}
	if !isVisible(q.Nonce, maxNonce) {
		return "", errRequest.because("nonce")
	}
	if len(q.Audience) > 512 {
		return "", errRequest.because("audience")
	}
	if c.Has(RolePeer) {
		return a.statusForPeer(ctx, c, q)
	}
	for range attempts {
		p, err := a.answer(c, q)
		if errors.Is(err, mission.ErrDue) {
			if err := a.settle(ctx, mission.ID(q.MissionID)); err != nil {
				return "", err
			}
			continue
		}
		if errors.Is(err, errUnfollowed) {
			if err := a.holdUnverified(ctx, mission.ID(q.MissionID)); err != nil {
				return "", err
			}
			continue
		}
		if err != nil {
			return "", err
		}
		return a.sign(ctx, p.with(q.Nonce))
	}
	return "", errUnavailable.because("deadlines")
}

// answer decides a query: everything about the response but its nonce. It returns mission.ErrDue if a deadline comes
// first.
func (a *Authority) answer(c Caller, q StatusQuery) (*decided, error) {
	r, err := a.read()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	key := answerKey{q.MissionID, c.Principal, q.Audience}
	if r.health.Write == nil {
		if p := a.answers.get(key, r); p != nil && !a.stoppedNow(p.rec) {
			return p, nil
		}
	}
	h, err := a.visible(r, q.MissionID, func(rec *mission.Record) bool { return c.mayRead(rec, q.Audience) })
	if err != nil {
		return nil, err
	}
	p, err := a.decideStatus(r, h, mission.StatusRequest{Requester: c.name(), Audience: q.Audience})
	if err != nil {
		return nil, err
	}
	a.answers.put(key, r, p)
	return p, nil
}

// visible finds a mission that the caller may know about. Unknown, malformed and not visible are one error after the
// same work.
func (a *Authority) visible(r *reading, id string, may func(*mission.Record) bool) (*held, error) {
	h, err := a.mission(r, mission.ID(id))
	if errors.Is(err, ledger.ErrNotFound) {
		may(nobody)
		return nil, errNotFound
	}
	if err != nil {
		return nil, err
	}
	if !may(h.rec) {
		return nil, errNotFound
	}
	return h, nil
}

// nobody stands in for the record of an unknown mission while it is decided whether the caller may see it.
var nobody = &mission.Record{}

// decideStatus builds the answer about h and makes sure that it may be given: nothing positive in doubt or under an
// emergency stop, and nothing at all once the write latch has been closed for longer than a status may be relied on.
func (a *Authority) decideStatus(r *reading, h *held, q mission.StatusRequest) (*decided, error) {
	var notAfter time.Time
	latched := false
	if l := r.health.Write; l != nil {
		latched = true
		notAfter = l.Since.Add(a.maxStale)
		if !r.at.Before(notAfter.Truncate(time.Second)) {
			return nil, errUnavailable.because("write").wrap(fmt.Errorf("write latch: %s", l.Code))
		}
	}
	state, _ := mission.Effective(h.rec, h.cur, r.at)
	if state == mission.Active {
		if err := r.certain(); err != nil {
			return nil, err
		}
		if !a.published(h.row) {
			return nil, errUnavailable.because(reasonUnpublished)
		}
		if a.stoppedNow(h.rec) {
			return nil, errUnavailable.because("emergency_stop")
		}
		if until, follows := a.followedUntil(h.rec); follows {
			if !a.followed.usable(h.rec.ID, a.clock.now()) {
				return nil, errUnfollowed
			}
			if notAfter.IsZero() || until.Before(notAfter) {
				notAfter = until
			}
		}
	}
	q.Nonce, q.TTL, q.MaxStale, q.NotAfter = anyNonce, a.statusTTL, a.maxStale, notAfter
	st, err := mission.NewStatus(h.rec, h.cur, q, r.at)
	if errors.Is(err, mission.ErrDue) {
		return nil, mission.ErrDue
	}
	if err != nil {
		return nil, fmt.Errorf("authority: status: %w", err)
	}
	if q.Peer != "" {
		if err := a.minimised(r, h, st, q.Peer); err != nil {
			return nil, err
		}
	}
	p, err := newDecided(st)
	if err != nil {
		return nil, err
	}
	p.rec, p.row = h.rec, h.row
	p.state, p.lasting = state, !latched && !r.doubt && h.rec.Upstream == nil
	p.until, err = nextDeadline(h.cur)
	return p, err
}

// stoppedNow reports whether a pending emergency stop covers the mission.
func (a *Authority) stoppedNow(rec *mission.Record) bool {
	stops := a.log.Stops()
	if _, ok := stops.Stopped(ledger.StopMission, string(rec.ID)); ok {
		return true
	}
	if rec.Upstream == nil {
		return false
	}
	_, ok := stops.Stopped(ledger.StopPeer, rec.Upstream.Issuer)
	return ok
}

// sign signs the payload of a status response.
func (a *Authority) sign(ctx context.Context, payload []byte) (string, error) {
	token, err := jws.Sign(ctx, a.status, jws.TypStatus, payload)
	if err != nil {
		return "", errUnavailable.because("signing").wrap(fmt.Errorf("status: %w", err))
	}
	return token, nil
}

// A decided is the canonical payload of a status response with a gap for the nonce.
type decided struct {
	before, after []byte

	rec     *mission.Record
	row     ledger.Row // the state row it rests on
	state   mission.State
	until   time.Time // first instant at which the clock moves the mission, if any
	lasting bool      // may be kept for the rest of its second
}

// anyNonce stands for the nonce while a payload is built. A quotation mark inside a string is escaped, and of the
// members after the nonce only "sub" follows, so the last `"nonce":"-"` of a canonical payload is the member itself.
const anyNonce = "-"

func newDecided(st *mission.Status) (*decided, error) {
	payload, err := mission.Marshal(st)
	if err != nil {
		return nil, fmt.Errorf("authority: status: %w", err)
	}
	const member = `"nonce":"`
	i := bytes.LastIndex(payload, []byte(member+anyNonce+`"`))
	if i < 0 {
		return nil, errors.New("authority: status without a nonce")
	}
	i += len(member)
	return &decided{before: payload[:i], after: payload[i+len(anyNonce):]}, nil
}

// with returns the payload for a nonce of visible ASCII characters.
func (p *decided) with(nonce string) []byte {
	b := make([]byte, 0, len(p.before)+len(nonce)+8+len(p.after))
	b = append(b, p.before...)
	if strings.ContainsAny(nonce, `"\`) {
		nonce = strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(nonce)
	}
	return append(append(b, nonce...), p.after...)
}
