package witness_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/durable"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/witness"

	formatsnote "github.com/transparency-dev/formats/note"
)

// expect fails unless an answer has the status; with 409 the size.
func expect(t *testing.T, what string, a witness.Answer, status int, size ...uint64) {
	t.Helper()
	if a.Status != status {
		t.Errorf("%s: status %d, want %d", what, a.Status, status)
	}
	if status == http.StatusConflict {
		if want := fmt.Sprintf("%d\n", size[0]); string(a.Body) != want || a.ContentType != "text/x.tlog.size" {
			t.Errorf("%s: %q, %s", what, a.Body, a.ContentType)
		}
	}
}

// TestGoldenWitness replays the golden exchange with our witness, octet for octet.
func TestGoldenWitness(t *testing.T) {
	g := readGolden(t)
	v, err := note.NewVerifier(g.LogVKey)
	if err != nil {
		t.Fatal(err)
	}
	s, err := witness.NewServer(witness.ServerConfig{Name: "witness.example/w1", Key: seedKey(2), Dir: t.TempDir(),
		Logs: []witness.KnownLog{{Origin: g.Origin, Verifiers: []note.Verifier{v}}}, Logger: discard,
		Now: func() time.Time { return time.Unix(1_800_000_000, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	log, err := note.NewSigner("PRIVATE+KEY+" + g.Origin + "+" + strings.Split(g.LogVKey, "+")[1] + "+" +
		base64.StdEncoding.EncodeToString(append([]byte{1}, seedKey(1).Seed()...)))
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "before it has seen the log", s.Add([]byte(g.Request)), http.StatusConflict, 0)
	two, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: g.Origin, Size: 2, Root: unhash(t, g.Roots[2])}, log)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "size 2", s.Add(append([]byte("old 0\n\n"), two...)), http.StatusOK)
	a := s.Add([]byte(g.Request))
	if want := g.Cosigned[len(g.Checkpoint):]; a.Status != http.StatusOK || string(a.Body) != want {
		t.Errorf("status %d: %s, want %s", a.Status, a.Body, want)
	}
	if text, ok := s.Checkpoint(witness.OriginHash(g.Origin)); !ok || string(text) != g.Cosigned {
		t.Errorf("it shows %s", text)
	}
	expect(t, "again", s.Add([]byte(g.Request)), http.StatusConflict, 4)
}

// flipped signs with the right name and key hash, and one bit wrong.
type flipped struct{ note.Signer }

func (f flipped) Sign(message []byte) ([]byte, error) {
	sig, err := f.Signer.Sign(message)
	if err == nil {
		sig[0] ^= 1
	}
	return sig, err
}

