package domain

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/mission-authority/mas/cmd/internal/httpapi"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/sequencer"
	"github.com/mission-authority/mas/mission/authority"
)

// A pastShard is a log of the past, opened for reading.
type pastShard struct {
	httpapi.Past
	genesis *ledger.Genesis
	store   *badgerstore.Store
	log     *sequencer.Log
}

func (p *pastShard) close() error {
	if p.log != nil {
		p.log.Close()
	}
	return p.store.Close()
}

// openPast opens the stores below the directory of frozen shards, each named after its shard, and brings them into the
// order in which they continue each other.
func (d *Domain) openPast(ctx context.Context) error {
	dir := d.o.Config.Log.FrozenDir
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("frozen shards: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		p, err := d.openShard(ctx, filepath.Join(dir, e.Name()), e.Name())
		if p != nil {
			d.past = append(d.past, p)
		}
		if err != nil {
			return fmt.Errorf("frozen shard %s: %w", e.Name(), err)
		}
	}
	return d.orderPast()
}

// openShard opens one store. It must have ended: by its last entry, or by a restore that found entries missing.
func (d *Domain) openShard(ctx context.Context, dir, name string) (p *pastShard, err error) {
	if name == d.o.Config.Log.Shard {
		return nil, errors.New("it is the name of the running one")
	}
	origin := d.o.Config.ShardOrigin(name)
	signer, _, err := d.Keys.LogSigners(origin)
	if err != nil {
		return nil, err
	}
	verifiers, err := d.Keys.LogVerifiers(origin)
	if err != nil {
		return nil, err
	}
	o := d.storeOptions()
	o.Origin, o.Known = origin, badgerstore.Known{}
	p = &pastShard{Past: httpapi.Past{Shard: name}}
	if p.store, err = badgerstore.Open(dir, o); err != nil {
		return nil, err
	}
	p.log, err = sequencer.Open(ctx, sequencer.Config{
		Store: p.store, Vault: p.store.Vault(), Stops: p.store.Stops(), Origin: origin, Checkpoint: signer,
		Verifiers: verifiers, Now: d.o.Now, Log: d.o.Logger,
	})
	if err != nil {
		return p, err
	}
	p.Log = p.log
	v, err := p.log.View()
	if err != nil {
		return p, err
	}
	defer v.Close()
	if p.genesis, err = readGenesis(v); err != nil {
		return p, err
	}
	if p.VKey, err = d.Keys.LogKeyOf(origin, v.Checkpoint()); err != nil {
		return p, err
	}
	return p, p.readEnd(v, p.VKey)
}

func readGenesis(v ledger.View) (*ledger.Genesis, error) {
	e, err := v.Entry(0)
	if err != nil {
		return nil, err
	}
	st, err := ledger.ParseStatement(e.Statement)
	if err != nil {
		return nil, err
	}
	body, err := v.Body(st.Digest)
	if err != nil {
		return nil, fmt.Errorf("the genesis: %w", err)
	}
	return ledger.OpenGenesis(e.Statement, body)
}

// readEnd reads how the log ended.
func (p *pastShard) readEnd(v ledger.View, vkey string) error {
	head := v.Head()
	p.End = ledger.Predecessor{
		Origin: p.genesis.Origin, LogKey: vkey, Size: head.Size, Root: head.Root, Checkpoint: v.Checkpoint(),
	}
	lost, err := p.store.Closed()
	if err != nil {
		return err
	}
	if lost != nil {
		if lost.Size != head.Size || lost.Root != head.Root {
			return fmt.Errorf("it does not end where entries are said to be gone: %w", ledger.ErrIntegrity)
		}
		p.End.Lost = lost.Lost
		return nil
	}
	if w := p.log.Health().Write; w == nil || w.Code != sequencer.CodeLogFrozen {
		return errors.New("it was not frozen")
	}
	last, err := v.Entry(head.Size - 1)
	if err != nil {
		return err
	}
	st, err := ledger.ParseStatement(last.Statement)
	if err != nil {
		return err
	}
	body, err := v.Body(st.Digest)
	if err != nil {
		return err
	}
	p.Closed, err = ledger.ParseLogClosed(body)
	return err
}

// orderPast sorts the shards from the first to the last, each continuing the one before.
func (d *Domain) orderPast() error {
	var ordered []*pastShard
	rest := slices.Clone(d.past)
	for len(rest) > 0 {
		i := slices.IndexFunc(rest, func(p *pastShard) bool {
			if len(ordered) == 0 {
				return p.genesis.Predecessor == nil
			}
			return p.genesis.Predecessor != nil && p.genesis.Predecessor.Origin == ordered[len(ordered)-1].End.Origin
		})
		if i < 0 {
			return fmt.Errorf("frozen shard %s continues none that is there", rest[0].Shard)
		}
		if len(ordered) > 0 {
			if err := continues(rest[i].genesis, ordered[len(ordered)-1]); err != nil {
				return err
			}
		}
		ordered = append(ordered, rest[i])
		rest = slices.Delete(rest, i, i+1)
	}
	d.past = ordered
	return nil
}

