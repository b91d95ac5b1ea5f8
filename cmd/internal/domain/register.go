package domain

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/mission-authority/mas/cmd/internal/httpapi"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/cmd/internal/telemetry"
	"github.com/mission-authority/mas/ledger/registry"
	"github.com/mission-authority/mas/mission/evidence"
)

// openRegistry builds the registration of producers' statements. With a latch closed the policy may be unreadable: then
// nobody registers, and what can be read is served.
func (d *Domain) openRegistry(metrics *telemetry.Registry) (err error) {
	c := d.o.Config
	d.Registry, err = registry.New(registry.Config{
		Log: d.Log, Evidence: d.Keys.Key(keys.Evidence).COSE(), Check: checkEvidence, Rate: c.Limits.Statements,
		Wait: time.Duration(c.Limits.Registration) * time.Second, Now: d.o.Now,
		Observe: httpapi.RegistrationOutcomes(metrics), Published: d.Heads.Await,
	})
	if err == nil {
		return nil
	}
	d.Registry = nil
	if h := d.Log.Health(); h.Integrity == nil && h.Write == nil {
		return fmt.Errorf("reading the registration policy: %w", err)
	}
	d.o.Logger.Error("nobody registers: the registration policy cannot be read", slog.Any("error", err))
	return nil
}

// checkEvidence asks the catalogue of evidence about a body. A record with an id of its own is the only one with it
// that its producer may have registered.
func checkEvidence(contentType string, body []byte, issuer, subject string) (registry.Facts, error) {
	f, err := evidence.Check(contentType, body, evidence.Claims{Issuer: issuer, Subject: subject})
	if err != nil || f.ID == "" {
		return registry.Facts{}, err
	}
	return registry.Facts{Unique: contentType + "\n" + issuer + "\n" + f.ID}, nil
}
