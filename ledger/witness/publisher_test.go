package witness_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/durable"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/witness"
)

func openPublisher(t testing.TB, c witness.Config) *witness.Publisher {
	t.Helper()
	p, err := witness.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// round runs one round that has something to ask.
func round(t testing.TB, p *witness.Publisher) {
	t.Helper()
	if asked, err := p.Round(t.Context()); err != nil || !asked {
		t.Fatalf("asked %t, %v", asked, err)
	}
}

// goldenLog is a log that has nothing but the golden checkpoint and path.
type goldenLog struct {
	witness.Log
	g    golden
	path []ledger.Hash
}

type goldenView struct {
	ledger.View
	goldenLog
}

func (l goldenLog) View() (ledger.View, error) { return goldenView{goldenLog: l}, nil }
func (l goldenLog) Health() ledger.Health      { return ledger.Health{} }
func (v goldenView) Head() ledger.Head         { return ledger.Head{Seq: 1, Size: 4, Root: v.root()} }
func (v goldenView) Checkpoint() []byte        { return []byte(v.g.Checkpoint) }
func (v goldenView) Close()                    {}
func (v goldenView) root() ledger.Hash {
	c, err := ledger.UnverifiedCheckpoint([]byte(v.g.Checkpoint))
	if err != nil {
		panic(err)
	}
	return c.Root
}
func (v goldenView) Consistency(from, to uint64) ([]ledger.Hash, error) {
	if from != 2 || to != 4 {
		return nil, fmt.Errorf("path from %d to %d", from, to)
	}
	return v.path, nil
}

// TestGoldenClient replays the golden exchange with our client, octet for octet, over HTTP: a conflict tells it where
// the witness is.
func TestGoldenClient(t *testing.T) {
	g := readGolden(t)
	var bodies []string
	w := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies = append(bodies, r.Method+" "+r.URL.Path+"\n"+string(body))
		if strings.HasPrefix(string(body), "old 2\n") {
			io.WriteString(w, g.Cosigned[len(g.Checkpoint):])
			return
		}
		w.Header().Set("Content-Type", "text/x.tlog.size")
		w.WriteHeader(http.StatusConflict)
		io.WriteString(w, "2\n")
	}))
	defer w.Close()
	policy, err := ledger.ParseWitnessPolicy([]byte("log " + g.LogVKey + "\nwitness w1 " + g.WitnessVKey + " " + w.URL +
		"/some/prefix/\nquorum w1\n"))
	if err != nil {
		t.Fatal(err)
	}
	p := openPublisher(t, witness.Config{Log: goldenLog{g: g, path: []ledger.Hash{unhash(t, g.Path[0])}}, Origin: g.Origin,
		Verifiers: []note.Verifier{policy.Logs[0].Verifier}, Policy: policy, Dir: t.TempDir(), Loopback: true,
		Tolerance: time.Duration(math.MaxInt64), Logger: discard})
	round(t, p)
	want := []string{"POST /some/prefix/add-checkpoint\nold 0\n\n" + g.Checkpoint, "POST /some/prefix/add-checkpoint\n" + g.Request}
	if len(bodies) != 2 || bodies[0] != want[0] || bodies[1] != want[1] {
		t.Errorf("requests %q", bodies)
	}
	if c := p.Current(); c == nil || string(c.Note) != g.Cosigned || c.Size != 4 {
		t.Errorf("%+v", c)
	}
}

// TestConflict: a witness that has cosigned another size than the log thinks is asked again once, with its size.
//
// Audit rows: 88.
func TestConflict(t *testing.T) {
	keys := ledgertest.NewKeys(t, origin)
	h := newHistory(t, keys, 20, "")
	w := newWitness(t, "witness.example/w", 2, keys)
	expect(t, "seen before", w.witness.Add(h.request(t, 0, 7)), http.StatusOK)
	p := openPublisher(t, config(t, h, keys, policyOf(t, keys.VKey, "quorum w0\n", w)))
	round(t, p)
	if c := p.Current(); c == nil || c.Size != 20 || w.requests.Load() != 2 {
		t.Fatalf("%+v after %d requests", c, w.requests.Load())
	}
	h.grow(t, "more")
	round(t, p)
	if p.Current().Size != 21 || w.requests.Load() != 3 {
		t.Errorf("size %d after %d requests: the old size was not kept", p.Current().Size, w.requests.Load())
	}
	if asked, err := p.Round(t.Context()); asked || err != nil {
		t.Errorf("asked again for nothing: %v", err)
	}
}

