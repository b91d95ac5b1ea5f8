package httpapi

import (
	"bytes"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/mission/missiontest"
)

// response is everything of a response that a caller can compare.
func response(r *httptest.ResponseRecorder) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r.Header())) {
		b.WriteString(name + ": " + strings.Join(r.Header()[name], ", ") + "\n")
	}
	return http.StatusText(r.Code) + "\n" + b.String() + "\n" + r.Body.String()
}

// TestAssertionsRefused changes one thing about a good assertion in each case. All refusals look the same; the metric
// knows why.
func TestAssertionsRefused(t *testing.T) {
	const path = "/mas/review"
	for _, tc := range []struct {
		name   string
		reason string
		edit   func(w *world, c map[string]any)
	}{
		{"another audience", authClaims, func(_ *world, c map[string]any) { c["aud"] = "https://other.example" }},
		{"the endpoint as audience", authClaims, func(_ *world, c map[string]any) { c["aud"] = testIssuer + path }},
		{"several audiences", authMalformed, func(_ *world, c map[string]any) { c["aud"] = []string{testIssuer} }},
		{"no audience", authMalformed, func(_ *world, c map[string]any) { delete(c, "aud") }},
		{"unknown issuer", authUnknown, func(_ *world, c map[string]any) { c["iss"], c["sub"] = "nobody", "nobody" }},
		{"another's name", authSignature, func(_ *world, c map[string]any) { c["iss"], c["sub"] = "auditor", "auditor" }},
		{"another subject", authClaims, func(_ *world, c map[string]any) { c["sub"] = "auditor" }},
		{"expired", authTime, func(w *world, c map[string]any) { c["exp"] = w.clock.Now().Unix() }},
		{"too long", authTime, func(w *world, c map[string]any) { c["exp"] = w.clock.Now().Unix() + 61 }},
		{"from the future", authTime, func(w *world, c map[string]any) { c["iat"] = w.clock.Now().Unix() + 1 }},
		{"from before the start", authTime, func(_ *world, c map[string]any) { c["iat"] = began.Unix() - 1 }},
		{"from the second of the start", authTime, func(_ *world, c map[string]any) { c["iat"] = began.Unix() }},
		{"expires before it is issued", authTime, func(w *world, c map[string]any) { c["exp"] = w.clock.Now().Unix() - 5 }},
		{"no exp", authMalformed, func(_ *world, c map[string]any) { delete(c, "exp") }},
		{"no iat", authMalformed, func(_ *world, c map[string]any) { delete(c, "iat") }},
		{"fraction", authMalformed, func(w *world, c map[string]any) { c["iat"] = float64(w.clock.Now().Unix()) + 0.5 }},
		{"no jti", authMalformed, func(_ *world, c map[string]any) { delete(c, "jti") }},
		{"empty jti", authClaims, func(_ *world, c map[string]any) { c["jti"] = "" }},
		{"jti with a space", authClaims, func(_ *world, c map[string]any) { c["jti"] = "a b" }},
		{"long jti", authClaims, func(_ *world, c map[string]any) { c["jti"] = strings.Repeat("x", 256) }},
		{"no method", authBinding, func(_ *world, c map[string]any) { delete(c, "htm") }},
		{"no URL", authBinding, func(_ *world, c map[string]any) { delete(c, "htu") }},
		{"another method", authBinding, func(_ *world, c map[string]any) { c["htm"] = "POST" }},
		{"another path", authBinding, func(_ *world, c map[string]any) { c["htu"] = testIssuer + path + "/x" }},
		{"another host", authBinding, func(_ *world, c map[string]any) { c["htu"] = "https://other.example" + path }},
		{"miscased claim", authMalformed, func(_ *world, c map[string]any) { c["ISS"] = "approver" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			want := response(w.get("", path))
			claims := w.claims("approver", http.MethodGet, path)
			tc.edit(w, claims)
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set("Authorization", "Bearer "+w.sign("approver", jws.TypClientAuthentication, claims))
			got := w.do(r)
			if got.Code != http.StatusUnauthorized || response(got) != want {
				t.Errorf("got:\n%s\nwant:\n%s", response(got), want)
			}
			if n := w.api.failures.Value(tc.reason); n != 1 {
				t.Errorf("reason %q was counted %d times", tc.reason, n)
			}
			if len(w.fake.calls) > 0 || len(w.fake.refused) > 0 {
				t.Errorf("an unknown caller reached %v, %v", w.fake.calls, w.fake.refused)
			}
		})
	}
}

