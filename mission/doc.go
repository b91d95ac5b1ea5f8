// Package mission holds the values of delegated authority and the rules over them: strict JSON and its canonical form,
// integrity anchors, Mission Intents, Authority Set entries with their subset and meet, the Mission record, its
// lifecycle as a pure function, the Effective Authority Set, the Consent Disclosure and the status response.
//
// The package is pure: bytes in, values out. It does no I/O, reads no clock (time is always an argument `at`), logs
// nothing and starts no goroutine; only the New…ID functions draw random bytes. It decides nothing about who may act:
// that is the state owner's (package authority).
//
// # JSON
//
// Whatever is received, hashed or signed passes through this package once:
//
//	CheckStrict  is the text acceptable at all?          Canonical  strict parse, then RFC 8785 bytes
//	Decode       strict parse into a typed value         Marshal    canonical bytes of a typed value
//	DecodeOpen   the same, unknown members ignored       Raw        a member kept as canonical bytes
//
// A struct is a closed schema: members are named by `json:"name"` tags, unknown and miscased members are refused, a
// member without `omitempty` is REQUIRED, null is never accepted for a typed member, integers are exact, and a type
// with a Validate() error method is validated as part of decoding. []byte is canonical base64url without padding;
// time.Time, embedded structs and interfaces other than any are not supported.
//
// # Authority
//
// ParseEntries reads an Authority Set, a proposal or a ceiling. Subset answers "is the candidate no broader than the
// reference" and refuses what it cannot compare; Meet is the widest entry below both of its arguments; Derive narrows a
// proposal to a ceiling. All three are conservative: what they do not understand is never inside.
//
// # State
//
// A Record is immutable. A Standing is the small versioned row beside it. Due says whether the clock alone has moved a
// Standing; Next applies one Transition; Effective and EffectiveSet say what may be relied on at an instant. Only
// Active without a Hold may be relied on, and at the instant of expiry it is over.
package mission
