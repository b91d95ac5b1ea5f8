package authority

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestChores: each chore runs at its time and alone, a peer that hangs takes its own places only, and the end is waited
// for.
func TestChores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChores()
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { c.work(ctx, time.Now) })
		var hanging, ticks, alone atomic.Int64
		for i := range 3 * choresAtOnce {
			c.add(string(rune('a'+i)), "slow", time.Now(), func(ctx context.Context) (time.Duration, bool) {
				hanging.Add(1)
				<-ctx.Done()
				return 0, false
			})
		}
		c.add("tick", "quick", time.Now().Add(time.Second), func(context.Context) (time.Duration, bool) {
			if alone.Add(1) != 1 {
				t.Error("two runs of one chore")
			}
			ticks.Add(1)
			time.Sleep(500 * time.Millisecond)
			alone.Add(-1)
			return 500 * time.Millisecond, true
		})
		c.add("tick", "quick", time.Now(), func(context.Context) (time.Duration, bool) {
			t.Error("a second chore under one key")
			return 0, false
		})
		once := 0
		c.add("once", "quick", time.Now(), func(context.Context) (time.Duration, bool) { once++; return 0, false })
		time.Sleep(10*time.Second + 250*time.Millisecond)
		synctest.Wait()
		if n := hanging.Load(); n != choresAtOnce {
			t.Errorf("%d chores of one peer run, want %d", n, choresAtOnce)
		}
		if n := ticks.Load(); n != 10 || once != 1 {
			t.Errorf("%d ticks in ten seconds, %d runs of a chore that ends", n, once)
		}
		cancel()
		done.Wait()
		if alone.Load() != 0 {
			t.Error("ended while a chore was running")
		}
	})
}

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		n    int
		want time.Duration
	}{{0, time.Second}, {1, time.Second}, {2, 2 * time.Second}, {4, 8 * time.Second}, {5, 10 * time.Second}, {1000, 10 * time.Second}} {
		if got := backoff(c.n, time.Second, 10*time.Second, 0); got != c.want {
			t.Errorf("backoff(%d) = %v, want %v", c.n, got, c.want)
		}
		if got := backoff(c.n, time.Second, 10*time.Second, 0.999); got > c.want || got < c.want*3/4 {
			t.Errorf("backoff(%d) with jitter = %v", c.n, got)
		}
	}
}
