package sequencer

import (
	"math/rand/v2"
	"testing"
)

// TestRecentAgainstEverything drives the bounded memory beside an unbounded one: what it answers is the newest write,
// and what it has forgotten it does not deny.
func TestRecentAgainstEverything(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	for range 5 {
		const keys, limit, base = 60, 8, 5
		r := newRecent[int, int](limit, base)
		type write struct {
			value int
			seq   uint64
		}
		all := map[int]write{}
		for seq := uint64(base + 1); seq < 400; seq++ {
			for range random.IntN(4) {
				k, v := random.IntN(keys), random.Int()
				r.wrote(k, v, seq)
				all[k] = write{v, seq}
			}
			if n := len(r.young) + len(r.old); n > 2*limit {
				t.Fatalf("%d keys are remembered", n)
			}
			// A reader saw some key, at this group or an older one, and reports the value of that time.
			if k, at := random.IntN(keys), seq-uint64(random.IntN(5)); all[k].seq <= at {
				r.saw(k, at, func(v int, ok bool) (int, bool) {
					if ok && v != all[k].value {
						t.Fatalf("key %d is remembered with another value", k)
					}
					return all[k].value, true
				})
			} else {
				r.saw(k, at, func(v int, ok bool) (int, bool) {
					if !ok {
						t.Fatalf("key %d was written at %d, after %d, and that is forgotten", k, all[k].seq, at)
					}
					return v, random.IntN(2) == 0
				})
			}
			for k := range keys {
				v, _, ok := r.get(k)
				if ok && v != all[k].value {
					t.Fatalf("key %d is %d, want %d", k, v, all[k].value)
				}
				for since := uint64(0); since <= seq; since += 7 {
					if !ok && r.since(since) && all[k].seq > since {
						t.Fatalf("key %d was written at %d; the memory claims to know everything since %d and does not", k,
							all[k].seq, since)
					}
				}
			}
		}
		if r.floor == base {
			t.Fatal("nothing was forgotten")
		}
	}
}
