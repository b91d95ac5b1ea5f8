package httpapi

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/registry"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/missiontest"
	"github.com/mission-authority/mas/schemas"
)

const testEvidence = "application/mission-execution-evidence+json"

// checkTestEvidence is a catalogue with one rule: a body names its id before a colon.
func checkTestEvidence(_ string, body []byte, _, _ string) (registry.Facts, error) {
	id, _, ok := strings.Cut(string(body), ":")
	if !ok {
		return registry.Facts{}, errors.New("no id")
	}
	return registry.Facts{Unique: id}, nil
}

// stated is a statement of the principal producer over a body.
func (w *world) stated(body string) []byte {
	return w.statedBy(w.statement, ledger.Claims{Issuer: w.rule.Issuer, ContentType: testEvidence}, body)
}

func (w *world) statedBy(key ledger.Signer, c ledger.Claims, body string) []byte {
	w.Helper()
	c.Subject, c.Digest = w.log.Keys.Subject(w, "msn_1"), sha256.Sum256([]byte(body))
	raw, err := ledger.SignStatement(w.Context(), c, key)
	if err != nil {
		w.Fatal(err)
	}
	return raw
}

func (w *world) entry(statement []byte) *httptest.ResponseRecorder {
	return w.post("producer", "/entries", mediaCOSE, string(statement))
}

func (w *world) size() uint64 { return w.log.MustView(w).Head().Size }

// verify checks a receipt over a statement the way a stranger does.
func (w *world) verify(receipt, statement []byte) *ledger.Receipt {
	w.Helper()
	r, err := ledger.ParseReceipt(receipt)
	if err != nil {
		w.Fatal(err)
	}
	s, err := ledger.ParseStatement(statement)
	if err != nil {
		w.Fatal(err)
	}
	key, err := ledger.NewKey(w.log.Keys.ReceiptKey)
	if err != nil {
		w.Fatal(err)
	}
	root, err := r.VerifyStatement(s, testIssuer, ledger.KeySet{key})
	if err != nil {
		w.Fatal(err)
	}
	if want, err := w.log.MustView(w).RootAt(r.Size); err != nil || root != want {
		w.Fatalf("the receipt leads to another root: %v", err)
	}
	return r
}

// concise reads concise problem details and fails unless they are ones.
func (w *world) concise(r *httptest.ResponseRecorder, status int, title string) {
	w.Helper()
	if got := r.Header().Get("Content-Type"); got != "application/concise-problem-details+cbor" {
		w.Errorf("media type %q", got)
	}
	var problem map[int64]any
	body := w.expect(r, status)
	if err := cbor.Unmarshal(body, &problem); err != nil || problem[-1] == "" || problem[-2] == "" || len(problem) < 2 {
		w.Errorf("%x: %v, %v", body, problem, err)
	}
	if title != "" && problem[-1] != title {
		w.Errorf("title %q, want %q", problem[-1], title)
	}
}

// Audit rows: 55.
func TestRegisterOneStatement(t *testing.T) {
	w := newWorld(t)
	raw := w.stated("exec-1:a")
	id := ledger.HashLeaf(raw).String()
	first := w.entry(raw)
	receipt := w.expect(first, http.StatusCreated)
	if first.Header().Get("Location") != "/entries/"+id || first.Header().Get("Content-Type") != mediaCOSE {
		t.Errorf("%v", first.Header())
	}
	if r := w.verify(receipt, raw); r.Index != 1 || r.Subject != w.log.Keys.Subject(t, "msn_1") {
		t.Errorf("%+v", r)
	}
	// With receipts, or whatever else, in the unprotected header it is the same statement.
	transparent, err := ledger.AttachReceipts(raw, receipt)
	if err != nil {
		t.Fatal(err)
	}
	again := w.entry(transparent)
	w.verify(w.expect(again, http.StatusCreated), raw)
	if again.Header().Get("Location") != "/entries/"+id || w.size() != 2 {
		t.Errorf("%v, size %d", again.Header(), w.size())
	}
	// The producer reads what is its own; another's entry does not exist for it.
	for _, path := range []string{"/entries/" + id, "/entries/" + id + "/statement", "/entries/" + id + "/transparent"} {
		w.expect(w.get("producer", path), http.StatusOK)
		w.expect(w.get("auditor", path), http.StatusOK)
	}
	genesis, err := w.log.MustView(t).Entry(0)
	if err != nil {
		t.Fatal(err)
	}
	other := w.get("producer", "/entries/"+ledger.HashLeaf(genesis.Statement).String())
	missing := w.get("producer", "/entries/"+strings.Repeat("ab", 32))
	if !bytes.Equal(w.expect(other, http.StatusNotFound), w.expect(missing, http.StatusNotFound)) {
		t.Error("another's entry and none differ")
	}
}

