package verifier

import (
	"bytes"
	"errors"
	"slices"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
	"github.com/mission-authority/mas/mission/jws"
)

// A fact is what an evidence body says, with the record it came from.
type fact[T any] struct {
	from  *RecordReport
	value T
}

// facts is everything that the readable bodies of a bundle say.
type facts struct {
	missions    map[mission.ID]*story
	order       []mission.ID // in which the missions first occur
	submissions []fact[*submission]
	agreements  []fact[*federation.AgreementEvent]
	erasures    []fact[*evidence.Erasure]

	introductions []fact[*introduced]
	projected     []fact[*projected]
	derivations   []fact[*federation.DerivationReceipt] // that peers sent
	sent          []fact[*federation.DerivationReceipt] // that this domain sent
	heads         []fact[*peerHead]
	ceilings      []fact[*ceiling]
	consents      []fact[*consent] // to missions and to ceilings
	received      []fact[*received]
	minted        []fact[*minted]
	observed      []fact[*observed]
	acknowledged  []fact[*acknowledged]
	principals    []fact[*principalsChange]
	epoch         *fact[*ledger.FeedEpoch] // the newest
}

// story returns what is known about a mission.
func (f *facts) story(id mission.ID) *story {
	s, ok := f.missions[id]
	if !ok {
		s = &story{}
		f.missions[id] = s
		f.order = append(f.order, id)
	}
	return s
}

// collect reads every body by the rules of its content type. A body that breaks them is an integrity failure of its
// record: the issuer signed something that cannot mean anything. Nothing is believed of a statement whose signature or
// receipt did not verify, for whatever reason.
func (c *bundleCheck) collect() *facts {
	f := &facts{missions: map[mission.ID]*story{}}
	for _, r := range c.Records {
		if !r.authentic || !r.proven || r.Findings.Has(Integrity) {
			continue
		}
		read, known := c.reader(f, r.ContentType)
		if !known {
			r.ignored = true
			continue
		}
		if r.body == nil {
			continue
		}
		if err := read(r); err != nil {
			r.Findings.add(Integrity, "record_content", r.EntryID, "the body breaks the rules of its type: %s", why(err))
		}
	}
	for _, s := range f.missions {
		s.sort()
	}
	c.explainErasures(f)
	return f
}

// reader returns the rules of a content type.
func (c *bundleCheck) reader(f *facts, contentType string) (func(*RecordReport) error, bool) {
	if read, ok := c.crossingReader(f, contentType); ok {
		return read, true
	}
	switch contentType {
	case ledger.ContentTypeGenesis:
		return c.readGenesis, true
	case mission.ContentApprovalRecord:
		return func(r *RecordReport) error { return c.readApproval(f, r) }, true
	case mission.ContentTransition:
		return func(r *RecordReport) error { return c.readTransition(f, r) }, true
	case mission.ContentConsentEvidence:
		return func(r *RecordReport) error { return c.readConsent(f, r) }, true
	case mission.ContentSubmission:
		return func(r *RecordReport) error { return c.readSubmission(f, r) }, true
	case mission.ContentPrincipals:
		return func(r *RecordReport) error { return c.readPrincipals(f, r) }, true
	case ledger.ContentTypeFeedEpoch:
		return func(r *RecordReport) error { return c.readEpoch(f, r) }, true
	case mission.ContentAgreementEvent:
		return func(r *RecordReport) error { return c.readAgreement(f, r) }, true
	case evidence.ContentErasure:
		return func(r *RecordReport) error { return c.readErasure(f, r) }, true
	}
	if t, ok := evidence.Lookup(contentType); ok && (t.Decoded() || t.Form == evidence.Token) {
		return func(r *RecordReport) error { return c.readEvidence(f, r) }, true
	}
	return c.readPlain, slices.Contains(plainTypes, contentType)
}

// crossingReader returns the rules of evidence about peers.
func (c *bundleCheck) crossingReader(f *facts, contentType string) (func(*RecordReport) error, bool) {
	read, ok := map[string]func(*facts, *RecordReport) error{
		mission.ContentIntroduction:       c.readIntroduction,
		mission.ContentProjectionIssued:   c.readProjected,
		mission.ContentStatusServed:       c.readServed,
		mission.ContentDerivationReceipt:  c.readDerivation,
		mission.ContentPeerCheckpoint:     c.readPeerHead,
		mission.ContentPeerCeiling:        c.readCeiling,
		mission.ContentProjectionReceived: c.readReceived,
		mission.ContentStatusObserved:     c.readObserved,
		contentMinted:                     c.readMinted,
		contentAcknowledged:               c.readAcknowledged,
		contentPeerRecord:                 func(_ *facts, r *RecordReport) error { return c.readPeerRecord(r) },
	}[contentType]
	return func(r *RecordReport) error { return read(f, r) }, ok
}

// A contentError says which rule a body breaks, in words that hold nothing of the body.
type contentError string

func (e contentError) Error() string { return string(e) }

// why describes an error of a format package without quoting the body.
func why(err error) string {
	if e, ok := errors.AsType[contentError](err); ok {
		return string(e)
	}
	if e, ok := errors.AsType[*mission.JSONError](err); ok {
		return e.Reason
	}
	return "malformed"
}

// canonical refuses a body that is not the canonical form of what it says.
func canonical(body []byte) error {
	again, err := mission.Canonical(body)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, body) {
		return contentError("not in canonical form")
	}
	return nil
}

// about refuses a statement whose subject is not the given object of its issuer.
func about(r *RecordReport, kind ledger.SubjectKind, id string) error {
	want, err := ledger.Subject(r.Issuer, kind, id)
	if err != nil || want != r.Subject {
		return contentError("the body is about something else than the statement")
	}
	return nil
}

