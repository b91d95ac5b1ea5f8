package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A segment is one file of the journal: a header sector, frames, and space that is still zeros.
//
//	0   "masjrnl\n"
//	8   format version4, octets of a segment8
//	20  identity32
//	52  number of the first frame8, of the first frame of the segment before8 (0: none)
//	68  hash of the last frame before32 (of the identity, for the first segment)
//	100 crc32c4 of all that
//
// Names: <20 digits, first frame>.seg, with .zst appended once sealed and compressed. "next" is the segment allocated
// ahead: zeros only, or a header that was not yet published by its rename.
const (
	formatVersion = 1
	headerUsed    = 104
	aheadName     = "next"
	rawSuffix     = ".seg"
	packedSuffix  = ".seg.zst"
	tempSuffix    = ".tmp"
)

var headerMagic = [8]byte{'m', 'a', 's', 'j', 'r', 'n', 'l', '\n'}

type header struct {
	size      int64
	identity  [32]byte
	first     uint64 // at least 1
	prevFirst uint64 // 0 if this is the first segment
	prev      Hash
}

func (h header) marshal() []byte {
	b := make([]byte, 0, sectorSize)
	b = append(b, headerMagic[:]...)
	b = binary.BigEndian.AppendUint32(b, formatVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(h.size))
	b = append(b, h.identity[:]...)
	b = binary.BigEndian.AppendUint64(b, h.first)
	b = binary.BigEndian.AppendUint64(b, h.prevFirst)
	b = append(b, h.prev[:]...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:sectorSize]
}

func parseHeader(sector []byte) (header, error) {
	if len(sector) != sectorSize || [8]byte(sector) != headerMagic {
		return header{}, errors.New("not a journal segment")
	}
	// Later formats keep magic, format and checksum where they are: another format is told from damage by that.
	if crc32.Checksum(sector[:headerUsed-4], castagnoli) != binary.BigEndian.Uint32(sector[headerUsed-4:]) {
		return header{}, errors.New("checksum of the segment header fails")
	}
	if v := binary.BigEndian.Uint32(sector[8:]); v != formatVersion {
		return header{}, fmt.Errorf("%w: journal format %d, this program knows %d", ErrFormat, v, formatVersion)
	}
	if !isZero(sector[headerUsed:]) {
		return header{}, errors.New("the segment header is longer than it may be")
	}
	h := header{
		size:      int64(binary.BigEndian.Uint64(sector[12:])),
		identity:  [32]byte(sector[20:52]),
		first:     binary.BigEndian.Uint64(sector[52:]),
		prevFirst: binary.BigEndian.Uint64(sector[60:]),
		prev:      Hash(sector[68:100]),
	}
	if h.size < MinSegmentSize || h.size > MaxSegmentSize || h.size%sectorSize != 0 || h.first <= h.prevFirst {
		return header{}, errors.New("segment header makes no sense")
	}
	return h, nil
}

// payloadLimit is the largest payload that fits in a segment of size octets.
func payloadLimit(size int64) int {
	return int(headPayload + (size/sectorSize-2)*bodyPayload)
}

// A segment is what the journal knows of one of its files.
type segment struct {
	first  uint64
	packed bool
}

func (s segment) name() string {
	if s.packed {
		return fmt.Sprintf("%020d%s", s.first, packedSuffix)
	}
	return fmt.Sprintf("%020d%s", s.first, rawSuffix)
}

// listSegments returns the segments in dir by first frame. It reports names that are neither segments nor ours; of a
// segment that exists raw and packed it lists the raw one.
func listSegments(fsys FS, dir string) (segs []segment, ahead bool, litter []string, err error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, false, nil, err
	}
	for _, name := range names {
		digits, suffix, ok := strings.Cut(name, ".")
		first, perr := strconv.ParseUint(digits, 10, 64)
		switch {
		case name == aheadName:
			ahead = true
		case strings.HasSuffix(name, tempSuffix):
			litter = append(litter, name)
		case ok && len(digits) == 20 && perr == nil && first > 0 && "."+suffix == rawSuffix:
			segs = append(segs, segment{first: first})
		case ok && len(digits) == 20 && perr == nil && first > 0 && "."+suffix == packedSuffix:
			segs = append(segs, segment{first: first, packed: true})
		default:
			return nil, false, nil, fmt.Errorf("journal: %q does not belong here", name)
		}
	}
	slices.SortFunc(segs, func(a, b segment) int {
		switch {
		case a.first != b.first && a.first < b.first, a.first == b.first && !a.packed:
			return -1
		}
		return 1
	})
	for i := 1; i < len(segs); i++ {
		if segs[i].first == segs[i-1].first { // compression was interrupted before it removed the original
			litter = append(litter, segs[i].name())
			segs = slices.Delete(segs, i, i+1)
			i--
		}
	}
	return segs, ahead, litter, nil
}

// allocate makes the file name, size octets of zeros, durable. The zeros are really written: a first write into merely
// reserved space would have to change the file system's metadata in every sync.
func allocate(fsys FS, name string, size int64) (err error) {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			err = errors.Join(err, ignoreMissing(fsys.Remove(name)))
		}
	}()
	if err := f.Allocate(size); err != nil {
		return err
	}
	const step = 4 << 20 // small syncs in between keep those of the running journal short
	zeros := make([]byte, min(step, size))
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return fsys.SyncDir(filepath.Dir(name))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
