package verifier_test

import (
	"testing"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/verifier"
	"github.com/mission-authority/mas/verifier/verifiertest"
)

// TestBundleIsCompleteByEpoch: a bundle with a feed epoch is complete as of the size that the epoch covers: its feeds
// hold what the map says, and a feed that it shows to be empty is. What is left out, and a proof of something else, is
// found.
//
// Audit rows: 135.
func TestBundleIsCompleteByEpoch(t *testing.T) {
	d, id, _ := sample(t)
	d.Cover()
	subjects := append(d.Feeds(id), verifiertest.MissionSubject("msn_nobody"))
	const feeds = "proofs/feeds.cbor"
	good := verifiertest.OpenBox(t, d.Export(id, subjects))
	other := verifiertest.OpenBox(t, d.Export(id, d.Feeds(id)[2:]))
	bare := verifiertest.OpenBox(t, d.Bundle(id))
	size := d.Ledger.MustView(t).Head().Size
	for _, tc := range []struct {
		name    string
		change  func(b *verifiertest.Box)
		outcome verifier.Outcome
		code    string
		by      string
		asOf    uint64
	}{
		{name: "whole", outcome: verifier.OK, by: "epoch", asOf: size - 1, change: func(*verifiertest.Box) {}},
		{name: "last entry left out", outcome: verifier.Unverifiable, code: "feed_gap", change: func(b *verifiertest.Box) {
			b.Drop(mission.ContentTransition, 2)
		}},
		{name: "a proof about another feed", outcome: verifier.Unverifiable, code: "feed_end_unproven",
			change: func(b *verifiertest.Box) { b.Files[feeds] = other.Files[feeds] }},
		{name: "a changed proof", outcome: verifier.Wrong, code: "map_proof_invalid", change: func(b *verifiertest.Box) {
			raw := append([]byte(nil), b.Files[feeds]...)
			raw[len(raw)-1] ^= 1
			b.Files[feeds] = raw
		}},
		{name: "no epoch", outcome: verifier.Unverifiable, code: "epoch_missing", change: func(b *verifiertest.Box) {
			b.Drop(ledger.ContentTypeFeedEpoch, 0)
		}},
		{name: "no proof", outcome: verifier.Unverifiable, code: "feed_end_unproven", change: func(b *verifiertest.Box) {
			delete(b.Files, feeds)
		}},
	} {
		b := good.Clone()
		tc.change(b)
		r := verifier.VerifyBundle(b.Close(), d.Trust(), verifier.BundleOptions{Mission: id})
		if r.Outcome != tc.outcome || tc.code != "" && !r.All().Code(tc.code) || r.By != tc.by || r.AsOf != tc.asOf {
			t.Errorf("%s: %s by %q as of %d, %v", tc.name, r.Outcome, r.By, r.AsOf, r.All())
		}
	}
	delete(bare.Files, feeds)
	if r := verifier.VerifyBundle(bare.Close(), d.Trust(), verifier.BundleOptions{}); r.Outcome != verifier.OK || r.By != "log" {
		t.Errorf("without a proof: %s by %q, %v", r.Outcome, r.By, r.All())
	}
}

// TestApproverIsEntitled: the principals that an approval cites show that its approver was one; without them that is
// not claimed.
func TestApproverIsEntitled(t *testing.T) {
	d, id, good := sample(t)
	r := verifier.VerifyBundle(good.Close(), d.Trust(), verifier.BundleOptions{Mission: id})
	if r.Outcome != verifier.OK || !r.Missions[0].Entitled || claims(r, "approver_entitlement") {
		t.Errorf("%s, %+v, %v", r.Outcome, r.Missions[0], r.NotClaimed)
	}
	r = verifier.VerifyBundle(d.Export(id, d.Feeds(id)[:2]), d.Trust(), verifier.BundleOptions{Mission: id})
	if r.Outcome != verifier.OK || r.Missions[0].Entitled || !claims(r, "approver_entitlement") {
		t.Errorf("without principals: %s, %+v, %v", r.Outcome, r.Missions[0], r.NotClaimed)
	}
}

// TestManifestIsSigned: the exporter's logged statement of a manifest holds for that manifest alone, and only if it was
// registered as an export of this log after the head of the bundle.
func TestManifestIsSigned(t *testing.T) {
	d, id, _ := sample(t)
	bundle := d.Bundle(id)
	box := verifiertest.OpenBox(t, bundle)
	manifest := box.Files["manifest.json"]
	exports := d.Issuer + "/exports/exp_1"
	good := d.Signed(exports, verifier.ContentTypeManifest, manifest)
	for name, tc := range map[string]struct {
		statement []byte
		ok        bool
	}{
		"signed":           {good, true},
		"another manifest": {d.Signed(exports, verifier.ContentTypeManifest, append(manifest[:0:0], "{}"...)), false},
		"another subject":  {d.Signed(d.Issuer+"/log", verifier.ContentTypeManifest, manifest), false},
		"another type":     {d.Signed(exports, "application/json", manifest), false},
		"an older entry":   {d.Transparent(1), false},
		"no receipt":       {good[:40], false},
	} {
		signed := box.Clone()
		signed.Files["manifest.cose"] = tc.statement
		r := verifier.VerifyBundle(signed.Pack(), d.Trust(), verifier.BundleOptions{Mission: id})
		if (r.Outcome == verifier.OK) != tc.ok || (r.Export != nil) != tc.ok || claims(r, "manifest_unsigned") == tc.ok {
			t.Errorf("%s: %s, %v, not claimed %v", name, r.Outcome, r.All(), r.NotClaimed)
		}
		if !tc.ok && !r.All().Code("manifest_signature") {
			t.Errorf("%s: %v", name, r.All())
		}
	}
	if r := verifier.VerifyBundle(bundle, d.Trust(), verifier.BundleOptions{}); r.Outcome != verifier.OK || !claims(r, "manifest_unsigned") {
		t.Errorf("unsigned: %s, %v", r.Outcome, r.NotClaimed)
	}
}

func claims(r *verifier.BundleReport, code string) bool {
	for _, c := range r.NotClaimed {
		if c.Code == code {
			return true
		}
	}
	return false
}
