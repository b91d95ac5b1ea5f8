package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/mission"
)

// What the demo is about: an agent of the first domain works on invoices that the second domain holds.
const (
	invoices = "https://invoices.second.example"
	ledgers  = "https://ledger.first.example" // stays at home
	bound    = 5 * time.Second                // agreed: from revoke to last reliance
)

// A story is one run of the main job.
type story struct {
	out      io.Writer
	exe, dir string
	evidence string // where the auditor keeps what it fetched; empty: it fetches nothing

	first, second *actor
	processes     []*process
	reports       <-chan reliance
	missionID     mission.ID // of the first domain
	localID       mission.ID // of the second
	began         time.Time
}

// An actor is one domain.
type actor struct {
	name, dir, listen, issuer string
	dev                       *domain.Dev
	process                   *process
	seen                      map[string]int // entries already told, by subject
}

// run prepares two domains, tells the story up to the local mission, and then how it ends.
func (s *story) run(ctx context.Context, end func(context.Context) error) (err error) {
	s.began = time.Now()
	defer func() { err = errors.Join(err, s.stopAll()) }()
	for _, step := range []func(context.Context) error{
		s.prepare, s.startDomains, s.agree, s.propose, s.approve, s.approveCeiling, s.mint, s.startRelying, end,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) say(who, format string, args ...any) {
	fmt.Fprintf(s.out, "%6.2fs  %-14s %s\n", time.Since(s.began).Seconds(), who, fmt.Sprintf(format, args...))
}

// stopAll ends what still runs, the last started first.
func (s *story) stopAll() error {
	var err error
	for i := len(s.processes) - 1; i >= 0; i-- {
		p := s.processes[i]
		select {
		case <-p.done:
		default:
			err = errors.Join(err, p.stop(syscall.SIGTERM))
		}
	}
	return err
}

// startDomains starts both servers.
func (s *story) startDomains(ctx context.Context) error {
	for _, a := range s.actors() {
		if err := s.serve(ctx, a); err != nil {
			return err
		}
		s.say(a.name+" domain", "pid %d serves %s, log %s", a.process.cmd.Process.Pid, a.issuer, a.dev.LogOrigin)
	}
	return nil
}

// agree waits until both logs hold the activation that cites both signatures.
func (s *story) agree(ctx context.Context) error {
	signed, err := s.agreement()
	if err != nil {
		return err
	}
	for _, a := range s.actors() {
		subject := a.issuer + "/agreements/" + signed.Agreement.ID
		err := until(ctx, 15*time.Second, a.name+" to activate the agreement", func() (bool, error) {
			n, err := s.count(ctx, a, subject)
			return n >= 2, err
		})
		if err != nil {
			return err
		}
		if err := s.tell(ctx, a, subject); err != nil {
			return err
		}
	}
	return nil
}

// agreement reads the agreement as the first domain holds it.
func (s *story) agreement() (*federation.SignedAgreement, error) {
	text, err := os.ReadFile(filepath.Join(s.first.dir, "peers", s.second.name, "agreement.json"))
	if err != nil {
		return nil, err
	}
	return federation.ParseSigned(text)
}

// propose has the agent of the first domain propose a mission.
func (s *story) propose(ctx context.Context) error {
	agent, err := s.first.dev.Client("agent")
	if err != nil {
		return err
	}
	resp, err := agent.PostRaw(ctx, "/mas/submissions", "application/json", []byte(`{"intent":{
	"goal":"Match the supplier invoices of October against our postings","resources":["`+invoices+`","`+ledgers+`"],
	"expires_at":"`+mission.FormatTime(time.Now().Add(time.Hour))+`"},"creation_request_id":"october",
	"authorization_details":[
	{"type":"mission_resource_access","resource":"`+invoices+`","actions":["invoices.read","invoices.match"],
	"constraints":{"max_amount":{"amount":"1200.00","currency":"EUR"}},"delegation":{"max_depth":1},
	"federation":{"audiences":["`+s.second.issuer+`"],"shapes":["local_mission","projection","status"]}},
	{"type":"mission_resource_access","resource":"`+ledgers+`","actions":["postings.read"]}]}`))
	if err != nil {
		return fmt.Errorf("proposing: %w", err)
	}
	var answer struct {
		SubmissionID string `json:"submission_id"`
	}
	if err := resp.Decode(&answer); err != nil {
		return err
	}
	s.say("agent", "proposes a mission: submission %s, pending", answer.SubmissionID)
	return nil
}

// approve has the person of the first domain approve what is rendered.
func (s *story) approve(ctx context.Context) error {
	decided, rendering, err := s.decide(ctx, s.first)
	if err != nil {
		return err
	}
	s.missionID = decided.MissionID
	s.say("approver", "approves what was rendered (%s): mission %s active until %s", rendering,
		s.missionID, decided.MissionExpiresAt)
	return s.tell(ctx, s.first, s.first.mission(s.missionID))
}

// approveCeiling has the person of the second domain approve how much may be drawn down from the first.
func (s *story) approveCeiling(ctx context.Context) error {
	_, rendering, err := s.decide(ctx, s.second)
	if err != nil {
		return err
	}
	s.say("approver", "of the second domain approves the ceiling for missions of the first (%s)", rendering)
	return nil
}

// A decision is the answer to an approval.
type decision struct {
	MissionID        mission.ID `json:"mission_id,omitempty"`
	MissionExpiresAt string     `json:"mission_expires_at,omitempty"`
}

// decide reviews the one thing that waits for the domain's approver, and approves exactly that.
func (s *story) decide(ctx context.Context, a *actor) (decided decision, rendering mission.Digest, err error) {
	approver, err := a.dev.Client("approver")
	if err != nil {
		return decided, "", err
	}
	var queue struct {
		Submissions []struct {
			SubmissionID string `json:"submission_id"`
		} `json:"submissions"`
	}
	if err := until(ctx, 10*time.Second, "something to review", func() (bool, error) {
		resp, err := approver.Get(ctx, "/mas/review")
		if err != nil {
			return false, err
		}
		err = resp.Decode(&queue)
		return len(queue.Submissions) > 0, err
	}); err != nil {
		return decided, "", err
	}
	path := "/mas/review/" + queue.Submissions[0].SubmissionID
	resp, err := approver.Get(ctx, path)
	if err != nil {
		return decided, "", fmt.Errorf("reviewing: %w", err)
	}
	var shown struct {
		ContextID string         `json:"context_id"`
		Rendering mission.Digest `json:"consent_rendering_hash"`
	}
	if err := resp.Decode(&shown); err != nil {
		return decided, "", err
	}
	resp, err = approver.Post(ctx, path+"/decision", map[string]string{
		"context_id": shown.ContextID, "consent_rendering_hash": string(shown.Rendering), "decision": "approve"})
	if err != nil {
		return decided, "", fmt.Errorf("deciding: %w", err)
	}
	err = resp.Decode(&decided)
	return decided, shown.Rendering, err
}

// mint has the agent introduce its mission, and the second domain draw a local mission down from it.
func (s *story) mint(ctx context.Context) error {
	agent, err := s.first.dev.Client("agent")
	if err != nil {
		return err
	}
	resp, err := agent.Post(ctx, "/federation/v1/introductions", map[string]string{
		"request_id": "introduce-1", "mission_id": string(s.missionID), "peer": s.second.issuer})
	if err != nil {
		return fmt.Errorf("introducing: %w", err)
	}
	var introduced federation.Introduction
	if err := resp.Decode(&introduced); err != nil {
		return err
	}
	s.say("agent", "is given a single-use introduction to the second domain, and hands it over")
	if err := s.tell(ctx, s.first, s.first.mission(s.missionID)); err != nil {
		return err
	}
	return s.drawDown(ctx, introduced.Introduction)
}

func (s *story) drawDown(ctx context.Context, introduction string) error {
	holder, err := s.second.dev.Client("agent")
	if err != nil {
		return err
	}
	resp, err := holder.Post(ctx, "/federation/v1/local-missions", federation.MintRequest{
		CreationRequestID: "october", LocalClient: holder.ClientID,
		Introduction: federation.IntroducedBy{Issuer: s.first.issuer, MissionID: s.missionID, Introduction: introduction},
		Proposed: []mission.Entry{{Type: mission.TypeResourceAccess, Resource: invoices,
			Actions:     []string{"invoices.read"},
			Constraints: &mission.Constraints{MaxAmount: &mission.Amount{Amount: "1000.00", Currency: "EUR"}}}},
		ExpiresAt: mission.FormatTime(time.Now().Add(30 * time.Minute)),
	})
	if err != nil {
		return fmt.Errorf("minting: %w", err)
	}
	var answer struct {
		SubmissionID string     `json:"submission_id"`
		Status       string     `json:"status"`
		MissionID    mission.ID `json:"mission_id,omitempty"`
	}
	if err := resp.Decode(&answer); err != nil {
		return err
	}
	if err := until(ctx, 10*time.Second, "the local mission", func() (bool, error) {
		if answer.Status != "pending" {
			return true, nil
		}
		resp, err := holder.Form(ctx, "/federation/v1/local-missions/status", url.Values{
			"submission": {answer.SubmissionID}})
		if err != nil {
			return false, err
		}
		return false, resp.Decode(&answer)
	}); err != nil {
		return err
	}
	if answer.Status != "approved" || answer.MissionID == "" {
		return fmt.Errorf("the local mission was not approved: %s", answer.Status)
	}
	s.localID = answer.MissionID
	s.say("second domain", "asked for live status, pulled the projection, and minted local mission %s", s.localID)
	if err := s.tell(ctx, s.second, s.second.mission(s.localID)); err != nil {
		return err
	}
	return s.tell(ctx, s.first, s.first.mission(s.missionID))
}

// startRelying starts the relying party and waits until it relies.
func (s *story) startRelying(ctx context.Context) error {
	profile := filepath.Join(s.dir, "relying-party.json")
	pep := s.second.dev.Clients["pep"]
	text, err := json.Marshal(profileFile{Issuer: s.second.issuer, ClientID: pep.ClientID, JWK: pep.JWK})
	if err != nil {
		return err
	}
	if err := os.WriteFile(profile, text, 0o600); err != nil {
		return err
	}
	s.reports, err = s.rely(ctx, "--profile", profile, "--mission", string(s.localID), "--audience", invoices)
	if err != nil {
		return err
	}
	r, err := s.await(ctx, 10*time.Second, true)
	if err != nil {
		return err
	}
	s.say("relying party", "polls the second domain only; it relies on version %d with %d entry", r.Version, r.Entries)
	return nil
}

// await returns the first report that relies, or does not.
func (s *story) await(ctx context.Context, patience time.Duration, relying bool) (reliance, error) {
	timeout := time.After(patience)
	var last reliance
	for {
		select {
		case r, ok := <-s.reports:
			if !ok {
				return r, errors.New("the relying party ended")
			}
			if last = r; r.Relying == relying {
				return r, nil
			}
		case <-timeout:
			return last, fmt.Errorf("the relying party did not change its mind in %s: %+v", patience, last)
		case <-ctx.Done():
			return last, ctx.Err()
		}
	}
}

// revoke has the operator of the first domain revoke, and measures when the relying party stops.
func (s *story) revoke(ctx context.Context) error {
	if err := s.keepHeads(ctx); err != nil {
		return err
	}
	operator, err := s.first.dev.Client("operator")
	if err != nil {
		return err
	}
	at := time.Now()
	if _, err := operator.Form(ctx, "/mas/missions/lifecycle", url.Values{"mission_id": {string(s.missionID)},
		"operation": {"revoke"}, "nonce": {"stop-1"}, "reason": {"supplier under investigation"}}); err != nil {
		return fmt.Errorf("revoking: %w", err)
	}
	s.say("operator", "revokes mission %s", s.missionID)
	r, err := s.await(ctx, 2*bound, false)
	if err != nil {
		return err
	}
	if err := s.tell(ctx, s.first, s.first.mission(s.missionID)); err != nil {
		return err
	}
	if err := s.measured("revoke", r, r.At.Sub(at)); err != nil {
		return err
	}
	if r.State != mission.Cascaded {
		return fmt.Errorf("the local mission is %s and not cascaded", r.State)
	}
	if err := s.tell(ctx, s.second, s.second.mission(s.localID)); err != nil {
		return err
	}
	return s.collect(ctx)
}

// kill ends the first domain without a word, and measures when the relying party stops.
func (s *story) kill(ctx context.Context) error {
	at := time.Now()
	if err := s.first.process.stop(syscall.SIGKILL); err == nil {
		return errors.New("the first domain ended well although it was killed")
	}
	s.say("nobody", "kills the first domain (pid %d)", s.first.process.cmd.Process.Pid)
	r, err := s.await(ctx, 2*bound, false)
	if err != nil {
		return err
	}
	if err := s.measured("kill", r, r.At.Sub(at)); err != nil {
		return err
	}
	if r.State != mission.Suspended || r.Hold == "" {
		return fmt.Errorf("the local mission is not held: %+v", r)
	}
	if err := s.tell(ctx, s.second, s.second.mission(s.localID)); err != nil {
		return err
	}
	s.say("second domain", "holds the local mission until a fresh verified status, and never ends it by silence")
	return nil
}

// measured tells the delay and refuses one that is not below the bound.
func (s *story) measured(from string, r reliance, delay time.Duration) error {
	hold := ""
	if r.Hold != "" {
		hold = " (hold: " + r.Hold + ")"
	}
	s.say("relying party", "refuses: %s at version %d%s; measured %.2f s from %s to refusal, agreed bound %s",
		r.State, r.Version, hold, delay.Seconds(), from, bound)
	if delay >= bound {
		return fmt.Errorf("from %s to refusal took %s: not below the agreed bound of %s", from, delay, bound)
	}
	return nil
}
