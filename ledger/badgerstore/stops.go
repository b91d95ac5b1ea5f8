package badgerstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/journal"
)

// The emergency-stop journal is a journal of its own with two small preallocated segments, so it can be written when
// the main journal cannot and when the disk is full. A frame is
//
//	stop      1, at8 (ms), { length2 octets } of kind, id, actor, reason
//	replayed  2, count4: the oldest count pending stops are in the log now
const (
	stopsSegment  = 512 << 10
	frameStop     = 1
	frameReplayed = 2
	maxStopText   = 4096
)

// Stops is the emergency-stop journal. It is safe for concurrent use.
type Stops struct {
	dir string
	opt journal.Options

	mu      sync.Mutex // guards what follows
	closed  bool
	journal *journal.Journal // nil if it could not be opened again after a failure
	pending []ledger.Stop
	doubt   []ledger.Stop // ordered, but not known to be durable: they count until the next start
}

var _ ledger.Stops = (*Stops)(nil)

func openStops(fsys journal.FS, dir string, identity [32]byte) (*Stops, error) {
	s := &Stops{dir: dir, opt: journal.Options{
		Identity: identity, SegmentSize: stopsSegment, FS: fsys, Frame: stepStop}}
	if err := s.reopen(); err != nil {
		return nil, fmt.Errorf("badgerstore: emergency stops: %w", err)
	}
	return s, nil
}

// reopen opens the journal and reads it. The next segment is allocated ahead if the disk has room for it.
func (s *Stops) reopen() error {
	if s.journal != nil {
		_ = s.journal.Close() // every frame in it that counts is synced
		s.journal = nil
	}
	j, err := journal.Open(s.dir, s.opt)
	if err != nil {
		return damagedFrames(err)
	}
	pending, err := readStops(j)
	if err == nil {
		if err = j.Prepare(context.Background()); errors.Is(err, journal.ErrNoSpace) {
			err = nil
		}
	}
	if err != nil {
		return errors.Join(damagedFrames(err), j.Close())
	}
	s.journal, s.pending = j, pending
	return nil
}

// damagedFrames makes damage to frames an ErrIntegrity.
func damagedFrames(err error) error {
	if errors.Is(err, journal.ErrCorrupt) {
		return fmt.Errorf("%w: %w", ledger.ErrIntegrity, err)
	}
	return err
}

func readStops(j *journal.Journal) (pending []ledger.Stop, err error) {
	for f, err := range j.Read(1) {
		if err != nil {
			return nil, err
		}
		stop, replayed, err := parseStopFrame(f.Payload)
		switch {
		case err != nil:
			return nil, fmt.Errorf("frame %d: %w", f.Seq, err)
		case replayed > len(pending):
			return nil, fmt.Errorf("frame %d: %d stops replayed, %d pending: %w",
				f.Seq, replayed, len(pending), ledger.ErrIntegrity)
		case replayed > 0:
			pending = pending[replayed:]
		default:
			pending = append(pending, stop)
		}
	}
	return slices.Clone(pending), nil
}

// Stop records s; it is durable when Stop returns nil. If it fails the stop is in force all the same until the next
// start: whoever ordered it knows, and the other direction would be the dangerous one.
func (s *Stops) Stop(ctx context.Context, stop ledger.Stop) error {
	if err := checkStop(stop); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	stop.At = time.UnixMilli(stop.At.UnixMilli()).UTC()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed()
	}
	if err := s.append(stopFrame(stop)); err != nil {
		s.doubt = append(s.doubt, stop)
		return fmt.Errorf("badgerstore: emergency stop: %w", err)
	}
	s.pending = append(s.pending, stop)
	return nil
}

