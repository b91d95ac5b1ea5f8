package authority_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/federation/federationtest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/mission/missiontest"
)

// A row of three domains: a conveys to b, b to c.
type row struct {
	ab, bc *border // the same b in both
	t      *testing.T
}

// inRow runs a test with three domains.
func inRow(t *testing.T, test func(*testing.T, *row)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		sides := make([]*side, 3)
		for i, host := range []string{"a.example", "b.example", "c.example"} {
			sides[i] = &side{t: t, dom: federationtest.New(t, host, time.Now), wire: &wire{}}
		}
		a, b, c := sides[0], sides[1], sides[2]
		a.configure(b)
		b.configure(a, c)
		c.configure(b)
		join := func(from, to *side) *border {
			x := &border{t: t, a: from, b: to, terms: federationtest.Terms(t, now, from.dom, to.dom)}
			x.signed = federationtest.Sign(t, x.terms, from.dom, to.dom)
			annexFrom := federationtest.Annex(from.dom, to.dom, approverOf(from.dom), now)
			annexFrom.Ceiling = nil
			annexFrom.Mapping.Outbound = append(annexFrom.Mapping.Outbound, federation.MappedPair{
				From: mission.Principal{Iss: from.dom.Issuer, Sub: "partner-desk"},
				To:   mission.Principal{Iss: from.dom.Issuer, Sub: "pairwise-2"},
			})
			annexTo := federationtest.Annex(to.dom, from.dom, approverOf(to.dom), now)
			annexTo.Mapping.Inbound = append(annexTo.Mapping.Inbound, federation.MappedPair{
				From: mission.Principal{Iss: from.dom.Issuer, Sub: "pairwise-2"},
				To:   mission.Principal{Iss: to.dom.Issuer, Sub: "partner-of-a-partner"},
			})
			onward := federationtest.Crossing([]string{"invoice.read"}, "https://c.example")
			onward.Federation.MaxLocalMissions = new(int64(2))
			annexTo.Ceiling.Entries = append(annexTo.Ceiling.Entries, onward)
			from.enter(to, x.signed, annexFrom, nil)
			to.enter(from, x.signed, annexTo, nil)
			return x
		}
		x := &row{t: t, ab: join(a, b), bc: join(b, c)}
		for _, s := range sides {
			t.Cleanup(s.close)
			s.open()
		}
		for _, s := range sides {
			s.start()
		}
		x.ab.settle()
		x.ab.approveCeiling()
		x.bc.approveCeiling()
		test(t, x)
	})
}

// crossed makes a mission of a whose one entry b may pass on to the onward issuers, and b's local mission of it.
func (x *row) crossed(onward ...string) (upstream, local mission.ID) {
	x.t.Helper()
	e := federationtest.Crossing([]string{"invoice.read"}, x.ab.b.dom.Issuer)
	e.Delegation.MaxDepth = 2
	e.Federation.Onward = onward
	upstream = x.ab.mission(e)
	held := federationtest.Held("invoice.read")
	held.Delegation = &mission.Delegation{MaxDepth: 1}
	if len(onward) > 0 {
		held.Federation = &mission.Federation{Audiences: onward, Shapes: e.Federation.Shapes}
	}
	submission, err := x.ab.mint(x.ab.mintRequest(upstream, x.ab.introduce(upstream), held))
	if err != nil {
		x.t.Fatal(err)
	}
	x.ab.settle()
	status, local := x.ab.poll(submission)
	if status != "approved" {
		x.t.Fatalf("the first hop is %s", status)
	}
	return upstream, local
}

// last mints at c from b's local mission.
func (x *row) last(local mission.ID) mission.ID {
	x.t.Helper()
	e := federationtest.Entry("invoice.read")
	e.Delegation = nil // the second border used up the last step
	submission, err := x.bc.mint(x.bc.mintRequest(local, x.bc.introduce(local), e))
	if err != nil {
		x.t.Fatal(err)
	}
	x.bc.settle()
	status, end := x.bc.poll(submission)
	if status != "approved" {
		x.t.Fatalf("the second hop is %s", status)
	}
	return end
}

// TestOnward: authority goes on to the domain that the first approver named, one step of delegation and one hop of the
// chain further, and is over there within two bounds when the first domain revokes.
func TestOnward(t *testing.T) {
	inRow(t, func(t *testing.T, x *row) {
		upstream, middle := x.crossed("https://c.example")
		end := x.last(middle)
		x.bc.wantState(end, mission.Active, "")
		var chain []federation.Hop
		for _, e := range x.bc.b.evidence(mission.ContentProjectionReceived) {
			var body struct {
				Artifact string `json:"artifact"`
			}
			if err := mission.DecodeOpen(e.Body, &body); err != nil {
				t.Fatal(err)
			}
			token, err := jws.Parse(body.Artifact, jws.TypProjection)
			if err != nil {
				t.Fatal(err)
			}
			p, err := federation.ParseProjection(token.Payload)
			if err != nil {
				t.Fatal(err)
			}
			chain = p.Delegation
		}
		if len(chain) != 2 || chain[0].Issuer != x.ab.a.dom.Issuer || chain[1].Issuer != x.ab.b.dom.Issuer ||
			chain[0].Basis != mission.BasisDirect || chain[1].Basis != mission.BasisPolicyDrawdown {
			t.Errorf("chain %+v", chain)
		}
		revoked := time.Now()
		x.ab.move(upstream, mission.OpRevoke)
		bound := x.bc.terms.Reliance(mission.ShapeLocalMission, 2)
		for {
			if state, _ := x.bc.state(end); state != mission.Active {
				break
			}
			if time.Since(revoked) > bound {
				t.Fatalf("still active %v after the revocation", time.Since(revoked))
			}
			time.Sleep(100 * time.Millisecond)
		}
		x.bc.settle()
		x.bc.wantState(end, mission.Cascaded, "")
		for _, s := range []*side{x.ab.a, x.ab.b, x.bc.b} {
			s.sound()
		}
	})
}

