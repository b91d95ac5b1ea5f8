package httpapi

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/telemetry"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/epoch"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/registry"
	"github.com/mission-authority/mas/ledger/witness"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/custody"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/mission/missiontest"
)

const (
	testIssuer = "https://log.a.example"
	testOrigin = "log.a.example/log/1"
)

// began is when the tests start; the API starts then too.
var began = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// A clock is set by the test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A world is an API over a log in memory, with one principal for each role and a fake or real state owner.
type world struct {
	testing.TB
	api     *API
	log     *ledgertest.Log
	fake    *fakeMissions
	ended   endedMissions
	clock   *clock
	lines   *syncBuffer // what was logged
	metrics *telemetry.Registry
	issuer  *jws.Key
	store   *ledgertest.FaultStore
	rule    ledger.Producer // of the principal producer
	// statement signs the statements of the principal producer.
	statement ledger.Signer
	jti       int // assertions made
	moves     int // lifecycle requests made
}

// syncBuffer is a bytes.Buffer for concurrent use.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// principalsDocument describes one principal for each role; its id, client_id and key are named after the role.
func principalsDocument(t testing.TB) *authority.Principals {
	t.Helper()
	person := &mission.Principal{Iss: "https://id.a.example", Sub: "approver"}
	ceiling := mission.Raw{}
	var all []authority.Registration
	for _, role := range everyone {
		p := authority.Registration{ID: string(role), Kind: authority.KindService, ClientID: string(role),
			Roles: []authority.Role{role}, JWKS: keyDocument(t, string(role))}
		switch role {
		case authority.RoleApprover:
			p.Kind, p.Subject = authority.KindHuman, person
		case authority.RoleClient:
			var err error
			if ceiling, err = mission.RawOf([]mission.Entry{missiontest.Entry()}); err != nil {
				t.Fatal(err)
			}
			p.Subject, p.Ceiling = person, ceiling
			p.AuthoritySource = &authority.AuthoritySource{Type: mission.SourceUserDelegated, ID: "approver"}
		case authority.RolePEP:
			p.Audiences = []string{missiontest.Resource}
		case authority.RoleOperator:
			p.Roles = append(p.Roles, authority.RoleResume)
		}
		all = append(all, p)
	}
	text, err := mission.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	ps, err := authority.ParsePrincipals(text)
	if err != nil {
		t.Fatal(err)
	}
	return ps
}

