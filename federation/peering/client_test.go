package peering_test

import (
	"context"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/federation/federationtest"
	"github.com/mission-authority/mas/federation/peering"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// A host is the peer's server: whatever the test says it is.
type host struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	hits     map[string]int
	metadata map[string]any
	handle   map[string]http.HandlerFunc
}

// newHost starts a server on a loopback address that describes itself as the issuer at that address.
func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, hits: map[string]int{}, handle: map[string]http.HandlerFunc{}}
	h.Server = httptest.NewServer(http.HandlerFunc(h.serve))
	t.Cleanup(h.Close)
	h.metadata = map[string]any{
		"issuer":                      h.URL,
		"mission_submission_endpoint": h.URL + "/mas/submissions", "mission_status_endpoint": h.URL + "/status",
		"mission_lifecycle_endpoint":                   h.URL + "/lifecycle",
		"mission_status_signing_alg_values_supported":  []string{"ES256"},
		"mission_auth_methods_supported":               []string{"private_key_jwt"},
		"jwks_uri":                                     h.URL + "/jwks",
		"mission_federation_versions":                  []string{"1"},
		"mission_federation_projection_endpoint":       h.URL + "/projections",
		"mission_federation_receipt_endpoint":          h.URL + "/receipts",
		"mission_federation_agreement_endpoint":        h.URL + "/agreements",
		"mission_log_origin":                           "a.example/log/main",
		"mission_log_checkpoint_endpoint":              h.URL + "/checkpoint",
		"a member that this version does not know yet": true,
	}
	return h
}

func (h *host) serve(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.hits[r.URL.Path]++
	handle := h.handle[r.URL.Path]
	metadata := h.metadata
	h.mu.Unlock()
	switch {
	case handle != nil:
		handle(w, r)
	case r.URL.Path == "/.well-known/mission-authority-server":
		body, err := mission.Marshal(metadata)
		if err != nil {
			h.t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	default:
		http.NotFound(w, r)
	}
}

func (h *host) on(path string, f http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.handle[path] = f
}

func (h *host) count(path string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hits[path]
}

// partner is a Partner whose peer is the host. The package under test looks at the record alone.
func (h *host) partner(change ...func(*federation.Peer)) *federation.Partner {
	h.t.Helper()
	u, err := url.Parse(h.URL)
	if err != nil {
		h.t.Fatal(err)
	}
	p := &federation.Peer{Issuer: h.URL, Status: federation.PeerActive, ClientID: "peer", OwnClientID: "mas-b",
		Log: federation.Log{Origin: "a.example/log/main"}, Hosts: []string{u.Host}}
	for _, f := range change {
		f(p)
	}
	return &federation.Partner{Self: "https://b.example", Peer: p}
}

func answer(media, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		io.WriteString(w, body)
	}
}

