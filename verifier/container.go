package verifier

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// Limits of a bundle container. They bound what a reader allocates before it has checked anything.
const (
	MaxContainerBytes = 256 << 20 // of the whole container
	MaxFileBytes      = 16 << 20  // of one file
	MaxFiles          = 65_534    // so that the 16-bit counts of the format suffice
	maxPathBytes      = 200
)

// ErrContainer reports octets that are not a container as Pack writes it.
var ErrContainer = errors.New("verifier: not a canonical evidence container")

// A File is one member of a container: a slash-separated relative path and its octets.
type File struct {
	Path string
	Data []byte
}

// The ZIP structures used: APPNOTE.TXT 4.3.7, 4.3.12 and 4.3.16. Everything that ZIP leaves open has one value here:
// method "stored", no flags, no extra fields, no comments, no attributes, 1980-01-01 00:00:00, members in ascending
// path order, nothing before, between or after. The same files therefore always give the same octets.
const (
	localHeaderLen   = 30
	centralHeaderLen = 46
	endLen           = 22
	localMagic       = 0x04034b50
	centralMagic     = 0x02014b50
	endMagic         = 0x06054b50
	zipVersion       = 10
	zipDate          = 0x0021 // 1980-01-01
)

// Pack writes files, which must be in strictly ascending path order, as a deterministic ZIP.
func Pack(files []File) ([]byte, error) {
	if len(files) > MaxFiles {
		return nil, fmt.Errorf("%w: %d files", ErrContainer, len(files))
	}
	total := endLen
	seen := make(map[string]bool, len(files))
	for i, f := range files {
		if err := checkMember(f.Path, len(f.Data), seen); err != nil {
			return nil, err
		}
		if i > 0 && files[i-1].Path >= f.Path {
			return nil, fmt.Errorf("%w: path order at %q", ErrContainer, f.Path)
		}
		total += localHeaderLen + centralHeaderLen + 2*len(f.Path) + len(f.Data)
	}
	if total > MaxContainerBytes {
		return nil, fmt.Errorf("%w: %d octets", ErrContainer, total)
	}
	out := make([]byte, 0, total)
	members := make([]member, 0, len(files))
	for _, f := range files {
		m := member{f.Path, crc32.ChecksumIEEE(f.Data), uint32(len(f.Data)), uint32(len(out))}
		out = m.appendLocal(out)
		out = append(out, f.Data...)
		members = append(members, m)
	}
	return append(out, directory(len(out), members)...), nil
}

// Unpack reads a container and refuses every octet sequence that Pack would not have written: compressed, encrypted or
// commented members, extra fields, other orders, double names, paths that leave the directory, data around the members,
// a directory that tells another story than the members. The returned Data are parts of data.
func Unpack(data []byte) ([]File, error) {
	if len(data) > MaxContainerBytes {
		return nil, fmt.Errorf("%w: larger than %d octets", ErrContainer, MaxContainerBytes)
	}
	var (
		files   []File
		members []member
		header  []byte
		seen    = map[string]bool{}
		at      = 0
	)
	for len(data)-at >= localHeaderLen && binary.LittleEndian.Uint32(data[at:]) == localMagic {
		h := data[at : at+localHeaderLen]
		size := binary.LittleEndian.Uint32(h[22:])
		nameLen := int(binary.LittleEndian.Uint16(h[26:]))
		rest := len(data) - at - localHeaderLen
		if nameLen > rest || uint64(size) > uint64(rest-nameLen) {
			return nil, fmt.Errorf("%w: member %d is cut short", ErrContainer, len(files))
		}
		path := string(data[at+localHeaderLen : at+localHeaderLen+nameLen])
		if err := checkMember(path, int(size), seen); err != nil {
			return nil, err
		}
		if n := len(files); n >= MaxFiles || n > 0 && files[n-1].Path >= path {
			return nil, fmt.Errorf("%w: path order at %q", ErrContainer, path)
		}
		body := data[at+localHeaderLen+nameLen:][:size:size]
		m := member{path, crc32.ChecksumIEEE(body), size, uint32(at)}
		if header = m.appendLocal(header[:0]); string(header) != string(data[at:at+localHeaderLen+nameLen]) {
			return nil, fmt.Errorf("%w: header or checksum of %q", ErrContainer, path)
		}
		files = append(files, File{path, body})
		members = append(members, m)
		at += localHeaderLen + nameLen + int(size)
	}
	if string(directory(at, members)) != string(data[at:]) {
		return nil, fmt.Errorf("%w: directory", ErrContainer)
	}
	return files, nil
}

// A member is what the headers of one file say.
type member struct {
	path   string
	crc    uint32
	size   uint32
	offset uint32
}

func (m member) appendLocal(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, localMagic)
	b = m.appendCommon(b)
	return append(b, m.path...)
}

func (m member) appendCentral(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, centralMagic)
	b = binary.LittleEndian.AppendUint16(b, zipVersion) // made by
	b = m.appendCommon(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // comment length, disk, internal and external attributes
	b = binary.LittleEndian.AppendUint32(b, m.offset)
	return append(b, m.path...)
}

// appendCommon appends the 26 octets that local and central headers share, from "version needed" to "extra length".
func (m member) appendCommon(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, zipVersion)
	b = append(b, 0, 0, 0, 0, 0, 0) // flags, method, time
	b = binary.LittleEndian.AppendUint16(b, zipDate)
	b = binary.LittleEndian.AppendUint32(b, m.crc)
	b = binary.LittleEndian.AppendUint32(b, m.size)
	b = binary.LittleEndian.AppendUint32(b, m.size)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(m.path)))
	return append(b, 0, 0)
}

// directory is what follows the members, which end at start.
func directory(start int, members []member) []byte {
	var b []byte
	for _, m := range members {
		b = m.appendCentral(b)
	}
	size := len(b)
	b = binary.LittleEndian.AppendUint32(b, endMagic)
	b = append(b, 0, 0, 0, 0) // disks
	b = binary.LittleEndian.AppendUint16(b, uint16(len(members)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(members)))
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	b = binary.LittleEndian.AppendUint32(b, uint32(start))
	return append(b, 0, 0)
}

// checkMember accepts relative paths of letters, digits, '.', '_' and '-' whose segments start with a letter or digit,
// and refuses a path that a file system without case would confuse with an earlier one.
func checkMember(path string, size int, seen map[string]bool) error {
	if len(path) == 0 || len(path) > maxPathBytes {
		return fmt.Errorf("%w: path of %d octets", ErrContainer, len(path))
	}
	start := true
	for _, c := range []byte(path) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		switch {
		case letter:
			start = false
		case start || c != '.' && c != '_' && c != '-' && c != '/':
			return fmt.Errorf("%w: path %q", ErrContainer, path)
		case c == '/':
			start = true
		}
	}
	fold := strings.ToLower(path)
	if start || seen[fold] {
		return fmt.Errorf("%w: path %q", ErrContainer, path)
	}
	seen[fold] = true
	if size > MaxFileBytes {
		return fmt.Errorf("%w: %q has %d octets", ErrContainer, path, size)
	}
	return nil
}
