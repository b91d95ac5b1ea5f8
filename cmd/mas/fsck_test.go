package main

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mission-authority/mas/cmd/internal/domain"
	"github.com/mission-authority/mas/cmd/internal/domaintest"
	"github.com/mission-authority/mas/ledger/journal"
)

// fsckOf checks the store of a domain, bounded in time.
func fsckOf(t *testing.T, d *domaintest.Domain) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out strings.Builder
	c := *d.Config
	err := fsck(ctx, &out, &c)
	if ctx.Err() != nil {
		t.Fatalf("fsck hangs: %s", out.String())
	}
	return out.String(), err
}

// TestFsckEndsWithACode checks the store of a running server, and of a stopped one with damage to each of its parts: it
// says what it found, in the exit code too, and never hangs. The original stays as it was.
//
// Audit rows: 85.
func TestFsckEndsWithACode(t *testing.T) {
	d := domaintest.New(t)
	d.Register(t, 700)
	if out, err := fsckOf(t, d); err != nil || !strings.Contains(out, "clean") {
		t.Fatalf("a running server: %s %v", out, err)
	}
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	if out, err := fsckOf(t, d); err != nil || !strings.Contains(out, "clean") {
		t.Fatalf("a stopped server: %s %v", out, err)
	}
	for _, part := range []string{"journal/*.seg", "shred/keys", "badger/*.vlog", "state"} {
		paths, err := filepath.Glob(filepath.Join(d.Config.Store.Dir, part))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v", part, err)
		}
		whole, err := os.ReadFile(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		bad := append([]byte{}, whole...)
		at := 900
		if len(bad) < 2000 {
			at = 530 // the second sector of the state file, or nothing of it
		}
		for i := range 24 {
			bad[at+i] ^= 0xff
		}
		if err := os.WriteFile(paths[0], bad, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := fsckOf(t, d)
		if code := exitCode(err); code != 1 && code != 2 {
			t.Errorf("%s: exit code %d, %s %v", part, code, out, err)
		}
		if now, err := os.ReadFile(paths[0]); err != nil || string(now) != string(bad) {
			t.Errorf("%s: fsck changed it: %v", part, err)
		}
		if err := os.WriteFile(paths[0], whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := fsckOf(t, d); err != nil || !strings.Contains(out, "clean") {
		t.Errorf("put back: %s %v", out, err)
	}
}

// TestNewerFormatIsRefused: a store that a later program wrote is left alone, with a message that says so and exit code
// 3.
func TestNewerFormatIsRefused(t *testing.T) {
	d := domaintest.New(t)
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(d.Config.Store.Dir, "journal", "*.seg"))
	if err != nil || len(paths) == 0 {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	newer := append([]byte{}, whole...)
	newer[11]++ // the format; later ones keep the checksum where it is
	binary.BigEndian.PutUint32(newer[100:], crc32.Checksum(newer[:100], crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(paths[0], newer, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = domain.Open(t.Context(), domain.Options{Config: d.Config, Logger: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, journal.ErrFormat) || exitCode(err) != 3 {
		t.Errorf("exit code %d: %v", exitCode(err), err)
	}
	if now, err := os.ReadFile(paths[0]); err != nil || string(now) != string(newer) {
		t.Errorf("it was changed: %v", err)
	}
	if err := os.WriteFile(paths[0], whole, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := domain.Open(t.Context(), domain.Options{Config: d.Config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
