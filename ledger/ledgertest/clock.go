package ledgertest

import (
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// A Clock is the system's clock with a wall clock that can be set. As on a real system, setting it leaves the monotonic
// clock alone, which is what the difference of two readings is measured by.
type Clock struct{ step atomic.Int64 }

// NewClock returns a clock that is right.
func NewClock(t testing.TB) *Clock {
	t.Helper()
	c := new(Clock)
	right := c.Now()
	c.Step(time.Hour)
	stepped := c.Now()
	if d := stepped.Round(0).Sub(right.Round(0)); stepped.Sub(right) > time.Minute || d < time.Hour {
		t.Fatalf("a wall clock set by %v seems to be set by %v, the monotonic one by %v", time.Hour, d, stepped.Sub(right))
	}
	c.Step(0)
	return c
}

// Step sets the wall clock ahead of what is right, by whole seconds.
func (c *Clock) Step(by time.Duration) { c.step.Store(int64(by / time.Second)) }

// Now reads the clock.
func (c *Clock) Now() time.Time {
	t := time.Now()
	// A time with a monotonic part begins with its wall seconds, shifted by the bits of the nanoseconds.
	*(*uint64)(unsafe.Pointer(&t)) += uint64(c.step.Load()) << 30
	return t
}
