package evidence_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/mission/missiontest"
)

// envelope puts a compact JWS into a record.
func (o object) envelope(t *testing.T, value string) []byte {
	t.Helper()
	env, err := mission.RawOf(evidence.Envelope{Format: evidence.FormatJWS, Value: value})
	if err != nil {
		t.Fatal(err)
	}
	out := o.with(t)
	out["evidence_envelope"] = env
	body, err := mission.Marshal(map[string]mission.Raw(out))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func (o object) payload(t *testing.T) []byte {
	t.Helper()
	p, err := mission.Marshal(map[string]mission.Raw(o.with(t, "evidence_envelope", "")))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A signature over one kind of record is not one over another, and not one at all without its exact header.
//
// Audit rows: 123, 124.
func TestEnvelopeConfusion(t *testing.T) {
	o := read(t, "valid/decision-evidence.permit.json")
	c := claims("decision-evidence", "")
	k := missiontest.Key("emitter")
	sign := func(typ jws.Typ, content string, payload []byte) string {
		t.Helper()
		s, err := jws.SignContent(t.Context(), k, typ, content, payload)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	good := sign(jws.TypRuntimeEvidence, evidence.ContentDecision, o.payload(t))
	head, rest, _ := strings.Cut(good, ".")
	header := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) + "." + rest }
	kid := k.KeyID()
	for name, value := range map[string]string{
		"another kind":     sign(jws.TypRuntimeEvidence, evidence.ContentExecution, o.payload(t)),
		"no cty":           sign(jws.TypRuntimeEvidence, "", o.payload(t)),
		"older typ":        sign(evidence.ContentDecision, "", o.payload(t)),
		"another artifact": sign(jws.TypConsentEvidence, "", o.payload(t)),
		"alg none": header(`{"alg":"none","cty":"` + evidence.ContentDecision + `","kid":"` + kid +
			`","typ":"application/mission-runtime-evidence+jws"}`),
		"alg HS256": header(`{"alg":"HS256","cty":"` + evidence.ContentDecision + `","kid":"` + kid +
			`","typ":"application/mission-runtime-evidence+jws"}`),
		"no kid":         header(`{"alg":"ES256","cty":"` + evidence.ContentDecision + `","typ":"application/mission-runtime-evidence+jws"}`),
		"extra header":   header(`{"alg":"ES256","crit":["b64"],"cty":"` + evidence.ContentDecision + `","kid":"a","typ":"application/mission-runtime-evidence+jws"}`),
		"other payload":  sign(jws.TypRuntimeEvidence, evidence.ContentDecision, o.with(t, "decision", `"deny"`).payload(t)),
		"spaced payload": sign(jws.TypRuntimeEvidence, evidence.ContentDecision, append(o.payload(t), ' ')),
		"no signature":   head + "." + strings.SplitN(rest, ".", 2)[0] + ".",
		"a word":         "signed",
	} {
		if _, err := evidence.Check(evidence.ContentDecision, o.envelope(t, value), c); !errors.Is(err, evidence.ErrBody) {
			t.Errorf("%s: %v", name, err)
		}
	}
	facts, err := evidence.Check(evidence.ContentDecision, o.envelope(t, good), c)
	if err != nil || facts.Envelope == nil || facts.Envelope.Verify(missiontest.Keys(k)) != nil {
		t.Errorf("good: %v", err)
	}
	older := c
	older.LegacyTyp = true
	if _, err := evidence.Check(evidence.ContentDecision,
		o.envelope(t, sign(evidence.ContentDecision, "", o.payload(t))), older); err != nil {
		t.Errorf("older typ where it is accepted: %v", err)
	}
	if _, err := evidence.Check(evidence.ContentDecision,
		o.envelope(t, sign(evidence.ContentExecution, "", o.payload(t))), older); !errors.Is(err, evidence.ErrBody) {
		t.Errorf("older typ of another kind: %v", err)
	}
	foreign := bytes.Replace(o.envelope(t, good), []byte("jws-compact"), []byte("cose-sign1!"), 1)
	if _, err := evidence.Check(evidence.ContentDecision, foreign, c); !errors.Is(err, evidence.ErrBody) {
		t.Errorf("unknown format: %v", err)
	}
}

// Audit rows: 126.
func TestWorkProducts(t *testing.T) {
	k := missiontest.Key("mediator")
	artifact := []byte("the report")
	p := &evidence.Provenance{MissionID: "msn_1", DeploymentID: "d-1", Producer: "agent-1", CreatedAt: "2026-11-02T08:00:00Z"}
	bind := func(mediator string, role string) (*evidence.WorkProduct, error) {
		t.Helper()
		d, err := p.Digest(issuer)
		if err != nil {
			t.Fatal(err)
		}
		w := evidence.WorkProduct{Iss: issuer, Mediator: evidence.Emitter{ID: mediator, Role: role},
			Artifact: mission.RawDigest(artifact), Provenance: d}
		payload, err := mission.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		token, err := jws.Sign(t.Context(), k, jws.TypWorkProduct, payload)
		if err != nil {
			t.Fatal(err)
		}
		facts, err := evidence.Check(evidence.ContentWorkProduct, []byte(token), evidence.Claims{Issuer: issuer, Subject: feed})
		if err != nil {
			return nil, err
		}
		if _, err := evidence.Check(evidence.ContentWorkProduct, []byte(token),
			evidence.Claims{Issuer: "https://pep.example.com", Subject: feed}); !errors.Is(err, evidence.ErrProducer) {
			t.Errorf("another statement issuer: %v", err)
		}
		return facts.Record.(*evidence.WorkProduct), nil
	}
	w, err := bind("harness-1", evidence.Harness)
	if err != nil || w.Covers(p, artifact) != nil {
		t.Fatal(err)
	}
	if w.Covers(p, append(artifact, '.')) == nil {
		t.Error("another artifact")
	}
	other := *p
	other.MissionID = "msn_2"
	if w.Covers(&other, artifact) == nil {
		t.Error("another mission")
	}
	if self, err := bind("agent-1", evidence.Harness); err != nil || self.Covers(p, artifact) == nil {
		t.Errorf("the producer vouches for itself: %v", err)
	}
	if _, err := bind("harness-1", evidence.PEP); !errors.Is(err, evidence.ErrBody) {
		t.Errorf("a mediator of another role: %v", err)
	}
}

func FuzzCheck(f *testing.F) {
	var types []string
	for i, typ := range evidence.Types() {
		types = append(types, typ.ContentType)
		f.Add(i, []byte(`{"mission_id":"msn_1"}`))
	}
	for _, schema := range ours {
		for i, contentType := range types {
			if typ, _ := evidence.Lookup(contentType); typ.Schema == schema {
				f.Add(i, first(f, schema).seal(f, typ))
			}
		}
	}
	f.Fuzz(func(t *testing.T, which int, body []byte) {
		contentType := types[uint(which)%uint(len(types))]
		facts, err := evidence.Check(contentType, body, evidence.Claims{Issuer: issuer, Subject: feed})
		if facts.Digest != mission.RawDigest(body) || !facts.Known {
			t.Fatal("facts")
		}
		if err == nil && facts.Type.Form == evidence.Object {
			if again, err := mission.Canonical(body); err != nil || !bytes.Equal(again, body) {
				t.Fatal("accepted what is not canonical")
			}
		}
	})
}

// first reads the first valid example of a schema.
func first(t testing.TB, schema string) object {
	t.Helper()
	paths, _ := filepath.Glob(example + "valid/" + schema + ".*.json")
	if len(paths) == 0 {
		t.Fatal("no example of", schema)
	}
	return read(t, "valid/"+filepath.Base(paths[0]))
}

// Tokens are committed to as issued; what they say fits the statement.
//
// Audit rows: 107.
func TestTokens(t *testing.T) {
	k := missiontest.Key("issuer")
	const id = "msn_8RfX2Lqv9TqMv4z7sA2bN1k0YpEdHc9-"
	named := `{"iss":"` + issuer + `","mission":{"id":"` + id + `","issuer":"` + issuer + `"}}`
	event := `{"iss":"` + issuer + `","sub_id":{"format":"opaque","id":"` + id + `"}}`
	for _, tc := range []struct {
		contentType string
		typ         jws.Typ
		payload     string
		want        error
	}{
		{evidence.ContentMandate, jws.TypMandate, named, nil},
		{evidence.ContentMandateSD, jws.TypMandateSD, named, nil},
		{evidence.ContentSecurityEvent, jws.TypSecurityEvent, event, nil},
		{evidence.ContentMandate, jws.TypMandateSD, named, evidence.ErrBody},
		{evidence.ContentMandate, jws.TypSecurityEvent, named, evidence.ErrBody},
		{evidence.ContentMandate, jws.TypMandate, `{"iss":"https://b.example","mission":{"id":"m","issuer":"` + issuer + `"}}`, evidence.ErrBody},
		{evidence.ContentMandate, jws.TypMandate, `{"iss":"` + issuer + `"}`, evidence.ErrBody},
		{evidence.ContentMandate, jws.TypMandate, `{"iss":"` + issuer + `","mission":{"id":"msn_2","issuer":"` + issuer + `"}}`, evidence.ErrSubject},
		{evidence.ContentSecurityEvent, jws.TypSecurityEvent, `{"iss":"` + issuer + `","sub_id":{"format":"opaque","id":"a b"}}`, evidence.ErrBody},
		{evidence.ContentWorkProduct, jws.TypWorkProduct, `{"iss":"` + issuer + `"}`, evidence.ErrBody},
	} {
		token, err := jws.Sign(t.Context(), k, tc.typ, []byte(tc.payload))
		if err != nil {
			t.Fatal(err)
		}
		c := evidence.Claims{Issuer: issuer, Subject: feed}
		if _, err := evidence.Check(tc.contentType, []byte(token), c); !errors.Is(err, tc.want) {
			t.Errorf("%s as %s: %v, want %v", tc.typ, tc.contentType, err, tc.want)
		}
		c.Issuer = "https://b.example"
		if _, err := evidence.Check(tc.contentType, []byte(token), c); err == nil {
			t.Errorf("%s by another issuer", tc.contentType)
		}
	}
}
