package authority

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// A held is one mission as a decision sees it.
type held struct {
	rec *mission.Record
	cur mission.Standing
	row ledger.Row // the state row that cur was read from
}

// recordState is the row mission/<id>/record.
type recordState struct {
	Record mission.Digest `json:"record"` // SHA-256 of the approved record, which is a vault body
}

// mission reads a mission under the positive-read rule. The error wraps ledger.ErrNotFound if there is none; finding
// that out takes the work of finding one.
func (a *Authority) mission(r *reading, id mission.ID) (*held, error) {
	h := &held{}
	var err error
	if h.row, err = prove(r, stateRow(id), &h.cur); err != nil {
		if errors.Is(err, ledger.ErrNotFound) {
			if _, err := r.Proven(principalsRow); err != nil {
				return nil, unavailable("reading a row", err)
			}
			return nil, fmt.Errorf("mission: %w", ledger.ErrNotFound)
		}
		return nil, unavailable("reading a mission", err)
	}
	if h.rec, err = a.record(r, id); err != nil {
		return nil, err
	}
	return h, nil
}

// record reads the approved record of a mission that has a state.
func (a *Authority) record(v ledger.View, id mission.ID) (*mission.Record, error) {
	if rec := a.records.get(id); rec != nil {
		return rec, nil
	}
	var state recordState
	row, err := prove(v, recordRow(id), &state)
	if err != nil {
		return nil, unavailable("reading a record row", err)
	}
	entry, err := v.Entry(row.JustifiedBy)
	if err != nil {
		return nil, unavailable("reading an approval", err)
	}
	s, err := ledger.ParseStatement(entry.Statement)
	if err != nil {
		return nil, unavailable("reading an approval", errors.Join(ledger.ErrIntegrity, err))
	}
	if s.Subject != a.missionSubject(id) || s.ContentType != mission.ContentApprovalRecord ||
		s.Digest != state.Record.Bytes() {
		return nil, unavailable("reading an approval", fmt.Errorf("another record was approved: %w", ledger.ErrIntegrity))
	}
	body, err := v.Body(s.Digest)
	if errors.Is(err, ledger.ErrErased) { // only missions that have ended are erased; nobody can ask about this one
		return nil, fmt.Errorf("mission: %w: %w", ledger.ErrNotFound, err)
	}
	if err != nil {
		return nil, unavailable("reading a record", err)
	}
	rec, err := mission.ParseRecord(body)
	if err != nil {
		return nil, unavailable("reading a record", errors.Join(ledger.ErrIntegrity, err))
	}
	if rec.ID != id || rec.Issuer != a.issuer {
		return nil, unavailable("reading a record", fmt.Errorf("record of another mission: %w", ledger.ErrIntegrity))
	}
	a.records.put(rec)
	return rec, nil
}

// creation is what creates a mission: its rows, justified by the approval entry at the ordinal approval of the Change.
func (a *Authority) creation(rec *mission.Record, approval int) (expect []ledger.Precondition, rows []ledger.Record, err error) {
	commitment, err := rec.Commitment()
	if err != nil {
		return nil, nil, fmt.Errorf("record: %w", err)
	}
	expires, err := mission.ParseTime(rec.ExpiresAt)
	if err != nil {
		return nil, nil, fmt.Errorf("record: %w", err)
	}
	record, err := put(recordRow(rec.ID), recordState{commitment}, approval)
	if err != nil {
		return nil, nil, err
	}
	state, err := put(stateRow(rec.ID), mission.Begin(rec), approval)
	if err != nil {
		return nil, nil, err
	}
	expect = []ledger.Precondition{
		ledger.Absent(record.Key),
		ledger.Absent(state.Key),
		ledger.NotAfter(expires.Add(-time.Nanosecond)),
	}
	return expect, []ledger.Record{record, state, a.dueAt(expires, dueMission, string(rec.ID))}, nil
}

// records keeps parsed records. They are immutable, so what is here is right as long as the process lives.
type records struct {
	mu sync.RWMutex
	m  map[mission.ID]*mission.Record
}

const maxRecords = 4096

func (c *records) get(id mission.ID) *mission.Record {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.m[id]
}

func (c *records) drop(id mission.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, id)
}

func (c *records) put(rec *mission.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = make(map[mission.ID]*mission.Record)
	}
	for id := range c.m { // any: records are equally cheap to read again
		if len(c.m) < maxRecords {
			break
		}
		delete(c.m, id)
	}
	c.m[rec.ID] = rec
}
