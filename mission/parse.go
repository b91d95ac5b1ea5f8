package mission

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

type kind uint8

const (
	kindNull kind = iota
	kindFalse
	kindTrue
	kindNumber
	kindString
	kindArray
	kindObject
)

// A value is a parsed JSON value. Members of an object are in canonical (UTF-16) order; elements of an array have no
// name.
type value struct {
	kind    kind
	num     float64
	str     string
	members []member
}

type member struct {
	name string
	value
}

// get returns the member with this name, or nil.
func (v *value) get(name string) *value {
	if v.kind != kindObject {
		return nil
	}
	i, ok := slices.BinarySearchFunc(v.members, name, func(m member, n string) int { return compareUTF16(m.name, n) })
	if !ok {
		return nil
	}
	return &v.members[i].value
}

// text returns the string, or false for nil and other kinds.
func (v *value) text() (string, bool) {
	if v == nil || v.kind != kindString {
		return "", false
	}
	return v.str, true
}

// integer returns an exact integer, or false for nil, other kinds and fractions.
func (v *value) integer() (int64, bool) {
	if v == nil || v.kind != kindNumber || v.num < -MaxInt || v.num > MaxInt || v.num != float64(int64(v.num)) {
		return 0, false
	}
	return int64(v.num), true
}

type parser struct {
	s         string
	i         int
	depth     int
	unbounded bool     // leave out the bound on numbers: canonicaliser alone
	stack     []member // of the containers being read
	slab      []member // members of the containers read
}

func parse(data []byte) (*value, error) {
	if len(data) > MaxJSON {
		return nil, &JSONError{Reason: JSONTooLarge, Offset: -1}
	}
	return (&parser{s: string(data)}).document()
}

func (p *parser) document() (*value, error) {
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	p.space()
	if p.i != len(p.s) {
		return nil, p.fail(JSONSyntax)
	}
	return &v, nil
}

func (p *parser) fail(reason string) error { return &JSONError{Reason: reason, Offset: p.i} }

func (p *parser) space() {
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

// next skips space and returns the next octet without consuming it, or 0 at the end (never legal in JSON).
func (p *parser) next() byte {
	p.space()
	if p.i == len(p.s) {
		return 0
	}
	return p.s[p.i]
}

func (p *parser) value() (value, error) {
	switch c := p.next(); {
	case c == '{':
		return p.container(kindObject, '}')
	case c == '[':
		return p.container(kindArray, ']')
	case c == '"':
		s, err := p.string()
		return value{kind: kindString, str: s}, err
	case c == '-' || isDigit(c):
		return p.number()
	case c == 't':
		return p.literal("true", kindTrue)
	case c == 'f':
		return p.literal("false", kindFalse)
	case c == 'n':
		return p.literal("null", kindNull)
	}
	return value{}, p.fail(JSONSyntax)
}

func (p *parser) literal(word string, k kind) (value, error) {
	if !strings.HasPrefix(p.s[p.i:], word) {
		return value{}, p.fail(JSONSyntax)
	}
	p.i += len(word)
	return value{kind: k}, nil
}

// container reads an object or array whose opening octet is next.
func (p *parser) container(k kind, end byte) (value, error) {
	if p.depth++; p.depth > MaxDepth {
		return value{}, p.fail(JSONTooDeep)
	}
	p.i++
	start := len(p.stack)
	if p.next() == end {
		p.i++
		p.depth--
		return value{kind: k}, nil
	}
	for {
		var m member
		var err error
		if k == kindObject {
			if m.name, err = p.name(); err != nil {
				return value{}, err
			}
		}
		if m.value, err = p.value(); err != nil {
			return value{}, err
		}
		p.stack = append(p.stack, m)
		c := p.next()
		if c != ',' && c != end {
			return value{}, p.fail(JSONSyntax)
		}
		p.i++
		if c == end {
			break
		}
	}
	v := value{kind: k, members: p.keep(p.stack[start:])}
	p.stack = p.stack[:start]
	p.depth--
	if k == kindObject {
		return v, p.sortMembers(v.members)
	}
	return v, nil
}

// name reads a member name and its colon.
func (p *parser) name() (string, error) {
	if p.next() != '"' {
		return "", p.fail(JSONSyntax)
	}
	s, err := p.string()
	if err != nil {
		return "", err
	}
	if p.next() != ':' {
		return "", p.fail(JSONSyntax)
	}
	p.i++
	return s, nil
}

// keep copies members out of the stack.
func (p *parser) keep(ms []member) []member {
	if len(ms) > cap(p.slab)-len(p.slab) {
		p.slab = make([]member, 0, max(len(ms), 32))
	}
	n := len(p.slab)
	p.slab = append(p.slab, ms...)
	return p.slab[n:len(p.slab):len(p.slab)]
}

func (p *parser) sortMembers(ms []member) error {
	slices.SortFunc(ms, func(a, b member) int { return compareUTF16(a.name, b.name) })
	for i := 1; i < len(ms); i++ {
		if ms[i].name == ms[i-1].name {
			return &JSONError{Reason: JSONDuplicateMember, Offset: p.i, Member: printable(ms[i].name)}
		}
	}
	return nil
}

// compareUTF16 orders strings by their UTF-16 code units (RFC 8785 3.2.3): as bytes, except that a character outside
// the basic plane comes before U+E000 to U+FFFF.
func compareUTF16(a, b string) int {
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x >= 0xEE && y >= 0xEE && (x >= 0xF0) != (y >= 0xF0) {
			x, y = y, x
		}
		return int(x) - int(y)
	}
	return len(a) - len(b)
}

