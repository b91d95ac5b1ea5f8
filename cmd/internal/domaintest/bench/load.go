package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A setup is how one subject runs once.
type setup struct {
	Dir     string
	Writers int
	Length  time.Duration
	Batch   int
	Age     time.Duration
	Rate    float64
	Entries int
}

// A subject does its work under load and says what it measured.
type subject func(context.Context, setup) (measured, error)

// subjects by the name that the driver calls them.
var subjects = map[string]subject{}

// measured is what one run of one subject gave. Times are in milliseconds.
type measured struct {
	PerSecond float64            `json:"per_second"`
	P50       float64            `json:"p50"`
	P99       float64            `json:"p99"`
	Max       float64            `json:"max"`
	Count     int                `json:"count"`
	CPU       float64            `json:"cpu"` // cores used by the process
	Extra     map[string]float64 `json:"extra,omitempty"`
}

// warmup is run before the clock starts.
const warmup = 300 * time.Millisecond

// load calls op from the setup's writers until its length has passed, and measures. op gets the writer and a number
// that is unique within the run. With a rate, arrivals are a Poisson process and latency counts from the scheduled
// arrival.
func load(ctx context.Context, s setup, op func(ctx context.Context, writer, n int) error) (measured, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		next  atomic.Int64
		wg    sync.WaitGroup
		times = make([][]time.Duration, s.Writers)
	)
	begin := time.Now().Add(warmup)
	end := begin.Add(s.Length)
	before := cpu()
	for w := range s.Writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 1))
			due := time.Now()
			for time.Now().Before(end) && ctx.Err() == nil {
				from := time.Now()
				if s.Rate > 0 {
					gap := rng.ExpFloat64() * float64(s.Writers) / s.Rate
					due = due.Add(time.Duration(gap * float64(time.Second)))
					time.Sleep(time.Until(due))
					from = due
				}
				if err := op(ctx, w, int(next.Add(1))); err != nil {
					cancel(err)
					return
				}
				if now := time.Now(); !from.Before(begin) && !now.After(end) {
					times[w] = append(times[w], now.Sub(from))
				}
			}
		})
	}
	wg.Wait()
	used := (cpu() - before).Seconds() / (s.Length + warmup).Seconds()
	if err := context.Cause(ctx); err != nil {
		return measured{}, err
	}
	return summarise(slices.Concat(times...), s.Length, used), nil
}

func summarise(all []time.Duration, length time.Duration, cores float64) measured {
	slices.Sort(all)
	at := func(q float64) float64 {
		if len(all) == 0 {
			return 0
		}
		return all[min(len(all)-1, int(q*float64(len(all))))].Seconds() * 1000
	}
	return measured{
		PerSecond: float64(len(all)) / length.Seconds(), Count: len(all), CPU: cores,
		P50: at(0.50), P99: at(0.99), Max: at(1),
	}
}

// cpu is the processor time this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
