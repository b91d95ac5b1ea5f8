package registry_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/registry"
)

const (
	decision  = "application/mission-decision-evidence+json"
	execution = "application/mission-execution-evidence+json"
	pdpIssuer = "https://pdp.example"
)

// A bench is a registry over a log in memory, with one producer.
type bench struct {
	t        *testing.T
	log      *ledgertest.Log
	store    *ledgertest.FaultStore
	keys     *ledgertest.Keys
	producer ledger.Signer
	config   registry.Config
	clock    atomic.Int64 // added to the real clock
	mu       sync.Mutex
	counted  map[registry.Outcome]int
	*registry.Registry
}

func newBench(t *testing.T, change func(*registry.Config)) *bench {
	t.Helper()
	b := &bench{t: t, keys: ledgertest.NewKeys(t, "log.a.example/log/1"), counted: map[registry.Outcome]int{}}
	var rule ledger.Producer
	b.producer, rule = ledgertest.NewProducer(t, pdpIssuer, decision, execution)
	b.keys.Producers = []ledger.Producer{rule}
	b.store = ledgertest.NewFaultStore(ledgertest.NewStore())
	b.log = ledgertest.NewLog(t, ledgertest.Options{Keys: b.keys, Store: b.store})
	b.config = registry.Config{
		Log: b.log, Evidence: b.keys.Evidence, Rate: 1000, Wait: time.Minute,
		Now: func() time.Time { return time.Now().Add(time.Duration(b.clock.Load())) },
		Observe: func(o registry.Outcome, n int) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.counted[o] += n
		},
		Check: func(contentType string, body []byte, issuer, _ string) (registry.Facts, error) {
			if bytes.HasPrefix(body, []byte("bad")) {
				return registry.Facts{}, errors.New("bad")
			}
			if id, _, ok := bytes.Cut(body, []byte(":")); ok && contentType == execution {
				return registry.Facts{Unique: issuer + " " + string(id)}, nil
			}
			return registry.Facts{}, nil
		},
	}
	change(&b.config)
	var err error
	if b.Registry, err = registry.New(b.config); err != nil {
		t.Fatal(err)
	}
	return b
}

func plain(*registry.Config) {}

// statement signs a statement of the producer over a body.
func (b *bench) statement(contentType, mission, body string) []byte {
	b.t.Helper()
	return b.signed(b.producer, ledger.Claims{Issuer: pdpIssuer, Subject: b.keys.Subject(b.t, mission),
		ContentType: contentType, Digest: sha256.Sum256([]byte(body))})
}

func (b *bench) signed(key ledger.Signer, c ledger.Claims) []byte {
	b.t.Helper()
	raw, err := ledger.SignStatement(b.t.Context(), c, key)
	if err != nil {
		b.t.Fatal(err)
	}
	return raw
}

// one registers one statement.
func (b *bench) one(statement []byte, body string) registry.Result {
	b.t.Helper()
	var octets []byte
	if body != "" {
		octets = []byte(body)
	}
	results, err := b.Register(b.t.Context(), registry.Request{Producer: "pdp",
		Items: []registry.Item{{Statement: statement, Body: octets}}})
	if err != nil {
		return registry.Result{Outcome: registry.OutcomeOf(err), Err: err}
	}
	return results[0]
}

func (b *bench) size() uint64 { return b.log.MustView(b.t).Head().Size }

func TestRegister(t *testing.T) {
	b := newBench(t, plain)
	raw := b.statement(decision, "m1", "body")
	got := b.one(raw, "body")
	if got.Err != nil || got.Outcome != registry.Registered || got.Index != 1 || got.TreeSize != 2 ||
		got.EntryID != ledger.HashLeaf(raw).String() {
		t.Fatalf("%+v", got)
	}
	v := b.log.MustView(t)
	if body, err := v.Body(sha256.Sum256([]byte("body"))); err != nil || string(body) != "body" {
		t.Errorf("%q, %v", body, err)
	}
	if e, err := v.Entry(1); err != nil || !bytes.Equal(e.Statement, raw) {
		t.Errorf("%v", err)
	}
	if b.Backlog() != 0 || b.Lag() != 0 || b.Late() {
		t.Errorf("%d waiting for %v", b.Backlog(), b.Lag())
	}
}

