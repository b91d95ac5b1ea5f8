package witness

import (
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/durable"
)

// Outcomes that a Server counts.
const (
	OutcomeCosigned = "cosigned"
	OutcomeRefused  = "refused"  // 400, 403, 404 and 422
	OutcomeConflict = "conflict" // 409
	OutcomeFork     = "fork"     // a head that contradicts the one before was kept as evidence
	OutcomeFailed   = "failed"   // the journal or the key did not work
)

// Outcomes lists every outcome of a Server.
func Outcomes() []string {
	return []string{OutcomeCosigned, OutcomeRefused, OutcomeConflict, OutcomeFork, OutcomeFailed}
}

// A KnownLog is a log whose heads a Server cosigns.
type KnownLog struct {
	Origin    string
	Verifiers []note.Verifier
	Peer      string // issuer of the federation peer whose log it is; "" if it is nobody's
}

// ServerConfig is what a Server is made of.
type ServerConfig struct {
	Name   string        // of the witness
	Key    crypto.Signer // Ed25519, used for nothing else
	Dir    string        // of the journal
	Logs   []KnownLog
	Now    func() time.Time // time.Now
	Logger *slog.Logger
	Event  func(outcome string) // counts; may be nil
	// Report is told what looks like a fork, once or, after a crash, again, until it returns nil. It may be nil.
	Report func(context.Context, Suspicion) error
}

// A Suspicion is two heads of one log, each signed by it, that look as if they contradict each other.
type Suspicion struct {
	Peer   string // issuer, if the log is that of a federation peer
	Origin string
	Known  []byte // signed note: cosigned by this witness
	Other  []byte // signed note: refused
	Proven bool   // both have one size; otherwise only a proof that came with the request failed
}

// A Server cosigns the heads of the logs it knows. It is safe for concurrent use.
type Server struct {
	c ServerConfig

	mu      sync.Mutex // makes checking and persisting a head one step
	journal *journal
	logs    map[string]*logState // by origin
	byHash  map[string]*logState // by OriginHash
	doubts  chan struct{}        // something is to be reported
}

// logState is what the witness knows about one log. A log that is known no longer keeps its state: a witness that
// forgot what it has cosigned could cosign another tree later.
type logState struct {
	KnownLog
	last       ledger.Checkpoint
	note       []byte    // with the log's lines and ours; nil before the first
	at         time.Time // of our line, if this process made it
	suspicions []suspicion
}

// A suspicion is what a record of the journal holds, and whether it was reported.
type suspicion struct {
	known, other []byte
	proven       bool
	reported     bool
}

// maxSuspicions bounds what is kept about one log of each kind, proven and not.
const maxSuspicions = 16

var stepSeen = durable.Register("witness.seen", "a witness remembers the head it is about to cosign")

// Kinds of records of a witness's journal.
const (
	kindSeen       = "seen"       // a checkpoint that was cosigned
	kindSuspicious = "suspicious" // proven or unproven, and both checkpoints in base64, each on a line
)

