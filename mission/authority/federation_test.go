package authority_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/federation/federationtest"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
)

// TestBorder is the main job between two domains: agreement, ceiling, introduction, local mission, reliance,
// revocation.
func TestBorder(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		upstream, local := x.local()
		st, verdict, err := x.ask(local)
		if err != nil || verdict != mission.Accept {
			t.Fatalf("the relying party is told %s, %v", verdict, err)
		}
		entries, _, err := st.Entries()
		if err != nil || len(entries) != 1 || entries[0].Actions[0] != "invoice.read" {
			t.Errorf("entries %+v, %v", entries, err)
		}
		began := time.Now()
		x.move(upstream, mission.OpRevoke)
		for {
			if state, _ := x.state(local); state != mission.Active {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if took := time.Since(began); took == 0 || took > x.terms.Reliance(mission.ShapeLocalMission, 1) {
			t.Errorf("the revocation took %v to get there", took)
		}
		x.wantState(local, mission.Cascaded, "")
		x.settle()
		for _, s := range []*side{x.a, x.b} {
			if n := len(s.evidence(mission.ContentAgreementEvent)); n != 3 {
				t.Errorf("%s logged %d events of the agreement, want signed, activated, confirmed", s.dom.Issuer, n)
			}
			if n := len(s.evidence(mission.ContentDerivationReceipt)); n != 2 {
				t.Errorf("%s logged %d derivation receipts, want minted and ended", s.dom.Issuer, n)
			}
			if len(s.evidence(mission.ContentPeerCheckpoint)) < 3 {
				t.Errorf("%s did not log its peer's head at agreement, mint and revoke", s.dom.Issuer)
			}
		}
		if n := len(x.a.evidence(mission.ContentStatusServed)); n != 2 {
			t.Errorf("the origin logged %d first answers, want one for each version", n)
		}
		if n := len(x.b.evidence(mission.ContentStatusObserved)); n != 2 {
			t.Errorf("the receiver logged %d observations, want one for each version", n)
		}
		x.sound()
	})
}

// TestRelianceEndsWithinTheBound: whatever the network does when the upstream is revoked, nobody is told that the local
// mission may be relied on past the published bound; and nothing that was said before allows it either.
func TestRelianceEndsWithinTheBound(t *testing.T) {
	for name, disturb := range map[string]func(*wire){
		"fine":            func(*wire) {},
		"cut":             func(w *wire) { w.cut = true },
		"slow":            func(w *wire) { w.delay = 2400 * time.Millisecond },
		"hangs":           func(w *wire) { w.delay = time.Hour },
		"unauthorized":    func(w *wire) { w.refuse = 401 },
		"not found":       func(w *wire) { w.refuse = 404 },
		"garbage":         func(w *wire) { w.status = func(string) string { return "garbage" } },
		"second spelling": func(w *wire) { w.status = func(s string) string { return s + "\n" } },
	} {
		t.Run(name, func(t *testing.T) {
			inBorder(t, borders{}, func(t *testing.T, x *border) {
				upstream, local := x.local()
				for range 7 { // anywhere between two looks
					time.Sleep(130 * time.Millisecond)
				}
				x.b.wire.set(disturb)
				x.move(upstream, mission.OpRevoke)
				revoked := time.Now()
				bound := x.terms.Reliance(mission.ShapeLocalMission, 1)
				for time.Since(revoked) < 2*bound {
					st, verdict, err := x.ask(local)
					if err != nil {
						t.Fatal(err)
					}
					if verdict == mission.Accept {
						fresh, err := mission.ParseTime(st.Mission.FreshUntil)
						if err != nil || fresh.After(revoked.Add(bound)) {
							t.Fatalf("relied on until %v after the revocation, bound %v", fresh.Sub(revoked), bound)
						}
						if time.Since(revoked) >= bound {
							t.Fatalf("active %v after the revocation", time.Since(revoked))
						}
					}
					time.Sleep(100 * time.Millisecond)
				}
				x.sound()
			})
		})
	}
}

// TestSilence: silence holds and never ends; a fresh answer alone lifts the hold.
func TestSilence(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		_, local := x.local()
		x.b.wire.set(func(w *wire) { w.cut = true })
		time.Sleep(3500 * time.Millisecond)
		x.wantState(local, mission.Active, "")
		time.Sleep(1500 * time.Millisecond)
		x.wantState(local, mission.Suspended, mission.HoldUpstreamUnverified)
		time.Sleep(time.Hour)
		x.wantState(local, mission.Suspended, mission.HoldUpstreamUnverified)
		x.b.wire.set(func(w *wire) { w.cut = false })
		x.settle()
		x.wantState(local, mission.Active, "")
		if n := len(x.b.evidence(mission.ContentTransition)); n != 3 { // release of the receipt's hold, hold, release
			t.Errorf("%d transitions were logged", n)
		}
		x.sound()
	})
}

