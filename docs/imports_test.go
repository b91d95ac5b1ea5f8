package docs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/mission-authority/mas"

// An importRule is one row of the import table in docs/architecture.md.
//
//	ours    packages of this module that may be imported directly ("x/..." includes everything below x)
//	third   third-party packages that may be imported directly, as path prefixes
//	never   what the closure must not contain, as path prefixes; names of this module start with "./"
//	direct  standard packages that must not be imported directly, where a third-party package reaches them anyway
type importRule struct {
	pkg    string
	ours   []string
	third  []string
	never  []string
	direct []string
}

// Engines are the packages that own a durable log; only cmd/mas puts them together.
var engines = []string{"./ledger/sequencer", "./ledger/journal", "./ledger/badgerstore"}

const (
	badger   = "github.com/dgraph-io/badger"
	cbor     = "github.com/fxamacker/cbor"
	cobra    = "github.com/spf13/cobra"
	cookies  = "github.com/ssgelm/cookiejarparser"
	formats  = "github.com/transparency-dev/formats"
	gin      = "github.com/gin-gonic/gin"
	gojose   = "github.com/go-jose/go-jose"
	gocose   = "github.com/veraison/go-cose"
	jcs      = "github.com/gowebpki/jcs"
	jsontext = "github.com/go-json-experiment/json"
	koanf    = "github.com/knadh/koanf"
	merkle   = "github.com/transparency-dev/merkle"
	note     = "golang.org/x/mod/sumdb/note"
	pkcs11   = "github.com/miekg/pkcs11"
	protobuf = "google.golang.org/protobuf/proto"
	schema   = "github.com/santhosh-tekuri/jsonschema"
	sigstore = "github.com/sigstore/sigstore"
	sslib    = "github.com/secure-systems-lab/go-securesystemslib/encrypted"
	tessera  = "github.com/transparency-dev/tessera/api"
	validate = "github.com/go-playground/validator"
	xrate    = "golang.org/x/time/rate"
	xsync    = "golang.org/x/sync"
	xsys     = "golang.org/x/sys"
	zstd     = "github.com/klauspost/compress/zstd"
)

