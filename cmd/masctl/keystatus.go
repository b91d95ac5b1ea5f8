package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/verifier"
)

// keyStatusPath is where a service tells what has become of its keys.
const keyStatusPath = "/v1/keys/status"

// updateCommand is masctl trust update.
func updateCommand(s *session) *cobra.Command {
	var save string
	c := &cobra.Command{
		Use: "update TRUST NEW", Short: "Bring a trust document up to date with the keys that its issuer has now",
		Long: "Fetches the key status of the service and writes TRUST with it to NEW: new keys, retired and compromised ones.\n" +
			"The status counts only if a governance key that TRUST names signed it; nothing else that the service says does.",
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error { return s.updateTrust(c.Context(), args[0], args[1], save) },
	}
	c.Flags().StringVar(&save, "key-status", "", "keep the signed key status in this file, for masverify --key-status")
	return c
}

func (s *session) updateTrust(ctx context.Context, from, to, save string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return usageError{err}
	}
	trust, err := verifier.ParseTrust(text)
	if err != nil {
		return usageError{err}
	}
	c, err := s.anonymous()
	if err != nil {
		return err
	}
	if c.Issuer != trust.Issuer {
		return usage("%s is about %s", from, trust.Issuer)
	}
	data, err := fetchKeyStatus(ctx, c)
	if err != nil {
		return err
	}
	status, err := trust.ApplyKeyStatus(data, time.Now())
	if err != nil {
		return finding("the key status is not to be believed: %w", err)
	}
	if text, err = trust.Marshal(); err != nil {
		return err
	}
	if save != "" {
		if err := writeNew(save, data, 0o644); err != nil {
			return err
		}
	}
	if err := writeNew(to, append(text, '\n'), 0o644); err != nil {
		return err
	}
	s.note("%s: version %d of the key status, signed %s", to, status.Version, status.SignedAt.UTC().Format(time.RFC3339))
	for _, k := range status.Keys {
		s.note("%-11s %-11s %x", k.Role, k.State, k.Key.ID)
	}
	return nil
}

// fetchKeyStatus reads the signed key status of a service.
func fetchKeyStatus(ctx context.Context, c *client.Client) ([]byte, error) {
	r, err := c.Get(ctx, keyStatusPath)
	if err != nil {
		return nil, err
	}
	if r.Status != 200 || mediaType(r) != ledger.MediaTypeKeyStatus {
		return nil, finding("the service has no key status: %d %s", r.Status, mediaType(r))
	}
	return r.Body, nil
}

// learnKeys marks the keys of a new trust document that are retired or compromised. A service of an earlier version has
// no key status; then all its keys are active.
func (s *session) learnKeys(ctx context.Context, c *client.Client, t *verifier.Trust) error {
	r, err := c.Get(ctx, keyStatusPath)
	if err != nil || r.Status == 404 {
		return err
	}
	if _, err := t.ApplyKeyStatus(r.Body, time.Now()); err != nil {
		return finding("the key status is not to be believed: %w", err)
	}
	return nil
}
