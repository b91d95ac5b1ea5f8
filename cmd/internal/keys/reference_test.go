package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseReference(t *testing.T) {
	for text, want := range map[string]string{
		"keys/issuer.pem":                                          "",
		"/etc/mas/issuer.pem":                                      "",
		"hashivault://mas-issuer?version=3":                        "",
		"openbao://mas.issuer_1?version=1":                         "",
		"":                                                         "no key reference",
		"awskms:///key":                                            "must be a file path",
		"file:/etc/key":                                            "must be a file path",
		"azurekms://x":                                             "must be a file path",
		"evil://key":                                               "must be a file path",
		"HASHIVAULT://key?version=1":                               "must be a file path",
		"hashivault://key":                                         "does not pin a version",
		"hashivault://key?version=0":                               "does not pin a version",
		"hashivault://key?version=01":                              "does not pin a version",
		"hashivault://key?version=1&x=1":                           "does not pin a version",
		"hashivault://key?version=-1":                              "does not pin a version",
		"hashivault://../sys?version=1":                            "want hashivault://KEY",
		"hashivault://a/b?version=1":                               "want hashivault://KEY",
		"hashivault://?version=1":                                  "want hashivault://KEY",
		"hashivault:key?version=1":                                 "want hashivault://KEY",
		strings.Repeat("x", maxReference+1):                        "octets",
		"pkcs11:object=k?module-path=/l.so":                        "names no token",
		"pkcs11:token=t?module-path=/l.so":                         "names no key",
		"pkcs11:token=t;object=k":                                  "not known",
		"pkcs11:token=t;object=k?pin-value=":                       "not known",
		"pkcs11:token=t;object=k?module-path=l.so&pin-source=/p":   "absolute",
		"pkcs11:token=t;object=k?module-path=/l.so":                "needs pin-source",
		"pkcs11:token=t;object=k?module-path=/l.so&pin-value=1234": "not known",
		"pkcs11:token=t;type=private;object=k?module-path=/l.so":   "not known",
		"pkcs11:token=t;token=u;object=k?module-path=/l.so&pin-source=/p": "twice",
		"pkcs11:token=%zz;object=k?module-path=/l.so&pin-source=/p":       "no usable value",
	} {
		_, err := parseReference(text)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{
		"pkcs11:token=MAS%20log;object=checkpoint;id=%01%ff?module-path=/usr/lib/x.so&pin-source=file:/run/pin",
		"pkcs11://token=MAS%20log;object=checkpoint;id=%01%ff?module-path=/usr/lib/x.so&pin-source=file:/run/pin",
	} {
		ref, err := parseReference(text)
		if err != nil || ref.token == nil {
			t.Fatalf("%s: %v", text, err)
		}
		if r := ref.token; r.token != "MAS log" || r.object != "checkpoint" || !bytes.Equal(r.id, []byte{1, 0xff}) ||
			r.module != "/usr/lib/x.so" || r.pinSource != "file:/run/pin" {
			t.Errorf("got %+v", r)
		}
	}
}

// TestUnknownSchemeRunsNothing puts programs of the names that the signing library would run first on the path. None
// of them may run, whatever the reference says.
//
// Audit rows: 102.
func TestUnknownSchemeRunsNothing(t *testing.T) {
	bin, ran := t.TempDir(), filepath.Join(t.TempDir(), "ran")
	for _, scheme := range []string{"evil", "awskms", "file", "HASHIVAULT", "pkcs12"} {
		script := fmt.Sprintf("#!/bin/sh\necho %s >> %s\n", scheme, ran)
		if err := os.WriteFile(filepath.Join(bin, "sigstore-kms-"+scheme), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	t.Setenv("VAULT_TOKEN", "t")
	for _, ref := range []string{"evil://key", "awskms:///key", "file://key", "HASHIVAULT://key?version=1", "pkcs12:key"} {
		refs := RefsIn(generate(t))
		refs.Signing[Issuer] = ref
		if _, err := Load(refs); !errors.Is(err, errScheme) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if text, err := os.ReadFile(ran); err == nil {
		t.Errorf("programs ran: %s", text)
	}
}

func TestVaultNeedsAddressAndToken(t *testing.T) {
	for _, name := range []string{"VAULT_ADDR", "BAO_ADDR", "VAULT_TOKEN", "BAO_TOKEN"} {
		t.Setenv(name, "")
	}
	open := func() error {
		_, err := openKey(Issuer, "hashivault://key?version=1", nil, nil)
		return err
	}
	if err := open(); err == nil || !strings.Contains(err.Error(), "VAULT_TOKEN") {
		t.Errorf("without a token: %v", err)
	}
	t.Setenv("BAO_TOKEN", "secret-token")
	for _, address := range []string{"", "vault", "http://vault.example:8200", "ftp://127.0.0.1", "https://"} {
		t.Setenv("BAO_ADDR", address)
		if err := open(); err == nil || strings.Contains(err.Error(), "secret-token") {
			t.Errorf("address %q: %v", address, err)
		}
	}
}

func TestPKCS11NeedsItsBuild(t *testing.T) {
	const ref = "pkcs11:token=t;object=k?module-path=/nowhere.so&pin-source=env:NO_SUCH_PIN"
	_, err := openKey(Issuer, ref, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "-tags pkcs11") && !strings.Contains(err.Error(), "NO_SUCH_PIN") {
		t.Errorf("got %v", err)
	}
}

// A fakeHSM signs with a key that can be exchanged behind the server's back, and can be slow.
type fakeHSM struct {
	key   crypto.Signer
	fails error
	hangs chan struct{}
}

func (h *fakeHSM) sign(message []byte) ([]byte, error) {
	if h.hangs != nil {
		<-h.hangs
	}
	if h.fails != nil {
		return nil, h.fails
	}
	local := &Key{role: Evidence}
	if _, ok := h.key.(ed25519.PrivateKey); ok {
		return h.key.Sign(rand.Reader, message, crypto.Hash(0))
	}
	var err error
	if local.local, err = newLocal(h.key); err != nil {
		return nil, err
	}
	return local.sign(context.Background(), message)
}

func p256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestRemoteKey shows a key outside of the process: it signs, it may be exchanged and then signs nothing, it may be
// slow and then delays nothing for ever, and it comes back.
//
// Audit rows: 102.
func TestRemoteKey(t *testing.T) {
	hsm := &fakeHSM{key: p256(t)}
	k := &Key{role: Evidence, public: hsm.key.Public(), remote: newRemoteKey(hsm)}
	if err := k.selfTest(); err != nil {
		t.Fatal(err)
	}
	own := hsm.key
	hsm.key = p256(t)
	if sig, err := k.sign(t.Context(), []byte("x")); !errors.Is(err, errOtherKey) || sig != nil {
		t.Errorf("after an exchange: %x, %v", sig, err)
	}
	hsm.key, hsm.fails = own, errors.New("no power")
	if _, err := k.sign(t.Context(), []byte("x")); !errors.Is(err, hsm.fails) {
		t.Errorf("got %v", err)
	}
	hsm.fails = nil
	if _, err := k.sign(t.Context(), []byte("x")); err != nil {
		t.Errorf("after power came back: %v", err)
	}

	hsm.hangs = make(chan struct{})
	k.remote.timeout = time.Millisecond
	for i := range remoteCalls + 3 { // more than there are places
		if _, err := k.sign(t.Context(), []byte("x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	close(hsm.hangs)
	k.remote.timeout = time.Minute
	if _, err := k.sign(t.Context(), []byte("x")); err != nil {
		t.Errorf("after the calls ended: %v", err)
	}
}

// TestPassphraseSources: from the environment and from a descriptor, never from an argument.
func TestPassphraseSources(t *testing.T) {
	t.Setenv("MAS_TEST_PASSPHRASE", "correct horse")
	if text, err := ReadPassphrase("env:MAS_TEST_PASSPHRASE"); err != nil || string(text) != "correct horse" {
		t.Errorf("environment: %q, %v", text, err)
	}
	var pipe [2]int // not an os.File, which would close the descriptor a second time
	if err := syscall.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Write(pipe[1], []byte("battery staple\n")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Close(pipe[1]); err != nil {
		t.Fatal(err)
	}
	if text, err := ReadPassphrase(fmt.Sprintf("fd:%d", pipe[0])); err != nil || string(text) != "battery staple" {
		t.Errorf("descriptor: %q, %v", text, err)
	}
	for _, source := range []string{"env:MAS_TEST_NOT_SET", "fd:0", "fd:x", "fd:03", "vault://x"} {
		if _, err := ReadPassphrase(source); err == nil {
			t.Errorf("%s: accepted", source)
		}
	}
}

// TestEncryptedRoot: with a passphrase the vault's root key is encrypted as well.
func TestEncryptedRoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if err := Generate(dir, []byte("correct horse")); err != nil {
		t.Fatal(err)
	}
	refs := RefsIn(dir)
	text, err := os.ReadFile(refs.Root)
	if err != nil || !bytes.Contains(text, []byte("ENCRYPTED MAS ROOT KEY")) {
		t.Fatalf("the root key is not encrypted: %v", err)
	}
	refs.Passphrase = []byte("correct horse")
	set, err := Load(refs)
	if err != nil || set.Root() == [RootSize]byte{} {
		t.Fatal(err)
	}
	if _, err := loadRoot(refs.Root, nil); err == nil || !strings.Contains(err.Error(), "no passphrase") {
		t.Errorf("without a passphrase: %v", err)
	}
	if _, err := loadRoot(refs.Root, []byte("wrong horse")); err == nil {
		t.Error("a wrong passphrase was accepted")
	}
	if err := os.WriteFile(refs.Root, append(text, text...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadRoot(refs.Root, refs.Passphrase); err == nil {
		t.Error("two blocks were accepted")
	}
}
