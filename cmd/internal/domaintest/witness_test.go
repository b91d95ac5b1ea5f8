package domaintest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/mission-authority/mas/cmd/internal/client"
	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/domaintest"
	"github.com/mission-authority/mas/cmd/internal/keys"
	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/witness"
	"github.com/mission-authority/mas/mission"
)

// crossWitnessed prepares two domains, each the witness of the other.
func crossWitnessed(t *testing.T) [2]domain.Side {
	t.Helper()
	sides := domaintest.PreparePair(t)
	for i := range sides {
		if err := sides[i].WitnessedBy(sides[1-i]); err != nil {
			t.Fatal(err)
		}
	}
	return sides
}

// until waits for something to happen.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waiting for " + what)
		}
	}
}

func size(t testing.TB, d *domaintest.Domain) uint64 {
	t.Helper()
	v, err := d.Log.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	return v.Head().Size
}

// fully reports whether everything in the log is witnessed.
func fully(t *testing.T, d *domaintest.Domain) func() bool {
	return func() bool {
		c := d.Heads.Current()
		return c != nil && c.Size == size(t, d)
	}
}

// fetch gets a public path of a domain.
func fetch(t testing.TB, d *domaintest.Domain, path string) (int, string) {
	t.Helper()
	resp, err := http.Get(d.Issuer + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestIdlePeers: two idle domains that witness each other renew their cosignatures and their trees do not grow. With
// SOAK=1 for ten minutes.
//
// Audit rows: 28.
func TestIdlePeers(t *testing.T) {
	idle, quiet, refresh := 4*time.Second, 3*time.Second, time.Second
	if os.Getenv("SOAK") != "" {
		idle, quiet, refresh = 10*time.Minute, 70*time.Second, 10*time.Second
	}
	var domains []*domaintest.Domain
	for _, s := range crossWitnessed(t) {
		domains = append(domains, domaintest.Start(t, s.Dir, s.Config, func(o *domain.Options) { o.WitnessRefresh = refresh }))
	}
	sizes := func() [2]uint64 { return [2]uint64{size(t, domains[0]), size(t, domains[1])} }
	// The agreement comes into force, and the feeds are committed to; then there is nothing left to do.
	before, since := sizes(), time.Now()
	until := time.Now().Add(5 * time.Minute)
	for time.Since(since) < quiet || !fully(t, domains[0])() || !fully(t, domains[1])() {
		if now := sizes(); now != before {
			before, since = now, time.Now()
		}
		if time.Now().After(until) {
			t.Fatalf("not idle at %v", before)
		}
		time.Sleep(50 * time.Millisecond)
	}
	renewed, last := 0, map[int]time.Time{}
	for end := time.Now().Add(idle); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for i, d := range domains {
			if at := d.Heads.Current().At; !at.Equal(last[i]) {
				if !last[i].IsZero() {
					renewed++
				}
				last[i] = at
			}
		}
	}
	after := sizes()
	fmt.Printf("idle: %ds, cosignatures %d, tree growth %d/%d\n", int(idle.Seconds()), renewed, after[0]-before[0],
		after[1]-before[1])
	if after != before || renewed < 2 {
		t.Errorf("sizes %v, then %v; %d cosignatures", before, after, renewed)
	}
}

// TestServedHeads: what a domain with a witness tells about itself, and that its checkpoint satisfies the policy.
//
// Audit rows: 16, 94.
func TestServedHeads(t *testing.T) {
	sides := crossWitnessed(t)
	second := domaintest.Start(t, sides[1].Dir, sides[1].Config)
	first := domaintest.Start(t, sides[0].Dir, sides[0].Config)
	until(t, "a quorum", fully(t, first))
	text, err := os.ReadFile(sides[0].Config.Log.WitnessPolicy)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := ledger.ParseWitnessPolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "a cosigned checkpoint", func() bool {
		resp, err := http.Get(first.Issuer + "/log/main/checkpoint")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.Header.Get("Content-Type") != "text/plain; charset=utf-8" ||
			resp.Header.Get("Cache-Control") != "public, max-age=1" {
			t.Fatalf("%v, %v", err, resp.Header)
		}
		got, err := policy.Open(body)
		if err != nil {
			t.Fatal(err)
		}
		return got.Quorum
	})
	status, seen := fetch(t, second, "/witness/"+witness.OriginHash(first.Config.LogOrigin())+"/checkpoint")
	if got, err := policy.Open([]byte(seen)); status != 200 || err != nil || !got.Quorum {
		t.Errorf("the witness shows %d %s: %v", status, seen, err)
	}
	if status, _ := fetch(t, second, "/witness/"+witness.OriginHash("unknown.example/log")+"/checkpoint"); status != 404 {
		t.Errorf("an unknown log: %d", status)
	}
	resp, err := http.Post(second.Issuer+"/witness/add-checkpoint", "text/plain", strings.NewReader("hello"))
	if err != nil || resp.StatusCode != 400 {
		t.Errorf("not a request: %v %v", resp, err)
	} else {
		resp.Body.Close()
	}
	if resp, err = http.Post(second.Issuer+"/witness/add-checkpoint", "text/plain",
		strings.NewReader(strings.Repeat("x", ledger.MaxAddCheckpointSize+10))); err == nil {
		if resp.StatusCode != 400 {
			t.Errorf("too large: %d", resp.StatusCode)
		}
		resp.Body.Close()
	}
	var meta struct {
		Claims    []string `json:"mission_log_claims"`
		NotMade   []string `json:"mission_log_claims_not_made"`
		Publish   string   `json:"mission_log_publish"`
		Witnesses []struct {
			Name, VKey string
		} `json:"mission_log_witnesses"`
	}
	_, body := fetch(t, first, "/.well-known/mission-authority-server")
	if err := json.Unmarshal([]byte(body), &meta); err != nil || len(meta.Claims) != 3 || len(meta.NotMade) != 0 ||
		meta.Publish != "fail_open" || len(meta.Witnesses) != 1 || meta.Witnesses[0].VKey != second.WitnessVKey {
		t.Errorf("metadata %s, %v", body, err)
	}
	if status, body := fetch(t, first, "/readyz"); status != 200 || !strings.Contains(body, `"claims":["non_equivocation"`) {
		t.Errorf("readyz %d %s", status, body)
	}
	if _, body := fetch(t, first, "/metrics"); !strings.Contains(body, "mas_log_witness_lag_entries 0\n") ||
		!strings.Contains(body, `mas_log_witness_events_total{event="cosigned"}`) {
		t.Errorf("metrics without witnesses")
	}
}

