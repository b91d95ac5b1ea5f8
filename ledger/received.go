package ledger

import (
	"errors"
	"fmt"
	"slices"
)

// Causes for which a statement is refused that callers tell apart.
var (
	// ErrAlgorithm: the algorithm is not one of ours.
	ErrAlgorithm = errors.New("ledger: algorithm is not allowed")
	// ErrNoPayload: the payload is nil; the digest must be in the statement.
	ErrNoPayload = errors.New("ledger: statement without payload")
)

// MaxReceivedSize is the most octets of a statement as somebody submits it, unprotected header included.
const MaxReceivedSize = MaxTransparentSize

const maxDepth = 8 // of what is skipped

// Canonical returns the bytes that enter the log for a Signed Statement as somebody submits it: the unprotected header
// is emptied (RFC 9943), everything else stays as it is, the protected header octet for octet. What the protected
// header must say may not stand in the unprotected one, where nothing signs it. ParseStatement accepts the result.
func Canonical(received []byte) ([]byte, error) {
	if len(received) > MaxReceivedSize {
		return nil, fmt.Errorf("ledger: statement of %d octets: %w", len(received), ErrTooLarge)
	}
	r := cborReader{rest: received}
	protected := r.sign1(MaxStatementSize)
	r.unprotected()
	digest := r.digest()
	signature := r.signature()
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("ledger: statement: %w", err)
	}
	statement := appendStatement(make([]byte, 0, len(protected)+112), protected, digest, signature)
	if _, err := ParseStatement(statement); err != nil {
		return nil, err
	}
	return statement, nil
}

// digest reads the payload of a statement.
func (r *cborReader) digest() Hash {
	if len(r.rest) > 0 && r.rest[0] == cborNull {
		r.refuse(ErrNoPayload)
	}
	return r.hash()
}

// unprotected reads over a header whose content does not count. It refuses what must be protected, and repeated labels.
func (r *cborReader) unprotected() {
	const most = 64
	var labels []string
	for range r.mapOf(most) {
		before := r.rest
		switch r.major() {
		case cborUint, cborNint:
			label := r.int()
			if label == 2 || label == 3 || label == 260 || slices.Contains(statementLabels[:], label) {
				r.fail("label %d is not protected", label)
			}
		case cborText:
			r.text(maxMediaType)
		default:
			r.fail("label of major type %d", r.major())
		}
		label := string(before[:len(before)-len(r.rest)])
		if r.err == nil && slices.Contains(labels, label) {
			r.fail("label repeated")
		}
		labels = append(labels, label)
		r.skip(maxDepth)
	}
}

// skip reads over one item of at most the given depth: definite lengths, shortest heads.
func (r *cborReader) skip(depth int) {
	if depth == 0 {
		r.fail("nested too deeply")
		return
	}
	switch major := r.major(); major {
	case cborUint, cborNint:
		r.head(major, ^uint64(0))
	case cborBytes, cborText:
		r.take(r.head(major, MaxReceivedSize))
	case cborArray:
		for n := r.head(major, MaxReceivedSize); n > 0 && r.err == nil; n-- {
			r.skip(depth - 1)
		}
	case cborMap:
		for n := r.head(major, MaxReceivedSize); n > 0 && r.err == nil; n-- {
			r.skip(depth - 1)
			r.skip(depth - 1)
		}
	case cborTag:
		r.head(major, ^uint64(0))
		r.skip(depth - 1)
	case cborSimple:
		r.simple()
	default:
		r.fail("an item is missing")
	}
}

// simple reads over a simple value or a floating-point number.
func (r *cborReader) simple() {
	info := r.rest[0] & 0x1f
	switch r.rest = r.rest[1:]; {
	case info < 24:
	case info == 24:
		if v := r.take(1); r.err == nil && v[0] < 32 {
			r.fail("simple value is not in shortest form")
		}
	case info <= 27:
		r.take(1 << (info - 24))
	default:
		r.fail("indefinite length")
	}
}
