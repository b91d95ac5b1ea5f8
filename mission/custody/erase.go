package custody

import (
	"context"
	"errors"
	"fmt"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
)

// orderedBy is our member of an erasure record: the principal who ordered it.
const orderedBy = "mas_ordered_by"

// An Erasure is what is known of an erased body. It is the row erasure/<digest>.
type Erasure struct {
	Entry    string `json:"entry"`  // entry id of the erased evidence
	Record   string `json:"record"` // entry id of the erasure record
	Basis    string `json:"basis"`
	ErasedAt string `json:"erased_at"`
}

// Erase erases the body that the entry commits to, by order of the principal by. It returns when the key is destroyed;
// again is true if that had been ordered before. Errors wrap ledger.ErrNotFound, ErrInvalid, ErrPublic, ErrInUse,
// ErrHeld, ErrProducer, or are the log's. After an error that wraps ledger.ErrOutcomeUnknown the erasure is logged and
// its key may still be there: Recover or the next Erase destroys it.
func (c *Custody) Erase(ctx context.Context, entryID, basis, by string) (e Erasure, again bool, err error) {
	if by != "" && !text(by, 128) {
		return Erasure{}, false, fmt.Errorf("principal: %w", ErrInvalid)
	}
	err = retry(func() error {
		v, err := c.Log.View()
		if err != nil {
			return err
		}
		defer v.Close()
		t, err := c.find(v, entryID)
		if err != nil {
			return err
		}
		e, again, err = c.erase(ctx, v, t, basis, by)
		return err
	})
	return e, again, err
}

