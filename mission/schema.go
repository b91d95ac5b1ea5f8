package mission

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// A schema is what a struct type says about its JSON object: its fields in canonical order.
type schema struct {
	fields []field
	rest   int // index of the map[string]Raw field that takes unknown members, or -1
}

type field struct {
	name     string
	index    int
	optional bool
}

var (
	rawType  = reflect.TypeFor[Raw]()
	restType = reflect.TypeFor[map[string]Raw]()
)

var schemas sync.Map // reflect.Type to *schema: derived from types alone

func schemaOf(t reflect.Type) (*schema, error) {
	if s, ok := schemas.Load(t); ok {
		return s.(*schema), nil
	}
	s := &schema{rest: -1}
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("json")
		name, option, _ := strings.Cut(tag, ",")
		if tag == ",rest" && f.Type == restType {
			s.rest = i
			continue
		}
		if !f.IsExported() || f.Anonymous || !tagged || name == "" || option != "" && option != "omitempty" {
			return nil, fmt.Errorf("mission: json: field %s of %s needs a plain json tag", f.Name, t)
		}
		s.fields = append(s.fields, field{name: name, index: i, optional: option != ""})
	}
	slices.SortFunc(s.fields, func(a, b field) int { return compareUTF16(a.name, b.name) })
	schemas.Store(t, s)
	return s, nil
}

type validator interface{ Validate() error }

// collides reports whether a name of the schema is among the members that go to the rest.
func (s *schema) collides(rest map[string]Raw) bool {
	for _, f := range s.fields {
		if _, ok := rest[f.name]; ok {
			return true
		}
	}
	return false
}