// TestGoodAssertion: without it the table above would prove nothing.
func TestGoodAssertion(t *testing.T) {
	w := newWorld(t)
	w.expect(w.get("approver", "/mas/review"), http.StatusOK)
	w.expect(w.get("approver", "/mas/review/sub_1"), http.StatusOK)
	if got := strings.Join(w.fake.calls, "; "); got != "queue by approver; review sub_1 by approver" {
		t.Errorf("calls: %s", got)
	}
}

func TestTokensOfOtherKinds(t *testing.T) {
	w := newWorld(t)
	good := w.claims("approver", http.MethodGet, "/mas/review")
	wrongTyp := w.sign("approver", jws.TypStatus, good)
	right := w.sign("approver", jws.TypClientAuthentication, good)
	for name, field := range map[string]string{
		"another typ":       "Bearer " + wrongTyp,
		"basic":             "Basic YTpi",
		"no scheme":         right,
		"another scheme":    "DPoP " + right,
		"empty":             "Bearer ",
		"not a token":       "Bearer x.y.z",
		"trailing newline":  "Bearer " + right + "\n",
		"two spaces":        "Bearer  " + right,
		"another signature": "Bearer " + right[:len(right)-8] + "AAAAAAAA",
		"oversize":          "Bearer " + strings.Repeat("a", maxAssertion+1),
	} {
		r := httptest.NewRequest(http.MethodGet, "/mas/review", nil)
		r.Header["Authorization"] = []string{field}
		if got := w.do(r); got.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got.Code)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/mas/review", nil)
	r.Header.Set("Authorization", "bearer "+right) // schemes are case-insensitive; the token was not consumed above
	w.expect(w.do(r), http.StatusOK)
}

func TestAssertionWorksOnce(t *testing.T) {
	w := newWorld(t)
	field := w.bearer("approver", http.MethodGet, "/mas/review")
	send := func() int {
		r := httptest.NewRequest(http.MethodGet, "/mas/review", nil)
		r.Header.Set("Authorization", field)
		return w.do(r).Code
	}
	if first, second := send(), send(); first != http.StatusOK || second != http.StatusUnauthorized {
		t.Errorf("first use %d, second use %d", first, second)
	}
	// The same jti in another assertion of the caller is the same jti.
	claims := w.claims("approver", http.MethodGet, "/mas/review")
	claims["jti"], claims["exp"] = "jti-1", w.clock.Now().Unix()+7
	r := httptest.NewRequest(http.MethodGet, "/mas/review", nil)
	r.Header.Set("Authorization", "Bearer "+w.sign("approver", jws.TypClientAuthentication, claims))
	if got := w.do(r); got.Code != http.StatusUnauthorized {
		t.Errorf("a jti worked twice: %d", got.Code)
	}
	if w.api.failures.Value(authReplayed) != 2 {
		t.Error("the replays were not counted")
	}
}

