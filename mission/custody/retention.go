package custody

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
)

// ContentRetention is the media type of the evidence that a retention policy is in force.
const ContentRetention = "application/mas-retention-policy+json"

// Bounds of a retention policy and of its work.
const (
	maxRetention = 64 << 10
	maxRules     = 128
	maxDays      = 36_500
	passEvery    = 6 * time.Hour
	viewEntries  = 4096 // entries of a pass that share a view
)

// AnyType in a Rule stands for every type without a rule of its own.
const AnyType = "*"

// A Retention is a checked retention policy: {"rules": [+ {"content_type": text, "days": integer}]}.
type Retention struct {
	days map[string]int64
	text []byte // canonical
}

// A Rule keeps bodies of a type for a number of days, 1 to 36,500, after the end of what they are about: a mission's
// end, or the decision on a submission. Bodies about anything else are not erased by age.
type Rule struct {
	ContentType string `json:"content_type"`
	Days        int64  `json:"days"`
}

type retentionPolicy struct {
	Rules []Rule `json:"rules"`
}

// ParseRetention reads a retention policy. Every type has at most one rule; public types have none.
func ParseRetention(data []byte) (*Retention, error) {
	if len(data) > maxRetention {
		return nil, fmt.Errorf("custody: retention policy of %d octets", len(data))
	}
	text, err := mission.Canonical(data)
	if err != nil {
		return nil, fmt.Errorf("custody: retention policy: %w", err)
	}
	var doc retentionPolicy
	if err := mission.Decode(text, &doc); err != nil {
		return nil, fmt.Errorf("custody: retention policy: %w", err)
	}
	if len(doc.Rules) == 0 || len(doc.Rules) > maxRules {
		return nil, fmt.Errorf("custody: retention policy of %d rules", len(doc.Rules))
	}
	r := &Retention{days: make(map[string]int64, len(doc.Rules)), text: text}
	for i, rule := range doc.Rules {
		_, twice := r.days[rule.ContentType]
		switch {
		case rule.ContentType != AnyType && ledger.CheckMediaType(rule.ContentType) != nil:
			return nil, fmt.Errorf("custody: retention rule %d: not a media type", i)
		case twice:
			return nil, fmt.Errorf("custody: retention rule %d: a second one for its type", i)
		case rule.Days < 1 || rule.Days > maxDays:
			return nil, fmt.Errorf("custody: retention rule %d: %d days", i, rule.Days)
		case public(rule.ContentType):
			return nil, fmt.Errorf("custody: retention rule %d: bodies of this type are public", i)
		}
		r.days[rule.ContentType] = rule.Days
	}
	return r, nil
}

// keeps is how long bodies of a type are kept; ok is false if for ever.
func (r *Retention) keeps(contentType string) (d time.Duration, ok bool) {
	days, ok := r.days[contentType]
	if !ok {
		days, ok = r.days[AnyType]
	}
	return time.Duration(days) * 24 * time.Hour, ok
}

// retentionState is the row retention.
type retentionState struct {
	Policy mission.Digest `json:"policy"` // of the canonical policy
}

// adopt logs the policy if it is not the one in force.
func (c *Custody) adopt(ctx context.Context) error {
	digest := mission.DigestOf(sha256.Sum256(c.Retention.text))
	return retry(func() error {
		v, err := c.Log.View()
		if err != nil {
			return err
		}
		defer v.Close()
		var now retentionState
		r, err := get(v, retentionRow, &now)
		expect := ledger.Version(retentionRow, r.Version)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			expect = ledger.Absent(retentionRow)
		case err != nil || now.Policy == digest:
			return err
		}
		subject, err := ledger.Subject(c.Issuer, ledger.SubjectPolicy, "")
		if err != nil {
			return err
		}
		policy, err := mission.ParseRaw(c.Retention.text)
		if err != nil {
			return err
		}
		at := c.Now()
		entry, err := c.evidence(ctx, subject, ContentRetention, at, struct {
			Policy    mission.Raw `json:"policy"`
			AdoptedAt string      `json:"adopted_at"`
			Salt      string      `json:"salt"`
		}{policy, mission.FormatTime(at), mission.NewSalt()})
		if err != nil {
			return err
		}
		put, err := row(retentionRow, retentionState{digest}, 0)
		if err != nil {
			return err
		}
		_, err = c.Log.Commit(ctx, ledger.Change{Expect: []ledger.Precondition{expect}, Put: []ledger.Record{put},
			Entries: []ledger.Entry{entry}})
		return err
	})
}

