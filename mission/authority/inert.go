package authority

import (
	"fmt"
	"strings"
	"unicode"
)

// inert makes client text safe to show beside what the authority says: characters that are invisible, move the cursor,
// change direction or carry no agreed meaning are replaced by their visible code point, <U+202E>. Markup stays as the
// characters it is made of; whoever displays a disclosure shows plain text. The function is injective enough for its
// purpose: equal output of different inputs needs an input that spells out "<U+".
func inert(text string) string {
	var b strings.Builder
	for _, r := range text {
		if visible(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "<U+%04X>", r)
		}
	}
	return b.String()
}

// visible reports whether a reader sees r for what it is.
func visible(r rune) bool {
	switch {
	case r == ' ':
		return true
	case unicode.Is(unicode.Bidi_Control, r), unicode.Is(unicode.Variation_Selector, r),
		unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r):
		return false
	case r == 0x115F, r == 0x1160, r == 0x3164, r == 0xFFA0, r == 0x2800: // fillers and blanks classed as letters or symbols
		return false
	}
	return unicode.IsPrint(r)
}

// mixedScripts reports whether text has letters of more than one of the scripts whose letters look alike.
func mixedScripts(text string) bool {
	var seen [3]bool
	n := 0
	for _, r := range text {
		for i, script := range []*unicode.RangeTable{unicode.Latin, unicode.Cyrillic, unicode.Greek} {
			if unicode.Is(script, r) && !seen[i] {
				seen[i] = true
				n++
			}
		}
	}
	return n > 1
}
