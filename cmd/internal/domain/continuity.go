package domain

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/cmd/internal/config"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
)

// A Continuity works on the store of a server, which may be running: it copies the log elsewhere and brings it back.
type Continuity struct {
	Dir     string // of the store
	Options badgerstore.Options
	VKey    string          // of the log's checkpoints
	keys    []note.Verifier // every key that the log has had
}

// OpenContinuity reads the keys that the configuration names; it opens nothing else.
func OpenContinuity(c *config.Config) (*Continuity, error) {
	d := &Domain{o: Options{Config: c, Logger: slog.New(slog.DiscardHandler), Now: time.Now}}
	var err error
	if d.Keys, err = loadKeys(c); err != nil {
		return nil, err
	}
	vkeys, err := d.Keys.LogKeys(c.LogOrigin())
	if err != nil {
		return nil, err
	}
	verifiers, err := d.Keys.LogVerifiers(c.LogOrigin())
	if err != nil {
		return nil, err
	}
	return &Continuity{Dir: c.Store.Dir, Options: d.storeOptions(), VKey: vkeys[0], keys: verifiers}, nil
}

// anchored are the options of the store with what the copy on another volume knows of the journal.
func (d *Domain) anchored() (o badgerstore.Options, err error) {
	o = d.storeOptions()
	if dir := d.o.Config.Continuity.Anchor; dir != "" {
		if o.Known, err = badgerstore.ReadKnown(dir, o); err != nil {
			return o, fmt.Errorf("continuity.anchor: %w", err)
		}
	}
	return o, nil
}

// Backup makes a backup of the log and verifies the signature of its checkpoint.
func (c *Continuity) Backup(ctx context.Context, out string) (*badgerstore.Manifest, error) {
	m, err := badgerstore.Backup(ctx, c.Dir, out, c.Options)
	if err != nil {
		return nil, err
	}
	return m, c.signed(m)
}

// VerifyBackup reads a backup whole and verifies the signature of its checkpoint.
func (c *Continuity) VerifyBackup(ctx context.Context, dir string) (*badgerstore.Manifest, error) {
	m, err := badgerstore.VerifyBackup(ctx, dir, c.Options)
	if err != nil || m.Kind != badgerstore.KindLog {
		return m, err
	}
	return m, c.signed(m)
}

func (c *Continuity) signed(m *badgerstore.Manifest) error {
	if m.Size == 0 {
		return nil
	}
	head, err := ledger.OpenCheckpoint(m.Checkpoint, c.Options.Origin, c.keys...)
	if err != nil {
		return fmt.Errorf("the checkpoint of the backup: %w", err)
	}
	if head.Size != m.Size || head.Root != m.Root {
		return fmt.Errorf("%w: its checkpoint is for size %d, its tree has %d", badgerstore.ErrBackup, head.Size, m.Size)
	}
	return nil
}

// Head reads a checkpoint of the log that somebody kept: a witness, a peer, a monitor, an auditor.
func (c *Continuity) Head(path string) (h badgerstore.KnownHead, err error) {
	if h.Note, err = os.ReadFile(path); err != nil {
		return h, err
	}
	if h.Checkpoint, err = ledger.OpenCheckpoint(h.Note, c.Options.Origin, c.keys...); err != nil {
		return h, fmt.Errorf("%s: %w", path, err)
	}
	return h, nil
}

// Restore makes the store anew. See badgerstore.Restore.
func (c *Continuity) Restore(ctx context.Context, o badgerstore.RestoreOptions) (*badgerstore.Restored, error) {
	o.Into, o.LogKey = c.Dir, c.VKey
	return badgerstore.Restore(ctx, c.Options, o)
}
