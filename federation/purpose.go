package federation

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mission-authority/mas/mission"
)

// MaxSummary bounds a purpose summary, in octets of UTF-8.
const MaxSummary = 280

// A Purpose is what a projection says about why. It is shown to people and never decides anything, except that Category
// must be on the receiver's list; it is never handed to a model as an instruction.
type Purpose struct {
	Category string `json:"category,omitempty"` // the purpose URI
	Summary  string `json:"summary,omitempty"`  // one line
}

// Validate accepts a category of visible ASCII and a harmless summary. Decode calls it.
func (p *Purpose) Validate() error {
	if p.Category == "" && p.Summary == "" {
		return errors.New("an empty purpose")
	}
	if p.Category != "" {
		if err := checkVisible("category", p.Category, mission.MaxPurposeURI); err != nil {
			return err
		}
	}
	if p.Summary != "" && Sanitise(p.Summary) != p.Summary {
		return errors.New("summary is not one harmless line")
	}
	return nil
}

// Disclosed builds the purpose that a disclosure level allows, or nil. The summary is what the origin's people wrote
// for this purpose, never the Mission's goal.
func Disclosed(level, category, summary string) *Purpose {
	p := &Purpose{}
	if disclosureRank(level) >= 1 {
		p.Category = category
	}
	if disclosureRank(level) >= 2 {
		p.Summary = Sanitise(summary)
	}
	if *p == (Purpose{}) {
		return nil
	}
	return p
}

// Sanitise makes one line of at most MaxSummary octets: characters that are invisible, control anything, change
// direction or are not text are dropped, runs of space become one.
func Sanitise(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == utf8.RuneError, !unicode.IsPrint(r), unicode.Is(unicode.Bidi_Control, r),
			unicode.Is(unicode.Variation_Selector, r), unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r):
			return -1
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	for len(s) > MaxSummary {
		_, n := utf8.DecodeLastRuneInString(s)
		s = strings.TrimRight(s[:len(s)-n], " ")
	}
	return s
}
