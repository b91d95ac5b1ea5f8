package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// The keyspace of a Store. Every key starts with one prefix octet; integers are big-endian, so byte order is index
// order.
//
//	e index8                entry bytes
//	d dedup16               index8 of the entry with that DedupKey
//	l leaf16                index8 of the entry with that leaf hash
//	f subject16 index8      the feed of a subject, in index order: a FeedMark for each row the entry justifies
//	t level1 index8         full tile, 8192 octets
//	c first8                commit row: count, registration time, group number
//	r key                   row: version, justification, value
//	h key                   row hash, see RowHash
//	b digest32              sealed body
//	m "head"                head and checkpoint
//
// dedup16 and leaf16 are the first 16 octets of the hash and subject16 those of the subject's SHA-256: whoever finds
// such a key compares the full value in the entry it leads to. Partial tiles are never stored; Edge holds them.
// Everything here is derived from the batches of the commit point and can be rebuilt from them.
const (
	PrefixEntry   byte = 'e'
	PrefixDedup   byte = 'd'
	PrefixLeaf    byte = 'l'
	PrefixFeed    byte = 'f'
	PrefixTile    byte = 't'
	PrefixCommit  byte = 'c'
	PrefixRow     byte = 'r'
	PrefixRowHash byte = 'h'
	PrefixBody    byte = 'b'
	PrefixMeta    byte = 'm'
)

// Limits of a row, see Record.
const (
	MaxRowKey   = 1024
	MaxRowValue = 1 << 20
)

const truncated = 16 // octets of a hash in an index key

// EntryKey is the key of the entry at index.
func EntryKey(index uint64) []byte { return indexKey(PrefixEntry, index) }

// DedupKeyOf is the key that leads from a DedupKey to an index.
func DedupKeyOf(dedup Hash) []byte { return append([]byte{PrefixDedup}, dedup[:truncated]...) }

// LeafKey is the key that leads from a leaf hash to an index.
func LeafKey(leaf Hash) []byte { return append([]byte{PrefixLeaf}, leaf[:truncated]...) }

// FeedPrefix is the common prefix of the feed keys of subject.
func FeedPrefix(subject string) []byte {
	sum := sha256.Sum256([]byte(subject))
	return append([]byte{PrefixFeed}, sum[:truncated]...)
}

// FeedKey is the key that places the entry at index in the feed of subject.
func FeedKey(subject string, index uint64) []byte {
	return binary.BigEndian.AppendUint64(FeedPrefix(subject), index)
}

// ParseFeedKey returns the index in a key made by FeedKey.
func ParseFeedKey(key []byte) (uint64, error) {
	if len(key) != 1+truncated+8 || key[0] != PrefixFeed {
		return 0, fmt.Errorf("ledger: feed key of %d octets: %w", len(key), ErrIntegrity)
	}
	return binary.BigEndian.Uint64(key[1+truncated:]), nil
}

// FeedMarkSize is the size of a FeedMark in octets.
const FeedMarkSize = 8

// FeedMark is the mark that an entry's feed key carries for a row it justifies. A row is stale if an entry above the
// one that justifies it carries the row's mark in the same feed.
func FeedMark(key string) [FeedMarkSize]byte {
	sum := sha256.Sum256([]byte(key))
	return [FeedMarkSize]byte(sum[:])
}

// TileKey is the key of the full tile at level and index.
func TileKey(level int, index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{PrefixTile, byte(level)}, index)
}

// CommitKey is the key of the commit row of the group whose first entry is first.
func CommitKey(first uint64) []byte { return indexKey(PrefixCommit, first) }

// ParseCommitKey returns the first index in a key made by CommitKey.
func ParseCommitKey(key []byte) (uint64, error) {
	if len(key) != 9 || key[0] != PrefixCommit {
		return 0, fmt.Errorf("ledger: commit key of %d octets: %w", len(key), ErrIntegrity)
	}
	return binary.BigEndian.Uint64(key[1:]), nil
}

// RowKey is the key of a row.
func RowKey(key string) []byte { return append([]byte{PrefixRow}, key...) }

// RowHashKey is the key of the hash row beside a row.
func RowHashKey(key string) []byte { return append([]byte{PrefixRowHash}, key...) }

// BodyKey is the key of a sealed body.
func BodyKey(digest Hash) []byte { return append([]byte{PrefixBody}, digest[:]...) }

// HeadKey is the key of the head.
func HeadKey() []byte { return append([]byte{PrefixMeta}, headName...) }

const headName = "head"

func indexKey(prefix byte, index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, index)
}

