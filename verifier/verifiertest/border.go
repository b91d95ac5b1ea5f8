package verifiertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/federation/federationtest"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/verifier"
)

// A Border is two domains with an agreement. Their workers run; they reach each other directly instead of over HTTP.
type Border struct {
	Origin, Receiver *Domain
	Signed           *federation.SignedAgreement

	mu        sync.Mutex
	documents []Document
	cut       bool // the receiver does not reach the origin
}

// A Document is a JSON document that crossed a surface, with the name of its schema.
type Document struct {
	Schema string
	Body   []byte
}

// Documents are what crossed so far.
func (b *Border) Documents() []Document {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.documents)
}

func (b *Border) saw(schema string, body []byte) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.documents = append(b.documents, Document{schema, slices.Clone(body)})
	return body
}

// InBorder runs a test with two federating domains on a clock of its own (see testing/synctest).
func InBorder(t *testing.T, test func(*testing.T, *Border)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &Border{Origin: atBorder(t, "a.example"), Receiver: atBorder(t, "b.example")}
		now := time.Now()
		terms := federationtest.Terms(t, now, b.Origin.side, b.Receiver.side)
		b.Signed = federationtest.Sign(t, terms, b.Origin.side, b.Receiver.side)
		b.Origin.saw, b.Receiver.saw = b.saw, b.saw
		b.agreed(b.Signed)
		b.configure(b.Origin, b.Receiver, now)
		b.configure(b.Receiver, b.Origin, now)
		stopOrigin, stopReceiver := b.Origin.start(), b.Receiver.start()
		Settle()
		test(t, b)
		stopOrigin()
		stopReceiver()
	})
}

// agreed records the agreement.
func (b *Border) agreed(s *federation.SignedAgreement) {
	b.saw("signed-agreement", b.body(s))
	b.saw("agreement", b.body(s.Agreement))
}

func atBorder(t *testing.T, host string) *Domain {
	t.Helper()
	d := &Domain{TB: t, side: federationtest.New(t, host, time.Now), now: time.Now, saw: unseen}
	d.Issuer, d.Ledger = d.side.Issuer, d.side.Log
	return d
}

// configure opens a domain.
func (b *Border) configure(d, other *Domain, now time.Time) {
	d.Helper()
	approver := mission.Principal{Iss: d.Issuer, Sub: "approver"}
	annex := federationtest.Annex(d.side, other.side, approver, now)
	if d == b.Origin {
		annex.Ceiling = nil
	}
	peer := fmt.Sprintf(`{"id":"peer","client_id":%q,"jwks":{"keys":[%s]},"kind":"service","roles":["peer"],"audiences":[%q]}`,
		other.side.ClientID(), federationtest.JWK(d, other.side.Key).Bytes(), other.Issuer)
	entry := federationtest.Crossing([]string{federationtest.Read, federationtest.Write}, other.Issuer)
	record := other.side.Record(d, d.side)
	b.saw("peer", b.body(record))
	b.saw("annex", b.body(annex))
	d.open(authority.Config{MaxStale: 5 * time.Second, StatusTTL: 5 * time.Second, Upstream: &wire{b, d, other},
		Peers: []authority.PeerConfig{{Record: record, Signed: b.Signed, Annex: annex}}},
		people(d, d.Issuer, entry)+","+peer)
}

// start runs a domain's workers.
func (d *Domain) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	workers.Go(func() { d.Run(ctx) })
	workers.Go(func() { d.RunCoupling(ctx) })
	return func() {
		cancel()
		workers.Wait()
	}
}

// Settle lets a few seconds pass: every exchange that is under way ends.
func Settle() {
	time.Sleep(4 * time.Second)
	synctest.Wait()
}

// Cut keeps the receiver from reaching the origin.
func (b *Border) Cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cut = true
}

func (b *Border) isCut() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.cut
}

// Convey has the origin's agent get a mission that may cross, and the receiver's a local mission from it, under a
// ceiling that the receiver's approver approves.
func (b *Border) Convey() (upstream, local string) {
	d := b.Origin
	d.Helper()
	b.approveCeiling()
	upstream = d.propose(federationtest.Resource, federationtest.Crossing([]string{federationtest.Read}, b.Receiver.Issuer))
	introduction, err := d.Introduce(d.Context(), d.As("agent"), b.saw("introduction-request",
		b.body(federation.IntroductionRequest{RequestID: federation.NewNonce(), MissionID: mission.ID(upstream),
			Peer: b.Receiver.Issuer})))
	d.must(err)
	b.saw("introduction", introduction)
	r := b.Receiver
	answer, _, err := r.Mint(r.Context(), r.As("agent"), b.saw("local-mission-request", b.body(federation.MintRequest{
		CreationRequestID: federation.NewNonce(), Introduction: federation.IntroducedBy{Issuer: d.Issuer,
			MissionID: mission.ID(upstream), Introduction: d.member(introduction, "introduction")},
		Proposed: []mission.Entry{federationtest.Held(federationtest.Read)}, LocalClient: "agent",
		ExpiresAt: mission.FormatTime(time.Now().Add(30 * time.Minute))})))
	d.must(err)
	b.saw("submission-answer", answer)
	Settle()
	answer, err = r.Poll(r.Context(), r.As("agent"), r.member(answer, "submission_id"))
	d.must(err)
	b.saw("submission-answer", answer)
	if local = r.member(answer, "mission_id"); local == "" {
		d.Fatalf("no local mission: %s", answer)
	}
	return upstream, local
}

