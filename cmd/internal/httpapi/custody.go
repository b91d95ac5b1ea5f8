package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/custody"
	"github.com/mission-authority/mas/mission/evidence"
)

// Custody is the keeper of evidence bodies.
type Custody interface {
	Erase(ctx context.Context, entryID, basis, by string) (custody.Erasure, bool, error)
	CarryOut(ctx context.Context, recordID, entryID string) (custody.Erasure, bool, error)
	Erased(v ledger.View, digest ledger.Hash) (custody.Erasure, bool, error)
	Place(ctx context.Context, missionID, entryID, reason, by string) (evidence.Hold, error)
	Release(ctx context.Context, id, reason, by string) (evidence.Hold, error)
	Holds(after string, limit int) ([]evidence.Hold, error)
	Read(ctx context.Context, digest ledger.Hash, reader string) ([]byte, error)
}

// maxHolds is the size of one page of holds.
const maxHolds = 100

func (a *API) custodyRoutes(base string, body int64) []route {
	if a.config.Custody == nil {
		return nil
	}
	const get, post = http.MethodGet, http.MethodPost
	admins := []authority.Role{authority.RoleAdmin}
	return []route{
		{method: post, path: base + "/v1/erasures", roles: []authority.Role{authority.RoleAdmin, authority.RoleProducer},
			media: mediaJSON, limit: body, run: a.postErasure},
		{method: post, path: base + "/v1/holds", roles: admins, media: mediaJSON, limit: body, run: a.postHold},
		{method: post, path: base + "/v1/holds/release", roles: admins, media: mediaJSON, limit: body, run: a.releaseHold},
		{method: get, path: base + "/v1/holds", roles: []authority.Role{authority.RoleAdmin, authority.RoleAuditor},
			run: a.getHolds},
	}
}

// custodyErrors are the refusals of package custody in this surface's words.
var custodyErrors = []struct {
	is  error
	say *authority.Error
}{
	{ledger.ErrNotFound, errNotFound},
	{custody.ErrInvalid, errMalformed},
	{custody.ErrPublic, &authority.Error{Kind: authority.Conflict, Code: "evidence_public",
		Description: "the body is public and is not erased"}},
	{custody.ErrInUse, &authority.Error{Kind: authority.Conflict, Code: "evidence_in_use",
		Description: "the service still works with the body"}},
	{custody.ErrHeld, &authority.Error{Kind: authority.Conflict, Code: "evidence_held",
		Description: "the body is under a legal hold"}},
	{custody.ErrProducer, &authority.Error{Kind: authority.Conflict, Code: "erasure_not_by_producer",
		Description: "evidence of another producer is erased by a record of that producer"}},
	{ledger.ErrConflict, &authority.Error{Kind: authority.Conflict, Code: "conflict", Description: "try again"}},
}

func custodyError(err error) error {
	for _, e := range custodyErrors {
		if errors.Is(err, e.is) {
			out := *e.say
			out.Err = err
			return &out
		}
	}
	return logError(err)
}

// postErasure erases one body. An administrator names the entry and a basis; a producer, or an administrator on its
// behalf, names the entry and the registered erasure record of its producer. 201 if that was new, else 200.
func (a *API) postErasure(c *call) (reply, error) {
	var order struct {
		EntryID string `json:"entry_id"`
		Basis   string `json:"basis,omitempty"`
		Record  string `json:"record,omitempty"` // entry id of a registered erasure record
	}
	if err := decode(c.body, &order); err != nil {
		return reply{}, err
	}
	var e custody.Erasure
	var again bool
	var err error
	switch {
	case (order.Basis == "") == (order.Record == ""):
		return reply{}, malformed("basis")
	case order.Record != "":
		e, again, err = a.config.Custody.CarryOut(c.ctx, order.Record, order.EntryID)
	case !c.caller.Has(authority.RoleAdmin):
		return reply{}, errNotFound
	default:
		e, again, err = a.config.Custody.Erase(c.ctx, order.EntryID, order.Basis, c.caller.ID)
	}
	if err != nil {
		return reply{}, custodyError(err)
	}
	out := a.object(e)
	if !again {
		out.status = http.StatusCreated
	}
	return out, nil
}

func (a *API) object(v any) reply { return reply{contentType: mediaJSON, body: a.json(v)} }

// postHold puts a mission, or the body of an entry, under a legal hold.
func (a *API) postHold(c *call) (reply, error) {
	var order struct {
		Mission string `json:"mission,omitempty"`
		EntryID string `json:"entry_id,omitempty"`
		Reason  string `json:"reason"`
	}
	if err := decode(c.body, &order); err != nil {
		return reply{}, err
	}
	h, err := a.config.Custody.Place(c.ctx, order.Mission, order.EntryID, order.Reason, c.caller.ID)
	if err != nil {
		return reply{}, custodyError(err)
	}
	out := a.object(h)
	out.status = http.StatusCreated
	return out, nil
}

func (a *API) releaseHold(c *call) (reply, error) {
	var order struct {
		ID     string `json:"hold_id"`
		Reason string `json:"reason"`
	}
	if err := decode(c.body, &order); err != nil {
		return reply{}, err
	}
	h, err := a.config.Custody.Release(c.ctx, order.ID, order.Reason, c.caller.ID)
	if err != nil {
		return reply{}, custodyError(err)
	}
	return a.object(h), nil
}

// getHolds lists holds by id, released ones too; after continues a page.
func (a *API) getHolds(c *call) (reply, error) {
	q, err := query(c.req, "after")
	if err != nil {
		return reply{}, err
	}
	holds, err := a.config.Custody.Holds(q.Get("after"), maxHolds)
	if err != nil {
		return reply{}, logError(err)
	}
	page := struct {
		Holds []evidence.Hold `json:"holds"`
		Next  string          `json:"next,omitempty"`
	}{Holds: holds}
	if len(holds) == maxHolds {
		page.Next = holds[maxHolds-1].ID
	}
	return a.object(page), nil
}

// body reads an evidence body for an auditor, on the record if there is a keeper.
func (a *API) body(c *call, v ledger.View, digest mission.Digest) ([]byte, error) {
	if a.config.Custody == nil {
		return v.Body(digest.Bytes())
	}
	return a.config.Custody.Read(c.ctx, digest.Bytes(), c.caller.ID)
}

// erased is the answer for a body that was erased: 410, with the entry of the erasure record if there is one.
func (a *API) erased(v ledger.View, digest mission.Digest, cause error) (reply, error) {
	out := a.refuse(surfaceOurs, errErased, "")
	if a.config.Custody == nil {
		return out, nil
	}
	e, ok, err := a.config.Custody.Erased(v, digest.Bytes())
	if err != nil || !ok {
		return reply{}, logError(errors.Join(cause, err))
	}
	out.body = a.json(ourProblem{Type: problemType + errErased.Code, Title: errErased.Description,
		Status: int64(out.status), Code: errErased.Code, Record: e.Record})
	return out, nil
}
