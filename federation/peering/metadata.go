package peering

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/mission"
)

// An endpoint is a member of the peer's metadata.
type endpoint string

const (
	statusEndpoint     endpoint = "mission_status_endpoint"
	projectionEndpoint endpoint = "mission_federation_projection_endpoint"
	receiptEndpoint    endpoint = "mission_federation_receipt_endpoint"
	agreementEndpoint  endpoint = "mission_federation_agreement_endpoint"
	checkpointEndpoint endpoint = "mission_log_checkpoint_endpoint"
)

// metadata are the members of /.well-known/mission-authority-server that are read. The document only fills in endpoints
// of a peer that is already trusted; it creates no trust, and its keys are not looked at.
type metadata struct {
	Issuer             string   `json:"issuer"`
	SubmissionEndpoint string   `json:"mission_submission_endpoint"`
	StatusEndpoint     string   `json:"mission_status_endpoint"`
	LifecycleEndpoint  string   `json:"mission_lifecycle_endpoint"`
	StatusAlgs         []string `json:"mission_status_signing_alg_values_supported"`
	AuthMethods        []string `json:"mission_auth_methods_supported"`
	JWKSURI            string   `json:"jwks_uri"`
	Versions           []string `json:"mission_federation_versions"`
	ProjectionEndpoint string   `json:"mission_federation_projection_endpoint"`
	ReceiptEndpoint    string   `json:"mission_federation_receipt_endpoint"`
	AgreementEndpoint  string   `json:"mission_federation_agreement_endpoint"`
	LogOrigin          string   `json:"mission_log_origin"`
	CheckpointEndpoint string   `json:"mission_log_checkpoint_endpoint"`
}

func (m *metadata) endpoint(e endpoint) string {
	switch e {
	case statusEndpoint:
		return m.StatusEndpoint
	case projectionEndpoint:
		return m.ProjectionEndpoint
	case receiptEndpoint:
		return m.ReceiptEndpoint
	case agreementEndpoint:
		return m.AgreementEndpoint
	case checkpointEndpoint:
		return m.CheckpointEndpoint
	}
	return ""
}

// target returns the URL of an endpoint of the peer.
func (c *Client) target(ctx context.Context, p *peer, e endpoint) (*url.URL, error) {
	m, err := c.discover(ctx, p)
	if err != nil {
		return nil, err
	}
	return c.contactable(p.record, m.endpoint(e))
}

// discover returns the peer's metadata, read again when it is older than metadataAge. Past that age it is not used.
func (c *Client) discover(ctx context.Context, p *peer) (*metadata, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := c.now()
	if age := now.Sub(p.fetched); p.metadata != nil && age >= 0 && age < metadataAge {
		return p.metadata, nil
	}
	location, err := c.contactable(p.record, wellKnown(p.record.Issuer))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, location.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("peering: %w", err)
	}
	req.Header.Set("Accept", mediaJSON)
	body, err := exchange(p.http, req, mediaJSON, maxMetadata)
	if refused, ok := errors.AsType[*federation.PeerRefusal](err); ok {
		// Nobody was asked about a Mission yet: this is no refusal to vouch for one.
		return nil, fmt.Errorf("%w: metadata: HTTP status %d", federation.ErrUnreachable, refused.Status)
	}
	if err != nil {
		return nil, err
	}
	m, err := parseMetadata(body, p.record)
	if err != nil {
		return nil, err
	}
	p.metadata, p.fetched = m, now
	return m, nil
}

// parseMetadata reads the document and holds it against the record: the issuer octet by octet, the log, the version.
func parseMetadata(body []byte, p *federation.Peer) (*metadata, error) {
	var m metadata
	if err := mission.DecodeOpen(body, &m); err != nil {
		return nil, fmt.Errorf("%w: metadata: %w", federation.ErrUnreachable, err)
	}
	switch {
	case m.Issuer != p.Issuer:
		return nil, fmt.Errorf("%w: metadata of another issuer", federation.ErrUnreachable)
	case m.LogOrigin != p.Log.Origin:
		return nil, fmt.Errorf("%w: metadata names another log", federation.ErrUnreachable)
	case !slices.Contains(m.Versions, "1"):
		return nil, fmt.Errorf("%w: no common federation version", federation.ErrUnreachable)
	case !slices.Contains(m.AuthMethods, "private_key_jwt"):
		return nil, fmt.Errorf("%w: private_key_jwt is not accepted", federation.ErrUnreachable)
	}
	return &m, nil
}

// wellKnown inserts the well-known path between host and path of the issuer.
func wellKnown(issuer string) string {
	scheme, rest, _ := strings.Cut(issuer, "://")
	host, path, _ := strings.Cut(rest, "/")
	out := scheme + "://" + host + "/.well-known/mission-authority-server"
	if path = strings.TrimSuffix(path, "/"); path != "" {
		out += "/" + path
	}
	return out
}

// contactable parses a URL and refuses it unless its host is in the peer record and its scheme is https, or http to a
// loopback address where that is allowed.
func (c *Client) contactable(p *federation.Peer, location string) (*url.URL, error) {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.RawQuery != "" || u.ForceQuery {
		return nil, fmt.Errorf("%w: an endpoint is not a plain URL", federation.ErrUnreachable)
	}
	if !slices.Contains(p.Hosts, u.Host) {
		return nil, fmt.Errorf("%w: an endpoint is on a host that the peer record does not list", federation.ErrUnreachable)
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && c.loopback && isLoopback(u.Hostname())) {
		return nil, fmt.Errorf("%w: an endpoint has a scheme that is not allowed", federation.ErrUnreachable)
	}
	return u, nil
}
