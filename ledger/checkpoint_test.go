package ledger_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mission-authority/mas/ledger"
	formatslog "github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
)

const testOrigin = "ledger.example/mas/2026"

// noteKeys returns the signed-note signer and verifier of a seed key.
func noteKeys(t testing.TB, name string, key ed25519.PrivateKey) (note.Signer, note.Verifier) {
	t.Helper()
	vkey, err := note.NewEd25519VerifierKey(name, key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	private := base64.StdEncoding.EncodeToString(append([]byte{1}, key.Seed()...))
	s, err := note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, v.KeyHash(), private))
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

// signText signs any text as a note, well-formed as a checkpoint or not.
func signText(t testing.TB, text string, signers ...note.Signer) []byte {
	t.Helper()
	out, err := note.Sign(&note.Note{Text: text}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Audit rows: 21, 22.
func TestCheckpointRoundTrip(t *testing.T) {
	signer, verifier := noteKeys(t, testOrigin, seedKey(1))
	for _, c := range []ledger.Checkpoint{
		{Origin: testOrigin, Root: ledger.EmptyRoot},
		{Origin: testOrigin, Size: 1, Root: testLeaf(0)},
		{Origin: testOrigin, Size: 1<<64 - 1, Root: testLeaf(1)},
	} {
		text, err := ledger.SignCheckpoint(c, signer)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ledger.OpenCheckpoint(text, testOrigin, verifier)
		if err != nil || got != c {
			t.Errorf("opened %+v, %v, want %+v", got, err, c)
		}
		theirs, rest, _, err := formatslog.ParseCheckpoint(text, testOrigin, verifier)
		if err != nil || len(rest) > 0 || theirs.Size != c.Size || !bytes.Equal(theirs.Hash, c.Root[:]) {
			t.Errorf("formats reads %+v, %v", theirs, err)
		}
	}
}

// Audit rows: 21.
func TestCheckpointsThatAreNotSigned(t *testing.T) {
	signer, _ := noteKeys(t, testOrigin, seedKey(1))
	other, _ := noteKeys(t, "other.example", seedKey(2))
	good := ledger.Checkpoint{Origin: testOrigin, Size: 1, Root: testLeaf(0)}
	if _, err := ledger.SignCheckpoint(good); err == nil {
		t.Error("signed by nobody")
	}
	if _, err := ledger.SignCheckpoint(good, other); err == nil {
		t.Error("signed by another name alone")
	}
	if _, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: testOrigin, Root: testLeaf(0)}, signer); err == nil {
		t.Error("size 0 with the root of another tree")
	}
	for _, origin := range []string{"", "a b", "a+b", "a\nb", "a\tb", "a\u00a0b", "a\u0085b", "\xff", strings.Repeat("a", 256)} {
		if err := ledger.CheckOrigin(origin); !errors.Is(err, ledger.ErrCheckpoint) {
			t.Errorf("origin %q: %v", origin, err)
		}
		if _, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: origin, Size: 1}, signer); err == nil {
			t.Errorf("origin %q: signed", origin)
		}
	}
}

