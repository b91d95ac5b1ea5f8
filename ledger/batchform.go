package ledger

import (
	"fmt"
	"math"
)

// Media types of a batch of statements and of what became of them.
const (
	ContentTypeStatements    = "application/mas-statements+cbor"
	ContentTypeRegistrations = "application/mas-registrations+cbor"
)

// Limits of a batch of statements.
const (
	MaxStatements    = 256
	MaxStatementsLen = 1 << 20 // octets of its encoding
)

const maxStatusText = 64

// A Registration is what became of one statement of a batch.
type Registration struct {
	Status  uint64 // as of HTTP, for the statement alone: 201, 200, 303, 400, …
	Outcome string // 1 to 64 octets: "registered", "repeated", …
	Entry   Hash   // leaf hash of the entry; zero if there is none
	Index   uint64 // of the entry; meaningful only with Status 200 and 201
}

// MarshalStatements returns a batch of 1 to 256 statements, [+ bstr], each as it would be submitted alone.
func MarshalStatements(statements [][]byte) ([]byte, error) {
	if len(statements) == 0 || len(statements) > MaxStatements {
		return nil, fmt.Errorf("ledger: batch of %d statements: %w", len(statements), ErrTooLarge)
	}
	b := appendItemHead(nil, cborArray, uint64(len(statements)))
	for _, s := range statements {
		b = appendBytes(b, s)
	}
	if len(b) > MaxStatementsLen {
		return nil, fmt.Errorf("ledger: batch of %d octets: %w", len(b), ErrTooLarge)
	}
	return b, nil
}

// ParseStatements is the inverse of MarshalStatements. The statements themselves are not looked at; they alias data.
func ParseStatements(data []byte) ([][]byte, error) {
	if len(data) > MaxStatementsLen {
		return nil, fmt.Errorf("ledger: batch of %d octets: %w", len(data), ErrTooLarge)
	}
	r := cborReader{rest: data}
	var statements [][]byte
	n := r.array(MaxStatements)
	if r.err == nil && n == 0 {
		r.fail("empty batch")
	}
	for range n {
		statements = append(statements, r.bytes(MaxReceivedSize))
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("ledger: batch: %w", err)
	}
	return statements, nil
}

// MarshalRegistrations returns [+ [status: uint, outcome: text, entry: bstr .size 32 / nil, index: uint / nil]] in the
// order of the batch.
func MarshalRegistrations(all []Registration) ([]byte, error) {
	if len(all) == 0 || len(all) > MaxStatements {
		return nil, fmt.Errorf("ledger: %d registrations: %w", len(all), ErrTooLarge)
	}
	b := appendItemHead(nil, cborArray, uint64(len(all)))
	for i := range all {
		x := &all[i]
		if err := checkText(x.Outcome, maxStatusText); err != nil {
			return nil, fmt.Errorf("ledger: registration: %w", err)
		}
		b = appendItemHead(b, cborArray, 4)
		b = appendItemHead(b, cborUint, x.Status)
		b = appendText(b, x.Outcome)
		if x.Entry == (Hash{}) {
			b = append(b, cborNull)
		} else {
			b = appendBytes(b, x.Entry[:])
		}
		if x.placed() {
			b = appendItemHead(b, cborUint, x.Index)
		} else {
			b = append(b, cborNull)
		}
	}
	return b, nil
}

// placed reports whether x says where its entry stands.
func (x *Registration) placed() bool { return x.Status == 200 || x.Status == 201 }

// ParseRegistrations is the strict inverse of MarshalRegistrations.
func ParseRegistrations(data []byte) ([]Registration, error) {
	r := cborReader{rest: data}
	n := r.array(MaxStatements)
	if r.err == nil && n == 0 {
		r.fail("no registrations")
	}
	var all []Registration
	for range n {
		var x Registration
		r.container(cborArray, 4)
		x.Status = r.uint(599)
		x.Outcome = r.text(maxStatusText)
		if r.major() == cborSimple {
			r.literal(cborNull)
		} else if x.Entry = r.hash(); r.err == nil && x.Entry == (Hash{}) {
			r.fail("entry of zeros")
		}
		if x.placed() {
			x.Index = r.uint(math.MaxInt64)
		} else {
			r.literal(cborNull)
		}
		all = append(all, x)
		if r.err != nil {
			break
		}
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("ledger: registrations: %w", err)
	}
	return all, nil
}
