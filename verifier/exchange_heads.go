package verifier

import (
	"fmt"
	"slices"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// heads: every head that one side logged of the other's log is a head of that log.
func (p *pair) heads(fs *Findings) string {
	a := p.x.anchorHeads(p.x.receiver, p.x.origin, fs)
	b := p.x.anchorHeads(p.x.origin, p.x.receiver, fs)
	return fmt.Sprintf("%d heads of the origin's log kept by the receiver, %d of the receiver's by the origin", a, b)
}

// anchorHeads connects the heads that keeper logged of owner's log with the head of owner's bundle, and returns how
// many there are. The keeper proved each head to continue the one before; so one of them is connected by being the
// same head, by a proof or by a mirror, and the others through it.
func (x *exchangeCheck) anchorHeads(keeper, owner *sideCheck, fs *Findings) int {
	if owner.Log == nil {
		return 0
	}
	root, err := ledger.ParseEntryID(owner.Log.Root)
	if err != nil {
		return 0
	}
	a := &anchoring{mirror: owner.mirror, proofs: slices.Concat(x.proofs, owner.proofs, keeper.proofs),
		heads: []ledger.Checkpoint{{Origin: owner.Log.Origin, Size: owner.Log.Size, Root: root}}, notes: map[string]bool{}}
	var open []fact[*peerHead]
	for _, h := range keeper.facts.heads {
		if h.value.verified && h.value.head.Origin == owner.Log.Origin {
			open = append(open, h)
		}
	}
	kept := len(open)
	for before := -1; before != len(open); {
		before = len(open)
		open = slices.DeleteFunc(open, func(h fact[*peerHead]) bool { return a.connect(h.value) })
	}
	for _, h := range open {
		switch size := h.value.head.Size; {
		case a.contradicts(h.value.head):
			fs.add(Integrity, "head_forked", h.from.EntryID, "the log of %.200q does not continue the head of size %d that it signed",
				owner.trust.Issuer, size)
		case size > owner.Log.Size:
			fs.add(Audit, "head_newer", h.from.EntryID,
				"%.200q showed a head of size %d, its bundle ends at %d: an older export, or a log that was set back",
				owner.trust.Issuer, size, owner.Log.Size)
		default:
			fs.add(Audit, "head_unproven", h.from.EntryID, "no proof connects the head of size %d with the bundle's of size %d",
				size, owner.Log.Size)
		}
	}
	return kept
}

// An anchoring is the set of heads of one log that are known to be of one tree.
type anchoring struct {
	heads  []ledger.Checkpoint
	notes  map[string]bool // of those heads that the keeper logged
	proofs []*ConsistencyProof
	mirror *Mirror
}

// connect adds a head if something proves that it is of the same tree.
func (a *anchoring) connect(h *peerHead) bool {
	linked := !h.Forked && h.Previous != "" && a.notes[h.Previous] // the keeper's proof was checked when it was read
	if !linked && !a.proven(h.head) {
		return false
	}
	a.heads = append(a.heads, h.head)
	a.notes[h.Checkpoint] = true
	if !h.Forked && h.Previous != "" {
		a.notes[h.Previous] = true
	}
	return true
}

// proven reports whether a head equals a known one, or a proof or the mirror connects them.
func (a *anchoring) proven(h ledger.Checkpoint) bool {
	if slices.Contains(a.heads, h) {
		return true
	}
	for _, known := range a.heads {
		older, newer := h, known
		if older.Size > newer.Size {
			older, newer = newer, older
		}
		for _, p := range a.proofs {
			if p.Origin != h.Origin || p.From != older.Size || p.To != newer.Size {
				continue
			}
			if path, err := p.Hashes(); err == nil &&
				ledger.VerifyConsistency(older.Size, newer.Size, path, older.Root, newer.Root) == nil {
				return true
			}
		}
	}
	return a.mirror != nil && a.mirror.Extends(h.Size, h.Root) == nil
}

// contradicts reports whether a head cannot be of the same tree: another root for a known size, or not a prefix of the
// mirror, which holds the whole tree.
func (a *anchoring) contradicts(h ledger.Checkpoint) bool {
	for _, known := range a.heads {
		if known.Size == h.Size && known.Root != h.Root {
			return true
		}
	}
	return a.mirror != nil && h.Size <= a.mirror.Checkpoint.Size && a.mirror.Extends(h.Size, h.Root) != nil
}

// A ProofRequest names a consistency proof that connects a head which one side kept of the other's log with the head of
// the other's bundle: GET <Issuer>/v1/proofs/consistency?from=<From>&to=<To>, which is public.
type ProofRequest struct {
	Issuer string `json:"issuer"`
	Origin string `json:"origin"`
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
}

// ProofsNeeded reads two bundles, without verifying anything, and lists the proofs that VerifyExchange will look for.
// Collect them while the services can still be asked.
func ProofsNeeded(origin, receiver []byte) []ProofRequest {
	a, b := open(origin, &Findings{}), open(receiver, &Findings{})
	if a == nil || b == nil {
		return nil
	}
	return append(proofsNeeded(b, a), proofsNeeded(a, b)...)
}

// proofsNeeded lists the proofs for the heads that keeper holds of owner's log.
func proofsNeeded(keeper, owner *contents) []ProofRequest {
	var out []ProofRequest
	top := uint64(owner.manifest.Log.Size)
	for _, f := range keeper.statements {
		raw, _, err := ledger.DetachReceipts(f.data)
		if err != nil {
			continue
		}
		s, err := ledger.ParseStatement(raw)
		if err != nil || s.ContentType != mission.ContentPeerCheckpoint {
			continue
		}
		var h peerHeadBody
		body, ok := keeper.records[s.Digest]
		if !ok || mission.DecodeOpen(body.data, &h) != nil || h.Origin != owner.manifest.Log.Origin || h.Size >= top {
			continue
		}
		need := ProofRequest{owner.manifest.Exporter, h.Origin, h.Size, top}
		if !slices.Contains(out, need) {
			out = append(out, need)
		}
	}
	return out
}
