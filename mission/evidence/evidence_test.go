package evidence_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/mission/missiontest"
	"github.com/mission-authority/mas/schemas"
)

const (
	issuer  = "https://as.example.com"
	feed    = issuer + "/missions/msn_8RfX2Lqv9TqMv4z7sA2bN1k0YpEdHc9-"
	events  = issuer + "/approvals/evt_1"
	example = "../../schemas/testdata/"
)

// object is a JSON object that a test changes.
type object map[string]mission.Raw

func raw(t testing.TB, text string) mission.Raw {
	t.Helper()
	r, err := mission.ParseRaw([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// read reads an example of a schema.
func read(t testing.TB, path string) object {
	t.Helper()
	data, err := os.ReadFile(example + path)
	if err != nil {
		t.Fatal(err)
	}
	var o object
	if err := mission.Decode(data, &o); err != nil {
		t.Fatal(path, err)
	}
	return o
}

// with returns a copy with members set to JSON texts; "" removes one.
func (o object) with(t testing.TB, members ...string) object {
	t.Helper()
	out := object{}
	for name, v := range o {
		out[name] = v
	}
	for i := 0; i < len(members); i += 2 {
		delete(out, members[i])
		if members[i+1] != "" {
			out[members[i]] = raw(t, members[i+1])
		}
	}
	return out
}

// seal gives the object an envelope by the rule of its type, over everything else, and returns the canonical form.
func (o object) seal(t testing.TB, typ evidence.Type) []byte {
	t.Helper()
	out := o.with(t)
	if rule := typ.Envelope; rule != nil && (rule.Required || !o[rule.Member].IsZero()) {
		delete(out, rule.Member)
		payload, err := mission.Marshal(map[string]mission.Raw(out))
		if err != nil {
			t.Fatal(err)
		}
		value, err := jws.SignContent(t.Context(), missiontest.Key("emitter"), rule.Typ, rule.Content, payload)
		if err != nil {
			t.Fatal(err)
		}
		env, err := mission.RawOf(evidence.Envelope{Format: evidence.FormatJWS, Value: value})
		if err != nil {
			t.Fatal(err)
		}
		out[rule.Member] = env
	}
	body, err := mission.Marshal(map[string]mission.Raw(out))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// bySchema finds the row with a schema.
func bySchema(t testing.TB, schema string) evidence.Type {
	t.Helper()
	for _, typ := range evidence.Types() {
		if typ.Schema == schema {
			return typ
		}
	}
	t.Fatal("no type with schema", schema)
	return evidence.Type{}
}

// producer is the statement issuer of an example of a schema.
var producer = map[string]string{
	"decision-evidence":  "https://pdp.example.com",
	"execution-evidence": "https://pep.example.com",
	"refusal-record":     "https://pep.example.com",
	"mission-receipt":    "https://receipts.example.com",
	"egress-evidence":    "https://egress.example.com",
	"harness-evidence":   "https://harness.example.com",
	"erasure-record":     "https://pdp.example.com",
}

// subjects of examples that are about no mission.
var subject = map[string]string{"approval-governance": events, "refusal-record.pdp": issuer + "/log"}

func claims(schema, what string) evidence.Claims {
	c := evidence.Claims{Issuer: producer[schema], Subject: feed}
	if c.Issuer == "" {
		c.Issuer = issuer
	}
	if schema+"."+what == "refusal-record.pdp" {
		c.Issuer = "https://pdp.example.com"
	}
	for _, name := range []string{schema, schema + "." + what} {
		if s, ok := subject[name]; ok {
			c.Subject = s
		}
	}
	return c
}

// ours are the schemas whose examples are bodies of the types that this package decodes itself.
var ours = []string{"decision-evidence", "execution-evidence", "refusal-record", "mission-receipt", "derivation-record",
	"approval-governance", "child-evidence", "discovery-evidence", "harness-evidence", "egress-evidence",
	"containment-evidence", "protected-event-receipt", "erasure-record", "evidence-access", "legal-hold"}

// Every type is accepted from its producer on its feed, and refused from another producer, on another feed and in
// another form; what the schema calls invalid is refused here too.
//
// Audit rows: 107, 113, 114, 119.
func TestTypesAndTheirProducers(t *testing.T) {
	count := 0
	for _, schema := range ours {
		typ := bySchema(t, schema)
		paths, _ := filepath.Glob(example + "*/" + schema + ".*.json")
		for _, path := range paths {
			kind, what := filepath.Base(filepath.Dir(path)), strings.Split(filepath.Base(path), ".")[1]
			t.Run(kind+"/"+schema+"."+what, func(t *testing.T) {
				count++
				o := read(t, kind+"/"+filepath.Base(path))
				body, c := o.seal(t, typ), claims(schema, what)
				facts, err := evidence.Check(typ.ContentType, body, c)
				if kind == "invalid" {
					if err == nil {
						t.Fatal("accepted")
					}
					return
				}
				if err != nil || !facts.Known || facts.Digest != mission.RawDigest(body) {
					t.Fatal(facts.Known, err)
				}
				if err := schemas.Validate(schema, body); err != nil {
					t.Error(err)
				}
				refuse(t, typ, body, c)
			})
		}
	}
	t.Logf("%d examples of %d types", count, len(ours))
}

// refuse tries the body where it does not belong.
func refuse(t *testing.T, typ evidence.Type, body []byte, c evidence.Claims) {
	t.Helper()
	if typ.Schema != "erasure-record" && typ.Schema != "harness-evidence" && typ.Schema != "evidence-access" &&
		typ.Schema != "legal-hold" {
		other := c
		other.Issuer = "https://other.example.com"
		if _, err := evidence.Check(typ.ContentType, body, other); !errors.Is(err, evidence.ErrProducer) {
			t.Errorf("by another producer: %v", err)
		}
	}
	if typ.Subjects != nil {
		other := c
		other.Subject = issuer + "/policy"
		if _, err := evidence.Check(typ.ContentType, body, other); !errors.Is(err, evidence.ErrSubject) {
			t.Errorf("on another feed: %v", err)
		}
	}
	spaced := append([]byte(" "), body...)
	if _, err := evidence.Check(typ.ContentType, spaced, c); !errors.Is(err, evidence.ErrBody) {
		t.Errorf("not canonical: %v", err)
	}
	for _, member := range []string{`"uncoordinated":1,`, `"mas_extra":{"parameters":1},`} {
		var o object
		if err := mission.Decode([]byte("{"+member+string(body[1:])), &o); err != nil {
			t.Fatal(err)
		}
		if _, err := evidence.Check(typ.ContentType, o.seal(t, typ), c); !errors.Is(err, evidence.ErrBody) {
			t.Errorf("with %s: %v", member, err)
		}
	}
	if typ.Envelope == nil {
		return
	}
	var o object
	if err := mission.Decode(body, &o); err != nil {
		t.Fatal(err)
	}
	if o[typ.Envelope.Member].IsZero() {
		return
	}
	stripped := o.with(t, typ.Envelope.Member, "")
	bare, err := mission.Marshal(map[string]mission.Raw(stripped))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.Check(typ.ContentType, bare, c); typ.Envelope.Required && !errors.Is(err, evidence.ErrBody) {
		t.Errorf("without envelope: %v", err)
	}
}

// Members of one draft that another type has under the same name do not make one type pass for another.
//
// Audit rows: 37.
func TestNoBodyPassesForAnotherType(t *testing.T) {
	for _, schema := range ours {
		paths, _ := filepath.Glob(example + "valid/" + schema + ".*.json")
		for _, path := range paths {
			made := bySchema(t, schema)
			body := read(t, "valid/"+filepath.Base(path)).seal(t, made)
			for _, typ := range evidence.Types() {
				if typ.Form != evidence.Object || typ.ContentType == made.ContentType || typ.Schema == "" ||
					typ.Schema == "agreement-event" {
					continue
				}
				if _, err := evidence.Check(typ.ContentType, body, claims(schema, "")); !errors.Is(err, evidence.ErrBody) {
					t.Errorf("%s taken for %s: %v", schema, typ.ContentType, err)
				}
			}
		}
	}
}

// A type that nobody here knows is not judged.
//
// Audit rows: 108.
func TestUnknownTypesAreNotJudged(t *testing.T) {
	for _, body := range []string{"", "{}", "\x00", `{"a":1,"a":2}`} {
		facts, err := evidence.Check("application/x-unheard-of+json", []byte(body), evidence.Claims{})
		if facts.Known || err != nil || facts.Digest != mission.RawDigest([]byte(body)) {
			t.Errorf("%q: %+v, %v", body, facts, err)
		}
	}
}

// The bytes of an approval event hold everything that was recorded, and no state.
//
// Audit rows: 109.
func TestApprovalBytes(t *testing.T) {
	paths, err := filepath.Glob(example + "valid/mission-record.*.json")
	if err != nil || len(paths) == 0 {
		t.Fatal("no example", err)
	}
	for _, path := range paths {
		typ := bySchema(t, "mission-record")
		o := read(t, "valid/"+filepath.Base(path))
		body := o.seal(t, typ)
		rec, err := mission.ParseRecord(body)
		if err != nil {
			t.Fatal(path, err)
		}
		c := evidence.Claims{Issuer: rec.Issuer, Subject: rec.Issuer + "/missions/" + string(rec.ID)}
		facts, err := evidence.Check(typ.ContentType, body, c)
		if err != nil || facts.Mission.ID != rec.ID {
			t.Fatal(facts, err)
		}
		if _, err := evidence.Check(typ.ContentType, o.with(t, "state", `"active"`).seal(t, typ), c); !errors.Is(err, evidence.ErrBody) {
			t.Errorf("with state: %v", err)
		}
		for name := range o {
			if name == "proposed_authority" || name == "proposal_hash" || name == "lineage" || name == "upstream" ||
				name == "coupling" || name == "submission_evidence" || name == "consent_rendering_hash" || name == "controls" {
				continue // optional in the draft
			}
			if b := o.with(t, name, "").seal(t, typ); bytes.Equal(b, body) || mission.RawDigest(b) == facts.Digest {
				t.Errorf("%s is not committed to", name)
			}
		}
		again, err := mission.Marshal(facts.Record)
		if err != nil || !bytes.Equal(again, body) {
			t.Errorf("the record loses members: %v", err)
		}
	}
}

// Audit rows: 110.
func TestTransitions(t *testing.T) {
	const good = `{"issuer":"https://as.example.com","mission_id":"msn_8RfX2Lqv9TqMv4z7sA2bN1k0YpEdHc9-",` +
		`"salt":"q7hJ2mXv9pTzR4kW5nB8dQ","state":"revoked","transitioned_at":"2026-11-02T08:30:00Z"}`
	c := evidence.Claims{Issuer: issuer, Subject: feed}
	if _, err := evidence.Check(mission.ContentTransition, []byte(good), c); err != nil {
		t.Fatal(err)
	}
	for _, tc := range [][2]string{
		{`"q7hJ2mXv9pTzR4kW5nB8dQ"`, `"q7hJ2mXv9pTzR4kW5nB8"`},
		{`"q7hJ2mXv9pTzR4kW5nB8dQ"`, `"q7hJ2mXv9pTzR4kW5nB8d/"`},
		{`"q7hJ2mXv9pTzR4kW5nB8dQ"`, `"q7hJ2mXv9pTzR4kW5nB8dR"`},
		{`08:30:00Z`, `08:30Z`}, {`2026-11-02T`, `2026-11-02 `}, {`08:30:00Z`, `08:30:60Z`},
		{`"revoked"`, `"ended"`}, {`"revoked"`, `"pending"`}, {`"state":"revoked",`, ``},
		{`"issuer"`, `"Issuer"`}, {`{"issuer"`, `{"extra":1,"issuer"`},
	} {
		body := strings.Replace(good, tc[0], tc[1], 1)
		if _, err := evidence.Check(mission.ContentTransition, []byte(body), c); !errors.Is(err, evidence.ErrBody) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// Audit rows: 111.
func TestDerivations(t *testing.T) {
	typ := bySchema(t, "derivation-record")
	o := read(t, "valid/derivation-record.jti.json")
	facts, err := evidence.Check(typ.ContentType, o.seal(t, typ), claims("derivation-record", ""))
	if err != nil {
		t.Fatal(err)
	}
	d := facts.Record.(*evidence.Derivation)
	if d.TokenKind != evidence.TokenJTI || d.Token != mission.RawDigest([]byte("at_5v9Kq2mR7xW4nP8sL1zT6")) {
		t.Errorf("token %+v", d)
	}
	entries, err := mission.ParseEntries([]byte(`[{"type":"mission_resource_access","resource":"https://erp.example.com",
		"actions":["journal-entries.write"],"constraints":{"max_amount":{"amount":"500.00","currency":"USD"}}}]`))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := evidence.EntriesDigest(issuer, entries); err != nil || got != d.Entries {
		t.Errorf("entries_digest %s, %v", got, err)
	}
	if _, err := evidence.Check(typ.ContentType, o.with(t, "token_digest_kind", `"jws"`).seal(t, typ),
		claims("derivation-record", "")); err != nil {
		t.Errorf("jws: %v", err)
	}
}

// The commitment covers the envelope, and a body without it is not that record.
//
// Audit rows: 112, 121.
func TestVectors(t *testing.T) {
	data, err := os.ReadFile("../../verifier/testdata/vectors/canonical.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			Name     string      `json:"name"`
			Input    mission.Raw `json:"input"`
			Expected mission.Raw `json:"expected"`
		} `json:"cases"`
	}
	if err := mission.DecodeOpen(data, &file); err != nil {
		t.Fatal(err)
	}
	bodies := map[string]string{
		"audit.lifecycle_transition_digest.v1":            mission.ContentTransition,
		"audit.derivation_record_digest.v1":               evidence.ContentDerivation,
		"audit.nested_envelope_decision_record_digest.v1": evidence.ContentDecision,
		"runtime-evidence.execution_record_digest.v1":     evidence.ContentExecution,
	}
	found := 0
	for _, v := range file.Cases {
		contentType, ok := bodies[v.Name]
		if !ok {
			continue
		}
		found++
		var want string
		if err := v.Expected.Decode(&want); err != nil {
			t.Fatal(err)
		}
		body := v.Input.Bytes()
		facts, err := evidence.Check(contentType, body, evidence.Claims{Issuer: issuer, Subject: feed})
		if string(facts.Digest) != want {
			t.Errorf("%s: %s, want %s", v.Name, facts.Digest, want)
		}
		switch contentType {
		case evidence.ContentDecision, evidence.ContentExecution: // published with placeholders for signatures
			if !errors.Is(err, evidence.ErrBody) {
				t.Errorf("%s: a placeholder passed for a signature: %v", v.Name, err)
			}
			var o object
			if err := v.Input.Decode(&o); err != nil {
				t.Fatal(err)
			}
			stripped, err := mission.Marshal(map[string]mission.Raw(o.with(t, "evidence_envelope", "")))
			if err != nil || string(mission.RawDigest(stripped)) == want {
				t.Errorf("%s: the digest does not cover the envelope: %v", v.Name, err)
			}
		default:
			if err != nil {
				t.Errorf("%s: %v", v.Name, err)
			}
		}
	}
	if found != len(bodies) {
		t.Errorf("%d of %d vectors", found, len(bodies))
	}
}

// A decision has exactly one binding digest; its members depend on each other.
//
// Audit rows: 113, 114, 125.
func TestDecisionRules(t *testing.T) {
	typ := bySchema(t, "decision-evidence")
	good := read(t, "valid/decision-evidence.permit.json")
	digest := string(good["parameter_digest"].Bytes())
	for _, tc := range []struct {
		name    string
		members []string
	}{
		{"no digest", []string{"parameter_digest", ""}},
		{"both digests", []string{"evaluation_request_digest", digest}},
		{"another digest algorithm", []string{"parameter_digest", strings.Replace(digest, "sha-256", "sha-512", 1)}},
		{"upper-case prefix", []string{"parameter_digest", strings.Replace(digest, "sha-256", "SHA-256", 1)}},
		{"padded digest", []string{"parameter_digest", strings.TrimSuffix(digest, `"`) + `="`}},
		{"no conditions", []string{"conditions", ""}},
		{"unlimited", []string{"conditions", `{"valid_until":"2026-11-02T08:15:00Z"}`}},
		{"used twice", []string{"conditions", `{"use_limit":2,"valid_until":"2026-11-02T08:15:00Z"}`}},
		{"no entry", []string{"entry_digest", ""}},
		{"permit with a reason", []string{"denial_reason", `"x"`}},
		{"denial without a reason", []string{"decision", `"deny"`, "conditions", ""}},
		{"action with parameters", []string{"action", `{"name":"a","parameters":{}}`}},
		{"action with properties", []string{"action", `{"name":"a","properties":{"parameters":1}}`}},
		{"resource with parameters", []string{"resource", `{"id":"a","deep":[{"Parameters":1}]}`}},
		{"class", []string{"action_class", `"harmless"`}},
		{"weak id", []string{"evidence_id", `"evd_1"`}},
		{"counted id", []string{"evidence_id", `"evd_0000000000000000000000017"`}},
		{"role", []string{"emitter", `{"id":"pdp.example.com","role":"pep"}`}},
		{"time", []string{"evaluated_at", `"yesterday"`}},
	} {
		_, err := evidence.Check(typ.ContentType, good.with(t, tc.members...).seal(t, typ), claims("decision-evidence", ""))
		if !errors.Is(err, evidence.ErrBody) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	reversible := good.with(t, "action_class", `"consequential_write"`, "conditions", `{"valid_until":"2026-11-02T08:15:00Z"}`)
	if _, err := evidence.Check(typ.ContentType, reversible.seal(t, typ), claims("decision-evidence", "")); err != nil {
		t.Errorf("a reversible write may be used more than once: %v", err)
	}
}

// A deviation is evidence: accepted, and said to be one.
//
// Audit rows: 115.
func TestDeviationIsEvidence(t *testing.T) {
	typ := bySchema(t, "execution-evidence")
	o := read(t, "valid/execution-evidence.deviated.json")
	for _, tc := range []struct {
		members      []string
		unauthorized bool
	}{
		{nil, true},
		{[]string{"outcome", `"failed"`, "error", `"erp.example.com/timeout"`}, true},
		{[]string{"outcome", `"suppressed"`, "error", `"parameter_mismatch"`}, false},
	} {
		facts, err := evidence.Check(typ.ContentType, o.with(t, tc.members...).seal(t, typ), claims("execution-evidence", ""))
		if err != nil || facts.Record.(*evidence.Execution).Unauthorized() != tc.unauthorized {
			t.Errorf("%v: %v", tc.members, err)
		}
	}
	_, err := evidence.Check(typ.ContentType, o.with(t, "outcome", `"suppressed"`, "error", `"kill_switch"`).seal(t, typ),
		claims("execution-evidence", ""))
	if !errors.Is(err, evidence.ErrBody) {
		t.Errorf("a suppressed deviation under another name: %v", err)
	}
}

// What nobody approved is about no mission: it belongs to the approval event.
//
// Audit rows: 118.
func TestDeclinedConsent(t *testing.T) {
	paths, _ := filepath.Glob(example + "valid/consent-evidence.*.json")
	if len(paths) == 0 {
		t.Fatal("no example")
	}
	typ := bySchema(t, "consent-evidence")
	o := read(t, "valid/"+filepath.Base(paths[0]))
	var m object
	if err := o["mission"].Decode(&m); err != nil {
		t.Fatal(err)
	}
	var iss, event, id string
	for name, dst := range map[*string]mission.Raw{&iss: m["issuer"], &event: o["approval_event_id"], &id: m["id"]} {
		if err := dst.Decode(name); err != nil {
			t.Fatal(err)
		}
	}
	without, err := mission.RawOf(map[string]mission.Raw(m.with(t, "id", "")))
	if err != nil {
		t.Fatal(err)
	}
	declined := o.with(t, "decision", `"declined"`, "approved_at", "", "declined_at", `"2026-06-30T17:55:00Z"`, "mission",
		string(without.Bytes()))
	narrowed := declined.with(t, "decision", `"narrowed"`, "declined_at", "", "narrowed_at", `"2026-06-30T17:55:00Z"`,
		"refused_dimensions", `{"rejected_scope":"a"}`)
	approvals := evidence.Claims{Issuer: iss, Subject: iss + "/approvals/" + event}
	missions := evidence.Claims{Issuer: iss, Subject: iss + "/missions/" + id}
	for name, tc := range map[string]struct {
		o    object
		c    evidence.Claims
		want error
	}{
		"approved":                {o, missions, nil},
		"approved, as declined":   {o, approvals, evidence.ErrSubject},
		"declined":                {declined, approvals, nil},
		"narrowed":                {narrowed, approvals, nil},
		"declined, other event":   {declined, evidence.Claims{Issuer: iss, Subject: iss + "/approvals/evt_other"}, evidence.ErrSubject},
		"declined with mission":   {declined.with(t, "mission", string(o["mission"].Bytes())), approvals, evidence.ErrBody},
		"narrowed with mission":   {narrowed.with(t, "mission", string(o["mission"].Bytes())), approvals, evidence.ErrBody},
		"narrowed, no dimensions": {narrowed.with(t, "refused_dimensions", ""), approvals, evidence.ErrBody},
	} {
		if _, err := evidence.Check(typ.ContentType, tc.o.seal(t, typ), tc.c); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

// A child's evidence lies where the parent's auditor looks, and leads to the child.
//
// Audit rows: 117.
func TestChildOnParentFeed(t *testing.T) {
	typ := bySchema(t, "child-evidence")
	body := read(t, "valid/child-evidence.created.json").seal(t, typ)
	facts, err := evidence.Check(typ.ContentType, body, evidence.Claims{Issuer: issuer, Subject: feed})
	if err != nil {
		t.Fatal(err)
	}
	child := facts.Record.(*evidence.Child)
	if string(child.Child.ID) != "msn_9KwP2rT6vX1nL4qY8sB3zC7mF5jD" || facts.Mission.ID != child.Parent.ID {
		t.Errorf("%+v", child)
	}
	onChild := evidence.Claims{Issuer: issuer, Subject: issuer + "/missions/" + string(child.Child.ID)}
	if _, err := evidence.Check(typ.ContentType, body, onChild); !errors.Is(err, evidence.ErrSubject) {
		t.Errorf("on the child's feed: %v", err)
	}
}

// Records that could be guessed from their digest are told apart from broken ones.
//
// Audit rows: 119.
func TestGuessableRecords(t *testing.T) {
	for schema, members := range map[string][][]string{
		"egress-evidence":  {{"mas_salt", ""}, {"mas_evidence_id", ""}, {"mas_evidence_id", `"egr_7"`}},
		"harness-evidence": {{"event_id", `"hrn_7pQ4mN9s"`}},
	} {
		typ := bySchema(t, schema)
		paths, _ := filepath.Glob(example + "valid/" + schema + ".*.json")
		o := read(t, "valid/"+filepath.Base(paths[0]))
		for _, m := range members {
			facts, err := evidence.Check(typ.ContentType, o.with(t, m...).seal(t, typ), claims(schema, ""))
			if !errors.Is(err, evidence.ErrWeak) || facts.Record == nil {
				t.Errorf("%s %v: %v", schema, m, err)
			}
		}
		salted := o.with(t, "event_id", `"hrn_7"`, "mas_salt", `"q7hJ2mXv9pTzR4kW5nB8dQ"`)
		if _, err := evidence.Check(typ.ContentType, salted.seal(t, typ), claims(schema, "")); schema == "harness-evidence" && err != nil {
			t.Errorf("salted: %v", err)
		}
	}
}
