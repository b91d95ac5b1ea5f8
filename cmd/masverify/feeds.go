package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/verifier"
)

// Commands that check what a log is shown to hold.

func (t *tool) feedCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "feed FILE --trust TRUST",
		Short: "Check what a log holds about a subject: a listing, or a proof",
		Long: `Checks the list of all entries about a subject that "masctl log feed" fetched, or the proof that "masctl proof feed"
fetched: the feed epoch's place in the log and its signature, the proof under its root, and that the list leaves nothing
out. With --log, a mirror of the same log, a list is also compared with what the log really holds.`,
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
			if len(data) > 0 && data[0] != '{' {
				return t.feed(verifier.VerifyFeedProof(data, trust))
			}
			mirror, err := t.feedMirror(dir, data, trust)
			if err != nil {
				return err
			}
			report, err := verifier.VerifyFeed(data, trust, mirror)
			if err != nil {
				return t.unacceptable(args[0], err)
			}
			return t.feed(report)
		},
	}
	c.Flags().StringVar(&dir, "log", "", "directory with a mirror of the log")
	return c
}

// feedMirror scans the mirror that a listing is to be compared with, if there is one.
func (t *tool) feedMirror(dir string, listing []byte, trust *verifier.Trust) (*verifier.Mirror, error) {
	if dir == "" {
		return nil, nil
	}
	subject, err := verifier.FeedSubject(listing)
	if err != nil {
		return nil, err
	}
	report, err := scanLog(dir, trust, verifier.LogOptions{Subjects: []string{subject}})
	if err != nil {
		return nil, err
	}
	t.findings(report.Findings)
	return report.Mirror, nil
}

func (t *tool) absenceCommand() *cobra.Command {
	var subject, mission string
	c := &cobra.Command{
		Use:   "absence FILE (--mission ID | --subject SUBJECT) --trust TRUST",
		Short: "Check the proof that a log holds nothing about a subject",
		Long: `Checks a proof that "masctl proof feed" fetched. That the log does hold something about the subject is a finding, and so
is a proof of something else.`,
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
			if mission != "" {
				if subject, err = ledger.MissionSubject(trust.Issuer, mission); err != nil {
					return err
				}
			}
			return t.feed(verifier.VerifyAbsence(data, trust, subject))
		},
	}
	c.Flags().StringVar(&subject, "subject", "", "subject that must be absent")
	c.Flags().StringVar(&mission, "mission", "", "mission of the issuer that must be absent")
	c.MarkFlagsMutuallyExclusive("subject", "mission")
	c.MarkFlagsOneRequired("subject", "mission")
	return c
}

func (t *tool) populationCommand() *cobra.Command {
	var kind string
	c := &cobra.Command{
		Use:   "population DIR --trust TRUST",
		Short: "Check which missions a log holds, and that it holds no others",
		Long: `Checks the pages that "masctl log population" fetched: each under the feed epoch, and that together they leave out
nothing. Prints the subjects.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			trust, err := t.anchors()
			if err != nil {
				return err
			}
			if kind == "all" {
				kind = ""
			} else if !ledger.IsSubjectKind(ledger.SubjectKind(kind)) {
				return fmt.Errorf("no kind of subject %q", kind)
			}
			names, err := filepath.Glob(filepath.Join(args[0], "page-*"))
			if err != nil || len(names) == 0 {
				return fmt.Errorf("%s has no pages", args[0])
			}
			var pages [][]byte
			for _, name := range names {
				data, err := t.read(name)
				if err != nil {
					return err
				}
				pages = append(pages, data)
			}
			return t.feed(verifier.VerifyPopulation(pages, trust, ledger.SubjectKind(kind)))
		},
	}
	c.Flags().StringVar(&kind, "kind", string(ledger.SubjectMissions), "kind of subject, or all")
	return c
}

// feed prints a report on feeds.
func (t *tool) feed(r *verifier.FeedReport) error {
	t.conclude(r.Outcome)
	if t.json {
		return t.document(r)
	}
	if e := r.Epoch; e != nil {
		t.line("epoch", "%d, entry %d, covers size %d: %d subjects, %d missions", e.Number, e.Index, e.CoveredSize, e.Subjects,
			e.Missions)
	}
	if r.Present != nil && *r.Present {
		t.line("present", "%s  %d entries, the last at %d, root %s", r.Subject, r.Feed.Count, r.Feed.Last, r.Feed.Root)
	} else if r.Present != nil {
		t.line("absent", "%s  no entries below size %d", r.Subject, r.Epoch.CoveredSize)
	}
	if r.Entry != nil {
		t.line("entry", "%s is number %d of the feed", r.Entry.EntryID, r.Entry.Seq)
	}
	for _, s := range r.Population {
		t.line("subject", "%s  %d entries, the last at %d", s.Subject, s.Count, s.Last)
	}
	if r.Beyond > 0 {
		t.line("beyond", "%d entries behind the covered size are listed and not proven to be all", r.Beyond)
	}
	if r.Completeness == verifier.Complete {
		t.line("complete", "as of size %d, by the feed epoch", r.AsOf)
	} else if r.Completeness != "" {
		t.line(string(r.Completeness), "see the findings")
	}
	t.findings(r.Findings)
	t.claims(r.NotClaimed)
	t.line("conclusion", "%s", r.Outcome)
	return nil
}