// Audit rows: 25.
func TestOtherCheckpointsAreRefused(t *testing.T) {
	signer, verifier := noteKeys(t, testOrigin, seedKey(1))
	witness, witnessV := noteKeys(t, "witness.example", seedKey(2))
	stranger, strangerV := noteKeys(t, testOrigin, seedKey(9))
	leaf := testLeaf(0)
	root := base64.StdEncoding.EncodeToString(leaf[:])
	good := testOrigin + "\n4\n" + root + "\n"
	if _, err := ledger.OpenCheckpoint(signText(t, good, signer), testOrigin, verifier); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"leading zero":             testOrigin + "\n04\n" + root + "\n",
		"plus sign":                testOrigin + "\n+4\n" + root + "\n",
		"negative size":            testOrigin + "\n-4\n" + root + "\n",
		"hexadecimal size":         testOrigin + "\n0x4\n" + root + "\n",
		"underscore in size":       testOrigin + "\n1_0\n" + root + "\n",
		"no size":                  testOrigin + "\n\n" + root + "\n",
		"size 2^64":                testOrigin + "\n18446744073709551616\n" + root + "\n",
		"space after size":         testOrigin + "\n4 \n" + root + "\n",
		"root of 31 octets":        testOrigin + "\n4\n" + base64.StdEncoding.EncodeToString(make([]byte, 31)) + "\n",
		"root of 33 octets":        testOrigin + "\n4\n" + base64.StdEncoding.EncodeToString(make([]byte, 33)) + "\n",
		"root without padding":     testOrigin + "\n4\n" + strings.TrimRight(root, "=") + "\n",
		"root in base64url":        testOrigin + "\n4\n" + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 32)) + "\n",
		"root with trailing bits":  testOrigin + "\n4\n" + base64.StdEncoding.EncodeToString(make([]byte, 32))[:42] + "B=\n",
		"root in hex":              testOrigin + "\n4\n" + leaf.String() + "\n",
		"extension line":           good + "extension\n",
		"text after a blank line":  good + "\nmore\n",
		"two lines":                testOrigin + "\n4\n",
		"no origin":                "\n4\n" + root + "\n",
		"space in origin":          "ledger example\n4\n" + root + "\n",
		"another origin":           "other.example\n4\n" + root + "\n",
		"root of no tree":          testOrigin + "\n0\n" + root + "\n",
		"blank line before origin": "\n" + good,
	} {
		if _, err := ledger.OpenCheckpoint(signText(t, text, signer), testOrigin, verifier); !errors.Is(err, ledger.ErrCheckpoint) {
			t.Errorf("%s: %v", name, err)
		}
	}

	signed := signText(t, good, signer)
	for name, text := range map[string][]byte{
		"carriage return":       bytes.Replace(signed, []byte("\n4\n"), []byte("\r\n4\n"), 1),
		"no final newline":      bytes.TrimSuffix(signed, []byte("\n")),
		"no signature":          []byte(good + "\n"),
		"no blank line":         bytes.Replace(signed, []byte("\n\n"), []byte("\n"), 1),
		"control character":     bytes.Replace(signed, []byte("\n4\n"), []byte("\n4\x00\n"), 1),
		"not UTF-8":             bytes.Replace(signed, []byte("\n4\n"), []byte("\n4\xff\n"), 1),
		"trailing text":         append(bytes.Clone(signed), "x\n"...),
		"nothing":               nil,
		"larger than the limit": append(bytes.Clone(signed), bytes.Repeat([]byte("x"), ledger.MaxNoteSize)...),
	} {
		if _, err := ledger.OpenCheckpoint(text, testOrigin, verifier); !errors.Is(err, ledger.ErrCheckpoint) {
			t.Errorf("%s: %v", name, err)
		}
	}

	for name, c := range map[string]struct {
		text []byte
		with []note.Verifier
	}{
		"unknown key":                  {signed, []note.Verifier{strangerV}},
		"no key":                       {signed, nil},
		"witness alone":                {signText(t, good, witness), []note.Verifier{verifier, witnessV}},
		"another key of the same name": {signText(t, good, stranger), []note.Verifier{verifier}},
		"changed size":                 {bytes.Replace(signed, []byte("\n4\n"), []byte("\n5\n"), 1), []note.Verifier{verifier}},
		"changed signature":            {flipSignature(t, signed), []note.Verifier{verifier}},
		"good and bad signature":       {flipSignature(t, signText(t, good, signer, witness)), []note.Verifier{verifier, witnessV}},
	} {
		if _, err := ledger.OpenCheckpoint(c.text, testOrigin, c.with...); !errors.Is(err, ledger.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ledger.OpenCheckpoint(signed, "other.example", verifier); !errors.Is(err, ledger.ErrCheckpoint) {
		t.Errorf("origin not the wanted one: %v", err)
	}
}

// flipSignature changes one bit of the last signature line.
func flipSignature(t *testing.T, text []byte) []byte {
	t.Helper()
	i := bytes.LastIndexByte(text, ' ') + 1
	raw, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(text[i:])))
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-1] ^= 1
	return append(bytes.Clone(text[:i]), base64.StdEncoding.EncodeToString(raw)+"\n"...)
}

// Audit rows: 26.
func TestCheckpointWithManyUnknownLines(t *testing.T) {
	signer, verifier := noteKeys(t, testOrigin, seedKey(1))
	signers := []note.Signer{signer}
	for i := range byte(20) {
		s, _ := noteKeys(t, fmt.Sprintf("witness.example/w%d", i), seedKey(100+i))
		signers = append(signers, s)
	}
	c := ledger.Checkpoint{Origin: testOrigin, Size: 1, Root: testLeaf(0)}
	text, err := ledger.SignCheckpoint(c, signers...)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ledger.OpenCheckpoint(text, testOrigin, verifier); err != nil || got != c {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzOpenCheckpoint(f *testing.F) {
	g, _ := readVectors(f)
	f.Add([]byte(g.Checkpoint))
	f.Add([]byte(g.Cosigned))
	// A verifier that accepts everything leaves only the form to be checked.
	v := anyVerifier{}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ledger.OpenCheckpoint(text, testOrigin, v)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(text, []byte(c.Text()+"\n")) || c.Origin != testOrigin {
			t.Errorf("accepted %q as %+v", text, c)
		}
	})
}

type anyVerifier struct{}

func (anyVerifier) Name() string            { return testOrigin }
func (anyVerifier) KeyHash() uint32         { return 0x1113d037 }
func (anyVerifier) Verify(_, _ []byte) bool { return true }

func BenchmarkOpenCheckpoint(b *testing.B) {
	g, _ := readVectors(b)
	_, v := noteKeys(b, testOrigin, seedKey(1))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ledger.OpenCheckpoint([]byte(g.Checkpoint), testOrigin, v); err != nil {
			b.Fatal(err)
		}
	}
}
