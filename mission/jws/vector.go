package jws

import "github.com/mission-authority/mas/mission"

// EvaluateVector computes the result of one conformance vector of the kinds status-response and jws-encoding. known is
// false for other kinds.
func EvaluateVector(kind string, input mission.Raw) (result mission.Raw, known bool, err error) {
	panic("not yet")
}
