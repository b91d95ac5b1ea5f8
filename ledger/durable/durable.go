// Package durable names the steps of this program after which something must survive a crash: a commit group in the
// journal, an erased key, a kept cosignature. Every such step is registered once, at its place in the code, and runs
// through [Step.Do]; so a test can list them all and make each fail, or the process die, before and after it.
//
// A step wraps the whole system call, or the shortest sequence of calls, that makes one thing durable: not the logic
// around it. Outside of tests Do only calls its argument.
package durable

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Info describes a registered step.
type Info struct {
	Name string // "<area>.<what>", such as "journal.frame"
	Says string // what holds once the step has returned nil
}

// A Step is a registered durable step. The zero Step is not usable.
type Step struct{ name string }

var (
	mu    sync.Mutex
	steps []Info
	hook  atomic.Pointer[Interceptor]

	validName = regexp.MustCompile(`^[a-z]+(-[a-z]+)*\.[a-z]+(-[a-z]+)*$`)
)

// Register names a step; says tells what holds once it has returned nil. It is called from package variables. A name
// that is malformed or was registered before is a mistake in the program, and panics.
func Register(name, says string) Step {
	mu.Lock()
	defer mu.Unlock()
	if !validName.MatchString(name) || says == "" {
		panic(fmt.Sprintf("durable: malformed step %q", name))
	}
	if slices.ContainsFunc(steps, func(i Info) bool { return i.Name == name }) {
		panic(fmt.Sprintf("durable: step %q registered twice", name))
	}
	steps = append(steps, Info{Name: name, Says: says})
	return Step{name: name}
}

// Steps lists what the linked packages registered, by name.
func Steps() []Info {
	mu.Lock()
	defer mu.Unlock()
	out := slices.Clone(steps)
	slices.SortFunc(out, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Name is the name that the step was registered with.
func (s Step) Name() string { return s.name }

// Do runs the step.
func (s Step) Do(run func() error) error {
	if h := hook.Load(); h != nil {
		return (*h)(s.name, run)
	}
	return run()
}

// An Interceptor stands between a step and what it does: it may run it or not, and return another error.
type Interceptor func(name string, run func() error) error

// Intercept puts h before every step of the process until restore is called. It is for tests of faults; it panics if
// there is an interceptor already.
func Intercept(h Interceptor) (restore func()) {
	if !hook.CompareAndSwap(nil, &h) {
		panic("durable: a second interceptor")
	}
	return func() { hook.CompareAndSwap(&h, nil) }
}
