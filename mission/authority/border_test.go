package authority_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/federation/federationtest"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/mission/missiontest"
)

// A side is one of two domains that federate: an authority over a real log in memory. The other one is reached through
// a wire instead of HTTP.
type side struct {
	*authority.Authority
	t       *testing.T
	dom     *federationtest.Domain
	config  authority.Config
	wire    *wire
	serving atomic.Pointer[authority.Authority] // what others reach; nil while the process is down
	stop    context.CancelFunc
	stopped chan struct{}
}

// A border is two sides with an agreement: a conveys, b receives.
type border struct {
	t      *testing.T
	a, b   *side
	terms  *federation.Agreement
	signed *federation.SignedAgreement
}

// borders are what a test may choose before the domains start.
type borders struct {
	terms  func(*federation.Agreement)
	annexB func(*federation.Annex)
	peerAB func(*federation.Peer) // what a holds about b
	peerBA func(*federation.Peer) // what b holds about a
	idle   bool                   // do not start the workers
}

// inBorder runs a test with two federating domains on a clock of its own.
func inBorder(t *testing.T, o borders, test func(*testing.T, *border)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x := &border{t: t}
		now := time.Now()
		x.a = &side{t: t, dom: federationtest.New(t, "a.example", time.Now), wire: &wire{}}
		x.b = &side{t: t, dom: federationtest.New(t, "b.example", time.Now), wire: &wire{}}
		x.terms = federationtest.Terms(t, now, x.a.dom, x.b.dom)
		if o.terms != nil {
			o.terms(x.terms)
		}
		x.signed = federationtest.Sign(t, x.terms, x.a.dom, x.b.dom)
		annexA := federationtest.Annex(x.a.dom, x.b.dom, approverOf(x.a.dom), now)
		annexA.Ceiling = nil
		annexB := federationtest.Annex(x.b.dom, x.a.dom, approverOf(x.b.dom), now)
		if o.annexB != nil {
			o.annexB(annexB)
		}
		x.a.configure(x.b)
		x.a.enter(x.b, x.signed, annexA, o.peerAB)
		x.b.configure(x.a)
		x.b.enter(x.a, x.signed, annexB, o.peerBA)
		t.Cleanup(x.a.close)
		t.Cleanup(x.b.close)
		x.a.open()
		x.b.open()
		if !o.idle {
			x.a.start()
			x.b.start()
			x.settle()
		}
		test(t, x)
	})
}

func approverOf(d *federationtest.Domain) mission.Principal {
	return mission.Principal{Iss: d.Issuer, Sub: "approver"}
}

// configure prepares a side among others; it may be opened more than once.
func (s *side) configure(others ...*side) {
	s.t.Helper()
	ps, err := authority.ParsePrincipals([]byte(borderPrincipals(s.t, s.dom, others...)))
	if err != nil {
		s.t.Fatal(err)
	}
	s.wire.from = s
	s.wire.to = map[string]*side{}
	for _, other := range others {
		s.wire.to[other.dom.Issuer] = other
	}
	s.config = authority.Config{
		Issuer: s.dom.Issuer, Log: s.dom.Log, Status: s.dom.Key, Evidence: s.dom.Log.Keys.Evidence,
		Governance: s.dom.Governance, Principals: ps, MaxStale: 5 * time.Second, StatusTTL: 5 * time.Second,
		Upstream: s.wire, Receipts: s.dom.Log.Keys.Receipt,
	}
}

// enter puts another side into the registry.
func (s *side) enter(other *side, signed *federation.SignedAgreement, annex *federation.Annex, change func(*federation.Peer)) {
	s.t.Helper()
	record := other.dom.Record(s.t, s.dom)
	if change != nil {
		change(record)
	}
	s.config.Peers = append(s.config.Peers, authority.PeerConfig{Record: record, Signed: signed, Annex: annex})
}

