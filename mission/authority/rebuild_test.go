package authority_test

import (
	"bytes"
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/mission-authority/mas/ledger"
	"github.com/mission-authority/mas/ledger/ledgertest"
	"github.com/mission-authority/mas/mission"
	"github.com/mission-authority/mas/mission/authority"
	"github.com/mission-authority/mas/mission/missiontest"
)

// history makes a domain with one row of each kind, and returns the ids of a suspended mission and a denied submission.
func history(t *testing.T, m *ledgertest.Memory) (d *domain, id, denied string) {
	t.Helper()
	d = newDomain(t, parts{store: m.Open()})
	id = d.approve(time.Hour)
	d.mustMove("operator", id, mission.OpSuspend)
	denied = d.submit(time.Hour)
	if _, err := d.decide(denied, d.review(denied), "deny"); err != nil {
		t.Fatal(err)
	}
	d.submit(time.Hour)
	return d, id, denied
}

// A row that is changed, removed or added behind the log's back, together with its hash row, is found.
func TestCheckFindsDifferences(t *testing.T) {
	for name, c := range map[string]struct {
		key  func(id, denied string) string
		edit func(*ledger.Row)
		what string
	}{
		"state": {
			func(id, _ string) string { return "mission/" + id + "/state" },
			func(r *ledger.Row) { r.Value = bytes.Replace(r.Value, []byte("suspended"), []byte("active"), 1) }, "value"},
		"record": {
			func(id, _ string) string { return "mission/" + id + "/record" },
			func(r *ledger.Row) { r.Value = bytes.Replace(r.Value, []byte("sha-256:"), []byte("sha-256:A"), 1) }, "value"},
		"version": {
			func(id, _ string) string { return "mission/" + id + "/state" },
			func(r *ledger.Row) { r.Version++ }, "version"},
		"justification": {
			func(id, _ string) string { return "mission/" + id + "/state" },
			func(r *ledger.Row) { r.JustifiedBy-- }, "justification"},
		"unjustified": {
			func(id, _ string) string { return "mission/" + id + "/state" },
			func(r *ledger.Row) { r.Justified, r.JustifiedBy = false, 0 }, "justification"},
		"outcome": {
			func(_, denied string) string { return "outcome/" + denied },
			func(r *ledger.Row) { r.Value = bytes.Replace(r.Value, []byte("denied"), []byte("approved"), 1) }, "value"},
		"no outcome": {func(_, denied string) string { return "outcome/" + denied }, nil, "missing"},
		"no state":   {func(id, _ string) string { return "mission/" + id + "/state" }, nil, "missing"},
		"principals": {
			func(_, _ string) string { return "principals" },
			func(r *ledger.Row) { r.Version = 9 }, "version"},
	} {
		t.Run(name, func(t *testing.T) {
			m := ledgertest.NewMemory()
			d, id, denied := history(t, m)
			if report := d.sound(); report.Rows != 8 || report.Unreadable != 0 {
				t.Fatalf("report %+v", report)
			}
			key := c.key(id, denied)
			if c.edit == nil {
				m.Corrupt(ledger.RowKey(key), nil)
				m.Corrupt(ledger.RowHashKey(key), nil)
			} else {
				row, err := ledger.ParseRow(key, bytes.Clone(m.Raw(ledger.RowKey(key))))
				if err != nil {
					t.Fatal(err)
				}
				c.edit(&row)
				plant(m, row)
			}
			report := d.recheck(m)
			want := authority.Difference{Key: key, What: c.what}
			if !slices.Contains(report.Differences, want) {
				t.Errorf("differences %v, want %v", report.Differences, want)
			}
		})
	}
}

// plant writes a row and its hash row.
func plant(m *ledgertest.Memory, row ledger.Row) {
	sum := ledger.RowHash(row)
	m.Corrupt(ledger.RowKey(row.Key), ledger.MarshalRow(row))
	m.Corrupt(ledger.RowHashKey(row.Key), sum[:])
}

// recheck checks the store as a tool that opens it anew.
func (d *domain) recheck(m *ledgertest.Memory) authority.Report {
	d.Helper()
	_ = d.log.Stop()
	next := startDomain(d.TB, parts{store: m.Open(), vault: d.log.Vault, keys: d.log.Keys, stops: d.stops, clock: d.clock})
	v := next.log.MustView(d.TB)
	report, err := authority.Check(d.ctx(), v, missiontest.Issuer)
	if err != nil {
		d.Fatal(err)
	}
	return report
}