func keyDocument(t testing.TB, name string) mission.Raw {
	t.Helper()
	text, err := missiontest.Keys(missiontest.Key(name)).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := mission.ParseRaw(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// directory is a fixed Directory.
type directory struct{ ps *authority.Principals }

func (d directory) Principals() *authority.Principals { return d.ps }

// newWorld starts a world with a fake state owner, two seconds after the API was made.
func newWorld(t testing.TB, edits ...func(*Config)) *world {
	t.Helper()
	w := &world{TB: t, clock: &clock{now: began}, fake: &fakeMissions{}, ended: endedMissions{}, lines: new(syncBuffer),
		metrics: telemetry.NewRegistry(), issuer: missiontest.Key("issuer")}
	keys := ledgertest.NewKeys(t, testOrigin)
	w.statement, w.rule = ledgertest.NewProducer(t, testIssuer+"/producers/producer", testEvidence)
	keys.Producers = []ledger.Producer{w.rule}
	w.store = ledgertest.NewFaultStore(ledgertest.NewStore())
	w.log = ledgertest.NewLog(t, ledgertest.Options{Keys: keys, Store: w.store, Now: w.clock.Now})
	c := w.config(directory{principalsDocument(t)})
	for _, edit := range edits {
		edit(&c)
	}
	w.start(c)
	return w
}

// config is a complete configuration with the fake state owner.
func (w *world) config(d Directory) Config {
	w.Helper()
	logger, err := telemetry.NewLogger(w.lines, "debug", "json")
	if err != nil {
		w.Fatal(err)
	}
	evidence, err := jws.NewKeySet(map[string]crypto.PublicKey{evidenceKID(w, w.log.Keys.EvidenceKey): w.log.Keys.EvidenceKey})
	if err != nil {
		w.Fatal(err)
	}
	receipt, err := ledger.NewKey(w.log.Keys.ReceiptKey)
	if err != nil {
		w.Fatal(err)
	}
	epochs, err := epoch.New(epoch.Config{Issuer: testIssuer, Origin: testOrigin, Log: w.log,
		Evidence: w.log.Keys.Evidence, Now: w.clock.Now, Logger: logger})
	if err != nil {
		w.Fatal(err)
	}
	keeper, err := custody.New(custody.Config{Issuer: testIssuer, Log: w.log, Vault: w.log, Evidence: w.log.Keys.Evidence,
		Missions: w.ended, Now: w.clock.Now, Logger: logger})
	if err != nil {
		w.Fatal(err)
	}
	witnesses, err := witness.NewServer(witness.ServerConfig{Name: "a.example/witness", Logger: logger, Now: w.clock.Now,
		Key: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), Dir: w.TempDir()})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { witnesses.Close() })
	registered, err := registry.New(registry.Config{
		Log: w.log, Evidence: w.log.Keys.Evidence, Rate: 100, Wait: time.Minute, Now: w.clock.Now,
		Observe: RegistrationOutcomes(w.metrics), Check: checkTestEvidence,
	})
	if err != nil {
		w.Fatal(err)
	}
	return Config{Witness: witnesses,
		Registry: registered,
		Issuer:   testIssuer, Shard: "1", LogOrigin: testOrigin, Missions: w.fake, Peers: w.fake, Directory: d, Log: w.log,
		Custody: keeper, Epochs: epochs, Evidence: w.log.Keys.Evidence,
		Receipts: w.log.Keys.Receipt,
		Published: Published{
			Issuer: missiontest.Keys(w.issuer), Governance: missiontest.Keys(missiontest.Key("governance")),
			Evidence: evidence, Receipts: ledger.KeySet{receipt}, VKey: w.log.Keys.VKey,
			MaxStale: time.Minute,
		},
		Rate: 1000, Body: 4 << 10, Metrics: w.metrics, ServeMetrics: true, Now: w.clock.Now, Logger: logger,
	}
}

func (w *world) start(c Config) {
	w.Helper()
	var err error
	if w.api, err = New(c); err != nil {
		w.Fatal(err)
	}
	w.clock.Advance(2 * time.Second)
}

// claims returns good claims of a principal for a request; htm and htu only if method is not "".
func (w *world) claims(role, method, path string) map[string]any {
	w.jti++
	now := w.clock.Now().Unix()
	c := map[string]any{"iss": role, "sub": role, "aud": testIssuer, "iat": now, "exp": now + 30,
		"jti": "jti-" + strconv.Itoa(w.jti)}
	if method != "" {
		c["htm"], c["htu"] = method, testIssuer+path
	}
	return c
}

// sign signs claims with the key of a principal.
func (w *world) sign(role string, typ jws.Typ, claims map[string]any) string {
	w.Helper()
	payload, err := mission.Marshal(claims)
	if err != nil {
		w.Fatal(err)
	}
	token, err := jws.Sign(w.Context(), missiontest.Key(role), typ, payload)
	if err != nil {
		w.Fatal(err)
	}
	return token
}

// bearer is a good assertion for a request.
func (w *world) bearer(role, method, path string) string {
	w.Helper()
	path, _, _ = strings.Cut(path, "?")
	return "Bearer " + w.sign(role, jws.TypClientAuthentication, w.claims(role, method, path))
}

// form adds a good assertion of the role to a form.
func (w *world) form(role string, fields url.Values) url.Values {
	w.Helper()
	out := url.Values{"client_assertion_type": {assertionType},
		"client_assertion": {w.sign(role, jws.TypClientAuthentication, w.claims(role, "", ""))}}
	for name, values := range fields {
		out[name] = values
	}
	return out
}

// do sends a request as it is.
func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	w.Helper()
	out := httptest.NewRecorder()
	w.api.ServeHTTP(out, r)
	return out
}

// get sends an authenticated GET, or an anonymous one if role is "".
func (w *world) get(role, path string) *httptest.ResponseRecorder {
	w.Helper()
	r := httptest.NewRequestWithContext(w.Context(), http.MethodGet, path, nil)
	if role != "" {
		r.Header.Set("Authorization", w.bearer(role, http.MethodGet, path))
	}
	return w.do(r)
}