// append writes a frame. If the outcome is unknown it opens the journal again, looks, and tries once more: a stop is
// worth it. The caller adds what the frame says to pending.
func (s *Stops) append(frame []byte) error {
	if s.journal == nil {
		if err := s.reopen(); err != nil {
			return unavailable(err)
		}
	}
	before, _ := s.journal.Last()
	_, err := s.journal.Append(frame)
	if !errors.Is(err, journal.ErrOutcomeUnknown) && !errors.Is(err, journal.ErrPoisoned) {
		return unavailable(err)
	}
	pending := s.pending
	rerr := s.reopen()
	s.pending = pending
	if rerr != nil {
		return fmt.Errorf("%w: %w", ledger.ErrOutcomeUnknown, errors.Join(err, rerr))
	}
	if after, _ := s.journal.Last(); after > before {
		return nil
	}
	if _, err = s.journal.Append(frame); errors.Is(err, journal.ErrOutcomeUnknown) {
		return fmt.Errorf("%w: %w", ledger.ErrOutcomeUnknown, err)
	}
	return unavailable(err)
}

func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
}

// Stopped reports whether a pending stop covers the target.
func (s *Stops) Stopped(kind ledger.StopKind, id string) (ledger.Stop, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, list := range [][]ledger.Stop{s.pending, s.doubt} {
		for _, stop := range list {
			if stop.Kind == ledger.StopAll || stop.Kind == kind && stop.ID == id {
				return stop, true
			}
		}
	}
	return ledger.Stop{}, false
}

// Pending lists stops not yet replayed, oldest first.
func (s *Stops) Pending() []ledger.Stop {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.pending)
}

// Replayed marks the oldest n pending stops as replayed.
func (s *Stops) Replayed(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return errClosed()
	case n < 0 || n > len(s.pending):
		return fmt.Errorf("badgerstore: %d stops replayed, %d pending", n, len(s.pending))
	case n == 0:
		return nil
	}
	if err := s.append(binary.BigEndian.AppendUint32([]byte{frameReplayed}, uint32(n))); err != nil {
		return fmt.Errorf("badgerstore: emergency stops: %w", err)
	}
	s.pending = slices.Clone(s.pending[n:])
	return nil
}

func (s *Stops) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.journal == nil {
		return nil
	}
	err := s.journal.Close()
	s.journal = nil
	return err
}

func checkStop(s ledger.Stop) error {
	switch s.Kind {
	case ledger.StopMission, ledger.StopPeer:
		if s.ID == "" {
			return fmt.Errorf("badgerstore: a stop of kind %q needs an id", s.Kind)
		}
	case ledger.StopAll:
		if s.ID != "" {
			return fmt.Errorf("badgerstore: a stop of everything has no id")
		}
	default:
		return fmt.Errorf("badgerstore: unknown kind of stop %q", s.Kind)
	}
	for _, text := range []string{s.ID, s.Actor, s.Reason} {
		if len(text) > maxStopText {
			return fmt.Errorf("badgerstore: stop text of %d octets: %w", len(text), ledger.ErrTooLarge)
		}
	}
	return nil
}

func stopFrame(s ledger.Stop) []byte {
	b := binary.BigEndian.AppendUint64([]byte{frameStop}, uint64(s.At.UnixMilli()))
	for _, text := range []string{string(s.Kind), s.ID, s.Actor, s.Reason} {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...)
	}
	return b
}

// parseStopFrame reads a frame: a stop, or how many were replayed.
func parseStopFrame(b []byte) (stop ledger.Stop, replayed int, err error) {
	malformed := fmt.Errorf("malformed emergency stop: %w", ledger.ErrIntegrity)
	switch {
	case len(b) == 5 && b[0] == frameReplayed:
		n := binary.BigEndian.Uint32(b[1:])
		if n == 0 || n > math.MaxInt32 {
			return ledger.Stop{}, 0, malformed
		}
		return ledger.Stop{}, int(n), nil
	case len(b) < 9 || b[0] != frameStop:
		return ledger.Stop{}, 0, malformed
	}
	stop.At = time.UnixMilli(int64(binary.BigEndian.Uint64(b[1:]))).UTC()
	b = b[9:]
	var texts [4]string
	for i := range texts {
		if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
			return ledger.Stop{}, 0, malformed
		}
		n := int(binary.BigEndian.Uint16(b))
		texts[i], b = string(b[2:2+n]), b[2+n:]
	}
	stop.Kind, stop.ID, stop.Actor, stop.Reason = ledger.StopKind(texts[0]), texts[1], texts[2], texts[3]
	if len(b) != 0 || checkStop(stop) != nil {
		return ledger.Stop{}, 0, malformed
	}
	return stop, 0, nil
}