// What is refused is refused for its own reason, and leaves nothing in the log.
//
// Audit rows: 15.
func TestRefusals(t *testing.T) {
	b := newBench(t, plain)
	claims := ledger.Claims{Issuer: pdpIssuer, Subject: b.keys.Subject(t, "m1"), ContentType: decision, Digest: ledger.Hash{1}}
	with := func(change func(*ledger.Claims)) ledger.Claims {
		c := claims
		change(&c)
		return c
	}
	stranger, _ := ledgertest.NewProducer(t, "https://stranger.example", decision)
	for name, c := range map[string]struct {
		raw  []byte
		body string
		want registry.Outcome
	}{
		"no statement":       {[]byte("statement"), "", registry.Malformed},
		"nothing":            {nil, "", registry.Malformed},
		"a huge statement":   {make([]byte, ledger.MaxReceivedSize+1), "", registry.TooLarge},
		"another type":       {b.signed(b.producer, with(func(c *ledger.Claims) { c.ContentType = "application/mission-approval-record+json" })), "", registry.Rejected},
		"another issuer":     {b.signed(b.producer, with(func(c *ledger.Claims) { c.Issuer = b.keys.Issuer })), "", registry.Rejected},
		"an unknown key":     {b.signed(stranger, claims), "", registry.Rejected},
		"another's key":      {b.signed(b.keys.Evidence, claims), "", registry.Rejected},
		"another subject":    {b.signed(b.producer, with(func(c *ledger.Claims) { c.Subject = b.keys.Issuer + "/policy" })), "", registry.Rejected},
		"another body":       {b.statement(decision, "m1", "body"), "other", registry.BadBody},
		"a body of no type":  {b.statement(decision, "m1", "bad"), "bad", registry.BadBody},
		"a policy":           {b.signed(b.keys.Evidence, ledger.Claims{Issuer: b.keys.Issuer, Subject: b.keys.Issuer + "/policy", ContentType: ledger.ContentTypePolicy, Digest: ledger.Hash{1}}), "", registry.Rejected},
		"a broken signature": {append(b.signed(b.producer, claims)[:len(b.signed(b.producer, claims))-1], 0), "", registry.Rejected},
	} {
		got := b.one(c.raw, c.body)
		if got.Outcome != c.want || registry.OutcomeOf(got.Err) != c.want {
			t.Errorf("%s: %q, %v", name, got.Outcome, got.Err)
		}
	}
	if b.size() != 1 {
		t.Errorf("the log has %d entries", b.size())
	}
	for _, n := range []int{0, registry.MaxBatch + 1} {
		_, err := b.Register(t.Context(), registry.Request{Producer: "pdp", Items: make([]registry.Item, n)})
		if registry.OutcomeOf(err) != registry.TooLarge {
			t.Errorf("%d statements: %v", n, err)
		}
	}
}

// The same statement is one entry however often and however many at once submit it, and the same commitment under
// another signature is the entry that is there.
//
// Audit rows: 75.
func TestDuplicates(t *testing.T) {
	b := newBench(t, plain)
	raw := b.statement(decision, "m1", "body")
	outcomes := map[registry.Outcome]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			got := b.one(raw, "")
			mu.Lock()
			defer mu.Unlock()
			outcomes[got.Outcome]++
			if got.Err != nil || got.Index != 1 || got.EntryID != ledger.HashLeaf(raw).String() {
				t.Errorf("%+v", got)
			}
		})
	}
	wg.Wait()
	if want := map[registry.Outcome]int{registry.Registered: 1, registry.Repeated: 99}; !maps.Equal(outcomes, want) {
		t.Errorf("%v", outcomes)
	}
	again := b.statement(decision, "m1", "body") // ECDSA: another signature
	if bytes.Equal(again, raw) {
		t.Fatal("the case needs another signature")
	}
	got := b.one(again, "")
	if got.Outcome != registry.Recommitted || got.EntryID != ledger.HashLeaf(raw).String() || got.Index != 1 {
		t.Errorf("%+v", got)
	}
	if b.size() != 2 {
		t.Errorf("%d entries", b.size())
	}
	v := b.log.MustView(t)
	if e, err := v.Entry(got.Index); err != nil || !bytes.Equal(e.Statement, raw) {
		t.Errorf("the statement that is there: %v", err)
	}
}

// One execution id is one record: another record with it is refused, however it comes, the same one is a repetition.
func TestOneRecordForOneID(t *testing.T) {
	b := newBench(t, plain)
	first := b.one(b.statement(execution, "m1", "exec-1:a"), "exec-1:a")
	if first.Err != nil {
		t.Fatal(first.Err)
	}
	if got := b.one(b.statement(execution, "m1", "exec-1:b"), "exec-1:b"); got.Outcome != registry.Contested {
		t.Errorf("another record: %+v", got)
	}
	if got := b.one(b.statement(execution, "m2", "exec-1:b"), "exec-1:b"); got.Outcome != registry.Contested {
		t.Errorf("in another mission: %+v", got)
	}
	if got := b.one(b.statement(execution, "m1", "exec-1:a"), "exec-1:a"); got.Outcome != registry.Recommitted ||
		got.EntryID != first.EntryID {
		t.Errorf("the same record: %+v", got)
	}
	// Two at once, and two in one request.
	var wg sync.WaitGroup
	var accepted atomic.Int64
	for i := range 16 {
		wg.Go(func() {
			body := fmt.Sprintf("exec-2:%d", i)
			if b.one(b.statement(execution, "m1", body), body).Err == nil {
				accepted.Add(1)
			}
		})
	}
	wg.Wait()
	if accepted.Load() != 1 {
		t.Errorf("%d records of one execution", accepted.Load())
	}
	results, err := b.Register(t.Context(), registry.Request{Producer: "pdp", Items: []registry.Item{
		{Statement: b.statement(execution, "m1", "exec-3:a"), Body: []byte("exec-3:a")},
		{Statement: b.statement(execution, "m1", "exec-3:b"), Body: []byte("exec-3:b")},
		{Statement: b.statement(execution, "m1", "exec-3:a"), Body: []byte("exec-3:a")},
	}})
	if err != nil || results[0].Outcome != registry.Registered || results[1].Outcome != registry.Contested ||
		results[2].Outcome != registry.Recommitted {
		t.Errorf("%+v, %v", results, err)
	}
}

