package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/verifier"
)

// statusSkew is the difference of clocks that a person at a terminal tolerates.
const statusSkew = 30 * time.Second

func missionCommand(s *session) *cobra.Command {
	submit := &cobra.Command{
		Use: "submit FILE", Short: "Submit a mission intent, with the authority it proposes, for approval",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.postFile(c.Context(), "/mas/submissions", args[0])
		},
	}
	return group("mission", "Missions: submit, status, revoke, suspend, resume, complete", submit, statusCommand(s),
		lifecycleCommand(s, mission.OpRevoke, "End a mission for good"),
		lifecycleCommand(s, mission.OpSuspend, "Suspend a mission"),
		lifecycleCommand(s, mission.OpResume, "Lift a suspension"),
		lifecycleCommand(s, mission.OpComplete, "Say that a mission is done"))
}

// postFile sends a JSON file as it is.
func (s *session) postFile(ctx context.Context, path, file string) error {
	c, err := s.authenticated()
	if err != nil {
		return err
	}
	body, err := s.readInput(file)
	if err != nil {
		return err
	}
	if err := mission.CheckStrict(body); err != nil {
		return usage("%s: %w", file, err)
	}
	r, err := c.PostRaw(ctx, path, "application/json", body)
	if err != nil {
		return err
	}
	return s.show(r, "")
}

func statusCommand(s *session) *cobra.Command {
	var audience, trust string
	c := &cobra.Command{
		Use: "status MISSION", Short: "Ask where a mission stands and verify the signed answer",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			form := url.Values{"mission_id": {args[0]}}
			if audience != "" {
				form.Set("audience", audience)
			}
			return s.signedStatus(c.Context(), "/mas/missions/status", form, trust)
		},
	}
	c.Flags().StringVar(&audience, "audience", "", "also ask for the entries of this audience")
	trustFlag(c, &trust)
	return c
}

func trustFlag(c *cobra.Command, trust *string) {
	c.Flags().StringVar(trust, "trust", "", "trust document whose keys verify the answer (default: the service's own JWKS)")
}

func lifecycleCommand(s *session, op mission.Operation, short string) *cobra.Command {
	var reason, until, onExpiry, trust string
	var version uint64
	c := &cobra.Command{
		Use: string(op) + " MISSION", Short: short,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			form := url.Values{"mission_id": {args[0]}, "operation": {string(op)}}
			for name, value := range map[string]string{"reason": reason, "suspend_until": until, "on_expiry": onExpiry} {
				if value != "" {
					form.Set(name, value)
				}
			}
			if c.Flags().Changed("expected-version") {
				form.Set("expected_version", strconv.FormatUint(version, 10))
			}
			return s.signedStatus(c.Context(), "/mas/missions/lifecycle", form, trust)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, at most 1024 characters")
	c.Flags().Uint64Var(&version, "expected-version", 0, "refuse if the mission has another version")
	if op == mission.OpSuspend {
		c.Flags().StringVar(&until, "until", "", "when the suspension ends, YYYY-MM-DDTHH:MM:SSZ")
		c.Flags().StringVar(&onExpiry, "on-expiry", "", "what happens then: resume or revoke")
	}
	trustFlag(c, &trust)
	return c
}

// signedStatus sends a form with a fresh nonce, makes every check that a consumer of a status response makes, and shows
// what it says.
func (s *session) signedStatus(ctx context.Context, path string, form url.Values, trust string) error {
	if err := s.checkOutput(); err != nil {
		return err
	}
	c, err := s.authenticated()
	if err != nil {
		return err
	}
	nonce := newNonce()
	form.Set("nonce", nonce)
	r, err := c.Form(ctx, path, form)
	if err != nil {
		return err
	}
	if isJSON(r) { // an emergency stop: durable, not yet in the log, nothing signed
		return s.show(r, "")
	}
	keys, err := s.issuerKeys(ctx, c, trust)
	if err != nil {
		return err
	}
	audience := form.Get("audience")
	if audience == "" {
		audience = c.ClientID
	}
	status, verdict := jws.CheckStatus(string(r.Body), keys, mission.StatusContext{
		At: time.Now(), Issuer: c.Issuer, Audience: audience, Requester: c.ClientID, Nonce: nonce,
		MissionID: mission.ID(form.Get("mission_id")), Algs: []string{jws.ES256, jws.EdDSA}, Skew: statusSkew,
	})
	if !verdict.Authentic() {
		return finding("the signed answer does not verify: %s", verdict)
	}
	text, err := mission.Marshal(status)
	if err != nil {
		return fmt.Errorf("showing the status: %w", err)
	}
	s.note("verified: %s", verdict)
	return s.showJSON(text, "")
}

// issuerKeys are the keys of a trust document, or those that the service publishes.
func (s *session) issuerKeys(ctx context.Context, c *client.Client, trust string) (*jws.KeySet, error) {
	if trust != "" {
		text, err := s.readInput(trust)
		if err != nil {
			return nil, err
		}
		t, err := verifier.ParseTrust(text)
		if err != nil {
			return nil, usageError{err}
		}
		anchor, ok := t.Domain(c.Issuer)
		if !ok {
			return nil, usage("%s says nothing about %s", trust, c.Issuer)
		}
		return anchor.Keys, nil
	}
	m, err := fetchMetadata(ctx, c)
	if err != nil {
		return nil, err
	}
	return m.issuerKeys(ctx, c)
}

// newNonce is 128 random bits in base64url.
func newNonce() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func submissionCommand(s *session) *cobra.Command {
	return group("submission", "Submissions: status", pollCommand(s, "/mas/submissions/status"))
}

// pollCommand asks how a submission stands.
func pollCommand(s *session, path string) *cobra.Command {
	return &cobra.Command{
		Use: "status SUBMISSION", Short: "Show whether a submission is pending, approved, denied or expired",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := s.authenticated()
			if err != nil {
				return err
			}
			r, err := cl.Form(c.Context(), path, url.Values{"submission": {args[0]}})
			if err != nil {
				return err
			}
			return s.show(r, "")
		},
	}
}