func TestCheckFindsUnexpectedRows(t *testing.T) {
	m := ledgertest.NewMemory()
	d, id, _ := history(t, m)
	forged := "mission/msn_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/state"
	state := m.Raw(ledger.RowKey("mission/" + id + "/state"))
	row, err := ledger.ParseRow(forged, bytes.Clone(state))
	if err != nil {
		t.Fatal(err)
	}
	plant(m, row)
	unjustified := row
	unjustified.Key, unjustified.Justified, unjustified.JustifiedBy = "outcome/sub_x", false, 0
	plant(m, unjustified)
	report := d.recheck(m)
	want := []authority.Difference{{Key: forged, What: "unexpected"}, {Key: "outcome/sub_x", What: "unexpected"}}
	if !slices.Equal(report.Differences, want) {
		t.Errorf("differences %v", report.Differences)
	}
}

// Erased evidence leaves its rows unchecked, says so, and is no difference.
func TestCheckAfterErasure(t *testing.T) {
	m := ledgertest.NewMemory()
	d, id, _ := history(t, m)
	vault := d.log.Vault.(*ledgertest.Vault)
	for _, e := range d.entries() {
		if e.Statement.ContentType == mission.ContentApprovalRecord {
			vault.Erase(m.Raw(ledger.BodyKey(e.Statement.Digest)))
		}
	}
	report := d.recheck(m)
	if report.Unreadable != 1 || len(report.Differences) != 0 || report.Rows != 5 {
		t.Errorf("report %+v", report)
	}
	_ = id
}

// Evidence that is no history is refused, not repaired.
func TestRebuildRefuses(t *testing.T) {
	d, id, _ := history(t, ledgertest.NewMemory())
	var feed []authority.Evidence
	for _, e := range d.entries() {
		if kind, of, _ := ledger.ParseSubject(missiontest.Issuer, e.Statement.Subject); kind == ledger.SubjectMissions && of == id {
			feed = append(feed, e)
		}
	}
	subject := feed[0].Statement.Subject
	if len(feed) != 3 {
		t.Fatalf("feed of %d entries", len(feed))
	}
	rebuild := func(feed []authority.Evidence) ([]ledger.Row, error) {
		return authority.Rebuild(missiontest.Issuer, subject, each(feed))
	}
	rows, err := rebuild(feed)
	if err != nil || len(rows) != 3 || rows[1].Version != 2 {
		t.Fatalf("rows %v, %v", rows, err)
	}
	approval, consent, transition := feed[0], feed[1], feed[2]
	foreign := approval
	s := *approval.Statement
	s.Subject = missiontest.Issuer + "/missions/msn_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	foreign.Statement = &s
	garbled := transition
	garbled.Body = bytes.Replace(transition.Body, []byte(`"version":2`), []byte(`"version":3`), 1)
	elsewhere := transition
	elsewhere.Body = bytes.Replace(transition.Body, []byte(missiontest.Issuer), []byte(missiontest.PeerIssuer), 1)
	for name, feed := range map[string][]authority.Evidence{
		"of another issuer":    {approval, elsewhere},
		"approved twice":       {approval, approval},
		"transition first":     {transition},
		"transition twice":     {approval, consent, transition, transition},
		"version skipped":      {approval, garbled},
		"of another feed":      {foreign},
		"body of another type": {{Index: 1, Statement: approval.Statement, Body: consent.Body}},
		"no body":              {{Index: 1, Statement: approval.Statement}},
	} {
		t.Run(name, func(t *testing.T) {
			if rows, err := rebuild(feed); !errors.Is(err, authority.ErrHistory) {
				t.Errorf("rows %v, %v", rows, err)
			}
		})
	}
	if _, err := authority.Rebuild(missiontest.Issuer, "https://other.example/missions/x", each(nil)); !errors.Is(err, authority.ErrHistory) {
		t.Errorf("another issuer's subject: %v", err)
	}
}

func each(feed []authority.Evidence) iter.Seq2[authority.Evidence, error] {
	return func(yield func(authority.Evidence, error) bool) {
		for _, e := range feed {
			if !yield(e, nil) {
				return
			}
		}
	}
}
