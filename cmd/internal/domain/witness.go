package domain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/cmd/internal/telemetry"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/witness"
	"github.com/mission-authority/mas/mission/authority"
)

const (
	// witnessFile is the tlog-policy of a development directory.
	witnessFile = "witness.policy"
	// witnessCheck is how long a start waits for the witnesses to say what they have seen.
	witnessCheck = 3 * time.Second
)

// openHeads opens the journal of cosignatures over the log.
func (d *Domain) openHeads(metrics *telemetry.Registry) (err error) {
	c := d.o.Config
	var policy *ledger.WitnessPolicy
	if path := c.Log.WitnessPolicy; path != "" {
		if policy, err = readWitnessPolicy(path); err != nil {
			return err
		}
	}
	verifier, err := note.NewVerifier(d.VKey)
	if err != nil {
		return err
	}
	events := metrics.Counter("mas_log_witness_events_total", "What became of heads that were shown to witnesses.",
		telemetry.Label{Name: "event", Values: witness.Events()})
	d.Heads, err = witness.Open(witness.Config{
		Log: d.Log, Origin: c.LogOrigin(), Verifiers: []note.Verifier{verifier}, Policy: policy,
		FailClosed: c.Log.Publish == "fail_closed", Dir: c.Witness.Dir,
		Interval: time.Duration(c.Log.WitnessInterval) * time.Second, Refresh: d.o.WitnessRefresh, Loopback: c.Loopback(),
		Now: d.o.Now, Logger: d.o.Logger, Event: func(name string) { events.Add(1, name) },
	})
	if err != nil {
		return fmt.Errorf("opening the cosignatures: %w", err)
	}
	state := func(read func(witness.State) float64) func() float64 {
		return func() float64 {
			s, err := d.Heads.State()
			if err != nil {
				return 0
			}
			return read(s)
		}
	}
	metrics.Gauge("mas_log_published_size", "Entries of the published head.",
		state(func(s witness.State) float64 { return float64(s.Published) }))
	if !d.Heads.Claimed() {
		return nil
	}
	metrics.Gauge("mas_log_witnessed_size", "Entries of the head that a quorum of witnesses has cosigned.",
		state(func(s witness.State) float64 { return float64(s.Witnessed) }))
	metrics.Gauge("mas_log_witness_lag_entries", "Entries that no quorum of witnesses has cosigned.",
		state(func(s witness.State) float64 { return float64(s.Durable) - float64(s.Witnessed) }))
	metrics.Gauge("mas_log_witness_age_seconds", "Age of the quorum's cosignatures.", state(func(s witness.State) float64 {
		if s.Witnessed == 0 {
			return 0
		}
		return d.o.Now().Sub(s.At).Seconds()
	}))
	metrics.Gauge("mas_log_witness_ahead", "1 if a witness says that it has seen more of this log than there is.",
		state(func(s witness.State) float64 {
			if s.Ahead == "" {
				return 0
			}
			return 1
		}))
	return nil
}

// openWitness makes this server a witness of its peers' logs and of those that the configuration names, if it has a
// key for it.
func (d *Domain) openWitness(metrics *telemetry.Registry, peers []authority.PeerConfig) error {
	c := d.o.Config
	key := d.Keys.Key(keys.Witness)
	if key == nil {
		return nil
	}
	signer, vkey, err := key.Cosigner(c.WitnessName())
	if err != nil {
		return err
	}
	logs, err := d.witnessed(peers)
	if err != nil {
		return err
	}
	d.WitnessVKey = vkey
	outcomes := metrics.Counter("mas_witness_requests_total", "Requests to this server as a witness of other logs, by outcome.",
		telemetry.Label{Name: "outcome", Values: witness.Outcomes()})
	d.Witness, err = witness.NewServer(witness.ServerConfig{
		Name: c.WitnessName(), Key: signer, Dir: c.Witness.Dir, Logs: logs, Now: d.o.Now,
		Logger: d.o.Logger, Event: func(outcome string) { outcomes.Add(1, outcome) },
		Report: func(ctx context.Context, s witness.Suspicion) error {
			if s.Peer == "" {
				return nil
			}
			return d.Authority.Contradiction(ctx, s.Peer, s.Known, s.Other)
		},
	})
	if err != nil {
		return fmt.Errorf("opening the witness: %w", err)
	}
	return nil
}

// witnessed lists the logs that this server witnesses.
func (d *Domain) witnessed(peers []authority.PeerConfig) ([]witness.KnownLog, error) {
	var logs []witness.KnownLog
	for _, p := range peers {
		v, err := ledger.NewLogVerifier(p.Record.Log.VKey)
		if err != nil {
			return nil, fmt.Errorf("peer %s: %w", p.Record.Issuer, err)
		}
		logs = append(logs, witness.KnownLog{Origin: p.Record.Log.Origin, Verifiers: []note.Verifier{v}, Peer: p.Record.Issuer})
	}
	if path := d.o.Config.Witness.Logs; path != "" {
		policy, err := readWitnessPolicy(path)
		if err != nil {
			return nil, err
		}
		for _, l := range policy.Logs {
			logs = append(logs, witness.KnownLog{Origin: l.Origin, Verifiers: []note.Verifier{l.Verifier}})
		}
	}
	return logs, nil
}

// readWitnessPolicy reads a tlog-policy file.
func readWitnessPolicy(path string) (*ledger.WitnessPolicy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, ledger.MaxWitnessPolicySize+1))
	if err != nil {
		return nil, err
	}
	p, err := ledger.ParseWitnessPolicy(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// checkWitnesses compares the log with what its witnesses have seen, before anything positive is signed.
func (d *Domain) checkWitnesses(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, witnessCheck)
	defer cancel()
	d.Heads.Check(ctx)
}

// closeWitness closes the journals of both roles.
func (d *Domain) closeWitness() error {
	var errs []error
	if d.Heads != nil {
		errs = append(errs, d.Heads.Close())
	}
	if d.Witness != nil {
		errs = append(errs, d.Witness.Close())
	}
	return errors.Join(errs...)
}
