package main

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/verifier"
)

// metadata are the members of /.well-known/mission-authority-server that masctl reads.
type metadata struct {
	Issuer         string      `json:"issuer"`
	JWKSURI        string      `json:"jwks_uri"`
	GovernanceKeys mission.Raw `json:"mission_federation_governance_keys,omitempty"`
	StatusKeys     mission.Raw `json:"mission_log_key_status_keys,omitempty"`
	LogOrigin      string      `json:"mission_log_origin"`
	LogVKey        string      `json:"mission_log_vkey"`
	Checkpoint     string      `json:"mission_log_checkpoint_endpoint"`
	ReceiptKeysURI string      `json:"mission_log_receipt_keys_uri"`
	EvidenceKeys   mission.Raw `json:"mission_log_evidence_keys"`
}

// fetchMetadata reads the metadata of the service, which must be about the issuer that was asked for.
func fetchMetadata(ctx context.Context, c *client.Client) (*metadata, error) {
	u, err := url.Parse(c.Server)
	if err != nil {
		return nil, usageError{err}
	}
	r, err := atOrigin(c).Get(ctx, "/.well-known/mission-authority-server"+strings.TrimSuffix(u.Path, "/"))
	if err != nil {
		return nil, err
	}
	var m metadata
	if err := r.Decode(&m); err != nil {
		return nil, finding("the metadata is malformed: %w", err)
	}
	if m.Issuer != c.Issuer {
		return nil, finding("the service says that it is %.200q, not %q", m.Issuer, c.Issuer)
	}
	return &m, nil
}

// atOrigin is c for paths that start at the host instead of at the issuer, without a proof of identity: what it fetches
// is public.
func atOrigin(c *client.Client) *client.Client {
	out := *c
	out.ClientID = ""
	if u, err := url.Parse(c.Server); err == nil {
		out.Server = u.Scheme + "://" + u.Host
	}
	return &out
}

// path is the path of a URL in the metadata, which must be on the issuer's own host: metadata sends nobody elsewhere.
func (m *metadata) path(location string) (string, error) {
	u, err := url.Parse(location)
	issuer, err2 := url.Parse(m.Issuer)
	if err != nil || err2 != nil || u.Scheme != issuer.Scheme || u.Host != issuer.Host || u.RawQuery != "" {
		return "", finding("the metadata names %.200q, which is not on the issuer's host", location)
	}
	return u.EscapedPath(), nil
}

// logPrefix is the path of the log below the server, with a final slash.
func (m *metadata) logPrefix(c *client.Client) string {
	path, err := m.path(m.Checkpoint)
	if err != nil {
		return "/"
	}
	if u, err := url.Parse(c.Server); err == nil {
		path = strings.TrimPrefix(path, strings.TrimSuffix(u.Path, "/"))
	}
	return strings.TrimSuffix(path, "checkpoint")
}

// fetchAt gets a document that the metadata points to.
func (m *metadata) fetchAt(ctx context.Context, c *client.Client, location string) ([]byte, error) {
	path, err := m.path(location)
	if err != nil {
		return nil, err
	}
	r, err := atOrigin(c).Get(ctx, path)
	if err != nil {
		return nil, err
	}
	return r.Body, nil
}

func (m *metadata) issuerKeys(ctx context.Context, c *client.Client) (*jws.KeySet, error) {
	text, err := m.fetchAt(ctx, c, m.JWKSURI)
	if err != nil {
		return nil, err
	}
	keys, err := jws.ParseKeySet(text)
	if err != nil {
		return nil, finding("the issuer's keys are malformed: %w", err)
	}
	return keys, nil
}

// checkpoint fetches the published checkpoint and verifies it with the published key.
func (m *metadata) checkpoint(ctx context.Context, c *client.Client) ([]byte, ledger.Checkpoint, error) {
	text, err := m.fetchAt(ctx, c, m.Checkpoint)
	if err != nil {
		return nil, ledger.Checkpoint{}, err
	}
	head, findings := verifier.VerifyCheckpoint(text, &verifier.Anchor{Issuer: m.Issuer, Origin: m.LogOrigin, VKey: m.LogVKey})
	if findings.Outcome() != verifier.OK {
		return nil, ledger.Checkpoint{}, finding("the log's checkpoint does not verify with the key that the service publishes")
	}
	return text, head, nil
}

func trustCommand(s *session) *cobra.Command {
	var agreements []string
	init := &cobra.Command{
		Use: "init FILE", Short: "Write down the keys that a service publishes, to be compared before they are trusted",
		Long: "Writes the trust document that masverify needs, from what the service publishes now. That is trust on first " +
			"use: compare the fingerprints it prints with what the domain's people tell you by another way.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return s.initTrust(c.Context(), args[0], agreements) },
	}
	init.Flags().StringArrayVar(&agreements, "agreement", nil, "digest of a federation agreement known to be genuine")
	return group("trust", "Trust documents: init, update", init, updateCommand(s))
}