// TestRefusedUpstream: an unsigned 404 after answers is an immediate hold, not an end.
func TestRefusedUpstream(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		_, local := x.local()
		x.b.wire.set(func(w *wire) { w.refuse = 404 })
		time.Sleep(1200 * time.Millisecond)
		x.wantState(local, mission.Suspended, mission.HoldUpstreamRefused)
		x.b.wire.set(func(w *wire) { w.refuse = 0 })
		x.settle()
		x.wantState(local, mission.Active, "")
		x.sound()
	})
}

// TestUpstreamSuspended: a suspension is followed both ways; a suspension of our own is not touched by it.
func TestUpstreamSuspended(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		upstream, local := x.local()
		x.move(upstream, mission.OpSuspend)
		x.settle()
		x.wantState(local, mission.Suspended, mission.HoldUpstreamSuspended)
		if _, err := x.b.Lifecycle(t.Context(), x.b.as("operator"), authority.LifecycleRequest{MissionID: string(local),
			Operation: mission.OpSuspend, Nonce: mission.NewSalt()}); err != nil {
			t.Fatal(err)
		}
		x.move(upstream, mission.OpResume)
		x.settle()
		x.wantState(local, mission.Suspended, "")
		if _, err := x.b.Lifecycle(t.Context(), x.b.as("operator"), authority.LifecycleRequest{MissionID: string(local),
			Operation: mission.OpResume, Nonce: mission.NewSalt()}); err != nil {
			t.Fatal(err)
		}
		x.wantState(local, mission.Active, "")
		x.sound()
	})
}

// TestRestart: what was fresh before a restart is not fresh after it; nothing positive is said before the upstream was
// asked again.
func TestRestart(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		_, local := x.local()
		x.b.close()
		x.b.open()
		x.wantState(local, mission.Suspended, mission.HoldUpstreamUnverified)
		x.b.start()
		x.settle()
		x.wantState(local, mission.Active, "")
		x.b.wire.set(func(w *wire) { w.cut = true })
		x.b.restart()
		x.wantState(local, mission.Suspended, mission.HoldUpstreamUnverified)
		x.sound()
	})
}

// resign changes the claims of an artifact of a and signs them with a's own key: what a hostile origin can do.
func (x *border) resign(key *jws.Key, typ jws.Typ, change func(map[string]any)) func(string) string {
	return func(compact string) string {
		token, err := jws.Parse(compact, typ)
		if err != nil {
			x.t.Error(err)
			return compact
		}
		var claims map[string]any
		if err := mission.Decode(token.Payload, &claims); err != nil {
			x.t.Error(err)
			return compact
		}
		change(claims)
		return federationtest.Compact(x.t, key, typ, claims)
	}
}

// TestHostileUpstream: an origin that signs whatever it likes.
func TestHostileUpstream(t *testing.T) {
	member := func(claims map[string]any, name string, value any) { claims["mission"].(map[string]any)[name] = value }
	for name, tc := range map[string]struct {
		prepare func(*border, mission.ID) // before the hostile answer
		change  func(*border, map[string]any)
		key     func(*border) *jws.Key
		state   mission.State
		hold    string
		wait    time.Duration
	}{
		"older, while suspended": {
			prepare: func(x *border, up mission.ID) { x.move(up, mission.OpSuspend); x.settle() },
			change: func(_ *border, c map[string]any) {
				member(c, "version", 1)
			},
			state: mission.Suspended, hold: mission.HoldUpstreamSuspended, // the oldest hold is shown; both are set
		},
		"stale version": {
			prepare: func(x *border, up mission.ID) {
				x.move(up, mission.OpSuspend)
				x.settle()
				x.move(up, mission.OpResume)
				x.settle()
			},
			change: func(_ *border, c map[string]any) { member(c, "version", 1) },
			state:  mission.Suspended, hold: mission.HoldUpstreamEquivocation,
		},
		"same version, other content": {
			change: func(_ *border, c map[string]any) { member(c, "state", "suspended") },
			state:  mission.Suspended, hold: mission.HoldUpstreamEquivocation,
		},
		"widened entries": {
			change: func(_ *border, c map[string]any) {
				c["authorization_details"].([]any)[0].(map[string]any)["actions"] = []any{"invoice.*"}
			},
			state: mission.Suspended, hold: mission.HoldUpstreamEquivocation,
		},
		"narrowed entries": {
			change: func(_ *border, c map[string]any) {
				member(c, "version", 2)
				c["authorization_details"].([]any)[0].(map[string]any)["actions"] = []any{"invoice.pay"}
			},
			state: mission.Suspended, hold: mission.HoldUpstreamNarrowed,
		},
		"another mission's hash": {
			change: func(_ *border, c map[string]any) { member(c, "authority_hash", string(mission.RawDigest(nil))) },
			state:  mission.Suspended, hold: mission.HoldUpstreamEquivocation,
		},
		"unknown state": {
			change: func(_ *border, c map[string]any) { member(c, "version", 2); member(c, "state", "paused") },
			state:  mission.Suspended, hold: mission.HoldUpstreamUnverified,
		},
		"wrong audience is silence": {
			change: func(_ *border, c map[string]any) { c["aud"] = "https://c.example" },
			state:  mission.Suspended, hold: mission.HoldUpstreamUnverified, wait: 5 * time.Second,
		},
		"another requester is silence": {
			change: func(_ *border, c map[string]any) { c["sub"] = "agent" },
			state:  mission.Suspended, hold: mission.HoldUpstreamUnverified, wait: 5 * time.Second,
		},
		"another nonce is silence": {
			change: func(_ *border, c map[string]any) { c["nonce"] = federation.NewNonce() },
			state:  mission.Suspended, hold: mission.HoldUpstreamUnverified, wait: 5 * time.Second,
		},
		"key rotated without endorsement is silence": {
			change: func(*border, map[string]any) {},
			key:    func(x *border) *jws.Key { return federationtest.NewKey(x.t) },
			state:  mission.Suspended, hold: mission.HoldUpstreamUnverified, wait: 5 * time.Second,
		},
		"fresh for ever is not": {
			change: func(_ *border, c map[string]any) { member(c, "fresh_until", "2099-01-01T00:00:00Z") },
			state:  mission.Active, wait: 5 * time.Second,
		},
		"another agreement": {
			change: func(_ *border, c map[string]any) {
				member(c, "version", 2)
				c["agreement"].(map[string]any)["version"] = 2
			},
			state: mission.Suspended, hold: mission.HoldUpstreamUnverified,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBorder(t, borders{}, func(t *testing.T, x *border) {
				upstream, local := x.local()
				if tc.prepare != nil {
					tc.prepare(x, upstream)
				}
				key := x.a.dom.Key
				if tc.key != nil {
					key = tc.key(x)
				}
				x.b.wire.set(func(w *wire) {
					w.status = x.resign(key, jws.TypStatus, func(c map[string]any) { tc.change(x, c) })
				})
				time.Sleep(1500*time.Millisecond + tc.wait)
				x.wantState(local, tc.state, tc.hold)
				x.b.wire.set(func(w *wire) { w.status = nil })
				x.settle()
				state, hold := x.state(local)
				sticky := tc.hold == mission.HoldUpstreamEquivocation || name == "older, while suspended"
				if sticky && state == mission.Active {
					t.Error("a contradiction was forgotten")
				}
				if !sticky && hold == tc.hold && tc.hold != "" && name != "narrowed entries" && name != "unknown state" &&
					name != "another agreement" {
					t.Errorf("still held for %s", hold)
				}
				x.sound()
			})
		})
	}
}