func (c *Custody) erase(ctx context.Context, v ledger.View, t *target, basis, by string) (Erasure, bool, error) {
	if e, ok, err := c.erased(v, t.statement.Digest); err != nil || ok {
		if err == nil {
			err = c.destroy(t.statement.Digest, t.kind, t.id)
		}
		return e, ok, err
	}
	if t.statement.Issuer != c.Issuer && basis != evidence.BasisRetention { // the logged policy is for whoever registers here
		return Erasure{}, false, fmt.Errorf("%.200q: %w", t.statement.Issuer, ErrProducer)
	}
	at := c.Now()
	doc := evidence.Erasure{Erased: mission.DigestOf(t.statement.Digest), Basis: basis, ErasedAt: mission.FormatTime(at),
		Salt: mission.NewSalt()}
	if by != "" {
		who, err := mission.RawOf(by)
		if err != nil {
			return Erasure{}, false, err
		}
		doc.Rest = map[string]mission.Raw{orderedBy: who}
	}
	if err := doc.Validate(); err != nil {
		return Erasure{}, false, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	record, err := c.evidence(ctx, t.statement.Subject, evidence.ContentErasure, at, doc)
	if err != nil {
		return Erasure{}, false, err
	}
	e := Erasure{Entry: t.entryID, Basis: basis, ErasedAt: mission.FormatTime(at)}
	return e, false, c.commit(ctx, v, t, &e, record)
}

// CarryOut erases what a registered Erasure Record of another producer names: the entry erased must be by the same
// issuer and in the same feed. Errors as for Erase.
func (c *Custody) CarryOut(ctx context.Context, recordID, entryID string) (e Erasure, again bool, err error) {
	err = retry(func() error {
		v, err := c.Log.View()
		if err != nil {
			return err
		}
		defer v.Close()
		t, err := c.find(v, entryID)
		if err != nil {
			return err
		}
		by, err := c.find(v, recordID)
		if err != nil {
			return err
		}
		body, err := v.Body(by.statement.Digest)
		if err != nil {
			return err
		}
		var r evidence.Erasure
		if err := mission.Decode(body, &r); err != nil || by.statement.ContentType != evidence.ContentErasure {
			return fmt.Errorf("not an erasure record: %w", ErrInvalid)
		}
		if by.statement.Issuer != t.statement.Issuer || by.statement.Subject != t.statement.Subject ||
			r.Erased != mission.DigestOf(t.statement.Digest) {
			return fmt.Errorf("the record does not cover the entry: %w", ErrProducer)
		}
		if done, ok, err := c.erased(v, t.statement.Digest); err != nil || ok {
			e, again = done, ok
			if err == nil {
				err = c.destroy(t.statement.Digest, t.kind, t.id)
			}
			return err
		}
		e = Erasure{Entry: t.entryID, Basis: r.Basis, ErasedAt: r.ErasedAt}
		return c.commit(ctx, v, t, &e, ledger.Entry{Statement: by.statement.Raw})
	})
	return e, again, err
}

// commit logs an erasure that nothing forbids, and carries it out.
func (c *Custody) commit(ctx context.Context, v ledger.View, t *target, e *Erasure, record ledger.Entry) error {
	if err := c.erasable(v, t); err != nil {
		return err
	}
	s, err := ledger.ParseStatement(record.Statement)
	if err != nil {
		return fmt.Errorf("custody: %w", err)
	}
	e.Record = ledger.EntryID(s.Leaf())
	put, err := row(erasureRow(t.statement.Digest), e, 0)
	if err != nil {
		return err
	}
	expect := []ledger.Precondition{ledger.Absent(put.Key)}
	for _, scope := range t.scopes() {
		expect = append(expect, ledger.CountBelow(heldRow(scope), 1))
	}
	if _, err := c.Log.Commit(ctx, ledger.Change{Expect: expect, Put: []ledger.Record{put},
		Entries: []ledger.Entry{record}}); err != nil {
		return err
	}
	return c.destroy(t.statement.Digest, t.kind, t.id)
}

// erasable says why a body may not be erased.
func (c *Custody) erasable(v ledger.View, t *target) error {
	if public(t.statement.ContentType) {
		return fmt.Errorf("%s: %w", t.statement.ContentType, ErrPublic)
	}
	if t.statement.ContentType == evidence.ContentErasure || t.statement.ContentType == evidence.ContentHold {
		return fmt.Errorf("%s explains what is missing: %w", t.statement.ContentType, ErrInUse)
	}
	for _, scope := range t.scopes() {
		held, err := c.held(v, scope)
		if err != nil {
			return err
		}
		if held {
			return fmt.Errorf("%.200q: %w", scope, ErrHeld)
		}
	}
	if t.statement.Issuer != c.Issuer {
		return nil // evidence of others: nothing of ours works with it
	}
	_, ended, err := c.Missions.Ended(v, t.kind, t.id)
	if err == nil && !ended {
		err = fmt.Errorf("%.200q: %w", t.statement.Subject, ErrInUse)
	}
	return err
}

// erased reports whether the log says that a body was erased, and how.
func (c *Custody) erased(v ledger.View, digest ledger.Hash) (e Erasure, ok bool, err error) {
	_, err = get(v, erasureRow(digest), &e)
	if errors.Is(err, ledger.ErrNotFound) {
		return Erasure{}, false, nil
	}
	return e, err == nil, err
}

// Erased tells what the log says about an erased body.
func (c *Custody) Erased(v ledger.View, digest ledger.Hash) (Erasure, bool, error) {
	return c.erased(v, digest)
}

// destroy carries out a logged erasure.
func (c *Custody) destroy(digest ledger.Hash, kind ledger.SubjectKind, id string) error {
	c.Missions.Forget(kind, id)
	if err := c.Vault.EraseBody(digest); err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return fmt.Errorf("custody: destroying a key: %w: %w", ledger.ErrOutcomeUnknown, err)
	}
	return nil
}

// Recover destroys every key whose erasure is logged: what a crash left undone, and what a restored key file brought
// back. It reads one row for each erasure.
func (c *Custody) Recover(ctx context.Context) (erasures int, err error) {
	v, err := c.Log.View()
	if err != nil {
		return 0, err
	}
	defer v.Close()
	for r, err := range v.List(erasurePrefix, "") {
		if err != nil {
			return erasures, fmt.Errorf("custody: erasures: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return erasures, err
		}
		digest, err := ledger.ParseEntryID(r.Key[len(erasurePrefix):])
		if err != nil {
			return erasures, fmt.Errorf("custody: row %q: %w", r.Key, ledger.ErrIntegrity)
		}
		if err := c.Vault.EraseBody(digest); err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return erasures, fmt.Errorf("custody: destroying a key again: %w", err)
		}
		erasures++
	}
	return erasures, nil
}

// scopes are what a hold on the target can name.
func (t *target) scopes() []string {
	return []string{t.statement.Subject, string(mission.DigestOf(t.statement.Digest))}
}

// public reports whether bodies of a type are needed to read the log.
func public(contentType string) bool {
	t, known := evidence.Lookup(contentType)
	return ledger.PublicBody(contentType) || known && t.Public
}
