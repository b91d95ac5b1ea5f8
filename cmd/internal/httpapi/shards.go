package httpapi

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
)

// A Past is a log of this service that takes no more entries: a shard that another one continues.
type Past struct {
	Shard  string // its name in paths
	VKey   string
	Log    ledger.Log
	End    ledger.Predecessor // where it ends
	Closed *ledger.LogClosed  // what its last entry says; nil if entries of it are gone
}

// Operations are what operators and administrators do to the service as a whole.
type Operations interface {
	// Freeze closes the log for ever, in favour of the one named successor. It takes two administrators who ask for the
	// same: the first call is remembered for a while and returns false.
	Freeze(ctx context.Context, by authority.Caller, successor, reason string) (done bool, err error)
	// AcceptClock ends the doubt about the clock on the caller's word.
	AcceptClock(ctx context.Context, by authority.Caller) error
}

// errFrozen is the answer to whoever wants a frozen log to take something.
var errFrozen = &authority.Error{Kind: authority.Invalid, Code: "log_frozen",
	Description: "the log is closed; another shard continues it"}

// shardRoutes are the rows of what is asked of the service as a whole, and of logs of the past.
func (a *API) shardRoutes() []route {
	const get, post = http.MethodGet, http.MethodPost
	base := a.base()
	routes := []route{{method: get, path: base + "/v1/shards", public: true, run: a.getShards}}
	if a.config.Operations != nil {
		routes = append(routes,
			route{method: post, path: base + "/v1/log/freeze", roles: []authority.Role{authority.RoleAdmin},
				media: mediaJSON, limit: a.config.Body, run: a.freeze},
			route{method: post, path: base + "/v1/clock/accept", roles: []authority.Role{authority.RoleOperator},
				media: mediaJSON, limit: a.config.Body, run: a.acceptClock})
	}
	for _, p := range a.config.Past {
		old := a.past(p)
		log, v1 := base+"/log/"+p.Shard, base+"/v1/shards/"+p.Shard
		routes = append(routes,
			route{method: get, path: log + "/checkpoint", public: true, run: old.getCheckpoint},
			route{method: get, path: log + "/tile/:level/*index", public: true, run: old.getTile},
			route{method: get, path: log + "/tile/entries/*index", roles: auditors, run: old.getEntryTile},
			route{method: get, path: v1 + "/proofs/inclusion", public: true, run: old.getInclusion},
			route{method: get, path: v1 + "/proofs/consistency", public: true, run: old.getConsistency},
			route{method: get, path: v1 + "/feeds/:sub", roles: auditors, run: old.getFeed},
			route{method: get, path: v1 + "/evidence/:digest", roles: auditors, run: old.getEvidence},
			route{method: get, path: v1 + "/entries/:id", roles: auditors, surface: surfaceCOSE, run: old.getEntry},
			route{method: get, path: v1 + "/entries/:id/statement", roles: auditors, surface: surfaceCOSE,
				run: old.getStatement},
			route{method: get, path: v1 + "/entries/:id/transparent", roles: auditors, surface: surfaceCOSE,
				run: old.getTransparent})
	}
	return routes
}

// past is the API over a log of the past: the same handlers, reading another log.
func (a *API) past(p Past) *API {
	old := *a
	old.config.Log, old.config.Shard, old.config.LogOrigin = p.Log, p.Shard, p.End.Origin
	old.config.Heads = nil // those of the log of today
	return &old
}

// shard is one row of GET /v1/shards.
type shard struct {
	Origin      string   `json:"origin"`
	Prefix      string   `json:"prefix"`
	VKeys       []string `json:"vkeys"`
	Status      string   `json:"status"` // active, frozen, closed
	MinIndex    int64    `json:"min_index"`
	OpenedAt    string   `json:"opened_at"`
	FrozenAt    string   `json:"frozen_at,omitempty"`
	FinalSize   int64    `json:"final_size,omitempty"`
	FinalRoot   string   `json:"final_root,omitempty"`
	LostUpTo    int64    `json:"lost_up_to,omitempty"` // published entries from final_size up to here are gone
	Successor   string   `json:"successor,omitempty"`
	Predecessor string   `json:"predecessor,omitempty"`
}

