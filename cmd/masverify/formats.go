package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/verifier"
)

// Commands that compute, and trust nobody.

func (t *tool) jcsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "jcs FILE",
		Short: "Print the canonical form (RFC 8785) of a JSON document",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := t.read(args[0])
			if err != nil {
				return err
			}
			canonical, err := mission.Canonical(data)
			if err != nil {
				return t.unacceptable(args[0], err)
			}
			_, err = t.out.Write(append(canonical, '\n'))
			return err
		},
	}
}

func (t *tool) digestCommand() *cobra.Command {
	var object bool
	c := &cobra.Command{
		Use:   "digest FILE",
		Short: "Print the digest of a file, or with --object of the canonical form of its JSON",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := t.read(args[0])
			if err != nil {
				return err
			}
			if object {
				if data, err = mission.Canonical(data); err != nil {
					return t.unacceptable(args[0], err)
				}
			}
			return t.digest(mission.RawDigest(data))
		},
	}
	c.Flags().BoolVar(&object, "object", false, "digest the canonical form of the JSON document")
	return c
}

func (t *tool) anchorCommand() *cobra.Command {
	var typ, issuer string
	c := &cobra.Command{
		Use:   "anchor --typ TYPE --iss ISSUER FILE",
		Short: "Print an integrity anchor: the digest of {typ, iss, value} for a JSON value",
		Example: `  masverify anchor --typ mission-intent --iss https://mas.example intent.json
  masverify anchor --typ mission-authority-set --iss https://mas.example set.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := t.read(args[0])
			if err != nil {
				return err
			}
			value, err := mission.ParseRaw(data)
			if err != nil {
				return t.unacceptable(args[0], err)
			}
			d, err := mission.Envelope(mission.Typ(typ), issuer, value)
			if err != nil {
				return err
			}
			return t.digest(d)
		},
	}
	c.Flags().StringVar(&typ, "typ", "", "type of the envelope, e.g. mission-intent")
	c.Flags().StringVar(&issuer, "iss", "", "issuer of the envelope")
	for _, name := range []string{"typ", "iss"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // the flag was defined above
		}
	}
	return c
}

// digest prints a digest.
func (t *tool) digest(d mission.Digest) error {
	if t.json {
		return t.document(map[string]mission.Digest{"digest": d})
	}
	_, err := fmt.Fprintln(t.out, d)
	return err
}

// unacceptable reports JSON that no part of this system would accept. That is a finding, not an error of use.
func (t *tool) unacceptable(name string, err error) error {
	fs := verifier.Findings{{Code: "json_unacceptable", Class: verifier.Integrity, Where: name, Text: err.Error()}}
	if t.json {
		t.conclude(fs.Outcome())
		return t.document(map[string]verifier.Findings{"findings": fs})
	}
	t.findings(fs)
	return nil
}
