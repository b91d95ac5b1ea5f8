package ledger

import (
	"errors"
	"fmt"
)

// A FeedAudit computes the feed epochs of a log again from its entries, which it is shown in order, and holds each
// epoch of the log against that. It keeps the whole map in memory: some 400 octets a subject.
type FeedAudit struct {
	issuer, origin string
	subject        string // of epochs
	size           uint64 // entries shown
	covered        *Edge  // of the entries that are in the map
	feeds          *FeedMap
	ahead          []auditEntry // shown and not yet in the map
	last           FeedEpoch
	lastIndex      uint64
	epochs         uint64
	passed         bool // an epoch since the last one was passed over
}

type auditEntry struct {
	subject string
	leaf    Hash
}

// NewFeedAudit begins the audit of the log of an issuer.
func NewFeedAudit(issuer, origin string) (*FeedAudit, error) {
	subject, err := Subject(issuer, SubjectLog, "")
	if err != nil {
		return nil, err
	}
	return &FeedAudit{issuer: issuer, origin: origin, subject: subject, covered: NewEdge(),
		feeds: NewFeedMap(issuer, nil)}, nil
}

// IsEpoch reports whether a statement is a feed epoch of the log: then Add wants its body.
func (a *FeedAudit) IsEpoch(s *Statement) bool {
	return s.Issuer == a.issuer && s.Subject == a.subject && s.ContentType == ContentTypeFeedEpoch
}

// Add shows the next entry. body is that of an epoch, nil if it is not known: then the epoch is passed over. The error
// wraps ErrFeedEpoch if the epoch is not what the entries before it imply; the audit can go on.
func (a *FeedAudit) Add(s *Statement, leaf Hash, body []byte) error {
	index := a.size
	a.size++
	a.ahead = append(a.ahead, auditEntry{s.Subject, leaf})
	if !a.IsEpoch(s) {
		return nil
	}
	if body == nil {
		a.passed = true
		return nil
	}
	e, err := OpenFeedEpoch(s, body, a.issuer)
	if err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	err = a.epoch(e, index)
	a.last, a.lastIndex, a.passed = *e, index, false
	return err
}

func (a *FeedAudit) epoch(e *FeedEpoch, index uint64) error {
	if e.CoveredSize > index || e.CoveredSize <= a.covered.Size() && a.epochs > 0 {
		return fmt.Errorf("%w: entry %d covers size %d after size %d", ErrFeedEpoch, index, e.CoveredSize, a.covered.Size())
	}
	if err := a.cover(e.CoveredSize); err != nil {
		return err
	}
	a.epochs++
	want := FeedEpoch{Origin: a.origin, Number: a.last.Number + 1, CoveredSize: e.CoveredSize,
		CoveredRoot: a.covered.Root(), Previous: a.lastIndex}
	if a.passed {
		want.Number, want.Previous = e.Number, e.Previous
	}
	var err error
	if want.MapRoot, err = a.feeds.Root(); err != nil {
		return err
	}
	if want.Subjects, want.Missions, err = a.feeds.Population(); err != nil {
		return err
	}
	switch {
	case *e == want:
		return nil
	case e.CoveredRoot != want.CoveredRoot:
		return fmt.Errorf("%w: entry %d names another tree of size %d", ErrFeedEpoch, index, e.CoveredSize)
	case e.MapRoot != want.MapRoot || e.Subjects != want.Subjects || e.Missions != want.Missions:
		return fmt.Errorf("%w: entry %d has the map %s of %d subjects, the %d entries give %s of %d", ErrFeedEpoch, index,
			e.MapRoot, e.Subjects, e.CoveredSize, want.MapRoot, want.Subjects)
	default:
		return fmt.Errorf("%w: entry %d is epoch %d of %q after entry %d, want %d of %q after entry %d", ErrFeedEpoch, index,
			e.Number, e.Origin, e.Previous, want.Number, want.Origin, want.Previous)
	}
}

// cover puts the entries below size into the map.
func (a *FeedAudit) cover(size uint64) error {
	first := a.covered.Size()
	n := size - first
	for i, e := range a.ahead[:n] {
		a.covered.Append(e.leaf)
		if err := a.feeds.Add(e.subject, first+uint64(i), e.leaf); err != nil {
			return err
		}
	}
	a.ahead = append(a.ahead[:0:0], a.ahead[n:]...)
	return nil
}

// Epochs returns how many epochs were held against the entries, and the last of them with its index.
func (a *FeedAudit) Epochs() (n uint64, last FeedEpoch, index uint64) {
	return a.epochs, a.last, a.lastIndex
}

// Feeds is the map as of the last epoch that was held against the entries.
func (a *FeedAudit) Feeds() *FeedMap { return a.feeds }

// ErrNoEpoch: the log has no feed epoch yet.
var ErrNoEpoch = errors.New("ledger: no feed epoch yet")
