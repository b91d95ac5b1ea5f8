package httpapi

import (
	"errors"
	"net/http"

	"github.com/mission-authority/mas/cmd/internal/telemetry"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/registry"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
)

// Registration by producers: SCRAPI (POST /entries), evidence with its statement (POST /v1/evidence), and the policy
// that decides. Who calls is authenticated for its rate and its idempotency keys alone; what is registered is decided
// by package registry from the signed statement.

const (
	mediaNDJSON = "application/x-ndjson"

	maxEvidence      = 2 << 20 // octets of a statement with its record
	maxEvidenceBatch = 8 << 20
)

// registrationRoutes are the routes that there are if producers may register.
func (a *API) registrationRoutes() []route {
	if a.config.Registry == nil {
		return nil
	}
	const get, post = http.MethodGet, http.MethodPost
	base := a.base()
	policy := base + "/v1/registration-policy"
	return []route{
		{method: post, path: base + "/entries", roles: producers, surface: surfaceCOSE, media: mediaCOSE,
			limit: ledger.MaxStatementSize + 1, batch: ledger.ContentTypeStatements, most: ledger.MaxStatementsLen, run: a.postEntries},
		{method: post, path: base + "/v1/evidence", roles: producers, media: mediaJSON, limit: maxEvidence,
			batch: mediaNDJSON, most: maxEvidenceBatch, run: a.postEvidence},
		{method: get, path: policy, public: true, run: a.getPolicy},
		{method: get, path: policy + "/documents/:digest", public: true, run: a.getPolicyDocument},
		{method: get, path: policy + "/proposals", roles: admins, run: a.getProposals},
		{method: post, path: policy + "/proposals", roles: admins, media: mediaJSON, limit: 4 * a.config.Body,
			run: a.postProposal},
		{method: post, path: policy + "/proposals/:id/confirmation", roles: admins, media: mediaJSON,
			limit: a.config.Body, run: a.postConfirmation},
	}
}

// postEntries registers one statement, or a batch of them.
func (a *API) postEntries(c *call) (reply, error) {
	if c.media == ledger.ContentTypeStatements {
		return a.postStatements(c)
	}
	return a.registerOne(c, registry.Item{Statement: c.body}, func(_ registry.Result, receipt []byte) reply {
		return reply{contentType: mediaCOSE, body: receipt}
	})
}

// registerOne registers one item and renders where it stands: 201 with what render makes of its receipt; 200 if the
// commitment was there under another signature; 303 if it is not published yet.
func (a *API) registerOne(c *call, item registry.Item, render func(registry.Result, []byte) reply) (reply, error) {
	results, err := a.register(c, []registry.Item{item})
	if err != nil {
		return reply{}, err
	}
	r := results[0]
	if r.Err != nil {
		return reply{}, registrationError(r.Err)
	}
	if r.Outcome == registry.Promised {
		return a.pending(r.EntryID, http.StatusSeeOther), nil
	}
	v, err := a.view()
	if err != nil {
		return a.pending(r.EntryID, http.StatusSeeOther), nil // it is registered, whatever became of the readers
	}
	defer v.Close()
	receipt, _, err := a.receipt(c.ctx, v, r.Index)
	if err != nil {
		return reply{}, err
	}
	out := render(r, receipt)
	out.status = http.StatusCreated
	out.header = http.Header{"Location": {a.entryPath(r.EntryID)}}
	if r.Outcome == registry.Recommitted {
		out.status = http.StatusOK
		out.header.Set("Mas-Duplicate", "commitment")
	}
	return out, nil
}

func (a *API) entryPath(id string) string { return a.base() + "/entries/" + id }

// pending sends a caller to where its receipt will be.
func (a *API) pending(id string, status int) reply {
	return reply{status: status, header: http.Header{"Location": {a.entryPath(id)}, "Retry-After": {"1"}}}
}

// register submits items for the caller.
func (a *API) register(c *call, items []registry.Item) ([]registry.Result, error) {
	q := registry.Request{Producer: c.caller.ID, Items: items}
	if keys := c.req.Header.Values("Idempotency-Key"); len(keys) > 0 {
		if len(keys) > 1 || !validJTI(keys[0]) {
			return nil, malformed("idempotency_key")
		}
		q.Key = keys[0]
	}
	results, err := a.config.Registry.Register(c.ctx, q)
	if err != nil {
		return nil, registrationError(err)
	}
	return results, nil
}

