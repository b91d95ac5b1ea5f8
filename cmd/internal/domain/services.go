package domain

import (
	"fmt"
	"os"
	"time"

	"github.com/mission-authority/mas/cmd/internal/httpapi"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/federation/peering"
	"github.com/mission-authority/mas/ledger/epoch"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/custody"
)

// openServices builds the authority and the HTTP surface over the log.
func (d *Domain) openServices() error {
	c := d.o.Config
	principals, err := readPrincipals(c.Principals)
	if err != nil {
		return err
	}
	status, err := d.Keys.Key(keys.Issuer).JOSE()
	if err != nil {
		return err
	}
	governance, err := d.Keys.Key(keys.Governance).JOSE()
	if err != nil {
		return err
	}
	peers, err := readPeers(c.PeersDir)
	if err != nil {
		return err
	}
	retention, err := readRetention(c.Retention)
	if err != nil {
		return err
	}
	d.upstream, err = peering.New(peering.Config{Key: status, AllowLoopback: c.Loopback(), Now: d.o.Now, Logger: d.o.Logger})
	if err != nil {
		return err
	}
	if err := d.openHeads(d.metrics); err != nil {
		return err
	}
	maxStale := time.Duration(c.Freshness.MaxStale) * time.Second
	d.Authority, err = authority.New(authority.Config{
		Issuer: c.Issuer, Log: d.Log, Heads: d.Heads, Status: status, Evidence: d.Keys.Key(keys.Evidence).COSE(),
		Governance: governance, Principals: principals, MaxStale: maxStale,
		StatusTTL: time.Duration(c.Freshness.StatusTTL) * time.Second,
		Attended:  d.o.Attended, Peers: peers, Upstream: d.upstream, Receipts: d.Keys.Key(keys.Receipts).COSE(),
		Now: d.o.Now, Logger: d.o.Logger,
	})
	if err != nil {
		return err
	}
	d.epoch, err = epoch.New(epoch.Config{Issuer: c.Issuer, Origin: c.LogOrigin(), Log: d.Log,
		Evidence: d.Keys.Key(keys.Evidence).COSE(), Now: d.o.Now, Logger: d.o.Logger})
	if err != nil {
		return err
	}
	if d.custody, err = custody.New(custody.Config{Issuer: c.Issuer, Log: d.Log, Vault: d.store,
		Evidence: d.Keys.Key(keys.Evidence).COSE(), Missions: d.Authority, Retention: retention, Now: d.o.Now,
		Logger: d.o.Logger}); err != nil {
		return err
	}
	if err := d.openWitness(d.metrics, peers); err != nil {
		return err
	}
	d.measure()
	published, err := d.published(maxStale)
	if err != nil {
		return err
	}
	if err := d.openRegistry(d.metrics); err != nil {
		return err
	}
	surface := httpapi.Config{
		Registry: d.Registry,
		Issuer:   c.Issuer, Shard: c.Log.Shard, LogOrigin: c.LogOrigin(), Missions: d.Authority, Custody: d.custody,
		Directory: d.Authority, Log: d.Log, Heads: d.Heads, Witness: d.Witness, Receipts: d.Keys.Key(keys.Receipts).COSE(),
		Epochs: d.epoch, Evidence: d.Keys.Key(keys.Evidence).COSE(),
		Past: d.pastShards(), Operations: d,
		Published: published, Rate: c.Limits.Rate, Body: int64(c.Limits.Body), Metrics: d.metrics,
		ServeMetrics: c.Loopback(), Now: d.o.Now, Logger: d.o.Logger,
	}
	if len(peers) > 0 {
		surface.Peers = d.Authority
	}
	if d.api, err = httpapi.New(surface); err != nil {
		return fmt.Errorf("building the HTTP surface: %w", err)
	}
	return nil
}

// published is what the metadata tells about keys and bounds.
func (d *Domain) published(maxStale time.Duration) (p httpapi.Published, err error) {
	since := d.horizon()
	p = httpapi.Published{VKey: d.VKey, MaxStale: maxStale, KeyStatus: d.keyStatus}
	if p.Receipts, err = d.Keys.COSE(keys.Receipts, since); err != nil {
		return p, err
	}
	if p.Issuer, err = d.Keys.JWKS(keys.Issuer, since); err != nil {
		return p, err
	}
	if p.Governance, err = d.Keys.JWKS(keys.Governance, since); err != nil {
		return p, err
	}
	p.Evidence, err = d.Keys.StatementJWKS(keys.Evidence, since)
	return p, err
}

// readRetention reads the retention policy; without a file there is none.
func readRetention(path string) (*custody.Retention, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the retention policy: %w", err)
	}
	r, err := custody.ParseRetention(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