func newClient(t *testing.T, key *jws.Key, loopback bool) *peering.Client {
	t.Helper()
	c, err := peering.New(peering.Config{Key: key, AllowLoopback: loopback})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// assertion checks a client assertion as the peer would and returns its claims.
func assertion(t *testing.T, key *jws.Key, compact string) map[string]any {
	t.Helper()
	token, err := jws.Parse(compact, jws.TypClientAuthentication)
	if err != nil {
		t.Errorf("assertion: %v", err)
		return nil
	}
	keys, err := jws.NewKeySet(map[string]crypto.PublicKey{key.KeyID(): key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	if err := token.Verify(keys); err != nil {
		t.Errorf("assertion: %v", err)
	}
	var claims map[string]any
	if err := mission.Decode(token.Payload, &claims); err != nil {
		t.Errorf("assertion: %v", err)
	}
	return claims
}

func TestExchanges(t *testing.T) {
	h := newHost(t)
	key := federationtest.NewKey(t)
	c := newClient(t, key, true)
	p := h.partner()
	jtis := map[any]bool{}
	check := func(claims map[string]any, htm, htu any) {
		if claims["iss"] != "mas-b" || claims["sub"] != "mas-b" || claims["aud"] != h.URL || claims["htm"] != htm ||
			claims["htu"] != htu {
			t.Errorf("assertion %v", claims)
		}
		if jtis[claims["jti"]] {
			t.Error("a jti was used twice")
		}
		jtis[claims["jti"]] = true
	}
	h.on("/status", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		if r.PostForm.Get("mission_id") != "msn_1" || r.PostForm.Get("audience") != "https://b.example" ||
			r.PostForm.Get("nonce") != "n-1" || r.Header.Get("Authorization") != "" {
			t.Errorf("form %v", r.PostForm)
		}
		check(assertion(t, key, r.PostForm.Get("client_assertion")), nil, nil)
		answer("application/mission-status-response+jwt", "status")(w, r)
	})
	bearer := func(media, body, reply string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			got, _ := io.ReadAll(r.Body)
			if string(got) != body || r.Method != http.MethodPost {
				t.Errorf("%s %s %q", r.Method, r.URL, got)
			}
			check(assertion(t, key, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")), "POST", h.URL+r.URL.Path)
			answer(media, reply)(w, r)
		}
	}
	h.on("/projections", bearer("application/mission-projection+jwt", "request", "projection"))
	h.on("/receipts", bearer("application/cose", "receipt", "transparent"))
	h.on("/agreements", bearer("application/json", "events", "theirs"))
	h.on("/checkpoint", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("a public resource was asked for with a proof of identity")
		}
		answer("text/plain; charset=utf-8", "note")(w, r)
	})
	h.on("/v1/proofs/consistency", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "from=3&to=7" {
			t.Errorf("query %s", r.URL.RawQuery)
		}
		answer("application/json", fmt.Sprintf(`{"origin":"x","consistency_path":[%q]}`,
			hex.EncodeToString(make([]byte, ledger.HashSize))))(w, r)
	})
	ctx := t.Context()
	for _, got := range []struct {
		want string
		text func() (string, error)
	}{
		{"status", func() (string, error) { return c.Status(ctx, p, "msn_1", "n-1") }},
		{"projection", func() (string, error) { return c.Project(ctx, p, []byte("request")) }},
		{"transparent", func() (string, error) { b, err := c.Receive(ctx, p, "receipt"); return string(b), err }},
		{"theirs", func() (string, error) { b, err := c.Agree(ctx, p, []byte("events")); return string(b), err }},
		{"note", func() (string, error) { b, err := c.Checkpoint(ctx, p); return string(b), err }},
	} {
		if text, err := got.text(); err != nil || text != got.want {
			t.Errorf("got %q, %v, want %q", text, err, got.want)
		}
	}
	path, err := c.Consistency(ctx, p, 3, 7)
	if err != nil || len(path) != 1 || path[0] != (ledger.Hash{}) {
		t.Errorf("path %v, %v", path, err)
	}
	if n := h.count("/.well-known/mission-authority-server"); n != 1 {
		t.Errorf("metadata was read %d times", n)
	}
}

