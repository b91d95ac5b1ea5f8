package ledger

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

// MaxNoteSize is the largest signed note that is read, in octets: room for a checkpoint with 100 classical or some 19
// post-quantum signature lines.
const MaxNoteSize = 64 << 10

const maxOrigin = 255

// ErrCheckpoint is wrapped by every refusal of a checkpoint that is not about a signature.
var ErrCheckpoint = errors.New("ledger: malformed checkpoint")

// A Checkpoint commits to the first Size entries of a log (https://c2sp.org/tlog-checkpoint).
type Checkpoint struct {
	Origin string // the log's name, also the name of its checkpoint key
	Size   uint64
	Root   Hash
}

// CheckOrigin accepts a log name that can also name a signed-note key: 1 to 255 octets of UTF-8 without spaces, control
// characters and plus signs.
func CheckOrigin(origin string) error {
	bad := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '+' }
	if origin == "" || len(origin) > maxOrigin || !utf8.ValidString(origin) || strings.ContainsFunc(origin, bad) {
		return fmt.Errorf("%w: origin %.80q", ErrCheckpoint, origin)
	}
	return nil
}

// Text returns the note text: origin, decimal size and base64 root, each on a line, without extension lines.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// ErrEmptyRoot: a checkpoint of size 0 has another root than that of the empty tree. It wraps ErrCheckpoint.
var ErrEmptyRoot = fmt.Errorf("%w: root of the empty tree", ErrCheckpoint)

// parseCheckpointText is the strict inverse of Text.
func parseCheckpointText(text string) (Checkpoint, error) {
	c, err := parseCheckpointLines(text)
	if err == nil && c.Size == 0 && c.Root != EmptyRoot {
		return Checkpoint{}, ErrEmptyRoot
	}
	return c, err
}

// parseCheckpointLines is parseCheckpointText without the rule about the empty tree.
func parseCheckpointLines(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, fmt.Errorf("%w: want three lines", ErrCheckpoint)
	}
	if err := CheckOrigin(lines[0]); err != nil {
		return Checkpoint{}, err
	}
	size, err := parseDecimal(lines[1], ^uint64(0))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: size: %w", ErrCheckpoint, err)
	}
	root, err := parseHash64(lines[2])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: root: %w", ErrCheckpoint, err)
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: root}, nil
}

// parseHash64 decodes the one base64 form of a hash.
func parseHash64(s string) (Hash, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != HashSize || len(s) != base64.StdEncoding.EncodedLen(HashSize) {
		return Hash{}, errors.New("not the base64 of 32 octets")
	}
	return Hash(b), nil
}

// SignCheckpoint returns the checkpoint as a signed note. At least one signer must carry the log's name; others add
// their lines after it.
func SignCheckpoint(c Checkpoint, signers ...note.Signer) ([]byte, error) {
	if _, err := parseCheckpointText(c.Text()); err != nil {
		return nil, err
	}
	named := false
	for _, s := range signers {
		named = named || s.Name() == c.Origin
	}
	if !named {
		return nil, fmt.Errorf("%w: no signer is named %q", ErrCheckpoint, c.Origin)
	}
	text, err := note.Sign(&note.Note{Text: c.Text()}, signers...)
	if err != nil {
		return nil, fmt.Errorf("ledger: sign checkpoint: %w", err)
	}
	return text, nil
}

// OpenCheckpoint verifies a checkpoint of the log named origin. At least one of the verifiers named origin must have
// signed it, and every line by a known verifier must verify; lines by unknown keys are ignored. Verifiers with other
// names (witnesses) never stand in for the log.
func OpenCheckpoint(text []byte, origin string, verifiers ...note.Verifier) (Checkpoint, error) {
	if len(text) > MaxNoteSize {
		return Checkpoint{}, fmt.Errorf("%w: note of %d octets", ErrCheckpoint, len(text))
	}
	n, err := note.Open(text, note.VerifierList(verifiers...))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("ledger: checkpoint: %w", noteError(err))
	}
	c, err := parseCheckpointText(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != origin {
		return Checkpoint{}, fmt.Errorf("%w: origin %q, want %q", ErrCheckpoint, c.Origin, origin)
	}
	for _, s := range n.Sigs {
		if s.Name == origin {
			return c, nil
		}
	}
	return Checkpoint{}, fmt.Errorf("%w: checkpoint not signed by the log", ErrSignature)
}

// noteError gives failures of note.Open about signatures the identity ErrSignature, and the others ErrCheckpoint.
func noteError(err error) error {
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	if errors.As(err, &unverified) || errors.As(err, &invalid) {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return fmt.Errorf("%w: %w", ErrCheckpoint, err)
}

// UnverifiedCheckpoint is what a note of the checkpoint form says. Nothing is verified, not even the root of an empty
// tree: it serves to find the keys for OpenCheckpoint, and to read again what was verified before.
func UnverifiedCheckpoint(text []byte) (Checkpoint, error) {
	n, err := splitNote(text)
	if err != nil {
		return Checkpoint{}, err
	}
	return parseCheckpointLines(n.Text)
}

// parseNote splits a note of the checkpoint form without verifying any signature.
func parseNote(text []byte) (Checkpoint, *note.Note, error) {
	n, err := splitNote(text)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	c, err := parseCheckpointText(n.Text)
	return c, n, err
}

func splitNote(text []byte) (*note.Note, error) {
	if len(text) > MaxNoteSize {
		return nil, fmt.Errorf("%w: note of %d octets", ErrCheckpoint, len(text))
	}
	var unverified *note.UnverifiedNoteError
	if _, err := note.Open(text, nil); !errors.As(err, &unverified) {
		return nil, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	return unverified.Note, nil
}
