package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/ledger"
)

// errIncomplete: something that should be there is not: a quorum, growth, a recent cosignature.
var errIncomplete = errors.New("incomplete")

// A monitor watches one log.
type monitor struct {
	policy *ledger.WitnessPolicy
	state  string // file of what was seen last
	stall  time.Duration
	age    time.Duration
	now    func() time.Time
}

// seen is what a monitor keeps between two looks, in a file of mode 0600.
type seen struct {
	Checkpoint string    `json:"checkpoint"` // the newest head that was verified
	Grown      time.Time `json:"grown"`      // when it was first seen
}

func monitorCommand(s *session) *cobra.Command {
	m := &monitor{now: time.Now}
	var policy string
	var interval time.Duration
	var once bool
	c := &cobra.Command{
		Use: "monitor", Short: "Watch a log: consistency, quorum, stall, fork",
		Long: "Fetches the checkpoint of the log, verifies it against a tlog-policy and proves from the log's tiles that it " +
			"continues the head in the state file. Two heads that contradict each other are kept beside that file. Prints a " +
			"line for each look and goes on until it is interrupted; with --once it ends after one. Exit code 1: a fork, a " +
			"rollback or a wrong signature; 2: no quorum, an old cosignature, a log that does not grow, or no answer.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			text, err := s.readInput(policy)
			if err != nil {
				return err
			}
			if m.policy, err = ledger.ParseWitnessPolicy(text); err != nil {
				return usageError{err}
			}
			if m.state == "" || interval < time.Second {
				return usageError{errors.New("--state names a file, and --interval is at least a second")}
			}
			for {
				err := s.look(c.Context(), m)
				if once || exitCode(err) == exitUsage && err != nil {
					return err
				}
				if err != nil {
					s.note("%v", err)
				}
				if _, found := errors.AsType[findingError](err); found { // nothing that comes later takes it back
					return err
				}
				select {
				case <-c.Context().Done():
					return err
				case <-time.After(interval):
				}
			}
		},
	}
	f := c.Flags()
	f.StringVar(&policy, "policy", "", "tlog-policy with the log's key, its witnesses and the quorum")
	f.StringVar(&m.state, "state", "", "file that remembers the newest head; made on first use")
	f.DurationVar(&m.stall, "stall", 0, "tell when the log has not grown for so long; 0: never")
	f.DurationVar(&m.age, "max-cosignature-age", 15*time.Minute, "tell when the quorum is older")
	f.DurationVar(&interval, "interval", time.Minute, "time between two looks")
	f.BoolVar(&once, "once", false, "look once")
	return c
}

// look fetches and judges the newest head once.
func (s *session) look(ctx context.Context, m *monitor) error {
	c, err := s.anonymous()
	if err != nil {
		return err
	}
	meta, err := fetchMetadata(ctx, c)
	if err != nil {
		return err
	}
	prefix := meta.logPrefix(c)
	r, err := c.Get(ctx, prefix+"checkpoint")
	if err != nil {
		return err
	}
	line, err := m.judge(r.Body, tilesOver(ctx, c, prefix))
	if line != "" {
		fmt.Fprintln(s.stdout, line)
	}
	return err
}

// tilesOver reads hash tiles of a log over HTTP. A partial tile that is gone is taken from the full one.
func tilesOver(ctx context.Context, c *client.Client, prefix string) ledger.TileReader {
	return func(level int, index uint64, width int) ([]ledger.Hash, error) {
		t := ledger.Tile{Level: level, Index: index, Width: width}
		r, err := c.Get(ctx, prefix+t.Path())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Path(), err)
		}
		return ledger.ParseTile(r.Body, width)
	}
}

