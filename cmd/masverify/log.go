package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/verifier"
)

func (t *tool) logCommand() *cobra.Command {
	var opts verifier.LogOptions
	c := &cobra.Command{
		Use:   "log DIR --trust TRUST",
		Short: "Rehash a mirror of a log and check it against its checkpoint",
		Long: `Rehashes every entry of a mirror made by "masctl log fetch", compares every tile, checks the root against the
signed checkpoint, and computes every feed epoch again: a log that leaves an entry or a mission out of one shows here.
If the mirror has the policy documents, decides for every entry again whether the log had to take it, from the entries
and these documents alone.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			trust, err := t.anchors()
			if err != nil {
				return err
			}
			if _, err := os.Stat(filepath.Join(args[0], "policy")); err != nil && !c.Flags().Changed("admission") {
				opts.Admission = false
			}
			report, err := scanLog(args[0], trust, opts)
			if err != nil {
				return err
			}
			return t.log(report)
		},
	}
	c.Flags().BoolVar(&opts.Epochs, "epochs", true, "also compute every feed epoch again from the entries")
	c.Flags().BoolVar(&opts.Signatures, "signatures", true, "also verify the signature of every statement")
	c.Flags().BoolVar(&opts.Admission, "admission", true,
		"also decide the admission of every entry again (default: if the mirror has policy documents)")
	return c
}

// scanLog checks the mirror in a directory.
func scanLog(dir string, trust *verifier.Trust, opts verifier.LogOptions) (*verifier.LogReport, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	// The mirror in the report reads on after this function: no open directory may stand behind it.
	return verifier.VerifyLog(func(path string) ([]byte, error) {
		f, err := os.OpenInRoot(dir, path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, ledger.MaxBundleSize+1))
		if err == nil && len(data) > ledger.MaxBundleSize {
			err = fmt.Errorf("%s is too large", path)
		}
		return data, err
	}, trust, opts), nil
}

func (t *tool) log(r *verifier.LogReport) error {
	t.conclude(r.Findings.Outcome())
	if t.json {
		return t.document(r)
	}
	if r.Mirror != nil && !r.Findings.Has(verifier.Integrity) {
		t.line("verified", "%s  size %d  root %s", r.Origin, r.Size, r.Root)
		t.line("rehashed", "%d entries; %d signatures verified, %d by signers the trust document does not know", r.Scanned,
			r.Signatures, r.Unknown)
		if r.Epochs > 0 {
			t.line("computed", "%d feed epochs from the entries", r.Epochs)
		}
	}
	if a := r.Admission; a != nil {
		t.line("admission", "%d entries admitted, %d not admitted, %d undecided; policy %d, trust anchors %d in force",
			a.Admitted, a.NotAdmitted, a.Undecided, a.Policy, a.Anchors)
	}
	t.findings(r.Findings)
	t.claims(verifier.LogClaims())
	return nil
}