// open makes the authority and recovers it.
func (s *side) open() {
	s.t.Helper()
	a, err := authority.New(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := a.Recover(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.Authority = a
	s.serving.Store(a)
}

// start runs the workers until close.
func (s *side) start() {
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	s.stopped = make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	wg.Go(func() { s.RunCoupling(ctx) })
	go func() {
		wg.Wait()
		close(s.stopped)
	}()
}

func (s *side) close() {
	s.serving.Store(nil)
	if s.stop != nil {
		s.stop()
		<-s.stopped
		s.stop = nil
	}
}

// restart is another process over the same log: everything that was memory is gone.
func (s *side) restart() {
	s.t.Helper()
	s.close()
	s.open()
	s.start()
}

// borderPrincipals are a client with a subject and a ceiling, its approver, an operator, relying parties, and the
// peers.
func borderPrincipals(t *testing.T, d *federationtest.Domain, others ...*side) string {
	approver := fmt.Sprintf(`{"iss":%q,"sub":"approver"}`, d.Issuer)
	audiences := []string{"https://third.example"}
	for _, other := range others {
		audiences = append(audiences, other.dom.Issuer)
	}
	ceiling := federationtest.Crossing([]string{"invoice.read", "invoice.pay", "invoice.delete"}, audiences...)
	ceiling.Federation.MaxLocalMissions = new(int64(8))
	ceiling.Federation.Onward = []string{"https://c.example"}
	agent := `"kind":"service","roles":["client"],"subject":` + approver +
		`,"authority_source":{"type":"user_delegated","id":"owner"},"ceiling":` +
		string(federationtest.RawOf(t, []mission.Entry{ceiling}).Bytes())
	list := []string{
		principal("agent", agent),
		principal("other-agent", agent),
		principal("approver", `"kind":"human","roles":["approver"],"subject":`+approver),
		principal("operator", `"kind":"service","roles":["operator","resume"]`),
		principal("pep", `"kind":"service","roles":["pep"],"audiences":["`+federationtest.Resource+`"]`),
		principal("false-peer", `"kind":"service","roles":["peer"],"audiences":["https://b.example"]`),
	}
	for _, other := range others {
		list = append(list, fmt.Sprintf(
			`{"id":%q,"client_id":%q,"jwks":{"keys":[%s]},"kind":"service","roles":["peer"],"audiences":[%q]}`,
			other.dom.ClientID(), other.dom.ClientID(), federationtest.JWK(t, other.dom.Key).Bytes(), other.dom.Issuer))
	}
	return `[` + strings.Join(list, ",") + `]`
}

func (s *side) as(id string) authority.Caller {
	s.t.Helper()
	p, ok := s.Principals().ByID(id)
	if !ok {
		s.t.Fatalf("no principal %s", id)
	}
	return authority.Caller{Principal: p, Method: "private_key_jwt", KeyID: p.Keys().KeyIDs()[0]}
}

// A wire carries what one side asks of the other. A test may cut it, slow it down, or change what comes back.
type wire struct {
	from *side
	to   map[string]*side // by issuer

	mu       sync.Mutex
	cut      bool
	cutTo    string // one issuer only
	delay    time.Duration
	refuse   int // HTTP status of every refusal, instead of an answer
	calls    map[string]int
	status   func(string) string
	project  func(string) string
	receive  func([]byte) []byte
	agree    func([]byte) []byte
	head     func([]byte) []byte
	path     func([]ledger.Hash) []ledger.Hash
	question func(authority.StatusQuery) authority.StatusQuery
}

func (w *wire) set(change func(*wire)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

// pass accounts for a call and fails it if the wire does.
func (w *wire) pass(ctx context.Context, p *federation.Partner, what string) error {
	w.mu.Lock()
	if w.calls == nil {
		w.calls = map[string]int{}
	}
	w.calls[what]++
	cut, delay, refuse := w.cut || w.cutTo == p.Peer.Issuer, w.delay, w.refuse
	w.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", federation.ErrUnreachable, ctx.Err())
		}
	}
	if cut {
		return federation.ErrUnreachable
	}
	if refuse != 0 {
		return &federation.PeerRefusal{Status: refuse}
	}
	return nil
}

func (w *wire) other(p *federation.Partner) *side { return w.to[p.Peer.Issuer] }

// reach is the running authority of a peer, and this side as it authenticates there.
func (w *wire) reach(p *federation.Partner) (*authority.Authority, authority.Caller, error) {
	a := w.other(p).serving.Load()
	if a == nil {
		return nil, authority.Caller{}, federation.ErrUnreachable
	}
	me, ok := a.Principals().ByClient(w.from.dom.ClientID())
	if !ok {
		return nil, authority.Caller{}, federation.ErrUnreachable
	}
	return a, authority.Caller{Principal: me, Method: "private_key_jwt", KeyID: me.Keys().KeyIDs()[0]}, nil
}

func (w *wire) count(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[what]
}

// answer applies a change to what came back, and turns a refusal into what a client sees.
func answer[T any](w *wire, change func(*wire) func(T) T, got T, err error) (T, error) {
	var none T
	if e, ok := errors.AsType[*authority.Error](err); ok {
		status := map[authority.Kind]int{authority.Invalid: 400, authority.Unauthorized: 401, authority.Forbidden: 403,
			authority.NotFound: 404, authority.Conflict: 409}[e.Kind]
		if status == 0 {
			return none, fmt.Errorf("%w: %s", federation.ErrUnreachable, e.Code)
		}
		return none, &federation.PeerRefusal{Status: status, ErrorBody: federation.ErrorBody{Error: e.Code, Reason: e.Reason}}
	}
	if err != nil {
		return none, fmt.Errorf("%w: %w", federation.ErrUnreachable, err)
	}
	w.mu.Lock()
	f := change(w)
	w.mu.Unlock()
	if f != nil {
		got = f(got)
	}
	return got, nil
}

func (w *wire) Status(ctx context.Context, p *federation.Partner, id mission.ID, nonce string) (string, error) {
	if err := w.pass(ctx, p, "status"); err != nil {
		return "", err
	}
	q := authority.StatusQuery{MissionID: string(id), Audience: p.Self, Nonce: nonce}
	w.mu.Lock()
	if w.question != nil {
		q = w.question(q)
	}
	w.mu.Unlock()
	to, caller, err := w.reach(p)
	if err != nil {
		return "", err
	}
	got, err := to.Status(ctx, caller, q)
	return answer(w, func(w *wire) func(string) string { return w.status }, got, err)
}

func (w *wire) Project(ctx context.Context, p *federation.Partner, body []byte) (string, error) {
	if err := w.pass(ctx, p, "project"); err != nil {
		return "", err
	}
	to, caller, err := w.reach(p)
	if err != nil {
		return "", err
	}
	got, err := to.Project(ctx, caller, body)
	return answer(w, func(w *wire) func(string) string { return w.project }, got, err)
}

func (w *wire) Receive(ctx context.Context, p *federation.Partner, compact string) ([]byte, error) {
	if err := w.pass(ctx, p, "receive"); err != nil {
		return nil, err
	}
	to, caller, err := w.reach(p)
	if err != nil {
		return nil, err
	}
	got, err := to.Receive(ctx, caller, compact)
	return answer(w, func(w *wire) func([]byte) []byte { return w.receive }, got, err)
}

func (w *wire) Agree(ctx context.Context, p *federation.Partner, body []byte) ([]byte, error) {
	if err := w.pass(ctx, p, "agree"); err != nil {
		return nil, err
	}
	to, caller, err := w.reach(p)
	if err != nil {
		return nil, err
	}
	got, err := to.Agree(ctx, caller, body)
	return answer(w, func(w *wire) func([]byte) []byte { return w.agree }, got, err)
}

func (w *wire) Checkpoint(ctx context.Context, p *federation.Partner) ([]byte, error) {
	if err := w.pass(ctx, p, "checkpoint"); err != nil {
		return nil, err
	}
	v, err := w.other(p).dom.Log.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	return answer(w, func(w *wire) func([]byte) []byte { return w.head }, v.Checkpoint(), nil)
}

func (w *wire) Consistency(ctx context.Context, p *federation.Partner, from, to uint64) ([]ledger.Hash, error) {
	if err := w.pass(ctx, p, "consistency"); err != nil {
		return nil, err
	}
	v, err := w.other(p).dom.Log.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	path, err := v.Consistency(from, to)
	return answer(w, func(w *wire) func([]ledger.Hash) []ledger.Hash { return w.path }, path, err)
}

// settle lets a few seconds pass: every exchange that is under way ends.
func (x *border) settle() {
	time.Sleep(3 * time.Second)
	synctest.Wait()
}

// mission has a's agent propose a mission that may cross to b, and a's approver approve it.
func (x *border) mission(entries ...mission.Entry) mission.ID {
	x.t.Helper()
	if entries == nil {
		entries = []mission.Entry{federationtest.Crossing([]string{"invoice.read", "invoice.pay"}, x.b.dom.Issuer)}
	}
	body := fmt.Appendf(nil, `{"intent":{"goal":"Reconcile","resources":[%q],"expires_at":%q},"authorization_details":%s}`,
		federationtest.Resource, mission.FormatTime(time.Now().Add(4*time.Hour)), federationtest.RawOf(x.t, entries).Bytes())
	got, err := x.a.Submit(x.t.Context(), x.a.as("agent"), body)
	if err != nil {
		x.t.Fatal(err)
	}
	return mission.ID(x.a.approve(member(x.t, got, "submission_id")))
}

// approve decides a submission as its approver and returns the mission id, or "" if none was made.
func (s *side) approve(id string) string {
	s.t.Helper()
	got, err := s.Review(s.t.Context(), s.as("approver"), id)
	if err != nil {
		s.t.Fatal(err)
	}
	quoted := shown{member(s.t, got, "context_id"), member(s.t, got, "consent_rendering_hash")}
	if got, err = s.Decide(s.t.Context(), s.as("approver"), id, decisionBody(quoted, "approve")); err != nil {
		s.t.Fatal(err)
	}
	if !strings.Contains(string(got), `"mission_id"`) {
		return ""
	}
	return member(s.t, got, "mission_id")
}

// approveCeiling has b's approver approve the ceiling that the annex proposes.
func (x *border) approveCeiling() {
	x.t.Helper()
	var queue struct {
		Submissions []struct {
			ID   string `json:"submission_id"`
			Kind string `json:"kind"`
		} `json:"submissions"`
	}
	got, err := x.b.Queue(x.t.Context(), x.b.as("approver"))
	if err != nil {
		x.t.Fatal(err)
	}
	if err := mission.DecodeOpen(got, &queue); err != nil {
		x.t.Fatalf("%s: %v", got, err)
	}
	for _, s := range queue.Submissions {
		if s.Kind == "peer_ceiling" {
			x.b.approve(s.ID)
			return
		}
	}
	x.t.Fatalf("no ceiling waits: %s", got)
}

// introduce has a's agent introduce a mission to b.
func (x *border) introduce(id mission.ID) string {
	x.t.Helper()
	got, err := x.a.Introduce(x.t.Context(), x.a.as("agent"), x.introductionRequest(id))
	if err != nil {
		x.t.Fatal(err)
	}
	return member(x.t, got, "introduction")
}

func (x *border) introductionRequest(id mission.ID) []byte {
	return marshal(x.t, federation.IntroductionRequest{RequestID: federation.NewNonce(), MissionID: id,
		Peer: x.b.dom.Issuer})
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := mission.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// mintRequest asks for a local mission that may read.
func (x *border) mintRequest(id mission.ID, secret string, proposed ...mission.Entry) *federation.MintRequest {
	if proposed == nil {
		proposed = []mission.Entry{federationtest.Held("invoice.read")}
	}
	return &federation.MintRequest{
		CreationRequestID: federation.NewNonce(),
		Introduction:      federation.IntroducedBy{Issuer: x.a.dom.Issuer, MissionID: id, Introduction: secret},
		Proposed:          proposed, LocalClient: "agent", ExpiresAt: mission.FormatTime(time.Now().Add(2 * time.Hour)),
	}
}

// mint asks b for a local mission and returns the submission id.
func (x *border) mint(q *federation.MintRequest) (string, error) {
	x.t.Helper()
	got, done, err := x.b.Mint(x.t.Context(), x.b.as("agent"), marshal(x.t, q))
	if err != nil {
		return "", err
	}
	if done {
		x.t.Error("a mint is answered before it is decided")
	}
	return member(x.t, got, "submission_id"), nil
}

// poll is what b's agent is told about a submission.
func (x *border) poll(id string) (status string, local mission.ID) {
	x.t.Helper()
	got, err := x.b.Poll(x.t.Context(), x.b.as("agent"), id)
	if err != nil {
		x.t.Fatal(err)
	}
	status = member(x.t, got, "status")
	if status == "approved" {
		local = mission.ID(member(x.t, got, "mission_id"))
	}
	return status, local
}

// local makes a local mission of a fresh mission of a and waits until it is in force.
func (x *border) local() (upstream, local mission.ID) {
	x.t.Helper()
	x.approveCeiling()
	upstream = x.mission()
	local = x.localOf(upstream)
	if state, hold := x.state(local); state != mission.Active {
		x.t.Fatalf("the local mission is %s (%s)", state, hold)
	}
	return upstream, local
}

func (x *border) localOf(upstream mission.ID) mission.ID {
	x.t.Helper()
	submission, err := x.mint(x.mintRequest(upstream, x.introduce(upstream)))
	if err != nil {
		x.t.Fatal(err)
	}
	x.settle()
	status, local := x.poll(submission)
	if status != "approved" {
		x.t.Fatalf("the submission is %s", status)
	}
	return local
}

// ask is what b's relying party is told about a local mission, checked as it must check it: with no tolerance.
func (x *border) ask(local mission.ID) (*mission.Status, mission.Verdict, error) {
	x.t.Helper()
	nonce := mission.NewSalt()
	token, err := x.b.Status(x.t.Context(), x.b.as("pep"), authority.StatusQuery{MissionID: string(local),
		Audience: federationtest.Resource, Nonce: nonce})
	if err != nil {
		return nil, "", err
	}
	st, verdict := jws.CheckStatus(token, missiontest.Keys(x.b.dom.Key), mission.StatusContext{
		At: time.Now(), Issuer: x.b.dom.Issuer, Audience: federationtest.Resource, Requester: "pep", Nonce: nonce,
		MissionID: local, Algs: []string{jws.ES256},
	})
	return st, verdict, nil
}

func (x *border) state(local mission.ID) (mission.State, string) {
	x.t.Helper()
	st, _, err := x.ask(local)
	if err != nil {
		x.t.Fatal(err)
	}
	if st.Mission.Hold != nil {
		return st.Mission.State, st.Mission.Hold.Reason
	}
	return st.Mission.State, ""
}

func (x *border) wantState(local mission.ID, state mission.State, hold string) {
	x.t.Helper()
	if got, reason := x.state(local); got != state || reason != hold {
		x.t.Fatalf("the local mission is %s (%s), want %s (%s)", got, reason, state, hold)
	}
}

// move has a's operator move a mission.
func (x *border) move(id mission.ID, op mission.Operation) {
	x.t.Helper()
	if _, err := x.a.Lifecycle(x.t.Context(), x.a.as("operator"), authority.LifecycleRequest{
		MissionID: string(id), Operation: op, Nonce: mission.NewSalt()}); err != nil {
		x.t.Fatal(err)
	}
}

// evidence are the entries of a side's log with this type.
func (s *side) evidence(contentType string) []authority.Evidence {
	s.t.Helper()
	d := &domain{TB: s.t, log: s.dom.Log}
	return of(d.entries(), contentType)
}

// sound reads a side's log as an auditor and rebuilds every row from it.
func (s *side) sound() {
	s.t.Helper()
	ledgertest.CheckLog(s.t, s.dom.Log, s.dom.Log.Keys.VKey)
	v, err := s.dom.Log.View()
	if err != nil {
		s.t.Fatal(err)
	}
	defer v.Close()
	report, err := authority.Check(s.t.Context(), v, s.dom.Issuer)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(report.Differences) > 0 {
		s.t.Fatalf("rows differ from the evidence: %v", report.Differences)
	}
}

func (x *border) sound() {
	x.t.Helper()
	x.a.sound()
	x.b.sound()
}

// forkOf is a head of a's log that a's key signed and that contradicts the one a shows: as large, with another root.
func forkOf(t *testing.T, d, fork *federationtest.Domain) []byte {
	t.Helper()
	head := d.Log.MustView(t).Head()
	forged, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: d.Log.Keys.Origin, Size: head.Size,
		Root: fork.Log.MustView(t).Head().Root}, d.Log.Keys.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	return forged
}
