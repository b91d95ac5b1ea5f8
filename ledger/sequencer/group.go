package sequencer

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/mission-authority/mas/ledger"
)

const counterSize = 8 // octets of a counter row

// group is a commit group being formed: the effects of the Changes taken so far over the published state. It belongs to
// the writer.
type group struct {
	log     *Log
	base    *published
	at      time.Time
	clock   reading
	entries []ledger.BatchEntry
	bodies  []ledger.SealedBody
	rows    []ledger.Row
	states  []rowState     // of rows
	byKey   map[string]int // into rows and states
	byDedup map[ledger.Hash]place
	sealed  map[ledger.Hash]bool
	freezes bool // the last Change closed the log
}

// newGroup starts a group with room for the given Changes.
func (l *Log) newGroup(base *published, taken []*pending) *group {
	entries, rows := 0, 0
	for _, p := range taken {
		entries += len(p.entries)
		rows += len(p.change.Put)
	}
	g := &group{
		log: l, base: base, clock: l.clock.read(l.last.At),
		entries: make([]ledger.BatchEntry, 0, entries),
		rows:    make([]ledger.Row, 0, rows),
		states:  make([]rowState, 0, rows),
		byKey:   make(map[string]int, rows),
		byDedup: make(map[ledger.Hash]place, entries),
		sealed:  make(map[ledger.Hash]bool),
	}
	g.at = g.clock.registered
	return g
}

// empty reports whether the group would write nothing.
func (g *group) empty() bool { return len(g.entries) == 0 && len(g.rows) == 0 && len(g.bodies) == 0 }

// size is the tree size after the entries so far.
func (g *group) size() uint64 { return g.base.head.Size + uint64(len(g.entries)) }

// add takes p into the group. On an error the group is as before; it wraps ErrConflict if a precondition does not hold.
func (g *group) add(p *pending) ([]place, error) {
	if g.freezes {
		return nil, fmt.Errorf("sequencer: %w: %w", ErrFrozen, ledger.ErrUnavailable)
	}
	for i := range p.change.Expect {
		if err := g.expect(p, &p.change.Expect[i]); err != nil {
			return nil, err
		}
	}
	rows, states, err := g.newRows(p)
	if err != nil {
		return nil, err
	}
	places, err := g.places(p)
	if err != nil {
		return nil, err
	}
	if err := g.checkJustified(p, places); err != nil {
		return nil, err
	}
	bodies, err := g.newBodies(p)
	if err != nil {
		return nil, err
	}
	// Nothing fails from here on.
	g.freezes = p.freezes
	for i := range places {
		if !places[i].duplicate {
			g.putEntry(&p.entries[i], places[i])
		}
	}
	for _, i := range bodies {
		g.putBody(&p.entries[i])
	}
	for i := range rows {
		if j := p.change.Put[i].JustifiedBy; j != ledger.NotJustified {
			rows[i].Justified, rows[i].JustifiedBy = true, places[j].index
		}
		states[i].hash = ledger.RowHash(rows[i])
		g.putRow(rows[i], states[i])
	}
	return places, nil
}

// expect evaluates one precondition.
func (g *group) expect(p *pending, e *ledger.Precondition) error {
	if e.Kind == ledger.ExpectNotAfter {
		switch {
		case g.clock.doubt != 0:
			return fmt.Errorf("sequencer: the clock is off by %v, deadlines cannot be judged: %w",
				g.clock.doubt, ledger.ErrUnavailable)
		case g.clock.judged.After(e.T):
			return fmt.Errorf("sequencer: it is after %v: %w", e.T, ledger.ErrConflict)
		}
		return nil
	}
	s, err := g.state(p, e.Key)
	if err != nil {
		return err
	}
	switch e.Kind {
	case ledger.ExpectVersion:
		if s.version != e.N || e.N == 0 {
			return fmt.Errorf("sequencer: row %q has version %d, expected %d: %w", e.Key, s.version, e.N, ledger.ErrConflict)
		}
	case ledger.ExpectAbsent:
		if s.version != 0 {
			return fmt.Errorf("sequencer: row %q exists: %w", e.Key, ledger.ErrConflict)
		}
	case ledger.ExpectCountBelow:
		if !s.counter {
			return fmt.Errorf("sequencer: row %q is not a counter: %w", e.Key, ledger.ErrConflict)
		}
		if s.count >= e.N {
			return fmt.Errorf("sequencer: counter %q is at %d, expected below %d: %w", e.Key, s.count, e.N, ledger.ErrConflict)
		}
	}
	return nil
}

// state is the row as the next Change of the group finds it: as the group left it, as an earlier group left it, or, if
// none has written it since, as the caller saw it.
func (g *group) state(p *pending, key string) (rowState, error) {
	if i, ok := g.byKey[key]; ok {
		return g.states[i], nil
	}
	if s, _, ok := g.log.rows.get(key); ok {
		return s, nil
	}
	if g.log.rows.since(p.seq) {
		return p.row(key).state, nil
	}
	return g.base.reader(g.log).state(key)
}

// newRows computes what the Puts of p write, without justification and hash.
func (g *group) newRows(p *pending) ([]ledger.Row, []rowState, error) {
	puts := p.change.Put
	rows, states := make([]ledger.Row, len(puts)), make([]rowState, len(puts))
	for i := range puts {
		r := &puts[i]
		old, err := g.state(p, r.Key)
		if err != nil {
			return nil, nil, err
		}
		value := r.Value
		if r.Add != 0 {
			count, err := addCount(old, r)
			if err != nil {
				return nil, nil, err
			}
			value = binary.BigEndian.AppendUint64(nil, count)
		}
		rows[i] = ledger.Row{Key: r.Key, Version: old.version + 1, Value: value}
		states[i] = stateOf(rows[i])
	}
	return rows, states, nil
}

