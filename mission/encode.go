package mission

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
)

var (
	errAbsent    = errors.New("mission: json: a required member is absent")
	errCollision = errors.New("mission: json: a member of the schema among the others")
	errNumber    = errors.New("mission: json: a number is not finite or beyond 2^53-1")
)

func appendAny(b []byte, v any) ([]byte, error) {
	if v == nil {
		return append(b, "null"...), nil
	}
	return appendValue(b, reflect.ValueOf(v))
}

func appendValue(b []byte, v reflect.Value) ([]byte, error) {
	if v.Type() == rawType {
		r := v.Interface().(Raw)
		if r.IsZero() {
			return nil, errAbsent
		}
		return append(b, r.b...), nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil, errAbsent
		}
		return appendValue(b, v.Elem())
	case reflect.String:
		if err := checkString(v.String()); err != nil {
			return nil, err
		}
		return appendString(b, v.String()), nil
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool()), nil
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Int16, reflect.Int8:
		if n := v.Int(); n >= -MaxInt && n <= MaxInt {
			return strconv.AppendInt(b, n, 10), nil
		}
		return nil, errNumber
	case reflect.Uint, reflect.Uint64, reflect.Uint32, reflect.Uint16, reflect.Uint8:
		if n := v.Uint(); n <= MaxInt {
			return strconv.AppendUint(b, n, 10), nil
		}
		return nil, errNumber
	case reflect.Float64:
		if f := v.Float(); math.Abs(f) <= MaxInt {
			return appendNumber(b, f), nil
		}
		return nil, errNumber
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return append(base64.RawURLEncoding.AppendEncode(append(b, '"'), v.Bytes()), '"'), nil
		}
		return appendList(b, v)
	case reflect.Map:
		return appendMap(b, v)
	case reflect.Struct:
		return appendStruct(b, v)
	case reflect.Interface:
		if v.NumMethod() == 0 {
			return appendAny(b, v.Interface())
		}
	}
	return nil, fmt.Errorf("mission: json: cannot encode %s", v.Type())
}

func appendList(b []byte, v reflect.Value) ([]byte, error) {
	b = append(b, '[')
	var err error
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendValue(b, v.Index(i)); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendMap(b []byte, v reflect.Value) ([]byte, error) {
	if v.Type().Key().Kind() != reflect.String {
		return nil, fmt.Errorf("mission: json: cannot encode %s", v.Type())
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(x, y reflect.Value) int { return compareUTF16(x.String(), y.String()) })
	b = append(b, '{')
	var err error
	for i, k := range keys {
		if err = checkString(k.String()); err != nil {
			return nil, err
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, k.String()), ':')
		if b, err = appendValue(b, v.MapIndex(k)); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func appendStruct(b []byte, v reflect.Value) ([]byte, error) {
	s, err := schemaOf(v.Type())
	if err != nil {
		return nil, err
	}
	var rest map[string]Raw
	if s.rest >= 0 {
		rest = v.Field(s.rest).Interface().(map[string]Raw)
	}
	others := slices.SortedFunc(maps.Keys(rest), compareUTF16)
	b = append(b, '{')
	start := len(b)
	for _, f := range s.fields {
		fv := v.Field(f.index)
		if f.optional && isEmpty(fv) {
			continue
		}
		for len(others) > 0 && compareUTF16(others[0], f.name) < 0 {
			if b, err = appendOther(b, start, others[0], rest); err != nil {
				return nil, err
			}
			others = others[1:]
		}
		b = appendName(b, start, f.name)
		if b, err = appendValue(b, fv); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	for _, name := range others {
		if b, err = appendOther(b, start, name, rest); err != nil {
			return nil, err
		}
	}
	if s.collides(rest) {
		return nil, errCollision
	}
	return append(b, '}'), nil
}

// appendName appends a member name of an object whose members begin at start.
func appendName(b []byte, start int, name string) []byte {
	if len(b) > start {
		b = append(b, ',')
	}
	return append(appendString(b, name), ':')
}

func appendOther(b []byte, start int, name string, rest map[string]Raw) ([]byte, error) {
	if err := checkString(name); err != nil {
		return nil, err
	}
	return appendValue(appendName(b, start, name), reflect.ValueOf(rest[name]))
}

// isEmpty says when an optional member is left out: nil, zero, false, "", and lists and maps without elements.
func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Struct:
		z, ok := v.Interface().(interface{ IsZero() bool })
		return ok && z.IsZero()
	}
	return v.IsZero()
}
