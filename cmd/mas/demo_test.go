package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// TestDemo runs the demo as a person would and holds what it prints against what it promises.
func TestDemo(t *testing.T) {
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-tags", "nomsgpack", "-o", bin, ".", "../masverify").CombinedOutput()
	if err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "mas"), "demo", "--dir", dir)
	cmd.WaitDelay = 5 * time.Second
	out, err = cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the demo fails: %v\n%s", err, out)
	}
	for _, want := range []string{
		`mission msn_\S+ active until`, `minted local mission msn_\S+`, `leaf \d+ +mission-approval-record\+json`,
		`refuses: cascaded at version 3; measured [0-9.]+ s from revoke to refusal, agreed bound 5s`,
		`refuses: suspended at version 3 \(hold: upstream_unverified\); measured [0-9.]+ s from kill to refusal`,
		`\$ masverify exchange`, `\$ masverify bundle first`, `\$ masverify bundle second`,
		`\$ masverify consistency first`, `\$ masverify consistency second`, `\$ masverify status first`,
		`authenticated +dev-unattended`, `not claimed +unwitnessed`, `conclusion +ok`,
	} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("the demo does not print %q", want)
		}
	}
	for _, m := range regexp.MustCompile(`measured ([0-9.]+) s`).FindAllSubmatch(out, -1) {
		if s, err := strconv.ParseFloat(string(m[1]), 64); err != nil || s >= bound.Seconds() {
			t.Errorf("the relying party refused after %s s, agreed bound %s", m[1], bound)
		}
	}
	for _, gone := range []string{"revoked", "killed"} {
		if _, err := os.Stat(filepath.Join(dir, gone)); !os.IsNotExist(err) {
			t.Errorf("the directory of the servers is still there when masverify runs: %v", err)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
