package verifier_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/verifier"
	"github.com/mission-authority/mas/verifier/verifiertest"
)

// sample is a domain with a mission that has been suspended, resumed and revoked, and its bundle.
func sample(t *testing.T) (*verifiertest.Domain, string, *verifiertest.Box) {
	t.Helper()
	d := verifiertest.New(t)
	id := d.Approve()
	d.Approve() // somebody else's
	d.Move(id, mission.OpSuspend)
	d.Move(id, mission.OpResume)
	d.Move(id, mission.OpRevoke)
	return d, id, verifiertest.OpenBox(t, d.Bundle(id))
}

func TestTamperedBundles(t *testing.T) {
	d, id, good := sample(t)
	subject := verifiertest.MissionSubject(id)
	transition := func(n int) string { return good.Find(mission.ContentTransition, n) }
	approval := good.Find(mission.ContentApprovalRecord, 0)
	for _, tc := range []struct {
		name    string
		change  func(b *verifiertest.Box) []byte
		outcome verifier.Outcome
		code    string
		verdict verifier.Verdict // of the statement at path, "" if it is not looked at
		path    string
	}{
		{name: "nothing", change: func(b *verifiertest.Box) []byte { return b.Close() }, outcome: verifier.OK, verdict: verifier.Verified,
			path: approval},
		{name: "body changed", change: func(b *verifiertest.Box) []byte {
			path := b.Record(approval)
			b.Files[path] = bytes.Replace(b.Files[path], []byte("Reconcile"), []byte("Reconcilf"), 1)
			return b.Close()
		}, outcome: verifier.Wrong, code: "record_digest", verdict: verifier.IntegrityFailure, path: approval},
		{name: "bodies swapped", change: func(b *verifiertest.Box) []byte {
			p, q := b.Record(transition(0)), b.Record(transition(1))
			b.Files[p], b.Files[q] = b.Files[q], b.Files[p]
			return b.Close()
		}, outcome: verifier.Wrong, code: "record_digest", verdict: verifier.IntegrityFailure, path: transition(1)},
		{name: "body dropped", change: func(b *verifiertest.Box) []byte {
			delete(b.Files, b.Record(transition(0)))
			return b.Close()
		}, outcome: verifier.Unverifiable, code: "evidence_missing", verdict: verifier.AuditFailure, path: transition(0)},
		{name: "body withheld", change: func(b *verifiertest.Box) []byte {
			delete(b.Files, b.Record(approval))
			return b.Close(func(m *verifier.Manifest) {
				m.Gaps = append(m.Gaps, verifier.Gap{EntryID: b.Statement(approval).Leaf().String(), Reason: "withheld"})
				m.Counts.Gaps++
			})
		}, outcome: verifier.Unverifiable, code: "evidence_withheld", verdict: verifier.AuditFailure, path: approval},
		{name: "erasure without a record", change: func(b *verifiertest.Box) []byte {
			delete(b.Files, b.Record(approval))
			leaf := b.Statement(approval).Leaf().String()
			return b.Close(func(m *verifier.Manifest) {
				m.Erased = append(m.Erased, verifier.Erasure{EntryID: leaf, Record: leaf})
				m.Counts.Erased++
			})
		}, outcome: verifier.Unverifiable, code: "erasure_unexplained", verdict: verifier.AuditFailure, path: approval},
		{name: "statement dropped in the middle", change: func(b *verifiertest.Box) []byte {
			delete(b.Files, b.Record(transition(1)))
			delete(b.Files, transition(1))
			return b.Close()
		}, outcome: verifier.Unverifiable, code: "version_gap"},
		{name: "last statement dropped", change: func(b *verifiertest.Box) []byte {
			delete(b.Files, b.Record(transition(2)))
			delete(b.Files, transition(2))
			return b.Close()
		}, outcome: verifier.Unverifiable, code: "feed_gap"},
		{name: "approval dropped", change: func(b *verifiertest.Box) []byte {
			delete(b.Files, b.Record(approval))
			delete(b.Files, approval)
			return b.Close()
		}, outcome: verifier.Unverifiable, code: "approval_missing"},
		{name: "consent dropped", change: func(b *verifiertest.Box) []byte {
			path := b.Find(mission.ContentConsentEvidence, 0)
			delete(b.Files, b.Record(path))
			delete(b.Files, path)
			return b.Close()
		}, outcome: verifier.Unverifiable, code: "consent_missing"},
		{name: "record added", change: func(b *verifiertest.Box) []byte {
			b.Files["records/"+strings.Repeat("ab", 32)+".json"] = []byte("{}")
			return b.Close()
		}, outcome: verifier.Wrong, code: "record_unreferenced"},
		{name: "statement under another name", change: func(b *verifiertest.Box) []byte {
			path := strings.Replace(transition(0), "statements/0", "statements/1", 1)
			b.Files[path] = b.Files[transition(0)]
			delete(b.Files, transition(0))
			return b.Close()
		}, outcome: verifier.Wrong, code: "file_misplaced"},
		{name: "statement twice", change: func(b *verifiertest.Box) []byte {
			b.Files[strings.Replace(transition(0), "statements/0", "statements/1", 1)] = b.Files[transition(0)]
			return b.Close()
		}, outcome: verifier.Wrong, code: "file_misplaced"},
		{name: "receipt of another entry", change: func(b *verifiertest.Box) []byte {
			raw, _, err := ledger.DetachReceipts(b.Files[transition(0)])
			must(t, err)
			_, receipts, err := ledger.DetachReceipts(b.Files[transition(1)])
			must(t, err)
			b.Files[transition(0)], err = ledger.AttachReceipts(raw, receipts...)
			must(t, err)
			return b.Close()
		}, outcome: verifier.Wrong, code: "receipt_invalid", verdict: verifier.IntegrityFailure, path: transition(0)},
		{name: "file not listed", change: func(b *verifiertest.Box) []byte {
			b.Close()
			b.Files["zzz"] = []byte("x")
			return b.Pack()
		}, outcome: verifier.Wrong, code: "file_unlisted"},
		{name: "listed file missing", change: func(b *verifiertest.Box) []byte {
			delete(b.Files, b.Record(approval))
			return b.Pack()
		}, outcome: verifier.Unverifiable, code: "file_missing"},
		{name: "manifest not repaired", change: func(b *verifiertest.Box) []byte {
			b.Files["checkpoint.note"] = append(bytes.Clone(b.Files["checkpoint.note"]), '\n')
			return b.Pack()
		}, outcome: verifier.Wrong, code: "file_changed"},
		{name: "counts", change: func(b *verifiertest.Box) []byte {
			return b.Close(func(m *verifier.Manifest) { m.Counts.Statements++ })
		}, outcome: verifier.Wrong, code: "manifest_counts"},
		{name: "head", change: func(b *verifiertest.Box) []byte {
			return b.Close(func(m *verifier.Manifest) { m.Log.Size++ })
		}, outcome: verifier.Wrong, code: "manifest_head"},
		{name: "exporter", change: func(b *verifiertest.Box) []byte {
			return b.Close(func(m *verifier.Manifest) { m.Exporter = "https://mas.z.example" })
		}, outcome: verifier.Unverifiable, code: "exporter_unknown"},
		{name: "query without the mission", change: func(b *verifiertest.Box) []byte {
			return b.Close(func(m *verifier.Manifest) {
				m.Query.Subjects = slices.DeleteFunc(m.Query.Subjects, func(s string) bool { return s == subject })
			})
		}, outcome: verifier.Wrong, code: "manifest_query"},
		{name: "query with a feed that is not there", change: func(b *verifiertest.Box) []byte {
			return b.Close(func(m *verifier.Manifest) {
				m.Query.Subjects = append(m.Query.Subjects, subject+"x")
				slices.Sort(m.Query.Subjects)
			})
		}, outcome: verifier.Unverifiable, code: "feed_end_unproven"},
		{name: "no feeds", change: func(b *verifiertest.Box) []byte {
			return b.Close(func(m *verifier.Manifest) { m.Query = verifier.Query{Subjects: []string{}} })
		}, outcome: verifier.Unverifiable, code: "no_feeds"},
		{name: "role", change: func(b *verifiertest.Box) []byte {
			return b.Close(func(m *verifier.Manifest) { m.Files[0].Role = "record" })
		}, outcome: verifier.Wrong, code: "file_misplaced"},
		{name: "no manifest", change: func(b *verifiertest.Box) []byte {
			delete(b.Files, "manifest.json")
			return b.Pack()
		}, outcome: verifier.Wrong, code: "manifest_missing"},
		{name: "manifest in another spelling", change: func(b *verifiertest.Box) []byte {
			b.Files["manifest.json"] = append(b.Files["manifest.json"], ' ')
			return b.Pack()
		}, outcome: verifier.Wrong, code: "manifest_malformed"},
		{name: "checkpoint of an older tree", change: func(b *verifiertest.Box) []byte {
			b.Files["checkpoint.note"] = d.SignedHead(d.Ledger.MustView(t).Head().Size - 1)
			return b.Close()
		}, outcome: verifier.Wrong, code: "receipt_head"},
		{name: "no checkpoint", change: func(b *verifiertest.Box) []byte {
			delete(b.Files, "checkpoint.note")
			return b.Close()
		}, outcome: verifier.Unverifiable, code: "checkpoint_missing"},
	} {
		r := verifier.VerifyBundle(tc.change(good.Clone()), d.Trust(), verifier.BundleOptions{})
		if r.Outcome != tc.outcome || tc.code != "" && !r.All().Code(tc.code) {
			t.Errorf("%s: outcome %s with %v, want %s with %s", tc.name, r.Outcome, r.All(), tc.outcome, tc.code)
		}
		if r.Completeness == verifier.Complete && tc.outcome == verifier.Unverifiable {
			t.Errorf("%s: said to be complete", tc.name)
		}
		for _, rec := range r.Records {
			if tc.verdict != "" && rec.Path == tc.path && rec.Verdict != tc.verdict {
				t.Errorf("%s: verdict %s, want %s", tc.name, rec.Verdict, tc.verdict)
			}
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Every octet of every file is changed in turn, with the manifest repaired. Nothing that is signed or committed to may
// pass, and a change that makes a key unknown is not called forgery.
func TestEveryOctetOfABundle(t *testing.T) {
	d, _, good := sample(t)
	trust := d.Trust()
	flips, step := 0, 13
	for path, data := range good.Files {
		if path == "manifest.json" || path == "README.txt" || strings.HasPrefix(path, "keys/") {
			continue
		}
		for at := 0; at < len(data); at += step {
			b := good.Clone()
			b.Files[path] = bytes.Clone(data)
			b.Files[path][at] ^= 1 << (at % 8)
			r := verifier.VerifyBundle(b.Close(), trust, verifier.BundleOptions{})
			if r.Outcome == verifier.OK {
				t.Fatalf("%s: octet %d is not covered", path, at)
			}
			for _, rec := range r.Records {
				if rec.Path == path && rec.Verdict == verifier.Verified {
					t.Fatalf("%s: octet %d is changed and the record verified", path, at)
				}
			}
			if strings.HasPrefix(path, "records/") && !r.All().Code("record_digest") {
				t.Fatalf("%s: octet %d gives %v", path, at, r.All())
			}
			flips++
		}
	}
	t.Logf("%d flips", flips)
}

// The manifest is not signed. What a change of it can reach is the exporter's word: the time, the hints, the media
// types.
func TestEveryOctetOfAManifest(t *testing.T) {
	d, _, good := sample(t)
	trust := d.Trust()
	text := good.Files["manifest.json"]
	want := verifier.VerifyBundle(good.Pack(), trust, verifier.BundleOptions{})
	passed := 0
	for at := range text {
		if at%5 != 0 {
			continue
		}
		b := good.Clone()
		b.Files["manifest.json"] = bytes.Clone(text)
		b.Files["manifest.json"][at] ^= 1
		r := verifier.VerifyBundle(b.Pack(), trust, verifier.BundleOptions{})
		if r.Outcome != verifier.OK {
			continue
		}
		passed++
		m, err := verifier.ParseManifest(b.Files["manifest.json"])
		must(t, err)
		original := good.Manifest()
		m.CreatedAt, m.Log.VKeys = original.CreatedAt, original.Log.VKeys
		for i := range m.Files {
			m.Files[i].MediaType = original.Files[i].MediaType
		}
		again, err := mission.Marshal(m)
		must(t, err)
		if !bytes.Equal(again, text) {
			t.Errorf("octet %d (%q) is believed", at, text[max(0, at-20):min(len(text), at+20)])
		}
		if len(r.Records) != len(want.Records) || r.AsOf != want.AsOf {
			t.Errorf("octet %d changes what is reported", at)
		}
	}
	t.Logf("%d of %d changes are of the exporter's word", passed, len(text))
}

func TestBundleKeys(t *testing.T) {
	d, _, good := sample(t)
	data := good.Pack()
	registered := d.At // of the last entry
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	set := func(status verifier.KeyStatus, until time.Time) func(*verifier.KeyRing) {
		return func(r *verifier.KeyRing) { (*r)[0].Status, (*r)[0].Until = status, until }
	}
	replace := func(r *verifier.KeyRing) { *r = verifier.KeyRing{{Public: other.Public(), Status: verifier.KeyActive}} }
	forge := func(r *verifier.KeyRing) {
		kid, err := ledger.KeyThumbprint((*r)[0].Public)
		must(t, err)
		*r = verifier.KeyRing{{KeyID: kid, Public: other.Public(), Status: verifier.KeyActive}}
	}
	for _, tc := range []struct {
		name              string
		evidence, receipt func(*verifier.KeyRing)
		outcome           verifier.Outcome
		code              string
	}{
		{name: "unknown evidence key", evidence: replace, outcome: verifier.Unverifiable, code: "evidence_key_unknown"},
		{name: "another issuer's evidence key", evidence: forge, outcome: verifier.Wrong, code: "statement_signature"},
		{name: "unknown receipt key", receipt: replace, outcome: verifier.Unverifiable, code: "receipt_key_unknown"},
		{name: "another log's receipt key", receipt: forge, outcome: verifier.Wrong, code: "receipt_invalid"},
		{name: "retired afterwards", evidence: set(verifier.KeyRetired, registered.Add(time.Second)), outcome: verifier.OK,
			code: "key_retired_later"},
		{name: "used after it was retired", evidence: set(verifier.KeyRetired, registered), outcome: verifier.Wrong,
			code: "key_retired"},
		{name: "compromised afterwards", evidence: set(verifier.KeyCompromised, registered.Add(time.Second)),
			outcome: verifier.OK, code: "key_compromised_later"},
		{name: "used after it was compromised", evidence: set(verifier.KeyCompromised, registered), outcome: verifier.Wrong,
			code: "key_compromised"},
		{name: "retired receipt key", receipt: set(verifier.KeyRetired, registered), outcome: verifier.OK,
			code: "receipt_key_retired"},
		{name: "compromised receipt key", receipt: set(verifier.KeyCompromised, registered.Add(time.Hour)),
			outcome: verifier.Unverifiable, code: "receipt_key_compromised"},
		{name: "both compromised", evidence: set(verifier.KeyCompromised, registered.Add(time.Hour)),
			receipt: set(verifier.KeyCompromised, registered.Add(time.Hour)), outcome: verifier.Unverifiable,
			code: "key_compromised_untimed"},
	} {
		trust := d.Trust()
		if tc.evidence != nil {
			tc.evidence(&trust.Evidence)
		}
		if tc.receipt != nil {
			tc.receipt(&trust.Receipts)
		}
		r := verifier.VerifyBundle(data, trust, verifier.BundleOptions{})
		if r.Outcome != tc.outcome || !r.All().Code(tc.code) {
			t.Errorf("%s: outcome %s with %v, want %s with %s", tc.name, r.Outcome, r.All(), tc.outcome, tc.code)
		}
	}
	trust := d.Trust()
	trust.Issuer = "https://mas.z.example"
	if r := verifier.VerifyBundle(data, trust, verifier.BundleOptions{}); r.Outcome != verifier.Unverifiable {
		t.Errorf("other issuer: outcome %s with %v", r.Outcome, r.All())
	}
	trust = d.Trust()
	trust.VKey, trust.Origin = verifiertest.New(t).Ledger.Keys.VKey, d.Ledger.Keys.Origin
	if r := verifier.VerifyBundle(data, trust, verifier.BundleOptions{}); r.Outcome != verifier.Unverifiable ||
		r.Completeness != verifier.NotAnchored || !r.All().Code("log_key_unknown") {
		t.Errorf("other log key: outcome %s, %s with %v", r.Outcome, r.Completeness, r.All())
	}
	if r := verifier.VerifyBundle(data, d.Trust(), verifier.BundleOptions{Mission: "msn_other"}); !r.All().Code("other_mission") {
		t.Errorf("other mission: %v", r.All())
	}
}

// What the issuer itself signs and logs is still held against the rules.
func TestIssuerThatBreaksTheRules(t *testing.T) {
	for _, tc := range []struct {
		name   string
		events func(d *verifiertest.Domain, id string, rec *mission.Record, cur mission.Standing) [][2]any
		code   string
	}{
		{name: "revoked mission comes back", code: "transition_illegal",
			events: func(d *verifiertest.Domain, _ string, _ *mission.Record, cur mission.Standing) [][2]any {
				next := cur
				next.Version, next.State, next.ChangedAt = cur.Version+1, mission.Active, mission.FormatTime(d.At)
				return [][2]any{{mission.ContentTransition, mission.NewTransitionRecord(verifiertest.Issuer, cur, next, mission.OpResume)}}
			}},
		{name: "approved again", code: "approved_twice",
			events: func(_ *verifiertest.Domain, _ string, rec *mission.Record, _ mission.Standing) [][2]any {
				again := *rec
				again.PolicyVersion = "another"
				return [][2]any{{mission.ContentApprovalRecord, &again}}
			}},
		{name: "record of another mission", code: "record_content",
			events: func(_ *verifiertest.Domain, _ string, rec *mission.Record, _ mission.Standing) [][2]any {
				again := *rec
				again.ID = mission.NewMissionID()
				return [][2]any{{mission.ContentApprovalRecord, &again}}
			}},
		{name: "record whose anchors do not recompute", code: "record_content",
			events: func(_ *verifiertest.Domain, _ string, rec *mission.Record, _ mission.Standing) [][2]any {
				again := *rec
				again.IntentHash = mission.RawDigest(nil)
				return [][2]any{{mission.ContentApprovalRecord, &again}}
			}},
		{name: "same version twice", code: "version_repeated",
			events: func(d *verifiertest.Domain, _ string, _ *mission.Record, cur mission.Standing) [][2]any {
				prior := cur
				prior.Version, prior.State = cur.Version-1, mission.Active
				return [][2]any{{mission.ContentTransition, mission.NewTransitionRecord(verifiertest.Issuer, prior, cur, mission.OpRevoke)}}
			}},
		{name: "not JSON", code: "record_content",
			events: func(*verifiertest.Domain, string, *mission.Record, mission.Standing) [][2]any {
				return [][2]any{{mission.ContentTransition, "no object"}}
			}},
	} {
		d := verifiertest.New(t)
		id := d.Approve()
		d.Move(id, mission.OpRevoke)
		r := verifier.VerifyBundle(d.Bundle(id), d.Trust(), verifier.BundleOptions{})
		if r.Outcome != verifier.OK {
			t.Fatalf("before: %v", r.All())
		}
		rec, cur := d.History(id)
		for _, e := range tc.events(d, id, rec, cur) {
			d.Write(verifiertest.MissionSubject(id), e[0].(string), e[1])
		}
		r = verifier.VerifyBundle(d.Bundle(id), d.Trust(), verifier.BundleOptions{})
		if r.Outcome != verifier.Wrong || !r.All().Code(tc.code) {
			t.Errorf("%s: outcome %s with %v, want %s", tc.name, r.Outcome, r.All(), tc.code)
		}
	}
}
