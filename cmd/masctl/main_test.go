package main

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/httpapi"
	"github.com/mission-authority/mas/cmd/internal/telemetry"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/epoch"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/ledger/registry"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/mission-authority/mas/mission/missiontest"
	"github.com/mission-authority/mas/verifier"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"masctl": main}) }

// A service is a whole service over a log in memory, on a loopback address.
type service struct {
	issuer   string
	profiles map[string][]byte // by role
	epochs   *epoch.Worker
	dev      []byte // dev.json with the client as "agent"
}

var roles = []authority.Role{authority.RoleClient, authority.RoleApprover, authority.RoleOperator, authority.RoleAuditor,
	authority.RolePEP, authority.RolePeer, authority.RoleProducer, authority.RoleAdmin}

// startService starts one with a principal for each role and waits until it knows them.
func startService(t *testing.T) *service {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	issuer := "http://" + server.Listener.Addr().String()
	s := &service{issuer: issuer, profiles: map[string][]byte{}}
	keys := ledgertest.NewKeys(t, server.Listener.Addr().String()+"/log/main")
	keys.Issuer = issuer
	principals := s.principals(t, keys)
	log := ledgertest.NewLog(t, ledgertest.Options{Keys: keys})
	status := missiontest.Key("issuer")
	owner, err := authority.New(authority.Config{Issuer: issuer, Log: log, Status: status, Evidence: keys.Evidence,
		Governance: missiontest.Key("governance"), Principals: principals})
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.epochs, err = epoch.New(epoch.Config{Issuer: issuer, Origin: keys.Origin, Log: log, Evidence: keys.Evidence,
		Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	producers, err := registry.New(registry.Config{Log: log, Evidence: keys.Evidence, Rate: 1000, Wait: time.Minute, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	api, err := httpapi.New(httpapi.Config{
		Registry: producers,
		Issuer:   issuer, Shard: "main", LogOrigin: keys.Origin, Missions: owner, Directory: owner, Log: log,
		Receipts: keys.Receipt, Epochs: s.epochs, Evidence: keys.Evidence, Rate: 1000, Body: 64 << 10, Metrics: telemetry.NewRegistry(), Now: time.Now,
		Logger: slog.New(slog.DiscardHandler), Published: published(t, keys, status),
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = api
	server.Start()
	t.Cleanup(server.Close)
	time.Sleep(time.Until(api.ReadyAt()))
	return s
}

func published(t *testing.T, keys *ledgertest.Keys, status *jws.Key) httpapi.Published {
	t.Helper()
	receipt, err := ledger.NewKey(keys.ReceiptKey)
	if err != nil {
		t.Fatal(err)
	}
	kid, err := ledger.KeyThumbprint(keys.EvidenceKey)
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := jws.NewKeySet(map[string]crypto.PublicKey{base64.RawURLEncoding.EncodeToString(kid): keys.EvidenceKey})
	if err != nil {
		t.Fatal(err)
	}
	return httpapi.Published{Issuer: missiontest.Keys(status), Governance: missiontest.Keys(missiontest.Key("governance")),
		Evidence: evidence, Receipts: ledger.KeySet{receipt}, VKey: keys.VKey, MaxStale: time.Minute}
}

// principals makes the registrations, and a profile for each.
func (s *service) principals(t *testing.T, keys *ledgertest.Keys) *authority.Principals {
	t.Helper()
	person := &mission.Principal{Iss: "https://id.a.example", Sub: "approver"}
	ceiling, err := mission.RawOf([]mission.Entry{missiontest.Entry()})
	if err != nil {
		t.Fatal(err)
	}
	var all []authority.Registration
	for _, role := range roles {
		key, err := client.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		set, err := mission.RawOf(map[string]any{"keys": []client.JWK{key.Public()}})
		if err != nil {
			t.Fatal(err)
		}
		p := authority.Registration{ID: string(role), Kind: authority.KindService, ClientID: string(role),
			Roles: []authority.Role{role}, JWKS: set}
		switch role {
		case authority.RoleClient:
			p.Subject, p.Ceiling = person, ceiling
			p.AuthoritySource = &authority.AuthoritySource{Type: mission.SourceUserDelegated, ID: "approver"}
		case authority.RoleApprover:
			p.Kind, p.Subject = authority.KindHuman, person
		case authority.RoleOperator:
			p.Roles = append(p.Roles, authority.RoleResume)
		case authority.RolePEP:
			p.Audiences = []string{missiontest.Resource}
		}
		all = append(all, p)
		own := profile{Issuer: s.issuer, ClientID: string(role), JWK: key}
		switch role {
		case authority.RoleProducer:
			own.Statement = statementOf(t, keys, p.StatementIssuer(s.issuer))
		case authority.RoleAdmin:
			all = append(all, s.second(t, p))
		}
		text, err := mission.Marshal(own)
		if err != nil {
			t.Fatal(err)
		}
		s.profiles[string(role)] = text
		if role == authority.RoleClient {
			s.dev, err = mission.Marshal(map[string]any{"issuer": s.issuer, "listen": "127.0.0.1:0",
				"clients": map[string]devCredential{"agent": {ClientID: string(role), JWK: key}}})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	text, err := mission.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	ps, err := authority.ParsePrincipals(text)
	if err != nil {
		t.Fatal(err)
	}
	return ps
}

// statementOf makes a statement key and enters it in the genesis document.
func statementOf(t *testing.T, keys *ledgertest.Keys, issuer string) *statementKey {
	t.Helper()
	jwk, err := client.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	private, err := jwk.Private()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ledger.NewKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	keys.Producers = []ledger.Producer{{Issuer: issuer, Key: key, Types: []string{"application/mission-decision-evidence+json"}}}
	return &statementKey{Issuer: issuer, JWK: jwk}
}

// second is another principal with the roles of p, with a profile of its own.
func (s *service) second(t *testing.T, p authority.Registration) authority.Registration {
	t.Helper()
	key, err := client.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	p.ID += "-2"
	p.ClientID = p.ID
	if p.JWKS, err = mission.RawOf(map[string]any{"keys": []client.JWK{key.Public()}}); err != nil {
		t.Fatal(err)
	}
	if s.profiles[p.ID], err = mission.Marshal(profile{Issuer: s.issuer, ClientID: p.ID, JWK: key}); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestScripts(t *testing.T) {
	s := startService(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("SERVER", s.issuer)
			for name, text := range s.profiles {
				path := filepath.Join(e.WorkDir, name+".json")
				if err := os.WriteFile(path, text, 0o600); err != nil {
					return err
				}
			}
			if err := os.WriteFile(filepath.Join(e.WorkDir, "dev.json"), s.dev, 0o600); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(e.WorkDir, "submission.json"), submissionText(), 0o644)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":         exits,
			"field":         field,
			"verify-bundle": verifyBundle,
			"verify-log":    verifyLog,
			"verify-feed":   verifyFeed,
			"cover": func(ts *testscript.TestScript, _ bool, _ []string) {
				ts.Check(s.epochs.Cover(t.Context()))
			},
		},
	})
}

func submissionText() []byte {
	intent := missiontest.Intent(func(i *mission.Intent) { i.ExpiresAt = mission.FormatTime(time.Now().Add(time.Hour)) })
	text, err := mission.Marshal(map[string]any{"intent": intent, "authorization_details": []mission.Entry{missiontest.Entry()}})
	if err != nil {
		panic(err)
	}
	return text
}

// exits CODE ARGS...: masctl ARGS ends with CODE. Its streams are in out and err of the work directory.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code args...")
	}
	for i, a := range args {
		if a != "-" && !filepath.IsAbs(a) && strings.HasPrefix(a, "./") {
			args[i] = ts.MkAbs(a)
		}
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var stdout, stderr bytes.Buffer
	code := run(context.Background(), args[1:], strings.NewReader(""), &stdout, &stderr)
	ts.Check(os.WriteFile(ts.MkAbs("out"), stdout.Bytes(), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("err"), stderr.Bytes(), 0o644))
	if code != want {
		ts.Fatalf("exit code %d, want %d\n%s%s", code, want, stdout.String(), stderr.String())
	}
}

// field FILE MEMBER VARIABLE: sets the variable to a text member of a JSON object.
func field(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: field file member variable")
	}
	var object map[string]mission.Raw
	ts.Check(mission.Decode([]byte(ts.ReadFile(args[0])), &object))
	var value string
	ts.Check(object[args[1]].Decode(&value))
	ts.Setenv(args[2], value)
}

// verify-bundle FILE TRUST MISSION: the bundle is complete and verifies with the trust document.
func verifyBundle(ts *testscript.TestScript, neg bool, args []string) {
	trust, err := verifier.ParseTrust([]byte(ts.ReadFile(args[1])))
	ts.Check(err)
	r := verifier.VerifyBundle([]byte(ts.ReadFile(args[0])), trust, verifier.BundleOptions{Mission: args[2]})
	entitled := len(r.Missions) == 1 && r.Missions[0].Entitled
	if ok := r.Outcome == verifier.OK && r.Completeness == verifier.Complete && r.By == "epoch" && entitled && r.Export != nil; ok == neg {
		ts.Fatalf("outcome %v, %v: %+v", r.Outcome, r.Completeness, r.All())
	}
}

// verify-log DIR TRUST [young]: the mirror rehashes to its checkpoint, and its policy admits every entry. A young log
// need not have an epoch yet.
func verifyLog(ts *testscript.TestScript, neg bool, args []string) {
	trust, err := verifier.ParseTrust([]byte(ts.ReadFile(args[1])))
	ts.Check(err)
	dir := os.DirFS(ts.MkAbs(args[0]))
	r := verifier.VerifyLog(func(path string) ([]byte, error) { return fs.ReadFile(dir, path) }, trust,
		verifier.LogOptions{Signatures: true, Epochs: true, Admission: true})
	if ok := r.Findings.Outcome() == verifier.OK && r.Size > 0 && (r.Epochs > 0 || len(args) > 2) &&
		r.Admission.Admitted == r.Size; ok == neg {
		ts.Fatalf("size %d: %+v, %+v", r.Size, r.Admission, r.Findings)
	}
}

// verify-feed FILE TRUST [absent]: the listing, the proof or the directory of pages holds, about something that is
// there or, with absent, about something that is not.
func verifyFeed(ts *testscript.TestScript, neg bool, args []string) {
	trust, err := verifier.ParseTrust([]byte(ts.ReadFile(args[1])))
	ts.Check(err)
	var r *verifier.FeedReport
	if names, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "page-*")); err == nil && len(names) > 0 {
		var pages [][]byte
		for _, name := range names {
			pages = append(pages, []byte(ts.ReadFile(name)))
		}
		r = verifier.VerifyPopulation(pages, trust, ledger.SubjectMissions)
	} else if data := ts.ReadFile(args[0]); strings.HasPrefix(data, "{") {
		r, err = verifier.VerifyFeed([]byte(data), trust, nil)
		ts.Check(err)
	} else {
		r = verifier.VerifyFeedProof([]byte(data), trust)
	}
	there := len(r.Population) > 0 || r.Present != nil && *r.Present
	if ok := r.Outcome == verifier.OK && there == (len(args) == 2); ok == neg {
		ts.Fatalf("outcome %v: %+v", r.Outcome, r)
	}
}

func TestExitCodes(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want int
	}{
		{usage("x"), 3},
		{finding("x"), 1},
		{fmt.Errorf("asking: %w", finding("x")), 1},
		{&client.Error{Status: 400}, 1},
		{&client.Error{Status: 401}, 3},
		{&client.Error{Status: 403}, 1},
		{&client.Error{Status: 404}, 2},
		{&client.Error{Status: 409}, 1},
		{&client.Error{Status: 410}, 2},
		{&client.Error{Status: 429}, 2},
		{&client.Error{Status: 503}, 2},
		{context.Canceled, 2},
		{io.ErrUnexpectedEOF, 2},
		{errors.New("unknown flag"), 3},
	} {
		if got := exitCode(tc.err); got != tc.want {
			t.Errorf("%v: %d, want %d", tc.err, got, tc.want)
		}
	}
}

func TestInert(t *testing.T) {
	for in, want := range map[string]string{
		"plain ä":       "plain ä",
		"a\x1b[31mred":  "a\uFFFD[31mred",
		"a\u202eb":      "a\uFFFDb",
		"a\nb\tc\x00":   "a\uFFFDb\uFFFDc\uFFFD",
		"\u200bhidden":  "\uFFFDhidden",
		"\xff":          "\uFFFD",
		"\u2066isolate": "\uFFFDisolate",
	} {
		if got := inert(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
