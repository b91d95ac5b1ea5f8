package main

import (
	"context"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/ledger"
)

// eraseCommand erases the body of one entry.
func eraseCommand(s *session) *cobra.Command {
	var basis, record string
	c := &cobra.Command{
		Use: "erase ENTRY", Short: "Erase the evidence body that an entry commits to, for good",
		Long: `Erase the evidence body that an entry commits to: the erasure is logged, then the body's key is destroyed, so
that no copy of the body in any store or backup opens again. The entry and its proofs stay.

--basis is data_subject_request, retention_limit or a name with a full stop, colon or slash. Evidence of another
producer is erased with --record, the entry of an erasure record that this producer registered.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := ledger.ParseEntryID(args[0]); err != nil {
				return usage("%q is not an entry id", args[0])
			}
			if (basis == "") == (record == "") {
				return usage("exactly one of --basis and --record is required")
			}
			return s.postJSON(c.Context(), "/v1/erasures", struct {
				EntryID string `json:"entry_id"`
				Basis   string `json:"basis,omitempty"`
				Record  string `json:"record,omitempty"`
			}{args[0], basis, record})
		},
	}
	c.Flags().StringVar(&basis, "basis", "", "why it is erased")
	c.Flags().StringVar(&record, "record", "", "entry of the producer's erasure record")
	return c
}

// holdCommand sets, releases and lists legal holds.
func holdCommand(s *session) *cobra.Command {
	var entry, missionID, reason, why, after string
	set := &cobra.Command{
		Use: "set", Short: "Keep the evidence of a mission, or of one entry, from being erased", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if (entry == "") == (missionID == "") || reason == "" {
				return usage("--reason and exactly one of --mission and --entry are required")
			}
			return s.postJSON(c.Context(), "/v1/holds", struct {
				Mission string `json:"mission,omitempty"`
				EntryID string `json:"entry_id,omitempty"`
				Reason  string `json:"reason"`
			}{missionID, entry, reason})
		},
	}
	set.Flags().StringVar(&missionID, "mission", "", "mission id")
	set.Flags().StringVar(&entry, "entry", "", "entry id")
	set.Flags().StringVar(&reason, "reason", "", "why, for whoever releases it")
	release := &cobra.Command{
		Use: "release HOLD", Short: "End a hold", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if why == "" {
				return usage("--reason is required")
			}
			return s.postJSON(c.Context(), "/v1/holds/release", struct {
				ID     string `json:"hold_id"`
				Reason string `json:"reason"`
			}{args[0], why})
		},
	}
	release.Flags().StringVar(&why, "reason", "", "why it ends")
	list := &cobra.Command{
		Use: "list", Short: "List the holds, released ones too", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			path := "/v1/holds"
			if after != "" {
				path += "?after=" + url.QueryEscape(after)
			}
			return s.get(c.Context(), path, "holds")
		},
	}
	list.Flags().StringVar(&after, "after", "", "continue behind this hold")
	return group("hold", "Legal holds: set, release, list", set, release, list)
}

// postJSON posts a document as the profile's principal and shows the answer.
func (s *session) postJSON(ctx context.Context, path string, doc any) error {
	c, err := s.authenticated()
	if err != nil {
		return err
	}
	r, err := c.Post(ctx, path, doc)
	if err != nil {
		return err
	}
	return s.show(r, "")
}
