package verifier

import (
	"context"
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/mission-authority/mas/ledger"
)

const decisions = "application/mission-decision-evidence+json"

// A governed log has a producer that comes with policy 1 (entry 2) and goes with policy 2 (entry 5).
type governed struct {
	*domain
	pdp   signer
	files map[string][]byte
}

// policy logs the successor of the policy in force.
func (g *governed) policy(number uint64, previous []byte, producers ...ledger.Producer) []byte {
	g.t.Helper()
	body, err := ledger.MarshalPolicy(&ledger.Policy{Order: ledger.Order{Issuer: g.issuer, Number: number,
		Previous: sha256.Sum256(previous), OrderedBy: [2]string{"admin-1", "admin-2"}}, Producers: producers})
	if err != nil {
		g.t.Fatal(err)
	}
	g.append("/policy", ledger.ContentTypePolicy, body, epoch)
	return body
}

// state logs a statement of the producer, whether or not the policy admits it.
func (g *governed) state(key ledger.Signer, contentType, mission string) uint64 {
	g.t.Helper()
	raw, err := ledger.SignStatement(context.Background(), ledger.Claims{Issuer: "https://pdp.example",
		Subject: g.issuer + "/missions/" + mission, ContentType: contentType, Digest: sha256.Sum256([]byte(mission + contentType))}, key)
	if err != nil {
		g.t.Fatal(err)
	}
	return g.appendStatement(raw, epoch)
}

func newGoverned(t *testing.T) *governed {
	t.Helper()
	g := &governed{domain: newDomain(t, "https://a.example", "a.example/log/1"), pdp: newSigner(t)}
	key, err := ledger.NewKey(g.pdp.public)
	if err != nil {
		t.Fatal(err)
	}
	var genesis []byte
	for _, b := range g.bodies {
		genesis = b.data
	}
	g.append("/missions/m", "application/x-test+json", []byte(`{}`), epoch)
	first := g.policy(1, genesis, ledger.Producer{Issuer: "https://pdp.example", Key: key, Types: []string{decisions}})
	g.state(g.pdp, decisions, "m1")
	g.state(g.pdp, decisions, "m2")
	g.policy(2, first)
	return g
}

// report verifies the mirror with every policy document but those left out.
func (g *governed) report(without ...ledger.Hash) *LogReport {
	g.files = g.mirror()
	for digest, b := range g.bodies {
		if ledger.PublicBody(b.contentType) && !slices.Contains(without, digest) {
			g.files[PolicyPath(digest)] = b.data
		}
	}
	return VerifyLog(source(g.files), g.trust(), LogOptions{Signatures: true, Admission: true})
}

// From the entries and the policy documents alone an auditor derives again, for every entry, whether the log had to
// take it, and finds each one that the log should have refused.
//
// Audit rows: 42.
func TestAdmissionIsDerivedAgain(t *testing.T) {
	g := newGoverned(t)
	r := g.report()
	if want := (AdmissionReport{Admitted: 6, Policy: 2}); r.Admission == nil || *r.Admission != want ||
		r.Findings.Outcome() != OK || r.Signatures != 4 || r.Unknown != 2 {
		t.Fatalf("%+v, %+v, %v", r, r.Admission, r.Findings)
	}
	for name, break_ := range map[string]func(*governed) uint64{
		"a producer that was removed": func(g *governed) uint64 { return g.state(g.pdp, decisions, "m3") },
		"an unknown key":              func(g *governed) uint64 { return g.state(newSigner(t), decisions, "m3") },
		"a forged signature": func(g *governed) uint64 {
			raw := slices.Clone(g.entries[1])
			raw[len(raw)-1] ^= 1
			return g.appendStatement(raw, epoch)
		},
		"an old policy again": func(g *governed) uint64 { return g.appendStatement(slices.Clone(g.entries[2]), epoch) },
		"a policy that skips": func(g *governed) uint64 {
			g.policy(4, []byte("another"))
			return uint64(len(g.entries) - 1)
		},
		"another's subject": func(g *governed) uint64 {
			raw, err := ledger.SignStatement(t.Context(), ledger.Claims{Issuer: g.issuer, Subject: "https://b.example/missions/m",
				ContentType: "a/b", Digest: ledger.Hash{1}}, g.evidence)
			if err != nil {
				t.Fatal(err)
			}
			return g.appendStatement(raw, epoch)
		},
	} {
		g := newGoverned(t)
		at := g.report().Size
		if index := break_(g); index != at {
			t.Fatalf("%s: entry %d", name, index)
		}
		r := g.report()
		if r.Admission.NotAdmitted != 1 || r.Admission.Admitted != at || !r.Findings.Code("not_admitted") || r.Findings.Outcome() != Wrong {
			t.Errorf("%s: %+v, %v", name, r.Admission, r.Findings)
		}
	}
}

// Without a policy document nothing after it is decided, and the report says so.
func TestAdmissionNeedsTheDocuments(t *testing.T) {
	g := newGoverned(t)
	var digests []ledger.Hash
	for _, index := range []int{0, 2, 5} {
		s, err := ledger.ParseStatement(g.entries[index])
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, s.Digest)
	}
	for i, undecided := range []uint64{6, 4, 1} {
		r := g.report(digests[i])
		if r.Admission.Undecided != undecided || r.Admission.Admitted != 6-undecided || r.Findings.Outcome() != Unverifiable {
			t.Errorf("%+v, %v", r.Admission, r.Findings)
		}
	}
	// Another log's genesis document is not this log's.
	trust := g.trust()
	trust.Issuer = "https://b.example"
	g.report()
	if r := VerifyLog(source(g.files), trust, LogOptions{Admission: true}); r.Admission.Admitted != 0 || !r.Findings.Code("not_admitted") {
		t.Errorf("%+v, %v", r.Admission, r.Findings)
	}
	// The types that a policy takes away are refused under it.
	h := newGoverned(t)
	h.state(h.pdp, "application/mission-approval-record+json", "m4")
	if r := h.report(); r.Admission.NotAdmitted != 1 {
		t.Errorf("%+v", r.Admission)
	}
}
