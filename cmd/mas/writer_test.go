package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// A writer makes missions and moves them, one request after another, and remembers what the server acknowledged. No two
// writers touch the same mission, so each knows exactly what the server has to know. It survives the server: after a
// restart settle compares what it remembers with what the server says, and the next step repeats the request that got
// no answer.
type writer struct {
	name     string // begins its nonces and creation_request_ids
	with     *cast
	agent    *client.Client
	rng      *rand.Rand
	heard    func(acknowledgement) // called with every acknowledgement; may be nil
	sent     int                   // requests that change something
	missions []*moved
	open     []*moved // those that can still be moved
	touched  []*moved // those changed since the last settle
	making   *making  // the mission that is being made
	moving   *moving  // the move that is being made
}

// The cast is who acts on one server, and the keys by which its answers are verified. Its members may be used by many.
type cast struct {
	issuer             string
	approver, operator *client.Client
	keys               *jws.KeySet
}

// A moved is a mission as it was acknowledged.
type moved struct {
	id      mission.ID
	state   mission.State
	version uint64
}

// A making is a mission on its way: submitted, shown, decided.
type making struct {
	body       []byte
	submission string // empty until it is acknowledged
	shown      shown
	decided    bool // the decision was sent
}

// shown is what a decision quotes of its review.
type shown struct {
	ContextID string         `json:"context_id"`
	Rendering mission.Digest `json:"consent_rendering_hash"`
}

// A moving is a lifecycle request that was sent.
type moving struct {
	mission *moved
	op      mission.Operation
	by      *client.Client
	nonce   string
	at      time.Time // first sent
	settled bool      // the server was found to have done it although it never said so
}

// target is the state that the move leads to.
func (m *moving) target() mission.State {
	return map[mission.Operation]mission.State{mission.OpSuspend: mission.Suspended, mission.OpResume: mission.Active,
		mission.OpRevoke: mission.Revoked, mission.OpComplete: mission.Completed}[m.op]
}

// An acknowledgement is one answer that said that something is done.
type acknowledgement struct {
	change bool   // of a mission: an approval or a move, not a submission
	frame  string // text in the journal frame of the commit and in none before it
	answer string // text in the answer
	took   time.Duration
}

// A finding is something that the server must not do.
type finding string

func (f finding) Error() string { return string(f) }

func found(format string, args ...any) error { return finding(fmt.Sprintf(format, args...)) }

// isFinding tells what the server must not do, refusals among them, from what happens when it is killed.
func isFinding(err error) bool {
	if _, ok := errors.AsType[finding](err); ok {
		return true
	}
	_, refused := errors.AsType[*client.Error](err)
	return refused
}

