package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"iter"
	"net/http"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/registry"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
)

// The registration policy: public to read, changed by two administrators.

type (
	// policyView is the answer of GET /v1/registration-policy.
	policyView struct {
		Issuer       string           `json:"issuer"`
		PolicyNumber int64            `json:"policy_number"`
		Producers    []producerView   `json:"producers"` // besides the issuer
		Anchors      anchorsView      `json:"trust_anchors"`
		Documents    []policyDocument `json:"documents"` // that the admission rests on, in log order
	}
	producerView struct {
		Issuer   string      `json:"issuer"`
		KID      string      `json:"kid,omitempty"` // of the statements, in hexadecimal
		JWK      mission.Raw `json:"jwk"`
		Types    []string    `json:"types"`
		Subjects []string    `json:"subjects,omitempty"`
	}
	anchorsView struct {
		Number       int64    `json:"number"`
		LogKeys      []string `json:"log_keys"`      // signed-note verifier keys
		ReceiptKeys  string   `json:"receipt_keys"`  // base64url of a COSE_KeySet
		EvidenceKeys string   `json:"evidence_keys"` // base64url of a COSE_KeySet
	}
	policyDocument struct {
		ContentType string         `json:"content_type"`
		Number      int64          `json:"number"`
		Digest      mission.Digest `json:"digest"`
		EntryID     string         `json:"entry_id"`
		LeafIndex   int64          `json:"leaf_index"`
	}

	// policyEdit is the body of a proposal: producers, or trust anchors.
	policyEdit struct {
		Add     []producerView `json:"add,omitempty"`
		Remove  []string       `json:"remove,omitempty"` // kids in hexadecimal
		Anchors *struct {
			LogKeys      []string `json:"log_keys"`
			ReceiptKeys  string   `json:"receipt_keys"`
			EvidenceKeys string   `json:"evidence_keys"`
		} `json:"trust_anchors,omitempty"`
	}
	// policyProposal is what another administrator is asked to confirm.
	policyProposal struct {
		ID         string         `json:"id"`
		ProposedBy string         `json:"proposed_by"`
		ExpiresAt  string         `json:"expires_at"`
		Number     int64          `json:"number"`
		Producers  []producerView `json:"producers,omitempty"`
		Anchors    *anchorsView   `json:"trust_anchors,omitempty"`
	}
	// policyConfirmation says which document is confirmed.
	policyConfirmation struct {
		Number int64 `json:"number"`
	}
	policyProposals struct {
		Proposals []policyProposal `json:"proposals"`
	}
)

// getPolicy serves the policy in force.
func (a *API) getPolicy(*call) (reply, error) {
	admission, documents := a.config.Registry.Policy()
	number, _ := admission.PolicyInForce()
	anchors, err := viewAnchors(admission.Anchors())
	if err != nil {
		return reply{}, err
	}
	out := policyView{Issuer: a.config.Issuer, PolicyNumber: int64(number), Anchors: *anchors}
	if out.Producers, err = viewProducers(admission.Producers()); err != nil {
		return reply{}, err
	}
	for _, d := range documents {
		out.Documents = append(out.Documents, policyDocument{ContentType: d.ContentType, Number: int64(d.Number),
			Digest: digestText(d.Digest), EntryID: d.EntryID, LeafIndex: int64(d.Index)})
	}
	return tagged(reply{contentType: mediaJSON, body: a.json(out),
		header: http.Header{"Cache-Control": {"public, max-age=60"}}}), nil
}

func digestText(h ledger.Hash) mission.Digest {
	return mission.Digest("sha-256:" + base64.RawURLEncoding.EncodeToString(h[:]))
}

// getPolicyDocument serves a public body by its digest.
func (a *API) getPolicyDocument(c *call) (reply, error) {
	digest, err := mission.ParseDigest(c.param("digest"))
	if err != nil {
		return reply{}, errNotFound
	}
	_, documents := a.config.Registry.Policy()
	for _, d := range documents {
		if d.Digest != ledger.Hash(digest.Bytes()) {
			continue
		}
		v, err := a.view()
		if err != nil {
			return reply{}, err
		}
		defer v.Close()
		body, err := v.Body(d.Digest)
		if err != nil {
			return reply{}, logError(err)
		}
		return tagged(reply{contentType: d.ContentType, body: body,
			header: http.Header{"Cache-Control": {immutable}}}), nil
	}
	return reply{}, errNotFound
}

// getProposals lists what waits for a second administrator.
func (a *API) getProposals(*call) (reply, error) {
	out := policyProposals{Proposals: []policyProposal{}}
	for _, p := range a.config.Registry.Proposals() {
		view, err := viewProposal(p)
		if err != nil {
			return reply{}, err
		}
		out.Proposals = append(out.Proposals, view)
	}
	return reply{contentType: mediaJSON, body: a.json(out)}, nil
}

// postProposal takes the order of a first administrator.
func (a *API) postProposal(c *call) (reply, error) {
	var in policyEdit
	if err := decode(c.body, &in); err != nil {
		return reply{}, err
	}
	edit, err := in.read()
	if err != nil {
		return reply{}, err
	}
	p, err := a.config.Registry.Propose(c.caller.ID, edit)
	if err != nil {
		return reply{}, orderError(err)
	}
	view, err := viewProposal(p)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusCreated, contentType: mediaJSON, body: a.json(view)}, nil
}

