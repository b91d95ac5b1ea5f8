package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// Occasions on which the head of a peer's log is written down.
const (
	occasionAgreement = "agreement"
	occasionMint      = "mint"
	occasionRevoke    = "revoke"
	occasionWitness   = "witness"
)

// checkpointEvidence is the evidence body of a peer's checkpoint: the head that the peer showed, and whether it was
// proven to continue the one before. Two such heads that do not continue each other convict the log that signed them.
type checkpointEvidence struct {
	Issuer     string `json:"issuer"` // of the peer
	Occasion   string `json:"occasion"`
	Origin     string `json:"origin"`
	Genesis    string `json:"genesis"` // entry id of the log's first entry, as agreed
	Size       uint64 `json:"size"`
	Root       string `json:"root"`
	Checkpoint string `json:"checkpoint"` // the signed note
	// Previous is the head before, and Path the proof that this one continues it; both absent for the first.
	Previous string   `json:"previous_checkpoint,omitempty"`
	Path     []string `json:"consistency_path,omitempty"`
	Unproven bool     `json:"unproven,omitempty"` // the peer did not give the path now; an auditor may ask for it later
	Forked   bool     `json:"forked,omitempty"`   // the heads contradict each other: both are kept
	SeenAt   string   `json:"seen_at"`
	Salt     string   `json:"salt"`
}

// headState is the row head/<peer id>/<origin>: the newest head of the peer's log, and whether the log was caught. A
// log that was caught stays so; the peer comes back with another log, under an agreement that names it.
type headState struct {
	Checkpoint string `json:"checkpoint"`
	Size       uint64 `json:"size"`
	Root       string `json:"root"`
	Forked     bool   `json:"forked,omitempty"`
}

// state is the row after e. A fork is never forgotten, and the head before it stays; so does one that is newer than e,
// or that e is not proven to continue: the next head is held against it.
func (e *checkpointEvidence) state(before headState) headState {
	if e.Forked {
		before.Forked = true
		return before
	}
	if e.Size < before.Size || e.Unproven {
		return before
	}
	return headState{Checkpoint: e.Checkpoint, Size: e.Size, Root: e.Root, Forked: before.Forked}
}

// errForked: the peer's log contradicts what it showed before.
var errForked = errors.New("authority: the peer's log has forked")

// A sighting is a verified checkpoint of a peer, ready to be written down with a Change.
type sighting struct {
	evidence *checkpointEvidence
	row      ledger.Row // the head row it was compared with
	before   headState
}

// sight compares a checkpoint of the peer with the newest one known. A head that continues it is proven to do so with
// a path from the peer; the network is not used when the heads are equal. A peer that cannot be reached now, as an
// origin need not be able to reach a receiver, leaves the head unproven. The error wraps errForked if the heads
// contradict each other, after that was written down.
func (a *Authority) sight(ctx context.Context, p *peer, occasion string, text []byte) (*sighting, error) {
	now, err := p.OpenCheckpoint(text)
	if err != nil {
		return nil, refused(federation.CodeInvalidAgreement, federation.ReasonBadSignature, err)
	}
	s := &sighting{}
	if s.row, s.before, err = a.lastHead(p); err != nil {
		return nil, err
	}
	if s.before.Forked {
		return nil, errForked
	}
	s.evidence = newSighting(p, occasion, now, text, a.clock.now())
	if s.before.Size == 0 {
		return s, nil
	}
	s.evidence.Previous = s.before.Checkpoint
	known, err := p.OpenCheckpoint([]byte(s.before.Checkpoint))
	if err != nil {
		return nil, unavailable("reading a head", errors.Join(ledger.ErrIntegrity, err))
	}
	if err := a.continues(ctx, p, s, known, now); err != nil {
		if errors.Is(err, errForked) {
			return nil, errors.Join(err, a.logFork(ctx, p, s))
		}
		return nil, err
	}
	return s, nil
}

func newSighting(p *peer, occasion string, head ledger.Checkpoint, text []byte, at time.Time) *checkpointEvidence {
	return &checkpointEvidence{
		Issuer: p.Peer.Issuer, Occasion: occasion, Origin: head.Origin, Genesis: p.Peer.Log.Genesis, Size: head.Size,
		Root: head.Root.String(), Checkpoint: string(text), SeenAt: mission.FormatTime(at), Salt: mission.NewSalt(),
	}
}

