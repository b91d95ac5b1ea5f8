package authority

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// refusalsLogged is how many refusals of one principal with one code get an entry of their own in a minute. The others
// are counted and stand in the digest of that minute.
const refusalsLogged = 4

// refusals counts the refusals of the running minute. It is bounded by the numbers of principals, operations and codes.
type refusals struct {
	mu     sync.Mutex
	since  time.Time
	counts map[refusalKind]*refusalCount
}

type refusalKind struct{ principal, operation, code string }

type refusalCount struct{ logged, counted uint64 }

// refusalEvidence is one refusal. It repeats nothing of the request but an id that was asked for.
type refusalEvidence struct {
	Principal string `json:"principal"`
	Key       string `json:"key,omitempty"` // key id it authenticated with
	Operation string `json:"operation"`
	Target    string `json:"target,omitempty"`
	Code      string `json:"code"`
	Reason    string `json:"reason,omitempty"`
	RefusedAt string `json:"refused_at"`
	Salt      string `json:"salt"`
}

// refusalDigest counts the refusals of a minute that got no entry of their own.
type refusalDigest struct {
	Since  string         `json:"since"`
	Until  string         `json:"until"`
	Counts []refusalTally `json:"counts"`
	Salt   string         `json:"salt"`
}

type refusalTally struct {
	Principal string `json:"principal"`
	Operation string `json:"operation"`
	Code      string `json:"code"`
	Count     uint64 `json:"count"`
}

// Refused writes down that an authenticated caller was refused by a surface in front of the authority, e.g. for want of
// a role. err is what the caller was told; anything that is not a refusal (*Error) is left alone.
func (a *Authority) Refused(ctx context.Context, c Caller, operation, target string, err error) {
	a.note(ctx, c, operation, target, &err)
}

// note writes a refusal down before it is told. It never changes the outcome: what cannot be logged is counted, and
// told in the digest of the minute.
func (a *Authority) note(ctx context.Context, c Caller, operation, target string, err *error) {
	e, ok := errors.AsType[*Error](*err)
	if !ok || c.Principal == nil {
		return
	}
	switch e.Kind {
	case Internal, Unavailable, RateLimited:
		return
	}
	kind := refusalKind{c.ID, operation, e.Code}
	if !a.refused.admit(kind) || a.logRefusal(ctx, c, kind, target, e) != nil {
		a.refused.count(kind)
	}
}

func (a *Authority) logRefusal(ctx context.Context, c Caller, kind refusalKind, target string, e *Error) error {
	if mission.ID(target).Validate() != nil {
		target = ""
	}
	at := a.clock.now()
	entry, err := a.entry(ctx, a.subject("log", ""), mission.ContentRefusal, at, refusalEvidence{
		Principal: c.ID,
		Key:       c.KeyID,
		Operation: kind.operation,
		Target:    target,
		Code:      e.Code,
		Reason:    e.Reason,
		RefusedAt: mission.FormatTime(at),
		Salt:      mission.NewSalt(),
	})
	if err != nil {
		return err
	}
	_, err = a.log.Commit(ctx, ledger.Change{Entries: []ledger.Entry{entry}})
	return err
}

// admit reports whether a refusal gets an entry of its own.
func (k *refusals) admit(kind refusalKind) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.of(kind)
	if n.logged == refusalsLogged {
		return false
	}
	n.logged++
	return true
}

func (k *refusals) count(kind refusalKind) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.of(kind).counted++
}

func (k *refusals) of(kind refusalKind) *refusalCount {
	if k.counts == nil {
		k.counts = make(map[refusalKind]*refusalCount)
	}
	n := k.counts[kind]
	if n == nil {
		n = &refusalCount{}
		k.counts[kind] = n
	}
	return n
}

// take ends the minute and returns its tallies.
func (k *refusals) take(now time.Time) (since time.Time, tallies []refusalTally) {
	k.mu.Lock()
	defer k.mu.Unlock()
	since = k.since
	for kind, n := range k.counts {
		if n.counted > 0 {
			tallies = append(tallies, refusalTally{kind.principal, kind.operation, kind.code, n.counted})
		}
	}
	k.since, k.counts = now, nil
	slices.SortFunc(tallies, func(a, b refusalTally) int {
		return cmp.Or(cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Code, b.Code))
	})
	return since, tallies
}

// give puts tallies back that could not be written down.
func (k *refusals) give(since time.Time, tallies []refusalTally) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.since = since
	for _, t := range tallies {
		k.of(refusalKind{t.Principal, t.Operation, t.Code}).counted += t.Count
	}
}

// maxTallies bounds one digest; what is beyond it stands in the next one.
const maxTallies = 4096

// digestRefusals writes down the refusals that were only counted, and starts another minute.
func (a *Authority) digestRefusals(ctx context.Context) error {
	now := a.clock.now()
	since, tallies := a.refused.take(now)
	if since.IsZero() {
		since = a.clock.started
	}
	for part := range slices.Chunk(tallies, maxTallies) {
		entry, err := a.entry(ctx, a.subject("log", ""), mission.ContentRefusalDigest, now, refusalDigest{
			Since:  mission.FormatTime(since),
			Until:  mission.FormatTime(now),
			Counts: part,
			Salt:   mission.NewSalt(),
		})
		if err == nil {
			_, err = a.log.Commit(ctx, ledger.Change{Entries: []ledger.Entry{entry}})
		}
		if err != nil {
			a.refused.give(since, tallies)
			return unavailable("writing the digest of refusals", err)
		}
		tallies = tallies[len(part):]
	}
	return nil
}
