package domaintest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/domaintest"
	"github.com/mission-authority/mas/ledger/badgerstore"
	"github.com/mission-authority/mas/mission"
)

// TestLostEntriesAreStated: a domain loses its store, and its backup ends before a checkpoint that somebody kept. The
// restored log is closed, it is served for reading, and the genesis of the shard that continues it states the range.
func TestLostEntriesAreStated(t *testing.T) {
	dir, c := domaintest.Prepare(t, domain.DevCeiling, nil)
	d := domaintest.Start(t, dir, c)
	d.Register(t, 5)
	from, err := domain.OpenContinuity(c)
	if err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(dir, "backup")
	saved, err := from.Backup(t.Context(), backup)
	if err != nil {
		t.Fatal(err)
	}
	d.Register(t, 3)
	kept := filepath.Join(dir, "kept")
	text := public(t, d.Issuer+"/log/main/checkpoint")
	if err := os.WriteFile(kept, text, 0o600); err != nil {
		t.Fatal(err)
	}
	seen := openCheckpoint(t, text, c.LogOrigin(), d.VKey)
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	lost := filepath.Join(dir, "lost")
	if err := os.Rename(c.Store.Dir, lost); err != nil {
		t.Fatal(err)
	}
	head, err := from.Head(kept)
	if err != nil {
		t.Fatal(err)
	}
	r, err := from.Restore(t.Context(), badgerstore.RestoreOptions{
		From: backup, Keys: lost, Heads: []badgerstore.KnownHead{head},
	})
	if err != nil || r.Closed == nil || r.Head.Size != saved.Size {
		t.Fatalf("%+v, %v", r, err)
	}

	// As it is, it is read and takes nothing.
	closed := domaintest.Start(t, dir, c)
	if l := closed.Log.Health().Integrity; l == nil || l.Code != badgerstore.CodeHistoryLost {
		t.Errorf("latch %+v", l)
	}
	if end := openCheckpoint(t, public(t, closed.Issuer+"/log/main/checkpoint"), c.LogOrigin(), d.VKey); end.Size !=
		saved.Size {
		t.Errorf("the closed log ends at %d, the backup at %d", end.Size, saved.Size)
	}
	_ = closed.Stop()

	c.Log.FrozenDir = filepath.Join(dir, "frozen")
	if err := os.MkdirAll(c.Log.FrozenDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.Store.Dir, filepath.Join(c.Log.FrozenDir, "main")); err != nil {
		t.Fatal(err)
	}
	old := c.LogOrigin()
	c.Log.Shard = "after"
	next := domaintest.Start(t, dir, c)
	next.Register(t, 2)
	v, err := next.Log.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	p := genesisOf(t, v).Predecessor
	if p == nil || p.Origin != old || p.Size != saved.Size || p.Lost == nil || p.Lost.Size != seen.Size ||
		p.Lost.Root != seen.Root {
		t.Errorf("%+v", p)
	}
	var list struct {
		Shards []struct {
			Status   string `json:"status"`
			LostUpTo uint64 `json:"lost_up_to,omitempty"`
		} `json:"shards"`
	}
	body := public(t, next.Issuer+"/v1/shards")
	if err := mission.DecodeOpen(body, &list); err != nil || len(list.Shards) != 2 || list.Shards[0].Status != "closed" ||
		list.Shards[0].LostUpTo != seen.Size || list.Shards[1].Status != "active" {
		t.Errorf("%s %v", body, err)
	}
}
