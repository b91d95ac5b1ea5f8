package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
)

// The unit of writing is a sector: disks write 512 octets or nothing of them. A frame starts at a sector boundary and
// owns its sectors, so no write ever touches a sector that holds an acknowledged frame. Every written sector begins
// with a mark, so a written sector is never all zeros, and nothing inside a payload can pass for the start of a frame.
//
//	first sector:  mark 0xF5, "frm", length4, seq8, prev32, crc32c of the payload4, crc32c of these 52 octets4, payload
//	other sectors: mark 0x5F, payload
//
// Integers are big-endian. What remains of the last sector is zeros.
const (
	sectorSize = 512
	markHead   = 0xF5
	markBody   = 0x5F

	headSize    = 56
	headPayload = sectorSize - headSize
	bodyPayload = sectorSize - 1

	// scratchBits is how many bits may be set in a sector that still counts as never written: less than a mark has, so
	// that scattered damage in free space is not taken for a frame, nor a frame for free space.
	scratchBits = 4
)

var headMagic = [4]byte{markHead, 'f', 'r', 'm'}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Hash is the SHA-256 that chains frames.
type Hash = [32]byte

// A Frame is one record of the journal.
type Frame struct {
	Seq     uint64 // 1 for the first, +1 with each
	Hash    Hash   // SHA-256 over prev, seq, length and payload
	Payload []byte
}

// chainHash links a frame to the one before it.
func chainHash(prev Hash, seq uint64, payload []byte) Hash {
	h := sha256.New()
	var fixed [12]byte
	binary.BigEndian.PutUint64(fixed[:], seq)
	binary.BigEndian.PutUint32(fixed[8:], uint32(len(payload)))
	h.Write(prev[:])
	h.Write(fixed[:])
	h.Write(payload)
	var sum Hash
	h.Sum(sum[:0])
	return sum
}

// frameSectors is the number of sectors of a frame with n octets of payload.
func frameSectors(n int) int64 {
	if n <= headPayload {
		return 1
	}
	return 1 + (int64(n)-headPayload+bodyPayload-1)/bodyPayload
}

// appendFrame appends the sectors of a frame to dst.
func appendFrame(dst []byte, seq uint64, prev Hash, payload []byte) []byte {
	start := len(dst)
	dst = append(dst, headMagic[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.BigEndian.AppendUint64(dst, seq)
	dst = append(dst, prev[:]...)
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(payload, castagnoli))
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
	n := min(len(payload), headPayload)
	dst = append(dst, payload[:n]...)
	for payload = payload[n:]; len(payload) > 0; payload = payload[n:] {
		n = min(len(payload), bodyPayload)
		dst = append(append(dst, markBody), payload[:n]...)
	}
	if rest := (len(dst) - start) % sectorSize; rest != 0 {
		dst = append(dst, make([]byte, sectorSize-rest)...)
	}
	return dst
}

// head is the decoded start of a frame.
type head struct {
	length int
	seq    uint64
	prev   Hash
	crc    uint32
}

// parseHead reads the first sector of a frame. Its own checksum covers everything it returns.
func parseHead(sector []byte) (head, error) {
	if [4]byte(sector) != headMagic {
		return head{}, errors.New("no frame starts here")
	}
	if crc32.Checksum(sector[:headSize-4], castagnoli) != binary.BigEndian.Uint32(sector[headSize-4:]) {
		return head{}, errors.New("checksum of the frame head fails")
	}
	return head{
		length: int(binary.BigEndian.Uint32(sector[4:])),
		seq:    binary.BigEndian.Uint64(sector[8:]),
		prev:   Hash(sector[16:48]),
		crc:    binary.BigEndian.Uint32(sector[48:]),
	}, nil
}

// errEnd: the reader stands at a sector that was never written, or at the end of its input.
var errEnd = errors.New("journal: end of frames")

// A badFrame is what a frameReader found in place of the frame it expected.
type badFrame struct{ reason string }

func (e *badFrame) Error() string { return e.reason }

// A frameReader decodes consecutive frames. It never allocates more than the limit.
type frameReader struct {
	r      io.Reader // at a sector boundary
	limit  int       // largest payload
	seq    uint64    // of the last frame read
	hash   Hash      // of the last frame read
	off    int64     // behind the last frame read, from where r started
	sector [sectorSize]byte
}

// next reads the frame that follows the last one, or returns errEnd or a *badFrame; then the reader is spent.
func (d *frameReader) next() (Frame, error) {
	if _, err := io.ReadFull(d.r, d.sector[:]); err == io.EOF {
		return Frame{}, errEnd
	} else if err != nil {
		return Frame{}, shortRead(err)
	}
	if isBlank(d.sector[:]) {
		return Frame{}, errEnd
	}
	h, err := parseHead(d.sector[:])
	switch {
	case err != nil:
		return Frame{}, &badFrame{err.Error()}
	case h.seq != d.seq+1:
		return Frame{}, &badFrame{fmt.Sprintf("frame %d stands in the place of frame %d", h.seq, d.seq+1)}
	case h.prev != d.hash:
		return Frame{}, &badFrame{"the hash chain is broken"}
	case h.length > d.limit:
		return Frame{}, &badFrame{"the frame is longer than a segment"}
	}
	payload, err := d.payload(h)
	if err != nil {
		return Frame{}, err
	}
	d.seq, d.hash = h.seq, chainHash(h.prev, h.seq, payload)
	d.off += frameSectors(h.length) * sectorSize
	return Frame{Seq: d.seq, Hash: d.hash, Payload: payload}, nil
}

func (d *frameReader) payload(h head) ([]byte, error) {
	payload := make([]byte, 0, h.length)
	payload = append(payload, d.sector[headSize:headSize+min(h.length, headPayload)]...)
	padding := d.sector[headSize+len(payload):]
	for len(payload) < h.length {
		if _, err := io.ReadFull(d.r, d.sector[:]); err != nil {
			return nil, shortRead(err)
		}
		if d.sector[0] != markBody {
			return nil, &badFrame{"a sector of the frame is missing"}
		}
		n := min(h.length-len(payload), bodyPayload)
		payload = append(payload, d.sector[1:1+n]...)
		padding = d.sector[1+n:]
	}
	if crc32.Checksum(payload, castagnoli) != h.crc || !isZero(padding) {
		return nil, &badFrame{"checksum of the frame fails"}
	}
	return payload, nil
}

func shortRead(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &badFrame{"the segment ends inside a frame"}
	}
	return err
}

// isBlank reports whether a sector counts as never written.
func isBlank(sector []byte) bool {
	set := 0
	for ; len(sector) >= 8; sector = sector[8:] {
		if w := binary.LittleEndian.Uint64(sector); w != 0 {
			if set += bits.OnesCount64(w); set > scratchBits {
				return false
			}
		}
	}
	return true
}

func isZero(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
