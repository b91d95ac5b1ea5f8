package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/verifier"
)

func logCommand(s *session) *cobra.Command {
	var entries bool
	fetch := &cobra.Command{
		Use: "fetch DIR", Short: "Copy the log into a directory for masverify log",
		Long: "Copies the checkpoint, every hash tile, the registration policies and, unless --entries=false, every entry " +
			"bundle and feed epoch of the log into DIR (entries need an auditor's profile). Tiles that are there already are " +
			"kept: they never change.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return s.fetchLog(c.Context(), args[0], entries) },
	}
	fetch.Flags().BoolVar(&entries, "entries", true, "also copy the entries")
	return group("log", "The log: fetch, policy, feed, epoch, population, freeze, shards, monitor", fetch, monitorCommand(s), policyCommand(s),
		feedCommand(s), epochCommand(s), populationCommand(s), freezeCommand(s), shardsCommand(s))
}

// A mirror is one copy in progress.
type mirror struct {
	*session
	client *client.Client
	prefix string // path of the log below the server
	dir    *os.Root
	files  int
}

// fetchLog copies a log. The checkpoint is written last, so that a directory with one is complete for it.
func (s *session) fetchLog(ctx context.Context, dir string, entries bool) error {
	connect := s.authenticated
	if !entries {
		connect = s.anonymous
	}
	c, err := connect()
	if err != nil {
		return err
	}
	m, err := fetchMetadata(ctx, c)
	if err != nil {
		return err
	}
	checkpoint, head, err := m.checkpoint(ctx, c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return usageError{err}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return usageError{err}
	}
	defer root.Close()
	w := &mirror{session: s, client: c, prefix: m.logPrefix(c), dir: root}
	if err := w.copy(ctx, head.Size, entries); err != nil {
		return err
	}
	if entries {
		if err := w.epochs(ctx, head.Size); err != nil {
			return err
		}
	}
	if err := w.policies(ctx); err != nil {
		return err
	}
	if err := w.write("checkpoint", checkpoint); err != nil {
		return err
	}
	s.note("%s at size %d: %d files copied", head.Origin, head.Size, w.files+1)
	return nil
}

// copy fetches every tile of the tree of the given size.
func (m *mirror) copy(ctx context.Context, size uint64, entries bool) error {
	for level := 0; level <= ledger.MaxTileLevel; level++ {
		tile := ledger.Tile{Level: level}
		if tile.WidthAt(size) == 0 {
			return nil
		}
		for ; ; tile.Index++ {
			if tile.Width = tile.WidthAt(size); tile.Width == 0 {
				break
			}
			if err := m.fetch(ctx, tile); err != nil {
				return err
			}
			if level == 0 && entries {
				bundle := tile
				bundle.Entries = true
				if err := m.fetch(ctx, bundle); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// fetch copies one tile unless it is there.
func (m *mirror) fetch(ctx context.Context, t ledger.Tile) error {
	path := t.Path()
	if _, err := m.dir.Stat(path); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return usageError{err}
	}
	r, err := m.client.Get(ctx, m.prefix+path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if t.Entries {
		_, err = ledger.ParseBundle(r.Body, t.Width)
	} else {
		_, err = ledger.ParseTile(r.Body, t.Width)
	}
	if err != nil {
		return finding("%s: %w", path, err)
	}
	m.files++
	return m.write(path, r.Body)
}

// policies copies the documents that the admission of entries rests on. A service without them has none to copy.
func (m *mirror) policies(ctx context.Context) error {
	r, err := m.client.Get(ctx, "/v1/registration-policy")
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Status == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the registration policy: %w", err)
	}
	var policy policyDocument
	if err := r.Decode(&policy); err != nil {
		return finding("the registration policy is malformed: %w", err)
	}
	for _, d := range policy.Documents {
		digest, err := mission.ParseDigest(string(d.Digest))
		if err != nil {
			return finding("the registration policy names %.80q", d.Digest)
		}
		r, err := m.client.Get(ctx, "/v1/registration-policy/documents/"+string(digest))
		if err != nil {
			return fmt.Errorf("policy document %s: %w", digest, err)
		}
		if mission.RawDigest(r.Body) != digest {
			return finding("the policy document %s has another digest", digest)
		}
		if err := m.write(verifier.PolicyPath(ledger.Hash(digest.Bytes())), r.Body); err != nil {
			return err
		}
		m.files++
	}
	return nil
}

// write replaces a file of the mirror at once.
func (m *mirror) write(path string, data []byte) error {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		if err := m.dir.MkdirAll(path[:i], 0o755); err != nil {
			return usageError{err}
		}
	}
	temporary := path + ".new"
	if err := m.dir.WriteFile(temporary, data, 0o644); err != nil {
		return usageError{err}
	}
	if err := m.dir.Rename(temporary, path); err != nil {
		return usageError{err}
	}
	return nil
}