// registrationErrors are what callers learn about a refusal. Descriptions are constant.
var registrationErrors = map[registry.Outcome]*authority.Error{
	registry.Malformed: errMalformed,
	registry.Rejected: {Kind: authority.Invalid, Code: "rejected",
		Description: "the registration policy does not admit the statement"},
	registry.BadBody: {Kind: authority.Invalid, Code: "invalid_evidence",
		Description: "the evidence is not what the statement says"},
	registry.Contested: {Kind: authority.Conflict, Code: "evidence_conflict",
		Description: "another record has this id"},
	registry.Misused: {Kind: authority.Conflict, Code: "idempotency_key_reused",
		Description: "the idempotency key belongs to another request"},
	registry.Limited:    errRate,
	registry.TooLarge:   errTooLarge,
	registry.Overloaded: errUnavailable,
	registry.Failed:     errUnavailable,
}

var (
	errAlgorithm = &authority.Error{Kind: authority.Invalid, Code: "bad_signature_algorithm",
		Description: "the statement is signed with an algorithm that is not allowed"}
	errNoPayload = &authority.Error{Kind: authority.Invalid, Code: "payload_missing",
		Description: "the statement has no payload"}
)

// registrationError is the refusal that a caller sees, and that is evidence unless it is about load.
func registrationError(err error) error {
	e := *registrationErrors[registry.OutcomeOf(err)]
	e.Err = err
	switch {
	case errors.Is(err, ledger.ErrAlgorithm):
		e = *errAlgorithm
	case errors.Is(err, ledger.ErrNoPayload):
		e = *errNoPayload
	case errors.Is(err, ledger.ErrNoProducer):
		e.Reason = "producer"
	case errors.Is(err, ledger.ErrNotYourType):
		e.Reason = "type"
	case errors.Is(err, ledger.ErrSignature):
		e.Reason = "signature"
	}
	if r, ok := errors.AsType[*registry.Refusal](err); ok && r.RetryAfter > 0 {
		e.RetryAfter = r.RetryAfter
	}
	switch e.Kind {
	case authority.Invalid, authority.Conflict:
		return &malformedRequest{&e}
	}
	return &e
}

// postStatements registers a batch of statements. Receipts are fetched one by one.
func (a *API) postStatements(c *call) (reply, error) {
	list, err := ledger.ParseStatements(c.body)
	if err != nil {
		return reply{}, malformed("batch")
	}
	items := make([]registry.Item, len(list))
	for i := range list {
		items[i].Statement = list[i]
	}
	results, err := a.register(c, items)
	if err != nil {
		return reply{}, err
	}
	all := make([]ledger.Registration, len(results))
	for i, r := range results {
		all[i] = ledger.Registration{Status: uint64(a.itemStatus(r)), Outcome: string(r.Outcome), Index: r.Index}
		if r.EntryID != "" {
			if all[i].Entry, err = ledger.ParseEntryID(r.EntryID); err != nil {
				return reply{}, err
			}
		}
	}
	body, err := ledger.MarshalRegistrations(all)
	if err != nil {
		return reply{}, err
	}
	return reply{contentType: ledger.ContentTypeRegistrations, body: body}, nil
}

// itemStatus is the status that a statement of a batch would have had alone.
func (a *API) itemStatus(r registry.Result) int {
	switch r.Outcome {
	case registry.Registered, registry.Repeated, registry.Replayed:
		return http.StatusCreated
	case registry.Recommitted:
		return http.StatusOK
	case registry.Promised:
		return http.StatusSeeOther
	}
	return a.refuse(surfaceCOSE, registrationError(r.Err), "").status
}

// evidenceSubmission is a statement with the record it commits to, or alone.
type evidenceSubmission struct {
	Statement string `json:"statement"`        // base64url of the COSE_Sign1
	Record    string `json:"record,omitempty"` // base64url of the evidence body
}

// evidenceRegistration says where the statement stands.
type evidenceRegistration struct {
	Status       int64  `json:"status"`
	Outcome      string `json:"outcome"`
	EntryID      string `json:"entry_id,omitempty"`
	LeafIndex    *int64 `json:"leaf_index,omitempty"`
	TreeSize     int64  `json:"tree_size,omitempty"`
	RegisteredAt string `json:"registered_at,omitempty"`
	Receipt      string `json:"receipt,omitempty"` // base64url; of a single submission
	Code         string `json:"code,omitempty"`    // of a refusal
	Reason       string `json:"reason,omitempty"`
}

