package authority

import (
	"testing"
	"time"

	"github.com/mission-authority/mas/mission"
)

// Byte order of due rows is the order of their instants, and a row comes back as what it was made of.
func TestDueRows(t *testing.T) {
	at := time.Date(2026, 12, 31, 23, 59, 59, 999_000_001, time.UTC)
	before := ""
	for _, d := range []time.Duration{0, time.Millisecond, time.Second, time.Hour, 24 * 365 * time.Hour} {
		key := dueRow(at.Add(d), dueMission, "msn_x")
		if key <= before {
			t.Errorf("%s is not after %s", key, before)
		}
		before = key
		got, kind, id, err := parseDue(key)
		if err != nil || kind != dueMission || id != "msn_x" || got.Before(at.Add(d)) || got.Sub(at.Add(d)) >= time.Millisecond {
			t.Errorf("%s: %v %s %s %v", key, got, kind, id, err)
		}
	}
}

func FuzzParseDue(f *testing.F) {
	f.Add(dueRow(time.Unix(1800000000, 0), dueSubmission, "sub_x"))
	f.Add("due/20261231T235959.999Z/mission/")
	f.Fuzz(func(t *testing.T, key string) {
		at, kind, id, err := parseDue(key)
		if err == nil && kind == dueMission && mission.ID(id).Validate() == nil && dueRow(at, kind, id) != key {
			t.Errorf("%q is also %q", key, dueRow(at, kind, id))
		}
	})
}

func FuzzRenderedAt(f *testing.F) {
	f.Add("ctx_AAAAAGtJ0gAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("ctx_")
	f.Fuzz(func(t *testing.T, id string) {
		if at, ok := renderedAt(id); ok && (len(id) != len(contextPrefix)+54 || at.Location() != time.UTC) {
			t.Errorf("%q was read as %v", id, at)
		}
	})
}

// No two names share a key.
func TestKeysAreInjective(t *testing.T) {
	names := []string{"a", "b", "a/b", "a%2Fb", "/", "", "a/", "%", "ä", ".", ".."}
	seen := map[string][3]string{}
	for _, x := range names {
		for _, y := range names {
			for _, z := range names {
				key := nonceRow(x, mission.ID(y), z)
				if other, ok := seen[key]; ok {
					t.Errorf("%v and %v share %s", other, [3]string{x, y, z}, key)
				}
				seen[key] = [3]string{x, y, z}
			}
		}
	}
}