// The same commitment under another signature is answered with the entry that is there, whose statement can be read.
//
// Audit rows: 75.
func TestRegisterCommitmentAgain(t *testing.T) {
	w := newWorld(t)
	raw := w.stated("exec-1:a")
	w.expect(w.entry(raw), http.StatusCreated)
	second := w.stated("exec-1:a")
	if bytes.Equal(raw, second) {
		t.Fatal("the case needs another signature")
	}
	got := w.entry(second)
	w.verify(w.expect(got, http.StatusOK), raw)
	if got.Header().Get("Mas-Duplicate") != "commitment" || w.size() != 2 {
		t.Errorf("%v, size %d", got.Header(), w.size())
	}
	if statement := w.expect(w.get("producer", got.Header().Get("Location")+"/statement"), http.StatusOK); !bytes.Equal(statement, raw) {
		t.Error("the entry that is there has another statement")
	}
}

// Audit rows: 56.
func TestRegistrationThatTakesLonger(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		var err error
		if c.Registry, err = registry.New(registry.Config{Log: c.Log, Evidence: c.Log.(*ledgertest.Log).Keys.Evidence, Rate: 100,
			Wait: time.Millisecond, Now: c.Now}); err != nil {
			t.Fatal(err)
		}
	})
	hold := w.store.Hold(false)
	raw := w.stated("exec-1:a")
	got := w.entry(raw)
	if body := w.expect(got, http.StatusSeeOther); len(body) > 0 || got.Header().Get("Retry-After") == "" {
		t.Errorf("%v with %d octets", got.Header(), len(body))
	}
	location := got.Header().Get("Location")
	if location != "/entries/"+ledger.HashLeaf(raw).String() {
		t.Errorf("location %q", location)
	}
	running := w.get("producer", location)
	if body := w.expect(running, http.StatusFound); len(body) > 0 || running.Header().Get("Retry-After") == "" ||
		running.Header().Get("Location") != location {
		t.Errorf("%v with %d octets", running.Header(), len(body))
	}
	w.expect(w.get("auditor", location), http.StatusFound)
	batch, err := ledger.MarshalStatements([][]byte{raw, []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	list, err := ledger.ParseRegistrations(w.expect(w.post("producer", "/entries", ledger.ContentTypeStatements, string(batch)), http.StatusOK))
	if err != nil || list[0].Status != http.StatusSeeOther || list[1].Status != http.StatusBadRequest {
		t.Errorf("%+v, %v", list, err)
	}
	hold.Release()
	for range 1000 {
		if got = w.get("producer", location); got.Code != http.StatusFound {
			break
		}
		w.clock.Advance(10 * time.Millisecond)
		time.Sleep(time.Millisecond)
	}
	w.verify(w.expect(got, http.StatusOK), raw)
}

// Every refusal of the COSE endpoints is concise problem details with a title and a detail.
//
// Audit rows: 15, 40, 57, 58, 62.
func TestRefusalsAreConcise(t *testing.T) {
	w := newWorld(t)
	stranger, _ := ledgertest.NewProducer(t, "https://stranger.example", testEvidence)
	producer := ledger.Claims{Issuer: w.rule.Issuer, ContentType: testEvidence}
	approval := producer
	approval.ContentType = mission.ContentApprovalRecord
	es384 := bytes.Replace(w.stated("x:"), []byte{0x01, 0x26, 0x04}, []byte{0x01, 0x27, 0x04}, 1)
	es384[bytes.Index(es384, []byte{0x01, 0x27, 0x04})+1] = 0x0a
	detached := append(bytes.Clone(w.stated("x:")[:len(w.stated("x:"))-66-34]), 0xf6, 0x58, 0x40)
	detached = append(detached, make([]byte, 64)...)
	for name, c := range map[string]struct {
		body   []byte
		status int
		title  string
	}{
		"no statement":        {[]byte("statement"), 400, "Malformed request"},
		"nothing":             {nil, 400, "Malformed request"},
		"another algorithm":   {es384, 400, "Bad Signature Algorithm"},
		"a detached payload":  {detached, 400, "Payload Missing"},
		"an unknown producer": {w.statedBy(stranger, producer, "x:"), 400, "Rejected"},
		"another's type":      {w.statedBy(w.statement, approval, "x:"), 400, "Rejected"},
		"another's name":      {w.statedBy(w.statement, ledger.Claims{Issuer: testIssuer, ContentType: testEvidence}, "x:"), 400, "Rejected"},
		"65,536 octets":       {make([]byte, 65_536), 400, ""},
		"65,537 octets":       {make([]byte, 65_537), 413, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w.TB = t
			w.concise(w.entry(c.body), c.status, c.title)
		})
	}
	w.TB = t
	id := strings.Repeat("ab", 32)
	w.concise(w.get("auditor", "/entries/"+id), 404, "Not Found")
	w.concise(w.get("auditor", "/entries/unknown"), 404, "Not Found")
	w.concise(w.get("", "/entries/"+id), 401, "")
	w.concise(w.get("client", "/entries/"+id), 404, "Not Found")
	w.concise(w.post("auditor", "/entries", mediaCOSE, "x"), 404, "Not Found")
	w.concise(w.post("", "/entries", mediaCOSE, "x"), 401, "")
	w.concise(w.post("producer", "/entries", mediaJSON, "{}"), 415, "")
	w.concise(w.post("producer", "/entries", ledger.ContentTypeStatements, "\x80"), 400, "Malformed request")
	w.concise(w.post("producer", "/entries", ledger.ContentTypeStatements, strings.Repeat("x", ledger.MaxStatementsLen+1)), 413, "")
	w.concise(w.get("", "/.well-known/scitt-keys/"+id), 404, "Not Found")
	// What says that it is too large is not read, let alone parsed.
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/entries", unreadable{t})
	r.ContentLength = 1 << 40
	r.Header.Set("Content-Type", mediaCOSE)
	r.Header.Set("Authorization", w.bearer("producer", http.MethodPost, "/entries"))
	w.concise(w.do(r), 413, "")
	if w.size() != 1 {
		t.Errorf("%d entries", w.size())
	}
	w.store.Inject(1, ledgertest.Refuse)
	w.concise(w.entry(w.stated("x:")), 503, "")
}

