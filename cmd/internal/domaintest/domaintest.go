// Package domaintest runs whole domains inside a test: real store, real sequencer, real HTTP on a loopback port, keys
// and principals of a fresh development directory. Everything stops with the test.
package domaintest

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/config"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/ledger"
)

// A Domain is one running MAS.
type Domain struct {
	*domain.Domain
	Dir    string
	Issuer string
	Config *config.Config
	Dev    *domain.Dev
	stop   func() error
}

// Prepare makes a development directory for a domain on a free loopback port, without starting it. set overrides
// settings.
func Prepare(t testing.TB, ceiling string, set map[string]string) (dir string, c *config.Config) {
	t.Helper()
	dir = t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	flags := map[string]string{"listen": address, "issuer": "http://" + address, "telemetry.level": "error"}
	for name, value := range set {
		flags[name] = value
	}
	if c, err = config.LoadDev(dir, config.Sources{Flags: flags}); err != nil {
		t.Fatal(err)
	}
	if err := domain.InitDev(dir, c.Issuer, ceiling); err != nil {
		t.Fatal(err)
	}
	return dir, c
}

// Start runs the domain of a prepared directory until the test ends. edits change how it is opened.
func Start(t testing.TB, dir string, c *config.Config, edits ...func(*domain.Options)) *Domain {
	t.Helper()
	d := &Domain{Dir: dir, Issuer: c.Issuer, Config: c}
	o := domain.Options{
		Config: c, DevDir: dir, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
	}
	for _, edit := range edits {
		edit(&o)
	}
	opened, err := domain.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	d.Domain = opened
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- opened.Run(ctx) }()
	stopped := false
	d.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := d.stop(); err != nil && !errors.Is(err, domain.ErrLatched) {
			t.Errorf("stopping the domain: %v", err)
		}
	})
	select {
	case <-opened.Ready():
	case err := <-done:
		stopped = true
		t.Fatalf("the domain ended: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("the domain is not ready")
	}
	if d.Dev, err = domain.ReadDev(dir); err != nil {
		t.Fatal(err)
	}
	return d
}

// New prepares and starts a domain with the ceiling of development servers.
func New(t testing.TB) *Domain {
	t.Helper()
	dir, c := Prepare(t, domain.DevCeiling, nil)
	return Start(t, dir, c)
}

// Stop stops the domain before the test ends.
func (d *Domain) Stop() error { return d.stop() }

// Client acts as one of the local principals.
func (d *Domain) Client(t testing.TB, name string) *client.Client {
	t.Helper()
	c, err := d.Dev.Client(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Register commits n statements about the subject "<issuer>/exports/load" in Changes of 256, as many goroutines do, and
// returns the size of the log.
func (d *Domain) Register(t testing.TB, n int) uint64 {
	t.Helper()
	signer := d.Keys.Key(keys.Evidence).COSE()
	var size uint64
	for n > 0 {
		batch := min(n, 256)
		entries := make([]ledger.Entry, batch)
		for i := range entries {
			body := []byte(time.Now().String())
			entries[i].Body = append(body, byte(i), byte(i>>8), byte(n), byte(n>>8), byte(n>>16))
			var err error
			if entries[i].Statement, err = ledger.SignStatement(t.Context(), ledger.Claims{
				Issuer: d.Issuer, Subject: d.Issuer + "/exports/load", ContentType: "application/octet-stream",
				Digest: sha256.Sum256(entries[i].Body),
			}, signer); err != nil {
				t.Fatal(err)
			}
		}
		done, err := d.Log.Commit(t.Context(), ledger.Change{Entries: entries})
		if err != nil {
			t.Fatal(err)
		}
		size, n = done.TreeSize, n-batch
	}
	return size
}
