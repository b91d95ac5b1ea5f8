package verifier_test

import (
	"slices"
	"testing"

	"github.com/mission-authority/mas/federation"
	"github.com/mission-authority/mas/federation/federationtest"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/verifier"
	"github.com/mission-authority/mas/verifier/verifiertest"
)

// sides are the two sides of a pair of missions, with the proofs that connect the heads.
func sides(t *testing.T, b *verifiertest.Border, upstream, local string) (origin, receiver verifier.Side,
	proofs []*verifier.ConsistencyProof) {
	t.Helper()
	x, y := b.Evidence(upstream, local)
	trustX, trustY := b.Origin.Trust(), b.Receiver.Trust()
	ref, err := b.Signed.Agreement.Ref()
	must(t, err)
	trustX.Agreements = []mission.Digest{ref.Digest}
	trustY.Agreements = trustX.Agreements
	return verifier.Side{Bundle: x, Trust: trustX}, verifier.Side{Bundle: y, Trust: trustY}, b.Proofs(x, y)
}

func steps(r *verifier.ExchangeReport) map[string]verifier.Step {
	m := map[string]verifier.Step{}
	for _, p := range r.Pairs {
		for _, s := range p.Steps {
			m[s.Name] = s
		}
	}
	return m
}

func wantExchange(t *testing.T, what string, r *verifier.ExchangeReport, outcome verifier.Outcome, codes ...string) {
	t.Helper()
	ok := r.Outcome == outcome
	for _, code := range codes {
		ok = ok && r.All().Code(code)
	}
	if !ok {
		t.Errorf("%s: %s, want %s with %v", what, r.Outcome, outcome, codes)
		for _, f := range r.All() {
			t.Logf("%s %s", f.Class, f)
		}
	}
}

func TestExchange(t *testing.T) {
	verifiertest.InBorder(t, func(t *testing.T, b *verifiertest.Border) {
		upstream, local := b.Convey()
		early, earlyReceiver, _ := sides(t, b, upstream, local)
		b.Origin.Move(upstream, mission.OpRevoke)
		verifiertest.Settle()
		origin, receiver, proofs := sides(t, b, upstream, local)

		r := verifier.VerifyExchange(origin, receiver, proofs)
		wantExchange(t, "whole", r, verifier.OK)
		for _, f := range r.All() {
			t.Errorf("%s %s", f.Class, f)
		}
		for _, name := range []string{"agreement", "projection", "mint", "acknowledgement", "heads", "end"} {
			if s := steps(r)[name]; s.Verdict != verifier.Verified || s.Text == "" {
				t.Errorf("%s: %+v", name, s)
			}
		}
		for _, rep := range []*verifier.BundleReport{r.Origin, r.Receiver} {
			for _, rec := range rep.Records {
				if rec.Verdict != verifier.Verified {
					t.Errorf("%s entry %d (%s): %s", rep.Issuer, *rec.Index, rec.ContentType, rec.Verdict)
				}
			}
		}
		if m := r.Receiver.Missions[0]; m.State != mission.Cascaded || m.Approval != "dev-unattended" || m.Upstream == "" {
			t.Errorf("local mission %+v", m)
		}

		// Without proofs the newest heads hang in the air; mirrors do as well as proofs.
		wantExchange(t, "no proofs", verifier.VerifyExchange(origin, receiver, nil), verifier.Unverifiable, "head_unproven")
		mirrored := []verifier.Side{origin, receiver}
		for i, d := range []*verifiertest.Domain{b.Origin, b.Receiver} {
			log := verifier.VerifyLog(verifiertest.Source(d.Mirror()), mirrored[i].Trust,
				verifier.LogOptions{Subjects: verifier.BundleSubjects(mirrored[i].Bundle)})
			mirrored[i].Mirror = log.Mirror
		}
		r = verifier.VerifyExchange(mirrored[0], mirrored[1], nil)
		wantExchange(t, "mirrors", r, verifier.OK)
		if r.Origin.By != "scan" || r.Receiver.By != "scan" {
			t.Errorf("by %s and %s", r.Origin.By, r.Receiver.By)
		}

		// An older export of one side, or a log that was set back.
		wantExchange(t, "origin before the end", verifier.VerifyExchange(early, receiver, proofs), verifier.Unverifiable, "head_newer")
		wantExchange(t, "receiver before the end", verifier.VerifyExchange(origin, earlyReceiver, proofs), verifier.Unverifiable,
			"end_not_seen")
		// Two bundles that do not belong together.
		wantExchange(t, "swapped", verifier.VerifyExchange(receiver, origin, proofs), verifier.Unverifiable, "no_exchange")
		// A trust document of one side that names another log for the other.
		other := *receiver.Trust
		other.Peers = []verifier.Anchor{origin.Trust.Anchor}
		other.Peers[0].VKey, other.Peers[0].Origin = receiver.Trust.VKey, receiver.Trust.Origin
		wantExchange(t, "disagreeing trust", verifier.VerifyExchange(origin, verifier.Side{Bundle: receiver.Bundle, Trust: &other}, proofs),
			verifier.Wrong, "trust_disagrees", "agreement_log")

		// One domain's evidence alone, by somebody who knows nothing of the other: the peer's word is not checked,
		// and said so.
		for _, s := range []verifier.Side{origin, receiver} {
			r := verifier.VerifyBundle(s.Bundle, s.Trust, verifier.BundleOptions{})
			if r.Outcome != verifier.OK || !r.All().Code("peer_unknown") {
				t.Errorf("%s alone: %s, %v", s.Trust.Issuer, r.Outcome, r.All())
			}
		}
	})
}

