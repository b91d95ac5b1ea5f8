package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// introductionLifetime is how long an introduction may be used.
const introductionLifetime = 10 * time.Minute

// introductionState is the row introduction/<digest of the secret>. The secret itself is only in the stored answer of
// the client that asked for it.
type introductionState struct {
	MissionID mission.ID `json:"mission_id"`
	Peer      string     `json:"peer"` // issuer
	ExpiresAt string     `json:"expires_at"`
	Used      bool       `json:"used,omitempty"`
}

// introductionEvidence is the evidence body of an introduction.
type introductionEvidence struct {
	MissionID    mission.ID           `json:"mission_id"`
	Peer         string               `json:"peer"`
	ClientID     string               `json:"client_id"`
	Introduction mission.Digest       `json:"introduction_digest"`
	Agreement    mission.AgreementRef `json:"agreement"`
	Version      uint64               `json:"version"` // of the mission
	IntroducedAt string               `json:"introduced_at"`
	ExpiresAt    string               `json:"expires_at"`
	Salt         string               `json:"salt"`
}

// storedAnswer is an idempotency row of the border: what was asked, what was answered, and on which state of which
// mission that rests.
type storedAnswer struct {
	Fingerprint        mission.Digest `json:"fingerprint"`
	Answer             string         `json:"answer"`
	MissionID          mission.ID     `json:"mission_id"`
	Version            uint64         `json:"version"`
	ContainmentVersion uint64         `json:"containment_version"`
}

// answered looks for the stored answer to a request: "" if there is none. An answer is repeated only while the mission
// stands where it stood; another request under the same id is refused.
func (a *Authority) answered(r *reading, key string, fingerprint mission.Digest) (string, error) {
	var before storedAnswer
	switch _, err := load(r, key, &before); {
	case errors.Is(err, ledger.ErrNotFound):
		return "", nil
	case err != nil:
		return "", unavailable("reading a stored answer", err)
	case before.Fingerprint != fingerprint:
		return "", refused(federation.CodeInvalidRequest, federation.ReasonIdempotencyMismatch, nil)
	}
	h, err := a.mission(r, before.MissionID)
	if err != nil {
		return "", err
	}
	if h.cur.Version != before.Version || h.cur.ContainmentVersion != before.ContainmentVersion {
		return "", refused(federation.CodeConflict, federation.ReasonStaleVersion, nil)
	}
	return before.Answer, nil
}

// store makes the idempotency row of an answer that rests on h.
func (h *held) store(key string, fingerprint mission.Digest, answer string) (ledger.Record, error) {
	return put(key, storedAnswer{fingerprint, answer, h.rec.ID, h.cur.Version, h.cur.ContainmentVersion},
		ledger.NotJustified)
}

