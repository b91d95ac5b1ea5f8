package httpapi

import (
	"context"
	"net/http"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
)

// Missions is the state owner as the handlers use it; *authority.Authority is one. Each method authorises the caller
// itself, decides and commits; what it returns is final.
type Missions interface {
	// Submit takes a submission and returns the 202 body.
	Submit(ctx context.Context, c authority.Caller, body []byte) ([]byte, error)
	// Poll returns the body that says how a submission stands.
	Poll(ctx context.Context, c authority.Caller, submissionID string) ([]byte, error)
	// Queue lists what waits for the caller's decision.
	Queue(ctx context.Context, c authority.Caller) ([]byte, error)
	// Review renders one submission for its approver.
	Review(ctx context.Context, c authority.Caller, submissionID string) ([]byte, error)
	// Decide takes the approver's decision and returns the poll body.
	Decide(ctx context.Context, c authority.Caller, submissionID string, body []byte) ([]byte, error)
	// Status returns a signed status response.
	Status(ctx context.Context, c authority.Caller, q authority.StatusQuery) (string, error)
	// Lifecycle moves a mission.
	Lifecycle(ctx context.Context, c authority.Caller, q authority.LifecycleRequest) (authority.LifecycleAnswer, error)
	// Refused records that an authenticated caller was refused before it reached one of the methods above.
	Refused(ctx context.Context, c authority.Caller, operation, target string, err error)
}

// submit: POST /mas/submissions.
func (a *API) submit(c *call) (reply, error) {
	body, err := a.config.Missions.Submit(c.ctx, *c.caller, c.body)
	return reply{status: http.StatusAccepted, contentType: mediaJSON, body: body}, err
}

// poll: POST /mas/submissions/status.
func (a *API) poll(c *call) (reply, error) {
	if err := fields(c.form, []string{"submission"}, nil); err != nil {
		return reply{}, err
	}
	body, err := a.config.Missions.Poll(c.ctx, *c.caller, c.form.Get("submission"))
	return reply{contentType: mediaJSON, body: body}, err
}

// queue: GET /mas/review.
func (a *API) queue(c *call) (reply, error) {
	body, err := a.config.Missions.Queue(c.ctx, *c.caller)
	return reply{contentType: mediaJSON, body: body}, err
}

// review: GET /mas/review/{submission_id}.
func (a *API) review(c *call) (reply, error) {
	body, err := a.config.Missions.Review(c.ctx, *c.caller, c.param("id"))
	return reply{contentType: mediaJSON, body: body}, err
}

// decide: POST /mas/review/{submission_id}/decision.
func (a *API) decide(c *call) (reply, error) {
	body, err := a.config.Missions.Decide(c.ctx, *c.caller, c.param("id"), c.body)
	return reply{contentType: mediaJSON, body: body}, err
}

// status: POST /mas/missions/status.
func (a *API) status(c *call) (reply, error) {
	if err := fields(c.form, []string{"mission_id", "nonce"}, []string{"audience"}); err != nil {
		return reply{}, err
	}
	token, err := a.config.Missions.Status(c.ctx, *c.caller, authority.StatusQuery{
		MissionID: c.form.Get("mission_id"), Audience: c.form.Get("audience"), Nonce: c.form.Get("nonce"),
	})
	return signed(token, jws.TypStatus), err
}

// lifecycle: POST /mas/missions/lifecycle.
func (a *API) lifecycle(c *call) (reply, error) {
	err := fields(c.form, []string{"mission_id", "operation", "nonce"},
		[]string{"reason", "suspend_until", "on_expiry", "expected_version"})
	if err != nil {
		return reply{}, err
	}
	q := authority.LifecycleRequest{
		MissionID:    c.form.Get("mission_id"),
		Operation:    mission.Operation(c.form.Get("operation")),
		Reason:       c.form.Get("reason"),
		SuspendUntil: c.form.Get("suspend_until"),
		OnExpiry:     mission.Operation(c.form.Get("on_expiry")),
		Nonce:        c.form.Get("nonce"),
	}
	if c.form.Has("expected_version") {
		n, err := number(c.form, "expected_version", 0)
		if err != nil {
			return reply{}, err
		}
		q.ExpectedVersion = &n
	}
	answer, err := a.config.Missions.Lifecycle(c.ctx, *c.caller, q)
	if err != nil {
		return reply{}, err
	}
	if answer.Stopped {
		return reply{contentType: mediaJSON, body: a.json(stopped{q.MissionID, q.Operation, "pending"})}, nil
	}
	out := signed(answer.Token, jws.TypStatus)
	if answer.Pending {
		out.header.Set("Mission-Publication", "pending")
	}
	return out, nil
}

// stopped answers a revocation that is durable in the emergency-stop journal and not in the log yet. Nothing is signed:
// the log does not know the new state.
type stopped struct {
	MissionID   string            `json:"mission_id"`
	Operation   mission.Operation `json:"operation"`
	Publication string            `json:"publication"`
}

// signed is a reply of one compact JWS.
func signed(token string, typ jws.Typ) reply {
	return reply{contentType: typ.ContentType(), body: []byte(token),
		header: http.Header{"Cache-Control": {"no-store"}, "Pragma": {"no-cache"}}}
}

// refused records the refusal of an authenticated caller, which is evidence; refusals of others are a metric.
func (a *API) refused(r route, c *call, err error) {
	if c.caller != nil {
		a.config.Missions.Refused(c.ctx, *c.caller, r.method+" "+r.path, "", err)
	}
}