func TestExchangeWithHolesInIt(t *testing.T) {
	verifiertest.InBorder(t, func(t *testing.T, b *verifiertest.Border) {
		upstream, local := b.Convey()
		b.Origin.Move(upstream, mission.OpRevoke)
		verifiertest.Settle()
		origin, receiver, proofs := sides(t, b, upstream, local)
		for _, tc := range []struct {
			atOrigin    bool
			contentType string
			n           int
			code        string
		}{
			{true, mission.ContentAgreementEvent, 1, "agreement_event_missing"},
			{false, mission.ContentAgreementEvent, 2, "agreement_event_missing"},
			{true, mission.ContentProjectionIssued, 0, "projection_not_issued"},
			{true, mission.ContentIntroduction, 0, "introduction_missing"},
			{true, mission.ContentDerivationReceipt, 0, "receipt_not_logged"},
			{true, mission.ContentApprovalRecord, 0, "upstream_missing"},
			{false, mission.ContentProjectionReceived, 0, "projection_missing"},
			{false, mission.ContentDerivationReceipt, 0, "receipt_not_sent"},
			{false, mission.ContentStatusObserved, 0, "status_missing"},
			{false, mission.ContentStatusObserved, 1, "cause_missing"},
			{false, mission.ContentPeerCeiling, 0, "ceiling_missing"},
			{false, mission.ContentConsentEvidence, 0, "consent_missing"},
			{false, "application/mas-local-mission-minted+json", 0, "mint_missing"},
			{false, "application/mas-derivation-acknowledged+json", 0, "receipt_missing"},
			{false, "application/mas-derivation-acknowledged+json", 0, "acknowledgement_missing"},
		} {
			x, y := origin, receiver
			if tc.atOrigin {
				x.Bundle = verifiertest.OpenBox(t, x.Bundle).Drop(tc.contentType, tc.n).Close()
			} else {
				y.Bundle = verifiertest.OpenBox(t, y.Bundle).Drop(tc.contentType, tc.n).Close()
			}
			wantExchange(t, "without "+tc.contentType, verifier.VerifyExchange(x, y, proofs), verifier.Unverifiable, tc.code)
		}
	})
}

func TestExchangeWithAnUnreachableOrigin(t *testing.T) {
	verifiertest.InBorder(t, func(t *testing.T, b *verifiertest.Border) {
		upstream, local := b.Convey()
		b.Cut()
		verifiertest.Settle()
		verifiertest.Settle()
		b.Origin.Move(upstream, mission.OpRevoke)
		origin, receiver, proofs := sides(t, b, upstream, local)
		r := verifier.VerifyExchange(origin, receiver, proofs)
		wantExchange(t, "held", r, verifier.OK)
		if m := r.Receiver.Missions[0]; m.State != mission.Active || !slices.Contains(m.Held, mission.HoldUpstreamUnverified) {
			t.Errorf("local mission %+v", m)
		}
		if s := steps(r)["end"]; s.Verdict != verifier.Verified {
			t.Errorf("end: %+v", s)
		}
	})
}

