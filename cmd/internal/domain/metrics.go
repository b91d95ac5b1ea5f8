package domain

import (
	"context"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/mission-authority/mas/cmd/internal/telemetry"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
)

// measureCommits creates the registry and its first metric: the log needs it before anything else.
func (d *Domain) measureCommits() func(time.Duration) {
	d.metrics = telemetry.NewRegistry()
	h := d.metrics.Histogram("mas_commit_seconds", "Time until a group of changes was durable and visible.",
		[]float64{0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5})
	return func(took time.Duration) { h.Observe(took.Seconds()) }
}

// measure registers what operators watch beside requests. docs/alerts.yaml refers to it.
func (d *Domain) measure() {
	d.scrub = d.store.NewScrubber(0, 0)
	d.copies = &copies{d: d}
	m, store := d.metrics, d.store
	closed := func(l *ledger.Latch) float64 {
		if l == nil {
			return 0
		}
		return 1
	}
	m.Gauge("mas_integrity_latch_closed", "1 if nothing positive is signed any more; /readyz says why.",
		func() float64 { return closed(d.Log.Health().Integrity) })
	m.Gauge("mas_write_latch_closed", "1 if the log takes no changes; /readyz says why.",
		func() float64 { return closed(d.Log.Health().Write) })
	m.Gauge("mas_clock_doubt", "1 if the clock is not believed and nothing time-bound is signed.", func() float64 {
		if d.Authority.ClockInDoubt() {
			return 1
		}
		return 0
	})
	m.Gauge("mas_log_size", "Entries of the log.", func() float64 { return float64(store.Head().Size) })
	m.Gauge("mas_log_frames", "Number of the last commit group.", func() float64 { return float64(store.Head().Seq) })
	m.Gauge("mas_commit_queue_length", "Changes that wait for the writer.",
		func() float64 { return float64(d.Log.Waiting()) })
	m.Gauge("mas_emergency_stops_pending", "Emergency stops that are not in the log yet.",
		func() float64 { return float64(len(store.Stops().Pending())) })
	m.Gauge("mas_store_free_bytes", "Octets free on the volume of the store.", func() float64 {
		free, _, err := store.Space()
		if err != nil {
			return math.NaN()
		}
		return float64(free)
	})
	m.Gauge("mas_store_reserve_bytes", "Octets below which commits are refused.", func() float64 {
		_, reserve, err := store.Space()
		if err != nil {
			return math.NaN()
		}
		return float64(reserve)
	})
	m.Gauge("mas_scrub_age_seconds", "Seconds since everything at rest was last found as it has to be.",
		func() float64 { return d.scrub.Age().Seconds() })
	m.Gauge("mas_scrub_frame", "Commit group that the running scrub has reached.",
		func() float64 { return float64(d.scrub.Cursor()) })
	m.Gauge("mas_scrub_findings", "Findings of scrubs since the start.",
		func() float64 { return float64(d.scrub.Findings()) })
	m.Gauge("mas_backup_age_seconds", "Seconds since the newest backup of the log below continuity.backups; NaN: none.",
		func() float64 { return d.copies.age(&d.copies.log) })
	m.Gauge("mas_keys_backup_age_seconds",
		"Seconds since the newest backup of the evidence keys below continuity.backups; NaN: none.",
		func() float64 { return d.copies.age(&d.copies.keys) })
	m.Gauge("mas_anchor_frames_behind", "Commit groups that the copy in continuity.anchor lacks; NaN: no copy.",
		d.copies.behind)
}

// copies watches the copies of the log that others keep.
type copies struct {
	d         *Domain
	log, keys atomic.Int64  // when the newest backup of each kind was made, Unix seconds; 0: none
	known     atomic.Uint64 // last frame of the anchor plus 1; 0: it cannot be read
}

// copiesInterval is how often the copies are looked at.
const copiesInterval = 10 * time.Second

// Run looks at the copies until ctx ends.
func (c *copies) Run(ctx context.Context) error {
	tick := time.NewTicker(copiesInterval)
	defer tick.Stop()
	for {
		c.look()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *copies) look() {
	settings, o := c.d.o.Config.Continuity, c.d.storeOptions()
	if settings.Anchor != "" {
		k, err := badgerstore.ReadKnown(settings.Anchor, o)
		if err != nil {
			c.d.o.Logger.Warn("the anchor cannot be read", slog.Any("error", err))
			c.known.Store(0)
		} else {
			c.known.Store(k.Seq + 1)
		}
	}
	if settings.Backups == "" {
		return
	}
	manifests, _ := filepath.Glob(filepath.Join(settings.Backups, "*", badgerstore.ManifestName))
	deeper, _ := filepath.Glob(filepath.Join(settings.Backups, "*", "*", badgerstore.ManifestName))
	var newest [2]int64
	for _, path := range append(manifests, deeper...) {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it was destroyed meanwhile
		}
		m, err := badgerstore.ParseManifest(text)
		if err != nil || m.Origin != o.Origin {
			continue
		}
		kind := 0
		if m.Kind == badgerstore.KindKeys {
			kind = 1
		}
		newest[kind] = max(newest[kind], m.Made.Unix())
	}
	c.log.Store(newest[0])
	c.keys.Store(newest[1])
}

func (c *copies) age(made *atomic.Int64) float64 {
	at := made.Load()
	if at == 0 {
		return math.NaN()
	}
	return c.d.o.Now().Sub(time.Unix(at, 0)).Seconds()
}

func (c *copies) behind() float64 {
	known := c.known.Load()
	if known == 0 {
		return math.NaN()
	}
	return max(0, float64(c.d.store.Head().Seq)-float64(known-1))
}

// WriteMetrics writes the metrics as they are served.
func (d *Domain) WriteMetrics(w io.Writer) error { return d.metrics.WriteText(w) }
