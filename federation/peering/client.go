// Package peering is the HTTP client of one Mission Authority Service to its peers.
//
// It talks to pinned peers only: whom it may contact is fixed by the Peer record, not by anything that is received.
// Redirects are refused, proxies are not used, a name that resolves to a private address is not dialled unless the
// record allows it, and plain HTTP exists for loopback addresses in dev and demo alone. Every answer is bounded in
// size and time and must have its exact media type.
//
// A method returns the artifact as it was received. The package verifies nothing but the peer's metadata: callers store
// what came before they verify it, with the Partner (package federation). An error is one of two things: an unsigned
// refusal by the peer (*federation.PeerRefusal), or silence (federation.ErrUnreachable), which says nothing at all.
package peering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// Limits of one exchange.
const (
	connectTimeout = 2 * time.Second
	totalTimeout   = 5 * time.Second
	metadataAge    = 10 * time.Minute
	maxMetadata    = 64 << 10
	maxRefusal     = 4 << 10
	maxHeader      = 16 << 10
	maxTransparent = 96 << 10 // a statement and its receipt
)

// Config is what a Client is made of. Key is required.
type Config struct {
	Key jws.Signer // issuer key: client assertions
	// AllowLoopback permits plain HTTP to loopback addresses (dev and demo). It is logged.
	AllowLoopback bool
	Now           func() time.Time // time.Now
	Logger        *slog.Logger     // slog.DiscardHandler
}

// A Client calls peers. It is safe for concurrent use and starts no goroutine of its own.
type Client struct {
	key      jws.Signer
	loopback bool
	now      func() time.Time
	log      *slog.Logger

	mu    sync.Mutex
	peers map[string]*peer // by issuer
}

// A peer is the connection state of one Peer record: connections are never shared between peers, because what may be
// dialled differs.
type peer struct {
	record *federation.Peer
	http   *http.Client

	mu       sync.Mutex
	metadata *metadata
	fetched  time.Time
}

// New returns a Client.
func New(c Config) (*Client, error) {
	if c.Key == nil {
		return nil, errors.New("peering: no key")
	}
	out := &Client{key: c.Key, loopback: c.AllowLoopback, now: c.Now, log: c.Logger, peers: map[string]*peer{}}
	if out.now == nil {
		out.now = time.Now
	}
	if out.log == nil {
		out.log = slog.New(slog.DiscardHandler)
	}
	if c.AllowLoopback {
		out.log.Warn("plain HTTP to loopback addresses is allowed: development only")
	}
	return out, nil
}

// Close drops idle connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.peers {
		p.http.CloseIdleConnections()
	}
}

// of returns the state for the peer of a Partner; a changed record starts afresh.
func (c *Client) of(p *federation.Partner) *peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.peers[p.Peer.Issuer]
	if known != nil && known.record == p.Peer {
		return known
	}
	if known != nil {
		known.http.CloseIdleConnections()
	}
	known = &peer{record: p.Peer, http: c.httpClient(p.Peer)}
	c.peers[p.Peer.Issuer] = known
	return known
}

// Status asks where a Mission of the peer stands, with this domain as the audience, and returns the compact answer.
func (c *Client) Status(ctx context.Context, p *federation.Partner, id mission.ID, nonce string) (string, error) {
	form := url.Values{"mission_id": {string(id)}, "audience": {p.Self}, "nonce": {nonce}}
	b, err := c.call(ctx, p, request{endpoint: statusEndpoint, form: form,
		want: jws.TypStatus.ContentType(), limit: federation.MaxArtifact})
	return string(b), err
}

// Project asks for a projection and returns the compact answer. body is a federation.ProjectionRequest.
func (c *Client) Project(ctx context.Context, p *federation.Partner, body []byte) (string, error) {
	b, err := c.call(ctx, p, request{endpoint: projectionEndpoint, media: mediaJSON, body: body,
		want: jws.TypProjection.ContentType(), limit: federation.MaxArtifact})
	return string(b), err
}

// Receive hands a derivation receipt to the origin and returns the transparent statement of the origin's entry.
func (c *Client) Receive(ctx context.Context, p *federation.Partner, compact string) ([]byte, error) {
	return c.call(ctx, p, request{endpoint: receiptEndpoint, media: jws.TypDerivationReceipt.ContentType(),
		body: []byte(compact), want: mediaCOSE, limit: maxTransparent})
}

