package httpapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/epoch"
	"github.com/mission-authority/mas/mission/authority"
)

// The log as a SCITT transparency service (RFC 9943, SCRAPI): receipts, statements and the keys that verify them.

const (
	mediaCOSE      = "application/cose"
	mediaStatement = "application/scitt-statement+cose"
	mediaCBOR      = "application/cbor"
)

// getEntry serves a receipt of the entry at the newest published size.
func (a *API) getEntry(c *call) (reply, error) {
	v, index, err := a.lookup(c)
	if err != nil {
		return a.promised(c, err)
	}
	defer v.Close()
	receipt, _, err := a.receipt(c.ctx, v, index)
	if err != nil {
		return reply{}, err
	}
	return reply{contentType: mediaCOSE, body: receipt,
		header: http.Header{"Location": {a.base() + "/entries/" + c.param("id")}}}, nil
}

// getStatement serves the statement as it was logged.
func (a *API) getStatement(c *call) (reply, error) {
	v, index, err := a.lookup(c)
	if err != nil {
		return reply{}, err
	}
	defer v.Close()
	e, err := v.Entry(index)
	if err != nil {
		return reply{}, logError(err)
	}
	return reply{contentType: mediaStatement, body: e.Statement}, nil
}

// getTransparent serves the statement with its receipt.
func (a *API) getTransparent(c *call) (reply, error) {
	v, index, err := a.lookup(c)
	if err != nil {
		return reply{}, err
	}
	defer v.Close()
	receipt, statement, err := a.receipt(c.ctx, v, index)
	if err != nil {
		return reply{}, err
	}
	transparent, err := ledger.AttachReceipts(statement, receipt)
	if err != nil {
		return reply{}, err
	}
	return reply{contentType: mediaStatement, body: transparent}, nil
}

// lookup opens a view and finds the entry that the path names, if the caller may read about it. The caller closes the
// view.
func (a *API) lookup(c *call) (ledger.View, uint64, error) {
	id := c.param("id")
	if _, err := ledger.ParseEntryID(id); err != nil {
		return nil, 0, errNotFound
	}
	v, err := a.view()
	if err != nil {
		return nil, 0, err
	}
	index, err := v.Lookup(id)
	if err == nil {
		err = a.readable(c, v, index)
	}
	if err != nil {
		v.Close()
		return nil, 0, logError(err)
	}
	return v, index, nil
}

// readable refuses a producer an entry that is not its own, as one that does not exist.
func (a *API) readable(c *call, v ledger.View, index uint64) error {
	if c.caller.Has(authority.RoleAuditor) {
		return nil
	}
	e, err := v.Entry(index)
	if err != nil {
		return err
	}
	s, err := ledger.ParseStatement(e.Statement)
	if err != nil {
		return err
	}
	if s.Issuer != c.caller.StatementIssuer(a.config.Issuer) {
		return errNotFound
	}
	return nil
}

// receipt makes the COSE receipt of an entry in the tree of the view and returns it with the statement it is about.
func (a *API) receipt(ctx context.Context, v ledger.View, index uint64) (receipt, statement []byte, err error) {
	e, err := v.Entry(index)
	if err != nil {
		return nil, nil, logError(err)
	}
	s, err := ledger.ParseStatement(e.Statement)
	if err != nil {
		return nil, nil, fmt.Errorf("entry %d: %w", index, err)
	}
	seq, size, err := a.feedPosition(v, s.Subject, index)
	if err != nil {
		return nil, nil, err
	}
	receipt, err = a.signReceipt(ctx, v, v.Head(), e, s, &feedPlace{seq, size})
	return receipt, e.Statement, err
}

// A feedPlace is the number of an entry in its feed, and how many entries the feed has.
type feedPlace struct{ seq, size uint64 }

// signReceipt signs the receipt of entry e for a head of the log and checks it the way a stranger would before it
// leaves. Without a place the receipt does not number the entry. A tree of one entry has no receipts yet.
func (a *API) signReceipt(ctx context.Context, v ledger.View, head ledger.Head, e ledger.LoggedEntry, s *ledger.Statement,
	place *feedPlace) ([]byte, error) {
	if head.Size < 2 {
		return nil, because(errUnavailable, "tree_too_small")
	}
	path, err := v.Inclusion(e.Index, head.Size)
	if err != nil {
		return nil, logError(err)
	}
	claims := ledger.ReceiptClaims{Issuer: a.config.Issuer, Subject: s.Subject, IssuedAt: e.At.Unix()}
	if place != nil {
		claims.FeedSeq, claims.FeedSize = &place.seq, &place.size
	}
	raw, err := ledger.SignReceipt(ctx, claims, ledger.Inclusion{Size: head.Size, Index: e.Index, Path: path}, head.Root,
		a.config.Receipts)
	if err != nil {
		return nil, fmt.Errorf("signing a receipt: %w", err)
	}
	r, err := ledger.ParseReceipt(raw)
	if err != nil {
		return nil, fmt.Errorf("own receipt: %w", err)
	}
	root, err := r.VerifyStatement(s, a.config.Issuer, a.keys.receipts)
	if err != nil {
		return nil, fmt.Errorf("own receipt: %w", err)
	}
	if root != head.Root {
		return nil, errors.New("own receipt proves another root")
	}
	return raw, nil
}

// feedPosition counts the entries with the subject before index, and all of them. What the newest feed epoch covers is
// counted there: only the tail behind it is read for a newer entry, and for an older one what comes before it.
func (a *API) feedPosition(v ledger.View, subject string, index uint64) (seq, size uint64, err error) {
	covered, _, err := epoch.Map(v, a.config.Issuer).Get(subject) // zero if there is none
	if err != nil {
		return 0, 0, logError(err)
	}
	if covered.Last >= v.Head().Size { // the view is of an older head than the map
		covered = ledger.FeedSummary{}
	}
	if covered.Count > 0 && index <= covered.Last {
		if seq, err = countFeed(v, subject, -1, index); err != nil {
			return 0, 0, err
		}
	}
	after := int64(-1)
	if covered.Count > 0 {
		after = int64(covered.Last)
	}
	for at, err := range v.Feed(subject, after) {
		if err != nil {
			return 0, 0, logError(err)
		}
		if at == index {
			seq = covered.Count + size
		}
		size++
	}
	return seq, covered.Count + size, nil
}

// countFeed counts the entries of a feed above after and below index.
func countFeed(v ledger.View, subject string, after int64, index uint64) (n uint64, err error) {
	for at, err := range v.Feed(subject, after) {
		if err != nil {
			return 0, logError(err)
		}
		if at >= index {
			break
		}
		n++
	}
	return n, nil
}

// getReceiptKeys serves the COSE key set of the log.
func (a *API) getReceiptKeys(*call) (reply, error) {
	return tagged(reply{contentType: mediaCBOR, body: a.keys.receiptSet,
		header: http.Header{"Cache-Control": {"public, max-age=300"}}}), nil
}

// getReceiptKey serves one key of the set, by its kid in base64url or lower-case hex.
func (a *API) getReceiptKey(c *call) (reply, error) {
	kid, err := base64.RawURLEncoding.Strict().DecodeString(c.param("kid"))
	if err != nil || len(kid) != ledger.HashSize {
		if kid, err = hex.DecodeString(c.param("kid")); err != nil {
			return reply{}, errNotFound
		}
	}
	for _, k := range a.keys.receiptKeys {
		if bytes.Equal(k.kid, kid) {
			return tagged(reply{contentType: "application/cose-key", body: k.encoded,
				header: http.Header{"Cache-Control": {"public, max-age=300"}}}), nil
		}
	}
	return reply{}, errNotFound
}
