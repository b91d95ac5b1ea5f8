package authority

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// subject is the statement subject of something of this issuer: <issuer>/<kind>/<id>, or <issuer>/<kind> (contract,
// "Statement subjects"). The entries of one subject form its feed.
func (a *Authority) subject(kind, id string) string { return subjectOf(a.base, kind, id) }

func subjectOf(base, kind, id string) string {
	if id == "" {
		return base + "/" + kind
	}
	return base + "/" + kind + "/" + id
}

func (a *Authority) missionSubject(id mission.ID) string { return a.subject("missions", string(id)) }

func (a *Authority) approvalSubject(id mission.EventID) string {
	return a.subject("approvals", string(id))
}

// entry makes the evidence of something: v in canonical form is the body, which goes to the vault; the statement over
// its digest goes to the log. A body that others could guess carries a salt (audit 3.3), and every body is unique, so
// that no statement is taken for a repetition of an older one.
func (a *Authority) entry(ctx context.Context, subject, contentType string, at time.Time, v any) (ledger.Entry, error) {
	body, err := mission.Marshal(v)
	if err != nil {
		return ledger.Entry{}, fmt.Errorf("evidence %s: %w", contentType, err)
	}
	return a.entryOf(ctx, subject, contentType, at, body)
}

// entryOf is entry for a body that is committed to as it is, such as a compact JWS.
func (a *Authority) entryOf(ctx context.Context, subject, contentType string, at time.Time, body []byte) (ledger.Entry, error) {
	raw, err := ledger.SignStatement(ctx, ledger.Claims{
		Issuer:      a.issuer,
		Subject:     subject,
		IssuedAt:    at.Unix(),
		ContentType: contentType,
		Digest:      sha256.Sum256(body),
	}, a.evidence)
	if err != nil {
		return ledger.Entry{}, errUnavailable.because("signing").wrap(fmt.Errorf("evidence %s: %w", contentType, err))
	}
	return ledger.Entry{Statement: raw, Body: body}, nil
}