// TestEndedStaysEnded: an origin that calls a mission active after it said that it is revoked brings nothing back.
func TestEndedStaysEnded(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		upstream, local := x.local()
		x.b.wire.set(func(w *wire) { w.receive = func([]byte) []byte { return nil } }) // the worker stays busy with it
		x.move(upstream, mission.OpRevoke)
		x.settle()
		x.wantState(local, mission.Cascaded, "")
		x.b.wire.set(func(w *wire) {
			w.receive = nil
			w.status = x.resign(x.a.dom.Key, jws.TypStatus, func(c map[string]any) {
				m := c["mission"].(map[string]any)
				m["state"], m["version"] = "active", 3
			})
		})
		x.b.restart()
		x.settle()
		x.wantState(local, mission.Cascaded, "")
		x.sound()
	})
}

// TestBothArtifactsAreKept: when an origin contradicts itself, what it signed first and what it signed second both
// stand in the receiver's evidence.
func TestBothArtifactsAreKept(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		_, local := x.local()
		x.b.wire.set(func(w *wire) {
			w.status = x.resign(x.a.dom.Key, jws.TypStatus, func(c map[string]any) {
				c["mission"].(map[string]any)["state"] = "suspended"
			})
		})
		x.settle()
		x.wantState(local, mission.Suspended, mission.HoldUpstreamEquivocation)
		states := map[string]bool{}
		for _, e := range x.b.evidence(mission.ContentStatusObserved) {
			var body struct {
				Response string `json:"response"`
			}
			if err := mission.DecodeOpen(e.Body, &body); err != nil {
				t.Fatal(err)
			}
			token, err := jws.Parse(body.Response, jws.TypStatus)
			if err != nil {
				t.Fatal(err)
			}
			var s mission.Status
			if err := mission.Decode(token.Payload, &s); err != nil {
				t.Fatal(err)
			}
			states[string(s.Mission.State)] = true
		}
		if !states["active"] || !states["suspended"] || len(states) != 2 {
			t.Errorf("kept %v", states)
		}
		x.sound()
	})
}

