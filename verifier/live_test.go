package verifier_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/evidence"
	"github.com/mission-authority/mas/verifier"
	"github.com/mission-authority/mas/verifier/verifiertest"
)

// These tests verify, the auditor's way, what the state owner really writes.

func TestLiveMission(t *testing.T) {
	d := verifiertest.New(t)
	id := d.Approve()
	other := d.Approve()
	d.Move(id, mission.OpSuspend, func(q *authority.LifecycleRequest) {
		q.SuspendUntil, q.OnExpiry = mission.FormatTime(d.At.Add(time.Minute)), mission.OpResume
	})
	d.Move(id, mission.OpResume)
	d.Move(other, mission.OpComplete)
	d.Move(id, mission.OpSuspend)
	d.Move(id, mission.OpRevoke)
	r := verifier.VerifyBundle(d.Bundle(id), d.Trust(), verifier.BundleOptions{Mission: id})
	for _, f := range r.All() {
		t.Errorf("%s %s", f.Class, f)
	}
	for _, rec := range r.Records {
		if rec.Verdict != verifier.Verified {
			t.Errorf("entry %d (%s): %s", *rec.Index, rec.ContentType, rec.Verdict)
		}
	}
	if r.Outcome != verifier.OK || r.Completeness != verifier.Complete || r.By != "log" {
		t.Errorf("outcome %s, %s by %q", r.Outcome, r.Completeness, r.By)
	}
	if len(r.Missions) != 1 {
		t.Fatalf("%d missions", len(r.Missions))
	}
	m := r.Missions[0]
	if m.ID != id || m.State != mission.Revoked || m.Version != 5 || m.Approval != "dev-unattended" {
		t.Errorf("mission %+v", m)
	}
	unattended := false
	for _, c := range r.NotClaimed {
		unattended = unattended || c.Code == "dev-unattended"
	}
	if !unattended {
		t.Error("dev-unattended is not said")
	}
}

func TestExpiryAndDeadlines(t *testing.T) {
	d := verifiertest.New(t)
	id := d.Approve()
	d.Move(id, mission.OpSuspend, func(q *authority.LifecycleRequest) {
		q.SuspendUntil, q.OnExpiry = mission.FormatTime(d.At.Add(time.Minute)), mission.OpResume
	})
	d.At = d.At.Add(2 * time.Minute) // the deadline is served when somebody asks
	d.Ask(id)
	d.At = d.At.Add(2 * time.Hour)
	d.Ask(id)
	r := verifier.VerifyBundle(d.Bundle(id), d.Trust(), verifier.BundleOptions{})
	if r.Outcome != verifier.OK || len(r.Missions) != 1 || r.Missions[0].State != mission.Expired || r.Missions[0].Version != 4 {
		t.Errorf("outcome %s with %v, missions %+v", r.Outcome, r.All(), r.Missions)
	}
}

func TestLiveMirror(t *testing.T) {
	d := verifiertest.New(t)
	id := d.Approve()
	d.Move(id, mission.OpRevoke)
	files, trust, feeds := d.Mirror(), d.Trust(), d.Feeds(id)
	scan := func(files map[string][]byte) *verifier.LogReport {
		return verifier.VerifyLog(func(path string) ([]byte, error) {
			data, ok := files[path]
			if !ok {
				return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
			}
			return data, nil
		}, trust, verifier.LogOptions{Subjects: feeds, Signatures: true})
	}
	report := scan(files)
	if report.Findings.Outcome() != verifier.OK || report.Mirror == nil || report.Unknown != 0 {
		t.Fatalf("mirror: %+v", report)
	}
	opts := verifier.BundleOptions{Mirror: report.Mirror}
	r := verifier.VerifyBundle(d.Bundle(id), trust, opts)
	if r.Outcome != verifier.OK || r.By != "scan" {
		t.Errorf("outcome %s by %q: %v", r.Outcome, r.By, r.All())
	}
	// A feed that the bundle forgets to name is not claimed; one whose end is cut off is found by the scan.
	box := verifiertest.OpenBox(t, d.Bundle(id))
	last := box.Find(mission.ContentTransition, 0)
	delete(box.Files, box.Record(last))
	delete(box.Files, last)
	if r := verifier.VerifyBundle(box.Close(), trust, opts); !r.All().Code("feed_gap") || r.Completeness != verifier.Incomplete {
		t.Errorf("cut feed: %s, %v", r.Completeness, r.All())
	}
	// The mirror is older than the bundle.
	d.Move(d.Approve(), mission.OpRevoke)
	if r := verifier.VerifyBundle(d.Bundle(id), trust, opts); !r.All().Code("mirror_older") || r.Outcome != verifier.Unverifiable {
		t.Errorf("older mirror: %s, %v", r.Outcome, r.All())
	}
	// Whoever holds the log's key can sign another tree. The two heads convict it.
	later := scan(d.Mirror())
	cp := later.Mirror.Checkpoint
	cp.Root[0] ^= 1
	if err := later.Mirror.Extends(cp.Size, cp.Root); !errors.Is(err, ledger.ErrProof) {
		t.Errorf("a forged head is extended: %v", err)
	}
}

