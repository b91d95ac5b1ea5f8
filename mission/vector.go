package mission

// EvaluateVector computes the result of one conformance vector of the kinds jcs-number, jcs-lexeme, strict-json,
// rfc3339, decimal, envelope, object, raw, subset, prefix, mission-reference, mission-reference-line and freshness.
// known is false for other kinds. The kinds with signatures are package jws's.
func EvaluateVector(kind string, input Raw) (result Raw, known bool, err error) { panic("not yet") }
