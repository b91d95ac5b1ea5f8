package epoch

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/mission-authority/mas/ledger"
)

// A Report is what Check found.
type Report struct {
	Epochs   uint64 // held against the entries
	Pages    uint64 // of the map, compared
	Findings []string
}

const maxFindings = 100

func (r *Report) found(format string, args ...any) {
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, fmt.Sprintf(format, args...))
	}
}

// Check computes every feed epoch of a view again from its entries, and the pages of the map as of the newest one, and
// compares. The error is of reading; what is wrong is in the Report. It needs some 400 octets of memory a subject.
func Check(ctx context.Context, v ledger.View, issuer, origin string) (*Report, error) {
	r := new(Report)
	audit, err := ledger.NewFeedAudit(issuer, origin)
	if err != nil {
		return nil, err
	}
	for index := range v.Head().Size {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := r.entry(v, audit, index); err != nil {
			return nil, err
		}
	}
	n, last, at := audit.Epochs()
	r.Epochs = n
	newest, err := Newest(v)
	switch {
	case errors.Is(err, ledger.ErrNoEpoch):
		newest = new(Latest)
	case err != nil:
		return nil, err
	}
	if n > 0 && (newest.FeedEpoch != last || newest.Index != at) || n == 0 && newest.Number > 0 {
		r.found("row %q is of epoch %d, the log ends with epoch %d", stateRow, newest.Number, last.Number)
	}
	if len(r.Findings) > 0 {
		return r, nil // what the map should be is unknown
	}
	return r, r.pages(v, audit.Feeds())
}

func (r *Report) entry(v ledger.View, audit *ledger.FeedAudit, index uint64) error {
	e, err := v.Entry(index)
	if err != nil {
		return err
	}
	s, err := ledger.ParseStatement(e.Statement)
	if err != nil {
		return fmt.Errorf("epoch: entry %d: %w", index, err)
	}
	var body []byte
	if audit.IsEpoch(s) {
		if body, err = v.Body(s.Digest); err != nil {
			r.found("the body of the epoch at entry %d: %v", index, err)
			body = nil
		}
	}
	if err := audit.Add(s, s.Leaf(), body); errors.Is(err, ledger.ErrFeedEpoch) {
		r.found("%v", err)
	} else if err != nil {
		return err
	}
	return nil
}

// pages compares the stored pages with those of the computed map, in both directions.
func (r *Report) pages(v ledger.View, feeds *ledger.FeedMap) error {
	want, err := feeds.Changed()
	if err != nil {
		return err
	}
	at := make(map[string][]byte, len(want))
	for _, p := range want {
		at[pagePrefix+p.Prefix] = p.Data
	}
	for row, err := range v.List(pagePrefix, "") {
		if err != nil {
			return err
		}
		r.Pages++
		data, ok := at[row.Key]
		delete(at, row.Key)
		switch {
		case !ok:
			r.found("row %q is not a page of the map", row.Key)
		case !bytes.Equal(data, row.Value):
			r.found("row %q is not what the entries imply", row.Key)
		}
	}
	for key := range at {
		r.found("row %q is missing", key)
	}
	return nil
}
