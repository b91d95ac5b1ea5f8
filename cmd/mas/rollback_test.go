package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/config"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/verifier"
)

// TestRollback puts parts of a store back to what they were before a mission was revoked. What the store itself can
// know is healed or latched; what it cannot, the whole directory put back, an outsider sees who kept a later head.
//
// Audit rows: 80.
func TestRollback(t *testing.T) {
	for _, killed := range []bool{false, true} {
		name := "after an orderly stop"
		if killed {
			name = "after a kill"
		}
		t.Run(name, func(t *testing.T) {
			r := revokeOnce(t, killed)
			r.healed("badger/ alone", "badger")
			r.latched("journal/ alone", 2, "journal")
			r.latched("journal/ older than badger/, with the state of its time", 1, "journal", "state")
			r.latched("journal/ gone", 1, "-journal")
			r.unseen("the whole store")
			if t.Failed() {
				return
			}
			say(t, "rollback past a revocation, %s: badger/ alone healed, journal/ alone and older than badger/ latched, the "+
				"whole directory reported by masverify consistency; active signed behind a latch: 0", name)
		})
	}
}

// A rollback is a directory as it was before a mission was revoked and as it was afterwards.
type rollback struct {
	t             *testing.T
	program       string
	listen        string
	before, after string
	mission       mission.ID
	keys          *jws.KeySet
	trust, head   string // files of an auditor: trust document, head kept after the revocation
}

// revokeOnce makes a mission, keeps a copy of the directory, and revokes it.
func revokeOnce(t *testing.T, killed bool) *rollback {
	r := &rollback{t: t, program: program(t, ""), listen: lastingAddress(t), before: t.TempDir(), after: t.TempDir()}
	kept := t.TempDir()
	r.trust, r.head = filepath.Join(kept, "trust.json"), filepath.Join(kept, "later.checkpoint")
	end := func(s *server) {
		if killed {
			s.kill()
		} else if err := s.stop(); err != nil {
			t.Fatalf("%v\n%s", err, s.log)
		}
	}
	ctx := t.Context()
	s := r.start(r.after)
	var err error
	if r.mission, err = newMission(ctx, s.client("agent"), s.client("approver")); err != nil {
		t.Fatal(err)
	}
	if r.keys, err = jws.ParseKeySet(fetch(t, s.dev.JWKSURI)); err != nil {
		t.Fatal(err)
	}
	r.mustBe(s, mission.Active)
	end(s)
	if err := copyDirectory(r.before, r.after); err != nil {
		t.Fatal(err)
	}
	s = r.start(r.after)
	if err := move(ctx, s.client("operator"), r.mission, mission.OpRevoke, "stop-1"); err != nil {
		t.Fatal(err)
	}
	r.mustBe(s, mission.Revoked)
	if err := os.WriteFile(r.head, r.checkpoint(s), 0o600); err != nil {
		t.Fatal(err)
	}
	end(s)
	r.writeTrust()
	return r
}

