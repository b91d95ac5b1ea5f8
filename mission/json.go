package mission

import "bytes"

// Limits of every JSON text.
const (
	MaxJSON  = 1 << 20 // octets
	MaxDepth = 64      // nested objects and arrays
	MaxInt   = 1<<53 - 1
)

// CheckStrict returns nil if data is one acceptable JSON text: RFC 8259 without duplicate names (after unescaping),
// byte order mark, trailing data, invalid UTF-8, lone surrogates, noncharacters, numbers beyond 2^53-1, more than
// MaxDepth levels or MaxJSON octets. Names that differ only in case are distinct. Errors are *JSONError.
func CheckStrict(data []byte) error {
	_, err := parse(data)
	return err
}

// Canonical returns the RFC 8785 form of an acceptable JSON text.
func Canonical(data []byte) ([]byte, error) {
	v, err := parse(data)
	if err != nil {
		return nil, err
	}
	return v.appendCanonical(make([]byte, 0, len(data))), nil
}

// Marshal returns the canonical JSON of a Go value (see the package comment for what is supported).
func Marshal(v any) ([]byte, error) {
	b, err := appendAny(nil, v)
	if err == nil && len(b) > MaxJSON {
		return nil, &JSONError{Reason: JSONTooLarge, Offset: -1}
	}
	return b, err
}

// Decode reads an acceptable JSON text into *dst, a pointer. dst is assigned only on success. Errors are *JSONError,
// except for a dst of unsupported type. What Decode accepts, Marshal gives back as Canonical of the same text.
func Decode(data []byte, dst any) error {
	v, err := parse(data)
	if err != nil {
		return err
	}
	return v.decodeInto(dst, false)
}

// DecodeOpen is Decode for documents that others may extend: unknown members are ignored at every level and optional
// members may be empty; miscased spellings of known members are still refused.
func DecodeOpen(data []byte, dst any) error {
	v, err := parse(data)
	if err != nil {
		return err
	}
	return v.decodeInto(dst, true)
}

// Raw is a JSON value kept as its canonical bytes. The zero Raw is absent. It can only be made by parsing, so Marshal
// can trust it.
type Raw struct{ b []byte }

// ParseRaw reads an acceptable JSON text.
func ParseRaw(data []byte) (Raw, error) {
	b, err := Canonical(data)
	return Raw{b}, err
}

// RawOf marshals v.
func RawOf(v any) (Raw, error) {
	b, err := Marshal(v)
	return Raw{b}, err
}

// Bytes returns the canonical bytes; they must not be modified.
func (r Raw) Bytes() []byte { return r.b }

// IsZero reports whether r is absent.
func (r Raw) IsZero() bool { return len(r.b) == 0 }

// Equal reports whether both are the same value.
func (r Raw) Equal(o Raw) bool { return bytes.Equal(r.b, o.b) }

// Decode is the package's Decode of r.
func (r Raw) Decode(dst any) error { return Decode(r.b, dst) }
