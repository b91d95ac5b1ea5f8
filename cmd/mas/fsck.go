package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/cmd/internal/config"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/ledger/badgerstore"
)

func newFsck() *cobra.Command {
	var dir, file, salvage string
	cmd := &cobra.Command{
		Use: "fsck (--dir DIR | --config FILE) [--salvage DIR]", Args: cobra.NoArgs,
		Short: "check the whole store of a stopped or running server against itself",
		Long: "Copies the store (of a running server: its journals and keys as they are at one moment), opens the copy\n" +
			"as a start would, rehashes every entry, opens every body, follows every frame of the journal, and derives all mission and agreement rows from the log and its evidence again. The\n" +
			"original is only read. DIR is a directory of `mas dev`. Exit code 1 if anything is wrong. --salvage writes the\n" +
			"beginning of the log that verifies to a new directory, for `mas restore --from`, and lists what is left.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := fsckConfig(dir, file)
			if err != nil {
				return err
			}
			if salvage != "" {
				return salvageTo(cmd.Context(), cmd.OutOrStdout(), c, salvage)
			}
			return fsck(cmd.Context(), cmd.OutOrStdout(), c)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory of a development server")
	cmd.Flags().StringVar(&file, "config", "", "configuration file of a server")
	cmd.Flags().StringVar(&salvage, "salvage", "", "new directory for what verifies")
	cmd.MarkFlagsMutuallyExclusive("dir", "config")
	cmd.MarkFlagsOneRequired("dir", "config")
	return cmd
}

func fsckConfig(dir, file string) (*config.Config, error) {
	if file != "" {
		return config.LoadServe(config.Sources{File: file, Environ: os.Environ()})
	}
	issuer, err := domain.DevIssuer(dir)
	if err != nil {
		return nil, err
	}
	return devConfig(dir, "", issuer)
}

// fsck checks a copy of the store and prints what it found.
func fsck(ctx context.Context, out io.Writer, c *config.Config) (err error) {
	parent, err := os.MkdirTemp(filepath.Dir(c.Store.Dir), ".fsck-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(parent)) }()
	copied := filepath.Join(parent, "store")
	live, err := domain.CopyStore(ctx, c, copied)
	if err != nil {
		return continuityFailure(fmt.Errorf("copying the store: %w", err))
	}
	if live {
		fmt.Fprintln(os.Stderr, "the server is running: checking its journals, keys and evidence, and a view built from them;",
			"its own tables are read by its scrub")
	}
	c.Store.Dir = copied
	found, err := domain.Fsck(ctx, c)
	if err != nil {
		return failure{2, err}
	}
	r := found.Store
	fmt.Fprintf(out, "entries %d, tiles %d, groups %d, rows %d, bodies %d (erased %d), frames %d\n",
		r.Entries, r.Tiles, r.Groups, r.Rows, r.Bodies, r.Erased, r.Frames)
	fmt.Fprintf(out, "rows derived from log and evidence %d, difference %d\n", found.Derived.Rows,
		len(found.Derived.Differences))
	fmt.Fprintf(out, "feed epochs computed again %d, pages of their map %d\n", found.Feeds.Epochs, found.Feeds.Pages)
	fmt.Fprintf(out, "entries admitted by the registration policy %d, not admitted %d\n", found.Admission.Admitted,
		found.Admission.NotAdmitted)
	for _, f := range r.Findings {
		fmt.Fprintf(out, "finding %s: %s\n", f.Code, f.Detail)
	}
	for _, d := range found.Derived.Differences {
		fmt.Fprintf(out, "finding derived_difference: %v\n", d)
	}
	for _, f := range found.Feeds.Findings {
		fmt.Fprintf(out, "finding feed_epoch: %s\n", f)
	}
	for _, index := range found.Admission.First {
		fmt.Fprintf(out, "finding not_admitted: entry %d\n", index)
	}
	for _, note := range found.Notes {
		fmt.Fprintf(out, "finding %s\n", note)
	}
	if found.Clean() {
		fmt.Fprintln(out, "clean")
		return nil
	}
	for _, code := range slices.Sorted(maps.Keys(r.Counts)) {
		fmt.Fprintf(out, "%s: %d\n", code, r.Counts[code])
	}
	return failure{1, errors.New("the store is damaged")}
}

// salvageTo writes what verifies of a damaged log to a new directory.
func salvageTo(ctx context.Context, out io.Writer, c *config.Config, to string) error {
	from, err := domain.OpenContinuity(c)
	if err != nil {
		return err
	}
	s, err := badgerstore.Salvage(ctx, from.Dir, to, from.Options)
	if err != nil {
		return continuityFailure(err)
	}
	fmt.Fprintf(out, "salvaged frames %d, stops %d, size %d, root %s\n", s.Frames, s.Stops, s.Head.Size, s.Head.Root)
	for _, d := range s.Left {
		fmt.Fprintf(out, "left %s: %s\n", d.Part, d.Detail)
	}
	if len(s.Left) > 0 {
		return failure{1, errors.New("not everything verifies")}
	}
	return nil
}
