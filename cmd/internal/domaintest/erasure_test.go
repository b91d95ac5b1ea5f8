package domaintest_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/domaintest"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/evidence"
	"github.com/mission-authority/mas/verifier"
)

// secretGoal is what the person erased would not like to be read again. It stands in two bodies: what was submitted
// and what was approved.
const secretGoal = "arrange the surgery of patient 4711"

// TestErasureDrill erases the personal text of a mission that has ended, over HTTP, and then looks for it with
// everything an attacker could have but the program itself: the whole directory, yesterday's backup of the store and
// the root key.
//
// Audit rows: 128, 129, 132.
func TestErasureDrill(t *testing.T) {
	dir, c := domaintest.Prepare(t, domain.DevCeiling, nil)
	d := domaintest.Start(t, dir, c)
	id := endedMission(t, d)
	whole := fetchBundle(t, d, id)
	verify := func(bundle []byte) *verifier.BundleReport {
		t.Helper()
		anchor, err := domain.Anchor(c)
		if err != nil {
			t.Fatal(err)
		}
		r := verifier.VerifyBundle(bundle, &verifier.Trust{Anchor: anchor}, verifier.BundleOptions{Mission: string(id)})
		if r.Outcome == verifier.Wrong {
			t.Fatalf("the bundle: %v", r.All())
		}
		return r
	}
	var named []*verifier.RecordReport
	for _, r := range verify(whole).Records {
		if r.ContentType == mission.ContentSubmission || r.ContentType == mission.ContentApprovalRecord {
			named = append(named, r)
		}
	}
	if len(named) != 2 {
		t.Fatalf("%d records hold the goal", len(named))
	}
	sealed := sealedBodies(t, d, named)

	// Yesterday: the store is backed up without shred/, and everything opens with the root key.
	root := d.Keys.Root()
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	backup, oldKeys, shred := t.TempDir(), t.TempDir(), filepath.Join(c.Store.Dir, "shred")
	copyStore(t, c.Store.Dir, backup)
	copyFiles(t, shred, oldKeys)
	opened := func() (n int) {
		t.Helper()
		for _, s := range sealed {
			n += attack(t, s, root, c.Store.Dir, backup)
		}
		return n
	}
	before := opened()
	if before != len(sealed) {
		t.Fatalf("the attack opens %d bodies that are not erased: it would prove nothing", before)
	}

	// Today: an administrator erases.
	d = domaintest.Start(t, dir, c)
	admin, auditor := d.Client(t, "admin"), d.Client(t, "auditor")
	for _, r := range named {
		resp, err := admin.Post(t.Context(), "/v1/erasures", map[string]string{"entry_id": r.EntryID,
			"basis": evidence.BasisDataSubject})
		if err != nil || resp.Status != http.StatusCreated {
			t.Fatalf("erasing: %v", err)
		}
		resp, err = admin.Post(t.Context(), "/v1/erasures", map[string]string{"entry_id": r.EntryID,
			"basis": evidence.BasisDataSubject})
		if err != nil || resp.Status != http.StatusOK {
			t.Fatalf("erasing again: %v", err)
		}
	}
	checkGone(t, auditor, sealed)
	if _, err := d.Client(t, "agent").Form(t.Context(), "/mas/missions/status",
		url.Values{"mission_id": {string(id)}, "nonce": {"nonce-of-the-drill-1"}}); client.Code(err) != "not_found" {
		t.Errorf("the status of an erased mission: %v", err)
	}

	// What remains verifies, and says what is missing.
	report := verify(fetchBundle(t, d, id))
	gone := 0
	for _, r := range report.Records {
		if r.Verdict == verifier.ErasedExplained {
			gone++
		}
	}
	// The feed of the submission is named by the approval alone: it is no longer found from the mission.
	if gone != 1 || report.Outcome != verifier.OK || report.Missions[0].State != mission.Revoked {
		t.Errorf("the bundle after it: %s, %d records erased and explained, %v", report.Outcome, gone, report.All())
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}

	// Tomorrow: nothing of it can be read.
	after := opened()
	if after != 0 {
		t.Errorf("%d erased bodies were opened", after)
	}
	for _, place := range []string{dir, backup} {
		if file := containing(t, place, []byte(secretGoal)); file != "" {
			t.Errorf("%s holds the text in clear", file)
		}
	}
	t.Logf("drill: %d bodies erased; %d places of their ciphertext searched; opened with the root key before %d, after %d",
		len(sealed), places(t, sealed, c.Store.Dir, backup), before, after)

	// The key file comes back from a backup, and so does its journal: the log knows better.
	copyFiles(t, oldKeys, shred)
	if opened() != len(sealed) {
		t.Fatal("the restored key file opens nothing: it would prove nothing")
	}
	d = domaintest.Start(t, dir, c)
	checkGone(t, d.Client(t, "auditor"), sealed)
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := opened(); n != 0 {
		t.Errorf("%d erased bodies are back with the key file of a backup", n)
	}
}