func (s *evidenceSubmission) item() (i registry.Item, err error) {
	if i.Statement, err = decodeBase64(s.Statement); err != nil {
		return i, malformed("statement")
	}
	if s.Record != "" {
		if i.Body, err = decodeBase64(s.Record); err != nil {
			return i, malformed("record")
		}
	}
	return i, nil
}

// postEvidence registers a statement together with its record, or one on each line.
func (a *API) postEvidence(c *call) (reply, error) {
	if c.media == mediaNDJSON {
		return a.postEvidenceLines(c)
	}
	var s evidenceSubmission
	if err := decode(c.body, &s); err != nil {
		return reply{}, err
	}
	item, err := s.item()
	if err != nil {
		return reply{}, err
	}
	return a.registerOne(c, item, func(r registry.Result, receipt []byte) reply {
		out := a.evidenceResult(r)
		out.Receipt = encodeBase64(receipt)
		return reply{contentType: mediaJSON, body: a.json(out)}
	})
}

func (a *API) evidenceResult(r registry.Result) evidenceRegistration {
	out := evidenceRegistration{Status: int64(a.itemStatus(r)), Outcome: string(r.Outcome), EntryID: r.EntryID}
	if r.Err != nil {
		if e, ok := errors.AsType[*authority.Error](registrationError(r.Err)); ok {
			out.Code, out.Reason = e.Code, e.Reason
		}
		return out
	}
	if r.Outcome != registry.Promised {
		index := int64(r.Index)
		out.LeafIndex, out.TreeSize, out.RegisteredAt = &index, int64(r.TreeSize), mission.FormatTime(r.At)
	}
	return out
}

// postEvidenceLines registers one submission a line and answers with one line each.
func (a *API) postEvidenceLines(c *call) (reply, error) {
	var items []registry.Item
	for line := range splitLines(c.body) {
		if len(items) == ledger.MaxStatements {
			return reply{}, errTooLarge
		}
		var s evidenceSubmission
		if err := decode(line, &s); err != nil {
			return reply{}, err
		}
		item, err := s.item()
		if err != nil {
			return reply{}, err
		}
		items = append(items, item)
	}
	if len(items) == 0 {
		return reply{}, malformed("batch")
	}
	results, err := a.register(c, items)
	if err != nil {
		return reply{}, err
	}
	var body []byte
	for _, r := range results {
		body = append(append(body, a.json(a.evidenceResult(r))...), '\n')
	}
	return reply{contentType: mediaNDJSON, body: body}, nil
}

// promised answers for an entry that is not in the log: it may be on its way.
func (a *API) promised(c *call, missing error) (reply, error) {
	if a.config.Registry == nil {
		return reply{}, missing
	}
	p, ok := a.config.Registry.Promise(c.param("id"))
	switch {
	case !ok || p.Producer != c.caller.ID && !c.caller.Has(authority.RoleAuditor):
		return reply{}, missing
	case p.Pending:
		return a.pending(c.param("id"), http.StatusFound), nil
	case p.EntryID != "":
		out := a.pending(p.EntryID, http.StatusSeeOther)
		out.header.Set("Mas-Duplicate", "commitment")
		return out, nil
	}
	return reply{}, registrationError(p.Err)
}

// measureRegistry creates the metrics of registration.
func (a *API) measureRegistry() {
	r := a.config.Registry
	if r == nil {
		return
	}
	a.config.Metrics.Gauge("mas_registration_backlog", "Statements on their way to the log.",
		func() float64 { return float64(r.Backlog()) })
	a.config.Metrics.Gauge("mas_registration_lag_seconds", "Age of the oldest statement on its way to the log.",
		func() float64 { return r.Lag().Seconds() })
	a.config.Metrics.Gauge("mas_registration_late",
		"1 if a statement has been on its way for longer than callers are kept waiting.", func() float64 {
			if r.Late() {
				return 1
			}
			return 0
		})
}

// RegistrationOutcomes counts statements by what became of them. It is for registry.Config.Observe.
func RegistrationOutcomes(m *telemetry.Registry) func(registry.Outcome, int) {
	var names []string
	for _, o := range registry.Outcomes {
		names = append(names, string(o))
	}
	counter := m.Counter("mas_registrations_total", "Statements that producers submitted, by outcome.",
		telemetry.Label{Name: "outcome", Values: names})
	return func(o registry.Outcome, n int) { counter.Add(uint64(n), string(o)) }
}
