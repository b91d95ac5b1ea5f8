package mission

import (
	"cmp"
	"strings"
)

// isDecimal accepts [0-9]+(.[0-9]{1,18})? and nothing else (core 1.6).
func isDecimal(s string) bool {
	whole, fraction, point := strings.Cut(s, ".")
	return isDigits(whole) && (!point || isDigits(fraction) && len(fraction) <= 18)
}

func isDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

// compareDecimal compares two decimals exactly: by digits, never as floating point.
func compareDecimal(a, b string) int {
	aw, af, _ := strings.Cut(a, ".")
	bw, bf, _ := strings.Cut(b, ".")
	aw, bw = strings.TrimLeft(aw, "0"), strings.TrimLeft(bw, "0")
	return cmp.Or(
		cmp.Compare(len(aw), len(bw)),
		strings.Compare(aw, bw),
		strings.Compare(strings.TrimRight(af, "0"), strings.TrimRight(bf, "0")),
	)
}