// TestStatusCodes: every answer of the specification.
//
// Audit rows: 91, 94.
func TestStatusCodes(t *testing.T) {
	keys := ledgertest.NewKeys(t, origin)
	h := newHistory(t, keys, 9, "")
	fork := newHistory(t, keys, 9, "other")
	other := ledgertest.NewKeys(t, "log.other.example/log/1")
	stranger := newHistory(t, other, 2, "")
	impostor := newHistory(t, ledgertest.NewKeys(t, origin), 5, "")
	s := newServer(t, t.TempDir(), "witness.example/w", 2, keys)
	hash := witness.OriginHash(origin)

	if _, ok := s.Checkpoint(hash); ok {
		t.Error("a checkpoint before the first")
	}
	expect(t, "not a request", s.Add([]byte("hello")), http.StatusBadRequest)
	expect(t, "nothing", s.Add(nil), http.StatusBadRequest)
	expect(t, "old beyond the checkpoint", s.Add(append([]byte("old 6\n\n"), h.checkpoints[5]...)), http.StatusBadRequest)
	expect(t, "64 hashes", s.Add([]byte("old 3\n"+strings.Repeat(base64.StdEncoding.EncodeToString(make([]byte, 32))+"\n", 64)+
		"\n"+string(h.checkpoints[5]))), http.StatusBadRequest)
	expect(t, "unknown origin", s.Add(stranger.request(t, 0, 2)), http.StatusNotFound)
	expect(t, "another key of that name", s.Add(impostor.request(t, 0, 5)), http.StatusForbidden)
	five, err := ledger.UnverifiedCheckpoint(h.checkpoints[5])
	if err != nil {
		t.Fatal(err)
	}
	damaged, err := note.Sign(&note.Note{Text: five.Text()}, flipped{keys.Checkpoint})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "a wrong signature by the known key", s.Add(append([]byte("old 0\n\n"), damaged...)), http.StatusForbidden)
	expect(t, "old size before the first", s.Add(h.request(t, 3, 5)), http.StatusConflict, 0)
	zero := ledger.Checkpoint{Origin: origin, Root: ledger.Hash{1}}
	text, err := note.Sign(&note.Note{Text: zero.Text()}, keys.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "another root of the empty tree", s.Add(append([]byte("old 0\n\n"), text...)), http.StatusUnprocessableEntity)
	if text, err = ledger.SignCheckpoint(ledger.Checkpoint{Origin: origin, Root: ledger.EmptyRoot}, keys.Checkpoint); err != nil {
		t.Fatal(err)
	}
	expect(t, "the empty tree", s.Add(append([]byte("old 0\n\n"), text...)), http.StatusOK)
	hash64 := base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"
	expect(t, "a path from 0", s.Add([]byte("old 0\n"+hash64+"\n"+string(h.checkpoints[5]))), http.StatusUnprocessableEntity)
	expect(t, "first", s.Add(h.request(t, 0, 5)), http.StatusOK)
	expect(t, "again", s.Add(h.request(t, 0, 5)), http.StatusConflict, 5)
	expect(t, "the same size", s.Add(h.request(t, 5, 5)), http.StatusOK)
	expect(t, "a path to itself", s.Add([]byte("old 5\n"+hash64+"\n"+string(h.checkpoints[5]))), http.StatusUnprocessableEntity)
	expect(t, "the same size, another root", s.Add(fork.request(t, 5, 5)), http.StatusUnprocessableEntity)
	expect(t, "another root, old size of its own", s.Add(fork.request(t, 0, 5)), http.StatusConflict, 5)
	expect(t, "back", s.Add(h.request(t, 3, 4)), http.StatusConflict, 5)
	expect(t, "a path of another tree", s.Add(fork.request(t, 5, 8)), http.StatusUnprocessableEntity)
	expect(t, "no path", s.Add(append([]byte("old 5\n\n"), h.checkpoints[8]...)), http.StatusUnprocessableEntity)
	expect(t, "on", s.Add(h.request(t, 5, 8)), http.StatusOK)

	got, ok := s.Checkpoint(hash)
	if !ok {
		t.Fatal("no checkpoint")
	}
	w, err := ledger.NewCosignatureVerifier(cosignatureVKey(t, "witness.example/w", 2))
	if err != nil {
		t.Fatal(err)
	}
	c, found, err := ledger.OpenCosigned(got, origin, []note.Verifier{keys.Verifier}, []note.Verifier{w})
	if err != nil || c.Size != 8 || len(found) != 1 {
		t.Errorf("it shows %s: %v", got, err)
	}
	if _, ok := s.Checkpoint(witness.OriginHash(other.Origin)); ok {
		t.Error("a checkpoint of an unknown log")
	}
	// Both heads of the fork are kept, and the one whose proof failed, apart from it.
	kept := s.Suspicions()
	proven := 0
	for _, k := range kept {
		if k.Proven {
			proven++
			if !bytes.HasPrefix(k.Known, h.checkpoints[5]) || !bytes.Equal(k.Other, fork.checkpoints[5]) {
				t.Errorf("kept %s and %s", k.Known, k.Other)
			}
		}
	}
	if proven != 1 || len(kept) != 3 {
		t.Errorf("%d suspicions, %d proven", len(kept), proven)
	}
}