// Every item of a batch has its own fate; what is admitted is one commit.
func TestBatch(t *testing.T) {
	b := newBench(t, plain)
	items := []registry.Item{
		{Statement: b.statement(decision, "m1", "a")},
		{Statement: []byte("no statement")},
		{Statement: b.statement("application/mission-approval-record+json", "m1", "b")},
		{Statement: b.statement(decision, "m2", "c"), Body: []byte("c")},
	}
	items = append(items, items[0])
	results, err := b.Register(t.Context(), registry.Request{Producer: "pdp", Items: items})
	if err != nil {
		t.Fatal(err)
	}
	var outcomes []registry.Outcome
	for _, r := range results {
		outcomes = append(outcomes, r.Outcome)
	}
	want := []registry.Outcome{registry.Registered, registry.Malformed, registry.Rejected, registry.Registered, registry.Repeated}
	if !slices.Equal(outcomes, want) {
		t.Errorf("%v", outcomes)
	}
	if results[0].Index != 1 || results[3].Index != 2 || results[4].Index != 1 || results[3].TreeSize != 3 {
		t.Errorf("%+v", results)
	}
	if !maps.Equal(b.counted, map[registry.Outcome]int{registry.Registered: 2, registry.Malformed: 1,
		registry.Rejected: 1, registry.Repeated: 1}) {
		t.Errorf("counted %v", b.counted)
	}
}

