package ledger

import (
	"context"
	"crypto"
	"fmt"
)

// MaxReceiptSize is the largest receipt in octets.
const MaxReceiptSize = 20 << 10

// ReceiptClaims are what the log says in the protected header of a receipt.
type ReceiptClaims struct {
	Issuer   string // CWT iss: who runs the log
	Subject  string // CWT sub: that of the statement
	IssuedAt int64  // CWT iat: registration time in seconds since the epoch; required
	// FeedSeq, if present, is how many entries with this subject the log had registered before this one. It is CWT claim
	// -65537, from the range for private use. The tree does not prove it; two receipts let an auditor see a gap.
	FeedSeq *uint64
	// FeedSize, if present, is how many entries with this subject are in the tree of the receipt; it goes with FeedSeq. It
	// is CWT claim -65538. The tree does not prove it either, but nobody between the log and the auditor can cut off the
	// end of a feed unseen.
	FeedSize *uint64
}

// Inclusion says that entry number Index is in the tree of size Size. Path is for VerifyInclusion.
type Inclusion struct {
	Size, Index uint64
	Path        []Hash
}

// Consistency says that the tree of size From is a prefix of the tree of size To. Path is for VerifyConsistency.
type Consistency struct {
	From, To uint64
	Path     []Hash
}

// A Receipt is a COSE receipt of inclusion (RFC 9942, verifiable data structure 1, RFC9162_SHA256):
//
//	18([<<{1: alg, 4: kid, 15: {1: iss, 2: sub, 6: iat, ? -65537: feed seq, ? -65538: feed size}, 395: 1}>>,
//	    {396: {-1: [<<[size, index, [+ hash]]>>]}}, null, signature])
//
// The signed payload is detached: it is the root that the path leads to. A receipt has exactly one proof, and trees of
// size 1 have none, because their path would be empty.
type Receipt struct {
	Raw []byte
	ReceiptClaims
	Algorithm Algorithm
	KeyID     []byte
	Inclusion

	protected, signature []byte
}

// A ConsistencyReceipt is a COSE receipt of consistency: the form of Receipt with the proof
// {396: {-2: [<<[from, to, [+ hash]]>>]}} and the newer root as payload.
type ConsistencyReceipt struct {
	Raw []byte
	ReceiptClaims
	Algorithm Algorithm
	KeyID     []byte
	Consistency

	protected, signature []byte
}

// Labels of the proofs in a receipt.
const (
	vdsRFC9162SHA256 = 1
	vdpInclusion     = -1
	vdpConsistency   = -2
)

// SignReceipt returns a receipt of inclusion in the tree with the given root. The caller has checked the path against
// the root; SignReceipt checks its shape.
func SignReceipt(ctx context.Context, c ReceiptClaims, in Inclusion, root Hash, s Signer) ([]byte, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	return signReceipt(ctx, c, vdpInclusion, in.Size, in.Index, in.Path, root, s)
}

// SignConsistencyReceipt returns a receipt of consistency; root is that of the tree of size To.
func SignConsistencyReceipt(ctx context.Context, c ReceiptClaims, con Consistency, root Hash,
	s Signer) ([]byte, error) {
	if err := con.check(); err != nil {
		return nil, err
	}
	return signReceipt(ctx, c, vdpConsistency, con.From, con.To, con.Path, root, s)
}

func (in Inclusion) check() error {
	if in.Size < 2 || in.Index >= in.Size {
		return fmt.Errorf("ledger: no receipt for index %d in a tree of size %d", in.Index, in.Size)
	}
	if inner, border := pathShape(in.Index, in.Size); len(in.Path) != inner+border {
		return fmt.Errorf("ledger: receipt: path of %d hashes, want %d", len(in.Path), inner+border)
	}
	return nil
}

func (con Consistency) check() error {
	if con.From < 1 || con.From >= con.To || len(con.Path) == 0 || len(con.Path) > MaxPath {
		return fmt.Errorf("ledger: no receipt between sizes %d and %d with a path of %d hashes",
			con.From, con.To, len(con.Path))
	}
	return nil
}