// TestHostileProjection: what b receives instead of a's projection; nothing is minted, and what came is in the log.
func TestHostileProjection(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*border) func(string) string
		code   string
		kept   int // artifacts in the log
	}{
		"wrong audience": {func(x *border) func(string) string {
			return x.resign(x.a.dom.Key, jws.TypProjection, func(c map[string]any) { c["aud"] = "https://c.example" })
		}, "invalid_projection", 1},
		"wrong typ": {func(x *border) func(string) string {
			return func(s string) string {
				token, _ := jws.Parse(s, jws.TypProjection)
				compact, _ := jws.Sign(x.t.Context(), x.a.dom.Key, jws.TypStatus, token.Payload)
				return compact
			}
		}, "invalid_projection", 1},
		"widened entries": {func(x *border) func(string) string {
			return x.resign(x.a.dom.Key, jws.TypProjection, func(c map[string]any) {
				c["authorization_details"].([]any)[0].(map[string]any)["actions"] = []any{"invoice.*"}
			})
		}, "invalid_projection", 1},
		"stranger's key": {func(x *border) func(string) string {
			return x.resign(federationtest.NewKey(x.t), jws.TypProjection, func(map[string]any) {})
		}, "invalid_projection", 1},
		"another mission": {func(x *border) func(string) string {
			return x.resign(x.a.dom.Key, jws.TypProjection, func(c map[string]any) {
				c["mission"].(map[string]any)["id"] = string(mission.NewMissionID())
			})
		}, "invalid_projection", 1},
		"future version": {func(x *border) func(string) string {
			return x.resign(x.a.dom.Key, jws.TypProjection, func(c map[string]any) {
				c["mission"].(map[string]any)["version"] = 9
			})
		}, "invalid_projection", 1},
		"too large": {func(*border) func(string) string {
			return func(s string) string { return s + strings.Repeat("A", federation.MaxArtifact) }
		}, "invalid_projection", 0},
		"no text": {func(*border) func(string) string {
			return func(string) string { return "\x00\xff" }
		}, "invalid_projection", 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBorder(t, borders{}, func(t *testing.T, x *border) {
				x.approveCeiling()
				id := x.mission()
				secret := x.introduce(id)
				change := tc.change(x)
				x.b.wire.set(func(w *wire) { w.project = change })
				_, err := x.mint(x.mintRequest(id, secret))
				refusedAs(t, err, tc.code, "")
				if n := len(x.b.evidence(mission.ContentProjectionReceived)); n != tc.kept {
					t.Errorf("%d artifacts were kept, want %d", n, tc.kept)
				}
				if n := len(x.b.evidence(mission.ContentApprovalRecord)); n != 0 {
					t.Errorf("%d local missions", n)
				}
				x.sound()
			})
		})
	}
}

// TestReplayedProjection: a projection is used once, even if it comes as the answer to another question.
func TestReplayedProjection(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		x.approveCeiling()
		id := x.mission()
		var first string
		x.b.wire.set(func(w *wire) {
			w.project = func(s string) string {
				if first == "" {
					first = s
				}
				return first
			}
		})
		if _, err := x.mint(x.mintRequest(id, x.introduce(id))); err != nil {
			t.Fatal(err)
		}
		_, err := x.mint(x.mintRequest(id, x.introduce(id)))
		refusedAs(t, err, "invalid_projection", "") // it answers another nonce
		x.b.wire.set(func(w *wire) {
			w.project = func(s string) string {
				return x.resign(x.a.dom.Key, jws.TypProjection, func(c map[string]any) {
					token, _ := jws.Parse(first, jws.TypProjection)
					p, _ := federation.ParseProjection(token.Payload)
					c["jti"] = p.JTI
				})(s)
			}
		})
		_, err = x.mint(x.mintRequest(id, x.introduce(id)))
		refusedAs(t, err, "invalid_projection", "") // its jti was used
		x.settle()
		if n := len(x.b.evidence(mission.ContentApprovalRecord)); n != 1 {
			t.Errorf("%d local missions", n)
		}
		x.sound()
	})
}

// TestConcurrentReplay: an origin that puts one jti into many projections gets one local mission, however they race.
func TestConcurrentReplay(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		x.approveCeiling()
		id := x.mission()
		jti := federation.NewNonce()
		x.b.wire.set(func(w *wire) {
			w.project = x.resign(x.a.dom.Key, jws.TypProjection, func(c map[string]any) { c["jti"] = jti })
			w.delay = time.Millisecond // so that all of them decide at one instant
		})
		var wg sync.WaitGroup
		var accepted atomic.Int64
		for range 20 {
			q := x.mintRequest(id, x.introduce(id))
			wg.Go(func() {
				_, err := x.mint(q)
				if e, refused := errors.AsType[*authority.Error](err); refused && e.Code == "invalid_projection" {
					return
				} else if err != nil {
					t.Error(err)
				}
				accepted.Add(1)
			})
		}
		wg.Wait()
		if n := accepted.Load(); n != 1 {
			t.Errorf("%d requests were accepted", n)
		}
		x.sound()
	})
}

