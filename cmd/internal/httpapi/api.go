// Package httpapi is the HTTP surface of a Mission Authority Service: it authenticates callers, bounds and decodes
// requests, calls the one method that does the work, and renders what it returns.
//
// Everything a caller can reach is one row of the route table in routes.go: method, path, who may call, which language
// of errors it speaks, how large a body may be. Handlers see no gin: they get a call and return a reply or an error,
// and problem.go alone turns errors into HTTP.
//
// Invariants:
//   - A row without roles and without public access is unreachable: grants are deny-by-default.
//   - A body is bounded before it is read, and read before it is parsed; a request carries one proof of identity.
//   - Unknown, not granted and not visible are one 404 on each surface, byte for byte.
//   - Forwarded headers are not looked at. Nothing of a request is logged but its route, its caller and its outcome.
//
// The package owns no state but the memory of used assertions and rates. It decides nothing about missions.
package httpapi

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/mission-authority/mas/cmd/internal/telemetry"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/registry"
	"github.com/mission-authority/mas/ledger/witness"
	"github.com/mission-authority/mas/mission/authority"
)

// Timeouts of the server. A request is done, or given up, before its connection is.
const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 15 * time.Second
	requestTimeout = 20 * time.Second
	writeTimeout   = 60 * time.Second
	idleTimeout    = 120 * time.Second
	maxHeaderBytes = 16 << 10
)

// Config is what an API is made of. Everything is required except where noted.
type Config struct {
	Issuer    string // issuer identifier; its path prefixes every path but /.well-known
	Shard     string // name of the log's shard in paths
	LogOrigin string // name of the log
	Missions  Missions
	Peers     Federation // nil: no federation, its routes do not exist
	Custody   Custody    // nil: nothing is erased, and reads are not recorded
	Directory Directory
	Log       ledger.Log
	Registry  *registry.Registry // nil: nobody registers from outside, its routes do not exist
	Past      []Past             // logs of the past, from the first to the last before Log; may be empty
	// Operations are what operators and administrators may do; nil: their routes do not exist.
	Operations Operations
	Heads      *witness.Publisher // how far the log is published; nil: what is durable is
	Witness    *witness.Server    // of other logs; nil: nobody's witness, its routes do not exist
	Receipts   ledger.Signer      // signs COSE receipts
	Epochs     Epochs             // commits feed epochs
	Evidence   ledger.Signer      // signs the record of an export; nil: exports are not recorded
	Published  Published          // what metadata tells about keys and bounds
	Rate       int                // requests per second and caller
	Body       int64              // octets of a request body; submissions may be four times as long
	Metrics    *telemetry.Registry
	Ready      func() []string // further reasons for /readyz not to be ready; may be nil
	// ServeMetrics puts /metrics on this listener (dev and demo). Otherwise use MetricsHandler on another one.
	ServeMetrics bool
	Now          func() time.Time
	Logger       *slog.Logger
}

// An API serves HTTP. It is safe for concurrent use.
type API struct {
	config   Config
	log      *slog.Logger
	start    time.Time // assertions issued in or before its second are refused
	auth     authenticator
	limit    *rateLimit
	engine   *gin.Engine
	routes   []route
	metadata []byte
	keys     publishedKeys

	requests *telemetry.Counter
	failures *telemetry.Counter
	seconds  *telemetry.Histogram
}

// New builds the API. The instant of the call is the start of the process as far as assertions are concerned.
func New(c Config) (*API, error) {
	if c.Issuer == "" || c.Shard == "" || c.LogOrigin == "" || c.Missions == nil || c.Directory == nil || c.Log == nil ||
		c.Receipts == nil || c.Epochs == nil || c.Rate <= 0 || c.Body <= 0 || c.Metrics == nil || c.Now == nil || c.Logger == nil {
		return nil, errors.New("httpapi: incomplete configuration")
	}
	a := &API{config: c, log: c.Logger, start: c.Now(), limit: newRateLimit(c.Rate)}
	a.auth = authenticator{issuer: c.Issuer, start: a.start, now: c.Now, people: c.Directory, used: newAssertionMemory()}
	if err := a.publish(); err != nil {
		return nil, err
	}
	a.routes = a.table()
	a.measure()
	if err := a.build(); err != nil {
		return nil, err
	}
	return a, nil
}