// unreadable is a body that fails the test when it is read.
type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, errors.New("read")
}

// Whatever the request says around the signed statement, the decision is the same, and a replay of the log agrees.
//
// Audit rows: 41.
func TestNothingAroundTheStatementDecides(t *testing.T) {
	w := newWorld(t)
	good := w.stated("exec-1:a")
	bad := w.statedBy(w.statement, ledger.Claims{Issuer: w.rule.Issuer, ContentType: mission.ContentApprovalRecord}, "x:")
	for _, header := range []http.Header{
		{}, {"Accept": {"text/html"}}, {"X-Forwarded-For": {"127.0.0.1"}, "Forwarded": {"for=127.0.0.1"}},
		{"Mas-Producer": {"issuer"}}, {"User-Agent": {"admin"}}, {"Cookie": {"session=admin"}}, {"Origin": {testIssuer}},
		{"Idempotency-Key": {"k"}}, {"Date": {"Mon, 01 Jan 2001 00:00:00 GMT"}}, {"Prefer": {"respond-async"}},
	} {
		for _, c := range []struct {
			raw    []byte
			status int
		}{{good, http.StatusCreated}, {bad, http.StatusBadRequest}} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/entries?x=1", bytes.NewReader(c.raw))
			for name, values := range header {
				r.Header[name] = slices.Clone(values)
			}
			if key := r.Header["Idempotency-Key"]; key != nil {
				key[0] += fmt.Sprint(c.status) // a key stands for one request
			}
			r.Header.Set("Content-Type", mediaCOSE)
			r.Header.Set("Authorization", w.bearer("producer", http.MethodPost, "/entries"))
			if got := w.do(r); got.Code != c.status {
				t.Errorf("%v: %d", header, got.Code)
			}
		}
	}
	// Who submits does not count either: a second principal submits what the first has signed.
	everybody := principalsDocument(t)
	if w.api.config.Directory = (directory{everybody}); w.size() != 2 {
		t.Fatalf("%d entries", w.size())
	}
	admission, _, err := registry.Governed(w.log.MustView(t))
	if err != nil {
		t.Fatal(err)
	}
	for raw, admit := range map[string]bool{string(good): true, string(bad): false} {
		s, err := ledger.ParseStatement([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		if err := admission.Admit(s); (err == nil) != admit {
			t.Errorf("the replay decides otherwise: %v", err)
		}
	}
}

// Audit rows: 44.
func TestRegistrationRate(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Rate = 100_000 })
	limited := 0
	for i := range 400 {
		got := w.entry([]byte{byte(i)})
		if got.Code != http.StatusTooManyRequests {
			continue
		}
		limited++
		if got.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		w.concise(got, http.StatusTooManyRequests, "Too Many Requests")
	}
	if limited != 400-256 {
		t.Errorf("%d of 400 at once were too many", limited)
	}
	w.clock.Advance(time.Minute)
	w.expect(w.entry(w.stated("exec-1:a")), http.StatusCreated)
	if w.api.config.Metrics == nil || w.metricText("mas_registrations_total{outcome=\"limited\"} 144") == "" {
		t.Errorf("%s", w.metricText("mas_registrations_total"))
	}
}

