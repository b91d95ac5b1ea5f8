package evidence

import "github.com/mission-authority/mas/mission"

// Bases of an erasure that the draft names; others are collision-resistant names.
const (
	BasisDataSubject = "data_subject_request"
	BasisRetention   = "retention_limit"
)

// An Erasure is an erasure record: that the body behind a commitment was destroyed, and why.
type Erasure struct {
	Erased   mission.Digest `json:"erased"`
	Basis    string         `json:"basis"`
	ErasedAt string         `json:"erased_at"`
	Salt     string         `json:"salt"`

	Rest map[string]mission.Raw `json:",rest"`
}

// Validate checks values. Decode calls it.
func (e Erasure) Validate() error {
	return all(must(e.Basis == BasisDataSubject || e.Basis == BasisRetention || collisionResistant(e.Basis),
		"basis has an uncoordinated value"), at(e.ErasedAt, "erased_at"), saltOf(e.Salt), extensions(e.Rest))
}

func (e *Erasure) describe(f *Facts) { f.At, f.Erases = e.ErasedAt, e.Erased }

// An Access says that somebody read evidence bodies or took them away.
type Access struct {
	Kind    string           `json:"kind"`             // read or export
	By      string           `json:"by"`               // principal id
	Digests []mission.Digest `json:"digests"`          // of the bodies, sorted
	Bundle  mission.Digest   `json:"bundle,omitempty"` // of an exported container
	Purpose string           `json:"purpose,omitempty"`
	At      string           `json:"at"`
	Salt    string           `json:"salt"`
}

// Kinds of Access.
const (
	AccessRead   = "read"
	AccessExport = "export"
)

// Validate checks values. Decode calls it.
func (a Access) Validate() error {
	return all(oneOf(a.Kind, "kind", AccessRead, AccessExport), text(a.By, "by"),
		must(len(a.Digests) > 0, "digests is empty"), at(a.At, "at"), saltOf(a.Salt))
}

func (a *Access) describe(f *Facts) { f.At = a.At }

// A Hold is a legal hold that was set on, or released from, bodies or everything about a subject.
type Hold struct {
	ID      string         `json:"hold_id"`
	Action  string         `json:"action"`            // set or release
	Digest  mission.Digest `json:"digest,omitempty"`  // of one body
	Subject string         `json:"subject,omitempty"` // of every body in a feed
	Reason  string         `json:"reason"`
	By      string         `json:"by"`
	At      string         `json:"at"`
	Salt    string         `json:"salt"`
}

// Actions of a Hold.
const (
	HoldSet     = "set"
	HoldRelease = "release"
)

// Validate checks values. Decode calls it.
func (h Hold) Validate() error {
	return all(randomID(h.ID, "hold_id"), oneOf(h.Action, "action", HoldSet, HoldRelease),
		must((h.Digest == "") != (h.Subject == ""), "a hold is on a body or on a subject"),
		text(h.Reason, "reason"), text(h.By, "by"), at(h.At, "at"), saltOf(h.Salt))
}

func (h *Hold) describe(f *Facts) { f.ID, f.At = h.ID, h.At }
