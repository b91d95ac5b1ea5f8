package federation_test

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/federation/federationtest"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

func agreementSubject(t *testing.T, d *federationtest.Domain, id string) string {
	t.Helper()
	s, err := ledger.Subject(d.Issuer, ledger.SubjectAgreements, id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signedEvent is a's event `signed` as evidence in a's log.
func signedEvent(t *testing.T, w *two) (body, transparent []byte) {
	t.Helper()
	body, err := mission.Marshal(federation.AgreementEvent{Issuer: w.a.Issuer, Event: federation.EventSigned,
		Agreement: w.atB.Ref, At: mission.FormatTime(now), Signed: w.signed})
	if err != nil {
		t.Fatal(err)
	}
	statement, index := w.a.Append(t, agreementSubject(t, w.a, w.terms.ID), mission.ContentAgreementEvent, body)
	return body, federationtest.Transparent(t, statement, w.a.Receipt(t, index))
}

func exchangeOf(t *testing.T, w *two, body, transparent []byte) *federation.AgreementExchange {
	t.Helper()
	return &federation.AgreementExchange{Agreement: w.atB.Ref, Checkpoint: w.a.Checkpoint(t),
		Events: []federation.ProvenEvent{{Body: federationtest.Raw(t, body),
			Statement: base64.RawURLEncoding.EncodeToString(transparent)}}}
}

func TestOpenExchange(t *testing.T) {
	w := newTwo(t)
	body, transparent := signedEvent(t, w)
	text, err := mission.Marshal(exchangeOf(t, w, body, transparent))
	if err != nil {
		t.Fatal(err)
	}
	x, err := federation.ParseAgreementExchange(text)
	if err != nil {
		t.Fatal(err)
	}
	events, checkpoint, err := w.atB.OpenExchange(x)
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != 1 || events[0].Event != federation.EventSigned || checkpoint.Origin != w.a.Log.Keys.Origin ||
		events[0].Index >= checkpoint.Size {
		t.Errorf("events %+v, checkpoint %+v", events, checkpoint)
	}
}

// TestTransparentIsRefused: a proof proves one statement of one issuer about one subject over one body, in one log.
func TestTransparentIsRefused(t *testing.T) {
	w := newTwo(t)
	body, good := signedEvent(t, w)
	subject := agreementSubject(t, w.a, w.terms.ID)
	statement, receipts, err := ledger.DetachReceipts(good)
	if err != nil {
		t.Fatal(err)
	}
	otherBody := []byte(`{"another":"entry"}`)
	otherStatement, otherIndex := w.a.Append(t, subject, mission.ContentAgreementEvent, otherBody)
	otherReceipt := w.a.Receipt(t, otherIndex)
	foreign, foreignIndex := w.b.Append(t, subject, mission.ContentAgreementEvent, body)
	flipped := append([]byte(nil), good...)
	flipped[len(flipped)-1] ^= 1
	if _, err := w.atB.OpenTransparent(good, subject, mission.ContentAgreementEvent, body); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		transparent   []byte
		subject, kind string
		body          []byte
	}{
		"receipt of another entry":  {federationtest.Transparent(t, statement, otherReceipt), subject, mission.ContentAgreementEvent, body},
		"another entry altogether":  {federationtest.Transparent(t, otherStatement, otherReceipt), subject, mission.ContentAgreementEvent, body},
		"no receipt":                {statement, subject, mission.ContentAgreementEvent, body},
		"another subject":           {good, subject + "x", mission.ContentAgreementEvent, body},
		"another type":              {good, subject, mission.ContentTransition, body},
		"another body":              {good, subject, mission.ContentAgreementEvent, otherBody},
		"signed by somebody else":   {federationtest.Transparent(t, foreign, w.b.Receipt(t, foreignIndex)), subject, mission.ContentAgreementEvent, body},
		"receipt of another log":    {federationtest.Transparent(t, statement, w.b.Receipt(t, foreignIndex)), subject, mission.ContentAgreementEvent, body},
		"flipped bit":               {flipped, subject, mission.ContentAgreementEvent, body},
		"a receipt for a statement": {receipts[0], subject, mission.ContentAgreementEvent, body},
	} {
		if _, err := w.atB.OpenTransparent(tc.transparent, tc.subject, tc.kind, tc.body); err == nil {
			t.Errorf("%s: accepted", name)
		} else if code, _ := refusalOf(err); code != federation.CodeInvalidReceipt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExchangeIsRefused(t *testing.T) {
	w := newTwo(t)
	body, transparent := signedEvent(t, w)
	otherRef := w.atB.Ref
	otherRef.Version = 2
	for name, change := range map[string]func(*federation.AgreementExchange){
		"another agreement":           func(x *federation.AgreementExchange) { x.Agreement = otherRef },
		"checkpoint of another log":   func(x *federation.AgreementExchange) { x.Checkpoint = w.b.Checkpoint(t) },
		"no checkpoint":               func(x *federation.AgreementExchange) { x.Checkpoint = "" },
		"statement not canonical":     func(x *federation.AgreementExchange) { x.Events[0].Statement += "=" },
		"event of somebody else":      func(x *federation.AgreementExchange) { x.Events[0].Body = federationtest.RawOf(t, otherEvent(w)) },
		"body that is not the logged": func(x *federation.AgreementExchange) { x.Events[0].Body = federationtest.RawOf(t, laterEvent(w)) },
	} {
		x := exchangeOf(t, w, body, transparent)
		change(x)
		if _, _, err := w.atB.OpenExchange(x); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func otherEvent(w *two) federation.AgreementEvent {
	return federation.AgreementEvent{Issuer: w.b.Issuer, Event: federation.EventSigned, Agreement: w.atB.Ref,
		At: mission.FormatTime(now), Signed: w.signed}
}

func laterEvent(w *two) federation.AgreementEvent {
	e := otherEvent(w)
	e.Issuer, e.At = w.a.Issuer, mission.FormatTime(now.Add(time.Second))
	return e
}

// receiptOf is a derivation receipt of b for a Mission of a.
func receiptOf(w *two) *federation.DerivationReceipt {
	return &federation.DerivationReceipt{
		Iss: w.b.Issuer, Aud: w.a.Issuer, IssuedAt: now.Unix(), JTI: federation.NewNonce(), Event: federation.EventMinted,
		Upstream:        mission.Reference{ID: mission.NewMissionID(), Issuer: w.a.Issuer},
		UpstreamVersion: 1, ProjectionJTI: federation.NewNonce(), LocalRef: federation.NewNonce(),
		LocalEntry:      ledger.EntryID(ledger.HashLeaf([]byte("x"))),
		EntriesDigest:   mission.RawDigest([]byte("entries")),
		UpstreamEntries: []mission.Digest{mission.RawDigest([]byte("entry"))},
		ExpiresAt:       mission.FormatTime(now.Add(time.Hour)),
		Agreement:       w.atA.Ref,
	}
}

func TestDerivationReceipt(t *testing.T) {
	w := newTwo(t)
	r := receiptOf(w)
	r.Checkpoint = w.b.Checkpoint(t)
	compact, err := r.Sign(t.Context(), w.b.Key)
	if err != nil {
		t.Fatal(err)
	}
	got, checkpoint, err := w.atA.OpenDerivationReceipt(compact, now)
	if err != nil {
		t.Fatal(err)
	}
	if got.JTI != r.JTI || checkpoint == nil || checkpoint.Origin != w.b.Log.Keys.Origin {
		t.Errorf("opened %+v, %+v", got, checkpoint)
	}
	for name, tc := range map[string]struct {
		reason string
		change func(*federation.DerivationReceipt)
		key    *jws.Key
		typ    jws.Typ
	}{
		"wrong typ":   {reason: federation.ReasonWrongTyp, typ: jws.TypProjection},
		"unknown key": {reason: federation.ReasonBadSignature, key: w.a.Key},
		"other audience": {reason: federation.ReasonAudienceMismatch, change: func(r *federation.DerivationReceipt) {
			r.Aud, r.Upstream.Issuer = "https://c.example", "https://c.example"
		}},
		"other issuer":    {reason: federation.ReasonIssuerMismatch, change: func(r *federation.DerivationReceipt) { r.Iss = "https://c.example" }},
		"other agreement": {reason: federation.ReasonAgreementMismatch, change: func(r *federation.DerivationReceipt) { r.Agreement.Version = 2 }},
		"from the future": {reason: federation.ReasonNotYet, change: func(r *federation.DerivationReceipt) { r.IssuedAt += 31 }},
		"entry twice": {reason: federation.ReasonMalformed, change: func(r *federation.DerivationReceipt) {
			r.UpstreamEntries = append(r.UpstreamEntries, r.UpstreamEntries[0])
		}},
		"no entry":         {reason: federation.ReasonMalformed, change: func(r *federation.DerivationReceipt) { r.UpstreamEntries = nil }},
		"unknown event":    {reason: federation.ReasonMalformed, change: func(r *federation.DerivationReceipt) { r.Event = "renewed" }},
		"wrong checkpoint": {reason: federation.ReasonBadSignature, change: func(r *federation.DerivationReceipt) { r.Checkpoint = w.a.Checkpoint(t) }},
	} {
		r := receiptOf(w)
		if tc.change != nil {
			tc.change(r)
		}
		if tc.key == nil {
			tc.key = w.b.Key
		}
		if tc.typ == "" {
			tc.typ = jws.TypDerivationReceipt
		}
		_, _, err := w.atA.OpenDerivationReceipt(federationtest.Compact(t, tc.key, tc.typ, r), now)
		if code, reason := refusalOf(err); code != federation.CodeInvalidReceipt || reason != tc.reason {
			t.Errorf("%s: %v, want %s", name, err, tc.reason)
		}
	}
}