// readGenesis checks the beginning of the log against the trust document: names and keys must be the trusted ones.
func (c *bundleCheck) readGenesis(r *RecordReport) error {
	g, err := ledger.OpenGenesis(r.statement.Raw, r.body)
	if err != nil {
		return err
	}
	if r.Index != nil && *r.Index != 0 {
		return contentError("a genesis statement is entry 0")
	}
	if g.Issuer != c.trust.Issuer {
		return nil // another domain's, which the statement's own findings say
	}
	if g.Origin != c.trust.Origin {
		return contentError("the genesis names another log")
	}
	if !c.trust.KnowsLogKey(g.LogKey) {
		r.Findings.add(Note, "log_key_rotated", r.EntryID, "the log began with another checkpoint key")
	}
	return nil
}

func (c *bundleCheck) readApproval(f *facts, r *RecordReport) error {
	rec, err := mission.ParseRecord(r.body)
	if err != nil {
		return err
	}
	if err := canonical(r.body); err != nil {
		return err
	}
	if rec.Issuer != r.Issuer {
		return contentError("the record is of another issuer than the statement")
	}
	if err := about(r, ledger.SubjectMissions, string(rec.ID)); err != nil {
		return err
	}
	s := f.story(rec.ID)
	s.approvals = append(s.approvals, fact[*mission.Record]{r, rec})
	return nil
}

func (c *bundleCheck) readTransition(f *facts, r *RecordReport) error {
	t, err := mission.ParseTransitionRecord(r.body)
	if err != nil {
		return err
	}
	if err := canonical(r.body); err != nil {
		return err
	}
	if t.Issuer != r.Issuer {
		return contentError("the transition is of another issuer than the statement")
	}
	if err := about(r, ledger.SubjectMissions, string(t.MissionID)); err != nil {
		return err
	}
	s := f.story(t.MissionID)
	s.transitions = append(s.transitions, fact[*mission.TransitionRecord]{r, t})
	return nil
}

func (c *bundleCheck) readAgreement(f *facts, r *RecordReport) error {
	e, err := federation.ParseAgreementEvent(r.body)
	if err != nil {
		return err
	}
	if err := canonical(r.body); err != nil {
		return err
	}
	if e.Issuer != r.Issuer {
		return contentError("the event is of another issuer than the statement")
	}
	if err := about(r, ledger.SubjectAgreements, e.Agreement.ID); err != nil {
		return err
	}
	if e.Signed != nil {
		if err := c.checkAgreement(r, e); err != nil {
			return err
		}
	}
	f.agreements = append(f.agreements, fact[*federation.AgreementEvent]{r, e})
	return nil
}

// checkAgreement checks the agreement that a `signed` event carries.
func (c *bundleCheck) checkAgreement(r *RecordReport, e *federation.AgreementEvent) error {
	r.Findings = append(r.Findings, VerifyAgreement(e.Signed, c.trust)...)
	ref, err := e.Signed.Agreement.Ref()
	if err != nil {
		return err
	}
	if ref != e.Agreement {
		return contentError("the event names another agreement than it carries")
	}
	return nil
}

// readErasure reads an erasure record: that a body was destroyed, and why.
func (c *bundleCheck) readErasure(f *facts, r *RecordReport) error {
	e, err := evidence.Check(r.ContentType, r.body, evidence.Claims{Issuer: r.Issuer, Subject: r.Subject})
	if err != nil {
		return contentError(err.Error())
	}
	f.erasures = append(f.erasures, fact[*evidence.Erasure]{r, e.Record.(*evidence.Erasure)})
	return nil
}

// explainErasures believes an absence only if a verified erasure record covers it: by who produced what was erased, or
// by the issuer, who keeps the bodies. An erasure record must be about something that was committed to before (E10).
func (c *bundleCheck) explainErasures(f *facts) {
	for _, r := range c.Records {
		if !r.erased {
			continue
		}
		if !slices.ContainsFunc(f.erasures, func(e fact[*evidence.Erasure]) bool { return c.covers(e, r) }) {
			r.erased = false
			r.Findings.add(Audit, "erasure_unexplained", r.EntryID,
				"the body is said to be erased; no verified erasure record covers it")
		}
	}
	for _, e := range f.erasures {
		i := slices.IndexFunc(c.Records, func(r *RecordReport) bool {
			return r.statement != nil && mission.DigestOf(r.statement.Digest) == e.value.Erased && r.position() < e.from.position()
		})
		switch {
		case i < 0:
			e.from.Findings.add(Audit, "erasure_of_nothing", e.from.EntryID,
				"no earlier statement of the bundle commits to what was erased")
		case c.Records[i].Issuer != e.from.Issuer && e.from.Issuer != c.trust.Issuer:
			e.from.Findings.add(Integrity, "erasure_by_another", e.from.EntryID,
				"what was erased was produced by %.200q", c.Records[i].Issuer)
		case c.Records[i].body != nil:
			e.from.Findings.add(Note, "erased_here", e.from.EntryID, "the bundle still has the body that was erased")
		}
	}
}

// covers reports whether an erasure record explains that the body of r is gone.
func (c *bundleCheck) covers(e fact[*evidence.Erasure], r *RecordReport) bool {
	return e.value.Erased == mission.DigestOf(r.statement.Digest) && e.from.Findings.Outcome() == OK &&
		(e.from.Issuer == r.Issuer || e.from.Issuer == c.trust.Issuer) && e.from.position() > r.position()
}

// issuerKeys are the keys that sign the JOSE artifacts of an issuer.
func (c *bundleCheck) issuerKeys(issuer string) (*jws.KeySet, bool) {
	domain, ok := c.trust.Domain(issuer)
	if !ok {
		return nil, false
	}
	return domain.Keys, true
}
