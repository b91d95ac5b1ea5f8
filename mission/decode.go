package mission

import (
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

var errEmpty = errors.New("empty: leave the member out")

func (v *value) decodeInto(dst any, open bool) error {
	p := reflect.ValueOf(dst)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return fmt.Errorf("mission: json: cannot decode into %T", dst)
	}
	fresh := reflect.New(p.Type().Elem())
	if err := v.decode(fresh.Elem(), open); err != nil {
		return err
	}
	p.Elem().Set(fresh.Elem())
	return nil
}

func wrongType() error { return &JSONError{Reason: JSONWrongType, Offset: -1} }

// within puts a step of the path before that of a JSONError.
func within(step string, err error) error {
	var je *JSONError
	if !errors.As(err, &je) || err != error(je) {
		return err
	}
	if je.Path != "" && je.Path[0] != '[' {
		step += "."
	}
	je.Path = step + je.Path
	return je
}

func (v *value) decode(dst reflect.Value, open bool) error {
	if err := v.decodeShape(dst, open); err != nil {
		return err
	}
	if c, ok := dst.Addr().Interface().(validator); ok && dst.Kind() != reflect.Pointer {
		if err := c.Validate(); err != nil {
			return invalidValue(err)
		}
	}
	return nil
}

// invalidValue makes a JSONError of what a Validate method said, keeping the place a nested one found.
func invalidValue(err error) error {
	var je *JSONError
	if errors.As(err, &je) {
		return je
	}
	return &JSONError{Reason: JSONInvalidValue, Offset: -1, Err: err}
}

func (v *value) decodeShape(dst reflect.Value, open bool) error {
	if dst.Type() == rawType {
		dst.Set(reflect.ValueOf(Raw{v.appendCanonical(nil)}))
		return nil
	}
	switch dst.Kind() {
	case reflect.Pointer:
		p := reflect.New(dst.Type().Elem())
		if err := v.decode(p.Elem(), open); err != nil {
			return err
		}
		dst.Set(p)
		return nil
	case reflect.String:
		s, ok := v.text()
		if !ok {
			return wrongType()
		}
		dst.SetString(s)
		return nil
	case reflect.Bool:
		if v.kind != kindTrue && v.kind != kindFalse {
			return wrongType()
		}
		dst.SetBool(v.kind == kindTrue)
		return nil
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Int16, reflect.Int8:
		n, ok := v.integer()
		if !ok || dst.OverflowInt(n) {
			return wrongType()
		}
		dst.SetInt(n)
		return nil
	case reflect.Uint, reflect.Uint64, reflect.Uint32, reflect.Uint16, reflect.Uint8:
		n, ok := v.integer()
		if !ok || n < 0 || dst.OverflowUint(uint64(n)) {
			return wrongType()
		}
		dst.SetUint(uint64(n))
		return nil
	case reflect.Float64:
		if v.kind != kindNumber {
			return wrongType()
		}
		dst.SetFloat(v.num)
		return nil
	case reflect.Slice:
		if dst.Type().Elem().Kind() == reflect.Uint8 {
			return v.decodeOctets(dst)
		}
		return v.decodeList(dst, open)
	case reflect.Map:
		return v.decodeMap(dst, open)
	case reflect.Struct:
		return v.decodeStruct(dst, open)
	case reflect.Interface:
		if dst.NumMethod() == 0 {
			if a := v.any(); a != nil {
				dst.Set(reflect.ValueOf(a))
			}
			return nil
		}
	}
	return fmt.Errorf("mission: json: cannot decode into %s", dst.Type())
}

// decodeOctets reads canonical base64url without padding.
func (v *value) decodeOctets(dst reflect.Value) error {
	s, ok := v.text()
	if !ok {
		return wrongType()
	}
	b, err := decodeBase64(s)
	if err != nil {
		return &JSONError{Reason: JSONInvalidValue, Offset: -1, Err: err}
	}
	dst.SetBytes(b)
	return nil
}

var errBase64 = errors.New("mission: not canonical base64url")

