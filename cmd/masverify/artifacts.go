package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/verifier"
)

// Commands that check one artifact.

func (t *tool) statementCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "statement FILE --trust TRUST",
		Short: "Check a signed statement and the receipts it carries",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			trust, err := t.anchors()
			if err != nil {
				return err
			}
			data, err := t.read(args[0])
			if err != nil {
				return err
			}
			return t.record(verifier.VerifyStatement(data, trust))
		},
	}
}

func (t *tool) receiptCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "receipt RECEIPT STATEMENT --trust TRUST",
		Short: "Check a receipt of a log against the statement it is for",
		Args:  cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			trust, err := t.anchors()
			if err != nil {
				return err
			}
			receipt, err := t.read(args[0])
			if err != nil {
				return err
			}
			statement, err := t.read(args[1])
			if err != nil {
				return err
			}
			return t.record(verifier.VerifyReceipt(receipt, statement, trust))
		},
	}
}

// record prints the report on one statement.
func (t *tool) record(r *verifier.RecordReport) error {
	t.conclude(r.Findings.Outcome())
	if t.json {
		return t.document(r)
	}
	t.recordLine(r)
	for _, b := range r.Times {
		t.line("time", "%s %s, asserted by %s", strings.ReplaceAll(string(b.Kind), "_", " "), b.At, b.By)
	}
	t.findings(r.Findings)
	if r.Index == nil && r.EntryID != "" {
		t.line("not claimed", "unregistered: no receipt shows that a log holds the statement")
	}
	return nil
}

func (t *tool) recordLine(r *verifier.RecordReport) {
	index := "-"
	if r.Index != nil {
		index = fmt.Sprint(*r.Index)
	}
	t.line(string(r.Verdict), "%6s  %-44s %s", index, r.ContentType, r.Subject)
}

func (t *tool) workProductCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "work-product BINDING PROVENANCE ARTIFACT --trust TRUST",
		Short: "Check who attributes an artifact to which mission",
		Long: `Checks that a work product binding, signed by a mediator that the trust document knows, attributes exactly this
artifact with exactly this provenance. An attribution that holds says where the artifact came from. It permits nothing.`,
		Args: cobra.ExactArgs(3),
		RunE: func(_ *cobra.Command, args []string) error {
			trust, err := t.anchors()
			if err != nil {
				return err
			}
			var files [3][]byte
			for i, name := range args {
				if files[i], err = t.read(name); err != nil {
					return err
				}
			}
			w, p, fs := verifier.VerifyWorkProduct(bytes.TrimRight(files[0], "\n"), files[1], files[2], trust)
			t.conclude(fs.Outcome())
			if t.json {
				return t.document(map[string]any{"binding": w, "provenance": p, "findings": fs, "outcome": fs.Outcome()})
			}
			if fs.Outcome() == verifier.OK {
				t.line("verified", "%s  mission %s  made by %s on %s", p.CreatedAt, p.MissionID, p.Producer, p.DeploymentID)
				t.line("attributed", "by the %s %s of %s", w.Mediator.Role, w.Mediator.ID, w.Iss)
			}
			t.findings(fs)
			return nil
		},
	}
}

// policyUsage is the help of the flag for a tlog-policy.
const policyUsage = "tlog-policy file: its quorum must have cosigned the checkpoint"