// MarshalIndex encodes the value of a dedup or leaf key.
func MarshalIndex(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

// ParseIndex reads a value written by MarshalIndex.
func ParseIndex(value []byte) (uint64, error) {
	if len(value) != 8 {
		return 0, fmt.Errorf("ledger: index value of %d octets: %w", len(value), ErrIntegrity)
	}
	return binary.BigEndian.Uint64(value), nil
}

// A CommitRow says when a group of entries was registered.
type CommitRow struct {
	First uint64    // index of its first entry; in the key
	Count uint64    // entries of the group, at least 1
	At    time.Time // registration time, UTC, milliseconds
	Seq   uint64    // number of the group
}

// Marshal encodes the value of a commit row.
func (c CommitRow) Marshal() []byte {
	v := binary.BigEndian.AppendUint64(make([]byte, 0, 24), c.Count)
	v = binary.BigEndian.AppendUint64(v, uint64(c.At.UnixMilli()))
	return binary.BigEndian.AppendUint64(v, c.Seq)
}

// ParseCommitRow reads the value under CommitKey(first).
func ParseCommitRow(first uint64, value []byte) (CommitRow, error) {
	if len(value) != 24 {
		return CommitRow{}, fmt.Errorf("ledger: commit row of %d octets: %w", len(value), ErrIntegrity)
	}
	c := CommitRow{
		First: first,
		Count: binary.BigEndian.Uint64(value),
		At:    time.UnixMilli(int64(binary.BigEndian.Uint64(value[8:]))).UTC(),
		Seq:   binary.BigEndian.Uint64(value[16:]),
	}
	if c.Count == 0 {
		return CommitRow{}, fmt.Errorf("ledger: commit row without entries: %w", ErrIntegrity)
	}
	return c, nil
}

const rowHeader = 8 + 1 + 8 // version, justified, index

// MarshalRow encodes the value of a row: version, justification, value. The key is not part of it.
func MarshalRow(r Row) []byte {
	return append(appendRowHeader(make([]byte, 0, rowHeader+len(r.Value)), r), r.Value...)
}

func appendRowHeader(dst []byte, r Row) []byte {
	dst = binary.BigEndian.AppendUint64(dst, r.Version)
	if !r.Justified {
		return append(dst, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	return binary.BigEndian.AppendUint64(append(dst, 1), r.JustifiedBy)
}

// ParseRow reads the value under RowKey(key). The Row's Value aliases value.
func ParseRow(key string, value []byte) (Row, error) {
	if len(value) < rowHeader || len(value) > rowHeader+MaxRowValue {
		return Row{}, fmt.Errorf("ledger: row of %d octets: %w", len(value), ErrIntegrity)
	}
	r := Row{
		Key:         key,
		Version:     binary.BigEndian.Uint64(value),
		Justified:   value[8] == 1,
		JustifiedBy: binary.BigEndian.Uint64(value[9:]),
		Value:       value[rowHeader:],
	}
	if value[8] > 1 || !r.Justified && r.JustifiedBy != 0 || r.Version == 0 {
		return Row{}, fmt.Errorf("ledger: malformed row: %w", ErrIntegrity)
	}
	return r, nil
}

// RowHash is the value of a hash row: SHA-256 over a domain separator, the length of the key, the key and
// MarshalRow(r).
func RowHash(r Row) Hash {
	buf := make([]byte, 0, len(rowHashDomain)+2+len(r.Key)+rowHeader+len(r.Value))
	buf = append(buf, rowHashDomain...)
	buf = binary.BigEndian.AppendUint16(buf, uint16(len(r.Key)))
	buf = append(buf, r.Key...)
	buf = append(appendRowHeader(buf, r), r.Value...)
	return sha256.Sum256(buf)
}

const rowHashDomain = "mas ledger row v1\n"

const headSize = 8 + 8 + 32 + 8 + 8 // seq, size, root, epoch, at

func appendHead(dst []byte, h Head) []byte {
	dst = binary.BigEndian.AppendUint64(dst, h.Seq)
	dst = binary.BigEndian.AppendUint64(dst, h.Size)
	dst = append(dst, h.Root[:]...)
	dst = binary.BigEndian.AppendUint64(dst, h.Epoch)
	return binary.BigEndian.AppendUint64(dst, uint64(h.At.UnixMilli()))
}

func parseHead(b []byte) Head {
	return Head{
		Seq:   binary.BigEndian.Uint64(b),
		Size:  binary.BigEndian.Uint64(b[8:]),
		Root:  Hash(b[16:48]),
		Epoch: binary.BigEndian.Uint64(b[48:]),
		At:    time.UnixMilli(int64(binary.BigEndian.Uint64(b[56:]))).UTC(),
	}
}

// MarshalHead encodes the value under HeadKey: the head and the signed note for it.
func MarshalHead(h Head, checkpoint []byte) []byte {
	return append(appendHead(make([]byte, 0, headSize+len(checkpoint)), h), checkpoint...)
}

// ParseHead reads the value under HeadKey. The checkpoint aliases value.
func ParseHead(value []byte) (h Head, checkpoint []byte, err error) {
	if len(value) < headSize || len(value) > headSize+maxCheckpoint {
		return Head{}, nil, fmt.Errorf("ledger: head of %d octets: %w", len(value), ErrIntegrity)
	}
	return parseHead(value), value[headSize:], nil
}
