package main

import (
	"context"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/verifier"
)

func evidenceCommand(s *session) *cobra.Command {
	var entry, out string
	get := &cobra.Command{
		Use: "get DIGEST", Short: "Fetch an evidence body and check it against its digest",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			digest, err := mission.ParseDigest(args[0])
			if err != nil {
				return usage("%q is not a digest", args[0])
			}
			path := "/v1/evidence/" + string(digest)
			if entry != "" {
				path += "?entry_id=" + url.QueryEscape(entry)
			}
			body, err := s.fetch(c.Context(), path)
			if err != nil {
				return err
			}
			if mission.RawDigest(body) != digest {
				return finding("the body does not have the digest that was asked for")
			}
			return s.save(out, body)
		},
	}
	get.Flags().StringVar(&entry, "entry-id", "", "entry whose statement commits to the body")
	outFlag(get, &out)
	return group("evidence", "Evidence: get, register", get, registerCommand(s))
}

func outFlag(c *cobra.Command, out *string) {
	c.Flags().StringVarP(out, "out", "o", "", "file to create (default: standard output)")
}

// fetch gets octets as the profile's principal.
func (s *session) fetch(ctx context.Context, path string) ([]byte, error) {
	c, err := s.authenticated()
	if err != nil {
		return nil, err
	}
	r, err := c.Get(ctx, path)
	if err != nil {
		return nil, err
	}
	return r.Body, nil
}

func proofCommand(s *session) *cobra.Command {
	return group("proof", "Proofs: inclusion, consistency, feed, receipt, statement", inclusionCommand(s),
		consistencyCommand(s), feedProofCommand(s),
		entryCommand(s, "receipt ENTRY", "Fetch the COSE receipt of an entry", ""),
		entryCommand(s, "statement ENTRY", "Fetch the signed statement of an entry", "/statement"),
		entryCommand(s, "transparent ENTRY", "Fetch the statement of an entry with its receipt", "/transparent"))
}

func inclusionCommand(s *session) *cobra.Command {
	var size uint64
	c := &cobra.Command{
		Use: "inclusion ENTRY|INDEX", Short: "Fetch the proof that an entry is in the log",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			q := url.Values{}
			if _, err := ledger.ParseEntryID(args[0]); err == nil {
				q.Set("leaf_hash", args[0])
			} else if _, err := strconv.ParseUint(args[0], 10, 63); err == nil {
				q.Set("index", args[0])
			} else {
				return usage("%q is neither an entry id nor an index", args[0])
			}
			if size > 0 {
				q.Set("tree_size", strconv.FormatUint(size, 10))
			}
			return s.getPublic(c.Context(), "/v1/proofs/inclusion?"+q.Encode())
		},
	}
	c.Flags().Uint64Var(&size, "size", 0, "size of the tree (default: the published one)")
	return c
}

func consistencyCommand(s *session) *cobra.Command {
	var from, to uint64
	c := &cobra.Command{
		Use: "consistency", Short: "Fetch the proof that the log of one size is a prefix of the log of another",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if from == 0 {
				return usage("--from is required")
			}
			path := "/v1/proofs/consistency?from=" + strconv.FormatUint(from, 10)
			if to > 0 {
				path += "&to=" + strconv.FormatUint(to, 10)
			}
			return s.getPublic(c.Context(), path)
		},
	}
	c.Flags().Uint64Var(&from, "from", 0, "older size")
	c.Flags().Uint64Var(&to, "to", 0, "newer size (default: the published one)")
	return c
}

// getPublic shows the answer of a public surface.
func (s *session) getPublic(ctx context.Context, path string) error {
	c, err := s.anonymous()
	if err != nil {
		return err
	}
	r, err := c.Get(ctx, path)
	if err != nil {
		return err
	}
	return s.show(r, "")
}

// entryCommand fetches one form of an entry.
func entryCommand(s *session, use, short, suffix string) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := ledger.ParseEntryID(args[0]); err != nil {
				return usage("%q is not an entry id", args[0])
			}
			body, err := s.fetch(c.Context(), "/entries/"+args[0]+suffix)
			if err != nil {
				return err
			}
			return s.save(out, body)
		},
	}
	outFlag(c, &out)
	return c
}

func exportCommand(s *session) *cobra.Command {
	var out string
	bundle := &cobra.Command{
		Use: "bundle MISSION", Short: "Fetch the evidence of a mission as one file for masverify bundle",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if out == "" {
				out = args[0] + ".mission-evidence.zip"
			}
			cl, err := s.authenticated()
			if err != nil {
				return err
			}
			type query struct {
				Mission string `json:"mission"`
			}
			r, err := cl.Post(c.Context(), "/v1/bundles", struct {
				Query query `json:"query"`
			}{query{args[0]}})
			if err != nil {
				return err
			}
			if _, err := verifier.Unpack(r.Body); err != nil {
				return finding("the answer is not a bundle: %w", err)
			}
			if err := s.save(out, r.Body); err != nil {
				return err
			}
			s.note("not verified yet: masverify bundle %s --trust trust.json", out)
			return nil
		},
	}
	bundle.Flags().StringVarP(&out, "out", "o", "", "file to create (default: MISSION.mission-evidence.zip)")
	return group("export", "Exports: bundle", bundle)
}
