package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

// Errors of Check. Callers branch on them with errors.Is; the text never quotes a body.
var (
	// ErrBody: the body breaks the rules of its type.
	ErrBody = errors.New("evidence: body breaks the rules of its type")
	// ErrProducer: the statement's issuer may not make this record.
	ErrProducer = errors.New("evidence: made by somebody else than its type allows")
	// ErrSubject: the statement is about something else than the body.
	ErrSubject = errors.New("evidence: statement and body are about different things")
	// ErrWeak: the record could be guessed from its digest. Facts are complete beside it.
	ErrWeak = errors.New("evidence: neither id nor salt has 128 random bits")
)

// Claims are what the Signed Statement says around the body.
type Claims struct {
	Issuer  string // CWT iss
	Subject string // CWT sub
	// LegacyTyp accepts runtime records whose envelope has the record's own media type as typ and no cty, as older
	// drafts had it.
	LegacyTyp bool
}

// Facts are what a body says.
type Facts struct {
	Known  bool
	Type   Type
	Digest mission.Digest // of the body
	// Record is the decoded body: *Decision, *Execution, …; nil for types whose members another package owns.
	Record any

	ID       string         // the record's own, "" if it has none
	Mission  MissionRef     // whose feed it is about; the issuer is empty if the body does not say it
	Emitter  Emitter        // zero if the record names none
	At       string         // when it happened, RFC 3339
	Sequence *uint64        // of (mission, emitter)
	Envelope *jws.Token     // the inner signature, unverified; nil if there is none
	Erases   mission.Digest // of an erasure record
}

// a record can be decoded from a body and describe itself.
type record interface {
	describe(*Facts)
}

// Check judges a body by its content type. Errors wrap ErrBody, ErrProducer, ErrSubject or ErrWeak.
func Check(contentType string, body []byte, c Claims) (Facts, error) {
	f := Facts{Digest: mission.RawDigest(body)}
	t, ok := Lookup(contentType)
	if !ok {
		return f, nil
	}
	f.Known, f.Type = true, t
	if err := f.read(body, c.LegacyTyp); err != nil {
		return f, fmt.Errorf("%w: %s: %w", ErrBody, contentType, err)
	}
	if err := f.checkProducer(c.Issuer); err != nil {
		return f, fmt.Errorf("%w: %s: %w", ErrProducer, contentType, err)
	}
	if err := f.checkSubject(c); err != nil {
		return f, fmt.Errorf("%w: %s: %w", ErrSubject, contentType, err)
	}
	if s, ok := f.Record.(interface{ random() bool }); ok && !s.random() {
		return f, fmt.Errorf("%w: %s", ErrWeak, contentType)
	}
	return f, nil
}

func (f *Facts) read(body []byte, legacy bool) error {
	if len(body) == 0 || len(body) > mission.MaxJSON {
		return errors.New("size")
	}
	switch f.Type.Form {
	case CBOR:
		return nil
	case Token:
		return f.readToken(body)
	}
	again, err := mission.Canonical(body)
	if err != nil {
		return fmt.Errorf("json: %s", reason(err))
	}
	if !bytes.Equal(again, body) {
		return errors.New("not in canonical form")
	}
	if body[0] != '{' {
		return errors.New("not an object")
	}
	if f.Type.decode == nil {
		return nil
	}
	r, err := f.Type.decode(body)
	if err != nil {
		return errors.New(reason(err))
	}
	f.Record = r
	r.describe(f)
	if f.Type.Envelope == nil {
		return nil
	}
	f.Envelope, err = openEnvelope(body, *f.Type.Envelope, legacy)
	return err
}

// reason says what a decoder refused, without values.
func reason(err error) string {
	if j, ok := errors.AsType[*mission.JSONError](err); ok {
		s := j.Reason
		if j.Path != "" {
			s += " at " + j.Path
		}
		if v, ok := errors.AsType[violation](j.Err); ok {
			s += ": " + string(v)
		}
		return s
	}
	if v, ok := errors.AsType[violation](err); ok {
		return string(v)
	}
	return "malformed"
}

// A violation names the rule between members that a record breaks.
type violation string

func (v violation) Error() string { return string(v) }

// An EnvelopeRule says how the nested signature of a record is typed.
type EnvelopeRule struct {
	Member   string  // that holds {format, value}
	Typ      jws.Typ // of the JWS
	Content  string  // its cty; "" for none
	Required bool
}

