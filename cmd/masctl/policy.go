package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/mission"
)

// policyDocument is what masctl reads of the registration policy.
type policyDocument struct {
	Documents []struct {
		Digest mission.Digest `json:"digest"`
	} `json:"documents"`
	Producers []policyProducer `json:"producers"`
}

type policyProducer struct {
	Issuer string      `json:"issuer"`
	JWK    mission.Raw `json:"jwk"`
	Types  []string    `json:"types"`
}

const policyPath = "/v1/registration-policy"

// policyCommand shows the registration policy and changes it, which takes two administrators.
func policyCommand(s *session) *cobra.Command {
	show := &cobra.Command{
		Use: "show", Short: "Show who may register what, and the documents that say so", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return s.getPublic(c.Context(), policyPath) },
	}
	var remove []string
	propose := &cobra.Command{
		Use: "propose [FILE]", Short: "Propose a change of the policy, for another administrator to confirm",
		Long: `Proposes the change in FILE: {"add": [{"issuer", "jwk", "types", "subjects"?}], "remove": [kid]} for producers, or
{"trust_anchors": {"log_keys", "receipt_keys", "evidence_keys"}} for the keys of the log. With --remove and no FILE,
removes producers. Prints the whole document that would be in force.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var edit any = map[string][]string{"remove": remove}
			if (len(args) == 0) == (len(remove) == 0) {
				return usage("either a file or --remove is required")
			}
			if len(args) == 1 {
				text, err := s.readInput(args[0])
				if err != nil {
					return err
				}
				raw, err := mission.ParseRaw(text)
				if err != nil {
					return usage("%s: %w", args[0], err)
				}
				edit = raw
			}
			return s.postJSON(c.Context(), policyPath+"/proposals", edit)
		},
	}
	propose.Flags().StringArrayVar(&remove, "remove", nil, "kid of a producer to remove; repeatable")
	list := &cobra.Command{
		Use: "proposals", Short: "List the changes that wait for another administrator", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.get(c.Context(), policyPath+"/proposals", "proposals")
		},
	}
	var number int64
	confirm := &cobra.Command{
		Use: "confirm PROPOSAL", Short: "Confirm a proposed change: from the next entry on it is in force",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if number <= 0 || strings.ContainsAny(args[0], "/?#%") {
				return usage("a proposal and --number are required")
			}
			return s.postJSON(c.Context(), policyPath+"/proposals/"+args[0]+"/confirmation", map[string]int64{"number": number})
		},
	}
	confirm.Flags().Int64Var(&number, "number", 0, "number of the document that is confirmed")
	return group("policy", "The registration policy: show, propose, proposals, confirm", show, propose, list, confirm)
}

func lastSegment(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
