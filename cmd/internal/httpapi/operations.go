package httpapi

import (
	"bytes"
	"log/slog"
	"strconv"
	"time"

	"github.com/mission-authority/mas/cmd/internal/telemetry"
)

// getHealth says that the process answers.
func (a *API) getHealth(*call) (reply, error) {
	return reply{contentType: mediaJSON, body: a.json(health{Status: "ok"})}, nil
}

type health struct {
	Status  string     `json:"status"`
	Reasons []string   `json:"reasons,omitempty"`
	Heads   *published `json:"heads,omitempty"` // of a log that has witnesses
}

// getReady says whether the service can do its work, and if not, why: "starting", "integrity:<code>", "write:<code>",
// or what the server's own check adds.
func (a *API) getReady(c *call) (reply, error) {
	var reasons []string
	if c.at.Before(a.ReadyAt()) {
		reasons = append(reasons, "starting")
	}
	h := a.config.Log.Health()
	if h.Integrity != nil {
		reasons = append(reasons, "integrity:"+h.Integrity.Code)
	}
	if h.Write != nil {
		reasons = append(reasons, "write:"+h.Write.Code)
	}
	reasons = append(reasons, a.unpublished()...)
	if a.config.Ready != nil {
		reasons = append(reasons, a.config.Ready()...)
	}
	if len(reasons) == 0 {
		return reply{contentType: mediaJSON, body: a.json(health{Status: "ready", Heads: a.witnessed()})}, nil
	}
	return reply{status: 503, contentType: mediaJSON, body: a.json(health{Status: "not_ready", Reasons: reasons,
		Heads: a.witnessed()})}, nil
}

// getMetrics serves the metrics on the API's own listener (dev and demo).
func (a *API) getMetrics(*call) (reply, error) {
	var text bytes.Buffer
	if err := a.config.Metrics.WriteText(&text); err != nil {
		return reply{}, err
	}
	return reply{contentType: telemetry.ContentType, body: text.Bytes()}, nil
}

// statusClasses are the label values of an outcome.
var statusClasses = []string{"200", "201", "202", "302", "303", "304", "400", "401", "403", "404", "405", "409", "413", "415", "422", "429",
	"500", "503"}

// measure creates the metrics. Their labels are closed: the rows of the table, status codes, reasons.
func (a *API) measure() {
	var names []string
	for _, r := range a.routes {
		names = append(names, r.method+" "+r.path)
	}
	routes := telemetry.Label{Name: "route", Values: names}
	m := a.config.Metrics
	a.requests = m.Counter("mas_http_requests_total", "Requests by route and status.", routes,
		telemetry.Label{Name: "status", Values: statusClasses})
	a.failures = m.Counter("mas_http_authentication_failures_total", "Failed authentications by reason.",
		telemetry.Label{Name: "reason", Values: authReasons})
	a.measureRegistry()
	a.seconds = m.Histogram("mas_http_request_seconds", "Time to answer by route.",
		[]float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20}, routes)
}

// observe counts a request and logs its outcome: route, status, code, caller and time, nothing it carried.
func (a *API) observe(route string, c *call, out reply, took time.Duration) {
	status := out.status
	if status == 0 {
		status = 200
	}
	a.requests.Add(1, route, strconv.Itoa(status))
	a.seconds.Observe(took.Seconds(), route)
	if !a.log.Enabled(c.ctx, slog.LevelDebug) {
		return
	}
	attrs := []any{slog.String("route", route), slog.Int("status", status), telemetry.Millis("ms", took)}
	if c.caller != nil {
		attrs = append(attrs, slog.String("caller", c.caller.ID))
	}
	if out.code != "" {
		attrs = append(attrs, slog.String("code", out.code))
	}
	a.log.Debug("request", attrs...)
}