// initTrust fetches every key, checks that the log speaks with its own, and writes the document.
func (s *session) initTrust(ctx context.Context, path string, agreements []string) error {
	c, err := s.anonymous()
	if err != nil {
		return err
	}
	t := new(verifier.Trust)
	for _, text := range agreements {
		digest, err := mission.ParseDigest(text)
		if err != nil {
			return usage("%q is not a digest", text)
		}
		t.Agreements = append(t.Agreements, digest)
	}
	m, err := fetchMetadata(ctx, c)
	if err != nil {
		return err
	}
	if t.Anchor, err = m.anchor(ctx, c); err != nil {
		return err
	}
	if t.Producers, err = producersOf(ctx, c, m.Issuer); err != nil {
		return err
	}
	if t.Governance != nil {
		if err := s.learnKeys(ctx, c, t); err != nil {
			return err
		}
	}
	text, err := t.Marshal()
	if err != nil {
		return finding("the published keys are not usable: %w", err)
	}
	if err := writeNew(path, append(text, '\n'), 0o644); err != nil {
		return err
	}
	s.note("%s: compare these with the people of %s", path, m.Issuer)
	s.note("log        %s", m.LogVKey)
	for _, kid := range t.Keys.KeyIDs() {
		s.note("issuer     %s", kid)
	}
	if t.Governance != nil {
		for _, kid := range t.Governance.KeyIDs() {
			s.note("governance %s", kid)
		}
	}
	for _, p := range t.Producers {
		s.note("producer   %s", p.Issuer)
	}
	for name, ring := range map[string]verifier.KeyRing{"receipts  ": t.Receipts, "evidence  ": t.Evidence} {
		for _, k := range ring {
			if kid, err := ledger.KeyThumbprint(k.Public); err == nil {
				s.note("%s %s", name, hex.EncodeToString(kid))
			}
		}
	}
	return nil
}

// producersOf collects the keys of the producers that the registration policy names. The keys inside their records are
// not in it: they are for the auditor to add.
func producersOf(ctx context.Context, c *client.Client, issuer string) ([]verifier.Producer, error) {
	r, err := c.Get(ctx, policyPath)
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Status == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var policy policyDocument
	if err := r.Decode(&policy); err != nil {
		return nil, finding("the registration policy is malformed: %w", err)
	}
	var out []verifier.Producer
	for _, p := range policy.Producers {
		public, _, err := jws.ParsePublicKey(p.JWK.Bytes())
		if err != nil || p.Issuer == issuer {
			return nil, finding("the registration policy names a producer without a usable key")
		}
		i := slices.IndexFunc(out, func(q verifier.Producer) bool { return q.Issuer == p.Issuer })
		if i < 0 {
			i, out = len(out), append(out, verifier.Producer{Issuer: p.Issuer})
		}
		out[i].Evidence = append(out[i].Evidence, verifier.TrustedKey{Public: public, Status: verifier.KeyActive})
		for _, t := range p.Types {
			if !slices.Contains(out[i].Types, t) {
				out[i].Types = append(out[i].Types, t)
			}
		}
	}
	return out, nil
}

// anchor collects the keys of a domain.
func (m *metadata) anchor(ctx context.Context, c *client.Client) (verifier.Anchor, error) {
	a := verifier.Anchor{Issuer: m.Issuer, Origin: m.LogOrigin, VKey: m.LogVKey}
	var err error
	if a.Keys, err = m.issuerKeys(ctx, c); err != nil {
		return a, err
	}
	governance := m.GovernanceKeys
	if governance.IsZero() {
		governance = m.StatusKeys
	}
	if !governance.IsZero() {
		if a.Governance, err = jws.ParseKeySet(governance.Bytes()); err != nil {
			return a, finding("the governance keys are malformed: %w", err)
		}
	}
	evidence, err := jws.ParseKeySet(m.EvidenceKeys.Bytes())
	if err != nil {
		return a, finding("the evidence keys are malformed: %w", err)
	}
	for _, kid := range evidence.KeyIDs() {
		public, _, _ := evidence.Key(kid)
		a.Evidence = append(a.Evidence, verifier.TrustedKey{Public: public, Status: verifier.KeyActive})
	}
	text, err := m.fetchAt(ctx, c, m.ReceiptKeysURI)
	if err != nil {
		return a, err
	}
	receipts, err := ledger.ParseKeySet(text)
	if err != nil {
		return a, finding("the receipt keys are malformed: %w", err)
	}
	for _, k := range receipts {
		a.Receipts = append(a.Receipts, verifier.TrustedKey{Public: k.Public, Status: verifier.KeyActive})
	}
	_, _, err = m.checkpoint(ctx, c)
	return a, err
}

func keyCommand(s *session) *cobra.Command {
	var issuer, clientID string
	generate := &cobra.Command{
		Use: "generate FILE", Short: "Make a profile with a fresh key and print the public JWK Set for principals.json",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if issuer == "" || clientID == "" {
				return usage("--issuer and --client-id are required")
			}
			key, err := client.GenerateKey()
			if err != nil {
				return err
			}
			text, err := mission.Marshal(profile{Issuer: issuer, ClientID: clientID, JWK: key})
			if err != nil {
				return err
			}
			if err := writeNew(args[0], append(text, '\n'), 0o600); err != nil {
				return err
			}
			s.note("%s: private key of %s at %s", args[0], clientID, issuer)
			public, err := mission.Marshal(struct {
				Keys []client.JWK `json:"keys"`
			}{[]client.JWK{key.Public()}})
			if err != nil {
				return err
			}
			return s.save("", append(public, '\n'))
		},
	}
	generate.Flags().StringVar(&issuer, "issuer", "", "issuer identifier of the service")
	generate.Flags().StringVar(&clientID, "client-id", "", "client_id of the principal")
	return group("key", "Keys: generate", generate)
}
