package ledgertest

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/sequencer"
	"golang.org/x/mod/sumdb/note"
)

// Options choose the parts of a log. The zero value is a log in memory with fresh keys and the real clock.
type Options struct {
	Store   ledger.Store
	Keys    *Keys
	Retired []note.Verifier // earlier keys of the checkpoint
	Vault   ledger.Vault
	Stops   ledger.Stops
	Now     func() time.Time
	Log     *slog.Logger
}

// A Log is a running log.
type Log struct {
	*sequencer.Log
	Keys  *Keys
	Store ledger.Store
	Vault ledger.Vault

	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Run, once ended is closed
	crash  bool
	once   sync.Once
}

// NewLog opens and runs a log. It is stopped when the test ends.
func NewLog(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := OpenLog(t, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// OpenLog is NewLog for a test that expects Open to fail.
func OpenLog(t testing.TB, o Options) (*Log, error) {
	t.Helper()
	if o.Store == nil {
		o.Store = NewStore()
	}
	if o.Keys == nil {
		o.Keys = NewKeys(t, "log.a.example/log/1")
	}
	if o.Vault == nil {
		o.Vault = NewVault()
	}
	if o.Stops == nil {
		o.Stops = NewStops()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	opened, err := sequencer.Open(context.WithoutCancel(t.Context()), sequencer.Config{
		Store: o.Store, Vault: o.Vault, Stops: o.Stops, Origin: o.Keys.Origin,
		Checkpoint: o.Keys.Checkpoint, Verifiers: append([]note.Verifier{o.Keys.Verifier}, o.Retired...),
		Genesis: o.Keys.Genesis(t), Now: o.Now, Log: o.Log,
	})
	if err != nil {
		return nil, err
	}
	l := &Log{Log: opened, Keys: o.Keys, Store: o.Store, Vault: o.Vault, ended: make(chan struct{})}
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(context.Background())
	go l.run(ctx)
	t.Cleanup(func() { l.Stop() })
	return l, nil
}

// run is the writer's goroutine; a Crash of a FaultStore ends it as the death of the process would.
func (l *Log) run(ctx context.Context) {
	defer close(l.ended)
	defer func() {
		switch r := recover(); r.(type) {
		case nil:
		case Crash:
			l.crash = true
		default:
			panic(r)
		}
	}()
	l.err = l.Run(ctx)
}

// Stop ends the writer after it has committed what waits, closes the log and returns what Run returned. It may be
// called again. The Store stays open.
func (l *Log) Stop() error {
	l.once.Do(func() {
		l.cancel()
		<-l.ended
		l.Close()
	})
	return l.err
}

// Crashed waits until the writer has ended and reports whether a FaultStore killed it.
func (l *Log) Crashed() bool {
	<-l.ended
	return l.crash
}

// MustView opens a view that is closed when the test ends.
func (l *Log) MustView(t testing.TB) ledger.View {
	t.Helper()
	v, err := l.View()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// MustCommit commits c.
func (l *Log) MustCommit(t testing.TB, c ledger.Change) ledger.Committed {
	t.Helper()
	done, err := l.Commit(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return done
}
