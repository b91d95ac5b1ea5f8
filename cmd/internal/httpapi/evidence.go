package httpapi

import (
	"errors"
	"net/http"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// getEvidence serves the evidence with the digest in the path. With entry_id its media type is the one that the
// statement of that entry gives it; otherwise it is plain octets.
func (a *API) getEvidence(c *call) (reply, error) {
	digest, err := mission.ParseDigest(c.param("digest"))
	if err != nil {
		return reply{}, errNotFound
	}
	q, err := query(c.req, "entry_id")
	if err != nil {
		return reply{}, err
	}
	v, err := a.view()
	if err != nil {
		return reply{}, err
	}
	defer v.Close()
	out := reply{contentType: mediaOctets, header: http.Header{"ETag": {`"` + string(digest) + `"`}}}
	if q.Has("entry_id") {
		if out.contentType, err = mediaTypeOf(v, q.Get("entry_id"), digest); err != nil {
			return reply{}, err
		}
	}
	out.body, err = a.body(c, v, digest)
	if errors.Is(err, ledger.ErrErased) {
		return a.erased(v, digest, err)
	}
	if err != nil {
		return reply{}, logError(err)
	}
	return out, nil
}

// mediaTypeOf is what the statement of an entry says about the evidence with this digest.
func mediaTypeOf(v ledger.View, entryID string, digest mission.Digest) (string, error) {
	if _, err := ledger.ParseEntryID(entryID); err != nil {
		return "", errNotFound
	}
	index, err := v.Lookup(entryID)
	if err != nil {
		return "", logError(err)
	}
	e, err := v.Entry(index)
	if err != nil {
		return "", logError(err)
	}
	s, err := ledger.ParseStatement(e.Statement)
	if err != nil {
		return "", err
	}
	if s.Digest != ledger.Hash(digest.Bytes()) {
		return "", errNotFound
	}
	return s.ContentType, nil
}
