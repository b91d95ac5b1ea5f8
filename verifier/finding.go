package verifier

import (
	"fmt"
	"slices"
)

// A Class says what kind of thing a Finding is.
type Class string

// The classes, from worst to harmless.
const (
	// Integrity: something was checked and is wrong. The artifact must not be relied on.
	Integrity Class = "integrity"
	// Deviation: the evidence is good, and says that something happened that was not allowed.
	Deviation Class = "deviation"
	// Audit: something could not be checked because a key, a body or a proof is missing, or an expected record is
	// absent. Nothing was found to be forged.
	Audit Class = "audit"
	// Note: a fact the reader should know. It changes no verdict.
	Note Class = "note"
)

// A Finding is one observation. Code is stable and meant for programs, Text for people; Text never contains evidence
// bodies or tokens.
type Finding struct {
	Code  string `json:"code"`
	Class Class  `json:"class"`
	// Where names what it is about: a path in a bundle, an entry id, a mission. Empty: the artifact as a whole.
	Where string `json:"where,omitempty"`
	Text  string `json:"text"`
}

func (f Finding) String() string {
	if f.Where == "" {
		return fmt.Sprintf("%s: %s", f.Code, f.Text)
	}
	return fmt.Sprintf("%s: %s (%s)", f.Code, f.Text, f.Where)
}

// Findings is a list of findings in the order in which they were made.
type Findings []Finding

func (fs *Findings) add(class Class, code, where, format string, args ...any) {
	*fs = append(*fs, Finding{Code: code, Class: class, Where: where, Text: fmt.Sprintf(format, args...)})
}

// Has reports whether a finding of the class is present.
func (fs Findings) Has(c Class) bool {
	return slices.ContainsFunc(fs, func(f Finding) bool { return f.Class == c })
}

// Code reports whether a finding with the code is present.
func (fs Findings) Code(code string) bool {
	return slices.ContainsFunc(fs, func(f Finding) bool { return f.Code == code })
}

// Outcome is the overall result of one verification.
type Outcome string

// The outcomes. A tool exits 0, 1 and 2 for them.
const (
	OK           Outcome = "ok"           // everything that was asked was checked and holds
	Wrong        Outcome = "finding"      // something was checked and is wrong
	Unverifiable Outcome = "unverifiable" // nothing wrong was found, but not everything could be checked
)

// Outcome folds findings: any integrity or deviation finding wins over any audit finding.
func (fs Findings) Outcome() Outcome {
	switch {
	case fs.Has(Integrity), fs.Has(Deviation):
		return Wrong
	case fs.Has(Audit):
		return Unverifiable
	}
	return OK
}

// Verdict is what is said about one record of evidence.
type Verdict string

// The verdicts on a record.
const (
	Verified         Verdict = "verified"
	IntegrityFailure Verdict = "integrity_failure"
	AuditFailure     Verdict = "audit_failure"
	ErasedExplained  Verdict = "erased_explained"
	IgnoredType      Verdict = "ignored_type"
)

func verdictOf(fs Findings) Verdict {
	switch fs.Outcome() {
	case Wrong:
		return IntegrityFailure
	case Unverifiable:
		return AuditFailure
	}
	return Verified
}
