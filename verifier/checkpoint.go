package verifier

import (
	"errors"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// VerifyCheckpoint checks a signed checkpoint of a domain's log: note form, origin, and the signature of the trusted
// key. A checkpoint that only other keys signed is not verifiable.
func VerifyCheckpoint(text []byte, anchor *Anchor) (ledger.Checkpoint, Findings) {
	var fs Findings
	good, compromised, err := anchor.logKeys()
	if err != nil {
		fs.add(Audit, "log_key_malformed", anchor.Origin, "the trusted verifier key of the log cannot be read")
		return ledger.Checkpoint{}, fs
	}
	cp, err := ledger.OpenCheckpoint(text, anchor.Origin, good...)
	var unsigned *note.UnverifiedNoteError
	if errors.As(err, &unsigned) && len(compromised) > 0 {
		if cp, err := ledger.OpenCheckpoint(text, anchor.Origin, compromised...); err == nil {
			return anchor.compromisedHead(cp)
		}
	}
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

// compromisedHead judges a checkpoint that only a compromised key signed: somebody else must have seen the same head.
func (a *Anchor) compromisedHead(cp ledger.Checkpoint) (ledger.Checkpoint, Findings) {
	var fs Findings
	if k, ok := a.known(cp.Size, cp.Root); ok {
		fs.add(Note, "log_key_compromised_anchored", a.Origin,
			"a compromised key signed the checkpoint; its head is that which %s saw on %s", k.By, mission.FormatTime(k.At))
		return cp, fs
	}
	fs.add(Audit, "log_key_compromised", a.Origin,
		"only a compromised key signed the checkpoint, and nobody else is known to have seen its head")
	return ledger.Checkpoint{}, fs
}

// VerifyConsistency checks that the tree of an older checkpoint is a prefix of the tree of a newer one, both of the
// same domain's log and both signed by its trusted key. It returns the two heads as far as they could be read. Heads
// of one size, and heads in the wrong order, need no proof: proof may be nil.
func VerifyConsistency(older, newer []byte, proof *ConsistencyProof, anchor *Anchor) (from, to ledger.Checkpoint,
	fs Findings) {
	from, fs = VerifyCheckpoint(older, anchor)
	to, more := VerifyCheckpoint(newer, anchor)
	if fs = append(fs, more...); fs.Outcome() != OK {
		return from, to, fs
	}
	switch {
	case from.Size > to.Size:
		fs.add(Integrity, "log_rolled_back", anchor.Origin,
			"the log had shown size %d and now ends at %d: it was set back, or the heads are in the wrong order", from.Size, to.Size)
	case from.Size == to.Size && from.Root != to.Root:
		fs.add(Integrity, "log_forked", anchor.Origin, "two signed roots for the same size %d", from.Size)
	case from.Size == to.Size:
	case proof == nil || proof.Origin != anchor.Origin || proof.From != from.Size || proof.To != to.Size:
		fs.add(Audit, "proof_missing", anchor.Origin, "there is no proof from size %d to size %d", from.Size, to.Size)
	default:
		path, err := proof.Hashes()
		if err != nil || ledger.VerifyConsistency(from.Size, to.Size, path, from.Root, to.Root) != nil {
			fs.add(Integrity, "consistency_proof", anchor.Origin, "the proof does not show that size %d is a prefix of size %d",
				from.Size, to.Size)
		}
	}
	return from, to, fs
}

// KeptHead returns the checkpoint in the evidence that a domain logged of a peer's head, or text itself if it is no
// such evidence: either may be at hand for a comparison.
func KeptHead(text []byte) []byte {
	var h peerHeadBody
	if len(text) > 0 && text[0] == '{' && mission.DecodeOpen(text, &h) == nil && h.Checkpoint != "" {
		return []byte(h.Checkpoint)
	}
	return text
}
