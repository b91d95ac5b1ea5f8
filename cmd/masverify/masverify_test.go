package main

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/mission/missiontest"
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
//	feed.json, present.proof, absent.proof  what the log lists and proves of $MISSION, and of a mission that is not there
//	population/                        pages of the population of missions, one mission each
//	old.note, new.note, proof.json     two heads and the proof between them
//	kept.json                          new.note as a peer would have logged it
//	forged.note                        another root for the size of new.note, signed with the log's key
//	transparent.cose, statement.cose, receipt.cose
//	origin.zip, origin.json, receiver.zip, receiver.json   bundles and trust documents of two domains, upstream revoked
//	proof-*.json                                           between their heads
//	projection.jwt                                         that crossed between them
//	agreement.json                                         of the two
//	report.txt, provenance.json, binding.jwt, harness-trust.json   an artifact, and who attributes it
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
	s.feeds(d)
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
	s.golden(t)
	s.workProduct(t, d)
	return s
}

// workProduct puts an artifact on the stage with what attributes it, and a trust document that knows the mediator.
func (s *stage) workProduct(t *testing.T, d *verifiertest.Domain) {
	t.Helper()
	key := missiontest.Key("harness")
	trust := d.Trust()
	trust.Producers = []verifier.Producer{{Issuer: "https://harness.a.example", Types: []string{evidence.ContentWorkProduct},
		Keys: missiontest.Keys(key)}}
	s.trust(t, "harness-trust.json", trust)
	s.files["report.txt"] = []byte("the report")
	p := evidence.Provenance{MissionID: mission.ID(s.mission), DeploymentID: "d-1", Producer: "agent-1",
		CreatedAt: "2026-11-02T08:00:00Z"}
	digest, err := p.Digest("https://harness.a.example")
	if err != nil {
		t.Fatal(err)
	}
	provenance, err := mission.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := mission.Marshal(evidence.WorkProduct{Iss: "https://harness.a.example",
		Mediator: evidence.Emitter{ID: "harness-1", Role: evidence.Harness}, Artifact: mission.RawDigest(s.files["report.txt"]),
		Provenance: digest})
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.Sign(t.Context(), key, jws.TypWorkProduct, payload)
	if err != nil {
		t.Fatal(err)
	}
	s.files["provenance.json"], s.files["binding.jwt"] = provenance, []byte(token+"\n")
}

// feeds puts proofs about feeds on the stage. They need an epoch, after which the mirror is made.
func (s *stage) feeds(d *verifiertest.Domain) {
	d.Cover()
	subject := verifiertest.MissionSubject(s.mission)
	s.files["feed.json"] = d.Listing(subject)
	var listing map[string]any
	if err := json.Unmarshal(s.files["feed.json"], &listing); err != nil {
		panic(err) // it was just made
	}
	items := listing["items"].([]any)
	listing["items"] = items[:len(items)-1]
	s.files["cut.json"], _ = json.Marshal(listing)
	s.files["present.proof"] = d.FeedProof(subject)
	s.files["absent.proof"] = d.FeedProof(verifiertest.MissionSubject(absent))
	for i, page := range d.Population(1) {
		s.files[fmt.Sprintf("population/page-%04d", i+1)] = page
	}
}

// absent is a mission that nobody proposed.
const absent = "msn_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// golden puts the golden log of the vectors on the stage, with a trust document that names its keys as it does.
func (s *stage) golden(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile("../../verifier/testdata/vectors/ledger.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Golden struct {
			Checkpoint  string `json:"checkpoint"`
			VKey        string `json:"log_vkey"`
			Origin      string `json:"origin"`
			Tile        string `json:"tile_0_000.p_4_hex"`
			Bundle      string `json:"entry_bundle_tile_entries_000.p_4_hex"`
			Transparent string `json:"transparent_statement_cbor_hex"`
			Receipt     string `json:"receipt_inclusion_cbor_hex"`
			Statements  []struct {
				CBOR string `json:"statement_cbor_hex"`
				Pub  string `json:"issuer_ed25519_pub_hex"`
			} `json:"statements"`
		} `json:"golden"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	g := file.Golden
	octets := func(text string) []byte {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	s.files["golden/checkpoint"] = []byte(g.Checkpoint)
	s.files["golden/tile/0/000.p/4"] = octets(g.Tile)
	s.files["golden/tile/entries/000.p/4"] = octets(g.Bundle)
	s.files["golden.cose"], s.files["golden-receipt.cose"] = octets(g.Transparent), octets(g.Receipt)
	domains := map[string]*verifier.Anchor{}
	for _, x := range g.Statements {
		st, err := ledger.ParseStatement(octets(x.CBOR))
		if err != nil {
			t.Fatal(err)
		}
		if domains[st.Issuer] == nil {
			domains[st.Issuer] = &verifier.Anchor{Issuer: st.Issuer, Origin: g.Origin, VKey: g.VKey}
		}
		if _, dup := domains[st.Issuer].Evidence.Find(st.KeyID); !dup {
			domains[st.Issuer].Evidence = append(domains[st.Issuer].Evidence, verifier.TrustedKey{KeyID: st.KeyID,
				Public: ed25519.PublicKey(octets(x.Pub)), Status: verifier.KeyActive})
		}
	}
	receipt, err := ledger.ParseReceipt(s.files["golden-receipt.cose"])
	if err != nil {
		t.Fatal(err)
	}
	service := domains[receipt.Issuer]
	service.Receipts = service.Evidence
	trust := &verifier.Trust{Anchor: *service}
	for issuer, d := range domains {
		if issuer != receipt.Issuer {
			trust.Peers = append(trust.Peers, *d)
		}
	}
	s.trust(t, "golden.json", trust)
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
	if s.files["kept.json"], err = json.Marshal(map[string]any{"issuer": verifiertest.Issuer, "occasion": "mint",
		"origin": newer.Origin, "size": newer.Size, "root": newer.Root.String(), "checkpoint": string(v.Checkpoint())}); err != nil {
		t.Fatal(err)
	}
	newer.Root[0] ^= 1
	if s.files["forged.note"], err = ledger.SignCheckpoint(newer, d.Ledger.Keys.Checkpoint); err != nil {
		t.Fatal(err)
	}
}