// TestMintRequests: what b refuses its own client, and with which code.
func TestMintRequests(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		id := x.mission()
		q := x.mintRequest(id, x.introduce(id))
		_, err := x.mint(q)
		refusedAs(t, err, "access_denied", "no_ceiling")
		x.approveCeiling()

		q = x.mintRequest(id, x.introduce(id))
		q.LocalClient = "other-agent"
		_, err = x.mint(q)
		refusedAs(t, err, "access_denied", "local_client")

		q = x.mintRequest(id, x.introduce(id))
		q.Introduction.Issuer = "https://stranger.example"
		before := x.b.wire.count("project")
		_, err = x.mint(q)
		refusedAs(t, err, "invalid_projection", "")
		if x.b.wire.count("project") != before {
			t.Error("somebody was contacted on the word of a stranger")
		}

		_, err = x.mint(x.mintRequest(id, federation.NewIntroduction()))
		refusedAs(t, err, "not_found", "")

		_, err = x.mint(x.mintRequest(id, x.introduce(id), federationtest.Held("invoice.delete")))
		refusedAs(t, err, "invalid_request", "not_strict_subset")

		q = x.mintRequest(id, x.introduce(id))
		if _, err = x.mint(q); err != nil {
			t.Fatal(err)
		}
		again := *q
		first, _, err1 := x.b.Mint(t.Context(), x.b.as("agent"), marshal(t, q))
		second, _, err2 := x.b.Mint(t.Context(), x.b.as("agent"), marshal(t, &again))
		if err := errors.Join(err1, err2); err != nil || string(first) != string(second) {
			t.Errorf("a repetition was answered %s and %s, %v", first, second, err)
		}
		again.ExpiresAt = mission.FormatTime(time.Now().Add(time.Hour))
		_, err = x.mint(&again)
		refusedAs(t, err, "invalid_request", "idempotency_mismatch")
		if _, err := x.b.Poll(t.Context(), x.b.as("other-agent"), member(t, first, "submission_id")); err == nil {
			t.Error("somebody else may poll")
		}
		x.settle()
		_, local := x.poll(member(t, first, "submission_id"))
		x.move(id, mission.OpRevoke)
		x.settle()
		x.wantState(local, mission.Cascaded, "")
		_, err = x.mint(q)
		refusedAs(t, err, "conflict", "stale_version")
		x.sound()
	})
}

// TestRevokedDuringMint: between the answer to the client and the decision the upstream is revoked: there is no
// mission.
func TestRevokedDuringMint(t *testing.T) {
	inBorder(t, borders{idle: true}, func(t *testing.T, x *border) {
		x.a.start()
		x.b.start()
		x.settle()
		x.approveCeiling()
		id := x.mission()
		secret := x.introduce(id)
		x.b.close()
		submission, err := x.mint(x.mintRequest(id, secret))
		if err != nil {
			t.Fatal(err)
		}
		x.move(id, mission.OpRevoke)
		x.b.restart()
		x.settle()
		if status, _ := x.poll(submission); status != "denied" {
			t.Errorf("the submission is %s", status)
		}
		if n := len(x.b.evidence(mission.ContentLocalMissionRefused)); n != 1 {
			t.Errorf("%d refusals are in the log", n)
		}
		x.sound()
	})
}

// TestCeilingBounds: counts, age, and who may still approve.
func TestCeilingBounds(t *testing.T) {
	t.Run("active", func(t *testing.T) {
		inBorder(t, borders{annexB: func(x *federation.Annex) { x.Ceiling.MaxActive = 1 }}, func(t *testing.T, x *border) {
			upstream, local := x.local()
			other := x.mission()
			_, err := x.mint(x.mintRequest(other, x.introduce(other)))
			refusedAs(t, err, "access_denied", "fanout_exceeded")
			x.move(upstream, mission.OpRevoke)
			x.settle()
			x.wantState(local, mission.Cascaded, "")
			x.localOf(other)
			x.sound()
		})
	})
	t.Run("rate", func(t *testing.T) {
		inBorder(t, borders{annexB: func(x *federation.Annex) { x.Ceiling.MaxPerHour = 1 }}, func(t *testing.T, x *border) {
			x.local()
			other := x.mission()
			_, err := x.mint(x.mintRequest(other, x.introduce(other)))
			refusedAs(t, err, "access_denied", "rate_exceeded")
			time.Sleep(time.Hour)
			x.localOf(other)
			x.sound()
		})
	})
	t.Run("age", func(t *testing.T) {
		inBorder(t, borders{annexB: func(x *federation.Annex) { x.Ceiling.MaxAgeSeconds = 600 }}, func(t *testing.T, x *border) {
			_, local := x.local()
			time.Sleep(10 * time.Minute)
			other := x.mission()
			_, err := x.mint(x.mintRequest(other, x.introduce(other)))
			refusedAs(t, err, "access_denied", "ceiling_expired")
			x.wantState(local, mission.Active, "") // what was drawn down lives on
			x.sound()
		})
	})
	t.Run("asked once, with every term shown", func(t *testing.T) {
		inBorder(t, borders{}, func(t *testing.T, x *border) {
			got, err := x.b.Queue(t.Context(), x.b.as("approver"))
			if err != nil || !strings.Contains(string(got), "peer_ceiling") {
				t.Fatalf("%s, %v", got, err)
			}
			_, rest, _ := strings.Cut(string(got), `"submission_id":"`)
			id, _, _ := strings.Cut(rest, `"`)
			shown, err := x.b.Review(t.Context(), x.b.as("approver"), id)
			if err != nil {
				t.Fatal(err)
			}
			for _, term := range []string{x.a.dom.Issuer, "At most 3 such missions at a time, and 10 in an hour",
				"43200 seconds", "invoice.delete", federationtest.Resource} {
				if !strings.Contains(string(shown), term) {
					t.Errorf("the approver is not shown %q", term)
				}
			}
			x.settle()
			if again, _ := x.b.Queue(t.Context(), x.b.as("approver")); strings.Count(string(again), "peer_ceiling") != 1 {
				t.Errorf("asked more than once: %s", again)
			}
		})
	})
}

