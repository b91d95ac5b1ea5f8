package domain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/cmd/internal/config"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/epoch"
	"github.com/mission-authority/mas/ledger/registry"
	"github.com/mission-authority/mas/ledger/sequencer"
	"github.com/mission-authority/mas/mission/authority"
)

// Findings are what Fsck found.
type Findings struct {
	Store   *sequencer.Report // entries, tiles, rows, bodies and frames against each other
	Derived authority.Report  // rows against the log and its evidence
	Feeds   epoch.Report      // feed epochs and the pages of their map against the entries
	// Admission says which entries the registration policy in force at their place admits.
	Admission registry.Report
	Notes     []string // damage that a start would heal or latch on
}

// Clean reports whether nothing was found.
func (f *Findings) Clean() bool {
	return f.Store.Clean() && len(f.Derived.Differences) == 0 && len(f.Feeds.Findings) == 0 &&
		f.Admission.NotAdmitted == 0 && len(f.Notes) == 0
}

// Fsck checks a store that is nobody else's. It reads every octet of the files, then opens the store, which recovers it
// as a start would, and reads everything again through the log. Give it a copy. The error is of reading; what is wrong
// is in the Findings.
func Fsck(ctx context.Context, c *config.Config) (found *Findings, err error) {
	d := &Domain{o: Options{Config: c, Logger: slog.New(slog.DiscardHandler), Now: time.Now}}
	if d.Keys, err = loadKeys(c); err != nil {
		return nil, err
	}
	verifiers, err := d.Keys.LogVerifiers(c.LogOrigin())
	if err != nil {
		return nil, err
	}
	found = new(Findings)
	damage, err := badgerstore.Check(ctx, c.Store.Dir, d.storeOptions())
	if err != nil {
		return nil, err
	}
	for _, part := range damage {
		found.Notes = append(found.Notes, part.Part+": "+part.Detail)
	}
	store, err := badgerstore.Open(c.Store.Dir, d.storeOptions())
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if l := store.Health().Integrity; l != nil {
		found.Notes = append(found.Notes, "integrity latch: "+l.Code)
	}
	snapshot, err := store.Snapshot()
	if err != nil {
		return nil, err
	}
	defer snapshot.Close()
	found.Store, err = sequencer.Fsck(ctx, sequencer.FsckConfig{
		Snapshot: snapshot, Head: store.Head(), Origin: c.LogOrigin(), Verifiers: verifiers,
		Frames: store.Frames(1), Vault: store.Vault(),
	})
	if err != nil {
		return nil, err
	}
	return found, d.derive(ctx, store, verifiers, found)
}

// derive compares the rows with what the log and its evidence imply.
func (d *Domain) derive(ctx context.Context, store *badgerstore.Store, verifiers []note.Verifier, found *Findings) error {
	signer, _, err := d.Keys.Key(keys.Checkpoint).Note(d.o.Config.LogOrigin())
	if err != nil {
		return err
	}
	log, err := sequencer.Open(ctx, sequencer.Config{
		Store: store, Vault: store.Vault(), Stops: store.Stops(), Origin: d.o.Config.LogOrigin(), Checkpoint: signer,
		Verifiers: verifiers, Now: d.storeOptions().Now,
	})
	if err != nil {
		found.Notes = append(found.Notes, "the log does not open: "+err.Error())
		return nil
	}
	view, err := log.View()
	if err != nil {
		found.Notes = append(found.Notes, "no view of the log: "+err.Error())
		return nil
	}
	defer view.Close()
	if found.Admission, err = registry.Replay(ctx, view); err != nil {
		if ctx.Err() != nil {
			return err
		}
		found.Notes = append(found.Notes, "admission cannot be decided: "+err.Error())
	}
	if found.Derived, err = authority.Check(ctx, view, d.o.Config.Issuer); err != nil {
		if ctx.Err() != nil {
			return err
		}
		found.Notes = append(found.Notes, "rows cannot be derived: "+err.Error())
	}
	feeds, err := epoch.Check(ctx, view, d.o.Config.Issuer, d.o.Config.LogOrigin())
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		found.Notes = append(found.Notes, "feeds cannot be computed: "+err.Error())
		return nil
	}
	found.Feeds = *feeds
	return nil
}

// CopyStore copies the store of a server to a new directory. Of a server that runs it copies the journals and the keys
// as they are at one moment, and builds the view anew: live is true then.
func CopyStore(ctx context.Context, c *config.Config, to string) (live bool, err error) {
	err = badgerstore.Copy(c.Store.Dir, to)
	if !errors.Is(err, badgerstore.ErrLocked) {
		return false, err
	}
	from, err := OpenContinuity(c)
	if err != nil {
		return true, err
	}
	return true, badgerstore.HotCopy(ctx, c.Store.Dir, to, from.Options)
}

// DevIssuer is the issuer of a development directory: that of its config.yaml, or of the person in its principals.
func DevIssuer(dir string) (string, error) {
	if _, err := os.Stat(filepath.Join(dir, "config.yaml")); err == nil {
		return "", nil
	}
	ps, err := readPrincipals(filepath.Join(dir, principalsFile))
	if err != nil {
		return "", err
	}
	if p, ok := ps.ByID("approver"); ok && p.Subject != nil && strings.HasPrefix(p.Subject.Iss, "http") {
		return p.Subject.Iss, nil
	}
	return "", fmt.Errorf("%s does not say whose it is", dir)
}
