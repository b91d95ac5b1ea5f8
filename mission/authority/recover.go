package authority

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Recover finishes the start: it puts the configured principals in force and takes pending emergency stops into the
// log. The log must take commits. Until it has returned nil every surface answers unavailable; call it again after an
// error.
func (a *Authority) Recover(ctx context.Context) error {
	if err := a.setPrincipals(ctx, a.open, a.configured); err != nil {
		return err
	}
	if err := a.replayStops(ctx); err != nil {
		return err
	}
	if err := a.adoptPeers(ctx); err != nil {
		return err
	}
	a.recovered.Store(true)
	return nil
}

// Run does what no request asks for, until ctx ends: it commits deadlines when they come, takes stops from the
// emergency-stop journal into the log once it can be written again, and writes the digest of counted refusals each
// minute and once more at the end. It returns nil when ctx ended; trouble with the log is logged and tried again.
func (a *Authority) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { a.every(ctx, time.Minute, "writing the digest of refusals", a.digestRefusals) })
	wg.Go(func() { a.every(ctx, 5*time.Second, "replaying emergency stops", a.replayStops) })
	a.serveDeadlines(ctx)
	wg.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	a.try(last, "writing the digest of refusals", a.digestRefusals)
	return nil
}

// every calls f at each tick until ctx ends.
func (a *Authority) every(ctx context.Context, period time.Duration, what string, f func(context.Context) error) {
	t := time.NewTicker(period)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			a.try(ctx, what, f)
		}
	}
}

// try calls f and logs its error.
func (a *Authority) try(ctx context.Context, what string, f func(context.Context) error) {
	if err := f(ctx); err != nil && !errors.Is(err, context.Canceled) {
		a.logger.ErrorContext(ctx, "background work failed and will be tried again", "work", what, "error", err)
	}
}