// TestMaxLocalMissions: the origin counts, whatever the receiver does; a mission without its acknowledgement is never
// in force, and ends when there is no room for it.
func TestMaxLocalMissions(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		x.approveCeiling()
		id := x.mission() // max_local_missions is absent: 1
		first := x.localOf(id)
		submission, err := x.mint(x.mintRequest(id, x.introduce(id), federationtest.Held("invoice.pay")))
		if err != nil {
			t.Fatal(err)
		}
		x.settle()
		_, second := x.poll(submission)
		x.wantState(first, mission.Active, "")
		x.wantState(second, mission.Revoked, "")
		x.sound()
	})
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		x.approveCeiling()
		e := federationtest.Crossing([]string{"invoice.read"}, x.b.dom.Issuer)
		e.Federation.MaxLocalMissions = new(int64(2))
		id := x.mission(e)
		x.wantState(x.localOf(id), mission.Active, "")
		x.wantState(x.localOf(id), mission.Active, "")
		x.sound()
	})
}

// TestConcurrentReceipts: many receipts at once never exceed what the approver allowed.
func TestConcurrentReceipts(t *testing.T) {
	inBorder(t, borders{annexB: func(a *federation.Annex) { a.Ceiling.MaxActive, a.Ceiling.MaxPerHour = 50, 50 }},
		func(t *testing.T, x *border) {
			x.approveCeiling()
			e := federationtest.Crossing([]string{"invoice.read"}, x.b.dom.Issuer)
			e.Federation.MaxLocalMissions = new(int64(3))
			id := x.mission(e)
			var wg sync.WaitGroup
			submissions := make([]string, 8)
			for i := range submissions {
				secret := x.introduce(id)
				wg.Go(func() {
					var err error
					if submissions[i], err = x.mint(x.mintRequest(id, secret)); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			x.settle()
			active := 0
			for _, s := range submissions {
				if _, local := x.poll(s); local != "" {
					if state, _ := x.state(local); state == mission.Active {
						active++
					}
				}
			}
			if active != 3 {
				t.Errorf("%d local missions are in force, want 3", active)
			}
			x.sound()
		})
}

// TestAcknowledgement: the hold of a new local mission is lifted by a proof that the origin has logged this receipt,
// and by nothing else.
func TestAcknowledgement(t *testing.T) {
	for name, change := range map[string]func(*border) func([]byte) []byte{
		"receipt of another entry": func(x *border) func([]byte) []byte {
			return func(good []byte) []byte {
				statement, _, err := ledger.DetachReceipts(good)
				if err != nil {
					x.t.Error(err)
				}
				s, err := ledger.ParseStatement(statement)
				if err != nil {
					x.t.Error(err)
				}
				for index := range x.a.dom.Log.MustView(x.t).Feed(s.Subject, -1) {
					return federationtest.Transparent(x.t, statement, x.a.dom.Receipt(x.t, index))
				}
				return nil
			}
		},
		"another entry": func(x *border) func([]byte) []byte {
			return func([]byte) []byte {
				statement, index := x.a.dom.Append(x.t, x.a.dom.Issuer+"/log", "application/octet-stream", []byte("x"))
				return federationtest.Transparent(x.t, statement, x.a.dom.Receipt(x.t, index))
			}
		},
		"no receipt": func(x *border) func([]byte) []byte {
			return func(good []byte) []byte {
				statement, _, _ := ledger.DetachReceipts(good)
				return statement
			}
		},
		"flipped bit": func(*border) func([]byte) []byte {
			return func(good []byte) []byte {
				bad := append([]byte(nil), good...)
				bad[len(bad)-1] ^= 1
				return bad
			}
		},
		"empty": func(*border) func([]byte) []byte { return func([]byte) []byte { return nil } },
	} {
		t.Run(name, func(t *testing.T) {
			inBorder(t, borders{}, func(t *testing.T, x *border) {
				x.approveCeiling()
				id := x.mission()
				bad := change(x)
				x.b.wire.set(func(w *wire) { w.receive = bad })
				submission, err := x.mint(x.mintRequest(id, x.introduce(id)))
				if err != nil {
					t.Fatal(err)
				}
				x.settle()
				_, local := x.poll(submission)
				x.wantState(local, mission.Suspended, mission.HoldAwaitingReceipt)
				x.b.wire.set(func(w *wire) { w.receive = nil })
				time.Sleep(10 * time.Second)
				x.wantState(local, mission.Active, "")
				if n := len(x.a.evidence(mission.ContentDerivationReceipt)); n != 1 {
					t.Errorf("the origin counted %d receipts of one mission", n)
				}
				x.sound()
			})
		})
	}
}

// TestVisibility: a peer learns of a mission only through an introduction, only under its own audience, and a stranger
// with the role learns nothing.
func TestVisibility(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		plain := x.mission(federationtest.Entry("invoice.read"))
		crossing := x.mission()
		ask := func(caller string, id mission.ID, audience string) error {
			_, err := x.a.Status(t.Context(), x.a.as(caller), authority.StatusQuery{MissionID: string(id),
				Audience: audience, Nonce: mission.NewSalt()})
			return err
		}
		own := x.b.dom.Issuer
		refusedAs(t, ask("mas-b-example", crossing, own), "not_found", "")
		_, err := x.a.Introduce(t.Context(), x.a.as("agent"), x.introductionRequest(plain))
		refusedAs(t, err, "invalid_target", "outside_agreement")
		_, err = x.a.Introduce(t.Context(), x.a.as("other-agent"), x.introductionRequest(crossing))
		refusedAs(t, err, "not_found", "")
		x.introduce(crossing)
		if err := ask("mas-b-example", crossing, own); err != nil {
			t.Errorf("an introduced mission is hidden: %v", err)
		}
		refusedAs(t, ask("mas-b-example", plain, own), "not_found", "")
		refusedAs(t, ask("mas-b-example", crossing, ""), "not_found", "")
		refusedAs(t, ask("mas-b-example", crossing, federationtest.Resource), "not_found", "")
		refusedAs(t, ask("false-peer", crossing, own), "not_found", "")
		refusedAs(t, ask("mas-b-example", mission.NewMissionID(), own), "not_found", "")
		x.sound()
	})
}

// TestIntroductionIsSingleUse: one projection for one introduction; the same question again gets the same octets, as
// long as the mission stands where it stood.
func TestIntroductionIsSingleUse(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		id := x.mission()
		secret := x.introduce(id)
		request := federation.ProjectionRequest{RequestID: "r-1", Mission: mission.Reference{ID: id, Issuer: x.a.dom.Issuer},
			Audience: x.b.dom.Issuer, Nonce: federation.NewNonce(), ClientID: "agent",
			Confirmation: federation.Confirmation{JKT: strings.Repeat("k", 43)}, Introduction: secret,
			Agreement: mission.AgreementRef{}, Shape: mission.ShapeLocalMission}
		ref, err := x.terms.Ref()
		if err != nil {
			t.Fatal(err)
		}
		request.Agreement = ref
		project := func(caller string, q federation.ProjectionRequest) (string, error) {
			return x.a.Project(t.Context(), x.a.as(caller), marshal(t, q))
		}
		other := request
		other.Mission.ID = x.mission()
		_, err = project("mas-b-example", other)
		refusedAs(t, err, "not_found", "")
		_, err = project("false-peer", request)
		refusedAs(t, err, "not_found", "")
		old := request
		old.Agreement.Version++
		_, err = project("mas-b-example", old)
		refusedAs(t, err, "conflict", "agreement_mismatch")
		first, err := project("mas-b-example", request)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := project("mas-b-example", request); err != nil || again != first {
			t.Errorf("a repetition was answered otherwise: %v", err)
		}
		second := request
		second.RequestID = "r-2"
		_, err = project("mas-b-example", second)
		refusedAs(t, err, "not_found", "")
		changed := request
		changed.ClientID = "other-agent"
		_, err = project("mas-b-example", changed)
		refusedAs(t, err, "invalid_request", "idempotency_mismatch")
		x.move(id, mission.OpSuspend)
		_, err = project("mas-b-example", request)
		refusedAs(t, err, "conflict", "stale_version")
		late := x.mission()
		request.Introduction, request.Mission.ID, request.RequestID = x.introduce(late), late, "r-3"
		time.Sleep(10 * time.Minute)
		_, err = project("mas-b-example", request)
		refusedAs(t, err, "not_found", "")
		if strings.Contains(string(evidenceBodies(x.a)), secret) {
			t.Error("the secret is in the evidence")
		}
		x.sound()
	})
}

