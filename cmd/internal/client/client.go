// Package client is one principal talking to one MAS over HTTP: masctl, the actors of the demo and the two-domain tests
// use it. It signs client assertions (private_key_jwt), bounds what it reads, follows no redirect, and turns refusals
// into Error. It verifies nothing it is told: that is the caller's, with package verifier.
package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

const (
	// MaxResponse bounds an answer; entry bundles of the log are the largest.
	MaxResponse = 64 << 20
	// timeout bounds one request.
	timeout = 30 * time.Second
	// assertionLife is how long a client assertion is good for.
	assertionLife = 30 * time.Second

	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// A Client authenticates as one principal. Its methods are safe for concurrent use.
type Client struct {
	Server   string     // base of the request URLs; usually the issuer identifier
	Issuer   string     // issuer identifier: the audience of the assertions
	ClientID string     // empty: requests carry no proof
	Key      jws.Signer // the private key of ClientID
	HTTP     *http.Client
	Header   http.Header // sent with every request; may be nil
}

// New returns a Client for the MAS that serves issuer.
func New(issuer, clientID string, key jws.Signer) *Client {
	return &Client{
		Server: strings.TrimSuffix(issuer, "/"), Issuer: issuer, ClientID: clientID, Key: key,
		HTTP: &http.Client{
			Timeout:       timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// A Response is a successful answer, read whole.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Decode reads a JSON answer into *dst; members this client does not know are ignored.
func (r *Response) Decode(dst any) error { return mission.DecodeOpen(r.Body, dst) }

// An Error is an answer outside 2xx.
type Error struct {
	Status int
	Code   string // `error` or `code` of the body, empty if it has none
	Reason string // the finer reason, if the surface gives one
	Body   []byte
}

func (e *Error) Error() string {
	switch {
	case e.Code == "":
		return fmt.Sprintf("the server answered %d", e.Status)
	case e.Reason == "":
		return fmt.Sprintf("the server answered %d %s", e.Status, e.Code)
	default:
		return fmt.Sprintf("the server answered %d %s (%s)", e.Status, e.Code, e.Reason)
	}
}

// Code is the stable code of a refusal, or empty.
func Code(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// Get fetches path, which may carry a query.
func (c *Client) Get(ctx context.Context, path string) (*Response, error) {
	return c.send(ctx, http.MethodGet, path, "", nil)
}

// Post sends body as canonical JSON.
func (c *Client) Post(ctx context.Context, path string, body any) (*Response, error) {
	text, err := mission.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding the request: %w", err)
	}
	return c.send(ctx, http.MethodPost, path, "application/json", text)
}

// PostRaw sends body as it is.
func (c *Client) PostRaw(ctx context.Context, path, mediaType string, body []byte) (*Response, error) {
	return c.send(ctx, http.MethodPost, path, mediaType, body)
}

// Form sends fields with a client assertion among them.
func (c *Client) Form(ctx context.Context, path string, fields url.Values) (*Response, error) {
	body, err := c.FormBody(ctx, fields)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Server+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return c.do(req)
}

// FormBody encodes fields with a client assertion among them.
func (c *Client) FormBody(ctx context.Context, fields url.Values) (string, error) {
	form := url.Values{}
	for name, values := range fields {
		form[name] = values
	}
	if c.ClientID != "" {
		assertion, err := c.assertion(ctx, nil)
		if err != nil {
			return "", err
		}
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion)
	}
	return form.Encode(), nil
}

// send makes a request that carries its assertion in the Authorization header.
func (c *Client) send(ctx context.Context, method, path, mediaType string, body []byte) (*Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Server+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	if err := c.Authorize(req); err != nil {
		return nil, err
	}
	return c.do(req)
}

// Authorize puts a fresh assertion for exactly this request into its Authorization header.
func (c *Client) Authorize(req *http.Request) error {
	if c.ClientID == "" {
		return nil
	}
	assertion, err := c.assertion(req.Context(), req)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+assertion)
	return nil
}

func (c *Client) do(req *http.Request) (*Response, error) {
	for name, values := range c.Header {
		req.Header[name] = values
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxResponse+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the answer: %w", err)
	case len(body) > MaxResponse:
		return nil, fmt.Errorf("the answer is larger than %d bytes", MaxResponse)
	case resp.StatusCode/100 != 2:
		return nil, refusal(resp.StatusCode, body)
	}
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}

// refusal reads what all JSON surfaces have in common; other bodies keep their bytes only.
func refusal(status int, body []byte) *Error {
	var b struct {
		Error  string `json:"error,omitempty"`
		Code   string `json:"code,omitempty"`
		Reason string `json:"error_reason,omitempty"`
		Ours   string `json:"reason,omitempty"`
		Denial string `json:"mission_denial_reason,omitempty"`
	}
	e := &Error{Status: status, Body: body}
	if mission.DecodeOpen(body, &b) == nil {
		e.Code, e.Reason = b.Error+b.Code, b.Reason+b.Ours+b.Denial
	}
	return e
}

// claims of a client assertion (RFC 7523); htm and htu bind it to a request where it travels in a header.
type claims struct {
	Iss string `json:"iss"`
	Sub string `json:"sub"`
	Aud string `json:"aud"`
	JTI string `json:"jti"`
	IAT int64  `json:"iat"`
	EXP int64  `json:"exp"`
	HTM string `json:"htm,omitempty"`
	HTU string `json:"htu,omitempty"`
}

func (c *Client) assertion(ctx context.Context, req *http.Request) (string, error) {
	var jti [18]byte
	rand.Read(jti[:]) // never fails
	now := time.Now()
	cl := claims{
		Iss: c.ClientID, Sub: c.ClientID, Aud: c.Issuer, JTI: base64.RawURLEncoding.EncodeToString(jti[:]),
		IAT: now.Unix(), EXP: now.Add(assertionLife).Unix(),
	}
	if req != nil {
		cl.HTM, cl.HTU = req.Method, c.origin()+req.URL.EscapedPath()
	}
	payload, err := mission.Marshal(cl)
	if err != nil {
		return "", err
	}
	return jws.Sign(ctx, c.Key, jws.TypClientAuthentication, payload)
}

// origin is the scheme and authority of the issuer: what htu is made of, whatever address the request goes to.
func (c *Client) origin() string {
	u, err := url.Parse(c.Issuer)
	if err != nil {
		return c.Issuer
	}
	return u.Scheme + "://" + u.Host
}
