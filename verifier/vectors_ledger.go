package verifier

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// hexBytes is a lowercase hex string of a vector.
type hexBytes string

func (h hexBytes) bytes() ([]byte, error) { return hex.DecodeString(string(h)) }

func (h hexBytes) hash() (ledger.Hash, error) { return ledger.ParseEntryID(string(h)) }

func (h hexBytes) ed25519() (ed25519.PublicKey, error) {
	b, err := h.bytes()
	if err != nil || len(b) != ed25519.PublicKeySize {
		return nil, errors.New("not an Ed25519 public key")
	}
	return b, nil
}

const (
	accept = "accept"
	reject = "reject"
)

// evaluateLedger computes the vectors of kinds rfc6962-root, inclusion, consistency, cose-statement, cose-receipt, note
// and tlog-proof. An error means that the input is no vector; what a verifier refuses is the result "reject".
func evaluateLedger(kind string, input mission.Raw) (mission.Raw, bool, error) {
	f, known := map[string]func(mission.Raw) (any, error){
		"rfc6962-root":   evaluateRoot,
		"inclusion":      evaluateInclusion,
		"consistency":    evaluateConsistency,
		"cose-statement": evaluateStatement,
		"cose-receipt":   evaluateReceipt,
		"note":           evaluateNote,
		"tlog-proof":     evaluateProof,
	}[kind]
	if !known {
		return mission.Raw{}, false, nil
	}
	result, err := f(input)
	if err != nil {
		return mission.Raw{}, true, err
	}
	raw, err := mission.RawOf(result)
	return raw, true, err
}

func acceptIf(err error) string {
	if err != nil {
		return reject
	}
	return accept
}

func evaluateRoot(input mission.Raw) (any, error) {
	var in struct {
		Leaves []hexBytes `json:"leaf_inputs_hex"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	edge := ledger.NewEdge()
	for _, l := range in.Leaves {
		b, err := l.bytes()
		if err != nil {
			return nil, err
		}
		edge.Append(ledger.HashLeaf(b))
	}
	return edge.Root().String(), nil
}

func evaluateInclusion(input mission.Raw) (any, error) {
	var in struct {
		Leaf  hexBytes   `json:"leaf_input_hex"`
		Index uint64     `json:"index"`
		Size  uint64     `json:"size"`
		Path  []hexBytes `json:"path_hex"`
		Root  hexBytes   `json:"root_hex"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	leaf, err := in.Leaf.bytes()
	if err != nil {
		return nil, err
	}
	path, root, ok := hashes(in.Path, in.Root)
	if !ok {
		return reject, nil
	}
	return acceptIf(ledger.VerifyInclusion(ledger.HashLeaf(leaf), in.Index, in.Size, path, root[0])), nil
}

func evaluateConsistency(input mission.Raw) (any, error) {
	var in struct {
		Size1 uint64     `json:"size1"`
		Size2 uint64     `json:"size2"`
		Path  []hexBytes `json:"path_hex"`
		Root1 hexBytes   `json:"root1_hex"`
		Root2 hexBytes   `json:"root2_hex"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	path, roots, ok := hashes(in.Path, in.Root1, in.Root2)
	if !ok {
		return reject, nil
	}
	return acceptIf(ledger.VerifyConsistency(in.Size1, in.Size2, path, roots[0], roots[1])), nil
}

// hashes reads a path and other hashes; ok is false if one is not 32 octets.
func hashes(path []hexBytes, others ...hexBytes) (p, o []ledger.Hash, ok bool) {
	for _, list := range []struct {
		in  []hexBytes
		out *[]ledger.Hash
	}{{path, &p}, {others, &o}} {
		for _, h := range list.in {
			v, err := h.hash()
			if err != nil {
				return nil, nil, false
			}
			*list.out = append(*list.out, v)
		}
	}
	return p, o, true
}

func evaluateStatement(input mission.Raw) (any, error) {
	var in struct {
		Statement hexBytes `json:"statement_hex"`
		Public    hexBytes `json:"issuer_ed25519_pub_hex"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	raw, err := in.Statement.bytes()
	if err != nil {
		return nil, err
	}
	pub, err := in.Public.ed25519()
	if err != nil {
		return nil, err
	}
	s, err := ledger.ParseStatement(raw)
	if err != nil || s.Verify(pub) != nil {
		return reject, nil
	}
	return struct {
		Leaf string `json:"leaf_hash_hex"`
	}{s.Leaf().String()}, nil
}

func evaluateReceipt(input mission.Raw) (any, error) {
	var in struct {
		Receipt hexBytes `json:"receipt_hex"`
		Public  hexBytes `json:"ts_ed25519_pub_hex"`
		Leaf    hexBytes `json:"leaf_hash_hex"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	raw, err := in.Receipt.bytes()
	if err != nil {
		return nil, err
	}
	pub, err := in.Public.ed25519()
	if err != nil {
		return nil, err
	}
	leaf, err := in.Leaf.hash()
	if err != nil {
		return nil, err
	}
	r, err := ledger.ParseReceipt(raw)
	if err != nil {
		return reject, nil
	}
	_, err = r.Verify(leaf, pub)
	return acceptIf(err), nil
}

func evaluateNote(input mission.Raw) (any, error) {
	var in struct {
		Text   string `json:"text"`
		VKey   string `json:"vkey"`
		Origin string `json:"origin"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(in.VKey)
	if err != nil {
		return nil, errors.New("not a verifier key")
	}
	cp, err := ledger.OpenCheckpoint([]byte(in.Text), in.Origin, v)
	if err != nil {
		return reject, nil
	}
	return struct {
		Size uint64 `json:"size"`
		Root string `json:"root_hex"`
	}{cp.Size, cp.Root.String()}, nil
}

func evaluateProof(input mission.Raw) (any, error) {
	var in struct {
		Text   string   `json:"text"`
		VKey   string   `json:"vkey"`
		Origin string   `json:"origin"`
		Leaf   hexBytes `json:"leaf_hash_hex"`
	}
	if err := input.Decode(&in); err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(in.VKey)
	if err != nil {
		return nil, errors.New("not a verifier key")
	}
	leaf, err := in.Leaf.hash()
	if err != nil {
		return nil, err
	}
	p, err := ledger.ParseTLogProof([]byte(in.Text))
	if err != nil {
		return reject, nil
	}
	_, err = p.Verify(leaf, in.Origin, v)
	return acceptIf(err), nil
}
