package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/verifier"
)

// statementKey is what the profile of a producer signs statements with.
type statementKey struct {
	Issuer string     `json:"issuer"`
	JWK    client.JWK `json:"jwk"`
}

// A registration is one use of evidence register.
type registration struct {
	*session
	contentType, mission, subject string
	statement, out, trust, key    string
	alone                         bool
	wait                          time.Duration
}

func registerCommand(s *session) *cobra.Command {
	r := &registration{session: s}
	c := &cobra.Command{
		Use: "register [RECORD]", Short: "Register evidence of a producer and keep its statement with the receipt",
		Long: `Signs a statement over RECORD with the statement key of the profile, registers both, checks the receipt, and
writes the transparent statement (statement and receipt), which "masverify statement" verifies offline.

With --statement, registers a statement that was signed elsewhere, without a record.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return r.run(c.Context(), args) },
	}
	f := c.Flags()
	f.StringVar(&r.contentType, "type", "", "media type of the record")
	f.StringVar(&r.mission, "mission", "", "mission that the record is about")
	f.StringVar(&r.subject, "subject", "", "subject of the statement, if it is not a mission")
	f.StringVar(&r.statement, "statement", "", "file with a signed statement, instead of a record")
	f.BoolVar(&r.alone, "statement-only", false, "do not send the record: keep it elsewhere")
	f.StringVar(&r.trust, "trust", "", "trust document to verify the receipt with")
	f.StringVar(&r.key, "idempotency-key", "", "names this request for a day")
	f.DurationVar(&r.wait, "wait", time.Minute, "how long to wait for an entry that is not published at once")
	outFlag(c, &r.out)
	return c
}

func (r *registration) run(ctx context.Context, args []string) error {
	statement, record, err := r.prepare(ctx, args)
	if err != nil {
		return err
	}
	canonical, err := ledger.Canonical(statement)
	if err != nil {
		return usage("not a signed statement: %w", err)
	}
	c, err := r.authenticated()
	if err != nil {
		return err
	}
	if r.key != "" {
		c.Header = http.Header{"Idempotency-Key": {r.key}}
	}
	logged, receipt, err := r.register(ctx, c, canonical, record)
	if err != nil {
		return err
	}
	transparent, err := ledger.AttachReceipts(logged, receipt)
	if err != nil {
		return finding("the receipt does not fit the statement: %w", err)
	}
	if err := r.check(transparent); err != nil {
		return err
	}
	return r.save(r.out, transparent)
}

// prepare reads or signs the statement.
func (r *registration) prepare(ctx context.Context, args []string) (statement, record []byte, err error) {
	if r.statement != "" {
		if len(args) > 0 || r.contentType != "" || r.mission != "" || r.subject != "" {
			return nil, nil, usage("--statement goes without a record and without what to sign")
		}
		statement, err = r.readInput(r.statement)
		return statement, nil, err
	}
	if len(args) == 0 || r.contentType == "" || (r.mission == "") == (r.subject == "") {
		return nil, nil, usage("a record, --type and either --mission or --subject are required")
	}
	p, err := r.readProfile()
	if err != nil {
		return nil, nil, err
	}
	if p.Statement == nil {
		return nil, nil, usage("the profile has no statement key")
	}
	private, err := p.Statement.JWK.Private()
	if err != nil {
		return nil, nil, usageError{err}
	}
	signer, err := ledger.NewSigner(private)
	if err != nil {
		return nil, nil, usageError{err}
	}
	if record, err = r.readInput(args[0]); err != nil {
		return nil, nil, err
	}
	subject := r.subject
	if r.mission != "" {
		if subject, err = ledger.MissionSubject(p.Issuer, r.mission); err != nil {
			return nil, nil, usageError{err}
		}
	}
	statement, err = ledger.SignStatement(ctx, ledger.Claims{Issuer: p.Statement.Issuer, Subject: subject,
		IssuedAt: time.Now().Unix(), ContentType: r.contentType, Digest: sha256.Sum256(record)}, signer)
	if err != nil {
		return nil, nil, usageError{err}
	}
	if r.alone {
		record = nil
	}
	return statement, record, nil
}

// register sends the statement and returns the one that was logged with its receipt: if the log had the same commitment
// under another signature, that one.
func (r *registration) register(ctx context.Context, c *client.Client, statement, record []byte) (logged, receipt []byte, err error) {
	id := ledger.HashLeaf(statement).String()
	duplicate := false
	var answer struct {
		EntryID string `json:"entry_id"`
		Outcome string `json:"outcome"`
		Receipt string `json:"receipt"`
	}
	if record == nil {
		var got *client.Response
		if got, err = c.PostRaw(ctx, "/entries", "application/cose", statement); err == nil {
			receipt, duplicate = got.Body, got.Header.Get("Mas-Duplicate") != ""
			answer.EntryID = lastSegment(got.Header.Get("Location"))
		}
	} else {
		var got *client.Response
		got, err = c.Post(ctx, "/v1/evidence", map[string]string{
			"statement": base64.RawURLEncoding.EncodeToString(statement),
			"record":    base64.RawURLEncoding.EncodeToString(record)})
		if err == nil {
			err = got.Decode(&answer)
		}
		if err == nil {
			duplicate = got.Header.Get("Mas-Duplicate") != ""
			receipt, err = base64.RawURLEncoding.DecodeString(answer.Receipt)
		}
	}
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Status == http.StatusSeeOther {
		r.note("entry %s is accepted and not yet published", id)
		receipt, err = r.await(ctx, c, id)
		answer.EntryID = id
	}
	if err != nil {
		return nil, nil, err
	}
	r.note("entry %s", answer.EntryID)
	if !duplicate {
		return statement, receipt, nil
	}
	r.note("the log has the same commitment under another signature")
	got, err := c.Get(ctx, "/entries/"+answer.EntryID+"/statement")
	if err != nil {
		return nil, nil, err
	}
	return got.Body, receipt, nil
}

// await polls for the receipt of an entry that is not published yet.
func (r *registration) await(ctx context.Context, c *client.Client, id string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, r.wait)
	defer cancel()
	for {
		got, err := c.Get(ctx, "/entries/"+id)
		if err == nil {
			return got.Body, nil
		}
		if refused, ok := errors.AsType[*client.Error](err); !ok || refused.Status != http.StatusFound {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, &client.Error{Status: http.StatusServiceUnavailable, Code: "not_yet_published"}
		case <-time.After(time.Second):
		}
	}
}

// check verifies the transparent statement if there is a trust document.
func (r *registration) check(transparent []byte) error {
	if r.trust == "" {
		return nil
	}
	text, err := r.readInput(r.trust)
	if err != nil {
		return err
	}
	trust, err := verifier.ParseTrust(text)
	if err != nil {
		return usageError{err}
	}
	report := verifier.VerifyStatement(transparent, trust)
	if report.Findings.Outcome() != verifier.OK {
		return finding("the receipt does not verify: %s", report.Verdict)
	}
	r.note("verified: %s", report.Verdict)
	return nil
}
