package main

import "github.com/spf13/cobra"

// freezeCommand closes the log in favour of another one.
func freezeCommand(s *session) *cobra.Command {
	var successor, reason string
	c := &cobra.Command{
		Use: "freeze --successor ORIGIN --reason TEXT", Args: cobra.NoArgs,
		Short: "Close the log for ever; two administrators have to say the same within an hour",
		RunE: func(c *cobra.Command, _ []string) error {
			return s.postJSON(c.Context(), "/v1/log/freeze", struct {
				Successor string `json:"successor"`
				Reason    string `json:"reason"`
			}{successor, reason})
		},
	}
	c.Flags().StringVar(&successor, "successor", "", "origin of the log that continues it")
	c.Flags().StringVar(&reason, "reason", "", "why, for whoever reads the log later")
	cobra.CheckErr(c.MarkFlagRequired("successor"))
	cobra.CheckErr(c.MarkFlagRequired("reason"))
	return c
}

// shardsCommand lists the logs of a service.
func shardsCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "shards", Short: "List the logs of the service, oldest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			with, err := s.anonymous()
			if err != nil {
				return err
			}
			r, err := with.Get(c.Context(), "/v1/shards")
			if err != nil {
				return err
			}
			return s.show(r, "shards")
		},
	}
}

// clockCommand ends a doubt about the server's clock.
func clockCommand(s *session) *cobra.Command {
	accept := &cobra.Command{
		Use: "accept", Short: "Say that the server's clock is right; the word is logged", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return s.postJSON(c.Context(), "/v1/clock/accept", struct{}{})
		},
	}
	return group("clock", "The server's clock: accept", accept)
}