// A domain that lies in its own log is caught by what the other one has.
func TestExchangeWithALiar(t *testing.T) {
	for _, tc := range []struct {
		name string
		lie  func(t *testing.T, b *verifiertest.Border, upstream, local string) (up, down string)
		code string
	}{
		{"origin shows the receiver another tree", func(t *testing.T, b *verifiertest.Border, up, down string) (string, string) {
			keys := b.Origin.Ledger.Keys
			forged := ledger.Checkpoint{Origin: keys.Origin, Size: b.Origin.Ledger.MustView(t).Head().Size}
			forged.Root[0] = 1
			text, err := ledger.SignCheckpoint(forged, keys.Checkpoint)
			must(t, err)
			b.Receiver.Write(b.Receiver.Issuer+"/peers/"+authority.PeerID(b.Origin.Issuer), mission.ContentPeerCheckpoint, map[string]any{
				"issuer": b.Origin.Issuer, "occasion": "mint", "origin": forged.Origin, "size": forged.Size,
				"root": forged.Root.String(), "checkpoint": string(text)})
			return up, down
		}, "head_forked"},
		{"receiver makes more of it than was conveyed", func(t *testing.T, b *verifiertest.Border, up, down string) (string, string) {
			return up, remint(t, b, down, func(rec *mission.Record) {
				wider := federationtest.Held(federationtest.Read, federationtest.Write)
				rec.AuthoritySet, rec.ProposedAuthority = []mission.Entry{wider}, []mission.Entry{wider}
			})
		}, "local_wider"},
		{"receiver lets it live longer", func(t *testing.T, b *verifiertest.Border, up, down string) (string, string) {
			return up, remint(t, b, down, func(rec *mission.Record) {
				later := "2000-01-02T00:00:00Z"
				in := *rec.Intent
				in.ExpiresAt, rec.Intent, rec.ExpiresAt = later, &in, later
			})
		}, "local_expiry"},
		{"receiver names another upstream", func(t *testing.T, b *verifiertest.Border, up, down string) (string, string) {
			return up, remint(t, b, down, func(rec *mission.Record) { rec.Upstream.AuthorityHash = mission.RawDigest(nil) })
		}, "upstream_mismatch"},
		{"receiver forges a receipt for the origin", func(t *testing.T, b *verifiertest.Border, up, down string) (string, string) {
			b.Origin.Write(b.Origin.Issuer+"/missions/"+up, mission.ContentTransition, forgedEnd(t, b, up))
			return up, down
		}, "transition_illegal"},
	} {
		verifiertest.InBorder(t, func(t *testing.T, b *verifiertest.Border) {
			upstream, local := b.Convey()
			b.Origin.Move(upstream, mission.OpRevoke)
			verifiertest.Settle()
			upstream, local = tc.lie(t, b, upstream, local)
			origin, receiver, proofs := sides(t, b, upstream, local)
			wantExchange(t, tc.name, verifier.VerifyExchange(origin, receiver, proofs), verifier.Wrong, tc.code)
		})
	}
}

// remint writes another local mission into the receiver's log, as the mint would have if it followed no rules.
func remint(t *testing.T, b *verifiertest.Border, local string, edit func(*mission.Record)) string {
	t.Helper()
	was, _ := b.Receiver.History(local)
	rec, up := *was, *was.Upstream
	rec.Upstream, rec.ID = &up, mission.NewMissionID()
	edit(&rec)
	for i, e := range rec.AuthoritySet {
		d, err := mission.EntryDigest(rec.Issuer, e)
		must(t, err)
		up.Justification = slices.Clone(up.Justification)
		up.Justification[i].LocalEntry = d
	}
	must(t, rec.Seal())
	b.Receiver.Write(b.Receiver.Issuer+"/missions/"+string(rec.ID), mission.ContentApprovalRecord, &rec)
	return string(rec.ID)
}

// forgedEnd is a transition out of a terminal state.
func forgedEnd(t *testing.T, b *verifiertest.Border, id string) mission.TransitionRecord {
	t.Helper()
	_, cur := b.Origin.History(id)
	next := cur
	next.Version, next.State = cur.Version+1, mission.Active
	return mission.NewTransitionRecord(b.Origin.Issuer, cur, next, mission.OpResume)
}

func TestVerifyAgreement(t *testing.T) {
	verifiertest.InBorder(t, func(t *testing.T, b *verifiertest.Border) {
		trust := b.Origin.Trust()
		trust.Peers = []verifier.Anchor{b.Receiver.Trust().Anchor}
		ref, err := b.Signed.Agreement.Ref()
		must(t, err)
		trust.Agreements = []mission.Digest{ref.Digest}
		if fs := verifier.VerifyAgreement(b.Signed, trust); len(fs) > 0 {
			t.Errorf("genuine: %v", fs)
		}
		half := *b.Signed
		half.Signatures = half.Signatures[:1]
		changed := *b.Signed
		changed.Agreement.Freshness.MaxStaleSeconds++
		for name, tc := range map[string]struct {
			signed *federation.SignedAgreement
			edit   func(*verifier.Trust)
			code   string
		}{
			"one signature":       {signed: &half, code: "agreement_signature"},
			"other terms":         {signed: &changed, code: "agreement_signature"},
			"not listed":          {edit: func(t *verifier.Trust) { t.Agreements = nil }, code: "agreement_unlisted"},
			"other governance":    {edit: func(t *verifier.Trust) { t.Governance = b.Receiver.Trust().Governance }, code: "agreement_key"},
			"no governance key":   {edit: func(t *verifier.Trust) { t.Governance = nil }, code: "governance_key_unknown"},
			"other log":           {edit: func(t *verifier.Trust) { t.Peers[0].VKey = t.VKey }, code: "agreement_log"},
			"neither party known": {edit: func(t *verifier.Trust) { t.Issuer, t.Peers = "https://z.example", nil }, code: "parties_unknown"},
		} {
			signed, own := b.Signed, *trust
			own.Peers = slices.Clone(trust.Peers)
			if tc.signed != nil {
				signed = tc.signed
			}
			if tc.edit != nil {
				tc.edit(&own)
			}
			if fs := verifier.VerifyAgreement(signed, &own); !fs.Code(tc.code) {
				t.Errorf("%s: %v, want %s", name, fs, tc.code)
			}
		}
	})
}
