package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/telemetry"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/journal"
)

func newFollow() *cobra.Command {
	var of whose
	var to, listen string
	var every time.Duration
	var once bool
	cmd := &cobra.Command{
		Use: "follow (--dir DIR | --config FILE) --to DIR", Args: cobra.NoArgs,
		Short: "keep a copy of the log on another volume, frame by frame",
		Long: "Adds every frame of the log and of the emergency stops to the copy in --to as soon as it is durable, after\n" +
			"verifying that it continues the copy. The server may be running, stopped, or start and stop meanwhile. A\n" +
			"store that was rolled back or forked is refused with exit code 1 and the copy stays as it is. `mas restore`\n" +
			"takes the copy; with continuity.anchor a server refuses to start behind it.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := of.open()
			if err != nil {
				return err
			}
			log, err := telemetry.NewLogger(os.Stderr, "info", "text")
			if err != nil {
				return err
			}
			f := &following{from: c, to: to, log: log, every: every}
			f.caughtUp.Store(time.Now().UnixNano())
			if listen != "" {
				stop, err := f.serve(listen)
				if err != nil {
					return err
				}
				defer stop()
			}
			if err := f.run(cmd.Context(), once); err != nil {
				return continuityFailure(err)
			}
			if once {
				fmt.Fprintf(cmd.OutOrStdout(), "frames %d, stops %d\n", f.frames.Load(), f.stops.Load())
			}
			return nil
		},
	}
	of.flags(cmd)
	cmd.Flags().StringVar(&to, "to", "", "directory of the copy, on another volume")
	cmd.Flags().StringVar(&listen, "metrics-listen", "", "address to serve /metrics on")
	cmd.Flags().DurationVar(&every, "every", time.Second, "how often to look for new frames")
	cmd.Flags().BoolVar(&once, "once", false, "end when the copy has caught up")
	cobra.CheckErr(cmd.MarkFlagRequired("to"))
	return cmd
}

// following is one run of mas follow.
type following struct {
	from  *domain.Continuity
	to    string
	log   *slog.Logger
	every time.Duration

	frames, stops atomic.Uint64 // last in the copy
	caughtUp      atomic.Int64  // when the copy last had everything, Unix nanoseconds
	failures      atomic.Uint64
}

// refusal reports whether an error says that the source is not what was copied so far: nothing will change by waiting.
func refusal(err error) bool {
	return errors.Is(err, journal.ErrFork) || errors.Is(err, journal.ErrRollback) || errors.Is(err, journal.ErrIdentity) ||
		errors.Is(err, journal.ErrCorrupt)
}

// run copies until ctx ends, or until the copy has caught up. What may pass (a full volume, a server that was not
// started yet) is tried again; a source that tells another history ends it.
func (f *following) run(ctx context.Context, once bool) error {
	for {
		err := f.pass(ctx, once)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil || once || refusal(err) || errors.Is(err, badgerstore.ErrLocked):
			return err
		}
		f.failures.Add(1)
		f.log.Warn("following failed; trying again", slog.Any("error", err))
		if !pause(ctx, max(f.every, 100*time.Millisecond)) {
			return nil
		}
	}
}

// pass opens copy and sources and copies until something fails.
func (f *following) pass(ctx context.Context, once bool) (err error) {
	to, err := badgerstore.OpenFollower(f.to, f.from.Options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	sources := map[string]badgerstore.FrameSource{}
	for _, part := range badgerstore.Parts() {
		if sources[part], err = to.Source(f.from.Dir, part); err != nil {
			return err
		}
		defer sources[part].Close()
	}
	for {
		copied := 0
		for _, part := range badgerstore.Parts() {
			n, err := to.Step(ctx, part, sources[part])
			if err != nil {
				return err
			}
			copied += n
		}
		f.seen(to)
		if copied > 0 {
			continue
		}
		f.caughtUp.Store(time.Now().UnixNano())
		if err := to.Upkeep(ctx); err != nil && !errors.Is(err, journal.ErrNoSpace) {
			return err
		}
		if once || !pause(ctx, f.every) {
			return nil
		}
	}
}

func (f *following) seen(to *badgerstore.Follower) {
	for i, part := range badgerstore.Parts() {
		n, _ := to.Last(part)
		[]*atomic.Uint64{&f.frames, &f.stops}[i].Store(n)
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// followMetrics registers what a follower tells about itself.
func (f *following) metrics() *telemetry.Registry {
	m := telemetry.NewRegistry()
	m.Gauge("mas_follow_frames", "Number of the last frame in the copy.",
		func() float64 { return float64(f.frames.Load()) })
	m.Gauge("mas_follow_lag_seconds", "Seconds since the copy last had every frame of the log.",
		func() float64 { return time.Since(time.Unix(0, f.caughtUp.Load())).Seconds() })
	m.Gauge("mas_follow_failures", "Attempts to follow that failed and were repeated.",
		func() float64 { return float64(f.failures.Load()) })
	return m
}

// serve serves the metrics until stop is called.
func (f *following) serve(address string) (stop func(), err error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	m := f.metrics()
	s := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", telemetry.ContentType)
			_ = m.WriteText(w)
		})}
	go func() { _ = s.Serve(l) }()
	return func() { _ = s.Close() }, nil
}