// metricText returns the lines of the metrics that contain a text.
func (w *world) metricText(text string) string {
	w.Helper()
	var found []string
	for line := range strings.Lines(string(w.expect(w.get("", "/metrics"), http.StatusOK))) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}

// A batch is decided statement by statement.
func TestRegisterBatch(t *testing.T) {
	w := newWorld(t)
	var list [][]byte
	for i := range 64 {
		list = append(list, w.stated(fmt.Sprintf("exec-%d:", i)))
	}
	list = append(list, []byte("no statement"), list[0], w.stated("exec-0:"))
	batch, err := ledger.MarshalStatements(list)
	if err != nil {
		t.Fatal(err)
	}
	got := w.post("producer", "/entries", ledger.ContentTypeStatements, string(batch))
	if got.Header().Get("Content-Type") != ledger.ContentTypeRegistrations {
		t.Errorf("%v", got.Header())
	}
	all, err := ledger.ParseRegistrations(w.expect(got, http.StatusOK))
	if err != nil || len(all) != len(list) || w.size() != 65 {
		t.Fatalf("%d answers, size %d, %v", len(all), w.size(), err)
	}
	for i, x := range all[:64] {
		if x.Status != 201 || x.Index != uint64(i+1) || x.Entry != ledger.HashLeaf(list[i]) || x.Outcome != "registered" {
			t.Errorf("%d: %+v", i, x)
		}
	}
	if all[64].Status != 400 || all[65].Outcome != "repeated" || all[66].Status != 200 || all[66].Entry != all[0].Entry {
		t.Errorf("%+v", all[64:])
	}
}

