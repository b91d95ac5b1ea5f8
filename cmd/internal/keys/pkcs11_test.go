//go:build pkcs11

package keys

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/pkcs11"
	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/ledger"
)

// softHSM is where Debian puts the library.
const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

// startToken makes a token of SoftHSM with a key pair for each role and returns references to them. The library reads
// its configuration once in a process, so all tests share a directory.
func startToken(t *testing.T, label string) Refs {
	t.Helper()
	if _, err := os.Stat(softHSM); err != nil {
		if os.Getenv("REQUIRE_ALL") != "" {
			t.Fatal("softhsm2 is required")
		}
		t.Skip("MISSING softhsm2: keys on a PKCS #11 token are not tested")
	}
	const pin = "648219"
	t.Setenv("MAS_TEST_PIN", pin)
	module, err := openModule(softHSM)
	if err != nil {
		t.Fatal(err)
	}
	initToken(t, module, label, pin)
	dir := filepath.Join(t.TempDir(), "keys")
	if err := Generate(dir, nil); err != nil {
		t.Fatal(err)
	}
	refs := RefsIn(dir)
	key := &tokenKey{module: module, ref: &tokenReference{token: label}}
	slot, err := key.findSlot()
	if err != nil {
		t.Fatal(err)
	}
	session, err := module.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		t.Fatal(err)
	}
	if err := module.Login(session, pkcs11.CKU_USER, pin); err != nil {
		t.Fatal(err)
	}
	for i, role := range Roles() {
		generateOn(t, module, session, role, byte(i))
		refs.Signing[role] = fmt.Sprintf("pkcs11:token=%s;object=mas-%s;id=%%%02x?module-path=%s&pin-source=env:MAS_TEST_PIN",
			strings.ReplaceAll(label, " ", "%20"), role, i, softHSM)
	}
	if err := errors.Join(module.Logout(session), module.CloseSession(session)); err != nil {
		t.Fatal(err)
	}
	return refs
}

// initToken makes the empty slot of the library a token.
func initToken(t *testing.T, module *pkcs11.Ctx, label, pin string) {
	t.Helper()
	const officer = "77773333"
	slots, err := module.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	for _, slot := range slots {
		info, err := module.GetTokenInfo(slot)
		if err != nil {
			t.Fatal(err)
		}
		if info.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0 {
			continue
		}
		if err := module.InitToken(slot, officer, label); err != nil {
			t.Fatal(err)
		}
		session, err := module.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
		if err != nil {
			t.Fatal(err)
		}
		err = module.Login(session, pkcs11.CKU_SO, officer)
		if err == nil {
			err = errors.Join(module.InitPIN(session, pin), module.Logout(session))
		}
		if err := errors.Join(err, module.CloseSession(session)); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("no empty slot")
}

// generateOn makes a key pair on the token; its private key never leaves it.
func generateOn(t *testing.T, module *pkcs11.Ctx, session pkcs11.SessionHandle, role Role, id byte) {
	t.Helper()
	mechanism, params := uint(pkcs11.CKM_EC_KEY_PAIR_GEN), []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	if role.algorithm() == ledger.AlgEdDSA { // PrintableString edwards25519
		mechanism, params = 0x1055, append([]byte{0x13, 12}, "edwards25519"...)
	}
	name := "mas-" + string(role)
	public := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, params), pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, name),
		pkcs11.NewAttribute(pkcs11.CKA_ID, []byte{id}),
	}
	private := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_SIGN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, name),
		pkcs11.NewAttribute(pkcs11.CKA_ID, []byte{id}),
	}
	if _, _, err := module.GenerateKeyPair(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, public,
		private); err != nil {
		t.Fatalf("%s: %v", role, err)
	}
}

// TestMain gives SoftHSM a directory of its own for the whole run.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "tokens-")
	if err != nil {
		panic(err)
	}
	conf := filepath.Join(dir, "softhsm2.conf")
	text := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		panic(err)
	}
	if err := os.Setenv("SOFTHSM2_CONF", conf); err != nil {
		panic(err)
	}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// TestTokenSignsTheLog: keys on a PKCS #11 token sign checkpoints, receipts and statements that verify with nothing