// policy reads a tlog-policy; nil without one.
func (t *tool) policy(name string) (*ledger.WitnessPolicy, error) {
	if name == "" {
		return nil, nil
	}
	text, err := t.read(name)
	if err != nil {
		return nil, err
	}
	p, err := ledger.ParseWitnessPolicy(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

func (t *tool) checkpointCommand() *cobra.Command {
	var policy string
	c := &cobra.Command{
		Use:   "checkpoint FILE --trust TRUST",
		Short: "Check the signed head of a log",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			trust, err := t.anchors()
			if err != nil {
				return err
			}
			text, err := t.read(args[0])
			if err != nil {
				return err
			}
			p, err := t.policy(policy)
			if err != nil {
				return err
			}
			cp, fs := verifier.VerifyCheckpoint(text, &trust.Anchor)
			claims, cosigned := verifier.LogClaims(), []string{}
			if p != nil && fs.Outcome() == verifier.OK {
				w, more := verifier.VerifyWitnessed(text, p)
				fs = append(fs, more...)
				for _, s := range w.Cosignatures {
					cosigned = append(cosigned, s.Name)
				}
				if more.Outcome() == verifier.OK && !p.None() {
					claims = verifier.Witnessed(claims)
				}
			}
			t.conclude(fs.Outcome())
			if t.json {
				return t.document(map[string]any{"origin": cp.Origin, "size": cp.Size, "root": cp.Root.String(), "findings": fs,
					"outcome": fs.Outcome(), "not_claimed": claims, "cosigned_by": cosigned})
			}
			if fs.Outcome() == verifier.OK {
				t.line("verified", "%s  size %d  root %s", cp.Origin, cp.Size, cp.Root)
			}
			for _, name := range cosigned {
				t.line("cosigned", "%s", name)
			}
			t.findings(fs)
			t.claims(claims)
			return nil
		},
	}
	c.Flags().StringVar(&policy, "policy", "", policyUsage)
	return c
}

func (t *tool) consistencyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "consistency OLD NEW [PROOF] --trust TRUST",
		Short: "Check that a log only grew between two signed heads",
		Long: `Checks that the tree of the checkpoint OLD is a prefix of the tree of the checkpoint NEW. PROOF is the answer of
/v1/proofs/consistency. A log that was set back shows here: OLD is the head that somebody else kept, as a checkpoint or as
the evidence in which a peer logged it.`,
		Args: cobra.RangeArgs(2, 3),
		RunE: func(_ *cobra.Command, args []string) error { return t.consistency(args[0], args[1], args[2:]) },
	}
}

func (t *tool) consistency(older, newer string, proof []string) error {
	trust, err := t.anchors()
	if err != nil {
		return err
	}
	from, err := t.read(older)
	if err != nil {
		return err
	}
	to, err := t.read(newer)
	if err != nil {
		return err
	}
	var p *verifier.ConsistencyProof
	for _, name := range proof {
		data, err := t.read(name)
		if err != nil {
			return err
		}
		if p, err = verifier.ParseConsistencyProof(data); err != nil {
			return t.unacceptable(name, err)
		}
	}
	a, b, fs := verifier.VerifyConsistency(verifier.KeptHead(from), verifier.KeptHead(to), p, &trust.Anchor)
	t.conclude(fs.Outcome())
	if t.json {
		return t.document(map[string]any{"origin": trust.Origin, "from": a.Size, "to": b.Size, "findings": fs,
			"outcome": fs.Outcome()})
	}
	if fs.Outcome() == verifier.OK {
		t.line("verified", "%s  size %d is a prefix of size %d", trust.Origin, a.Size, b.Size)
	}
	t.findings(fs)
	return nil
}

func (t *tool) projectionCommand() *cobra.Command {
	var audience, at string
	c := &cobra.Command{
		Use:   "projection FILE --trust TRUST",
		Short: "Check a signed projection of a mission",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			trust, err := t.anchors()
			if err != nil {
				return err
			}
			opts := verifier.ProjectionOptions{Audience: audience}
			if opts.At, err = instant(at); err != nil {
				return err
			}
			compact, err := t.compact(args[0])
			if err != nil {
				return err
			}
			return t.projection(verifier.VerifyProjection(compact, trust, opts))
		},
	}
	c.Flags().StringVar(&audience, "audience", "", "issuer the projection must be for")
	c.Flags().StringVar(&at, "at", "", "instant at which it must be usable (RFC 3339); default: its life is only reported")
	return c
}

func (t *tool) projection(r *verifier.ProjectionReport) error {
	t.conclude(r.Outcome)
	if t.json {
		return t.document(r)
	}
	if p := r.Projection; p != nil && r.Outcome == verifier.OK {
		t.line("verified", "projection of %s at version %d, by %s for %s, from %s to %s", p.Mission.ID, p.Mission.Version, p.Iss,
			p.Aud, r.NotBefore, r.NotAfter)
		t.line("not claimed", "live: the mission may have ended since; single use and possession are not visible here")
	}
	t.findings(r.Findings)
	return nil
}

