package mission

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Constraints are the Common Constraints (core 1.6). A nil pointer is an absent key.
type Constraints struct {
	MaxAmount              *Amount        `json:"max_amount,omitempty"`
	ResourceIssuedAfter    *string        `json:"resource_issued_after,omitempty"`  // RFC 3339
	ResourceIssuedBefore   *string        `json:"resource_issued_before,omitempty"` // RFC 3339
	Tenant                 *string        `json:"tenant,omitempty"`
	RecipientDomain        *string        `json:"recipient_domain,omitempty"` // and its subdomains
	TimeWindow             *TimeWindow    `json:"time_window,omitempty"`
	DataClassification     *[]string      `json:"data_classification,omitempty"`
	AllowedTools           *[]string      `json:"allowed_tools,omitempty"`
	RequiresActionApproval *bool          `json:"requires_action_approval,omitempty"` // false binds nothing
	TerminalWhen           []Condition    `json:"terminal_when,omitempty"`            // at least one, all distinct
	Other                  map[string]Raw `json:",rest"`                              // keys without a rule
}

// knownConstraints is the number of keys with a rule.
const knownConstraints = 10

// An Amount is an exact decimal in one currency.
type Amount struct {
	Amount   string `json:"amount"`   // [0-9]+(.[0-9]{1,18})?
	Currency string `json:"currency"` // ISO 4217
}

// A TimeWindow has at least one bound; an absent bound is unbounded.
type TimeWindow struct {
	NotBefore *string `json:"not_before,omitempty"`
	NotAfter  *string `json:"not_after,omitempty"`
}

// A Condition ends the use of an entry when its event is discharged.
type Condition struct {
	EventType       string  `json:"event_type"`
	DischargePolicy *string `json:"discharge_policy,omitempty"`
}

var (
	errConstraint        = errors.New("malformed constraint")
	errUnknownConstraint = errors.New("constraint without a rule")
)

// check says whether every value is well formed; keys without a rule are not looked into.
func (c *Constraints) check() error {
	if c == nil {
		return nil
	}
	for _, k := range []struct {
		name string
		ok   bool
	}{
		{"max_amount", optional(c.MaxAmount, Amount.ok)},
		{"resource_issued_after", optional(c.ResourceIssuedAfter, isTime)},
		{"resource_issued_before", optional(c.ResourceIssuedBefore, isTime)},
		{"tenant", optional(c.Tenant, isShort)},
		{"recipient_domain", optional(c.RecipientDomain, isDomain)},
		{"time_window", optional(c.TimeWindow, TimeWindow.ok)},
		{"data_classification", optional(c.DataClassification, isShortList)},
		{"allowed_tools", optional(c.AllowedTools, isShortList)},
		{"terminal_when", areConditions(c.TerminalWhen)},
	} {
		if !k.ok {
			return fmt.Errorf("%s: %w", k.name, errConstraint)
		}
	}
	if len(c.Other) > MaxConstraints-knownConstraints {
		return fmt.Errorf("constraints: %w", errLimit)
	}
	return nil
}

func optional[T any](p *T, ok func(T) bool) bool { return p == nil || ok(*p) }

func isTime(s string) bool { _, err := ParseTime(s); return err == nil }

func isShort(s string) bool { return s != "" && len(s) <= 256 }

func isShortList(list []string) bool {
	return len(list) <= 256 && !slices.ContainsFunc(list, func(s string) bool { return !isShort(s) })
}

func (a Amount) ok() bool {
	return isDecimal(a.Amount) && len(a.Amount) <= 128 && len(a.Currency) == 3 &&
		strings.Trim(a.Currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// isDomain accepts a DNS name of letters, digits and inner hyphens, without a final dot.
func isDomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.IndexByte(label, '_') >= 0 || !isIDText(label) {
			return false
		}
	}
	return true
}

func (w TimeWindow) ok() bool {
	if w.NotBefore == nil && w.NotAfter == nil || !optional(w.NotBefore, isTime) || !optional(w.NotAfter, isTime) {
		return false
	}
	return w.NotBefore == nil || w.NotAfter == nil || !instant(*w.NotAfter).Before(instant(*w.NotBefore))
}

func areConditions(list []Condition) bool {
	for i, c := range list {
		if !isShort(c.EventType) || !optional(c.DischargePolicy, func(s string) bool { return isName(s, 64) }) ||
			slices.ContainsFunc(list[:i], c.equal) {
			return false
		}
	}
	return len(list) <= 256
}

func (c Condition) equal(o Condition) bool {
	return c.EventType == o.EventType && equal(c.DischargePolicy, o.DischargePolicy)
}

