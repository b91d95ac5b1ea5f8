package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/verifier"
)

func (t *tool) bundleCommand() *cobra.Command {
	var opts verifier.BundleOptions
	var mirror, policy string
	c := &cobra.Command{
		Use:   "bundle FILE --trust TRUST",
		Short: "Check the evidence of a mission",
		Long: `Checks every statement, receipt and record of a bundle, the history of the mission, and whether anything is missing.
With --log, a mirror of the same log made by "masctl log fetch", the feeds are compared with what the log really holds;
without it, the feed epoch in the bundle shows what they hold up to its covered size.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			trust, err := t.anchors()
			if err != nil {
				return err
			}
			data, err := t.read(args[0])
			if err != nil {
				return err
			}
			scanned, err := t.mirror(mirror, data, trust)
			if err != nil {
				return err
			}
			if scanned != nil {
				opts.Mirror = scanned.Mirror
			}
			if opts.Policy, err = t.policy(policy); err != nil {
				return err
			}
			return t.bundle(verifier.VerifyBundle(data, trust, opts), scanned)
		},
	}
	c.Flags().StringVar(&opts.Mission, "mission", "", "mission the bundle must be about")
	c.Flags().StringVar(&mirror, "log", "", "directory with a mirror of the log")
	c.Flags().StringVar(&policy, "policy", "", policyUsage)
	c.Flags().DurationVar(&opts.Within, "within", 0, "declared bound between an event and its registration; 0: not judged")
	c.Flags().BoolVar(&opts.LegacyTyp, "legacy-typ", false, "accept runtime records signed under the typ of older drafts")
	return c
}

// mirror scans the mirror that a bundle is to be compared with; nil without one, or if it is of no use.
func (t *tool) mirror(dir string, bundle []byte, trust *verifier.Trust) (*verifier.LogReport, error) {
	if dir == "" {
		return nil, nil
	}
	report, err := scanLog(dir, trust, verifier.LogOptions{Subjects: verifier.BundleSubjects(bundle)})
	if err != nil {
		return nil, err
	}
	t.conclude(report.Findings.Outcome())
	return report, nil
}

// A bundleDocument is the JSON form of a report, with that on the mirror it was compared with.
type bundleDocument struct {
	*verifier.BundleReport
	Mirror *verifier.LogReport `json:"mirror,omitempty"`
}

func (t *tool) bundle(r *verifier.BundleReport, mirror *verifier.LogReport) error {
	t.conclude(r.Outcome)
	if t.json {
		return t.document(bundleDocument{r, mirror})
	}
	if mirror != nil {
		t.findings(mirror.Findings)
	}
	t.bundleLines(r)
	t.claims(r.NotClaimed)
	return nil
}

// bundleLines prints a report from the records up to the conclusion.
func (t *tool) bundleLines(r *verifier.BundleReport) {
	for _, rec := range r.Records {
		t.recordLine(rec)
		for _, f := range rec.Findings {
			t.line(string(f.Class), "%s", f)
		}
	}
	for _, m := range r.Missions {
		t.mission(m)
	}
	for _, f := range r.Findings {
		t.line(string(f.Class), "%s", f)
	}
	if r.Export != nil {
		t.line("exported", "by %s, entry %d: the manifest is signed and logged", r.Export.Issuer, *r.Export.Index)
	}
	if r.Log != nil {
		t.line("head", "%s  size %d  root %s", r.Log.Origin, r.Log.Size, r.Log.Root)
	}
	switch r.Completeness {
	case verifier.Complete:
		by := "by the log's signed word"
		if r.By == "epoch" {
			by = fmt.Sprintf("by feed epoch %d", r.Epoch.Number)
		}
		if r.By == "scan" {
			by = "by a scan of the log"
		}
		t.line("complete", "as of size %d, %s", r.AsOf, by)
	default:
		t.line(string(r.Completeness), "see the findings")
	}
	t.line("conclusion", "%s", r.Outcome)
}

func (t *tool) mission(m verifier.MissionReport) {
	state := string(m.State)
	if len(m.Held) > 0 {
		state += ", held: " + strings.Join(m.Held, ", ")
	}
	t.line("mission", "%s  %s  version %d", m.ID, state, m.Version)
	if m.CreatedAt != "" {
		t.line("approved", "%s by %s for %s (%s)", m.CreatedAt, m.Approver.Sub, m.Subject.Sub, m.Basis)
	}
	if m.Approval != "" {
		t.line("authenticated", "%s", m.Approval)
	}
	if m.Entitled {
		t.line("entitled", "%s, by the principals that the approval cites", m.Approver.Sub)
	}
	if m.EndedAt != "" {
		t.line("ended", "%s as %s", m.EndedAt, m.State)
	}
	if m.Upstream != "" {
		t.line("upstream", "%s", m.Upstream)
	}
	for _, f := range m.Findings {
		t.line(string(f.Class), "%s", f)
	}
}