// addCount applies a counter's Add.
func addCount(old rowState, r *ledger.Record) (uint64, error) {
	switch {
	case !old.counter:
		return 0, fmt.Errorf("sequencer: row %q is not a counter: %w", r.Key, ledger.ErrConflict)
	case r.Add < 0 && old.count < -uint64(r.Add):
		return 0, fmt.Errorf("sequencer: counter %q would go below zero: %w", r.Key, ledger.ErrConflict)
	case r.Add > 0 && old.count > math.MaxInt64-uint64(r.Add):
		return 0, fmt.Errorf("sequencer: counter %q would overflow: %w", r.Key, ledger.ErrConflict)
	}
	return old.count + uint64(r.Add), nil
}

// stateOf is the state of a stored row, without its hash.
func stateOf(r ledger.Row) rowState {
	s := rowState{version: r.Version}
	if len(r.Value) == counterSize {
		s.counter, s.count = true, binary.BigEndian.Uint64(r.Value)
	}
	return s
}

// place is where an entry stands in the log.
type place struct {
	index     uint64
	leaf      ledger.Hash
	duplicate bool // it stood there already
}

// places finds out where each entry of p will stand.
func (g *group) places(p *pending) ([]place, error) {
	places := make([]place, len(p.entries))
	var own map[ledger.Hash]place // of the entries of p, if there are several
	if len(p.entries) > 1 {
		own = make(map[ledger.Hash]place, len(p.entries))
	}
	next := g.size()
	for i := range p.entries {
		e := &p.entries[i]
		at, ok := own[e.Dedup]
		if !ok {
			var err error
			if at, ok, err = g.duplicate(p, e); err != nil {
				return nil, err
			}
		}
		if !ok {
			at = place{index: next, leaf: e.Leaf}
			next++
		}
		if own != nil {
			own[e.Dedup] = at
		}
		at.duplicate = ok
		places[i] = at
	}
	return places, nil
}

// duplicate looks for e in the group, in earlier groups, and in what the caller saw.
func (g *group) duplicate(p *pending, e *pendingEntry) (place, bool, error) {
	if at, ok := g.byDedup[e.Dedup]; ok {
		return at, true, nil
	}
	if at, _, ok := g.log.dedups.get(e.Dedup); ok {
		return at, true, nil
	}
	if e.seen.duplicate || g.log.dedups.since(p.seq) {
		return e.seen, e.seen.duplicate, nil
	}
	return g.base.reader(g.log).duplicate(e.Dedup)
}

// checkJustified refuses evidence that was there before the row's last version: an entry that stood already cannot
// justify a row that a later entry of its feed has justified since. Every read would take the row for stale.
func (g *group) checkJustified(p *pending, places []place) error {
	for i := range p.change.Put {
		r := &p.change.Put[i]
		if r.JustifiedBy == ledger.NotJustified || !places[r.JustifiedBy].duplicate {
			continue
		}
		at := places[r.JustifiedBy].index
		j, inGroup := g.byKey[r.Key]
		later := inGroup && g.rows[j].Justified && g.rows[j].JustifiedBy > at
		if !later && at < g.base.head.Size {
			var err error
			if later, err = g.base.reader(g.log).replaced(r.Key, p.entries[r.JustifiedBy].Subject, at); err != nil {
				return err
			}
		}
		if later {
			return fmt.Errorf("sequencer: row %q was justified by an entry later than %d: %w", r.Key, at, ledger.ErrConflict)
		}
	}
	return nil
}

// putEntry adds an entry at the place the next one has.
func (g *group) putEntry(e *pendingEntry, at place) {
	g.byDedup[e.Dedup] = at
	g.entries = append(g.entries, e.BatchEntry)
}

// newBodies returns the entries of p whose sealed bodies are to be stored: those with a digest that neither an earlier
// group nor the store has. A body is stored once, so that destroying one key erases it.
func (g *group) newBodies(p *pending) ([]int, error) {
	var fresh []int
	for i := range p.entries {
		e := &p.entries[i]
		if e.sealed == nil {
			continue
		}
		if _, _, ok := g.log.bodies.get(e.digest); ok {
			continue
		}
		if !g.log.bodies.since(p.seq) {
			if has, err := g.base.reader(g.log).hasBody(e.digest); err != nil {
				return nil, err
			} else if has {
				continue
			}
		}
		fresh = append(fresh, i)
	}
	return fresh, nil
}

// putBody adds a sealed body unless the group has one with its digest.
func (g *group) putBody(e *pendingEntry) {
	if g.sealed[e.digest] {
		return
	}
	g.sealed[e.digest] = true
	g.bodies = append(g.bodies, ledger.SealedBody{Digest: e.digest, Sealed: e.sealed})
}

// putRow adds a row, in place of an earlier version of it in the group.
func (g *group) putRow(r ledger.Row, s rowState) {
	if i, ok := g.byKey[r.Key]; ok {
		g.rows[i], g.states[i] = r, s
		return
	}
	g.byKey[r.Key] = len(g.rows)
	g.rows = append(g.rows, r)
	g.states = append(g.states, s)
}