// Contradiction is told of two checkpoints of a peer's log that a witness found to contradict each other, or to look as
// if they did: those of one size are proof, for others the peer is asked how one continues the other. If they do
// contradict each other, both are written down, once, and everything that depends on the peer is held. An error means
// that it is not decided yet.
func (a *Authority) Contradiction(ctx context.Context, issuer string, known, other []byte) error {
	p := a.peers.byIssuer[issuer]
	if p == nil {
		return nil
	}
	done, err := a.turns.take(ctx, headRow(p))
	if err != nil {
		return err
	}
	defer done()
	s := &sighting{}
	if s.row, s.before, err = a.lastHead(p); err != nil || s.before.Forked {
		return err
	}
	before, err1 := p.OpenCheckpoint(known)
	now, err2 := p.OpenCheckpoint(other)
	if err := errors.Join(err1, err2); err != nil {
		a.logger.WarnContext(ctx, "not two heads of the peer's log", "peer", issuer, "error", err)
		return nil
	}
	s.evidence = newSighting(p, occasionWitness, now, other, a.clock.now())
	s.evidence.Previous = string(known)
	err = a.continues(ctx, p, s, before, now)
	switch {
	case errors.Is(err, errForked):
		return a.logFork(ctx, p, s)
	case err == nil && s.evidence.Unproven:
		return errors.New("authority: the peer did not give a consistency path")
	}
	return err
}

// continues proves that one of two heads is a prefix of the other. A head that is older than the one known is proven
// too, and then the newer one stays.
func (a *Authority) continues(ctx context.Context, p *peer, s *sighting, known, now ledger.Checkpoint) error {
	if known.Size == now.Size {
		if known.Root != now.Root {
			return fmt.Errorf("%w: two roots of one size", errForked)
		}
		return nil
	}
	older, newer := known, now
	if older.Size > newer.Size {
		older, newer = newer, older
	}
	path, err := a.upstream.Consistency(ctx, p.Partner, older.Size, newer.Size)
	if err != nil {
		s.evidence.Unproven = true
		return nil
	}
	if err := ledger.VerifyConsistency(older.Size, newer.Size, path, older.Root, newer.Root); err != nil {
		return fmt.Errorf("%w: %w", errForked, err)
	}
	for _, h := range path {
		s.evidence.Path = append(s.evidence.Path, h.String())
	}
	return nil
}

func (a *Authority) lastHead(p *peer) (row ledger.Row, head headState, err error) {
	r, err := a.open()
	if err != nil {
		return row, head, err
	}
	defer r.Close()
	row, err = prove(r, headRow(p), &head)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return row, head, unavailable("reading a head", err)
	}
	return row, head, nil
}

// add puts the sighting into a Change. An equal head needs no second entry.
func (s *sighting) add(ctx context.Context, a *Authority, p *peer, change *ledger.Change) error {
	if s == nil || s.evidence.Checkpoint == s.before.Checkpoint && !s.evidence.Forked {
		return nil
	}
	entry, err := a.entry(ctx, a.peerSubject(p), mission.ContentPeerCheckpoint, a.clock.now(), s.evidence)
	if err != nil {
		return err
	}
	row, err := put(headRow(p), s.evidence.state(s.before), len(change.Entries))
	if err != nil {
		return err
	}
	expect := ledger.Absent(row.Key)
	if s.row.Version > 0 {
		expect = ledger.Version(row.Key, s.row.Version)
	}
	change.Expect = append(change.Expect, expect)
	change.Put = append(change.Put, row)
	change.Entries = append(change.Entries, entry)
	return nil
}

// logFork writes down two heads that contradict each other and tells the operator. Everything that depends on the peer
// is held from now on, until an operator has ended it.
func (a *Authority) logFork(ctx context.Context, p *peer, s *sighting) error {
	a.logger.ErrorContext(ctx, "the log of a peer has forked", "peer", p.Peer.Issuer, "size", s.evidence.Size)
	s.evidence.Forked = true
	change := &ledger.Change{}
	if err := s.add(ctx, a, p, change); err != nil {
		return err
	}
	if _, err := a.log.Commit(ctx, *change); err != nil && !errors.Is(err, ledger.ErrConflict) {
		return unavailable("logging a fork", err)
	}
	return nil
}
