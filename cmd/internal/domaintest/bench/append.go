package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/ledger/sequencer"
)

func init() {
	subjects["append"] = appendMAS
}

// origin and issuer name the log of a benchmark.
const (
	origin = "bench.example/log"
	issuer = "https://bench.example"
)

// A benchLog is a running log over an embedded store with default options.
type benchLog struct {
	*sequencer.Log
	store *badgerstore.Store
	stop  func() error
}

// openLog opens the log below dir with the checkpoint key that is kept there.
func openLog(ctx context.Context, dir string) (*benchLog, error) {
	signer, verifier, err := checkpointKey(filepath.Join(dir, "checkpoint.key"))
	if err != nil {
		return nil, err
	}
	store, err := badgerstore.Open(filepath.Join(dir, "store"), badgerstore.Options{Origin: origin})
	if err != nil {
		return nil, err
	}
	l := &benchLog{store: store}
	genesis, err := newTemplate()
	if err != nil {
		return nil, err
	}
	l.Log, err = sequencer.Open(ctx, sequencer.Config{
		Store: store, Vault: store.Vault(), Stops: store.Stops(), Origin: origin, Checkpoint: signer,
		Verifiers: []note.Verifier{verifier}, Genesis: &ledger.Entry{Statement: genesis.statement("genesis")}, Now: time.Now,
	})
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 2)
	go func() { done <- l.Log.Run(running) }()
	go func() { done <- store.Run(running) }()
	l.stop = func() error {
		cancel()
		return errors.Join(<-done, <-done, store.Close())
	}
	return l, nil
}

// checkpointKey reads the key at path, or makes it.
func checkpointKey(path string) (note.Signer, note.Verifier, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		private, public, err2 := note.GenerateKey(rand.Reader, origin)
		text, err = []byte(private+"\n"+public), err2
		if err == nil {
			err = os.WriteFile(path, text, 0o600)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	private, public, _ := strings.Cut(string(text), "\n")
	signer, err := note.NewSigner(private)
	if err != nil {
		return nil, nil, err
	}
	verifier, err := note.NewVerifier(public)
	return signer, verifier, err
}

// A template makes statements of one size that are all different. Each is a canonical Signed Statement; only the
// template was really signed, the others carry its signature over another digest: the log does not verify signatures
// (whoever submits a Change does), so the work that is measured is the same, and a million signatures need not be made
// beforehand.
type template struct {
	raw    []byte
	digest int // where the digest begins
}

func newTemplate() (*template, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ledger.NewSigner(private)
	if err != nil {
		return nil, err
	}
	marker := sha256.Sum256([]byte("marker"))
	claims := ledger.Claims{Issuer: issuer, Subject: subjectOf(0), IssuedAt: time.Now().Unix(),
		ContentType: "application/mission-lifecycle-transition+json", Digest: marker}
	raw, err := ledger.SignStatement(context.Background(), claims, signer)
	if err != nil {
		return nil, err
	}
	// Longer subjects make up for the difference to entrySize.
	if missing := entrySize - len(raw); missing > 0 {
		claims.Subject += strings.Repeat("x", missing)
		if raw, err = ledger.SignStatement(context.Background(), claims, signer); err != nil {
			return nil, err
		}
	}
	at := strings.Index(string(raw), string(marker[:]))
	if at < 0 {
		return nil, errors.New("no digest in the statement")
	}
	return &template{raw, at}, nil
}

const missions = 10_000 // whose feeds the statements belong to

// subjectOf names one of the missions, with a name of constant length.
func subjectOf(n int) string { return fmt.Sprintf("%s/missions/msn_%032d", issuer, n%missions) }

// statement is the statement about seed.
func (t *template) statement(seed string) []byte {
	raw := append([]byte(nil), t.raw...)
	sum := sha256.Sum256([]byte(seed))
	copy(raw[t.digest:], sum[:])
	return raw
}

// about is the statement numbered n, about one of the missions.
func (t *template) about(n int) []byte {
	raw := t.statement(strconv.Itoa(n))
	old, name := subjectOf(0), subjectOf(n)
	if at := strings.Index(string(raw), old); at >= 0 {
		copy(raw[at:], name)
	}
	return raw
}

// change is one append as a mission change makes it: the statement and the state row that it justifies.
func (t *template) change(n int) ledger.Change {
	return ledger.Change{
		Put: []ledger.Record{{Key: "mission/" + strconv.Itoa(n%missions) + "/state", JustifiedBy: 0,
			Value: []byte(`{"mission_id":"msn_` + strconv.Itoa(n%missions) + `","state":"active","version":` + strconv.Itoa(n) + `}`)}},
		Entries: []ledger.Entry{{Statement: t.about(n)}},
	}
}

// appendMAS appends statements, each with its state row, feed, duplicate and leaf index; an append is done when the
// checkpoint that covers it is published.
func appendMAS(ctx context.Context, s setup) (measured, error) {
	l, err := openLog(ctx, s.Dir)
	if err != nil {
		return measured{}, err
	}
	t, err := newTemplate()
	if err != nil {
		return measured{}, err
	}
	m, err := load(ctx, s, func(ctx context.Context, _, n int) error {
		_, err := l.Commit(ctx, t.change(n))
		return err
	})
	return m, errors.Join(err, l.stop())
}

// answers reads what a status needs from the newest state, and proves the last entry.
func answers(l *benchLog) (ledger.Head, error) {
	v, err := l.View()
	if err != nil {
		return ledger.Head{}, err
	}
	defer v.Close()
	head := v.Head()
	if _, err := v.Proven("mission/1/state"); err != nil {
		return head, err
	}
	_, err = v.Inclusion(head.Size-1, head.Size)
	return head, err
}
