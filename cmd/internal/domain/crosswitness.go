package domain

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/mission-authority/mas/cmd/internal/keys"
)

// WitnessedBy makes a development directory ask others to witness its log, all of them: it writes the tlog-policy that
// the directory's server reads at its next start. They witness the log if it is that of a peer of theirs.
func (s Side) WitnessedBy(others ...Side) error {
	set, err := loadKeys(s.Config)
	if err != nil {
		return err
	}
	_, vkey, err := set.Key(keys.Checkpoint).Note(s.Config.LogOrigin())
	if err != nil {
		return err
	}
	policy := []string{"# who witnesses the log of " + s.Name, "log " + vkey}
	group := "group quorum-of-peers all"
	for _, o := range others {
		set, err := loadKeys(o.Config)
		if err != nil {
			return fmt.Errorf("%s: %w", o.Name, err)
		}
		if set.Key(keys.Witness) == nil {
			return fmt.Errorf("%s has no witness key", o.Name)
		}
		_, vkey, err := set.Key(keys.Witness).Cosigner(o.Config.WitnessName())
		if err != nil {
			return fmt.Errorf("%s: %w", o.Name, err)
		}
		policy = append(policy, fmt.Sprintf("witness %s %s %s/witness", o.Name, vkey, o.Config.Issuer))
		group += " " + o.Name
	}
	policy = append(policy, group, "quorum quorum-of-peers", "")
	path := filepath.Join(s.Dir, witnessFile)
	if err := os.WriteFile(path, []byte(strings.Join(policy, "\n")), 0o644); err != nil {
		return err
	}
	s.Config.Log.WitnessPolicy = path
	return nil
}
