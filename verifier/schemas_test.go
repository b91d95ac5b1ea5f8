package verifier_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/schemas"
	"github.com/mission-authority/mas/verifier/verifiertest"
)

// schemaOf names the schema of an evidence body; bodies that are the state owner's own business have none.
var schemaOf = map[string]string{
	mission.ContentApprovalRecord:    "mission-record",
	mission.ContentTransition:        "lifecycle-transition",
	mission.ContentConsentEvidence:   "consent-evidence",
	mission.ContentAgreementEvent:    "agreement-event",
	mission.ContentDerivationReceipt: "derivation-receipt",
}

// TestDocumentsMatchTheirSchemas holds the schemas against the documents that two federating domains really make.
func TestDocumentsMatchTheirSchemas(t *testing.T) {
	verifiertest.InBorder(t, func(t *testing.T, b *verifiertest.Border) {
		upstream, local := b.Convey()
		b.Origin.Move(upstream, mission.OpSuspend)
		verifiertest.Settle()
		b.Origin.Move(upstream, mission.OpRevoke)
		verifiertest.Settle()
		documents := map[string][][]byte{}
		add := func(name string, doc []byte) { documents[name] = append(documents[name], doc) }
		for _, d := range b.Documents() {
			add(d.Schema, d.Body)
		}
		origin, receiver := b.Evidence(upstream, local)
		for _, bundle := range [][]byte{origin, receiver} {
			collect(t, verifiertest.OpenBox(t, bundle), add)
		}
		for _, p := range b.Proofs(origin, receiver) {
			text, err := mission.Marshal(p)
			must(t, err)
			add("consistency-proof", text)
		}
		token, _ := b.Receiver.Ask(local)
		add("status-response", payload(t, token))
		checked := 0
		for name, list := range documents {
			for _, doc := range list {
				if err := schemas.Validate(name, doc); err != nil {
					t.Errorf("%v\n%s", err, doc)
				}
				checked++
			}
		}
		for _, name := range []string{"mission-record", "lifecycle-transition", "consent-evidence", "agreement-event",
			"derivation-receipt", "projection", "status-response", "bundle-manifest", "trust", "signed-agreement", "agreement",
			"peer", "annex", "consistency-proof", "mission-intent", "authority-entry", "consent-disclosure", "submission",
			"submission-answer", "review", "decision", "introduction-request", "introduction", "local-mission-request",
			"projection-request", "agreement-exchange"} {
			if len(documents[name]) == 0 {
				t.Errorf("no document for %s", name)
			}
		}
		t.Logf("%d documents of %d schemas", checked, len(documents))
	})
}

// collect finds the documents in a bundle.
func collect(t *testing.T, box *verifiertest.Box, add func(string, []byte)) {
	t.Helper()
	add("bundle-manifest", box.Files["manifest.json"])
	add("trust", box.Files["keys/trust.json"])
	for path := range box.Files {
		if !strings.HasPrefix(path, "statements/") {
			continue
		}
		s := box.Statement(path)
		body := box.Files[box.Record(path)]
		switch name := schemaOf[s.ContentType]; {
		case s.ContentType == mission.ContentDerivationReceipt:
			add(name, payload(t, string(body)))
		case name != "":
			add(name, body)
		}
		var parts struct {
			Artifact   string      `json:"artifact,omitempty"`
			Response   string      `json:"response,omitempty"`
			Intent     mission.Raw `json:"intent,omitempty"`
			Set        mission.Raw `json:"authority_set,omitempty"`
			Disclosure mission.Raw `json:"disclosure,omitempty"`
		}
		if mission.DecodeOpen(body, &parts) != nil {
			continue
		}
		if parts.Artifact != "" {
			add("projection", payload(t, parts.Artifact))
		}
		if parts.Response != "" {
			add("status-response", payload(t, parts.Response))
		}
		if !parts.Intent.IsZero() {
			add("mission-intent", parts.Intent.Bytes())
		}
		if !parts.Disclosure.IsZero() {
			add("consent-disclosure", parts.Disclosure.Bytes())
		}
		var set []mission.Raw
		if !parts.Set.IsZero() && parts.Set.Decode(&set) == nil {
			for _, e := range set {
				add("authority-entry", e.Bytes())
			}
		}
	}
}

func payload(t *testing.T, compact string) []byte {
	t.Helper()
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		t.Fatal("not a compact JWS")
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(t, err)
	return b
}
