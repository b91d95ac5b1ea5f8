package witness

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/durable"
)

// A journal is a small append-only file of text records that are durable when append returns. Its frames are
//
//	length of the record (4 octets, big-endian) | CRC-32C of the record (4 octets) | record
//
// and a record is a line that names its kind, and a text, which ends with a line feed. A crash can leave the last
// frame unfinished: it runs past the end of the file, or a part of it between two multiples of 512 is still zeros,
// which no record contains. Such a frame was never acknowledged and is cut off. Any other frame that does not check is
// damage and is refused: a record that is lost may be the one that forbids the next signature.
type journal struct {
	path  string
	file  *os.File
	size  int64
	step  durable.Step
	limit int64 // octets after which it is written anew
	bad   error // a failed append leaves the end of the file unknown: nothing more is written until it is opened again
}

// ErrJournal is wrapped by the refusal of a journal that was damaged.
var ErrJournal = errors.New("witness: damaged journal")

const (
	frameHead    = 8
	sector       = 512
	maxRecord    = 2*ledger.MaxNoteSize + 4096
	journalLimit = 4 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	stepCompact = durable.Register("witness.compact", "the journal of a witness or of cosignatures was written anew")
	stepCut     = durable.Register("witness.cut", "the unfinished last frame of a journal is gone")
)

// A record is one text of a kind.
type record struct{ kind, text string }

func (r record) frame() []byte {
	body := r.kind + "\n" + r.text
	b := make([]byte, frameHead, frameHead+len(body))
	binary.BigEndian.PutUint32(b, uint32(len(body)))
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum([]byte(body), castagnoli))
	return append(b, body...)
}

// openJournal opens or makes a journal and hands its records to replay, oldest first.
func openJournal(path string, step durable.Step, replay func(record) error) (*journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{path: path, file: f, step: step, limit: journalLimit}
	if err := j.load(replay); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return j, nil
}

func (j *journal) load(replay func(record) error) error {
	if err := syncDir(filepath.Dir(j.path)); err != nil { // the file may be new
		return err
	}
	data, err := io.ReadAll(j.file)
	if err != nil {
		return err
	}
	for int(j.size) < len(data) {
		r, n, err := parseFrame(data, int(j.size))
		if errors.Is(err, errTorn) {
			break
		}
		if err == nil {
			err = replay(r)
		}
		if err != nil {
			return fmt.Errorf("%w: %s at octet %d: %w", ErrJournal, filepath.Base(j.path), j.size, err)
		}
		j.size += int64(n)
	}
	if int(j.size) == len(data) {
		return nil
	}
	return stepCut.Do(func() error { return errors.Join(j.file.Truncate(j.size), j.file.Sync()) })
}

var errTorn = errors.New("unfinished frame")

// parseFrame reads the frame at an offset and returns its length. The error is errTorn if it is the unfinished last
// one.
func parseFrame(data []byte, at int) (record, int, error) {
	r, n, err := readFrame(data, at)
	if err == nil || !unfinished(data, at) {
		return r, n, err
	}
	return record{}, 0, errTorn
}

func readFrame(data []byte, at int) (record, int, error) {
	rest := data[at:]
	if len(rest) < frameHead {
		return record{}, 0, errors.New("no room for a frame")
	}
	length := int(binary.BigEndian.Uint32(rest))
	if length == 0 || length > maxRecord || length > len(rest)-frameHead {
		return record{}, 0, fmt.Errorf("a record of %d octets", length)
	}
	body := rest[frameHead : frameHead+length]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(rest[4:]) {
		return record{}, 0, errors.New("checksum")
	}
	kind, text, ok := bytes.Cut(body, []byte("\n"))
	if !ok || len(text) == 0 || text[len(text)-1] != '\n' {
		return record{}, 0, errors.New("not a record")
	}
	return record{string(kind), string(text)}, frameHead + length, nil
}

// unfinished reports whether the bad frame at an offset can be what a crash left of the last one.
func unfinished(data []byte, at int) bool {
	rest := data[at:]
	if len(rest) < frameHead {
		return true
	}
	length := int(binary.BigEndian.Uint32(rest))
	end := at + frameHead + length
	switch {
	case length > maxRecord:
		return false // nobody wrote such a frame
	case crc32.Checksum(rest[frameHead:], castagnoli) == binary.BigEndian.Uint32(rest[4:]) && len(rest) > frameHead:
		return false // complete, only its length is wrong
	case end <= len(data) && !hasZeros(data, at, len(data)):
		return false // complete, but wrong
	}
	for next := at + 1; next < len(data); next++ {
		if _, _, err := readFrame(data, next); err == nil {
			return false // others were acknowledged after it
		}
	}
	return true
}

// hasZeros reports whether a part of data[from:to] that lies between multiples of 512 is all zeros.
func hasZeros(data []byte, from, to int) bool {
	for from < to {
		next := min(to, (from/sector+1)*sector)
		if len(bytes.Trim(data[from:next], "\x00")) == 0 {
			return true
		}
		from = next
	}
	return false
}

// append makes r durable.
func (j *journal) append(r record) error {
	if j.bad != nil {
		return j.bad
	}
	b := r.frame()
	err := j.step.Do(func() error {
		if _, err := j.file.WriteAt(b, j.size); err != nil {
			return err
		}
		return j.file.Sync()
	})
	if err != nil {
		j.bad = fmt.Errorf("witness: the journal takes no records until a restart: %w", err)
		return j.bad
	}
	j.size += int64(len(b))
	return nil
}

// full reports whether the journal should be written anew.
func (j *journal) full() bool { return j.size > j.limit }

// compact replaces the journal by one with these records.
func (j *journal) compact(keep []record) error {
	if j.bad != nil {
		return j.bad
	}
	var b []byte
	for _, r := range keep {
		b = append(b, r.frame()...)
	}
	temporary := j.path + ".new"
	f, err := os.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = stepCompact.Do(func() error {
		if _, err := f.Write(b); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if err := os.Rename(temporary, j.path); err != nil {
			return err
		}
		return syncDir(filepath.Dir(j.path))
	})
	if err != nil { // either file may be the journal now: appending to the old one could lose what it acknowledges
		j.bad = fmt.Errorf("witness: the journal takes no records until a restart: %w", err)
		return errors.Join(j.bad, f.Close())
	}
	old := j.file
	j.file, j.size = f, int64(len(b))
	return old.Close()
}

func (j *journal) close() error { return j.file.Close() }

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
