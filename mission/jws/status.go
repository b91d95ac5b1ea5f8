package jws

import (
	"errors"

	"github.com/mission-authority/mas/mission"
)

// CheckStatus makes all checks of a status response, in the order of mission.Verdict: those of the JWS here, those of
// its claims in mission.CheckStatus. The Status is returned when the verdict is Authentic.
func CheckStatus(compact string, keys *KeySet, c mission.StatusContext) (*mission.Status, mission.Verdict) {
	if len(c.Algs) == 0 {
		return nil, mission.RejectAlg
	}
	t, err := Open(compact, TypStatus, keys, c.Algs...)
	switch {
	case errors.Is(err, ErrTyp):
		return nil, mission.RejectTyp
	case errors.Is(err, ErrAlg):
		return nil, mission.RejectAlg
	case errors.Is(err, ErrSignature):
		return nil, mission.RejectSignature
	case err != nil:
		return nil, mission.RejectEncoding
	}
	return mission.CheckStatus(t.Payload, c)
}