// endedMission takes a mission with the secret goal from submission to revocation.
func endedMission(t *testing.T, d *domaintest.Domain) mission.ID {
	t.Helper()
	agent := d.Client(t, "agent")
	_, err := agent.PostRaw(t.Context(), "/mas/submissions", "application/json", []byte(`{"intent":{"goal":"`+secretGoal+`",
		"resources":["https://api.example.com/invoices"],"expires_at":"`+mission.FormatTime(time.Now().Add(time.Hour))+`"},
		"authorization_details":[{"type":"mission_resource_access","resource":"https://api.example.com/invoices",
		"actions":["invoices.read"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	id := d.Approve(t)
	if _, err := d.Client(t, "approver").Form(t.Context(), "/mas/missions/lifecycle", url.Values{
		"mission_id": {string(id)}, "operation": {"revoke"}, "nonce": {"nonce-of-the-drill-0"}}); err != nil {
		t.Fatal(err)
	}
	return id
}

func fetchBundle(t *testing.T, d *domaintest.Domain, id mission.ID) []byte {
	t.Helper()
	resp, err := d.Client(t, "auditor").Post(t.Context(), "/v1/bundles",
		map[string]any{"query": map[string]string{"mission": string(id)}})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Body
}

// checkGone asks for each body: 410 with the entry of its erasure record.
func checkGone(t *testing.T, auditor *client.Client, sealed []sealedBody) {
	t.Helper()
	for _, s := range sealed {
		_, err := auditor.Get(t.Context(), "/v1/evidence/"+string(mission.DigestOf(s.digest)))
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Status != http.StatusGone || e.Code != "evidence_erased" {
			t.Errorf("erased evidence: %v", err)
		}
	}
}

// A sealedBody is a body as the store keeps it.
type sealedBody struct {
	digest ledger.Hash
	octets []byte
}

func sealedBodies(t *testing.T, d *domaintest.Domain, records []*verifier.RecordReport) []sealedBody {
	t.Helper()
	var out []sealedBody
	for _, r := range records {
		digest, err := ledger.ParseEntryID(r.Digest) // hexadecimal, like an entry id
		if err != nil {
			t.Fatal(err)
		}
		octets, err := d.Sealed(digest)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, sealedBody{digest, octets})
	}
	return out
}

func copyStore(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rest, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			if e.Name() == "shred" {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, rest), 0o700)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rest), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// copyFiles puts the files of one directory into another, over what is there.
func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	files, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(from, f.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, f.Name()), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// attack tries to open a sealed body the way docs/formats.md describes it, without any code of the product: with every
// key in every copy of shred/keys, with every key that the erasure journal could name, and with the root key itself. It
// returns how often that worked.
func attack(t *testing.T, s sealedBody, root [32]byte, dirs ...string) (opened int) {
	t.Helper()
	if places(t, []sealedBody{s}, dirs...) == 0 {
		t.Fatal("the ciphertext is nowhere: the attack would prove nothing")
	}
	slot := binary.BigEndian.Uint64(s.octets[1:9])
	aad := binary.BigEndian.AppendUint64(append([]byte("mas body v1\n"), s.digest[:]...), slot)
	for _, key := range append(slotKeys(t, root, dirs...), root[:]) {
		body, err := gcm(t, key).Open(nil, s.octets[9:21], s.octets[21:], aad)
		if err == nil && sha256.Sum256(body) == s.digest && bytes.Contains(body, []byte(secretGoal)) {
			opened++
		}
	}
	return opened
}

// slotKeys opens every slot of every key file with the root key.
func slotKeys(t *testing.T, root [32]byte, dirs ...string) (keys [][]byte) {
	t.Helper()
	const sector, slotSize = 512, 64
	for _, dir := range dirs {
		data, err := os.ReadFile(filepath.Join(dir, "shred", "keys"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		id := data[12:28]
		for slot := uint64(0); sector+(slot+1)*slotSize <= uint64(len(data)); slot++ {
			b := data[sector+slot*slotSize:]
			aad := binary.BigEndian.AppendUint64(append([]byte("mas shred slot v1\n"), id...), slot)
			if key, err := gcm(t, root[:]).Open(nil, b[1:13], b[13:61], aad); err == nil {
				keys = append(keys, key)
			}
		}
	}
	if len(keys) == 0 {
		t.Fatal("no key file opens with the root key")
	}
	return keys
}

func gcm(t *testing.T, key []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return aead
}

// places counts the files that hold a ciphertext.
func places(t *testing.T, sealed []sealedBody, dirs ...string) (n int) {
	t.Helper()
	for _, dir := range dirs {
		for _, s := range sealed {
			if containing(t, dir, s.octets) != "" {
				n++
			}
		}
	}
	return n
}

// containing names a file below dir that contains the octets, or "".
func containing(t *testing.T, dir string, octets []byte) (found string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, octets) {
			found = strings.TrimPrefix(path, dir)
			return fs.SkipAll
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
