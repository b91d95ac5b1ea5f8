package httpapi

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mission-authority/mas/cmd/internal/telemetry"
	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
)

var update = flag.Bool("update", false, "rewrite golden files")

// configForTest is the configuration a new API may be made of after a restart.
func (a *API) configForTest() Config {
	c := a.config
	c.Metrics = telemetry.NewRegistry()
	return c
}

// TestRouteTable holds the surface against a file, so that nobody widens it by accident.
func TestRouteTable(t *testing.T) {
	w := newWorld(t)
	surfaces := []string{"problem", "mission", "federation", "cose"}
	var b strings.Builder
	for _, r := range w.api.routes {
		who := "public"
		if !r.public {
			var names []string
			for _, role := range r.roles {
				names = append(names, string(role))
			}
			who = strings.Join(names, ",")
			if len(r.roles) == len(everyone) {
				who = "any role"
			}
		}
		media := r.media
		if media == "" {
			media = "-"
		}
		if r.batch != "" {
			media += fmt.Sprintf(" or %s %d", r.batch, r.most)
		}
		fmt.Fprintf(&b, "%-4s %-60s %-10s %-10s %6d %s\n", r.method, r.path, who, surfaces[r.surface], r.limit, media)
	}
	golden := filepath.Join("testdata", "routes.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the routes are not those of %s; got:\n%s", golden, b.String())
	}
}

func TestRouteWithoutGrantIsRefused(t *testing.T) {
	w := newWorld(t)
	w.api.routes = append(w.api.routes, route{method: http.MethodGet, path: "/x",
		run: func(*call) (reply, error) { return reply{}, nil }})
	if err := w.api.build(); err == nil {
		t.Error("a route without roles was put on the engine")
	}
}