// TestSilenceAndRefusal: what comes back is an artifact, an unsigned refusal, or nothing that means anything.
func TestSilenceAndRefusal(t *testing.T) {
	const media = "application/mission-status-response+jwt"
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			io.WriteString(w, body)
		}
	}
	canary := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a redirect was followed")
	}))
	t.Cleanup(canary.Close)
	for name, tc := range map[string]struct {
		handle http.HandlerFunc
		status int // of a refusal; 0: silence
		code   string
	}{
		"401":              {status(401, `{"error":"unauthorized","error_description":"no"}`), 401, "unauthorized"},
		"404":              {status(404, `{"error":"not_found","error_description":"no"}`), 404, "not_found"},
		"409":              {status(409, `{"error":"limit","error_description":"no","mission_denial_reason":"fanout_exceeded"}`), 409, "limit"},
		"404 without code": {status(404, `<html>`), 404, ""},
		"code with a line": {status(404, "{\"error\":\"a\\nb\",\"error_description\":\"no\"}"), 404, ""},
		"long refusal":     {status(404, `{"error":"`+strings.Repeat("x", 1<<20)+`"}`), 404, ""},
		"429":              {status(429, `{}`), 0, ""},
		"500":              {status(500, `{}`), 0, ""},
		"503":              {status(503, `{}`), 0, ""},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, canary.URL, http.StatusTemporaryRedirect)
		}, 0, ""},
		"201":              {status(201, `{}`), 0, ""},
		"other media type": {answer("application/json", "{}"), 0, ""},
		"no media type":    {answer("", "x"), 0, ""},
		"too large":        {answer(media, strings.Repeat("x", federation.MaxArtifact+1)), 0, ""},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "x")
		}, 0, ""},
		"large header": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Large", strings.Repeat("x", 64<<10))
			answer(media, "x")(w, nil)
		}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.on("/status", tc.handle)
			_, err := newClient(t, federationtest.NewKey(t), true).Status(t.Context(), h.partner(), "msn_1", "n-1")
			refusal, refused := errors.AsType[*federation.PeerRefusal](err)
			switch {
			case tc.status == 0 && (!errors.Is(err, federation.ErrUnreachable) || refused):
				t.Errorf("got %v, want silence", err)
			case tc.status != 0 && (!refused || refusal.Status != tc.status || refusal.ErrorBody.Error != tc.code):
				t.Errorf("got %v, want %d %s", err, tc.status, tc.code)
			}
			if err != nil && strings.Contains(err.Error(), "n-1") {
				t.Errorf("the error quotes the request: %v", err)
			}
		})
	}
}

// TestMetadata: the document fills in endpoints of a known peer on the hosts of its record, and nothing else.
func TestMetadata(t *testing.T) {
	elsewhere := newHost(t)
	elsewhere.on("/status", func(http.ResponseWriter, *http.Request) { t.Error("a host outside the record was contacted") })
	for name, change := range map[string]func(map[string]any){
		"another issuer":      func(m map[string]any) { m["issuer"] = "https://a.example" },
		"issuer with a slash": func(m map[string]any) { m["issuer"] = m["issuer"].(string) + "/" },
		"another log":         func(m map[string]any) { m["mission_log_origin"] = "c.example/log/main" },
		"another version":     func(m map[string]any) { m["mission_federation_versions"] = []string{"2"} },
		"no such method":      func(m map[string]any) { m["mission_auth_methods_supported"] = []string{"tls_client_auth"} },
		"member missing":      func(m map[string]any) { delete(m, "mission_lifecycle_endpoint") },
		"miscased member":     func(m map[string]any) { m["Issuer"] = "https://a.example" },
		"another host":        func(m map[string]any) { m["mission_status_endpoint"] = elsewhere.URL + "/status" },
		"user in the URL": func(m map[string]any) {
			m["mission_status_endpoint"] = strings.Replace(m["issuer"].(string), "://", "://x@", 1) + "/status"
		},
		"query in the URL": func(m map[string]any) { m["mission_status_endpoint"] = m["issuer"].(string) + "/status?x=1" },
		"another scheme":   func(m map[string]any) { m["mission_status_endpoint"] = "file:///etc/passwd" },
		"not a URL":        func(m map[string]any) { m["mission_status_endpoint"] = "%" },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.on("/status", func(http.ResponseWriter, *http.Request) { t.Error("the endpoint was used") })
			change(h.metadata)
			_, err := newClient(t, federationtest.NewKey(t), true).Status(t.Context(), h.partner(), "msn_1", "n-1")
			if _, refused := errors.AsType[*federation.PeerRefusal](err); !errors.Is(err, federation.ErrUnreachable) || refused {
				t.Errorf("got %v, want silence", err)
			}
		})
	}
	t.Run("404", func(t *testing.T) { // nobody was asked about a Mission: this is no refusal to vouch for one
		h := newHost(t)
		h.on("/.well-known/mission-authority-server", http.NotFound)
		_, err := newClient(t, federationtest.NewKey(t), true).Status(t.Context(), h.partner(), "msn_1", "n-1")
		if _, refused := errors.AsType[*federation.PeerRefusal](err); !errors.Is(err, federation.ErrUnreachable) || refused {
			t.Errorf("got %v, want silence", err)
		}
	})
	t.Run("recovers", func(t *testing.T) {
		h := newHost(t)
		h.on("/status", answer("application/mission-status-response+jwt", "x"))
		good := h.metadata["issuer"]
		h.metadata["issuer"] = "https://a.example"
		c := newClient(t, federationtest.NewKey(t), true)
		if _, err := c.Status(t.Context(), h.partner(), "msn_1", "n-1"); err == nil {
			t.Fatal("used metadata of another issuer")
		}
		h.mu.Lock()
		h.metadata["issuer"] = good
		h.mu.Unlock()
		if _, err := c.Status(t.Context(), h.partner(), "msn_1", "n-1"); err != nil {
			t.Errorf("bad metadata was kept: %v", err)
		}
	})
}

