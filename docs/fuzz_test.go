package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fuzzed are the parsers of what strangers send and of what a disk gives back, by the kind of input: `make fuzz` gives
// each five minutes, and `make test` a few seconds. The strict JSON decoder is under FUZZ=all.
var fuzzed = map[string]string{
	"statement": "ledger FuzzParseStatement", "receipt": "ledger FuzzParseReceipt", "note": "ledger FuzzOpenCheckpoint",
	"tlog-proof": "ledger FuzzParseTLogProof", "policy": "ledger FuzzParsePolicy",
	"witness policy": "ledger FuzzParseWitnessPolicy", "tile path": "ledger FuzzParseTilePath",
	"journal frame": "ledger/journal FuzzSegment", "strict decoder": "mission FuzzStrict",
}

// TestFuzzTargets: each kind of input has a fuzz target with seeds, which the scripts run; and the race detector runs
// over everything that shares state.
//
// Audit rows: 152.
func TestFuzzTargets(t *testing.T) {
	read := func(path ...string) string {
		text, err := os.ReadFile(filepath.Join(append([]string{".."}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	script, tests := read(".ci", "fuzz"), read(".ci", "test")
	for kind, target := range fuzzed {
		dir, name, _ := strings.Cut(target, " ")
		if !strings.Contains(script, target+"\n") && !strings.Contains(script, target+"'") && kind != "strict decoder" {
			t.Errorf("%s: .ci/fuzz does not run %s", kind, target)
		}
		paths, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		seeds := 0
		body := regexp.MustCompile(`(?ms)^func ` + name + `\(f \*testing\.F\) \{\n(.*?)^\}`)
		for _, path := range paths {
			if m := body.FindStringSubmatch(read(strings.TrimPrefix(path, "../"))); m != nil {
				seeds += strings.Count(m[1], "f.Add(") + strings.Count(m[1], "seed")
			}
		}
		if seeds == 0 {
			t.Errorf("%s: %s is missing or has no seeds", kind, target)
		}
	}
	for _, want := range []string{"bash .ci/fuzz", "raceflag=-race", "./ledger/... ./mission/authority/..."} {
		if !strings.Contains(tests, want) {
			t.Errorf(".ci/test has no %q", want)
		}
	}
}
