package federation_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/federation/federationtest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/jws"
)

const nonce = "bm9uY2Utbm9uY2Utbm9uY2U"

var holder = federation.Holder{ClientID: "agent-b", JKT: "0123456789012345678901234567890123456789012"}

func TestOpenProjection(t *testing.T) {
	w := newTwo(t)
	p := w.a.Projection(t, w.atB.Ref, w.b.Issuer, holder, nonce, now, federationtest.Entry(federationtest.Read))
	compact, err := p.Sign(t.Context(), w.a.Key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.atB.OpenProjection(compact, holder, nonce, now)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Entries) != 1 || got.Dropped != 0 || got.Digest != mission.RawDigest([]byte(compact)) || got.JTI != p.JTI {
		t.Errorf("received %+v", got)
	}
}

// TestProjectionIsRefused is the list of what a hostile or broken origin may send. Each case is signed with the right
// key unless it says otherwise, so that only the check it names stands in its way.
func TestProjectionIsRefused(t *testing.T) {
	w := newTwo(t)
	c := federationtest.New(t, "c.example", nil)
	rotated := federationtest.NewKey(t)
	type projection = federation.Projection
	good := func() *projection {
		return w.a.Projection(t, w.atB.Ref, w.b.Issuer, holder, nonce, now, federationtest.Entry(federationtest.Read))
	}
	entries := func(list ...mission.Entry) func(*projection) {
		return func(p *projection) {
			p.AuthorizationDetails = federationtest.RawOf(t, list)
			p.AuthorityCommitment = federationtest.Commit(t, p)
		}
	}
	outside := federationtest.Entry(federationtest.Read)
	outside.Resource = "https://hr.example/people"
	tenant := "t-1"
	region := federationtest.Entry(federationtest.Read)
	region.Constraints = &mission.Constraints{DataClassification: &[]string{tenant}}
	flat := federationtest.Entry(federationtest.Read)
	flat.Delegation = nil
	for _, tc := range []struct {
		name   string
		code   string
		reason string
		change func(*projection)
		sign   func(*projection) string
		at     time.Duration
	}{
		{name: "wrong typ", reason: federation.ReasonWrongTyp, sign: func(p *projection) string {
			return federationtest.Compact(t, w.a.Key, jws.TypStatus, p)
		}},
		{name: "unknown issuer", reason: federation.ReasonBadSignature, sign: func(p *projection) string {
			p.Iss, p.Mission.Issuer = c.Issuer, c.Issuer
			return federationtest.Compact(t, c.Key, jws.TypProjection, p)
		}},
		{name: "key rotated without endorsement", reason: federation.ReasonBadSignature, sign: func(p *projection) string {
			return federationtest.Compact(t, rotated, jws.TypProjection, p)
		}},
		{name: "governance key", reason: federation.ReasonBadSignature, sign: func(p *projection) string {
			return federationtest.Compact(t, w.a.Governance, jws.TypProjection, p)
		}},
		{name: "second spelling", reason: federation.ReasonEncoding, sign: func(p *projection) string {
			return federationtest.Compact(t, w.a.Key, jws.TypProjection, p) + "\n"
		}},
		{name: "too large", reason: federation.ReasonTooLarge, sign: func(p *projection) string {
			return federationtest.Compact(t, w.a.Key, jws.TypProjection, p) + strings.Repeat("A", federation.MaxArtifact)
		}},
		{name: "unknown claim", reason: federation.ReasonMalformed, sign: func(p *projection) string {
			text, err := mission.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			s, err := jws.Sign(t.Context(), w.a.Key, jws.TypProjection, append([]byte(`{"admin":true,`), text[1:]...))
			if err != nil {
				t.Fatal(err)
			}
			return s
		}},
		{name: "must understand", reason: federation.ReasonMustUnderstand, change: func(p *projection) {
			p.MustUnderstand = []string{"pairwise"}
		}},
		{name: "mission of another issuer", reason: federation.ReasonIssuerMismatch, change: func(p *projection) {
			p.Mission.Issuer = c.Issuer
		}},
		{name: "in the name of another", reason: federation.ReasonIssuerMismatch, change: func(p *projection) {
			p.Iss, p.Mission.Issuer = c.Issuer, c.Issuer
		}},
		{name: "wrong audience", reason: federation.ReasonAudienceMismatch, change: func(p *projection) { p.Aud = c.Issuer }},
		{name: "another agreement", reason: federation.ReasonAgreementMismatch, change: func(p *projection) {
			p.Agreement.Version++
		}},
		{name: "from the future", reason: federation.ReasonNotYet, at: -31 * time.Second},
		{name: "expired, at the instant", reason: federation.ReasonExpired, change: func(p *projection) {
			p.Mission.FreshUntil = p.Mission.ExpiresAt
		}, at: 60 * time.Second},
		{name: "no longer fresh", reason: federation.ReasonExpired, at: 30 * time.Second},
		{name: "lives longer than agreed", reason: federation.ReasonLifetimeExceeded, change: func(p *projection) {
			p.ExpiresAt = p.IssuedAt + 121
		}},
		{name: "outlives its mission", reason: federation.ReasonLifetimeExceeded, change: func(p *projection) {
			p.Mission.ExpiresAt = mission.FormatTime(now.Add(59 * time.Second))
		}},
		{name: "another holder", reason: federation.ReasonHolderMismatch, change: func(p *projection) {
			p.ClientID = "agent-c"
		}},
		{name: "another key", reason: federation.ReasonHolderMismatch, change: func(p *projection) {
			p.Confirmation.JKT = strings.Repeat("A", 43)
		}},
		{name: "bearer", reason: federation.ReasonMalformed, change: func(p *projection) {
			p.Confirmation = federation.Confirmation{}
		}},
		{name: "answer to another question", reason: federation.ReasonNonceMismatch, change: func(p *projection) {
			p.Nonce = "another-nonce"
		}},
		{name: "no nonce", reason: federation.ReasonNonceMismatch, change: func(p *projection) { p.Nonce = "" }},
		{name: "own issuer in the chain", reason: federation.ReasonOwnIssuerInChain, change: func(p *projection) {
			own := p.Delegation[0]
			own.Issuer = w.b.Issuer
			p.Delegation = slices.Insert(p.Delegation, 0, own)
		}},
		{name: "chain of another", reason: federation.ReasonChain, change: func(p *projection) {
			p.Delegation[0].Issuer = c.Issuer
		}},
		{name: "widened entries", reason: federation.ReasonCommitmentMismatch, change: func(p *projection) {
			p.AuthorizationDetails = federationtest.RawOf(t, []mission.Entry{federationtest.Entry("invoice.*")})
		}},
		{name: "commitment of another audience", reason: federation.ReasonCommitmentMismatch, change: func(p *projection) {
			q := *p
			q.Aud = c.Issuer
			p.AuthorityCommitment = federationtest.Commit(t, &q)
		}},
		{name: "resource outside the agreement", code: federation.CodeInvalidTarget,
			reason: federation.ReasonOutsideAgreement, change: entries(outside)},
		{name: "action outside the agreement", code: federation.CodeInvalidTarget,
			reason: federation.ReasonOutsideAgreement, change: entries(federationtest.Entry("payroll.read"))},
		{name: "constraint nobody promised to enforce", code: federation.CodeInvalidTarget,
			reason: federation.ReasonOutsideAgreement, change: entries(region)},
		{name: "not delegable", code: federation.CodeInvalidTarget,
			reason: federation.ReasonOutsideAgreement, change: entries(flat)},
		{name: "nothing understood", code: federation.CodeAuthorityUnsupported, change: func(p *projection) {
			p.AuthorizationDetails = federationtest.Raw(t, []byte(`[{"type":"payment_initiation"}]`))
			p.AuthorityCommitment = federationtest.Commit(t, p)
		}},
		{name: "suspended", code: federation.CodeMissionInactive, change: func(p *projection) {
			p.Mission.State = mission.Suspended
		}},
		{name: "state in another case", code: federation.CodeMissionInactive, change: func(p *projection) {
			p.Mission.State = "Active"
		}},
		{name: "agreement over", reason: federation.ReasonAgreementInactive, at: 25 * time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := good()
			if tc.change != nil {
				tc.change(p)
			}
			if tc.sign == nil {
				tc.sign = func(p *projection) string { return federationtest.Compact(t, w.a.Key, jws.TypProjection, p) }
			}
			want := tc.code
			if want == "" {
				want = federation.CodeInvalidProjection
			}
			_, err := w.atB.OpenProjection(tc.sign(p), holder, nonce, now.Add(tc.at))
			if code, reason := refusalOf(err); code != want || reason != tc.reason {
				t.Errorf("got %v, want %s (%s)", err, want, tc.reason)
			}
		})
	}
}