func evidenceBodies(s *side) []byte {
	var all []byte
	d := &domain{TB: s.t, log: s.dom.Log}
	for _, e := range d.entries() {
		all = append(all, e.Body...)
	}
	return all
}

// TestProjectionIsMinimal: no text of the intent, no other audience, no person.
func TestProjectionIsMinimal(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		x.approveCeiling()
		e := federationtest.Crossing([]string{"invoice.read"}, x.b.dom.Issuer, "https://third.example")
		id := x.mission(e, federationtest.Entry("invoice.pay"))
		var compact string
		x.b.wire.set(func(w *wire) { w.project = func(s string) string { compact = s; return s } })
		if _, err := x.mint(x.mintRequest(id, x.introduce(id))); err != nil {
			t.Fatal(err)
		}
		token, err := jws.Parse(compact, jws.TypProjection)
		if err != nil {
			t.Fatal(err)
		}
		for _, leak := range []string{"Reconcile", "third.example", "invoice.pay", `"approver"`, "evt_", "sub_"} {
			if strings.Contains(string(token.Payload), leak) {
				t.Errorf("the projection tells %q: %s", leak, token.Payload)
			}
		}
		p, err := federation.ParseProjection(token.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Delegation) != 1 || p.Delegation[0].Issuer != x.a.dom.Issuer || p.Subject == nil || p.Subject.Sub != "pairwise-1" {
			t.Errorf("chain %+v, subject %+v", p.Delegation, p.Subject)
		}
		if p.ExpiresAt-p.IssuedAt > 120 {
			t.Errorf("lives %d seconds", p.ExpiresAt-p.IssuedAt)
		}
	})
}