// decodeBase64 accepts exactly what the encoder makes: no padding, line breaks or stray bits.
func decodeBase64(s string) ([]byte, error) {
	if !isIDText(s) {
		return nil, errBase64
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errBase64
	}
	return b, nil
}

func (v *value) decodeList(dst reflect.Value, open bool) error {
	if v.kind != kindArray {
		return wrongType()
	}
	list := reflect.MakeSlice(dst.Type(), len(v.members), len(v.members))
	for i := range v.members {
		if err := v.members[i].decode(list.Index(i), open); err != nil {
			return within("["+strconv.Itoa(i)+"]", err)
		}
	}
	dst.Set(list)
	return nil
}

func (v *value) decodeMap(dst reflect.Value, open bool) error {
	if dst.Type().Key().Kind() != reflect.String {
		return fmt.Errorf("mission: json: cannot decode into %s", dst.Type())
	}
	if v.kind != kindObject {
		return wrongType()
	}
	m := reflect.MakeMapWithSize(dst.Type(), len(v.members))
	for i := range v.members {
		e := reflect.New(dst.Type().Elem()).Elem()
		if err := v.members[i].decode(e, open); err != nil {
			return within("*", err)
		}
		m.SetMapIndex(reflect.ValueOf(v.members[i].name).Convert(dst.Type().Key()), e)
	}
	dst.Set(m)
	return nil
}

// decodeStruct walks the schema and the members, both in canonical order, side by side.
func (v *value) decodeStruct(dst reflect.Value, open bool) error {
	s, err := schemaOf(dst.Type())
	if err != nil {
		return err
	}
	if v.kind != kindObject {
		return wrongType()
	}
	rest := map[string]Raw{}
	i, j := 0, 0
	for i < len(s.fields) || j < len(v.members) {
		var order int
		switch {
		case i == len(s.fields):
			order = 1
		case j == len(v.members):
			order = -1
		default:
			order = compareUTF16(s.fields[i].name, v.members[j].name)
		}
		switch {
		case order < 0: // the field is absent
			if f := s.fields[i]; !f.optional {
				return &JSONError{Reason: JSONMissingMember, Offset: -1, Path: f.name, Member: f.name}
			}
			i++
		case order > 0: // the member is unknown
			m := &v.members[j]
			switch {
			case s.rest >= 0:
				rest[m.name] = Raw{m.appendCanonical(nil)}
			case !open || s.miscased(m.name):
				return unknownMember(m.name)
			}
			j++
		default:
			f := s.fields[i]
			if err := v.members[j].decodeField(dst.Field(f.index), f, open); err != nil {
				return within(f.name, err)
			}
			i, j = i+1, j+1
		}
	}
	if len(rest) > 0 {
		dst.Field(s.rest).Set(reflect.ValueOf(rest))
	}
	return nil
}

func (m *member) decodeField(dst reflect.Value, f field, open bool) error {
	if err := m.decode(dst, open); err != nil {
		return err
	}
	if f.optional && !open && isEmpty(dst) {
		return &JSONError{Reason: JSONInvalidValue, Offset: -1, Err: errEmpty}
	}
	return nil
}

func unknownMember(name string) error {
	return &JSONError{Reason: JSONUnknownMember, Offset: -1, Member: printable(name)}
}

func (s *schema) miscased(name string) bool {
	for _, f := range s.fields {
		if strings.EqualFold(f.name, name) {
			return true
		}
	}
	return false
}

// any returns nil, bool, float64, string, []any or map[string]any.
func (v *value) any() any {
	switch v.kind {
	case kindFalse, kindTrue:
		return v.kind == kindTrue
	case kindNumber:
		return v.num
	case kindString:
		return v.str
	case kindArray:
		list := make([]any, len(v.members))
		for i := range v.members {
			list[i] = v.members[i].any()
		}
		return list
	case kindObject:
		m := make(map[string]any, len(v.members))
		for i := range v.members {
			m[v.members[i].name] = v.members[i].any()
		}
		return m
	}
	return nil
}