// ReadyAt is the first instant at which an assertion issued then is accepted: the second after the start. A server that
// announces itself waits for it.
func (a *API) ReadyAt() time.Time { return a.start.Truncate(time.Second).Add(time.Second) }

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.engine.ServeHTTP(w, r) }

// NewServer returns a server for a handler of this package, with the timeouts that a public listener needs.
func NewServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// MetricsHandler serves the metrics on a listener of their own.
func (a *API) MetricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", telemetry.ContentType)
		if err := a.config.Metrics.WriteText(w); err != nil {
			a.log.Debug("metrics not written", slog.Any("error", err))
		}
	})
	return mux
}

// A call is one request as a handler sees it.
type call struct {
	ctx    context.Context
	at     time.Time
	caller *authority.Caller // nil on public routes
	req    *http.Request
	form   url.Values // of form routes
	body   []byte     // of routes with another body
	media  string     // of body
	param  func(string) string
}

// A reply is what a handler returns. The zero status is 200.
type reply struct {
	status      int
	contentType string
	header      http.Header
	body        []byte
	code        string // of an error
}

// A route is one row of the table.
type route struct {
	method  string
	path    string // with gin parameters
	surface surface
	public  bool             // anybody may call
	roles   []authority.Role // otherwise: those who may
	media   string           // of the body, "" if there is none
	limit   int64            // octets of the body
	batch   string           // another media type of the body: many of what media is one of; "" if there is none
	most    int64            // octets of such a body
	bad     string           // code of a body that is not one of these, if not the surface's usual one
	run     func(*call) (reply, error)
}

// build puts the table on a gin engine.
func (a *API) build() error {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.HandleMethodNotAllowed = true
	e.RedirectTrailingSlash = false
	e.RedirectFixedPath = false
	e.ContextWithFallback = false
	if err := e.SetTrustedProxies(nil); err != nil {
		return err
	}
	for _, r := range a.routes {
		if !r.public && len(r.roles) == 0 {
			return errors.New("httpapi: route " + r.method + " " + r.path + " has neither roles nor public access")
		}
		e.Handle(r.method, r.path, a.serve(r))
	}
	e.NoRoute(a.serve(route{public: true, run: func(*call) (reply, error) { return reply{}, errNotFound }}))
	e.NoMethod(a.serve(route{public: true, run: func(*call) (reply, error) { return reply{}, errMethod }}))
	a.engine = e
	return nil
}

// serve is the one path of every request: recover, measure, bound, authenticate, grant, run, render.
func (a *API) serve(r route) gin.HandlerFunc {
	name := r.method + " " + r.path
	if r.path == "" {
		name = telemetry.Other
	}
	return func(c *gin.Context) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(c.Request.Context(), requestTimeout)
		defer cancel()
		call := &call{ctx: ctx, at: a.config.Now(), req: c.Request, param: c.Param}
		out := a.answer(c.Writer, r, call)
		write(c.Writer, c.Request, out)
		a.observe(name, call, out, time.Since(began))
	}
}

// answer runs a request up to its reply.
func (a *API) answer(w http.ResponseWriter, r route, c *call) (out reply) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("panic in a handler", slog.String("stack", string(debug.Stack())))
			out = a.refuse(r.surface, errors.New("panic"), "")
		}
	}()
	if err := a.admit(w, r, c); err != nil {
		err = r.named(err)
		a.refused(r, c, err)
		return a.refuse(r.surface, err, echo(c.form))
	}
	out, err := r.run(c)
	if err != nil {
		if bad, ok := errors.AsType[*malformedRequest](err); ok {
			a.refused(r, c, bad)
		}
		return a.refuse(r.surface, err, echo(c.form))
	}
	return out
}

