package authority

import (
	"errors"
	"fmt"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// Ended says whether, and since when, nothing here works any more with the evidence about a subject: a mission that has
// ended, a submission that was decided or has expired. Everything else is in use, exports excepted, which this package
// does not know.
func (a *Authority) Ended(v ledger.View, kind ledger.SubjectKind, id string) (since time.Time, ended bool, err error) {
	switch kind {
	case ledger.SubjectMissions:
		return a.missionEnded(v, mission.ID(id))
	case ledger.SubjectApprovals:
		return a.submissionEnded(v, mission.EventID(id))
	case ledger.SubjectExports:
		return time.Time{}, true, nil
	}
	return time.Time{}, false, nil
}

// missionEnded reports a terminal state, and the time at which the log has it. A mission that the log does not know
// but has evidence about, of others, has not ended.
func (a *Authority) missionEnded(v ledger.View, id mission.ID) (time.Time, bool, error) {
	var cur mission.Standing
	row, err := prove(v, stateRow(id), &cur)
	if errors.Is(err, ledger.ErrNotFound) {
		return time.Time{}, false, nil
	}
	if err != nil || !cur.State.Terminal() {
		return time.Time{}, false, err
	}
	last, err := v.Entry(row.JustifiedBy)
	return last.At, err == nil, err
}

// submissionEnded reports an outcome. A submission whose text is gone has ended, or it would not be.
func (a *Authority) submissionEnded(v ledger.View, event mission.EventID) (time.Time, bool, error) {
	for index, err := range v.Feed(a.approvalSubject(event), -1) {
		if err != nil {
			return time.Time{}, false, err
		}
		entry, err := v.Entry(index)
		if err != nil {
			return time.Time{}, false, err
		}
		s, err := ledger.ParseStatement(entry.Statement)
		if err != nil {
			return time.Time{}, false, fmt.Errorf("authority: entry %d: %w: %w", index, ledger.ErrIntegrity, err)
		}
		if s.ContentType != mission.ContentSubmission || s.Issuer != a.issuer {
			continue
		}
		text, err := v.Body(s.Digest)
		if errors.Is(err, ledger.ErrErased) {
			return entry.At, true, nil
		}
		if err != nil {
			return time.Time{}, false, err
		}
		var b submissionBody
		if err := mission.Decode(text, &b); err != nil {
			return time.Time{}, false, fmt.Errorf("authority: entry %d: %w: %w", index, ledger.ErrIntegrity, err)
		}
		var outcome outcomeState
		row, err := prove(v, outcomeRow(b.SubmissionID), &outcome)
		if b.Kind == submissionCeiling || errors.Is(err, ledger.ErrNotFound) {
			return time.Time{}, false, nil // a standing approval, or not decided yet
		}
		if err != nil {
			return time.Time{}, false, err
		}
		decided, err := v.Entry(row.JustifiedBy)
		return decided.At, err == nil, err
	}
	return time.Time{}, false, nil
}

// Forget drops the record of a mission from memory.
func (a *Authority) Forget(kind ledger.SubjectKind, id string) {
	if kind == ledger.SubjectMissions {
		a.records.drop(mission.ID(id))
	}
}
