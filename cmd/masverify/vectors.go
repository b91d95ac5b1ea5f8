package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/verifier"
)

func (t *tool) vectorsCommand() *cobra.Command {
	var opts verifier.VectorOptions
	c := &cobra.Command{
		Use:   "vectors FILE...",
		Short: "Run conformance vectors: one JSON line per case, then a summary",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var cases []verifier.Vector
			for _, name := range args {
				data, err := t.read(name)
				if err != nil {
					return err
				}
				list, err := verifier.ParseVectors(data)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				cases = append(cases, list...)
			}
			return t.vectors(verifier.RunVectors(cases, opts))
		},
	}
	c.Flags().StringSliceVar(&opts.Kinds, "kinds", nil, "run only these kinds, separated by commas")
	c.Flags().BoolVar(&opts.NoExpected, "no-expected", false, "print results without comparing them")
	return c
}

// A vectorLine is the result of one case on the wire of this command.
type vectorLine struct {
	Name   string          `json:"name"`
	Kind   string          `json:"kind"`
	Result json.RawMessage `json:"result"`
	OK     bool            `json:"ok"`
	Error  string          `json:"error,omitempty"`
}

func (t *tool) vectors(results []verifier.VectorResult) error {
	enc := json.NewEncoder(t.out)
	enc.SetEscapeHTML(false)
	failed := 0
	for _, r := range results {
		l := vectorLine{r.Name, r.Kind, json.RawMessage("null"), r.OK, r.Error}
		if !r.Result.IsZero() {
			l.Result = r.Result.Bytes()
		}
		if !r.OK {
			failed++
		}
		if err := enc.Encode(l); err != nil {
			return err
		}
	}
	if failed > 0 {
		t.exit = exitFinding
	}
	_, err := fmt.Fprintf(t.out, "%d passed, %d failed\n", len(results)-failed, failed)
	return err
}
