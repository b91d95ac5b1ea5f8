package verifier

import (
	"errors"
	"slices"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
)

// readEvidence checks a body by the catalogue of evidence types, the signature inside it by the keys of its producer,
// and keeps it for the joins.
func (c *bundleCheck) readEvidence(f *facts, r *RecordReport) error {
	e, err := evidence.Check(r.ContentType, r.body, evidence.Claims{Issuer: r.Issuer, Subject: r.Subject,
		LegacyTyp: c.opts.LegacyTyp})
	switch {
	case errors.Is(err, evidence.ErrWeak):
		r.Findings.add(Note, "record_guessable", r.EntryID, "the record has neither a random id nor a salt")
	case err != nil:
		return contentError(err.Error())
	}
	if err := c.checkEmitter(r, &e); err != nil {
		return err
	}
	if e.Mission.ID != "" {
		s := f.story(e.Mission.ID)
		s.evidence = append(s.evidence, fact[evidence.Facts]{r, e})
	}
	return nil
}

// checkEmitter holds a record against what the trust document allows its producer, and verifies the inner signature.
func (c *bundleCheck) checkEmitter(r *RecordReport, e *evidence.Facts) error {
	if p, ok := c.trust.Producer(r.Issuer); ok {
		if !slices.Contains(p.Types, ledger.AnyType) && !slices.Contains(p.Types, r.ContentType) {
			return contentError("the producer may not make records of this type")
		}
		if a := audienceOf(e); a != "" && len(p.Audiences) > 0 && !slices.Contains(p.Audiences, a) {
			return contentError("the producer's keys are not published for this audience")
		}
	}
	if e.Envelope == nil {
		return nil
	}
	keys := c.trust.recordKeys(r.Issuer)
	if _, _, known := keys.Key(e.Envelope.KeyID); !known {
		r.Findings.add(Audit, "emitter_key_unknown", r.EntryID, "the trust document has no key %.64q of the producer",
			e.Envelope.KeyID)
		return nil
	}
	if err := e.Envelope.Verify(keys); err != nil {
		return contentError("the record's own signature does not verify")
	}
	return nil
}

// audienceOf is the audience that a record is about, "" if it names none.
func audienceOf(e *evidence.Facts) string {
	switch v := e.Record.(type) {
	case *evidence.Decision:
		return v.Audience
	case *evidence.Execution:
		return v.Audience
	case *evidence.Refusal:
		return v.Audience
	}
	return ""
}

// of selects the records of a type, in log order.
func of[T any](list []fact[evidence.Facts]) []fact[T] {
	var out []fact[T]
	for i := range list {
		if v, ok := list[i].value.Record.(T); ok {
			out = append(out, fact[T]{list[i].from, v})
		}
	}
	return out
}

// VerifyWorkProduct checks a work product binding against the artifact and the provenance that came with it, by the
// keys of the domain or producer that its iss names. It attributes; it never authorizes. What could be read is returned
// beside the findings.
func VerifyWorkProduct(binding, provenance, artifact []byte, trust *Trust) (*evidence.WorkProduct, *evidence.Provenance,
	Findings) {
	fs := Findings{}
	var p evidence.Provenance
	if err := mission.Decode(provenance, &p); err != nil {
		fs.add(Integrity, "provenance_malformed", "", "not a work product provenance")
		return nil, nil, fs
	}
	e, w, err := openWorkProduct(binding)
	if err != nil {
		fs.add(Integrity, "binding_malformed", "", "not a work product binding: %s", err.Error())
		return nil, &p, fs
	}
	keys := trust.recordKeys(w.Iss)
	if _, _, known := keys.Key(e.Envelope.KeyID); !known {
		fs.add(Audit, "emitter_key_unknown", "", "the trust document has no key %.64q of %.200q", e.Envelope.KeyID, w.Iss)
	} else if err := e.Envelope.Verify(keys); err != nil {
		fs.add(Integrity, "binding_signature", "", "the binding's signature does not verify")
	}
	if err := w.Covers(&p, artifact); err != nil {
		fs.add(Integrity, "binding_mismatch", "", "the binding does not attribute the artifact: %s", err.Error())
	}
	return w, &p, fs
}

// openWorkProduct parses a binding that stands alone: its own iss stands for the statement's.
func openWorkProduct(binding []byte) (evidence.Facts, *evidence.WorkProduct, error) {
	e, err := evidence.Check(evidence.ContentWorkProduct, binding, evidence.Claims{})
	if err != nil && !errors.Is(err, evidence.ErrProducer) && !errors.Is(err, evidence.ErrSubject) {
		return e, nil, err
	}
	w, ok := e.Record.(*evidence.WorkProduct)
	if !ok {
		return e, nil, errors.New("no payload")
	}
	return e, w, nil
}
