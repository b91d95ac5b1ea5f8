package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mission-authority/mas/verifier"
)

// Rules of output: results go to standard output, one line per verdict, finding or claim, each beginning with a word
// that a script can match; errors of use go to standard error. With --json the same report is one JSON document.

// line prints one line.
func (t *tool) line(word, format string, args ...any) {
	fmt.Fprintf(t.out, "%-18s %s\n", word, oneLine(fmt.Sprintf(format, args...)))
}

// oneLine keeps what artifacts contain from writing lines or terminal commands of its own.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 || r == 0x2028 || r == 0x2029 ||
			0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069 || 0x200b <= r && r <= 0x200f {
			return '?'
		}
		return r
	}, s)
}

// document prints a report as JSON.
func (t *tool) document(report any) error {
	enc := json.NewEncoder(t.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(report)
}

// conclude sets the exit code.
func (t *tool) conclude(o verifier.Outcome) {
	switch o {
	case verifier.OK:
		t.exit = max(t.exit, exitOK)
	case verifier.Wrong:
		t.exit = exitFinding
	case verifier.Unverifiable:
		if t.exit != exitFinding {
			t.exit = exitUnverifiable
		}
	}
}

// findings prints each finding and concludes.
func (t *tool) findings(fs verifier.Findings) {
	for _, f := range fs {
		t.line(string(f.Class), "%s", f)
	}
	t.conclude(fs.Outcome())
}

// claims prints what a verdict does not say.
func (t *tool) claims(cs []verifier.Claim) {
	for _, c := range cs {
		t.line("not claimed", "%s: %s", c.Code, c.Text)
	}
}
