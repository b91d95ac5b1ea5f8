package authority_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/mission-authority/mas/mission"
)

func TestMissionFromSubmissionToRevocation(t *testing.T) {
	d := newDomain(t, parts{})
	id := d.submit(time.Hour)
	poll, err := d.Poll(t.Context(), d.as("agent-1"), id)
	if err != nil || string(poll) != `{"status":"pending","submission_id":"`+id+`"}` {
		t.Fatalf("poll: %s, %v", poll, err)
	}
	approved, err := d.decide(id, d.review(id), "approve")
	if err != nil {
		t.Fatal(err)
	}
	poll, err = d.Poll(t.Context(), d.as("agent-1"), id)
	if err != nil || !bytes.Equal(poll, approved) {
		t.Fatalf("poll: %s, %v; decision: %s", poll, err, approved)
	}
	mid := member(t, approved, "mission_id")
	st, verdict, err := d.status("pep", mid, "https://erp.a.example")
	if err != nil || verdict != mission.Accept {
		t.Fatalf("status: %v, %v", verdict, err)
	}
	entries, dropped, err := st.Entries()
	if err != nil || dropped != 0 || len(entries) != 1 || len(entries[0].Actions) != 1 || entries[0].Actions[0] != "invoices.read" {
		t.Fatalf("entries: %v, %d dropped, %v", entries, dropped, err)
	}
	if st := d.mustMove("approver", mid, mission.OpRevoke); st.Mission.State != mission.Revoked || st.Mission.Version != 2 {
		t.Fatalf("revoked: %+v", st.Mission)
	}
	if _, verdict, err := d.status("pep", mid, "https://erp.a.example"); err != nil || verdict != mission.NonActive {
		t.Fatalf("status: %v, %v", verdict, err)
	}
	d.sound()
}
