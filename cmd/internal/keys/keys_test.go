package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission/jws"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"golang.org/x/mod/sumdb/note"
)

func generate(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if err := Generate(dir, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

func load(t *testing.T, dir string) *Set {
	t.Helper()
	set, err := Load(RefsIn(dir))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestGenerateAndLoad(t *testing.T) {
	dir := generate(t)
	set := load(t, dir)
	again := load(t, dir)
	for _, role := range Roles() {
		if !bytes.Equal(set.Key(role).COSE().KeyID(), again.Key(role).COSE().KeyID()) {
			t.Errorf("%s changed between two loads", role)
		}
	}
	if set.Root() != again.Root() || set.Root() == [RootSize]byte{} {
		t.Error("the root key is not stable")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 7 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

// TestWitnessKeyIsOptional: a server without a witness key starts, and is nobody's witness; the key of another role
// does not stand in for it.
func TestWitnessKeyIsOptional(t *testing.T) {
	dir := generate(t)
	set := load(t, dir)
	signer, vkey, err := set.Key(Witness).Cosigner("a.example/witness")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_800_000_000, 0)
	cosigner, err := ledger.NewCosigner("a.example/witness", signer, at)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := ledger.NewCosignatureVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	text := ledger.Checkpoint{Origin: "b.example/log", Root: ledger.EmptyRoot}.Text()
	if sig, err := cosigner.Sign([]byte(text)); err != nil || !verifier.Verify([]byte(text), sig) {
		t.Errorf("the cosignature does not verify: %v", err)
	}
	if _, err := signer.Sign(nil, make([]byte, 32), crypto.SHA256); err == nil {
		t.Error("signed a digest")
	}
	if _, _, err := set.Key(Checkpoint).Cosigner("a.example/witness"); err == nil {
		t.Error("the checkpoint key cosigns")
	}
	if _, _, err := set.Key(Witness).Note("a.example/log"); err == nil {
		t.Error("the witness key signs checkpoints")
	}
	if err := os.Remove(filepath.Join(dir, "witness.pem")); err != nil {
		t.Fatal(err)
	}
	if load(t, dir).Key(Witness) != nil {
		t.Error("a witness key from nowhere")
	}
}

func TestGenerateNeverOverwrites(t *testing.T) {
	dir := generate(t)
	before := load(t, dir).Root()
	if err := Generate(dir, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	if load(t, dir).Root() != before {
		t.Error("a key was replaced")
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".keys-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestPassphrase(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "keys")
	if err := Generate(dir, []byte("correct horse")); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "issuer.pem"))
	if err != nil || !bytes.Contains(data, []byte("ENCRYPTED SIGSTORE PRIVATE KEY")) {
		t.Errorf("the file is not encrypted: %v", err)
	}
	refs := RefsIn(dir)
	if _, err := Load(refs); err == nil || !strings.Contains(err.Error(), "no passphrase") {
		t.Errorf("without a passphrase: %v", err)
	}
	refs.Passphrase = []byte("wrong horse")
	if _, err := Load(refs); err == nil {
		t.Error("a wrong passphrase was accepted")
	}

	file := filepath.Join(parent, "passphrase")
	if err := os.WriteFile(file, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if refs.Passphrase, err = ReadPassphrase(file); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(refs); err != nil {
		t.Error(err)
	}

	// The other way round: a plain key where encryption is configured.
	refs = RefsIn(generate(t))
	refs.Passphrase = []byte("x")
	if _, err := Load(refs); err == nil || !strings.Contains(err.Error(), "not encrypted") {
		t.Errorf("plain key with a passphrase: %v", err)
	}
}

func TestReadPassphraseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "empty line": "\n", "two lines": "a\nb\n", "zero": "a\x00b", "long": strings.Repeat("x", 1025),
	} {
		path := filepath.Join(t.TempDir(), "p")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadPassphrase(path); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestLoadRefuses damages one file of a good set in each case.
//
// Audit rows: 97.
func TestLoadRefuses(t *testing.T) {
	issuer := func(r Refs) string { return r.Signing[Issuer] }
	overwrite := func(t *testing.T, path string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	foreign := func(t *testing.T, private crypto.PrivateKey) []byte {
		t.Helper()
		text, err := cryptoutils.MarshalPrivateKeyToPEM(private)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T, r *Refs)
		want   string
	}{
		{"readable by the group", func(t *testing.T, r *Refs) {
			if err := os.Chmod(issuer(*r), 0o640); err != nil {
				t.Fatal(err)
			}
		}, "mode 0640"},
		{"root readable by all", func(t *testing.T, r *Refs) {
			if err := os.Chmod(r.Root, 0o604); err != nil {
				t.Fatal(err)
			}
		}, "mode 0604"},
		{"missing", func(t *testing.T, r *Refs) {
			if err := os.Remove(issuer(*r)); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
		{"a directory", func(t *testing.T, r *Refs) { r.Signing[Issuer] = t.TempDir() }, "not a regular file"},
		{"no reference", func(_ *testing.T, r *Refs) { r.Signing[Issuer] = "" }, "no key reference"},
		{"another KMS", func(_ *testing.T, r *Refs) { r.Signing[Issuer] = "awskms:///key" }, "must be a file path"},
		{"an unknown scheme", func(_ *testing.T, r *Refs) { r.Signing[Issuer] = "evil://key" }, "must be a file path"},
		{"a file URI", func(_ *testing.T, r *Refs) { r.Root = "file:" + r.Root }, "must be a file path"},
		{"two roles, one file", func(_ *testing.T, r *Refs) { r.Signing[Issuer] = r.Signing[Evidence] }, "another role"},
		{"two roles, one key", func(t *testing.T, r *Refs) {
			data, err := os.ReadFile(r.Signing[Evidence])
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, r.Signing[Governance], data)
		}, "another role"},
		{"wrong type for its role", func(t *testing.T, r *Refs) {
			data, err := os.ReadFile(r.Signing[Checkpoint])
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, issuer(*r), data)
		}, "want a P-256 key"},
		{"wrong curve", func(t *testing.T, r *Refs) {
			key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, issuer(*r), foreign(t, key))
		}, "P-256"},
		{"RSA", func(t *testing.T, r *Refs) {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, issuer(*r), foreign(t, key))
		}, "unsupported key type"},
		{"two blocks", func(t *testing.T, r *Refs) {
			data, err := os.ReadFile(issuer(*r))
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, issuer(*r), append(data, data...))
		}, "exactly one PEM block"},
		{"not PEM", func(t *testing.T, r *Refs) { overwrite(t, issuer(*r), []byte("x")) }, "exactly one PEM block"},
		{"oversize", func(t *testing.T, r *Refs) { overwrite(t, issuer(*r), make([]byte, maxFile+1)) }, "larger than"},
		{"root too short", func(t *testing.T, r *Refs) { overwrite(t, r.Root, []byte("00ff\n")) }, "64 hexadecimal"},
		{"root of zeros", func(t *testing.T, r *Refs) {
			overwrite(t, r.Root, []byte(strings.Repeat("0", 64)))
		}, "zero"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			refs := RefsIn(generate(t))
			refs.Signing = maps.Clone(refs.Signing)
			tc.damage(t, &refs)
			_, err := Load(refs)
			if err == nil {
				t.Fatal("loaded")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %q, want %q in it", err, tc.want)
			}
		})
	}
}

// TestErrorsNameNoSecret: what a broken file holds never reaches an error.
func TestErrorsNameNoSecret(t *testing.T) {
	refs := RefsIn(generate(t))
	if err := os.WriteFile(refs.Root, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(refs)
	if err == nil || strings.Contains(err.Error(), "0123456789abcdef") {
		t.Errorf("got %v", err)
	}
}

// TestCOSE signs statements with the keys as the ledger uses them and verifies them with the ledger.
func TestCOSE(t *testing.T) {
	set := load(t, generate(t))
	key := set.Key(Evidence)
	raw, err := ledger.SignStatement(t.Context(), ledger.Claims{
		Issuer: "https://mas.example", Subject: "https://mas.example/log", ContentType: "application/json",
		Digest: ledger.HashLeaf(nil),
	}, key.COSE())
	if err != nil {
		t.Fatal(err)
	}
	statement, err := ledger.ParseStatement(raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := statement.Verify(key.Public()); err != nil {
		t.Error(err)
	}
	if err := statement.Verify(set.Key(Receipts).Public()); err == nil {
		t.Error("verified with another role's key")
	}
	if want, err := ledger.KeyThumbprint(key.Public()); err != nil || !bytes.Equal(statement.KeyID, want) {
		t.Errorf("kid %x, want %x, %v", statement.KeyID, want, err)
	}
}

// TestJOSE signs with a key as the authority does and verifies with nothing but its published set.
func TestJOSE(t *testing.T) {
	set := load(t, generate(t))
	for _, role := range []Role{Issuer, Governance, Checkpoint} {
		signer, err := set.Key(role).JOSE()
		if err != nil {
			t.Fatal(err)
		}
		compact, err := jws.Sign(t.Context(), signer, jws.TypStatus, []byte(`{"a":1}`))
		if err != nil {
			t.Fatal(err)
		}
		public, err := set.Key(role).PublicJWKS()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jws.Open(compact, jws.TypStatus, public); err != nil {
			t.Errorf("%s: %v", role, err)
		}
		other, err := set.Key(Receipts).PublicJWKS()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jws.Open(compact, jws.TypStatus, other); err == nil {
			t.Errorf("%s: verified with another role's key", role)
		}
		text, err := public.Marshal()
		if err != nil || bytes.Contains(text, []byte(`"d"`)) {
			t.Errorf("%s: published set %s, %v", role, text, err)
		}
	}
}

// TestNote signs a checkpoint and opens it with nothing but the published vkey.
//
// Audit rows: 22.
func TestNote(t *testing.T) {
	set := load(t, generate(t))
	const origin = "127.0.0.1:8420/log/main"
	signer, vkey, err := set.Key(Checkpoint).Note(origin)
	if err != nil {
		t.Fatal(err)
	}
	text, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: origin, Root: ledger.EmptyRoot}, signer)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.OpenCheckpoint(text, origin, verifier); err != nil {
		t.Error(err)
	}
	if _, _, err := set.Key(Evidence).Note(origin); err == nil {
		t.Error("the evidence key signs checkpoints")
	}
	if _, _, err := set.Key(Checkpoint).Note("two words"); err == nil {
		t.Error("an origin with a space was accepted")
	}
}

// TestFixedFromDER: short integers are padded, malformed ones refused.
func TestFixedFromDER(t *testing.T) {
	got, err := fixedFromDER([]byte{0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x7f})
	if err != nil || len(got) != 64 || got[31] != 1 || got[63] != 0x7f {
		t.Errorf("got %x, %v", got, err)
	}
	for name, der := range map[string][]byte{
		"empty":    {},
		"zero r":   {0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x01},
		"negative": {0x30, 0x06, 0x02, 0x01, 0xff, 0x02, 0x01, 0x01},
		"trailing": {0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01, 0x00},
		"large r":  append(append([]byte{0x30, 0x26, 0x02, 0x21, 0x01}, make([]byte, 32)...), 0x02, 0x01, 0x01),
	} {
		if _, err := fixedFromDER(der); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
