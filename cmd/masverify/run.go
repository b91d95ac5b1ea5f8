package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/verifier"
)

// version is set when the binary is built.
var version = "unversioned"

// Exit codes of every command.
const (
	exitOK           = 0
	exitFinding      = 1
	exitUnverifiable = 2
	exitUsage        = 3
)

// A tool is one invocation: where it reads and writes, and what it came to.
type tool struct {
	in       io.Reader
	out      io.Writer
	json     bool
	trust    string // path of the trust document
	keys     keyFlags
	exit     int
	consumed bool // standard input was read
}

// errNoTrust ends a command that cannot trust anybody.
var errNoTrust = errors.New("no trust document: give one with --trust; nothing inside an artifact is trusted")

// run executes one command line and returns the exit code. Results go to out, everything else to errout.
func run(args []string, in io.Reader, out, errout io.Writer) int {
	t := &tool{in: in, out: out}
	root := t.command()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errout)
	err := root.Execute()
	switch {
	case errors.Is(err, errNoTrust), errors.Is(err, verifier.ErrKeyStatus):
		fmt.Fprintln(errout, "masverify:", err)
		return exitUnverifiable
	case err != nil:
		fmt.Fprintln(errout, "masverify:", err)
		return exitUsage
	}
	return t.exit
}

func (t *tool) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "masverify",
		Short: "Check mission evidence offline",
		Long: `masverify checks what a Mission Authority Service says, without network and without secrets.

Trust comes only from the document given with --trust (see docs/formats.md); keys inside an artifact are hints.

Exit codes: 0 all checked and right, 1 something is wrong, 2 something could not be checked, 3 usage.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return errors.New("no command; see masverify --help")
		},
	}
	root.PersistentFlags().BoolVar(&t.json, "json", false, "print the report as one JSON document")
	root.PersistentFlags().StringVar(&t.trust, "trust", "", "trust document of the issuer (trust.json)")
	t.keys.add(root)
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(t.bundleCommand(), t.exchangeCommand(), t.statementCommand(), t.receiptCommand(), t.workProductCommand(),
		t.checkpointCommand(), t.consistencyCommand(), t.projectionCommand(), t.statusCommand(), t.agreementCommand(),
		t.logCommand(), t.feedCommand(), t.absenceCommand(), t.populationCommand(), t.anchorCommand(), t.digestCommand(),
		t.jcsCommand(), t.vectorsCommand())
	return root
}

// maxInput bounds every file that is read; the formats have their own, smaller limits.
const maxInput = verifier.MaxContainerBytes + 1

// read returns the octets of a file, or of standard input for "-", which can be given once.
func (t *tool) read(name string) ([]byte, error) {
	if name == "-" {
		if t.consumed {
			return nil, errors.New("standard input can be read only once")
		}
		t.consumed = true
		return readAll(t.in, name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, name)
}

func readAll(r io.Reader, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(data) > maxInput {
		return nil, fmt.Errorf("%s is larger than %d octets", name, maxInput)
	}
	return data, nil
}

// anchors reads the trust document of the flag --trust.
func (t *tool) anchors() (*verifier.Trust, error) {
	if t.trust == "" {
		return nil, errNoTrust
	}
	trust, err := t.readTrust(t.trust)
	if err != nil {
		return nil, err
	}
	return trust, t.keys.apply(t, trust)
}

func (t *tool) readTrust(name string) (*verifier.Trust, error) {
	data, err := t.read(name)
	if err != nil {
		return nil, err
	}
	trust, err := verifier.ParseTrust(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return trust, nil
}