// start starts the server over dir and waits until it answers.
func (r *rollback) start(dir string) *server {
	r.t.Helper()
	s := launch(r.t, r.program, dir, r.listen)
	if err := s.ready(crashPatience); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// writeTrust writes what an auditor knows of this log, from its key files.
func (r *rollback) writeTrust() {
	c, err := config.LoadDev(r.after, config.Sources{Flags: map[string]string{
		"listen": r.listen, "issuer": "http://" + r.listen}})
	if err != nil {
		r.t.Fatal(err)
	}
	anchor, err := domain.Anchor(c)
	if err != nil {
		r.t.Fatal(err)
	}
	text, err := (&verifier.Trust{Anchor: anchor}).Marshal()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(r.trust, text, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// mixed is the directory after the revocation with parts of its store put back; a part that begins with "-" is removed.
func (r *rollback) mixed(parts ...string) string {
	r.t.Helper()
	dir := r.t.TempDir()
	if err := copyDirectory(dir, r.after); err != nil {
		r.t.Fatal(err)
	}
	for _, part := range parts {
		name, gone := strings.CutPrefix(part, "-")
		path := filepath.Join(dir, "store", name)
		err := os.RemoveAll(path)
		if older := filepath.Join(r.before, "store", name); err == nil && !gone {
			if info, serr := os.Stat(older); serr == nil && info.IsDir() {
				err = copyDirectory(path, older)
			} else {
				var data []byte
				if data, err = os.ReadFile(older); err == nil {
					err = os.WriteFile(path, data, 0o600)
				}
			}
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	return dir
}

// status asks for the signed status and verifies it.
func (r *rollback) status(s *server) (*mission.StatusMission, error) {
	agent := s.client("agent")
	nonce := fmt.Sprint(time.Now().UnixNano())
	resp, err := agent.Form(r.t.Context(), "/mas/missions/status",
		url.Values{"mission_id": {string(r.mission)}, "nonce": {nonce}})
	if err != nil {
		return nil, err
	}
	return (&cast{issuer: s.dev.Issuer, keys: r.keys}).read(resp.Body, agent, r.mission, nonce, time.Now())
}

func (r *rollback) mustBe(s *server, want mission.State) {
	r.t.Helper()
	st, err := r.status(s)
	if err != nil {
		r.t.Fatalf("status: %v\n%s", err, s.log)
	}
	if st.State != want {
		r.t.Errorf("signed to be %s, version %d, not %s", st.State, st.Version, want)
	}
}

// readiness is the answer of /readyz.
func readiness(t *testing.T, s *server) (status int, text string) {
	t.Helper()
	resp, err := http.Get(s.dev.Issuer + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body.String()
}

// checkpoint is the published head.
func (r *rollback) checkpoint(s *server) []byte {
	return fetch(r.t, s.dev.Issuer+s.dev.LogOrigin[strings.IndexByte(s.dev.LogOrigin, '/'):]+"/checkpoint")
}

// healed: the server knows of the revocation all the same.
func (r *rollback) healed(what string, parts ...string) {
	s := r.start(r.mixed(parts...))
	if code, text := readiness(r.t, s); code != http.StatusOK {
		r.t.Errorf("%s: readiness %d %s", what, code, text)
	}
	r.mustBe(s, mission.Revoked)
	head, err := os.ReadFile(r.head)
	if err != nil {
		r.t.Fatal(err)
	}
	kept, err := ledger.OpenCheckpointBy(head, s.dev.LogOrigin, s.dev.LogVKey)
	if err != nil {
		r.t.Fatal(err)
	}
	if served, err := ledger.OpenCheckpointBy(r.checkpoint(s), s.dev.LogOrigin, s.dev.LogVKey); err != nil ||
		served.Size < kept.Size {
		r.t.Errorf("%s: the log is at %d, %v; it was at %d", what, served.Size, err, kept.Size)
	}
	if err := s.stop(); err != nil {
		r.t.Errorf("%s: %v\n%s", what, err, s.log)
	}
}

// latched: the server says what is wrong, signs nothing, takes stops, and ends with a failure, at each of its starts.
func (r *rollback) latched(what string, starts int, parts ...string) {
	const code = "integrity:journal_rollback"
	dir := r.mixed(parts...)
	for range starts {
		s := r.start(dir)
		if status, text := readiness(r.t, s); status != http.StatusServiceUnavailable || !strings.Contains(text, code) {
			r.t.Errorf("%s: readiness %d %s, want %s", what, status, text, code)
		}
		if st, err := r.status(s); err == nil {
			r.t.Errorf("%s: signed to be %s, version %d", what, st.State, st.Version)
		} else if !isUnavailable(err) {
			r.t.Errorf("%s: status: %v", what, err)
		}
		if _, err := newMission(r.t.Context(), s.client("agent"), s.client("approver")); !isUnavailable(err) {
			r.t.Errorf("%s: a new mission: %v", what, err)
		}
		r.takesStop(what, s)
		if err := s.stop(); err == nil || s.cmd.ProcessState.ExitCode() != 1 {
			r.t.Errorf("%s: the server ended with %v", what, err)
		}
	}
	c, err := exec.CommandContext(r.t.Context(), r.program, "fsck", "--dir", dir).CombinedOutput()
	if err == nil || !bytes.Contains(c, []byte("journal")) {
		r.t.Errorf("%s: fsck: %v\n%s", what, err, c)
	}
}

// isUnavailable: the server refused with 503.
func isUnavailable(err error) bool {
	e, ok := err.(*client.Error)
	return ok && e.Status == http.StatusServiceUnavailable
}

// takesStop revokes into the emergency-stop journal.
func (r *rollback) takesStop(what string, s *server) {
	resp, err := s.client("operator").Form(r.t.Context(), "/mas/missions/lifecycle", url.Values{
		"mission_id": {string(r.mission)}, "operation": {"revoke"}, "nonce": {fmt.Sprint("stop-", time.Now().UnixNano())}})
	if err != nil || !bytes.Contains(resp.Body, []byte(`"publication":"pending"`)) {
		r.t.Errorf("%s: a revocation behind the latch: %v\n%s", what, err, s.log)
		return
	}
	names, err := filepath.Glob(filepath.Join(s.dir, "store", "stops", "*.seg"))
	if err != nil || len(names) == 0 {
		r.t.Fatalf("%s: no emergency-stop journal: %v", what, err)
	}
	data, err := os.ReadFile(names[len(names)-1])
	if err != nil || !bytes.Contains(data, []byte(r.mission)) {
		r.t.Errorf("%s: the stop is not in the emergency-stop journal: %v", what, err)
	}
}

// unseen: the server cannot know, and does not claim to; the head that a peer kept gives it away.
func (r *rollback) unseen(what string) {
	dir := r.t.TempDir()
	if err := copyDirectory(dir, r.before); err != nil {
		r.t.Fatal(err)
	}
	s := r.start(dir)
	if code, text := readiness(r.t, s); code != http.StatusOK {
		r.t.Errorf("%s: readiness %d %s", what, code, text)
	}
	r.mustBe(s, mission.Active)
	if log := s.log.String(); strings.Contains(log, "rollback") || strings.Contains(log, "latch") {
		r.t.Errorf("%s: the server claims to see it:\n%s", what, log)
	}
	r.reported(what, s)
	// The log grows past the head that was kept. Its size says nothing any more; its tree does.
	for range 3 {
		if _, err := newMission(r.t.Context(), s.client("agent"), s.client("approver")); err != nil {
			r.t.Fatal(err)
		}
	}
	r.reported(what+", grown again", s)
	if err := s.stop(); err != nil {
		r.t.Errorf("%s: %v\n%s", what, err, s.log)
	}
}

// reported holds the head that the server publishes against the later one that somebody kept, offline.
func (r *rollback) reported(what string, s *server) {
	t := r.t
	kept, err := os.ReadFile(r.head)
	if err != nil {
		t.Fatal(err)
	}
	older, err := ledger.OpenCheckpointBy(kept, s.dev.LogOrigin, s.dev.LogVKey)
	if err != nil {
		t.Fatal(err)
	}
	served := r.checkpoint(s)
	newer, err := ledger.OpenCheckpointBy(served, s.dev.LogOrigin, s.dev.LogVKey)
	if err != nil {
		t.Fatal(err)
	}
	from, to, code := newer.Size, newer.Size, "log_rolled_back" // there is no proof for a size that the log does not have
	if newer.Size >= older.Size {
		from, code = older.Size, "consistency_proof"
		if newer.Size == older.Size {
			code = "log_forked"
		}
	}
	dir := t.TempDir()
	proof := filepath.Join(dir, "proof.json")
	head := filepath.Join(dir, "served.checkpoint")
	answer := fetch(t, fmt.Sprintf("%s/v1/proofs/consistency?from=%d&to=%d", s.dev.Issuer, from, to))
	for path, data := range map[string][]byte{proof: answer, head: served} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, masverify(t), "consistency", r.head, head, proof, "--trust", r.trust)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !bytes.Contains(out, []byte(code)) {
		t.Errorf("%s: masverify consistency, kept at %d, served at %d: %v, want %s\n%s", what, older.Size, newer.Size, err,
			code, out)
	}
}

// masverify builds the auditor's tool.
func masverify(t *testing.T) string {
	t.Helper()
	program(t, "") // makes the directory that goes with the test run
	path := filepath.Join(built.dir, "masverify")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if out, err := exec.Command("go", "build", "-tags", "nomsgpack", "-o", path, "../masverify").CombinedOutput(); err != nil {
		t.Fatalf("building masverify: %v\n%s", err, out)
	}
	return path
}