// TestRestartForgetsNothing: an assertion used before a restart is refused after it, although no jti was stored.
func TestRestartForgetsNothing(t *testing.T) {
	w := newWorld(t)
	field := w.bearer("approver", http.MethodGet, "/mas/review")
	send := func() int {
		r := httptest.NewRequest(http.MethodGet, "/mas/review", nil)
		r.Header.Set("Authorization", field)
		return w.do(r).Code
	}
	if got := send(); got != http.StatusOK {
		t.Fatalf("first use: %d", got)
	}
	again, err := New(w.api.configForTest())
	if err != nil {
		t.Fatal(err)
	}
	w.api = again
	if got := send(); got != http.StatusServiceUnavailable {
		t.Errorf("replayed right after the restart: %d", got)
	}
	w.clock.Advance(2 * time.Second)
	if got := send(); got != http.StatusUnauthorized {
		t.Errorf("replayed after the restart: %d", got)
	}
}

// TestTwoProofs: whatever they say, two proofs on one request are refused.
func TestTwoProofs(t *testing.T) {
	w := newWorld(t)
	for name, edit := range map[string]func(*http.Request){
		"two headers": func(r *http.Request) {
			r.Header["Authorization"] = []string{w.bearer("approver", "GET", "/mas/review"), w.bearer("approver", "GET", "/mas/review")}
		},
		"header and DPoP": func(r *http.Request) { r.Header.Set("DPoP", "x") },
	} {
		r := httptest.NewRequest(http.MethodGet, "/mas/review", nil)
		r.Header.Set("Authorization", w.bearer("approver", "GET", "/mas/review"))
		edit(r)
		if got := w.do(r); got.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got.Code)
		}
	}
	form := w.form("client", url.Values{"submission": {"sub_1"}})
	r := httptest.NewRequest(http.MethodPost, "/mas/submissions/status", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", mediaForm)
	r.Header.Set("Authorization", w.bearer("client", http.MethodPost, "/mas/submissions/status"))
	if got := w.do(r); got.Code != http.StatusUnauthorized {
		t.Errorf("form and header: %d", got.Code)
	}
	if n := w.api.failures.Value(authTwo); n != 3 {
		t.Errorf("counted %d", n)
	}
}

