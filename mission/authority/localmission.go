package authority

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// contentMinted is the type of the evidence that a local mission was minted.
const contentMinted = "application/mas-local-mission-minted+json"

// mintedEvidence is the evidence body of a mint: on what it stands, and how it is known to the origin.
type mintedEvidence struct {
	MissionID       mission.ID           `json:"mission_id"`
	SubmissionID    mission.SubmissionID `json:"submission_id"`
	ApprovalEventID mission.EventID      `json:"approval_event_id"`
	Ceiling         mission.Digest       `json:"ceiling_digest"` // of the evidence body of the ceiling
	Coupling        couplingState        `json:"coupling"`
	MintedAt        string               `json:"minted_at"`
	Salt            string               `json:"salt"`
}

func (e *mintedEvidence) outcome() outcomeState {
	return outcomeState{SubmissionID: e.SubmissionID, Status: submissionApproved, MissionID: e.MissionID,
		ResolvedAt: e.MintedAt}
}

// couplingState is the row coupling/<mission>: what a local mission follows, fixed at the mint.
type couplingState struct {
	Peer          string               `json:"peer"`
	Upstream      mission.ID           `json:"upstream"`
	Agreement     mission.AgreementRef `json:"agreement"`
	ProjectionJTI string               `json:"projection_jti"`
	LocalRef      string               `json:"local_ref"` // how the origin knows the local mission
	Charged       []mission.Digest     `json:"upstream_entries"`
	Chain         []federation.Hop     `json:"chain"` // as received
}

// localRefusal is the evidence body of a local mission that was not minted after all.
type localRefusal struct {
	SubmissionID    mission.SubmissionID `json:"submission_id"`
	ApprovalEventID mission.EventID      `json:"approval_event_id"`
	Code            string               `json:"code"`
	Reason          string               `json:"reason,omitempty"`
	RefusedAt       string               `json:"refused_at"`
	Salt            string               `json:"salt"`
}

func (e *localRefusal) outcome() outcomeState {
	return outcomeState{SubmissionID: e.SubmissionID, Status: submissionDenied, ResolvedAt: e.RefusedAt}
}

// mintSoon has the worker decide a submission.
func (a *Authority) mintSoon(p *peer, id mission.SubmissionID) {
	failures := 0
	a.chores.add("mint/"+string(id), p.Peer.Issuer, a.clock.now(), func(ctx context.Context) (time.Duration, bool) {
		done, err := a.mintNow(ctx, id)
		if err != nil {
			failures++
			a.logger.WarnContext(ctx, "local mission not decided yet", "submission", string(id), "error", err)
			return backoff(failures, p.annex.Interval(), 10*time.Second, jitter()), true
		}
		return p.annex.Interval(), !done
	})
}

// mintNow decides a submission of a local mission on a second look at the upstream, and reports whether nothing is
// left to decide. A refusal ends the submission; silence leaves it until it is over.
func (a *Authority) mintNow(ctx context.Context, id mission.SubmissionID) (done bool, err error) {
	s, b, err := a.pendingLocal(id)
	if s == nil || err != nil {
		return err == nil, err
	}
	p := a.peers.byIssuer[b.Peer]
	if p == nil {
		return false, refused(federation.CodeUnavailable, federation.ReasonUntrustedIssuer, nil)
	}
	var terms mintTerms
	if err := b.Local.Decode(&terms); err != nil {
		return false, unavailable("reading a submission", errors.Join(ledger.ErrIntegrity, err))
	}
	rec, live, err := a.mint(ctx, p, s, b, &terms)
	e, isRefusal := errors.AsType[*Error](crossing(err))
	switch {
	case err == nil:
		if rec != nil {
			a.followed.note(rec.ID, live, a.clock.now())
			a.tendSoon(p, rec.ID)
		}
		return true, nil
	case isRefusal && e.Kind != Unavailable && e.Kind != Internal:
		return true, a.refuseLocal(ctx, s, e)
	}
	return false, err
}

// pendingLocal reads a submission of a local mission; nil if it was decided or is over.
func (a *Authority) pendingLocal(id mission.SubmissionID) (*submitted, *submissionBody, error) {
	r, err := a.read()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	s, err := a.submission(r, id)
	if err != nil || s.Kind != submissionLocal || s.outcome != nil || s.status(r.at) != submissionPending {
		return nil, nil, err
	}
	b, err := s.body(r)
	return s, b, err
}