// postConfirmation takes the order of a second administrator and registers the document.
func (a *API) postConfirmation(c *call) (reply, error) {
	var in policyConfirmation
	if err := decode(c.body, &in); err != nil {
		return reply{}, err
	}
	if in.Number <= 0 {
		return reply{}, malformed("number")
	}
	r, err := a.config.Registry.Confirm(c.ctx, c.caller.ID, c.param("id"), uint64(in.Number))
	if err != nil {
		return reply{}, orderError(err)
	}
	return reply{status: http.StatusCreated, contentType: mediaJSON, body: a.json(a.evidenceResult(r)),
		header: http.Header{"Location": {a.entryPath(r.EntryID)}}}, nil
}

var orderErrors = []struct {
	err  error
	told *authority.Error
}{
	{registry.ErrNoProposal, errNotFound},
	{registry.ErrSameAdmin, &authority.Error{Kind: authority.Forbidden, Code: "second_administrator_required",
		Description: "the proposal needs another administrator"}},
	{registry.ErrStale, &authority.Error{Kind: authority.Conflict, Code: "policy_changed",
		Description: "the policy changed since the proposal"}},
	{registry.ErrEdit, &authority.Error{Kind: authority.Invalid, Code: "invalid_policy",
		Description: "the change is not one that can be made"}},
	{registry.ErrProposals, &authority.Error{Kind: authority.Conflict, Code: "too_many_proposals",
		Description: "too many proposals are open"}},
}

func orderError(err error) error {
	for _, known := range orderErrors {
		if errors.Is(err, known.err) {
			told := *known.told
			told.Err = err
			return &malformedRequest{&told}
		}
	}
	return registrationError(err)
}

// read turns a proposal into an edit.
func (in *policyEdit) read() (e registry.Edit, err error) {
	for _, p := range in.Add {
		public, _, err := jws.ParsePublicKey(p.JWK.Bytes())
		if err != nil {
			return e, malformed("jwk")
		}
		key, err := ledger.NewKey(public)
		if err != nil || p.KID != "" && p.KID != hex.EncodeToString(key.ID) {
			return e, malformed("jwk")
		}
		e.Add = append(e.Add, ledger.Producer{Issuer: p.Issuer, Key: key, Types: p.Types, Subjects: p.Subjects})
	}
	for _, kid := range in.Remove {
		id, err := hex.DecodeString(kid)
		if err != nil {
			return e, malformed("remove")
		}
		e.Remove = append(e.Remove, id)
	}
	if in.Anchors == nil {
		return e, nil
	}
	e.Anchors = &ledger.TrustAnchors{LogKeys: in.Anchors.LogKeys}
	for _, set := range []struct {
		text string
		keys *ledger.KeySet
		name string
	}{
		{in.Anchors.ReceiptKeys, &e.Anchors.ReceiptKeys, "receipt_keys"},
		{in.Anchors.EvidenceKeys, &e.Anchors.EvidenceKeys, "evidence_keys"},
	} {
		encoded, err := decodeBase64(set.text)
		if err == nil {
			*set.keys, err = ledger.ParseKeySet(encoded)
		}
		if err != nil {
			return e, malformed(set.name)
		}
	}
	return e, nil
}

func viewProposal(p registry.Proposal) (out policyProposal, err error) {
	out = policyProposal{ID: p.ID, ProposedBy: p.By, ExpiresAt: mission.FormatTime(p.Until)}
	if p.Policy != nil {
		out.Number = int64(p.Policy.Number)
		out.Producers, err = viewProducers(p.Policy.Producers)
		return out, err
	}
	out.Number = int64(p.Anchors.Number)
	out.Anchors, err = viewAnchors(*p.Anchors)
	return out, err
}

func viewProducers(list []ledger.Producer) ([]producerView, error) {
	out := make([]producerView, 0, len(list))
	for _, p := range list {
		kid := hex.EncodeToString(p.Key.ID)
		text, err := jws.MarshalPublicKey(kid, p.Key.Public)
		if err != nil {
			return nil, err
		}
		jwk, err := mission.ParseRaw(text)
		if err != nil {
			return nil, err
		}
		out = append(out, producerView{Issuer: p.Issuer, KID: kid, JWK: jwk, Types: p.Types, Subjects: p.Subjects})
	}
	return out, nil
}

func viewAnchors(t ledger.TrustAnchors) (*anchorsView, error) {
	receipts, err := ledger.MarshalKeySet(t.ReceiptKeys)
	if err != nil {
		return nil, err
	}
	evidence, err := ledger.MarshalKeySet(t.EvidenceKeys)
	if err != nil {
		return nil, err
	}
	return &anchorsView{Number: int64(t.Number), LogKeys: t.LogKeys, ReceiptKeys: encodeBase64(receipts),
		EvidenceKeys: encodeBase64(evidence)}, nil
}

func encodeBase64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// decodeBase64 reads base64url without padding, in its one encoding.
func decodeBase64(s string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(s) }

// splitLines yields the lines of NDJSON that are not empty.
func splitLines(body []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for line := range bytes.Lines(body) {
			if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 && !yield(line) {
				return
			}
		}
	}
}
