package peering

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

const (
	maxCheckpoint = 4 << 10
	maxProof      = 64 << 10
)

// Checkpoint fetches the newest checkpoint of the peer's log, a signed note.
func (c *Client) Checkpoint(ctx context.Context, p *federation.Partner) ([]byte, error) {
	return c.call(ctx, p, request{endpoint: checkpointEndpoint, want: mediaText, limit: maxCheckpoint})
}

// consistencyAnswer are the members of a consistency proof that are needed. The roots are known from checkpoints.
type consistencyAnswer struct {
	Path []string `json:"consistency_path"`
}

// Consistency fetches the path that proves the tree of size from to be a prefix of the tree of size to.
func (c *Client) Consistency(ctx context.Context, p *federation.Partner, from, to uint64) ([]ledger.Hash, error) {
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	state := c.of(p)
	target, err := c.contactable(state.record, strings.TrimSuffix(p.Peer.Issuer, "/")+"/v1/proofs/consistency")
	if err != nil {
		return nil, err
	}
	query := url.Values{"from": {strconv.FormatUint(from, 10)}, "to": {strconv.FormatUint(to, 10)}}
	r := request{want: mediaJSON, limit: maxProof, query: query.Encode()}
	req, err := c.build(ctx, state.record, r, target)
	if err != nil {
		return nil, err
	}
	body, err := exchange(state.http, req, r.want, r.limit)
	if err != nil {
		return nil, err
	}
	var answer consistencyAnswer
	if err := mission.DecodeOpen(body, &answer); err != nil {
		return nil, fmt.Errorf("%w: consistency proof: %w", federation.ErrUnreachable, err)
	}
	if len(answer.Path) > ledger.MaxPath {
		return nil, fmt.Errorf("%w: consistency proof of %d hashes", federation.ErrUnreachable, len(answer.Path))
	}
	path := make([]ledger.Hash, len(answer.Path))
	for i, s := range answer.Path {
		b, err := hex.DecodeString(s)
		if err != nil || len(b) != ledger.HashSize {
			return nil, fmt.Errorf("%w: consistency proof is malformed", federation.ErrUnreachable)
		}
		path[i] = ledger.Hash(b)
	}
	return path, nil
}
