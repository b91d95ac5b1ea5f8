// Package epoch commits feed epochs to a log: entries whose body is the root of the verifiable map over all feeds
// (ledger.FeedMap). From such an entry anyone can show that an entry is in its feed, that a feed has no more entries,
// that a subject has none at all, or which missions there are.
//
// Invariants:
//   - An epoch, the pages of the map it changes and the note of where it ends are one Change: a crash leaves all or
//     nothing, and a view always holds exactly the map of its newest epoch.
//   - An epoch costs what changed since the last one, not what the log holds, in time, memory and octets. At most
//     65,536 entries go into one; a log that grew by more gets several.
//   - A log that grew by nothing but epochs gets none: idle logs do not grow.
//
// The rows are derived and can be computed again from the entries alone (ledger.FeedAudit); Check does.
package epoch

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/mission-authority/mas/ledger"
)

// Interval is how often Run looks whether the log has grown.
const Interval = time.Minute

// Bounds of one epoch.
const (
	maxEntries  = 1 << 16
	maxSubjects = 512 // whose feeds it extends
)

// Config is what a Worker is made of. Everything is required except where noted.
type Config struct {
	Issuer   string
	Origin   string
	Log      ledger.Log
	Evidence ledger.Signer // signs the statements
	Interval time.Duration // 0: Interval
	Now      func() time.Time
	Logger   *slog.Logger
}

// A Worker commits epochs. It is safe for concurrent use.
type Worker struct {
	config  Config
	subject string
	mu      sync.Mutex // one epoch at a time: two would meet the same precondition
}

// New returns a Worker that does nothing until it is asked to.
func New(c Config) (*Worker, error) {
	if c.Log == nil || c.Evidence == nil || c.Now == nil || c.Logger == nil {
		return nil, errors.New("epoch: incomplete configuration")
	}
	if err := ledger.CheckOrigin(c.Origin); err != nil {
		return nil, fmt.Errorf("epoch: %w", err)
	}
	subject, err := ledger.Subject(c.Issuer, ledger.SubjectLog, "")
	if err != nil {
		return nil, fmt.Errorf("epoch: %w", err)
	}
	if c.Interval == 0 {
		c.Interval = Interval
	}
	return &Worker{config: c, subject: subject}, nil
}

// Run covers the log once an interval until ctx ends. What fails is tried again at the next interval: epochs are never
// a reason to stop.
func (w *Worker) Run(ctx context.Context) error {
	t := time.NewTicker(w.config.Interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if err := w.Cover(ctx); err != nil && ctx.Err() == nil {
			w.config.Logger.Warn("no feed epoch", slog.Any("error", err))
		}
	}
}

// Cover commits epochs until every entry that is published now is covered, but for epochs behind the last other entry.
// The error is of reading or committing; epochs before it stand.
func (w *Worker) Cover(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	target, subjects := uint64(0), maxSubjects
	for {
		done, err := w.step(ctx, &target, subjects)
		switch {
		case errors.Is(err, ledger.ErrTooLarge) && subjects > 1:
			subjects /= 2
		case err != nil || done:
			return err
		}
	}
}

// step commits one epoch. The first step sets the target: the size of the log without the epochs at its end.
func (w *Worker) step(ctx context.Context, target *uint64, subjects int) (done bool, err error) {
	v, err := w.config.Log.View()
	if err != nil {
		return false, fmt.Errorf("epoch: %w", err)
	}
	defer v.Close()
	last, err := Newest(v)
	if errors.Is(err, ledger.ErrNoEpoch) {
		last, err = new(Latest), nil
	}
	if err != nil {
		return false, err
	}
	if *target == 0 {
		*target = v.Head().Size
	}
	if last.CoveredSize >= *target {
		return true, nil
	}
	next := ledger.FeedEpoch{Origin: w.config.Origin, Number: last.Number + 1, Previous: last.Index}
	feeds := Map(v, w.config.Issuer)
	grown := false
	if next.CoveredSize, grown, err = w.add(ctx, v, feeds, last.CoveredSize, *target, subjects); err != nil {
		return false, err
	}
	if !grown {
		return true, nil
	}
	if next.CoveredRoot, err = v.RootAt(next.CoveredSize); err != nil {
		return false, fmt.Errorf("epoch: %w", err)
	}
	return false, w.commit(ctx, feeds, &next, last.version)
}

// add puts the entries from first on into the map, as far as the bounds of an epoch allow. grown is false if there are
// only epochs.
func (w *Worker) add(ctx context.Context, v ledger.View, feeds *ledger.FeedMap, first, target uint64, limit int) (
	end uint64, grown bool, err error) {
	subjects := make(map[string]bool)
	for end = first; end < min(target, first+maxEntries); end++ {
		if err := ctx.Err(); err != nil {
			return 0, false, err
		}
		e, err := v.Entry(end)
		if err != nil {
			return 0, false, fmt.Errorf("epoch: %w", err)
		}
		s, err := ledger.ParseStatement(e.Statement)
		if err != nil {
			return 0, false, fmt.Errorf("epoch: entry %d: %w", end, err)
		}
		if subjects[s.Subject] = true; len(subjects) > limit {
			break
		}
		if err := feeds.Add(s.Subject, end, s.Leaf()); err != nil {
			return 0, false, fmt.Errorf("epoch: %w", err)
		}
		grown = grown || s.ContentType != ledger.ContentTypeFeedEpoch || s.Subject != w.subject
	}
	return end, grown, nil
}

// commit signs an epoch and commits it with the pages that it changes, if the epoch before is still the newest.
func (w *Worker) commit(ctx context.Context, feeds *ledger.FeedMap, e *ledger.FeedEpoch, version uint64) (err error) {
	if e.MapRoot, err = feeds.Root(); err != nil {
		return fmt.Errorf("epoch: %w", err)
	}
	if e.Subjects, e.Missions, err = feeds.Population(); err != nil {
		return fmt.Errorf("epoch: %w", err)
	}
	body, err := ledger.MarshalFeedEpoch(e)
	if err != nil {
		return fmt.Errorf("epoch: %w", err)
	}
	statement, err := ledger.SignStatement(ctx, ledger.Claims{
		Issuer: w.config.Issuer, Subject: w.subject, IssuedAt: w.config.Now().Unix(),
		ContentType: ledger.ContentTypeFeedEpoch, Digest: sha256.Sum256(body),
	}, w.config.Evidence)
	if err != nil {
		return fmt.Errorf("epoch: %w", err)
	}
	change := ledger.Change{
		Expect:  []ledger.Precondition{ledger.Absent(stateRow), ledger.Absent(indexRow(e.Number))},
		Put:     []ledger.Record{{Key: stateRow, Value: body}, {Key: indexRow(e.Number), Value: []byte{}}},
		Entries: []ledger.Entry{{Statement: statement, Body: body}},
	}
	if version > 0 {
		change.Expect[0] = ledger.Version(stateRow, version)
	}
	pages, err := feeds.Changed()
	if err != nil {
		return fmt.Errorf("epoch: %w", err)
	}
	for _, p := range pages {
		change.Put = append(change.Put, ledger.Record{Key: pagePrefix + p.Prefix, Value: p.Data,
			JustifiedBy: ledger.NotJustified})
	}
	if _, err := w.config.Log.Commit(ctx, change); err != nil {
		return fmt.Errorf("epoch: committing: %w", err)
	}
	return nil
}
