package authority

import (
	"bytes"
	"errors"
	"fmt"
	"iter"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// Evidence is one entry of a feed together with its body.
type Evidence struct {
	Index     uint64
	Statement *ledger.Statement
	Body      []byte // SHA-256 is Statement.Digest
}

// ErrHistory: the evidence of a feed does not make a history: a transition without an approval, a body that is not of
// its type, another mission's record.
var ErrHistory = errors.New("authority: evidence is not a history")

// Rebuild folds the whole feed of one subject, in index order, into the rows that it proves, in the order in which they
// were first written. It reads nothing but the evidence: a store whose rows differ does not say what the log says.
// Evidence of types that prove no row, and of other producers, is passed over. The error wraps ErrHistory, or is the
// feed's.
func Rebuild(issuer, subject string, feed iter.Seq2[Evidence, error]) ([]ledger.Row, error) {
	kind, id, err := ledger.ParseSubject(issuer, subject)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHistory, err)
	}
	f := &fold{issuer: issuer, kind: kind, id: id, at: map[string]int{}}
	for e, err := range feed {
		if err != nil {
			return nil, err
		}
		step := folds[foldKey{kind, e.Statement.ContentType}]
		if step == nil || e.Statement.Issuer != issuer {
			continue
		}
		if e.Statement.Subject != subject {
			return nil, fmt.Errorf("%w: entry %d is not of this feed", ErrHistory, e.Index)
		}
		if err := step(f, e); err != nil {
			return nil, fmt.Errorf("%w: entry %d: %w", ErrHistory, e.Index, err)
		}
	}
	return f.rows, nil
}

// A fold is the state of Rebuild between two entries.
type fold struct {
	issuer string
	kind   ledger.SubjectKind
	id     string
	rows   []ledger.Row
	at     map[string]int // key to place in rows
	cur    mission.Standing

	agreement agreementState
	heads     map[string]headState // by key
}

type foldKey struct {
	kind        ledger.SubjectKind
	contentType string
}

// folds says which evidence proves rows, and how.
var folds = map[foldKey]func(*fold, Evidence) error{
	{ledger.SubjectMissions, mission.ContentApprovalRecord}:   (*fold).approval,
	{ledger.SubjectMissions, mission.ContentTransition}:       (*fold).transition,
	{ledger.SubjectMissions, mission.ContentConsentEvidence}:  (*fold).consent,
	{ledger.SubjectApprovals, mission.ContentConsentEvidence}: (*fold).consent,
	{ledger.SubjectApprovals, mission.ContentSubmission}:      (*fold).submission,
	{ledger.SubjectApprovals, contentSubmissionExpired}:       (*fold).expiry,
	{ledger.SubjectPrincipals, mission.ContentPrincipals}:     (*fold).principals,

	{ledger.SubjectPeers, contentPeerRecord}:                      (*fold).peerRecord,
	{ledger.SubjectPeers, mission.ContentPeerCheckpoint}:          (*fold).peerCheckpoint,
	{ledger.SubjectPeers, mission.ContentPeerCeiling}:             (*fold).peerCeiling,
	{ledger.SubjectAgreements, mission.ContentAgreementEvent}:     (*fold).agreementEvent,
	{ledger.SubjectMissions, contentMinted}:                       (*fold).minted,
	{ledger.SubjectMissions, mission.ContentStatusObserved}:       (*fold).observed,
	{ledger.SubjectApprovals, mission.ContentLocalMissionRefused}: (*fold).localRefused,
}

// put writes a row as the Change of the entry at index did.
func (f *fold) put(key string, value any, index uint64) error {
	b, err := mission.Marshal(value)
	if err != nil {
		return err
	}
	row := ledger.Row{Key: key, Version: 1, Value: b, Justified: true, JustifiedBy: index}
	if i, ok := f.at[key]; ok {
		row.Version = f.rows[i].Version + 1
		f.rows[i] = row
		return nil
	}
	f.at[key] = len(f.rows)
	f.rows = append(f.rows, row)
	return nil
}

func (f *fold) approval(e Evidence) error {
	rec, err := mission.ParseRecord(e.Body)
	if err != nil {
		return err
	}
	if string(rec.ID) != f.id || rec.Issuer != f.issuer || f.cur.Version != 0 {
		return errors.New("approval of another mission, or a second one")
	}
	f.cur = mission.Begin(rec)
	if err := f.put(recordRow(rec.ID), recordState{mission.RawDigest(e.Body)}, e.Index); err != nil {
		return err
	}
	return f.put(stateRow(rec.ID), f.cur, e.Index)
}

func (f *fold) transition(e Evidence) error {
	t, err := mission.ParseTransitionRecord(e.Body)
	if err != nil {
		return err
	}
	if f.cur.Version == 0 || t.Issuer != f.issuer {
		return errors.New("transition without an approval")
	}
	if f.cur, err = mission.Replay(f.cur, t); err != nil {
		return err
	}
	return f.put(stateRow(f.cur.MissionID), f.cur, e.Index)
}

func (f *fold) consent(e Evidence) error {
	var c consentEvidence
	if err := mission.Decode(e.Body, &c); err != nil {
		return err
	}
	at := string(c.ApprovalEventID)
	if f.kind == ledger.SubjectMissions {
		at = string(c.Mission.ID)
	}
	if at != f.id {
		return errors.New("consent to something else")
	}
	return f.put(outcomeRow(c.SubmissionID), c.outcome(), e.Index)
}

func (f *fold) submission(e Evidence) error {
	var b submissionBody
	if err := mission.Decode(e.Body, &b); err != nil {
		return err
	}
	if string(b.ApprovalEventID) != f.id || b.Issuer != f.issuer {
		return errors.New("submission of another event")
	}
	return f.put(submissionRow(b.SubmissionID), b.state(mission.RawDigest(e.Body)), e.Index)
}

func (f *fold) expiry(e Evidence) error {
	var x submissionExpiry
	if err := mission.Decode(e.Body, &x); err != nil {
		return err
	}
	if string(x.ApprovalEventID) != f.id {
		return errors.New("expiry of another event")
	}
	return f.put(outcomeRow(x.SubmissionID), x.outcome(), e.Index)
}

func (f *fold) principals(e Evidence) error {
	var p principalsChange
	if err := mission.Decode(e.Body, &p); err != nil {
		return err
	}
	if mission.RawDigest(p.Document.Bytes()) != p.Digest {
		return errors.New("digest of another document")
	}
	return f.put(principalsRow, principalsState{p.Digest}, e.Index)
}

// rebuilt are the prefixes of the rows that Rebuild recomputes; no other row may stand under them.
var rebuilt = []string{missionPrefix, "submission/", "outcome/", principalsRow,
	peerPrefix, "head/", "agreement/", "ceiling/", "coupling/", "seen/"}

// A Difference is a row that is not what the log says.
type Difference struct {
	Key  string
	What string // "missing", "unexpected", "value", "version" or "justification"
}

// differs compares a stored row with a rebuilt one.
func differs(stored, want ledger.Row) string {
	switch {
	case !bytes.Equal(stored.Value, want.Value):
		return "value"
	case stored.Version != want.Version:
		return "version"
	case !stored.Justified || stored.JustifiedBy != want.JustifiedBy:
		return "justification"
	}
	return ""
}