// Introduce makes a single-use introduction of one of the caller's own missions to one peer, the only way for that
// peer to learn anything about it. Body: federation.IntroductionRequest; answer: federation.Introduction. Errors:
// invalid_request; not_found, also for a mission of somebody else, an unknown peer and an agreement that is not
// active; invalid_target if nothing of the mission may cross; mission_inactive; conflict for a repetition after the
// mission has changed; unavailable.
func (a *Authority) Introduce(ctx context.Context, c Caller, body []byte) (answer []byte, err error) {
	defer a.noteCrossing(ctx, c, "introduction", "", &err)
	if c, err = a.Principals().known(c); err != nil {
		return nil, err
	}
	q, err := federation.ParseIntroductionRequest(body)
	if err != nil {
		return nil, err
	}
	fingerprint, err := mission.ObjectDigest(q)
	if err != nil {
		return nil, errRequest.wrap(err)
	}
	_, err = a.afterSettling(ctx, q.MissionID, func() (ledger.Committed, error) {
		return a.commit(ctx, func(r *reading) (change *ledger.Change, err error) {
			answer, change, err = a.introduce(ctx, r, c, q, fingerprint)
			return change, err
		})
	})
	if err == nil {
		err = a.awaitPublished(ctx)
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}

func (a *Authority) introduce(ctx context.Context, r *reading, c Caller, q *federation.IntroductionRequest,
	fingerprint mission.Digest) ([]byte, *ledger.Change, error) {
	h, err := a.visible(r, string(q.MissionID), c.owns)
	if err != nil {
		return nil, nil, err
	}
	key := join("introduced", c.name(), q.RequestID)
	if before, err := a.answered(r, key, fingerprint); err != nil || before != "" {
		return []byte(before), nil, err
	}
	p := a.peers.byIssuer[q.Peer]
	if p == nil {
		return nil, nil, errNotFound
	}
	active, err := a.agreed(r, p)
	if err != nil {
		return nil, nil, err
	}
	if _, err := a.conveyable(r, h, p, mission.ShapeProjection, mission.ShapeLocalMission); err != nil {
		return nil, nil, err
	}
	secret := federation.NewIntroduction()
	digest := mission.RawDigest([]byte(secret))
	until := r.at.Add(introductionLifetime).Truncate(time.Second)
	if h.rec.Expires().Before(until) {
		until = h.rec.Expires()
	}
	entry, err := a.entry(ctx, a.missionSubject(h.rec.ID), mission.ContentIntroduction, r.at, introductionEvidence{
		MissionID: h.rec.ID, Peer: q.Peer, ClientID: c.ClientID, Introduction: digest, Agreement: p.Ref,
		Version: h.cur.Version, IntroducedAt: mission.FormatTime(r.at), ExpiresAt: mission.FormatTime(until),
		Salt: mission.NewSalt(),
	})
	if err != nil {
		return nil, nil, err
	}
	answer, err := mission.Marshal(federation.Introduction{Introduction: secret, ExpiresAt: mission.FormatTime(until)})
	if err != nil {
		return nil, nil, fmt.Errorf("authority: introduction: %w", err)
	}
	change := &ledger.Change{
		Expect: []ledger.Precondition{active, ledger.Version(h.row.Key, h.row.Version), notOverBefore(until),
			ledger.Version(principalsRow, a.inForce.Load().row),
			ledger.Absent(key), ledger.Absent(introductionRow(digest))},
		Entries: []ledger.Entry{entry},
	}
	introduced, err1 := put(introductionRow(digest), introductionState{h.rec.ID, q.Peer, mission.FormatTime(until), false}, 0)
	stored, err2 := h.store(key, fingerprint, string(answer))
	change.Put = append(change.Put, introduced, stored, ledger.Record{
		Key: conveyedRow(p, h.rec.ID), Value: []byte("{}"), JustifiedBy: 0,
	})
	return answer, change, errors.Join(err1, err2)
}

// conveyable returns what of a mission may cross to a peer in one of these shapes now, or says why nothing may: only an
// active mission crosses, one that follows an upstream only while that is verified, never back to where it came from.
func (a *Authority) conveyable(r *reading, h *held, p *peer, shapes ...string) ([]mission.Entry, error) {
	if state, _ := mission.Effective(h.rec, h.cur, r.at); state != mission.Active {
		return nil, refused(federation.CodeMissionInactive, "", nil)
	}
	if err := a.mayAssert(r, h.rec); err != nil {
		return nil, err
	}
	if err := a.mayFollow(h); err != nil {
		return nil, err
	}
	chain, err := a.chain(r, h.rec)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(chain, func(hop federation.Hop) bool { return hop.Issuer == p.Peer.Issuer }) {
		return nil, refused(federation.CodeInvalidTarget, federation.ReasonChain, nil)
	}
	set := mission.EffectiveSet(h.rec, h.cur, r.at)
	for _, shape := range shapes {
		if out := federation.Minimise(set, p.Outbound(), shape); len(out) > 0 {
			return out, nil
		}
	}
	return nil, refused(federation.CodeInvalidTarget, federation.ReasonOutsideAgreement, nil)
}

// afterSettling runs f, and commits what the clock or an upstream has already decided about the mission and runs it
// again whenever f finds that such a step comes first.
func (a *Authority) afterSettling(ctx context.Context, id mission.ID, f func() (ledger.Committed, error)) (
	ledger.Committed, error) {
	for range attempts {
		done, err := f()
		switch {
		case errors.Is(err, mission.ErrDue):
			err = a.settle(ctx, id)
		case errors.Is(err, errUnfollowed):
			err = a.holdUnverified(ctx, id)
		default:
			return done, err
		}
		if err != nil {
			return ledger.Committed{}, err
		}
	}
	return ledger.Committed{}, errUnavailable.because("deadlines")
}