func TestFormAssertions(t *testing.T) {
	w := newWorld(t)
	const path = "/mas/submissions/status"
	fields := url.Values{"submission": {"sub_1"}}
	send := func(form url.Values) int {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", mediaForm)
		return w.do(r).Code
	}
	with := func(name, value string) url.Values {
		form := w.form("client", fields)
		form.Set(name, value)
		return form
	}
	without := func(name string) url.Values {
		form := w.form("client", fields)
		form.Del(name)
		return form
	}
	bound := w.form("client", fields)
	bound.Set("client_assertion", w.sign("client", jws.TypClientAuthentication, w.claims("client", http.MethodPost, path)))
	elsewhere := w.form("client", fields)
	elsewhere.Set("client_assertion", w.sign("client", jws.TypClientAuthentication,
		w.claims("client", http.MethodPost, "/mas/missions/status")))
	for name, tc := range map[string]struct {
		form url.Values
		want int
	}{
		"good":                   {w.form("client", fields), 200},
		"good with client_id":    {with("client_id", "client"), 200},
		"good and bound":         {bound, 200},
		"bound to another path":  {elsewhere, 401},
		"another client_id":      {with("client_id", "auditor"), 401},
		"another type":           {with("client_assertion_type", "urn:x"), 401},
		"no type":                {without("client_assertion_type"), 401},
		"no assertion":           {without("client_assertion"), 401},
		"neither":                {fields, 401},
		"a bearer token instead": {with("client_assertion", w.bearer("client", "POST", path)), 401},
	} {
		if got := send(tc.form); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
	// An assertion for a form does not work as a bearer token: it names no method and no URL.
	r := httptest.NewRequest(http.MethodGet, "/mas/review", nil)
	r.Header.Set("Authorization", "Bearer "+w.sign("approver", jws.TypClientAuthentication, w.claims("approver", "", "")))
	if got := w.do(r); got.Code != http.StatusUnauthorized {
		t.Errorf("an unbound assertion worked in a header: %d", got.Code)
	}
}

// TestGrants calls every route that is not public as every role. A role without the grant gets what nobody in
// particular would get for something that does not exist, and the refusal is recorded.
func TestGrants(t *testing.T) {
	w := newWorld(t)
	w.cover()
	for _, r := range w.api.routes {
		if r.public {
			continue
		}
		path := strings.NewReplacer(":id", strings.Repeat("0", 64), ":sub", "YQ", ":n", "latest", ":digest", "x", "*index", "000").Replace(r.path)
		if got := w.do(httptest.NewRequest(r.method, path, nil)); got.Code != 401 && r.media != mediaForm {
			t.Errorf("%s without a proof: %d", r.path, got.Code)
		}
		for _, role := range everyone {
			w.fake.refused = nil
			got := w.callAs(string(role), r, path)
			granted := slices.Contains(r.roles, role)
			if !granted && got.Code != http.StatusNotFound {
				t.Errorf("%s %s as %s: %d", r.method, r.path, role, got.Code)
			}
			if !granted && len(w.fake.refused) != 1 {
				t.Errorf("%s %s as %s: recorded %v", r.method, r.path, role, w.fake.refused)
			}
			if granted && (got.Code == http.StatusUnauthorized || got.Code >= 500) {
				t.Errorf("%s %s as %s: %d: %s", r.method, r.path, role, got.Code, got.Body)
			}
		}
	}
}

// callAs sends something acceptable to a route.
func (w *world) callAs(role string, r route, path string) *httptest.ResponseRecorder {
	w.Helper()
	switch r.media {
	case "":
		return w.get(role, path)
	case mediaForm:
		return w.postForm(role, path, url.Values{"submission": {"x"}, "mission_id": {"x"}, "nonce": {"x"}})
	}
	return w.post(role, path, r.media, "{}")
}

// TestNotFoundIsOne: a path that does not exist, something the caller has no grant for, and something that the state
// owner does not show it are one answer on each surface.
//
// Audit rows: 148.
func TestNotFoundIsOne(t *testing.T) {
	w := newWorld(t)
	w.fake.err = &authority.Error{Kind: authority.NotFound, Code: "not_found", Description: "no such resource"}
	form := url.Values{"submission": {"sub_unknown"}}
	invisible := response(w.postForm("client", "/mas/submissions/status", form))
	ungranted := response(w.postForm("auditor", "/mas/submissions/status", form))
	if invisible != ungranted {
		t.Errorf("mission surface:\n%s\nand\n%s", invisible, ungranted)
	}
	invisible = response(w.get("approver", "/mas/review/sub_unknown"))
	ungranted = response(w.get("auditor", "/mas/review/sub_unknown"))
	missing := response(w.get("auditor", "/mas/nothing"))
	if invisible != ungranted || invisible != missing {
		t.Errorf("our surface:\n%s\nand\n%s\nand\n%s", invisible, ungranted, missing)
	}
	id := strings.Repeat("0", 64)
	invisible = response(w.get("auditor", "/entries/"+id))
	ungranted = response(w.get("client", "/entries/"+id))
	malformed := response(w.get("auditor", "/entries/x"))
	if invisible != ungranted || invisible != malformed {
		t.Errorf("COSE surface:\n%s\nand\n%s\nand\n%s", invisible, ungranted, malformed)
	}
}

// TestNoPrincipalsYet: before the principals are in force nobody is known, which is no refusal of the caller.
func TestNoPrincipalsYet(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Directory = directory{} })
	w.expect(w.get("approver", "/mas/review"), http.StatusServiceUnavailable)
	w.expect(w.get("", "/mas/review"), http.StatusServiceUnavailable)
	w.expect(w.get("", "/log/1/checkpoint"), http.StatusOK)
}

