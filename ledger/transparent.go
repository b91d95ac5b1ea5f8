package ledger

import "fmt"

// MaxReceipts is the most receipts a transparent statement may carry.
const MaxReceipts = 16

// MaxTransparentSize is the largest transparent statement in octets.
const MaxTransparentSize = MaxStatementSize + MaxReceipts*(MaxReceiptSize+3) + 16

// AttachReceipts returns the transparent statement (RFC 9943) made of a statement and 1 to 16 receipts: the same
// COSE_Sign1 with the receipts as byte strings under label 394 of the unprotected header. Every receipt must parse and
// have the statement's subject; nothing is verified.
func AttachReceipts(statement []byte, receipts ...[]byte) ([]byte, error) {
	s, err := ParseStatement(statement)
	if err != nil {
		return nil, err
	}
	if len(receipts) == 0 || len(receipts) > MaxReceipts {
		return nil, fmt.Errorf("ledger: transparent statement with %d receipts", len(receipts))
	}
	size := len(statement) + 16
	for _, raw := range receipts {
		r, err := ParseReceipt(raw)
		if err != nil {
			return nil, err
		}
		if r.Subject != s.Subject {
			return nil, fmt.Errorf("ledger: receipt for subject %.200q on a statement about %.200q", r.Subject, s.Subject)
		}
		size += len(raw) + 3
	}
	b := make([]byte, 0, size)
	b = appendItemHead(b, cborTag, sign1Tag)
	b = appendItemHead(b, cborArray, 4)
	b = appendBytes(b, s.protected)
	b = appendInt(appendItemHead(b, cborMap, 1), coseReceipts)
	b = appendItemHead(b, cborArray, uint64(len(receipts)))
	for _, raw := range receipts {
		b = appendBytes(b, raw)
	}
	b = appendBytes(b, s.Digest[:])
	return appendBytes(b, s.signature), nil
}

// DetachReceipts takes a transparent statement apart: the logged statement, byte for byte, and its receipts, at least
// one. A receipt may be a byte string (RFC 9942) or stand there itself (RFC 9943); anything else in the unprotected
// header is refused. The receipts alias transparent. Nothing is verified.
func DetachReceipts(transparent []byte) (statement []byte, receipts [][]byte, err error) {
	if len(transparent) > MaxTransparentSize {
		return nil, nil, fmt.Errorf("ledger: transparent statement of %d octets: %w", len(transparent), ErrTooLarge)
	}
	r := cborReader{rest: transparent}
	protected := r.sign1(MaxStatementSize)
	r.container(cborMap, 1)
	r.label(coseReceipts)
	n := r.array(MaxReceipts)
	if r.err == nil && n == 0 {
		r.fail("no receipts")
	}
	for range n {
		if r.major() == cborBytes {
			receipts = append(receipts, r.bytes(MaxReceiptSize))
		} else {
			receipts = append(receipts, r.receipt(vdpInclusion).raw)
		}
	}
	digest := r.hash()
	signature := r.signature()
	if err := r.end(); err != nil {
		return nil, nil, fmt.Errorf("ledger: transparent statement: %w", err)
	}
	for _, raw := range receipts {
		if _, err := ParseReceipt(raw); err != nil {
			return nil, nil, fmt.Errorf("ledger: transparent statement: %w", err)
		}
	}
	statement = appendStatement(make([]byte, 0, len(protected)+112), protected, digest, signature)
	if _, err := ParseStatement(statement); err != nil {
		return nil, nil, fmt.Errorf("ledger: transparent statement: %w", err)
	}
	return statement, receipts, nil
}
