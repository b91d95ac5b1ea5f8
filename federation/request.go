package federation

import (
	"errors"
	"fmt"

	"github.com/mission-authority/mas/mission"
)

// Limits of request bodies, in octets.
const (
	MaxRequest     = 64 << 10
	MaxMintRequest = 256 << 10
)

// An IntroductionRequest is what a Mission's own client asks its own domain for: to be introduced to one peer.
type IntroductionRequest struct {
	RequestID string     `json:"request_id"` // idempotency: 1 to 255 visible ASCII characters
	MissionID mission.ID `json:"mission_id"`
	Peer      string     `json:"peer"` // issuer
}

// An Introduction is the answer: a single-use secret that only the named peer can use, and only for this Mission. The
// client hands it to its counterpart there.
type Introduction struct {
	Introduction string `json:"introduction"` // "int_" and 32 base64url characters
	ExpiresAt    string `json:"expires_at"`
}

// NewIntroduction returns a fresh introduction secret.
func NewIntroduction() string { return newName("int_", 24) }

// A ProjectionRequest is what a receiver asks the origin for.
type ProjectionRequest struct {
	RequestID    string               `json:"request_id"`
	Mission      mission.Reference    `json:"mission"`
	Audience     string               `json:"audience"` // the peer's issuer
	Nonce        string               `json:"nonce"`
	ClientID     string               `json:"client_id"` // the holder's id at the receiver
	Confirmation Confirmation         `json:"cnf"`
	Introduction string               `json:"introduction"`
	Agreement    mission.AgreementRef `json:"agreement"`
	Shape        string               `json:"shape"`                        // projection or local_mission
	Disclosure   string               `json:"purpose_disclosure,omitempty"` // at most; default none
}

// A MintRequest is what a client of the receiving domain asks it for: a local Mission from an introduced one.
type MintRequest struct {
	CreationRequestID string          `json:"creation_request_id"`
	Introduction      IntroducedBy    `json:"introduction"`
	Proposed          []mission.Entry `json:"proposed_authorization"`
	LocalClient       string          `json:"local_client"` // who will hold it: the client that asks
	ExpiresAt         string          `json:"expires_at"`   // requested; RFC 3339
	PurposeSummary    string          `json:"purpose_summary,omitempty"`
}

// IntroducedBy is the introduction as its counterpart handed it over.
type IntroducedBy struct {
	Issuer       string     `json:"issuer"`
	MissionID    mission.ID `json:"mission_id"`
	Introduction string     `json:"introduction"`
}

// ParseIntroductionRequest reads the body. Errors are *Refusal with code invalid_request.
func ParseIntroductionRequest(body []byte) (*IntroductionRequest, error) {
	return parseRequest[IntroductionRequest](body, MaxRequest)
}

// ParseProjectionRequest reads the body. Errors are *Refusal with code invalid_request.
func ParseProjectionRequest(body []byte) (*ProjectionRequest, error) {
	return parseRequest[ProjectionRequest](body, MaxRequest)
}

// ParseMintRequest reads the body. Errors are *Refusal with code invalid_request.
func ParseMintRequest(body []byte) (*MintRequest, error) {
	return parseRequest[MintRequest](body, MaxMintRequest)
}

func parseRequest[T any](body []byte, limit int) (*T, error) {
	if len(body) > limit {
		return nil, refuse(CodeInvalidRequest, ReasonTooLarge, nil)
	}
	var r T
	if err := mission.Decode(body, &r); err != nil {
		reason := ReasonMalformed
		if je, ok := errors.AsType[*mission.JSONError](err); ok && je.Reason == mission.JSONDuplicateMember {
			reason = mission.JSONDuplicateMember
		}
		return nil, refuse(CodeInvalidRequest, reason, err)
	}
	return &r, nil
}

// Validate checks the request. Decode calls it.
func (r *IntroductionRequest) Validate() error {
	if err := checkVisible("request_id", r.RequestID, maxRequestID); err != nil {
		return err
	}
	return checkIssuer(r.Peer)
}

// Validate checks the request. Decode calls it.
func (r *ProjectionRequest) Validate() error {
	if err := checkVisible("request_id", r.RequestID, maxRequestID); err != nil {
		return err
	}
	if checkIssuer(r.Mission.Issuer) != nil || checkIssuer(r.Audience) != nil {
		return errors.New("mission.issuer or audience is not an issuer")
	}
	if err := r.Mission.ID.Validate(); err != nil {
		return err
	}
	if err := checkOpaque("nonce", r.Nonce, 22, maxNonce); err != nil {
		return err
	}
	if err := checkVisible("client_id", r.ClientID, 128); err != nil {
		return err
	}
	if !isName(r.Introduction, "int_", 32) {
		return errors.New("introduction is not int_ and 32 base64url characters")
	}
	if r.Disclosure != "" && disclosureRank(r.Disclosure) < 0 {
		return errors.New("purpose_disclosure is not none, category or summary")
	}
	return checkSet("shape", []string{r.Shape}, 1, 1, mission.ShapeProjection, mission.ShapeLocalMission)
}

// Validate checks the request. Decode calls it.
func (r *MintRequest) Validate() error {
	if err := checkVisible("creation_request_id", r.CreationRequestID, maxRequestID); err != nil {
		return err
	}
	if n := len(r.Proposed); n < 1 || n > mission.MaxEntries {
		return fmt.Errorf("%d proposed entries", n)
	}
	if err := checkVisible("local_client", r.LocalClient, 128); err != nil {
		return err
	}
	if _, err := mission.ParseTime(r.ExpiresAt); err != nil {
		return fmt.Errorf("expires_at: %w", err)
	}
	if r.PurposeSummary != "" && Sanitise(r.PurposeSummary) != r.PurposeSummary {
		return errors.New("purpose_summary is not one harmless line")
	}
	return nil
}

// Validate checks the introduction. Decode calls it.
func (i *IntroducedBy) Validate() error {
	if err := checkIssuer(i.Issuer); err != nil {
		return err
	}
	if !isName(i.Introduction, "int_", 32) {
		return errors.New("introduction is not int_ and 32 base64url characters")
	}
	return nil
}