func (t *tool) statusCommand() *cobra.Command {
	var opts verifier.StatusOptions
	var id, at string
	c := &cobra.Command{
		Use:   "status FILE --trust TRUST --mission ID --audience AUD --client ID --nonce NONCE",
		Short: "Check a signed status response as the answer to one question",
		Long: `Makes every check of a relying party. An authentic answer that is not active, or not fresh, is verified as just that
and exits 0; with --reliance it exits 1, because nothing may rely on it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			trust, err := t.anchors()
			if err != nil {
				return err
			}
			opts.MissionID = mission.ID(id)
			if opts.At, err = instant(at); err != nil {
				return err
			}
			if opts.At.IsZero() {
				opts.At = time.Now()
			}
			compact, err := t.compact(args[0])
			if err != nil {
				return err
			}
			return t.status(verifier.VerifyStatus(compact, trust, opts))
		},
	}
	c.Flags().StringVar(&id, "mission", "", "mission that was asked about")
	c.Flags().StringVar(&opts.Audience, "audience", "", "audience that was asked for; the own client id if none")
	c.Flags().StringVar(&opts.Requester, "client", "", "own client id at the issuer")
	c.Flags().StringVar(&opts.Nonce, "nonce", "", "nonce that was sent")
	c.Flags().BoolVar(&opts.Reliance, "reliance", false, "exit 1 unless the mission is active and the answer fresh")
	c.Flags().StringVar(&at, "at", "", "instant at which the answer is judged (RFC 3339); default: now")
	for _, name := range []string{"mission", "audience", "client", "nonce"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // the flag was defined above
		}
	}
	return c
}

func (t *tool) status(r *verifier.StatusReport) error {
	t.conclude(r.Outcome)
	if t.json {
		return t.document(r)
	}
	if s := r.Status; s != nil {
		t.line(string(r.Verdict), "%s is %s at version %d, fresh until %s", s.Mission.ID, s.Mission.State, s.Mission.Version,
			s.Mission.FreshUntil)
		if h := s.Mission.Hold; h != nil {
			t.line("held", "%s since %s", h.Reason, h.Since)
		}
	} else {
		t.line("rejected", "%s", r.Verdict)
	}
	t.findings(r.Findings)
	return nil
}

func (t *tool) agreementCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "agreement FILE --trust TRUST",
		Short: "Check a federation agreement and both governance signatures",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			trust, err := t.anchors()
			if err != nil {
				return err
			}
			data, err := t.read(args[0])
			if err != nil {
				return err
			}
			signed, err := federation.ParseSigned(data)
			if err != nil {
				return t.unacceptable(args[0], err)
			}
			return t.agreement(signed, trust)
		},
	}
}

func (t *tool) agreement(signed *federation.SignedAgreement, trust *verifier.Trust) error {
	fs := verifier.VerifyAgreement(signed, trust)
	t.conclude(fs.Outcome())
	ref, err := signed.Agreement.Ref()
	if err != nil {
		return err
	}
	if t.json {
		return t.document(map[string]any{"agreement": ref, "findings": fs, "outcome": fs.Outcome()})
	}
	if fs.Outcome() == verifier.OK {
		a := &signed.Agreement
		t.line("verified", "agreement %s version %d between %s and %s, %s", ref.ID, ref.Version, a.Parties[0].Issuer,
			a.Parties[1].Issuer, ref.Digest)
	}
	t.findings(fs)
	return nil
}

// compact reads a compact JWS; a final line feed, as editors write it, is not part of it.
func (t *tool) compact(name string) (string, error) {
	data, err := t.read(name)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(data), "\n"), nil
}

// instant reads the value of --at.
func instant(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	at, err := mission.ParseTime(s)
	if err != nil {
		return time.Time{}, errors.New("--at is not an RFC 3339 date-time")
	}
	return at, nil
}
