package registry

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxProducers bounds how many rates are remembered. Producers are registered principals: it is not reached before
// somebody configures more of them.
const maxProducers = 10_000

// rates gives every producer its own bucket of statements.
type rates struct {
	mu      sync.Mutex
	rate    rate.Limit
	burst   int
	buckets map[string]*rate.Limiter
}

func newRates(perSecond int) rates {
	return rates{rate: rate.Limit(perSecond), burst: max(2*perSecond, MaxBatch), buckets: map[string]*rate.Limiter{}}
}

// take takes n statements of a producer, or says how long to wait before asking again.
func (l *rates) take(producer string, n int, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	bucket := l.buckets[producer]
	if bucket == nil {
		if len(l.buckets) >= maxProducers {
			clear(l.buckets)
		}
		bucket = rate.NewLimiter(l.rate, l.burst)
		l.buckets[producer] = bucket
	}
	l.mu.Unlock()
	r := bucket.ReserveN(now, n)
	if wait = r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
	}
	return wait
}