func reviewCommand(s *session) *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List what waits for your decision", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return s.get(c.Context(), "/mas/review", "submissions") },
	}
	show := &cobra.Command{
		Use: "show SUBMISSION", Short: "Show exactly what would be approved, and the hashes to quote in the decision",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return s.showReview(c.Context(), args[0]) },
	}
	return group("review", "Reviews: list, show, decide", list, show, decideCommand(s))
}

// get shows an answer to the profile's principal.
func (s *session) get(ctx context.Context, path, list string) error {
	c, err := s.authenticated()
	if err != nil {
		return err
	}
	r, err := c.Get(ctx, path)
	if err != nil {
		return err
	}
	return s.show(r, list)
}

// showReview prints the rendering as the approver must see it, line by line and inert, before the other members.
func (s *session) showReview(ctx context.Context, id string) error {
	c, err := s.authenticated()
	if err != nil {
		return err
	}
	r, err := c.Get(ctx, "/mas/review/"+url.PathEscape(id))
	if err != nil {
		return err
	}
	if s.output != "table" {
		return s.show(r, "")
	}
	var review struct {
		Rendering mission.Raw `json:"rendering"`
		ContextID string      `json:"context_id"`
		Hash      string      `json:"consent_rendering_hash"`
		ExpiresAt string      `json:"expires_at"`
		Effective string      `json:"effective_expires_at"`
	}
	if err := r.Decode(&review); err != nil {
		return finding("the answer is not a review: %w", err)
	}
	if err := printIndented(s.stdout, review.Rendering.Bytes()); err != nil {
		return finding("the answer is not a review: %w", err)
	}
	_, err = fmt.Fprintf(s.stdout, "\nmission would end  %s\ndecide before      %s\n--context          %s\n--rendering-hash   %s\n",
		inert(review.Effective), inert(review.ExpiresAt), inert(review.ContextID), inert(review.Hash))
	return err
}

// decision is the body of a decision.
type decision struct {
	ContextID string `json:"context_id"`
	Hash      string `json:"consent_rendering_hash"`
	Decision  string `json:"decision"`
	Reason    string `json:"reason,omitempty"`
}

func decideCommand(s *session) *cobra.Command {
	var d decision
	c := &cobra.Command{
		Use: "decide SUBMISSION approve|deny", Short: "Decide what review show has shown",
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if d.Decision = args[1]; d.Decision != "approve" && d.Decision != "deny" {
				return usage("the decision is approve or deny")
			}
			if d.ContextID == "" || d.Hash == "" {
				return usage("--context and --rendering-hash are required; masctl review show prints them")
			}
			cl, err := s.authenticated()
			if err != nil {
				return err
			}
			r, err := cl.Post(c.Context(), "/mas/review/"+url.PathEscape(args[0])+"/decision", d)
			if err != nil {
				return err
			}
			return s.show(r, "")
		},
	}
	c.Flags().StringVar(&d.ContextID, "context", "", "context_id of the review")
	c.Flags().StringVar(&d.Hash, "rendering-hash", "", "consent_rendering_hash of the review")
	c.Flags().StringVar(&d.Reason, "reason", "", "why, at most 1024 characters")
	return c
}

func peerCommand(s *session) *cobra.Command {
	var request string
	introduce := &cobra.Command{
		Use: "introduce MISSION PEER", Short: "Make a single-use introduction of your mission to a peer's issuer",
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if request == "" {
				request = newNonce()
			}
			cl, err := s.authenticated()
			if err != nil {
				return err
			}
			r, err := cl.Post(c.Context(), "/federation/v1/introductions", struct {
				RequestID string `json:"request_id"`
				MissionID string `json:"mission_id"`
				Peer      string `json:"peer"`
			}{request, args[0], args[1]})
			if err != nil {
				return err
			}
			return s.show(r, "")
		},
	}
	introduce.Flags().StringVar(&request, "request-id", "", "idempotency key (default: a fresh one)")
	return group("peer", "Peers: introduce", introduce)
}

func projectionCommand(s *session) *cobra.Command {
	mint := &cobra.Command{
		Use: "mint FILE", Short: "Ask for a local mission from an introduced mission of a peer",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return s.postFile(c.Context(), "/federation/v1/local-missions", args[0])
		},
	}
	return group("projection", "Projections: mint, status", mint, pollCommand(s, "/federation/v1/local-missions/status"))
}
