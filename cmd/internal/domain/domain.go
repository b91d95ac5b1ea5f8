// Package domain wires one MAS: store, log, authority, peers and HTTP surface, in the order they start and stop. It
// exists so that the server and the tests with whole domains run the same wiring.
//
// Open recovers the store and builds every part; it starts no goroutine. Run starts the sequencer, finishes the
// authority's recovery, starts the workers and the listener, and when its context ends stops them in reverse: the
// listener drains, the workers end, the sequencer commits what is queued, the store closes.
package domain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mission-authority/mas/cmd/internal/config"
	"github.com/mission-authority/mas/cmd/internal/httpapi"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/cmd/internal/telemetry"
	"github.com/mission-authority/mas/federation/peering"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/epoch"
	"github.com/mission-authority/mas/ledger/registry"
	"github.com/mission-authority/mas/ledger/sequencer"
	"github.com/mission-authority/mas/ledger/witness"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/custody"
)

// drain is how long requests in flight may take to finish when the server stops.
const drain = 10 * time.Second

// ErrLatched: the server stopped with a latch closed. The process exits with a failure even when it was told to stop.
var ErrLatched = errors.New("a latch is closed")

// Options are what a Domain is made of.
type Options struct {
	Config   *config.Config
	Attended bool             // a person must have logged in to decide (serve)
	DevDir   string           // announce the local principals in dev.json there; empty: no
	Now      func() time.Time // time.Now
	Logger   *slog.Logger
	// Listener is used instead of listening on Config.Listen, if it is not nil.
	Listener net.Listener
	// WitnessRefresh is the age at which cosignatures of an idle log are renewed; 0: a minute.
	WitnessRefresh time.Duration
	// Store changes the options of the store, if it is not nil.
	Store func(*badgerstore.Options)
}

// A Domain is one MAS, opened.
type Domain struct {
	Log       *sequencer.Log
	Authority *authority.Authority
	Registry  *registry.Registry // nil if the registration policy cannot be read
	Keys      *keys.Set
	VKey      string // signed-note verifier key of the log
	// Heads says how far the log is published and witnessed; Witness cosigns the heads of others, nil without a key.
	Heads       *witness.Publisher
	Witness     *witness.Server
	WitnessVKey string // verifier key of Witness

	o     Options
	store *badgerstore.Store
	epoch *epoch.Worker

	custody *custody.Custody
	api     *httpapi.API

	past     []*pastShard // from the first to the last before the running one
	freezing freezing
	metrics  *telemetry.Registry
	scrub    *badgerstore.Scrubber
	copies   *copies

	statusMu sync.Mutex
	status   signedStatus // guarded by statusMu

	upstream *peering.Client
	ready    chan struct{}
}

// Open recovers the store below the configured directory and builds the services. The error is of the configuration,
// the keys or the store; damage that the log can survive closes a latch instead.
func Open(ctx context.Context, o Options) (*Domain, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &Domain{o: o, ready: make(chan struct{})}
	if err := d.open(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Domain) open(ctx context.Context) (err error) {
	if d.Keys, err = loadKeys(d.o.Config); err != nil {
		return err
	}
	if err := d.openLog(ctx); err != nil {
		return err
	}
	return d.openServices()
}

// openLog opens store and log.
func (d *Domain) openLog(ctx context.Context) error {
	origin := d.o.Config.LogOrigin()
	signer, overlap, err := d.Keys.LogSigners(origin)
	if err != nil {
		return err
	}
	verifiers, err := d.Keys.LogVerifiers(origin)
	if err != nil {
		return err
	}
	vkeys, err := d.Keys.LogKeys(origin)
	if err != nil {
		return err
	}
	d.VKey = vkeys[0]
	if err := d.openPast(ctx); err != nil {
		return err
	}
	options, err := d.anchored()
	if err != nil {
		return err
	}
	d.store, err = badgerstore.Open(d.o.Config.Store.Dir, options)
	if err != nil {
		return fmt.Errorf("opening the store: %w", err)
	}
	genesis, err := d.genesis(ctx)
	if err != nil {
		return err
	}
	d.Log, err = sequencer.Open(ctx, sequencer.Config{
		Store: d.store, Vault: d.store.Vault(), Stops: d.store.Stops(), Origin: origin, Checkpoint: signer,
		Overlap: overlap, Verifiers: verifiers, Genesis: genesis, Now: d.o.Now, Log: d.o.Logger,
		Applied: d.measureCommits(),
	})
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	if err := d.checkSuccession(); err != nil {
		return err
	}
	return d.keepRing()
}

// storeOptions are those of a production store, or small ones for development.
func (d *Domain) storeOptions() badgerstore.Options {
	o := badgerstore.Options{Root: d.Keys.Root(), Origin: d.o.Config.LogOrigin(), Logger: d.o.Logger, Now: d.o.Now}
	if d.o.Config.Loopback() {
		o = o.Small()
	}
	if d.o.Store != nil {
		d.o.Store(&o)
	}
	return o
}

// Sealed is a stored evidence body as the store keeps it, for drills.
func (d *Domain) Sealed(digest ledger.Hash) ([]byte, error) {
	s, err := d.store.Snapshot()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Get(ledger.BodyKey(digest))
}

// Ready is closed when the server answers.
func (d *Domain) Ready() <-chan struct{} { return d.ready }

// Run serves until ctx ends, then stops in order and closes the store. It returns ErrLatched if a latch was closed.
func (d *Domain) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, d.Close()) }()
	// Each layer lives until the one above it has stopped.
	logCtx, stopLog := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLog()
	sequencing := make(chan error, 1)
	go func() { sequencing <- d.Log.Run(logCtx) }()

	err = d.serve(ctx)
	stopLog()
	err = errors.Join(err, <-sequencing)
	if h := d.Log.Health(); h.Integrity != nil || h.Write != nil {
		err = errors.Join(err, ErrLatched)
	}
	return err
}

