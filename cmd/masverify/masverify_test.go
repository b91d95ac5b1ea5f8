package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/verifier"
	"github.com/mission-authority/mas/verifier/verifiertest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"masverify": func() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
		// masverify-code CODE ARGS... succeeds if masverify ends with this code.
		"masverify-code": func() {
			if code := run(os.Args[2:], os.Stdin, os.Stdout, os.Stderr); strconv.Itoa(code) != os.Args[1] {
				fmt.Fprintf(os.Stderr, "exit code %d\n", code)
				os.Exit(1)
			}
		},
	})
}

// TestScripts runs testdata/script/*.txtar against the evidence of a real domain: see stage for the files.
func TestScripts(t *testing.T) {
	stage := newStage(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("MISSION", stage.mission)
			env.Setenv("NONCE", stage.nonce)
			env.Setenv("VECTORS", stage.vectors)
			for name, data := range stage.files {
				path := filepath.Join(env.WorkDir, filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					return err
				}
				if err := os.WriteFile(path, data, 0o644); err != nil {
					return err
				}
			}
			return nil
		},
	})
}

// A stage is what the scripts find in their directory:
//
//	trust.json, other-trust.json       of the domain, and of another one
//	mission.mission-evidence.zip       a revoked mission
//	tampered.mission-evidence.zip      the same with one body changed and everything unsigned repaired
//	cut.mission-evidence.zip           the same without its last entry
//	mirror/                            of the log
//	old.note, new.note, proof.json     two heads and the proof between them
//	forged.note                        another root for the size of new.note, signed with the log's key
//	transparent.cose, statement.cose, receipt.cose
//	origin.zip, origin.json, receiver.zip, receiver.json   bundles and trust documents of two domains, upstream revoked
//	proof-*.json                                           between their heads
//	projection.jwt                                         that crossed between them
//	agreement.json                                         of the two
//	status.jwt                         an answer about an active mission, to the question with $NONCE about $MISSION
type stage struct {
	files                   map[string][]byte
	mission, nonce, vectors string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	d := verifiertest.New(t)
	s := &stage{files: map[string][]byte{}}
	var err error
	if s.vectors, err = filepath.Abs("../../verifier/testdata/vectors"); err != nil {
		t.Fatal(err)
	}
	s.files["old.note"] = d.SignedHead(d.Ledger.MustView(t).Head().Size)
	active := d.Approve()
	token, nonce := d.Ask(active)
	s.files["status.jwt"], s.mission, s.nonce = []byte(token), active, nonce
	ended := d.Approve()
	d.Move(ended, mission.OpSuspend)
	d.Move(ended, mission.OpRevoke)
	s.files["mission.mission-evidence.zip"] = d.Bundle(ended)
	s.evidence(t, d)
	s.heads(t, d)
	box := verifiertest.OpenBox(t, s.files["mission.mission-evidence.zip"])
	s.files["tampered.mission-evidence.zip"] = box.Clone().Replace(mission.ContentApprovalRecord, "Reconcile", "Reconcila").Close()
	s.files["cut.mission-evidence.zip"] = box.Clone().Drop(mission.ContentTransition, 1).Close()
	s.trust(t, "trust.json", d.Trust())
	s.trust(t, "other-trust.json", verifiertest.New(t).Trust())
	for path, data := range d.Mirror() {
		s.files["mirror/"+path] = data
	}
	verifiertest.InBorder(t, s.exchange)
	return s
}

// exchange puts both sides of an exchange on the stage.
func (s *stage) exchange(t *testing.T, b *verifiertest.Border) {
	upstream, local := b.Convey()
	b.Origin.Move(upstream, mission.OpRevoke)
	verifiertest.Settle()
	s.files["origin.zip"], s.files["receiver.zip"] = b.Evidence(upstream, local)
	s.trust(t, "origin.json", b.Origin.Trust())
	s.trust(t, "receiver.json", b.Receiver.Trust())
	for i, p := range b.Proofs(s.files["origin.zip"], s.files["receiver.zip"]) {
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		s.files[fmt.Sprintf("proof-%d.json", i)] = text
	}
	signed, err := b.Signed.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	s.files["agreement.json"] = signed
	box := verifiertest.OpenBox(t, s.files["receiver.zip"])
	var received struct {
		Artifact string `json:"artifact"`
	}
	body := box.Files[box.Record(box.Find(mission.ContentProjectionReceived, 0))]
	if err := mission.DecodeOpen(body, &received); err != nil {
		t.Fatal(err)
	}
	s.files["projection.jwt"] = []byte(received.Artifact + "\n")
}

func (s *stage) trust(t *testing.T, name string, trust *verifier.Trust) {
	t.Helper()
	text, err := trust.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s.files[name] = text
}

// evidence takes one entry apart.
func (s *stage) evidence(t *testing.T, d *verifiertest.Domain) {
	t.Helper()
	transparent := d.Transparent(2)
	statement, receipts, err := ledger.DetachReceipts(transparent)
	if err != nil {
		t.Fatal(err)
	}
	s.files["transparent.cose"], s.files["statement.cose"], s.files["receipt.cose"] = transparent, statement, receipts[0]
}

// heads makes the proof between old.note and the present head.
func (s *stage) heads(t *testing.T, d *verifiertest.Domain) {
	t.Helper()
	v := d.Ledger.MustView(t)
	older, fs := verifier.VerifyCheckpoint(s.files["old.note"], &d.Trust().Anchor)
	if fs.Outcome() != verifier.OK {
		t.Fatal(fs)
	}
	newer := ledger.Checkpoint{Origin: older.Origin, Size: v.Head().Size, Root: v.Head().Root}
	path, err := v.Consistency(older.Size, newer.Size)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := json.Marshal(verifier.NewConsistencyProof(older, newer, path))
	if err != nil {
		t.Fatal(err)
	}
	s.files["new.note"], s.files["proof.json"] = v.Checkpoint(), proof
	newer.Root[0] ^= 1
	if s.files["forged.note"], err = ledger.SignCheckpoint(newer, d.Ledger.Keys.Checkpoint); err != nil {
		t.Fatal(err)
	}
}
