package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// A reliance is what the relying party of the demo reports when its view of the mission changes.
type reliance struct {
	At      time.Time     `json:"at"`
	Relying bool          `json:"relying"`
	State   mission.State `json:"state,omitempty"`
	Version uint64        `json:"version,omitempty"`
	Hold    string        `json:"hold,omitempty"`
	Entries int           `json:"entries,omitempty"`
	Reason  string        `json:"reason,omitempty"` // why it does not rely, where no state says so
}

// newRelyingParty is the process that the demo starts beside the two domains: it asks one domain for the status of one
// mission over and over, verifies each answer as any relying party must, and relies on it only while the newest
// verified answer is active and fresh. Silence is no permission.
func newRelyingParty() *cobra.Command {
	var profile, id, audience string
	var every time.Duration
	cmd := &cobra.Command{
		Use: "relying-party", Hidden: true, Args: cobra.NoArgs, Short: "rely on a mission as its status allows",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := readProfile(profile)
			if err != nil {
				return err
			}
			rp := &relyingParty{client: c, mission: mission.ID(id), audience: audience, out: cmd.OutOrStdout()}
			return rp.run(cmd.Context(), every)
		},
	}
	cmd.Flags().StringVar(&profile, "profile", "", "file with issuer, client_id and jwk")
	cmd.Flags().StringVar(&id, "mission", "", "mission id")
	cmd.Flags().StringVar(&audience, "audience", "", "own audience")
	cmd.Flags().DurationVar(&every, "every", 100*time.Millisecond, "time between two questions")
	return cmd
}

// profileFile names a principal of a domain with its private key.
type profileFile struct {
	Issuer   string     `json:"issuer"`
	ClientID string     `json:"client_id"`
	JWK      client.JWK `json:"jwk"`
}

func readProfile(path string) (*client.Client, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var p profileFile
	if err := mission.Decode(text, &p); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, err := p.JWK.Signer()
	if err != nil {
		return nil, err
	}
	return client.New(p.Issuer, p.ClientID, key), nil
}

type relyingParty struct {
	client   *client.Client
	mission  mission.ID
	audience string
	out      io.Writer

	keys       *jws.KeySet
	freshUntil time.Time
	last       *reliance
}

// run asks until ctx ends. Between answers it watches the clock: an answer is good until its fresh_until and not
// longer.
func (rp *relyingParty) run(ctx context.Context, every time.Duration) error {
	resp, err := rp.client.Get(ctx, "/.well-known/jwks.json")
	if err != nil {
		return err
	}
	if rp.keys, err = jws.ParseKeySet(resp.Body); err != nil {
		return err
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := rp.report(rp.ask(ctx, every)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// ask gets one status and judges it. A question that is not answered in time leaves what was known, until it is stale.
func (rp *relyingParty) ask(ctx context.Context, patience time.Duration) reliance {
	ctx, cancel := context.WithTimeout(ctx, 5*patience)
	defer cancel()
	nonce := rand.Text()
	resp, err := rp.client.Form(ctx, "/mas/missions/status",
		url.Values{"mission_id": {string(rp.mission)}, "audience": {rp.audience}, "nonce": {nonce}})
	now := time.Now()
	if _, refused := errors.AsType[*client.Error](err); refused {
		return reliance{At: now, Reason: err.Error()}
	}
	if err != nil {
		if rp.last != nil && rp.last.Relying && now.Before(rp.freshUntil) {
			same := *rp.last
			same.At = now
			return same
		}
		return reliance{At: now, Reason: "no fresh answer"}
	}
	status, verdict := jws.CheckStatus(string(resp.Body), rp.keys, mission.StatusContext{
		At: now, Issuer: rp.client.Issuer, Audience: rp.audience, Requester: rp.client.ClientID, Nonce: nonce,
		MissionID: rp.mission, Algs: []string{jws.ES256},
	})
	if status == nil {
		return reliance{At: now, Reason: string(verdict)}
	}
	r := reliance{At: now, Relying: verdict == mission.Accept, State: status.Mission.State,
		Version: status.Mission.Version}
	if h := status.Mission.Hold; h != nil {
		r.Hold, r.Relying = h.Reason, false
	}
	if r.Relying {
		entries, _, err := status.Entries()
		fresh, err2 := mission.ParseTime(status.Mission.FreshUntil)
		if err != nil || err2 != nil || len(entries) == 0 {
			return reliance{At: now, State: r.State, Reason: "no usable authority"}
		}
		rp.freshUntil, r.Entries = fresh, len(entries)
	}
	return r
}

// report prints r if it differs from what was printed last.
func (rp *relyingParty) report(r reliance) error {
	if last := rp.last; last != nil {
		same := r
		same.At = last.At
		if same == *last {
			return nil
		}
	}
	rp.last = &r
	return json.NewEncoder(rp.out).Encode(r)
}