// mint takes the second look and creates the local mission: active at version 1 and held until the origin has
// acknowledged it, in one commit with its evidence, its coupling and the peer's checkpoint.
func (a *Authority) mint(ctx context.Context, p *peer, s *submitted, b *submissionBody, t *mintTerms) (
	rec *mission.Record, live *look, err error) {
	if live, err = a.lookLive(ctx, p, t.Upstream.ID); err != nil {
		return nil, nil, err
	}
	if live.status.Mission.AuthorityHash != t.AuthorityHash || live.status.Mission.ExpiresAt != t.ExpiresAt {
		return nil, nil, refused(federation.CodeInvalidProjection, federation.ReasonEquivocation, nil)
	}
	turn, err := a.turns.take(ctx, headRow(p))
	if err != nil {
		return nil, nil, err
	}
	defer turn()
	text, err := a.upstream.Checkpoint(ctx, p.Partner)
	if err != nil {
		return nil, nil, refused(federation.CodeUnavailable, federation.ReasonUpstreamUnverified, err)
	}
	head, err := a.sight(ctx, p, occasionMint, text)
	if err != nil {
		return nil, nil, err
	}
	_, err = a.commit(ctx, func(r *reading) (change *ledger.Change, err error) {
		now, err := a.submission(r, s.SubmissionID)
		if err != nil || now.outcome != nil {
			return nil, err
		}
		rec, change, err = a.draw(ctx, r, p, s, b, t, live)
		if err != nil {
			return nil, err
		}
		return change, head.add(ctx, a, p, change)
	})
	return rec, live, err
}

// draw makes the Change of a mint at one view.
func (a *Authority) draw(ctx context.Context, r *reading, p *peer, s *submitted, b *submissionBody, t *mintTerms, live *look) (
	*mission.Record, *ledger.Change, error) {
	if err := r.certain(); err != nil {
		return nil, nil, err
	}
	if !live.usable(p, a.clock.now()) {
		return nil, nil, errUnavailable.because(federation.ReasonUpstreamUnverified)
	}
	if _, all := a.log.Stops().Stopped(ledger.StopMission, ""); all {
		return nil, nil, errUnavailable.because("emergency_stop")
	}
	active, err := a.agreed(r, p)
	if err != nil {
		return nil, nil, err
	}
	ceiling, err := a.ceiling(r, p)
	if err != nil {
		return nil, nil, err
	}
	local, err := a.localise(r, p, t, b.Proposal, live, ceiling)
	if err != nil {
		return nil, nil, err
	}
	counted, counters, err := a.admitUnder(ceiling, r, p)
	if err != nil {
		return nil, nil, err
	}
	rec, err := a.localRecord(r, p, b, t, live, local, ceiling)
	if err != nil {
		return nil, nil, err
	}
	expect, rows, err := a.creation(rec, 0)
	if err != nil {
		return nil, nil, err
	}
	minted := mintedEvidence{
		MissionID: rec.ID, SubmissionID: s.SubmissionID, ApprovalEventID: s.ApprovalEventID, Ceiling: ceiling.digest,
		Coupling: couplingState{Peer: p.Peer.Issuer, Upstream: t.Upstream.ID, Agreement: p.Ref, ProjectionJTI: t.JTI,
			LocalRef: federation.NewNonce(), Charged: local.Charged, Chain: t.Chain},
		MintedAt: mission.FormatTime(r.at), Salt: mission.NewSalt(),
	}
	seen, effect, err := federation.Couple(federation.Seen{}, a.link(p, rec, &minted.Coupling), live.observation(true))
	if err != nil || effect.Ended || len(effect.Add) > 0 {
		return nil, nil, refused(federation.CodeMissionInactive, federation.ReasonUpstreamUnverified, err)
	}
	subject := a.missionSubject(rec.ID)
	approval, err1 := a.entry(ctx, subject, mission.ContentApprovalRecord, r.at, rec)
	mint, err2 := a.entry(ctx, subject, contentMinted, r.at, minted)
	observed, err3 := a.entry(ctx, subject, mission.ContentStatusObserved, r.at, newObserved(rec, p, live, seen, effect, r.at))
	coupling, err4 := put(couplingRow(rec.ID), minted.Coupling, 1)
	remembered, err5 := put(seenRow(rec.ID), seen, 2)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return nil, nil, err
	}
	change := &ledger.Change{
		Expect: append(append(expect, counted...), active, notOverBefore(s.expires)),
		Put: append(append(rows, counters...), coupling, remembered,
			ledger.Record{Key: coupledRow(rec.ID), Value: []byte("{}"), JustifiedBy: ledger.NotJustified}),
		Entries: []ledger.Entry{approval, mint, observed},
	}
	return rec, change, s.resolve(change, minted.outcome(), 1)
}

