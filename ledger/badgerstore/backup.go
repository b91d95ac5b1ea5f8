package badgerstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/durable"
	"github.com/mission-authority/mas/ledger/journal"
)

// A backup is a directory with a MANIFEST. That of a log holds both journals, from which everything else is rebuilt,
// and no key of a body; that of the keys holds nothing else. They are apart because an erased key has to be gone from
// the backups too, and a log never: so backups of keys have an age at which they are destroyed.

var (
	stepBackup = durable.Register("backup.complete", "a backup has its name, is whole and was read back")
	stepExpire = durable.Register("backup.expire", "a backup of keys that is past its age is overwritten and gone")
)

// ErrBackup: a backup is not what its manifest says, or is of another log.
var ErrBackup = errors.New("badgerstore: not a whole backup of this log")

const partialSuffix = ".partial"

// Parts of a store that a backup of the log holds.
const (
	journalDir = "journal"
	stopsDir   = "stops"
	shredDir   = "shred"
)

// Backup copies the log of the store in dir, which may be in use, to the new directory out: a state that the log had
// while it ran. What was copied is read back and rehashed, entry by entry, before the backup gets its name. Nothing in
// dir is changed. A backup that was interrupted leaves <out>.partial, which the next one removes.
func Backup(ctx context.Context, dir, out string, opt Options) (*Manifest, error) {
	opt = opt.withDefaults()
	return makeWhole(opt, out, func(partial string) (*Manifest, error) {
		m := &Manifest{Kind: KindLog, Origin: opt.Origin, Made: opt.Now().UTC().Truncate(time.Second)}
		for _, part := range []string{stopsDir, journalDir} { // a stop that is replayed is in the log
			c, err := journal.CopyTo(ctx, opt.FS, filepath.Join(dir, part), opt.identity(part),
				filepath.Join(partial, part))
			if err != nil {
				return nil, fmt.Errorf("badgerstore: backup: %w", err)
			}
			if part == journalDir {
				m.Frames, m.FrameHash = c.Seq, c.Hash
			} else {
				m.Stops = c.Seq
			}
		}
		t, err := readTree(ctx, opt, partial)
		if err != nil {
			return nil, fmt.Errorf("badgerstore: backup: %w", err)
		}
		m.Size, m.Root, m.Checkpoint = t.head.Size, t.head.Root, t.checkpoint
		return m, nil
	})
}

