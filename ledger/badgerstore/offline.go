package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mission-authority/mas/ledger/journal"
)

// A Damage is something that Check could not read or believe.
type Damage struct {
	Part   string // journal, badger, shred, stops, state
	Detail string
}

// Check reads everything in a closed store and changes nothing: every frame of both journals, every block and every
// value of Badger, every key of the vault, the erasure journal and the state. It says what cannot be read; what the
// parts say about each other is for a comparison of Frames with a Snapshot. ErrLocked if the store is in use.
func Check(ctx context.Context, dir string, opt Options) (found []Damage, err error) {
	opt = opt.withDefaults()
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("badgerstore: %w", err)
	}
	lock, err := acquireLock(filepath.Join(dir, "LOCK"))
	if err != nil {
		return nil, err
	}
	defer lock.release()
	report := func(part string, err error) {
		if err != nil {
			found = append(found, Damage{part, err.Error()})
		}
	}
	st, err := checkState(opt.FS, dir)
	report("state", err)
	view := filepath.Join(dir, badgerDir)
	in, err := inspect(view, opt.MemTableSize)
	if err != nil {
		return nil, err
	}
	if in.damage != "" {
		report("badger", errors.New(in.damage))
	}
	for _, text := range in.broken {
		report("badger", errors.New(text))
	}
	for _, text := range in.torn {
		if st.clean { // otherwise it was killed, and replaces what it had not finished from the journal
			report("badger", errors.New(text))
		}
	}
	for _, err := range checkValueLogs(view) {
		report("badger", err)
	}
	report("journal", checkJournal(ctx, opt.FS, filepath.Join(dir, "journal"), journal.Options{
		Identity: opt.identity("journal"), Applied: max(in.applied, st.mark),
	}))
	report("stops", checkJournal(ctx, opt.FS, filepath.Join(dir, "stops"), journal.Options{
		Identity: opt.identity("stops"),
	}))
	for _, err := range checkVault(opt.FS, filepath.Join(dir, "shred"), opt.Root) {
		report("shred", err)
	}
	return found, ctx.Err()
}

func checkState(fsys journal.FS, dir string) (state, error) {
	f, err := fsys.OpenFile(filepath.Join(dir, stateName), os.O_RDONLY)
	if err != nil {
		return state{}, err
	}
	defer f.Close()
	b := make([]byte, 2*stateSector)
	if _, err := f.ReadAt(b, 0); err != nil {
		return state{}, err
	}
	var newest state
	var errs error
	for i := range 2 {
		sector := b[i*stateSector : (i+1)*stateSector]
		if isZero(sector) {
			continue
		}
		got, err := parseState(sector)
		if err != nil {
			errs = errors.Join(errs, err)
		} else if got.turn >= newest.turn {
			newest = got
		}
	}
	return newest, errs
}

// checkValueLogs reads all value logs but the newest, which inspect has read.
func checkValueLogs(dir string) (errs []error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []error{err}
	}
	var paths []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".vlog" {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	if err := sortByNumber(paths); err != nil || len(paths) == 0 {
		return nil // inspect has said it
	}
	for _, path := range paths[:len(paths)-1] {
		w, err := readValueLog(path)
		if err == nil && !w.clean {
			err = fmt.Errorf("cannot be read from %d on, after frame %d", w.end, w.last)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("log %s: %w", filepath.Base(path), err))
		}
	}
	return errs
}

func checkJournal(ctx context.Context, fsys journal.FS, dir string, opt journal.Options) error {
	opt.ReadOnly, opt.FS = true, fsys
	j, err := journal.Open(dir, opt)
	if err != nil {
		return err
	}
	defer j.Close()
	return j.Verify(ctx, 1)
}

// checkVault opens every key.
func checkVault(fsys journal.FS, dir string, root [32]byte) (errs []error) {
	aead, err := newAEAD(root[:])
	if err != nil {
		return []error{err}
	}
	v := &Vault{fs: fsys, dir: dir, root: aead}
	defer v.close()
	if v.keys, err = fsys.OpenFile(filepath.Join(dir, "keys"), os.O_RDONLY); err != nil {
		return []error{err}
	}
	if err := v.readHeader(); err != nil {
		return []error{err}
	}
	size, err := v.keys.Size()
	if err != nil {
		return []error{err}
	}
	b := make([]byte, shredSlot)
	for slot := range uint64(size-stateSector) / shredSlot {
		if _, err := v.keys.ReadAt(b, slotOffset(slot)); err != nil {
			return append(errs, err)
		}
		_, err := v.openKey(b[1:1+sealedKey], slotAAD(v.id, slot))
		whole := err == nil && b[0] == slotLive && isZero(b[1+sealedKey:])
		if !whole && !isErased(b) && !isLost(b) && !isZero(b) {
			errs = append(errs, fmt.Errorf("key %d is damaged", slot))
		}
	}
	return append(errs, v.checkErasures()...)
}

func (v *Vault) checkErasures() []error {
	var err error
	if v.erasures, err = v.fs.OpenFile(filepath.Join(v.dir, "erasures"), os.O_RDONLY); err != nil {
		return []error{err}
	}
	size, err := v.erasures.Size()
	if err != nil {
		return []error{err}
	}
	b := make([]byte, erasureRecord)
	var errs []error
	for off := int64(0); off+erasureRecord <= size; off += erasureRecord {
		if _, err := v.erasures.ReadAt(b, off); err != nil {
			return append(errs, err)
		}
		if _, ok := parseErasure(b); !ok {
			errs = append(errs, fmt.Errorf("erasure journal is damaged at %d", off))
		}
	}
	return errs
}

// OpenCopy copies the closed store in dir to the new directory scratch, sharing blocks where the file system can, and
// opens the copy. So a store can be read whole without changing it; see Recovery for what opening it would have
// repaired. The caller removes scratch.
func OpenCopy(dir, scratch string, opt Options) (*Store, error) {
	if err := Copy(dir, scratch); err != nil {
		return nil, err
	}
	return Open(scratch, opt)
}

// Copy copies everything that a closed store needs to the new directory to, sharing blocks where the file system can
// and leaving holes where there are only zeros. ErrLocked if the store is in use: its files belong to one moment only
// when it is closed.
func Copy(dir, to string) error {
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("badgerstore: %w", err)
	}
	lock, err := acquireLock(filepath.Join(dir, "LOCK"))
	if err != nil {
		return err
	}
	defer lock.release()
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("badgerstore: copy: %w", err)
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return fmt.Errorf("badgerstore: copy: %w", err)
		}
		switch top, _, _ := strings.Cut(rel, string(filepath.Separator)); {
		case top == "aside":
			return fs.SkipDir
		case top == "LOCK" || top == ballastName:
			return nil
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			err = os.MkdirAll(target, 0o700)
		} else {
			err = copyFile(path, target)
		}
		if err != nil {
			return fmt.Errorf("badgerstore: copy: %w", err)
		}
		return nil
	})
}