// TestOnwardIsNamed: a mission from elsewhere is conveyed on only where its first approver said so, and never back.
func TestOnwardIsNamed(t *testing.T) {
	inRow(t, func(t *testing.T, x *row) {
		_, plain := x.crossed()
		_, err := x.bc.a.Introduce(t.Context(), x.bc.a.as("agent"), x.bc.introductionRequest(plain))
		refusedAs(t, err, "invalid_target", "outside_agreement")
		_, named := x.crossed("https://c.example")
		_, err = x.ab.b.Introduce(t.Context(), x.ab.b.as("agent"), marshal(t, federation.IntroductionRequest{
			RequestID: "back", MissionID: named, Peer: x.ab.a.dom.Issuer}))
		refusedAs(t, err, "invalid_target", "chain")
		widened := federationtest.Held("invoice.read")
		widened.Federation = &mission.Federation{Audiences: []string{"https://c.example"},
			Shapes: []string{mission.ShapeStatus}}
		id := x.ab.mission()
		_, err = x.ab.mint(x.ab.mintRequest(id, x.ab.introduce(id), widened))
		refusedAs(t, err, "invalid_request", "not_strict_subset")
	})
}

// TestStalenessAddsUp: when the first domain falls silent, the third stops relying within two bounds, though the second
// answers all the time.
func TestStalenessAddsUp(t *testing.T) {
	inRow(t, func(t *testing.T, x *row) {
		_, middle := x.crossed("https://c.example")
		end := x.last(middle)
		x.ab.b.wire.set(func(w *wire) { w.cutTo = x.ab.a.dom.Issuer })
		began := time.Now()
		for {
			if state, _ := x.bc.state(end); state != mission.Active {
				break
			}
			if time.Since(began) > x.bc.terms.Reliance(mission.ShapeLocalMission, 2) {
				t.Fatal("still relying on silence")
			}
			time.Sleep(100 * time.Millisecond)
		}
		x.bc.settle()
		x.bc.wantState(end, mission.Suspended, mission.HoldUpstreamSuspended)
		x.ab.b.wire.set(func(w *wire) { w.cutTo = "" })
		x.bc.settle()
		x.bc.wantState(end, mission.Active, "")
	})
}

// TestLocalEnd: whatever ends a local mission, the origin is told, and nothing is asked about it any more.
func TestLocalEnd(t *testing.T) {
	for name, end := range map[string]func(*border, mission.ID){
		"revoked here": func(x *border, id mission.ID) {
			if _, err := x.b.Lifecycle(x.t.Context(), x.b.as("approver"), authority.LifecycleRequest{
				MissionID: string(id), Operation: mission.OpRevoke, Nonce: mission.NewSalt()}); err != nil {
				x.t.Fatal(err)
			}
		},
		"completed": func(x *border, id mission.ID) {
			if _, err := x.b.Lifecycle(x.t.Context(), x.b.as("agent"), authority.LifecycleRequest{
				MissionID: string(id), Operation: mission.OpComplete, Nonce: mission.NewSalt()}); err != nil {
				x.t.Fatal(err)
			}
		},
		"expired": func(*border, mission.ID) { time.Sleep(2 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			inBorder(t, borders{}, func(t *testing.T, x *border) {
				_, local := x.local()
				end(x, local)
				x.settle()
				if n := len(x.a.evidence(mission.ContentDerivationReceipt)); n != 2 {
					t.Errorf("the origin has %d receipts, want minted and ended", n)
				}
				asked := x.b.wire.count("status")
				time.Sleep(time.Minute)
				if x.b.wire.count("status") != asked {
					t.Error("an ended mission is still followed")
				}
				x.sound()
			})
		})
	}
}