func signReceipt(ctx context.Context, c ReceiptClaims, label int64, a, b uint64, path []Hash, root Hash,
	s Signer) ([]byte, error) {
	protected, err := appendReceiptHeader(make([]byte, 0, 96+len(c.Issuer)+len(c.Subject)), c, s)
	if err != nil {
		return nil, fmt.Errorf("ledger: receipt: %w", err)
	}
	sig, err := signCOSE(ctx, protected, root[:], s)
	if err != nil {
		return nil, err
	}
	proof := make([]byte, 0, 24+len(path)*(HashSize+2))
	proof = appendItemHead(proof, cborArray, 3)
	proof = appendItemHead(proof, cborUint, a)
	proof = appendItemHead(proof, cborUint, b)
	proof = appendItemHead(proof, cborArray, uint64(len(path)))
	for i := range path {
		proof = appendBytes(proof, path[i][:])
	}
	out := make([]byte, 0, len(protected)+len(proof)+96)
	out = appendItemHead(out, cborTag, sign1Tag)
	out = appendItemHead(out, cborArray, 4)
	out = appendBytes(out, protected)
	out = appendInt(appendItemHead(out, cborMap, 1), coseVDP)
	out = appendInt(appendItemHead(out, cborMap, 1), label)
	out = appendBytes(appendItemHead(out, cborArray, 1), proof)
	out = append(out, cborNull)
	return appendBytes(out, sig), nil
}

func appendReceiptHeader(b []byte, c ReceiptClaims, s Signer) ([]byte, error) {
	if err := checkAlgorithm(s.Algorithm()); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	kid := s.KeyID()
	if len(kid) == 0 || len(kid) > maxKeyID {
		return nil, fmt.Errorf("kid of %d octets", len(kid))
	}
	b = appendItemHead(b, cborMap, 4)
	b = appendInt(appendInt(b, coseAlg), int64(s.Algorithm()))
	b = appendBytes(appendInt(b, coseKID), kid)
	b = appendInt(b, coseCWTClaims)
	pairs := uint64(3)
	if c.FeedSeq != nil {
		pairs++
	}
	if c.FeedSize != nil {
		pairs++
	}
	b = appendItemHead(b, cborMap, pairs)
	b = appendText(appendInt(b, cwtIssuer), c.Issuer)
	b = appendText(appendInt(b, cwtSubject), c.Subject)
	b = appendInt(appendInt(b, cwtIssuedAt), c.IssuedAt)
	if c.FeedSeq != nil {
		b = appendItemHead(appendInt(b, cwtFeedSeq), cborUint, *c.FeedSeq)
	}
	if c.FeedSize != nil {
		b = appendItemHead(appendInt(b, cwtFeedSize), cborUint, *c.FeedSize)
	}
	return appendInt(appendInt(b, coseVDS), vdsRFC9162SHA256), nil
}

func (c *ReceiptClaims) check() error {
	if err := checkText(c.Issuer, maxClaim); err != nil {
		return fmt.Errorf("iss: %w", err)
	}
	if err := checkText(c.Subject, maxClaim); err != nil {
		return fmt.Errorf("sub: %w", err)
	}
	if c.IssuedAt <= 0 || c.IssuedAt > maxTime {
		return fmt.Errorf("iat %d out of range", c.IssuedAt)
	}
	if c.FeedSize != nil && (c.FeedSeq == nil || *c.FeedSize <= *c.FeedSeq) {
		return fmt.Errorf("feed size without a smaller feed seq")
	}
	return nil
}

// ParseReceipt parses a receipt of inclusion. It refuses every encoding but the one SignReceipt writes: other
// verifiable data structures, attached payloads, several proofs, empty paths. The result aliases raw. Nothing is
// verified: use Verify or VerifyStatement.
func ParseReceipt(raw []byte) (*Receipt, error) {
	p, err := parseReceipt(raw, vdpInclusion)
	if err != nil {
		return nil, err
	}
	r := &Receipt{Raw: p.raw, ReceiptClaims: p.claims, Algorithm: p.alg, KeyID: p.kid,
		Inclusion: Inclusion{Size: p.a, Index: p.b, Path: p.path}, protected: p.protected, signature: p.signature}
	if err := r.Inclusion.check(); err != nil {
		return nil, err
	}
	return r, nil
}

// ParseConsistencyReceipt parses a receipt of consistency, as strictly as ParseReceipt.
func ParseConsistencyReceipt(raw []byte) (*ConsistencyReceipt, error) {
	p, err := parseReceipt(raw, vdpConsistency)
	if err != nil {
		return nil, err
	}
	r := &ConsistencyReceipt{Raw: p.raw, ReceiptClaims: p.claims, Algorithm: p.alg, KeyID: p.kid,
		Consistency: Consistency{From: p.a, To: p.b, Path: p.path}, protected: p.protected, signature: p.signature}
	if err := r.Consistency.check(); err != nil {
		return nil, err
	}
	return r, nil
}

// receiptParts are the fields that both kinds of receipt have.
type receiptParts struct {
	raw, protected, signature []byte
	claims                    ReceiptClaims
	alg                       Algorithm
	kid                       []byte
	a, b                      uint64
	path                      []Hash
}

