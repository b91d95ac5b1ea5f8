package httpapi

import (
	"net/http"

	"github.com/mission-authority/mas/ledger"
)

// keyStatusRoutes tell what has become of every key, to anybody.
func (a *API) keyStatusRoutes() []route {
	if a.config.Published.KeyStatus == nil {
		return nil
	}
	return []route{{method: http.MethodGet, path: a.base() + "/v1/keys/status", public: true, run: a.getKeyStatus}}
}

// getKeyStatus answers the signed key status. It may be kept for a minute: it counts for a day, and the sooner a
// compromise is known the better.
func (a *API) getKeyStatus(c *call) (reply, error) {
	signed, err := a.config.Published.KeyStatus(c.ctx)
	if err != nil {
		return reply{}, err
	}
	return tagged(reply{contentType: ledger.MediaTypeKeyStatus, body: signed,
		header: http.Header{"Cache-Control": {"public, max-age=60"}}}), nil
}
