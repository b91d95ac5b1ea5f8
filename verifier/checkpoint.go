package verifier

import (
	"errors"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
)

// VerifyCheckpoint checks a signed checkpoint of a domain's log: note form, origin, and the signature of the trusted
// key. A checkpoint that only other keys signed is not verifiable.
func VerifyCheckpoint(text []byte, anchor *Anchor) (ledger.Checkpoint, Findings) {
	var fs Findings
	v, err := anchor.noteVerifier()
	if err != nil {
		fs.add(Audit, "log_key_malformed", anchor.Origin, "the trusted verifier key of the log cannot be read")
		return ledger.Checkpoint{}, fs
	}
	cp, err := ledger.OpenCheckpoint(text, anchor.Origin, v)
	var unsigned *note.UnverifiedNoteError
	switch {
	case err == nil:
		return cp, fs
	case errors.As(err, &unsigned):
		fs.add(Audit, "log_key_unknown", anchor.Origin, "no trusted key of this log signed the checkpoint")
	case errors.Is(err, ledger.ErrSignature):
		fs.add(Integrity, "checkpoint_signature", anchor.Origin, "the checkpoint's signature does not verify")
	default:
		fs.add(Integrity, "checkpoint_malformed", anchor.Origin, "not a checkpoint of this log")
	}
	return ledger.Checkpoint{}, fs
}

// VerifyConsistency checks that the tree of an older checkpoint is a prefix of the tree of a newer one, both of the same
// domain's log and both signed by its trusted key. It returns the two heads as far as they could be read.
func VerifyConsistency(older, newer []byte, path []ledger.Hash, anchor *Anchor) (from, to ledger.Checkpoint, fs Findings) {
	from, fromFindings := VerifyCheckpoint(older, anchor)
	to, toFindings := VerifyCheckpoint(newer, anchor)
	fs = append(append(fs, fromFindings...), toFindings...)
	if fs.Outcome() != OK {
		return from, to, fs
	}
	switch err := ledger.VerifyConsistency(from.Size, to.Size, path, from.Root, to.Root); {
	case from.Size > to.Size:
		fs.add(Integrity, "log_rolled_back", anchor.Origin,
			"the checkpoint of size %d is said to be newer than the one of size %d", to.Size, from.Size)
	case from.Size == to.Size && from.Root != to.Root:
		fs.add(Integrity, "log_forked", anchor.Origin, "two signed roots for the same size %d", from.Size)
	case err != nil:
		fs.add(Integrity, "consistency_proof", anchor.Origin,
			"the proof does not show that size %d is a prefix of size %d", from.Size, to.Size)
	}
	return from, to, fs
}
