package mission_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/gowebpki/jcs"
	"github.com/mission-authority/mas/mission"
	"pgregory.net/rapid"
)

func reason(err error) string {
	var je *mission.JSONError
	if errors.As(err, &je) {
		return je.Reason
	}
	return "no JSONError"
}

// Audit rows: 122.
func TestStrictRefuses(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, c := range []struct{ name, text, reason string }{
		{"nothing", "", mission.JSONSyntax},
		{"space alone", " \n", mission.JSONSyntax},
		{"two texts", "1 2", mission.JSONSyntax},
		{"trailing text", `{"a":1}x`, mission.JSONSyntax},
		{"byte order mark", "\ufeff1", mission.JSONSyntax},
		{"vertical tab as space", "\v1", mission.JSONSyntax},
		{"no colon", `{"a" 1}`, mission.JSONSyntax},
		{"unquoted name", `{a:1}`, mission.JSONSyntax},
		{"single quotes", `{'a':1}`, mission.JSONSyntax},
		{"comma after the last member", `{"a":1,}`, mission.JSONSyntax},
		{"comma after the last element", `[1,]`, mission.JSONSyntax},
		{"mismatched brackets", `[1}`, mission.JSONSyntax},
		{"open object", `{"a":1`, mission.JSONSyntax},
		{"open string", `"a`, mission.JSONSyntax},
		{"open escape", `"\`, mission.JSONSyntax},
		{"unknown escape", `"\x41"`, mission.JSONSyntax},
		{"short escape", `"\u12"`, mission.JSONSyntax},
		{"escape not hexadecimal", `"\u12g4"`, mission.JSONSyntax},
		{"control character", "\"\x1f\"", mission.JSONSyntax},
		{"control character after an escape", "\"\\n\x00\"", mission.JSONSyntax},
		{"upper-case literal", `True`, mission.JSONSyntax},
		{"half a literal", `nul`, mission.JSONSyntax},
		{"leading zero", `01`, mission.JSONSyntax},
		{"leading plus", `+1`, mission.JSONSyntax},
		{"bare point", `.5`, mission.JSONSyntax},
		{"point without digits", `1.`, mission.JSONSyntax},
		{"exponent without digits", `1e`, mission.JSONSyntax},
		{"sign alone", `-`, mission.JSONSyntax},
		{"hexadecimal", `0x10`, mission.JSONSyntax},
		{"infinity", `Infinity`, mission.JSONSyntax},
		{"duplicate", `{"a":1,"b":2,"a":1}`, mission.JSONDuplicateMember},
		{"duplicate after unescaping", `{"a":1,"\u0061":1}`, mission.JSONDuplicateMember},
		{"duplicate empty name", `{"":1,"":1}`, mission.JSONDuplicateMember},
		{"duplicate deep inside", `[{"x":{"a":1,"a":1}}]`, mission.JSONDuplicateMember},
		{"lone high surrogate", `"\ud83d"`, mission.JSONBadString},
		{"high surrogate and a letter", `"\ud83dx"`, mission.JSONBadString},
		{"two high surrogates", `"\ud83d\ud83d"`, mission.JSONBadString},
		{"lone low surrogate", `"\ude00"`, mission.JSONBadString},
		{"lone surrogate in a name", `{"\ud83d":1}`, mission.JSONBadString},
		{"raw noncharacter", "\"\ufdd0\"", mission.JSONBadString},
		{"raw noncharacter after an escape", "\"\\n\uffff\"", mission.JSONBadString},
		{"escaped noncharacter", `"\uffff"`, mission.JSONBadString},
		{"escaped noncharacter of plane 16", `"\udbff\udfff"`, mission.JSONBadString},
		{"noncharacter in a name", `{"\ufffe":1}`, mission.JSONBadString},
		{"invalid UTF-8", "\"\xff\"", mission.JSONBadString},
		{"overlong UTF-8", "\"\xc0\x80\"", mission.JSONBadString},
		{"truncated UTF-8", "\"\xe2\x82\"", mission.JSONBadString},
		{"overflow", `1e400`, mission.JSONBadNumber},
		{"negative overflow", `-1e400`, mission.JSONBadNumber},
		{"integer beyond 2^53-1", `9007199254740992`, mission.JSONBadNumber},
		{"the same with a fraction", `9007199254740992.0`, mission.JSONBadNumber},
		{"the same with an exponent", `1e16`, mission.JSONBadNumber},
		{"negative integer beyond", `-9007199254740992`, mission.JSONBadNumber},
		{"65 levels", deep(65), mission.JSONTooDeep},
		{"100,000 levels", deep(100_000), mission.JSONTooDeep},
		{"more than MaxJSON", `"` + strings.Repeat("x", mission.MaxJSON) + `"`, mission.JSONTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := reason(mission.CheckStrict([]byte(c.text))); got != c.reason {
				t.Errorf("got %s, want %s", got, c.reason)
			}
			if b, err := mission.Canonical([]byte(c.text)); err == nil {
				t.Errorf("Canonical accepted it as %s", b)
			}
		})
	}
}

func TestCanonicalForms(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"space", " { \"b\" : [ 1 , 2 ] ,\r\n\t\"a\" : null } ", `{"a":null,"b":[1,2]}`},
		{"names in UTF-16 order", `{"\ufb33":1,"\ud83d\ude00":2,"a":3}`, "{\"a\":3,\"\U0001F600\":2,\"\ufb33\":1}"},
		{"names that differ in case", `{"a":1,"A":2}`, `{"A":2,"a":1}`},
		{"prototype is a name", `{"__proto__":{"x":1}}`, `{"__proto__":{"x":1}}`},
		{"empty name", `{"":1}`, `{"":1}`},
		{"escapes", `"\u0000\u001f\b\f\n\r\t\"\\\/\u003c\u2028\u007f\u00e9"`,
			"\"\\u0000\\u001f\\b\\f\\n\\r\\t\\\"\\\\/<\u2028\u007f\u00e9\""},
		{"replacement character", `"\ufffd"`, "\"\ufffd\""},
		{"negative zero", `-0.0`, `0`},
		{"largest integer", `9007199254740991`, `9007199254740991`},
		{"smallest integer", `-9007199254740991`, `-9007199254740991`},
		{"underflow", `1e-400`, `0`},
		{"small exponents", `[1e-6,1e-7,1.5e-10]`, `[0.000001,1e-7,1.5e-10]`},
		{"64 levels", strings.Repeat("[", 64) + strings.Repeat("]", 64), strings.Repeat("[", 64) + strings.Repeat("]", 64)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := mission.Canonical([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// anyJSON draws a Go value that every JSON text can hold.
func anyJSON(depth int) *rapid.Generator[any] {
	leaf := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) any { return rapid.Bool().Draw(t, "bool") }),
		rapid.Custom(func(t *rapid.T) any {
			return rapid.OneOf(rapid.Float64Range(-mission.MaxInt, mission.MaxInt), rapid.Float64Range(-1e-5, 1e-5),
				rapid.Map(rapid.Int64Range(-mission.MaxInt, mission.MaxInt), func(n int64) float64 { return float64(n) })).Draw(t, "number")
		}),
		rapid.Custom(func(t *rapid.T) any { return text().Draw(t, "string") }),
		rapid.Just[any](nil),
	)
	if depth == 0 {
		return leaf
	}
	return rapid.OneOf(leaf,
		rapid.Custom(func(t *rapid.T) any { return rapid.SliceOfN(anyJSON(depth-1), 0, 4).Draw(t, "list") }),
		rapid.Custom(func(t *rapid.T) any { return rapid.MapOfN(text(), anyJSON(depth-1), 0, 4).Draw(t, "object") }),
	)
}

// text draws a string without noncharacters, rich in what canonical forms get wrong.
func text() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringOf(rapid.RuneFrom([]rune("aA<>&\"\\/\n\t\x01\x7f\u2028é\ud7ff\ue000\ufb33\ufffd\U00010000\U0001F600"))),
		rapid.String(),
	).Filter(func(s string) bool {
		return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
			return 0xFDD0 <= r && r <= 0xFDEF || r&0xFFFE == 0xFFFE
		})
	})
}

func TestCanonicalAgreesWithTwoOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := anyJSON(3).Draw(t, "value")
		doc, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := mission.Canonical(doc)
		if err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		again, err := mission.Canonical(got)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("not a fixed point: %s then %s (%v)", got, again, err)
		}
		if marshalled, err := mission.Marshal(v); err != nil || !bytes.Equal(marshalled, got) {
			t.Fatalf("Marshal gives %s (%v), Canonical %s", marshalled, err, got)
		}
		if want, err := jcs.Transform(wrap(doc)); err != nil || !bytes.Equal(want, wrap(got)) {
			t.Fatalf("jcs: %v\ngot  %s\nwant %s", err, got, want)
		}
		other := jsontext.Value(bytes.Clone(doc))
		if err := other.Canonicalize(); err != nil || !bytes.Equal(other, got) {
			t.Fatalf("jsontext: %v\ngot  %s\nwant %s", err, got, other)
		}
	})
}

// wrap makes an array of one, since the other canonicaliser takes no bare values.
func wrap(doc []byte) []byte { return append(append([]byte("["), doc...), ']') }

type inner struct {
	Name string `json:"name"`
}

type outer struct {
	Text  string                 `json:"text"`
	Count int64                  `json:"count,omitempty"`
	Size  uint8                  `json:"size,omitempty"`
	Ratio float64                `json:"ratio,omitempty"`
	Flag  bool                   `json:"flag,omitempty"`
	Ptr   *int                   `json:"ptr,omitempty"`
	List  []inner                `json:"list,omitempty"`
	Map   map[string]int         `json:"map,omitempty"`
	Bytes []byte                 `json:"bytes,omitempty"`
	Any   any                    `json:"any,omitempty"`
	Raw   mission.Raw            `json:"raw,omitempty"`
	Rest  map[string]mission.Raw `json:",rest"`
}

type closed struct {
	Goal string         `json:"goal"`
	Of   *inner         `json:"of,omitempty"`
	Sum  mission.Digest `json:"sum,omitempty"`
}

func TestDecodeGivesBackTheCanonicalForm(t *testing.T) {
	doc := []byte(`{"text":"a","count":-3,"size":255,"ratio":0.5,"flag":true,"ptr":0,"list":[{"name":"x"},{"name":""}],` +
		`"map":{"b":1,"a":0},"bytes":"AAEC_w","any":{"k":[1,null,"s",false]},"raw":{"z":1,"y":null},"unknown":[1],"a":0}`)
	var v outer
	if err := mission.Decode(doc, &v); err != nil {
		t.Fatal(err)
	}
	if v.Count != -3 || *v.Ptr != 0 || !bytes.Equal(v.Bytes, []byte{0, 1, 2, 255}) || len(v.Rest) != 2 {
		t.Errorf("decoded %+v", v)
	}
	got, err := mission.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := mission.Canonical(doc)
	if !bytes.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct {
		name, text   string
		dst          any
		reason, path string
		member       string
	}{
		{"unknown member", `{"goal":"a","x":1}`, &closed{}, mission.JSONUnknownMember, "", "x"},
		{"unknown member inside", `{"goal":"a","of":{"name":"b","y":1}}`, &closed{}, mission.JSONUnknownMember, "of", "y"},
		{"unprintable unknown member", `{"goal":"a","\u0007":1}`, &closed{}, mission.JSONUnknownMember, "", ""},
		{"miscased member", `{"Goal":"a"}`, &closed{}, mission.JSONUnknownMember, "", "Goal"},
		{"missing member", `{}`, &closed{}, mission.JSONMissingMember, "goal", "goal"},
		{"missing member inside", `{"goal":"a","of":{}}`, &closed{}, mission.JSONMissingMember, "of.name", "name"},
		{"null", `{"goal":null}`, &closed{}, mission.JSONWrongType, "goal", ""},
		{"null for a pointer", `{"goal":"a","of":null}`, &closed{}, mission.JSONWrongType, "of", ""},
		{"number for a string", `{"goal":1}`, &closed{}, mission.JSONWrongType, "goal", ""},
		{"list for an object", `[]`, &closed{}, mission.JSONWrongType, "", ""},
		{"fraction for an integer", `{"text":"a","count":1.5}`, &outer{}, mission.JSONWrongType, "count", ""},
		{"string for an integer", `{"text":"a","count":"1"}`, &outer{}, mission.JSONWrongType, "count", ""},
		{"integer out of range", `{"text":"a","size":256}`, &outer{}, mission.JSONWrongType, "size", ""},
		{"negative for unsigned", `{"text":"a","size":-1}`, &outer{}, mission.JSONWrongType, "size", ""},
		{"string for a boolean", `{"text":"a","flag":"true"}`, &outer{}, mission.JSONWrongType, "flag", ""},
		{"element of a list", `{"text":"a","list":[{"name":"b"},{"name":2}]}`, &outer{}, mission.JSONWrongType, "list[1].name", ""},
		{"padded octets", `{"text":"a","bytes":"AA=="}`, &outer{}, mission.JSONInvalidValue, "bytes", ""},
		{"stray bits in octets", `{"text":"a","bytes":"AB"}`, &outer{}, mission.JSONInvalidValue, "bytes", ""},
		{"line break in octets", `{"text":"a","bytes":"AA\nAA"}`, &outer{}, mission.JSONInvalidValue, "bytes", ""},
		{"empty optional list", `{"text":"a","list":[]}`, &outer{}, mission.JSONInvalidValue, "list", ""},
		{"zero for an optional integer", `{"text":"a","count":0}`, &outer{}, mission.JSONInvalidValue, "count", ""},
		{"validated value", `{"goal":"a","sum":"sha-512:x"}`, &closed{}, mission.JSONInvalidValue, "sum", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := mission.Decode([]byte(c.text), c.dst)
			var je *mission.JSONError
			if !errors.As(err, &je) {
				t.Fatalf("got %v", err)
			}
			if je.Reason != c.reason || je.Path != c.path || je.Member != c.member {
				t.Errorf("got %s at %q, member %q", je.Reason, je.Path, je.Member)
			}
			if !errors.Is(err, mission.ErrJSON) {
				t.Error("not an ErrJSON")
			}
		})
	}
}

func TestDecodeLeavesTheTargetAloneOnFailure(t *testing.T) {
	v := closed{Goal: "before"}
	if err := mission.Decode([]byte(`{"goal":"after","x":1}`), &v); err == nil {
		t.Fatal("accepted")
	}
	if v.Goal != "before" {
		t.Errorf("target changed to %q", v.Goal)
	}
	if err := mission.Decode([]byte(`{}`), closed{}); err == nil {
		t.Error("decoded into a value")
	}
	if err := mission.Decode([]byte(`{}`), (*closed)(nil)); err == nil {
		t.Error("decoded into nil")
	}
}

func TestDecodeOpenIgnoresOnlyWhatIsNew(t *testing.T) {
	var v closed
	if err := mission.DecodeOpen([]byte(`{"goal":"a","new":{"x":1},"of":{"name":"b","new":1}}`), &v); err != nil {
		t.Fatal(err)
	}
	if v.Goal != "a" || v.Of.Name != "b" {
		t.Errorf("decoded %+v", v)
	}
	for _, text := range []string{`{"goal":"a","GOAL":"b"}`, `{"goal":"a","of":{"name":"b","Name":"c"}}`, `{"new":1}`} {
		if err := mission.DecodeOpen([]byte(text), &v); err == nil {
			t.Errorf("accepted %s", text)
		}
	}
}

func TestErrorsDoNotQuoteTheText(t *testing.T) {
	secret := "s3cret"
	for _, text := range []string{
		`{"goal":"a","` + secret + `":1}`,
		`{"goal":"a","` + secret + `":1,"` + secret + `":2}`,
		`{"goal":"a","sum":"` + secret + `"}`,
		`{"goal":"` + secret + "\xff" + `"}`,
	} {
		var v closed
		if err := mission.Decode([]byte(text), &v); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("error %v", err)
		}
	}
}

func TestMarshalRefuses(t *testing.T) {
	type embedded struct{ inner }
	for _, c := range []struct {
		name string
		v    any
	}{
		{"integer beyond 2^53-1", int64(mission.MaxInt + 1)},
		{"unsigned beyond 2^53-1", uint64(math.MaxUint64)},
		{"not a number", math.NaN()},
		{"infinite", math.Inf(1)},
		{"invalid UTF-8", "\xff"},
		{"noncharacter", "\ufdd0"},
		{"noncharacter as a name", map[string]any{"\ufffe": 1}},
		{"absent required pointer", struct {
			P *int `json:"p"`
		}{}},
		{"absent required raw", struct {
			R mission.Raw `json:"r"`
		}{}},
		{"field without a tag", struct{ A int }{}},
		{"embedded struct", embedded{}},
		{"channel", make(chan int)},
		{"name of the schema among the rest", outer{Text: "a", Rest: map[string]mission.Raw{"count": raw(`1`)}}},
		{"too large", strings.Repeat("x", mission.MaxJSON)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if b, err := mission.Marshal(c.v); err == nil {
				t.Errorf("gave %s", b)
			}
		})
	}
}

func raw(text string) mission.Raw {
	r, err := mission.ParseRaw([]byte(text))
	if err != nil {
		panic(err)
	}
	return r
}

func FuzzStrict(f *testing.F) {
	for _, c := range vectors(f, "canonical.json") {
		f.Add(c.Input.Bytes())
	}
	f.Add([]byte(`{"a":"\ud83d\ude00","b":[1e2,-0.5,true,null]}`))
	f.Add([]byte(`{"\ufb33":1,"\ud83d\ude00":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := mission.Canonical(data)
		if err != nil {
			return
		}
		if want, err := jcs.Transform(wrap(data)); err != nil || !bytes.Equal(want, wrap(got)) {
			t.Fatalf("%q\ngot  %s\nwant %s (%v)", data, got, want, err)
		}
		var v any
		if err := mission.Decode(data, &v); err != nil {
			t.Fatalf("Canonical accepts what Decode refuses: %v", err)
		}
		if again, err := mission.Marshal(v); err != nil || !bytes.Equal(again, got) {
			t.Fatalf("Marshal of Decode gives %s (%v), want %s", again, err, got)
		}
	})
}

func BenchmarkCanonical(b *testing.B) {
	doc, err := recordBytes()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mission.Canonical(doc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	doc, err := recordBytes()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		var r mission.Record
		if err := mission.Decode(doc, &r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMarshal(b *testing.B) {
	doc, err := recordBytes()
	if err != nil {
		b.Fatal(err)
	}
	var r mission.Record
	if err := mission.Decode(doc, &r); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mission.Marshal(&r); err != nil {
			b.Fatal(err)
		}
	}
}