// getShards lists the logs of this service, oldest first: a feed goes through them in this order.
func (a *API) getShards(*call) (reply, error) {
	shards := make([]shard, 0, len(a.config.Past)+1)
	for i, p := range a.config.Past {
		s, err := a.past(p).describeShard(p.VKey, true)
		if err != nil {
			return reply{}, err
		}
		s.Successor = a.config.LogOrigin
		if i+1 < len(a.config.Past) {
			s.Successor = a.config.Past[i+1].End.Origin
		}
		if p.End.Lost != nil {
			s.Status, s.LostUpTo = "closed", int64(p.End.Lost.Size)
		}
		if i > 0 {
			s.Predecessor = a.config.Past[i-1].End.Origin
		}
		shards = append(shards, s)
	}
	h := a.config.Log.Health().Write
	s, err := a.describeShard(a.config.Published.VKey, h != nil && h.Code == errFrozen.Code)
	if err != nil {
		return reply{}, err
	}
	if n := len(a.config.Past); n > 0 {
		s.Predecessor = a.config.Past[n-1].End.Origin
	}
	body := a.json(struct {
		Shards []shard `json:"shards"`
	}{append(shards, s)})
	return tagged(reply{contentType: mediaJSON, body: body,
		header: http.Header{"Cache-Control": {"public, max-age=10"}}}), nil
}

// describeShard reads what a log says about itself. Entries of a log are never pruned, so it starts at 0.
func (a *API) describeShard(vkey string, ended bool) (s shard, err error) {
	v, err := a.view()
	if err != nil {
		return s, err
	}
	defer v.Close()
	scheme := "https://"
	if strings.HasPrefix(a.config.Issuer, "http:") {
		scheme = "http://"
	}
	s = shard{Origin: a.config.LogOrigin, Prefix: scheme + a.config.LogOrigin, VKeys: []string{vkey}, Status: "active"}
	head := v.Head()
	if head.Size == 0 {
		return s, nil
	}
	first, err := v.Entry(0)
	if err != nil {
		return s, logError(err)
	}
	s.OpenedAt = mission.FormatTime(first.At.Truncate(time.Second))
	if !ended {
		return s, nil
	}
	s.Status, s.FinalSize, s.FinalRoot = "frozen", int64(head.Size), hex.EncodeToString(head.Root[:])
	s.FrozenAt = mission.FormatTime(head.At.Truncate(time.Second))
	return s, nil
}

// freezeRequest is the body of POST /v1/log/freeze.
type freezeRequest struct {
	Successor string `json:"successor"`
	Reason    string `json:"reason"`
}

// freeze closes the log on the word of two administrators.
func (a *API) freeze(c *call) (reply, error) {
	var in freezeRequest
	if err := decode(c.body, &in); err != nil || in.Successor == "" || in.Reason == "" {
		return reply{}, errMalformed
	}
	done, err := a.config.Operations.Freeze(c.ctx, *c.caller, in.Successor, in.Reason)
	if err != nil {
		return reply{}, frozenError(err)
	}
	status, state := http.StatusAccepted, "awaiting_second_administrator"
	if done {
		status, state = http.StatusOK, "frozen"
	}
	return reply{status: status, contentType: mediaJSON, body: a.json(struct {
		Status string `json:"status"`
		Origin string `json:"origin"`
	}{state, a.config.LogOrigin})}, nil
}

func frozenError(err error) error {
	switch {
	case errors.Is(err, ledger.ErrFrozen):
		return errFrozen
	case errors.Is(err, ledger.ErrUnavailable), errors.Is(err, ledger.ErrIntegrity):
		return logError(err)
	case errors.Is(err, ledger.ErrSuccession), errors.Is(err, ledger.ErrCheckpoint):
		return errMalformed
	}
	return err
}

// acceptClock ends the doubt about the clock.
func (a *API) acceptClock(c *call) (reply, error) {
	var in struct{}
	if err := decode(c.body, &in); err != nil {
		return reply{}, errMalformed
	}
	if err := a.config.Operations.AcceptClock(c.ctx, *c.caller); err != nil {
		return reply{}, err
	}
	return reply{contentType: mediaJSON, body: a.json(struct {
		Status string `json:"status"`
	}{"accepted"})}, nil
}
