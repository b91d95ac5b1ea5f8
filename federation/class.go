package federation

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mission-authority/mas/mission"
)

// Restricted consequence classes: a person approves each Mission that holds such an action; drawdown never does.
const (
	ClassIrreversible = "irreversible_action"
	ClassCommitment   = "external_commitment"
	ClassPrivileged   = "privileged_administration"
)

// A ClassRule puts actions into a restricted class. Actions are names or families, as in an entry.
type ClassRule struct {
	Class   string   `json:"class"`
	Actions []string `json:"actions"`
}

// builtinClasses hold whatever an agreement says, so that no agreement can open them to drawdown.
var builtinClasses = []ClassRule{
	{ClassIrreversible, []string{"irreversible.*"}},
	{ClassCommitment, []string{"commitment.*"}},
	{ClassPrivileged, []string{"admin.*"}},
}

// Validate checks the class and the spelling of the actions. Decode calls it.
func (r *ClassRule) Validate() error {
	if err := checkSet("class", []string{r.Class}, 1, 1, ClassIrreversible, ClassCommitment,
		ClassPrivileged); err != nil {
		return err
	}
	probe := mission.Entry{Type: mission.TypeResourceAccess, Resource: "https://resource.example/", Actions: r.Actions}
	if err := probe.Validate(); err != nil {
		return fmt.Errorf("actions: %w", err)
	}
	return nil
}

// overlaps reports whether some action is in both patterns, each a name or a family.
func overlaps(a, b string) bool {
	familyA, isA := strings.CutSuffix(a, ".*")
	familyB, isB := strings.CutSuffix(b, ".*")
	switch {
	case isA && isB:
		return strings.HasPrefix(familyA+".", familyB+".") || strings.HasPrefix(familyB+".", familyA+".")
	case isA:
		return strings.HasPrefix(b, familyA+".")
	case isB:
		return strings.HasPrefix(a, familyB+".")
	}
	return a == b
}

// restricted returns the class of the first action of e that may be in a restricted class under the rules.
func restricted(e mission.Entry, rules []ClassRule) (string, bool) {
	for _, r := range slices.Concat(builtinClasses, rules) {
		for _, in := range r.Actions {
			if slices.ContainsFunc(e.Actions, func(a string) bool { return overlaps(a, in) }) {
				return r.Class, true
			}
		}
	}
	return "", false
}

// Drawable returns nil if a standing approval may stand for a person's: no gate, no approval of single actions, and no
// action that may fall into a restricted class. A family that merely overlaps a class falls into it.
func (d *Direction) Drawable(e mission.Entry) error {
	if len(e.Gates) > 0 {
		return errors.New("the entry is gated")
	}
	if c := e.Constraints; c != nil && c.RequiresActionApproval != nil && *c.RequiresActionApproval {
		return errors.New("the entry requires approval of each action")
	}
	if class, yes := restricted(e, d.Classes); yes {
		return fmt.Errorf("the entry holds actions of the class %s", class)
	}
	return nil
}
