// Package schemas carries a JSON Schema (draft 2020-12) for every JSON document that crosses the wire or is placed in
// a file by people, and checks documents against them.
//
// A schema states shape: members, types, patterns, sizes. It does not replace the decoders, which also refuse
// duplicate names, misspelt case, numbers without an exact value and text that is not Unicode, and which enforce the
// rules between members. A document that a decoder accepts is valid here; the reverse need not hold.
//
// Validate a document only after its decoder has accepted it: a schema check bounds neither nesting nor numbers.
//
// Schemas are closed where the decoder is closed. References resolve only inside this package: nothing is ever
// fetched. Formats are asserted. A Schema is safe for concurrent use.
package schemas

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed *.schema.json
var files embed.FS

const (
	suffix = ".schema.json"
	shared = "defs" // definitions the others refer to; describes no document
	prefix = "https://mission-authority.invalid/schemas/"
)

// ErrUnknown reports a name that has no schema.
var ErrUnknown = errors.New("schemas: no such schema")

// ErrInvalid reports a document that does not match its schema.
var ErrInvalid = errors.New("schemas: document does not match")

// Names lists the schemas, sorted.
func Names() []string {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil // an embedded directory is always readable
	}
	var names []string
	for _, e := range entries {
		if name := strings.TrimSuffix(e.Name(), suffix); name != shared {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Source returns the schema document of a name.
func Source(name string) ([]byte, error) {
	b, err := files.ReadFile(name + suffix)
	if err != nil {
		return nil, fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	return b, nil
}

// Validate checks one JSON document against the schema of a name. The error wraps ErrInvalid and names the offending
// location and keyword, never a value of the document.
func Validate(name string, document []byte) error {
	set, err := compiled()
	if err != nil {
		return err
	}
	schema, ok := set[name]
	if !ok {
		return fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return fmt.Errorf("%w %s: not one JSON value", ErrInvalid, name)
	}
	if err := schema.Validate(value); err != nil {
		detail := "unknown"
		if verr, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
			detail = firstCause(verr)
		}
		return fmt.Errorf("%w %s: %s", ErrInvalid, name, detail)
	}
	return nil
}

// firstCause describes the first leaf of a validation error by location and keyword only.
func firstCause(err *jsonschema.ValidationError) string {
	for len(err.Causes) > 0 {
		err = err.Causes[0]
	}
	return fmt.Sprintf("at /%s: %s", strings.Join(err.InstanceLocation, "/"),
		strings.Join(err.ErrorKind.KeywordPath(), "/"))
}

var compiled = sync.OnceValues(compile)

func compile() (map[string]*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseLoader(nothing{})
	for _, name := range append(Names(), shared) {
		source, err := Source(name)
		if err != nil {
			return nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(source))
		if err != nil {
			return nil, fmt.Errorf("schemas: parsing %s: %w", name, err)
		}
		if err := c.AddResource(prefix+name, doc); err != nil {
			return nil, fmt.Errorf("schemas: adding %s: %w", name, err)
		}
	}
	set := make(map[string]*jsonschema.Schema)
	for _, name := range Names() {
		schema, err := c.Compile(prefix + name)
		if err != nil {
			return nil, fmt.Errorf("schemas: compiling %s: %w", name, err)
		}
		set[name] = schema
	}
	return set, nil
}

// nothing is the loader of references that lead outside the package.
type nothing struct{}

func (nothing) Load(url string) (any, error) {
	return nil, fmt.Errorf("schemas: reference to %s is not part of the package", url)
}
