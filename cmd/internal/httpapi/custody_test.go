package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/mission"
)

// endedMissions are the subjects that nothing works with any more, by id.
type endedMissions map[string]bool

func (e endedMissions) Ended(_ ledger.View, _ ledger.SubjectKind, id string) (time.Time, bool, error) {
	return began, e[id], nil
}

func (e endedMissions) Forget(ledger.SubjectKind, string) {}

// TestErasureOverHTTP erases one body and holds another, with the answers a caller can rely on.
//
// Audit rows: 129.
func TestErasureOverHTTP(t *testing.T) {
	w := newWorld(t)
	bodies := w.fill(4)
	v := w.log.MustView(t)
	entryOf := func(i int) string {
		e, err := v.Entry(uint64(i) + 1)
		if err != nil {
			t.Fatal(err)
		}
		return ledger.EntryID(ledger.HashLeaf(e.Statement))
	}
	post := func(role, path, body string, status int) (out map[string]any) {
		t.Helper()
		if err := json.Unmarshal(w.expect(w.post(role, path, mediaJSON, body), status), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	erase := func(i int) string { return fmt.Sprintf(`{"entry_id":%q,"basis":"data_subject_request"}`, entryOf(i)) }

	if got := post("admin", "/v1/erasures", erase(0), 409); got["code"] != "evidence_in_use" {
		t.Errorf("while the mission goes on: %v", got)
	}
	w.ended["msn_even"] = true
	hold := post("admin", "/v1/holds", `{"mission":"msn_even","reason":"litigation"}`, 201)
	if got := post("admin", "/v1/erasures", erase(0), 409); got["code"] != "evidence_held" {
		t.Errorf("under a hold: %v", got)
	}
	post("admin", "/v1/holds/release", fmt.Sprintf(`{"hold_id":%q,"reason":"settled"}`, hold["hold_id"]), 200)
	done := post("admin", "/v1/erasures", erase(0), 201)
	if again := post("admin", "/v1/erasures", erase(0), 200); again["record"] != done["record"] {
		t.Errorf("again: %v", again)
	}

	path := "/v1/evidence/" + string(mission.RawDigest(bodies[0]))
	var gone map[string]any
	if err := json.Unmarshal(w.expect(w.get("auditor", path), http.StatusGone), &gone); err != nil {
		t.Fatal(err)
	}
	if gone["code"] != "evidence_erased" || gone["erasure_entry_id"] != done["record"] {
		t.Errorf("erased evidence: %v", gone)
	}
	w.expect(w.get("auditor", "/entries/"+done["record"].(string)), http.StatusOK)
	if got := w.expect(w.get("auditor", "/v1/evidence/"+string(mission.RawDigest(bodies[1]))), 200); string(got) != string(bodies[1]) {
		t.Error("the body beside it changed")
	}

	holds := w.expect(w.get("auditor", "/v1/holds"), 200)
	if !strings.Contains(string(holds), `"release"`) {
		t.Errorf("holds: %s", holds)
	}
	for name, c := range map[string]struct {
		role, path, body string
		status           int
	}{
		"unknown entry":         {"admin", "/v1/erasures", `{"entry_id":"` + strings.Repeat("0", 64) + `","basis":"retention_limit"}`, 404},
		"no entry id":           {"admin", "/v1/erasures", `{"entry_id":"x","basis":"retention_limit"}`, 404},
		"no basis":              {"admin", "/v1/erasures", fmt.Sprintf(`{"entry_id":%q}`, entryOf(2)), 400},
		"an invented basis":     {"admin", "/v1/erasures", fmt.Sprintf(`{"entry_id":%q,"basis":"x"}`, entryOf(2)), 400},
		"basis and record":      {"admin", "/v1/erasures", fmt.Sprintf(`{"entry_id":%q,"basis":"retention_limit","record":"x"}`, entryOf(2)), 400},
		"a producer by basis":   {"producer", "/v1/erasures", erase(2), 404},
		"an auditor":            {"auditor", "/v1/erasures", erase(2), 404},
		"hold without a reason": {"admin", "/v1/holds", `{"mission":"msn_even","reason":""}`, 400},
		"hold on nothing":       {"admin", "/v1/holds", `{"reason":"r"}`, 400},
		"hold by an auditor":    {"auditor", "/v1/holds", `{"mission":"msn_even","reason":"r"}`, 404},
		"unknown hold":          {"admin", "/v1/holds/release", `{"hold_id":"hold_x","reason":"r"}`, 404},
	} {
		if got := w.post(c.role, c.path, mediaJSON, c.body); got.Code != c.status {
			t.Errorf("%s: %d %s", name, got.Code, got.Body)
		}
	}
}
