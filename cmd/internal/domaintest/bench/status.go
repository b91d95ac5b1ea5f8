package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/httpapi"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

func init() {
	for name, kind := range map[string]string{
		"status": "mas", "status-bare-signed": "signed", "status-bare": "fixed",
	} {
		subjects[name] = func(ctx context.Context, s setup) (measured, error) { return askStatus(ctx, s, kind) }
		subjects["serve-"+kind] = func(ctx context.Context, s setup) (measured, error) { return serveStatus(ctx, s, kind) }
	}
}

// A served endpoint is what the serving process tells the asking one.
type served struct {
	URL, Issuer, Mission string
	Client               domain.Credential
}

// serveStatus runs a server of one kind until its standard input ends: a whole domain, or a bare handler that
// authenticates its callers with the same code and makes one signature, or none.
func serveStatus(ctx context.Context, s setup, kind string) (measured, error) {
	d, dev, stop, err := startDomain(ctx, s.Dir)
	if err != nil {
		return measured{}, err
	}
	ids, err := newMissions(ctx, d, 1)
	if err != nil {
		return measured{}, errors.Join(err, stop())
	}
	out := served{URL: dev.Issuer + "/mas/missions/status", Issuer: dev.Issuer, Mission: ids[0], Client: dev.Clients["pep"]}
	if kind != "mas" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return measured{}, errors.Join(err, stop())
		}
		handler, err := bareStatus(d, dev, kind == "signed")
		if err != nil {
			return measured{}, errors.Join(err, stop())
		}
		server := httpapi.NewServer(handler, slog.New(slog.DiscardHandler))
		go server.Serve(l) // ends with the process
		out.URL = "http://" + l.Addr().String() + "/mas/missions/status"
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		return measured{}, errors.Join(err, stop())
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return measured{}, errors.Join(err, stop())
}

// bareStatus is net/http with private_key_jwt and nothing else: the assertion is parsed, verified, checked and
// remembered as the product does it, then an answer of the product's size is signed, or sent as it is.
func bareStatus(d *domain.Domain, dev *domain.Dev, sign bool) (http.Handler, error) {
	key, err := d.Keys.Key(keys.Issuer).JOSE()
	if err != nil {
		return nil, err
	}
	payload, err := mission.Marshal(map[string]string{"padding": strings.Repeat("x", 650)})
	if err != nil {
		return nil, err
	}
	fixed, err := jws.Sign(context.Background(), key, jws.TypStatus, payload)
	if err != nil {
		return nil, err
	}
	caller, _ := d.Authority.Principals().ByClient("pep")
	var mu sync.Mutex
	used := map[[32]byte]bool{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
		if err != nil {
			http.Error(w, "body", http.StatusBadRequest)
			return
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			http.Error(w, "form", http.StatusBadRequest)
			return
		}
		token, err := jws.Parse(form.Get("client_assertion"), jws.TypClientAuthentication)
		if err != nil || token.Verify(caller.Keys()) != nil {
			http.Error(w, "assertion", http.StatusUnauthorized)
			return
		}
		var claims struct {
			Iss string `json:"iss"`
			Aud string `json:"aud"`
			JTI string `json:"jti"`
			EXP int64  `json:"exp"`
		}
		if mission.DecodeOpen(token.Payload, &claims) != nil || claims.Aud != dev.Issuer || claims.EXP <= time.Now().Unix() {
			http.Error(w, "claims", http.StatusUnauthorized)
			return
		}
		id := sha256.Sum256([]byte(claims.JTI))
		mu.Lock()
		before := used[id]
		used[id] = true
		mu.Unlock()
		if before {
			http.Error(w, "replay", http.StatusUnauthorized)
			return
		}
		answer := fixed
		if sign {
			if answer, err = jws.Sign(r.Context(), key, jws.TypStatus, payload); err != nil {
				http.Error(w, "sign", http.StatusInternalServerError)
				return
			}
		}
		w.Header().Set("Content-Type", jws.TypStatus.ContentType())
		io.WriteString(w, answer)
	}), nil
}

// askStatus starts a server process and loads it from this one over as many connections as there are writers.
// Assertions are made before the clock starts.
func askStatus(ctx context.Context, s setup, kind string) (m measured, err error) {
	exe, err := os.Executable()
	if err != nil {
		return m, err
	}
	server := exec.CommandContext(ctx, exe, "child", "serve-"+kind, "-dir", s.Dir)
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
	return at.ask(ctx, s, server.Process.Pid)
}

// ask sends presigned questions.
func (at *served) ask(ctx context.Context, s setup, pid int) (measured, error) {
	key, err := at.Client.JWK.Signer()
	if err != nil {
		return measured{}, err
	}
	c := client.New(at.Issuer, at.Client.ClientID, key)
	// As many questions as two cores could possibly ask: each takes a signature check on the other side.
	bodies := make([]string, int(12_000*(s.Length+warmup).Seconds()))
	for i := range bodies {
		form, err := c.FormBody(ctx, url.Values{"mission_id": {at.Mission}, "nonce": {strconv.Itoa(i)}})
		if err != nil {
			return measured{}, err
		}
		bodies[i] = form
	}
	transport := &http.Transport{MaxIdleConnsPerHost: s.Writers, DisableCompression: true}
	defer transport.CloseIdleConnections()
	var next atomic.Int64
	before := processCPU(pid)
	m, err := load(ctx, s, func(ctx context.Context, _, _ int) error {
		n := int(next.Add(1)) - 1
		if n >= len(bodies) {
			return errors.New("the prepared questions are used up")
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.URL, strings.NewReader(bodies[n]))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
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

// processCPU is the processor time another process has used.
func processCPU(pid int) time.Duration {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