func TestIncompleteConfiguration(t *testing.T) {
	w := newWorld(t)
	for name, edit := range map[string]func(*Config){
		"issuer":    func(c *Config) { c.Issuer = "" },
		"log":       func(c *Config) { c.Log = nil },
		"rate":      func(c *Config) { c.Rate = 0 },
		"keys":      func(c *Config) { c.Published.Issuer = nil },
		"vkey":      func(c *Config) { c.Published.VKey = "" },
		"receipts":  func(c *Config) { c.Receipts = w.log.Keys.Evidence }, // not a published key
		"directory": func(c *Config) { c.Directory = nil },
	} {
		c := w.api.configForTest()
		edit(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestErrors renders every kind of refusal on every surface.
func TestErrors(t *testing.T) {
	w := newWorld(t)
	kinds := []error{
		&authority.Error{Kind: authority.Invalid, Code: "invalid_request", Description: "malformed", Reason: "nonce"},
		&authority.Error{Kind: authority.Unauthorized, Code: "unauthorized", Description: "who are you"},
		&authority.Error{Kind: authority.Forbidden, Code: "access_denied", Description: "no"},
		&authority.Error{Kind: authority.NotFound, Code: "not_found", Description: "no such resource"},
		&authority.Error{Kind: authority.Conflict, Code: "stale_version", Description: "moved"},
		&authority.Error{Kind: authority.RateLimited, Code: "rate_limited", Description: "slow", RetryAfter: 1500 * time.Millisecond},
		&authority.Error{Kind: authority.Unavailable, Code: "unavailable", Description: "later", RetryAfter: time.Second},
		fmt.Errorf("wrapped: %w", &authority.Error{Kind: authority.Conflict, Code: "conflict", Description: "no"}),
		errTooLarge, errMediaType, errMethod, errErased,
		&federation.Refusal{Code: federation.CodeInvalidProjection, Reason: federation.ReasonBadSignature},
		&federation.Refusal{Code: federation.CodeAuthorityUnsupported, Reason: federation.ReasonUnknownEntry},
		&federation.Refusal{Code: federation.CodeLimit},
		&federation.Refusal{Code: federation.CodeUnavailable, Reason: federation.ReasonUpstreamUnverified},
	}
	var b strings.Builder
	for _, s := range []surface{surfaceOurs, surfaceMission, surfaceFederation, surfaceCOSE} {
		for _, err := range kinds {
			out := w.api.refuse(s, err, "nonce-1")
			body := string(out.body)
			if s == surfaceCOSE {
				body = fmt.Sprintf("%x", out.body)
			}
			fmt.Fprintf(&b, "%d %s %v %s\n", out.status, out.contentType, out.header, body)
		}
	}
	golden := filepath.Join("testdata", "errors.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("errors are not those of %s; got:\n%s", golden, b.String())
	}
}

// TestFailuresOfOurs: what is not a refusal tells an id to the caller and the cause to the log.
func TestFailuresOfOurs(t *testing.T) {
	w := newWorld(t)
	w.fake.err = errors.New("the disk is on fire")
	for range 2 {
		body := string(w.expect(w.get("approver", "/mas/review"), http.StatusInternalServerError))
		if strings.Contains(body, "fire") || !strings.Contains(body, `"id":"`) {
			t.Errorf("the caller learns: %s", body)
		}
		id := strings.Split(strings.Split(body, `"id":"`)[1], `"`)[0]
		if logged := w.lines.String(); !strings.Contains(logged, id) || !strings.Contains(logged, "the disk is on fire") {
			t.Errorf("the log lacks the incident %s: %s", id, logged)
		}
		w.fake.panics = true
	}
	if !strings.Contains(w.lines.String(), "panic in a handler") {
		t.Error("the panic was not logged")
	}
}

func TestHostileBodies(t *testing.T) {
	w := newWorld(t)
	const limit = 4 << 10
	form := func(fields string) func() *http.Request {
		return func() *http.Request {
			r := httptest.NewRequest(http.MethodPost, "/mas/missions/status", strings.NewReader(
				fields+"&"+w.form("client", nil).Encode()))
			r.Header.Set("Content-Type", mediaForm)
			return r
		}
	}
	js := func(edit func(*http.Request)) func() *http.Request {
		return func() *http.Request {
			r := httptest.NewRequest(http.MethodPost, "/v1/bundles", strings.NewReader(`{"query":{"mission":"msn_x"}}`))
			r.Header.Set("Content-Type", mediaJSON)
			r.Header.Set("Authorization", w.bearer("auditor", http.MethodPost, "/v1/bundles"))
			edit(r)
			return r
		}
	}
	body := func(text string) func() *http.Request {
		return js(func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		})
	}
	for name, tc := range map[string]struct {
		request func() *http.Request
		status  int
		code    string
	}{
		"good form":         {form("mission_id=m&nonce=n"), 200, ""},
		"no nonce":          {form("mission_id=m"), 400, "invalid_request"},
		"empty nonce":       {form("mission_id=m&nonce="), 400, "invalid_request"},
		"empty optional":    {form("mission_id=m&nonce=n&audience="), 400, "invalid_request"},
		"duplicate name":    {form("mission_id=m&nonce=n&nonce=n"), 400, "invalid_request"},
		"duplicate escaped": {form("mission_id=m&nonce=n&non%63e=n"), 400, "invalid_request"},
		"unknown name":      {form("mission_id=m&nonce=n&x=1"), 400, "invalid_request"},
		"miscased name":     {form("Mission_id=m&nonce=n"), 400, "invalid_request"},
		"semicolons":        {form("mission_id=m;nonce=n"), 400, "invalid_request"},
		"bad escape":        {form("mission_id=%zz&nonce=n"), 400, "invalid_request"},
		"invalid UTF-8":     {form("mission_id=%ff&nonce=n"), 400, "invalid_request"},
		"NUL":               {form("mission_id=a%00b&nonce=n"), 400, "invalid_request"},
		"many names":        {form(strings.Repeat("&a=1", 40) + "&mission_id=m&nonce=n"), 400, "invalid_request"},
		"oversize form":     {form("mission_id=" + strings.Repeat("m", limit) + "&nonce=n"), 400, "invalid_request"},
		"form with a query": {func() *http.Request { r := form("mission_id=m&nonce=n")(); r.URL.RawQuery = "a=1"; return r }, 400, "invalid_request"},
		"form as JSON": {func() *http.Request {
			r := form("mission_id=m&nonce=n")()
			r.Header.Set("Content-Type", mediaJSON)
			return r
		}, 400, "invalid_request"},
		"no content type":    {js(func(r *http.Request) { r.Header.Del("Content-Type") }), 415, "unsupported_media_type"},
		"two content types":  {js(func(r *http.Request) { r.Header.Add("Content-Type", mediaJSON) }), 415, "unsupported_media_type"},
		"text":               {js(func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }), 415, "unsupported_media_type"},
		"another charset":    {js(func(r *http.Request) { r.Header.Set("Content-Type", mediaJSON+"; charset=utf-16") }), 415, "unsupported_media_type"},
		"charset is fine":    {js(func(r *http.Request) { r.Header.Set("Content-Type", mediaJSON+"; charset=UTF-8") }), 404, "not_found"},
		"compressed":         {js(func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }), 415, "unsupported_media_type"},
		"announced oversize": {js(func(r *http.Request) { r.ContentLength = limit + 1 }), 413, "body_too_large"},
		"streamed oversize": {js(func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat(" ", limit+1))), -1
		}), 413, "body_too_large"},
		"duplicate member":  {body(`{"query":{"mission":"msn_x","mission":"msn_y"}}`), 400, "invalid_request"},
		"escaped duplicate": {body(`{"query":{"mission":"msn_x","m\u0069ssion":"msn_y"}}`), 400, "invalid_request"},
		"miscased member":   {body(`{"query":{"Mission":"msn_x"}}`), 400, "invalid_request"},
		"unknown member":    {body(`{"query":{"mission":"msn_x"},"x":1}`), 400, "invalid_request"},
		"trailing data":     {body(`{"query":{"mission":"msn_x"}} {}`), 400, "invalid_request"},
		"wrong type":        {body(`{"query":{"mission":1}}`), 400, "invalid_request"},
		"deep":              {body(strings.Repeat("[", 1000)), 400, "invalid_request"},
		"empty body":        {body(``), 400, "invalid_request"},
		"a list":            {body(`[]`), 400, "invalid_request"},
		"byte order mark":   {body("\xef\xbb\xbf" + `{"query":{"mission":"msn_x"}}`), 400, "invalid_request"},
		"lone surrogate":    {body(`{"query":{"mission":"\ud800"}}`), 400, "invalid_request"},
		"unknown mission":   {body(`{"query":{"mission":"` + string(mission.NewMissionID()) + `"}}`), 404, "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			w.fake.refused = nil
			got := w.do(tc.request())
			text := got.Body.String()
			if got.Code != tc.status || tc.code != "" && !strings.Contains(text, `"`+tc.code+`"`) {
				t.Errorf("%d %s, want %d %s", got.Code, text, tc.status, tc.code)
			}
			if got.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("Cache-Control %q", got.Header().Get("Cache-Control"))
			}
		})
	}
}