// TestAgreementTakesBoth: an agreement is active only when each side has seen the other's activation in the other's
// log, whatever order and trouble it comes in.
func TestAgreementTakesBoth(t *testing.T) {
	inBorder(t, borders{idle: true}, func(t *testing.T, x *border) {
		id := x.mission()
		introduce := func() error {
			_, err := x.a.Introduce(t.Context(), x.a.as("agent"), x.introductionRequest(id))
			return err
		}
		refusedAs(t, introduce(), "not_found", "")
		x.a.wire.set(func(w *wire) { w.cut = true })
		x.b.wire.set(func(w *wire) { w.agree = func([]byte) []byte { return []byte(`{}`) } })
		x.a.start()
		x.b.start()
		time.Sleep(time.Minute)
		refusedAs(t, introduce(), "not_found", "")
		x.b.wire.set(func(w *wire) { w.agree = nil })
		time.Sleep(time.Minute) // a is still cut off: b's questions bring both into force
		if err := introduce(); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*side{x.a, x.b} {
			var events []string
			for _, e := range s.evidence(mission.ContentAgreementEvent) {
				event, err := federation.ParseAgreementEvent(e.Body)
				if err != nil {
					t.Fatal(err)
				}
				events = append(events, event.Event)
			}
			if got := strings.Join(events, " "); got != "signed activated confirmed" {
				t.Errorf("%s logged %q", s.dom.Issuer, got)
			}
		}
		x.sound()
	})
}

// TestNextVersion: another version of the agreement, signed by both, replaces the one before; nothing crosses until it
// is active; an older one is refused.
func TestNextVersion(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		_, local := x.local()
		ref, err := x.terms.Ref()
		if err != nil {
			t.Fatal(err)
		}
		next := *x.terms
		next.Version, next.Previous = 2, ref.Digest
		next.Freshness.StatusTTLSeconds = 4
		signed := federationtest.Sign(t, &next, x.a.dom, x.b.dom)
		x.b.config.Peers[0].Signed = signed
		x.b.restart()
		time.Sleep(20 * time.Second)
		if state, _ := x.state(local); state == mission.Active {
			t.Error("active while only one side has the next version")
		}
		x.a.config.Peers[0].Signed = signed
		x.a.restart()
		time.Sleep(20 * time.Second)
		x.wantState(local, mission.Active, "")
		for _, s := range []*side{x.a, x.b} {
			if n := len(s.evidence(mission.ContentAgreementEvent)); n != 6 {
				t.Errorf("%s logged %d events of two versions", s.dom.Issuer, n)
			}
		}
		x.b.config.Peers[0].Signed = x.signed
		x.b.restart()
		time.Sleep(20 * time.Second)
		if state, _ := x.state(local); state == mission.Active {
			t.Error("went back to an older version")
		}
		x.sound()
	})
}

// TestPeerKeysOfTheAgreement: a peer record whose keys are not the agreed ones does not start.
func TestPeerKeysOfTheAgreement(t *testing.T) {
	inBorder(t, borders{idle: true}, func(t *testing.T, x *border) {
		other := federationtest.New(t, "other.example", time.Now)
		c := x.b.config
		peer := c.Peers[0]
		record := *peer.Record
		record.JWKS = other.Record(t, x.b.dom).JWKS
		peer.Record = &record
		c.Peers = []authority.PeerConfig{peer}
		if _, err := authority.New(c); err == nil {
			t.Error("started with keys that nobody agreed to")
		}
		slow := *x.b.config.Peers[0].Annex
		slow.Poll = 5000
		peer = x.b.config.Peers[0]
		peer.Annex = &slow
		c.Peers = []authority.PeerConfig{peer}
		if _, err := authority.New(c); err == nil {
			t.Error("started with questions that come later than the answers run out")
		}
		c = x.b.config
		c.Upstream = nil
		if _, err := authority.New(c); err == nil {
			t.Error("started without a way to reach peers")
		}
	})
}

// TestStatusToPeerIsMinimal: a peer's status shows conveyed entries only, names the agreement, and is fresh no longer
// than agreed.
func TestStatusToPeerIsMinimal(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		e := federationtest.Crossing([]string{"invoice.read"}, x.b.dom.Issuer, "https://third.example")
		id := x.mission(e, federationtest.Entry("invoice.pay"))
		x.introduce(id)
		nonce := mission.NewSalt()
		token, err := x.a.Status(t.Context(), x.a.as("mas-b-example"), authority.StatusQuery{MissionID: string(id),
			Audience: x.b.dom.Issuer, Nonce: nonce})
		if err != nil {
			t.Fatal(err)
		}
		s, verdict := jws.CheckStatus(token, missiontest.Keys(x.a.dom.Key), mission.StatusContext{
			At: time.Now(), Issuer: x.a.dom.Issuer, Audience: x.b.dom.Issuer, Requester: "mas-b-example", Nonce: nonce,
			MissionID: id, Algs: []string{jws.ES256}})
		if verdict != mission.Accept {
			t.Fatal(verdict)
		}
		entries, _, err := s.Entries()
		if err != nil || len(entries) != 1 || entries[0].Federation != nil || len(entries[0].Actions) != 1 {
			t.Errorf("entries %+v, %v", entries, err)
		}
		ref, err := x.terms.Ref()
		if err != nil || s.Agreement == nil || *s.Agreement != ref {
			t.Errorf("agreement %+v", s.Agreement)
		}
		fresh, err := mission.ParseTime(s.Mission.FreshUntil)
		if err != nil || fresh.After(time.Now().Add(5*time.Second)) {
			t.Errorf("fresh until %v", s.Mission.FreshUntil)
		}
	})
}
