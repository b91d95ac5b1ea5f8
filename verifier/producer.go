package verifier

import (
	"fmt"
	"slices"

	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// A Producer is a component that registers evidence of its own: a policy decision or enforcement point, an execution
// environment, a receipt issuer.
type Producer struct {
	Issuer    string      // of its statements
	Types     []string    // content types that it may produce; ledger.AnyType alone: all
	Audiences []string    // that its records may be about; empty: all
	Keys      *jws.KeySet // of the signatures inside its records
	Evidence  KeyRing     // of its statements
}

type producerJSON struct {
	Issuer    string      `json:"issuer"`
	Types     []string    `json:"types"`
	Audiences []string    `json:"audiences,omitempty"`
	Keys      mission.Raw `json:"jwks"`
	Evidence  []keyJSON   `json:"evidence_keys"`
}

const maxProducers = 256

// Producer returns what the trust document says about the producer with this statement issuer.
func (t *Trust) Producer(issuer string) (*Producer, bool) {
	i := slices.IndexFunc(t.Producers, func(p Producer) bool { return p.Issuer == issuer })
	if i < 0 {
		return nil, false
	}
	return &t.Producers[i], true
}

func (t *Trust) parseProducers(list []producerJSON) error {
	if len(list) > maxProducers {
		return fmt.Errorf("%w: too many producers", ErrTrust)
	}
	for _, j := range list {
		p := Producer{Issuer: j.Issuer, Types: j.Types, Audiences: j.Audiences}
		_, domain := t.Domain(j.Issuer)
		_, twice := t.Producer(j.Issuer)
		if domain || twice || j.Issuer == "" || len(j.Types) == 0 {
			return fmt.Errorf("%w: producer %.200q", ErrTrust, j.Issuer)
		}
		var err error
		if p.Keys, err = jws.ParseKeySet(j.Keys.Bytes()); err != nil {
			return fmt.Errorf("%w: producer jwks: %w", ErrTrust, err)
		}
		if p.Evidence, err = parseRing(j.Evidence); err != nil {
			return fmt.Errorf("%w: producer evidence_keys: %w", ErrTrust, err)
		}
		t.Producers = append(t.Producers, p)
	}
	return nil
}

func (p *Producer) json() (producerJSON, error) {
	j := producerJSON{Issuer: p.Issuer, Types: p.Types, Audiences: p.Audiences}
	var err error
	if j.Keys, err = keySetJSON(p.Keys); err != nil {
		return j, err
	}
	j.Evidence, err = p.Evidence.json()
	return j, err
}

// statementKeys are the keys that sign statements of an issuer: a domain's or a producer's.
func (t *Trust) statementKeys(issuer string) (KeyRing, bool) {
	if domain, ok := t.Domain(issuer); ok {
		return domain.Evidence, true
	}
	if p, ok := t.Producer(issuer); ok {
		return p.Evidence, true
	}
	return nil, false
}

// recordKeys are the keys that sign inside the records of an issuer.
func (t *Trust) recordKeys(issuer string) *jws.KeySet {
	if domain, ok := t.Domain(issuer); ok {
		return domain.Keys
	}
	if p, ok := t.Producer(issuer); ok {
		return p.Keys
	}
	return nil
}
