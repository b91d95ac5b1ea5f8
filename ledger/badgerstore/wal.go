package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strconv"
)

// Badger's write-ahead logs (.mem) and value logs (.vlog) share one format: 20 octets of header, then entries { meta1,
// user meta1, uvarint lengths of key and value, uvarint expiry, key, value, crc32c4 }, then zeros. A key ends with its
// version, which is the number of the frame it came with. A transaction is a run of entries of one version with bit 6
// set in meta, and an entry with bit 7 set that ends it.
const (
	walHeader    = 20
	walBitTxn    = 1 << 6
	walBitFin    = 1 << 7
	walMaxKey    = 1 << 16
	walMaxHeader = 2 + 3*binary.MaxVarintLen64

	// nodeOverhead is what an entry takes in a memtable beyond its size in the log, on average.
	nodeOverhead = 24
)

// walState is what such a log holds.
type walState struct {
	first, last uint64 // frames; 0 if there is none
	gap         bool   // a frame is missing between first and last
	end         int64  // behind the last entry that can be used
	clean       bool   // only zeros follow what was read
	arena       int64  // about what Badger's memtable needs for it
	torn        bool   // not clean, but what follows may be one entry that a kill interrupted, and then zeros
}

// unwritten is a log that was created and has no size yet, not even a header: a kill can leave that.
var unwritten = walState{torn: true}

// walEntry is one decoded entry.
type walEntry struct {
	meta    byte
	version uint64
	value   []byte
	size    int
	index   bool // of a run of an index: a replay writes it at the version of a later frame
}

// entryLengths reads the head of the entry at the start of b: where its key is, which ends in a version, and its size.
func entryLengths(b []byte) (key, keyEnd, size int, ok bool) {
	if len(b) < 2 {
		return 0, 0, 0, false
	}
	head := b[2:min(len(b), walMaxHeader)]
	used := 2
	var lengths [3]uint64
	for i := range lengths {
		v, n := binary.Uvarint(head)
		if n <= 0 {
			return 0, 0, 0, false
		}
		lengths[i], head, used = v, head[n:], used+n
	}
	klen, vlen := lengths[0], lengths[1]
	if klen < 8 || klen > walMaxKey || vlen > math.MaxUint32 || uint64(len(b)) < uint64(used)+klen+vlen+4 {
		return 0, 0, 0, false
	}
	return used, used + int(klen), used + int(klen) + int(vlen) + 4, true
}

// parseEntry reads the entry at the start of b. It fails at zeros, at damage and at the end alike.
func parseEntry(b []byte) (walEntry, bool) {
	key, keyEnd, size, ok := entryLengths(b)
	if !ok || crc32.Checksum(b[:size-4], castagnoli) != binary.BigEndian.Uint32(b[size-4:]) {
		return walEntry{}, false
	}
	return walEntry{
		meta:    b[0],
		version: math.MaxUint64 - binary.BigEndian.Uint64(b[keyEnd-8:]),
		value:   b[keyEnd : size-4],
		size:    size,
		index:   b[key] == prefixBlock || b[key] == prefixRun,
	}, true
}

// readWAL reads the transactions of a write-ahead log.
func readWAL(path string) (w walState, err error) {
	err = withMapped(path, func(b []byte) error {
		if len(b) == 0 {
			w = unwritten
			return nil
		}
		if err := logHeader(b); err != nil {
			return err
		}
		w = scanWAL(b)
		return nil
	})
	return w, err
}

func scanWAL(b []byte) walState {
	w := walState{end: walHeader}
	off, open, index := walHeader, uint64(0), false
	for {
		e, ok := parseEntry(b[off:])
		if !ok {
			break
		}
		switch {
		case e.meta&walBitTxn != 0 && (open == 0 || open == e.version):
			open, index = e.version, index || e.index
			w.arena += int64(e.size) + nodeOverhead
		case e.meta&walBitFin != 0 && open != 0 && string(e.value) == strconv.FormatUint(open, 10):
			if !index {
				w.add(open)
			}
			open, index = 0, false
			w.end = int64(off + e.size)
		default: // nothing we wrote
			return w
		}
		off += e.size
	}
	w.clean = isZero(b[off:])
	w.torn = !w.clean && isTorn(b[off:])
	return w
}

// isTorn reports whether b begins with what may be a piece of one entry and holds zeros behind that.
func isTorn(b []byte) bool {
	_, _, size, ok := entryLengths(b)
	if !ok {
		size = walMaxHeader
	}
	return isZero(b[min(size, len(b)):])
}

func (w *walState) add(frame uint64) {
	if w.first == 0 {
		w.first = frame
	}
	w.gap = w.gap || w.last != 0 && frame > w.last+1
	w.last = max(w.last, frame)
}

// readValueLog reads the entries of a value log.
func readValueLog(path string) (w walState, err error) {
	err = withMapped(path, func(b []byte) error {
		if len(b) == 0 {
			w = unwritten
			return nil
		}
		if err := logHeader(b); err != nil {
			return err
		}
		off := walHeader
		for {
			e, ok := parseEntry(b[off:])
			if !ok {
				break
			}
			w.last = e.version
			off += e.size
		}
		w.end, w.clean = int64(off), isZero(b[off:])
		w.torn = !w.clean && isTorn(b[off:])
		return nil
	})
	return w, err
}

// logHeader checks the header: the number of an encryption key, which we never use, and a random start value.
func logHeader(b []byte) error {
	if len(b) < walHeader || !isZero(b[:8]) {
		return errors.New("log header makes no sense")
	}
	return nil
}

func checkLogHeader(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, walHeader)
	if _, err := f.ReadAt(b, 0); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	if err := logHeader(b); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}
