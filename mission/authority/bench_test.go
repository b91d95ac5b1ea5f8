package authority_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
)

// benchDomain is a domain on the real clock with the algorithms of a server: ES256 for status and evidence.
func benchDomain(b *testing.B, missions int) (*domain, []string) {
	b.Helper()
	d := newDomain(b, parts{now: time.Now, clock: &clock{at: time.Now()}, config: func(c *authority.Config) {
		c.Status = ecKey(b)
	}})
	ids := make([]string, missions)
	for i := range ids {
		ids[i] = d.approve(time.Hour)
	}
	return d, ids
}

func ecKey(b testing.TB) *jws.Key {
	b.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	key, err := jws.NewKey("", private)
	if err != nil {
		b.Fatal(err)
	}
	return key
}

// P4: a mission change, decided, signed twice (evidence and answer) and committed, by 64 writers on a mission each;
// beside it the two signatures alone.
func BenchmarkMissionChange(b *testing.B) {
	d, ids := benchDomain(b, 64)
	operator := d.as("operator")
	var n atomic.Int64 // over all rounds: a nonce is used once
	b.Run("change", func(b *testing.B) {
		var writer atomic.Int64
		b.SetParallelism(32) // times GOMAXPROCS
		b.RunParallel(func(pb *testing.PB) {
			id := ids[writer.Add(1)%int64(len(ids))]
			for pb.Next() {
				i := n.Add(1)
				until := mission.FormatTime(time.Now().Add(time.Duration(i%1000+10) * time.Second))
				_, err := d.Lifecycle(b.Context(), operator, authority.LifecycleRequest{
					MissionID: id, Operation: mission.OpSuspend, SuspendUntil: until, OnExpiry: mission.OpResume,
					Nonce: fmt.Sprint(i),
				})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
	b.Run("signatures", func(b *testing.B) {
		status, payload := ecKey(b), make([]byte, 600)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := jws.Sign(b.Context(), status, jws.TypStatus, payload); err != nil {
					b.Error(err)
				}
				_, err := ledger.SignStatement(b.Context(), ledger.Claims{
					Issuer: "https://mas.a.example", Subject: "https://mas.a.example/missions/x", IssuedAt: 1,
					ContentType: mission.ContentTransition, Digest: sha256.Sum256(payload),
				}, d.log.Keys.Evidence)
				if err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// P6: a signed status: decided anew for each request, decided once in a second, and the signature alone.
func BenchmarkStatus(b *testing.B) {
	d, ids := benchDomain(b, 64)
	pep := d.as("pep")
	for name, fresh := range map[string]bool{"decided": true, "remembered": false} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if fresh {
						d.ForgetAnswers()
					}
					_, err := d.Status(b.Context(), pep, authority.StatusQuery{
						MissionID: ids[i%len(ids)], Audience: "https://erp.a.example", Nonce: "mGZ7lkHVEMFxZCXHRMCJyA",
					})
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
	b.Run("signature", func(b *testing.B) {
		b.ReportAllocs()
		status, payload := ecKey(b), make([]byte, 900)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := jws.Sign(b.Context(), status, jws.TypStatus, payload); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