// Agree sends this side's events of the agreement and returns the peer's. body and answer are a
// federation.AgreementExchange.
func (c *Client) Agree(ctx context.Context, p *federation.Partner, body []byte) ([]byte, error) {
	return c.call(ctx, p, request{endpoint: agreementEndpoint, media: mediaJSON, body: body, want: mediaJSON,
		limit: 4 * federation.MaxRequest})
}

const (
	mediaForm = "application/x-www-form-urlencoded"
	mediaJSON = "application/json"
	mediaCOSE = "application/cose"
	mediaText = "text/plain"
)

// A request is one exchange with an endpoint of the peer.
type request struct {
	endpoint endpoint
	form     url.Values // POST of a form with a client assertion inside
	media    string     // POST of body; "" and no form: a public GET
	body     []byte
	query    string
	want     string // media type of the answer
	limit    int64  // of the answer, in octets
}

// call makes one authenticated exchange.
func (c *Client) call(ctx context.Context, p *federation.Partner, r request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, totalTimeout)
	defer cancel()
	state := c.of(p)
	target, err := c.target(ctx, state, r.endpoint)
	if err != nil {
		return nil, err
	}
	req, err := c.build(ctx, state.record, r, target)
	if err != nil {
		return nil, err
	}
	return exchange(state.http, req, r.want, r.limit)
}

// build makes the request with its proof of identity: inside a form, or as Bearer bound to method and URL.
func (c *Client) build(ctx context.Context, p *federation.Peer, r request, target *url.URL) (*http.Request, error) {
	method, body, media := http.MethodPost, r.body, r.media
	switch {
	case r.form != nil:
		assertion, err := c.assertion(ctx, p, "", "")
		if err != nil {
			return nil, err
		}
		r.form.Set("client_assertion_type", assertionType)
		r.form.Set("client_assertion", assertion)
		body, media = []byte(r.form.Encode()), mediaForm
	case media == "":
		method = http.MethodGet
	}
	u := *target
	u.RawQuery = r.query
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("peering: %w", err)
	}
	req.Header.Set("Accept", r.want)
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	if r.form == nil && media != "" {
		assertion, err := c.assertion(ctx, p, method, target.String())
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+assertion)
	}
	return req, nil
}

// exchange sends the request and reads the answer. Silence and refusal are told apart here and nowhere else.
func exchange(client *http.Client, req *http.Request, want string, limit int64) ([]byte, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", federation.ErrUnreachable, withoutURL(err))
	}
	defer resp.Body.Close()
	switch s := resp.StatusCode; {
	case s == http.StatusOK:
	case s == http.StatusTooManyRequests || s == http.StatusRequestTimeout || s < 400 || s >= 500:
		return nil, fmt.Errorf("%w: HTTP status %d", federation.ErrUnreachable, s)
	default:
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
		return nil, &federation.PeerRefusal{Status: s, ErrorBody: federation.ParseErrorBody(body)}
	}
	if got, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || got != want {
		return nil, fmt.Errorf("%w: answer of another media type", federation.ErrUnreachable)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%w: reading the answer: %w", federation.ErrUnreachable, err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("%w: answer of more than %d octets", federation.ErrUnreachable, limit)
	}
	return body, nil
}

// withoutURL drops the URL that net/http puts into its errors: queries stay out of logs.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// assertionType is the one value of client_assertion_type (RFC 7523 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionSeconds is how long a client assertion lives.
const assertionSeconds = 30

// assertionClaims are the claims of private_key_jwt: the audience is the issuer identifier, and where the assertion
// travels in a header it is bound to the request.
type assertionClaims struct {
	Iss string `json:"iss"`
	Sub string `json:"sub"`
	Aud string `json:"aud"`
	JTI string `json:"jti"`
	IAT int64  `json:"iat"`
	EXP int64  `json:"exp"`
	HTM string `json:"htm,omitempty"`
	HTU string `json:"htu,omitempty"`
}

func (c *Client) assertion(ctx context.Context, p *federation.Peer, htm, htu string) (string, error) {
	now := c.now().Unix()
	payload, err := mission.Marshal(assertionClaims{
		Iss: p.OwnClientID, Sub: p.OwnClientID, Aud: p.Issuer, JTI: federation.NewNonce(),
		IAT: now, EXP: now + assertionSeconds, HTM: htm, HTU: htu,
	})
	if err != nil {
		return "", fmt.Errorf("peering: assertion: %w", err)
	}
	compact, err := jws.Sign(ctx, c.key, jws.TypClientAuthentication, payload)
	if err != nil {
		return "", fmt.Errorf("peering: assertion: %w", err)
	}
	return compact, nil
}