// TestCosignatureTime: another implementation verifies the line, its time is now and never goes back.
//
// Audit rows: 95.
func TestCosignatureTime(t *testing.T) {
	keys := ledgertest.NewKeys(t, origin)
	h := newHistory(t, keys, 3, "")
	now := time.Unix(1_800_000_000, 0)
	s, err := witness.NewServer(witness.ServerConfig{Name: "witness.example/w", Key: seedKey(2), Dir: t.TempDir(),
		Logs: []witness.KnownLog{{Origin: origin, Verifiers: []note.Verifier{keys.Verifier}}}, Logger: discard,
		Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	theirs, err := formatsnote.NewVerifierForCosignatureV1(cosignatureVKey(t, "witness.example/w", 2))
	if err != nil {
		t.Fatal(err)
	}
	at := func(from, to uint64) time.Time {
		t.Helper()
		a := s.Add(h.request(t, from, to))
		n, err := note.Open(append(bytes.Clone(h.checkpoints[to]), a.Body...), note.VerifierList(theirs))
		if err != nil || a.Status != http.StatusOK {
			t.Fatalf("status %d, %v", a.Status, err)
		}
		when, err := formatsnote.CoSigV1Timestamp(n.Sigs[0])
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	if got := at(0, 2); !got.Equal(now) {
		t.Errorf("%v", got)
	}
	now = now.Add(-time.Hour)
	if got := at(2, 3); !got.Equal(now.Add(time.Hour)) {
		t.Errorf("after the clock went back: %v", got)
	}
}

// TestWitnessRace: many requests at once never take a witness back: every head it cosigned is larger than the one
// before, and continues it.
//
// Audit rows: 92.
func TestWitnessRace(t *testing.T) {
	const size, workers = 40, 8
	keys := ledgertest.NewKeys(t, origin)
	h := newHistory(t, keys, size, "")
	dir := t.TempDir()
	s := newServer(t, dir, "witness.example/w", 2, keys)
	requests := make([][][]byte, size+1)
	for from := range requests {
		for to := range requests {
			var r []byte
			if from <= to && to > 0 {
				r = h.request(t, uint64(from), uint64(to))
			}
			requests[from] = append(requests[from], r)
		}
	}
	var order sync.Mutex
	var persisted []uint64
	restore := durable.Intercept(func(name string, run func() error) error {
		err := run()
		if name == "witness.seen" {
			order.Lock()
			defer order.Unlock()
			data, readErr := os.ReadFile(filepath.Join(dir, "seen"))
			at := bytes.LastIndex(data, []byte("\n"+origin+"\n"))
			line, _, _ := bytes.Cut(data[at+len(origin)+2:], []byte("\n"))
			n, parseErr := strconv.ParseUint(string(line), 10, 64)
			if readErr != nil || parseErr != nil {
				return errors.Join(readErr, parseErr)
			}
			persisted = append(persisted, n)
		}
		return err
	})
	defer restore()
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			known := uint64(0)
			for i := 0; known < size; i++ {
				to := min(known+1+uint64((w+i)%5), size)
				switch a := s.Add(requests[known][to]); a.Status {
				case http.StatusOK:
					known = to
				case http.StatusConflict:
					n, err := strconv.ParseUint(strings.TrimSpace(string(a.Body)), 10, 64)
					if err != nil || n < known {
						t.Errorf("it had cosigned %d, now %d", known, n)
						return
					}
					known = n
				default:
					t.Errorf("status %d", a.Status)
					return
				}
			}
		})
	}
	group.Wait()
	for i := 1; i < len(persisted); i++ {
		if persisted[i] <= persisted[i-1] {
			t.Fatalf("persisted sizes %v", persisted)
		}
	}
	if len(persisted) == 0 || persisted[len(persisted)-1] != size {
		t.Errorf("persisted sizes %v", persisted)
	}
	t.Logf("%d requests persisted a head, the last of size %d", len(persisted), size)
}

