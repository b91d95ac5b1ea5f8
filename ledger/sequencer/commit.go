package sequencer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/mission-authority/mas/ledger"
)

// ErrInvalid: the Change contradicts itself or its statements do not parse. It is the caller's mistake; nothing was
// written.
var ErrInvalid = errors.New("sequencer: invalid change")

// pending is a Change on its way to the writer.
type pending struct {
	change  ledger.Change
	entries []pendingEntry
	rows    []pendingRow // each key of Expect and Put once
	index   map[string]int
	seq     uint64 // group of the view in which entries and rows were looked up
	cost    int    // at most what it adds to a batch

	freezes bool // it closes the log, see Freeze

	taken, withdrawn bool // guarded by the queue

	done chan outcome // receives once
}

// pendingEntry is an Entry with what was derived and looked up in the caller's goroutine.
type pendingEntry struct {
	ledger.BatchEntry
	digest ledger.Hash
	sealed []byte // nil without a body, or if the body is stored already
	seen   place  // of the entry it duplicates in the view, if seen.duplicate
}

// pendingRow is a row as seen in the view.
type pendingRow struct {
	key   string
	state rowState
}

// rowState is what the writer has to know about a row.
type rowState struct {
	version uint64 // 0 if there is no such row
	counter bool   // absent, or 8 octets long
	count   uint64
	hash    ledger.Hash // the hash row
	proven  bool        // by this process, at this version
}

// outcome is what the writer answers.
type outcome struct {
	head   ledger.Head // of the group
	places []place
	err    error
}

// committed renders the outcome, in the caller's goroutine.
func (o outcome) committed() (ledger.Committed, error) {
	if o.err != nil {
		return ledger.Committed{}, o.err
	}
	c := ledger.Committed{Seq: o.head.Seq, TreeSize: o.head.Size, At: o.head.At}
	if len(o.places) > 0 {
		c.Results = make([]ledger.Result, len(o.places))
	}
	for i, at := range o.places {
		c.Results[i] = ledger.Result{EntryID: ledger.EntryID(at.leaf), Index: at.index, Duplicate: at.duplicate}
	}
	return c, nil
}

// Commit submits c and returns when it is durable and published; see ledger.Log. A Change that contradicts itself is
// refused with ErrInvalid. Keys of one Change's Put must differ. The caller does not modify c's slices until Commit
// returns. Commit waits for Run.
func (l *Log) Commit(ctx context.Context, c ledger.Change) (ledger.Committed, error) {
	if err := l.takesWrites(); err != nil {
		return ledger.Committed{}, err
	}
	if err := ctx.Err(); err != nil {
		return ledger.Committed{}, err
	}
	p, err := l.prepare(c)
	if err != nil {
		return ledger.Committed{}, err
	}
	if err := l.queue.put(p); err != nil {
		return ledger.Committed{}, err
	}
	select {
	case out := <-p.done:
		return out.committed()
	case <-ctx.Done():
		if l.queue.withdraw(p) {
			return ledger.Committed{}, ctx.Err()
		}
		return (<-p.done).committed()
	}
}

// prepare does everything that does not need the writer.
func (l *Log) prepare(c ledger.Change) (*pending, error) {
	return l.lookUp(&pending{change: c, done: make(chan outcome, 1)})
}

func (l *Log) lookUp(p *pending) (*pending, error) {
	c := &p.change
	if err := p.check(); err != nil {
		return nil, err
	}
	if p.cost > l.limits.Bytes || len(c.Entries) > l.limits.Entries {
		return nil, p.tooLarge(l)
	}
	v, err := l.view()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	p.seq = v.head.Seq
	if err := p.readRows(v); err != nil {
		return nil, err
	}
	for i := range c.Entries {
		if err := p.prepareEntry(v, i); err != nil {
			return nil, err
		}
	}
	if p.cost > l.limits.Bytes {
		return nil, p.tooLarge(l)
	}
	return p, nil
}

func (p *pending) tooLarge(l *Log) error {
	return fmt.Errorf("sequencer: a change of %d entries does not fit %d entries and a cost of %d: %w",
		len(p.change.Entries), l.limits.Entries, l.limits.Bytes, ledger.ErrTooLarge)
}

// check refuses what no state of the log could make right, and collects the keys and the cost of the rows.
func (p *pending) check() error {
	c := &p.change
	if len(c.Put) == 0 && len(c.Entries) == 0 {
		return fmt.Errorf("%w: nothing to commit", ErrInvalid)
	}
	for i := range c.Put {
		r := &c.Put[i]
		if err := checkRecord(r, len(c.Entries)); err != nil {
			return err
		}
		if !p.addKey(r.Key) {
			return fmt.Errorf("%w: row %q put twice", ErrInvalid, r.Key)
		}
		value := r.Value
		if r.Add != 0 {
			value = make([]byte, counterSize)
		}
		p.cost += ledger.RowCost(r.Key, value)
	}
	for i := range c.Expect {
		e := &c.Expect[i]
		switch e.Kind {
		case ledger.ExpectVersion, ledger.ExpectAbsent, ledger.ExpectCountBelow:
			if err := checkKey(e.Key); err != nil {
				return err
			}
			p.addKey(e.Key)
		case ledger.ExpectNotAfter:
		default:
			return fmt.Errorf("%w: precondition of kind %d", ErrInvalid, e.Kind)
		}
	}
	return nil
}

