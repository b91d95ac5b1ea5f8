package authority

import (
	"context"
	"errors"
	"fmt"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// servedEvidence is the evidence body of the first status that a peer was given about one version of a mission.
type servedEvidence struct {
	MissionID mission.ID           `json:"mission_id"`
	Peer      string               `json:"peer"`
	ClientID  string               `json:"client_id"`
	Agreement mission.AgreementRef `json:"agreement"`
	Version   uint64               `json:"version"`
	State     mission.State        `json:"state"`
	Response  mission.Digest       `json:"response_digest"` // of the compact JWS
	ServedAt  string               `json:"served_at"`
	Salt      string               `json:"salt"`
}

// statusForPeer is Status for a peer domain: its audience is itself, and it sees a mission only if some entry may
// cross to it and its client introduced it there. The first answer about each version of a mission is logged before it
// leaves.
func (a *Authority) statusForPeer(ctx context.Context, c Caller, q StatusQuery) (token string, err error) {
	for range attempts {
		token, err = a.serveOnce(ctx, c, q)
		switch {
		case errors.Is(err, mission.ErrDue):
			err = a.settle(ctx, mission.ID(q.MissionID))
		case errors.Is(err, errUnfollowed):
			err = a.holdUnverified(ctx, mission.ID(q.MissionID))
		case errors.Is(err, ledger.ErrConflict):
			err = nil
		default:
			return token, err
		}
		if err != nil {
			return "", err
		}
	}
	return "", errUnavailable.because("deadlines")
}

func (a *Authority) serveOnce(ctx context.Context, c Caller, q StatusQuery) (string, error) {
	r, err := a.read()
	if err != nil {
		return "", err
	}
	defer r.Close()
	p, err := a.callingPeer(c)
	if err != nil {
		return "", err
	}
	_, inactive := a.agreed(r, p)
	h, err := a.visible(r, q.MissionID, func(rec *mission.Record) bool {
		_, conveyed := r.Get(conveyedRow(p, mission.ID(q.MissionID)))
		crosses := len(mission.ForPeer(rec.AuthoritySet, p.Peer.Issuer)) > 0
		return conveyed == nil && crosses && inactive == nil && q.Audience == p.Peer.Issuer
	})
	if err != nil {
		return "", err
	}
	if err := a.mayFollow(h); err != nil {
		return "", err
	}
	out, err := a.decideStatus(r, h, mission.StatusRequest{Requester: c.name(), Audience: q.Audience, Peer: p.Peer.Issuer})
	if err != nil {
		return "", err
	}
	token, err := a.sign(ctx, out.with(q.Nonce))
	if err != nil {
		return "", err
	}
	return token, a.logServed(ctx, r, c, p, h, out, token)
}

// minimised narrows a status for a peer to what may cross in the shape `status`, and names the agreement.
func (a *Authority) minimised(r *reading, h *held, st *mission.Status, issuer string) error {
	p := a.peers.byIssuer[issuer]
	if p == nil {
		return errNotFound
	}
	set := federation.Minimise(mission.EffectiveSet(h.rec, h.cur, r.at), p.Outbound(), mission.ShapeStatus)
	if set == nil {
		set = []mission.Entry{}
	}
	var err error
	if st.AuthorizationDetails, err = mission.RawOf(set); err != nil {
		return fmt.Errorf("authority: status: %w", err)
	}
	if st.Mission.State == mission.Active {
		st.Mission.FreshUntil = mission.FormatTime(a.freshUntil(r, h, p))
	}
	st.Agreement = &p.Ref
	return nil
}

// logServed writes down the first answer to a peer about one version of a mission.
func (a *Authority) logServed(ctx context.Context, r *reading, c Caller, p *peer, h *held, out *decided, token string) error {
	key := servedRow(p, h.rec.ID, h.cur.Version)
	if _, err := r.Get(key); !errors.Is(err, ledger.ErrNotFound) {
		if err != nil {
			return unavailable("reading an exchange", err)
		}
		return nil
	}
	entry, err := a.entry(ctx, a.missionSubject(h.rec.ID), mission.ContentStatusServed, r.at, servedEvidence{
		MissionID: h.rec.ID, Peer: p.Peer.Issuer, ClientID: c.ClientID, Agreement: p.Ref, Version: h.cur.Version,
		State: out.state, Response: mission.RawDigest([]byte(token)), ServedAt: mission.FormatTime(r.at),
		Salt: mission.NewSalt(),
	})
	if err != nil {
		return err
	}
	_, err = a.log.Commit(ctx, ledger.Change{
		Expect:  []ledger.Precondition{ledger.Absent(key), ledger.Version(h.row.Key, h.row.Version)},
		Put:     []ledger.Record{{Key: key, Value: []byte("{}"), JustifiedBy: 0}},
		Entries: []ledger.Entry{entry},
	})
	if errors.Is(err, ledger.ErrConflict) {
		return err
	}
	if err != nil {
		return unavailable("logging an exchange", err)
	}
	return nil
}
