package domaintest_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/cmd/internal/config"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/domaintest"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/registry"
	"github.com/mission-authority/mas/verifier"
)

// get fetches something public.
func get(t *testing.T, url string) (int, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body
}

// A keyHistory is a domain whose keys change between its runs.
type keyHistory struct {
	t      *testing.T
	dir    string
	config *config.Config
	*domaintest.Domain
}

// restart stops the domain, runs the orders, and starts it again.
func (h *keyHistory) restart(orders ...func(o domain.KeyOrder) (*keys.Ring, error)) {
	h.t.Helper()
	if h.Domain != nil {
		if err := h.Stop(); err != nil {
			h.t.Fatal(err)
		}
	}
	for _, order := range orders {
		if _, err := order(domain.KeyOrder{Config: h.config, By: []string{"admin", "operator"}, At: time.Now()}); err != nil {
			h.t.Fatal(err)
		}
	}
	h.Domain = domaintest.Start(h.t, h.dir, h.config)
}

// signatures counts the lines of a checkpoint that verify with the keys of the log, and returns the head.
func (h *keyHistory) signatures() (int, ledger.Checkpoint) {
	h.t.Helper()
	_, text := get(h.t, h.Issuer+"/log/main/checkpoint")
	verifiers, err := h.Keys.LogVerifiers(h.config.LogOrigin())
	if err != nil {
		h.t.Fatal(err)
	}
	n, err := note.Open(text, note.VerifierList(verifiers...))
	if err != nil {
		h.t.Fatal(err)
	}
	head, err := ledger.OpenCheckpoint(text, h.config.LogOrigin(), verifiers...)
	if err != nil {
		h.t.Fatal(err)
	}
	return len(n.Sigs), head
}

// status is the served key status, verified with the governance key of this moment.
func (h *keyHistory) status() *ledger.SignedKeyStatus {
	h.t.Helper()
	code, data := get(h.t, h.Issuer+"/v1/keys/status")
	if code != http.StatusOK {
		h.t.Fatalf("key status: %d %s", code, data)
	}
	s, err := ledger.OpenKeyStatus(data, h.Issuer, h.Keys.Key(keys.Governance).PublicCOSE())
	if err != nil {
		h.t.Fatal(err)
	}
	if err := s.Current(time.Now()); err != nil {
		h.t.Error(err)
	}
	return s
}

// entries lists the content types about the log and its policy, and shows that the log admits each of its entries.
func (h *keyHistory) entries() map[string]int {
	h.t.Helper()
	view, err := h.Log.View()
	if err != nil {
		h.t.Fatal(err)
	}
	defer view.Close()
	first, err := view.Entry(0)
	if err != nil {
		h.t.Fatal(err)
	}
	genesis, err := ledger.ParseStatement(first.Statement)
	if err != nil {
		h.t.Fatal(err)
	}
	body, err := view.Body(genesis.Digest)
	if err != nil {
		h.t.Fatal(err)
	}
	admission, err := ledger.NewAdmission(first.Statement, body)
	if err != nil {
		h.t.Fatal(err)
	}
	types := make(map[string]int)
	for i := uint64(1); i < view.Head().Size; i++ {
		e, err := view.Entry(i)
		if err != nil {
			h.t.Fatal(err)
		}
		s, err := ledger.ParseStatement(e.Statement)
		if err != nil {
			h.t.Fatal(err)
		}
		body, err := view.Body(s.Digest)
		if err != nil {
			h.t.Fatal(err)
		}
		if admission, err = admission.Next(s, body); err != nil {
			h.t.Errorf("entry %d (%s) is not admitted: %v", i, s.ContentType, err)
			return types
		}
		types[s.ContentType]++
	}
	if _, _, err := registry.Governed(view); err != nil {
		h.t.Error(err)
	}
	return types
}

func (h *keyHistory) size() uint64 {
	h.t.Helper()
	_, head := h.signatures()
	return head.Size
}

