package ledger

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxWitnessPath is the most hashes of an add-checkpoint request.
const MaxWitnessPath = 63

// MaxAddCheckpointSize is the largest add-checkpoint request in octets.
const MaxAddCheckpointSize = MaxNoteSize + 4096

// ErrAddCheckpoint is wrapped by every refusal of an add-checkpoint request; a witness answers it with 400.
var ErrAddCheckpoint = errors.New("ledger: malformed add-checkpoint request")

// AddCheckpoint is the body of a request to a witness (https://c2sp.org/tlog-witness): the size the log believes the
// witness has seen, the consistency path from there, and the new checkpoint.
type AddCheckpoint struct {
	Old        uint64
	Path       []Hash // empty if Old is 0 or the size of the checkpoint
	Checkpoint []byte // signed note
	// Claimed is what the note says. Nothing about it is verified: it serves to find the log's key for OpenCheckpoint.
	// Marshal ignores it.
	Claimed Checkpoint
}

// Marshal returns the request body.
func (a AddCheckpoint) Marshal() ([]byte, error) {
	c, _, err := parseNote(a.Checkpoint)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAddCheckpoint, err)
	}
	if err := checkWitnessPath(a.Old, c.Size, len(a.Path)); err != nil {
		return nil, err
	}
	if len(a.Path) > 0 && (a.Old == 0 || a.Old == c.Size) {
		return nil, fmt.Errorf("%w: %d hashes between sizes %d and %d", ErrAddCheckpoint, len(a.Path), a.Old, c.Size)
	}
	return a.encode(), nil
}

func (a AddCheckpoint) encode() []byte {
	b := make([]byte, 0, 32+45*len(a.Path)+len(a.Checkpoint))
	b = append(b, "old "...)
	b = strconv.AppendUint(b, a.Old, 10)
	b = append(b, '\n')
	b = appendHashLines(b, a.Path)
	b = append(b, '\n')
	return append(b, a.Checkpoint...)
}

func checkWitnessPath(from, to uint64, n int) error {
	switch {
	case from > to:
		return fmt.Errorf("%w: old size %d is beyond size %d", ErrAddCheckpoint, from, to)
	case n > MaxWitnessPath:
		return fmt.Errorf("%w: %d hashes", ErrAddCheckpoint, n)
	}
	return nil
}

// ParseAddCheckpoint reads the one form of a request whose old size is not beyond the new one. What a witness has to
// judge with the log's key and its memory is left to it: a path where none belongs, and the root of an empty tree. The
// result aliases body.
func ParseAddCheckpoint(body []byte) (AddCheckpoint, error) {
	if len(body) > MaxAddCheckpointSize {
		return AddCheckpoint{}, fmt.Errorf("%w: %d octets", ErrAddCheckpoint, len(body))
	}
	head, checkpoint, ok := bytes.Cut(body, []byte("\n\n"))
	if !ok {
		return AddCheckpoint{}, fmt.Errorf("%w: no checkpoint", ErrAddCheckpoint)
	}
	first, lines, _ := strings.Cut(string(head), "\n")
	size, ok := strings.CutPrefix(first, "old ")
	if !ok {
		return AddCheckpoint{}, fmt.Errorf("%w: first line", ErrAddCheckpoint)
	}
	old, err := parseDecimal(size, ^uint64(0))
	if err != nil {
		return AddCheckpoint{}, fmt.Errorf("%w: old size: %w", ErrAddCheckpoint, err)
	}
	path, err := parseHashLines(lines, MaxWitnessPath)
	if err != nil {
		return AddCheckpoint{}, fmt.Errorf("%w: %w", ErrAddCheckpoint, err)
	}
	claimed, err := UnverifiedCheckpoint(checkpoint)
	if err != nil {
		return AddCheckpoint{}, fmt.Errorf("%w: %w", ErrAddCheckpoint, err)
	}
	if err := checkWitnessPath(old, claimed.Size, len(path)); err != nil {
		return AddCheckpoint{}, err
	}
	a := AddCheckpoint{Old: old, Path: path, Checkpoint: checkpoint, Claimed: claimed}
	if !bytes.Equal(a.encode(), body) {
		return AddCheckpoint{}, fmt.Errorf("%w: not canonical", ErrAddCheckpoint)
	}
	return a, nil
}

// appendHashLines writes each hash in base64 on its own line.
func appendHashLines(b []byte, path []Hash) []byte {
	for i := range path {
		b = base64.StdEncoding.AppendEncode(b, path[i][:])
		b = append(b, '\n')
	}
	return b
}

// parseHashLines parses lines joined with LF, none for the empty string.
func parseHashLines(s string, limit int) ([]Hash, error) {
	if s == "" {
		return nil, nil
	}
	if n := strings.Count(s, "\n") + 1; n > limit {
		return nil, fmt.Errorf("%d hashes", n)
	}
	var path []Hash
	for line := range strings.SplitSeq(s, "\n") {
		h, err := parseHash64(line)
		if err != nil {
			return nil, fmt.Errorf("hash %d: %w", len(path), err)
		}
		path = append(path, h)
	}
	return path, nil
}
