package main

import (
	"context"
	"fmt"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/verifier"
)

// A collector fetches the checkpoints of a log as anybody could, and holds each against the one before it, whatever
// happened to the server in between. It trusts the verifier key that it was given and nothing that the server says.
type collector struct {
	server     *client.Client // without a principal
	path       string         // of the checkpoint
	origin     string
	vkey       string
	first      ledger.Checkpoint
	last       ledger.Checkpoint
	pending    []ledger.Checkpoint // signed, and not yet shown to continue last
	consistent int                 // checkpoints shown to continue the one before them
}

// run collects until a fetch fails.
func (c *collector) run(ctx context.Context) error {
	for {
		if err := c.collect(ctx); err != nil {
			return fmt.Errorf("collecting checkpoints: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// collect fetches one checkpoint and checks what is pending. What could not be checked because the server died is
// checked when it is back.
func (c *collector) collect(ctx context.Context) error {
	resp, err := c.server.Get(ctx, c.path)
	if err != nil {
		return err
	}
	cp, err := ledger.OpenCheckpointBy(resp.Body, c.origin, c.vkey)
	if err != nil {
		return found("a checkpoint does not verify: %v", err)
	}
	if c.last.Size == 0 {
		c.first, c.last = cp, cp
		return nil
	}
	c.pending = append(c.pending, cp)
	for len(c.pending) > 0 {
		next := c.pending[0]
		if err := c.check(ctx, c.last, next); err != nil {
			return err
		}
		c.last, c.pending = next, c.pending[1:]
		c.consistent++
	}
	return nil
}

// check holds two signed checkpoints of this log against each other.
func (c *collector) check(ctx context.Context, from, to ledger.Checkpoint) error {
	switch {
	case to.Size < from.Size:
		return found("the log shrank from %d to %d entries", from.Size, to.Size)
	case to.Size == from.Size && to.Root != from.Root:
		return found("the log has two heads of %d entries", to.Size)
	case to.Size == from.Size:
		return nil
	}
	resp, err := c.server.Get(ctx, fmt.Sprintf("/v1/proofs/consistency?from=%d&to=%d", from.Size, to.Size))
	if err != nil {
		return fmt.Errorf("from %d to %d: %w", from.Size, to.Size, err)
	}
	p, err := verifier.ParseConsistencyProof(resp.Body)
	if err != nil {
		return found("from %d to %d: %v", from.Size, to.Size, err)
	}
	path, err := p.Hashes()
	if err == nil {
		err = ledger.VerifyConsistency(from.Size, to.Size, path, from.Root, to.Root)
	}
	if err != nil {
		return found("the checkpoint of %d entries is not continued by that of %d: %v", from.Size, to.Size, err)
	}
	return nil
}
