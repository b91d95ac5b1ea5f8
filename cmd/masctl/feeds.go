package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/verifier"
)

// Commands about feeds: what the log holds about a subject, and which subjects there are.

func feedCommand(s *session) *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "feed MISSION|SUBJECT", Short: "Fetch the list of all entries about a subject for masverify feed",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := s.authenticated()
			if err != nil {
				return err
			}
			path, err := feedPath(cl, args[0])
			if err != nil {
				return err
			}
			text, err := fetchFeed(c.Context(), cl, path)
			if err != nil {
				return err
			}
			return s.save(out, text)
		},
	}
	outFlag(c, &out)
	return c
}

// feedPath is the path of the feed of a subject, or of a mission of the issuer.
func feedPath(c *client.Client, subject string) (string, error) {
	if _, err := mission.ParseMissionID(subject); err == nil {
		if subject, err = ledger.MissionSubject(c.Issuer, subject); err != nil {
			return "", err
		}
	} else if !strings.Contains(subject, "/") {
		return "", usage("%q is neither a mission nor a subject", subject)
	}
	return "/v1/feeds/" + base64.RawURLEncoding.EncodeToString([]byte(subject)), nil
}

// A feedPage is a page of a feed, or all of them in one.
type feedPage struct {
	Subject     string        `json:"sub"`
	TreeSize    uint64        `json:"tree_size"`
	CoveredSize uint64        `json:"covered_size"`
	Count       uint64        `json:"count"`
	FeedRoot    string        `json:"feed_root,omitempty"`
	Epoch       uint64        `json:"epoch,omitempty"`
	EpochProof  string        `json:"epoch_proof,omitempty"`
	Items       []mission.Raw `json:"items"`
	Next        *uint64       `json:"next,omitempty"`
}

// fetchFeed joins the pages of a feed. What the first one says about the epoch stands.
func fetchFeed(ctx context.Context, c *client.Client, path string) ([]byte, error) {
	var all *feedPage
	for query := "?limit=1000"; ; {
		r, err := c.Get(ctx, path+query)
		if err != nil {
			return nil, err
		}
		var page feedPage
		if err := r.Decode(&page); err != nil {
			return nil, finding("the answer is not a feed: %w", err)
		}
		if all == nil {
			all = &page
		} else {
			all.Items = append(all.Items, page.Items...)
		}
		if all.Next = page.Next; page.Next == nil {
			return mission.Marshal(all)
		}
		if len(page.Items) == 0 {
			return nil, finding("the feed has an empty page")
		}
		query = "?limit=1000&after_seq=" + strconv.FormatUint(*page.Next, 10)
	}
}

func feedProofCommand(s *session) *cobra.Command {
	var out, entry string
	c := &cobra.Command{
		Use: "feed MISSION|SUBJECT", Short: "Fetch the proof of what the log holds about a subject, or that it holds nothing",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := s.authenticated()
			if err != nil {
				return err
			}
			path, err := feedPath(cl, args[0])
			if err != nil {
				return err
			}
			path += "/proof"
			if entry != "" {
				path += "?entry=" + url.QueryEscape(entry)
			}
			r, err := cl.Get(c.Context(), path)
			if err != nil {
				return err
			}
			if _, err := ledger.ParseFeedProof(r.Body); err != nil {
				return finding("the answer is not a feed proof: %w", err)
			}
			return s.save(out, r.Body)
		},
	}
	c.Flags().StringVar(&entry, "entry-id", "", "also prove the place of this entry in the feed")
	outFlag(c, &out)
	return c
}

func epochCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "epoch [NUMBER]", Short: "Show a feed epoch, by default the latest", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			name := "latest"
			if len(args) == 1 {
				if _, err := strconv.ParseUint(args[0], 10, 64); err != nil {
					return usage("%q is not a number", args[0])
				}
				name = args[0]
			}
			cl, err := s.authenticated()
			if err != nil {
				return err
			}
			r, err := cl.Get(c.Context(), "/v1/feed-epochs/"+name)
			if err != nil {
				return err
			}
			return s.show(r, "")
		},
	}
}