// TestRestoredSnapshotIsNoticed: the store of a domain is set back to an earlier day while it is stopped. Its witness
// knows better: nothing positive is signed.
//
// Audit rows: 79.
func TestRestoredSnapshotIsNoticed(t *testing.T) {
	sides := crossWitnessed(t)
	domaintest.Start(t, sides[1].Dir, sides[1].Config)
	first := domaintest.Start(t, sides[0].Dir, sides[0].Config)
	until(t, "a quorum", fully(t, first))
	stop := func() {
		t.Helper()
		if err := first.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(first.Config.Store.Dir)); err != nil {
		t.Fatal(err)
	}
	first = domaintest.Start(t, sides[0].Dir, sides[0].Config)
	first.Register(t, 10)
	until(t, "the entries to be witnessed", fully(t, first))
	stop()
	for _, dir := range []string{first.Config.Store.Dir, first.Config.Witness.Dir} { // nothing here remembers
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(first.Config.Store.Dir, os.DirFS(old)); err != nil {
		t.Fatal(err)
	}
	first = domaintest.Start(t, sides[0].Dir, sides[0].Config)
	if h := first.Log.Health().Integrity; h == nil || h.Code != witness.CodeRollback {
		t.Errorf("latch %v", h)
	}
	if status, body := fetch(t, first, "/readyz"); status != 503 || !strings.Contains(body, "integrity:witness_rollback") ||
		!strings.Contains(body, "witness:ahead") {
		t.Errorf("readyz %d %s", status, body)
	}
}

// TestForkedPeerIsCaught: a peer shows its witness a second tree. It is refused, both heads are kept in the witness's
// own log as evidence about the peer, and nothing more crosses.
//
// Audit rows: 96.
func TestForkedPeerIsCaught(t *testing.T) {
	sides := crossWitnessed(t)
	first := domaintest.Start(t, sides[0].Dir, sides[0].Config)
	second := domaintest.Start(t, sides[1].Dir, sides[1].Config)
	until(t, "a quorum", fully(t, first))
	signer, _, err := first.Keys.Key(keys.Checkpoint).Note(first.Config.LogOrigin())
	if err != nil {
		t.Fatal(err)
	}
	var kept string
	until(t, "the second tree to be refused", func() bool { // the log may grow meanwhile
		_, seen := fetch(t, second, "/witness/"+witness.OriginHash(first.Config.LogOrigin())+"/checkpoint")
		known, err := ledger.UnverifiedCheckpoint([]byte(seen))
		if err != nil {
			t.Fatal(err)
		}
		forged := known
		forged.Root[0] ^= 1
		text, err := ledger.SignCheckpoint(forged, []note.Signer{signer}...)
		if err != nil {
			t.Fatal(err)
		}
		body, err := ledger.AddCheckpoint{Old: known.Size, Checkpoint: text}.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post(second.Issuer+"/witness/add-checkpoint", "text/plain", strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		kept = string(text)
		return resp.StatusCode == http.StatusUnprocessableEntity
	})
	var evidence []byte
	until(t, "the evidence", func() bool {
		v, err := second.Log.View()
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		for i := range v.Head().Size {
			e, err := v.Entry(i)
			if err != nil {
				t.Fatal(err)
			}
			s, err := ledger.ParseStatement(e.Statement)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := v.Body(s.Digest); err == nil && s.ContentType == mission.ContentPeerCheckpoint &&
				strings.Contains(string(body), `"forked":true`) {
				if evidence != nil && string(evidence) != string(body) {
					t.Fatal("two entries about one fork")
				}
				evidence = body
				if !strings.HasPrefix(s.Subject, second.Issuer+"/peers/") {
					t.Errorf("subject %s", s.Subject)
				}
			}
		}
		return evidence != nil
	})
	var heads struct {
		Checkpoint string `json:"checkpoint"`
		Previous   string `json:"previous_checkpoint"`
		Occasion   string `json:"occasion"`
	}
	if err := json.Unmarshal(evidence, &heads); err != nil || heads.Checkpoint != kept || heads.Occasion != "witness" {
		t.Errorf("evidence %s, %v", evidence, err)
	}
	for _, text := range []string{heads.Checkpoint, heads.Previous} {
		if _, err := ledger.OpenCheckpointBy([]byte(text), first.Config.LogOrigin(), first.VKey); err != nil {
			t.Errorf("a head that the log did not sign: %v", err)
		}
	}
	_, err = second.Client(t, "agent").Post(t.Context(), "/federation/v1/introductions", map[string]string{
		"request_id": "one", "mission_id": "msn_" + strings.Repeat("A", 32), "peer": first.Issuer})
	if client.Code(err) != "not_found" {
		t.Errorf("an introduction after the fork: %v", err)
	}
	if _, body := fetch(t, second, "/metrics"); !strings.Contains(body, `mas_witness_requests_total{outcome="fork"} 1`) {
		t.Error("no metric of the fork")
	}
}

// TestFailClosed: without its witness a domain neither publishes nor grants, and stops all the same.
//
// Audit rows: 90.
func TestFailClosed(t *testing.T) {
	sides := domaintest.PreparePair(t)
	if err := sides[0].WitnessedBy(sides[1]); err != nil {
		t.Fatal(err)
	}
	sides[0].Config.Log.Publish = "fail_closed"
	first := domaintest.Start(t, sides[0].Dir, sides[0].Config)
	if status, _ := fetch(t, first, "/log/main/checkpoint"); status != 404 {
		t.Errorf("a checkpoint before any cosignature: %d", status)
	}
	second := domaintest.Start(t, sides[1].Dir, sides[1].Config)
	until(t, "the first quorum", func() bool { return first.Heads.Current() != nil })
	agent, approver := first.Client(t, "agent"), first.Client(t, "approver")
	submit := func() {
		t.Helper()
		if _, err := agent.PostRaw(t.Context(), "/mas/submissions", "application/json", []byte(`{"intent":{"goal":"read invoices",
			"resources":["`+domaintest.Resource+`"],"expires_at":"`+mission.FormatTime(time.Now().Add(time.Hour))+`"},
			"authorization_details":[{"type":"mission_resource_access","resource":"`+domaintest.Resource+`",
			"actions":["invoices.read"]}]}`)); err != nil {
			t.Fatal(err)
		}
	}
	submit()
	id := first.Approve(t) // waits for the witness
	status := func(id mission.ID) error {
		_, err := agent.Form(t.Context(), "/mas/missions/status", url.Values{"mission_id": {string(id)}, "nonce": {"n"}})
		return err
	}
	if err := status(id); err != nil {
		t.Fatal(err)
	}
	if err := second.Stop(); err != nil {
		t.Fatal(err)
	}
	submit()
	decide := review(t, approver)
	_, err := approver.Post(t.Context(), decide.path, decide.body)
	unpublished(t, "approving", err)
	_, checkpoint := fetch(t, first, "/log/main/checkpoint")
	head, err := ledger.UnverifiedCheckpoint([]byte(checkpoint))
	if err != nil || head.Size >= size(t, first) || head.Size != first.Heads.Current().Size {
		t.Errorf("published %d of %d, %v", head.Size, size(t, first), err)
	}
	if status, _ := fetch(t, first, fmt.Sprintf("/v1/proofs/consistency?from=1&to=%d", size(t, first))); status != 400 {
		t.Errorf("a proof past the published head: %d", status)
	}
	// The first mission still stands, and is stopped at once.
	if err := status(id); err != nil {
		t.Errorf("status of a published mission: %v", err)
	}
	began := time.Now()
	resp, err := approver.Form(t.Context(), "/mas/missions/lifecycle", url.Values{"mission_id": {string(id)},
		"operation": {"revoke"}, "nonce": {"stop"}})
	if err != nil || resp.Header.Get("Mission-Publication") != "pending" {
		t.Errorf("revoking: %v %v", resp, err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("revoking took %v", took)
	}
	// With the witness back, what was approved is told.
	domaintest.Start(t, sides[1].Dir, sides[1].Config)
	until(t, "the quorum", fully(t, first))
	if resp, err = approver.Post(t.Context(), decide.path, decide.body); err != nil {
		t.Fatal(err)
	}
	var decided struct {
		MissionID mission.ID `json:"mission_id"`
	}
	if err := json.Unmarshal(resp.Body, &decided); err != nil || decided.MissionID == "" {
		t.Fatalf("%s, %v", resp.Body, err)
	}
	if err := status(decided.MissionID); err != nil {
		t.Error(err)
	}
}

// unpublished fails unless err is the refusal of what is durable and not published.
func unpublished(t *testing.T, what string, err error) {
	t.Helper()
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Status != 503 {
		t.Errorf("%s: %v", what, err)
	}
}

type decision struct {
	path string
	body map[string]string
}

// review reads the one submission that waits.
func review(t *testing.T, approver *client.Client) (d decision) {
	t.Helper()
	get := func(path string, into any) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		resp, err := approver.Get(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(resp.Body, into); err != nil {
			t.Fatal(err)
		}
	}
	var queue struct {
		Submissions []struct {
			ID string `json:"submission_id"`
		} `json:"submissions"`
	}
	get("/mas/review", &queue)
	if len(queue.Submissions) != 1 {
		t.Fatalf("%d submissions", len(queue.Submissions))
	}
	d.path = "/mas/review/" + queue.Submissions[0].ID
	var shown struct {
		ContextID string `json:"context_id"`
		Rendering string `json:"consent_rendering_hash"`
	}
	get(d.path, &shown)
	d.path += "/decision"
	d.body = map[string]string{"context_id": shown.ContextID, "consent_rendering_hash": shown.Rendering, "decision": "approve"}
	return d
}