// localRecord is the local mission: an ordinary mission of this domain whose consent is the standing approval of the
// ceiling, and whose authority came from the peer.
func (a *Authority) localRecord(r *reading, p *peer, b *submissionBody, t *mintTerms, live *look, local *federation.Local,
	ceiling *approvedCeiling) (*mission.Record, error) {
	policy := mission.PolicyRef{ID: "peer-ceiling/" + p.id, Version: string(ceiling.ApprovalEventID), Digest: ceiling.digest}
	rec := &mission.Record{
		ID:                mission.NewMissionID(),
		Issuer:            a.issuer,
		Intent:            b.Intent,
		ProposedAuthority: b.Proposal,
		AuthoritySet:      local.Entries,
		Subject:           local.Subject,
		Approver:          ceiling.Approver,
		ApprovalBasis: mission.ApprovalBasis{
			Type:             mission.BasisPolicyDrawdown,
			ConsentPrincipal: ceiling.Approver,
			Activation: mission.Activation{PolicyID: policy.ID, Version: policy.Version,
				ActivationEventID: b.ApprovalEventID},
			ActivationActor: mission.Principal{Iss: a.issuer, Sub: b.ClientID},
			RootCommitment:  ceiling.digest,
			ApprovedAt:      ceiling.ApprovedAt,
		},
		AuthoritySource: mission.AuthoritySource{Type: mission.SourceOrganizational, Policy: &policy},
		ClientID:        b.ClientID,
		PolicyVersion:   b.PolicyVersion,
		ApprovalEventID: b.ApprovalEventID,
		CreatedAt:       mission.FormatTime(r.at),
		ExpiresAt:       mission.FormatTime(local.ExpiresAt),
		Upstream: &mission.Upstream{
			Issuer: p.Peer.Issuer, ID: t.Upstream.ID, AuthorityHash: t.AuthorityHash,
			VersionAtMint: live.status.Mission.Version, ExpiresAt: t.ExpiresAt, Agreement: p.Ref,
			Evidence: []mission.UpstreamEvidence{
				{Type: string(jws.TypProjection), Digest: t.Projection, JTI: t.JTI},
				{Type: string(jws.TypStatus), Digest: live.digest},
			},
			Justification: local.Justification,
			Mapping:       local.Mapping,
			Coupling: mission.Coupling{Mode: mission.CouplingCascade,
				MaxStaleSeconds: p.Agreement.Freshness.MaxStaleSeconds},
		},
	}
	if err := rec.Seal(); err != nil {
		return nil, fmt.Errorf("authority: local mission: %w", err)
	}
	if err := errors.Join(rec.Validate(), rec.Verify()); err != nil {
		return nil, fmt.Errorf("authority: local mission: %w", err)
	}
	return rec, nil
}

// refuseLocal ends a submission that must not become a mission.
func (a *Authority) refuseLocal(ctx context.Context, s *submitted, why *Error) error {
	_, err := a.commit(ctx, func(r *reading) (*ledger.Change, error) {
		now, err := a.submission(r, s.SubmissionID)
		if err != nil || now.outcome != nil {
			return nil, err
		}
		e := localRefusal{SubmissionID: s.SubmissionID, ApprovalEventID: s.ApprovalEventID, Code: why.Code,
			Reason: why.Reason, RefusedAt: mission.FormatTime(r.at), Salt: mission.NewSalt()}
		entry, err := a.entry(ctx, a.approvalSubject(s.ApprovalEventID), mission.ContentLocalMissionRefused, r.at, e)
		if err != nil {
			return nil, err
		}
		change := &ledger.Change{Entries: []ledger.Entry{entry}}
		return change, s.resolve(change, e.outcome(), 0)
	})
	return err
}

// chain is the chain of approvals that was received with an upstream mission; nil for a mission of this domain's own.
func (a *Authority) chain(r *reading, rec *mission.Record) ([]federation.Hop, error) {
	if rec.Upstream == nil {
		return nil, nil
	}
	var c couplingState
	if _, err := prove(r, couplingRow(rec.ID), &c); err != nil {
		return nil, unavailable("reading a coupling", err)
	}
	return c.Chain, nil
}

// asText is an artifact as a JSON string: itself if it is text without control characters, else its base64url.
func asText(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0 {
		return s
	}
	return base64.RawURLEncoding.EncodeToString([]byte(s))
}