// serve runs everything above the log until ctx ends.
func (d *Domain) serve(ctx context.Context) error {
	d.checkWitnesses(ctx)
	if err := d.recordKeys(ctx); err != nil {
		return err
	}
	if err := d.recover(ctx); err != nil {
		return err
	}
	workCtx, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	work, workCtx := errgroup.WithContext(workCtx)
	work.Go(func() error { return d.store.Run(workCtx) })
	work.Go(func() error { return d.scrub.Run(workCtx) })
	work.Go(func() error { return d.copies.Run(workCtx) })
	work.Go(func() error { return d.epoch.Run(workCtx) })
	work.Go(func() error { return d.Heads.Run(workCtx) })
	if d.Witness != nil {
		work.Go(func() error { return d.Witness.Run(workCtx) })
	}
	work.Go(func() error { return d.Authority.Run(workCtx) })
	work.Go(func() error { return d.custody.Run(workCtx) })
	work.Go(func() error { return d.Authority.RunCoupling(workCtx) })
	if d.Registry != nil {
		work.Go(func() error { return d.Registry.Run(workCtx) })
	}

	err := d.listen(ctx, workCtx)
	stopWork()
	return errors.Join(err, work.Wait())
}

// recover finishes the authority's start. With a latch closed there is nothing to recover to: what can be read is
// served and everything positive refused, so that operators see why.
func (d *Domain) recover(ctx context.Context) error {
	// Logged erasures first: nothing may be read that the log says is gone.
	_, err := d.custody.Recover(ctx)
	if err == nil {
		err = d.Authority.Recover(ctx)
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	if h := d.Log.Health(); h.Integrity == nil && h.Write == nil {
		return fmt.Errorf("recovering: %w", err)
	}
	d.o.Logger.Error("started with a latch closed", slog.Any("error", err))
	return nil
}

// listen serves HTTP until ctx ends or a worker fails.
func (d *Domain) listen(ctx, workCtx context.Context) error {
	l := d.o.Listener
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", d.o.Config.Listen); err != nil {
			return err
		}
	}
	server := httpapi.NewServer(d.api, d.o.Logger)
	servers, group := []*http.Server{server}, new(errgroup.Group)
	group.Go(func() error { return d.serveOn(server, l) })
	if address := d.o.Config.Metrics.Listen; address != "" {
		m, err := net.Listen("tcp", address)
		if err != nil {
			return errors.Join(err, server.Close(), group.Wait())
		}
		metrics := httpapi.NewServer(d.api.MetricsHandler(), d.o.Logger)
		servers = append(servers, metrics)
		group.Go(func() error { return ignoreClosed(metrics.Serve(m)) })
	}
	err := d.announce(ctx, l)
	select {
	case <-ctx.Done():
	case <-workCtx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	for _, s := range servers {
		err = errors.Join(err, s.Shutdown(stop))
	}
	return errors.Join(err, group.Wait())
}

func (d *Domain) serveOn(s *http.Server, l net.Listener) error {
	if c := d.o.Config.TLS; c.Cert != "" {
		return ignoreClosed(s.ServeTLS(l, c.Cert, c.Key))
	}
	return ignoreClosed(s.Serve(l))
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// announce waits until assertions made now are accepted, and says that the server is ready.
func (d *Domain) announce(ctx context.Context, l net.Listener) error {
	select {
	case <-time.After(time.Until(d.api.ReadyAt())):
	case <-ctx.Done():
		return nil
	}
	defer close(d.ready)
	c := d.o.Config
	d.o.Logger.Info("ready", slog.String("issuer", c.Issuer), slog.String("listen", l.Addr().String()))
	if d.o.DevDir == "" {
		return nil
	}
	return announce(d.o.DevDir, &Dev{
		Issuer: c.Issuer, Listen: l.Addr().String(), LogOrigin: c.LogOrigin(), LogVKey: d.VKey,
		JWKSURI: c.Issuer + "/.well-known/jwks.json", ReceiptKeysURI: c.Issuer + "/.well-known/scitt-keys",
	})
}

// Close closes the store. Run has done it when it returns.
func (d *Domain) Close() error {
	if d.upstream != nil {
		d.upstream.Close()
	}
	var errs []error
	for _, p := range d.past {
		errs = append(errs, p.close())
	}
	d.past = nil
	if d.store != nil {
		errs = append(errs, d.closeWitness(), d.store.Close())
		d.store = nil
	}
	return errors.Join(errs...)
}

// loadKeys reads the keys that the configuration names.
func loadKeys(c *config.Config) (*keys.Set, error) {
	refs := keys.Refs{Root: c.Keys.Root, Signing: map[keys.Role]string{
		keys.Checkpoint: c.Keys.Checkpoint, keys.Receipts: c.Keys.Receipts, keys.Issuer: c.Keys.Issuer,
		keys.Evidence: c.Keys.Evidence, keys.Governance: c.Keys.Governance, keys.Witness: c.Keys.Witness,
	}}
	if path := c.Keys.PassphraseFile; path != "" {
		var err error
		if refs.Passphrase, err = keys.ReadPassphrase(path); err != nil {
			return nil, err
		}
	}
	var err error
	if refs.Ring, err = keys.ReadRing(c.Keys.Ring); err != nil {
		return nil, err
	}
	return keys.Load(refs)
}

// readPrincipals reads the principals file.
func readPrincipals(path string) (*authority.Principals, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	ps, err := authority.ParsePrincipals(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return ps, nil
}
