package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/verifier"
)

// heads are the checkpoints that the auditor kept before the mission was revoked.
const earlier, later = "earlier.checkpoint", "later.checkpoint"

// keepHeads fetches the signed head of both logs. The auditor compares it with a later one.
func (s *story) keepHeads(ctx context.Context) error {
	return s.fetchHeads(ctx, earlier)
}

func (s *story) fetchHeads(ctx context.Context, name string) error {
	if err := os.MkdirAll(s.evidence, 0o700); err != nil {
		return err
	}
	for _, a := range s.actors() {
		auditor, err := a.dev.Client("auditor")
		if err != nil {
			return err
		}
		resp, err := auditor.Get(ctx, "/log/main/checkpoint")
		if err != nil {
			return fmt.Errorf("fetching the checkpoint: %w", err)
		}
		if err := os.WriteFile(s.file(a, name), resp.Body, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) actors() []*actor { return []*actor{s.first, s.second} }

// file names what the auditor keeps about a domain.
func (s *story) file(a *actor, name string) string { return filepath.Join(s.evidence, a.name+"."+name) }

// collect fetches what an auditor needs when the servers are gone: both missions' bundles, a later head of each log
// with the proof that it grew out of the earlier one, a signed status, and the trust documents.
func (s *story) collect(ctx context.Context) error {
	if err := s.fetchHeads(ctx, later); err != nil {
		return err
	}
	for a, id := range map[*actor]mission.ID{s.first: s.missionID, s.second: s.localID} {
		if err := s.collectFrom(ctx, a, id); err != nil {
			return fmt.Errorf("collecting from the %s domain: %w", a.name, err)
		}
	}
	if err := s.collectProofs(ctx); err != nil {
		return fmt.Errorf("collecting proofs: %w", err)
	}
	if err := s.writeTrust(); err != nil {
		return fmt.Errorf("writing the trust documents: %w", err)
	}
	s.say("auditor", "fetched two bundles, two heads of each log, consistency proofs, and the trust documents")
	return nil
}

// collectProofs fetches the proofs that connect the heads which each side kept of the other's log with the other's
// bundle.
func (s *story) collectProofs(ctx context.Context) error {
	var bundles [2][]byte
	for i, a := range s.actors() {
		var err error
		if bundles[i], err = os.ReadFile(s.file(a, "mission-evidence.zip")); err != nil {
			return err
		}
	}
	for i, need := range verifier.ProofsNeeded(bundles[0], bundles[1]) {
		a := s.first
		if need.Issuer == s.second.issuer {
			a = s.second
		}
		auditor, err := a.dev.Client("auditor")
		if err != nil {
			return err
		}
		proof, err := auditor.Get(ctx, "/v1/proofs/consistency?"+url.Values{
			"from": {strconv.FormatUint(need.From, 10)}, "to": {strconv.FormatUint(need.To, 10)}}.Encode())
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.file(a, fmt.Sprintf("head-%d.json", i)), proof.Body, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) collectFrom(ctx context.Context, a *actor, id mission.ID) error {
	auditor, err := a.dev.Client("auditor")
	if err != nil {
		return err
	}
	bundle, err := auditor.Post(ctx, "/v1/bundles", map[string]any{"query": map[string]string{"mission": string(id)}})
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	from, err := sizeOf(s.file(a, earlier))
	if err != nil {
		return err
	}
	to, err := sizeOf(s.file(a, later))
	if err != nil {
		return err
	}
	proof, err := auditor.Get(ctx, "/v1/proofs/consistency?"+url.Values{
		"from": {strconv.FormatUint(from, 10)}, "to": {strconv.FormatUint(to, 10)}}.Encode())
	if err != nil {
		return fmt.Errorf("consistency proof: %w", err)
	}
	operator, err := a.dev.Client("operator")
	if err != nil {
		return err
	}
	status, err := operator.Form(ctx, "/mas/missions/status",
		url.Values{"mission_id": {string(id)}, "nonce": {"audit-" + a.name}})
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	return errors.Join(
		os.WriteFile(s.file(a, "mission-evidence.zip"), bundle.Body, 0o600),
		os.WriteFile(s.file(a, "consistency.json"), proof.Body, 0o600),
		os.WriteFile(s.file(a, "status.jwt"), status.Body, 0o600),
		os.WriteFile(s.file(a, "mission"), []byte(id), 0o600))
}

// sizeOf reads the tree size of a checkpoint file, without verifying it: masverify does.
func sizeOf(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	lines := strings.SplitN(string(text), "\n", 3)
	if len(lines) < 3 {
		return 0, fmt.Errorf("%s is no checkpoint", path)
	}
	return strconv.ParseUint(lines[1], 10, 64)
}

// writeTrust writes what the auditor relies on, from the domains' own key files: each domain's names and keys, those of
// its peer, and the agreement.
func (s *story) writeTrust() error {
	agreement, err := s.agreement()
	if err != nil {
		return err
	}
	ref, err := agreement.Agreement.Ref()
	if err != nil {
		return err
	}
	var anchors []verifier.Anchor
	for _, a := range s.actors() {
		c, err := devConfig(a.dir, a.listen, "")
		if err != nil {
			return err
		}
		anchor, err := domain.Anchor(c)
		if err != nil {
			return err
		}
		anchors = append(anchors, anchor)
	}
	for i, a := range s.actors() {
		trust := verifier.Trust{Anchor: anchors[i], Peers: []verifier.Anchor{anchors[1-i]},
			Agreements: []mission.Digest{ref.Digest}}
		text, err := trust.Marshal()
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.file(a, "trust.json"), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// verify runs masverify over everything the auditor has, in the auditor's directory, and prints what it says.
func (s *story) verify(ctx context.Context, masverify string) error {
	first, second := s.first.name, s.second.name
	runs := [][]string{
		{"exchange", first + ".mission-evidence.zip", second + ".mission-evidence.zip",
			"--trust", first + ".trust.json", "--receiver-trust", second + ".trust.json"},
	}
	proofs, err := filepath.Glob(filepath.Join(s.evidence, "*.head-*.json"))
	if err != nil {
		return err
	}
	for _, p := range proofs {
		runs[0] = append(runs[0], "--proof", filepath.Base(p))
	}
	for _, name := range []string{first, second} {
		id, err := os.ReadFile(filepath.Join(s.evidence, name+".mission"))
		if err != nil {
			return err
		}
		trust := []string{"--trust", name + ".trust.json"}
		runs = append(runs,
			append([]string{"bundle", name + ".mission-evidence.zip", "--mission", string(id)}, trust...),
			append([]string{"consistency", name + "." + earlier, name + "." + later, name + ".consistency.json"}, trust...),
			append([]string{"status", name + ".status.jwt", "--mission", string(id), "--audience", "operator",
				"--client", "operator", "--nonce", "audit-" + name}, trust...))
	}
	for _, args := range runs {
		cmd := exec.CommandContext(ctx, masverify, args...)
		cmd.Dir = s.evidence
		cmd.Env = []string{"PATH="}
		var errs bytes.Buffer
		cmd.Stderr = &errs
		text, err := cmd.Output()
		fmt.Fprintf(s.out, "\n$ masverify %s\n%s", strings.Join(args, " "), text)
		if err != nil {
			return fmt.Errorf("masverify %s: %w\n%s", args[0], err, errs.Bytes())
		}
	}
	return nil
}