// TestPeerEnded: an administrator who ends a peer ends everything that depends on it at once: here by a hold, there by
// silence.
func TestPeerEnded(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		upstream, local := x.local()
		x.b.config.Peers[0].Record.Status = federation.PeerEnded
		x.b.restart()
		x.settle()
		x.wantState(local, mission.Suspended, mission.HoldPeerEnded)
		other := x.mission()
		_, err := x.mint(x.mintRequest(other, x.introduce(other)))
		refusedAs(t, err, "not_found", "")
		x.settle()
		if n := len(x.b.evidence(mission.ContentAgreementEvent)); n != 4 {
			t.Errorf("%d events, want `ended` as the fourth", n)
		}
		_ = upstream
		x.sound()
	})
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		_, local := x.local()
		x.a.config.Peers[0].Record.Status = federation.PeerPaused
		x.a.restart()
		x.settle()
		x.wantState(local, mission.Suspended, mission.HoldUpstreamRefused)
		x.a.config.Peers[0].Record.Status = federation.PeerActive
		x.a.restart()
		x.settle()
		x.wantState(local, mission.Active, "")
		x.sound()
	})
}

// TestPeerRemoved: a peer that is no longer configured holds what depends on it.
func TestPeerRemoved(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		_, local := x.local()
		x.b.config.Peers = nil
		x.b.restart()
		x.settle()
		x.wantState(local, mission.Suspended, mission.HoldPeerEnded)
		x.sound()
	})
}

// TestAgreementExpires: at expires_at everything stops.
func TestAgreementExpires(t *testing.T) {
	inBorder(t, borders{terms: func(a *federation.Agreement) {
		a.ExpiresAt = mission.FormatTime(time.Now().Add(10 * time.Minute))
	}}, func(t *testing.T, x *border) {
		_, local := x.local()
		time.Sleep(10 * time.Minute)
		state, hold := x.state(local)
		if state == mission.Active {
			t.Errorf("active (%s) after the agreement is over", hold)
		}
		x.sound()
	})
}

// TestForkedLog: a peer whose log contradicts what it showed before is caught: both heads are kept, nothing crosses.
func TestForkedLog(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		_, local := x.local()
		fork := federationtest.New(t, "a.example", time.Now)
		forged := forkOf(t, x.a.dom, fork)
		x.b.wire.set(func(w *wire) { w.head = func([]byte) []byte { return forged } })
		other := x.mission()
		submission, err := x.mint(x.mintRequest(other, x.introduce(other)))
		if err != nil {
			t.Fatal(err)
		}
		x.settle()
		if status, _ := x.poll(submission); status == "approved" {
			t.Error("minted on a forked log")
		}
		if state, _ := x.state(local); state == mission.Active {
			t.Error("still relying on a peer whose log forked")
		}
		forked := 0
		for _, e := range x.b.evidence(mission.ContentPeerCheckpoint) {
			if strings.Contains(string(e.Body), `"forked":true`) {
				forked++
			}
		}
		if forked != 1 {
			t.Errorf("%d forks are in the log", forked)
		}
		x.b.wire.set(func(w *wire) { w.head = nil })
		x.settle()
		_, err = x.mint(x.mintRequest(other, x.introduce(other)))
		refusedAs(t, err, "not_found", "")
		x.sound()
	})
}

// TestConcurrentMints: fifty presentations of one request are one local mission.
func TestConcurrentMints(t *testing.T) {
	inBorder(t, borders{}, func(t *testing.T, x *border) {
		x.approveCeiling()
		id := x.mission()
		q := marshal(t, x.mintRequest(id, x.introduce(id)))
		answers := make([][]byte, 50)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				var err error
				if answers[i], _, err = x.b.Mint(t.Context(), x.b.as("agent"), q); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		for _, got := range answers {
			if string(got) != string(answers[0]) {
				t.Fatalf("answers differ: %s, %s", got, answers[0])
			}
		}
		x.settle()
		if n := len(x.b.evidence(mission.ContentApprovalRecord)); n != 1 {
			t.Errorf("%d local missions", n)
		}
		x.sound()
	})
}
