package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"google.golang.org/protobuf/proto"
)

// What Badger 4.9.6 does with a damaged directory makes looking at it first necessary: it cuts a write-ahead log at
// the first bad record and goes on, cuts a manifest whose last record is short and deletes the tables behind it, ends
// the process on a bad table footer, answers "not found" or an older version for a bad block, and lets a compaction
// copy what such a block leaves. So everything it would read without saying is read here before it may.

// An inspection is what a Badger directory holds, read without changing it.
type inspection struct {
	empty   bool
	damage  string // why the directory must not be used; empty if it may
	flushed uint64 // highest frame in a table
	applied uint64 // highest frame that is there whole
	suspect bool   // a write-ahead log does not read clean to its end: frames above flushed may be missing
	cut     uint64 // if the newest value log does not read clean: the last frame seen in it, or 0; see vlogCut
	vlogCut bool
	trims   []trim
	arena   int64    // what fits in a memtable
	broken  []string // what is damaged in logs, for Check
	torn    []string // what may be the end of a log that a kill interrupted
}

// A trim cuts a log where Badger would, without letting it read what stands behind.
type trim struct {
	path string
	size int64 // 0: move the file away, nothing in it can be used
}

// inspect reads the manifest, all tables, the write-ahead logs and the newest value log in dir. A write-ahead log that
// was written under a larger memtable size than memTable counts as unusable: Badger would end the process over it.
func inspect(dir string, memTable int64) (*inspection, error) {
	in := &inspection{arena: memTable + memTable/5}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		in.empty = true
		return in, nil
	}
	if err != nil {
		return nil, fmt.Errorf("badgerstore: %w", err)
	}
	var wals, vlogs []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case ".mem":
			wals = append(wals, filepath.Join(dir, e.Name()))
		case ".vlog":
			vlogs = append(vlogs, filepath.Join(dir, e.Name()))
		}
	}
	if err := errors.Join(sortByNumber(wals), sortByNumber(vlogs)); err != nil {
		in.damage = err.Error()
		return in, nil
	}
	in.flushed, err = inspectTables(dir)
	if err = errors.Join(err, inspectRegistry(dir)); err != nil {
		in.damage = err.Error()
		return in, nil
	}
	in.applied = in.flushed
	for _, path := range wals {
		in.addWAL(path)
	}
	if err := in.addValueLogs(vlogs); err != nil {
		in.damage = err.Error()
	}
	return in, nil
}

// inspectRegistry reads the registry of encryption keys, which is empty and must be there.
func inspectRegistry(dir string) error {
	return guard("key registry", func() error {
		r, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: dir, ReadOnly: true})
		if err != nil {
			return fmt.Errorf("key registry: %w", err)
		}
		return r.Close()
	})
}