// TestWitnessAhead: a witness that has seen more than there is. Its word alone is an alarm; a head that the log signed,
// or the word of a quorum, closes the integrity latch.
//
// Audit rows: 79, 88.
func TestWitnessAhead(t *testing.T) {
	keys := ledgertest.NewKeys(t, origin)
	full, set := newHistory(t, keys, 9, ""), newHistory(t, keys, 9, "another")
	restored := func(t *testing.T) *history { return newHistory(t, keys, 5, "") } // as if a backup had been restored
	liar := func(t *testing.T) *served {
		s := &served{name: "witness.example/liar", seed: 3}
		s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", "text/x.tlog.size")
			w.WriteHeader(http.StatusConflict)
			io.WriteString(w, "1000000\n")
		}))
		t.Cleanup(s.Close)
		return s
	}
	t.Run("proven", func(t *testing.T) {
		w, l := newWitness(t, "witness.example/w", 2, keys), restored(t)
		expect(t, "seen before", w.witness.Add(full.request(t, 0, 9)), http.StatusOK)
		p := openPublisher(t, config(t, l, keys, policyOf(t, keys.VKey, "quorum w0\n", w)))
		if _, err := p.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		latched(t, l, witness.CodeRollback)
		if p.Ahead() != "w0" || p.Current() != nil {
			t.Errorf("ahead %q", p.Ahead())
		}
		if asked, _ := p.Round(t.Context()); asked {
			t.Error("showed a head with the latch closed")
		}
	})
	t.Run("proven at the start", func(t *testing.T) {
		w, l := newWitness(t, "witness.example/w", 2, keys), restored(t)
		expect(t, "seen before", w.witness.Add(full.request(t, 0, 9)), http.StatusOK)
		openPublisher(t, config(t, l, keys, policyOf(t, keys.VKey, "quorum w0\n", w))).Check(t.Context())
		latched(t, l, witness.CodeRollback)
	})
	t.Run("fork", func(t *testing.T) {
		w, l := newWitness(t, "witness.example/w", 2, keys), restored(t)
		expect(t, "seen before", w.witness.Add(set.request(t, 0, 4)), http.StatusOK)
		p := openPublisher(t, config(t, l, keys, policyOf(t, keys.VKey, "quorum w0\n", w)))
		if _, err := p.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		latched(t, l, witness.CodeFork)
	})
	t.Run("the word of one of two", func(t *testing.T) {
		w, l := newWitness(t, "witness.example/w", 2, keys), restored(t)
		p := openPublisher(t, config(t, l, keys, policyOf(t, keys.VKey, "group g all w0 w1\nquorum g\n", w, liar(t))))
		if _, err := p.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if l.Health().Integrity != nil || p.Ahead() != "w1" {
			t.Errorf("latch %v, ahead %q", l.Health().Integrity, p.Ahead())
		}
	})
	t.Run("the word of a quorum", func(t *testing.T) {
		w, l := newWitness(t, "witness.example/w", 2, keys), restored(t)
		p := openPublisher(t, config(t, l, keys, policyOf(t, keys.VKey, "group g any w0 w1\nquorum g\n", w, liar(t))))
		if _, err := p.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		latched(t, l, witness.CodeRollback)
	})
	t.Run("the own journal", func(t *testing.T) { // the store was set back, the journal of cosignatures was not
		w := newWitness(t, "witness.example/w", 2, keys)
		c := config(t, full, keys, policyOf(t, keys.VKey, "quorum w0\n", w))
		p := openPublisher(t, c)
		round(t, p)
		p.Close()
		l := restored(t)
		c.Log = l
		openPublisher(t, c)
		latched(t, l, witness.CodeRollback)
	})
}

