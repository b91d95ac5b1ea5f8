package registry

import (
	"sync"
	"time"
)

const (
	maxBroken  = 1024             // promises that were not kept, and are remembered
	brokenLife = 10 * time.Minute // how long
)

// A flight is a request whose statements are on their way to the log.
type flight struct {
	producer string
	began    time.Time
	n        int           // statements
	ids      []string      // entry ids that were promised, empty where none was; nil if the caller still waits
	done     chan struct{} // closed when results and err are set
	results  []Result
	err      error
}

// flights are the requests on their way, and the promises that were not kept.
type flights struct {
	mu       sync.Mutex
	all      map[*flight]struct{}
	n        int
	promised map[string]*promise // by entry id
	broken   []string            // ids in promised that are no longer pending, oldest first
	idle     sync.WaitGroup
}

type promise struct {
	Promise
	since time.Time
}

func newFlights() *flights {
	return &flights{all: map[*flight]struct{}{}, promised: map[string]*promise{}}
}

// begin takes n statements on board, or reports false if too many are.
func (f *flights) begin(producer string, n int, now time.Time) (*flight, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n+n > MaxWaiting {
		return nil, false
	}
	x := &flight{producer: producer, began: now, n: n, done: make(chan struct{})}
	f.all[x] = struct{}{}
	f.n += n
	f.idle.Add(1)
	return x, true
}

// promise makes the entries of x known to those who ask for them. It reports false if x has ended.
func (f *flights) promise(x *flight, ids []string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, flying := f.all[x]; !flying {
		return false
	}
	x.ids = ids
	for _, id := range ids {
		if id != "" {
			f.promised[id] = &promise{Promise{Producer: x.producer, Pending: true}, x.began}
		}
	}
	return true
}

// end gives x its outcome. A promise that was kept is forgotten: the log knows the entry.
func (f *flights) end(x *flight, results []Result, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	x.results, x.err = results, err
	delete(f.all, x)
	f.n -= x.n
	for i, id := range x.ids {
		p := f.promised[id]
		if p == nil {
			continue
		}
		switch p.Pending = false; {
		case err != nil:
			p.Err = err
		case results[i].Err != nil:
			p.Err = results[i].Err
		case results[i].EntryID != id:
			p.EntryID = results[i].EntryID
		default:
			delete(f.promised, id)
			continue
		}
		f.remember(id)
	}
	close(x.done)
	f.idle.Done()
}

// remember keeps a promise that was not kept, among the newest of them.
func (f *flights) remember(id string) {
	f.broken = append(f.broken, id)
	for len(f.broken) > maxBroken {
		if p := f.promised[f.broken[0]]; p != nil && !p.Pending {
			delete(f.promised, f.broken[0])
		}
		f.broken = f.broken[1:]
	}
}

// promiseOf returns the state of a promised entry.
func (f *flights) promiseOf(id string, now time.Time) (Promise, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.promised[id]
	if p == nil || !p.Pending && now.Sub(p.since) > brokenLife {
		return Promise{}, false
	}
	return p.Promise, true
}

func (f *flights) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

func (f *flights) oldest(now time.Time) (lag time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for x := range f.all {
		lag = max(lag, now.Sub(x.began))
	}
	return lag
}