// named gives a refused body the code that the route's own surface has for it.
func (r *route) named(err error) error {
	e, ok := errors.AsType[*authority.Error](err)
	if !ok || r.bad == "" || e.Kind != authority.Invalid {
		return err
	}
	out := *e
	out.Code, out.Reason = r.bad, e.Code
	return &out
}

// admit authenticates the caller, checks its grant and its rate, and reads the body.
func (a *API) admit(w http.ResponseWriter, r route, c *call) error {
	if r.public {
		return nil
	}
	// A peer takes 401 for a refusal to vouch for its missions: a server that cannot know anybody yet says so.
	if c.at.Before(a.ReadyAt()) || a.config.Directory.Principals() == nil {
		return errStarting
	}
	if r.media == mediaForm {
		if err := a.readForm(w, r, c); err != nil {
			return err
		}
	}
	if err := a.authenticate(r, c); err != nil {
		return err
	}
	if ok, wait := a.limit.allow(c.caller.ID, c.at); !ok {
		limited := *errRate
		limited.RetryAfter = wait
		return &limited
	}
	if !slices.ContainsFunc(r.roles, c.caller.Has) {
		return errNotFound
	}
	if r.media != "" && r.media != mediaForm {
		var err error
		c.media = r.media
		limit := r.limit
		if r.batch != "" && isMedia(c.req, r.batch) {
			c.media, limit = r.batch, r.most
		}
		c.body, err = readBody(w, c.req, c.media, limit)
		return err
	}
	return nil
}

func (a *API) readForm(w http.ResponseWriter, r route, c *call) error {
	if c.req.URL.RawQuery != "" {
		return errMalformed
	}
	body, err := readBody(w, c.req, mediaForm, r.limit)
	if err != nil {
		return err
	}
	c.form, err = parseForm(body)
	return err
}

// authenticate sets the caller. Why it fails is told to the metrics only.
func (a *API) authenticate(r route, c *call) (err error) {
	if r.media == mediaForm {
		c.caller, err = a.auth.fromForm(c.req, c.form)
	} else {
		c.caller, err = a.auth.fromHeader(c.req)
	}
	if err == nil {
		return nil
	}
	reason := authReason(err)
	a.failures.Add(1, reason)
	a.log.Info("caller not authenticated", slog.String("route", r.path), slog.String("reason", reason))
	if reason == authFull {
		return errUnavailable
	}
	return errUnauthorized
}

// echo is the nonce of a form request if it is well formed: errors of the mission surfaces repeat it.
func echo(form url.Values) string {
	if nonce := form.Get("nonce"); validJTI(nonce) {
		return nonce
	}
	return ""
}

// write sends a reply. HEAD is not routed, so there is always a body to compare an ETag with.
func write(w http.ResponseWriter, r *http.Request, out reply) {
	h := w.Header()
	for name, values := range out.header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	h.Set("X-Content-Type-Options", "nosniff")
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	status := out.status
	if status == 0 {
		status = http.StatusOK
	}
	if tag := h.Get("ETag"); status == http.StatusOK && tag != "" && matches(r.Header.Get("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if out.contentType != "" {
		h.Set("Content-Type", out.contentType)
	}
	h.Set("Content-Length", strconv.Itoa(len(out.body)))
	w.WriteHeader(status)
	_, _ = bytes.NewReader(out.body).WriteTo(w) // a caller that went away is not an error of ours
}

// matches reports whether an If-None-Match field lists the entity tag.
func matches(field, tag string) bool {
	for candidate := range strings.SplitSeq(field, ",") {
		if candidate = strings.TrimSpace(candidate); candidate == tag || candidate == "*" {
			return true
		}
	}
	return false
}
