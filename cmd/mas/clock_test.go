package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
)

// TestClockTenYears sets the clock of a running server ten years ahead, and back: while it is wrong nothing positive is
// asserted, no mission expires, whoever stops is served, and heads are signed; when it is right again, everything is.
// The clock is that of this test: the program has no way to set it.
//
// Audit rows: 24.
func TestClockTenYears(t *testing.T) {
	t.Parallel()
	clock := ledgertest.NewClock(t)
	s := startClocked(t, clock)
	ctx := t.Context()
	agent, approver := s.server.client("agent"), s.server.client("approver")
	kept, stopped := s.mission(ctx, agent, approver), s.mission(ctx, agent, approver)
	before := s.head()
	s.positive(kept, "")

	clock.Step(10 * 365 * 24 * time.Hour)
	s.positive(kept, "clock_doubt")
	time.Sleep(1500 * time.Millisecond) // the worker that expires missions looks every second
	s.revoke(stopped)
	during := s.head()
	if during.Size <= before.Size {
		t.Errorf("the head stays at %d entries while the clock is wrong", during.Size)
	}

	clock.Step(0)
	s.positive(kept, "")
	if st := s.positive(stopped, ""); st != mission.Revoked {
		t.Errorf("the mission that was revoked under the wrong clock is %s", st)
	}
	third := s.mission(ctx, agent, approver) // deadlines count again
	s.positive(third, "")
	if after := s.head(); after.Size <= during.Size {
		t.Errorf("the head stays at %d entries", after.Size)
	}
	s.check()
}

// TestTwoProcesses: a second process on the directory of a running one refuses to start, and the first one goes on.
//
// Audit rows: 73.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := launch(t, program(t, ""), dir, lastingAddress(t))
	if err := first.ready(crashPatience); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	id, err := newMission(ctx, first.client("agent"), first.client("approver"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		second := launch(t, program(t, ""), dir, lastingAddress(t))
		if err := second.ready(crashPatience); !errors.Is(err, errEnded) ||
			!strings.Contains(err.Error(), "in use by another process") {
			t.Fatalf("a second process on the same directory: %v", err)
		}
	}
	if err := move(ctx, first.client("operator"), id, mission.OpSuspend, "after-the-second-process"); err != nil {
		t.Errorf("the first process after that: %v", err)
	}
	if err := first.stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

// A clocked server runs in this process, with a clock that can be set.
type clocked struct {
	t      *testing.T
	dir    string
	server *server
	domain *domain.Domain
	end    func() error
	heads  []ledger.Checkpoint
}

func startClocked(t *testing.T, clock *ledgertest.Clock) *clocked {
	t.Helper()
	s := &clocked{t: t, dir: t.TempDir()}
	listen := lastingAddress(t)
	settings := "listen: " + listen + "\nissuer: http://" + listen + "\ntelemetry: {level: error}\n"
	if err := os.WriteFile(filepath.Join(s.dir, "config.yaml"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := domain.InitDev(s.dir, "http://"+listen, domain.DevCeiling); err != nil {
		t.Fatal(err)
	}
	o, err := historyOptions(s.dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	o.DevDir, o.Now = s.dir, clock.Now
	if s.domain, err = domain.Open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.domain.Run(ctx) }()
	s.end = func() error {
		cancel()
		return <-ended
	}
	select {
	case <-s.domain.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	dev, err := domain.ReadDev(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	s.server = &server{t: t, dir: s.dir, dev: dev}
	return s
}

func (s *clocked) mission(ctx context.Context, agent, approver *client.Client) mission.ID {
	s.t.Helper()
	id, err := newMission(ctx, agent, approver)
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

func (s *clocked) caller(name string) authority.Caller {
	s.t.Helper()
	p, ok := s.domain.Authority.Principals().ByID(name)
	if !ok {
		s.t.Fatalf("there is no principal %q", name)
	}
	return authority.Caller{Principal: p, Method: "private_key_jwt"}
}

// positive asks for a signed status, without HTTP: a caller proves who it is with a fresh assertion, which a server
// whose clock is ten years ahead calls expired. It must be refused for the given reason, or not at all.
func (s *clocked) positive(id mission.ID, reason string) mission.State {
	s.t.Helper()
	token, err := s.domain.Authority.Status(s.t.Context(), s.caller("agent"),
		authority.StatusQuery{MissionID: string(id), Nonce: "clock"})
	if reason != "" {
		if refused, ok := errors.AsType[*authority.Error](err); !ok || refused.Reason != reason {
			s.t.Errorf("the status of %s: %v, want %s", id, err, reason)
		}
		return ""
	}
	if err != nil {
		s.t.Fatalf("the status of %s: %v", id, err)
	}
	keys, err := jws.ParseKeySet(fetch(s.t, s.server.dev.JWKSURI))
	if err != nil {
		s.t.Fatal(err)
	}
	st, err := (&cast{issuer: s.server.dev.Issuer, keys: keys}).read([]byte(token), s.server.client("agent"), id, "clock",
		time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return st.State
}

func (s *clocked) revoke(id mission.ID) {
	s.t.Helper()
	_, err := s.domain.Authority.Lifecycle(s.t.Context(), s.caller("operator"),
		authority.LifecycleRequest{MissionID: string(id), Operation: mission.OpRevoke, Nonce: "clock-revoke"})
	if err != nil {
		s.t.Errorf("revoking while the clock is wrong: %v", err)
	}
}

// head fetches the published checkpoint, which must verify.
func (s *clocked) head() ledger.Checkpoint {
	s.t.Helper()
	dev := s.server.dev
	text := fetch(s.t, dev.Issuer+dev.LogOrigin[strings.IndexByte(dev.LogOrigin, '/'):]+"/checkpoint")
	c, err := ledger.OpenCheckpointBy(text, dev.LogOrigin, dev.LogVKey)
	if err != nil {
		s.t.Fatal(err)
	}
	s.heads = append(s.heads, c)
	return c
}

// check has an auditor read the log, stops the server, and has fsck read the store.
func (s *clocked) check() {
	s.t.Helper()
	ledgertest.CheckLog(s.t, s.domain.Log, s.server.dev.LogVKey, s.heads...)
	v, err := s.domain.Log.View()
	if err != nil {
		s.t.Fatal(err)
	}
	if ahead := time.Until(v.Head().At); ahead > time.Minute {
		s.t.Errorf("the last group is registered %v from now", ahead)
	}
	v.Close()
	if err := s.end(); err != nil {
		s.t.Errorf("stopping: %v", err)
	}
	if found, err := fsckDamaged(s.t.Context(), s.dir); err != nil || found != "" {
		s.t.Errorf("fsck: %s, %v", found, err)
	}
}
