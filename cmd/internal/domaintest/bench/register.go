package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/httpapi"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/registry"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
)

// batchOf is how many statements one request of a batch carries.
const batchOf = 64

// missionsLoaded is about how many missions the statements are.
const missionsLoaded = 4096

const harnessType = "application/mission-harness-evidence+json"

func init() {
	for _, kind := range []string{"register", "register-tessera"} {
		subjects[kind] = func(ctx context.Context, s setup) (measured, error) { return askRegistration(ctx, s, kind, 1) }
		subjects["serve-"+kind] = func(ctx context.Context, s setup) (measured, error) {
			return serveRegistration(ctx, s, kind == "register-tessera")
		}
	}
	subjects["register-batch"] = func(ctx context.Context, s setup) (measured, error) {
		return askRegistration(ctx, s, "register", batchOf)
	}
	subjects["register-inside"] = registerInside
}

// registration is P5: producers register statements over HTTP.
func (d *driver) registration(ctx context.Context) error {
	header("P5: external registration over HTTP (authenticate, verify COSE, commit, receipt), 64 connections")
	ours, theirs, noisy, err := d.compare(ctx, as("register", "-writers", "64"),
		as("register-tessera", "-writers", "64", "-age", "5ms"))
	if err != nil {
		return err
	}
	row("beside Tessera, integrated, behind the same verifying shim, without receipts", ">= 2x", ours, theirs, rate, "/s", noisy)
	row("p99", "-", ours, theirs, p99, "ms", noisy)
	row("server CPU a request", "-", ours, theirs, serverCPU, "us", noisy)
	ours, inside, noisy, err := d.compare(ctx, as("register-batch", "-writers", "4"), as("register-inside", "-writers", "4"))
	if err != nil {
		return err
	}
	row("batches of 64 beside the same batches in process", ">= 0.60x", ours, inside, rate, "batches/s", noisy)
	return nil
}

// serveRegistration runs a server until its standard input ends: a whole domain, or Tessera's POSIX log behind a
// handler that authenticates and verifies with the product's code and answers when the entry is integrated.
func serveRegistration(ctx context.Context, s setup, beside bool) (measured, error) {
	d, dev, stop, err := startDomain(ctx, s.Dir)
	if err != nil {
		return measured{}, err
	}
	out := served{URL: dev.Issuer + "/entries", Issuer: dev.Issuer, Client: dev.Clients["producer"]}
	if beside {
		add, end, err := openTessera(ctx, s)
		if err != nil {
			return measured{}, errors.Join(err, stop())
		}
		defer end()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return measured{}, errors.Join(err, stop())
		}
		caller, _ := d.Authority.Principals().ByClient("producer")
		shim := &shim{caller: caller, policy: d.Registry.Admission(), add: add}
		go httpapi.NewServer(shim, slog.New(slog.DiscardHandler)).Serve(l) // ends with the process
		out.URL = "http://" + l.Addr().String() + "/entries"
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		return measured{}, errors.Join(err, stop())
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return measured{}, errors.Join(err, stop())
}

// openTessera opens a log in a directory beside the domain's.
func openTessera(ctx context.Context, s setup) (add func(context.Context, []byte) error, end func(), err error) {
	driver, err := posix.New(ctx, posix.Config{Path: s.Dir + "/tessera"})
	if err != nil {
		return nil, nil, err
	}
	private, _, err := note.GenerateKey(rand.Reader, "bench.example/log")
	if err != nil {
		return nil, nil, err
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return nil, nil, err
	}
	appender, shutdown, _, err := tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().WithCheckpointSigner(signer).
		WithBatching(uint(s.Batch), s.Age).WithPushback(4096))
	if err != nil {
		return nil, nil, err
	}
	add = func(ctx context.Context, entry []byte) error {
		_, err := appender.Add(ctx, tessera.NewEntry(entry))()
		return err
	}
	return add, func() { _ = shutdown(context.WithoutCancel(ctx)) }, nil
}

// A shim does what the product does with a registration up to the commit.
type shim struct {
	caller *authority.Principal
	policy *ledger.Admission
	add    func(context.Context, []byte) error
}

