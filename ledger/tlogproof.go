package ledger

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const (
	tlogProofHeader = "c2sp.org/tlog-proof@v1\n"
	maxProofExtra   = 16 << 10
)

// MaxTLogProofSize is the largest tlog-proof in octets.
const MaxTLogProofSize = MaxNoteSize + 4096 + maxProofExtra*4/3

// ErrTLogProof is wrapped by every refusal of the form of a tlog-proof.
var ErrTLogProof = errors.New("ledger: malformed tlog-proof")

// A TLogProof is a proof of inclusion that stands alone (https://c2sp.org/tlog-proof): a checkpoint with its signatures
// and a path to its root.
type TLogProof struct {
	Extra      []byte // application data, not covered by the proof; at most 16 KiB, nil if absent
	Index      uint64
	Path       []Hash
	Checkpoint []byte // signed note
}

// Marshal returns the text of the proof.
func (p TLogProof) Marshal() ([]byte, error) {
	c, _, err := parseNote(p.Checkpoint)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTLogProof, err)
	}
	if p.Index >= c.Size {
		return nil, fmt.Errorf("%w: index %d in a tree of size %d", ErrTLogProof, p.Index, c.Size)
	}
	if inner, border := pathShape(p.Index, c.Size); len(p.Path) != inner+border {
		return nil, fmt.Errorf("%w: path of %d hashes, want %d", ErrTLogProof, len(p.Path), inner+border)
	}
	if p.Extra != nil && (len(p.Extra) == 0 || len(p.Extra) > maxProofExtra) {
		return nil, fmt.Errorf("%w: %d octets of extra data", ErrTLogProof, len(p.Extra))
	}
	b := make([]byte, 0, 128+45*len(p.Path)+2*len(p.Extra)+len(p.Checkpoint))
	b = append(b, tlogProofHeader...)
	if p.Extra != nil {
		b = append(b, "extra "...)
		b = base64.StdEncoding.AppendEncode(b, p.Extra)
		b = append(b, '\n')
	}
	b = append(b, "index "...)
	b = strconv.AppendUint(b, p.Index, 10)
	b = append(b, '\n')
	b = appendHashLines(b, p.Path)
	b = append(b, '\n')
	return append(b, p.Checkpoint...), nil
}

// ParseTLogProof is the strict inverse of Marshal. Nothing is verified: use Verify. The result aliases text.
func ParseTLogProof(text []byte) (*TLogProof, error) {
	fail := func(format string, args ...any) (*TLogProof, error) {
		return nil, fmt.Errorf("%w: %w", ErrTLogProof, fmt.Errorf(format, args...))
	}
	if len(text) > MaxTLogProofSize {
		return fail("%d octets", len(text))
	}
	rest, ok := bytes.CutPrefix(text, []byte(tlogProofHeader))
	if !ok {
		return fail("first line")
	}
	head, checkpoint, ok := bytes.Cut(rest, []byte("\n\n"))
	if !ok {
		return fail("no checkpoint")
	}
	p := &TLogProof{Checkpoint: checkpoint}
	first, lines, _ := strings.Cut(string(head), "\n")
	if extra, ok := strings.CutPrefix(first, "extra "); ok {
		var err error
		if p.Extra, err = base64.StdEncoding.Strict().DecodeString(extra); err != nil {
			return fail("extra data: %w", err)
		}
		first, lines, _ = strings.Cut(lines, "\n")
	}
	index, ok := strings.CutPrefix(first, "index ")
	if !ok {
		return fail("no index")
	}
	var err error
	if p.Index, err = parseDecimal(index, ^uint64(0)); err != nil {
		return fail("index: %w", err)
	}
	if p.Path, err = parseHashLines(lines, MaxPath); err != nil {
		return fail("%w", err)
	}
	if again, err := p.Marshal(); err != nil {
		return nil, err
	} else if !bytes.Equal(again, text) {
		return fail("not canonical")
	}
	return p, nil
}

// Verify checks the checkpoint as OpenCheckpoint does and that leaf is its entry number p.Index, and returns the
// checkpoint.
func (p *TLogProof) Verify(leaf Hash, origin string, verifiers ...note.Verifier) (Checkpoint, error) {
	c, err := OpenCheckpoint(p.Checkpoint, origin, verifiers...)
	if err != nil {
		return Checkpoint{}, err
	}
	if err := VerifyInclusion(leaf, p.Index, c.Size, p.Path, c.Root); err != nil {
		return Checkpoint{}, err
	}
	return c, nil
}