// died is what a process that is killed inside a step looks like from inside.
type died struct{}

// TestPersistBeforeAnswering kills the witness before and after its durable step, and lets the step fail with and
// without effect: nobody holds a cosignature that the witness does not remember.
//
// Audit rows: 93.
func TestPersistBeforeAnswering(t *testing.T) {
	keys := ledgertest.NewKeys(t, origin)
	h := newHistory(t, keys, 6, "")
	for _, step := range []string{"witness.seen", "witness.compact"} {
		for _, fault := range []string{"error, not applied", "error, applied", "killed before", "killed after"} {
			t.Run(step+"/"+fault, func(t *testing.T) {
				dir := t.TempDir()
				s := newServer(t, dir, "witness.example/w", 2, keys)
				expect(t, "before", s.Add(h.request(t, 0, 3)), http.StatusOK)
				if step == "witness.compact" {
					s.FillJournal()
				}
				hit := false
				restore := durable.Intercept(func(name string, run func() error) error {
					if name != step {
						return run()
					}
					hit = true
					var err error
					if strings.HasSuffix(fault, " applied") && fault != "error, not applied" || fault == "killed after" {
						err = run()
					}
					if strings.HasPrefix(fault, "killed") {
						panic(died{})
					}
					return errors.Join(err, errors.New("disk"))
				})
				answered := http.StatusServiceUnavailable
				func() {
					defer func() {
						if r := recover(); r != nil && r != (died{}) {
							panic(r)
						}
					}()
					answered = s.Add(h.request(t, 3, 5)).Status
				}()
				restore()
				if !hit || answered == http.StatusOK {
					t.Fatalf("reached %t, answered %d", hit, answered)
				}
				if !strings.HasPrefix(fault, "killed") {
					expect(t, "after the failure", s.Add(h.request(t, 3, 5)), http.StatusServiceUnavailable)
				}
				again := newServer(t, dir, "witness.example/w", 2, keys)
				a := again.Add(h.request(t, 0, 3))
				applied := fault == "error, applied" || fault == "killed after"
				want := map[bool]uint64{true: 5, false: 3}[applied]
				expect(t, "after the restart", a, http.StatusConflict, want)
				expect(t, "on", again.Add(h.request(t, want, 6)), http.StatusOK)
			})
		}
	}
}

// TestWitnessRemembers: a witness knows after a restart what it has cosigned and kept, also of a log that is not
// configured for a while, and also after its journal was written anew many times.
func TestWitnessRemembers(t *testing.T) {
	keys := ledgertest.NewKeys(t, origin)
	h, fork := newHistory(t, keys, 9, ""), newHistory(t, keys, 5, "other")
	dir := t.TempDir()
	s := newServer(t, dir, "witness.example/w", 2, keys)
	for i := range uint64(5) {
		s.FillJournal()
		expect(t, fmt.Sprint(i), s.Add(h.request(t, i, i+1)), http.StatusOK)
	}
	expect(t, "a fork", s.Add(fork.request(t, 5, 5)), http.StatusUnprocessableEntity)
	s.FillJournal()
	expect(t, "on", s.Add(h.request(t, 5, 6)), http.StatusOK)

	others := newServer(t, dir, "witness.example/w", 2, ledgertest.NewKeys(t, "log.other.example/log/1"))
	expect(t, "not configured", others.Add(h.request(t, 0, 9)), http.StatusNotFound)
	if _, ok := others.Checkpoint(witness.OriginHash(origin)); ok {
		t.Error("shows a log that is not configured")
	}
	again := newServer(t, dir, "witness.example/w", 2, keys)
	expect(t, "back", again.Add(h.request(t, 0, 9)), http.StatusConflict, 6)
	if kept := again.Suspicions(); len(kept) != 1 || !kept[0].Proven {
		t.Errorf("kept %+v", kept)
	}
}