func (h *shim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
	if err != nil {
		http.Error(w, "body", http.StatusBadRequest)
		return
	}
	token, err := jws.Parse(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), jws.TypClientAuthentication)
	if err != nil || token.Verify(h.caller.Keys()) != nil {
		http.Error(w, "assertion", http.StatusUnauthorized)
		return
	}
	raw, err := ledger.Canonical(body)
	if err != nil {
		http.Error(w, "statement", http.StatusBadRequest)
		return
	}
	s, err := ledger.ParseStatement(raw)
	if err != nil || h.policy.Admit(s) != nil {
		http.Error(w, "rejected", http.StatusBadRequest)
		return
	}
	if err := h.add(r.Context(), raw); err != nil {
		http.Error(w, "log", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// A stater signs statements of the local producer.
type stater struct {
	claims ledger.Claims
	signer ledger.Signer
}

func newStater(c domain.Credential, issuer string) (*stater, error) {
	signer, err := c.Statement.Signer()
	return &stater{ledger.Claims{Issuer: c.Statement.Issuer, Subject: issuer + "/missions/msn_", ContentType: harnessType}, signer}, err
}

func (s *stater) next(ctx context.Context) ([]byte, error) {
	c := s.claims
	rand.Read(c.Digest[:])
	c.Subject += fmt.Sprint(binary.BigEndian.Uint16(c.Digest[:]) % missionsLoaded)
	return ledger.SignStatement(ctx, c, s.signer)
}

// body is one request's: a statement, or a batch of n.
func (s *stater) body(ctx context.Context, n int) ([]byte, error) {
	if n == 1 {
		return s.next(ctx)
	}
	list := make([][]byte, n)
	for i := range list {
		var err error
		if list[i], err = s.next(ctx); err != nil {
			return nil, err
		}
	}
	return ledger.MarshalStatements(list)
}

// askRegistration starts a server process and loads it from this one. Requests are signed before the clock starts.
func askRegistration(ctx context.Context, s setup, kind string, n int) (m measured, err error) {
	exe, err := os.Executable()
	if err != nil {
		return m, err
	}
	server := exec.CommandContext(ctx, exe, "child", "serve-"+kind, "-dir", s.Dir, "-age", s.Age.String())
	server.Stderr = os.Stderr
	in, err := server.StdinPipe()
	if err != nil {
		return m, err
	}
	out, err := server.StdoutPipe()
	if err != nil {
		return m, err
	}
	if err := server.Start(); err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, in.Close(), server.Wait()) }()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		return m, fmt.Errorf("the serving process said nothing: %w", err)
	}
	var at served
	if err := json.Unmarshal(line, &at); err != nil {
		return m, err
	}
	return at.register(ctx, s, n, server.Process.Pid)
}

// register sends signed requests of n statements.
func (at *served) register(ctx context.Context, s setup, n, pid int) (measured, error) {
	key, err := at.Client.JWK.Signer()
	if err != nil {
		return measured{}, err
	}
	c := client.New(at.Issuer, at.Client.ClientID, key)
	from, err := newStater(at.Client, at.Issuer)
	if err != nil {
		return measured{}, err
	}
	media, most := "application/cose", 9_000.0
	if n > 1 {
		media, most = ledger.ContentTypeStatements, 400
	}
	requests := make([]*http.Request, int(most*(s.Length+warmup).Seconds()))
	for i := range requests {
		body, err := from.body(ctx, n)
		if err != nil {
			return measured{}, err
		}
		if requests[i], err = http.NewRequestWithContext(ctx, http.MethodPost, at.URL, bytes.NewReader(body)); err != nil {
			return measured{}, err
		}
		requests[i].Header.Set("Content-Type", media)
		if err := c.Authorize(requests[i]); err != nil {
			return measured{}, err
		}
	}
	transport := &http.Transport{MaxIdleConnsPerHost: s.Writers, DisableCompression: true}
	defer transport.CloseIdleConnections()
	var next atomic.Int64
	before := processCPU(pid)
	m, err := load(ctx, s, func(context.Context, int, int) error {
		i := int(next.Add(1)) - 1
		if i >= len(requests) {
			return errors.New("the prepared requests are used up")
		}
		resp, err := transport.RoundTrip(requests[i])
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		if resp.StatusCode/100 != 2 {
			return fmt.Errorf("the server answered %s", resp.Status)
		}
		return nil
	})
	if err == nil {
		used := processCPU(pid) - before
		m.Extra = map[string]float64{"server_us": used.Seconds() * 1e6 / float64(max(1, int(next.Load())))}
	}
	return m, err
}

// registerInside registers the same batches without HTTP.
func registerInside(ctx context.Context, s setup) (m measured, err error) {
	d, dev, stop, err := startDomain(ctx, s.Dir)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	from, err := newStater(dev.Clients["producer"], dev.Issuer)
	if err != nil {
		return m, err
	}
	batches := make([][]registry.Item, int(400*(s.Length+warmup).Seconds()))
	for i := range batches {
		batches[i] = make([]registry.Item, batchOf)
		for k := range batches[i] {
			if batches[i][k].Statement, err = from.next(ctx); err != nil {
				return m, err
			}
		}
	}
	var next atomic.Int64
	return load(ctx, s, func(ctx context.Context, _, _ int) error {
		i := int(next.Add(1)) - 1
		if i >= len(batches) {
			return errors.New("the prepared batches are used up")
		}
		results, err := d.Registry.Register(ctx, registry.Request{Producer: "bench", Items: batches[i]})
		if err != nil {
			return err
		}
		for _, r := range results {
			if r.Err != nil {
				return r.Err
			}
		}
		return nil
	})
}