func TestRateLimit(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Rate = 2 })
	for range 4 {
		w.expect(w.get("approver", "/mas/review"), http.StatusOK)
	}
	got := w.get("approver", "/mas/review")
	if got.Code != http.StatusTooManyRequests || got.Header().Get("Retry-After") != "1" {
		t.Errorf("%d, Retry-After %q", got.Code, got.Header().Get("Retry-After"))
	}
	w.expect(w.get("auditor", "/v1/feeds/YQ"), http.StatusOK) // another caller has its own bucket
	w.clock.Advance(time.Second)
	w.expect(w.get("approver", "/mas/review"), http.StatusOK)
}

func TestAssertionMemory(t *testing.T) {
	m := newAssertionMemory()
	for i := range maxAssertions {
		if got := m.use("client", time.Duration(i).String(), 60, 0); got != firstUse {
			t.Fatalf("use %d: %d", i, got)
		}
	}
	if got := m.use("client", "one more", 60, 0); got != memoryFull {
		t.Errorf("a full memory answers %d", got)
	}
	if got := m.use("client", "0s", 60, 60); got != usedBefore {
		t.Errorf("a full memory forgot: %d", got)
	}
	if got := m.use("client", "one more", 121, 61); got != firstUse {
		t.Errorf("expired entries were kept: %d", got)
	}
	if len(m.used) != 1 || len(m.due) != 1 {
		t.Errorf("%d entries in %d seconds are left", len(m.used), len(m.due))
	}
	if got := m.use("another", "one more", 121, 61); got != firstUse {
		t.Errorf("clients share a namespace: %d", got)
	}
}

// FuzzAssertion: no Authorization header panics, and none but a signed one is accepted.
func FuzzAssertion(f *testing.F) {
	key := missiontest.Key("approver")
	token, err := jws.Sign(f.Context(), key, jws.TypClientAuthentication, []byte(`{"iss":"approver"}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("Bearer " + token)
	f.Add("Bearer a.b.c")
	f.Add("Bearer " + strings.Repeat(".", 100))
	a := authenticator{issuer: testIssuer, start: began, now: func() time.Time { return began.Add(time.Minute) },
		people: directory{principalsDocument(f)}, used: newAssertionMemory()}
	f.Fuzz(func(t *testing.T, field string) {
		r := httptest.NewRequest(http.MethodGet, "/mas/review", nil)
		r.Header["Authorization"] = []string{field}
		if c, err := a.fromHeader(r); err == nil {
			t.Errorf("%q authenticated %s", field, c.ID)
		}
	})
}

// TestSecretsStayOut: nothing of a request reaches the log or the metrics.
func TestSecretsStayOut(t *testing.T) {
	w := newWorld(t)
	w.fake.err = &authority.Error{Kind: authority.Invalid, Code: "invalid_mission_intent", Description: "no"}
	field := w.bearer("client", http.MethodPost, "/mas/submissions")
	r := httptest.NewRequest(http.MethodPost, "/mas/submissions", strings.NewReader(`{"goal":"hunter2"}`))
	r.Header.Set("Content-Type", mediaJSON)
	r.Header.Set("Authorization", field)
	r.Header.Set("Cookie", "session=hunter2")
	r.Header.Set("X-Forwarded-For", "6.6.6.6")
	w.expect(w.do(r), http.StatusBadRequest)
	w.get("approver", "/mas/review/hunter2")
	w.get("auditor", "/v1/evidence/hunter2?x=hunter2")
	w.fake.panics = true
	w.post("client", "/mas/submissions", mediaJSON, `{"goal":"hunter2"}`)
	var text bytes.Buffer
	if err := w.metrics.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	logged := w.lines.String()
	for _, secret := range []string{"hunter2", "6.6.6.6", strings.TrimPrefix(field, "Bearer ")[:40]} {
		if strings.Contains(logged, secret) || strings.Contains(text.String(), secret) {
			t.Errorf("%q was written down", secret)
		}
	}
	for _, want := range []string{"POST /mas/submissions", `"caller":"client"`, "invalid_mission_intent"} {
		if !strings.Contains(logged, want) {
			t.Errorf("the log lacks %q:\n%s", want, logged)
		}
	}
}