// TestMalformedRequestsAreRecorded: a known caller's malformed request is evidence, whoever noticed it.
func TestMalformedRequestsAreRecorded(t *testing.T) {
	w := newWorld(t)
	w.expect(w.postForm("client", "/mas/missions/status", url.Values{"mission_id": {"m"}}), http.StatusBadRequest)
	w.expect(w.post("auditor", "/v1/bundles", mediaJSON, `{`), http.StatusBadRequest)
	w.expect(w.post("auditor", "/v1/bundles", "text/plain", `{}`), http.StatusUnsupportedMediaType)
	want := "POST /mas/missions/status client invalid_request; POST /v1/bundles auditor invalid_request; " +
		"POST /v1/bundles auditor unsupported_media_type"
	if got := strings.Join(w.fake.refused, "; "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestBodiesArriveAsSent: what the state owner hashes is what the caller sent, octet for octet.
func TestBodiesArriveAsSent(t *testing.T) {
	w := newWorld(t)
	const body = "{ \"intent\" : {\"goal\":\"\\u00e4\"}, \"z\":1.0 }\n"
	w.expect(w.post("client", "/mas/submissions", mediaJSON, body), http.StatusAccepted)
	w.expect(w.post("approver", "/mas/review/sub_1/decision", mediaJSON, body), http.StatusOK)
	w.expect(w.post("peer", "/federation/v1/agreements", mediaJSON, body), http.StatusOK)
	w.expect(w.post("peer", "/federation/v1/receipts", derivationReceipt, "a.b.c"), http.StatusOK)
	for i, want := range []string{body, body, body, "a.b.c"} {
		if string(w.fake.bodies[i]) != want {
			t.Errorf("%s got %q", w.fake.calls[i], w.fake.bodies[i])
		}
	}
	large := `{"x":"` + strings.Repeat("y", 15<<10) + `"}`
	w.expect(w.post("client", "/mas/submissions", mediaJSON, large), http.StatusAccepted) // four times the limit
	refused := string(w.expect(w.post("client", "/mas/submissions", mediaJSON, large+large), http.StatusBadRequest))
	if !strings.Contains(refused, `"error":"invalid_mission_intent"`) || !strings.Contains(refused, `"body_too_large"`) {
		t.Errorf("an oversize submission answers %s", refused)
	}
}

func TestStatusAndLifecycle(t *testing.T) {
	w := newWorld(t)
	got := w.postForm("pep", "/mas/missions/status", url.Values{"mission_id": {"msn_1"}, "nonce": {"n 1"}, "audience": {"https://r"}})
	w.expect(got, http.StatusOK)
	if got.Header().Get("Content-Type") != "application/mission-status-response+jwt" ||
		got.Header().Get("Cache-Control") != "no-store" || got.Header().Get("Pragma") != "no-cache" {
		t.Errorf("headers %v", got.Header())
	}
	if w.fake.status != (authority.StatusQuery{MissionID: "msn_1", Audience: "https://r", Nonce: "n 1"}) {
		t.Errorf("asked %+v", w.fake.status)
	}

	fields := url.Values{"mission_id": {"msn_1"}, "operation": {"suspend"}, "nonce": {"n"}, "reason": {"why"},
		"suspend_until": {"2026-12-02T00:00:00Z"}, "on_expiry": {"revoke"}, "expected_version": {"7"}}
	w.expect(w.postForm("operator", "/mas/missions/lifecycle", fields), http.StatusOK)
	q := w.fake.life
	if q.Operation != mission.OpSuspend || q.OnExpiry != mission.OpRevoke || q.ExpectedVersion == nil || *q.ExpectedVersion != 7 ||
		q.Reason != "why" || q.SuspendUntil != "2026-12-02T00:00:00Z" {
		t.Errorf("asked %+v", q)
	}
	for _, bad := range []string{"07", "-1", "1.0", "9007199254740993", "x"} {
		fields.Set("expected_version", bad)
		w.expect(w.postForm("operator", "/mas/missions/lifecycle", fields), http.StatusBadRequest)
	}
	w.fake.stopped = true
	fields.Del("expected_version")
	body := string(w.expect(w.postForm("operator", "/mas/missions/lifecycle", fields), http.StatusOK))
	if body != `{"mission_id":"msn_1","operation":"suspend","publication":"pending"}` {
		t.Errorf("an emergency stop answers %s", body)
	}
}

// TestNonceInErrors: a well-formed nonce is repeated, another one is not.
func TestNonceInErrors(t *testing.T) {
	w := newWorld(t)
	w.fake.err = &authority.Error{Kind: authority.Conflict, Code: "stale_version", Description: "moved"}
	for nonce, want := range map[string]string{"n-1": `"nonce":"n-1"`, "n 1": ``} {
		body := string(w.expect(w.postForm("pep", "/mas/missions/status", url.Values{"mission_id": {"m"}, "nonce": {nonce}}), 409))
		if got := strings.Contains(body, `"nonce"`); got != (want != "") || !strings.Contains(body, want) {
			t.Errorf("%q: %s", nonce, body)
		}
	}
}

func TestMethods(t *testing.T) {
	w := newWorld(t)
	got := w.do(httptest.NewRequest(http.MethodGet, "/mas/missions/status", nil))
	if got.Code != http.StatusMethodNotAllowed || got.Header().Get("Allow") != http.MethodPost {
		t.Errorf("%d, Allow %q", got.Code, got.Header().Get("Allow"))
	}
	for _, path := range []string{"/", "/mas/review/", "//mas/review", "/mas/../mas/review", "/MAS/review", "/log/2/checkpoint",
		"/log/1/", "/log/1/tile/0/", "/.well-known/jwks.json/x"} {
		if got := w.do(httptest.NewRequest(http.MethodGet, "http://x"+path, nil)); got.Code != http.StatusNotFound && got.Code != 401 {
			t.Errorf("%s: %d", path, got.Code)
		}
	}
}

func TestReadiness(t *testing.T) {
	reasons := []string(nil)
	w := newWorld(t, func(c *Config) { c.Ready = func() []string { return reasons } })
	ready := func(status int, want string) {
		t.Helper()
		if body := string(w.expect(w.get("", "/readyz"), status)); body != want {
			t.Errorf("got %s", body)
		}
	}
	ready(200, `{"status":"ready"}`)
	w.expect(w.get("", "/healthz"), 200)
	reasons = []string{"recovering"}
	ready(503, `{"reasons":["recovering"],"status":"not_ready"}`)
	reasons = nil

	latched := w.api.configForTest()
	latched.Log = unhealthy{w.log, ledger.Health{Integrity: &ledger.Latch{Code: "row_hash_mismatch"}, Write: &ledger.Latch{Code: "no_space"}}}
	var err error
	if w.api, err = New(latched); err != nil {
		t.Fatal(err)
	}
	ready(503, `{"reasons":["starting","integrity:row_hash_mismatch","write:no_space"],"status":"not_ready"}`)
	if at := w.api.ReadyAt(); !at.Equal(w.clock.Now().Add(time.Second)) {
		t.Errorf("ready at %v", at)
	}
}

// unhealthy is a log with closed latches.
type unhealthy struct {
	ledger.Log
	health ledger.Health
}

func (u unhealthy) Health() ledger.Health { return u.health }

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	w.get("", "/healthz")
	w.get("", "/no/such/path/hunter2")
	body := string(w.expect(w.get("", "/metrics"), 200))
	for _, want := range []string{
		`mas_http_requests_total{route="GET /healthz",status="200"} 1`,
		`mas_http_requests_total{route="other",status="404"} 1`,
		`mas_http_request_seconds_count{route="GET /healthz"} 1`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("lacks %s", want)
		}
	}
	rec := httptest.NewRecorder()
	w.api.MetricsHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != 200 || !strings.Contains(rec.Body.String(), "mas_http_requests_total") {
		t.Errorf("own listener: %d", rec.Code)
	}
	hidden := w.api.configForTest()
	hidden.ServeMetrics = false
	var err error
	if w.api, err = New(hidden); err != nil {
		t.Fatal(err)
	}
	w.expect(w.get("", "/metrics"), http.StatusNotFound)
}

