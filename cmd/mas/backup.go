package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/cmd/internal/config"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/journal"
)

// whose is how a command names the server it works for.
type whose struct{ dir, file string }

func (w *whose) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.dir, "dir", "", "directory of a development server")
	cmd.Flags().StringVar(&w.file, "config", "", "configuration file of a server")
	cmd.MarkFlagsMutuallyExclusive("dir", "config")
	cmd.MarkFlagsOneRequired("dir", "config")
}

func (w *whose) config() (*config.Config, error) { return fsckConfig(w.dir, w.file) }

func (w *whose) open() (*domain.Continuity, error) {
	c, err := w.config()
	if err != nil {
		return nil, err
	}
	return domain.OpenContinuity(c)
}

func newBackup() *cobra.Command {
	var of whose
	var out string
	var keys bool
	var age time.Duration
	var verify bool
	cmd := &cobra.Command{
		Use: "backup (--dir DIR | --config FILE) --out DIR", Args: cobra.NoArgs,
		Short: "back up the log of a running or stopped server, or the keys of its evidence",
		Long: "Copies the log to the new directory given with --out, reads it back, rehashes it and verifies its\n" +
			"checkpoint. The server may be running. The keys of the evidence are not in it: --keys copies them, sealed\n" +
			"under the root key, to a new directory below --out, and destroys those there that have reached --max-age.\n" +
			"An erased body can be read from a backup of the keys until then. --verify only reads a backup again.\n" +
			"Configuration, principals, signing keys and the root key are in neither.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := of.open()
			if err != nil {
				return err
			}
			var m *badgerstore.Manifest
			switch {
			case verify:
				m, err = c.VerifyBackup(cmd.Context(), out)
			case keys:
				m, err = badgerstore.BackupKeys(cmd.Context(), c.Dir, out, age, c.Options)
			default:
				m, err = c.Backup(cmd.Context(), out)
			}
			if err != nil {
				return continuityFailure(err)
			}
			printManifest(cmd.OutOrStdout(), m)
			return nil
		},
	}
	of.flags(cmd)
	cmd.Flags().StringVar(&out, "out", "", "directory to make")
	cmd.Flags().BoolVar(&keys, "keys", false, "back up the keys of the evidence")
	cmd.Flags().DurationVar(&age, "max-age", 30*24*time.Hour, "with --keys: when the backup has to be destroyed")
	cmd.Flags().BoolVar(&verify, "verify", false, "read the backup in --out, make none")
	cmd.MarkFlagsMutuallyExclusive("keys", "verify")
	cobra.CheckErr(cmd.MarkFlagRequired("out"))
	return cmd
}

func printManifest(out io.Writer, m *badgerstore.Manifest) {
	fmt.Fprintf(out, "backup of the %s of %s, made %s\n", m.Kind, m.Origin, m.Made.Format(time.RFC3339))
	if m.Kind == badgerstore.KindKeys {
		fmt.Fprintf(out, "to be destroyed by %s\n", m.Expires.Format(time.RFC3339))
		return
	}
	fmt.Fprintf(out, "frames %d, stops %d, size %d, root %s\nverified\n", m.Frames, m.Stops, m.Size, m.Root)
}

// continuityFailure gives an error the exit code that says what it means: 1 something is wrong with what was read, 2 it
// cannot be told, 3 it was asked for in a way that does not work.
func continuityFailure(err error) error {
	for _, wrong := range []error{badgerstore.ErrBackup, journal.ErrFork, journal.ErrCorrupt, journal.ErrRollback,
		ledger.ErrIntegrity} {
		if errors.Is(err, wrong) {
			return failure{1, err}
		}
	}
	for _, unknown := range []error{badgerstore.ErrKeysLost, journal.ErrNoSpace, badgerstore.ErrLocked, context.Canceled} {
		if errors.Is(err, unknown) {
			return failure{2, err}
		}
	}
	return err
}

func newRestore() *cobra.Command {
	var of whose
	var o badgerstore.RestoreOptions
	var heads []string
	var successor string
	cmd := &cobra.Command{
		Use: "restore (--dir DIR | --config FILE) --from DIR (--head FILE… | --nothing-newer)", Args: cobra.NoArgs,
		Short: "make the store of a server anew, from a backup and what journals have beyond it",
		Long: "Fills the empty store directory of the configuration from a backup, a follower's copy or a surviving\n" +
			"store, and applies again what each --tail has beyond it. --head is a checkpoint that somebody has seen last:\n" +
			"a witness, a peer, a monitor. If the log reaches every head, it goes on. If not, exit code 2: the log is\n" +
			"closed for ever, says which entries are gone, and --successor names the file with which another shard\n" +
			"continues it. Without a head somebody has to answer for it that there is none: --nothing-newer.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := of.open()
			if err != nil {
				return err
			}
			for _, path := range heads {
				h, err := c.Head(path)
				if err != nil {
					return err
				}
				o.Heads = append(o.Heads, h)
			}
			r, err := c.Restore(cmd.Context(), o)
			if err != nil {
				return continuityFailure(err)
			}
			return restored(cmd.OutOrStdout(), r, successor)
		},
	}
	of.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.From, "from", "", "backup, follower's copy, or store")
	f.StringArrayVar(&o.Tails, "tail", nil, "store or follower's copy that may have more (repeatable)")
	f.StringVar(&o.Keys, "keys", "", "backup of the keys, or a store that has them")
	f.StringArrayVar(&o.Erasures, "erasures", nil, "store whose erasures are to be repeated (repeatable)")
	f.StringArrayVar(&heads, "head", nil, "checkpoint that somebody has seen (repeatable)")
	f.BoolVar(&o.NothingNewer, "nothing-newer", false, "nobody has ever seen more than what is found")
	f.BoolVar(&o.LostKeys, "lost-keys", false, "go on although some evidence can never be opened again")
	f.BoolVar(&o.ExpiredKeys, "expired-keys", false, "take a backup of keys that should have been destroyed")
	f.StringVar(&successor, "successor", "", "file to write for log.predecessor of a successor")
	cobra.CheckErr(cmd.MarkFlagRequired("from"))
	cmd.MarkFlagsOneRequired("head", "nothing-newer")
	return cmd
}

// restored says what was made. A log that cannot go on is exit code 2.
func restored(out io.Writer, r *badgerstore.Restored, successor string) error {
	fmt.Fprintf(out, "frames %d (%d from tails), stops %d, size %d, root %s\n", r.Frames, r.Applied, r.Stops, r.Head.Size,
		r.Head.Root)
	fmt.Fprintf(out, "erasures repeated %d, evidence that cannot be opened any more %d\n", r.Erased, r.Lost)
	if successor != "" && r.Head.Size > 0 {
		text, err := ledger.MarshalPredecessor(&r.End)
		if err != nil {
			return err
		}
		if err := os.WriteFile(successor, text, 0o600); err != nil {
			return err
		}
	}
	if r.Closed != nil {
		fmt.Fprintf(out, "closed: entries %d to %d were published and are gone\n", r.Head.Size, r.Closed.Size-1)
		return failure{2, errors.New("the log lost entries; a successor has to continue it")}
	}
	fmt.Fprintln(out, "every known head is reached")
	return nil
}