// NewServer reads the journal of the witness.
func NewServer(c ServerConfig) (*Server, error) {
	if c.Key == nil || c.Logger == nil {
		return nil, errors.New("witness: incomplete configuration")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Server{c: c, logs: map[string]*logState{}, byHash: map[string]*logState{}, doubts: make(chan struct{}, 1)}
	if _, err := ledger.NewCosigner(c.Name, c.Key, time.Unix(1, 0)); err != nil {
		return nil, err
	}
	for _, l := range c.Logs {
		if err := s.add(l); err != nil {
			return nil, err
		}
	}
	var err error
	if s.journal, err = openJournal(filepath.Join(c.Dir, "seen"), stepSeen, s.replay); err != nil {
		return nil, err
	}
	s.doubt()
	return s, nil
}

func (s *Server) add(l KnownLog) error {
	other := func(v note.Verifier) bool { return v.Name() != l.Origin }
	if len(l.Verifiers) == 0 || slices.ContainsFunc(l.Verifiers, other) {
		return fmt.Errorf("witness: the keys of the log %.200q are not its keys", l.Origin)
	}
	st := s.state(l.Origin)
	st.Verifiers = append(st.Verifiers, l.Verifiers...)
	if l.Peer != "" {
		st.Peer = l.Peer
	}
	return nil
}

// state is that of an origin, made if there is none.
func (s *Server) state(origin string) *logState {
	st := s.logs[origin]
	if st == nil {
		st = &logState{KnownLog: KnownLog{Origin: origin}}
		s.logs[origin], s.byHash[OriginHash(origin)] = st, st
	}
	return st
}

// replay takes one record of the journal.
func (s *Server) replay(r record) error {
	switch r.kind {
	case kindSeen:
		c, err := ledger.UnverifiedCheckpoint([]byte(r.text))
		if err != nil {
			return err
		}
		st := s.state(c.Origin)
		if c.Size < st.last.Size {
			return errors.New("a head that is older than the one before")
		}
		st.last, st.note = c, []byte(r.text)
		return nil
	case kindSuspicious:
		d, err := parseSuspicion(r.text)
		if err != nil {
			return err
		}
		c, err := ledger.UnverifiedCheckpoint(d.known)
		if err != nil {
			return err
		}
		st := s.state(c.Origin)
		st.suspicions = append(st.suspicions, d)
		return nil
	}
	return fmt.Errorf("a record of kind %.40q", r.kind)
}

func (d suspicion) record() record {
	word := "unproven"
	if d.proven {
		word = "proven"
	}
	b64 := base64.StdEncoding.EncodeToString
	return record{kindSuspicious, word + "\n" + b64(d.known) + "\n" + b64(d.other) + "\n"}
}

func parseSuspicion(text string) (d suspicion, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] != "proven" && lines[0] != "unproven" {
		return d, errors.New("not two heads")
	}
	d.proven = lines[0] == "proven"
	known, err1 := base64.StdEncoding.DecodeString(lines[1])
	other, err2 := base64.StdEncoding.DecodeString(lines[2])
	d.known, d.other = known, other
	return d, errors.Join(err1, err2)
}

// Close closes the journal.
func (s *Server) Close() error { return s.journal.close() }

// An Answer is what a witness answers to a request.
type Answer struct {
	Status      int
	ContentType string
	Body        []byte
}