func latched(t *testing.T, l *history, code string) {
	t.Helper()
	if h := l.Health().Integrity; h == nil || h.Code != code {
		t.Errorf("latch %+v, want %s", h, code)
	}
	if _, err := l.Commit(t.Context(), ledger.Change{Entries: []ledger.Entry{l.Keys.Entry(t, "msn_x", []byte("late"))}}); !errors.Is(err, ledger.ErrIntegrity) {
		t.Errorf("a commit with the latch closed: %v", err)
	}
}

// TestOddWitnesses: answers that are no cosignature of this head count for nothing.
func TestOddWitnesses(t *testing.T) {
	keys := ledgertest.NewKeys(t, origin)
	h := newHistory(t, keys, 3, "")
	good := newWitness(t, "witness.example/w", 2, keys)
	stranger := newWitness(t, "witness.example/stranger", 9, keys)
	ask := func(w *served, body []byte) []byte { return w.witness.Add(body).Body }
	elsewhere := httptest.NewServer(good.handler())
	defer elsewhere.Close()
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request, body []byte){
		"lines of strangers": func(w http.ResponseWriter, _ *http.Request, body []byte) { w.Write(ask(stranger, body)) },
		"too much": func(w http.ResponseWriter, _ *http.Request, body []byte) {
			w.Write(bytes.Repeat([]byte("\u2014 x AAAAAAAA\n"), 1<<14))
		},
		"redirect": func(w http.ResponseWriter, r *http.Request, _ []byte) {
			http.Redirect(w, r, elsewhere.URL+"/add-checkpoint", http.StatusTemporaryRedirect)
		},
		"nothing":                 func(http.ResponseWriter, *http.Request, []byte) {},
		"an error":                func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(500) },
		"conflict without a size": func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(409) },
		"conflict for ever": func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("Content-Type", "text/x.tlog.size")
			w.WriteHeader(409)
			io.WriteString(w, "1\n")
		},
		"a time in the future": func(w http.ResponseWriter, _ *http.Request, body []byte) {
			s, err := ledger.NewCosigner("witness.example/w", seedKey(2), time.Now().Add(time.Hour))
			if err != nil {
				panic(err)
			}
			_, checkpoint, _ := bytes.Cut(body, []byte("\n\n"))
			cosigned, err := ledger.Cosign(checkpoint, s)
			if err != nil {
				panic(err)
			}
			w.Write(cosigned[len(checkpoint):])
		},
	} {
		t.Run(name, func(t *testing.T) {
			odd := &served{name: "witness.example/w", seed: 2}
			odd.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				odd.requests.Add(1)
				body, _ := io.ReadAll(r.Body)
				answer(w, r, body)
			}))
			defer odd.Close()
			p := openPublisher(t, config(t, h, keys, policyOf(t, keys.VKey, "quorum w0\n", odd)))
			round(t, p)
			if p.Current() != nil || odd.requests.Load() > 2 {
				t.Errorf("witnessed %v after %d requests", p.Current(), odd.requests.Load())
			}
		})
	}
	if good.requests.Load() > 0 {
		t.Error("a redirect was followed")
	}
}