// run takes steps until one fails.
func (w *writer) run(ctx context.Context) error {
	for {
		if err := w.step(ctx); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
}

// step makes one request that changes something, or finishes the one that got no answer.
func (w *writer) step(ctx context.Context) error {
	switch {
	case w.moving != nil:
		return w.move(ctx)
	case w.making != nil:
		return w.make(ctx)
	}
	w.sent++
	id := fmt.Sprintf("%s-%d-%08x", w.name, w.sent, w.rng.Uint32())
	if len(w.open) == 0 || len(w.open) < 6 && w.rng.IntN(3) == 0 {
		w.making = &making{body: submission(id)}
		return w.make(ctx)
	}
	m := w.open[w.rng.IntN(len(w.open))]
	w.moving = &moving{mission: m, op: w.choose(m.state), nonce: id, at: time.Now()}
	w.moving.by = w.mover(w.moving.op)
	return w.move(ctx)
}

// submission is the request for a mission that outlives every test.
func submission(id string) []byte {
	return []byte(`{"creation_request_id":"` + id + `","intent":{
		"goal":"match invoices","resources":["https://api.example.com/invoices"],
		"expires_at":"` + mission.FormatTime(time.Now().Add(48*time.Hour)) + `"},"authorization_details":[
		{"type":"mission_resource_access","resource":"https://api.example.com/invoices","actions":["invoices.read"]}]}`)
}

// choose picks a legal operation.
func (w *writer) choose(s mission.State) mission.Operation {
	reversible := mission.OpSuspend
	if s == mission.Suspended {
		reversible = mission.OpResume
	}
	ops := []mission.Operation{reversible, reversible, reversible, mission.OpRevoke, mission.OpComplete}
	return ops[w.rng.IntN(len(ops))]
}

// mover picks somebody who may do it.
func (w *writer) mover(op mission.Operation) *client.Client {
	switch {
	case op == mission.OpComplete:
		return w.agent
	case op == mission.OpRevoke && w.rng.IntN(2) == 0:
		return w.with.approver
	}
	return w.with.operator
}

// make submits the mission or has it approved.
func (w *writer) make(ctx context.Context) error {
	k := w.making
	if k.submission == "" {
		return w.submit(ctx, k)
	}
	path := "/mas/review/" + k.submission
	if k.shown == (shown{}) {
		resp, err := w.with.approver.Get(ctx, path)
		if err != nil {
			return fmt.Errorf("review: %w", err)
		}
		if err := resp.Decode(&k.shown); err != nil {
			return err
		}
	}
	k.decided = true
	began := time.Now()
	resp, err := w.with.approver.Post(ctx, path+"/decision", map[string]string{"context_id": k.shown.ContextID,
		"consent_rendering_hash": string(k.shown.Rendering), "decision": "approve"})
	if err != nil {
		return fmt.Errorf("decision: %w", err)
	}
	p, err := readPoll(resp)
	if err != nil {
		return err
	}
	if p.MissionID == "" || p.Status != "approved" {
		return found("an approval was answered with %s", resp.Body)
	}
	m := &moved{id: p.MissionID, state: mission.Active, version: 1}
	w.making = nil
	w.missions, w.open = append(w.missions, m), append(w.open, m)
	w.acknowledged(m, string(m.id), string(m.id), began)
	return nil
}

func (w *writer) submit(ctx context.Context, k *making) error {
	began := time.Now()
	resp, err := w.agent.PostRaw(ctx, "/mas/submissions", "application/json", k.body)
	if err != nil {
		return fmt.Errorf("submission: %w", err)
	}
	p, err := readPoll(resp)
	if err != nil {
		return err
	}
	k.submission = p.SubmissionID
	w.acknowledged(nil, p.SubmissionID, p.SubmissionID, began)
	return nil
}

// poll is how a submission stands.
type poll struct {
	SubmissionID string     `json:"submission_id"`
	Status       string     `json:"status"`
	MissionID    mission.ID `json:"mission_id,omitempty"`
}

func readPoll(resp *client.Response) (p poll, err error) {
	if err := resp.Decode(&p); err != nil {
		return p, found("an answer about a submission is %q: %v", resp.Body, err)
	}
	return p, nil
}

// move makes the request of w.moving. Repeated under its nonce, it must get the answer of the first time.
func (w *writer) move(ctx context.Context) error {
	v := w.moving
	m := v.mission
	began := time.Now()
	resp, err := v.by.Form(ctx, "/mas/missions/lifecycle", url.Values{
		"mission_id": {string(m.id)}, "operation": {string(v.op)}, "nonce": {v.nonce}})
	if err != nil {
		return fmt.Errorf("%s of %s, %s at version %d: %w", v.op, m.id, m.state, m.version, err)
	}
	at, want := time.Now(), m.version+1
	if v.settled {
		at, want = v.at, m.version
	}
	st, err := w.with.read(resp.Body, v.by, m.id, v.nonce, at)
	if err != nil {
		return fmt.Errorf("%s: %w", v.op, err)
	}
	if st.Version != want || st.State != v.target() {
		return found("%s of %s was answered with %s, version %d; want %s, version %d",
			v.op, m.id, st.State, st.Version, v.target(), want)
	}
	m.state, m.version, w.moving = st.State, st.Version, nil
	w.closeIfOver(m)
	w.acknowledged(m, v.nonce, string(resp.Body[strings.LastIndexByte(string(resp.Body), '.'):]), began)
	return nil
}

// acknowledged notes an acknowledgement. m is nil if it is not of a mission.
func (w *writer) acknowledged(m *moved, frame, answer string, began time.Time) {
	if m != nil && !slices.Contains(w.touched, m) {
		w.touched = append(w.touched, m)
	}
	if w.heard != nil {
		w.heard(acknowledgement{change: m != nil, frame: frame, answer: answer, took: time.Since(began)})
	}
}

func (w *writer) closeIfOver(m *moved) {
	if m.state.Terminal() {
		w.open = slices.DeleteFunc(w.open, func(o *moved) bool { return o == m })
	}
}

// read verifies a signed status response that answers by's question about a mission.
func (c *cast) read(token []byte, by *client.Client, id mission.ID, nonce string, at time.Time) (
	*mission.StatusMission, error) {
	st, verdict := jws.CheckStatus(string(token), c.keys, mission.StatusContext{
		At: at, Issuer: c.issuer, Audience: by.ClientID, Requester: by.ClientID, Nonce: nonce, MissionID: id,
		Algs: []string{jws.ES256}, Skew: mission.MaxSkew,
	})
	if !verdict.Authentic() {
		return nil, found("the signed status of %s: %s", id, verdict)
	}
	return &st.Mission, nil
}

// A settlement is what a restarted server was found to know.
type settlement struct {
	checked int // missions and submissions
	lost    int // acknowledged changes that are not there
	ahead   int // requests that got no answer and are there
}

// settle asks a restarted server for every mission that was touched since the last time and for a sample of the others,
// and compares: every acknowledged change is there, at most the one request without an answer is there besides, and
// nothing else. A negative sample means all.
func (w *writer) settle(ctx context.Context, sample int) (s settlement, err error) {
	ask := w.touched
	if w.moving != nil && !slices.Contains(ask, w.moving.mission) {
		ask = append(ask, w.moving.mission)
	}
	if sample < 0 {
		ask = w.missions
	} else {
		for range min(sample, len(w.missions)) {
			ask = append(ask, w.missions[w.rng.IntN(len(w.missions))])
		}
	}
	for i, m := range ask {
		if err := w.compare(ctx, m, fmt.Sprintf("%s-%d-%d-%08x", w.name, w.sent, i, w.rng.Uint32()), &s); err != nil {
			return s, fmt.Errorf("%s: %w", w.name, err)
		}
	}
	w.touched = nil
	if w.making != nil && w.making.submission != "" {
		if err := w.compareMaking(ctx, &s); err != nil {
			return s, fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return s, nil
}

// compare asks for one mission.
func (w *writer) compare(ctx context.Context, m *moved, nonce string, s *settlement) error {
	s.checked++
	resp, err := w.agent.Form(ctx, "/mas/missions/status", url.Values{"mission_id": {string(m.id)}, "nonce": {nonce}})
	if client.Code(err) == "not_found" {
		s.lost += int(m.version)
		return found("mission %s, acknowledged at version %d, is not there", m.id, m.version)
	}
	if err != nil {
		return err
	}
	st, err := w.with.read(resp.Body, w.agent, m.id, nonce, time.Now())
	if err != nil {
		return err
	}
	v := w.moving
	switch {
	case st.Version == m.version && st.State == m.state:
	case st.Version < m.version:
		s.lost += int(m.version - st.Version)
		return found("mission %s is %s, version %d; acknowledged was %s, version %d",
			m.id, st.State, st.Version, m.state, m.version)
	case v != nil && v.mission == m && !v.settled && st.Version == m.version+1 && st.State == v.target():
		s.ahead++
		m.state, m.version, v.settled = st.State, st.Version, true
		w.closeIfOver(m)
	default:
		return found("mission %s is %s, version %d, which nobody asked for; acknowledged was %s, version %d",
			m.id, st.State, st.Version, m.state, m.version)
	}
	return nil
}

// compareMaking asks for the submission that was acknowledged and whose decision was not.
func (w *writer) compareMaking(ctx context.Context, s *settlement) error {
	s.checked++
	k := w.making
	resp, err := w.agent.Form(ctx, "/mas/submissions/status", url.Values{"submission": {k.submission}})
	if client.Code(err) == "not_found" {
		s.lost++
		return found("submission %s was acknowledged and is not there", k.submission)
	}
	if err != nil {
		return err
	}
	p, err := readPoll(resp)
	if err != nil {
		return err
	}
	switch {
	case p.Status == "pending":
		k.shown, k.decided = shown{}, false
	case p.Status == "approved" && k.decided: // the same decision again must get the same answer
		s.ahead++
	default:
		return found("submission %s is %s, which nobody asked for", k.submission, p.Status)
	}
	return nil
}