// receipt asks for nothing but makes a receipt with the receipt key of this moment, as the server does.
func (h *keyHistory) receipt() (statement, receipt []byte) {
	h.t.Helper()
	view, err := h.Log.View()
	if err != nil {
		h.t.Fatal(err)
	}
	defer view.Close()
	size := view.Head().Size
	e, err := view.Entry(size - 1)
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := ledger.ParseStatement(e.Statement)
	if err != nil {
		h.t.Fatal(err)
	}
	path, err := view.Inclusion(size-1, size)
	if err != nil {
		h.t.Fatal(err)
	}
	raw, err := ledger.SignReceipt(h.t.Context(), ledger.ReceiptClaims{Issuer: h.Issuer, Subject: s.Subject,
		IssuedAt: e.At.Unix()}, ledger.Inclusion{Size: size, Index: size - 1, Path: path}, view.Head().Root,
		h.Keys.Key(keys.Receipts).COSE())
	if err != nil {
		h.t.Fatal(err)
	}
	return e.Statement, raw
}

// TestKeysOfARunningLog replaces every key of a server in an overlap, then withdraws one that was stolen. The
// overlap's checkpoints carry both signatures, receipts of before still verify with what is published, the log holds
// every succession, the log admits every entry, and starting again adds nothing.
//
// Audit rows: 60, 98, 101.
func TestKeysOfARunningLog(t *testing.T) {
	dir, c := domaintest.Prepare(t, domain.DevCeiling, nil)
	h := &keyHistory{t: t, dir: dir, config: c}
	h.restart()
	h.Register(t, 3)
	anchor, err := domain.Anchor(c)
	if err != nil {
		t.Fatal(err)
	}
	auditor := &verifier.Trust{Anchor: anchor}
	statement, receipt := h.receipt()
	oldReceipts, oldEvidence := h.Keys.Key(keys.Receipts), h.Keys.Key(keys.Evidence)
	oldLog := h.VKey
	if n, _ := h.signatures(); n != 1 || h.status().Version != 1 {
		t.Errorf("%d signatures, key status version %d", n, h.status().Version)
	}
	size := h.size()
	h.restart()
	if now := h.size(); now != size {
		t.Errorf("a start without orders added %d entries", now-size)
	}

	// The overlap of every role begins.
	var rotate, retire []func(domain.KeyOrder) (*keys.Ring, error)
	for _, role := range keys.Roles() {
		rotate = append(rotate, func(o domain.KeyOrder) (*keys.Ring, error) { return o.Rotate(context.Background(), role) })
		retire = append(retire, func(o domain.KeyOrder) (*keys.Ring, error) { return o.Retire(role) })
	}
	h.restart(rotate...)
	h.Register(t, 1)
	if n, _ := h.signatures(); n != 2 {
		t.Errorf("a checkpoint of the overlap has %d signatures", n)
	}
	if h.VKey != oldLog {
		t.Error("the log is named by another key before the overlap has ended")
	}
	types := h.entries()
	if types[ledger.ContentTypeSuccession] != 6 || types[ledger.ContentTypeKeyStatus] != 6 || types[ledger.ContentTypeAnchors] != 1 {
		t.Errorf("the log holds %v", types)
	}
	if s := h.status(); s.Version != 7 || len(s.Keys) != 12 {
		t.Errorf("key status version %d with %d keys", s.Version, len(s.Keys))
	}
	// An auditor who looks during the overlap goes on with the keys of after it.
	_, signed := get(t, h.Issuer+"/v1/keys/status")
	if _, err := auditor.ApplyKeyStatus(signed, time.Now()); err != nil {
		t.Error(err)
	}
	size = h.size()
	h.restart()
	if now := h.size(); now != size {
		t.Errorf("starting again added %d entries", now-size)
	}

	// The overlap ends. What was signed before verifies with what is published now.
	h.restart(retire...)
	h.Register(t, 1)
	if n, _ := h.signatures(); n != 1 || h.VKey == oldLog {
		t.Errorf("%d signatures after the overlap", n)
	}
	if bytes.Equal(h.Keys.Key(keys.Evidence).COSE().KeyID(), oldEvidence.COSE().KeyID()) {
		t.Error("the old evidence key still signs")
	}
	types = h.entries()
	if types[ledger.ContentTypeKeyStatus] != 12 || types[ledger.ContentTypeAnchors] != 2 {
		t.Errorf("the log holds %v", types)
	}
	_, text := get(t, h.Issuer+"/log/main/checkpoint")
	if _, fs := verifier.VerifyCheckpoint(text, &auditor.Anchor); fs.Outcome() != verifier.OK {
		t.Errorf("the auditor of the overlap: %v", fs)
	}
	if r := verifier.VerifyStatement(statement, auditor); r.Verdict != verifier.Verified {
		t.Errorf("a statement of before the rotation: %v", r.Findings)
	}
	kid := base64.RawURLEncoding.EncodeToString(oldReceipts.COSE().KeyID())
	code, one := get(t, h.Issuer+"/.well-known/scitt-keys/"+kid)
	if code != http.StatusOK {
		t.Fatalf("the retired receipt key is not served: %d", code)
	}
	set, err := ledger.ParseKeySet(append([]byte{0x81}, one...))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ledger.ParseReceipt(receipt)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ledger.ParseStatement(statement)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parsed.VerifyStatement(s, h.Issuer, set); err != nil {
		t.Errorf("a receipt of before the rotation: %v", err)
	}
	if _, all := get(t, h.Issuer+"/.well-known/scitt-keys"); len(all) == 0 || !bytes.Contains(all, oldReceipts.COSE().KeyID()) {
		t.Error("the key set lacks the retired key")
	}
	if _, all := get(t, h.Issuer+"/.well-known/jwks.json"); strings.Count(string(all), `"kid"`) != 2 {
		t.Errorf("the issuer's key set: %s", all)
	}

	// A stolen evidence key is withdrawn without an overlap. It signs the entry that admits its successor, and no more.
	stolen := h.Keys.Key(keys.Evidence).COSE().KeyID()
	h.restart(func(o domain.KeyOrder) (*keys.Ring, error) {
		return o.Compromise(context.Background(), stolen, time.Now().Add(-time.Hour))
	})
	h.Register(t, 1)
	h.entries()
	found := false
	for _, k := range h.status().Keys {
		if bytes.Equal(k.Key.ID, stolen) {
			found = k.State == ledger.KeyStateCompromised && k.CompromisedAt > 0
		}
	}
	if !found {
		t.Error("the key status does not say that the key is compromised")
	}
	if _, meta := get(t, h.Issuer+"/.well-known/mission-authority-server"); bytes.Contains(meta,
		[]byte(base64.RawURLEncoding.EncodeToString(stolen))) {
		t.Error("the metadata names a compromised key")
	}
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	found2, err := domain.Fsck(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if !found2.Clean() {
		t.Errorf("fsck: %+v %v %v", found2.Store.Findings, found2.Derived.Differences, found2.Notes)
	}
}

// TestKeyOrdersNeedTwoAdministrators: whoever is not one cannot order anything, and nothing changes.
func TestKeyOrdersNeedTwoAdministrators(t *testing.T) {
	_, c := domaintest.Prepare(t, domain.DevCeiling, nil)
	for name, by := range map[string][]string{
		"nobody": nil, "one": {"admin"}, "the same twice": {"admin", "admin"}, "strangers": {"admin", "stranger"},
		"no administrator": {"operator", "approver"},
	} {
		if _, err := (domain.KeyOrder{Config: c, By: by, At: time.Now()}).Rotate(t.Context(), keys.Evidence); err == nil {
			t.Errorf("%s: ordered", name)
		}
	}
	if _, err := os.Stat(c.Keys.Ring); !os.IsNotExist(err) {
		t.Errorf("a refused order wrote the ring: %v", err)
	}
}