func (b *Border) body(v any) []byte {
	b.Origin.Helper()
	text, err := mission.Marshal(v)
	b.Origin.must(err)
	return text
}

// approveCeiling has the receiver's approver approve the ceiling that waits.
func (b *Border) approveCeiling() {
	r := b.Receiver
	r.Helper()
	var queue struct {
		Submissions []struct {
			ID   string `json:"submission_id"`
			Kind string `json:"kind"`
		} `json:"submissions"`
	}
	got, err := r.Queue(r.Context(), r.As("approver"))
	r.must(err)
	r.must(mission.DecodeOpen(got, &queue))
	for _, s := range queue.Submissions {
		r.decide(s.ID)
	}
}

// Evidence exports one bundle of each side about a pair of missions.
func (b *Border) Evidence(upstream, local string) (origin, receiver []byte) {
	agreement := b.Signed.Agreement.ID
	export := func(d, peer *Domain, id string) []byte {
		subjects := append(d.Feeds(id), d.Issuer+"/agreements/"+agreement, d.Issuer+"/peers/"+authority.PeerID(peer.Issuer))
		if d == b.Receiver {
			rec, _ := d.History(id)
			subjects = append(subjects, d.Issuer+"/approvals/"+rec.ApprovalBasis.Activation.Version)
		}
		return d.Export(id, subjects)
	}
	return export(b.Origin, b.Receiver, upstream), export(b.Receiver, b.Origin, local)
}

// A wire carries what one side asks of the other.
type wire struct {
	border   *Border
	from, to *Domain
}

// answer turns a refusal into what a client sees.
func answer[T any](w *wire, got T, err error) (T, error) {
	var none T
	if w.border.isCut() && w.from == w.border.Receiver {
		return none, federation.ErrUnreachable
	}
	if e, ok := errors.AsType[*authority.Error](err); ok {
		status := map[authority.Kind]int{authority.Invalid: 400, authority.Unauthorized: 401, authority.Forbidden: 403,
			authority.NotFound: 404, authority.Conflict: 409}[e.Kind]
		if status != 0 {
			return none, &federation.PeerRefusal{Status: status, ErrorBody: federation.ErrorBody{Error: e.Code, Reason: e.Reason}}
		}
	}
	if err != nil {
		return none, fmt.Errorf("%w: %w", federation.ErrUnreachable, err)
	}
	return got, nil
}

func (w *wire) Status(ctx context.Context, p *federation.Partner, id mission.ID, nonce string) (string, error) {
	got, err := w.to.Status(ctx, w.to.As("peer"), authority.StatusQuery{MissionID: string(id), Audience: p.Self, Nonce: nonce})
	return answer(w, got, err)
}

func (w *wire) Project(ctx context.Context, _ *federation.Partner, body []byte) (string, error) {
	got, err := w.to.Project(ctx, w.to.As("peer"), w.border.saw("projection-request", body))
	return answer(w, got, err)
}

func (w *wire) Receive(ctx context.Context, _ *federation.Partner, compact string) ([]byte, error) {
	got, err := w.to.Receive(ctx, w.to.As("peer"), compact)
	return answer(w, got, err)
}

func (w *wire) Agree(ctx context.Context, _ *federation.Partner, body []byte) ([]byte, error) {
	got, err := w.to.Agree(ctx, w.to.As("peer"), w.border.saw("agreement-exchange", body))
	return answer(w, got, err)
}

func (w *wire) Checkpoint(context.Context, *federation.Partner) ([]byte, error) {
	v, err := w.to.Ledger.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	return answer(w, v.Checkpoint(), nil)
}

func (w *wire) Consistency(_ context.Context, _ *federation.Partner, from, to uint64) ([]ledger.Hash, error) {
	v, err := w.to.Ledger.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	path, err := v.Consistency(from, to)
	return answer(w, path, err)
}

// Proofs are the consistency proofs that an auditor would fetch to connect the heads in two bundles.
func (b *Border) Proofs(origin, receiver []byte) []*verifier.ConsistencyProof {
	var out []*verifier.ConsistencyProof
	for _, need := range verifier.ProofsNeeded(origin, receiver) {
		d := b.Origin
		if need.Issuer == b.Receiver.Issuer {
			d = b.Receiver
		}
		v := d.Ledger.MustView(d)
		path, err := v.Consistency(need.From, need.To)
		d.must(err)
		from, err := v.RootAt(need.From)
		d.must(err)
		to, err := v.RootAt(need.To)
		d.must(err)
		p := verifier.NewConsistencyProof(ledger.Checkpoint{Origin: need.Origin, Size: need.From, Root: from},
			ledger.Checkpoint{Origin: need.Origin, Size: need.To, Root: to}, path)
		out = append(out, &p)
	}
	return out
}
