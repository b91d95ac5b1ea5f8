package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// AnyType in Producer.Types admits every content type.
const AnyType = "*"

// A Producer is a rule of the registration policy: statements of this issuer, signed with this key, may have these
// content types.
type Producer struct {
	Issuer string // CWT iss of the statements
	Key    Key
	Types  []string // media types, or AnyType alone
	// Subjects say what the statements may be about: each is a kind of subject ("missions") or one subject of a kind
	// ("missions/msn_1"). Empty: missions. A genesis document has no such rules.
	Subjects []string
}

// allowsType reports whether p may register a media type.
func (p *Producer) allowsType(contentType string) bool {
	return slices.Contains(p.Types, AnyType) || slices.Contains(p.Types, contentType)
}

// allowsSubject reports whether p, who is not the issuer, may make statements about a subject.
func (p *Producer) allowsSubject(issuer, subject string) bool {
	kind, id, err := ParseSubject(issuer, subject)
	if err != nil {
		return false
	}
	if len(p.Subjects) == 0 {
		return kind == SubjectMissions
	}
	return slices.Contains(p.Subjects, string(kind)) || id != "" && slices.Contains(p.Subjects, string(kind)+"/"+id)
}

func compareProducers(a, b Producer) int { return bytes.Compare(a.Key.ID, b.Key.ID) }

// sortProducers returns producers in canonical order, with keys completed. The argument is not modified.
func sortProducers(producers []Producer) ([]Producer, error) {
	sorted := slices.Clone(producers)
	for i := range sorted {
		p := &sorted[i]
		p.Types = slices.Sorted(slices.Values(p.Types))
		p.Subjects = slices.Sorted(slices.Values(p.Subjects))
		k, err := NewKey(p.Key.Public)
		if err != nil {
			return nil, fmt.Errorf("producer: %w", err)
		}
		p.Key = k
	}
	slices.SortFunc(sorted, compareProducers)
	return sorted, nil
}

// appendProducer writes {"key": COSE_Key, "types": [+ text], "issuer": text, ? "subjects": [+ text]}.
func appendProducer(b []byte, p Producer) (_ []byte, err error) {
	pairs := uint64(3)
	if len(p.Subjects) > 0 {
		pairs++
	}
	b = appendItemHead(b, cborMap, pairs)
	if b, err = appendKeyParams(appendText(b, "key"), p.Key.Public, p.Key.ID); err != nil {
		return nil, fmt.Errorf("producer: %w", err)
	}
	b = appendTexts(appendText(b, "types"), p.Types)
	b = appendText(appendText(b, "issuer"), p.Issuer)
	if len(p.Subjects) > 0 {
		b = appendTexts(appendText(b, "subjects"), p.Subjects)
	}
	return b, nil
}

func appendTexts(b []byte, texts []string) []byte {
	b = appendItemHead(b, cborArray, uint64(len(texts)))
	for _, t := range texts {
		b = appendText(b, t)
	}
	return b
}

func (r *cborReader) producer() Producer {
	var p Producer
	pairs := r.mapOf(4)
	r.name("key")
	p.Key = r.coseKey()
	r.name("types")
	for range r.array(maxTypes) {
		p.Types = append(p.Types, r.text(maxMediaType))
	}
	r.name("issuer")
	p.Issuer = r.text(maxIssuer)
	switch {
	case r.err != nil || pairs == 3:
	case pairs == 4:
		r.name("subjects")
		for range r.array(maxSubjects) {
			p.Subjects = append(p.Subjects, r.text(maxClaim))
		}
		if r.err == nil && len(p.Subjects) == 0 {
			r.fail("empty subjects")
		}
	default:
		r.fail("producer of %d members", pairs)
	}
	return p
}

// checkProducers applies the rules of every list of producers.
func checkProducers(producers []Producer) error {
	if len(producers) > maxProducers {
		return fmt.Errorf("%d producers", len(producers))
	}
	for i := range producers {
		if i > 0 && compareProducers(producers[i-1], producers[i]) >= 0 {
			return errors.New("producers are not in the order of their keys, each once")
		}
		if err := producers[i].check(); err != nil {
			return fmt.Errorf("producer %d: %w", i, err)
		}
	}
	return nil
}

func (p *Producer) check() error {
	if err := checkText(p.Issuer, maxIssuer); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if len(p.Types) == 0 || len(p.Types) > maxTypes {
		return fmt.Errorf("%d types", len(p.Types))
	}
	for j, t := range p.Types {
		if j > 0 && p.Types[j-1] >= t {
			return errors.New("types are not in order, each once")
		}
		if t == AnyType && len(p.Types) == 1 {
			continue
		}
		if err := CheckMediaType(t); err != nil {
			return err
		}
	}
	if len(p.Subjects) > maxSubjects {
		return fmt.Errorf("%d subjects", len(p.Subjects))
	}
	for j, s := range p.Subjects {
		if j > 0 && p.Subjects[j-1] >= s {
			return errors.New("subjects are not in order, each once")
		}
		if err := checkSubjectRule(s); err != nil {
			return err
		}
	}
	return nil
}

// checkSubjectRule accepts a kind of subject, or a kind and an id.
func checkSubjectRule(rule string) error {
	kind, id, one := strings.Cut(rule, "/")
	switch SubjectKind(kind) {
	case SubjectPolicy, SubjectPrincipals:
		return fmt.Errorf("%w: statements about %s are the issuer's", ErrSubject, kind)
	}
	if !one && SubjectKind(kind) != SubjectLog {
		id = "any"
	}
	_, err := Subject("issuer", SubjectKind(kind), id)
	return err
}
