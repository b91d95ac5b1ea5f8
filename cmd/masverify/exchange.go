package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/verifier"
)

func (t *tool) exchangeCommand() *cobra.Command {
	var in exchangeInput
	c := &cobra.Command{
		Use:   "exchange ORIGIN RECEIVER --trust TRUST --receiver-trust TRUST",
		Short: "Check the story that the logs of two domains tell about one exchange",
		Long: `Checks two bundles: that of the mission at the domain it comes from, and that of the local mission which another
domain made of it. Then it holds one against the other: the agreement, the projection, the mint, the acknowledgement, the
heads of the other's log that each side kept, and the end.

A head that was kept is connected with the bundle of its log by a proof (--proof, an answer of /v1/proofs/consistency) or by
a mirror (--origin-log, --receiver-log).`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error { return t.exchange(args[0], args[1], in) },
	}
	c.Flags().StringVar(&in.receiverTrust, "receiver-trust", "", "trust document of the receiver; --trust is the origin's")
	c.Flags().StringVar(&in.originLog, "origin-log", "", "directory with a mirror of the origin's log")
	c.Flags().StringVar(&in.receiverLog, "receiver-log", "", "directory with a mirror of the receiver's log")
	c.Flags().StringArrayVar(&in.proofs, "proof", nil, "consistency proof of either log; may be given often")
	return c
}

// exchangeInput are the flags of the command.
type exchangeInput struct {
	receiverTrust, originLog, receiverLog string
	proofs                                []string
}

func (t *tool) exchange(origin, receiver string, in exchangeInput) error {
	a, scannedA, err := t.side(origin, t.trust, in.originLog)
	if err != nil {
		return err
	}
	b, scannedB, err := t.side(receiver, in.receiverTrust, in.receiverLog)
	if err != nil {
		return err
	}
	var proofs []*verifier.ConsistencyProof
	for _, name := range in.proofs {
		data, err := t.read(name)
		if err != nil {
			return err
		}
		p, err := verifier.ParseConsistencyProof(data)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		proofs = append(proofs, p)
	}
	r := verifier.VerifyExchange(a, b, proofs)
	t.conclude(r.Outcome)
	if t.json {
		return t.document(r)
	}
	for _, scanned := range []*verifier.LogReport{scannedA, scannedB} {
		if scanned != nil {
			t.findings(scanned.Findings)
		}
	}
	t.exchangeLines(r)
	return nil
}

// side reads what one domain gave.
func (t *tool) side(bundle, trust, mirror string) (verifier.Side, *verifier.LogReport, error) {
	if trust == "" {
		return verifier.Side{}, nil, errNoTrust
	}
	anchors, err := t.readTrust(trust)
	if err != nil {
		return verifier.Side{}, nil, err
	}
	data, err := t.read(bundle)
	if err != nil {
		return verifier.Side{}, nil, err
	}
	s := verifier.Side{Bundle: data, Trust: anchors}
	scanned, err := t.mirror(mirror, data, anchors)
	if scanned != nil {
		s.Mirror = scanned.Mirror
	}
	return s, scanned, err
}

func (t *tool) exchangeLines(r *verifier.ExchangeReport) {
	for _, side := range []struct {
		name   string
		report *verifier.BundleReport
	}{{"origin", r.Origin}, {"receiver", r.Receiver}} {
		t.line(side.name, "%s", side.report.Issuer)
		t.bundleLines(side.report)
	}
	for _, p := range r.Pairs {
		t.line("exchange", "%s -> %s", p.Upstream, p.Local)
		for _, s := range p.Steps {
			t.line(string(s.Verdict), "%s: %s", s.Name, s.Text)
			for _, f := range s.Findings {
				t.line(string(f.Class), "%s", f)
			}
		}
	}
	for _, f := range r.Findings {
		t.line(string(f.Class), "%s", f)
	}
	t.line("conclusion", "%s", r.Outcome)
	t.claims(r.NotClaimed)
}
