package authority

import (
	"errors"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// How the evidence of the border proves rows (see Rebuild).

func (f *fold) peerRecord(e Evidence) error {
	var c peerChange
	if err := mission.Decode(e.Body, &c); err != nil {
		return err
	}
	if peerID(c.Issuer) != f.id {
		return errors.New("record of another peer")
	}
	return f.put(peerRow(f.id), c.state(), e.Index)
}

func (f *fold) peerCheckpoint(e Evidence) error {
	var c checkpointEvidence
	if err := mission.Decode(e.Body, &c); err != nil {
		return err
	}
	if peerID(c.Issuer) != f.id {
		return errors.New("checkpoint of another peer")
	}
	if f.heads == nil {
		f.heads = map[string]headState{}
	}
	key := join("head", f.id, c.Origin, c.Genesis)
	f.heads[key] = c.state(f.heads[key])
	return f.put(key, f.heads[key], e.Index)
}

func (f *fold) peerCeiling(e Evidence) error {
	var c ceilingEvidence
	if err := mission.Decode(e.Body, &c); err != nil {
		return err
	}
	if peerID(c.Peer) != f.id {
		return errors.New("ceiling of another peer")
	}
	return f.put(join("ceiling", f.id), c.state(mission.RawDigest(e.Body)), e.Index)
}

func (f *fold) agreementEvent(e Evidence) error {
	event, err := federation.ParseAgreementEvent(e.Body)
	if err != nil {
		return err
	}
	if event.Issuer != f.issuer || event.Agreement.ID != f.id {
		return errors.New("event of another agreement")
	}
	if event.Signed != nil {
		if err := event.Signed.Verify(); err != nil {
			return err
		}
		if ref, err := event.Signed.Agreement.Ref(); err != nil || ref != event.Agreement {
			return errors.New("event names other bytes than it carries")
		}
	}
	if f.agreement, err = f.agreement.next(event, ledger.EntryID(e.Statement.Leaf()), f.issuer); err != nil {
		return err
	}
	return f.put(agreementRow(f.id), f.agreement, e.Index)
}

func (f *fold) minted(e Evidence) error {
	var m mintedEvidence
	if err := mission.Decode(e.Body, &m); err != nil {
		return err
	}
	if string(m.MissionID) != f.id {
		return errors.New("mint of another mission")
	}
	if err := f.put(outcomeRow(m.SubmissionID), m.outcome(), e.Index); err != nil {
		return err
	}
	return f.put(couplingRow(m.MissionID), m.Coupling, e.Index)
}

func (f *fold) observed(e Evidence) error {
	var o observedEvidence
	if err := mission.Decode(e.Body, &o); err != nil {
		return err
	}
	if string(o.MissionID) != f.id || mission.RawDigest([]byte(o.Response)) != o.Digest {
		return errors.New("observation for another mission, or of another artifact")
	}
	return f.put(seenRow(o.MissionID), o.Seen, e.Index)
}

func (f *fold) localRefused(e Evidence) error {
	var x localRefusal
	if err := mission.Decode(e.Body, &x); err != nil {
		return err
	}
	if string(x.ApprovalEventID) != f.id {
		return errors.New("refusal of another submission")
	}
	return f.put(outcomeRow(x.SubmissionID), x.outcome(), e.Index)
}
