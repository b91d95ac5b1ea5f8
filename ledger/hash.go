package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// HashSize is the size of a Hash in octets.
const HashSize = sha256.Size

// A Hash is a SHA-256 value: a leaf, a node or a root of the tree, or the digest of an evidence body.
type Hash [HashSize]byte

// String returns lowercase hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// EmptyRoot is the root of the tree without entries, SHA-256 of the empty string (RFC 6962 2.1).
var EmptyRoot = Hash(sha256.Sum256(nil))

// HashLeaf returns SHA-256(0x00 || entry), the leaf hash of RFC 6962 2.1. It does not allocate.
func HashLeaf(entry []byte) Hash {
	h := sha256.New()
	h.Write(leafPrefix[:])
	h.Write(entry)
	var out Hash
	h.Sum(out[:0])
	return out
}

var leafPrefix = [1]byte{0x00}

// HashChildren returns SHA-256(0x01 || l || r), the node hash of RFC 6962 2.1. It does not allocate.
func HashChildren(l, r Hash) Hash {
	var buf [1 + 2*HashSize]byte
	buf[0] = 0x01
	copy(buf[1:], l[:])
	copy(buf[1+HashSize:], r[:])
	return sha256.Sum256(buf[:])
}

// hashPerfect returns the root of a perfect subtree; len(hashes) is a power of two between 1 and TileWidth.
func hashPerfect(hashes []Hash) Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	var buf [TileWidth / 2]Hash
	n := len(hashes) / 2
	for i := range n {
		buf[i] = HashChildren(hashes[2*i], hashes[2*i+1])
	}
	for n > 1 {
		n /= 2
		for i := range n {
			buf[i] = HashChildren(buf[2*i], buf[2*i+1])
		}
	}
	return buf[0]
}

// ErrEntryID is returned for a string that is not the lowercase hex of 32 octets.
var ErrEntryID = errors.New("ledger: malformed entry id")

// EntryID returns the permanent name of an entry: the lowercase hex of its leaf hash. It is known before the entry is
// sequenced.
func EntryID(leaf Hash) string { return leaf.String() }

// ParseEntryID returns the leaf hash that id names. It accepts lowercase hex only, so that one entry has one name.
func ParseEntryID(id string) (Hash, error) {
	var h Hash
	if len(id) != 2*HashSize {
		return Hash{}, fmt.Errorf("%w: %d characters", ErrEntryID, len(id))
	}
	for i := range h {
		hi, lo := hexDigit(id[2*i]), hexDigit(id[2*i+1])
		if hi < 0 || lo < 0 {
			return Hash{}, fmt.Errorf("%w: not lowercase hex", ErrEntryID)
		}
		h[i] = byte(hi<<4 | lo)
	}
	return h, nil
}

// hexDigit returns the value of a lowercase hexadecimal digit, or -1.
func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