// A key of a producer stands for one request for a day; another producer's same key is another key.
func TestIdempotencyKeys(t *testing.T) {
	b := newBench(t, plain)
	request := func(producer, key, body string) ([]registry.Result, error) {
		return b.Register(t.Context(), registry.Request{Producer: producer, Key: key,
			Items: []registry.Item{{Statement: b.statement(decision, "m1", body), Body: []byte(body)}}})
	}
	same := registry.Request{Producer: "pdp", Key: "k", Items: []registry.Item{{Statement: b.statement(decision, "m1", "a"), Body: []byte("a")}}}
	first, err := b.Register(t.Context(), same)
	if err != nil || first[0].Outcome != registry.Registered {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := b.Register(t.Context(), same)
	if err != nil || again[0].Outcome != registry.Replayed || again[0].EntryID != first[0].EntryID || again[0].Index != first[0].Index {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := request("pdp", "k", "b"); registry.OutcomeOf(err) != registry.Misused {
		t.Errorf("another request: %v", err)
	}
	if got, err := request("harness", "k", "b"); err != nil || got[0].Outcome != registry.Registered {
		t.Errorf("another producer: %+v, %v", got, err)
	}
	b.clock.Store(int64(24*time.Hour - time.Second))
	if _, err := request("pdp", "k", "c"); registry.OutcomeOf(err) != registry.Misused {
		t.Errorf("within the day: %v", err)
	}
	b.clock.Store(int64(25 * time.Hour))
	if got, err := request("pdp", "k", "c"); err != nil || got[0].Outcome != registry.Registered {
		t.Errorf("a day later: %+v, %v", got, err)
	}
	if _, err := request("pdp", string(make([]byte, 256)), "d"); registry.OutcomeOf(err) != registry.Malformed {
		t.Errorf("a long key: %v", err)
	}
	// Many at once: one registers, all learn the same entry.
	same.Key, same.Items = "burst", []registry.Item{{Statement: b.statement(decision, "m2", "e")}}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if got, err := b.Register(t.Context(), same); err != nil || got[0].EntryID == "" || got[0].Err != nil {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	wg.Wait()
}

func TestRate(t *testing.T) {
	b := newBench(t, func(c *registry.Config) {
		c.Rate = 1
		at := time.Now()
		c.Now = func() time.Time { return at }
	})
	items := make([]registry.Item, registry.MaxBatch)
	if _, err := b.Register(t.Context(), registry.Request{Producer: "pdp", Items: items}); err != nil {
		t.Fatal(err)
	}
	_, err := b.Register(t.Context(), registry.Request{Producer: "pdp", Items: items[:2]})
	limited, ok := errors.AsType[*registry.Refusal](err)
	if !ok || limited.Outcome != registry.Limited || limited.RetryAfter != 2*time.Second {
		t.Errorf("%+v", err)
	}
	if _, err := b.Register(t.Context(), registry.Request{Producer: "pep", Items: items[:2]}); err != nil {
		t.Errorf("another producer: %v", err)
	}
}

// While the log is slow, callers are promised their entries, what waits is bounded, the lag is told, and in the end
// everything that was promised is there.
//
// Audit rows: 71.
func TestPromises(t *testing.T) {
	b := newBench(t, func(c *registry.Config) { c.Wait, c.Rate = time.Millisecond, 1<<20 })
	hold := b.store.Hold(false)
	raw := b.statement(decision, "m1", "a")
	got := b.one(raw, "")
	if got.Outcome != registry.Promised || got.Err != nil || got.EntryID != ledger.HashLeaf(raw).String() {
		t.Fatalf("%+v", got)
	}
	<-hold.Entered
	if p, ok := b.Promise(got.EntryID); !ok || !p.Pending || p.Producer != "pdp" {
		t.Errorf("%+v, %v", p, ok)
	}
	// A second signature over the same commitment is promised, too, and will turn out to be the first one's entry.
	second := b.one(b.statement(decision, "m1", "a"), "")
	b.clock.Store(int64(time.Minute))
	if b.Backlog() != 2 || b.Lag() < time.Minute || !b.Late() {
		t.Errorf("%d waiting for %v, late: %v", b.Backlog(), b.Lag(), b.Late())
	}
	full := make([]registry.Item, registry.MaxBatch)
	for i := range full {
		full[i].Statement = raw
	}
	busy := 0
	for range registry.MaxWaiting/registry.MaxBatch + 1 {
		_, err := b.Register(t.Context(), registry.Request{Producer: "pdp", Items: full})
		if refusal, ok := errors.AsType[*registry.Refusal](err); ok && refusal.Outcome == registry.Overloaded && refusal.RetryAfter > 0 {
			busy++
		}
	}
	if busy == 0 || b.Backlog() > registry.MaxWaiting {
		t.Errorf("%d refused, %d waiting", busy, b.Backlog())
	}
	hold.Release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if p, ok := b.Promise(got.EntryID); ok {
		t.Errorf("a promise that was kept: %+v", p)
	}
	if index, err := b.log.MustView(t).Lookup(got.EntryID); err != nil || index != 1 {
		t.Errorf("index %d, %v", index, err)
	}
	if p, ok := b.Promise(second.EntryID); !ok || p.Pending || p.EntryID != got.EntryID || p.Err != nil {
		t.Errorf("the second signature: %+v, %v", p, ok)
	}
	b.clock.Store(int64(time.Hour))
	if p, ok := b.Promise(second.EntryID); ok {
		t.Errorf("an hour later: %+v", p)
	}
	if b.Backlog() != 0 || b.Late() {
		t.Errorf("%d waiting", b.Backlog())
	}
}

// A promise that the log could not keep says so.
func TestBrokenPromise(t *testing.T) {
	b := newBench(t, func(c *registry.Config) { c.Wait = time.Millisecond })
	b.store.Inject(1, ledgertest.Refuse)
	hold := b.store.Hold(false)
	got := b.one(b.statement(decision, "m1", "a"), "")
	hold.Release()
	for got.Outcome == registry.Promised {
		p, ok := b.Promise(got.EntryID)
		if ok && p.Pending {
			time.Sleep(time.Millisecond)
			continue
		}
		if !ok || registry.OutcomeOf(p.Err) != registry.Overloaded {
			t.Errorf("%+v, %v", p, ok)
		}
		return
	}
	if got.Outcome != registry.Overloaded {
		t.Errorf("%+v", got)
	}
}

// A log that does not say how it begins has no registry.
func TestNewRefuses(t *testing.T) {
	b := newBench(t, plain)
	for name, change := range map[string]func(*registry.Config){
		"no log":  func(c *registry.Config) { c.Log = nil },
		"no key":  func(c *registry.Config) { c.Evidence = nil },
		"no rate": func(c *registry.Config) { c.Rate = 0 },
		"no wait": func(c *registry.Config) { c.Wait = 0 },
	} {
		c := b.config
		change(&c)
		if _, err := registry.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	b.log.Stop()
	if _, err := registry.New(b.config); err == nil {
		t.Error("a closed log: accepted")
	}
	if got := b.one(b.statement(decision, "m1", "a"), ""); got.Outcome != registry.Overloaded {
		t.Errorf("registering in a closed log: %+v", got)
	}
}