// evidence is the body of POST /v1/evidence.
func (w *world) evidence(body string) string {
	w.Helper()
	text, err := mission.Marshal(evidenceSubmission{encodeBase64(w.stated(body)), encodeBase64([]byte(body))})
	if err != nil {
		w.Fatal(err)
	}
	if err := schemas.Validate("evidence-submission", text); err != nil {
		w.Error(err)
	}
	return string(text)
}

// result reads an answer of POST /v1/evidence.
func (w *world) result(text []byte) (out evidenceRegistration) {
	w.Helper()
	if err := errors.Join(mission.Decode(text, &out), schemas.Validate("evidence-registration", text)); err != nil {
		w.Fatal(err)
	}
	return out
}

// Evidence comes with its statement, is kept, and one execution id has one record.
//
// Audit rows: 76.
func TestRegisterEvidence(t *testing.T) {
	w := newWorld(t)
	got := w.post("producer", "/v1/evidence", mediaJSON, w.evidence("exec-1:a"))
	out := w.result(w.expect(got, http.StatusCreated))
	if out.Outcome != "registered" || *out.LeafIndex != 1 || got.Header().Get("Location") != "/entries/"+out.EntryID {
		t.Errorf("%+v, %v", out, got.Header())
	}
	receipt, err := decodeBase64(out.Receipt)
	if err != nil {
		t.Fatal(err)
	}
	statement := w.expect(w.get("producer", "/entries/"+out.EntryID+"/statement"), http.StatusOK)
	w.verify(receipt, statement)
	digest := mission.RawDigest([]byte("exec-1:a"))
	if body := w.expect(w.get("auditor", "/v1/evidence/"+string(digest)), http.StatusOK); string(body) != "exec-1:a" {
		t.Errorf("%q", body)
	}
	before := w.size()
	conflict := w.post("producer", "/v1/evidence", mediaJSON, w.evidence("exec-1:b"))
	if body := w.expect(conflict, http.StatusConflict); !bytes.Contains(body, []byte(`"evidence_conflict"`)) {
		t.Errorf("%s", body)
	}
	for name, text := range map[string]string{
		"no JSON":            "{",
		"an unknown member":  `{"statement":"AA","x":1}`,
		"no statement":       `{}`,
		"padding":            `{"statement":"AA=="}`,
		"odd record":         `{"statement":"AA","record":"!"}`,
		"another record":     strings.Replace(w.evidence("exec-2:a"), encodeBase64([]byte("exec-2:a")), encodeBase64([]byte("exec-2:b")), 1),
		"a record of no use": w.evidence("exec-3"),
	} {
		if got := w.post("producer", "/v1/evidence", mediaJSON, text); got.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", name, got.Code)
		}
	}
	lines := w.evidence("exec-4:a") + "\n" + w.evidence("exec-1:c") + "\n\n" + w.evidence("exec-4:a")
	answer := w.expect(w.post("producer", "/v1/evidence", mediaNDJSON, lines), http.StatusOK)
	var outcomes []string
	for line := range splitLines(answer) {
		outcomes = append(outcomes, w.result(line).Outcome)
	}
	if !slices.Equal(outcomes, []string{"registered", "contested", "recommitted"}) {
		t.Errorf("%v", outcomes)
	}
	for name, text := range map[string]string{"nothing": "\n", "a bad line": w.evidence("exec-5:a") + "\nx"} {
		if got := w.post("producer", "/v1/evidence", mediaNDJSON, text); got.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", name, got.Code)
		}
	}
	if w.size() != before+1 {
		t.Errorf("%d entries after %d", w.size(), before)
	}
}

