package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission/authority"
)

// The log as tlog-tiles (https://c2sp.org/tlog-tiles). What is served is always part of the last published tree.

const (
	mediaOctets = "application/octet-stream"
	mediaNote   = "text/plain; charset=utf-8"

	immutable        = "public, max-age=31536000, immutable"
	immutablePrivate = "private, max-age=31536000, immutable"
)

// view opens a view of the log as it is published, for one request.
func (a *API) view() (ledger.View, error) {
	v, err := a.heads().View()
	if err != nil {
		return nil, logError(err)
	}
	return v, nil
}

// logError classes an error of the log for a reader.
func logError(err error) error {
	if _, ok := errors.AsType[*authority.Error](err); ok {
		return err
	}
	reason := "log"
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return errNotFound
	case errors.Is(err, ledger.ErrErased):
		return errErased
	case errors.Is(err, ledger.ErrIntegrity):
		reason = "integrity"
	}
	out := because(errUnavailable, reason)
	out.Err = err
	return out
}

// errErased: the evidence existed; the log says when it was erased.
var errErased = &authority.Error{Kind: authority.NotFound, Code: "evidence_erased",
	Description: "the evidence was erased"}

// getCheckpoint serves the latest published checkpoint.
func (a *API) getCheckpoint(*call) (reply, error) {
	v, err := a.view()
	if err != nil {
		return reply{}, err
	}
	defer v.Close()
	note := v.Checkpoint()
	if len(note) == 0 {
		return reply{}, errNotFound
	}
	out := reply{contentType: mediaNote, body: note, header: http.Header{"Cache-Control": {"public, max-age=1"}}}
	return tagged(out), nil
}

// getTile serves a hash tile.
func (a *API) getTile(c *call) (reply, error) {
	t, err := ledger.ParseTilePath("tile/" + c.param("level") + c.param("index"))
	if err != nil {
		return reply{}, errNotFound
	}
	v, err := a.view()
	if err != nil {
		return reply{}, err
	}
	defer v.Close()
	if t.Width > t.WidthAt(v.Head().Size) {
		return reply{}, errNotFound
	}
	hashes, err := v.Tile(t.Level, t.Index, t.Width)
	if err != nil {
		return reply{}, logError(err)
	}
	body := ledger.MarshalTile(hashes)
	return tagged(reply{contentType: mediaOctets, body: body, header: http.Header{"Cache-Control": {immutable}}}), nil
}

// getEntryTile serves an entry bundle.
func (a *API) getEntryTile(c *call) (reply, error) {
	t, err := ledger.ParseTilePath("tile/entries" + c.param("index"))
	if err != nil {
		return reply{}, errNotFound
	}
	v, err := a.view()
	if err != nil {
		return reply{}, err
	}
	defer v.Close()
	if t.Width > t.WidthAt(v.Head().Size) {
		return reply{}, errNotFound
	}
	entries := make([][]byte, t.Width)
	for i := range entries {
		e, err := v.Entry(t.Index*ledger.TileWidth + uint64(i))
		if err != nil {
			return reply{}, logError(err)
		}
		entries[i] = e.Statement
	}
	body, err := ledger.MarshalBundle(entries)
	if err != nil {
		return reply{}, err
	}
	out := reply{contentType: mediaOctets, body: body, header: http.Header{"Cache-Control": {immutablePrivate}}}
	return compressed(c.req, out), nil
}

// tagged adds a strong entity tag over the body.
func tagged(r reply) reply {
	sum := sha256.Sum256(r.body)
	r.header.Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	return r
}

// accepts reports whether the request accepts the media type, which must be named: there is no content negotiation
// beyond picking one of a few representations.
func accepts(r *http.Request, mediaType string) bool {
	for _, field := range r.Header.Values("Accept") {
		for item := range strings.SplitSeq(field, ",") {
			name, _, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(name), mediaType) {
				return true
			}
		}
	}
	return false
}
