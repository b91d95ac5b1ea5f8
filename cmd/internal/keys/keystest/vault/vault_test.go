package vault

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission/jws"
)

const (
	issuer = "https://mas.example"
	origin = "mas.example/log/main"
)

// generate makes a key for each role in the engine and returns references to their first versions.
func (e *engine) generate(t *testing.T, scheme string) keys.Refs {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if err := keys.Generate(dir, []byte("of the root key")); err != nil {
		t.Fatal(err)
	}
	refs := keys.RefsIn(dir) // the root key stays a file
	refs.Passphrase = []byte("of the root key")
	for _, role := range keys.Roles() {
		kind := "ecdsa-p256"
		if role == keys.Checkpoint || role == keys.Witness {
			kind = "ed25519"
		}
		e.do(t, "keys/mas-"+string(role), map[string]any{"type": kind})
		refs.Signing[role] = fmt.Sprintf("%s://mas-%s?version=1", scheme, role)
	}
	return refs
}

// sign makes a real statement, checkpoint, receipt and status token with the keys, and verifies each with public keys.
func sign(t *testing.T, set *keys.Set) {
	t.Helper()
	ctx := t.Context()
	var leaves []ledger.Hash
	for i := range 2 {
		raw, err := ledger.SignStatement(ctx, ledger.Claims{Issuer: issuer, Subject: issuer + "/missions/msn_1",
			IssuedAt: int64(1_800_000_000 + i), ContentType: "application/json", Digest: sha256.Sum256([]byte{byte(i)})},
			set.Key(keys.Evidence).COSE())
		if err != nil {
			t.Fatal(err)
		}
		s, err := ledger.ParseStatement(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(set.Key(keys.Evidence).Public()); err != nil {
			t.Errorf("statement: %v", err)
		}
		leaves = append(leaves, s.Leaf())
	}
	root := ledger.HashChildren(leaves[0], leaves[1])

	signer, vkey, err := set.Key(keys.Checkpoint).Note(origin)
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
	if head, err := ledger.OpenCheckpoint(text, origin, verifier); err != nil || head.Root != root {
		t.Errorf("checkpoint: %v", err)
	}

	raw, err := ledger.SignReceipt(ctx, ledger.ReceiptClaims{Issuer: issuer, Subject: issuer + "/missions/msn_1",
		IssuedAt: 1_800_000_002}, ledger.Inclusion{Size: 2, Index: 1, Path: leaves[:1]}, root, set.Key(keys.Receipts).COSE())
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := ledger.ParseReceipt(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := receipt.Verify(leaves[1], set.Key(keys.Receipts).Public()); err != nil || got != root {
		t.Errorf("receipt: %v", err)
	}

	jose, err := set.Key(keys.Issuer).JOSE()
	if err != nil {
		t.Fatal(err)
	}
	compact, err := jws.Sign(ctx, jose, jws.TypStatus, []byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	public, err := set.Key(keys.Issuer).PublicJWKS()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jws.Open(compact, jws.TypStatus, public); err != nil {
		t.Errorf("status: %v", err)
	}
}

// TestTransitSignsTheLog: keys in Vault, and in OpenBao by its own scheme, sign checkpoints, receipts, statements and
// tokens that verify with nothing but the public keys.
//
// Audit rows: 102.
func TestTransitSignsTheLog(t *testing.T) {
	for _, scheme := range []string{"hashivault", "openbao"} {
		t.Run(scheme, func(t *testing.T) {
			e := startEngine(t)
			set, err := keys.Load(e.generate(t, scheme))
			if err != nil {
				t.Fatal(err)
			}
			before := e.signed.Load()
			began := time.Now()
			sign(t, set)
			if made := e.signed.Load() - before; made != 5 {
				t.Errorf("the engine made %d signatures, want 5", made)
			}
			t.Logf("vault: 5 signatures for checkpoint, receipt, statements and status in %s", time.Since(began).Round(time.Millisecond))
		})
	}
}

// TestRotationInVault: a rotation inside Vault changes nothing for the server that runs, and nothing for one that
// starts with the key ring; a server that would have to guess the public key refuses. Nothing is signed by the new
// version until mas keys rotate says so.
//
// Audit rows: 102.
func TestRotationInVault(t *testing.T) {
	e := startEngine(t)
	refs := e.generate(t, "hashivault")
	set, err := keys.Load(refs)
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range keys.Roles() {
		e.do(t, "keys/mas-"+string(role)+"/rotate", nil)
	}
	sign(t, set)

	if _, err := keys.Load(refs); err == nil || !strings.Contains(err.Error(), "version 1 is not the newest version") {
		t.Errorf("started without knowing the public key: %v", err)
	}
	refs.Ring = set.Ring()
	again, err := keys.Load(refs)
	if err != nil {
		t.Fatal(err)
	}
	sign(t, again)
	for _, role := range keys.Roles() {
		if string(again.Key(role).COSE().KeyID()) != string(set.Key(role).COSE().KeyID()) {
			t.Errorf("%s changed", role)
		}
	}

	// The new version enters by an order, and then the old one is only published.
	fresh, err := keys.OpenNew(keys.Receipts, "hashivault://mas-receipts?version=2", nil)
	if err != nil {
		t.Fatal(err)
	}
	change := keys.Change{Issuer: issuer, Origin: origin, At: 1_800_000_000, By: [2]string{"admin-1", "admin-2"}}
	ring, err := again.Rotate(t.Context(), change, keys.Receipts, fresh, "hashivault://mas-receipts?version=2")
	if err != nil {
		t.Fatal(err)
	}
	if ring, err = ring.Retire(change, keys.Receipts); err != nil {
		t.Fatal(err)
	}
	refs.Ring = ring
	rotated, err := keys.Load(refs)
	if err != nil {
		t.Fatal(err)
	}
	sign(t, rotated)
	if string(rotated.Key(keys.Receipts).COSE().KeyID()) != string(fresh.COSE().KeyID()) {
		t.Error("the new version does not sign")
	}

	// A version that Vault does not sign with any more stops the server, it does not change the key under it.
	e.do(t, "keys/mas-evidence/config", map[string]any{"min_encryption_version": 2})
	if _, err := set.Key(keys.Evidence).COSE().Sign(t.Context(), []byte("x")); err == nil {
		t.Error("signed with a version that Vault has closed")
	}
}

// TestVaultRefuses: keys of other kinds, keys that do not exist, a sealed Vault, a wrong token.
func TestVaultRefuses(t *testing.T) {
	e := startEngine(t)
	refs := e.generate(t, "hashivault")
	e.do(t, "keys/rsa", map[string]any{"type": "rsa-2048"})
	e.do(t, "keys/p384", map[string]any{"type": "ecdsa-p384"})
	for ref, want := range map[string]string{
		"hashivault://rsa?version=1":            "unsupported key type",
		"hashivault://p384?version=1":           "P-256",
		"hashivault://mas-checkpoint?version=1": "P-256",
		"hashivault://none?version=1":           "none",
		"hashivault://mas-issuer?version=7":     "signing",
	} {
		if _, err := keys.OpenNew(keys.Issuer, ref, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", ref, err, want)
		}
	}
	set, err := keys.Load(refs)
	if err != nil {
		t.Fatal(err)
	}
	e.down.Store(true)
	if _, err := set.Key(keys.Evidence).COSE().Sign(t.Context(), []byte("x")); err == nil {
		t.Error("signed while Vault was sealed")
	}
	e.down.Store(false)
	sign(t, set)
	t.Setenv("VAULT_TOKEN", "wrong")
	if _, err := keys.Load(refs); err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("with a wrong token: %v", err)
	}
}