// Audit rows: 77.
func TestIdempotencyKeyOverHTTP(t *testing.T) {
	w := newWorld(t)
	send := func(body string, keys ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/evidence", strings.NewReader(body))
		r.Header.Set("Content-Type", mediaJSON)
		r.Header["Idempotency-Key"] = keys
		r.Header.Set("Authorization", w.bearer("producer", http.MethodPost, "/v1/evidence"))
		return w.do(r)
	}
	body := w.evidence("exec-1:a")
	first := w.result(w.expect(send(body, "k"), http.StatusCreated))
	again := w.result(w.expect(send(body, "k"), http.StatusCreated))
	if again.Outcome != "replayed" || again.EntryID != first.EntryID || *again.LeafIndex != *first.LeafIndex ||
		again.RegisteredAt != first.RegisteredAt || w.size() != 2 {
		t.Errorf("%+v after %+v", again, first)
	}
	if answer := w.expect(send(w.evidence("exec-2:a"), "k"), http.StatusConflict); !bytes.Contains(answer, []byte(`"idempotency_key_reused"`)) {
		t.Errorf("%s", answer)
	}
	for _, keys := range [][]string{{"a", "b"}, {""}, {strings.Repeat("x", 256)}, {"a b"}} {
		if got := send(w.evidence("exec-3:a"), keys...); got.Code != http.StatusBadRequest {
			t.Errorf("%q: %d", keys, got.Code)
		}
	}
}

// Only producers register, only administrators change the policy, and neither may do what the other or an auditor does.
//
// Audit rows: 147.
func TestRegistrationIsSeparated(t *testing.T) {
	w := newWorld(t)
	for _, role := range append([]authority.Role{""}, everyone...) {
		allowed := map[string]bool{"/entries": role == authority.RoleProducer, "/v1/evidence": role == authority.RoleProducer,
			"/v1/registration-policy/proposals": role == authority.RoleAdmin, "/v1/bundles": role == authority.RoleAuditor}
		for path, want := range allowed {
			media := mediaJSON
			if path == "/entries" {
				media = mediaCOSE
			}
			got := w.post(string(role), path, media, "x").Code
			if reached := got == http.StatusBadRequest; reached != want || !reached && role != "" && got != http.StatusNotFound ||
				role == "" && got != http.StatusUnauthorized {
				t.Errorf("%s as %q: %d", path, role, got)
			}
		}
	}
	for _, r := range w.api.routes {
		if r.public && r.method != http.MethodGet && r.path != "/witness/add-checkpoint" { // the log signs its request
			t.Errorf("%s %s changes something for anybody", r.method, r.path)
		}
	}
	if w.size() != 1 {
		t.Errorf("%d entries", w.size())
	}
}

