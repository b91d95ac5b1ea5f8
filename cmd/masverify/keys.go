package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/verifier"
)

// keyFlags say what is known of keys beside the trust document.
type keyFlags struct {
	status    string   // path of a signed key status
	at        string   // instant at which the status must be current
	cosigned  []string // paths of cosigned checkpoints
	witnesses []string // verifier keys of witnesses
}

func (k *keyFlags) add(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVar(&k.status, "key-status", "", "signed key status of the issuer (masctl trust update)")
	flags.StringVar(&k.at, "key-status-at", "", "instant at which the key status must be current (RFC 3339); default: now")
	flags.StringArrayVar(&k.cosigned, "cosigned", nil,
		"cosigned checkpoint of the log: its head counts even if keys of the log are compromised (repeatable)")
	flags.StringArrayVar(&k.witnesses, "witness", nil, "verifier key of a witness for --cosigned (repeatable)")
}

// apply brings the trust document up to date. A key status that is not to be believed makes everything unverifiable.
func (k *keyFlags) apply(t *tool, trust *verifier.Trust) error {
	if k.status == "" && k.at != "" || len(k.cosigned) == 0 && len(k.witnesses) > 0 ||
		len(k.cosigned) > 0 && len(k.witnesses) == 0 {
		return errors.New("--key-status-at goes with --key-status, and --witness with --cosigned")
	}
	if k.status != "" {
		at, err := instant(k.at)
		if err != nil {
			return err
		}
		if at.IsZero() {
			at = time.Now()
		}
		data, err := t.read(k.status)
		if err != nil {
			return err
		}
		if _, err := trust.ApplyKeyStatus(data, at); err != nil {
			return fmt.Errorf("%s: %w", k.status, err)
		}
	}
	for _, name := range k.cosigned {
		text, err := t.read(name)
		if err != nil {
			return err
		}
		if _, err := trust.AddCosigned(text, k.witnesses); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
