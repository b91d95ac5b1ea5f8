package registry_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/registry"
)

const harness = "application/mission-harness-evidence+json"

// order has two administrators make a change.
func (b *bench) order(e registry.Edit) registry.Result {
	b.t.Helper()
	p, err := b.Propose("admin-1", e)
	if err != nil {
		b.t.Fatal(err)
	}
	number := uint64(0)
	if p.Policy != nil {
		number = p.Policy.Number
	} else {
		number = p.Anchors.Number
	}
	got, err := b.Confirm(b.t.Context(), "admin-2", p.ID, number)
	if err != nil {
		b.t.Fatal(err)
	}
	return got
}

func (b *bench) kid() []byte { return b.producer.KeyID() }

// replay decides every entry again from the log and its public bodies.
func (b *bench) replay() (refused []uint64) {
	b.t.Helper()
	v := b.log.MustView(b.t)
	r, err := registry.Replay(b.t.Context(), v)
	if err != nil || r.Admitted+r.NotAdmitted != v.Head().Size || uint64(len(r.First)) != r.NotAdmitted {
		b.t.Fatalf("%+v, %v", r, err)
	}
	return r.First
}

// A replay finds what a log took that it should have refused, under the policy that was in force there.
func TestReplayFindsWhatWasNotAdmitted(t *testing.T) {
	b := newBench(t, plain)
	stranger, _ := ledgertest.NewProducer(t, pdpIssuer, decision)
	b.log.MustCommit(t, ledger.Change{Entries: []ledger.Entry{
		{Statement: b.statement(decision, "m1", "fine")},
		{Statement: b.statement("application/mission-approval-record+json", "m1", "x")},
		{Statement: b.signed(stranger, ledger.Claims{Issuer: pdpIssuer, Subject: b.keys.Subject(t, "m1"), ContentType: decision,
			Digest: ledger.Hash{1}})},
	}})
	b.order(registry.Edit{Remove: [][]byte{b.kid()}})
	b.log.MustCommit(t, ledger.Change{Entries: []ledger.Entry{{Statement: b.statement(decision, "m1", "late")}}})
	if got := b.replay(); !slices.Equal(got, []uint64{2, 3, 5}) {
		t.Errorf("%v", got)
	}
}

// Two administrators change who may register; from the next entry on the change holds, after a restart, too.
func TestOrderedChangesHold(t *testing.T) {
	b := newBench(t, plain)
	key, rule := ledgertest.NewProducer(t, "https://harness.example", harness)
	act := func(body string) registry.Result {
		return b.one(b.signed(key, ledger.Claims{Issuer: rule.Issuer, Subject: b.keys.Subject(t, "m1"), ContentType: harness,
			Digest: ledger.HashLeaf([]byte(body))}), "")
	}
	if got := act("before"); got.Outcome != registry.Rejected || !errors.Is(got.Err, ledger.ErrNoProducer) {
		t.Errorf("before: %+v", got)
	}
	if got := b.order(registry.Edit{Add: []ledger.Producer{rule}}); got.Index != 1 || got.Outcome != registry.Registered {
		t.Errorf("%+v", got)
	}
	if got := act("after"); got.Outcome != registry.Registered {
		t.Errorf("after: %+v", got)
	}
	if got := b.one(b.statement(decision, "m1", "x"), ""); got.Outcome != registry.Registered {
		t.Errorf("a producer that stayed: %+v", got)
	}
	b.order(registry.Edit{Remove: [][]byte{b.kid()}})
	if got := b.one(b.statement(decision, "m1", "y"), ""); got.Outcome != registry.Rejected {
		t.Errorf("a producer that was removed: %+v", got)
	}
	again, err := registry.New(b.config)
	if err != nil {
		t.Fatal(err)
	}
	if n, digest := again.Admission().PolicyInForce(); n != 2 {
		t.Errorf("number %d, %s after a restart", n, digest)
	}
	b.Registry = again
	if got := act("again"); got.Outcome != registry.Registered {
		t.Errorf("after a restart: %+v", got)
	}
	if refused := b.replay(); len(refused) > 0 {
		t.Errorf("not admitted by a replay: %v", refused)
	}
	_, documents, err := registry.Governed(b.log.MustView(t))
	if err != nil || len(documents) != 3 || documents[0].Index != 0 || documents[1].Number != 1 || documents[2].Number != 2 {
		t.Errorf("%+v, %v", documents, err)
	}
}