// judge verifies a checkpoint, holds it against what was seen before, and remembers it. It returns a line about the
// head. A finding is about what the log signed; errIncomplete about what is missing.
func (m *monitor) judge(text []byte, tiles ledger.TileReader) (string, error) {
	head, err := m.policy.Open(text)
	if err != nil {
		return "", finding("the checkpoint does not verify: %w", err)
	}
	before, err := m.read()
	if err != nil {
		return "", err
	}
	now := m.now().UTC()
	state := seen{Checkpoint: string(text), Grown: now}
	if before != nil {
		known, err := m.policy.Open([]byte(before.Checkpoint))
		if err != nil || known.Origin != head.Origin {
			return "", usageError{errors.New("the state file is about another log, or the policy no longer knows its key")}
		}
		if err := m.continues(known.Checkpoint, head.Checkpoint, tiles); err != nil {
			if _, found := errors.AsType[findingError](err); found {
				err = errors.Join(err, m.keep([]byte(before.Checkpoint), text))
			}
			return "", err
		}
		if head.Size == known.Size {
			state.Grown = before.Grown
		}
	}
	if err := m.write(m.state, state); err != nil {
		return "", err
	}
	line := fmt.Sprintf("%s  size %d  root %s  quorum %t  cosignatures %d", head.Origin, head.Size, head.Root, head.Quorum,
		len(head.Cosignatures))
	var missing []error
	switch {
	case !head.Quorum:
		missing = append(missing, fmt.Errorf("%w: the witnesses are not a quorum", errIncomplete))
	case !m.policy.None() && m.age > 0 && now.Sub(head.At) > m.age:
		missing = append(missing, fmt.Errorf("%w: the quorum is %v old", errIncomplete, now.Sub(head.At).Truncate(time.Second)))
	}
	if m.stall > 0 && now.Sub(state.Grown) > m.stall {
		missing = append(missing, fmt.Errorf("%w: the log has not grown for %v", errIncomplete,
			now.Sub(state.Grown).Truncate(time.Second)))
	}
	return line, errors.Join(missing...)
}

// continues proves from tiles, which are held against both roots, that one head is a prefix of the other.
func (m *monitor) continues(known, head ledger.Checkpoint, tiles ledger.TileReader) error {
	switch {
	case head.Size < known.Size:
		return finding("the log was set back from size %d to %d", known.Size, head.Size)
	case head.Size == known.Size && head.Root != known.Root:
		return finding("the log has forked: two roots of size %d", head.Size)
	case head.Size == known.Size || known.Size == 0:
		return nil
	}
	// The tiles must hash to the new head before they say anything about the old one.
	root, err := ledger.RootAt(head.Size, tiles)
	if err != nil {
		return fmt.Errorf("%w: reading tiles: %w", errIncomplete, err)
	}
	if root != head.Root {
		return fmt.Errorf("%w: the tiles do not hash to the checkpoint of size %d", errIncomplete, head.Size)
	}
	path, err := ledger.ConsistencyPath(known.Size, head.Size, tiles)
	if err != nil {
		return fmt.Errorf("%w: reading tiles: %w", errIncomplete, err)
	}
	if err := ledger.VerifyConsistency(known.Size, head.Size, path, known.Root, head.Root); err != nil {
		return finding("the log has forked: size %d does not continue size %d", head.Size, known.Size)
	}
	return nil
}

func (m *monitor) read() (*seen, error) {
	text, err := os.ReadFile(m.state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, usageError{err}
	}
	before := new(seen)
	if err := json.Unmarshal(text, before); err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", m.state, err)}
	}
	return before, nil
}

// write replaces a file of mode 0600, durably.
func (m *monitor) write(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".monitor-")
	if err != nil {
		return usageError{err}
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return usageError{errors.Join(err, os.Remove(f.Name()))}
	}
	return nil
}

// keep writes two heads that contradict each other beside the state file. It is never overwritten.
func (m *monitor) keep(heads ...[]byte) error {
	both := slices.Concat(heads...)
	for i := 1; ; i++ {
		path := fmt.Sprintf("%s.evidence-%d", m.state, i)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			if old, readErr := os.ReadFile(path); readErr == nil && string(old) == string(both) {
				return nil
			}
			continue
		}
		if err != nil {
			return err
		}
		_, err = f.Write(both)
		return errors.Join(err, f.Sync(), f.Close())
	}
}