func populationCommand(s *session) *cobra.Command {
	var kind string
	c := &cobra.Command{
		Use: "population DIR", Short: "Fetch all missions of the log, with proof, for masverify population",
		Long: "Fetches the pages of the population as of the latest feed epoch into DIR, which must not exist: page-0001 and\n" +
			"so on. Together they show every mission and that there is no other one.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := s.authenticated()
			if err != nil {
				return err
			}
			pages, err := fetchPopulation(c.Context(), cl, kind)
			if err != nil {
				return err
			}
			if err := os.Mkdir(args[0], 0o755); err != nil {
				return usageError{err}
			}
			for i, page := range pages {
				if err := writeNew(fmt.Sprintf("%s/page-%04d", args[0], i+1), page, 0o644); err != nil {
					return err
				}
			}
			s.note("%d pages; not verified yet: masverify population %s --trust trust.json", len(pages), args[0])
			return nil
		},
	}
	c.Flags().StringVar(&kind, "kind", "missions", "kind of subject, or all")
	return c
}

// fetchPopulation fetches all pages under one epoch. If another epoch comes in between, it begins again.
func fetchPopulation(ctx context.Context, c *client.Client, kind string) (pages [][]byte, err error) {
	for range 3 {
		pages, err = populationPages(ctx, c, kind)
		if client.Code(err) != "epoch_passed" {
			break
		}
	}
	return pages, err
}

func populationPages(ctx context.Context, c *client.Client, kind string) (pages [][]byte, err error) {
	var e struct {
		Number uint64 `json:"epoch"`
	}
	r, err := c.Get(ctx, "/v1/feed-epochs/latest")
	if err != nil {
		return nil, err
	}
	if err := r.Decode(&e); err != nil {
		return nil, finding("the answer is not a feed epoch: %w", err)
	}
	path := fmt.Sprintf("/v1/feed-epochs/%d/population?limit=1000&kind=%s", e.Number, url.QueryEscape(kind))
	query := ""
	for {
		if r, err = c.Get(ctx, path+query); err != nil {
			return nil, err
		}
		p, err := ledger.ParseFeedProof(r.Body)
		if err != nil {
			return nil, finding("the answer is not a feed proof: %w", err)
		}
		if pages = append(pages, r.Body); r.Header.Get("Link") == "" {
			return pages, nil
		}
		next := "&after=" + p.Last.String()
		if next <= query {
			return nil, finding("the population does not go on")
		}
		query = next
	}
}

// epochs copies the bodies of the feed epochs below a size, newest first, until it meets one that is there.
func (m *mirror) epochs(ctx context.Context, size uint64) error {
	name := "latest"
	for {
		r, err := m.client.Get(ctx, "/v1/feed-epochs/"+name)
		if refused, ok := errors.AsType[*client.Error](err); ok && name == "latest" && refused.Status == 503 {
			return nil // none yet
		}
		if err != nil {
			return fmt.Errorf("feed epoch %s: %w", name, err)
		}
		var e struct {
			Number uint64 `json:"epoch"`
			Index  uint64 `json:"leaf_index"`
			Body   string `json:"body"`
		}
		body, err2 := []byte(nil), error(nil)
		if err = r.Decode(&e); err == nil {
			body, err2 = base64.RawURLEncoding.Strict().DecodeString(e.Body)
		}
		if err != nil || err2 != nil || e.Number == 0 {
			return finding("the answer is not a feed epoch")
		}
		if e.Index < size {
			if _, err := m.dir.Stat(verifier.EpochPath(e.Index)); err == nil {
				return nil
			} else if !errors.Is(err, fs.ErrNotExist) {
				return usageError{err}
			}
			m.files++
			if err := m.write(verifier.EpochPath(e.Index), body); err != nil {
				return err
			}
		}
		if e.Number == 1 {
			return nil
		}
		name = strconv.FormatUint(e.Number-1, 10)
	}
}