// One administrator alone changes nothing, a proposal is confirmed once, for the policy it was made for, for an hour.
func TestOrderNeedsTwo(t *testing.T) {
	b := newBench(t, plain)
	_, rule := ledgertest.NewProducer(t, "https://harness.example", harness)
	edit := registry.Edit{Add: []ledger.Producer{rule}}
	p, err := b.Propose("admin-1", edit)
	if err != nil || p.Policy.Number != 1 || len(p.Policy.Producers) != 2 || len(b.Proposals()) != 1 {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := b.Confirm(t.Context(), "admin-1", p.ID, 1); !errors.Is(err, registry.ErrSameAdmin) {
		t.Errorf("by the same: %v", err)
	}
	if _, err := b.Confirm(t.Context(), "admin-2", "other", 1); !errors.Is(err, registry.ErrNoProposal) {
		t.Errorf("another proposal: %v", err)
	}
	stale, err := b.Propose("admin-3", registry.Edit{Remove: [][]byte{b.kid()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Confirm(t.Context(), "admin-2", p.ID, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Confirm(t.Context(), "admin-2", p.ID, 1); !errors.Is(err, registry.ErrNoProposal) {
		t.Errorf("twice: %v", err)
	}
	if _, err := b.Confirm(t.Context(), "admin-2", stale.ID, 1); !errors.Is(err, registry.ErrStale) {
		t.Errorf("after another change: %v", err)
	}
	other, err := b.Propose("admin-1", registry.Edit{Remove: [][]byte{b.kid()}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Confirm(t.Context(), "admin-2", other.ID, 3); !errors.Is(err, registry.ErrStale) {
		t.Errorf("another number: %v", err)
	}
	late, err := b.Propose("admin-1", registry.Edit{Remove: [][]byte{b.kid()}})
	if err != nil {
		t.Fatal(err)
	}
	b.clock.Store(int64(time.Hour))
	if _, err := b.Confirm(t.Context(), "admin-2", late.ID, 2); !errors.Is(err, registry.ErrNoProposal) {
		t.Errorf("an hour later: %v", err)
	}
	if b.size() != 2 {
		t.Errorf("%d entries", b.size())
	}
	own, _ := ledger.NewKey(b.keys.EvidenceKey)
	for name, e := range map[string]registry.Edit{
		"nothing":            {},
		"both":               {Add: edit.Add, Anchors: &ledger.TrustAnchors{}},
		"an unknown key":     {Remove: [][]byte{{1}}},
		"a type of ours":     {Add: []ledger.Producer{{Issuer: "https://x.example", Key: rule.Key, Types: []string{"application/mas-x"}}}},
		"our issuer":         {Add: []ledger.Producer{{Issuer: b.keys.Issuer, Key: rule.Key, Types: []string{harness}}}},
		"without our key":    {Anchors: &ledger.TrustAnchors{EvidenceKeys: ledger.KeySet{rule.Key}}},
		"without a log key":  {Anchors: &ledger.TrustAnchors{EvidenceKeys: ledger.KeySet{own}}},
		"keys of no purpose": {Anchors: &ledger.TrustAnchors{}},
	} {
		if _, err := b.Propose("admin-1", e); !errors.Is(err, registry.ErrEdit) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range 32 {
		_, err = b.Propose("admin-1", registry.Edit{Remove: [][]byte{b.kid()}})
	}
	if !errors.Is(err, registry.ErrProposals) {
		t.Errorf("32 proposals: %v", err)
	}
}

// A statement that was decided under one policy and reaches the log after the next one is decided again.
func TestPolicyBetweenDecisionAndCommit(t *testing.T) {
	b := newBench(t, func(c *registry.Config) { c.Rate = 1 << 20 })
	p, err := b.Propose("admin-1", registry.Edit{Remove: [][]byte{b.kid()}})
	if err != nil {
		t.Fatal(err)
	}
	hold := b.store.Hold(false)
	confirmed := make(chan error, 1)
	go func() {
		_, err := b.Confirm(t.Context(), "admin-2", p.ID, 1)
		confirmed <- err
	}()
	<-hold.Entered
	results := make(chan registry.Result, 1)
	raw := b.statement(decision, "m1", "late")
	go func() { results <- b.one(raw, "") }()
	for b.log.Waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	hold.Release()
	if err := <-confirmed; err != nil {
		t.Fatal(err)
	}
	if got := <-results; got.Outcome != registry.Rejected {
		t.Errorf("%+v", got)
	}
	if refused := b.replay(); len(refused) > 0 {
		t.Errorf("not admitted by a replay: %v", refused)
	}
}

// The keys of the log change by the order of two, and the issuer's own next entry needs no other policy.
func TestOrderedAnchors(t *testing.T) {
	b := newBench(t, plain)
	own, err := ledger.NewKey(b.keys.EvidenceKey)
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := ledger.NewKey(b.keys.ReceiptKey)
	if err != nil {
		t.Fatal(err)
	}
	next, rule := ledgertest.NewProducer(t, "unused", harness)
	b.order(registry.Edit{Anchors: &ledger.TrustAnchors{LogKeys: []string{b.keys.VKey},
		ReceiptKeys: ledger.KeySet{receipt}, EvidenceKeys: ledger.KeySet{own, rule.Key}}})
	got := b.one(b.signed(next, ledger.Claims{Issuer: b.keys.Issuer, Subject: b.keys.Subject(t, "m1"),
		ContentType: "application/mission-approval-record+json", Digest: ledger.Hash{1}}), "")
	if got.Outcome != registry.Registered {
		t.Errorf("under the new key: %+v", got)
	}
	if n, _ := b.Admission().AnchorsInForce(); n != 1 || len(b.Admission().Producers()) != 1 {
		t.Errorf("number %d, %d producers", n, len(b.Admission().Producers()))
	}
	if refused := b.replay(); len(refused) > 0 {
		t.Errorf("not admitted by a replay: %v", refused)
	}
}