// openEnvelope holds the payload of the nested JWS against the canonical form of the object around it, and its header
// against the rule. The signature is not verified.
func openEnvelope(body []byte, rule EnvelopeRule, legacy bool) (*jws.Token, error) {
	var members map[string]mission.Raw
	if err := mission.Decode(body, &members); err != nil {
		return nil, errors.New(reason(err))
	}
	raw, ok := members[rule.Member]
	if !ok {
		if rule.Required {
			return nil, errors.New("there is no " + rule.Member)
		}
		return nil, nil
	}
	var env Envelope
	if err := raw.Decode(&env); err != nil {
		return nil, errors.New(rule.Member + ": " + reason(err))
	}
	if env.Format != FormatJWS {
		return nil, errors.New(rule.Member + ": unsupported format")
	}
	token, err := jws.ParseContent(env.Value, rule.Typ, rule.Content)
	if err != nil && legacy && rule.Typ == jws.TypRuntimeEvidence {
		token, err = jws.Parse(env.Value, jws.Typ(rule.Content))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", rule.Member, err)
	}
	delete(members, rule.Member)
	outer, err := mission.Marshal(members)
	if err != nil {
		return nil, errors.New("malformed")
	}
	if !bytes.Equal(outer, token.Payload) {
		return nil, errors.New(rule.Member + " signs something else than what is around it")
	}
	return token, nil
}

// checkProducer holds the statement's issuer against the role of the type and the emitter that the record names.
func (f *Facts) checkProducer(issuer string) error {
	roles := f.Type.Producers
	if slices.Contains(roles, Anyone) {
		return nil
	}
	if slices.Contains(roles, Issuer) && f.Emitter.Role == "" {
		if f.Mission.Issuer != "" && f.Mission.Issuer != issuer {
			return errors.New("the statement's issuer is not the mission's")
		}
		return nil
	}
	if f.Emitter.ID == "" {
		return nil // harness evidence names no emitter: registration knows the producer by its key
	}
	if !slices.Contains(roles, f.Emitter.Role) {
		return errors.New("the emitter has another role")
	}
	switch f.Emitter.Role {
	case Issuer:
		if f.Mission.Issuer != "" && f.Mission.Issuer != issuer {
			return errors.New("the statement's issuer is not the mission's")
		}
	case Mediator: // the binding's iss, which readToken put there
		if f.Emitter.ID != issuer {
			return errors.New("the statement's issuer is not the binding's")
		}
		return nil
	}
	if !sameParty(f.Emitter.ID, issuer) {
		return errors.New("the statement's issuer is not the emitter")
	}
	return nil
}

// sameParty reports whether an emitter id names a statement's issuer: the same text, or the issuer's host.
func sameParty(id, issuer string) bool {
	if id == issuer {
		return true
	}
	u, err := url.Parse(issuer)
	return err == nil && u.Host != "" && id == u.Host && strings.Trim(u.Path, "/") == ""
}

// checkSubject holds the statement's subject against what the body is about.
func (f *Facts) checkSubject(c Claims) error {
	if f.Mission.ID != "" {
		if f.Mission.Issuer == "" { // the body names the mission by id alone
			if !strings.HasSuffix(c.Subject, "/"+string(ledger.SubjectMissions)+"/"+string(f.Mission.ID)) {
				return errors.New("another mission")
			}
			return nil
		}
		want, err := ledger.MissionSubject(f.Mission.Issuer, string(f.Mission.ID))
		if err != nil || want != c.Subject {
			return errors.New("another mission")
		}
		return nil
	}
	base := f.Mission.Issuer
	if base == "" && len(f.Type.Producers) == 1 && f.Type.Producers[0] == Issuer {
		base = c.Issuer
	}
	kind, id, err := parseSubject(base, c.Subject)
	if err != nil {
		return errors.New("not a subject of the issuer")
	}
	if want, ok := f.Record.(interface{ approval() string }); ok && kind == ledger.SubjectApprovals {
		if event := want.approval(); event != "" && event != id {
			return errors.New("another approval event")
		}
	}
	if len(f.Type.Subjects) > 0 && !slices.Contains(f.Type.Subjects, kind) {
		return errors.New("another kind of subject")
	}
	return nil
}

// parseSubject reads a subject of a known issuer, or, with base "", of any.
func parseSubject(base, subject string) (ledger.SubjectKind, string, error) {
	if base != "" {
		return ledger.ParseSubject(base, subject)
	}
	for _, kind := range []ledger.SubjectKind{ledger.SubjectMissions, ledger.SubjectApprovals, ledger.SubjectPeers,
		ledger.SubjectAgreements, ledger.SubjectExports, ledger.SubjectLog, ledger.SubjectPrincipals, ledger.SubjectPolicy} {
		at := strings.LastIndex(subject, "/"+string(kind))
		if at <= 0 {
			continue
		}
		if k, id, err := ledger.ParseSubject(subject[:at], subject); err == nil && k == kind {
			return k, id, nil
		}
	}
	return "", "", ledger.ErrSubject
}