// BackupKeys copies the keys of the bodies, sealed under the root key as they are, to a new directory below out, named
// after the time, and destroys the backups there that have reached their age. What is erased in dir within age stays
// readable for whoever has the backup, the log and the root key; after it, nowhere.
func BackupKeys(ctx context.Context, dir, out string, age time.Duration, opt Options) (*Manifest, error) {
	opt = opt.withDefaults()
	if age <= 0 {
		return nil, errors.New("badgerstore: a backup of keys needs an age at which it is destroyed")
	}
	if err := opt.FS.MkdirAll(out); err != nil {
		return nil, fmt.Errorf("badgerstore: backup: %w", err)
	}
	made := opt.Now().UTC().Truncate(time.Second)
	name := filepath.Join(out, keysPrefix+opt.Now().UTC().Format("20060102T150405.000000Z"))
	m, err := makeWhole(opt, name, func(partial string) (*Manifest, error) {
		if err := copyKeys(opt, filepath.Join(dir, shredDir), filepath.Join(partial, shredDir)); err != nil {
			return nil, fmt.Errorf("badgerstore: backup: %w", err)
		}
		return &Manifest{Kind: KindKeys, Origin: opt.Origin, Made: made, Expires: made.Add(age)}, ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	return m, expireKeys(opt, out)
}

// HotCopy makes the store in dir, which may be in use, once more in the new directory to: both journals as they are at
// one moment, the keys, and a view built from the journal. So all that the log says can be checked while it runs. The
// copy holds keys: remove it afterwards. The tables of the original's view are not in it; a Scrubber reads those.
func HotCopy(ctx context.Context, dir, to string, opt Options) error {
	opt = opt.withDefaults()
	for _, part := range Parts() {
		if _, err := journal.CopyTo(ctx, opt.FS, filepath.Join(dir, part), opt.identity(part), filepath.Join(to, part)); err != nil {
			return fmt.Errorf("badgerstore: copy: %w", err)
		}
	}
	if err := copyKeys(opt, filepath.Join(dir, shredDir), filepath.Join(to, shredDir)); err != nil {
		return fmt.Errorf("badgerstore: copy: %w", err)
	}
	s, err := Open(to, opt)
	if err != nil {
		return err
	}
	return s.Close()
}

// copyKeys copies the key file and, after it, the erasure journal: what is erased meanwhile is in it, and is erased
// again after a restore. A slot that was seen while it was written is read once more.
func copyKeys(opt Options, from, to string) error {
	for attempt := 0; ; attempt++ {
		for _, file := range []string{"keys", "erasures"} {
			if err := copyWhole(opt.FS, filepath.Join(from, file), filepath.Join(to, file)); err != nil {
				return err
			}
		}
		errs := checkVault(opt.FS, to, opt.Root)
		if len(errs) == 0 {
			return nil
		}
		if attempt == 2 {
			return errors.Join(errs...)
		}
	}
}

// makeWhole has a new directory filled under another name, writes its manifest and gives it its name.
func makeWhole(opt Options, out string, fill func(partial string) (*Manifest, error)) (_ *Manifest, err error) {
	if _, err := os.Lstat(out); err == nil {
		return nil, fmt.Errorf("badgerstore: %s exists", out)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("badgerstore: backup: %w", err)
	}
	partial := out + partialSuffix
	if err := os.MkdirAll(partial, 0o700); err != nil {
		return nil, fmt.Errorf("badgerstore: backup: %w", err)
	}
	lock, err := acquireLock(filepath.Join(partial, "LOCK"))
	if err != nil {
		return nil, err // another backup is at work there
	}
	defer func() {
		err = errors.Join(err, lock.release())
		if err != nil {
			err = errors.Join(err, os.RemoveAll(partial))
		}
	}()
	if err := emptyDir(partial, "LOCK"); err != nil {
		return nil, fmt.Errorf("badgerstore: backup: %w", err)
	}
	m, err := fill(partial)
	if err != nil {
		return nil, err
	}
	if m.Files, err = sumFiles(partial); err != nil {
		return nil, fmt.Errorf("badgerstore: backup: %w", err)
	}
	return m, stepBackup.Do(func() error { return nameBackup(opt.FS, partial, out, m) })
}

func nameBackup(fsys journal.FS, partial, out string, m *Manifest) error {
	if err := writeWhole(fsys, filepath.Join(partial, ManifestName), m.Marshal()); err != nil {
		return fmt.Errorf("badgerstore: backup: %w", err)
	}
	if err := os.Remove(filepath.Join(partial, "LOCK")); err != nil {
		return fmt.Errorf("badgerstore: backup: %w", err)
	}
	if err := fsys.SyncDir(partial); err != nil {
		return fmt.Errorf("badgerstore: backup: %w", err)
	}
	if err := fsys.Rename(partial, out); err != nil {
		return fmt.Errorf("badgerstore: backup: %w", err)
	}
	if err := fsys.SyncDir(filepath.Dir(out)); err != nil {
		return fmt.Errorf("badgerstore: backup: %w", err)
	}
	return nil
}

// emptyDir removes everything in dir but the name keep.
func emptyDir(dir, keep string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == keep {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// sumFiles lists the files below dir with their sums.
func sumFiles(dir string) (files []ManifestFile, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if rel == "LOCK" || rel == ManifestName {
			return nil
		}
		f := ManifestFile{Path: filepath.ToSlash(rel)}
		f.Sum, f.Size, err = sumFile(path)
		files = append(files, f)
		return err
	})
	slices.SortFunc(files, func(a, b ManifestFile) int { return strings.Compare(a.Path, b.Path) })
	return files, err
}

func sumFile(path string) (sum [32]byte, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	h.Sum(sum[:0])
	return sum, size, err
}

// VerifyBackup reads a backup whole: every file has the size and sum that the manifest says, and there is no other; the
// frames follow each other and hash to the tree that it says. It needs no key. ErrBackup if anything is wrong.
func VerifyBackup(ctx context.Context, dir string, opt Options) (*Manifest, error) {
	opt = opt.withDefaults()
	text, err := os.ReadFile(filepath.Join(dir, ManifestName))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	m, err := ParseManifest(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	if opt.Origin != "" && m.Origin != opt.Origin {
		return nil, fmt.Errorf("%w: it is of %q", ErrBackup, m.Origin)
	}
	opt.Origin = m.Origin
	files, err := sumFiles(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	if i := firstDifference(files, m.Files); i >= 0 {
		return nil, fmt.Errorf("%w: the files differ from the manifest at %s", ErrBackup, nameAt(i, files, m.Files))
	}
	if m.Kind != KindLog {
		return m, ctx.Err()
	}
	t, err := readTree(ctx, opt, dir)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrBackup, err)
	case t.seq != m.Frames || t.hash != m.FrameHash || t.head.Size != m.Size || t.head.Root != m.Root:
		return nil, fmt.Errorf("%w: its frames lead to another tree", ErrBackup)
	}
	return m, nil
}

func firstDifference(a, b []ManifestFile) int {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			return i
		}
	}
	return -1
}