// imports is the import table. It is extended together with the decision that needs it.
var imports = []importRule{
	{pkg: "mission", third: []string{jcs, jsontext},
		never: []string{"./ledger", "./federation", "net/http", badger, gin, validate, sigstore}},
	{pkg: "mission/jws", ours: []string{"mission"}, third: []string{gojose},
		never: []string{"./ledger", "./federation", "net/http", sigstore}},
	{pkg: "mission/evidence", ours: []string{"mission", "mission/jws", "ledger"},
		never: append([]string{"./federation", "./verifier", "net/http", badger, gin, sigstore}, engines...)},
	{pkg: "ledger", third: []string{merkle, note, formats, cbor, gocose, tessera},
		never: []string{"./mission", badger, "net/http", sigstore}},
	{pkg: "federation", ours: []string{"mission", "mission/jws", "ledger"}, third: []string{gojose},
		never: append([]string{"./mission/authority", "net/http", gin, sigstore}, engines...)},
	{pkg: "schemas", third: []string{schema}, never: []string{"./"}},
	{pkg: "verifier", ours: []string{"mission", "mission/jws", "mission/evidence", "ledger", "federation", "schemas"},
		third: []string{jcs, jsontext, gojose, merkle, note, formats, cbor, gocose, tessera},
		never: []string{badger, gin, "net/http", sigstore, "./cmd"}},
	{pkg: "ledger/sequencer", ours: []string{"ledger"}, third: []string{merkle + "/compact", note},
		never: []string{"./mission", "./federation", badger, "net/http"}},
	{pkg: "ledger/epoch", ours: []string{"ledger"},
		never: append([]string{"./mission", "./federation", badger, "net/http"}, engines...)},
	{pkg: "ledger/registry", ours: []string{"ledger"}, third: []string{xrate},
		never: append([]string{"./mission", "./federation", badger, "net/http"}, engines...)},
	{pkg: "ledger/witness", ours: []string{"ledger", "ledger/durable"}, third: []string{note},
		never: append([]string{"./mission", "./federation", "./verifier", "./schemas", "./cmd"}, engines...)},
	{pkg: "ledger/durable", never: []string{"./"}},
	{pkg: "ledger/journal", ours: []string{"ledger/durable"}, third: []string{zstd, xsys},
		never: []string{"./mission", "./federation", "./verifier", "./schemas", "./cmd", "./ledger/sequencer"}},
	{pkg: "ledger/badgerstore", ours: []string{"ledger", "ledger/journal", "ledger/durable"}, third: []string{badger, protobuf, xsys},
		never: []string{"./mission", "./federation"}, direct: []string{"net/http"}},
	{pkg: "mission/authority", ours: []string{"mission", "mission/jws", "ledger", "federation", "schemas"},
		never: append([]string{gin, "net/http"}, engines...)},
	{pkg: "mission/custody", ours: []string{"mission", "mission/evidence", "ledger"},
		never: append([]string{"./mission/authority", "./federation", gin, "net/http"}, engines...)},
	{pkg: "federation/peering",
		ours:  []string{"federation", "verifier", "mission", "mission/jws", "ledger", "schemas"},
		never: append([]string{"./mission/authority", gin}, engines...)},
	{pkg: "cmd/internal/httpapi",
		ours: []string{"mission", "mission/jws", "mission/authority", "mission/custody", "mission/evidence", "ledger",
			"ledger/epoch", "ledger/registry", "ledger/witness", "federation", "federation/peering", "schemas", "verifier",
			"cmd/internal/config",
			"cmd/internal/telemetry"},
		third: []string{gin, validate, gojose, xrate},
		never: append([]string{badger}, engines...)},
	{pkg: "cmd/internal/keys", ours: []string{"ledger", "ledger/durable", "mission", "mission/jws"},
		third: []string{sigstore, sslib, pkcs11, gocose, note}},
	{pkg: "cmd/internal/config", third: []string{koanf, validate}, never: engines},
	{pkg: "cmd/internal/telemetry", never: engines},
	{pkg: "cmd/internal/client", ours: []string{"mission", "mission/jws"}, never: engines},
	{pkg: "cmd/internal/domain", ours: []string{"..."}, third: []string{note, xsync}},
	{pkg: "cmd/masverify",
		ours:  []string{"verifier", "mission", "mission/evidence", "mission/jws", "ledger", "federation", "schemas"},
		third: []string{cobra}, never: append([]string{"net/http"}, engines...)},
	{pkg: "cmd/masctl",
		ours: []string{"federation/peering", "verifier", "mission", "mission/jws", "ledger", "federation",
			"schemas", "cmd/internal/client"},
		third: []string{cookies, cobra}, never: engines},
	{pkg: "cmd/mas", ours: []string{"..."}, third: []string{cobra, xsync, xsys}},
}

// A listed package is what `go list -json` says about one package.
type listed struct {
	ImportPath   string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
	Module       *struct{ Path string }
}

func (p listed) ours() bool { return p.Module != nil && p.Module.Path == module }

// short returns the path of one of our packages below the module.
func short(path string) string { return strings.TrimPrefix(path, module+"/") }

// isTestPackage reports whether one of our packages exists for tests: it may import what it tests, and only tests and
// other test packages may import it.
func isTestPackage(name string) bool {
	return strings.HasSuffix(name, "test") || strings.Contains(name, "test/")
}

func hasPathPrefix(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/")
}

// TestImports asserts the import table: direct imports of ours lie within the row's list, direct third-party imports
// are named by it, and the closure never meets what the row forbids.
func TestImports(t *testing.T) {
	packages := listPackages(t)
	rules := make(map[string]importRule)
	for _, r := range imports {
		rules[r.pkg] = r
	}
	checked := 0
	for _, p := range packages {
		if !p.ours() {
			continue
		}
		checkTestOnly(t, p)
		name := short(p.ImportPath)
		if isTestPackage(name) || len(p.Imports) == 0 && name == "docs" {
			continue
		}
		rule, ok := rules[name]
		if !ok {
			t.Errorf("%s has no row in the import table", name)
			continue
		}
		checked++
		checkDirect(t, rule, p, packages)
		checkClosure(t, rule, p, packages)
	}
	if checked < 3 {
		t.Fatalf("only %d packages were checked", checked)
	}
}

