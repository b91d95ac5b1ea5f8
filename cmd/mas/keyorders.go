package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/ledger"
)

// An orderFlags are the flags that the orders about keys share.
type orderFlags struct {
	dir, file, to string
	by            []string
}

// order adds the flags to a command and runs it with the order they make.
func order(cmd *cobra.Command, to bool, run func(cmd *cobra.Command, o domain.KeyOrder, args []string) (*keys.Ring, error),
	after string) *cobra.Command {
	var f orderFlags
	cmd.Flags().StringVar(&f.dir, "dir", "", "directory of a development server")
	cmd.Flags().StringVar(&f.file, "config", "", "configuration file of a server")
	cmd.MarkFlagsMutuallyExclusive("dir", "config")
	cmd.MarkFlagsOneRequired("dir", "config")
	if after != "" {
		cmd.Flags().StringArrayVar(&f.by, "by", nil, "id of an administrator who orders it (twice)")
	}
	if to {
		cmd.Flags().StringVar(&f.to, "to", "", "reference of the new key; default: a fresh key in a file beside the root key")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := fsckConfig(f.dir, f.file)
		if err != nil {
			return err
		}
		ring, err := run(cmd, domain.KeyOrder{Config: c, By: f.by, To: f.to, At: time.Now()}, args)
		if err != nil {
			return err
		}
		if err := printRing(cmd.OutOrStdout(), ring); err != nil {
			return err
		}
		if after != "" {
			fmt.Fprintln(cmd.ErrOrStderr(), after)
		}
		return nil
	}
	return cmd
}

const atNextStart = "The key ring is replaced. The server acts on it when it starts next: restart it now."

func newKeysStatus() *cobra.Command {
	return order(&cobra.Command{
		Use: "status (--dir DIR | --config FILE)", Args: cobra.NoArgs,
		Short: "print what has become of every key",
	}, false, func(_ *cobra.Command, o domain.KeyOrder, _ []string) (*keys.Ring, error) { return o.Ring() }, "")
}

func newKeysRotate() *cobra.Command {
	return order(&cobra.Command{
		Use: "rotate ROLE (--dir DIR | --config FILE) --by ID --by ID [--to REF]", Args: cobra.ExactArgs(1),
		Short: "begin to replace a key: both are published, and both sign checkpoints",
		Long: "Begins an overlap. From the next start on the new key is published beside the old one, checkpoints carry the\n" +
			"signatures of both, and the log holds a succession that both keys signed. Everything else is signed by the old\n" +
			"key until `mas keys retire` ends the overlap: leave auditors, peers and witnesses the time to learn the new key.",
	}, true, func(cmd *cobra.Command, o domain.KeyOrder, args []string) (*keys.Ring, error) {
		role, err := roleOf(args[0])
		if err != nil {
			return nil, err
		}
		return o.Rotate(cmd.Context(), role)
	}, atNextStart)
}

func newKeysRetire() *cobra.Command {
	return order(&cobra.Command{
		Use: "retire ROLE (--dir DIR | --config FILE) --by ID --by ID", Args: cobra.ExactArgs(1),
		Short: "end an overlap: the new key signs, the old one is only published",
	}, false, func(_ *cobra.Command, o domain.KeyOrder, args []string) (*keys.Ring, error) {
		role, err := roleOf(args[0])
		if err != nil {
			return nil, err
		}
		return o.Retire(role)
	}, atNextStart)
}

func newKeysCompromise() *cobra.Command {
	var since string
	var unknown bool
	cmd := order(&cobra.Command{
		Use:   "compromise KID (--since TIME | --since-unknown) (--dir DIR | --config FILE) --by ID --by ID [--to REF]",
		Args:  cobra.ExactArgs(1),
		Short: "withdraw a key that somebody else may have used",
		Long: "KID is the thumbprint that `mas keys status` prints. What the key signed counts from then on only if something\n" +
			"that the key did not authenticate shows that it is older than TIME; with --since-unknown it counts for nothing.\n" +
			"A key that signs is replaced at once, without an overlap.",
	}, true, func(cmd *cobra.Command, o domain.KeyOrder, args []string) (*keys.Ring, error) {
		kid, err := hex.DecodeString(args[0])
		if err != nil || len(kid) != 32 {
			return nil, errors.New("KID is not 64 hexadecimal digits")
		}
		var at time.Time
		if since != "" {
			if at, err = time.Parse(time.RFC3339, since); err != nil || at.Unix() <= 0 {
				return nil, errors.New("--since is not an RFC 3339 date-time")
			}
		}
		return o.Compromise(cmd.Context(), kid, at)
	}, atNextStart)
	cmd.Flags().StringVar(&since, "since", "", "earliest instant at which somebody else may have signed (RFC 3339)")
	cmd.Flags().BoolVar(&unknown, "since-unknown", false, "nobody knows since when")
	cmd.MarkFlagsMutuallyExclusive("since", "since-unknown")
	cmd.MarkFlagsOneRequired("since", "since-unknown")
	return cmd
}

func newKeysLost() *cobra.Command {
	return order(&cobra.Command{
		Use: "lost ROLE (--dir DIR | --config FILE) --by ID --by ID [--to REF]", Args: cobra.ExactArgs(1),
		Short: "replace a key that nobody can use any more",
	}, true, func(cmd *cobra.Command, o domain.KeyOrder, args []string) (*keys.Ring, error) {
		role, err := roleOf(args[0])
		if err != nil {
			return nil, err
		}
		return o.Lose(cmd.Context(), role)
	}, atNextStart)
}

func roleOf(text string) (keys.Role, error) {
	if !slices.Contains(keys.Roles(), keys.Role(text)) {
		return "", fmt.Errorf("there is no role %q: want one of %v", text, keys.Roles())
	}
	return keys.Role(text), nil
}

// printRing prints one line for each key, in the order in which they came.
func printRing(out io.Writer, ring *keys.Ring) error {
	fmt.Fprintf(out, "key status version %d\n", ring.Version)
	when := func(name string, at int64) string {
		if at == 0 {
			return ""
		}
		return "  " + name + " " + time.Unix(at, 0).UTC().Format(time.RFC3339)
	}
	for _, e := range ring.Entries {
		kid, err := ledger.KeyThumbprint(e.Public)
		if err != nil {
			return err
		}
		ref := e.Ref
		if ref == "" {
			ref = "as configured"
		}
		fmt.Fprintf(out, "%-11s %-11s %x  %s%s%s%s\n", e.Role, e.Status, kid, ref, when("from", e.NotBefore),
			when("until", e.NotAfter), when("compromised", e.CompromisedAt))
	}
	return nil
}
