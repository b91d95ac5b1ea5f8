package epoch

import (
	"errors"
	"fmt"

	"github.com/mission-authority/mas/ledger"
)

// Rows. Both are derived from the log.
const (
	stateRow   = "feedmap/epoch"   // the newest epoch, justified by its entry
	numbers    = "feedmap/number/" // + number of an epoch in 20 digits; empty, justified by its entry
	pagePrefix = "feedmap/page/"   // + prefix of a page of the map
)

func indexRow(n uint64) string { return fmt.Sprintf("%s%020d", numbers, n) }

// A Latest is the newest epoch of a view.
type Latest struct {
	ledger.FeedEpoch
	Index uint64 // of its entry
	Body  []byte

	version uint64 // of the row
}

// Newest returns the newest epoch of a view, or ledger.ErrNoEpoch.
func Newest(v ledger.View) (*Latest, error) {
	row, err := v.Proven(stateRow)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, ledger.ErrNoEpoch
	}
	if err != nil {
		return nil, fmt.Errorf("epoch: newest: %w", err)
	}
	e, err := ledger.ParseFeedEpoch(row.Value)
	if err != nil {
		return nil, fmt.Errorf("epoch: newest: %w: %w", ledger.ErrIntegrity, err)
	}
	return &Latest{FeedEpoch: *e, Index: row.JustifiedBy, Body: row.Value, version: row.Version}, nil
}

// Map opens the map of the newest epoch of a view. The view must stay open.
func Map(v ledger.View, issuer string) *ledger.FeedMap {
	return ledger.NewFeedMap(issuer, func(prefix string) ([]byte, error) {
		row, err := v.Get(pagePrefix + prefix)
		return row.Value, err
	})
}

// At returns epoch number n of a view, or ledger.ErrNotFound.
func At(v ledger.View, n uint64) (*Latest, error) {
	row, err := v.Proven(indexRow(n))
	if err != nil {
		return nil, err
	}
	return read(v, row.JustifiedBy)
}

// read opens the epoch that is the entry at an index.
func read(v ledger.View, index uint64) (*Latest, error) {
	logged, err := v.Entry(index)
	if err != nil {
		return nil, err
	}
	s, err := ledger.ParseStatement(logged.Statement)
	if err != nil {
		return nil, fmt.Errorf("epoch: entry %d: %w", index, err)
	}
	body, err := v.Body(s.Digest)
	if err != nil {
		return nil, fmt.Errorf("epoch: entry %d: %w", index, err)
	}
	e, err := ledger.OpenFeedEpoch(s, body, s.Issuer)
	if err != nil {
		return nil, fmt.Errorf("epoch: entry %d: %w", index, err)
	}
	return &Latest{FeedEpoch: *e, Index: index, Body: body}, nil
}
