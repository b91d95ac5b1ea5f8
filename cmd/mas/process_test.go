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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/mission"
)

// The tests in this folder that need a whole server run the real program as a process of its own: it is killed, starved
// of disk and fed damaged files.

// soak returns the full count under `make soak` and the reduced one otherwise.
func soak(full, reduced int) int {
	if os.Getenv("SOAK") != "" {
		return full
	}
	return reduced
}

// built are the programs by build tags, made once for a test run.
var built struct {
	sync.Mutex
	dir  string
	path map[string]string
}

// prepareProcess is called before any test.
var prepareProcess = func() {}

func TestMain(m *testing.M) {
	prepareProcess()
	if path := os.Getenv(damageJob); path != "" { // a child process of TestCorruption
		os.Exit(damageChild(path))
	}
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// program builds mas with the given tags.
func program(t testing.TB, tags string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if p, ok := built.path[tags]; ok {
		return p
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "mas-test-")
		if err != nil {
			t.Fatal(err)
		}
		built.dir, built.path = dir, map[string]string{}
	}
	path := filepath.Join(built.dir, "mas-"+strconv.Itoa(len(built.path)))
	out, err := exec.Command("go", "build", "-tags", "nomsgpack,"+tags, "-o", path, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("building mas: %v\n%s", err, out)
	}
	built.path[tags] = path
	return path
}

// A server is one running `mas dev`.
type server struct {
	t    testing.TB
	dir  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error
	log  *bytes.Buffer
	dev  *domain.Dev
}

// launch starts `mas dev` over dir; prefix is put before the command line (strace, for instance). It does not wait
// until the server is ready.
func launch(t testing.TB, program, dir, listen string, prefix ...string) *server {
	t.Helper()
	os.Remove(filepath.Join(dir, "dev.json"))
	args := append(prefix, program, "dev", "--dir", dir, "--listen", listen)
	s := &server{t: t, dir: dir, done: make(chan struct{}), log: new(bytes.Buffer)}
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Stderr = s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	t.Cleanup(s.kill)
	return s
}

// errEnded: the server ended before it was ready.
var errEnded = errors.New("the server ended")

// ready waits until the server answers.
func (s *server) ready(patience time.Duration) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		select {
		case <-s.done:
			return fmt.Errorf("%w: %v\n%s", errEnded, s.err, s.log)
		default:
		}
		if dev, err := domain.ReadDev(s.dir); err == nil {
			s.dev = dev
			return nil
		}
	}
	return fmt.Errorf("not ready after %s", patience)
}

// kill ends the server and what it started at once.
func (s *server) kill() {
	select {
	case <-s.done:
		return
	default:
	}
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	<-s.done
}

// stop asks the server to stop and waits.
func (s *server) stop() error {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
		return s.err
	case <-time.After(20 * time.Second):
		s.kill()
		return errors.New("the server did not stop")
	}
}

// client returns a client that acts as one of the server's local principals.
func (s *server) client(name string) *client.Client {
	s.t.Helper()
	c, err := s.dev.Client(name)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// listenAddress is a free loopback address.
func listenAddress(t testing.TB) string {
	t.Helper()
	a, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// newMission submits and approves a mission of the local agent and returns its id.
func newMission(ctx context.Context, agent, approver *client.Client) (mission.ID, error) {
	resp, err := agent.PostRaw(ctx, "/mas/submissions", "application/json", []byte(`{"intent":{
		"goal":"match invoices","resources":["https://api.example.com/invoices"],
		"expires_at":"`+mission.FormatTime(time.Now().Add(time.Hour))+`"},"authorization_details":[
		{"type":"mission_resource_access","resource":"https://api.example.com/invoices","actions":["invoices.read"]}]}`))
	if err != nil {
		return "", err
	}
	var submitted struct {
		SubmissionID string `json:"submission_id"`
	}
	if err := resp.Decode(&submitted); err != nil {
		return "", err
	}
	path := "/mas/review/" + submitted.SubmissionID
	if resp, err = approver.Get(ctx, path); err != nil {
		return "", err
	}
	var shown struct {
		ContextID string         `json:"context_id"`
		Rendering mission.Digest `json:"consent_rendering_hash"`
	}
	if err := resp.Decode(&shown); err != nil {
		return "", err
	}
	resp, err = approver.Post(ctx, path+"/decision", map[string]string{
		"context_id": shown.ContextID, "consent_rendering_hash": string(shown.Rendering), "decision": "approve"})
	if err != nil {
		return "", err
	}
	var decided struct {
		MissionID mission.ID `json:"mission_id"`
	}
	err = resp.Decode(&decided)
	return decided.MissionID, err
}

// move asks for a lifecycle operation.
func move(ctx context.Context, c *client.Client, id mission.ID, op mission.Operation, nonce string) error {
	_, err := c.Form(ctx, "/mas/missions/lifecycle", url.Values{
		"mission_id": {string(id)}, "operation": {string(op)}, "nonce": {nonce}})
	return err
}