func nameAt(i int, lists ...[]ManifestFile) string {
	for _, l := range lists {
		if i < len(l) {
			return l[i].Path
		}
	}
	return "the end"
}

const keysPrefix = "keys-"

// expireKeys destroys the backups of keys below out that are past their age, and what was left of one that was
// interrupted: the keys in it have no age.
func expireKeys(opt Options, out string) error {
	entries, err := os.ReadDir(out)
	if err != nil {
		return fmt.Errorf("badgerstore: expire: %w", err)
	}
	for _, e := range entries {
		dir := filepath.Join(out, e.Name())
		if strings.HasPrefix(e.Name(), keysPrefix) && strings.HasSuffix(e.Name(), partialSuffix) {
			if err := expirePartial(opt, dir); err != nil {
				return err
			}
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, ManifestName))
		if err != nil {
			continue // not a backup
		}
		m, err := ParseManifest(text)
		if err != nil {
			return fmt.Errorf("badgerstore: expire %s: %w", dir, err)
		}
		if m.Kind != KindKeys || m.Origin != opt.Origin || opt.Now().Before(m.Expires) {
			continue
		}
		if err := stepExpire.Do(func() error { return destroy(opt.FS, dir) }); err != nil {
			return fmt.Errorf("badgerstore: expire %s: %w", dir, err)
		}
	}
	return nil
}

// expirePartial destroys a backup that nobody is making any more.
func expirePartial(opt Options, dir string) error {
	lock, err := acquireLock(filepath.Join(dir, "LOCK"))
	if errors.Is(err, ErrLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	err = stepExpire.Do(func() error { return destroy(opt.FS, dir) })
	return errors.Join(err, lock.release())
}

// destroy overwrites the keys in a backup, makes that durable and removes it, the manifest last: as long as it is
// there, the next run knows that it is not done.
func destroy(fsys journal.FS, dir string) error {
	path := filepath.Join(dir, shredDir, "keys")
	f, err := fsys.OpenFile(path, os.O_RDWR)
	if err == nil {
		var size int64
		size, err = f.Size()
		zeros := make([]byte, 64<<10)
		for off := int64(0); err == nil && off < size; off += int64(len(zeros)) {
			_, err = f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off)
		}
		if err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(filepath.Join(dir, shredDir)); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(dir))
}

// copyWhole copies one file and makes it durable.
func copyWhole(fsys journal.FS, from, to string) error {
	if err := fsys.MkdirAll(filepath.Dir(to)); err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return writeWhole(fsys, to, data)
}

// writeWhole makes a new file durable, with its name.
func writeWhole(fsys journal.FS, path string, data []byte) error {
	f, err := fsys.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}

// A tree is where the frames of a journal lead.
type tree struct {
	seq        uint64
	hash       [32]byte
	head       ledger.Head
	checkpoint []byte
	slots      uint64 // one more than the highest key that a body is sealed under
	bodies     uint64
}

// readTree reads the journal below dir from its beginning, and checks that each frame extends the tree to its root. It
// calls visit, if any, with the tree after each frame.
func readTree(ctx context.Context, opt Options, dir string, visit ...func(*ledger.Edge) error) (t tree, err error) {
	j, err := journal.Open(filepath.Join(dir, journalDir), journal.Options{
		Identity: opt.identity(journalDir), ReadOnly: true, FS: opt.FS,
	})
	if err != nil {
		return t, err
	}
	defer j.Close()
	t.seq, t.hash = j.Last()
	t.head.Root = ledger.EmptyRoot
	edge := ledger.NewEdge()
	for b, err := range batches(j, 1) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = extend(edge, b)
		}
		if err != nil {
			return t, err
		}
		t.head, t.checkpoint = b.Head, b.Checkpoint
		for _, body := range b.Bodies {
			slot, err := sealedSlot(body.Sealed)
			if err != nil {
				return t, err
			}
			t.slots, t.bodies = max(t.slots, slot+1), t.bodies+1
		}
		for _, v := range visit {
			if err := v(edge); err != nil {
				return t, err
			}
		}
	}
	return t, nil
}
