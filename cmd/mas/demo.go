package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// newDemo is the main job end to end, with real processes: two domains, a relying party that asks only the second, and
// masverify when both are gone.
func newDemo() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "demo [--dir DIR]", Args: cobra.NoArgs,
		Short: "run two domains through propose, approve, project, mint and revoke, then verify offline",
		Long: "Runs the story twice in fresh directories below DIR: once the first domain revokes, once it is killed.\n" +
			"masverify must stand beside mas. The evidence stays in DIR.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Minute)
			defer cancel()
			if dir == "" {
				temp, err := os.MkdirTemp("", "mas-demo-")
				if err != nil {
					return err
				}
				defer os.RemoveAll(temp)
				dir = temp
			}
			return demo(ctx, cmd.OutOrStdout(), dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "keep everything below this directory (default: a temporary one, removed)")
	cmd.AddCommand(newRelyingParty())
	return cmd
}

// demo runs both stories and the verification.
func demo(ctx context.Context, out io.Writer, dir string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	masverify := filepath.Join(filepath.Dir(exe), "masverify")
	if _, err := exec.LookPath(masverify); err != nil {
		return fmt.Errorf("masverify must stand beside mas: %w", err)
	}
	began := time.Now()
	evidence := filepath.Join(dir, "evidence")
	first := &story{out: out, exe: exe, dir: filepath.Join(dir, "revoked"), evidence: evidence}
	fmt.Fprintln(out, "# The first domain revokes")
	if err := first.run(ctx, first.revoke); err != nil {
		return err
	}
	second := &story{out: out, exe: exe, dir: filepath.Join(dir, "killed")}
	fmt.Fprintln(out, "\n# Once more; the first domain is killed")
	if err := second.run(ctx, second.kill); err != nil {
		return err
	}
	fmt.Fprintln(out, "\n# The servers and their directories are gone; an auditor checks what was fetched")
	if err := errors.Join(os.RemoveAll(first.dir), os.RemoveAll(second.dir)); err != nil {
		return err
	}
	if err := first.verify(ctx, masverify); err != nil {
		return err
	}
	fmt.Fprintf(out, "\ndone in %.1f s\n", time.Since(began).Seconds())
	return nil
}
