package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/config"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
)

// A history is what the store of one server has to know, kept apart from it: every mission as it was acknowledged, and
// every entry, body and feed of its log as it was published. Copies of the store are asked for all of it.
type history struct {
	Listen, Issuer, Origin, VKey string
	Keys                         string   // JWKS of the issuer
	Clean, Killed                string   // the directory as it was after an orderly stop, and while the server ran
	Older                        []string // as it was at earlier moments
	Missions                     []historic
	Entries                      []historicEntry
	Head                         ledger.Checkpoint
}

type historic struct {
	ID      mission.ID
	State   mission.State
	Version uint64
	Agent   string // the client that owns it
}

type historicEntry struct {
	ID, Subject string
	Leaf        ledger.Hash
	Body        []byte // SHA-256 of the body; nil if the store has none
}

// tiny makes the store's files small, so that a short history fills several of each kind.
func tiny(o *badgerstore.Options) {
	o.SegmentSize, o.MemTableSize, o.ValueLogSize, o.Reserve = 512<<10, 1<<20, 1<<20, 8<<20
}

// makeHistory runs a server until its writers have made n missions and moved them, and keeps what became of it.
func makeHistory(t *testing.T, n int) *history {
	t.Helper()
	h := &history{Listen: lastingAddress(t), Clean: t.TempDir(), Killed: t.TempDir()}
	h.Issuer = "http://" + h.Listen
	settings := "listen: " + h.Listen + "\nissuer: " + h.Issuer + "\nlimits: {rate: 100000}\ntelemetry: {level: warn}\n"
	if err := os.WriteFile(filepath.Join(h.Clean, "config.yaml"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := domain.InitDev(h.Clean, h.Issuer, domain.DevCeiling); err != nil {
		t.Fatal(err)
	}
	const lives = 4 // the stop of one leaves tables to the next
	for life := range uint64(lives) {
		h.serve(t, func(d *domain.Domain) error { return h.live(t, d, n/lives, life) })
		if life == lives-1 {
			break
		}
		for _, dir := range []string{h.Clean, h.Killed} {
			older := t.TempDir()
			if err := copyDirectory(older, dir); err != nil {
				t.Fatal(err)
			}
			h.Older = append(h.Older, older)
		}
	}
	return h
}

// serve runs the server over the directory that will be stopped in order, and stops it.
func (h *history) serve(t *testing.T, use func(*domain.Domain) error) {
	t.Helper()
	o, err := historyOptions(h.Clean, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	o.DevDir = h.Clean
	d, err := domain.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	select {
	case <-d.Ready():
		err = use(d)
	case err = <-ended:
		t.Fatal(err)
	}
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		t.Fatal(err)
	}
}

// historyOptions open a directory in this process.
func historyOptions(dir string, logger *slog.Logger) (domain.Options, error) {
	c, err := config.LoadDev(dir, config.Sources{})
	return domain.Options{Config: c, Logger: logger, Store: tiny}, err
}

// live has the writers write, and notes what the log says then.
func (h *history) live(t *testing.T, d *domain.Domain, n int, life uint64) error {
	dev, err := domain.ReadDev(h.Clean)
	if err != nil {
		return err
	}
	h.Origin, h.VKey, h.Keys = dev.LogOrigin, dev.LogVKey, string(fetch(t, dev.JWKSURI))
	const writers = 8
	_, all := company(t, &server{t: t, dir: h.Clean, dev: dev}, writers, life)
	var busy sync.WaitGroup
	failed := make([]error, writers)
	for i, w := range all {
		busy.Go(func() {
			for len(w.missions) < (n+writers-1)/writers && failed[i] == nil {
				failed[i] = w.step(t.Context())
			}
		})
	}
	busy.Wait()
	for _, w := range all {
		for _, m := range w.missions {
			h.Missions = append(h.Missions, historic{m.id, m.state, m.version, w.agent.ClientID})
		}
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	if err := h.note(d); err != nil {
		return err
	}
	// The files of a running server belong to one moment while nobody writes: that is what a kill would leave.
	if err := settled(filepath.Join(h.Clean, "store", "journal")); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(h.Killed), copyDirectory(h.Killed, h.Clean))
}

// settled waits until upkeep has compressed what is sealed: of the segments only the last one is raw.
func settled(dir string) error {
	for range 600 {
		raw, err := filepath.Glob(filepath.Join(dir, "*.seg"))
		if err != nil {
			return err
		}
		temporary, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
		if err != nil {
			return err
		}
		if len(raw) == 1 && len(temporary) == 0 {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("the sealed segments are not compressed")
}

// note reads the log from its first entry to its head.
func (h *history) note(d *domain.Domain) error {
	v, err := d.Log.View()
	if err != nil {
		return err
	}
	defer v.Close()
	if h.Head, err = ledger.OpenCheckpointBy(v.Checkpoint(), h.Origin, h.VKey); err != nil {
		return err
	}
	edge := ledger.NewEdge()
	h.Entries = nil
	for i := range h.Head.Size {
		e, err := v.Entry(i)
		if err != nil {
			return err
		}
		st, err := ledger.ParseStatement(e.Statement)
		if err != nil {
			return err
		}
		entry := historicEntry{Subject: st.Subject, Leaf: ledger.HashLeaf(e.Statement)}
		entry.ID = ledger.EntryID(entry.Leaf)
		switch _, err := v.Body(st.Digest); {
		case err == nil:
			entry.Body = st.Digest[:]
		case !errors.Is(err, ledger.ErrNotFound):
			return err
		}
		edge.Append(entry.Leaf)
		h.Entries = append(h.Entries, entry)
	}
	if edge.Root() != h.Head.Root {
		return errors.New("the entries do not hash to the signed head")
	}
	return nil
}

// copyDirectory copies a directory without what a store makes again or keeps for its operator, and leaves holes for
// zeros.
func copyDirectory(to, from string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case e.Name() == "aside":
			return fs.SkipDir
		case e.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case e.Name() == "ballast" || e.Name() == "LOCK" || e.Name() == "dev.json":
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return writeSparse(filepath.Join(to, rel), data)
	})
}

func writeSparse(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	const page = 4096
	zeros := make([]byte, page)
	for off := 0; off < len(data); off += page {
		chunk := data[off:min(off+page, len(data))]
		if bytes.Equal(chunk, zeros[:len(chunk)]) {
			continue
		}
		if _, err := f.WriteAt(chunk, int64(off)); err != nil {
			return err
		}
	}
	return f.Truncate(int64(len(data)))
}

// answers are what a damaged server was found to say.
type answers struct {
	Wrong   []string // answers that are not the truth
	Refused []string // questions that it would not answer
	Asked   int
}

func (a *answers) wrong(format string, args ...any) {
	a.Wrong = append(a.Wrong, fmt.Sprintf(format, args...))
}

// answered notes the outcome of one question. Not to find what exists is a wrong answer, not a refusal.
func (a *answers) answered(what string, err error) bool {
	a.Asked++
	refused, ok := errors.AsType[*authority.Error](err)
	switch {
	case err == nil:
		return true
	case errors.Is(err, ledger.ErrNotFound) || errors.Is(err, ledger.ErrErased) || ok && refused.Code == "not_found":
		a.wrong("%s: %v", what, err)
	default:
		a.Refused = append(a.Refused, fmt.Sprintf("%s: %v", what, err))
	}
	return false
}

// ask asks a server in this process for everything that the history knows.
func (h *history) ask(ctx context.Context, d *domain.Domain) (*answers, error) {
	a := new(answers)
	if err := h.askStatus(ctx, d, a); err != nil {
		return nil, err
	}
	v, err := d.Log.View()
	if !a.answered("view", err) {
		return a, nil
	}
	defer v.Close()
	h.askHead(v, a)
	if v.Head().Size != h.Head.Size {
		return a, nil
	}
	for i, e := range h.Entries {
		h.askEntry(v, uint64(i), e, a)
	}
	h.askFeeds(v, a)
	return a, nil
}

// askStatus asks for the signed status of every mission, as its client does.
func (h *history) askStatus(ctx context.Context, d *domain.Domain, a *answers) error {
	keys, err := jws.ParseKeySet([]byte(h.Keys))
	if err != nil {
		return err
	}
	for i, m := range h.Missions {
		p, ok := d.Authority.Principals().ByClient(m.Agent)
		if !ok {
			return fmt.Errorf("there is no client %q", m.Agent)
		}
		nonce := fmt.Sprintf("damage-%d", i)
		token, err := d.Authority.Status(ctx, authority.Caller{Principal: p, Method: "private_key_jwt"},
			authority.StatusQuery{MissionID: string(m.ID), Nonce: nonce})
		if a.answered("status of "+string(m.ID), err) {
			h.judge(a, m, keys, token, nonce)
		}
	}
	return nil
}

// judge holds a signed status against the truth.
func (h *history) judge(a *answers, m historic, keys *jws.KeySet, token, nonce string) {
	st, verdict := jws.CheckStatus(token, keys, mission.StatusContext{
		At: time.Now(), Issuer: h.Issuer, Audience: m.Agent, Requester: m.Agent, Nonce: nonce, MissionID: m.ID,
		Algs: []string{jws.ES256}, Skew: mission.MaxSkew,
	})
	switch {
	case !verdict.Authentic():
		a.wrong("the signed status of %s: %s", m.ID, verdict)
	case st.Mission.State != m.State || st.Mission.Version != m.Version:
		a.wrong("%s is signed to be %s, version %d; it is %s, version %d", m.ID, st.Mission.State, st.Mission.Version,
			m.State, m.Version)
	}
}

// askHead holds the published checkpoint against the tree of all entries. Behind a latch an older head of the same tree
// may be served.
func (h *history) askHead(v ledger.View, a *answers) {
	a.Asked++
	cp, err := ledger.OpenCheckpointBy(v.Checkpoint(), h.Origin, h.VKey)
	switch {
	case v.Head().Size == 0:
		a.Refused = append(a.Refused, "there is no head")
	case err != nil:
		a.wrong("the checkpoint does not verify: %v", err)
	case cp.Size > h.Head.Size:
		a.wrong("the checkpoint is for %d entries, there were %d", cp.Size, h.Head.Size)
	default:
		edge := ledger.NewEdge()
		for _, e := range h.Entries[:cp.Size] {
			edge.Append(e.Leaf)
		}
		if edge.Root() != cp.Root {
			a.wrong("the checkpoint of %d entries is of another tree", cp.Size)
		}
		if cp.Size < h.Head.Size {
			a.Refused = append(a.Refused, fmt.Sprintf("the head is at %d of %d", cp.Size, h.Head.Size))
		}
	}
}

// askEntry asks for an entry, its place, its body and, for every seventh, its proof.
func (h *history) askEntry(v ledger.View, i uint64, want historicEntry, a *answers) {
	name := fmt.Sprintf("entry %d", i)
	if e, err := v.Entry(i); a.answered(name, err) && ledger.HashLeaf(e.Statement) != want.Leaf {
		a.wrong("%s is not what was committed", name)
	}
	if index, err := v.Lookup(want.ID); a.answered("place of "+name, err) && index != i {
		a.wrong("%s is said to be at %d", name, index)
	}
	if want.Body != nil {
		body, err := v.Body(ledger.Hash(want.Body))
		if a.answered("body of "+name, err) && sha256.Sum256(body) != ledger.Hash(want.Body) {
			a.wrong("the body of %s is not what was committed", name)
		}
	}
	if i%7 != 0 {
		return
	}
	if path, err := v.Inclusion(i, h.Head.Size); a.answered("inclusion of "+name, err) {
		if err := ledger.VerifyInclusion(want.Leaf, i, h.Head.Size, path, h.Head.Root); err != nil {
			a.wrong("inclusion of %s: %v", name, err)
		}
	}
}

// askFeeds asks for the feed of every subject.
func (h *history) askFeeds(v ledger.View, a *answers) {
	feeds := map[string][]uint64{}
	for i, e := range h.Entries {
		feeds[e.Subject] = append(feeds[e.Subject], uint64(i))
	}
	for subject, want := range feeds {
		var got []uint64
		var failed error
		for i, err := range v.Feed(subject, -1) {
			if failed = err; err != nil {
				break
			}
			got = append(got, i)
		}
		if a.answered("feed of "+subject, failed) && !slices.Equal(got, want) {
			a.wrong("the feed of %s has %d entries, not %d", subject, len(got), len(want))
		}
	}
}

// A warner is a log that keeps what an operator would be told: warnings and errors.
type warner struct {
	mu    sync.Mutex
	lines []string
}

func (w *warner) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func (w *warner) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !strings.Contains(string(line), "loopback") { // that is about the configuration
		w.lines = append(w.lines, strings.TrimSpace(string(line)))
	}
	return len(line), nil
}

// take returns what was said since the last time.
func (w *warner) take() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	said := strings.Join(w.lines, "; ")
	w.lines = nil
	return said
}

var _ io.Writer = (*warner)(nil)
