package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/witness"
)

// The workloads of witnessing: a log that publishes only what its witness has cosigned, and that witness, each with a
// journal of its own.

const (
	witnessName  = "witness.b.example"
	witnessLimit = 4 << 20 // of a journal, before it is written anew
)

// A witnessed log is a log with its store, its publisher and its witness.
type witnessed struct {
	*logWork
	server    *witness.Server
	publisher *witness.Publisher
	end       func()
}

// openWitnessed opens all of it. If something does not open it says so and returns nil.
func openWitnessed(t *testing.T, dir string, r *report) *witnessed {
	w := &witnessed{logWork: openWork(t, dir, r, stepStore())}
	if w.logWork == nil {
		return nil
	}
	discard := slog.New(slog.DiscardHandler)
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	var err error
	w.server, err = witness.NewServer(witness.ServerConfig{Name: witnessName, Key: key, Dir: stepPath(dir, "witness"),
		Logger: discard, Logs: []witness.KnownLog{{Origin: stepOrigin, Verifiers: []note.Verifier{w.log.Keys.Verifier}}}})
	if err != nil {
		r.saw("does not start", err)
		w.logWork.close()
		return nil
	}
	web := httptest.NewServer(http.HandlerFunc(w.answer))
	vkey, err := ledger.CosignatureVKey(witnessName, key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	policy, err := ledger.ParseWitnessPolicy([]byte("log " + w.log.Keys.VKey + "\nwitness w " + vkey + " " + web.URL +
		"\nquorum w\n"))
	if err != nil {
		t.Fatal(err)
	}
	w.publisher, err = witness.Open(witness.Config{Log: w.log.Log, Origin: stepOrigin,
		Verifiers: []note.Verifier{w.log.Keys.Verifier}, Policy: policy, FailClosed: true, Dir: stepPath(dir, "cosigned"),
		Interval: 10 * time.Millisecond, Loopback: true, Logger: discard})
	if err != nil {
		r.saw("does not start", err)
		web.Close()
		_ = w.server.Close()
		w.logWork.close()
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = w.publisher.Run(ctx)
	}()
	w.end = func() {
		cancel()
		<-ended
		web.Close()
		_ = w.publisher.Close()
		_ = w.server.Close()
		w.logWork.close()
	}
	return w
}

// answer is the witness over HTTP.
func (w *witnessed) answer(out http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	a := w.server.Add(body)
	out.Header().Set("Content-Type", a.ContentType)
	out.WriteHeader(a.Status)
	_, _ = out.Write(a.Body)
}

// publish commits and waits until what was committed is published with a cosignature.
func (w *witnessed) publish(patience time.Duration) {
	w.commit()
	v, err := w.log.View()
	if err != nil {
		w.r.saw("failed", err)
		return
	}
	size := v.Head().Size
	v.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.publisher.Await(ctx, size); err != nil {
		w.r.saw("not published", err)
		return
	}
	w.r.say(fact{Kind: "checkpoint", Text: w.publisher.Current().Note})
	w.r.say(fact{Kind: "cosigned", N: w.publisher.Current().Size})
}

func runWitnessed(t *testing.T, dir string, r *report) {
	w := openWitnessed(t, dir, r)
	if w == nil {
		return
	}
	for range 4 {
		w.publish(3 * time.Second)
	}
	w.end()
}

func prepareWitnessed(t *testing.T, dir string, r *report) { runWitnessed(t, dir, r) }

// prepareFull leaves journals that are to be written anew: their last record fills them.
func prepareFull(t *testing.T, dir string, r *report) {
	runWitnessed(t, dir, r)
	for _, path := range witnessJournals(t, dir) {
		data, frame := lastFrame(t, path)
		appendTo(t, path, bytes.Repeat(frame, (witnessLimit-len(data))/len(frame)+2))
	}
}

// prepareCut leaves journals whose last record a crash cut short.
func prepareCut(t *testing.T, dir string, r *report) {
	runWitnessed(t, dir, r)
	for _, path := range witnessJournals(t, dir) {
		_, frame := lastFrame(t, path)
		appendTo(t, path, frame[:len(frame)/2])
	}
}

func witnessJournals(t *testing.T, dir string) []string {
	t.Helper()
	return []string{last(t, stepPath(dir, "witness", "*")), last(t, stepPath(dir, "cosigned", "*"))}
}

// lastFrame reads a journal of a witness: frames of a length, a checksum and that many octets.
func lastFrame(t *testing.T, path string) (data, frame []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(data); {
		end := at + 8 + int(binary.BigEndian.Uint32(data[at:]))
		frame, at = data[at:end], end
	}
	if len(frame) == 0 {
		t.Fatalf("%s is empty", path)
	}
	return data, frame
}

func appendTo(t *testing.T, path string, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
}

// checkWitnessed: the witness has not forgotten what it cosigned, what was published still is, and both go on.
func checkWitnessed(t *testing.T, dir string, said []fact) {
	var r report
	w := openWitnessed(t, dir, &r)
	if w == nil {
		t.Fatalf("it does not open again: %s", r.kept[0].Text)
	}
	w.audit(said)
	var most uint64
	for _, f := range said {
		if f.Kind == "cosigned" {
			most = max(most, f.N)
		}
	}
	if most > 0 {
		text, ok := w.server.Checkpoint(witness.OriginHash(stepOrigin))
		c, err := ledger.OpenCheckpoint(text, stepOrigin, w.log.Keys.Verifier)
		if !ok || err != nil || c.Size < most {
			t.Fatalf("the witness is at %d, it cosigned %d: %v", c.Size, most, err)
		}
		if !w.publisher.Published(most) {
			t.Fatalf("the head of %d entries was published with a cosignature and is not any more", most)
		}
	}
	w.publish(time.Minute)
	ledgertest.CheckLog(t, w.log, w.log.Keys.VKey)
	if h := w.log.Health(); h != (ledger.Health{}) {
		t.Fatalf("health %+v", h)
	}
	w.end()
	for _, f := range r.kept {
		if f.Kind == "saw" {
			t.Fatalf("after it opened again: %s: %s", f.Name, f.Text)
		}
	}
}
