package verifier

import (
	"context"
	"crypto"
	"crypto/sha256"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/mission/missiontest"
)

// A scene is a log with one approved mission, and enforcement points that register evidence about it.
type scene struct {
	*domain
	rec       *mission.Record
	at        time.Time // of the next event; the log is two seconds behind
	producers map[string]*registrant
	withheld  []uint64 // entries whose body is left out
	erased    map[uint64]uint64
	subjects  []string
}

// registrant is one producer with its keys.
type registrant struct {
	issuer   string
	evidence signer
	key      jws.Signer
	types    []string
	scope    []string
}

func newScene(t testing.TB, edits ...func(*mission.Record)) *scene {
	t.Helper()
	s := &scene{domain: newDomain(t, missiontest.Issuer, "mas.a.example/log/1"), rec: missiontest.Record(edits...),
		at: missiontest.At, producers: map[string]*registrant{}, erased: map[uint64]uint64{}}
	for name, types := range map[string][]string{
		"pdp":      {evidence.ContentDecision, evidence.ContentRefusal},
		"pep":      {evidence.ContentExecution, evidence.ContentRefusal, evidence.ContentErasure},
		"receipts": {evidence.ContentReceipt},
	} {
		s.producers[name] = &registrant{issuer: "https://" + name + ".a.example", evidence: newSigner(t),
			key: missiontest.Key(name), types: types}
	}
	s.subjects = []string{s.feed()}
	s.log("", mission.ContentApprovalRecord, marshal(t, s.rec))
	return s
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := mission.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (s *scene) feed() string { return s.issuer + "/missions/" + string(s.rec.ID) }

// log registers a body on the mission's feed, by the issuer ("") or a producer.
func (s *scene) log(by, contentType string, data []byte) uint64 {
	return s.logOn(s.feed(), by, contentType, data)
}

func (s *scene) logOn(subject, by, contentType string, data []byte) uint64 {
	s.t.Helper()
	issuer, key := s.issuer, s.evidence
	if p := s.producers[by]; p != nil {
		issuer, key = p.issuer, p.evidence
	}
	raw, err := ledger.SignStatement(context.Background(), ledger.Claims{Issuer: issuer, Subject: subject,
		IssuedAt: s.at.Unix(), ContentType: contentType, Digest: sha256.Sum256(data)}, key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.bodies[sha256.Sum256(data)] = body{contentType, data}
	s.at = s.at.Add(2 * time.Second)
	return s.appendStatement(raw, s.at)
}

type members map[string]any

// sealed adds the envelope of a runtime record by a producer.
func (s *scene) sealed(by, contentType string, m members) []byte {
	s.t.Helper()
	value, err := jws.SignContent(context.Background(), s.producers[by].key, jws.TypRuntimeEvidence, contentType, marshal(s.t, m))
	if err != nil {
		s.t.Fatal(err)
	}
	out := maps.Clone(m)
	out["evidence_envelope"] = evidence.Envelope{Format: evidence.FormatJWS, Value: value}
	return marshal(s.t, out)
}

func (m members) with(edits members) members {
	out := maps.Clone(m)
	for k, v := range edits {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}

func (s *scene) now() string { return mission.FormatTime(s.at) }

func (s *scene) ref() evidence.MissionRef {
	return evidence.MissionRef{ID: s.rec.ID, Issuer: s.issuer, AuthorityHash: s.rec.AuthorityHash}
}

const evaluation = "dec_8K2nP4qV9rL3tY6sB1zN0eF7jB"

var digestA, digestB = mission.RawDigest([]byte("a")), mission.RawDigest([]byte("b"))

// decision is a high-consequence permit.
func (s *scene) decision(edits members) members {
	return members{"evidence_id": "evd_9Nq3TmR6xL2vP8kY4sD1eB7jH0wC5uA", "evaluation_id": evaluation,
		"mission": map[string]any{"id": string(s.rec.ID), "issuer": s.issuer, "authority_hash": string(s.rec.AuthorityHash),
			"policy_view_id": "view-1"}, "subject": map[string]any{"id": "user-1"}, "resource": map[string]any{"id": "je-1"},
		"action": map[string]any{"name": "invoices.read"}, "parameter_digest": string(digestA),
		"audience": missiontest.Resource, "action_class": "irreversible_action", "class_source": "default",
		"conditions": map[string]any{"valid_until": mission.FormatTime(s.at.Add(time.Minute)), "use_limit": 1},
		"decision":   "permit", "sequence": 0, "emitter": map[string]any{"id": "pdp.a.example", "role": "pdp"},
		"evaluated_at": s.now(), "entry_digest": string(digestA)}.with(edits)
}

func (s *scene) execution(edits members) members {
	return members{"execution_id": "exe_4r9SqLm8tY2pXkV3nR0eF7jB1zN6cQ5w", "evaluation_id": evaluation,
		"mission_id": string(s.rec.ID), "audience": missiontest.Resource, "authorized_parameter_digest": string(digestA),
		"effective_parameter_digest": string(digestA), "outcome": "completed", "outcome_at": s.now(), "sequence": 0,
		"emitter": map[string]any{"id": "pep.a.example", "role": "pep"}}.with(edits)
}

func (s *scene) decide(edits members) []byte {
	b := s.sealed("pdp", evidence.ContentDecision, s.decision(edits))
	s.log("pdp", evidence.ContentDecision, b)
	return b
}

func (s *scene) execute(edits members) []byte {
	b := s.sealed("pep", evidence.ContentExecution, s.execution(edits))
	s.log("pep", evidence.ContentExecution, b)
	return b
}

// trusted is the trust document with all producers.
func (s *scene) trusted() *Trust {
	s.t.Helper()
	trust := s.trust()
	for _, name := range slices.Sorted(maps.Keys(s.producers)) {
		p := s.producers[name]
		published := missiontest.Key(name)
		set, err := jws.NewKeySet(map[string]crypto.PublicKey{published.KeyID(): published.Public()})
		if err != nil {
			s.t.Fatal(err)
		}
		trust.Producers = append(trust.Producers, Producer{Issuer: p.issuer, Types: p.types, Audiences: p.scope, Keys: set,
			Evidence: s.ring(p.evidence)})
	}
	text, err := trust.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	again, err := ParseTrust(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return again
}

// report exports the mission and verifies it.
func (s *scene) report(opts BundleOptions) *BundleReport {
	s.t.Helper()
	cp, text := s.head(s.size())
	b := &Bundle{CreatedAt: s.at, Exporter: s.issuer, Query: Query{Mission: string(s.rec.ID), Subjects: s.subjects}, Head: cp,
		Checkpoint: text, VKeys: []string{s.vkey}}
	for i := range s.size() {
		b.Entries = append(b.Entries, BundleEntry{i, s.transparent(i)})
		st, err := ledger.ParseStatement(s.entries[i])
		if err != nil {
			s.t.Fatal(err)
		}
		if by, gone := s.erased[i]; gone {
			record, err := ledger.ParseStatement(s.entries[by])
			if err != nil {
				s.t.Fatal(err)
			}
			b.Erased = append(b.Erased, Erasure{st.Leaf().String(), record.Leaf().String()})
			continue
		}
		if !slices.Contains(s.withheld, i) {
			b.Records = append(b.Records, BundleRecord{st.ContentType, s.bodies[st.Digest].data})
		}
	}
	data, err := b.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	return VerifyBundle(data, s.trusted(), opts)
}

// expect fails unless the report has exactly these codes beyond what every scene has: no person consented in it.
func expect(t *testing.T, name string, r *BundleReport, codes ...string) {
	t.Helper()
	var got []string
	for _, f := range r.All() {
		if f.Code != "consent_missing" && !slices.Contains(got, f.Code) {
			got = append(got, f.Code)
		}
	}
	slices.Sort(got)
	slices.Sort(codes)
	if !slices.Equal(got, codes) {
		t.Errorf("%s: %v, want %v\n%v", name, got, codes, r.All())
	}
}

// The expected-set rules E1 to E10, each kept and each broken.
//
// Audit rows: 118, 120, 137.
func TestExpectedSets(t *testing.T) {
	transition := func(s *scene, cur mission.Standing, op mission.Operation) mission.Standing {
		next, _, err := mission.Next(cur, mission.Transition{Operation: op}, s.at)
		if err != nil {
			t.Fatal(err)
		}
		s.log("", mission.ContentTransition, marshal(t, mission.NewTransitionRecord(s.issuer, cur, next, op)))
		return next
	}
	for _, tc := range []struct {
		name  string
		story func(*scene)
		opts  BundleOptions
		codes []string

		consented bool // the approver's consent is looked at too
	}{
		{name: "E1 one approval", story: func(*scene) {}},
		{name: "E1 two approvals", story: func(s *scene) {
			s.log("", mission.ContentApprovalRecord, marshal(t, missiontest.Record(func(r *mission.Record) { r.PolicyVersion = "2" })))
		}, codes: []string{"approved_twice"}},
		{name: "E2 gapless, terminal last", story: func(s *scene) {
			cur := transition(s, mission.Begin(s.rec), mission.OpSuspend)
			cur = transition(s, cur, mission.OpResume)
			transition(s, cur, mission.OpRevoke)
		}},
		{name: "E2 a version is missing", story: func(s *scene) {
			cur, _, err := mission.Next(mission.Begin(s.rec), mission.Transition{Operation: mission.OpSuspend}, s.at)
			if err != nil {
				t.Fatal(err)
			}
			transition(s, cur, mission.OpRevoke)
		}, codes: []string{"version_gap"}},
		{name: "E2 after the end", story: func(s *scene) {
			cur := transition(s, mission.Begin(s.rec), mission.OpRevoke)
			again := cur
			again.Version++
			again.State, again.ChangedAt = mission.Active, s.now()
			s.log("", mission.ContentTransition, marshal(t, mission.NewTransitionRecord(s.issuer, cur, again, mission.OpResume)))
		}, codes: []string{"transition_illegal"}},
		{name: "E3 numbered without a gap, each emitter for itself", story: func(s *scene) {
			s.decide(members{"action_class": "consequential_read", "sequence": 1})
			s.decide(members{"action_class": "consequential_read", "sequence": 2, "evaluation_id": "dec_other0K2nP4qV9rL3tY6sB1zN"})
			s.execute(members{"sequence": 0})
		}},
		{name: "E3 a number is missing", story: func(s *scene) {
			s.decide(members{"action_class": "consequential_read"})
			s.decide(members{"action_class": "consequential_read", "sequence": 2, "evaluation_id": "dec_other0K2nP4qV9rL3tY6sB1zN"})
		}, codes: []string{"sequence_gap"}},
		{name: "E3 the first are missing", story: func(s *scene) {
			s.decide(members{"action_class": "consequential_read", "sequence": 42})
		}, codes: []string{"sequence_gap"}},
		{name: "E3 a number twice", story: func(s *scene) {
			s.decide(members{"action_class": "consequential_read"})
			s.decide(members{"action_class": "consequential_read", "evaluation_id": "dec_other0K2nP4qV9rL3tY6sB1zN"})
		}, codes: []string{"sequence_repeated"}},
		{name: "E4 a permit with its outcome", story: func(s *scene) { s.decide(nil); s.execute(nil) }},
		{name: "E4 a permit that is still good", story: func(s *scene) { s.decide(nil) }, codes: []string{"execution_pending"}},
		{name: "E4 a permit without outcome", story: func(s *scene) {
			s.decide(nil)
			s.at = s.at.Add(time.Hour)
			s.log("", "application/x-later", []byte("later"))
		}, codes: []string{"execution_undetermined"}},
		{name: "E4 a reversible permit needs no outcome", story: func(s *scene) {
			s.decide(members{"action_class": "consequential_write"})
			s.at = s.at.Add(time.Hour)
			s.log("", "application/x-later", []byte("later"))
		}},
		{name: "E4 two outcomes", story: func(s *scene) {
			s.decide(nil)
			s.execute(nil)
			s.execute(members{"sequence": 1, "execution_id": "exe_otherSqLm8tY2pXkV3nR0eF7jB"})
		}, codes: []string{"executed_twice"}},
		{name: "E5 a suppressed deviation", story: func(s *scene) {
			s.decide(nil)
			s.execute(members{"effective_parameter_digest": string(digestB), "outcome": "suppressed", "error": "parameter_mismatch"})
		}},
		{name: "E5 other parameters than permitted", story: func(s *scene) {
			s.decide(nil)
			s.execute(members{"effective_parameter_digest": string(digestB)})
		}, codes: []string{"unauthorized_execution"}},
		{name: "E5 denied, and done", story: func(s *scene) {
			s.decide(members{"decision": "deny", "denial_reason": "out_of_authority", "conditions": nil, "entry_digest": nil})
			s.execute(nil)
		}, codes: []string{"unauthorized_execution"}},
		{name: "E5 without decision", story: func(s *scene) { s.execute(nil) }, codes: []string{"decision_missing"}},
		{name: "E5 another digest than the decision's", story: func(s *scene) {
			s.decide(nil)
			s.execute(members{"authorized_parameter_digest": string(digestB), "effective_parameter_digest": string(digestB)})
		}, codes: []string{"execution_mismatch"}},
		{name: "E6 derived before use", story: func(s *scene) {
			s.log("", evidence.ContentDerivation, marshal(t, s.derivation(missiontest.Resource)))
			s.decide(members{"action_class": "consequential_read"})
		}},
		{name: "E6 used before derived", story: func(s *scene) {
			s.decide(members{"action_class": "consequential_read"})
			s.log("", evidence.ContentDerivation, marshal(t, s.derivation(missiontest.Resource)))
		}, codes: []string{"derivation_missing"}},
		{name: "E6 derived for another audience", story: func(s *scene) {
			s.log("", evidence.ContentDerivation, marshal(t, s.derivation("https://mail.z.example")))
		}, codes: []string{"derivation_audience"}},
		{name: "E7 child with its approval", story: func(s *scene) { s.child(s.childRecord().AuthorityHash, false) }},
		{name: "E7 child elsewhere", story: func(s *scene) {
			s.log("", evidence.ContentChild, marshal(t, s.childEvidence(s.childRecord().AuthorityHash)))
		}, codes: []string{"child_elsewhere"}},
		{name: "E7 child with another authority", story: func(s *scene) { s.child(digestB, false) },
			codes: []string{"child_mismatch"}},
		{name: "E7 child outlives its parent", story: func(s *scene) {
			s.child(s.childRecord().AuthorityHash, false)
			transition(s, mission.Begin(s.rec), mission.OpRevoke)
		}, codes: []string{"cascade_missing"}},
		{name: "E7 child ends with its parent", story: func(s *scene) {
			s.child(s.childRecord().AuthorityHash, true)
			transition(s, mission.Begin(s.rec), mission.OpRevoke)
		}},
		{name: "E8 consent to what was approved", story: func(s *scene) { s.consent(nil) }, consented: true},
		{name: "E8 no consent", story: func(*scene) {}, consented: true, codes: []string{"consent_missing"}},
		{name: "E8 declined", story: func(s *scene) { s.declined() }, consented: true, codes: []string{"consent_missing"}},
		{name: "E8 consent to another event", story: func(s *scene) {
			s.consent(members{"approval_event_id": "evt_2Yt7Qv9LqMv4z7sA2bN1k0YpEdHc9Rxx"})
		}, consented: true, codes: []string{"consent_mismatch"}},
		{name: "E8 consent by another approver", story: func(s *scene) {
			s.consent(members{"approver": map[string]any{"iss": "https://id.a.example", "sub": "stranger"}})
		}, consented: true, codes: []string{"consent_mismatch"}},
		{name: "E8 two consents", story: func(s *scene) {
			s.consent(nil)
			s.consent(members{"evidence_id": "evt_7Yt7Qv9LqMv4z7sA2bN1k0YpEdHc9Rxx", "sequence": 2})
		}, consented: true, codes: []string{"consent_twice"}},
		{name: "E9 registered in time", story: func(s *scene) { s.decide(nil); s.execute(nil) },
			opts: BundleOptions{Within: 3 * time.Second}},
		{name: "E9 registered late", story: func(s *scene) {
			b := s.sealed("pdp", evidence.ContentDecision, s.decision(members{"action_class": "consequential_read"}))
			s.at = s.at.Add(time.Hour)
			s.log("pdp", evidence.ContentDecision, b)
		}, opts: BundleOptions{Within: time.Minute}, codes: []string{"registered_late"}},
		{name: "E9 registered before it happened", story: func(s *scene) {
			s.decide(members{"action_class": "consequential_read", "evaluated_at": mission.FormatTime(s.at.Add(time.Hour))})
		}, opts: BundleOptions{Within: time.Minute}, codes: []string{"registered_early"}},
		{name: "E10 erased and recorded", story: func(s *scene) {
			s.decide(members{"action_class": "consequential_read"})
			s.erase(s.size()-1, "", s.size()-1)
		}},
		{name: "E10 erased and not recorded", story: func(s *scene) {
			s.decide(members{"action_class": "consequential_read"})
			s.erased[s.size()-1] = s.size() - 1
		}, codes: []string{"erasure_unexplained"}},
		{name: "E10 another erasure recorded", story: func(s *scene) {
			s.decide(members{"action_class": "consequential_read"})
			s.erase(s.size()-1, "", 1)
		}, codes: []string{"erased_here", "erasure_unexplained"}},
		{name: "E10 recorded by another producer", story: func(s *scene) {
			s.decide(members{"action_class": "consequential_read"})
			s.erase(s.size()-1, "pep", s.size()-1)
		}, codes: []string{"erasure_by_another", "erasure_unexplained"}},
		{name: "E10 erasure of nothing", story: func(s *scene) {
			s.log("", evidence.ContentErasure, marshal(t, evidence.Erasure{Erased: digestB, Basis: evidence.BasisRetention,
				ErasedAt: s.now(), Salt: mission.NewSalt()}))
		}, codes: []string{"erasure_of_nothing"}},
	} {
		s := newScene(t)
		if tc.consented {
			s = newScene(t, func(r *mission.Record) { _, r.ConsentRenderingHash = disclosed(t) })
		}
		tc.story(s)
		r := s.report(tc.opts)
		if missing := r.All().Code("consent_missing"); tc.consented && missing != slices.Contains(tc.codes, "consent_missing") {
			t.Errorf("%s: consent missing: %t", tc.name, missing)
		}
		expect(t, tc.name, r, slices.DeleteFunc(tc.codes, func(c string) bool { return c == "consent_missing" })...)
	}
}

// disclosed is the disclosure of the mission of a scene.
func disclosed(t testing.TB) (*mission.Disclosure, mission.Digest) {
	t.Helper()
	rec := missiontest.Record()
	d, hash, err := mission.NewDisclosure(mission.DisclosureInput{ID: "dsc_1", Issuer: rec.Issuer, Intent: rec.Intent,
		Set: rec.AuthoritySet, ExpiresAt: rec.ExpiresAt, Subject: mission.Party{Iss: rec.Subject.Iss, Sub: rec.Subject.Sub},
		Approver: mission.Party{Iss: rec.Approver.Iss, Sub: rec.Approver.Sub}, Client: mission.RequestingClient{ClientID: rec.ClientID},
		Source: rec.AuthoritySource, PolicyVersion: rec.PolicyVersion, Channel: "test", RenderedAt: rec.CreatedAt})
	if err != nil {
		t.Fatal(err)
	}
	return d, hash
}

// consent logs the consent of the mission's approver.
func (s *scene) consent(edits members) {
	s.t.Helper()
	s.logConsent(s.feed(), s.consentOf(true).with(edits))
}

// declined logs that the approver declined the same disclosure, where there is no mission.
func (s *scene) declined() {
	s.t.Helper()
	feed := s.issuer + "/approvals/" + string(s.rec.ApprovalEventID)
	s.subjects = append(s.subjects, feed)
	s.logConsent(feed, s.consentOf(false).with(members{"decision": "declined", "approved_at": nil, "declined_at": s.rec.CreatedAt}))
}

func (s *scene) consentOf(approved bool) members {
	s.t.Helper()
	shown, hash := disclosed(s.t)
	m := map[string]any{"issuer": s.issuer, "intent_hash": string(s.rec.IntentHash),
		"authority_hash": string(s.rec.AuthorityHash), "consent_rendering_hash": string(hash)}
	if approved {
		m["id"] = string(s.rec.ID)
	}
	return members{"evidence_id": "evt_2Yt7Qv9LqMv4z7sA2bN1k0YpEdHc9Rzz", "mission": m, "approver": s.rec.Approver,
		"decision": "approved", "approved_at": s.rec.CreatedAt, "disclosure": shown, "sequence": 1,
		"authentication_context": map[string]any{"method": "oidc"}, "approval_event_id": string(s.rec.ApprovalEventID)}
}

func (s *scene) logConsent(feed string, m members) {
	s.t.Helper()
	value, err := jws.Sign(context.Background(), s.keys["status"], jws.TypConsentEvidence, marshal(s.t, m))
	if err != nil {
		s.t.Fatal(err)
	}
	s.logOn(feed, "", mission.ContentConsentEvidence, marshal(s.t, m.with(members{
		"evidence_envelope": evidence.Envelope{Format: evidence.FormatJWS, Value: value}})))
}

// erase leaves the body of an entry out and logs an erasure record about the body of another, if it is another.
func (s *scene) erase(index uint64, by string, recorded uint64) {
	s.t.Helper()
	st, err := ledger.ParseStatement(s.entries[recorded])
	if err != nil {
		s.t.Fatal(err)
	}
	s.erased[index] = s.log(by, evidence.ContentErasure, marshal(s.t, evidence.Erasure{Erased: mission.DigestOf(st.Digest),
		Basis: evidence.BasisDataSubject, ErasedAt: s.now(), Salt: mission.NewSalt()}))
}

func (s *scene) derivation(aud string) evidence.Derivation {
	return evidence.Derivation{MissionID: s.rec.ID, Issuer: s.issuer, Token: digestA, TokenKind: evidence.TokenJTI, Aud: aud,
		Entries: digestB, IssuedAt: s.now()}
}

func (s *scene) childRecord() *mission.Record {
	return missiontest.Record(func(r *mission.Record) {
		r.ID = "msn_9KwP2rT6vX1nL4qY8sB3zC7mF5jDpQ2e"
		r.ApprovalEventID = "evt_9Kt7Qv9LqMv4z7sA2bN1k0YpEdHc9RfX"
	})
}

func (s *scene) childEvidence(authority mission.Digest) members {
	return members{"evidence_id": "chd_8K2nP4qV9rL3tY6sB1zN0e", "parent": s.ref(), "child": map[string]any{
		"id": string(s.childRecord().ID), "issuer": s.issuer, "authority_hash": string(authority)},
		"child_actor": map[string]any{"sub": "agent-2"}, "attenuation": map[string]any{"result": "strict_subset"},
		"cascade_mode": "immediate", "decision": "created", "created_at": s.now()}
}

// child logs a child mission and its evidence on the parent's feed.
func (s *scene) child(authority mission.Digest, ends bool) {
	s.t.Helper()
	rec := s.childRecord()
	feed := s.issuer + "/missions/" + string(rec.ID)
	s.subjects = append(s.subjects, feed)
	s.log("", evidence.ContentChild, marshal(s.t, s.childEvidence(authority)))
	s.logOn(feed, "", mission.ContentApprovalRecord, marshal(s.t, rec))
	if ends {
		next, _, err := mission.Next(mission.Begin(rec), mission.Transition{Operation: mission.OpRevoke}, s.at)
		if err != nil {
			s.t.Fatal(err)
		}
		s.logOn(feed, "", mission.ContentTransition,
			marshal(s.t, mission.NewTransitionRecord(s.issuer, mission.Begin(rec), next, mission.OpRevoke)))
	}
}
