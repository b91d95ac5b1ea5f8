package authority

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// submissionLocal is the kind of a submission that asks for a local mission. Nobody is asked: it is decided under the
// ceiling that a person approved before, by the worker, on a second look at the upstream.
const submissionLocal = "local_mission"

// receivedEvidence is the evidence body of a projection as it was received, written down before it is looked at.
type receivedEvidence struct {
	Peer       string         `json:"peer"`
	ClientID   string         `json:"client_id"`
	Request    mission.Digest `json:"request_digest"`
	Artifact   string         `json:"artifact"` // the octets received, as text; base64url where they are no text
	Digest     mission.Digest `json:"artifact_digest"`
	ReceivedAt string         `json:"received_at"`
	Salt       string         `json:"salt"`
}

// mintTerms is what the submission of a local mission stands on: what was conveyed, and how it will be known to the
// origin.
type mintTerms struct {
	Upstream      mission.Reference    `json:"upstream"`
	AuthorityHash mission.Digest       `json:"authority_hash"`
	ExpiresAt     string               `json:"upstream_expires_at"`
	Agreement     mission.AgreementRef `json:"agreement"`
	JTI           string               `json:"projection_jti"`
	Projection    mission.Digest       `json:"projection_digest"`
	Status        mission.Digest       `json:"status_digest"` // of the first look
	Conveyed      []mission.Entry      `json:"conveyed"`
	Subject       *mission.Principal   `json:"subject,omitempty"`
	Chain         []federation.Hop     `json:"chain"`
	Requested     string               `json:"requested_expires_at"`
}

// mintState is the row mint/<client>/<creation_request_id>.
type mintState struct {
	Fingerprint  mission.Digest       `json:"fingerprint"`
	Answer       string               `json:"answer"`
	SubmissionID mission.SubmissionID `json:"submission_id"`
}

// Mint takes a client's request for a local mission out of a mission that a peer introduced to it
// (federation.MintRequest). It pulls the projection itself, writes it down before it looks at it, verifies it, asks
// for the live status, and decides whether a local mission may be made of it. The answer is that of a submission, 202:
// {submission_id, status, expires_at}; poll for the rest. done is always false. With the same creation_request_id the
// same request returns the same octets as long as the local mission is not over. Errors: invalid_request;
// invalid_projection; invalid_target; principal_mapping_failed; authority_unsupported; mission_inactive;
// access_denied; not_found; conflict; unavailable.
func (a *Authority) Mint(ctx context.Context, c Caller, body []byte) (answer []byte, done bool, err error) {
	target := ""
	defer func() { a.noteCrossing(ctx, c, "local_mission", target, &err) }()
	if c, err = a.Principals().known(c); err != nil {
		return nil, false, err
	}
	q, err := federation.ParseMintRequest(body)
	if err != nil {
		return nil, false, err
	}
	target = string(q.Introduction.MissionID)
	h, err := holderOf(c, q)
	if err != nil {
		return nil, false, err
	}
	fingerprint, err := mission.ObjectDigest(q)
	if err != nil {
		return nil, false, errRequest.wrap(err)
	}
	key := join("mint", c.name(), q.CreationRequestID)
	turn, err := a.turns.take(ctx, key)
	if err != nil {
		return nil, false, err
	}
	defer turn()
	if answer, err = a.minted(key, fingerprint); answer != nil || err != nil {
		return answer, false, err
	}
	p := a.peers.byIssuer[q.Introduction.Issuer]
	if p == nil { // nobody is contacted on the word of a stranger
		return nil, false, refused(federation.CodeInvalidProjection, federation.ReasonUntrustedIssuer, nil)
	}
	m, err := a.obtain(ctx, c, p, q, h, fingerprint)
	if err != nil {
		return nil, false, err
	}
	var id mission.SubmissionID
	_, err = a.commit(ctx, func(r *reading) (change *ledger.Change, err error) {
		answer, id, change, err = a.admit(ctx, r, c, p, q, m, key, fingerprint)
		return change, err
	})
	if err != nil {
		return nil, false, err
	}
	a.mintSoon(p, id)
	return answer, false, nil
}

