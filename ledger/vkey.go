package ledger

import (
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// OpenCheckpointBy is OpenCheckpoint for a log whose key is at hand in its text form, a signed-note verifier key.
func OpenCheckpointBy(text []byte, origin, vkey string) (Checkpoint, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: verifier key: %w", ErrCheckpoint, err)
	}
	return OpenCheckpoint(text, origin, v)
}