// Run puts the retention policy in force and applies it, now and every six hours, until ctx ends; every six hours it
// also does what Recover does, which whoever starts a service calls before anybody can read. Failures are logged and
// tried again.
func (c *Custody) Run(ctx context.Context) error {
	for {
		if c.Retention != nil {
			if erased, err := c.Pass(ctx, c.Now()); err != nil && ctx.Err() == nil {
				c.Logger.Error("retention pass ended early", "erased", erased, "error", err)
			} else if erased > 0 {
				c.Logger.Info("retention pass", "erased", erased)
			}
		}
		wait := time.NewTimer(passEvery)
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-wait.C:
		}
		if _, err := c.Recover(ctx); err != nil && ctx.Err() == nil {
			c.Logger.Error("logged erasures could not be finished", "error", err)
		}
	}
}

// Pass erases every body that the policy keeps no longer at the time at. It reads the whole log once, in order, and
// leaves what is held or in use for the next pass.
func (c *Custody) Pass(ctx context.Context, at time.Time) (erased int, err error) {
	if err := c.adopt(ctx); err != nil {
		return 0, fmt.Errorf("custody: adopting the retention policy: %w", err)
	}
	for first, size := uint64(0), uint64(1); first < size; first += viewEntries {
		n := 0
		if size, n, err = c.passView(ctx, first, at); err != nil {
			return erased + n, err
		}
		erased += n
	}
	return erased, nil
}

func (c *Custody) passView(ctx context.Context, first uint64, at time.Time) (size uint64, erased int, err error) {
	v, err := c.Log.View()
	if err != nil {
		return 0, 0, err
	}
	defer v.Close()
	size = v.Head().Size
	for index := first; index < min(size, first+viewEntries); index++ {
		if err := ctx.Err(); err != nil {
			return size, erased, err
		}
		done, err := c.expire(ctx, v, index, at)
		if err != nil {
			return size, erased, fmt.Errorf("custody: entry %d: %w", index, err)
		}
		if done {
			erased++
		}
	}
	return size, erased, nil
}

// expire erases the body of one entry if its time is over and nothing keeps it.
func (c *Custody) expire(ctx context.Context, v ledger.View, index uint64, at time.Time) (bool, error) {
	t, err := c.at(v, index)
	if err != nil {
		return false, err
	}
	keep, ok := c.Retention.keeps(t.statement.ContentType)
	if !ok || t.kind != ledger.SubjectMissions && t.kind != ledger.SubjectApprovals {
		return false, nil
	}
	since, ended, err := c.Missions.Ended(v, t.kind, t.id)
	if err != nil || !ended || at.Before(since.Add(keep)) {
		return false, err
	}
	if _, gone, err := c.erased(v, t.statement.Digest); err != nil || gone {
		return false, err
	}
	if _, err := v.Body(t.statement.Digest); errors.Is(err, ledger.ErrNotFound) || errors.Is(err, ledger.ErrErased) {
		return false, nil
	}
	_, _, err = c.erase(ctx, v, t, evidence.BasisRetention, "")
	for _, kept := range []error{ErrHeld, ErrInUse, ErrPublic, ledger.ErrConflict} {
		if errors.Is(err, kept) {
			return false, nil
		}
	}
	return err == nil, err
}