// TestPublishingPolicies: without a quorum fail_closed publishes nothing new, fail_open publishes and lags.
//
// Audit rows: 13, 90.
func TestPublishingPolicies(t *testing.T) {
	keys := ledgertest.NewKeys(t, origin)
	h := newHistory(t, keys, 5, "")
	w1, w2 := newWitness(t, "witness.example/w1", 2, keys), newWitness(t, "witness.example/w2", 3, keys)
	policy := policyOf(t, keys.VKey, "group g all w0 w1\nquorum g\n", w1, w2)
	open := openPublisher(t, config(t, h, keys, policy))
	c := config(t, h, keys, policy)
	c.FailClosed = true
	closed := openPublisher(t, c)

	view := func(p *witness.Publisher) ledger.View {
		t.Helper()
		v, err := p.View()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(v.Close)
		return v
	}
	if v := view(closed); v.Head().Size != 0 || len(v.Checkpoint()) != 0 || closed.Published(1) {
		t.Errorf("published %d before any cosignature", v.Head().Size)
	}
	if v := view(open); v.Head().Size != 5 || !bytes.Equal(v.Checkpoint(), h.checkpoints[5]) || !open.Published(5) {
		t.Errorf("published %d", v.Head().Size)
	}
	if _, err := open.Witnessed(); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("witnessed: %v", err)
	}
	round(t, open)
	round(t, closed)
	for _, p := range []*witness.Publisher{open, closed} {
		v := view(p)
		got, err := policy.Open(v.Checkpoint())
		if err != nil || !got.Quorum || v.Head().Size != 5 {
			t.Errorf("size %d, %+v, %v", v.Head().Size, got, err)
		}
	}
	w2.Close() // one of two is gone: no quorum from here on
	h.grow(t, "past the witnesses")
	round(t, open)
	round(t, closed)
	v := view(closed)
	if v.Head().Size != 5 || closed.Published(6) {
		t.Errorf("fail_closed published %d", v.Head().Size)
	}
	id := ledger.EntryID(ledger.HashLeaf(entryAt(t, h, 5)))
	if _, err := v.Entry(5); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("entry: %v", err)
	}
	if _, err := v.Lookup(id); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("lookup: %v", err)
	}
	if _, err := v.Tile(0, 0, 6); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("tile: %v", err)
	}
	if _, err := v.Tile(0, 0, 5); err != nil {
		t.Errorf("tile: %v", err)
	}
	if _, err := v.Consistency(5, 6); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("consistency: %v", err)
	}
	if _, err := v.Inclusion(0, 6); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("inclusion: %v", err)
	}
	if _, err := v.RootAt(6); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("root: %v", err)
	}
	n := 0
	for index, err := range v.Feed(keys.Subject(t, "msn_x"), -1) {
		if err != nil || index >= 5 {
			t.Errorf("feed: %d, %v", index, err)
		}
		n++
	}
	if n != 4 {
		t.Errorf("a feed of %d", n)
	}
	if v := view(open); v.Head().Size != 6 || open.Current().Size != 5 || !open.Published(6) {
		t.Errorf("fail_open published %d, witnessed %d", v.Head().Size, open.Current().Size)
	}
	wv, err := open.Witnessed()
	if err != nil || wv.Head().Size != 5 {
		t.Fatalf("witnessed: %v", err)
	}
	wv.Close()
	// A waiter gives up with its context, and is served when the quorum is back.
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := closed.Await(short, 6); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("await: %v", err)
	}
}

func entryAt(t testing.TB, h *history, index uint64) []byte {
	t.Helper()
	e, err := h.MustView(t).Entry(index)
	if err != nil {
		t.Fatal(err)
	}
	return e.Statement
}