// TestServer talks to a real listener: the limits that only net/http can hold.
func TestServer(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewUnstartedServer(nil)
	server.Config = NewServer(w.api, w.api.log)
	server.Start()
	defer server.Close()
	r, err := http.Get(server.URL + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != 200 || r.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Large", strings.Repeat("x", maxHeaderBytes*2))
	if r, err = http.DefaultClient.Do(request); err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("large header: %d", r.StatusCode)
	}
}

// TestSlowClients: whoever sends slower than a person would type loses the connection, before and after its headers,
// and an idle connection does not stay.
//
// Audit rows: 150.
func TestSlowClients(t *testing.T) {
	const head = "POST /mas/submissions HTTP/1.1\r\nHost: a\r\n"
	for name, c := range map[string]struct {
		sends string // at once; nothing follows
		until time.Duration
	}{
		"nothing":      {"", headerTimeout},
		"half a head":  {head, headerTimeout},
		"half a body":  {head + "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{", readTimeout},
		"idle":         {"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", idleTimeout},
		"half a chunk": {head + "Transfer-Encoding: chunked\r\n\r\n40\r\n{", readTimeout},
	} {
		api := newWorld(t).api
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pipes := make(pipeListener, 1)
				server := NewServer(api, slog.New(slog.DiscardHandler))
				done := make(chan error, 1)
				go func() { done <- server.Serve(pipes) }()
				client, connection := net.Pipe()
				pipes <- connection
				go func() { _, _ = io.WriteString(client, c.sends) }()
				began := time.Now()
				_, err := io.Copy(io.Discard, client) // until the server closes
				if took := time.Since(began); err != nil || took > c.until+time.Second {
					t.Errorf("closed after %s, want %s: %v", took, c.until, err)
				}
				if err := errors.Join(server.Close(), client.Close()); err != nil {
					t.Error(err)
				}
				if err := <-done; !errors.Is(err, http.ErrServerClosed) {
					t.Error(err)
				}
			})
		})
	}
}

// A pipeListener accepts the connections that are sent to it.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l pipeListener) Close() error   { close(l); return nil }
func (l pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// FuzzForm: no body panics, and what is accepted says every name once.
func FuzzForm(f *testing.F) {
	f.Add([]byte("mission_id=m&nonce=n"))
	f.Add([]byte("a=1&a=2"))
	f.Add([]byte("%00=%ff&;"))
	f.Fuzz(func(t *testing.T, body []byte) {
		form, err := parseForm(body)
		if err != nil {
			return
		}
		for name, values := range form {
			if len(values) != 1 {
				t.Errorf("%q has %d values", name, len(values))
			}
		}
		if again, err := parseForm([]byte(form.Encode())); err != nil || len(again) != len(form) {
			t.Errorf("not stable: %v", err)
		}
	})
}
