package ledger

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// The subset of CBOR that COSE messages of this package use, in the one encoding that RFC 8949 4.2.1 allows: shortest
// heads, definite lengths, map keys in bytewise order (the callers read and write them in that order).

// CBOR major types.
const (
	cborUint   byte = 0
	cborNint   byte = 1
	cborBytes  byte = 2
	cborText   byte = 3
	cborArray  byte = 4
	cborMap    byte = 5
	cborTag    byte = 6
	cborSimple byte = 7
)

const cborNull byte = 0xf6

// appendItemHead writes a major type and its argument in the shortest form.
func appendItemHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return append(b, major|25, byte(n>>8), byte(n))
	case n < 1<<32:
		return append(b, major|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, major|27, byte(n>>56), byte(n>>48), byte(n>>40), byte(n>>32),
		byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func appendInt(b []byte, v int64) []byte {
	if v < 0 {
		return appendItemHead(b, cborNint, ^uint64(v))
	}
	return appendItemHead(b, cborUint, uint64(v))
}

func appendBytes(b, v []byte) []byte {
	return append(appendItemHead(b, cborBytes, uint64(len(v))), v...)
}

func appendText(b []byte, v string) []byte {
	return append(appendItemHead(b, cborText, uint64(len(v))), v...)
}

// errCBOR is the cause of every refusal of a cborReader.
var errCBOR = errors.New("not the expected deterministic CBOR")

// A cborReader takes items off the front of rest. After the first error it yields zero values and keeps the error.
type cborReader struct {
	rest []byte
	err  error
}

func (r *cborReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errCBOR, fmt.Sprintf(format, args...))
	}
	r.rest = nil
}

// refuse keeps an error that callers tell apart.
func (r *cborReader) refuse(err error) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %w", errCBOR, err)
	}
	r.rest = nil
}

// major returns the major type of the next item, or 0xff at the end.
func (r *cborReader) major() byte {
	if len(r.rest) == 0 {
		return 0xff
	}
	return r.rest[0] >> 5
}

// head reads an item head of the given major type; the argument must be at most limit and in shortest form.
func (r *cborReader) head(major byte, limit uint64) uint64 {
	if r.major() != major {
		r.fail("major type %d, want %d", r.major(), major)
		return 0
	}
	info := r.rest[0] & 0x1f
	r.rest = r.rest[1:]
	n := uint64(info)
	if info >= 24 {
		size := 1 << (info - 24)
		if info > 27 || len(r.rest) < size {
			r.fail("item head")
			return 0
		}
		n = 0
		for _, c := range r.rest[:size] {
			n = n<<8 | uint64(c)
		}
		r.rest = r.rest[size:]
		if size == 1 && n < 24 || size > 1 && n>>(8*size/2) == 0 {
			r.fail("item head is not in shortest form")
			return 0
		}
	}
	if n > limit {
		r.fail("%d exceeds %d", n, limit)
		return 0
	}
	return n
}

// literal reads one octet that must be c.
func (r *cborReader) literal(c byte) {
	if len(r.rest) == 0 || r.rest[0] != c {
		r.fail("octet 0x%02x expected", c)
		return
	}
	r.rest = r.rest[1:]
}

// uint reads an unsigned integer of at most limit.
func (r *cborReader) uint(limit uint64) uint64 { return r.head(cborUint, limit) }

// int reads an integer.
func (r *cborReader) int() int64 {
	const limit = 1<<63 - 1
	if r.major() == cborNint {
		return ^int64(r.head(cborNint, limit))
	}
	return int64(r.head(cborUint, limit))
}

// label reads an integer that must be v: a map key, or a parameter with one permitted value.
func (r *cborReader) label(v int64) {
	if got := r.int(); r.err == nil && got != v {
		r.fail("label %d, want %d", got, v)
	}
}

// bytes reads a byte string of at most limit octets. The result aliases the input.
func (r *cborReader) bytes(limit int) []byte { return r.take(r.head(cborBytes, uint64(limit))) }

// hash reads a byte string of exactly 32 octets.
func (r *cborReader) hash() Hash {
	b := r.bytes(HashSize)
	if len(b) != HashSize {
		r.fail("hash of %d octets", len(b))
		return Hash{}
	}
	return Hash(b)
}

// text reads a text string of 1 to limit octets, valid UTF-8 without control characters.
func (r *cborReader) text(limit int) string {
	b := r.take(r.head(cborText, uint64(limit)))
	if r.err != nil {
		return ""
	}
	s := string(b)
	if err := checkText(s, limit); err != nil {
		r.fail("%v", err)
		return ""
	}
	return s
}

// array and mapOf read the head of a container and return its number of items or pairs.
func (r *cborReader) array(limit int) int { return int(r.head(cborArray, uint64(limit))) }
func (r *cborReader) mapOf(limit int) int { return int(r.head(cborMap, uint64(limit))) }

// container reads the head of an array or map that must have exactly n items or pairs.
func (r *cborReader) container(major byte, n int) {
	if got := r.head(major, uint64(n)); r.err == nil && got != uint64(n) {
		r.fail("%d items, want %d", got, n)
	}
}

func (r *cborReader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.fail("string of %d octets in %d", n, len(r.rest))
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// end returns the first error; octets that are left are one.
func (r *cborReader) end() error {
	if r.err == nil && len(r.rest) > 0 {
		r.fail("%d octets after the end", len(r.rest))
	}
	return r.err
}

// checkText accepts 1 to limit octets of UTF-8 without ASCII control characters.
func checkText(s string, limit int) error {
	switch {
	case s == "":
		return errors.New("empty text")
	case len(s) > limit:
		return fmt.Errorf("text of %d octets exceeds %d", len(s), limit)
	case !utf8.ValidString(s):
		return errors.New("text is not UTF-8")
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return errors.New("control character in text")
		}
	}
	return nil
}
