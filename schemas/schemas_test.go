package schemas

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Every schema has at least one valid and one invalid example: testdata/{valid,invalid}/<schema>.<what>.json.
func TestExamples(t *testing.T) {
	counts := map[string]int{}
	for _, kind := range []string{"valid", "invalid"} {
		matches, err := fs.Glob(os.DirFS("testdata"), kind+"/*.json")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range matches {
			doc, err := os.ReadFile("testdata/" + file)
			if err != nil {
				t.Fatal(err)
			}
			name, _, _ := strings.Cut(path.Base(file), ".")
			counts[kind+" "+name]++
			err = Validate(name, doc)
			switch {
			case kind == "valid" && err != nil:
				t.Errorf("%s: %v", file, err)
			case kind == "invalid" && !errors.Is(err, ErrInvalid):
				t.Errorf("%s: error %v, want ErrInvalid", file, err)
			}
		}
	}
	for _, name := range Names() {
		for _, kind := range []string{"valid", "invalid"} {
			if counts[kind+" "+name] == 0 {
				t.Errorf("%s has no %s example", name, kind)
			}
			delete(counts, kind+" "+name)
		}
	}
	for left := range counts {
		t.Errorf("examples without a schema: %s", left)
	}
}

// A schema says where it belongs and what it describes.
func TestSchemasDescribeThemselves(t *testing.T) {
	for _, name := range append(Names(), shared) {
		source, err := Source(name)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(source))
		if err != nil {
			t.Fatal(err)
		}
		m, _ := doc.(map[string]any)
		if m["$id"] != prefix+name || m["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
			t.Errorf("%s: $id %v, $schema %v", name, m["$id"], m["$schema"])
		}
		if s, _ := m["description"].(string); s == "" {
			t.Errorf("%s has no description", name)
		}
	}
}

func TestNothingIsFetched(t *testing.T) {
	c := jsonschema.NewCompiler()
	c.UseLoader(nothing{})
	if err := c.AddResource("https://x.invalid/a", map[string]any{"$ref": "https://127.0.0.1/b"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Compile("https://x.invalid/a"); err == nil {
		t.Error("a remote reference compiled")
	}
	for _, url := range []string{"file:///etc/passwd", "https://127.0.0.1/x", "http://json-schema.org/schema"} {
		if _, err := (nothing{}).Load(url); err == nil {
			t.Errorf("%s was loaded", url)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	if err := Validate("no-such", []byte("{}")); !errors.Is(err, ErrUnknown) {
		t.Errorf("unknown schema: %v", err)
	}
	for _, doc := range []string{"", "{", "{} {}", "nul"} {
		if err := Validate("trust", []byte(doc)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", doc, err)
		}
	}
	// The message names the place, never the content.
	err := Validate("trust", []byte(`{"secret-name":"secret-value"}`))
	if !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "secret-value") {
		t.Errorf("error %v", err)
	}
}