// printable returns s if it is 1 to 64 printable ASCII characters, else "".
func printable(s string) string {
	if len(s) > 64 {
		return ""
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return ""
		}
	}
	return s
}

func (p *parser) number() (value, error) {
	start := p.i
	if p.s[p.i] == '-' {
		p.i++
	}
	if !p.digits(true) || p.accept('.') && !p.digits(false) {
		return value{}, p.fail(JSONSyntax)
	}
	if p.accept('e') || p.accept('E') {
		if !p.accept('+') {
			p.accept('-')
		}
		if !p.digits(false) {
			return value{}, p.fail(JSONSyntax)
		}
	}
	f, err := strconv.ParseFloat(p.s[start:p.i], 64)
	if err != nil || !p.unbounded && (f > MaxInt || f < -MaxInt) {
		return value{}, p.fail(JSONBadNumber)
	}
	return value{kind: kindNumber, num: f}, nil
}

func (p *parser) accept(c byte) bool {
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

// digits consumes one or more digits; an integer part has no leading zero.
func (p *parser) digits(integer bool) bool {
	start := p.i
	for p.i < len(p.s) && isDigit(p.s[p.i]) {
		p.i++
	}
	n := p.i - start
	return n == 1 || n > 1 && !(integer && p.s[start] == '0')
}

// string reads a string whose opening quote is next. A string without escapes is a part of the text.
func (p *parser) string() (string, error) {
	p.i++
	start := p.i
	for p.i < len(p.s) {
		switch c := p.s[p.i]; {
		case c == '"':
			p.i++
			return p.s[start : p.i-1], nil
		case c == '\\':
			return p.escaped(start)
		case c < 0x20:
			return "", p.fail(JSONSyntax)
		case c < utf8.RuneSelf:
			p.i++
		default:
			if err := p.character(); err != nil {
				return "", err
			}
		}
	}
	return "", p.fail(JSONSyntax)
}

// character consumes one character outside ASCII.
func (p *parser) character() error {
	r, n := utf8.DecodeRuneInString(p.s[p.i:])
	if r == utf8.RuneError && n == 1 || isNoncharacter(r) {
		return p.fail(JSONBadString)
	}
	p.i += n
	return nil
}

func isNoncharacter(r rune) bool { return 0xFDD0 <= r && r <= 0xFDEF || r&0xFFFE == 0xFFFE }

// escaped reads on from the first escape of a string that began at start.
func (p *parser) escaped(start int) (string, error) {
	b := append(make([]byte, 0, p.i-start+32), p.s[start:p.i]...)
	for p.i < len(p.s) {
		switch c := p.s[p.i]; {
		case c == '"':
			p.i++
			return string(b), nil
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			b = utf8.AppendRune(b, r)
		case c < 0x20:
			return "", p.fail(JSONSyntax)
		case c < utf8.RuneSelf:
			b = append(b, c)
			p.i++
		default:
			from := p.i
			if err := p.character(); err != nil {
				return "", err
			}
			b = append(b, p.s[from:p.i]...)
		}
	}
	return "", p.fail(JSONSyntax)
}

const (
	escapeLetters = `"\/bfnrt`
	escapeMeans   = "\"\\/\b\f\n\r\t"
)

func (p *parser) escape() (rune, error) {
	if p.i+1 == len(p.s) {
		return 0, p.fail(JSONSyntax)
	}
	c := p.s[p.i+1]
	if i := strings.IndexByte(escapeLetters, c); i >= 0 {
		p.i += 2
		return rune(escapeMeans[i]), nil
	}
	r, ok := p.unit()
	if !ok {
		return 0, p.fail(JSONSyntax)
	}
	switch {
	case r >= 0xD800 && r < 0xDC00:
		low, ok := p.unit()
		if !ok || low < 0xDC00 || low > 0xDFFF {
			return 0, p.fail(JSONBadString)
		}
		r = 0x10000 + (r-0xD800)<<10 + (low - 0xDC00)
	case r >= 0xDC00 && r < 0xE000:
		return 0, p.fail(JSONBadString)
	}
	if isNoncharacter(r) {
		return 0, p.fail(JSONBadString)
	}
	return r, nil
}

// unit consumes one \uXXXX.
func (p *parser) unit() (rune, bool) {
	if len(p.s)-p.i < 6 || p.s[p.i] != '\\' || p.s[p.i+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range []byte(p.s[p.i+2 : p.i+6]) {
		switch {
		case isDigit(c):
			r = r<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	p.i += 6
	return r, true
}
