// Command mas is a Mission Authority Service: it owns delegated authority as missions, commits every change of a
// mission together with its evidence to a Merkle log, and shares signed views of missions with peer domains.
//
// Exit codes: 0 done; 1 a finding (something was checked and is wrong, or a latch is closed); 2 unverifiable or
// incomplete; 3 wrong usage or configuration. Results go to standard output, everything else to standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker.
var version = "unversioned"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mas:", err)
	}
	os.Exit(exitCode(err))
}

// A failure is an error with the exit code it ends in.
type failure struct {
	code int
	err  error
}

func (f failure) Error() string { return f.err.Error() }
func (f failure) Unwrap() error { return f.err }

// exitCode is 0 without an error, the code of a failure, and 3 for everything else: wrong usage or configuration.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if f, ok := errors.AsType[failure](err); ok {
		return f.code
	}
	return 3
}
