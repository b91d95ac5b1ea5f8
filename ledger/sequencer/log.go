package sequencer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mission-authority/mas/ledger"
	"golang.org/x/mod/sumdb/note"
)

// ClockTolerance is how far the clock may be behind the last registration time before deadlines can no longer be
// judged.
const ClockTolerance = 5 * time.Minute

// Bounds of what a Log keeps in memory beside the tree.
const (
	rememberedWrites = 1 << 16 // rows, entries and bodies of one generation, see recent
	rememberedTiles  = 1 << 12 // verified tiles of level 0 of one generation, 8 KiB each, 16 if nodes of it were needed
	checkpointMargin = 8 << 10 // octets left in a group for its checkpoint
)

// Config is what a Log is made of. All fields are required unless they say otherwise.
type Config struct {
	Store      ledger.Store
	Vault      ledger.Vault    // may be nil if no Entry comes with a body
	Stops      ledger.Stops    // may be nil; the Log only hands it out
	Origin     string          // name of the log, and of its checkpoint key
	Checkpoint note.Signer     // signs the checkpoint of each group
	Overlap    []note.Signer   // sign each checkpoint beside it while one key takes the place of another; may be empty
	Verifiers  []note.Verifier // keys that a stored checkpoint may be signed with: the current one and retired ones
	Genesis    *ledger.Entry   // entry 0; committed when the store is empty, else unused
	Now        func() time.Time
	Log        *slog.Logger // may be nil: nothing is logged
	// Applied is called by the writer with how long a group took to become durable; may be nil.
	Applied func(took time.Duration)

	remembered int // rememberedWrites unless a test says otherwise
}

// Log is a running log over one Store. It implements ledger.Log. Make one with Open, then call Run.
type Log struct {
	store     ledger.Store
	vault     ledger.Vault
	stops     ledger.Stops
	origin    string
	signers   []note.Signer // the checkpoint key first
	verifiers []note.Verifier
	now       func() time.Time
	clock     clock
	log       *slog.Logger
	limits    ledger.Limits // of one Change: those of the store less what a group needs itself
	integrity latch
	write     latch
	refusing  atomic.Pointer[ledger.Latch] // see Health
	health    health                       // nil if the store has none
	current   atomic.Pointer[published]
	queue     queue
	applied   func(time.Duration) // may be nil
	last      ledger.Head         // what the store's head is; owned by Open, then by Run
	rows      *recent[string, rowState]
	dedups    *recent[ledger.Hash, place]
	bodies    *recent[ledger.Hash, struct{}]
	tiles     tiles
}

var _ ledger.Log = (*Log)(nil)

// Open recovers the log in cfg.Store and publishes its last group. An empty store gets cfg.Genesis as entry 0 first.
//
// Open fails if cfg is incomplete, if the store cannot be read, or if its checkpoint is that of another log or key.
// Damage is not a failure: the Log opens with its integrity latch closed, serves what still verifies and takes no
// commits. Ask Health.
//
// The caller closes the Log, then the Store.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	l := &Log{
		store:     cfg.Store,
		vault:     cfg.Vault,
		stops:     cfg.Stops,
		origin:    cfg.Origin,
		signers:   append([]note.Signer{cfg.Checkpoint}, cfg.Overlap...),
		verifiers: cfg.Verifiers,
		now:       cfg.Now,
		clock:     clock{now: cfg.Now, base: cfg.Now()},
		log:       cfg.Log,
		limits:    cfg.Store.Limits(),
		last:      cfg.Store.Head(),
	}
	l.health, _ = cfg.Store.(health)
	l.applied = cfg.Applied
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.limits.Bytes -= ledger.BatchCost + checkpointMargin
	remembered := cmp.Or(cfg.remembered, rememberedWrites)
	l.rows = newRecent[string, rowState](remembered, l.last.Seq)
	l.dedups = newRecent[ledger.Hash, place](remembered, l.last.Seq)
	l.bodies = newRecent[ledger.Hash, struct{}](remembered, l.last.Seq)
	l.tiles.level0 = newRecent[uint64, *tile](rememberedTiles, 0)
	l.queue.init()
	if err := l.recover(); err != nil {
		l.Close()
		return nil, fmt.Errorf("sequencer: opening the log: %w", err)
	}
	if l.last.Seq == 0 && l.latched() == nil {
		if err := l.commitGenesis(ctx, cfg.Genesis); err != nil {
			l.Close()
			return nil, fmt.Errorf("sequencer: committing the genesis entry: %w", err)
		}
	}
	return l, nil
}

func (c *Config) check() error {
	switch {
	case c.Store == nil || c.Checkpoint == nil || c.Now == nil || len(c.Verifiers) == 0:
		return errors.New("sequencer: incomplete configuration")
	case c.Checkpoint.Name() != c.Origin:
		return fmt.Errorf("sequencer: checkpoint key is named %q, the log %q", c.Checkpoint.Name(), c.Origin)
	case c.Store.Limits().Bytes <= ledger.BatchCost+checkpointMargin || c.Store.Limits().Entries < 1:
		return errors.New("sequencer: the store's limits leave no room for a change")
	}
	for _, s := range append([]note.Signer{c.Checkpoint}, c.Overlap...) {
		known := func(v note.Verifier) bool { return v.Name() == c.Origin && v.KeyHash() == s.KeyHash() }
		if s.Name() != c.Origin || !slices.ContainsFunc(c.Verifiers, known) {
			return errors.New("sequencer: no verifier for a checkpoint key")
		}
	}
	return ledger.CheckOrigin(c.Origin)
}

// commitGenesis writes entry 0 of an empty store.
func (l *Log) commitGenesis(ctx context.Context, genesis *ledger.Entry) error {
	if genesis == nil {
		return errors.New("the store is empty and no genesis entry was given")
	}
	p, err := l.prepare(ledger.Change{Entries: []ledger.Entry{*genesis}})
	if err != nil {
		return err
	}
	l.commitGroup(ctx, []*pending{p})
	return (<-p.done).err
}

// Stops is the emergency-stop journal that the Log was opened with.
func (l *Log) Stops() ledger.Stops { return l.stops }

// Close refuses further Commits and Views and releases the published state; open Views stay usable until they are
// closed. End Run first. The Store stays open.
func (l *Log) Close() {
	l.queue.close()
	if p := l.current.Swap(nil); p != nil {
		p.release()
	}
}