// Two administrators change the policy; everybody reads it, with the documents that it rests on.
func TestRegistrationPolicy(t *testing.T) {
	w := newWorld(t)
	read := func() (out policyView) {
		text := w.expect(w.get("", "/v1/registration-policy"), http.StatusOK)
		if err := errors.Join(mission.Decode(text, &out), schemas.Validate("registration-policy", text)); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if p := read(); p.PolicyNumber != 0 || len(p.Producers) != 1 || len(p.Documents) != 1 || p.Producers[0].Issuer != w.rule.Issuer {
		t.Errorf("%+v", p)
	}
	key, err := missiontest.Keys(missiontest.Key("harness")).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	_, jwk, _ := strings.Cut(strings.TrimSuffix(string(key), "]}"), "[")
	edit := `{"add":[{"issuer":"https://harness.example","jwk":` + jwk + `,"types":["application/mission-harness-evidence+json"]}]}`
	if err := schemas.Validate("registration-policy-edit", []byte(edit)); err != nil {
		t.Error(err)
	}
	var p policyProposal
	text := w.expect(w.post("admin", "/v1/registration-policy/proposals", mediaJSON, edit), http.StatusCreated)
	if err := errors.Join(mission.Decode(text, &p), schemas.Validate("registration-policy-proposal", text)); err != nil || p.Number != 1 || len(p.Producers) != 2 || p.ProposedBy != "admin" {
		t.Fatalf("%s, %v", text, err)
	}
	if list := w.expect(w.get("admin", "/v1/registration-policy/proposals"), http.StatusOK); !bytes.Contains(list, []byte(p.ID)) {
		t.Errorf("%s", list)
	}
	confirm := "/v1/registration-policy/proposals/" + p.ID + "/confirmation"
	if answer := w.expect(w.post("admin", confirm, mediaJSON, `{"number":1}`), http.StatusForbidden); !bytes.Contains(answer, []byte("second_administrator_required")) {
		t.Errorf("%s", answer)
	}
	w.expect(w.post("producer", confirm, mediaJSON, `{"number":1}`), http.StatusNotFound)
	if _, err := w.api.config.Registry.Confirm(t.Context(), "admin-2", p.ID, 1); err != nil {
		t.Fatal(err)
	}
	after := read()
	if after.PolicyNumber != 1 || len(after.Producers) != 2 || len(after.Documents) != 2 {
		t.Fatalf("%+v", after)
	}
	for _, d := range after.Documents {
		got := w.get("", "/v1/registration-policy/documents/"+string(d.Digest))
		if body := w.expect(got, http.StatusOK); mission.RawDigest(body) != d.Digest || got.Header().Get("Content-Type") != d.ContentType {
			t.Errorf("%+v", d)
		}
	}
	w.expect(w.post("admin", confirm, mediaJSON, `{"number":1}`), http.StatusNotFound)
	for name, path := range map[string]string{"no digest": "x", "no document": string(mission.RawDigest([]byte("x")))} {
		if got := w.get("", "/v1/registration-policy/documents/"+path); got.Code != http.StatusNotFound {
			t.Errorf("%s: %d", name, got.Code)
		}
	}
	for name, text := range map[string]string{
		"nothing": `{}`, "no JSON": "{", "a bad kid": `{"remove":["x"]}`, "an unknown kid": `{"remove":["00"]}`,
		"no key":       `{"add":[{"issuer":"https://x.example","jwk":{},"types":["a/b"]}]}`,
		"another kid":  strings.Replace(edit, `"issuer"`, `"kid":"00","issuer"`, 1),
		"a type":       strings.Replace(edit, "mission-harness", "mas-harness", 1),
		"our issuer":   strings.Replace(edit, "https://harness.example", testIssuer, 1),
		"odd anchors":  `{"trust_anchors":{"log_keys":[],"receipt_keys":"","evidence_keys":""}}`,
		"other anchor": `{"trust_anchors":{"log_keys":[],"receipt_keys":"` + after.Anchors.ReceiptKeys + `","evidence_keys":"` + after.Anchors.ReceiptKeys + `"}}`,
	} {
		if got := w.post("admin", "/v1/registration-policy/proposals", mediaJSON, text); got.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", name, got.Code)
		}
	}
	anchors := `{"trust_anchors":{"log_keys":["` + w.log.Keys.VKey + `"],"receipt_keys":"` + after.Anchors.ReceiptKeys +
		`","evidence_keys":"` + after.Anchors.EvidenceKeys + `"}}`
	w.expect(w.post("admin", "/v1/registration-policy/proposals", mediaJSON, anchors), http.StatusCreated)
}

// Whatever octets are posted, the answer is a receipt or concise problem details.
//
// Audit rows: 61.
func FuzzPostEntries(f *testing.F) {
	w := newWorld(f, func(c *Config) { c.Rate = 100_000 })
	f.Add(w.stated("exec-1:a"))
	f.Add([]byte{0xd2, 0x84})
	f.Add([]byte("statement"))
	f.Fuzz(func(t *testing.T, body []byte) {
		w.TB = t
		w.clock.Advance(time.Minute)
		got := w.entry(body)
		if got.Code == http.StatusCreated || got.Code == http.StatusOK {
			if _, err := ledger.ParseReceipt(got.Body.Bytes()); err != nil {
				t.Errorf("%x: %v", body, err)
			}
			return
		}
		if got.Code >= 500 {
			t.Errorf("%x: %d", body, got.Code)
		}
		w.concise(got, got.Code, "")
	})
}