// post sends an authenticated POST with a body of the media type.
func (w *world) post(role, path, mediaType, body string) *httptest.ResponseRecorder {
	w.Helper()
	r := httptest.NewRequestWithContext(w.Context(), http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", mediaType)
	if role != "" {
		r.Header.Set("Authorization", w.bearer(role, http.MethodPost, path))
	}
	return w.do(r)
}

// postForm sends a form with a good assertion in it.
func (w *world) postForm(role, path string, fields url.Values) *httptest.ResponseRecorder {
	w.Helper()
	r := httptest.NewRequestWithContext(w.Context(), http.MethodPost, path, strings.NewReader(w.form(role, fields).Encode()))
	r.Header.Set("Content-Type", mediaForm)
	return w.do(r)
}

// expect fails unless the response has the status, and returns its body.
func (w *world) expect(r *httptest.ResponseRecorder, status int) []byte {
	w.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.Fatal(err)
	}
	if r.Code != status {
		w.Fatalf("status %d, want %d: %.300s", r.Code, status, body)
	}
	return body
}

// fakeMissions records what reached the state owner and answers with what the test set.
type fakeMissions struct {
	mu      sync.Mutex
	calls   []string
	refused []string
	bodies  [][]byte
	err     error
	panics  bool
	stopped bool
	status  authority.StatusQuery
	life    authority.LifecycleRequest
}

func (f *fakeMissions) called(name string, c authority.Caller, body []byte) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name+" by "+c.ID)
	f.bodies = append(f.bodies, body)
	if f.panics {
		panic("body: " + string(body))
	}
	return []byte(`{"ok":true}`), f.err
}

func (f *fakeMissions) Submit(_ context.Context, c authority.Caller, body []byte) ([]byte, error) {
	return f.called("submit", c, body)
}

func (f *fakeMissions) Poll(_ context.Context, c authority.Caller, id string) ([]byte, error) {
	return f.called("poll "+id, c, nil)
}

func (f *fakeMissions) Queue(_ context.Context, c authority.Caller) ([]byte, error) {
	return f.called("queue", c, nil)
}

func (f *fakeMissions) Review(_ context.Context, c authority.Caller, id string) ([]byte, error) {
	return f.called("review "+id, c, nil)
}

func (f *fakeMissions) Decide(_ context.Context, c authority.Caller, id string, body []byte) ([]byte, error) {
	return f.called("decide "+id, c, body)
}

func (f *fakeMissions) Status(_ context.Context, c authority.Caller, q authority.StatusQuery) (string, error) {
	_, err := f.called("status", c, nil)
	f.status = q
	return "a.b.c", err
}

func (f *fakeMissions) Lifecycle(_ context.Context, c authority.Caller, q authority.LifecycleRequest) (
	authority.LifecycleAnswer, error) {
	_, err := f.called("lifecycle", c, nil)
	f.life = q
	return authority.LifecycleAnswer{Token: "a.b.c", Stopped: f.stopped}, err
}

func (f *fakeMissions) Refused(_ context.Context, c authority.Caller, operation, _ string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	code := "?"
	if e, ok := errors.AsType[*authority.Error](err); ok {
		code = e.Code
	}
	f.refused = append(f.refused, operation+" "+c.ID+" "+code)
}

func (f *fakeMissions) Agree(_ context.Context, c authority.Caller, body []byte) ([]byte, error) {
	return f.called("agree", c, body)
}

func (f *fakeMissions) Introduce(_ context.Context, c authority.Caller, body []byte) ([]byte, error) {
	return f.called("introduce", c, body)
}

func (f *fakeMissions) Project(_ context.Context, c authority.Caller, body []byte) (string, error) {
	_, err := f.called("project", c, body)
	return "a.b.c", err
}

func (f *fakeMissions) Mint(_ context.Context, c authority.Caller, body []byte) ([]byte, bool, error) {
	out, err := f.called("mint", c, body)
	return out, true, err
}

func (f *fakeMissions) Receive(_ context.Context, c authority.Caller, token string) ([]byte, error) {
	return f.called("receive", c, []byte(token))
}

func evidenceKID(t testing.TB, public crypto.PublicKey) string {
	t.Helper()
	kid, err := ledger.KeyThumbprint(public)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(kid)
}