// holderOf is the client that asks, as the projection will name it: only itself, with the key it just proved.
func holderOf(c Caller, q *federation.MintRequest) (federation.Holder, error) {
	if !c.Has(RoleClient) || c.ClientID == "" || q.LocalClient != c.ClientID {
		return federation.Holder{}, errForbidden.because("local_client")
	}
	public, _, ok := c.Keys().Key(c.KeyID)
	if !ok {
		return federation.Holder{}, errForbidden.because("key")
	}
	thumb, err := jws.Thumbprint(public)
	if err != nil {
		return federation.Holder{}, errForbidden.because("key").wrap(err)
	}
	return federation.Holder{ClientID: c.ClientID, JKT: thumb}, nil
}

// minted looks for the answer that a request got before.
func (a *Authority) minted(key string, fingerprint mission.Digest) ([]byte, error) {
	r, err := a.read()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var before mintState
	switch _, err := load(r, key, &before); {
	case errors.Is(err, ledger.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, unavailable("reading a creation request", err)
	case before.Fingerprint != fingerprint:
		return nil, refused(federation.CodeInvalidRequest, federation.ReasonIdempotencyMismatch, nil)
	}
	s, err := a.submission(r, before.SubmissionID)
	if err != nil {
		return nil, err
	}
	if s.outcome != nil && s.outcome.MissionID != "" {
		h, err := a.mission(r, s.outcome.MissionID)
		if err != nil {
			return nil, err
		}
		if state, _ := mission.Effective(h.rec, h.cur, r.at); state.Terminal() {
			return nil, refused(federation.CodeConflict, federation.ReasonStaleVersion, nil)
		}
	}
	return []byte(before.Answer), nil
}

// obtained is a verified projection with a live status behind it.
type obtained struct {
	*federation.Received
	live *look
}

// obtain pulls the projection, writes it down, verifies it and takes the first look at the mission.
func (a *Authority) obtain(ctx context.Context, c Caller, p *peer, q *federation.MintRequest, h federation.Holder,
	fingerprint mission.Digest) (*obtained, error) {
	if err := a.stillAgreed(p); err != nil {
		return nil, err
	}
	nonce := federation.NewNonce()
	request, err := mission.Marshal(federation.ProjectionRequest{
		RequestID: federation.NewNonce(), Mission: mission.Reference{ID: q.Introduction.MissionID, Issuer: p.Peer.Issuer},
		Audience: a.issuer, Nonce: nonce, ClientID: h.ClientID, Confirmation: federation.Confirmation{JKT: h.JKT},
		Introduction: q.Introduction.Introduction, Agreement: p.Ref, Shape: mission.ShapeLocalMission,
		Disclosure: federation.DiscloseCategory,
	})
	if err != nil {
		return nil, fmt.Errorf("authority: projection request: %w", err)
	}
	compact, err := a.upstream.Project(ctx, p.Partner, request)
	if err != nil {
		return nil, refusedByPeer(err)
	}
	if err := a.logReceived(ctx, c, p, fingerprint, compact); err != nil {
		return nil, err
	}
	received, err := p.OpenProjection(compact, h, nonce, a.clock.now())
	if err != nil {
		return nil, err
	}
	if received.Mission.ID != q.Introduction.MissionID {
		return nil, refused(federation.CodeInvalidProjection, federation.ReasonMissionMismatch, nil)
	}
	if received.Purpose != nil && received.Purpose.Category != "" &&
		!slices.Contains(p.annex.Purposes, received.Purpose.Category) {
		return nil, refused(federation.CodeAccessDenied, federation.ReasonPurposeNotAllowed, nil)
	}
	live, err := a.lookLive(ctx, p, received.Mission.ID)
	if err != nil {
		return nil, err
	}
	s := live.status.Mission
	if s.AuthorityHash != received.Mission.AuthorityHash || s.ExpiresAt != received.Mission.ExpiresAt {
		return nil, refused(federation.CodeInvalidProjection, federation.ReasonEquivocation, nil)
	}
	if s.Version < received.Mission.Version {
		return nil, refused(federation.CodeInvalidProjection, federation.ReasonStaleVersion, nil)
	}
	return &obtained{received, live}, nil
}

func (a *Authority) stillAgreed(p *peer) error {
	r, err := a.read()
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.certain(); err != nil {
		return err
	}
	_, err = a.agreed(r, p)
	return err
}

// refusedByPeer spells what a peer's refusal or silence means for a client here.
func refusedByPeer(err error) error {
	r, ok := errors.AsType[*federation.PeerRefusal](err)
	if !ok {
		e := errUnavailable.because(federation.ReasonUpstreamUnverified).wrap(err)
		e.RetryAfter = time.Second
		return e
	}
	switch r.ErrorBody.Error {
	case federation.CodeMissionInactive:
		return refused(federation.CodeMissionInactive, "", err)
	case federation.CodeInvalidTarget:
		return refused(federation.CodeInvalidTarget, r.Reason, err)
	case federation.CodeConflict:
		return refused(federation.CodeConflict, r.Reason, err)
	}
	return refused(federation.CodeNotFound, "", err)
}

// logReceived writes a projection down as it came.
func (a *Authority) logReceived(ctx context.Context, c Caller, p *peer, request mission.Digest, compact string) error {
	if len(compact) > federation.MaxArtifact {
		return refused(federation.CodeInvalidProjection, federation.ReasonTooLarge, nil)
	}
	at := a.clock.now()
	entry, err := a.entry(ctx, a.peerSubject(p), mission.ContentProjectionReceived, at, receivedEvidence{
		Peer: p.Peer.Issuer, ClientID: c.ClientID, Request: request, Artifact: asText(compact),
		Digest: mission.RawDigest([]byte(compact)), ReceivedAt: mission.FormatTime(at), Salt: mission.NewSalt(),
	})
	if err != nil {
		return err
	}
	if _, err := a.log.Commit(ctx, ledger.Change{Entries: []ledger.Entry{entry}}); err != nil {
		return unavailable("writing down a projection", err)
	}
	return nil
}

// admit decides at one view whether the projection may become a local mission, uses it up, and puts the submission
// before the worker.
func (a *Authority) admit(ctx context.Context, r *reading, c Caller, p *peer, q *federation.MintRequest, m *obtained, key string,
	fingerprint mission.Digest) ([]byte, mission.SubmissionID, *ledger.Change, error) {
	active, err := a.agreed(r, p)
	if err != nil {
		return nil, "", nil, err
	}
	if err := r.certain(); err != nil {
		return nil, "", nil, err
	}
	consumed := consumedRow(p, m.JTI)
	if _, err := r.Get(consumed); !errors.Is(err, ledger.ErrNotFound) {
		if err != nil {
			return nil, "", nil, unavailable("reading a projection", err)
		}
		return nil, "", nil, refused(federation.CodeInvalidProjection, federation.ReasonReplayed, nil)
	}
	terms := mintTerms{
		Upstream: mission.Reference{ID: m.Mission.ID, Issuer: p.Peer.Issuer}, AuthorityHash: m.Mission.AuthorityHash,
		ExpiresAt: m.Mission.ExpiresAt, Agreement: m.Agreement, JTI: m.JTI, Projection: m.Digest,
		Status: m.live.digest, Conveyed: m.Entries, Subject: m.Subject, Chain: m.Delegation, Requested: q.ExpiresAt,
	}
	ceiling, err := a.ceiling(r, p)
	if err != nil {
		return nil, "", nil, err
	}
	local, err := a.localise(r, p, &terms, q.Proposed, m.live, ceiling)
	if err != nil {
		return nil, "", nil, err
	}
	if _, _, err := a.admitUnder(ceiling, r, p); err != nil {
		return nil, "", nil, err
	}
	b, err := a.localSubmission(r, c, p, q, &terms, local, time.Unix(m.ExpiresAt, 0))
	if err != nil {
		return nil, "", nil, err
	}
	if err := belowPending(r, c.ClientID, ""); err != nil {
		return nil, "", nil, err
	}
	expires, err := mission.ParseTime(b.ExpiresAt)
	if err != nil {
		return nil, "", nil, fmt.Errorf("authority: local mission: %w", err)
	}
	change, err := a.enqueue(ctx, b)
	if err != nil {
		return nil, "", nil, err
	}
	answer, err := mission.Marshal(submissionAnswer{
		SubmissionID: b.SubmissionID, Status: submissionPending, ExpiresAt: b.ExpiresAt,
	})
	if err != nil {
		return nil, "", nil, fmt.Errorf("authority: local mission: %w", err)
	}
	stored, err := put(key, mintState{fingerprint, string(answer), b.SubmissionID}, ledger.NotJustified)
	if err != nil {
		return nil, "", nil, err
	}
	change.Expect = append(change.Expect, active, ledger.Absent(key), ledger.Absent(consumed), notOverBefore(expires),
		ledger.Version(principalsRow, a.inForce.Load().row), ledger.Version(ceiling.row.Key, ceiling.row.Version),
		ledger.CountBelow(pendingRow(c.ClientID, ""), maxPending))
	change.Put = append(change.Put, stored, ledger.Record{Key: consumed, Value: []byte("{}"), JustifiedBy: 0})
	return answer, b.SubmissionID, change, nil
}

// localise applies the rules of the mint (federation.Mint) to what is known now.
func (a *Authority) localise(r *reading, p *peer, t *mintTerms, proposed []mission.Entry, live *look,
	ceiling *approvedCeiling) (*federation.Local, error) {
	m := &federation.Mint{
		Origin: p.Peer.Issuer, Self: a.issuer, Direction: p.Inbound(), Mapping: &p.annex.Mapping,
		Conveyed: t.Conveyed, Live: live.entries, Subject: t.Subject, Chain: t.Chain, Proposed: proposed,
	}
	var err1, err2 error
	m.Requested, err1 = mission.ParseTime(t.Requested)
	m.ConveyedUntil, err2 = mission.ParseTime(t.ExpiresAt)
	if err := errors.Join(err1, err2); err != nil {
		return nil, errRequest.wrap(err)
	}
	if longest := r.at.Add(a.maxLifetime); longest.Before(m.Requested) {
		m.Requested = longest
	}
	if ceiling != nil {
		m.Ceiling, m.CeilingUntil = ceiling.Approved, ceiling.until
	}
	return m.Localise(r.at)
}

// localSubmission writes down what was asked. It may be decided as long as the projection lives.
func (a *Authority) localSubmission(r *reading, c Caller, p *peer, q *federation.MintRequest, t *mintTerms, local *federation.Local,
	until time.Time) (*submissionBody, error) {
	f := a.inForce.Load()
	terms, err := mission.RawOf(t)
	if err != nil {
		return nil, fmt.Errorf("authority: local mission: %w", err)
	}
	goal := q.PurposeSummary
	if goal == "" {
		goal = "Work on a mission of the peer domain " + p.Peer.Issuer
	}
	in := &mission.Intent{Goal: goal, ExpiresAt: q.ExpiresAt}
	for _, e := range local.Entries {
		if !slices.Contains(in.Resources, e.Resource) {
			in.Resources = append(in.Resources, e.Resource)
		}
	}
	b := &submissionBody{
		SubmissionID: mission.NewSubmissionID(), Kind: submissionLocal, Issuer: a.issuer,
		ApprovalEventID: mission.NewEventID(), ClientID: c.ClientID, Client: c.ID, Subject: local.Subject, Intent: in,
		Proposal: q.Proposed, Peer: p.Peer.Issuer, Local: terms, PolicyVersion: string(f.digest), PolicyEntry: f.entry,
		CreatedAt: mission.FormatTime(r.at), ExpiresAt: mission.FormatTime(until),
	}
	if b.IntentHash, err = in.Hash(a.issuer); err != nil {
		return nil, fmt.Errorf("authority: local mission: %w", err)
	}
	if b.ProposalHash, err = mission.ProposalHash(a.issuer, b.Proposal); err != nil {
		return nil, fmt.Errorf("authority: local mission: %w", err)
	}
	return b, nil
}

// jitter is a random number in [0,1).
func jitter() float64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53)
}