func TestErasedEvidence(t *testing.T) {
	d := verifiertest.New(t)
	id := d.Approve()
	box := verifiertest.OpenBox(t, d.Bundle(id))
	erased := box.Statement(box.Find(mission.ContentSubmission, 0))
	write := func(digest mission.Digest) {
		d.Write(verifiertest.MissionSubject(id), "application/mission-erasure-record+json", map[string]any{"erased": digest,
			"basis": "data_subject_request", "erased_at": mission.FormatTime(d.At), "salt": mission.NewSalt()})
	}
	without := func() *verifier.BundleReport {
		box := verifiertest.OpenBox(t, d.Bundle(id))
		delete(box.Files, box.Record(box.Find(mission.ContentSubmission, 0)))
		record := erased.Leaf().String()
		return verifier.VerifyBundle(box.Close(func(m *verifier.Manifest) {
			m.Erased = append(m.Erased, verifier.Erasure{EntryID: erased.Leaf().String(), Record: record})
			m.Counts.Erased++
		}), d.Trust(), verifier.BundleOptions{})
	}
	if r := without(); r.Outcome != verifier.Unverifiable || !r.All().Code("erasure_unexplained") {
		t.Errorf("unexplained: %s, %v", r.Outcome, r.All())
	}
	write(mission.DigestOf(erased.Digest))
	r := without()
	if r.Outcome != verifier.OK || r.Completeness != verifier.Complete {
		t.Errorf("explained: %s, %s, %v", r.Outcome, r.Completeness, r.All())
	}
	for _, rec := range r.Records {
		if rec.ContentType == mission.ContentSubmission && rec.Verdict != verifier.ErasedExplained {
			t.Errorf("verdict %s", rec.Verdict)
		}
	}
}

// Everything that two federating services log about themselves fits the catalogue of evidence types.
//
// Audit rows: 107.
func TestCatalogueKnowsWhatServicesLog(t *testing.T) {
	verifiertest.InBorder(t, func(t *testing.T, b *verifiertest.Border) {
		upstream, local := b.Convey()
		origin, receiver := b.Evidence(upstream, local)
		types := map[string]bool{}
		for _, data := range [][]byte{origin, receiver} {
			box := verifiertest.OpenBox(t, data)
			for path := range box.Files {
				if !strings.HasPrefix(path, "statements/") {
					continue
				}
				s := box.Statement(path)
				types[s.ContentType] = true
				f, err := evidence.Check(s.ContentType, box.Files[box.Record(path)],
					evidence.Claims{Issuer: s.Issuer, Subject: s.Subject})
				if err != nil || !f.Known {
					t.Errorf("%s on %s: %v", s.ContentType, s.Subject, err)
				}
			}
		}
		if len(types) < 12 {
			t.Errorf("only %d types", len(types))
		}
	})
}

// No entry of the log holds anything of a body: every text of every body is looked for in every entry.
//
// Audit rows: 38.
func TestEntriesHoldNothingOfBodies(t *testing.T) {
	verifiertest.InBorder(t, func(t *testing.T, b *verifiertest.Border) {
		b.Convey()
		verifiertest.Settle()
		for _, d := range []*verifiertest.Domain{b.Origin, b.Receiver} {
			v := d.Ledger.MustView(t)
			var entries [][]byte
			texts, public := map[string]bool{}, ""
			for i := range v.Head().Size {
				e, err := v.Entry(i)
				must(t, err)
				s, err := ledger.ParseStatement(e.Statement)
				must(t, err)
				entries = append(entries, e.Statement)
				public += s.Issuer + " " + s.Subject + " " + s.ContentType + " "
				body, err := v.Body(s.Digest)
				must(t, err)
				var value any
				if mission.Decode(body, &value) == nil {
					collectTexts(value, texts)
				} else {
					texts[string(body)] = true // a token, or CBOR
				}
			}
			looked := 0
			for text := range texts {
				if len(text) < 6 || strings.Contains(public, text) {
					continue
				}
				looked++
				for i, e := range entries {
					if strings.Contains(string(e), text) {
						t.Errorf("%s: entry %d holds a text of a body", d.Issuer, i)
					}
				}
			}
			if looked < 100 {
				t.Errorf("%s: only %d texts", d.Issuer, looked)
			}
			t.Logf("%s: %d texts in %d entries", d.Issuer, looked, len(entries))
		}
	})
}

// collectTexts gathers every member name and string of a JSON value.
func collectTexts(v any, texts map[string]bool) {
	switch v := v.(type) {
	case string:
		texts[v] = true
	case []any:
		for _, e := range v {
			collectTexts(e, texts)
		}
	case map[string]any:
		for name, e := range v {
			texts[name] = true
			collectTexts(e, texts)
		}
	}
}