// inspectTables verifies the manifest and every block of every table in it, and returns the highest version stored.
func inspectTables(dir string) (uint64, error) {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return 0, fmt.Errorf("manifest: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("manifest: %w", err)
	}
	var manifest badger.Manifest
	var end int64
	err = guard("manifest", func() (err error) {
		manifest, end, err = badger.ReplayManifestFile(f, 0, badger.DefaultOptions(dir).WithLogger(nil))
		return err
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("manifest: %w", err)
	case end != info.Size():
		return 0, fmt.Errorf("manifest: %d octets cannot be read", info.Size()-end)
	}
	return verifyTables(dir, manifest)
}

func verifyTables(dir string, manifest badger.Manifest) (uint64, error) {
	ids := make(chan uint64, len(manifest.Tables))
	for id := range manifest.Tables {
		ids <- id
	}
	close(ids)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		high uint64
		errs []error
	)
	for range 2 {
		wg.Go(func() {
			for id := range ids {
				version, err := verifyTable(table.NewFilename(id, dir))
				mu.Lock()
				high = max(high, version)
				if err != nil {
					errs = append(errs, fmt.Errorf("table %d: %w", id, err))
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return high, errors.Join(errs...)
}

// verifyTable checks the index and every block of a table file against their checksums and returns the highest version
// in it. Blocks are not compressed (see options), so their checksums cover what the file holds.
func verifyTable(path string) (high uint64, err error) {
	err = withMapped(path, func(b []byte) error {
		index, blocks, err := tableIndex(b)
		if err != nil {
			return err
		}
		high = index.MaxVersion()
		var off fb.BlockOffset
		for i := range index.OffsetsLength() {
			if !index.Offsets(&off, i) {
				return errors.New("block offset is missing")
			}
			start, n := uint64(off.Offset()), uint64(off.Len())
			if start+n > uint64(blocks) {
				return fmt.Errorf("block %d lies outside", i)
			}
			if err := verifyBlock(b[start : start+n]); err != nil {
				return fmt.Errorf("block %d: %w", i, err)
			}
		}
		return nil
	})
	return high, err
}

// tableIndex returns the verified index of a table and the length of the part before it, where the blocks are.
func tableIndex(b []byte) (*fb.TableIndex, int, error) {
	rest, sum, err := cutChecksum(b)
	if err != nil {
		return nil, 0, err
	}
	if len(rest) < 4 {
		return nil, 0, errors.New("no index")
	}
	n := int(binary.BigEndian.Uint32(rest[len(rest)-4:]))
	if rest = rest[:len(rest)-4]; n < 4 || n > len(rest) {
		return nil, 0, errors.New("index length makes no sense")
	}
	index := rest[len(rest)-n:]
	if err := checkSum(index, sum); err != nil {
		return nil, 0, fmt.Errorf("index: %w", err)
	}
	return fb.GetRootAsTableIndex(index, 0), len(rest) - n, nil
}

func verifyBlock(b []byte) error {
	data, sum, err := cutChecksum(b)
	if err != nil {
		return err
	}
	return checkSum(data, sum)
}

// cutChecksum splits { data, checksum, length of the checksum4 }.
func cutChecksum(b []byte) (data, sum []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errors.New("too short")
	}
	n := int(binary.BigEndian.Uint32(b[len(b)-4:]))
	if b = b[:len(b)-4]; n < 0 || n > len(b) {
		return nil, nil, errors.New("checksum length makes no sense")
	}
	return b[:len(b)-n], b[len(b)-n:], nil
}

func checkSum(data, sum []byte) error {
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil {
		return fmt.Errorf("checksum: %w", err)
	}
	if want.Algo != pb.Checksum_CRC32C || want.Sum != uint64(crc32.Checksum(data, castagnoli)) {
		return errors.New("checksum fails")
	}
	return nil
}

// addWAL adds what a write-ahead log holds.
func (in *inspection) addWAL(path string) {
	w, err := readWAL(path)
	switch {
	case err != nil:
		in.broken = append(in.broken, fmt.Sprintf("log %s: %v", filepath.Base(path), err))
		in.suspect = true
		in.trims = append(in.trims, trim{path: path})
		return
	case w.arena > in.arena:
		in.suspect = true
		in.trims = append(in.trims, trim{path: path})
		in.applied = max(in.applied, w.last) // known to be in the journal all the same
		return
	case !w.clean:
		in.unclean(path, w)
		in.suspect = true
	}
	if w.first > in.applied+1 || w.gap { // the frames in between were in a log that is damaged or gone
		in.broken = append(in.broken, fmt.Sprintf("log %s: frames are missing", filepath.Base(path)))
		in.suspect = true
	}
	in.applied = max(in.applied, w.last)
}

// unclean notes that a log is to be cut where it stops being readable.
func (in *inspection) unclean(path string, w walState) {
	in.trims = append(in.trims, trim{path: path, size: w.end})
	text := fmt.Sprintf("log %s cannot be read from %d on", filepath.Base(path), w.end)
	if w.torn {
		in.torn = append(in.torn, text)
	} else {
		in.broken = append(in.broken, text)
	}
}

// addValueLogs checks the header of every value log and reads the newest one, which Badger would cut at its first bad
// entry.
func (in *inspection) addValueLogs(paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	older, path := paths[:len(paths)-1], paths[len(paths)-1]
	for _, path := range older {
		if err := checkLogHeader(path); err != nil {
			return err
		}
	}
	w, err := readValueLog(path)
	if err != nil {
		return err
	}
	if !w.clean {
		in.vlogCut, in.cut = true, w.last
		// Badger copies the values of a frame, not in the order of their addresses, before it logs their keys: behind the
		// last frame whose keys are there a kill leaves anything.
		w.torn = w.torn || w.last >= in.applied
		in.unclean(path, w)
	}
	return nil
}

// sortByNumber sorts paths by the number their names are.
func sortByNumber(paths []string) error {
	number := func(path string) (uint64, error) {
		name, _, _ := strings.Cut(filepath.Base(path), ".")
		return strconv.ParseUint(name, 10, 32)
	}
	for _, path := range paths {
		if _, err := number(path); err != nil {
			return fmt.Errorf("file %s does not belong here", filepath.Base(path))
		}
	}
	slices.SortFunc(paths, func(a, b string) int {
		x, _ := number(a)
		y, _ := number(b)
		return int(int64(x) - int64(y))
	})
	return nil
}

// withMapped calls fn with the contents of a file. A read error of the disk under the mapping comes back as an error.
func withMapped(path string, fn func(b []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return fn(nil)
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	err = guard(filepath.Base(path), func() error { return fn(b) })
	return errors.Join(err, syscall.Munmap(b))
}

// guard calls fn and turns a panic in it, also one for a page that cannot be read, into an error.
func guard(what string, fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: %s", what, panicText(r))
		}
	}()
	return fn()
}

// panicText describes a recovered panic without repeating data that may be in it.
func panicText(r any) string {
	if e, ok := r.(interface{ RuntimeError() }); ok {
		return fmt.Sprintf("panic: %v", e)
	}
	return fmt.Sprintf("panic with a %T", r)
}
