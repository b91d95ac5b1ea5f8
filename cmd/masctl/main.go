// Command masctl talks to a Mission Authority Service: it submits and watches missions, shows and records decisions,
// introduces missions to peers, and fetches evidence, proofs and whole logs for masverify, which checks them offline.
//
// Results go to standard output, everything else to standard error. Exit codes: 0 done; 1 the server refused, or what
// it said does not verify; 2 unreachable, withheld or incomplete; 3 wrong usage or configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/cmd/internal/client"
)

// version is set by the linker.
var version = "unversioned"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes.
const (
	exitOK         = 0
	exitFinding    = 1
	exitIncomplete = 2
	exitUsage      = 3
)

// usageError is a mistake in the command line, the profile or a file.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// findingError says that something was checked and is wrong.
type findingError struct{ err error }

func (e findingError) Error() string { return e.err.Error() }
func (e findingError) Unwrap() error { return e.err }

func finding(format string, args ...any) error { return findingError{fmt.Errorf(format, args...)} }

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s := &session{stdin: stdin, stdout: stdout, stderr: stderr}
	root := newRoot(s)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "masctl:", err)
	return exitCode(err)
}

// exitCode classes an error. What is not known to be anything else is a mistake in usage: cobra's own errors are.
func exitCode(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[findingError](err); ok {
		return exitFinding
	}
	if refused, ok := errors.AsType[*client.Error](err); ok {
		switch {
		case refused.Status == http.StatusUnauthorized:
			return exitUsage
		case refused.Status == http.StatusNotFound, refused.Status == http.StatusGone,
			refused.Status == http.StatusTooManyRequests, refused.Status >= 500:
			return exitIncomplete
		}
		return exitFinding
	}
	if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, context.Canceled) || errors.Is(err, errIncomplete) ||
		errors.Is(err, io.ErrUnexpectedEOF) {
		return exitIncomplete
	}
	return exitUsage
}

// newRoot builds the command tree.
func newRoot(s *session) *cobra.Command {
	root := &cobra.Command{
		Use:           "masctl",
		Short:         "Talk to a Mission Authority Service",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	f := root.PersistentFlags()
	f.StringVar(&s.server, "server", "", "base URL of the service (default: the profile's issuer)")
	f.StringVar(&s.profilePath, "profile", "", "JSON file {issuer, client_id, jwk} of the principal, or dev.json#NAME; mode 0600")
	f.StringVar(&s.cookieJar, "cookie-jar", "", "Netscape cookie file for a sign-on proxy in front of the service, mode 0600")
	f.StringVar(&s.output, "output", "table", "table, json or ndjson")
	root.AddCommand(missionCommand(s), submissionCommand(s), reviewCommand(s), peerCommand(s), projectionCommand(s),
		evidenceCommand(s), eraseCommand(s), holdCommand(s), proofCommand(s), exportCommand(s), logCommand(s), trustCommand(s), keyCommand(s), clockCommand(s))
	return root
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return usage("%s needs a command; see masctl %s --help", use, use)
	}}
	c.AddCommand(commands...)
	return c
}