// TestAwait: Run serves a waiter.
func TestAwait(t *testing.T) {
	keys := ledgertest.NewKeys(t, origin)
	h := newHistory(t, keys, 3, "")
	w := newWitness(t, "witness.example/w", 2, keys)
	c := config(t, h, keys, policyOf(t, keys.VKey, "quorum w0\n", w))
	c.FailClosed = true
	p := openPublisher(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for i := range 5 {
		h.grow(t, fmt.Sprint("more", i))
		if err := p.Await(t.Context(), uint64(len(h.checkpoints)-1)); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestIdleLogIsCosignedAgain: the head of an idle log gets fresh cosignatures, its size stays and no entry is made.
//
// Audit rows: 28.
func TestIdleLogIsCosignedAgain(t *testing.T) {
	keys := ledgertest.NewKeys(t, origin)
	h := newHistory(t, keys, 3, "")
	var clock atomic.Int64
	clock.Store(1_800_000_000)
	now := func() time.Time { return time.Unix(clock.Load(), 0) }
	w := newWitness(t, "witness.example/w", 2, keys)
	s, err := witness.NewServer(witness.ServerConfig{Name: w.name, Key: seedKey(2), Dir: t.TempDir(), Logger: discard, Now: now,
		Logs: []witness.KnownLog{{Origin: origin, Verifiers: []note.Verifier{keys.Verifier}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w.witness = s
	c := config(t, h, keys, policyOf(t, keys.VKey, "quorum w0\n", w))
	c.Now = now
	p := openPublisher(t, c)
	for i := range int64(5) {
		round(t, p)
		got := p.Current()
		if got.Size != 3 || !got.At.Equal(now()) || len(got.Cosignatures) != 1 {
			t.Errorf("%d: %+v", i, got.Witnessed)
		}
		clock.Add(30)
		if asked, err := p.Round(t.Context()); asked || err != nil {
			t.Errorf("asked after 30 s: %v", err)
		}
		clock.Add(30)
	}
	if size := h.MustView(t).Head().Size; size != 3 {
		t.Errorf("the log has %d entries", size)
	}
}

// TestCosignaturesAreKept: what is published is durable before, whatever the journal does.
func TestCosignaturesAreKept(t *testing.T) {
	keys := ledgertest.NewKeys(t, origin)
	h := newHistory(t, keys, 3, "")
	w := newWitness(t, "witness.example/w", 2, keys)
	policy := policyOf(t, keys.VKey, "quorum w0\n", w)
	for _, step := range []string{"witness.cosignature", "witness.compact"} {
		for _, applied := range []bool{false, true} {
			t.Run(fmt.Sprint(step, ", applied ", applied), func(t *testing.T) {
				c := config(t, h, keys, policy)
				c.FailClosed = true
				p := openPublisher(t, c)
				if step == "witness.compact" {
					p.FillJournal()
				}
				restore := durable.Intercept(func(name string, run func() error) error {
					if name != step {
						return run()
					}
					if applied {
						return errors.Join(run(), errors.New("disk"))
					}
					return errors.New("disk")
				})
				_, err := p.Round(t.Context())
				restore()
				if err == nil || p.Current() != nil || p.Published(1) {
					t.Fatalf("published what is not durable: %v", err)
				}
				if _, err := p.Round(t.Context()); err == nil {
					t.Error("writes after a failure of unknown effect")
				}
				p.Close()
				again := openPublisher(t, c)
				if (again.Current() != nil) != applied {
					t.Errorf("after the restart: %v", again.Current())
				}
				round(t, again)
				if again.Current() == nil || again.Current().Size != 3 {
					t.Error("not published after the restart")
				}
			})
		}
	}
	t.Run("many", func(t *testing.T) {
		c := config(t, h, keys, policy)
		p := openPublisher(t, c)
		p.FillJournal()
		for i := range 3 {
			h.grow(t, fmt.Sprint("many", i))
			round(t, p)
		}
		size := p.Current().Size
		p.Close()
		if left, _ := filepath.Glob(filepath.Join(c.Dir, "*")); len(left) != 1 {
			t.Errorf("left behind: %v", left)
		}
		if got := openPublisher(t, c).Current(); got == nil || got.Size != size {
			t.Errorf("after the restart: %v", got)
		}
	})
}

// TestConfigurations that cannot work are refused.
func TestConfigurations(t *testing.T) {
	keys := ledgertest.NewKeys(t, origin)
	h := newHistory(t, keys, 2, "")
	w := newWitness(t, "witness.example/w", 2, keys)
	other := ledgertest.NewKeys(t, "log.other.example/log/1")
	good := policyOf(t, keys.VKey, "quorum w0\n", w)
	for name, change := range map[string]func(*witness.Config){
		"fail_closed without a policy": func(c *witness.Config) { c.Policy, c.FailClosed = nil, true },
		"fail_closed without a quorum": func(c *witness.Config) { c.Policy, c.FailClosed = policyOf(t, keys.VKey, "quorum none\n", w), true },
		"policy of another log":        func(c *witness.Config) { c.Policy = policyOf(t, other.VKey, "quorum w0\n", w) },
		"plain HTTP":                   func(c *witness.Config) { c.Loopback = false },
	} {
		c := config(t, h, keys, good)
		change(&c)
		if _, err := witness.Open(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for url, want := range map[string]bool{"https://w.example/x": true, "http://127.0.0.1:1": true, "http://[::1]:1": true,
		"http://localhost": false, "http://w.example": false, "http://10.0.0.1": false, "": false} {
		if got := witness.CheckURL(url, true) == nil; got != want {
			t.Errorf("%s: %t", url, got)
		}
	}
	c := config(t, h, keys, nil)
	p := openPublisher(t, c)
	if err := p.Run(t.Context()); err != nil || !p.Published(99) || p.Claimed() {
		t.Errorf("without a policy: %v", err)
	}
}
