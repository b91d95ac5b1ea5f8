package sequencer_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/ledgertest"
)

// benchStores are the engines of the benchmarks, with their defaults.
var benchStores = []struct {
	name string
	open func(b *testing.B) ledger.Store
}{
	{"memory", func(*testing.B) ledger.Store { return ledgertest.NewStore() }},
	{"badger", func(b *testing.B) ledger.Store {
		s, err := badgerstore.Open(b.TempDir(), badgerstore.Options{Origin: "log.a.example/log/1"})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := s.Close(); err != nil {
				b.Error(err)
			}
		})
		return s
	}},
}

// BenchmarkAppend is a durable append as design targets count it: a pre-signed statement of some 300 octets with a
// state row, acknowledged after publish, with journal, dedup, leaf and feed index on; from n writers in a closed
// loop.
func BenchmarkAppend(b *testing.B) {
	for _, store := range benchStores {
		for _, writers := range []int{1, 16, 64, 256, 1024} {
			b.Run(fmt.Sprintf("%s/%d", store.name, writers), func(b *testing.B) {
				counted := ledgertest.NewFaultStore(store.open(b))
				log := ledgertest.NewLog(b, ledgertest.Options{Store: counted})
				changes := presigned(b, log.Keys, b.N)
				var next atomic.Int64
				var wg sync.WaitGroup
				latencies := make([]time.Duration, b.N)
				groups := counted.Applies()
				b.ReportAllocs()
				b.ResetTimer()
				for range writers {
					wg.Go(func() {
						for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
							began := time.Now()
							if _, err := log.Commit(b.Context(), changes[i]); err != nil {
								b.Error(err)
								return
							}
							latencies[i] = time.Since(began)
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				report(b, latencies, counted.Applies()-groups)
			})
		}
	}
}

// presigned makes n changes of 1,000 missions, in parallel and before the clock runs.
func presigned(b *testing.B, keys *ledgertest.Keys, n int) []ledger.Change {
	b.Helper()
	changes := make([]ledger.Change, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				id := fmt.Sprintf("msn_%032d", i%1000)
				changes[i] = ledger.Change{
					Put:     []ledger.Record{{Key: state(id), Value: make([]byte, 120), JustifiedBy: 0}},
					Entries: []ledger.Entry{keys.Entry(b, id, fmt.Appendf(nil, "%d", i))},
				}
			}
		})
	}
	wg.Wait()
	return changes
}

func report(b *testing.B, latencies []time.Duration, groups int) {
	sortDurations(latencies)
	at := func(q float64) float64 {
		return float64(latencies[min(int(q*float64(len(latencies))), len(latencies)-1)].Microseconds()) / 1e3
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(float64(b.N)/float64(max(groups, 1)), "appends/group")
}

// BenchmarkRead measures the reads behind a signed status: a hot row, with and without the proof of its
// justification, and an entry with its inclusion proof.
func BenchmarkRead(b *testing.B) {
	for _, store := range benchStores {
		log := ledgertest.NewLog(b, ledgertest.Options{Store: store.open(b)})
		for i, c := range presigned(b, log.Keys, 3000) {
			if i%2 == 0 {
				c.Entries = append(c.Entries, log.Keys.Entry(b, "filler", fmt.Appendf(nil, "%d", i)))
			}
			log.MustCommit(b, c)
		}
		key := state(fmt.Sprintf("msn_%032d", 7))
		for name, read := range map[string]func(v ledger.View, i int) error{
			"Get":    func(v ledger.View, _ int) error { _, err := v.Get(key); return err },
			"Proven": func(v ledger.View, _ int) error { _, err := v.Proven(key); return err },
			"Entry":  func(v ledger.View, i int) error { _, err := v.Entry(uint64(i) % 4000); return err },
			"Inclusion": func(v ledger.View, i int) error {
				_, err := v.Inclusion(uint64(i)%4000, v.Head().Size)
				return err
			},
		} {
			b.Run(store.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for i := range b.N {
					v, err := log.View()
					if err == nil {
						err = read(v, i*7919)
						v.Close()
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