// TestLoopbackIsForDevelopment: without the switch, neither plain HTTP nor a loopback address is ever contacted.
func TestLoopbackIsForDevelopment(t *testing.T) {
	h := newHost(t)
	_, err := newClient(t, federationtest.NewKey(t), false).Status(t.Context(), h.partner(), "msn_1", "n-1")
	if !errors.Is(err, federation.ErrUnreachable) || h.count("/.well-known/mission-authority-server") != 0 {
		t.Errorf("got %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{}, 1)
	go func() {
		if conn, err := listener.Accept(); err == nil {
			conn.Close()
			accepted <- struct{}{}
		}
	}()
	t.Cleanup(func() { listener.Close() })
	address := listener.Addr().String()
	for _, issuer := range []string{"https://" + address, "https://localhost:" + address[strings.LastIndex(address, ":")+1:]} {
		p := h.partner(func(p *federation.Peer) {
			p.Issuer, p.Hosts, p.AllowPrivate = issuer, []string{strings.TrimPrefix(issuer, "https://")}, true
		})
		if _, err := newClient(t, federationtest.NewKey(t), false).Checkpoint(t.Context(), p); !errors.Is(err, federation.ErrUnreachable) {
			t.Errorf("%s: got %v", issuer, err)
		}
	}
	select {
	case <-accepted:
		t.Error("a loopback address was dialled")
	default:
	}
}

// TestTimeout: a peer that never answers is silence, and the caller's deadline is kept.
func TestTimeout(t *testing.T) {
	h := newHost(t)
	release := make(chan struct{})
	h.on("/status", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := newClient(t, federationtest.NewKey(t), true).Status(ctx, h.partner(), "msn_1", "n-1")
	if !errors.Is(err, federation.ErrUnreachable) || time.Since(began) > 3*time.Second {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
}

func TestMalformedPath(t *testing.T) {
	for name, body := range map[string]string{
		"no path":    `{}`,
		"not hex":    `{"consistency_path":["zz"]}`,
		"short":      `{"consistency_path":["00"]}`,
		"too long":   `{"consistency_path":[` + strings.Repeat(`"00",`, 65) + `"00"]}`,
		"not JSON":   `[`,
		"duplicates": `{"consistency_path":[],"consistency_path":[]}`,
	} {
		h := newHost(t)
		h.on("/v1/proofs/consistency", answer("application/json", body))
		if _, err := newClient(t, federationtest.NewKey(t), true).Consistency(t.Context(), h.partner(), 1, 2); !errors.Is(err, federation.ErrUnreachable) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
