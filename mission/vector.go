package mission

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"time"
)

// A vectorRule computes the result of one conformance vector from its input.
type vectorRule func(input Raw) (any, error)

var vectorRules = map[string]vectorRule{
	"jcs-number":             vectorNumber,
	"jcs-lexeme":             vectorLexeme,
	"strict-json":            vectorStrict,
	"rfc3339":                vectorTime,
	"decimal":                vectorDecimal,
	"envelope":               vectorEnvelope,
	"object":                 func(input Raw) (any, error) { return RawDigest(input.b), nil },
	"raw":                    vectorRaw,
	"subset":                 vectorSubset,
	"prefix":                 vectorPrefix,
	"mission-reference":      vectorReference,
	"mission-reference-line": vectorReferenceLine,
	"freshness":              vectorFreshness,
}

// EvaluateVector computes the result of one conformance vector of the kinds jcs-number, jcs-lexeme, strict-json,
// rfc3339, decimal, envelope, object, raw, subset, prefix, mission-reference, mission-reference-line and freshness (the
// vectors' README says what each means). known is false for other kinds; the error means a malformed input.
func EvaluateVector(kind string, input Raw) (result Raw, known bool, err error) {
	rule, known := vectorRules[kind]
	if !known {
		return Raw{}, false, nil
	}
	out, err := rule(input)
	if err != nil {
		return Raw{}, true, err
	}
	result, err = RawOf(out)
	return result, true, err
}

func choose(ok bool, yes, no string) string {
	if ok {
		return yes
	}
	return no
}

var errVector = errors.New("mission: malformed vector")

func vectorNumber(input Raw) (any, error) {
	var in struct {
		Hex string `json:"ieee754_hex"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	b, err := hex.DecodeString(in.Hex)
	if err != nil || len(b) != 8 {
		return nil, errVector
	}
	f := math.Float64frombits(binary.BigEndian.Uint64(b))
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "reject", nil
	}
	return string(appendNumber(nil, f)), nil
}

func vectorLexeme(input Raw) (any, error) {
	var in struct {
		JSON string `json:"json"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	v, err := (&parser{s: in.JSON, unbounded: true}).document()
	if err != nil {
		return "reject", nil
	}
	return string(v.appendCanonical(nil)), nil
}

func vectorStrict(input Raw) (any, error) {
	var in struct {
		Text   *string `json:"text_b64,omitempty"`
		Repeat [][]Raw `json:"repeat,omitempty"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	var text []byte
	if in.Text != nil {
		var err error
		if text, err = base64.StdEncoding.DecodeString(*in.Text); err != nil {
			return nil, errVector
		}
	}
	for _, pair := range in.Repeat {
		var part string
		var n int
		if len(pair) != 2 || pair[0].Decode(&part) != nil || pair[1].Decode(&n) != nil || n < 0 || n*len(part) > 1<<26 {
			return nil, errVector
		}
		text = append(text, strings.Repeat(part, n)...)
	}
	return choose(CheckStrict(text) == nil, "accept", "reject"), nil
}

func vectorTime(input Raw) (any, error) {
	var in struct {
		Value string `json:"value"`
	}
	err := input.Decode(&in)
	return choose(isTime(in.Value), "accept", "reject"), err
}

func vectorDecimal(input Raw) (any, error) {
	var in struct {
		Op string  `json:"op"`
		A  string  `json:"a"`
		B  *string `json:"b,omitempty"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	switch {
	case in.Op == "valid":
		return isDecimal(in.A), nil
	case in.Op == "compare" && in.B != nil && isDecimal(in.A) && isDecimal(*in.B):
		return compareDecimal(in.A, *in.B), nil
	}
	return nil, errVector
}

func vectorEnvelope(input Raw) (any, error) {
	var in struct {
		Typ   Typ    `json:"typ"`
		Iss   string `json:"iss"`
		Value Raw    `json:"value"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	return Envelope(in.Typ, in.Iss, in.Value)
}

func vectorRaw(input Raw) (any, error) {
	var in struct {
		UTF8 *string `json:"utf8,omitempty"`
		B64  *string `json:"b64,omitempty"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	switch {
	case in.UTF8 != nil:
		return RawDigest([]byte(*in.UTF8)), nil
	case in.B64 != nil:
		b, err := base64.StdEncoding.DecodeString(*in.B64)
		if err != nil {
			b, err = decodeBase64(*in.B64)
		}
		return RawDigest(b), err
	}
	return nil, errVector
}

func vectorSubset(input Raw) (any, error) {
	var in struct {
		Candidate Raw `json:"candidate"`
		Reference Raw `json:"reference"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	cand, errC := ParseEntry(in.Candidate.b)
	ref, errR := ParseEntry(in.Reference.b)
	if errC != nil || errR != nil {
		return "refuse", nil
	}
	ok, err := Subset(cand, ref)
	if err != nil {
		return "refuse", nil
	}
	return ok, nil
}

func vectorPrefix(input Raw) (any, error) {
	var in struct {
		Base string `json:"base"`
		URI  string `json:"uri"`
	}
	err := input.Decode(&in)
	return choose(PrefixContains(in.Base, in.URI), "allow", "deny"), err
}

func vectorReference(input Raw) (any, error) {
	var in struct {
		Lines []string `json:"lines"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	ref, err := ParseReference(in.Lines)
	if err != nil {
		return "malformed", nil
	}
	return ref, nil
}

func vectorReferenceLine(input Raw) (any, error) {
	var in struct {
		Value string `json:"value"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	_, err := ParseReference([]string{in.Value})
	return choose(err == nil, "ok", "malformed"), nil
}

func vectorFreshness(input Raw) (any, error) {
	var in struct {
		State    State   `json:"state"`
		Past     float64 `json:"seconds_past_fresh_until"`
		MaxStale float64 `json:"mission_max_stale_seconds"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	seconds := func(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }
	return Fresh(in.State, seconds(in.Past), seconds(in.MaxStale)), nil
}
