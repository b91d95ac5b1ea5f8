package httpapi

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxCallers bounds the number of callers whose rates are kept. Callers are registered principals, so it is not reached
// before somebody configures more of them.
const maxCallers = 10_000

// A rateLimit gives every caller its own bucket of twice the rate.
type rateLimit struct {
	mu      sync.Mutex
	rate    rate.Limit
	burst   int
	callers map[string]*rate.Limiter
}

func newRateLimit(perSecond int) *rateLimit {
	return &rateLimit{rate: rate.Limit(perSecond), burst: 2 * perSecond, callers: make(map[string]*rate.Limiter)}
}

// allow takes one request of the caller at the time now, or says how long to wait.
func (l *rateLimit) allow(caller string, now time.Time) (ok bool, wait time.Duration) {
	l.mu.Lock()
	limiter := l.callers[caller]
	if limiter == nil {
		if len(l.callers) >= maxCallers {
			clear(l.callers)
		}
		limiter = rate.NewLimiter(l.rate, l.burst)
		l.callers[caller] = limiter
	}
	l.mu.Unlock()
	r := limiter.ReserveN(now, 1)
	if delay := r.DelayFrom(now); delay > 0 {
		r.CancelAt(now)
		return false, delay
	}
	return true, 0
}
