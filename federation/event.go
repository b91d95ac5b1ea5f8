package federation

import (
	"errors"
	"fmt"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// Events in the life of an agreement, each an entry in the log of the party that it happens at.
const (
	EventSigned     = "signed"    // the party holds both signatures and agrees
	EventActivated  = "activated" // it has verified that the other party's `signed` is in the other party's log
	EventConfirmed  = "confirmed" // and its `activated` too: from here on the party uses the agreement
	EventTerminated = "ended"     // it has stopped: unilateral and immediate
)

// MaxEvents bounds the events in one exchange.
const MaxEvents = 4

// An AgreementEvent is the evidence body of one event. It holds everything that the party's row about the agreement
// holds, so that the row can be rebuilt from the log.
type AgreementEvent struct {
	Issuer    string               `json:"issuer"` // at which it happened
	Event     string               `json:"event"`
	Agreement mission.AgreementRef `json:"agreement"`
	At        string               `json:"at"`
	Signed    *SignedAgreement     `json:"signed,omitempty"` // iff event is signed
	Cites     *Cited               `json:"cites,omitempty"`  // iff event is activated or confirmed
	Reason    string               `json:"reason,omitempty"` // of ended: a code
}

// Cited are the entries that an `activated` or `confirmed` stands on: the own event before it and the same event of the
// other party, with the checkpoint of the other party's log at that time.
type Cited struct {
	Own        string `json:"own_entry"`
	Peer       string `json:"peer_entry"`
	PeerIndex  uint64 `json:"peer_index"`
	PeerSize   uint64 `json:"peer_tree_size"`
	Checkpoint string `json:"peer_checkpoint"`
}

// An AgreementExchange is what the parties send each other: the events so far, each with its proof. It is the body of
// POST /federation/v1/agreements and of its answer.
type AgreementExchange struct {
	Agreement  mission.AgreementRef `json:"agreement"`
	Events     []ProvenEvent        `json:"events"`
	Checkpoint string               `json:"checkpoint"` // of the sender's log
}

// A ProvenEvent is an event with the transparent statement that proves it to be in the sender's log.
type ProvenEvent struct {
	Body      mission.Raw `json:"body"`      // AgreementEvent
	Statement string      `json:"statement"` // base64url of statement and receipt
}

// ParseAgreementExchange reads the body. Errors are *Refusal with code invalid_request.
func ParseAgreementExchange(body []byte) (*AgreementExchange, error) {
	return parseRequest[AgreementExchange](body, MaxRequest)
}

// ParseAgreementEvent reads an evidence body.
func ParseAgreementEvent(body []byte) (*AgreementEvent, error) {
	if len(body) > MaxRequest {
		return nil, fmt.Errorf("%w: event of %d octets", ErrAgreement, len(body))
	}
	var e AgreementEvent
	if err := mission.Decode(body, &e); err != nil {
		return nil, fmt.Errorf("%w: event: %w", ErrAgreement, err)
	}
	return &e, nil
}

// Validate checks the event. Decode calls it.
func (e *AgreementEvent) Validate() error {
	if err := checkIssuer(e.Issuer); err != nil {
		return err
	}
	if err := checkSet("event", []string{e.Event}, 1, 1, EventSigned, EventActivated, EventConfirmed,
		EventTerminated); err != nil {
		return err
	}
	if _, err := mission.ParseTime(e.At); err != nil {
		return err
	}
	cites := e.Event == EventActivated || e.Event == EventConfirmed
	if (e.Event == EventSigned) != (e.Signed != nil) || cites != (e.Cites != nil) {
		return errors.New("signed carries the agreement, activated and confirmed cite entries, and nothing else does")
	}
	if e.Reason != "" {
		return checkVisible("reason", e.Reason, 64)
	}
	return nil
}

// Validate checks the citation. Decode calls it.
func (c *Cited) Validate() error {
	for _, id := range []string{c.Own, c.Peer} {
		if _, err := ledger.ParseEntryID(id); err != nil {
			return err
		}
	}
	if len(c.Checkpoint) > maxCheckpoint {
		return errors.New("checkpoint is too large")
	}
	return nil
}

// Validate bounds the exchange. Decode calls it.
func (x *AgreementExchange) Validate() error {
	if len(x.Events) < 1 || len(x.Events) > MaxEvents || len(x.Checkpoint) > maxCheckpoint {
		return errors.New("an exchange has one to four events and a checkpoint")
	}
	return nil
}

// A PeerEvent is an event of the peer with the proof that it is in the peer's log.
type PeerEvent struct {
	AgreementEvent
	Acknowledgement
}

// OpenExchange verifies everything in an exchange that the peer sent: the checkpoint, and for each event that it is the
// peer's own statement about this version of this agreement, in the peer's log, below that checkpoint or beside it.
func (p *Partner) OpenExchange(x *AgreementExchange) ([]PeerEvent, ledger.Checkpoint, error) {
	if x.Agreement != p.Ref {
		return nil, ledger.Checkpoint{}, refuse(CodeInvalidAgreement, ReasonAgreementMismatch, nil)
	}
	checkpoint, err := p.OpenCheckpoint([]byte(x.Checkpoint))
	if err != nil {
		return nil, checkpoint, refuse(CodeInvalidAgreement, ReasonBadSignature, err)
	}
	subject, err := ledger.Subject(p.Peer.Issuer, ledger.SubjectAgreements, p.Ref.ID)
	if err != nil {
		return nil, checkpoint, refuse(CodeInvalidAgreement, ReasonMalformed, err)
	}
	var out []PeerEvent
	for _, proven := range x.Events {
		event, err := ParseAgreementEvent(proven.Body.Bytes())
		if err != nil {
			return nil, checkpoint, refuse(CodeInvalidAgreement, ReasonMalformed, err)
		}
		if event.Issuer != p.Peer.Issuer || event.Agreement != p.Ref {
			return nil, checkpoint, refuse(CodeInvalidAgreement, ReasonAgreementMismatch, nil)
		}
		transparent, err := decodeBase64URL(proven.Statement)
		if err != nil {
			return nil, checkpoint, refuse(CodeInvalidAgreement, ReasonMalformed, err)
		}
		ack, err := p.OpenTransparent(transparent, subject, mission.ContentAgreementEvent, proven.Body.Bytes())
		if err != nil {
			return nil, checkpoint, err
		}
		out = append(out, PeerEvent{*event, *ack})
	}
	return out, checkpoint, nil
}