// Add answers the body of an add-checkpoint request: 200 with our signature line, or 400, 403, 404, 409 with the size
// we have cosigned, 422, or 503 if the journal or the key does not work.
func (s *Server) Add(body []byte) Answer {
	a, err := ledger.ParseAddCheckpoint(body)
	if err != nil {
		return s.refuse(http.StatusBadRequest)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.logs[a.Claimed.Origin]
	if st == nil || len(st.Verifiers) == 0 {
		return s.refuse(http.StatusNotFound)
	}
	c, err := ledger.OpenCheckpoint(a.Checkpoint, st.Origin, st.Verifiers...)
	switch {
	case errors.Is(err, ledger.ErrSignature):
		return s.refuse(http.StatusForbidden)
	case errors.Is(err, ledger.ErrEmptyRoot):
		return s.refuse(http.StatusUnprocessableEntity)
	case err != nil:
		return s.refuse(http.StatusBadRequest)
	}
	n, err := note.Open(a.Checkpoint, note.VerifierList(st.Verifiers...))
	if err != nil {
		return s.refuse(http.StatusForbidden)
	}
	n.UnverifiedSigs = nil // of keys that are not the log's
	return s.judge(st, a, c, n)
}

// judge decides about a checkpoint that the log has signed. The caller holds the lock.
func (s *Server) judge(st *logState, a ledger.AddCheckpoint, c ledger.Checkpoint, n *note.Note) Answer {
	fork := st.note != nil && c.Size == st.last.Size && c.Root != st.last.Root
	if fork {
		s.suspect(st, n, true)
	}
	switch {
	case a.Old != st.last.Size:
		s.event(OutcomeConflict)
		return Answer{http.StatusConflict, mediaSize, strconv.AppendUint(nil, st.last.Size, 10)}.line()
	case fork, len(a.Path) > 0 && (a.Old == 0 || a.Old == c.Size):
		return s.refuse(http.StatusUnprocessableEntity)
	case a.Old > 0 && a.Old < c.Size:
		if ledger.VerifyConsistency(a.Old, c.Size, a.Path, st.last.Root, c.Root) != nil {
			s.suspect(st, n, false)
			return s.refuse(http.StatusUnprocessableEntity)
		}
	}
	return s.cosign(st, c, n)
}

func (a Answer) line() Answer {
	a.Body = append(a.Body, '\n')
	return a
}

func (s *Server) refuse(status int) Answer {
	s.event(OutcomeRefused)
	return Answer{status, "text/plain; charset=utf-8", []byte(http.StatusText(status))}.line()
}

// cosign signs a checkpoint, remembers it durably and answers. The caller holds the lock.
func (s *Server) cosign(st *logState, c ledger.Checkpoint, n *note.Note) Answer {
	at := s.c.Now()
	if at.Before(st.at) { // the clock was set back: what we said of the time stays so
		at = st.at
	}
	cosigned, err := s.sign(n, at)
	if err == nil && (st.note == nil || c != st.last) {
		err = s.remember(cosigned, st)
	}
	if err != nil {
		s.event(OutcomeFailed)
		s.c.Logger.Error("nothing is cosigned", slog.String("log", st.Origin), slog.Any("error", err))
		return Answer{http.StatusServiceUnavailable, "text/plain; charset=utf-8", []byte("unavailable")}.line()
	}
	st.last, st.note, st.at = c, cosigned, at
	s.event(OutcomeCosigned)
	line := cosigned[strings.LastIndexByte(string(cosigned[:len(cosigned)-1]), '\n')+1:]
	return Answer{http.StatusOK, "text/plain; charset=utf-8", line}
}

// sign adds our line, as the last one.
func (s *Server) sign(n *note.Note, at time.Time) ([]byte, error) {
	signer, err := ledger.NewCosigner(s.c.Name, s.c.Key, at)
	if err != nil {
		return nil, err
	}
	return note.Sign(n, signer)
}

// remember makes the head durable. A full journal is written anew with the newest head of each log.
func (s *Server) remember(cosigned []byte, of *logState) error {
	r := record{kindSeen, string(cosigned)}
	if !s.journal.full() {
		return s.journal.append(r)
	}
	var all []record
	for _, st := range s.logs {
		for _, d := range st.suspicions {
			all = append(all, d.record())
		}
		if st != of && st.note != nil {
			all = append(all, record{kindSeen, string(st.note)})
		}
	}
	return s.journal.compact(append(all, r))
}

// suspect keeps a head that contradicts, or seems to contradict, the one that was cosigned. The caller holds the lock.
func (s *Server) suspect(st *logState, n *note.Note, proven bool) {
	other, err := note.Sign(n)
	if err != nil {
		return
	}
	d := suspicion{known: st.note, other: other, proven: proven}
	kept := 0
	for _, before := range st.suspicions {
		if before.proven != proven {
			continue
		}
		if string(before.other) == string(other) {
			return
		}
		kept++
	}
	if kept >= maxSuspicions {
		return
	}
	s.event(OutcomeFork)
	s.c.Logger.Error("the head of a log contradicts the one before, or its proof fails", slog.String("log", st.Origin),
		slog.Bool("proven", proven), slog.Uint64("cosigned", st.last.Size))
	if err := s.journal.append(d.record()); err != nil {
		s.c.Logger.Error("evidence of a fork was not kept", slog.Any("error", err))
	}
	st.suspicions = append(st.suspicions, d)
	s.doubt()
}

func (s *Server) event(outcome string) {
	if s.c.Event != nil {
		s.c.Event(outcome)
	}
}

// Checkpoint returns the newest checkpoint that was cosigned of the log with this OriginHash, with the lines of the
// log's keys and ours. It reports false if there is none.
func (s *Server) Checkpoint(originHash string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.byHash[originHash]
	if st == nil || st.note == nil || len(st.Verifiers) == 0 {
		return nil, false
	}
	return st.note, true
}
