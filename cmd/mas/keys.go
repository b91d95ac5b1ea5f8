package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/cmd/internal/keys"
)

func newKeys() *cobra.Command {
	cmd := &cobra.Command{Use: "keys", Short: "make, show and change the keys of a server"}
	cmd.AddCommand(newKeysGenerate(), newKeysShow(), newKeysStatus(), newKeysRotate(), newKeysRetire(), newKeysCompromise(),
		newKeysLost())
	return cmd
}

func newKeysGenerate() *cobra.Command {
	var passphraseFile string
	cmd := &cobra.Command{
		Use: "generate DIR", Short: "make a directory with the signing keys and the vault's root key",
		Long: "The directory must not exist. With --passphrase-file the keys are encrypted, as serve requires.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			passphrase, err := passphrase(passphraseFile)
			if err != nil {
				return err
			}
			if err := keys.Generate(args[0], passphrase); err != nil {
				return err
			}
			return show(cmd, args[0], passphrase)
		},
	}
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "file of mode 0600 with the passphrase in one line")
	return cmd
}

func newKeysShow() *cobra.Command {
	var passphraseFile string
	cmd := &cobra.Command{
		Use: "show DIR", Short: "print the role, algorithm and RFC 7638 thumbprint of each key of a directory",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			passphrase, err := passphrase(passphraseFile)
			if err != nil {
				return err
			}
			return show(cmd, args[0], passphrase)
		},
	}
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "file of mode 0600 with the passphrase in one line")
	return cmd
}

func passphrase(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	return keys.ReadPassphrase(path)
}

// show prints one line for each key. People compare the governance thumbprint when they agree on a peer.
func show(cmd *cobra.Command, dir string, passphrase []byte) error {
	refs := keys.RefsIn(dir)
	refs.Passphrase = passphrase
	set, err := keys.Load(refs)
	if err != nil {
		return err
	}
	for _, role := range keys.Roles() {
		if set.Key(role) == nil {
			continue
		}
		signer, err := set.Key(role).JOSE()
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%-11s %-6s %s  %s\n", role, signer.Alg(), signer.KeyID(),
			filepath.Base(refs.Signing[role]))
	}
	return nil
}
