package custody_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/custody"
	"github.com/mission-authority/mas/mission/evidence"
)

const days = 24 * time.Hour

// missions is what a state owner knows: which subjects have ended, and when.
type missions struct {
	mu     sync.Mutex
	ended  map[string]time.Time
	forgot []string
}

func (m *missions) Ended(_ ledger.View, kind ledger.SubjectKind, id string) (time.Time, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	since, ok := m.ended[id]
	return since, ok || kind == ledger.SubjectExports, nil
}

func (m *missions) Forget(_ ledger.SubjectKind, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgot = append(m.forgot, id)
}

// A keeper is a custody over a log in memory.
type keeper struct {
	*custody.Custody
	testing.TB
	log      *ledgertest.Log
	missions *missions
	now      time.Time
	broken   error // what the vault says instead of erasing
	erased   int
}

func (k *keeper) EraseBody(digest ledger.Hash) error {
	if k.broken != nil {
		return k.broken
	}
	k.erased++
	return k.log.EraseBody(digest)
}

func newKeeper(t testing.TB, retention string) *keeper {
	t.Helper()
	k := &keeper{TB: t, missions: &missions{ended: map[string]time.Time{}}, now: time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC)}
	k.log = ledgertest.NewLog(t, ledgertest.Options{Now: func() time.Time { return k.now }})
	c := custody.Config{Issuer: k.log.Keys.Issuer, Log: k.log, Vault: k, Evidence: k.log.Keys.Evidence, Missions: k.missions,
		Now: func() time.Time { return k.now }, Logger: slog.New(slog.DiscardHandler)}
	var err error
	if retention != "" {
		if c.Retention, err = custody.ParseRetention([]byte(retention)); err != nil {
			t.Fatal(err)
		}
	}
	if k.Custody, err = custody.New(c); err != nil {
		t.Fatal(err)
	}
	return k
}

// put logs a body about a mission and returns its entry id and digest.
func (k *keeper) put(id, body string) (entry string, digest ledger.Hash) {
	k.Helper()
	done := k.log.MustCommit(k, ledger.Change{Entries: []ledger.Entry{k.log.Keys.WithBody(k, id, []byte(body))}})
	return done.Results[0].EntryID, sha256.Sum256([]byte(body))
}

func (k *keeper) end(id string) { k.missions.ended[id] = k.now }

// body opens a body at the newest view.
func (k *keeper) body(digest ledger.Hash) ([]byte, error) {
	v, err := k.log.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	return v.Body(digest)
}

