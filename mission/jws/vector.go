package jws

import (
	"time"

	"github.com/mission-authority/mas/mission"
)

// EvaluateVector computes the result of one conformance vector of the kinds status-response and jws-encoding (the
// vectors' README says what each means). known is false for other kinds; the error means a malformed input.
func EvaluateVector(kind string, input mission.Raw) (result mission.Raw, known bool, err error) {
	var out any
	switch kind {
	case "status-response":
		out, err = vectorStatus(input)
	case "jws-encoding":
		out, err = vectorEncoding(input)
	default:
		return mission.Raw{}, false, nil
	}
	if err != nil {
		return mission.Raw{}, true, err
	}
	result, err = mission.RawOf(out)
	return result, true, err
}

func vectorStatus(input mission.Raw) (any, error) {
	var in struct {
		JWS     string      `json:"jws"`
		JWKS    mission.Raw `json:"jwks"`
		Context struct {
			Now       int64      `json:"now"`
			Issuer    string     `json:"expected_iss"`
			Audience  string     `json:"own_aud"`
			Requester string     `json:"own_client"`
			Nonce     string     `json:"sent_nonce"`
			MissionID mission.ID `json:"requested_mission_id"`
			Algs      []string   `json:"allowed_algs"`
		} `json:"context"`
	}
	if err := mission.DecodeOpen(input.Bytes(), &in); err != nil {
		return nil, err
	}
	keys, err := ParseKeySet(in.JWKS.Bytes())
	if err != nil {
		return nil, err
	}
	_, verdict := CheckStatus(in.JWS, keys, mission.StatusContext{
		At:             time.Unix(in.Context.Now, 0),
		Issuer:         in.Context.Issuer,
		Audience:       in.Context.Audience,
		Requester:      in.Context.Requester,
		Nonce:          in.Context.Nonce,
		MissionID:      in.Context.MissionID,
		Algs:           in.Context.Algs,
		Skew:           mission.MaxSkew,
		FreshTolerance: mission.MaxSkew,
	})
	return verdict, nil
}

// vectorEncoding accepts a JWS of any typ of the table whose compact form is canonical.
func vectorEncoding(input mission.Raw) (any, error) {
	var in struct {
		JWS string `json:"jws"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	for _, typ := range Types {
		if _, err := Parse(in.JWS, typ); err == nil {
			return "accept", nil
		}
	}
	return "reject", nil
}