func checkRecord(r *ledger.Record, entries int) error {
	switch {
	case len(r.Value) > ledger.MaxRowValue:
		return fmt.Errorf("sequencer: row value of %d octets: %w", len(r.Value), ledger.ErrTooLarge)
	case r.Add != 0 && r.Value != nil:
		return fmt.Errorf("%w: counter %q with a value", ErrInvalid, r.Key)
	case r.JustifiedBy < ledger.NotJustified || r.JustifiedBy >= entries:
		return fmt.Errorf("%w: row %q justified by entry %d of %d", ErrInvalid, r.Key, r.JustifiedBy, entries)
	}
	return checkKey(r.Key)
}

func checkKey(key string) error {
	if len(key) == 0 || len(key) > ledger.MaxRowKey {
		return fmt.Errorf("%w: row key of %d octets", ErrInvalid, len(key))
	}
	return nil
}

// addKey adds key to the rows and reports false if it is there.
func (p *pending) addKey(key string) bool {
	if p.row(key) != nil {
		return false
	}
	p.rows = append(p.rows, pendingRow{key: key})
	const few = 16 // below this a scan is cheaper than a map
	if len(p.rows) == few {
		p.index = make(map[string]int, 2*few)
		for i := range p.rows {
			p.index[p.rows[i].key] = i
		}
	} else if len(p.rows) > few {
		p.index[key] = len(p.rows) - 1
	}
	return true
}

// row returns the row with this key, nil if the Change does not name it.
func (p *pending) row(key string) *pendingRow {
	if p.index != nil {
		if i, ok := p.index[key]; ok {
			return &p.rows[i]
		}
		return nil
	}
	for i := range p.rows {
		if p.rows[i].key == key {
			return &p.rows[i]
		}
	}
	return nil
}

func (p *pending) readRows(v *view) error {
	for i := range p.rows {
		state, err := v.state(p.rows[i].key)
		if err != nil {
			return err
		}
		p.rows[i].state = state
	}
	return nil
}

// prepareEntry parses and hashes entry i, looks for its duplicate and seals its body.
func (p *pending) prepareEntry(v *view, i int) error {
	e := &p.change.Entries[i]
	if p.cost+len(e.Statement)+len(e.Body) > v.log.limits.Bytes {
		return p.tooLarge(v.log) // before a vault key is used up
	}
	st, err := ledger.ParseStatement(e.Statement)
	if err != nil {
		return fmt.Errorf("%w: entry %d: %w", ErrInvalid, i, err)
	}
	if e.Body != nil && sha256.Sum256(e.Body) != st.Digest {
		return fmt.Errorf("%w: entry %d: the statement is about another body", ErrInvalid, i)
	}
	if err := p.mayClose(st); err != nil {
		return err
	}
	if p.entries == nil {
		p.entries = make([]pendingEntry, 0, len(p.change.Entries))
	}
	pe := pendingEntry{digest: st.Digest, BatchEntry: ledger.BatchEntry{
		Raw: e.Statement, Leaf: ledger.HashLeaf(e.Statement), Subject: st.Subject, Dedup: ledger.DedupKey(st),
	}}
	if pe.seen, pe.seen.duplicate, err = v.duplicate(pe.Dedup); err != nil {
		return err
	}
	if e.Body != nil {
		if pe.sealed, err = v.seal(pe.digest, e.Body); err != nil {
			return err
		}
	}
	p.cost += ledger.EntryCost(len(pe.Raw))
	if pe.sealed != nil {
		p.cost += ledger.BodyCost(len(pe.sealed))
	}
	p.entries = append(p.entries, pe)
	return nil
}

// seal returns the sealed body, or nil if one with this digest is stored: its key may have been destroyed, and what was
// erased does not come back.
func (v *view) seal(digest ledger.Hash, body []byte) ([]byte, error) {
	if v.log.vault == nil {
		return nil, fmt.Errorf("%w: an entry with a body in a log without a vault", ErrInvalid)
	}
	if has, err := v.hasBody(digest); has || err != nil {
		return nil, err
	}
	sealed, err := v.log.vault.Seal(digest, body)
	if err != nil {
		return nil, fmt.Errorf("sequencer: sealing a body: %w: %w", ledger.ErrUnavailable, err)
	}
	return sealed, nil
}