// TestProjectionSignRefuses: the origin does not put its name under what a receiver would refuse.
func TestProjectionSignRefuses(t *testing.T) {
	w := newTwo(t)
	for name, change := range map[string]func(*federation.Projection){
		"no holder":  func(p *federation.Projection) { p.ClientID = "" },
		"no key":     func(p *federation.Projection) { p.Confirmation = federation.Confirmation{} },
		"two keys":   func(p *federation.Projection) { p.Confirmation.X5T = holder.JKT },
		"no life":    func(p *federation.Projection) { p.ExpiresAt = p.IssuedAt },
		"short jti":  func(p *federation.Projection) { p.JTI = "1" },
		"to itself":  func(p *federation.Projection) { p.Aud = p.Iss },
		"no chain":   func(p *federation.Projection) { p.Delegation = nil },
		"wordy":      func(p *federation.Projection) { p.Purpose = &federation.Purpose{Summary: "two\nlines"} },
		"no entries": func(p *federation.Projection) { p.AuthorizationDetails = mission.Raw{} },
	} {
		p := w.a.Projection(t, w.atB.Ref, w.b.Issuer, holder, nonce, now, federationtest.Entry(federationtest.Read))
		change(p)
		compact, err := p.Sign(t.Context(), w.a.Key)
		if err == nil {
			_, err = w.atB.OpenProjection(compact, holder, nonce, now)
		}
		if err == nil {
			t.Errorf("%s: signed and accepted", name)
		}
	}
}