// feed returns the bodies of a feed whose type is contentType.
func (k *keeper) feed(subject, contentType string) (bodies [][]byte) {
	k.Helper()
	v := k.log.MustView(k)
	for index, err := range v.Feed(subject, -1) {
		if err != nil {
			k.Fatal(err)
		}
		e, err := v.Entry(index)
		if err != nil {
			k.Fatal(err)
		}
		s, err := ledger.ParseStatement(e.Statement)
		if err != nil {
			k.Fatal(err)
		}
		if s.ContentType != contentType {
			continue
		}
		body, err := v.Body(s.Digest)
		if err != nil {
			k.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	return bodies
}

// Audit rows: 120, 128.
func TestErase(t *testing.T) {
	k := newKeeper(t, "")
	entry, digest := k.put("msn_a", "the body")
	_, other := k.put("msn_a", "another body")
	if _, _, err := k.Erase(t.Context(), entry, evidence.BasisDataSubject, "admin"); !errors.Is(err, custody.ErrInUse) {
		t.Fatalf("while the mission goes on: %v", err)
	}
	k.end("msn_a")
	e, again, err := k.Erase(t.Context(), entry, evidence.BasisDataSubject, "admin")
	if err != nil || again || e.Entry != entry {
		t.Fatalf("%+v, again %v, %v", e, again, err)
	}
	if _, err := k.body(digest); !errors.Is(err, ledger.ErrErased) {
		t.Errorf("the body after its erasure: %v", err)
	}
	if _, err := k.body(other); err != nil {
		t.Errorf("a body beside it: %v", err)
	}
	records := k.feed(k.log.Keys.Subject(t, "msn_a"), evidence.ContentErasure)
	if len(records) != 1 {
		t.Fatalf("records %q", records)
	}
	f, err := evidence.Check(evidence.ContentErasure, records[0],
		evidence.Claims{Issuer: k.log.Keys.Issuer, Subject: k.log.Keys.Subject(t, "msn_a")})
	if err != nil || f.Erases != mission.DigestOf(digest) ||
		string(f.Record.(*evidence.Erasure).Rest["mas_ordered_by"].Bytes()) != `"admin"` {
		t.Errorf("record %q: %v", records[0], err)
	}
	second, again, err := k.Erase(t.Context(), entry, evidence.BasisRetention, "admin-2")
	if err != nil || !again || second != e {
		t.Errorf("again: %+v, %v, %v", second, again, err)
	}
	if n := len(k.feed(k.log.Keys.Subject(t, "msn_a"), evidence.ContentErasure)); n != 1 {
		t.Errorf("%d records", n)
	}
	if len(k.missions.forgot) == 0 || k.missions.forgot[0] != "msn_a" {
		t.Errorf("forgot %v", k.missions.forgot)
	}
	ledgertest.CheckLog(t, k.log, k.log.Keys.VKey)
}

// Only what exists is erased, only for a known reason, and nothing that the log cannot do without.
//
// Audit rows: 120.
func TestWhatIsNotErased(t *testing.T) {
	k := newKeeper(t, "")
	entry, digest := k.put("msn_a", "the body")
	k.end("msn_a")
	e, _, err := k.Erase(t.Context(), entry, evidence.BasisDataSubject, "admin")
	if err != nil {
		t.Fatal(err)
	}
	second, _ := k.put("msn_a", "another body")
	v := k.log.MustView(t)
	genesis, err := v.Entry(0)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		entry, basis string
		want         error
	}{
		"no entry id":       {"x", evidence.BasisDataSubject, ledger.ErrNotFound},
		"unknown entry":     {strings.Repeat("0", 64), evidence.BasisDataSubject, ledger.ErrNotFound},
		"another reason":    {second, "because", custody.ErrInvalid},
		"genesis":           {ledger.EntryID(ledger.HashLeaf(genesis.Statement)), evidence.BasisDataSubject, custody.ErrPublic},
		"an erasure record": {e.Record, evidence.BasisDataSubject, custody.ErrInUse},
	} {
		if _, _, err := k.Erase(t.Context(), c.entry, c.basis, "admin"); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := k.CarryOut(t.Context(), entry, e.Record); err == nil {
		t.Error("something that is no erasure record was carried out")
	}
	if _, err := k.body(digest); !errors.Is(err, ledger.ErrErased) {
		t.Error(err)
	}
}

// Evidence of another producer is erased by a record of that producer, in the same feed, and by no other.
//
// Audit rows: 120.
func TestErasureByTheProducer(t *testing.T) {
	k := newKeeper(t, "")
	signer := ledgertest.NewKeys(t, "log.b.example/log/1").Evidence
	foreign := func(issuer, id, contentType string, body []byte) string {
		t.Helper()
		raw, err := ledger.SignStatement(t.Context(), ledger.Claims{Issuer: issuer, Subject: k.log.Keys.Subject(t, id),
			ContentType: contentType, Digest: sha256.Sum256(body)}, signer)
		if err != nil {
			t.Fatal(err)
		}
		return k.log.MustCommit(t, ledger.Change{Entries: []ledger.Entry{{Statement: raw, Body: body}}}).Results[0].EntryID
	}
	const pdp, pep, decision = "https://pdp.example", "https://pep.example", "application/mission-decision-evidence+json"
	body := []byte("a decision")
	entry := foreign(pdp, "msn_a", decision, body)
	if _, _, err := k.Erase(t.Context(), entry, evidence.BasisDataSubject, "admin"); !errors.Is(err, custody.ErrProducer) {
		t.Fatalf("by an administrator: %v", err)
	}
	record := func(digest mission.Digest) []byte {
		b, err := mission.Marshal(evidence.Erasure{Erased: digest, Basis: evidence.BasisDataSubject,
			ErasedAt: mission.FormatTime(k.now), Salt: mission.NewSalt()})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	digest := mission.RawDigest(body)
	for name, by := range map[string]string{
		"another producer":  foreign(pep, "msn_a", evidence.ContentErasure, record(digest)),
		"another feed":      foreign(pdp, "msn_b", evidence.ContentErasure, record(digest)),
		"another body":      foreign(pdp, "msn_a", evidence.ContentErasure, record(mission.RawDigest([]byte("x")))),
		"no erasure record": foreign(pdp, "msn_a", decision, record(digest)),
	} {
		if _, _, err := k.CarryOut(t.Context(), by, entry); err == nil {
			t.Errorf("%s: carried out", name)
		}
	}
	if _, err := k.body(sha256.Sum256(body)); err != nil {
		t.Fatal(err)
	}
	by := foreign(pdp, "msn_a", evidence.ContentErasure, record(digest))
	e, _, err := k.CarryOut(t.Context(), by, entry)
	if err != nil || e.Record != by {
		t.Fatalf("%+v, %v", e, err)
	}
	if _, err := k.body(sha256.Sum256(body)); !errors.Is(err, ledger.ErrErased) {
		t.Error(err)
	}
	if _, again, err := k.CarryOut(t.Context(), by, entry); err != nil || !again {
		t.Errorf("again: %v, %v", again, err)
	}
}

// A crash between the logged erasure and the destroyed key is finished by Recover, whose work is done once.
//
// Audit rows: 128.
func TestRecoverFinishesErasures(t *testing.T) {
	k := newKeeper(t, "")
	entry, digest := k.put("msn_a", "the body")
	k.end("msn_a")
	k.broken = errors.New("no key file")
	_, _, err := k.Erase(t.Context(), entry, evidence.BasisDataSubject, "admin")
	if !errors.Is(err, ledger.ErrOutcomeUnknown) {
		t.Fatalf("with a broken vault: %v", err)
	}
	if _, err := k.Read(t.Context(), digest, "auditor"); !errors.Is(err, ledger.ErrErased) {
		t.Errorf("a body whose erasure is logged was read: %v", err)
	}
	if _, err := k.Recover(t.Context()); err == nil {
		t.Error("Recover hides that the vault is broken")
	}
	k.broken = nil
	if n, err := k.Recover(t.Context()); n != 1 || err != nil {
		t.Fatalf("recovered %d, %v", n, err)
	}
	if _, err := k.body(digest); !errors.Is(err, ledger.ErrErased) {
		t.Error(err)
	}
}

// Audit rows: 132.
func TestHolds(t *testing.T) {
	k := newKeeper(t, `{"rules":[{"content_type":"*","days":30}]}`)
	entry, digest := k.put("msn_a", "the body")
	second, _ := k.put("msn_a", "the second")
	k.end("msn_a")
	k.now = k.now.Add(90 * days)
	whole, err := k.Place(t.Context(), "msn_a", "", "litigation 7", "admin")
	if err != nil {
		t.Fatal(err)
	}
	one, err := k.Place(t.Context(), "", entry, "litigation 8", "admin")
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string) {
		t.Helper()
		if _, _, err := k.Erase(t.Context(), entry, evidence.BasisDataSubject, "admin"); !errors.Is(err, custody.ErrHeld) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("under both holds")
	if n, err := k.Pass(t.Context(), k.now); n != 0 || err != nil {
		t.Errorf("retention erased %d under a hold, %v", n, err)
	}
	for range 2 { // the second changes nothing
		if h, err := k.Release(t.Context(), whole.ID, "settled", "admin-2"); err != nil || h.Action != evidence.HoldRelease {
			t.Fatalf("%+v, %v", h, err)
		}
	}
	refused("under the hold of the entry")
	if _, _, err := k.Erase(t.Context(), second, evidence.BasisDataSubject, "admin"); err != nil {
		t.Errorf("an entry that is not held: %v", err)
	}
	if _, err := k.Release(t.Context(), one.ID, "settled", "admin"); err != nil {
		t.Fatal(err)
	}
	if n, err := k.Pass(t.Context(), k.now); n != 1 || err != nil {
		t.Errorf("retention erased %d, %v", n, err)
	}
	if _, err := k.body(digest); !errors.Is(err, ledger.ErrErased) {
		t.Error(err)
	}
	holds, err := k.Holds("", 10)
	if err != nil || len(holds) != 2 {
		t.Fatalf("%+v, %v", holds, err)
	}
	if rest, err := k.Holds(holds[0].ID, 10); err != nil || len(rest) != 1 || rest[0] != holds[1] {
		t.Errorf("%+v, %v", rest, err)
	}
	for name, err := range map[string]error{
		"unknown mission": failed(k.Place(t.Context(), "msn_x", "", "r", "admin")),
		"no mission id":   failed(k.Place(t.Context(), "../x", "", "r", "admin")),
		"unknown entry":   failed(k.Place(t.Context(), "", strings.Repeat("0", 64), "r", "admin")),
		"unknown hold":    failed(k.Release(t.Context(), "hold_x", "r", "admin")),
	} {
		if !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"no scope":   failed(k.Place(t.Context(), "", "", "r", "admin")),
		"two scopes": failed(k.Place(t.Context(), "msn_a", entry, "r", "admin")),
		"no reason":  failed(k.Place(t.Context(), "msn_a", "", "", "admin")),
		"a newline":  failed(k.Place(t.Context(), "msn_a", "", "a\nb", "admin")),
	} {
		if !errors.Is(err, custody.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func failed(_ evidence.Hold, err error) error { return err }

// A hold and an erasure of the same body at the same time: whoever is acknowledged first wins, and never both.
func TestHoldAgainstErasure(t *testing.T) {
	k := newKeeper(t, "")
	k.end("msn_a")
	held, gone := 0, 0
	for i := range 50 {
		entry, digest := k.put("msn_a", fmt.Sprintf("body %d", i))
		var placed evidence.Hold
		var holdErr, eraseErr error
		var wg sync.WaitGroup
		wg.Go(func() { placed, holdErr = k.Place(context.Background(), "", entry, "r", "admin") })
		wg.Go(func() { _, _, eraseErr = k.Erase(context.Background(), entry, evidence.BasisDataSubject, "admin") })
		wg.Wait()
		_, err := k.body(digest)
		switch {
		case holdErr != nil:
			t.Fatal(holdErr)
		case errors.Is(eraseErr, custody.ErrHeld) && err == nil:
			held++
		case eraseErr == nil && errors.Is(err, ledger.ErrErased):
			gone++ // the hold came after it, and holds what else there is
		default:
			t.Fatalf("hold %+v; erasure %v; body %v", placed, eraseErr, err)
		}
	}
	t.Logf("%d held, %d erased", held, gone)
}

// Audit rows: 132.
func TestRetention(t *testing.T) {
	k := newKeeper(t, `{"rules":[{"content_type":"*","days":30},{"content_type":"application/mission-approval-record+json","days":365}]}`)
	_, old := k.put("msn_old", "over for long")
	_, active := k.put("msn_active", "still going on")
	k.end("msn_old")
	k.now = k.now.Add(29 * days)
	_, young := k.put("msn_young", "over since now")
	k.end("msn_young")
	k.now = k.now.Add(days)
	before := k.log.MustView(t).Head()
	if n, err := k.Pass(t.Context(), k.now); n != 1 || err != nil {
		t.Fatalf("erased %d, %v", n, err)
	}
	for name, c := range map[string]struct {
		digest ledger.Hash
		gone   bool
	}{"old": {old, true}, "active": {active, false}, "young": {young, false}} {
		if _, err := k.body(c.digest); errors.Is(err, ledger.ErrErased) != c.gone {
			t.Errorf("%s: %v", name, err)
		}
	}
	v := k.log.MustView(t)
	if root, err := v.RootAt(before.Size); err != nil || root != before.Root || v.Head().Size != before.Size+2 {
		t.Errorf("the log changed otherwise than by the policy and one record: size %d, %v", v.Head().Size, err)
	}
	if n, err := k.Pass(t.Context(), k.now); n != 0 || err != nil {
		t.Errorf("a second pass erased %d, %v", n, err)
	}
	if size := k.log.MustView(t).Head().Size; size != v.Head().Size {
		t.Errorf("a pass without work grew the log to %d", size)
	}
	policy := k.feed(k.log.Keys.Issuer+"/policy", custody.ContentRetention)
	if len(policy) != 1 || !strings.Contains(string(policy[0]), `"days":365`) {
		t.Errorf("policies %q", policy)
	}
}

func TestParseRetentionRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":        ``,
		"no rules":       `{"rules":[]}`,
		"unknown member": `{"rules":[{"content_type":"*","days":1}],"x":1}`,
		"no type":        `{"rules":[{"content_type":"","days":1}]}`,
		"not a type":     `{"rules":[{"content_type":"a","days":1}]}`,
		"no days":        `{"rules":[{"content_type":"*"}]}`,
		"zero days":      `{"rules":[{"content_type":"*","days":0}]}`,
		"too many days":  `{"rules":[{"content_type":"*","days":36501}]}`,
		"fraction":       `{"rules":[{"content_type":"*","days":1.5}]}`,
		"twice":          `{"rules":[{"content_type":"*","days":1},{"content_type":"*","days":2}]}`,
		"public":         `{"rules":[{"content_type":"` + ledger.ContentTypePolicy + `","days":1}]}`,
		"large":          `{"rules":[` + strings.Repeat(" ", 65<<10) + `]}`,
	} {
		if _, err := custody.ParseRetention([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseRetention(f *testing.F) {
	f.Add([]byte(`{"rules":[{"content_type":"*","days":30}]}`))
	f.Add([]byte(`{"rules":[{"content_type":"application/mission-approval-record+json","days":1}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := custody.ParseRetention(data)
		if (r == nil) != (err != nil) {
			t.Fatalf("%v, %v", r, err)
		}
	})
}

// Who reads is recorded before the body is returned: once for each reader, body and hour.
//
// Audit rows: 131.
func TestReadsAreRecorded(t *testing.T) {
	k := newKeeper(t, "")
	_, digest := k.put("msn_a", "the body")
	_, other := k.put("msn_a", "the other")
	read := func(digest ledger.Hash, who string) {
		t.Helper()
		if body, err := k.Read(t.Context(), digest, who); err != nil || sha256.Sum256(body) != digest {
			t.Fatalf("%q, %v", body, err)
		}
	}
	records := func() []evidence.Access {
		var out []evidence.Access
		for _, day := range []string{"20261102", "20261103"} {
			for _, body := range k.feed(k.log.Keys.Issuer+"/exports/access-"+day, evidence.ContentAccess) {
				var a evidence.Access
				if err := mission.Decode(body, &a); err != nil {
					t.Fatal(err)
				}
				out = append(out, a)
			}
		}
		return out
	}
	read(digest, "auditor")
	read(digest, "auditor")
	if got := records(); len(got) != 1 || got[0].By != "auditor" || got[0].Digests[0] != mission.DigestOf(digest) {
		t.Fatalf("%+v", got)
	}
	read(digest, "iga")
	read(other, "auditor")
	k.now = k.now.Add(time.Hour)
	read(digest, "auditor")
	k.now = k.now.Add(23 * time.Hour)
	read(digest, "auditor")
	if got := records(); len(got) != 5 {
		t.Errorf("%d records", len(got))
	}
	if _, err := k.Read(t.Context(), sha256.Sum256([]byte("unknown")), "auditor"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	if err := k.log.Stop(); err != nil {
		t.Fatal(err)
	}
	k.now = k.now.Add(time.Hour)
	if body, err := k.Read(t.Context(), digest, "auditor"); err == nil || body != nil {
		t.Errorf("a body was returned whose reading could not be recorded: %q", body)
	}
}
