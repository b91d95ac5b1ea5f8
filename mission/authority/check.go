package authority

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/mission-authority/mas/ledger"
)

// A Report is what Check found.
type Report struct {
	Entries     uint64 // read
	Feeds       uint64 // folded
	Rows        uint64 // compared
	Unreadable  uint64 // feeds left out because a body of theirs was erased or is kept elsewhere
	Differences []Difference
}

// Check rebuilds every row that evidence proves (see Rebuild) from the log and the evidence bodies of a view, and
// compares it with the row that the view holds. It needs memory for one feed at a time. The error is that of reading,
// or wraps ErrHistory; rows that differ are in the Report.
func Check(ctx context.Context, v ledger.View, issuer string) (Report, error) {
	c := &check{view: v, issuer: issuer}
	for index := range v.Head().Size {
		if err := ctx.Err(); err != nil {
			return c.Report, err
		}
		c.Entries++
		s, err := c.statement(index)
		if err != nil {
			return c.Report, err
		}
		first, err := c.opens(s.Subject, index)
		if err != nil {
			return c.Report, err
		}
		if !first {
			continue
		}
		if err := c.feed(s.Subject); err != nil {
			return c.Report, fmt.Errorf("feed of entry %d: %w", index, err)
		}
	}
	return c.Report, c.unexpected(ctx)
}

type check struct {
	Report
	view   ledger.View
	issuer string
	found  tally // keys of rows that a feed proves and the view holds
}

// A tally counts keys and adds up their hashes. Two tallies of the same keys, in whatever order, are equal; those of
// different keys are not.
type tally struct {
	n   uint64
	sum [4]uint64
}

func (t *tally) add(key string) {
	t.n++
	hash := sha256.Sum256([]byte(key))
	for i := range t.sum {
		t.sum[i] += binary.BigEndian.Uint64(hash[8*i:])
	}
}

func (c *check) statement(index uint64) (*ledger.Statement, error) {
	e, err := c.view.Entry(index)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", index, err)
	}
	s, err := ledger.ParseStatement(e.Statement)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", index, err)
	}
	return s, nil
}

// opens reports whether the entry is the first of its feed.
func (c *check) opens(subject string, index uint64) (bool, error) {
	for first, err := range c.view.Feed(subject, -1) {
		return first == index, err
	}
	return false, fmt.Errorf("entry %d is not in its feed: %w", index, ledger.ErrIntegrity)
}

// feed rebuilds the rows of one feed and compares them.
func (c *check) feed(subject string) error {
	if kind, _, err := ledger.ParseSubject(c.issuer, subject); err != nil || !proves(kind) {
		return nil
	}
	c.Feeds++
	rows, err := Rebuild(c.issuer, subject, c.evidence(subject))
	if errors.Is(err, errUnreadable) {
		c.Unreadable++
		return nil
	}
	if err != nil {
		return err
	}
	for _, want := range rows {
		stored, err := c.view.Get(want.Key)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			c.Differences = append(c.Differences, Difference{want.Key, "missing"})
			continue
		case err != nil:
			return fmt.Errorf("row %.80q: %w", want.Key, err)
		}
		c.Rows++
		c.found.add(want.Key)
		if what := differs(stored, want); what != "" {
			c.Differences = append(c.Differences, Difference{want.Key, what})
		}
	}
	return nil
}

// proves reports whether feeds of this kind prove rows.
func proves(kind ledger.SubjectKind) bool {
	for k := range folds {
		if k.kind == kind {
			return true
		}
	}
	return false
}

var errUnreadable = errors.New("authority: evidence body cannot be read")

// evidence reads a feed with its bodies. Bodies are read only where a fold needs them.
func (c *check) evidence(subject string) iter.Seq2[Evidence, error] {
	kind, _, _ := ledger.ParseSubject(c.issuer, subject)
	return func(yield func(Evidence, error) bool) {
		for index, err := range c.view.Feed(subject, -1) {
			var e Evidence
			if err == nil {
				e.Index = index
				e.Statement, err = c.statement(index)
			}
			if err == nil && e.Statement.Issuer == c.issuer && folds[foldKey{kind, e.Statement.ContentType}] != nil {
				e.Body, err = c.body(e.Statement.Digest)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (c *check) body(digest ledger.Hash) ([]byte, error) {
	body, err := c.view.Body(digest)
	switch {
	case errors.Is(err, ledger.ErrErased), errors.Is(err, ledger.ErrNotFound):
		return nil, errUnreadable
	case err != nil:
		return nil, err
	case sha256.Sum256(body) != digest:
		return nil, fmt.Errorf("body of another digest: %w", ledger.ErrIntegrity)
	}
	return body, nil
}

// unexpected looks for rows that no feed proves: whatever justifies the row must be an entry whose feed, folded, writes
// it. If the view holds exactly the rows that were found there is none, and no feed is folded again.
func (c *check) unexpected(ctx context.Context) error {
	var held tally
	err := c.list(ctx, func(row ledger.Row) error {
		held.add(row.Key)
		return nil
	})
	if err != nil || held == c.found {
		return err
	}
	return c.list(ctx, func(row ledger.Row) error {
		ok, err := c.proven(row)
		if err == nil && !ok {
			c.Differences = append(c.Differences, Difference{row.Key, "unexpected"})
		}
		return err
	})
}

// list visits every row that evidence can prove.
func (c *check) list(ctx context.Context, visit func(ledger.Row) error) error {
	for _, prefix := range rebuilt {
		for row, err := range c.view.List(prefix, "") {
			if err != nil {
				return fmt.Errorf("listing rows: %w", err)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := visit(row); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *check) proven(row ledger.Row) (bool, error) {
	if !row.Justified || row.JustifiedBy >= c.view.Head().Size {
		return false, nil
	}
	s, err := c.statement(row.JustifiedBy)
	if err != nil {
		return false, err
	}
	rows, err := Rebuild(c.issuer, s.Subject, c.evidence(s.Subject))
	switch {
	case errors.Is(err, errUnreadable):
		return true, nil
	case errors.Is(err, ErrHistory):
		return false, nil
	case err != nil:
		return false, err
	}
	for _, r := range rows {
		if r.Key == row.Key {
			return true, nil
		}
	}
	return false, nil
}