func TestSanitise(t *testing.T) {
	for in, want := range map[string]string{
		"pay the invoices":                 "pay the invoices",
		"two\r\nlines\tand  tabs":          "two lines and tabs",
		"right\u202eto left":               "rightto left",
		"zero\u200bwidth\ufeff":            "zerowidth",
		"nul\x00 bell\x07 del\x7f":         "nul bell del",
		"bad utf\xff8":                     "bad utf8",
		"tag\U000e0041s":                   "tags",
		strings.Repeat("ä", 200):           strings.Repeat("ä", 140),
		strings.Repeat("x", 279) + "äy":    strings.Repeat("x", 279),
		"\u2066ignore previous\u2069 text": "ignore previous text",
	} {
		got := federation.Sanitise(in)
		if got != want {
			t.Errorf("Sanitise(%q) = %q, want %q", in, got, want)
		}
		if again := federation.Sanitise(got); again != got {
			t.Errorf("Sanitise is not idempotent on %q: %q", in, again)
		}
	}
	if p := federation.Disclosed(federation.DiscloseNone, "urn:x", "text"); p != nil {
		t.Errorf("disclosed %+v", p)
	}
	if p := federation.Disclosed(federation.DiscloseCategory, "urn:x", "text"); p == nil || p.Summary != "" {
		t.Errorf("disclosed %+v", p)
	}
	if got := federation.LeastDisclosure(federation.DiscloseSummary, "everything"); got != federation.DiscloseNone {
		t.Errorf("an unknown level discloses %s", got)
	}
}

// TestHopIsPerPeer: two peers that compare what they hold find nothing in common but the issuer, the basis and the day.
func TestHopIsPerPeer(t *testing.T) {
	rec := &mission.Record{Issuer: "https://a.example", ID: mission.NewMissionID(), CreatedAt: "2026-11-21T23:59:59Z",
		ApprovalBasis: mission.ApprovalBasis{Type: mission.BasisDirect}, Intent: &mission.Intent{}}
	one, err := federation.NewHop(rec, "https://b.example", mission.NewSalt())
	if err != nil {
		t.Fatal(err)
	}
	two, err := federation.NewHop(rec, "https://c.example", mission.NewSalt())
	if err != nil {
		t.Fatal(err)
	}
	if one.Commitment == two.Commitment || one.ApprovedOn != "2026-11-21" || one.Basis != mission.BasisDirect {
		t.Errorf("hops %+v %+v", one, two)
	}
	next, err := one.Recommit("https://d.example", mission.NewSalt())
	if err != nil {
		t.Fatal(err)
	}
	if next.Commitment == one.Commitment || next.Issuer != one.Issuer {
		t.Errorf("recommitted %+v", next)
	}
}