// continues holds a genesis against the end of the shard before it.
func continues(g *ledger.Genesis, before *pastShard) error {
	end := before.End
	if err := g.Continues(ledger.Checkpoint{Origin: end.Origin, Size: end.Size, Root: end.Root}); err != nil {
		return err
	}
	if before.Closed != nil && before.Closed.Successor != g.Origin {
		return fmt.Errorf("%w: %q was closed in favour of %q, not %q", ledger.ErrSuccession, end.Origin,
			before.Closed.Successor, g.Origin)
	}
	return nil
}

// predecessor is what the genesis of the running log says about the last shard of the past.
func (d *Domain) predecessor() (*ledger.Predecessor, error) {
	if len(d.past) == 0 {
		return nil, nil
	}
	last := d.past[len(d.past)-1]
	if c := last.Closed; c != nil && c.Successor != d.o.Config.LogOrigin() {
		return nil, fmt.Errorf("%w: shard %s was closed in favour of %q", ledger.ErrSuccession, last.Shard, c.Successor)
	}
	return &last.End, nil
}

// checkSuccession holds the running log against the shards of the past: it must continue the last one, if there is any.
func (d *Domain) checkSuccession() error {
	v, err := d.Log.View()
	if err != nil {
		return err
	}
	defer v.Close()
	if v.Head().Size == 0 || len(d.past) == 0 || d.Log.Health().Integrity != nil {
		return nil
	}
	g, err := readGenesis(v)
	if err != nil {
		return err
	}
	return continues(g, d.past[len(d.past)-1])
}

// pastShards are the shards of the past as the HTTP surface needs them.
func (d *Domain) pastShards() []httpapi.Past {
	out := make([]httpapi.Past, len(d.past))
	for i, p := range d.past {
		out[i] = p.Past
	}
	return out
}

// freezeWait is how long the word of the first administrator counts.
const freezeWait = time.Hour

// freezing is the word of one administrator who wants to close the log.
type freezing struct {
	mu                       sync.Mutex
	actor, successor, reason string
	at                       time.Time
}

// Freeze implements httpapi.Operations.
func (d *Domain) Freeze(ctx context.Context, by authority.Caller, successor, reason string) (done bool, err error) {
	if err := ledger.CheckOrigin(successor); err != nil || successor == d.o.Config.LogOrigin() {
		return false, errors.Join(ledger.ErrSuccession, err)
	}
	if w := d.Log.Health().Write; w != nil && w.Code == sequencer.CodeLogFrozen {
		return false, ledger.ErrFrozen
	}
	f := &d.freezing
	f.mu.Lock()
	defer f.mu.Unlock()
	now := d.o.Now()
	if f.actor == "" || f.actor == by.ID || f.successor != successor || f.reason != reason || now.Sub(f.at) > freezeWait {
		f.actor, f.successor, f.reason, f.at = by.ID, successor, reason, now
		return false, nil
	}
	entry, err := d.closing(ctx, &ledger.LogClosed{Actors: []string{f.actor, by.ID}, Reason: reason, Successor: successor})
	if err != nil {
		return false, err
	}
	if err := d.epoch.Cover(ctx); err != nil { // whoever reads the log later finds every entry under its last epoch
		return false, err
	}
	if _, err := d.Log.Freeze(context.WithoutCancel(ctx), entry); err != nil {
		return false, err
	}
	d.o.Logger.Warn("the log is frozen", "successor", successor)
	return true, nil
}

// closing is the entry that closes the log.
func (d *Domain) closing(ctx context.Context, closed *ledger.LogClosed) (e ledger.Entry, err error) {
	if e.Body, err = ledger.MarshalLogClosed(closed); err != nil {
		return e, err
	}
	issuer := d.o.Config.Issuer
	subject, err := ledger.Subject(issuer, ledger.SubjectLog, "")
	if err != nil {
		return e, err
	}
	e.Statement, err = ledger.SignStatement(ctx, ledger.Claims{
		Issuer: issuer, Subject: subject, IssuedAt: d.o.Now().Unix(), ContentType: ledger.ContentTypeLogClosed,
		Digest: sha256.Sum256(e.Body),
	}, d.Keys.Key(keys.Evidence).COSE())
	return e, err
}

// AcceptClock implements httpapi.Operations.
func (d *Domain) AcceptClock(ctx context.Context, by authority.Caller) error {
	return d.Authority.AcceptClock(ctx, by)
}