func equal[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// Digest is the condition_digest: the canonical-object digest of one condition.
func (c Condition) Digest() Digest {
	d, _ := ObjectDigest(c) // fails only for text that no parser lets through; then "" matches nothing
	return d
}

// instant reads a time that was checked.
func instant(s string) time.Time {
	t, _ := ParseTime(s)
	return t
}

// within reports whether c is no broader than r, key by key. Keys without a rule in r are never satisfied; keys only in
// c narrow.
func (c *Constraints) within(r *Constraints) bool {
	if r == nil {
		return true
	}
	if c == nil {
		c = &Constraints{}
	}
	return len(r.Other) == 0 &&
		inside(c.MaxAmount, r.MaxAmount, Amount.within) &&
		inside(c.ResourceIssuedAfter, r.ResourceIssuedAfter, notBefore) &&
		inside(c.ResourceIssuedBefore, r.ResourceIssuedBefore, notAfter) &&
		inside(c.Tenant, r.Tenant, same) &&
		inside(c.RecipientDomain, r.RecipientDomain, domainWithin) &&
		inside(c.TimeWindow, r.TimeWindow, TimeWindow.within) &&
		inside(c.DataClassification, r.DataClassification, membersWithin) &&
		inside(c.AllowedTools, r.AllowedTools, membersWithin) &&
		(c.needsApproval() || !r.needsApproval()) &&
		conditionsWithin(c.TerminalWhen, r.TerminalWhen)
}

// inside applies a rule to one key: absent in the reference binds nothing, absent in the candidate is broader.
func inside[T any](c, r *T, within func(c, r T) bool) bool {
	return r == nil || c != nil && within(*c, *r)
}

func (c *Constraints) needsApproval() bool {
	return c.RequiresActionApproval != nil && *c.RequiresActionApproval
}

func (a Amount) within(r Amount) bool {
	return a.Currency == r.Currency && compareDecimal(a.Amount, r.Amount) <= 0
}

func notBefore(c, r string) bool { return !instant(c).Before(instant(r)) }
func notAfter(c, r string) bool  { return !instant(c).After(instant(r)) }
func same(c, r string) bool      { return c == r }

// domainWithin compares whole labels without regard to case.
func domainWithin(c, r string) bool {
	c, r = strings.ToLower(c), strings.ToLower(r)
	return c == r || strings.HasSuffix(c, "."+r)
}

func (w TimeWindow) within(r TimeWindow) bool {
	return inside(w.NotBefore, r.NotBefore, notBefore) && inside(w.NotAfter, r.NotAfter, notAfter)
}

func membersWithin(c, r []string) bool {
	return !slices.ContainsFunc(c, func(s string) bool { return !slices.Contains(r, s) })
}

// conditionsWithin: every condition of the reference must stay; more may be added.
func conditionsWithin(c, r []Condition) bool {
	return !slices.ContainsFunc(r, func(x Condition) bool { return !slices.ContainsFunc(c, x.equal) })
}

// meet returns the widest constraints within both, spelt as in p where both agree; false if there are none, or if a key
// has no rule.
func (p *Constraints) meet(c *Constraints) (*Constraints, bool) {
	if c == nil {
		return p, p == nil || len(p.Other) == 0
	}
	if p == nil {
		return c, len(c.Other) == 0
	}
	ok := len(p.Other) == 0 && len(c.Other) == 0
	return &Constraints{
		MaxAmount:              meetKey(&ok, p.MaxAmount, c.MaxAmount, Amount.meet),
		ResourceIssuedAfter:    meetKey(&ok, p.ResourceIssuedAfter, c.ResourceIssuedAfter, later),
		ResourceIssuedBefore:   meetKey(&ok, p.ResourceIssuedBefore, c.ResourceIssuedBefore, earlier),
		Tenant:                 meetKey(&ok, p.Tenant, c.Tenant, bothSame),
		RecipientDomain:        meetKey(&ok, p.RecipientDomain, c.RecipientDomain, narrowerDomain),
		TimeWindow:             meetKey(&ok, p.TimeWindow, c.TimeWindow, TimeWindow.meet),
		DataClassification:     meetKey(&ok, p.DataClassification, c.DataClassification, commonMembers),
		AllowedTools:           meetKey(&ok, p.AllowedTools, c.AllowedTools, commonMembers),
		RequiresActionApproval: meetKey(&ok, p.RequiresActionApproval, c.RequiresActionApproval, either),
		TerminalWhen:           allConditions(p.TerminalWhen, c.TerminalWhen),
	}, ok
}

// meetKey meets one key: a key in only one of them is kept. It clears ok if there is no meet.
func meetKey[T any](ok *bool, p, c *T, meet func(p, c T) (T, bool)) *T {
	if p == nil {
		return c
	}
	if c == nil {
		return p
	}
	m, found := meet(*p, *c)
	*ok = *ok && found
	return &m
}

func (a Amount) meet(c Amount) (Amount, bool) {
	if compareDecimal(c.Amount, a.Amount) < 0 {
		return c, a.Currency == c.Currency
	}
	return a, a.Currency == c.Currency
}

func later(p, c string) (string, bool) {
	if instant(c).After(instant(p)) {
		return c, true
	}
	return p, true
}

func earlier(p, c string) (string, bool) {
	if instant(c).Before(instant(p)) {
		return c, true
	}
	return p, true
}

func bothSame(p, c string) (string, bool) { return p, p == c }

func narrowerDomain(p, c string) (string, bool) {
	if domainWithin(p, c) {
		return p, true
	}
	return c, domainWithin(c, p)
}

func (w TimeWindow) meet(c TimeWindow) (TimeWindow, bool) {
	ok := true
	m := TimeWindow{
		NotBefore: meetKey(&ok, w.NotBefore, c.NotBefore, later),
		NotAfter:  meetKey(&ok, w.NotAfter, c.NotAfter, earlier),
	}
	return m, ok && m.ok()
}

func commonMembers(p, c []string) ([]string, bool) {
	var both []string
	for _, s := range p {
		if slices.Contains(c, s) {
			both = append(both, s)
		}
	}
	return both, len(both) > 0
}

func either(p, c bool) (bool, bool) { return p || c, true }

// allConditions is the union, without duplicates, in the order of the canonical bytes.
func allConditions(p, c []Condition) []Condition {
	if len(p) == 0 {
		return c
	}
	if len(c) == 0 {
		return p
	}
	all := slices.Clone(p)
	for _, x := range c {
		if !slices.ContainsFunc(all, x.equal) {
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(a, b Condition) int {
		x, _ := Marshal(a)
		y, _ := Marshal(b)
		return bytes.Compare(x, y)
	})
	return all
}