func parseReceipt(raw []byte, label int64) (receiptParts, error) {
	if len(raw) > MaxReceiptSize {
		return receiptParts{}, fmt.Errorf("ledger: receipt of %d octets: %w", len(raw), ErrTooLarge)
	}
	r := cborReader{rest: raw}
	p := r.receipt(label)
	if err := r.end(); err != nil {
		return receiptParts{}, fmt.Errorf("ledger: receipt: %w", err)
	}
	return p, nil
}

// receipt reads one receipt whose proof has the given label.
func (r *cborReader) receipt(label int64) receiptParts {
	var p receiptParts
	start := r.rest
	p.protected = r.sign1(MaxReceiptSize)
	r.container(cborMap, 1)
	r.label(coseVDP)
	r.container(cborMap, 1)
	r.label(label)
	r.container(cborArray, 1)
	proof := cborReader{rest: r.bytes(MaxReceiptSize), err: r.err}
	r.literal(cborNull)
	p.signature = r.signature()
	if r.err != nil {
		return p
	}
	p.raw = start[: len(start)-len(r.rest) : len(start)-len(r.rest)]

	proof.container(cborArray, 3)
	p.a, p.b = proof.uint(^uint64(0)), proof.uint(^uint64(0))
	n := proof.array(MaxPath)
	if proof.err == nil && n == 0 {
		proof.fail("empty path")
	}
	for range n {
		p.path = append(p.path, proof.hash())
	}
	if err := proof.end(); err != nil {
		r.fail("proof: %v", err)
		return p
	}
	if err := p.parseHeader(); err != nil {
		r.fail("header: %v", err)
	}
	return p
}

func (p *receiptParts) parseHeader() error {
	r := cborReader{rest: p.protected}
	r.container(cborMap, 4)
	r.label(coseAlg)
	p.alg = r.algorithm()
	r.label(coseKID)
	p.kid = r.keyID()
	r.label(coseCWTClaims)
	pairs := r.mapOf(5)
	r.label(cwtIssuer)
	p.claims.Issuer = r.text(maxClaim)
	r.label(cwtSubject)
	p.claims.Subject = r.text(maxClaim)
	r.label(cwtIssuedAt)
	p.claims.IssuedAt = int64(r.uint(maxTime))
	if pairs < 3 {
		r.fail("%d CWT claims", pairs)
	}
	for i, claim := range []struct {
		label int64
		value **uint64
	}{{cwtFeedSeq, &p.claims.FeedSeq}, {cwtFeedSize, &p.claims.FeedSize}} {
		if pairs > 3+i {
			r.label(claim.label)
			*claim.value = new(r.uint(^uint64(0)))
		}
	}
	r.label(coseVDS)
	r.label(vdsRFC9162SHA256)
	if err := r.end(); err != nil {
		return err
	}
	return p.claims.check()
}

// Verify computes the root that the path leads to from leaf, checks the log's signature over it, and returns it. The
// error wraps ErrProof or ErrSignature: a wrong leaf shows as ErrSignature, because the payload is detached.
func (r *Receipt) Verify(leaf Hash, pub crypto.PublicKey) (Hash, error) {
	root, err := RootFromInclusion(leaf, r.Index, r.Size, r.Path)
	if err != nil {
		return Hash{}, err
	}
	if err := verifyCOSE(r.Algorithm, pub, r.protected, root[:], r.signature); err != nil {
		return Hash{}, fmt.Errorf("ledger: receipt: %w", err)
	}
	return root, nil
}

// VerifyStatement checks that r is a receipt of s by the log of the given issuer, signed by the key of keys that r
// names, and returns the root. It does not check the signature of s.
func (r *Receipt) VerifyStatement(s *Statement, issuer string, keys KeySet) (Hash, error) {
	if r.Issuer != issuer {
		return Hash{}, fmt.Errorf("%w: receipt by %.200q, want %q", ErrProof, r.Issuer, issuer)
	}
	if r.Subject != s.Subject {
		return Hash{}, fmt.Errorf("%w: receipt and statement have different subjects", ErrProof)
	}
	key, ok := keys.Find(r.KeyID)
	if !ok {
		return Hash{}, fmt.Errorf("%w: receipt key %x", ErrUnknownKey, r.KeyID)
	}
	return r.Verify(s.Leaf(), key.Public)
}

// Verify checks the log's signature over newRoot and that oldRoot and newRoot are consistent.
func (r *ConsistencyReceipt) Verify(oldRoot, newRoot Hash, pub crypto.PublicKey) error {
	if err := VerifyConsistency(r.From, r.To, r.Path, oldRoot, newRoot); err != nil {
		return err
	}
	if err := verifyCOSE(r.Algorithm, pub, r.protected, newRoot[:], r.signature); err != nil {
		return fmt.Errorf("ledger: consistency receipt: %w", err)
	}
	return nil
}