// but the public keys; when the token loses its sessions, signing goes on.
//
// Audit rows: 102.
func TestTokenSignsTheLog(t *testing.T) {
	refs := startToken(t, "MAS log")
	set, err := Load(refs)
	if err != nil {
		t.Fatal(err)
	}
	const origin = "mas.example/log/main"
	began, made := time.Now(), 0
	round := func() {
		t.Helper()
		raw, err := ledger.SignStatement(t.Context(), ledger.Claims{Issuer: "https://mas.example",
			Subject: "https://mas.example/log", ContentType: "application/json", Digest: sha256.Sum256(nil)},
			set.Key(Evidence).COSE())
		if err != nil {
			t.Fatal(err)
		}
		statement, err := ledger.ParseStatement(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := statement.Verify(set.Key(Evidence).Public()); err != nil {
			t.Errorf("statement: %v", err)
		}
		sibling := ledger.HashLeaf([]byte("x"))
		root := ledger.HashChildren(sibling, statement.Leaf())
		signer, vkey, err := set.Key(Checkpoint).Note(origin)
		if err != nil {
			t.Fatal(err)
		}
		text, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: origin, Size: 2, Root: root}, signer)
		if err != nil {
			t.Fatal(err)
		}
		verifier, err := note.NewVerifier(vkey)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ledger.OpenCheckpoint(text, origin, verifier); err != nil {
			t.Errorf("checkpoint: %v", err)
		}
		raw, err = ledger.SignReceipt(t.Context(), ledger.ReceiptClaims{Issuer: "https://mas.example",
			Subject: "https://mas.example/log", IssuedAt: 1_800_000_000},
			ledger.Inclusion{Size: 2, Index: 1, Path: []ledger.Hash{sibling}}, root, set.Key(Receipts).COSE())
		if err != nil {
			t.Fatal(err)
		}
		receipt, err := ledger.ParseReceipt(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := receipt.Verify(statement.Leaf(), set.Key(Receipts).Public()); err != nil || got != root {
			t.Errorf("receipt: %v", err)
		}
		made += 3
	}
	for range 10 {
		round()
	}
	t.Logf("softhsm: %d signatures for checkpoints, receipts and statements in %s", made, time.Since(began).Round(time.Millisecond))

	// The token goes away and comes back: sessions and logins are gone.
	module, err := openModule(softHSM)
	if err != nil {
		t.Fatal(err)
	}
	slot, err := (&tokenKey{module: module, ref: &tokenReference{token: "MAS log"}}).findSlot()
	if err != nil {
		t.Fatal(err)
	}
	if err := module.CloseAllSessions(slot); err != nil {
		t.Fatal(err)
	}
	round()

	// A ring that knows another key than the token has refuses the token.
	refs.Ring = set.Ring()
	other := startToken(t, "another")
	refs.Signing[Evidence] = other.Signing[Evidence]
	if _, err := Load(refs); err == nil || !strings.Contains(err.Error(), "mas keys rotate") {
		t.Errorf("a key of another token: %v", err)
	}
}

func TestTokenRefuses(t *testing.T) {
	refs := startToken(t, "refusals")
	good := refs.Signing[Issuer]
	for name, ref := range map[string]string{
		"no such token":  strings.Replace(good, "refusals", "nobody", 1),
		"no such key":    strings.Replace(good, "mas-issuer", "mas-nobody", 1),
		"no module":      strings.Replace(good, softHSM, "/nowhere/module.so", 1),
		"no PIN":         strings.Replace(good, "MAS_TEST_PIN", "MAS_TEST_NO_PIN", 1),
		"another role's": refs.Signing[Checkpoint],
	} {
		if _, err := OpenNew(Issuer, ref, nil); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	// A login counts for the whole process, so the others end first.
	module, err := openModule(softHSM)
	if err != nil {
		t.Fatal(err)
	}
	slot, err := (&tokenKey{module: module, ref: &tokenReference{token: "refusals"}}).findSlot()
	if err != nil {
		t.Fatal(err)
	}
	if err := module.CloseAllSessions(slot); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MAS_TEST_WRONG_PIN", "111111")
	_, err = OpenNew(Issuer, strings.Replace(good, "MAS_TEST_PIN", "MAS_TEST_WRONG_PIN", 1), nil)
	if err == nil || bytes.Contains([]byte(err.Error()), []byte("111111")) {
		t.Errorf("wrong PIN: %v", err)
	}
	if k, err := OpenNew(Issuer, good, nil); err != nil || k.selfTest() != nil {
		t.Errorf("after the refusals: %v", err)
	}
}
