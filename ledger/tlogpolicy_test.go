package ledger_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	formatsnote "github.com/transparency-dev/formats/note"
	formatswitness "github.com/transparency-dev/formats/witness"
	"golang.org/x/mod/sumdb/note"
)

// policyKeys are the lines of one log and n witnesses w1, w2, …, and the signers of the witnesses.
func policyKeys(t testing.TB, n int) (lines string, log note.Signer, witnesses []note.Signer) {
	t.Helper()
	log, _ = noteKeys(t, testOrigin, seedKey(1))
	vkey, err := note.NewEd25519VerifierKey(testOrigin, seedKey(1).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	lines = "log " + vkey + "\n"
	for i := 1; i <= n; i++ {
		name := fmt.Sprintf("witness.example/w%d", i)
		s, _ := witnessKeys(t, name, seedKey(byte(i+1)), time.Unix(int64(1_800_000_000+i), 0))
		witnesses = append(witnesses, s)
		vkey, err := ledger.CosignatureVKey(name, seedKey(byte(i+1)).Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		lines += fmt.Sprintf("witness w%d %s https://w%d.example\n", i, vkey, i)
	}
	return lines, log, witnesses
}

// TestWitnessPolicyQuorums tries every set of six witnesses against policies, and has the formats library judge too.
//
// Audit rows: 89.
func TestWitnessPolicyQuorums(t *testing.T) {
	const n = 6
	keys, log, signers := policyKeys(t, n)
	c := ledger.Checkpoint{Origin: testOrigin, Size: 4, Root: testLeaf(0)}
	for name, p := range map[string]struct {
		text string
		want func(has func(int) bool) bool
	}{
		"one":  {"quorum w2\n", func(has func(int) bool) bool { return has(2) }},
		"any":  {"group g any w1 w3\nquorum g\n", func(has func(int) bool) bool { return has(1) || has(3) }},
		"all":  {"group g all w1 w3\nquorum g\n", func(has func(int) bool) bool { return has(1) && has(3) }},
		"none": {"quorum none\n", func(func(int) bool) bool { return true }},
		"two of three": {"group g 2 w1 w2 w3\nquorum g\n", func(has func(int) bool) bool {
			return has(1) && has(2) || has(1) && has(3) || has(2) && has(3)
		}},
		"nested": {"group x 2 w1 w2 w3\ngroup y any w4 w5 w6\ngroup both all x y\nquorum both\n",
			func(has func(int) bool) bool {
				return (has(1) && has(2) || has(1) && has(3) || has(2) && has(3)) && (has(4) || has(5) || has(6))
			}},
	} {
		policy, err := ledger.ParseWitnessPolicy([]byte(keys + p.text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		theirs, err := formatswitness.ParsePolicy([]byte(strings.SplitN(keys, "\n", 2)[1] + p.text))
		if err != nil {
			t.Fatalf("%s: formats: %v", name, err)
		}
		for set := range 1 << n {
			has := func(i int) bool { return set&(1<<(i-1)) != 0 }
			sign := []note.Signer{log}
			for i, s := range signers {
				if has(i + 1) {
					sign = append(sign, s)
				}
			}
			text, err := ledger.SignCheckpoint(c, sign...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := policy.Open(text)
			if err != nil || got.Checkpoint != c || len(got.Cosignatures) != len(sign)-1 || got.Quorum != p.want(has) {
				t.Fatalf("%s, set %b: %+v, %v", name, set, got, err)
			}
			if policy.Satisfied(func(i int) bool { return has(i + 1) }) != got.Quorum || theirs.Satisfied(text) != got.Quorum {
				t.Fatalf("%s, set %b: Open and Satisfied or formats disagree", name, set)
			}
			if got.Quorum && !policy.None() && got.At.Before(time.Unix(1_800_000_001, 0)) {
				t.Fatalf("%s, set %b: since %v", name, set, got.At)
			}
		}
	}
}

// TestWitnessPolicyTime: the quorum exists since its last needed member signed.
func TestWitnessPolicyTime(t *testing.T) {
	keys, log, w := policyKeys(t, 3)
	policy, err := ledger.ParseWitnessPolicy([]byte(keys + "group g 2 w1 w2 w3\nquorum g\n"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: testOrigin, Root: ledger.EmptyRoot}, log, w[2], w[0], w[1])
	if err != nil {
		t.Fatal(err)
	}
	if got, err := policy.Open(text); err != nil || !got.At.Equal(time.Unix(1_800_000_002, 0)) {
		t.Errorf("%+v, %v", got, err)
	}
	other, _ := noteKeys(t, "another.example/log", seedKey(9))
	if text, err = ledger.SignCheckpoint(ledger.Checkpoint{Origin: "another.example/log", Root: ledger.EmptyRoot}, other, w[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Open(text); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("a log that the policy does not know: %v", err)
	}
	impostor, _ := noteKeys(t, testOrigin, seedKey(9))
	if text, err = ledger.SignCheckpoint(ledger.Checkpoint{Origin: testOrigin, Root: ledger.EmptyRoot}, impostor, w[0], w[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Open(text); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("another key of the log's name: %v", err)
	}
}

// TestWitnessPolicyRefuses: row 89's refusals and those of the specification.
//
// Audit rows: 89.
func TestWitnessPolicyRefuses(t *testing.T) {
	keys, _, _ := policyKeys(t, 3)
	lines := strings.Split(strings.TrimSpace(keys), "\n")
	logKey, w1Key := strings.Fields(lines[0])[1], strings.Fields(lines[1])[2]
	pub := seedKey(1).Public().(ed25519.PublicKey)
	sameAsLog, err := ledger.CosignatureVKey("witness.example/self", pub)
	if err != nil {
		t.Fatal(err)
	}
	renamed, err := ledger.CosignatureVKey("witness.example/renamed", seedKey(2).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	many := func(n int, line func(int) string) (s string) {
		for i := range n {
			s += line(i)
		}
		return s
	}
	for name, text := range map[string]string{
		"nothing":                     "",
		"no quorum":                   keys,
		"two quorums":                 keys + "quorum w1\nquorum w1\n",
		"quorum none and one":         keys + "quorum none\nquorum w1\n",
		"quorum of nothing":           keys + "quorum\n",
		"quorum of two":               keys + "quorum w1 w2\n",
		"undefined quorum":            keys + "quorum w4\n",
		"undefined member":            keys + "group g any w1 w4\nquorum g\n",
		"used before its definition":  "quorum w1\n" + keys,
		"group of itself":             keys + "group g any g\nquorum g\n",
		"group of a later group":      keys + "group g any h\ngroup h any w1\nquorum g\n",
		"none in a group":             keys + "group g any w1 none\nquorum g\n",
		"witness named none":          keys + "witness none " + renamed + "\nquorum w1\n",
		"group named none":            keys + "group none any w1\nquorum w1\n",
		"name twice":                  keys + "group w1 any w2\nquorum w1\n",
		"member twice in a group":     keys + "group g 2 w1 w1\nquorum g\n",
		"member of two groups":        keys + "group g any w1\ngroup h any w1\nquorum g\n",
		"group member of two groups":  keys + "group g any w1\ngroup h any g\ngroup i any g\nquorum h\n",
		"empty group":                 keys + "group g any\nquorum g\n",
		"threshold of zero":           keys + "group g 0 w1 w2\nquorum g\n",
		"threshold above members":     keys + "group g 3 w1 w2\nquorum g\n",
		"threshold with leading zero": keys + "group g 01 w1 w2\nquorum g\n",
		"negative threshold":          keys + "group g -1 w1 w2\nquorum g\n",
		"threshold in words":          keys + "group g two w1 w2\nquorum g\n",
		"witness key twice":           keys + "witness w4 " + w1Key + "\nquorum w1\n",
		"witness key renamed":         keys + "witness w4 " + renamed + "\nquorum w1\n",
		"log key twice":               keys + "log " + logKey + "\nquorum w1\n",
		"log as its own witness":      keys + "witness w4 " + sameAsLog + "\nquorum w4\n",
		"log key as a witness":        keys + "witness w4 " + logKey + "\nquorum w1\n",
		"witness key as a log":        "log " + renamed + "\nquorum none\n",
		"damaged key":                 strings.Replace(keys, "+df1c0a35+", "+df1c0a36+", 1) + "quorum w1\n",
		"log without a key":           "log\nquorum none\n",
		"log with too much":           lines[0] + " https://a.example x\nquorum none\n",
		"witness without a key":       "witness w9\nquorum none\n",
		"no such keyword":             keys + "mirror w1\nquorum w1\n",
		"keyword in capitals":         keys + "Quorum w1\n",
		"carriage return":             keys + "quorum w1\r\n",
		"form feed":                   keys + "\f\nquorum w1\n",
		"delete":                      keys + "# \x7f\nquorum w1\n",
		"unfinished line":             keys + "quorum w1",
		"URL without a scheme":        lines[0] + " a.example\nquorum none\n",
		"URL of a file":               lines[0] + " file:///etc\nquorum none\n",
		"URL with a password":         lines[0] + " https://u:p@a.example\nquorum none\n",
		"URL with a query":            lines[0] + " https://a.example/?q\nquorum none\n",
		"URL with a fragment":         lines[0] + " https://a.example/#\nquorum none\n",
		"65 groups": keys + many(65, func(i int) string {
			return fmt.Sprintf("group g%d any %s\n", i, map[bool]string{true: "w1", false: fmt.Sprint("g", i-1)}[i == 0])
		}) + "quorum g1\n",
		"long name": keys + "group " + strings.Repeat("n", 256) + " any w1\nquorum w1\n",
		"oversize":  "#" + strings.Repeat("x", ledger.MaxWitnessPolicySize) + "\n" + keys + "quorum w1\n",
	} {
		if _, err := ledger.ParseWitnessPolicy([]byte(text)); !errors.Is(err, ledger.ErrWitnessPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWitnessPolicySyntax: what the specification allows.
func TestWitnessPolicySyntax(t *testing.T) {
	keys, _, _ := policyKeys(t, 2)
	text := "# comment\n\n \t \n  # indented\n" + strings.ReplaceAll(keys, " ", "\t ") + " group \xce\xba\xff all w1\tw2 \nquorum \xce\xba\xff\n"
	p, err := ledger.ParseWitnessPolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Logs) != 1 || p.Logs[0].Origin != testOrigin || p.Logs[0].URL != "" || len(p.Witnesses) != 2 ||
		p.Witnesses[1].URL != "https://w2.example" || p.None() {
		t.Errorf("%+v", p)
	}
	var many strings.Builder // the specification asks for 32 of each
	for i := range 64 {
		vkey, err := ledger.CosignatureVKey(fmt.Sprintf("w.example/%d", i), seedKey(byte(i+100)).Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&many, "witness m%d %s\ngroup g%d any m%d\n", i, vkey, i, i)
	}
	if _, err := ledger.ParseWitnessPolicy([]byte(many.String() + "quorum g63\n")); err != nil {
		t.Errorf("64 witnesses and groups: %v", err)
	}
}

// TestPostQuantumLine: a checkpoint that carries an ML-DSA-44 line of the log beside the Ed25519 line verifies with
// either key and with both; a witness may cosign with ML-DSA-44.
//
// Audit rows: 27.
func TestPostQuantumLine(t *testing.T) {
	ed, edVerifier := noteKeys(t, testOrigin, seedKey(1))
	skey, vkey, err := formatsnote.GenerateMLDSAKey(testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	pq, err := formatsnote.NewMLDSASigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	pqVerifier, err := ledger.NewLogVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	c := ledger.Checkpoint{Origin: testOrigin, Size: 4, Root: testLeaf(0)}
	text, err := ledger.SignCheckpoint(c, ed, pq)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\u2014 "+testOrigin+" ")); n != 2 {
		t.Errorf("%d lines of the log", n)
	}
	for name, verifiers := range map[string][]note.Verifier{
		"Ed25519": {edVerifier}, "ML-DSA-44": {pqVerifier}, "both": {edVerifier, pqVerifier},
	} {
		if got, err := ledger.OpenCheckpoint(text, testOrigin, verifiers...); err != nil || got != c {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	theirs, err := formatsnote.NewMLDSAVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := note.Open(text, note.VerifierList(theirs)); err != nil || len(n.Sigs) != 1 {
		t.Errorf("formats: %v", err)
	}
	if _, err := ledger.OpenCheckpoint(flipSignature(t, text), testOrigin, edVerifier, pqVerifier); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("a damaged ML-DSA-44 line: %v", err)
	}
	forged := ledger.Checkpoint{Origin: testOrigin, Size: 5, Root: testLeaf(0)}
	moved := append([]byte(forged.Text()), text[len(c.Text()):]...)
	if _, err := ledger.OpenCheckpoint(moved, testOrigin, pqVerifier); !errors.Is(err, ledger.ErrSignature) {
		t.Errorf("an ML-DSA-44 line over another size: %v", err)
	}

	wskey, wvkey, err := formatsnote.GenerateMLDSAKey("witness.example/pq")
	if err != nil {
		t.Fatal(err)
	}
	witness, err := formatsnote.NewMLDSASigner(wskey)
	if err != nil {
		t.Fatal(err)
	}
	logKey, err := note.NewEd25519VerifierKey(testOrigin, seedKey(1).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	policy, err := ledger.ParseWitnessPolicy([]byte("log " + logKey + "\nwitness w " + wvkey + "\nquorum w\n"))
	if err != nil {
		t.Fatal(err)
	}
	if text, err = ledger.Cosign(text, witness); err != nil {
		t.Fatal(err)
	}
	got, err := policy.Open(text)
	if err != nil || !got.Quorum || time.Since(got.At) > time.Hour {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestAddCosignatures: lines of other keys are left out, a wrong line refuses the answer.
func TestAddCosignatures(t *testing.T) {
	log, logVerifier := noteKeys(t, testOrigin, seedKey(1))
	at := time.Unix(1_800_000_000, 0)
	w1, v1 := witnessKeys(t, "witness.example/w1", seedKey(2), at)
	later, _ := witnessKeys(t, "witness.example/w1", seedKey(2), at.Add(time.Hour))
	w2, v2 := witnessKeys(t, "witness.example/w2", seedKey(3), at)
	c := ledger.Checkpoint{Origin: testOrigin, Size: 4, Root: testLeaf(0)}
	text, err := ledger.SignCheckpoint(c, log)
	if err != nil {
		t.Fatal(err)
	}
	lines := func(of ledger.Checkpoint, signers ...note.Signer) []byte {
		signed, err := note.Sign(&note.Note{Text: of.Text()}, signers...)
		if err != nil {
			t.Fatal(err)
		}
		return signed[len(of.Text())+1:]
	}
	one, found, err := ledger.AddCosignatures(text, lines(c, w1, w2), v1)
	if err != nil || len(found) != 1 || found[0].Name != "witness.example/w1" || bytes.Contains(one, []byte("w2")) {
		t.Fatalf("%s %v %v", one, found, err)
	}
	two, _, err := ledger.AddCosignatures(one, lines(c, w2), v2)
	if err != nil {
		t.Fatal(err)
	}
	fresh, found, err := ledger.AddCosignatures(two, lines(c, later), v1)
	if err != nil || !found[0].At.Equal(at.Add(time.Hour)) || bytes.Count(fresh, []byte("w1")) != 1 {
		t.Errorf("%s %v %v", fresh, found, err)
	}
	if _, all, err := ledger.OpenCosigned(fresh, testOrigin, []note.Verifier{logVerifier}, []note.Verifier{v1, v2}); err != nil || len(all) != 2 {
		t.Errorf("%v %v", all, err)
	}
	other := c
	other.Size++
	for name, answer := range map[string][]byte{
		"nothing": nil, "only others": lines(c, w2), "another checkpoint": lines(other, w1),
		"not lines": []byte("hello\n"), "no end": bytes.TrimSuffix(lines(c, w1), []byte("\n")),
		"a second note": append([]byte("\n"), lines(c, w1)...),
	} {
		if out, _, err := ledger.AddCosignatures(text, answer, v1); err == nil {
			t.Errorf("%s: %s", name, out)
		}
	}
}

func FuzzParseWitnessPolicy(f *testing.F) {
	for _, name := range []string{"example", "one", "none", "nested"} {
		text, err := os.ReadFile("testdata/policy/" + name + ".policy")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ledger.ParseWitnessPolicy(text)
		if err != nil {
			if !errors.Is(err, ledger.ErrWitnessPolicy) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		all, none := p.Satisfied(func(int) bool { return true }), p.Satisfied(func(int) bool { return false })
		if !all || none != p.None() {
			t.Fatalf("all witnesses: %t, no witness: %t, none needed: %t", all, none, p.None())
		}
	})
}
