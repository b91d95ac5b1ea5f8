package witness_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/witness"
)

const origin = "log.a.example/log/1"

// seedKey is the Ed25519 key whose seed is 32 times b.
func seedKey(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func cosignatureVKey(t testing.TB, name string, b byte) string {
	t.Helper()
	vkey, err := ledger.CosignatureVKey(name, seedKey(b).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}

// golden is the part of the shared vectors about checkpoints.
type golden struct {
	Checkpoint  string   `json:"checkpoint"`
	Cosigned    string   `json:"cosigned_checkpoint"`
	Path        []string `json:"consistency_path_2_4_hex"`
	Roots       []string `json:"roots_hex"`
	Origin      string   `json:"origin"`
	Request     string   `json:"witness_add_checkpoint_request_old2"`
	LogVKey     string   `json:"log_vkey"`
	WitnessVKey string   `json:"witness_vkey"`
}

func readGolden(t testing.TB) golden {
	t.Helper()
	data, err := os.ReadFile("../../verifier/testdata/vectors/ledger.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Golden golden `json:"golden"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return file.Golden
}

func unhash(t testing.TB, s string) ledger.Hash {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != ledger.HashSize {
		t.Fatalf("%q: %v", s, err)
	}
	return ledger.Hash(b)
}

// A history is a log and the checkpoints it has signed, by size.
type history struct {
	*ledgertest.Log
	checkpoints [][]byte
}

// newHistory runs a log and grows it to size, one entry a time.
func newHistory(t testing.TB, keys *ledgertest.Keys, size int, salt string) *history {
	t.Helper()
	h := &history{Log: ledgertest.NewLog(t, ledgertest.Options{Keys: keys}), checkpoints: [][]byte{nil}}
	h.note(t)
	for i := 1; i < size; i++ {
		h.grow(t, fmt.Sprint(salt, i))
	}
	return h
}

func (h *history) note(t testing.TB) {
	h.checkpoints = append(h.checkpoints, h.MustView(t).Checkpoint())
}

// grow appends an entry.
func (h *history) grow(t testing.TB, what string) {
	t.Helper()
	h.MustCommit(t, ledger.Change{Entries: []ledger.Entry{h.Keys.Entry(t, "msn_x", []byte(what))}})
	h.note(t)
}

// request is the request of the log for the step from one size to another.
func (h *history) request(t testing.TB, from, to uint64) []byte {
	t.Helper()
	a := ledger.AddCheckpoint{Old: from, Checkpoint: h.checkpoints[to]}
	if from > 0 && from < to {
		var err error
		if a.Path, err = h.MustView(t).Consistency(from, to); err != nil {
			t.Fatal(err)
		}
	}
	body, err := a.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// A served is a witness behind HTTP.
type served struct {
	*httptest.Server
	witness  *witness.Server
	name     string
	seed     byte
	requests atomic.Int64
	cosigned atomic.Int64
}

// vkey is the verifier key of the witness.
func (s *served) vkey(t testing.TB) string { return cosignatureVKey(t, s.name, s.seed) }

// newWitness serves a witness that knows the log of keys.
func newWitness(t testing.TB, name string, seed byte, keys *ledgertest.Keys) *served {
	t.Helper()
	s := &served{witness: newServer(t, t.TempDir(), name, seed, keys), name: name, seed: seed}
	s.Server = httptest.NewServer(s.handler())
	t.Cleanup(s.Close)
	return s
}

func (s *served) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		a := s.witness.Add(body)
		if a.Status == http.StatusOK {
			s.cosigned.Add(1)
		}
		w.Header().Set("Content-Type", a.ContentType)
		w.WriteHeader(a.Status)
		_, _ = w.Write(a.Body)
	})
	mux.HandleFunc("GET /{hash}/checkpoint", func(w http.ResponseWriter, r *http.Request) {
		text, ok := s.witness.Checkpoint(r.PathValue("hash"))
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(text)
	})
	return mux
}

// newServer opens a witness of the directory dir that knows the log of keys.
func newServer(t testing.TB, dir, name string, seed byte, keys *ledgertest.Keys) *witness.Server {
	t.Helper()
	s, err := witness.NewServer(witness.ServerConfig{Name: name, Key: seedKey(seed), Dir: dir, Logger: discard,
		Logs: []witness.KnownLog{{Origin: keys.Origin, Verifiers: []note.Verifier{keys.Verifier}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

var discard = slog.New(slog.DiscardHandler)

// policyOf is a policy over witnesses w0, w1, … with the quorum line given.
func policyOf(t testing.TB, vkey string, quorum string, witnesses ...*served) *ledger.WitnessPolicy {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "log %s\n", vkey)
	for i, w := range witnesses {
		fmt.Fprintf(&text, "witness w%d %s %s\n", i, w.vkey(t), w.URL)
	}
	p, err := ledger.ParseWitnessPolicy([]byte(text.String() + quorum))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// config is a Publisher's for the log, with short times.
func config(t testing.TB, l witness.Log, keys *ledgertest.Keys, p *ledger.WitnessPolicy) witness.Config {
	t.Helper()
	return witness.Config{Log: l, Origin: keys.Origin, Verifiers: []note.Verifier{keys.Verifier}, Policy: p, Dir: t.TempDir(),
		Interval: 10 * time.Millisecond, Timeout: 10 * time.Second, Loopback: true, Logger: discard}
}