// checkTestOnly asserts that code outside tests imports no test package.
func checkTestOnly(t *testing.T, p listed) {
	if isTestPackage(short(p.ImportPath)) {
		return
	}
	for _, imp := range p.Imports {
		if strings.HasPrefix(imp, module+"/") && isTestPackage(short(imp)) {
			t.Errorf("%s imports the test package %s outside its tests", short(p.ImportPath), short(imp))
		}
	}
}

func checkDirect(t *testing.T, rule importRule, p listed, packages map[string]listed) {
	for _, imp := range p.Imports {
		switch q := packages[imp]; {
		case q.Standard:
			if slices.Contains(rule.direct, imp) {
				t.Errorf("%s imports %s", rule.pkg, imp)
			}
		case q.ours():
			if !slices.Contains(rule.ours, "...") && !slices.Contains(rule.ours, short(imp)) {
				t.Errorf("%s imports %s, which its row does not allow", rule.pkg, short(imp))
			}
		default:
			if !slices.ContainsFunc(rule.third, func(s string) bool { return s == "." || hasPathPrefix(imp, s) }) {
				t.Errorf("%s imports %s, which its row does not name", rule.pkg, imp)
			}
		}
	}
}

func checkClosure(t *testing.T, rule importRule, p listed, packages map[string]listed) {
	via := map[string]string{p.ImportPath: ""}
	queue := []string{p.ImportPath}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, imp := range packages[at].Imports {
			if _, seen := via[imp]; seen {
				continue
			}
			via[imp] = at
			queue = append(queue, imp)
			if i := slices.IndexFunc(rule.never, func(s string) bool { return forbids(s, imp) }); i >= 0 {
				t.Errorf("%s reaches %s (forbidden: %s) through %s", rule.pkg, imp, rule.never[i], chain(via, at))
			}
		}
	}
}

// forbids reports whether the forbidden prefix s covers the import path.
func forbids(s, path string) bool {
	if rest, ours := strings.CutPrefix(s, "./"); ours {
		return hasPathPrefix(path, module) && (rest == "" || hasPathPrefix(short(path), rest))
	}
	return hasPathPrefix(path, s)
}

// chain renders how at was reached, for the message.
func chain(via map[string]string, at string) string {
	steps := []string{at}
	for via[at] != "" {
		at = via[at]
		steps = append(steps, at)
	}
	slices.Reverse(steps)
	return strings.Join(steps, " -> ")
}

// listPackages lists every package of the module and everything they reach, tests excluded.
func listPackages(t *testing.T) map[string]listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps",
		"-json=ImportPath,Standard,Imports,Module", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	packages := make(map[string]listed)
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("reading go list: %v", err)
		}
		packages[p.ImportPath] = p
	}
}

// TestImportRulesHaveTeeth feeds the checker a graph that breaks every kind of rule once.
func TestImportRulesHaveTeeth(t *testing.T) {
	for prefix, path := range map[string]string{
		"./":          module + "/mission",
		"./ledger":    module + "/ledger/journal",
		"net/http":    "net/http/httptrace",
		gin:           "github.com/gin-gonic/gin/binding",
		"./mission":   module + "/mission/jws",
		engines[0]:    module + "/ledger/sequencer",
		merkle + "/x": merkle + "/x",
	} {
		if !forbids(prefix, path) {
			t.Errorf("%q does not forbid %s", prefix, path)
		}
	}
	for prefix, path := range map[string]string{
		"./":        "net/http",
		"./ledger":  module + "/ledgers",
		"net/http":  "net/httpx",
		"./mission": module + "/ledger",
	} {
		if forbids(prefix, path) {
			t.Errorf("%q forbids %s", prefix, path)
		}
	}
}
