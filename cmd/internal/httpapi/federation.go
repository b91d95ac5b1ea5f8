package httpapi

import (
	"context"
	"net/http"

	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
)

// Federation is what crosses the border, as the handlers use it; *authority.Authority is one. Bodies are the exact
// octets received; each method parses them strictly, authorises the caller and commits.
type Federation interface {
	// Agree takes a peer's copy of an agreement and the evidence that it has signed or activated it, and returns ours.
	Agree(ctx context.Context, c authority.Caller, body []byte) ([]byte, error)
	// Introduce makes a single-use introduction of one of the caller's missions to a peer.
	Introduce(ctx context.Context, c authority.Caller, body []byte) ([]byte, error)
	// Project returns a signed projection of a mission for the calling peer.
	Project(ctx context.Context, c authority.Caller, body []byte) (string, error)
	// Mint makes a local mission out of a peer's mission. done is false while somebody has to decide.
	Mint(ctx context.Context, c authority.Caller, body []byte) (answer []byte, done bool, err error)
	// Receive takes a peer's derivation receipt, a compact JWS, and returns the COSE receipt of the entry that logs it.
	Receive(ctx context.Context, c authority.Caller, token string) ([]byte, error)
}

// agree: POST /federation/v1/agreements.
func (a *API) agree(c *call) (reply, error) {
	body, err := a.config.Peers.Agree(c.ctx, *c.caller, c.body)
	return reply{contentType: mediaJSON, body: body}, err
}

// introduce: POST /federation/v1/introductions.
func (a *API) introduce(c *call) (reply, error) {
	body, err := a.config.Peers.Introduce(c.ctx, *c.caller, c.body)
	return reply{contentType: mediaJSON, body: body}, err
}

// project: POST /federation/v1/projections.
func (a *API) project(c *call) (reply, error) {
	token, err := a.config.Peers.Project(c.ctx, *c.caller, c.body)
	return signed(token, jws.TypProjection), err
}

// mint: POST /federation/v1/local-missions. 201 when the mission exists, 202 while it waits.
func (a *API) mint(c *call) (reply, error) {
	body, done, err := a.config.Peers.Mint(c.ctx, *c.caller, c.body)
	status := http.StatusAccepted
	if done {
		status = http.StatusCreated
	}
	return reply{status: status, contentType: mediaJSON, body: body}, err
}

// receive: POST /federation/v1/receipts.
func (a *API) receive(c *call) (reply, error) {
	receipt, err := a.config.Peers.Receive(c.ctx, *c.caller, string(c.body))
	return reply{contentType: mediaCOSE, body: receipt}, err
}
